//! The journal: versions behind the snapshot that have its records, with other signatures, another serial or another bundle.
//!
//! ```text
//! J  the ID of the snapshot that it continues
//! P  slot number and signatures, for slots that change     as many sections as it takes, then
//! C  facts                                                  the version is complete
//! ```
//! A version that changes the records of the zone is written as a new snapshot.

use std::io::{self, BufReader, Read};

use keystore::dns::Name;

use super::codec::{Put, Take};
use super::facts::Facts;
use super::sections::{Kind, Sealer, SectionError, Unsealer};
use super::snapshot::SnapshotId;
use super::{Damage, FORMAT};
use crate::signing::SignedZone;

const HEAD: Kind = Kind(b'J');
const PATCH: Kind = Kind(b'P');
const COMMIT: Kind = Kind(b'C');

/// A section ends with the slot that reaches this length, in octets.
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

/// Slots that differ between two versions of the same records.
pub(super) struct Patch(Vec<(u32, std::ops::Range<usize>)>);

impl Patch {
    /// The slots of `new` that differ from those of `old`; `None` when these versions have other records or other places for signatures.
    pub fn between(old: &SignedZone, new: &SignedZone) -> Option<Self> {
        let same = std::sync::Arc::ptr_eq(old.zone(), new.zone())
            && old.signing_keys().map(|key| key.rrsig_len).eq(new.signing_keys().map(|key| key.rrsig_len));
        let (len, old, new) = (new.slot_len(), old.signature_octets(), new.signature_octets());
        if !same || old.len() != new.len() || len == 0 {
            return None;
        }
        let slots = old.chunks_exact(len).zip(new.chunks_exact(len)).enumerate();
        let changed = slots.filter(|(_, (old, new))| old != new);
        Some(Self(changed.map(|(number, _)| (number as u32, number * len..(number + 1) * len)).collect()))
    }

    /// Octets that it takes in the journal, roughly.
    pub fn octets(&self) -> u64 {
        self.0.iter().map(|(_, range)| range.len() as u64 + 4).sum()
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
    facts: &Facts,
) -> io::Result<(Vec<u8>, JournalEnd)> {
    let mut sealer = Sealer::go_on(Vec::new(), end.digest, end.len);
    let mut section = Vec::new();
    for (number, range) in &patch.0 {
        section.put_u32(*number);
        section.extend_from_slice(&signed.signature_octets()[range.clone()]);
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
pub(super) enum Found {
    /// It continues another snapshot: that of before, after a crash between two writes.
    Stale,
    /// All of it was taken.
    Whole(JournalEnd),
    /// It ends within a version; the versions before were taken. Most likely that version was being written when the process or the host
    /// died, and was never served. Whoever cut the file later leaves the same trace: the SOA serial, which is kept apart, tells.
    Cut,
}

/// Reads the journal behind the snapshot `id`, and brings `facts` and `slots` to its last version.
pub(super) fn replay(
    from: impl Read,
    id: &SnapshotId,
    zone: &Name,
    facts: &mut Facts,
    slots: &mut [u8],
) -> Result<Found, (Damage, u64)> {
    let from = BufReader::with_capacity(SECTION, from);
    let mut unsealer = match Unsealer::begin(from, FORMAT) {
        Ok(unsealer) => unsealer,
        Err(error) => return Err((error.into(), 0)),
    };
    match unsealer.next() {
        Ok(Some((HEAD, found))) if found == id => {}
        Ok(Some((HEAD, _))) => return Ok(Found::Stale),
        Ok(_) => return Err((Damage::Order, 0)),
        Err(error) => return Err((error.into(), 0)),
    }
    let mut end = JournalEnd { digest: unsealer.digest(), len: unsealer.position(), versions: 0 };
    let mut patches: Vec<u8> = Vec::new();
    loop {
        let at = unsealer.position();
        let damage = |damage: Damage| (damage, at);
        match unsealer.next() {
            Ok(None) if at == end.len => return Ok(Found::Whole(end)),
            Ok(None) | Err(SectionError::CutShort) => return Ok(Found::Cut),
            Err(SectionError::Checksum) => {
                let torn =
                    unsealer.ends_in_zeros().map_err(|error| damage(SectionError::from(error).into()))?;
                return if torn { Ok(Found::Cut) } else { Err(damage(SectionError::Checksum.into())) };
            }
            Err(error) => return Err(damage(error.into())),
            Ok(Some((PATCH, payload))) => patches.extend_from_slice(payload),
            Ok(Some((COMMIT, payload))) => {
                let mut from = Take(payload);
                let taken = Facts::take(&mut from, zone).filter(|_| from.is_empty());
                let new = taken.ok_or_else(|| damage(Damage::Field))?;
                apply(&patches, &new, slots).ok_or_else(|| damage(Damage::Field))?;
                *facts = new;
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

/// Writes the slots of `patches` over those of before; `None` when they do not fit.
fn apply(patches: &[u8], facts: &Facts, slots: &mut [u8]) -> Option<()> {
    let slot_len: usize = facts.keys.iter().map(|key| usize::from(key.rrsig_len) + 2).sum();
    let mut from = Take(patches);
    while !from.is_empty() {
        let start = (from.u32()? as usize).checked_mul(slot_len)?;
        let octets = from.octets(slot_len)?;
        slots.get_mut(start..start.checked_add(slot_len)?)?.copy_from_slice(octets);
    }
    Some(())
}
