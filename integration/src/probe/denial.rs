//! Whether the records of a negative answer prove what it says of the name that was asked (RFC 4035 section 5.4, RFC 5155 section 8,
//! RFC 9824). That they are signed is judged elsewhere.
//!
//! The name is one label below the apex of the zone, so that the closest name that exists is the apex, and the wildcard that could
//! answer is the one below it.

use std::fmt;

use data_encoding::BASE32HEX_NOPAD;
use keystore::dns::{Name, Rtype};
use openssl::sha::sha1;
use skr_loader::ask::{Rcode, ServerReply};

/// Most records of a negative answer that are looked at; a proof has three.
const MAX_RECORDS: usize = 32;
/// Most iterations of NSEC3 that are hashed; validators take a zone with more as unsigned (RFC 9276 section 3.2).
const MAX_ITERATIONS: u16 = 500;

/// The type that says in a bitmap that there is no such name (RFC 9824 section 3.1).
const NXNAME: Rtype = Rtype(128);

/// What the records leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproven {
    /// There is no NSEC or NSEC3 record.
    Everything,
    /// That the name, or the type that was asked for, does not exist.
    Name,
    /// What the wildcard below the apex answers for it: nothing, or (NODATA) no address.
    Wildcard,
    /// That nothing between the apex and the name exists (NSEC3).
    ClosestEncloser,
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everything => "has no NSEC or NSEC3 record",
            Self::Name => "has no NSEC or NSEC3 record that covers the name",
            Self::Wildcard => "does not prove what a wildcard answers for the name",
            Self::ClosestEncloser => "does not prove that the apex is the closest name that exists (NSEC3)",
        })
    }
}

/// What a negative answer to `name`, type A, leaves open; `None` when it proves what it says.
#[must_use]
pub fn unproven(reply: &ServerReply, zone: &Name, name: &Name) -> Option<Unproven> {
    let spans = spans(reply);
    if spans.is_empty() {
        return Some(Unproven::Everything);
    }
    if spans.iter().any(|span| span.is_too_costly()) {
        return None;
    }
    let covers = |name: &Name| spans.iter().any(|span| span.covers(name, zone));
    let lacks_address = |name: &Name| {
        let of_name = |span: &&Span| span.matches(name);
        spans.iter().find(of_name).is_some_and(|span| !span.has(Rtype::A) && !span.has(Rtype::CNAME))
    };
    let matching = spans.iter().find(|span| span.matches(name));
    if let Some(span) = matching {
        // One record that says that the name is there without an address proves NODATA. That there is no such name it proves only by the
        // type that says so (RFC 9824 section 3.1).
        let is_proof = lacks_address(name) && (reply.rcode != Rcode::NXDOMAIN || span.has(NXNAME));
        return (!is_proof).then_some(Unproven::Name);
    }
    if !covers(name) {
        return Some(Unproven::Name);
    }
    let is_hashed = spans.iter().any(|span| matches!(span, Span::Hashed { .. }));
    if is_hashed && !spans.iter().any(|span| span.matches(zone)) {
        return Some(Unproven::ClosestEncloser);
    }
    let wildcard = below(zone, b"*")?;
    let proven = match reply.rcode {
        Rcode::NXDOMAIN => covers(&wildcard),
        // There is no such name: so it is a wildcard without the type that makes it NODATA.
        _ => lacks_address(&wildcard),
    };
    (!proven).then_some(Unproven::Wildcard)
}

/// The name with one more label.
fn below(zone: &Name, label: &[u8]) -> Option<Name> {
    let mut wire = vec![u8::try_from(label.len()).ok()?];
    wire.extend_from_slice(label);
    wire.extend_from_slice(zone.as_wire());
    Name::from_wire(&wire).ok()
}

/// From a name to the next one that exists.
enum Span<'a> {
    /// NSEC.
    Plain { owner: &'a Name, next: Name, types: &'a [u8] },
    /// NSEC3.
    Hashed { owner: Vec<u8>, next: &'a [u8], iterations: u16, salt: &'a [u8], types: &'a [u8] },
}

