//! What a program that has the handler and the server in it relies on: the inner handler can be changed, any handler can be served, with
//! TLS of its own, and what the configuration says of clients holds without a further call.

use std::path::Path;

use keystore::config::Config;
use metrics::http::{CertificateFiles, LoadedCertificate};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;
use crate::runtime::Signer;

/// A file of `tests/fixtures`. The certificate and its key were made by
/// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.crt -days 36500
/// -subj /CN=server.example -addext subjectAltName=DNS:server.example -addext basicConstraints=critical,CA:FALSE`.
pub(super) fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// TLS of a server with the certificate of the fixtures.
pub(super) fn server_config() -> Arc<ServerConfig> {
    let files = CertificateFiles { certificate: fixture("server.crt"), key: fixture("server.key") };
    LoadedCertificate::load(&files, b"other").unwrap().config
}

/// TLS of a client that trusts the certificate of the fixtures, for this protocol.
pub(super) fn client_config(protocol: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture("server.crt")).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

pub(super) const SERVER: &str = "server.example";

/// A catalog with one zone, whose names have this address.
fn catalog(origin: &str, script: Script) -> Catalog {
    let apex = Name::parse(origin).unwrap();
    let mut catalog = Catalog::new();
    let handler = SignerZoneHandler::new(
        Hosted::new([Scripted::zone(origin, script)], SharedSettings::default()),
        &apex,
    );
    catalog.upsert(convert::name(&apex).into(), vec![Arc::new(handler)]);
    catalog
}

async fn ask(address: SocketAddr, qname: &str) -> [MessageParts; 2] {
    let query = question(qname, 1, None);
    let (udp, tcp) = (ask_udp(address, &query).await.unwrap(), ask_tcp(address, &query).await);
    [udp, tcp].map(|octets| MessageParts::read(&octets).unwrap())
}

#[tokio::test]
async fn inner_handler_can_be_changed_later_while_a_server_and_clones_have_the_handler() {
    let one: Script = |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[1; 4])]));
    let two: Script = |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[2; 4])]));
    let handler = SignerHandler::new(
        Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default()),
        catalog("a.test", one),
    );
    let server = Server::start(&Listen::on(vec!["127.0.0.1:0".parse().unwrap()]), &handler.clone()).unwrap();
    let address = server.addresses()[0];
    let before = handler.inner();
    for (inner, a, b) in [(None, 0, 5), (Some(catalog("b.test", two)), 5, 0), (Some(Catalog::new()), 5, 5)] {
        if let Some(inner) = inner {
            handler.set_inner(inner);
        }
        for (qname, rcode) in [("a.test", a), ("b.test", b), ("a.example", 0)] {
            for reply in ask(address, qname).await {
                assert_eq!(reply.rcode(), rcode, "{qname}");
            }
        }
    }
    assert!(!Arc::ptr_eq(&before, &handler.inner()));
    server.shutdown().await;
}

#[tokio::test]
async fn server_takes_any_handler_and_tls_of_the_host() {
    let script: Script = |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[7; 4])]));
    let any = || vec!["127.0.0.1:0".parse().unwrap()];
    let listen = Listen::on(any()).with_tls(any()).with_tls_config(server_config());
    let server = Server::start_any(&listen, catalog("a.test", script)).unwrap();
    for reply in ask(server.addresses()[0], "a.test").await {
        assert_eq!(reply.answers[0].rdata, [7; 4]);
    }
    // Clients that say that they speak DNS over TLS, and those that say nothing; others are turned away in the handshake.
    for (protocol, is_answered) in [(Some("dot"), true), (None, true), (Some("http/1.1"), false)] {
        let mut config = client_config(protocol.unwrap_or_default().as_bytes());
        if protocol.is_none() {
            config.alpn_protocols.clear();
        }
        let stream = TcpStream::connect(server.tls_addresses()[0]).await.unwrap();
        let stream =
            TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SERVER).unwrap(), stream).await;
        assert_eq!(stream.is_ok(), is_answered, "{protocol:?}: {:?}", stream.as_ref().err());
        let Ok(mut stream) = stream else { continue };
        let query = question("a.test", 1, None);
        stream.write_u16(query.len() as u16).await.unwrap();
        stream.write_all(&query).await.unwrap();
        let mut octets = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut octets).await.unwrap();
        assert_eq!(MessageParts::read(&octets).unwrap().answers[0].rdata, [7; 4], "{protocol:?}");
    }
    server.shutdown().await;
}

