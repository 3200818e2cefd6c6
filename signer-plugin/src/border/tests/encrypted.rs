//! DNS over HTTPS and QUIC of our server, by clients of `h2` and `quinn`: what is answered, what is refused, and what one client can take up.

use std::net::Ipv4Addr;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use h2::client::SendRequest;
use http::{Method, Request, Response, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::embedding::page::{dig, dig_is_missing};
use super::embedding::{SERVER, client_config, fixture, server_config};
use super::*;
use crate::protocol::QuerySettings;

const PATH: &str = "https://server.example/dns-query";
const MESSAGE: &str = "application/dns-message";

/// A server with both, and with `example` before a catalog that has nothing.
fn encrypted(limits: TcpLimits) -> Server {
    let any = || vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let listen = Listen { udp_sockets: 1, ..Listen::on(any()) };
    let listen = listen.with_https(any()).with_quic(any()).with_tls_config(server_config());
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], SharedSettings::default());
    let handler = SignerHandler::new(zones, Catalog::new());
    Server::start(&listen.with_tcp_limits(limits), &handler).unwrap()
}

/// A connection of HTTP/2; `None` where the server closes it.
async fn connect_https(server: &Server) -> Option<SendRequest<Bytes>> {
    let stream = TcpStream::connect(server.https_addresses()[0]).await.unwrap();
    let tls = TlsConnector::from(Arc::new(client_config(b"h2")));
    let stream = tls.connect(ServerName::try_from(SERVER).unwrap(), stream).await.ok()?;
    let (client, connection) = h2::client::handshake(stream).await.ok()?;
    tokio::spawn(connection);
    client.ready().await.ok()
}

/// Sends a request; gives the head of the response and its body.
async fn request(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    body: &[u8],
) -> Result<(Response<()>, Vec<u8>), h2::Error> {
    let mut client = client.clone().ready().await?;
    let (response, mut stream) = client.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        let _ = stream.send_data(Bytes::copy_from_slice(body), true);
    }
    let (head, mut body) = response.await?.into_parts();
    let mut octets = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        let _ = body.flow_control().release_capacity(part.len());
        octets.extend_from_slice(&part);
    }
    Ok((Response::from_parts(head, ()), octets))
}

fn post(uri: &str, media_type: &str) -> Request<()> {
    Request::builder().method(Method::POST).uri(uri).header("content-type", media_type).body(()).unwrap()
}

fn get(uri: &str) -> Request<()> {
    Request::builder().uri(uri).body(()).unwrap()
}

