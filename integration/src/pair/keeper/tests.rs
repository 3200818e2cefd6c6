//! What a host becomes by its lease, its state and its secondaries, second by second.

use super::*;

const START: u64 = 1_800_000_000;

/// What the secondary of the host says.
type Said = Arc<Mutex<Result<Option<u32>, String>>>;

/// A host with clocks that the test sets and a secondary that says what the test wants.
struct Site {
    dir: tempfile::TempDir,
    now: Arc<Mutex<Moment>>,
    seen: Said,
    machine: Machine,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let text = format!(
            "version = 1\nstate-dir = \"state\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n[[zone]]\nname = \"a.test\"\npolicy = \"p\"\nfile = \"zone\"\n\
             trust-anchors = [\"a.test. DS 18064 13 2 {}\"]\nnotify = [\"192.0.2.53\"]\n[policy.p]\noffline-ksk = true\nkeys = [\
             {{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n",
            "0123456789ABCDEF".repeat(4)
        );
        let config =
            Config::parse(text.as_bytes(), &dir.path().join("c.toml")).unwrap_or_else(|e| panic!("{e}"));
        let pair = PairConfig {
            host: "a".to_owned(),
            lease_directory: dir.path().join("leases"),
            lease_duration: 60,
            renew: 15,
            clock_margin: 5,
        };
        std::fs::create_dir_all(dir.path().join("state/zones/a.test.")).expect("a folder");
        std::fs::create_dir(&pair.lease_directory).expect("a folder");
        let start = Moment { wall: Timestamp::from_secs(START), boot: Duration::from_secs(1000) };
        let (now, seen): (_, Said) = (Arc::new(Mutex::new(start)), Arc::new(Mutex::new(Ok(Some(7)))));
        let (said, clock) = (Arc::clone(&seen), Arc::clone(&now));
        let clock = move || *clock.lock().expect("held by nobody");
        let look = move |config: &Config, _: Option<&BTreeSet<Name>>, _| {
            let zone = config.zones[0].name.clone();
            let own = serials::own_serial(config, &zone).unwrap_or(None);
            let secondary = "192.0.2.53:53".parse().expect("an address");
            vec![Sighting { zone, secondary, own, seen: said.lock().expect("held by nobody").clone() }]
        };
        let fence = Fence::closed(clock.clone());
        let machine = Machine {
            pair: pair.clone(),
            node: "m/1".to_owned(),
            state_dir: config.state_dir.clone(),
            folder: LeaseFolder::new(&pair.lease_directory),
            standing: PairStanding::new(&pair, config, fence, start.wall),
            look: Box::new(look),
            clock: Box::new(clock),
            skipped: Vec::new(),
            written: Vec::new(),
            twin: None,
            renewed: None,
            retry_at: None,
        };
        Self { dir, now, seen, machine }
    }

    /// An active host, by the first takeover.
    fn active() -> Self {
        let mut site = Self::new();
        site.take_over("a", Generation::FIRST);
        assert_eq!(site.step(0), FIRST);
        site
    }

    /// A takeover by a host, as the command makes it.
    fn take_over(&self, host: &str, generation: Generation) {
        if host == "a" {
            origin::write_own(&self.state(), generation, host).expect("written");
        }
        self.machine.folder.claim(&self.lease(host, generation)).expect("claimed");
    }

    fn lease(&self, host: &str, generation: Generation) -> Lease {
        let (now, node) = (self.now().wall, "m/1".to_owned());
        Lease {
            host: host.to_owned(),
            node,
            generation,
            renewed: now,
            expires: now.plus(60),
            forced: false,
            stage: Stage::Claimed,
        }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn now(&self) -> Moment {
        *self.now.lock().expect("held by nobody")
    }

    /// One look, so many seconds later.
    fn step(&mut self, seconds: u64) -> Role {
        {
            let mut now = self.now.lock().expect("held by nobody");
            *now = Moment { wall: now.wall.plus(seconds), boot: now.boot + Duration::from_secs(seconds) };
        }
        self.machine.step();
        self.machine.standing.role()
    }

    fn secondary_says(&self, said: Result<Option<u32>, &str>) {
        *self.seen.lock().expect("held by nobody") = said.map_err(str::to_owned);
    }

    fn may_publish(&self) -> bool {
        let zone = Name::parse("a.test").expect("a name");
        self.machine.standing.0.fence.permits_zone(&zone)
    }

    fn condition(&self) -> Option<(ConditionId, Severity)> {
        let metrics = Metrics::new().expect("families");
        let report = self.machine.standing.report(self.now().wall, &metrics).report;
        report.conditions.first().map(|condition| (condition.id, condition.severity))
    }
}

