//! `offline-ksk probe`: what the nameservers of a zone serve, judged from outside, for people, scripts and monitoring systems.
//!
//! [`gather`](gather::gather) asks, [`judge`](judge::judge) decides: facts in, findings out, with the time as an argument. Every
//! round is bounded in queries, memory and time.

pub mod chain;
pub mod expire;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod history;
pub mod judge;
mod plugin;
pub mod rounds;
pub mod soa;
pub mod transfer;
pub mod tsig;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use keystore::clock;
use keystore::config::Config;
use keystore::dns::Name;
use keystore::exchange::Bundle;
use keystore::time::{Timestamp, duration, syntax};
use metrics::condition::Severity;
use serde::Serialize;

use self::facts::{Facts, ServerFacts};
use self::finding::{ProbeFinding, in_words};
use self::gather::Request;
use self::judge::Expectations;
use self::tsig::TsigKey;

/// Most signatures over one RRset that are verified.
const MAX_SIGNATURES: usize = 16;
/// Version of the JSON.
const SCHEMA: u32 = 1;
/// Exit code when the command could not do its work (Monitoring Plugins Development Guidelines: UNKNOWN).
const UNKNOWN: u8 = 3;
/// Where the system names its resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// `offline-ksk probe`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The zones; with --config all configured ones when none is named
    #[arg(value_name = "ZONE", required_unless_present = "config")]
    zones: Vec<String>,
    /// Ask this server of the zone, instead of those that the resolver finds; an address with or without a port
    #[arg(long = "server", value_name = "ADDR", value_parser = address)]
    servers: Vec<SocketAddr>,
    /// Ask this server of the parent for the DS records, instead of those that the resolver finds
    #[arg(long = "parent", value_name = "ADDR", value_parser = address)]
    parents: Vec<SocketAddr>,
    /// The resolver that finds the servers, and that is asked whether it takes the zone. By default that of /etc/resolv.conf, where no
    /// --server is given
    #[arg(long, value_name = "ADDR", value_parser = address)]
    resolver: Option<SocketAddr>,
    /// Transfer the whole zone from each server, and look at every signature in it
    #[arg(long)]
    axfr: bool,
    /// The key of the transfer, in named's syntax
    #[arg(long, value_name = "FILE", requires = "axfr")]
    tsig_key: Option<PathBuf>,
    /// DS or DNSKEY records of the zone, or of a zone above it such as the root, to validate from
    #[arg(long, value_name = "FILE")]
    trust_anchor: Option<PathBuf>,
    /// The configuration file: what is served is held against the bundle in force and the policy
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Remaining validity of a signature to warn of, such as 5d. By default three quarters of signatures-refresh
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    warning: Option<u64>,
    /// Remaining validity of a signature that is critical. By default the largest TTL and a day
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    critical: Option<u64>,
    /// Print JSON
    #[arg(long, conflicts_with = "check")]
    json: bool,
    /// Print one line with performance data, as Icinga and Nagios want it
    #[arg(long)]
    check: bool,
    /// Judge as if it were this time, in the syntax of dnssec-keygen -P
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
}

/// An address with a port, 53 where none is given.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| {
            "expected an IP address, or one with a port: 192.0.2.1, 192.0.2.1:53, [2001:db8::1]:53".to_owned()
        })
}

fn seconds(text: &str) -> Result<u64, String> {
    duration::parse(text)
        .map(u64::from)
        .ok_or_else(|| "expected a duration, such as 5d, PT12H or 3600".to_owned())
}

/// One zone, seen and judged.
struct Probed {
    facts: Facts,
    findings: Vec<ProbeFinding>,
    severity: Severity,
}

