//! Which zones stay though no file of the folder, and no catalog, has them. Removals of both are judged here alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{FilesRead, OriginState, ZoneDocument, ZoneFileSettings, signed_elsewhere};
use crate::config::zone_files::{
    CatalogTroubleKind, LeftOut, Origin, ZoneCount, ZoneFiles, ZoneSource, release,
};
use crate::config::{Config, ZoneConfig};
use crate::dns::Name;
use crate::policy::{PolicyFinding, PolicySeverity};
use crate::removal_limit::{self, MAX_REMOVAL};
use crate::shared::Shared;
use crate::store::{accepted_mark, zone_dir};
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
pub(super) struct KeptZones {
    /// Those that stay: zones of files with errors, and zones that are held.
    pub zones: Vec<Shared<ZoneConfig>>,
    /// Those of them that are held until a file has them or a person releases them.
    pub held: Vec<Name>,
    /// Those that were not in use any more, because nothing that was said of them can be used, and that have not gone.
    pub left_out: Vec<LeftOut>,
    /// What went in this hour.
    pub removals: Vec<ZoneCount>,
    /// What came with catalogs in this hour.
    pub additions: Vec<ZoneCount>,
}

impl FilesRead {
    /// Decides what becomes of the zones in use that no file and no catalog has, and notes what is to be said of them.
    pub(super) fn keep(
        &mut self,
        in_use: &Config,
        main: &[Shared<ZoneConfig>],
        settings: &ZoneFileSettings<'_>,
        state_dir: Option<&Path>,
        now: Timestamp,
    ) -> KeptZones {
        let recent = |counts: &[ZoneCount]| -> Vec<ZoneCount> {
            counts.iter().filter(|count| removal_limit::counts(count.at, now)).cloned().collect()
        };
        let (removals, additions) = (&in_use.zone_files.removals, &in_use.zone_files.additions);
        let mut kept =
            KeptZones { removals: recent(removals), additions: recent(additions), ..KeptZones::default() };
        let released = state_dir.map_or_else(|| Ok(HashSet::new()), |folder| release::read(folder, now));
        let is_released = |zone: &Name| released.as_ref().is_ok_and(|released| released.contains(zone));
        let not_unsigned = self.keep_signed(in_use, &is_released, (settings, state_dir), &mut kept);
        let kept_signed = kept.zones.iter().map(|zone| zone.name.clone()).collect::<HashSet<_>>();
        let main_and_files = main.iter().chain(&self.zones).map(|zone| &zone.name);
        let taken: HashSet<&Name> = main_and_files.chain(&kept_signed).collect();
        let mut gone: BTreeMap<Origin, Gone> = BTreeMap::new();
        for zone in &in_use.zones {
            let (Some(file), Some(origin)) = (zone.source.file(), zone.source.origin()) else { continue };
            let stays = self.state(&origin) == Some(OriginState::Unread)
                || self.bad.contains_key(&**file)
                || self.is_listed(&origin, &zone.name);
            let gone = gone.entry(origin).or_default();
            gone.total += 1;
            if taken.contains(&zone.name) {
                continue;
            }
            if stays {
                kept.zones.push(zone.clone());
            } else if !is_released(&zone.name) {
                if self.may_name(&zone.name) { &mut kept.zones } else { &mut gone.zones }.push(zone.clone());
            }
        }
        for left in &in_use.zone_files.left_out {
            // What a catalog has does not say what it had before: such a zone waits for a person.
            let stays = self.state(&left.origin) != Some(OriginState::HasZones)
                || matches!(left.origin, Origin::Catalog(_))
                || self.bad.contains_key(&*left.file)
                || self.may_name(&left.zone)
                || not_unsigned.contains(&left.zone);
            if stays && !taken.contains(&left.zone) && !is_released(&left.zone) {
                kept.left_out.push(left.clone());
            }
        }
        if let (Err(error), true) = (&released, gone.values().any(|gone| !gone.zones.is_empty())) {
            let what = format!("what was released cannot be read: {error}");
            self.errors.findings.push(settings.place().error(what));
            self.passes.push(true);
        }
        self.count_new(in_use, now, &mut kept);
        // What is held stays held, whatever else keeps it now.
        let held_before: HashSet<&Name> = in_use.zone_files.held.iter().collect();
        let still = kept.zones.iter().map(|zone| &zone.name).filter(|zone| held_before.contains(zone));
        let still: Vec<Name> = still.filter(|zone| !kept.held.contains(zone)).cloned().collect();
        kept.held.extend(still);
        for (origin, gone) in gone {
            self.judge_removal(origin, gone, in_use, settings, (released.is_err(), now), &mut kept);
        }
        for left in &kept.left_out {
            let why = if not_unsigned.contains(&left.zone) {
                "was signed here before this start, and what was remembered of it cannot be used; it is not served unsigned before `offline-ksk zone release`, since a DS may stand at the parent"
            } else {
                "was in use before this start and is not now: neither the file nor what was remembered of it can be used; it is tried again each minute"
            };
            self.errors.findings.push(PolicyFinding {
                severity: PolicySeverity::Error,
                path: left.file.to_path_buf(),
                line: 1,
                what: format!("the zone {} {why}", left.zone),
            });
            self.passes.push(true);
        }
        kept
    }

