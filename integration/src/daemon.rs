//! What `offline-ksk serve` and `offline-ksk requests` have in common at their start.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::Config;
use keystore::durable;
use keystore::time::Timestamp;
use metrics::Metrics;
use skr_loader::preflight::{self, Daemon};
use skr_loader::service::ConfigurationState;

/// Reads the configuration, and prints every finding in it and on this host. The exit code is 1 when there is an error.
pub fn check_config(path: &Path, daemon: Daemon) -> Result<ExitCode> {
    let config = Config::load(path)?;
    let mut out = Vec::new();
    let good = preflight::report(&config, daemon, path, &mut out)?;
    out!("{}", String::from_utf8_lossy(&out));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the state folder, and those key folders in it that are missing: on a new host nobody has put a key there yet.
pub(crate) fn make_folders(config: &Config) -> Result<()> {
    durable::create_dir_durable(&config.state_dir, 0o755)
        .with_context(|| format!("cannot make the state folder {}", config.state_dir.display()))?;
    for zone in &config.zones {
        let dir = &zone.key_directory;
        if !dir.exists() && dir.starts_with(&config.state_dir) {
            durable::create_dir_durable(dir, 0o700)
                .with_context(|| format!("cannot make the key folder {}", dir.display()))?;
        }
    }
    Ok(())
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
