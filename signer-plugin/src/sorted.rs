//! Indices of a table in an order, found by binary search.
//!
//! ```text
//! groups   │ 64 chunks │ 64 chunks │ …          of each the prefix of its first entry, side by side
//! chunk    │ 64 entries │                       of each the prefix of its key, side by side, then its index
//! ```
//! The prefix of a key is its first eight octets as a number. A search reads a few cache lines of prefixes, and looks at a key itself only
//! where prefixes are equal.

use std::cmp::Ordering;

use crate::index::Index;

/// Entries of a chunk, and chunks of a group.
const FAN_OUT: usize = 64;

/// Indices of a table of `T`, in the order of their keys.
#[derive(Debug)]
pub(crate) struct Sorted<T> {
    firsts: Vec<u64>,
    groups: Vec<Group<T>>,
}

#[derive(Debug)]
struct Group<T> {
    firsts: Vec<u64>,
    chunks: Vec<Chunk<T>>,
}

#[derive(Debug)]
struct Chunk<T> {
    prefixes: Box<[u64]>,
    indices: Box<[Index<T>]>,
}

impl<T> Sorted<T> {
    /// Takes entries in order, each with the prefix of its key.
    pub fn new(entries: &[(u64, Index<T>)]) -> Self {
        let first = |entries: &[(u64, Index<T>)]| entries.first().map_or(0, |(prefix, _)| *prefix);
        let chunk = |entries: &[(u64, Index<T>)]| Chunk {
            prefixes: entries.iter().map(|(prefix, _)| *prefix).collect(),
            indices: entries.iter().map(|(_, index)| *index).collect(),
        };
        let group = |entries: &[(u64, Index<T>)]| Group {
            firsts: entries.chunks(FAN_OUT).map(first).collect(),
            chunks: entries.chunks(FAN_OUT).map(chunk).collect(),
        };
        Self {
            firsts: entries.chunks(FAN_OUT * FAN_OUT).map(first).collect(),
            groups: entries.chunks(FAN_OUT * FAN_OUT).map(group).collect(),
        }
    }

    /// The last entry whose key is not greater than the key that is looked for; `None` when all are. `prefix` is that of this key, and
    /// `compare` compares the key of an entry with it.
    pub fn last_up_to(&self, prefix: u64, compare: impl Fn(Index<T>) -> Ordering) -> Option<Index<T>> {
        let of_group = |group: &Group<T>| group.chunks[0].indices[0];
        let group = last_up_to(&self.firsts, prefix, |at| compare(of_group(&self.groups[at])))?;
        let group = &self.groups[group];
        let chunk = last_up_to(&group.firsts, prefix, |at| compare(group.chunks[at].indices[0]))?;
        let chunk = &group.chunks[chunk];
        last_up_to(&chunk.prefixes, prefix, |at| compare(chunk.indices[at])).map(|at| chunk.indices[at])
    }

    /// The last entry.
    pub fn last(&self) -> Option<Index<T>> {
        self.groups.last()?.chunks.last()?.indices.last().copied()
    }
}

/// The position of the last of some sorted entries that is not greater than what is looked for.
fn last_up_to(prefixes: &[u64], prefix: u64, compare: impl Fn(usize) -> Ordering) -> Option<usize> {
    let mut low = prefixes.partition_point(|other| *other < prefix);
    let mut high = low + prefixes[low..].partition_point(|other| *other == prefix);
    while low < high {
        let middle = low + (high - low) / 2;
        match compare(middle) {
            Ordering::Greater => high = middle,
            Ordering::Less | Ordering::Equal => low = middle + 1,
        }
    }
    low.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_is_found_as_in_a_plain_list(
            // Few prefixes, so that many entries share one.
            keys in prop::collection::btree_set((0u64..4, 0u32..3000), 1..2000),
            // More than one group.
            more in 0u32..5000,
            asked in prop::collection::vec((0u64..5, 0u32..3001), 1..50),
        ) {
            let mut keys: Vec<(u64, u32)> = keys.into_iter().collect();
            keys.extend((0..more).map(|n| (4 + u64::from(n), n)));
            let entries: Vec<(u64, Index<()>)> =
                keys.iter().enumerate().map(|(at, (prefix, _))| (*prefix, Index::at(at))).collect();
            let sorted = Sorted::new(&entries);
            prop_assert_eq!(sorted.last(), entries.last().map(|(_, index)| *index));
            for key in asked {
                let found = sorted.last_up_to(key.0, |index| keys[index.position()].cmp(&key));
                let want = keys.partition_point(|other| *other <= key).checked_sub(1);
                prop_assert_eq!(found.map(Index::position), want);
            }
        }
    }

    #[test]
    fn nothing_is_found_among_nothing() {
        let sorted = Sorted::<()>::new(&[]);
        assert_eq!((sorted.last_up_to(7, |_| Ordering::Less), sorted.last()), (None, None));
    }
}
