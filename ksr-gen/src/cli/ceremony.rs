//! `sign` and `check`: the ceremony.

use keystore::check::CheckId;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use keystore::exchange::bind::{self, MAX_OCTETS, SyntaxError};
use keystore::exchange::format::{self, Format};
use keystore::exchange::{self, Bundle, Ksr, TrustAnchor, UnverifiedSkr, knot, possession, xml};
use keystore::keys::KeyFile;
use keystore::keys::files::KeyFileError;
use keystore::time::{Timestamp, syntax};

use super::console::{Console, Level, printable};
use super::{Failure, Job};
use crate::merge::{self, Named};
use crate::report::{Report, Source, XmlPart};
use crate::rollover::ParentDs;
use crate::sign::{self, Allow, Signing, SigningError};
use crate::{PROGRAM, check, keygen, sign_xml};

impl Job<'_> {
    /// Holds a request against all checks and prints the report; true when it is fit to be signed.
    pub(super) fn check(
        &self,
        octets: &[u8],
        name: &str,
        stdin: &mut dyn Read,
        console: &mut Console<'_>,
    ) -> Result<(String, bool), Failure> {
        let keys = self.keys(console, |warning| !matches!(warning, KeyFileError::NoState { .. }))?;
        let lines_before =
            self.part.as_ref().and_then(|part| part.request).map_or(0, |section| section.line - 1);
        let bad = |e: SyntaxError| {
            let line = lines_before + e.line;
            Failure::Fatal(format!("bad KSR file {name}({line}): {} [{}]", e.what, e.id))
        };
        if format::detect(octets) == Format::Xml {
            let request = xml::parse_request(octets).map_err(bad)?;
            let previous = self.previous_xml(stdin)?;
            let (_, text, good) =
                self.report_xml(octets, name, (&request, previous.as_ref()), &keys, self.options.json)?;
            return Ok((text, good));
        }
        let format = format::detect(octets);
        let ksr = format::parse_ksr(octets, self.zone).map_err(bad)?;
        let previous = self.previous(stdin)?;
        let Some(end) = self.end_given.or_else(|| possession::end(&ksr)) else {
            return Err(Failure::usage("the KSR does not say its end; give it with -e TIME"));
        };
        let parent = self.parent(&keys)?;
        let signing = Signing {
            zone: self.zone,
            policy: self.policy,
            ksr: &ksr,
            keys: &keys,
            end,
            parent: parent.as_ref(),
            cds_delete: self.time(&self.options.cds_delete)?,
            previous: previous.as_ref(),
            now: self.now,
            allow: self.allow(),
        };
        let plan = sign::plan(signing).map_err(Failure::fatal)?;
        let has_ksks = !plan.ksks().is_empty();
        let report = Report { file: name, octets, format, plan: &plan, has_ksks, sources: &[], xml: None };
        Ok((printed(&report, self.options.json), report.is_good()))
    }

    /// The report on a request in XML, with the findings of it; true when it is fit to be signed.
    fn report_xml(
        &self,
        octets: &[u8],
        name: &str,
        (request, previous): (&xml::XmlRequest, Option<&xml::XmlResponse>),
        keys: &[KeyFile],
        json: bool,
    ) -> Result<(Vec<exchange::Finding>, String, bool), Failure> {
        let signing = self.signing_xml(request, previous, keys);
        let findings = signing.check();
        let ksr = request.to_ksr();
        let last = request.bundles.last();
        // Its own checks look at proofs and times; this plan only shows what it asks for.
        let plan = sign::plan(Signing {
            zone: self.zone,
            policy: self.policy,
            ksr: &ksr,
            keys: &[],
            end: last.map_or(self.now, |b| b.inception),
            parent: None,
            cds_delete: None,
            previous: None,
            now: self.now,
            allow: Allow { no_pop: true, ..self.allow() },
        });
        let plan = plan.map_err(Failure::fatal)?;
        let ksks = signing.ksks();
        let line = |ksk: &&'_ KeyFile| {
            let mut signed = request.bundles.iter().filter(|b| sign_xml::SigningXml::signs(ksk, b));
            let first = signed.next();
            let last = signed.next_back().or(first);
            (first.map(|b| b.inception), last.map(|b| b.inception))
        };
        let lines = ksks.iter().map(|ksk| {
            let (first, last) = line(ksk);
            (&ksk.dnskey, first, last)
        });
        let part = XmlPart {
            findings: findings.clone(),
            end: last.map_or(self.now, |b| b.expiration),
            ksks: lines.collect(),
            has_previous: previous.is_some(),
        };
        let has_ksks = !ksks.is_empty();
        let report = Report {
            file: name,
            octets,
            format: Format::Xml,
            plan: &plan,
            has_ksks,
            sources: &[],
            xml: Some(part),
        };
        Ok((findings, printed(&report, json), report.is_good()))
    }

    fn signing_xml<'a>(
        &'a self,
        request: &'a xml::XmlRequest,
        previous: Option<&'a xml::XmlResponse>,
        keys: &'a [KeyFile],
    ) -> sign_xml::SigningXml<'a> {
        sign_xml::SigningXml {
            zone: self.zone,
            policy: self.policy,
            request,
            previous,
            keys,
            now: self.now,
            allow: self.allow(),
        }
    }

    /// The SKR of `--previous`, in XML.
    fn previous_xml(&self, stdin: &mut dyn Read) -> Result<Option<xml::XmlResponse>, Failure> {
        let Some(path) = &self.options.previous else { return Ok(None) };
        xml::parse_response(&read_ksr(path, stdin)?).map(Some).map_err(|e| {
            Failure::Fatal(format!("--previous {}({}): {} [{}]", path.display(), e.line, e.what, e.id))
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

    fn allow(&self) -> Allow {
        let o = self.options;
        Allow {
            foreign_flags: o.allow_foreign_flags,
            foreign_algorithms: o.allow_foreign_algorithms,
            unsigned: o.allow_unsigned,
            zsk_as_ksk: o.allow_zsk_as_ksk,
            beyond_end: o.allow_beyond_end,
            tag_collision: o.allow_tag_collision,
            no_pop: o.allow_no_pop,
            unconfirmed_ksk_roll: o.allow_unconfirmed_ksk_roll,
            long_span: o.allow_long_span,
            chain: o.allow_broken_chain,
            unproven: o.allow_unproven,
        }
    }

    /// The SKR of `--previous`, in a text form.
    fn previous(&self, stdin: &mut dyn Read) -> Result<Option<UnverifiedSkr>, Failure> {
        let Some(path) = &self.options.previous else { return Ok(None) };
        let octets = match &self.part {
            Some(part) => match part.previous {
                Some(octets) => octets.to_vec(),
                None => return Ok(None),
            },
            None => read_ksr(path, stdin)?,
        };
        format::parse_skr(&octets, self.zone).map(Some).map_err(|e| {
            Failure::Fatal(format!("--previous {}({}): {} [{}]", path.display(), e.line, e.what, e.id))
        })
    }

    pub(super) fn sign(
        &self,
        start: Option<Timestamp>,
        stdin: &mut dyn Read,
        asks: bool,
        console: &mut Console<'_>,
    ) -> Result<String, Failure> {
        // A KSK needs no policy to match it, and so no .state file.
        let keys = self.keys(console, |warning| !matches!(warning, KeyFileError::NoState { .. }))?;
        let path = self.options.ksr.first().map_or(Path::new("-"), PathBuf::as_path);
        let section = self.part.as_ref().and_then(|part| part.request);
        let octets = match section {
            Some(section) => section.octets.to_vec(),
            None => read_ksr(path, stdin)?,
        };
        let lines_before = section.map_or(0, |section| section.line - 1);
        let bad = |path: &Path, e: &SyntaxError| {
            let line = lines_before + e.line;
            Failure::Fatal(format!("bad KSR file {}({line}): {} [{}]", path.display(), e.what, e.id))
        };
        let o = self.options;
        let came_in = format::detect(&octets);
        let form = o.format.unwrap_or(came_in);
        if came_in == Format::Xml {
            if o.ksr.len() > 1 {
                return Err(Failure::usage("requests in XML are not merged; give one -f"));
            }
            let request = xml::parse_request(&octets).map_err(|e| bad(path, &e))?;
            let previous = self.previous_xml(stdin)?;
            if previous.is_none() {
                console.say(
                    Level::Warning,
                    "without --previous nothing tells whether this request follows the SKR before",
                );
            }
            let asked = (&request, previous.as_ref());
            let (findings, text, good) =
                self.report_xml(&octets, &path.display().to_string(), asked, &keys, false)?;
            if asks && !o.yes && path != Path::new("-") {
                Self::ask(&text, good, stdin, console)?;
            }
            for finding in &findings {
                let level = if finding.rejects() { Level::Error } else { Level::Warning };
                console.say(level, &plain(finding));
            }
            let response = sign_xml::sign(&self.signing_xml(&request, previous.as_ref(), &keys), findings)
                .map_err(|e| {
                    if let sign_xml::SigningXmlError::Refused(findings) = &e
                        && good
                    {
                        findings.iter().for_each(|f| console.say(Level::Error, &plain(f)));
                    }
                    Failure::fatal(e)
                })?;
            return Ok(match form {
                Format::Xml => xml::print_response(&response),
                Format::Bind => bind::print_skr(&response.to_skr(), self.now, PROGRAM),
                Format::Knot => knot::print_skr(&response.to_skr(), knot::Stamps::Unix, self.now, PROGRAM),
            });
        }
        let previous = self.previous(stdin)?;
        let parent = self.parent(&keys)?;
        let mut ksr = format::parse_ksr(&octets, self.zone).map_err(|e| bad(path, &e))?;
        let merged = o.ksr.len() > 1;
        let mut allow = self.allow();
        let mut sources = Vec::new();
        if merged {
            let first = Source { file: path.display().to_string(), octets: octets.clone(), ksr };
            (ksr, sources) = self.merge(first, stdin, &allow, console)?;
            // Each request was looked at by itself.
            allow.no_pop = true;
        }
        let signing = Signing {
            zone: self.zone,
            policy: self.policy,
            ksr: &ksr,
            keys: &keys,
            end: self.end,
            parent: parent.as_ref(),
            cds_delete: self.time(&o.cds_delete)?,
            previous: previous.as_ref(),
            now: self.now,
            allow,
        };
        let plan = sign::plan(signing).map_err(Failure::fatal)?;
        for key in &plan.left_out {
            let text = format!(
                "{} is no KSK and takes no part (dnssec-ksr would sign with it; --allow-zsk-as-ksk does too)",
                key.base_name()
            );
            console.say(Level::Warning, &text);
        }
        let name = path.display().to_string();
        if asks && !o.yes && path != Path::new("-") {
            let has_ksks = !plan.ksks().is_empty();
            let report = Report {
                file: &name,
                octets: &octets,
                format: came_in,
                plan: &plan,
                has_ksks,
                sources: &sources,
                xml: None,
            };
            let text = printable_lines(&report.text());
            Self::ask(&text, report.is_good(), stdin, console)?;
        }
        let checked_before = |id: CheckId| merged && id == CheckId::KsrPopMissing;
        for finding in plan.findings.iter().filter(|f| !checked_before(f.id)) {
            let level = if finding.allowed { Level::Warning } else { Level::Error };
            console.say(level, &finding.to_string());
        }
        if let Some((start, first)) = start.zip(ksr.bundles.first()).filter(|(s, first)| *s < first.inception)
        {
            let text = format!("the KSR begins at {}, after the start {start}", first.inception);
            console.say(Level::Warning, &text);
        }
        let groups = console.progress(plan.bundle_count(), |progress| plan.sign(progress));
        let groups = groups.map_err(|e: SigningError| Failure::fatal(e))?;
        let groups: Vec<&[_]> = groups.iter().map(Vec::as_slice).collect();
        if merged {
            self.check_size(&groups.concat(), console)?;
        }
        let skr = || UnverifiedSkr { zone: self.zone.clone(), bundles: groups.concat() };
        match form {
            Format::Bind => Ok(bind::print_skr_grouped(&groups, self.now, PROGRAM)),
            Format::Knot => Ok(knot::print_skr(&skr(), knot::Stamps::Unix, self.now, PROGRAM)),
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

    /// Reads the further requests, checks each by itself, and merges them.
    fn merge(
        &self,
        first: Source,
        stdin: &mut dyn Read,
        allow: &Allow,
        console: &mut Console<'_>,
    ) -> Result<(Ksr, Vec<Source>), Failure> {
        let o = self.options;
        let mut sources = vec![first];
        for path in &o.ksr[1..] {
            let octets = read_ksr(path, stdin)?;
            let name = path.display().to_string();
            let ksr = format::parse_ksr(&octets, self.zone).map_err(|e| {
                Failure::Fatal(format!("bad KSR file {name}({}): {} [{}]", e.line, e.what, e.id))
            })?;
            sources.push(Source { file: name, octets, ksr });
        }
        let named = |source: &Source| Named { name: source.file.clone(), ksr: source.ksr.clone() };
        let requests: Vec<Named> = sources.iter().map(named).collect();
        let mut refused = 0;
        for Named { name, ksr } in &requests {
            for finding in check::check(ksr, self.policy, &[], self.end, *allow) {
                let level = if finding.allowed { Level::Warning } else { Level::Error };
                refused += usize::from(!finding.allowed);
                console.say(level, &format!("{name}: {finding}"));
            }
        }
        if refused > 0 {
            let what = format!("the requests are refused and nothing is signed: {refused} finding(s)");
            return Err(Failure::Fatal(what));
        }
        let merged = merge::merge(&requests).map_err(Failure::fatal)?;
        for Named { name, ksr } in &requests {
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
    fn check_size(&self, bundles: &[Bundle], console: &mut Console<'_>) -> Result<(), Failure> {
        let largest = bundles.iter().map(|b| (merge::answer_octets(b), b.inception)).max();
        let Some((octets, at)) = largest.filter(|(octets, _)| *octets > merge::UDP_OCTETS) else {
            return Ok(());
        };
        let what = format!("KSR-SIZE: bundle {at}: the DNSKEY answer has {octets} octets");
        if octets > merge::LARGE_OCTETS && !self.options.allow_large_answer {
            return Err(Failure::Fatal(format!(
                "{what}, more than {}; have the providers roll their ZSKs one after the other, or use smaller keys; \
                 to go on nonetheless: --allow-large-answer",
                merge::LARGE_OCTETS
            )));
        }
        console.say(Level::Warning, &format!("{what}: over {} it needs TCP", merge::UDP_OCTETS));
        Ok(())
    }

    fn time(&self, text: &Option<String>) -> Result<Option<Timestamp>, Failure> {
        match text {
            Some(text) => syntax::parse(text, self.now).map_err(Failure::usage),
            None => Ok(None),
        }
    }

    /// What the parent has: --parent-ds, or the operator's word.
    fn parent(&self, keys: &[KeyFile]) -> Result<Option<ParentDs>, Failure> {
        let o = self.options;
        let seen = self.time(&o.parent_ds_seen)?.unwrap_or(self.now);
        if let Some(part) = &self.part {
            return Ok(part.parent.cloned());
        }
        if let Some(path) = &o.parent_ds {
            let octets = read_ksr(path, &mut io::empty())?;
            let text = String::from_utf8_lossy(&octets);
            let parent = ParentDs::parse(&text, self.zone, seen);
            return parent
                .map(Some)
                .map_err(|e| Failure::Fatal(format!("--parent-ds {}: {e}", path.display())));
        }
        if o.parent_has.is_empty() {
            return Ok(None);
        }
        let mut ds = Vec::new();
        for tag in &o.parent_has {
            let named: Vec<&KeyFile> =
                keys.iter().filter(|key| key.dnskey.is_ksk() && key.dnskey.tag() == *tag).collect();
            let [key] = named.as_slice() else {
                let what =
                    format!("--parent-has {tag}: the key folder has {} KSKs with that tag", named.len());
                return Err(Failure::Fatal(what));
            };
            ds.push(TrustAnchor::Dnskey(key.dnskey.clone()));
        }
        Ok(Some(ParentDs { ds, seen }))
    }
}

/// Reads a KSR, at most [`MAX_OCTETS`].
pub(super) fn read_ksr(path: &Path, stdin: &mut dyn Read) -> Result<Vec<u8>, Failure> {
    read_up_to(path, stdin, MAX_OCTETS as u64)
}

/// Reads a file of at most `max` octets.
pub(super) fn read_up_to(path: &Path, stdin: &mut dyn Read, max: u64) -> Result<Vec<u8>, Failure> {
    let fail = |e: io::Error| {
        Failure::Fatal(format!("unable to open KSR file {}: {}", path.display(), keygen::reason(&e)))
    };
    let mut octets = Vec::new();
    let limit = max + 1;
    if path == Path::new("-") {
        stdin.take(limit).read_to_end(&mut octets).map_err(fail)?;
    } else {
        let file = std::fs::File::open(path).map_err(fail)?;
        file.take(limit).read_to_end(&mut octets).map_err(fail)?;
    }
    if octets.len() as u64 > max {
        return Err(Failure::Fatal(format!(
            "KSR file {} is larger than {max} octets; no request is",
            path.display()
        )));
    }
    Ok(octets)
}

/// A line that a person typed.
pub(super) fn read_line(stdin: &mut dyn Read) -> String {
    let (mut line, mut octet) = (Vec::new(), [0]);
    while line.len() < 80 && stdin.read(&mut octet).is_ok_and(|n| n == 1) && octet[0] != b'\n' {
        line.push(octet[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

fn printed(report: &Report<'_>, json: bool) -> String {
    match json {
        true => format!("{:#}\n", report.json()),
        false => printable_lines(&report.text()),
    }
}

/// Without the word for how bad it is, which stands before it already.
fn plain(finding: &exchange::Finding) -> String {
    let bundle = finding.bundle.map(|at| format!("bundle {at}: ")).unwrap_or_default();
    format!("{}: {bundle}{}", finding.id, finding.what)
}

/// Lines without control characters.
pub(super) fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}
