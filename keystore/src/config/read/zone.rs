//! `[[zone]]`: names, policies, trust anchors.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog;
use super::content;
use super::listen::{GROWTH, SHRINK};
use super::query;
use super::transfer::{self, TransferRules};
use super::{Anchors, transposed};
use crate::config::zone_files::ZoneSource;
use crate::config::{SelfCheck, Signing, Verify, VersionConfig, ZoneCheck, ZoneConfig, name};
use crate::dns::{Name, nsec3};
use crate::exchange::bind::BindSyntaxError;
use crate::exchange::{TrustAnchor, parse_trust_anchors};
use crate::policy::finding::Place;
use crate::policy::named_conf::read_regular;
use crate::policy::table::{Document, Table, Value};
use crate::policy::{Policies, Policy, PolicyErrors, PolicySeverity};
use crate::shared::Shared;

/// Keys of a `[[zone]]` that are about keys, SKRs and signatures made here.
const OF_SIGNING: [&str; 9] = [
    "policy",
    "announced-ksks",
    "key-directory",
    "multi-signer",
    "allow-cds-delete",
    "require-signature",
    "zonemd",
    "zonemd-interval",
    "self-check",
];
/// Keys that say which KSKs are trusted: also those of a presigned zone.
const OF_TRUST: [&str; 2] = ["trust-anchors", "trust-anchor-file"];
/// Largest trust anchor file that is read, in octets; the largest DNSKEY record takes some 90 000.
const MAX_ANCHOR_FILE: u64 = 1 << 20;
/// Longest `zonemd-interval`, in seconds.
const MAX_DIGEST_INTERVAL: u32 = 3600;
/// What is said of a configuration without zones.
pub(super) const NO_ZONE: &str = "no zone is configured; write at least one [[zone]] with name and policy";
/// Most trust anchors of a zone; a KSK rollover needs two.
const MAX_ANCHORS: usize = 64;

/// What has a zone in use.
#[derive(Debug)]
pub(super) enum Owner {
    /// This file of the folder.
    File(Arc<Path>),
    /// A catalog.
    Catalog {
        catalog: Name,
        /// Path of its zone.
        file: Arc<Path>,
        /// It still has the zone; else it only keeps others from taking it before a person releases it.
        has_it: bool,
        /// The zone is held, and is signed here.
        is_held_signed: bool,
    },
}

impl Owner {
    /// True where the zone may be of `source`, which has it signed as `signing` says.
    fn allows(&self, source: &ZoneSource, signing: Option<Signing>) -> bool {
        match (self, source) {
            (Self::File(file), source) => source.file() == Some(file),
            // Where another catalog would end the signing of a zone that is held, the guard of removals keeps the zone and says so.
            (Self::Catalog { catalog, has_it, is_held_signed, .. }, ZoneSource::Member(member)) => {
                let ends_signing = *is_held_signed && signing.is_some_and(|signing| !signing.is_here());
                member.catalog == *catalog || (!has_it && ends_signing)
            }
            // The folder is of this host.
            (Self::Catalog { has_it, .. }, ZoneSource::MainFile | ZoneSource::ZoneFile(_)) => !has_it,
        }
    }

    fn file(&self) -> &Path {
        match self {
            Self::File(file) | Self::Catalog { file, .. } => file,
        }
    }
}

/// What the `[[zone]]` tables of all files have in common.
pub(super) struct ZoneReader<'a> {
    pub policies: &'a Policies,
    pub state_dir: Option<&'a Path>,
    pub need: Anchors,
    /// Who may transfer a zone that does not say so.
    pub transfer: TransferRules,
    /// `[loader] require-signature`.
    pub require_signature: bool,
    /// `[loader] operator-certificates` names some.
    pub has_operators: bool,
    /// The policies that zones use.
    pub used: HashSet<String>,
    /// Zones in use that others do not take over.
    pub reserved: HashMap<Name, Owner>,
    /// Names of catalogs, which no zone may have.
    pub catalogs: HashSet<Name>,
    /// A zone that is there already is left out, and is no error.
    pub skip_claimed: bool,
    seen: HashMap<Name, Place>,
    /// Zones of `seen` that came with the file that is read now.
    of_file: Vec<Name>,
}

impl<'a> ZoneReader<'a> {
    pub fn new(
        policies: &'a Policies,
        state_dir: Option<&'a Path>,
        need: Anchors,
        transfer: TransferRules,
    ) -> Self {
        Self {
            policies,
            state_dir,
            need,
            transfer,
            require_signature: false,
            has_operators: false,
            used: HashSet::new(),
            reserved: HashMap::new(),
            catalogs: HashSet::new(),
            skip_claimed: false,
            seen: HashMap::new(),
            of_file: Vec::new(),
        }
    }

