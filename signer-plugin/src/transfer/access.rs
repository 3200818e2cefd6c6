//! Who may transfer a zone, and with which keys requests may be signed.

use std::net::IpAddr;
use std::sync::Arc;

use keystore::config::catalog::{CatalogConfig, TakenCatalog};
use keystore::config::content::UpdateRule;
use keystore::config::transfer::{
    AllowTransfer, IncomingConfig, NotifyTarget, PrimaryConfig, TransferKeyError,
};
use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::time::Timestamp;
use keystore::tsig::TsigKey;

use super::channel::{self, ChannelFault, TlsPeer, WantedClient};
use super::tsig::Keys;

/// The keys of all zones, read once for a configuration.
#[derive(Debug, Clone, Default)]
pub struct TransferKeys {
    pub(super) keys: Arc<[TsigKey]>,
    pub(super) verified_with: Arc<Keys>,
}

impl TransferKeys {
    /// The keys that [`Config::load_transfer_keys`] gave.
    #[must_use]
    pub fn new(keys: Vec<TsigKey>) -> Self {
        Self { verified_with: Arc::new(Keys::new(&keys)), keys: keys.into() }
    }

    /// All of them.
    pub(crate) fn keys(&self) -> &[TsigKey] {
        &self.keys
    }
}

/// What the configuration says of the transfers of one zone.
#[derive(Debug, Clone, Default)]
pub struct TransferSettings {
    pub(super) keys: TransferKeys,
    allow: Vec<AllowedClient>,
    /// Who is told of each new version.
    pub notify: Vec<NotifyTarget>,
    /// Who may change the zone.
    pub(super) updates: Vec<UpdateRule>,
    /// Where the zone comes from; none for a zone with a file.
    pub(crate) primaries: Vec<PrimaryConfig>,
    /// How it comes from there.
    pub(crate) incoming: IncomingConfig,
    /// The label of the zone in the catalog that it is of.
    pub(crate) label: Option<Vec<u8>>,
}

impl TransferSettings {
    /// The settings of `zone`; all zones share `keys`.
    #[must_use]
    pub fn of_zone(zone: &ZoneConfig, incoming: IncomingConfig, keys: &TransferKeys) -> Self {
        Self {
            keys: keys.clone(),
            allow: zone.allow_transfer.iter().cloned().map(AllowedClient::new).collect(),
            notify: zone.notify.clone(),
            updates: zone.content.updates.clone(),
            primaries: zone.content.primaries.clone(),
            incoming,
            label: zone.source.label().map(<[u8]>::to_vec),
        }
    }

    /// The settings of a catalog; all share `keys`.
    #[must_use]
    pub(crate) fn of_catalog(catalog: &CatalogConfig, keys: &TransferKeys) -> Self {
        Self {
            keys: keys.clone(),
            allow: catalog.allow_transfer.iter().cloned().map(AllowedClient::new).collect(),
            notify: catalog.notify.clone(),
            ..Self::default()
        }
    }

    /// The settings of a catalog that zones are taken from; all share `keys`.
    #[must_use]
    pub(crate) fn of_taken_catalog(
        catalog: &TakenCatalog,
        incoming: IncomingConfig,
        keys: &TransferKeys,
    ) -> Self {
        let primaries = catalog.primaries().to_vec();
        Self { keys: keys.clone(), primaries, incoming, ..Self::default() }
    }

