//! The health of this host as a running daemon sees it: gathered and judged again and again in a thread of its own, for the endpoint,
//! the metrics and the control socket. None of those waits for a disk.
//!
//! ```text
//! part of this process ──Revision──▶ glance ──▶ report to other processes, look
//! other process ──COMPONENT.json──▶ glance ──▶ look
//! files of the state folder ───────────────────▶ look
//! ```
//! A glance costs as much with ten thousand zones as with one, and comes twice a second; a look with many zones comes seldom while nothing is
//! reported.

mod others;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Metrics;
use crate::condition::{ConditionId, Severity};
use keystore::clock;
use keystore::durable;
use keystore::time::Timestamp;

use crate::health::alive::Alive;
use crate::health::gather::{AuditReader, Gatherer, Host, OwnReport, read_since, since_path};
use crate::health::judge::judge;
use crate::health::model::{Health, Since};
use crate::health::report::{CertificateReport, Component, EndpointReport, Writer};
use crate::health::revision::Revision;
use crate::http::{Guard, ServedCertificate};
use others::Others;

/// Pause between two glances, and between two looks at a few zones, of which one takes a millisecond: what is new is seen a second after it
/// came at the latest, also from another process, which looks as often.
pub const PAUSE: Duration = Duration::from_millis(500);
/// Looks at so many zones at most come as often as that.
const FEW: usize = 100;
/// A look may take so much of the time, one part in this: with few zones, and when a part of this process has reported what somebody may
/// have to act on.
const SHARE: u32 = 10;
/// The same with many zones of which nothing is reported.
const SHARE_AT_REST: u32 = 400;
/// Reports of changes to other processes take one part in this of the time.
const SHARE_OF_REPORTS: u32 = 40;
/// Longest pause between two looks, however long a look takes.
const LONGEST: Duration = Duration::from_secs(120);
/// Pause between two reports to other processes where looks are rarer: they are old after [`VALID`](crate::health::report::VALID).
const REPORTS: Duration = Duration::from_secs(15);

/// What the watch looks at, and whom it tells.
pub struct Watched {
    /// The zones and limits of the configuration in use.
    pub host: Host,
    /// The configuration file.
    pub config_file: PathBuf,
    /// Reads the audit log.
    pub audit: AuditReader,
    /// Follows what was judged.
    pub metrics: Metrics,
    /// The guard of the endpoint of this process, which reads its files again when they change.
    pub guard: Option<Guard>,
    /// The revisions of what the parts of this process report.
    pub revisions: Vec<Revision>,
}

/// The newest health; clones share it.
#[derive(Debug, Clone)]
pub struct Newest(Arc<Mutex<Arc<Health>>>);

impl Newest {
    /// A health that stays as it is until it is set anew.
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(health))))
    }

    /// The newest health.
    #[must_use]
    pub fn get(&self) -> Arc<Health> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, health: Health) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(health);
    }
}

enum Wake {
    Host(Box<Host>),
    /// Look now, and say so.
    Look(Sender<()>),
    Stop,
}

/// The running watch. Dropping it ends it.
#[derive(Debug)]
pub struct HealthWatch {
    newest: Newest,
    wake: Sender<Wake>,
    /// A look under way is given up.
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl HealthWatch {
    /// Looks once, and then again and again. `own` gives the reports of the components of this process, which are written to files
    /// for other processes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        watched: Watched,
        own: impl Fn(Timestamp) -> Vec<OwnReport> + Send + 'static,
    ) -> std::io::Result<Self> {
        let watch = Self::start_unless(watched, own, &AtomicBool::new(false))?;
        watch.ok_or_else(|| std::io::Error::other("the first look was given up"))
    }

