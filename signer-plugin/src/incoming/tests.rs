//! Streams of a primary, good and strange, cut into messages at every position.

mod catalogs;
mod hostile;
mod primary;

use domain::base::Message;
use domain::tsig::ServerSequence;
use keystore::dns::Name;
use keystore::time::Timestamp;
use keystore::tsig::{TsigAlgorithm, TsigKey};
use proptest::prelude::*;
use ring::hmac;

use super::*;
use crate::testing::{NOW, name};
use keystore::dns::Rtype;

const ID: u16 = 0x4711;
const LIMITS: StreamLimits = StreamLimits { octets: 1 << 20, records: 1000 };

/// `SOA SERIAL`, or `OWNER ADDRESS`, where the owner is relative to `example` without a final dot.
fn record(text: &str) -> ReceivedRecord {
    let (owner, data) = text.split_once(' ').expect("two words");
    if owner == "SOA" {
        let mut rdata = [name("ns.example").as_wire(), name("admin.example").as_wire()].concat();
        for number in [data.parse().expect("a serial"), 3600_u32, 600, 86_400, 300] {
            rdata.extend_from_slice(&number.to_be_bytes());
        }
        return of(name("example"), Rtype::SOA, rdata);
    }
    let owner = match owner.strip_suffix('.') {
        Some(absolute) => name(absolute),
        None => name(&format!("{owner}.example")),
    };
    let address: std::net::Ipv4Addr = data.parse().expect("an address");
    of(owner, Rtype::A, address.octets().to_vec())
}

fn of(owner: Name, rtype: Rtype, rdata: Vec<u8>) -> ReceivedRecord {
    ReceivedRecord { owner: owner.as_wire().to_vec(), rtype, class: 1, ttl: 3600, rdata }
}

fn records(texts: &str) -> Vec<ReceivedRecord> {
    texts.split(',').map(|text| record(text.trim())).collect()
}

/// A message with these records, and the question where it is asked for.
fn message(question: Option<Rtype>, records: &[ReceivedRecord]) -> Vec<u8> {
    let count = (records.len() as u16).to_be_bytes();
    let mut out = ID.to_be_bytes().to_vec();
    out.extend_from_slice(&[0x84, 0, 0, u8::from(question.is_some()), count[0], count[1], 0, 0, 0, 0]);
    if let Some(rtype) = question {
        out.extend_from_slice(name("EXAMPLE").as_wire());
        out.extend_from_slice(&[rtype.0.to_be_bytes(), [0, 1]].concat());
    }
    for record in records {
        out.extend_from_slice(&record.owner);
        out.extend_from_slice(&record.rtype.0.to_be_bytes());
        out.extend_from_slice(&record.class.to_be_bytes());
        out.extend_from_slice(&record.ttl.to_be_bytes());
        out.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
        out.extend_from_slice(&record.rdata);
    }
    out
}

/// What is asked for, and with what.
struct Asked<'a> {
    request: &'a str,
    key: Option<&'a TsigKey>,
}

impl Asked<'_> {
    fn begin(&self) -> (Vec<u8>, TransferStream) {
        let soa;
        let request = match self.request.split_once(' ') {
            Some(("IXFR", serial)) => {
                soa = record(&format!("SOA {serial}"));
                TransferRequest::Ixfr(&soa)
            }
            Some((_, serial)) => TransferRequest::Axfr(Some(serial.parse().expect("a serial"))),
            None => TransferRequest::Axfr(None),
        };
        TransferStream::begin(&name("example"), request, self.key, LIMITS, ID, NOW).expect("a query")
    }
}

/// What a stream comes to: its end, and each record as it came.
fn read(
    stream: &mut TransferStream,
    messages: impl IntoIterator<Item = Vec<u8>>,
) -> Result<(TransferProgress, Vec<String>), TransferFault> {
    let mut found = Vec::new();
    let mut progress = TransferProgress::Goes;
    for message in messages {
        assert_eq!(progress, TransferProgress::Goes, "messages stand behind the end");
        progress = stream.take(message, NOW, &mut |event| {
            let (sign, record) = match event {
                TransferEvent::Record(record) => ('=', record),
                TransferEvent::Removed(record) => ('-', record),
                TransferEvent::Added(record) => ('+', record),
            };
            let what = match record.rtype {
                Rtype::SOA => format!("SOA {}", serial::of_soa(&record.rdata).expect("a serial")),
                _ => format!("{} {:?}", Name::from_wire(&record.owner).expect("a name"), record.rdata),
            };
            found.push(format!("{sign}{what}"));
            Ok(())
        })?;
    }
    Ok((progress, found))
}

