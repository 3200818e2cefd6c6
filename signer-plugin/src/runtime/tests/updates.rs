//! DNS UPDATE on a running zone: taken, served, kept over restarts and beside the zone file, and refused without a trace.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::content::{Change, ChangeOutcome, ChangeRequest};
use crate::update::UpdateRequest;
use crate::update::tests::{everything, message};

pub(super) fn setup(site: &Site) -> ZoneSetup {
    ZoneSetup { source: ContentSource::FileWithUpdates(site.path("zone")), ..site.setup() }
}

fn zone_of(site: &Site, content: ContentRules) -> ZoneRuntime {
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    ZoneRuntime::new(ZoneSetup { content, ..setup(site) }, site.metrics.clone(), Arc::new(served))
}

pub(super) fn started(site: &Site, now: Timestamp) -> ZoneRuntime {
    let mut zone = zone_of(site, ContentRules::default());
    site.step(&mut zone, now);
    zone
}

/// Has an update wait for the zone.
pub(super) fn send(zone: &ZoneRuntime, text: &str) -> Receiver<ChangeOutcome> {
    let (told, outcome) = channel();
    let key = Name::parse("key").unwrap();
    zone.served().changes().submit(ChangeRequest {
        change: Change::Update(Box::new(UpdateRequest {
            message: message(text),
            key,
            rules: vec![everything()],
        })),
        reply: Box::new(move |outcome| told.send(outcome).unwrap()),
    });
    outcome
}

/// Sends an update, has the zone take it, and gives what came of it.
pub(super) fn update(site: &Site, zone: &mut ZoneRuntime, text: &str, now: Timestamp) -> ChangeOutcome {
    let outcome = send(zone, text);
    site.time.store(now.secs(), Ordering::SeqCst);
    zone.take_changes_between_steps(now);
    outcome.try_recv().expect("it is answered at once")
}

pub(super) fn address_of(zone: &ZoneRuntime, name: &str) -> Option<u8> {
    ask(zone, name, Rtype::A).answers.first().map(|rr| rr.rdata[3])
}

pub(super) fn served(zone: &ZoneRuntime) -> ChangeOutcome {
    ChangeOutcome::Served { serial: serial(zone) }
}

#[test]
fn an_update_is_answered_when_it_is_served_and_one_without_effect_makes_no_version() {
    let site = Site::with_skr(3);
    let mut zone = started(&site, start());
    let first = serial(&zone);
    for (text, raises, address) in [
        ("add n 300 A 192.0.2.9", true, Some(9)),
        ("add n 300 A 192.0.2.9", false, Some(9)),
        ("delete nowhere", false, Some(9)),
        ("delete n; add n 60 A 192.0.2.10", true, Some(10)),
        ("delete n", true, None),
    ] {
        let before = serial(&zone);
        assert_eq!(update(&site, &mut zone, text, start().plus(5)), served(&zone), "{text}");
        assert_eq!(serial(&zone), before + u32::from(raises), "{text}");
        assert_eq!(address_of(&zone, "n.example."), address, "{text}");
        if address.is_some() {
            validate(&zone, "n.example.", Rtype::A, start().plus(5));
        }
    }
    // A serial that the update says is taken as it is.
    update(&site, &mut zone, "add @ 300 SOA ns h 2027010300 7200 900 1209600 300", start().plus(6));
    assert_eq!(serial(&zone), 2_027_010_300);
    assert!(first < serial(&zone) && site.signed());
}

#[test]
fn updates_that_wait_together_become_one_version_each_on_top_of_those_before() {
    let site = Site::with_skr(3);
    let mut zone = started(&site, start());
    let before = serial(&zone);
    let outcomes = [
        "add n 300 A 192.0.2.9",
        "yxrrset n A 192.0.2.9; add n 300 A 192.0.2.10",
        "nxdomain n; add m 300 A 192.0.2.9",
        "yxdomain n",
        "add o 300 A 192.0.2.9; add x.other. 300 A 192.0.2.9",
    ]
    .map(|text| send(&zone, text));
    site.step(&mut zone, start().plus(1));
    let [a, b, c, d, e] = outcomes.map(|outcome| outcome.recv().unwrap());
    let version = ChangeOutcome::Served { serial: before + 1 };
    assert_eq!([a, b, d], [version.clone(), version.clone(), version]);
    assert_eq!(c, ChangeOutcome::Answered(crate::update::UpdateRcode::YxDomain));
    assert_eq!(e, ChangeOutcome::Answered(crate::update::UpdateRcode::NotZone));
    assert_eq!(
        ask(&zone, "n.example.", Rtype::A).answers.iter().filter(|rr| rr.rtype == Rtype::A).count(),
        2
    );
    assert_eq!((address_of(&zone, "m.example."), address_of(&zone, "o.example.")), (None, None));
}

