//! The NSEC3 chain (RFC 5155).

use keystore::dns::nsec3::NameHash;
use keystore::dns::{Name, Rtype};
use rayon::prelude::*;

use super::standing::{self, ChainKind};
use super::{Link, LinkId};
use crate::sorted::Sorted;
use crate::zone::{NodeId, Zone};

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
pub(crate) struct Collision(pub Name, pub Name);

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

    /// RDATA of NSEC3PARAM; its flags are 0 with opt-out too (RFC 5155 section 4.1.2).
    pub(crate) fn param_rdata(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + self.salt.len());
        self.put_head(0, &mut out);
        out
    }

    fn put_head(&self, flags: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&[SHA1, flags]);
        out.extend_from_slice(&self.iterations.to_be_bytes());
        out.push(self.salt.len() as u8);
        out.extend_from_slice(&self.salt);
    }
}

/// The NSEC3 records of a zone, in the order of their hashes.
#[derive(Debug)]
pub(crate) struct Nsec3Chain {
    nsec3: Nsec3,
    members: Vec<Member>,
    /// Finds a member by its hash.
    order: Sorted<Link>,
    /// For each node its record.
    link_of: Vec<Option<LinkId>>,
    /// Records, each with two octets of length in front.
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    hash: NameHash,
    node: NodeId,
    offset: u32,
}

/// The first eight octets of a hash as a number.
fn prefix(hash: NameHash) -> u64 {
    hash.0.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets))
}

/// What a chain says of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A member has it.
    Matches(LinkId),
    /// It lies behind the hash of this record and in front of the next.
    Covered(LinkId),
}

impl Nsec3Chain {
    /// Makes the chain, on all cores; `apex_types` are those that the apex has beside the zone's own.
    pub fn build(zone: &Zone, nsec3: Nsec3, apex_types: &[Rtype]) -> Result<Self, Collision> {
        let kind = nsec3.kind();
        let is_member = standing::members(zone, kind);
        let nodes: Vec<NodeId> = zone.node_ids().filter(|node| is_member[node.position()]).collect();
        drop(is_member);
        let mut members: Vec<Member> = nodes
            .into_par_iter()
            .map(|node| Member { hash: nsec3.hash(zone.owner(node)), node, offset: 0 })
            .collect();
        members.par_sort_unstable_by_key(|member| (member.hash, member.node));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].hash == pair[1].hash) {
            let name = |member: &Member| {
                Name::from_wire(zone.owner(member.node)).unwrap_or_else(|_| zone.origin().clone())
            };
            return Err(Collision(name(&pair[0]), name(&pair[1])));
        }
        let order: Vec<(u64, LinkId)> =
            members.iter().enumerate().map(|(at, member)| (prefix(member.hash), LinkId::at(at))).collect();
        let order = Sorted::new(&order);
        let link_of = vec![None; zone.name_count()];
        let mut chain = Self { nsec3, members, order, link_of, data: Vec::new() };
        let flags = if chain.nsec3.opt_out { OPT_OUT } else { 0 };
        let mut types: Vec<Rtype> = Vec::new();
        for index in 0..chain.members.len() {
            let node = chain.members[index].node;
            let next = chain.members[(index + 1) % chain.members.len()].hash;
            let start = chain.data.len();
            chain.members[index].offset = start as u32;
            chain.link_of[node.position()] = Some(LinkId::at(index));
            chain.data.extend_from_slice(&[0, 0]);
            chain.nsec3.put_head(flags, &mut chain.data);
            chain.data.push(next.0.len() as u8);
            chain.data.extend_from_slice(&next.0);
            standing::types(zone, node, kind, apex_types, &mut types);
            standing::put_bitmap(&types, &mut chain.data);
            let len = (chain.data.len() - start - 2) as u16;
            chain.data[start..start + 2].copy_from_slice(&len.to_be_bytes());
        }
        Ok(chain)
    }

    pub const fn nsec3(&self) -> &Nsec3 {
        &self.nsec3
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The name whose hash owns a record.
    pub fn node(&self, link: LinkId) -> NodeId {
        self.members[link.position()].node
    }

    /// The hash that owns a record.
    pub fn hash(&self, link: LinkId) -> NameHash {
        self.members[link.position()].hash
    }

    /// The record of a node; `None` when it is no member.
    pub fn link_at(&self, node: NodeId) -> Option<LinkId> {
        self.link_of[node.position()]
    }

    /// The record that matches or covers a hash: O(log n).
    pub fn find(&self, hash: NameHash) -> Found {
        let found = self.order.last_up_to(prefix(hash), |link| self.hash(link).cmp(&hash));
        // In front of the least hash the record of the greatest covers; the apex is always a member.
        let link = found.or(self.order.last()).unwrap_or(LinkId::at(0));
        if self.hash(link) == hash { Found::Matches(link) } else { Found::Covered(link) }
    }

    /// A record, with its length in front.
    pub fn data(&self, link: LinkId) -> &[u8] {
        let position = link.position();
        let end = self.members.get(position + 1).map_or(self.data.len(), |member| member.offset as usize);
        &self.data[self.members[position].offset as usize..end]
    }

    /// Damages the next hash of the first record.
    #[cfg(test)]
    pub fn corrupt(&mut self) {
        let at = 2 + 5 + self.nsec3.salt.len() + 1;
        self.data[at] ^= 1;
    }
}