    /// Keeps zones of files and catalogs signed that would not be signed here from now on, until a person releases them: while a DS record stands at the
    /// parent, validating resolvers would answer SERVFAIL for them at once. Returns the zones that stay left out in place of
    /// that, because what was remembered of them cannot be used.
    fn keep_signed(
        &mut self,
        in_use: &Config,
        is_released: &impl Fn(&Name) -> bool,
        (settings, state_dir): (&ZoneFileSettings<'_>, Option<&Path>),
        kept: &mut KeptZones,
    ) -> HashSet<Name> {
        let accepted = state_dir.map(|folder| folder.join("accepted"));
        // Where it cannot be known whether there is an accepted SKR, there may be one.
        let may_have_skr = |zone: &Name| {
            accepted.as_ref().is_none_or(|folder| {
                accepted_mark(folder, zone).is_some()
                    || !matches!(zone_dir(folder, zone).try_exists(), Ok(false))
            })
        };
        // A person writes the file of one zone. It may say that another host signs the zone from now on ("presigned"), and it may have a zone unsigned
        // that has no accepted SKR, because nobody validates such a zone. A template serves many zones and may be changed by mistake: it ends the
        // signing of no zone, and a file makes no zone unsigned that came from a catalog. The main file is the decision of a person, and is not judged.
        let loses_signer = |zone: &ZoneConfig, before: &Origin| match zone.source {
            ZoneSource::MainFile => false,
            ZoneSource::ZoneFile(_) => {
                let was_member = matches!(before, Origin::Catalog(_));
                !zone.versions.signing.is_signed() && (was_member || may_have_skr(&zone.name))
            }
            ZoneSource::Member(_) => !zone.is_signed_here(),
        };
        let left_out = left_out_signed(&in_use.zone_files);
        let mut signed: HashMap<&Name, (Origin, Option<&Shared<ZoneConfig>>)> =
            left_out.map(|left| (&left.zone, (left.origin.clone(), None))).collect();
        for zone in in_use.zones.iter().filter(|zone| zone.is_signed_here()) {
            signed.extend(zone.source.origin().map(|origin| (&zone.name, (origin, Some(zone)))));
        }
        let mut stay: BTreeMap<Origin, Vec<Shared<ZoneConfig>>> = BTreeMap::new();
        let (mut files, mut not_unsigned) = (HashSet::new(), HashSet::new());
        self.zones.retain(|zone| {
            let (Some(origin), Some((origin_before, before))) =
                (zone.source.origin(), signed.get(&zone.name))
            else {
                return true;
            };
            if !loses_signer(zone, origin_before) || is_released(&zone.name) {
                return true;
            }
            files.extend(zone.source.file().cloned());
            match before {
                Some(before) => stay.entry(origin).or_default().push((*before).clone()),
                None => not_unsigned.extend([zone.name.clone()]),
            }
            false
        });
        // After a restart these zones are read from the texts that they had before.
        self.texts.retain(|text| !files.contains(&text.path));
        for (origin, zones) in stay {
            let message = kept_signed(&origin, &zones);
            self.hold(origin, zones, message, settings, kept);
        }
        not_unsigned
    }

    /// Notes how many zones come with each catalog: they do not make its share larger for an hour.
    fn count_new(&self, in_use: &Config, now: Timestamp, kept: &mut KeptZones) {
        let known: HashSet<&Name> = in_use.zones.iter().map(|zone| &zone.name).collect();
        let mut new: BTreeMap<Origin, usize> = BTreeMap::new();
        for zone in self.zones.iter().filter(|zone| !known.contains(&zone.name)) {
            if let Some(origin @ Origin::Catalog(_)) = zone.source.origin() {
                *new.entry(origin).or_default() += 1;
            }
        }
        kept.additions.extend(new.into_iter().map(|(origin, zones)| ZoneCount { at: now, zones, origin }));
    }

    /// The catalogs that more zones leave than may go by themselves.
    pub(super) fn leaving_too_many(
        &self,
        in_use: &Config,
        settings: &ZoneFileSettings<'_>,
        now: Timestamp,
    ) -> HashSet<Name> {
        // What is held already waits for a person by itself.
        let held: HashSet<&Name> = in_use.zone_files.held.iter().collect();
        let mut leaving: HashMap<&Name, (usize, usize)> = HashMap::new();
        for zone in &in_use.zones {
            let ZoneSource::Member(member) = &zone.source else { continue };
            let (total, gone) = leaving.entry(&member.catalog).or_default();
            *total += 1;
            let listed = self.listed.get(&member.catalog);
            let is_there = listed.is_none_or(|listed| {
                listed.zones.contains(&zone.name) || listed.handed_over.contains(&zone.name)
            });
            *gone += usize::from(!is_there && !held.contains(&zone.name));
        }
        let files = &in_use.zone_files;
        let is_full = |(catalog, (total, gone)): (&Name, (usize, usize))| {
            let origin = Origin::Catalog(catalog.clone());
            let (limit, before) =
                self.share(&origin, total, settings, (&files.removals, &files.additions), now);
            (gone + before > limit).then(|| catalog.clone())
        };
        leaving.into_iter().filter_map(is_full).collect()
    }

    /// How many zones may go within the hour, and how many have gone.
    fn share(
        &self,
        origin: &Origin,
        total: usize,
        settings: &ZoneFileSettings<'_>,
        (removals, additions): (&[ZoneCount], &[ZoneCount]),
        now: Timestamp,
    ) -> (usize, usize) {
        let sum = |counts: &[ZoneCount]| -> usize {
            let of = counts.iter().filter(|c| c.origin == *origin && removal_limit::counts(c.at, now));
            of.map(|count| count.zones).sum()
        };
        let (before, new) = (sum(removals), sum(additions));
        let limit = match settings.max_removal.unwrap_or(MAX_REMOVAL) {
            percent if percent < 100 && self.state(origin) != Some(OriginState::HasZones) => 0,
            percent @ 100.. => removal_limit::limit(percent, total + before),
            percent => removal_limit::limit(percent, (total + before).saturating_sub(new)),
        };
        (limit, before)
    }

    /// True for a zone that its catalog still has: what became of its template, or of members-below, is no removal.
    fn is_listed(&self, origin: &Origin, zone: &Name) -> bool {
        match origin {
            Origin::Folder => false,
            Origin::Catalog(catalog) => {
                self.listed.get(catalog).is_some_and(|listed| listed.zones.contains(zone))
            }
        }
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
    fn judge_removal(
        &mut self,
        origin: Origin,
        Gone { zones: gone, total }: Gone,
        in_use: &Config,
        settings: &ZoneFileSettings<'_>,
        (all, now): (bool, Timestamp),
        kept: &mut KeptZones,
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
        let counts = (&in_use.zone_files.removals[..], &in_use.zone_files.additions[..]);
        let (limit, before) = self.share(&origin, total, settings, counts, now);
        if fresh.is_empty() || fresh.len() + before > limit {
            held.extend(fresh);
        } else {
            kept.removals.push(ZoneCount { at: now, zones: fresh.len(), origin: origin.clone() });
        }
        if !held.is_empty() {
            let message = held_back(&origin, &held, total);
            self.hold(origin, held, message, settings, kept);
        }
    }

    /// Holds zones until a file or a catalog has them again or a person releases them, and reports why.
    fn hold(
        &mut self,
        origin: Origin,
        zones: Vec<Shared<ZoneConfig>>,
        message: String,
        settings: &ZoneFileSettings<'_>,
        kept: &mut KeptZones,
    ) {
        match origin {
            Origin::Folder => {
                self.errors.findings.push(settings.place().error(message));
                self.passes.push(false);
            }
            Origin::Catalog(catalog) => {
                let finding = settings.doc.place(0..0).error(message);
                self.errors.note_catalog(&catalog, CatalogTroubleKind::Held, zones.len(), [finding]);
            }
        }
        kept.held.extend(zones.iter().map(|zone| zone.name.clone()));
        kept.zones.extend(zones);
    }
}

/// The zones left out by the start whose texts, as far as they can be read, do not say that the zone is not signed here.
fn left_out_signed(files: &ZoneFiles) -> impl Iterator<Item = &LeftOut> {
    let of_left: HashSet<&Path> = files.left_out.iter().map(|left| &*left.file).collect();
    let texts = files.texts.iter().filter(|text| of_left.contains(&*text.path));
    let docs = texts.filter_map(|text| ZoneDocument::remembered(text).doc.ok());
    let elsewhere: HashSet<Name> = docs.flat_map(|doc| signed_elsewhere(&doc)).collect();
    files.left_out.iter().filter(move |left| !elsewhere.contains(&left.zone))
}

/// The names of the first zones, for a message.
fn named(zones: &[Shared<ZoneConfig>]) -> String {
    let names: Vec<String> = zones.iter().take(NAMED).map(|zone| zone.name.zone_label()).collect();
    names.join(", ") + if zones.len() > NAMED { ", ..." } else { "" }
}

/// Message about zones that would not be signed here any more.
fn kept_signed(origin: &Origin, zones: &[Shared<ZoneConfig>]) -> String {
    let (count, named) = (zones.len(), named(zones));
    match origin {
        Origin::Folder => format!(
            "{count} zone(s) that are signed here are to be unsigned ({named}): while a DS stands at the parent, resolvers would answer SERVFAIL for them. They stay \
             signed until `offline-ksk zone release`; remove the DS first, and wait for its TTL"
        ),
        Origin::Catalog(catalog) => format!(
            "{count} zone(s) of the catalog {catalog} would not be signed here any more ({named}); they stay as they were, or are so after `offline-ksk zone release`"
        ),
    }
}

/// Message about zones that are in no file and no catalog any more.
fn held_back(origin: &Origin, held: &[Shared<ZoneConfig>], total: usize) -> String {
    let (count, named) = (held.len(), named(held));
    match origin {
        Origin::Folder => format!(
            "{count} of the {total} zones of zone files are in no file any more ({named}); more went at once than zones-max-removal allows, or the folder is \
             another one or has no file. They stay as they were: put the files back, mount the folder, or let the zones go by `offline-ksk zone release`"
        ),
        Origin::Catalog(catalog) => format!(
            "{count} of the {total} zones of the catalog {catalog} are not in it any more ({named}); more went at once than zones-max-removal allows, or the \
             catalog has no zone or is not configured any more. They stay as they were: put them back into the catalog, or let them go by `offline-ksk zone release`"
        ),
    }
}

#[cfg(test)]
mod tests;
