//! Both handlers and the server, asked over real sockets; the zone behind them is a scripted one.

mod compliance;
mod embedding;
#[cfg(all(feature = "https", feature = "quic"))]
mod encrypted;
mod engine;
mod limited;
mod pipelined;
mod scripted;

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_server::zone_handler::Catalog;
use keystore::dns::Name;
use metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::server::{Listen, Server};
use super::*;
use crate::answer::AnswerKind;
use crate::protocol::SharedSettings;
use crate::reply::{Opt, Rr};
use scripted::{Script, Scripted, all_kinds, dissect, rr};

// ---- a client -------------------------------------------------------------------------------------------------------

fn question(qname: &str, qtype: u16, edns: Option<(u16, bool)>) -> Vec<u8> {
    let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    query.extend_from_slice(Name::parse(qname).unwrap().as_wire());
    query.extend_from_slice(&[(qtype >> 8) as u8, qtype as u8, 0, 1]);
    if let Some((size, dnssec_ok)) = edns {
        query.extend_from_slice(&[
            0,
            0,
            41,
            (size >> 8) as u8,
            size as u8,
            0,
            0,
            u8::from(dnssec_ok) << 7,
            0,
            0,
            0,
        ]);
    }
    query
}

async fn ask_udp(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(query, server).await.unwrap();
    let mut octets = vec![0; 65_535];
    let received = tokio::time::timeout(Duration::from_secs(5), socket.recv_from(&mut octets)).await;
    octets.truncate(received.ok()?.unwrap().0);
    Some(octets)
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    exchange(&mut stream, query).await.unwrap()
}

async fn exchange(stream: &mut TcpStream, query: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_u16(query.len() as u16).await?;
    stream.write_all(query).await?;
    let mut octets = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut octets).await?;
    Ok(octets)
}

fn start(zones: Hosted, inner: Catalog, tcp: TcpLimits) -> (Server, SocketAddr) {
    let listen = Listen { udp_sockets: 2, ..Listen::on(vec!["127.0.0.1:0".parse().unwrap()]) };
    let listen = listen.with_tcp_limits(tcp);
    let server = Server::start(&listen, &SignerHandler::new(zones, inner)).unwrap();
    let address = server.addresses()[0];
    (server, address)
}

fn standard() -> (Server, SocketAddr) {
    start(
        Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default()),
        Catalog::new(),
        TcpLimits::new(100),
    )
}

/// The same zones in hickory's own server, which encodes the answers anew.
async fn start_in_hickory(
    zones: Hosted,
) -> (hickory_server::Server<SignerHandler<RefuseOthers>>, SocketAddr) {
    let mut server = hickory_server::Server::new(SignerHandler::alone(zones));
    loop {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The port may be taken for UDP.
        if let Ok(socket) = UdpSocket::bind(address).await {
            server.register_socket(socket);
            server.register_listener(listener, Duration::from_secs(5), 32);
            return (server, address);
        }
    }
}

// ---- SignerHandler --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_part_of_an_answer_arrives() {
    let (server, address) = standard();
    let zone = Scripted::zone("example", all_kinds);
    let (mut in_hickory, there) =
        start_in_hickory(Hosted::new([Arc::clone(&zone)], SharedSettings::default())).await;
    for host in ["a", "mx", "odd", "wild", "nodata", "nx", "cname-nx", "cut", "servfail", "refused", "bits"] {
        for edns in [None, Some((1232, false)), Some((4096, true))] {
            // Mixed case in the question must come back as it was.
            let query = question(&format!("{host}.eXaMple."), 1, edns);
            let mut engine = Vec::new();
            zone.respond(&query, &Arrival::new(Transport::Stream, MAX_UDP), &mut engine);
            let expected = MessageParts::read(&engine).unwrap();
            let (end, _) = dissect(&query);
            assert_eq!(ask_tcp(address, &query).await, engine, "our server sends the engine's octets");
            for octets in [
                ask_udp(address, &query).await.unwrap(),
                ask_udp(there, &query).await.unwrap(),
                ask_tcp(there, &query).await,
            ] {
                assert_eq!(MessageParts::read(&octets).unwrap(), expected, "{host} {edns:?}");
                assert_eq!(octets[12..end], query[12..end], "{host} {edns:?}");
                if matches!(host, "mx" | "servfail" | "refused" | "bits") {
                    Message::from_vec(&octets).unwrap();
                }
            }
            assert_eq!(expected.opt.is_some(), edns.is_some());
        }
    }
    server.shutdown().await;
    in_hickory.shutdown_gracefully().await.unwrap();
}

