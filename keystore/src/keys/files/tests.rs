//! Key files that BIND 9.20 made, read and written back; damaged ones; folders.

mod damaged;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::crypto::Algorithm;
use crate::keys::timing::RecordState;
use crate::time::Timestamp;

/// Key files made by BIND's tools; see the README beside them.
fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(folder)
}

/// A folder with copies of those fixtures whose name starts with `prefix`, with the modes that BIND gives them (a
/// checkout keeps no 0600).
fn copied(folder: &str, prefix: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(fixtures(folder)).expect("fixtures") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_str().expect("text");
        if name.starts_with('K') && name.starts_with(prefix) {
            let copy = dir.path().join(name);
            fs::copy(&path, &copy).expect("copy");
            let mode = if name.ends_with(".private") { 0o600 } else { 0o644 };
            fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("mode");
        }
    }
    dir
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// All files of a folder.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("folder").map(|e| e.expect("entry"));
    entries.map(|e| (e.file_name().into_string().expect("text"), fs::read(e.path()).expect("file"))).collect()
}

fn one(dir: &Path, zone: &str) -> KeyFile {
    let found = find(dir, &name(zone)).expect("folder");
    assert!(found.skipped.is_empty(), "{:?}", found.skipped);
    let [key] = <[KeyFile; 1]>::try_from(found.keys).expect("one key");
    key
}

#[test]
fn keys_of_bind_are_written_back_byte_for_byte() {
    let dir = copied("ksr", "K");
    let found = find(dir.path(), &name("example.test")).expect("folder");
    assert!(found.skipped.is_empty() && found.warnings().is_empty(), "{found:?}");
    let algorithms: Vec<u8> = found.keys.iter().map(|k| k.dnskey.algorithm.0).collect();
    assert_eq!(algorithms, [8, 8, 10, 10, 13, 13, 14, 14, 15, 15, 16, 16]);
    let before = contents(dir.path());
    assert_eq!(before.len(), 36);
    for key in &found.keys {
        let private = key.private_key().expect("private key");
        let signer = key.load_private().expect("signer");
        let signature = signer.sign(b"data").expect("signature");
        crate::crypto::verify(key.dnskey.algorithm, &key.dnskey.public_key, b"data", &signature)
            .expect("verifies");
        key.write(&private).expect("written");
        assert_eq!(contents(dir.path()), before, "written over");
        key.update().expect("written");
        assert_eq!(contents(dir.path()), before, "updated");
        let other = tempfile::tempdir().expect("a folder");
        KeyFile { dir: other.path().to_owned(), ..key.clone() }.create(&private).expect("written");
        for (file, text) in contents(other.path()) {
            assert_eq!(text, before[&file], "{file} made anew");
            let mode = fs::metadata(other.path().join(&file)).expect("file").mode() & 0o7777;
            assert_eq!(mode, if file.ends_with(".private") { 0o600 } else { 0o644 }, "{file}");
        }
    }
}

#[test]
fn uncommon_keys_of_bind() {
    let cases = [
        ("K.", ".", 13, None),
        ("Kksk", "KSK.test", 13, None),
        ("Kstate", "state.test", 15, Some(())),
        ("Kroll.test.+013+04577", "roll.test", 13, None),
        ("Kroll.test.+013+31266", "roll.test", 13, None),
        ("Ka_b.x%2Ey%20z.test.+016+59752", r"a_b.x\.Y\032z.test", 16, Some(())),
    ];
    for (prefix, zone, algorithm, state) in cases {
        let dir = copied("keygen", prefix);
        let before = contents(dir.path());
        let key = one(dir.path(), zone);
        assert_eq!((key.dnskey.algorithm.0, key.state.as_ref().map(|_| ())), (algorithm, state), "{prefix}");
        key.update().expect("written");
        assert_eq!(contents(dir.path()), before, "{prefix}");
    }
    let dir = copied("keygen", "Kstate");
    let key = one(dir.path(), "state.test");
    let at = |text| Timestamp::parse_stamp(text);
    let state = key.state.as_ref().expect("a state");
    assert_eq!(state.dnskey, (Some(RecordState::Rumoured), at("20260101000000")));
    assert_eq!(state.ds, (Some(RecordState::Unretentive), at("20260103000000")));
    assert_eq!(state.goal, Some(RecordState::Omnipresent));
    assert_eq!((key.timing.ds_publish, key.timing.ds_delete), (at("20260104000000"), at("20270104000000")));
    assert_eq!((state.lifetime, state.ksk, state.zsk), (None, None, None));
    assert_eq!(state.length, 256);
}

