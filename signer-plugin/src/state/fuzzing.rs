//! The files of the state as octets, for the fuzz targets: made of sections whose checksums are right, and read as at a start.

use std::sync::Arc;

use keystore::dns::{Name, Rtype};
use keystore::exchange::Bundle;
use keystore::time::Timestamp;

use super::facts::{HistoryEnd, Publication, SigningFacts, VersionFacts};
use super::sections::{Sealer, SectionKind, Unsealer};
use super::{ContentStore, FORMAT, advance, content, differences, journal, restore, snapshot};
use crate::difference::{Difference, RecordList};
use crate::signing::{Denial, RestoreTimes, SignedZone, StoredChanges};
use crate::zone::{ContentChange, Zone};

/// Sections of a file: kind and payload.
pub type Sections = Vec<(u8, Vec<u8>)>;

/// The file of these sections, with the checksums that belong to them, and the digest of its last section.
#[must_use]
pub fn seal(sections: &[(u8, Vec<u8>)]) -> (Vec<u8>, [u8; 32]) {
    let sealer = sections.iter().try_fold(Sealer::begin(Vec::new(), FORMAT), |sealer, (kind, payload)| {
        let mut sealer = sealer?;
        sealer.section(SectionKind(*kind), payload)?;
        Ok::<_, std::io::Error>(Ok(sealer))
    });
    let Ok(Ok(sealer)) = sealer else { return (Vec::new(), [0; 32]) };
    let (octets, digest, _) = sealer.finish();
    (octets, digest)
}

/// The sections of a file, up to the first that is damaged.
#[must_use]
pub fn open(octets: &[u8]) -> Sections {
    let mut sections = Sections::new();
    let Ok(mut unsealer) = Unsealer::begin(octets, FORMAT) else { return sections };
    while let Ok(Some((kind, payload))) = unsealer.next() {
        sections.push((kind.0, payload.to_vec()));
    }
    sections
}

/// The files `version` and `changes` of a signed zone; the journal has a version with the same signatures and another serial.
#[must_use]
pub fn stored(signed: &SignedZone, bundle: &Bundle, denial: &Denial, now: Timestamp) -> (Vec<u8>, Vec<u8>) {
    let signing = SigningFacts {
        generation: 3,
        bundle: bundle.clone(),
        keys: signed.signing_keys().collect(),
        published: bundle.keys().map(|dnskey| Publication { dnskey, since: now }).collect(),
        denial: denial.clone(),
        denial_checksum: signed.denial_checksum(),
        made_at_apex: signed.made_at_apex(),
    };
    let mut facts =
        VersionFacts { serial: signed.serial(), made_at: now, signing: Some(signing), history: None };
    let mut version = Vec::new();
    let Ok((id, _)) = snapshot::write(signed, &facts, &mut version) else { return Default::default() };
    let changes = journal::begin(&id).and_then(|(mut octets, end)| {
        let patch = journal::Patch::between(signed, signed);
        facts.made_at = now.plus(1);
        if let Some(patch) = patch {
            octets.extend(journal::encode(&end, &patch, signed, &facts)?.0);
        }
        Ok(octets)
    });
    (version, changes.unwrap_or_default())
}

/// Reads both files as `ZoneState::load` does.
#[must_use]
pub fn read_state(
    version: &[u8],
    changes: &[u8],
    zone: &Name,
    refresh: u32,
    now: Timestamp,
) -> Option<Arc<SignedZone>> {
    let snapshot = snapshot::read(version, zone).ok()?;
    let (mut facts, mut changed) = (snapshot.facts.clone(), StoredChanges::default());
    journal::replay(changes, &snapshot.id, &snapshot.kind(), &mut facts, &mut changed).ok()?;
    let times = RestoreTimes { refresh, now };
    let restored = restore(&snapshot, times).ok()?;
    advance(&restored, &changed, &facts, times).ok().map(Arc::new)
}

/// Base and content that `ContentStore::load` finds in the files `content` and `content-changes`.
#[must_use]
pub fn read_content(content: &[u8], changes: &[u8], zone: &Name) -> Option<[Arc<Zone>; 2]> {
    ContentStore::read(zone, content, changes).map(|found| [found.base, found.current])
}

/// The file `content`, as `ContentStore::replace` writes it, and `content-changes` with the change that leads to `next`.
#[must_use]
pub fn stored_content(base: &Zone, current: &Zone, next: &Zone) -> (Vec<u8>, Vec<u8>) {
    let Ok((octets, id, _)) = content::write(base, current, 1, Vec::new()) else { return Default::default() };
    let most = current.name_count() + next.name_count();
    let change = ContentChange::between(current, next, most).unwrap_or_default();
    let changes = content::begin(&id, 1).and_then(|sealer| content::put_change(sealer, &change));
    (octets, changes.map(|(changes, ..)| changes).unwrap_or_default())
}

/// Differences that follow on each other, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences(Vec<Arc<Difference>>);

/// What a file `differences-0` of a zone holds, where a version names its end as what leads to it.
#[must_use]
pub fn read_differences(octets: &[u8], zone: &Name) -> Option<Differences> {
    let mut unsealer = Unsealer::begin(octets, FORMAT).ok()?;
    while unsealer.next().ok()?.is_some() {}
    let end = HistoryEnd { file: false, digest: unsealer.digest(), len: unsealer.position() };
    differences::read(octets, zone, end).ok().map(Differences)
}

/// The file of a zone with these differences, as `DifferenceStore::save` writes it.
#[must_use]
pub fn stored_differences(history: &Differences, zone: &Name) -> Vec<u8> {
    differences::whole(false, zone, &history.0).map(|(octets, _)| octets).unwrap_or_default()
}

/// What leads from each of these versions to the next one: each has a serial, and one address at one name.
#[must_use]
pub fn differences_of(owner: &Name, versions: &[(u32, [u8; 4])]) -> Differences {
    let owner = owner.as_wire();
    let soa = |serial: u32| {
        let rdata = [&[0, 0][..], &serial.to_be_bytes(), &[0; 16]].concat();
        RecordList::new([(owner.to_vec(), Rtype::SOA, 60, rdata)])
    };
    let content = |address: [u8; 4]| RecordList::new([(owner.to_vec(), Rtype::A, 60, address.to_vec())]);
    let step = |pair: &[(u32, [u8; 4])]| {
        let [old, new] = [pair.first()?, pair.last()?];
        let lists = [old, new].map(|(serial, address)| (*serial, soa(*serial), content(*address)));
        let [(from, old_soa, old), (to, new_soa, new)] = &lists;
        Some(Arc::new(Difference::of_lists((*from, old_soa, old), (*to, new_soa, new))))
    };
    Differences(versions.windows(2).filter_map(step).collect())
}

/// All of them in one; `None` when there are none.
#[must_use]
pub fn merged_differences(history: &Differences) -> Option<Differences> {
    let (first, rest) = history.0.split_first()?;
    let merged = rest.iter().fold((**first).clone(), |merged, next| merged.merged(next));
    Some(Differences(vec![Arc::new(merged)]))
}
