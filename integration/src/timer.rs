//! The request timer as a thread: it looks at every zone again and again, and tells log and metrics what it found.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::pair::Fence;
use ksr_gen::daemon::{self, NoticeOutcome, Rounds, TickError, TimerLock, TimerOutcome, TimerReport};
use metrics::Metrics;
use metrics::zones::ReportingPart;

use crate::reports::TimerStanding;

/// Time between two looks. Requests are due weeks ahead; keys that somebody changed are seen soon enough.
const PAUSE: Duration = Duration::from_secs(60);
/// Longest time between two looks of many zones, of which a round takes its time.
const LONGEST: Duration = Duration::from_secs(600);
/// Rounds for which the timer is woken take one part in this of the time: with many zones each of many SKRs would make a round of all.
const SHARE: u32 = 10;
/// The same for rounds that come by themselves.
const SHARE_AT_REST: u32 = 400;

/// What the thread is woken for.
pub enum TimerMessage {
    /// Look now.
    Look,
    /// Take this configuration, and look.
    Reload(Box<Config>),
    /// End.
    Stop,
}

/// The running timer.
pub struct RequestTimer {
    wake: Sender<TimerMessage>,
    standing: TimerStanding,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl RequestTimer {
    /// Starts it. With `[ksr] enabled = false` it only waits for another configuration.
    /// Of two hosts it makes requests and keys only while `fence` permits versions.
    pub fn start(config: Config, metrics: Metrics, fence: Fence) -> Result<Self> {
        let lock = if config.ksr.enabled { Some(TimerLock::take(&config.state_dir)?) } else { None };
        Self::start_with(config, metrics, lock, fence, || ())
    }

    /// Starts it with a lock that was taken; `alive` is called again and again.
    pub(crate) fn start_with(
        config: Config,
        metrics: Metrics,
        lock: Option<TimerLock>,
        fence: Fence,
        alive: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let (wake, wakes) = channel();
        add_series(&metrics, &config);
        let standing = TimerStanding::default();
        let shared = standing.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("requests".to_owned())
            .spawn(move || live(config, &metrics, &shared, (&wakes, &stopped), lock, &fence, alive))
            .context("cannot start the request timer")?;
        Ok(Self { wake, standing, stop, thread })
    }

    /// What it finds, for other threads.
    #[must_use]
    pub fn standing(&self) -> TimerStanding {
        self.standing.clone()
    }

    /// What wakes it from other threads.
    #[must_use]
    pub fn waker(&self) -> Sender<TimerMessage> {
        self.wake.clone()
    }

    /// Has it end after the look at the zone under way, and does not wait for that.
    pub fn begin_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.wake.send(TimerMessage::Stop);
    }

    /// Ends it after the look at the zone under way.
    pub fn stop(self) {
        self.begin_stop();
        if self.thread.join().is_err() {
            tracing::error!("the request timer ended in a way that it should not; please report this");
        }
    }
}

fn live(
    mut config: Config,
    metrics: &Metrics,
    standing: &TimerStanding,
    (wakes, stopped): (&Receiver<TimerMessage>, &AtomicBool),
    mut lock: Option<TimerLock>,
    fence: &Fence,
    alive: impl Fn(),
) {
    let mut rounds = Rounds::default();
    loop {
        alive();
        let began = Instant::now();
        if !config.ksr.enabled {
            lock = None;
        } else if lock.is_none() {
            // A reload has turned the timer on.
            lock = TimerLock::take(&config.state_dir)
                .inspect_err(|error| tracing::error!("no requests: {error}"))
                .ok();
        }
        if lock.is_none() {
            standing.stop();
        } else {
            standing.start(clock::now());
            let goes_on = || !stopped.load(Ordering::Relaxed) && fence.permits();
            let round = || {
                rounds.round_while(&config, clock::now, goes_on, |zone, result, told| {
                    alive();
                    standing.note(&zone.name.to_lowercase().to_string(), result, told);
                    tell(&config, zone, result, told, metrics);
                });
            };
            // The panic of the look at one zone is an error of that zone; any other is told of all zones, and the timer begins anew.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(round)) {
                begin_anew(&config, &daemon::panic_text(&*panic), standing, metrics);
                rounds = Rounds::default();
            }
        }
        match next_wake(wakes, began.elapsed()) {
            TimerMessage::Look => {}
            TimerMessage::Reload(new) => {
                remove_series(metrics, &config, &new);
                rounds.reconfigure(&config, &new);
                standing.keep(&new);
                config = *new;
                add_series(metrics, &config);
            }
            TimerMessage::Stop => return,
        }
    }
}