#[tokio::test]
async fn extended_rcode_and_error_option_arrive() {
    let zone = Scripted { origin: Name::parse("example").unwrap(), script: all_kinds, extended_rcode: 1 };
    let zones = Hosted::new([Arc::new(zone) as Arc<dyn Responder>], SharedSettings::default());
    let (server, ours) = start(zones.clone(), Catalog::new(), TcpLimits::new(100));
    let (mut in_hickory, there) = start_in_hickory(zones).await;
    for address in [ours, there] {
        let octets = ask_udp(address, &question("servfail.example", 1, Some((1232, true)))).await.unwrap();
        let reply = MessageParts::read(&octets).unwrap();
        assert_eq!(reply.rcode(), 0x12);
        assert_eq!(reply.opt, Some(Opt { payload: 1232, ttl: 0x0100_8000, options: vec![(15, vec![0, 9])] }));
    }
    server.shutdown().await;
    in_hickory.shutdown_gracefully().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_hickory_makes_larger_is_cut_by_the_engine_not_by_hickory() {
    let zone = Scripted::zone("example", all_kinds);
    let (mut server, address) =
        start_in_hickory(Hosted::new([Arc::clone(&zone)], SharedSettings::default())).await;
    let (mut cut, mut whole) = (0, 0);
    // Sizes around what the engine needs: each answer is whole or empty with TC, within the size, with OPT.
    for host in ["many", "few"] {
        for size in (512..=1400).step_by(4) {
            let query = question(&format!("{host}.example"), 1, Some((size, false)));
            let octets = ask_udp(address, &query).await.unwrap();
            let reply = MessageParts::read(&octets).unwrap();
            assert!(octets.len() <= usize::from(size.min(MAX_UDP)), "{} octets for {size}", octets.len());
            assert!(reply.opt.is_some(), "{size}");
            if reply.flags & 0x0200 != 0 {
                assert!(reply.answers.is_empty(), "{host} {size}: part of an RRset");
                cut += 1;
            } else {
                assert_eq!(reply.answers.len(), if host == "few" { 36 } else { 150 });
                whole += 1;
            }
        }
    }
    assert!(cut > 10 && whole > 10, "{cut} cut, {whole} whole");
    // The engine alone would have needed less: hickory's octets decide.
    let query = question("few.example", 1, Some((1000, false)));
    let mut engine = Vec::new();
    assert_eq!(
        zone.respond(&query, &Arrival::new(Transport::Udp, MAX_UDP), &mut engine),
        AnswerOutcome::Reply(AnswerKind::Positive)
    );
    assert_eq!(engine[2] & 2, 0);
    assert_eq!(ask_udp(address, &query).await.unwrap()[2] & 2, 2);
    let query = question("many.example", 1, Some((512, false)));
    zone.respond(&query, &Arrival::new(Transport::Stream, MAX_UDP), &mut engine);
    assert_eq!(
        MessageParts::read(&ask_tcp(address, &query).await).unwrap(),
        MessageParts::read(&engine).unwrap()
    );
    // Without EDNS the limit is 512.
    let octets = ask_udp(address, &question("few.example", 1, None)).await.unwrap();
    assert!(
        octets.len() <= 512 && octets[2] & 2 != 0 && MessageParts::read(&octets).unwrap().answers.is_empty()
    );
    server.shutdown_gracefully().await.unwrap();
}

#[tokio::test]
async fn other_names_go_to_the_inner_handler() {
    let mut catalog = Catalog::new();
    let inner = Scripted::zone("inner.example", |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[9, 9, 9, 9])])));
    let apex = convert::name(&Name::parse("inner.example").unwrap());
    let handler = SignerZoneHandler::new(
        Hosted::new([inner], SharedSettings::default()),
        &Name::parse("inner.example").unwrap(),
    );
    catalog.upsert(apex.into(), vec![Arc::new(handler)]);
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default())
        .besides([Name::parse("Inner.example").unwrap()]);
    let (server, address) = start(zones, catalog, TcpLimits::new(100));
    let ask = |qname: &'static str, qtype| async move {
        MessageParts::read(&ask_udp(address, &question(qname, qtype, None)).await.unwrap()).unwrap()
    };
    assert_eq!(ask("a.inner.example", 1).await.answers[0].rdata, [9; 4]);
    assert_eq!(ask("a.example", 1).await.answers[0].rdata, [192, 0, 2, 1]);
    assert_eq!(ask("other.test", 1).await.rcode(), 5, "the Catalog refuses what nobody has");
    assert_eq!(ask("inner.example", 43).await.rcode(), 3, "DS is the parent's");
    server.shutdown().await;
}

