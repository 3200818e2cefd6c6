//! Records that come and go, on top of a zone: gathered by name, and made into one change.

use std::collections::BTreeMap;

use keystore::dns::{Rtype, name};

use super::build::MAX_TTL;
use super::change::{ContentChange, NameChange, OwnedRrset};
use super::pack::canonical;
use super::{Records, Zone};

/// A zone that is being edited. Owners and RDATA are uncompressed, and of the zone; RDATA is well-formed.
#[derive(Debug)]
pub(crate) struct Edit<'z> {
    zone: &'z Zone,
    /// By the owner in lower case.
    names: BTreeMap<Box<[u8]>, EditedName>,
}

#[derive(Debug, Clone)]
struct EditedName {
    /// As the zone has it; as it came for a new name.
    owner: Box<[u8]>,
    rrsets: BTreeMap<Rtype, EditedRrset>,
}

/// An RRset as edited so far; it has records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EditedRrset {
    /// TTL in seconds.
    pub ttl: u32,
    /// The RDATA of its records, by their canonical form.
    records: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl EditedRrset {
    /// Without records so far.
    pub const fn new(ttl: u32) -> Self {
        Self { ttl, records: BTreeMap::new() }
    }

    /// The RDATA of its records, in canonical order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.records.values().map(|record| &**record)
    }

    /// True when it has a record that is the same in canonical form.
    pub fn contains(&self, rtype: Rtype, rdata: &[u8]) -> bool {
        self.records.contains_key(&*canonical(rtype, rdata))
    }

    /// Adds a record; false when it has one that is the same in canonical form, which stays.
    pub fn insert(&mut self, rtype: Rtype, rdata: &[u8]) -> bool {
        use std::collections::btree_map::Entry;
        match self.records.entry(canonical(rtype, rdata).into()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(rdata.into());
                true
            }
        }
    }

    /// Keeps the records for which `keeps` says so.
    pub fn retain(&mut self, mut keeps: impl FnMut(&[u8]) -> bool) {
        self.records.retain(|_, record| keeps(record));
    }
}

impl<'z> Edit<'z> {
    pub const fn new(zone: &'z Zone) -> Self {
        Self { zone, names: BTreeMap::new() }
    }

    /// The RRset as edited so far.
    pub fn rrset(&self, owner: &[u8], rtype: Rtype) -> Option<EditedRrset> {
        match self.names.get(&*owner.to_ascii_lowercase()) {
            Some(name) => name.rrsets.get(&rtype).cloned(),
            None => {
                let node = self.zone.lookup(owner)?;
                Some(edited(self.zone, self.zone.find(node, rtype)?))
            }
        }
    }

    /// True when the name has the RRset.
    pub fn has(&self, owner: &[u8], rtype: Rtype) -> bool {
        match self.names.get(&*owner.to_ascii_lowercase()) {
            Some(name) => name.rrsets.contains_key(&rtype),
            None => self.zone.lookup(owner).is_some_and(|node| self.zone.find(node, rtype).is_some()),
        }
    }

    /// Number of records of the RRset.
    pub fn record_count(&self, owner: &[u8], rtype: Rtype) -> usize {
        match self.names.get(&*owner.to_ascii_lowercase()) {
            Some(name) => name.rrsets.get(&rtype).map_or(0, |set| set.records.len()),
            None => {
                let found = self.zone.lookup(owner).and_then(|node| self.zone.find(node, rtype));
                found.map_or(0, |id| Records(self.zone.rrset(id).data).count())
            }
        }
    }

    /// The types that a name has.
    pub fn types(&self, owner: &[u8]) -> Vec<Rtype> {
        match self.names.get(&*owner.to_ascii_lowercase()) {
            Some(name) => name.rrsets.keys().copied().collect(),
            None => {
                let node = self.zone.lookup(owner).into_iter();
                node.flat_map(|node| self.zone.rrsets_of(node)).map(|id| self.zone.rrset(id).rtype).collect()
            }
        }
    }

