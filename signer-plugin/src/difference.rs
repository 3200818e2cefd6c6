//! What changed between two versions of a zone, as records: the value that an IXFR is made of (RFC 1995).
//!
//! ```text
//! version 7 ─┐                                ┌─ removed: records of 7 that 8 does not have
//!            ├─ Difference::between ─▶ 7 ▶ 8 ─┤
//! version 8 ─┘                                └─ added:   records of 8 that 7 does not have
//!
//! 7 ▶ 8, then 8 ▶ 9   = merged =▶   7 ▶ 9     what was added and removed again is in neither list
//! ```
//!
//! RRSIG, NSEC and NSEC3 records are records like all others. Records whose TTL or letter case differs are different records: a secondary
//! is to have what we have. The SOA records of both versions are kept beside the lists, as an IXFR has them at fixed places.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::HashSet;

use keystore::dns::Rtype;
use keystore::dns::name::{canonical_cmp, wire_len};

use crate::signing::denial::OwnerBuf;
use crate::signing::{RecordRef, RrsetView, SignedZone};
use crate::zone::{NodeId, Records};

/// What changed from one version of a zone to a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    from: u32,
    to: u32,
    old_soa: RecordList,
    new_soa: RecordList,
    removed: RecordList,
    added: RecordList,
}

/// Records in one piece of memory, in the order of [`order`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RecordList {
    /// For each record its type, TTL, length of RDATA, length of owner, owner, RDATA.
    octets: Vec<u8>,
}

/// Where a record of a list begins; the default is that of the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ListPlace(usize);

impl Difference {
    /// Looks at the names that the versions do not share; where they share none, walks both in canonical order. Both must be of one zone. `None` when the records take more than `most` octets: the walk ends
    /// there, as the whole zone is sent then.
    pub fn between(old: &SignedZone, new: &SignedZone, most: usize) -> Option<Self> {
        let mut changes = Changes { most, ..Changes::default() };
        match new.nodes_not_shared(old) {
            Some(nodes) => changes.nodes(old, new, &nodes),
            None => {
                changes.names(old, new);
                changes.nsec3(old, new);
            }
        }
        changes.is_in_bounds().then(|| Self {
            from: old.serial(),
            to: new.serial(),
            old_soa: soa(old),
            new_soa: soa(new),
            removed: RecordList::sorted(changes.removed),
            added: RecordList::sorted(changes.added),
        })
    }

    /// What leads from one list of records to another; each comes with its serial and its SOA record, which is not in the list.
    pub fn of_lists(old: (u32, &RecordList, &RecordList), new: (u32, &RecordList, &RecordList)) -> Self {
        Self {
            from: old.0,
            to: new.0,
            old_soa: old.1.clone(),
            new_soa: new.1.clone(),
            removed: old.2.without(new.2),
            added: new.2.without(old.2),
        }
    }

    /// True when nothing differs, not even a signature.
    pub fn is_empty(&self) -> bool {
        self.old_soa == self.new_soa && self.removed.octets.is_empty() && self.added.octets.is_empty()
    }

    /// The serial that a secondary must have for this.
    pub const fn from(&self) -> u32 {
        self.from
    }

    /// The serial that it has afterwards.
    pub const fn to(&self) -> u32 {
        self.to
    }

    /// The lists in the order of an IXFR with one pair (RFC 1995 section 4).
    pub const fn lists(&self) -> [&RecordList; 6] {
        [&self.new_soa, &self.old_soa, &self.removed, &self.new_soa, &self.added, &self.new_soa]
    }

    /// Octets of memory.
    pub fn octets(&self) -> usize {
        self.lists()[1..5].iter().map(|list| list.octets.len()).sum()
    }

