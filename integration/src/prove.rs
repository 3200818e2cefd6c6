//! `offline-ksk prove`: the proof of [`keystore::exchange::prove`] on files, for people or as JSON.

use keystore::check::CheckId;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use keystore::clock;
use keystore::config::Config;
use keystore::dns::Name;
use keystore::exchange::prove::{
    CHECKS, Delays, DsChange, DsPeriod, FaultKind, ParentModel, ProofFinding, ProofInput, ProofReport,
    SigningModel, prove,
};
use keystore::exchange::{Bundle, TrustAnchor, VerifyContext, parse_trust_anchors, verify};
use keystore::keys::files as key_files;
use keystore::policy::{self, Policy};
use keystore::store;
use keystore::time::{Timestamp, duration, syntax};
use serde::Serialize;
use skr_loader::files::{self, NamedBy, one_line};

use crate::inspect::{self, KsrOrSkr, Paint};

/// What to prove, and from what.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For each second of the coverage, a resolver may hold any DNSKEY RRset that was in force within its TTL, any signature over the \
zone that was served within max-zone-ttl, and any DS RRset that the parent had within its TTL; zone and parent need their \
propagation delays, too. Every combination must validate. What does not is told with its first second.

Without --key-directory the times of the ZSKs are derived: the proof then is that some ZSK can sign at each second. Without \
--parent-ds the parent is taken to follow CDS. Without --policy the delays are BIND's defaults.

A file for --parent-ds has DS records; a line `;; from TIME` (and, if it differs from parent-ds-ttl, `ttl SECONDS`) says since when \
those that follow are the DS RRset:
  ;; from 20260101000000
  example. DS 12345 13 2 ...
  ;; from 20260701000000 ttl 3600
  example. DS 54321 13 2 ...

Exit status: 0 proved, 1 not, 2 wrong usage.")]
pub struct Options {
    /// The zone
    #[arg(long, value_name = "NAME")]
    zone: Name,
    /// DS or DNSKEY records of the KSKs to trust: the DS RRset of the parent at the begin
    #[arg(long, value_name = "FILE")]
    trust_anchor: PathBuf,
    /// Folder of the ZSKs: their Activate and Inactive
    #[arg(long, value_name = "DIR")]
    key_directory: Option<PathBuf>,
    /// named.conf or TOML with the policy: TTLs, propagation delays, signature times
    #[arg(long, value_name = "FILE", requires = "policy")]
    policy_file: Option<PathBuf>,
    /// Name of the policy
    #[arg(long, value_name = "NAME", requires = "policy_file")]
    policy: Option<String>,
    /// Largest TTL in the zone, where it is above max-zone-ttl of the policy (604800, 1w). Known where --policy-file is the offline-ksk.toml
    /// of the signer
    #[arg(long, value_name = "DURATION")]
    largest_ttl: Option<String>,
    /// What the parent publishes, and when
    #[arg(long, value_name = "FILE")]
    parent_ds: Option<PathBuf>,
    /// The SKR before this one, whose last RRsets caches may hold
    #[arg(long, value_name = "SKR")]
    before: Option<PathBuf>,
    /// Look at this second and later ones only (YYYYMMDDHHMMSS, now, now+3d, ...)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// For scripts
    #[arg(long)]
    json: bool,
    /// The SKR
    #[arg(value_name = "SKR")]
    skr: PathBuf,
}

