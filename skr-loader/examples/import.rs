//! A loader in a process of its own making: what is dropped into the inbox of the configuration is judged, and each outcome is printed.
//!
//! ```text
//! cargo run -p offline-ksk-skr-loader --example import -- /etc/offline-ksk/offline-ksk.toml
//! ```

use std::path::Path;

use keystore::clock;
use keystore::config::Config;
use metrics::Metrics;
use offline_ksk_skr_loader::Loader;
use offline_ksk_skr_loader::loader::ImportOutcome;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: import CONFIGURATION")?;
    let config = Config::load(Path::new(&path))?;
    let mut loader = Loader::new(config, Metrics::new()?)?;
    // `Loader::control` gives a handle that stops it from another thread.
    loader.run(clock::now, |import| match &import.outcome {
        ImportOutcome::Accepted { generation, .. } => println!("{}: generation {generation}", import.file),
        ImportOutcome::Unchanged { generation } => {
            println!("{}: in force already, as generation {generation}", import.file);
        }
        ImportOutcome::Rejected { findings } => {
            println!("{}: rejected", import.file);
            for finding in findings {
                println!("  {finding}");
            }
        }
        ImportOutcome::Failed { what } => println!("{}: not written, tried again: {what}", import.file),
    });
    Ok(())
}