const FIRST: Role = Role::Active(Generation::FIRST);
const SECOND: Generation = Generation::FIRST.next();
const LOST: Option<(ConditionId, Severity)> = Some((ConditionId::LeaseLost, Severity::Critical));
const NOBODY: Option<(ConditionId, Severity)> = Some((ConditionId::NotActive, Severity::Critical));

#[test]
fn a_host_becomes_active_by_its_lease_and_ends_when_the_other_takes_over() {
    let mut site = Site::new();
    assert_eq!((site.step(0), site.condition(), site.may_publish()), (Role::Standby, NOBODY, false));
    site.take_over("a", Generation::FIRST);
    assert_eq!((site.step(1), site.condition()), (FIRST, None));
    // Renewed each 15 seconds; the lease never ends.
    for _ in 0..20 {
        assert_eq!((site.step(10), site.may_publish()), (FIRST, true));
    }
    assert!(super::super::state_lock(&site.state()).is_err(), "no copy is put under parts that run");
    site.take_over("b", SECOND);
    assert_eq!((site.step(1), site.may_publish()), (Role::Standby, false));
    assert_eq!(site.condition(), Some((ConditionId::NotActive, Severity::Attention)));
    assert!(super::super::state_lock(&site.state()).is_err(), "its parts have not ended");
    // Not before they have does it become active again, nor before the end of the other lease.
    site.take_over("a", SECOND.next());
    assert_eq!((site.step(1), site.machine.standing.values().trouble.clone()), (Role::Standby, None));
    site.machine.standing.set_idle();
    assert_eq!((site.step(60), site.condition()), (Role::Standby, NOBODY));
    assert_eq!((site.step(5), site.may_publish()), (Role::Active(SECOND.next()), true));
    // Nobody renews for the other host.
    site.take_over("b", SECOND.next().next());
    site.step(1);
    site.step(70);
    assert_eq!(site.condition(), NOBODY);
}

#[test]
fn a_lease_that_cannot_be_renewed_ends_by_each_clock_and_the_host_goes_on_when_it_can() {
    type Harm = fn(&Site);
    let harms: [(&str, Harm); 4] = [
        ("the folder is gone", |site| {
            std::fs::rename(site.dir.path().join("leases"), site.dir.path().join("away")).expect("moved");
        }),
        ("it is empty", |site| {
            std::fs::rename(site.dir.path().join("leases"), site.dir.path().join("away")).expect("moved");
            std::fs::create_dir(site.dir.path().join("leases")).expect("made");
        }),
        ("it is no lease", |site| {
            std::fs::write(site.dir.path().join("leases/lease-1"), "x").expect("written")
        }),
        ("a folder in its place", |site| {
            std::fs::remove_file(site.dir.path().join("leases/lease-1")).expect("removed");
            std::fs::create_dir(site.dir.path().join("leases/lease-1")).expect("made");
        }),
    ];
    for (what, harm) in harms {
        let mut site = Site::active();
        let lease = site.dir.path().join("leases/lease-1");
        let octets = std::fs::read(&lease).expect("it is there");
        harm(&site);
        assert_eq!((site.step(59), site.may_publish(), site.condition()), (FIRST, true, None), "{what}");
        assert_eq!((site.step(1), site.may_publish(), site.condition()), (FIRST, false, LOST), "{what}");
        let _ = std::fs::remove_dir_all(site.dir.path().join("leases"));
        std::fs::create_dir(site.dir.path().join("leases")).expect("made");
        std::fs::write(&lease, octets).expect("written");
        assert_eq!((site.step(1), site.may_publish(), site.condition()), (FIRST, true, None), "{what}");
    }
    // The wall clock was set back while the storage was away.
    let mut site = Site::active();
    std::fs::remove_file(site.dir.path().join("leases/lease-1")).expect("removed");
    site.step(55);
    site.now.lock().expect("held by nobody").wall = Timestamp::from_secs(START + 5);
    assert_eq!((site.step(5), site.may_publish(), site.condition()), (FIRST, false, LOST));
}

