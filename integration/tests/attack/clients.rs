//! Well-behaved clients of the ways that need more than a socket: DNS over HTTPS, DNS over QUIC, and signed updates. They take the server's
//! certificate for what it is: whether it is the right one is seen elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::rdata::A;
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientTransaction, Key};
use h2::client::SendRequest;
use keystore::clock;
use keystore::tsig::TsigKey;
use quinn::crypto::rustls::QuicClientConfig;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::server::{Server, connect, framed, is_good, query};

const HOST: &str = "server.example";
const WWW: &[u8] = b"\x03www\x04demo\x07example\x00";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connection of HTTP/2.
pub struct Https {
    runtime: Runtime,
    client: SendRequest<Bytes>,
}

impl Https {
    pub fn connect(from: Ipv4Addr, server: &Server, time: Duration) -> Option<Self> {
        let stream = connect(from, server.https).ok()?;
        stream.set_nonblocking(true).ok()?;
        let runtime = runtime();
        let opened = async {
            let stream = tokio::net::TcpStream::from_std(stream).ok()?;
            let tls = TlsConnector::from(Arc::new(tls(b"h2")));
            let stream = tls.connect(ServerName::try_from(HOST).ok()?, stream).await.ok()?;
            let (client, connection) = h2::client::handshake(stream).await.ok()?;
            tokio::spawn(connection);
            client.ready().await.ok()
        };
        let client = runtime.block_on(async { tokio::time::timeout(time, opened).await.ok()? })?;
        Some(Self { runtime, client })
    }

    /// True when a query is answered well in this time.
    pub fn asks(&mut self, time: Duration) -> bool {
        let client = self.client.clone();
        let asked = async {
            let mut client = client.ready().await.ok()?;
            let request = http::Request::post(format!("https://{HOST}/dns-query"));
            let request = request.header("content-type", "application/dns-message").body(()).ok()?;
            let (response, mut body) = client.send_request(request, false).ok()?;
            body.send_data(Bytes::from(query(WWW)), true).ok()?;
            let mut body = response.await.ok()?.into_body();
            let mut octets = Vec::new();
            while let Some(part) = body.data().await {
                let part = part.ok()?;
                body.flow_control().release_capacity(part.len()).ok()?;
                octets.extend_from_slice(&part);
            }
            Some(octets)
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(time, asked).await.ok()? });
        answer.is_some_and(|answer| is_good(&answer))
    }
}

/// A connection of QUIC.
pub struct Quic {
    runtime: Runtime,
    connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl Quic {
    pub fn connect(from: Ipv4Addr, server: &Server, time: Duration) -> Option<Self> {
        let runtime = runtime();
        let opened = async {
            let mut endpoint = quinn::Endpoint::client(SocketAddr::from((from, 0))).ok()?;
            let crypto = QuicClientConfig::try_from(tls(b"doq")).ok()?;
            endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
            let connection = endpoint.connect(server.quic, HOST).ok()?.await.ok()?;
            Some((endpoint, connection))
        };
        let opened = runtime.block_on(async { tokio::time::timeout(time, opened).await.ok()? });
        let (_endpoint, connection) = opened?;
        Some(Self { runtime, connection, _endpoint })
    }

    /// True when a query is answered well in this time.
    pub fn asks(&mut self, time: Duration) -> bool {
        let asked = async {
            let mut query = query(WWW);
            // RFC 9250 section 4.2.1.
            query[..2].fill(0);
            let (mut send, mut receive) = self.connection.open_bi().await.ok()?;
            send.write_all(&framed(&query)).await.ok()?;
            send.finish().ok()?;
            receive.read_to_end(70_000).await.ok()
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(time, asked).await.ok()? });
        answer.is_some_and(|mut answer| {
            let is_whole = answer.len() > 4 && answer[2..4] == [0, 0];
            is_whole && {
                answer[2..4].copy_from_slice(b"\x12\x34");
                is_good(&answer[2..])
            }
        })
    }
}

/// Changes the address of a name again and again (RFC 2136), with the key of the server's zone.
pub struct Updater {
    key: Arc<Key>,
    name: String,
    count: u32,
}

impl Updater {
    /// One that changes `name` in the server's zone.
    pub fn new(server: &Server, name: &str) -> Self {
        let key = TsigKey::load(&server.config().with_file_name("acme.key")).unwrap();
        let key = signer_plugin::transfer::wire_key(&key).expect("a key");
        Self { key, name: format!("{name}.demo.example"), count: 0 }
    }

    /// True when the next update is accepted over TCP, on a connection of its own.
    pub fn changes_tcp(&mut self, from: Ipv4Addr, to: SocketAddr) -> bool {
        let (octets, signed) = self.next();
        let exchange = |mut stream: TcpStream| {
            stream.write_all(&framed(&octets))?;
            let mut len = [0; 2];
            stream.read_exact(&mut len)?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut answer).map(|()| answer)
        };
        let answer = connect(from, to).and_then(exchange);
        answer.is_ok_and(|answer| is_accepted(answer, signed))
    }

    /// The same over UDP, sent so often at most; how often it was sent.
    pub fn changes_udp(&mut self, to: SocketAddr, most: usize) -> Option<usize> {
        let (octets, signed) = self.next();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut answer = [0; 4096];
        let (times, read) = (1..=most).find_map(|times| {
            socket.send_to(&octets, to).ok()?;
            Some((times, socket.recv(&mut answer).ok()?))
        })?;
        is_accepted(answer[..read].to_vec(), signed).then_some(times)
    }

    fn next(&mut self) -> (Vec<u8>, ClientTransaction<Arc<Key>>) {
        self.count += 1;
        let name = |text: &str| text.parse::<WireName<Vec<u8>>>().unwrap();
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_opcode(Opcode::UPDATE);
        builder.header_mut().set_id(self.count as u16);
        let mut zone = builder.question();
        zone.push((name("demo.example"), WireRtype::SOA)).unwrap();
        let mut updates = zone.authority();
        let [_, _, high, low] = self.count.to_be_bytes();
        let all = UnknownRecordData::from_octets(WireRtype::A, Vec::new()).unwrap();
        updates.push((name(&self.name), Class::ANY, 0, all)).unwrap();
        updates.push((name(&self.name), 60, A::from_octets(198, 18, high, low))).unwrap();
        let mut additional = updates.additional();
        let time = Time48::from_u64(clock::now().secs());
        let signed = ClientTransaction::request(Arc::clone(&self.key), &mut additional, time).unwrap();
        (additional.finish(), signed)
    }
}

/// True for an answer that is signed, and says that the update is served.
fn is_accepted(answer: Vec<u8>, signed: ClientTransaction<Arc<Key>>) -> bool {
    let Ok(mut message) = Message::from_octets(answer) else { return false };
    let is_signed = signed.answer(&mut message, Time48::from_u64(clock::now().secs())).is_ok();
    is_signed && message.header().rcode() == Rcode::NOERROR
}

/// TLS of a client that speaks this protocol.
fn tls(protocol: &[u8]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

/// Takes every certificate whose key the server has.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
