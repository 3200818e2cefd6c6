//! What is shown: keys with their times, bundles, gaps, warnings.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use keystore::dns::{Name, Rtype};
use keystore::exchange::{Bundle, Ksr, UnverifiedSkr};
use keystore::keys::files::Folder;
use keystore::keys::{Dnskey, FLAG_REVOKE, KeyFile, Timing};
use keystore::time::Timestamp;
use serde::Serialize;
use skr_loader::cli::MissingOption;

use super::{InspectedFile, Span};

/// A key over time.
#[derive(Debug, Clone)]
pub struct KeyRow {
    pub(super) key: Dnskey,
    pub(super) published: Vec<Span>,
    /// `None` = not known.
    pub(super) signing: Option<Vec<Span>>,
    pub(super) cds: Vec<Span>,
}

/// A bundle in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRow {
    pub(super) inception: Timestamp,
    /// `None` in a KSR.
    pub(super) expiration: Option<Timestamp>,
    /// With whether it signs the DNSKEY RRset.
    pub(super) keys: Vec<(Dnskey, bool)>,
    pub(super) cds: Vec<u16>,
}

/// What `inspect` found out about a file or folder.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) path: String,
    pub(super) what: String,
    pub(super) zone: String,
    pub(super) octets: Option<usize>,
    pub(super) sha256: Option<String>,
    /// What the chart shows.
    pub(super) span: Span,
    pub(super) keys: Vec<KeyRow>,
    pub(super) bundles: Vec<BundleRow>,
    /// Seconds without a valid bundle, or without a ZSK that signs.
    pub(super) gaps: Vec<Span>,
    pub(super) warnings: Vec<String>,
}

/// KSK or ZSK, revoked ones in lower case.
pub(super) fn role(key: &Dnskey) -> &'static str {
    match (key.is_ksk(), key.flags & FLAG_REVOKE != 0) {
        (true, false) => "KSK",
        (false, false) => "ZSK",
        (true, true) => "ksk",
        (false, true) => "zsk",
    }
}

/// Adds to a list of spans, joining what touches.
fn add(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.1 >= span.0 => last.1 = last.1.max(span.1),
        _ if span.0 < span.1 => spans.push(span),
        _ => {}
    }
}

/// The parts of `span` that no `covered` span (sorted) has.
fn holes(covered: &[Span], span: Span) -> Vec<Span> {
    let mut at = span.0;
    let mut out = Vec::new();
    for (from, to) in covered {
        if *from > at && at < span.1 {
            out.push((at, (*from).min(span.1)));
        }
        at = at.max(*to);
    }
    if at < span.1 {
        out.push((at, span.1));
    }
    out
}

fn sorted_keys(rows: BTreeMap<Dnskey, KeyRow>) -> Vec<KeyRow> {
    let mut keys: Vec<KeyRow> = rows.into_values().collect();
    keys.sort_by_key(|row| (!row.key.is_ksk(), row.published.first().map(|s| s.0), row.key.tag()));
    keys
}

fn clashes(bundles: &[BundleRow], warnings: &mut Vec<String>) {
    let mut told = Vec::new();
    for bundle in bundles {
        for (i, (a, _)) in bundle.keys.iter().enumerate() {
            let twin = bundle.keys[..i]
                .iter()
                .find(|(b, _)| b != a && b.tag() == a.tag() && b.algorithm == a.algorithm);
            if twin.is_some() && !told.contains(&a.tag()) {
                told.push(a.tag());
                warnings.push(format!(
                    "two keys have tag {} and algorithm {}, from {}",
                    a.tag(),
                    a.algorithm,
                    bundle.inception.iso()
                ));
            }
        }
    }
}

fn out_of_order(bundles: &[BundleRow], warnings: &mut Vec<String>) {
    for pair in bundles.windows(2) {
        if pair[1].inception < pair[0].inception {
            let (a, b) = (pair[0].inception.iso(), pair[1].inception.iso());
            warnings.push(format!("the bundle of {b} comes after that of {a}"));
        }
    }
}

