//! Everything besides the SKR itself that a verdict depends on, and where it is gathered from.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use keystore::config::deliver::{Method, TargetConfig};
use keystore::config::{Config, ParentCheck, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::{Bundle, Ksr, TrustAnchor};
use keystore::keys::files::{self as key_files, Folder, FolderKeys, KeyFileError};
use keystore::keys::{Dnskey, KeyFile};
use keystore::policy::Policy;
use keystore::store::StoreError;
use keystore::time::Timestamp;

use super::requests::RequestsError;
use super::{Candidate, CandidateOrigin, requests};
use crate::accept::{self, AcceptContext};
use crate::operator::Operator;
use crate::parent::{ParentAnswer, ParentAsker};
use crate::store::AcceptedState;
use crate::store::history::SignedBefore;
use crate::store::revoked;

/// Everything besides the SKR itself that a verdict depends on. What is `None` was not asked for, and its checks do not run.
#[derive(Debug, Default)]
pub struct Evidence<'a> {
    /// The pinned KSKs of the zone.
    pub anchors: Cow<'a, [TrustAnchor]>,
    /// The KSKs that were announced: they may stand in the DNSKEY RRset.
    pub announced: Cow<'a, [TrustAnchor]>,
    /// The policy of the zone, for the proof over caches.
    pub policy: Option<Cow<'a, Policy>>,
    /// Other providers sign the zone too: their ZSKs have no files here (RFC 8901 model 1).
    pub multi_signer: bool,
    /// The SKR may ask the parent to remove the DS RRset (RFC 8078 section 4).
    pub allow_delete: bool,
    /// What the store holds for the zone.
    pub state: Option<Cow<'a, AcceptedState>>,
    /// What the generations before the one in force have signed.
    pub history: SignedBefore,
    /// What the key folder holds for the zone.
    pub keys: Option<FolderKeys>,
    /// The ZSKs of the candidate whose private key is there and cannot be used, and why.
    pub unusable: Vec<(Dnskey, String)>,
    /// ZSKs whose private keys may not be read here, and that a request proves to be held.
    pub proven: Vec<Dnskey>,
    /// The requests that are not answered yet.
    pub requests: Vec<Ksr>,
    /// What the signature of the KSK operator over the file says; `None` where no certificate is pinned.
    pub operator: Option<Operator>,
    /// The zone takes only files with such a signature.
    pub require_signature: bool,
    /// What the resolver says of the DS RRset at the parent, and what it means.
    pub parent: Option<(ParentAnswer, ParentCheck)>,
}

/// What is read or asked once for many zones.
#[derive(Debug, Default)]
pub struct Sources {
    /// Key folders, each listed once: a folder may hold the keys of all zones. `None` = it could not be listed.
    folders: HashMap<PathBuf, Option<Folder>>,
    /// Asks for the DS RRset at the parent, within the time for all of them.
    asker: ParentAsker,
}

/// What the evidence is gathered for.
#[derive(Debug)]
pub struct EvidenceSubject<'a> {
    /// The configuration of the loader.
    pub config: &'a Config,
    /// The zone in it.
    pub zone: &'a ZoneConfig,
    /// What the store holds for the zone.
    pub state: Cow<'a, AcceptedState>,
    /// What the signature of the KSK operator over the file says, if anybody's counts.
    pub operator: Option<Operator>,
    /// Where the candidate comes from.
    pub origin: CandidateOrigin,
}

/// Why evidence cannot be gathered just now. It is a fault of this host that may pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The key folder, or a file in it, cannot be read.
    #[error("the keys of the zone cannot be read: {0}")]
    Keys(#[source] KeyFileError),
    /// The older generations cannot be read.
    #[error("the accepted generations cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The open requests, or those that prove the keys, cannot be read.
    #[error("the requests in the outbox cannot be read: {0}")]
    Outbox(#[from] RequestsError),
    /// It was there a moment ago.
    #[error("the key folder changed while it was read")]
    Gone,
}

/// True for an error of the system that says nothing about the file: no descriptor, no memory, a disk that fails, no
/// permission. That a file is not there is a fact that counts.
fn may_pass(error: &KeyFileError) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    match error {
        KeyFileError::Io { source, .. } => !matches!(source.kind(), NotFound | NotADirectory | IsADirectory),
        _ => false,
    }
}

