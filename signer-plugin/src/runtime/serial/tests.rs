use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[test]
fn the_later_one_of_the_file_and_the_last_served() {
    for (file, last, expected) in [
        (5, 4, 5),
        (5, 5, 6),
        (5, 9, 10),
        (2_026_010_100, 2_025_123_107, 2_026_010_100),
        (1, u32::MAX, 1),
        (u32::MAX, u32::MAX, 1),
        (0, u32::MAX, 0),
        (3, 0x8000_0003, 0x8000_0004),
        (0x8000_0003, 3, 4),
    ] {
        assert_eq!(next_serial(file, last), expected, "file {file}, last {last}");
    }
}

proptest! {
    #[test]
    fn never_goes_back(file: u32, last: u32) {
        prop_assert!(is_later(next_serial(file, last), last));
    }
}

#[test]
fn kind_12_what_a_kill_left_beside_the_serial_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in [".serial.Ab3dE9.tmp", ".serial.000000.tmp", ".other.000000.tmp", ".serial.tmp", "serial.tmp"]
    {
        std::fs::write(at(name), "7\n").unwrap();
    }
    // That of a writer that is at work.
    let alive = std::fs::File::create(at(".serial.zzzzzz.tmp")).unwrap();
    rustix::fs::flock(&alive, rustix::fs::FlockOperation::LockExclusive).unwrap();
    drop(open(dir.path()));
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".other.000000.tmp", ".serial.tmp", ".serial.zzzzzz.tmp", "serial.tmp"]);
    SerialFile::open(&at("no such folder"), None).unwrap();
}

fn open(state: &Path) -> SerialFile {
    SerialFile::open(state, None).unwrap()
}

/// Serves the next version, as the runtime does; gives its serial, and an error when it may not be served.
fn serve(file: &mut SerialFile, in_zone_file: u32) -> io::Result<u32> {
    let serial = file.next(in_zone_file);
    file.reserve(serial, NOW)?;
    // The version may be served although the file could not be written.
    drop(file.served(serial, NOW));
    Ok(serial)
}

#[test]
fn survives_a_restart_and_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("zones/example");
    let mut file = open(&state);
    assert_eq!(serve(&mut file, 7).unwrap(), 7);
    assert_eq!(file.next(7), 8);
    file.close();
    assert!(std::fs::read_to_string(state.join("serial")).unwrap().contains("7 write "));
    assert_eq!(open(&state).next(7), 8);
    let without_check = [b'7'; FILE_LEN];
    for damaged in
        [&b"seven\n"[..], b"", b"7 8\n", b"7 reserved\n", b"7 reserved -1\n", b"\xff7\n", &without_check]
    {
        std::fs::write(state.join("serial"), damaged).unwrap();
        assert_eq!(open(&state).next(7), 7, "{damaged:?}");
    }
    let mut file = open(&state);
    assert_eq!(serve(&mut file, 9).unwrap(), 9);
    file.close();
    assert_eq!(open(&state).next(1), 10);
}

/// A folder that cannot be written until it is given back: a file stands at its place.
fn without_folder<T>(state: &Path, during: impl FnOnce() -> T) -> T {
    let away = state.with_extension("away");
    std::fs::rename(state, &away).unwrap();
    std::fs::write(state, "").unwrap();
    let result = during();
    std::fs::remove_file(state).unwrap();
    std::fs::rename(&away, state).unwrap();
    result
}

#[test]
fn kind_10_no_serial_is_given_twice_although_the_disk_was_full() {
    // First serial, versions served before and while the disk is full, whether it has space again before the kill.
    for (first, before, during, mended) in [
        (7, 1, 3, true),
        (7, 1, 3, false),
        (7, 5, 16, false),
        (u32::MAX - 1, 1, 3, false),
        (2_027_010_100, 2, 16, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("example");
        let mut file = open(&state);
        let mut served: Vec<u32> = (0..before).map(|_| serve(&mut file, first).unwrap()).collect();
        without_folder(&state, || {
            served.extend((0..during).map(|_| serve(&mut file, first).unwrap()));
            assert!(file.next_try().is_some_and(|at| at > NOW));
            file.retry(NOW.plus(60));
            assert!(file.unwritten().is_some());
        });
        if mended {
            file.retry(NOW.plus(200));
            assert!(file.next_try().is_none() && file.unwritten().is_none());
        }
        // Killed: nobody closes the file.
        drop(file);
        let next = open(&state).next(first);
        assert!(served.iter().all(|serial| is_later(next, *serial)), "{served:?} then {next}");
    }
}

#[test]
fn kind_10_when_the_reserve_is_used_up_nothing_new_is_served_until_the_disk_has_space() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("example");
    let mut file = open(&state);
    serve(&mut file, 7).unwrap();
    without_folder(&state, || {
        for number in 1..=RESERVED {
            assert_eq!(serve(&mut file, 7).unwrap(), 7 + number);
        }
        assert!(serve(&mut file, 7).is_err() && serve(&mut file, 1_000).is_err());
    });
    assert_eq!(serve(&mut file, 7).unwrap(), 7 + RESERVED + 1);
}

#[test]
fn kind_10_a_serial_of_the_zone_file_beyond_the_reserve_is_written_before_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("example");
    let mut file = open(&state);
    serve(&mut file, 7).unwrap();
    // The zone's serial jumps: it is on disk as reserved before it is served, whatever comes then.
    let serial = file.next(5_000);
    file.reserve(serial, NOW).unwrap();
    assert!(is_later(open(&state).next(1), serial));
    without_folder(&state, || assert!(file.served(serial, NOW).is_err()));
    drop(file);
    assert!(is_later(open(&state).next(1), serial));
}

