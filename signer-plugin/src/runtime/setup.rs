//! What a zone is made from, from the configuration.

use std::path::PathBuf;

use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::TrustAnchor;
use keystore::policy::Nsec3Param;
use keystore::store;

use crate::rules::ZoneRules;
use crate::signing::SigningTimes;

/// What a zone is made from, and where that lies.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneSetup {
    /// The apex.
    pub name: Name,
    /// The unsigned zone.
    pub file: PathBuf,
    /// Where its ZSKs lie.
    pub key_directory: PathBuf,
    /// The accepted store of all zones.
    pub accepted: PathBuf,
    /// Folder of its own for what must outlive a restart.
    pub state: PathBuf,
    /// The pinned KSKs.
    pub anchors: Vec<TrustAnchor>,
    /// How long signatures live.
    pub times: SigningTimes,
    /// NSEC3 and its parameters; `None` means NSEC.
    pub nsec3: Option<Nsec3Param>,
    /// Whether each version has a ZONEMD record.
    pub zonemd: bool,
    /// How the zone file is judged.
    pub rules: ZoneRules,
    /// What ZSK rolls wait for.
    pub delays: RollDelays,
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
    /// From the configuration; `None` for a zone without a file, which is not served.
    #[must_use]
    pub fn from_config(config: &Config, zone: &ZoneConfig) -> Option<Self> {
        Some(Self {
            name: zone.name.clone(),
            file: zone.file.clone()?,
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
            zonemd: zone.zonemd,
            rules: ZoneRules {
                check: zone.zone_check,
                max_ttl: Some(zone.policy.max_zone_ttl).filter(|ttl| *ttl > 0),
            },
            delays: RollDelays {
                publish: zone.policy.publish_safety.saturating_add(zone.policy.zone_propagation_delay),
                propagation: zone.policy.zone_propagation_delay,
            },
        })
    }
}