/// Runs the command. Nothing that fails is another exit code than the guidelines know.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let probed = prepare(options).map(|(zones, now)| {
        let probe = |(zone, request, expected): &(Name, Request, Expectations)| {
            let facts = gather::gather(zone, request, now);
            let findings = judge::judge(&facts, expected, now);
            let severity = judge::severity(&findings);
            Probed { facts, findings, severity }
        };
        (zones.iter().map(probe).collect::<Vec<_>>(), now)
    });
    match probed {
        Ok((zones, now)) => {
            match () {
                () if options.json => print_json(&zones, now),
                () if options.check => outln!("{}", plugin::line(&zones, options, now)),
                () => zones.iter().for_each(|zone| print(zone, now)),
            }
            match zones.iter().map(|zone| zone.severity).max().unwrap_or_default() {
                Severity::Ok | Severity::Attention => ExitCode::SUCCESS,
                Severity::Warning => ExitCode::from(1),
                Severity::Critical => ExitCode::from(2),
            }
        }
        Err(error) => {
            // A monitoring system shows standard output only.
            match options.check {
                true => outln!("PROBE UNKNOWN: {}", plugin::text(&format!("{error:#}"))),
                false => eprintln!("offline-ksk: {error:#}"),
            }
            ExitCode::from(UNKNOWN)
        }
    }
}

type Job = (Name, Request, Expectations);

/// What is to be asked for each zone, and the time.
fn prepare(options: &Options) -> Result<(Vec<Job>, Timestamp)> {
    let now = match &options.now {
        Some(text) => syntax::parse(text, clock::now())
            .with_context(|| format!("--now {text}"))?
            .ok_or_else(|| anyhow!("--now {text} is no time"))?,
        None => clock::now(),
    };
    let config = options.config.as_deref().map(Config::load).transpose()?;
    let zones = match (&options.zones[..], &config) {
        ([], Some(config)) => config.zones.iter().map(|zone| zone.name.clone()).collect(),
        (named, _) => named
            .iter()
            .map(|zone| Name::parse(zone).with_context(|| format!("{zone} is no name of a zone")))
            .collect::<Result<Vec<_>>>()?,
    };
    let key = options.tsig_key.as_deref().map(TsigKey::load).transpose()?;
    let resolver = options.resolver.or_else(|| options.servers.is_empty().then(system_resolver).flatten());
    let anchors = options.trust_anchor.as_deref().map(|path| {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok::<_, anyhow::Error>((path, text))
    });
    let anchors = anchors.transpose()?;
    let jobs = zones.into_iter().map(|zone| {
        let anchors = match &anchors {
            Some((path, text)) => {
                Some(chain::parse(text, &zone).map_err(|e| anyhow!("{}: {e}", path.display()))?)
            }
            None => None,
        };
        let request = Request {
            servers: options.servers.clone(),
            parents: options.parents.clone(),
            resolver,
            anchors,
            transfer: options.axfr,
            key: key.clone(),
        };
        let expected = Expectations {
            warning: options.warning,
            critical: options.critical,
            ..config.as_ref().map(|config| expectations(config, &zone, now)).unwrap_or_default()
        };
        Ok((zone, request, expected))
    });
    Ok((jobs.collect::<Result<Vec<_>>>()?, now))
}

/// What the configuration says of a zone; nothing for one that it does not have.
pub(crate) fn expectations(config: &Config, zone: &Name, now: Timestamp) -> Expectations {
    let Some(configured) = config.zones.iter().find(|configured| configured.name == *zone) else {
        return Expectations::default();
    };
    let refresh = Some(u64::from(configured.policy.signatures_refresh));
    let stored = skr_loader::store::peek(&config.state_dir.join("accepted"), zone);
    let at = |bundles: &[Bundle]| bundles.iter().rfind(|bundle| bundle.inception <= now).cloned();
    let bundle = stored.in_force().and_then(|skr| at(&skr.bundles));
    Expectations { bundle, refresh, ..Expectations::default() }
}

/// The first resolver that the system is configured with.
pub(crate) fn system_resolver() -> Option<SocketAddr> {
    resolver_of(&std::fs::read_to_string(Path::new(RESOLV_CONF)).ok()?)
}

fn resolver_of(resolv_conf: &str) -> Option<SocketAddr> {
    resolv_conf.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let ip = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        ip.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53))
    })
}

// --- for people -----------------------------------------------------------------------------------------------------

