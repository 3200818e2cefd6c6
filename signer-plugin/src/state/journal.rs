//! The journal: what versions behind the snapshot have changed.
//!
//! ```text
//! J  the ID of the snapshot that it continues
//! N  names with what they have from now on: owner, RRsets                        as many sections as it takes, then
//! P  signatures that differ: owner, type, those of the RRset or denial record    likewise, then
//! C  facts                                                                       the version is complete
//! ```
//! A version that denies in another way, or has signatures of another length, is written as a new snapshot.

use std::io::{self, BufReader, Read, Write};

use keystore::dns::{Name, Rtype, name};

use super::codec::{Put, Take};
use super::facts::VersionFacts;
use super::sections::{Sealer, SectionError, SectionKind, Unsealer};
use super::snapshot::SnapshotId;
use super::{Damage, FORMAT, StateKind};
use crate::signing::{SignedZone, StoredChanges};
use crate::zone::{ContentChange, NameChange, NodeId, OwnedRrset};

const HEAD: SectionKind = SectionKind(b'J');
pub(super) const NAMES: SectionKind = SectionKind(b'N');
const PATCH: SectionKind = SectionKind(b'P');
pub(super) const COMMIT: SectionKind = SectionKind(b'C');

/// A section ends with the name or the signatures that reach this length, in octets.
const SECTION: usize = 256 << 10;

/// Where a journal ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalEnd {
    digest: [u8; 32],
    /// Octets of the file.
    pub len: u64,
    /// Versions that it has.
    pub versions: usize,
}

/// What differs between two versions.
pub(super) struct Patch {
    names: ContentChange,
    /// RRsets and denial records whose signatures differ, by the name that has them.
    signatures: Vec<(NodeId, Rtype)>,
    slot_len: usize,
}

impl Patch {
    /// What makes `new` of `old`; `None` when they have not the same kind of signatures and denial, or differ in much.
    pub fn between(old: &SignedZone, new: &SignedZone) -> Option<Self> {
        let same_lengths =
            old.signing_keys().map(|key| key.rrsig_len).eq(new.signing_keys().map(|key| key.rrsig_len));
        let slot_len = new.slot_len();
        if !same_lengths || !old.denies_like(new) {
            return None;
        }
        let nodes = new.nodes_not_shared(old)?;
        let (old_zone, new_zone) = (old.zone(), new.zone());
        let names =
            ContentChange::between(old_zone, new_zone, old_zone.name_count() + new_zone.name_count())?;
        let mut signatures = Vec::new();
        for node in nodes.into_iter().filter(|node| new_zone.exists(*node)) {
            let is_same = old_zone.exists(node) && old_zone.key(node) == new_zone.key(node);
            for id in new_zone.rrsets_of(node) {
                let view = new.view(id);
                let before = || old_zone.find(node, view.rtype).map(|id| old.view(id).signatures);
                let before = is_same.then(before).flatten();
                if slot_len > 0 && !view.signatures.is_empty() && before != Some(view.signatures) {
                    signatures.push((node, view.rtype));
                }
            }
            if slot_len > 0 && new.is_member(node) {
                let before = (is_same && old.is_member(node)).then(|| old.denial(node).signatures);
                if before != Some(new.denial(node).signatures) {
                    signatures.push((node, new.denial(node).rtype));
                }
            }
        }
        Some(Self { names, signatures, slot_len })
    }

    /// Octets that it takes in the journal, roughly.
    pub fn octets(&self) -> u64 {
        const OF_ENTRY: usize = 32;
        let names = self.names.names.iter().map(|name| {
            OF_ENTRY + name.rrsets.iter().map(|rrset| rrset.data.len() + OF_ENTRY).sum::<usize>()
        });
        (names.sum::<usize>() + self.signatures.len() * (self.slot_len + OF_ENTRY)) as u64
    }
}

/// The octets of a new journal behind the snapshot `id`.
pub(super) fn begin(id: &SnapshotId) -> io::Result<(Vec<u8>, JournalEnd)> {
    let mut sealer = Sealer::begin(Vec::new(), FORMAT)?;
    sealer.section(HEAD, id)?;
    let (octets, digest, len) = sealer.finish();
    Ok((octets, JournalEnd { digest, len, versions: 0 }))
}

/// The octets to append for a version, and where the journal ends then.
pub(super) fn encode(
    end: &JournalEnd,
    patch: &Patch,
    signed: &SignedZone,
    facts: &VersionFacts,
) -> io::Result<(Vec<u8>, JournalEnd)> {
    let mut sealer = Sealer::go_on(Vec::new(), end.digest, end.len);
    let mut section = Vec::new();
    put_names(&patch.names, &mut sealer)?;
    for (node, rtype) in &patch.signatures {
        let zone = signed.zone();
        let slot = match *rtype {
            Rtype::NSEC | Rtype::NSEC3 => signed.denial(*node).signatures,
            rtype => zone.find(*node, rtype).map_or(&[][..], |id| signed.view(id).signatures),
        };
        section.extend_from_slice(zone.owner(*node));
        section.put_u16(rtype.0);
        section.extend_from_slice(slot);
        if section.len() >= SECTION {
            sealer.section(PATCH, &section)?;
            section.clear();
        }
    }
    sealer.section(PATCH, &section)?;
    section.clear();
    facts.put(&mut section);
    sealer.section(COMMIT, &section)?;
    let (octets, digest, len) = sealer.finish();
    Ok((octets, JournalEnd { digest, len, versions: end.versions + 1 }))
}

