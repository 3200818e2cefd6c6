//! Catalog zones (RFC 9432): a list of zones as the records of one zone, from which secondaries learn which zones they shall have.
//!
//! ```text
//! records ──Catalog::read──▶ Catalog ──Catalog::records──▶ records
//!                               │
//!                               ├──▶ kept::KeptCatalog ◀──▶ state folder     (of one that this host makes)
//!                               └──▶ taken::TakenVersion ◀──▶ state folder   (of one that it takes zones from)
//! ```

pub mod kept;
pub mod taken;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use data_encoding::HEXLOWER;

use crate::crypto::sha256;
use crate::dns::name::NameError;
use crate::dns::{Name, Rtype};
use crate::time::Timestamp;

/// Octets of the hash of a zone that its label has: that two of them are equal does not happen.
const LABEL_OCTETS: usize = 8;
/// The only version of catalogs that is known, as RDATA of TXT.
const VERSION: &[u8] = b"\x012";
/// Longest string of a TXT record.
const MAX_STRING: usize = 255;

/// The zones of a catalog, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    members: BTreeMap<Name, Member>,
}

/// A zone of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The label that stands for the zone, in lower case. Another label for the same zone has consumers forget what they have of it (RFC 9432
    /// section 5.4).
    pub label: Vec<u8>,
    /// Values of its property `group` (section 4.3.2), by which consumers choose how they serve it: the strings of each in one.
    pub groups: BTreeSet<Vec<u8>>,
    /// The catalog that the zone moves to (`coo`, section 4.3.1).
    pub coo: Option<Name>,
}

/// A record of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRecord {
    /// Owner in wire form.
    pub owner: Vec<u8>,
    /// Type of the record.
    pub rtype: Rtype,
    /// RDATA, uncompressed.
    pub rdata: Vec<u8>,
}

/// Why records are no catalog: nothing of it is processed then (RFC 9432 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogFault {
    /// The TXT RRset `version` is missing, has several records, or another value than "2".
    #[error("it has no record `version TXT \"2\"`, or others beside it")]
    Version,
    /// Two PTR records at one label.
    #[error("the label {0} names several zones")]
    SeveralZones(String),
    /// One zone under two labels.
    #[error("the zone {0} is named by several labels")]
    SeveralLabels(Name),
    /// A property that is known has a value that it cannot have.
    #[error("the property {property} of {zone} is not right")]
    Property {
        /// The zone.
        zone: Name,
        /// `coo` or `group`.
        property: &'static str,
    },
}

impl Catalog {
    /// The catalog that these records of the zone `origin` make: owner, type and RDATA of each, names uncompressed. What is not known is left out, as RFC 9432 wants it.
    ///
    /// # Errors
    /// When the catalog is broken.
    pub fn read<'a>(
        origin: &Name,
        records: impl Iterator<Item = (&'a [u8], Rtype, &'a [u8])>,
    ) -> Result<Self, CatalogFault> {
        let mut found = Found::default();
        for (owner, rtype, rdata) in records {
            if let Some(path) = relative(owner, origin) {
                found.put(&path, rtype, rdata);
            }
        }
        if found.versions != [VERSION] {
            return Err(CatalogFault::Version);
        }
        let mut catalog = Self::default();
        for (label, zones) in found.members {
            let text = String::from_utf8_lossy(&label).into_owned();
            let [zone] = &zones[..] else { return Err(CatalogFault::SeveralZones(text)) };
            let wrong = |property| CatalogFault::Property { zone: zone.clone(), property };
            let coo = match found.coos.remove(&label).as_deref() {
                None => None,
                Some([Some(coo)]) => Some(coo.clone()),
                Some(_) => return Err(wrong("coo")),
            };
            let mut groups = BTreeSet::new();
            for value in found.groups.remove(&label).unwrap_or_default() {
                groups.insert(value.ok_or_else(|| wrong("group"))?);
            }
            if catalog.members.insert(zone.clone(), Member { label, groups, coo }).is_some() {
                return Err(CatalogFault::SeveralLabels(zone.clone()));
            }
        }
        Ok(catalog)
    }

    /// The zones.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<Name, Member> {
        &self.members
    }

    /// Keeps what `other` says of a zone, where it has it.
    pub fn keep(&mut self, zone: &Name, other: &Self) {
        if let Some(member) = other.members.get(zone) {
            self.members.insert(zone.clone(), member.clone());
        }
    }

    /// Takes a zone in, or changes what is said of it: the label is made of the name alone, so that it never changes.
    pub fn put(&mut self, zone: &Name, group: Option<&str>, coo: Option<&Name>) {
        let zone = zone.to_lowercase();
        let label = label(&zone);
        let groups = group.map(|group| group.as_bytes().to_vec()).into_iter().collect();
        self.members.insert(zone, Member { label, groups, coo: coo.map(Name::to_lowercase) });
    }

    /// The records of the catalog `origin`, but for its SOA record.
    ///
    /// # Errors
    /// When the name of the catalog leaves no room for the names of its records.
    pub fn records(&self, origin: &Name) -> Result<Vec<CatalogRecord>, NameError> {
        let record = |labels: &[&[u8]], rtype, rdata| {
            let mut owner = Vec::new();
            for label in labels {
                owner.push(label.len() as u8);
                owner.extend_from_slice(label);
            }
            owner.extend_from_slice(&origin.canonical_wire());
            Name::from_wire(&owner).map(|_| CatalogRecord { owner, rtype, rdata })
        };
        let mut records = vec![
            record(&[], Rtype::NS, b"\x07invalid\x00".to_vec())?,
            record(&[b"version"], Rtype::TXT, VERSION.to_vec())?,
        ];
        for (zone, Member { label, groups, coo }) in &self.members {
            records.push(record(&[label, b"zones"], Rtype::PTR, zone.canonical_wire())?);
            for group in groups {
                records.push(record(&[b"group", label, b"zones"], Rtype::TXT, txt(group))?);
            }
            if let Some(coo) = coo {
                records.push(record(&[b"coo", label, b"zones"], Rtype::PTR, coo.canonical_wire())?);
            }
        }
        Ok(records)
    }
}

