//! Transfers over TLS (RFC 9103), with the configuration that the manual prints: a product as primary, our signer, and the same product as
//! secondary in a row; and other sides that are not who they should be.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use keystore::config::Config;
use keystore::config::tls::KeyPin;
use metrics::condition::ConditionId;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;

use crate::certificate::{self, Issuer};
use crate::common;
use crate::incoming::{Ours, text, txt_at};
use crate::primary::{self, KEY, SECRET, ZONE};
use crate::secondaries::{Product, block_of, changed};

const PAGE: &str = include_str!("../../../docs/manual/transfers-tls.md");
/// Longest time for a change to reach the last one in the row: a datagram that is lost is sent again within it.
const LONGEST: Duration = Duration::from_secs(30);
const CHANGES: u32 = 4;

/// What a server of a product does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Primary,
    Secondary,
}

/// The ports of 127.0.0.1 that take part.
#[derive(Debug, Clone, Copy)]
struct Ports {
    /// The server's own, of UDP and TCP, and of TLS.
    own: u16,
    own_tls: u16,
    /// Those of our signer.
    ours: u16,
    ours_tls: u16,
}

/// A server of a product, which ends when it is dropped.
struct Peer(Child);

impl Peer {
    fn start(product: Product, role: Role, dir: &Path, ports: Ports, signer: KeyPin) -> Self {
        let program = match product {
            Product::Bind => "named",
            Product::Knot => "knotd",
            Product::Nsd => "nsd",
        };
        let text = match product {
            Product::Bind => bind(role, dir, ports),
            Product::Knot => knot(role, dir, ports, signer),
            Product::Nsd => nsd(role, dir, ports),
        };
        let conf = dir.join(format!("{role:?}.conf"));
        std::fs::write(&conf, text).expect("write");
        let mut command = common::peer(program).expect("it was there");
        match product {
            Product::Bind => command.args(["-f", "-L"]).arg(dir.join(format!("{role:?}.log"))),
            Product::Nsd => command.arg("-d"),
            Product::Knot => &mut command,
        };
        let output = std::fs::File::create(dir.join(format!("{role:?}.output"))).expect("a file");
        let child =
            command.current_dir(dir).arg("-c").arg(&conf).stdout(Stdio::null()).stderr(output).spawn();
        Self(child.unwrap_or_else(|e| panic!("{program}: {e}")))
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, signal);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

fn bind(role: Role, dir: &Path, ports: Ports) -> String {
    let Ports { own, own_tls, ours, ours_tls } = ports;
    let listen = format!(
        "options {{\n  directory \"{}\"; pid-file none; session-keyfile none; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no;",
        dir.display()
    );
    let text = match role {
        Role::Primary => changed(
            &block_of(PAGE, "BIND as primary: `named.conf`"),
            &[
                ("listen-on { 192.0.2.10; }", &format!("listen-on port {own} {{ 127.0.0.1; }}")),
                (
                    "listen-on port 853 tls server { 192.0.2.10; }",
                    &format!("listen-on port {own_tls} tls server {{ 127.0.0.1; }}"),
                ),
                ("allow-transfer port 853", &format!("allow-transfer port {own_tls}")),
                ("also-notify { 192.0.2.1 ", &format!("also-notify {{ 127.0.0.1 port {ours} ")),
            ],
        ),
        Role::Secondary => changed(
            &block_of(PAGE, "BIND as secondary: `named.conf`"),
            &[
                ("listen-on { 192.0.2.53; }", &format!("listen-on port {own} {{ 127.0.0.1; }}")),
                ("192.0.2.1 port 853", &format!("127.0.0.1 port {ours_tls}")),
            ],
        ),
    };
    format!("controls {{ }};\n{}", changed(&text, &[("options {", &listen)]))
}

fn knot(role: Role, dir: &Path, ports: Ports, signer: KeyPin) -> String {
    let Ports { own, own_tls, ours, ours_tls } = ports;
    let (own, signer) = (format!("listen: 127.0.0.1@{own}"), signer.to_string());
    let at_ours = |port: u16| format!("    address: 127.0.0.1@{port}\n    key: xfr\n");
    let text = match role {
        Role::Primary => changed(
            &block_of(PAGE, "Knot as primary: `knot.conf`"),
            &[
                ("listen: 192.0.2.10\n", &format!("{own}\n")),
                ("listen-tls: 192.0.2.10@853", &format!("listen-tls: 127.0.0.1@{own_tls}")),
                ("    address: 192.0.2.1\n    key: xfr\nacl:", &format!("{}acl:", at_ours(ours))),
                ("    address: 192.0.2.1\n", "    address: 127.0.0.1\n"),
                ("PIN-OF-SIGNER", &signer),
            ],
        ),
        Role::Secondary => changed(
            &block_of(PAGE, "Knot as secondary: `knot.conf`"),
            &[
                ("listen: 192.0.2.53\n", &format!("{own}\n")),
                ("    address: 192.0.2.1@853\n    key: xfr\n", &at_ours(ours_tls)),
                ("    address: 192.0.2.1\n", "    address: 127.0.0.1\n"),
                ("PIN-OF-SIGNER", &signer),
            ],
        ),
    };
    let state = dir.join(format!("{role:?}"));
    std::fs::create_dir_all(&state).expect("a folder");
    // A secondary writes what it has into its own folder.
    let storage = if role == Role::Primary { dir } else { &state }.display();
    let (dir, state) = (dir.display(), state.display());
    // Relative names of files are meant from the folder of its configuration when it is built in.
    let text = ["primary.crt", "primary.key", "secondary.crt", "secondary.key"]
        .iter()
        .fold(text, |text, file| text.replace(&format!(" {file}"), &format!(" {dir}/{file}")));
    let text = text.replace("server:\n", &format!("server:\n    rundir: {state}\n"));
    format!(
        "{text}\ncontrol:\n    listen: {state}/knot.sock\nlog:\n  - target: {state}/log\n    any: info\ndatabase:\n    storage: {state}\n\
         template:\n  - id: default\n    storage: {storage}\n"
    )
}

fn nsd(role: Role, dir: &Path, ports: Ports) -> String {
    let Ports { own, own_tls, ours, ours_tls } = ports;
    let state = dir.join(format!("{role:?}"));
    std::fs::create_dir_all(&state).expect("a folder");
    let (dir_text, state) = (dir.display(), state.display());
    let server = format!(
        "server:\n  port: {own}\n  username: \"\"\n  zonesdir: \"{dir_text}\"\n  pidfile: \"\"\n  logfile: \"{state}/log\"\n  xfrdfile: \"{state}/xfrd\"\n\
         \x20 xfrdir: \"{state}\"\n  zonelistfile: \"{state}/zonelist\"\n  server-count: 1\n  verbosity: 3\n  xfrd-reload-timeout: 0\n"
    );
    let text = match role {
        Role::Primary => changed(
            &block_of(PAGE, "NSD as primary: `nsd.conf`"),
            &[
                ("192.0.2.10@853", &format!("127.0.0.1@{own_tls}")),
                ("ip-address: 192.0.2.10\n", &format!("ip-address: 127.0.0.1@{own}\n")),
                ("tls-port: 853", &format!("tls-port: {own_tls}")),
                ("provide-xfr: 192.0.2.1", "provide-xfr: 127.0.0.1"),
                ("notify: 192.0.2.1", &format!("notify: 127.0.0.1@{ours}")),
            ],
        ),
        Role::Secondary => changed(
            &block_of(PAGE, "NSD as secondary: `nsd.conf`"),
            &[
                ("ip-address: 192.0.2.53", &format!("ip-address: 127.0.0.1@{own}")),
                ("request-xfr: 192.0.2.1@853", &format!("request-xfr: 127.0.0.1@{ours_tls}")),
                ("allow-notify: 192.0.2.1", "allow-notify: 127.0.0.1"),
            ],
        ),
    };
    changed(&text, &[("server:\n", &server)]) + "\nremote-control:\n  control-enable: no\n"
}

/// An authority in `ca.crt`, and certificates of it for these names.
fn certificates(dir: &Path, names: &[&str]) -> Issuer {
    let authority = certificate::write(dir, "ca", (-1, 100), None);
    for name in names {
        certificate::write(dir, name, (-1, 100), Some(&authority));
    }
    authority
}

fn pin(certificate: &X509) -> KeyPin {
    let key = certificate.public_key().and_then(|key| key.public_key_to_der());
    KeyPin::of_key_info(&key.expect("a key"))
}

fn pin_in(file: &Path) -> KeyPin {
    pin(&X509::from_pem(&std::fs::read(file).expect("a file")).expect("a certificate"))
}

/// The configuration of the page with these changes, on free ports; the lines of `[signer]` but its address come from there too.
fn configured(dir: &Path, changes: &[(&str, &str)]) -> Config {
    let text = changed(&block_of(PAGE, "The signer: `offline-ksk.toml`"), changes);
    let (signer, tables) = text.split_once("\n[transfer]").expect("a table [transfer]");
    let signer: String =
        signer.lines().filter(|line| line.starts_with("tls-")).map(|line| format!("{line}\n")).collect();
    let tables = tables.replacen("key-files", "min-retry = 1\nkey-files", 1);
    primary::prepare_with(dir, &signer, &format!("[transfer]{tables}"))
}

#[test]
fn zones_come_and_go_over_tls_from_and_to_three_products() {
    if ["dig", "named", "knotd", "nsd"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    std::thread::scope(|scope| {
        for product in [Product::Bind, Product::Knot, Product::Nsd] {
            scope.spawn(move || goes_through(product));
        }
    });
}

fn goes_through(product: Product) {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let authority = certificates(dir, &["primary", "signer", "secondary"]);
    let signer = pin_in(&dir.join("signer.crt"));
    let [first, first_tls, ours, ours_tls, last] = [(); 5].map(|()| common::free_port());
    let at_first = Ports { own: first, own_tls: first_tls, ours, ours_tls };
    std::fs::write(dir.join("example.com.zone"), text(1)).expect("write");
    let source = Peer::start(product, Role::Primary, dir, at_first, signer);
    let at_source = SocketAddr::from(([127, 0, 0, 1], first));
    common::wait_for(&format!("{product:?} to serve"), LONGEST, || txt_at(at_source));
    certificate::write(dir, "pinned", (-1, 100), None);
    let pinned = format!(
        "allow-transfer = [{{ key = \"xfr\", tls = {{ pin-sha256 = \"{}\" }} }}, ",
        pin_in(&dir.join("pinned.crt"))
    );
    let config = configured(
        dir,
        &[
            ("allow-transfer = [", &pinned),
            ("192.0.2.1:53", "127.0.0.1:0"),
            ("192.0.2.1:853", &format!("127.0.0.1:{ours_tls}")),
            ("192.0.2.53", &format!("127.0.0.1:{last}")),
            ("192.0.2.10", &format!("127.0.0.1:{first_tls}")),
        ],
    );
    let us = Ours::start(&config, ours);
    let at_last = Ports { own: last, own_tls: 0, ours, ours_tls };
    let end = Peer::start(product, Role::Secondary, dir, at_last, signer);
    let at_end = SocketAddr::from(([127, 0, 0, 1], last));
    let serves = |serial: u32, limit: Duration| {
        common::wait_for(&format!("{product:?}: serial {serial} at the end"), limit, || {
            (txt_at(at_end)? == format!("\"{serial}\"")).then_some(())
        });
    };
    serves(1, Duration::from_secs(60));
    for serial in 2..2 + CHANGES {
        let new = dir.join("new.zone");
        std::fs::write(&new, text(serial)).expect("write");
        std::fs::rename(&new, dir.join("example.com.zone")).expect("rename");
        source.signal(rustix::process::Signal::HUP);
        serves(serial, LONGEST);
    }
    assert_eq!((us.transfers("axfr", "ok"), us.transfers("axfr", "failed")), (1, 0), "{product:?}");
    assert!(us.transfers("ixfr", "ok") >= 1 && us.transfers("ixfr", "failed") == 0, "{product:?}");
    let sent = |kind: &str| us.metrics.transfers_total.with_label_values(&["example.com.", kind, "ok"]).get();
    assert!(sent("axfr") >= 1 && sent("ixfr") >= 1, "{product:?}: {} {}", sent("axfr"), sent("ixfr"));
    drop((source, end));
    if product == Product::Bind {
        refuses(dir, &authority, ours, ours_tls);
    }
    us.stop();
}

/// Clients that get nothing, and the one that does.
fn refuses(dir: &Path, authority: &Issuer, ours: u16, ours_tls: u16) {
    let key = format!("hmac-sha256:{KEY}:{SECRET}");
    let another = certificate::write(dir, "another", (-1, 100), None);
    certificate::write(dir, "stranger", (-1, 100), Some(&another));
    certificate::write(dir, "secondary", (-9, -2), Some(authority));
    let ended = asked_over_tls(ours_tls, dir, "secondary", true, None);
    assert!(ended.contains("the client certificate has ended"), "{ended}");
    certificate::write(dir, "secondary", (-1, 100), Some(authority));
    for (name, has_dot, version, said) in [
        ("primary", true, None, "the client certificate has another name"),
        ("stranger", true, None, "the client certificate is of an unknown authority"),
        ("secondary", false, None, "TLS 1.3 and the protocol dot"),
        ("secondary", true, Some(SslVersion::TLS1_2), "TLS 1.3 and the protocol dot"),
    ] {
        let printed = asked_over_tls(ours_tls, dir, name, has_dot, version);
        assert!(printed.contains(said), "{name} {has_dot}: {printed}");
    }
    let with = |name: &str| {
        let [certificate, key] = certificate::files(dir, name).map(|file| file.display().to_string());
        let ca = format!("+tls-ca={}", dir.join("ca.crt").display());
        vec!["+tls".to_owned(), ca, format!("+tls-certfile={certificate}"), format!("+tls-keyfile={key}")]
    };
    for (port, more, is_allowed) in [
        (ours, vec![], false),
        (ours_tls, vec!["+tls".to_owned()], false),
        (ours_tls, with("stranger"), false),
        // Of the authority, with another name.
        (ours_tls, with("primary"), false),
        (ours_tls, with("secondary"), true),
        (ours_tls, with("pinned"), true),
    ] {
        let mut dig = common::peer("dig").expect("there");
        dig.args(["@127.0.0.1", "-p", &port.to_string(), "-y", &key]).args(&more).args([ZONE, "AXFR"]);
        let printed = common::text(&dig.output().expect("run"));
        assert_eq!(printed.contains("Transfer failed"), !is_allowed, "{port} {more:?}: {printed}");
        assert_eq!(printed.contains("SOA"), is_allowed, "{port} {more:?}: {printed}");
    }
}

/// What our signer answers to AXFR by a client with this certificate, as text; signed, with OPT.
fn asked_over_tls(port: u16, dir: &Path, name: &str, has_dot: bool, version: Option<SslVersion>) -> String {
    use std::io::{Read as _, Write as _};
    let [certificate, key] = certificate::files(dir, name);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("TLS");
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_max_proto_version(version).expect("a version");
    builder.set_certificate_file(certificate, SslFiletype::PEM).expect("a certificate");
    builder.set_private_key_file(key, SslFiletype::PEM).expect("a key");
    if has_dot {
        builder.set_alpn_protos(b"\x03dot").expect("a protocol");
    }
    let stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(LONGEST)).expect("a timeout");
    let mut stream = builder.build().connect("signer.example", stream).expect("a handshake");
    let query = signed_axfr();
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).expect("sent");
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("an answer");
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// AXFR of the zone with OPT and TSIG.
fn signed_axfr() -> Vec<u8> {
    use domain::base::{MessageBuilder, Name, Rtype};
    use domain::rdata::tsig::Time48;
    use domain::tsig::{Algorithm, ClientTransaction, Key};
    let secret = data_encoding::BASE64.decode(SECRET.as_bytes()).expect("Base64");
    let key = Key::new(Algorithm::Sha256, &secret, KEY.parse().expect("a name"), None, None).expect("a key");
    let mut question = MessageBuilder::new_vec().question();
    question.push((ZONE.parse::<Name<Vec<u8>>>().expect("a name"), Rtype::AXFR)).expect("room");
    let mut additional = question.additional();
    additional
        .opt(|opt| {
            opt.set_udp_payload_size(1232);
            Ok(())
        })
        .expect("room");
    let now = Time48::from_u64(keystore::clock::now().secs());
    ClientTransaction::request(std::sync::Arc::new(key), &mut additional, now).expect("signed");
    additional.finish()
}

#[test]
fn primaries_that_are_not_who_they_should_be_give_nothing_and_each_cause_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let (there, here) = (dir.path().join("there"), dir.path().join("here"));
    for folder in [&there, &here] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let authority = certificates(&there, &["primary", "signer"]);
    let tls = common::free_port();
    // Our signer is the primary as well. It listens on every address, so that each wrong way has one of its own.
    let from = [
        ("192.0.2.1:53", "127.0.0.1:0".to_owned()),
        ("192.0.2.1:853", format!("0.0.0.0:{tls}")),
        ("signer.", "primary.".to_owned()),
        ("192.0.2.53", "127.0.0.1:9".to_owned()),
        ("name = \"secondary.example\"", "name = \"signer.example\"".to_owned()),
        ("primaries = [", "file = \"zone\"\n# [".to_owned()),
    ];
    std::fs::write(there.join("zone"), text(7)).expect("write");
    let changes: Vec<(&str, &str)> = from.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let source = Ours::start(&configured(&there, &changes), common::free_port());
    common::wait_for("the primary to serve", Duration::from_secs(30), || txt_at(source.address()));
    for file in ["ca.crt", "primary.crt", "primary.key"] {
        std::fs::copy(there.join(file), here.join(file)).expect("copied");
    }
    let [right, wrong] = [pin_in(&there.join("primary.crt")), KeyPin::of_key_info(b"another")];
    certificate::write(&here, "other", (-1, 100), None);
    // What it shows is of nobody at first.
    certificate::write(&here, "signer", (-1, 100), None);
    let own = "certificate = \"signer.crt\", key-file = \"signer.key\"";
    let ways = [
        ("name = \"other.example\", ca-file = \"ca.crt\"".to_owned(), "not valid for name"),
        (format!("pin-sha256 = \"{wrong}\""), "which pin-sha256 does not have"),
        (
            format!("ca-file = \"ca.crt\", name = \"primary.example\", pin-sha256 = \"{wrong}\""),
            "pin-sha256 does not have",
        ),
        (
            format!("ca-file = \"other.crt\", name = \"primary.example\", pin-sha256 = \"{right}\""),
            "UnknownIssuer",
        ),
        ("ca-file = \"ca.crt\"".to_owned(), "not valid for name"),
        ("ca-file = \"missing.crt\", name = \"primary.example\"".to_owned(), "No such file"),
        (format!("ca-file = \"ca.crt\", name = \"primary.example\", {own}"), "the primary answers REFUSED"),
    ];
    let primaries: Vec<String> = ways
        .iter()
        .enumerate()
        .map(|(number, (tls_of, _))| {
            format!("{{ address = \"127.0.0.{}:{tls}\", key = \"xfr\", tls = {{ {tls_of} }} }}", number + 2)
        })
        .collect();
    let old = "{ address = \"192.0.2.10\", key = \"xfr\", tls = { name = \"primary.example\", ca-file = \"ca.crt\", certificate = \"signer.crt\", key-file = \"signer.key\" } }";
    let changes = [
        ("192.0.2.1:53", "127.0.0.1:0"),
        ("192.0.2.1:853", "127.0.0.1:0"),
        ("192.0.2.53", "127.0.0.1:9"),
        (old, &primaries.join(", ")),
    ];
    let us = Ours::start(&configured(&here, &changes), common::free_port());
    let cause = common::wait_for("every primary to fail", Duration::from_secs(30), || {
        let (_, state) = us.signer.states().into_iter().next()?;
        let failing = state.conditions.into_iter().find(|found| found.id == ConditionId::TransferFailing)?;
        Some(failing.cause)
    });
    for ((_, said), part) in ways.iter().zip(cause.split("; 127.")) {
        assert!(part.contains(said), "{said}: {part}");
    }
    assert_eq!(cause.split("; 127.").count(), ways.len(), "{cause}");
    assert_eq!(txt_at(us.address()), None, "nothing has come");
    // The certificate that the primary wants, put in place of the other: it is read again.
    certificate::write(&here, "signer", (-1, 100), Some(&authority));
    common::wait_for("the zone", Duration::from_secs(30), || {
        (txt_at(us.address())? == "\"7\"").then_some(())
    });
    us.stop();
    source.stop();
}