/// The records of the reply that read, at most [`MAX_RECORDS`].
fn spans(reply: &ServerReply) -> Vec<Span<'_>> {
    let mut spans = Vec::new();
    for rrset in reply.authority.iter().map(|set| &set.rrset) {
        let read: for<'a> fn(&'a Name, &'a [u8]) -> Option<Span<'a>> = match rrset.rtype {
            Rtype::NSEC => nsec,
            Rtype::NSEC3 => nsec3,
            _ => continue,
        };
        spans.extend(rrset.rdatas.iter().filter_map(|rdata| read(&rrset.owner, rdata)));
    }
    spans.truncate(MAX_RECORDS);
    spans
}

fn nsec<'a>(owner: &'a Name, rdata: &'a [u8]) -> Option<Span<'a>> {
    let end = keystore::dns::name::wire_len(rdata)?;
    let next = Name::from_wire(rdata.get(..end)?).ok()?;
    Some(Span::Plain { owner, next, types: rdata.get(end..)? })
}

fn nsec3<'a>(owner: &'a Name, rdata: &'a [u8]) -> Option<Span<'a>> {
    let (&[algorithm, _flags, high, low, salt_len], rest) = rdata.split_first_chunk()?;
    let (salt, rest) = rest.split_at_checked(salt_len.into())?;
    let (hash_len, rest) = rest.split_first()?;
    let (next, types) = rest.split_at_checked((*hash_len).into())?;
    // The first label is the hash; its length stands before it.
    let wire = owner.as_wire();
    let label = wire.get(1..1 + usize::from(*wire.first()?))?.to_ascii_uppercase();
    let owner = BASE32HEX_NOPAD.decode(&label).ok()?;
    (algorithm == 1).then(|| Span::Hashed {
        owner,
        next,
        iterations: u16::from_be_bytes([high, low]),
        salt,
        types,
    })
}

impl Span<'_> {
    const fn is_too_costly(&self) -> bool {
        matches!(self, Self::Hashed { iterations, .. } if *iterations > MAX_ITERATIONS)
    }

    fn matches(&self, name: &Name) -> bool {
        match self {
            Self::Plain { owner, .. } => *owner == name,
            Self::Hashed { owner, iterations, salt, .. } => *owner == hash(name, *iterations, salt),
        }
    }

    /// Whether the name lies between the two, in canonical order (RFC 4034 section 6.1); the last one leads back to the first.
    fn covers(&self, name: &Name, zone: &Name) -> bool {
        match self {
            Self::Plain { owner, next, .. } => *owner < name && (name < next || next == zone),
            Self::Hashed { owner, next, iterations, salt, .. } => {
                let (owner, next, hash) = (owner.as_slice(), *next, hash(name, *iterations, salt));
                let (behind, before) = (owner < hash.as_slice(), hash.as_slice() < next);
                if owner < next { behind && before } else { (behind || before) && hash != owner }
            }
        }
    }

    /// Whether the type stands in the bitmap (RFC 4034 section 4.1.2).
    fn has(&self, rtype: Rtype) -> bool {
        let (Self::Plain { types, .. } | Self::Hashed { types, .. }) = self;
        let (window, bit) = ((rtype.0 >> 8) as u8, (rtype.0 & 0xff) as u8);
        let mut rest = *types;
        while let Some((&[at, len], tail)) = rest.split_first_chunk() {
            let Some((map, tail)) = tail.split_at_checked(len.into()) else { return false };
            if at == window {
                return map.get(usize::from(bit >> 3)).is_some_and(|octet| octet & (0x80 >> (bit & 7)) != 0);
            }
            rest = tail;
        }
        false
    }
}

/// The hash of a name (RFC 5155 section 5).
fn hash(name: &Name, iterations: u16, salt: &[u8]) -> Vec<u8> {
    let mut octets = name.to_lowercase().as_wire().to_vec();
    for _ in 0..=iterations {
        octets.extend_from_slice(salt);
        octets = sha1(&octets).to_vec();
    }
    octets
}