    /// The same; `None` when `stopped` was set before the first look had ended, which takes seconds with many zones.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_unless(
        watched: Watched,
        own: impl Fn(Timestamp) -> Vec<OwnReport> + Send + 'static,
        stopped: &AtomicBool,
    ) -> std::io::Result<Option<Self>> {
        let mut look = Look::new(watched);
        look.glance();
        let Some(first) = look.round(own(clock::now()), clock::now(), stopped) else { return Ok(None) };
        let newest = Newest::new(first);
        let (wake, wakes) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, given_up) = (newest.clone(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || live(look, &own, &shared, &wakes, &given_up))?;
        Ok(Some(Self { newest, wake, stop, thread: Mutex::new(Some(thread)) }))
    }

    /// The newest health.
    #[must_use]
    pub fn newest(&self) -> Newest {
        self.newest.clone()
    }

    /// The health of this very moment, where a look takes less than `limit`; else the newest.
    #[must_use]
    pub fn look_now(&self, limit: Duration) -> Arc<Health> {
        let (done, is_done) = channel();
        if self.wake.send(Wake::Look(done)).is_ok() {
            // After the limit the newest is shown as it is.
            let _ = is_done.recv_timeout(limit);
        }
        self.newest.get()
    }

    /// Has it end, and does not wait for that.
    pub fn begin_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.wake.send(Wake::Stop);
    }

    /// Ends it, and says by removing the reports of this process that its components have ended.
    pub fn stop(&self) {
        self.begin_stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has been told by its own message.
            let _ = thread.join();
        }
    }

    /// Hands over a new configuration.
    pub fn reload(&self, host: Host) {
        // The thread ends only when told to.
        let _ = self.wake.send(Wake::Host(Box::new(host)));
    }
}

impl Drop for HealthWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn live(
    mut look: Look,
    own: &(impl Fn(Timestamp) -> Vec<OwnReport> + Send + 'static),
    newest: &Newest,
    wakes: &Receiver<Wake>,
    stop: &AtomicBool,
) {
    let mut due = Due::after(Duration::ZERO, look.host.zones.len(), Instant::now());
    loop {
        let mut asked = Vec::new();
        match wakes.recv_timeout(due.first().saturating_duration_since(Instant::now())) {
            Ok(Wake::Host(host)) => {
                look.host = *host;
                due.look = Instant::now();
            }
            Ok(Wake::Look(done)) => asked.push(done),
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Whoever asked meanwhile is answered by the same look.
        while let Ok(wake) = wakes.try_recv() {
            match wake {
                Wake::Host(host) => {
                    look.host = *host;
                    due.look = Instant::now();
                }
                Wake::Look(done) => asked.push(done),
                Wake::Stop => return,
            }
        }
        let (started, now) = (Instant::now(), clock::now());
        // Before anything is reported: what changes meanwhile is seen at the next glance.
        due.glanced(look.glance(), started);
        if asked.is_empty() && started < due.look {
            if started >= due.report {
                let is_news = look.tell(own(now));
                due.reported(is_news, started.elapsed(), Instant::now());
            }
            continue;
        }
        let Some(health) = look.round(own(now), now, stop) else { return };
        newest.set(health);
        for done in asked {
            // Who asked may have given up waiting.
            let _ = done.send(());
        }
        due = Due::after(started.elapsed(), look.host.zones.len(), Instant::now());
    }
}

/// What a glance has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Glance {
    /// A part of this process has something new to report.
    own: bool,
    /// Another process has reported something.
    others: bool,
}

/// When what is due next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    look: Instant,
    /// The look where something was reported since the one before.
    look_when_reported: Instant,
    report: Instant,
    /// The report where a part of this process has something new.
    report_when_changed: Instant,
    glance: Instant,
}

impl Due {
    /// After a look at so many zones that took so long and ended at `now`.
    fn after(took: Duration, zones: usize, now: Instant) -> Self {
        let pause = |share: u32| now + took.saturating_mul(share).clamp(PAUSE, LONGEST);
        let look_when_reported = pause(SHARE);
        let look = if zones <= FEW { look_when_reported } else { pause(SHARE_AT_REST) };
        let glance = now + PAUSE;
        Self { look, look_when_reported, report: now + REPORTS, report_when_changed: glance, glance }
    }

