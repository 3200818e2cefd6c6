//! Whether a command may change the state of this host.

use super::generation::Generation;
use super::lease::{LeaseError, LeaseFolder};
use crate::config::pair::PairConfig;

/// Why a command may not change the state of this host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotActive {
    /// The other host is the active one.
    #[error(
        "host {host} is the active one of the pair, by takeover {generation}, and not {own}: give the command there, since the next copy of its state would undo it here"
    )]
    Other {
        /// The active host.
        host: String,
        /// The takeover by which it is.
        generation: Generation,
        /// This host.
        own: String,
    },
    /// No host has taken over.
    #[error("no host of the pair has taken over yet: offline-ksk takeover makes this one the active one")]
    Nobody,
    /// It is not known which host is active.
    #[error("it is not known which host of the pair is the active one: {0}")]
    Unknown(#[from] LeaseError),
}

/// Fails unless the lease of the pair names this host; a host without a second one may always.
pub fn require_active(pair: Option<&PairConfig>) -> Result<(), NotActive> {
    let Some(pair) = pair else { return Ok(()) };
    match LeaseFolder::new(&pair.lease_directory).read()? {
        Some(lease) if lease.host == pair.host => Ok(()),
        Some(lease) => {
            Err(NotActive::Other { host: lease.host, generation: lease.generation, own: pair.host.clone() })
        }
        None => Err(NotActive::Nobody),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Lease;
    use crate::time::Timestamp;

    #[test]
    fn only_the_host_that_the_lease_names_may_change_its_state() {
        let dir = tempfile::tempdir().expect("a folder");
        let pair = |folder: &str| PairConfig {
            host: "a".to_owned(),
            lease_directory: dir.path().join(folder),
            lease_duration: 60,
            renew: 15,
            clock_margin: 5,
        };
        assert!(require_active(None).is_ok());
        assert!(matches!(require_active(Some(&pair(""))), Err(NotActive::Nobody)));
        assert!(matches!(require_active(Some(&pair("gone"))), Err(NotActive::Unknown(_))));
        let mut generation = Generation::FIRST;
        for host in ["a", "b", "a"] {
            let now = Timestamp::from_secs(1_800_000_000);
            let node = "m".to_owned();
            let lease = Lease {
                host: host.to_owned(),
                node,
                generation,
                renewed: now,
                expires: now.plus(60),
                forced: false,
                stage: crate::pair::Stage::Claimed,
            };
            LeaseFolder::new(dir.path()).claim(&lease).expect("claimed");
            assert_eq!(
                require_active(Some(&pair(""))).is_ok(),
                host == "a",
                "{host} by takeover {generation}"
            );
            generation = generation.next();
        }
    }
}
