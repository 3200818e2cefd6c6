//! A resolver, a server of the zone and a receiver of NOTIFY on the loopback, which say what they are told to.

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
    let mut watch = ParentWatch::new(metrics.clone(), Standing::default());
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
    // The DS record of the parent is that of before still, and the note is what keeps this one silent.
    let again = watch(&config, &in_force);
    again.wait(&pending(0));
    again.watch.take(&zone(), &in_force);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.receipts().len(), 1);
    assert!(again.has(&notifies("taken", 0)));
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
        let again = watch(&config, &in_force);
        again.wait(&pending(0));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(world.receipts().len(), 1, "RCODE {rcode}");
        assert!(again.has(&notifies("refused", 0)));
    }
}

#[test]
fn records_that_are_not_validated_are_not_used() {
    let (state, world) = (StateDir::new(), World::start(Some(0), false));
    let now = clock::now();
    let in_force = in_force(now.minus(100), now.minus(10));
    world.serve(&in_force.bundles[1]);
    let watched = watch(&config(&state, &world), &in_force);
    let until = Instant::now() + Duration::from_secs(60);
    while note::read(&state.path(""), &zone()).told.is_none() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    watched.wait(&pending(0));
    assert_eq!(world.receipts(), []);
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

#[test]
fn what_keeps_the_parent_untold_is_a_condition_after_a_while_and_goes_with_the_zone() {
    let (state, world) = (StateDir::new(), World::start(Some(0), true));
    let now = clock::now();
    let in_force = in_force(now.minus(100_000), now);
    // The server has the records of the bundle before.
    world.serve(&in_force.bundles[0]);
    let (metrics, standing) = (Metrics::new().unwrap(), Standing::default());
    let place = zone::Place { state_dir: &state.path(""), metrics: &metrics, standing: &standing };
    let network = ResolverNetwork::new(world.resolver, vec![world.server]);
    let mut watched = WatchedZone::new(zone());
    watched.take(Arc::new(in_force.clone()));
    let severity = || {
        let found = standing.report(now).report.conditions;
        found.into_iter().find(|c| c.id == ConditionId::ParentNotTold).map(|c| c.severity.as_str())
    };
    let begun = Instant::now();
    for (later, wanted) in [
        (0, None),
        (599, None),
        (600, Some("attention")),
        (86_399, Some("attention")),
        (86_400, Some("warning")),
    ] {
        let due = watched.step(&network, &place, now.plus(later), begun + Duration::from_secs(later));
        assert!(matches!(due, Due::After(_)), "{due:?}");
        assert_eq!(severity(), wanted, "{later} seconds later");
    }
    // Another process has no time behind it yet, and no condition before it has tried.
    let mut again = WatchedZone::new(zone());
    again.take(Arc::new(in_force.clone()));
    standing.clear_conditions(ZONE);
    for (second, wanted) in [(0, None), (4, None), (5, Some("warning"))] {
        again.step(&network, &place, now.plus(90_000), begun + Duration::from_secs(second));
        assert_eq!(severity(), wanted, "{second}");
    }
    world.serve(&in_force.bundles[1]);
    let later = begun + Duration::from_secs(86_500);
    assert_eq!(watched.step(&network, &place, now.plus(86_500), later), Due::Now);
    assert_eq!(severity(), None);
    assert_eq!(watched.step(&network, &place, now.plus(86_500), later), Due::Never);
    assert_eq!(world.receipts().len(), 1);
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
