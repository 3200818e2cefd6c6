//! The NSEC3 chain (RFC 5155).

use std::cmp::Ordering;

use keystore::dns::Name;
use keystore::dns::nsec3::NameHash;

use super::standing::ChainKind;
use crate::sorted::Sorted;
use crate::zone::{Node, NodeId, Zone};

/// The only hash algorithm that is defined: SHA-1 (RFC 5155 section 11).
const SHA1: u8 = 1;
/// The flag Opt-Out of an NSEC3 record (RFC 5155 section 3.1.2.1).
const OPT_OUT: u8 = 1;

/// Parameters of an NSEC3 chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nsec3 {
    /// Additional iterations of the hash; 0 by RFC 9276.
    pub iterations: u16,
    /// The salt, at most 255 octets; empty by RFC 9276.
    pub salt: Box<[u8]>,
    /// Whether delegations without DS are left out of the chain.
    pub opt_out: bool,
    /// How names are hashed.
    pub(crate) hasher: Hasher,
}

/// How names are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Hasher {
    /// SHA-1 as RFC 5155 has it.
    #[default]
    Sha1,
    /// The first bits of it, the others being 0, so that names collide.
    #[cfg(test)]
    Truncated(u32),
}

/// Two names of the zone have one hash, so that no chain can have both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashCollision(pub Name, pub Name);

impl Nsec3 {
    /// Parameters without a salt.
    #[must_use]
    pub fn new(iterations: u16, opt_out: bool) -> Self {
        Self { iterations, opt_out, ..Self::default() }
    }

    /// The same with a salt of at most 255 octets.
    #[must_use]
    pub fn with_salt(self, salt: Box<[u8]>) -> Self {
        Self { salt, ..self }
    }

    /// The hash of a name in wire form, any letter case.
    pub(crate) fn hash(&self, name: &[u8]) -> NameHash {
        let hash = NameHash::of(name, &self.salt, self.iterations);
        match self.hasher {
            Hasher::Sha1 => hash,
            #[cfg(test)]
            Hasher::Truncated(bits) => {
                let number = u128::from_be_bytes(*hash.0.first_chunk().expect("20 octets"));
                let mut out = [0; 20];
                out[..16].copy_from_slice(&(number & !(u128::MAX >> bits)).to_be_bytes());
                NameHash(out)
            }
        }
    }

    /// Which names the chain has.
    pub(crate) const fn kind(&self) -> ChainKind {
        ChainKind::Nsec3 { opt_out: self.opt_out }
    }

    /// The parameters of a chain that NSEC3PARAM says is whole: its flags are 0 (RFC 5155 section 4.1.2); `None` for another record. Whether records
    /// have opt-out they say themselves.
    pub(crate) fn of_param(rdata: &[u8]) -> Option<Self> {
        let ([SHA1, 0, high, low, len], salt) = rdata.split_first_chunk()? else { return None };
        (salt.len() == usize::from(*len))
            .then(|| Self::new(u16::from_be_bytes([*high, *low]), false).with_salt(salt.into()))
    }

    /// RDATA of NSEC3PARAM; its flags are 0 with opt-out too (RFC 5155 section 4.1.2).
    pub(crate) fn param_rdata(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + self.salt.len());
        self.put_head(0, &mut out);
        out
    }

    /// Appends what the RDATA of each record of the chain begins with.
    pub(super) fn put_record_head(&self, out: &mut Vec<u8>) {
        self.put_head(if self.opt_out { OPT_OUT } else { 0 }, out);
    }

    fn put_head(&self, flags: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&[SHA1, flags]);
        out.extend_from_slice(&self.iterations.to_be_bytes());
        out.push(self.salt.len() as u8);
        out.extend_from_slice(&self.salt);
    }
}

/// The names of an NSEC3 chain, in the order of their hashes.
#[derive(Debug, Clone)]
pub(crate) struct Nsec3Chain {
    pub(super) nsec3: Nsec3,
    pub(super) order: Sorted<Node>,
}

/// What a chain says of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashPosition {
    /// This member has it.
    Matches(NodeId),
    /// It lies behind the hash of this member and in front of the next.
    Covered(NodeId),
}

/// The first eight octets of a hash as a number.
pub(super) fn prefix(hash: NameHash) -> u64 {
    hash.0.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets))
}

impl Nsec3Chain {
    /// A chain with these members, in the order of their hashes.
    pub(in crate::signing) fn of_sorted(nsec3: &Nsec3, members: &[(NameHash, NodeId)]) -> Self {
        let order = Sorted::new(members.iter().map(|(hash, node)| (prefix(*hash), *node)));
        Self { nsec3: nsec3.clone(), order }
    }

    pub const fn nsec3(&self) -> &Nsec3 {
        &self.nsec3
    }

    /// The members in the order of their hashes, without the first `skip`.
    pub fn members_from(&self, skip: usize) -> impl Iterator<Item = NodeId> {
        self.order.iter_from(skip)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The members in the order of their hashes.
    pub const fn order(&self) -> &Sorted<Node> {
        &self.order
    }

    /// Where the hash of a name stands in that order.
    pub fn prefix_of(&self, name: &[u8]) -> u64 {
        prefix(self.nsec3.hash(name))
    }

    /// The record that matches or covers a hash: O(log n). `hash_of` gives the hash of a member.
    pub fn find(&self, hash: NameHash, hash_of: impl Fn(NodeId) -> NameHash) -> HashPosition {
        let found = self.order.last_up_to(prefix(hash), |node| hash_of(node).cmp(&hash));
        match found {
            Some(node) if hash_of(node) == hash => HashPosition::Matches(node),
            // In front of the least hash the record of the greatest covers; the apex is always a member.
            found => HashPosition::Covered(found.or(self.order.last()).unwrap_or(NodeId::APEX)),
        }
    }

    /// The member behind this hash, which is the first one behind the last.
    pub fn next(&self, hash: NameHash, hash_of: impl Fn(NodeId) -> NameHash) -> NodeId {
        let next = self.order.first_after(prefix(hash), |node| hash_of(node).cmp(&hash));
        next.or(self.order.first()).unwrap_or(NodeId::APEX)
    }

    /// The member in front of this hash, which is the last one in front of the first.
    pub fn before(&self, hash: NameHash, hash_of: impl Fn(NodeId) -> NameHash) -> NodeId {
        let before = self.order.last_before(prefix(hash), |node| hash_of(node).cmp(&hash));
        before.or(self.order.last()).unwrap_or(NodeId::APEX)
    }

    pub(in crate::signing) fn remove(
        &mut self,
        node: NodeId,
        hash: NameHash,
        hash_of: impl Fn(NodeId) -> NameHash,
    ) {
        self.order.remove(prefix(hash), node, |other| hash_of(other).cmp(&hash));
    }

    /// Puts a name in; gives the member that has its hash already, if there is one.
    pub(in crate::signing) fn insert(
        &mut self,
        node: NodeId,
        hash: NameHash,
        hash_of: impl Fn(NodeId) -> NameHash,
    ) -> Option<NodeId> {
        let compare = |other: NodeId| -> Ordering { hash_of(other).cmp(&hash) };
        let found = self.order.last_up_to(prefix(hash), compare).filter(|other| hash_of(*other) == hash);
        if found.is_none() {
            self.order.insert(prefix(hash), node, compare);
        }
        found
    }
}

impl HashCollision {
    pub(super) fn of(zone: &Zone, first: NodeId, second: NodeId) -> Self {
        let name = |node: NodeId| Name::from_wire(zone.owner(node)).unwrap_or_else(|_| zone.origin().clone());
        Self(name(first), name(second))
    }
}
