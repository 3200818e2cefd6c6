//! From the text to a checked [`Config`].

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{
    Config, ConfigErrors, KsrConfig, LoaderConfig, MetricsConfig, ParentCheck, SignerConfig, WatchMode,
    ZoneConfig,
};
use crate::crypto::cms::Certificate;
use crate::dns::Name;
use crate::exchange::{TrustAnchor, parse_trust_anchors};
use crate::policy::named_conf::read_regular;
use crate::policy::table::{Document, DocumentError, Table, Value};
use crate::policy::toml::{self, Section};
use crate::policy::{Policies, Policy, PolicyErrors, PolicyFinding, Severity};

/// Largest trust anchor file that is read, in octets; the largest DNSKEY record takes some 90 000.
const MAX_ANCHOR_FILE: u64 = 1 << 20;

/// Most octets of the path of a Unix socket (`sun_path`, with its closing NUL, less what a temporary name takes more).
const MAX_SOCKET_PATH: usize = 100;

/// Most addresses of `mail-to`, so that the header stays one that mail servers take.
const MAX_RECEIVERS: usize = 20;

/// Most trust anchors of a zone; a KSK rollover needs two.
const MAX_ANCHORS: usize = 64;

pub(super) fn load(path: &Path) -> Result<Config, ConfigErrors> {
    read(Document::load(path)?, Anchors::Needed)
}

pub(super) fn load_before_trust(path: &Path) -> Result<Config, ConfigErrors> {
    read(Document::load(path)?, Anchors::ToBeLearnt)
}

/// Whether a zone must have trust anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchors {
    /// It must.
    Needed,
    /// Its file may be missing or empty.
    ToBeLearnt,
}

pub(super) fn parse(octets: &[u8], path: &Path) -> Result<Config, ConfigErrors> {
    read(Document::from_octets(octets.to_vec(), path)?, Anchors::Needed)
}

/// See [`Config::locate_control_socket`].
pub(super) fn locate_control_socket(path: &Path) -> Option<std::path::PathBuf> {
    let doc = Document::load(path).ok()?;
    let root = doc.parse().ok()?;
    let mut top = Table::new(&doc, root.get_ref(), "", doc.place(0..0));
    let loader = top.get(Section::Loader.key());
    let mut loader = loader.as_ref().and_then(Value::table);
    let named = loader.as_mut().and_then(|table| table.get("control-socket")?.path());
    named.or_else(|| Some(top.get(Section::StateDir.key())?.path()?.join(super::CONTROL_SOCKET)))
}

/// See [`Config::locate_state_dir`].
pub(super) fn locate_state_dir(path: &Path) -> Option<std::path::PathBuf> {
    let doc = Document::load(path).ok()?;
    let root = doc.parse().ok()?;
    let mut top = Table::new(&doc, root.get_ref(), "", doc.place(0..0));
    top.get(Section::StateDir.key())?.path()
}

impl From<DocumentError> for ConfigErrors {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Io { path, source } => Self::Io { path, source },
            DocumentError::Findings(findings) => Self::Findings(findings),
        }
    }
}

fn read(doc: Document, need: Anchors) -> Result<Config, ConfigErrors> {
    let config = {
        let root = doc.parse()?;
        top(&doc, Table::new(&doc, root.get_ref(), "", doc.place(0..0)), need)
    };
    let warnings = doc.into_findings().map_err(ConfigErrors::Findings)?;
    // Every part that is missing has left an error.
    let config = config.ok_or_else(|| ConfigErrors::Findings(Vec::new()))?;
    Ok(Config { warnings, ..config })
}

