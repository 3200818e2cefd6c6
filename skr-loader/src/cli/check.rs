//! `skr-loader check`: every check on one SKR, a line each.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use keystore::dns::Name;
use keystore::exchange::verify::{self, Check, Outcome, Verdict, verdicts, verdicts_unread};
use keystore::exchange::{Finding, Ksr, TrustAnchor, VerifyContext, format, parse_trust_anchors};
use keystore::keys::files as key_files;
use keystore::policy;
use keystore::store::{MAX_SKR_OCTETS, digest};
use keystore::time::{Timestamp, syntax};
use serde::Serialize;

use super::style::{Style, distance};
use crate::accept::{self, Context};
use crate::checks::FILE_CHECKS;
use crate::files::{self, Named, hex, one_line};
use crate::store;

/// Findings of one check that are printed without `--all`.
const FINDINGS: usize = 3;

/// Check an SKR, and say for each check how it went.
///
/// Reads the file once, verifies every signature of every bundle with the trusted KSKs, looks for gaps, and prints a
/// line for each check with its ID. Nothing is written. Checks that need more than the SKR are run when they get it:
/// --key-directory for the private keys, --accepted for what is in force, --request for what was asked for, --policy for
/// what caches may still hold.
///
/// Exit code: 0 the SKR is good (maybe with warnings), 1 it is not, or could not be checked, 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  skr-loader check --zone example --trust-anchor example.ds --key-directory /var/lib/offline-ksk/keys example.skr
The trust anchor is what `dnssec-dsfromkey` prints, or the DNSKEY record of the KSK.")]
pub struct Args {
    /// The zone that the SKR must be for.
    #[arg(long, value_name = "ZONE", value_parser = parse_name)]
    zone: Name,
    /// DS or DNSKEY records of the KSKs to trust, one a line.
    #[arg(long, value_name = "FILE")]
    trust_anchor: PathBuf,
    /// Folder with the ZSKs of the zone (K*.key, K*.private): each ZSK of the SKR must be there.
    #[arg(long, value_name = "DIR")]
    key_directory: Option<PathBuf>,
    /// The folder `accepted` of a state folder: the SKR must follow on what is in force there.
    #[arg(long, value_name = "DIR")]
    accepted: Option<PathBuf>,
    /// The KSR that it should answer.
    #[arg(long, value_name = "KSR")]
    request: Option<PathBuf>,
    /// named.conf or TOML with the policy of the zone: TTLs and delays for the proof over caches (see `offline-ksk prove`).
    #[arg(long, value_name = "FILE", requires = "policy")]
    policy_file: Option<PathBuf>,
    /// Name of the policy.
    #[arg(long, value_name = "NAME", requires = "policy_file")]
    policy: Option<String>,
    /// The time to check for, instead of now: YYYYMMDDHHMMSS, seconds since 1970, now+3d, …
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    now: Option<String>,
    /// Other providers sign the zone too: their ZSKs have no files here (RFC 8901 model 1).
    #[arg(long)]
    multi_signer: bool,
    /// The SKR may ask the parent to remove the DS RRset (RFC 8078 section 4).
    #[arg(long)]
    allow_cds_delete: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print every finding, not only the first few of each check.
    #[arg(long)]
    all: bool,
    /// The file to check.
    #[arg(value_name = "SKR")]
    skr: PathBuf,
}

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct Report {
    accepted: bool,
    file: String,
    zone: String,
    checked_at: String,
    #[serde(flatten)]
    summary: Option<Summary>,
    checks: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Summary {
    octets: usize,
    sha256: String,
    bundles: usize,
    first_inception: Option<String>,
    last_inception: Option<String>,
    coverage_end: Option<String>,
    #[serde(skip)]
    end: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: &'static str,
    verdict: Word,
    holds: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<FindingRow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Ok,
    Warn,
    Fail,
    Skip,
}

#[derive(Debug, Serialize)]
struct FindingRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
    rejects: bool,
    what: String,
}

/// Runs the command; true when the SKR is good.
pub fn main(args: &Args, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    let now = match &args.now {
        None => now,
        Some(text) => syntax::parse(text, now)?.ok_or_else(|| anyhow!("--now {text}: that is no time"))?,
    };
    let report = check(args, now)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&report, args.all, now, Style::of_stdout(), out)?;
    }
    Ok(report.accepted)
}

