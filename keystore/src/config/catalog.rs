//! `[[catalog]]`: catalog zones (RFC 9432) that this host makes, and such that it takes zones from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ZoneConfig;
use super::transfer::{AllowTransfer, NotifyTarget, PrimaryConfig};
use crate::catalog::Member;
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

/// The catalogs of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogs {
    /// Those that it makes.
    pub made: Vec<CatalogConfig>,
    /// Those that it takes zones from.
    pub taken: Vec<TakenCatalog>,
}

impl Catalogs {
    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let made = self.made.iter().map(|catalog| &catalog.zone);
        made.chain(self.taken.iter().map(|catalog| &catalog.zone))
    }
}

/// A catalog whose zones this host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenCatalog {
    /// Its name (`zone`).
    pub zone: Name,
    /// Where it comes from.
    pub source: CatalogSource,
    /// `template`: the file with the `[[zone]]` of a zone without a group that has a template of its own. `None` = such zones are left out.
    pub template: Option<PathBuf>,
    /// `group-templates`: the templates of groups.
    pub group_templates: BTreeMap<String, PathBuf>,
    /// `members-below`: a zone must be at or below one of these; empty = any zone may come.
    pub below: Vec<Name>,
    /// The file that configures it.
    pub file: PathBuf,
}

/// Where a catalog comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogSource {
    /// `file`: a zone file, which is read again when it changes.
    File(PathBuf),
    /// `primaries`: servers that it is transferred from.
    Primaries(Vec<PrimaryConfig>),
}

impl TakenCatalog {
    /// The servers that it is transferred from; none for one that comes from a file.
    #[must_use]
    pub fn primaries(&self) -> &[PrimaryConfig] {
        match &self.source {
            CatalogSource::Primaries(primaries) => primaries,
            CatalogSource::File(_) => &[],
        }
    }

    /// The template of a zone: that of its first group that has one, else that of all.
    #[must_use]
    pub fn template_of(&self, member: &Member) -> Option<&Path> {
        let of_group = |group: &Vec<u8>| self.group_templates.get(std::str::from_utf8(group).ok()?);
        member.groups.iter().find_map(of_group).or(self.template.as_ref()).map(PathBuf::as_path)
    }

    /// All templates.
    pub fn templates(&self) -> impl Iterator<Item = &Path> {
        self.template.iter().chain(self.group_templates.values()).map(PathBuf::as_path)
    }

    /// True for a zone that the catalog may bring in.
    #[must_use]
    pub fn may_have(&self, zone: &Name) -> bool {
        self.below.is_empty() || self.below.iter().any(|above| zone.is_at_or_below(above))
    }
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

/// The file of a catalog that this host makes, below a state folder.
#[must_use]
pub fn path(state_dir: &Path, catalog: &Name) -> PathBuf {
    folder(state_dir).join(catalog.file_name())
}

/// The file of a catalog that this host takes zones from, below a state folder.
#[must_use]
pub fn taken_path(state_dir: &Path, catalog: &Name) -> PathBuf {
    state_dir.join("catalogs-taken").join(catalog.file_name())
}
