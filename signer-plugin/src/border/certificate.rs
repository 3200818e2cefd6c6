//! [`Certificate`]: where a listener of TLS or QUIC has the certificate for its next handshake from.

use std::sync::Arc;

use keystore::config::tls::ALPN_DOT;
use rustls::ServerConfig;

use crate::protocol::SharedSettings;

/// The certificate of a listener that speaks one protocol.
#[derive(Clone)]
pub(super) struct Certificate {
    /// What the host program has given; `None`: the settings have it.
    given: Option<Arc<ServerConfig>>,
    settings: SharedSettings,
    /// The name of the protocol in ALPN (RFC 7301).
    protocol: &'static [u8],
}

impl Certificate {
    pub fn new(
        given: Option<&Arc<ServerConfig>>,
        settings: &SharedSettings,
        protocol: &'static [u8],
    ) -> Self {
        let given = given.map(|config| for_protocol(config, protocol));
        Self { given, settings: settings.clone(), protocol }
    }

    /// For a handshake now; `None` while there is no certificate. A client of DNS over TLS is asked for its certificate where who may transfer
    /// zones depends on it; browsers never are. What the host program has given stays as it is.
    pub fn now(&self) -> Option<Arc<ServerConfig>> {
        if self.protocol == ALPN_DOT && self.given.is_none() {
            let settings = self.settings.load();
            if settings.asks_certificates {
                return settings.tls_asking.clone();
            }
        }
        self.source().map(|source| self.of(&source))
    }

    /// What the certificate is taken from now: another value when it has changed.
    pub fn source(&self) -> Option<Arc<ServerConfig>> {
        self.given.clone().or_else(|| self.settings.load().tls.clone())
    }

    /// For the protocol of this listener.
    pub fn of(&self, source: &Arc<ServerConfig>) -> Arc<ServerConfig> {
        for_protocol(source, self.protocol)
    }
}

/// The same for clients that speak `protocol`, or do not say what they speak.
fn for_protocol(config: &Arc<ServerConfig>, protocol: &[u8]) -> Arc<ServerConfig> {
    if config.alpn_protocols == [protocol] {
        return Arc::clone(config);
    }
    let mut config = ServerConfig::clone(config);
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}
