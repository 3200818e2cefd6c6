//! The inbox on real folders; time is stepped, only the kernel's events are waited for.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use keystore::config::WatchMode;
use keystore::store::MAX_SKR_OCTETS;

use super::take_out::HEAD;
use super::*;

const WHOLE: &str = ";; SignedKeyResponse 1.0 20261124034842\nexample. 60 IN DNSKEY …\n;; SignedKeyResponse 1.0 generated at x\n";

struct Bench {
    dir: tempfile::TempDir,
    inbox: Inbox,
    events: Receiver<InboxEvent>,
    now: Timestamp,
}

impl Bench {
    fn with_queue(queue: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inbox")).unwrap();
        let (sender, events) = sync_channel(queue);
        let on_event = OnEvent::new(move |event| match sender.try_send(event) {
            Err(TrySendError::Full(_)) => EventTaken::Full,
            Ok(()) | Err(TrySendError::Disconnected(_)) => EventTaken::Yes,
        });
        let inbox = Inbox::new(&dir.path().join("inbox"), 60, on_event);
        Self { dir, inbox, events, now: Timestamp::from_secs(1_800_000_000) }
    }

    fn new() -> Self {
        Self::with_queue(1000)
    }

    /// In the poll mode, where the kernel tells nothing.
    fn polling(poll_interval: u32) -> Self {
        let mut bench = Self::new();
        bench.configure(WatchMode::Poll, poll_interval);
        bench
    }

    fn configure(&mut self, watch: WatchMode, poll_interval: u32) {
        self.inbox.configure(&LoaderConfig { watch, poll_interval, ..LoaderConfig::default() });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inbox.dir().join(name)
    }

    /// Writes elsewhere and renames into the inbox.
    fn drop_file(&self, name: &str, text: &str) {
        let aside = self.dir.path().join("aside");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, self.path(name)).unwrap();
    }

    fn fetch(&mut self) -> usize {
        let mut fetched = 0;
        while let Ok(event) = self.events.try_recv() {
            fetched += 1;
            self.inbox.on_event(event);
        }
        fetched
    }

    /// Lets time pass, then fetches, polls and looks.
    fn step(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now.plus(seconds);
        self.fetch();
        let _ = self.inbox.poll(self.now);
        let mut told = Vec::new();
        loop {
            let looks = self.inbox.look(self.now);
            told.extend(looks.looks.iter().map(|look| match look {
                FileLook::Whole(file) => format!("whole {} {}", printable(&file.name), file.octets.len()),
                FileLook::Ignored(name) => format!("ignored {}", printable(name)),
                FileLook::Unstable(name) => format!("unstable {}", printable(name)),
                FileLook::TooLarge(file, error) => format!("{} {}", error.id(), printable(&file.name)),
                FileLook::Refused(name, error) => format!("{} {}", error.id(), printable(name)),
            }));
            if looks.more == More::Nothing {
                // By name, whatever was judged first.
                told.sort_by(|a, b| a.split(' ').nth(1).cmp(&b.split(' ').nth(1)));
                return told;
            }
        }
    }

    /// Steps without letting time pass until something is told.
    fn wait(&mut self) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let told = self.step(0);
            if !told.is_empty() || Instant::now() > until {
                return told;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What is told until the kernel has told everything.
    fn wait_for_nothing(&mut self) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(20));
        self.step(0)
    }

    fn whole(&mut self, name: &str) -> Dropped {
        let octets = std::fs::read(self.path(name)).unwrap();
        let fingerprint = files::fingerprint(&self.path(name)).unwrap();
        Dropped::in_inbox(name.into(), octets, fingerprint)
    }
}

use crate::files::printable;

