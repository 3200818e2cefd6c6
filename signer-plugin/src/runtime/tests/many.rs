//! Many zones in one process: the work grows with their number, not with its square.

use super::*;

/// Key folders that many zones share are listed once for all of them, and changes of a zone's files are seen.
#[test]
fn zones_that_share_a_key_folder_see_their_own_files_change() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    assert_eq!(site.metrics.keys.with_label_values(&[ZONE, "zsk", "active"]).get(), 1);
    let active = Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() };
    // A new file, a file that changes in place, and one that goes; each is noticed at the next look.
    site.add_zsk(3, active);
    site.step(&mut zone, start().plus(1));
    assert_eq!(site.metrics.keys.with_label_values(&[ZONE, "zsk", "active"]).get(), 2);
    let private = site.zsk_path(3, "private");
    let text = fs::read_to_string(&private).unwrap();
    fs::write(&private, text.replace("Activate: 20270101000000", "Activate: 20280101000000")).unwrap();
    site.step(&mut zone, start().plus(2));
    assert_eq!(site.metrics.keys.with_label_values(&[ZONE, "zsk", "active"]).get(), 1);
    for suffix in ["private", "key"] {
        fs::remove_file(site.zsk_path(3, suffix)).unwrap();
    }
    site.step(&mut zone, start().plus(3));
    site.step(&mut zone, start().plus(4));
    assert_eq!(site.metrics.keys.with_label_values(&[ZONE, "zsk", "published"]).get(), 0);
}

#[test]
fn taking_over_many_zones_steps_each_once_and_stops_at_once() {
    const ZONES: usize = 300;
    let site = Site::with_skr(3);
    // Zones without SKR: a step looks at files and says that none is there.
    let names: Vec<String> = (0..ZONES).map(|n| format!("z{n}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let signer = Signer::start(&site.config(14, &names), &site.metrics, site.clock()).unwrap();
    let loads = || -> u64 {
        let of =
            |name: &&str| site.metrics.zone_loads_total.with_label_values(&[&format!("{name}."), "ok"]).get();
        names.iter().map(of).sum()
    };
    let limit = Instant::now() + Duration::from_secs(60);
    while loads() < ZONES as u64 {
        assert!(Instant::now() < limit, "{} of {ZONES} zones were read", loads());
        std::thread::sleep(Duration::from_millis(5));
    }
    // The clock stands still: whatever happens now, nothing is read again.
    signer.notify_accept();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(loads(), ZONES as u64, "each zone file was read once");
    let stopping = Instant::now();
    signer.shutdown();
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
}

#[test]
fn all_zones_are_served_again_before_the_first_zone_file_is_read_whatever_comes_meanwhile() {
    type Meanwhile = fn(&Site, &mut Schedule);
    let meanwhile: [(&str, Meanwhile); 4] = [
        ("nothing", |_, _| {}),
        ("a look at all", |_, schedule| schedule.obey(Command::LookAtAll)),
        ("a look at the first", |_, schedule| schedule.obey(Command::Look(Name::parse(ZONE).unwrap()))),
        ("a clock that is set back", |site, _| {
            site.time.fetch_sub(1, Ordering::SeqCst);
        }),
    ];
    for (what, meanwhile) in meanwhile {
        let site = Site::with_skr(3);
        let mut zone = site.zone();
        site.step(&mut zone, start());
        zone.close();
        site.time.store(start().plus(60).secs(), Ordering::SeqCst);
        let metrics = Metrics::new().unwrap();
        let mut schedule = Schedule::new(Shared {
            metrics: metrics.clone(),
            clock: site.clock(),
            folders: Arc::default(),
            stop: Arc::default(),
        });
        let names = [ZONE, "one.example.", "two.example.", "three.example."];
        let mut served = Vec::new();
        for name in names {
            let origin = Name::parse(name).unwrap();
            let state = site.path(&format!("zones/{name}"));
            let setup = ZoneSetup { name: origin.clone(), state, ..site.setup() };
            served.push(Arc::new(SignerZone::new(origin, &metrics, site.clock())));
            schedule.obey(Command::Take(Box::new(setup), Arc::clone(&served[served.len() - 1])));
        }
        let loads = || -> u64 {
            names.iter().map(|name| metrics.zone_loads_total.with_label_values(&[*name, "ok"]).get()).sum()
        };
        for step in 0..names.len() {
            assert_eq!((loads(), schedule.all_restored()), (0, false), "{what}, step {step}");
            assert!(schedule.step_one());
            meanwhile(&site, &mut schedule);
        }
        assert!(schedule.all_restored() && served[0].signed().is_some(), "{what}");
        assert_eq!(loads(), 0, "{what}");
        for _ in names {
            schedule.step_one();
        }
        assert!(loads() > 0, "{what}: then the files are read");
    }
}

#[test]
fn a_zone_that_comes_back_is_at_work_on_the_thread_that_it_had() {
    let site = Site::with_skr(3);
    let signer = Signer::start(&site.config(14, &["a.test", "b.test"]), &site.metrics, site.clock()).unwrap();
    assert!(signer.commands.len() > 1);
    let threads = || -> HashMap<Name, usize> {
        signer.zones.lock().unwrap().iter().map(|(name, zone)| (name.clone(), zone.thread)).collect()
    };
    let mut known = threads();
    for names in
        [&["b.test"][..], &["b.test", "c.test"], &["c.test", "d.test", "a.test"], &[], &["d.test", "b.test"]]
    {
        signer.reload(&site.config(14, names));
        for (name, thread) in threads() {
            assert_eq!(*known.entry(name.clone()).or_insert(thread), thread, "{name}");
        }
    }
    signer.shutdown();
}
