//! From the text to a checked [`Config`].

mod address;
mod content;
mod ksr;
mod listen;
mod loader;
mod probe;
mod query;
#[cfg(test)]
mod tests;
mod transfer;
mod zone;

use std::collections::HashSet;
use std::path::Path;

use super::{Config, ConfigErrors, ZoneConfig};
use crate::policy::table::{Document, DocumentError, Table, Value};
use crate::policy::toml::{self, Section};
use crate::policy::{Policies, PolicyFinding, Severity};
use crate::shared::Shared;

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
    named.or_else(|| Some(super::control_socket_of(&top.get(Section::StateDir.key())?.path()?)))
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
    let is_unread = doc.is_unread();
    let warnings = doc.into_findings().map_err(|findings| {
        if is_unread { ConfigErrors::Unread(findings) } else { ConfigErrors::Findings(findings) }
    })?;
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
    let (transfer, rules) = transfer::read(&mut top);
    let zones = zone::read_all(&mut top, &policies, &mut used, &(state_dir.as_deref(), need, rules));
    let ksr = ksr::read(&mut top);
    let (loader, require_signature) = loader::read(&mut top, &ksr);
    let zones = zones.map(|zones| {
        let resolved = |(zone, require): (ZoneConfig, Option<bool>)| {
            Shared::from(ZoneConfig { require_signature: require.unwrap_or(require_signature), ..zone })
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
    let signer = top.get(Section::Signer.key()).map(|v| listen::signer(&v));
    let metrics = top.get(Section::Metrics.key()).map(|v| listen::metrics(&v));
    let probe = top.get(Section::Probe.key()).map(|v| probe::read(&v, zones.as_deref()));
    top.finish();
    note_policies(doc, &policies, &used);
    Some(Config {
        state_dir: state_dir?,
        zones: zones?,
        loader,
        deliver: transposed(deliver)?.unwrap_or_default(),
        ksr,
        transfer,
        signer: transposed(signer)?,
        metrics: transposed(metrics)?,
        probe: transposed(probe)?,
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