    /// Adds a record. The set takes its TTL (RFC 2181 section 5.2). True when something changed.
    pub fn add(&mut self, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) -> bool {
        let ttl = if ttl > MAX_TTL { 0 } else { ttl };
        let rrsets = &mut self.name(owner).rrsets;
        let set = rrsets.entry(rtype).or_insert_with(|| EditedRrset::new(ttl));
        let same_ttl = std::mem::replace(&mut set.ttl, ttl) == ttl;
        set.insert(rtype, rdata) || !same_ttl
    }

    /// Takes a record away; true when it was there.
    pub fn remove(&mut self, owner: &[u8], rtype: Rtype, rdata: &[u8]) -> bool {
        let rrsets = &mut self.name(owner).rrsets;
        let Some(set) = rrsets.get_mut(&rtype) else { return false };
        let was_there = set.records.remove(&*canonical(rtype, rdata)).is_some();
        if set.records.is_empty() {
            rrsets.remove(&rtype);
        }
        was_there
    }

    /// Takes an RRset away; true when it was there.
    pub fn remove_rrset(&mut self, owner: &[u8], rtype: Rtype) -> bool {
        self.name(owner).rrsets.remove(&rtype).is_some()
    }

    /// Gives a name this RRset, in place of the one that it has; none when there are no records.
    pub fn set(&mut self, owner: &[u8], rtype: Rtype, set: EditedRrset) {
        let rrsets = &mut self.name(owner).rrsets;
        if set.records.is_empty() {
            rrsets.remove(&rtype);
        } else {
            rrsets.insert(rtype, set);
        }
    }

    /// The names that differ from the zone; `None` when none does.
    pub fn finish(self) -> Option<ContentChange> {
        let Self { zone, names } = self;
        let mut changed: Vec<NameChange> = names
            .into_values()
            .filter_map(|EditedName { owner, rrsets }| {
                let rrsets = rrsets.into_iter().map(|(rtype, set)| packed(rtype, &set)).collect();
                let now = NameChange { owner, rrsets };
                let before = zone.lookup(&now.owner).map(|node| NameChange::to_node_of(zone, node));
                let is_same = match &before {
                    Some(before) => before.rrsets == now.rrsets,
                    None => now.rrsets.is_empty(),
                };
                (!is_same).then_some(now)
            })
            .collect();
        changed.sort_by(|a, b| name::canonical_cmp(&a.owner, &b.owner));
        (!changed.is_empty()).then_some(ContentChange { names: changed })
    }

    fn name(&mut self, owner: &[u8]) -> &mut EditedName {
        let zone = self.zone;
        self.names.entry(owner.to_ascii_lowercase().into()).or_insert_with(|| {
            let Some(node) = zone.lookup(owner) else {
                return EditedName { owner: owner.into(), rrsets: BTreeMap::new() };
            };
            let sets = zone.rrsets_of(node).map(|id| (zone.rrset(id).rtype, edited(zone, id)));
            // An empty non-terminal is spelled as whatever made it is.
            let spelled = if zone.is_empty(node) { owner } else { zone.owner(node) };
            EditedName { owner: spelled.into(), rrsets: sets.collect() }
        })
    }
}

/// The RRset of a zone.
fn edited(zone: &Zone, id: super::RrsetId) -> EditedRrset {
    let found = zone.rrset(id);
    let mut set = EditedRrset::new(found.ttl);
    for record in Records(found.data) {
        set.insert(found.rtype, record);
    }
    set
}

/// The RRset as a zone has it.
fn packed(rtype: Rtype, set: &EditedRrset) -> OwnedRrset {
    let mut data = Vec::new();
    for record in set.records() {
        // RDATA has at most 65 535 octets.
        data.extend_from_slice(&(record.len() as u16).to_be_bytes());
        data.extend_from_slice(record);
    }
    let fold = set.records.iter().any(|(canonical, record)| canonical != record);
    OwnedRrset { rtype, ttl: set.ttl, fold, data: data.into() }
}
