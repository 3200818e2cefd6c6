//! BIND reads, rewrites and signs with the key files that we make, for every algorithm that signs.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keystore::crypto::{Algorithm, PrivateKey};
use keystore::dns::Name;
use keystore::keys::files::{NewKey, find, generate_key};
use keystore::keys::timing::{RecordState, State, Timing};
use keystore::keys::{Dnskey, KeyFile};
use keystore::time::Timestamp;

fn at(stamp: &str) -> Option<Timestamp> {
    Some(Timestamp::parse_stamp(stamp).expect("a stamp"))
}

fn algorithms() -> impl Iterator<Item = Algorithm> {
    [8, 10, 13, 14, 15, 16].into_iter().map(Algorithm)
}

/// A new key with every time set and every field of the state.
fn full<'a>(zone: &'a Name, algorithm: Algorithm, flags: u16) -> NewKey<'a> {
    let ksk = flags == 257;
    // BIND 9.20.30 reads 18 lines behind the head of .private: the last time of an RSA key with all of them would be lost.
    let successor = (!algorithm.is_rsa()).then_some(65535);
    NewKey {
        zone,
        ttl: 7200,
        flags,
        algorithm,
        bits: 2048,
        tag_range: 0..=65535,
        timing: Timing {
            created: at("20260101000000"),
            publish: at("20260102030405"),
            activate: at("20260103000000"),
            revoke: at("20291231235959"),
            inactive: at("20300101000000"),
            delete: at("20300201000000"),
            ds_publish: at("20260104000000"),
            ds_delete: at("20300102000000"),
            sync_publish: at("20260105000000"),
            sync_delete: at("20300103000000"),
        },
        state: Some(State {
            length: 0,
            lifetime: Some(31_536_000),
            predecessor: Some(7),
            successor,
            ksk: Some(ksk),
            zsk: Some(!ksk),
            dnskey: (Some(RecordState::Omnipresent), at("20260106000000")),
            zrrsig: (Some(RecordState::Rumoured), at("20260107000000")),
            krrsig: (Some(RecordState::Unretentive), at("20260108000000")),
            ds: (Some(RecordState::Hidden), at("20260109000000")),
            goal: Some(RecordState::Omnipresent),
            ..State::default()
        }),
    }
}

fn contents(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).expect("folder").map(|e| e.expect("entry"));
    entries
        .map(|e| (e.file_name().into_string().expect("text"), fs::read_to_string(e.path()).expect("file")))
        .collect()
}

/// `dnssec-settime -p all` says every time that we wrote.
#[test]
fn settime_reads_our_times() {
    drop(peer!("dnssec-settime"));
    let dir = tempfile::tempdir().expect("a folder");
    let zone = Name::parse(r"We.ird\.\032/zone.Test").expect("a name");
    for (algorithm, flags) in algorithms().flat_map(|a| [(a, 256), (a, 257)]) {
        let key = generate_key(dir.path(), &full(&zone, algorithm, flags), &[]).expect("a key");
        let mut settime = common::peer("dnssec-settime").expect("it was there");
        let said =
            common::stdout(settime.arg("-K").arg(dir.path()).args(["-u", "-p", "all"]).arg(key.base_name()));
        let t = key.timing;
        for (label, time) in [
            ("Created", t.created),
            ("Publish", t.publish),
            ("Activate", t.activate),
            ("Revoke", t.revoke),
            ("Inactive", t.inactive),
            ("Delete", t.delete),
            ("SYNC Publish", t.sync_publish),
            ("SYNC Delete", t.sync_delete),
            ("DS Publish", t.ds_publish),
            ("DS Delete", t.ds_delete),
        ] {
            let line = format!("{label}: {}", time.expect("set").secs());
            assert!(said.lines().any(|l| l == line), "{line} in\n{said}");
        }
    }
}

/// What `dnssec-settime -p` says of a key: Publish, Activate and Delete in seconds; `None` when BIND does not read the files.
fn settime(dir: &Path, name: &str) -> Option<[String; 3]> {
    let mut settime = common::peer("dnssec-settime").expect("it was there");
    let output = settime.arg("-K").arg(dir).args(["-u", "-p", "PAD"]).arg(name).output().expect("it runs");
    let said = output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())?;
    let of = |label: &str| said.lines().find_map(|line| line.strip_prefix(label)).expect("a time").to_owned();
    Some(["Publish: ", "Activate: ", "Delete: "].map(of))
}

