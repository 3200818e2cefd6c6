//! `skr-loader check`: every check on SKRs, a line each.

mod evidence;
mod report;

use keystore::check::{Check, CheckId};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use keystore::config::Config;
use keystore::dns::Name;
use keystore::exchange::SkrFinding;
use keystore::exchange::verify::{self, verdicts, verdicts_unread};
use keystore::exchange::{format, many};
use keystore::store::{MAX_SKR_OCTETS, digest};
use keystore::time::{Timestamp, syntax};

use super::style::Style;
use crate::accept::{self, AcceptContext};
use crate::checks::FILE_CHECKS;
use crate::files::{self, NamedBy, hex};
use crate::judge::{
    self, Candidate, EvidenceError, FileContent, InForceAlready, Overrides, Stage, StillGood, UnreadableSkr,
    Verdict,
};
use crate::operator::{self, Operator};
use evidence::EvidenceGatherer;
use report::{CheckReport, CheckRow, DaemonVerdict, SkrSummary, Word, rows};

/// Check SKRs, and say for each check how it went.
///
/// With -c everything is taken from the configuration of the daemon: the zone by the content of the file, its trust anchors and policy,
/// the key folder, what is in force, the open requests. So the verdict is the one that the daemon would give now. One that is
/// in force already, which the daemon leaves as it is (unchanged), is checked once more: is it good still? A file of several
/// zones is judged zone by zone. Flags put another value in the place of the configuration's.
///
/// Without -c: verifies every signature of every bundle with the trusted KSKs, looks for gaps, and prints a
/// line for each check with its ID. Checks that need more than the SKR are run when they get it:
/// --key-directory for the private keys, --accepted for what is in force, --request for what was asked for, --policy for
/// what caches may still hold.
///
/// Each file is read once, and nothing is written.
///
/// Exit code: 0 every SKR is good (maybe with warnings), 1 one is not, or could not be checked, 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skr-loader check -c /etc/offline-ksk/offline-ksk.toml example.skr
  skr-loader check --zone example --trust-anchor example.ds --key-directory /var/lib/offline-ksk/keys example.skr
The trust anchor is what `dnssec-dsfromkey` prints, or the DNSKEY record of the KSK.")]
pub struct Args {
    /// The configuration file of the daemon.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The zone that the SKR must be for.
    #[arg(long, value_name = "ZONE", required_unless_present = "config")]
    zone: Option<Name>,
    /// DS or DNSKEY records of the KSKs to trust, one a line.
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    trust_anchor: Option<PathBuf>,
    /// Folder with the ZSKs of the zone (K*.key, K*.private): each ZSK of the SKR must be there.
    #[arg(long, value_name = "DIR")]
    key_directory: Option<PathBuf>,
    /// The folder `accepted` of a state folder: the SKR must follow on what is in force there.
    #[arg(long, value_name = "DIR")]
    accepted: Option<PathBuf>,
    /// DS or DNSKEY records of standby and successor KSKs, one a line: they may stand in the DNSKEY RRset, and are not trusted.
    #[arg(long, value_name = "FILE")]
    announced: Option<PathBuf>,
    /// The KSR that it should answer.
    #[arg(long, value_name = "KSR")]
    request: Option<PathBuf>,
    /// named.conf or TOML with the policy of the zone: TTLs and delays for the proof over caches (see `offline-ksk prove`).
    #[arg(long, value_name = "FILE", requires = "policy")]
    policy_file: Option<PathBuf>,
    /// Name of the policy.
    #[arg(long, value_name = "NAME", requires = "policy_file")]
    policy: Option<String>,
    /// The time to check for, instead of now: YYYYMMDDHHMMSS, seconds since 1970, now+3d, ...
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    now: Option<String>,
    /// Other providers sign the zone too: their ZSKs have no files here (RFC 8901 model 1).
    #[arg(long)]
    multi_signer: bool,
    /// The SKR may ask the parent to remove the DS RRset (RFC 8078 section 4).
    #[arg(long)]
    allow_cds_delete: bool,
    /// Print JSON: an object; with -c, or for several files, an array of them.
    #[arg(long)]
    json: bool,
    /// Print every finding, not only the first few of each check, and with several SKRs also the checks that passed.
    #[arg(long)]
    all: bool,
    /// The files to check. Each is held against what is in force now, not against the file before it.
    #[arg(value_name = "SKR", required = true)]
    skr: Vec<PathBuf>,
}