    /// The zones of the array `value`; `None` when one of them has an error.
    pub fn read(&mut self, value: &Value<'_, '_>, source: &ZoneSource) -> Option<Vec<Shared<ZoneConfig>>> {
        let tables = value.array()?;
        if tables.is_empty() {
            value.error(NO_ZONE);
            return None;
        }
        // All are looked at, so that all findings come at once.
        let zones: Vec<_> =
            tables.iter().filter(|value| !(self.skip_claimed && self.is_claimed(value))).collect();
        let zones: Vec<_> = zones.into_iter().map(|v| zone(v.table()?, self, source)).collect();
        zones.into_iter().collect()
    }

    /// What is read from now on comes from another file.
    pub fn begin_file(&mut self) {
        self.of_file.clear();
    }

    /// The file that was read last is not used: others may have its zones.
    pub fn undo_file(&mut self) {
        for name in self.of_file.drain(..) {
            self.seen.remove(&name);
        }
    }

    fn is_claimed(&self, value: &Value<'_, '_>) -> bool {
        let name = value.table().and_then(|mut table| Name::parse(table.get("name")?.string()?).ok());
        name.is_some_and(|name| self.seen.contains_key(&name))
    }

    /// Notes an error where the zone is configured already.
    fn claim(&mut self, name: &Name, value: &Value<'_, '_>, source: &ZoneSource, signing: Option<Signing>) {
        if self.catalogs.contains(name) {
            value.error(format!("{name} is the name of a [[catalog]]"));
            return;
        }
        if let Some(owner) = self.reserved.get(name).filter(|owner| !owner.allows(source, signing)) {
            value.error(format!("the zone {name} is already configured in {}", owner.file().display()));
            return;
        }
        let Some(other) = self.seen.get(name) else {
            self.seen.insert(name.clone(), value.at.clone());
            self.of_file.push(name.clone());
            return;
        };
        let place = if other.path == value.at.path {
            format!("in line {}", other.line)
        } else {
            format!("in {}:{}", other.path.display(), other.line)
        };
        value.error(format!("the zone {name} is already configured {place}"));
    }
}

fn zone(
    mut table: Table<'_, '_>,
    reader: &mut ZoneReader<'_>,
    source: &ZoneSource,
) -> Option<Shared<ZoneConfig>> {
    let name_value = table.require("name", "\"example.com\"");
    let name = name_value.as_ref().and_then(name::read);
    let signing = signing(&mut table);
    if let (Some(name), Some(value)) = (&name, &name_value) {
        reader.claim(name, value, source, signing);
    }
    let is_signed_here = signing.is_none_or(Signing::is_here);
    let policy =
        if is_signed_here { policy_of(&mut table, reader, source) } else { Some(no_policy(signing)) };
    if let (Some(name), Some(policy), Some(value)) = (&name, &policy, &name_value)
        && policy.nsec3.is_some()
        && name.as_wire().len() > nsec3::MAX_APEX
    {
        value.error(format!(
            "the zone name has more than {} octets, so that no NSEC3 hash fits in front of it; use a policy without nsec3param",
            nsec3::MAX_APEX
        ));
    }
    let has_anchors = OF_TRUST.into_iter().any(|key| table.get(key).is_some());
    let anchors = match signing {
        Some(Signing::Presigned(_)) if !has_anchors => Some((Vec::new(), None)),
        Some(Signing::Unsigned) => Some((Vec::new(), None)),
        _ => anchors(&mut table, name.as_ref(), reader.need),
    };
    let announced = if is_signed_here { announced(&mut table, name.as_ref()) } else { Some(Vec::new()) };
    let file_given = table.get("file");
    let file = file_given.as_ref().map(Value::path);
    let directory = match table.get("key-directory") {
        Some(value) => value.path(),
        None => reader.state_dir.map(|dir| dir.join("keys")),
    };
    let zone_check = table.get("zone-check").map_or(Some(ZoneCheck::default()), |v| zone_check(&v));
    let multi_signer = table.get("multi-signer").map_or(Some(false), |v| v.boolean());
    let versions = versions(&mut table, signing);
    let allow_query = query::allow_query(&mut table);
    let allow_cds_delete = table.get("allow-cds-delete").map_or(Some(false), |v| v.boolean());
    let rules = transfer::rules(&mut table, &reader.transfer);
    let member = catalog::member(&mut table);
    let content = content::read(&mut table, name.as_ref(), file.is_some());
    refuse_keys_without_meaning(&mut table, signing);
    if !is_signed_here
        && content.as_ref().is_some_and(|content| content.primaries.is_empty())
        && file.is_none()
    {
        table.error("has nothing to serve: give it a file or primaries");
    }
    let require = table.get("require-signature").map(|v| v.boolean());
    let require_signature = transposed(require).map(|require| require.unwrap_or(reader.require_signature));
    if let (Some(true), Some(name), false) = (require_signature, &name, reader.has_operators) {
        table.doc.note(table.at.error(format!(
            "zone {name} says require-signature, and [loader] has no operator-certificates = [\"FILE.pem\"] to verify it with"
        )));
    }
    table.finish();
    let (anchors, anchor_file) = anchors?;
    let zone = ZoneConfig {
        source: source.clone(),
        anchor_file,
        require_signature: require_signature?,
        multi_signer: multi_signer?,
        versions: versions?,
        allow_query,
        allow_transfer: rules.allow,
        notify: rules.notify,
        content: content?,
        member,
        zone_check: zone_check?,
        allow_cds_delete: allow_cds_delete?,
        name: name?,
        policy: policy?,
        anchors,
        announced: announced?,
        file: transposed(file)?,
        key_directory: directory?,
    };
    Some(zone.into())
}

