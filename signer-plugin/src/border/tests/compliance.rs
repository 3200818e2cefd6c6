//! The rows of ISC's EDNS compliance tester (`genreport`; RFC 8906 section 8), and more forms of queries, each over UDP and TCP.

use keystore::dns::Class;

use super::engine::engine;
use super::*;
use crate::protocol::{QuerySettings, ServerIdentity};

/// A query for `example.`, or what is asked in place of it.
#[derive(Clone)]
struct Form {
    flags: u16,
    /// Questions that the header counts.
    count: u16,
    /// Name in wire form, type, class; the octets behind the header.
    questions: Vec<(&'static [u8], u16, u16)>,
    /// Records behind the questions, with their number in answer, authority and additional section.
    records: ([u16; 3], Vec<u8>),
}

const APEX: &[u8] = b"\x07eXample\x00";
const FOREIGN: &[u8] = b"\x07foreign\x04test\x00";
const RD: u16 = 0x0100;
const CD: u16 = 0x0010;
const ALL_BITS: u16 = 0x07f0;
const DO: u32 = 0x8000;

fn form(name: &'static [u8], rtype: u16) -> Form {
    Form { flags: 0, count: 1, questions: vec![(name, rtype, 1)], records: ([0; 3], Vec::new()) }
}

fn soa() -> Form {
    form(APEX, 6)
}

/// The header alone.
fn header(flags: u16) -> Form {
    Form { flags, count: 0, questions: Vec::new(), records: ([0; 3], Vec::new()) }
}

impl Form {
    fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    fn class(mut self, class: u16) -> Self {
        self.questions[0].2 = class;
        self
    }

    fn count(self, count: u16) -> Self {
        Self { count, ..self }
    }

    fn of_type(mut self, rtype: u16) -> Self {
        self.questions[0].1 = rtype;
        self
    }

    /// One more record, in this section.
    fn record(mut self, section: usize, octets: &[u8]) -> Self {
        self.records.0[section] += 1;
        self.records.1.extend_from_slice(octets);
        self
    }

    /// OPT with size, version and flags, and options.
    fn opt(self, size: u16, ttl: u32, options: &[u8]) -> Self {
        let mut opt = vec![0, 0, 41];
        opt.extend_from_slice(&size.to_be_bytes());
        opt.extend_from_slice(&ttl.to_be_bytes());
        opt.extend_from_slice(&(options.len() as u16).to_be_bytes());
        opt.extend_from_slice(options);
        self.record(2, &opt)
    }

    fn edns(self, ttl: u32) -> Self {
        self.opt(1232, ttl, &[])
    }