fn top(doc: &Document, mut top: Table<'_, '_>, need: Anchors) -> Option<Config> {
    if let Some(value) = top.require("version", "1") {
        toml::version(&value);
    }
    let state_dir = top.require(Section::StateDir.key(), "\"/var/lib/offline-ksk\"").and_then(|v| v.path());
    let policies = toml::policies(&mut top);
    let mut used = HashSet::new();
    let zones = zones(&mut top, &policies, &mut used, (state_dir.as_deref(), need));
    let ksr = ksr(&mut top);
    let (loader, require_signature) = loader(&mut top, &ksr);
    let zones = zones.map(|zones| {
        let resolved = |(zone, require): (ZoneConfig, Option<bool>)| ZoneConfig {
            require_signature: require.unwrap_or(require_signature),
            ..zone
        };
        zones.into_iter().map(resolved).collect::<Vec<_>>()
    });
    let unsigned = zones.iter().flatten().find(|z| z.require_signature);
    if let Some(zone) = unsigned.filter(|_| loader.operator_certificates.is_empty()) {
        top.error(format!(
            "zone {} says require-signature, and [loader] has no operator-certificates = [\"FILE.pem\"] to verify it with",
            zone.name
        ));
    }
    let deliver = top.get(Section::Deliver.key()).map(|v| super::deliver::read(&v, zones.as_deref()));
    let signer = top.get(Section::Signer.key()).map(|v| signer(&v));
    let metrics = top.get(Section::Metrics.key()).map(|v| metrics(&v));
    top.finish();
    note_policies(doc, &policies, &used);
    Some(Config {
        state_dir: state_dir?,
        zones: zones?,
        loader,
        deliver: transposed(deliver)?.unwrap_or_default(),
        ksr,
        signer: transposed(signer)?,
        metrics: transposed(metrics)?,
        warnings: Vec::new(),
    })
}

/// What is found in the policies. An unused one that cannot work is no reason to stop, but a reason to say so.
fn note_policies(doc: &Document, policies: &Policies, used: &HashSet<&str>) {
    doc.note_all(policies.of_file().iter().cloned());
    for name in policies.names() {
        let findings = policies.of_policy(name).iter().cloned();
        if used.contains(name) {
            doc.note_all(findings);
            continue;
        }
        doc.note_all(findings.map(|f| match f.severity {
            Severity::Warning => f,
            Severity::Error => PolicyFinding {
                severity: Severity::Warning,
                what: format!("{} (no zone uses this policy)", f.what),
                ..f
            },
        }));
    }
}

/// `None` when the part is there and wrong.
fn transposed<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(part) => part.map(Some),
    }
}

// --- zones ----------------------------------------------------------------------------------------------------------

fn zones<'a>(
    top: &mut Table<'a, '_>,
    policies: &Policies,
    used: &mut HashSet<&'a str>,
    place: (Option<&Path>, Anchors),
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
    (state_dir, need): (Option<&Path>, Anchors),
    seen: &mut HashMap<Name, u32>,
) -> Option<(ZoneConfig, Option<bool>)> {
    let name_value = table.require("name", "\"example.com\"");
    let name = name_value.as_ref().and_then(|v| match Name::parse(v.string()?) {
        Ok(name) => Some(name),
        Err(e) => {
            v.error(format!("is no domain name: {e}"));
            None
        }
    });
    if let (Some(name), Some(value)) = (&name, &name_value)
        && let Some(line) = seen.insert(name.clone(), value.at.line)
    {
        value.error(format!("the zone {name} is already configured in line {line}"));
    }
    let policy = table.require("policy", "\"common\"").and_then(|v| {
        used.insert(v.string()?);
        policy(&v, policies)
    });
    let anchors = anchors(&mut table, name.as_ref(), need);
    let file_given = table.get("file");
    let file = file_given.as_ref().map(Value::path);
    let directory = match table.get("key-directory") {
        Some(value) => value.path(),
        None => state_dir.map(|dir| dir.join("keys")),
    };
    let multi_signer = table.get("multi-signer").map_or(Some(false), |v| v.boolean());
    let allow_cds_delete = table.get("allow-cds-delete").map_or(Some(false), |v| v.boolean());
    let require = table.get("require-signature").map(|v| v.boolean());
    table.finish();
    let (anchors, anchor_file) = anchors?;
    let zone = ZoneConfig {
        anchor_file,
        // Settled when [loader] is read.
        require_signature: false,
        multi_signer: multi_signer?,
        allow_cds_delete: allow_cds_delete?,
        name: name?,
        policy: policy?,
        anchors,
        file: transposed(file)?,
        key_directory: directory?,
    };
    Some((zone, transposed(require)?))
}