    fn first(&self) -> Instant {
        self.look.min(self.report).min(self.glance)
    }

    /// After a glance at `now`.
    fn glanced(&mut self, seen: Glance, now: Instant) {
        self.glance = now + PAUSE;
        if seen.own {
            self.report = self.report.min(self.report_when_changed);
        }
        if seen.others {
            self.something_is_reported();
        }
    }

    /// After a report that took so long and ended at `now`.
    fn reported(&mut self, is_news: bool, took: Duration, now: Instant) {
        self.report = now + REPORTS;
        self.report_when_changed = now + took.saturating_mul(SHARE_OF_REPORTS).clamp(PAUSE, REPORTS);
        if is_news {
            self.something_is_reported();
        }
    }

    fn something_is_reported(&mut self) {
        self.look = self.look.min(self.look_when_reported);
    }
}

/// What is remembered between two looks.
struct Look {
    host: Host,
    gatherer: Gatherer,
    metrics: Metrics,
    guard: Option<Guard>,
    writers: BTreeMap<Component, Writer>,
    /// The locks that say that this process lives.
    alive: BTreeMap<Component, Alive>,
    since: Since,
    /// The text of [`Self::since`] as it was last written.
    written: String,
    shown: Shown,
    revisions: Vec<Revision>,
    /// The sum of the revisions, and how the endpoint stood, at the last glance.
    glanced: (u64, Option<EndpointReport>),
    others: Others,
}

impl Look {
    fn new(watched: Watched) -> Self {
        let Watched { host, config_file, audit, metrics, guard, revisions } = watched;
        let since = read_since(&host.state_dir);
        Self {
            gatherer: Gatherer::new(audit, Some(&config_file)),
            written: since.to_text(),
            since,
            host,
            metrics,
            guard,
            writers: BTreeMap::new(),
            alive: BTreeMap::new(),
            shown: Shown::default(),
            revisions,
            glanced: (0, None),
            others: Others::default(),
        }
    }

    /// Looks whether something was reported, without looking at what.
    fn glance(&mut self) -> Glance {
        // Each only grows: so the sum stays the same as long as all do.
        let now = (self.revisions.iter().map(Revision::get).sum(), self.endpoint());
        let writers = &self.writers;
        let others =
            self.others.report_anew(&self.host.state_dir, |component| writers.contains_key(&component));
        let own = now != self.glanced;
        self.glanced = now;
        Glance { own, others }
    }

    /// Looks at everything; `None` when `stop` is set meanwhile.
    fn round(&mut self, own: Vec<OwnReport>, now: Timestamp, stop: &AtomicBool) -> Option<Health> {
        let own = &self.with_endpoint(own)[..];
        self.write_reports(own);
        let facts = self.gatherer.gather_unless(&self.host, own, now, stop)?;
        let health = judge(&facts, &self.since, now);
        self.since = health.since();
        self.write_since(own);
        self.shown.follow(&health, &self.metrics);
        Some(health)
    }

    /// Has the guard of the endpoint look at its files, and says how it stands.
    fn endpoint(&self) -> Option<EndpointReport> {
        let (guard, settings) = (self.guard.as_ref()?, self.host.endpoint.as_ref()?);
        guard.refresh(settings);
        let standing = guard.standing();
        let file = |file: Option<PathBuf>| file.or_else(|| settings.web_config.clone()).unwrap_or_default();
        let certificate = |ServedCertificate { file: name, not_before, not_after }| CertificateReport {
            file: file(name).display().to_string(),
            not_before,
            not_after,
        };
        Some(EndpointReport {
            error: standing.error,
            certificate: standing.certificate.map(certificate),
            ..EndpointReport::default()
        })
    }

    /// Adds how the endpoint stood at the last glance, which no component knows.
    fn with_endpoint(&self, mut own: Vec<OwnReport>) -> Vec<OwnReport> {
        if let Some(first) = own.first_mut() {
            first.report.endpoint.clone_from(&self.glanced.1);
        }
        own
    }

