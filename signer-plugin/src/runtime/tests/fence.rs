//! One host of two publishes nothing, answers no update and writes nothing down while it has no lease, whenever the lease ends.

use keystore::pair::{Fence, Moment};

use super::updates::{address_of, send, setup, started, update};
use super::*;
use crate::content::ChangeOutcome;

const MINUTE: Duration = Duration::from_secs(60);

/// A moment by the clock of the test, which stands for both.
fn moment(now: Timestamp) -> Moment {
    Moment { wall: now, boot: Duration::from_secs(now.secs()) }
}

fn fence(site: &Site) -> Fence {
    let clock = site.clock();
    Fence::closed(move || moment(clock()))
}

#[test]
fn a_host_that_has_lost_its_lease_publishes_nothing_and_goes_on_when_it_has_one_again() {
    let site = Site::with_skr(3);
    let fence = fence(&site);
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    let served = Arc::new(served.with_fence(fence.clone()));
    let mut zone = ZoneRuntime::new(setup(&site), site.metrics.clone(), Arc::clone(&served));
    site.step(&mut zone, start());
    assert!(served.signed().is_none(), "no lease yet");
    fence.open(moment(start().plus(1)), MINUTE);
    site.step(&mut zone, start().plus(1));
    assert_eq!(
        update(&site, &mut zone, "add n 300 A 192.0.2.9", start().plus(60)),
        ChangeOutcome::Served { serial: serial(&zone) }
    );
    let before = serial(&zone);
    // It ends by itself; also for a step that began before its end, in a process that was suspended meanwhile.
    for (now, step) in [(61, 61), (70, 5), (3 * 86_400, 3 * 86_400)] {
        // Also what would change nothing, or not be done: what is here may not be what the active host has.
        for text in
            ["add m 300 A 192.0.2.9", "add n 300 A 192.0.2.9", "yxdomain nowhere; add m 300 A 192.0.2.9"]
        {
            let outcome = send(&zone, text);
            site.time.store(start().plus(now).secs(), Ordering::SeqCst);
            zone.step(start().plus(step));
            assert!(matches!(outcome.try_recv(), Ok(ChangeOutcome::Failed(_))), "{now}: {text}");
        }
        assert_eq!((serial(&zone), address_of(&zone, "m.example.")), (before, None), "{now}");
        assert_eq!(address_of(&zone, "n.example."), Some(9), "what is served stays");
    }
    // What was due meanwhile is made as soon as there is a lease.
    let now = start().plus(3 * 86_400 + 1);
    site.write("zone", &fs::read_to_string(site.path("zone")).unwrap().replace("192.0.2.1", "192.0.2.77"));
    let signatures = || {
        let text = site.metrics.encode().unwrap();
        let lines = text.lines().filter(|line| line.starts_with("offlineksk_signatures_total"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let made = signatures();
    for second in [0, 2, 4] {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!((serial(&zone), signatures()), (before, made.clone()), "no key is used");
    fence.open(moment(now.plus(5)), MINUTE);
    site.step(&mut zone, now.plus(5));
    assert!(serial(&zone) > before && signatures() != made);
    assert_eq!(
        update(&site, &mut zone, "add m 300 A 192.0.2.9", now.plus(6)),
        ChangeOutcome::Served { serial: serial(&zone) }
    );
    drop(zone);
    let zone = started(&site, now.plus(10));
    assert_eq!((address_of(&zone, "m.example."), address_of(&zone, "n.example.")), (Some(9), Some(9)));
}

/// The lease ends at each look at the fence, one after the other: that right before a version is served, after all was written, is among them.
#[test]
fn a_lease_that_ends_at_any_look_has_the_version_served_whole_or_not_at_all() {
    let (mut served_at, mut refused_at) = (None, None);
    let (mut written_at, mut untold_at) = (Vec::new(), Vec::new());
    for last in 0..20 {
        let site = Site::with_skr(3);
        let looks = Arc::new(AtomicU64::new(0));
        let most = Arc::new(AtomicU64::new(u64::MAX));
        let (counted, limit, clock) = (Arc::clone(&looks), Arc::clone(&most), site.clock());
        let fence = Fence::closed(move || {
            let is_over = counted.fetch_add(1, Ordering::SeqCst) >= limit.load(Ordering::SeqCst);
            let now = clock();
            moment(if is_over { now.plus(1_000_000) } else { now })
        });
        let open = |now: Timestamp| fence.open(moment(now), MINUTE);
        let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
        let served = Arc::new(served.with_fence(fence.clone()));
        let mut zone = ZoneRuntime::new(setup(&site), site.metrics.clone(), served);
        site.time.store(start().secs(), Ordering::SeqCst);
        open(start());
        site.step(&mut zone, start());
        update(&site, &mut zone, "add first 300 A 192.0.2.9", start().plus(1));
        let before = serial(&zone);
        let on_disk = written(&site);
        looks.store(0, Ordering::SeqCst);
        most.store(last, Ordering::SeqCst);
        let outcome = update(&site, &mut zone, "add n 300 A 192.0.2.9", start().plus(2));
        let is_new = serial(&zone) != before;
        assert_eq!(address_of(&zone, "n.example.").is_some(), is_new, "{last}");
        match outcome {
            ChangeOutcome::Served { serial } => {
                assert!(is_new && serial == before + 1, "{last}");
                served_at = served_at.or(Some(last));
            }
            // It may be served when the lease ends right behind that: nobody is told that it was.
            ChangeOutcome::Failed(_) if is_new => untold_at.push(last),
            ChangeOutcome::Failed(_) => {
                refused_at = Some(last);
                written_at.extend((written(&site) != on_disk).then_some(last));
            }
            other => panic!("{last}: {other:?}"),
        }
        // With a lease again the next version is beyond all, and a restart has what is served.
        most.store(u64::MAX, Ordering::SeqCst);
        site.time.store(start().plus(100).secs(), Ordering::SeqCst);
        open(start().plus(100));
        for second in [100, 101, 112] {
            site.step(&mut zone, start().plus(second));
        }
        let outcome = update(&site, &mut zone, "add m 300 A 192.0.2.9", start().plus(113));
        assert_eq!(outcome, ChangeOutcome::Served { serial: serial(&zone) }, "{last}");
        assert!(serial(&zone) > before + u32::from(is_new), "{last}");
        let names = ["first.example.", "n.example.", "m.example."];
        let here = names.map(|name| address_of(&zone, name));
        assert_eq!((here[0], here[2]), (Some(9), Some(9)), "{last}");
        let last_serial = serial(&zone);
        drop(zone);
        let zone = started(&site, start().plus(120));
        assert_eq!(
            (names.map(|name| address_of(&zone, name)), serial(&zone) >= last_serial),
            (here, true),
            "{last}"
        );
        validate(&zone, "m.example.", Rtype::A, start().plus(120));
    }
    let (served_at, refused_at) = (served_at.expect("with all looks"), refused_at.expect("with fewer"));
    assert!(
        refused_at >= 3 && refused_at < served_at,
        "refused up to look {refused_at}, served from {served_at} on"
    );
    // The last look before it is served is the only one behind the writing; the one before the answer is the only one behind both.
    assert_eq!((written_at, untold_at), (vec![refused_at], vec![refused_at + 1]));
}

/// What is on disk of the zone, without its serials.
fn written(site: &Site) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(site.path("zones/example.")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.is_file() && !path.ends_with("serial")).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// After signing and all writing, the look right before the version is served counts.
#[test]
fn a_version_that_was_written_down_is_not_served_by_a_host_whose_lease_ended_meanwhile() {
    let site = Site::with_skr(3);
    let written = site.path("zones/example.").join(crate::state::VERSION);
    let (seen, clock) = (written.clone(), site.clock());
    // The lease ends in the moment in which the first version is on disk.
    let fence = Fence::closed(move || {
        let now = clock();
        moment(if seen.exists() { now.plus(1_000_000) } else { now })
    });
    fence.open(moment(start()), MINUTE);
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    let served = Arc::new(served.with_fence(fence));
    let mut zone = ZoneRuntime::new(setup(&site), site.metrics.clone(), Arc::clone(&served));
    site.step(&mut zone, start());
    assert!(written.exists() && served.signed().is_none(), "it is on disk and not served");
}

#[test]
fn a_version_that_waited_for_the_disk_is_not_published_by_a_host_that_has_lost_its_lease() {
    let site = Site::with_skr(3);
    let fence = fence(&site);
    fence.open(moment(start()), 10 * MINUTE);
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    let mut zone =
        ZoneRuntime::new(site.setup(), site.metrics.clone(), Arc::new(served.with_fence(fence.clone())));
    site.step(&mut zone, start());
    let before = serial(&zone);
    let (folder, aside) = (site.path("zones/example."), site.path("aside"));
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "").unwrap();
    site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.77"));
    for second in [1, 3, 5] {
        site.step(&mut zone, start().plus(second));
    }
    assert!(zone.conditions().any(|id| id == ConditionId::SignerStateNotWritten), "it waits");
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    let on_disk = written(&site);
    for second in [600, 700, 900] {
        site.step(&mut zone, start().plus(second));
        assert_eq!(written(&site), on_disk, "{second}");
        assert_eq!((serial(&zone), address_of(&zone, "www.example.")), (before, Some(2)), "{second}");
    }
    fence.open(moment(start().plus(1000)), MINUTE);
    for second in [1000, 1001, 1030] {
        site.step(&mut zone, start().plus(second));
    }
    assert_eq!(address_of(&zone, "www.example."), Some(77));
    assert!(serial(&zone) > before);
}

#[test]
fn an_update_that_is_under_review_is_answered_as_soon_as_the_lease_has_ended() {
    let site = Site::with_skr(3);
    let fence = fence(&site);
    fence.open(moment(start()), 10 * MINUTE);
    let script = |text: &str| {
        site.write("review", &format!("#!/bin/sh\ncat > /dev/null\n{text}\n"));
        fs::set_permissions(site.path("review"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("");
    let content = ContentRules {
        review: vec![site.path("review").display().to_string()],
        review_timeout: Duration::from_secs(60),
        ..ContentRules::default()
    };
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    let served = Arc::new(served.with_fence(fence.clone()));
    let mut zone =
        ZoneRuntime::new(ZoneSetup { content, ..setup(&site) }, site.metrics.clone(), Arc::clone(&served));
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut second = 0;
    while served.signed().is_none() {
        assert!(Instant::now() < deadline, "the first version is not served");
        second += 1;
        site.step(&mut zone, start().plus(second));
        std::thread::sleep(Duration::from_millis(20));
    }
    // It ends with this process, if nobody ends it before.
    script("while [ -e \"$0\" ]; do sleep 0.1; done");
    let outcome = send(&zone, "add n 300 A 192.0.2.9");
    site.step(&mut zone, start().plus(second + 1));
    assert!(outcome.try_recv().is_err(), "it is under review");
    site.step(&mut zone, start().plus(700));
    assert!(matches!(outcome.try_recv(), Ok(ChangeOutcome::Failed(_))));
    assert_eq!(address_of(&zone, "n.example."), None);
}
