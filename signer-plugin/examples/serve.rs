//! Serves the zones of a configuration, signed by offline-ksk, beside a zone of its own: `serve /etc/offline-ksk/offline-ksk.toml '[::1]:5300'`
use std::net::Ipv4Addr;
use std::{path::Path, sync::Arc};

use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use keystore::config::Config;
use offline_ksk_signer::border::SignerHandler;
use offline_ksk_signer::runtime::Signer;
use offline_ksk_signer::server::{Listen, Server};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (config, address) =
        (std::env::args().nth(1).ok_or("configuration?")?, std::env::args().nth(2).ok_or("address?")?);
    // The zones of the configuration: signed now, and again whenever that is due.
    let config = Config::load(Path::new(&config))?;
    let signer = Signer::start(&config, &metrics::Metrics::new()?, Arc::new(keystore::clock::now))?;
    // A zone of your own, by any of hickory's zone handlers.
    let apex = Name::from_ascii("own.test.")?;
    let mut own = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
        apex.clone(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
        None,
    );
    let (www, www_address) = (Name::from_ascii("www.own.test.")?, Ipv4Addr::new(192, 0, 2, 80));
    own.upsert_mut(Record::from_rdata(www, 300, RData::A(www_address.into())), 0);
    let mut catalog = Catalog::new();
    catalog.upsert(apex.into(), vec![Arc::new(own)]);
    // Names of our zones are answered by the signer's engine, all others by the catalog.
    let handler = SignerHandler::new(signer.hosted(), catalog);
    let server = Server::start(&Listen::on(vec![address.parse()?]), &handler)?;
    println!("serving on {:?}; SIGTERM and SIGINT end it", server.addresses());
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! { _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
    server.shutdown().await;
    Ok(())
}
