//! The digest of a signed zone (RFC 8976, scheme SIMPLE, SHA-384). It is over every record in canonical order, so that it is made anew for
//! every version, when all signatures are made.

use std::cmp::Ordering;

use keystore::crypto::ZoneDigest;
use keystore::dns::nsec3::LABEL;
use keystore::dns::{Rtype, rdata};
use rayon::prelude::*;

use super::denial::{Chain, OwnerBuf};
use super::{RrsetView, SignedZone};
use crate::zone::{NodeId, Records};

/// Scheme SIMPLE and hash SHA-384 (RFC 8976 section 5.2 and 5.3).
const SIMPLE_SHA384: [u8; 2] = [1, 1];
/// Owners that one task puts into canonical form.
const CHUNK: usize = 128;
/// Tasks whose octets are held before they are hashed: a few megabytes, whatever the size of the zone.
const ROUND: usize = 32;

/// RDATA of the ZONEMD record of `signed`, whose own ZONEMD RRset and signatures do not count (RFC 8976 section 3.3.1).
pub(super) fn rdata(signed: &SignedZone) -> Vec<u8> {
    let mut hash = ZoneDigest::sha384();
    let owners = owners(signed);
    for round in owners.chunks(CHUNK * ROUND) {
        let parts: Vec<Vec<u8>> = round
            .par_chunks(CHUNK)
            .map(|chunk| {
                let mut octets = Vec::new();
                for owner in chunk {
                    put_owner(signed, *owner, &mut octets);
                }
                octets
            })
            .collect();
        for part in parts {
            hash.update(&part);
        }
    }
    [&signed.serial().to_be_bytes()[..], &SIMPLE_SHA384, &hash.finish()].concat()
}

/// An owner of records: a name of the zone, that of an NSEC3 record, or both at once.
#[derive(Debug, Clone, Copy)]
struct Owner {
    node: Option<NodeId>,
    /// The name that its NSEC3 record stands for.
    nsec3: Option<NodeId>,
}

/// All owners in canonical order.
fn owners(signed: &SignedZone) -> Vec<Owner> {
    let zone = signed.zone();
    let mut nodes = zone.node_ids().peekable();
    let Chain::Nsec3(chain) = signed.chain() else {
        return nodes.map(|node| Owner { node: Some(node), nsec3: None }).collect();
    };
    let mut owners = Vec::with_capacity(zone.name_count() + chain.len());
    for link in chain.members_from(0) {
        // The search key of the owner: its one label below the apex.
        let mut key = [0; LABEL];
        key[..LABEL - 1].copy_from_slice(&signed.hash(link).label()[1..]);
        while let Some(node) = nodes.next_if(|node| zone.key(*node) < &key[..]) {
            owners.push(Owner { node: Some(node), nsec3: None });
        }
        let node = nodes.next_if(|node| zone.key(*node).cmp(&key[..]) == Ordering::Equal);
        owners.push(Owner { node, nsec3: Some(link) });
    }
    owners.extend(nodes.map(|node| Owner { node: Some(node), nsec3: None }));
    owners
}

/// Appends the records of an owner in canonical form and order.
fn put_owner(signed: &SignedZone, owner: Owner, out: &mut Vec<u8>) {
    let mut room = OwnerBuf::new();
    let mut records: Vec<(Rtype, u32, Vec<u8>)> = Vec::new();
    let mut add = |view: RrsetView<'_>| {
        for (rtype, octets) in [(view.rtype, view.data), (Rtype::RRSIG, view.signatures)] {
            records.extend(Records(octets).map(|record| (rtype, view.ttl, rdata::canonical(rtype, record))));
        }
    };
    let mut wire = &[][..];
    if let Some(link) = owner.nsec3 {
        add(signed.denial(link));
        wire = signed.denial_owner(link, &mut room);
    }
    if let Some(node) = owner.node {
        let is_digest = |view: &RrsetView<'_>| node == NodeId::APEX && view.rtype == Rtype::ZONEMD;
        let views = signed.rrsets(node).chain(signed.nsec_at(node));
        views.filter(|view| !is_digest(view)).for_each(add);
        wire = signed.zone().owner(node);
    }
    records.sort_unstable_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
    for (rtype, ttl, record) in records {
        let start = out.len();
        out.extend_from_slice(wire);
        out[start..].make_ascii_lowercase();
        out.extend_from_slice(&rtype.0.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(record.len() as u16).to_be_bytes());
        out.extend_from_slice(&record);
    }
}
