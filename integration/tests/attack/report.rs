//! One attack: how long it takes, who asks meanwhile, and what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::clients::Updater;
use crate::server::{NAMES, RECOVERY, Server, wait_for};

/// How long one attack takes at least, unless `OFFLINE_KSK_ATTACK_SECONDS` says otherwise.
const SECONDS: u64 = 1;
/// The message about a new version of a zone.
const VERSION_LINE: &str = "the zone was signed";
/// Pause between two updates: each is signed, and synced to the disk.
const UPDATE_PAUSE: Duration = Duration::from_millis(100);
/// Memory that the server may have more after an attack than before it: what the allocator keeps of its peak.
const MOST_MEMORY_KEPT: usize = 64 << 20;
/// Log lines of one kind about what happens on this host.
const MOST_LINES: usize = 20;
/// Descriptors that it may have more: of what it does besides, as its own connections and files.
const MOST_DESCRIPTORS_KEPT: usize = 8;

/// The time of a longer run of `scripts/attack`; `None` in the run of all tests.
pub fn long_seconds() -> Option<u64> {
    std::env::var("OFFLINE_KSK_ATTACK_SECONDS").ok().and_then(|seconds| seconds.parse().ok())
}

/// What an attack is told, and tells.
#[derive(Default)]
pub struct Attack {
    stop: AtomicBool,
    /// It has more to do, whatever the time is.
    is_busy: AtomicBool,
}

impl Attack {
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }
}

/// Who attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Strangers: they cannot keep anybody from the health check, nor fill the log.
    Outside,
    /// This host: its files and limits are not as they should be, which may be told, and there may be no descriptor for a health check.
    ThisHost,
}

/// What one attack led to.
#[derive(Debug, Default)]
pub struct Report {
    /// Queries of a resolver that asks three times, and those that got no answer.
    asked: usize,
    lost: usize,
    /// Those that had to be sent again.
    repeated: usize,
    /// Updates of a client with the key, and those that were not accepted.
    updates: usize,
    updates_lost: usize,
    health_asked: usize,
    health_lost: usize,
    pub most_descriptors: usize,
    pub most_memory: usize,
    log_lines: usize,
}

