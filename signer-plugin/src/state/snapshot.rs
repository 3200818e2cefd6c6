//! The snapshot: a whole version.
//!
//! ```text
//! H  zone name, facts
//! K  nothing: the zone has the DNSSEC records that it came with                  in a presigned zone alone
//! R  RRsets of the unsigned zone: owner, type, TTL, records        as many sections as it takes
//! S  signatures: of the RRsets in their order, then of the denial records in that of the chain          likewise
//! E  number of RRsets, octets of signatures
//! ```
//! Names and RRsets are in canonical order. The SOA record is that of the zone file; the serial that is served is among the facts.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use keystore::dns::{Name, Rtype, name};

use super::codec::{Put, Take};
use super::facts::VersionFacts;
use super::sections::{Sealer, SectionError, SectionKind, Unsealer};
use super::{Damage, FORMAT, StateKind};
use crate::rules::{DnssecRecords, RecordProblem, ZoneRules};
use crate::signing::SignedZone;
use crate::zone::{Records, Zone, ZoneBuilder};
use crate::zonefile::{Record, RecordPlace, SourceFiles, ZoneFileError};

const HEAD: SectionKind = SectionKind(b'H');
const KEPT: SectionKind = SectionKind(b'K');
pub(super) const RRSETS: SectionKind = SectionKind(b'R');
const SIGNATURES: SectionKind = SectionKind(b'S');
pub(super) const END: SectionKind = SectionKind(b'E');

/// A section ends with the RRset that reaches this length, in octets.
pub(super) const SECTION: usize = 256 << 10;

/// What a snapshot is known by: the digest of its last section.
pub(super) type SnapshotId = [u8; 32];

/// A snapshot that was read.
pub(super) struct Snapshot {
    pub id: SnapshotId,
    /// Octets of the file.
    pub len: u64,
    pub zone: Arc<Zone>,
    pub facts: VersionFacts,
    pub slots: Vec<u8>,
}

impl Snapshot {
    /// The zone that it is of, and whether that has the DNSSEC records that it came with.
    pub fn kind(&self) -> StateKind {
        StateKind { zone: self.zone.origin().clone(), dnssec: self.zone.dnssec() }
    }
}

/// Writes a version; gives the snapshot's ID and length.
pub(super) fn write(
    signed: &SignedZone,
    facts: &VersionFacts,
    out: &mut dyn Write,
) -> io::Result<(SnapshotId, u64)> {
    let zone = signed.zone();
    let mut sealer = Sealer::begin(BufWriter::with_capacity(SECTION, out), FORMAT)?;
    let mut section = Vec::with_capacity(SECTION);
    section.put_short(zone.origin().as_wire());
    facts.put(&mut section);
    sealer.section(HEAD, &section)?;
    if zone.dnssec() == DnssecRecords::Kept {
        sealer.section(KEPT, &[])?;
    }
    put_rrsets(zone, &mut sealer)?;
    section.clear();
    for slot in signed.slots() {
        section.extend_from_slice(slot);
        if section.len() >= SECTION {
            sealer.section(SIGNATURES, &section)?;
            section.clear();
        }
    }
    sealer.section(SIGNATURES, &section)?;
    section.clear();
    section.put_u64(zone.rrset_count() as u64);
    section.put_u64((signed.slot_count() * signed.slot_len()) as u64);
    sealer.section(END, &section)?;
    let (mut out, id, len) = sealer.finish();
    out.flush()?;
    Ok((id, len))
}

/// Writes the RRsets of a zone, in as many sections as it takes.
pub(super) fn put_rrsets<W: Write>(zone: &Zone, sealer: &mut Sealer<W>) -> io::Result<()> {
    let mut section = Vec::with_capacity(SECTION);
    for node in zone.node_ids() {
        for id in zone.rrsets_of(node) {
            let entry = zone.rrset(id);
            section.extend_from_slice(zone.owner(node));
            section.put_u16(entry.rtype.0);
            section.put_u32(entry.ttl);
            section.put_long(entry.data);
            if section.len() >= SECTION {
                sealer.section(RRSETS, &section)?;
                section.clear();
            }
        }
    }
    sealer.section(RRSETS, &section)
}

