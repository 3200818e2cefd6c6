//! `[signer]` and `[metrics]`: the addresses that the daemons listen on, and what new content of a zone has to pass.

use std::ops::RangeInclusive;

use super::address::{address, addresses};
use super::query;
use crate::config::{MetricsConfig, SignerConfig, deliver};
use crate::policy::table::{Table, Value};

/// Why an address is refused.
const REACHED: &str = "ADDRESS can be reached by others, and the endpoint has neither password nor encryption; use 127.0.0.1 or [::1], name a web-config with basic_auth_users, or say allow-remote = true";

/// Percent that `max-shrink` and `max-growth` may say.
pub(super) const SHRINK: RangeInclusive<u32> = 0..=100;
pub(super) const GROWTH: RangeInclusive<u32> = 0..=1_000_000;

pub(super) fn signer(value: &Value<'_, '_>) -> Option<SignerConfig> {
    let mut table = value.table()?;
    let listen =
        table.require("listen", "[\"127.0.0.1:53\", \"[::1]:53\"]").and_then(|value| addresses(&value, &[]));
    let mut signer = SignerConfig::default();
    content(&mut table, &mut signer);
    signer.query = query::read(&mut table, listen.as_deref().unwrap_or_default());
    table.finish();
    Some(SignerConfig { listen: listen?, ..signer })
}

/// What new content of a zone has to pass before it is served.
fn content(table: &mut Table<'_, '_>, signer: &mut SignerConfig) {
    let mut percent = |key, range, field: &mut u32| {
        *field = table.get(key).and_then(|v| v.integer(range)).unwrap_or(*field);
    };
    percent("max-shrink", SHRINK, &mut signer.max_shrink);
    percent("max-growth", GROWTH, &mut signer.max_growth);
    if let Some(value) = table.get("review") {
        signer.review = deliver::words(&value).unwrap_or_default();
    }
    if let Some(value) = table.get("review-timeout") {
        signer.review_timeout = value.duration().unwrap_or(signer.review_timeout);
        if !(1..=86_400).contains(&signer.review_timeout) {
            value.error("must be from 1 second to 1 day");
        }
    }
}

pub(super) fn metrics(value: &Value<'_, '_>) -> Option<MetricsConfig> {
    let mut table = value.table()?;
    let allow_remote = table.get("allow-remote").and_then(|v| v.boolean()).unwrap_or(false);
    let web_config = table.get("web-config").map(|v| v.path());
    // Whether the file protects enough is judged where it is read.
    let may_be_reached = allow_remote || web_config.is_some();
    let guarded = |v: &Value<'_, '_>| {
        let address = address(v)?;
        if !may_be_reached && !address.ip().to_canonical().is_loopback() {
            v.error(REACHED.replace("ADDRESS", &address.to_string()));
        }
        Some(address)
    };
    let listen = table.require("listen", "\"127.0.0.1:9753\"").and_then(|v| guarded(&v));
    let requests_listen = table.get("requests-listen").and_then(|v| {
        let address = guarded(&v)?;
        if Some(address) == listen && address.port() != 0 {
            v.error("is the address of listen; two processes cannot share it");
        }
        Some(address)
    });
    let hosts = table.get("hosts").map(|v| hosts(&v)).unwrap_or_default();
    let alert_test_interval = table.get("alert-test-interval").and_then(|v| {
        let seconds = v.duration()?;
        if seconds < 86_400 {
            v.error("must be at least a day");
        }
        Some(seconds)
    });
    let detail_zones = table.get("detail-zones").and_then(|v| v.integer(0..=u32::MAX));
    table.finish();
    let defaults = MetricsConfig::at(listen?);
    Some(MetricsConfig {
        requests_listen,
        detail_zones: detail_zones.unwrap_or(defaults.detail_zones),
        allow_remote,
        web_config: web_config.flatten(),
        alert_test_interval,
        hosts,
        ..defaults
    })
}

/// Names of hosts, in lower case and without a final dot.
fn hosts(value: &Value<'_, '_>) -> Vec<String> {
    let name = |value: &Value<'_, '_>| {
        let text = value.string()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if text.is_empty() || !text.chars().all(is_name) {
            value.error("must be the name of a host, without a port, such as \"ns1.example.net\"");
            return None;
        }
        Some(text.trim_end_matches('.').to_ascii_lowercase())
    };
    value.array().into_iter().flatten().filter_map(|value| name(&value)).collect()
}
