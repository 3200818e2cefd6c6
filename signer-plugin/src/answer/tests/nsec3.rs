//! Proofs with NSEC3: a validator of them (RFC 5155 section 8), and the cases of RFC 5155 section 7.2, one test each.

use std::collections::BTreeSet;

use keystore::dns::nsec3::NameHash;

use super::reader::{Rr, ancestor};
use super::*;
use crate::signing::denial::Hasher;
use crate::signing::{Denial, Nsec3, SigningPolicy};
use crate::testing::signed_by;

/// The NSEC3 records of an answer; hashes are kept as text, whose order is theirs.
pub(super) struct Nsec3Set {
    origin: Name,
    records: Vec<Nsec3Record>,
    salt: Vec<u8>,
    iterations: u16,
}

struct Nsec3Record {
    owner: String,
    next: String,
    opt_out: bool,
    types: BTreeSet<Rtype>,
}

/// A proof that an insecure delegation may be hidden in is none (RFC 5155 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Secure,
    OptedOut,
}

impl Nsec3Set {
    pub fn read(origin: &Name, records: &[Rr]) -> Option<Self> {
        let mut set = Self { origin: origin.clone(), records: Vec::new(), salt: Vec::new(), iterations: 0 };
        for rr in records.iter().filter(|rr| rr.rtype == Rtype::NSEC3) {
            let salt_len = usize::from(rr.rdata[4]);
            let (head, rest) = rr.rdata.split_at(5 + salt_len);
            assert_eq!((head[0], rr.owner.parent().as_ref(), rest[0]), (1, Some(origin), 20));
            let params = (head[5..].to_vec(), u16::from_be_bytes([head[2], head[3]]));
            assert!(set.records.is_empty() || params == (set.salt.clone(), set.iterations), "two chains");
            (set.salt, set.iterations) = params;
            set.records.push(Nsec3Record {
                owner: String::from_utf8(rr.owner.labels().next().expect("a label").to_ascii_lowercase())
                    .expect("ASCII"),
                next: NameHash(rest[1..21].try_into().expect("20 octets")).to_string(),
                opt_out: head[1] & 1 != 0,
                types: super::reader::read_bitmap(&rest[21..]),
            });
        }
        (!set.records.is_empty()).then_some(set)
    }

    fn hash(&self, name: &Name) -> String {
        NameHash::of(name.as_wire(), &self.salt, self.iterations).to_string()
    }

    fn matching(&self, name: &Name) -> Option<&Nsec3Record> {
        let hash = self.hash(name);
        self.records.iter().find(|record| record.owner == hash)
    }

    fn covering(&self, name: &Name) -> Option<&Nsec3Record> {
        let hash = self.hash(name);
        self.records.iter().find(|record| {
            let (behind, before) = (record.owner < hash, hash < record.next);
            if record.owner < record.next { behind && before } else { behind || before }
        })
    }

    /// The closest provable encloser of a name that does not match, and the record that covers the next closer name (section 8.3).
    fn closest_encloser(&self, name: &Name) -> Result<(Name, &Nsec3Record), String> {
        let mut next_closer = name.clone();
        loop {
            let encloser = next_closer
                .parent()
                .filter(|parent| parent.is_at_or_below(&self.origin))
                .ok_or_else(|| format!("no encloser of {name} matches"))?;
            if let Some(record) = self.matching(&encloser) {
                let is_cut = record.types.contains(&Rtype::NS) && !record.types.contains(&Rtype::SOA);
                if is_cut || record.types.contains(&Rtype::DNAME) {
                    return Err(format!("the encloser {encloser} of {name} is a delegation or a DNAME"));
                }
                let cover =
                    self.covering(&next_closer).ok_or_else(|| format!("nothing covers {next_closer}"))?;
                return Ok((encloser, cover));
            }
            next_closer = encloser;
        }
    }

    /// Section 8.4.
    pub fn name_error(&self, name: &Name) -> Result<Held, String> {
        if self.matching(name).is_some() {
            return Err(format!("{name} exists"));
        }
        let (encloser, cover) = self.closest_encloser(name)?;
        let wildcard = wildcard_at(&encloser);
        self.covering(&wildcard).ok_or_else(|| format!("nothing covers {wildcard}"))?;
        Ok(if cover.opt_out { Held::OptedOut } else { Held::Secure })
    }

