//! A zone stepped through its life on a clock of our own; what it serves is asked for and verified at each stop.

mod content;
mod day;
mod denial;
mod embedding;
mod faults;
mod fence;
mod kinds;
mod many;
mod presigned;
mod restart;
mod rolls;
mod self_check;
mod unsigned;
mod updates;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keystore::crypto::PrivateKey;
use keystore::dns::{Name, Rrset, Rrsig, Rtype, rrsig};
use keystore::exchange::TrustAnchor;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{Dnskey, KeyFile, Timing};
use keystore::time::Timestamp;
use keystore::{durable, store};
use metrics::condition::ConditionId;

use super::*;
use crate::answer::{AnswerOutcome, Arrival, Transport};
use crate::reply::{MessageParts, Rr};
use crate::rules::ZoneRules;
use crate::signing::SigningTimes;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const ZONE: &str = "example.";
const FILE: &str = "$TTL 300\n@ SOA ns.example. hostmaster.example. 2027010100 7200 900 1209600 300\n  NS ns\nns A 192.0.2.1\n\
    www A 192.0.2.2\n";

fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").unwrap()
}

/// The folders of one zone, and its clock.
struct Site {
    dir: tempfile::TempDir,
    metrics: Metrics,
    time: Arc<AtomicU64>,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            metrics: Metrics::new().unwrap(),
            time: Arc::new(AtomicU64::new(start().secs())),
        };
        for folder in ["keys", "accepted/example."] {
            fs::create_dir_all(site.path(folder)).unwrap();
        }
        site.write("zone", FILE);
        site
    }

    /// With a ZSK that is always active, and an accepted SKR of `bundles` bundles, one every 9 days.
    fn with_skr(bundles: u64) -> Self {
        let site = Self::new();
        site.add_zsk(2, Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() });
        site.accept(1, &SkrBuilder::new(ZONE, start()).bundles(bundles));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        durable::write(&self.path(name), text.as_bytes(), 0o600).unwrap();
    }

    fn add_zsk(&self, seed: u8, timing: Timing) {
        self.add_key(TestKey::zsk(seed).dnskey, seed, timing);
    }

    fn add_key(&self, dnskey: Dnskey, seed: u8, timing: Timing) {
        let zone = Name::parse(ZONE).unwrap();
        let key = KeyFile { zone, ttl: 3600, dnskey, timing, state: None, dir: self.path("keys") };
        key.write(&PrivateKey::Raw(vec![seed; 32])).unwrap();
    }

    /// A ZSK of `zone` whose `.private` file says that it is in a token, which nobody has.
    fn add_token_zsk(&self, zone: &Name) {
        let timing = Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() };
        let (dnskey, dir) = (TestKey::zsk(2).dnskey, self.path("keys"));
        let key = KeyFile { zone: zone.clone(), ttl: 3600, dnskey, timing, state: None, dir };
        key.write(&PrivateKey::Raw(vec![2; 32])).unwrap();
        let path = key.private_path();
        let text = fs::read_to_string(&path).unwrap();
        let label = data_encoding::BASE64.encode(b"pkcs11:token=none;object=zsk\0");
        let line = |line: &str| match line.starts_with("PrivateKey:") {
            true => format!("Label: {label}\n"),
            false => format!("{line}\n"),
        };
        durable::write(&path, text.lines().map(line).collect::<String>().as_bytes(), 0o600).unwrap();
    }

    fn zsk_path(&self, seed: u8, suffix: &str) -> PathBuf {
        let dnskey = TestKey::zsk(seed).dnskey;
        self.path(&format!("keys/Kexample.+{:03}+{:05}.{suffix}", dnskey.algorithm.0, dnskey.tag()))
    }

    fn accept(&self, generation: u64, skr: &SkrBuilder) {
        let text = skr.text();
        self.write(&format!("accepted/example./{generation}.skr"), &text);
        let digest = store::digest(text.as_bytes());
        self.write("accepted/example./current", &store::format_current(generation, &digest));
    }

    fn setup(&self) -> ZoneSetup {
        ZoneSetup {
            name: Name::parse(ZONE).unwrap(),
            source: ContentSource::File(self.path("zone")),
            key_directory: self.path("keys"),
            accepted: self.path("accepted"),
            state: self.path("zones/example."),
            anchors: SkrBuilder::new(ZONE, start()).anchors(),
            times: SigningTimes {
                validity: 14 * DAY as u32,
                refresh: 5 * DAY as u32,
                jitter: 12 * HOUR as u32,
            },
            nsec3: None,
            versions: VersionRules::default(),
            rules: ZoneRules::default(),
            delays: RollDelays { publish: 3600 + 300, propagation: 300 },
            content: ContentRules::default(),
        }
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.time);
        Arc::new(move || Timestamp::from_secs(time.load(Ordering::SeqCst)))
    }

    fn zone(&self) -> ZoneRuntime {
        let served = SignerZone::new(Name::parse(ZONE).unwrap(), &self.metrics, self.clock());
        ZoneRuntime::new(self.setup(), self.metrics.clone(), Arc::new(served))
    }

    /// The configuration of a process that serves the zone, and `more` zones of the same file.
    fn config(&self, validity: u32, more: &[&str]) -> Config {
        let mut text = String::from("version = 1\nstate-dir = \".\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n");
        let _ = write!(
            text,
            "[policy.p]\noffline-ksk = true\nsignatures-validity = \"{validity}d\"\nkeys = [{{ role = \"ksk\", lifetime = \"unlimited\", \
             algorithm = \"13\" }}, {{ role = \"zsk\", lifetime = \"unlimited\", algorithm = \"13\" }}]\n"
        );
        let ksk = SkrBuilder::new(ZONE, start()).anchors();
        let [TrustAnchor::Dnskey(ksk)] = ksk.as_slice() else { panic!("one KSK pinned by its key") };
        let record = keystore::dns::rdata::to_text(Rtype::DNSKEY, &ksk.to_rdata(), None);
        for zone in [ZONE].iter().chain(more) {
            let _ = write!(
                text,
                "[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\nfile = \"zone\"\ntrust-anchors = [\"{zone} IN DNSKEY {record}\"]\n"
            );
        }
        Config::parse(text.as_bytes(), &self.path("offline-ksk.toml")).unwrap()
    }

    /// Steps at `now`.
    fn step(&self, zone: &mut ZoneRuntime, now: Timestamp) -> Timestamp {
        self.time.store(now.secs(), Ordering::SeqCst);
        zone.step(now)
    }

    fn gauge(&self, family: &metrics::values::GaugeFamily) -> i64 {
        family.with_label_values(&[ZONE]).get()
    }

    fn signed(&self) -> bool {
        self.gauge(&self.metrics.zone_signed) == 1
    }
}