    /// Appends it as octets.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.from.to_be_bytes());
        out.extend_from_slice(&self.to.to_be_bytes());
        for list in [&self.old_soa, &self.new_soa, &self.removed, &self.added] {
            out.extend_from_slice(&(list.octets.len() as u32).to_be_bytes());
            out.extend_from_slice(&list.octets);
        }
    }

    /// The difference that [`Self::put`] has made these octets of; `None` when they are none.
    pub fn take(octets: &[u8]) -> Option<Self> {
        let (from, rest) = octets.split_first_chunk()?;
        let (to, mut rest) = rest.split_first_chunk()?;
        let mut list = || {
            let (len, behind) = rest.split_first_chunk()?;
            let (list, behind) = behind.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            rest = behind;
            RecordList::checked(list)
        };
        let (old_soa, new_soa, removed, added) = (list()?, list()?, list()?, list()?);
        let (from, to) = (u32::from_be_bytes(*from), u32::from_be_bytes(*to));
        rest.is_empty().then_some(Self { from, to, old_soa, new_soa, removed, added })
    }

    /// This difference and then `next`, which begins where this one ends, in one.
    pub fn merged(&self, next: &Self) -> Self {
        Self {
            from: self.from,
            to: next.to,
            old_soa: self.old_soa.clone(),
            new_soa: next.new_soa.clone(),
            removed: self.removed.without(&next.added).union(&next.removed.without(&self.added)),
            added: self.added.without(&next.removed).union(&next.added.without(&self.removed)),
        }
    }
}

fn soa(zone: &SignedZone) -> RecordList {
    let view = zone.soa();
    let mut list = RecordList::default();
    for rdata in Records(view.data) {
        let owner = zone.zone().owner(NodeId::APEX);
        list.push(&RecordRef { owner, rtype: view.rtype, ttl: view.ttl, rdata });
    }
    list
}

/// Octets of a record in front of its owner.
const FIXED: usize = 9;

impl RecordList {
    /// These records: owner, type, TTL and RDATA of each.
    pub fn new(records: impl IntoIterator<Item = (Vec<u8>, Rtype, u32, Vec<u8>)>) -> Self {
        let owned = |(owner, rtype, ttl, rdata): (Vec<u8>, Rtype, u32, Vec<u8>)| OwnedRecord {
            owner: owner.into(),
            rtype,
            ttl,
            rdata: rdata.into(),
        };
        Self::sorted(records.into_iter().map(owned).collect())
    }

    /// The list that has these octets; `None` when they are none.
    fn checked(octets: &[u8]) -> Option<Self> {
        let list = Self { octets: octets.to_vec() };
        let mut place = ListPlace::default();
        while let Some((record, next)) = list.get(place) {
            if wire_len(record.owner) != Some(record.owner.len()) {
                return None;
            }
            place = next;
        }
        (place.0 == octets.len()).then_some(list)
    }

    /// Octets of memory.
    pub const fn octets(&self) -> usize {
        self.octets.len()
    }

    fn sorted(mut records: Vec<OwnedRecord>) -> Self {
        records.sort_unstable_by(|a, b| order(&a.borrow(), &b.borrow()));
        let mut list = Self::default();
        for record in &records {
            list.push(&record.borrow());
        }
        list.octets.shrink_to_fit();
        list
    }

    fn push(&mut self, record: &RecordRef<'_>) {
        self.octets.extend_from_slice(&record.rtype.0.to_be_bytes());
        self.octets.extend_from_slice(&record.ttl.to_be_bytes());
        self.octets.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
        self.octets.push(record.owner.len() as u8);
        self.octets.extend_from_slice(record.owner);
        self.octets.extend_from_slice(record.rdata);
    }

    /// The record at `place`, and the place of the next one; `None` behind the last one.
    pub fn get(&self, place: ListPlace) -> Option<(RecordRef<'_>, ListPlace)> {
        let (fixed, rest) = self.octets.get(place.0..)?.split_first_chunk::<FIXED>()?;
        let [t0, t1, l0, l1, l2, l3, d0, d1, owner] = *fixed;
        let rdata = usize::from(u16::from_be_bytes([d0, d1]));
        let (owner, rest) = rest.split_at_checked(usize::from(owner))?;
        let record = RecordRef {
            owner,
            rtype: Rtype(u16::from_be_bytes([t0, t1])),
            ttl: u32::from_be_bytes([l0, l1, l2, l3]),
            rdata: rest.get(..rdata)?,
        };
        Some((record, ListPlace(place.0 + FIXED + owner.len() + rdata)))
    }

