//! A server that signs and serves the zones of a configuration, with hickory's `Catalog` for all other names.
//!
//! ```text
//! cargo run -p offline-ksk-signer-plugin --example serve -- /etc/offline-ksk/offline-ksk.toml '[::1]:5300'
//! ```

use std::path::Path;
use std::sync::Arc;

use hickory_server::zone_handler::Catalog;
use keystore::config::Config;
use metrics::Metrics;
use offline_ksk_signer::border::SignerHandler;
use offline_ksk_signer::runtime::Signer;
use offline_ksk_signer::server::{Listen, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(config), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve CONFIGURATION ADDRESS:PORT".into());
    };
    let config = Config::load(Path::new(&config))?;
    let metrics = Metrics::new()?;
    let signer = Signer::start(&config, &metrics, Arc::new(keystore::clock::now))?;
    let handler = SignerHandler::new(signer.hosted(), Catalog::new()).settings(signer.settings());
    let listen = Listen::on(vec![address.parse()?]).with_metrics(&metrics);
    let server = Server::start(&listen, &handler)?;
    println!("serving on {:?}; SIGINT ends it", server.addresses());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
