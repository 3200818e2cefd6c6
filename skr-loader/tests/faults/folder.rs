//! Rows 27, 28 and 31: names, numbers, and what happens to a file later. Rows 23 to 26, 29 and 30 are unit tests of the inbox.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use keystore::exchange::testing::SkrBuilder;
use offline_ksk_skr_loader::loader::ImportOutcome;

use crate::bench::*;

#[test]
fn row_27_the_zone_is_taken_from_the_content_and_names_are_escaped() {
    for name in [
        b"n".repeat(255),
        b"new\nline.skr".to_vec(),
        b"a..skr".to_vec(),
        b"-rf.skr".to_vec(),
        b"\xff\xfe.skr".to_vec(),
        b"\x1b[31m.skr".to_vec(),
        b"other.zone.skr".to_vec(),
    ] {
        let mut bench = Bench::empty();
        let name = OsString::from_vec(name);
        fs::write(bench.path("inbox").join(&name), skr(0).text()).unwrap();
        let imports = bench.settle();
        assert_eq!(imports.len(), 1, "{name:?}: {imports:?}");
        assert_eq!((accepted(&imports[0].outcome), imports[0].zone.clone()), (1, Some(zone())), "{name:?}");
        assert!(imports[0].file.bytes().all(|b| (0x20..0x7f).contains(&b)), "{:?}", imports[0].file);
    }
    // Names of files that somebody still writes are not looked at.
    let mut bench = Bench::empty();
    for name in [".hidden.skr", "a.skr.tmp", "a.skr~", "a.part"] {
        fs::write(bench.path("inbox").join(name), skr(0).text()).unwrap();
    }
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.files("inbox").len(), 4);
}

#[test]
fn row_28_many_at_once_are_each_handled_once_and_two_go_by_content() {
    const BAD: usize = 1000;
    let mut bench = Bench::new();
    for n in 0..BAD {
        bench.drop_file(&format!("{n}.skr"), format!("garbage {n}\n;; SignedKeyResponse 1.0 generated\n"));
    }
    // The later one in content has the earlier name.
    bench.drop_file("a.skr", skr(18).text());
    bench.drop_file("b.skr", skr(9).text());
    let imports = bench.settle();
    assert_eq!(imports.len(), BAD + 2);
    let generations: Vec<u64> = imports
        .iter()
        .filter_map(|import| match &import.outcome {
            ImportOutcome::Accepted { generation, .. } => Some(*generation),
            _ => None,
        })
        .collect();
    assert_eq!(generations, [2, 3]);
    let current = keystore::store::read_current(&bench.path("accepted"), &zone()).unwrap().unwrap();
    let stored = keystore::exchange::bind::parse_skr(&current.octets, &zone()).unwrap().bundles;
    assert!(stored.ends_with(&skr(18).build().bundles));
    assert_eq!(bench.files("rejected").len(), 2 * BAD);
}

#[test]
fn row_31_what_happens_to_the_file_afterwards_changes_nothing() {
    let mut bench = Bench::new();
    // A second name in the inbox's file system, to write through later.
    let text = SkrBuilder::new(ZONE, start()).bundles(6).text();
    fs::write(bench.path("aside"), &text).unwrap();
    let mut handle = fs::File::options().append(true).open(bench.path("aside")).unwrap();
    fs::rename(bench.path("aside"), bench.path("inbox/a.skr")).unwrap();
    assert_eq!(bench.settle().iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(), [2]);
    let before = bench.current();
    std::io::Write::write_all(&mut handle, b"altered afterwards\n").unwrap();
    drop(handle);
    assert_eq!(bench.current(), before, "the loader keeps a copy of its own");
    let mut bench = bench.restart();
    bench.settle();
    assert_eq!(bench.current(), before);
    assert_eq!(bench.value("skr_generation{zone=\"example.\"}"), 2);
}
