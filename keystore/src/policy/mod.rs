//! `dnssec-policy`: the vocabulary, defaults and checks of BIND 9.20, from TOML or from a `named.conf`.
//!
//! ```text
//! named.conf ──named_conf──┐
//!                          ├──▶ PolicyDraft (as written, with lines) ──finish (all checks)──▶ Policies ──get──▶ Policy
//! TOML ────────toml────────┘
//! ```

mod draft;
pub(crate) mod finding;
pub mod lexer;
pub mod named_conf;
mod set;
pub(crate) mod table;
pub mod toml;

pub use finding::{PolicyErrors, PolicyFinding, PolicySeverity};
pub use set::Policies;

use std::fmt;
use std::path::PathBuf;

use crate::crypto::Algorithm;
use crate::crypto::pkcs11::{Pkcs11Uri, TokenError};

/// What the formulas take for the largest TTL of a zone under a policy without `max-zone-ttl`, in seconds: a week, as BIND does.
pub const UNLIMITED_ZONE_TTL: u32 = 604_800;

/// Reads the policies of a file in either syntax: TOML when its name ends in `.toml` or its first statement looks like it, else `named.conf`.
pub fn load(path: &std::path::Path) -> Result<Policies, PolicyErrors> {
    let is = |suffix: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(suffix));
    if is("toml") {
        return toml::load(path);
    }
    if is("conf") {
        return named_conf::load(path);
    }
    let octets = named_conf::read_regular(path, named_conf::MAX_FILE)
        .map_err(|source| PolicyErrors::Io { path: path.to_owned(), source })?;
    if looks_like_toml(&octets) { toml::parse(&octets, path) } else { named_conf::parse(&octets, path) }
}

/// The first line that is neither blank nor a `#` comment is `[…` or `key = …`, which no `named.conf` has.
fn looks_like_toml(octets: &[u8]) -> bool {
    let lines = octets.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    lines.into_iter().find(|l| !l.is_empty() && !l.starts_with(b"#")).is_some_and(|line| {
        let key = line.iter().take_while(|b| b.is_ascii_alphanumeric() || b"-_.\"'".contains(b)).count();
        line.starts_with(b"[") || line[key..].trim_ascii_start().starts_with(b"=")
    })
}

/// A policy, with BIND's defaults filled in. Durations are in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name, case-sensitive.
    pub name: String,
    /// Key entries in the order of the file.
    pub keys: Vec<KeyPolicy>,
    /// TTL of DNSKEY, CDS and CDNSKEY.
    pub dnskey_ttl: u32,
    /// The statement `publish-safety`, in seconds.
    pub publish_safety: u32,
    /// The statement `retire-safety`, in seconds.
    pub retire_safety: u32,
    /// The statement `zone-propagation-delay`, in seconds.
    pub zone_propagation_delay: u32,
    /// The statement `parent-propagation-delay`, in seconds.
    pub parent_propagation_delay: u32,
    /// The statement `parent-ds-ttl`, in seconds.
    pub parent_ds_ttl: u32,
    /// `max-zone-ttl`; 0 = no limit (see [`Policy::effective_max_zone_ttl`]).
    pub max_zone_ttl: u32,
    /// The statement `signatures-validity`, in seconds.
    pub signatures_validity: u32,
    /// The statement `signatures-validity-dnskey`, in seconds.
    pub signatures_validity_dnskey: u32,
    /// The statement `signatures-refresh`, in seconds.
    pub signatures_refresh: u32,
    /// The statement `signatures-jitter`, in seconds.
    pub signatures_jitter: u32,
    /// `purge-keys`; 0 = never.
    pub purge_keys: u32,
    /// `cds-digest-types`, in order; empty = no CDS.
    pub cds_digest_types: Vec<u8>,
    /// Whether CDNSKEY records are published (`cdnskey`).
    pub cdnskey: bool,
    /// Whether named signs a copy of the zone (`inline-signing`).
    pub inline_signing: bool,
    /// Whether the KSK is offline (`offline-ksk`).
    pub offline_ksk: bool,
    /// Whether named waits for an order before each step of a roll (`manual-mode`).
    pub manual_mode: bool,
    /// `nsec3param`; `None` = NSEC.
    pub nsec3: Option<Nsec3Param>,
}

/// Parameters of NSEC3 (`nsec3param`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nsec3Param {
    /// Additional iterations of the hash (`iterations`); 0 by RFC 9276, at most 50.
    pub iterations: u16,
    /// Whether insecure delegations are left out of the chain (`optout`).
    pub opt_out: bool,
    /// `salt-length`, octets.
    pub salt_length: u8,
}

