//! What is found in a policy or configuration file, with file and line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicySeverity {
    /// It works, and hardly as it was meant.
    Warning,
    /// It cannot work; the file is refused.
    Error,
}

/// One finding. `Display` is `FILE:LINE: TEXT` for an error, and says `warning:` before the text of a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFinding {
    /// How bad it is.
    pub severity: PolicySeverity,
    /// The file, as it was named.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong, and what to write.
    pub what: String,
}

impl fmt::Display for PolicyFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.severity == PolicySeverity::Warning { "warning: " } else { "" };
        write!(f, "{}:{}: {warning}{}", self.path.display(), self.line, self.what)
    }
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyErrors {
    /// The file could not be read.
    #[error("open: {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
    /// What the file says is wrong: every error, and the warnings beside them, in the order of the file.
    #[error("{}", lines(.0))]
    Findings(Vec<PolicyFinding>),
    /// No policy has this name.
    #[error("failed to load dnssec-policy '{name}'{}", known_names(.known))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The policy lists no keys; what `named` inherits then (one `csk`) cannot be used with an offline KSK.
    #[error("dnssec-policy '{0}' has no keys configured")]
    NoKeys(String),
}

fn lines(findings: &[PolicyFinding]) -> String {
    findings.iter().map(PolicyFinding::to_string).collect::<Vec<_>>().join("\n")
}

fn known_names(known: &[String]) -> String {
    match known {
        [] => ": the file defines no policy".to_owned(),
        known => format!(": the file defines '{}'", known.join("', '")),
    }
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub path: Arc<Path>,
    pub line: u32,
}

impl Place {
    pub fn error(&self, what: impl Into<String>) -> PolicyFinding {
        self.finding(PolicySeverity::Error, what.into())
    }

    pub fn warning(&self, what: impl Into<String>) -> PolicyFinding {
        self.finding(PolicySeverity::Warning, what.into())
    }

    fn finding(&self, severity: PolicySeverity, what: String) -> PolicyFinding {
        PolicyFinding { severity, path: self.path.to_path_buf(), line: self.line, what }
    }
}

/// Most findings that are kept of one file or policy: enough for any person, and a bound for a hostile file.
pub(crate) const MAX_FINDINGS: usize = 1000;

/// True when one of the findings is an error.
pub(crate) fn has_errors(findings: &[PolicyFinding]) -> bool {
    findings.iter().any(|f| f.severity == PolicySeverity::Error)
}

/// The word of `known` that `word` was probably meant to be, for a hint.
pub(crate) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let distance = |a: &str, b: &str| {
        // Levenshtein, one row at a time; both words are short.
        let b: Vec<char> = b.chars().collect();
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, ca) in a.chars().enumerate() {
            let mut left_above = row[0];
            row[0] = i + 1;
            for (j, cb) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = (left_above + usize::from(ca != *cb)).min(above + 1).min(row[j] + 1);
                left_above = above;
            }
        }
        row[b.len()]
    };
    if word.len() > 64 {
        return None;
    }
    let best = known.iter().map(|k| (distance(&word, k), *k)).min()?;
    (best.0 <= 1 + word.len() / 4).then_some(best.1)
}

/// ` (did you mean 'X'?)`, or nothing.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    closest(word, known).map(|k| format!(" (did you mean '{k}'?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let known = ["dnskey-ttl", "keys", "offline-ksk"];
        assert_eq!(closest("dnskeyttl", &known), Some("dnskey-ttl"));
        assert_eq!(closest("Offline_KSK", &known), Some("offline-ksk"));
        assert_eq!(closest("key", &known), Some("keys"));
        assert_eq!(closest("something", &known), None);
        assert_eq!(closest("", &[]), None);
    }
}