#[test]
fn what_can_be_no_lease_is_told_once_and_hinders_no_host() {
    let mut site = Site::active();
    let leases = site.dir.path().join("leases");
    std::fs::create_dir(leases.join("lease-7")).expect("made");
    drop(std::os::unix::net::UnixListener::bind(leases.join("lease-8")).expect("made"));
    std::fs::write(leases.join("notes"), "of a person").expect("made");
    let told: Vec<String> = site.machine.newly_skipped().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("lease-7: it is a folder") && told[1].contains("lease-8: it is a socket"));
    for _ in 0..10 {
        assert_eq!((site.step(30), site.may_publish(), site.condition()), (FIRST, true, None));
        assert_eq!(site.machine.newly_skipped(), [], "each is told once");
    }
    // A takeover beyond them counts, by the other host and by this one, which waits for the lease before its own.
    let beyond = Generation::parse("9").expect("a number");
    site.take_over("b", beyond);
    assert_eq!((site.step(1), site.may_publish()), (Role::Standby, false));
    site.machine.standing.set_idle();
    std::fs::create_dir(leases.join("lease-10")).expect("made");
    let next = beyond.next().next();
    site.take_over("a", next);
    assert_eq!(site.step(1), Role::Standby, "the lease of the other host has not ended");
    assert_eq!((site.step(65), site.may_publish()), (Role::Active(next), true));
}

#[test]
fn a_file_that_may_be_a_later_lease_ends_what_a_host_publishes_with_its_lease_until_it_is_gone() {
    let mut site = Site::active();
    let file = site.dir.path().join("leases/lease-2");
    for content in ["", "x", "offline-ksk lease 2\n", "a link to a lease"] {
        if content.contains("link") {
            std::os::unix::fs::symlink("lease-1", &file).expect("made");
        } else {
            std::fs::write(&file, content).expect("made");
        }
        assert_eq!((site.step(1), site.may_publish()), (FIRST, true));
        assert_eq!((site.step(59), site.may_publish(), site.condition()), (FIRST, false, LOST));
        let trouble = site.machine.standing.values().trouble.clone().expect("the cause");
        assert!(trouble.contains("lease-2") && trouble.contains("remove it"), "{trouble}");
        std::fs::remove_file(&file).expect("removed");
        assert_eq!((site.step(1), site.may_publish(), site.condition()), (FIRST, true, None));
    }
}

