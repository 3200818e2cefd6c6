//! The file of `-l`: a `named.conf`, or the same words as TOML.

use std::fmt;
use std::path::{Path, PathBuf};

use keystore::policy::{self, Policy, PolicyErrors};

use crate::keygen;

/// Why there is no policy of a name in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyRefused {
    name: String,
    path: PathBuf,
    /// What is wrong with the file, a message each. Empty when the file has no such policy, and then `what` says so.
    pub(crate) findings: Vec<String>,
    what: Option<String>,
}

impl fmt::Display for PolicyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Some(what) => f.write_str(what),
            None => write!(f, "unable to load dnssec-policy '{}' from '{}'", self.name, self.path.display()),
        }
    }
}

/// A policy, and the file that it comes from.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    pub(crate) policy: Policy,
    /// What works, and hardly as it was meant.
    pub(crate) warnings: Vec<String>,
    /// The file and those that it includes.
    pub(crate) files: Vec<PathBuf>,
}

/// Reads the policy `name` of the file.
pub(crate) fn load(path: &Path, name: &str) -> Result<PolicyFile, PolicyRefused> {
    let policies = policy::load(path).map_err(|e| explain(path, name, e))?;
    let policy = policies.get(name).map_err(|e| explain(path, name, e))?.clone().into_inner();
    let warnings =
        policies.warnings(name).iter().map(|finding| finding.to_string().replace(" warning:", "")).collect();
    Ok(PolicyFile { policy, warnings, files: policies.files().to_vec() })
}

fn explain(path: &Path, name: &str, error: PolicyErrors) -> PolicyRefused {
    let refused =
        |findings, what| PolicyRefused { name: name.to_owned(), path: path.to_owned(), findings, what };
    match error {
        PolicyErrors::Io { path, source } => {
            refused(vec![format!("open: {}: {}", path.display(), keygen::reason(&source))], None)
        }
        PolicyErrors::Findings(findings) => refused(findings.iter().map(ToString::to_string).collect(), None),
        other => refused(Vec::new(), Some(other.to_string())),
    }
}
