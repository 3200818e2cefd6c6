//! The timer that keeps requests flowing on a host that serves the zone: one look at a time, no thread, no clock of its own.
//!
//! ```text
//! accepted SKR ──coverage──▶ due? ──keygen, request──▶ outbox/ZONE/<start>.ksr ──(ceremony, accepted SKR)──▶ answered/
//!                    key files changed? ──▶ the request is replaced        └──notice──▶ mail, hook
//! ```
//!
//! A request begins *now* and ends one period after the coverage ends. It asks again for what is covered already, so that the
//! answer can replace the SKR in force as a whole (as `named` does it), and so that a ZSK that is new after the old period is
//! published in time inside the overlap. One request is open at a time.
//!
//! Key files are `named`'s and the operator's to change. What they are now is what counts: a request that was made from others is
//! moved aside and made anew (KSR-KEYS-CHANGED), and an accepted SKR that they have left behind makes one due (KSR-COVERAGE-KEYS).
//!
//! [`Rounds`] looks at many zones again and again ([`Timer`]) and tells people ([`Notices`]); [`TimerLock`] keeps a second timer away.

mod clock;
mod fit;
mod lock;
mod mail;
mod memory;
mod notice;
mod outbox;
mod prune;
mod purge;
#[cfg(feature = "daemon")]
mod record;
mod timer;
mod urgency;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use keystore::config::{Config, KsrConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::bind::BindSyntaxError;
use keystore::keys::files::KeyFileError;
use keystore::outbox::OutboxError;
use keystore::shared::Shared;
use keystore::store::StoreError;
use keystore::time::Timestamp;

use crate::keygen::KeygenError;
use crate::request::RequestError;

pub use keystore::outbox::OpenRequest;
pub use lock::{TimerLock, TimerLockError};
pub use notice::{NoticeError, NoticeOutcome, Notices};
#[cfg(feature = "daemon")]
pub use record::{record, record_notice};
pub use timer::Timer;
pub use urgency::Urgency;

/// What one look at a zone found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimerReport {
    /// What the look did.
    pub outcome: TimerOutcome,
    /// End of the accepted coverage; `None` = nothing was ever accepted.
    pub coverage_end: Option<Timestamp>,
    /// Time at which the next request must exist.
    pub due: Timestamp,
    /// The open request, if any.
    pub open: Option<OpenRequest>,
    /// Requests that were open before this look and need no answer any more, and why; they lie in `answered/` now.
    pub closed: Vec<(PathBuf, Closed)>,
    /// Names of keys made by this look.
    pub keys_made: Vec<String>,
    /// Names of keys whose files this look has removed, as `purge-keys` of the policy says.
    pub keys_removed: Vec<String>,
    /// Number of answered requests that this look has removed.
    pub requests_removed: usize,
    /// State of the key files; `None` when it has not changed since the look before.
    pub key_files: Option<KeyFileProblems>,
    /// Warnings for the log, one sentence each.
    pub warnings: Vec<String>,
}

/// What one look found in the key folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFileProblems {
    /// Key sets that are damaged, contradict each other, or have lost their private part.
    pub mismatched: usize,
    /// Private KSK files, which must not be online.
    pub private_ksks: usize,
}

/// What one look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerOutcome {
    /// The coverage is long enough.
    NotDue,
    /// A request is open and waits for its answer.
    Pending,
    /// A request was written.
    Written,
}

/// Why a request needs no answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The accepted SKR covers what it asked for.
    Answered,
    /// Another SKR was accepted, and no request is due.
    Superseded,
    /// The time that it asked for is over.
    Expired,
    /// KSR-KEYS-CHANGED: the key files or the policy are others by now; a new request takes its place.
    KeysChanged,
    /// It was written by a clock that ran ahead, and the clock has been right again for some time.
    FromTheFuture,
}