#[test]
fn kind_10_a_copy_that_is_torn_or_changed_anywhere_leaves_the_other_and_a_later_serial() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("example");
    let mut file = open(&state);
    let served: Vec<u32> = (0..3).map(|_| serve(&mut file, 7).unwrap()).collect();
    let path = state.join("serial");
    let before = std::fs::read(&path).unwrap();
    assert_eq!(serve(&mut file, 7).unwrap(), 10);
    let after = std::fs::read(&path).unwrap();
    let changed: Vec<usize> = (0..FILE_LEN).filter(|at| before[*at] != after[*at]).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    assert_eq!((before.len(), first / COPY), (FILE_LEN, last / COPY), "one copy is written at a time");
    for at in first..=last {
        let torn = [&after[..at], &before[at..]].concat();
        std::fs::write(&path, &torn).unwrap();
        let found = open(&state);
        assert!(!found.is_behind(10) && served.iter().all(|s| is_later(found.next(7), *s)), "torn at {at}");
    }
    for at in 0..FILE_LEN {
        let mut flipped = after.clone();
        flipped[at] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let found = open(&state);
        assert!(found.may_be_behind() && is_later(found.next(7), 10), "changed at {at}");
    }
}

#[test]
fn kind_10_a_serial_is_written_where_no_file_can_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("example");
    let mut file = open(&state);
    serve(&mut file, 7).unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(state.join("serial")).unwrap());
    let before = inode();
    for serial in 8..40 {
        assert_eq!(serve(&mut file, 7).unwrap(), serial);
        assert!(open(&state).is_behind(serial - 1) && !open(&state).is_behind(serial));
    }
    file.close();
    assert_eq!((inode(), open(&state).next(7)), (before, 40));
    // Removed, or written by a person, while the process runs: it is made again.
    for harm in [None, Some("3\n")] {
        std::fs::remove_file(state.join("serial")).unwrap();
        if let Some(text) = harm {
            std::fs::write(state.join("serial"), text).unwrap();
        }
        let serial = serve(&mut file, 7).unwrap();
        assert!(open(&state).is_behind(serial - 1));
    }
}

#[test]
fn kind_10_a_file_that_cannot_be_read_is_an_error_and_stays_as_it_is() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("a folder", |state| std::fs::create_dir_all(state.join("serial")).unwrap()),
        ("a link to itself", |state| {
            std::fs::create_dir_all(state).unwrap();
            std::os::unix::fs::symlink("serial", state.join("serial")).unwrap();
        }),
        ("a file in place of the state folder", |state| std::fs::write(state, "").unwrap()),
    ];
    for (what, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        harm(&dir.path().join("example"));
        assert!(SerialFile::open(&dir.path().join("example"), Some(7)).is_err(), "{what}");
    }
}

#[test]
fn kind_10_the_next_serial_is_behind_the_file_and_behind_what_this_process_serves() {
    for (content, served, next) in [
        (None, None, 7),
        (None, Some(500), 501),
        (Some("9\n"), Some(500), 501),
        (Some("600\n"), Some(500), 601),
        (Some("500 reserved 516\n"), Some(500), 517),
        (Some("damaged"), Some(500), 501),
    ] {
        let dir = tempfile::tempdir().unwrap();
        if let Some(content) = content {
            std::fs::write(dir.path().join("serial"), content).unwrap();
        }
        assert_eq!(SerialFile::open(dir.path(), served).unwrap().next(7), next, "{content:?} {served:?}");
    }
}

#[test]
fn a_serial_that_was_reserved_and_not_served_is_written_once_and_given_back_at_an_orderly_end() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("example");
    let mut file = open(&state);
    file.reserve(7, NOW).unwrap();
    std::fs::remove_file(state.join("serial")).unwrap();
    file.reserve(7, NOW).unwrap();
    assert!(!state.join("serial").exists(), "reserved already");
    std::fs::write(state.join("serial"), "7 reserved 23\n").unwrap();
    file.close();
    assert!(!state.join("serial").exists());
    serve(&mut file, 7).unwrap();
    file.reserve(500, NOW).unwrap();
    file.close();
    assert_eq!(open(&state).next(7), 8);
}

#[test]
fn the_first_version_after_a_takeover_never_has_the_serial_of_the_zone_file() {
    for (served, floor, in_file, next) in [
        (7, 1007, 1, 1008),
        (7, 1007, 1007, 1008),
        (7, 1007, 5000, 6000),
        (2_027_010_112, 2_027_011_112, 2_027_020_100, 2_027_021_100),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("example");
        let mut file = open(&state);
        serve(&mut file, served).unwrap();
        file.close();
        raise_serial(&state, floor).unwrap();
        assert_eq!(last_serial(&state).unwrap(), Some(floor));
        let mut file = open(&state);
        // The version of before is served first.
        file.note(served);
        assert_eq!(serve(&mut file, in_file).unwrap(), next, "{served} {floor} {in_file}");
        // From then on the file's serial is taken as ever.
        assert_eq!(file.next(next + 5), next + 5);
        drop(file);
        assert_eq!(open(&state).next(next + 5000), next + 5000);
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(last_serial(dir.path()).unwrap(), None);
    raise_serial(&dir.path().join("new"), 7).unwrap();
    assert_eq!(open(&dir.path().join("new")).next(7), 8);
}
