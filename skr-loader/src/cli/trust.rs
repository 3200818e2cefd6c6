//! `skr-loader trust`: which KSKs are trusted, and how a new one comes to be.

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use keystore::config::{Config, ZoneConfig};
use keystore::crypto::{Algorithm, check_public_key};
use keystore::dns::{Name, Rtype, rrsig};
use keystore::durable;
use keystore::exchange::{TrustAnchor, UnverifiedSkr, format, parse_trust_anchors};
use keystore::keys::Dnskey;
use keystore::output::Protected;
use keystore::pgp_words;
use keystore::store::{MAX_SKR_OCTETS, digest};
use keystore::time::Timestamp;
use serde::Serialize;

use super::MissingOption;
use crate::accept;
use crate::audit::{AuditEvent, AuditWriter, LOG, Record};
use crate::files::{self, NamedBy, hex, one_line};
use crate::user::User;

/// Hex digits that a person types.
const TYPED: usize = 8;

/// Say which KSKs are trusted, or add one.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the KSKs in a file, and add those that you confirm to the `trust-anchor-file` of the zone
    ///
    /// FROM is an SKR, the .key file of a KSK, or a file with DS or DNSKEY records. For each KSK it prints tag, algorithm, size, the SHA-256 of
    /// its DS record in groups of four and as words, and where it was seen. Compare them with what the KSK operator reads to you, by a second way;
    /// then type the last 8 hex digits. There is no other yes. The file is only added to; the audit log gets a line.
    ///
    /// Exit code: 0 what was confirmed is trusted now (or was already), 1 something was not, 2 wrong usage.
    #[command(after_help = "\
Examples:
  skr-loader trust learn --zone example.org example.org.skr
  skr-loader trust learn --zone example.org --yes 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000 Kexample.org.+013+18064.key")]
    Learn(LearnArgs),
    /// List the trusted KSKs
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
struct LearnArgs {
    /// The configuration file of the loader.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/offline-ksk/offline-ksk.toml")]
    config: PathBuf,
    /// The zone; by default the one that FROM is for.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// For scripts: trust the KSK whose DS record has this whole digest, in hex, and ask nothing; may be given several times.
    #[arg(long, value_name = "DIGEST")]
    yes: Vec<String>,
    /// Where the KSK is.
    #[arg(value_name = "FROM")]
    from: PathBuf,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The configuration file of the loader.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/offline-ksk/offline-ksk.toml")]
    config: PathBuf,
    /// The zone; all by default.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; true when all is well.
pub fn main(args: &Args, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    match &args.command {
        Command::Learn(args) => learn(args, now, &mut io::stdin().lock(), out),
        Command::List(args) => list(args, out),
    }
}

// --- learn ----------------------------------------------------------------------------------------------------------

/// A KSK that may be learnt.
#[derive(Debug)]
struct Candidate {
    key: Option<Dnskey>,
    /// DS record data.
    ds: Vec<u8>,
    /// Where it was seen, for people.
    seen: String,
    anchor: TrustAnchor,
}

impl Candidate {
    fn digest(&self) -> String {
        data_encoding::HEXUPPER.encode(self.ds.get(4..).unwrap_or_default())
    }
}

fn learn(
    args: &LearnArgs,
    now: Timestamp,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let config = Config::load_before_trust(&args.config)?;
    let shown = args.from.display();
    let read =
        files::read(&args.from, NamedBy::Operator, MAX_SKR_OCTETS).with_context(|| shown.to_string())?;
    let zone = zone_of(&config, args.zone.as_deref(), &read.octets)?;
    let candidates = candidates(&read.octets, &zone.name).map_err(|what| anyhow!("{shown}: {what}"))?;
    if candidates.is_empty() {
        bail!("{shown}: there is no KSK of {} in it", zone.name);
    }
    let wanted: Vec<String> = args.yes.iter().map(|text| plain_hex(text)).collect();
    for (digits, given) in wanted.iter().zip(&args.yes) {
        if !candidates.iter().any(|candidate| candidate.digest() == *digits) {
            bail!("--yes {}: no KSK in {shown} has this digest; give all of it", one_line(given));
        }
    }
    let (mut learnt, mut refused) = (Vec::new(), false);
    for candidate in &candidates {
        let pinned = is_pinned(zone, candidate);
        show(candidate, pinned, out)?;
        if pinned {
            continue;
        }
        let digits = candidate.digest();
        if wanted.is_empty() {
            match ask(&digits, input, out)? {
                Some(true) => learnt.push(candidate),
                Some(false) => refused = true,
                None => {}
            }
        } else if wanted.contains(&digits) {
            learnt.push(candidate);
        }
    }
    if learnt.is_empty() {
        writeln!(out, "nothing was written")?;
        return Ok(!refused && candidates.iter().all(|candidate| is_pinned(zone, candidate)));
    }
    let file = write(&config, zone, &learnt, &args.from, &read.octets, now)?;
    for candidate in &learnt {
        writeln!(out, "trusted now: {}", record(&zone.name, &candidate.ds))?;
    }
    writeln!(
        out,
        "written to {}; reload for it to count: skr-loader reload -c {}",
        file.display(),
        args.config.display()
    )?;
    Ok(!refused)
}

/// The zone that was asked for, or that the file is for, or the only one.
fn zone_of<'a>(config: &'a Config, asked: Option<&str>, octets: &[u8]) -> anyhow::Result<&'a ZoneConfig> {
    let find = |name: &Name| config.signed_zones().map(|zone| &**zone).find(|zone| zone.name == *name);
    if let Some(text) = asked {
        let name = text.parse::<Name>().with_context(|| format!("--zone {}", one_line(text)))?;
        return find(&name).ok_or_else(|| anyhow!("{name} is no [[zone]] of the configuration"));
    }
    let by_content = accept::zone_of(octets);
    let mut all = config.signed_zones();
    match (by_content.as_ref().and_then(find), all.next(), all.next()) {
        (Some(zone), ..) => Ok(zone),
        (None, Some(only), None) => Ok(only),
        (None, ..) => Err(MissingOption("say with --zone which zone the KSK is for".to_owned()).into()),
    }
}

