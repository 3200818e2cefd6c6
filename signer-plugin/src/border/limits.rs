//! How many connections may be open, of whom, and for how long: worked out from the number of files that the process may open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What clients may take up over TCP. The limits are those of a [`super::server::Server`], over all its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpLimits {
    /// Connections open at once; more are closed as they come.
    pub connections: usize,
    /// Connections open at once from one network: an IPv4 /24 or an IPv6 /56, which is what one customer of a provider has.
    pub per_network: usize,
    /// Connections open at once from one address.
    pub per_client: usize,
    /// Time from an answer to the first octet of the next query, and for answers to be taken. A quarter of it when more than half of the
    /// connections are in use. A query must be whole 2 seconds after its first octet, or after this time where it is shorter.
    pub idle_timeout: Duration,
}

/// RFC 7766 section 6.2.3 wants an idle time of a few seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest query that is read, in octets, over UDP and TCP. No resolver sends a larger one, and each open connection may hold one.
pub(super) const MAX_QUERY: usize = 4096;
/// Time for a query to be whole, from its first octet on, so that one octet now and then does not keep a connection open.
pub(super) const QUERY_TIME: Duration = Duration::from_secs(2);
/// Time for a handshake of TLS, HTTP/2 or QUIC.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time for the last message of an encrypted connection, which says that it ends.
pub(super) const CLOSING: Duration = Duration::from_secs(1);
/// Queries of a connection of DNS over HTTPS or QUIC that get no answer, by the client's fault, before it is ended: who asks nothing that can be
/// answered keeps no place.
#[cfg(any(feature = "https", feature = "quic"))]
pub(super) const MOST_IN_VAIN: usize = 16;
/// More connections than this are of no use to resolvers, and each takes memory.
const MOST_CONNECTIONS: u64 = 10_000;
/// Files that the process itself needs at least: zone and key files, the store, sockets, the control socket, HTTP.
const LEAST_RESERVE: u64 = 64;

impl TcpLimits {
    /// Limits for a process that may open `files` files at once. A quarter of them, and at least 64, stays free for the process's own
    /// files; one network gets a quarter of the connections, one address an eighth.
    #[must_use]
    pub fn for_open_files(files: u64) -> Self {
        let reserve = (files / 4).max(LEAST_RESERVE);
        let connections = files.saturating_sub(reserve).clamp(1, MOST_CONNECTIONS) as usize;
        Self::new(connections)
    }

    /// Limits with this number of connections, and the usual shares of it.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        let share = |part: usize| (connections / part).max(1);
        Self { connections, per_network: share(4), per_client: share(8), idle_timeout: IDLE_TIMEOUT }
    }

    /// The limits of TLS handshakes under way, which are connections that are not yet anybody's: each network and each client has a share of
    /// them, so that others always find a place.
    pub(super) fn of_handshakes(self) -> Self {
        Self { idle_timeout: self.idle_timeout, ..Self::new((self.connections / 4).max(1)) }
    }

    /// The limits of encrypted connections, handshakes under way included: each takes several times the memory of another one, and those that
    /// are not encrypted always find a place.
    pub(super) fn of_encrypted(self) -> Self {
        Self { idle_timeout: self.idle_timeout, ..Self::new((self.connections / 2).max(1)) }
    }

    /// The limits of transfers under way, which are connections at work: what each takes of memory is some tens of kilobytes, besides the
    /// messages that they share, which all together take eight megabytes at most, and of the line as much as there is.
    pub(super) fn of_transfers(self) -> Self {
        const TRANSFERS: usize = 64;
        const OF_NETWORK: usize = 16;
        Self {
            connections: self.connections.min(TRANSFERS),
            per_network: self.per_network.min(OF_NETWORK),
            per_client: self.per_client.min(OF_NETWORK),
            ..self
        }
    }

    /// Raises this process's limit of open files as far as it is allowed to (the hard limit of `RLIMIT_NOFILE`), and gives the limits
    /// that follow from it.
    #[must_use]
    pub fn of_this_process() -> Self {
        // What a system without a limit may do is far more than what is used here.
        const UNLIMITED: u64 = 1 << 20;
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = maximum.unwrap_or(UNLIMITED).min(UNLIMITED);
        let soft = current.unwrap_or(UNLIMITED);
        let raised =
            wanted > soft && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
        let limits = Self::for_open_files(if raised { wanted } else { soft });
        tracing::info!(
            open_files = if raised { wanted } else { soft },
            connections = limits.connections,
            "the number of TCP connections follows from the limit of open files"
        );
        limits
    }
}