#[test]
fn sha1_key_is_found_and_does_not_sign() {
    let dir = copied("keygen", "Kold");
    let key = one(dir.path(), "old.test");
    let error = key.load_private().err().expect("no signer");
    assert!(
        matches!(error, KeyFileError::PrivateKey { source: SignError::Unsupported(Algorithm(5)), .. }),
        "{error}"
    );
}

#[test]
fn format_without_times_is_skipped_and_said() {
    let dir = copied("keygen", "Kv12");
    let found = find(dir.path(), &name("v12.test")).expect("folder");
    assert!(found.keys.is_empty());
    assert!(matches!(&found.skipped[..], [KeyFileError::Legacy { .. }]), "{:?}", found.skipped);
}

/// A P-256 ZSK of example.test, alone in its folder.
const ZSK: &str = "Kexample.test.+013+49564";
const KSK: &str = "Kexample.test.+013+13534";

/// The set [`ZSK`] with one of its files changed.
fn changed(suffix: &str, change: impl FnOnce(&str) -> String) -> TempDir {
    let dir = copied("ksr", ZSK);
    let path = dir.path().join(format!("{ZSK}.{suffix}"));
    let text = fs::read_to_string(&path).expect("file");
    let new = change(&text);
    assert_ne!(new, text, "the change changes something");
    fs::write(&path, new).expect("written");
    dir
}

fn replaced(suffix: &str, from: &'static str, to: &str) -> TempDir {
    changed(suffix, |text| text.replacen(from, to, 1))
}

#[test]
fn both_spellings_of_state_tags() {
    let at = Timestamp::parse_stamp("20270101000000");
    for (tags, get) in [
        (["PublishCDS", "SyncPublish"], (|k| k.timing.sync_publish) as fn(&KeyFile) -> Option<Timestamp>),
        (["DeleteCDS", "SyncDelete"], |k| k.timing.sync_delete),
        (["SigPublish", "ZRRSIGPublish"], |k| k.state.as_ref().and_then(|s| s.sig_publish)),
        (["SigRemoved", "ZZRRSIGDelete"], |k| k.state.as_ref().and_then(|s| s.sig_delete)),
        (["DSDelCount", "DSRemCount"], |k| {
            k.state.as_ref()?.ds_del_count.map(|n| Timestamp::from_secs(n.into()))
        }),
    ] {
        for tag in tags {
            let value = if tag.ends_with("Count") { "1798761600" } else { "20270101000000 (a remark)" };
            let dir = changed("state", |text| format!("{text}{tag}: {value}\n"));
            assert_eq!(get(&one(dir.path(), "example.test")), at, "{tag}");
        }
    }
}

#[test]
fn times_of_state_win_and_others_stay() {
    let at = |text| Timestamp::parse_stamp(text);
    let dir =
        replaced("private", "Activate: 20270101000000", "Activate: 20270505050505\nRevoke: 20270606060606");
    let key = one(dir.path(), "example.test");
    assert_eq!(key.timing.activate, at("20270101000000"));
    assert_eq!(key.timing.revoke, at("20270606060606"));
    fs::remove_file(key.path("state")).expect("removed");
    let found = find(dir.path(), &name("example.test")).expect("folder");
    assert_eq!(found.keys[0].timing.activate, at("20270505050505"));
    assert!(matches!(&found.warnings()[..], [KeyFileError::NoState { .. }]), "a lost .state is told");
}

#[test]
fn unknown_tags_and_odd_state_lines_are_skipped() {
    let dir = changed("state", |text| {
        format!("{}Zork: 12\n\nno tag here\nAlgorithm: 99\n", text.replacen('\n', "\r\n", 3))
    });
    assert_eq!(one(dir.path(), "example.test").state.and_then(|s| s.zsk), Some(true));
}