#[tokio::test]
async fn https_answers_get_and_post_and_says_why_it_refuses() {
    let server = encrypted(TcpLimits::new(100));
    let client = connect_https(&server).await.unwrap();
    let query = question("a.example", 1, Some((1232, true)));
    let encoded = BASE64URL_NOPAD.encode(&query);
    for (how, body) in [
        (post(PATH, MESSAGE), &query[..]),
        (post(PATH, "Application/DNS-Message"), &query),
        (get(&format!("{PATH}?dns={encoded}")), &[]),
        (get(&format!("{PATH}?a=b&dns={encoded}&c")), &[]),
    ] {
        let what = format!("{how:?}");
        let (head, answer) = request(&client, how, body).await.unwrap();
        assert_eq!(
            (head.status(), &head.headers()["content-type"]),
            (StatusCode::OK, &MESSAGE.parse().unwrap()),
            "{what}"
        );
        assert_eq!(head.headers()["content-length"], answer.len().to_string(), "{what}");
        assert!(head.headers()["cache-control"].to_str().unwrap().starts_with("max-age="), "{what}");
        assert_eq!(MessageParts::read(&answer).unwrap().answers[0].rdata, [192, 0, 2, 1], "{what}");
    }
    // Names that are not ours are the inner handler's.
    for (qname, qtype) in [("a.other", 1), ("refused.example", 1)] {
        let (head, answer) =
            request(&client, post(PATH, MESSAGE), &question(qname, qtype, None)).await.unwrap();
        assert_eq!(
            (head.status(), head.headers()["cache-control"].to_str().unwrap()),
            (StatusCode::OK, "max-age=0")
        );
        assert_eq!(MessageParts::read(&answer).unwrap().rcode(), 5, "{qname}");
    }
    let large = vec![0; 4097];
    let long = BASE64URL_NOPAD.encode(&large);
    for (how, body, status) in [
        (post("https://server.example/", MESSAGE), &query[..], 404),
        (post(PATH, "application/json"), &query, 415),
        (Request::builder().method(Method::POST).uri(PATH).body(()).unwrap(), &query, 415),
        (post(PATH, MESSAGE), &[], 400),
        (post(PATH, MESSAGE), &query[..11], 400),
        (post(PATH, MESSAGE), &large, 413),
        (get(PATH), &[], 400),
        (get(&format!("{PATH}?dns={encoded}=")), &[], 400),
        (get(&format!("{PATH}?dns=*")), &[], 400),
        (get(&format!("{PATH}?dns={long}")), &[], 414),
        (Request::builder().method(Method::PUT).uri(PATH).body(()).unwrap(), &[], 405),
        (Request::builder().method(Method::DELETE).uri(PATH).body(()).unwrap(), &[], 405),
    ] {
        let what = format!("{how:?}");
        let (head, answer) = request(&client, how, body).await.unwrap();
        assert_eq!((head.status().as_u16(), answer.len()), (status, 0), "{what}");
    }
    // Many at once, on the same connection as all that.
    let all = (0..500).map(|_| {
        let (client, query) = (client.clone(), query.clone());
        tokio::spawn(async move { request(&client, post(PATH, MESSAGE), &query).await.unwrap().0.status() })
    });
    for one in all.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), StatusCode::OK);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn https_closes_connections_that_are_too_many_idle_or_no_http() {
    // Four connections, of which two may be encrypted, and one of a client.
    let limits = TcpLimits { idle_timeout: Duration::from_millis(300), ..TcpLimits::new(64) };
    let server = encrypted(limits);
    let mut open = Vec::new();
    while let Some(client) = connect_https(&server).await {
        open.push(client);
        assert!(open.len() < 9, "an eighth of those that may be encrypted");
    }
    assert!(!open.is_empty());
    // They are idle: their places come back.
    let start = std::time::Instant::now();
    while connect_https(&server).await.is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "idle connections are kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A body that does not come, and octets that are no HTTP/2.
    let client = connect_https(&server).await.unwrap();
    let (response, _stream) =
        client.clone().ready().await.unwrap().send_request(post(PATH, MESSAGE), false).unwrap();
    let response = tokio::time::timeout(Duration::from_secs(20), response).await.unwrap();
    assert!(response.is_err() || response.is_ok_and(|r| r.status() == StatusCode::REQUEST_TIMEOUT));
    let stream = TcpStream::connect(server.https_addresses()[0]).await.unwrap();
    let tls = TlsConnector::from(Arc::new(client_config(b"h2")));
    if let Ok(mut stream) = tls.connect(ServerName::try_from(SERVER).unwrap(), stream).await {
        stream.write_all(&[b'x'; 4000]).await.unwrap();
        let mut octets = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut octets)).await;
        assert!(read.is_ok(), "it is closed");
    }
    server.shutdown().await;
}

/// A connection of QUIC to the server.
async fn connect_quic(server: &Server, protocol: &[u8]) -> Result<quinn::Connection, quinn::ConnectionError> {
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let crypto = QuicClientConfig::try_from(client_config(protocol)).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint.connect(server.quic_addresses()[0], SERVER).unwrap().await
}

/// What comes back on a stream that these octets are sent on.
async fn exchange_quic(connection: &quinn::Connection, octets: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(octets).await.ok()?;
    send.finish().ok()?;
    receive.read_to_end(70_000).await.ok()
}

fn framed(query: &[u8]) -> Vec<u8> {
    [&(query.len() as u16).to_be_bytes()[..], query].concat()
}