fn axfr_or_ixfr(request: &str) -> Rtype {
    if request.starts_with("IXFR") { Rtype::IXFR } else { Rtype::AXFR }
}

/// Request, records, and what they come to: the progress and the events.
const GOOD: &[(&str, &str, &str, &str)] = &[
    ("AXFR", "SOA 9, a 192.0.2.1, b 192.0.2.2, SOA 9", "Whole { serial: 9 }", "=SOA 9 =a =b"),
    ("AXFR 7", "SOA 9, a 192.0.2.1, SOA 9", "Whole { serial: 9 }", "=SOA 9 =a"),
    ("AXFR", "SOA 9, SOA 9", "Whole { serial: 9 }", "=SOA 9"),
    ("IXFR 7", "SOA 9, SOA 9", "Whole { serial: 9 }", "=SOA 9"),
    ("IXFR 7", "SOA 9, a 192.0.2.1, b 192.0.2.2, SOA 9", "Whole { serial: 9 }", "=SOA 9 =a =b"),
    (
        "IXFR 7",
        "SOA 8, SOA 7, a 192.0.2.1, SOA 8, a 192.0.2.2, SOA 8",
        "Differences { serial: 8 }",
        "-SOA 7 -a +SOA 8 +a",
    ),
    ("IXFR 7", "SOA 8, SOA 7, SOA 8, SOA 8", "Differences { serial: 8 }", "-SOA 7 +SOA 8"),
    (
        "IXFR 4294967295",
        "SOA 2, SOA 4294967295, SOA 1, a 192.0.2.2, SOA 1, a 192.0.2.2, SOA 2, b 192.0.2.2, SOA 2",
        "Differences { serial: 2 }",
        "-SOA 4294967295 +SOA 1 +a -SOA 1 -a +SOA 2 +b",
    ),
];

fn check_good(case: &(&str, &str, &str, &str), read: Result<(TransferProgress, Vec<String>), TransferFault>) {
    let (progress, found) = read.unwrap_or_else(|fault| panic!("{case:?}: {fault}"));
    let short: Vec<_> = found.iter().map(|text| text.split(".example").next().expect("a word")).collect();
    assert_eq!(
        (format!("{progress:?}"), short.join(" ")),
        (case.2.to_owned(), case.3.to_owned()),
        "{case:?}"
    );
}

#[test]
fn a_stream_is_the_same_wherever_it_is_cut_into_messages() {
    for case in GOOD {
        let all = records(case.1);
        let question = axfr_or_ixfr(case.0);
        for cuts in 0..1_u32 << (all.len() - 1).min(12) {
            let mut messages = Vec::new();
            let mut part = Vec::new();
            for (at, record) in all.iter().enumerate() {
                part.push(record.clone());
                if at + 1 == all.len() || cuts >> at & 1 == 1 {
                    // The question may be missing; an empty message means nothing.
                    let has_question = messages.is_empty() || cuts & 2 == 2;
                    messages.push(message(has_question.then_some(question), &part));
                    if cuts & 1 == 1 && at + 1 < all.len() {
                        messages.push(message(None, &[]));
                    }
                    part.clear();
                }
            }
            let (_, mut stream) = Asked { request: case.0, key: None }.begin();
            check_good(case, read(&mut stream, messages));
            assert_eq!(stream.records(), all.len() as u64);
        }
    }
    let (_, mut stream) = Asked { request: "IXFR 7", key: None }.begin();
    let one = message(Some(Rtype::IXFR), &records("SOA 7"));
    let (progress, found) = read(&mut stream, [one]).expect("an answer");
    assert_eq!((progress, found.len()), (TransferProgress::Nothing { serial: 7 }, 0));
}

