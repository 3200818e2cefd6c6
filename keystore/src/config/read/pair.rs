//! `[pair]`: two hosts, of which one is active.

use std::path::Path;

use crate::config::pair::PairConfig;
use crate::policy::table::Value;

/// Seconds of a lease: shorter ones would be lost to a busy disk, longer ones keep the other host waiting.
const DURATION: std::ops::RangeInclusive<u32> = 3..=3600;
/// Most seconds by which clocks may differ: NTP keeps them within less than one.
const MAX_MARGIN: u32 = 600;
/// Longest name of a host, in octets.
const MAX_HOST: usize = 64;

/// Reads the table; `state_dir` is that of the file, where it could be read.
pub(super) fn read(value: &Value<'_, '_>, state_dir: Option<&Path>) -> Option<PairConfig> {
    let mut table = value.table()?;
    let host = table.require("host", "\"a\"").and_then(|value| {
        let host = value.string()?;
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(is_good) {
            value.error(format!("must be a name of 1 to {MAX_HOST} letters, digits, '-', '_' and '.'"));
        }
        Some(host.to_owned())
    });
    let lease = table.require("lease-directory", "\"/mnt/shared/offline-ksk\"");
    let lease_directory = lease.as_ref().and_then(Value::path);
    if let (Some(value), Some(file), Some(state_dir)) = (&lease, &lease_directory, state_dir)
        && file.starts_with(state_dir)
    {
        value.error("lies in the state folder, which each host has for itself; put it on storage that both hosts share");
    }
    let mut seconds = |key, default: u32| {
        let value = table.get(key);
        let read = value.as_ref().and_then(Value::duration).unwrap_or(default);
        (read, value)
    };
    let (lease_duration, duration_value) = seconds("lease-duration", 60);
    if let Some(value) = duration_value.filter(|_| !DURATION.contains(&lease_duration)) {
        value.error(format!("must be from {} seconds to 1 hour", DURATION.start()));
    }
    let (renew, renew_value) = seconds("renew", lease_duration / 4);
    if let Some(value) = renew_value.filter(|_| renew == 0 || renew > lease_duration / 2) {
        value.error(
            "must be at least 1 second and at most half of lease-duration, so that one renewal may fail",
        );
    }
    let (clock_margin, margin_value) = seconds("clock-margin", 5);
    if let Some(value) = margin_value.filter(|_| clock_margin > MAX_MARGIN) {
        value.error(format!("must be at most {MAX_MARGIN} seconds"));
    }
    table.finish();
    Some(PairConfig { host: host?, lease_directory: lease_directory?, lease_duration, renew, clock_margin })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    /// A configuration with this table.
    fn read(pair: &str) -> Result<Config, String> {
        let text = format!(
            "version = 1\nstate-dir = \"/var/lib/x\"\n[signer]\nlisten = [\"127.0.0.1:53\"]\n[[zone]]\nname = \"a.test\"\npolicy = \"p\"\nfile = \"zone\"\n\
             trust-anchors = [\"a.test. DS 1 13 2 {}\"]\n[policy.p]\noffline-ksk = true\nkeys = [\
             {{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n[pair]\n{pair}\n",
            "0123456789ABCDEF".repeat(4)
        );
        Config::parse(text.as_bytes(), Path::new("/etc/c.toml")).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_pair_has_a_name_and_a_lease_and_defaults_for_the_rest() {
        let config = read("host = \"a\"\nlease-directory = \"/mnt/lease\"").expect("good");
        let pair = config.pair.as_ref().expect("a pair");
        assert_eq!((pair.lease_duration, pair.renew, pair.clock_margin), (60, 15, 5));
        assert_eq!(pair.host, "a");
        let other = "host = \"b.example\"\nlease-directory = \"lease\"\nlease-duration = \"2m\"";
        let config = read(other).expect("good");
        let pair = config.pair.as_ref().expect("a pair");
        assert_eq!((pair.lease_duration, pair.renew), (120, 30));
        assert_eq!(pair.lease_directory, Path::new("/etc/lease"));
    }

    #[test]
    fn each_setting_that_cannot_work_is_told() {
        let good = "host = \"a\"\nlease-directory = \"/mnt/lease\"\n";
        for (table, said) in [
            ("lease-directory = \"/mnt/lease\"", "host"),
            ("host = \"a\"", "lease-directory"),
            ("host = \"\"\nlease-directory = \"/mnt/lease\"", "letters, digits"),
            ("host = \"a b\"\nlease-directory = \"/mnt/lease\"", "letters, digits"),
            ("host = \"a\"\nlease-directory = \"/var/lib/x/lease\"", "state folder"),
            (&format!("{good}lease-duration = 2"), "from 3 seconds"),
            (&format!("{good}lease-duration = \"2h\""), "to 1 hour"),
            (&format!("{good}renew = 31"), "half of lease-duration"),
            (&format!("{good}renew = 0"), "half of lease-duration"),
            (&format!("{good}clock-margin = 601"), "at most 600"),
            (&format!("{good}partner = \"b\""), "partner"),
        ] {
            let error = read(table).expect_err(table);
            assert!(error.contains(said), "{table}: {error}");
        }
    }
}
