//! One attack: how long it takes, who asks meanwhile, and what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::server::{Server, wait_for};

/// How long one attack takes at least, unless `OFFLINE_KSK_ATTACK_SECONDS` says otherwise.
const SECONDS: u64 = 1;
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
    health_asked: usize,
    health_lost: usize,
    pub most_descriptors: usize,
    pub most_memory: usize,
    log_lines: usize,
}

/// Runs an attack for its time, asks meanwhile over UDP, and over HTTP where strangers attack, and prints and returns what came of it.
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
    let asked: &Server = server;
    std::thread::scope(|scope| {
        let attacking = scope.spawn(|| run(asked, &attack));
        while Instant::now() < end || attack.is_busy.load(Ordering::Relaxed) && !attacking.is_finished() {
            report.asked += 1;
            match asked.asks_udp() {
                Some(times) => report.repeated += usize::from(times > 1),
                None => report.lost += 1,
            }
            if origin == Origin::Outside {
                report.health_asked += 1;
                report.health_lost += usize::from(!asked.is_healthy());
            }
            report.most_descriptors = report.most_descriptors.max(asked.descriptors());
            report.most_memory = report.most_memory.max(asked.memory());
            std::thread::sleep(Duration::from_millis(10));
        }
        attack.stop.store(true, Ordering::Relaxed);
    });
    let recovery = wait_for("the server as before", || {
        server.answers_udp()
            && server.answers_tcp()
            && server.answers_tls()
            && server.is_healthy()
            && server.descriptors() <= descriptors_before + MOST_DESCRIPTORS_KEPT
    });
    assert!(server.is_running(), "{name}: the server has ended\n{}", server.log());
    let log = server.log()[log_before..].to_owned();
    report.log_lines = log.lines().count();
    let memory_after = server.memory();
    let mib = |octets: usize| octets as f64 / f64::from(1 << 20);
    println!(
        "ATTACK {name}: {} of {} answers lost, {} asked for again, {} of {} health checks lost; descriptors {descriptors_before}, at most {}, \
         then {}; memory {:.1} MiB, at most {:.1}, then {:.1}; {} log lines ({} octets); recovered in {} ms",
        report.lost,
        report.asked,
        report.repeated,
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
    for (kind, count) in kinds(&log) {
        let most = if origin == Origin::Outside { minutes + 1 } else { MOST_LINES };
        assert!(count <= most, "{name}: {count} lines in {minutes} minutes: {kind}\n{log}");
    }
    assert!(memory_after <= memory_before + MOST_MEMORY_KEPT, "{name}: {report:?}");
    assert_eq!((report.lost, report.health_lost), (0, 0), "{name}: {report:?}");
    // On a machine that other tests have busy a datagram may be late.
    assert!(long_seconds().is_none() || report.repeated * 100 <= report.asked, "{name}: {report:?}");
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
