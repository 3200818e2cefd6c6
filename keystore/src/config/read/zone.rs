//! `[[zone]]`: names, policies, trust anchors.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::content;
use super::listen::{GROWTH, SHRINK};
use super::query;
use super::transfer::{self, Rules};
use super::{Anchors, transposed};
use crate::config::{SelfCheck, VersionConfig, ZoneCheck, ZoneConfig, name};
use crate::dns::{Name, nsec3};
use crate::exchange::bind::SyntaxError;
use crate::exchange::{TrustAnchor, parse_trust_anchors};
use crate::policy::named_conf::read_regular;
use crate::policy::table::{Document, Table, Value};
use crate::policy::toml::Section;
use crate::policy::{Policies, Policy, PolicyErrors};
use crate::shared::Shared;

/// Largest trust anchor file that is read, in octets; the largest DNSKEY record takes some 90 000.
const MAX_ANCHOR_FILE: u64 = 1 << 20;
/// Longest `zonemd-interval`, in seconds.
const MAX_DIGEST_INTERVAL: u32 = 3600;
/// Most trust anchors of a zone; a KSK rollover needs two.
const MAX_ANCHORS: usize = 64;

pub(super) fn read_all<'a>(
    top: &mut Table<'a, '_>,
    policies: &Policies,
    used: &mut HashSet<&'a str>,
    place: &(Option<&Path>, Anchors, Rules),
) -> Option<Vec<(ZoneConfig, Option<bool>)>> {
    let Some(value) = top.get(Section::Zone.key()) else {
        top.error("no zone is configured; write at least one [[zone]] with name and policy");
        return None;
    };
    let tables = value.array()?;
    if tables.is_empty() {
        value.error("no zone is configured; write at least one [[zone]] with name and policy");
    }
    let mut seen = HashMap::new();
    // All are looked at, so that all findings come at once.
    let zones: Vec<_> = tables.iter().map(|v| zone(v.table()?, policies, used, place, &mut seen)).collect();
    zones.into_iter().collect()
}

fn zone<'a>(
    mut table: Table<'a, '_>,
    policies: &Policies,
    used: &mut HashSet<&'a str>,
    (state_dir, need, defaults): &(Option<&Path>, Anchors, Rules),
    seen: &mut HashMap<Name, u32>,
) -> Option<(ZoneConfig, Option<bool>)> {
    let name_value = table.require("name", "\"example.com\"");
    let name = name_value.as_ref().and_then(name::read);
    if let (Some(name), Some(value)) = (&name, &name_value)
        && let Some(line) = seen.insert(name.clone(), value.at.line)
    {
        value.error(format!("the zone {name} is already configured in line {line}"));
    }
    let policy = table.require("policy", "\"common\"").and_then(|v| {
        used.insert(v.string()?);
        policy(&v, policies)
    });
    if let (Some(name), Some(policy), Some(value)) = (&name, &policy, &name_value)
        && policy.nsec3.is_some()
        && name.as_wire().len() > nsec3::MAX_APEX
    {
        value.error(format!(
            "the zone name has more than {} octets, so that no NSEC3 hash fits in front of it; use a policy without nsec3param",
            nsec3::MAX_APEX
        ));
    }
    let anchors = anchors(&mut table, name.as_ref(), *need);
    let announced = announced(&mut table, name.as_ref());
    let file_given = table.get("file");
    let file = file_given.as_ref().map(Value::path);
    let directory = match table.get("key-directory") {
        Some(value) => value.path(),
        None => state_dir.map(|dir| dir.join("keys")),
    };
    let zone_check = table.get("zone-check").map_or(Some(ZoneCheck::default()), |v| zone_check(&v));
    let multi_signer = table.get("multi-signer").map_or(Some(false), |v| v.boolean());
    let versions = versions(&mut table);
    let allow_query = query::allow_query(&mut table);
    let allow_cds_delete = table.get("allow-cds-delete").map_or(Some(false), |v| v.boolean());
    let rules = transfer::rules(&mut table, defaults);
    let content = content::read(&mut table, name.as_ref(), file.is_some());
    let require = table.get("require-signature").map(|v| v.boolean());
    table.finish();
    let (anchors, anchor_file) = anchors?;
    let zone = ZoneConfig {
        anchor_file,
        // Settled when [loader] is read.
        require_signature: false,
        multi_signer: multi_signer?,
        versions: versions?,
        allow_query,
        allow_transfer: rules.allow,
        notify: rules.notify,
        content: content?,
        zone_check: zone_check?,
        allow_cds_delete: allow_cds_delete?,
        name: name?,
        policy: policy?,
        anchors,
        announced: announced?,
        file: transposed(file)?,
        key_directory: directory?,
    };
    Some((zone, transposed(require)?))
}

/// How versions of the zone are made and judged.
fn versions(table: &mut Table<'_, '_>) -> Option<VersionConfig> {
    let defaults = VersionConfig::default();
    let zonemd = table.get("zonemd").map_or(Some(defaults.zonemd), |v| v.boolean());
    let interval = table.get("zonemd-interval").map_or(Some(defaults.zonemd_interval), |v| {
        let seconds = v.duration()?;
        if seconds > MAX_DIGEST_INTERVAL {
            v.error("must be at most an hour: signatures that come due wait as long");
        }
        Some(seconds)
    });
    let self_check = table.get("self-check").map_or(Some(defaults.self_check), |v| match v.string()? {
        "auto" => Some(SelfCheck::Auto),
        "all" => Some(SelfCheck::All),
        "sample" => Some(SelfCheck::Sample),
        _ => {
            v.error("write \"auto\" (all new signatures up to a million, otherwise a sample), \"all\" or \"sample\"; signatures that nobody looks at are not served");
            None
        }
    });
    let max_shrink = table.get("max-shrink").map(|v| v.integer(SHRINK));
    let max_growth = table.get("max-growth").map(|v| v.integer(GROWTH));
    Some(VersionConfig {
        zonemd: zonemd?,
        zonemd_interval: interval?,
        self_check: self_check?,
        max_shrink: transposed(max_shrink)?,
        max_growth: transposed(max_growth)?,
    })
}

