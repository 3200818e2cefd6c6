//! Which zones stay though no file of the folder, and no catalog, has them. Removals of both are judged here alone.

use std::collections::{BTreeMap, HashSet};

use super::{FilesRead, OriginState, Settings};
use crate::config::zone_files::{CatalogTroubleKind, LeftOut, Origin, Removal, ZoneSource, release};
use crate::config::{Config, ZoneConfig};
use crate::dns::Name;
use crate::policy::{PolicyFinding, Severity};
use crate::removal_limit::{self, MAX_REMOVAL};
use crate::shared::Shared;
use crate::time::Timestamp;

use std::path::Path;

/// Zones that a message names.
const NAMED: usize = 5;

/// The zones that left the folder, or a catalog.
#[derive(Default)]
struct Gone {
    zones: Vec<Shared<ZoneConfig>>,
    /// The number of zones in use that had come from there.
    total: usize,
}

/// The zones in use that no file has.
#[derive(Default)]
pub(super) struct Kept {
    /// Those that stay: zones of files with errors, and zones that are held.
    pub zones: Vec<Shared<ZoneConfig>>,
    /// Those of them that are held until a file has them or a person releases them.
    pub held: Vec<Name>,
    /// Those that were not in use any more, because nothing that was said of them can be used, and that have not gone.
    pub left_out: Vec<LeftOut>,
    /// What went in this hour.
    pub removals: Vec<Removal>,
}

impl FilesRead {
    /// Decides what becomes of the zones in use that no file and no catalog has, and notes what is to be said of them.
    pub(super) fn keep(
        &mut self,
        in_use: &Config,
        main: &[Shared<ZoneConfig>],
        settings: &Settings<'_>,
        state_dir: Option<&Path>,
        now: Timestamp,
    ) -> Kept {
        let mut kept = Kept { removals: in_use.zone_files.removals.clone(), ..Kept::default() };
        kept.removals.retain(|gone| removal_limit::counts(gone.at, now));
        let taken: HashSet<&Name> = main.iter().chain(&self.zones).map(|zone| &zone.name).collect();
        let released = state_dir.map_or_else(|| Ok(HashSet::new()), |folder| release::read(folder, now));
        let is_released = |zone: &Name| released.as_ref().is_ok_and(|released| released.contains(zone));
        let mut gone: BTreeMap<Origin, Gone> = BTreeMap::new();
        for zone in &in_use.zones {
            let (Some(file), Some(origin)) = (zone.source.file(), zone.source.origin()) else { continue };
            let is_unread = self.state(&origin) == Some(OriginState::Unread);
            let gone = gone.entry(origin).or_default();
            gone.total += 1;
            if taken.contains(&zone.name) {
                continue;
            }
            if is_unread || self.bad.contains_key(&**file) {
                kept.zones.push(zone.clone());
            } else if !is_released(&zone.name) {
                if self.may_name(&zone.name) { &mut kept.zones } else { &mut gone.zones }.push(zone.clone());
            }
        }
        for left in &in_use.zone_files.left_out {
            let stays = self.state(&left.origin) != Some(OriginState::HasZones)
                || self.bad.contains_key(&*left.file)
                || self.may_name(&left.zone);
            if stays && !taken.contains(&left.zone) && !is_released(&left.zone) {
                kept.left_out.push(left.clone());
            }
        }
        if let (Err(error), true) = (&released, gone.values().any(|gone| !gone.zones.is_empty())) {
            let what = format!("what was released cannot be read: {error}");
            self.findings.push(settings.place().error(what));
            self.passes.push(true);
        }
        for (origin, gone) in gone {
            self.hold(origin, gone, in_use, settings, (released.is_err(), now), &mut kept);
        }
        for left in &kept.left_out {
            self.findings.push(PolicyFinding {
                severity: Severity::Error,
                path: left.file.to_path_buf(),
                line: 1,
                what: format!(
                    "the zone {} was in use before this start and is not now: neither the file nor what was remembered of it can be used; it is tried again each minute",
                    left.zone
                ),
            });
            self.passes.push(true);
        }
        kept
    }

    /// True when a file with errors names the zone, or may do so: then the zone may have moved there.
    fn may_name(&self, zone: &Name) -> bool {
        self.bad.values().any(|names| names.as_ref().is_none_or(|names| names.contains(zone)))
    }

    /// `None` for a folder or a catalog that the configuration does not take zones from any more.
    fn state(&self, origin: &Origin) -> Option<OriginState> {
        self.origins.get(origin).copied()
    }

    /// Lets zones go, or holds them: those that were held before, those of a folder or a catalog that is not configured any more, and all others where they
    /// are too many for this hour. Of a folder without any file none goes by itself, since one that is not mounted looks like that; nor of a catalog
    /// without any zone, which its producer may have lost (RFC 9432 section 6).
    fn hold(
        &mut self,
        origin: Origin,
        Gone { zones: gone, total }: Gone,
        in_use: &Config,
        settings: &Settings<'_>,
        (all, now): (bool, Timestamp),
        kept: &mut Kept,
    ) {
        let held_before: HashSet<&Name> = in_use.zone_files.held.iter().collect();
        let folder = settings.folder.as_ref().map(|(path, _)| path.as_path());
        let state = self.state(&origin);
        let is_elsewhere = |zone: &ZoneConfig| match &zone.source {
            ZoneSource::ZoneFile(file) => file.parent() != folder,
            ZoneSource::MainFile | ZoneSource::Member(_) => state.is_none(),
        };
        let (mut held, fresh): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|zone| all || held_before.contains(&zone.name) || is_elsewhere(zone));
        let before = kept.removals.iter().filter(|gone| gone.origin == origin);
        let before: usize = before.map(|gone| gone.zones).sum();
        let limit = match settings.max_removal.unwrap_or(MAX_REMOVAL) {
            percent if percent < 100 && state != Some(OriginState::HasZones) => 0,
            percent => removal_limit::limit(percent, total + before),
        };
        if fresh.is_empty() || fresh.len() + before > limit {
            held.extend(fresh);
        } else {
            kept.removals.push(Removal { at: now, zones: fresh.len(), origin: origin.clone() });
        }
        if held.is_empty() {
            return;
        }
        let finding = settings.place().error(held_back(&origin, &held, total));
        match origin {
            Origin::Folder => {
                self.findings.push(finding);
                self.passes.push(false);
            }
            Origin::Catalog(catalog) => {
                self.trouble(catalog, CatalogTroubleKind::Held, held.len(), [finding]);
            }
        }
        kept.held.extend(held.iter().map(|zone| zone.name.clone()));
        kept.zones.extend(held);
    }
}

/// What is said of zones that are held.
fn held_back(origin: &Origin, held: &[Shared<ZoneConfig>], total: usize) -> String {
    let named: Vec<String> = held.iter().take(NAMED).map(|zone| zone.name.zone_label()).collect();
    let more = if held.len() > NAMED { ", ..." } else { "" };
    let (count, named) = (held.len(), named.join(", "));
    match origin {
        Origin::Folder => format!(
            "{count} of the {total} zones of zone files are in no file any more ({named}{more}); more went at once than zones-max-removal allows, or the folder is \
             another one or has no file. They stay as they were: put the files back, mount the folder, or let the zones go by `offline-ksk zone release`"
        ),
        Origin::Catalog(catalog) => format!(
            "{count} of the {total} zones of the catalog {catalog} are not in it any more ({named}{more}); more went at once than zones-max-removal allows, or the \
             catalog has no zone or is not configured any more. They stay as they were: put them back into the catalog, or let them go by `offline-ksk zone release`"
        ),
    }
}