fn print(zone: &Probed, now: Timestamp) {
    outln!("{}: {}", zone.facts.zone.to_lowercase(), zone.severity);
    for server in &zone.facts.servers {
        outln!("  {:<32} {}", server.server.to_string(), server_line(server));
    }
    if zone.facts.left_out > 0 {
        outln!("  {} more servers or addresses were not asked", zone.facts.left_out);
    }
    if let Some(end) = zone.facts.earliest_expiration(now) {
        let left = if end < now { "past".to_owned() } else { in_words(end.since(now)) };
        outln!("  {:<32} {} ({left})", "earliest end of a signature", end.iso());
    }
    for finding in &zone.findings {
        outln!("  {}", finding.line(&zone.facts.zone, now));
    }
}

fn server_line(server: &ServerFacts) -> String {
    let Some(soa) = server.soa() else { return "no SOA".to_owned() };
    let mut line = format!("serial {}", soa.serial);
    if let Some(seconds) = server.answer(keystore::dns::Rtype::SOA).and_then(|answer| answer.expire) {
        line.push_str(&format!(", expires in {}", in_words(seconds.into())));
    }
    if let Some(Ok(transfer)) = &server.transfer {
        line.push_str(&format!(
            ", {} records with {} signatures transferred",
            transfer.records, transfer.signatures
        ));
    }
    line
}

// --- for scripts ----------------------------------------------------------------------------------------------------

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonReport {
    version: u32,
    now: String,
    zones: Vec<JsonZone>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonZone {
    zone: String,
    severity: Severity,
    earliest_expiration: Option<String>,
    /// Negative once it is past.
    expires_in_seconds: Option<i64>,
    servers: Vec<JsonServer>,
    servers_left_out: usize,
    findings: Vec<JsonFinding>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonServer {
    address: SocketAddr,
    name: Option<String>,
    serial: Option<u32>,
    records: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFinding {
    id: &'static str,
    severity: Severity,
    server: Option<SocketAddr>,
    text: String,
}

fn print_json(zones: &[Probed], now: Timestamp) {
    let zone = |zone: &Probed| {
        let end = zone.facts.earliest_expiration(now);
        let left = |end: Timestamp| {
            let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
            if end < now { -signed(now.since(end)) } else { signed(end.since(now)) }
        };
        let server = |server: &ServerFacts| JsonServer {
            address: server.server.address,
            name: server.server.name.as_ref().map(ToString::to_string),
            serial: server.soa().map(|soa| soa.serial),
            records: server.transfer.as_ref().and_then(|t| t.as_ref().ok()).map(|t| t.records),
        };
        let finding = |finding: &ProbeFinding| JsonFinding {
            id: finding.id.as_str(),
            severity: finding.severity,
            server: finding.server.as_ref().map(|server| server.address),
            text: finding.text(now),
        };
        JsonZone {
            zone: zone.facts.zone.to_lowercase().to_string(),
            severity: zone.severity,
            earliest_expiration: end.map(|end| end.iso()),
            expires_in_seconds: end.map(left),
            servers: zone.facts.servers.iter().map(server).collect(),
            servers_left_out: zone.facts.left_out,
            findings: zone.findings.iter().map(finding).collect(),
        }
    };
    let report = JsonReport { version: SCHEMA, now: now.iso(), zones: zones.iter().map(zone).collect() };
    match serde_json::to_string_pretty(&report) {
        Ok(text) => outln!("{text}"),
        Err(error) => eprintln!("offline-ksk: the report does not print: {error}; please report this"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_port_53_where_it_names_none() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("192.0.2.1:5300", Some("192.0.2.1:5300")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]:5300", Some("[2001:db8::1]:5300")),
            ("ns.example", None),
            ("192.0.2.1:x", None),
            ("", None),
        ] {
            assert_eq!(address(text).ok().map(|a| a.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_first_resolver_of_the_system_is_taken() {
        for (text, expected) in [
            ("", None),
            ("# nameserver 192.0.2.1\nsearch example\n", None),
            ("search x\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n", Some("192.0.2.1:53")),
            ("nameserver fe80::1%eth0\nnameserver ::1\n", Some("[::1]:53")),
        ] {
            assert_eq!(resolver_of(text).map(|a| a.to_string()).as_deref(), expected, "{text}");
        }
    }
}
