//! What runs while this host is not the active one: the HTTP endpoint, and a DNS server that refuses every query.

use std::path::Path;

use anyhow::{Context as _, Result};
use keystore::config::Config;
use metrics::health::watch::{HealthWatch, Watched};
use metrics::http::{Guard, RunningEndpoint as HttpServing};
use signer_plugin::border::SignerHandler;
use signer_plugin::border::server::{Listen, Server as DnsServer};
use signer_plugin::hosted::Hosted;
use skr_loader::service;
use skr_loader::watching::AUDIT;

use super::keeper::PairStanding;
use crate::daemon::{make_folders, metrics_of, serve_http};

/// The parts of a standby.
pub struct Standby {
    runtime: tokio::runtime::Runtime,
    dns: Option<DnsServer>,
    endpoint: Option<HttpServing>,
    health: HealthWatch,
}

impl Standby {
    /// Starts them; from now on the pair may make this host active.
    pub fn start(path: &Path, config: &Config, standing: &PairStanding) -> Result<Self> {
        let guard = config.metrics.as_ref().map(Guard::load).transpose()?;
        let metrics = metrics_of("serve")?;
        service::fit_metrics(config, &metrics);
        make_folders(config)?;
        standing.set_config(config);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let dns = match &config.signer {
            Some(signer) => {
                let handler = SignerHandler::alone(Hosted::default());
                let listen = Listen::on(signer.listen.clone()).with_metrics(&metrics);
                Some(runtime.block_on(async { DnsServer::start(&listen, &handler) })?)
            }
            None => None,
        };
        let watched = Watched {
            host: config.into(),
            config_file: path.to_owned(),
            audit: AUDIT,
            metrics: metrics.clone(),
            guard: guard.clone(),
            revisions: vec![standing.revision()],
        };
        let (reported, of_pair) = (metrics.clone(), standing.clone());
        let health = HealthWatch::start(watched, move |now| vec![of_pair.report(now, &reported)])
            .context("cannot start the watch of the health")?;
        let endpoint = serve_http(config, health.newest(), metrics, guard)?;
        for address in dns.iter().flat_map(|dns| dns.addresses()) {
            tracing::info!(%address, "standby: queries are refused");
        }
        standing.set_idle();
        Ok(Self { runtime, dns, endpoint, health })
    }

    /// Ends them.
    pub fn stop(mut self) {
        self.health.begin_stop();
        if let Some(dns) = self.dns.take() {
            self.runtime.block_on(dns.shutdown());
        }
        drop(self.endpoint.take());
        self.health.stop();
        self.runtime.shutdown_background();
    }
}
