//! The signed zone written out: as a master file, and record by record.

use std::fmt::Write as _;
use std::io;

use keystore::dns::{Rtype, name, rdata};
use rayon::prelude::*;

use super::{RrsetView, SignedZone};
use crate::zone::{NodeId, Records};

/// A record of a signed zone, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedRecord<'a> {
    /// Owner, uncompressed wire form, case kept.
    pub owner: &'a [u8],
    /// Type of the record.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    /// RDATA, uncompressed wire form.
    pub rdata: &'a [u8],
}

/// Nodes that one task prints; a few hundred kilobytes of text.
const CHUNK: usize = 1024;
/// Chunks printed before any is written: bounds what is held in memory.
const ROUND: usize = 64;

impl SignedZone {
    /// All records: the SOA first, then name by name in canonical order, each RRset followed by its RRSIGs.
    pub fn records(&self) -> impl Iterator<Item = SignedRecord<'_>> {
        self.zone.node_ids().flat_map(move |node| {
            let owner = self.zone.owner(node);
            self.rrsets_in_order(node).flat_map(move |view| {
                let record = move |rtype, rdata| SignedRecord { owner, rtype, ttl: view.ttl, rdata };
                let data = Records(view.data).map(move |rdata| record(view.rtype, rdata));
                data.chain(Records(view.signatures).map(move |rdata| record(Rtype::RRSIG, rdata)))
            })
        })
    }

    /// The RRsets of a node, SOA first, NSEC last.
    fn rrsets_in_order(&self, node: NodeId) -> impl Iterator<Item = RrsetView<'_>> {
        let soa = (node == NodeId::APEX).then(|| self.soa());
        let others = self.rrsets(node).filter(move |view| node != NodeId::APEX || view.rtype != Rtype::SOA);
        soa.into_iter().chain(others).chain(self.nsec_at(node))
    }

    /// Writes the whole signed zone as a master file that other signers' validators read.
    pub fn write_to(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let names = self.zone.name_count();
        for round in (0..names).step_by(CHUNK * ROUND) {
            let end = names.min(round + CHUNK * ROUND);
            let starts: Vec<usize> = (round..end).step_by(CHUNK).collect();
            let texts: Vec<String> = starts
                .par_iter()
                .map(|start| {
                    let mut text = String::new();
                    for node in NodeId::range(*start..end.min(start + CHUNK)) {
                        self.print_node(node, &mut text);
                    }
                    text
                })
                .collect();
            for text in texts {
                out.write_all(text.as_bytes())?;
            }
        }
        out.flush()
    }

    fn print_node(&self, node: NodeId, out: &mut String) {
        let mut owner = String::new();
        // Writing to a String does not fail.
        let _ = name::print_wire(self.zone.owner(node), &mut owner);
        for view in self.rrsets_in_order(node) {
            for (rtype, records) in [(view.rtype, view.data), (Rtype::RRSIG, view.signatures)] {
                for record in Records(records) {
                    out.push_str(&owner);
                    // Writing to a String does not fail.
                    let _ = writeln!(out, "\t{}\tIN\t{}", view.ttl, rdata::to_portable_text(rtype, record));
                }
            }
        }
    }
}