#[test]
fn what_was_accepted_is_there_after_a_restart_whatever_is_left_on_disk() {
    for lost in [&[][..], &["version", "changes"], &["content", "content-changes"]] {
        let site = Site::with_skr(3);
        let mut zone = started(&site, start());
        for number in 0..3 {
            update(&site, &mut zone, &format!("add n{number} 300 A 192.0.2.9"), start().plus(number));
        }
        let before = serial(&zone);
        drop(zone);
        for name in lost {
            let path = site.path("zones/example.").join(name);
            if lost.contains(&"content") {
                // Damaged, not gone: what is gone was never there.
                fs::write(path, "nonsense").unwrap();
            } else {
                let _ = fs::remove_file(path);
            }
        }
        let mut zone = started(&site, start().plus(10));
        site.step(&mut zone, start().plus(11));
        for number in 0..3 {
            assert_eq!(address_of(&zone, &format!("n{number}.example.")), Some(9), "{lost:?}");
        }
        assert!(serial(&zone) >= before, "{lost:?}");
        let outcome = update(&site, &mut zone, "add m 300 A 192.0.2.9", start().plus(12));
        assert_eq!(outcome, served(&zone), "{lost:?}");
        drop(zone);
        let zone = started(&site, start().plus(20));
        assert_eq!((address_of(&zone, "m.example."), address_of(&zone, "n2.example.")), (Some(9), Some(9)));
    }
}

/// A copy of the folder that was made while the content was written whole has content of before and the journal of after.
#[test]
fn content_of_another_moment_than_its_journal_is_told_and_the_zone_goes_on_from_what_was_served() {
    let folder = |site: &Site| site.path("zones/example.");
    type Harm = fn(&Path, &[u8]);
    let harms: [(&str, Harm); 3] = [
        ("older content", |zone, before| fs::write(zone.join("content"), before).unwrap()),
        ("no content", |zone, _| fs::remove_file(zone.join("content")).unwrap()),
        ("damaged content", |zone, _| fs::write(zone.join("content"), "nonsense").unwrap()),
    ];
    for (what, harm) in harms {
        let site = Site::with_skr(3);
        let mut zone = started(&site, start());
        update(&site, &mut zone, "add a 300 A 192.0.2.9", start().plus(1));
        let before = fs::read(folder(&site).join("content")).unwrap();
        // Another file makes whole content of what the journal has.
        site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.3"));
        for second in 2..5 {
            site.step(&mut zone, start().plus(second));
        }
        assert_ne!(fs::read(folder(&site).join("content")).unwrap(), before);
        update(&site, &mut zone, "add b 300 A 192.0.2.9", start().plus(6));
        let last = serial(&zone);
        drop(zone);
        harm(&folder(&site), &before);
        let (mut zone, has_condition) = (started(&site, start().plus(10)), |zone: &ZoneRuntime| {
            zone.conditions().any(|id| id == ConditionId::SignerStateUnreadable)
        });
        site.step(&mut zone, start().plus(11));
        for name in ["a.example.", "b.example."] {
            assert_eq!(address_of(&zone, name), Some(9), "{what}: {name}");
        }
        assert!(has_condition(&zone) && serial(&zone) >= last, "{what}");
        assert_eq!(update(&site, &mut zone, "add c 300 A 192.0.2.9", start().plus(12)), served(&zone));
        drop(zone);
        // It is told over a restart, and until somebody has removed what was set aside.
        let mut zone = started(&site, start().plus(20));
        assert!(has_condition(&zone), "{what}");
        fs::remove_dir_all(folder(&site).join(format!("damaged-{:020}", start().plus(10).secs()))).unwrap();
        let due = site.step(&mut zone, start().plus(21));
        assert!(due <= start().plus(40), "{what}: it is looked again soon");
        site.step(&mut zone, start().plus(40));
        assert!(!has_condition(&zone), "{what}");
        assert_eq!(address_of(&zone, "c.example."), Some(9), "{what}");
    }
}