fn check(args: &Args, now: Timestamp) -> anyhow::Result<Report> {
    let anchors = read_anchors(&args.trust_anchor, &args.zone)?;
    let keys = match &args.key_directory {
        None => None,
        Some(dir) => Some(key_files::find_online(dir, &args.zone).context("--key-directory")?),
    };
    let state = match &args.accepted {
        None => None,
        // A typo must not pass for a store where nothing was accepted yet.
        Some(dir) if !dir.is_dir() => {
            anyhow::bail!(
                "--accepted: {} is no folder; give the `accepted` folder of a state folder",
                dir.display()
            )
        }
        Some(dir) => match store::peek(dir, &args.zone) {
            (state, None) => Some(state),
            (_, Some(error)) => return Err(error).context("--accepted"),
        },
    };
    let request = args.request.as_deref().map(|path| read_request(path, &args.zone)).transpose()?;
    let policy = match (&args.policy_file, &args.policy) {
        (Some(file), Some(name)) => Some(policy::load(file)?.get(name)?.clone()),
        _ => None,
    };
    let mut report = Report {
        accepted: false,
        file: args.skr.display().to_string(),
        zone: args.zone.to_string(),
        checked_at: now.iso(),
        summary: None,
        checks: Vec::new(),
    };

    let read = files::read(&args.skr, Named::ByOperator, MAX_SKR_OCTETS);
    let octets = match read {
        Ok(file) => file.octets,
        Err(error) => {
            let finding = Finding::reject(error.id(), None, error.to_string());
            report.checks = rows(verdicts_unread(FILE_CHECKS, &finding), "");
            report.checks.extend(rows(verdicts_unread(verify::CHECKS, &finding), NOT_READ));
            report.checks.extend(rows(verdicts_unread(accept::CHECKS, &finding), NOT_READ));
            return Ok(report);
        }
    };
    report.checks = rows(verdicts(FILE_CHECKS, &[]), "");
    let sha256 = digest(&octets);
    let mut summary = Summary {
        octets: octets.len(),
        sha256: hex(&sha256),
        bundles: 0,
        first_inception: None,
        last_inception: None,
        coverage_end: None,
        end: None,
    };
    let skr = match format::parse_skr(&octets, &args.zone) {
        Ok(skr) => skr,
        Err(error) => {
            let finding = Finding::from(&error);
            report.checks.extend(rows(verdicts_unread(verify::CHECKS, &finding), NOT_READ));
            report.checks.extend(rows(verdicts_unread(accept::CHECKS, &finding), NOT_READ));
            report.summary = Some(summary);
            return Ok(report);
        }
    };
    summary.bundles = skr.bundles.len();
    summary.first_inception = skr.bundles.first().map(|b| b.inception.iso());
    summary.last_inception = skr.bundles.last().map(|b| b.inception.iso());
    summary.end = skr.bundles.last().map(keystore::exchange::Bundle::expiration);
    summary.coverage_end = summary.end.map(Timestamp::iso);
    report.summary = Some(summary);

    let context = Context {
        state: state.as_ref(),
        keys: keys.as_ref(),
        requests: request.as_slice(),
        proof: policy.as_ref().map(|policy| (policy, &*anchors)),
        multi_signer: args.multi_signer,
    };
    let mut verify_context = VerifyContext::new(&args.zone, &anchors);
    verify_context.allow_delete = args.allow_cds_delete;
    let (findings, verified) = match verify::verify(skr, &verify_context, now) {
        Ok(skr) => {
            let mut findings = skr.warnings().to_vec();
            findings.extend(accept::check(&skr, &sha256, &context, now));
            (findings, true)
        }
        Err(findings) => (findings, false),
    };
    report.accepted = !findings.iter().any(Finding::rejects);
    report.checks.extend(rows(verdicts(verify::CHECKS, &findings), ""));
    for check in accept::CHECKS {
        let row = rows(verdicts(std::slice::from_ref(check), &findings), "");
        let skipped = if verified { missing(check, &context) } else { Some("the SKR does not verify") };
        report.checks.extend(row.into_iter().map(|row| match skipped {
            Some(why) if row.findings.is_empty() => Row { verdict: Word::Skip, why_not: Some(why), ..row },
            _ => row,
        }));
    }
    Ok(report)
}

const NOT_READ: &str = "the SKR does not read";

