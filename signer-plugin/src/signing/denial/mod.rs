//! Denial of existence: the chain of NSEC (RFC 4034 section 4) or NSEC3 records (RFC 5155) of a zone.
//!
//! Whether a name is in the chain, and with which types, is decided by two pure functions of the unsigned zone (`standing`). A version of a zone has
//! one chain, made in one piece, so that going from one kind of chain or salt to another needs no time in between: every answer is made
//! from one version and brings its whole proof.

mod nsec;
mod nsec3;
mod standing;
#[cfg(test)]
mod tests;

pub(crate) use nsec::NsecChain;
#[cfg(test)]
pub(crate) use nsec3::Hasher;
pub use nsec3::Nsec3;
pub(crate) use nsec3::{Collision, Found, Nsec3Chain};
pub(crate) use standing::{ChainKind, members, put_bitmap};

use keystore::dns::Rtype;
use keystore::dns::name::MAX_NAME;
use keystore::dns::nsec3::LABEL;

use crate::index::Index;
use crate::zone::{NodeId, Zone};

/// How a zone proves that something does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Denial {
    /// With NSEC.
    #[default]
    Nsec,
    /// With NSEC3.
    Nsec3(Nsec3),
}

/// A record of a chain.
#[derive(Debug)]
pub(crate) enum Link {}

/// Index of a record in its chain: in canonical order of names with NSEC, in the order of hashes with NSEC3.
pub(crate) type LinkId = Index<Link>;

/// The chain of a version.
#[derive(Debug)]
pub(crate) enum Chain {
    Nsec(NsecChain),
    Nsec3(Nsec3Chain),
}

/// Room for the owner of a denial record.
pub(crate) struct OwnerBuf([u8; MAX_NAME]);

impl OwnerBuf {
    pub const fn new() -> Self {
        Self([0; MAX_NAME])
    }
}

impl Chain {
    /// Makes the chain; `apex_types` are those that the apex has beside the zone's own.
    pub fn build(zone: &Zone, denial: &Denial, apex_types: &[Rtype]) -> Result<Self, Collision> {
        Ok(match denial {
            Denial::Nsec => Self::Nsec(NsecChain::build(zone, apex_types)),
            Denial::Nsec3(nsec3) => Self::Nsec3(Nsec3Chain::build(zone, nsec3.clone(), apex_types)?),
        })
    }

    /// Type of its records.
    pub const fn rtype(&self) -> Rtype {
        match self {
            Self::Nsec(_) => Rtype::NSEC,
            Self::Nsec3(_) => Rtype::NSEC3,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Nsec(chain) => chain.len(),
            Self::Nsec3(chain) => chain.len(),
        }
    }

    /// The name that a record stands for: its owner with NSEC, the name that was hashed with NSEC3.
    pub fn node(&self, link: LinkId) -> NodeId {
        match self {
            Self::Nsec(chain) => chain.node(link),
            Self::Nsec3(chain) => chain.node(link),
        }
    }

    /// Index and name of each record, in the order of the chain.
    pub fn iter(&self) -> impl Iterator<Item = (LinkId, NodeId)> {
        LinkId::range(0..self.len()).map(|link| (link, self.node(link)))
    }

    /// The record that stands for `node`.
    pub fn link_at(&self, node: NodeId) -> Option<LinkId> {
        match self {
            Self::Nsec(chain) => {
                let link = chain.at_or_before(node);
                (chain.node(link) == node).then_some(link)
            }
            Self::Nsec3(chain) => chain.link_at(node),
        }
    }

    /// Owner of a record in wire form.
    pub fn owner<'a>(&self, zone: &'a Zone, link: LinkId, room: &'a mut OwnerBuf) -> &'a [u8] {
        match self {
            Self::Nsec(chain) => zone.owner(chain.node(link)),
            Self::Nsec3(chain) => {
                let origin = zone.origin().as_wire();
                // Longer apexes are refused before anything is signed.
                let len = (LABEL + origin.len()).min(MAX_NAME);
                room.0[..LABEL].copy_from_slice(&chain.hash(link).label());
                room.0[LABEL..len].copy_from_slice(&origin[..len - LABEL]);
                &room.0[..len]
            }
        }
    }

    /// A record, with its length in front.
    pub fn data(&self, link: LinkId) -> &[u8] {
        match self {
            Self::Nsec(chain) => chain.data(link),
            Self::Nsec3(chain) => chain.data(link),
        }
    }

    /// Damages the next name or hash of the first record.
    #[cfg(test)]
    pub fn corrupt(&mut self) {
        match self {
            Self::Nsec(chain) => chain.corrupt(),
            Self::Nsec3(chain) => chain.corrupt(),
        }
    }
}
