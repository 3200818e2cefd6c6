//! Pauses between tries that do not simply double: between looks at the servers, and after failures at the parent.

use std::time::Duration;

/// Pauses of a row of tries; the last one goes on.
pub(super) struct Pauses(pub &'static [Duration]);

impl Pauses {
    /// The pause after `tries` earlier tries.
    pub fn after(&self, tries: usize) -> Duration {
        self.0.get(tries).or(self.0.last()).copied().unwrap_or_default()
    }
}
