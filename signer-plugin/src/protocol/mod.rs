//! What an answer depends on beside the zone: who asks, and what the configuration says of that.

pub(crate) mod cookie;
pub(crate) mod rate_limit;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use keystore::cookie_secrets::CookieSecrets;

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
}

impl QuerySettings {
    /// No cookies and no limits.
    pub const DEFAULT: Self = Self { cookies: None, limiter: None };

    /// Cookies made with `secrets`, at the time that `clock` tells.
    #[must_use]
    pub fn with_cookies(secrets: CookieSecrets, clock: Clock) -> Self {
        Self { cookies: Some(Cookies { maker: CookieMaker::new(secrets), clock }), ..Self::DEFAULT }
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
