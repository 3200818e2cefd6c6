//! Indices of a table in an order, found by binary search; a copy shares what was not changed.
//!
//! ```text
//! groups   │ 64 chunks │ 64 chunks │ …          of each the prefix of its first entry, side by side
//! chunk    │ 64 entries │                       of each the prefix of its key, side by side, then its index
//! ```
//! The prefix of a key is its first eight octets as a number. A search reads a few cache lines of prefixes, and looks at a key itself only
//! where prefixes are equal.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::index::Index;

/// Entries of a chunk, and chunks of a group, when they are made; they are split at twice as many.
const FAN_OUT: usize = 64;

/// Indices of a table of `T`, in the order of their keys.
#[derive(Debug)]
pub(crate) struct Sorted<T> {
    firsts: Vec<u64>,
    groups: Vec<Arc<Group<T>>>,
}

#[derive(Debug)]
struct Group<T> {
    firsts: Vec<u64>,
    chunks: Vec<Arc<Chunk<T>>>,
    /// Entries of all chunks.
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    prefixes: Vec<u64>,
    indices: Vec<Index<T>>,
}

/// Where an entry stands: its group, its chunk there, and its place in the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    group: usize,
    chunk: usize,
    entry: usize,
}

/// A chunk of an order, see [`Sorted::chunk_near`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkPlace {
    group: usize,
    chunk: usize,
}

// Copies do not need a copy of `T`.
impl<T> Clone for Sorted<T> {
    fn clone(&self) -> Self {
        Self { firsts: self.firsts.clone(), groups: self.groups.clone() }
    }
}

impl<T> Clone for Group<T> {
    fn clone(&self) -> Self {
        Self { firsts: self.firsts.clone(), chunks: self.chunks.clone(), len: self.len }
    }
}

impl<T> Clone for Chunk<T> {
    fn clone(&self) -> Self {
        Self { prefixes: self.prefixes.clone(), indices: self.indices.clone() }
    }
}

impl<T> Chunk<T> {
    fn new(entries: impl Iterator<Item = (u64, Index<T>)>) -> Self {
        let mut chunk = Self { prefixes: Vec::with_capacity(FAN_OUT), indices: Vec::with_capacity(FAN_OUT) };
        for (prefix, index) in entries {
            chunk.prefixes.push(prefix);
            chunk.indices.push(index);
        }
        chunk
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { prefixes: self.prefixes.split_off(at), indices: self.indices.split_off(at) }
    }

    fn first(&self) -> u64 {
        self.prefixes.first().copied().unwrap_or_default()
    }
}

impl<T> Group<T> {
    fn new(chunks: Vec<Arc<Chunk<T>>>) -> Self {
        Self {
            firsts: chunks.iter().map(|chunk| chunk.first()).collect(),
            len: chunks.iter().map(|chunk| chunk.indices.len()).sum(),
            chunks,
        }
    }

    fn first(&self) -> u64 {
        self.firsts.first().copied().unwrap_or_default()
    }
}