#[test]
fn numbers_and_tokens_survive_an_update() {
    let numbers = "Predecessor: 12\nSuccessor: 99\nMaxTTL: 3600\nRollPeriod: 77\nCreated";
    let dir = replaced("private", "Created", numbers);
    let mut key = one(dir.path(), "example.test");
    let before = contents(dir.path());
    key.update().expect("written");
    assert_eq!(contents(dir.path()), before);
    key.state.as_mut().expect("a state").successor = Some(7);
    key.timing.inactive = None;
    key.update().expect("written");
    let text = fs::read_to_string(key.path("private")).expect("file");
    assert!(text.contains("\nSuccessor: 7\n") && !text.contains("Inactive"), "{text}");
    assert_eq!(
        one(dir.path(), "example.test"),
        KeyFile { timing: key.timing, ..one(dir.path(), "example.test") }
    );

    for (line, word) in [("External:\n", "elsewhere"), ("Engine: cGtjczExAA==\nLabel: YWJjAA==\n", "PKCS#11")]
    {
        let dir = changed("private", |text| {
            let kept: Vec<&str> = text.lines().filter(|l| !l.starts_with("PrivateKey:")).collect();
            format!("{}\n{line}{}\n", kept[..2].join("\n"), kept[2..].join("\n"))
        });
        let before = contents(dir.path());
        let key = one(dir.path(), "example.test");
        assert!(key.load_private().is_err());
        let error = key.private_key().expect_err("no private elements");
        assert!(
            matches!(error, KeyFileError::Elsewhere { .. }) && error.to_string().contains(word),
            "{error}"
        );
        key.update().expect("written");
        assert_eq!(contents(dir.path()), before);
    }
}

#[test]
fn names_in_other_letter_case_are_found() {
    let dir = copied("ksr", ZSK);
    for suffix in ["key", "private", "state"] {
        let odd = format!("kExample.TEST.+013+49564.{suffix}");
        fs::rename(dir.path().join(format!("{ZSK}.{suffix}")), dir.path().join(odd)).expect("moved");
    }
    let key = one(dir.path(), "example.test");
    assert!(key.load_private().is_ok());
    assert_eq!(key.state.as_ref().and_then(|s| s.zsk), Some(true));
    key.update().expect("written");
    assert_eq!(contents(dir.path()).len(), 3, "written where it was");

    let twice = copied("ksr", ZSK);
    for (file, text) in contents(twice.path()) {
        fs::write(twice.path().join(file.replace("Kex", "KEX")), text).expect("written");
    }
    let found = find(twice.path(), &name("example.test")).expect("folder");
    assert_eq!((found.keys.len(), found.skipped.len()), (1, 1), "{:?}", found.skipped);
    assert!(found.skipped[0].to_string().contains("KEXample"), "{:?}", found.skipped);
}

#[test]
fn only_names_of_the_zone_count() {
    let dir = copied("ksr", ZSK);
    for stray in [
        "Kexample.test.+013+4956.private",
        "Kexample.test.+13+49564.private",
        "Kexample.test.+013+49565.private~",
        "Kexample.test.+013+49566.private.bak",
        ".Kexample.test.+013+49567.private",
        "Kexample.test+013+49568.private",
        "Ksub.example.test.+013+49569.private",
        "K+013+49570.private",
        "dsset-example.test.",
    ] {
        fs::write(dir.path().join(stray), "x").expect("written");
    }
    let key = one(dir.path(), "EXAMPLE.test");
    assert_eq!(key.base_name(), ZSK);
    let folder = Folder::scan(dir.path()).expect("folder");
    assert_eq!(folder.bases(&name("example.test")).collect::<Vec<_>>(), [ZSK]);
    let mut zones: Vec<&str> = folder.zones().collect();
    zones.sort_unstable();
    assert_eq!(zones, ["example.test.", "sub.example.test."]);
    // A lone .key is no key to anybody.
    fs::remove_file(key.path("private")).expect("removed");
    let found = find(dir.path(), &name("example.test")).expect("folder");
    assert!(found.keys.is_empty() && found.skipped.is_empty());
    assert!(matches!(find(&dir.path().join("none"), &name("a")), Err(KeyFileError::Io { .. })));
}

/// Fault list, row 40: a private KSK in the folder of the online side is told and never opened.
#[test]
fn private_ksk_is_told_and_not_opened() {
    let dir = copied("ksr", "Kexample.test.+013");
    let zone = name("example.test");
    let path = dir.path().join(format!("{KSK}.private"));
    // What is no private key at all would be noticed by anyone who opens it.
    fs::write(&path, "not a key").expect("written");
    let folder = Folder::scan(dir.path()).expect("folder");
    assert_eq!(folder.private_ksks(&zone), [path]);
    let online = folder.find_online(&zone);
    assert_eq!((online.keys.len(), online.skipped.len()), (2, 0), "{:?}", online.skipped);
    assert!(online.keys[0].timing.activate.is_some(), "times of .state");
    let offline = folder.find(&zone);
    assert_eq!((offline.keys.len(), offline.skipped.len()), (1, 1));
    assert!(folder.private_ksks(&name("other.test")).is_empty());
}