#[test]
fn every_strange_transfer_has_a_reason() {
    let foreign_soa = ReceivedRecord { owner: name("a.example").as_wire().to_vec(), ..record("SOA 9") };
    let chaos = ReceivedRecord { class: 3, ..record("a 192.0.2.1") };
    let short_soa = ReceivedRecord { rdata: vec![0, 0], ..record("SOA 9") };
    let with = |at: usize, extra: &ReceivedRecord| {
        let mut all = records("SOA 9, a 192.0.2.1, SOA 9");
        all.insert(at, extra.clone());
        all
    };
    for (request, all, reason) in [
        ("AXFR", records("a 192.0.2.1, SOA 9"), "does not begin with the SOA"),
        ("AXFR", records("SOA 9, a 192.0.2.1, SOA 10"), "serial 9 and ends with another one, of serial 10"),
        ("AXFR", records("SOA 9, SOA 8"), "serial 9 and ends with another one, of serial 8"),
        ("IXFR 7", records("SOA 9, a 192.0.2.1, SOA 10"), "serial 9 and ends with another one, of serial 10"),
        ("AXFR", records("SOA 9, a.other. 192.0.2.1, SOA 9"), "a.other. A is outside of the zone"),
        ("AXFR", records("SOA 9, a.notexample. 192.0.2.1, SOA 9"), "outside of the zone"),
        ("AXFR", records("SOA 9, com. 192.0.2.1, SOA 9"), "outside of the zone"),
        ("IXFR 7", records("SOA 8, SOA 7, a.other. 192.0.2.1, SOA 8, SOA 8"), "outside of the zone"),
        ("AXFR", with(1, &foreign_soa), "a SOA record of a.example. stands inside"),
        ("AXFR", with(1, &chaos), "a.example. is not of class IN"),
        ("AXFR", with(1, &short_soa), "malformed"),
        ("AXFR 10", records("SOA 9, a 192.0.2.1, SOA 9"), "serial 9, which is older than 10"),
        ("IXFR 10", records("SOA 9, SOA 10, SOA 9, SOA 9"), "serial 9, which is older than 10"),
        ("IXFR 10", records("SOA 9"), "serial 9, which is older than 10"),
        ("IXFR 0", records("SOA 4294967295"), "serial 4294967295, which is older than 0"),
        // Octets of serials that are letters: A and a.
        ("AXFR", records("SOA 65, a 192.0.2.1, SOA 97"), "serial 65 and ends with another one, of serial 97"),
        ("AXFR", with(1, &of(name("a.example"), Rtype(41), Vec::new())), "is no type of zone data"),
        ("AXFR", with(1, &of(name("a.example"), Rtype(255), Vec::new())), "is no type of zone data"),
        ("IXFR 7", records("SOA 9, SOA 6, SOA 9, SOA 9"), "begins at serial 6, and 7 is the one"),
        (
            "IXFR 7",
            records("SOA 9, SOA 7, SOA 8, SOA 7, SOA 9, SOA 9"),
            "begins at serial 7, and 8 is the one",
        ),
        ("IXFR 7", records("SOA 9, SOA 7, SOA 7"), "from serial 7 to 7"),
        ("IXFR 7", records("SOA 9, SOA 7, SOA 6"), "from serial 7 to 6"),
        ("IXFR 7", records("SOA 9, SOA 7, SOA 10, SOA 10"), "from serial 7 to 10, on the way to 9"),
        ("IXFR 7", records("SOA 9, SOA 7, SOA 9, SOA 8"), "another one, of serial 8"),
        ("AXFR", records("SOA 9, a 192.0.2.1, SOA 9, a 192.0.2.1"), "behind the end"),
        ("IXFR 7", records("SOA 8, SOA 7, SOA 8, SOA 8, a 192.0.2.1"), "behind the end"),
        ("AXFR", [records("SOA 9"), vec![record("a 192.0.2.1"); 1000]].concat(), "more than 1000 records"),
    ] {
        let question = axfr_or_ixfr(request);
        let (_, mut stream) = Asked { request, key: None }.begin();
        let fault = read(&mut stream, [message(Some(question), &all)]).expect_err(reason);
        assert!(fault.to_string().contains(reason), "{request}, {reason}: {fault}");
        let ends_all = reason.contains("older");
        assert_eq!(fault.whole_zone_may_help(), !ends_all, "{fault}");
    }
}

