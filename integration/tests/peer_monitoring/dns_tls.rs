//! DNS over TLS of `offline-ksk serve`: dig and Unbound are its clients, and what it says of itself is asked for by dig.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::common;
use crate::peer;
use crate::site::{Process, Site};
use crate::web_config::{LIMIT, certificate, conditions, replace};

/// A site with DNS over TLS; its port.
fn site(more: &str) -> (Site, u16) {
    let (site, port) = (Site::new(), common::free_port());
    certificate(&site, "server", (-1, 365));
    let config = std::fs::read_to_string(site.path("offline-ksk.toml")).expect("the configuration");
    let with = format!(
        "[signer]\ntls-listen = [\"127.0.0.1:{port}\"]\ntls-certificate = {:?}\ntls-key = {:?}\n{more}",
        site.path("server.crt"),
        site.path("server.key")
    );
    site.write("offline-ksk.toml", &config.replace("[signer]\n", &with));
    (site, port)
}

/// dig over TLS, which verifies the certificate against the file `server.crt`.
fn dig_tls(site: &Site, port: u16, arguments: &[&str]) -> String {
    let mut dig = common::peer("dig").expect("dig was there");
    dig.args([
        "@127.0.0.1",
        "-p",
        &port.to_string(),
        "+tls",
        "+tries=1",
        "+timeout=5",
        "+tls-hostname=server.example",
    ]);
    dig.arg(format!("+tls-ca={}", site.path("server.crt").display())).args(arguments);
    common::text(&dig.output().expect("run dig"))
}

#[test]
fn dns_over_tls_follows_its_certificate_without_a_lost_answer_and_tells_of_its_end() {
    peer!("dig");
    let (mut site, port) = site("nsid = \"ns1\"\nidentity = \"ns1.example.net\"\n");
    site.start();
    site.drop_skr("a", 3, 14 * crate::site::DAY);
    site.wait_until_served();
    let answers = |arguments: &[&str]| dig_tls(&site, port, arguments);
    let said = answers(&["+dnssec", "+nsid", "+cookie", "+keepalive", "+padding=64", "www.example", "A"]);
    for piece in ["status: NOERROR", "192.0.2.1", "RRSIG", "(good)", "(\"ns1\")", "TCP-KEEPALIVE: 10.0 secs"]
    {
        assert!(said.contains(piece), "no {piece}: {said}");
    }
    let size = said.split("MSG SIZE  rcvd: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    assert_eq!(size, Some("468"), "padded: {said}");
    assert!(answers(&["CH", "TXT", "id.server"]).contains("\"ns1.example.net\""));
    assert!(answers(&["CH", "TXT", "version.bind"]).contains("status: REFUSED"), "not configured");
    let said = answers(&["+ednsopt=19", "www.example", "A"]);
    assert!(said.contains("OPT=19: 01") || said.contains("ZONEVERSION: "), "{said}");

    // While somebody asks on, the certificate is replaced: no answer is lost, and soon the new one is shown.
    let (stop, lost, asked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut dig = common::peer("dig").expect("dig was there");
                dig.args([
                    "@127.0.0.1",
                    "-p",
                    &port.to_string(),
                    "+tls",
                    "+tries=1",
                    "+short",
                    "www.example",
                    "A",
                ]);
                asked.fetch_add(1, Ordering::Relaxed);
                lost.fetch_add(
                    usize::from(common::stdout(&mut dig).trim() != "192.0.2.1"),
                    Ordering::Relaxed,
                );
            }
        });
        for _ in 0..2 {
            certificate(&site, "server", (-1, 200));
            common::wait_for("the new certificate", LIMIT, || {
                answers(&["www.example"]).contains("192.0.2.1").then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(lost.into_inner(), 0, "of {}", asked.into_inner());

    // What is no handshake, or ends within one, ends its connection alone.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 40]].concat();
    for len in 0..=hello.len() {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.write_all(&hello[..len]).expect("written");
    }
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 400], &[0; 400], b"\x00\x0c\x12\x34\0\0\0\0\0\0\0\0\0\0"]
    {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        // It may be closed before all is written.
        let _ = stream.write_all(garbage);
    }
    assert!(answers(&["www.example"]).contains("192.0.2.1"));

    let says = |id: &str, there: bool| {
        common::wait_for(id, LIMIT, || (conditions(&site).contains(id) == there).then_some(()));
    };
    says("CERTIFICATE-ENDS-SOON", false);
    certificate(&site, "server", (-300, 20));
    says("CERTIFICATE-ENDS-SOON", true);
    assert!(conditions(&site).contains("The certificate of DNS over TLS"), "{}", conditions(&site));
    let checked = || {
        let config = site.path("offline-ksk.toml").display().to_string();
        common::text(&site.run(&["serve", "--check-config", "-c", &config]))
    };
    replace(&site, "server.key", "nonsense");
    says("CONFIG-REJECTED", true);
    assert!(answers(&["www.example"]).contains("192.0.2.1"), "the certificate before stays in use");
    assert!(checked().contains("error: signer.tls-certificate: "), "{}", checked());
    certificate(&site, "server", (-1, 365));
    says("CONFIG-REJECTED", false);
    says("CERTIFICATE-ENDS-SOON", false);
    assert!(!checked().contains("tls-certificate"), "{}", checked());
}

