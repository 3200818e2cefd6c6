//! Tells people of a request that waits: a mail beside it, and a hook, again at each level of urgency.
//!
//! ```text
//! outbox/ZONE/<start>.ksr    the request
//!             <start>.eml    the mail, of the level reached
//!             <start>.told   the levels that were told, one a line, with their times
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use keystore::command::{Invocation, RunError};
use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::durable;
use keystore::outbox::{OpenRequest, read_request};
use keystore::retry::Backoff;
use keystore::store::digest;
use keystore::time::Timestamp;

use super::mail::{self, MailSubject};
use super::outbox::{mail_path, told_path};
use super::urgency::Urgency;

/// Result of a notice.
#[derive(Debug)]
pub enum NoticeOutcome {
    /// No request is open.
    Nothing,
    /// This level was told before.
    Before(Urgency),
    /// People were told now; the mail lies at the path.
    Now(Urgency, PathBuf),
    /// The last try failed, and the next one comes later.
    Waits(Urgency),
    /// The try failed; another one follows.
    Failed(Urgency, NoticeError),
}

/// Error of a notice: nobody was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoticeError {
    /// The request, the mail, or the note of what was told.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// The hook.
    #[error("on-request: {0}")]
    Hook(#[from] RunError),
}

/// Seconds until a failed hook is tried again for the first time.
const FIRST_WAIT: u64 = 60;
/// Pauses after a hook that failed. The longest one is an hour, so that people are told within an hour after a mail server is back.
const BACKOFF: Backoff = Backoff::new(FIRST_WAIT, 3600);

/// Who was told what, as far as it is not in files: failures, and when to try again.
#[derive(Debug, Default)]
pub struct Notices {
    waits: HashMap<Name, Wait>,
    /// After a hook that hung no other zone waits for the next one in the same minute.
    rest: Option<Wait>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    failures: u32,
    from: Timestamp,
    until: Timestamp,
}

impl Wait {
    /// False also when the clock was set back behind its beginning: that must not silence us.
    fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

impl Notices {
    /// Tells of the request that is open, if its level was not told yet. The level counts as told when the hook ended well, or when
    /// there is none and the mail is written.
    pub fn tell(
        &mut self,
        zone: &ZoneConfig,
        config: &Config,
        open: Option<&OpenRequest>,
        coverage_end: Option<Timestamp>,
        now: Timestamp,
    ) -> NoticeOutcome {
        let Some(request) = open else {
            self.waits.remove(&zone.name);
            return NoticeOutcome::Nothing;
        };
        let urgency = Urgency::at(coverage_end, config, now);
        if told(&request.path).is_some_and(|level| level >= urgency) {
            self.waits.remove(&zone.name);
            return NoticeOutcome::Before(urgency);
        }
        let waits = self.waits.get(&zone.name).copied();
        if [waits, self.rest].into_iter().flatten().any(|wait| wait.holds(now)) {
            return NoticeOutcome::Waits(urgency);
        }
        let failures = waits.map_or(0, |wait| wait.failures);
        match try_to_tell(zone, config, request, coverage_end, urgency, failures, now) {
            Ok(path) => {
                self.waits.remove(&zone.name);
                NoticeOutcome::Now(urgency, path)
            }
            Err(error) => {
                let seconds = BACKOFF.pause(failures);
                let wait = Wait { failures: failures.saturating_add(1), from: now, until: now.plus(seconds) };
                self.waits.insert(zone.name.clone(), wait);
                if matches!(error, NoticeError::Hook(RunError::TimedOut { .. })) {
                    self.rest = Some(Wait { until: now.plus(FIRST_WAIT - 1), ..wait });
                }
                NoticeOutcome::Failed(urgency, error)
            }
        }
    }
}

fn try_to_tell(
    zone: &ZoneConfig,
    config: &Config,
    request: &OpenRequest,
    coverage_end: Option<Timestamp>,
    urgency: Urgency,
    failures: u32,
    now: Timestamp,
) -> Result<PathBuf, NoticeError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| NoticeError::Io { path, source }
    };
    let octets = read_request(&request.path).map_err(io(&request.path))?;
    let answer_by = coverage_end.map(|end| answer_by(end, config, now));
    let mail = mail::compose(MailSubject {
        zone,
        ksr: &config.ksr,
        state_dir: &config.state_dir,
        request,
        octets: &octets,
        urgency,
        coverage_end,
        answer_by,
        now,
    });
    let path = mail_path(&request.path);
    durable::write(&path, mail.as_bytes(), 0o644).map_err(io(&path))?;
    if !config.ksr.on_request.is_empty() {
        let stamp = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.to_string());
        let environment = [
            ("OFFLINE_KSK_EVENT", "request".to_owned()),
            ("OFFLINE_KSK_ZONE", zone.name.to_string()),
            ("OFFLINE_KSK_URGENCY", urgency.word().to_owned()),
            ("OFFLINE_KSK_REQUEST", request.path.display().to_string()),
            ("OFFLINE_KSK_MAIL", path.display().to_string()),
            ("OFFLINE_KSK_SHA256", HEXLOWER.encode(&digest(&octets))),
            ("OFFLINE_KSK_START", request.start.to_string()),
            ("OFFLINE_KSK_END", request.end.to_string()),
            ("OFFLINE_KSK_COVERAGE_END", stamp(coverage_end)),
            ("OFFLINE_KSK_ANSWER_BY", stamp(answer_by)),
            ("OFFLINE_KSK_ATTEMPT", failures.saturating_add(1).to_string()),
        ];
        let timeout = Duration::from_secs(u64::from(config.ksr.on_request_timeout));
        let words = &config.ksr.on_request;
        Invocation { words, environment: &environment, input: Some(&path), timeout, stop: None }.run()?;
    }
    let note = told_path(&request.path);
    let mut text = fs::read_to_string(&note).unwrap_or_default();
    let _ = writeln!(text, "{} {now}", urgency.word());
    durable::write(&note, text.as_bytes(), 0o644).map_err(io(&note))?;
    Ok(path)
}

/// When the answer should be there: so long before the end of the coverage that a failed ceremony can be repeated; when that is over,
/// before the end itself; then now.
fn answer_by(coverage_end: Timestamp, config: &Config, now: Timestamp) -> Timestamp {
    let early = coverage_end.minus(u64::from(config.loader.coverage_warning));
    [early, coverage_end].into_iter().find(|time| *time > now).unwrap_or(now)
}

/// The highest level that was told of a request.
fn told(request: &Path) -> Option<Urgency> {
    let text = fs::read_to_string(told_path(request)).ok()?;
    let words: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    Urgency::ALL.into_iter().filter(|level| words.contains(&level.word())).max()
}