#[test]
fn a_message_that_is_no_answer_to_the_query_ends_the_transfer() {
    let good = message(Some(Rtype::AXFR), &records("SOA 9, a 192.0.2.1"));
    let edit = |at: usize, octet: u8| {
        let mut message = good.clone();
        message[at] = octet;
        message
    };
    let mut other_type = good.clone();
    other_type[12 + 9 + 1] = 251;
    for (messages, reason) in [
        (vec![edit(0, 0)], "another ID"),
        (vec![edit(2, 0x04)], "a query"),
        (vec![edit(2, 0xa4)], "another opcode"),
        (vec![edit(2, 0x86)], "truncated"),
        (vec![edit(3, 5)], "REFUSED"),
        (vec![edit(3, 9)], "NOTAUTH"),
        // A server that fails in the middle.
        (vec![good.clone(), edit(3, 2)], "SERVFAIL"),
        (vec![edit(5, 2)], "several questions"),
        (vec![edit(13, b'f')], "another question"),
        (vec![other_type], "another question"),
        (vec![good[..11].to_vec()], "malformed"),
        (vec![good[..good.len() - 1].to_vec()], "malformed"),
        (vec![Vec::new()], "malformed"),
        (
            [vec![good.clone()], vec![message(None, &[]); 101]].concat(),
            "101 messages in a row have no record",
        ),
        (vec![vec![0; (1 << 20) + 1]], "more than 1048576 octets"),
    ] {
        let (_, mut stream) = Asked { request: "AXFR", key: None }.begin();
        let fault = read(&mut stream, messages).expect_err(reason);
        assert!(fault.to_string().contains(reason), "{reason}: {fault}");
    }
    // A hundred are taken.
    let (_, mut stream) = Asked { request: "AXFR", key: None }.begin();
    let patient = [vec![good.clone()], vec![message(None, &[]); 100], vec![message(None, &records("SOA 9"))]];
    assert!(read(&mut stream, patient.concat()).is_ok());
}

fn tsig_key(algorithm: TsigAlgorithm) -> TsigKey {
    let secret = b"0123456789abcdef0123456789abcdef".to_vec().into();
    TsigKey { name: Name::parse("xfr-key").unwrap(), algorithm, secret }
}

/// A server of the library `domain`, which signs each message.
fn signed_by_domain(key: &TsigKey, query: Vec<u8>, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let key = crate::transfer::wire_key(key).expect("a key");
    let mut query = Message::from_octets(query).expect("a query");
    let time = domain::rdata::tsig::Time48::from_u64(NOW.secs());
    let sequence = ServerSequence::request(&key, &mut query, time).expect("a good signature");
    let mut sequence = sequence.expect("a signature");
    let sign = |octets: &Vec<u8>| {
        let message = Message::from_octets(octets.clone()).expect("a message");
        let mut builder = domain::base::MessageBuilder::new_vec();
        *builder.header_mut() = message.header();
        let mut question = builder.question();
        message.question().flatten().for_each(|it| question.push(it).expect("room"));
        let mut answer = question.answer();
        for record in message.answer().expect("records").flatten() {
            let record =
                record.into_record::<domain::rdata::AllRecordData<_, _>>().expect("data").expect("data");
            answer.push(record).expect("room");
        }
        let mut additional = answer.additional();
        sequence.answer(&mut additional, time).expect("room");
        additional.finish()
    };
    messages.iter().map(sign).collect()
}

/// Signs the messages with these numbers as RFC 8945 section 5.3.1 says it, the others not at all.
fn signed_some(key: &TsigKey, query: &[u8], messages: &[Vec<u8>], signed: &[usize]) -> Vec<Vec<u8>> {
    signed_at(NOW, key, query, messages, signed)
}

fn signed_at(
    now: Timestamp,
    key: &TsigKey,
    query: &[u8],
    messages: &[Vec<u8>],
    signed: &[usize],
) -> Vec<Vec<u8>> {
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, &key.secret);
    let algorithm = b"\x0bhmac-sha256\x00";
    let times = [&now.secs().to_be_bytes()[2..], &300_u16.to_be_bytes()].concat();
    // The MAC of the query: 32 octets, in front of ID, error and other length.
    let mut prior = query[query.len() - 6 - 32..query.len() - 6].to_vec();
    let (mut between, mut is_first) = (Vec::new(), true);
    let mut out = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        between.extend_from_slice(message);
        let mut message = message.clone();
        if signed.contains(&number) {
            let mut data = [&(prior.len() as u16).to_be_bytes()[..], &prior, &between].concat();
            if is_first {
                data.extend_from_slice(&key.name.canonical_wire());
                data.extend_from_slice(&[0, 255, 0, 0, 0, 0]);
                data.extend_from_slice(algorithm);
                data.extend_from_slice(&times);
                data.extend_from_slice(&[0; 4]);
            } else {
                data.extend_from_slice(&times);
            }
            prior = hmac::sign(&hmac_key, &data).as_ref().to_vec();
            let rdata =
                [&algorithm[..], &times, &32_u16.to_be_bytes(), &prior, &message[..2], &[0; 4]].concat();
            message.extend_from_slice(&key.name.canonical_wire());
            message.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0]);
            message.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            message.extend_from_slice(&rdata);
            message[11] += 1;
            between.clear();
            is_first = false;
        }
        out.push(message);
    }
    out
}

