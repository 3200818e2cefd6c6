//! A policy as written, before it is checked; and the checks, the same for both syntaxes.

use super::finding::{Place, PolicyFinding};
use super::{KeyPolicy, KeyRole, KeyStore, Nsec3Param, Policy};
use crate::crypto::Algorithm;
use crate::dns::nsec3;

/// A policy as a file has it: every value with its line.
#[derive(Debug, Clone)]
pub(crate) struct PolicyDraft {
    pub name: String,
    pub at: Place,
    /// Defaults, with the durations and booleans of the file put in.
    pub values: Policy,
    /// The options that were given, to point at them and to find doubles.
    pub given: Vec<(&'static str, Place)>,
    /// `keys`; `None` when the file has no such statement.
    pub keys: Option<Vec<KeyDraft>>,
    /// An entry of `keys` could not be read, and has its finding.
    pub keys_broken: bool,
    /// `cds-digest-types`, as written.
    pub digests: Option<Vec<(String, Place)>>,
    pub nsec3: Option<Nsec3Draft>,
    /// What the reader found wrong inside of this policy.
    pub findings: Vec<PolicyFinding>,
}

#[derive(Debug, Clone)]
pub(crate) struct KeyDraft {
    pub role: KeyRole,
    /// `key-store NAME`; `None` = `key-directory`.
    pub key_store: Option<String>,
    /// 0 = unlimited.
    pub lifetime: u32,
    /// As written.
    pub algorithm: String,
    pub tag_range: Option<(u32, u32)>,
    pub bits: Option<u32>,
    pub at: Place,
}

#[derive(Debug, Clone)]
pub(crate) struct Nsec3Draft {
    pub iterations: u32,
    pub opt_out: bool,
    pub salt_length: u32,
    pub at: Place,
}

/// All options of a policy.
pub(crate) const OPTIONS: [&str; 19] = [
    "cdnskey",
    "cds-digest-types",
    "dnskey-ttl",
    "inline-signing",
    "keys",
    "manual-mode",
    "max-zone-ttl",
    "nsec3param",
    "offline-ksk",
    "parent-ds-ttl",
    "parent-propagation-delay",
    "publish-safety",
    "purge-keys",
    "retire-safety",
    "signatures-jitter",
    "signatures-refresh",
    "signatures-validity",
    "signatures-validity-dnskey",
    "zone-propagation-delay",
];

/// Names that BIND defines itself; `named` does not allow a policy of such a name, `dnssec-ksr` does.
const BUILT_IN: [&str; 3] = ["insecure", "none", "default"];

/// The name that means `key-directory` where a key store is named.
pub(crate) const KEY_DIRECTORY: &str = "key-directory";

/// Largest TTL (RFC 2181 section 8), and the longest distance that RRSIG times can tell (RFC 4034 section 3.1.5), in seconds.
const MAX_31_BIT: u32 = 0x7fff_ffff;
const DAY: u32 = 86_400;

impl PolicyDraft {
    pub fn new(name: &str, at: Place) -> Self {
        Self {
            name: name.to_owned(),
            at,
            values: Policy::with_defaults(name),
            given: Vec::new(),
            keys: None,
            keys_broken: false,
            digests: None,
            nsec3: None,
            findings: Vec::new(),
        }
    }

    /// Notes that `option` (one of [`OPTIONS`], lower case) is given at `at`; false, with a finding, for a second time.
    pub fn give(&mut self, option: &'static str, at: &Place) -> bool {
        if let Some((_, first)) = self.given.iter().find(|(name, _)| *name == option) {
            let what = format!("'{option}' redefined; it is already in line {}", first.line);
            self.findings.push(at.error(what));
            return false;
        }
        self.given.push((option, at.clone()));
        true
    }

    /// The field of an option that is a duration.
    pub fn duration_mut(&mut self, option: &str) -> Option<&mut u32> {
        let v = &mut self.values;
        Some(match option {
            "dnskey-ttl" => &mut v.dnskey_ttl,
            "max-zone-ttl" => &mut v.max_zone_ttl,
            "parent-ds-ttl" => &mut v.parent_ds_ttl,
            "parent-propagation-delay" => &mut v.parent_propagation_delay,
            "publish-safety" => &mut v.publish_safety,
            "purge-keys" => &mut v.purge_keys,
            "retire-safety" => &mut v.retire_safety,
            "signatures-jitter" => &mut v.signatures_jitter,
            "signatures-refresh" => &mut v.signatures_refresh,
            "signatures-validity" => &mut v.signatures_validity,
            "signatures-validity-dnskey" => &mut v.signatures_validity_dnskey,
            "zone-propagation-delay" => &mut v.zone_propagation_delay,
            _ => return None,
        })
    }

