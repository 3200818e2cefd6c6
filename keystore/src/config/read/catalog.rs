//! `[[catalog]]`.

use std::collections::HashSet;

use super::transfer::{Rules, entries, rules};
use crate::config::catalog::{CatalogConfig, MemberConfig};
use crate::config::name;
use crate::dns::Name;
use crate::policy::table::{Table, Value};
use crate::policy::toml::Section;

/// Longest name of a group, in octets.
const MAX_GROUP: usize = 255;
/// Octets that a record of a member has in front of the name of the catalog: group, a label of 16, zones.
const MEMBER_OCTETS: usize = 6 + 17 + 6;
/// Most octets of a name.
const MAX_NAME: usize = 255;

/// The catalogs; `None` when one of them has an error.
pub(super) fn read(top: &mut Table<'_, '_>, defaults: &Rules) -> Option<Vec<CatalogConfig>> {
    let Some(value) = top.get(Section::Catalog.key()) else { return Some(Vec::new()) };
    let mut names: HashSet<Name> = HashSet::new();
    let catalogs: Vec<_> =
        value.array()?.iter().map(|value| catalog(value.table()?, &mut names, defaults)).collect();
    catalogs.into_iter().collect()
}

fn catalog(mut table: Table<'_, '_>, names: &mut HashSet<Name>, defaults: &Rules) -> Option<CatalogConfig> {
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
    let groups = table.get("groups").map(|value| {
        let groups: Vec<String> = entries(&value).iter().filter_map(group).collect();
        if groups.is_empty() {
            value.error("names no group; leave it out for a catalog of all zones");
        }
        groups
    });
    let Rules { allow, notify } = rules(&mut table, defaults);
    if allow.is_empty() {
        table.error("nobody may transfer the catalog; write for example allow-transfer = [{ address = \"192.0.2.53\", key = \"xfr\" }]");
    }
    table.finish();
    Some(CatalogConfig { zone: zone?, groups, allow_transfer: allow, notify })
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
