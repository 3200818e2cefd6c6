//! The policies and key stores of a file.

use std::path::PathBuf;

use super::finding::{PolicyErrors, PolicyFinding, PolicySeverity, has_errors};
use super::{KeyStore, Policy, draft::PolicyDraft};
use crate::shared::Shared;

/// All policies and key stores that a file (and what it includes) defines.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    policies: Vec<Checked>,
    key_stores: Vec<KeyStore>,
    warnings: Vec<PolicyFinding>,
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
struct Checked {
    policy: Shared<Policy>,
    has_keys: bool,
    findings: Vec<PolicyFinding>,
}

impl Policies {
    /// The policy `name` (case-sensitive), with BIND's defaults filled in and all its checks passed.
    ///
    /// Errors in other policies do not matter here, as for `dnssec-ksr`; [`Self::findings`] has them.
    pub fn get(&self, name: &str) -> Result<&Shared<Policy>, PolicyErrors> {
        let Some(found) = self.find(name) else {
            let known = self.names().map(str::to_owned).collect();
            return Err(PolicyErrors::Unknown { name: name.to_owned(), known });
        };
        if has_errors(&found.findings) {
            return Err(PolicyErrors::Findings(found.findings.clone()));
        }
        if !found.has_keys {
            return Err(PolicyErrors::NoKeys(name.to_owned()));
        }
        Ok(&found.policy)
    }

    /// The warnings about the policy `name`, and about the file as a whole.
    #[must_use]
    pub fn warnings(&self, name: &str) -> Vec<&PolicyFinding> {
        let all = self.warnings.iter().chain(self.of_policy(name));
        all.filter(|f| f.severity == PolicySeverity::Warning).collect()
    }

    /// The files that were read: the file itself, the `named.conf` that it names, and what they include. An output of the run that read
    /// them must replace none of these.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Notes files that were read.
    pub(crate) fn note_files(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        self.files.extend(files);
    }

    /// All findings, of all policies.
    pub fn findings(&self) -> impl Iterator<Item = &PolicyFinding> {
        self.warnings.iter().chain(self.policies.iter().flat_map(|c| &c.findings))
    }

    /// What was found in the file as a whole.
    pub(crate) fn of_file(&self) -> &[PolicyFinding] {
        &self.warnings
    }

    /// What was found in one policy.
    pub(crate) fn of_policy(&self, name: &str) -> &[PolicyFinding] {
        self.find(name).map_or(&[], |c| &c.findings)
    }

    fn find(&self, name: &str) -> Option<&Checked> {
        self.policies.iter().find(|c| c.policy.name == name)
    }

    /// The names of the policies, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|c| c.policy.name.as_str())
    }

    /// The key store `name` (case-sensitive).
    #[must_use]
    pub fn key_store(&self, name: &str) -> Option<&KeyStore> {
        self.key_stores.iter().find(|s| s.name == name)
    }

    /// The key stores, in the order of the file.
    pub fn key_stores(&self) -> impl Iterator<Item = &KeyStore> {
        self.key_stores.iter()
    }

    /// Checks the drafts against each other and the key stores.
    ///
    /// `findings` are those of the file as a whole; an error among them is the error of everything, and then the findings of
    /// the policies come along.
    pub(crate) fn build(
        drafts: Vec<PolicyDraft>,
        key_stores: Vec<KeyStore>,
        mut findings: Vec<PolicyFinding>,
    ) -> Result<Self, PolicyErrors> {
        let mut policies: Vec<Checked> = Vec::new();
        for draft in drafts {
            let (name, at) = (draft.name.clone(), draft.at.clone());
            let has_keys = draft.keys.as_ref().is_some_and(|k| !k.is_empty());
            let (policy, found) = draft.finish(&key_stores);
            match policies.iter_mut().find(|c| c.policy.name == name) {
                Some(first) => {
                    let what =
                        format!("dnssec-policy: duplicately named policy found '{name}'; keep one of them");
                    first.findings.push(at.error(what));
                }
                None => policies.push(Checked { policy: policy.into(), has_keys, findings: found }),
            }
        }
        if has_errors(&findings) {
            findings.extend(policies.into_iter().flat_map(|c| c.findings));
            return Err(PolicyErrors::Findings(findings));
        }
        Ok(Self { policies, key_stores, warnings: findings, files: Vec::new() })
    }

    /// Takes in the policies of another file; a name that both have is an error.
    pub(crate) fn merge(&mut self, other: Self) {
        for mut theirs in other.policies {
            match self.policies.iter_mut().find(|c| c.policy.name == theirs.policy.name) {
                Some(ours) => ours.findings.append(&mut theirs.findings),
                None => self.policies.push(theirs),
            }
        }
        self.key_stores.extend(other.key_stores);
        self.warnings.extend(other.warnings);
        self.files.extend(other.files);
    }
}