/// Proves, prints, and exits 1 when it does not hold.
pub fn run(options: &Options) -> Result<ExitCode> {
    let outcome = outcome(options, clock::now())?;
    if options.json {
        outln!("{}", serde_json::to_string_pretty(&outcome.json(options))?);
    } else {
        out!("{}", outcome.text(Paint::of_stdout()));
    }
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The proof, and what the checks of the file itself say.
struct Outcome {
    zone: Name,
    bundles: usize,
    /// What [`verify`] rejects: the proof takes signatures for good ones.
    rejected: Vec<verify::SkrFinding>,
    report: ProofReport,
    /// The parent is taken to follow CDS.
    follows: bool,
    default_policy: bool,
    /// The largest TTL of the zone, in seconds, where it is above `max-zone-ttl`.
    largest: Option<u32>,
}

fn outcome(options: &Options, now: Timestamp) -> Result<Outcome> {
    let zone = &options.zone;
    let from = match &options.from {
        None => Timestamp::EPOCH,
        Some(text) => syntax::parse(text, now)?.context("--from needs a time")?,
    };
    let policy = match (&options.policy_file, &options.policy) {
        (Some(file), Some(name)) => policy::load(file)?.get(name)?.clone(),
        _ => Policy::with_defaults("default").into(),
    };
    let largest = largest_ttl(options)?.filter(|ttl| *ttl > policy.effective_max_zone_ttl());
    let policy = policy.reckoning_with(largest);
    let anchors = read_anchors(&options.trust_anchor, zone)?;
    let signing = match &options.key_directory {
        None => SigningModel::Derived,
        Some(dir) => {
            let found = key_files::find_online(dir, zone).context("--key-directory")?;
            for error in &found.skipped {
                eprintln!("offline-ksk: warning: {error}");
            }
            SigningModel::from_files(&found.keys)
        }
    };
    let skr = read_skr(&options.skr, zone)?;
    let mut bundles: Vec<Bundle> = match &options.before {
        None => Vec::new(),
        Some(path) => read_skr(path, zone)?.bundles,
    };
    let first = skr.bundles.iter().map(|b| b.inception).min().unwrap_or(Timestamp::MAX);
    let parent = match &options.parent_ds {
        None => ParentModel::assumed(&anchors, &bundles, first),
        Some(path) => ParentModel::Timeline(read_timeline(path, zone, policy.parent_ds_ttl, now)?),
    };
    bundles.retain(|b| b.inception < first);
    let count = skr.bundles.len();
    bundles.extend(skr.bundles.iter().cloned());
    let context = VerifyContext::new(zone, &anchors).for_reload();
    let rejected = match verify(skr, &context, now) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.into_iter().filter(verify::SkrFinding::rejects).collect(),
    };
    let follows = matches!(parent, ParentModel::FollowsCds(_));
    let report = prove(&ProofInput {
        zone,
        bundles: &bundles.iter().collect::<Vec<_>>(),
        parent,
        signing,
        delays: Delays::from(&policy),
        from,
    });
    let default_policy = options.policy.is_none();
    Ok(Outcome { zone: zone.clone(), bundles: count, rejected, report, follows, default_policy, largest })
}

/// The largest TTL of the zone: of the option, or as the signer has noted it in its state folder, whichever is larger.
fn largest_ttl(options: &Options) -> Result<Option<u32>> {
    let read = |text: &String| {
        let what = || anyhow!("--largest-ttl {text}: give a duration, such as 604800, 1w or P7D");
        duration::parse(text).ok_or_else(what)
    };
    let given = options.largest_ttl.as_ref().map(read).transpose()?;
    let noted = match options.policy_file.as_deref().and_then(Config::locate_state_dir) {
        Some(state_dir) => store::largest_ttl(&state_dir, &options.zone)?,
        None => None,
    };
    Ok(noted.max(given))
}

fn read_skr(path: &Path, zone: &Name) -> Result<keystore::exchange::UnverifiedSkr> {
    match inspect::read_file(path, Some(zone))?.content {
        KsrOrSkr::Skr(skr) => Ok(skr),
        KsrOrSkr::Ksr(_) => {
            bail!("{}: this is a request (KSR); give the response (SKR) to it", path.display())
        }
    }
}

/// Longest file of DS records, in octets.
const MAX_ANCHORS: u64 = 1 << 20;

fn read_text(path: &Path) -> Result<String> {
    let octets = files::read(path, NamedBy::Operator, MAX_ANCHORS)?.octets;
    String::from_utf8(octets).with_context(|| format!("{}: not a text", path.display()))
}

fn read_anchors(path: &Path, zone: &Name) -> Result<Vec<TrustAnchor>> {
    let anchors = parse_trust_anchors(&read_text(path)?, zone)
        .map_err(|e| anyhow!("{}:{}: {}", path.display(), e.line, one_line(&e.what)))?;
    if anchors.is_empty() {
        bail!("{}: no DS or DNSKEY record of {zone} in it", path.display());
    }
    Ok(anchors)
}

