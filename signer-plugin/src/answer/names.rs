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
pub(super) enum Case {
    /// Any: an owner name may take the spelling of the question.
    Any,
    /// The exact one: a name in RDATA is data, and is not spelt as the client spells it.
    Exact,
}

/// The names of a message that others may point to: tails of the question's name, and of names behind it.
pub(super) struct WrittenNames {
    /// Hash of a tail in lower case, and where it was written.
    tails: [(u32, u16); REMEMBERED],
    len: usize,
}

/// How many tails were remembered at some point, to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(usize);

impl WrittenNames {
    /// Remembers the question's name, which stands behind the header.
    pub fn of_question(name: &[u8], labels: &Labels) -> Self {
        let mut written = Self { tails: [(0, 0); REMEMBERED], len: 0 };
        let hashes = TailHashes::of(name, labels);
        written.remember(&hashes, labels, labels.count(), HEADER);
        written
    }

    pub const fn mark(&self) -> Mark {
        Mark(self.len)
    }

    /// Forgets what was remembered since; for records that are taken out again.
    pub fn forget_since(&mut self, mark: Mark) {
        self.len = self.len.min(mark.0);
    }

    /// Appends the uncompressed name that `wire` starts with to a message, its longest tail that was written before as a pointer. Gives
    /// the octets read from `wire`, 0 when it starts with no name.
    pub fn put(&mut self, wire: &[u8], case: Case, message: &mut Vec<u8>) -> usize {
        let Some(labels) = Labels::of(wire) else { return 0 };
        let hashes = TailHashes::of(wire, &labels);
        let found = (0..labels.count()).find_map(|label| {
            let tail = &wire[labels.offset(label)..usize::from(labels.len)];
            Some((label, self.find(hashes.0[label], tail, case, message)?))
        });
        let in_full = found.map_or(labels.count(), |(label, _)| label);
        let start = message.len();
        message.extend_from_slice(&wire[..labels.offset(in_full)]);
        match found {
            Some((_, at)) => message.extend_from_slice(&(0xc000 | at).to_be_bytes()),
            None => message.push(0),
        }
        self.remember(&hashes, &labels, in_full, start);
        usize::from(labels.len)
    }

    /// Remembers the tails that begin with one of the first `in_full` labels of a name written at `start`.
    fn remember(&mut self, hashes: &TailHashes, labels: &Labels, in_full: usize, start: usize) {
        for label in 0..in_full {
            let at = start + labels.offset(label);
            if at >= REACH || self.len == REMEMBERED {
                return;
            }
            self.tails[self.len] = (hashes.0[label], at as u16);
            self.len += 1;
        }
    }

    fn find(&self, hash: u32, tail: &[u8], case: Case, message: &[u8]) -> Option<u16> {
        let same = |at: &u16| is_at(message, usize::from(*at), tail, case);
        self.tails[..self.len]
            .iter()
            .filter(|(known, _)| *known == hash)
            .map(|(_, at)| *at)
            .find(|at| same(at))
    }
}

/// True when the message has the uncompressed name `name` at `at`, maybe in compressed form.
fn is_at(message: &[u8], mut at: usize, name: &[u8], case: Case) -> bool {
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

/// For each label of a name a hash, in lower case, of the tail that begins with it.
struct TailHashes([u32; 128]);

impl TailHashes {
    fn of(wire: &[u8], labels: &Labels) -> Self {
        let mut hashes = [0; 128];
        let mut hash = 0x811c_9dc5_u32;
        for label in (0..labels.count()).rev() {
            let start = labels.offset(label);
            for octet in &wire[start..=start + usize::from(wire[start])] {
                hash = (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193);
            }
            hashes[label] = hash;
        }
        Self(hashes)
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
        let labels = Labels::of(question.as_wire()).expect("a name");
        let mut written = WrittenNames::of_question(question.as_wire(), &labels);
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
        let labels = Labels::of(question.as_wire()).expect("a name");
        let mut written = WrittenNames::of_question(question.as_wire(), &labels);
        let mut octets = vec![0; REACH];
        for _ in 0..2 {
            let before = octets.len();
            written.put(name("far.away.").as_wire(), Case::Exact, &mut octets);
            assert_eq!(octets.len() - before, 10);
        }
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
            let labels = Labels::of(question.as_wire()).expect("a name");
            let mut written = WrittenNames::of_question(question.as_wire(), &labels);
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