/// The policy of a zone that is signed here.
fn policy_of(
    table: &mut Table<'_, '_>,
    reader: &mut ZoneReader<'_>,
    source: &ZoneSource,
) -> Option<Shared<Policy>> {
    let value = table.require("policy", "\"common\"")?;
    let used = value.string()?;
    let policy = policy(&value, reader.policies, source);
    // A policy that cannot work is an error of the main file when that uses it, and otherwise one of the zone file.
    if (policy.is_some() || *source == ZoneSource::MainFile) && !reader.used.contains(used) {
        reader.used.insert(used.to_owned());
    }
    policy
}

/// The policy of a zone that is not signed here: no keys, and no limit of TTLs.
fn no_policy(signing: Option<Signing>) -> Shared<Policy> {
    let name = signing.unwrap_or_default().as_str();
    Policy { max_zone_ttl: 0, ..Policy::with_defaults(name) }.into()
}

/// Notes an error for each key that has no meaning for this kind of zone.
fn refuse_keys_without_meaning(table: &mut Table<'_, '_>, signing: Option<Signing>) {
    let Some(signing) = signing.filter(|signing| !signing.is_here()) else { return };
    let word = signing.as_str();
    let of_trust = OF_TRUST.into_iter().filter(|_| signing == Signing::Unsigned);
    for key in OF_SIGNING.into_iter().chain(of_trust) {
        if let Some(value) = table.get(key) {
            value.error(format!(
                "has no meaning with signing = \"{word}\", as the zone has no keys here; remove it"
            ));
        }
    }
    if signing.is_signed()
        && let Some(value) = table.get("update")
    {
        value.error(format!(
            "cannot be used with signing = \"{word}\": send updates to the server that signs the zone"
        ));
    }
}

/// Who makes the DNSSEC records of the zone, and what becomes of those that do not verify.
fn signing(table: &mut Table<'_, '_>) -> Option<Signing> {
    let signing = table.get("signing").map_or(Some(Signing::default()), |value| match value.string()? {
        "online" => Some(Signing::Online),
        "presigned" => Some(Signing::Presigned(Verify::default())),
        "unsigned" => Some(Signing::Unsigned),
        _ => {
            value.error("write \"online\" (it is signed here), \"presigned\" (it is served with the signatures that it comes with) or \"unsigned\" (it is served without DNSSEC records)");
            None
        }
    });
    let Some(value) = table.get("verify") else { return signing };
    match (value.string()?, signing?) {
        ("refuse", Signing::Presigned(_)) => Some(Signing::Presigned(Verify::Refuse)),
        ("warn", Signing::Presigned(_)) => Some(Signing::Presigned(Verify::Warn)),
        (_, Signing::Presigned(_)) => {
            value.error("write \"refuse\" (a version that does not verify is not served) or \"warn\" (it is served, and told)");
            None
        }
        (_, other) => {
            let word = other.as_str();
            value.error(format!("has no meaning with signing = \"{word}\"; it is for \"presigned\""));
            None
        }
    }
}

/// How versions of the zone are made and judged.
fn versions(table: &mut Table<'_, '_>, signing: Option<Signing>) -> Option<VersionConfig> {
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
        signing: signing?,
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

fn policy(value: &Value<'_, '_>, policies: &Policies, source: &ZoneSource) -> Option<Shared<Policy>> {
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
        Err(PolicyErrors::Findings(findings)) => {
            // Noted once for all zones of the main file that use the policy.
            if *source != ZoneSource::MainFile {
                let first = findings.iter().find(|finding| finding.severity == PolicySeverity::Error);
                let first = first.map(|finding| format!(": {finding}")).unwrap_or_default();
                value.error(format!("policy '{name}' cannot be used{first}"));
            }
            None
        }
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
    Inline(BindSyntaxError),
    #[error("{}: {source}; `skr-loader trust learn` writes it", path.display())]
    Missing { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}:{}: {} {}", path.display(), error.line, error.id, error.what)]
    File { path: PathBuf, error: BindSyntaxError },
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