/// Which limit a connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    Connections,
    Network,
    Client,
}

impl Exceeded {
    /// The value of the metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Network => "network",
            Self::Client => "client",
        }
    }
}

/// Octets of answers that a connection may keep until its client takes them, on average over all connections that may be open.
const UNSENT_OF_CONNECTION: usize = 8192;
/// Octets of answers that all connections together may keep at least.
const LEAST_UNSENT: usize = 1 << 20;

/// Counts the open connections by client and by network. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimiter {
    limits: TcpLimits,
    open: Arc<Mutex<OpenConnections>>,
    /// Octets of answers that clients have not taken yet.
    unsent: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_network: HashMap<IpAddr, usize>,
    by_client: HashMap<IpAddr, usize>,
}

impl ConnectionLimiter {
    pub fn new(limits: TcpLimits) -> Self {
        Self { limits, open: Arc::default(), unsent: Arc::default() }
    }

    /// Counts a connection in, if the limits allow it.
    pub fn admit(&self, client: IpAddr) -> Result<ConnectionPermit, Exceeded> {
        let client = client.to_canonical();
        let network = network_of(client);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |counts: &HashMap<IpAddr, usize>, key| counts.get(key).copied().unwrap_or(0);
        if open.total >= self.limits.connections {
            return Err(Exceeded::Connections);
        }
        if count(&open.by_network, &network) >= self.limits.per_network {
            return Err(Exceeded::Network);
        }
        if count(&open.by_client, &client) >= self.limits.per_client {
            return Err(Exceeded::Client);
        }
        open.total += 1;
        *open.by_network.entry(network).or_default() += 1;
        *open.by_client.entry(client).or_default() += 1;
        Ok(ConnectionPermit { limiter: self.clone(), client })
    }

    /// The idle time that a connection gets now.
    pub fn idle_timeout(&self) -> Duration {
        let total = self.open.lock().unwrap_or_else(PoisonError::into_inner).total;
        let crowded = total > self.limits.connections / 2;
        if crowded { self.limits.idle_timeout / 4 } else { self.limits.idle_timeout }
    }
}

/// The right of one connection to be open; given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limiter: ConnectionLimiter,
    client: IpAddr,
}

impl ConnectionPermit {
    pub fn idle_timeout(&self) -> Duration {
        self.limiter.idle_timeout()
    }

    /// The right to keep so many octets of answers until the client takes them; `None` where all connections together keep too many.
    pub fn keep_unsent(&self, octets: usize) -> Option<UnsentPermit> {
        let ConnectionLimiter { limits, unsent, .. } = &self.limiter;
        let most = limits.connections.saturating_mul(UNSENT_OF_CONNECTION).max(LEAST_UNSENT);
        let permit = UnsentPermit { unsent: Arc::clone(unsent), octets };
        let before = unsent.fetch_add(octets, Ordering::Relaxed);
        // The permit is given back where it is one too many.
        (octets == 0 || before + octets <= most).then_some(permit)
    }
}

/// The right to keep octets of answers; given back when dropped.
#[derive(Debug)]
pub(super) struct UnsentPermit {
    unsent: Arc<AtomicUsize>,
    octets: usize,
}

impl Drop for UnsentPermit {
    fn drop(&mut self) {
        self.unsent.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limiter.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        let OpenConnections { by_network, by_client, .. } = &mut *open;
        for (counts, key) in [(by_network, network_of(self.client)), (by_client, self.client)] {
            if let Some(count) = counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&key);
                }
            }
        }
    }
}