/// Error of a look. Nothing was replaced; the next look tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TickError {
    /// The clock cannot be right.
    #[error("the clock says {now}, and that cannot be ({why}); no request is made before it is right")]
    Clock {
        /// The time of the clock.
        now: Timestamp,
        /// The file or time that contradicts the clock.
        why: String,
    },
    /// The accepted store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The SKR in the accepted store does not read.
    #[error("the accepted SKR, generation {generation}, {error}")]
    Accepted {
        /// Number of the generation in force.
        generation: u64,
        /// Line and cause.
        error: BindSyntaxError,
    },
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// KSR-KEY-FILES: what is damaged may be the very key that the request needs.
    #[error(
        "KSR-KEY-FILES: {count} damaged key file(s), such as {first}; the request waits a day for them to be put back or removed"
    )]
    Damaged {
        /// Number of damaged key files.
        count: usize,
        /// The first of them, and what is wrong with it.
        first: String,
    },
    /// Making keys.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// Reading keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Making the request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A panic, which is a bug of this program.
    #[error(
        "the look at the zone ended by a panic ({what}), which is a bug of this program: please report it"
    )]
    Panicked {
        /// The text of the panic.
        what: String,
    },
}

/// Looks at one zone once with a [`Timer`] that remembers nothing; see [`Timer::look`].
pub fn tick(
    zone: &ZoneConfig,
    config: &KsrConfig,
    state_dir: &Path,
    now: Timestamp,
) -> Result<TimerReport, TickError> {
    Timer::default().look(zone, config, state_dir, now)
}

/// Runs a piece of work whose panic is an error of that work alone: that of one zone must not end the requests of the others.
fn guarded<T>(work: impl FnOnce() -> Result<T, TickError>) -> Result<T, TickError> {
    // Whoever gets the error forgets what the work may have left half-done.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(TickError::Panicked { what: panic_text(&*panic) }))
}

/// The text of a panic.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}

/// [`Timer`] and [`Notices`] over all zones of a configuration.
#[derive(Debug, Default)]
pub struct Rounds {
    timer: Timer,
    notices: Notices,
}

impl Rounds {
    /// Looks at each zone once and tells of its open request; `each` gets what was found, and no notice where the look failed.
    pub fn round(
        &mut self,
        config: &Config,
        clock: impl Fn() -> Timestamp,
        each: impl FnMut(&ZoneConfig, &Result<TimerReport, TickError>, Option<&NoticeOutcome>),
    ) {
        self.round_while(config, clock, || true, each);
    }

    /// The same, ended before the next zone when `goes_on` says so.
    pub fn round_while(
        &mut self,
        config: &Config,
        clock: impl Fn() -> Timestamp,
        goes_on: impl Fn() -> bool,
        mut each: impl FnMut(&ZoneConfig, &Result<TimerReport, TickError>, Option<&NoticeOutcome>),
    ) {
        self.timer.begin_round();
        // What it could not read is read by the look at the zone, which then says why.
        let _ = guarded(|| {
            self.timer.read_ahead(config, clock());
            Ok(())
        });
        for zone in config.signed_zones().take_while(|_| goes_on()) {
            let mut told = None;
            let result = guarded(|| {
                let now = clock();
                let report = self.timer.look(zone, &config.ksr, &config.state_dir, now)?;
                told = Some(self.notices.tell(zone, config, report.open.as_ref(), report.coverage_end, now));
                Ok(report)
            });
            if matches!(result, Err(TickError::Panicked { .. })) {
                // What a panic left half-done is not gone by.
                self.forget();
            }
            each(zone, &result, told.as_ref());
        }
        // The names of tens of thousands of files are not kept until the next round.
        self.timer.begin_round();
    }

    /// Takes a new configuration. What was remembered stays of zones that are configured as before, so that their files are not read again;
    /// notices that failed are tried at once.
    pub fn reconfigure(&mut self, old: &Config, new: &Config) {
        self.notices = Notices::default();
        if (&old.ksr, &old.state_dir) != (&new.ksr, &new.state_dir) {
            return self.forget();
        }
        let before: HashMap<&Name, &Shared<ZoneConfig>> =
            old.signed_zones().map(|zone| (&zone.name, zone)).collect();
        let is_kept = |zone: &&Shared<ZoneConfig>| before.get(&zone.name) == Some(zone);
        let kept: HashSet<&Name> = new.signed_zones().filter(is_kept).map(|zone| &zone.name).collect();
        self.timer.keep(|zone| kept.contains(zone));
    }

    /// Forgets what was remembered.
    fn forget(&mut self) {
        *self = Self::default();
    }
}