fn read_timeline(path: &Path, zone: &Name, ttl: u32, now: Timestamp) -> Result<Vec<DsPeriod>> {
    let text = read_text(path)?;
    // Each part keeps the lines before it as empty ones, so that messages name the line of the file.
    let mut parts: Vec<(Timestamp, u32, String)> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        if (words.next(), words.next()) == (Some(";;"), Some("from")) {
            let place = || format!("{}:{}", path.display(), i + 1);
            let time =
                words.next().with_context(|| format!("{}: a time was expected after `from`", place()))?;
            let time = syntax::parse(time, now).with_context(place)?;
            let time = time.with_context(|| format!("{}: a time was expected after `from`", place()))?;
            let ttl = match (words.next(), words.next(), words.next()) {
                (None, ..) => ttl,
                (Some("ttl"), Some(seconds), None) => seconds
                    .parse()
                    .map_err(|_| anyhow!("{}: `ttl {seconds}`: a number of seconds was expected", place()))?,
                _ => bail!("{}: only `ttl SECONDS` may follow the time", place()),
            };
            parts.push((time, ttl, "\n".repeat(i + 1)));
        } else {
            if parts.is_empty() {
                parts.push((Timestamp::EPOCH, ttl, "\n".repeat(i)));
            }
            let (_, _, part) = parts.last_mut().context("a part was just made")?;
            part.push_str(line);
            part.push('\n');
        }
    }
    let mut timeline = Vec::new();
    for (i, (from, ttl, part)) in parts.into_iter().enumerate() {
        let ds = parse_trust_anchors(&part, zone)
            .map_err(|e| anyhow!("{}:{}: {}", path.display(), e.line, one_line(&e.what)))?;
        // Comments before the first `;; from` are no DS RRset.
        if i > 0 || from > Timestamp::EPOCH || !ds.is_empty() {
            timeline.push(DsPeriod { from, ds, ttl });
        }
    }
    if timeline.iter().all(|step| step.ds.is_empty()) {
        bail!("{}: no DS record of {zone} in it", path.display());
    }
    Ok(timeline)
}

// --- printing ---

#[derive(Serialize)]
struct Json<'a> {
    proved: bool,
    file: String,
    zone: String,
    from: String,
    to: String,
    /// The last second up to which every resolver validates.
    proved_until: Option<String>,
    zsk_times: &'static str,
    /// The largest TTL of the zone, in seconds, where it is above `max-zone-ttl`; the proof reckons with it.
    larger_ttl: Option<u32>,
    checks: Vec<Row<'a>>,
    ds_changes: Vec<Change>,
    /// Findings of the checks of the file itself.
    rejected: Vec<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: CheckId,
    verdict: &'static str,
    holds: &'a str,
    findings: Vec<FindingRow>,
}

#[derive(Serialize)]
struct FindingRow {
    at: String,
    until: Option<String>,
    rejects: bool,
    what: String,
}

#[derive(Serialize)]
struct Change {
    asked: String,
    tags: Vec<u16>,
    earliest: String,
    latest: Option<String>,
}

impl Outcome {
    fn is_good(&self) -> bool {
        self.report.is_good() && self.rejected.is_empty()
    }

    fn of(&self, id: CheckId) -> Vec<&ProofFinding> {
        self.report.findings.iter().filter(|f| f.fault.id() == id).collect()
    }

