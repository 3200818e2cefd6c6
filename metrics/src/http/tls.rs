//! TLS of the endpoint, made of what the web-config says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::crypto::cms::CmsCertificate;
use keystore::time::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite};

use super::web_config::{ClientCertificate, Pem, TlsSettings, WebConfigFindings, read_file};

/// TLS as it is spoken now.
pub struct EndpointTls {
    /// For each handshake.
    pub config: Arc<ServerConfig>,
    /// The certificate and its key.
    pub identity: Arc<SingleCertAndKey>,
    /// Alternative names of which the certificate of a client must have one; empty = any.
    pub allowed_names: Vec<String>,
    /// The certificate that is shown to clients.
    pub certificate: ServedCertificate,
}

/// The certificate of the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedCertificate {
    /// Its file; `None` = it stands in the web-config.
    pub file: Option<PathBuf>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

impl EndpointTls {
    /// Reads the files of `settings`. What is wrong goes to `notes`, with the line of the section or the name of the file.
    pub fn load(settings: &TlsSettings, notes: &mut WebConfigFindings) -> Option<Self> {
        let line = settings.line;
        let chain = certificates(&settings.certificate, line, notes);
        let key = key(&settings.key, line, notes);
        let provider = provider(settings, notes)?;
        let versions = match (settings.only_tls13, settings.only_tls12) {
            (true, _) => vec![&rustls::version::TLS13],
            (false, true) => vec![&rustls::version::TLS12],
            (false, false) => rustls::ALL_VERSIONS.to_vec(),
        };
        let provider = Arc::new(provider);
        let builder = match ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
        {
            Ok(builder) => builder,
            Err(error) => {
                notes.error(line, format!("no handshake can succeed: {error}"));
                return None;
            }
        };
        let builder = match &settings.clients {
            None => builder.with_no_client_auth(),
            Some((authority, wanted)) => {
                let (roots, added) = roots(certificates(authority, line, notes)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                let verifier = match wanted {
                    ClientCertificate::Required => verifier,
                    ClientCertificate::Optional => verifier.allow_unauthenticated(),
                };
                match verifier.build() {
                    Ok(verifier) if added > 0 => builder.with_client_cert_verifier(verifier),
                    _ => {
                        notes.error(line, "client_ca_file holds no certificate of an authority");
                        return None;
                    }
                }
            }
        };
        let (chain, key) = (chain?, key?);
        let served = served(&settings.certificate, &chain, line, notes)?;
        match CertifiedKey::from_der(chain, key, &provider) {
            Ok(identity) => {
                let identity = Arc::new(SingleCertAndKey::from(identity));
                let mut config =
                    builder.with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
                config.ignore_client_order = settings.prefer_server_order;
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Some(Self {
                    config: Arc::new(config),
                    identity,
                    allowed_names: settings.allowed_names.clone(),
                    certificate: served,
                })
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                notes.error(line, "the key is not that of the certificate");
                None
            }
            Err(error) => {
                notes.error(line, format!("certificate and key cannot be used: {error}"));
                None
            }
        }
    }

    /// True when a client with these certificates is let in.
    #[must_use]
    pub fn lets_in(&self, certificates: Option<&[CertificateDer<'_>]>) -> bool {
        let first = || CmsCertificate::read_der(certificates?.first()?).ok();
        self.allowed_names.is_empty()
            || first()
                .is_some_and(|c| c.alternative_names().iter().any(|name| self.allowed_names.contains(name)))
    }
}

impl Pem {
    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }

    /// The octets, and whether everybody can read them.
    fn octets(&self, line: u32, notes: &mut WebConfigFindings) -> Option<(Vec<u8>, bool)> {
        match self {
            Self::Inline(text) => Some((text.clone().into_bytes(), false)),
            Self::File(path) => match read_file(path) {
                Ok(read) => Some(read),
                Err(error) => {
                    notes.error(line, format!("{}: {error}", path.display()));
                    None
                }
            },
        }
    }

    fn name(&self) -> String {
        self.file().map_or_else(|| "the text".to_owned(), |path| path.display().to_string())
    }
}

/// The authorities of these certificates, and how many they are: what is no certificate of one is left out.
pub fn roots(certificates: Vec<CertificateDer<'static>>) -> (RootCertStore, usize) {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    (roots, added)
}

/// The certificates of a file, at least one.
pub fn certificates(
    pem: &Pem,
    line: u32,
    notes: &mut WebConfigFindings,
) -> Option<Vec<CertificateDer<'static>>> {
    let (octets, _) = pem.octets(line, notes)?;
    match CertificateDer::pem_slice_iter(&octets).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Some(chain),
        _ => {
            notes.error(
                line,
                format!("{} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", pem.name()),
            );
            None
        }
    }
}