/// Role of a key entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// Key-signing key.
    Ksk,
    /// Zone-signing key.
    Zsk,
    /// Combined signing key.
    Csk,
}

/// One entry of `keys { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    /// What the key signs: KSK, ZSK or both.
    pub role: KeyRole,
    /// Lifetime in seconds; 0 = unlimited.
    pub lifetime: u32,
    /// Number of the DNSSEC algorithm.
    pub algorithm: Algorithm,
    /// Key size in bits (RSA 2048 by default, else fixed).
    pub bits: u16,
    /// Allowed key tags, both ends included.
    pub tag_range: (u16, u16),
    /// The `key-store` that it names; `None` = `key-directory`.
    pub key_store: Option<KeyStore>,
}

impl Policy {
    /// The built-in values of BIND 9.20, with no keys.
    #[must_use]
    pub fn with_defaults(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            keys: Vec::new(),
            dnskey_ttl: 3600,
            publish_safety: 3600,
            retire_safety: 3600,
            zone_propagation_delay: 300,
            parent_propagation_delay: 3600,
            parent_ds_ttl: 86400,
            max_zone_ttl: 86400,
            signatures_validity: 14 * 86400,
            signatures_validity_dnskey: 14 * 86400,
            signatures_refresh: 5 * 86400,
            signatures_jitter: 12 * 3600,
            purge_keys: 90 * 86400,
            cds_digest_types: vec![2],
            cdnskey: true,
            inline_signing: true,
            offline_ksk: false,
            manual_mode: false,
            nsec3: None,
        }
    }

    /// `max-zone-ttl` as the formulas use it: 604800 when there is no limit.
    #[must_use]
    pub const fn effective_max_zone_ttl(&self) -> u32 {
        if self.max_zone_ttl == 0 { UNLIMITED_ZONE_TTL } else { self.max_zone_ttl }
    }

    /// This policy for a zone whose largest TTL is known: where that is above `max-zone-ttl`, the times of keys and the proof over caches
    /// reckon with it.
    #[must_use]
    pub fn reckoning_with(&self, largest_ttl: Option<u32>) -> Self {
        let max_zone_ttl = match largest_ttl {
            Some(ttl) if ttl > self.effective_max_zone_ttl() => ttl,
            _ => self.max_zone_ttl,
        };
        Self { max_zone_ttl, ..self.clone() }
    }

    /// Time a key is published before it is used: `dnskey-ttl + publish-safety + zone-propagation-delay`.
    #[must_use]
    pub fn prepublication(&self) -> u64 {
        u64::from(self.dnskey_ttl) + u64::from(self.publish_safety) + u64::from(self.zone_propagation_delay)
    }

    /// Time between Inactive and Delete of a ZSK.
    #[must_use]
    pub fn zsk_retirement(&self) -> u64 {
        u64::from(self.effective_max_zone_ttl())
            + u64::from(self.zone_propagation_delay)
            + u64::from(self.retire_safety)
            + u64::from(self.signatures_validity.saturating_sub(self.signatures_refresh))
    }

    /// Time between Inactive and Delete of a KSK.
    #[must_use]
    pub fn ksk_retirement(&self) -> u64 {
        u64::from(self.parent_ds_ttl)
            + u64::from(self.parent_propagation_delay)
            + u64::from(self.retire_safety)
    }
}

/// `key-store`: where a key entry that names it has its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStore {
    /// Its name, case-sensitive.
    pub name: String,
    /// `directory`, as written (relative to the working folder).
    pub directory: Option<PathBuf>,
    /// `pkcs11-uri` (RFC 7512).
    pub pkcs11_uri: Option<String>,
    /// The file that defines it.
    pub path: PathBuf,
    /// The line where it begins, from 1.
    pub line: u32,
}

impl KeyStore {
    /// The token of its `pkcs11-uri`; `None` for a key store without one.
    ///
    /// # Errors
    /// When the URI does not read, or names a key.
    pub fn token(&self) -> Result<Option<Pkcs11Uri>, TokenError> {
        let Some(text) = &self.pkcs11_uri else { return Ok(None) };
        let uri = Pkcs11Uri::parse(text)?;
        match uri.object.is_some() || uri.id.is_some() {
            true => Err(TokenError::UriOfKey),
            false => Ok(Some(uri)),
        }
    }
}

/// `FILE:LINE: key-store 'NAME'`, for messages.
impl fmt::Display for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: key-store '{}'", self.path.display(), self.line, self.name)
    }
}
