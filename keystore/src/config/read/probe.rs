//! `[probe]`: what nameservers are seen to serve.

use super::address;
use crate::config::ProbeConfig;
use crate::config::known::KnownZones;
use crate::dns::Name;
use crate::policy::table::Value;

/// Shortest time between two rounds, in seconds: a round may take a minute.
const MIN_INTERVAL: u32 = 60;

pub(super) fn read(value: &Value<'_, '_>, known: &KnownZones<'_>) -> Option<ProbeConfig> {
    let mut table = value.table()?;
    let mut probe = ProbeConfig::default();
    if let Some(value) = table.get("interval") {
        probe.interval = value.duration().unwrap_or(probe.interval);
        if probe.interval < MIN_INTERVAL {
            value.error(format!("must be at least {MIN_INTERVAL} seconds: a round may take as long"));
        }
    }
    let addresses = |value: Value<'_, '_>| -> Vec<_> {
        value.array().unwrap_or_default().iter().filter_map(address::address).collect()
    };
    probe.resolver = table.get("resolver").and_then(|v| address::address(&v));
    probe.servers = table.get("servers").map(addresses).unwrap_or_default();
    probe.parents = table.get("parents").map(addresses).unwrap_or_default();
    probe.transfer = table.get("axfr").and_then(|v| v.boolean()).unwrap_or(false);
    if let Some(value) = table.get("tsig-key") {
        probe.tsig_key = value.path();
        if !probe.transfer {
            value.error("is the key of transfers; say axfr = true, or leave it out");
        }
    }
    if let Some(value) = table.get("zones") {
        for value in value.array().unwrap_or_default() {
            let Some(name) = value.string().and_then(|text| Name::parse(text).ok()) else {
                value.error("must be the name of a [[zone]]");
                continue;
            };
            // Where the zones themselves are wrong, that has been told.
            known.allow(&name, &value);
            probe.zones.push(name);
        }
    }
    table.finish();
    Some(probe)
}
