//! What is served after a restart, and what a damaged or outdated state on disk leads to.

use super::*;
use crate::state::{CHANGES, VERSION};

/// Steps that a process makes before it has read anything but what it served last.
fn restarted(site: &Site, now: Timestamp) -> ZoneRuntime {
    let mut zone = site.zone();
    site.time.store(now.secs(), Ordering::SeqCst);
    zone.restore(now);
    zone
}

fn state(site: &Site, name: &str) -> PathBuf {
    site.path("zones/example.").join(name)
}

#[test]
fn what_was_served_is_served_again_without_zone_file_skr_and_keys() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let before = serial(&zone);
    drop(zone);
    for file in ["zone", "accepted", "keys"] {
        fs::rename(site.path(file), site.path(&format!("{file}.away"))).unwrap();
    }
    let now = start().plus(DAY);
    let mut zone = restarted(&site, now);
    validate(&zone, "www.example.", Rtype::A, now);
    assert_eq!(serial(&zone), before);
    // It stays so as long as nothing can be read.
    for second in 1..100 {
        site.step(&mut zone, now.plus(second));
    }
    validate(&zone, "www.example.", Rtype::A, now.plus(100));
    assert!(site.signed());
    for file in ["zone", "accepted", "keys"] {
        fs::rename(site.path(&format!("{file}.away")), site.path(file)).unwrap();
    }
    for second in 100..170 {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!(serial(&zone), before, "nothing has changed");
    let runs =
        |mode, result| site.metrics.zone_sign_runs_total.with_label_values(&[ZONE, mode, result]).get();
    assert_eq!((runs("full", "ok"), runs("incremental", "ok")), (1, 0));
}

