//! Search keys: octet strings whose plain order is the canonical order of names (RFC 4034 section 6.1).
//!
//! The key of a name has its labels below the apex from right to left, in lower case, each closed by an octet 0. Octets 0 and 1
//! inside labels are written as `1 1` and `1 2`, which keeps order and makes 0 a mark that occurs nowhere else. The apex has the
//! empty key, and the key of a name starts with the key of each of its ancestors.

use keystore::dns::name::MAX_NAME;

/// Longest key: each octet of a name at most doubled.
const MAX_KEY: usize = 2 * MAX_NAME;

/// Where the labels of an uncompressed name begin.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    offsets: [u8; 128],
    count: u8,
    /// Octets of the name, root label included.
    pub len: u8,
}

impl Labels {
    /// Finds the labels of the uncompressed name that `wire` starts with.
    pub fn of(wire: &[u8]) -> Option<Self> {
        let mut labels = Self { offsets: [0; 128], count: 0, len: 0 };
        let mut at = 0;
        loop {
            let len = usize::from(*wire.get(at)?);
            if len == 0 {
                labels.len = at as u8 + 1;
                return Some(labels);
            }
            if len > 63 || at + len + 2 > MAX_NAME {
                return None;
            }
            labels.offsets[usize::from(labels.count)] = at as u8;
            labels.count += 1;
            at += len + 1;
        }
    }

    /// Number of labels, the root's not counted.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Where label `index`, from the left, begins; behind the last one the root label.
    pub fn offset(&self, index: usize) -> usize {
        if index < self.count() { usize::from(self.offsets[index]) } else { usize::from(self.len) - 1 }
    }

    /// How many labels of `wire` stand in front of `origin`; `None` when it is not at or below `origin`.
    pub fn below(&self, wire: &[u8], origin: &[u8]) -> Option<usize> {
        let start = usize::from(self.len).checked_sub(origin.len())?;
        if !wire[start..usize::from(self.len)].eq_ignore_ascii_case(origin) {
            return None;
        }
        // The octets match; they are labels of the name only when a label begins there.
        (0..=self.count()).rev().find(|i| self.offset(*i) <= start).filter(|i| self.offset(*i) == start)
    }
}

/// A key on the stack.
#[derive(Debug, Clone)]
pub(crate) struct KeyBuf {
    octets: [u8; MAX_KEY],
    len: u16,
}

impl KeyBuf {
    pub fn new() -> Self {
        Self { octets: [0; MAX_KEY], len: 0 }
    }

    /// The key of a name whose first `below` labels stand below the apex.
    pub fn of(wire: &[u8], labels: &Labels, below: usize) -> Self {
        let mut key = Self::new();
        let mut at = 0;
        for index in (0..below).rev() {
            let start = labels.offset(index);
            let end = start + 1 + usize::from(wire[start]);
            for octet in &wire[start + 1..end] {
                match octet {
                    0 | 1 => {
                        key.octets[at] = 1;
                        key.octets[at + 1] = octet + 1;
                        at += 2;
                    }
                    _ => {
                        key.octets[at] = octet.to_ascii_lowercase();
                        at += 1;
                    }
                }
            }
            key.octets[at] = 0;
            at += 1;
        }
        key.len = at as u16;
        key
    }

    /// Appends octets of a key; what does not fit (no name is as long) is left out.
    pub fn append(&mut self, octets: &[u8]) {
        let at = usize::from(self.len);
        if let Some(room) = self.octets.get_mut(at..at + octets.len()) {
            room.copy_from_slice(octets);
            self.len += octets.len() as u16;
        }
    }

    /// Makes it greater than all keys that begin with it, and not greater than any other key that is greater than it: its last octet, which
    /// closes a label, becomes 1. Behind the empty key, with which all begin, there is none.
    pub fn pass_subtree(&mut self) {
        match self.len.checked_sub(1) {
            Some(last) => self.octets[usize::from(last)] = 1,
            None => self.append(&[u8::MAX; MAX_KEY]),
        }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

/// The first eight octets as a number, filled up with zeros; its order never contradicts that of the keys.
pub(crate) fn prefix(key: &[u8]) -> u64 {
    let mut octets = [0; 8];
    let len = key.len().min(8);
    octets[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(octets)
}

/// Number of labels below the apex.
pub(crate) fn label_count(key: &[u8]) -> usize {
    key.iter().filter(|octet| **octet == 0).count()
}

/// Number of labels, from the apex down, that two names share.
pub(crate) fn common_labels(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).filter(|(a, _)| **a == 0).count()
}

/// The key of the ancestor `depth` labels below the apex: its length.
pub(crate) fn ancestor_len(key: &[u8], depth: usize) -> usize {
    if depth == 0 {
        return 0;
    }
    key.iter().enumerate().filter(|(_, octet)| **octet == 0).nth(depth - 1).map_or(key.len(), |(i, _)| i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystore::dns::Name;
    use keystore::dns::name::canonical_cmp;
    use proptest::prelude::*;

    fn key(name: &Name, origin: &Name) -> Option<KeyBuf> {
        let labels = Labels::of(name.as_wire())?;
        let below = labels.below(name.as_wire(), origin.as_wire())?;
        Some(KeyBuf::of(name.as_wire(), &labels, below))
    }

    fn name() -> impl Strategy<Value = Name> {
        let octet = prop_oneof![
            Just(0u8),
            Just(1),
            Just(2),
            Just(b'*'),
            Just(b'a'),
            Just(b'A'),
            Just(b'z'),
            any::<u8>()
        ];
        prop::collection::vec(prop::collection::vec(octet, 1..4), 0..5).prop_map(|labels| {
            let mut wire = Vec::new();
            for label in labels {
                wire.push(label.len() as u8);
                wire.extend(label);
            }
            wire.push(0);
            Name::from_wire(&wire).expect("a name")
        })
    }

    proptest! {
        #[test]
        fn order_of_keys_is_canonical_order(a in name(), b in name()) {
            let (ka, kb) = (key(&a, &Name::root()).expect("a key"), key(&b, &Name::root()).expect("a key"));
            prop_assert_eq!(ka.as_slice().cmp(kb.as_slice()), canonical_cmp(a.as_wire(), b.as_wire()));
            let (pa, pb) = (prefix(ka.as_slice()), prefix(kb.as_slice()));
            prop_assert!(pa == pb || pa.cmp(&pb) == ka.as_slice().cmp(kb.as_slice()));
        }

        #[test]
        fn below_agrees_with_names(a in name(), b in name()) {
            prop_assert_eq!(key(&a, &b).is_some(), a.is_at_or_below(&b));
        }
    }

    #[test]
    fn longest_names_have_keys() {
        let mut wire = Vec::new();
        for len in [63, 63, 63, 61] {
            wire.push(len);
            wire.extend(vec![0; usize::from(len)]);
        }
        wire.push(0);
        let name = Name::from_wire(&wire).expect("255 octets");
        let key = key(&name, &Name::root()).expect("a key");
        assert_eq!(key.as_slice().len(), 2 * 250 + 4);
        assert!(Labels::of(&[&[1, 0][..], &wire].concat()).is_none());
    }

    #[test]
    fn a_suffix_of_octets_is_no_suffix_of_labels() {
        let inner = Name::from_wire(b"\x03\x01a\x00\x00").expect("one label of three octets");
        assert!(key(&inner, &Name::from_wire(b"\x01a\x00").expect("a name")).is_none());
    }
}
