//! The options of `sign-zone`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use keystore::crypto;
use keystore::dns::{Name, nsec3, ttl};
use keystore::policy::Policy;
use keystore::time::Timestamp;
use signer_plugin::signing::{Denial, Nsec3};

/// What to sign, and with what.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The zone
    #[arg(long, value_name = "NAME")]
    pub(super) zone: Name,
    /// The SKR, in any form; every check of `skr-loader check` must hold. Without it the zone file has DNSKEY, CDS and CDNSKEY with their signatures
    #[arg(long, value_name = "FILE", requires = "trust_anchor")]
    pub(super) skr: Option<PathBuf>,
    /// DS or DNSKEY records of the KSK; without an SKR the key set of the file may vouch for itself
    #[arg(long, value_name = "FILE")]
    pub(super) trust_anchor: Option<PathBuf>,
    /// Folder of the ZSKs (BIND's K*.key, .private, .state)
    #[arg(long, value_name = "DIR")]
    pub(super) key_directory: PathBuf,
    /// named.conf or TOML with the policy that gives the signature times and nsec3param (BIND's defaults without)
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(super) policy_file: Option<PathBuf>,
    /// Name of the policy
    #[arg(long, value_name = "NAME", requires = "policy_file")]
    pub(super) policy: Option<String>,
    /// Validity of new signatures, in place of the policy's (14d, 1209600, ...)
    #[arg(long, value_name = "TIME", value_parser = parse_period)]
    pub(super) validity: Option<u32>,
    /// Remaining validity at which a signature of the file of --previous is made anew, in place of the policy's
    #[arg(long, value_name = "TIME", value_parser = parse_period)]
    pub(super) refresh: Option<u32>,
    /// Spread of expirations, in place of the policy's
    #[arg(long, value_name = "TIME", value_parser = parse_period)]
    pub(super) jitter: Option<u32>,
    #[command(flatten)]
    pub(super) denial: DenialOptions,
    /// Add a digest of the zone (ZONEMD, SHA-384, RFC 8976)
    #[arg(long)]
    pub(super) zonemd: bool,
    /// A signed version of the zone whose signatures are kept while they are good
    #[arg(long, value_name = "SIGNED")]
    pub(super) previous: Option<PathBuf>,
    /// SOA serial: keep, increment, unixtime, date (YYYYMMDDnn), or the number to write
    #[arg(long, value_name = "RULE", default_value = "keep")]
    pub(super) serial: SerialRule,
    /// Warn of records with a greater TTL
    #[arg(long, value_name = "TTL", value_parser = parse_period)]
    pub(super) max_ttl: Option<u32>,
    /// Verify every signature before the file is written, not a sample
    #[arg(long)]
    pub(super) verify_all: bool,
    /// Sign as of this time instead of now (YYYYMMDDHHMMSS, now+1d, ...)
    #[arg(long, value_name = "TIME")]
    pub(super) now: Option<String>,
    /// Print a summary as a JSON object: names, RRsets, signatures made and kept, earliest expiration, seconds
    #[arg(long)]
    pub(super) json: bool,
    /// Where the signed zone goes; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The unsigned zone
    pub(super) zone_file: PathBuf,
}

/// How the zone proves that something does not exist; without these as the policy says.
#[derive(Debug, clap::Args)]
pub(super) struct DenialOptions {
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
    pub(super) fn denial(&self, policy: &Policy) -> Result<Denial> {
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

fn parse_period(text: &str) -> Result<u32> {
    ttl::parse(text.as_bytes()).context("not a period; write seconds, or numbers with w, d, h, m, s")
}

/// How the SOA serial is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SerialRule {
    Keep,
    Increment,
    UnixTime,
    Date,
    Number(u32),
}

impl FromStr for SerialRule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "keep" => Self::Keep,
            "increment" => Self::Increment,
            "unixtime" => Self::UnixTime,
            "date" => Self::Date,
            number => Self::Number(
                number
                    .parse()
                    .context("write keep, increment, unixtime, date, or a number below 4294967296")?,
            ),
        })
    }
}

impl SerialRule {
    /// The serial to write. `file` is that of the zone file, `previous` that of the signed version before: `increment` and `date` never
    /// give one that is not later than both (RFC 1982).
    pub(super) fn of(self, file: u32, previous: Option<u32>, now: Timestamp) -> u32 {
        let is_later = |a: u32, b: u32| a.wrapping_sub(b).cast_signed() > 0;
        let last = previous.filter(|previous| is_later(*previous, file)).unwrap_or(file);
        let at_least = |serial: u32| if is_later(serial, last) { serial } else { last.wrapping_add(1) };
        match self {
            Self::Keep => file,
            Self::Number(number) => number,
            Self::Increment => last.wrapping_add(1),
            Self::UnixTime => at_least(now.secs() as u32),
            Self::Date => {
                let digits: String = now.iso().chars().filter(char::is_ascii_digit).take(8).collect();
                at_least(digits.parse::<u32>().map_or(0, |day| day.wrapping_mul(100)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_follow_their_rule_and_never_go_back() {
        let now = Timestamp::from_secs(1_800_000_000);
        for (rule, file, previous, want) in [
            ("keep", 7, Some(9), 7),
            ("12", 7, Some(99), 12),
            ("increment", 7, None, 8),
            ("increment", 7, Some(9), 10),
            ("increment", 9, Some(7), 10),
            ("increment", u32::MAX, None, 0),
            ("unixtime", 7, None, 1_800_000_000),
            ("unixtime", 1_900_000_000, None, 1_900_000_001),
            ("date", 7, None, 2_027_011_500),
            ("date", 2_027_011_500, Some(2_027_011_507), 2_027_011_508),
            ("date", 2_027_010_100, Some(2_027_011_499), 2_027_011_500),
        ] {
            let parsed: SerialRule = rule.parse().expect(rule);
            assert_eq!(parsed.of(file, previous, now), want, "{rule} {file} {previous:?}");
        }
        for wrong in ["", "-1", "4294967296", "Keep", "dates"] {
            wrong.parse::<SerialRule>().expect_err(wrong);
        }
    }
}
