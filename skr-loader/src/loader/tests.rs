//! The loader on a state folder of its own; time is stepped.

use keystore::check::CheckId;
use std::fs;
use std::path::Path;
use std::time::Instant;

use keystore::exchange::bind;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::store::{digest, format_current, read_current, skr_path, zone_dir};

use super::*;
use crate::files::hex;
use crate::testing::{DAY, StateDir, ZONE, health_of, skr, start, zone};
use crate::{audit, checks};
use metrics::health::ConditionId;

mod by_hand;
mod running;
mod unread;

struct Bench {
    state: StateDir,
    metrics: Metrics,
    loader: Loader,
    now: Timestamp,
}

impl Bench {
    fn new() -> Self {
        Self::on(StateDir::new())
    }

    fn on(state: StateDir) -> Self {
        let metrics = Metrics::new().unwrap();
        let loader = Loader::new(state.config(), metrics.clone()).unwrap();
        Self { state, metrics, loader, now: start() }
    }

    fn restart(self) -> Self {
        let Self { state, loader, now, .. } = self;
        drop(loader);
        Self { now, ..Self::on(state) }
    }

    fn drop_file(&self, name: &str, octets: impl AsRef<[u8]>) {
        fs::write(self.state.path("aside"), octets).unwrap();
        fs::rename(self.state.path("aside"), self.state.path("inbox").join(name)).unwrap();
    }

    /// Steps until everything in the inbox was looked at, cut-off files too.
    fn settle(&mut self) -> Vec<FileImport> {
        let mut imports = Vec::new();
        for seconds in [0, 61, 61] {
            self.now = self.now.plus(seconds);
            loop {
                let step = self.loader.step(self.now);
                imports.extend(step.imports);
                if !step.more {
                    break;
                }
            }
        }
        imports
    }

    /// Drops one file and gives what became of it.
    fn import(&mut self, name: &str, octets: impl AsRef<[u8]>) -> ImportOutcome {
        self.drop_file(name, octets);
        let mut imports = self.settle();
        assert_eq!(imports.len(), 1, "{imports:?}");
        imports.remove(0).outcome
    }

