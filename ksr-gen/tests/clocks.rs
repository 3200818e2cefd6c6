//! Clocks that are wrong: that of the host with the request timer, and that of the machine with the KSK.

mod common;

use std::fs;

use common::host::{DAY, Host, files};
use common::{COMMON, Site, stamp};
use offline_ksk_ksr_gen::daemon::{Closed, TickError, TimerOutcome, TimerReport, tick};

/// A look by a process that has just started, as by cron.
fn look(host: &Host) -> Result<TimerReport, TickError> {
    tick(&host.zone, &host.ksr, &host.site.path(""), host.now)
}

#[test]
fn kind_09_request_of_a_clock_that_ran_ahead_is_set_aside_once_the_clock_has_kept_its_time() {
    for ahead in [730 * DAY, 150 * DAY, 10 * DAY] {
        let mut host = Host::new(COMMON);
        let first = look(&host).expect("a look").open.expect("a request");
        host.answer(first.end);
        let due = look(&host).expect("a look").due;
        // Just before the next request is due the clock jumps, and comes back.
        host.now = due.minus(60).plus(ahead);
        let stray = look(&host).expect("a look").open.expect("a request").path;
        host.now = due.minus(60);
        let returned = host.now;
        let report = loop {
            assert!(host.now < returned.plus(2 * 3600), "{ahead}: it recovers");
            match look(&host) {
                Ok(report) => break report,
                Err(TickError::Clock { why, .. }) => assert!(why.contains("was written later"), "{why}"),
                Err(other) => panic!("{other}"),
            }
            assert!(stray.exists());
            host.now = host.now.plus(60);
        };
        assert_eq!(host.now.since(returned), 3600, "{ahead}");
        let [(aside, Closed::FromTheFuture)] = report.closed.as_slice() else {
            panic!("{:?}", report.closed)
        };
        assert!(aside.ends_with(format!("answered/{}", stray.file_name().unwrap().to_str().unwrap())));
        assert_eq!(report.outcome, TimerOutcome::Written, "{ahead}: the one that is due");
        assert!(files(&host.outbox_dir(), "future").is_empty());
        let open = report.open.expect("a request");
        assert_eq!(open.written, host.now);
        host.answer(open.end);
        assert_eq!(look(&host).expect("a look").outcome, TimerOutcome::NotDue);
    }
}

#[test]
fn kind_09_clock_that_is_behind_sets_no_request_aside() {
    let mut host = Host::new(COMMON);
    let first = look(&host).expect("a look").open.expect("a request");
    host.answer(first.end);
    host.now = look(&host).expect("a look").due;
    let open = look(&host).expect("a look").open.expect("a request").path;
    let right = host.now;
    // Before the SKR in force begins; and jumping about, never an hour at one time.
    for minute in 0..300 {
        host.now = first.start.minus(DAY).plus(60 * minute);
        assert!(matches!(look(&host), Err(TickError::Clock { .. })));
    }
    for jump in 0..20 {
        host.now = right.minus(DAY * (jump + 1));
        for _ in 0..50 {
            assert!(matches!(look(&host), Err(TickError::Clock { .. })));
            host.now = host.now.plus(60);
        }
    }
    assert!(open.exists());
    host.now = right.plus(60);
    let report = look(&host).expect("a look");
    assert_eq!((report.outcome, report.open.expect("a request").path), (TimerOutcome::Pending, open));
    assert!(files(&host.outbox_dir(), "future").is_empty(), "the note is gone");
    // What others put there has no time of writing.
    let request = fs::read_to_string(host.outbox().remove(0)).expect("text");
    let foreign = request.split(" for 20").next().expect("a line").to_owned() + "\n";
    fs::write(host.outbox_dir().join("20300101000000.ksr"), foreign).expect("write");
    for _ in 0..100 {
        host.now = host.now.plus(60);
        assert_eq!(look(&host).expect("a look").outcome, TimerOutcome::Pending);
    }
}

/// Keys and a request of the first of January 2027.
fn site() -> Site {
    let mut site = Site::new(COMMON);
    site.now = stamp("20270101000000");
    for (folder, what) in [("ksk", "-o keygen"), ("zsk", "keygen")] {
        site.run(&format!("-l @policy -k common -e +1y -K @{folder} {what} example.test")).ok();
    }
    site
}

