//! `offline-ksk probe`: what the nameservers of a zone serve, judged from outside, for people, scripts and monitoring systems.
//!
//! [`gather`](gather::gather) asks, [`judge`](judge::judge) decides: facts in, findings out, with the time as an argument. Every
//! round is bounded in queries, memory and time.

pub mod chain;
pub mod contents;
pub mod denial;
pub mod expire;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod history;
pub mod judge;
mod plugin;
mod report;
pub mod rounds;
pub mod soa;
pub mod transfer;
pub mod validate;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use keystore::clock;
use keystore::config::Config;
use keystore::dns::Name;
use keystore::exchange::Bundle;
use keystore::time::{Timestamp, duration, syntax};
use keystore::tsig::TsigKey;
use metrics::condition::Severity;
use skr_loader::ask::each;

use self::gather::{AddressFamily, ProbeRequest};
use self::judge::Expectations;
use self::report::JudgedZone;

/// Exit code when the command could not do its work (Monitoring Plugins Development Guidelines: UNKNOWN).
pub(crate) const UNKNOWN: u8 = 3;
/// How many zones are probed at once.
const ZONES_AT_ONCE: usize = 8;
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
    /// The resolver that finds the servers of the zone and of its parent, and that is asked whether it takes the zone. By default that of
    /// /etc/resolv.conf; with --server that one finds the parent alone
    #[arg(long, value_name = "ADDR", value_parser = address)]
    resolver: Option<SocketAddr>,
    /// Ask at IPv4 addresses only
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Ask at IPv6 addresses only
    #[arg(short = '6')]
    ipv6: bool,
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

impl Options {
    const fn family(&self) -> Option<AddressFamily> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(AddressFamily::V4),
            (_, true) => Some(AddressFamily::V6),
            _ => None,
        }
    }
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

/// Runs the command. Whatever happens, the exit code is one that the guidelines know.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    std::panic::catch_unwind(|| run_job(options)).unwrap_or_else(|_| {
        if options.check {
            outln!("PROBE UNKNOWN: a bug of this program; what it says stands on standard error");
        }
        ExitCode::from(UNKNOWN)
    })
}

fn run_job(options: &Options) -> ExitCode {
    let probed = prepare(options).map(|(jobs, now)| {
        let probe = |(zone, request, expected): &Job| {
            JudgedZone::of(&gather::gather(zone, request, now), expected, now)
        };
        (each(&jobs, ZONES_AT_ONCE, probe), now)
    });
    match probed {
        Ok((zones, now)) => {
            match () {
                () if options.json => report::print_json(&zones, now),
                () if options.check => outln!("{}", plugin::line(&zones, options, now)),
                () => zones.iter().for_each(|zone| report::print(zone, now)),
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

/// Tells a monitoring system, which shows standard output only, that the command line is wrong.
pub(crate) fn tell_wrong_usage(error: &clap::Error) {
    let text = error.to_string();
    outln!("PROBE UNKNOWN: {}", plugin::text(text.lines().next().unwrap_or_default()));
}

type Job = (Name, ProbeRequest, Expectations);

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
            .map(|zone| zone.parse::<Name>().with_context(|| format!("{zone} is no name of a zone")))
            .collect::<Result<Vec<_>>>()?,
    };
    if let (Some(config), Some(path)) = (&config, &options.config)
        && let Some(unknown) = zones.iter().find(|zone| config.zones.iter().all(|own| own.name != **zone))
    {
        bail!("{unknown} is no zone of {}", path.display());
    }
    let key = options.tsig_key.as_deref().map(TsigKey::load).transpose()?;
    let family = options.family();
    let servers = of_family(&options.servers, family).context("--server")?;
    let parents = of_family(&options.parents, family).context("--parent")?;
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
        let request = ProbeRequest {
            servers: servers.clone(),
            parents: parents.clone(),
            family,
            anchors,
            transfer: options.axfr,
            key: key.clone(),
            ..with_resolver(options.resolver, &options.servers)
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

/// A request that goes by the resolver `named`, or by that of the system. Where the servers are given, the resolver of the system
/// finds the parent alone: what it thinks of the zone is no matter of servers that it may not even know.
pub(crate) fn with_resolver(named: Option<SocketAddr>, servers: &[SocketAddr]) -> ProbeRequest {
    let resolver = named.or_else(system_resolver);
    let second_opinion = if servers.is_empty() { resolver } else { named };
    ProbeRequest { resolver, second_opinion, ..ProbeRequest::default() }
}

/// The addresses of the wanted family. That none is left is an error, for other servers would be asked then.
fn of_family(addresses: &[SocketAddr], family: Option<AddressFamily>) -> Result<Vec<SocketAddr>> {
    let wanted = |address: &SocketAddr| family.is_none_or(|family| family.has(*address));
    let left: Vec<SocketAddr> = addresses.iter().copied().filter(wanted).collect();
    if left.is_empty() && !addresses.is_empty() {
        bail!("no address is of the family that is to be asked (-4, -6)");
    }
    Ok(left)
}

/// What the configuration says of a zone; nothing for one that it does not have.
pub(crate) fn expectations(config: &Config, zone: &Name, now: Timestamp) -> Expectations {
    let Some(configured) = config.zones.iter().find(|configured| configured.name == *zone) else {
        return Expectations::default();
    };
    if !configured.is_signed_here() {
        return Expectations::default();
    }
    let refresh = Some(u64::from(configured.policy.signatures_refresh));
    let stored = skr_loader::store::peek(&config.state_dir.join("accepted"), zone);
    let at = |bundles: &[Bundle]| bundles.iter().rfind(|bundle| bundle.inception <= now).cloned();
    let bundle = stored.in_force().and_then(|skr| at(&skr.bundles));
    let store_error = stored.error().map(ToString::to_string);
    Expectations { bundle, store_error, refresh, ..Expectations::default() }
}

/// The first resolver that the system is configured with.
fn system_resolver() -> Option<SocketAddr> {
    resolver_of(&std::fs::read_to_string(Path::new(RESOLV_CONF)).ok()?)
}

fn resolver_of(resolv_conf: &str) -> Option<SocketAddr> {
    resolv_conf.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let ip = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        ip.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53))
    })
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

    #[test]
    fn the_resolver_of_the_system_finds_the_parent_where_servers_are_given() {
        let (named, server) = (address("192.0.2.53").ok(), [address("192.0.2.1").expect("an address")]);
        for (resolver, servers, asked) in
            [(named, &[][..], true), (named, &server[..], true), (None, &server[..], false)]
        {
            let request = with_resolver(resolver, servers);
            assert_eq!(request.resolver, resolver.or_else(system_resolver), "{resolver:?} {servers:?}");
            assert_eq!(request.second_opinion.is_some(), asked, "{resolver:?} {servers:?}");
        }
    }

    #[test]
    fn servers_of_the_other_family_are_left_out_and_none_at_all_is_an_error() {
        let both = ["192.0.2.1", "2001:db8::1"].map(|text| address(text).expect("an address"));
        for (family, left) in
            [(None, &both[..]), (Some(AddressFamily::V4), &both[..1]), (Some(AddressFamily::V6), &both[1..])]
        {
            assert_eq!(of_family(&both, family).expect("addresses"), left, "{family:?}");
        }
        assert!(of_family(&both[..1], Some(AddressFamily::V6)).is_err());
        assert!(of_family(&[], Some(AddressFamily::V6)).expect("none was given").is_empty());
    }
}
