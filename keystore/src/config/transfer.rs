//! `[transfer]`, and what a `[[zone]]` says of transfers: who may have a zone, who is told of new versions, and the keys for both.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::tls::{ClientTls, PrimaryTls};
use super::zone_files::{CatalogTroubleKind, Origin, ZoneFileErrors};
use super::{Config, ZoneConfig};
use crate::dns::Name;
use crate::policy::{PolicyFinding, PolicySeverity};
use crate::tsig::{TsigKey, TsigKeyError};

/// Settings of the table `[transfer]`; `allow-transfer` and `notify` in it are the defaults of the zones and stand in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransferConfig {
    /// `key-files`: files with one TSIG key each, in named's syntax. Only the process that serves the zones opens them.
    pub key_files: Vec<PathBuf>,
    /// How zones come from their primaries.
    pub incoming: IncomingConfig,
}

/// How zones come from their primaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingConfig {
    /// `min-refresh`: least seconds from a look at a primary that succeeded to the next one, whatever the SOA record says.
    pub min_refresh: u32,
    /// `min-retry`: the same behind one that failed.
    pub min_retry: u32,
    /// `max-octets`: most octets of a transfer; `None` = twice those of the zone that is here, and 64 MiB.
    pub max_octets: Option<u64>,
}

impl Default for IncomingConfig {
    fn default() -> Self {
        // A primary that is asked twice a minute by each secondary does not notice it.
        Self { min_refresh: 30, min_retry: 15, max_octets: None }
    }
}

/// An entry of `primaries`: a server that a zone is transferred from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PrimaryConfig {
    /// Where it listens; where no port is given, 53, and 853 with TLS.
    pub address: SocketAddr,
    /// `key`: the name of the TSIG key that queries are signed with, and answers must be; `None` = they are not signed.
    pub key: Option<Name>,
    /// `tls`: all goes over TLS, to a server that is proven to be this one; `None` = over TCP.
    pub tls: Option<PrimaryTls>,
}

/// An entry of `allow-transfer`: who may transfer a zone. All that it says must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowTransfer {
    /// `address`: the client has an address of this network.
    pub address: Option<Network>,
    /// `key`: the client signs its request with the TSIG key of this name.
    pub key: Option<Name>,
    /// `tls`: the request comes over TLS from such a client; `None` = it may come over TCP too.
    pub tls: Option<ClientTls>,
}

/// Addresses with a common prefix: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// An entry of `notify`: a server that is told of each new version of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NotifyTarget {
    /// Where it listens; port 53 where none is given.
    pub address: SocketAddr,
    /// `key`: the name of the TSIG key that messages to it are signed with; `None` = they are not signed.
    pub key: Option<Name>,
}

impl Network {
    /// The addresses whose first `prefix` bits are those of `address`; `None` when the prefix is longer than an address, or when `address`
    /// has bits behind it, which hints at a mistake.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (bits, width) = bits(address);
        let host = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        (prefix <= width && bits & host == 0).then_some(Self { address, prefix })
    }

    /// Reads `ADDRESS` or `ADDRESS/PREFIX`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((address, prefix)) if prefix.bytes().all(|octet| octet.is_ascii_digit()) => {
                Self::new(address.parse().ok()?, prefix.parse().ok()?)
            }
            Some(_) => None,
            None => {
                let address: IpAddr = text.parse().ok()?;
                Self::new(address, bits(address).1)
            }
        }
    }

    /// True when it has only addresses of this host.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        match self.address {
            IpAddr::V4(address) => address.is_loopback() && self.prefix >= 8,
            IpAddr::V6(address) => address.is_loopback() && self.prefix == 128,
        }
    }

    /// True for an address of the network; an IPv4 address in the form of IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let shift = 128 - u32::from(self.prefix);
        let start = |address| bits(address).0.checked_shr(shift).unwrap_or(0);
        address.is_ipv4() == self.address.is_ipv4() && start(address) == start(self.address)
    }
}

/// The address as the first bits of a number, and how many they are.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why the keys of transfers cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferKeyError {
    /// A file has no key that can be used.
    #[error("transfer.key-files: {0}")]
    File(#[from] TsigKeyError),
    /// Two files have a key of one name.
    #[error("transfer.key-files: two files have a key with the name {0}")]
    Twice(Name),
    /// A zone names a key that no file has.
    #[error("zone {zone}: {setting} names the key {key}, which no file of transfer.key-files has")]
    Unknown {
        /// The zone.
        zone: Name,
        /// `allow-transfer`, `notify`, `primaries` or `update`.
        setting: &'static str,
        /// The name of the key.
        key: Name,
    },
}

impl Config {
    /// Reads the key files, and holds the keys against what the zones name. All that is wrong comes at once.
    pub fn load_transfer_keys(&self) -> Result<Vec<TsigKey>, Vec<TransferKeyError>> {
        let (keys, errors) = self.read_transfer_keys();
        if errors.is_empty() { Ok(keys) } else { Err(errors) }
    }

