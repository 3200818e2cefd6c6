//! Random walks: ten thousand edits of a small zone, signed step by step with the signatures of the version before. After each hundred
//! edits the version is the one that is signed from nothing, but for the signatures themselves, and the verifiers find nothing in it.
//!
//! The names are few on purpose, so that empty non-terminals, delegations above others, wildcards and DNAME meet again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use keystore::dns::Rtype;
use signer_plugin::signing::{RetiringKey, SignedZone, SigningKeys};

use super::*;

const EDITS: usize = 10_000;
/// Hours that a walk takes.
const HOURS: u64 = 12;
/// Edits between two comparisons with a version that is signed from nothing.
const COMPARED: usize = 100;
const ZONE: &str = "walk.test.";
const LABELS: [&str; 6] = ["a", "b", "c", "*", "\\000", "\\001z"];
const DEEPEST: usize = 4;
const DS: &str = "1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF";

/// SplitMix64 (public domain, Sebastiano Vigna): the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

type Sets = BTreeMap<&'static str, (u32, BTreeSet<String>)>;

/// The zone as the test knows it: for each name below the apex its RRsets, and the fields of the SOA that matter to denial.
struct Model {
    random: Random,
    names: BTreeMap<String, Sets>,
    soa_ttl: u32,
    minimum: u32,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self { random: Random(seed), names: BTreeMap::new(), soa_ttl: 3600, minimum: 300 }
    }

    fn name(&mut self) -> String {
        let depth = 1 + self.random.below(DEEPEST);
        let labels: Vec<&str> = (0..depth).map(|_| self.random.one_of(&LABELS)).collect();
        labels.join(".")
    }

    /// A name that is there, or any where there is none.
    fn old_name(&mut self) -> String {
        match self.names.len() {
            0 => self.name(),
            count => {
                let at = self.random.below(count);
                self.names.keys().nth(at).expect("as many as there are").clone()
            }
        }
    }

    fn put(&mut self, name: String, rtype: &'static str, rdata: String) {
        let ttl = self.random.one_of(&[60, 3600, 86_400]);
        let set = self.names.entry(name).or_default().entry(rtype).or_insert((ttl, BTreeSet::new()));
        set.1.insert(rdata);
    }

    fn remove(&mut self, name: &str, rtype: &str) {
        if let Some(sets) = self.names.get_mut(name) {
            sets.remove(rtype);
        }
        self.names.retain(|_, sets| !sets.is_empty());
    }

    fn edit(&mut self) {
        let number = self.random.below(250);
        match self.random.below(100) {
            0..25 => {
                let (name, rtype) = (self.name(), self.random.one_of(&["A", "TXT", "MX", "TYPE1234"]));
                let rdata = match rtype {
                    "A" => format!("192.0.2.{number}"),
                    "TXT" => format!("t{number}"),
                    "MX" => format!("{number} Mail.other."),
                    _ => format!("\\# 1 {number:02x}"),
                };
                self.put(name, rtype, rdata);
            }
            25..45 => {
                let name = self.old_name();
                let types: Vec<&str> =
                    self.names.get(&name).into_iter().flat_map(Sets::keys).copied().collect();
                if !types.is_empty() {
                    let rtype = self.random.one_of(&types);
                    self.remove(&name, rtype);
                }
            }
            45..52 => {
                let (name, ttl) = (self.old_name(), self.random.one_of(&[60, 7200, 86_400]));
                for (old, _) in self.names.get_mut(&name).into_iter().flat_map(Sets::values_mut).take(1) {
                    *old = ttl;
                }
            }
            52..64 => {
                let name = self.name();
                self.put(name, "NS", format!("ns{}.other.", number % 3));
            }
            64..70 => {
                let name = self.old_name();
                self.remove(&name, "NS");
            }
            70..78 => {
                let name = self.old_name();
                match self.names.get(&name).is_some_and(|sets| sets.contains_key("DS")) {
                    true => self.remove(&name, "DS"),
                    false => self.put(name, "DS", DS.to_owned()),
                }
            }
            78..84 => {
                let name = self.name();
                self.put(name, "DNAME", "other.".to_owned());
            }
            84..90 => {
                let name = self.name();
                self.put(name, "CNAME", "other.".to_owned());
            }
            90..95 => {
                let above = self.name();
                let end = format!(".{above}");
                self.names.retain(|name, _| *name != above && !name.ends_with(&end));
            }
            _ => {
                self.soa_ttl = self.random.one_of(&[300, 3600]);
                self.minimum = self.random.one_of(&[60, 300, 7200]);
            }
        }
        while self.names.len() > 40 {
            self.names.pop_first();
        }
    }

    /// The master file. What cannot stand together does not: a CNAME stands alone, a delegation has no DNAME, a DS stands at a
    /// delegation, and a wildcard delegates nothing.
    fn text(&self) -> String {
        let mut out = format!(
            "@ {} SOA ns.other. admin.other. 1 7200 900 1209600 {}\n@ 3600 NS ns.other.\n",
            self.soa_ttl, self.minimum
        );
        for (name, sets) in &self.names {
            let is_wildcard = name.starts_with('*');
            let is_cut = sets.contains_key("NS") && !is_wildcard;
            let is_alias = sets.contains_key("CNAME") && !is_cut;
            for (rtype, (ttl, rdatas)) in sets {
                let stays = match *rtype {
                    "NS" => is_cut,
                    "CNAME" => is_alias,
                    "DS" => is_cut,
                    "DNAME" => !is_cut && !is_alias && !is_wildcard,
                    _ => !is_alias,
                };
                for rdata in rdatas.iter().filter(|_| stays) {
                    let _ = writeln!(out, "{name} {ttl} {rtype} {rdata}");
                }
            }
        }
        out
    }
}

