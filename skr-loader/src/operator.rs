//! The detached signature of the KSK operator: who has sent a file. `NAME.skr.p7s` lies beside `NAME.skr`, and is a CMS signature over its
//! very octets by a pinned certificate; see [`keystore::crypto::cms`].

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use keystore::crypto::cms::{self, CmsCertificate};
use keystore::time::Timestamp;

use crate::files::{self, FileError, NamedBy};

/// What the signature of a file is called beside it.
pub const SUFFIX: &str = ".p7s";

/// What is known of the operator's signature over a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// There is none.
    Absent,
    /// By this pinned certificate.
    Signed {
        /// SHA-256 of the certificate, in hex.
        sha256: String,
        /// Its subject.
        subject: String,
    },
    /// There is one, and it does not count.
    Bad(String),
}

impl Operator {
    /// Judges a signature that was read, or could not be.
    #[must_use]
    pub fn judge(
        signature: Result<&[u8], &FileError>,
        content: &[u8],
        pinned: &[CmsCertificate],
        now: Timestamp,
    ) -> Self {
        match signature.map(|octets| cms::verify_detached(octets, content, pinned, now)) {
            Ok(Ok(signer)) => Self::Signed { sha256: signer.sha256.clone(), subject: signer.subject.clone() },
            Ok(Err(error)) => Self::Bad(error.to_string()),
            Err(error) => Self::Bad(error.to_string()),
        }
    }

    /// The SHA-256 of the certificate that signed, for the audit log.
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        match self {
            Self::Signed { sha256, .. } => Some(sha256),
            Self::Absent | Self::Bad(_) => None,
        }
    }
}

/// The signature beside a file that is checked by hand.
pub fn beside(
    path: &Path,
    named: NamedBy,
    content: &[u8],
    pinned: &[CmsCertificate],
    now: Timestamp,
) -> Operator {
    match files::read(&signature_path(path), named, cms::MAX_SIGNATURE_OCTETS) {
        Err(FileError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Operator::Absent,
        read => Operator::judge(read.as_ref().map(|f| &*f.octets), content, pinned, now),
    }
}

/// Where the signature of the file at `path` lies.
#[must_use]
pub fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// The name of the signature of the file `name`.
#[must_use]
pub fn signature_name(name: &OsStr) -> OsString {
    signature_path(Path::new(name)).into_os_string()
}

/// The name of the file that `name` is the signature of; `None` when it is none.
#[must_use]
pub fn signed_name(name: &OsStr) -> Option<OsString> {
    let signed = name.as_bytes().strip_suffix(SUFFIX.as_bytes())?;
    (!signed.is_empty()).then(|| OsString::from_vec(signed.to_vec()))
}
