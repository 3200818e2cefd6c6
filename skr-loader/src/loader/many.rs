//! A dropped file with the SKRs of several zones: each is judged, and accepted or rejected, on its own.
//!
//! ```text
//! all.skr ──split──▶ a.example ──▶ accepted/a.example/7.skr
//!                    b.example ──▶ rejected/all.skr.b.example + .reason
//!                    c.example ──▶ accepted/c.example/3.skr            all.skr leaves the inbox when each has its verdict
//! ```
//!
//! A step judges some of the parts, so that signals, the service manager's watchdog, the control socket and files that are dropped
//! meanwhile wait for these alone; several such files take turns. After a kill in the middle the file still lies there: what was accepted
//! is `unchanged` then. Part by part, so that the memory in use is that of the file and of one zone.

use std::collections::VecDeque;
use std::ffi::OsString;

use keystore::check::CheckId;
use keystore::exchange::SkrFinding;
use keystore::store::digest;
use keystore::time::Timestamp;

use super::Loader;
use super::outcome::{FileImport, ImportOutcome, is_dry_run};
use crate::files::printable;
use crate::inbox::Dropped;
use crate::judge::{Candidate, Sources, ZonePart};

/// Octets of the file's name in the name of a rejected part; the zone comes behind it.
const NAME_OCTETS: usize = 48;
/// Parts that one step judges: some tenths of a second, with checks and writes of some milliseconds each.
pub(super) const PARTS_A_STEP: usize = 16;

/// What is said of the parts that are left when the loader ends.
pub(super) const STOPS: &str = "skr-loader stops; import the file again";

/// Whom to tell of all imports of a file that a person handed over.
pub(super) type Done = Box<dyn FnOnce(Vec<FileImport>) + Send>;

/// A file of several zones of which some parts are not judged yet.
pub(super) struct ManyImport {
    file: Dropped,
    parts: VecDeque<ZonePart>,
    /// Parts of the whole file.
    total: usize,
    accepted: usize,
    rejected: usize,
    /// A part could not be dealt with, so that the file stays and is tried again.
    is_kept: bool,
    sources: Sources,
    /// [`Loader::changes`] when the file was taken: what came into force for a zone since then came later than the file.
    changes: u64,
    /// What became of the parts, and whom to tell, when a person has handed the file over.
    ordered: Option<(Vec<FileImport>, Done)>,
}

impl std::fmt::Debug for ManyImport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManyImport").field("file", &self.file.name).field("left", &self.parts.len()).finish()
    }
}

impl ManyImport {
    /// A dropped file.
    pub fn dropped(file: Dropped, parts: Vec<ZonePart>) -> Self {
        Self {
            file,
            total: parts.len(),
            parts: parts.into(),
            accepted: 0,
            rejected: 0,
            is_kept: false,
            sources: Sources::default(),
            changes: 0,
            ordered: None,
        }
    }

    /// A file that a person handed over; `done` is told at the end.
    pub fn ordered(file: Dropped, parts: Vec<ZonePart>, done: Done) -> Self {
        Self { ordered: Some((Vec::new(), done)), ..Self::dropped(file, parts) }
    }

    fn progress(&self) -> String {
        let done = self.total - self.parts.len();
        format!("{done} of {} zones are done", self.total)
    }

    /// Notes what became of a part; gives it back where others than the person who handed the file over are to be told.
    fn note(&mut self, import: FileImport) -> Option<FileImport> {
        match import.outcome {
            ImportOutcome::Rejected { .. } => self.rejected += 1,
            ImportOutcome::Accepted { .. } | ImportOutcome::Unchanged { .. } => self.accepted += 1,
            ImportOutcome::Failed { .. } => {}
        }
        let is_told = !is_dry_run(&self.file);
        if let Some((imports, _)) = &mut self.ordered {
            imports.push(import.clone());
        }
        is_told.then_some(import)
    }

    /// Gives up the parts that are left of a file that a person handed over, and tells that person.
    fn fail(mut self, what: &str) {
        let Some((mut imports, done)) = self.ordered.take() else { return };
        imports.extend(self.parts.iter().map(|part| {
            let dropped = self.file.part(part_name(&self.file, part), part.octets(&self.file.octets));
            FileImport::failed(&dropped, part.zone.clone(), what.to_owned())
        }));
        done(imports);
    }
}

impl Loader {
    /// The parts of the file are judged from the next turn on.
    pub(super) fn begin_many(&mut self, file: ManyImport) {
        let file = ManyImport { changes: self.changes, ..file };
        self.forget_rejected_parts(&file.file);
        self.inbox.begin_work(&file.file, file.progress());
        tracing::info!(
            file = printable(&file.file.name),
            zones = file.total,
            "judging a file of several zones"
        );
        self.many.push_back(file);
    }