/// The KSKs in DS or DNSKEY records, or in an SKR.
fn candidates(octets: &[u8], zone: &Name) -> Result<Vec<Candidate>, String> {
    let records = parse_trust_anchors(&String::from_utf8_lossy(octets), zone);
    let by_records = match records {
        Ok(anchors) => {
            return anchors.into_iter().map(|anchor| of_anchor(zone, anchor)).collect();
        }
        Err(error) => error,
    };
    match format::parse_skr(octets, zone) {
        Ok(skr) => Ok(of_skr(&skr)),
        Err(error) => Err(format!(
            "neither DS or DNSKEY records (line {}: {}) nor an SKR of {zone} (line {}: {})",
            by_records.line,
            one_line(&by_records.what),
            error.line,
            one_line(&error.what)
        )),
    }
}

fn of_anchor(zone: &Name, anchor: TrustAnchor) -> Result<Candidate, String> {
    let (key, ds, seen) = match &anchor {
        TrustAnchor::Dnskey(key) => {
            let ds = key.ds_rdata(zone, 2).ok_or("the key has no SHA-256 digest")?;
            (Some(key.clone()), ds, "a DNSKEY record; nothing here is signed by it")
        }
        TrustAnchor::Ds(ds) => (None, ds.clone(), "a DS record; the key itself is not here"),
    };
    Ok(Candidate { key, ds, seen: seen.to_owned(), anchor })
}