    /// Sections 8.5 to 8.7, and RFC 5155 section 7.1 for empty non-terminals that were opted out.
    pub fn no_data(&self, name: &Name, rtype: Rtype) -> Result<Held, String> {
        let lacks = |record: &Nsec3Record| {
            let cut = record.types.contains(&Rtype::NS) && !record.types.contains(&Rtype::SOA);
            !record.types.contains(&rtype)
                && !record.types.contains(&Rtype::CNAME)
                && (rtype == Rtype::DS || !cut)
        };
        if let Some(record) = self.matching(name) {
            let wrong = || format!("the NSEC3 of {name} does not deny {rtype}");
            return if lacks(record) { Ok(Held::Secure) } else { Err(wrong()) };
        }
        let (encloser, cover) = self.closest_encloser(name)?;
        match self.matching(&wildcard_at(&encloser)) {
            // Section 8.6: of a delegation that was opted out no wildcard gives a DS.
            _ if cover.opt_out && rtype == Rtype::DS => Ok(Held::OptedOut),
            Some(record) if !lacks(record) => Err(format!("the wildcard for {name} has {rtype}")),
            _ if cover.opt_out => Ok(Held::OptedOut),
            Some(_) => Ok(Held::Secure),
            None => Err(format!("nothing denies {rtype} of {name}")),
        }
    }

    /// Section 8.8: the name came from a wildcard `labels` long.
    pub fn expansion(&self, name: &Name, labels: usize) -> Result<(), String> {
        let next_closer = ancestor(name, labels + 1);
        self.covering(&next_closer).map(drop).ok_or_else(|| format!("nothing covers {next_closer}"))
    }

    /// Section 8.9.
    pub fn no_ds(&self, cut: &Name) -> Result<Held, String> {
        if let Some(record) = self.matching(cut) {
            let has = |rtype| record.types.contains(&rtype);
            let holds = has(Rtype::NS) && !has(Rtype::DS) && !has(Rtype::SOA);
            return if holds { Ok(Held::Secure) } else { Err(format!("the NSEC3 of {cut} has other types")) };
        }
        let (_, cover) = self.closest_encloser(cut)?;
        if cover.opt_out { Ok(Held::OptedOut) } else { Err(format!("{cut} is covered without opt-out")) }
    }
}

fn wildcard_at(encloser: &Name) -> Name {
    Name::from_wire(&[b"\x01*", encloser.as_wire()].concat()).expect("short enough")
}

const CASES: &str = "\
@ SOA ns admin 7 1h 5m 1w 10m
@ NS ns.other.
a A 192.0.2.1
x.ent TXT t
*.wild A 192.0.2.2
f.*.empty A 192.0.2.3
secure NS ns.other.
secure DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
plain NS ns.plain
ns.plain A 192.0.2.4
cut.deep.down NS ns.other.
old DNAME other.
alias CNAME q.wild
lost CNAME nowhere
";

fn with(text: &str, nsec3: Nsec3) -> SignedZone {
    let policy = SigningPolicy { denial: Denial::Nsec3(nsec3), ..POLICY };
    signed_by(zone("example", text).expect("a zone"), &policy).expect("signs")
}

/// RCODE, and how many NSEC3 records without and with opt-out; each answer proves itself.
#[test]
fn each_kind_of_answer_has_its_proof_and_no_record_more() {
    let zones = [with(CASES, Nsec3::new(0, false)), with(CASES, Nsec3::new(5, true))];
    for (asked, rtype, rcode, records) in [
        ("a", Rtype::A, 0, [0, 0]),
        ("a", Rtype::MX, 0, [1, 1]),
        ("a", Rtype::NSEC3, 0, [1, 1]),
        ("@", Rtype::NSEC3PARAM, 0, [0, 0]),
        ("@", Rtype::DS, 0, [1, 1]),
        ("nothing", Rtype::A, 3, [3, 3]),
        ("x.y.z.a", Rtype::A, 3, [3, 3]),
        ("ent", Rtype::A, 0, [1, 1]),
        ("down", Rtype::A, 0, [1, 2]),
        ("deep.down", Rtype::DS, 0, [1, 2]),
        ("x.deep.down", Rtype::A, 3, [3, 3]),
        ("x.wild", Rtype::A, 0, [1, 1]),
        ("x.wild", Rtype::MX, 0, [3, 3]),
        ("x.y.wild", Rtype::MX, 0, [3, 3]),
        ("*.wild", Rtype::MX, 0, [1, 1]),
        ("x.empty", Rtype::A, 0, [3, 3]),
        ("secure", Rtype::A, 0, [0, 0]),
        ("plain", Rtype::A, 0, [1, 2]),
        ("x.plain", Rtype::DS, 0, [1, 2]),
        ("plain", Rtype::DS, 0, [1, 2]),
        ("x.old", Rtype::A, 0, [0, 0]),
        ("alias", Rtype::A, 0, [1, 1]),
        ("lost", Rtype::A, 3, [3, 3]),
    ] {
        for (zone, most) in zones.iter().zip(records) {
            let ask = Ask::new(asked, rtype);
            let (_, message, _) = reply(zone, &ask.octets(), &STREAM);
            let said = message.summary("example.");
            let found = message.sections[1].iter().filter(|rr| rr.rtype == Rtype::NSEC3).count();
            assert_eq!(message.rcode, rcode, "{asked} {rtype}: {said}");
            // One record may prove two things.
            assert!(found <= most && (most == 0 || found > 0), "{asked} {rtype}: {found} of {most}, {said}");
            validate(&message, &ask, NOW).unwrap_or_else(|why| panic!("{asked} {rtype}: {why}: {said}"));
        }
    }
}

