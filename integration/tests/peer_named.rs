//! A real named takes our SKRs: keys and request by `dnssec-ksr`, signed by `ksr-gen sign`, imported with `rndc skr -import`; the
//! zone that named then serves must pass `dnssec-verify` and `delv`. And the other way round: our keys and request, signed by
//! `dnssec-ksr`, must pass every check of `skr-loader`.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ZONE: &str = "peer.test";

const ZONE_FILE: &str = "\
$TTL 300
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.1
a A 192.0.2.2
*.wild A 192.0.2.3
sub NS ns.sub
ns.sub A 192.0.2.4
";

const ALGORITHMS: [(&str, u8); 3] = [("rsasha256", 8), ("ecdsap256sha256", 13), ("ed25519", 15)];

fn policy(algorithm: &str) -> String {
    format!(
        "dnssec-policy peer {{\n  offline-ksk yes;\n  keys {{ ksk lifetime unlimited algorithm {algorithm}; zsk lifetime P6M algorithm {algorithm}; }};\n}};\n"
    )
}

/// The two folders and the policy file of a ceremony.
struct Sides<'a> {
    dir: &'a Path,
}

impl<'a> Sides<'a> {
    fn new(dir: &'a Path, algorithm: &str) -> Self {
        for side in ["ksk", "zsk"] {
            std::fs::create_dir(dir.join(side)).expect("a folder");
        }
        std::fs::write(dir.join("policy.conf"), policy(algorithm)).expect("write the policy");
        Self { dir }
    }

    fn options(&self, command: &mut Command, side: &str) {
        command.current_dir(self.dir).args([
            "-k",
            "peer",
            "-l",
            "policy.conf",
            "-K",
            side,
            "-i",
            "now-2d",
            "-e",
            "now+1y",
        ]);
    }

    /// Runs `ksr-gen`; `more` holds the further options, the command, and nothing else.
    fn ours(&self, side: &str, more: &[&str]) -> String {
        let mut command = Command::new(ksr_gen());
        self.options(&mut command, side);
        common::stdout(command.args(more).arg(ZONE))
    }

    /// Runs `dnssec-ksr`.
    fn theirs(&self, side: &str, more: &[&str]) -> String {
        let mut command = common::peer("dnssec-ksr").expect("dnssec-ksr was there");
        self.options(&mut command, side);
        common::stdout(command.args(more).arg(ZONE))
    }

    fn keep(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).expect("write");
    }

    /// The KSK's `.key` file as `trust-anchors` for delv, and as it is for our loader.
    fn anchors(&self) -> std::path::PathBuf {
        let entries = std::fs::read_dir(self.dir.join("ksk")).expect("the folder");
        let key = entries
            .map(|e| e.expect("an entry").path())
            .find(|p| p.extension().is_some_and(|e| e == "key"))
            .expect("a KSK");
        let text = std::fs::read_to_string(&key).expect("readable");
        let record = text.lines().find(|l| !l.starts_with(';')).expect("a record");
        let fields: Vec<&str> = record.split_whitespace().collect();
        let at = fields.iter().position(|f| *f == "DNSKEY").expect("a DNSKEY");
        let anchors = format!(
            "trust-anchors {{ \"{ZONE}\" static-key {} {} {} \"{}\"; }};\n",
            fields[at + 1],
            fields[at + 2],
            fields[at + 3],
            fields[at + 4..].concat()
        );
        self.keep("bind.keys", &anchors);
        key
    }
}

/// The binaries of the other packages lie beside ours.
fn beside(name: &str) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built; test the whole workspace (cargo nextest run --workspace)",
        path.display()
    );
    path
}

fn ksr_gen() -> std::path::PathBuf {
    beside("ksr-gen")
}

