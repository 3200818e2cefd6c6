//! Denial of existence: the chain of NSEC (RFC 4034 section 4) or NSEC3 records (RFC 5155) of a zone.
//!
//! Whether a name is in the chain, and with which types, is decided by two pure functions of the unsigned zone (`standing`). A version of a zone has
//! one chain, and going from one kind of chain or salt to another needs no time in between: every answer is made from one version and
//! brings its whole proof. The record of a name stands with the signatures of the name.
//!
//! A chain is planned in whole (`whole`), or as what differs from that of the version before (`part`): names that come into the chain, go, or
//! have other types, and the one in front of each that comes or goes.

mod nsec3;
mod part;
mod plan;
mod standing;
#[cfg(test)]
mod tests;
mod whole;

#[cfg(test)]
pub(crate) use nsec3::Hasher;
pub use nsec3::Nsec3;
pub(crate) use nsec3::{HashCollision, HashPosition, Nsec3Chain};
pub(super) use part::next_by_name;
pub(super) use plan::{ChainPlan, Planned};
pub(super) use standing::member;
pub(crate) use standing::{ChainKind, members, put_bitmap};

use keystore::dns::name::MAX_NAME;
use keystore::dns::nsec3::{LABEL, NameHash};
use keystore::dns::{Name, Rtype};

/// How a zone proves that something does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Denial {
    /// With NSEC.
    #[default]
    Nsec,
    /// With NSEC3.
    Nsec3(Nsec3),
}

/// The chain of a version.
#[derive(Debug, Clone)]
pub(crate) enum Chain {
    /// None: nothing is proven. Only a version for which nothing was made here is without.
    Nothing,
    /// Its order is that of the names.
    Nsec,
    Nsec3(Nsec3Chain),
}

/// Room for the owner of a denial record.
pub(crate) struct OwnerBuf([u8; MAX_NAME]);

impl OwnerBuf {
    pub const fn new() -> Self {
        Self([0; MAX_NAME])
    }

    /// The owner of the NSEC3 record with this hash in the zone `origin`.
    pub(in crate::signing) fn put_hashed(&mut self, hash: NameHash, origin: &Name) -> &[u8] {
        let origin = origin.as_wire();
        // Longer apexes are refused before anything is signed.
        let len = (LABEL + origin.len()).min(MAX_NAME);
        self.0[..LABEL].copy_from_slice(&hash.label());
        self.0[LABEL..len].copy_from_slice(&origin[..len - LABEL]);
        &self.0[..len]
    }
}

impl Chain {
    /// Type of its records.
    pub const fn rtype(&self) -> Rtype {
        match self {
            Self::Nothing | Self::Nsec => Rtype::NSEC,
            Self::Nsec3(_) => Rtype::NSEC3,
        }
    }

    /// Which names it has.
    pub(super) const fn kind(&self) -> ChainKind {
        match self {
            Self::Nothing | Self::Nsec => ChainKind::Nsec,
            Self::Nsec3(chain) => chain.nsec3.kind(),
        }
    }

    /// True for the chain that `denial` asks for.
    pub(super) fn is(&self, denial: &Denial) -> bool {
        match (self, denial) {
            (Self::Nsec, Denial::Nsec) => true,
            (Self::Nsec3(chain), Denial::Nsec3(nsec3)) => chain.nsec3 == *nsec3,
            _ => false,
        }
    }
}