#[test]
fn owner_names_of_nsec3_records_do_not_exist_unless_they_have_data() {
    let zone = with(CASES, Nsec3::new(0, false));
    let hash = Nsec3::new(0, false).hash(name("a.example").as_wire()).to_string();
    for (asked, rcode) in [(hash.clone(), 3), (format!("x.{hash}"), 3)] {
        for rtype in [Rtype::NSEC3, Rtype::A, Rtype::RRSIG, Rtype::ANY] {
            let ask = Ask::new(&asked, rtype);
            let (_, message, _) = reply(&zone, &ask.octets(), &STREAM);
            assert_eq!(message.rcode, rcode, "{asked} {rtype}");
            if rtype != Rtype::RRSIG {
                validate(&message, &ask, NOW).unwrap_or_else(|why| panic!("{asked} {rtype}: {why}"));
            }
        }
    }
    let zone = with(&format!("{CASES}{hash} TXT t\n"), Nsec3::new(0, false));
    for (rtype, answers) in [(Rtype::TXT, 2), (Rtype::NSEC3, 0)] {
        let ask = Ask::new(&hash, rtype);
        let (_, message, _) = reply(&zone, &ask.octets(), &STREAM);
        assert_eq!((message.rcode, message.sections[0].len()), (0, answers));
        validate(&message, &ask, NOW).unwrap_or_else(|why| panic!("{rtype}: {why}"));
    }
}

/// RFC 5155 section 7.2.9.
#[test]
fn row_45_a_name_whose_hash_is_that_of_a_member_is_answered_with_servfail() {
    let zone = with(CASES, Nsec3 { hasher: Hasher::Truncated(10), ..Nsec3::new(0, false) });
    let (mut failed, mut denied) = (0, 0);
    for number in 0..2000 {
        let ask = Ask::new(&format!("n{number}"), Rtype::A);
        let (kind, message, _) = reply(&zone, &ask.octets(), &STREAM);
        match message.rcode {
            2 => {
                assert_eq!((kind, message.aa()), (AnswerKind::Error, false));
                assert!(message.sections.iter().all(Vec::is_empty));
                failed += 1;
            }
            3 => denied += 1,
            other => panic!("RCODE {other}"),
        }
        // Without DO no proof is needed.
        let (_, message, _) = reply(&zone, &Ask::plain(&format!("n{number}"), Rtype::A).octets(), &STREAM);
        assert_eq!(message.rcode, 3);
    }
    assert!(failed > 0 && denied > failed, "{failed} failed, {denied} denied");
}

#[test]
fn row_47_proofs_of_the_longest_names_hold() {
    let zone = with(CASES, Nsec3::new(0, false));
    let label = "x".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "y".repeat(53));
    let ask = Ask::new(&longest, Rtype::A);
    assert_eq!(ask.name.len(), 255);
    for asked in [longest, format!("{}a", "y.".repeat(122))] {
        let ask = Ask::new(&asked, Rtype::A);
        let (_, message, _) = reply(&zone, &ask.octets(), &STREAM);
        assert_eq!(message.rcode, 3);
        validate(&message, &ask, NOW).expect("proven");
    }
}
