//! `[transfer]`, and the keys `allow-transfer` and `notify`, which stand there and in a `[[zone]]`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crate::config::transfer::{
    AllowTransfer, IncomingConfig, Network, NotifyTarget, PrimaryConfig, TransferConfig,
};
use crate::dns::Name;
use crate::policy::table::{Table, Value};
use crate::policy::toml::Section;

/// Most entries of `allow-transfer`, `notify` or `key-files`: more hint at a mistake.
const MAX_ENTRIES: usize = 1000;
/// Octets that `max-octets` may let a transfer have.
const MOST_OCTETS: RangeInclusive<u32> = 1 << 16..=u32::MAX;
/// The port of DNS.
const PORT: u16 = 53;

/// Who may transfer a zone, and who is told of its versions.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub allow: Vec<AllowTransfer>,
    pub notify: Vec<NotifyTarget>,
}

/// `[transfer]`, and the rules of zones that do not have their own.
pub(super) fn read(top: &mut Table<'_, '_>) -> (TransferConfig, Rules) {
    let mut config = TransferConfig::default();
    let Some(mut table) = top.get(Section::Transfer.key()).and_then(|v| v.table()) else {
        return (config, Rules::default());
    };
    if let Some(value) = table.get("key-files") {
        config.key_files = entries(&value).iter().filter_map(Value::path).collect();
    }
    config.incoming = incoming(&mut table);
    let rules = rules(&mut table, &Rules::default());
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
        let Some(NotifyTarget { address, key }) = target(&value) else { continue };
        if primaries.iter().any(|other| other.address == address) {
            value.error(format!("{address} is given twice"));
        } else {
            primaries.push(PrimaryConfig { address, key });
        }
    }
    primaries
}

/// The rules of a table; what it does not say is as in `defaults`.
pub(super) fn rules(table: &mut Table<'_, '_>, defaults: &Rules) -> Rules {
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
    if address.is_none() && key.is_none() {
        table.error("names neither an address nor a key, so that everybody could transfer the zone; write for example { address = \"192.0.2.53\", key = \"xfr\" }");
    }
    table.finish();
    let (address, key) =
        (address.map_or(Some(None), |v| v.map(Some))?, key.map_or(Some(None), |v| v.map(Some))?);
    Some(AllowTransfer { address, key })
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
        return Some(NotifyTarget { address: address(value)?, key: None });
    }
    let mut table = value.table()?;
    let address = table.require("address", "\"192.0.2.53\"").and_then(|v| address(&v));
    let key = table.get("key").map(|v| key(&v));
    table.finish();
    Some(NotifyTarget { address: address?, key: key.map_or(Some(None), |v| v.map(Some))? })
}

fn address(value: &Value<'_, '_>) -> Option<SocketAddr> {
    let text = value.string()?;
    let with_port = text.parse().ok();
    let address = with_port.or_else(|| Some(SocketAddr::new(text.parse().ok()?, PORT)));
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
