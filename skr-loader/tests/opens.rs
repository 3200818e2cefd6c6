//! Each file that the running loader opens, with each error of the system that may pass, by strace: it is tried again until it opens, and is
//! a condition meanwhile.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bench, ZONE, skr, wait_for};
use metrics::health::Health;
use offline_ksk_skr_loader::control::{ControlAnswer, ControlRequest, call};

const LIMIT: Duration = Duration::from_secs(60);
const ERRORS: [&str; 5] = ["EMFILE", "EIO", "ENOMEM", "EACCES", "ESTALE"];
/// Cases at the same time: most of each is a pause of the loader.
const AT_ONCE: usize = 8;

/// What is opened, in which part of the work, and the words of the condition.
#[derive(Debug, Clone, Copy)]
struct Case {
    what: &'static str,
    /// Below the state folder; `*` stands for the key.
    path: &'static str,
    told: &'static str,
    /// The first time at which the file does not open, counted from 1.
    first: usize,
    /// How often the file does not open: a try may open it more than once.
    times: usize,
}

const CASES: [Case; 10] = [
    case("what is in force", "accepted/example./current", "SKR-STORE-DAMAGED", 8),
    case("the generation", "accepted/example./1.skr", "SKR-STORE-DAMAGED", 8),
    case("the folder of the generations", "accepted/example.", "SKR-STORE-DAMAGED", 4),
    Case {
        first: 2,
        ..case("the folder of the generations, once it was read", "accepted/example.", "SKR-STORE-DAMAGED", 3)
    },
    case("the dropped file", "inbox/next.skr", "IMPORT-DEFERRED", 3),
    case("the inbox", "inbox", "WATCH-STALLED", 3),
    case("the key folder", "keys", "IMPORT-DEFERRED", 8),
    case("a key", "keys/*.key", "IMPORT-DEFERRED", 8),
    case("the requests", "outbox/example.", "IMPORT-DEFERRED", 3),
    case("the audit log", "audit.jsonl", "AUDIT-NOT-WRITTEN", 8),
];

const fn case(what: &'static str, path: &'static str, told: &'static str, times: usize) -> Case {
    Case { what, path, told, first: 1, times }
}

fn strace_is_missing() -> bool {
    let missing = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err();
    assert!(!missing || std::env::var_os("CI").is_none(), "strace is missing");
    if missing {
        eprintln!("SKIPPED: strace is missing (apt-get install strace)");
    }
    missing
}

fn status(bench: &Bench) -> Option<Health> {
    match call(&bench.path("state/skr-loader.sock"), &ControlRequest::Status { zones: vec![ZONE.to_owned()] })
    {
        Ok(ControlAnswer::Status(health)) => Some(*health),
        _ => None,
    }
}

/// The IDs of the conditions of host and zone, each with what it says.
fn told(health: &Health) -> String {
    let conditions = health.conditions.iter().chain(health.zones.iter().flat_map(|zone| &zone.conditions));
    conditions.map(|c| format!("{} {}", c.id, c.what)).collect::<Vec<_>>().join("; ")
}

