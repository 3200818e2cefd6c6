//! From records in any order to a [`Zone`], with the checks.

use std::sync::Arc;

use keystore::dns::rdata::RdataError;
use keystore::dns::{Name, Rtype, name, rdata};
use rayon::prelude::*;

use super::block::NodeBlock;
use super::layout::{Layout, NameEntry, Names};
use super::names::NameIndex;
use super::pack::ZonePacker;
use super::placed::{MAX_TABLE, PlacedRecord, to_name};
use super::warnings::{Fate, Judge};
use super::{KeyBuf, Labels, NodeId, Zone, audit, key};
use crate::blocks::Blocks;
use crate::rules::{RecordProblem, ZoneRules};
use crate::sorted::Sorted;
use crate::zonefile::{Record, RecordPlace, SourceFiles, ZoneFileError};

/// Largest TTL in seconds (RFC 2181 section 8).
pub(super) const MAX_TTL: u32 = i32::MAX.unsigned_abs();

/// Collects the records of a zone: push them in any order, then finish.
#[derive(Debug)]
pub struct ZoneBuilder {
    origin: Name,
    names: Names,
    records: Vec<NewRecord>,
    judge: Judge,
}

/// A record whose owner's node is not known yet.
#[derive(Debug, Clone, Copy)]
struct NewRecord {
    /// Index of the owner in [`Names::entries`].
    name: u32,
    rtype: Rtype,
    len: u16,
    ttl: u32,
    /// Where its RDATA stands in [`Names::octets`].
    offset: u32,
    place: RecordPlace,
}

impl ZoneBuilder {
    /// An empty zone at `origin`, judged by the default rules.
    #[must_use]
    pub fn new(origin: &Name) -> Self {
        Self::with_rules(origin, ZoneRules::default())
    }

    /// An empty zone at `origin`, judged by `rules`.
    #[must_use]
    pub fn with_rules(origin: &Name, rules: ZoneRules) -> Self {
        Self {
            origin: origin.clone(),
            names: Names::default(),
            records: Vec::new(),
            judge: Judge::new(rules),
        }
    }