    /// The generation in force, and the digest of its text.
    fn current(&self) -> Option<(u64, String)> {
        let current = read_current(&self.state.path("accepted"), &zone()).unwrap()?;
        Some((current.generation, hex(&digest(&current.octets))))
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.state.path(folder))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The value of a series as it is scraped.
    fn value(&self, series: &str) -> i64 {
        let text = self.metrics.encode().unwrap();
        let line =
            text.lines().find_map(|l| l.strip_prefix(&format!("offlineksk_{series} ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    fn events(&self) -> Vec<String> {
        audit::verify(&self.state.path("audit.jsonl")).unwrap();
        let text = fs::read_to_string(self.state.path("audit.jsonl")).unwrap();
        let record = |line| serde_json::from_str::<Record>(line).unwrap();
        text.lines().map(record).map(|r| format!("{} {}", r.event, r.checks.join(","))).collect()
    }
}

fn sha256(builder: &SkrBuilder) -> String {
    hex(&digest(builder.text().as_bytes()))
}

fn rejecting_ids(outcome: &ImportOutcome) -> Vec<CheckId> {
    match outcome {
        ImportOutcome::Rejected { findings } => checks::rejecting(findings),
        other => panic!("{other:?}"),
    }
}

fn accepted(outcome: &ImportOutcome) -> u64 {
    match outcome {
        ImportOutcome::Accepted { generation, .. } => *generation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_skr_comes_into_force_and_outlives_a_restart() {
    let mut bench = Bench::new();
    let text = skr(0).text();
    assert_eq!(accepted(&bench.import("any name", &text)), 1);
    assert_eq!(bench.current(), Some((1, sha256(&skr(0)))));
    assert_eq!(bench.files("inbox"), [""; 0]);
    assert_eq!(bench.value("skr_imports_total{result=\"accepted\",zone=\"example.\"}"), 1);
    assert_eq!(bench.value("watch_files_total{outcome=\"imported\"}"), 1);
    assert_eq!(bench.value("skr_import_duration_seconds_count"), 1);

    let mut bench = bench.restart();
    bench.settle();
    let end = start().plus(50 * DAY);
    assert_eq!(bench.value("skr_generation{zone=\"example.\"}"), 1);
    assert_eq!(
        bench.value("skr_coverage_end_timestamp_seconds{zone=\"example.\"}"),
        end.secs().cast_signed()
    );
    assert_eq!(bench.value("skr_bundles{state=\"future\",zone=\"example.\"}"), 4);
    assert_eq!(bench.value("watch_up"), 1);

    let again = bench.import("again.skr", &text);
    assert_eq!(again, ImportOutcome::Unchanged { generation: 1 });
    assert_eq!(bench.value("skr_imports_total{result=\"unchanged\",zone=\"example.\"}"), 1);
    assert_eq!(bench.current(), Some((1, sha256(&skr(0)))));
    assert_eq!(bench.events(), ["accepted ", "unchanged "]);
}

#[test]
fn series_exist_before_anything_happens() {
    let mut bench = Bench::new();
    bench.loader.step(bench.now);
    for series in [
        "skr_imports_total{result=\"rejected\",zone=\"example.\"}",
        "skr_coverage_end_timestamp_seconds{zone=\"example.\"}",
        "skr_generation{zone=\"example.\"}",
        "skr_rejections_total{reason=\"SKR-BAD-SIGNATURE\"}",
        "skr_rejections_total{reason=\"SKR-NO-PRIVATE-KEY\"}",
        "watch_files_total{outcome=\"unsafe\"}",
        "watch_overflows_total",
        "watch_waiting_files",
    ] {
        assert_eq!(bench.value(series), 0, "{series}");
    }
    assert_eq!(
        bench.value("policy_skr_coverage_threshold_seconds{severity=\"critical\",zone=\"example.\"}"),
        259_200
    );
}

#[test]
fn a_bad_file_never_replaces_what_is_in_force() {
    let mut bench = Bench::new();
    let good = skr(0).text();
    assert_eq!(accepted(&bench.import("good.skr", &good)), 1);
    let text = skr(9).text();
    let mut flipped = skr(9).build();
    flipped.bundles[3].signatures[0].signature[7] ^= 1;
    let flipped = bind::print_skr(&flipped, start(), "a test");
    let mut holed = skr(9).build();
    holed.bundles.remove(2);
    let holed = bind::print_skr(&holed, start(), "a test");
    let other_zone = SkrBuilder::new("other.", start()).text();
    let cases: Vec<(&str, String, &str)> = vec![
        ("empty", String::new(), "SKR-SYNTAX"),
        ("garbage", "\0\u{1b}[2J garbage\n".to_owned(), "SKR-"),
        ("cut off", text[..text.len() / 2].to_owned(), "SKR-"),
        ("cut off at a line end", text.rsplit_once(";;").unwrap().0.to_owned(), "SKR-TRUNCATED"),
        ("a bit of a signature", flipped, "SKR-BAD-SIGNATURE"),
        ("a bundle removed from the middle", holed, "SKR-GAP"),
        ("another KSK", skr(9).ksk(TestKey::ksk(9)).text(), "SKR-UNKNOWN-KSK"),
        ("a ZSK that is not here", skr(9).zsk(TestKey::zsk(9).dnskey).text(), "SKR-NO-PRIVATE-KEY"),
        ("begins too late", skr(51).text(), "SKR-GAP"),
        ("all in the past", SkrBuilder::new(ZONE, start().minus(80 * DAY)).text(), "SKR-EXPIRED"),
        ("ends earlier", skr(0).bundles(3).text(), "SKR-REPLAY"),
        ("of a zone that is not ours", other_zone, "SKR-WRONG-ZONE"),
    ];
    for (what, text, id) in &cases {
        let outcome = bench.import("same name.skr", text);
        let ids = rejecting_ids(&outcome);
        assert!(ids.iter().any(|found| found.as_str().starts_with(id)), "{what}: {outcome:?}");
        assert_eq!(bench.current(), Some((1, sha256(&skr(0)))), "{what}");
        for id in ids {
            let series = format!("skr_rejections_total{{reason=\"{id}\"}}");
            assert!(bench.value(&series) > 0, "{what}: {series}");
        }
    }
    assert_eq!(bench.value("skr_last_import_success{zone=\"example.\"}"), 0);
    // Each with its reason, none replaced.
    let rejected = bench.files("rejected");
    assert_eq!(rejected.len(), 2 * cases.len(), "{rejected:?}");
    let mut kept: Vec<String> = Vec::new();
    for name in rejected.iter().filter(|name| !name.ends_with(".reason")) {
        let octets = fs::read(bench.state.path("rejected").join(name)).unwrap();
        let reason = fs::read_to_string(bench.state.path("rejected").join(format!("{name}.reason"))).unwrap();
        assert!(reason.contains(&format!("sha256   {}", hex(&digest(&octets)))), "{reason}");
        assert!(reason.contains("\nSKR-") && !reason.contains('\u{1b}'), "{reason}");
        kept.push(String::from_utf8(octets).unwrap());
    }
    let mut dropped: Vec<String> = cases.into_iter().map(|(_, text, _)| text).collect();
    kept.sort();
    dropped.sort();
    assert_eq!(kept, dropped, "the very octets");
    assert_eq!(accepted(&bench.import("good.skr", skr(9).text())), 2, "and the next good one goes in");
    assert_eq!(bench.value("skr_last_import_success{zone=\"example.\"}"), 1);
}

#[test]
fn two_at_once_go_by_content() {
    for names in [["a.skr", "b.skr"], ["b.skr", "a.skr"]] {
        let mut bench = Bench::new();
        bench.now = start().plus(12 * DAY);
        bench.drop_file(names[0], skr(0).text());
        bench.drop_file(names[1], skr(9).text());
        let generations: Vec<u64> = bench.settle().iter().map(|i| accepted(&i.outcome)).collect();
        assert_eq!(generations, [1, 2]);
        assert_eq!(bench.current(), Some((2, sha256(&skr(9)))), "{names:?}");
    }
}

#[test]
fn an_skr_that_begins_later_leaves_no_hole() {
    let mut bench = Bench::new();
    bench.import("now.skr", skr(0).text());
    let later = skr(45).text();
    assert_eq!(accepted(&bench.import("later.skr", &later)), 2);
    assert_ne!(bench.current(), Some((2, sha256(&skr(45)))));
    let current = read_current(&bench.state.path("accepted"), &zone()).unwrap().unwrap();
    let joined = bind::parse_skr(&current.octets, &zone()).unwrap();
    assert_eq!(joined.bundles.len(), 10);
    let received = zone_dir(&bench.state.path("accepted"), &zone()).join("2.received");
    assert_eq!(fs::read_to_string(received).unwrap(), later);
    assert_eq!(bench.value("skr_bundles{state=\"active\",zone=\"example.\"}"), 1);
    assert_eq!(bench.value("skr_gap_seconds{zone=\"example.\"}"), 0);

    let mut bench = bench.restart();
    assert_eq!(bench.import("again.skr", &later), ImportOutcome::Unchanged { generation: 2 });
    assert_eq!(rejecting_ids(&bench.import("old.skr", skr(0).text())), [CheckId::SkrReplay]);
}

#[test]
fn an_skr_that_cannot_be_written_waits_and_goes_in_later() {
    let mut bench = Bench::new();
    let dir = zone_dir(&bench.state.path("accepted"), &zone());
    fs::write(&dir, "in the way").unwrap();
    bench.drop_file("a.skr", skr(0).text());
    let imports = bench.loader.step(bench.now).imports;
    assert!(matches!(imports[..], [FileImport { outcome: ImportOutcome::Failed { .. }, .. }]), "{imports:?}");
    assert_eq!(bench.value("skr_last_import_success{zone=\"example.\"}"), 0);
    let is_told = |bench: &Bench| {
        let conditions = health_of(&bench.loader, bench.now).conditions;
        conditions.iter().any(|c| c.id == ConditionId::ImportDeferred && c.what.contains("a.skr"))
    };
    assert!(is_told(&bench));
    // After one second, two more, and so on.
    for (seconds, tries) in [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0), (7, 1)] {
        let imports = bench.loader.step(bench.now.plus(seconds)).imports;
        assert_eq!(imports.len(), tries, "after {seconds} s: {imports:?}");
    }
    fs::remove_file(&dir).unwrap();
    let imports = bench.settle();
    assert_eq!(imports.iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(), [1]);
    assert!(!is_told(&bench));
}

#[test]
fn a_second_loader_is_refused() {
    let bench = Bench::new();
    let error = Loader::new(bench.state.config(), Metrics::new().unwrap()).unwrap_err();
    assert!(matches!(&error, LoaderStartError::Store(StoreOpenError::Locked { .. })), "{error}");
    assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
    let state = bench.restart().state;
    assert!(Loader::new(state.config(), Metrics::new().unwrap()).is_ok(), "free once the first one is gone");
}

#[test]
fn what_a_crash_left_is_tidied_up() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    bench.now = start().plus(9 * DAY);
    let dir = zone_dir(&bench.state.path("accepted"), &zone());
    // Killed before `current` was swapped, and while a temp file was written.
    fs::write(skr_path(&dir, 2), skr(9).text()).unwrap();
    fs::write(dir.join(".3.skr.abcdef.tmp"), "half").unwrap();
    bench.drop_file("b.skr", skr(9).text());
    let mut bench = bench.restart();
    assert_eq!(bench.files("accepted/example."), ["1.skr", "current"]);
    let imports = bench.settle();
    assert_eq!(imports.iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(), [2]);
    assert_eq!(bench.current(), Some((2, sha256(&skr(9)))));
}

#[test]
fn a_damaged_store_is_repaired_by_the_next_good_skr() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("current gone", |dir| fs::remove_file(dir.join("current")).unwrap()),
        ("the generation gone", |dir| fs::remove_file(skr_path(dir, 1)).unwrap()),
        ("the generation altered", |dir| fs::write(skr_path(dir, 1), "altered").unwrap()),
        ("current garbage", |dir| fs::write(dir.join("current"), "garbage").unwrap()),
        ("current names what is no SKR", |dir| {
            fs::write(skr_path(dir, 1), "no SKR").unwrap();
            fs::write(dir.join("current"), format_current(1, &digest(b"no SKR"))).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let mut bench = Bench::new();
        bench.import("a.skr", skr(0).text());
        harm(&zone_dir(&bench.state.path("accepted"), &zone()));
        let mut bench = bench.restart();
        assert_eq!(bench.loader.in_force(&zone()), None, "{what}");
        let conditions = health_of(&bench.loader, bench.now).zones[0].conditions.clone();
        assert!(conditions.iter().any(|c| c.id == ConditionId::SkrStoreDamaged), "{what}: {conditions:?}");
        assert_eq!(bench.value("skr_generation{zone=\"example.\"}"), 0, "{what}");
        assert_eq!(accepted(&bench.import("a.skr", skr(0).text())), 2, "{what}: no number twice");
        assert_eq!(bench.current(), Some((2, sha256(&skr(0)))), "{what}");
    }
    // A running loader must look, too, and not trust its memory of what is in force.
    let gone: (&str, Harm) = ("all gone", |dir| fs::remove_dir_all(dir).unwrap());
    for (what, harm) in harms.into_iter().chain([gone]) {
        let mut bench = Bench::new();
        bench.import("a.skr", skr(0).text());
        harm(&zone_dir(&bench.state.path("accepted"), &zone()));
        // What is bad changes nothing of what is in force, as far as anybody knows.
        bench.import("bad.skr", skr(0).bundles(1).text());
        assert_eq!(bench.loader.in_force(&zone()).map(|f| f.generation), Some(1), "{what}");
        assert_eq!(accepted(&bench.import("b.skr", skr(0).text())), 2, "{what}: no number twice");
        assert_eq!(bench.current(), Some((2, sha256(&skr(0)))), "{what}");
        assert_eq!(
            bench.import("c.skr", skr(0).text()),
            ImportOutcome::Unchanged { generation: 2 },
            "{what}"
        );
    }
}

#[test]
fn nothing_is_judged_by_a_clock_that_is_far_behind() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    let now = std::mem::replace(&mut bench.now, Timestamp::from_secs(7));
    bench.drop_file("b.skr", skr(9).text());
    assert_eq!(bench.settle(), []);
    bench.now = now.minus(3200);
    assert_eq!(bench.settle().iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(), [2]);
}

#[test]
fn one_host_of_two_takes_nothing_without_its_lease_and_goes_on_with_it() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    let moment = || keystore::pair::Moment { wall: start(), boot: std::time::Duration::ZERO };
    let fence = keystore::pair::Fence::closed(moment);
    bench.loader.set_fence(fence.clone());
    bench.drop_file("b.skr", skr(9).text());
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.files("inbox"), ["b.skr"]);
    let (tell, told) = std::sync::mpsc::channel();
    let request = crate::control::ControlRequest::Rollback {
        zone: "example.".to_owned(),
        to: None,
        force: Vec::new(),
        reason: Some("a test".to_owned()),
        dry_run: false,
    };
    let job = crate::control::job::LoaderJob::new(request, crate::user::User::current()).unwrap();
    job.begin(&mut bench.loader, start(), move |answer| tell.send(answer).unwrap());
    let answer = told.try_recv().unwrap();
    assert!(format!("{answer:?}").contains("LEASE-LOST"), "{answer:?}");
    fence.open(moment(), std::time::Duration::from_secs(60));
    assert_eq!(bench.settle().iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(), [2]);
}