/// The same of our reader, which takes the private part too.
fn ours(dir: &Path, zone: &Name) -> Option<[String; 3]> {
    let key = find(dir, zone).expect("a folder").keys.pop()?;
    key.private_key().ok()?;
    let seconds = |at: Option<Timestamp>| at.map_or_else(|| "UNSET".to_owned(), |at| at.secs().to_string());
    Some([key.timing.publish, key.timing.activate, key.timing.delete].map(seconds))
}

/// Spellings of `.private` and `.state` files: what BIND reads we read to the same key and times, and where we read more it is listed.
#[test]
fn kind_22_key_files_in_every_spelling_are_read_as_bind_reads_them() {
    drop(peer!("dnssec-settime"));
    type Change = fn(&str) -> String;
    /// The lines behind the first `head` ones in another order.
    fn reordered(text: &str, head: usize, order: fn(&mut Vec<&str>)) -> String {
        let mut lines: Vec<&str> = text.lines().collect();
        let mut rest = lines.split_off(head);
        order(&mut rest);
        lines.extend(rest);
        lines.join("\n") + "\n"
    }
    let private: [(&str, Change); 24] = [
        ("as it is", str::to_owned),
        ("CR LF", |t| t.replace('\n', "\r\n")),
        ("CR CR LF", |t| t.replace('\n', "\r\r\n")),
        ("CR", |t| t.replace('\n', "\r")),
        ("white lines", |t| reordered(t, 2, |l| *l = l.iter().flat_map(|l| ["", " \t ", l]).collect())),
        ("blank line at the top", |t| format!("\n{t}")),
        ("blank second line", |t| t.replacen('\n', "\n\n", 1)),
        ("leading blanks", |t| t.lines().map(|l| format!(" \t{l}\n")).collect()),
        ("blanks at the end", |t| t.lines().map(|l| format!("{l} \t\n")).collect()),
        ("tabs behind the colon", |t| t.replace(": ", ":\t")),
        ("no line end at the end", |t| t.trim_end().to_owned()),
        ("elements turned round", |t| {
            reordered(t, 2, |l| {
                let times = l.iter().position(|l| l.starts_with("Created")).expect("times");
                l[..times].reverse();
                l[times..].reverse();
            })
        }),
        ("times before the elements", |t| reordered(t, 2, |l| l.reverse())),
        ("algorithm at the end", |t| reordered(t, 1, |l| l.rotate_left(1))),
        ("tags in lower case", |t| {
            let lower = |l: &str| {
                l.split_once(':').map_or(l.to_owned(), |(tag, v)| format!("{}:{v}", tag.to_lowercase()))
            };
            let (head, rest) = t.split_at(t.match_indices('\n').nth(1).expect("two lines").0);
            format!("{head}{}\n", rest.lines().map(lower).collect::<Vec<_>>().join("\n"))
        }),
        ("an element twice", |t| reordered(t, 2, |l| l.insert(0, l[0]))),
        ("a time twice", |t| format!("{t}Activate: 20271231000000\n")),
        ("other words behind the algorithm", |t| t.replace('(', "x (y")),
        ("a comment", |t| t.replacen("\nCreated", "\n; hello\nCreated", 1)),
        ("an unknown tag", |t| t.replacen("\nCreated", "\nHello: 1\nCreated", 1)),
        ("a byte order mark", |t| format!("\u{feff}{t}")),
        ("a NUL at the end", |t| format!("{t}\0")),
        ("a time with marks", |t| t.replace("Activate: 20260103000000", "Activate: 2026-01-03 00:00:00")),
        ("base64 in words", |t| t.replacen("=\n", " =\n", 1)),
    ];
    let state: [(&str, Change); 9] = [
        ("as it is", str::to_owned),
        ("CR LF", |t| t.replace('\n', "\r\n")),
        ("white lines", |t| reordered(t, 3, |l| *l = l.iter().flat_map(|l| ["", " \t ", l]).collect())),
        ("leading blanks", |t| t.lines().map(|l| format!(" \t{l}\n")).collect()),
        ("turned round", |t| reordered(t, 3, |l| l.reverse())),
        ("tags in lower case", |t| t.replace("Active", "active").replace("Published", "PUBLISHED")),
        ("an unknown tag", |t| format!("{t}Hello: 1\n")),
        ("a time twice", |t| format!("{t}Active: 20271231000000\n")),
        ("length before algorithm", |t| reordered(t, 1, |l| l.swap(0, 1))),
    ];
    // BIND numbers the elements by the line in which they stand, and takes a file for damaged in which something comes before them.
    let more = ["times before the elements"];
    let zone = Name::parse("example.test").expect("a name");
    let mut read = 0;
    for algorithm in algorithms() {
        for (suffix, cases) in [("private", &private[..]), ("state", &state)] {
            let dir = tempfile::tempdir().expect("a folder");
            let mut new = full(&zone, algorithm, 256);
            // Few enough lines for every variant: BIND reads 18 of them.
            new.timing = Timing {
                created: at("20260101000000"),
                publish: at("20260102030405"),
                activate: at("20260103000000"),
                ..Timing::default()
            };
            new.state =
                (suffix == "state").then(|| State { lifetime: Some(0), zsk: Some(true), ..State::default() });
            let key = generate_key(dir.path(), &new, &[]).expect("a key");
            let path = dir.path().join(format!("{}.{suffix}", key.base_name()));
            let text = fs::read_to_string(&path).expect("text");
            for (what, change) in cases {
                fs::write(&path, change(&text)).expect("written");
                let (theirs, ours) = (settime(dir.path(), &key.base_name()), ours(dir.path(), &zone));
                read += usize::from(theirs.is_some());
                match theirs {
                    Some(theirs) => assert_eq!(ours, Some(theirs), "{algorithm} {suffix}: {what}"),
                    None => assert_eq!(ours.is_some(), more.contains(what), "{algorithm} {suffix}: {what}"),
                }
            }
        }
    }
    assert!(read > 100, "{read}");
    // Scalars that begin with zeros, without them and with more.
    for algorithm in [Algorithm::ECDSAP256SHA256, Algorithm::ECDSAP384SHA384] {
        let dir = tempfile::tempdir().expect("a folder");
        let scalar =
            std::iter::repeat_with(|| PrivateKey::generate(algorithm, 0).expect("a key")).find_map(|key| {
                match &key {
                    PrivateKey::Raw(octets) if octets[0] == 0 => Some(octets.clone()),
                    _ => None,
                }
            });
        let scalar = scalar.expect("one of 256");
        let private = PrivateKey::Raw(scalar.clone());
        let public_key = private.public_key(algorithm).expect("its public part");
        let key = KeyFile {
            zone: zone.clone(),
            ttl: 60,
            dnskey: Dnskey { flags: 256, protocol: 3, algorithm, public_key },
            timing: Timing { publish: at("20260102030405"), ..Timing::default() },
            state: None,
            dir: dir.path().to_owned(),
        };
        key.create(&private).expect("written");
        let path = key.private_path();
        let text = fs::read_to_string(&path).expect("text");
        let encode = |octets: &[u8]| data_encoding::BASE64.encode(octets);
        for written in [&scalar[1..], &[&[0, 0], &scalar[..]].concat(), &scalar] {
            fs::write(&path, text.replace(&encode(&scalar), &encode(written))).expect("written");
            let theirs = settime(dir.path(), &key.base_name());
            assert!(theirs.is_some(), "{algorithm}: BIND reads {} octets", written.len());
            assert_eq!(ours(dir.path(), &zone), theirs, "{algorithm}: {} octets", written.len());
        }
        fs::write(&path, text.replace(&encode(&scalar), &encode(&[&[1], &scalar[..]].concat())))
            .expect("written");
        assert_eq!((settime(dir.path(), &key.base_name()), ours(dir.path(), &zone)), (None, None));
    }
}