impl View {
    fn of_file(file: &InspectedFile, what: &str, zone: &Name) -> Self {
        Self {
            path: file.path.display().to_string(),
            what: format!("{what}, {}", file.format),
            zone: zone.to_string(),
            octets: Some(file.octets),
            sha256: Some(file.sha256.clone()),
            span: (Timestamp::EPOCH, Timestamp::EPOCH),
            keys: Vec::new(),
            bundles: Vec::new(),
            gaps: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// An SKR.
    #[must_use]
    pub fn of_skr(file: &InspectedFile, skr: &UnverifiedSkr) -> Self {
        let mut view = Self::of_file(file, "SKR", &skr.zone);
        view.bundles = skr.bundles.iter().map(|b| bundle_row(&skr.zone, b)).collect();
        out_of_order(&view.bundles, &mut view.warnings);
        clashes(&view.bundles, &mut view.warnings);
        let mut sorted: Vec<&BundleRow> = view.bundles.iter().collect();
        sorted.sort_by_key(|b| b.inception);
        let mut rows = BTreeMap::<Dnskey, KeyRow>::new();
        let mut covered = Vec::new();
        for (i, bundle) in sorted.iter().enumerate() {
            let expiration = bundle.expiration.unwrap_or(bundle.inception);
            let until = sorted.get(i + 1).map_or(expiration, |next| next.inception);
            let span = (bundle.inception, until);
            add(&mut covered, (bundle.inception, expiration.min(until)));
            for (key, signs) in &bundle.keys {
                let signing = key.is_ksk().then(Vec::new);
                let row = rows.entry(key.clone()).or_insert_with(|| KeyRow {
                    key: key.clone(),
                    published: Vec::new(),
                    signing,
                    cds: Vec::new(),
                });
                add(&mut row.published, span);
                if *signs {
                    add(row.signing.get_or_insert_default(), span);
                }
                if key.is_ksk() && bundle.cds.contains(&key.tag()) {
                    add(&mut row.cds, span);
                }
            }
            if !bundle.keys.iter().any(|(_, signs)| *signs) {
                view.warnings
                    .push(format!("bundle {}: no signature over the DNSKEY RRset", bundle.inception.iso()));
            }
        }
        let start = sorted.first().map_or(Timestamp::EPOCH, |b| b.inception);
        let end = sorted.last().and_then(|b| b.expiration).unwrap_or(start);
        let end = end.max(sorted.last().map_or(start, |b| b.inception));
        view.span = (start, end);
        view.gaps = holes(&covered, view.span);
        view.keys = sorted_keys(rows);
        view
    }

    /// A KSR.
    #[must_use]
    pub fn of_ksr(file: &InspectedFile, ksr: &Ksr) -> Self {
        let mut view = Self::of_file(file, "KSR", &ksr.zone);
        let row = |b: &keystore::exchange::KsrBundle| BundleRow {
            inception: b.inception,
            expiration: None,
            keys: b.keys.iter().map(|k| (k.clone(), false)).collect(),
            cds: Vec::new(),
        };
        view.bundles = ksr.bundles.iter().map(row).collect();
        out_of_order(&view.bundles, &mut view.warnings);
        clashes(&view.bundles, &mut view.warnings);
        let mut sorted: Vec<&BundleRow> = view.bundles.iter().collect();
        sorted.sort_by_key(|b| b.inception);
        let start = sorted.first().map_or(Timestamp::EPOCH, |b| b.inception);
        let last = sorted.last().map_or(start, |b| b.inception);
        // A KSR does not say how long its last bundle lasts.
        let end = last.plus((last.since(start) / 10).max(86_400));
        let mut rows = BTreeMap::<Dnskey, KeyRow>::new();
        for (i, bundle) in sorted.iter().enumerate() {
            let span = (bundle.inception, sorted.get(i + 1).map_or(end, |next| next.inception));
            if bundle.keys.is_empty() {
                view.gaps.push(span);
                view.warnings.push(format!("bundle {}: no key", bundle.inception.iso()));
            }
            for (key, _) in &bundle.keys {
                if key.is_ksk() {
                    view.warnings.push(format!(
                        "bundle {}: key {} has the SEP flag",
                        bundle.inception.iso(),
                        key.tag()
                    ));
                }
                let row = rows.entry(key.clone()).or_insert_with(|| KeyRow {
                    key: key.clone(),
                    published: Vec::new(),
                    signing: None,
                    cds: Vec::new(),
                });
                add(&mut row.published, span);
            }
        }
        view.span = (start, end);
        view.keys = sorted_keys(rows);
        view
    }

    /// A folder of key files; without `zone` all keys must be of one.
    pub fn of_folder(dir: &Path, zone: Option<&Name>) -> Result<Self> {
        let folder = Folder::scan(dir)?;
        let mut zones: Vec<&str> = folder.zones().collect();
        zones.sort_unstable();
        let zone = match (zone, &*zones) {
            (Some(zone), _) => zone.clone(),
            (None, [one]) => Name::parse(one).with_context(|| format!("{}: zone {one}", dir.display()))?,
            (None, []) => bail!("{}: no keys (K*.key with K*.private)", dir.display()),
            (None, many) => bail!(MissingOption(format!(
                "{}: keys of {}; say which with --zone",
                dir.display(),
                many.join(", ")
            ))),
        };
        let found = folder.find_online(&zone);
        let mut warnings: Vec<String> = found.skipped.iter().map(ToString::to_string).collect();
        if found.keys.is_empty() {
            let why = warnings.first().map_or_else(String::new, |w| format!(": {w}"));
            bail!("{}: no usable key of {zone}{why}", dir.display());
        }
        let keys = with_times(found.keys, &mut warnings);
        let times = keys.iter().flat_map(|k| {
            let t = &k.timing;
            [t.publish, t.activate, t.inactive, t.delete, t.sync_publish, t.sync_delete]
        });
        let mut times: Vec<Timestamp> = times.flatten().collect();
        times.sort_unstable();
        let Some((start, last)) = times.first().copied().zip(times.last().copied()) else {
            bail!("{}: no key of {zone} has a time here: {}", dir.display(), warnings.join("; "));
        };
        let end = last.plus((last.since(start) / 20).max(86_400));
        let period = |from: Option<Timestamp>, to: Option<Timestamp>| {
            let span = from.map(|from| (from, to.unwrap_or(end)));
            span.filter(|s| s.0 < s.1).into_iter().collect::<Vec<_>>()
        };
        let mut rows = BTreeMap::new();
        let mut active = Vec::new();
        for file in &keys {
            let t = &file.timing;
            let row = KeyRow {
                key: file.dnskey.clone(),
                published: period(t.publish, t.delete),
                signing: Some(period(t.activate, t.inactive)),
                cds: period(t.sync_publish, t.sync_delete),
            };
            if !file.dnskey.is_ksk() {
                active.extend(row.signing.iter().flatten().copied());
            }
            if t.publish.is_none() || t.activate.is_none() {
                warnings.push(format!(
                    "{} {}: Publish or Activate is not set",
                    role(&file.dnskey),
                    file.dnskey.tag()
                ));
            }
            rows.insert(file.dnskey.clone(), row);
        }
        active.sort_unstable();
        let first = active.first().map(|s| s.0);
        let last = active.iter().map(|s| s.1).max();
        let gaps = first.zip(last).map_or_else(Vec::new, |span| holes(&active, span));
        Ok(Self {
            path: dir.display().to_string(),
            what: "key folder".to_owned(),
            zone: zone.to_string(),
            octets: None,
            sha256: None,
            span: (start, end),
            keys: sorted_keys(rows),
            bundles: Vec::new(),
            gaps,
            warnings,
        })
    }

    /// The same for scripts.
    #[must_use]
    pub fn json(&self) -> impl Serialize + use<> {
        let spans = |spans: &[Span]| spans.iter().map(|s| [s.0.iso(), s.1.iso()]).collect::<Vec<_>>();
        let name =
            |key: &Dnskey| KeyName { tag: key.tag(), flags: key.flags, algorithm: key.algorithm.to_string() };
        let key = |row: &KeyRow| KeyJson {
            name: name(&row.key),
            published: spans(&row.published),
            signing: row.signing.as_deref().map(spans),
            cds: spans(&row.cds),
        };
        let bundle = |b: &BundleRow| BundleJson {
            inception: b.inception.iso(),
            expiration: b.expiration.map(Timestamp::iso),
            keys: b.keys.iter().map(|(k, signs)| BundleKey { name: name(k), signs: *signs }).collect(),
            cds: b.cds.clone(),
        };
        Json {
            path: self.path.clone(),
            what: self.what.clone(),
            zone: self.zone.clone(),
            octets: self.octets,
            sha256: self.sha256.clone(),
            from: self.span.0.iso(),
            to: self.span.1.iso(),
            keys: self.keys.iter().map(key).collect(),
            bundles: self.bundles.iter().map(bundle).collect(),
            gaps: spans(&self.gaps),
            warnings: self.warnings.clone(),
        }
    }
}

/// The keys, a KSK without `.state` with the times that its `.key` file remarks: its `.private` file, which has those that count, is not
/// opened on this side.
fn with_times(keys: Vec<KeyFile>, warnings: &mut Vec<String>) -> Vec<KeyFile> {
    let known = |mut key: KeyFile| {
        if !key.dnskey.is_ksk() || key.state.is_some() {
            return key;
        }
        key.timing = key.remarked_timing();
        let name = key.base_name();
        let shown = match key.timing == Timing::default() {
            true => "none are shown",
            false => "what is shown are the remarks of its .key file",
        };
        warnings.push(format!(
            "KSK {}: {name}.state is missing, so its times are in {name}.private alone, which is not opened here; {shown}",
            key.dnskey.tag()
        ));
        key
    };
    keys.into_iter().map(known).collect()
}

fn bundle_row(zone: &Name, bundle: &Bundle) -> BundleRow {
    let signs = |key: &Dnskey| {
        let tag = key.tag();
        bundle.signatures.iter().any(|s| {
            s.covered == Rtype::DNSKEY
                && s.key_tag == tag
                && s.algorithm == key.algorithm
                && s.signer == *zone
        })
    };
    let mut cds: Vec<u16> = bundle
        .cds
        .iter()
        .chain(&bundle.cdnskey)
        .flat_map(|rrset| rrset.rdatas.iter().map(|r| tag_of(rrset.rtype, r)))
        .collect();
    cds.sort_unstable();
    cds.dedup();
    BundleRow {
        inception: bundle.inception,
        expiration: Some(bundle.expiration()),
        keys: bundle
            .keys()
            .map(|k| {
                let s = signs(&k);
                (k, s)
            })
            .collect(),
        cds,
    }
}

/// The key tag that a CDS or CDNSKEY record names.
fn tag_of(rtype: Rtype, rdata: &[u8]) -> u16 {
    match rtype {
        Rtype::CDS => rdata.first_chunk().map_or(0, |tag| u16::from_be_bytes(*tag)),
        _ => Dnskey::from_rdata(rdata).map_or(0, |key| key.tag()),
    }
}

#[derive(Serialize)]
struct Json {
    path: String,
    what: String,
    zone: String,
    octets: Option<usize>,
    sha256: Option<String>,
    from: String,
    to: String,
    keys: Vec<KeyJson>,
    bundles: Vec<BundleJson>,
    gaps: Vec<[String; 2]>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct KeyName {
    tag: u16,
    flags: u16,
    algorithm: String,
}

#[derive(Serialize)]
struct KeyJson {
    #[serde(flatten)]
    name: KeyName,
    published: Vec<[String; 2]>,
    signing: Option<Vec<[String; 2]>>,
    cds: Vec<[String; 2]>,
}

#[derive(Serialize)]
struct BundleJson {
    inception: String,
    expiration: Option<String>,
    keys: Vec<BundleKey>,
    cds: Vec<u16>,
}

#[derive(Serialize)]
struct BundleKey {
    #[serde(flatten)]
    name: KeyName,
    signs: bool,
}