#[test]
fn a_set_that_cannot_be_written_whole_leaves_nothing() {
    let from = copied("ksr", ZSK);
    let key = one(from.path(), "example.test");
    let private = key.private_key().expect("private key");
    for blocked in ["key", "state", "private"] {
        let dir = tempfile::tempdir().expect("a folder");
        let key = KeyFile { dir: dir.path().to_owned(), ..key.clone() };
        fs::write(key.path(blocked), "something else").expect("written");
        let error = key.create(&private).expect_err("refused");
        assert!(matches!(&error, KeyFileError::Exists { path } if *path == key.path(blocked)), "{error}");
        let left = contents(dir.path());
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[&format!("{ZSK}.{blocked}")], b"something else");
    }
    let other = PrivateKey::generate(Algorithm::ECDSAP256SHA256, 0).expect("key");
    assert!(matches!(key.write(&other), Err(KeyFileError::Mismatch { .. })));
    assert_eq!(contents(from.path()), contents(copied("ksr", ZSK).path()), "nothing written");
    let nowhere = KeyFile { dir: from.path().join("none"), ..key };
    assert!(matches!(nowhere.create(&private), Err(KeyFileError::Io { .. })));
}

fn new_key<'a>(zone: &'a Name, algorithm: u8, tag_range: std::ops::RangeInclusive<u16>) -> NewKey<'a> {
    NewKey {
        zone,
        ttl: 3600,
        flags: 256,
        algorithm: Algorithm(algorithm),
        bits: 1024,
        tag_range,
        timing: Timing { created: Some(Timestamp::from_secs(1_800_000_000)), ..Timing::default() },
        state: Some(State { lifetime: Some(0), zsk: Some(true), ksk: Some(false), ..State::default() }),
    }
}

#[test]
fn new_keys_read_back_and_sign() {
    let dir = tempfile::tempdir().expect("a folder");
    let zone = name(r"A\.b.x/y.Test");
    for algorithm in [8, 10, 13, 14, 15, 16] {
        let made = generate_key(dir.path(), &new_key(&zone, algorithm, 0..=65535), &[]).expect("key");
        let found = find(dir.path(), &zone).expect("folder");
        assert!(found.skipped.is_empty(), "{:?}", found.skipped);
        let read = found.keys.iter().find(|k| k.dnskey == made.dnskey).expect("the key");
        let mut want = made.clone();
        want.state.as_mut().expect("a state").length =
            if algorithm < 13 { 1024 } else { Algorithm(algorithm).fixed_bits().expect("size") };
        assert_eq!(*read, want);
        read.load_private().expect("signer");
    }
}

/// Fault list, row 19: no new key has a tag, plain or revoked, of any other key of the zone.
#[test]
fn new_keys_never_collide() {
    let dir = tempfile::tempdir().expect("a folder");
    let zone = name("example.test");
    // 150 + 128 tags: room for at most 22 pairs of tag and revoked tag.
    let range = 1000..=1149;
    let outside =
        generate_key(tempfile::tempdir().expect("a folder").path(), &new_key(&zone, 15, 0..=65535), &[]);
    let outside = outside.expect("key").dnskey;
    let known = [outside.tag(), outside.revoked_tag()];
    // A lone .key that does not read and a KEY-like name of another algorithm hold their tags too.
    fs::write(dir.path().join("Kexample.test.+003+01000.key"), "?").expect("written");
    fs::write(dir.path().join("Kexample.test.+008+01130.private"), "?").expect("written");
    let mut tags = vec![1000, 1128, 1130, 1258, known[0], known[1]];
    for algorithm in [13, 15, 13, 15] {
        let made = generate_key(dir.path(), &new_key(&zone, algorithm, range.clone()), &known).expect("key");
        for tag in [made.dnskey.tag(), made.dnskey.revoked_tag()] {
            assert!(range.contains(&tag) && !tags.contains(&tag), "{tag} in {tags:?}");
        }
        tags.extend([made.dnskey.tag(), made.dnskey.revoked_tag()]);
    }
    // Another zone has its own tags; where no pair fits, no key is drawn at all.
    let error = generate_key(dir.path(), &new_key(&zone, 8, 1000..=1100), &[]).expect_err("no pair fits");
    assert!(matches!(error, KeyFileError::NoFreeTag { .. }), "{error}");
    let first = find(dir.path(), &zone).expect("folder").keys.swap_remove(0).dnskey;
    let (tag, revoked) = (first.tag(), first.revoked_tag());
    let taken = [tag, revoked];
    let elsewhere = tempfile::tempdir().expect("a folder");
    let only = new_key(&zone, 13, tag..=tag + 1 + (revoked - tag));
    assert!(
        generate_key(elsewhere.path(), &NewKey { tag_range: tag..=revoked, ..only }, &taken).is_err(),
        "known keys count"
    );
}