/// A signer in this folder of `a.test`, whose zone file is not there, with this in `[signer]` and in the zone.
fn signer(dir: &Path, of_signer: &str, of_zone: &str) -> Signer {
    let text = format!(
        "version = 1\nstate-dir = \".\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n{of_signer}\n[[zone]]\nname = \"a.test\"\n\
         policy = \"p\"\nfile = \"zone\"\n{of_zone}\ntrust-anchors = [\"a.test. DS 18064 13 2 \
         3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\n[policy.p]\noffline-ksk = true\nkeys = [\
         {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = 13 }}, {{ role = \"zsk\", lifetime = \"unlimited\", algorithm = 13 }}]\n"
    );
    let config = Config::parse(text.as_bytes(), &dir.join("c.toml")).unwrap();
    let clock = Arc::new(|| keystore::time::Timestamp::from_secs(1_800_000_000));
    Signer::start(&config, &Metrics::new().unwrap(), clock).unwrap()
}

#[tokio::test]
async fn allow_query_of_the_configuration_holds_by_default_in_every_way_to_serve_a_zone() {
    let elsewhere = "allow-query = [\"192.0.2.0/24\"]";
    let here = "allow-query = [\"127.0.0.0/8\"]";
    const SERVFAIL: u16 = 2;
    const REFUSED: u16 = 5;
    for (of_signer, of_zone, rcode) in [
        ("", "", SERVFAIL),
        (elsewhere, "", REFUSED),
        ("", elsewhere, REFUSED),
        (elsewhere, here, SERVFAIL),
        (here, elsewhere, REFUSED),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let signer = signer(dir.path(), of_signer, of_zone);
        let what = format!("[signer] {of_signer}, zone {of_zone}");
        let apex = Name::parse("a.test").unwrap();
        let mut catalog = Catalog::new();
        let in_chain = SignerZoneHandler::new(signer.hosted(), &apex);
        catalog.upsert(convert::name(&apex).into(), vec![Arc::new(in_chain)]);

        let ours = start(signer.hosted(), Catalog::new(), TcpLimits::new(100));
        let chain = start(Hosted::default(), catalog, TcpLimits::new(100));
        let (mut hickory, in_hickory) = start_in_hickory(signer.hosted()).await;
        for (way, address) in [("our server", ours.1), ("hickory's server", in_hickory), ("a chain", chain.1)]
        {
            for reply in ask(address, "www.a.test").await {
                assert_eq!(reply.rcode(), rcode, "{what}: {way}");
            }
        }
        // Settings of one's own take the place of those of the configuration.
        let own = signer.hosted().with_settings(crate::protocol::SharedSettings::default());
        let (own, address) = start(own, Catalog::new(), TcpLimits::new(100));
        for reply in ask(address, "www.a.test").await {
            assert_eq!(reply.rcode(), SERVFAIL, "{what}");
        }
        hickory.shutdown_gracefully().await.unwrap();
        for server in [ours.0, chain.0, own] {
            server.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zone_that_leaves_is_answered_for_nobody_who_might_not_ask_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let signer = signer(dir.path(), "", "allow-query = [\"192.0.2.0/24\"]");
    let with = signer.config();
    let mut without = with.clone();
    without.zones.clear();
    let server = start(signer.hosted(), Catalog::new(), TcpLimits::new(100));
    let reloads = tokio::task::spawn_blocking(move || {
        for _ in 0..300 {
            signer.reload(&without).unwrap();
            signer.reload(&with).unwrap();
        }
    });
    let query = question("www.a.test", 1, None);
    while !reloads.is_finished() {
        let answer = ask_udp(server.1, &query).await.unwrap();
        assert_eq!(MessageParts::read(&answer).unwrap().rcode(), 5);
    }
    reloads.await.unwrap();
    server.0.shutdown().await;
}

pub(super) mod page;