/// A zone in so many messages, one record each.
fn in_messages(count: usize) -> Vec<Vec<u8>> {
    let body = (1..count - 1).map(|number| record(&format!("a{number} 192.0.2.1")));
    let all: Vec<_> = [record("SOA 9")].into_iter().chain(body).chain([record("SOA 9")]).collect();
    all.iter().map(|record| message(Some(Rtype::AXFR), std::slice::from_ref(record))).collect()
}

#[test]
fn signed_streams_are_taken_and_what_is_signed_too_seldom_or_wrongly_is_not() {
    let key = tsig_key(TsigAlgorithm::HmacSha256);
    for algorithm in [TsigAlgorithm::HmacSha256, TsigAlgorithm::HmacSha384, TsigAlgorithm::HmacSha512] {
        let key = tsig_key(algorithm);
        for count in [2, 3, 101] {
            let (query, mut stream) = Asked { request: "AXFR", key: Some(&key) }.begin();
            let messages = signed_by_domain(&key, query, &in_messages(count));
            assert!(read(&mut stream, messages).is_ok(), "{algorithm:?} {count}");
        }
    }
    let ends = |count: usize, every: usize| {
        (0..count).filter(|at| at % every == 0 || at + 1 == count).collect::<Vec<_>>()
    };
    for (count, signed, good) in [
        (2, vec![0, 1], true),
        (3, vec![0, 2], true),
        (101, ends(101, 100), true),
        (300, ends(300, 100), true),
        (300, ends(300, 7), true),
        // More than 99 unsigned in a row; the last one unsigned; the first one unsigned; none signed.
        (103, ends(103, 102), false),
        (3, vec![0, 1], false),
        (3, vec![1, 2], false),
        (3, vec![], false),
    ] {
        let (query, mut stream) = Asked { request: "AXFR", key: Some(&key) }.begin();
        let messages = signed_some(&key, &query, &in_messages(count), &signed);
        let result = read(&mut stream, messages);
        assert_eq!(
            result.is_ok(),
            good,
            "{count} {signed:?}: {:?}",
            result.err().map(|fault| fault.to_string())
        );
    }
    // A message that was changed, left out, or comes in another order.
    for spoil in [
        &(|messages: &mut Vec<Vec<u8>>| messages[1][12 + 13 + 1] ^= 1) as &dyn Fn(&mut Vec<Vec<u8>>),
        &|messages| drop(messages.remove(2)),
        &|messages| messages.swap(1, 2),
    ] {
        let (query, mut stream) = Asked { request: "AXFR", key: Some(&key) }.begin();
        let mut messages = signed_some(&key, &query, &in_messages(6), &[0, 3, 5]);
        spoil(&mut messages);
        let fault = read(&mut stream, messages).expect_err("it was spoilt");
        assert!(matches!(fault, TransferFault::Tsig(_)) && !fault.whole_zone_may_help(), "{fault}");
    }
    // Another key; a clock that is an hour off.
    let other = TsigKey { secret: b"another".to_vec().into(), ..tsig_key(TsigAlgorithm::HmacSha256) };
    let (query, mut stream) = Asked { request: "AXFR", key: Some(&key) }.begin();
    assert!(read(&mut stream, signed_some(&other, &query, &in_messages(2), &[0, 1])).is_err());
    let (query, mut stream) = Asked { request: "AXFR", key: Some(&key) }.begin();
    let messages = signed_some(&key, &query, &in_messages(2), &[0, 1]);
    let late = Timestamp::from_secs(NOW.secs() + 3600);
    assert!(stream.take(messages[0].clone(), late, &mut |_| Ok(())).is_err());
    // What refuses is not signed, and says so.
    let (_, mut stream) = Asked { request: "AXFR", key: Some(&key) }.begin();
    let mut refusal = message(Some(Rtype::AXFR), &[]);
    refusal[3] = 9;
    assert!(matches!(read(&mut stream, [refusal.clone()]), Err(TransferFault::Rcode(_))));
    // What its TSIG record says is in the reason.
    let tsig = |error: u8, mac: &[u8]| {
        let mut rdata = b"\x0bhmac-sha256\0\0\0\0\0\0\0\x01\x2c\0".to_vec();
        rdata.push(mac.len() as u8);
        rdata.extend_from_slice(mac);
        rdata.extend_from_slice(&[0, 7, 0, error, 0, 0]);
        let mut message = refusal.clone();
        message[11] += 1;
        message.extend_from_slice(b"\x03xfr\0\0\xfa\0\xff\0\0\0\0\0");
        message.push(rdata.len() as u8);
        message.extend_from_slice(&rdata);
        message
    };
    for (error, mac, said) in [
        (16, &[][..], Some("NOTAUTH, and says of the signature: BADSIG")),
        (17, &[], Some("BADKEY")),
        (18, &[0; 32], Some("BADTIME")),
        (22, &[0; 16], Some("BADTRUNC")),
        (0, &[0; 32], None),
    ] {
        let (_, mut stream) = Asked { request: "AXFR", key: Some(&key) }.begin();
        let fault = read(&mut stream, [tsig(error, mac)]).expect_err("it is refused");
        match said {
            Some(said) => {
                assert!(fault.to_string().contains(said) && !fault.whole_zone_may_help(), "{fault}")
            }
            None => assert!(matches!(fault, TransferFault::Rcode(_)), "{fault}"),
        }
    }
}

