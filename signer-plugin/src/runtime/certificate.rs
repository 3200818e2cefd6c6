//! [`WatchedCertificate`]: a certificate with its key that is read again when its files change.

use keystore::config::tls::ALPN_DOT;
use metrics::health::report::CertificateReport;
use metrics::http::{CertificateFiles, LoadedCertificate, ServedCertificate};

/// The certificate in use. Files that cannot be used leave the one before in use.
#[derive(Default)]
pub(super) struct WatchedCertificate {
    loaded: Option<LoadedCertificate>,
    /// Why the files as they are now are not in use.
    error: Option<String>,
}

impl WatchedCertificate {
    /// Reads the files where they are others than before or have changed; `setting` names them in messages. True when another certificate is in
    /// use from now on.
    pub fn refresh(&mut self, files: &CertificateFiles, setting: &str) -> bool {
        if self.loaded.as_ref().is_some_and(|loaded| loaded.is_of(files)) {
            self.error = None;
            return false;
        }
        match LoadedCertificate::load(files, ALPN_DOT) {
            Ok(loaded) => {
                tracing::info!(file = %files.certificate.display(), "{setting}: the certificate was read");
                loaded.warnings.iter().for_each(|warning| tracing::warn!("{setting}: {warning}"));
                (self.loaded, self.error) = (Some(loaded), None);
                true
            }
            Err(error) => {
                let error = error.to_string();
                if self.error.as_ref() != Some(&error) {
                    let stays =
                        if self.loaded.is_some() { "; the certificate before stays in use" } else { "" };
                    tracing::error!("{setting}: {error}{stays}");
                }
                self.error = Some(error);
                false
            }
        }
    }

    /// The certificate in use.
    pub const fn loaded(&self) -> Option<&LoadedCertificate> {
        self.loaded.as_ref()
    }

    /// Why the files as they are now are not in use.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The times of the certificate in use.
    pub fn report(&self) -> Option<CertificateReport> {
        let ServedCertificate { file, not_before, not_after } = &self.loaded.as_ref()?.served;
        let file = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        Some(CertificateReport { file, not_before: *not_before, not_after: *not_after })
    }
}
