//! The inbox: which dropped files are whole and may be judged, each once.
//!
//! ```text
//!             temp name ─▶ ignored
//! dropped ──▶ not a plain file, not readable ─▶ left alone, told once, looked at again when it changes
//!             no closing line ─▶ waits until nobody has touched it for a while ─▶ judged (and found cut off)
//!             closing line ─▶ judged at once ──▶ gone (removed, or moved to `rejected/`)
//! ```
//!
//! In the poll mode nobody sees a writer close a file, and on a network file system its end may come before its middle: there a file
//! with its closing line is judged when it was the same at two looks, `poll-interval` apart.
//!
//! A name says nothing about the zone. Whoever may write in the folder may drop a file, whatever its owner: what
//! counts is the KSK's signature inside; a folder that everyone can write to is refused as a whole.

mod dropped;
mod due;
mod pending;
mod signature;
mod take_out;
#[cfg(test)]
mod tests;
mod unfinished;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use keystore::check::CheckId;
use keystore::config::LoaderConfig;
use keystore::durable;
use keystore::exchange::many;
use keystore::retry::{Backoff, Retry};
use keystore::time::Timestamp;

use crate::files::{self, FileError, Fingerprint, NamedBy};
use crate::operator;
use dropped::FileOrigin;
pub use dropped::{Dropped, InFile};
use due::{Likelihood, LookQueue};
pub use pending::{Pending, PendingState};
pub use signature::Paired;
use take_out::CLAIM;
use unfinished::is_temp_name;
use watch::Watch;
pub use watch::{EventTaken, InboxEvent, OnEvent, WatchError, WatchState};

/// Seconds that a file without closing line must not have changed, after its writer closed it.
const SETTLE_CLOSED: u64 = 2;
/// The same when no writer was seen to close it: a copy over a slow line may pause.
const SETTLE_OPEN: u64 = 30;
/// Files and octets that are given out in one go, so that signals are heard in between.
const BATCH_FILES: usize = 64;
/// Of these, files that do not look like an SKR, in a step in which others were due too.
const BATCH_UNLIKELY: usize = 8;
const BATCH_OCTETS: usize = 32 << 20;
/// Pauses between two tries to read a file that could not be read, in seconds.
const BACKOFF: Backoff = Backoff::new(1, 60);
/// A file with two names is told of when it is tried again only after this pause, in seconds: a rename by link(2) and unlink(2), as SFTP
/// servers make it, has ended by then.
const RENAMES_LAST: u64 = 4;
/// Octets at the end of a file in which its closing line is looked for.
const CLOSING: usize = 1024;

/// The inbox and what is known of the files in it.
#[derive(Debug)]
pub struct Inbox {
    dir: PathBuf,
    watch: Watch,
    rescan_interval: u64,
    poll_interval: u64,
    last_scan: Option<Timestamp>,
    /// Why the last scan failed.
    scan_error: Option<String>,
    files: HashMap<OsString, Seen>,
    /// Why files are left: the ID of the check, and the text.
    reasons: HashMap<OsString, (CheckId, String)>,
    /// Files to look at in the next step.
    due: LookQueue,
    claims: u64,
    overflowed: bool,
    /// Zones that a file may be of.
    zones: usize,
    /// A part of a file could not be dealt with; so the file stays.
    part_kept: bool,
    /// Files were taken out since the folder was synced.
    unsynced: bool,
    /// Files that were read and could not be dealt with, and the tries that failed.
    tries: HashMap<OsString, (Fingerprint, Retry)>,
    /// Files that wait for their signature, and since when.
    unsigned: HashMap<OsString, (Fingerprint, Timestamp)>,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// It has a temp name.
    Ignored,
    /// It is not whole; unchanged since then, and its writer closed it or not. Judged after so many seconds without a change.
    Waiting { print: Fingerprint, since: Timestamp, closed: bool, settle: u64 },
    /// It was told about, or judged and could not be moved away; looked at again when it changes.
    Left(Fingerprint),
    /// It could not be read, judged or stored, for a reason that may pass; looked at again at this time, and later and later.
    Unreadable(Retry),
    /// It is of several zones, of which some are judged already; read again only when it changes.
    AtWork(Fingerprint),
}