fn policy(value: &Value<'_, '_>, policies: &Policies) -> Option<Policy> {
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
            "no trust anchor; write trust-anchors = [\"example.com. DS …\"] or trust-anchor-file = \"FILE\" with the DS or DNSKEY of the KSK",
        );
        return None;
    }
    let zone = zone?;
    let mut anchors: Vec<TrustAnchor> = Vec::new();
    let mut add = |value: &Value<'_, '_>, found: Result<Vec<TrustAnchor>, String>| match found {
        Ok(found) if found.is_empty() => value.error("holds no DS or DNSKEY record"),
        Ok(found) => {
            for anchor in found {
                if !anchors.contains(&anchor) {
                    anchors.push(anchor);
                }
            }
        }
        Err(what) => value.error(what),
    };
    if let Some(value) = inline {
        let texts = value.array()?;
        if texts.is_empty() || texts.len() > MAX_ANCHORS {
            value.error(format!("expected 1 to {MAX_ANCHORS} DS or DNSKEY records"));
            return None;
        }
        for value in &texts {
            if let Some(text) = value.string() {
                add(value, parse_trust_anchors(text, zone).map_err(|e| format!("{} {}", e.id, e.what)));
            }
        }
    }
    let mut path = None;
    if let Some(value) = file {
        let named = value.path()?;
        let learnt = match anchor_file(&named, zone) {
            Ok(found) if found.is_empty() => need == Anchors::Needed,
            Err(_) => need == Anchors::Needed || named.exists(),
            Ok(_) => true,
        };
        if learnt {
            add(&value, anchor_file(&named, zone));
        }
        path = Some(named);
    }
    (!anchors.is_empty() || need == Anchors::ToBeLearnt).then_some((anchors, path))
}

fn anchor_file(path: &Path, zone: &Name) -> Result<Vec<TrustAnchor>, String> {
    let shown = path.display();
    let octets = read_regular(path, MAX_ANCHOR_FILE).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("{shown}: {e}; `skr-loader trust learn` writes it"),
        _ => format!("{shown}: {e}"),
    })?;
    let text = String::from_utf8_lossy(&octets);
    parse_trust_anchors(&text, zone).map_err(|e| format!("{shown}:{}: {} {}", e.line, e.id, e.what))
}

// --- daemons --------------------------------------------------------------------------------------------------------

fn ksr(top: &mut Table<'_, '_>) -> KsrConfig {
    let mut ksr = KsrConfig::default();
    let Some(mut table) = top.get(Section::Ksr.key()).and_then(|v| v.table()) else { return ksr };
    ksr.enabled = table.get("enabled").and_then(|v| v.boolean()).unwrap_or(ksr.enabled);
    let lead = table.get("lead");
    ksr.lead = lead.as_ref().and_then(Value::duration).unwrap_or(ksr.lead);
    ksr.period = table.get("period").and_then(|v| v.duration()).unwrap_or(ksr.period);
    if let Some(value) = table.get("on-request") {
        ksr.on_request = super::deliver::words(&value).unwrap_or_default();
    }
    if let Some(value) = table.get("on-request-timeout") {
        ksr.on_request_timeout = value.duration().unwrap_or(ksr.on_request_timeout);
        if !(1..=600).contains(&ksr.on_request_timeout) {
            value.error("must be from 1 second to 10 minutes: the other zones wait for it");
        }
    }
    if let Some(value) = table.get("mail-from") {
        ksr.mail_from = mailbox(&value).unwrap_or_default();
    }
    if let Some(value) = table.get("mail-to") {
        let values = value.array().unwrap_or_default();
        if values.len() > MAX_RECEIVERS {
            value.error(format!("expected at most {MAX_RECEIVERS} addresses; use a list of the mail server"));
        }
        ksr.mail_to = values.iter().filter_map(mailbox).collect();
    }
    if ksr.enabled && ksr.lead >= ksr.period {
        table.error(format!(
            "lead ({} s) must be shorter than period ({} s), else a request is due for ever",
            ksr.lead, ksr.period
        ));
    }
    table.finish();
    ksr
}

