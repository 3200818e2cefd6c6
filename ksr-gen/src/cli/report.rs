//! What people read before a KSR is signed: the file, what it asks for, and what each check says; as text to read aloud, or JSON.

use data_encoding::HEXUPPER;
use keystore::check::{Check, CheckId};
use keystore::crypto;
use keystore::exchange::format::{self, Format};
use keystore::exchange::{Ksr, possession, xml};
use keystore::keys::Dnskey;
use keystore::pgp_words;
use keystore::store;
use keystore::time::Timestamp;
use serde_json::{Value, json};

use super::columns::put;
use super::options::{advice_text, waiver_flag};
use crate::check::CHECKS;
use crate::finding::KsrFinding;
use crate::sign::{KskUse, SigningPlan};
use crate::sign_xml;

/// Version of the form of the JSON reports. It changes when a member goes or means something else, not when one is added.
const JSON_VERSION: u32 = 1;

/// A file and what signing it would mean.
pub(super) struct KsrReport<'a> {
    /// The file, as people name it.
    pub file: &'a str,
    /// Content of the file.
    pub octets: &'a [u8],
    /// Form of the file.
    pub format: Format,
    /// The plan of what would be signed.
    pub plan: &'a SigningPlan<'a>,
    /// The requests that were merged, this file first; empty when there is one request. Their proofs were looked at before, since the
    /// merged bundles are nobody's.
    pub sources: &'a [RequestFile],
    /// For a request in XML: its own findings and times.
    pub xml: Option<XmlPart<'a>>,
    /// What the report is for.
    pub purpose: ReportPurpose,
}

/// What a request is looked at for: where the key folder has no KSK, the checks that need one are skipped, or refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportPurpose {
    /// `check`: wherever there is a request, so also where no KSK is. Without KSKs what needs them is skipped.
    Check,
    /// `sign`: a request that no KSK can sign is refused.
    Sign,
}

/// One of several requests.
pub(super) struct RequestFile {
    /// The file, as people name it.
    pub file: String,
    /// Content of the file.
    pub octets: Vec<u8>,
    /// The request.
    pub ksr: Ksr,
}

/// Bundles and times of a request in XML are its own, and so are its checks.
pub(super) struct XmlPart<'a> {
    /// All findings.
    pub findings: Vec<KsrFinding>,
    /// The expiration of the last bundle.
    pub end: Timestamp,
    /// What each KSK does in the bundles.
    pub ksks: Vec<KskUse<'a>>,
    /// Whether the SKR before is there.
    pub has_previous: bool,
    /// Whether a KSK or DS tells whose the SKR before is.
    pub knows_ksks: bool,
    /// Whether the DS of the parent are known.
    pub has_parent: bool,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warning,
    Refused,
    /// The check was not made, and why.
    Skipped(&'static str),
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Refused => "REFUSED",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// Why KSR-CHAIN-SKR says nothing where no KSK is known.
const FOREIGN_SKR: &str = "it verifies; whose it is tells a KSK in the key folder, or --parent-ds";

/// A key, and the bundles that it stands in.
struct KeyLine<'a> {
    key: &'a Dnskey,
    /// Places of its first and last bundle, from 1.
    bundles: (usize, usize),
    proved: bool,
}