    fn verdict(findings: &[&ProofFinding]) -> &'static str {
        match findings {
            [] => "ok",
            _ if findings.iter().any(|f| f.rejects()) => "fail",
            _ => "warn",
        }
    }

    fn json(&self, options: &Options) -> Json<'_> {
        let row = |f: &&ProofFinding| FindingRow {
            at: f.at.iso(),
            until: f.until.map(Timestamp::iso),
            rejects: f.rejects(),
            what: f.what(),
        };
        let checks = CHECKS.iter().map(|check| {
            let findings = self.of(check.id);
            let verdict = Self::verdict(&findings);
            Row { id: check.id, verdict, holds: check.holds, findings: findings.iter().map(row).collect() }
        });
        let change = |c: &DsChange| Change {
            asked: c.asked.iso(),
            tags: c.tags.clone(),
            earliest: c.earliest.iso(),
            latest: c.latest.map(Timestamp::iso),
        };
        Json {
            proved: self.is_good(),
            file: options.skr.display().to_string(),
            zone: self.zone.to_string(),
            from: self.report.from.iso(),
            to: self.report.to.iso(),
            proved_until: self.report.proved_until().map(Timestamp::iso),
            zsk_times: if self.report.derived { "derived" } else { "key files" },
            larger_ttl: self.largest,
            checks: checks.collect(),
            ds_changes: self.report.ds_changes.iter().map(change).collect(),
            rejected: self.rejected.iter().map(ToString::to_string).collect(),
        }
    }

    fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        for check in CHECKS {
            let findings = self.of(check.id);
            let word = match Self::verdict(&findings) {
                "ok" => paint.good("ok  "),
                "warn" => paint.warn("warn"),
                _ => paint.bad("FAIL"),
            };
            if findings.is_empty() {
                line(format!("{word} {:<23} {}", check.id, check.holds));
            }
            for (i, finding) in findings.iter().enumerate() {
                let head = if i == 0 { format!("{word} {:<23}", check.id) } else { " ".repeat(28) };
                line(format!("{head} {}: {}", finding.at.iso(), one_line(&finding.what())));
            }
        }
        for finding in &self.rejected {
            line(format!("{} {}", paint.bad("FAIL"), one_line(&finding.to_string())));
        }
        line(String::new());
        let report = &self.report;
        line(format!("zone      {}", self.zone));
        line(format!(
            "bundles   {}, looked at from {} to {}",
            self.bundles,
            report.from.iso(),
            report.to.iso()
        ));
        let derived = "derived from the bundles; --key-directory gives them exactly";
        line(format!("ZSK times {}", if report.derived { derived } else { "from key files" }));
        if self.default_policy {
            line("delays    BIND's defaults; --policy-file and --policy give those of the zone".to_owned());
        }
        if let Some(ttl) = self.largest {
            line(format!("TTL       the zone has one of {ttl} s, above max-zone-ttl; it is reckoned with"));
        }
        let assumed = if self.follows {
            "taken to follow CDS; --parent-ds says what it does"
        } else {
            "as in --parent-ds"
        };
        line(format!("parent    {assumed}"));
        for change in &report.ds_changes {
            line(format!("          {}", describe(change)));
        }
        line(format!("verdict   {}", self.summary(paint)));
        out
    }

    fn summary(&self, paint: Paint) -> String {
        let report = &self.report;
        let until = report.proved_until();
        if !self.rejected.is_empty() {
            return paint
                .bad("not proved: the SKR itself does not verify (see above, and `skr-loader check`)");
        }
        match (report.is_good(), until) {
            (true, Some(until)) if until == report.to => {
                paint.good(&format!("proved: at every second until {} each resolver validates", until.iso()))
            }
            (true, Some(until)) => {
                paint.good(&format!("proved until {}; a newer SKR must be in force by then", until.iso()))
            }
            _ => {
                let first =
                    report.findings.iter().filter(|f| f.rejects()).min_by_key(|f| (f.at, f.fault.kind()));
                let first = first.map_or_else(String::new, |f| {
                    let what = if f.fault.kind() == FaultKind::Chain {
                        "some resolver fails"
                    } else {
                        "a rule is broken"
                    };
                    format!(": from {} on {what} ({})", f.at.iso(), f.fault.id())
                });
                paint.bad(&format!("not proved{first}"))
            }
        }
    }
}

/// The window of a DS change, as a sentence.
fn describe(change: &DsChange) -> String {
    let tags: Vec<String> = change.tags.iter().map(ToString::to_string).collect();
    let mut text = format!("DS RRset with tag {}: not before {}", tags.join(", "), change.earliest.iso());
    match change.latest {
        Some(latest) => {
            // Writing to a String cannot fail.
            let _ = write!(text, ", and no later than {}", latest.iso());
        }
        None => text.push_str("; no hurry"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000";

    fn timeline(text: &str) -> Result<Vec<(u64, u32, usize)>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("parent");
        std::fs::write(&path, text)?;
        let zone = Name::parse("example.")?;
        let steps = read_timeline(&path, &zone, 86_400, Timestamp::from_secs(1_000))?;
        Ok(steps.into_iter().map(|s| (s.from.secs(), s.ttl, s.ds.len())).collect())
    }

    #[test]
    fn a_plain_file_of_ds_records_is_one_step() {
        let text = format!("; what dig says\nexample. 3600 IN DS 18064 13 2 {SHA256}\n");
        assert_eq!(timeline(&text).expect("one step"), [(0, 86_400, 1)]);
    }

    #[test]
    fn steps_have_times_and_ttls() {
        let text = format!(
            "; history\n;; from 20260101000000\nexample. DS 18064 13 2 {SHA256}\n;; from now+1h ttl 60\nexample. DS 1 13 2 {SHA256}\n"
        );
        assert_eq!(timeline(&text).expect("two steps"), [(1_767_225_600, 86_400, 1), (4_600, 60, 1)]);
    }

    #[test]
    fn wrong_steps_are_told_with_their_line() {
        for (text, message) in [
            (";; from\nexample. DS 1 13 2 00\n", ":1: a time was expected"),
            (";; from yesterday\n", ":1"),
            (";; from 20260101 ttl x\n", ":1: `ttl x`"),
            (";; from 20260101 tll 5\n", ":1: only `ttl SECONDS`"),
            (";; from 20260101\n\nexample. DS 1 13 2 00\n", ":3: DS record"),
            (";; from 20260101\n", "no DS record"),
            ("", "no DS record"),
        ] {
            let error = format!("{:#}", timeline(text).expect_err(text));
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
