//! Looks at a primary that answers IXFR as some do.

use std::sync::{Arc, Mutex};

use keystore::dns::Rtype;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::connection::{LookTime, LookTimes, Primary};
use super::super::look::{Look, News, Seen};
use super::{message, record, records};
use crate::incoming::{ReceivedRecord, TransferFault};
use crate::rules::ZoneRules;
use crate::testing::{NOW, name, zone};
use crate::zone::Zone;

/// What the primary does for an IXFR.
#[derive(Debug, Clone)]
enum Ixfr {
    /// These messages.
    Messages(Vec<Vec<u8>>),
    /// These messages, then the end of the connection.
    ThenCloses(Vec<Vec<u8>>),
}

/// A primary with serial 2, for a client that has serial 1.
struct Fake {
    address: std::net::SocketAddr,
    /// Types that were asked for, in order.
    asked: Arc<Mutex<Vec<Rtype>>>,
}

impl Fake {
    async fn start(serial: u32, ixfr: Ixfr, axfr: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let fake = Self { address: listener.local_addr().expect("an address"), asked: Arc::default() };
        let asked = Arc::clone(&fake.asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, serial, ixfr.clone(), axfr.clone(), Arc::clone(&asked)));
            }
        });
        fake
    }
}

async fn answer(
    mut stream: TcpStream,
    serial: u32,
    ixfr: Ixfr,
    axfr: Vec<Vec<u8>>,
    asked: Arc<Mutex<Vec<Rtype>>>,
) {
    let mut len = [0; 2];
    while stream.read_exact(&mut len).await.is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut query).await.expect("a query");
        let rtype = Rtype(u16::from_be_bytes([query[21], query[22]]));
        asked.lock().expect("not poisoned").push(rtype);
        let (messages, closes) = match (rtype, &ixfr) {
            (Rtype::SOA, _) => (vec![message(Some(Rtype::SOA), &[record(&format!("SOA {serial}"))])], false),
            (Rtype::IXFR, Ixfr::Messages(messages)) => (messages.clone(), false),
            (Rtype::IXFR, Ixfr::ThenCloses(messages)) => (messages.clone(), true),
            _ => (axfr.clone(), false),
        };
        for mut message in messages {
            message[..2].copy_from_slice(&query[..2]);
            let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
            if stream.write_all(&framed).await.is_err() {
                return;
            }
        }
        if closes {
            return;
        }
    }
}

/// Records of a transfer that are taken.
const MAX_RECORDS: u64 = 50;

/// The zone that is here.
fn here() -> Arc<Zone> {
    let text = "@ 3600 SOA ns admin 1 3600 600 86400 300\n@ 3600 NS ns.other.\na 3600 A 192.0.2.1\nb 3600 A 192.0.2.2\n";
    Arc::new(zone("example", text).expect("a zone"))
}

/// The whole zone of serial 2: `a` has another address.
fn whole() -> Vec<ReceivedRecord> {
    let ns =
        ReceivedRecord { rtype: Rtype::NS, rdata: name("ns.other").as_wire().to_vec(), ..record("SOA 2") };
    [records("SOA 2, a 192.0.2.9, b 192.0.2.2"), vec![ns], records("SOA 2")].concat()
}

fn one(records: &[ReceivedRecord]) -> Vec<Vec<u8>> {
    vec![message(Some(Rtype::IXFR), records)]
}

fn axfr() -> Vec<Vec<u8>> {
    vec![message(Some(Rtype::AXFR), &whole())]
}

fn rcode(rcode: u8) -> Vec<Vec<u8>> {
    let mut message = message(Some(Rtype::IXFR), &[]);
    message[3] = rcode;
    vec![message]
}

async fn look(fake: &Fake, here: Option<Arc<Zone>>) -> Result<Seen, TransferFault> {
    let look = Look {
        zone: name("example"),
        rules: ZoneRules::default(),
        max_octets: None,
        max_records: MAX_RECORDS,
        here,
        clock: Arc::new(|| NOW),
        clients: Arc::default(),
        under_way: Arc::default(),
    };
    look.at(
        &Primary { address: fake.address, key: None, tls: None },
        LookTime::of(LookTimes::default()),
        &|_, _| {},
    )
    .await
}

/// The address of `a` after what came is taken over, and whether the whole zone came.
fn taken(here: &Zone, seen: Seen) -> (Option<u8>, bool) {
    let (zone, is_whole) = match seen.news {
        News::Nothing => return (None, false),
        News::Whole(zone) => (*zone, true),
        News::Change(change) => (here.changed(&change), false),
    };
    assert_eq!(zone.serial(), seen.version.serial);
    let node = zone.lookup(name("a.example").as_wire()).expect("a name");
    let set = zone.rrset(zone.find(node, Rtype::A).expect("an address"));
    (set.data.last().copied(), is_whole)
}