    /// Takes one record. Some are left out with a warning: foreign DNSSEC records, unless the rules keep them (see [`crate::rules::DnssecRecords`]),
    /// and records outside of the zone, unless the rules are strict.
    ///
    /// # Errors
    /// The problem that refuses the whole zone.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), RecordProblem> {
        if name::wire_len(record.owner) != Some(record.owner.len()) {
            return Err(RecordProblem::BadOwner);
        }
        let labels = Labels::of(record.owner).ok_or(RecordProblem::BadOwner)?;
        let Some(below) = labels.below(record.owner, self.origin.as_wire()) else {
            let problem =
                RecordProblem::OutOfZone { owner: to_name(record.owner), zone: self.origin.clone() };
            return self.judge.judge(record.place, problem).map(drop);
        };
        let rtype = record.rtype;
        match rtype {
            _ if self.judge.rules().dnssec.leaves_out(rtype, below == 0) => {
                let problem = match rtype {
                    Rtype::ZONEMD => RecordProblem::StaleZonemd,
                    _ => RecordProblem::ForeignDnssec(rtype),
                };
                return self.judge.judge(record.place, problem).map(drop);
            }
            Rtype(0 | 41 | 128..=255) => return Err(RecordProblem::MetaType(rtype)),
            _ => {}
        }
        let ttl = self.judge_ttl(record)?;
        let len = u16::try_from(record.rdata.len()).map_err(|_| RdataError::TooLong)?;
        rdata::check(rtype, record.rdata)?;
        let growth = record.owner.len() + record.rdata.len() + 2 * name::MAX_NAME;
        if self.names.octets.len().max(self.names.keys.len()) + growth >= MAX_TABLE
            || self.records.len() >= MAX_TABLE / 2
        {
            return Err(RecordProblem::ZoneTooLarge);
        }
        let name = self.name(record.owner, &labels, below);
        let offset = self.names.octets.len() as u32;
        self.records.push(NewRecord { name, rtype, len, ttl, offset, place: record.place });
        self.names.octets.extend_from_slice(record.rdata);
        Ok(())
    }

    /// The TTL to serve a record with.
    fn judge_ttl(&mut self, record: &Record<'_>) -> Result<u32, RecordProblem> {
        if record.ttl > MAX_TTL {
            self.judge.judge(record.place, RecordProblem::TtlTooLarge(record.ttl))?;
            return Ok(0);
        }
        if let Some(max) = self.judge.rules().max_ttl
            && record.ttl > max
        {
            self.judge.judge(record.place, RecordProblem::TtlAboveMax { ttl: record.ttl, max })?;
        }
        Ok(record.ttl)
    }

    /// The index of an owner in [`Names::entries`]; the same again when it is that of the record before.
    fn name(&mut self, owner: &[u8], labels: &Labels, below: usize) -> u32 {
        let names = &mut self.names;
        if names.entries.last().is_none_or(|last| names.owner(last) != owner) {
            let key = KeyBuf::of(owner, labels, below);
            names.entries.push(NameEntry {
                owner: names.octets.len() as u32,
                key: names.keys.len() as u32,
                key_len: key.as_slice().len() as u16,
                owner_len: owner.len() as u8,
                depth: below as u8,
            });
            names.octets.extend_from_slice(owner);
            names.keys.extend_from_slice(key.as_slice());
        }
        names.entries.len() as u32 - 1
    }

    /// Sorts, checks and packs. `files` names the files that the records' places count.
    pub fn finish(mut self, files: SourceFiles) -> Result<Zone, ZoneFileError> {
        let origin_len = self.origin.as_wire().len();
        let mut layout = Layout::new(&self.names, origin_len, |_| true);
        let mut records = self.place_records(&layout);
        if self.leave_out_hidden(&layout, &mut records, &files)? {
            // Names that had hidden records only are gone, and so are the empty non-terminals above them.
            let mut used = vec![false; self.names.entries.len()];
            for record in &records {
                used[record.name as usize] = true;
            }
            layout = Layout::new(&self.names, origin_len, |name| used[name]);
            for record in &mut records {
                record.node = layout.node_of[record.name as usize];
            }
        }
        let Layout { nodes, keys, node_of } = layout;
        // The nodes have what is needed of the names. Of a million names these take 40 MB, and the blocks come on top.
        (self.names.keys, self.names.entries) = (Vec::new(), Vec::new());
        drop(node_of);
        let (count, deepest) =
            (nodes.len(), nodes.iter().map(|node| usize::from(node.depth)).max().unwrap_or(0));
        let packer = ZonePacker::new(&self.origin, &self.names, &files, &mut self.judge, nodes, &keys);
        let packed = packer.pack(&records)?;
        drop(keys);
        if !packed.has_soa {
            let place = records.first().map_or(RecordPlace::default(), |record| record.place);
            let problem = RecordProblem::ApexLacks(self.origin, Rtype::SOA);
            return Err(ZoneFileError::refused(&files, RecordPlace { line: 1, ..place }, problem));
        }
        let blocks: Blocks<NodeBlock> = packed.blocks.into_iter().collect();
        let key_of = |node: NodeId| blocks.get(node.block()).key(node.place());
        let index = NameIndex::new(count, key_of);
        let order = Sorted::new(NodeId::range(0..count).map(|node| (key::prefix(key_of(node)), node)));
        let mut zone = Zone {
            origin: self.origin,
            files,
            warnings: super::Warnings::default(),
            dnssec: self.judge.rules().dnssec,
            lineage: Arc::default(),
            identity: Arc::default(),
            before: None,
            blocks,
            index,
            order,
            free: Vec::new(),
            totals: packed.totals,
            deepest,
        };
        audit::check_targets(&zone, &records, &self.names, &mut self.judge)?;
        zone.warnings = self.judge.into_warnings(&zone.files);
        Ok(zone)
    }

    /// The records by node, type and place in the files, so that which of several spellings or lines is meant is not chance.
    fn place_records(&mut self, layout: &Layout) -> Vec<PlacedRecord> {
        let mut records: Vec<PlacedRecord> = std::mem::take(&mut self.records)
            .into_iter()
            .map(|NewRecord { name, rtype, len, ttl, offset, place }| {
                let node = layout.node_of[name as usize];
                PlacedRecord { node, rtype, len, ttl, offset, place, name }
            })
            .collect();
        records.par_sort_unstable_by_key(|r| (r.node, r.rtype, r.place, r.offset));
        records
    }

    /// Takes out the records that no resolver could see: those below a DNAME (RFC 6672 section 2.4), and at or below a delegation all
    /// but NS, DS and addresses (RFC 1034 section 4.2.1). True when there were any.
    fn leave_out_hidden(
        &mut self,
        layout: &Layout,
        records: &mut Vec<PlacedRecord>,
        files: &SourceFiles,
    ) -> Result<bool, ZoneFileError> {
        let hidden_by = audit::hidden_by(&layout.nodes, records);
        let dnssec = self.judge.rules().dnssec;
        let (names, judge) = (&self.names, &mut self.judge);
        let before = records.len();
        let mut refusal = None;
        records.retain(|record| {
            let Some(problem) = audit::hidden(record, &hidden_by, &layout.nodes, (names, dnssec)) else {
                return true;
            };
            match judge.judge_in(files, record.place, problem) {
                Ok(fate) => fate == Fate::Kept,
                Err(error) => {
                    refusal.get_or_insert(error);
                    true
                }
            }
        });
        refusal.map_or(Ok(records.len() < before), Err)
    }
}