/// `dnssec-settime` without -s changes `.private` alone, and `.state` wins.
#[test]
fn kind_102_times_that_private_and_state_say_differently_are_told() {
    type Change = fn(&str) -> String;
    assert!(find(copied("ksr", ZSK).path(), &name("example.test")).expect("folder").warnings().is_empty());
    let cases: [(&str, Change, &str); 4] = [
        (
            "private",
            |t| t.replace("Activate: 2027", "Activate: 2028"),
            "Activate is 20270101000000 here and 20280101000000 in .private",
        ),
        ("private", |t| t.replace("Inactive: 2027", "Inactive: 2028"), "Inactive is 2027"),
        (
            "private",
            |t| t.lines().filter(|l| !l.starts_with("Delete")).map(|l| format!("{l}\n")).collect(),
            " and not set in .private",
        ),
        ("state", |t| t.replace("Published: 2026", "Published: 2025"), "Publish is 2025"),
    ];
    for (i, (suffix, change, says)) in cases.into_iter().enumerate() {
        let dir = changed(suffix, change);
        let told: Vec<String> = find(dir.path(), &name("example.test"))
            .expect("folder")
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(told.len() == 1 && told[0].contains(says), "{i}: {told:?}");
        assert!(told[0].contains(".state: ") && told[0].contains("dnssec-settime -s"), "{told:?}");
    }
    // Of a key that has none in .state, those of .private count.
    let dir = changed("state", |text| {
        text.lines().filter(|l| !l.starts_with("Retired")).map(|l| format!("{l}\n")).collect()
    });
    assert!(find(dir.path(), &name("example.test")).expect("folder").warnings().is_empty());
}

/// A ZSK in named's folder without Publish or Activate stops each rekey; a KSK is not there.
#[test]
fn kind_101_zsks_that_named_cannot_work_with_are_told() {
    for (flags, publish, activate, says) in [
        (256, true, true, ""),
        (256, true, false, "a ZSK without Activate time"),
        (256, false, true, "a ZSK without Publish time"),
        (256, false, false, "a ZSK without Publish or Activate time"),
        (257, true, false, ""),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Timestamp::parse_stamp("20270101000000");
        let zone = name("example.test");
        let new = NewKey {
            flags,
            timing: Timing {
                publish: at.filter(|_| publish),
                activate: at.filter(|_| activate),
                ..Timing::default()
            },
            state: Some(State::default()),
            ..new_key(&zone, 15, 0..=65535)
        };
        let key = generate_key(dir.path(), &new, &[]).expect("a key");
        let told = find(dir.path(), &zone).expect("folder").warnings();
        assert_eq!(told.is_empty(), says.is_empty(), "{told:?}");
        if let [told] = told.as_slice() {
            let told = told.to_string();
            assert!(told.contains(says) && told.contains(&format!("{}.key", key.base_name())), "{told}");
            assert!(told.contains("dnssec-settime -s -"), "{told}");
        }
    }
}

#[test]
fn numbers_fit_or_are_refused() {
    let cases: [(&[u8], Option<u32>); 12] = [
        (b"0", Some(0)),
        (b"0007 (x)", Some(7)),
        (b"4294967295", Some(u32::MAX)),
        (b"4294967296", None),
        (b"9999999999", None),
        (b"99999999999999999999999999", None),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"0x10", None),
        (b"1.5", None),
        (b"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", None),
    ];
    for (text, want) in cases {
        assert_eq!(number::<u32>(text).ok(), want, "{}", printable(text));
    }
    assert_eq!(number::<u16>(b"65536"), Err(BadWord("65536".to_owned())));
}