#[test]
fn kind_09_request_from_the_future_of_the_ksk_side_is_a_finding_of_check() {
    let mut site = site();
    let end = "20280101000000";
    let request = |site: &Site, more: &str| {
        site.run(&format!("-l @policy -k common -e {end} -K @zsk {more} request example.test")).ok()
    };
    for form in ["bind", "knot", "xml"] {
        site.write(&format!("{form}.ksr"), &request(&site, &format!("--format {form}")));
    }
    // As dnssec-ksr writes it, in a time zone that is not told; and as the request timer does.
    let text = request(&site, "");
    let (body, _) = text.trim_end().rsplit_once(" by ").expect("a closing line");
    site.write("named.ksr", &format!("{body} by 9.20.30-1~deb13u1-Debian\n"));
    site.write("timer.ksr", &format!("{body} by x for 20270101000000 to {end} written 20270101000000\n"));
    let right = site.now;
    for (behind, found) in [
        (0, [false; 5]),
        (120, [false; 5]),
        (3600, [false, true, true, false, true]),
        (DAY, [true; 5]),
        (400 * DAY, [true; 5]),
    ] {
        site.now = right.minus(behind);
        for (name, found) in ["bind", "knot", "xml", "named", "timer"].into_iter().zip(found) {
            let line = format!("-l @policy -k common -e {end} -K @ksk");
            let checked = site.run(&format!("{line} check @{name}.ksr"));
            let row = checked.stdout.lines().find(|row| row.contains("KSR-CLOCK ")).expect("a row");
            assert_eq!(row.starts_with("warning "), found, "{name} {behind}: {}", checked.stdout);
            // The report wraps its lines.
            let unwrapped = checked.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(unwrapped.contains("one of the two clocks is wrong"), found, "{name} {behind}");
            // The right time can be given.
            let told = site.run(&format!("{line} --now 20270101000100 check @{name}.ksr"));
            assert!(
                told.stdout.lines().any(|row| row.starts_with("ok         KSR-CLOCK ")),
                "{}",
                told.stdout
            );
        }
    }
    site.now = right.minus(30 * DAY);
    let signed = site.run(&format!("-l @policy -k common -e {end} -K @ksk -f @timer.ksr sign example.test"));
    assert!(signed.stderr.contains("warning: KSR-CLOCK: "), "{}", signed.stderr);
    signed.ok();
}

#[test]
fn kind_09_check_judges_as_at_the_time_of_now_and_other_commands_refuse_the_option() {
    let site = site();
    let line = "-l @policy -k common -e 20280101";
    site.write("ksr", &site.run(&format!("{line} -K @zsk request example.test")).ok());
    for (now, text) in [
        ("20290101", "the interval is over"),
        ("20280102000000", "the interval is over"),
        ("now+3y", "the interval is over"),
        ("20151231", "more than eleven years ahead"),
    ] {
        let checked = site.run(&format!("{line} --now {now} -K @ksk check @ksr"));
        assert!(checked.stdout.contains(text), "{now}: {}", checked.stdout);
        let all = site.run(&format!("{line} --now {now} -K @ksk check --all @ksr"));
        assert!(all.stdout.contains(text), "{now}: {}", all.stdout);
    }
    assert!(!site.run(&format!("{line} -K @ksk check @ksr")).ok().contains("the interval is over"));
    for words in
        ["-K @ksk -f @ksr sign example.test", "-K @zsk request example.test", "-K @zsk keygen example.test"]
    {
        let refused = site.run(&format!("{line} --now 20270101 {words}")).fails(2);
        assert!(refused.contains("--now goes with check"), "{refused}");
    }
}

/// Of requests that are merged, the latest counts, whichever comes first; and an offset of a time zone is reckoned in.
#[test]
fn kind_09_every_merged_request_is_held_against_the_clock_in_any_time_zone() {
    let site = Site::new(COMMON);
    std::fs::create_dir(site.path("zsk_b")).expect("a folder");
    let times = "-l @policy -k common -i 20270101 -e 20280101";
    site.run(&format!("{times} -o -K @ksk keygen example.test")).ok();
    for (folder, name) in [("zsk", "a"), ("zsk_b", "b")] {
        site.run(&format!("{times} -K @{folder} keygen example.test")).ok();
        site.write(name, &site.run(&format!("{times} -K @{folder} request example.test")).ok());
    }
    let text = std::fs::read_to_string(site.path("b")).expect("text");
    let start = text.find(" generated at ").expect("a closing line");
    // The clock of the site stands at 03:46:57.
    for (written, is_late) in [
        ("2026-11-24T03:46:57Z", false),
        ("2026-11-24T05:46:57+0200", false),
        ("2026-11-24T05:46:57Z", true),
        ("2026-11-24T01:46:57-0400", true),
        ("20261130034657", true),
    ] {
        let line = match written {
            stamp if !stamp.contains('T') => format!(" generated at {written} by x\n"),
            _ => format!(" generated at {written} by x 1.0\n"),
        };
        site.write("late", &format!("{}{line}", &text[..start]));
        for files in ["-f @late", "-f @late -f @a", "-f @a -f @late"] {
            let ran = site.run(&format!("{times} -K @ksk --allow-no-pop {files} sign example.test"));
            assert_eq!(ran.stderr.contains("KSR-CLOCK"), is_late, "{written} {files}: {}", ran.stderr);
            ran.ok();
        }
    }
}
