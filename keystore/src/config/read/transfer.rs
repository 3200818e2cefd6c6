//! `[transfer]`, and the keys `allow-transfer` and `notify`, which stand there and in a `[[zone]]`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crate::config::tls::{ClientTls, KeyPin, OwnCertificate, PrimaryTls};
use crate::config::transfer::{
    AllowTransfer, IncomingConfig, Network, NotifyTarget, PrimaryConfig, TransferConfig,
};
use crate::dns::Name;
use crate::policy::table::{Table, Value};
use crate::policy::toml::TopLevelKey;

/// Most entries of `allow-transfer`, `notify` or `key-files`: more hint at a mistake.
const MAX_ENTRIES: usize = 1000;
/// Octets that `max-octets` may let a transfer have.
const MOST_OCTETS: RangeInclusive<u32> = 1 << 16..=u32::MAX;
/// The ports of DNS, and of DNS over TLS.
const PORT: u16 = 53;
const TLS_PORT: u16 = 853;

/// Who may transfer a zone, and who is told of its versions.
#[derive(Debug, Clone, Default)]
pub(super) struct TransferRules {
    pub allow: Vec<AllowTransfer>,
    pub notify: Vec<NotifyTarget>,
}

/// `[transfer]`, and the rules of zones that do not have their own.
pub(super) fn read(top: &mut Table<'_, '_>) -> (TransferConfig, TransferRules) {
    let mut config = TransferConfig::default();
    let Some(mut table) = top.get(TopLevelKey::Transfer.key()).and_then(|v| v.table()) else {
        return (config, TransferRules::default());
    };
    if let Some(value) = table.get("key-files") {
        config.key_files = entries(&value).iter().filter_map(Value::path).collect();
    }
    config.incoming = incoming(&mut table);
    let rules = rules(&mut table, &TransferRules::default());
    table.finish();
    (config, rules)
}

/// How zones come from their primaries.
fn incoming(table: &mut Table<'_, '_>) -> IncomingConfig {
    let mut config = IncomingConfig::default();
    for (key, seconds) in [("min-refresh", &mut config.min_refresh), ("min-retry", &mut config.min_retry)] {
        let Some(value) = table.get(key) else { continue };
        match value.duration() {
            Some(0) => value.error("must be at least a second: nothing is asked for without a pause"),
            Some(found) => *seconds = found,
            None => {}
        }
    }
    let most = table.get("max-octets").and_then(|value| value.integer(MOST_OCTETS));
    config.max_octets = most.map(u64::from);
    config
}

/// The servers that a zone comes from.
pub(super) fn primaries(value: &Value<'_, '_>) -> Vec<PrimaryConfig> {
    let mut primaries: Vec<PrimaryConfig> = Vec::new();
    let listed = entries(value);
    if listed.is_empty() {
        value.error(
            "names no server; write for example primaries = [{ address = \"192.0.2.1\", key = \"xfr\" }]",
        );
    }
    for value in listed {
        let Some(primary) = primary(&value) else { continue };
        if primaries.iter().any(|other| other.address == primary.address) {
            value.error(format!("{} is given twice", primary.address));
        } else {
            primaries.push(primary);
        }
    }
    primaries
}

/// `"ADDRESS"`, `"ADDRESS:PORT"`, or a table with one of these, a key, and what is said of TLS.
fn primary(value: &Value<'_, '_>) -> Option<PrimaryConfig> {
    if value.is_string() {
        return Some(PrimaryConfig { address: address(value, PORT)?, key: None, tls: None });
    }
    let mut table = value.table()?;
    let tls = table.get("tls").map(|v| primary_tls(&v));
    let port = if tls.is_some() { TLS_PORT } else { PORT };
    let address = table.require("address", "\"192.0.2.1\"").and_then(|v| address(&v, port));
    let key = table.get("key").map(|v| key(&v));
    table.finish();
    let tls = tls.map_or(Some(None), |tls| tls.map(Some))?;
    Some(PrimaryConfig { address: address?, key: key.map_or(Some(None), |v| v.map(Some))?, tls })
}

/// Who a primary is, and who we are to it.
fn primary_tls(value: &Value<'_, '_>) -> Option<PrimaryTls> {
    let mut table = value.table()?;
    let name = table.get("name").and_then(|v| dns_name(&v));
    let authority = table.get("ca-file").and_then(|v| v.path());
    let pins = table.get("pin-sha256").map(|v| pins(&v)).unwrap_or_default();
    let (certificate, key) = (table.get("certificate"), table.get("key-file"));
    let own = match (&certificate, &key) {
        (Some(certificate), Some(key)) => {
            certificate.path().zip(key.path()).map(|(certificate, key)| OwnCertificate { certificate, key })
        }
        (None, None) => None,
        _ => {
            table.error("certificate and key-file go together");
            None
        }
    };
    if authority.is_none() && pins.is_empty() {
        table.error("does not say how the primary is known: give ca-file, or pin-sha256, or both");
    }
    table.finish();
    Some(PrimaryTls { name, authority, pins, own })
}

