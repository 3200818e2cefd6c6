//! The signed zone written out: as a master file, and record by record.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use keystore::dns::{PortableRtype, Rtype, name, rdata};
use rayon::prelude::*;

use super::denial::{Chain, OwnerBuf};
use super::{RrsetView, SignedZone};
use crate::zone::{NodeId, Records};

/// A record of a signed zone, borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRecord<'a> {
    /// Owner, uncompressed wire form, case kept.
    pub owner: Cow<'a, [u8]>,
    /// Type of the record.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    /// RDATA, uncompressed wire form.
    pub rdata: &'a [u8],
}

/// A record of a signed zone without its own memory, uncompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordRef<'a> {
    /// Letter case as in the zone.
    pub owner: &'a [u8],
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    pub rdata: &'a [u8],
}

/// The place of a record in the order of [`SignedZone::visit`]; the default is that of the first one, the SOA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct VisitPosition {
    /// The name.
    item: usize,
    /// The number of the record at it.
    record: usize,
}

/// Nodes that one task prints; some hundred kilobytes of text.
const CHUNK: usize = 128;
/// Chunks printed before any is written: a few megabytes of text are held at a time, whatever the size of the zone.
const ROUND: usize = 32;

impl SignedZone {
    /// All records: the SOA first, then name by name in canonical order, each RRset followed by its RRSIGs; NSEC3 records last, in the
    /// order of their hashes.
    pub fn records(&self) -> impl Iterator<Item = SignedRecord<'_>> {
        let at_names = self.zone.node_ids().flat_map(move |node| {
            let owner = Cow::Borrowed(self.zone.owner(node));
            self.rrsets_in_order(node).flat_map(move |view| records_of(owner.clone(), view))
        });
        at_names.chain(self.nsec3_members().flat_map(|node| {
            let owner = self.denial_owner(node, &mut OwnerBuf::new()).to_vec();
            records_of(Cow::Owned(owner), self.denial(node))
        }))
    }

    /// Hands all records, from `from` on, to `take` until that gives false. Gives the place of the record that was not taken; `None` when all
    /// were. An NSEC3 record comes behind the RRsets of its name, as they stand together in memory. Nothing is allocated for each record.
    pub(crate) fn visit(
        &self,
        from: VisitPosition,
        take: &mut dyn FnMut(RecordRef<'_>) -> bool,
    ) -> Option<VisitPosition> {
        let mut room = OwnerBuf::new();
        let is_hashed = matches!(self.chain, Chain::Nsec3(_));
        let mut skip = from.record;
        for (item, node) in (from.item..).zip(self.zone.node_ids_from(from.item)) {
            let mut record = 0;
            let mut visit = |owner: &[u8], view: RrsetView<'_>| {
                for (rtype, rdatas) in [(view.rtype, view.data), (Rtype::RRSIG, view.signatures)] {
                    for rdata in Records(rdatas) {
                        let is_due = record >= skip;
                        if is_due && !take(RecordRef { owner, rtype, ttl: view.ttl, rdata }) {
                            return false;
                        }
                        record += 1;
                    }
                }
                true
            };
            let is_at_end = self.rrsets_in_order(node).all(|view| visit(self.zone.owner(node), view))
                && (!is_hashed
                    || !self.is_member(node)
                    || visit(self.denial_owner(node, &mut room), self.denial(node)));
            if !is_at_end {
                return Some(VisitPosition { item, record });
            }
            skip = 0;
        }
        None
    }

    /// The members of the NSEC3 chain that was made here in its order.
    pub(crate) fn nsec3_members(&self) -> impl Iterator<Item = NodeId> {
        let chain = match &self.chain {
            Chain::Nsec3(_) if self.is_given() => None,
            Chain::Nothing | Chain::Nsec => None,
            Chain::Nsec3(chain) => Some(chain.members_from(0)),
        };
        chain.into_iter().flatten()
    }

    /// The RRsets of a node, SOA first, NSEC last.
    fn rrsets_in_order(&self, node: NodeId) -> impl Iterator<Item = RrsetView<'_>> {
        let soa = (node == NodeId::APEX).then(|| self.soa());
        let others = self.rrsets(node).filter(move |view| node != NodeId::APEX || view.rtype != Rtype::SOA);
        soa.into_iter().chain(others).chain(self.nsec_at(node))
    }

    /// Writes the whole signed zone as a master file that other signers' validators read.
    pub fn write_to(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let names: Vec<NodeId> = self.zone.node_ids().collect();
        write_parallel(&names, out, &|node, text| {
            let owner = self.zone.owner(node);
            for view in self.rrsets_in_order(node) {
                print(owner, &view, text);
            }
        })?;
        drop(names);
        let members: Vec<NodeId> = self.nsec3_members().collect();
        write_parallel(&members, out, &|node, text| {
            let mut room = OwnerBuf::new();
            print(self.denial_owner(node, &mut room), &self.denial(node), text);
        })?;
        out.flush()
    }
}

/// The records of an RRset, then its RRSIGs.
fn records_of<'a>(owner: Cow<'a, [u8]>, view: RrsetView<'a>) -> impl Iterator<Item = SignedRecord<'a>> {
    let data = Records(view.data).map(move |rdata| (view.rtype, rdata));
    let all = data.chain(Records(view.signatures).map(|rdata| (Rtype::RRSIG, rdata)));
    all.map(move |(rtype, rdata)| SignedRecord { owner: owner.clone(), rtype, ttl: view.ttl, rdata })
}

/// Prints what stands at these nodes on all cores, and writes it in order.
fn write_parallel(
    nodes: &[NodeId],
    out: &mut dyn io::Write,
    print: &(dyn Fn(NodeId, &mut String) + Sync),
) -> io::Result<()> {
    for round in nodes.chunks(CHUNK * ROUND) {
        let texts: Vec<String> = round
            .par_chunks(CHUNK)
            .map(|chunk| {
                let mut text = String::new();
                chunk.iter().for_each(|node| print(*node, &mut text));
                text
            })
            .collect();
        for text in texts {
            out.write_all(text.as_bytes())?;
        }
    }
    Ok(())
}

fn print(owner: &[u8], view: &RrsetView<'_>, out: &mut String) {
    for (rtype, records) in [(view.rtype, view.data), (Rtype::RRSIG, view.signatures)] {
        let mut head = out.len()..out.len();
        for record in Records(records) {
            if head.is_empty() {
                // Writing to a String does not fail.
                let _ = name::print_wire(owner, out);
                let _ = write!(out, "\t{}\tIN\t{}\t", view.ttl, PortableRtype(rtype));
                head.end = out.len();
            } else {
                out.extend_from_within(head.clone());
            }
            rdata::print_portable(rtype, record, out);
            out.push('\n');
        }
    }
}
