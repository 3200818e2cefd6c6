//! Whether a part of a process has something new to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that is another one after each change of what a part of this process reports, as far as somebody may have to act on it. So the
/// watch of the health knows without asking thousands of zones. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Revision(Arc<AtomicU64>);

impl Revision {
    /// Something is reported anew.
    pub fn change(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