#[test]
fn an_older_lease_that_was_put_in_place_makes_no_host_active() {
    let mut site = Site::new();
    origin::write_own(&site.state(), SECOND, "a").expect("written");
    site.machine.folder.claim(&site.lease("a", Generation::FIRST)).expect("written");
    assert_eq!((site.step(1), site.condition(), site.may_publish()), (Role::Standby, NOBODY, false));
    // Nor does one whose later one was moved away, with a link in its place.
    let mut site = Site::new();
    site.take_over("a", Generation::FIRST);
    std::os::unix::fs::symlink("../moved", site.dir.path().join("leases/lease-2")).expect("made");
    assert_eq!((site.step(1), site.condition(), site.may_publish()), (Role::Standby, NOBODY, false));
    // Nor does it keep one active.
    let mut site = Site::new();
    site.take_over("a", SECOND);
    assert_eq!(site.step(0), Role::Active(SECOND));
    std::fs::remove_file(site.dir.path().join("leases/lease-2")).expect("removed");
    site.machine.folder.claim(&site.lease("b", Generation::FIRST)).expect("written");
    assert_eq!((site.step(60), site.may_publish(), site.condition()), (Role::Active(SECOND), false, LOST));
}

#[test]
fn a_state_that_is_not_of_the_takeover_makes_no_host_active() {
    for (what, mark) in [
        ("the takeover was cut off", Some("1 b\n")),
        ("the state of before", Some("1 a\n")),
        ("a state without a mark", None),
        ("a mark that does not read", Some("x")),
    ] {
        let mut site = Site::new();
        site.take_over("a", SECOND);
        let path = origin::made_path(&site.state());
        match mark {
            Some(text) => std::fs::write(path, text).expect("written"),
            None => std::fs::remove_file(path).expect("removed"),
        }
        assert_eq!(
            (site.step(1), site.condition(), site.may_publish()),
            (Role::Standby, NOBODY, false),
            "{what}"
        );
    }
}

#[test]
fn two_machines_with_one_host_name_are_never_both_active() {
    for (what, node) in [("another machine", "m/2"), ("a clone with the same boot", "m/1")] {
        let mut site = Site::active();
        let twin = |site: &Site, seconds: u64| {
            let now = site.now().wall.plus(seconds);
            let lease = site.lease("a", Generation::FIRST);
            Lease { node: node.to_owned(), renewed: now, expires: now.plus(60), stage: Stage::Begun, ..lease }
        };
        let found = |site: &Site| site.machine.folder.read().expect("it reads").expect("a lease");
        let renew = |site: &Site, seconds| {
            site.machine.folder.renew(&found(site), &twin(site, seconds)).expect("renewed");
        };
        renew(&site, 1);
        assert_eq!((site.step(2), site.may_publish()), (Role::Standby, false), "{what}");
        site.machine.standing.set_idle();
        for _ in 0..10 {
            assert_eq!((site.step(15), site.condition()), (Role::Standby, NOBODY), "{what}");
            renew(&site, 0);
        }
        // The other one is gone: at the end of its lease this one goes on, also after it was booted anew under another name.
        site.machine.node = "new/3".to_owned();
        assert_eq!(site.step(64), Role::Standby, "{what}");
        assert_eq!((site.step(1), site.may_publish()), (FIRST, true), "{what}");
        assert_eq!((site.step(15), site.may_publish(), found(&site).node.as_str()), (FIRST, true, "new/3"));
    }
}

#[test]
fn a_host_that_was_killed_goes_on_at_once_and_one_that_was_booted_anew_after_its_lease() {
    for (node, wait) in [("other-name/1", 0), ("m/2", 64)] {
        let mut site = Site::active();
        site.machine.standing.set_role(Role::Standby);
        site.machine.standing.set_idle();
        (site.machine.node, site.machine.written) = (node.to_owned(), Vec::new());
        if wait > 0 {
            assert_eq!(site.step(wait), Role::Standby, "{node}");
        }
        assert_eq!((site.step(1), site.may_publish()), (FIRST, true), "{node}");
    }
}

