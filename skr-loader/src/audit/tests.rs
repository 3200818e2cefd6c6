use std::fs;
use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};

use super::*;

fn t(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

#[test]
fn a_changed_line_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    for n in 0..3 {
        let mut audit = AuditWriter::open(&path).unwrap();
        audit.append(Record { generation: Some(n), ..Record::new(t(n), AuditEvent::Accepted) }).unwrap();
    }
    assert_eq!(verify(&path).unwrap(), 3);
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    for (bad, at) in [
        (good.replacen("\"generation\":1", "\"generation\":7", 1), 3),
        (format!("{}\n{}\n", lines[0], lines[2]), 2),
        (format!("{}\n{}\n", lines[1], lines[2]), 1),
        (format!("{}\n{}\n{}\n", lines[0], lines[0], lines[1]), 2),
    ] {
        fs::write(&path, bad).unwrap();
        match verify(&path) {
            Err(AuditError::Broken { line, .. }) => assert_eq!(line, at),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn two_writers_make_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let write = |n: u64| {
        let path = path.clone();
        std::thread::spawn(move || {
            let mut audit = AuditWriter::open(&path).unwrap();
            for i in 0..50 {
                audit
                    .append(Record {
                        generation: Some(n * 100 + i),
                        ..Record::new(t(1), AuditEvent::Accepted)
                    })
                    .unwrap();
            }
        })
    };
    for writer in [write(0), write(1), write(2)] {
        writer.join().unwrap();
    }
    assert_eq!(verify(&path).unwrap(), 150);
    // A process that keeps the lock for ever does not stop the loader for ever.
    let mut audit = AuditWriter::open(&path).unwrap();
    let reader = File::open(&path).unwrap();
    flock(&reader, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(
        audit.append(Record::new(t(2), AuditEvent::Accepted)).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    drop(reader);
    audit.append(Record::new(t(2), AuditEvent::Accepted)).unwrap();
    assert_eq!(verify(&path).unwrap(), 151);
}

#[test]
fn a_torn_line_is_moved_aside_at_any_octet() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut audit = AuditWriter::open(&path).unwrap();
    audit.append(Record::new(t(1), AuditEvent::Started)).unwrap();
    let first = fs::read(&path).unwrap();
    audit.append(Record::new(t(2), AuditEvent::Stopped)).unwrap();
    let both = fs::read(&path).unwrap();
    for cut in first.len()..both.len() {
        fs::write(&path, &both[..cut]).unwrap();
        let mut audit = AuditWriter::open(&path).unwrap();
        assert_eq!(audit.last_time(), Some(t(1)));
        assert_eq!(fs::read(&path).unwrap(), first);
        audit.append(Record::new(t(3), AuditEvent::Started)).unwrap();
        assert_eq!(verify(&path).unwrap(), 2, "cut at {cut}");
    }
    let torn = fs::read_dir(dir.path()).unwrap().count() - 1;
    assert_eq!(torn, both.len() - first.len() - 1, "each torn end is kept");
}

fn records(path: &std::path::Path) -> (Vec<AuditEvent>, AuditChain) {
    let mut events = Vec::new();
    let chain = read(path, |_, record| {
        events.push(record.event);
        Ok(())
    });
    (events, chain.unwrap())
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A log of three files, and the number of its lines.
fn rotated(dir: &std::path::Path) -> (std::path::PathBuf, u64) {
    let path = dir.join(LOG);
    let mut audit = AuditWriter::open(&path).unwrap();
    audit.set_limit(1000);
    for n in 0.. {
        audit.append(Record { generation: Some(n), ..Record::new(t(n), AuditEvent::Accepted) }).unwrap();
        if names(dir).len() == 3 {
            // The line that filled the second one has a line behind it in the third.
            return (path, n + 1 + 2);
        }
    }
    unreachable!("it is full after some lines")
}

#[test]
fn a_full_log_goes_on_in_a_new_file_and_the_chain_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (path, lines) = rotated(dir.path());
    assert_eq!(names(dir.path()), ["audit-1.jsonl", "audit-2.jsonl", "audit.jsonl"]);
    let (events, chain) = records(&path);
    assert_eq!((events.len() as u64, chain.lines, chain.follows_on.clone()), (lines, lines, None));
    assert_eq!(events.iter().filter(|event| **event == AuditEvent::Continued).count(), 2);
    // Whoever had the full file open writes to the new one, and so does who opens it later.
    let mut later = AuditWriter::open(&path).unwrap();
    let mut before = AuditWriter::new(path.clone());
    before.make_ready().unwrap();
    later.set_limit(1);
    later.append(Record::new(t(90), AuditEvent::Started)).unwrap();
    before.append(Record::new(t(91), AuditEvent::Stopped)).unwrap();
    assert_eq!(verify(&path).unwrap(), lines + 3, "two lines, and one more `continued`");
    assert_eq!(tail(&path).unwrap().last().unwrap().event, AuditEvent::Stopped);
    assert!(tail(&path).unwrap().len() > 2, "with the lines of the full file before");
}

#[test]
fn a_file_of_the_log_that_is_changed_or_taken_away_shows() {
    type Harm = fn(&std::path::Path);
    let cases: [(&str, Harm, Option<&str>); 5] = [
        ("nothing", |_| (), None),
        ("the oldest is archived elsewhere", |d| fs::remove_file(d.join("audit-1.jsonl")).unwrap(), None),
        (
            "one in the middle is gone",
            |d| fs::remove_file(d.join("audit-2.jsonl")).unwrap(),
            Some("audit.jsonl"),
        ),
        (
            "the last line of a full one is gone",
            |d| {
                let text = fs::read_to_string(d.join("audit-1.jsonl")).unwrap();
                let cut = text.trim_end().rfind('\n').unwrap() + 1;
                fs::write(d.join("audit-1.jsonl"), &text[..cut]).unwrap();
            },
            Some("audit-2.jsonl"),
        ),
        (
            "the newest is another log",
            |d| {
                fs::remove_file(d.join(LOG)).unwrap();
                fs::copy(d.join("audit-1.jsonl"), d.join(LOG)).unwrap();
            },
            Some("audit.jsonl"),
        ),
    ];
    for (what, harm, broken) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = rotated(dir.path());
        harm(dir.path());
        match (verify(&path), broken) {
            (Ok(_), None) => {}
            (Err(AuditError::Broken { path, .. }), Some(name)) => assert!(path.ends_with(name), "{what}"),
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = rotated(dir.path());
    fs::remove_file(dir.path().join("audit-1.jsonl")).unwrap();
    assert!(records(&path).1.follows_on.is_some(), "and it is told what is missing before");
}

#[test]
fn a_crash_between_the_steps_of_a_rotation_leaves_one_chain() {
    type Crash = fn(&std::path::Path);
    let cases: [(&str, Crash); 2] = [
        ("the full file has two names", |d| fs::hard_link(d.join(LOG), d.join("audit-3.jsonl")).unwrap()),
        ("the new file was not written", |d| fs::rename(d.join(LOG), d.join("audit-3.jsonl")).unwrap()),
    ];
    for (what, crash) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (path, lines) = rotated(dir.path());
        crash(dir.path());
        let mut audit = AuditWriter::open(&path).unwrap();
        audit.append(Record::new(t(99), AuditEvent::Started)).unwrap();
        assert_eq!(verify(&path).unwrap(), lines + 1, "{what}");
    }
}

/// What is planted in the place of the log keeps nobody waiting, and the log begins when it is gone.
#[test]
fn kind_04_what_has_the_name_of_the_log_is_not_opened_and_the_log_begins_when_it_is_gone() {
    use std::os::unix::fs::symlink;
    use std::path::Path;
    type Plant = fn(&Path);
    let plants: [(&str, Plant); 5] = [
        ("a link to another file", |p| symlink(p.with_file_name("victim"), p).unwrap()),
        ("a link to nothing", |p| symlink(p.with_file_name("nowhere"), p).unwrap()),
        ("a second name of another file", |p| fs::hard_link(p.with_file_name("victim"), p).unwrap()),
        ("a folder", |p| fs::create_dir(p).unwrap()),
        ("a FIFO", |p| {
            rustix::fs::mknodat(rustix::fs::CWD, p, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
    ];
    for (what, plant) in plants {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join(LOG), dir.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        plant(&path);
        let mut audit = AuditWriter::new(path.clone());
        let record = || Record::new(t(1), AuditEvent::Started);
        assert!(audit.append(record()).is_err(), "{what}");
        assert!(tail(&path).is_err() || what == "a second name of another file", "{what}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{what}");
        assert!(!dir.path().join("nowhere").exists(), "{what}");
        if path.is_dir() {
            fs::remove_dir(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        audit.append(record()).unwrap();
        assert_eq!(verify(&path).unwrap(), 1, "{what}");
    }
}
