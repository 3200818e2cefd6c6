//! Files that are damaged, do not fit each other, or are no regular files.

use super::*;

/// Each damage to one file of a set, the file and line that the error names, and a word of it.
#[test]
fn damaged_sets_are_skipped_with_the_place() {
    let cases: &[(&str, &'static str, &str, &str, &str)] = &[
        ("key", "IN DNSKEY", "CH DNSKEY", ".key:7: ", "class"),
        ("key", "IN DNSKEY", "IN TXT", ".key:7: ", "DNSKEY was expected"),
        ("key", "IN DNSKEY", "IN KEY", ".key: ", "SIG(0)"),
        ("key", "DNSKEY 256 3 13", "DNSKEY 0 3 13", ".key: ", "key tag"),
        ("key", "example.test. 3600", "@ 3600", ".key:7: ", "@"),
        ("key", "example.test. 3600", "other.test. 3600", ".key: ", "another zone"),
        ("key", "example.test. 3600", "example.test. 3600x", ".key:7: ", "TTL"),
        ("key", "; This", "(\n; This", ".key:", "parenthes"),
        ("key", "example.test. 3600 IN", "; example.test.", ".key:7: ", "no record"),
        ("key", "; Created", "example.test. IN DNSKEY 256 3 13 AAAA\n; Created", ".key:8: ", "second record"),
        ("private", "Private-key-format: v1.3", "Private-key-format: v2.0", ".private:1: ", "v2.0"),
        ("private", "Private-key-format: v1.3", "Private-key-format: 1.3", ".private:1: ", "v1.3"),
        ("private", "Algorithm: 13 ", "Algorithm: 14 ", ".private: ", "algorithm"),
        ("private", "Algorithm: 13 ", "Algorithm: x ", ".private:2: ", "NUMBER"),
        ("private", "Created", "Zork: 1\nCreated", ".private:4: ", "Zork"),
        ("private", "Created", "Modulus: AQAB\nCreated", ".private:4: ", "Modulus"),
        ("private", "Created", "Predecessor: 65536\nCreated", ".private:4: ", "65536"),
        ("private", "Created", "hello\nCreated", ".private:4: ", "Tag: value"),
        ("private", "Created: 2026", "Created: 2O26", ".private:4: ", "YYYYMMDDHHMMSS"),
        ("state", "Algorithm: 13", "Algorithm: 8", ".state:2: ", "Algorithm: 13"),
        ("state", "Length: 256", "Length: 384", ".state:3: ", "Length: 256"),
        ("state", "Length: 256\n", "", ".state:3: ", "Length: 256"),
        ("state", "KSK: no", "KSK: maybe", ".state:5: ", "maybe"),
        ("state", "Active: 2027", "Active: 20q7", ".state:9: ", "YYYYMMDDHHMMSS"),
        ("state", "Active: 20270101000000", "Active: 20270231000000", ".state:9: ", "20270231000000"),
        ("state", "Lifetime: 16070400", "Lifetime: 4294967296", ".state:4: ", "4294967296"),
        ("state", "KSK: no", "DSState: gone", ".state:5: ", "gone"),
    ];
    for (suffix, from, to, place, word) in cases {
        let dir = replaced(suffix, from, to);
        let found = find(dir.path(), &name("example.test")).expect("folder");
        assert!(found.keys.is_empty(), "{from} -> {to}");
        let error = found.skipped[0].to_string();
        assert!(error.contains(&format!("{ZSK}{place}")) && error.contains(word), "{from} -> {to}: {error}");
    }
}

#[test]
fn newer_minor_version_may_have_unknown_tags() {
    let dir = changed("private", |text| format!("{}Zork: 1\n", text.replacen("v1.3", "v1.4", 1)));
    let key = one(dir.path(), "example.test");
    key.load_private().expect("signer");
    assert!(matches!(key.update(), Err(KeyFileError::Mismatch { .. })), "what is unknown would be lost");
}

/// A key whose scalar begins with zeros, as a `.private` file of which the value is `written(scalar)`.
fn with_scalar(algorithm: Algorithm, written: fn(&[u8]) -> Vec<u8>) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let scalar = std::iter::repeat_with(|| PrivateKey::generate(algorithm, 0).expect("a key"))
        .find_map(|key| match &key {
            PrivateKey::Raw(octets) if octets[0] == 0 => Some(octets.clone()),
            _ => None,
        })
        .expect("one of 256");
    let private = PrivateKey::Raw(scalar.clone());
    let public_key = private.public_key(algorithm).expect("its public part");
    let key = KeyFile {
        zone: name("example.test"),
        ttl: 60,
        dnskey: Dnskey { flags: 256, protocol: 3, algorithm, public_key },
        timing: Timing::default(),
        state: None,
        dir: dir.path().to_owned(),
    };
    key.create(&private).expect("written");
    let path = key.path("private");
    let encode = |octets: &[u8]| data_encoding::BASE64.encode(octets);
    let text = fs::read_to_string(&path).expect("text").replace(&encode(&scalar), &encode(&written(&scalar)));
    fs::write(&path, text).expect("write");
    dir
}

