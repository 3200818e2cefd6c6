//! The order of names: sorts the owners, joins equal ones, and adds the empty non-terminals between.

use rayon::prelude::*;

use super::NodeId;
use super::key;

/// Owner names and their search keys, one after the other, as they came.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Owners in wire form, case kept; also the RDATA of the records, which stand between them.
    pub octets: Vec<u8>,
    pub keys: Vec<u8>,
    pub entries: Vec<NameEntry>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct NameEntry {
    pub owner: u32,
    pub key: u32,
    pub key_len: u16,
    pub owner_len: u8,
    pub depth: u8,
}

impl Names {
    pub fn owner(&self, entry: &NameEntry) -> &[u8] {
        &self.octets[entry.owner as usize..][..usize::from(entry.owner_len)]
    }

    fn key(&self, entry: &NameEntry) -> &[u8] {
        &self.keys[entry.key as usize..][..usize::from(entry.key_len)]
    }

    fn key_of(&self, index: u32) -> &[u8] {
        self.key(&self.entries[index as usize])
    }
}

/// A name as it is laid out, before it has its RRsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaidOutNode {
    /// Where its owner begins in [`Names::octets`].
    pub owner: u32,
    /// Where its search key begins in [`Layout::keys`].
    pub key: u32,
    pub parent: NodeId,
    pub wildcard: Option<NodeId>,
    pub children: u32,
    pub key_len: u16,
    pub owner_len: u8,
    pub depth: u8,
}

/// The nodes of a zone, in canonical order, and their search keys.
#[derive(Debug)]
pub(super) struct Layout {
    pub nodes: Vec<LaidOutNode>,
    pub keys: Vec<u8>,
    /// For each name its node; [`NodeId::APEX`] for a name that `used` left out.
    pub node_of: Vec<NodeId>,
}

impl Layout {
    /// Lays out the names of which `used` is true. The apex has a node in any case.
    pub fn new(names: &Names, origin_len: usize, used: impl Fn(usize) -> bool) -> Self {
        let mut order: Vec<(u64, u32)> = (0..)
            .zip(&names.entries)
            .filter(|(index, _)| used(*index as usize))
            .map(|(index, entry)| (key::prefix(names.key(entry)), index))
            .collect();
        order.par_sort_unstable_by(|(prefix_a, a), (prefix_b, b)| {
            prefix_a.cmp(prefix_b).then_with(|| names.key_of(*a).cmp(names.key_of(*b))).then(a.cmp(b))
        });
        let mut layout = Self {
            nodes: Vec::with_capacity(order.len() + 1),
            keys: Vec::with_capacity(names.keys.len()),
            node_of: vec![NodeId::APEX; names.entries.len()],
        };
        // The nodes from the apex down to the one added last.
        let mut path: Vec<NodeId> = Vec::new();
        if order.first().is_none_or(|(_, index)| names.entries[*index as usize].depth > 0) {
            // No record at the apex: refused later, for want of a SOA; until then the tree needs its root.
            layout.nodes.push(LaidOutNode::new(0, origin_len as u8, NodeId::APEX));
            path.push(NodeId::APEX);
        }
        for (_, index) in order {
            layout.add(names, index, &mut path);
        }
        layout
    }

    fn add(&mut self, names: &Names, index: u32, path: &mut Vec<NodeId>) {
        let name = &names.entries[index as usize];
        let key = names.key(name);
        let common = match self.nodes.last() {
            Some(last) => {
                let last_key = self.key(last);
                if last_key == key {
                    self.node_of[index as usize] = NodeId::at(self.nodes.len() - 1);
                    return;
                }
                key::common_labels(last_key, key)
            }
            None => 0,
        };
        let key_start = self.keys.len() as u32;
        self.keys.extend_from_slice(key);
        path.truncate(common + 1);
        for depth in path.len()..=usize::from(name.depth) {
            // An ancestor's owner is the tail of the name's, its key the head of the name's.
            let mut skip = 0;
            for _ in depth..usize::from(name.depth) {
                skip += usize::from(names.octets[name.owner as usize + skip]) + 1;
            }
            let node = NodeId::at(self.nodes.len());
            let parent = path.last().copied().unwrap_or(NodeId::APEX);
            if names.octets[name.owner as usize + skip..].starts_with(b"\x01*") && depth > 0 {
                self.nodes[parent.position()].wildcard = Some(node);
            }
            if let Some(parent) = self.nodes.get_mut(parent.position()).filter(|_| depth > 0) {
                parent.children += 1;
            }
            self.nodes.push(LaidOutNode {
                key: key_start,
                key_len: key::ancestor_len(key, depth) as u16,
                depth: depth as u8,
                ..LaidOutNode::new(name.owner + skip as u32, name.owner_len - skip as u8, parent)
            });
            path.push(node);
        }
        self.node_of[index as usize] = NodeId::at(self.nodes.len() - 1);
    }

    fn key(&self, node: &LaidOutNode) -> &[u8] {
        &self.keys[node.key as usize..][..usize::from(node.key_len)]
    }
}

impl LaidOutNode {
    const fn new(owner: u32, owner_len: u8, parent: NodeId) -> Self {
        Self { owner, key: 0, parent, wildcard: None, children: 0, key_len: 0, owner_len, depth: 0 }
    }
}
