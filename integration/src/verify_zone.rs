//! `offline-ksk verify-zone`: every finding of a signed zone file.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::dns::Name;
use keystore::exchange::{TrustAnchor, parse_trust_anchors};
use keystore::time::{Timestamp, syntax};
use signer_plugin::verify::{VerifyReport, ZoneContents, verify};
use skr_loader::files::{self, NamedBy};

/// What to verify, and against what.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The zone; without it the owner of the SOA record, and all names in the file must be absolute
    #[arg(long, value_name = "NAME")]
    zone: Option<Name>,
    /// DS or DNSKEY records of the KSK; without it the key set vouches for itself
    #[arg(long, value_name = "FILE")]
    trust_anchor: Option<PathBuf>,
    /// Verify as of this time instead of now (YYYYMMDDHHMMSS, now+1d, ...)
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// The signed zone
    zone_file: PathBuf,
}

/// Prints every finding; exit code 1 when there is one.
pub fn run(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let now = match &options.now {
        None => clock::now(),
        Some(text) => syntax::parse(text, clock::now())?.context("--now needs a time")?,
    };
    let zone = ZoneContents::read(&options.zone_file, options.zone.as_ref())?;
    let anchors = match &options.trust_anchor {
        Some(path) => read_anchors(path, zone.origin())?,
        None => Vec::new(),
    };
    let report = verify(&zone, &anchors, now);
    if options.json {
        outln!("{}", serde_json::to_string_pretty(&json(&report, zone.origin(), now))?);
    } else {
        for finding in &report.findings {
            outln!("{finding}");
        }
    }
    if std::io::stderr().is_terminal() || !options.json {
        let expiry =
            report.earliest_expiration.map_or_else(String::new, |at| format!(", until {}", at.iso()));
        let trust =
            if anchors.is_empty() { " (no trust anchor: the key set vouches for itself)" } else { "" };
        eprintln!(
            "{}: {} findings; {} names, {} RRsets, {} signatures{expiry}, {:.2} s{trust}",
            zone.origin(),
            report.findings.len(),
            report.names,
            report.rrsets,
            report.signatures,
            start.elapsed().as_secs_f64()
        );
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_anchors(path: &std::path::Path, zone: &Name) -> Result<Vec<TrustAnchor>> {
    let octets =
        files::read(path, NamedBy::Operator, 1 << 20).with_context(|| path.display().to_string())?.octets;
    let text = String::from_utf8(octets).with_context(|| format!("{}: not UTF-8", path.display()))?;
    parse_trust_anchors(&text, zone).with_context(|| path.display().to_string())
}

fn json(report: &VerifyReport, zone: &Name, now: Timestamp) -> serde_json::Value {
    let findings = report.findings.iter().map(|finding| {
        serde_json::json!({
            "owner": finding.owner.to_string(),
            "type": finding.rtype.to_string(),
            "fault": finding.fault.to_string(),
        })
    });
    serde_json::json!({
        "zone": zone.to_string(),
        "now": now.iso(),
        "findings": findings.collect::<Vec<_>>(),
        "names": report.names,
        "rrsets": report.rrsets,
        "signatures": report.signatures,
        "earliest_expiration": report.earliest_expiration.map(Timestamp::iso),
    })
}