/// `true`, or who the client must be.
fn client_tls(value: &Value<'_, '_>) -> Option<ClientTls> {
    if value.is_boolean() {
        return value.boolean()?.then(ClientTls::default);
    }
    let mut table = value.table()?;
    let name = table.get("name").and_then(|v| dns_name(&v));
    let authority = table.get("client-ca-file").and_then(|v| v.path());
    let pins = table.get("pin-sha256").map(|v| pins(&v)).unwrap_or_default();
    let tls = ClientTls { pins, authority, name };
    if !tls.needs_certificate() {
        table.error("says nothing of the client: give client-ca-file, or pin-sha256, or both; or tls = true for any client over TLS");
    } else if tls.name.is_some() && tls.authority.is_none() {
        table.error("name needs client-ca-file: without it anybody makes a certificate with that name");
    }
    table.finish();
    Some(tls)
}

/// One pin, or several.
fn pins(value: &Value<'_, '_>) -> Vec<KeyPin> {
    if value.is_string() {
        return pin(value).into_iter().collect();
    }
    let listed = entries(value);
    if listed.is_empty() {
        value.error("names no key");
    }
    listed.iter().filter_map(pin).collect()
}

fn pin(value: &Value<'_, '_>) -> Option<KeyPin> {
    let pin = KeyPin::parse(value.string()?);
    if pin.is_none() {
        value.error("must be the SHA-256 of a public key in Base64, such as \"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"");
    }
    pin
}

/// A DNS name as certificates have it.
fn dns_name(value: &Value<'_, '_>) -> Option<String> {
    let text = value.string()?.trim_end_matches('.');
    let is_label = |label: &str| {
        let is_written_so = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(is_written_so)
    };
    let is_number = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    let ends_in_number = text.rsplit('.').next().is_some_and(is_number);
    if Name::parse(text).is_err() || !text.split('.').all(is_label) || ends_in_number {
        value.error("must be a DNS name, such as \"primary.example\"");
        return None;
    }
    Some(text.to_ascii_lowercase())
}

/// The rules of a table; what it does not say is as in `defaults`.
pub(super) fn rules(table: &mut Table<'_, '_>, defaults: &TransferRules) -> TransferRules {
    let mut rules = defaults.clone();
    if let Some(value) = table.get("allow-transfer") {
        rules.allow = entries(&value).iter().filter_map(allow).collect();
    }
    if let Some(value) = table.get("notify") {
        rules.notify = Vec::new();
        for value in entries(&value) {
            let Some(target) = target(&value) else { continue };
            if rules.notify.iter().any(|other| other.address == target.address) {
                value.error(format!("{} is given twice", target.address));
            } else {
                rules.notify.push(target);
            }
        }
    }
    rules
}

pub(super) fn entries<'a, 'i>(value: &Value<'a, 'i>) -> Vec<Value<'a, 'i>> {
    let entries = value.array().unwrap_or_default();
    if entries.len() > MAX_ENTRIES {
        value.error(format!("expected at most {MAX_ENTRIES} entries"));
        return Vec::new();
    }
    entries
}

fn allow(value: &Value<'_, '_>) -> Option<AllowTransfer> {
    let mut table = value.table()?;
    let address = table.get("address").map(|v| network(&v));
    let key = table.get("key").map(|v| key(&v));
    let tls = table.get("tls").and_then(|v| client_tls(&v));
    let is_known = tls.as_ref().is_some_and(ClientTls::needs_certificate);
    if address.is_none() && key.is_none() && !is_known {
        table.error("names neither an address nor a key nor a certificate, so that everybody could transfer the zone; write for example { address = \"192.0.2.53\", key = \"xfr\" }");
    }
    table.finish();
    let (address, key) =
        (address.map_or(Some(None), |v| v.map(Some))?, key.map_or(Some(None), |v| v.map(Some))?);
    Some(AllowTransfer { address, key, tls })
}

/// `"ADDRESS"` or `"ADDRESS/PREFIX"`.
pub(super) fn network(value: &Value<'_, '_>) -> Option<Network> {
    let network = Network::parse(value.string()?);
    if network.is_none() {
        value.error("must be an IP address or a network without bits behind its prefix, such as \"192.0.2.53\" or \"2001:db8::/32\"");
    }
    network
}

/// `"ADDRESS"`, `"ADDRESS:PORT"`, or a table with one of these and a key.
fn target(value: &Value<'_, '_>) -> Option<NotifyTarget> {
    if value.is_string() {
        return Some(NotifyTarget { address: address(value, PORT)?, key: None });
    }
    let mut table = value.table()?;
    let address = table.require("address", "\"192.0.2.53\"").and_then(|v| address(&v, PORT));
    let key = table.get("key").map(|v| key(&v));
    table.finish();
    Some(NotifyTarget { address: address?, key: key.map_or(Some(None), |v| v.map(Some))? })
}

fn address(value: &Value<'_, '_>, port: u16) -> Option<SocketAddr> {
    let text = value.string()?;
    let with_port = text.parse().ok();
    let address = with_port.or_else(|| Some(SocketAddr::new(text.parse().ok()?, port)));
    match address {
        Some(address) if address.port() != 0 && !address.ip().is_unspecified() => Some(address),
        _ => {
            value.error("must be an IP address with or without a port, such as \"192.0.2.53\" or \"[2001:db8::53]:5300\"");
            None
        }
    }
}

pub(super) fn key(value: &Value<'_, '_>) -> Option<Name> {
    let name = Name::parse(value.string()?).ok();
    if name.is_none() {
        value.error("must be the name of a key of [transfer] key-files");
    }
    name
}
