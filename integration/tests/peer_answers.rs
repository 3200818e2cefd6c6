//! BIND and ldns judge what the signer serves: the whole zone by `dnssec-verify` and `ldns-verify-zone`, each kind of answer by
//! `delv` with the KSK as its only trust anchor.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `offline-ksk demo --keep`, stopped when dropped.
struct Demo {
    dir: PathBuf,
    port: u16,
    child: Child,
}

impl Demo {
    fn start(dir: &Path) -> Self {
        let log = dir.join("demo.log");
        let out = std::fs::File::create(&log).expect("create the log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_offline-ksk"))
            .args(["demo", "--keep"])
            .arg(dir.join("demo"))
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn()
            .expect("start the demo");
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        common::wait_for("the demo", Duration::from_secs(60), || {
            if let Some(status) = child.try_wait().expect("its state") {
                panic!("the demo ended: {status}\n{}", read());
            }
            read().contains("serving until").then_some(())
        });
        let said = read();
        let port = said
            .split("dig @127.0.0.1 -p ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .expect("a port in what it says");
        Self { dir: dir.join("demo"), port: port.parse().expect("a port"), child }
    }

    fn delv(&self, name: &str, rtype: &str) -> Option<String> {
        let mut delv = common::peer("delv")?;
        delv.args(["@127.0.0.1", "-p", &self.port.to_string(), "-a"]).arg(self.dir.join("bind.keys"));
        delv.args(["+root=demo.example.", "+nottl", "+multiline", "+nocrypto", name, rtype]);
        Some(common::text(&delv.output().expect("run delv")))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kind of answer, name, type, what `delv` must say, and a piece of its answer.
const ANSWERS: &[(&str, &str, &str, &str, &str)] = &[
    ("positive", "www.demo.example.", "A", "; fully validated", "192.0.2.80"),
    ("SOA", "demo.example.", "SOA", "; fully validated", "SOA"),
    ("MX", "demo.example.", "MX", "; fully validated", "mail.demo.example."),
    ("unknown type", "demo.example.", "TYPE65280", "; fully validated", "C0FFEE00"),
    ("HTTPS", "demo.example.", "HTTPS", "; fully validated", "ipv4hint=192.0.2.80"),
    ("NODATA", "www.demo.example.", "MX", "; negative response, fully validated", ""),
    ("NXDOMAIN, one label", "nothing.demo.example.", "A", "; negative response, fully validated", ""),
    (
        "NXDOMAIN, several labels",
        "a.b.c.nothing.demo.example.",
        "A",
        "; negative response, fully validated",
        "",
    ),
    ("NXDOMAIN, first name", "0.demo.example.", "A", "; negative response, fully validated", ""),
    ("NXDOMAIN, last name", "zzz.demo.example.", "A", "; negative response, fully validated", ""),
    ("NXDOMAIN, below a name", "x.www.demo.example.", "A", "; negative response, fully validated", ""),
    ("empty non-terminal", "ent.demo.example.", "A", "; negative response, fully validated", ""),
    ("wildcard", "anything.wild.demo.example.", "TXT", "; fully validated", "made from the wildcard"),
    (
        "wildcard, several labels",
        "a.b.c.wild.demo.example.",
        "TXT",
        "; fully validated",
        "made from the wildcard",
    ),
    ("wildcard NODATA", "anything.wild.demo.example.", "AAAA", "; negative response, fully validated", ""),
    ("the wildcard itself", "*.wild.demo.example.", "TXT", "; fully validated", "made from the wildcard"),
    ("CNAME", "alias.demo.example.", "A", "; fully validated", "192.0.2.80"),
    ("CNAME asked for", "alias.demo.example.", "CNAME", "; fully validated", "www.demo.example."),
    ("CNAME to nowhere", "lost.demo.example.", "A", "; fully validated", "NXDOMAIN"),
    ("DNAME", "www.old.demo.example.", "A", "; fully validated", "192.0.2.91"),
    ("DNAME asked for", "old.demo.example.", "DNAME", "; fully validated", "new.demo.example."),
    ("DS present", "secure.demo.example.", "DS", "; fully validated", "12345 13 2"),
    ("DS absent", "insecure.demo.example.", "DS", "; negative response, fully validated", ""),
    ("DNSKEY", "demo.example.", "DNSKEY", "; fully validated", "257 3 13"),
    ("CDS", "demo.example.", "CDS", "; fully validated", "13 2"),
    ("CDNSKEY", "demo.example.", "CDNSKEY", "; fully validated", "257 3 13"),
    ("NSEC", "www.demo.example.", "NSEC", "; fully validated", "NSEC"),
];

#[test]
fn delv_validates_each_kind_of_answer() {
    peer!("delv");
    let dir = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(dir.path());
    let mut wrong = Vec::new();
    for (kind, name, rtype, verdict, piece) in ANSWERS {
        let said = demo.delv(name, rtype).expect("delv was there");
        if !said.contains(verdict) || !said.contains(piece) || said.contains("unsigned answer") {
            wrong.push(format!("{kind}: {name} {rtype}: expected `{verdict}` and `{piece}`:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), ANSWERS.len(), wrong.join("\n"));
}

#[test]
fn dig_sees_referrals_with_their_proofs_and_glue() {
    let dir = tempfile::tempdir().expect("a folder");
    peer!("dig");
    let demo = Demo::start(dir.path());
    let dig = |name: &str, more: &[&str]| {
        let mut dig = common::peer("dig").expect("dig was there");
        dig.args(["@127.0.0.1", "-p", &demo.port.to_string(), "+norec", "+dnssec", name, "A"]).args(more);
        common::stdout(&mut dig)
    };
    for transport in [&[][..], &["+tcp"][..]] {
        let said = dig("www.secure.demo.example.", transport);
        for piece in [
            "flags: qr;",
            "NS\tns.secure",
            "DS\t12345 13 2",
            "RRSIG\tDS 13",
            "A\t192.0.2.53",
            "ANSWER: 0",
            "status: NOERROR",
        ] {
            assert!(said.contains(piece), "secure referral lacks `{piece}`: {said}");
        }
        let said = dig("a.b.insecure.demo.example.", transport);
        for piece in
            ["flags: qr;", "NS\tns.insecure", "NSEC\t", "RRSIG\tNSEC 13", "AAAA\t2001:db8::54", "ANSWER: 0"]
        {
            assert!(said.contains(piece), "insecure referral lacks `{piece}`: {said}");
        }
        assert!(!said.contains("\tDS\t") && !said.contains("SOA"), "{said}");
    }
    assert!(dig("www.demo.example.org.", &[]).contains("status: REFUSED"));
}

#[test]
fn verifiers_accept_the_whole_zone() {
    let dir = tempfile::tempdir().expect("a folder");
    peer!("dnssec-verify");
    let demo = Demo::start(dir.path());
    let signed = dir.path().join("signed");
    let skr = demo.dir.join("online/accepted/demo.example./1.skr");
    let mut sign = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
    sign.args(["sign-zone", "--zone", "demo.example", "--skr"]).arg(&skr);
    sign.arg("--trust-anchor").arg(demo.dir.join("online/anchor"));
    sign.arg("--key-directory").arg(demo.dir.join("online/keys"));
    sign.arg("--output").arg(&signed).arg(demo.dir.join("online/demo.example.zone"));
    common::run(sign.stdin(Stdio::null()));
    let mut verify = common::peer("dnssec-verify").expect("dnssec-verify was there");
    let said = common::text(&common::run(verify.args(["-o", "demo.example"]).arg(&signed)));
    assert!(said.contains("Zone fully signed"), "{said}");
    let mut verify = peer!("ldns-verify-zone");
    // without -k: the key sets vouch for themselves, delv above holds them against the trust anchor
    let said = common::text(&common::run(verify.arg(&signed)));
    assert!(said.contains("Zone is verified and complete"), "{said}");
}