/// A mail address as it may stand in a header: what could end the line or begin another address is refused.
fn mailbox(value: &Value<'_, '_>) -> Option<String> {
    let text = value.string()?;
    let plain = |c: char| c.is_ascii_graphic() && !"()<>[]:;,\\\"".contains(c);
    let good = (1..=254).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-');
    if !good {
        value.error(
            "must be a plain mail address, such as \"ksk@example.com\": no name, no brackets, no list",
        );
    }
    good.then(|| text.to_owned())
}

/// `[loader]`, and its `require-signature`.
fn loader(top: &mut Table<'_, '_>, ksr: &KsrConfig) -> (LoaderConfig, bool) {
    let (mut loader, mut require_signature) = (LoaderConfig::default(), false);
    let value = top.get(Section::Loader.key());
    let mut table = value.as_ref().and_then(Value::table);
    if let Some(table) = &mut table {
        if let Some(value) = table.get("rescan-interval") {
            loader.rescan_interval = value.duration().unwrap_or(loader.rescan_interval);
            if !(1..=86_400).contains(&loader.rescan_interval) {
                value.error("must be from 1 second to 1 day");
            }
        }
        if let Some(value) = table.get("poll-interval") {
            loader.poll_interval = value.duration().unwrap_or(loader.poll_interval);
            if !(1..=3600).contains(&loader.poll_interval) {
                value.error("must be from 1 second to 1 hour");
            }
        }
        if let Some(value) = table.get("watch") {
            match value.string() {
                Some("events") => loader.watch = WatchMode::Events,
                Some("poll") => loader.watch = WatchMode::Poll,
                Some(_) => {
                    value.error("must be \"events\" (the kernel tells) or \"poll\" (for NFS and the like)")
                }
                None => {}
            }
        }
        let mut limit = |key, range, field: &mut u32| {
            *field = table.get(key).and_then(|v| v.integer(range)).unwrap_or(*field);
        };
        limit("rejected-max-files", 1..=1_000_000, &mut loader.rejected_max_files);
        limit("rejected-max-octets", 1 << 20..=u32::MAX, &mut loader.rejected_max_octets);
        if let Some(value) = table.get("control-socket") {
            loader.control_socket = value.path();
            if loader.control_socket.as_ref().is_some_and(|path| path.as_os_str().len() > MAX_SOCKET_PATH) {
                value.error(format!(
                    "must have at most {MAX_SOCKET_PATH} octets: the kernel takes no longer name"
                ));
            }
        }
        if let Some(value) = table.get("control-group") {
            loader.control_group = value.string().filter(|name| !name.is_empty()).map(str::to_owned);
            if value.is_string() && loader.control_group.is_none() {
                value.error("must be the name of a group");
            }
        }
        if let Some(value) = table.get("operator-certificates") {
            let files = value.array().unwrap_or_default();
            if files.is_empty() {
                value.error("names no file; leave it out where nobody signs what is dropped");
            }
            loader.operator_certificates = files.iter().flat_map(certificates).collect();
        }
        require_signature = table.get("require-signature").and_then(|v| v.boolean()).unwrap_or(false);
        if let Some(value) = table.get("parent-resolver") {
            loader.parent_resolver = address(&value).filter(|address| {
                let good = address.port() != 0 && !address.ip().is_unspecified();
                if !good {
                    value.error("must be an address that can be asked, like 127.0.0.1:53 or [::1]:53");
                }
                good
            });
        }
        if let Some(value) = table.get("parent-check") {
            loader.parent_check = match value.string() {
                Some("reject") => ParentCheck::Reject,
                Some("warn") | None => ParentCheck::Warn,
                Some(_) => {
                    value.error("must be \"warn\" or \"reject\"");
                    ParentCheck::Warn
                }
            };
            if loader.parent_resolver.is_none() {
                value.error("says what the answer of parent-resolver = \"IP:PORT\" means, and there is none");
            }
        }
        let mut threshold =
            |key, field: &mut u32| *field = table.get(key).and_then(|v| v.duration()).unwrap_or(*field);
        threshold("coverage-info", &mut loader.coverage_info);
        threshold("coverage-warning", &mut loader.coverage_warning);
        threshold("coverage-critical", &mut loader.coverage_critical);
    }
    // With defaults too: the period of [ksr] may be too short for them.
    let error = |what: String| match &table {
        Some(table) => table.error(what),
        None => top.error(format!("loader: {what}")),
    };
    let (info, warning, critical) = (loader.coverage_info, loader.coverage_warning, loader.coverage_critical);
    if !(critical < warning && warning < info) {
        error(format!(
            "coverage-critical ({critical} s) must be less than coverage-warning ({warning} s), and that less than coverage-info ({info} s)"
        ));
    }
    if ksr.enabled && info >= ksr.period {
        error(format!(
            "coverage-info ({info} s) must be less than the period that a request asks for ({} s), else it alerts for ever",
            ksr.period
        ));
    }
    if ksr.enabled && ksr.lead < warning {
        let what = format!(
            "the next request is written {} s before the end of the coverage, after coverage-warning ({warning} s) alerts; raise ksr.lead",
            ksr.lead
        );
        top.doc.note(table.as_ref().map_or(&top.at, |t| &t.at).warning(what));
    }
    if let Some(table) = table {
        table.finish();
    }
    (loader, require_signature)
}