impl<T> Sorted<T> {
    /// Takes entries in order, each with the prefix of its key.
    pub fn new(entries: impl IntoIterator<Item = (u64, Index<T>)>) -> Self {
        let mut entries = entries.into_iter().peekable();
        let mut chunks: Vec<Arc<Chunk<T>>> = Vec::new();
        while entries.peek().is_some() {
            chunks.push(Arc::new(Chunk::new(entries.by_ref().take(FAN_OUT))));
        }
        let groups: Vec<Arc<Group<T>>> =
            chunks.chunks(FAN_OUT).map(|chunks| Arc::new(Group::new(chunks.to_vec()))).collect();
        Self { firsts: groups.iter().map(|group| group.first()).collect(), groups }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.len).sum()
    }

    /// The last entry whose key is not greater than the key that is looked for; `None` when all are. `prefix` is that of this key, and
    /// `compare` compares the key of an entry with it.
    pub fn last_up_to(&self, prefix: u64, compare: impl Fn(Index<T>) -> Ordering) -> Option<Index<T>> {
        self.place_up_to(prefix, compare).map(|place| self.at(place))
    }

    /// The last entry whose key is less than the key that is looked for.
    pub fn last_before(&self, prefix: u64, compare: impl Fn(Index<T>) -> Ordering) -> Option<Index<T>> {
        self.last_up_to(prefix, |index| match compare(index) {
            Ordering::Equal => Ordering::Greater,
            other => other,
        })
    }

    /// The first entry whose key is greater than the key that is looked for.
    pub fn first_after(&self, prefix: u64, compare: impl Fn(Index<T>) -> Ordering) -> Option<Index<T>> {
        let Some(mut place) = self.place_up_to(prefix, compare) else { return self.first() };
        place.entry += 1;
        if place.entry == self.groups[place.group].chunks[place.chunk].indices.len() {
            (place.entry, place.chunk) = (0, place.chunk + 1);
        }
        if place.chunk == self.groups[place.group].chunks.len() {
            (place.chunk, place.group) = (0, place.group + 1);
        }
        (place.group < self.groups.len()).then(|| self.at(place))
    }

    /// The chunk that a key with this prefix is in, or is near to. Keys are not looked at: where many have this prefix it may be another.
    pub fn chunk_near(&self, prefix: u64) -> Option<ChunkPlace> {
        let last = |prefixes: &[u64]| prefixes.partition_point(|other| *other <= prefix).saturating_sub(1);
        let group = last(&self.firsts);
        Some(ChunkPlace { group, chunk: last(&self.groups.get(group)?.firsts) })
    }

    /// Reads where the entries of a chunk are, so that they are found without waiting for that.
    pub fn read_chunk(&self, place: ChunkPlace) -> usize {
        self.groups[place.group].chunks[place.chunk].indices.len()
    }

    /// The last entry of the chunk whose prefix is not greater.
    pub fn near(&self, prefix: u64, place: ChunkPlace) -> Option<Index<T>> {
        let chunk = &self.groups[place.group].chunks[place.chunk];
        let at = chunk.prefixes.partition_point(|other| *other <= prefix);
        chunk.indices.get(at.saturating_sub(1)).copied()
    }

    /// The first entry.
    pub fn first(&self) -> Option<Index<T>> {
        (!self.groups.is_empty()).then(|| self.at(Place::default()))
    }

    /// The last entry.
    pub fn last(&self) -> Option<Index<T>> {
        self.groups.last()?.chunks.last()?.indices.last().copied()
    }

    /// All entries in order, without the first `skip`.
    pub fn iter_from(&self, skip: usize) -> impl Iterator<Item = Index<T>> {
        let (mut first, mut left) = (0, skip);
        while let Some(group) = self.groups.get(first).filter(|group| group.len <= left) {
            left -= group.len;
            first += 1;
        }
        let groups = self.groups.get(first..).unwrap_or_default();
        groups
            .iter()
            .flat_map(|group| &group.chunks)
            .flat_map(|chunk| chunk.indices.iter().copied())
            .skip(left)
    }

    /// Puts an entry in, whose key is not there yet.
    pub fn insert(&mut self, prefix: u64, index: Index<T>, compare: impl Fn(Index<T>) -> Ordering) {
        let place = match self.place_up_to(prefix, compare) {
            Some(place) => Place { entry: place.entry + 1, ..place },
            None if self.groups.is_empty() => {
                *self = Self::new([(prefix, index)]);
                return;
            }
            None => Place::default(),
        };
        let group = Arc::make_mut(&mut self.groups[place.group]);
        group.len += 1;
        let chunk = Arc::make_mut(&mut group.chunks[place.chunk]);
        chunk.prefixes.insert(place.entry, prefix);
        chunk.indices.insert(place.entry, index);
        group.firsts[place.chunk] = chunk.first();
        if chunk.indices.len() > 2 * FAN_OUT {
            let second = chunk.split_off(FAN_OUT);
            group.firsts.insert(place.chunk + 1, second.first());
            group.chunks.insert(place.chunk + 1, Arc::new(second));
        }
        self.firsts[place.group] = group.first();
        if group.chunks.len() > 2 * FAN_OUT {
            let second = Group::new(group.chunks.split_off(FAN_OUT));
            *group = Group::new(std::mem::take(&mut group.chunks));
            self.firsts.insert(place.group + 1, second.first());
            self.groups.insert(place.group + 1, Arc::new(second));
        }
    }

    /// Takes an entry out; true when it was there. `compare` compares the key of an entry with that of this one.
    pub fn remove(&mut self, prefix: u64, index: Index<T>, compare: impl Fn(Index<T>) -> Ordering) -> bool {
        let Some(place) = self.place_up_to(prefix, compare).filter(|place| self.at(*place) == index) else {
            return false;
        };
        let group = Arc::make_mut(&mut self.groups[place.group]);
        group.len -= 1;
        let chunk = Arc::make_mut(&mut group.chunks[place.chunk]);
        chunk.prefixes.remove(place.entry);
        chunk.indices.remove(place.entry);
        let left = chunk.indices.len();
        group.firsts[place.chunk] = chunk.first();
        if let Some(next) = group.chunks.get(place.chunk + 1)
            && left + next.indices.len() <= FAN_OUT
        {
            // Both have become small.
            let next = group.chunks.remove(place.chunk + 1);
            group.firsts.remove(place.chunk + 1);
            let chunk = Arc::make_mut(&mut group.chunks[place.chunk]);
            chunk.prefixes.extend_from_slice(&next.prefixes);
            chunk.indices.extend_from_slice(&next.indices);
            group.firsts[place.chunk] = chunk.first();
        } else if left == 0 {
            group.chunks.remove(place.chunk);
            group.firsts.remove(place.chunk);
        }
        if group.chunks.is_empty() {
            self.groups.remove(place.group);
            self.firsts.remove(place.group);
        } else {
            self.firsts[place.group] = group.first();
        }
        true
    }

    fn at(&self, place: Place) -> Index<T> {
        self.groups[place.group].chunks[place.chunk].indices[place.entry]
    }

    fn place_up_to(&self, prefix: u64, compare: impl Fn(Index<T>) -> Ordering) -> Option<Place> {
        let group = last_up_to(&self.firsts, prefix, |at| compare(self.groups[at].chunks[0].indices[0]))?;
        let chunks = &self.groups[group];
        let chunk = last_up_to(&chunks.firsts, prefix, |at| compare(chunks.chunks[at].indices[0]))?;
        let entries = &chunks.chunks[chunk];
        let entry = last_up_to(&entries.prefixes, prefix, |at| compare(entries.indices[at]))?;
        Some(Place { group, chunk, entry })
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
    use std::collections::BTreeSet;

    type Key = (u64, u32);

    /// Compares the key of an entry with `key`; the keys of the test are their own indices.
    fn compare(key: Key) -> impl Fn(Index<()>) -> Ordering {
        move |index| of(index).cmp(&key)
    }

    fn of(index: Index<()>) -> Key {
        ((index.position() >> 24) as u64, index.position() as u32 & 0xff_ffff)
    }

    fn index(key: Key) -> Index<()> {
        Index::at((key.0 as usize) << 24 | key.1 as usize)
    }

    proptest! {
        #[test]
        fn entries_are_found_as_in_a_plain_set_after_any_edits_and_a_copy_stays_as_it_was(
            // Few prefixes, so that many entries share one.
            keys in prop::collection::btree_set((0u64..4, 0u32..3000), 1..2000),
            // More than one group.
            more in 0u32..5000,
            edits in prop::collection::vec((0u64..5, 0u32..3001), 0..400),
            asked in prop::collection::vec((0u64..5, 0u32..3001), 1..50),
        ) {
            let mut all: BTreeSet<Key> = keys;
            all.extend((0..more).map(|n| (4 + u64::from(n % 2), n)));
            let entries: Vec<(u64, Index<()>)> = all.iter().map(|key| (key.0, index(*key))).collect();
            let first = Sorted::new(entries);
            let mut sorted = first.clone();
            let before = all.clone();
            for key in edits {
                // What is there goes, with its neighbours, so that chunks become small; what is not there comes.
                if all.contains(&key) {
                    let near: Vec<Key> = all.range(key..).take(90).copied().collect();
                    for key in near {
                        all.remove(&key);
                        prop_assert!(sorted.remove(key.0, index(key), compare(key)));
                        prop_assert!(!sorted.remove(key.0, index(key), compare(key)));
                    }
                } else {
                    all.insert(key);
                    sorted.insert(key.0, index(key), compare(key));
                }
            }
            for (sorted, all) in [(&first, &before), (&sorted, &all)] {
                prop_assert_eq!(sorted.len(), all.len());
                prop_assert_eq!(sorted.iter_from(0).map(of).collect::<Vec<_>>(), all.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(sorted.first().map(of), all.first().copied());
                prop_assert_eq!(sorted.last().map(of), all.last().copied());
                for key in &asked {
                    let compare = || compare(*key);
                    prop_assert_eq!(sorted.last_up_to(key.0, compare()).map(of), all.range(..=*key).last().copied());
                    prop_assert_eq!(sorted.last_before(key.0, compare()).map(of), all.range(..*key).last().copied());
                    let after = (std::ops::Bound::Excluded(*key), std::ops::Bound::Unbounded);
                    prop_assert_eq!(sorted.first_after(key.0, compare()).map(of), all.range(after).next().copied());
                    let skip = key.1 as usize;
                    prop_assert_eq!(sorted.iter_from(skip).next().map(of), all.iter().nth(skip).copied());
                }
            }
        }
    }

    #[test]
    fn a_list_can_be_emptied_and_filled_again() {
        let mut sorted = Sorted::<()>::new([]);
        assert_eq!(
            (sorted.last_up_to(7, |_| Ordering::Less), sorted.last(), sorted.first()),
            (None, None, None)
        );
        for round in 0..2 {
            for n in (0..10_000).rev() {
                sorted.insert(0, index((0, n)), compare((0, n)));
            }
            assert_eq!(sorted.len(), 10_000, "{round}");
            for n in 0..10_000 {
                assert!(sorted.remove(0, index((0, n)), compare((0, n))));
            }
            assert_eq!(sorted.len(), 0);
        }
    }
}
