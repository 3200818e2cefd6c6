//! Transfers over TLS (RFC 9103): what a connection says of its client, and whether that is who a rule wants.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use keystore::config::tls::{ClientTls, KeyPin};
use keystore::time::Timestamp;
use metrics::changed::Changed;
use metrics::http::read_authorities;
use rustls::client::verify_server_name;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ProtocolVersion, ServerConfig, SignatureScheme,
};

/// The name of DNS over TLS in ALPN, which transfers must have chosen (RFC 9103 section 7.1).
const DOT: &[u8] = b"dot";

/// What a connection over TLS says of its client.
#[derive(Debug)]
pub(crate) struct TlsPeer {
    /// TLS 1.3 or later, and the client has said that it speaks DNS: what transfers need (RFC 9103 sections 7.1 and 7.2).
    is_for_transfers: bool,
    /// The certificate that the client has shown it has the key of, and what it sent beside it.
    chain: Vec<CertificateDer<'static>>,
}

impl TlsPeer {
    /// For tests.
    #[cfg(test)]
    pub const fn without_certificate(is_for_transfers: bool) -> Self {
        Self { is_for_transfers, chain: Vec::new() }
    }

    /// What the handshake has said.
    pub fn of(connection: &rustls::ServerConnection) -> Self {
        let is_13 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let chain = connection.peer_certificates().unwrap_or_default();
        Self {
            is_for_transfers: is_13 && connection.alpn_protocol() == Some(DOT),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        }
    }
}

/// The pin of the key of a certificate; `None` where that does not read.
pub(crate) fn pin_of(certificate: &CertificateDer<'_>) -> Option<KeyPin> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(KeyPin::of_key_info(&parsed.subject_public_key_info()))
}

/// Why a connection is not what a rule wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelFault {
    /// It is not encrypted.
    Clear,
    /// It is no connection for transfers.
    NotDot,
    /// The client has shown no certificate.
    NoCertificate,
    /// Its certificate is not the one that is wanted.
    OtherCertificate,
}

impl ChannelFault {
    /// The reason, for the log and for the client.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Clear => "the transfer needs TLS",
            Self::NotDot => "a transfer over TLS needs TLS 1.3 and the protocol dot in ALPN",
            Self::NoCertificate => "the transfer needs a client certificate",
            Self::OtherCertificate => "the client certificate is not the one that is wanted",
        }
    }
}

impl fmt::Display for ChannelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// True for connections that no transfer may use, whatever is allowed.
pub(super) const fn is_unfit(peer: Option<&TlsPeer>) -> bool {
    matches!(peer, Some(peer) if !peer.is_for_transfers)
}

/// What a rule wants of a connection, with the authorities that it names.
#[derive(Debug)]
pub(super) struct WantedClient {
    wanted: ClientTls,
    authority: Option<Authority>,
}

impl WantedClient {
    pub fn new(wanted: ClientTls) -> Self {
        let authority = wanted.authority.clone().map(Authority::new);
        Self { wanted, authority }
    }

    /// Whether the client of this connection is meant.
    pub fn admits(&self, peer: Option<&TlsPeer>, now: Timestamp) -> Result<(), ChannelFault> {
        let peer = peer.ok_or(ChannelFault::Clear)?;
        if !peer.is_for_transfers {
            return Err(ChannelFault::NotDot);
        }
        if !self.wanted.needs_certificate() {
            return Ok(());
        }
        let (own, others) = peer.chain.split_first().ok_or(ChannelFault::NoCertificate)?;
        let has_key = || pin_of(own).is_some_and(|pin| self.wanted.pins.contains(&pin));
        if !self.wanted.pins.is_empty() && !has_key() {
            return Err(ChannelFault::OtherCertificate);
        }
        if self.authority.as_ref().is_some_and(|authority| !authority.vouches_for(own, others, now)) {
            return Err(ChannelFault::OtherCertificate);
        }
        match &self.wanted.name {
            Some(name) if !has_name(own, name) => Err(ChannelFault::OtherCertificate),
            _ => Ok(()),
        }
    }
}

fn has_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(name))
    else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

/// The file of `client-ca-file`, read again when it changes. One that does not read leaves what was read before in use.
struct Authority {
    file: PathBuf,
    verifier: Mutex<Changed<Option<Arc<dyn ClientCertVerifier>>>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.file).finish()
    }
}

impl Authority {
    fn new(file: PathBuf) -> Self {
        Self { file, verifier: Mutex::default() }
    }

    fn vouches_for(&self, own: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: Timestamp) -> bool {
        let verifier = {
            let mut verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
            verifier.renew(&self.file, || self.read()).clone()
        };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.secs()));
        verifier.is_some_and(|verifier| verifier.verify_client_cert(own, others, now).is_ok())
    }

    fn read(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        let verifier = read_authorities(&self.file).map_err(|error| error.to_string()).and_then(|roots| {
            let provider = Arc::new(ring::default_provider());
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| format!("{}: {error}", self.file.display()))
        });
        verifier
            .map_err(|error| {
                tracing::error!("allow-transfer: client-ca-file: {error}; the authorities before stay in use")
            })
            .ok()
    }
}

/// The same for clients that are asked for a certificate and need not have one. Any is taken whose key they have: which of them may do
/// what, [`WantedClient`] says. Its sessions are its own, so that none is resumed that was never asked.
pub(crate) fn asking(config: &Arc<ServerConfig>) -> Option<Arc<ServerConfig>> {
    let provider = Arc::clone(config.crypto_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(rustls::ALL_VERSIONS).ok()?;
    let builder = builder.with_client_cert_verifier(Arc::new(AnyCertificate { algorithms }));
    let mut asking = builder.with_cert_resolver(Arc::clone(&config.cert_resolver));
    asking.alpn_protocols = vec![DOT.to_vec()];
    asking.ignore_client_order = config.ignore_client_order;
    Some(Arc::new(asking))
}

/// Sees that a client has the key of the certificate that it shows, and no more.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        ParsedCertificate::try_from(own).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