    /// Only tells other processes that this one lives, and what it says; true when that is news.
    fn tell(&mut self, own: Vec<OwnReport>) -> bool {
        let own = self.with_endpoint(own);
        self.write_reports(&own)
    }

    /// Writes the reports of this process for others; true when they say something new that somebody may have to act on.
    fn write_reports(&mut self, own: &[OwnReport]) -> bool {
        let mut is_news = false;
        // A component that was turned off takes its report with it.
        let runs = |component: &Component| own.iter().any(|own| own.report.component == *component);
        self.writers.retain(|component, _| runs(component));
        self.alive.retain(|component, _| runs(component));
        for OwnReport { report, zones } in own {
            let state_dir = &self.host.state_dir;
            let writer = self
                .writers
                .entry(report.component)
                .or_insert_with(|| Writer::new(state_dir, report.component));
            is_news |= writer.is_news(report, zones);
            if let Err(error) = writer.write(report, zones) {
                tracing::debug!(%error, component = report.component.as_str(), "the report could not be written; the next look tries again");
            }
            if !self.alive.contains_key(&report.component) {
                let held = Alive::hold(state_dir, report.component);
                self.alive.extend(held.map(|alive| (report.component, alive)));
            }
        }
        is_news
    }

    /// Keeps since when conditions hold, for the next process and for those that only read.
    fn write_since(&mut self, own: &[OwnReport]) {
        let Some(first) = own.first() else { return };
        let text = self.since.to_text();
        let path = since_path(&self.host.state_dir, first.report.component);
        if text != self.written
            && path.parent().is_some_and(Path::is_dir)
            && durable::write(&path, text.as_bytes(), 0o644).is_ok()
        {
            self.written = text;
        }
    }
}

/// The series that are there.
#[derive(Debug, Default)]
struct Shown {
    zones: BTreeMap<(String, ConditionId), Severity>,
    host: BTreeMap<ConditionId, Severity>,
    severities: BTreeMap<String, Severity>,
}

impl Shown {
    /// Brings the metrics up to date: a series for each condition that holds, and the severity of each zone.
    fn follow(&mut self, health: &Health, metrics: &Metrics) {
        let mut new = Self::default();
        for (zone, condition) in health.all_conditions() {
            let worst = match zone {
                Some(zone) => new.zones.entry((zone.to_owned(), condition.id)).or_default(),
                None => new.host.entry(condition.id).or_default(),
            };
            *worst = condition.severity.max(*worst);
        }
        new.severities = health.zones.iter().map(|zone| (zone.zone.clone(), zone.severity)).collect();
        for ((zone, id), severity) in self.zones.iter().filter(|(key, s)| new.zones.get(*key) != Some(s)) {
            metrics.zone_condition.remove(&[zone.as_str(), id.as_str(), severity.as_str()]);
        }
        for ((zone, id), severity) in &new.zones {
            metrics.zone_condition.with_label_values(&[zone.as_str(), id.as_str(), severity.as_str()]).set(1);
        }
        for (id, severity) in self.host.iter().filter(|(id, s)| new.host.get(*id) != Some(s)) {
            metrics.host_condition.remove(&[id.as_str(), severity.as_str()]);
        }
        for (id, severity) in &new.host {
            metrics.host_condition.with_label_values(&[id.as_str(), severity.as_str()]).set(1);
        }
        for zone in self.severities.keys().filter(|zone| !new.severities.contains_key(*zone)) {
            metrics.zone_severity.remove(&[zone]);
        }
        for (zone, severity) in &new.severities {
            metrics.zone_severity.with_label_values(&[zone]).set(severity.number().into());
        }
        *self = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_111_looks_at_many_zones_take_a_400th_of_the_time_and_a_tenth_when_something_is_reported() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        for (took, zones, look, reported) in [
            (2, 1, 500, 500),
            (300, 100, 3_000, 3_000),
            (1, 101, 500, 500),
            (2, 101, 800, 500),
            (50, 1_000, 20_000, 500),
            (200, 10_000, 80_000, 2_000),
            (400, 10_000, 120_000, 4_000),
            (20_000, 10_000, 120_000, 120_000),
        ] {
            let mut due = Due::after(ms(took), zones, now);
            assert_eq!(due.look, now + ms(look), "{zones} zones in {took} ms");
            assert_eq!(due.report, now + REPORTS, "reports do not grow old meanwhile");
            assert!(REPORTS.as_secs() * 2 < crate::health::report::VALID);
            due.something_is_reported();
            assert_eq!(due.look, now + ms(reported), "{zones} zones in {took} ms, something is reported");
        }
    }

