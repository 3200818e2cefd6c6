//! `[[catalog]]`.

use std::collections::{BTreeMap, HashSet};

use super::transfer::{self, TransferRules, entries, rules};
use crate::config::catalog::{CatalogConfig, CatalogSource, Catalogs, MemberConfig, TakenCatalog};
use crate::config::name;
use crate::dns::Name;
use crate::policy::table::{Table, Value};
use crate::policy::toml::TopLevelKey;

/// Longest name of a group, in octets.
const MAX_GROUP: usize = 255;
/// Octets that a record of a member has in front of the name of the catalog: group, a label of 16, zones.
const MEMBER_OCTETS: usize = 6 + 17 + 6;
/// Most octets of a name.
const MAX_NAME: usize = 255;

/// The catalogs; `None` when one of them has an error.
pub(super) fn read(top: &mut Table<'_, '_>, defaults: &TransferRules) -> Option<Catalogs> {
    let mut catalogs = Catalogs::default();
    let Some(value) = top.get(TopLevelKey::Catalog.key()) else { return Some(catalogs) };
    let mut names: HashSet<Name> = HashSet::new();
    let mut all_read = true;
    for value in value.array()? {
        let read = value.table().and_then(|table| catalog(table, &mut names, defaults));
        match read {
            Some(Read::Made(catalog)) => catalogs.made.push(catalog),
            Some(Read::Taken(catalog)) => catalogs.taken.push(catalog),
            None => all_read = false,
        }
    }
    all_read.then_some(catalogs)
}

enum Read {
    Made(CatalogConfig),
    Taken(TakenCatalog),
}

fn catalog(mut table: Table<'_, '_>, names: &mut HashSet<Name>, defaults: &TransferRules) -> Option<Read> {
    let value = table.require("zone", "\"catalog.example\"");
    let zone = value.as_ref().and_then(name::read);
    if let (Some(value), Some(zone)) = (&value, &zone) {
        if !names.insert(zone.clone()) {
            value.error(format!("{zone} is another catalog already"));
        }
        if zone.as_wire().len() + MEMBER_OCTETS > MAX_NAME {
            value.error("is too long: the records of its zones have names below it");
        }
    }
    let (file, primaries) = (table.get("file"), table.get("primaries"));
    if file.is_some() && primaries.is_some() {
        table.error("has file and primaries; a catalog comes from one of them");
    }
    let file = file.map(|value| value.path());
    let source = match (file, primaries) {
        (Some(file), _) => CatalogSource::File(file?),
        (None, Some(value)) => CatalogSource::Primaries(transfer::primaries(&value)),
        (None, None) => return made(table, zone, defaults).map(Read::Made),
    };
    taken(table, zone, source).map(Read::Taken)
}

fn made(mut table: Table<'_, '_>, zone: Option<Name>, defaults: &TransferRules) -> Option<CatalogConfig> {
    let groups = table.get("groups").map(|value| {
        let groups: Vec<String> = entries(&value).iter().filter_map(group).collect();
        if groups.is_empty() {
            value.error("names no group; leave it out for a catalog of all zones");
        }
        groups
    });
    let TransferRules { allow, notify } = rules(&mut table, defaults);
    if allow.is_empty() {
        table.error("nobody may transfer the catalog; write for example allow-transfer = [{ address = \"192.0.2.53\", key = \"xfr\" }]");
    }
    table.finish();
    Some(CatalogConfig { zone: zone?, groups, allow_transfer: allow, notify })
}

fn taken(mut table: Table<'_, '_>, zone: Option<Name>, source: CatalogSource) -> Option<TakenCatalog> {
    let template = table.get("template").and_then(|value| value.path());
    let mut group_templates = BTreeMap::new();
    if let Some(of_groups) = table.get("group-templates").and_then(|value| value.table()) {
        for (group, value) in of_groups.entries() {
            if let Some(path) = value.path() {
                group_templates.insert(group.to_owned(), path);
            }
        }
    }
    if template.is_none() && group_templates.is_empty() {
        table.error("says nothing of its zones; write for example template = \"member.toml\", a file with [[zone]] and name = \"{zone}\"");
    }
    let below = table.get("members-below");
    let below = below.map(|value| {
        let below: Vec<Name> = entries(&value).iter().filter_map(name::read).collect();
        if below.is_empty() {
            value.error("names no zone; leave it out where the catalog may bring in any zone");
        }
        below
    });
    let file = table.doc.path().to_owned();
    table.finish();
    Some(TakenCatalog {
        zone: zone?,
        source,
        template,
        group_templates,
        below: below.unwrap_or_default(),
        file,
    })
}

/// `group` and `change-of-ownership` of a zone.
pub(super) fn member(table: &mut Table<'_, '_>) -> MemberConfig {
    MemberConfig {
        group: table.get("group").as_ref().and_then(group),
        coo: table.get("change-of-ownership").as_ref().and_then(name::read),
    }
}

fn group(value: &Value<'_, '_>) -> Option<String> {
    let text = value.string()?;
    if text.is_empty() || text.len() > MAX_GROUP {
        value.error(format!("must have 1 to {MAX_GROUP} octets"));
        return None;
    }
    Some(text.to_owned())
}