#[test]
fn unbound_validates_what_it_asks_for_over_tls_and_networks_that_are_not_allowed_are_refused() {
    peer!("dig");
    let Some(mut unbound) = common::peer("unbound") else { return };
    let (mut site, port) = site("allow-query = [\"127.0.0.1\"]\n");
    site.start();
    site.drop_skr("a", 3, 14 * crate::site::DAY);
    site.wait_until_served();
    let own = common::free_port();
    let dir = site.path("unbound");
    std::fs::create_dir(&dir).expect("a folder");
    let key = data_encoding::BASE64.encode(&keystore::exchange::testing::TestKey::ksk(1).dnskey.public_key);
    site.write(
        "unbound/unbound.conf",
        &format!(
            "server:\n  interface: 127.0.0.1@{own}\n  port: {own}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  \
             tls-cert-bundle: \"{certificate}\"\n  trust-anchor: \"example. DNSKEY 257 3 15 {key}\"\n  qname-minimisation: no\n\
             remote-control:\n  control-enable: no\nforward-zone:\n  name: \"example\"\n  forward-tls-upstream: yes\n  \
             forward-addr: 127.0.0.1@{port}#server.example\n",
            dir = dir.display(),
            certificate = site.path("server.crt").display()
        ),
    );
    unbound.args(["-d", "-c"]).arg(dir.join("unbound.conf"));
    let _unbound = Process::spawn(&mut unbound, &site.path("unbound.log"));
    let ask = |server: &str, port: u16, arguments: &[&str]| {
        let mut dig = common::peer("dig").expect("dig was there");
        dig.args([server, "-p", &port.to_string(), "+tries=1", "+timeout=3"]).args(arguments);
        common::text(&dig.output().expect("run dig"))
    };
    common::wait_for("Unbound to validate", LIMIT, || {
        let said = ask("@127.0.0.1", own, &["+dnssec", "www.example", "A"]);
        let flags = said.lines().find(|line| line.contains(";; flags:"))?;
        (said.contains("192.0.2.1") && flags.contains(" ad")).then_some(())
    });
    let said = ask("@127.0.0.1", own, &["+dnssec", "nothing.example", "A"]);
    assert!(said.contains("status: NXDOMAIN") && said.contains(" ad"), "{said}");
    // From another address of this host.
    for arguments in [&["-b", "127.0.0.2"][..], &["-b", "127.0.0.2", "+tcp"], &["-b", "127.0.0.2", "+tls"]] {
        let to = if arguments.contains(&"+tls") { port } else { site.dns };
        let said = ask("@127.0.0.1", to, &[arguments, &["www.example", "A"]].concat());
        assert!(said.contains("status: REFUSED") && said.contains("EDE: 18 (Prohibited)"), "{said}");
    }
    assert!(ask("@127.0.0.1", site.dns, &["www.example", "A"]).contains("192.0.2.1"));
}
