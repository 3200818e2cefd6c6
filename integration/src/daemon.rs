//! What `offline-ksk serve` and `offline-ksk requests` have in common at their start.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::{Config, ZoneConfig};
use keystore::dns::{Name, Rtype};
use keystore::durable;
use keystore::open;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::health::routes::Pages;
use metrics::health::watch::Newest;
use metrics::http::{self, Endpoint, Guard, RunningEndpoint as HttpServing};
use signer_plugin::zonefile;
use skr_loader::preflight::{self, HostTask};
use skr_loader::service::ConfigurationState;

use crate::probe::expire::ExpireRule;
use crate::probe::finding::in_words;
use crate::probe::soa::Soa;

/// Reads the configuration, and prints every finding in it and on this host. The exit code is 1 when there is an error.
pub fn check_config(path: &Path, work: &[HostTask]) -> Result<ExitCode> {
    let config = Config::load(path)?;
    if work.contains(&HostTask::ServeZones) {
        let warnings = config.zones.iter().filter_map(|zone| soa_expire_warning(zone));
        warnings.for_each(|warning| outln!("warning: {warning}"));
    }
    let mut out = Vec::new();
    let good = preflight::report(&config, work, path, &mut out)?;
    out!("{}", String::from_utf8_lossy(&out));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with SOA expire of a zone that is served from a file: a secondary that is cut off must expire the zone before its
/// first signature expires. A file that does not read is told of elsewhere.
fn soa_expire_warning(zone: &ZoneConfig) -> Option<String> {
    if !zone.is_signed_here() {
        return None;
    }
    let (mut soa, mut ttl) = (None, 0);
    let read = zonefile::read(zone.file.as_ref()?, &zone.name, &mut |record| {
        ttl = ttl.max(record.ttl);
        if record.rtype == Rtype::SOA && Name::from_wire(record.owner).is_ok_and(|owner| owner == zone.name) {
            soa = Soa::from_rdata(record.rdata);
        }
        Ok(())
    });
    read.ok()?;
    let (expire, refresh) = (u64::from(soa?.expire), u64::from(zone.policy.signatures_refresh));
    let rule = ExpireRule { remaining: refresh, expire, ttl: ttl.into() };
    let fault = rule.check().err()?;
    Some(format!(
        "zone {}: SOA expire is {}, but signatures are renewed {} before they end: a secondary that is cut off serves expired \
         signatures for {}, and caches behind it longer; set expire to at most {}, or signatures-refresh to at least {}",
        zone.name,
        in_words(expire),
        in_words(refresh),
        in_words(fault.served_expired),
        in_words(fault.allowed),
        in_words(fault.needed),
    ))
}

/// Makes the state folder, and those key folders in it that are missing: on a new host nobody has put a key there yet.
pub(crate) fn make_folders(config: &Config) -> Result<()> {
    durable::create_dir_durable(&config.state_dir, 0o755)
        .with_context(|| format!("cannot make the state folder {}", config.state_dir.display()))?;
    // Of the signer alone: in a state folder that other users write into too, one of them may have put a link there.
    let zones = config.state_dir.join("zones");
    if zones.symlink_metadata().is_ok() {
        open::own_folder(&zones).with_context(|| zones.display().to_string())?;
    }
    for zone in &config.zones {
        let dir = &zone.key_directory;
        if !dir.exists() && dir.starts_with(&config.state_dir) {
            durable::create_dir_durable(dir, 0o700)
                .with_context(|| format!("cannot make the key folder {}", dir.display()))?;
        }
    }
    Ok(())
}

/// Serves the metrics and the pages of the health, where the configuration has an address for that.
pub(crate) fn serve_http(
    config: &Config,
    newest: Newest,
    metrics: Metrics,
    guard: Option<Guard>,
) -> Result<Option<HttpServing>> {
    let pages = Pages::new(newest);
    let endpoint = Endpoint::new(metrics, || clock::now().secs(), move |request| pages.answer(request));
    let listen = config.metrics.as_ref().map(|metrics| metrics.listen).zip(guard);
    Ok(listen.map(|(address, guard)| http::serve(address, endpoint, guard)).transpose()?)
}

/// Makes the metrics with the series of the process; its parts make their own.
pub(crate) fn metrics_of(component: &str) -> Result<Metrics> {
    let metrics = Metrics::new().context("the metric families do not register")?;
    metrics.add_process();
    let labels = [component, env!("CARGO_PKG_VERSION"), option_env!("OFFLINE_KSK_REVISION").unwrap_or("")];
    metrics.build_info.with_label_values(&labels).set(1);
    set_configuration(&metrics, ConfigurationState::Taken);
    Ok(metrics)
}

/// Writes to the metrics whether the configuration was taken.
pub(crate) fn set_configuration(metrics: &Metrics, state: ConfigurationState) {
    let taken = state == ConfigurationState::Taken;
    metrics.config_last_reload_successful.set(i64::from(taken));
    if taken {
        metrics.config_last_reload_success_timestamp_seconds.set(seconds(clock::now()));
    }
}

fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soa_expire_that_outlives_the_signatures_is_warned_of_with_numbers_that_would_do() {
        let dir = tempfile::tempdir().expect("a folder");
        let zone = |expire: u32| {
            let file = dir.path().join("zone");
            let text = format!("$TTL 86400\n@ SOA ns h 1 3600 600 {expire} 300\n@ NS ns\nns A 192.0.2.1\n");
            std::fs::write(&file, text).expect("write");
            let text = format!(
                "version = 1\nstate-dir = \"s\"\n[[zone]]\nname = \"example.\"\npolicy = \"p\"\nfile = \"{}\"\n\
                 trust-anchors = [\"example. DS 1 13 2 {}\"]\n[policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, \
                 {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n",
                file.display(),
                "0123456789ABCDEF".repeat(4)
            );
            let config =
                Config::parse(text.as_bytes(), Path::new("c.toml")).unwrap_or_else(|e| panic!("{e}"));
            soa_expire_warning(&config.zones[0])
        };
        // BIND's default refresh is 5 days, and the TTL a day.
        assert_eq!(zone(4 * 86_400), None);
        assert!(zone(4 * 86_400 + 1).is_some());
        let said = zone(14 * 86_400).expect("a warning");
        for words in ["is 14 days", "renewed 5 days", "for 9 days", "at most 4 days", "at least 15 days"] {
            assert!(said.contains(words), "{said}");
        }
    }
}
