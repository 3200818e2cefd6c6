//! Primaries that are asked over TLS (RFC 9103): who they are is proven before a query is sent, and nothing ever goes in clear instead.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use keystore::config::tls::{ALPN_DOT, KeyPin, PrimaryTls};
use metrics::changed::{FileMark, mark};
use metrics::http::{CertificateFiles, LoadedCertificate, read_authorities};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::TransferFault;
use crate::transfer::pin_of;

/// What is needed for handshakes with primaries, made of the files that the configuration names, and made anew when these change. All zones
/// share it.
#[derive(Default)]
pub(super) struct TlsClients {
    by_settings: Mutex<HashMap<PrimaryTls, Loaded>>,
}

struct Loaded {
    marks: Vec<FileMark>,
    /// `None`: the files were never good.
    config: Option<Arc<ClientConfig>>,
    error: Option<String>,
}

impl TlsClients {
    /// Has a handshake on `stream`, a connection to `address`.
    pub async fn connect(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: &PrimaryTls,
    ) -> Result<TlsStream<TcpStream>, TransferFault> {
        let config = self.config(tls)?;
        let name = match &tls.name {
            Some(name) => ServerName::try_from(name.clone()).map_err(|_| TransferFault::NoQuery)?,
            None => ServerName::IpAddress(address.ip().into()),
        };
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(TransferFault::Tls)?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN_DOT) {
            return Err(TransferFault::NotDot);
        }
        Ok(stream)
    }

    /// Forgets what was read for other settings than these.
    pub fn keep(&self, used: &[&PrimaryTls]) {
        let mut by_settings = self.by_settings.lock().unwrap_or_else(PoisonError::into_inner);
        by_settings.retain(|settings, _| used.contains(&settings));
    }

    /// What handshakes are made with now. Files that do not read leave what was read before in use.
    fn config(&self, tls: &PrimaryTls) -> Result<Arc<ClientConfig>, TransferFault> {
        let marks = marks(tls);
        let mut by_settings = self.by_settings.lock().unwrap_or_else(PoisonError::into_inner);
        let known = by_settings.get_mut(tls);
        if let Some(Loaded { marks: seen, config: Some(config), .. }) = &known
            && *seen == marks
        {
            return Ok(Arc::clone(config));
        }
        match load(tls) {
            Ok(config) => {
                let loaded = Loaded { marks, config: Some(Arc::clone(&config)), error: None };
                by_settings.insert(tls.clone(), loaded);
                Ok(config)
            }
            Err(error) => {
                let before = known.as_ref().and_then(|known| known.config.clone());
                if let Some(known) = known
                    && known.error.as_ref() != Some(&error)
                    && before.is_some()
                {
                    tracing::error!("primaries: tls: {error}; what was read before stays in use");
                    known.error = Some(error.clone());
                }
                before.ok_or(TransferFault::TlsFiles(error))
            }
        }
    }
}

fn marks(tls: &PrimaryTls) -> Vec<FileMark> {
    let own = tls.own.iter().flat_map(|own| [&own.certificate, &own.key]);
    tls.authority.iter().chain(own).map(|path| mark(path)).collect()
}

fn load(tls: &PrimaryTls) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let authority = match &tls.authority {
        None => None,
        Some(file) => {
            let roots = read_authorities(file).map_err(|error| format!("ca-file: {error}"))?;
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            Some(verifier.map_err(|error| format!("ca-file: {}: {error}", file.display()))?)
        }
    };
    let algorithms = provider.signature_verification_algorithms;
    let verifier = PrimaryVerifier { authority, pins: tls.pins.clone(), algorithms };
    let builder = ClientConfig::builder_with_provider(provider)
        // RFC 9103 section 7.2.
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let files = CertificateFiles { certificate: own.certificate.clone(), key: own.key.clone() };
            let loaded =
                LoadedCertificate::load(&files, ALPN_DOT).map_err(|error| format!("certificate: {error}"))?;
            builder.with_client_cert_resolver(loaded.identity)
        }
    };
    config.alpn_protocols = vec![ALPN_DOT.to_vec()];
    // A session that is resumed would not show the certificate again.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Sees that a primary is who the configuration says: all that it says must hold.
struct PrimaryVerifier {
    authority: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<KeyPin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for PrimaryVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrimaryVerifier").field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PrimaryVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.pins.is_empty() {
            match pin_of(own) {
                Some(pin) if self.pins.contains(&pin) => {}
                Some(pin) => {
                    let what = format!("its certificate has the key {pin}, which pin-sha256 does not have");
                    return Err(Error::General(what));
                }
                None => return Err(Error::InvalidCertificate(rustls::CertificateError::BadEncoding)),
            }
        }
        match &self.authority {
            Some(authority) => authority.verify_server_cert(own, others, name, ocsp, now),
            // The configuration is refused where it has neither.
            None if self.pins.is_empty() => Err(Error::General("nothing says who it is".to_owned())),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
