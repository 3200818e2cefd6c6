//! What an answer depends on beside the zone: who asks, and what the configuration says of that.

pub(crate) mod cookie;
pub(crate) mod rate_limit;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use keystore::config::Config;
use keystore::config::query::RateLimitConfig;
use keystore::config::transfer::Network;
use keystore::cookie_secrets::CookieSecrets;
use keystore::dns::Name;
use keystore::dns::name::MAX_NAME;
use metrics::Metrics;
use rustls::ServerConfig;

use crate::clock::Clock;
use cookie::{CLIENT, CookieMaker, CookieVerdict, SERVER};
use rate_limit::RateLimiter;

/// The settings in force. Clones share them; new ones are taken at once by all that hold one.
#[derive(Debug, Clone)]
pub struct SharedSettings(Arc<ArcSwap<QuerySettings>>);

impl Default for SharedSettings {
    fn default() -> Self {
        Self::new(QuerySettings::DEFAULT)
    }
}

impl SharedSettings {
    /// These settings, until others are stored.
    #[must_use]
    pub fn new(settings: QuerySettings) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }

    /// From now on these settings.
    pub fn store(&self, settings: QuerySettings) {
        self.0.store(Arc::new(settings));
    }

    /// The settings now, for the time of some queries.
    pub(crate) fn load(&self) -> Guard<Arc<QuerySettings>> {
        self.0.load()
    }
}

/// What the configuration says of queries. It does not change; a new one takes its place.
#[derive(Debug)]
pub struct QuerySettings {
    /// Makes and checks cookies; `None`: the option COOKIE is not known here.
    pub(crate) cookies: Option<Cookies>,
    /// Limits answers over UDP; `None`: nothing is limited.
    pub(crate) limiter: Option<Arc<RateLimiter>>,
    /// For the handshakes of DNS over TLS; `None`: there is no certificate.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The same, with a request for the certificate of the client.
    pub(crate) tls_asking: Option<Arc<ServerConfig>>,
    /// Who may transfer a zone depends on the certificate of the client.
    pub(crate) asks_certificates: bool,
    /// Who may ask.
    pub(crate) access: QueryAccess,
    /// What is told of this server.
    pub(crate) identity: ServerIdentity,
}

impl QuerySettings {
    /// Everybody is answered, without cookies and limits, and nothing is told of this server.
    pub const DEFAULT: Self = Self {
        cookies: None,
        limiter: None,
        tls: None,
        tls_asking: None,
        asks_certificates: false,
        access: QueryAccess { of_all_zones: None, of_zones: BTreeMap::new() },
        identity: ServerIdentity { nsid: None, name: None, version: None, report_agent: None },
    };

    /// Cookies made with `secrets`, at the time that `clock` tells.
    #[must_use]
    pub fn with_cookies(secrets: CookieSecrets, clock: Clock) -> Self {
        Self { cookies: Some(Cookies { maker: CookieMaker::new(secrets), clock }), ..Self::DEFAULT }
    }

    /// The same, with answers over UDP limited as `config` says. `secret` are random octets, which nobody else knows.
    #[must_use]
    pub fn with_rate_limit(self, config: &RateLimitConfig, secret: [u8; 16], metrics: &Metrics) -> Self {
        Self { limiter: RateLimiter::new(config, secret, metrics).map(Arc::new), ..self }
    }
}

/// Whose queries are answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct QueryAccess {
    /// Of zones that say nothing of their own; `None`: everybody's.
    of_all_zones: Option<Vec<Network>>,
    /// By apex in lower-case wire form.
    of_zones: BTreeMap<Vec<u8>, Vec<Network>>,
}

impl QueryAccess {
    pub fn of(config: &Config) -> Self {
        let zones = config.zones.iter();
        let own =
            zones.filter_map(|zone| Some((zone.name.canonical_wire().to_vec(), zone.allow_query.clone()?)));
        Self {
            of_all_zones: config.signer.as_ref().and_then(|signer| signer.query.allow_query.clone()),
            of_zones: own.collect(),
        }
    }

    /// Whether a client may ask for names of the zone at `apex`.
    pub fn allows(&self, apex: &Name, client: IpAddr) -> bool {
        let networks = self.of_zone(apex).or(self.of_all_zones.as_ref());
        networks.is_none_or(|networks| networks.iter().any(|network| network.contains(client)))
    }

    /// Whether a client may ask what this server says of itself.
    pub fn allows_identity(&self, client: IpAddr) -> bool {
        let networks = self.of_all_zones.as_ref();
        networks.is_none_or(|networks| networks.iter().any(|network| network.contains(client)))
    }

    fn of_zone(&self, apex: &Name) -> Option<&Vec<Network>> {
        if self.of_zones.is_empty() {
            return None;
        }
        let mut room = [0; MAX_NAME];
        let lower = room.get_mut(..apex.as_wire().len())?;
        lower.copy_from_slice(apex.as_wire());
        lower.make_ascii_lowercase();
        self.of_zones.get(&*lower)
    }
}

/// What is told of this server to those who ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ServerIdentity {
    /// Data of the option NSID (RFC 5001).
    pub nsid: Option<Vec<u8>>,
    /// The text of `id.server.` and `hostname.bind.` (RFC 4892).
    pub name: Option<Vec<u8>>,
    /// The text of `version.server.` and `version.bind.`.
    pub version: Option<Vec<u8>>,
    /// Data of the option Report-Channel (RFC 9567).
    pub report_agent: Option<Vec<u8>>,
}

impl ServerIdentity {
    pub fn of(config: &Config) -> Self {
        let Some(signer) = &config.signer else { return Self::default() };
        let text = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
        Self {
            nsid: signer.query.nsid.clone(),
            name: text(&signer.query.identity),
            version: text(&signer.query.version),
            report_agent: signer.query.report_agent.as_ref().map(|name| name.as_wire().to_vec()),
        }
    }

    /// The text that a TXT query of class CH for this name (wire form) is answered with.
    pub fn text(&self, name: &[u8]) -> Option<&[u8]> {
        let is = |known: &[&[u8]]| known.iter().any(|known| known.eq_ignore_ascii_case(name));
        let text = if is(&[b"\x02id\x06server\x00", b"\x08hostname\x04bind\x00"]) {
            &self.name
        } else if is(&[b"\x07version\x06server\x00", b"\x07version\x04bind\x00"]) {
            &self.version
        } else {
            &None
        };
        text.as_deref()
    }
}

/// Makes and checks cookies.
pub(crate) struct Cookies {
    maker: CookieMaker,
    clock: Clock,
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.maker.fmt(f)
    }
}

impl Cookies {
    /// Judges the cookie of a query of `address`.
    pub fn judge(
        &self,
        client: [u8; CLIENT],
        server: Option<[u8; SERVER]>,
        address: IpAddr,
    ) -> CookieVerdict {
        self.maker.judge(client, server, address, (self.clock)().to_rrsig())
    }
}
