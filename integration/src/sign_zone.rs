//! `offline-ksk sign-zone`: one zone file in, one signed zone file out.

mod options;
mod progress;

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use keystore::clock;
use keystore::dns::Name;
use keystore::exchange::{
    Bundle, TrustAnchor, VerifiedSkr, VerifyContext, bind, format, parse_trust_anchors, verify,
};
use keystore::keys::signature;
use keystore::output::Protected;
use keystore::policy::{self, Policy};
use keystore::time::{Timestamp, syntax};
use signer_plugin::rules::ZoneRules;
use signer_plugin::runtime::Keyring;
use signer_plugin::signing::{
    SignedFile, SignedZone, SigningKeys, SigningPolicy, SigningProgress, SigningTimes, sign,
};
use signer_plugin::zone::{Warnings, Zone};
use skr_loader::cli::MissingOption;
use skr_loader::files::{self, NamedBy};

pub use options::Options;

/// RRsets whose signatures are verified before the file is written, besides the apex.
const SAMPLES: usize = 64;

/// Signs the zone file and writes the result.
pub fn run(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let now = match &options.now {
        None => clock::now(),
        Some(text) => syntax::parse(text, clock::now())?.context("--now needs a time")?,
    };
    let target = target(options)?;
    let mut protected = Protected::new();
    let policy = match (&options.policy_file, &options.policy) {
        (Some(file), Some(name)) => {
            let policies = policy::load(file)?;
            protected = protected.inputs(policies.files());
            policies.get(name)?.clone()
        }
        _ => Policy::with_defaults("default").into(),
    };
    let rules = ZoneRules { max_ttl: options.max_ttl, ..ZoneRules::default() };
    // Without an SKR the zone file brings its key set.
    let load = || SignedFile::load(&options.zone_file, &options.zone, rules);
    let file = options.skr.is_none().then(load).transpose()?;
    let zone = match &file {
        Some(file) => Arc::clone(file.zone()),
        None => Arc::new(Zone::load(&options.zone_file, &options.zone, rules)?),
    };
    // Known only now: what the zone file and the policy file include.
    if options.output != Path::new("-") {
        protected.inputs(&zone.files().paths).target(&options.output)?;
    }
    // That the key set and its signatures are no plain data is known of a file that brings them.
    if file.is_none() {
        warn(zone.warnings());
    }
    let bundle = match &file {
        Some(file) => bundle_of_file(file, options, now)?,
        None => bundle_of_skr(options, now)?,
    };
    let previous = match &options.previous {
        None => None,
        Some(path) => {
            let file = SignedFile::load(path, &options.zone, rules)?;
            let signed = file.to_signed(now);
            Some(
                signed
                    .with_context(|| format!("{}: it has no keys or no signed SOA record", path.display()))?,
            )
        }
    };
    let mut keyring = Keyring::new(options.zone.clone(), options.key_directory.clone());
    keyring.poll(now);
    let keys = keyring.active(&bundle, now);
    if let Some(cause) = keyring.unreadable() {
        eprintln!("offline-ksk: warning: {cause}");
    }
    let times = SigningTimes {
        validity: options.validity.unwrap_or(policy.signatures_validity),
        refresh: options.refresh.unwrap_or(policy.signatures_refresh),
        jitter: options.jitter.unwrap_or(policy.signatures_jitter),
    };
    let serial = options.serial.of(zone.serial(), previous.as_ref().map(SignedZone::serial), now);
    let signing = SigningPolicy { times, denial: options.denial.denial(&policy)?, zonemd: options.zonemd };
    let counts = SigningProgress::default();
    let signing_keys = SigningKeys { progress: Some(&counts), ..SigningKeys::from(&keys) };
    let signed = progress::show_while(&counts, || {
        sign(&zone, &bundle, signing_keys, &signing, serial, previous.as_ref(), now)
    })?;
    let samples = if options.verify_all { usize::MAX } else { SAMPLES };
    signed.self_check(now, samples).context("the signed zone fails its own check; nothing is written")?;
    write(&target, |out| signed.write_to(out))?;
    let summary = Summary { signed: &signed, keys: keys.len(), seconds: start.elapsed().as_secs_f64() };
    if options.json {
        summary.print_json(options)?;
    } else if std::io::stderr().is_terminal() {
        summary.print(options);
    }
    Ok(ExitCode::SUCCESS)
}