/// What BIND writes after reading our files is what we wrote, octet for octet.
#[test]
fn settime_rewrites_our_files_as_they_are() {
    if common::peer("dnssec-settime").is_none() {
        return;
    }
    let zone = Name::parse("Example.test").expect("a name");
    for (algorithm, flags) in algorithms().flat_map(|a| [(a, 256), (a, 257)]) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut key = generate_key(dir.path(), &full(&zone, algorithm, flags), &[]).expect("a key");
        let settime = |arguments: &[&str]| {
            let mut command = common::peer("dnssec-settime").expect("it was there");
            common::run(command.arg("-s").arg("-K").arg(dir.path()).args(arguments).arg(key.base_name()));
        };
        // A change that BIND makes and we make too; without one it writes nothing.
        settime(&["-L", "3600", "-D", "20310101000000", "-D", "sync", "none"]);
        let theirs = contents(dir.path());
        key.ttl = 3600;
        key.timing.delete = at("20310101000000");
        key.timing.sync_delete = None;
        key.update().expect("written");
        for (file, ours) in contents(dir.path()) {
            assert_eq!(ours, theirs[&file], "{file}");
        }
    }
}

/// BIND signs a zone with our keys, and finds the result valid; the DS records agree.
#[test]
fn signzone_signs_with_our_keys() {
    if ["dnssec-signzone", "dnssec-dsfromkey"].iter().any(|p| common::peer(p).is_none()) {
        return;
    }
    let zone = Name::parse("example.test").expect("a name");
    for algorithm in algorithms() {
        let dir = tempfile::tempdir().expect("a folder");
        let new = |flags| NewKey {
            timing: Timing { created: at("20260101000000"), ..Timing::default() },
            ..full(&zone, algorithm, flags)
        };
        let keys: Vec<KeyFile> =
            [257, 256].map(|flags| generate_key(dir.path(), &new(flags), &[]).expect("a key")).into();
        let records: String = keys.iter().map(|k| fs::read_to_string(k.path("key")).expect("file")).collect();
        let text = format!(
            "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.1\nns AAAA 2001:db8::1\n{records}"
        );
        fs::write(dir.path().join("zone"), text).expect("written");
        let mut signzone = common::peer("dnssec-signzone").expect("it was there");
        signzone.current_dir(dir.path()).args(["-o", "example.test", "-k"]).arg(keys[0].base_name());
        // It verifies what it signed and fails when that is not valid.
        let said = common::text(&common::run(signzone.arg("zone").arg(keys[1].base_name())));
        assert!(said.contains("Zone fully signed"), "{said}");

        let mut dsfromkey = common::peer("dnssec-dsfromkey").expect("it was there");
        dsfromkey.args(["-1", "-a", "SHA-256", "-a", "SHA-384"]).arg(keys[0].path("key"));
        let theirs = common::stdout(&mut dsfromkey);
        for digest in [1, 2, 4] {
            let rdata = keys[0].dnskey.ds_rdata(&zone, digest).expect("a DS");
            let hex: String = rdata[4..].iter().map(|b| format!("{b:02X}")).collect();
            assert!(theirs.replace(' ', "").contains(&hex), "{digest}: {hex} in {theirs}");
        }
    }
}

