//! [`LoadedCertificate`]: TLS of a server beside the HTTP endpoint, made of a certificate and a key file and made anew when these change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::policy::{PolicyFinding, PolicySeverity};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};

use super::tls::{EndpointTls, ServedCertificate, certificates, roots};
use super::web_config::{Pem, TlsSettings, WebConfigFindings};
use crate::changed::{FileMark, mark};

/// Where the certificate of a server and its key lie, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key, without a password.
    pub key: PathBuf,
}

/// A certificate with its key, as it was read.
#[derive(Debug, Clone)]
pub struct LoadedCertificate {
    /// For each handshake: TLS 1.2 and 1.3.
    pub config: Arc<ServerConfig>,
    /// The certificate and its key, for whoever shows it as a client.
    pub identity: Arc<SingleCertAndKey>,
    /// What clients are shown.
    pub served: ServedCertificate,
    /// What is hardly meant, such as a key that everybody can read.
    pub warnings: Vec<String>,
    read: (CertificateFiles, [FileMark; 2]),
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct CertificateError(Vec<String>);

impl LoadedCertificate {
    /// Reads the files, for a server that speaks `protocol` (its name in ALPN, RFC 7301). A client that names no protocol is served too.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(files: &CertificateFiles, protocol: &[u8]) -> Result<Self, CertificateError> {
        let marks = marks(files);
        let mut notes = WebConfigFindings::of(&files.certificate);
        let settings = TlsSettings {
            certificate: Pem::File(files.certificate.clone()),
            key: Pem::File(files.key.clone()),
            clients: None,
            allowed_names: Vec::new(),
            only_tls13: false,
            only_tls12: false,
            cipher_suites: Vec::new(),
            curves: Vec::new(),
            prefer_server_order: false,
            line: 1,
        };
        let tls = EndpointTls::load(&settings, &mut notes);
        let (errors, warnings): (Vec<_>, Vec<_>) =
            notes.findings.into_iter().partition(|finding| finding.severity == PolicySeverity::Error);
        let texts = |findings: Vec<PolicyFinding>| findings.into_iter().map(|f| f.what).collect();
        match tls {
            Some(EndpointTls { config, identity, certificate, .. }) if errors.is_empty() => {
                let mut config = ServerConfig::clone(&config);
                config.alpn_protocols = vec![protocol.to_vec()];
                Ok(Self {
                    config: Arc::new(config),
                    identity,
                    served: certificate,
                    warnings: texts(warnings),
                    read: (files.clone(), marks),
                })
            }
            _ => Err(CertificateError(texts(errors))),
        }
    }

    /// True when it was read from these files, and they have not changed since.
    #[must_use]
    pub fn is_of(&self, files: &CertificateFiles) -> bool {
        self.read.0 == *files && self.read.1 == marks(files)
    }
}

/// Reads the certificates of the authorities in a file, in PEM.
///
/// # Errors
/// The file cannot be read, or has no such certificate.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut notes = WebConfigFindings::of(path);
    let read = certificates(&Pem::File(path.to_owned()), 1, &mut notes).map(roots);
    match read {
        Some((roots, added)) if added > 0 => Ok(roots),
        Some(_) => {
            Err(CertificateError(vec![format!("{} holds no certificate of an authority", path.display())]))
        }
        None => Err(CertificateError(notes.findings.into_iter().map(|finding| finding.what).collect())),
    }
}

fn marks(files: &CertificateFiles) -> [FileMark; 2] {
    [mark(&files.certificate), mark(&files.key)]
}
