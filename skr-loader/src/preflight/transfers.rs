//! What zones need for their transfers: keys, and the files of those over TLS.

use std::collections::{BTreeMap, BTreeSet};

use keystore::config::Config;
use keystore::config::catalog::TakenCatalog;
use keystore::config::tls::{ALPN_DOT, ClientTls};
use keystore::config::transfer::{AllowTransfer, PrimaryConfig};
use metrics::http::{CertificateFiles, LoadedCertificate, read_authorities};

use super::Host;

impl Host<'_> {
    /// The keys of transfers.
    pub(super) fn transfers(&mut self, config: &Config) {
        match config.load_transfer_keys() {
            Ok(keys) => {
                let named: BTreeSet<String> =
                    config
                        .zones
                        .iter()
                        .flat_map(|zone| {
                            let allowed = zone.allow_transfer.iter().map(|rule| rule.key.as_ref());
                            let told = zone.notify.iter().map(|target| target.key.as_ref());
                            let updates = zone.content.updates.iter().map(|rule| Some(&rule.key));
                            let from = zone.content.primaries.iter().map(|primary| primary.key.as_ref());
                            allowed.chain(told).chain(updates).chain(from)
                        })
                        .chain(config.catalogs.made.iter().flat_map(|catalog| {
                            let allowed = catalog.allow_transfer.iter().map(|rule| rule.key.as_ref());
                            allowed.chain(catalog.notify.iter().map(|target| target.key.as_ref()))
                        }))
                        .chain(config.catalogs.taken.iter().flat_map(|catalog| {
                            catalog.primaries().iter().map(|primary| primary.key.as_ref())
                        }))
                        .flatten()
                        .map(|name| name.to_lowercase().to_string())
                        .collect();
                for key in keys.iter().filter(|key| !named.contains(&key.name.to_lowercase().to_string())) {
                    self.warning(format!("transfer.key-files: no zone uses the key {}", key.name));
                }
            }
            Err(errors) => errors.iter().for_each(|error| self.error(error.to_string())),
        }
        self.transfers_over_tls(config);
        for catalog in &config.catalogs.taken {
            let is_open = |primary: &&PrimaryConfig| {
                primary.key.is_none() && primary.tls.is_none() && !primary.address.ip().is_loopback()
            };
            if let Some(primary) = catalog.primaries().iter().find(is_open) {
                self.warning(format!(
                    "catalog {}: nothing proves that it comes from {}, and it says which zones this host has; name a key or tls",
                    catalog.zone, primary.address
                ));
            }
        }
        let zones = config.zones.iter().map(|zone| (&zone.name, &zone.allow_transfer));
        let catalogs = config.catalogs.made.iter().map(|catalog| (&catalog.zone, &catalog.allow_transfer));
        for (zone, allowed) in zones.chain(catalogs) {
            let is_known = |rule: &AllowTransfer| {
                rule.key.is_some() || rule.tls.as_ref().is_some_and(ClientTls::needs_certificate)
            };
            let open = allowed.iter().filter(|rule| !is_known(rule));
            for network in open.filter_map(|rule| rule.address).filter(|network| !network.is_loopback()) {
                self.warning(format!(
                    "zone {zone}: allow-transfer lets every host of {network} transfer the zone without a key; name a key beside it"
                ));
            }
        }
    }

    /// The files that transfers over TLS need, each once.
    fn transfers_over_tls(&mut self, config: &Config) {
        let (mut authorities, mut own) = (BTreeMap::new(), BTreeMap::new());
        for zone in &config.zones {
            let wanted = zone.allow_transfer.iter().filter_map(|rule| rule.tls.as_ref());
            for tls in wanted.clone() {
                let file = tls.authority.iter();
                authorities.extend(file.map(|file| (file, "allow-transfer: client-ca-file")));
            }
            let is_spoken = config
                .signer
                .as_ref()
                .and_then(|signer| signer.query.tls.as_ref())
                .is_some_and(|tls| !tls.listen.is_empty());
            if wanted.count() > 0 && !is_spoken {
                self.error(format!(
                    "zone {}: allow-transfer wants TLS, which this server does not speak; set signer.tls-listen, tls-certificate and tls-key",
                    zone.name
                ));
            }
        }
        let of_zones = config.zones.iter().flat_map(|zone| &zone.content.primaries);
        let of_catalogs = config.catalogs.taken.iter().flat_map(TakenCatalog::primaries);
        for tls in of_zones.chain(of_catalogs).filter_map(|primary| primary.tls.as_ref()) {
            authorities.extend(tls.authority.iter().map(|file| (file, "primaries: tls: ca-file")));
            own.extend(tls.own.iter().map(|own| (&own.certificate, &own.key)));
        }
        for (file, setting) in authorities {
            if let Err(error) = read_authorities(file) {
                self.error(format!("{setting}: {error}"));
            }
        }
        for (certificate, key) in own {
            let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
            match LoadedCertificate::load(&files, ALPN_DOT) {
                Ok(loaded) => {
                    loaded.warnings.iter().for_each(|what| self.warning(format!("primaries: tls: {what}")));
                }
                Err(error) => self.error(format!("primaries: tls: certificate: {error}")),
            }
        }
    }
}
