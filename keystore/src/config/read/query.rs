//! What `[signer]` says of queries.

use super::transfer;
use crate::config::query::{QueryConfig, RateLimitConfig};
use crate::config::transfer::Network;
use crate::policy::table::{Table, Value};

/// Most answers a second of a limit: times are counted in microseconds.
const MAX_RATE: u32 = 100_000;

pub(super) fn read(table: &mut Table<'_, '_>) -> QueryConfig {
    let defaults = QueryConfig::default();
    let cookies = table.get("cookies").and_then(|v| v.boolean()).unwrap_or(defaults.cookies);
    let cookie_secret_file = table.get("cookie-secret-file").and_then(|v| {
        if !cookies {
            v.error("is not used with cookies = false");
        }
        v.path()
    });
    let rate_limit = table.get("rate-limit").and_then(|v| rate_limit(&v)).unwrap_or_default();
    QueryConfig { cookies, cookie_secret_file, rate_limit }
}

fn rate_limit(value: &Value<'_, '_>) -> Option<RateLimitConfig> {
    let mut table = value.table()?;
    let defaults = RateLimitConfig::default();
    let mut number = |key, range, default| table.get(key).and_then(|v| v.integer(range)).unwrap_or(default);
    let responses_per_second = number("responses-per-second", 0..=MAX_RATE, defaults.responses_per_second);
    let all_per_second = number("all-per-second", 0..=MAX_RATE, defaults.all_per_second);
    let slip = number("slip", 0..=10, defaults.slip);
    let ipv4_prefix = number("ipv4-prefix", 1..=32, defaults.ipv4_prefix.into());
    let ipv6_prefix = number("ipv6-prefix", 1..=128, defaults.ipv6_prefix.into());
    let exempt = table.get("exempt").map(|v| networks(&v)).unwrap_or_default();
    if all_per_second > 0 && all_per_second < responses_per_second {
        table.error("all-per-second is less than responses-per-second, which is never reached then");
    }
    table.finish();
    Some(RateLimitConfig {
        responses_per_second,
        all_per_second,
        slip,
        ipv4_prefix: u8::try_from(ipv4_prefix).unwrap_or(defaults.ipv4_prefix),
        ipv6_prefix: u8::try_from(ipv6_prefix).unwrap_or(defaults.ipv6_prefix),
        exempt,
    })
}

/// A list of addresses and networks.
fn networks(value: &Value<'_, '_>) -> Vec<Network> {
    transfer::entries(value).iter().filter_map(transfer::network).collect()
}