/// Runs an attack for its time, and prints and returns what came of it. Meanwhile names of both zones are asked for over UDP; where strangers
/// attack, the health is asked for over HTTP, the first zone is changed by updates, and the second one gets a new version from its primary.
pub fn under(
    server: &mut Server,
    name: &str,
    origin: Origin,
    run: impl Fn(&Server, &Attack) + Sync,
) -> Report {
    let begun = Instant::now();
    let end = begun + Duration::from_secs(long_seconds().unwrap_or(SECONDS));
    let (log_before, memory_before, descriptors_before) =
        (server.log().len(), server.memory(), server.descriptors());
    let attack = Attack::default();
    let mut report = Report::default();
    let mut taken = None;
    let asked: &Server = server;
    let (updates, updates_lost, repeated) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    if origin == Origin::Outside {
        asked.primary.publish();
    }
    std::thread::scope(|scope| {
        let attacking = scope.spawn(|| run(asked, &attack));
        if origin == Origin::Outside {
            scope.spawn(|| {
                let mut client = Updater::new(asked, "attacked");
                // Each is signed and synced, on a machine that other tests may have busy.
                let tries = if long_seconds().is_some() { 3 } else { 10 };
                while attack.goes_on() {
                    updates.fetch_add(1, Ordering::Relaxed);
                    match client.changes_udp(asked.dns, tries) {
                        Some(times) => repeated.fetch_add(usize::from(times > 1), Ordering::Relaxed),
                        None => updates_lost.fetch_add(1, Ordering::Relaxed),
                    };
                    std::thread::sleep(UPDATE_PAUSE);
                }
            });
        }
        let waits = |taken: &Option<Duration>| {
            origin == Origin::Outside && taken.is_none() && begun.elapsed() < RECOVERY
        };
        let is_busy = || attack.is_busy.load(Ordering::Relaxed) && !attacking.is_finished();
        while Instant::now() < end || is_busy() || waits(&taken) {
            for name in NAMES {
                report.asked += 1;
                match asked.asks_udp(name) {
                    Some(times) => report.repeated += usize::from(times > 1),
                    None => report.lost += 1,
                }
            }
            if origin == Origin::Outside {
                if taken.is_none() {
                    asked.primary.notify(asked.dns);
                    taken = asked.has_latest_transfer().then(|| begun.elapsed());
                }
                report.health_asked += 1;
                report.health_lost += usize::from(!asked.is_healthy());
            }
            report.most_descriptors = report.most_descriptors.max(asked.descriptors());
            report.most_memory = report.most_memory.max(asked.memory());
            std::thread::sleep(Duration::from_millis(10));
        }
        attack.stop.store(true, Ordering::Relaxed);
    });
    (report.updates, report.updates_lost) = (updates.into_inner(), updates_lost.into_inner());
    report.repeated += repeated.into_inner();
    let recovery = wait_for("the server as before", || {
        server.primary.notify(server.dns);
        server.answers_udp()
            && server.answers_tcp()
            && server.answers_tls()
            && server.is_healthy()
            && server.has_latest_transfer()
            && server.descriptors() <= descriptors_before + MOST_DESCRIPTORS_KEPT
    });
    assert!(server.is_running(), "{name}: the server has ended\n{}", server.log());
    let log = server.log()[log_before..].to_owned();
    report.log_lines = log.lines().count();
    let memory_after = server.memory();
    let mib = |octets: usize| octets as f64 / f64::from(1 << 20);
    println!(
        "ATTACK {name}: {} of {} answers lost, {} asked for again, {} of {} updates lost, transfer after {} ms, {} of {} health checks lost; descriptors {descriptors_before}, at most {}, \
         then {}; memory {:.1} MiB, at most {:.1}, then {:.1}; {} log lines ({} octets); recovered in {} ms",
        report.lost,
        report.asked,
        report.repeated,
        report.updates_lost,
        report.updates,
        taken.map_or_else(|| "-".to_owned(), |after| after.as_millis().to_string()),
        report.health_lost,
        report.health_asked,
        report.most_descriptors,
        server.descriptors(),
        mib(memory_before),
        mib(report.most_memory),
        mib(memory_after),
        report.log_lines,
        log.len(),
        recovery.as_millis()
    );
    // A kind may have come up at the end of the minute before, and does so at the begin and at the end of each whole one.
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
    let (accepted, mut versions) = (report.updates - report.updates_lost, 0);
    for (kind, count) in kinds(&log) {
        let most = if origin == Origin::Outside { minutes + 1 } else { MOST_LINES };
        // Each version is told of, also those that updates make which were accepted.
        let is_of_version = kind.contains(VERSION_LINE);
        versions += if is_of_version { count } else { 0 };
        let most = if is_of_version { most + accepted } else { most };
        assert!(count <= most, "{name}: {count} lines in {minutes} minutes: {kind}\n{log}");
    }
    assert!(accepted == 0 || versions > 0, "{name}: no line tells of the versions of {accepted} updates");
    assert!(memory_after <= memory_before + MOST_MEMORY_KEPT, "{name}: {report:?}");
    assert_eq!((report.lost, report.updates_lost, report.health_lost), (0, 0, 0), "{name}: {report:?}");
    // On a machine that other tests have busy a datagram may be late.
    let all = report.asked + report.updates;
    assert!(long_seconds().is_none() || report.repeated * 100 <= all, "{name}: {report:?}");
    assert!(origin == Origin::ThisHost || taken.is_some(), "{name}: no transfer came during the attack");
    report
}

/// How often each kind of message stands in a log: its words without time, numbers and values.
fn kinds(log: &str) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for line in log.lines() {
        let words = line.split_whitespace().skip(1);
        let words = words.filter(|word| !word.contains('=') && !word.contains(|c: char| c.is_ascii_digit()));
        *kinds.entry(words.collect::<Vec<_>>().join(" ")).or_default() += 1;
    }
    kinds
}