#[tokio::test]
async fn every_answer_to_ixfr_that_is_no_good_is_followed_by_axfr_and_every_good_one_is_taken() {
    let difference = records("SOA 2, SOA 1, a 192.0.2.1, SOA 2, a 192.0.2.9, SOA 2");
    let edited = |from: &str, to: &str| {
        let text = "SOA 2, SOA 1, a 192.0.2.1, SOA 2, a 192.0.2.9, SOA 2";
        records(&text.replacen(from, to, 1))
    };
    let mut other_case = difference.clone();
    other_case[2].owner[1] = b'A';
    let mut other_ttl = difference.clone();
    other_ttl[2].ttl = 60;
    let cut: Vec<Vec<u8>> = one(&difference[..4]);
    for (what, ixfr, needs_axfr) in [
        ("a difference", Ixfr::Messages(one(&difference)), false),
        (
            "one record a message",
            Ixfr::Messages(difference.iter().flat_map(|r| one(std::slice::from_ref(r))).collect()),
            false,
        ),
        ("deletion in another case", Ixfr::Messages(one(&other_case)), false),
        ("deletion with another TTL", Ixfr::Messages(one(&other_ttl)), false),
        ("the whole zone", Ixfr::Messages(one(&whole())), false),
        ("NOTIMP", Ixfr::Messages(rcode(4)), true),
        ("SERVFAIL", Ixfr::Messages(rcode(2)), true),
        ("REFUSED", Ixfr::Messages(rcode(5)), true),
        ("FORMERR", Ixfr::Messages(rcode(1)), true),
        ("nothing, then the end", Ixfr::ThenCloses(Vec::new()), true),
        ("one SOA, newer, then the end", Ixfr::ThenCloses(one(&records("SOA 2"))), true),
        ("cut in the middle", Ixfr::ThenCloses(cut), true),
        ("deletes what is not there", Ixfr::Messages(one(&edited("a 192.0.2.1", "a 192.0.2.7"))), true),
        (
            "deletes a name that is not there",
            Ixfr::Messages(one(&edited("a 192.0.2.1", "c 192.0.2.1"))),
            true,
        ),
        ("adds what is there", Ixfr::Messages(one(&edited("a 192.0.2.9", "b 192.0.2.2"))), true),
        ("another old serial", Ixfr::Messages(one(&edited("SOA 1", "SOA 0"))), true),
        ("another end", Ixfr::Messages(one(&records("SOA 2, SOA 1, SOA 2, SOA 3"))), true),
        ("outside of the zone", Ixfr::Messages(one(&edited("a 192.0.2.9", "a.other. 192.0.2.9"))), true),
        (
            "more records than are taken",
            Ixfr::Messages(one(
                &[&difference[..3], &vec![difference[2].clone(); 50], &difference[3..]].concat()
            )),
            true,
        ),
        ("no octets of a message", Ixfr::Messages(vec![vec![0; 5]]), true),
    ] {
        let fake = Fake::start(2, ixfr, axfr()).await;
        let here = here();
        let seen =
            look(&fake, Some(Arc::clone(&here))).await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let is_whole = needs_axfr || what == "the whole zone";
        assert_eq!(taken(&here, seen), (Some(9), is_whole), "{what}");
        let asked = fake.asked.lock().expect("not poisoned").clone();
        let expected = [Rtype::SOA, Rtype::IXFR, Rtype::AXFR];
        assert_eq!(asked, expected[..if needs_axfr { 3 } else { 2 }], "{what}");
    }
}

#[tokio::test]
async fn a_primary_with_nothing_newer_is_asked_for_its_serial_alone() {
    for (serial, good) in [(1, true), (0, false), (u32::MAX, false)] {
        let fake = Fake::start(serial, Ixfr::Messages(Vec::new()), axfr()).await;
        let looked = look(&fake, Some(here())).await;
        assert_eq!(looked.is_ok(), good, "{serial}");
        match looked {
            Ok(seen) => assert!(matches!(seen.news, News::Nothing) && seen.version.times.expire == 86_400),
            Err(fault) => assert!(matches!(fault, TransferFault::SerialBack { ours: 1, .. }), "{fault}"),
        }
        assert_eq!(*fake.asked.lock().expect("not poisoned"), [Rtype::SOA]);
    }
}

#[tokio::test]
async fn a_whole_zone_that_is_no_zone_is_not_taken() {
    let with = |extra: ReceivedRecord| {
        let mut all = whole();
        all.insert(1, extra);
        vec![message(Some(Rtype::AXFR), &all)]
    };
    let of = |owner: &str, rtype, rdata: Vec<u8>| ReceivedRecord {
        owner: name(owner).as_wire().to_vec(),
        rtype,
        rdata,
        ..record("SOA 2")
    };
    let without_ns: Vec<ReceivedRecord> = whole().into_iter().filter(|r| r.rtype != Rtype::NS).collect();
    for (messages, reason) in [
        (with(of("a.example", Rtype::CNAME, name("b.example").as_wire().to_vec())), "CNAME beside"),
        (with(of("c.example", Rtype::A, vec![1, 2, 3])), "c.example. A cannot be part of the zone"),
        (vec![message(Some(Rtype::AXFR), &without_ns)], "has no NS"),
    ] {
        let fake = Fake::start(2, Ixfr::Messages(rcode(4)), messages).await;
        let fault = look(&fake, None).await.expect_err(reason).to_string();
        assert!(fault.contains(reason), "{reason}: {fault}");
    }
    // Foreign signatures are left out.
    let signature = of("a.example", Rtype::NSEC, b"\x01b\x07example\x00\x00\x01\x40".to_vec());
    let fake = Fake::start(2, Ixfr::Messages(rcode(4)), with(signature)).await;
    let Seen { news: News::Whole(zone), .. } = look(&fake, None).await.expect("a zone") else {
        panic!("the whole zone")
    };
    assert_eq!(zone.record_count(), 4);
}