fn named_serves_what_we_sign(algorithm: &str, number: u8) {
    let temp = tempfile::tempdir().expect("a folder");
    let sides = Sides::new(temp.path(), algorithm);
    sides.theirs("ksk", &["-o", "keygen"]);
    sides.theirs("zsk", &["keygen"]);
    sides.keep("request.ksr", &sides.theirs("zsk", &["request"]));
    sides.keep("response.skr", &sides.ours("ksk", &["--allow-no-pop", "-f", "request.ksr", "sign"]));
    sides.keep("zone", ZONE_FILE);
    sides.anchors();

    let statements = format!(
        "{}zone \"{ZONE}\" {{ type primary; file \"{dir}/zone\"; dnssec-policy peer; key-directory \"{dir}/zsk\"; allow-transfer {{ any; }}; }};",
        policy(algorithm),
        dir = temp.path().display()
    );
    let named = common::Named::start(temp.path(), &statements).expect("named was there");
    let skr = temp.path().join("response.skr");
    let said = named.rndc(&["skr", "-import", &skr.to_string_lossy(), ZONE]);
    assert!(
        said.status.success() && !common::text(&said).contains("failed"),
        "{}\n{}",
        common::text(&said),
        named.log()
    );

    let port = named.port.to_string();
    let ask = |name: &str, rtype: &str| {
        let mut delv = common::peer("delv").expect("delv was there");
        delv.args(["@127.0.0.1", "-p", &port, "-a"]).arg(temp.path().join("bind.keys"));
        common::text(&delv.args([&format!("+root={ZONE}"), name, rtype]).output().expect("run delv"))
    };
    common::wait_for("the zone to validate", Duration::from_secs(20), || {
        ask(&format!("a.{ZONE}"), "A").contains("; fully validated").then_some(())
    });
    for (name, rtype, verdict) in [
        ("peer.test", "DNSKEY", "; fully validated"),
        ("peer.test", "CDS", "; fully validated"),
        ("peer.test", "CDNSKEY", "; fully validated"),
        ("peer.test", "SOA", "; fully validated"),
        ("x.wild.peer.test", "A", "; fully validated"),
        ("nothing.peer.test", "A", "; negative response, fully validated"),
        ("sub.peer.test", "DS", "; negative response, fully validated"),
    ] {
        let said = ask(name, rtype);
        assert!(said.contains(verdict), "{name} {rtype}: {said}");
    }
    let mut dig = common::peer("dig").expect("dig was there");
    let dump = common::stdout(dig.args([
        "@127.0.0.1",
        "-p",
        &port,
        "+onesoa",
        "+nocomments",
        "+nocmd",
        "+nostats",
        "AXFR",
        ZONE,
    ]));
    sides.keep("dump", &dump);
    let mut verify = common::peer("dnssec-verify").expect("dnssec-verify was there");
    let said = common::text(&common::run(verify.args(["-o", ZONE]).arg(temp.path().join("dump"))));
    assert!(said.contains("Zone fully signed"), "{said}");
    let said = common::text(&named.rndc(&["dnssec", "-status", ZONE]));
    assert!(
        said.contains("dnssec-policy: peer") && said.contains(&algorithm.to_uppercase()),
        "{number}: {said}"
    );
}

#[test]
fn named_serves_what_we_sign_rsasha256() {
    peer!("named");
    named_serves_what_we_sign("rsasha256", 8);
}

#[test]
fn named_serves_what_we_sign_ecdsap256sha256() {
    peer!("named");
    named_serves_what_we_sign("ecdsap256sha256", 13);
}

#[test]
fn named_serves_what_we_sign_ed25519() {
    peer!("named");
    named_serves_what_we_sign("ed25519", 15);
}

#[test]
fn our_loader_accepts_what_dnssec_ksr_signs_for_us() {
    for (algorithm, _) in ALGORITHMS {
        peer!("dnssec-ksr");
        let temp = tempfile::tempdir().expect("a folder");
        let sides = Sides::new(temp.path(), algorithm);
        sides.ours("ksk", &["-o", "keygen"]);
        sides.ours("zsk", &["keygen"]);
        sides.keep("request.ksr", &sides.ours("zsk", &["request"]));
        sides.keep("response.skr", &sides.theirs("ksk", &["-f", "request.ksr", "sign"]));
        let anchor = sides.anchors();
        let mut check = Command::new(beside("skr-loader"));
        check.current_dir(temp.path()).args([
            "check",
            "--zone",
            ZONE,
            "--key-directory",
            "zsk",
            "--trust-anchor",
        ]);
        let said = common::text(&common::run(check.arg(anchor).arg("response.skr")));
        assert!(!said.contains("FAIL"), "{algorithm}: {said}");
    }
}

#[test]
fn named_uses_and_reports_our_key_files() {
    peer!("named");
    let temp = tempfile::tempdir().expect("a folder");
    let sides = Sides::new(temp.path(), "ecdsap256sha256");
    sides.ours("ksk", &["-o", "keygen"]);
    let zsks = sides.ours("zsk", &["keygen"]);
    sides.keep("request.ksr", &sides.ours("zsk", &["request"]));
    sides.keep("response.skr", &sides.ours("ksk", &["-f", "request.ksr", "sign"]));
    sides.keep("zone", ZONE_FILE);
    let statements = format!(
        "{}zone \"{ZONE}\" {{ type primary; file \"{dir}/zone\"; dnssec-policy peer; key-directory \"{dir}/zsk\"; }};",
        policy("ecdsap256sha256"),
        dir = temp.path().display()
    );
    let named = common::Named::start(temp.path(), &statements).expect("named was there");
    let skr = temp.path().join("response.skr");
    named.rndc(&["skr", "-import", &skr.to_string_lossy(), ZONE]);
    let said = common::wait_for("named to use our ZSK", Duration::from_secs(20), || {
        let said = common::text(&named.rndc(&["dnssec", "-status", ZONE]));
        said.contains("zone signing:   yes").then_some(said)
    });
    for name in zsks.lines() {
        let tag: u32 = name.rsplit('+').next().expect("a tag").parse().expect("a number");
        assert!(said.contains(&format!("key: {tag} (ECDSAP256SHA256), ZSK")), "{name} is missing: {said}");
    }
}

