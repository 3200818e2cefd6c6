//! From a look into the inbox, or the order of a person, to the judge, and from its verdict to what became of it.

use std::borrow::Cow;
use std::sync::mpsc::channel;
use std::time::Instant;

use keystore::check::CheckId;
use keystore::dns::Name;
use keystore::exchange::{Bundle, SkrFinding};
use keystore::time::Timestamp;

use super::Loader;
use super::many::ManyImport;
use super::outcome::{FileImport, is_dry_run};
use super::zone::NotRead;
use crate::files::printable;
use crate::inbox::{Dropped, FileLook, Paired};
use crate::judge::{
    self, Candidate, EvidenceError, EvidenceSubject, FileContent, InForceAlready, Overrides, Rejection,
    Sources, Stage, Verdict,
};
use crate::operator::Operator;
use crate::report;

/// Why nothing can be said of a file just now. It is a fault of this host that may pass.
#[derive(Debug, thiserror::Error)]
enum NotJudged {
    #[error(transparent)]
    Store(#[from] NotRead),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

impl Loader {
    /// Judges what was found in the inbox, and moves it out.
    pub(super) fn import(&mut self, looks: Vec<FileLook>, now: Timestamp, imports: &mut Vec<FileImport>) {
        let mut sources = Sources::default();
        let mut single = Vec::new();
        for look in looks {
            match look {
                FileLook::Ignored(_) => report::file(&self.metrics, "ignored"),
                FileLook::Unstable(name) => {
                    tracing::debug!(file = printable(&name), "not whole yet; waits");
                    report::file(&self.metrics, "unstable");
                }
                FileLook::Refused(name, error) => self.refuse(&printable(&name), &error),
                FileLook::TooLarge(file, error) => {
                    let finding = SkrFinding::reject(error.id(), None, error.to_string());
                    imports.push(self.reject_unread(&file, None, finding, now));
                }
                FileLook::Whole(mut file) => {
                    if self.find_signature(&mut file, now) == Paired::Waits {
                        continue;
                    }
                    match judge::split(&file.octets) {
                        Ok(FileContent::Many(parts)) => self.begin_many(ManyImport::dropped(file, parts)),
                        Err(unread) => {
                            imports.push(self.reject_unread(&file, unread.zone, unread.finding, now));
                        }
                        Ok(FileContent::One) => match Candidate::read(&file.octets, |zone| self.ours(zone)) {
                            Ok(candidate) => single.push((candidate, file)),
                            Err(unread) => {
                                imports.push(self.reject_unread(&file, unread.zone, unread.finding, now));
                            }
                        },
                    }
                }
            }
        }
        // Two SKRs of one zone at once: the earlier one first, whatever their names are.
        single.sort_by_cached_key(|(candidate, file)| {
            let bundle = |b: Option<&Bundle>| b.map(|b| (b.expiration(), b.inception));
            let bundles = &candidate.skr.bundles;
            (candidate.zone.clone(), bundle(bundles.last()), bundle(bundles.first()), file.name.clone())
        });
        for (candidate, file) in single {
            if self.is_stopping() {
                break;
            }
            imports.push(self.judge(candidate, &file, &mut sources, now));
        }
        self.clear();
    }

    /// Judges a file that a person handed over, as if it had been dropped, and tells `done`; one of several zones gives an import for
    /// each, and goes on in the steps that follow.
    pub fn begin_import_by_hand(
        &mut self,
        file: Dropped,
        now: Timestamp,
        done: impl FnOnce(Vec<FileImport>) + Send + 'static,
    ) {
        if !self.clock_is_plausible(now) {
            return done(vec![FileImport::failed(&file, None, super::CLOCK.to_owned())]);
        }
        let import = match judge::split(&file.octets) {
            Ok(FileContent::Many(parts)) => {
                return self.begin_many(ManyImport::ordered(file, parts, Box::new(done)));
            }
            Err(unread) => self.reject_unread(&file, unread.zone, unread.finding, now),
            Ok(FileContent::One) => match Candidate::read(&file.octets, |zone| self.ours(zone)) {
                Ok(candidate) => self.judge(candidate, &file, &mut Sources::default(), now),
                Err(unread) => self.reject_unread(&file, unread.zone, unread.finding, now),
            },
        };
        self.clear();
        if !is_dry_run(&file) {
            self.ordered.push(import.clone());
        }
        done(vec![import]);
    }

    /// The same for a loader that does not run: all at once.
    pub fn import_by_hand(&mut self, file: &Dropped, now: Timestamp) -> Vec<FileImport> {
        let (sender, imports) = channel();
        self.begin_import_by_hand(file.clone(), now, move |imports| drop(sender.send(imports)));
        let mut told = Vec::new();
        while !self.many.is_empty() {
            self.go_on_with_many(now, &mut told);
        }
        self.ordered.clear();
        imports.try_recv().unwrap_or_default()
    }

    /// The zone as the configuration writes it.
    pub(super) fn ours(&self, zone: &Name) -> Option<Name> {
        self.zones.get_key_value(zone).map(|(ours, _)| ours.clone())
    }

    /// Has a candidate for a zone of ours judged, and carries the verdict out.
    pub(super) fn judge(
        &mut self,
        candidate: Candidate,
        file: &Dropped,
        sources: &mut Sources,
        now: Timestamp,
    ) -> FileImport {
        let started = Instant::now();
        let (name, digest) = (candidate.zone.clone(), candidate.digest);
        let mut verdict = self.verdict(candidate.clone(), file, InForceAlready::Skip, sources, now);
        if let Ok(Verdict::Unchanged { .. }) = &verdict
            && !self.is_as_on_disk(&name)
        {
            // Whoever drops it again may do so to repair a store that was altered under us.
            self.reread_zone(&name, now);
            let is_damaged = self.zones.get(&name).is_some_and(|zone| zone.held.is_damaged());
            let in_force = if is_damaged { InForceAlready::Commit } else { InForceAlready::Skip };
            verdict = self.verdict(candidate, file, in_force, sources, now);
        }
        if let Some(zone) = self.zones.get_mut(&name) {
            zone.history_error = match &verdict {
                Err(NotJudged::Evidence(EvidenceError::Store(error))) => Some(error.to_string()),
                _ => None,
            };
            self.has_trouble |= zone.history_error.is_some();
        }
        let import = match verdict {
            Ok(verdict) => self.carry_out(&name, digest, verdict, file, now),
            Err(error) => self.failed(&name, file, &error.to_string(), now),
        };
        if !is_dry_run(file) {
            self.metrics.skr_import_duration_seconds.observe(started.elapsed().as_secs_f64());
        }
        import
    }

    /// The verdict by what the store holds: one that could not be read at the last try is read first.
    fn verdict(
        &mut self,
        candidate: Candidate,
        file: &Dropped,
        in_force: InForceAlready,
        sources: &mut Sources,
        now: Timestamp,
    ) -> Result<Verdict, NotJudged> {
        self.read_if_unread(&candidate.zone, now);
        let zone = &self.zones[&candidate.zone];
        let operator = match (&file.operator, file.order()) {
            // A person may hand over a file without a signature of its own.
            (None, Some(_)) => Some(Operator::Absent),
            (operator, _) => operator.clone(),
        };
        let force: &[CheckId] = file.order().map_or(&[], |order| &*order.force);
        let overrides = Overrides { force, in_force, ..Overrides::default() };
        let subject = EvidenceSubject {
            config: &self.config,
            zone: &zone.config,
            state: Cow::Borrowed(zone.held.state()?),
            operator,
            origin: overrides.origin,
        };
        Ok(judge::judge_gathering(candidate, subject, sources, &overrides, now)?)
    }

    /// True when the generation in force is the one that lies on disk.
    fn is_as_on_disk(&self, zone: &Name) -> bool {
        self.store.in_force(zone).is_ok_and(|kept| kept.as_ref() == self.in_force(zone))
    }

    /// A file that does not come to the judge.
    pub(super) fn reject_unread(
        &mut self,
        file: &Dropped,
        zone: Option<Name>,
        finding: SkrFinding,
        now: Timestamp,
    ) -> FileImport {
        let rejection = Rejection { stage: Stage::Read, findings: vec![finding] };
        self.reject(file, zone, rejection, now)
    }

    /// Looks for the signature of the KSK operator beside the file.
    fn find_signature(&mut self, file: &mut Dropped, now: Timestamp) -> Paired {
        let pinned = &self.config.loader.operator_certificates;
        let required = !pinned.is_empty() && self.requires_signature(&file.octets);
        self.inbox.pair(file, pinned, required, now)
    }

    /// True when a zone in the file requires it.
    fn requires_signature(&self, octets: &[u8]) -> bool {
        let requires = |zone: &Name| self.zones.get(zone).is_some_and(|zone| zone.config.require_signature);
        let mut zones = self.zones.values().map(|zone| zone.config.require_signature);
        if !self.zones.values().any(|zone| zone.config.require_signature) {
            return false;
        }
        zones.all(|required| required)
            || match judge::split(octets) {
                Ok(FileContent::Many(parts)) => {
                    parts.iter().filter_map(|part| part.zone.as_ref()).any(requires)
                }
                _ => crate::accept::zone_of(octets).as_ref().is_some_and(requires),
            }
    }
}