impl KsrReport<'_> {
    /// True when nothing refuses it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.refusing().is_empty()
    }

    /// True where the key folder has no KSK, and what needs one is skipped.
    fn skips_ksks(&self) -> bool {
        let has_ksks = self.xml.as_ref().map_or_else(|| self.plan.has_ksks(), |xml| !xml.ksks.is_empty());
        self.purpose == ReportPurpose::Check && !has_ksks
    }

    /// The findings that count: where KSKs are not needed, those that speak of their lack are left out.
    fn findings(&self) -> impl Iterator<Item = &KsrFinding> {
        let of_merged = |f: &KsrFinding| !self.sources.is_empty() && f.id == CheckId::KsrPopMissing;
        let all = self.xml.as_ref().map_or(&self.plan.findings, |xml| &xml.findings);
        let skips_ksks = self.skips_ksks();
        all.iter().filter(move |f| !(of_merged(f) || skips_ksks && f.id == CheckId::KsrNoKsk))
    }

    /// The keys whose possession is not proved.
    fn unproved(&self) -> Vec<Dnskey> {
        let flaws = |ksr: &Ksr| possession::check(ksr).into_iter().map(|flaw| flaw.key).collect::<Vec<_>>();
        match self.sources {
            _ if self.xml.is_some() => Vec::new(),
            [] => flaws(self.plan.ksr()),
            sources => sources.iter().flat_map(|source| flaws(&source.ksr)).collect(),
        }
    }

    fn refusing(&self) -> Vec<CheckId> {
        let mut ids: Vec<CheckId> = self.findings().filter(|f| f.refuses()).map(|f| f.id).collect();
        ids.dedup();
        ids
    }

    fn verdict(&self, id: CheckId) -> Verdict {
        let mut of_it = self.findings().filter(|f| f.id == id).peekable();
        if of_it.peek().is_some() {
            return if of_it.any(KsrFinding::refuses) { Verdict::Refused } else { Verdict::Warning };
        }
        match &self.xml {
            Some(xml) => self.silent_verdict_xml(id, xml),
            None => self.silent_verdict(id),
        }
    }

    /// What a check says that has found nothing.
    fn silent_verdict(&self, id: CheckId) -> Verdict {
        match id {
            CheckId::KsrChainSkr | CheckId::KsrChainOverlap | CheckId::KsrChainKeys
                if !self.plan.has_previous() =>
            {
                Verdict::Skipped("no --previous SKR")
            }
            CheckId::KsrChainSkr if !self.plan.knows_ksks() => Verdict::Skipped(FOREIGN_SKR),
            CheckId::KsrNoKsk
            | CheckId::KsrProve
            | CheckId::KsrKskHeld
            | CheckId::KsrKskLeft
            | CheckId::KsrAlgorithmSet
                if self.skips_ksks() =>
            {
                Verdict::Skipped("no KSK in the key folder")
            }
            // Without --allow-no-pop they would not have been merged.
            CheckId::KsrPopMissing if !self.sources.is_empty() && !self.unproved().is_empty() => {
                Verdict::Warning
            }
            CheckId::KsrProve if !self.is_good() => Verdict::Skipped("other checks refuse"),
            CheckId::KsrProve if !self.plan.is_proved() => {
                Verdict::Skipped("not with what was allowed above")
            }
            CheckId::KsrParentDs if !self.plan.has_parent() => Verdict::Skipped("no --parent-ds"),
            _ => Verdict::Ok,
        }
    }

    /// What a check of a request in XML says that has found nothing.
    fn silent_verdict_xml(&self, id: CheckId, xml: &XmlPart<'_>) -> Verdict {
        match id {
            CheckId::SkrVerify => Verdict::Skipped("made when it is signed"),
            CheckId::KsrChainSkr | CheckId::KsrChainOverlap | CheckId::KsrChainKeys if !xml.has_previous => {
                Verdict::Skipped("no --previous SKR")
            }
            CheckId::KsrChainSkr if !xml.knows_ksks => Verdict::Skipped(FOREIGN_SKR),
            CheckId::KsrNoKsk | CheckId::KsrProve if self.skips_ksks() => {
                Verdict::Skipped("no KSK in the key folder")
            }
            CheckId::KsrParentDs if !xml.has_parent => Verdict::Skipped("no --parent-ds"),
            CheckId::KsrProve if !self.is_good() => Verdict::Skipped("other checks refuse"),
            _ => Verdict::Ok,
        }
    }

    /// Each check with its verdict and what it found.
    fn rows(&self) -> Vec<(&'static Check, Verdict, Vec<&KsrFinding>)> {
        let more = CHECKS.iter().filter(|check| sign_xml::MORE_CHECKS.contains(&check.id));
        let checks: Vec<&'static Check> = match &self.xml {
            Some(_) => xml::CHECKS.iter().chain(more).collect(),
            None => CHECKS.iter().collect(),
        };
        let row = |check: &'static Check| {
            let found = self.findings().filter(|f| f.id == check.id).collect();
            (check, self.verdict(check.id), found)
        };
        checks.into_iter().map(row).collect()
    }

    fn keys(&self) -> Vec<KeyLine<'_>> {
        let unproved = self.unproved();
        let mut lines: Vec<KeyLine<'_>> = Vec::new();
        for (i, bundle) in self.plan.ksr().bundles.iter().enumerate() {
            for key in &bundle.keys {
                match lines.iter_mut().find(|line| line.key == key) {
                    Some(line) => line.bundles.1 = i + 1,
                    None => {
                        let proved = !unproved.contains(key);
                        lines.push(KeyLine { key, bundles: (i + 1, i + 1), proved });
                    }
                }
            }
        }
        lines
    }

    fn span(&self) -> (Timestamp, Timestamp) {
        let first = self.plan.ksr().bundles.first().map_or(self.plan.end(), |bundle| bundle.inception);
        (first, self.xml.as_ref().map_or(self.plan.end(), |xml| xml.end))
    }

    fn skr_bundles(&self) -> usize {
        match &self.xml {
            Some(_) => self.plan.ksr().bundles.len(),
            None => self.plan.bundle_count(),
        }
    }

    fn ksks(&self) -> Vec<KskUse<'_>> {
        match &self.xml {
            Some(xml) => xml.ksks.clone(),
            None => self.plan.ksks(),
        }
    }

    /// For people, in lines of at most 80 columns; no control characters.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        put_file(&mut out, self.file, self.format, self.octets);
        for source in self.sources.iter().skip(1) {
            put_file(&mut out, &source.file, format::detect(&source.octets), &source.octets);
        }
        let (from, to) = self.span();
        let ksr = self.plan.ksr();
        put(&mut out, "zone       ", &ksr.zone.to_string());
        let days = to.since(from) / 86_400;
        put(&mut out, "interval   ", &format!("{} to {} ({days} days)", from.iso(), to.iso()));
        put(&mut out, "policy     ", &self.plan.policy().name);
        if let Some(ttl) = self.plan.larger_ttl() {
            let limit = self.plan.policy().effective_max_zone_ttl();
            let what = format!(
                "the zone has one of {ttl} s, above the {limit} s of max-zone-ttl; it is reckoned with"
            );
            put(&mut out, "TTL        ", &what);
        }
        let count = format!("{} in the request; {} in the SKR", ksr.bundles.len(), self.skr_bundles());
        put(&mut out, "bundles    ", &count);
        for (i, bundle) in ksr.bundles.iter().enumerate() {
            let tags: Vec<String> = bundle.keys.iter().map(|key| key.tag().to_string()).collect();
            put(&mut out, &format!("  {:>7}  {}  ", i + 1, bundle.inception.iso()), &tags.join(", "));
        }
        self.put_keys(&mut out);
        for (check, verdict, found) in self.rows() {
            let why = match verdict {
                Verdict::Skipped(why) => format!("{} ({why})", check.holds),
                _ => check.holds.to_owned(),
            };
            put(&mut out, &format!("{:<9}  {:<19}  ", verdict.word(), check.id), &why);
            for finding in found {
                let bundle = finding.bundle.map_or_else(String::new, |at| at.iso() + ": ");
                put(&mut out, "           - ", &(bundle + &what_and_options(finding)));
            }
        }
        let verdict = match self.refusing().as_slice() {
            [] => "fit to be signed".to_owned(),
            ids => format!("REFUSED by {}", keystore::check::join(ids, ", ")),
        };
        put(&mut out, "verdict    ", &verdict);
        out
    }

    /// Each key with its digest: the ZSKs of the request, and the KSKs with what they do.
    fn put_keys(&self, out: &mut String) {
        for line in self.keys() {
            let (first, last) = line.bundles;
            let proved = if line.proved { "possession proved" } else { "possession NOT proved" };
            put(out, "ZSK        ", &format!("{}  {}  {proved}", line.key.tag(), kind(line.key)));
            put(out, "           ", &format!("bundles {first} to {last}"));
            put_words(out, "", &groups(&self.digest(line.key), 4), 8);
        }
        for KskUse { key, signs, revoked, .. } in self.ksks() {
            put(out, "KSK        ", &format!("{}  {}", key.tag(), kind(key)));
            let signs = signs.map_or_else(
                || "signs nothing".to_owned(),
                |(first, last)| format!("signs {} to {}", first.iso(), last.iso()),
            );
            put(out, "           ", &signs);
            if let Some(at) = revoked {
                let text = format!("REVOKED from {} on, with tag {}", at.iso(), key.revoked_tag());
                put(out, "           ", &text);
            }
            put_words(out, "", &groups(&self.digest(key), 4), 8);
        }
    }

    /// The report as JSON, for scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let (from, to) = self.span();
        let sha256 = store::digest(self.octets);
        let ksr = self.plan.ksr();
        let bundles = ksr.bundles.iter().map(|bundle| {
            let tags: Vec<u16> = bundle.keys.iter().map(Dnskey::tag).collect();
            json!({ "inception": bundle.inception.iso(), "ttl": bundle.ttl, "tags": tags })
        });
        let zsks = self.keys().into_iter().map(|line| {
            json!({
                "tag": line.key.tag(), "algorithm": line.key.algorithm.0, "flags": line.key.flags,
                "bits": bits(line.key), "ds_sha256": self.digest(line.key),
                "first_bundle": line.bundles.0, "last_bundle": line.bundles.1, "possession_proved": line.proved,
            })
        });
        let ksks = self.ksks().into_iter().map(|KskUse { key, signs, revoked, .. }| {
            json!({
                "tag": key.tag(), "algorithm": key.algorithm.0, "bits": bits(key), "ds_sha256": self.digest(key),
                "signs_from": signs.map(|(first, _)| first.iso()), "signs_to": signs.map(|(_, last)| last.iso()),
                "revoked_from": revoked.map(Timestamp::iso),
            })
        });
        let checks = self.rows().into_iter().map(|(check, verdict, findings)| {
            let why = match verdict {
                Verdict::Skipped(why) => Some(why),
                _ => None,
            };
            json!({
                "id": check.id, "holds": check.holds, "verdict": verdict.word().to_lowercase(), "why": why,
                "findings": findings.into_iter().map(finding_json).collect::<Vec<_>>(),
            })
        });
        json!({
            "version": JSON_VERSION, "file": self.file, "format": self.format.to_string(), "octets": self.octets.len(),
            "sha256": HEXUPPER.encode(&sha256).to_lowercase(),
            "words": pgp_words::words(&sha256).collect::<Vec<_>>(),
            "zone": ksr.zone.to_string(), "start": from.iso(), "end": to.iso(), "policy": self.plan.policy().name,
            "larger_ttl": self.plan.larger_ttl(),
            "bundles": bundles.collect::<Vec<_>>(), "skr_bundles": self.skr_bundles(),
            "zsks": zsks.collect::<Vec<_>>(), "ksks": ksks.collect::<Vec<_>>(),
            "checks": checks.collect::<Vec<_>>(), "good": self.is_good(),
        })
    }

    /// The SHA-256 digest that a DS record of the key has (RFC 4509), in hex.
    fn digest(&self, key: &Dnskey) -> String {
        let ds = key.ds_rdata(&self.plan.ksr().zone, 2).unwrap_or_default();
        HEXUPPER.encode(ds.get(4..).unwrap_or_default())
    }
}

