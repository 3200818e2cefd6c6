//! Transfers over TLS (RFC 9103): what a connection says of its client, and whether that is who a rule wants.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keystore::config::tls::{ALPN_DOT, ClientTls, KeyPin};
use keystore::time::Timestamp;
use metrics::changed::{FileMark, mark};
use metrics::http::read_authorities;
use rustls::client::verify_server_name;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ProtocolVersion, ServerConfig,
    SignatureScheme,
};

/// Most certificates beside that of the client, and octets of all: what anybody shows is kept with the connection, and verified.
const MOST_INTERMEDIATES: usize = 5;
const MOST_OCTETS: usize = 16 << 10;

/// What a connection over TLS says of its client.
pub(crate) struct TlsPeer {
    /// TLS 1.3 or later, and the client has said that it speaks DNS: what transfers need (RFC 9103 sections 7.1 and 7.2).
    is_for_transfers: bool,
    /// The certificate that the client has shown it has the key of, and what it sent beside it.
    chain: Vec<CertificateDer<'static>>,
    /// What authorities said of it, each asked once for a connection.
    judged: Mutex<Vec<Judged>>,
}

/// Who was asked, and what the answer was.
type Judged = (Arc<dyn ClientCertVerifier>, Result<(), ChannelFault>);

impl fmt::Debug for TlsPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_for_transfers, chain, .. } = self;
        f.debug_struct("TlsPeer")
            .field("is_for_transfers", is_for_transfers)
            .field("chain", &chain.len())
            .finish()
    }
}

impl TlsPeer {
    /// For tests.
    #[cfg(test)]
    pub const fn without_certificate(is_for_transfers: bool) -> Self {
        Self { is_for_transfers, chain: Vec::new(), judged: Mutex::new(Vec::new()) }
    }

    /// What the handshake has said.
    pub fn of(connection: &rustls::ServerConnection) -> Self {
        let is_13 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let chain = connection.peer_certificates().unwrap_or_default();
        Self {
            is_for_transfers: is_13 && connection.alpn_protocol() == Some(ALPN_DOT),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            judged: Mutex::default(),
        }
    }

    /// What these authorities say of the client's certificate.
    fn judged_by(
        &self,
        verifier: &Arc<dyn ClientCertVerifier>,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), ChannelFault> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, verdict)) = judged.iter().find(|(other, _)| Arc::ptr_eq(other, verifier)) {
            return *verdict;
        }
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.secs()));
        let verdict = verifier.verify_client_cert(own, others, now);
        let verdict = verdict.map(drop).map_err(|error| ChannelFault::of(&error));
        judged.push((Arc::clone(verifier), verdict));
        verdict
    }
}

/// The pin of the key of a certificate; `None` where that does not read.
pub(crate) fn pin_of(certificate: &CertificateDer<'_>) -> Option<KeyPin> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(KeyPin::of_key_info(&parsed.subject_public_key_info()))
}

/// Why a connection is not what a rule wants; what comes later was nearer to being allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChannelFault {
    /// It is not encrypted.
    Clear,
    /// It is no connection for transfers.
    NotDot,
    /// The client has shown no certificate.
    NoCertificate,
    /// Its certificate has another key.
    OtherKey,
    /// No authority has signed its certificate.
    UnknownAuthority,
    /// Its certificate may not be used so.
    NotTrusted,
    /// Its certificate has another name.
    OtherName,
    /// Its certificate is valid from a later time on.
    NotYetValid,
    /// Its certificate was valid until an earlier time.
    Ended,
    /// The authorities cannot be read here.
    NoAuthorities,
}

impl ChannelFault {
    /// The reason, for the log and for the client.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Clear => "the transfer needs TLS",
            Self::NotDot => "a transfer over TLS needs TLS 1.3 and the protocol dot in ALPN",
            Self::NoCertificate => "the transfer needs a client certificate",
            Self::OtherKey => "the client certificate has another key than the one that is wanted",
            Self::UnknownAuthority => "the client certificate is of an unknown authority",
            Self::NotTrusted => "the client certificate does not hold",
            Self::OtherName => "the client certificate has another name than the one that is wanted",
            Self::NotYetValid => "the client certificate is not yet valid",
            Self::Ended => "the client certificate has ended",
            Self::NoAuthorities => "client-ca-file could not be read",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => Self::Ended,
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => Self::NotYetValid,
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => Self::UnknownAuthority,
            _ => Self::NotTrusted,
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
    authority: Option<Arc<Authority>>,
}

impl WantedClient {
    pub fn new(wanted: ClientTls) -> Self {
        let authority = wanted.authority.as_deref().map(Authority::shared);
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
            return Err(ChannelFault::OtherKey);
        }
        if let Some(authority) = &self.authority {
            let verifier = authority.verifier(now).ok_or(ChannelFault::NoAuthorities)?;
            peer.judged_by(&verifier, own, others, now)?;
        }
        match &self.wanted.name {
            Some(name) if !has_name(own, name) => Err(ChannelFault::OtherName),
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

/// The file of `client-ca-file`, read again when it changes. One that does not read leaves what was read before in use, and is tried again.
/// All entries of all zones that name a file share it, also when the configuration is read again.
struct Authority {
    file: PathBuf,
    state: Mutex<AuthorityState>,
}

#[derive(Default)]
struct AuthorityState {
    /// The file that [`Self::verifier`] was made of.
    mark: FileMark,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// When it was last tried in vain, and why.
    failed: Option<(Timestamp, String)>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.file).finish()
    }
}

impl Authority {
    fn shared(file: &Path) -> Arc<Self> {
        static ALL: Mutex<BTreeMap<PathBuf, Weak<Authority>>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(file).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Self { file: file.to_owned(), state: Mutex::default() });
        new.read(&mut new.state.lock().unwrap_or_else(PoisonError::into_inner), Timestamp::from_secs(0));
        all.insert(file.to_owned(), Arc::downgrade(&new));
        new
    }

    /// What certificates are verified with; `None` = the file was never good.
    fn verifier(&self, now: Timestamp) -> Option<Arc<dyn ClientCertVerifier>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_tried = state.failed.as_ref().is_some_and(|(at, _)| *at == now);
        if !is_tried && (state.verifier.is_none() || state.mark != mark(&self.file)) {
            self.read(&mut state, now);
        }
        state.verifier.clone()
    }

    fn read(&self, state: &mut AuthorityState, now: Timestamp) {
        let mark = mark(&self.file);
        let verifier = read_authorities(&self.file).map_err(|error| error.to_string()).and_then(|roots| {
            let provider = Arc::new(ring::default_provider());
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| format!("{}: {error}", self.file.display()))
        });
        match verifier {
            Ok(verifier) => {
                *state = AuthorityState { mark, verifier: Some(verifier), failed: None };
            }
            Err(error) => {
                if state.failed.as_ref().is_none_or(|(_, before)| *before != error) {
                    let stays = match state.verifier {
                        Some(_) => "the authorities before stay in use",
                        None => "clients that need them are refused",
                    };
                    tracing::error!("allow-transfer: client-ca-file: {error}; {stays}");
                }
                state.failed = Some((now, error));
            }
        }
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
    asking.alpn_protocols = vec![ALPN_DOT.to_vec()];
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
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let octets = own.len() + others.iter().map(|other| other.len()).sum::<usize>();
        if others.len() > MOST_INTERMEDIATES || octets > MOST_OCTETS {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
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