/// The ZSKs of the folder that are wanted, and whose private key cannot be used.
fn unusable(
    keys: &FolderKeys,
    is_wanted: impl Fn(&Dnskey) -> bool,
) -> Result<Vec<(Dnskey, String)>, EvidenceError> {
    let may_be_read = |file: &&KeyFile| !file.dnskey.is_ksk() && !keys.sealed.contains(&file.dnskey);
    let mut unusable = Vec::new();
    for file in keys.keys.iter().filter(|file| is_wanted(&file.dnskey)).filter(may_be_read) {
        match file.check_private() {
            Ok(()) => {}
            Err(error) if may_pass(&error) => return Err(EvidenceError::Keys(error)),
            Err(error) => unusable.push((file.dnskey.clone(), error.to_string())),
        }
    }
    Ok(unusable)
}

impl Sources {
    /// Lists the key folders again that have changed since they were listed.
    pub fn refresh(&mut self) {
        // One that cannot be listed is tried again, and told of, when keys of it are wanted.
        self.folders.retain(|_, folder| folder.as_mut().is_some_and(|folder| folder.refresh().is_ok()));
    }

    /// The keys of the zone; a folder that cannot be read has none, and says why.
    fn keys(&mut self, zone: &ZoneConfig) -> Result<FolderKeys, EvidenceError> {
        let dir = &zone.key_directory;
        let folder = self.folders.entry(dir.clone()).or_insert_with(|| Folder::scan(dir).ok());
        let found = match folder {
            Some(folder) => folder.find_sealed(&zone.name),
            None => key_files::find_sealed(dir, &zone.name)
                .unwrap_or_else(|error| FolderKeys { skipped: vec![error], ..FolderKeys::default() }),
        };
        match found.skipped.iter().position(may_pass) {
            Some(at) => {
                self.folders.remove(dir);
                Err(found.skipped.into_iter().nth(at).map_or(EvidenceError::Gone, EvidenceError::Keys))
            }
            None => Ok(found),
        }
    }
}

/// The evidence that costs next to nothing: enough to see whether a candidate is in force already, and to verify its signatures.
#[derive(Debug)]
pub struct AtHand<'a> {
    pub(super) evidence: Evidence<'a>,
    config: &'a Config,
    zone: &'a ZoneConfig,
    operator: Option<Operator>,
    origin: CandidateOrigin,
}

impl<'a> AtHand<'a> {
    /// Reads and asks everything else that counts for a candidate with these bundles.
    pub(super) fn gather(
        self,
        bundles: &[Bundle],
        sources: &mut Sources,
        now: Timestamp,
    ) -> Result<Evidence<'a>, EvidenceError> {
        let Self { evidence, config, zone, operator, origin } = self;
        let keys = sources.keys(zone)?;
        let wanted: HashSet<Dnskey> = bundles.iter().flat_map(|b| b.keys()).collect();
        let history = match origin {
            CandidateOrigin::Received => {
                let in_force = evidence.state.as_deref().and_then(|state| state.in_force.as_ref());
                SignedBefore::read(
                    &config.state_dir.join("accepted"),
                    &zone.name,
                    in_force.map(|f| f.generation),
                    now,
                )?
            }
            // That it is an older one is what is asked for.
            CandidateOrigin::Kept => evidence.history,
        };
        let (requests, operator) = match origin {
            CandidateOrigin::Received => (requests::open(&config.state_dir, &zone.name, now)?, operator),
            // It answers none of them, and was signed when it was accepted.
            CandidateOrigin::Kept => (Vec::new(), None),
        };
        let parent = config
            .loader
            .parent_resolver
            .map(|resolver| (sources.asker.ask(resolver, &zone.name), config.loader.parent_check));
        let are_knots = keys_are_knots(config, zone, &keys);
        let largest_ttl = keystore::store::largest_ttl(&config.state_dir, &zone.name)?;
        Ok(Evidence {
            policy: Some(reckoned(&zone.policy, largest_ttl, are_knots)),
            history,
            unusable: unusable(&keys, |key| wanted.contains(key))?,
            proven: requests::proven(&config.state_dir, &zone.name, &keys, &requests)?,
            keys: Some(keys).filter(|_| !are_knots),
            requests,
            operator: operator.filter(|_| !config.loader.operator_certificates.is_empty()),
            parent,
            ..evidence
        })
    }
}