/// What a finding says, and the options that would mend or waive it.
pub(super) fn what_and_options(finding: &KsrFinding) -> String {
    let mut text = finding.what.clone();
    if let Some(advice) = finding.advice {
        text.push_str("; ");
        text.push_str(&advice_text(advice));
    }
    if let Some(waiver) = finding.waiver().filter(|_| finding.refuses()) {
        text.push_str("; to go on nonetheless: ");
        text.push_str(waiver_flag(waiver));
    }
    text
}

fn finding_json(finding: &KsrFinding) -> Value {
    json!({
        "bundle": finding.bundle.map(Timestamp::iso), "what": finding.what,
        "advice": finding.advice.map(advice_text), "flag": finding.waiver().map(waiver_flag),
        "allowed": !finding.refuses(),
    })
}

fn bits(key: &Dnskey) -> Option<u16> {
    crypto::check_public_key(key.algorithm, &key.public_key).ok()
}

fn kind(key: &Dnskey) -> String {
    match bits(key) {
        Some(bits) => format!("{} ({bits} bits)", key.algorithm),
        None => format!("{} (malformed)", key.algorithm),
    }
}

/// Size, SHA-256 and PGP words of a file of many zones, for people.
pub(crate) fn file_text(file: &str, octets: &[u8]) -> String {
    let mut out = String::new();
    put_file(&mut out, file, format::detect(octets), octets);
    out
}

