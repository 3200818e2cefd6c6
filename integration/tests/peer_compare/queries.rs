//! The questions, and a client that asks them over UDP, over one TCP connection and over one of TLS.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use keystore::dns::{Name, Rtype};
use openssl::ssl::{Ssl, SslContext, SslMethod};

use crate::site::ZONE;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub name: Name,
    pub rtype: Rtype,
    /// UDP size and DO bit; `None` without OPT.
    pub edns: Option<(u16, bool)>,
    pub opcode: u8,
    /// Sets RD, AD and CD.
    pub more_flags: bool,
}

impl Query {
    pub fn new(name: &str, rtype: Rtype, edns: Option<(u16, bool)>) -> Self {
        let origin = Name::parse(ZONE).expect("a name");
        let name = match name {
            "@" => origin,
            _ => Name::parse_bytes(name.as_bytes(), Some(&origin)).expect(name),
        };
        Self { name, rtype, edns, opcode: 0, more_flags: false }
    }

    pub fn soa() -> Self {
        Self::new("@", Rtype::SOA, None)
    }

    pub fn octets(&self) -> Vec<u8> {
        let more = if self.more_flags { 0x0130 } else { 0 };
        self.with_flags(u16::from(self.opcode) << 11 | more)
    }

    /// As a stub resolver asks: RD and DO.
    pub fn recursive(&self) -> Vec<u8> {
        Self { edns: Some((1232, true)), ..self.clone() }.with_flags(0x0100)
    }

    fn with_flags(&self, flags: u16) -> Vec<u8> {
        let mut out =
            vec![0, 0, (flags >> 8) as u8, flags as u8, 0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())];
        out.extend_from_slice(self.name.as_wire());
        out.extend_from_slice(&self.rtype.0.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        if let Some((size, dnssec_ok)) = self.edns {
            out.extend_from_slice(&[0, 0, 41]);
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&[0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
        }
        out
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.rtype)?;
        match self.edns {
            Some((size, true)) => write!(f, " DO {size}"),
            Some((size, false)) => write!(f, " EDNS {size}"),
            None => Ok(()),
        }?;
        let more = if self.more_flags { " RD AD CD" } else { "" };
        if self.opcode != 0 { write!(f, " opcode {}{more}", self.opcode) } else { write!(f, "{more}") }
    }
}

/// Names that exist, that are between, below and above them, and that aliases lead from.
const NAMES: &str = "@ ns1 Mail mail mail2 www WWW wWw ent a.b.c.d.ent b.c.d.ent c.d.ent d.ent x.ent x.y.ent y.ent x.b.c.d.ent ent2.ent \
    x.ent2.ent wild x.wild a.b.wild exact.wild x.exact.wild deep.wild x.deep.wild b.deep.wild *.wild x.*.wild *.*.wild empty x.empty \
    *.empty f.*.empty g.*.empty star x.star y.x.star x.x.star *.x.star z.y.x.star cw x.cw *.cw cl x.cl cout x.cout srv a.srv alias alias2 alias3 \
    lost lost2 towild out loop1 loop2 self toent tocut tocut2 old www.old no.old a.www.old new www.new x.new up x.up x.y.up toold in ring.in \
    x.ring.in x.in chain www.chain x.chain safe ns.safe x.safe a.b.safe plain ns.plain x.plain Sub sub ns2.Sub x.sub far x.far mid cut.mid \
    x.cut.mid opt x.opt deep.opt x.deep.opt y.x.deep.opt cut.deep.opt x.cut.deep.opt cut2.deep.opt wopt x.wopt y.x.wopt z.y.x.wopt cut.x.wopt \
    safe.x.wopt x.safe.x.wopt mid.wopt x.mid.wopt cut.mid.wopt x.cut.mid.wopt q.wopt q.q.wopt *.wopt apexns x.apexns gtld x.gtld 1.gtld-servers.gtld gtld-servers.gtld sibling x.sibling _sip._tcp _tcp x._tcp _xmpp._tcp naptr svc \
    https httpsalias httpsout afs kx rt ptr _443._tcp.www _tcp.www _25._tcp.Mail many x.many pool host1.pool host30.pool host31.pool text \
    \\000\\001 \\000 \\000\\000 a\\.b a.b under_score UPPER.Case upper.case Case xn--bcher-kva types x.types nothing x.nothing a.b.c.nothing 0 zzz \
    \\255 ! ~ * x.* aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const TYPES: [Rtype; 29] = [
    Rtype::A,
    Rtype::NS,
    Rtype::CNAME,
    Rtype::SOA,
    Rtype::PTR,
    Rtype(13),
    Rtype::MX,
    Rtype::TXT,
    Rtype(17),
    Rtype(18),
    Rtype(21),
    Rtype::AAAA,
    Rtype(29),
    Rtype::SRV,
    Rtype(35),
    Rtype(36),
    Rtype::DNAME,
    Rtype::DS,
    Rtype::NSEC,
    Rtype::NSEC3,
    Rtype::NSEC3PARAM,
    Rtype::DNSKEY,
    Rtype(52),
    Rtype::CDS,
    Rtype::SVCB,
    Rtype::HTTPS,
    Rtype(256),
    Rtype(257),
    Rtype(65280),
];