#[test]
fn a_zone_file_that_changes_is_applied_on_top_of_updates_running_and_stopped() {
    for is_stopped in [false, true] {
        let site = Site::with_skr(3);
        let mut zone = started(&site, start());
        update(
            &site,
            &mut zone,
            "add n 300 A 192.0.2.9; delete www; add ns 300 A 192.0.2.10",
            start().plus(1),
        );
        if is_stopped {
            drop(zone);
            site.write("zone", &format!("{FILE}f A 192.0.2.77\n"));
            zone = started(&site, start().plus(5));
        } else {
            site.write("zone", &format!("{FILE}f A 192.0.2.77\n"));
        }
        for second in 6..9 {
            site.step(&mut zone, start().plus(second));
        }
        assert_eq!(address_of(&zone, "f.example."), Some(77), "{is_stopped}");
        assert_eq!(address_of(&zone, "n.example."), Some(9), "{is_stopped}");
        assert_eq!(address_of(&zone, "www.example."), None, "{is_stopped}: the file has not changed it");
        validate(&zone, "f.example.", Rtype::A, start().plus(8));
        // A file that cannot go with the updates changes nothing, and says so.
        site.write("zone", &format!("{FILE}f A 192.0.2.77\nn CNAME f\n"));
        for second in 10..13 {
            site.step(&mut zone, start().plus(second));
        }
        assert_eq!(address_of(&zone, "n.example."), Some(9), "{is_stopped}");
        let error = zone.served().state().file_error.expect("why");
        assert!(error.contains("does not go together with what updates have made"), "{error}");
        assert_eq!(update(&site, &mut zone, "add o 300 A 192.0.2.9", start().plus(14)), served(&zone));
        // The update that it does not go with is undone: the file is tried again.
        update(&site, &mut zone, "delete n", start().plus(15));
        for second in 16..19 {
            site.step(&mut zone, start().plus(second));
        }
        assert_eq!(zone.served().state().file_error, None, "{is_stopped}");
        assert!(!ask(&zone, "n.example.", Rtype::CNAME).answers.is_empty(), "{is_stopped}");
    }
}

#[test]
fn a_zone_without_a_version_or_a_disk_takes_no_update_and_nothing_of_it_stays() {
    let site = Site::new();
    site.add_zsk(2, Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() });
    let mut zone = started(&site, start());
    let failed = |outcome: ChangeOutcome| matches!(outcome, ChangeOutcome::Failed(_));
    assert!(failed(update(&site, &mut zone, "add n 300 A 192.0.2.9", start())), "no SKR");
    site.accept(1, &SkrBuilder::new(ZONE, start()).bundles(3));
    site.step(&mut zone, start().plus(1));
    assert_eq!(address_of(&zone, "n.example."), None);
    assert_eq!(update(&site, &mut zone, "add n 300 A 192.0.2.9", start().plus(2)), served(&zone));
    // The folder cannot be written: a file stands at its place.
    let (folder, aside) = (site.path("zones/example."), site.path("aside"));
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "").unwrap();
    assert!(failed(update(&site, &mut zone, "add m 300 A 192.0.2.9", start().plus(3))));
    assert_eq!(address_of(&zone, "m.example."), None);
    site.step(&mut zone, start().plus(4));
    assert!(zone.conditions().any(|id| id == ConditionId::SignerStateNotWritten), "an operator must act");
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    for second in [20, 40, 60] {
        site.step(&mut zone, start().plus(second));
    }
    assert_eq!(
        address_of(&zone, "m.example."),
        None,
        "what was answered with SERVFAIL does not come by itself"
    );
    assert_eq!(update(&site, &mut zone, "add m 300 A 192.0.2.9", start().plus(61)), served(&zone));
    drop(zone);
    let zone = started(&site, start().plus(70));
    assert_eq!((address_of(&zone, "n.example."), address_of(&zone, "m.example.")), (Some(9), Some(9)));
}

