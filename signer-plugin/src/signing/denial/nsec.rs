//! The NSEC chain (RFC 4034 section 4).

use keystore::dns::Rtype;

use super::LinkId;
use super::standing::{self, ChainKind};
use crate::zone::{NodeId, Zone};

/// The NSEC records of a zone, in canonical order.
#[derive(Debug)]
pub(crate) struct NsecChain {
    links: Vec<Link>,
    /// Records, each with two octets of length in front.
    data: Vec<u8>,
    /// For each node the index of the last link at or in front of it.
    at_or_before: Vec<LinkId>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    node: NodeId,
    offset: u32,
}

impl NsecChain {
    /// Makes the chain; `apex_types` are those that the apex has beside the zone's own.
    pub fn build(zone: &Zone, apex_types: &[Rtype]) -> Self {
        let mut chain =
            Self { links: Vec::new(), data: Vec::new(), at_or_before: Vec::with_capacity(zone.name_count()) };
        // Empty non-terminals are in no NSEC chain, so that what is below a name does not matter.
        for node in zone.node_ids() {
            if standing::member(zone, node, ChainKind::Nsec, false) {
                chain.links.push(Link { node, offset: 0 });
            }
            chain.at_or_before.push(LinkId::at(chain.links.len() - 1));
        }
        let mut types: Vec<Rtype> = Vec::new();
        for index in 0..chain.links.len() {
            let node = chain.links[index].node;
            // The last record points back to the apex.
            let next = chain.links.get(index + 1).map_or(NodeId::APEX, |link| link.node);
            chain.links[index].offset = chain.data.len() as u32;
            let start = chain.data.len();
            chain.data.extend_from_slice(&[0, 0]);
            // RFC 6840 section 5.1: the next name is signed as it stands. In lower case it is the same to everyone.
            chain.data.extend(zone.owner(next).iter().map(u8::to_ascii_lowercase));
            standing::types(zone, node, ChainKind::Nsec, apex_types, &mut types);
            standing::put_bitmap(&types, &mut chain.data);
            let len = (chain.data.len() - start - 2) as u16;
            chain.data[start..start + 2].copy_from_slice(&len.to_be_bytes());
        }
        chain
    }

    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Owner of a record.
    pub fn node(&self, link: LinkId) -> NodeId {
        self.links[link.position()].node
    }

    /// The last record at or in front of `node`.
    pub fn at_or_before(&self, node: NodeId) -> LinkId {
        self.at_or_before[node.position()]
    }

    /// A record, with its length in front.
    pub fn data(&self, link: LinkId) -> &[u8] {
        let position = link.position();
        let end = self.links.get(position + 1).map_or(self.data.len(), |link| link.offset as usize);
        &self.data[self.links[position].offset as usize..end]
    }

    /// Damages the next name of the first record.
    #[cfg(test)]
    pub fn corrupt(&mut self) {
        self.data[3] ^= 1;
    }
}