/// Every name with every type, with DO and without OPT; some with sizes that cut answers.
pub fn all() -> Vec<Query> {
    let mut queries = Vec::new();
    for name in NAMES.split_ascii_whitespace() {
        for rtype in TYPES {
            queries.push(Query::new(name, rtype, Some((1232, true))));
            queries.push(Query::new(name, rtype, None));
        }
    }
    for name in [
        "gtld", "x.gtld", "sibling", "pool", "many", "text", "@", "www", "nothing", "x.wild", "plain", "safe",
    ] {
        for rtype in [Rtype::A, Rtype::NS, Rtype::MX, Rtype::TXT, Rtype::DNSKEY] {
            for size in [512, 600, 800, 1000, 1100, 1200] {
                for dnssec_ok in [false, true] {
                    queries.push(Query::new(name, rtype, Some((size, dnssec_ok))));
                }
            }
        }
    }
    for name in ["www", "nothing", "safe", "x.wild"] {
        for edns in [None, Some((1232, false)), Some((1232, true))] {
            queries.push(Query { more_flags: true, ..Query::new(name, Rtype::A, edns) });
        }
    }
    for opcode in [1, 2, 3, 6, 15] {
        for edns in [None, Some((1232, false)), Some((1232, true))] {
            for more_flags in [false, true] {
                queries.push(Query { opcode, more_flags, ..Query::new("www", Rtype::A, edns) });
            }
        }
    }
    queries
}

/// How a query is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

trait Connection: Read + Write {}
impl<C: Read + Write> Connection for C {}

/// Asks one server, over one UDP socket, one TCP connection and one of TLS.
pub struct Client {
    server: SocketAddr,
    tls: Option<SocketAddr>,
    udp: UdpSocket,
    plain: Option<Box<dyn Connection>>,
    encrypted: Option<Box<dyn Connection>>,
    id: u16,
}

impl Client {
    pub fn new(server: SocketAddr) -> Self {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        udp.connect(server).expect("an address");
        Self { server, tls: None, udp, plain: None, encrypted: None, id: 0 }
    }

    /// The same, which asks over TLS at `tls`. Whose certificate it is does not matter.
    pub fn with_tls(self, tls: Option<SocketAddr>) -> Self {
        Self { tls, ..self }
    }

    /// An answer, with the ID 0.
    pub fn ask(&mut self, transport: Transport, query: &[u8]) -> Vec<u8> {
        match transport {
            Transport::Udp => self.ask_udp(query),
            Transport::Tcp | Transport::Tls => self.ask_stream(transport, query),
        }
    }

    /// An answer over UDP, with the ID 0. Asks again when none comes in time, as a busy machine may lose one.
    fn ask_udp(&mut self, query: &[u8]) -> Vec<u8> {
        let answer = self.ask_within(query, Duration::from_millis(1000), 10);
        answer.unwrap_or_else(|| panic!("{} does not answer", self.server))
    }

    /// The same for a resolver, which asks others itself.
    pub fn ask_slowly(&mut self, query: &[u8], what: &Query) -> Vec<u8> {
        let answer = self.ask_within(query, Duration::from_secs(10), 3);
        answer.unwrap_or_else(|| panic!("{} does not answer to {what}", self.server))
    }

