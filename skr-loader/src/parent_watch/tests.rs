//! A resolver, a server of the zone and a receiver of NOTIFY on the loopback, which say what they are told to.

mod hooks;
mod telling;
mod world;

use std::time::{Duration, Instant};

use keystore::clock;
use keystore::dns::Rtype;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::condition::ConditionId;

use super::*;
use crate::testing::{StateDir, ZONE, zone};
use world::{Receipt, World};

/// Bundles an hour apart from `start` on; from `roll` on another KSK is named by CDS and CDNSKEY.
fn in_force(start: Timestamp, roll: Timestamp) -> InForce {
    const ALL: (Timestamp, Timestamp) = (Timestamp::EPOCH, Timestamp::MAX);
    let builder = SkrBuilder::new(ZONE, start)
        .step(roll.since(start))
        .ksk_during(TestKey::ksk(1), ALL, (Timestamp::EPOCH, roll))
        .ksk_during(TestKey::ksk(5), ALL, (roll, Timestamp::MAX));
    let bundles = builder.bundles(2).build().bundles;
    InForce { generation: 1, digest: [1; 32], bundles: bundles.into() }
}

fn config(state: &StateDir, world: &World) -> Config {
    let mut config = state.config();
    config.loader.parent_resolver = Some(world.resolver);
    config.parent.servers = vec![world.server];
    config
}

struct Watched {
    watch: ParentWatch,
    metrics: Metrics,
}

fn watch(config: &Config, in_force: &InForce) -> Watched {
    let metrics = Metrics::new().unwrap();
    let mut watch = ParentWatch::new(metrics.clone(), LoaderStatus::default());
    watch.configure(config, vec![(zone(), Arc::new(in_force.clone()))]);
    Watched { watch, metrics }
}

