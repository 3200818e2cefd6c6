//! What `[signer]` says of queries and their answers.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::transfer::Network;
use crate::dns::Name;

/// Settings of `[signer]` for queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryConfig {
    /// `cookies`: queries with a DNS cookie are answered with one.
    pub cookies: bool,
    /// `cookie-secret-file`: the secrets of cookies, shared with other servers; `None` = this process makes its own.
    pub cookie_secret_file: Option<PathBuf>,
    /// `allow-query`: networks whose queries are answered; `None` = all. A zone may have its own.
    pub allow_query: Option<Vec<Network>>,
    /// `nsid`: what the option NSID (RFC 5001) is answered with.
    pub nsid: Option<Vec<u8>>,
    /// `identity`: what `id.server` and `hostname.bind` are answered with (RFC 4892).
    pub identity: Option<String>,
    /// `version`: what `version.bind` and `version.server` are answered with.
    pub version: Option<String>,
    /// `report-agent`: the name below which resolvers report answers that do not validate (RFC 9567).
    pub report_agent: Option<Name>,
    /// `tls-listen`, `https-listen`, `quic-listen`, `tls-certificate` and `tls-key`; `None` = no encrypted connection is served.
    pub tls: Option<TlsConfig>,
    /// `rate-limit`: how many answers over UDP a network is sent.
    pub rate_limit: RateLimitConfig,
}

/// DNS over TLS (RFC 7858), HTTPS (RFC 8484) and QUIC (RFC 9250), with one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// `tls-listen`: addresses of DNS over TLS, port 0 = the kernel's choice; none = it is not spoken.
    pub listen: Vec<SocketAddr>,
    /// `https-listen`: the same for DNS over HTTPS.
    pub https: Vec<SocketAddr>,
    /// `quic-listen`: the same for DNS over QUIC.
    pub quic: Vec<SocketAddr>,
    /// `tls-certificate`: the certificate and those that lead to its authority, in PEM.
    pub certificate: PathBuf,
    /// `tls-key`: its private key, in PEM.
    pub key: PathBuf,
}

/// Settings of `[signer.rate-limit]`. Nothing is limited by default, as with BIND, NSD and Knot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// `responses-per-second`: answers of one kind that one network is sent in a second; 0 = no limit.
    pub responses_per_second: u32,
    /// `all-per-second`: the same for all answers together.
    pub all_per_second: u32,
    /// `slip`: one in so many of the answers over the limit is sent without records, so that a client comes back over TCP; 0 = none.
    pub slip: u32,
    /// `ipv4-prefix`: bits of an IPv4 address that make a network.
    pub ipv4_prefix: u8,
    /// `ipv6-prefix`: the same for IPv6.
    pub ipv6_prefix: u8,
    /// `exempt`: networks that are not limited.
    pub exempt: Vec<Network>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            responses_per_second: 0,
            all_per_second: 0,
            slip: 2,
            // What one customer of a provider has.
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            exempt: Vec::new(),
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            cookies: true,
            cookie_secret_file: None,
            allow_query: None,
            nsid: None,
            identity: None,
            version: None,
            report_agent: None,
            tls: None,
            rate_limit: RateLimitConfig::default(),
        }
    }
}