    fn ask_within(&mut self, query: &[u8], time: Duration, tries: u32) -> Option<Vec<u8>> {
        self.udp.set_read_timeout(Some(time)).expect("a timeout");
        for _ in 0..tries {
            self.id = self.id.wrapping_add(1);
            let mut query = query.to_vec();
            query[..2].copy_from_slice(&self.id.to_be_bytes());
            self.udp.send(&query).expect("send");
            let mut answer = vec![0; 65_535];
            while let Ok(len) = self.udp.recv(&mut answer) {
                if len >= 12 && answer[..2] == self.id.to_be_bytes() {
                    answer.truncate(len);
                    answer[..2].fill(0);
                    return Some(answer);
                }
            }
        }
        None
    }

    /// An answer over a connection; one that the server has closed meanwhile is opened again.
    fn ask_stream(&mut self, transport: Transport, query: &[u8]) -> Vec<u8> {
        for _ in 0..5 {
            let kept = if transport == Transport::Tls { &mut self.encrypted } else { &mut self.plain };
            let connection = kept.take().map_or_else(|| self.connect(transport), Ok);
            if let Ok((answer, connection)) = connection.and_then(|connection| exchange(connection, query)) {
                let kept = if transport == Transport::Tls { &mut self.encrypted } else { &mut self.plain };
                *kept = Some(connection);
                return answer;
            }
        }
        panic!("{} does not answer over {transport}", self.server);
    }

    fn connect(&self, transport: Transport) -> std::io::Result<Box<dyn Connection>> {
        let server = if transport == Transport::Tls { self.tls.expect("it speaks TLS") } else { self.server };
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        if transport == Transport::Tcp {
            return Ok(Box::new(stream));
        }
        let context = SslContext::builder(SslMethod::tls_client())?;
        let mut ssl = Ssl::new(&context.build())?;
        ssl.set_hostname("server.example")?;
        let connected = ssl.connect(stream);
        Ok(Box::new(connected.map_err(|error| std::io::Error::other(error.to_string()))?))
    }
}

/// The answer to one query, and the connection for the next one.
fn exchange(
    mut connection: Box<dyn Connection>,
    query: &[u8],
) -> std::io::Result<(Vec<u8>, Box<dyn Connection>)> {
    let framed = [&(query.len() as u16).to_be_bytes()[..], query].concat();
    connection.write_all(&framed)?;
    let mut len = [0; 2];
    connection.read_exact(&mut len)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    connection.read_exact(&mut answer)?;
    Ok((answer, connection))
}

/// Names that Unbound cannot resolve here, since the servers that their aliases lead to are not there; and rings of aliases, of which
/// Unbound keeps the CNAME records (named gives none), so that a later query for NSEC there goes round as well.
const ELSEWHERE: &str = "tocut tocut2 out cout up loop1 loop2 self";
const DELEGATIONS: &str = "safe plain sub far gtld sibling cut.mid cut.deep.opt cut2.deep.opt cut.x.wopt safe.x.wopt cut.mid.wopt apexns";

/// One query for each name and type, as a resolver's users ask. Of delegations the DS is asked for, of the names below nothing.
pub fn for_validation() -> Vec<Query> {
    let types = [
        Rtype::A,
        Rtype::AAAA,
        Rtype::TXT,
        Rtype::MX,
        Rtype::DS,
        Rtype::NSEC,
        Rtype::CNAME,
        Rtype::HTTPS,
        Rtype(65280),
    ];
    let names = |names: &str| -> Vec<Name> {
        names.split_ascii_whitespace().map(|name| Query::new(name, Rtype::A, None).name).collect()
    };
    let (elsewhere, delegations) = (names(ELSEWHERE), names(DELEGATIONS));
    let mut queries = Vec::new();
    for name in NAMES.split_ascii_whitespace() {
        for rtype in types {
            let query = Query::new(name, rtype, None);
            if query.name == Query::soa().name && rtype == Rtype::DS {
                continue; // the parent's, which is not here
            }
            let leads_away =
                elsewhere.iter().chain(&delegations).any(|other| query.name.is_at_or_below(other));
            if !leads_away || rtype == Rtype::DS && delegations.contains(&query.name) {
                queries.push(query);
            }
        }
    }
    queries
}