/// What became of looking at a file.
#[derive(Debug)]
pub enum FileLook {
    /// It may be judged.
    Whole(Dropped),
    /// It has a temp name. Told once.
    Ignored(OsString),
    /// It is not whole, or was being written to. Told at each change.
    Unstable(OsString),
    /// It is longer than any SKR.
    TooLarge(Dropped, FileError),
    /// It is left alone. Told once for each state of it.
    Refused(OsString, FileError),
}

/// What a step of the inbox found.
#[derive(Debug, Default)]
pub struct InboxStep {
    /// The files.
    pub looks: Vec<FileLook>,
    /// What is due at once.
    pub more: More,
}

/// What is due after a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum More {
    /// Nothing.
    #[default]
    Nothing,
    /// Files that look like an SKR, and maybe others.
    Files,
    /// Only files that do not look like an SKR: other work may go before them.
    UnlikelyFiles,
}

/// How the watch and the scans stand after [`Inbox::poll`].
#[derive(Debug)]
pub struct Polled {
    /// The folder is watched: by the kernel, or by polling where that is asked for.
    pub watched: bool,
    /// Why it is not, or cannot be listed; given once.
    pub error: Option<WatchError>,
    /// The trouble that was told before is over.
    pub mended: bool,
    /// A scan was made just now.
    pub scanned: bool,
    /// Events were lost since the last time.
    pub overflowed: bool,
}

