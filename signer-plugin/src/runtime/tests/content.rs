//! New content that a person has to release, and content that a command reviews.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::*;

/// A zone file with so many hosts more, and this address of `www`.
fn file_with(hosts: usize, address: u8) -> String {
    let mut text = FILE.replace("192.0.2.2", &format!("192.0.2.{address}"));
    for n in 0..hosts {
        let _ = writeln!(text, "h{n} A 192.0.2.9");
    }
    text
}

fn zone_with(site: &Site, content: ContentRules) -> ZoneRuntime {
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    ZoneRuntime::new(ZoneSetup { content, ..site.setup() }, site.metrics.clone(), Arc::new(served))
}

fn limited() -> ContentRules {
    ContentRules { max_shrink: 50, max_growth: 100, ..ContentRules::default() }
}

/// Steps each second for a while.
fn run(site: &Site, zone: &mut ZoneRuntime, now: &mut Timestamp, seconds: u64) {
    for _ in 0..seconds {
        *now = now.plus(1);
        site.step(zone, *now);
    }
}

fn address(zone: &ZoneRuntime) -> u8 {
    ask(zone, "www.example.", Rtype::A).answers[0].rdata[3]
}

fn conditions(zone: &ZoneRuntime) -> Vec<ConditionId> {
    zone.conditions().collect()
}

/// The cause that the signer reports of its first condition.
fn cause(zone: &ZoneRuntime) -> String {
    zone.served().state().conditions.first().map_or_else(String::new, |condition| condition.cause.clone())
}

fn release_it(site: &Site) -> Result<String, ReleaseError> {
    release(site.dir.path(), &Name::parse(ZONE).unwrap())
}

