//! A vector of blocks that shares with its copies what neither of them has changed.
//!
//! ```text
//! groups   Arc<[ block, block, … 64 ]>, Arc<[ … ]>, …      a change of one block copies the block, its group of pointers,
//! block    Arc<B>                                          and the list of groups
//! ```

use std::sync::Arc;

/// Blocks of a group.
const GROUP: usize = 64;

/// Blocks that are cheap to copy.
#[derive(Debug)]
pub(crate) struct Blocks<B> {
    groups: Vec<Arc<[Arc<B>]>>,
    len: usize,
}

impl<B> Clone for Blocks<B> {
    fn clone(&self) -> Self {
        Self { groups: self.groups.clone(), len: self.len }
    }
}

impl<B> FromIterator<B> for Blocks<B> {
    fn from_iter<I: IntoIterator<Item = B>>(blocks: I) -> Self {
        let blocks: Vec<Arc<B>> = blocks.into_iter().map(Arc::new).collect();
        Self { len: blocks.len(), groups: blocks.chunks(GROUP).map(Arc::from).collect() }
    }
}

impl<B> Blocks<B> {
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The block with this number, which must be less than [`Self::len`].
    pub fn get(&self, number: usize) -> &B {
        &self.groups[number / GROUP][number % GROUP]
    }

    /// Puts a block in place of another, or behind the last one.
    pub fn set(&mut self, number: usize, block: B) {
        let block = Arc::new(block);
        if number < self.len {
            Arc::make_mut(&mut self.groups[number / GROUP])[number % GROUP] = block;
            return;
        }
        match self.groups.pop_if(|last| last.len() < GROUP) {
            Some(last) => self.groups.push(last.iter().cloned().chain([block]).collect()),
            None => self.groups.push(Arc::new([block])),
        }
        self.len += 1;
    }

    /// The numbers of the blocks that `other` does not share, those behind the end of the shorter one among them.
    pub fn not_shared(&self, other: &Self) -> Vec<usize> {
        let mut numbers = Vec::new();
        let empty: Arc<[Arc<B>]> = Arc::new([]);
        for group in 0..self.groups.len().max(other.groups.len()) {
            let [one, two] = [self, other].map(|all| all.groups.get(group).unwrap_or(&empty));
            if !Arc::ptr_eq(one, two) {
                let is_shared = |at: usize| match (one.get(at), two.get(at)) {
                    (Some(one), Some(two)) => Arc::ptr_eq(one, two),
                    _ => false,
                };
                let own = (0..one.len().max(two.len())).filter(|at| !is_shared(*at));
                numbers.extend(own.map(|at| group * GROUP + at));
            }
        }
        numbers
    }
}

impl<B: Clone> Blocks<B> {
    /// The block with this number, to be changed; it is copied when others have it.
    pub fn get_mut(&mut self, number: usize) -> &mut B {
        Arc::make_mut(&mut Arc::make_mut(&mut self.groups[number / GROUP])[number % GROUP])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_changed_copy_differs_where_it_was_changed_and_leaves_the_first_alone(
            len in 0usize..300,
            edits in prop::collection::vec((0usize..400, any::<bool>()), 0..40),
        ) {
            let first: Blocks<usize> = (0..len).collect();
            let mut copy = first.clone();
            let mut want: Vec<usize> = (0..len).collect();
            let mut touched = std::collections::BTreeSet::new();
            for (number, replace) in edits {
                let number = number.min(copy.len());
                touched.insert(number);
                if number == want.len() {
                    want.push(7000);
                    copy.set(number, 7000);
                } else if replace {
                    want[number] += 1000;
                    copy.set(number, want[number]);
                } else {
                    want[number] += 1000;
                    *copy.get_mut(number) += 1000;
                }
            }
            prop_assert_eq!((0..first.len()).map(|n| *first.get(n)).collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
            prop_assert_eq!((0..copy.len()).map(|n| *copy.get(n)).collect::<Vec<_>>(), want);
            let touched: Vec<usize> = touched.into_iter().collect();
            prop_assert_eq!(copy.not_shared(&first), touched.clone());
            prop_assert_eq!(first.not_shared(&copy), touched);
        }
    }
}
