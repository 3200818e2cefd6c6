//! A process that has no descriptor left for a while: nothing that failed then stays failed. A file of its own, since the limit is that of
//! the whole process.

mod common;

use std::fs;

use common::{Host, start, www};
use keystore::durable;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::condition::ConditionId;
use offline_ksk_signer::runtime::ZoneRuntime;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Runs `during` while the process can open no file.
fn without_descriptors<T>(during: impl FnOnce() -> T) -> T {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum }).expect("lower the limit");
    assert!(fs::File::open("/dev/null").is_err_and(|e| e.raw_os_error() == Some(24)), "EMFILE");
    let result = during();
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("raise the limit again");
    result
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
    let dir = tempfile::tempdir().expect("a folder");
    let host = Host::new(dir.path());
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
        ConditionId::SignerZoneFileUnreadable,
        ConditionId::SignerSkrUnreadable,
        ConditionId::SignerKeysUnreadable,
        ConditionId::SignerSerialUnreadable,
    ];
    assert_eq!((raised.as_slice(), www(&zone)), (&all[..], (2, None)));
    let took = recovers(&mut zone, &mut now, |zone| www(zone) == (0, Some(2)));
    assert!(took <= 10, "{took} s");
    assert_eq!(zone.served().signed().map(|signed| signed.serial()), Some(501));

    // A zone file, a generation, and key files that change meanwhile: what was served stays, and all is followed afterwards.
    type Change = fn(&Host);
    let changes: [(Change, ConditionId); 3] = [
        (|host| host.write_zone(3), ConditionId::SignerZoneFileUnreadable),
        (|host| host.accept(2, 4), ConditionId::SignerSkrUnreadable),
        (|host| host.add_zsk(3), ConditionId::SignerKeysUnreadable),
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