/// Runs the command; true when every SKR is good.
pub fn main(args: &Args, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    let now = match &args.now {
        None => now,
        Some(text) => syntax::parse(text, now)?.ok_or_else(|| anyhow!("--now {text}: that is no time"))?,
    };
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let mut gatherer = EvidenceGatherer::new(args, config.as_ref(), now)?;
    let mut reports = Vec::new();
    for path in &args.skr {
        check_file(path, &mut gatherer, now, &mut reports)?;
    }
    if args.json {
        let result = match &*reports {
            [report] if config.is_none() => serde_json::to_writer_pretty(&mut *out, report),
            reports => serde_json::to_writer_pretty(&mut *out, reports),
        };
        result.map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        let (style, several) = (Style::of_stdout(), reports.len() > 1);
        for report in &reports {
            report::print(report, (several && !args.all, args.all), now, style, out)?;
            if several {
                writeln!(out)?;
            }
        }
        if several {
            let good = reports.iter().filter(|r| r.accepted).count();
            writeln!(out, "{} SKRs: {good} good, {} rejected", reports.len(), reports.len() - good)?;
        }
    }
    Ok(reports.iter().all(|report| report.accepted))
}

/// One file: a report for each zone in it.
fn check_file(
    path: &Path,
    gatherer: &mut EvidenceGatherer<'_>,
    now: Timestamp,
    reports: &mut Vec<CheckReport>,
) -> anyhow::Result<()> {
    let config = gatherer.config;
    let zone = gatherer.args.zone.as_ref().filter(|_| config.is_none()).map(Name::to_string);
    let blank = |line| CheckReport {
        accepted: false,
        verdict: DaemonVerdict::Rejected,
        unchanged: None,
        still_good: None,
        file: path.display().to_string(),
        line,
        zone: zone.clone(),
        checked_at: now.iso(),
        summary: None,
        notes: Vec::new(),
        checks: Vec::new(),
    };
    // With a configuration it is judged as the daemon would judge it in the inbox; without one, links are followed.
    let (named, limit) = match config {
        Some(config) => (NamedBy::Dropper, many::max_octets(config.zones.len())),
        None => (NamedBy::Operator, MAX_SKR_OCTETS),
    };
    let octets = match files::read(path, named, limit) {
        Ok(file) => file.octets,
        Err(error) => {
            let finding = SkrFinding::reject(error.id(), None, error.to_string());
            let mut report = blank(None);
            report.checks = rows(verdicts_unread(FILE_CHECKS, &finding), "");
            unread(&mut report, &finding);
            reports.push(report);
            return Ok(());
        }
    };
    let pinned = config.map_or(&[][..], |c| &c.loader.operator_certificates);
    let operator = (!pinned.is_empty()).then(|| operator::beside(path, named, &octets, pinned, now));
    let operator = operator.as_ref();
    // Without a configuration one SKR is meant.
    let content = if config.is_some() { judge::split(&octets) } else { Ok(FileContent::One) };
    let mut check =
        |gatherer: &mut EvidenceGatherer<'_>, line, octets: &[u8], candidate| -> anyhow::Result<()> {
            let mut report = blank(line);
            check_candidate((octets, candidate, operator), gatherer, now, &mut report)?;
            reports.push(report);
            Ok(())
        };
    match content {
        Ok(FileContent::One) => {
            let candidate = gatherer.read(&octets);
            check(gatherer, None, &octets, candidate)
        }
        Ok(FileContent::Many(parts)) => parts.iter().try_for_each(|part| {
            let candidate = part.read(&octets, |zone| gatherer.ours(zone));
            check(gatherer, Some(part.line), part.octets(&octets), candidate)
        }),
        Err(error) => check(gatherer, None, &octets, Err(error)),
    }
}

