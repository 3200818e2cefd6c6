//! What was found out about one SKR, as text and as JSON.

use keystore::check::CheckId;
use std::io::{self, Write};

use keystore::exchange::verify::{CheckOutcome as Outcome, CheckVerdict as Verdict};
use keystore::exchange::{Bundle, UnverifiedSkr};
use keystore::time::Timestamp;
use serde::Serialize;

use crate::cli::style::{Style, distance};
use crate::files::one_line;

/// Findings of one check that are printed without `--all`.
const FINDINGS: usize = 3;

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub struct CheckReport {
    /// It passes every check now: a new one would be accepted, and the one in force is good still.
    pub accepted: bool,
    pub verdict: DaemonVerdict,
    /// The generation, when what it says is in force already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<u64>,
    /// Of the one in force: whether it would pass every check now. The daemon does not ask that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_good: Option<bool>,
    pub file: String,
    /// Where the part begins, in a file of several zones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    pub zone: Option<String>,
    pub checked_at: String,
    #[serde(flatten)]
    pub summary: Option<SkrSummary>,
    /// What the operator should know besides: a damaged store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    pub checks: Vec<CheckRow>,
}

/// What the daemon would say of the file now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DaemonVerdict {
    /// It would come into force.
    Accepted,
    /// It is in force already, and stays so, good or not.
    Unchanged,
    /// It would not come into force.
    Rejected,
}

/// The SKR in numbers.
#[derive(Debug, Default, Serialize)]
pub struct SkrSummary {
    pub octets: usize,
    pub sha256: String,
    pub bundles: usize,
    pub first_inception: Option<String>,
    pub last_inception: Option<String>,
    pub coverage_end: Option<String>,
    #[serde(skip)]
    pub end: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
pub struct CheckRow {
    pub id: CheckId,
    pub verdict: Word,
    pub holds: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<CheckFindingRow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Ok,
    Warn,
    Fail,
    Skip,
}

#[derive(Debug, Serialize)]
pub struct CheckFindingRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    pub rejects: bool,
    pub what: String,
}

impl SkrSummary {
    /// Adds what the SKR says.
    pub fn of(&mut self, skr: &UnverifiedSkr) {
        self.bundles = skr.bundles.len();
        self.first_inception = skr.bundles.first().map(|b| b.inception.iso());
        self.last_inception = skr.bundles.last().map(|b| b.inception.iso());
        self.end = skr.bundles.last().map(Bundle::expiration);
        self.coverage_end = self.end.map(Timestamp::iso);
    }
}

/// A row for each verdict; `why_not` says why one was not reached.
pub fn rows(verdicts: Vec<Verdict<'_>>, why_not: &'static str) -> Vec<CheckRow> {
    let row = |verdict: Verdict<'_>| CheckRow {
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
            .map(|f| CheckFindingRow {
                bundle: f.bundle.map(|b| b.to_string()),
                rejects: f.rejects(),
                what: one_line(&f.what),
            })
            .collect(),
    };
    verdicts.into_iter().map(row).collect()
}

/// Prints one report: `brief` leaves out the checks that passed or were not run.
pub fn print(
    report: &CheckReport,
    (brief, all): (bool, bool),
    now: Timestamp,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let quiet = |row: &&CheckRow| brief && matches!(row.verdict, Word::Ok | Word::Skip);
    for row in report.checks.iter().filter(|row| !quiet(row)) {
        print_row(row, all, style, out)?;
    }
    if !brief {
        writeln!(out)?;
    }
    match report.line {
        Some(line) => writeln!(out, "file      {}, from line {line} on", one_line(&report.file))?,
        None => writeln!(out, "file      {}", one_line(&report.file))?,
    }
    writeln!(out, "zone      {}", report.zone.as_deref().unwrap_or("unknown"))?;
    if let Some(summary) = &report.summary {
        writeln!(out, "sha256    {} ({} octets)", summary.sha256, summary.octets)?;
        if let (Some(first), Some(last)) = (&summary.first_inception, &summary.last_inception) {
            writeln!(out, "bundles   {}, first {first}, last {last}", summary.bundles)?;
        }
        if let (Some(end), Some(text)) = (summary.end, &summary.coverage_end) {
            writeln!(out, "coverage  ends {text} ({})", distance(end, now))?;
        }
    }
    for note in &report.notes {
        writeln!(out, "note      {}", style.warn(&one_line(note)))?;
    }
    let ids = |word: Word| {
        let mut ids: Vec<&str> =
            report.checks.iter().filter(|row| row.verdict == word).map(|row| row.id.as_str()).collect();
        ids.dedup();
        ids.join(", ")
    };
    let warned = ids(Word::Warn);
    let but = if warned.is_empty() { String::new() } else { format!("; look at the warning of {warned}") };
    match (report.accepted, report.unchanged) {
        (true, None) => return writeln!(out, "verdict   {}", style.good(&format!("good{but}"))),
        (true, Some(generation)) => {
            let text = format!("good: it is in force already, as generation {generation}{but}");
            return writeln!(out, "verdict   {}", style.good(&text));
        }
        (false, _) => {}
    }
    let failed = ids(Word::Fail);
    let text = match report.unchanged {
        Some(generation) => {
            format!("it is in force, as generation {generation}, and would be rejected now by {failed}")
        }
        None => format!("rejected by {failed}"),
    };
    writeln!(out, "verdict   {}", style.bad(&text))
}

fn print_row(row: &CheckRow, all: bool, style: Style, out: &mut impl Write) -> io::Result<()> {
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
    Ok(())
}

impl std::fmt::Display for CheckFindingRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(bundle) = &self.bundle {
            write!(f, "bundle {bundle}: ")?;
        }
        f.write_str(&self.what)
    }
}