    /// The field of an option that is a boolean.
    pub fn bool_mut(&mut self, option: &str) -> Option<&mut bool> {
        let v = &mut self.values;
        Some(match option {
            "cdnskey" => &mut v.cdnskey,
            "inline-signing" => &mut v.inline_signing,
            "manual-mode" => &mut v.manual_mode,
            "offline-ksk" => &mut v.offline_ksk,
            _ => return None,
        })
    }

    /// Line of an option, of the policy when it is not given.
    fn place(&self, option: &str) -> &Place {
        self.given.iter().find(|(name, _)| *name == option).map_or(&self.at, |(_, at)| at)
    }

    /// Checks everything as BIND does (same meaning, same words, more lines): the policy, and all findings sorted by line.
    ///
    /// The policy is meaningful only when no finding is an error.
    pub fn finish(mut self, key_stores: &[KeyStore]) -> (Policy, Vec<PolicyFinding>) {
        let mut policy = self.values.clone();
        let mut found = std::mem::take(&mut self.findings);
        if BUILT_IN.contains(&self.name.as_str()) {
            let what = format!(
                "dnssec-policy name '{}' is a built-in policy of named, which will refuse this file; choose another name",
                self.name
            );
            found.push(self.at.warning(what));
        }
        if let Some(digests) = &self.digests {
            policy.cds_digest_types = check_digests(digests, &mut found);
        }
        self.check_signature_times(&mut found);
        self.check_ranges(&mut found);
        for key in self.keys.as_deref().unwrap_or_default() {
            policy.keys.extend(self.check_key(key, key_stores, &mut found));
        }
        // A key entry that was refused must not also count as a missing role.
        if !self.keys_broken && policy.keys.len() == self.keys.as_ref().map_or(0, Vec::len) {
            self.check_roles(&policy.keys, &mut found);
        }
        if let Some(nsec3) = &self.nsec3 {
            policy.nsec3 = check_nsec3(nsec3, &policy.keys, &mut found);
        }
        found.sort_by_key(|f| (f.path != *self.at.path, f.line));
        (policy, found)
    }

    fn check_signature_times(&self, found: &mut Vec<PolicyFinding>) {
        let v = &self.values;
        for (option, validity) in [
            ("signatures-validity-dnskey", v.signatures_validity_dnskey),
            ("signatures-validity", v.signatures_validity),
        ] {
            if u64::from(v.signatures_refresh) * 10 >= u64::from(validity) * 9 {
                let what = format!(
                    "dnssec-policy: policy '{}' signatures-refresh must be at most 90% of the {option} ({} s of {validity} s)",
                    self.name, v.signatures_refresh
                );
                found.push(self.place("signatures-refresh").error(what));
            }
            if v.signatures_jitter > validity {
                let what = format!(
                    "dnssec-policy: policy '{}' signatures-jitter cannot be larger than {option} ({} s, {validity} s)",
                    self.name, v.signatures_jitter
                );
                found.push(self.place("signatures-jitter").error(what));
            }
        }
        // The default is for the default of signatures-refresh; with a smaller one less of it is used.
        let is_given = self.given.iter().any(|(name, _)| *name == "signatures-jitter");
        if is_given && v.signatures_jitter > v.signatures_refresh {
            let what = format!(
                "dnssec-policy: policy '{}' signatures-jitter cannot be larger than signatures-refresh ({} s, {} s)",
                self.name, v.signatures_jitter, v.signatures_refresh
            );
            found.push(self.place("signatures-jitter").error(what));
        }
    }

    /// What BIND does not look at, and no resolver can work with.
    fn check_ranges(&self, found: &mut Vec<PolicyFinding>) {
        let v = &self.values;
        for (option, value) in [
            ("dnskey-ttl", v.dnskey_ttl),
            ("signatures-validity", v.signatures_validity),
            ("signatures-validity-dnskey", v.signatures_validity_dnskey),
        ] {
            if value > MAX_31_BIT {
                let what =
                    format!("dnssec-policy: policy '{}' {option} must be at most {MAX_31_BIT} s", self.name);
                found.push(self.place(option).error(what));
            }
        }
    }

