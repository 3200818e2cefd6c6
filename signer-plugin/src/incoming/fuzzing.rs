//! What a primary sends, taken over without a socket, for the fuzz targets.

use keystore::time::Timestamp;

use super::content::{Gathered, Gathering};
use super::look::soa_of;
use super::stream::{StreamLimits, TransferProgress, TransferRequest, TransferStream};
use crate::rules::ZoneRules;
use crate::zone::Zone;

/// The ID of the query that the messages answer.
const ID: u16 = 1;
/// Octets and records of a transfer that are taken.
const LIMITS: StreamLimits = StreamLimits { octets: 1 << 20, records: 10_000 };

/// The zone that a transfer makes of `here`, which was asked for as a whole (AXFR) or from the serial on that `here` has (IXFR); `None` when
/// nothing is taken over.
pub fn receive(
    here: &Zone,
    is_whole: bool,
    messages: impl IntoIterator<Item = Vec<u8>>,
    now: Timestamp,
) -> Option<Zone> {
    let soa = soa_of(here);
    let request = if is_whole { TransferRequest::Axfr(None) } else { TransferRequest::Ixfr(&soa) };
    let begun = TransferStream::begin(here.origin(), request, None, LIMITS, ID, now);
    let (_, mut stream) = begun.ok()?;
    let mut gathering = Gathering::new(here.origin().clone(), ZoneRules::default());
    for message in messages {
        match stream.take(message, now, &mut |event| gathering.put(event)).ok()? {
            TransferProgress::Goes => {}
            TransferProgress::Nothing { .. } => return None,
            TransferProgress::Whole { .. } | TransferProgress::Differences { .. } => {
                return match gathering.finish(Some(here)).ok()? {
                    Gathered::Whole(zone) => Some(*zone),
                    Gathered::Change(change) => here.changed_checked(&change?).ok(),
                };
            }
        }
    }
    None
}