fn ask(zone: &ZoneRuntime, qname: &str, qtype: Rtype) -> MessageParts {
    let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend_from_slice(Name::parse(qname).unwrap().as_wire());
    query.extend_from_slice(&qtype.0.to_be_bytes());
    query.extend_from_slice(&[0, 1, 0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
    let mut out = Vec::new();
    let outcome = zone.served().respond(&query, &Arrival::new(Transport::Stream, 1232), &mut out);
    assert!(matches!(outcome, AnswerOutcome::Reply(_)), "{outcome:?}");
    MessageParts::read(&out).unwrap()
}

const SERVFAIL: u16 = 2;

fn serial(zone: &ZoneRuntime) -> u32 {
    let soa = ask(zone, ZONE, Rtype::SOA).answers[0].rdata.clone();
    u32::from_be_bytes(soa[soa.len() - 20..soa.len() - 16].try_into().unwrap())
}

/// The RRset and signatures of an answer.
fn rrset(rrs: &[Rr], rtype: Rtype) -> (Rrset, Vec<Rrsig>) {
    let mut of_type = rrs.iter().filter(|rr| rr.rtype == rtype).peekable();
    let first = *of_type.peek().expect("an RRset");
    let (owner, ttl) = (first.owner.clone(), first.ttl);
    let rdatas = of_type.map(|rr| rr.rdata.clone().into()).collect();
    let signatures = rrs.iter().filter(|rr| rr.rtype == Rtype::RRSIG && rr.owner == owner);
    let signatures =
        signatures.map(|rr| Rrsig::from_rdata(&rr.rdata).unwrap()).filter(|s| s.covered == rtype);
    let signatures = signatures.collect();
    (Rrset { owner, rtype, ttl, rdatas }, signatures)
}

/// Verifies a positive answer at `now` with the keys that are served, and these with the KSK; gives the tags that signed.
fn validate(zone: &ZoneRuntime, qname: &str, qtype: Rtype, now: Timestamp) -> Vec<u16> {
    let (keys, key_signatures) = rrset(&ask(zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY);
    let ksk = TestKey::ksk(1).dnskey;
    assert!(key_signatures.iter().any(|s| {
        s.key_tag == ksk.tag() && s.is_valid_at(now) && rrsig::verify_raw(&keys, &ksk.public_key, s).is_ok()
    }));
    let keys: Vec<Dnskey> = keys.rdatas.iter().map(|r| Dnskey::from_rdata(r).unwrap()).collect();
    let (set, signatures) = rrset(&ask(zone, qname, qtype).answers, qtype);
    assert!(!signatures.is_empty(), "{qname} {qtype}: no RRSIG");
    for signature in &signatures {
        let key = keys.iter().find(|k| k.tag() == signature.key_tag).expect("a key that is published");
        assert!(signature.is_valid_at(now), "{qname} {qtype}: not valid at {now}");
        rrsig::verify_raw(&set, &key.public_key, signature).unwrap();
    }
    signatures.iter().map(|s| s.key_tag).collect()
}

#[test]
fn row_36_the_signer_waits_for_an_accepted_skr() {
    let site = Site::new();
    site.add_zsk(2, Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() });
    let mut zone = site.zone();
    site.step(&mut zone, start());
    assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode(), SERVFAIL);
    assert!(!site.signed());
    assert_eq!(site.gauge(&site.metrics.signer_skr_generation), 0);
    site.accept(1, &SkrBuilder::new(ZONE, start()));
    let next = site.step(&mut zone, start().plus(1));
    assert_eq!(validate(&zone, "www.example.", Rtype::A, start().plus(1)), [TestKey::zsk(2).dnskey.tag()]);
    assert!(site.signed());
    assert_eq!(site.gauge(&site.metrics.signer_skr_generation), 1);
    assert_eq!(serial(&zone), 2_027_010_100);
    assert!(next > start().plus(HOUR) && next <= start().plus(9 * DAY), "{next}");
    assert_eq!(site.metrics.zone_self_checks_total.with_label_values(&[ZONE, "ok"]).get(), 1);
    assert_eq!(site.metrics.zone_sign_runs_total.with_label_values(&[ZONE, "full", "ok"]).get(), 1);
    let made = site.metrics.signatures_total.with_label_values(&["ED25519", "ok"]).get();
    assert_eq!(made, 4 + 3, "SOA, NS, A, A and three NSEC");
    // A second look without a change makes nothing.
    site.step(&mut zone, start().plus(2));
    assert_eq!(serial(&zone), 2_027_010_100);
}

#[test]
fn bundles_switch_at_the_second_of_their_inception() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let inception =
        |zone: &ZoneRuntime| rrset(&ask(zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY).1[0].inception;
    let first = start().minus(HOUR).to_rrsig();
    let second = start().plus(9 * DAY);
    site.step(&mut zone, second.minus(1));
    assert_eq!(inception(&zone), first);
    let before = serial(&zone);
    site.step(&mut zone, second);
    assert_eq!(inception(&zone), second.minus(HOUR).to_rrsig());
    assert_eq!(serial(&zone), before + 1);
    // Only the SOA was signed anew, all else was taken over.
    assert!(site.metrics.zone_sign_runs_total.with_label_values(&[ZONE, "incremental", "ok"]).get() >= 1);
    validate(&zone, "www.example.", Rtype::A, second);
}

#[test]
fn row_38_after_a_suspend_of_weeks_the_first_step_takes_the_right_bundle() {
    let site = Site::with_skr(5);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    // Bundles at 0, 9, 18, 27 and 36 days: two switches are slept through.
    let now = start().plus(20 * DAY);
    site.step(&mut zone, now);
    let (_, signatures) = rrset(&ask(&zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY);
    assert_eq!(signatures[0].inception, start().plus(18 * DAY).minus(HOUR).to_rrsig());
    validate(&zone, "www.example.", Rtype::A, now);
    assert!(site.signed());
}

#[test]
fn driven_by_its_own_wakes_it_never_serves_what_expires() {
    let site = Site::with_skr(12);
    let mut zone = site.zone();
    let (mut now, mut steps, mut last) = (start(), 0, 0);
    while now < start().plus(100 * DAY) {
        let next = site.step(&mut zone, now);
        assert!(next > now, "{next} is not after {now}");
        validate(&zone, "www.example.", Rtype::A, now);
        // Up to the next step nothing runs out: not the least remaining validity of the policy either.
        let signed = zone.served().signed().unwrap();
        assert!(signed.earliest_zsk_expiration() >= next.plus(5 * DAY), "at {now}");
        assert!(site.signed());
        assert!(last == 0 || serial(&zone) >= last);
        last = serial(&zone);
        steps += 1;
        now = next;
    }
    assert!((20..400).contains(&steps), "{steps} steps");
}

#[test]
fn a_changed_zone_file_is_read_when_it_rests_and_a_broken_one_is_not_taken() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let loads = |result| site.metrics.zone_loads_total.with_label_values(&[ZONE, result]).get();
    let has_mail = |zone: &ZoneRuntime| !ask(zone, "mail.example.", Rtype::A).answers.is_empty();
    site.write("zone", &format!("{FILE}mail A 192.0.2.25\n$INCLUDE {}\n", site.path("more").display()));
    site.write("more", "more A 192.0.2.3\n");
    let next = site.step(&mut zone, start().plus(10));
    assert!(!has_mail(&zone), "it may still be written");
    assert_eq!(next, start().plus(11));
    site.step(&mut zone, start().plus(11));
    assert!(has_mail(&zone));
    assert_eq!(serial(&zone), 2_027_010_101, "the file's is no later than the one served");
    validate(&zone, "mail.example.", Rtype::A, start().plus(11));

    site.write("zone", "@ SOA broken");
    for second in 20..23 {
        site.step(&mut zone, start().plus(second));
    }
    assert!(has_mail(&zone), "the zone before stays");
    assert_eq!((loads("ok"), loads("failed")), (2, 1), "and a broken file is read once");
    assert_eq!(site.gauge(&site.metrics.zone_last_load_success), 0);
    assert!(site.signed());

    let text = FILE.replace("2027010100", "2027020100");
    site.write("zone", &format!("{text}$INCLUDE {}\n", site.path("more").display()));
    for second in 30..32 {
        site.step(&mut zone, start().plus(second));
    }
    assert!(!has_mail(&zone));
    assert_eq!(serial(&zone), 2_027_020_100);
    assert_eq!(site.gauge(&site.metrics.zone_last_load_success), 1);

    site.write("more", "more A 192.0.2.99\n");
    for second in 40..42 {
        site.step(&mut zone, start().plus(second));
    }
    assert_eq!(
        ask(&zone, "more.example.", Rtype::A).answers[0].rdata,
        [192, 0, 2, 99],
        "an include counts too"
    );
}

#[test]
fn a_bad_accepted_skr_does_not_replace_the_one_in_use() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let other_ksk = SkrBuilder::new(ZONE, start()).ksk(TestKey::ksk(9));
    let damage: [&dyn Fn(); 4] = [
        &|| site.accept(2, &other_ksk),
        &|| site.write("accepted/example./current", "garbage"),
        &|| site.write("accepted/example./current", "3 00\n"),
        &|| fs::remove_file(site.path("accepted/example./current")).unwrap(),
    ];
    for (n, damage) in (1u64..).zip(damage) {
        damage();
        site.step(&mut zone, start().plus(n));
        assert_eq!(site.gauge(&site.metrics.signer_skr_generation), 1, "{n}");
        validate(&zone, "www.example.", Rtype::A, start().plus(n));
    }
    site.accept(5, &SkrBuilder::new(ZONE, start()).bundles(9));
    site.step(&mut zone, start().plus(9));
    assert_eq!(site.gauge(&site.metrics.signer_skr_generation), 5);
}