/// Has the SKR of one zone judged, and reports the verdict.
fn check_candidate(
    (octets, candidate, operator): (&[u8], Result<Candidate, UnreadableSkr>, Option<&Operator>),
    gatherer: &mut EvidenceGatherer<'_>,
    now: Timestamp,
    report: &mut CheckReport,
) -> anyhow::Result<()> {
    report.checks = rows(verdicts(FILE_CHECKS, &[]), "");
    let mut summary =
        SkrSummary { octets: octets.len(), sha256: hex(&digest(octets)), ..SkrSummary::default() };
    let candidate = match candidate {
        Ok(candidate) => candidate,
        Err(UnreadableSkr { zone, finding }) => {
            report.zone = zone.map(|zone| zone.to_string());
            unread(report, &finding);
            report.notes.extend(what_it_is(octets, &mut summary));
            report.summary = Some(summary);
            return Ok(());
        }
    };
    report.zone = Some(candidate.zone.to_string());
    summary.of(&candidate.skr);
    report.summary = Some(summary);
    let mut gathered = match gatherer.gather(&candidate.zone, Some(&candidate), operator.cloned(), now) {
        Ok(gathered) => gathered,
        // The daemon would try again later; here the other zones have their reports.
        Err(error) => {
            let error = error.downcast::<EvidenceError>()?;
            let finding = SkrFinding::reject(CheckId::SkrIo, None, error.to_string());
            report.checks = rows(verdicts_unread(FILE_CHECKS, &finding), "");
            not_run(report, &finding, NOT_GATHERED);
            return Ok(());
        }
    };
    report.notes.append(&mut gathered.notes);
    let overrides = Overrides { in_force: InForceAlready::Check, ..Overrides::default() };
    let verdict = judge::judge(candidate, &gathered.evidence, &overrides, now);
    let (findings, stage) = match verdict {
        Verdict::Accept(acceptance) => {
            report.verdict = DaemonVerdict::Accepted;
            (acceptance.warnings, Stage::Accept)
        }
        Verdict::Unchanged { generation, still } => {
            report.verdict = DaemonVerdict::Unchanged;
            report.unchanged = Some(generation);
            report.still_good = Some(!matches!(still, Some(StillGood::No(_))));
            match still {
                Some(StillGood::Yes(warnings)) => (warnings, Stage::Accept),
                Some(StillGood::No(rejection)) => (rejection.findings, rejection.stage),
                // Not with `InForceAlready::Check`.
                None => (Vec::new(), Stage::Read),
            }
        }
        Verdict::Reject(rejection) => (rejection.findings, rejection.stage),
    };
    report.accepted = report.verdict != DaemonVerdict::Rejected && report.still_good != Some(false);
    report.checks.extend(rows(verdicts(verify::CHECKS, &findings), ""));
    let context = gathered.evidence.context();
    for check in accept::CHECKS {
        let row = rows(verdicts(std::slice::from_ref(check), &findings), "");
        let skipped =
            if stage == Stage::Accept { missing(check, &context) } else { Some("the SKR does not verify") };
        report.checks.extend(row.into_iter().map(|row| match skipped {
            Some(why) if row.findings.is_empty() => {
                CheckRow { verdict: Word::Skip, why_not: Some(why), ..row }
            }
            _ => row,
        }));
    }
    Ok(())
}

/// Says what a file is that was not read as an SKR of the zone, where that can be told: whose SKR, or that it is a request.
fn what_it_is(octets: &[u8], summary: &mut SkrSummary) -> Option<String> {
    let zone = accept::zone_of(octets)?;
    if format::is_request(octets) {
        let asks = match format::parse_ksr(octets, &zone) {
            Ok(ksr) => format!(" for {} bundles", ksr.bundles.len()),
            Err(_) => String::new(),
        };
        return Some(format!(
            "the file is a request (KSR) of {zone}{asks}; the KSK side answers it with an SKR"
        ));
    }
    let skr = format::parse_skr(octets, &zone).ok()?;
    summary.of(&skr);
    let (first, last) = (skr.bundles.first()?.inception, skr.bundles.last()?.expiration());
    Some(format!(
        "the file is an SKR of {zone} with {} bundles, from {} to {}",
        skr.bundles.len(),
        first.iso(),
        last.iso()
    ))
}

/// The rows of an SKR that does not read.
fn unread(report: &mut CheckReport, finding: &SkrFinding) {
    not_run(report, finding, NOT_READ);
}

/// The rows of the checks that were not run.
fn not_run(report: &mut CheckReport, finding: &SkrFinding, why_not: &'static str) {
    report.checks.extend(rows(verdicts_unread(verify::CHECKS, finding), why_not));
    report.checks.extend(rows(verdicts_unread(accept::CHECKS, finding), why_not));
}

const NOT_READ: &str = "the SKR does not read";
const NOT_GATHERED: &str = "what it is held against cannot be read";

/// What a check would need.
fn missing(check: &Check, context: &AcceptContext<'_>) -> Option<&'static str> {
    match check.id {
        CheckId::SkrOperator if context.operator.is_none() => Some("no operator-certificates"),
        CheckId::SkrParentDs if context.parent.is_none() => Some("no parent-resolver"),
        CheckId::SkrReplay if context.state.is_none() => Some("no --accepted"),
        CheckId::SkrNoPrivateKey if context.keys.is_none() => Some("no --key-directory"),
        CheckId::SkrKeyset if context.keys.is_none() && context.requests.is_empty() => {
            Some("no --key-directory, no --request")
        }
        CheckId::SkrNotAsked if context.requests.is_empty() && context.state.is_some() => {
            Some("no open request")
        }
        CheckId::SkrNotAsked if context.requests.is_empty() => Some("no --request"),
        CheckId::SkrProve if context.proof.is_none() => Some("no --policy-file, no --policy"),
        _ => None,
    }
}
