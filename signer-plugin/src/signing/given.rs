//! A version for which nothing is made here: it has the records of its zone, and another serial where that has to be.

use std::sync::{Arc, OnceLock};

use keystore::time::Timestamp;

use super::block::BlockFacts;
use super::denial::Chain;
use super::tally::Tally;
use super::{Basis, SignedZone, SigningTimes, soa_with_serial};
use crate::blocks::Blocks;
use crate::zone::Zone;

impl SignedZone {
    /// A version of a zone without any DNSSEC records; `serial` is the SOA serial to serve.
    pub(crate) fn unsigned(zone: &Arc<Zone>, serial: u32) -> Self {
        let times = SigningTimes { validity: 0, refresh: 0, jitter: 0 };
        Self {
            zone: Arc::clone(zone),
            serial,
            keys: Vec::new(),
            slot_len: 0,
            blocks: Blocks::from_iter([]),
            facts: Vec::new(),
            all: BlockFacts::NOTHING,
            renewed: None,
            chain: Chain::Nothing,
            soa: soa_with_serial(zone, serial),
            negative_ttl: zone.negative_ttl(),
            apex: Vec::new(),
            earliest_ksk: Timestamp::MAX,
            tally: Tally::NOTHING,
            basis: Basis { times, retiring: Vec::new(), made_at: Timestamp::MAX },
            no_apex_wildcard: OnceLock::new(),
        }
    }

    /// True for a version that proves nothing, as its zone is not signed.
    pub(crate) const fn is_unsigned(&self) -> bool {
        matches!(self.chain, Chain::Nothing)
    }
}