/// A query with the ID that DNS over QUIC has.
fn query(qname: &str, qtype: u16) -> Vec<u8> {
    let mut query = question(qname, qtype, Some((1232, true)));
    query[..2].copy_from_slice(&[0, 0]);
    query
}

#[tokio::test]
async fn quic_answers_each_query_on_its_stream_and_ends_connections_that_break_the_protocol() {
    let server = encrypted(TcpLimits::new(100));
    assert!(connect_quic(&server, b"h3").await.is_err(), "another protocol");
    let connection = connect_quic(&server, b"doq").await.unwrap();
    for (qname, qtype, rcode) in
        [("a.example", 1, 0), ("nx.example", 1, 3), ("a.other", 1, 5), ("refused.example", 1, 5)]
    {
        let answer = exchange_quic(&connection, &framed(&query(qname, qtype))).await.unwrap();
        assert_eq!(usize::from(u16::from_be_bytes([answer[0], answer[1]])), answer.len() - 2, "{qname}");
        assert_eq!(MessageParts::read(&answer[2..]).unwrap().rcode(), rcode, "{qname}");
    }
    let all = (0..500).map(|_| {
        let connection = connection.clone();
        tokio::spawn(
            async move { exchange_quic(&connection, &framed(&query("a.example", 1))).await.is_some() },
        )
    });
    for one in all.collect::<Vec<_>>() {
        assert!(one.await.unwrap());
    }
    let other_id = question("a.example", 1, None);
    let two = [framed(&query("a.example", 1)), framed(&query("a.example", 1))].concat();
    for (what, octets) in [
        ("another ID", framed(&other_id)),
        ("two queries", two),
        ("a length that is too large", [&[0, 200][..], &query("a.example", 1)].concat()),
        ("nothing", vec![]),
        ("one octet", vec![0]),
        ("a query that is too long", framed(&[0; 4097])),
    ] {
        let connection = connect_quic(&server, b"doq").await.unwrap();
        assert_eq!(exchange_quic(&connection, &octets).await, None, "{what}");
        let closed = tokio::time::timeout(Duration::from_secs(20), connection.closed()).await.unwrap();
        let code = match closed {
            quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{what}: {other}"),
        };
        assert_eq!(code, 2, "{what}");
    }
    assert!(exchange_quic(&connection, &framed(&query("a.example", 1))).await.is_some(), "others go on");
    server.shutdown().await;
    assert!(exchange_quic(&connection, &framed(&query("a.example", 1))).await.is_none());
}

#[tokio::test]
async fn quic_closes_connections_that_are_too_many_or_idle() {
    let limits = TcpLimits { idle_timeout: Duration::from_millis(300), ..TcpLimits::new(64) };
    let server = encrypted(limits);
    let mut open = Vec::new();
    while let Ok(connection) = connect_quic(&server, b"doq").await {
        open.push(connection);
        assert!(open.len() < 9, "an eighth of those that may be encrypted");
    }
    assert!(!open.is_empty());
    let start = std::time::Instant::now();
    while connect_quic(&server, b"doq").await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "idle connections are kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn connections_whose_queries_come_to_nothing_are_ended() {
    let server = encrypted(TcpLimits::new(100));
    let client = connect_https(&server).await.unwrap();
    let mut refused = 0;
    while request(&client, get("https://server.example/favicon.ico"), &[]).await.is_ok() {
        refused += 1;
        assert!(refused < 100, "the connection is kept");
    }
    assert!(refused >= 10, "a few mistakes are nothing");
    // Streams whose queries do not come.
    let connection = connect_quic(&server, b"doq").await.unwrap();
    let mut open = Vec::new();
    for _ in 0..50 {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&[0]).await.unwrap();
        open.push((send, receive));
    }
    let closed = tokio::time::timeout(Duration::from_secs(20), connection.closed()).await;
    assert!(closed.is_ok(), "the connection is kept");
    server.shutdown().await;
}