    /// The key of this name, where a file has it.
    pub(crate) fn key(&self, name: &Name) -> Option<&TsigKey> {
        self.keys.keys.iter().find(|key| key.name == *name)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn new(keys: TransferKeys, allow: Vec<AllowTransfer>) -> Self {
        Self { keys, allow: allow.into_iter().map(AllowedClient::new).collect(), ..Self::default() }
    }

    /// True when anybody may transfer the zone, is told of it, or may change it.
    pub(super) fn is_used(&self) -> bool {
        !self.allow.is_empty() || !self.notify.is_empty() || !self.updates.is_empty()
    }

    /// What a client with this key may change.
    pub(super) fn updates_of(&self, client: IpAddr, key: &Name) -> Vec<UpdateRule> {
        self.updates.iter().filter(|rule| rule.is_for(key, client)).cloned().collect()
    }

    /// Whether a client may transfer the zone; `key` is that of its request, which was found to be right, and `peer` what TLS says of it.
    pub(super) fn allows(
        &self,
        client: IpAddr,
        key: Option<&Name>,
        peer: Option<&TlsPeer>,
        now: Timestamp,
    ) -> Result<(), NotAllowed> {
        if channel::is_unfit(peer) {
            return Err(NotAllowed::Channel(ChannelFault::NotDot));
        }
        let mut why = NotAllowed::NotListed;
        for allowed in &self.allow {
            let AllowTransfer { address, key: wanted, .. } = &allowed.rule;
            let is_listed = address.is_none_or(|network| network.contains(client))
                && wanted.as_ref().is_none_or(|wanted| key == Some(wanted));
            if !is_listed {
                continue;
            }
            match allowed.channel.as_ref().map_or(Ok(()), |wanted| wanted.admits(peer, now)) {
                Ok(()) => return Ok(()),
                // The reason of the entry that was nearest to it.
                Err(fault) => why = why.max(NotAllowed::Channel(fault)),
            }
        }
        Err(why)
    }
}

/// An entry of `allow-transfer`.
#[derive(Debug, Clone)]
struct AllowedClient {
    rule: AllowTransfer,
    /// What it wants of the connection; `None` = nothing.
    channel: Option<Arc<WantedClient>>,
}

impl AllowedClient {
    fn new(rule: AllowTransfer) -> Self {
        let channel = rule.tls.clone().map(|tls| Arc::new(WantedClient::new(tls)));
        Self { rule, channel }
    }
}

/// Why a client may not transfer a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum NotAllowed {
    /// No entry is for its address and key.
    #[error("allow-transfer does not have this address with this key")]
    NotListed,
    /// The entries that are for its address and key want another connection.
    #[error("{0}")]
    Channel(ChannelFault),
}

/// The keys of a configuration; where they cannot be read, each reason goes to the log, and no request that needs a key is answered. A zone that names a
/// key that is not there takes none from the others.
#[must_use]
pub(crate) fn load_keys(config: &Config) -> TransferKeys {
    let (keys, errors) = config.read_transfer_keys();
    let is_of_zone = |error: &TransferKeyError| matches!(error, TransferKeyError::Unknown { .. });
    for error in errors.iter().filter(|error| is_of_zone(error)) {
        tracing::error!(%error, "what the zone says of this key is not done");
    }
    let mut of_files = errors.iter().filter(|error| !is_of_zone(error)).peekable();
    if of_files.peek().is_none() {
        return TransferKeys::new(keys);
    }
    for error in of_files {
        tracing::error!(%error, "the keys of transfers cannot be used; no transfer that needs one is answered");
    }
    TransferKeys::default()
}

#[cfg(test)]
mod tests {
    use keystore::config::transfer::Network;

    use super::*;

    #[test]
    fn every_word_of_a_rule_must_hold_and_one_rule_suffices() {
        let rule = |address: Option<&str>, key: Option<&str>| AllowTransfer {
            address: address.map(|text| Network::parse(text).unwrap()),
            key: key.map(|text| Name::parse(text).unwrap()),
            tls: None,
        };
        let both = rule(Some("192.0.2.0/24"), Some("xfr"));
        for (rules, client, key, allowed) in [
            (vec![], "192.0.2.1", Some("xfr"), false),
            (vec![both.clone()], "192.0.2.1", Some("XFR."), true),
            (vec![both.clone()], "192.0.2.1", None, false),
            (vec![both.clone()], "192.0.2.1", Some("other"), false),
            (vec![both.clone()], "192.0.3.1", Some("xfr"), false),
            (vec![both.clone(), rule(Some("192.0.3.1"), Some("other"))], "192.0.3.1", Some("xfr"), false),
            (vec![both.clone(), rule(Some("192.0.3.1"), Some("other"))], "192.0.3.1", Some("other"), true),
            (vec![both.clone(), rule(None, Some("other"))], "2001:db8::1", Some("other"), true),
            (vec![both, rule(Some("::/0"), None)], "2001:db8::1", None, true),
        ] {
            let settings = TransferSettings::new(TransferKeys::default(), rules);
            let key = key.map(|text| Name::parse(text).unwrap());
            let answer =
                settings.allows(client.parse().unwrap(), key.as_ref(), None, Timestamp::from_secs(1));
            let expected = if allowed { Ok(()) } else { Err(NotAllowed::NotListed) };
            assert_eq!(answer, expected, "{client} {key:?}");
        }
    }
}
