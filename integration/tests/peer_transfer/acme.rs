//! ACME clients as they are, with the commands of the manual: certbot's plugin for RFC 2136 and lego get a certificate from Pebble, an
//! authority for tests that asks a validating resolver for the challenge which they have put into our zone.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keystore::clock;

use crate::common;
use crate::primary::{KEY, SECRET, ZONE, accept, configure, write_private};
use crate::secondaries::{block, block_of, changed};
use crate::updates::{Site, UPDATE, write_zone};

const PAGE: &str = include_str!("../../../docs/manual/update.md");
const LIMIT: Duration = Duration::from_secs(60);
const NAME: &str = "www.example.com";

/// A program that ends when it is dropped.
struct Process(Child);

impl Process {
    fn start(mut command: Command, dir: &Path, name: &str) -> Self {
        let output = std::fs::File::create(dir.join(name)).expect("a file");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a file")).stderr(output);
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// An unbound that knows the KSK of the zone, and asks our server for it each time: the challenges of two clients have one name.
fn resolver(dir: &Path, site: SocketAddr, port: u16) -> Process {
    let at = dir.display();
    let conf = format!(
        "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{at}\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         do-daemonize: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  trust-anchor-file: \"{at}/anchor\"\n  \
         cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n\
         remote-control:\n  control-enable: no\nstub-zone:\n  name: \"{ZONE}\"\n  stub-addr: 127.0.0.1@{}\n",
        site.port()
    );
    std::fs::write(dir.join("unbound.conf"), conf).expect("written");
    let mut unbound = common::peer("unbound").expect("it was there");
    unbound.arg("-d").arg("-c").arg(dir.join("unbound.conf"));
    Process::start(unbound, dir, "unbound.out")
}

/// The authority, with a certificate of its own for its own port.
fn authority(dir: &Path, port: u16, resolver: u16) -> Process {
    let mut openssl = Command::new("openssl");
    openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout pebble.key -out pebble.pem -days 30 -subj /CN=localhost -addext".split(' '));
    common::run(openssl.arg("subjectAltName=DNS:localhost,IP:127.0.0.1").current_dir(dir));
    let conf = format!(
        "{{\"pebble\":{{\"listenAddress\":\"127.0.0.1:{port}\",\"managementListenAddress\":\"127.0.0.1:{}\",\"certificate\":\"pebble.pem\",\"privateKey\":\"pebble.key\",\
         \"httpPort\":5002,\"tlsPort\":5001,\"ocspResponderURL\":\"\",\"externalAccountBindingRequired\":false}}}}",
        common::free_port()
    );
    std::fs::write(dir.join("pebble.json"), conf).expect("written");
    let mut pebble = common::of_system("pebble").expect("it was there");
    pebble.args(["-config", "pebble.json", "-dnsserver", &format!("127.0.0.1:{resolver}")]).current_dir(dir);
    pebble.env("PEBBLE_VA_NOSLEEP", "1");
    Process::start(pebble, dir, "pebble.out")
}

#[test]
fn certbot_and_lego_get_certificates_by_challenges_that_validate_in_our_zone() {
    if ["dig", "unbound"].iter().any(|program| common::peer(program).is_none())
        || ["lego", "certbot", "pebble", "openssl"].iter().any(|program| common::of_system(program).is_none())
    {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path();
    let secret = data_encoding::BASE64.encode(&[7; 32]);
    write_private(&dir.join("xfr.key"), &block("The key"));
    write_private(&dir.join("acme.key"), &block("The key").replace(KEY, "acme").replace(SECRET, &secret));
    write_zone(dir, "");
    let config = configure(dir, UPDATE);
    accept(&config, clock::now());
    let site = Site::start(&config);
    let keys = site.dig(ZONE, "DNSKEY");
    let ksk = keys.lines().find(|line| line.starts_with("257 ")).expect("a KSK");
    std::fs::write(dir.join("anchor"), format!("{ZONE}. DNSKEY {ksk}\n")).expect("written");
    let (resolver_port, port) = (common::free_port(), common::free_port());
    let _resolver = resolver(dir, site.address, resolver_port);
    let _authority = authority(dir, port, resolver_port);
    common::wait_for("the authority", LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());

    let place = format!("https://localhost:{port}/dir");
    let given = |text: &str| text.replace("SECRET-OF-ACME", &secret);
    let (at, own_port) = (site.address.to_string(), site.address.port().to_string());
    let ini = changed(
        &given(&block_of(PAGE, "certbot: `rfc2136.ini`")),
        &[("192.0.2.1", "127.0.0.1"), ("port = 53", &format!("port = {own_port}"))],
    );
    write_private(&dir.join("rfc2136.ini"), &ini);
    // No other server has the zone here, so that nothing has to be waited for.
    let certbot = changed(
        &block_of(PAGE, "certbot"),
        &[
            (
                "certonly",
                &format!(
                    "certonly -n --server {place} --no-verify-ssl --config-dir certbot --work-dir certbot --logs-dir certbot"
                ),
            ),
            ("propagation-seconds 5", "propagation-seconds 0"),
        ],
    );
    let lego = changed(
        &given(&block_of(PAGE, "lego")),
        &[
            ("192.0.2.1:53", &at),
            (
                "lego --",
                &format!(
                    "lego --server {place} --path lego --dns.resolvers 127.0.0.1:{resolver_port} --dns.disable-cp --"
                ),
            ),
        ],
    );
    // One after the other: both put their challenge at the same name.
    for (client, script, certificate) in [
        ("certbot", certbot, format!("certbot/live/{NAME}/fullchain.pem")),
        ("lego", lego, format!("lego/certificates/{NAME}.crt")),
    ] {
        let mut shell = Command::new("sh");
        shell.args(["-euc", &script]).current_dir(dir).env("LEGO_CA_CERTIFICATES", dir.join("pebble.pem"));
        let output = shell.stdin(Stdio::null()).output().expect("a shell");
        let pebble = || std::fs::read_to_string(dir.join("pebble.out")).unwrap_or_default();
        assert!(output.status.success(), "{client}: {}\n{}", common::text(&output), pebble());
        let certificate = dir.join(certificate);
        let said = common::stdout(
            Command::new("openssl")
                .args(["x509", "-noout", "-ext", "subjectAltName", "-in"])
                .arg(&certificate),
        );
        assert!(said.contains(NAME), "{client}: {said}");
        // The challenge is removed again.
        assert_eq!(site.dig(&format!("_acme-challenge.{NAME}"), "TXT"), "", "{client}");
    }
    site.stop();
}