#[test]
fn a_zone_that_shrinks_or_grows_too_much_waits_for_a_person_and_is_signed_meanwhile() {
    // Hosts before and in the new file; which is too few, and too many.
    for (before, after) in [(100, 20), (100, 0), (20, 100)] {
        let site = Site::with_skr(3);
        site.write("zone", &file_with(before, 2));
        let mut zone = zone_with(&site, limited());
        let mut now = start();
        site.step(&mut zone, now);
        assert!(matches!(release_it(&site), Err(ReleaseError::NotHeld(_))));
        site.write("zone", &file_with(after, 77));
        run(&site, &mut zone, &mut now, 5);
        assert_eq!((conditions(&zone), address(&zone)), (vec![ConditionId::SignerContentHeld], 2));
        assert_eq!(site.gauge(&site.metrics.zone_content_held), 1);
        let told = cause(&zone);
        assert!(told.contains(&format!("the new content has {} records", after + 4)), "{told}");
        // A bundle switch and renewals do not wait, and neither does a restart change anything.
        now = start().plus(9 * DAY).minus(2);
        run(&site, &mut zone, &mut now, 3);
        let (_, signatures) = rrset(&ask(&zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY);
        assert_eq!(signatures[0].inception, start().plus(9 * DAY).minus(HOUR).to_rrsig());
        let mut zone = zone_with(&site, limited());
        run(&site, &mut zone, &mut now, 3);
        assert_eq!((conditions(&zone), address(&zone)), (vec![ConditionId::SignerContentHeld], 2));
        // A person lets it pass.
        let why = release_it(&site).unwrap();
        assert!(why.contains("max-shrink is 50 %") || why.contains("max-growth is 100 %"), "{why}");
        let last = serial(&zone);
        run(&site, &mut zone, &mut now, 2);
        assert_eq!((conditions(&zone), address(&zone)), (vec![], 77));
        assert!(serial(&zone) > last);
        assert_eq!(site.gauge(&site.metrics.zone_content_held), 0);
        for file in ["held", "released"] {
            assert!(!site.path("zones/example.").join(file).exists(), "{file}");
        }
    }
}

#[test]
fn what_was_released_is_that_content_and_no_other() {
    let site = Site::with_skr(3);
    site.write("zone", &file_with(200, 2));
    let mut zone = zone_with(&site, limited());
    let mut now = start();
    site.step(&mut zone, now);
    site.write("zone", &file_with(80, 70));
    run(&site, &mut zone, &mut now, 3);
    // Between the look of the person and the next step the file is cut once more: what was released passes, and what came then does not.
    release_it(&site).unwrap();
    site.write("zone", &file_with(30, 71));
    run(&site, &mut zone, &mut now, 4);
    assert_eq!((address(&zone), conditions(&zone)), (70, vec![ConditionId::SignerContentHeld]));
    // A release that comes too late, for content that has been replaced, lets nothing pass.
    let held = fs::read(site.path("zones/example./held")).unwrap();
    site.write("zone", &file_with(20, 72));
    run(&site, &mut zone, &mut now, 3);
    let digest = String::from_utf8(held).unwrap().lines().next().unwrap().to_owned();
    site.write("zones/example./released", &digest);
    run(&site, &mut zone, &mut now, 3);
    assert_eq!((address(&zone), conditions(&zone)), (70, vec![ConditionId::SignerContentHeld]));
    // What is served comes back, or what changes little.
    for (hosts, address_then) in [(80, 70), (70, 73)] {
        site.write("zone", &file_with(hosts, address_then));
        run(&site, &mut zone, &mut now, 3);
        assert_eq!((address(&zone), conditions(&zone)), (address_then, vec![]), "{hosts}");
    }
    assert!(!site.path("zones/example./held").exists() && !site.path("zones/example./released").exists());
}

/// A review that runs this script; it finds the zone on its standard input.
fn reviewed(site: &Site, script: &str, seconds: u64) -> ContentRules {
    let path = site.path("review");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(&path);
    std::io::Write::write_all(&mut file.unwrap(), format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    ContentRules {
        review: vec![path.to_str().unwrap().to_owned()],
        review_timeout: Duration::from_secs(seconds),
        ..ContentRules::default()
    }
}

/// Steps until `done`, in real time, since a command runs beside.
fn until(site: &Site, zone: &mut ZoneRuntime, now: &mut Timestamp, done: impl Fn(&ZoneRuntime) -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !done(zone) {
        assert!(Instant::now() < limit, "{:?}", zone.conditions().collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(10));
        run(site, zone, now, 1);
    }
}

#[test]
fn the_review_decides_about_new_content_and_what_is_served_stays_when_it_refuses() {
    let site = Site::with_skr(3);
    let script = "cat > seen.$$; env | grep OFFLINE_KSK > env.$$; mv seen.$$ seen; mv env.$$ env; ! grep -q '192\\.0\\.2\\.66' seen || { echo no sixty-six; exit 3; }";
    let script = format!("cd {}; {script}", site.dir.path().display());
    let rules = reviewed(&site, &script, 20);
    let mut zone = zone_with(&site, rules);
    let mut now = start();
    site.step(&mut zone, now);
    assert!(zone.served().signed().is_none(), "nothing is served before the first review ends");
    until(&site, &mut zone, &mut now, |zone| zone.served().signed().is_some());
    let seen = fs::read_to_string(site.path("seen")).unwrap();
    assert!(seen.contains("\tRRSIG\tA ") && seen.contains("192.0.2.2"), "{seen}");
    let env = fs::read_to_string(site.path("env")).unwrap();
    assert!(env.contains("OFFLINE_KSK_ZONE=example.") && env.contains("OFFLINE_KSK_EVENT=review"), "{env}");
    assert!(env.contains("OFFLINE_KSK_SERIAL=2027010100") && !env.contains("SERVED"), "{env}");
    validate(&zone, "www.example.", Rtype::A, now);
    // Refused: it says why, what is served stays, and bundles switch.
    site.write("zone", &file_with(0, 66));
    until(&site, &mut zone, &mut now, |zone| conditions(zone) == [ConditionId::SignerReviewRefused]);
    let told = cause(&zone);
    assert!(told.contains("no sixty-six"), "{told}");
    assert_eq!((address(&zone), site.gauge(&site.metrics.zone_content_held)), (2, 1));
    assert!(fs::read_to_string(site.path("env")).unwrap().contains("OFFLINE_KSK_SERVED_SERIAL=2027010100"));
    let before = serial(&zone);
    fs::remove_file(site.path("seen")).unwrap();
    now = start().plus(9 * DAY);
    run(&site, &mut zone, &mut now, 100);
    assert!(serial(&zone) > before && address(&zone) == 2);
    assert!(!site.path("seen").exists(), "neither renewals nor what was refused are reviewed again");
    // Other content is agreed to.
    site.write("zone", &file_with(0, 67));
    until(&site, &mut zone, &mut now, |zone| address(zone) == 67);
    assert_eq!(conditions(&zone), []);
    assert!(!site.path("zones/example./review.zone").exists());
}

#[test]
fn a_review_that_hangs_or_cannot_be_run_changes_nothing_and_is_tried_again() {
    for (what, script, mended) in [("hangs", "sleep 600", "cat > /dev/null"), ("is missing", "", "exit 0")] {
        let site = Site::with_skr(3);
        let mut rules = reviewed(&site, "cat > /dev/null", 1);
        let mut zone = zone_with(&site, rules.clone());
        let mut now = start();
        until(&site, &mut zone, &mut now, |zone| zone.served().signed().is_some());
        if script.is_empty() {
            fs::remove_file(site.path("review")).unwrap();
        } else {
            rules = reviewed(&site, script, 1);
        }
        site.write("zone", &file_with(0, 77));
        until(&site, &mut zone, &mut now, |zone| conditions(zone) == [ConditionId::SignerReviewFailing]);
        assert_eq!(address(&zone), 2, "{what}");
        validate(&zone, "www.example.", Rtype::A, now);
        reviewed(&site, mended, 1);
        until(&site, &mut zone, &mut now, |zone| address(zone) == 77);
        assert_eq!(conditions(&zone), [], "{what}");
        drop(rules);
    }
}

/// Reading a large zone file takes long: what happens meanwhile counts, and what is being done is said as it is.
#[test]
fn kind_116_an_skr_that_is_accepted_while_the_zone_file_is_read_is_used_in_the_same_step() {
    type Meanwhile = fn(&Path);
    let accept: Meanwhile = |dir| {
        for name in ["1.skr", "current"] {
            fs::rename(dir.join("aside").join(name), dir.join("accepted/example.").join(name)).unwrap();
        }
    };
    for (what, meanwhile, generation) in [("accepted", accept, 1), ("nothing", |_| (), 0)] {
        let site = Site::with_skr(3);
        fs::create_dir(site.path("aside")).unwrap();
        for name in ["1.skr", "current"] {
            fs::rename(site.path("accepted/example.").join(name), site.path("aside").join(name)).unwrap();
        }
        let mut zone = site.zone();
        let (served, dir) = (Arc::clone(zone.served()), site.path(""));
        let (sender, seen) = std::sync::mpsc::channel();
        zone.while_reading = Some(Box::new(move || {
            sender.send(served.state().work).unwrap();
            meanwhile(&dir);
        }));
        site.step(&mut zone, start());
        assert_eq!(seen.recv().unwrap(), Some(ZoneWork::ReadingFile), "{what}");
        let state = zone.served().state();
        assert_eq!((state.generation, state.validly_signed), (generation, generation == 1), "{what}");
        assert_eq!(state.work, None, "{what}: the step is over");
    }
}