/// The label of a zone, which is in lower case.
fn label(zone: &Name) -> Vec<u8> {
    HEXLOWER.encode(&sha256(zone.as_wire())[..LABEL_OCTETS]).into_bytes()
}

/// A serial behind `before` (RFC 1982): the time in seconds, where it is.
#[must_use]
pub fn next_serial(before: Option<u32>, now: Timestamp) -> u32 {
    let time = now.to_rrsig();
    match before {
        Some(before) if !(1..0x8000_0000).contains(&time.wrapping_sub(before)) => before.wrapping_add(1),
        _ => time,
    }
}

/// What the records have, by label.
#[derive(Default)]
struct Found {
    versions: Vec<Vec<u8>>,
    members: BTreeMap<Vec<u8>, Vec<Name>>,
    groups: HashMap<Vec<u8>, Vec<Option<Vec<u8>>>>,
    coos: HashMap<Vec<u8>, Vec<Option<Name>>>,
}

impl Found {
    fn put(&mut self, path: &[Vec<u8>], rtype: Rtype, rdata: &[u8]) {
        let path: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        let name = || Name::from_wire(rdata).ok().map(|name| name.to_lowercase());
        match (&path[..], rtype) {
            ([b"version"], Rtype::TXT) => self.versions.push(rdata.to_vec()),
            // A name in a record of a zone that was checked reads.
            ([label, b"zones"], Rtype::PTR) => {
                self.members.entry(label.to_vec()).or_default().extend(name());
            }
            ([b"group", label, b"zones"], Rtype::TXT) => {
                self.groups.entry(label.to_vec()).or_default().push(strings(rdata));
            }
            ([b"coo", label, b"zones"], Rtype::PTR) => {
                self.coos.entry(label.to_vec()).or_default().push(name());
            }
            _ => {}
        }
    }
}

/// The labels of a name in front of `origin`, in lower case; `None` for a name that is not below it, or far below.
fn relative(owner: &[u8], origin: &Name) -> Option<Vec<Vec<u8>>> {
    let mut labels = Vec::new();
    let mut rest = owner;
    while !rest.eq_ignore_ascii_case(origin.as_wire()) {
        let (len, tail) = rest.split_first()?;
        let (label, tail) = tail.split_at_checked(usize::from(*len)).filter(|_| *len > 0)?;
        labels.push(label.to_ascii_lowercase());
        rest = tail;
    }
    Some(labels)
}

/// The strings of the RDATA of TXT, in one.
fn strings(rdata: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut all) = (rdata, Vec::new());
    while let Some((len, tail)) = rest.split_first() {
        let (string, tail) = tail.split_at_checked(usize::from(*len))?;
        all.extend_from_slice(string);
        rest = tail;
    }
    Some(all)
}

