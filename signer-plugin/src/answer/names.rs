//! Name compression (RFC 1035 section 4.1.4): where in a message which names were written.

use keystore::dns::Rtype;

use super::query::HEADER;
use crate::zone::Labels;

/// Names, and tails of names, that are remembered. A message with more is compressed less.
const REMEMBERED: usize = 128;
/// Pointers have 14 bits.
const REACH: usize = 0x4000;

/// Types of RFC 1035 section 3.3 that hardly a zone has.
const MD: Rtype = Rtype(3);
const MF: Rtype = Rtype(4);
const MB: Rtype = Rtype(7);
const MG: Rtype = Rtype(8);
const MR: Rtype = Rtype(9);
const MINFO: Rtype = Rtype(14);

/// Octets in front of the names in the RDATA of a type, and how many names there are; `None` where no name may be compressed
/// (RFC 3597 section 4).
pub(crate) const fn compressible(rtype: Rtype) -> Option<(usize, usize)> {
    match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::PTR | MD | MF | MB | MG | MR => Some((0, 1)),
        Rtype::SOA | MINFO => Some((0, 2)),
        Rtype::MX => Some((2, 1)),
        _ => None,
    }
}

/// Which letter case counts as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// Any: an owner name may take the spelling of the question.
    Any,
    /// The exact one: a name in RDATA is data, and is not spelt as the client spells it.
    Exact,
}

/// The names of a message that others may point to: tails of the question's name, and of names behind it.
pub(super) struct WrittenNames {
    /// Hashes of tails, see [`TailHash`].
    hashes: [u32; REMEMBERED],
    /// Where each was written.
    places: [u16; REMEMBERED],
    len: usize,
    /// The tails of the question's name are among them. Most answers point to that name alone, and need no look at its tails.
    has_question: bool,
}

/// How many tails were remembered at some point, to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(usize);

impl WrittenNames {
    /// For a message that begins with a header and a question.
    pub const fn new() -> Self {
        Self { hashes: [0; REMEMBERED], places: [0; REMEMBERED], len: 0, has_question: false }
    }

    pub const fn mark(&self) -> Mark {
        Mark(self.len)
    }

    /// Forgets what was remembered since; for records that are taken out again.
    pub fn forget_since(&mut self, mark: Mark) {
        self.len = self.len.min(mark.0);
        self.has_question &= self.len > 0;
    }

    /// Appends the uncompressed name that `wire` starts with to a message, its longest tail that was written before as a pointer. Gives
    /// the octets read from `wire`, 0 when it starts with no name.
    pub fn put(&mut self, wire: &[u8], case: Case, message: &mut Vec<u8>) -> usize {
        if !self.has_question {
            self.has_question = true;
            if let Some(labels) = message.get(HEADER..).and_then(Labels::of) {
                self.remember_question(&labels, message);
            }
        }
        let Some(labels) = Labels::of(wire) else { return 0 };
        // From the right, as each tail of a name that was written was written as well.
        let (mut hash, mut label, mut found) = (TailHash::ROOT, labels.count(), None);
        while label > 0 {
            let start = labels.offset(label - 1);
            let longer = hash.with(&wire[start..labels.offset(label)]);
            let tail = &wire[start..usize::from(labels.len)];
            let Some(at) = self.find(longer, tail, case, message) else { break };
            (hash, label, found) = (longer, label - 1, Some(at));
        }
        let start = message.len();
        message.extend_from_slice(&wire[..labels.offset(label)]);
        match found {
            Some(at) => message.extend_from_slice(&(0xc000 | at).to_be_bytes()),
            None => message.push(0),
        }
        self.remember(&labels, label, hash, wire, start);
        usize::from(labels.len)
    }

    fn remember_question(&mut self, labels: &Labels, message: &[u8]) {
        let name = message.get(HEADER..).unwrap_or_default();
        self.remember(labels, labels.count(), TailHash::ROOT, name, HEADER);
    }

    /// Remembers the tails that begin with one of the first `in_full` labels of the name `wire`, which was written at `start`; `hash` is that
    /// of the tail behind them.
    fn remember(&mut self, labels: &Labels, in_full: usize, mut hash: TailHash, wire: &[u8], start: usize) {
        for label in (0..in_full).rev() {
            let offset = labels.offset(label);
            hash = hash.with(&wire[offset..labels.offset(label + 1)]);
            let at = start + offset;
            if at < REACH && self.len < REMEMBERED {
                (self.hashes[self.len], self.places[self.len]) = (hash.0, at as u16);
                self.len += 1;
            }
        }
    }

    fn find(&self, hash: TailHash, tail: &[u8], case: Case, message: &[u8]) -> Option<u16> {
        let known = self.hashes[..self.len].iter().zip(&self.places);
        known
            .filter(|(known, _)| **known == hash.0)
            .map(|(_, at)| *at)
            .find(|at| is_at(message, usize::from(*at), tail, case))
    }
}

/// A hash of the tail of a name, the same for every letter case. It is quick and not strong: octets are compared where it is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TailHash(u32);

impl TailHash {
    const ROOT: Self = Self(0x811c_9dc5);