    /// Looks and reports at so many zones, of which each takes so long.
    struct Stepped {
        zones: usize,
        look: Duration,
        report: Duration,
    }

    impl Stepped {
        /// Time from a change that comes so long after a look until this process shows it, and until other processes can read it.
        fn shown_after(&self, change: Duration, of: Glance) -> (Duration, Option<Duration>) {
            let begun = Instant::now();
            let changed = begun + change;
            let (mut due, mut written, mut now) = (Due::after(self.look, self.zones, begun), None, begun);
            loop {
                // What is due while something is done comes behind it.
                now = due.first().max(now);
                let is_there = now >= changed;
                let seen = if is_there && written.is_none() { of } else { Glance::default() };
                due.glanced(seen, now);
                if now >= due.look {
                    if is_there {
                        return (now + self.look - changed, written.or(Some(now - changed)));
                    }
                    now += self.look;
                    due = Due::after(self.look, self.zones, now);
                } else if now >= due.report {
                    let is_news = is_there && of.own && written.is_none();
                    now += self.report;
                    written = written.or_else(|| is_news.then(|| now - changed));
                    due.reported(is_news, self.report, now);
                }
            }
        }
    }

    #[test]
    fn change_of_a_part_or_of_another_process_is_shown_within_a_second_and_with_ten_thousand_zones_within_seconds()
     {
        let ms = Duration::from_millis;
        for (zones, look, report, shown, written) in [
            // A daemon looks at its files each second: so it is two seconds from a fact to where it is shown.
            (1, 1, 1, 1_000, 1_000),
            (100, 20, 5, 1_000, 1_000),
            (1_000, 40, 10, 1_000, 1_000),
            (10_000, 200, 40, 4_000, 2_500),
        ] {
            let stepped = Stepped { zones, look: ms(look), report: ms(report) };
            for change in (1..40_000).step_by(37) {
                let own = Glance { own: true, others: false };
                let (seen, read) = stepped.shown_after(ms(change), own);
                assert!(seen <= ms(shown), "{zones} zones, own change after {change} ms: {seen:?}");
                let read = read.expect("it is written before it is looked at");
                assert!(read <= ms(written), "{zones} zones, own change after {change} ms: {read:?}");
                let others = Glance { own: false, others: true };
                let (seen, _) = stepped.shown_after(ms(change), others);
                assert!(seen <= ms(shown), "{zones} zones, other process after {change} ms: {seen:?}");
            }
        }
    }

    #[test]
    fn parts_that_change_all_the_time_cost_a_fortieth_in_reports_and_a_tenth_in_looks() {
        let ms = Duration::from_millis;
        let begun = Instant::now();
        let (took_look, took_report) = (ms(200), ms(40));
        let (mut due, mut looks, mut reports) = (Due::after(took_look, 10_000, begun), 0, 0);
        let mut now = begun;
        while now < begun + ms(100_000) {
            now = due.first().max(now);
            due.glanced(Glance { own: true, others: true }, now);
            if now >= due.look {
                (looks, now) = (looks + 1, now + took_look);
                due = Due::after(took_look, 10_000, now);
            } else if now >= due.report {
                (reports, now) = (reports + 1, now + took_report);
                due.reported(true, took_report, now);
            }
        }
        assert!((40..=50).contains(&looks), "{looks} looks in 100 seconds");
        assert!(reports <= 100, "{reports} reports in 100 seconds");
    }
}
