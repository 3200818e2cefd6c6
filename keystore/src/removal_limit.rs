//! How many zones may go within an hour without a person's word: of the folder of zone files, of a catalog that zones are taken from, and of one that this
//! host makes.

use crate::time::Timestamp;

/// Default of `zones-max-removal`, in percent.
pub const MAX_REMOVAL: u32 = 10;
/// Removals of so many seconds count together.
pub const REMOVAL_WINDOW: u64 = 3600;

/// True while a removal at `at` counts. A clock that was set back since then forgets none for longer.
#[must_use]
pub const fn counts(at: Timestamp, now: Timestamp) -> bool {
    let (before, after) = (now.since(at), at.since(now));
    before < REMOVAL_WINDOW && after < REMOVAL_WINDOW
}

/// How many of `total` zones may go: `percent` of them, and one at least unless none may.
#[must_use]
pub const fn limit(percent: u32, total: usize) -> usize {
    let share = total * percent as usize / 100;
    if share == 0 && percent > 0 { 1 } else { share }
}