fn warn(warnings: &Warnings) {
    for warning in &warnings.texts {
        eprintln!("offline-ksk: warning: {warning}");
    }
    if warnings.total > warnings.texts.len() {
        eprintln!("offline-ksk: warning: and {} more", warnings.total - warnings.texts.len());
    }
}

/// The bundle in force of an SKR that passes its checks.
fn bundle_of_skr(options: &Options, now: Timestamp) -> Result<Bundle> {
    let (Some(path), Some(anchor)) = (&options.skr, &options.trust_anchor) else {
        bail!(MissingOption("give --skr and --trust-anchor".to_owned()));
    };
    let skr = accepted(path, anchor, &options.zone, now)?;
    let bundle = skr.bundle_at(now).with_context(|| {
        let next = skr.next_switch(now).map_or_else(String::new, |t| format!("; the first begins at {t}"));
        format!("{}: no bundle is in force at {now}{next}", path.display())
    })?;
    Ok(bundle.clone())
}

/// The apex key RRsets that the zone file has, which must be signed by a key of the trust anchor, or else by a key of their own.
fn bundle_of_file(file: &SignedFile, options: &Options, now: Timestamp) -> Result<Bundle> {
    let path = options.zone_file.display();
    let bundle =
        file.bundle(now).with_context(|| format!("{path}: it has no DNSKEY RRset, and no SKR is given"))?;
    let anchors = match &options.trust_anchor {
        Some(path) => read_anchors(path, &options.zone)?,
        None => Vec::new(),
    };
    let keys: Vec<_> = bundle.keys().collect();
    let trusted = |key: &&keystore::keys::Dnskey| {
        anchors.is_empty() || anchors.iter().any(|anchor| anchor.matches(&options.zone, key))
    };
    for rrset in bundle.rrsets() {
        let holds = bundle.signatures.iter().filter(|rrsig| rrsig.covered == rrset.rtype).any(|rrsig| {
            let verifies = |key| signature::verify(rrset, &options.zone, key, rrsig, now).is_ok();
            keys.iter().filter(trusted).any(verifies)
        });
        if !holds {
            bail!("{path}: the {} RRset of the apex is not signed by a trusted key at {now}", rrset.rtype);
        }
    }
    Ok(bundle)
}

fn read_anchors(path: &Path, zone: &Name) -> Result<Vec<TrustAnchor>> {
    let octets =
        files::read(path, NamedBy::Operator, 1 << 20).with_context(|| path.display().to_string())?.octets;
    let text = String::from_utf8(octets).with_context(|| format!("{}: not UTF-8", path.display()))?;
    parse_trust_anchors(&text, zone).with_context(|| path.display().to_string())
}

fn accepted(skr: &Path, anchor: &Path, zone: &Name, now: Timestamp) -> Result<VerifiedSkr> {
    let octets = files::read(skr, NamedBy::Operator, bind::MAX_OCTETS as u64)
        .with_context(|| skr.display().to_string())?
        .octets;
    let anchors = read_anchors(anchor, zone)?;
    let unverified = format::parse_skr(&octets, zone).with_context(|| skr.display().to_string())?;
    match verify(unverified, &VerifyContext::new(zone, &anchors), now) {
        Ok(verified) => Ok(verified),
        Err(findings) => {
            for finding in findings {
                eprintln!("offline-ksk: {}: {finding}", skr.display());
            }
            bail!("{}: the SKR does not hold; nothing is written", skr.display())
        }
    }
}

/// What was done, for people and for scripts.
struct Summary<'a> {
    signed: &'a SignedZone,
    keys: usize,
    seconds: f64,
}

