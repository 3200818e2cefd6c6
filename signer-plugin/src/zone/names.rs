//! The index of the names of a zone by the hash of their search keys: a name that exists is found without a search.
//!
//! The hash has a random seed for each zone that is read: queries come from strangers.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use rayon::prelude::*;

use super::NodeId;
use crate::blocks::Blocks;

/// Names of a table, about.
const TABLE: usize = 256;
/// Names that one thread puts into the index: to hand fewer to other threads takes longer.
const FEW: usize = 1024;
/// Most tables.
const MOST_TABLES: usize = 4096;

/// The hash of a search key, in the index of one zone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHash(u64);

/// Finds the node of a search key. The names are spread over many tables, by other bits of their hash than those that a table uses: they are
/// filled on all cores, and a copy with a few changes shares most of them.
#[derive(Debug, Clone)]
pub(super) struct NameIndex {
    seed: SeedableRandomState,
    /// As many as a power of two.
    tables: Blocks<HashTable<NodeId>>,
}

impl NameIndex {
    /// The index of the first `count` nodes, of which `key_of` gives the search keys.
    pub fn new<'k>(count: usize, key_of: impl Fn(NodeId) -> &'k [u8] + Sync) -> Self {
        let seed = new_seed();
        let table_count = (count / TABLE).next_power_of_two().clamp(1, MOST_TABLES);
        let mut hashes: Vec<(u64, NodeId)> = (0..count)
            .into_par_iter()
            .with_min_len(FEW)
            .map(|position| (hash(&seed, key_of(NodeId::at(position))), NodeId::at(position)))
            .collect();
        hashes.par_sort_unstable_by_key(|(hash, _)| table_of(*hash, table_count));
        let tables: Vec<HashTable<NodeId>> = (0..table_count)
            .into_par_iter()
            .with_min_len(FEW.div_ceil(TABLE))
            .map(|number| {
                let from = hashes.partition_point(|(hash, _)| table_of(*hash, table_count) < number);
                let to = hashes.partition_point(|(hash, _)| table_of(*hash, table_count) <= number);
                let mut table = HashTable::with_capacity(to - from);
                for (hash_of_key, node) in &hashes[from..to] {
                    table.insert_unique(*hash_of_key, *node, |node| hash(&seed, key_of(*node)));
                }
                table
            })
            .collect();
        Self { seed, tables: tables.into_iter().collect() }
    }

    /// The node with this search key.
    pub fn get<'k>(&self, key: &[u8], key_of: impl Fn(NodeId) -> &'k [u8]) -> Option<NodeId> {
        let hash = hash(&self.seed, key);
        let table = self.tables.get(table_of(hash, self.tables.len()));
        table.find(hash, |node| key_of(*node) == key).copied()
    }

    /// The hash of a search key.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(hash(&self.seed, key))
    }

    /// Reads where the table of a key is, so that [`Self::guess`] finds it without waiting for that.
    pub fn read_table(&self, KeyHash(hash): KeyHash) -> usize {
        self.tables.get(table_of(hash, self.tables.len())).len()
    }

    /// A node that may have the key with this hash. Keys are not looked at: it may be another, and a key that is not there may get one.
    pub fn guess(&self, KeyHash(hash): KeyHash) -> Option<NodeId> {
        self.tables.get(table_of(hash, self.tables.len())).find(hash, |_| true).copied()
    }

    /// Adds a node, whose key is not there yet.
    pub fn insert<'k>(&mut self, node: NodeId, key_of: impl Fn(NodeId) -> &'k [u8]) {
        let hash_of_key = hash(&self.seed, key_of(node));
        let table = self.tables.get_mut(table_of(hash_of_key, self.tables.len()));
        table.insert_unique(hash_of_key, node, |node| hash(&self.seed, key_of(*node)));
    }

    /// Takes a node out.
    pub fn remove(&mut self, node: NodeId, key: &[u8]) {
        let hash = hash(&self.seed, key);
        let table = self.tables.get_mut(table_of(hash, self.tables.len()));
        if let Ok(entry) = table.find_entry(hash, |other| *other == node) {
            entry.remove();
        }
    }

    /// Names for which the tables are still small enough to be copied for a change.
    pub fn room(&self) -> usize {
        match self.tables.len() {
            MOST_TABLES => usize::MAX,
            tables => 4 * TABLE * tables,
        }
    }
}

/// The seed of an index. In tests it is always the same, so that what fails by a collision fails again.
fn new_seed() -> SeedableRandomState {
    if cfg!(test) { SeedableRandomState::fixed() } else { SeedableRandomState::random() }
}

fn hash(seed: &SeedableRandomState, key: &[u8]) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Which of the tables has a key with this hash. Tables use the lowest and the highest bits.
const fn table_of(hash: u64, table_count: usize) -> usize {
    (hash >> 32) as usize & (table_count - 1)
}
