//! A server that lies in every way: each lie is a failed proof, and none holds us longer than the limit.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use keystore::dns::Rrsig;
use keystore::exchange::testing::{SkrBuilder, TestKey};

use super::*;

const DAY: u64 = 86_400;
/// Header bits: response and authoritative; truncated.
const GOOD: u16 = 0x8400;
const CUT: u16 = 0x0200;

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

fn zone() -> Name {
    Name::parse("example.").unwrap()
}

/// What is served: the records of one answer.
#[derive(Clone)]
struct Records {
    rrset: Rrset,
    signatures: Vec<Rrsig>,
}

/// The good answers to a good bundle.
struct Site {
    bundle: Bundle,
    soa: Records,
}

impl Site {
    fn new() -> Self {
        let bundle = SkrBuilder::new("example.", now()).bundles(1).build().bundles.remove(0);
        let mut soa = vec![0; 2];
        soa.extend(1_u32.to_be_bytes().repeat(5));
        let rrset = Rrset { owner: zone(), rtype: Rtype::SOA, ttl: 300, rdatas: vec![soa.into()] };
        let signature = TestKey::zsk(2).sign(&rrset, now(), now().plus(DAY));
        Self { bundle, soa: Records { rrset, signatures: vec![signature] } }
    }

    fn records(&self, rtype: Rtype) -> Records {
        if rtype == Rtype::SOA {
            return self.soa.clone();
        }
        let signatures = self.bundle.signatures.iter().filter(|s| s.covered == rtype).cloned().collect();
        let rrset = self.bundle.rrsets().find(|r| r.rtype == rtype).unwrap().clone();
        Records { rrset, signatures }
    }
}

fn rtype_of(query: &[u8]) -> Rtype {
    let at = 12 + zone().as_wire().len();
    Rtype(u16::from_be_bytes([query[at], query[at + 1]]))
}

fn record(owner: &Name, rtype: Rtype, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let mut out = owner.as_wire().to_vec();
    out.extend([rtype.0.to_be_bytes(), 1_u16.to_be_bytes()].concat());
    out.extend(ttl.to_be_bytes());
    out.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
    out.extend(rdata);
    out
}

/// An answer to `query` with these flags and records.
fn message(query: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = query[..2].to_vec();
    out.extend(flags.to_be_bytes());
    out.extend([1, u16::try_from(records.len()).unwrap(), 0, 0].map(u16::to_be_bytes).concat());
    out.extend(&query[12..12 + zone().as_wire().len() + 4]);
    out.extend(records.concat());
    out
}

fn wire(records: &Records) -> Vec<Vec<u8>> {
    let (rrset, ttl) = (&records.rrset, records.rrset.ttl);
    let plain = rrset.rdatas.iter().map(|r| record(&rrset.owner, rrset.rtype, ttl, r));
    let signed = records.signatures.iter().map(|s| record(&rrset.owner, Rtype::RRSIG, ttl, &s.to_rdata()));
    plain.chain(signed).collect()
}

fn good(site: &Site, query: &[u8]) -> Vec<u8> {
    message(query, GOOD, &wire(&site.records(rtype_of(query))))
}

type Say = Box<dyn Fn(&Site, &[u8]) -> Vec<Vec<u8>> + Send + Sync>;

