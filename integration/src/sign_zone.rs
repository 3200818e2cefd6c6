//! `offline-ksk sign-zone`: one zone file in, one signed zone file out.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use keystore::dns::{Name, nsec3};
use keystore::exchange::{VerifyContext, bind, format, parse_trust_anchors, verify};
use keystore::output::Protected;
use keystore::policy::{self, Policy};
use keystore::time::{Timestamp, syntax};
use keystore::{clock, crypto};
use signer_plugin::rules::ZoneRules;
use signer_plugin::runtime::Keyring;
use signer_plugin::signing::{Denial, Nsec3, SigningPolicy, SigningTimes, sign};
use signer_plugin::zone::Zone;
use skr_loader::files::{self, Named};

/// What to sign, and with what.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The zone
    #[arg(long, value_name = "NAME")]
    zone: Name,
    /// The SKR, in any form; every check of `skr-loader check` must hold
    #[arg(long, value_name = "FILE")]
    skr: PathBuf,
    /// DS or DNSKEY records of the KSK
    #[arg(long, value_name = "FILE")]
    trust_anchor: PathBuf,
    /// Folder of the ZSKs (BIND's K*.key, .private, .state)
    #[arg(long, value_name = "DIR")]
    key_directory: PathBuf,
    /// named.conf or TOML with the policy that gives the signature times (BIND's defaults without)
    #[arg(long, value_name = "FILE", requires = "policy")]
    policy_file: Option<PathBuf>,
    /// Name of the policy
    #[arg(long, value_name = "NAME", requires = "policy_file")]
    policy: Option<String>,
    #[command(flatten)]
    denial: DenialOptions,
    /// Add a digest of the zone (ZONEMD, SHA-384, RFC 8976)
    #[arg(long)]
    zonemd: bool,
    /// SOA serial to write instead of the one in the zone file
    #[arg(long, value_name = "N")]
    serial: Option<u32>,
    /// Sign as of this time instead of now (YYYYMMDDHHMMSS, now+1d, …)
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// Where the signed zone goes; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The unsigned zone
    zone_file: PathBuf,
}

/// How the zone proves that something does not exist; without these as the policy says.
#[derive(Debug, clap::Args)]
struct DenialOptions {
    /// NSEC3, whatever the policy says; without the options below with 0 iterations and no salt, as RFC 9276 wants it
    #[arg(long)]
    nsec3: bool,
    /// Leave delegations without DS out of the NSEC3 chain
    #[arg(long, requires = "nsec3")]
    opt_out: bool,
    /// Additional iterations of the NSEC3 hash, 0 to 50
    #[arg(long, value_name = "N", requires = "nsec3", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(..=i64::from(nsec3::MAX_ITERATIONS)))]
    iterations: u16,
    /// NSEC3 salt, at most 255 octets in hexadecimal; `-` for none
    #[arg(long, value_name = "HEX", requires = "nsec3", default_value = "-", value_parser = parse_salt)]
    salt: Salt,
}

#[derive(Debug, Clone)]
struct Salt(Box<[u8]>);

fn parse_salt(text: &str) -> Result<Salt> {
    let text = if text == "-" { "" } else { text };
    let octets = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).context("not hexadecimal")?;
    if octets.len() > 255 {
        bail!("longer than 255 octets");
    }
    Ok(Salt(octets.into()))
}

impl DenialOptions {
    /// As the options say; without `--nsec3` as the policy says, with a salt of its own.
    fn denial(&self, policy: &Policy) -> Result<Denial> {
        if self.nsec3 {
            if self.iterations > 0 {
                eprintln!("offline-ksk: warning: NSEC3 iterations should be 0 (RFC 9276 section 3.1)");
            }
            let nsec3 = Nsec3::new(self.iterations, self.opt_out);
            return Ok(Denial::Nsec3(nsec3.with_salt(self.salt.0.clone())));
        }
        let Some(param) = policy.nsec3 else { return Ok(Denial::Nsec) };
        let mut salt = vec![0; usize::from(param.salt_length)];
        crypto::random(&mut salt)?;
        let nsec3 = Nsec3::new(param.iterations, param.opt_out);
        Ok(Denial::Nsec3(nsec3.with_salt(salt.into())))
    }
}

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
        _ => Policy::with_defaults("default"),
    };
    let zone = Arc::new(Zone::load(&options.zone_file, &options.zone, ZoneRules::default())?);
    // Known only now: what the zone file and the policy file include.
    if options.output != Path::new("-") {
        protected.inputs(&zone.files().paths).target(&options.output)?;
    }
    let warnings = zone.warnings();
    for warning in &warnings.texts {
        eprintln!("offline-ksk: warning: {warning}");
    }
    if warnings.total > warnings.texts.len() {
        eprintln!("offline-ksk: warning: and {} more", warnings.total - warnings.texts.len());
    }
    let skr = accepted(&options.skr, &options.trust_anchor, &options.zone, now)?;
    let bundle = skr.bundle_at(now).with_context(|| {
        let next = skr.next_switch(now).map_or_else(String::new, |t| format!("; the first begins at {t}"));
        format!("{}: no bundle is in force at {now}{next}", options.skr.display())
    })?;
    let mut keyring = Keyring::new(options.zone.clone(), options.key_directory.clone());
    keyring.poll(now);
    let keys = keyring.active(bundle, now);
    if let Some(cause) = keyring.unreadable() {
        eprintln!("offline-ksk: warning: {cause}");
    }
    let times = SigningTimes {
        validity: policy.signatures_validity,
        refresh: policy.signatures_refresh,
        jitter: policy.signatures_jitter,
    };
    let serial = options.serial.unwrap_or_else(|| zone.serial());
    let signing = SigningPolicy { times, denial: options.denial.denial(&policy)?, zonemd: options.zonemd };
    let signed = sign(&zone, bundle, &keys, &signing, serial, None, now)?;
    signed.self_check(now, 64).context("the signed zone fails its own check; nothing is written")?;
    write(&target, |out| signed.write_to(out))?;
    if std::io::stderr().is_terminal() {
        eprintln!(
            "{}: serial {serial}, {} ZSKs, signatures until {}, {:.2} s",
            options.zone,
            keys.len(),
            signed.earliest_zsk_expiration().iso(),
            start.elapsed().as_secs_f64()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn accepted(
    skr: &Path,
    anchor: &Path,
    zone: &Name,
    now: Timestamp,
) -> Result<keystore::exchange::VerifiedSkr> {
    let read = |path: &Path, limit| {
        files::read(path, Named::ByOperator, limit).with_context(|| path.display().to_string())
    };
    let octets = read(skr, bind::MAX_OCTETS as u64)?.octets;
    let text = read(anchor, 1 << 20)?.octets;
    let text = String::from_utf8(text).with_context(|| format!("{}: not UTF-8", anchor.display()))?;
    let anchors = parse_trust_anchors(&text, zone).with_context(|| anchor.display().to_string())?;
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

/// Where the signed zone goes; not over what is read, nor among the keys.
fn target(options: &Options) -> Result<PathBuf> {
    if options.output == Path::new("-") {
        return Ok(options.output.clone());
    }
    let protected = Protected::new()
        .inputs([&options.zone_file, &options.skr, &options.trust_anchor])
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
