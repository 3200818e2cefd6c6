//! The user behind an order, by number and name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::files::one_line;

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Number of the user, as the kernel names the other side of a socket or the owner of a file.
    pub uid: u32,
    /// Name of the user; `None` when the host knows no name for the number.
    pub name: Option<String>,
}

impl User {
    /// The user with this number.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
        Self { uid, name: user.ok().flatten().map(|user| one_line(&user.name)) }
    }

    /// The user of this process.
    #[must_use]
    pub fn current() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}
