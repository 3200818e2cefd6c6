//! A value that many hold and hardly anybody changes: clones are as large as a pointer.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value in one place for all its clones; who changes one gets a copy first.
#[derive(Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// The same value where `other` holds an equal one, so that it is held once; else this one.
    #[must_use]
    pub fn or_same_as(self, other: &Self) -> Self
    where
        T: PartialEq,
    {
        if self == *other { other.clone() } else { self }
    }

    /// The value, copied only where others hold it, too.
    #[must_use]
    pub fn into_inner(self) -> T
    where
        T: Clone,
    {
        Arc::unwrap_or_clone(self.0)
    }

    /// True when both are clones of one value.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || *self.0 == *other.0
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_a_value_until_one_of_them_is_changed() {
        let one: Shared<Vec<u8>> = vec![1, 2].into();
        let mut other = one.clone();
        assert!(other.is_same(&one));
        other.push(3);
        assert_eq!((&*one, &*other), (&vec![1, 2], &vec![1, 2, 3]));
        assert!(other != one && format!("{other:?}") == "[1, 2, 3]");
    }

    #[test]
    fn equal_values_become_one() {
        let one: Shared<u8> = 1.into();
        for (value, is_same) in [(1, true), (2, false)] {
            let other = Shared::from(value).or_same_as(&one);
            assert_eq!((*other, other.is_same(&one)), (value, is_same));
        }
    }
}
