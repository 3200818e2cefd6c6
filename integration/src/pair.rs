//! Two hosts with the same keys and zones, one of them active: what `offline-ksk serve` with a table `[pair]` has beside its parts.
//!
//! ```text
//! standby ──the lease names this host, and the state is its own──▶ active: all parts of `serve` start on the state that is here
//!    ▲                                                               │ renews the lease; without it the fence closes: nothing is published
//!    └──────────there is a later takeover────────────────────────────┘
//! ```
//!
//! A standby runs no part that changes anything: it loads no keys, takes no SKR, and answers each query with REFUSED. So its state folder can
//! be replaced under it (`offline-ksk pair copy`), and becoming active is a start like any other.

mod command;
mod copy;
mod keeper;
mod serials;
mod standby;

use std::path::Path;

use keystore::lock::{LockError, LockFile};

pub use command::{PairCommand, TakeoverOptions, run, takeover};
pub use keeper::{Keeper, PairStanding, Role};
pub use standby::Standby;

/// Takes the lock of a state folder: whoever works on the files in it, replaces them or takes over holds it.
fn state_lock(state_dir: &Path) -> Result<LockFile, LockError> {
    LockFile::take(&state_dir.join(".pair.lock"))
}

/// This machine: its name for people, and the ID of its boot, which no clone of it has.
fn node() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name.chars().filter(char::is_ascii_graphic).collect();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{name}/{}", boot.trim())
}
