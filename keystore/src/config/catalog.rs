//! `[[catalog]]`: catalog zones (RFC 9432) that this host makes.

use std::path::{Path, PathBuf};

use super::ZoneConfig;
use super::transfer::{AllowTransfer, NotifyTarget};
use crate::dns::Name;

/// A catalog zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogConfig {
    /// Its name (`zone`).
    pub zone: Name,
    /// `groups`: only zones of these groups are in it; `None` = all zones that this host serves.
    pub groups: Option<Vec<String>>,
    /// `allow-transfer`: who may transfer it, and ask for its SOA record; by default as in `[transfer]`. Nobody is answered anything else.
    pub allow_transfer: Vec<AllowTransfer>,
    /// `notify`: who is told of each new version; by default as in `[transfer]`.
    pub notify: Vec<NotifyTarget>,
}

/// What a catalog says of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberConfig {
    /// `group`: its property of this name.
    pub group: Option<String>,
    /// `change-of-ownership`: the catalog that consumers are to take it from in time, its property `coo`.
    pub coo: Option<Name>,
}

impl CatalogConfig {
    /// True for a zone that stands in this catalog: the host serves it, and it is of one of the groups.
    #[must_use]
    pub fn has(&self, zone: &ZoneConfig) -> bool {
        let is_of_group =
            |groups: &Vec<String>| zone.member.group.as_ref().is_some_and(|g| groups.contains(g));
        zone.has_content() && self.groups.as_ref().is_none_or(is_of_group)
    }
}

/// The folder of catalogs below a state folder.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("catalogs")
}

/// The file of a catalog below a state folder.
#[must_use]
pub fn path(state_dir: &Path, catalog: &Name) -> PathBuf {
    folder(state_dir).join(catalog.file_name())
}