/// The pauses until the next look after a round that took so long: one that somebody wakes for, and one that comes by itself.
fn pauses(took: Duration) -> (Duration, Duration) {
    (took.saturating_mul(SHARE), took.saturating_mul(SHARE_AT_REST).clamp(PAUSE, LONGEST))
}

/// Waits for what is to be done next after a round that took so long. A look that somebody wakes for has its pause, too, and all that came
/// until then is one: to stop goes before a new configuration, of which the newest counts, and that before a look.
fn next_wake(wakes: &Receiver<TimerMessage>, took: Duration) -> TimerMessage {
    let began = Instant::now();
    let (rest, pause) = pauses(took);
    let mut until = began + pause;
    let mut next = TimerMessage::Look;
    loop {
        match wakes.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(TimerMessage::Look) => until = until.min(began + rest),
            Ok(TimerMessage::Reload(new)) => {
                until = Instant::now();
                next = TimerMessage::Reload(new);
            }
            Ok(TimerMessage::Stop) | Err(RecvTimeoutError::Disconnected) => return TimerMessage::Stop,
            Err(RecvTimeoutError::Timeout) => return next,
        }
    }
}

/// Tells of a panic of the timer itself, as an error of each zone.
fn begin_anew(config: &Config, what: &str, standing: &TimerStanding, metrics: &Metrics) {
    tracing::error!("the request timer ended by a panic ({what}) and begins anew; please report this");
    for zone in config.signed_zones() {
        let result = Err(TickError::Panicked { what: what.to_owned() });
        standing.note(&zone.name.to_lowercase().to_string(), &result, None);
        daemon::record(&result, &zone.name.zone_label(), looks_at_key_files(config, zone), metrics);
    }
}

/// True for a zone whose key files no signer looks at.
fn looks_at_key_files(config: &Config, zone: &ZoneConfig) -> bool {
    config.signer.is_none() || !zone.has_content()
}

/// Makes every series of the timer, so that alerts have something to see from the first scrape on.
fn add_series(metrics: &Metrics, config: &Config) {
    for zone in config.signed_zones().filter(|_| config.ksr.enabled) {
        let label = zone.name.zone_label();
        metrics.add_zone(&label, ReportingPart::Requests);
        if looks_at_key_files(config, zone) {
            metrics.add_zone(&label, ReportingPart::KeyFiles);
        }
    }
}

/// Removes the series of the zones that `new` has no more.
fn remove_series(metrics: &Metrics, old: &Config, new: &Config) {
    let kept: HashSet<&Name> =
        new.signed_zones().filter(|_| new.ksr.enabled).map(|zone| &zone.name).collect();
    for zone in old.signed_zones().filter(|zone| !kept.contains(&zone.name)) {
        let label = zone.name.zone_label();
        metrics.remove_zone(&label, ReportingPart::Requests);
        if looks_at_key_files(old, zone) {
            metrics.remove_zone(&label, ReportingPart::KeyFiles);
        }
    }
}

