//! A version of a zone, as far as transfers have to do with it.

use std::sync::Arc;

use keystore::dns::Rtype;

use crate::difference::{ListPlace, RecordList};
use crate::signing::{RecordRef, SignedZone};
use crate::zone::{NodeId, Records};

/// What is transferred.
#[derive(Debug, Clone)]
pub(crate) enum TransferVersion {
    /// A signed zone.
    Signed(Arc<SignedZone>),
    /// A zone without signatures.
    Plain(Arc<PlainVersion>),
}

/// A version of a zone that is transferred as it is, without signatures.
#[derive(Debug)]
pub(crate) struct PlainVersion {
    serial: u32,
    expire: u32,
    soa: RecordList,
    records: RecordList,
}

impl PlainVersion {
    /// `soa` is owner, TTL and RDATA of the SOA record, and `records` are all others.
    pub fn new(soa: (Vec<u8>, u32, Vec<u8>), records: RecordList) -> Option<Self> {
        let (owner, ttl, rdata) = soa;
        let numbers: [u8; 20] = *rdata.last_chunk()?;
        let number =
            |at: usize| u32::from_be_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
        let soa = RecordList::new([(owner, Rtype::SOA, ttl, rdata)]);
        Some(Self { serial: number(0), expire: number(12), soa, records })
    }

    /// Serial, SOA record and all others.
    pub const fn lists(&self) -> (u32, &RecordList, &RecordList) {
        (self.serial, &self.soa, &self.records)
    }

    pub const fn octets(&self) -> usize {
        self.soa.octets() + self.records.octets()
    }
}

impl TransferVersion {
    /// True for the same version, not only for one with the same content.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Signed(zone), Self::Signed(other)) => Arc::ptr_eq(zone, other),
            (Self::Plain(version), Self::Plain(other)) => Arc::ptr_eq(version, other),
            _ => false,
        }
    }

    pub fn serial(&self) -> u32 {
        match self {
            Self::Signed(zone) => zone.serial(),
            Self::Plain(version) => version.serial,
        }
    }

    /// SOA EXPIRE, in seconds.
    pub fn expire(&self) -> u32 {
        match self {
            Self::Signed(zone) => zone.zone().expire(),
            Self::Plain(version) => version.expire,
        }
    }

    /// About how many octets of memory its records take.
    pub fn octets(&self) -> usize {
        match self {
            Self::Signed(zone) => zone.transfer_octets(),
            Self::Plain(version) => version.octets(),
        }
    }

    /// Hands the SOA record to `put`, and gives what that gives.
    pub fn put_soa(&self, put: &mut dyn FnMut(RecordRef<'_>) -> bool) -> bool {
        match self {
            Self::Signed(zone) => {
                let (view, owner) = (zone.soa(), zone.zone().owner(NodeId::APEX));
                Records(view.data)
                    .all(|rdata| put(RecordRef { owner, rtype: view.rtype, ttl: view.ttl, rdata }))
            }
            Self::Plain(version) => {
                version.soa.get(ListPlace::default()).is_none_or(|(record, _)| put(record))
            }
        }
    }
}