impl Inbox {
    /// The inbox in `dir`; `on_event` is called with each event of the kernel, and every `rescan_interval` seconds everything is looked at.
    #[must_use]
    pub fn new(dir: &Path, rescan_interval: u32, on_event: OnEvent) -> Self {
        Self {
            dir: dir.to_owned(),
            watch: Watch::new(dir, on_event),
            rescan_interval: u64::from(rescan_interval.max(1)),
            poll_interval: 1,
            last_scan: None,
            scan_error: None,
            files: HashMap::new(),
            reasons: HashMap::new(),
            due: LookQueue::default(),
            claims: 0,
            overflowed: false,
            zones: 1,
            part_kept: false,
            unsynced: false,
            tries: HashMap::new(),
            unsigned: HashMap::new(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sets how the folder is watched, and the seconds between two scans.
    pub fn configure(&mut self, config: &LoaderConfig) {
        self.watch.set_mode(config.watch);
        self.rescan_interval = u64::from(config.rescan_interval.max(1));
        self.poll_interval = u64::from(config.poll_interval.max(1));
    }

    /// Seconds between two scans.
    fn scan_interval(&self) -> u64 {
        if self.watch.polls() { self.poll_interval } else { self.rescan_interval }
    }

    /// Sets the number of zones that a file may be of. With more than one, a closing line does not show that nothing follows.
    pub const fn set_zones(&mut self, zones: usize) {
        self.zones = zones;
    }

    /// Takes an event of the watch.
    pub fn on_event(&mut self, event: InboxEvent) {
        let (name, closed) = match event {
            InboxEvent::Closed(name) => (name, true),
            InboxEvent::Touched(name) => (name, false),
            InboxEvent::Overflow => {
                self.overflowed = true;
                return;
            }
            InboxEvent::Rescan => {
                self.watch.reset();
                return;
            }
        };
        if name.as_bytes().starts_with(CLAIM.as_bytes()) {
            return;
        }
        if let Some(Seen::Waiting { closed: was, settle: seconds, .. }) = self.files.get_mut(&name) {
            *was = closed;
            *seconds = settle(closed);
            if !closed {
                // Its writer is at it; it will be looked at when it has settled.
                return;
            }
        }
        self.due.insert(&self.dir, name, closed);
    }

    /// Keeps the watch up, and scans when that is due.
    pub fn poll(&mut self, now: Timestamp) -> Polled {
        let overflowed = self.watch.take_lost() | std::mem::take(&mut self.overflowed);
        let had_trouble = self.trouble().is_some();
        let (state, mut error) = self.watch.poll(now);
        let waited = self.last_scan.is_none_or(|last| {
            // A clock that went back must not delay the scan.
            now < last || now.since(last) >= self.scan_interval()
        });
        let has_room = self.due.take_left_out();
        let due = self.watch.has_folder() && (state == WatchState::New || overflowed || waited || has_room);
        let mut scanned = false;
        if due {
            match self.scan() {
                Ok(()) => {
                    (self.last_scan, self.scan_error, scanned) = (Some(now), None, true);
                }
                Err(source) => {
                    // Tried again at each step, told once.
                    self.last_scan = None;
                    let failed = WatchError::Folder { path: self.dir.clone(), source };
                    if self.scan_error.replace(failed.to_string()).is_none() {
                        error.get_or_insert(failed);
                    }
                }
            }
        }
        let watched = state != WatchState::Down && !(self.scan_error.is_some() && self.watch.polls());
        let mended = had_trouble && self.trouble().is_none();
        Polled { watched, error, mended, scanned, overflowed }
    }

    /// Why it is not watched, or cannot be listed.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.watch.trouble().or(self.scan_error.as_deref())
    }

    /// Looks at the files that are due at `now`.
    pub fn look(&mut self, now: Timestamp) -> InboxStep {
        for (name, seen) in &self.files {
            let is_due = match seen {
                Seen::Waiting { since, closed, settle, .. } => {
                    (now < *since || now.since(*since) >= *settle).then_some(*closed)
                }
                // A clock that went back must not delay it.
                Seen::Unreadable(retry) => retry.is_due(now).then_some(false),
                Seen::Ignored | Seen::Left(_) | Seen::AtWork(_) => None,
            };
            if let Some(closed) = is_due {
                self.due.add(&self.dir, name.clone(), closed);
            }
        }
        let (mut looks, mut files, mut unlikely, mut octets) = (Vec::new(), 0, 0, 0);
        while files < BATCH_FILES && octets < BATCH_OCTETS {
            if files > unlikely
                && unlikely >= BATCH_UNLIKELY
                && self.due.next_kind() == Some(Likelihood::Unlikely)
            {
                break;
            }
            let Some((name, kind, closed)) = self.due.pop() else { break };
            files += 1;
            unlikely += usize::from(kind == Likelihood::Unlikely);
            if let Some(look) = self.look_at(name, closed, now) {
                if let FileLook::Whole(file) = &look {
                    octets += file.octets.len();
                }
                looks.push(look);
            }
        }
        let more = match self.due.next_kind() {
            None => More::Nothing,
            Some(Likelihood::Likely) => More::Files,
            Some(Likelihood::Unlikely) => More::UnlikelyFiles,
        };
        InboxStep { looks, more }
    }

    /// Files that wait to be looked at or to become whole.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let waits =
            |seen: &&Seen| matches!(seen, Seen::Waiting { .. } | Seen::Unreadable(_) | Seen::AtWork(_));
        self.due.len() + self.files.values().filter(waits).count()
    }

    /// A file of several zones is judged part by part from now on: it stays where it is, and is not read again before it changes.
    pub fn begin_work(&mut self, file: &Dropped, how_much: String) {
        if let FileOrigin::File { fingerprint, .. } = &file.origin {
            self.files.insert(file.name.clone(), Seen::AtWork(*fingerprint));
            self.reasons.insert(file.name.clone(), (CheckId::SkrIo, how_much));
        }
    }

    /// Notes how much of it is judged.
    pub fn note_progress(&mut self, file: &Dropped, how_much: String) {
        if let FileOrigin::File { fingerprint, .. } = &file.origin
            && matches!(self.files.get(&file.name), Some(Seen::AtWork(known)) if known == fingerprint)
        {
            self.reasons.insert(file.name.clone(), (CheckId::SkrIo, how_much));
        }
    }

    /// False for a file that was taken away or replaced since it was read. One that a person handed over never lay here.
    #[must_use]
    pub fn still_has(&self, file: &Dropped) -> bool {
        let FileOrigin::File { fingerprint, .. } = &file.origin else { return true };
        match files::fingerprint(&self.dir.join(&file.name)) {
            Ok(found) => found == *fingerprint,
            // An error that may pass says nothing of it.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Leaves a judged file where it is, for another look once it has settled again: it could not be dealt with.
    pub fn put_back(&mut self, file: &Dropped, now: Timestamp) {
        match &file.origin {
            FileOrigin::Order(_) => {}
            FileOrigin::Part(_) => self.part_kept = true,
            FileOrigin::File { fingerprint, .. } => {
                let waiting =
                    Seen::Waiting { print: *fingerprint, since: now, closed: false, settle: SETTLE_OPEN };
                self.files.insert(file.name.clone(), waiting);
            }
        }
    }

    /// Leaves a file that could not be dealt with where it is, for another try: soon, and later and later. `why` is for the status.
    pub fn try_again(&mut self, file: &Dropped, why: &str, now: Timestamp) {
        let fingerprint = match &file.origin {
            FileOrigin::Order(_) => return,
            FileOrigin::Part(_) => {
                self.part_kept = true;
                return;
            }
            FileOrigin::File { fingerprint, .. } => *fingerprint,
        };
        let mut retry = match self.tries.get(&file.name) {
            Some((before, retry)) if *before == fingerprint => *retry,
            _ => Retry::new(BACKOFF),
        };
        retry.failed(now);
        self.tries.insert(file.name.clone(), (fingerprint, retry));
        self.files.insert(file.name.clone(), Seen::Unreadable(retry));
        self.reasons.insert(file.name.clone(), (CheckId::SkrIo, why.to_owned()));
    }

    /// Leaves a judged file where it is until it changes, and why.
    pub fn leave(&mut self, file: &Dropped, why: String) {
        match &file.origin {
            FileOrigin::Order(_) => {}
            FileOrigin::Part(_) => self.part_kept = true,
            FileOrigin::File { fingerprint, .. } => {
                self.set_left(&file.name, *fingerprint, CheckId::SkrIo, why)
            }
        }
    }

    fn set_left(&mut self, name: &OsStr, print: Fingerprint, id: CheckId, why: String) {
        self.files.insert(name.to_owned(), Seen::Left(print));
        self.reasons.insert(name.to_owned(), (id, why));
    }

    /// True when a part of a file could not be dealt with since the last call.
    pub const fn take_part_kept(&mut self) -> bool {
        std::mem::replace(&mut self.part_kept, false)
    }

    /// True when the folder is watched.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watch.is_up() && self.scan_error.is_none()
    }

    fn scan(&mut self) -> io::Result<()> {
        let (mut names, mut claims) = (BTreeSet::new(), Vec::new());
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            if name.as_bytes().starts_with(CLAIM.as_bytes()) {
                claims.push(self.dir.join(&name));
            } else {
                names.insert(name);
            }
        }
        // Claims last for one call of `take_out` only, so these are of a loader that was killed. What another user has given such a name may
        // stay where this one cannot rename it.
        let mut given_back = false;
        for claim in claims {
            match self.give_back(&claim) {
                Ok(()) => given_back = true,
                Err(error) => {
                    tracing::warn!(file = %claim.display(), %error, "cannot give the file its name back; rename it");
                }
            }
        }
        if given_back {
            durable::sync_dir(&self.dir)?;
        }
        self.files.retain(|name, _| names.contains(name));
        self.reasons.retain(|name, _| names.contains(name));
        self.tries.retain(|name, _| names.contains(name));
        self.unsigned.retain(|name, _| names.contains(name));
        for name in names {
            let is_known = match self.files.get(&name) {
                Some(Seen::Ignored) => true,
                Some(Seen::Left(print) | Seen::AtWork(print)) => {
                    files::fingerprint(&self.dir.join(&name)).is_ok_and(|now| now == *print)
                }
                Some(Seen::Waiting { .. } | Seen::Unreadable(_)) | None => false,
            };
            if !is_known {
                self.due.add(&self.dir, name, false);
            }
        }
        Ok(())
    }

    fn look_at(&mut self, name: OsString, closed: bool, now: Timestamp) -> Option<FileLook> {
        let seen = self.files.get(&name).copied();
        if is_temp_name(&name) {
            let first = seen.is_none();
            self.files.insert(name.clone(), Seen::Ignored);
            return first.then_some(FileLook::Ignored(name));
        }
        if let Some(signed) = operator::signed_name(&name) {
            // Read with the file that it is for, which may have waited for it.
            if matches!(self.files.get(&signed), Some(Seen::Waiting { .. })) {
                self.due.add(&self.dir, signed, closed);
            }
            self.files.insert(name.clone(), Seen::Ignored);
            return seen.is_none().then_some(FileLook::Ignored(name));
        }
        let path = self.dir.join(&name);
        let print = match files::fingerprint(&path) {
            Ok(print) => print,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files.remove(&name);
                return None;
            }
            Err(error) => return self.try_later(name, seen, FileError::Io(error), now),
        };
        if matches!(seen, Some(Seen::Left(known) | Seen::AtWork(known)) if known == print) {
            return None;
        }
        match files::read(&path, NamedBy::Dropper, many::max_octets(self.zones)) {
            Ok(file) => {
                self.reasons.remove(&name);
                let print = file.fingerprint;
                let dropped = Dropped::in_inbox(name, file.octets, print);
                self.settle(dropped, print, seen, closed, now)
            }
            Err(FileError::Changing) => {
                let waiting = Seen::Waiting { print, since: now, closed: false, settle: SETTLE_OPEN };
                self.files.insert(name.clone(), waiting);
                Some(FileLook::Unstable(name))
            }
            Err(error @ FileError::TooLarge { .. }) => {
                self.set_left(&name, print, error.id(), error.to_string());
                let file = Dropped::in_inbox(name, Vec::new(), print);
                Some(FileLook::TooLarge(file, error))
            }
            Err(error) if error.may_pass() => self.try_later(name, seen, error, now),
            Err(error) => {
                self.set_left(&name, print, error.id(), error.to_string());
                Some(FileLook::Refused(name, error))
            }
        }
    }

