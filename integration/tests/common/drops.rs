//! `offline-ksk serve` in this process, SKRs dropped into it one after the other, and queries from several threads meanwhile.
#![allow(dead_code, reason = "the test and the benchmark use a part each")]
#![allow(clippy::unwrap_used, reason = "a failure here is the test's")]

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use domain::base::iana::Rcode;
use domain::base::name::Name as WireName;
use domain::base::{Message, MessageBuilder, Rtype, Serial};
use domain::dep::octseq::Parser;
use domain::dnssec::validator::base::RrsigExt as _;
use domain::rdata::{AllRecordData, Dnskey, Rrsig};
use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::time::Timestamp;
use offline_ksk_integration::serve::ServeProcess;

const KSK: u8 = 1;
const ZSK: u8 = 2;
const DAY: u64 = 86_400;
/// Pause of a thread between two queries.
const PACE: Duration = Duration::from_millis(5);
/// How long an answer may take before the query counts as lost.
const LOST: Duration = Duration::from_secs(5);
/// Far above what it takes: what hangs is to be told from a slow machine.
const HANGS: Duration = Duration::from_secs(120);

/// What happened.
#[derive(Debug)]
pub struct Report {
    /// From the rename to the first answer that has it, for each drop.
    pub latencies: Vec<Duration>,
    pub answers: usize,
    pub lost: usize,
    /// Answers that do not validate, and why.
    pub bogus: Vec<String>,
    took: Duration,
}

impl Report {
    /// The latency that so many percent of the drops do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        sorted[(sorted.len() * percent).div_ceil(100) - 1]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "{} drops in {:.1} s: from the rename to the first answer that has it {:.1} ms (median), {:.1} ms (p99), {:.1} ms (most); \
             {} queries meanwhile, {} lost, {} bogus",
            self.latencies.len(),
            self.took.as_secs_f64(),
            ms(self.percentile(50)),
            ms(self.percentile(99)),
            ms(self.percentile(100)),
            self.answers,
            self.lost,
            self.bogus.len()
        )
    }
}

fn zone(n: usize) -> String {
    format!("zone-{n}.example.")
}

/// In force now, each ending a minute after the one before.
fn skr(zone: &str, n: usize, now: Timestamp) -> String {
    SkrBuilder::new(zone, now.minus(2 * DAY).plus(60 * n as u64)).bundles(3).text()
}