#[test]
fn zones_come_and_go_with_the_configuration() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    let other = Name::parse("other.").unwrap();
    let mut config = bench.state.config();
    config.zones[0].name = other.clone();
    bench.loader.reload(config.clone(), start()).unwrap();
    let text = bench.metrics.encode().unwrap();
    assert!(!text.contains("zone=\"example.\"") && text.contains("zone=\"other.\""), "{text}");
    assert_eq!(rejecting_ids(&bench.import("b.skr", skr(9).text())), [CheckId::SkrWrongZone]);

    bench.loader.reload(bench.state.config(), start()).unwrap();
    assert_eq!(bench.loader.in_force(&zone()).map(|f| f.generation), Some(1), "read back");
    config.state_dir = bench.state.path("elsewhere");
    let error = bench.loader.reload(config, start()).unwrap_err();
    assert!(matches!(error, LoaderStartError::StateDirChanged { .. }), "{error}");
    assert_eq!(accepted(&bench.import("b.skr", skr(9).text())), 2, "the old configuration stays in use");
}

#[test]
fn the_loop_hears_of_files_and_of_stop() {
    let Bench { state, mut loader, .. } = Bench::new();
    let control = loader.control();
    let (tell, imports) = std::sync::mpsc::channel();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| loader.run(start, |import| tell.send(import.clone()).unwrap()));
        // The watch is set by the first step: what is dropped before is found by its scan, what comes later by events.
        for n in 0..3u64 {
            fs::write(state.path("aside"), skr(n).text()).unwrap();
            fs::rename(state.path("aside"), state.path("inbox").join("a.skr")).unwrap();
            let import = imports.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(accepted(&import.outcome), n + 1);
        }
        control.stop();
    });
    assert!(begun.elapsed() < Duration::from_secs(8), "no event was waited for until the next scan");
    let text = fs::read_to_string(state.path("audit.jsonl")).unwrap();
    assert!(
        text.lines().next().unwrap().contains("started") && text.lines().last().unwrap().contains("stopped")
    );
}

