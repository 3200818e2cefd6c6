//! What a file is held against: from the configuration, from flags, or the one over the other.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use keystore::config::{Config, ParentCheck, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::{Finding, Ksr, TrustAnchor, UnverifiedSkr, format, parse_trust_anchors};
use keystore::keys::Dnskey;
use keystore::keys::files::{self as key_files, Found};
use keystore::policy::{self, Policy};
use keystore::store::MAX_SKR_OCTETS;

use super::Args;
use crate::checks;
use crate::deliver::keys_are_knots;
use crate::files::{self, Named, one_line};
use crate::loader::import::open_requests;
use crate::loader::many::{Folders, keys_in};
use crate::parent::{Asker, Parent};
use crate::possession;
use crate::store::{self, ZoneState};

/// Longest trust anchor file, in octets.
const MAX_ANCHORS: u64 = 1 << 20;

/// Where everything comes from.
pub struct Sources<'a> {
    pub args: &'a Args,
    pub config: Option<&'a Config>,
    policy: Option<Policy>,
    folders: Folders,
    asker: Asker,
    /// Read ahead.
    first: Option<Subject>,
}

/// What the SKR of one zone is held against.
pub struct Subject {
    pub anchors: Vec<TrustAnchor>,
    pub keys: Option<Found>,
    pub state: Option<ZoneState>,
    pub requests: Vec<Ksr>,
    pub policy: Option<Policy>,
    pub multi_signer: bool,
    pub allow_delete: bool,
    pub proven: Vec<Dnskey>,
    pub require_signature: bool,
    pub parent: Option<(Parent, ParentCheck)>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

impl<'a> Sources<'a> {
    /// Reads what is the same for every zone.
    pub fn new(args: &'a Args, config: Option<&'a Config>) -> anyhow::Result<Self> {
        let policy = match (&args.policy_file, &args.policy) {
            (Some(file), Some(name)) => Some(policy::load(file)?.get(name)?.clone()),
            _ => None,
        };
        let mut sources =
            Self { args, config, policy, folders: Folders::new(), asker: Asker::default(), first: None };
        if let (None, Some(zone)) = (config, &args.zone) {
            // What is wrong with a flag is told before what is wrong with a file.
            sources.first = Some(sources.subject(zone)?);
        }
        Ok(sources)
    }

    /// The zone as the configuration has it, or as it was asked for.
    pub fn ours(&self, zone: &Name) -> Option<Name> {
        if self.args.zone.as_ref().is_some_and(|asked| asked != zone) {
            return None;
        }
        match self.config {
            Some(config) => config.zones.iter().find(|z| z.name == *zone).map(|z| z.name.clone()),
            None => self.args.zone.clone(),
        }
    }

    /// The zone and the SKR in `octets`.
    pub fn parse(&self, octets: &[u8]) -> Result<(Name, UnverifiedSkr), (Option<Name>, Finding)> {
        match (self.config, &self.args.zone) {
            // Whatever its first record says: that is SKR-WRONG-ZONE.
            (None, Some(zone)) => match format::parse_skr(octets, zone) {
                Ok(skr) => Ok((zone.clone(), skr)),
                Err(error) => Err((Some(zone.clone()), (&error).into())),
            },
            _ => checks::parse(octets, |zone| self.ours(zone)),
        }
    }

    /// Reads what there is for `zone`: what a flag names, else what the configuration does.
    pub fn subject(&mut self, zone: &Name) -> anyhow::Result<Subject> {
        if let Some(subject) = self.first.take() {
            return Ok(subject);
        }
        let args = self.args;
        let of_config: Option<(&Config, &ZoneConfig)> =
            self.config.and_then(|c| Some((c, c.zones.iter().find(|z| z.name == *zone)?)));
        let mut notes = Vec::new();
        let anchors = match (&args.trust_anchor, of_config) {
            (Some(path), _) => read_anchors(path, zone)?,
            (None, Some((_, config))) => config.anchors.clone(),
            (None, None) => Vec::new(),
        };
        let keys = match (&args.key_directory, of_config) {
            (Some(dir), _) => Some(key_files::find_sealed(dir, zone).context("--key-directory")?),
            (None, Some((whole, config))) => {
                Some(keys_in(&mut self.folders, config)).filter(|keys| !keys_are_knots(whole, config, keys))
            }
            (None, None) => None,
        };
        let state = match (&args.accepted, of_config) {
            (Some(dir), _) => Some(accepted(dir, zone)?),
            (None, Some((config, _))) => {
                let (state, error) = store::peek(&config.state_dir.join("accepted"), zone);
                // The daemon goes on with what it has, too.
                notes.extend(error.map(|error| format!("the accepted store is damaged: {error}")));
                Some(state)
            }
            (None, None) => None,
        };
        let requests = match (&args.request, of_config) {
            (Some(path), _) => vec![read_request(path, zone)?],
            (None, Some((config, _))) => open_requests(&config.state_dir, zone),
            (None, None) => Vec::new(),
        };
        let policy = self.policy.clone().or_else(|| of_config.map(|(_, config)| config.policy.clone()));
        let proven = match (&keys, of_config) {
            (Some(keys), Some((config, _))) => possession::proven(&config.state_dir, zone, keys, &requests),
            (Some(keys), None) => possession::of_requests(keys, &requests),
            (None, _) => Vec::new(),
        };
        let parent = of_config.and_then(|(config, _)| {
            let resolver = config.loader.parent_resolver?;
            let parent = self.asker.ask(resolver, zone);
            notes.push(parent.describe());
            Some((parent, config.loader.parent_check))
        });
        Ok(Subject {
            proven,
            parent,
            require_signature: of_config.is_some_and(|(_, c)| c.require_signature),
            anchors,
            keys,
            state,
            requests,
            policy,
            multi_signer: args.multi_signer || of_config.is_some_and(|(_, c)| c.multi_signer),
            allow_delete: args.allow_cds_delete || of_config.is_some_and(|(_, c)| c.allow_cds_delete),
            notes,
        })
    }
}

fn accepted(dir: &Path, zone: &Name) -> anyhow::Result<ZoneState> {
    // A typo must not pass for a store where nothing was accepted yet.
    if !dir.is_dir() {
        anyhow::bail!(
            "--accepted: {} is no folder; give the `accepted` folder of a state folder",
            dir.display()
        )
    }
    match store::peek(dir, zone) {
        (state, None) => Ok(state),
        (_, Some(error)) => Err(error).context("--accepted"),
    }
}

fn read_anchors(path: &Path, zone: &Name) -> anyhow::Result<Vec<TrustAnchor>> {
    let file = files::read(path, Named::ByOperator, MAX_ANCHORS)
        .with_context(|| format!("--trust-anchor {}", path.display()))?;
    let text = String::from_utf8(file.octets)
        .with_context(|| format!("--trust-anchor {}: not a text", path.display()))?;
    let anchors = parse_trust_anchors(&text, zone)
        .map_err(|e| anyhow!("{}:{}: {}", path.display(), e.line, one_line(&e.what)))?;
    if anchors.is_empty() {
        anyhow::bail!("--trust-anchor {}: no DS or DNSKEY record of {zone} in it", path.display());
    }
    Ok(anchors)
}

fn read_request(path: &Path, zone: &Name) -> anyhow::Result<Ksr> {
    let file = files::read(path, Named::ByOperator, MAX_SKR_OCTETS)
        .with_context(|| format!("--request {}", path.display()))?;
    format::parse_ksr(&file.octets, zone)
        .map_err(|e| anyhow!("{}:{}: {}", path.display(), e.line, one_line(&e.what)))
}