/// Each KSK of the bundles, with how many it signs.
fn of_skr(skr: &UnverifiedSkr) -> Vec<Candidate> {
    let mut keys: Vec<Dnskey> = Vec::new();
    for key in skr.bundles.iter().flat_map(|bundle| bundle.keys().filter(Dnskey::is_ksk).collect::<Vec<_>>())
    {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.into_iter()
        .filter_map(|key| {
            let (mut there, mut signed, mut good) = (0, 0, 0);
            for bundle in skr.bundles.iter().filter(|bundle| bundle.keys().any(|k| k == key)) {
                there += 1;
                let of_key = |s: &&keystore::dns::Rrsig| {
                    s.covered == Rtype::DNSKEY && (s.key_tag, s.algorithm) == (key.tag(), key.algorithm)
                };
                if let Some(signature) = bundle.signatures.iter().find(of_key) {
                    signed += 1;
                    good +=
                        usize::from(rrsig::verify_raw(&bundle.dnskey, &key.public_key, signature).is_ok());
                }
            }
            let all = skr.bundles.len();
            let verified = match signed {
                0 => "it signs none: nothing shows that anybody holds it".to_owned(),
                _ if good == signed => {
                    format!("it signs {signed}, and each of these signatures verifies with it")
                }
                _ => format!("it signs {signed}, and {} of these signatures DO NOT VERIFY", signed - good),
            };
            let ds = key.ds_rdata(&skr.zone, 2)?;
            let seen = format!("in {there} of {all} bundles of the SKR; {verified}");
            Some(Candidate { anchor: TrustAnchor::Dnskey(key.clone()), key: Some(key), ds, seen })
        })
        .collect()
}

fn is_pinned(zone: &ZoneConfig, candidate: &Candidate) -> bool {
    zone.anchors.iter().any(|anchor| match &candidate.key {
        Some(key) => anchor.matches(&zone.name, key),
        None => match anchor {
            TrustAnchor::Dnskey(key) => candidate.anchor.matches(&zone.name, key),
            TrustAnchor::Ds(ds) => *ds == candidate.ds,
        },
    })
}

fn show(candidate: &Candidate, pinned: bool, out: &mut impl Write) -> io::Result<()> {
    let (tag, algorithm, kind) = parts(&candidate.ds);
    let bits = candidate.key.as_ref().and_then(|key| check_public_key(key.algorithm, &key.public_key).ok());
    let bits = bits.map_or_else(String::new, |bits| format!(", {bits} bits"));
    let state = if pinned { "trusted already" } else { "not trusted yet" };
    writeln!(out, "KSK {tag} ({algorithm}{bits}): {state}")?;
    let name = if kind == 4 { "SHA-384" } else { "SHA-256" };
    for (i, line) in groups(&candidate.digest()).chunks(8).enumerate() {
        writeln!(out, "  {:<8}{}", if i == 0 { name } else { "" }, line.join(" "))?;
    }
    let words: Vec<&str> = pgp_words::words(candidate.ds.get(4..).unwrap_or_default()).collect();
    for (i, line) in words.chunks(8).enumerate() {
        writeln!(out, "  {:<8}{}", if i == 0 { "words" } else { "" }, line.join(" "))?;
    }
    writeln!(out, "  seen    {}", candidate.seen)
}

/// `Some(true)` when the right digits were typed, `Some(false)` when others were, `None` for nothing.
fn ask(digits: &str, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<Option<bool>> {
    write!(out, "Type the last {TYPED} hex digits of the digest to trust this key (Enter: leave it): ")?;
    out.flush()?;
    let mut line = String::new();
    io::Read::take(&mut *input, 1000).read_line(&mut line)?;
    let typed = plain_hex(&line);
    if typed.is_empty() {
        writeln!(out)?;
        return Ok(None);
    }
    // The whole digest will do, too.
    let right = typed.len() >= TYPED && digits.ends_with(&typed);
    if !right {
        writeln!(out, "these are not its last digits: the key is not trusted")?;
    }
    Ok(Some(right))
}

/// Adds the records to the anchor file, with a line in the audit log before.
fn write(
    config: &Config,
    zone: &ZoneConfig,
    learnt: &[&Candidate],
    from: &Path,
    octets: &[u8],
    now: Timestamp,
) -> anyhow::Result<PathBuf> {
    let mut added = String::new();
    let who = User::current();
    for candidate in learnt {
        let from = one_line(&from.display().to_string());
        added.push_str(&format!("; learnt {} from {from} by {who}\n", now.iso()));
        added.push_str(&format!("{}\n", record(&zone.name, &candidate.ds)));
    }
    if let Err(error) = parse_trust_anchors(&added, &zone.name) {
        bail!("{}: such a key cannot be trusted", one_line(&error.what));
    }
    let Some(path) = &zone.anchor_file else {
        bail!(
            "zone {} has no trust-anchor-file to write to; add trust-anchor-file = \"FILE\" to its [[zone]], or put this into trust-anchors yourself:\n{}",
            zone.name,
            learnt.iter().map(|c| record(&zone.name, &c.ds)).collect::<Vec<_>>().join("\n")
        );
    };
    let path = Protected::new().target(path)?;
    let (mut text, before) = match fs::read(&path) {
        Ok(text) => (text, Some(fs::metadata(&path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend(added.bytes());
    let mut audit = open_audit(&config.state_dir)?;
    let mut tell = |event: AuditEvent| {
        for candidate in learnt {
            let line = Record {
                zone: Some(zone.name.zone_label()),
                file: Some(one_line(&from.display().to_string())),
                sha256: Some(hex(&digest(octets))),
                uid: Some(who.uid),
                user: who.name.clone(),
                anchor: Some(record(&zone.name, &candidate.ds)),
                ..Record::new(now, event)
            };
            audit.append(line).context("the audit log")?;
        }
        anyhow::Ok(())
    };
    tell(AuditEvent::TrustLearnt)?;
    let mode = before.as_ref().map_or(0o644, |m| m.mode() & 0o7777);
    let written = durable::write(&path, &text, mode).and_then(|()| match &before {
        // A new file takes the old one's place.
        Some(m) => {
            let new = path.metadata()?;
            if (new.uid(), new.gid()) == (m.uid(), m.gid()) {
                Ok(())
            } else {
                chown(&path, Some(m.uid()), Some(m.gid()))
            }
        }
        None => Ok(()),
    });
    if let Err(error) = written {
        tell(AuditEvent::TrustFailed)?;
        return Err(error).with_context(|| path.display().to_string());
    }
    Ok(path)
}

/// The log of the daemon, which may be running. One that is begun here must be the daemon's all the same.
fn open_audit(state_dir: &Path) -> anyhow::Result<AuditWriter> {
    let path = state_dir.join(LOG);
    let is_new = !path.exists();
    let audit = AuditWriter::open(&path)
        .with_context(|| format!("{}: nothing is learnt that cannot be written there", path.display()))?;
    let owner = fs::metadata(state_dir.join("accepted")).or_else(|_| fs::metadata(state_dir))?;
    if is_new && fs::metadata(&path)?.uid() != owner.uid() {
        chown(&path, Some(owner.uid()), Some(owner.gid()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
    }
    Ok(audit)
}

// --- list -----------------------------------------------------------------------------------------------------------

/// One trusted KSK.
#[derive(Debug, Serialize)]
struct Listed {
    zone: String,
    tag: u16,
    algorithm: u8,
    digest_type: u8,
    digest: String,
    /// The file, or `configuration`.
    from: String,
}

fn list(args: &ListArgs, out: &mut impl Write) -> anyhow::Result<bool> {
    let config = Config::load_before_trust(&args.config)?;
    let only = args.zone.as_deref().map(Name::parse).transpose().context("--zone")?;
    if let Some(name) = only.as_ref().filter(|name| !config.signed_zones().any(|zone| zone.name == **name)) {
        bail!("{name} is no [[zone]] of the configuration");
    }
    let mut all = Vec::new();
    for zone in config.signed_zones().filter(|zone| only.as_ref().is_none_or(|name| zone.name == *name)) {
        let in_file = zone.anchor_file.as_ref().and_then(|path| {
            let text = fs::read_to_string(path).ok()?;
            Some((path, parse_trust_anchors(&text, &zone.name).ok()?))
        });
        for anchor in &zone.anchors {
            let ds = match anchor {
                TrustAnchor::Ds(ds) => Some(ds.clone()),
                TrustAnchor::Dnskey(key) => key.ds_rdata(&zone.name, 2),
            };
            let ds = ds.unwrap_or_default();
            let (tag, algorithm, digest_type) = parts(&ds);
            let file = in_file.as_ref().filter(|(_, anchors)| anchors.contains(anchor));
            all.push(Listed {
                zone: zone.name.to_string(),
                tag,
                algorithm: algorithm.0,
                digest_type,
                digest: data_encoding::HEXUPPER.encode(ds.get(4..).unwrap_or_default()),
                from: file.map_or_else(|| "configuration".to_owned(), |(path, _)| path.display().to_string()),
            });
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(true);
    }
    for Listed { zone, tag, algorithm, digest, from, .. } in &all {
        writeln!(out, "{zone}  KSK {tag} ({})  {}", Algorithm(*algorithm), one_line(from))?;
        writeln!(out, "  {}", groups(digest).join(" "))?;
    }
    Ok(true)
}

// --- texts ----------------------------------------------------------------------------------------------------------

/// Tag, algorithm and digest type.
fn parts(ds: &[u8]) -> (u16, Algorithm, u8) {
    match *ds {
        [high, low, algorithm, kind, ..] => (u16::from_be_bytes([high, low]), Algorithm(algorithm), kind),
        _ => (0, Algorithm(0), 0),
    }
}

/// The DS record in presentation form.
fn record(zone: &Name, ds: &[u8]) -> String {
    let (tag, algorithm, kind) = parts(ds);
    let digest = data_encoding::HEXUPPER.encode(ds.get(4..).unwrap_or_default());
    format!("{zone} IN DS {tag} {} {kind} {digest}", algorithm.0)
}

fn groups(digest: &str) -> Vec<String> {
    digest.as_bytes().chunks(4).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect()
}

/// Upper-case hex without blanks and colons.
fn plain_hex(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect::<String>().to_ascii_uppercase()
}
