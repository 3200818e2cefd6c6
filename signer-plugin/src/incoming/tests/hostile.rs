//! Primaries that answer in every strange way, each beside a good one and alone: what is served stays until a primary is good again, the reason is
//! told, and no zone and no other primary is held up. They are real sockets, with shorter times than those of [`LookTimes::default`].

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::config::Config;
use keystore::dns::Rtype;
use keystore::tsig::{TsigAlgorithm, TsigKey};
use metrics::Metrics;
use metrics::condition::ConditionId;
use metrics::http::{CertificateFiles, LoadedCertificate};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::connection::LookTimes;
use super::{message, record, records, signed_at, tsig_key};
use crate::incoming::{PrimaryFollower, ReceivedRecord};
use crate::runtime::Signer;
use crate::testing::name;

const TIMES: LookTimes = LookTimes {
    whole: Duration::from_secs(4),
    connect: Duration::from_secs(2),
    message: Duration::from_secs(1),
    slow: Duration::from_secs(1),
};
/// Serials of what is here, of what strange primaries offer, and of what good ones have then.
const HERE: u32 = 10;
const OFFERED: u32 = 11;
const LATER: u32 = 12;
/// How long each part of the test may take on a machine that other tests have busy.
const LIMIT: Duration = Duration::from_secs(120);
/// A key that primaries with [`Strange::WrongTsig`] sign with.
const KEY: &str = "xfr-key";

/// What a primary does that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strange {
    CutOff,
    OtherEnd,
    OutsideOfTheZone,
    OlderThanItSays,
    SerialBack,
    EndlessRecords,
    EndlessTime,
    EmptyMessages,
    DoesNotApply,
    OctetsThatDrip,
    MessagesThatDrip,
    LengthAlone,
    NoAnswer,
    OtherId,
    OtherQuestion,
    WrongTsig,
    Garbage,
    GarbageInTls,
    NothingInTls,
}

/// Each with what TRANSFER-FAILING must say of it.
const KINDS: [(Strange, &str); 19] = [
    (Strange::CutOff, "cut off after 2 records"),
    (Strange::OtherEnd, "ends with another one, of serial 12"),
    (Strange::OutsideOfTheZone, "a.other. A is outside of the zone"),
    (Strange::OlderThanItSays, "serial 9, which is older than 10"),
    (Strange::SerialBack, "serial 9, which is older than 10"),
    (Strange::EndlessRecords, "more than 1048576 octets"),
    (Strange::EndlessTime, "did not end within 4 seconds"),
    (Strange::EmptyMessages, "101 messages in a row have no record"),
    (Strange::DoesNotApply, "the primary answers REFUSED"),
    (Strange::OctetsThatDrip, "no message came for 1 seconds"),
    (Strange::MessagesThatDrip, "the primary sends too slowly"),
    (Strange::LengthAlone, "no message came for 1 seconds"),
    (Strange::NoAnswer, "no message came for 1 seconds"),
    (Strange::OtherId, "another ID"),
    (Strange::OtherQuestion, "another question"),
    (Strange::WrongTsig, "a message is not signed as it should be"),
    (Strange::Garbage, "malformed"),
    (Strange::GarbageInTls, "the connection over TLS failed"),
    (Strange::NothingInTls, "the connection over TLS failed"),
];

impl Strange {
    const fn is_tls(self) -> bool {
        matches!(self, Self::GarbageInTls | Self::NothingInTls)
    }

    /// The key that the primary signs with.
    fn key(self) -> Option<TsigKey> {
        (self == Self::WrongTsig).then(|| tsig_key(TsigAlgorithm::HmacSha256))
    }

