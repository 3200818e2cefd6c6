//! `[parent]`: what the parents of the zones are told, and the commands that are run when their DS records change.

use super::address::address;
use crate::config::{LoaderConfig, ParentConfig, deliver};
use crate::policy::table::Table;
use crate::policy::toml::TopLevelKey;

/// What a setting of this table says where nobody can be asked.
const NO_RESOLVER: &str =
    "needs a validating resolver that finds the parent: give [loader] parent-resolver = \"IP:PORT\"";

pub(super) fn read(top: &mut Table<'_, '_>, loader: &LoaderConfig) -> ParentConfig {
    let mut parent = ParentConfig::default();
    let Some(mut table) = top.get(TopLevelKey::Parent.key()).and_then(|value| value.table()) else {
        return parent;
    };
    if let Some(value) = table.get("notify-cds") {
        parent.notify_cds = value.boolean().unwrap_or(parent.notify_cds);
        if parent.notify_cds && loader.parent_resolver.is_none() {
            value.error(NO_RESOLVER);
        }
    }
    for (key, servers) in [("servers", &mut parent.servers), ("parent-servers", &mut parent.parent_servers)] {
        let Some(value) = table.get(key) else { continue };
        for value in value.array().unwrap_or_default() {
            let Some(address) = address(&value) else { continue };
            if address.port() == 0 || address.ip().is_unspecified() {
                value.error("must be an address that can be asked, like 192.0.2.53:53 or [2001:db8::53]:53");
            }
            servers.push(address);
        }
        if loader.parent_resolver.is_none() {
            value.error(NO_RESOLVER);
        }
    }
    for (key, words) in [
        ("on-ds-ready", &mut parent.on_ds_ready),
        ("on-ds-seen", &mut parent.on_ds_seen),
        ("on-ds-gone", &mut parent.on_ds_gone),
    ] {
        let Some(value) = table.get(key) else { continue };
        *words = deliver::words(&value).unwrap_or_default();
        if loader.parent_resolver.is_none() {
            value.error(NO_RESOLVER);
        }
    }
    if let Some(value) = table.get("hook-timeout") {
        parent.hook_timeout = value.duration().unwrap_or(parent.hook_timeout);
        if !(1..=600).contains(&parent.hook_timeout) {
            value.error("must be from 1 second to 10 minutes: other zones may wait for it");
        }
    }
    table.finish();
    parent
}