#[test]
fn after_a_restart_only_what_is_due_or_changed_is_signed() {
    let site = Site::with_skr(5);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let made = || site.metrics.signatures_total.with_label_values(&["ED25519", "ok"]).get();
    assert_eq!(made(), 7);
    drop(zone);
    // A name more, over a restart: its address and NSEC, the NSEC in front of it, and the SOA.
    site.write("zone", &format!("{FILE}mail A 192.0.2.25\n"));
    let now = start().plus(HOUR);
    let mut zone = restarted(&site, now);
    assert!(ask(&zone, "mail.example.", Rtype::A).answers.is_empty());
    site.step(&mut zone, now);
    validate(&zone, "mail.example.", Rtype::A, now);
    assert_eq!(made(), 7 + 4);
    drop(zone);
    // A bundle switch over a restart: the SOA alone.
    let now = start().plus(9 * DAY - 3 * HOUR);
    let mut zone = restarted(&site, now);
    site.step(&mut zone, now);
    let before = made();
    drop(zone);
    let now = start().plus(9 * DAY);
    let mut zone = restarted(&site, now);
    site.step(&mut zone, now);
    let renewed = made() - before;
    assert!((1..=11).contains(&renewed), "{renewed}");
    let (_, signatures) = rrset(&ask(&zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY);
    assert_eq!(signatures[0].inception, now.minus(HOUR).to_rrsig());
}

#[test]
fn a_damaged_state_is_set_aside_and_the_zone_is_signed_anew_with_a_later_serial() {
    type Harm = fn(&Site);
    let harms: [(&str, Harm); 6] = [
        ("an octet", |site| {
            let mut octets = fs::read(state(site, VERSION)).unwrap();
            let at = octets.len() / 2;
            octets[at] ^= 1;
            fs::write(state(site, VERSION), octets).unwrap();
        }),
        ("cut", |site| {
            let octets = fs::read(state(site, VERSION)).unwrap();
            fs::write(state(site, VERSION), &octets[..octets.len() - 1]).unwrap();
        }),
        ("empty", |site| fs::write(state(site, VERSION), "").unwrap()),
        ("a folder", |site| {
            fs::remove_file(state(site, VERSION)).unwrap();
            fs::create_dir(state(site, VERSION)).unwrap();
        }),
        ("the journal", |site| fs::write(state(site, CHANGES), "none of ours").unwrap()),
        ("of another format", |site| {
            let mut octets = fs::read(state(site, VERSION)).unwrap();
            octets[9] += 1;
            fs::write(state(site, VERSION), octets).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let site = Site::with_skr(3);
        let mut zone = site.zone();
        site.step(&mut zone, start());
        let before = serial(&zone);
        drop(zone);
        harm(&site);
        let now = start().plus(HOUR);
        let mut zone = restarted(&site, now);
        assert_eq!(ask(&zone, ZONE, Rtype::SOA).rcode(), SERVFAIL, "{what}");
        site.step(&mut zone, now);
        validate(&zone, "www.example.", Rtype::A, now);
        assert!(serial(&zone) > before, "{what}: {} after {before}", serial(&zone));
        let aside = state(&site, &format!("damaged-{:020}", now.secs()));
        assert!(aside.join(VERSION).exists() || aside.join(CHANGES).exists(), "{what}");
        let failed = site.metrics.zone_restores_total.with_label_values(&[ZONE, "failed"]).get();
        assert_eq!((failed, zone.conditions().count()), (1, 0), "{what}");
        // And the new state is a good one.
        let last = serial(&zone);
        drop(zone);
        assert_eq!(serial(&restarted(&site, now.plus(1))), last, "{what}");
    }
}

#[test]
fn an_older_state_that_was_put_back_is_not_served() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let old = fs::read(state(&site, VERSION)).unwrap();
    // So many versions that the serial file has seen one of them.
    for number in 0..20u64 {
        site.write("zone", &FILE.replace("192.0.2.2", &format!("192.0.2.{}", 100 + number)));
        for second in 1..4 {
            site.step(&mut zone, start().plus(10 * number + second));
        }
    }
    let before = serial(&zone);
    drop(zone);
    fs::write(state(&site, VERSION), old).unwrap();
    let now = start().plus(HOUR);
    let mut zone = restarted(&site, now);
    assert_eq!(ask(&zone, ZONE, Rtype::SOA).rcode(), SERVFAIL);
    site.step(&mut zone, now);
    assert!(serial(&zone) > before);
    assert_eq!(ask(&zone, "www.example.", Rtype::A).answers[0].rdata[3], 119);
    validate(&zone, "www.example.", Rtype::A, now);
}

#[test]
fn a_state_that_cannot_be_read_is_tried_again_until_the_zone_is_signed() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let before = serial(&zone);
    drop(zone);
    // No zone file, and a path on which nothing can be opened.
    fs::remove_file(site.path("zone")).unwrap();
    let (folder, away) = (site.path("zones"), site.path("away"));
    fs::rename(&folder, &away).unwrap();
    std::os::unix::fs::symlink(&folder, &folder).unwrap();
    let mut zone = site.zone();
    let now = start().plus(HOUR);
    for second in 0..20 {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!(ask(&zone, ZONE, Rtype::SOA).rcode(), SERVFAIL);
    assert!(zone.conditions().any(|id| id == ConditionId::StateUnreadable));
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    for second in 20..90 {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!(serial(&zone), before);
    validate(&zone, "www.example.", Rtype::A, now.plus(90));
    assert!(zone.conditions().eq([ConditionId::ZoneFileUnreadable]));
}

#[test]
fn a_version_that_could_not_be_written_is_written_when_there_is_space_again() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let (folder, away) = (site.path("zones/example."), site.path("zones/away"));
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "").unwrap();
    // A bundle switch must not wait for the disk.
    let now = start().plus(9 * DAY);
    site.step(&mut zone, now);
    let inception =
        |zone: &ZoneRuntime| rrset(&ask(zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY).1[0].inception;
    assert_eq!(inception(&zone), now.minus(HOUR).to_rrsig());
    assert!(zone.conditions().any(|id| id == ConditionId::StateNotWritten));
    let last = serial(&zone);
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    for second in 1..70 {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!((zone.conditions().count(), serial(&zone)), (0, last));
    drop(zone);
    let zone = restarted(&site, now.plus(80));
    assert_eq!((serial(&zone), inception(&zone)), (last, now.minus(HOUR).to_rrsig()));
}

/// Zones served by a process that starts again are all answered before the first zone file is read.
#[test]
fn all_zones_are_served_again_before_the_first_zone_file_is_read() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    drop(zone);
    // Not a single octet can be read from this one; whoever opens it waits.
    fs::remove_file(site.path("zone")).unwrap();
    let signer = Signer::start(&site.config(14, &["other.example."]), &site.metrics, site.clock()).unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    while !site.signed() {
        assert!(Instant::now() < limit, "the zone is served from disk");
        std::thread::sleep(Duration::from_millis(5));
    }
    signer.shutdown();
}