#[test]
fn the_share_of_changed_records_and_the_review_hold_for_updates() {
    let site = Site::with_skr(3);
    let hosts: String = (0..40).map(|n| format!("h{n} A 192.0.2.9\n")).collect();
    site.write("zone", &format!("{FILE}{hosts}"));
    let mut zone = zone_of(&site, ContentRules { max_shrink: 50, ..ContentRules::default() });
    site.step(&mut zone, start());
    let all: String = (0..30).map(|n| format!("delete h{n};")).collect();
    let outcome = update(&site, &mut zone, &all, start().plus(1));
    assert!(matches!(&outcome, ChangeOutcome::Refused(why) if why.contains("max-shrink")), "{outcome:?}");
    assert_eq!((address_of(&zone, "h0.example."), zone.conditions().count()), (Some(9), 0));
    let some: String = (0..10).map(|n| format!("delete h{n};")).collect();
    assert_eq!(update(&site, &mut zone, &some, start().plus(2)), served(&zone));

    let review = |script: &str| {
        site.write("review", &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(site.path("review"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    review("cat > /dev/null");
    let rules = ContentRules {
        review: vec![site.path("review").display().to_string()],
        review_timeout: Duration::from_secs(10),
        ..ContentRules::default()
    };
    let mut zone = zone_of(&site, rules);
    let mut now = start().plus(10);
    site.step(&mut zone, now);
    for (script, good) in [("cat > /dev/null", true), ("cat > /dev/null; echo no; exit 1", false)] {
        review(script);
        let outcome = send(&zone, "delete h20; add new 300 A 192.0.2.9");
        let deadline = Instant::now() + Duration::from_secs(20);
        let outcome = loop {
            now = now.plus(1);
            site.step(&mut zone, now);
            if let Ok(outcome) = outcome.recv_timeout(Duration::from_millis(20)) {
                break outcome;
            }
            assert!(Instant::now() < deadline, "{script}: no answer");
        };
        if good {
            assert_eq!(outcome, served(&zone), "{script}");
            update(&site, &mut zone, "yxdomain new", now);
            let outcome = send(&zone, "delete new; add h20 300 A 192.0.2.9");
            while outcome.try_recv().is_err() {
                assert!(Instant::now() < deadline, "{script}: no answer");
                now = now.plus(1);
                site.step(&mut zone, now);
                std::thread::sleep(Duration::from_millis(20));
            }
        } else {
            assert!(matches!(&outcome, ChangeOutcome::Refused(why) if why.contains("no")), "{outcome:?}");
            assert_eq!(
                (address_of(&zone, "new.example."), address_of(&zone, "h20.example.")),
                (None, Some(9))
            );
            assert_eq!(zone.conditions().count(), 0);
        }
    }
}

/// A client that sends an update each second must not keep a zone from what is due.
#[test]
fn what_is_due_is_done_whatever_updates_come_in_the_same_second() {
    for text in ["delete nowhere", "add x.other. 300 A 192.0.2.9", "yxdomain nowhere"] {
        let site = Site::with_skr(3);
        let mut zone = started(&site, start());
        let due = zone.served().signed().unwrap().next_refresh();
        let before = serial(&zone);
        site.step(&mut zone, due.minus(1));
        assert_eq!(serial(&zone), before, "{text}: a bundle came before");
        for second in 0..3 {
            update(&site, &mut zone, text, due.plus(second));
            site.step(&mut zone, due.plus(second));
        }
        let signed = zone.served().signed().unwrap();
        assert!(signed.next_refresh() > due.plus(3) && serial(&zone) > before, "{text}");
        validate(&zone, "www.example.", Rtype::A, due.plus(3));
    }
}

#[test]
fn an_update_that_cannot_be_signed_is_answered_at_once_and_is_not_made_later() {
    let site = Site::with_skr(3);
    let mut zone = started(&site, start());
    // The next serials cannot be reserved.
    let (file, aside) = (site.path("zones/example./serial"), site.path("aside"));
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    let mut failed = Vec::new();
    for number in 0..40 {
        let name = format!("n{number}");
        let outcome = update(&site, &mut zone, &format!("add {name} 300 A 192.0.2.9"), start().plus(1));
        if let ChangeOutcome::Failed(_) = outcome {
            failed.push(name);
        }
    }
    assert!((10..30).contains(&failed.len()), "those beyond what was reserved before: {}", failed.len());
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    for second in [20, 40, 90] {
        site.step(&mut zone, start().plus(second));
    }
    for name in &failed {
        assert_eq!(address_of(&zone, &format!("{name}.example.")), None, "{name}");
    }
    assert_eq!(update(&site, &mut zone, "add m 300 A 192.0.2.9", start().plus(91)), served(&zone));
}

#[test]
fn one_client_is_not_refused_for_what_others_send_at_the_same_time() {
    let site = Site::with_skr(3);
    let hosts: String = (0..40).map(|n| format!("h{n} A 192.0.2.9\n")).collect();
    site.write("zone", &format!("{FILE}{hosts}"));
    let mut zone = zone_of(&site, ContentRules { max_growth: 60, ..ContentRules::default() });
    site.step(&mut zone, start());
    let before = serial(&zone);
    let outcomes: Vec<_> = (0..40).map(|n| send(&zone, &format!("add new{n} 300 A 192.0.2.9"))).collect();
    for second in 1..4 {
        site.step(&mut zone, start().plus(second));
    }
    for outcome in outcomes {
        let outcome = outcome.try_recv().expect("it is answered");
        assert!(matches!(outcome, ChangeOutcome::Served { .. }), "{outcome:?}");
    }
    assert_eq!(serial(&zone), before + 2, "two versions");
}

#[test]
fn what_updates_made_does_not_come_back_when_they_were_switched_off_meanwhile() {
    let site = Site::with_skr(3);
    let mut zone = started(&site, start());
    update(&site, &mut zone, "add n 300 A 192.0.2.9", start().plus(1));
    drop(zone);
    let mut zone = site.zone();
    for second in 5..8 {
        site.step(&mut zone, start().plus(second));
    }
    assert_eq!(address_of(&zone, "n.example."), None, "the file alone counts");
    drop(zone);
    let mut zone = started(&site, start().plus(10));
    site.step(&mut zone, start().plus(11));
    assert_eq!(address_of(&zone, "n.example."), None);
    assert_eq!(update(&site, &mut zone, "add m 300 A 192.0.2.9", start().plus(12)), served(&zone));
}
