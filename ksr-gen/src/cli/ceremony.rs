//! What `check` and `sign` share: the SKR before, the DS at the parent, and what was waived.

use std::io::{self, Read};

use keystore::exchange::bind::BindSyntaxError;
use keystore::exchange::format::{self, Format};
use keystore::exchange::{Ksr, TrustAnchor, UnverifiedSkr, is_by_knot, largest_ttl, written_at, xml};
use keystore::keys::KeyFile;
use keystore::time::{Timestamp, duration};

use super::files::read_ksr;
use super::options::{CeremonyOptions, CommandLine};
use super::report::{KsrReport, ReportPurpose, XmlPart};
use super::{Failure, Job, time};
use crate::finding::{KsrFinding, Waiver, Waivers};
use crate::rollover::ParentDs;
use crate::sign::{self, KskUse, KsrSigningError, SigningInput, ZskChanges};
use crate::sign_xml::SigningXml;

/// A request that is checked or signed, and what the operator knows beside it.
pub(super) struct Ceremony<'a> {
    pub(super) job: &'a Job<'a>,
    options: &'a CeremonyOptions,
    pub(super) waivers: Waivers,
    pub(super) purpose: ReportPurpose,
}

/// What the checks say of a request in XML.
pub(super) struct CheckedXml {
    pub(super) findings: Vec<KsrFinding>,
    /// The report, printed.
    pub(super) report: String,
    /// False when a check refuses the request.
    pub(super) good: bool,
}

impl<'a> Ceremony<'a> {
    pub(super) fn new(job: &'a Job<'a>, line: &'a CommandLine, purpose: ReportPurpose) -> Self {
        Self { job, options: &line.ceremony, waivers: line.allow.waivers(), purpose }
    }