#[tokio::test]
async fn a_query_that_deserves_no_answer_gets_none() {
    let (server, address) = standard();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question("silent.example", 1, None), address).await.unwrap();
    socket.send_to(&question("a.example", 1, None), address).await.unwrap();
    let mut octets = [0; 512];
    let len = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut octets)).await.unwrap().unwrap();
    assert!(
        !MessageParts::read(&octets[..len]).unwrap().answers.is_empty(),
        "only the second one is answered"
    );
    server.shutdown().await;
}

// ---- TCP ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_connection_takes_many_queries_and_survives_a_bad_one() {
    let (server, address) = standard();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let query = question("a.example", 1, None);
    let mut both = Vec::new();
    for _ in 0..2 {
        both.extend_from_slice(&(query.len() as u16).to_be_bytes());
        both.extend_from_slice(&query);
    }
    stream.write_all(&both).await.unwrap();
    for _ in 0..2 {
        let mut octets = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut octets).await.unwrap();
        assert_eq!(MessageParts::read(&octets).unwrap().answers.len(), 3);
    }
    let bad = [&query[..12], &[0xff; 9]].concat();
    let refused = exchange(&mut stream, &bad).await.unwrap();
    assert_eq!(refused, [0xab, 0xcd, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(exchange(&mut stream, &query).await.is_ok());
    server.shutdown().await;
    assert!(exchange(&mut stream, &query).await.is_err(), "closed with the server");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn too_many_and_too_slow_connections_are_closed() {
    let limits = TcpLimits { per_client: 2, per_network: 3, ..short_lived(3) };
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default());
    let (server, address) = start(zones, Catalog::new(), limits);
    let query = question("a.example", 1, None);
    let (mut one, mut two) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    exchange(&mut one, &query).await.unwrap();
    exchange(&mut two, &query).await.unwrap();
    let mut three = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut three, &query).await.is_err(), "the third of one client");
    // Half a query, then nothing: closed when the idle time ends, and others may connect again.
    one.write_all(&[0, 40, 0xab]).await.unwrap();
    assert_eq!(one.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(two.read(&mut [0]).await.unwrap_or(0), 0);
    let mut four = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut four, &query).await.is_ok());
    server.shutdown().await;
}

#[tokio::test]
async fn kind_05_a_query_longer_than_any_resolver_sends_ends_its_connection_at_the_length() {
    let (server, address) = standard();
    let query = question("a.example", 1, None);
    for (len, is_read) in [(query.len(), true), (4096, true), (4097, false), (65_535, false)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut sent = u16::try_from(len).unwrap().to_be_bytes().to_vec();
        if is_read {
            sent.extend_from_slice(&query);
            sent.resize(2 + len, 0);
        }
        stream.write_all(&sent).await.unwrap();
        // Nothing more is sent: the connection ends at once, or there is an answer.
        let answer = tokio::time::timeout(Duration::from_secs(5), stream.read_u16()).await.expect("in time");
        assert_eq!(answer.is_ok(), is_read, "{len}");
    }
    server.shutdown().await;
}

fn short_lived(connections: usize) -> TcpLimits {
    TcpLimits { idle_timeout: Duration::from_millis(400), ..TcpLimits::new(connections) }
}

/// A connection from `client`, an address of the loopback network, to `server`.
async fn connect_from(client: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    socket.connect(server).await.unwrap()
}

