//! `[[zone]] update`, `primaries`.

use super::transfer;
use crate::config::content::{ContentConfig, MADE_BY_SIGNER, UpdateNames, UpdateRule};
use crate::dns::{Name, Rtype};
use crate::policy::table::{Table, Value};

/// What the table of a zone says of its content; `None` after an error, which was noted.
pub(super) fn read(table: &mut Table<'_, '_>, zone: Option<&Name>, has_file: bool) -> Option<ContentConfig> {
    let listed = table.get("primaries");
    let primaries = listed.as_ref().map(transfer::primaries).unwrap_or_default();
    if let Some(value) = listed.filter(|_| has_file) {
        value.error("and file are both given: a zone comes from its file or from primaries");
    }
    let Some(value) = table.get("update") else {
        return Some(ContentConfig { primaries, updates: Vec::new() });
    };
    let entries = transfer::entries(&value);
    if !primaries.is_empty() && !entries.is_empty() {
        value.error("cannot be used in a zone that comes from primaries: send updates to the primary");
    } else if !has_file && !entries.is_empty() {
        value.error("needs file = \"FILE\" in this zone: updates are made on top of its zone file");
    }
    let rules: Vec<Option<UpdateRule>> = entries.iter().map(|value| rule(value, zone)).collect();
    Some(ContentConfig { primaries, updates: rules.into_iter().collect::<Option<_>>()? })
}

fn rule(value: &Value<'_, '_>, zone: Option<&Name>) -> Option<UpdateRule> {
    let mut table = value.table()?;
    let key = table.require("key", "\"acme\"").and_then(|v| transfer::key(&v));
    let address = table.get("address").map(|v| transfer::network(&v));
    let word = table.require("names", "\"exact\"");
    let names = word.as_ref().and_then(|value| names(value, &mut table, key.as_ref(), zone));
    let types = table.get("types").map(|v| types(&v));
    table.finish();
    Some(UpdateRule {
        key: key?,
        address: address.map_or(Some(None), |v| v.map(Some))?,
        names: names?,
        types: types.map_or(Some(None), |v| v.map(Some))?,
    })
}

fn names(
    word: &Value<'_, '_>,
    table: &mut Table<'_, '_>,
    key: Option<&Name>,
    zone: Option<&Name>,
) -> Option<UpdateNames> {
    let text = word.string()?;
    let own = match text {
        "zone" => Some(UpdateNames::Zone),
        "self" => Some(UpdateNames::OwnName),
        "self-subtree" => Some(UpdateNames::OwnSubtree),
        "exact" | "subtree" | "wildcard" => None,
        _ => {
            word.error("write \"exact\", \"subtree\" or \"wildcard\" with a name, or \"zone\", \"self\" or \"self-subtree\"");
            return None;
        }
    };
    if let Some(own) = own {
        if own != UpdateNames::Zone && key.zip(zone).is_some_and(|(key, zone)| !key.is_at_or_below(zone)) {
            word.error("fits no name: the name of the key is not in the zone");
        }
        return Some(own);
    }
    let value = table.require("name", "\"_acme-challenge.www.example.com\"")?;
    let Ok(name) = Name::parse(value.string()?) else {
        value.error("must be a domain name in full, such as \"www.example.com\"");
        return None;
    };
    if zone.is_some_and(|zone| !name.is_at_or_below(zone)) {
        value.error("is not in the zone; write the name in full");
    }
    match text {
        "exact" => Some(UpdateNames::Exact(name)),
        "subtree" => Some(UpdateNames::Subtree(name)),
        _ if name.is_wildcard() => Some(UpdateNames::Wildcard(name)),
        _ => {
            value.error("must be a wildcard, such as \"*.dyn.example.com\"");
            None
        }
    }
}

fn types(value: &Value<'_, '_>) -> Option<Vec<Rtype>> {
    let entries = transfer::entries(value);
    if entries.is_empty() {
        value.error("must name at least one type, such as [\"TXT\"]");
    }
    let types: Vec<Option<Rtype>> = entries
        .iter()
        .map(|value| {
            let rtype = value.string()?.parse::<Rtype>().ok();
            match rtype {
                Some(rtype) if MADE_BY_SIGNER.contains(&rtype) => {
                    value.error("cannot be changed by updates: signatures are made here, and the key records come from the SKR");
                    None
                }
                Some(rtype) if rtype == Rtype::ANY || !rtype.is_meta() => Some(rtype),
                _ => {
                    value.error("must be a type of records, such as \"TXT\", or \"ANY\"");
                    None
                }
            }
        })
        .collect();
    types.into_iter().collect()
}