/// An RRset without its signatures: owner in lower case, type, TTL, records.
type Content = BTreeMap<(Vec<u8>, u16), (u32, BTreeSet<Vec<u8>>)>;
/// For each signed RRset its signatures.
type Rrsigs = BTreeMap<(Vec<u8>, u16), BTreeSet<Vec<u8>>>;

fn parts(version: &SignedZone) -> (Content, Rrsigs) {
    let (mut content, mut rrsigs) = (Content::new(), Rrsigs::new());
    for record in version.records() {
        let owner = record.owner.to_ascii_lowercase();
        if record.rtype == Rtype::RRSIG {
            let covered = u16::from_be_bytes([record.rdata[0], record.rdata[1]]);
            assert!(
                rrsigs.entry((owner, covered)).or_default().insert(record.rdata.to_vec()),
                "a signature comes twice"
            );
        } else {
            let set = content.entry((owner, record.rtype.0)).or_insert((record.ttl, BTreeSet::new()));
            assert_eq!(set.0, record.ttl);
            set.1.insert(record.rdata.to_vec());
        }
    }
    (content, rrsigs)
}

/// What is not a matter of time in signatures: covered type, algorithm, labels, original TTL.
fn kinds(rrsigs: &Rrsigs) -> BTreeMap<&(Vec<u8>, u16), Vec<[u8; 8]>> {
    let head = |rdata: &Vec<u8>| *rdata.first_chunk::<8>().expect("an RRSIG");
    rrsigs.iter().map(|(set, all)| (set, all.iter().map(head).collect())).collect()
}

/// How a walk goes: with one kind of denial, or with all of them in turn.
#[derive(Debug, Clone, Copy)]
enum Walk {
    In(Mode),
    Through([Mode; 4]),
}

impl Walk {
    fn mode(self, edit: usize) -> Mode {
        match self {
            Self::In(mode) => mode,
            Self::Through(modes) => modes[edit / 250 % modes.len()],
        }
    }
}

/// What a walk did.
#[derive(Debug, Default)]
struct Walked {
    versions: usize,
    made: usize,
    kept: usize,
    compared: usize,
}

