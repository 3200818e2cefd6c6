//! `sign`: the ceremony.

use std::io::Read;
use std::path::{Path, PathBuf};

use keystore::check::CheckId;
use keystore::exchange::format::{self, Format};
use keystore::exchange::{Bundle, Ksr, UnverifiedSkr, bind, knot, xml};
use keystore::keys::KeyFile;

use super::ceremony::{Ceremony, ceremony_error};
use super::console::{Console, Level};
use super::files::{read_ksr, read_line};
use super::options::CommandLine;
use super::report::{KsrReport, RequestFile, what_and_options};
use super::{Failure, Listener};
use crate::finding::{Findings, KsrFinding, Waiver};
use crate::merge::{self, NamedKsr};
use crate::sign::{self, SigningPlan};
use crate::{PROGRAM, check, sign_xml};

/// The first request of a ceremony.
struct First {
    path: PathBuf,
    octets: Vec<u8>,
    format: Format,
}

/// Checks and signs a request; the SKR. Where a person sits at the terminal it shows the report and asks first.
pub(super) fn sign(
    ceremony: &Ceremony<'_>,
    line: &CommandLine,
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let keys = ceremony.job.keys(console)?;
    let path = line.sign.ksr.first().map_or(Path::new("-"), PathBuf::as_path);
    let octets = match ceremony.job.part.as_ref().and_then(|part| part.request) {
        Some(section) => section.octets.to_vec(),
        None => read_ksr(path, stdin)?,
    };
    let first = First { path: path.to_owned(), format: format::detect(&octets), octets };
    // Standard input that was read for the request has no answer in it.
    let listener = if line.sign.yes || path == Path::new("-") { Listener::Nobody } else { listener };
    if first.format == Format::Xml {
        return sign_xml(ceremony, line, &first, &keys, stdin, listener, console);
    }
    sign_text(ceremony, line, &first, &keys, stdin, listener, console)
}

/// Signs a request in BIND's or Knot's form, or several of them together.
fn sign_text(
    ceremony: &Ceremony<'_>,
    line: &CommandLine,
    first: &First,
    keys: &[KeyFile],
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let job = ceremony.job;
    let previous = ceremony.previous(stdin)?;
    let parent = ceremony.parent(keys)?;
    let name = first.path.display().to_string();
    let mut ksr = format::parse_ksr(&first.octets, job.zone).map_err(|e| ceremony.bad_file(&name, &e))?;
    let merged = line.sign.ksr.len() > 1;
    let mut sources = Vec::new();
    let end = job.end.unwrap_or(job.now);
    if merged {
        let first = RequestFile { file: name.clone(), octets: first.octets.clone(), ksr };
        (ksr, sources) = merge_requests(ceremony, &line.sign.ksr[1..], first, stdin, console)?;
    }
    let files: Vec<&[u8]> = match sources.as_slice() {
        [] => vec![&first.octets],
        sources => sources.iter().map(|source| source.octets.as_slice()).collect(),
    };
    let mut signing = ceremony.signing(&files, &ksr, keys, end, parent.as_ref(), previous.as_ref())?;
    if merged {
        // The proofs of each request were looked at; nobody has signed the merged bundles.
        signing.waivers = signing.waivers.with(Waiver::NoPossession);
    }
    let plan = sign::plan(signing).map_err(ceremony_error)?;
    if listener == Listener::Person {
        let report = KsrReport {
            file: &name,
            octets: &first.octets,
            format: first.format,
            plan: &plan,
            purpose: ceremony.purpose,
            sources: &sources,
            xml: None,
        };
        ask(&report.text(), report.is_good(), stdin, console)?;
    }
    tell(&plan, ceremony, merged, console);
    let groups = console.progress(plan.bundle_count(), |progress| plan.sign(progress));
    let groups = groups.map_err(ceremony_error)?;
    let groups: Vec<&[Bundle]> = groups.iter().map(Vec::as_slice).collect();
    if merged {
        check_size(&groups.concat(), line, console)?;
    }
    print_skr(ceremony, &groups, line.common.format.unwrap_or(first.format))
}