/// A server on UDP and TCP of one port. Each answer is pieces, sent one by one; by TCP with a pause between them.
struct Liar {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Liar {
    fn start(udp: Say, tcp: Say, pause: Duration) -> Self {
        let (listener, socket) = (0..100)
            .find_map(|_| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let socket = UdpSocket::bind(listener.local_addr().unwrap()).ok()?;
                Some((listener, socket))
            })
            .unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (first, second) = (Arc::clone(&stop), Arc::clone(&stop));
        let over_udp = thread::spawn(move || {
            let (site, mut buffer) = (Site::new(), [0; 4096]);
            while !first.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                for piece in udp(&site, &buffer[..len]) {
                    let _ = socket.send_to(&piece, from);
                }
            }
        });
        let over_tcp = thread::spawn(move || {
            let site = Site::new();
            while !second.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let mut len = [0; 2];
                stream.read_exact(&mut len).unwrap();
                let mut query = vec![0; u16::from_be_bytes(len).into()];
                stream.read_exact(&mut query).unwrap();
                for piece in tcp(&site, &query) {
                    if second.load(Ordering::Relaxed) || stream.write_all(&piece).is_err() {
                        break;
                    }
                    thread::sleep(pause);
                }
            }
        });
        Self { address, stop, threads: vec![over_udp, over_tcp] }
    }

    fn prove(&self) -> Result<ServedProof, ProofError> {
        Probe::new(self.address, None).prove(&zone(), &Site::new().bundle, 5 * DAY, now())
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn framed(reply: Vec<u8>) -> Vec<u8> {
    [u16::try_from(reply.len()).unwrap().to_be_bytes().to_vec(), reply].concat()
}

fn truncated() -> Say {
    Box::new(|_, query| vec![message(query, GOOD | CUT, &[])])
}

fn nothing() -> Say {
    Box::new(|_, _| Vec::new())
}

#[track_caller]
fn fails(name: &str, expected: &str, udp: Say, tcp: Say, pause: Duration) {
    let liar = Liar::start(udp, tcp, pause);
    let started = Instant::now();
    let said = liar.prove().expect_err(name).to_string();
    assert!(said.contains(expected), "{name}: {said}");
    assert!(started.elapsed() < WHOLE_PROOF + Duration::from_secs(5), "{name} took {:?}", started.elapsed());
}

#[test]
fn the_truth_is_proven_by_udp_and_by_tcp_when_cut() {
    let liar = Liar::start(Box::new(|site, query| vec![good(site, query)]), nothing(), Duration::ZERO);
    assert_eq!(liar.prove().unwrap(), ServedProof::Exactly);
    let by_tcp: Say = Box::new(|site, query| vec![framed(good(site, query))]);
    let liar = Liar::start(truncated(), by_tcp, Duration::ZERO);
    liar.prove().unwrap();
    let probe = Probe::new(liar.address, Some(IpAddr::from([127, 0, 0, 9])));
    probe.prove(&zone(), &Site::new().bundle, 5 * DAY, now()).unwrap();
}

#[test]
fn answers_that_are_none() {
    let other_zone = |query: &[u8]| {
        let mut query = query.to_vec();
        query[13] = b'x';
        query
    };
    let cases: Vec<(&str, &str, Say)> = vec![
        ("no answer", "does not answer over DNS", nothing()),
        ("garbage", "does not answer over DNS", Box::new(|_, _| vec![vec![0xff; 900], vec![], vec![7]])),
        (
            "wrong id",
            "does not answer over DNS",
            Box::new(|site, query| {
                let mut reply = good(site, query);
                reply[0] ^= 1;
                vec![reply]
            }),
        ),
        ("a query back", "does not answer over DNS", Box::new(|_, query| vec![query.to_vec()])),
        ("header only", "without the question", Box::new(|_, q| vec![message(q, GOOD, &[])[..12].to_vec()])),
        (
            "garbage behind the header",
            "the answer to DNSKEY is",
            Box::new(|_, query| vec![[&message(query, GOOD, &[])[..12], &[0xff; 500]].concat()]),
        ),
        (
            "records cut off",
            "malformed",
            Box::new(|site, query| {
                let mut reply = good(site, query);
                reply.truncate(60);
                vec![reply]
            }),
        ),
        ("SERVFAIL", "SERVFAIL", Box::new(|_, query| vec![message(query, GOOD | 2, &[])])),
        ("REFUSED", "REFUSED", Box::new(|_, query| vec![message(query, GOOD | 5, &[])])),
        ("NXDOMAIN", "NXDOMAIN", Box::new(|_, query| vec![message(query, GOOD | 3, &[])])),
        (
            "from a cache",
            "not authoritative",
            Box::new(|site, query| vec![message(query, 0x8000, &wire(&site.records(rtype_of(query))))]),
        ),
        (
            "another question",
            "to another question",
            Box::new(move |site, query| {
                vec![message(&other_zone(query), GOOD, &wire(&site.records(rtype_of(query))))]
            }),
        ),
        (
            "another zone's records",
            "with records of another name",
            Box::new(|site, query| {
                let mut records = site.records(rtype_of(query));
                records.rrset.owner = Name::parse("elsewhere.").unwrap();
                vec![message(query, GOOD, &wire(&records))]
            }),
        ),
        (
            "CNAME",
            "with records of another type, CNAME",
            Box::new(|_, query| {
                vec![message(query, GOOD, &[record(&zone(), Rtype(5), 60, zone().as_wire())])]
            }),
        ),
        ("no records", "2 records missing", Box::new(|_, query| vec![message(query, GOOD, &[])])),
    ];
    // Each waits for its own server, so they go at once.
    thread::scope(|scope| {
        for (name, expected, udp) in cases {
            scope.spawn(move || fails(name, expected, udp, nothing(), Duration::ZERO));
        }
    });
}

/// Changes the good answer to one type.
fn altered(of: Rtype, alter: impl Fn(&mut Records) + Send + Sync + 'static) -> Say {
    Box::new(move |site, query| {
        let mut records = site.records(rtype_of(query));
        if records.rrset.rtype == of {
            alter(&mut records);
        }
        vec![message(query, GOOD, &wire(&records))]
    })
}

fn resigned(records: &mut Records, key: &TestKey, from: u64, to: u64) {
    records.signatures = vec![key.sign(&records.rrset, now().minus(from), now().minus(to))];
}

/// Signed since yesterday, for `left` seconds more.
fn still(records: &mut Records, key: &TestKey, left: u64) {
    records.signatures = vec![key.sign(&records.rrset, now().minus(DAY), now().plus(left))];
}

/// named keeps signatures that it has until they are due, whatever SKR it is given.
#[test]
fn older_signatures_hold_until_they_are_due_for_renewal() {
    for (left, due) in [(9 * DAY, now().plus(4 * DAY)), (5 * DAY - GRACE + 1, now().minus(GRACE - 1))] {
        let older = altered(Rtype::DNSKEY, move |r| still(r, &TestKey::ksk(1), left));
        let liar = Liar::start(older, nothing(), Duration::ZERO);
        assert_eq!(liar.prove().unwrap(), ServedProof::Still(due));
    }
}

#[test]
fn answers_that_a_validator_would_not_take() {
    let cases: Vec<(&str, &str, Say)> = vec![
        (
            "SOA expired",
            "over SOA by a key of the bundle is valid now: it has expired",
            altered(Rtype::SOA, |r| resigned(r, &TestKey::zsk(2), 2 * DAY, DAY)),
        ),
        (
            "SOA by an unknown key",
            "it is of a key that the bundle does not have",
            altered(Rtype::SOA, |r| resigned(r, &TestKey::zsk(9), DAY, 0)),
        ),
        ("SOA unsigned", "it has none", altered(Rtype::SOA, |r| r.signatures.clear())),
        ("no SOA", "the answer to SOA is empty", altered(Rtype::SOA, |r| r.rrset.rdatas.clear())),
        (
            "a flipped bit",
            "it does not verify",
            altered(Rtype::SOA, |r| {
                let mut rdata = r.rrset.rdatas[0].to_vec();
                rdata[9] ^= 1;
                r.rrset.rdatas[0] = rdata.into();
            }),
        ),
        ("a longer TTL", "a longer TTL than was signed", altered(Rtype::CDS, |r| r.rrset.ttl += 1)),
        (
            "another bundle's signature that has run out",
            "over DNSKEY by a key of the bundle is valid now: it has expired",
            altered(Rtype::DNSKEY, |r| resigned(r, &TestKey::ksk(1), DAY, 1)),
        ),
        (
            "one that was due for renewal",
            "and is due for renewal",
            altered(Rtype::DNSKEY, |r| still(r, &TestKey::ksk(1), 5 * DAY - GRACE)),
        ),
        (
            "one of the ZSK in the place of the KSK's",
            "the signature of key",
            altered(Rtype::DNSKEY, |r| still(r, &TestKey::zsk(2), 9 * DAY)),
        ),
        (
            "one key more",
            "the DNSKEY RRset that is served is not that of the bundle",
            altered(Rtype::DNSKEY, |r| r.rrset.rdatas.push(TestKey::zsk(7).dnskey.to_rdata().into())),
        ),
        (
            "CDS gone",
            "the CDS RRset that is served is not that",
            altered(Rtype::CDS, |r| {
                r.rrset.rdatas.clear();
                r.signatures.clear();
            }),
        ),
    ];
    for (name, expected, udp) in cases {
        fails(name, expected, udp, nothing(), Duration::ZERO);
    }
}

#[test]
fn what_comes_over_tcp_may_be_slow_huge_or_never_end() {
    let huge = |flags: u16| -> Say {
        Box::new(move |_, query| {
            let one = record(&zone(), Rtype::DNSKEY, 60, &[1; 500]);
            vec![framed(message(query, flags, &vec![one; 120]))]
        })
    };
    let drip: Say = Box::new(|site, query| framed(good(site, query)).into_iter().map(|o| vec![o]).collect());
    let cases: Vec<(&str, &str, Say, u64)> = vec![
        ("slow drip", "does not answer over DNS", drip, 100),
        ("closes at once", "does not answer over DNS", nothing(), 0),
        ("closes in the middle", "does not answer over DNS", Box::new(|_, _| vec![vec![1, 0, 7, 7]]), 0),
        ("huge", "2 records missing, 1 more", huge(GOOD), 0),
        ("cut even here", "none to our question", huge(GOOD | CUT), 0),
        (
            "wrong id",
            "none to our question",
            Box::new(|site, query| {
                let mut reply = good(site, query);
                reply[1] ^= 1;
                vec![framed(reply)]
            }),
            0,
        ),
    ];
    thread::scope(|scope| {
        for (name, expected, tcp, pause) in cases {
            scope.spawn(move || fails(name, expected, truncated(), tcp, Duration::from_millis(pause)));
        }
    });
}

/// Others' packets, as many as fit, do not keep us in the loop that waits for ours.
#[test]
fn a_flood_of_wrong_answers_ends() {
    let flood: Say = Box::new(|site, query| {
        let mut reply = good(site, query);
        reply[0] ^= 1;
        vec![reply; 5000]
    });
    fails("flood", "does not answer over DNS", flood, nothing(), Duration::ZERO);
}