    /// That of the tail with one more label, given with its length octet, in front.
    fn with(self, label: &[u8]) -> Self {
        /// Makes capital letters small, and other octets of few others the same.
        const SMALL: u64 = 0x2020_2020_2020_2020;
        /// 2^64 divided by the golden ratio, as by Fibonacci hashing.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let octets = match (label.first_chunk::<8>(), label.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                u64::from_le_bytes(*first)
                    ^ u64::from_le_bytes(*last).rotate_left(29) & !SMALL.rotate_left(29)
            }
            _ => label.iter().fold(0, |octets, octet| octets << 8 | u64::from(*octet)),
        };
        let mixed = ((octets | SMALL) ^ u64::from(self.0)).wrapping_mul(SPREAD);
        Self((mixed >> 32) as u32)
    }
}

/// True when a message that was composed here has the uncompressed name `name` at `at`, maybe in compressed form.
#[inline]
pub(crate) fn is_at(message: &[u8], mut at: usize, name: &[u8], case: Case) -> bool {
    let mut rest = name;
    loop {
        let Some(&len) = message.get(at) else { return false };
        if len >= 0xc0 {
            let Some(&low) = message.get(at + 1) else { return false };
            // Pointers of ours lead backwards only, so that this ends.
            at = usize::from(len & 0x3f) << 8 | usize::from(low);
            continue;
        }
        let end = 1 + usize::from(len);
        let (Some(label), Some(wanted)) = (message.get(at..at + end), rest.get(..end)) else { return false };
        let same = match case {
            Case::Any => label.eq_ignore_ascii_case(wanted),
            Case::Exact => label == wanted,
        };
        if !same {
            return false;
        }
        if len == 0 {
            return true;
        }
        at += end;
        rest = &rest[end..];
    }
}

#[cfg(test)]
mod tests {
    use keystore::dns::Name;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::name;

    /// A message with a question, and the names behind it.
    fn message(question: &str, names: &[(&str, Case)]) -> (Vec<u8>, Vec<usize>) {
        let question = name(question);
        let mut written = WrittenNames::new();
        let mut octets = [&[0; HEADER][..], question.as_wire()].concat();
        let mut sizes = Vec::new();
        for (text, case) in names {
            let before = octets.len();
            let wire = name(text);
            assert_eq!(written.put(wire.as_wire(), *case, &mut octets), wire.as_wire().len());
            assert!(is_at(&octets, before, wire.as_wire(), *case), "{text}");
            sizes.push(octets.len() - before);
        }
        (octets, sizes)
    }

    #[test]
    fn the_longest_tail_written_before_becomes_a_pointer() {
        use Case::{Any, Exact};
        let (_, sizes) = message(
            "www.Example.",
            &[
                ("example.", Any),
                ("example.", Exact),
                ("ns1.example.", Exact),
                ("a.ns1.example.", Exact),
                ("a.ns1.example.", Any),
                ("WWW.EXAMPLE.", Any),
                ("WWW.EXAMPLE.", Exact),
                ("Example.", Exact),
                ("other.", Exact),
                ("x.other.", Exact),
                (".", Any),
            ],
        );
        assert_eq!(sizes, [2, 9, 6, 4, 2, 2, 13, 2, 7, 4, 1]);
    }

    #[test]
    fn names_beyond_the_reach_of_pointers_and_the_memory_are_written_in_full() {
        let question = name("example.");
        let mut written = WrittenNames::new();
        let mut octets = vec![0; REACH];
        for _ in 0..2 {
            let before = octets.len();
            written.put(name("far.away.").as_wire(), Case::Exact, &mut octets);
            assert_eq!(octets.len() - before, 10);
        }
        let mut written = WrittenNames::new();
        let mut octets = [&[0; HEADER][..], question.as_wire()].concat();
        for number in 0..300 {
            written.put(name(&format!("n{number}.test.")).as_wire(), Case::Exact, &mut octets);
        }
        assert_eq!(written.len, REMEMBERED);
        // What was taken out is not pointed to.
        let mark = Mark(1);
        written.forget_since(mark);
        let before = octets.len();
        written.put(name("n0.test.").as_wire(), Case::Exact, &mut octets);
        assert_eq!(octets.len() - before, 9);
    }

    fn any_name() -> impl Strategy<Value = Name> {
        prop::collection::vec(prop::sample::select(vec!["a", "B", "b", "c", "example"]), 0..6).prop_map(
            |labels| {
                let text: String = labels.iter().map(|label| format!("{label}.")).collect();
                if text.is_empty() { Name::root() } else { name(&text) }
            },
        )
    }

    proptest! {
        #[test]
        fn every_name_reads_back(names in prop::collection::vec((any_name(), any::<bool>()), 1..40)) {
            let question = names[0].0.clone();
            let mut written = WrittenNames::new();
            let mut octets = [&[0; HEADER][..], question.as_wire()].concat();
            for (name, exact) in &names {
                let case = if *exact { Case::Exact } else { Case::Any };
                let at = octets.len();
                written.put(name.as_wire(), case, &mut octets);
                prop_assert!(is_at(&octets, at, name.as_wire(), case));
            }
        }
    }
}