#[tokio::test]
async fn quic_clients_that_have_not_shown_their_address_take_no_place_of_others() {
    let server = encrypted(TcpLimits::new(64));
    // The first datagram of a client, which anybody may send with any source.
    let catcher = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut client = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let crypto = QuicClientConfig::try_from(client_config(b"doq")).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let connecting = client.connect(catcher.local_addr().unwrap(), SERVER).unwrap();
    let mut room = [0; 2048];
    let (len, _) = catcher.recv_from(&mut room).await.unwrap();
    drop(connecting);
    for number in 0..30 {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.send_to(&room[..len], server.quic_addresses()[0]).await.unwrap();
        let mut answer = [0; 2048];
        let answered = tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut answer)).await;
        assert!(answered.unwrap().unwrap() < len, "{number}: nobody is amplified");
        assert_eq!(answer[0] & 0xf0, 0xf0, "{number}: it is a Retry packet (RFC 9000 section 17.2.5)");
    }
    assert!(connect_quic(&server, b"doq").await.is_ok(), "the address has its share still");
    server.shutdown().await;
}

/// What a program says.
async fn output(mut command: std::process::Command) -> Option<std::process::Output> {
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().ok()
}

#[tokio::test]
async fn dig_and_curl_ask_over_https_and_verify_the_certificate() {
    if dig_is_missing() {
        return;
    }
    let server = encrypted(TcpLimits::new(100));
    let address = server.https_addresses()[0];
    let certificate = fixture("server.crt").display().to_string();
    for how in ["+https", "+https-get", "+https=/dns-query"] {
        let mut dig = dig();
        dig.args(["@127.0.0.1", "-p", &address.port().to_string(), how, "+tries=1", "+timeout=5", "+dnssec"]);
        dig.args([&format!("+tls-ca={certificate}"), "+tls-hostname=server.example", "a.example", "A"]);
        let said = String::from_utf8(output(dig).await.unwrap().stdout).unwrap();
        assert!(said.contains("status: NOERROR") && said.contains("192.0.2.1"), "{how}: {said}");
    }
    let encoded = BASE64URL_NOPAD.encode(&question("a.example", 1, None));
    let curl = |path: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--include", "--http2", "--max-time", "10", "--cacert", &certificate]);
        curl.args(["--resolve", &format!("{SERVER}:{}:127.0.0.1", address.port())]);
        curl.arg(format!("https://{SERVER}:{}{path}", address.port()));
        curl
    };
    for (path, status) in
        [(format!("/dns-query?dns={encoded}"), "HTTP/2 200"), ("/".to_owned(), "HTTP/2 404")]
    {
        let Some(said) = output(curl(&path)).await else {
            eprintln!("SKIPPED: curl is missing");
            return;
        };
        let head = String::from_utf8_lossy(&said.stdout);
        assert!(head.starts_with(status), "{path}: {head}");
        if status.ends_with("200") {
            let start = said.stdout.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(MessageParts::read(&said.stdout[start..]).unwrap().answers[0].rdata, [192, 0, 2, 1]);
        }
    }
    server.shutdown().await;
}

/// The first client behind a change of the certificate is sent a Retry packet before the change is seen, and comes back after that.
#[tokio::test]
async fn quic_handshakes_go_on_under_a_certificate_that_comes_meanwhile() {
    let settings = SharedSettings::default();
    let change = || {
        let tls = Some(Arc::new(rustls::ServerConfig::clone(&server_config())));
        settings.store(QuerySettings { tls, ..QuerySettings::DEFAULT });
    };
    change();
    let any = || vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let listen = Listen { udp_sockets: 1, ..Listen::on(any()) }.with_quic(any());
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], settings.clone());
    let server = Server::start(&listen, &SignerHandler::new(zones, Catalog::new())).unwrap();
    for number in 0..5 {
        let connected = tokio::time::timeout(Duration::from_secs(20), connect_quic(&server, b"doq")).await;
        assert!(connected.is_ok_and(|connected| connected.is_ok()), "connection {number}");
        change();
    }
    server.shutdown().await;
}