fn zone_check(value: &Value<'_, '_>) -> Option<ZoneCheck> {
    match value.string()? {
        "lenient" => Some(ZoneCheck::Lenient),
        "strict" => Some(ZoneCheck::Strict),
        _ => {
            value.error("write \"lenient\" (records that no resolver could see are left out, with a warning) or \"strict\" (they refuse the zone)");
            None
        }
    }
}

fn policy(value: &Value<'_, '_>, policies: &Policies) -> Option<Shared<Policy>> {
    let name = value.string()?;
    match policies.get(name) {
        Ok(policy) => {
            if !policy.offline_ksk {
                let what = format!(
                    "policy '{name}' does not say `offline-ksk`: a named with this policy wants to manage the KSK itself"
                );
                value.doc.note(value.at.warning(what));
            }
            Some(policy.clone())
        }
        // Noted once for all zones that use the policy.
        Err(PolicyErrors::Findings(_)) => None,
        Err(other) => {
            value.error(other.to_string());
            None
        }
    }
}

/// The anchors, and the file that some are in.
fn anchors(
    table: &mut Table<'_, '_>,
    zone: Option<&Name>,
    need: Anchors,
) -> Option<(Vec<TrustAnchor>, Option<PathBuf>)> {
    let (inline, file) = (table.get("trust-anchors"), table.get("trust-anchor-file"));
    if inline.is_none() && file.is_none() {
        table.error(
            "no trust anchor; write trust-anchors = [\"example.com. DS ...\"] or trust-anchor-file = \"FILE\" with the DS or DNSKEY of the KSK",
        );
        return None;
    }
    let zone = zone?;
    let mut anchors: Vec<TrustAnchor> = Vec::new();
    let mut add = |value: &Value<'_, '_>, found: Result<Vec<TrustAnchor>, AnchorError>| match found {
        Ok(found) if found.is_empty() => value.error("holds no DS or DNSKEY record"),
        Ok(found) => {
            for anchor in found {
                if !anchors.contains(&anchor) {
                    anchors.push(anchor);
                }
            }
        }
        Err(error) => value.error(error.to_string()),
    };
    if let Some(value) = inline {
        let texts = value.array()?;
        if texts.is_empty() || texts.len() > MAX_ANCHORS {
            value.error(format!("expected 1 to {MAX_ANCHORS} DS or DNSKEY records"));
            return None;
        }
        for value in &texts {
            if let Some(text) = value.string() {
                add(value, parse_trust_anchors(text, zone).map_err(AnchorError::Inline));
            }
        }
    }
    let mut path = None;
    if let Some(value) = file {
        let named = value.path()?;
        let found = anchor_file(&named, zone, value.doc);
        let learnt = match &found {
            Ok(found) if found.is_empty() => need == Anchors::Needed,
            Err(_) => need == Anchors::Needed || named.exists(),
            Ok(_) => true,
        };
        if learnt {
            add(&value, found);
        }
        path = Some(named);
    }
    (!anchors.is_empty() || need == Anchors::ToBeLearnt).then_some((anchors, path))
}

/// The standby and successor KSKs of `announced-ksks`.
fn announced(table: &mut Table<'_, '_>, zone: Option<&Name>) -> Option<Vec<TrustAnchor>> {
    let Some(value) = table.get("announced-ksks") else { return Some(Vec::new()) };
    let texts = value.array()?;
    if texts.len() > MAX_ANCHORS {
        value.error(format!("expected at most {MAX_ANCHORS} DS or DNSKEY records"));
        return None;
    }
    let (zone, mut announced) = (zone?, Vec::new());
    for value in &texts {
        match parse_trust_anchors(value.string()?, zone) {
            Ok(found) if found.is_empty() => value.error("holds no DS or DNSKEY record"),
            Ok(found) => announced.extend(found),
            Err(error) => value.error(format!("{} {}", error.id, error.what)),
        }
    }
    Some(announced)
}

/// Why there are no trust anchors.
#[derive(Debug, thiserror::Error)]
enum AnchorError {
    #[error("{} {}", .0.id, .0.what)]
    Inline(SyntaxError),
    #[error("{}: {source}; `skr-loader trust learn` writes it", path.display())]
    Missing { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}:{}: {} {}", path.display(), error.line, error.id, error.what)]
    File { path: PathBuf, error: SyntaxError },
}

fn anchor_file(path: &Path, zone: &Name, doc: &Document) -> Result<Vec<TrustAnchor>, AnchorError> {
    let path_of = || path.to_owned();
    let octets = read_regular(path, MAX_ANCHOR_FILE).map_err(|source| {
        doc.note_unread(&source);
        match source.kind() {
            std::io::ErrorKind::NotFound => AnchorError::Missing { path: path_of(), source },
            _ => AnchorError::Io { path: path_of(), source },
        }
    })?;
    let text = String::from_utf8_lossy(&octets);
    parse_trust_anchors(&text, zone).map_err(|error| AnchorError::File { path: path_of(), error })
}