struct Walker {
    walk: Walk,
    folder: tempfile::TempDir,
    origin: Name,
    model: Model,
    ksk: TestKey,
    zsks: [ZoneKey; 2],
    now: Timestamp,
    /// The time of the verifiers, which know no other.
    end: Timestamp,
}

impl Walker {
    fn new(walk: Walk, seed: u64) -> Self {
        let end = clock::now();
        let keys = [Keys::generate(Algorithm(13)), Keys::generate(Algorithm(13))];
        let ksk = keys[0].ksk.clone();
        Self {
            walk,
            folder: tempfile::tempdir().expect("a folder"),
            origin: Name::parse(ZONE).expect("a name"),
            model: Model::new(seed),
            ksk,
            zsks: keys.map(|keys| keys.zsk),
            now: end.minus(HOURS * 3600),
            end,
        }
    }

    fn skr(&self) -> SkrBuilder {
        let skr = SkrBuilder::new(ZONE, self.now).ksk(self.ksk.clone());
        self.zsks.iter().fold(skr, |skr, key| skr.zsk(key.dnskey.clone()))
    }

    fn zone(&self) -> Arc<Zone> {
        let path = self.folder.path().join("zone");
        fs::write(&path, self.model.text()).expect("the zone file is written");
        let zone = Zone::load(&path, &self.origin, ZoneRules::default());
        Arc::new(zone.unwrap_or_else(|e| panic!("{e}\n{}", self.model.text())))
    }

    /// Signatures come due some hours after they were made, and are valid at the end of the walk whenever they were made.
    fn policy(&self, edit: usize) -> SigningPolicy {
        let times = SigningTimes { validity: 30 * 3600, refresh: 26 * 3600, jitter: 3600 };
        SigningPolicy { times, ..self.walk.mode(edit).policy() }
    }

    /// The second key signs in every second thousand of edits; signatures of the other one stay until they are due.
    fn sign(&self, zone: &Arc<Zone>, edit: usize, serial: u32, previous: Option<&SignedZone>) -> SignedZone {
        let active = edit / 1000 % 2;
        let retiring = RetiringKey { dnskey: self.zsks[1 - active].dnskey.clone(), replaced: None };
        let keys = SigningKeys {
            active: std::slice::from_ref(&self.zsks[active]),
            retiring: std::slice::from_ref(&retiring),
            progress: None,
        };
        let bundle = self.skr().bundle(self.now);
        sign(zone, &bundle, keys, &self.policy(edit), serial, previous, self.now).expect("signs")
    }

    fn compare(&self, zone: &Arc<Zone>, edit: usize, version: &SignedZone) {
        let scratch = self.sign(zone, edit, version.serial(), None);
        let ((content, rrsigs), (wanted, wanted_rrsigs)) = (parts(version), parts(&scratch));
        let text = self.model.text();
        if self.walk.mode(edit).policy().zonemd {
            // A digest is over the signatures too.
            let of = |set: &&(Vec<u8>, u16)| set.1 != Rtype::ZONEMD.0;
            assert!(content.keys().filter(of).eq(wanted.keys().filter(of)), "{text}");
        } else {
            assert_eq!(content, wanted, "edit {edit} of {:?}\n{text}", self.walk);
        }
        assert_eq!(kinds(&rrsigs), kinds(&wanted_rrsigs), "edit {edit} of {:?}\n{text}", self.walk);
        version.self_check(self.now, usize::MAX).expect("every signature verifies");
        let signed = self.folder.path().join("signed");
        let mut file = Vec::new();
        version.write_to(&mut file).expect("memory");
        fs::write(&signed, file).expect("the signed zone is written");
        let kept =
            || format!("edit {edit} of {:?}\n{}", self.walk, fs::read_to_string(&signed).unwrap_or_default());
        let contents = ZoneContents::read(&signed, Some(&self.origin)).expect("it reads");
        let report = verify(&contents, &self.skr().anchors(), self.now);
        assert!(report.findings.is_empty(), "verify-zone: {}\n{}", report.findings[0], kept());
        for (program, arguments) in [
            ("dnssec-verify", &["-o", ZONE][..]),
            ("kzonecheck", &["-d", "on", "-o", ZONE]),
            ("ldns-verify-zone", &[]),
        ] {
            if program == "ldns-verify-zone" && self.policy(edit).zonemd {
                // Version 1.8.4 does not end where a zone with ZONEMD has a delegation.
                continue;
            }
            let Some(mut command) = common::peer(program) else { continue };
            let (is_good, said) = run(command.args(arguments).arg(&signed)).expect(program);
            assert!(is_good, "{program}: {said}\n{}", kept());
        }
    }

