//! The names of a zone in blocks, each with what its names have: a change of a name copies its block.

use keystore::dns::Rtype;

use super::NodeId;

/// Names of a block.
pub(crate) const NODES: usize = 64;

/// A name of the zone, as far as others lead to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// The parent; the apex is its own.
    pub parent: NodeId,
    /// The child `*`.
    pub wildcard: Option<NodeId>,
    /// The topmost delegation at or above it.
    pub cut: Option<NodeId>,
    /// Names that have it as their parent.
    pub children: u32,
    /// Labels below the apex.
    pub depth: u8,
    /// False for a place of the block that no name has.
    pub exists: bool,
    pub(super) key_len: u16,
    pub(super) owner_len: u8,
    /// Where its search key begins among the octets of the block; its owner and the data of its RRsets follow.
    pub(super) key: u32,
    /// Where its RRsets begin among those of the block.
    pub(super) first_rrset: u32,
    pub(super) rrset_count: u32,
}

/// An RRset of a block.
#[derive(Debug, Clone, Copy)]
struct RrsetEntry {
    rtype: Rtype,
    fold: bool,
    ttl: u32,
    offset: u32,
    len: u32,
}

/// An RRset of a zone, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RrsetRef<'a> {
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    /// True when the canonical form of its RDATA is not what `data` has: upper-case letters in names.
    pub fold: bool,
    /// Its records: each two octets of length, then the RDATA.
    pub data: &'a [u8],
}

/// What a name has of its own.
#[derive(Debug, Clone)]
pub(super) struct NodeContent<'a> {
    pub key: &'a [u8],
    /// In wire form, case kept.
    pub owner: &'a [u8],
    /// By type.
    pub rrsets: Vec<RrsetRef<'a>>,
}

/// At most [`NODES`] names.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeBlock {
    nodes: Vec<Node>,
    rrsets: Vec<RrsetEntry>,
    octets: Vec<u8>,
}

impl Node {
    /// A place that no name has.
    pub const NOTHING: Self = Self {
        parent: NodeId::APEX,
        wildcard: None,
        cut: None,
        children: 0,
        depth: 0,
        exists: false,
        key_len: 0,
        owner_len: 0,
        key: 0,
        first_rrset: 0,
        rrset_count: 0,
    };

    pub const fn rrset_count(&self) -> usize {
        self.rrset_count as usize
    }
}

impl NodeBlock {
    /// Adds a name behind those that there are.
    pub fn push(&mut self, links: Node, content: &NodeContent<'_>) {
        let node = Node {
            key: self.octets.len() as u32,
            key_len: content.key.len() as u16,
            owner_len: content.owner.len() as u8,
            first_rrset: self.rrsets.len() as u32,
            rrset_count: content.rrsets.len() as u32,
            ..links
        };
        self.octets.extend_from_slice(content.key);
        self.octets.extend_from_slice(content.owner);
        for RrsetRef { rtype, ttl, fold, data } in &content.rrsets {
            let (offset, len) = (self.octets.len() as u32, data.len() as u32);
            self.rrsets.push(RrsetEntry { rtype: *rtype, fold: *fold, ttl: *ttl, offset, len });
            self.octets.extend_from_slice(data);
        }
        self.nodes.push(node);
    }

    /// The same with another name, or other content of a name, at `place`, which may be the one behind the last.
    pub fn with(&self, place: usize, links: Node, content: &NodeContent<'_>) -> Self {
        let mut block = Self {
            nodes: Vec::with_capacity(NODES),
            rrsets: Vec::with_capacity(self.rrsets.len() + content.rrsets.len()),
            octets: Vec::with_capacity(self.octets.len() + content.key.len() + content.owner.len() + 256),
        };
        for at in 0..self.nodes.len().max(place + 1) {
            match self.nodes.get(at) {
                _ if at == place => block.push(links, content),
                Some(node) => block.push(*node, &self.content(at)),
                None => block.push(Node::NOTHING, &NodeContent { key: &[], owner: &[], rrsets: Vec::new() }),
            }
        }
        block.shrink();
        block
    }

    /// Gives back memory that nothing needs.
    pub fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.rrsets.shrink_to_fit();
        self.octets.shrink_to_fit();
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&self, place: usize) -> &Node {
        &self.nodes[place]
    }

    /// To change what leads to other names.
    pub fn node_mut(&mut self, place: usize) -> &mut Node {
        &mut self.nodes[place]
    }

    pub fn key(&self, place: usize) -> &[u8] {
        let node = &self.nodes[place];
        &self.octets[node.key as usize..][..usize::from(node.key_len)]
    }

    pub fn owner(&self, place: usize) -> &[u8] {
        let node = &self.nodes[place];
        &self.octets[node.key as usize + usize::from(node.key_len)..][..usize::from(node.owner_len)]
    }

    pub fn rrset(&self, place: usize, number: usize) -> RrsetRef<'_> {
        let RrsetEntry { rtype, fold, ttl, offset, len } =
            self.rrsets[self.nodes[place].first_rrset as usize + number];
        RrsetRef { rtype, ttl, fold, data: &self.octets[offset as usize..][..len as usize] }
    }

    /// The number of a name's RRset of type `rtype`.
    pub fn find(&self, place: usize, rtype: Rtype) -> Option<usize> {
        let node = &self.nodes[place];
        let entries = &self.rrsets[node.first_rrset as usize..][..node.rrset_count()];
        let at = entries.partition_point(|entry| entry.rtype < rtype);
        entries.get(at).filter(|entry| entry.rtype == rtype).map(|_| at)
    }

    /// Reads what is needed of a name, so that it is found without waiting for that. A place that no name has is 0.
    pub fn read_name(&self, place: usize) -> usize {
        self.nodes.get(place).map_or(0, |node| node.key as usize)
    }

    /// The same for its RRsets and octets.
    pub fn read_content(&self, place: usize) -> usize {
        let Some(node) = self.nodes.get(place) else { return 0 };
        let rrset = self.rrsets.get(node.first_rrset as usize).map_or(0, |rrset| rrset.offset as usize);
        rrset + read_lines(&self.octets, node.key as usize, 2)
    }

    pub fn content(&self, place: usize) -> NodeContent<'_> {
        let rrsets = (0..self.nodes[place].rrset_count()).map(|number| self.rrset(place, number));
        NodeContent { key: self.key(place), owner: self.owner(place), rrsets: rrsets.collect() }
    }
}

/// Reads an octet of each of so many lines of memory, of 64 octets.
pub(crate) fn read_lines(octets: &[u8], from: usize, lines: usize) -> usize {
    (0..lines).map(|line| usize::from(octets.get(from + 64 * line).copied().unwrap_or(0))).sum()
}