/// Drops `drops` SKRs for each of `zones`, each when the one before it is served, while `askers` threads ask.
pub fn run(zones: usize, drops: usize, askers: usize) -> Report {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), zones);
    let serving = ServeProcess::start(&dir.path().join("offline-ksk.toml")).unwrap();
    let server = serving.dns()[0];
    let (now, begun) = (keystore::clock::now(), Instant::now());
    // The first one before anybody asks.
    for n in 0..zones {
        let (text, mark) = (skr(&zone(n), 0, now), skr_mark(&zone(n), 0, now));
        drop_file(dir.path(), &zone(n), &text);
        // The watch may be set only now; a loader for several zones waits half a minute for a file that it saw nobody close.
        while serves(server, &zone(n), &mark).is_none() && begun.elapsed() < HANGS {
            thread::sleep(Duration::from_millis(500));
            if dir.path().join(format!("state/inbox/{}skr", zone(n))).exists() {
                drop_file(dir.path(), &zone(n), &text);
            }
        }
    }
    let (over, begun) = (AtomicBool::new(false), Instant::now());
    let (latencies, asked) = thread::scope(|scope| {
        let askers: Vec<_> = (0..askers)
            .map(|n| {
                scope.spawn({
                    let over = &over;
                    move || ask(server, n, zones, over)
                })
            })
            .collect();
        let dir = dir.path();
        let droppers: Vec<_> = (0..zones)
            .map(|n| {
                scope.spawn(move || {
                    let zone = zone(n);
                    let one = |drop: usize| {
                        let (text, mark) = (skr(&zone, drop, now), skr_mark(&zone, drop, now));
                        let renamed = drop_file(dir, &zone, &text);
                        wait_until_served(server, dir, &zone, &mark, renamed)
                    };
                    (1..=drops).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        let latencies: Vec<Duration> = droppers.into_iter().flat_map(|d| d.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        (latencies, askers.into_iter().map(|a| a.join().unwrap()).collect::<Vec<_>>())
    });
    let took = begun.elapsed();
    serving.stop();
    each_was_accepted_once(dir.path(), zones, drops);
    let mut report = Report { latencies, answers: 0, lost: 0, bogus: Vec::new(), took };
    for (answers, lost, bogus) in asked {
        report.answers += answers;
        report.lost += lost;
        report.bogus.extend(bogus);
    }
    report
}

fn configure(dir: &Path, zones: usize) {
    let state = dir.join("state");
    fs::create_dir_all(state.join("keys")).unwrap();
    let key = data_encoding(&TestKey::ksk(KSK).dnskey.public_key);
    let mut text = "version = 1\nstate-dir = \"state\"\n".to_owned();
    for n in 0..zones {
        let zone = zone(n);
        text += &format!(
            "[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\nfile = \"{zone}zone\"\ntrust-anchors = [\"{zone} DNSKEY 257 3 15 {key}\"]\n"
        );
        fs::write(
            dir.join(format!("{zone}zone")),
            "$TTL 300\n@ SOA ns1 h 1 3600 600 86400 300\n@ NS ns1\nns1 A 127.0.0.1\na A 10.0.0.1\n",
        )
        .unwrap();
        let dnskey = TestKey::zsk(ZSK).dnskey;
        let long_ago = Some(keystore::clock::now().minus(100 * DAY));
        let timing = Timing { publish: long_ago, activate: long_ago, ..Timing::default() };
        let file = KeyFile {
            zone: Name::parse(&zone).unwrap(),
            ttl: 3600,
            dnskey,
            timing,
            state: None,
            dir: state.join("keys"),
        };
        file.write(&PrivateKey::Raw(vec![ZSK; 32])).unwrap();
    }
    text += "[policy.p]\noffline-ksk = true\nkeys = [\n  { role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ed25519\" },\n  \
             { role = \"zsk\", lifetime = \"P6M\", algorithm = \"ed25519\" },\n]\n[ksr]\nenabled = false\n[signer]\nlisten = [\"127.0.0.1:0\"]\n";
    fs::write(dir.join("offline-ksk.toml"), text).unwrap();
}

fn data_encoding(octets: &[u8]) -> String {
    domain::utils::base64::encode_string(octets)
}

/// Writes elsewhere and renames into the inbox; gives the moment of the rename.
fn drop_file(dir: &Path, zone: &str, text: &str) -> Instant {
    let aside = dir.join(format!("{zone}aside"));
    fs::write(&aside, text).unwrap();
    let renamed = Instant::now();
    fs::rename(aside, dir.join(format!("state/inbox/{zone}skr"))).unwrap();
    renamed
}

/// Inception of the signatures of an SKR's bundle in force, by which its answers are told from those of the others.
fn skr_mark(zone: &str, n: usize, now: Timestamp) -> Serial {
    let bundle = SkrBuilder::new(zone, now.minus(2 * DAY).plus(60 * n as u64)).bundles(1).build();
    Serial(bundle.bundles[0].signatures[0].inception)
}

fn wait_until_served(server: SocketAddr, dir: &Path, zone: &str, mark: &Serial, since: Instant) -> Duration {
    while serves(server, zone, mark).is_none() {
        assert!(since.elapsed() < HANGS, "{zone}: not served after {HANGS:?}: {}", told(dir));
        thread::sleep(Duration::from_millis(2));
    }
    since.elapsed()
}

/// The DNSKEY answer has a signature with this inception.
fn serves(server: SocketAddr, zone: &str, mark: &Serial) -> Option<()> {
    let answer = query(&client(server), zone, Rtype::DNSKEY)?;
    signatures(&answer)
        .any(|rrsig| rrsig.type_covered() == Rtype::DNSKEY && Serial(rrsig.inception().into_int()) == *mark)
        .then_some(())
}

/// What the loader has to say.
fn told(dir: &Path) -> String {
    let mut told = fs::read_to_string(dir.join("state/audit.jsonl")).unwrap_or_default();
    for entry in fs::read_dir(dir.join("state/rejected")).into_iter().flatten() {
        told += &fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
    }
    told.chars().take(4000).collect()
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(LOST)).unwrap();
    socket
}

/// One query, sent once; `None` when no answer comes.
fn query(socket: &UdpSocket, name: &str, rtype: Rtype) -> Option<Message<Vec<u8>>> {
    let mut question = MessageBuilder::new_vec().question();
    question.header_mut().set_random_id();
    let id = question.header().id();
    question.push((name.parse::<WireName<Vec<u8>>>().unwrap(), rtype)).unwrap();
    let mut more = question.additional();
    more.opt(|opt| {
        opt.set_dnssec_ok(true);
        opt.set_udp_payload_size(4096);
        Ok(())
    })
    .unwrap();
    socket.send(&more.finish()).unwrap();
    let mut buffer = vec![0; 4096];
    loop {
        let len = socket.recv(&mut buffer).ok()?;
        let message = Message::from_octets(buffer[..len].to_vec()).unwrap();
        if message.header().id() == id {
            return Some(message);
        }
    }
}

fn signatures(
    message: &Message<Vec<u8>>,
) -> impl Iterator<Item = Rrsig<&[u8], domain::base::ParsedName<&[u8]>>> {
    let answer = message.answer().unwrap();
    answer.limit_to_in::<Rrsig<_, _>>().map(|record| record.unwrap().into_data())
}

/// Asks until it is over: number of answers, number of lost queries, and what did not validate.
fn ask(server: SocketAddr, asker: usize, zones: usize, over: &AtomicBool) -> (usize, usize, Vec<String>) {
    let socket = client(server);
    let (ksk, zsk) = (TestKey::ksk(KSK).dnskey.to_rdata(), TestKey::zsk(ZSK).dnskey.to_rdata());
    let (mut answers, mut lost, mut bogus) = (0, 0, Vec::new());
    let mut n = asker;
    while !over.load(Ordering::Relaxed) {
        let zone = zone(n % zones);
        let (name, rtype, rcode) = match n % 5 {
            0 => (zone.clone(), Rtype::DNSKEY, Rcode::NOERROR),
            1 => (zone.clone(), Rtype::CDS, Rcode::NOERROR),
            2 => (zone.clone(), Rtype::SOA, Rcode::NOERROR),
            3 => (format!("a.{zone}"), Rtype::A, Rcode::NOERROR),
            _ => (format!("none.{zone}"), Rtype::A, Rcode::NXDOMAIN),
        };
        n += 1;
        match query(&socket, &name, rtype) {
            None => lost += 1,
            Some(message) => {
                answers += 1;
                if let Err(what) = validate(&message, rcode, &ksk, &zsk) {
                    bogus.push(format!("{name} {rtype}: {what}"));
                }
            }
        }
        thread::sleep(PACE);
    }
    (answers, lost, bogus)
}

/// The `domain` crate's judgement: each RRset has a signature that is valid now, by the KSK where the keys are, else by the ZSK.
fn validate(message: &Message<Vec<u8>>, rcode: Rcode, ksk: &[u8], zsk: &[u8]) -> Result<(), String> {
    let header = message.header();
    if header.rcode() != rcode || !header.aa() || header.tc() {
        return Err(format!("{} aa={} tc={}", header.rcode(), header.aa(), header.tc()));
    }
    let now = Serial(u32::try_from(keystore::clock::now().secs()).unwrap());
    let mut sets = HashMap::<(String, Rtype), Vec<_>>::new();
    let mut rrsigs = Vec::new();
    let sections =
        [message.answer().map_err(|e| e.to_string())?, message.authority().map_err(|e| e.to_string())?];
    for section in sections {
        for record in section.limit_to::<AllRecordData<_, _>>() {
            let record = record.map_err(|e| e.to_string())?;
            let owner = record.owner().to_string();
            match record.data() {
                AllRecordData::Rrsig(rrsig) => rrsigs.push((owner, rrsig.clone())),
                _ => sets.entry((owner, record.rtype())).or_default().push(record),
            }
        }
    }
    if sets.is_empty() {
        return Err("nothing is in it".to_owned());
    }
    for ((owner, rtype), mut records) in sets {
        let rdata = if [Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY].contains(&rtype) { ksk } else { zsk };
        let key = Dnskey::parse(&mut Parser::from_ref(rdata)).map_err(|e| e.to_string())?;
        let good = rrsigs.iter().filter(|(of, rrsig)| *of == owner && rrsig.type_covered() == rtype).any(
            |(_, rrsig)| {
                let mut signed = Vec::new();
                let in_time = Serial(rrsig.inception().into_int()) <= now
                    && now <= Serial(rrsig.expiration().into_int());
                in_time
                    && rrsig.key_tag() == key.key_tag()
                    && rrsig.signed_data(&mut signed, records.as_mut_slice()).is_ok()
                    && rrsig.verify_signed_data(&key, &signed).is_ok()
            },
        );
        if !good {
            return Err(format!("{owner} {rtype} has no valid signature"));
        }
    }
    Ok(())
}

/// The store and the audit log say that each drop was accepted, once and in its turn, and nothing is left.
fn each_was_accepted_once(dir: &Path, zones: usize, drops: usize) {
    let mut accepted = HashMap::<String, Vec<u64>>::new();
    skr_loader::audit::read(&dir.join("state/audit.jsonl"), |_, record| {
        if let Some(zone) = &record.zone {
            if record.event.as_str() == "unchanged" && record.generation == Some(1) {
                return Ok(()); // the first one, dropped twice
            }
            assert_eq!(record.event.as_str(), "accepted", "{record:?}");
            accepted.entry(zone.clone()).or_default().push(record.generation.unwrap());
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(accepted.len(), zones);
    for (zone, generations) in accepted {
        assert_eq!(generations, (1..=drops as u64 + 1).collect::<Vec<_>>(), "{zone}");
    }
    for folder in ["inbox", "rejected"] {
        assert_eq!(fs::read_dir(dir.join("state").join(folder)).unwrap().count(), 0, "{folder}");
    }
}