#[tokio::test]
async fn kind_05_one_network_leaves_connections_for_others_over_all_addresses_of_the_server() {
    let metrics = Metrics::new().unwrap();
    let addresses = ["127.0.0.1:0", "127.0.0.2:0"].map(|a| a.parse().unwrap());
    let limits = TcpLimits { per_network: 6, per_client: 3, ..TcpLimits::new(8) };
    let listen = Listen::on(addresses.to_vec()).with_tcp_limits(limits).with_metrics(&metrics);
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default());
    let server = Server::start(&listen, &SignerHandler::alone(zones)).unwrap();
    let query = question("a.example", 1, None);
    let refused = |limit| metrics.connections_refused_total.with_label_values(&[limit]).get();
    // Client, listener, and the limit that it meets.
    let mut open = Vec::new();
    for (number, (client, limit)) in [
        ([127, 1, 1, 1], None),
        ([127, 1, 1, 1], None),
        ([127, 1, 1, 1], None),
        ([127, 1, 1, 1], Some("client")),
        ([127, 1, 1, 2], None),
        ([127, 1, 1, 3], None),
        ([127, 1, 1, 4], None),
        ([127, 1, 1, 5], Some("network")),
        ([127, 1, 2, 1], None),
        ([127, 1, 2, 1], None),
        ([127, 1, 3, 1], Some("connections")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = connect_from(client, server.addresses()[number % 2]).await;
        let answered = exchange(&mut stream, &query).await.is_ok();
        assert_eq!(answered, limit.is_none(), "{client:?}");
        if let Some(limit) = limit {
            assert_eq!(refused(limit), 1, "{limit}");
        }
        open.push(stream);
    }
    // Those that are open go on being answered, and what they give back is free for others.
    assert!(exchange(&mut open[0], &query).await.is_ok());
    open.clear();
    let free = async {
        while exchange(&mut connect_from([127, 1, 3, 1], server.addresses()[0]).await, &query).await.is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), free).await.expect("a connection is free again");
    server.shutdown().await;
}

/// Counts the events of this thread that a daemon would write at its default level.
struct CountLines(Arc<std::sync::atomic::AtomicUsize>);

impl tracing::Subscriber for CountLines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn kind_07_what_strangers_send_is_counted_and_writes_no_log_line() {
    const REPEATS: u64 = 50;
    let lines = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let _guard = tracing::subscriber::set_default(CountLines(Arc::clone(&lines)));
    let metrics = Metrics::new().unwrap();
    let listen = Listen::on(vec!["127.0.0.1:0".parse().unwrap()]).with_metrics(&metrics);
    let listen = listen.with_tcp_limits(TcpLimits::new(100));
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default());
    let server = Server::start(&listen, &SignerHandler::alone(zones)).unwrap();
    let address = server.addresses()[0];
    let with = |query: Vec<u8>, at: usize, octet: u8| {
        let mut query = query;
        query[at] = octet;
        query
    };
    let foreign = || question("www.elsewhere.test", 1, None);
    let foreign_edns = || question("www.elsewhere.test", 1, Some((1232, true)));
    let version_at = foreign_edns().len() - 5;
    let kinds = [
        ("other_zone", foreign(), 5),
        ("other_zone", foreign_edns(), 5),
        ("other_zone", question(".", 2, None), 5),
        ("opcode", with(foreign(), 2, 0x10), 4),
        ("opcode", with(foreign(), 2, 0x78), 4),
        ("edns_version", with(foreign_edns(), version_at, 1), 0),
        ("edns_version", with(foreign_edns(), version_at, 255), 0),
        ("malformed", with(foreign(), 12, 0xff), 1),
        ("malformed", [&foreign()[..12], &[0xff; 9]].concat(), 1),
    ];
    for (reason, query, rcode) in &kinds {
        let before = metrics.queries_refused_total.with_label_values(&[reason]).get();
        for _ in 0..REPEATS {
            let answer = ask_udp(address, query).await.unwrap_or_else(|| panic!("{reason}: no answer"));
            assert_eq!(u16::from(answer[3] & 15), *rcode, "{reason}");
        }
        let over_tcp = ask_tcp(address, query).await;
        assert_eq!(u16::from(over_tcp[3] & 15), *rcode, "{reason}");
        let after = metrics.queries_refused_total.with_label_values(&[reason]).get();
        assert_eq!(after - before, REPEATS + 1, "{reason}");
    }
    // Our own zone's odd queries, answers to nobody, and no message at all.
    for query in [question("silent.example", 1, None), with(foreign(), 2, 0x80), vec![0; 11]] {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&query, address).await.unwrap();
    }
    assert!(ask_udp(address, &question("a.example", 1, None)).await.is_some());
    server.shutdown().await;
    assert_eq!(lines.load(std::sync::atomic::Ordering::Relaxed), 0, "log lines");
}

