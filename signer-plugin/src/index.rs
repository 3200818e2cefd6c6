//! Indices into the tables that a zone is made of.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// An index into a table of `T`; valid only in the table that it came from. It stores the index plus one, so that its `Option` has 32
/// bits as well.
pub(crate) struct Index<T>(NonZeroU32, PhantomData<fn() -> T>);

impl<T> Index<T> {
    /// The index of entry `position`. Tables have fewer than 2^32 - 1 entries, which is checked where they are filled.
    pub const fn at(position: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(position as u32), PhantomData)
    }

    /// The position in the table.
    pub const fn position(self) -> usize {
        (self.0.get() - 1) as usize
    }

    /// The indices of a part of a table.
    pub fn range(positions: std::ops::Range<usize>) -> impl ExactSizeIterator<Item = Self> {
        positions.map(Self::at)
    }
}

impl<T> Clone for Index<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Index<T> {}

impl<T> PartialEq for Index<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Index<T> {}

impl<T> Hash for Index<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T> PartialOrd for Index<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Index<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> fmt::Debug for Index<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.position())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_keeps_its_position_and_its_option_needs_no_room() {
        for position in [0, 1, 7, u32::MAX as usize - 1] {
            assert_eq!(Index::<()>::at(position).position(), position);
        }
        let positions: Vec<usize> = Index::<()>::range(1..4).map(Index::position).collect();
        assert_eq!(positions, [1, 2, 3]);
        assert_eq!(size_of::<Option<Index<()>>>(), 4);
    }
}
