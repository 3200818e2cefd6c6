//! The digest of the zone (RFC 8976), where it has one.

use keystore::crypto::ZoneDigest;
use keystore::dns::{Rtype, rdata};

use super::InTime;
use super::contents::{NameStatus, ZoneContents};
use super::finding::{ZoneFault, ZoneFinding};

/// The scheme SIMPLE (RFC 8976 section 2.2.2).
const SIMPLE: u8 = 1;

/// Checks each ZONEMD record of a scheme and hash that are known; others are let be (RFC 8976 section 4). `None` = there was
/// not the time for it: a zone may have many, and each is a digest over all of it.
pub(super) fn check(zone: &ZoneContents, in_time: InTime<'_>) -> Option<Vec<ZoneFinding>> {
    let Some(apex) = zone.apex() else { return Some(Vec::new()) };
    let (Some(zonemd), Some(soa)) = (zone.find(apex, Rtype::ZONEMD), zone.find(apex, Rtype::SOA)) else {
        return Some(Vec::new());
    };
    let origin = zone.origin().as_wire();
    let serial_of = |octets: &[u8]| octets.first_chunk().map_or(0, |serial| u32::from_be_bytes(*serial));
    let soa_rdata = soa.rdatas().next().unwrap_or_default();
    let wanted = serial_of(soa_rdata.get(soa_rdata.len().saturating_sub(20)..).unwrap_or_default());
    let mut findings = Vec::new();
    let mut find = |fault| findings.push(ZoneFinding::new(origin, Rtype::ZONEMD, fault));
    for rdata in zonemd.rdatas() {
        if !in_time() {
            return None;
        }
        let Some((head, digest)) = rdata.split_first_chunk::<6>() else { continue };
        let found = serial_of(head);
        if found != wanted {
            find(ZoneFault::DigestSerial { found, wanted });
        }
        if let Some(hash) = ZoneDigest::of_number(head[5]).filter(|_| head[4] == SIMPLE)
            && digest_of(zone, hash) != digest
        {
            find(ZoneFault::DigestWrong);
        }
    }
    Some(findings)
}

/// The digest over all records in canonical order but the apex ZONEMD RRset and its signatures (RFC 8976 section 3.3).
fn digest_of(zone: &ZoneContents, mut hash: ZoneDigest) -> Vec<u8> {
    let apex = zone.origin().as_wire();
    let mut octets = Vec::new();
    for node in zone.nodes().iter().filter(|node| node.standing != NameStatus::OutOfZone) {
        let owner = zone.owner(node);
        for set in zone.rrsets(node) {
            if owner == apex && set.rtype == Rtype::ZONEMD {
                continue;
            }
            let mut records: Vec<(u32, Vec<u8>)> =
                set.records().map(|(ttl, octets)| (ttl, rdata::canonical(set.rtype, octets))).collect();
            records.sort_unstable_by(|a, b| a.1.cmp(&b.1));
            for (ttl, record) in records {
                let covers_zonemd =
                    set.rtype == Rtype::RRSIG && record.starts_with(&Rtype::ZONEMD.0.to_be_bytes());
                if covers_zonemd && owner == apex {
                    continue;
                }
                octets.clear();
                octets.extend_from_slice(owner);
                octets.extend_from_slice(&set.rtype.0.to_be_bytes());
                octets.extend_from_slice(&[0, 1]);
                octets.extend_from_slice(&ttl.to_be_bytes());
                octets.extend_from_slice(&(record.len() as u16).to_be_bytes());
                octets.extend_from_slice(&record);
                hash.update(&octets);
            }
        }
    }
    hash.finish()
}