#[test]
fn the_serial_outlives_a_restart() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    site.step(&mut zone, start().plus(9 * DAY));
    let before = serial(&zone);
    zone.close();
    let mut zone = site.zone();
    site.step(&mut zone, start().plus(9 * DAY + 1));
    assert_eq!(serial(&zone), before, "nothing has changed");
    site.write("zone", &FILE.replace("2027010100", "5"));
    for second in 2..4 {
        site.step(&mut zone, start().plus(9 * DAY + second));
    }
    assert!(serial(&zone) > before, "a lower serial in the file does not count");
}

#[test]
fn row_42_when_the_coverage_runs_out_what_is_valid_is_served() {
    let site = Site::with_skr(2);
    let mut zone = site.zone();
    // Bundles at 0 and 9 days, valid for 14 days.
    let end = start().plus((9 + 14) * DAY);
    for now in [start(), start().plus(9 * DAY), start().plus(15 * DAY), end] {
        site.step(&mut zone, now);
        assert!(site.signed(), "{now}");
        validate(&zone, "www.example.", Rtype::A, now);
    }
    for now in [end.plus(1), end.plus(20 * DAY)] {
        site.step(&mut zone, now);
        assert!(!site.signed());
        assert_eq!(ask(&zone, ZONE, Rtype::DNSKEY).rcode(), SERVFAIL, "{now}");
        let (_, signatures) = rrset(&ask(&zone, "www.example.", Rtype::A).answers, Rtype::A);
        assert!(signatures.iter().all(|s| s.is_valid_at(now)), "{now}");
    }
    // So it is after a restart, too.
    let mut zone = site.zone();
    site.step(&mut zone, end.plus(21 * DAY));
    assert_eq!(ask(&zone, ZONE, Rtype::DNSKEY).rcode(), SERVFAIL);
    assert!(!ask(&zone, "www.example.", Rtype::A).answers.is_empty());
    // A new SKR heals it within one step.
    let now = end.plus(22 * DAY);
    site.accept(2, &SkrBuilder::new(ZONE, now.minus(HOUR)));
    site.step(&mut zone, now);
    assert!(site.signed());
    validate(&zone, "www.example.", Rtype::A, now);
}