    /// Judges the next parts of the file whose turn it is.
    pub(super) fn go_on_with_many(&mut self, now: Timestamp, imports: &mut Vec<FileImport>) {
        let Some(mut many) = self.many.pop_front() else { return };
        if !self.inbox.still_has(&many.file) {
            let (name, done) = (printable(&many.file.name), many.total - many.parts.len());
            let what =
                "the file was taken away or replaced while it was at work; the rest of it is not judged";
            tracing::warn!(file = name, done, zones = many.total, "{what}");
            return;
        }
        many.sources.refresh();
        self.inbox.take_part_kept();
        for _ in 0..PARTS_A_STEP {
            if self.is_stopping() {
                // A dropped file stays, and the next loader begins again; one that was handed over is only here.
                return many.fail(STOPS);
            }
            let Some(part) = many.parts.pop_front() else { break };
            let dropped = many.file.part(part_name(&many.file, &part), part.octets(&many.file.octets));
            if self.is_rejected_part(&dropped) {
                many.rejected += 1;
                continue;
            }
            let import = match part.read(&many.file.octets, |zone| self.ours(zone)) {
                Ok(candidate) => match self.overtaken(&candidate, many.changes) {
                    Some(finding) => self.reject_unread(&dropped, Some(candidate.zone), finding, now),
                    None => self.judge(candidate, &dropped, &mut many.sources, now),
                },
                Err(unread) => self.reject_unread(&dropped, unread.zone, unread.finding, now),
            };
            imports.extend(many.note(import));
        }
        // Now, as the file itself goes only when each part has its place.
        self.clear();
        many.is_kept |= self.inbox.take_part_kept();
        if many.parts.is_empty() {
            self.end_many(many, now);
        } else {
            self.inbox.note_progress(&many.file, many.progress());
            self.many.push_back(many);
        }
    }

    /// Why a part is not taken that was dropped, with the rest of its file, before what is in force for its zone: an urgent SKR or a rollback
    /// must not be undone by a file that was at work meanwhile. `taken` is [`Loader::changes`] when that file was taken.
    fn overtaken(&self, candidate: &Candidate, taken: u64) -> Option<SkrFinding> {
        let zone = self.zones.get(&candidate.zone).filter(|zone| zone.changed > taken)?;
        let in_force = zone.held.in_force()?;
        let is_it =
            zone.held.state().is_ok_and(|s| s.known.get(&candidate.digest) == Some(&in_force.generation));
        let what = format!(
            "generation {} came into force after this file was dropped; drop the SKR of this zone alone if it is to replace that",
            in_force.generation
        );
        (!is_it).then(|| SkrFinding::reject(CheckId::SkrReplay, None, what))
    }

    /// Takes the file out of the inbox, or has it tried again.
    fn end_many(&mut self, many: ManyImport, now: Timestamp) {
        let ManyImport { file, total, accepted, rejected, is_kept, ordered, .. } = many;
        let name = printable(&file.name);
        if is_kept {
            let what = "some of its zones could not be dealt with; the file is tried again";
            tracing::error!(file = name, "{what}");
            self.inbox.try_again(&file, what, now);
        } else {
            tracing::info!(file = name, zones = total, accepted, rejected, "file of several zones done");
            if let Some(whole) = file.in_this_state() {
                self.rejected_parts.remove(&whole);
            }
            self.take_out(&file, None);
            self.clear();
        }
        if let Some((imports, done)) = ordered {
            done(imports);
        }
    }

    /// Gives up the files that persons have handed over; those who wait are told why.
    pub(super) fn fail_ordered_many(&mut self, what: &str) {
        let all = std::mem::take(&mut self.many).into_iter();
        let (ordered, dropped): (VecDeque<_>, _) = all.partition(|many| many.ordered.is_some());
        self.many = dropped;
        ordered.into_iter().for_each(|many| many.fail(what));
    }

    /// True when this part of this very file was rejected before, while the rest of the file waited.
    fn is_rejected_part(&self, part: &Dropped) -> bool {
        let parts = part.part_of().and_then(|whole| self.rejected_parts.get(whole));
        parts.is_some_and(|parts| parts.contains(&digest(&part.octets)))
    }

    /// Forgets the rejected parts of files that are gone, and of `file` as it was before it changed.
    fn forget_rejected_parts(&mut self, file: &Dropped) {
        let Some(now) = file.in_this_state() else { return };
        let dir = self.inbox.dir();
        self.rejected_parts.retain(|whole, _| {
            *whole == now || (whole.name != now.name && dir.join(&whole.name).symlink_metadata().is_ok())
        });
    }
}

/// `<file>.<zone>`, or the line where there is no zone.
fn part_name(file: &Dropped, part: &ZonePart) -> OsString {
    let name: String = printable(&file.name).chars().take(NAME_OCTETS).collect();
    match &part.zone {
        Some(zone) => format!("{name}.{}", zone.to_lowercase().to_string().trim_end_matches('.')).into(),
        None => format!("{name}.line-{}", part.line).into(),
    }
}

#[cfg(test)]
mod tests;