    fn check_key(
        &self,
        key: &KeyDraft,
        key_stores: &[KeyStore],
        found: &mut Vec<PolicyFinding>,
    ) -> Option<KeyPolicy> {
        let before = found.len();
        let mut error = |what: String| found.push(key.at.error(format!("dnssec-policy: {what}")));
        if key.role == KeyRole::Csk && self.values.offline_ksk {
            error("csk keys are not allowed when offline-ksk is enabled; list a ksk and a zsk".to_owned());
        }
        let algorithm = Algorithm::parse(&key.algorithm).filter(|_| !key.algorithm.starts_with('+'));
        match algorithm {
            None => error(format!("bad algorithm {}", key.algorithm)),
            Some(a) if !a.can_verify() => error(format!("algorithm {} not supported", key.algorithm)),
            Some(_) => {}
        }
        let algorithm = algorithm.unwrap_or(Algorithm(0));
        if let (true, Some(bits)) = (algorithm.is_rsa(), key.bits)
            && !(1024..=4096).contains(&bits)
        {
            error(format!(
                "key with algorithm {} has invalid key length {bits}; RSA takes 1024 to 4096 bits",
                key.algorithm
            ));
        }
        let tag_range = key.tag_range.unwrap_or((0, 0xffff));
        let tags = match (u16::try_from(tag_range.0), u16::try_from(tag_range.1)) {
            (Err(_), _) => Err("tag-min too big"),
            (_, Err(_)) => Err("tag-max too big"),
            (Ok(min), Ok(max)) if min >= max => Err("tag-min >= tag_max"),
            (Ok(min), Ok(max)) => Ok((min, max)),
        };
        if let Err(what) = tags {
            error(format!("{what} (tag-range {} {})", tag_range.0, tag_range.1));
        }
        let key_store = key.key_store.as_ref().and_then(|name| key_stores.iter().find(|s| s.name == *name));
        if let (Some(store), None) = (&key.key_store, key_store) {
            error(format!("keystore {store} does not exist; define it with key-store"));
        }
        let retirement = self.retirement(key.role, self.values.max_zone_ttl);
        if key.lifetime > 0 && u64::from(key.lifetime) <= retirement {
            error(format!(
                "key lifetime is shorter than the time it takes to do a rollover ({} s, more than {retirement} s needed)",
                key.lifetime
            ));
        }
        let broken = found.len() > before;
        self.warn_of_key(key, algorithm, found);
        let tag_range = tags.ok().filter(|_| !broken)?;
        let bits = algorithm.fixed_bits().or_else(|| u16::try_from(key.bits.unwrap_or(2048)).ok())?;
        Some(KeyPolicy {
            role: key.role,
            lifetime: key.lifetime,
            algorithm,
            bits,
            tag_range,
            key_store: key_store.cloned(),
        })
    }

    fn warn_of_key(&self, key: &KeyDraft, algorithm: Algorithm, found: &mut Vec<PolicyFinding>) {
        let mut warn = |what: String| found.push(key.at.warning(format!("dnssec-policy: {what}")));
        if algorithm.can_verify() && !algorithm.can_sign() {
            warn(format!(
                "DNSSEC algorithm {} is deprecated; it is verified here, and never signed with",
                key.algorithm
            ));
        }
        if let (Some(fixed), Some(given)) = (algorithm.fixed_bits(), key.bits) {
            warn(format!(
                "key algorithm {} has predefined length; ignoring length value {given} (it is {fixed})",
                key.algorithm
            ));
        }
        if key.lifetime > 0 && key.lifetime < 30 * DAY {
            warn("key lifetime is shorter than 30 days".to_owned());
        }
        let retirement = self.retirement(key.role, self.values.max_zone_ttl);
        let reckoned = self.retirement(key.role, self.values.effective_max_zone_ttl());
        let lifetime = u64::from(key.lifetime);
        if lifetime > retirement && lifetime <= reckoned {
            warn(format!(
                "without max-zone-ttl a rollover is reckoned with a TTL of a week and takes {reckoned} s, longer than the key lifetime of {lifetime} s"
            ));
        }
    }