#[test]
fn kind_22_scalars_of_any_length_are_read_and_what_is_too_long_is_named() {
    let plain = |scalar: &[u8]| scalar.to_vec();
    let short = |scalar: &[u8]| scalar[scalar.iter().take_while(|b| **b == 0).count()..].to_vec();
    let padded = |scalar: &[u8]| [&[0; 3], scalar].concat();
    type Written = fn(&[u8]) -> Vec<u8>;
    let cases: [(&str, Written); 3] = [("plain", plain), ("short", short), ("padded", padded)];
    for algorithm in [Algorithm::ECDSAP256SHA256, Algorithm::ECDSAP384SHA384] {
        for (what, written) in cases {
            let dir = with_scalar(algorithm, written);
            let key = one(dir.path(), "example.test");
            let signature = key.load_private().expect(what).sign(b"data").expect(what);
            crate::crypto::verify(algorithm, &key.dnskey.public_key, b"data", &signature).expect(what);
            let before = contents(dir.path());
            key.update().expect("written");
            assert_eq!(contents(dir.path()), before, "{what}: it is kept as it stands");
        }
        let dir = with_scalar(algorithm, |scalar| [&[1], scalar].concat());
        let error = one(dir.path(), "example.test").load_private().err().expect("too long").to_string();
        let len = if algorithm == Algorithm::ECDSAP256SHA256 { 32 } else { 48 };
        let says = format!(
            ".private:3: PrivateKey: {} octets, where a key of algorithm {} has {len}",
            len + 1,
            algorithm.0
        );
        assert!(error.contains(&says), "{error}");
    }
    // A seed is no number: its zeros belong to it.
    for (algorithm, len) in [(Algorithm::ED25519, 32), (Algorithm::ED448, 57)] {
        for written in [|seed: &[u8]| seed[1..].to_vec(), |seed: &[u8]| [&[0], seed].concat()] {
            let dir = with_scalar(algorithm, written);
            let error =
                one(dir.path(), "example.test").load_private().err().expect("another length").to_string();
            assert!(
                error.contains(&format!("where a key of algorithm {} has {len}", algorithm.0)),
                "{error}"
            );
        }
    }
}

#[test]
fn kind_22_what_is_wrong_in_a_private_file_is_said_of_that_file() {
    type Change = fn(&str) -> String;
    let cases: [(Change, &str); 12] = [
        (|t| format!("\n{t}"), ".private:1: the line is blank, and `Private-key-format: v1.3` was expected"),
        (
            |t| t.replacen('\n', "\n \n", 1),
            ".private:2: the line is blank, and `Algorithm: NUMBER (NAME)` was expected",
        ),
        (
            |t| t.replace('\n', "\r\r\n"),
            ".private:2: the line is blank, and `Algorithm: NUMBER (NAME)` was expected",
        ),
        (
            |t| format!("\u{feff}{t}"),
            ".private:1: `Private-key-format: v1.3` was expected, and a byte order mark",
        ),
        (
            |t| t.replace("v1.3", "1.3"),
            ".private:1: `Private-key-format: v1.3` was expected; the value is none",
        ),
        (
            |t| t.replace("Algorithm: 13", "Algorithm: P256"),
            ".private:2: `Algorithm: NUMBER (NAME)` was expected; the value",
        ),
        (
            |t| t.replace("Algorithm", "Publish"),
            ".private:2: `Algorithm: NUMBER (NAME)` was expected; it must be line 2",
        ),
        (|_| String::new(), ".private:1: `Private-key-format: v1.3` was expected; it must be line 1"),
        (|t| t.replace("PrivateKey: ", "PrivateKey: \nX-"), ".private:4: `Tag: value` was expected"),
        (|t| format!("{t}PrivateKey:\n"), "PrivateKey: there is no value"),
        (
            |t| format!("{t}Activate: tomorrow\n"),
            "Activate: `tomorrow` is no time; YYYYMMDDHHMMSS (UTC) was expected",
        ),
        (|t| format!("{t}PrivateKey: AAAA\n"), "the ECDSA scalar is out of range"),
    ];
    for (i, (change, says)) in cases.into_iter().enumerate() {
        let dir = changed("private", change);
        let found = find(dir.path(), &name("example.test")).expect("folder");
        let error = match found.keys.first() {
            Some(key) => key.load_private().err().expect("no signer").to_string(),
            None => found.skipped[0].to_string(),
        };
        assert!(error.contains(says), "{i}: {error}");
    }
}