impl<'a> Evidence<'a> {
    /// What is known of a zone of the configuration before anything else is read or asked.
    pub fn at_hand(
        EvidenceSubject { config, zone, state, operator, origin }: EvidenceSubject<'a>,
    ) -> Result<AtHand<'a>, EvidenceError> {
        let evidence = Self {
            anchors: Cow::Borrowed(&zone.anchors),
            announced: Cow::Borrowed(&zone.announced),
            policy: Some(Cow::Borrowed(&zone.policy)),
            multi_signer: zone.multi_signer,
            allow_delete: zone.allow_cds_delete,
            history: SignedBefore::read_revoked(&config.state_dir.join("accepted"), &zone.name)?,
            state: Some(state),
            require_signature: zone.require_signature,
            ..Self::default()
        };
        Ok(AtHand { evidence, config, zone, operator, origin })
    }

    /// Reads and asks everything that counts for a candidate of a zone of the configuration.
    ///
    /// An error is one of this host that may pass: nothing can be said of the candidate then, and it is to be judged again.
    pub fn gather(
        subject: EvidenceSubject<'a>,
        candidate: &Candidate,
        sources: &mut Sources,
        now: Timestamp,
    ) -> Result<Self, EvidenceError> {
        Self::at_hand(subject)?.gather(&candidate.skr.bundles, sources, now)
    }

    /// The same with other keys than those of the zone's key folder.
    pub fn with_keys(self, keys: FolderKeys) -> Result<Self, EvidenceError> {
        let proven = requests::proven_by(&keys, &self.requests);
        let unusable = unusable(&keys, |_| true)?;
        Ok(Self { keys: Some(keys), unusable, proven, ..self })
    }

    /// What the checks of [`crate::accept`] look at.
    #[must_use]
    pub fn context(&self) -> AcceptContext<'_> {
        AcceptContext {
            state: self.state.as_deref(),
            history: Some(&self.history),
            unusable: &self.unusable,
            ksks: Some((&*self.anchors, &*self.announced)),
            keys: self.keys.as_ref(),
            requests: &self.requests,
            proof: self.policy.as_deref().map(|policy| (policy, &*self.anchors)),
            multi_signer: self.multi_signer,
            proven: &self.proven,
            operator: self.operator.as_ref().map(|operator| (operator, self.require_signature)),
            parent: self.parent.as_ref().map(|(parent, meaning)| (parent, *meaning)),
        }
    }

    /// The KSKs that were published as revoked before a candidate with these bundles begins, by what was in force until then.
    pub(super) fn revoked(&self, bundles: &[Bundle], now: Timestamp) -> Vec<Dnskey> {
        let begins = bundles.first().map_or(now, |first| first.inception.max(now));
        let in_force = self.state.as_deref().and_then(|state| state.in_force.as_ref());
        let mut keys =
            in_force.map(|in_force| revoked::published(&in_force.bundles, begins)).unwrap_or_default();
        keys.extend(self.history.revoked(begins).cloned());
        keys.into_iter().collect()
    }

    /// The generation in force, when the candidate is the very file that was dropped for it.
    pub(super) fn generation_of(&self, candidate: &Candidate) -> Option<u64> {
        let state = self.state.as_deref()?;
        let in_force = state.in_force.as_ref()?;
        (state.known.get(&candidate.digest) == Some(&in_force.generation)).then_some(in_force.generation)
    }

    /// The generation in force, when these bundles say the same as it does from `now` on.
    pub(super) fn generation_saying(&self, bundles: &[Bundle], now: Timestamp) -> Option<u64> {
        let in_force = self.state.as_deref()?.in_force.as_ref()?;
        accept::is_same_schedule(bundles, &in_force.bundles, now).then_some(in_force.generation)
    }
}

/// True where the ZSKs of `zone` are Knot's: a `[[deliver.knot]]` takes it, nobody here or at a named signs it, and `found`, what its
/// key folder holds, is nothing: the folder is there and empty. Then their private keys cannot be looked for; that the SOA is signed by them is proven at Knot.
fn keys_are_knots(config: &Config, zone: &ZoneConfig, found: &FolderKeys) -> bool {
    let takes = |target: &&TargetConfig| {
        target.zones.as_ref().is_none_or(|zones: &Vec<Name>| zones.contains(&zone.name))
    };
    let mut targets = config.deliver.iter().filter(takes).map(|target| &target.method).peekable();
    // A folder that is not there, or a key that does not read, says nothing of who holds the keys.
    let nothing = found.keys.is_empty() && found.sealed.is_empty() && found.skipped.is_empty();
    nothing
        && !zone.has_content()
        && targets.peek().is_some()
        && targets.all(|m| matches!(m, Method::Knot { .. }))
}