    fn octets(&self) -> Vec<u8> {
        let mut octets = vec![0xab, 0xcd];
        octets.extend_from_slice(&self.flags.to_be_bytes());
        octets.extend_from_slice(&self.count.to_be_bytes());
        octets.extend(self.records.0.iter().flat_map(|count| count.to_be_bytes()));
        for (name, rtype, class) in &self.questions {
            octets.extend_from_slice(name);
            octets.extend_from_slice(&rtype.to_be_bytes());
            octets.extend_from_slice(&class.to_be_bytes());
        }
        octets.extend_from_slice(&self.records.1);
        octets
    }
}

/// What an answer says: RCODE, flags, whether the question is repeated, types of the answer section, OPT with its flags and options. The
/// authority section of a negative answer and the additional section are left out.
fn told(query: &Form, answer: &[u8]) -> String {
    let reply = MessageParts::read(answer).unwrap_or_else(|e| panic!("{e}: {answer:02x?}"));
    assert_eq!(answer[..2], [0xab, 0xcd], "the ID");
    assert_eq!(reply.flags & 0x8000, 0x8000, "QR");
    let mut text = format!("rcode {}", reply.rcode());
    let opcode = reply.flags >> 11 & 0xf;
    if opcode != 0 {
        text += &format!(" opcode {opcode}");
    }
    for (bit, name) in
        [(0x400, "aa"), (0x200, "tc"), (0x100, "rd"), (0x80, "ra"), (0x40, "z"), (0x20, "ad"), (0x10, "cd")]
    {
        if reply.flags & bit != 0 {
            text += &format!(" {name}");
        }
    }
    match answer[5] {
        0 => text += ", no question",
        1 => {
            let question = &query.octets()[12..12 + query.questions[0].0.len() + 4];
            assert_eq!(&answer[12..12 + question.len()], question, "the question as it was asked");
        }
        more => panic!("{more} questions"),
    }
    for rr in &reply.answers {
        text += &format!(", {}", rr.rtype);
        if rr.class != Class::IN {
            text += &format!(" class {} {:?}", rr.class.0, String::from_utf8_lossy(&rr.rdata[1..]));
        }
    }
    if let Some(opt) = &reply.opt {
        assert_eq!(opt.payload, MAX_UDP);
        text += &format!(", OPT {:06x}", opt.ttl & 0x00ff_ffff);
        for (code, data) in &opt.options {
            let data: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
            text += &format!(" {code}={data}");
        }
    }
    if let Some(tsig) = &reply.tsig {
        text += &format!(", TSIG {} {}", tsig.owner, tsig.ttl);
    }
    text
}

/// A TSIG record with the root as its key, a MAC of 32 zeros, signed at the time 0.
fn well_known_key() -> Vec<u8> {
    let mut rdata = b"\x0bhmac-sha256\x00\0\0\0\0\0\0\x01\x2c\x00\x20".to_vec();
    rdata.extend_from_slice(&[0; 32]);
    rdata.extend_from_slice(&[0xab, 0xcd, 0, 0, 0, 0]);
    let mut record = vec![0, 0, 250, 0, 255, 0, 0, 0, 0, 0, rdata.len() as u8];
    record.extend_from_slice(&rdata);
    record
}

/// NSID, client subnet 192.0.2.0/24 and EXPIRE.
const OPTIONS: &[u8] = b"\x00\x03\x00\x00\x00\x08\x00\x07\x00\x01\x18\x00\xc0\x00\x02\x00\x09\x00\x00";
const ADDRESS: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\xc0\x00\x02\x01";

/// Name of the row, query, what the answer says over UDP and, where it differs, over TCP.
type Row = (&'static str, Form, &'static str, Option<&'static str>);

/// `genreport`'s own names. `docd` wants CD copied where `cd` takes either; RFC 4035 section 3.1.6 has it clear, and so have NSD and Knot.
fn rows_of_genreport() -> Vec<Row> {
    vec![
        ("dns", soa(), "rcode 0 aa, SOA", None),
        ("aa", soa().flags(0x0400), "rcode 0 aa, SOA", None),
        ("ad", soa().flags(0x0020), "rcode 0 aa, SOA", None),
        ("cd", soa().flags(CD), "rcode 0 aa, SOA", None),
        ("ra", soa().flags(0x0080), "rcode 0 aa, SOA", None),
        ("rd", soa().flags(RD), "rcode 0 aa rd, SOA", None),
        ("tc", soa().flags(0x0200), "rcode 0 aa, SOA", None),
        ("zflag", soa().flags(0x0040), "rcode 0 aa, SOA", None),
        ("opcode", header(0x7800), "rcode 4 opcode 15, no question", None),
        ("opcodeflg", header(0x7800 | ALL_BITS), "rcode 4 opcode 15, no question", None),
        ("type666", form(APEX, 666), "rcode 0 aa", None),
        ("edns", soa().edns(0), "rcode 0 aa, SOA, OPT 000000", None),
        ("do", soa().edns(DO), "rcode 0 aa, SOA, RRSIG, OPT 008000", None),
        ("docd", soa().flags(CD).edns(DO), "rcode 0 aa, SOA, RRSIG, OPT 008000", None),
        ("ednsflags", soa().edns(0x0080), "rcode 0 aa, SOA, OPT 000000", None),
        ("ednsopt", soa().opt(1232, 0, b"\x00\x64\x00\x00"), "rcode 0 aa, SOA, OPT 000000", None),
        ("edns1", soa().edns(0x1_0000), "rcode 16, OPT 000000", None),
        ("edns1opt", soa().opt(1232, 0x1_0000, b"\x00\x64\x00\x00"), "rcode 16, OPT 000000", None),
        ("edns1do", soa().edns(0x1_0000 | DO), "rcode 16, OPT 008000", None),
        ("edns1flags", soa().edns(0x1_0080), "rcode 16, OPT 000000", None),
        ("edns1nsid", soa().opt(1232, 0x1_0000, b"\x00\x03\x00\x00"), "rcode 16, OPT 000000", None),
        ("edns255", soa().edns(0xff_0000), "rcode 16, OPT 000000", None),
        (
            "edns@512",
            form(b"\x03big\x07example\x00", 16).opt(512, DO, &[]),
            "rcode 0 aa, TXT, RRSIG, OPT 008000",
            None,
        ),
        (
            "edns@512, cut",
            form(b"\x04many\x07example\x00", 1).opt(512, DO, &[]),
            "rcode 0 aa tc, OPT 008000",
            Some("rcode 0 aa, A, A, A"),
        ),
        ("optlist", soa().opt(1232, 0, OPTIONS), "rcode 0 aa, SOA, OPT 000000 9=00127500", None),
        ("bind11", soa().flags(RD | 0x0020).edns(DO), "rcode 0 aa rd, SOA, RRSIG, OPT 008000", None),
        ("dnswkk", soa().record(2, &well_known_key()), "rcode 9, TSIG . 0", None),
    ]
}

/// Options that a server answers where it is told what to say; the server of [`told_of_the_server`] is.
fn rows_of_options() -> Vec<Row> {
    let chaos = |name| form(name, 16).class(3);
    vec![
        (
            "NSID",
            soa().opt(1232, 0, b"\x00\x03\x00\x00"),
            "rcode 0 aa, SOA, OPT 000000 3=6e7331 18=0161047465737400",
            None,
        ),
        (
            "NSID with data",
            soa().opt(1232, 0, b"\x00\x03\x00\x01x"),
            "rcode 0 aa, SOA, OPT 000000 18=0161047465737400",
            None,
        ),
        (
            "NSID with data behind one without",
            soa().opt(1232, 0, b"\x00\x03\x00\x00\x00\x03\x00\x01x"),
            "rcode 0 aa, SOA, OPT 000000 3=6e7331 18=0161047465737400",
            None,
        ),
        (
            "NSID with data in front of one without",
            soa().opt(1232, 0, b"\x00\x03\x00\x01x\x00\x03\x00\x00"),
            "rcode 0 aa, SOA, OPT 000000 3=6e7331 18=0161047465737400",
            None,
        ),
        ("no option", soa().edns(0), "rcode 0 aa, SOA, OPT 000000 18=0161047465737400", None),
        ("no OPT", soa(), "rcode 0 aa, SOA", None),
        ("NSID, version 1", soa().opt(1232, 0x1_0000, b"\x00\x03\x00\x00"), "rcode 16, OPT 000000", None),
        (
            "ZONEVERSION",
            soa().opt(1232, 0, b"\x00\x13\x00\x00"),
            "rcode 0 aa, SOA, OPT 000000 19=010000000001 18=0161047465737400",
            None,
        ),
        (
            "ZONEVERSION of a name that is not there",
            form(b"\x02no\x07example\x00", 1).opt(1232, 0, b"\x00\x13\x00\x00"),
            "rcode 3 aa, OPT 000000 19=010000000001 18=0161047465737400",
            None,
        ),
        ("ZONEVERSION with data", soa().opt(1232, 0, b"\x00\x13\x00\x01x"), "rcode 1, OPT 000000", None),
        (
            "keepalive",
            soa().opt(1232, 0, b"\x00\x0b\x00\x00"),
            "rcode 0 aa, SOA, OPT 000000 18=0161047465737400",
            Some("11=0064"),
        ),
        (
            "padding, not encrypted",
            soa().opt(1232, 0, b"\x00\x0c\x00\x02\x00\x00"),
            "rcode 0 aa, SOA, OPT 000000 18=0161047465737400",
            None,
        ),
        ("id.server", chaos(b"\x02id\x06server\x00"), "rcode 0 aa, TXT class 3 \"ns1.example.net\"", None),
        (
            "HOSTNAME.bind, RD",
            chaos(b"\x08HOSTNAME\x04bind\x00").flags(RD),
            "rcode 0 aa rd, TXT class 3 \"ns1.example.net\"",
            None,
        ),
        (
            "version.bind, ANY",
            Form { questions: vec![(b"\x07version\x04bind\x00", 255, 3)], ..soa() },
            "rcode 0 aa, TXT class 3 \"none of your business\"",
            None,
        ),
        ("version.bind, class IN", form(b"\x07version\x04bind\x00", 16), "rcode 5", None),
        ("version.bind, A", chaos(b"\x07version\x04bind\x00").of_type(1), "rcode 5", None),
        ("authors.bind", chaos(b"\x07authors\x04bind\x00"), "rcode 5", None),
    ]
}

fn more_rows() -> Vec<Row> {
    let two = Form { questions: vec![(APEX, 6, 1), (APEX, 2, 1)], ..soa() }.count(2);
    let no_root = b"\x01a\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    vec![
        ("two questions", two.clone(), "rcode 1, no question", None),
        ("two questions, RD", two.flags(RD), "rcode 1 rd, no question", None),
        ("two questions are counted, one is there", soa().count(2), "rcode 1, no question", None),
        ("two foreign questions", form(FOREIGN, 6).count(2), "rcode 1, no question", None),
        ("no question", header(RD), "rcode 1 rd, no question", None),
        ("no question, OPT", header(0).edns(0), "rcode 1, no question", None),
        ("a name that is cut", form(b"\x07exa", 6), "rcode 1, no question", None),
        ("a name that is compressed", form(b"\xc0\x0c", 6), "rcode 1, no question", None),
        ("class CH", soa().class(3), "rcode 5", None),
        ("class CH, OPT", soa().class(3).edns(0), "rcode 5, OPT 000000 15=0015", None),
        ("class ANY", soa().class(255), "rcode 5", None),
        ("class 42", soa().class(42), "rcode 5", None),
        ("type 0", form(APEX, 0), "rcode 1", None),
        ("type OPT", form(APEX, 41), "rcode 1", None),
        ("type NXNAME", form(APEX, 128), "rcode 1", None),
        ("type MAILB", form(APEX, 253).flags(RD), "rcode 4 rd", None),
        ("type AXFR", form(APEX, 252), "rcode 5", None),
        ("type AXFR, OPT", form(APEX, 252).edns(0), "rcode 5, OPT 000000 15=0012", None),
        ("RRSIG at the apex", form(APEX, 46), "rcode 0 aa, RRSIG", None),
        ("octets behind the end", soa().opt(1232, 0, &[]), "rcode 0 aa, SOA, OPT 000000", None),
        ("a record in the answer section", soa().record(0, ADDRESS), "rcode 0 aa, SOA", None),
        ("two OPT", soa().edns(0).edns(0), "rcode 1", None),
        ("OPT in the answer section", soa().record(0, opt), "rcode 1", None),
        ("OPT in the authority section", soa().record(1, opt), "rcode 1", None),
        ("OPT of another name", soa().record(2, no_root), "rcode 1", None),
        ("an option that overruns", soa().opt(1232, 0, b"\x00\x64\x00\x05\x00"), "rcode 1", None),
        ("size 0", soa().opt(0, DO, &[]), "rcode 0 aa, SOA, RRSIG, OPT 008000", None),
        ("size 100", soa().opt(100, DO, &[]), "rcode 0 aa, SOA, RRSIG, OPT 008000", None),
        ("IQUERY", soa().flags(0x0800), "rcode 4 opcode 1", None),
        ("STATUS, all bits", soa().flags(0x1000 | ALL_BITS), "rcode 4 opcode 2", None),
        ("NOTIFY", soa().flags(0x2400), "rcode 4 opcode 4", None),
        ("UPDATE", soa().flags(0x2800), "rcode 4 opcode 5", None),
        ("DSO", header(0x3000), "rcode 4 opcode 6, no question", None),
        ("a foreign name", form(FOREIGN, 1).flags(RD), "rcode 5 rd", None),
        ("a foreign name, OPT", form(FOREIGN, 1).edns(DO), "rcode 5, OPT 008000 15=0014", None),
        ("a foreign name, version 1", form(FOREIGN, 1).edns(0x1_0000), "rcode 16, OPT 000000", None),
        ("a foreign name, two OPT", form(FOREIGN, 1).edns(0).edns(0), "rcode 1", None),
        ("a foreign name, UPDATE", form(FOREIGN, 6).flags(0x2800 | ALL_BITS), "rcode 4 opcode 5", None),
        ("a foreign name, AXFR", form(FOREIGN, 252), "rcode 9", None),
        ("a foreign name, CH", form(FOREIGN, 16).class(3), "rcode 5", None),
        ("the root", form(b"\x00", 2), "rcode 5", None),
    ]
}

/// Starts a server with these settings, asks it all rows over UDP and TCP, and ends it.
async fn ask_all(settings: QuerySettings, rows: Vec<Row>) {
    let zones = Hosted::new([Arc::new(engine()) as Arc<dyn Responder>], SharedSettings::new(settings));
    let listen = Listen { udp_sockets: 1, ..Listen::on(vec!["127.0.0.1:0".parse().unwrap()]) };
    let handler = SignerHandler::alone(zones);
    let server = Server::start(&listen, &handler).unwrap();
    let address = server.addresses()[0];
    for (name, query, over_udp, over_tcp) in rows {
        let mut octets = query.octets();
        if name == "octets behind the end" {
            octets.extend_from_slice(b"more");
        }
        let answer = ask_udp(address, &octets).await.unwrap_or_else(|| panic!("{name}: no answer"));
        assert!(answer.len() <= if name.contains("512") { 512 } else { 1232 }, "{name}");
        assert_eq!(told(&query, &answer), over_udp, "{name}");
        let told = told(&query, &ask_tcp(address, &octets).await);
        match over_tcp {
            None => assert_eq!(told, over_udp, "{name} over TCP"),
            Some(more) => assert!(told.contains(more), "{name} over TCP: {told}"),
        }
    }
    // No answer to a response, nor to what is shorter than a header; the next query is answered.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for packet in
        [soa().flags(0x8000).octets(), soa().octets()[..11].to_vec(), vec![], header(0x8000).octets()]
    {
        socket.send_to(&packet, address).await.unwrap();
    }
    socket.send_to(&soa().flags(RD).octets(), address).await.unwrap();
    let mut octets = [0; 512];
    let len = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut octets)).await.unwrap().unwrap();
    assert_eq!(told(&soa(), &octets[..len]), "rcode 0 aa rd, SOA");
    server.shutdown().await;
}