    /// The input of [`sign::plan`]; `files` are the octets of the request, or of those that were merged.
    pub(super) fn signing<'b>(
        &'b self,
        files: &[&[u8]],
        ksr: &'b Ksr,
        keys: &'b [KeyFile],
        end: Timestamp,
        parent: Option<&'b ParentDs>,
        previous: Option<&'b UnverifiedSkr>,
    ) -> Result<SigningInput<'b>, Failure> {
        let given = self.options.resign_time.as_ref();
        let read = |text: &String| {
            duration::parse(text).ok_or_else(|| {
                Failure::Usage(format!("--resign-time {text}: give a duration, such as 0, 12h or P9D"))
            })
        };
        let all_by_knot = files.iter().all(|octets| is_by_knot(octets));
        let resigning = given.map(read).transpose()?.or(all_by_knot.then_some(0));
        Ok(SigningInput {
            zone: self.job.zone,
            policy: self.job.policy,
            ksr,
            keys,
            end,
            parent,
            cds_delete: time(&self.options.cds_delete, self.job.now)?,
            previous,
            zsk_changes: ZskChanges { new: &self.options.new_zsk, gone: &self.options.gone_zsk },
            now: self.job.now,
            waivers: self.waivers,
            written: files.iter().filter_map(|octets| written_at(octets)).max(),
            resigning,
            largest_ttl: files.iter().filter_map(|octets| largest_ttl(octets)).max(),
        })
    }

    /// The input of the checks and the signing of a request in XML.
    pub(super) fn signing_xml<'b>(
        &'b self,
        request: &'b xml::XmlRequest,
        previous: Option<&'b xml::XmlResponse>,
        parent: Option<&'b ParentDs>,
        keys: &'b [KeyFile],
    ) -> SigningXml<'b> {
        SigningXml {
            zone: self.job.zone,
            policy: self.job.policy,
            request,
            previous,
            parent,
            keys,
            now: self.job.now,
            waivers: self.waivers,
        }
    }

    /// Holds a request in XML against all checks.
    pub(super) fn check_xml(
        &self,
        octets: &[u8],
        name: &str,
        (request, previous): (&xml::XmlRequest, Option<&xml::XmlResponse>),
        keys: &[KeyFile],
        json: bool,
    ) -> Result<CheckedXml, Failure> {
        if self.names_zsks() {
            let text = "--new-zsk and --gone-zsk go with requests in text; one in XML has the ZSKs of the SKR before at its seam";
            return Err(Failure::usage(text));
        }
        let parent = self.parent(keys)?;
        let signing = self.signing_xml(request, previous, parent.as_ref(), keys);
        let findings = signing.check();
        let ksr = request.to_ksr();
        let last = request.bundles.last();
        // Its own checks look at proofs and times; this plan only shows what it asks for.
        let end = last.map_or(self.job.now, |b| b.inception);
        let shown = self.signing(&[octets], &ksr, &[], end, None, None)?;
        let plan = sign::plan(SigningInput {
            cds_delete: None,
            written: None,
            waivers: self.waivers.with(Waiver::NoPossession),
            ..shown
        });
        let plan = plan.map_err(ceremony_error)?;
        let forms = signing.forms();
        let lines = signing.ksks().into_iter().map(|file| {
            let bundles_of = |is_revoked: Option<bool>| {
                let forms = forms.iter().filter(move |form| {
                    *form.of_file() == file.dnskey && is_revoked.is_none_or(|is| is == form.is_revoked)
                });
                let forms: Vec<_> = forms.collect();
                request.bundles.iter().filter(move |b| forms.iter().any(|f| f.signs(b))).map(|b| b.inception)
            };
            let signs = bundles_of(None).min().zip(bundles_of(None).max());
            KskUse { key: &file.dnskey, signs, revoked: bundles_of(Some(true)).min() }
        });
        let part = XmlPart {
            findings: findings.clone(),
            end: last.map_or(self.job.now, |b| b.expiration),
            ksks: lines.collect(),
            has_previous: previous.is_some(),
            knows_ksks: !signing.known_ksks().is_empty(),
            has_parent: parent.is_some(),
        };
        let report = KsrReport {
            file: name,
            octets,
            format: Format::Xml,
            plan: &plan,
            purpose: self.purpose,
            sources: &[],
            xml: Some(part),
        };
        Ok(CheckedXml { findings, report: printed(&report, json), good: report.is_good() })
    }

    /// The error of a file that does not read; with `--all` the line is that in the file of all zones.
    pub(super) fn bad_file(&self, name: &str, error: &BindSyntaxError) -> Failure {
        let section = self.job.part.as_ref().and_then(|part| part.request);
        let line = section.map_or(0, |section| section.line - 1) + error.line;
        Failure::Fatal(format!("bad KSR file {name}({line}): {} [{}]", error.what, error.id))
    }

    /// True when ZSKs were named that come or go.
    fn names_zsks(&self) -> bool {
        !self.options.new_zsk.is_empty() || !self.options.gone_zsk.is_empty()
    }

    /// The SKR of `--previous`, in a text form.
    pub(super) fn previous(&self, stdin: &mut dyn Read) -> Result<Option<UnverifiedSkr>, Failure> {
        let Some(path) = &self.options.previous else {
            let text = "--new-zsk and --gone-zsk tell how the request differs from the SKR before; give that with --previous";
            return if self.names_zsks() { Err(Failure::usage(text)) } else { Ok(None) };
        };
        let octets = match &self.job.part {
            Some(part) => match part.previous {
                Some(octets) => octets.to_vec(),
                None => return Ok(None),
            },
            None => read_ksr(path, stdin)?,
        };
        format::parse_skr(&octets, self.job.zone).map(Some).map_err(|e| {
            Failure::Fatal(format!("--previous {}({}): {} [{}]", path.display(), e.line, e.what, e.id))
        })
    }

    /// The SKR of `--previous`, in XML.
    pub(super) fn previous_xml(&self, stdin: &mut dyn Read) -> Result<Option<xml::XmlResponse>, Failure> {
        let Some(path) = &self.options.previous else { return Ok(None) };
        xml::parse_response(&read_ksr(path, stdin)?).map(Some).map_err(|e| {
            Failure::Fatal(format!("--previous {}({}): {} [{}]", path.display(), e.line, e.what, e.id))
        })
    }

    /// What the parent has: `--parent-ds`, or the operator's word.
    pub(super) fn parent(&self, keys: &[KeyFile]) -> Result<Option<ParentDs>, Failure> {
        let o = self.options;
        let seen = time(&o.parent_ds_seen, self.job.now)?.unwrap_or(self.job.now);
        if let Some(part) = &self.job.part {
            return Ok(part.parent.cloned());
        }
        if let Some(path) = &o.parent_ds {
            let octets = read_ksr(path, &mut io::empty())?;
            let text = String::from_utf8_lossy(&octets);
            let parent = ParentDs::parse(&text, self.job.zone, seen);
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

/// The error of a plan with the option that it is about.
pub(super) fn ceremony_error(error: KsrSigningError) -> Failure {
    match error {
        KsrSigningError::TooManyBundles => Failure::Fatal(format!("{error} (the end is that of -e)")),
        KsrSigningError::Key { .. } | KsrSigningError::Sign { .. } | KsrSigningError::Verify { .. } => {
            Failure::Keys { is_passing: error.is_passing(), text: error.to_string() }
        }
        KsrSigningError::Refused(_)
        | KsrSigningError::Policy { .. }
        | KsrSigningError::TooManyKeys { .. } => Failure::fatal(error),
    }
}

/// The report as text, or as JSON.
pub(super) fn printed(report: &KsrReport<'_>, json: bool) -> String {
    match json {
        true => format!("{:#}\n", report.json()),
        false => report.text(),
    }
}