#[test]
fn many_files_are_each_judged_once() {
    let mut bench = Bench::new();
    for n in 0..100 {
        bench.drop_file(&format!("{n}.skr"), format!("garbage {n}\n;; SignedKeyResponse 1.0 generated\n"));
    }
    bench.drop_file("good.skr", skr(0).text());
    let imports = bench.settle();
    assert_eq!(imports.len(), 101);
    assert_eq!(bench.files("rejected").len(), 200);
    assert_eq!(bench.current().map(|c| c.0), Some(1));
}

/// SKRs in Knot's and in the root zone's form are accepted; the generation has BIND's form, and what came is kept beside it.
#[test]
fn takes_every_form() {
    use keystore::crypto::Algorithm;
    use keystore::exchange::{knot, xml};
    use keystore::keys::{FLAG_SEP, FLAG_ZONE};

    let skr = SkrBuilder::new(ZONE, start()).build();
    let text = knot::print_skr(&skr, knot::Stamps::Unix, start(), "Knot DNS 3.4.6");
    let mut bench = Bench::new();
    assert_eq!(accepted(&bench.import("a.skr", &text)), 1);
    let current = read_current(&bench.state.path("accepted"), &zone()).unwrap().unwrap();
    let stored = bind::parse_skr(&current.octets, &zone()).unwrap();
    assert_eq!(knot::print_skr(&stored, knot::Stamps::Unix, start(), "Knot DNS 3.4.6"), text);
    let received = skr_path(&zone_dir(&bench.state.path("accepted"), &zone()), 1).with_extension("received");
    assert_eq!(fs::read_to_string(received).unwrap(), text);
    // The same again is no news, after a restart too.
    let mut bench = bench.restart();
    assert!(matches!(bench.import("a.skr", &text), ImportOutcome::Unchanged { .. }));
    // Damage in that form has the same IDs.
    let (cut, _) = text.rsplit_once(";; ").unwrap();
    assert_eq!(rejecting_ids(&bench.import("b.skr", cut)), [CheckId::SkrTruncated]);
    let other = text.replace(ZONE.trim_end_matches('.'), "other.test");
    assert_eq!(rejecting_ids(&bench.import("c.skr", other)), [CheckId::SkrWrongZone]);
    assert_eq!(rejecting_ids(&bench.import("d.xml", "<KSR>")), [CheckId::SkrSyntax]);
    let rsa = |flags| TestKey::generate(flags, Algorithm::ECDSAP256SHA256, 0);
    let foreign = SkrBuilder::new(ZONE, start()).ksk(rsa(FLAG_ZONE | FLAG_SEP)).zsk(rsa(FLAG_ZONE).dnskey);
    let xml = xml::convert::from_skr(&foreign.without_cds().build()).unwrap().response;
    let ids = rejecting_ids(&bench.import("e.xml", xml::print_response(&xml)));
    assert!(ids.contains(&CheckId::SkrUnknownKsk), "{ids:?}");
    assert_eq!(bench.current().unwrap().0, 1);
}

