//! The NSEC chain (RFC 4034 section 4).

use keystore::dns::Rtype;

use crate::index::Index;
use crate::zone::{NodeId, Zone};

/// The NSEC records of a zone, in canonical order.
#[derive(Debug, Default)]
pub(super) struct Chain {
    links: Vec<Link>,
    /// Records, each with two octets of length in front.
    data: Vec<u8>,
    /// For each node the index of the last link at or in front of it.
    at_or_before: Vec<LinkId>,
}

/// Index of an NSEC record in the chain.
pub(super) type LinkId = Index<Link>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    node: NodeId,
    offset: u32,
}

impl Chain {
    /// Makes the chain; `apex_types` are those that the bundle adds at the apex.
    pub fn build(zone: &Zone, apex_types: impl Iterator<Item = Rtype>) -> Self {
        let mut chain = Self::default();
        chain.at_or_before.reserve_exact(zone.name_count());
        for node in zone.node_ids() {
            if node == NodeId::APEX || zone.is_cut(node) || !zone.is_below_cut(node) && !zone.is_empty(node) {
                chain.links.push(Link { node, offset: 0 });
            }
            chain.at_or_before.push(LinkId::at(chain.links.len() - 1));
        }
        let mut types: Vec<Rtype> = Vec::new();
        let apex_types: Vec<Rtype> = apex_types.collect();
        for index in 0..chain.links.len() {
            let node = chain.links[index].node;
            // The last record points back to the apex.
            let next = chain.links.get(index + 1).map_or(NodeId::APEX, |link| link.node);
            chain.links[index].offset = chain.data.len() as u32;
            let start = chain.data.len();
            chain.data.extend_from_slice(&[0, 0]);
            // RFC 6840 section 5.1: the next name is signed as it stands. In lower case it is the same to everyone.
            chain.data.extend(zone.owner(next).iter().map(u8::to_ascii_lowercase));
            types.clear();
            types.extend([Rtype::RRSIG, Rtype::NSEC]);
            let cut = zone.is_cut(node);
            let own = zone.rrsets_of(node).map(|r| zone.rrset(r).rtype);
            types.extend(own.filter(|t| !cut || matches!(*t, Rtype::NS | Rtype::DS)));
            if node == NodeId::APEX {
                types.extend(&apex_types);
            }
            types.sort_unstable();
            put_bitmap(&types, &mut chain.data);
            let len = (chain.data.len() - start - 2) as u16;
            chain.data[start..start + 2].copy_from_slice(&len.to_be_bytes());
        }
        chain
    }

    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Index and node of each record.
    pub fn iter(&self) -> impl Iterator<Item = (LinkId, NodeId)> {
        LinkId::range(0..self.links.len()).zip(self.links.iter().map(|link| link.node))
    }

    /// Index and owner node of the last record at or in front of `node`.
    pub fn at_or_before(&self, node: NodeId) -> (LinkId, NodeId) {
        let link = self.at_or_before[node.position()];
        (link, self.links[link.position()].node)
    }

    /// A record, with its length in front.
    pub fn data(&self, link: LinkId) -> &[u8] {
        let position = link.position();
        let end = self.links.get(position + 1).map_or(self.data.len(), |link| link.offset as usize);
        &self.data[self.links[position].offset as usize..end]
    }
}

/// Appends the type bitmap (RFC 4034 section 4.1.2) of sorted `types`.
fn put_bitmap(types: &[Rtype], out: &mut Vec<u8>) {
    for window in types.chunk_by(|a, b| a.0 >> 8 == b.0 >> 8) {
        let mut bits = [0u8; 32];
        let mut len = 0;
        for rtype in window {
            let low = usize::from(rtype.0 & 0xff);
            bits[low / 8] |= 0x80 >> (low % 8);
            len = low / 8 + 1;
        }
        out.extend_from_slice(&[(window[0].0 >> 8) as u8, len as u8]);
        out.extend_from_slice(&bits[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Chain {
        /// Damages the next name of the first record.
        pub(in crate::signing) fn corrupt(&mut self) {
            self.data[3] ^= 1;
        }
    }

    #[test]
    fn bitmap_of_rfc_4034_section_4_3() {
        let mut out = Vec::new();
        put_bitmap(&[Rtype::A, Rtype::MX, Rtype::RRSIG, Rtype::NSEC, Rtype(1234)], &mut out);
        let mut want = vec![0, 6, 0x40, 0x01, 0, 0, 0, 0x03, 4, 27];
        want.extend([0; 26]);
        want.push(0x20);
        assert_eq!(out, want);
    }
}