/// What a check would need.
fn missing(check: &Check, context: &Context<'_>) -> Option<&'static str> {
    match check.id {
        "SKR-REPLAY" if context.state.is_none() => Some("no --accepted"),
        "SKR-NO-PRIVATE-KEY" if context.keys.is_none() => Some("no --key-directory"),
        "SKR-KEYSET" if context.keys.is_none() && context.requests.is_empty() => {
            Some("no --key-directory, no --request")
        }
        "SKR-NOT-ASKED" if context.requests.is_empty() => Some("no --request"),
        "SKR-PROVE" if context.proof.is_none() => Some("no --policy-file, no --policy"),
        _ => None,
    }
}

fn rows(verdicts: Vec<Verdict<'_>>, why_not: &'static str) -> Vec<Row> {
    let row = |verdict: Verdict<'_>| Row {
        id: verdict.check.id,
        holds: verdict.check.holds,
        verdict: match verdict.outcome {
            Outcome::Passed => Word::Ok,
            Outcome::Warned => Word::Warn,
            Outcome::Rejected => Word::Fail,
            Outcome::NotReached => Word::Skip,
        },
        why_not: (verdict.outcome == Outcome::NotReached && !why_not.is_empty()).then_some(why_not),
        findings: verdict
            .findings
            .iter()
            .map(|f| FindingRow {
                bundle: f.bundle.map(|b| b.to_string()),
                rejects: f.rejects(),
                what: one_line(&f.what),
            })
            .collect(),
    };
    verdicts.into_iter().map(row).collect()
}

fn print(
    report: &Report,
    all: bool,
    now: Timestamp,
    style: Style,
    out: &mut impl Write,
) -> std::io::Result<()> {
    for row in &report.checks {
        let word = match row.verdict {
            Word::Ok => style.good("ok  "),
            Word::Warn => style.warn("warn"),
            Word::Fail => style.bad("FAIL"),
            Word::Skip => style.dim("skip"),
        };
        let first = match row.why_not {
            Some(why) => style.dim(&format!("not run: {why}")),
            None if row.findings.is_empty() => row.holds.to_owned(),
            None => row.findings[0].to_string(),
        };
        writeln!(out, "{word} {:<19}{first}", row.id)?;
        let shown = if all { usize::MAX } else { FINDINGS };
        for finding in row.findings.iter().take(shown).skip(1) {
            writeln!(out, "{:24}{finding}", "")?;
        }
        if let Some(more) = row.findings.len().checked_sub(shown).filter(|more| *more > 0) {
            writeln!(out, "{:24}{}", "", style.dim(&format!("and {more} more; --all prints them")))?;
        }
    }
    writeln!(out)?;
    writeln!(out, "file      {}", one_line(&report.file))?;
    writeln!(out, "zone      {}", report.zone)?;
    if let Some(summary) = &report.summary {
        writeln!(out, "sha256    {} ({} octets)", summary.sha256, summary.octets)?;
        if let (Some(first), Some(last)) = (&summary.first_inception, &summary.last_inception) {
            writeln!(out, "bundles   {}, first {first}, last {last}", summary.bundles)?;
        }
        if let (Some(end), Some(text)) = (summary.end, &summary.coverage_end) {
            writeln!(out, "coverage  ends {text} ({})", distance(end, now))?;
        }
    }
    let failed: Vec<&str> =
        report.checks.iter().filter(|row| row.verdict == Word::Fail).map(|row| row.id).collect();
    if report.accepted {
        writeln!(out, "verdict   {}", style.good("good"))
    } else {
        writeln!(out, "verdict   {}", style.bad(&format!("rejected by {}", failed.join(", "))))
    }
}

impl std::fmt::Display for FindingRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(bundle) = &self.bundle {
            write!(f, "bundle {bundle}: ")?;
        }
        f.write_str(&self.what)
    }
}

fn parse_name(text: &str) -> Result<Name, keystore::dns::NameError> {
    Name::parse(text)
}

/// Longest trust anchor file, in octets.
const MAX_ANCHORS: u64 = 1 << 20;

fn read_anchors(path: &Path, zone: &Name) -> anyhow::Result<Vec<TrustAnchor>> {
    let file = files::read(path, Named::ByOperator, MAX_ANCHORS)
        .with_context(|| format!("--trust-anchor {}", path.display()))?;
    let text = String::from_utf8(file.octets)
        .with_context(|| format!("--trust-anchor {}: not a text", path.display()))?;
    let anchors = parse_trust_anchors(&text, zone)
        .map_err(|e| anyhow!("{}:{}: {}", path.display(), e.line, one_line(&e.what)))?;
    if anchors.is_empty() {
        anyhow::bail!("--trust-anchor {}: no DS or DNSKEY record of {zone} in it", path.display());
    }
    Ok(anchors)
}

fn read_request(path: &Path, zone: &Name) -> anyhow::Result<Ksr> {
    let file = files::read(path, Named::ByOperator, MAX_SKR_OCTETS)
        .with_context(|| format!("--request {}", path.display()))?;
    format::parse_ksr(&file.octets, zone)
        .map_err(|e| anyhow!("{}:{}: {}", path.display(), e.line, one_line(&e.what)))
}
