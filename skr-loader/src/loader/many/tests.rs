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
        ["all.skr.b.example", "all.skr.b.example.reason", "all.skr.x.example", "all.skr.x.example.reason"]
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
        ("after a reload", |bench, _| bench.loader.reload(bench.loader.config().clone(), bench.now).unwrap()),
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
        let rejected = |told: &[(String, String)]| told.iter().filter(|(_, t)| t.starts_with("SKR-")).count();
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
    assert_eq!(told(&imports), pairs(&[("a.example.", "accepted 1"), ("b.example.", "SKR-NO-PRIVATE-KEY")]));
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
        let progress = (step < 2).then(|| format!("{} of {count} zones are done", (step + 1) * PARTS_A_STEP));
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
        assert_eq!(imports.len(), if replaced { 2 } else { 0 }, "replaced: {replaced}: {:?}", told(&imports));
        assert!(bench.inbox_is_empty() && bench.loader.many.is_empty());
        let report = bench.loader.standing().report(bench.now).report.inbox.unwrap();
        assert!(report.pending.is_empty(), "{:?}", report.pending);
        assert!(bench.loader.in_force(&Name::parse(names.last().unwrap()).unwrap()).is_none());
    }
}
