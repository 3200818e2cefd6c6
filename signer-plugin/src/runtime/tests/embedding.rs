//! What a program that has the signer in it can do: add and remove zones, ask how they stand, be told when that changes.

use std::path::Path;

use keystore::config::ZoneConfig;
use keystore::config::catalog::CatalogConfig;
use keystore::config::transfer::AllowTransfer;
use keystore::shared::Shared;

use super::*;
use crate::content::{Change, ChangeOutcome, ChangeRequest};

/// A zone of the configuration of a site.
fn zone_config(site: &Site, name: &str) -> Shared<ZoneConfig> {
    let more: &[&str] = if name == ZONE { &[] } else { &[name] };
    site.config(14, more).zones.pop().unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Tries `done` until it is true.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The next change, which must come. Seconds pass meanwhile: a file that was written is read when it has rested.
fn next((site, signer): (&Site, &Signer), changes: &mut StatusChanges) -> ZoneChange {
    let mut change = None;
    until("a change", || {
        change = changes.try_next();
        if change.is_none() {
            site.time.fetch_add(1, Ordering::SeqCst);
            signer.notify_accept();
        }
        change.is_some()
    });
    change.unwrap()
}

/// Takes changes until a zone stands as `wanted`.
fn follow(
    at: (&Site, &Signer),
    changes: &mut StatusChanges,
    wanted: impl Fn(&ZoneStatus) -> bool,
) -> ZoneStatus {
    loop {
        match next(at, changes) {
            ZoneChange::Status(status) if wanted(&status) => return status,
            change => assert!(matches!(change, ZoneChange::Status(_)), "{change:?}"),
        }
    }
}

#[test]
fn zones_are_added_changed_and_removed_one_by_one_while_others_go_on() {
    let site = Site::with_skr(3);
    let none = Config { zones: Vec::new(), ..site.config(14, &[]) };
    let signer = Signer::start(&none, &site.metrics, site.clock()).unwrap();
    let hosted = signer.hosted();
    let names = || {
        let mut names: Vec<String> = hosted.zones().iter().map(|z| z.origin().to_string()).collect();
        names.sort();
        names
    };
    assert!(names().is_empty());
    signer.add_zone(zone_config(&site, ZONE)).unwrap();
    signer.add_zone(zone_config(&site, "b.test.")).unwrap();
    assert_eq!(names(), ["b.test.", "example."]);
    until("signed", || site.signed());
    let served = hosted.zone(&name(ZONE)).unwrap();
    // Again, in another letter case, and with other settings: what is served goes on.
    signer.add_zone(zone_config(&site, "B.Test")).unwrap();
    signer.add_zone(site.config(20, &[]).zones[0].clone()).unwrap();
    assert_eq!(names().len(), 2);
    assert!(Arc::ptr_eq(&served, &hosted.zone(&name(ZONE)).unwrap()));
    assert_eq!(signer.config().zones.len(), 2);
    for (zone, is_known) in [("b.test", true), ("b.test", false), ("c.test", false), (".", false)] {
        assert_eq!(signer.remove_zone(&name(zone)), is_known, "{zone}");
        assert_eq!((names(), signer.config().zones.len()), (vec!["example.".to_owned()], 1), "{zone}");
    }
    // It comes back.
    signer.add_zone(zone_config(&site, "b.test")).unwrap();
    assert_eq!(names().len(), 2);
    assert!(signer.remove_zone(&name(ZONE)) && signer.remove_zone(&name("b.test")));
    assert!(names().is_empty() && signer.states().is_empty());
    signer.shutdown();
}

#[test]
fn a_reload_leaves_zones_that_were_added_until_they_are_removed_or_the_configuration_has_them() {
    let site = Site::with_skr(3);
    let none = Config { zones: Vec::new(), ..site.config(14, &[]) };
    let signer = Signer::start(&none, &site.metrics, site.clock()).unwrap();
    let names = || {
        let sorted = |names: &mut dyn Iterator<Item = Name>| {
            let mut names: Vec<String> = names.map(|name| name.to_string().to_lowercase()).collect();
            names.sort();
            names
        };
        let names = sorted(&mut signer.hosted().zones().iter().map(|zone| zone.origin().clone()));
        assert_eq!(names, sorted(&mut signer.config().zones.iter().map(|zone| zone.name.clone())));
        names
    };
    signer.add_zone(zone_config(&site, "b.test")).unwrap();
    signer.add_zone(zone_config(&site, "c.test")).unwrap();
    let served = signer.hosted().zone(&name("b.test")).unwrap();
    for _ in 0..2 {
        signer.reload(&none).unwrap();
        assert_eq!(names(), ["b.test.", "c.test."]);
    }
    // The configuration has `c.test` for a while, in another letter case; from then on it is a zone of the configuration.
    signer.reload(&site.config(20, &["C.Test"])).unwrap();
    assert_eq!(names().len(), 3);
    signer.reload(&none).unwrap();
    assert_eq!(names(), ["b.test."]);
    // A zone of the configuration that is added again stays one.
    signer.reload(&site.config(20, &["d.test"])).unwrap();
    signer.add_zone(zone_config(&site, "d.test")).unwrap();
    signer.reload(&none).unwrap();
    assert_eq!(names(), ["b.test."]);
    // One that is removed comes back by the configuration alone.
    signer.reload(&site.config(20, &["d.test"])).unwrap();
    assert!(signer.remove_zone(&name("d.test")) && signer.remove_zone(&name("b.test")));
    assert_eq!(names(), ["example."]);
    signer.reload(&site.config(20, &["d.test"])).unwrap();
    assert_eq!(names(), ["d.test.", "example."]);
    assert!(signer.hosted().zone(&name("b.test")).is_none() && served.origin() == &name("b.test"));
    signer.shutdown();
}

#[test]
fn what_a_signer_does_not_take_is_an_error_and_changes_nothing() {
    let site = Site::with_skr(3);
    let (of_catalog, of_key) = (name("catalog.test"), name("nobody"));
    let mut config = site.config(14, &[]);
    let zone = of_catalog.clone();
    let (groups, allow_transfer, notify) = (None, Vec::new(), Vec::new());
    config.catalogs.made.push(CatalogConfig { zone, groups, allow_transfer, notify });
    let signer = Signer::start(&config, &site.metrics, site.clock()).unwrap();
    let as_it_was = || {
        let configured = signer.config().zones.iter().filter(|zone| zone.file.is_some()).count();
        assert_eq!((configured, signer.hosted().zones().len(), signer.states().len()), (1, 2, 1));
    };
    let with = |zone: &str, change: &dyn Fn(&mut ZoneConfig)| {
        let mut zone = (*zone_config(&site, zone)).clone();
        change(&mut zone);
        signer.add_zone(zone.into()).unwrap_err()
    };
    for zone in ["b.test", ZONE] {
        let error = with(zone, &|zone| zone.file = None);
        assert!(
            matches!(&error, AddZoneError::NothingToServe { zone: named } if *named == name(zone)),
            "{error}"
        );
        assert!(error.to_string().contains("`primaries`"), "{error}");
        as_it_was();
        let rule = AllowTransfer { address: None, key: Some(of_key.clone()), tls: None };
        let error = with(zone, &|zone| zone.allow_transfer = vec![rule.clone()]);
        assert!(
            matches!(error, AddZoneError::Key(_)) && error.to_string().contains("the key nobody."),
            "{error}"
        );
        as_it_was();
    }
    let error = with("b.test", &|zone| zone.name = of_catalog.clone());
    assert!(matches!(&error, AddZoneError::Catalog { zone } if *zone == of_catalog), "{error}");
    as_it_was();
    let elsewhere = Config { state_dir: "/elsewhere".into(), ..config.clone() };
    let error = signer.reload(&elsewhere).unwrap_err();
    assert!(matches!(&error, ReloadError::OtherStateDir { wanted, .. } if wanted == Path::new("/elsewhere")));
    as_it_was();

    // A signer that ends takes neither zones nor configurations nor changes; it still lets a zone go.
    until("signed", || site.signed());
    let served = signer.zones().values().next().map(|zone| Arc::clone(&zone.served)).unwrap();
    signer.begin_shutdown();
    let error = with("b.test", &|_| ());
    assert!(matches!(&error, AddZoneError::Ending { zone } if *zone == name("b.test")), "{error}");
    assert_eq!(signer.reload(&config), Err(ReloadError::Ending));
    as_it_was();
    assert!(asked_for_change(&served).contains("the signer ends"));
    assert!(signer.remove_zone(&name(ZONE)) && signer.hosted().zone(&name(ZONE)).is_none());
    signer.shutdown();
}

#[test]
fn a_change_of_a_zone_that_was_removed_fails_at_once() {
    let site = Site::with_skr(3);
    let signer = Signer::start(&site.config(14, &[]), &site.metrics, site.clock()).unwrap();
    let served = signer.zones().values().next().map(|zone| Arc::clone(&zone.served)).unwrap();
    assert!(signer.remove_zone(&name(ZONE)));
    assert!(asked_for_change(&served).contains("not signed and served here any more"));
    // It comes back with a queue of its own.
    signer.add_zone(zone_config(&site, ZONE)).unwrap();
    until("signed", || site.signed());
    signer.shutdown();
}

/// What becomes of a change right when it is asked for.
fn asked_for_change(served: &SignerZone) -> String {
    let (told, outcome) = std::sync::mpsc::channel();
    let zone = crate::testing::zone("example", FILE.strip_prefix("$TTL 300\n").unwrap()).unwrap();
    let change = Change::Whole(Box::new(zone));
    served
        .changes()
        .submit(ChangeRequest { change, reply: Box::new(move |outcome| told.send(outcome).unwrap()) });
    match outcome.try_recv() {
        Ok(ChangeOutcome::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn threads_grow_with_the_zones_and_share_them_evenly() {
    let site = Site::with_skr(3);
    let most = 2 * available_parallelism().unwrap().get();
    let all: Vec<String> = (0..3 * most).map(|n| format!("z{n}.test")).collect();
    let config = |zones: usize| {
        let names: Vec<&str> = all[..zones - 1].iter().map(String::as_str).collect();
        site.config(14, &names)
    };
    let signer = Signer::start(&config(1), &site.metrics, site.clock()).unwrap();
    assert_eq!(signer.threads.zones(), [1]);
    // By a configuration, and by zones that are added.
    signer.reload(&config(2)).unwrap();
    assert_eq!(signer.threads.zones(), [1, 1]);
    for (n, zone) in all.iter().enumerate().take(most).skip(2) {
        signer.add_zone(zone_config(&site, zone)).unwrap();
        assert_eq!(signer.threads.zones(), vec![1; n + 1]);
    }
    signer.reload(&config(3 * most)).unwrap();
    assert_eq!(signer.threads.zones(), vec![3; most], "never more threads than that");
    // Each thread works: the zones are read on all of them.
    let loads = |zone: &str| site.metrics.zone_loads_total.with_label_values(&[zone, "ok"]).get();
    until("all zones are read", || all[..3 * most - 1].iter().all(|zone| loads(&format!("{zone}.")) > 0));
    signer.reload(&config(1)).unwrap();
    assert_eq!(signer.threads.zones().iter().sum::<usize>(), 1);
    signer.shutdown();
}

#[test]
fn status_tells_what_is_served_what_comes_next_and_what_is_wrong() {
    let site = Site::new();
    site.add_zsk(2, Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() });
    let signer = Signer::start(&site.config(14, &[]), &site.metrics, site.clock()).unwrap();
    let zone = name(ZONE);
    assert_eq!(signer.status(&name("b.test")), None);
    let mut changes = signer.subscribe();
    // It waits for an SKR, and says so.
    let status = follow((&site, &signer), &mut changes, |status| status.last_error.is_some());
    assert!(!status.ready && status.generation.is_none() && status.serial.is_none(), "{status:?}");
    assert!(status.last_error.unwrap().contains("no SKR is in use"));

    site.accept(1, &SkrBuilder::new(ZONE, start()).bundles(3));
    let status = follow((&site, &signer), &mut changes, |status| status.ready);
    assert_eq!((status.generation, status.serial, &status.last_error), (Some(1), Some(2_027_010_100), &None));
    assert_eq!(signer.status(&name("EXAMPLE")), Some(status.clone()), "the same by the other way");
    // Bundles switch each 9 days; signatures are renewed before.
    let event = status.next_event.unwrap();
    assert_eq!(event.kind, ZoneEventKind::Renewal, "{event:?}");
    assert!(event.at > start() && event.at <= start().plus(9 * DAY), "{event:?}");

    // A zone file that does not read: what was served goes on, and the error is told until it is mended.
    site.write("zone", "nonsense\n");
    let status = follow((&site, &signer), &mut changes, |status| status.last_error.is_some());
    assert!(status.ready && status.serial == Some(2_027_010_100), "{status:?}");
    let error = status.last_error.unwrap();
    assert!(error.contains("zone"), "{error}");
    site.write("zone", &FILE.replace("2027010100", "2027010200"));
    let status = follow((&site, &signer), &mut changes, |status| status.serial == Some(2_027_010_200));
    assert!(status.ready && status.last_error.is_none(), "{status:?}");

    // Zones that come and go; a subscriber that comes later is told of what is there.
    signer.add_zone(zone_config(&site, "b.test")).unwrap();
    let status = follow((&site, &signer), &mut changes, |status| status.zone == name("b.test"));
    assert!(!status.ready && status.last_error.is_some(), "{status:?}");
    let mut later = signer.subscribe();
    let mut told: Vec<String> = (0..2)
        .map(|_| match later.try_next() {
            Some(ZoneChange::Status(status)) => status.zone.to_string(),
            change => panic!("{change:?}"),
        })
        .collect();
    told.sort();
    assert_eq!((told, later.try_next()), (vec!["b.test.".to_owned(), "example.".to_owned()], None));
    signer.remove_zone(&name("b.test"));
    let removed = loop {
        if let ZoneChange::Removed(zone) = next((&site, &signer), &mut changes) {
            break zone;
        }
    };
    assert_eq!((removed, signer.status(&name("b.test"))), (name("b.test"), None));

    // Every signature expires: it is not ready any more, says why, and the end of the signer is the end of the changes.
    site.time.store(start().plus(400 * DAY).secs(), Ordering::SeqCst);
    let status = follow((&site, &signer), &mut changes, |status| !status.ready);
    assert!(status.zone == zone && status.last_error.unwrap().contains("coverage"));
    signer.shutdown();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { while changes.next().await.is_some() {} });
}