    /// What it answers to a query of this type in place of a good answer; `None` where the answer is good.
    fn answer(self, zone: &str, query: &[u8], rtype: Rtype) -> Option<Script> {
        let say = |texts: &str| answer_to(zone, query, rtype, &records(texts));
        let once = |messages: Vec<Vec<u8>>| Some(Script { first: messages, ..Script::default() });
        if rtype == Rtype::SOA {
            return match self {
                Self::SerialBack => once(vec![say("SOA 9")]),
                Self::NoAnswer => once(Vec::new()),
                _ => None,
            };
        }
        let begun = vec![say("SOA 11, a 192.0.2.9")];
        let on_and_on = |again: Vec<u8>, pause| {
            Some(Script { first: begun.clone(), again: Some((again, pause)), ..Script::default() })
        };
        let many = |count: usize| answer_to(zone, query, rtype, &vec![record("a 192.0.2.9"); count]);
        let changed = |change: fn(&mut Vec<u8>)| {
            let mut message = say("SOA 11, a 192.0.2.9, SOA 11");
            change(&mut message);
            once(vec![message])
        };
        match self {
            Self::SerialBack | Self::NoAnswer | Self::GarbageInTls | Self::NothingInTls => None,
            Self::CutOff => Some(Script { first: begun, closes: true, ..Script::default() }),
            Self::OtherEnd => once(vec![say("SOA 11, a 192.0.2.9, SOA 12")]),
            Self::OutsideOfTheZone => once(vec![say("SOA 11, a.other. 192.0.2.9, SOA 11")]),
            Self::OlderThanItSays => once(vec![say("SOA 9, a 192.0.2.9, SOA 9")]),
            Self::EndlessRecords => on_and_on(framed(&many(1000)), Duration::ZERO),
            Self::EndlessTime => on_and_on(framed(&many(200)), Duration::from_millis(50)),
            Self::EmptyMessages => on_and_on(framed(&many(0)), Duration::ZERO),
            Self::DoesNotApply if rtype == Rtype::IXFR => {
                once(vec![say("SOA 11, SOA 10, c 192.0.2.9, SOA 11, SOA 11")])
            }
            Self::DoesNotApply => {
                let mut refused = answer_to(zone, query, rtype, &[]);
                refused[3] = 5;
                once(vec![refused])
            }
            // Two octets of a length, then one octet of the message after the other.
            Self::OctetsThatDrip => {
                let again = Some((vec![0], Duration::from_millis(100)));
                Some(Script { raw: vec![0xff, 0xff], again, ..Script::default() })
            }
            Self::MessagesThatDrip => on_and_on(framed(&many(1)), Duration::from_millis(300)),
            Self::LengthAlone => Some(Script { raw: vec![0x40, 0], ..Script::default() }),
            Self::OtherId => changed(|message| message[1] ^= 1),
            Self::OtherQuestion => changed(|message| message[13] ^= 1),
            Self::Garbage => changed(|message| message.truncate(40)),
            Self::WrongTsig => {
                let messages = ["SOA 11", "a 192.0.2.9", "SOA 11"].map(say);
                let key = self.key().expect("it has one");
                let mut signed = signed_at(clock::now(), &key, query, &messages, &[0, 1, 2]);
                let mac = signed[1].len() - 20;
                signed[1][mac] ^= 1;
                once(signed)
            }
        }
    }
}

