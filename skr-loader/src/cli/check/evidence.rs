//! What a file is held against: from the configuration, from flags, or the one over the other.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use keystore::config::Config;
use keystore::dns::Name;
use keystore::exchange::{Ksr, TrustAnchor, format, parse_trust_anchors};
use keystore::keys::files as key_files;
use keystore::policy::{self, Policy};
use keystore::store::MAX_SKR_OCTETS;
use keystore::time::Timestamp;

use super::Args;
use crate::files::{self, NamedBy, one_line};
use crate::judge::{
    Candidate, CandidateOrigin, Evidence, EvidenceError, EvidenceSubject, Sources, UnreadableSkr,
};
use crate::operator::Operator;
use crate::store::history::SignedBefore;
use crate::store::{self, AcceptedState, StoreRead};

/// Longest trust anchor file, in octets.
const MAX_ANCHORS: u64 = 1 << 20;

/// Where the evidence comes from: the configuration, flags, or the one over the other.
pub struct EvidenceGatherer<'a> {
    pub args: &'a Args,
    pub config: Option<&'a Config>,
    policy: Option<Policy>,
    sources: Sources,
    /// Read ahead.
    first: Option<GatheredEvidence<'a>>,
}

/// What the SKR of one zone is held against.
pub struct GatheredEvidence<'a> {
    pub evidence: Evidence<'a>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

impl<'a> EvidenceGatherer<'a> {
    /// Reads what is the same for every zone.
    pub fn new(args: &'a Args, config: Option<&'a Config>, now: Timestamp) -> anyhow::Result<Self> {
        let policy = match (&args.policy_file, &args.policy) {
            (Some(file), Some(name)) => Some(policy::load(file)?.get(name)?.clone().into_inner()),
            _ => None,
        };
        let mut gatherer = Self { args, config, policy, sources: Sources::default(), first: None };
        if let (None, Some(zone)) = (config, &args.zone) {
            // What is wrong with a flag is told before what is wrong with a file.
            gatherer.first = Some(gatherer.gather(zone, None, None, now)?);
        }
        Ok(gatherer)
    }

    /// The zone as the configuration has it, or as it was asked for.
    pub fn ours(&self, zone: &Name) -> Option<Name> {
        if self.args.zone.as_ref().is_some_and(|asked| asked != zone) {
            return None;
        }
        match self.config {
            Some(config) => config.signed_zones().find(|z| z.name == *zone).map(|z| z.name.clone()),
            None => self.args.zone.clone(),
        }
    }

    /// The SKR in `octets`.
    pub fn read(&self, octets: &[u8]) -> Result<Candidate, UnreadableSkr> {
        match (self.config, &self.args.zone) {
            // Whatever its first record says: that is SKR-WRONG-ZONE.
            (None, Some(zone)) => Candidate::read_of_zone(octets, zone),
            _ => Candidate::read(octets, |zone| self.ours(zone)),
        }
    }

    /// Gathers what there is for `zone`: what a flag names, else what the configuration does.
    pub fn gather(
        &mut self,
        zone: &Name,
        candidate: Option<&Candidate>,
        operator: Option<Operator>,
        now: Timestamp,
    ) -> anyhow::Result<GatheredEvidence<'a>> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let args = self.args;
        let (mut evidence, notes) = self.of_config(candidate, operator, now)?;
        if let Some(path) = &args.trust_anchor {
            evidence.anchors = Cow::Owned(read_anchors("--trust-anchor", path, zone)?);
        }
        if let Some(path) = &args.announced {
            evidence.announced = Cow::Owned(read_anchors("--announced", path, zone)?);
        }
        if let Some(dir) = &args.accepted {
            let state = accepted(dir, zone)?;
            let in_force = state.in_force.as_ref().map(|f| f.generation);
            evidence.history = SignedBefore::read(dir, zone, in_force, now).context("--accepted")?;
            evidence.state = Some(Cow::Owned(state));
        }
        if let Some(path) = &args.request {
            evidence.requests = vec![read_request(path, zone)?];
        }
        if let Some(dir) = &args.key_directory {
            let keys = key_files::find_sealed(dir, zone).context("--key-directory")?;
            evidence = evidence.with_keys(keys)?;
        }
        if let Some(policy) = &self.policy {
            evidence.policy = Some(Cow::Owned(policy.clone()));
        }
        evidence.multi_signer |= args.multi_signer;
        evidence.allow_delete |= args.allow_cds_delete;
        Ok(GatheredEvidence { evidence, notes })
    }

    /// The evidence that the daemon would have, and what is worth a note.
    fn of_config(
        &mut self,
        candidate: Option<&Candidate>,
        operator: Option<Operator>,
        now: Timestamp,
    ) -> anyhow::Result<(Evidence<'a>, Vec<String>)> {
        let (Some(config), Some(candidate)) = (self.config, candidate) else {
            return Ok((Evidence::default(), Vec::new()));
        };
        let Some(zone) = config.signed_zones().find(|z| z.name == candidate.zone) else {
            return Ok((Evidence::default(), Vec::new()));
        };
        let (state, damage) = match store::peek(&config.state_dir.join("accepted"), &zone.name) {
            // The daemon goes on with what it has, too.
            StoreRead::Read { state, damage } => (state, damage),
            StoreRead::Unread { error, .. } => return Err(EvidenceError::from(error).into()),
        };
        let mut notes: Vec<String> =
            damage.map(|error| format!("the accepted store is damaged: {error}")).into_iter().collect();
        let subject = EvidenceSubject {
            config,
            zone,
            state: Cow::Owned(state),
            operator,
            origin: CandidateOrigin::Received,
        };
        let evidence = Evidence::gather(subject, candidate, &mut self.sources, now)?;
        notes.extend(evidence.parent.as_ref().map(|(parent, _)| parent.describe()));
        Ok((evidence, notes))
    }
}

fn accepted(dir: &Path, zone: &Name) -> anyhow::Result<AcceptedState> {
    // A typo must not pass for a store where nothing was accepted yet.
    if !dir.is_dir() {
        anyhow::bail!(
            "--accepted: {} is no folder; give the `accepted` folder of a state folder",
            dir.display()
        )
    }
    match store::peek(dir, zone) {
        StoreRead::Read { state, damage: None } => Ok(state),
        StoreRead::Read { damage: Some(error), .. } | StoreRead::Unread { error, .. } => {
            Err(error).context("--accepted")
        }
    }
}

fn read_anchors(option: &str, path: &Path, zone: &Name) -> anyhow::Result<Vec<TrustAnchor>> {
    let file = files::read(path, NamedBy::Operator, MAX_ANCHORS)
        .with_context(|| format!("{option} {}", path.display()))?;
    let text =
        String::from_utf8(file.octets).with_context(|| format!("{option} {}: not a text", path.display()))?;
    let anchors = parse_trust_anchors(&text, zone)
        .map_err(|e| anyhow!("{}:{}: {}", path.display(), e.line, one_line(&e.what)))?;
    if anchors.is_empty() {
        anyhow::bail!("{option} {}: no DS or DNSKEY record of {zone} in it", path.display());
    }
    Ok(anchors)
}

fn read_request(path: &Path, zone: &Name) -> anyhow::Result<Ksr> {
    let file = files::read(path, NamedBy::Operator, MAX_SKR_OCTETS)
        .with_context(|| format!("--request {}", path.display()))?;
    format::parse_ksr(&file.octets, zone)
        .map_err(|e| anyhow!("{}:{}: {}", path.display(), e.line, one_line(&e.what)))
}