/// RFC 8901 model 1: two providers with ZSKs of their own, one KSK. The requests are merged, each named loads the one SKR, and what each
/// serves validates with one trust anchor.
#[test]
fn two_providers_serve_one_zone_by_one_merged_skr() {
    peer!("named");
    let temp = tempfile::tempdir().expect("a folder");
    let sides = Sides::new(temp.path(), "ecdsap256sha256");
    std::fs::create_dir(temp.path().join("zsk_b")).expect("a folder");
    sides.ours("ksk", &["-o", "keygen"]);
    let of_a = sides.theirs("zsk", &["keygen"]);
    let of_b = sides.ours("zsk_b", &["keygen"]);
    sides.keep("a.ksr", &sides.theirs("zsk", &["request"]));
    sides.keep("b.ksr", &sides.ours("zsk_b", &["request"]));
    let skr = sides.ours("ksk", &["--allow-no-pop", "-f", "a.ksr", "-f", "b.ksr", "sign"]);
    sides.keep("response.skr", &skr);
    sides.keep("zone", ZONE_FILE);
    let anchor = sides.anchors();
    for (keys, multi) in [("zsk", true), ("zsk_b", true), ("zsk_b", false)] {
        let mut check = Command::new(beside("skr-loader"));
        check.current_dir(temp.path()).args([
            "check",
            "--zone",
            ZONE,
            "--key-directory",
            keys,
            "--trust-anchor",
        ]);
        check.arg(&anchor);
        check.args(multi.then_some("--multi-signer")).arg("response.skr");
        let output = check.output().expect("run skr-loader");
        assert_eq!(output.status.success(), multi, "{keys}: {}", common::text(&output));
        assert_eq!(
            common::text(&output).contains("FAIL SKR-NO-PRIVATE-KEY"),
            !multi,
            "{}",
            common::text(&output)
        );
    }
    let mut served = Vec::new();
    for (provider, keys) in [("a", "zsk"), ("b", "zsk_b")] {
        let dir = temp.path().join(provider);
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::copy(temp.path().join("zone"), dir.join("zone")).expect("copy the zone");
        let statements = format!(
            "{}zone \"{ZONE}\" {{ type primary; file \"{}/zone\"; dnssec-policy peer; key-directory \"{}/{keys}\"; }};",
            policy("ecdsap256sha256"),
            dir.display(),
            temp.path().display()
        );
        let named = common::Named::start(&dir, &statements).expect("named was there");
        let skr = temp.path().join("response.skr");
        let said = common::text(&named.rndc(&["skr", "-import", &skr.to_string_lossy(), ZONE]));
        assert!(!said.contains("failed"), "{said}");
        let port = named.port.to_string();
        let ask = |name: &str, rtype: &str| {
            let mut delv = common::peer("delv").expect("delv was there");
            delv.args(["@127.0.0.1", "-p", &port, "-a"]).arg(temp.path().join("bind.keys"));
            common::text(&delv.args([&format!("+root={ZONE}"), name, rtype]).output().expect("run delv"))
        };
        common::wait_for("the zone to validate", Duration::from_secs(20), || {
            ask(&format!("a.{ZONE}"), "A").contains("; fully validated").then_some(())
        });
        assert!(ask(&format!("nothing.{ZONE}"), "A").contains("; negative response, fully validated"));
        let tag = |name: &str| name.trim().rsplit('+').next().map(|t| t.trim_start_matches('0').to_owned());
        let answer = ask(&format!("a.{ZONE}"), "A");
        let own: Vec<String> = if provider == "a" { &of_a } else { &of_b }.lines().filter_map(tag).collect();
        assert!(own.iter().any(|tag| answer.contains(&format!(" {tag} {ZONE}"))), "{own:?}: {answer}");
        let dnskey = ask(ZONE, "DNSKEY");
        let keys = dnskey.lines().filter(|l| l.contains("DNSKEY\t256 3 13 ")).count();
        assert!(keys >= 2, "the ZSKs of both: {dnskey}");
        served.push(keys);
    }
    assert_eq!(served[0], served[1]);
}
