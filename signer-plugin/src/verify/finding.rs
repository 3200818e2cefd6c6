//! What can be wrong with a signed zone.

use std::fmt;

use keystore::crypto::Algorithm;
use keystore::dns::nsec3::{MOST_GIVEN_ITERATIONS, NameHash};
use keystore::dns::{Name, Rtype};
use keystore::time::Timestamp;

/// One finding. `Display` is `OWNER TYPE: TEXT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFinding {
    /// The name at which it is.
    pub owner: Name,
    /// The type that it is about.
    pub rtype: Rtype,
    /// What is wrong.
    pub fault: ZoneFault,
}

impl ZoneFinding {
    pub(super) fn new(owner: &[u8], rtype: Rtype, fault: ZoneFault) -> Self {
        Self { owner: Name::from_wire(owner).unwrap_or_else(|_| Name::root()), rtype, fault }
    }
}

impl ZoneFinding {
    /// True for a finding that makes answers from the zone bogus, or lets what is in it be denied.
    pub(super) fn is_minded(&self) -> bool {
        match self.fault {
            ZoneFault::Iterations(iterations) => iterations > MOST_GIVEN_ITERATIONS,
            // Of NSEC3PARAM there may be several, while chains are exchanged.
            ZoneFault::NotOne(_) => self.rtype == Rtype::SOA,
            ZoneFault::TtlsDiffer
            | ZoneFault::NotToBeSigned
            | ZoneFault::MalformedSignature
            | ZoneFault::UnknownKey(_)
            | ZoneFault::SignatureTtl { .. }
            | ZoneFault::SeveralByOneKey(_)
            | ZoneFault::TwoChains
            | ZoneFault::DenialTtl { .. }
            | ZoneFault::ParamWithoutChain
            | ZoneFault::ParamFlags(_)
            | ZoneFault::HashAlgorithm(_)
            | ZoneFault::OtherParameters
            | ZoneFault::NoHash => false,
            _ => true,
        }
    }
}

impl fmt::Display for ZoneFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.owner, self.rtype, self.fault)
    }
}

/// What is wrong with an RRset, a signature or the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what each is, and the fields are the parts of the messages")]
pub enum ZoneFault {
    #[error("the zone has {0} of these at its apex, and needs one")]
    NotOne(usize),
    #[error("the zone has none at its apex")]
    ApexLacks,
    #[error("outside of the zone")]
    OutOfZone,
    #[error("below the DNAME {0}, which hides it (RFC 6672 section 2.4)")]
    BelowDname(Name),
    #[error("no key is that of a trust anchor")]
    NoTrustedKey,
    #[error("the key set is not signed by a key of a trust anchor")]
    UntrustedKeySet,
    #[error("the TTLs of the RRset differ (RFC 2181 section 5.2)")]
    TtlsDiffer,

    #[error("no valid signature of algorithm {0} (RFC 4035 section 2.2)")]
    Unsigned(Algorithm),
    #[error("signed, and must not be: it is glue or the NS RRset of a delegation")]
    NotToBeSigned,
    #[error("a signature by key {0}, and no such RRset")]
    SignatureOfNothing(u16),
    #[error("an RRSIG record that is malformed")]
    MalformedSignature,
    #[error("a signature by key {0}, which is not in the DNSKEY RRset")]
    UnknownKey(u16),
    #[error("a signature by key {tag} whose signer is {signer}, not the zone")]
    OtherSigner { tag: u16, signer: Name },
    #[error(
        "a signature by key {tag} with {found} labels where the owner has {wanted} (RFC 4034 section 3.1.3)"
    )]
    Labels { tag: u16, found: u8, wanted: u8 },
    #[error("a signature by key {tag} with original TTL {found}; the RRset has TTL {wanted}")]
    OriginalTtl { tag: u16, found: u32, wanted: u32 },
    #[error("the RRSIG by key {tag} has TTL {found}; the RRset has TTL {wanted} (RFC 4034 section 3)")]
    SignatureTtl { tag: u16, found: u32, wanted: u32 },
    #[error("the signature by key {tag} is valid only from {from} on")]
    NotYetValid { tag: u16, from: Timestamp },
    #[error("the signature by key {tag} expired at {at}")]
    Expired { tag: u16, at: Timestamp },
    #[error("the signature by key {0} does not verify")]
    Wrong(u16),
    #[error("several signatures by key {0}")]
    SeveralByOneKey(u16),

    #[error("the zone has no NSEC and no NSEC3 record")]
    NoDenial,
    #[error("the zone has NSEC and NSEC3 records")]
    TwoChains,
    #[error("the name has no such record")]
    NotInChain,
    #[error("the name has such a record, and must not have one: {0}")]
    NotToBeInChain(&'static str),
    #[error("the name has several of these records")]
    SeveralInChain,
    #[error("a record of the chain that is malformed")]
    MalformedDenial,
    #[error("it leads to {found}, and the next name is {wanted}")]
    NextName { found: Name, wanted: Name },
    #[error("it leads to {found}, and the next hash is {wanted}")]
    NextHash { found: NameHash, wanted: NameHash },
    #[error("the bitmap of {name} lacks {lacks}")]
    BitmapLacks { name: Name, lacks: TypeList },
    #[error("the bitmap of {name} has {has}, which is not there")]
    BitmapHas { name: Name, has: TypeList },
    #[error("TTL {found}; it is the lesser of SOA TTL and SOA MINIMUM, {wanted} (RFC 9077)")]
    DenialTtl { found: u32, wanted: u32 },
    #[error("the zone has NSEC3PARAM and no NSEC3 records")]
    ParamWithoutChain,
    #[error("flags {0}; they are 0 (RFC 5155 section 4.1.2)")]
    ParamFlags(u8),
    #[error(
        "flags {0}; only opt-out (1) is known, and resolvers pass over the record (RFC 5155 section 8.2)"
    )]
    Nsec3Flags(u8),
    #[error(
        "hash algorithm {0}; resolvers only know SHA-1 (1), and pass over the record (RFC 5155 section 8.1)"
    )]
    HashAlgorithm(u8),
    #[error("hash algorithm, iterations or salt differ from those of NSEC3PARAM")]
    OtherParameters,
    #[error("{0} iterations are more than resolvers accept (RFC 9276 section 3.2)")]
    Iterations(u16),
    #[error("the owner is no hash below the apex")]
    NoHash,
    #[error("it stands for no name of the zone")]
    HashOfNothing,
    #[error("{name} has no NSEC3 record, and the one over its hash is without the flag opt-out")]
    CoveredWithoutOptOut { name: Name },
    #[error("{name} has no NSEC3 record")]
    NoNsec3 { name: Name },
    #[error("{first} and {second} have one hash")]
    HashCollision { first: Name, second: Name },

    #[error("serial {found} where the SOA has {wanted} (RFC 8976 section 4)")]
    DigestSerial { found: u32, wanted: u32 },
    #[error("the digest is not that of the zone (RFC 8976 section 4)")]
    DigestWrong,
}

/// Types, as a message lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeList(pub Vec<Rtype>);

impl fmt::Display for TypeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(Rtype::to_string).collect();
        f.write_str(&words.join(" "))
    }
}