    /// `max(Ipub, Iret)`: what a lifetime must exceed (RFC 7583 sections 3.2.1 and 3.3.1).
    fn retirement(&self, role: KeyRole, max_zone_ttl: u32) -> u64 {
        let v = &self.values;
        let ksk = v.ksk_retirement();
        let zsk = u64::from(v.signatures_validity.saturating_sub(v.signatures_refresh))
            + u64::from(max_zone_ttl)
            + u64::from(v.retire_safety)
            + u64::from(v.zone_propagation_delay);
        let retirement = match role {
            KeyRole::Ksk => ksk,
            KeyRole::Zsk => zsk,
            KeyRole::Csk => ksk.max(zsk),
        };
        retirement.max(v.prepublication())
    }

    fn check_roles(&self, keys: &[KeyPolicy], found: &mut Vec<PolicyFinding>) {
        let mut algorithms: Vec<_> = keys.iter().map(|k| k.algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let at = self.place("keys");
        for algorithm in algorithms {
            let count = |role| {
                let has =
                    |k: &&KeyPolicy| k.algorithm == algorithm && (k.role == role || k.role == KeyRole::Csk);
                keys.iter().filter(has).count()
            };
            let (ksks, zsks) = (count(KeyRole::Ksk), count(KeyRole::Zsk));
            if ksks == 0 || zsks == 0 {
                let missing = if ksks == 0 { "ksk" } else { "zsk" };
                let what = format!(
                    "dnssec-policy: algorithm {} requires both KSK and ZSK roles; add a {missing} entry",
                    algorithm.0
                );
                found.push(at.error(what));
            }
            for (role, keys) in [("KSK", ksks), ("ZSK", zsks)] {
                if keys > 1 {
                    let what = format!(
                        "dnssec-policy: algorithm {} has multiple keys with {role} role",
                        algorithm.0
                    );
                    found.push(at.warning(what));
                }
            }
        }
    }
}

fn check_digests(digests: &[(String, Place)], found: &mut Vec<PolicyFinding>) -> Vec<u8> {
    let mut types = Vec::new();
    for (text, at) in digests {
        let number = match text.to_ascii_uppercase().as_str() {
            "SHA1" | "SHA-1" => Some(1),
            "SHA256" | "SHA-256" => Some(2),
            "GOST" => Some(3),
            "SHA384" | "SHA-384" => Some(4),
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        };
        match number {
            None => found.push(at.error(format!(
                "dnssec-policy: bad cds digest-type {text}; write SHA-256, SHA-384 or their numbers 2, 4"
            ))),
            Some(n @ (1 | 2 | 4)) => {
                if n == 1 {
                    found.push(at.warning(format!("dnssec-policy: deprecated CDS digest-type {text}")));
                }
                if types.contains(&n) {
                    found.push(at.warning(format!("dnssec-policy: cds digest-type {text} is given twice")));
                } else {
                    types.push(n);
                }
            }
            Some(_) => found.push(
                at.error(format!("dnssec-policy: unsupported cds digest-type {text}; 2 and 4 are supported")),
            ),
        }
    }
    types
}

fn check_nsec3(draft: &Nsec3Draft, keys: &[KeyPolicy], found: &mut Vec<PolicyFinding>) -> Option<Nsec3Param> {
    let iterations = u16::try_from(draft.iterations).ok().filter(|n| *n <= nsec3::MAX_ITERATIONS);
    match iterations {
        None => found.push(draft.at.error(format!(
            "dnssec-policy: nsec3 iterations value {} not allowed, resolvers accept at most {}; write 0 (RFC 9276 section 3.1)",
            draft.iterations,
            nsec3::MAX_ITERATIONS
        ))),
        Some(0) => {}
        Some(n) => found.push(draft.at.warning(format!(
            "dnssec-policy: nsec3 iterations value {n} should be zero (RFC 9276 section 3.1); named refuses this file"
        ))),
    }
    let salt_length = u8::try_from(draft.salt_length);
    if salt_length.is_err() {
        found
            .push(draft.at.error(format!("dnssec-policy: nsec3 salt length {} too high", draft.salt_length)));
    }
    if let Some(key) = keys.iter().find(|k| !k.algorithm.works_with_nsec3()) {
        found.push(
            draft.at.error(format!("dnssec-policy: cannot use nsec3 with algorithm '{}'", key.algorithm)),
        );
    }
    Some(Nsec3Param { iterations: iterations?, opt_out: draft.opt_out, salt_length: salt_length.ok()? })
}