fn arbitrary_change(text: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = text.len();
    let words: &[&[u8]] =
        &[b":", b"\n", b"(", b"\"", b"\\", b"\0", b"Label: ", b"v1.", b"99999999999", b"\xff", b" "];
    (0..len, 0..40usize, prop::sample::select(words)).prop_map(move |(at, cut, insert)| {
        let end = (at + cut).min(len);
        [&text[..at], insert, &text[end..]].concat()
    })
}

fn fixture(file: &str) -> Vec<u8> {
    fs::read(fixtures("ksr").join(file)).expect("fixture")
}

/// What reading a text gives: nothing, or an error with path and line.
fn placed(result: Result<(), KeyFileError>) {
    if let Err(error) = result {
        let place = matches!(
            &error,
            KeyFileError::Syntax { line: 1.., .. }
                | KeyFileError::Mismatch { .. }
                | KeyFileError::Elsewhere { .. }
        );
        assert!(place && error.to_string().starts_with("/keys/K"), "{error}");
    }
}

proptest! {
    #[test]
    fn changed_public_files_never_panic(text in arbitrary_change(fixture("Kexample.test.+008+55989.key"))) {
        placed(public::parse(Path::new("/keys/K.key"), &text).map(drop));
    }

    #[test]
    fn changed_private_files_never_panic(text in arbitrary_change(fixture("Kexample.test.+008+55989.private"))) {
        let path = Path::new("/keys/K.private");
        placed(private::PrivateFile::parse(path, &text).and_then(|file| file.private_key(path, &text)).map(drop));
    }

    #[test]
    fn changed_states_never_panic(text in arbitrary_change(fixture("Kexample.test.+013+49564.state"))) {
        let key = public::parse(Path::new("K"), &fixture("Kexample.test.+013+49564.key")).expect("key").dnskey;
        placed(state::parse(Path::new("/keys/K.state"), &text, &key, 256, &mut Timing::default()).map(drop));
    }

    #[test]
    fn random_octets_never_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let path = Path::new("/keys/K.x");
        placed(public::parse(path, &text).map(drop));
        placed(private::PrivateFile::parse(path, &text).map(drop));
        let head = [b"; x\nAlgorithm: 13\nLength: 256\n", &text[..]].concat();
        let key = Dnskey { flags: 256, protocol: 3, algorithm: Algorithm(13), public_key: vec![] };
        placed(state::parse(path, &head, &key, 256, &mut Timing::default()).map(drop));
    }
}

proptest! {
    // Each case writes three files to the disk.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn written_sets_read_back(
        times in prop::collection::vec(prop::option::of(0u64..=253_402_300_799), 10),
        numbers in prop::collection::vec(prop::option::of(any::<u32>()), 5),
        words in prop::collection::vec(prop::option::of(0usize..4), 5),
        roles in prop::collection::vec(prop::option::of(any::<bool>()), 2),
        ttl in 0u32..=0x7fff_ffff,
    ) {
        let dir = copied("ksr", ZSK);
        let mut key = one(dir.path(), "example.test");
        let at = |i: usize| times[i].map(Timestamp::from_secs);
        key.ttl = ttl;
        key.timing = Timing { ds_delete: at(9), ..Timing::default() };
        for (i, (_, time)) in crate::keys::timing::TIMES.iter().enumerate() {
            *time(&mut key.timing) = at(i);
        }
        let all = [RecordState::Hidden, RecordState::Rumoured, RecordState::Omnipresent, RecordState::Unretentive];
        let word = |i: usize| words[i].map(|w| all[w]);
        let tag = |i: usize| numbers[i].map(|n| (n & 0xffff) as u16);
        key.state = Some(State {
            length: 256,
            lifetime: numbers[0],
            predecessor: tag(1),
            successor: tag(2),
            ksk: roles[0],
            zsk: roles[1],
            dnskey: (word(0), at(0)),
            zrrsig: (word(1), at(1)),
            krrsig: (word(2), at(2)),
            ds: (word(3), at(3)),
            goal: word(4),
            ds_pub_count: numbers[3],
            ds_del_count: numbers[4],
            sig_publish: at(4),
            sig_delete: at(5),
        });
        key.write(&key.private_key().expect("private key")).expect("written");
        prop_assert_eq!(one(dir.path(), "example.test"), key);
    }
}
