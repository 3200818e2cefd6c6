//! What new content of a zone has to pass before it is served: it must not have far fewer or far more records than what is served, unless
//! a person releases it, and a command may review it. What is served stays meanwhile, and goes on to be signed.
//!
//! ```text
//! zones/ZONE/held       what is held back and why, and the digest of the content     written by the signer
//! zones/ZONE/released   the digest of the content that a person lets pass            written by the release command
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use keystore::command::{Invocation, RunError};
use keystore::dns::Name;
use keystore::retry::Retry;
use keystore::time::Timestamp;
use keystore::{durable, store};

use super::setup::ContentRules;
use crate::zone::Zone;

const HELD: &str = "held";
const RELEASED: &str = "released";
/// A change of fewer records is never held back: a share of a small zone says nothing.
const LEAST_CHANGE: usize = 20;

/// Whether new content may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Passage {
    Passes,
    /// It waits for a person; why.
    Held(String),
    /// It is to be reviewed by the command.
    NeedsReview,
    /// The command is at work.
    UnderReview,
    /// The command refused it; what it said.
    Refused(String),
    /// The command could not be run, or did not end in time; it is run again.
    ReviewFails(String),
}

/// The content that waits, and how far it has come.
#[derive(Debug)]
pub(super) struct Gate {
    folder: PathBuf,
    /// The content that waits.
    waiting: Option<Waiting>,
    /// False when neither file can be there.
    may_have_files: bool,
}

#[derive(Debug)]
struct Waiting {
    content: Arc<Zone>,
    size: Size,
    review: Review,
}

#[derive(Debug)]
enum Size {
    Fits,
    /// Why it does not, and the digest to release it by, in hexadecimal.
    Held {
        why: String,
        digest: String,
    },
}

#[derive(Debug)]
enum Review {
    NotBegun,
    Running { outcome: Receiver<Result<(), RunError>>, failed: Retry },
    Approved,
    Refused(String),
    Failed { why: String, retry: Retry },
}

impl Gate {
    /// For a zone with this state folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), waiting: None, may_have_files: true }
    }

    /// Judges content that is not served; `served` is what is.
    pub fn judge(
        &mut self,
        rules: &ContentRules,
        served: Option<&Arc<Zone>>,
        content: &Arc<Zone>,
        now: Timestamp,
    ) -> Passage {
        if self.waiting.as_ref().is_none_or(|waiting| !Arc::ptr_eq(&waiting.content, content)) {
            let size = match served
                .and_then(|served| excess(rules, served.record_count(), content.record_count()))
            {
                None => Size::Fits,
                Some(why) => Size::Held { why, digest: hex(&content.digest()) },
            };
            self.waiting = Some(Waiting { content: Arc::clone(content), size, review: Review::NotBegun });
            self.write_held(now);
        }
        let released = self.is_released();
        let Some(waiting) = &mut self.waiting else { return Passage::Passes };
        if let Size::Held { why, .. } = &waiting.size {
            if !released {
                return Passage::Held(why.clone());
            }
            waiting.size = Size::Fits;
        }
        match &waiting.review {
            _ if rules.review.is_empty() => Passage::Passes,
            Review::Approved => Passage::Passes,
            Review::NotBegun => Passage::NeedsReview,
            Review::Running { .. } => Passage::UnderReview,
            Review::Refused(said) => Passage::Refused(said.clone()),
            Review::Failed { retry, .. } if retry.is_due(now) => Passage::NeedsReview,
            Review::Failed { why, .. } => Passage::ReviewFails(why.clone()),
        }
    }

    /// Runs the command on `file`, in a thread of its own; the file is removed when it has ended.
    pub fn review(
        &mut self,
        rules: &ContentRules,
        file: PathBuf,
        environment: Vec<(&'static str, String)>,
    ) -> io::Result<()> {
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        let failed = match &waiting.review {
            Review::Failed { retry, .. } => *retry,
            _ => Retry::default(),
        };
        let (sender, outcome) = channel();
        let (words, timeout) = (rules.review.clone(), rules.review_timeout);
        std::thread::Builder::new().name("review".to_owned()).spawn(move || {
            let (words, environment) = (&words, &environment);
            let run = Invocation { words, environment, input: Some(&file), timeout, stop: None }.run();
            // What it prints when it agrees is of no interest, and nobody may be left to hear the outcome.
            let _ = sender.send(run.map(drop));
            let _ = durable::remove(&file);
        })?;
        waiting.review = Review::Running { outcome, failed };
        Ok(())
    }

    /// True when something has happened since the last call: the command has ended, or a person has released the content.
    pub fn poll(&mut self, now: Timestamp) -> bool {
        let released = self.is_released();
        let Some(waiting) = &mut self.waiting else { return false };
        let Review::Running { outcome, failed } = &mut waiting.review else { return released };
        let (outcome, mut retry) = match outcome.try_recv() {
            Err(TryRecvError::Empty) => return released,
            Ok(outcome) => (outcome, std::mem::take(failed)),
            Err(TryRecvError::Disconnected) => {
                (Err(RunError::Stopped { program: "the review".to_owned() }), std::mem::take(failed))
            }
        };
        waiting.review = match outcome {
            Ok(()) => Review::Approved,
            Err(error @ RunError::Failed { .. }) => Review::Refused(error.to_string()),
            Err(error) => {
                retry.failed(now);
                Review::Failed { why: error.to_string(), retry }
            }
        };
        true
    }

    /// True while the command is at work.
    pub fn is_under_review(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| matches!(waiting.review, Review::Running { .. }))
    }

    /// True while content waits.
    pub const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Time of the next run of a command that failed.
    pub fn next_try(&self) -> Option<Timestamp> {
        match &self.waiting.as_ref()?.review {
            Review::Failed { retry, .. } => retry.at(),
            _ => None,
        }
    }

    /// Nothing waits any more: the content is served, or the zone file has what is served.
    pub fn clear(&mut self) {
        self.waiting = None;
        let files = [HELD, RELEASED].map(|name| self.folder.join(name));
        if std::mem::take(&mut self.may_have_files) && files.iter().any(|file| file.exists()) {
            // One that stays is of no account: it names other content.
            let _ = durable::remove_each(&files.each_ref().map(PathBuf::as_path));
        }
    }

    fn is_released(&self) -> bool {
        let Some(Waiting { size: Size::Held { digest, .. }, .. }) = &self.waiting else { return false };
        std::fs::read_to_string(self.folder.join(RELEASED)).is_ok_and(|text| text.trim() == digest)
    }

    fn write_held(&mut self, now: Timestamp) {
        let Some(Waiting { size: Size::Held { why, digest }, .. }) = &self.waiting else { return };
        let text = format!("{digest}\nheld since {}: {why}\n", now.iso());
        let path = self.folder.join(HELD);
        // The time of an earlier process stays.
        let is_known = std::fs::read_to_string(&path).is_ok_and(|known| known.starts_with(digest.as_str()));
        self.may_have_files = true;
        if !is_known && let Err(error) = durable::write(&path, text.as_bytes(), 0o644) {
            tracing::warn!(file = %path.display(), %error, "what is held back cannot be written down, and so cannot be released");
        }
    }
}

