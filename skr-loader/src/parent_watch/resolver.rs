//! The network as the watch of the parents sees it: a validating resolver finds who is asked and told.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use keystore::config::ParentConfig;
use keystore::dns::{Name, Rtype};
use keystore::keys::Dnskey;

use super::ds::DsView;
use super::dsync::{self, Dsync, Receiver};
use super::hooks::DsNetwork;
use super::servers::{self, Servers, Serves};
use super::telling::{NotifyError, ParentNetwork};
use super::wish::Wish;
use crate::ask::{AskError, Asker, Rcode};

/// How long the look-ups of one step may take.
const LOOKUP: Duration = Duration::from_secs(10);
/// How long one look at all servers may take.
const LOOK: Duration = Duration::from_secs(5);
/// How long one address of a receiver may take over UDP and TCP.
const NOTIFY: Duration = Duration::from_secs(5);
/// Most addresses of a receiver that are tried, of those that this host has a way to.
const MAX_ADDRESSES: usize = 4;

/// Asks a resolver, and the servers of a zone.
#[derive(Debug)]
pub struct ResolverNetwork {
    resolver: Asker,
    servers: Vec<SocketAddr>,
    parent_servers: Vec<SocketAddr>,
}

impl ResolverNetwork {
    /// Servers that the configuration does not name are found through `resolver`.
    pub fn new(resolver: SocketAddr, config: &ParentConfig) -> Self {
        Self {
            resolver: Asker::of_resolver(resolver),
            servers: config.servers.clone(),
            parent_servers: config.parent_servers.clone(),
        }
    }

    fn addresses(&self, receiver: &Receiver) -> Result<Vec<IpAddr>, NotifyError> {
        let found = servers::addresses(&self.resolver, &receiver.target, Instant::now() + LOOKUP);
        found.map_err(|source| NotifyError::Address { target: receiver.target.clone(), source })
    }
}

impl ParentNetwork for ResolverNetwork {
    fn is_granted(&self, zone: &Name, wish: &Wish) -> Result<bool, AskError> {
        let answer = self.resolver.ask(zone, Rtype::DS, Instant::now() + LOOKUP)?;
        Ok(answer.authentic && wish.is_granted(zone, &answer.rrset.canonical_rdatas()))
    }

    fn servers(&self, zone: &Name) -> Result<Servers, AskError> {
        if self.servers.is_empty() {
            return servers::of_zone(&self.resolver, zone, Instant::now() + LOOKUP);
        }
        Ok(Servers { addresses: self.servers.clone(), unfound: None })
    }

    fn look(&self, servers: &[SocketAddr], zone: &Name, wish: &Wish) -> Vec<Serves> {
        servers::look(servers, zone, wish, &[], Instant::now() + LOOK)
    }

    fn dsync(&self, zone: &Name) -> Result<Dsync, AskError> {
        dsync::discover(&self.resolver, zone, Instant::now() + LOOKUP)
    }

    fn notify(&self, receiver: &Receiver, zone: &Name) -> Result<Rcode, NotifyError> {
        let mut last = NotifyError::NoAddress(receiver.target.clone());
        let mut tried = 0;
        for ip in
            self.addresses(receiver)?.into_iter().filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
        {
            let asker = Asker::new(SocketAddr::new(ip, receiver.port), None);
            match asker.notify_cds(zone, Instant::now() + NOTIFY) {
                Ok(rcode) => return Ok(rcode),
                // One of another family may do.
                Err(error @ AskError::NoWay { .. }) => last = error.into(),
                Err(error) => {
                    last = error.into();
                    tried += 1;
                }
            }
            if tried == MAX_ADDRESSES {
                break;
            }
        }
        Err(last)
    }

    fn prepare(&self, zone: &Name) {
        // What comes of it is asked for again when it counts; an error may have passed by then.
        let _ = self.servers(zone);
        if let Ok(Dsync::Receiver(receiver)) = self.dsync(zone) {
            let _ = self.addresses(&receiver);
        }
    }
}

impl DsNetwork for ResolverNetwork {
    fn ds_view(&self, zone: &Name) -> DsView {
        DsView::gather(&self.resolver, &self.parent_servers, zone, Instant::now() + LOOKUP)
    }

    fn public_servers(&self, zone: &Name) -> Result<Servers, AskError> {
        self.servers(zone)
    }

    fn look_at_keys(&self, servers: &[SocketAddr], zone: &Name, wish: &Wish, keys: &[Dnskey]) -> Vec<Serves> {
        servers::look(servers, zone, wish, keys, Instant::now() + LOOK)
    }
}
