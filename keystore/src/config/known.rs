//! Zones that other tables of the main file name: `[[deliver…]] zones` and `[probe] zones`.

use std::cell::RefCell;

use super::ZoneConfig;
use super::zone_files::ZoneFiles;
use crate::dns::Name;
use crate::policy::PolicyFinding;
use crate::policy::table::Value;
use crate::shared::Shared;

/// The zones that other tables may name.
pub(super) struct KnownZones<'a> {
    /// `None` where that is not known: a zone that is named may be in a file that could not be used.
    zones: Option<&'a [Shared<ZoneConfig>]>,
    /// Zones come and go as files of `zones-directory` or with catalogs, without a look at the main file.
    come_and_go: bool,
    /// What is said of zones that went, and are named.
    missing: RefCell<Vec<PolicyFinding>>,
}

impl<'a> KnownZones<'a> {
    pub fn new(zones: Option<&'a [Shared<ZoneConfig>]>, files: Option<&ZoneFiles>) -> Self {
        let zones = zones.filter(|_| files.is_none_or(|files| files.errors.is_none()));
        let come_and_go = files.is_some_and(|files| {
            files.folder.is_some() || !files.others.is_empty() || !files.held.is_empty()
        });
        Self { zones, come_and_go, missing: RefCell::default() }
    }

    /// Whether `value` may name this zone. An unknown one is an error, but a warning where it may have gone with its file.
    pub fn allow(&self, name: &Name, value: &Value<'_, '_>) -> bool {
        if self.zones.is_none_or(|zones| zones.iter().any(|zone| zone.name == *name)) {
            return true;
        }
        if self.come_and_go {
            let what = format!(
                "{name} is no [[zone]] of this file, of zones-directory or of a catalog; take it out, or add the zone"
            );
            self.missing.borrow_mut().push(value.warning(&what));
        } else {
            value.error(format!("{name} is no [[zone]] of this file"));
        }
        self.come_and_go
    }

    /// What is said of zones that went, and are named.
    pub fn into_missing(self) -> Vec<PolicyFinding> {
        self.missing.into_inner()
    }
}
