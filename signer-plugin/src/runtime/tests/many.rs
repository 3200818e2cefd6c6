//! Many zones in one process: the work grows with their number, not with its square.

use keystore::lock::LockError;
use keystore::shared::Shared;

use super::super::lock::SignerLock;
use super::super::schedule::ZoneSchedule;
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
    type Meanwhile = fn(&Site, &mut ZoneSchedule);
    let meanwhile: [(&str, Meanwhile); 4] = [
        ("nothing", |_, _| {}),
        ("a look at all", |_, schedule| schedule.obey(ThreadCommand::LookAtAll)),
        ("a look at the first", |_, schedule| schedule.obey(ThreadCommand::Look(Name::parse(ZONE).unwrap()))),
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
        let mut schedule = ZoneSchedule::new(context(&site, &metrics, false));
        let names = [ZONE, "one.example.", "two.example.", "three.example."];
        let mut served = Vec::new();
        for name in names {
            let origin = Name::parse(name).unwrap();
            let state = site.path(&format!("zones/{name}"));
            let setup = ZoneSetup { name: origin.clone(), state, ..site.setup() };
            served.push(Arc::new(SignerZone::new(origin, &metrics, site.clock())));
            schedule.obey(ThreadCommand::Take(setup.into(), Arc::clone(&served[served.len() - 1])));
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
    assert!(signer.threads.zones().len() > 1);
    let threads = || -> HashMap<Name, usize> {
        let names = signer.zones().keys().cloned().collect::<Vec<_>>();
        names.into_iter().map(|name| (name.clone(), signer.threads.of_zone(&name).unwrap())).collect()
    };
    let mut known = threads();
    for names in
        [&["b.test"][..], &["b.test", "c.test"], &["c.test", "d.test", "a.test"], &[], &["d.test", "b.test"]]
    {
        signer.reload(&site.config(14, names)).unwrap();
        for (name, thread) in threads() {
            assert_eq!(*known.entry(name.clone()).or_insert(thread), thread, "{name}");
        }
    }
    signer.shutdown();
}

/// The looks of a thread in a second are bounded, whatever the number of its zones is, and few where the kernel tells of changes.
#[test]
fn kind_111_looks_at_rest_do_not_grow_with_the_number_of_zones() {
    const SECONDS: u64 = 60;
    for (watched, a_second) in [(false, 200), (true, 20)] {
        for zones in [1, 20, 100, 400_u64] {
            let site = Site::new();
            let mut schedule = schedule_of(&site, zones, watched);
            assert_eq!(steps_until(&site, &mut schedule, 0), 2 * zones, "each is restored and stepped once");
            let steps: u64 = (1..=SECONDS).map(|second| steps_until(&site, &mut schedule, second)).sum();
            let (least, most) = (zones.min(a_second) * SECONDS / 2, zones.min(a_second) * SECONDS);
            assert!((least..=most).contains(&steps), "{zones} zones, watched: {watched}: {steps} steps");
        }
    }
}

/// What the threads of a signer share; the kernel tells of changes, or not.
fn context(site: &Site, metrics: &Metrics, watched: bool) -> ThreadContext {
    ThreadContext {
        metrics: metrics.clone(),
        clock: site.clock(),
        folders: Arc::default(),
        found_right: Arc::default(),
        stop: Arc::default(),
        all_watched: Arc::new(watched.into()),
        _lock: Arc::new(SignerLock::take(site.dir.path()).unwrap()),
    }
}

/// A schedule of so many zones without SKR; the kernel tells of their changes, or not.
fn schedule_of(site: &Site, zones: u64, watched: bool) -> ZoneSchedule {
    let metrics = Metrics::new().unwrap();
    let mut schedule = ZoneSchedule::new(context(site, &metrics, watched));
    for n in 0..zones {
        let name = Name::parse(&format!("z{n}.example.")).unwrap();
        let state = site.path(&format!("zones/z{n}"));
        let setup = ZoneSetup { name: name.clone(), state, ..site.setup() };
        let served = Arc::new(SignerZone::new(name, &metrics, site.clock()));
        schedule.obey(ThreadCommand::Take(setup.into(), served));
    }
    schedule
}

/// Steps what is due at this second; gives the number of steps.
fn steps_until(site: &Site, schedule: &mut ZoneSchedule, second: u64) -> u64 {
    site.time.store(start().plus(second).secs(), Ordering::SeqCst);
    std::iter::repeat_with(|| schedule.step_one()).take_while(|stepped| *stepped).count() as u64
}

/// However rare the looks are: a zone whose files have changed is looked at at once, and again a second later, as a folder is listed once a
/// second.
#[test]
fn kind_111_a_change_wakes_its_zone_and_no_other() {
    let site = Site::new();
    // Each is looked at every 20 seconds.
    let mut schedule = schedule_of(&site, 400, true);
    steps_until(&site, &mut schedule, 0);
    for (second, woken, steps) in [(1, 0, 0), (2, 1, 1), (3, 0, 1), (4, 3, 3), (5, 0, 3), (6, 0, 0)] {
        for n in 0..woken {
            schedule.obey(ThreadCommand::Look(Name::parse(&format!("z{n}.example.")).unwrap()));
        }
        schedule.obey(ThreadCommand::Look(Name::parse("unknown.example.").unwrap()));
        assert_eq!(steps_until(&site, &mut schedule, second), steps, "second {second}");
    }
}

/// A loader in another process writes a line for what it accepts: then all zones are looked at, and not for each line of a flood.
#[test]
fn kind_111_what_a_loader_of_another_process_accepts_is_seen_at_once_and_a_flood_costs_no_more_than_looks_in_turn()
 {
    let site = Site::new();
    let mut schedule = schedule_of(&site, 400, true);
    fs::write(site.path("audit.jsonl"), "").unwrap();
    steps_until(&site, &mut schedule, 0);
    steps_until(&site, &mut schedule, 1);
    let mut lines = String::new();
    // With 200 looks a second these zones are looked at every second second.
    for (second, is_written, steps) in
        [(2, false, 0), (3, true, 400), (4, true, 0), (5, true, 400), (6, false, 0), (8, false, 0)]
    {
        if is_written {
            lines.push_str("x\n");
            fs::write(site.path("audit.jsonl"), &lines).unwrap();
        }
        assert_eq!(steps_until(&site, &mut schedule, second), steps, "second {second}");
    }
}

/// The kernel tells of zone files and key files that are written, replaced or removed.
#[test]
fn kind_111_the_kernel_tells_which_zone_has_changed() {
    type Change = fn(&Site);
    let changes: [(&str, Change); 4] = [
        ("written in place", |site| fs::write(site.path("zone"), FILE.replace("7200", "7201")).unwrap()),
        ("replaced", |site| site.write("zone", FILE)),
        ("a new key", |site| site.add_zsk(3, Timing::default())),
        ("a key that goes", |site| fs::remove_file(site.zsk_path(2, "private")).unwrap()),
    ];
    let site = Site::with_skr(1);
    let marker = |n: usize| Name::parse(&format!("marker-{n}.")).unwrap();
    let marked = |n: usize| ZoneSetup {
        name: marker(n),
        source: ContentSource::File(site.path(&format!("marker-{n}"))),
        ..site.setup()
    };
    let markers: Vec<ZoneSetup> = (0..changes.len()).map(marked).collect();
    let (sender, told) = std::sync::mpsc::channel();
    let all_watched = Arc::default();
    let mut events = FileEvents::new(Arc::clone(&all_watched), move |changed| sender.send(changed).unwrap());
    events.follow(markers.iter().chain(std::iter::once(&site.setup())));
    assert!(all_watched.load(Ordering::Relaxed));
    for (n, (what, change)) in changes.into_iter().enumerate() {
        change(&site);
        // Events come in their order: those of the change come between the markers before and behind it.
        fs::write(markers[n].source.file().unwrap(), "").unwrap();
        let mut seen = 0;
        loop {
            match told.recv_timeout(Duration::from_secs(60)).expect(what) {
                Changed::Zone(name) if name == marker(n) => break,
                Changed::Zone(name) => seen += usize::from(name == Name::parse(ZONE).unwrap()),
                Changed::Anything => panic!("{what}: events were lost"),
            }
        }
        assert!(seen > 0, "{what}");
    }
    // A folder that is missing or goes is no folder that is watched.
    fs::rename(site.path("keys"), site.path("away")).unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while all_watched.load(Ordering::Relaxed) {
        assert!(Instant::now() < limit, "the folder was moved away");
        std::thread::sleep(Duration::from_millis(5));
    }
    events.follow(std::iter::once(&site.setup()));
    assert!(!all_watched.load(Ordering::Relaxed));
    fs::rename(site.path("away"), site.path("keys")).unwrap();
    events.follow(std::iter::once(&site.setup()));
    assert!(all_watched.load(Ordering::Relaxed));
}

/// Commands that keep coming, such as those of updates, keep no zone from its steps.
#[test]
fn zones_are_stepped_between_commands_that_keep_coming() {
    let site = Site::with_skr(3);
    let schedule = schedule_of(&site, 0, false);
    let name = Name::parse(ZONE).unwrap();
    let served = Arc::new(SignerZone::new(name.clone(), &site.metrics, site.clock()));
    let (commands, commanded) = std::sync::mpsc::channel();
    commands.send(ThreadCommand::Take(site.setup().into(), Arc::clone(&served))).unwrap();
    for _ in 0..10 {
        commands.send(ThreadCommand::TakeChanges(name.clone())).unwrap();
    }
    drop(commands);
    schedule.run(&commanded);
    assert!(served.signed().is_some());
}

/// While the step of a zone whose ZSK is in a token hangs, the other zones of its thread go on; the zone obeys all commands on its own thread,
/// also when it comes back.
#[test]
fn kind_106_a_zone_with_its_zsk_in_a_token_hangs_alone_and_finds_its_thread_again() {
    let site = Site::new();
    let mut schedule = schedule_of(&site, 3, false);
    let in_token = Name::parse("z1.example.").unwrap();
    site.add_token_zsk(&in_token);
    let (hangs, hung) = std::sync::mpsc::channel();
    let (heal, healed) = std::sync::mpsc::channel::<()>();
    let zone = schedule.zone_mut(&in_token).expect("a zone of the thread");
    zone.while_reading = Some(Box::new(move || {
        hangs.send(()).unwrap();
        let _ = healed.recv_timeout(Duration::from_secs(60));
    }));
    let served = Arc::clone(zone.served());
    for restored in 0..3 {
        assert_eq!(
            (schedule.all_restored(), schedule.token_threads().thread_count()),
            (false, 0),
            "{restored}"
        );
        assert!(schedule.step_one());
    }
    assert!(schedule.all_restored(), "what is on disk is served before any key folder is looked at");
    assert_eq!(schedule.token_threads().thread_count(), 0);
    assert_eq!(steps_until(&site, &mut schedule, 0), 3, "two zones are stepped, and one is set apart");
    hung.recv_timeout(Duration::from_secs(60)).expect("the zone is stepped on its own thread");
    assert_eq!(served.state().work, Some(ZoneWork::ReadingFile));
    // All others are stepped, and nothing waits for what the zone is told.
    for second in 1..5 {
        assert_eq!(steps_until(&site, &mut schedule, second), 2, "second {second}");
    }
    schedule.obey(ThreadCommand::Leave(in_token.clone()));
    let state = site.path("zones/again");
    let setup = ZoneSetup { name: in_token.clone(), state, ..site.setup() };
    let again = Arc::new(SignerZone::new(in_token.clone(), &site.metrics, site.clock()));
    schedule.obey(ThreadCommand::Take(setup.into(), Arc::clone(&again)));
    schedule.obey(ThreadCommand::LookAtAll);
    assert!(schedule.zone_mut(&in_token).is_none(), "it is at work on its own thread only");
    assert!(!again.state().loaded, "its thread is busy");
    heal.send(()).unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while !again.state().loaded {
        assert!(Instant::now() < limit, "the zone is taken up again");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn zone_name(number: u64) -> Name {
    Name::parse(&format!("z{number}.example.")).unwrap()
}

/// A schedule of so many zones, each with its ZSK in a token but the first; all are stepped.
fn schedule_of_tokens(site: &Site, zones: u64) -> ZoneSchedule {
    let mut schedule = schedule_of(site, zones, false);
    (1..zones).for_each(|number| site.add_token_zsk(&zone_name(number)));
    steps_until(site, &mut schedule, 0);
    schedule
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// However many zones with tokens have come and gone: those that come next are given to threads of their own.
#[test]
fn kind_106_threads_for_tokens_end_when_their_zones_have_left() {
    let site = Site::new();
    let mut schedule = schedule_of_tokens(&site, 4);
    assert_eq!(schedule.token_threads().thread_count(), 3);
    for (leaving, left) in [(&[1][..], 2), (&[2, 3], 0)] {
        for number in leaving {
            schedule.obey(ThreadCommand::Leave(zone_name(*number)));
        }
        wait_for("threads end", || schedule.token_threads().thread_count() == left);
    }
    let setup = ZoneSetup { name: zone_name(2), state: site.path("zones/again"), ..site.setup() };
    let again = Arc::new(SignerZone::new(zone_name(2), &site.metrics, site.clock()));
    schedule.obey(ThreadCommand::Take(setup.into(), Arc::clone(&again)));
    steps_until(&site, &mut schedule, 1);
    assert_eq!(schedule.token_threads().thread_count(), 1);
    wait_for("the zone is read", || again.state().loaded);
}

/// A zone that leaves and comes back before its thread has let it go stays there, however often that happens.
#[test]
fn kind_106_a_zone_that_leaves_and_comes_back_at_once_stays_on_its_thread() {
    let site = Site::new();
    let mut schedule = schedule_of_tokens(&site, 2);
    let setup = ZoneSetup { name: zone_name(1), state: site.path("zones/z1"), ..site.setup() };
    let setup = Shared::from(setup);
    let mut served = Vec::new();
    for _ in 0..20 {
        schedule.obey(ThreadCommand::Leave(zone_name(1)));
        served.push(Arc::new(SignerZone::new(zone_name(1), &site.metrics, site.clock())));
        schedule.obey(ThreadCommand::Take(setup.clone(), Arc::clone(&served[served.len() - 1])));
        schedule.obey(ThreadCommand::TakeChanges(zone_name(1)));
    }
    wait_for("the last is read", || served[19].state().loaded);
    assert_eq!(schedule.token_threads().thread_count(), 1);
    assert!(schedule.zone_mut(&zone_name(1)).is_none(), "it is at work on its own thread only");
    schedule.obey(ThreadCommand::Leave(zone_name(1)));
    wait_for("the thread ends", || schedule.token_threads().thread_count() == 0);
}

/// Where there are more zones with tokens than threads for them they share these: zones without a token never wait with them.
#[test]
fn kind_106_zones_beyond_the_most_threads_for_tokens_share_these() {
    let site = Site::new();
    let mut schedule = schedule_of_tokens(&site, 36);
    assert_eq!(schedule.token_threads().thread_count(), 32);
    let is_here = |number: &u64| schedule.zone_mut(&zone_name(*number)).is_some();
    assert_eq!((0..36).filter(is_here).collect::<Vec<_>>(), [0]);
    for number in 1..36 {
        schedule.obey(ThreadCommand::Leave(zone_name(number)));
    }
    wait_for("threads end", || schedule.token_threads().thread_count() == 0);
}

/// The end of the process waits for no token. In the same process no other signer begins beside the thread that goes on by itself.
#[test]
fn kind_106_the_end_waits_for_no_token_that_hangs_and_no_signer_starts_until_its_thread_has_ended() {
    let site = Site::new();
    let start_another = || Signer::start(&site.config(14, &[]), &site.metrics, site.clock());
    let is_in_use = |started: &Result<Signer, StartError>| {
        let own = Some(std::process::id());
        matches!(started, Err(StartError::InUse(LockError::Held { holder, .. })) if *holder == own)
    };
    let mut schedule = schedule_of(&site, 2, false);
    site.add_token_zsk(&zone_name(1));
    let (hangs, hung) = std::sync::mpsc::channel();
    let (heal, healed) = std::sync::mpsc::channel::<()>();
    schedule.zone_mut(&zone_name(1)).expect("a zone").while_reading = Some(Box::new(move || {
        hangs.send(()).unwrap();
        let _ = healed.recv_timeout(Duration::from_secs(60));
    }));
    steps_until(&site, &mut schedule, 0);
    hung.recv_timeout(Duration::from_secs(60)).expect("the zone is stepped");
    assert!(is_in_use(&start_another()), "beside one that runs");
    let (_, commanded) = std::sync::mpsc::channel();
    schedule.run(&commanded);
    assert!(is_in_use(&start_another()), "beside the thread that waits for its token");
    heal.send(()).expect("the token still hangs");
    wait_for("the thread ends", || !is_in_use(&start_another()));
}

/// A signer is followed by the next one at once, also where somebody still answers from what the first has published; a folder in which no lock
/// can be made is used without.
#[test]
fn a_signer_starts_when_the_one_before_has_ended_and_its_lock_file_can_be_opened() {
    let site = Site::new();
    let begin = || Signer::start(&site.config(14, &["a.test"]), &site.metrics, site.clock());
    let first = begin().unwrap();
    let hosted = first.hosted();
    let error = begin().unwrap_err().to_string();
    let said = [format!("held by process {}", std::process::id()), "another signer is at work".to_owned()];
    assert!(said.iter().all(|word| error.contains(word)), "{error}");
    first.shutdown();
    let second = begin().unwrap();
    assert_eq!(hosted.zones().len(), 2, "the zones of the first are answered for still");
    drop(second);
    fs::remove_file(site.path("zones/.signer.lock")).unwrap();
    fs::create_dir(site.path("zones/.signer.lock")).unwrap();
    let error = begin().unwrap_err().to_string();
    assert!(error.contains(".signer.lock: it is a folder"), "{error}");
    fs::remove_dir(site.path("zones/.signer.lock")).unwrap();
    begin().unwrap().shutdown();
}

/// Whatever a thread ends of: its zones are taken up again, by the next look at the clock or by the next command, which is carried out.
#[test]
fn kind_106_zones_of_a_thread_that_has_ended_are_taken_up_again_and_no_command_is_lost() {
    type Next = fn(&Site, &mut ZoneSchedule);
    let nexts: [(&str, Next, bool); 4] = [
        ("a look", |_, schedule| schedule.obey(ThreadCommand::Look(zone_name(1))), true),
        ("changes", |_, schedule| schedule.obey(ThreadCommand::TakeChanges(zone_name(1))), true),
        ("it leaves", |_, schedule| schedule.obey(ThreadCommand::Leave(zone_name(1))), false),
        (
            "it comes anew",
            |site, schedule| {
                let setup = ZoneSetup { name: zone_name(1), state: site.path("zones/new"), ..site.setup() };
                let served = SignerZone::new(zone_name(1), &site.metrics, site.clock());
                schedule.obey(ThreadCommand::Take(setup.into(), Arc::new(served)));
            },
            true,
        ),
    ];
    for (what, next, is_there) in nexts {
        let site = Site::new();
        let mut schedule = schedule_of_tokens(&site, 3);
        schedule.token_threads().lose_threads();
        next(&site, &mut schedule);
        assert_eq!(schedule.zone_mut(&zone_name(1)).is_some(), is_there, "{what}");
        wait_for(what, || {
            steps_until(&site, &mut schedule, 1);
            steps_until(&site, &mut schedule, 2);
            schedule.token_threads().thread_count() == 1 + usize::from(is_there)
        });
    }
}
