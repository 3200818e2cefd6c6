//! The file of `-l`: a `named.conf`, or the same words as TOML.

use std::path::Path;

use keystore::policy::{self, Policy, PolicyErrors};

use crate::keygen;

/// A policy with what is to be said about it; or the errors, each a message of its own, the last one fatal.
pub(crate) type Loaded = Result<(Policy, Vec<String>), (Vec<String>, String)>;

/// Reads the policy `name` of the file.
pub(crate) fn load(path: &Path, name: &str) -> Loaded {
    let policies = policy::load(path).map_err(|e| explain(path, name, e))?;
    let policy = policies.get(name).map_err(|e| explain(path, name, e))?.clone();
    let warnings =
        policies.warnings(name).iter().map(|finding| finding.to_string().replace(" warning:", "")).collect();
    Ok((policy, warnings))
}

fn explain(path: &Path, name: &str, error: PolicyErrors) -> (Vec<String>, String) {
    let unable = format!("unable to load dnssec-policy '{name}' from '{}'", path.display());
    match error {
        PolicyErrors::Io { path, source } => {
            (vec![format!("open: {}: {}", path.display(), keygen::reason(&source))], unable)
        }
        PolicyErrors::Findings(findings) => (findings.iter().map(ToString::to_string).collect(), unable),
        other => (Vec::new(), other.to_string()),
    }
}