/// Why content with `after` records must not replace that with `before`; `None` when it may.
pub(super) fn excess(rules: &ContentRules, before: usize, after: usize) -> Option<String> {
    if before.abs_diff(after) < LEAST_CHANGE {
        return None;
    }
    let exceeds = |limit: u32| limit > 0 && before.abs_diff(after) * 100 > before * limit as usize;
    let (setting, limit) = match after < before {
        true => ("max-shrink", rules.max_shrink),
        false => ("max-growth", rules.max_growth),
    };
    exceeds(limit).then(|| {
        format!(
            "the new content has {after} records, and what is served has {before}; {setting} is {limit} %"
        )
    })
}

/// Why nothing was released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Nothing of the zone is held back.
    #[error("nothing of {0} is held back")]
    NotHeld(Name),
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the call that read or wrote it.
        source: io::Error,
    },
}

/// Lets the content pass that the signer of the state folder holds back for `zone`, and no other; the signer sees it within seconds. Returns
/// what was held back and why.
pub fn release(state_dir: &Path, zone: &Name) -> Result<String, ReleaseError> {
    let folder = store::zone_dir(&state_dir.join("zones"), zone);
    let (held, released) = (folder.join(HELD), folder.join(RELEASED));
    let text = match std::fs::read_to_string(&held) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReleaseError::NotHeld(zone.clone()));
        }
        Err(source) => return Err(ReleaseError::Io { path: held, source }),
    };
    let (digest, why) = text.split_once('\n').unwrap_or((&text, ""));
    durable::write(&released, format!("{digest}\n").as_bytes(), 0o644)
        .map_err(|source| ReleaseError::Io { path: released, source })?;
    Ok(why.trim().to_owned())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_beyond_the_share_and_of_enough_records_are_held() {
        let rules =
            |max_shrink, max_growth| ContentRules { max_shrink, max_growth, ..ContentRules::default() };
        for (limits, before, after, held) in [
            ((50, 0), 1000, 500, false),
            ((50, 0), 1000, 499, true),
            ((50, 0), 1000, 0, true),
            ((50, 0), 1000, 1_000_000, false),
            ((50, 0), 20, 2, false),
            ((50, 0), 20, 0, true),
            ((1, 0), 1000, 981, false),
            ((1, 0), 1000, 980, true),
            ((0, 0), 1000, 0, false),
            ((100, 0), 1000, 0, false),
            ((0, 100), 1000, 2000, false),
            ((0, 100), 1000, 2001, true),
            ((0, 100), 5, 24, false),
            ((0, 100), 5, 25, true),
            ((50, 100), 1000, 1000, false),
        ] {
            let why = excess(&rules(limits.0, limits.1), before, after);
            assert_eq!(why.is_some(), held, "{limits:?}: {before} to {after}: {why:?}");
        }
    }
}