    /// The keys that can be used, and all that is wrong with them or the zones that name them.
    #[must_use]
    pub fn read_transfer_keys(&self) -> (Vec<TsigKey>, Vec<TransferKeyError>) {
        let (keys, mut errors) = self.read_key_files();
        // A file that does not read may have the key.
        if errors.is_empty() {
            errors.extend(self.zones.iter().flat_map(|zone| zone.unknown_keys(&keys)));
            let made = self.catalogs.made.iter().flat_map(|catalog| {
                let allowed = catalog.allow_transfer.iter().map(|rule| ("allow-transfer", &rule.key));
                let told = catalog.notify.iter().map(|target| ("notify", &target.key));
                allowed.chain(told).map(|(setting, key)| (&catalog.zone, setting, key))
            });
            let taken = self.catalogs.taken.iter().flat_map(|catalog| {
                catalog.primaries().iter().map(|primary| (&catalog.zone, "primaries", &primary.key))
            });
            for (zone, setting, key) in made.chain(taken) {
                let Some(key) = key else { continue };
                if !keys.iter().any(|known| known.name == *key) {
                    let (zone, key) = (zone.clone(), key.clone());
                    errors.push(TransferKeyError::Unknown { zone, setting, key });
                }
            }
        }
        (keys, errors)
    }

    fn read_key_files(&self) -> (Vec<TsigKey>, Vec<TransferKeyError>) {
        let mut keys: Vec<TsigKey> = Vec::new();
        let mut errors = Vec::new();
        for file in &self.transfer.key_files {
            match TsigKey::load(file) {
                Ok(key) if keys.iter().any(|other| other.name == key.name) => {
                    errors.push(TransferKeyError::Twice(key.name));
                }
                Ok(key) => keys.push(key),
                Err(error) => errors.push(error.into()),
            }
        }
        (keys, errors)
    }

    /// The keys, for a process that goes on without what zone files say of unknown ones: a zone of `zones-directory` that names one stays as it is in
    /// `in_use`, and [`zone_files::ZoneFiles::errors`](super::zone_files::ZoneFiles::errors) says so. Where it is not in use, it is as its file says, and what needs the key fails.
    ///
    /// # Errors
    /// As [`Self::load_transfer_keys`], but for such keys of such zones.
    pub fn settle_transfer_keys(&mut self, in_use: Option<&Self>) -> Result<(), Vec<TransferKeyError>> {
        let (_, errors) = self.read_transfer_keys();
        let index = |config: &Self| -> HashMap<Name, usize> {
            config.zones.iter().enumerate().map(|(at, zone)| (zone.name.clone(), at)).collect()
        };
        let (here, before) = (index(self), in_use.map(index));
        let mut noted = ZoneFileErrors::default();
        for error in &errors {
            let TransferKeyError::Unknown { zone: name, .. } = error else { return Err(errors) };
            let Some(zone) = here.get(name).map(|at| &mut self.zones[*at]) else { return Err(errors) };
            let (Some(file), Some(origin)) = (zone.source.file().cloned(), zone.source.origin()) else {
                return Err(errors);
            };
            let known = before.as_ref().and_then(|before| before.get(name)).zip(in_use);
            if let Some((at, config)) = known {
                *zone = config.zones[*at].clone();
            }
            let (severity, path) = (PolicySeverity::Error, file.to_path_buf());
            let finding = PolicyFinding { severity, path, line: 1, what: error.to_string() };
            match origin {
                Origin::Folder => noted.findings.push(finding),
                Origin::Catalog(catalog) => {
                    noted.note_catalog(&catalog, CatalogTroubleKind::Refused, 1, [finding]);
                }
            }
        }
        if noted != ZoneFileErrors::default() {
            let errors = self.zone_files.errors.get_or_insert_default();
            errors.findings.extend(noted.findings);
            for trouble in noted.of_catalogs {
                errors.note_catalog(&trouble.catalog, trouble.kind, trouble.zones, trouble.findings);
            }
        }
        Ok(())
    }
}

impl ZoneConfig {
    /// What the zone says of keys that are not among `keys`.
    pub fn unknown_keys(&self, keys: &[TsigKey]) -> impl Iterator<Item = TransferKeyError> {
        let allowed = self.allow_transfer.iter().map(|rule| ("allow-transfer", &rule.key));
        let told = self.notify.iter().map(|target| ("notify", &target.key));
        let from = self.content.primaries.iter().map(|primary| ("primaries", &primary.key));
        let named = allowed.chain(told).chain(from);
        let named = named.filter_map(|(setting, key)| Some((setting, key.as_ref()?)));
        let named = named.chain(self.content.updates.iter().map(|rule| ("update", &rule.key)));
        let unknown = named.filter(|(_, key)| !keys.iter().any(|known| known.name == **key));
        unknown.map(|(setting, key)| {
            let (zone, key) = (self.name.clone(), key.clone());
            TransferKeyError::Unknown { zone, setting, key }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_with_its_prefix_and_no_others() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "::ffff:192.0.3.7"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        for bad in [
            "",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/+8",
            "2001:db8::1/64",
            "::/129",
            "localhost",
            "192.0.2.1:53",
        ] {
            assert!(Network::parse(bad).is_none(), "{bad}");
        }
    }
}