/// The RDATA of TXT with these octets.
fn txt(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for string in octets.chunks(MAX_STRING) {
        out.push(string.len() as u8);
        out.extend_from_slice(string);
    }
    if out.is_empty() { vec![0] } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    type Line = (&'static str, Rtype, &'static [u8]);

    const VERSION_2: Line = ("version.cat.test", Rtype::TXT, b"\x012");
    const A: Line = ("1.zones.Cat.test", Rtype::PTR, b"\x01A\x04test\x00");
    const B: Line = ("2.zones.cat.test", Rtype::PTR, b"\x01b\x04test\x00");

    fn read(lines: &[Line]) -> Result<Catalog, CatalogFault> {
        let records: Vec<_> =
            lines.iter().map(|(owner, rtype, rdata)| (name(owner), *rtype, *rdata)).collect();
        let records = records.iter().map(|(owner, rtype, rdata)| (owner.as_wire(), *rtype, *rdata));
        Catalog::read(&name("cat.test"), records)
    }

    #[test]
    fn what_is_made_reads_as_the_same_and_a_zone_keeps_its_label() {
        let mut catalog = Catalog::default();
        for (zone, group, coo) in [
            ("a.test", None, None),
            ("B.test", Some("gold"), None),
            ("c.test", Some(""), Some("Other.cat")),
            ("d.test", Some("ü\n, \"x\""), None),
        ] {
            catalog.put(&name(zone), group, coo.map(name).as_ref());
        }
        let long = "x".repeat(300);
        catalog.put(&name("e.test"), Some(&long), None);
        let records = catalog.records(&name("Cat.test")).unwrap();
        let borrowed = records.iter().map(|r| (r.owner.as_slice(), r.rtype, r.rdata.as_slice()));
        assert_eq!(Catalog::read(&name("cat.test"), borrowed), Ok(catalog.clone()));
        assert!(records.iter().all(|record| record.rtype != Rtype::TXT || record.rdata.len() <= 302));
        let labels: BTreeSet<_> = catalog.members().values().map(|member| &member.label).collect();
        assert_eq!(labels.len(), 5);
        let before = catalog.clone();
        catalog.put(&name("A.TEST"), None, None);
        assert_eq!(catalog, before, "a zone keeps its label");
        let most = name(&format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(40)));
        assert!(catalog.records(&most).is_err());
    }

    #[test]
    fn a_broken_catalog_is_refused_and_what_is_unknown_is_left_out() {
        use CatalogFault::{Property, SeveralLabels, SeveralZones, Version};
        let ok: &[&[Line]] = &[
            &[VERSION_2],
            &[VERSION_2, A, B],
            &[
                VERSION_2,
                A,
                ("x.1.zones.cat.test", Rtype::TXT, b"\x01x"),
                ("a.ext.cat.test", Rtype::PTR, b"\x00"),
            ],
            &[
                VERSION_2,
                A,
                ("group.9.zones.cat.test", Rtype::TXT, b"\x01x"),
                ("coo.1.zones.cat.test", Rtype::TXT, b"\x00"),
            ],
            &[
                VERSION_2,
                A,
                ("version.other.test", Rtype::TXT, b"\x013"),
                ("version.cat.test", Rtype(1), b"abcd"),
            ],
        ];
        for lines in ok {
            let zones = lines.iter().filter(|line| **line == A || **line == B).count();
            assert_eq!(read(lines).map(|catalog| catalog.members().len()), Ok(zones), "{lines:?}");
        }
        let coo = |rdata: &'static [u8]| -> Line { ("coo.1.zones.cat.test", Rtype::PTR, rdata) };
        let broken: &[(&[Line], CatalogFault)] = &[
            (&[], Version),
            (&[A], Version),
            (&[("version.cat.test", Rtype::TXT, b"\x011"), A], Version),
            (&[("version.cat.test", Rtype::TXT, b"\x012\x012"), A], Version),
            (&[VERSION_2, ("version.cat.test", Rtype::TXT, b"\x011"), A], Version),
            (&[VERSION_2, A, ("1.zones.cat.test", Rtype::PTR, B.2)], SeveralZones("1".to_owned())),
            (&[VERSION_2, A, ("3.zones.cat.test", Rtype::PTR, A.2)], SeveralLabels(name("a.test"))),
            (
                &[VERSION_2, A, coo(b"\x00"), coo(b"\x01x\x00")],
                Property { zone: name("a.test"), property: "coo" },
            ),
            (
                &[VERSION_2, A, ("group.1.zones.cat.test", Rtype::TXT, b"\x05x")],
                Property { zone: name("a.test"), property: "group" },
            ),
        ];
        for (lines, fault) in broken {
            assert_eq!(read(lines).as_ref(), Err(fault), "{lines:?}");
        }
    }

    #[test]
    fn a_serial_never_goes_back() {
        let at = Timestamp::from_secs;
        for (before, now, next) in [
            (None, 1_700_000_000, 1_700_000_000),
            (Some(1_700_000_000), 1_700_000_060, 1_700_000_060),
            // Within the second, and with a clock that was set back.
            (Some(1_700_000_000), 1_700_000_000, 1_700_000_001),
            (Some(1_700_000_002), 1_699_999_000, 1_700_000_003),
            // Around the end of the numbers.
            (Some(u32::MAX), 1 << 32, 0),
            (Some(u32::MAX), (1 << 32) - 5, 0),
        ] {
            assert_eq!(next_serial(before, at(now)), next, "{before:?} {now}");
        }
    }
}
