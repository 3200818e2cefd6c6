//! Which zones stay though no file of the folder has them.

use std::collections::HashSet;

use super::{FilesRead, Settings};
use crate::config::zone_files::{LeftOut, MAX_REMOVAL, REMOVAL_WINDOW, ZoneSource, release};
use crate::config::{Config, ZoneConfig};
use crate::dns::Name;
use crate::policy::{PolicyFinding, Severity};
use crate::shared::Shared;
use crate::time::Timestamp;

use std::path::Path;

/// Zones that a message names.
const NAMED: usize = 5;

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
    pub removals: Vec<(Timestamp, usize)>,
}

impl FilesRead {
    /// Decides what becomes of the zones in use that no file has, and notes what is to be said of them.
    pub(super) fn keep(
        &mut self,
        in_use: &Config,
        main: &[Shared<ZoneConfig>],
        listed: bool,
        settings: &Settings<'_>,
        state_dir: Option<&Path>,
        now: Timestamp,
    ) -> Kept {
        let mut kept = Kept { removals: in_use.zone_files.removals.clone(), ..Kept::default() };
        kept.removals.retain(|(at, _)| now.since(*at).max(at.since(now)) < REMOVAL_WINDOW);
        let taken: HashSet<&Name> = main.iter().chain(&self.zones).map(|zone| &zone.name).collect();
        let released = state_dir.map_or_else(|| Ok(HashSet::new()), |folder| release::read(folder, now));
        let is_released = |zone: &Name| released.as_ref().is_ok_and(|released| released.contains(zone));
        let (mut gone, mut total) = (Vec::new(), 0);
        for zone in &in_use.zones {
            let ZoneSource::ZoneFile(file) = &zone.source else { continue };
            total += 1;
            if taken.contains(&zone.name) {
                continue;
            }
            if !listed || self.bad.contains_key(&**file) {
                kept.zones.push(zone.clone());
            } else if !is_released(&zone.name) {
                if self.may_name(&zone.name) { &mut kept.zones } else { &mut gone }.push(zone.clone());
            }
        }
        for left in &in_use.zone_files.left_out {
            let stays =
                !listed || self.is_empty || self.bad.contains_key(&*left.file) || self.may_name(&left.zone);
            if stays && !taken.contains(&left.zone) && !is_released(&left.zone) {
                kept.left_out.push(left.clone());
            }
        }
        if let (Err(error), false) = (&released, gone.is_empty()) {
            let what = format!("what was released cannot be read: {error}");
            self.findings.push(settings.place().error(what));
            self.passes.push(true);
        }
        self.hold(gone, in_use, settings, (total, released.is_err(), now), &mut kept);
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

    /// Lets zones go, or holds them: those that were held before, those of another folder, and all others where they are too many for this hour. Of a
    /// folder without any file none goes by itself, since one that is not mounted looks like that.
    fn hold(
        &mut self,
        gone: Vec<Shared<ZoneConfig>>,
        in_use: &Config,
        settings: &Settings<'_>,
        (total, all, now): (usize, bool, Timestamp),
        kept: &mut Kept,
    ) {
        let held_before: HashSet<&Name> = in_use.zone_files.held.iter().collect();
        let folder = settings.folder.as_ref().map(|(path, _)| path.as_path());
        let is_elsewhere = |zone: &ZoneConfig| match &zone.source {
            ZoneSource::ZoneFile(file) => file.parent() != folder,
            ZoneSource::MainFile => false,
        };
        let (mut held, fresh): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|zone| all || held_before.contains(&zone.name) || is_elsewhere(zone));
        let before: usize = kept.removals.iter().map(|(_, count)| count).sum();
        let limit = match settings.max_removal.unwrap_or(MAX_REMOVAL) {
            percent @ 100.. => (total + before) * percent as usize / 100,
            0 => 0,
            _ if self.is_empty => 0,
            percent => ((total + before) * percent as usize / 100).max(1),
        };
        if fresh.is_empty() || fresh.len() + before > limit {
            held.extend(fresh);
        } else {
            kept.removals.push((now, fresh.len()));
        }
        if held.is_empty() {
            return;
        }
        self.findings.push(settings.place().error(held_back(&held, total)));
        self.passes.push(false);
        kept.held = held.iter().map(|zone| zone.name.clone()).collect();
        kept.zones.extend(held);
    }
}

/// What is said of zones that are held.
fn held_back(held: &[Shared<ZoneConfig>], total: usize) -> String {
    let named: Vec<String> = held.iter().take(NAMED).map(|zone| zone.name.zone_label()).collect();
    let more = if held.len() > NAMED { ", ..." } else { "" };
    format!(
        "{} of the {total} zones of zone files are in no file any more ({}{more}); more went at once than zones-max-removal allows, or the folder is \
         another one or has no file. They stay as they were: put the files back, mount the folder, or let the zones go by `offline-ksk zone release`",
        held.len(),
        named.join(", ")
    )
}
