//! RRsets as octets, and their canonical form (RFC 4034 section 6).

use super::{Name, Rtype, rdata};

/// An RRset of class IN: records of one owner and type with one TTL.
///
/// `rdatas` hold uncompressed RDATA in wire form, letter case as it came, in the order of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rrset {
    /// Owner name, case kept.
    pub owner: Name,
    /// Type of the records.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    /// RDATA of each record.
    pub rdatas: Vec<Box<[u8]>>,
}

impl Rrset {
    /// The RDATAs in canonical form (embedded names in lower case where RFC 4034 section 6.2 and RFC 6840
    /// section 5.1 ask for it), sorted as octets, without duplicates.
    #[must_use]
    pub fn canonical_rdatas(&self) -> Vec<Vec<u8>> {
        let mut sorted: Vec<Vec<u8>> = self.rdatas.iter().map(|r| rdata::canonical(self.rtype, r)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        sorted
    }
}