#[test]
fn a_whole_file_is_given_out_at_once_and_once() {
    let mut bench = Bench::new();
    bench.drop_file("a.skr", WHOLE);
    assert_eq!(bench.step(0), [format!("whole a.skr {}", WHOLE.len())], "found by the first scan");
    let file = bench.whole("a.skr");
    bench.inbox.take_out(&file, None).unwrap();
    assert!(!bench.path("a.skr").exists());

    bench.drop_file("b.skr", WHOLE);
    assert_eq!(bench.wait(), [format!("whole b.skr {}", WHOLE.len())], "told by the kernel: renamed in");
    let file = bench.whole("b.skr");
    bench.inbox.take_out(&file, Some(&bench.dir.path().join("b"))).unwrap();
    assert_eq!(std::fs::read_to_string(bench.dir.path().join("b")).unwrap(), WHOLE);

    std::fs::write(bench.path("c.skr"), WHOLE).unwrap();
    let told = bench.wait();
    assert!(told.contains(&format!("whole c.skr {}", WHOLE.len())), "told by the kernel: closed: {told:?}");
}

#[test]
fn row_23_a_slow_writer_is_waited_for() {
    let mut bench = Bench::new();
    bench.step(0);
    let (head, tail) = WHOLE.split_at(WHOLE.len() - 10);
    let mut file = std::fs::File::create(bench.path("slow.skr")).unwrap();
    file.write_all(&head.as_bytes()[..20]).unwrap();
    assert_eq!(bench.wait(), ["unstable slow.skr"]);
    assert_eq!(bench.step(SETTLE_OPEN - 1), [""; 0], "not closed, so a pause says nothing");
    file.write_all(&head.as_bytes()[20..]).unwrap();
    assert_eq!(bench.step(1), ["unstable slow.skr"]);
    file.write_all(tail.as_bytes()).unwrap();
    drop(file);
    assert_eq!(bench.wait(), [format!("whole slow.skr {}", WHOLE.len())]);
}

#[test]
fn a_cut_off_file_is_given_out_when_it_has_settled() {
    for closed in [true, false] {
        let mut bench = Bench::new();
        if closed {
            bench.step(0);
        }
        bench.drop_file("cut.skr", &WHOLE[..50]);
        assert_eq!(bench.wait(), ["unstable cut.skr"]);
        let settle = if closed { SETTLE_CLOSED } else { SETTLE_OPEN };
        assert_eq!(bench.step(settle - 1), [""; 0]);
        assert_eq!(bench.step(1), ["whole cut.skr 50"], "closed: {closed}");
    }
}

#[test]
fn a_clock_that_goes_back_delays_and_does_not_block() {
    let mut bench = Bench::new();
    bench.drop_file("cut.skr", "x");
    assert_eq!(bench.step(0), ["unstable cut.skr"]);
    bench.now = bench.now.minus(1_000_000);
    assert_eq!(bench.step(0), [""; 0]);
    assert_eq!(bench.step(SETTLE_OPEN), ["whole cut.skr 1"]);
}

