//! What a signer refuses to the program that it is in.

use std::path::PathBuf;

use keystore::config::transfer::TransferKeyError;
use keystore::dns::Name;
use keystore::lock::LockError;

/// A signer that does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another signer is at work in the state folder: in another process, or in this one, where one that was dropped ends behind what its
    /// threads are at, see [`Signer::shutdown`](super::Signer::shutdown).
    #[error(
        "{0}: another signer is at work in this state folder, or has not ended yet; stop it, or try again when it has ended"
    )]
    InUse(LockError),
    /// The lock of the state folder is another user's, or no file of its kind.
    #[error("the signer cannot lock its state folder: {0}; run it as the user whom the folder belongs to")]
    Lock(LockError),
    /// The system gives no thread.
    #[error("the system gives no thread to the signer: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<LockError> for StartError {
    fn from(error: LockError) -> Self {
        if matches!(error, LockError::Held { .. }) { Self::InUse(error) } else { Self::Lock(error) }
    }
}

/// A zone that cannot be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddZoneError {
    /// The signer was told to end.
    #[error("the zone {zone} is not added: the signer ends; add it to the next one")]
    Ending {
        /// The zone.
        zone: Name,
    },
    /// It has no content.
    #[error("the zone {zone} has neither `file` nor `primaries`: there is nothing to sign and serve")]
    NothingToServe {
        /// The zone.
        zone: Name,
    },
    /// A catalog zone has the name.
    #[error("the zone {zone} is not added: `[[catalog]]` of the configuration in use has this name")]
    Catalog {
        /// The zone.
        zone: Name,
    },
    /// It names a TSIG key that is in no file.
    #[error("the zone is not added: {0}; reload a configuration that has the key first")]
    Key(TransferKeyError),
}

/// A configuration that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The signer was told to end.
    #[error("the configuration is not taken: the signer ends; start another one with it")]
    Ending,
    /// The state folder cannot change.
    #[error(
        "the configuration is not taken: its `state-dir` is {}, and the signer is at work in {}; start another signer there",
        wanted.display(), at_work.display()
    )]
    OtherStateDir {
        /// Where the signer is at work.
        at_work: PathBuf,
        /// What the configuration says.
        wanted: PathBuf,
    },
}