    /// All records, in order.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let mut place = ListPlace::default();
        std::iter::from_fn(move || {
            let (record, next) = self.get(place)?;
            place = next;
            Some(record)
        })
    }

    /// The records that `other` does not have.
    fn without(&self, other: &Self) -> Self {
        let mut list = Self::default();
        let mut others = other.iter().peekable();
        for record in self.iter() {
            while others.next_if(|o| order(o, &record) == Ordering::Less).is_some() {}
            if others.next_if(|o| order(o, &record) == Ordering::Equal).is_none() {
                list.push(&record);
            }
        }
        list
    }

    /// The records of both, in order.
    fn union(&self, other: &Self) -> Self {
        let mut list = Self { octets: Vec::with_capacity(self.octets.len() + other.octets.len()) };
        let mut others = other.iter().peekable();
        for record in self.iter() {
            while let Some(other) = others.next_if(|o| order(o, &record) == Ordering::Less) {
                list.push(&other);
            }
            list.push(&record);
        }
        others.for_each(|other| list.push(&other));
        list
    }
}

/// The order of records in a list: canonical order of owners, then type, RDATA, TTL and the letter case of the owner.
fn order(a: &RecordRef<'_>, b: &RecordRef<'_>) -> Ordering {
    canonical_cmp(a.owner, b.owner)
        .then(a.rtype.cmp(&b.rtype))
        .then_with(|| a.rdata.cmp(b.rdata))
        .then(a.ttl.cmp(&b.ttl))
        .then_with(|| a.owner.cmp(b.owner))
}

struct OwnedRecord {
    owner: Box<[u8]>,
    rtype: Rtype,
    ttl: u32,
    rdata: Box<[u8]>,
}

impl OwnedRecord {
    /// Octets in a list.
    fn octets(&self) -> usize {
        FIXED + self.owner.len() + self.rdata.len()
    }

    fn borrow(&self) -> RecordRef<'_> {
        RecordRef { owner: &self.owner, rtype: self.rtype, ttl: self.ttl, rdata: &self.rdata }
    }
}

/// What a walk has found so far.
#[derive(Default)]
struct Changes {
    removed: Vec<OwnedRecord>,
    added: Vec<OwnedRecord>,
    /// Octets of the records so far, and how many they may be.
    octets: usize,
    most: usize,
}

impl Changes {
    const fn is_in_bounds(&self) -> bool {
        self.octets <= self.most
    }

    /// The RRsets at these names and their NSEC3 records, where the versions share all else.
    fn nodes(&mut self, old: &SignedZone, new: &SignedZone, nodes: &[NodeId]) {
        let (old_zone, new_zone) = (old.zone(), new.zone());
        let (mut old_room, mut new_room) = (OwnerBuf::new(), OwnerBuf::new());
        for node in nodes {
            if !self.is_in_bounds() {
                return;
            }
            let both = (old_zone.exists(*node), new_zone.exists(*node));
            if both == (true, true) && old_zone.owner(*node) == new_zone.owner(*node) {
                if !sets(old, *node).eq(sets(new, *node)) {
                    self.node(old_zone.owner(*node), (sets(old, *node), sets(new, *node)));
                }
            } else {
                if both.0 {
                    self.put(Side::Removed, old_zone.owner(*node), sets(old, *node));
                }
                if both.1 {
                    self.put(Side::Added, new_zone.owner(*node), sets(new, *node));
                }
            }
            let is_hashed = |zone: &SignedZone, exists| exists && !zone.has_nsec() && zone.is_member(*node);
            let before =
                is_hashed(old, both.0).then(|| (old.denial_owner(*node, &mut old_room), old.denial(*node)));
            let after =
                is_hashed(new, both.1).then(|| (new.denial_owner(*node, &mut new_room), new.denial(*node)));
            match (before, after) {
                (before, after) if before == after => {}
                (Some((owner, before)), Some((same, after))) if owner == same => {
                    self.node(owner, ([before].into_iter(), [after].into_iter()));
                }
                (before, after) => {
                    before
                        .into_iter()
                        .for_each(|(owner, view)| self.put(Side::Removed, owner, [view].into_iter()));
                    after
                        .into_iter()
                        .for_each(|(owner, view)| self.put(Side::Added, owner, [view].into_iter()));
                }
            }
        }
    }

    /// The RRsets at names, NSEC records among them.
    fn names(&mut self, old: &SignedZone, new: &SignedZone) {
        let (old_zone, new_zone) = (old.zone(), new.zone());
        let mut news = new_zone.node_ids().peekable();
        for node in old_zone.node_ids() {
            if !self.is_in_bounds() {
                return;
            }
            let key = old_zone.key(node);
            while let Some(added) = news.next_if(|n| new_zone.key(*n) < key) {
                self.put(Side::Added, new_zone.owner(added), sets(new, added));
            }
            match news.next_if(|n| new_zone.key(*n) == key) {
                Some(same) if old_zone.owner(node) == new_zone.owner(same) => {
                    if !sets(old, node).eq(sets(new, same)) {
                        self.node(old_zone.owner(node), (sets(old, node), sets(new, same)));
                    }
                }
                same => {
                    self.put(Side::Removed, old_zone.owner(node), sets(old, node));
                    if let Some(same) = same {
                        self.put(Side::Added, new_zone.owner(same), sets(new, same));
                    }
                }
            }
        }
        for added in news {
            self.put(Side::Added, new_zone.owner(added), sets(new, added));
        }
    }