/// Says which keys take no part, what was found, and where the request begins too late.
fn tell(plan: &SigningPlan<'_>, ceremony: &Ceremony<'_>, merged: bool, console: &mut Console<'_>) {
    for key in &plan.left_out {
        let text = format!(
            "{} is no KSK and takes no part (dnssec-ksr would sign with it; --allow-zsk-as-ksk does too)",
            key.base_name()
        );
        console.say(Level::Warning, &text);
    }
    if let Some(ttl) = plan.larger_ttl() {
        let text = format!(
            "the request says that the zone has a TTL of {ttl} s, above the {} s of max-zone-ttl: KSR-PROVE and the times of KSKs reckon with it",
            plan.policy().effective_max_zone_ttl()
        );
        console.say(Level::Warning, &text);
    }
    let checked_before = |id: CheckId| merged && id == CheckId::KsrPopMissing;
    for finding in plan.findings.iter().filter(|f| !checked_before(f.id)) {
        console.say(level(finding), &with_options(finding));
    }
    let first = plan.ksr().bundles.first();
    if let Some((start, first)) = ceremony.job.start.zip(first).filter(|(s, first)| *s < first.inception) {
        let text = format!("the KSR begins at {}, after the start {start}", first.inception);
        console.say(Level::Warning, &text);
    }
}

/// The SKR in a form.
fn print_skr(ceremony: &Ceremony<'_>, groups: &[&[Bundle]], form: Format) -> Result<String, Failure> {
    let job = ceremony.job;
    let skr = || UnverifiedSkr { zone: job.zone.clone(), bundles: groups.concat() };
    match form {
        Format::Bind => Ok(bind::print_skr_grouped(groups, job.now, PROGRAM)),
        Format::Knot => Ok(knot::print_skr(&skr(), knot::Stamps::Unix, job.now, PROGRAM)),
        Format::Xml => {
            let made = xml::convert::from_skr(&skr()).map_err(Failure::fatal)?;
            if let Some(what) = made.left_out.first() {
                let text =
                    format!("the XML form cannot carry {what}; turn CDS and CDNSKEY off in the policy");
                return Err(Failure::Fatal(text));
            }
            Ok(xml::print_response(&made.response))
        }
    }
}

/// Signs a request in XML.
fn sign_xml(
    ceremony: &Ceremony<'_>,
    line: &CommandLine,
    first: &First,
    keys: &[KeyFile],
    stdin: &mut dyn Read,
    listener: Listener,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let name = first.path.display().to_string();
    if line.sign.ksr.len() > 1 {
        return Err(Failure::usage("requests in XML are not merged; give one -f"));
    }
    let request = xml::parse_request(&first.octets).map_err(|e| ceremony.bad_file(&name, &e))?;
    let previous = ceremony.previous_xml(stdin)?;
    if previous.is_none() {
        console.say(
            Level::Warning,
            "without --previous nothing tells whether this request follows the SKR before",
        );
    }
    let asked = (&request, previous.as_ref());
    let checked = ceremony.check_xml(&first.octets, &name, asked, keys, false)?;
    if listener == Listener::Person {
        ask(&checked.report, checked.good, stdin, console)?;
    }
    for finding in &checked.findings {
        console.say(level(finding), &plain(finding));
    }
    let parent = ceremony.parent(keys)?;
    let signing = ceremony.signing_xml(&request, previous.as_ref(), parent.as_ref(), keys);
    let response = sign_xml::sign(&signing, checked.findings).map_err(|e| {
        if let sign_xml::SigningXmlError::Refused(findings) = &e
            && checked.good
        {
            findings.iter().for_each(|f| console.say(Level::Error, &plain(f)));
        }
        Failure::fatal(e)
    })?;
    let now = ceremony.job.now;
    Ok(match line.common.format.unwrap_or(first.format) {
        Format::Xml => xml::print_response(&response),
        Format::Bind => bind::print_skr(&response.to_skr(), now, PROGRAM),
        Format::Knot => knot::print_skr(&response.to_skr(), knot::Stamps::Unix, now, PROGRAM),
    })
}

