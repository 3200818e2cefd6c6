//! The loop of the running daemon, with a clock that the test sets.

use std::sync::atomic::AtomicU64;
use std::sync::mpsc;

use super::*;
use crate::order::OperatorOrder;
use crate::user::User;

/// The daemon writes lines of its own (`started`, `rollback-refused`) while the clock is wrong: they say nothing of the time.
#[test]
fn kind_09_lines_that_are_written_at_a_wrong_time_do_not_make_it_plausible() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    let right = start().plus(12 * DAY);
    bench.now = right;
    bench.import("b.skr", skr(9).text());
    let mut bench = bench.restart();
    bench.drop_file("c.skr", skr(12).text());
    let clock = AtomicU64::new(7);
    let control = bench.loader.control();
    let (tell, imports) = mpsc::channel();
    // Between two answers there is a whole step.
    let steps = |n: usize| (0..n).for_each(|_| control.ask(|_, _, reply| reply(())).unwrap());
    std::thread::scope(|scope| {
        let now = || Timestamp::from_secs(clock.load(Ordering::Relaxed));
        let loader = &mut bench.loader;
        scope.spawn(move || loader.run(now, |import| tell.send(import.clone()).unwrap()));
        steps(3);
        assert!(imports.try_recv().is_err(), "nothing is judged in 1970");
        let who = User { uid: 4711, name: None };
        let order =
            OperatorOrder { who, force: Vec::new(), reason: Some("a test".to_owned()), dry_run: false };
        let refused =
            control.ask(move |loader, now, reply| reply(loader.roll_back(&zone(), None, &order, now)));
        assert!(matches!(refused, Some(Err(RollbackError::Failed { .. }))), "{refused:?}");
        steps(3);
        assert!(imports.try_recv().is_err(), "neither after a refused rollback");
        clock.store(right.secs(), Ordering::Relaxed);
        steps(1);
        let import = imports.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(accepted(&import.outcome), 3, "it is judged when the clock is right");
        control.stop();
    });
    let text = fs::read_to_string(bench.state.path("audit.jsonl")).unwrap();
    let records: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrong: Vec<_> = records.iter().filter(|r| r.time == 7).map(|r| r.event).collect();
    assert_eq!(wrong, [AuditEvent::Started, AuditEvent::RollbackRefused]);
}

/// A step comes each second, and there may be ten thousand zones.
#[test]
fn kind_111_steps_of_a_loader_at_rest_find_nothing_anew_for_each_zone() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    let found = |bench: &mut Bench, seconds: u64| {
        bench.loader.step(bench.now.plus(seconds));
        let loader = &bench.loader;
        (
            loader.standing().report(bench.now).zones,
            loader.latest_begin.0,
            loader.report_due,
            loader.has_trouble,
        )
    };
    let before = found(&mut bench, 1);
    let later = found(&mut bench, 2);
    assert!(
        Arc::ptr_eq(&before.0, &later.0) && (before.1, before.2) == (later.1, later.2),
        "nothing has changed"
    );
    assert!(!later.3 && later.2 > bench.now.plus(3600), "the series are due with the next bundle");
    let config = bench.state.config();
    type Change = fn(&mut Bench, Config);
    let changes: [(&str, Change); 2] = [
        ("a new generation", |bench, _| drop(bench.import("b.skr", skr(9).text()))),
        ("a new configuration", |bench, config| bench.loader.reload(config, bench.now).unwrap()),
    ];
    for (what, change) in changes {
        let before = found(&mut bench, 3);
        change(&mut bench, config.clone());
        let after = found(&mut bench, 4);
        assert!(!Arc::ptr_eq(&before.0, &after.0) && after.1 > before.1, "{what}");
    }
}

/// The stores of ten thousand zones take seconds to read; who stops the process meanwhile does not wait for them.
#[test]
fn kind_111_a_start_that_is_stopped_reads_no_more_stores_and_lets_the_state_folder_go() {
    let state = StateDir::new();
    let reads = |metrics: &Metrics| metrics.encode().unwrap().matches("skr_generation{zone=").count();
    for (stopped, read) in [(true, 0), (false, 1)] {
        let metrics = Metrics::new().unwrap();
        let loader = Loader::new_unless(state.config(), metrics.clone(), &Arc::new(AtomicBool::new(stopped)));
        assert_eq!(matches!(loader, Err(LoaderStartError::Stopped)), stopped);
        assert_eq!((loader.is_ok(), reads(&metrics)), (!stopped, read));
    }
}