fn run(case: Case, error: &str) {
    let at = format!("{}: {error}", case.what);
    let now = keystore::clock::now();
    let bench = Bench::new();
    fs::create_dir_all(bench.path("state/outbox").join(ZONE)).unwrap();
    let (old, new) = (skr(0, now), skr(1, now));
    let mut daemon = bench.start();
    bench.drop_file("old.skr", &old);
    assert!(wait_for(LIMIT, || bench.current().is_some() && bench.files("state/inbox").is_empty()), "{at}");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait(LIMIT);

    let path: PathBuf = match case.path.strip_suffix("*.key") {
        Some(folder) => {
            let name = bench.files("state/keys").into_iter().find(|name| name.ends_with(".key")).unwrap();
            bench.path("state").join(folder).join(name)
        }
        None => bench.path("state").join(case.path),
    };
    let (trace, last) = (bench.path("strace.log"), case.first + case.times - 1);
    let inject = format!("inject=openat:error={error}:when={}..{last}", case.first);
    let words = ["strace", "-f", "-q", "-o", trace.to_str().unwrap(), "-P", path.to_str().unwrap()];
    let wrapper = [&words[..], &["-e", "trace=openat", "-e", &inject]].concat();
    let mut daemon = bench.start_under(&wrapper);
    let (mut was_told, mut last) = (false, String::new());
    let mut look = |last: &mut String| {
        let Some(status) = status(&bench) else { return false };
        *last = told(&status);
        was_told |= last.contains(case.told);
        true
    };
    // What happened at the start is told until the file is opened again, and what is dropped next may bring that about.
    assert!(wait_for(LIMIT, || look(&mut last)), "{at}: it starts all the same: {}", bench.log());
    bench.drop_file("next.skr", &new);
    let is_in = || {
        let stored = keystore::store::read_current(&bench.path("state/accepted"), &common::zone());
        stored.ok().flatten().is_some_and(|current| current.octets == new.as_bytes())
    };
    let done = wait_for(LIMIT, || {
        look(&mut last);
        is_in() && !last.contains(case.told)
    });
    let injected = fs::read_to_string(&trace).unwrap_or_default().matches("(INJECTED)").count();
    assert!(done, "{at}: {injected} times, {last}: {}", bench.log());
    assert!(injected >= case.times, "{at}: the file was tried again: {}", bench.log());
    assert!(was_told, "{at}: no condition with `{}`: {}", case.told, bench.log());
    assert!(wait_for(LIMIT, || bench.files("state/inbox").is_empty()), "{at}");
    let last = status(&bench).unwrap();
    assert!(last.zones[0].covered && last.zones[0].generation == 2, "{at}: {last:?}");
    common::end_traced(&daemon);
    daemon.wait(LIMIT);
}

/// The configuration, and the file of trust anchors that it names, at a reload: a link that leads to itself opens with ELOOP.
#[test]
fn kind_06_a_configuration_that_cannot_be_read_is_tried_again_and_is_a_condition_meanwhile() {
    for name in ["offline-ksk.toml", "anchors"] {
        let bench = Bench::new();
        let text = fs::read_to_string(bench.path("offline-ksk.toml")).unwrap();
        let (before, rest) = text.split_once("trust-anchors = [\"").unwrap();
        let (anchor, rest) = rest.split_once("\"]").unwrap();
        fs::write(bench.path("anchors"), format!("{anchor}\n")).unwrap();
        let text = format!("{before}trust-anchor-file = \"anchors\"{rest}");
        fs::write(bench.path("offline-ksk.toml"), &text).unwrap();
        let mut daemon = bench.start();
        assert!(wait_for(LIMIT, || status(&bench).is_some()), "{name}: {}", bench.log());
        let (path, away) = (bench.path(name), bench.path("away"));
        fs::rename(&path, &away).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let reload = || call(&bench.path("state/skr-loader.sock"), &ControlRequest::Reload {});
        let answer = reload();
        assert!(matches!(answer, Ok(ControlAnswer::NotReloaded { .. })), "{name}: {answer:?}");
        let told = || status(&bench).map(|status| told(&status)).unwrap_or_default();
        assert!(wait_for(LIMIT, || told().contains("the file cannot be read")), "{name}: {}", told());
        fs::remove_file(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        let is_taken = || status(&bench).is_some_and(|health| !self::told(&health).contains("CONFIG-"));
        assert!(wait_for(LIMIT, is_taken), "{name}: {}: {}", told(), bench.log());
        // What the file says is final.
        fs::write(bench.path("offline-ksk.toml"), "nonsense = 1\n").unwrap();
        let answer = reload();
        assert!(matches!(answer, Ok(ControlAnswer::NotReloaded { .. })), "{name}: {answer:?}");
        assert!(wait_for(LIMIT, || told().contains("was refused")), "{name}: {}", told());
        daemon.signal(rustix::process::Signal::TERM);
        daemon.wait(LIMIT);
    }
}

#[test]
fn kind_06_each_open_of_the_loader_is_tried_again_and_is_a_condition_meanwhile() {
    if strace_is_missing() {
        return;
    }
    let cases: Vec<(Case, &str)> =
        CASES.iter().flat_map(|case| ERRORS.iter().map(move |error| (*case, *error))).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((case, error)) =
                    cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    if std::panic::catch_unwind(|| run(*case, error)).is_err() {
                        failures.lock().unwrap().push(format!("{}: {error}", case.what));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
}