/// Keys that BIND makes now, with a policy and without, are read, and their private part fits.
#[test]
fn fresh_keys_of_bind_read() {
    if ["dnssec-keygen", "dnssec-ksr"].iter().any(|p| common::peer(p).is_none()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let zone = Name::parse("example.test").expect("a name");
    for algorithm in algorithms() {
        let mut keygen = common::peer("dnssec-keygen").expect("it was there");
        let number = algorithm.0.to_string();
        keygen.args(["-q", "-a", &number, "-f", "KSK", "-K"]).arg(dir.path());
        if algorithm.is_rsa() {
            keygen.args(["-b", "1024"]);
        }
        common::run(keygen.arg("example.test"));
        let conf = dir.path().join("policy.conf");
        let bits = if algorithm.is_rsa() { "2048" } else { "" };
        let policy = format!(
            "dnssec-policy p {{ keys {{ ksk lifetime 0 algorithm {number} {bits}; zsk lifetime P1Y algorithm {number} {bits}; }}; }};"
        );
        fs::write(&conf, policy).expect("written");
        let mut ksr = common::peer("dnssec-ksr").expect("it was there");
        ksr.args(["-k", "p", "-l"]).arg(&conf).arg("-K").arg(dir.path());
        common::run(ksr.args(["-i", "now", "-e", "+2y", "keygen", "example.test"]));
    }
    let found = find(dir.path(), &zone).expect("folder");
    assert!(found.skipped.is_empty(), "{:?}", found.skipped);
    assert!(found.keys.len() >= 18, "a KSK and two ZSKs for each algorithm: {}", found.keys.len());
    for key in &found.keys {
        key.load_private().unwrap_or_else(|e| panic!("{e}"));
        let before = contents(dir.path());
        key.update().expect("written");
        assert_eq!(contents(dir.path()), before, "{}", key.base_name());
    }
    let other = PrivateKey::generate(Algorithm::ED25519, 0).expect("a key");
    let dnskey = Dnskey {
        public_key: other.public_key(Algorithm::ED25519).expect("its public key"),
        ..found.keys[0].dnskey.clone()
    };
    assert!(KeyFile { dnskey, ..found.keys[0].clone() }.load_private().is_err(), "another key's public part");
}
