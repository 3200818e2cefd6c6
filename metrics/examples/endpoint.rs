//! Serves `/metrics` with the series of one zone, until a line is read from standard input.

use std::time::{SystemTime, UNIX_EPOCH};

use keystore::config::MetricsConfig;
use offline_ksk_metrics::Metrics;
use offline_ksk_metrics::http::{self, Endpoint, Guard};
use offline_ksk_metrics::zones::ReportingPart;

#[allow(clippy::disallowed_methods, reason = "an example outside of the workspace has a clock of its own")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Metrics::new()?;
    metrics.add_zone("example.org.", ReportingPart::Loader);
    metrics.skr_generation.with_label_values(&["example.org."]).set(1);
    let listen = "127.0.0.1:0".parse()?;
    let guard = Guard::load(&MetricsConfig::at(listen))?;
    let serving = http::serve(listen, Endpoint::new(metrics, now, |_| None), guard)?;
    println!("http://{}/metrics", serving.address());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