/// Log and metrics of one look.
fn tell(
    config: &Config,
    zone: &ZoneConfig,
    result: &Result<TimerReport, TickError>,
    told: Option<&NoticeOutcome>,
    metrics: &Metrics,
) {
    let label = zone.name.zone_label();
    daemon::record(result, &label, looks_at_key_files(config, zone), metrics);
    if let Some(told) = told {
        daemon::record_notice(told, &label, metrics);
    }
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            tracing::error!(zone = %label, "no request: {error}; the next look tries again");
            return;
        }
    };
    for name in &report.keys_made {
        tracing::info!(zone = %label, key = %name, "key made");
    }
    for name in &report.keys_removed {
        tracing::info!(zone = %label, key = %name, "key files removed: purge-keys after Delete is over; a key in a token stays there");
    }
    if report.requests_removed > 0 {
        tracing::info!(
            zone = %label, removed = report.requests_removed,
            "old answered requests removed: there were more than answered-max-requests or answered-max-days allow"
        );
    }
    for (path, why) in &report.closed {
        tracing::info!(zone = %label, request = %path.display(), ?why, "request closed");
    }
    for warning in &report.warnings {
        tracing::warn!(zone = %label, "{warning}");
    }
    if let (TimerOutcome::Written, Some(open)) = (report.outcome, &report.open) {
        tracing::warn!(
            zone = %label, request = %open.path.display(), from = %open.start, until = %open.end,
            "request written; bring it to the KSK operator, sign it with -e {}", open.end
        );
    }
    match told {
        Some(NoticeOutcome::Now(urgency, mail)) => tracing::warn!(
            zone = %label, urgency = urgency.word(), mail = %mail.display(), "a request waits for its answer"
        ),
        Some(NoticeOutcome::Failed(urgency, error)) => tracing::error!(
            zone = %label, urgency = urgency.word(), "nobody was told of the request: {error}; it is tried again"
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicU32;

    use super::*;

    const ANCHOR: &str = "DS 18064 13 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000";

    fn config(dir: &Path) -> Config {
        let zones: String = ["a.test", "b.test"]
            .map(|name| {
                format!(
                    "[[zone]]\nname = \"{name}\"\npolicy = \"p\"\ntrust-anchors = [\"{name}. {ANCHOR}\"]\n"
                )
            })
            .concat();
        let text = format!(
            "version = 1\nstate-dir = \"{}\"\n{zones}[ksr]\n[policy.p]\noffline-ksk = true\nkeys = [ {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = 13 }}, {{ role = \"zsk\", lifetime = \"unlimited\", algorithm = 13 }} ]\n",
            dir.display()
        );
        Config::parse(text.as_bytes(), Path::new("c.toml")).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The errors that the timer tells, by zone.
    fn errors(standing: &TimerStanding) -> Vec<Option<String>> {
        let report = standing.report(clock::now());
        let zones = report.into_iter().flat_map(|own| Arc::unwrap_or_clone(own.zones).into_values());
        zones.map(|zone| zone.timer.and_then(|timer| timer.error)).collect()
    }

    #[test]
    fn kind_107_a_panic_of_the_request_timer_is_told_of_each_zone_and_the_timer_goes_on() {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["keys", "outbox", "accepted"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        let metrics = Metrics::new().expect("families");
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        // Called at the start of each round, then for each zone: the first round ends at its first zone.
        let alive = move || assert!(counted.fetch_add(1, Ordering::SeqCst) != 1, "a test of panics");
        let config = config(dir.path());
        let lock = TimerLock::take(&config.state_dir).expect("a lock");
        let timer =
            RequestTimer::start_with(config, metrics, Some(lock), Fence::default(), alive).expect("a timer");
        let standing = timer.standing();
        let until = |what: &str, is: &dyn Fn(&[Option<String>]) -> bool| {
            let began = Instant::now();
            while !is(&errors(&standing)) {
                assert!(began.elapsed() < Duration::from_secs(60), "{what}: {:?}", errors(&standing));
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        until("the panic is told", &|errors| {
            errors.len() == 2
                && errors.iter().flatten().filter(|error| error.contains("a test of panics")).count() == 2
        });
        timer.waker().send(TimerMessage::Look).expect("a thread that goes on");
        until("the next round is good", &|errors| errors.len() == 2 && errors.iter().all(Option::is_none));
        assert!(calls.load(Ordering::SeqCst) >= 4);
        timer.stop();
    }

    #[test]
    fn of_two_hosts_the_request_timer_of_the_one_without_a_lease_looks_at_no_zone() {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["keys", "outbox", "accepted"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        let config = config(dir.path());
        let lock = TimerLock::take(&config.state_dir).expect("a lock");
        let (rounds, began) = (Arc::new(AtomicU32::new(0)), Instant::now());
        let counted = Arc::clone(&rounds);
        // Called at the start of each round, then for each zone.
        let alive = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let moment = || keystore::pair::Moment { wall: clock::now(), boot: clock::since_boot() };
        let fence = Fence::closed(moment);
        let metrics = Metrics::new().expect("families");
        let timer =
            RequestTimer::start_with(config, metrics, Some(lock), fence.clone(), alive).expect("a timer");
        let until = |what: &str, is: &dyn Fn() -> bool| {
            while !is() {
                assert!(began.elapsed() < Duration::from_secs(60), "{what}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        for round in 1..4 {
            until("a round begins", &|| rounds.load(Ordering::SeqCst) >= round);
            assert_eq!(errors(&timer.standing()), [], "round {round}");
            timer.waker().send(TimerMessage::Look).expect("a thread that goes on");
        }
        fence.open(moment(), Duration::from_secs(600));
        timer.waker().send(TimerMessage::Look).expect("a thread that goes on");
        until("the active host looks at both zones", &|| errors(&timer.standing()).len() == 2);
        timer.stop();
    }

    #[test]
    fn kind_111_rounds_over_many_zones_take_a_400th_of_the_time_and_a_tenth_when_somebody_wakes_the_timer() {
        let ms = Duration::from_millis;
        for (took, woken, at_rest) in
            [(1, 10, 60_000), (150, 1_500, 60_000), (250, 2_500, 100_000), (2_000, 20_000, 600_000)]
        {
            assert_eq!(pauses(ms(took)), (ms(woken), ms(at_rest)), "{took} ms");
        }
    }

    /// Each SKR that is accepted wakes the timer: of a file of many zones there are thousands at once.
    #[test]
    fn kind_111_wakes_that_wait_are_one_and_to_stop_goes_before_them() {
        type Send = fn(&Sender<TimerMessage>, Box<Config>);
        type IsWanted = fn(&TimerMessage) -> bool;
        let cases: [(&str, Send, IsWanted); 4] = [
            ("looks", |_, _| {}, |wake| matches!(wake, TimerMessage::Look)),
            (
                "a stop behind them",
                |wakes, _| wakes.send(TimerMessage::Stop).expect("heard"),
                |wake| matches!(wake, TimerMessage::Stop),
            ),
            (
                "a configuration behind them",
                |wakes, config| wakes.send(TimerMessage::Reload(config)).expect("heard"),
                |wake| matches!(wake, TimerMessage::Reload(_)),
            ),
            (
                "both",
                |wakes, config| {
                    wakes.send(TimerMessage::Reload(config)).expect("heard");
                    wakes.send(TimerMessage::Stop).expect("heard");
                },
                |wake| matches!(wake, TimerMessage::Stop),
            ),
        ];
        for (what, send, is_wanted) in cases {
            let (sender, wakes) = channel();
            (0..10_000).for_each(|_| sender.send(TimerMessage::Look).expect("heard"));
            send(&sender, Box::new(config(Path::new("/x"))));
            assert!(is_wanted(&next_wake(&wakes, Duration::ZERO)), "{what}");
            assert!(wakes.try_recv().is_err(), "{what}: all were taken");
        }
    }
}