#[test]
fn row_24_skr_unsafe_files_are_told_once_and_a_good_one_gets_through() {
    let mut bench = Bench::new();
    let inbox = bench.inbox.dir().to_owned();
    for name in [".hidden", "x.tmp", "x.part", "x~"] {
        std::fs::write(bench.path(name), WHOLE).unwrap();
    }
    symlink("/etc/passwd", bench.path("link.skr")).unwrap();
    symlink("/dev/zero", bench.path("zero.skr")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, bench.path("fifo.skr"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    std::fs::create_dir(bench.path("dir.skr")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("socket.skr")).unwrap();
    std::fs::File::create(bench.path("sparse.skr")).unwrap().set_len(5 << 30).unwrap();
    std::fs::write(bench.dir.path().join("key"), "secret").unwrap();
    std::fs::hard_link(bench.dir.path().join("key"), bench.path("hard.skr")).unwrap();
    std::fs::write(bench.path("open.skr"), WHOLE).unwrap();
    std::fs::set_permissions(bench.path("open.skr"), Permissions::from_mode(0o666)).unwrap();
    std::fs::write(inbox.join("new\nline.skr"), WHOLE).unwrap();
    std::fs::write(inbox.join(OsString::from_vec(b"-\xff.skr".to_vec())), WHOLE).unwrap();
    std::fs::write(inbox.join("n".repeat(255)), WHOLE).unwrap();
    std::fs::write(bench.path("good.skr"), WHOLE).unwrap();
    let mut want = vec![
        "ignored .hidden".to_owned(),
        "ignored x.tmp".to_owned(),
        "ignored x.part".to_owned(),
        "ignored x~".to_owned(),
        "SKR-UNSAFE link.skr".to_owned(),
        "SKR-UNSAFE zero.skr".to_owned(),
        "SKR-UNSAFE fifo.skr".to_owned(),
        "SKR-UNSAFE dir.skr".to_owned(),
        "SKR-UNSAFE socket.skr".to_owned(),
        "SKR-LIMITS sparse.skr".to_owned(),
        "SKR-UNSAFE hard.skr".to_owned(),
        "SKR-UNSAFE open.skr".to_owned(),
        format!("whole new\\nline.skr {}", WHOLE.len()),
        format!("whole -\\xff.skr {}", WHOLE.len()),
        format!("whole {} {}", "n".repeat(255), WHOLE.len()),
        format!("whole good.skr {}", WHOLE.len()),
    ];
    // Everyone's permissions are root's: nothing to see then.
    if !rustix::process::geteuid().is_root() {
        std::fs::write(bench.path("mode.skr"), WHOLE).unwrap();
        std::fs::set_permissions(bench.path("mode.skr"), Permissions::from_mode(0o0)).unwrap();
        want.push("SKR-IO mode.skr".to_owned());
    }
    // The file with two names may be in the middle of a rename: it is told of when that lasts.
    let mut told: Vec<String> = [0, 1, 2].into_iter().flat_map(|seconds| bench.step(seconds)).collect();
    told.sort();
    want.sort();
    assert_eq!(told, want);

    let again = bench.step(120);
    let left: Vec<_> = again.iter().filter(|line| !line.starts_with("whole")).collect();
    assert!(left.is_empty(), "what was told is not told again: {left:?}");
    std::fs::set_permissions(bench.path("open.skr"), Permissions::from_mode(0o600)).unwrap();
    let told = bench.step(60);
    assert!(told.contains(&format!("whole open.skr {}", WHOLE.len())), "looked at again: {told:?}");
}

#[test]
fn row_25_skr_limits_a_file_that_grows_for_ever_is_taken_out() {
    let mut bench = Bench::new();
    let file = std::fs::File::create(bench.path("big.skr")).unwrap();
    file.set_len(MAX_SKR_OCTETS + 1).unwrap();
    let looks = bench.inbox.poll(bench.now);
    assert!(looks.scanned);
    let looks = bench.inbox.look(bench.now).looks;
    let [FileLook::TooLarge(dropped, _)] = &looks[..] else { panic!("{looks:?}") };
    file.set_len(MAX_SKR_OCTETS + 2).unwrap();
    bench.inbox.take_out(dropped, Some(&bench.dir.path().join("big"))).unwrap();
    assert!(!bench.path("big.skr").exists());
}

#[test]
fn a_file_replaced_after_it_was_read_stays_and_is_looked_at() {
    let mut bench = Bench::new();
    bench.drop_file("a.skr", WHOLE);
    assert_eq!(bench.step(0).len(), 1);
    let judged = bench.whole("a.skr");
    bench.drop_file("a.skr", &format!("{WHOLE}\n"));
    bench.inbox.take_out(&judged, None).unwrap();
    assert!(bench.path("a.skr").exists());
    assert_eq!(bench.step(0), [format!("whole a.skr {}", WHOLE.len() + 1)]);
}

#[test]
fn a_claim_of_a_killed_loader_is_given_back() {
    let mut bench = Bench::new();
    bench.drop_file(&format!("{CLAIM}-123-1"), WHOLE);
    std::fs::write(bench.path("recovered-1.skr"), "taken").unwrap();
    let told = bench.step(0);
    assert!(told.contains(&format!("whole recovered-2.skr {}", WHOLE.len())), "{told:?}");
    assert_eq!(std::fs::read_to_string(bench.path("recovered-1.skr")).unwrap(), "taken");
}

#[test]
fn the_target_is_never_replaced() {
    let mut bench = Bench::new();
    bench.drop_file("a.skr", WHOLE);
    bench.step(0);
    let judged = bench.whole("a.skr");
    let to = bench.dir.path().join("there");
    std::fs::write(&to, "old").unwrap();
    assert!(bench.inbox.take_out(&judged, Some(&to)).is_err());
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "old");
}

#[test]
fn row_29_lost_events_lead_to_a_scan() {
    let mut bench = Bench::with_queue(1);
    bench.step(0);
    for n in 0..200 {
        bench.drop_file(&format!("{n}.skr"), WHOLE);
    }
    let until = Instant::now() + Duration::from_secs(5);
    let polled = loop {
        let polled = bench.inbox.poll(bench.now);
        if polled.overflowed || Instant::now() > until {
            break polled;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(polled.overflowed && polled.scanned);
    let mut files: Vec<_> = bench.step(0);
    files.sort();
    files.dedup();
    assert_eq!(files.len(), 200);

    bench.inbox.on_event(InboxEvent::Overflow);
    assert!(bench.inbox.poll(bench.now).overflowed, "the kernel's own overflow");
}

#[test]
fn row_30_a_folder_that_goes_and_comes_back_is_watched_again() {
    let mut bench = Bench::new();
    assert!(bench.inbox.poll(bench.now).watched);
    let inbox = bench.inbox.dir().to_owned();
    std::fs::rename(&inbox, bench.dir.path().join("away")).unwrap();
    let polled = bench.inbox.poll(bench.now.plus(1));
    assert!(!polled.watched && matches!(polled.error, Some(WatchError::Folder { .. })), "{polled:?}");
    let polled = bench.inbox.poll(bench.now.plus(2));
    assert!(!polled.watched && polled.error.is_none(), "told once");

    std::fs::create_dir(&inbox).unwrap();
    bench.drop_file("before.skr", WHOLE);
    let polled = bench.inbox.poll(bench.now.plus(3));
    assert!(polled.watched && polled.scanned);
    assert_eq!(bench.step(3), [format!("whole before.skr {}", WHOLE.len())]);
    bench.drop_file("after.skr", WHOLE);
    let told = bench.wait();
    assert!(told.contains(&format!("whole after.skr {}", WHOLE.len())), "{told:?}");
    // Replaced between two looks.
    std::fs::remove_dir_all(&inbox).unwrap();
    std::fs::create_dir(&inbox).unwrap();
    bench.drop_file("third.skr", WHOLE);
    let told = bench.step(1);
    assert_eq!(told, [format!("whole third.skr {}", WHOLE.len())]);
}

#[test]
fn row_30_without_events_a_folder_that_goes_and_comes_back_is_scanned_again() {
    let mut bench = Bench::polling(5);
    let inbox = bench.inbox.dir().to_owned();
    let away = bench.dir.path().join("away");
    let whole = |name: &str| [format!("whole {name} {}", WHOLE.len())];
    assert!(bench.inbox.poll(bench.now).watched);
    // Gone: told once, and the watch is not said to be up.
    std::fs::rename(&inbox, &away).unwrap();
    let polled = bench.inbox.poll(bench.now.plus(1));
    assert!(!polled.watched && !polled.scanned, "{polled:?}");
    assert!(matches!(polled.error, Some(WatchError::Folder { .. })), "{polled:?}");
    let polled = bench.inbox.poll(bench.now.plus(2));
    assert!(!polled.watched && polled.error.is_none(), "told once");
    // Made anew: looked at in the same step, whatever the interval is.
    std::fs::create_dir(&inbox).unwrap();
    bench.drop_file("new.skr", WHOLE);
    let polled = bench.inbox.poll(bench.now.plus(3));
    assert!(polled.watched && polled.scanned && polled.error.is_none(), "{polled:?}");
    assert_eq!(bench.step(3), ["unstable new.skr"]);
    assert_eq!(bench.step(5), whole("new.skr"));
    // Replaced by rename, with a file of the same name as one that was judged and left.
    let judged = bench.whole("new.skr");
    bench.inbox.leave(&judged, "a test".to_owned());
    std::fs::remove_dir_all(&away).unwrap();
    std::fs::create_dir(&away).unwrap();
    std::fs::write(away.join("new.skr"), WHOLE).unwrap();
    std::fs::rename(&inbox, bench.dir.path().join("older")).unwrap();
    std::fs::rename(&away, &inbox).unwrap();
    assert_eq!(bench.step(1), ["unstable new.skr"], "another file of that name");
    assert_eq!(bench.step(5), whole("new.skr"));
    assert_eq!(bench.fetch(), 0);
}

#[test]
fn row_23_without_events_a_file_is_taken_when_two_looks_see_the_same() {
    for poll_interval in [1, 5, 60] {
        let mut bench = Bench::polling(poll_interval);
        let seconds = u64::from(poll_interval);
        assert_eq!(bench.step(0), [""; 0]);
        bench.drop_file("a.skr", WHOLE);
        // A slow writer, and one whose pages come in any order: its last line is there, and its middle is not yet.
        let (head, tail) = WHOLE.split_at(WHOLE.len() / 2);
        let mut slow = std::fs::File::create(bench.path("slow.skr")).unwrap();
        slow.write_all(head.as_bytes()).unwrap();
        let mut holes = std::fs::File::create(bench.path("holes.skr")).unwrap();
        holes.write_all(&[b"\0".repeat(head.len()), tail.as_bytes().to_vec()].concat()).unwrap();
        if seconds > 1 {
            assert_eq!(bench.step(seconds - 1), [""; 0], "between two scans");
        }
        assert_eq!(bench.step(1), ["unstable a.skr", "unstable holes.skr", "unstable slow.skr"]);
        slow.write_all(tail.as_bytes()).unwrap();
        std::io::Seek::rewind(&mut holes).unwrap();
        holes.write_all(head.as_bytes()).unwrap();
        // Coarse times of the file system must not make the change look like none.
        holes.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        let told = bench.step(seconds);
        let whole = |name: &str| format!("whole {name} {}", WHOLE.len());
        assert_eq!(told, [whole("a.skr"), "unstable holes.skr".to_owned(), "unstable slow.skr".to_owned()]);
        let judged = bench.whole("a.skr");
        bench.inbox.take_out(&judged, None).unwrap();
        assert_eq!(bench.step(seconds), [whole("holes.skr"), whole("slow.skr")]);
        for name in ["holes.skr", "slow.skr"] {
            let judged = bench.whole(name);
            assert_eq!(*judged.octets, WHOLE.as_bytes());
            bench.inbox.take_out(&judged, None).unwrap();
        }
        assert_eq!(bench.step(10 * seconds), [""; 0], "each is handled once");
        assert_eq!(bench.fetch(), 0, "the kernel was not asked");
    }
}

#[test]
fn without_events_a_cut_off_file_and_a_scan_that_fails() {
    let mut bench = Bench::polling(1);
    bench.drop_file("cut.skr", &WHOLE[..50]);
    assert_eq!(bench.step(0), ["unstable cut.skr"]);
    for _ in 1..SETTLE_OPEN {
        assert_eq!(bench.step(1), [""; 0]);
    }
    assert_eq!(bench.step(1), ["whole cut.skr 50"]);
    if rustix::process::geteuid().is_root() {
        return; // root can list every folder
    }
    let inbox = bench.inbox.dir().to_owned();
    std::fs::set_permissions(&inbox, Permissions::from_mode(0o300)).unwrap();
    let polled = bench.inbox.poll(bench.now.plus(1));
    assert!(!polled.watched && !polled.scanned && polled.error.is_some(), "{polled:?}");
    let polled = bench.inbox.poll(bench.now.plus(2));
    assert!(!polled.watched && polled.error.is_none(), "told once: {polled:?}");
    std::fs::set_permissions(&inbox, Permissions::from_mode(0o700)).unwrap();
    assert!(bench.inbox.poll(bench.now.plus(3)).watched);
}

#[test]
fn the_mode_can_change_while_it_runs() {
    let mut bench = Bench::polling(5);
    bench.step(0);
    bench.configure(WatchMode::Events, 5);
    bench.step(1);
    bench.drop_file("a.skr", WHOLE);
    assert_eq!(bench.wait(), [format!("whole a.skr {}", WHOLE.len())], "told by the kernel");
    let judged = bench.whole("a.skr");
    bench.inbox.take_out(&judged, None).unwrap();
    bench.configure(WatchMode::Poll, 5);
    bench.step(0);
    bench.drop_file("b.skr", WHOLE);
    assert_eq!(bench.step(5), ["unstable b.skr"], "found by the scan");
    assert_eq!(bench.step(5), [format!("whole b.skr {}", WHOLE.len())]);
}

#[test]
fn row_26_skr_unsafe_nothing_is_taken_from_a_folder_that_everyone_can_write() {
    let mut bench = Bench::new();
    let inbox = bench.inbox.dir().to_owned();
    std::fs::set_permissions(&inbox, Permissions::from_mode(0o777)).unwrap();
    bench.drop_file("a.skr", WHOLE);
    let polled = bench.inbox.poll(bench.now);
    assert!(matches!(polled.error, Some(WatchError::WorldWritable { mode: 0o777, .. })), "{polled:?}");
    assert_eq!(bench.step(60), [""; 0]);
    std::fs::set_permissions(&inbox, Permissions::from_mode(0o770)).unwrap();
    assert_eq!(bench.step(1).len(), 1);
    // While it is watched the kernel's word comes first.
    for mode in [0o777, 0o737] {
        std::fs::set_permissions(&inbox, Permissions::from_mode(mode)).unwrap();
        bench.inbox.on_event(InboxEvent::Rescan);
        let polled = bench.inbox.poll(bench.now);
        assert!(matches!(polled.error, Some(WatchError::WorldWritable { mode: m, .. }) if m == mode));
        bench.inbox.on_event(InboxEvent::Rescan);
        let polled = bench.inbox.poll(bench.now.plus(1));
        assert!(polled.error.is_none() && !polled.watched, "told once: {polled:?}");
        assert!(bench.inbox.trouble().unwrap().contains("chmod o-w"));
    }
    std::fs::set_permissions(&inbox, Permissions::from_mode(0o770)).unwrap();
    let polled = bench.inbox.poll(bench.now.plus(2));
    assert!(polled.mended && polled.watched && polled.scanned && bench.inbox.trouble().is_none());
    assert!(!bench.inbox.poll(bench.now.plus(3)).mended, "told once");
}

#[test]
fn what_is_left_says_why_until_it_is_gone() {
    let mut bench = Bench::new();
    bench.drop_file("open.skr", WHOLE);
    std::fs::set_permissions(bench.path("open.skr"), Permissions::from_mode(0o666)).unwrap();
    symlink("/dev/null", bench.path("link.skr")).unwrap();
    bench.step(0);
    let pending = bench.inbox.pending();
    let told: Vec<_> = pending.iter().map(|p| (&*p.file, p.id.as_deref().unwrap_or("?"))).collect();
    assert_eq!(told, [("link.skr", "SKR-UNSAFE"), ("open.skr", "SKR-UNSAFE")]);
    assert!(pending[1].reason.as_ref().unwrap().contains("chmod o-w"), "{pending:?}");
    std::fs::remove_file(bench.path("link.skr")).unwrap();
    assert_eq!(bench.inbox.pending(), pending[1..], "before any scan");
}

#[test]
fn the_closing_line_makes_a_file_whole() {
    for (text, want) in [
        (WHOLE, true),
        (";; SignedKeyResponse 1.0 generated at x\r\n", true),
        (";;  SignedKeyResponse\t1.0 generated\n\n", true),
        (";; SignedKeyResponse 1.0 generated at x", false),
        (";; SignedKeyResponse 1.0 20261124034842\n", false),
        (";; SignedKeyResponse 1.0 generated at x\nexample. 60 IN\n", false),
        ("", false),
        ("\n", false),
    ] {
        assert_eq!(is_complete(text.as_bytes()), want, "{text:?}");
    }
}

#[test]
fn kind_21_a_rename_by_link_and_unlink_is_judged_when_it_has_ended() {
    // Seconds for which both names are there, and whether the event of the last unlink is heard.
    for (lasts, heard) in [(0, true), (0, false), (1, false), (2, false)] {
        let mut bench = Bench::new();
        let _ = bench.step(0);
        let aside = bench.dir.path().join("upload");
        std::fs::write(&aside, WHOLE).unwrap();
        std::fs::hard_link(&aside, bench.path("a.skr")).unwrap();
        assert_eq!(bench.wait_for_nothing(), [""; 0], "{lasts} s: it has two names");
        assert_eq!(bench.step(lasts), [""; 0], "{lasts} s");
        std::fs::remove_file(aside).unwrap();
        if !heard {
            bench.fetch();
        }
        let mut told = bench.step(0);
        for _ in 0..4 {
            told.extend(bench.step(1));
        }
        assert_eq!(told, [format!("whole a.skr {}", WHOLE.len())], "{lasts} s");
    }
}

#[test]
fn kind_21_names_of_files_that_are_not_finished_wait() {
    let mut bench = Bench::new();
    // rsync, rclone, WinSCP, vim, Syncthing, macOS over SMB, office programs, browsers, Emacs, Resilio, lftp, scripts.
    for name in [
        ".a.skr.Xb12Cd",
        "a.skr.a1b2c3d4.partial",
        "a.skr.filepart",
        ".a.skr.swp",
        "a.skr~",
        "a.skr.swx",
        "~syncthing~a.skr.tmp",
        ".syncthing.a.skr.tmp",
        "._a.skr",
        "~$a.skr",
        "a.skr.crdownload",
        "A.SKR.TMP",
        "a.skr.part",
        "a.skr.opdownload",
        "a.skr.download",
        "#a.skr#",
        ".#a.skr",
        "a.skr.!sync",
        "a.skr.lftp-pget-status",
        "a.skr.upload",
        "a.skr.uploading",
        "a.skr.incomplete",
        "a.skr.InProgress",
        ".in.a.skr.",
        ".nfs000000001",
    ] {
        std::fs::write(bench.path(name), WHOLE).unwrap();
        assert_eq!(bench.wait(), [format!("ignored {name}")]);
        std::fs::rename(bench.path(name), bench.path("a.skr")).unwrap();
        assert_eq!(bench.wait(), [format!("whole a.skr {}", WHOLE.len())], "{name}");
        std::fs::remove_file(bench.path("a.skr")).unwrap();
        let _ = bench.step(0);
    }
}

#[test]
fn kind_06_a_dropped_file_that_cannot_be_read_is_tried_again() {
    // Errors that pass, and one that is a fact.
    let io = |kind: io::ErrorKind| FileError::Io(kind.into());
    for (error, passes) in [
        (FileError::Io(rustix::io::Errno::MFILE.into()), true),
        (FileError::Io(rustix::io::Errno::IO.into()), true),
        (FileError::Io(rustix::io::Errno::NOMEM.into()), true),
        (FileError::Io(rustix::io::Errno::STALE.into()), true),
        (io(io::ErrorKind::PermissionDenied), true),
        (io(io::ErrorKind::NotFound), false),
        (FileError::WorldWritable(0o666), false),
        (FileError::TooLarge { size: 9, limit: 8 }, false),
    ] {
        assert_eq!(error.may_pass(), passes, "{error}");
    }
    let mut bench = Bench::new();
    bench.drop_file("a.skr", WHOLE);
    let now = bench.now;
    // Told once, tried later and later, and at least once a minute.
    let mut pauses = Vec::new();
    for n in 0..9 {
        let seen = bench.inbox.files.get(OsStr::new("a.skr")).copied();
        let told = bench.inbox.try_later("a.skr".into(), seen, io(io::ErrorKind::PermissionDenied), now);
        assert_eq!(told.is_some(), n == 0);
        let Some(Seen::Unreadable(retry)) = bench.inbox.files.get(OsStr::new("a.skr")) else { panic!() };
        pauses.push(retry.at().unwrap().since(now));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let pending = bench.inbox.pending();
    assert!(
        matches!(&pending[..], [Pending { state: PendingState::Retried, reason: Some(_), .. }]),
        "{pending:?}"
    );
    assert_eq!(bench.step(60), [format!("whole a.skr {}", WHOLE.len())]);
    assert_eq!(bench.inbox.pending(), []);
}

#[test]
fn kind_12_a_flood_of_garbage_holds_up_no_skr_that_is_dropped_after_it() {
    let mut bench = Bench::with_queue(16);
    for n in 0..3000 {
        std::fs::write(bench.path(&format!("{n:04}.skr")), "garbage\n").unwrap();
    }
    let _ = bench.inbox.poll(bench.now);
    // Far less than the flood.
    for _ in 0..3 {
        let _ = bench.inbox.look(bench.now);
    }
    assert!(bench.inbox.waiting() >= 2500, "{}", bench.inbox.waiting());
    for name in ["zzzz.skr", "0000-first-by-name.skr"] {
        bench.drop_file(name, WHOLE);
        bench.inbox.on_event(InboxEvent::Closed(name.into()));
        let looks = bench.inbox.look(bench.now);
        let is_it = |look: &FileLook| matches!(look, FileLook::Whole(file) if file.name == name);
        assert!(looks.looks.iter().any(is_it), "{name}: {} looks", looks.looks.len());
        std::fs::remove_file(bench.path(name)).unwrap();
    }
    // When the event was lost, the scan finds it, and it is the newest.
    bench.drop_file("lost.skr", WHOLE);
    let _ = bench.inbox.poll(bench.now.plus(60));
    let looks = bench.inbox.look(bench.now.plus(60));
    assert!(looks.looks.iter().any(|look| matches!(look, FileLook::Whole(file) if file.name == "lost.skr")));
}

#[test]
fn kind_12_a_sparse_file_does_not_keep_its_size() {
    let mut bench = Bench::new();
    let file = std::fs::File::create(bench.path("big.skr")).unwrap();
    file.set_len(5 << 30).unwrap();
    let _ = bench.inbox.poll(bench.now);
    let looks = bench.inbox.look(bench.now).looks;
    let [FileLook::TooLarge(dropped, _)] = &looks[..] else { panic!("{looks:?}") };
    let to = bench.dir.path().join("big.skr");
    bench.inbox.take_out(dropped, Some(&to)).unwrap();
    assert!(std::fs::metadata(&to).unwrap().len() <= HEAD);
    assert!(!bench.path("big.skr").exists());
}