#[test]
fn names_in_old_types_are_uncompressed_and_others_are_left_as_they_are() {
    let head = message(Some(Rtype::AXFR), &records("SOA 9"));
    let apex = 12_u8;
    for (rtype, rdata, expected) in [
        (Rtype::NS, vec![2, b'n', b's', 0xc0, apex], Some(b"\x02ns\x07EXAMPLE\x00".to_vec())),
        (Rtype::MX, vec![0, 5, 0xc0, apex], Some(b"\x00\x05\x07EXAMPLE\x00".to_vec())),
        (
            Rtype::SRV,
            vec![0, 1, 0, 2, 0, 53, 0xc0, apex],
            Some(b"\x00\x01\x00\x02\x005\x07EXAMPLE\x00".to_vec()),
        ),
        (
            Rtype::NAPTR,
            vec![0, 1, 0, 2, 1, b'u', 0, 1, b'x', 0xc0, apex],
            Some(b"\x00\x01\x00\x02\x01u\x00\x01x\x07EXAMPLE\x00".to_vec()),
        ),
        (Rtype::TXT, vec![2, 0xc0, apex], Some(vec![2, 0xc0, apex])),
        (Rtype(65_280), vec![0xc0, apex], Some(vec![0xc0, apex])),
        // Octets behind the name, a name that is cut, a pointer forwards.
        (Rtype::NS, vec![0xc0, apex, 0], None),
        (Rtype::NS, vec![2, b'n'], None),
        (Rtype::NS, vec![0xff, 0xff], None),
        (Rtype::SOA, vec![0xc0, apex, 0xc0, apex, 0, 0, 0, 9], None),
    ] {
        let mut octets = head.clone();
        octets[7] += 1;
        octets.extend_from_slice(&[0xc0, apex]);
        octets.extend_from_slice(&rtype.0.to_be_bytes());
        octets.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        octets.extend_from_slice(&rdata);
        let (_, mut stream) = Asked { request: "AXFR", key: None }.begin();
        let mut found = None;
        let read = stream.take(octets, NOW, &mut |event| {
            if let TransferEvent::Record(record) = event {
                found = Some((record.owner.clone(), record.rdata.clone()));
            }
            Ok(())
        });
        match expected {
            Some(expected) => {
                assert_eq!(found, Some((b"\x07EXAMPLE\x00".to_vec(), expected)), "{rtype}: {read:?}")
            }
            None => assert!(matches!(read, Err(TransferFault::Malformed { .. })), "{rtype}: {read:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_octets_make_a_stream_panic_or_hand_over_what_is_outside(
        octets in proptest::collection::vec(any::<u8>(), 0..200),
        is_ixfr in any::<bool>(),
        with_head in any::<bool>(),
    ) {
        let (_, mut stream) = Asked { request: if is_ixfr { "IXFR 7" } else { "AXFR" }, key: None }.begin();
        let mut message = octets;
        if with_head {
            let head = message_head(is_ixfr);
            message.splice(0..0, head);
        }
        let _ = stream.take(message, NOW, &mut |event| {
            let (TransferEvent::Record(record) | TransferEvent::Removed(record) | TransferEvent::Added(record)) = event;
            assert!(Name::from_wire(&record.owner).expect("a name").is_at_or_below(&name("example")));
            Ok(())
        });
    }
}

/// Header and SOA record of an answer that says it has twenty records.
fn message_head(is_ixfr: bool) -> Vec<u8> {
    let question = if is_ixfr { Rtype::IXFR } else { Rtype::AXFR };
    let mut head = message(Some(question), &records("SOA 9"));
    head[7] = 20;
    head
}
