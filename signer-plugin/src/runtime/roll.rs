//! ZSK rolls by RFC 7583: when a key may sign, and when the signatures of the one before are replaced.

use keystore::keys::{Dnskey, Timing};
use keystore::time::Timestamp;

use super::setup::RollDelays;
use crate::state::Publication;

/// When every cache can have a key: a DNSKEY RRset without it may have been fetched just before it was published, from a secondary that
/// was behind (RFC 7583 section 3.2.1, Ipub). `None` for a key that is not published.
pub(super) fn ready_at(
    dnskey: &Dnskey,
    published: &[Publication],
    ttl: u32,
    delays: &RollDelays,
) -> Option<Timestamp> {
    let publication = published.iter().find(|publication| publication.dnskey == *dnskey)?;
    Some(publication.since.plus(u64::from(ttl) + u64::from(delays.publish)))
}

/// When the signatures of a key that signs no more are replaced, one by one from the first time to the second; `None`: as they come due.
///
/// `gone_by` is when none must be left, so that none is in a cache when the key is gone. A key whose Delete time has come is exposed, or of no
/// use for another reason: its signatures are replaced at once.
pub(super) fn replaced(
    timing: Option<&Timing>,
    gone_by: Option<Timestamp>,
) -> Option<(Timestamp, Timestamp)> {
    let (inactive, delete) = timing.map_or((None, None), |timing| (timing.inactive, timing.delete));
    let by_bundles = gone_by.map(|by| (inactive.unwrap_or(by).min(by), by));
    match (delete, by_bundles) {
        // A Delete time in the future says nothing beyond what the bundles say.
        (Some(delete), Some((_, by))) if delete < by => Some((delete, delete)),
        (Some(delete), None) => Some((delete, delete)),
        (_, by_bundles) => by_bundles,
    }
}