impl Summary<'_> {
    fn print(&self, options: &Options) {
        let signed = self.signed;
        eprintln!(
            "{}: serial {}, {} names, {} RRsets; {} ZSKs made {} signatures ({:.0}/s) and kept {}, the first expires at {}; {:.2} s",
            options.zone,
            signed.serial(),
            signed.zone().name_count(),
            signed.zone().rrset_count(),
            self.keys,
            signed.signatures_made(),
            signed.signatures_made() as f64 / self.seconds.max(0.001),
            signed.signatures_reused(),
            signed.earliest_zsk_expiration().iso(),
            self.seconds
        );
    }

    /// To standard output, unless the zone goes there.
    fn print_json(&self, options: &Options) -> Result<()> {
        let signed = self.signed;
        let text = serde_json::to_string_pretty(&serde_json::json!({
            "zone": options.zone.to_string(),
            "serial": signed.serial(),
            "names": signed.zone().name_count(),
            "rrsets": signed.zone().rrset_count(),
            "keys": signed.key_tags().collect::<Vec<_>>(),
            "signatures_made": signed.signatures_made(),
            "signatures_kept": signed.signatures_reused(),
            "earliest_expiration": signed.earliest_zsk_expiration().iso(),
            "earliest_ksk_expiration": signed.earliest_ksk_expiration().iso(),
            "seconds": self.seconds,
        }))?;
        if options.output == Path::new("-") {
            eprintln!("{text}");
        } else {
            outln!("{text}");
        }
        Ok(())
    }
}

/// Where the signed zone goes; not over what is read, nor among the keys.
fn target(options: &Options) -> Result<PathBuf> {
    if options.output == Path::new("-") {
        return Ok(options.output.clone());
    }
    let protected = Protected::new()
        .inputs([&options.zone_file])
        .inputs(&options.skr)
        .inputs(&options.trust_anchor)
        .inputs(&options.policy_file)
        .key_folder(&options.key_directory);
    Ok(protected.target(&options.output)?)
}

/// Writes beside the target and renames, so that a reader never sees half a zone.
fn write(target: &Path, fill: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Result<()> {
    if target == Path::new("-") {
        let mut out = BufWriter::new(std::io::stdout().lock());
        fill(&mut out)?;
        return Ok(out.flush()?);
    }
    let failed = || format!("cannot write {}", target.display());
    let dir = match target.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut temp = tempfile::NamedTempFile::new_in(dir).with_context(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, temp.as_file_mut());
    fill(&mut out).and_then(|()| out.flush()).with_context(failed)?;
    drop(out);
    use std::os::unix::fs::PermissionsExt as _;
    temp.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(failed)?;
    temp.persist(target).map_err(|e| e.error).with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// The options alone, as a command line.
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn kind_11_output_over_an_include_of_the_zone_or_of_the_policy_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let zone = "$TTL 300\n@ SOA ns h 1 2 3 4 5\n@ NS ns\n$INCLUDE part\n";
        for (name, text) in [
            ("zone", zone),
            ("part", "ns A 192.0.2.1\n$INCLUDE deep\n"),
            ("deep", "www A 192.0.2.2\n"),
            ("conf", "include \"policies\";"),
            (
                "policies",
                "dnssec-policy p { keys { ksk lifetime 0 algorithm 13; zsk lifetime 0 algorithm 13; }; };",
            ),
        ] {
            std::fs::write(path(name), text).unwrap();
        }
        for name in ["part", "deep", "policies", "zone", "conf"] {
            let before = std::fs::read(path(name)).unwrap();
            let args =
                ["x", "--zone", "example.test", "--skr", "skr", "--trust-anchor", "anchor", "--policy", "p"];
            let mut line: Vec<std::ffi::OsString> = args.iter().map(Into::into).collect();
            for (option, value) in
                [("--key-directory", "keys"), ("--policy-file", "conf"), ("--output", name)]
            {
                line.extend([option.into(), path(value).into()]);
            }
            line.push(path("zone").into());
            let options = Line::try_parse_from(line).unwrap().options;
            let error = run(&options).unwrap_err().to_string();
            assert!(error.contains("which this run reads"), "{name}: {error}");
            assert_eq!(std::fs::read(path(name)).unwrap(), before, "{name}");
        }
    }
}