/// What a primary sends.
#[derive(Debug, Default)]
struct Script {
    /// Messages, each behind its length.
    first: Vec<Vec<u8>>,
    /// Octets after these.
    raw: Vec<u8>,
    /// Octets that come again and again, with this pause.
    again: Option<(Vec<u8>, Duration)>,
    /// The connection ends then.
    closes: bool,
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A message with these records of `example`, as one of `zone` that answers this query.
fn answer_to(zone: &str, query: &[u8], rtype: Rtype, records: &[ReceivedRecord]) -> Vec<u8> {
    let mut message = message(Some(rtype), records);
    message[..2].copy_from_slice(&query[..2]);
    for at in 0..message.len() - 8 {
        if message[at..at + 8].eq_ignore_ascii_case(b"\x07example") {
            message[at + 1..at + 8].copy_from_slice(zone.as_bytes());
        }
    }
    message
}

/// The zone with this serial; the address of `a` ends with the serial.
fn whole(serial: u32) -> Vec<ReceivedRecord> {
    let ns =
        ReceivedRecord { rtype: Rtype::NS, rdata: name("ns.other").as_wire().to_vec(), ..record("SOA 1") };
    let soa = || records(&format!("SOA {serial}"));
    [soa(), records(&format!("a 192.0.2.{serial}")), vec![ns], soa()].concat()
}

/// A primary of one zone.
struct Fake {
    zone: String,
    /// What it does; `None` = it is always good.
    strange: Option<Strange>,
    /// The serial that it has; a strange one is good unless it is [`OFFERED`].
    serial: AtomicU32,
}

impl Fake {
    async fn start(zone: &str, strange: Option<Strange>) -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let fake = Arc::new(Self { zone: zone.to_owned(), strange, serial: AtomicU32::new(HERE) });
        let is_tls = strange.is_some_and(Strange::is_tls);
        let acceptor = is_tls.then(acceptor);
        let own = Arc::clone(&fake);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (own, acceptor) = (Arc::clone(&own), acceptor.clone());
                tokio::spawn(async move {
                    match (acceptor, own.strange_now()) {
                        (Some(_), Some(Strange::GarbageInTls)) => {
                            let _ = stream.write_all(&[0x7f; 3000]).await;
                            let _ = stream.read(&mut [0; 1024]).await;
                        }
                        (Some(_), Some(_)) => {
                            while stream.read(&mut [0; 1024]).await.is_ok_and(|len| len > 0) {}
                        }
                        (Some(acceptor), None) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                own.serve(stream).await;
                            }
                        }
                        (None, _) => own.serve(stream).await,
                    }
                });
            }
        });
        (address, fake)
    }

    fn strange_now(&self) -> Option<Strange> {
        self.strange.filter(|_| self.serial.load(Ordering::SeqCst) == OFFERED)
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut len = [0; 2];
        while stream.read_exact(&mut len).await.is_ok() {
            let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
            if stream.read_exact(&mut query).await.is_err() {
                return;
            }
            let rtype = Rtype(u16::from_be_bytes([query[21], query[22]]));
            let script = self.strange_now().and_then(|strange| strange.answer(&self.zone, &query, rtype));
            let script = script.unwrap_or_else(|| self.good(&query, rtype));
            let sent =
                script.first.iter().flat_map(|message| framed(message)).chain(script.raw).collect::<Vec<_>>();
            if stream.write_all(&sent).await.is_err() || script.closes {
                return;
            }
            if let Some((again, pause)) = script.again {
                while stream.write_all(&again).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                return;
            }
        }
    }

    fn good(&self, query: &[u8], rtype: Rtype) -> Script {
        let serial = self.serial.load(Ordering::SeqCst);
        let records = if rtype == Rtype::SOA { records(&format!("SOA {serial}")) } else { whole(serial) };
        let message = answer_to(&self.zone, query, rtype, &records);
        let first = match self.strange.and_then(Strange::key) {
            Some(key) => signed_at(clock::now(), &key, query, &[message], &[0]),
            None => vec![message],
        };
        Script { first, ..Script::default() }
    }
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn acceptor() -> TlsAcceptor {
    let files = CertificateFiles { certificate: fixture("server.crt"), key: fixture("server.key") };
    TlsAcceptor::from(LoadedCertificate::load(&files, b"dot").expect("a certificate").config)
}

/// A zone here and its primaries.
struct Followed {
    zone: String,
    fakes: Vec<Arc<Fake>>,
    /// What must be said of the only primary.
    reason: Option<&'static str>,
}

impl Followed {
    fn set_serial(&self, serial: u32) {
        self.fakes.iter().for_each(|fake| fake.serial.store(serial, Ordering::SeqCst));
    }
}

