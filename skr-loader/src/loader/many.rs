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
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use keystore::config::{Config, ZoneConfig};
    use keystore::crypto::PrivateKey;
    use keystore::dns::Name;
    use keystore::exchange::testing::{SkrBuilder, TestKey};
    use keystore::keys::{KeyFile, Timing};
    use keystore::shared::Shared;
    use metrics::Metrics;

    use super::*;
    use crate::order::OperatorOrder;
    use crate::testing::{StateDir, ZSK, start};
    use crate::user::User;

    struct Bench {
        state: StateDir,
        loader: Loader,
        now: Timestamp,
    }

    impl Bench {
        /// A loader for these zones, with the ZSK of each in one folder.
        fn new(zones: &[&str]) -> Self {
            let state = StateDir::new();
            let config = state.config();
            let zone = |name: &&str| {
                let (name, key_directory) = (Name::parse(name).unwrap(), state.path("keys"));
                ZoneConfig { name, key_directory, ..(*config.zones[0]).clone() }.into()
            };
            let zones: Vec<Shared<ZoneConfig>> = zones.iter().map(zone).collect();
            for zone in &zones {
                let (dnskey, dir) = (TestKey::zsk(ZSK).dnskey, zone.key_directory.clone());
                let (timing, state) = (Timing::default(), None);
                let key = KeyFile { zone: zone.name.clone(), ttl: 3600, dnskey, timing, state, dir };
                key.write(&PrivateKey::Raw(vec![ZSK; 32])).unwrap();
            }
            let loader = Loader::new(Config { zones, ..config }, Metrics::new().unwrap()).unwrap();
            Self { state, loader, now: start() }
        }

        fn import(&mut self, name: &str, text: &str) -> Vec<FileImport> {
            fs::write(self.state.path("aside"), text).unwrap();
            fs::rename(self.state.path("aside"), self.state.path("inbox").join(name)).unwrap();
            let mut imports = Vec::new();
            for _ in 0..3 {
                // By far later than the file was written, whatever the clock says.
                self.now = self.now.plus(61);
                imports.extend(self.loader.step(self.now).imports);
            }
            imports
        }

        fn rejected(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(self.state.path("rejected"))
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort_unstable();
            names
        }

        fn inbox_is_empty(&self) -> bool {
            fs::read_dir(self.state.path("inbox")).unwrap().next().is_none()
        }
    }

    fn skr(zone: &str) -> String {
        SkrBuilder::new(zone, start()).text()
    }

    /// The zone of each import and what became of it: its generation, or the first ID.
    fn told(imports: &[FileImport]) -> Vec<(String, String)> {
        let outcome = |outcome: &ImportOutcome| match outcome {
            ImportOutcome::Accepted { generation, .. } => format!("accepted {generation}"),
            ImportOutcome::Unchanged { generation } => format!("unchanged {generation}"),
            ImportOutcome::Rejected { findings } => findings[0].id.to_string(),
            ImportOutcome::Failed { what } => what.clone(),
        };
        let zone = |zone: &Option<Name>| zone.as_ref().map_or_else(|| "?".to_owned(), Name::to_string);
        imports.iter().map(|i| (zone(&i.zone), outcome(&i.outcome))).collect()
    }

    fn pairs(want: &[(&str, &str)]) -> Vec<(String, String)> {
        want.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_bad_zone_hinders_no_good_one() {
        let mut bench = Bench::new(&["a.example.", "b.example.", "c.example."]);
        let mut other = skr("b.example.");
        // Another key than the one that signed.
        let at = other.find("DNSKEY\t").unwrap();
        other.replace_range(at..at + 10, "DNSKEY\t256");
        let all = format!("{}{other}{}{}", skr("a.example."), skr("c.example."), skr("x.example."));
        let imports = bench.import("all.skr", &all);
        let want = told(&imports);
        assert_eq!(want[0], ("a.example.".to_owned(), "accepted 1".to_owned()));
        assert_eq!((want[1].0.as_str(), want[1].1.starts_with("SKR-")), ("b.example.", true), "{want:?}");
        assert_eq!(want[2..], pairs(&[("c.example.", "accepted 1"), ("?", "SKR-WRONG-ZONE")]));
        assert_eq!(
            bench.rejected(),
            [
                "all.skr.b.example",
                "all.skr.b.example.reason",
                "all.skr.x.example",
                "all.skr.x.example.reason"
            ]
        );
        let kept = fs::read_to_string(bench.state.path("rejected").join("all.skr.b.example")).unwrap();
        assert_eq!(kept, other, "the part alone");
        assert!(bench.inbox_is_empty());
        for zone in ["a.example.", "c.example."] {
            assert!(bench.loader.in_force(&Name::parse(zone).unwrap()).is_some());
        }
        // Once more: nothing new.
        let again = bench.import("again.skr", &format!("{}{}", skr("a.example."), skr("c.example.")));
        assert_eq!(told(&again), pairs(&[("a.example.", "unchanged 1"), ("c.example.", "unchanged 1")]));
    }

    /// A part that was rejected is passed over only when the rest of the very file is tried again.
    #[test]
    fn a_part_that_was_rejected_in_one_file_is_judged_in_another() {
        type Mend = fn(&mut Bench, &str);
        let cases: [(&str, Mend); 3] = [
            ("in another file", |bench, text| drop_now(bench, "other.skr", text)),
            ("in a file of that name", |bench, text| drop_now(bench, "all.skr", text)),
            ("after a reload", |bench, _| {
                bench.loader.reload(bench.loader.config().clone(), bench.now).unwrap()
            }),
        ];
        for (what, mend) in cases {
            let mut bench = Bench::new(&["a.example.", "b.example.", "c.example."]);
            let key = format!("Kb.example.+015+{:05}.private", TestKey::zsk(ZSK).dnskey.tag());
            let key = bench.state.path("keys").join(key);
            let away = bench.state.path("away");
            fs::rename(&key, &away).unwrap();
            // The part of c.example cannot be dealt with.
            let store = bench.state.path("accepted/c.example.");
            fs::write(&store, "in the way").unwrap();
            let all = format!("{}{}{}", skr("a.example."), skr("b.example."), skr("c.example."));
            let first = told(&bench.import("all.skr", &all));
            let rejected =
                |told: &[(String, String)]| told.iter().filter(|(_, t)| t.starts_with("SKR-")).count();
            assert_eq!(rejected(&first), 1, "{what}: once, however often the rest is tried: {first:?}");
            fs::rename(&away, &key).unwrap();
            mend(&mut bench, &format!("{}{}", skr("a.example."), skr("b.example.")));
            let mut imports = Vec::new();
            for _ in 0..3 {
                bench.now = bench.now.plus(61);
                imports.extend(bench.loader.step(bench.now).imports);
            }
            let wanted = ("b.example.".to_owned(), "accepted 1".to_owned());
            assert!(told(&imports).contains(&wanted), "{what}: {:?}", told(&imports));
            fs::remove_file(&store).unwrap();
            for _ in 0..3 {
                bench.now = bench.now.plus(61);
                bench.loader.step(bench.now);
            }
            assert!(bench.inbox_is_empty(), "{what}");
            assert!(bench.loader.rejected_parts.is_empty(), "{what}: nothing is kept of files that are gone");
        }
    }

    fn drop_now(bench: &mut Bench, name: &str, text: &str) {
        fs::write(bench.state.path("aside"), text).unwrap();
        fs::rename(bench.state.path("aside"), bench.state.path("inbox").join(name)).unwrap();
    }

    #[test]
    fn parts_that_are_no_whole_skr() {
        let mut bench = Bench::new(&["a.example.", "b.example.", "c.example."]);
        let (a, b, c) = (skr("a.example."), skr("b.example."), skr("c.example."));
        let (twice, cut) = (format!("{a}{b}{a}"), &c[..c.len() / 2]);
        let imports = bench.import("twice.skr", &twice);
        let want = [("a.example.", "SKR-SYNTAX"), ("b.example.", "accepted 1"), ("a.example.", "SKR-SYNTAX")];
        assert_eq!(told(&imports)[..2], pairs(&want)[..2]);
        // The first of them is good by itself, and still not taken.
        assert!(bench.loader.in_force(&Name::parse("a.example.").unwrap()).is_none());
        let imports = bench.import("cut.skr", &format!("{a}{cut}"));
        let [(_, first), (zone, second)] = &told(&imports)[..] else { panic!("{imports:?}") };
        assert_eq!((first.as_str(), zone.as_str()), ("accepted 1", "c.example."));
        assert!(["SKR-TRUNCATED", "SKR-SYNTAX"].contains(&second.as_str()), "{second}");
        let ImportOutcome::Rejected { findings } = &imports[1].outcome else { panic!("{imports:?}") };
        let line = a.lines().count() + 1;
        assert!(findings[0].what.contains(&format!("begins at line {line}")), "{}", findings[0].what);
    }

    #[test]
    fn two_zones_of_one_key_file_folder_are_not_mixed() {
        let mut bench = Bench::new(&["a.example.", "b.example."]);
        fs::remove_file(
            bench
                .state
                .path("keys")
                .join(format!("Kb.example.+015+{:05}.private", TestKey::zsk(ZSK).dnskey.tag())),
        )
        .unwrap();
        let imports = bench.import("all.skr", &format!("{}{}", skr("a.example."), skr("b.example.")));
        assert_eq!(
            told(&imports),
            pairs(&[("a.example.", "accepted 1"), ("b.example.", "SKR-NO-PRIVATE-KEY")])
        );
    }

    /// `count` zones, and their names.
    fn many_zones(count: usize) -> (Bench, Vec<String>) {
        let names: Vec<String> = (0..count).map(|n| format!("z{n:03}.example.")).collect();
        (Bench::new(&names.iter().map(String::as_str).collect::<Vec<_>>()), names)
    }

    fn text_of(names: &[String]) -> String {
        names.iter().map(|name| skr(name)).collect()
    }

    /// Drops a file that was not touched for long.
    fn drop_old(bench: &mut Bench, name: &str, text: &str) {
        drop_now(bench, name, text);
        bench.now = bench.now.plus(61);
    }

    #[test]
    fn kind_112_a_step_judges_few_parts_of_a_file_and_what_is_dropped_meanwhile_goes_between() {
        let count = 2 * PARTS_A_STEP + 3;
        let (mut bench, names) = many_zones(count + 1);
        bench.loader.step(bench.now);
        let (last, many) = names.split_last().unwrap();
        drop_old(&mut bench, "all.skr", &text_of(many));
        let mut told = Vec::new();
        for (step, wanted) in [PARTS_A_STEP, PARTS_A_STEP + 1, 3].into_iter().enumerate() {
            let done = bench.loader.step(bench.now);
            assert_eq!(done.imports.len(), wanted, "step {step}: {:?}", told);
            assert_eq!((done.more, done.only_unlikely), (step < 2, false), "step {step}");
            if step == 1 {
                assert_eq!(
                    done.imports[0].zone.as_ref().map(Name::to_string).as_ref(),
                    Some(last),
                    "the urgent one first"
                );
            }
            let report = bench.loader.standing().report(bench.now).report.inbox.unwrap();
            let at_work = report
                .pending
                .iter()
                .find(|file| file.state == "at-work")
                .map(|file| file.reason.clone().unwrap());
            let progress =
                (step < 2).then(|| format!("{} of {count} zones are done", (step + 1) * PARTS_A_STEP));
            assert_eq!(at_work, progress, "step {step}");
            told.extend(done.imports);
            if step == 0 {
                drop_old(&mut bench, "urgent.skr", &skr(last));
            }
        }
        assert!(
            told.iter().all(|import| matches!(import.outcome, ImportOutcome::Accepted { generation: 1, .. })),
            "{told:?}"
        );
        assert_eq!(told.len(), count + 1, "each once, although the inbox was scanned meanwhile");
        assert!(bench.inbox_is_empty());
    }

    #[test]
    fn kind_112_files_of_many_zones_take_turns_and_persons_are_answered_at_the_end() {
        let (mut bench, names) = many_zones(2 * PARTS_A_STEP + 2);
        bench.loader.step(bench.now);
        let (large, small) = names.split_at(2 * PARTS_A_STEP);
        drop_old(&mut bench, "large.skr", &text_of(large));
        bench.loader.step(bench.now);
        let order =
            Arc::new(OperatorOrder { who: User::current(), force: Vec::new(), reason: None, dry_run: false });
        let file = Dropped::by_hand("small.skr".into(), text_of(small).into_bytes(), order);
        let (sender, answer) = channel();
        let now = bench.now;
        bench.loader.begin_import_by_hand(file, now, move |imports| sender.send(imports).unwrap());
        assert!(answer.try_recv().is_err(), "nothing was judged yet");
        let mut steps = 0;
        let answered = loop {
            bench.loader.step(bench.now);
            steps += 1;
            if let Ok(imports) = answer.try_recv() {
                break imports;
            }
            assert!(steps < 10);
        };
        assert_eq!((steps, answered.len()), (2, small.len()), "behind one turn of the large file");
        bench.loader.step(bench.now);
        assert!(bench.inbox_is_empty() && bench.loader.in_force(&Name::parse(&large[0]).unwrap()).is_some());
    }

    #[test]
    fn kind_112_the_watchdog_is_fed_between_the_parts_and_a_stop_waits_for_few_of_them() {
        let (mut bench, names) = many_zones(3 * PARTS_A_STEP);
        // By then the file has rested.
        let now = bench.now.plus(61);
        drop_old(&mut bench, "all.skr", &text_of(&names));
        let control = bench.loader.control();
        // Each call of the clock feeds the watchdog.
        let (since_fed, longest, judged) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let fed = || {
            longest.set(longest.get().max(since_fed.replace(0)));
            now
        };
        bench.loader.run(fed, |_| {
            since_fed.set(since_fed.get() + 1);
            judged.set(judged.get() + 1);
            if judged.get() == PARTS_A_STEP + 1 {
                control.stop();
            }
        });
        assert_eq!((longest.get(), judged.get()), (PARTS_A_STEP, 2 * PARTS_A_STEP));
        assert!(!bench.inbox_is_empty(), "the next loader goes on with the file");
    }

    /// The urgent SKR of a zone that the large file has too, and what is ordered meanwhile, is newer than that file.
    #[test]
    fn kind_112_a_part_does_not_undo_what_came_into_force_while_its_file_was_at_work() {
        let later = |zone: &str| SkrBuilder::new(zone, start()).bundles(7).text();
        for (what, urgent, wanted) in [
            ("another one", later as fn(&str) -> String, "SKR-REPLAY"),
            ("the same one", skr as fn(&str) -> String, "unchanged 1"),
        ] {
            let (mut bench, names) = many_zones(2 * PARTS_A_STEP);
            bench.loader.step(bench.now);
            let last = names.last().unwrap();
            drop_old(&mut bench, "all.skr", &text_of(&names));
            bench.loader.step(bench.now);
            drop_old(&mut bench, "urgent.skr", &urgent(last));
            let imports = told(&bench.loader.step(bench.now).imports);
            let of_last: Vec<&str> =
                imports.iter().filter(|(zone, _)| zone == last).map(|(_, told)| told.as_str()).collect();
            assert_eq!(of_last, ["accepted 1", wanted], "{what}");
            let in_force = bench.loader.in_force(&Name::parse(last).unwrap()).unwrap();
            assert_eq!(in_force.generation, 1, "{what}: the urgent one stays");
            assert!(bench.inbox_is_empty(), "{what}");
        }
    }

    #[test]
    fn kind_112_a_file_that_is_replaced_or_taken_away_while_it_is_at_work_is_given_up() {
        for replaced in [true, false] {
            let (mut bench, names) = many_zones(3 * PARTS_A_STEP);
            bench.loader.step(bench.now);
            drop_old(&mut bench, "all.skr", &text_of(&names));
            assert_eq!(bench.loader.step(bench.now).imports.len(), PARTS_A_STEP);
            if replaced {
                drop_old(&mut bench, "all.skr", &text_of(&names[..2]));
            } else {
                fs::remove_file(bench.state.path("inbox/all.skr")).unwrap();
            }
            let mut imports = Vec::new();
            for _ in 0..4 {
                imports.extend(bench.loader.step(bench.now).imports);
                bench.now = bench.now.plus(61);
            }
            assert_eq!(
                imports.len(),
                if replaced { 2 } else { 0 },
                "replaced: {replaced}: {:?}",
                told(&imports)
            );
            assert!(bench.inbox_is_empty() && bench.loader.many.is_empty());
            let report = bench.loader.standing().report(bench.now).report.inbox.unwrap();
            assert!(report.pending.is_empty(), "{:?}", report.pending);
            assert!(bench.loader.in_force(&Name::parse(names.last().unwrap()).unwrap()).is_none());
        }
    }
}