#[cfg(test)]
mod tests {
    use keystore::dns::Rrset;
    use skr_loader::ask::RrsetAnswer;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect(text)
    }

    fn wire(text: &str) -> Vec<u8> {
        name(text).as_wire().to_vec()
    }

    /// A bitmap of types below 256.
    fn bitmap(types: &[Rtype]) -> Vec<u8> {
        let mut map = vec![0u8; 32];
        types.iter().for_each(|t| map[usize::from(t.0 >> 3)] |= 0x80 >> (t.0 & 7));
        [vec![0, 32], map].concat()
    }

    fn set(owner: &str, rtype: Rtype, rdata: Vec<u8>) -> RrsetAnswer {
        let rrset = Rrset { owner: name(owner), rtype, ttl: 60, rdatas: vec![rdata.into_boxed_slice()] };
        RrsetAnswer { rrset, signatures: vec![], authentic: false, expire: None }
    }

    fn nsec(owner: &str, next: &str, types: &[Rtype]) -> RrsetAnswer {
        set(owner, Rtype::NSEC, [wire(next), bitmap(types)].concat())
    }

    /// An NSEC3 record whose owner and next hash are those of names, moved by so much.
    fn nsec3(owner: (&str, i8), next: (&str, i8), types: &[Rtype]) -> RrsetAnswer {
        let moved = |(text, by): (&str, i8)| {
            let mut hash = hash(&name(text), 1, b"\xab");
            hash[19] = hash[19].wrapping_add_signed(by);
            hash
        };
        let owner = format!("{}.example.", BASE32HEX_NOPAD.encode(&moved(owner)).to_lowercase());
        let rdata = [&[1, 0, 0, 1, 1, 0xab, 20][..], &moved(next), &bitmap(types)].concat();
        set(&owner, Rtype::NSEC3, rdata)
    }

    fn reply(rcode: Rcode, authority: Vec<RrsetAnswer>) -> ServerReply {
        ServerReply {
            rcode,
            authoritative: true,
            authentic: false,
            extended_error: None,
            answer: vec![],
            authority,
        }
    }

    const ASKED: &str = "m.example.";

    fn judged(rcode: Rcode, authority: Vec<RrsetAnswer>) -> Option<Unproven> {
        unproven(&reply(rcode, authority), &name("example."), &name(ASKED))
    }

    #[test]
    fn nsec_records_prove_a_name_only_when_they_cover_it_and_the_wildcard() {
        use Unproven::{Everything, Name, Wildcard};
        let all = || nsec("example.", "example.", &[Rtype::SOA]);
        for (what, rcode, records, want) in [
            ("one record for the whole zone", Rcode::NXDOMAIN, vec![all()], None),
            ("none", Rcode::NXDOMAIN, vec![], Some(Everything)),
            (
                "both covered",
                Rcode::NXDOMAIN,
                vec![nsec("example.", "a.example.", &[]), nsec("a.example.", "z.example.", &[])],
                None,
            ),
            (
                "the last one",
                Rcode::NXDOMAIN,
                vec![nsec("example.", "a.example.", &[]), nsec("b.example.", "example.", &[])],
                None,
            ),
            ("another span", Rcode::NXDOMAIN, vec![nsec("n.example.", "z.example.", &[])], Some(Name)),
            ("a span before", Rcode::NXDOMAIN, vec![nsec("a.example.", "l.example.", &[])], Some(Name)),
            ("no wildcard", Rcode::NXDOMAIN, vec![nsec("l.example.", "z.example.", &[])], Some(Wildcard)),
            ("the name exists", Rcode::NXDOMAIN, vec![nsec(ASKED, "z.example.", &[Rtype::A])], Some(Name)),
            (
                "one record that lies (RFC 9824)",
                Rcode::NOERROR,
                vec![nsec(ASKED, "\\000.m.example.", &[Rtype::NSEC])],
                None,
            ),
            (
                "one record that lies, and NXDOMAIN",
                Rcode::NXDOMAIN,
                vec![nsec(ASKED, "n.example.", &[Rtype::NSEC])],
                Some(Name),
            ),
            (
                "one record that lies, with NXNAME",
                Rcode::NXDOMAIN,
                vec![nsec(ASKED, "n.example.", &[Rtype::NSEC, NXNAME])],
                None,
            ),
            ("NODATA, and no such name", Rcode::NOERROR, vec![all()], Some(Wildcard)),
            ("it has an address", Rcode::NOERROR, vec![nsec(ASKED, "n.example.", &[Rtype::A])], Some(Name)),
            ("it has an alias", Rcode::NOERROR, vec![nsec(ASKED, "n.example.", &[Rtype::CNAME])], Some(Name)),
            (
                "a wildcard without the type",
                Rcode::NOERROR,
                vec![nsec("*.example.", "z.example.", &[Rtype::TXT])],
                None,
            ),
            (
                "a wildcard with the type",
                Rcode::NOERROR,
                vec![nsec("*.example.", "z.example.", &[Rtype::A])],
                Some(Wildcard),
            ),
        ] {
            assert_eq!(judged(rcode, records), want, "{what}");
        }
    }

    #[test]
    fn nsec3_records_prove_a_name_only_with_apex_and_wildcard() {
        use Unproven::{ClosestEncloser, Name, Wildcard};
        let covering = |text| nsec3((text, -1), (text, 1), &[]);
        let (apex, asked, wildcard) = (
            || nsec3(("example.", 0), ("example.", 1), &[Rtype::SOA]),
            || covering(ASKED),
            || covering("*.example."),
        );
        for (what, records, want) in [
            ("all three", vec![apex(), asked(), wildcard()], None),
            ("no apex", vec![asked(), wildcard()], Some(ClosestEncloser)),
            ("no name", vec![apex(), wildcard()], Some(Name)),
            ("no wildcard", vec![apex(), asked()], Some(Wildcard)),
            (
                "one record around the circle",
                vec![nsec3(("example.", 0), ("example.", 0), &[Rtype::SOA])],
                None,
            ),
        ] {
            assert_eq!(judged(Rcode::NXDOMAIN, records), want, "{what}");
        }
    }

    #[test]
    fn hash_is_that_of_rfc_5155_appendix_a() {
        let salt = [0xaa, 0xbb, 0xcc, 0xdd];
        for (text, want) in [
            ("example.", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("ns1.Example.", "2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
            ("x.y.w.example.", "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ] {
            assert_eq!(BASE32HEX_NOPAD.encode(&hash(&name(text), 12, &salt)).to_lowercase(), want, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn mutated_records_never_prove_what_they_did_not_say(
            at in 0usize..90, octet in 0u8..=255, cut in 0usize..90, hashed in proptest::bool::ANY,
        ) {
            // Neither covers the name; no change of the data makes it a panic, and a change of other octets than those of the next name
            // or hash makes it no proof.
            let mut record = if hashed {
                nsec3(("example.", 0), ("example.", 1), &[Rtype::SOA])
            } else {
                nsec("a.example.", "l.example.", &[Rtype::A])
            };
            let mut rdata = record.rrset.rdatas[0].to_vec();
            let next = if hashed { 0..27 } else { 0..wire("l.example.").len() };
            let harmless = at >= next.end;
            if let Some(place) = rdata.get_mut(at) {
                *place = octet;
            }
            let short = cut < rdata.len() && cut % 3 == 0;
            if short {
                rdata.truncate(cut);
            }
            record.rrset.rdatas = vec![rdata.into_boxed_slice()];
            let found = judged(Rcode::NXDOMAIN, vec![record]);
            if harmless && !short {
                proptest::prop_assert!(found.is_some());
            }
        }
    }
}