    /// The records of the NSEC3 chains, which stand in the order of their owners.
    fn nsec3(&mut self, old: &SignedZone, new: &SignedZone) {
        let (mut old_room, mut new_room) = (OwnerBuf::new(), OwnerBuf::new());
        let mut news = new.nsec3_members().peekable();
        for link in old.nsec3_members() {
            if !self.is_in_bounds() {
                return;
            }
            let owner = old.denial_owner(link, &mut old_room);
            while let Some(added) =
                news.next_if(|n| canonical_cmp(new.denial_owner(*n, &mut new_room), owner) == Ordering::Less)
            {
                let view = new.denial(added);
                self.put(Side::Added, new.denial_owner(added, &mut new_room), [view].into_iter());
            }
            match news.next_if(|n| new.denial_owner(*n, &mut new_room) == owner) {
                Some(same) => {
                    let (before, after) = (old.denial(link), new.denial(same));
                    if before != after {
                        self.node(owner, ([before].into_iter(), [after].into_iter()));
                    }
                }
                None => self.put(Side::Removed, owner, [old.denial(link)].into_iter()),
            }
        }
        for added in news {
            let view = new.denial(added);
            self.put(Side::Added, new.denial_owner(added, &mut new_room), [view].into_iter());
        }
    }

    /// The records of a name that both versions have, by the RRsets of both.
    fn node<'a>(
        &mut self,
        owner: &[u8],
        (old, new): (impl Iterator<Item = RrsetView<'a>>, impl Iterator<Item = RrsetView<'a>>),
    ) {
        let (old, new): (Vec<_>, Vec<_>) = (old.flat_map(records).collect(), new.flat_map(records).collect());
        let (in_old, in_new): (HashSet<_>, HashSet<_>) = (old.iter().collect(), new.iter().collect());
        let kept = |(rtype, ttl, rdata): &(Rtype, u32, &[u8])| OwnedRecord {
            owner: owner.into(),
            rtype: *rtype,
            ttl: *ttl,
            rdata: (*rdata).into(),
        };
        let removed: Vec<_> = old.iter().filter(|record| !in_new.contains(record)).map(kept).collect();
        let added: Vec<_> = new.iter().filter(|record| !in_old.contains(record)).map(kept).collect();
        self.octets += removed.iter().chain(&added).map(OwnedRecord::octets).sum::<usize>();
        self.removed.extend(removed);
        self.added.extend(added);
    }

    /// All records of these RRsets.
    fn put<'a>(&mut self, side: Side, owner: &[u8], views: impl Iterator<Item = RrsetView<'a>>) {
        for (rtype, ttl, rdata) in views.flat_map(records) {
            let record = OwnedRecord { owner: owner.into(), rtype, ttl, rdata: rdata.into() };
            self.octets += record.octets();
            match side {
                Side::Removed => self.removed.push(record),
                Side::Added => self.added.push(record),
            }
        }
    }
}

/// One of the two lists.
#[derive(Clone, Copy)]
enum Side {
    Removed,
    Added,
}

/// The RRsets of a node, without the SOA record itself, whose signatures stay.
fn sets(signed: &SignedZone, node: NodeId) -> impl Iterator<Item = RrsetView<'_>> {
    signed.rrsets(node).chain(signed.nsec_at(node)).map(|view| match view.rtype {
        Rtype::SOA => RrsetView { data: &[], ..view },
        _ => view,
    })
}

/// Types, TTLs and RDATA of the records of an RRset and of its RRSIGs.
fn records(view: RrsetView<'_>) -> impl Iterator<Item = (Rtype, u32, &[u8])> {
    let data = Records(view.data).map(move |rdata| (view.rtype, view.ttl, rdata));
    data.chain(Records(view.signatures).map(move |rdata| (Rtype::RRSIG, view.ttl, rdata)))
}