    /// A file that could not be read, for a reason that may pass. It is told of once: at once, or where a rename is under way when it lasts.
    fn try_later(
        &mut self,
        name: OsString,
        seen: Option<Seen>,
        error: FileError,
        now: Timestamp,
    ) -> Option<FileLook> {
        let mut retry = match seen {
            Some(Seen::Unreadable(retry)) => retry,
            _ => Retry::new(BACKOFF),
        };
        let pause = retry.failed(now);
        self.files.insert(name.clone(), Seen::Unreadable(retry));
        let was_told = self.reasons.contains_key(&name);
        if was_told || (matches!(error, FileError::Linked(_)) && pause < RENAMES_LAST) {
            return None;
        }
        self.reasons.insert(name.clone(), (error.id(), error.to_string()));
        Some(FileLook::Refused(name, error))
    }

    /// A file that was read: judged now, or later when it may still grow.
    fn settle(
        &mut self,
        file: Dropped,
        print: Fingerprint,
        seen: Option<Seen>,
        closed: bool,
        now: Timestamp,
    ) -> Option<FileLook> {
        // Behind one zone's closing line the next zone may follow: then its writer must be done.
        let done = self.zones <= 1 || closed || print.is_untouched_for(SETTLE_OPEN, now);
        let complete = done && is_complete(&file.octets);
        if complete && !self.watch.polls() {
            self.files.remove(&file.name);
            return Some(FileLook::Whole(file));
        }
        let settle = if complete { self.poll_interval } else { settle(closed) };
        match seen {
            Some(Seen::Waiting { print: before, since, closed: was_closed, settle: was_settle })
                if before.same_content(&print) =>
            {
                let closed = closed || was_closed;
                let settle = settle.min(was_settle);
                if now >= since && now.since(since) >= settle {
                    self.files.remove(&file.name);
                    return Some(FileLook::Whole(file));
                }
                if now < since {
                    self.files.insert(file.name, Seen::Waiting { print, since: now, closed, settle });
                }
                None
            }
            _ => {
                self.files.insert(file.name.clone(), Seen::Waiting { print, since: now, closed, settle });
                Some(FileLook::Unstable(file.name))
            }
        }
    }
}

const fn settle(closed: bool) -> u64 {
    if closed { SETTLE_CLOSED } else { SETTLE_OPEN }
}

/// True when the last line is the closing one, with its line end: nothing more will come.
fn is_complete(octets: &[u8]) -> bool {
    let end = &octets[octets.len().saturating_sub(CLOSING)..];
    let text = end.trim_ascii_end();
    let line = &text[text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1)..];
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let is_closing = [&b";;"[..], b"SignedKeyResponse", b"1.0", b"generated"]
        .iter()
        .all(|want| words.next() == Some(*want));
    is_closing && end[text.len()..].contains(&b'\n')
}
