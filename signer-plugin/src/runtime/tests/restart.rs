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

/// An orderly end of a process.
fn end(mut zone: ZoneRuntime) {
    zone.close();
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
    end(zone);
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
fn what_is_served_from_disk_is_signed_on_and_follows_the_bundles_without_a_readable_zone_file() {
    for broken in [None, Some("this is no zone file")] {
        let site = Site::with_skr(5);
        let mut zone = site.zone();
        site.step(&mut zone, start());
        let before = serial(&zone);
        end(zone);
        fs::remove_file(site.path("zone")).unwrap();
        if let Some(text) = broken {
            site.write("zone", text);
        }
        let mut now = start().plus(DAY);
        let mut zone = restarted(&site, now);
        while now < start().plus(30 * DAY) {
            site.step(&mut zone, now);
            validate(&zone, "www.example.", Rtype::A, now);
            now = now.plus(6 * HOUR);
        }
        assert!(site.signed() && serial(&zone) > before);
        let (_, signatures) = rrset(&ask(&zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY);
        assert_eq!(signatures[0].inception, start().plus(27 * DAY).minus(HOUR).to_rrsig(), "{broken:?}");
        assert_eq!(zone.conditions().count(), usize::from(broken.is_none()));
        // A zone file that reads is taken as ever.
        site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.88"));
        for second in 1..30 {
            site.step(&mut zone, now.plus(second));
        }
        assert_eq!(ask(&zone, "www.example.", Rtype::A).answers[0].rdata[3], 88);
    }
}

#[test]
fn after_an_end_that_was_not_orderly_a_version_behind_all_that_may_have_been_served_comes_at_once() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let before = serial(&zone);
    drop(zone);
    let now = start().plus(HOUR);
    let mut zone = restarted(&site, now);
    assert_eq!(serial(&zone), before);
    site.step(&mut zone, now);
    let after = serial(&zone);
    assert_eq!(after, before + 17, "behind the 16 that were reserved");
    validate(&zone, "www.example.", Rtype::A, now);
    site.step(&mut zone, now.plus(60));
    assert_eq!(serial(&zone), after, "once");
    end(zone);
    let mut zone = restarted(&site, now.plus(HOUR));
    site.step(&mut zone, now.plus(HOUR));
    assert_eq!(serial(&zone), after);
}

/// Makes that no version can be written down, and gives back what it takes to mend that. What is there can be written over, as on a full disk.
fn no_version_can_be_written(site: &Site) -> impl FnOnce() + use<> {
    let (version, away) = (state(site, VERSION), site.path("version.away"));
    fs::rename(&version, &away).unwrap();
    fs::create_dir_all(version.join("in the way")).unwrap();
    move || {
        fs::remove_dir_all(&version).unwrap();
        fs::rename(&away, &version).unwrap();
    }
}

#[test]
fn a_version_that_was_served_and_not_written_is_not_followed_by_the_one_before_it() {
    let site = Site::with_skr(5);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let mend = no_version_can_be_written(&site);
    let mut now = start();
    // Bundle switches do not wait.
    for day in [9, 18] {
        now = start().plus(day * DAY);
        site.step(&mut zone, now);
        validate(&zone, "www.example.", Rtype::A, now);
    }
    assert!(zone.conditions().eq([ConditionId::SignerStateNotWritten]));
    let last = serial(&zone);
    drop(zone);
    mend();
    now = now.plus(10);
    let mut zone = restarted(&site, now);
    assert_eq!(ask(&zone, ZONE, Rtype::SOA).rcode(), SERVFAIL, "an older serial than {last} is not served");
    site.step(&mut zone, now);
    assert!(serial(&zone) > last);
    validate(&zone, "www.example.", Rtype::A, now);
}

#[test]
fn new_content_that_cannot_be_written_is_signed_once_and_served_when_it_can() {
    let site = Site::with_skr(5);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let before = serial(&zone);
    let mend = no_version_can_be_written(&site);
    site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.77"));
    let runs = || site.metrics.zone_sign_runs_total.with_label_values(&[ZONE, "incremental", "ok"]).get();
    let address = |zone: &ZoneRuntime| ask(zone, "www.example.", Rtype::A).answers[0].rdata[3];
    for second in 1..600 {
        site.step(&mut zone, start().plus(second));
        assert_eq!((address(&zone), serial(&zone)), (2, before));
        // The condition does not come and go.
        assert!(second < 3 || zone.conditions().eq([ConditionId::SignerStateNotWritten]), "{second}");
    }
    assert_eq!(runs(), 1, "only the writing is tried again");
    // A bundle switch goes on meanwhile, with the content that is served.
    let now = start().plus(9 * DAY);
    site.step(&mut zone, now);
    validate(&zone, "www.example.", Rtype::A, now);
    assert_eq!((address(&zone), serial(&zone)), (2, before + 1));
    assert!(zone.conditions().eq([ConditionId::SignerStateNotWritten]));
    mend();
    for second in 1..=250 {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!((address(&zone), zone.conditions().count()), (77, 0));
    let last = serial(&zone);
    end(zone);
    let zone = restarted(&site, now.plus(300));
    assert_eq!((address(&zone), serial(&zone)), (77, last));
}

#[test]
fn after_new_settings_a_failing_disk_does_not_stop_the_renewal_and_no_zone_is_held_twice() {
    for fails_before in [false, true] {
        let site = Site::with_skr(5);
        let mut zone = site.zone();
        site.step(&mut zone, start());
        let mut mend = None;
        let mut now = start().plus(DAY);
        if fails_before {
            // What is served is not what is on disk.
            mend = Some(no_version_can_be_written(&site));
            now = start().plus(9 * DAY);
            site.step(&mut zone, now);
        }
        zone.close();
        let mut zone = ZoneRuntime::new(site.setup(), site.metrics.clone(), Arc::clone(zone.served()));
        zone.restore(now);
        mend.get_or_insert_with(|| no_version_can_be_written(&site));
        for at in [now.plus(1), start().plus(9 * DAY), start().plus(18 * DAY), start().plus(27 * DAY)] {
            site.step(&mut zone, at.max(now.plus(1)));
            validate(&zone, "www.example.", Rtype::A, at.max(now.plus(1)));
        }
        let (_, signatures) = rrset(&ask(&zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY);
        assert_eq!(signatures[0].inception, start().plus(27 * DAY).minus(HOUR).to_rrsig(), "{fails_before}");
    }
    // The copy from disk is what is served from then on.
    let site = Site::with_skr(5);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    zone.close();
    let served = Arc::clone(zone.served());
    let before = Arc::downgrade(&served.signed().unwrap());
    drop(zone);
    let mut zone = ZoneRuntime::new(site.setup(), site.metrics.clone(), served);
    site.step(&mut zone, start().plus(1));
    assert!(before.upgrade().is_none());
}

#[test]
fn a_version_that_nobody_should_see_any_more_is_not_served_from_disk() {
    let other_anchor = SkrBuilder::new(ZONE, start()).ksk(TestKey::ksk(7)).anchors();
    // Days after it was made, the anchors, and whether it is served.
    for (days, anchors, is_served) in [
        (1, None, true),
        (13, None, true),
        // Its signatures last 14 days.
        (15, None, false),
        (400, None, false),
        (1, Some(other_anchor.clone()), false),
        (1, Some(vec![]), false),
    ] {
        let site = Site::with_skr(2);
        let mut zone = site.zone();
        site.step(&mut zone, start());
        end(zone);
        for input in ["zone", "accepted"] {
            fs::rename(site.path(input), site.path(&format!("{input}.away"))).unwrap();
        }
        let now = start().plus(days * DAY);
        site.time.store(now.secs(), Ordering::SeqCst);
        let setup = ZoneSetup { anchors: anchors.unwrap_or(site.setup().anchors), ..site.setup() };
        let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
        let mut zone = ZoneRuntime::new(setup, site.metrics.clone(), Arc::new(served));
        zone.restore(now);
        assert_eq!(zone.served().signed().is_some(), is_served, "after {days} days");
    }
    // A secondary would serve this one no longer: it was to be renewed more than SOA EXPIRE ago.
    for (expire, is_served) in [("2d", true), ("12h", false)] {
        let site = Site::with_skr(3);
        site.write("zone", &FILE.replace("1209600", expire));
        let mut zone = site.zone();
        let due = site.step(&mut zone, start()).min(start().plus(9 * DAY));
        end(zone);
        let zone = restarted(&site, due.plus(DAY + HOUR * 12));
        assert_eq!(zone.served().signed().is_some(), is_served, "EXPIRE {expire}");
    }
}

#[test]
fn a_serial_that_could_not_be_read_at_the_start_is_asked_later_whether_the_version_is_old() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let old = fs::read(state(&site, VERSION)).unwrap();
    site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.77"));
    for second in 1..4 {
        site.step(&mut zone, start().plus(second));
    }
    let before = serial(&zone);
    end(zone);
    fs::write(state(&site, VERSION), old).unwrap();
    let (file, away) = (state(&site, "serial"), site.path("serial.away"));
    fs::rename(&file, &away).unwrap();
    std::os::unix::fs::symlink("serial", &file).unwrap();
    let now = start().plus(HOUR);
    let mut zone = restarted(&site, now);
    site.step(&mut zone, now);
    assert!(zone.conditions().eq([ConditionId::SignerSerialUnreadable]));
    fs::remove_file(&file).unwrap();
    fs::rename(&away, &file).unwrap();
    for second in 1..20 {
        site.step(&mut zone, now.plus(second));
    }
    assert!(serial(&zone) > before, "{} after {before}", serial(&zone));
    assert_eq!(ask(&zone, "www.example.", Rtype::A).answers[0].rdata[3], 77);
}

#[test]
fn another_bundle_of_the_same_generation_and_inception_is_taken_after_a_restart() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    end(zone);
    // The store was restored from elsewhere: generation and times are the same.
    site.accept(1, &SkrBuilder::new(ZONE, start()).bundles(3).ttl(777));
    let now = start().plus(HOUR);
    let mut zone = restarted(&site, now);
    site.step(&mut zone, now);
    assert_eq!(rrset(&ask(&zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY).0.ttl, 777);
    validate(&zone, "www.example.", Rtype::A, now);
}

#[test]
fn after_a_restart_only_what_is_due_or_changed_is_signed() {
    let site = Site::with_skr(5);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let made = || site.metrics.signatures_total.with_label_values(&["ED25519", "ok"]).get();
    assert_eq!(made(), 7);
    end(zone);
    // A name more, over a restart: its address and NSEC, the NSEC in front of it, and the SOA.
    site.write("zone", &format!("{FILE}mail A 192.0.2.25\n"));
    let now = start().plus(HOUR);
    let mut zone = restarted(&site, now);
    assert!(ask(&zone, "mail.example.", Rtype::A).answers.is_empty());
    site.step(&mut zone, now);
    validate(&zone, "mail.example.", Rtype::A, now);
    assert_eq!(made(), 7 + 4);
    end(zone);
    // A bundle switch over a restart: the SOA alone.
    let now = start().plus(9 * DAY - 3 * HOUR);
    let mut zone = restarted(&site, now);
    site.step(&mut zone, now);
    let before = made();
    end(zone);
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
        end(zone);
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
        end(zone);
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
    end(zone);
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
    end(zone);
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
    assert!(zone.conditions().any(|id| id == ConditionId::SignerStateUnreadable));
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    for second in 20..90 {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!(serial(&zone), before);
    validate(&zone, "www.example.", Rtype::A, now.plus(90));
    assert!(zone.conditions().eq([ConditionId::SignerZoneFileUnreadable]));
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
    assert!(zone.conditions().any(|id| id == ConditionId::SignerStateNotWritten));
    let last = serial(&zone);
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    for second in 1..70 {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!((zone.conditions().count(), serial(&zone)), (0, last));
    end(zone);
    let zone = restarted(&site, now.plus(80));
    assert_eq!((serial(&zone), inception(&zone)), (last, now.minus(HOUR).to_rrsig()));
}
