//! Clients of others change our zone by DNS UPDATE: nsupdate (BIND), knsupdate (Knot), and dnspython as certbot's plugin uses it. What they
//! have made is in the next answer, is verified by BIND, and is there after a restart.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keystore::clock;
use metrics::Metrics;
use signer_plugin::border::SignerHandler;
use signer_plugin::border::server::{Listen, Server};
use signer_plugin::runtime::Signer;

use crate::primary::{KEY, SECRET, ZONE, accept, configure, write_private};
use crate::secondaries::block;
use crate::{common, records_at};

/// Two keys: one may change everything, one a challenge.
pub const UPDATE: &str = "update = [\n  { key = \"xfr\", names = \"zone\", types = [\"ANY\"] },\n  \
    { key = \"acme\", address = \"127.0.0.0/8\", names = \"exact\", name = \"_acme-challenge.www.example.com\", types = [\"TXT\"] },\n]\n\
    [transfer]\nkey-files = [\"xfr.key\", \"acme.key\"]\nallow-transfer = [{ key = \"xfr\" }]\n";

/// A signer at work, with its own threads.
pub struct Site {
    pub address: SocketAddr,
    signer: Signer,
    server: Option<Server>,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    pub fn start(config: &keystore::config::Config) -> Self {
        let metrics = Metrics::new().expect("families");
        let signer = Signer::start(config, &metrics, Arc::new(clock::now)).expect("threads");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let listen = Listen::on(vec!["127.0.0.1:0".parse().expect("an address")]);
        let handler = SignerHandler::alone(signer.hosted());
        let server = runtime.block_on(async { Server::start(&listen, &handler) }).expect("a server");
        let address = server.addresses()[0];
        common::wait_for("the first version", Duration::from_secs(30), || {
            signer.states().iter().any(|(_, state)| state.validly_signed).then_some(())
        });
        Self { address, signer, server: Some(server), runtime }
    }

    pub fn stop(mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
        self.signer.shutdown();
    }

    /// The answer to a question, as dig prints it in short form.
    pub fn dig(&self, name: &str, rtype: &str) -> String {
        let mut dig = common::peer("dig").expect("it was there");
        let port = self.address.port().to_string();
        common::stdout(dig.args(["@127.0.0.1", "-p", &port, "+short", "+dnssec", "+norec", name, rtype]))
    }

    fn serial(&self) -> u32 {
        let text = self.dig(ZONE, "SOA");
        text.split_whitespace().nth(2).expect("a serial").parse().expect("a number")
    }
}

/// Runs a client with this on its standard input; gives whether it succeeded, and what it said.
pub fn say(client: &mut Command, text: &str) -> (bool, String) {
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), common::text(&output))
}

/// What certbot-dns-rfc2136 does: a SOA query, then an update over TCP; then the same over UDP.
const PYTHON: &str = r#"
import sys, dns.message, dns.query, dns.rcode, dns.tsig, dns.tsigkeyring, dns.update
port, secret = int(sys.argv[1]), sys.argv[2]
keyring = dns.tsigkeyring.from_text({"acme": secret})
name = "_acme-challenge.www"
def send(change, by, expected):
    update = dns.update.Update("example.com", keyring=keyring, keyname="acme", keyalgorithm=dns.tsig.HMAC_SHA256)
    change(update)
    rcode = by(update, "127.0.0.1", port=port, timeout=10).rcode()
    assert rcode == expected, dns.rcode.to_text(rcode)
ok = dns.rcode.NOERROR
send(lambda u: u.add(name, 60, "TXT", "python-tcp"), dns.query.tcp, ok)
send(lambda u: u.add(name, 60, "TXT", "python-udp"), dns.query.udp, ok)
send(lambda u: u.delete(name, "TXT", "python-udp"), dns.query.tcp, ok)
send(lambda u: u.add("other", 60, "TXT", "x"), dns.query.tcp, dns.rcode.REFUSED)
send(lambda u: u.add(name, 60, "A", "192.0.2.1"), dns.query.udp, dns.rcode.REFUSED)
"#;