/// The policy with the delays that the zone has: with its largest TTL where that is known, and where Knot signs it, without a time until it
/// is signed anew, since Knot makes all signatures at once when it replaces a ZSK.
fn reckoned(policy: &Policy, largest_ttl: Option<u32>, are_knots: bool) -> Cow<'_, Policy> {
    let mut policy = Cow::Borrowed(policy);
    if largest_ttl.is_some() {
        policy = Cow::Owned(policy.reckoning_with(largest_ttl));
    }
    if are_knots {
        let policy = policy.to_mut();
        policy.signatures_refresh = policy.signatures_validity;
    }
    policy
}

#[cfg(test)]
mod tests {
    use keystore::exchange::prove::Delays;

    use super::*;
    use crate::testing::{self, StateDir};

    #[test]
    fn kind_25_a_zone_is_proved_by_the_delays_of_the_server_that_signs_it() {
        let policy = Policy::with_defaults("p");
        let of = |ttl, are_knots| {
            let delays = Delays::from(&*reckoned(&policy, ttl, are_knots));
            (delays.signature_retention, delays.max_zone_ttl)
        };
        let (nine_days, day) = (777_600, 86_400);
        assert_eq!(of(None, false), (nine_days, day));
        assert_eq!(of(None, true), (0, day));
        assert_eq!(of(Some(604_800), false), (nine_days, 604_800));
        assert_eq!(of(Some(604_800), true), (0, 604_800));
        assert_eq!(of(Some(60), true), (0, day));
    }

    /// Only a zone that is Knot's alone, and of which no key is here.
    #[test]
    fn keys_that_are_knots() {
        let state = StateDir::new();
        let held = keystore::keys::files::find_sealed(&state.path("keys"), &testing::zone()).unwrap();
        let none = FolderKeys::default();
        let missing = key_files::find_sealed(&state.path("not mounted"), &testing::zone()).unwrap_err();
        let missing = FolderKeys { skipped: vec![missing], ..FolderKeys::default() };
        std::fs::create_dir(state.path("damaged")).unwrap();
        for suffix in ["key", "private"] {
            std::fs::write(state.path(&format!("damaged/Kexample.+015+00001.{suffix}")), "garbage").unwrap();
        }
        let damaged = key_files::find_sealed(&state.path("damaged"), &testing::zone()).unwrap();
        assert!(damaged.keys.is_empty() && !damaged.skipped.is_empty());
        assert_eq!(held.keys.len(), 1);
        let target = |method, zones: Option<&str>| TargetConfig {
            method,
            zones: zones.map(|zone| vec![Name::parse(zone).unwrap()]),
            name: "a".to_owned(),
            timeout: 1,
            address: None,
            source: None,
        };
        let (keymgr, folder) = (Vec::new(), PathBuf::new());
        let knot = Method::Knot { keymgr: keymgr.clone(), knotc: Vec::new(), folder: folder.clone() };
        let named = Method::Named { rndc: keymgr, view: None, folder };
        for (targets, found, file, expected) in [
            (vec![target(knot.clone(), None)], &none, false, true),
            (vec![target(knot.clone(), Some(testing::ZONE))], &none, false, true),
            (vec![target(knot.clone(), Some("other."))], &none, false, false),
            (vec![target(knot.clone(), None)], &held, false, false),
            (vec![target(knot.clone(), None)], &missing, false, false),
            (vec![target(knot.clone(), None)], &damaged, false, false),
            (vec![target(knot.clone(), None)], &none, true, false),
            (vec![target(knot.clone(), None), target(named, None)], &none, false, false),
            (vec![], &none, false, false),
        ] {
            let mut config = state.config();
            config.deliver = targets;
            config.zones[0].file = file.then(|| PathBuf::from("/zone"));
            assert_eq!(keys_are_knots(&config, &config.zones[0], found), expected, "{:?}", config.deliver);
        }
    }
}