/// Shows the report to a person and asks; an error when the answer is not yes. What is refused is not asked for.
fn ask(text: &str, good: bool, stdin: &mut dyn Read, console: &mut Console<'_>) -> Result<(), Failure> {
    let _ = write!(console.stderr, "{text}");
    if good {
        let _ = write!(console.stderr, "Sign this request? Type yes: ");
        let _ = console.stderr.flush();
        if read_line(stdin).trim() != "yes" {
            return Err(Failure::Fatal("not signed: the answer was not yes".to_owned()));
        }
    }
    Ok(())
}

/// Reads the further requests, checks each by itself, and merges them.
fn merge_requests(
    ceremony: &Ceremony<'_>,
    further: &[PathBuf],
    first: RequestFile,
    stdin: &mut dyn Read,
    console: &mut Console<'_>,
) -> Result<(Ksr, Vec<RequestFile>), Failure> {
    let job = ceremony.job;
    let mut sources = vec![first];
    for path in further {
        let octets = read_ksr(path, stdin)?;
        let name = path.display().to_string();
        let ksr = format::parse_ksr(&octets, job.zone)
            .map_err(|e| Failure::Fatal(format!("bad KSR file {name}({}): {} [{}]", e.line, e.what, e.id)))?;
        sources.push(RequestFile { file: name, octets, ksr });
    }
    let named = |source: &RequestFile| NamedKsr { name: source.file.clone(), ksr: source.ksr.clone() };
    let requests: Vec<NamedKsr> = sources.iter().map(named).collect();
    let mut refused = 0;
    for NamedKsr { name, ksr } in &requests {
        let mut findings = Findings::new(ceremony.waivers);
        check::check(ksr, job.policy, &[], job.end.unwrap_or(job.now), &mut findings);
        for finding in &findings.all {
            refused += usize::from(finding.refuses());
            console.say(level(finding), &format!("{name}: {}", with_options(finding)));
        }
    }
    if refused > 0 {
        let what = format!("the requests are refused and nothing is signed: {refused} finding(s)");
        return Err(Failure::Fatal(what));
    }
    let merged = merge::merge(&requests).map_err(Failure::fatal)?;
    for NamedKsr { name, ksr } in &requests {
        if let (Some(theirs), Some(common)) = (ksr.bundles.first(), merged.bundles.first())
            && theirs.inception < common.inception
        {
            let text = format!(
                "{name} begins at {}; what lies before {}, where all requests have begun, is not signed",
                theirs.inception, common.inception
            );
            console.say(Level::Warning, &text);
        }
    }
    Ok((merged, sources))
}

/// KSR-SIZE: the answers with the DNSKEY RRset of all providers.
fn check_size(bundles: &[Bundle], line: &CommandLine, console: &mut Console<'_>) -> Result<(), Failure> {
    let largest = bundles.iter().map(|b| (merge::answer_octets(b), b.inception)).max();
    let Some((octets, at)) = largest.filter(|(octets, _)| *octets > merge::UDP_OCTETS) else {
        return Ok(());
    };
    let what = format!("KSR-SIZE: bundle {at}: the DNSKEY answer has {octets} octets");
    if octets > merge::LARGE_OCTETS && !line.allow.large_answer {
        return Err(Failure::Fatal(format!(
            "{what}, more than {}; have the providers roll their ZSKs one after the other, or use smaller keys; \
             to go on nonetheless: --allow-large-answer",
            merge::LARGE_OCTETS
        )));
    }
    console.say(Level::Warning, &format!("{what}: over {} it needs TCP", merge::UDP_OCTETS));
    Ok(())
}

fn level(finding: &KsrFinding) -> Level {
    if finding.refuses() { Level::Error } else { Level::Warning }
}

/// The finding with the options that would mend or waive it.
fn with_options(finding: &KsrFinding) -> String {
    let with = KsrFinding { what: what_and_options(finding), ..finding.clone() };
    with.to_string()
}

/// A finding on a request in XML.
fn plain(finding: &KsrFinding) -> String {
    let bundle = finding.bundle.map(|at| format!("bundle {at}: ")).unwrap_or_default();
    format!("{}: {bundle}{}", finding.id, what_and_options(finding))
}
