//! What is found again on disk, whatever became of the files: the last version, the one before a version that was not written whole, or
//! an error; never a panic, and never a mix.

use std::fs;
use std::path::PathBuf;

use keystore::dns::Rtype;
use proptest::prelude::*;

use super::facts::HistoryEnd;
use super::*;
use crate::signing::{self, Denial, Nsec3, SigningPolicy};
use crate::testing::{DAY, NOW, POLICY, bundle, keys, name, zone};
use crate::zone::Zone;

/// A folder with the state of a zone.
struct Bench {
    dir: tempfile::TempDir,
    state: VersionStore,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = VersionStore::new(dir.path(), &name("example"));
        Self { dir, state }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<Option<LoadedVersion>, StateError> {
        VersionStore::new(self.dir.path(), &name("example")).load(POLICY.times.refresh, NOW)
    }

    /// The serial that is found; `None` for an error.
    fn found(&self) -> Option<u32> {
        match self.load() {
            Ok(Some(loaded)) => {
                assert_eq!(loaded.signed.serial(), loaded.facts.serial);
                // Whatever is found is whole and verifies.
                loaded.signed.self_check(NOW, usize::MAX).unwrap();
                Some(loaded.facts.serial)
            }
            Ok(None) => panic!("there are files"),
            Err(StateError::Damaged { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A zone with `hosts` more names.
fn zone_with(hosts: usize, address: u8) -> Arc<Zone> {
    let hosts: String = (0..hosts).map(|n| format!("host{n} TXT \"{n:0>60}\"\n")).collect();
    let text = format!(
        "@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\n@ MX 10 Mail\nns A 192.0.2.{address}\nsub NS ns.sub\nns.sub A 192.0.2.9\n*.W.x TXT a b\n{hosts}"
    );
    Arc::new(zone("example", &text).unwrap())
}

fn version(zone: &Arc<Zone>, serial: u32, previous: Option<&SignedZone>) -> (Arc<SignedZone>, VersionFacts) {
    let (ksk, zsk) = keys();
    let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, 30 * DAY);
    let policy = POLICY;
    let signed = signing::sign(zone, &bundle, std::slice::from_ref(zsk), &policy, serial, previous, NOW);
    let signed = Arc::new(signed.unwrap());
    let facts = VersionFacts {
        serial,
        made_at: NOW,
        signing: Some(SigningFacts {
            generation: 3,
            published: bundle.keys().map(|dnskey| Publication { dnskey, since: NOW.minus(DAY) }).collect(),
            bundle,
            keys: signed.signing_keys().collect(),
            denial: policy.denial,
            denial_checksum: signed.denial_checksum(),
            made_at_apex: signed.made_at_apex(),
        }),
        history: Some(HistoryEnd { file: true, digest: [7; 32], len: 5000 }),
    };
    (signed, facts)
}

fn text(signed: &SignedZone) -> String {
    let mut out = Vec::new();
    signed.write_to(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn what_was_saved_is_found_again_octet_for_octet() {
    // Small zones are written whole each time, large ones have a journal.
    for (hosts, journal) in [(0, false), (2500, true)] {
        let mut bench = Bench::new();
        assert!(bench.load().unwrap().is_none());
        let zone = zone_with(hosts, 1);
        let mut last: Option<Arc<SignedZone>> = None;
        for serial in 7..12 {
            let (signed, facts) = version(&zone, serial, last.as_deref());
            bench.state.save(&signed, &facts).unwrap();
            let found = bench.load().unwrap().unwrap();
            assert_eq!((text(&found.signed), &found.facts), (text(&signed), &facts));
            assert!(found.signed.zone().has_content_of(&zone));
            last = Some(signed);
        }
        assert_eq!(bench.path(CHANGES).exists(), journal);
        if journal {
            let len = |name| fs::metadata(bench.path(name)).unwrap().len();
            assert!(len(CHANGES) < len(VERSION) / 50, "{} {}", len(CHANGES), len(VERSION));
        }
        // A restart goes on with the journal.
        let mut again = VersionStore::new(bench.dir.path(), &name("example"));
        let found = again.load(POLICY.times.refresh, NOW).unwrap().unwrap();
        let (signed, facts) = version(found.signed.zone(), 12, Some(&found.signed));
        let inode = |name| std::os::unix::fs::MetadataExt::ino(&fs::metadata(bench.path(name)).unwrap());
        let before = inode(VERSION);
        again.save(&signed, &facts).unwrap();
        assert_eq!((bench.found(), inode(VERSION) == before), (Some(12), journal));
        // Other records are another snapshot; the journal of before counts no more.
        let (signed, facts) = version(&zone_with(hosts, 2), 13, Some(&signed));
        again.save(&signed, &facts).unwrap();
        assert_eq!(bench.found(), Some(13));
        assert_eq!(bench.path(CHANGES).exists(), journal, "it is replaced with the next change");
    }
}

#[test]
fn a_snapshot_with_any_octet_changed_or_cut_anywhere_is_damaged() {
    let mut bench = Bench::new();
    let (signed, facts) = version(&zone_with(0, 1), 7, None);
    bench.state.save(&signed, &facts).unwrap();
    let good = fs::read(bench.path(VERSION)).unwrap();
    let with = |octets: &[u8]| {
        fs::write(bench.path(VERSION), octets).unwrap();
        bench.found()
    };
    assert_eq!(with(&good), Some(7));
    for at in 0..good.len() {
        assert_eq!(with(&good[..at]), None, "cut at {at}");
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        assert_eq!(with(&changed), None, "changed at {at}");
    }
    assert_eq!(with(&[&good[..], &[0; 10]].concat()), None);
    assert_eq!(with(&[&good[..], &good[..]].concat()), None);
    assert_eq!(with(&good), Some(7));
}

#[test]
fn a_journal_that_was_cut_gives_the_version_before_and_one_that_was_changed_is_damaged() {
    let mut bench = Bench::new();
    let zone = zone_with(2500, 1);
    let mut ends = Vec::new();
    let mut last: Option<Arc<SignedZone>> = None;
    for serial in 7..10 {
        let (signed, facts) = version(&zone, serial, last.as_deref());
        bench.state.save(&signed, &facts).unwrap();
        ends.push(fs::metadata(bench.path(CHANGES)).map_or(0, |m| m.len() as usize));
        last = Some(signed);
    }
    let good = fs::read(bench.path(CHANGES)).unwrap();
    let with = |octets: &[u8]| {
        fs::write(bench.path(CHANGES), octets).unwrap();
        bench.found()
    };
    assert_eq!((with(&good), ends[2]), (Some(9), good.len()));
    // Reading the snapshot of this size costs more than all else, so not every octet is tried.
    for at in (ends[1]..good.len() - 4).step_by(223).chain([good.len() - 4]) {
        assert_eq!(with(&good[..at]), Some(8), "cut at {at}");
        let zeros = [&good[..at], &vec![0; good.len() - at][..]].concat();
        assert_eq!(with(&zeros), Some(8), "zeros from {at}");
    }
    for at in (0..ends[1]).step_by(331) {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        assert_eq!(with(&changed), None, "changed at {at}");
    }
    // The last version changed anywhere: it was whole once, and may have been served.
    for at in (ends[1]..good.len()).step_by(997).chain([good.len() - 1]) {
        let mut changed = good.clone();
        changed[at] ^= if changed[at] == 0x10 { 0x30 } else { 0x10 };
        assert_eq!(with(&changed), None, "changed at {at}");
    }
    let last_version = &good[ends[1]..];
    for more in [&[0; 4096][..], last_version, b"garbage that is no section at all"] {
        let found = with(&[&good[..], more].concat());
        assert_eq!(found, if more[0] == 0 { Some(9) } else { None });
    }
    // A journal that continues another snapshot is of no account.
    let (signed, facts) = version(&zone_with(2500, 2), 10, None);
    bench.state.save(&signed, &facts).unwrap();
    fs::write(bench.path(CHANGES), &good).unwrap();
    assert_eq!(bench.found(), Some(10));
}

#[test]
fn after_a_cut_the_next_version_is_a_snapshot() {
    let mut bench = Bench::new();
    let zone = zone_with(2500, 1);
    let (first, facts) = version(&zone, 7, None);
    bench.state.save(&first, &facts).unwrap();
    let (second, facts) = version(&zone, 8, Some(&first));
    bench.state.save(&second, &facts).unwrap();
    let good = fs::read(bench.path(CHANGES)).unwrap();
    fs::write(bench.path(CHANGES), &good[..good.len() - 1]).unwrap();
    let mut state = VersionStore::new(bench.dir.path(), &name("example"));
    let found = state.load(POLICY.times.refresh, NOW).unwrap().unwrap();
    assert_eq!(found.facts.serial, 7);
    let (third, facts) = version(found.signed.zone(), 9, Some(&found.signed));
    state.save(&third, &facts).unwrap();
    assert_eq!(bench.found(), Some(9));
}

#[test]
fn an_error_of_a_write_is_followed_by_a_snapshot() {
    let mut bench = Bench::new();
    let zone = zone_with(2500, 1);
    let (first, facts) = version(&zone, 7, None);
    bench.state.save(&first, &facts).unwrap();
    let (second, facts) = version(&zone, 8, Some(&first));
    bench.state.save(&second, &facts).unwrap();
    // Somebody else has written to the journal: nothing is appended to it any more.
    let mut longer = fs::read(bench.path(CHANGES)).unwrap();
    longer.push(0);
    fs::write(bench.path(CHANGES), longer).unwrap();
    let (third, facts) = version(&zone, 9, Some(&second));
    assert!(bench.state.save(&third, &facts).is_err());
    bench.state.save(&third, &facts).unwrap();
    assert_eq!(bench.found(), Some(9));
}

#[test]
fn what_is_no_state_of_this_zone_is_damage_with_its_cause() {
    let mut bench = Bench::new();
    let (signed, facts) = version(&zone_with(0, 1), 7, None);
    bench.state.save(&signed, &facts).unwrap();
    let good = fs::read(bench.path(VERSION)).unwrap();
    let other = VersionStore::new(bench.dir.path(), &name("other")).load(POLICY.times.refresh, NOW);
    let cause = |result: Result<Option<LoadedVersion>, StateError>| match result {
        Err(StateError::Damaged { damage, .. }) => damage.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(cause(other), "it is the state of the zone example.");
    type Harm = fn(&Path, &[u8]);
    let harms: [(&str, Harm); 7] = [
        ("it does not begin as a file of the signer's state does", |path, _| fs::write(path, "").unwrap()),
        ("it does not begin as a file of the signer's state does", |path, _| {
            fs::write(path, "example. 300 IN SOA").unwrap();
        }),
        ("it has format 3, and this program reads another", |path, good| {
            fs::write(path, [&good[..9], &[3], &good[10..]].concat()).unwrap();
        }),
        ("it has format 0, and this program reads another", |path, good| {
            fs::write(path, [&good[..9], &[0], &good[10..]].concat()).unwrap();
        }),
        ("it is no regular file", |path, _| fs::create_dir(path).unwrap()),
        ("it is no regular file", |path, _| std::os::unix::fs::symlink("/dev/zero", path).unwrap()),
        ("a checksum does not fit", |path, good| {
            fs::write(path, String::from_utf8_lossy(good).as_bytes().get(..good.len()).unwrap()).unwrap();
        }),
    ];
    for (wanted, harm) in harms {
        fs::remove_file(bench.path(VERSION)).unwrap();
        harm(&bench.path(VERSION), &good);
        let found = cause(bench.load());
        assert_eq!(found, wanted);
        // Set aside, whatever it is, and the next version is written.
        let folder = bench.state.set_aside(NOW.plus(1)).unwrap();
        assert!(fs::symlink_metadata(folder.join(VERSION)).is_ok() && bench.load().unwrap().is_none());
        fs::remove_dir_all(folder).unwrap();
        bench.state.save(&signed, &facts).unwrap();
        assert_eq!(bench.found(), Some(7));
    }
}

#[test]
fn a_few_damaged_states_are_kept_the_newest_ones() {
    let mut bench = Bench::new();
    for n in 0..6 {
        fs::write(bench.path(VERSION), format!("damaged {n}")).unwrap();
        bench.state.set_aside(NOW.plus(n)).unwrap();
    }
    let mut kept: Vec<String> = fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let folder = |n| format!("damaged-{:020}", NOW.plus(n).secs());
    assert_eq!(kept, [folder(3), folder(4), folder(5)]);
    // What an operator named so stays, and what was set aside just now, by a clock that was set back, too.
    for name in ["damaged-before-the-move", "damaged-2027", "damaged-9999999999999999999x"] {
        fs::create_dir(bench.path(name)).unwrap();
    }
    fs::write(bench.path(VERSION), "damaged once more").unwrap();
    let newest = bench.state.set_aside(NOW).unwrap();
    assert_eq!(fs::read_to_string(newest.join(VERSION)).unwrap(), "damaged once more");
    let kept = fs::read_dir(bench.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut kept: Vec<String> = kept.collect();
    kept.sort();
    let mut wanted = vec![folder(0), folder(4), folder(5)];
    wanted.extend(
        ["damaged-2027", "damaged-9999999999999999999x", "damaged-before-the-move"].map(str::to_owned),
    );
    wanted.sort();
    assert_eq!(kept, wanted);
}

#[test]
fn a_bundle_with_other_types_at_the_apex_goes_to_the_journal_too() {
    let mut bench = Bench::new();
    let zone = zone_with(2500, 1);
    let (first, facts) = version(&zone, 7, None);
    bench.state.save(&first, &facts).unwrap();
    let (_, zsk) = keys();
    let parts = facts.signing.unwrap();
    let mut other = parts.bundle.clone();
    other.cds = None;
    other.signatures.retain(|signature| signature.covered != Rtype::CDS);
    let signed =
        signing::sign(&zone, &other, std::slice::from_ref(zsk), &POLICY, 8, Some(&first), NOW).unwrap();
    let signed = Arc::new(signed);
    let parts = SigningFacts { bundle: other, denial_checksum: signed.denial_checksum(), ..parts };
    let facts = VersionFacts { serial: 8, made_at: NOW, signing: Some(parts), history: None };
    bench.state.save(&signed, &facts).unwrap();
    let found = bench.load().unwrap().unwrap();
    assert_eq!(text(&found.signed), text(&signed));
    assert!(fs::metadata(bench.path(CHANGES)).unwrap().len() < 10_000);
}

#[test]
fn a_change_of_the_denial_is_found_again_by_snapshot_and_by_journal() {
    let mut bench = Bench::new();
    let zone = zone_with(2500, 1);
    let (mut last, facts) = version(&zone, 7, None);
    bench.state.save(&last, &facts).unwrap();
    let parts = facts.signing.unwrap();
    let (_, zsk) = keys();
    let nsec3 = |salt: &[u8]| Denial::Nsec3(Nsec3::new(0, true).with_salt(salt.into()));
    // The second of each two is the same with another serial.
    for (serial, denial) in
        [(8, nsec3(b"a")), (9, nsec3(b"a")), (10, nsec3(b"b")), (11, Denial::Nsec), (12, Denial::Nsec)]
    {
        let policy = SigningPolicy { denial: denial.clone(), ..POLICY };
        let zsk = std::slice::from_ref(zsk);
        let signed =
            Arc::new(signing::sign(&zone, &parts.bundle, zsk, &policy, serial, Some(&last), NOW).unwrap());
        let parts = SigningFacts {
            denial,
            denial_checksum: signed.denial_checksum(),
            made_at_apex: signed.made_at_apex(),
            ..parts.clone()
        };
        let facts = VersionFacts { serial, made_at: NOW, signing: Some(parts), history: None };
        bench.state.save(&signed, &facts).unwrap();
        let found = bench.load().unwrap().unwrap();
        assert_eq!((text(&found.signed), &found.facts), (text(&signed), &facts), "{serial}");
        assert_eq!(bench.found(), Some(serial));
        last = signed;
    }
}

#[test]
fn changed_names_go_to_the_journal_and_are_found_again() {
    let (ksk, zsk) = keys();
    for denial in [Denial::Nsec, Denial::Nsec3(Nsec3::new(0, false)), Denial::Nsec3(Nsec3::new(0, true))] {
        let mut bench = Bench::new();
        let policy = SigningPolicy { denial: denial.clone(), ..POLICY };
        let mut last: Option<Arc<SignedZone>> = None;
        // What the zone has beside its hosts, version by version: names come, change, go and come again; a delegation hides names.
        let versions = [
            "",
            "a.b TXT t\n",
            "a.b TXT u\nB A 192.0.2.1\n",
            "cut NS x.other.\n",
            "c.cut A 192.0.2.1\n",
            "a.b TXT t\n",
        ];
        for (serial, more) in (7..).zip(versions) {
            let hosts: String = (0..2500).map(|n| format!("host{n} TXT \"{n:0>60}\"\n")).collect();
            let content = format!("@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\n{hosts}{more}");
            let read = zone("example", &content).unwrap();
            let zone = last.as_ref().and_then(|last| last.zone().succeeded_by(&read));
            let zone = Arc::new(zone.unwrap_or(read));
            let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, 30 * DAY);
            let keys = std::slice::from_ref(zsk);
            let signed = signing::sign(&zone, &bundle, keys, &policy, serial, last.as_deref(), NOW).unwrap();
            let signed = Arc::new(signed);
            let facts = VersionFacts {
                serial,
                made_at: NOW,
                signing: Some(SigningFacts {
                    generation: 3,
                    published: Vec::new(),
                    bundle,
                    keys: signed.signing_keys().collect(),
                    denial: denial.clone(),
                    denial_checksum: signed.denial_checksum(),
                    made_at_apex: signed.made_at_apex(),
                }),
                history: None,
            };
            bench.state.save(&signed, &facts).unwrap();
            let found = bench.load().unwrap().unwrap();
            assert_eq!((text(&found.signed), &found.facts), (text(&signed), &facts), "{serial}");
            assert_eq!(bench.found(), Some(serial));
            last = Some(signed);
        }
        let len = |name| fs::metadata(bench.path(name)).unwrap().len();
        assert!(len(CHANGES) < len(VERSION) / 50, "{} {}", len(CHANGES), len(VERSION));
        // A restart goes on with the journal, and what it changes is what was there before the restart.
        let mut again = VersionStore::new(bench.dir.path(), &name("example"));
        let found = again.load(POLICY.times.refresh, NOW).unwrap().unwrap();
        let before = len(CHANGES);
        again.save(&found.signed, &found.facts).unwrap();
        assert!(len(CHANGES) > before && len(CHANGES) < before + 4096);
        assert_eq!(bench.found(), Some(12));
    }
}

/// Names that stand above and below each other, so that delegations hide names and empty non-terminals come and go.
const LINES: [&str; 14] = [
    "a A 192.0.2.1",
    "A TXT t",
    "a A 192.0.2.2",
    "b.a TXT t",
    "c.b.a TXT u",
    "a NS x.other.",
    "g.a A 192.0.2.9",
    "b.a NS y.other.",
    "*.a TXT w",
    "* TXT v",
    "d.e.f TXT t",
    "e.f NS y.other.",
    "e.f DS 1 13 2 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB",
    "g.e.f A 192.0.2.9",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn versions_of_any_changes_are_found_again_octet_for_octet(
        versions in prop::collection::vec(prop::collection::vec(0..LINES.len(), 0..10), 2..7),
        mode in 0u8..3,
        restart in 0usize..7,
    ) {
        let denial = match mode {
            0 => Denial::Nsec,
            mode => Denial::Nsec3(Nsec3::new(0, mode == 2)),
        };
        let policy = SigningPolicy { denial: denial.clone(), ..POLICY };
        let (ksk, zsk) = keys();
        let bundle = bundle(&name("example"), ksk, &[zsk], NOW, 30 * DAY);
        let mut bench = Bench::new();
        bench.state.limits = Limits { small: 0, journal_percent: 1_000_000 };
        let mut last: Option<Arc<SignedZone>> = None;
        for (round, lines) in versions.iter().enumerate() {
            let mut content = "@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\n".to_owned();
            for line in lines {
                let more = format!("{content}{}\n", LINES[*line]);
                if zone("example", &more).is_ok_and(|zone| zone.warnings().left_out == 0) {
                    content = more;
                }
            }
            let read = zone("example", &content).unwrap();
            let next = last.as_ref().and_then(|last| last.zone().succeeded_by(&read));
            let zone = Arc::new(next.unwrap_or(read));
            let serial = 7 + round as u32;
            let zsk = std::slice::from_ref(zsk);
            let signed = Arc::new(signing::sign(&zone, &bundle, zsk, &policy, serial, last.as_deref(), NOW).unwrap());
            let facts = VersionFacts {
                serial,
                made_at: NOW,
                signing: Some(SigningFacts {
                    generation: 3,
                    bundle: bundle.clone(),
                    keys: signed.signing_keys().collect(),
                    published: Vec::new(),
                    denial: denial.clone(),
                    denial_checksum: signed.denial_checksum(),
                    made_at_apex: signed.made_at_apex(),
                }),
                history: None,
            };
            bench.state.save(&signed, &facts).unwrap();
            prop_assert_eq!(bench.path(CHANGES).exists(), round > 0);
            let found = bench.load().unwrap().unwrap();
            prop_assert_eq!((text(&found.signed), &found.facts), (text(&signed), &facts));
            prop_assert_eq!(bench.found(), Some(serial));
            last = Some(signed);
            if round == restart {
                // The process goes on with what it finds.
                let mut state = VersionStore::new(bench.dir.path(), &name("example"));
                last = Some(state.load(POLICY.times.refresh, NOW).unwrap().unwrap().signed);
                state.limits = bench.state.limits;
                bench.state = state;
            }
        }
    }
}

#[test]
fn a_journal_whose_names_make_no_zone_is_damage() {
    let (first, facts) = version(&zone_with(0, 1), 7, None);
    let mut out = Vec::new();
    let (id, _) = snapshot::write(&first, &facts, &mut out).unwrap();
    let apex: &[u8] = b"\x07example\0";
    let soa = |serial: u8| {
        let numbers = [[0, 0, 0, serial], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]].concat();
        [&[0, 24][..], &[1, b'a', 0], &[0], &numbers].concat()
    };
    let rrset = |rtype: u16, data: &[u8]| {
        [&rtype.to_be_bytes()[..], &60u32.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
    };
    let ns = rrset(2, b"\0\x04\x02ns\0");
    let names = [
        // The apex has nothing, has no SOA, has two; types are not sorted; a length is wrong; a name is outside; a type is made here.
        [apex, &[0, 0]].concat(),
        [apex, &[0, 1], &ns].concat(),
        [apex, &[0, 1], &rrset(6, &[soa(1), soa(2)].concat())].concat(),
        [apex, &[0, 2], &rrset(6, &soa(1)), &ns].concat(),
        [apex, &[0, 1], &rrset(6, &soa(1)[..9])].concat(),
        [&b"\x05other\0"[..], &[0, 1], &ns].concat(),
        [&b"\x01a"[..], apex, &[0, 1], &rrset(46, b"\0\x01a")].concat(),
    ];
    for names in names {
        let bench = Bench::new();
        fs::write(bench.path(VERSION), &out).unwrap();
        let facts = VersionFacts { serial: 8, ..facts.clone() };
        let mut commit = Vec::new();
        facts.put(&mut commit);
        let mut sealer = sections::Sealer::begin(Vec::new(), FORMAT).unwrap();
        for (kind, payload) in [(b'J', &id[..]), (b'N', &names), (b'C', &commit)] {
            sealer.section(sections::SectionKind(kind), payload).unwrap();
        }
        fs::write(bench.path(CHANGES), sealer.finish().0).unwrap();
        assert_eq!(bench.found(), None, "{names:?}");
    }
}