impl Watched {
    fn has(&self, series: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|line| line == series)
    }

    #[track_caller]
    fn wait(&self, series: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.has(series) {
            assert!(Instant::now() < until, "{series} in\n{}", self.metrics.encode().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn notifies(result: &str, count: usize) -> String {
    format!("offlineksk_parent_notifies_total{{result=\"{result}\",zone=\"{ZONE}\"}} {count}")
}

fn pending(number: usize) -> String {
    format!("offlineksk_parent_notify_pending{{zone=\"{ZONE}\"}} {number}")
}

#[test]
fn parent_is_told_once_when_a_bundle_with_other_cds_records_is_served_and_not_again_after_a_restart() {
    let state = StateDir::new();
    let world = World::start(Some(0), true);
    // Long enough for the start on a busy machine.
    let roll = clock::now().plus(3);
    let in_force = in_force(roll.minus(100), roll);
    let [before, after] = &in_force.bundles[..] else { panic!("two bundles") };
    world.serve(before);
    // The records of the first bundle are at the parent already, so that nothing is told of them.
    world.set_ds(before.cds.as_deref());
    let config = config(&state, &world);
    let watched = watch(&config, &in_force);
    std::thread::sleep(clock::until(roll));
    assert_eq!(world.receipts(), [], "nobody is told before the bundle begins");
    watched.wait(&pending(1));
    assert_eq!(world.receipts(), [], "nobody is told before the server has the records");
    world.serve(after);
    watched.wait(&notifies("taken", 1));
    watched.wait(&pending(0));
    assert_eq!(world.receipts(), [Receipt::Udp(zone(), Rtype::CDS)]);
    drop(watched);
    // The DS record of the parent is that of before still, and the note is what keeps another process silent.
    let again = Stepped::new(&state, &world, &in_force);
    assert_eq!(again.step(clock::now(), Instant::now()), DueTime::Never);
    assert_eq!(world.receipts().len(), 1);
}

#[test]
fn receivers_that_do_not_want_it_are_told_once() {
    // FORMERR, NXDOMAIN, NOTIMP, REFUSED, NOTAUTH.
    for rcode in [1, 3, 4, 5, 9] {
        let (state, world) = (StateDir::new(), World::start(Some(rcode), true));
        let now = clock::now();
        let in_force = in_force(now.minus(100), now.minus(10));
        world.serve(&in_force.bundles[1]);
        let config = config(&state, &world);
        let watched = watch(&config, &in_force);
        watched.wait(&notifies("refused", 1));
        watched.wait(&pending(0));
        drop(watched);
        let again = Stepped::new(&state, &world, &in_force);
        assert_eq!(again.step(clock::now(), Instant::now()), DueTime::Never);
        assert_eq!(world.receipts().len(), 1, "RCODE {rcode}");
    }
}

#[test]
fn records_that_are_not_validated_are_not_used_and_asked_for_again() {
    let (state, world) = (StateDir::new(), World::start(Some(0), false));
    let now = clock::now();
    let in_force = in_force(now.minus(100), now.minus(10));
    world.serve(&in_force.bundles[1]);
    let stepped = Stepped::new(&state, &world, &in_force);
    let begun = Instant::now();
    for second in [0, 1, 6] {
        let due = stepped.step(now, begun + Duration::from_secs(second));
        assert!(matches!(due, DueTime::After(_)), "{due:?}");
    }
    assert_eq!(world.receipts(), []);
    assert_eq!(note::read(&state.path(""), &zone()).told, None);
}

#[test]
fn a_receiver_without_udp_is_told_over_tcp() {
    let (state, world) = (StateDir::new(), World::start(None, true));
    let now = clock::now();
    let in_force = in_force(now.minus(100), now.minus(10));
    world.serve(&in_force.bundles[1]);
    let watched = watch(&config(&state, &world), &in_force);
    watched.wait(&notifies("taken", 1));
    assert_eq!(world.receipts().last(), Some(&Receipt::Tcp(zone(), Rtype::CDS)));
}

/// A zone that is stepped by hand.
struct Stepped {
    zone: std::cell::RefCell<WatchedZone>,
    network: ResolverNetwork,
    state_dir: PathBuf,
    config: ParentConfig,
    stop: AtomicBool,
    is_closed: Mutex<bool>,
    metrics: Metrics,
    standing: LoaderStatus,
}

impl Stepped {
    fn new(state: &StateDir, world: &World, in_force: &InForce) -> Self {
        let config = config(state, world).parent;
        let mut watched = WatchedZone::new(zone());
        assert!(watched.take(Arc::new(in_force.clone())));
        Self {
            zone: watched.into(),
            network: ResolverNetwork::new(world.resolver, &config),
            state_dir: state.path(""),
            config,
            stop: AtomicBool::new(false),
            is_closed: Mutex::new(false),
            metrics: Metrics::new().unwrap(),
            standing: LoaderStatus::default(),
        }
    }

    fn step(&self, now: Timestamp, instant: Instant) -> DueTime {
        let place = zone::Place {
            state_dir: &self.state_dir,
            config: &self.config,
            stop: &self.stop,
            is_closed: &self.is_closed,
            metrics: &self.metrics,
            standing: &self.standing,
        };
        self.zone.borrow_mut().step(&self.network, &place, now, instant)
    }

    /// The severity of the condition.
    fn severity(&self, now: Timestamp) -> Option<&'static str> {
        let found = self.standing.report(now).report.conditions;
        found.into_iter().find(|c| c.id == ConditionId::ParentNotTold).map(|c| c.severity.as_str())
    }
}

#[test]
fn what_keeps_the_parent_untold_is_a_condition_at_its_time_and_goes_when_it_is_mended() {
    let (state, world) = (StateDir::new(), World::start(Some(2), true));
    let now = clock::now();
    let in_force = in_force(now.minus(100_000), now);
    world.serve(&in_force.bundles[1]);
    let stepped = Stepped::new(&state, &world, &in_force);
    let begun = Instant::now();
    // The receiver answers SERVFAIL: the second message comes after a minute, the third after six, the fourth after 36.
    let mut second = 0;
    let mut seen = Vec::new();
    while second < 90_000 {
        let DueTime::After(pause) = (match stepped.step(now.plus(second), begun + Duration::from_secs(second))
        {
            DueTime::At(time) => DueTime::After(Duration::from_secs(time.since(now.plus(second)))),
            due => due,
        }) else {
            panic!("it is not done");
        };
        let severity = stepped.severity(now.plus(second));
        if seen.last().is_none_or(|(_, last)| *last != severity) {
            seen.push((second, severity));
        }
        second += pause.as_secs().max(1);
    }
    assert_eq!(seen, [(0, None), (600, Some("attention")), (86_400, Some("warning"))]);
    assert_eq!(world.receipts().len(), 5, "none for the sake of the condition");
    // Another process has no time behind it yet, and no condition before it has tried.
    let again = Stepped::new(&state, &world, &in_force);
    for (second, wanted) in [(0, None), (4, None), (5, Some("warning"))] {
        again.step(now.plus(90_000), begun + Duration::from_secs(second));
        assert_eq!(again.severity(now), wanted, "{second}");
    }
    // The parent has found the records by itself.
    world.set_ds(in_force.bundles[1].cds.as_deref());
    let later = begun + Duration::from_secs(100);
    assert_eq!(again.step(now.plus(90_100), later), DueTime::Now);
    assert_eq!((again.severity(now), world.receipts().len()), (None, 6));
    assert_eq!(again.step(now.plus(90_100), later), DueTime::Never);
}

#[test]
fn a_reload_sends_nothing_sooner_and_what_comes_after_the_end_does_not_count() {
    let (state, world) = (StateDir::new(), World::start(Some(2), true));
    let now = clock::now();
    let in_force = in_force(now.minus(100), now.minus(10));
    world.serve(&in_force.bundles[1]);
    let stepped = Stepped::new(&state, &world, &in_force);
    let begun = Instant::now();
    assert!(matches!(stepped.step(now, begun), DueTime::After(_)));
    assert!(!stepped.zone.borrow_mut().take(Arc::new(in_force.clone())), "it is known");
    // Another generation asks for the same.
    let next = InForce { generation: 2, ..in_force.clone() };
    assert!(stepped.zone.borrow_mut().take(Arc::new(next)));
    stepped.step(now, begun + Duration::from_secs(1));
    assert_eq!(world.receipts().len(), 1);
    *stepped.is_closed.lock().unwrap() = true;
    world.set_ds(in_force.bundles[1].cds.as_deref());
    assert_eq!(stepped.step(now, begun + Duration::from_secs(60)), DueTime::Now);
    assert_eq!(note::read(&state.path(""), &zone()).told, None, "another process may have the folder by now");
}

#[test]
fn ds_records_are_what_is_asked_for_by_cds_cdnskey_or_a_removal() {
    let ds = |seed: u8, digest| TestKey::ksk(seed).dnskey.ds_rdata(&zone(), digest).unwrap();
    let cdnskey = |seed: u8| TestKey::ksk(seed).dnskey.to_rdata();
    for (cds, keys, records, wanted) in [
        (vec![ds(1, 2)], vec![cdnskey(1)], vec![ds(1, 2)], true),
        (vec![ds(1, 2)], vec![], vec![], false),
        (vec![ds(1, 2)], vec![], vec![ds(1, 4)], false),
        // Without CDS records any digest will do, and each key must have one.
        (vec![], vec![cdnskey(1)], vec![ds(1, 4)], true),
        (vec![], vec![cdnskey(1)], vec![], false),
        (vec![], vec![cdnskey(1)], vec![ds(1, 2), ds(5, 2)], false),
        (vec![], vec![cdnskey(1), cdnskey(5)], vec![ds(1, 2)], false),
        (vec![vec![0, 0, 0, 0, 0]], vec![vec![0, 0, 3, 0, 0]], vec![], true),
        (vec![vec![0, 0, 0, 0, 0]], vec![], vec![ds(1, 2)], false),
        (vec![], vec![vec![0, 0, 3, 0, 0]], vec![], true),
    ] {
        let shown = format!("{cds:?} {keys:?} {records:?}");
        let wish = wish::Wish { cds, cdnskey: keys };
        assert_eq!(wish.is_granted(&zone(), &records), wanted, "{shown}");
    }
}

#[test]
fn without_resolver_or_switch_nothing_is_watched_and_other_settings_begin_anew() {
    let (state, world) = (StateDir::new(), World::start(Some(0), true));
    let now = clock::now();
    let in_force = in_force(now.minus(100), now.minus(10));
    world.serve(&in_force.bundles[1]);
    let mut config = config(&state, &world);
    config.parent.notify_cds = false;
    let mut watched = watch(&config, &in_force);
    assert!(watched.watch.running.is_none() && !watched.has(&pending(0)));
    config.parent.notify_cds = true;
    let all = || vec![(zone(), Arc::new(in_force.clone()))];
    watched.watch.configure(&config, all());
    watched.wait(&notifies("taken", 1));
    // The zone leaves, and its series with it.
    config.zones.clear();
    watched.watch.configure(&config, Vec::new());
    assert!(!watched.has(&notifies("taken", 1)));
    config.loader.parent_resolver = None;
    watched.watch.configure(&config, Vec::new());
    assert!(watched.watch.running.is_none());
}

#[test]
fn bundle_that_comes_into_force_finds_a_thread_however_many_zones_wait_for_parents_that_do_not_answer() {
    let mut queue = Queue::default();
    let (now, instant) = (clock::now(), Instant::now());
    let name = |number: usize| Name::parse(&format!("zone{number}.example")).unwrap();
    for number in 0..THREADS + 2 {
        queue.put(WatchedZone::new(name(number)), DueTime::Now);
    }
    let later = instant + Duration::from_secs(1);
    let taken: Vec<WatchedZone> =
        std::iter::from_fn(|| queue.take_due(now, later)).take(THREADS + 2).collect();
    assert_eq!(taken.len(), THREADS_FOR_PAUSES);
    let switches = name(100);
    queue.put(WatchedZone::new(switches.clone()), DueTime::At(now));
    let switched = queue.take_due(now, later).map(|zone| zone.name().clone());
    assert_eq!(switched, Some(switches));
    assert!(queue.take_due(now, later).is_none());
    // One that comes back makes room for the next.
    for zone in taken {
        assert!(queue.take_back(zone, DueTime::Never));
        assert!(queue.take_due(now, later).is_some());
    }
}