    /// Signatures of RRsets that did not change are the same octets, where neither time nor keys have gone on.
    fn signed_in_vain(&self, before: &SignedZone, after: &SignedZone) -> Option<String> {
        let ((old, old_rrsigs), (new, new_rrsigs)) = (parts(before), parts(after));
        let same = new.iter().filter(|(set, content)| old.get(set) == Some(content)).map(|(set, _)| set);
        let in_vain = same.into_iter().find(|set| {
            // Each bundle of the test is signed anew, and a digest is over the signatures too.
            let is_new = [Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY, Rtype::ZONEMD]
                .map(|rtype| rtype.0)
                .contains(&set.1);
            // What a new delegation hides is signed no more, and what it hid before was not signed.
            let (Some(before), Some(after)) = (old_rrsigs.get(set), new_rrsigs.get(set)) else {
                return false;
            };
            !is_new && before != after
        });
        in_vain.map(|(owner, rtype)| format!("{} {}", Name::from_wire(owner).expect("a name"), Rtype(*rtype)))
    }

    fn walk(mut self) -> Walked {
        let mut walked = Walked::default();
        let mut version = self.sign(&self.zone(), 0, 1, None);
        let (mut edit, mut last) = (0, (self.now, 0, 0));
        while edit < EDITS {
            let batch = self.model.random.one_of(&[1, 1, 2, 3, 10]);
            (0..batch).for_each(|_| self.model.edit());
            let until_compared = COMPARED - edit % COMPARED;
            edit += batch;
            if self.model.random.below(40) == 0 {
                let minutes = self.model.random.below(25) as u64;
                self.now = self.now.plus(minutes * 60).min(self.end);
            }
            let read = self.zone();
            // What is served next shares with the version before what did not change, as in the daemon.
            let zone = version.zone().succeeded_by(&read).map_or_else(|| Arc::clone(&read), Arc::new);
            let next = self.sign(&zone, edit, version.serial() + 1, Some(&version));
            let here = (self.now, edit / 1000, edit / 250);
            if here == last {
                let in_vain = self.signed_in_vain(&version, &next);
                assert_eq!(in_vain, None, "edit {edit} of {:?}\n{}", self.walk, self.model.text());
            }
            last = here;
            version = next;
            walked.versions += 1;
            walked.made += version.signatures_made();
            walked.kept += version.signatures_reused();
            if batch >= until_compared {
                self.compare(&read, edit, &version);
                walked.compared += 1;
            }
        }
        walked
    }
}

#[test]
fn row_45_ten_thousand_edits_in_each_mode_give_the_zone_that_is_signed_from_nothing() {
    common::peer("dnssec-verify");
    let walks = [
        Walk::In(Mode::Nsec),
        Walk::In(Mode::Nsec3),
        Walk::In(Mode::OptOut),
        Walk::Through([Mode::Nsec, Mode::Nsec3, Mode::OptOut, Mode::Salted]),
    ];
    let walked: Vec<Walked> =
        walks.par_iter().enumerate().map(|(seed, walk)| Walker::new(*walk, seed as u64 + 1).walk()).collect();
    for (walk, walked) in walks.iter().zip(&walked) {
        println!("{walk:?}: {walked:?}");
        assert!(walked.compared >= EDITS / COMPARED, "{walked:?}");
        assert!(walked.kept > walked.made, "most signatures are those of the version before: {walked:?}");
    }
}