/// How a journal was found.
pub(super) enum JournalFound {
    /// It continues another snapshot: that of before, after a crash between two writes.
    Stale,
    /// All of it was taken.
    Whole(JournalEnd),
    /// It ends within a version; the versions before were taken. Most likely that version was being written when the process or the host
    /// died, and was never served. Whoever cut the file later leaves the same trace: the SOA serial, which is kept apart, tells.
    Cut,
}

/// Reads the journal behind the snapshot `id`, brings `facts` to its last version, and gathers in `changes` what it changes.
pub(super) fn replay(
    from: impl Read,
    id: &SnapshotId,
    kind: &StateKind,
    facts: &mut VersionFacts,
    changes: &mut StoredChanges,
) -> Result<JournalFound, (Damage, u64)> {
    let from = BufReader::with_capacity(SECTION, from);
    let mut unsealer = match Unsealer::begin(from, FORMAT) {
        Ok(unsealer) => unsealer,
        Err(error) => return Err((error.into(), 0)),
    };
    match unsealer.next() {
        Ok(Some((HEAD, found))) if found == id => {}
        Ok(Some((HEAD, _))) => return Ok(JournalFound::Stale),
        Ok(_) => return Err((Damage::Order, 0)),
        Err(error) => return Err((error.into(), 0)),
    }
    let mut end = JournalEnd { digest: unsealer.digest(), len: unsealer.position(), versions: 0 };
    let (mut names, mut patches): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    loop {
        let at = unsealer.position();
        let damage = |damage: Damage| (damage, at);
        match unsealer.next() {
            Ok(None) if at == end.len => return Ok(JournalFound::Whole(end)),
            Ok(None) | Err(SectionError::CutShort) => return Ok(JournalFound::Cut),
            Err(SectionError::Checksum) => {
                let torn =
                    unsealer.ends_in_zeros().map_err(|error| damage(SectionError::from(error).into()))?;
                return if torn { Ok(JournalFound::Cut) } else { Err(damage(SectionError::Checksum.into())) };
            }
            Err(error) => return Err(damage(error.into())),
            Ok(Some((NAMES, payload))) => names.extend_from_slice(payload),
            Ok(Some((PATCH, payload))) => patches.extend_from_slice(payload),
            Ok(Some((COMMIT, payload))) => {
                let mut from = Take(payload);
                let taken = VersionFacts::take(&mut from, &kind.zone).filter(|_| from.is_empty());
                let new = taken.ok_or_else(|| damage(Damage::Field))?;
                gather(&names, &patches, (&new, kind), changes).ok_or_else(|| damage(Damage::Field))?;
                *facts = new;
                changes.versions += 1;
                names.clear();
                patches.clear();
                end = JournalEnd {
                    digest: unsealer.digest(),
                    len: unsealer.position(),
                    versions: end.versions + 1,
                };
            }
            Ok(Some(_)) => return Err(damage(Damage::Order)),
        }
    }
}

/// Adds what a version changes; `None` when these are no changes of its zone.
fn gather(
    names: &[u8],
    patches: &[u8],
    (facts, kind): (&VersionFacts, &StateKind),
    changes: &mut StoredChanges,
) -> Option<()> {
    let slot_len = facts.slot_len();
    let mut from = Take(names);
    while !from.is_empty() {
        let name = take_name(&mut from, kind)?;
        changes.names.insert(name.owner.to_ascii_lowercase().into(), name);
    }
    let mut from = Take(patches);
    while !from.is_empty() {
        let owner = from.octets(name::wire_len(from.0)?)?.to_ascii_lowercase();
        let rtype = Rtype(from.u16()?);
        changes.slots.insert((owner.into(), rtype), from.octets(slot_len)?.into());
    }
    Some(())
}

/// Writes what names have from now on, in as many sections as it takes; none when no name changes.
pub(super) fn put_names<W: Write>(change: &ContentChange, sealer: &mut Sealer<W>) -> io::Result<()> {
    let mut section = Vec::new();
    for name in &change.names {
        put_name(name, &mut section);
        if section.len() >= SECTION {
            sealer.section(NAMES, &section)?;
            section.clear();
        }
    }
    if section.is_empty() { Ok(()) } else { sealer.section(NAMES, &section) }
}

fn put_name(name: &NameChange, out: &mut Vec<u8>) {
    out.extend_from_slice(&name.owner);
    out.put_u16(name.rrsets.len() as u16);
    for rrset in &name.rrsets {
        out.put_u16(rrset.rtype.0);
        out.put_u32(rrset.ttl);
        out.put_long(&rrset.data);
    }
}

/// What a name has from now on, which stands at or below the apex; `None` when a zone could not have it.
pub(super) fn take_name(from: &mut Take<'_>, StateKind { zone, dnssec }: &StateKind) -> Option<NameChange> {
    let owner: Box<[u8]> = from.octets(name::wire_len(from.0)?)?.into();
    Name::from_wire(&owner).ok().filter(|owner| owner.is_at_or_below(zone))?;
    let rrsets: Vec<OwnedRrset> = (0..from.u16()?)
        .map(|_| {
            let (rtype, ttl) = (Rtype(from.u16()?), from.u32()?);
            OwnedRrset::checked(rtype, ttl, from.long()?, *dnssec)
        })
        .collect::<Option<_>>()?;
    let is_sorted = rrsets.is_sorted_by(|a, b| a.rtype < b.rtype);
    // No zone is without a SOA record.
    let is_whole = owner.len() > zone.as_wire().len() || rrsets.iter().any(|rrset| rrset.rtype == Rtype::SOA);
    (is_sorted && is_whole).then_some(NameChange { owner, rrsets })
}