#[test]
fn clients_of_others_change_the_zone_as_they_are_and_what_they_made_stays() {
    if ["dig", "nsupdate", "dnssec-verify"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let Some(mut knsupdate) = common::of_system("knsupdate") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let secret = data_encoding::BASE64.encode(&[7; 32]);
    let key = |name: &str, secret: &str| block("The key").replace(KEY, name).replace(SECRET, secret);
    write_private(&dir.path().join("xfr.key"), &block("The key"));
    write_private(&dir.path().join("acme.key"), &key("acme", &secret));
    write_private(&dir.path().join("wrong.key"), &key("acme", SECRET));
    write_zone(dir.path(), "");
    let config = configure(dir.path(), UPDATE);
    accept(&config, clock::now());
    let site = Site::start(&config);
    let port = site.address.port();
    let nsupdate = |options: &[&str], key: Option<&str>, text: &str| {
        let mut client = common::peer("nsupdate").expect("it was there");
        client.args(options);
        if let Some(key) = key {
            client.arg("-k").arg(dir.path().join(key));
        }
        say(&mut client, &format!("server 127.0.0.1 {port}\nzone {ZONE}\n{text}\nsend\n"))
    };
    // By UDP and by TCP; each is in the next answer, with a signature.
    for (options, name) in [(&[][..], "udp"), (&["-v"], "tcp")] {
        let before = site.serial();
        let (done, said) =
            nsupdate(options, Some("xfr.key"), &format!("update add {name}.{ZONE} 60 A 192.0.2.9"));
        assert!(done, "{said}");
        let answer = site.dig(&format!("{name}.{ZONE}"), "A");
        assert!(answer.contains("192.0.2.9\n") && answer.contains("A 15 3 60"), "{answer}");
        assert_eq!(site.serial(), before + 1);
    }
    for (key, text, rcode) in [
        (None, format!("update add x.{ZONE} 60 A 192.0.2.9"), "REFUSED"),
        (Some("wrong.key"), format!("update add x.{ZONE} 60 A 192.0.2.9"), "BADSIG"),
        (Some("acme.key"), format!("update add x.{ZONE} 60 A 192.0.2.9"), "REFUSED"),
        (Some("acme.key"), format!("update delete _acme-challenge.www.{ZONE} A"), "REFUSED"),
        (Some("xfr.key"), format!("prereq nxdomain udp.{ZONE}\nupdate delete udp.{ZONE}"), "YXDOMAIN"),
        (
            Some("xfr.key"),
            format!("prereq yxrrset udp.{ZONE} A 192.0.2.8\nupdate delete udp.{ZONE}"),
            "NXRRSET",
        ),
        (Some("xfr.key"), format!("update add {ZONE} 60 DNSKEY 256 3 15 AAAA"), "REFUSED"),
        (Some("xfr.key"), "update add other.test 60 A 192.0.2.9".to_owned(), "NOTZONE"),
    ] {
        let before = site.serial();
        let (done, said) = nsupdate(&[], key, &text);
        assert!(!done && said.contains(rcode), "{key:?} {text}: {said}");
        assert_eq!(site.serial(), before, "{text}");
    }
    let text = format!("server 127.0.0.1 {port}\nzone {ZONE}\nadd knot.{ZONE} 60 TXT \"A b\"\nsend\n");
    knsupdate.arg("-y").arg(format!("hmac-sha256:{KEY}:{SECRET}"));
    let (done, said) = say(&mut knsupdate, &text);
    assert!(done, "{said}");
    assert!(site.dig(&format!("knot.{ZONE}"), "TXT").contains("\"A b\""));
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", PYTHON, &port.to_string(), &secret]);
    common::run(&mut python);
    let challenge = site.dig(&format!("_acme-challenge.www.{ZONE}"), "TXT");
    assert!(challenge.starts_with("\"python-tcp\"\n") && challenge.lines().count() == 2, "{challenge}");

    // The file changes beside them.
    write_zone(dir.path(), "filed A 192.0.2.77\n");
    common::wait_for("the change of the file", Duration::from_secs(20), || {
        site.dig(&format!("filed.{ZONE}"), "A").contains("192.0.2.77").then_some(())
    });
    let before = site.serial();
    site.stop();
    let site = Site::start(&config);
    assert!(site.serial() >= before);
    for (name, rtype, data) in
        [("udp", "A", "192.0.2.9"), ("knot", "TXT", "\"A b\""), ("filed", "A", "192.0.2.77")]
    {
        assert!(site.dig(&format!("{name}.{ZONE}"), rtype).contains(data), "{name}");
    }
    let key = format!("hmac-sha256:{KEY}:{SECRET}");
    let records = records_at(site.address, Some(&key));
    let file = dir.path().join("transferred");
    std::fs::write(&file, records.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("write");
    common::run(common::peer("dnssec-verify").expect("there").args(["-o", ZONE]).arg(&file));
    site.stop();
}

pub fn write_zone(dir: &Path, more: &str) {
    let text =
        format!("$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\nWww CNAME ns\n{more}");
    let new = dir.join("zone.new");
    std::fs::write(&new, text).expect("write");
    std::fs::rename(&new, dir.join("zone")).expect("rename");
}