#[tokio::test]
async fn a_second_server_on_the_address_is_refused() {
    let (_server, address) = standard();
    let handler = SignerHandler::new(Hosted::default(), Catalog::new());
    let error = Server::start(&Listen::on(vec![address]), &handler).unwrap_err();
    assert_eq!(error.address, address);
    assert!(error.to_string().contains("stop the server that runs there"), "{error}");
}

// ---- SignerZoneHandler ----------------------------------------------------------------------------------------------

fn types(rrs: &[Rr]) -> Vec<u16> {
    rrs.iter().map(|r| r.rtype.0).collect()
}

#[tokio::test]
async fn as_a_zone_handler_inside_a_catalog() {
    let mut catalog = Catalog::new();
    let apex = convert::name(&Name::parse("example").unwrap());
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default());
    let handler = SignerZoneHandler::new(zones, &Name::parse("example").unwrap());
    catalog.upsert(apex.into(), vec![Arc::new(handler)]);
    let (server, address) = start(Hosted::default(), catalog, TcpLimits::new(100));
    // name, type, RCODE, types of answer, authority with DO, authority without, additional
    type Row = (&'static str, u16, u16, &'static [u16], &'static [u16], &'static [u16], &'static [u16]);
    let table: &[Row] = &[
        ("a.example", 1, 0, &[1, 1, 46], &[], &[], &[]),
        ("mx.example", 15, 0, &[15], &[], &[], &[1]),
        ("wild.example", 16, 0, &[16], &[47, 46], &[47, 46], &[]),
        ("nodata.example", 1, 0, &[], &[6, 46, 47, 46], &[6], &[]),
        ("nodata.example", 6, 0, &[], &[47, 46, 6, 46], &[6], &[]),
        ("nx.example", 1, 3, &[], &[47, 46, 6, 46], &[6], &[]),
        ("cname-nx.example", 1, 0, &[5], &[6, 46, 47, 46], &[6], &[]),
        ("cut.example", 1, 0, &[], &[2, 43, 46], &[2], &[28]),
        ("cut.example", 6, 0, &[], &[2, 43, 46], &[2], &[28]),
        ("example", 6, 0, &[6, 46], &[], &[], &[]),
        ("refused.example", 1, 5, &[], &[], &[], &[]),
        ("servfail.example", 1, 2, &[], &[], &[], &[]),
        ("a.example", 252, 5, &[], &[], &[], &[]),
    ];
    for (qname, qtype, rcode, answers, authorities, plain_authorities, additionals) in table {
        for dnssec_ok in [true, false] {
            let octets = ask_tcp(address, &question(qname, *qtype, Some((1232, dnssec_ok)))).await;
            let reply = MessageParts::read(&octets).unwrap();
            let what = format!("{qname} {qtype} DO={dnssec_ok}");
            assert_eq!(reply.rcode(), *rcode, "{what}");
            assert_eq!(types(&reply.answers), *answers, "{what}");
            let expected = if dnssec_ok { authorities } else { plain_authorities };
            assert_eq!(types(&reply.authorities), *expected, "{what}");
            assert_eq!(types(&reply.additionals), *additionals, "{what}");
            assert!(reply.opt.is_some(), "{what}");
        }
    }
    server.shutdown().await;
}