fn key(pem: &Pem, line: u32, notes: &mut WebConfigFindings) -> Option<PrivateKeyDer<'static>> {
    let (octets, is_open) = pem.octets(line, notes)?;
    let octets = zeroize::Zeroizing::new(octets);
    if is_open {
        notes.warning(
            line,
            format!("{} holds a private key that everybody can read; set it to 0640", pem.name()),
        );
    }
    match PrivateKeyDer::from_pem_slice(&octets) {
        Ok(key) => Some(key),
        Err(_) => {
            let what = "holds no private key in PEM without a password (-----BEGIN PRIVATE KEY-----)";
            notes.error(line, format!("{} {what}", pem.name()));
            None
        }
    }
}

/// What clients are shown of the first certificate of the chain.
fn served(
    pem: &Pem,
    chain: &[CertificateDer<'_>],
    line: u32,
    notes: &mut WebConfigFindings,
) -> Option<ServedCertificate> {
    let first = chain.first().and_then(|der| CmsCertificate::read_der(der).ok());
    let Some((not_before, not_after)) = first.and_then(|certificate| certificate.validity()) else {
        notes.error(line, format!("{}: the first certificate does not read", pem.name()));
        return None;
    };
    Some(ServedCertificate { file: pem.file().map(Path::to_owned), not_before, not_after })
}

/// The algorithms that the settings leave.
fn provider(settings: &TlsSettings, notes: &mut WebConfigFindings) -> Option<CryptoProvider> {
    let mut provider = ring::default_provider();
    if !settings.cipher_suites.is_empty() {
        let is_named = |suite: &SupportedCipherSuite| {
            // As in Go, the names are those of TLS 1.2; what TLS 1.3 has is always good.
            suite.version().version == rustls::ProtocolVersion::TLSv1_3
                || suite
                    .suite()
                    .as_str()
                    .is_some_and(|name| settings.cipher_suites.iter().any(|n| same_suite(n, name)))
        };
        provider.cipher_suites.retain(is_named);
        let is_12 =
            |suite: &SupportedCipherSuite| suite.version().version == rustls::ProtocolVersion::TLSv1_2;
        if !settings.only_tls13 && !provider.cipher_suites.iter().any(is_12) {
            let what =
                "none of cipher_suites is spoken here; TLS 1.2 needs ECDHE with AES-GCM or ChaCha20-Poly1305";
            if settings.only_tls12 {
                notes.error(settings.line, what);
                return None;
            }
            notes.warning(settings.line, format!("{what}; TLS 1.3 alone is spoken"));
        }
    }
    if !settings.curves.is_empty() {
        let curve = |name: &String| match name.as_str() {
            "CurveP256" => Some(rustls::NamedGroup::secp256r1),
            "CurveP384" => Some(rustls::NamedGroup::secp384r1),
            "X25519" => Some(rustls::NamedGroup::X25519),
            _ => None,
        };
        let wanted: Vec<_> = settings.curves.iter().filter_map(curve).collect();
        provider.kx_groups.retain(|group| wanted.contains(&group.name()));
        if provider.kx_groups.is_empty() {
            notes.error(
                settings.line,
                "none of curve_preferences is spoken here; there are CurveP256, CurveP384 and X25519",
            );
            return None;
        }
        provider.kx_groups.sort_by_key(|group| wanted.iter().position(|name| *name == group.name()));
    }
    Some(provider)
}

/// Whether a suite of Go has the name of one of rustls: Go leaves the hash of ChaCha20 out in one of its spellings.
fn same_suite(go: &str, rustls: &str) -> bool {
    go == rustls || (go.ends_with("_CHACHA20_POLY1305") && rustls.strip_suffix("_SHA256") == Some(go))
}
