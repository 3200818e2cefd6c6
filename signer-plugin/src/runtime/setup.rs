//! What a zone is made from, from the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keystore::config::{Config, SelfCheck, SignerConfig, Signing, VersionConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::TrustAnchor;
use keystore::policy::Nsec3Param;
use keystore::store;

use crate::rules::{DnssecRecords, ZoneRules};
use crate::signing::SigningTimes;

/// What a zone is made from, and where that lies.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneSetup {
    /// The apex.
    pub name: Name,
    /// Where the unsigned content comes from.
    pub source: ContentSource,
    /// Where its ZSKs lie.
    pub key_directory: PathBuf,
    /// The accepted store of all zones.
    pub accepted: PathBuf,
    /// Folder of its own for what must outlive a restart.
    pub state: PathBuf,
    /// The pinned KSKs; of a presigned zone those that are trusted, or none where any key of the zone is.
    pub anchors: Vec<TrustAnchor>,
    /// How long signatures live.
    pub times: SigningTimes,
    /// NSEC3 and its parameters; `None` means NSEC.
    pub nsec3: Option<Nsec3Param>,
    /// What versions have, and how they are checked.
    pub versions: VersionRules,
    /// How the zone file is judged.
    pub rules: ZoneRules,
    /// What ZSK rolls wait for.
    pub delays: RollDelays,
    /// What new content has to pass.
    pub content: ContentRules,
}

/// Where the unsigned content of a zone comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentSource {
    /// A zone file, which is read again when it changes.
    File(PathBuf),
    /// A zone file, and what DNS UPDATE makes of it.
    FileWithUpdates(PathBuf),
    /// Transfers from primaries; what came last is kept on disk.
    Primaries,
}

impl ContentSource {
    fn from_config(zone: &ZoneConfig) -> Option<Self> {
        if !zone.content.primaries.is_empty() {
            return Some(Self::Primaries);
        }
        let file = zone.file.clone()?;
        Some(if zone.content.updates.is_empty() { Self::File(file) } else { Self::FileWithUpdates(file) })
    }

    /// The zone file, where there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) | Self::FileWithUpdates(file) => Some(file),
            Self::Primaries => None,
        }
    }

    /// True when updates make the content together with the file.
    pub const fn takes_updates(&self) -> bool {
        matches!(self, Self::FileWithUpdates(_))
    }

    /// True when the content is kept on disk beside its file, since it does not come from there alone.
    #[must_use]
    pub const fn is_stored(&self) -> bool {
        matches!(self, Self::FileWithUpdates(_) | Self::Primaries)
    }
}

/// What new content of a zone has to pass before it is served. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentRules {
    /// Content with fewer records by more than so many percent of what is served waits for a person; 0 = no limit.
    pub max_shrink: u32,
    /// The same for more records.
    pub max_growth: u32,
    /// The program with its arguments that judges new content; empty = none.
    pub review: Vec<String>,
    /// How long it may take.
    pub review_timeout: Duration,
}

/// What versions of a zone have, and how they are checked before they are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VersionRules {
    /// Who makes the DNSSEC records.
    pub signing: Signing,
    /// Whether each version has a ZONEMD record.
    pub zonemd: bool,
    /// How long new content and renewals wait after a version, where versions have a ZONEMD record, in seconds.
    pub zonemd_interval: u32,
    /// Which new signatures are verified.
    pub self_check: SelfCheck,
}

impl ContentRules {
    fn from_config(signer: Option<&SignerConfig>, zone: &VersionConfig) -> Self {
        let Some(config) = signer else { return Self::default() };
        Self {
            max_shrink: zone.max_shrink.unwrap_or(config.max_shrink),
            max_growth: zone.max_growth.unwrap_or(config.max_growth),
            review: config.review.clone(),
            review_timeout: Duration::from_secs(config.review_timeout.into()),
        }
    }
}

/// What ZSK rolls wait for beside the TTLs of the zone. Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RollDelays {
    /// From the publication of a key until it signs: `publish-safety` and `zone-propagation-delay`.
    pub publish: u32,
    /// Until all secondaries have a version: `zone-propagation-delay`.
    pub propagation: u32,
}

impl ZoneSetup {
    /// True for a zone that is signed here, with an SKR and ZSKs.
    #[must_use]
    pub const fn is_signed_here(&self) -> bool {
        self.versions.signing.is_here()
    }

    /// From the configuration; `None` for a zone without content, which is not served.
    #[must_use]
    pub fn from_config(config: &Config, zone: &ZoneConfig) -> Option<Self> {
        Some(Self {
            name: zone.name.clone(),
            source: ContentSource::from_config(zone)?,
            key_directory: zone.key_directory.clone(),
            accepted: config.state_dir.join("accepted"),
            state: store::zone_dir(&config.state_dir.join("zones"), &zone.name),
            anchors: zone.anchors.clone(),
            times: SigningTimes {
                validity: zone.policy.signatures_validity,
                refresh: zone.policy.signatures_refresh,
                jitter: zone.policy.signatures_jitter,
            },
            nsec3: zone.policy.nsec3,
            versions: VersionRules {
                signing: zone.versions.signing,
                zonemd: zone.versions.zonemd,
                zonemd_interval: zone.versions.zonemd_interval,
                self_check: zone.versions.self_check,
            },
            rules: ZoneRules {
                dnssec: match zone.versions.signing {
                    Signing::Presigned(_) => DnssecRecords::Kept,
                    Signing::Online | Signing::Unsigned => DnssecRecords::LeftOut,
                },
                check: zone.zone_check,
                max_ttl: Some(zone.policy.max_zone_ttl).filter(|ttl| *ttl > 0),
            },
            delays: RollDelays {
                publish: zone.policy.publish_safety.saturating_add(zone.policy.zone_propagation_delay),
                propagation: zone.policy.zone_propagation_delay,
            },
            content: ContentRules::from_config(config.signer.as_ref(), &zone.versions),
        })
    }
}
