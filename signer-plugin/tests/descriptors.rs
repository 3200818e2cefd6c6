//! A process that has no descriptor left for a while: nothing that failed then stays failed. A file of its own, since the limit is that of
//! the whole process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::crypto::PrivateKey;
use keystore::dns::{Name, Rtype};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::time::Timestamp;
use keystore::{durable, store};
use metrics::Metrics;
use offline_ksk_signer::hosted::{Responder, Transport};
use offline_ksk_signer::reply::Reply;
use offline_ksk_signer::rules::ZoneRules;
use offline_ksk_signer::runtime::{ConditionId, SignerZone, ZoneRuntime, ZoneSetup};
use offline_ksk_signer::signing::SigningTimes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const DAY: u32 = 86_400;

fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").expect("a time")
}

fn zone_name() -> Name {
    Name::parse("example").expect("a name")
}

/// Runs `during` while the process can open no file.
fn without_descriptors<T>(during: impl FnOnce() -> T) -> T {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum }).expect("lower the limit");
    assert!(fs::File::open("/dev/null").is_err_and(|e| e.raw_os_error() == Some(24)), "EMFILE");
    let result = during();
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("raise the limit again");
    result
}

struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_zone(&self, address: &str) {
        let text = format!(
            "$TTL 300\n@ SOA ns admin 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\nwww A {address}\n"
        );
        durable::write(&self.path("zone"), text.as_bytes(), 0o600).expect("write the zone file");
    }

    fn add_zsk(&self, seed: u8) {
        let timing = Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() };
        let dnskey = TestKey::zsk(seed).dnskey;
        let key =
            KeyFile { zone: zone_name(), ttl: 3600, dnskey, timing, state: None, dir: self.path("keys") };
        key.write(&PrivateKey::Raw(vec![seed; 32])).expect("write the key");
    }

    fn accept(&self, generation: u64, bundles: u64) {
        let text = SkrBuilder::new("example.", start()).bundles(bundles).text();
        let write =
            |path: &Path, text: &str| durable::write(path, text.as_bytes(), 0o600).expect("write the store");
        write(&self.path(&format!("accepted/example./{generation}.skr")), &text);
        let current = store::format_current(generation, &store::digest(text.as_bytes()));
        write(&self.path("accepted/example./current"), &current);
    }

    fn zone(&self, metrics: &Metrics) -> ZoneRuntime {
        let setup = ZoneSetup {
            name: zone_name(),
            file: self.path("zone"),
            key_directory: self.path("keys"),
            accepted: self.path("accepted"),
            state: self.path("zones/example."),
            anchors: SkrBuilder::new("example.", start()).anchors(),
            times: SigningTimes { validity: 14 * DAY, refresh: 5 * DAY, jitter: DAY / 2 },
            nsec3: None,
            rules: ZoneRules::default(),
        };
        let served = SignerZone::new(zone_name(), metrics, Arc::new(start));
        ZoneRuntime::new(setup, metrics.clone(), Arc::new(served))
    }
}

/// RCODE, and the last octet of the address of `www`.
fn www(zone: &ZoneRuntime) -> (u16, Option<u8>) {
    let name = Name::parse("www.example").expect("a name");
    let query = [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name.as_wire(), &[0, 1, 0, 1]].concat();
    let mut out = Vec::new();
    zone.served().respond(&query, Transport::Stream, 1232, &mut out);
    let reply = Reply::read(&out).expect("an answer");
    (reply.rcode(), reply.answers.iter().find(|rr| rr.rtype == Rtype::A).map(|rr| rr.rdata[3]))
}

/// Steps until `wanted`; gives the number of seconds that it took.
fn recovers(zone: &mut ZoneRuntime, now: &mut Timestamp, wanted: impl Fn(&ZoneRuntime) -> bool) -> u64 {
    for second in 0..120 {
        if wanted(zone) && zone.conditions().count() == 0 {
            return second;
        }
        *now = now.plus(1);
        zone.step(*now);
    }
    panic!("still failed after two minutes: {:?}", zone.conditions().collect::<Vec<_>>());
}

#[test]
fn kind_06_a_process_without_descriptors_for_a_while_recovers_by_itself() {
    let host = Host { dir: tempfile::tempdir().expect("a folder") };
    for folder in ["keys", "accepted/example."] {
        fs::create_dir_all(host.path(folder)).expect("a folder");
    }
    host.write_zone("192.0.2.2");
    host.add_zsk(2);
    host.accept(1, 3);
    let metrics = Metrics::new().expect("families");
    // The serial of an earlier process is higher than that of the zone file.
    durable::create_dir_durable(&host.path("zones/example."), 0o700).expect("a folder");
    durable::write(&host.path("zones/example./serial"), b"500\n", 0o600).expect("write the serial");
    let mut zone = without_descriptors(|| host.zone(&metrics));
    let mut now = start();
    let seconds_without = |zone: &mut ZoneRuntime, now: &mut Timestamp, seconds: u64| {
        without_descriptors(|| {
            for _ in 0..seconds {
                *now = now.plus(1);
                zone.step(*now);
            }
        });
        let raised: Vec<ConditionId> = zone.conditions().collect();
        raised
    };

    // From the start.
    let raised = seconds_without(&mut zone, &mut now, 3);
    let all = [
        ConditionId::ZoneFileUnreadable,
        ConditionId::SkrUnreadable,
        ConditionId::KeysUnreadable,
        ConditionId::SerialUnreadable,
    ];
    assert_eq!((raised.as_slice(), www(&zone)), (&all[..], (2, None)));
    let took = recovers(&mut zone, &mut now, |zone| www(zone) == (0, Some(2)));
    assert!(took <= 10, "{took} s");
    assert_eq!(zone.served().signed().map(|signed| signed.serial()), Some(501));

    // A zone file, a generation, and key files that change meanwhile: what was served stays, and all is followed afterwards.
    type Change = fn(&Host);
    let changes: [(Change, ConditionId); 3] = [
        (|host| host.write_zone("192.0.2.3"), ConditionId::ZoneFileUnreadable),
        (|host| host.accept(2, 4), ConditionId::SkrUnreadable),
        (|host| host.add_zsk(3), ConditionId::KeysUnreadable),
    ];
    for (number, (change, condition)) in changes.into_iter().enumerate() {
        let before = www(&zone);
        let generation = metrics.signer_skr_generation.with_label_values(&["example."]).get();
        change(&host);
        // Long enough for the longest distance between two tries.
        let raised = seconds_without(&mut zone, &mut now, if number == 0 { 200 } else { 5 });
        assert!(raised.contains(&condition) && www(&zone) == before, "{condition}: {raised:?}");
        assert_eq!(metrics.signer_skr_generation.with_label_values(&["example."]).get(), generation);
        let took = recovers(&mut zone, &mut now, |zone| www(zone) == (0, Some(3)));
        assert!(took <= 61, "{condition}: {took} s");
    }
    assert_eq!(metrics.signer_skr_generation.with_label_values(&["example."]).get(), 2);
    let keys = metrics.keys.with_label_values(&["example.", "zsk", "active"]).get();
    assert_eq!(keys, 2);
}