/// The certificates in one file of `operator-certificates`.
fn certificates(value: &Value<'_, '_>) -> Vec<Certificate> {
    let Some(path) = value.path() else { return Vec::new() };
    let read = read_regular(&path, MAX_ANCHOR_FILE).map_err(|error| error.to_string());
    read.and_then(|pem| Certificate::read_pem(&pem)).unwrap_or_else(|what| {
        value.error(format!("{}: {what}", path.display()));
        Vec::new()
    })
}

fn signer(value: &Value<'_, '_>) -> Option<SignerConfig> {
    let mut table = value.table()?;
    let listen = table.require("listen", "[\"127.0.0.1:53\", \"[::1]:53\"]").and_then(|v| {
        let values = v.array()?;
        if values.is_empty() {
            v.error("names no address; leave [signer] out where this host does not serve");
        }
        let addresses: Option<Vec<_>> = values.iter().map(address).collect();
        let mut seen = HashSet::new();
        for (address, value) in addresses.iter().flatten().zip(&values) {
            if address.port() != 0 && !seen.insert(address) {
                value.error(format!("{address} is given twice"));
            }
        }
        addresses
    });
    table.finish();
    Some(SignerConfig { listen: listen? })
}

fn metrics(value: &Value<'_, '_>) -> Option<MetricsConfig> {
    let mut table = value.table()?;
    let remote = table.get("allow-remote").and_then(|v| v.boolean()).unwrap_or(false);
    let listen = table.require("listen", "\"127.0.0.1:9753\"").and_then(|v| {
        let address = address(&v)?;
        if !remote && !address.ip().to_canonical().is_loopback() {
            v.error(format!(
                "{address} can be reached by others, and the endpoint has neither password nor encryption; use 127.0.0.1 or [::1], or say allow-remote = true"
            ));
        }
        Some(address)
    });
    table.finish();
    Some(MetricsConfig { listen: listen? })
}

fn address(value: &Value<'_, '_>) -> Option<SocketAddr> {
    let text = value.string()?;
    let address = text.parse().ok();
    if address.is_none() {
        value.error("must be an IP address and a port, such as \"127.0.0.1:5300\" or \"[::1]:5300\"");
    }
    address
}