/// A zone in a catalog leaves and comes again, as by reloads of a configuration; the handler behind ours answers meanwhile.
#[tokio::test]
async fn a_zone_handler_follows_its_zone_by_the_apex_and_answers_nothing_for_one_that_left() {
    let answering = |address: u8| {
        let script: Script = match address {
            1 => |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[192, 0, 2, 1])])),
            2 => |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[192, 0, 2, 2])])),
            _ => |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[192, 0, 2, 99])])),
        };
        Scripted::zone("example", script)
    };
    for with_next in [false, true] {
        let zones = Hosted::new([answering(1)], SharedSettings::default());
        let apex = Name::parse("Example").unwrap();
        let mut chain: Vec<Arc<dyn hickory_server::zone_handler::ZoneHandler>> =
            vec![Arc::new(SignerZoneHandler::new(zones.clone(), &apex))];
        if with_next {
            chain.push(Arc::new(SignerZoneHandler::new(
                Hosted::new([answering(99)], SharedSettings::default()),
                &apex,
            )));
        }
        let mut catalog = Catalog::new();
        catalog.upsert(convert::name(&apex).into(), chain);
        let (server, address) = start(Hosted::default(), catalog, TcpLimits::new(100));
        let ask = || async {
            let reply = ask_tcp(address, &question("a.example", 1, Some((1232, true)))).await;
            let reply = MessageParts::read(&reply).unwrap();
            (reply.rcode(), reply.answers.first().map(|rr| rr.rdata[3]))
        };
        let gone = if with_next { (0, Some(99)) } else { (2, None) };
        assert_eq!(ask().await, (0, Some(1)));
        zones.replace([answering(2)]);
        assert_eq!(ask().await, (0, Some(2)), "another object for the same zone");
        zones.replace([]);
        assert_eq!(ask().await, gone);
        zones.replace([Scripted::zone("other", all_kinds)]);
        assert_eq!(ask().await, gone);
        zones.replace([answering(1)]);
        assert_eq!(ask().await, (0, Some(1)), "it was added again");
        server.shutdown().await;
    }
}

/// A zone and the one above it in one catalog, in any spelling: the DS records are those of the zone above, as long as that is there, and
/// neither zone answers for the other when it is gone.
#[tokio::test]
async fn kind_105_parent_and_child_in_one_catalog_each_answer_their_part_also_when_one_leaves() {
    let above: Script = |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[192, 0, 2, 1])]));
    let below: Script = |_, _, _| Some((0x0400, vec![rr(0, "@", 1, &[192, 0, 2, 2])]));
    let (parent, child) = (|| Scripted::zone("eXample", above), || Scripted::zone("sUb.exAmple", below));
    for (apex, sub) in [("example", "sub.example"), ("EXAMPLE", "Sub.Example"), ("example", "SUB.EXAMPLE")] {
        let zones = Hosted::new([parent(), child()], SharedSettings::default());
        let mut catalog = Catalog::new();
        for name in [apex, sub] {
            let name = Name::parse(name).unwrap();
            let handler = SignerZoneHandler::new(zones.clone(), &name);
            catalog.upsert(convert::name(&name).into(), vec![Arc::new(handler)]);
        }
        let (server, address) = start(Hosted::default(), catalog, TcpLimits::new(100));
        let ask = |name: &'static str, rtype: u16| async move {
            let reply = ask_tcp(address, &question(name, rtype, Some((1232, true)))).await;
            let reply = MessageParts::read(&reply).unwrap();
            (reply.rcode(), reply.answers.first().map(|rr| rr.rdata[3]))
        };
        let seen = || async {
            [ask("a.example", 1).await, ask("A.sub.Example", 1).await, ask("suB.example", 43).await]
        };
        let (of_parent, of_child, failed) = ((0, Some(1)), (0, Some(2)), (2, None));
        assert_eq!(seen().await, [of_parent, of_child, of_parent], "{sub}: both are there");
        zones.replace([child()]);
        assert_eq!(seen().await, [failed, of_child, of_child], "{sub}: the zone above left");
        zones.replace([parent()]);
        assert_eq!(seen().await, [of_parent, failed, failed], "{sub}: the zone below left");
        zones.replace([parent(), child()]);
        assert_eq!(seen().await, [of_parent, of_child, of_parent], "{sub}: it was added again");
        server.shutdown().await;
    }
}
