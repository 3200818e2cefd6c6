//! The network as the watch of the parents sees it: a validating resolver finds who is asked and told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keystore::dns::{Name, Rtype};

use super::dsync::{self, Dsync, Receiver};
use super::servers::{self, Serves};
use super::telling::{Network, NotifyError};
use super::wish::Wish;
use crate::ask::{AskError, Asker, Rcode};

/// How long the look-ups of one step may take.
const LOOKUP: Duration = Duration::from_secs(10);
/// How long one look at all servers may take.
const LOOK: Duration = Duration::from_secs(5);
/// How long one address of a receiver may take over UDP and TCP.
const NOTIFY: Duration = Duration::from_secs(5);
/// Most addresses of a receiver that are tried.
const MAX_ADDRESSES: usize = 4;

/// Asks a resolver, and the servers of a zone.
#[derive(Debug)]
pub struct ResolverNetwork {
    resolver: Asker,
    servers: Vec<SocketAddr>,
}

impl ResolverNetwork {
    /// `servers` are those of every zone; they are found through `resolver` where there are none.
    pub const fn new(resolver: SocketAddr, servers: Vec<SocketAddr>) -> Self {
        Self { resolver: Asker::of_resolver(resolver), servers }
    }

    /// The DS records of a zone, where the resolver has validated them; `None` where it has not, or gives no answer.
    pub fn ds(&self, zone: &Name) -> Option<Vec<Vec<u8>>> {
        let answer = self.resolver.ask(zone, Rtype::DS, Instant::now() + LOOKUP).ok()?;
        answer.authentic.then(|| answer.rrset.canonical_rdatas())
    }
}

impl Network for ResolverNetwork {
    fn servers(&self, zone: &Name) -> Result<Vec<SocketAddr>, AskError> {
        if self.servers.is_empty() {
            return servers::of_zone(&self.resolver, zone, Instant::now() + LOOKUP);
        }
        Ok(self.servers.clone())
    }

    fn look(&self, servers: &[SocketAddr], zone: &Name, wish: &Wish) -> Vec<Serves> {
        servers::look(servers, zone, wish, Instant::now() + LOOK)
    }

    fn dsync(&self, zone: &Name) -> Result<Dsync, AskError> {
        dsync::discover(&self.resolver, zone, Instant::now() + LOOKUP)
    }

    fn notify(&self, receiver: &Receiver, zone: &Name) -> Result<Rcode, NotifyError> {
        let found = servers::addresses(&self.resolver, &receiver.target, Instant::now() + LOOKUP);
        let found =
            found.map_err(|source| NotifyError::Address { target: receiver.target.clone(), source })?;
        let mut last = Err(NotifyError::NoAddress(receiver.target.clone()));
        for ip in found.into_iter().take(MAX_ADDRESSES) {
            let asker = Asker::new(SocketAddr::new(ip, receiver.port), None);
            match asker.notify_cds(zone, Instant::now() + NOTIFY) {
                Ok(rcode) => return Ok(rcode),
                Err(error) => last = Err(error.into()),
            }
        }
        last
    }
}