/// The address with the host's part set to zero: IPv4 /24, IPv6 /56.
fn network_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & (u32::MAX << 8)).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 72)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_05_connections_leave_files_for_the_process_whatever_the_limit_is() {
        for (files, connections) in [
            (1024, 768),
            (256, 192),
            (100, 36),
            (64, 1),
            (20, 1),
            (0, 1),
            (65_536, 10_000),
            (u64::MAX, 10_000),
        ] {
            let limits = TcpLimits::for_open_files(files);
            assert_eq!(limits.connections, connections, "{files}");
            assert!(
                limits.per_network <= limits.connections.div_ceil(4)
                    && limits.per_client <= limits.per_network
            );
            assert!(limits.per_client >= 1, "{files}: everyone may open one");
        }
    }

    #[test]
    fn kind_05_no_network_takes_more_than_its_share() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        // Sixteen connections: four of a network, two of an address.
        for (inside, outside) in [
            (["192.0.2.1", "192.0.2.2", "192.0.2.255"], "192.0.3.1"),
            (["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:ff:ff::1"], "2001:db8:0:100::1"),
            (["::ffff:192.0.2.1", "192.0.2.2", "::ffff:192.0.2.3"], "::ffff:198.51.100.1"),
        ] {
            let limiter = ConnectionLimiter::new(TcpLimits::new(16));
            let mut permits: Vec<ConnectionPermit> = Vec::new();
            for client in [inside[0], inside[0], inside[1], inside[1]] {
                permits.push(limiter.admit(address(client)).expect(client));
            }
            assert_eq!(limiter.admit(address(inside[2])).expect_err("share used up"), Exceeded::Network);
            permits.push(limiter.admit(address(outside)).expect("another network"));
            permits.push(limiter.admit(address(outside)).expect("another network"));
            assert_eq!(limiter.admit(address(outside)).expect_err("two of one address"), Exceeded::Client);
            // What is given back can be had again.
            permits.remove(0);
            permits.push(limiter.admit(address(inside[2])).expect("one is free"));
            drop(permits);
            assert!(limiter.open.lock().expect("not poisoned").by_network.is_empty());
        }
        let limiter = ConnectionLimiter::new(TcpLimits::new(3));
        let permits: Vec<_> =
            (1..=3).map(|n| limiter.admit(IpAddr::from([10, n, 0, 1])).expect("free")).collect();
        assert_eq!(limiter.admit(address("10.9.0.1")).expect_err("all used"), Exceeded::Connections);
        assert_eq!(limiter.idle_timeout(), IDLE_TIMEOUT / 4, "{permits:?}");
    }

    #[test]
    fn handshakes_of_one_network_leave_places_for_those_of_others() {
        let handshakes = ConnectionLimiter::new(TcpLimits::new(256).of_handshakes());
        let address = |c: u8, d: u8| IpAddr::from([192, 0, c, d]);
        let hold = |c| {
            (0..=255u8)
                .flat_map(move |d| [address(c, d), address(c, d)])
                .filter_map(|a| handshakes.admit(a).ok())
        };
        let held: Vec<_> = hold(2).collect();
        assert_eq!(held.len(), 16, "a quarter of a quarter");
        let others: Vec<_> = (3..6).map(|c| handshakes.admit(address(c, 1)).expect("a place")).collect();
        assert_eq!(others.len(), 3);
    }

    #[test]
    fn encrypted_connections_leave_places_for_others_and_one_network_leaves_some_for_other_networks() {
        for (connections, all, of_network) in [(10_000, 5_000, 1_250), (256, 128, 32), (3, 1, 1), (1, 1, 1)] {
            let limits = TcpLimits::new(connections).of_encrypted();
            assert_eq!((limits.connections, limits.per_network), (all, of_network), "{connections}");
            assert_eq!(limits.per_client, (all / 8).max(1), "{connections}");
        }
    }

    #[test]
    fn answers_that_nobody_takes_are_kept_up_to_a_limit_over_all_connections() {
        for (connections, most) in [(1, 1 << 20), (100, 1 << 20), (1000, 8_192_000)] {
            let limiter = ConnectionLimiter::new(TcpLimits::new(connections));
            let permit = limiter.admit(IpAddr::from([192, 0, 2, 1])).expect("the first");
            let kept = permit.keep_unsent(most - 1).expect("there is room");
            let last = permit.keep_unsent(1).expect("the last octet");
            assert!(permit.keep_unsent(1).is_none(), "{connections}");
            assert!(permit.keep_unsent(0).is_some(), "nothing to keep");
            drop((kept, last));
            assert!(permit.keep_unsent(most).is_some(), "what is given back can be had again");
            assert_eq!(limiter.unsent.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn kind_05_the_soft_limit_is_raised_to_the_hard_one() {
        let limits = TcpLimits::of_this_process();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(current == maximum || current.is_some_and(|c| c >= 1 << 20), "{current:?} of {maximum:?}");
        assert_eq!(limits, TcpLimits::for_open_files(current.unwrap_or(1 << 20)));
    }
}
