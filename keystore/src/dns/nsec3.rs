//! Hashed owner names of NSEC3 records (RFC 5155 section 5). SHA-1 is the only hash that is defined.

use std::fmt;

use openssl::sha::Sha1;

use super::name::MAX_NAME;

/// The hash of a name; its order is the order of the NSEC3 chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameHash(pub [u8; 20]);

/// Octets of the label that a hash makes, with its length in front.
pub const LABEL: usize = 33;
/// Longest apex, in octets on the wire, that a zone with NSEC3 can have: a hash label must fit in front of it.
pub const MAX_APEX: usize = MAX_NAME - LABEL;
/// Most iterations that resolvers accept; above it they treat the zone as insecure or answer SERVFAIL (RFC 9276 section 3.2).
pub const MAX_ITERATIONS: u16 = 50;

/// Most iterations with which a zone of another signer is served: above it every resolver that is in use treats the zone as insecure or answers
/// SERVFAIL, and each hash costs the server.
pub const MOST_GIVEN_ITERATIONS: u16 = 150;

impl NameHash {
    /// Hashes a name (uncompressed wire form, any letter case) with `salt` and `iterations` (RFC 5155 section 5). OpenSSL's SHA-1 uses the
    /// instructions of the processor for it where there are some, ring's does not.
    #[must_use]
    pub fn of(name: &[u8], salt: &[u8], iterations: u16) -> Self {
        let mut lower = [0; MAX_NAME];
        let len = name.len().min(MAX_NAME);
        lower[..len].copy_from_slice(&name[..len]);
        lower[..len].make_ascii_lowercase();
        let salted = |octets: &[u8]| {
            let mut context = Sha1::new();
            context.update(octets);
            context.update(salt);
            context.finish()
        };
        let mut hash = salted(&lower[..len]);
        for _ in 0..iterations {
            hash = salted(&hash);
        }
        Self(hash)
    }

    /// The hash that such a label is, in either letter case; `None` for another label.
    #[must_use]
    pub fn of_label(label: &[u8; LABEL]) -> Option<Self> {
        let (len, text) = label.split_first()?;
        let mut hash = [0; 20];
        let decoded = data_encoding::BASE32_DNSSEC.decode_mut(text, &mut hash).ok()?;
        (*len == 32 && decoded == hash.len()).then_some(Self(hash))
    }

    /// The label of the NSEC3 record's owner, in lower case, with its length in front.
    #[must_use]
    pub fn label(&self) -> [u8; LABEL] {
        let mut label = [32; LABEL];
        data_encoding::BASE32_DNSSEC.encode_mut(&self.0, &mut label[1..]);
        label
    }
}

impl fmt::Display for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::BASE32_DNSSEC.encode(&self.0))
    }
}

impl fmt::Debug for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Name;

    /// From RFC 5155 appendix A.
    #[test]
    fn hashes_are_those_of_rfc_5155_in_any_letter_case() {
        let aabbccdd: &[u8] = &[0xaa, 0xbb, 0xcc, 0xdd];
        for (name, salt, iterations, want) in [
            ("example", aabbccdd, 12, "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("A.Example", aabbccdd, 12, "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("*.w.example", aabbccdd, 12, "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
            ("x.y.w.example", aabbccdd, 12, "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ] {
            let name = Name::parse(name).expect("a name");
            let hash = NameHash::of(name.as_wire(), salt, iterations);
            assert_eq!(hash.to_string(), want, "{name}");
            assert_eq!(hash.label(), *[&[32], want.as_bytes()].concat());
        }
    }

    #[test]
    fn octets_behind_the_longest_name_do_not_count() {
        let long = [b'A'; MAX_NAME + 40];
        assert_eq!(NameHash::of(&long, &[], 0), NameHash::of(&[b'a'; MAX_NAME], &[], 0));
    }
}
