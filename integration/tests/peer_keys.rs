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