#[test]
fn a_serial_that_it_never_published_holds_its_zone_and_not_the_host_until_that_secondary_says_another() {
    let mut site = Site::new();
    signer_plugin::runtime::raise_serial(&site.state().join("zones/a.test."), 1007).expect("written");
    site.secondary_says(Ok(Some(2008)));
    site.take_over("a", Generation::FIRST);
    let conflict = Some((ConditionId::PairConflict, Severity::Critical));
    assert_eq!((site.step(0), site.may_publish(), site.condition()), (FIRST, false, conflict));
    assert!(site.machine.standing.0.fence.permits(), "of other zones");
    // That it is silent, or has no version for a moment, ends nothing.
    for said in [Ok(Some(2008)), Err("no answer"), Ok(None), Err("no answer")] {
        site.secondary_says(said);
        assert_eq!(
            (site.step(20), site.may_publish(), site.condition()),
            (FIRST, false, conflict),
            "{said:?}"
        );
    }
    site.secondary_says(Ok(Some(1007)));
    assert_eq!((site.step(20), site.may_publish(), site.condition()), (FIRST, true, None));
    // One that is configured no more.
    site.secondary_says(Ok(Some(2008)));
    site.machine.standing.values().unheard.insert(Name::parse("a.test").expect("a name"));
    assert_eq!((site.step(20), site.may_publish()), (FIRST, false));
    let mut config = (*site.machine.standing.values().config).clone();
    config.zones.clear();
    site.machine.standing.set_config(&config);
    site.machine.standing.note_sightings(&[]);
    assert_eq!((site.may_publish(), site.condition()), (true, None));
}

#[test]
fn a_zone_of_which_the_takeover_found_no_serial_is_held_whatever_secondaries_say() {
    let mut site = Site::new();
    let zone = Name::parse("a.test").expect("a name");
    origin::write_held(&site.state(), &[zone].into()).expect("written");
    site.take_over("a", Generation::FIRST);
    let conflict = Some((ConditionId::PairConflict, Severity::Critical));
    for seconds in [0, 20, 20] {
        assert_eq!((site.step(seconds), site.may_publish(), site.condition()), (FIRST, false, conflict));
    }
    site.take_over("b", SECOND);
    site.step(1);
    site.machine.standing.set_idle();
    origin::write_held(&site.state(), &BTreeSet::new()).expect("written");
    site.take_over("a", SECOND.next());
    assert_eq!((site.step(70), site.may_publish()), (Role::Active(SECOND.next()), true));
}

#[test]
fn a_secondary_that_was_silent_at_the_start_is_asked_until_it_answers() {
    for silent in [Err("no answer"), Ok(None)] {
        let mut site = Site::new();
        signer_plugin::runtime::raise_serial(&site.state().join("zones/a.test."), 1007).expect("written");
        site.secondary_says(silent);
        site.take_over("a", Generation::FIRST);
        assert_eq!((site.step(0), site.may_publish()), (FIRST, true), "it holds up nothing");
        assert_eq!((site.step(20), site.may_publish()), (FIRST, true));
        site.secondary_says(Ok(Some(2008)));
        assert_eq!((site.step(20), site.may_publish()), (FIRST, false), "{silent:?}");
    }
    // A zone of which no serial is known here says nothing.
    assert!(Site::active().may_publish());
}

#[test]
fn a_host_that_ends_in_order_publishes_nothing_more_and_gives_back_its_lease() {
    let site = Site::new();
    *site.now.lock().expect("held by nobody") = moment();
    origin::write_own(&site.state(), Generation::FIRST, "a").expect("written");
    let lease = Lease { node: node(), ..site.lease("a", Generation::FIRST) };
    site.machine.folder.claim(&lease).expect("claimed");
    // Nobody is asked for serials.
    let mut config = (*site.machine.standing.values().config).clone();
    config.zones.clear();
    let keeper = Keeper::start(Path::new("c.toml"), &site.machine.pair, &config).expect("a thread");
    let standing = keeper.standing();
    assert_eq!((standing.role(), standing.fence().permits()), (FIRST, true));
    keeper.stop();
    assert!(!standing.fence().permits());
    let found = site.machine.folder.read().expect("it reads").expect("a lease");
    assert!(found.is_released() && !lease.is_released(), "{found:?}");
}