struct Bench {
    zones: Vec<Followed>,
    signer: Signer,
    _follower: PrimaryFollower,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Each kind alone and in front of a good primary, and a zone that has but a good one.
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let key = dir.path().join(KEY);
        let secret = data_encoding::BASE64.encode(&tsig_key(TsigAlgorithm::HmacSha256).secret);
        let text = format!("key \"{KEY}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        keystore::durable::write(&key, text.as_bytes(), 0o600).expect("written");
        let mut text = format!(
            "version = 1\nstate-dir = \".\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n\
             [transfer]\nkey-files = [{key:?}]\nmin-refresh = 1\nmin-retry = 1\nmax-octets = 1048576\n"
        );
        let strange = KINDS.iter().flat_map(|kind| [(Some(*kind), false), (Some(*kind), true)]);
        let mut zones = Vec::new();
        for (kind, has_good) in strange.chain([(None, true)]) {
            let zone = format!("zone{:03}", zones.len());
            let (mut fakes, mut listed) = (Vec::new(), Vec::new());
            if let Some((strange, _)) = kind {
                let (address, fake) = Fake::start(&zone, Some(strange)).await;
                let tls =
                    format!(", tls = {{ name = \"server.example\", ca-file = {:?} }}", fixture("server.crt"));
                let tls = if strange.is_tls() { tls } else { String::new() };
                let key = strange.key().map_or_else(String::new, |_| format!(", key = \"{KEY}\""));
                listed.push(format!("{{ address = \"{address}\"{key}{tls} }}"));
                fakes.push(fake);
            }
            if has_good {
                let (address, fake) = Fake::start(&zone, None).await;
                listed.push(format!("\"{address}\""));
                fakes.push(fake);
            }
            text += &format!(
                "[[zone]]\nname = \"{zone}\"\nsigning = \"unsigned\"\nprimaries = [{}]\n",
                listed.join(", ")
            );
            let reason = kind.map(|(_, reason)| reason).filter(|_| !has_good);
            zones.push(Followed { zone, fakes, reason });
        }
        let config = Config::parse(text.as_bytes(), &dir.path().join("offline-ksk.toml"));
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let metrics = Metrics::new().expect("families");
        let signer = Signer::start(&config, &metrics, Arc::new(clock::now)).expect("a signer");
        let runtime = tokio::runtime::Handle::current();
        let follower = PrimaryFollower::new(runtime, Arc::new(clock::now)).with_times(TIMES);
        follower.follow(signer.from_primaries());
        Self { zones, signer, _follower: follower, _dir: dir }
    }

    /// Sends NOTIFY again and again until every zone has stood as it should: serial and last octet of the address that are served, and what is said
    /// of its primaries.
    async fn until(&self, what: &str, stands: impl Fn(&Followed, u32, u8, Option<&str>) -> bool) {
        let begun = Instant::now();
        // A zone that stood so once may be looked at in vain later: other tests may have the machine busy.
        let mut right = HashSet::new();
        loop {
            let mut wrong = Vec::new();
            for (served, setup) in self.signer.from_primaries() {
                let label = setup.name.to_string();
                let zone =
                    self.zones.iter().find(|zone| label == format!("{}.", zone.zone)).expect("one of ours");
                let serial = served.content().map_or(0, |content| content.serial());
                let address = served.content().map_or(0, |content| {
                    let node = content.lookup(name(&format!("a.{label}")).as_wire()).expect("a name");
                    let set = content.rrset(content.find(node, Rtype::A).expect("an address"));
                    set.data.last().copied().unwrap_or_default()
                });
                let conditions = served.state().conditions;
                let failing =
                    conditions.iter().find(|condition| condition.id == ConditionId::TransferFailing);
                let failing = failing.map(|condition| condition.cause.as_str());
                if stands(zone, serial, address, failing) {
                    right.insert(label);
                } else if !right.contains(&label) {
                    let strange = zone.fakes.first().and_then(|fake| fake.strange);
                    wrong.push(format!(
                        "{strange:?}, {} primaries: serial {serial}, {failing:?}",
                        zone.fakes.len()
                    ));
                }
                served.transfers().put_notify([127, 0, 0, 1].into());
            }
            if wrong.is_empty() {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "{what}: {wrong:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_primaries_leave_what_is_served_say_why_and_hold_up_nobody() {
    let bench = Bench::start().await;
    let is_at = |serial: u32, address: u8, wanted: u32| serial == wanted && u32::from(address) == wanted;
    bench
        .until("all are good", |_, serial, address, failing| {
            is_at(serial, address, HERE) && failing.is_none()
        })
        .await;
    bench.zones.iter().for_each(|zone| zone.set_serial(OFFERED));
    bench
        .until("strange", |zone, serial, address, failing| match zone.reason {
            // Whatever is tried meanwhile, nothing but what was there is served.
            Some(reason) => {
                assert!(is_at(serial, address, HERE), "{}: {serial} {address}", zone.zone);
                failing.is_some_and(|cause| cause.contains(reason))
            }
            None => is_at(serial, address, OFFERED) && failing.is_none(),
        })
        .await;
    bench.zones.iter().for_each(|zone| zone.set_serial(LATER));
    bench
        .until("all are good again", |_, serial, address, failing| {
            is_at(serial, address, LATER) && failing.is_none()
        })
        .await;
}