/// Fault list, row 39: altered, swapped, of another zone, missing, readable by others.
#[test]
fn kind_27_private_keys_that_do_not_fit_never_sign_and_the_message_knows_file_systems_without_modes() {
    let swapped = changed("private", |_| {
        fs::read_to_string(fixtures("ksr").join(format!("{KSK}.private"))).expect("file")
    });
    let error = one(swapped.path(), "example.test").load_private().err().expect("no signer");
    assert!(matches!(error, KeyFileError::Mismatch { .. }), "{error}");

    for (from, to, word) in [
        ("PrivateKey: ", "PrivateKey: !", "not base64"),
        ("PrivateKey: Tt", "PrivateKey: Tu", "does not belong"),
        ("PrivateKey: Tt+C", "PrivateKey: ", "does not belong"),
        ("PrivateKey", "; PrivateKey", "`; PrivateKey` is no tag"),
    ] {
        let dir = replaced("private", from, to);
        let found = find(dir.path(), &name("example.test")).expect("folder");
        let error = match found.keys.first() {
            Some(key) => key.load_private().err().expect("no signer").to_string(),
            None => found.skipped[0].to_string(),
        };
        assert!(error.contains(word) && error.contains(".private"), "{error}");
        assert!(!error.contains("CKaW2kNBQn3"), "no part of the key in the message");
    }
    let missing = changed("private", |text| {
        text.lines().filter(|l| !l.starts_with("PrivateKey")).map(|l| format!("{l}\n")).collect()
    });
    let error = one(missing.path(), "example.test").load_private().err().expect("no signer").to_string();
    assert!(error.contains(".private:7: `PrivateKey:` is missing"), "{error}");

    // The last two are what FAT shows of every file, with the usual umask and without one.
    for mode in [0o640, 0o604, 0o660, 0o644, 0o755, 0o777] {
        let dir = copied("ksr", ZSK);
        let key = one(dir.path(), "example.test");
        fs::set_permissions(key.path("private"), fs::Permissions::from_mode(mode)).expect("mode");
        for error in [key.load_private().err(), key.private_key().err(), key.update().err()] {
            let error = error.expect("refused");
            assert!(matches!(error, KeyFileError::Permissions { mode: m, .. } if m == mode), "{error}");
            assert!(
                error.to_string().contains(&format!("{mode:04o}")) && error.to_string().contains("chmod 600")
            );
            // Where chmod says yes and does nothing.
            assert!(error.to_string().contains("mount -o umask=077"), "{error}");
        }
        let warnings = find(dir.path(), &name("example.test")).expect("folder").warnings();
        assert!(matches!(&warnings[..], [KeyFileError::Permissions { .. }]), "{warnings:?}");
    }
    // The last two are what FAT shows with umask=077, writable and read-only.
    for mode in [0o600, 0o400, 0o700, 0o500] {
        let dir = copied("ksr", ZSK);
        let key = one(dir.path(), "example.test");
        fs::set_permissions(key.path("private"), fs::Permissions::from_mode(mode)).expect("mode");
        assert!(key.load_private().is_ok(), "{mode:o}");
    }
}

#[test]
fn links_pipes_folders_and_giants_are_refused() {
    for suffix in ["key", "private", "state"] {
        for kind in ["link", "pipe", "folder", "giant"] {
            let dir = copied("ksr", ZSK);
            let path = dir.path().join(format!("{ZSK}.{suffix}"));
            let aside = dir.path().join("aside");
            fs::rename(&path, &aside).expect("moved");
            match kind {
                "link" => symlink(&aside, &path).expect("link"),
                "folder" => fs::create_dir(&path).expect("folder"),
                "giant" => fs::write(&path, vec![b'\n'; MAX_FILE as usize + 1]).expect("file"),
                _ => rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                    .expect("pipe"),
            }
            let found = find(dir.path(), &name("example.test")).expect("folder");
            assert!(found.keys.is_empty(), "{suffix} {kind}");
            assert!(
                matches!(&found.skipped[..], [KeyFileError::NotAKeyFile { path: p, .. }] if *p == path),
                "{suffix} {kind}: {:?}",
                found.skipped
            );
        }
    }
}
