//! What `[signer]` says of queries.

use std::net::SocketAddr;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::{address, transfer};
use crate::config::query::{QueryConfig, RateLimitConfig, TlsConfig};
use crate::config::transfer::Network;
use crate::dns::Name;
use crate::policy::table::{Table, Value};

/// Most answers a second of a limit: times are counted in microseconds.
const MAX_RATE: u32 = 100_000;
/// Most octets of NSID: each answer to a query that asks for it is longer by them.
const MAX_NSID: usize = 64;
/// Most octets of the name of an agent.
const MAX_AGENT: usize = 128;

/// `listen` has the addresses of UDP and TCP.
pub(super) fn read(table: &mut Table<'_, '_>, listen: &[SocketAddr]) -> QueryConfig {
    let defaults = QueryConfig::default();
    let cookies = table.get("cookies").and_then(|v| v.boolean()).unwrap_or(defaults.cookies);
    let cookie_secret_file = table.get("cookie-secret-file").and_then(|v| {
        if !cookies {
            v.error("is not used with cookies = false");
        }
        v.path()
    });
    let rate_limit = table.get("rate-limit").and_then(|v| rate_limit(&v)).unwrap_or_default();
    QueryConfig {
        cookies,
        cookie_secret_file,
        allow_query: allow_query(table),
        nsid: table.get("nsid").and_then(|v| nsid(&v)),
        identity: table.get("identity").and_then(|v| text(&v)),
        version: table.get("version").and_then(|v| text(&v)),
        report_agent: table.get("report-agent").and_then(|v| agent(&v)),
        tls: tls(table, listen),
        rate_limit,
    }
}

/// Encrypted connections: at least one listener with the certificate and its key, or nothing of it.
fn tls(table: &mut Table<'_, '_>, others: &[SocketAddr]) -> Option<TlsConfig> {
    let (tls, https, quic) = (table.get("tls-listen"), table.get("https-listen"), table.get("quic-listen"));
    let (certificate, key) = (table.get("tls-certificate"), table.get("tls-key"));
    let is_served = tls.is_some() || https.is_some() || quic.is_some();
    match (is_served, &certificate, &key) {
        (false, None, None) => return None,
        (true, Some(_), Some(_)) => {}
        _ => {
            table.error("DNS over TLS, HTTPS or QUIC needs tls-listen, https-listen or quic-listen, and with it tls-certificate and tls-key");
            return None;
        }
    }
    let listen = read_addresses(tls, others)?;
    // TLS and HTTPS are TCP, as is `listen`; QUIC is UDP, as is `listen`.
    let https = read_addresses(https, &[others, &listen].concat())?;
    let quic = read_addresses(quic, others)?;
    Some(TlsConfig { listen, https, quic, certificate: certificate?.path()?, key: key?.path()? })
}

/// The addresses of a list that may be left out.
fn read_addresses(value: Option<Value<'_, '_>>, others: &[SocketAddr]) -> Option<Vec<SocketAddr>> {
    value.map_or(Some(Vec::new()), |value| address::addresses(&value, others))
}

/// Whose queries are answered, of `[signer]` or a `[[zone]]`.
pub(super) fn allow_query(table: &mut Table<'_, '_>) -> Option<Vec<Network>> {
    let value = table.get("allow-query")?;
    let allowed = networks(&value);
    if allowed.is_empty() {
        value.error("names nobody; leave it out where everybody is answered");
    }
    Some(allowed)
}

/// Octets in hexadecimal behind `0x`, or a text.
fn nsid(value: &Value<'_, '_>) -> Option<Vec<u8>> {
    let text = value.string()?;
    let octets = match text.strip_prefix("0x") {
        Some(digits) => HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok(),
        None => Some(text.as_bytes().to_vec()),
    };
    let octets = octets.filter(|octets| (1..=MAX_NSID).contains(&octets.len()));
    if octets.is_none() {
        value.error(format!("must be a text or 0x and hexadecimal digits, of 1 to {MAX_NSID} octets"));
    }
    octets
}

/// A text that a TXT record can hold in one string.
fn text(value: &Value<'_, '_>) -> Option<String> {
    let text = value.string()?;
    if text.is_empty() || text.len() > 255 {
        value.error("must have 1 to 255 octets; leave it out where nothing is to be told");
        return None;
    }
    Some(text.to_owned())
}

/// The name of an agent: `_er.LABELS._er` must have room in front of it (RFC 9567 section 6.1.1).
fn agent(value: &Value<'_, '_>) -> Option<Name> {
    match Name::parse(value.string()?) {
        Ok(name) if !name.is_root() && name.as_wire().len() <= MAX_AGENT => Some(name),
        _ => {
            value.error("must be a domain name, not the root, of at most 128 octets");
            None
        }
    }
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