#[test]
fn old_rejected_files_make_room_for_new_ones() {
    let mut bench = Bench::new();
    bench.import("first.skr", "bad");
    bench.import("second.skr", "bad");
    fs::write(bench.state.path("rejected/notes"), "mine").unwrap();
    let mut config = bench.loader.config.clone();
    config.loader.rejected_max_files = 2;
    bench.loader.reload(config, start()).unwrap();
    assert_eq!((bench.value("rejected_files"), bench.value("rejected_removed_total")), (2, 0));
    bench.import("third.skr", "bad");
    assert_eq!((bench.value("rejected_files"), bench.value("rejected_removed_total")), (2, 1));
    let want = ["notes", "second.skr", "second.skr.reason", "third.skr", "third.skr.reason"];
    assert_eq!(bench.files("rejected"), want);
    // What an earlier run left counts, too.
    let mut config = bench.loader.config.clone();
    let mut bench = bench.restart();
    config.loader.rejected_max_files = 1;
    bench.loader.reload(config, start()).unwrap();
    assert_eq!(bench.files("rejected"), ["notes", "third.skr", "third.skr.reason"]);
    assert_eq!((bench.value("rejected_files"), bench.value("rejected_removed_total")), (1, 1));
    bench.import("fourth.skr", "bad");
    assert_eq!(bench.files("rejected"), ["fourth.skr", "fourth.skr.reason", "notes"]);
}