/// The hash of a file of many zones and the reports on them as JSON, for scripts.
pub(crate) fn file_json(file: &str, octets: &[u8], zones: Vec<Value>) -> Value {
    let sha256 = store::digest(octets);
    let good = zones.iter().all(|zone| zone["good"] == true);
    json!({
        "version": JSON_VERSION, "file": file, "octets": octets.len(), "sha256": HEXUPPER.encode(&sha256).to_lowercase(),
        "words": pgp_words::words(&sha256).collect::<Vec<_>>(), "zones": zones, "good": good,
    })
}

fn groups(text: &str, size: usize) -> Vec<String> {
    text.as_bytes().chunks(size).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect()
}

/// Writes size, SHA-256 and PGP words of a file.
fn put_file(out: &mut String, file: &str, format: Format, octets: &[u8]) {
    let sha256 = store::digest(octets);
    put(out, "file       ", &format!("{file} ({format}, {} octets)", octets.len()));
    put_words(out, "SHA-256", &groups(&HEXUPPER.encode(&sha256), 4), 8);
    let words: Vec<String> = pgp_words::words(&sha256).map(str::to_owned).collect();
    // The longest words have 11 letters.
    put_words(out, "words", &words, 4);
}

/// Lines of `most` words under one title.
fn put_words(out: &mut String, title: &str, words: &[String], most: usize) {
    for (i, line) in words.chunks(most).enumerate() {
        let title = if i == 0 { title } else { "" };
        put(out, &format!("{title:<9}  "), &line.join(" "));
    }
}