#[tokio::test]
async fn each_form_of_a_query_is_answered_as_its_row_says() {
    ask_all(QuerySettings::DEFAULT, rows_of_genreport().into_iter().chain(more_rows()).collect()).await;
}

/// Settings that tell something of the server.
fn told_of_the_server() -> QuerySettings {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let identity = ServerIdentity {
        nsid: text("ns1"),
        name: text("ns1.example.net"),
        version: text("none of your business"),
        report_agent: Some(b"\x01a\x04test\x00".to_vec()),
    };
    QuerySettings { identity, ..QuerySettings::DEFAULT }
}

#[tokio::test]
async fn each_option_is_answered_where_it_is_asked_for_and_configured() {
    ask_all(told_of_the_server(), rows_of_options()).await;
}

#[tokio::test]
async fn in_hickorys_server_transfers_are_refused_and_updates_not_implemented_as_the_page_says() {
    let zones = Hosted::new([Arc::new(engine()) as Arc<dyn Responder>], SharedSettings::default());
    let (mut server, address) = start_in_hickory(zones).await;
    let signed = |form: Form| form.record(2, &well_known_key()).octets();
    // An update that adds a record: prerequisites none, one record in the section of updates.
    let mut update = soa().flags(0x2800).octets();
    update[8..10].copy_from_slice(&1u16.to_be_bytes());
    update.extend_from_slice(b"\x03new\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07");
    for (name, query, octets, wanted) in [
        ("AXFR", form(APEX, 252), form(APEX, 252).octets(), "rcode 5"),
        ("IXFR", form(APEX, 251), form(APEX, 251).octets(), "rcode 5"),
        ("UPDATE without a record", soa().flags(0x2800), soa().flags(0x2800).octets(), "rcode 4 opcode 5"),
        ("UPDATE", soa().flags(0x2800), update, "rcode 4 opcode 5"),
        ("signed query", soa(), signed(soa()), "rcode 9, TSIG . 0"),
        ("signed AXFR", form(APEX, 252), signed(form(APEX, 252)), "rcode 9, TSIG . 0"),
        ("signed UPDATE", soa().flags(0x2800), signed(soa().flags(0x2800)), "rcode 4 opcode 5"),
    ] {
        let over_udp = ask_udp(address, &octets).await.unwrap_or_else(|| panic!("{name}: no answer"));
        for answer in [over_udp, ask_tcp(address, &octets).await] {
            assert_eq!(told(&query, &answer), wanted, "{name}");
        }
    }
    server.shutdown_gracefully().await.unwrap();
}