/// Takes the RRset that `from` begins with.
pub(super) fn take_rrset(from: &mut Take<'_>, builder: &mut ZoneBuilder) -> Result<(), Damage> {
    let owner = name::wire_len(from.0).and_then(|len| from.octets(len));
    let (Some(owner), Some(rtype), Some(ttl), Some(data)) = (owner, from.u16(), from.u32(), from.long())
    else {
        return Err(Damage::Field);
    };
    for rdata in Records(data) {
        let place = RecordPlace::default();
        let pushed = builder.push(&Record { owner, rtype: Rtype(rtype), ttl, rdata, place });
        pushed.map_err(|problem: RecordProblem| Damage::from(problem))?;
    }
    Ok(())
}

/// The zone of the RRsets that were taken, from a file of `len` octets.
pub(super) fn finish_zone(builder: ZoneBuilder, len: u64) -> Result<Zone, (Damage, u64)> {
    builder.finish(SourceFiles::default()).map_err(|error| match error {
        ZoneFileError::Record { what, .. } => (what.into(), len),
        _ => (Damage::Field, len),
    })
}

/// Reads the snapshot of `zone`; on damage also says behind which octet it is.
pub(super) fn read(from: impl Read, zone: &Name) -> Result<Snapshot, (Damage, u64)> {
    let from = BufReader::with_capacity(SECTION, from);
    let mut unsealer = Unsealer::begin(from, FORMAT).map_err(|error| (error.into(), 0))?;
    let mut reader = Reader { builder: ZoneBuilder::new(zone), facts: None, rrsets: 0, slots: Vec::new() };
    loop {
        let at = unsealer.position();
        let section = unsealer.next().map_err(|error| (error.into(), at))?;
        let Some((kind, payload)) = section else { return Err((SectionError::CutShort.into(), at)) };
        let ended = reader.take(kind, payload, zone).map_err(|damage| (damage, at))?;
        if ended {
            break;
        }
    }
    let len = unsealer.position();
    if !matches!(unsealer.next(), Ok(None)) {
        return Err((Damage::Order, len));
    }
    let Reader { builder, facts: Some(facts), slots, .. } = reader else { return Err((Damage::Order, len)) };
    let built = finish_zone(builder, len)?;
    Ok(Snapshot { id: unsealer.digest(), len, zone: Arc::new(built), facts, slots })
}

/// A snapshot as far as it was read.
struct Reader {
    builder: ZoneBuilder,
    facts: Option<VersionFacts>,
    rrsets: u64,
    slots: Vec<u8>,
}

impl Reader {
    /// Takes the next section; true when it is the last one.
    fn take(&mut self, kind: SectionKind, payload: &[u8], zone: &Name) -> Result<bool, Damage> {
        let mut from = Take(payload);
        match kind {
            HEAD if self.facts.is_none() => {
                let found = from.short().and_then(|wire| Name::from_wire(wire).ok()).ok_or(Damage::Field)?;
                if found != *zone {
                    return Err(Damage::OtherZone(found));
                }
                self.facts = Some(VersionFacts::take(&mut from, zone).ok_or(Damage::Field)?);
            }
            KEPT if self.facts.is_some() && self.rrsets == 0 => {
                let rules = ZoneRules { dnssec: DnssecRecords::Kept, ..ZoneRules::default() };
                self.builder = ZoneBuilder::with_rules(zone, rules);
            }
            RRSETS if self.facts.is_some() && self.slots.is_empty() => {
                while !from.is_empty() {
                    take_rrset(&mut from, &mut self.builder)?;
                    self.rrsets += 1;
                }
            }
            SIGNATURES if self.rrsets > 0 => {
                self.slots.extend_from_slice(payload);
                from = Take(&[]);
            }
            END => {
                let counts = (from.u64(), from.u64());
                if counts != (Some(self.rrsets), Some(self.slots.len() as u64)) {
                    return Err(Damage::Field);
                }
            }
            _ => return Err(Damage::Order),
        }
        if from.is_empty() { Ok(kind == END) } else { Err(Damage::Field) }
    }
}