#[test]
fn row_37_a_clock_that_goes_back_unpublishes_nothing() {
    let site = Site::with_skr(4);
    let mut zone = site.zone();
    let second = start().plus(9 * DAY);
    let inception =
        |zone: &ZoneRuntime| rrset(&ask(zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY).1[0].inception;
    site.step(&mut zone, second.plus(60));
    // Half an hour back, behind the switch: the bundle stays, its signatures reach back an hour.
    let now = second.minus(HOUR / 2);
    site.step(&mut zone, now);
    assert_eq!(inception(&zone), second.minus(HOUR).to_rrsig());
    validate(&zone, "www.example.", Rtype::A, now);
    // Three days back: its signatures are not valid yet, so the bundle of that time serves, with new zone signatures.
    let now = second.minus(3 * DAY);
    site.step(&mut zone, now);
    assert_eq!(inception(&zone), start().minus(HOUR).to_rrsig());
    validate(&zone, "www.example.", Rtype::A, now);
    // Before all bundles: nothing is replaced, and nothing is called valid.
    let serial_before = zone.served().signed().unwrap().serial();
    let next = site.step(&mut zone, start().minus(365 * DAY));
    assert!(!site.signed());
    assert_eq!(next, start());
    assert_eq!(zone.served().signed().unwrap().serial(), serial_before);
    // And forward again.
    let now = second.plus(120);
    site.step(&mut zone, now);
    assert_eq!(inception(&zone), second.minus(HOUR).to_rrsig());
    validate(&zone, "www.example.", Rtype::A, now);
    assert!(site.signed());
}

#[test]
fn row_40_private_ksk_online_is_reported_and_not_opened() {
    let site = Site::with_skr(3);
    let ksk = TestKey::ksk(1).dnskey;
    let private = site.path(&format!("keys/Kexample.+{:03}+{:05}.private", ksk.algorithm.0, ksk.tag()));
    site.add_key(ksk, 1, Timing::default());
    // Whoever read it would say that it is damaged.
    fs::write(&private, "no private key at all").unwrap();
    let mut zone = site.zone();
    site.step(&mut zone, start());
    assert_eq!(site.gauge(&site.metrics.keystore_ksk_private_files), 1);
    assert_eq!(site.gauge(&site.metrics.keystore_mismatched_keys), 0);
    assert!(site.signed());
    fs::remove_file(private).unwrap();
    site.step(&mut zone, start().plus(1));
    assert_eq!(site.gauge(&site.metrics.keystore_ksk_private_files), 0);
}

#[test]
fn row_39_key_files_mismatch_a_damaged_zsk_is_not_used_and_what_is_served_stays() {
    let site = Site::with_skr(5);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    // Gone: the key in memory goes on, loudly.
    let private = site.zsk_path(2, "private");
    let text = fs::read(&private).unwrap();
    fs::remove_file(&private).unwrap();
    let now = start().plus(9 * DAY);
    site.step(&mut zone, now);
    assert_eq!(site.gauge(&site.metrics.keystore_missing_private_keys), 1);
    validate(&zone, "www.example.", Rtype::A, now);
    // After a restart there is nothing to sign with; what was served is served from disk, and without that nothing is.
    let mut zone = site.zone();
    site.step(&mut zone, now.plus(1));
    validate(&zone, "www.example.", Rtype::A, now.plus(1));
    fs::remove_file(site.path("zones/example./version")).unwrap();
    let mut zone = site.zone();
    site.step(&mut zone, now.plus(1));
    assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode(), SERVFAIL);
    // Readable by others: refused.
    fs::write(&private, &text).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o644)).unwrap();
    site.step(&mut zone, now.plus(2));
    assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode(), SERVFAIL);
    assert_eq!(site.gauge(&site.metrics.keystore_mismatched_keys), 1);
    assert_eq!(site.metrics.zone_sign_runs_total.with_label_values(&[ZONE, "full", "failed"]).get(), 2);
    // Mended: it signs in the same step.
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    site.step(&mut zone, now.plus(3));
    validate(&zone, "www.example.", Rtype::A, now.plus(3));
    assert_eq!(site.gauge(&site.metrics.keystore_mismatched_keys), 0);
    assert_eq!(site.gauge(&site.metrics.keystore_missing_private_keys), 0);
}

