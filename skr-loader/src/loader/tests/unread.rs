//! A store that cannot be read just now is no empty one: nothing is judged against it, and nothing is written to it.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::inbox::Dropped;
use crate::order::OperatorOrder;
use crate::testing::health_of;
use crate::user::User;
use metrics::health::ConditionId;

/// Generations 1 and 2, of which 1 was removed, at day 12.
fn pruned() -> Bench {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    bench.now = start().plus(12 * DAY);
    assert_eq!(accepted(&bench.import("b.skr", skr(9).text())), 2);
    fs::remove_file(skr_path(&folder(&bench), 1)).unwrap();
    bench
}

fn folder(bench: &Bench) -> PathBuf {
    zone_dir(&bench.state.path("accepted"), &zone())
}

/// A fault of the system that passes.
struct Fault {
    what: &'static str,
    begin: fn(&Path),
    end: fn(&Path),
}

fn hide(dir: &Path, name: &str, instead: impl FnOnce(&Path)) {
    let path = dir.join(name);
    fs::rename(&path, dir.join("hidden")).unwrap();
    instead(&path);
}

fn show(dir: &Path, name: &str) {
    fs::remove_file(dir.join(name)).unwrap();
    fs::rename(dir.join("hidden"), dir.join(name)).unwrap();
}

/// `dir` is `accepted`.
const FAULTS: [Fault; 4] = [
    Fault {
        what: "ELOOP at the folder",
        begin: |dir| hide(dir, "example.", |path| symlink(path, path).unwrap()),
        end: |dir| show(dir, "example."),
    },
    Fault {
        what: "ENOTDIR below the folder",
        begin: |dir| hide(dir, "example.", |path| fs::write(path, "in the way").unwrap()),
        end: |dir| show(dir, "example."),
    },
    Fault {
        what: "ENOENT of the folder of all zones",
        begin: |dir| fs::rename(dir, dir.with_extension("hidden")).unwrap(),
        end: |dir| fs::rename(dir.with_extension("hidden"), dir).unwrap(),
    },
    Fault {
        what: "ENOTDIR at the folder",
        begin: |dir| {
            fs::rename(dir, dir.with_extension("hidden")).unwrap();
            fs::write(dir, "in the way").unwrap();
        },
        end: |dir| {
            fs::remove_file(dir).unwrap();
            fs::rename(dir.with_extension("hidden"), dir).unwrap();
        },
    },
];

fn order(dry_run: bool) -> OperatorOrder {
    let who = User { uid: 4711, name: None };
    OperatorOrder { who, force: Vec::new(), reason: Some("a test".to_owned()), dry_run }
}

#[test]
fn nothing_is_judged_before_the_store_is_read_and_all_of_it_right_after() {
    for Fault { what, begin, end } in FAULTS {
        for restarts in [true, false] {
            let bench = pruned();
            let dir = bench.state.path("accepted");
            // The folders are made before anything is read.
            let mut bench = if restarts {
                let Bench { state, loader, now, metrics } = bench;
                drop(loader);
                let config = state.config();
                let loader = Loader::new(Config { zones: Vec::new(), ..config.clone() }, metrics.clone());
                let mut loader = loader.unwrap();
                begin(&dir);
                loader.reload(config, now).unwrap();
                Bench { state, loader, now, metrics }
            } else {
                begin(&dir);
                let mut bench = bench;
                let name = zone();
                bench.loader.reread_zone(&name, bench.now);
                bench
            };
            // Another one that says no more than what is in force, and ends earlier.
            let shorter = skr(9).bundles(3).text();
            bench.drop_file("c.skr", &shorter);
            // The kernel's event of the drop comes from another thread.
            let until = Instant::now() + Duration::from_secs(20);
            let imports = loop {
                let imports = bench.loader.step(bench.now).imports;
                if !imports.is_empty() || Instant::now() > until {
                    break imports;
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            assert!(
                matches!(imports[..], [FileImport { outcome: ImportOutcome::Failed { .. }, .. }]),
                "{what}: {imports:?}"
            );
            assert_eq!(bench.files("inbox"), ["c.skr"], "{what}");
            let error = bench.loader.roll_back(&zone(), Some(2), &order(false), bench.now).unwrap_err();
            assert!(matches!(error, RollbackError::Failed { .. }), "{what}: {error}");
            // The pauses between the tries grow, and nobody waits for the next one once the fault has passed.
            for seconds in [1, 2, 4, 8, 16, 32] {
                bench.now = bench.now.plus(seconds);
                bench.loader.step(bench.now);
            }
            fs::remove_file(bench.state.path("inbox").join("c.skr")).unwrap();
            end(&dir);
            let file = Dropped::by_hand("c.skr".into(), shorter.into_bytes(), Arc::new(order(false)));
            let imports = bench.loader.import_by_hand(&file, bench.now);
            assert_eq!(rejecting_ids(&imports[0].outcome), [CheckId::SkrReplay], "{what}, {restarts}");
            assert_eq!(bench.current(), Some((2, sha256(&skr(9)))), "{what}: what was in force is");
            assert_eq!(accepted(&bench.import("d.skr", skr(12).text())), 3, "{what}: no number twice");
            let bench = bench.restart();
            assert_eq!(bench.files("accepted/example."), ["2.skr", "3.skr", "current"], "{what}");
        }
    }
}

/// What is said of it: not that nothing was accepted.
#[test]
fn a_store_that_was_not_read_is_told_as_such() {
    for Fault { what, begin, end } in FAULTS {
        let Bench { state, loader, now, metrics } = pruned();
        drop(loader);
        let config = state.config();
        let mut loader =
            Loader::new(Config { zones: Vec::new(), ..config.clone() }, metrics.clone()).unwrap();
        let dir = state.path("accepted");
        begin(&dir);
        loader.reload(config, now).unwrap();
        loader.step(now);
        let damaged = |now| {
            let health = health_of(&loader, now);
            health.zones[0]
                .conditions
                .iter()
                .any(|c| c.id == ConditionId::SkrStoreDamaged && c.is_not_ready())
        };
        assert!(damaged(now), "{what}");
        end(&dir);
        loader.step(now.plus(61));
        assert!(
            !health_of(&loader, now.plus(61)).zones[0]
                .conditions
                .iter()
                .any(|c| c.id == ConditionId::SkrStoreDamaged),
            "{what}"
        );
    }
}