#[test]
fn threads_step_by_the_clock_and_wake_for_an_accepted_skr() {
    let site = Site::with_skr(3);
    let signer = Signer::start(&site.config(14, &[]), &site.metrics, site.clock()).unwrap();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let limit = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < limit, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("signed at start", &|| site.signed());
    // The clock stands still, so only the notice can make it look.
    site.accept(2, &SkrBuilder::new(ZONE, start()).bundles(4));
    signer.notify_accept();
    until("new generation", &|| site.gauge(&site.metrics.signer_skr_generation) == 2);
    site.time.fetch_add(9 * DAY, Ordering::SeqCst);
    let signed_at = || site.gauge(&site.metrics.zone_last_signed_timestamp_seconds);
    until("switch by the clock", &|| signed_at() == start().plus(9 * DAY).secs().cast_signed());
    signer.shutdown();
}

#[test]
fn a_new_configuration_adds_changes_and_removes_zones() {
    let site = Site::with_skr(3);
    let signer = Signer::start(&site.config(14, &[]), &site.metrics, site.clock()).unwrap();
    let hosted = signer.hosted();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let limit = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < limit, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("signed at start", &|| site.signed());
    let served = hosted.find(b"\x07example\0", Rtype::SOA).unwrap();
    let names = || {
        let mut names: Vec<String> = hosted.zones().iter().map(|z| z.origin().to_string()).collect();
        names.sort();
        names
    };

    let refresh = || site.gauge(&site.metrics.policy_signature_refresh_seconds);
    assert_eq!(refresh(), 5 * DAY as i64);
    signer.reload(&site.config(20, &["other.example."])).unwrap();
    assert_eq!(names(), ["example.", "other.example."]);
    let again = hosted.find(b"\x07example\0", Rtype::SOA).unwrap();
    assert!(Arc::ptr_eq(&served, &again), "what is served goes on");
    let restored = || site.metrics.zone_restores_total.with_label_values(&[ZONE, "ok"]).get();
    until("at work with the new times", &|| restored() == 1);

    signer.reload(&site.config(20, &[])).unwrap();
    assert_eq!(names(), ["example."]);
    let has_other = || site.metrics.encode().unwrap().contains("{zone=\"other.example.\"}");
    until("its series are gone", &|| !has_other());
    signer.shutdown();
}
