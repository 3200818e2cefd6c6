//! RDATA by type: which fields it has, its canonical form, its presentation form.
//!
//! One table, `fields`, describes each type as a run of `Field`s; reading ([`from_tokens`]), printing
//! ([`to_text`]), checking ([`check`]) and the canonical form ([`canonical`]) all follow the table.

mod apl;
mod historic;
mod input;
mod loc;
mod output;
mod print;
mod read;
mod registry;
mod relay;
mod svcb;
mod wire;

use super::token::Token;
use super::{Name, PortableRtype, Rtype};

/// Most octets of one RDATA.
pub const MAX_RDATA: usize = 65535;

/// The canonical form of one uncompressed RDATA: embedded names in lower case for the types of RFC 4034
/// section 6.2 as amended by RFC 6840 section 5.1 (not NSEC). RDATA that does not fit its type comes back as it is.
#[must_use]
pub fn canonical(rtype: Rtype, rdata: &[u8]) -> Vec<u8> {
    wire::canonical(rtype, rdata)
}

/// Why a text is no RDATA of its type, or octets are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RdataError {
    /// More fields were expected.
    #[error("the record ends where {expected} was expected")]
    Missing {
        /// What the type has at this place.
        expected: &'static str,
    },
    /// A field does not read as what the type has there.
    #[error("`{found}` is no {expected}")]
    BadField {
        /// The text.
        found: String,
        /// What the type has at this place.
        expected: &'static str,
    },
    /// A name does not read.
    #[error("`{found}` is no domain name: {source}")]
    BadName {
        /// The text.
        found: String,
        /// What is wrong with it, or the error of the call that failed.
        source: super::NameError,
    },
    /// Each field reads, but together they make no record data of the type.
    #[error("{0}")]
    Unfit(&'static str),
    /// Text behind the last field.
    #[error("unexpected `{found}` behind the record")]
    Trailing {
        /// The text.
        found: String,
    },
    /// Presentation form is unknown for the type, and the text is not the generic form of RFC 3597.
    #[error("type {0} can only be written in the generic form, `\\# LENGTH HEX` (RFC 3597)")]
    NoPresentation(Rtype),
    /// More than 65535 octets.
    #[error("the record data is longer than 65535 octets")]
    TooLong,
    /// The octets are no RDATA of the type.
    #[error("the octets are no {0} record data")]
    BadWire(Rtype),
}

/// Reads RDATA from the tokens behind the type and appends it to `out`; relative names are completed by `origin`,
/// by the root when there is none. After an error `out` is as before.
/// The generic form `\# LENGTH HEX` is read for every type, and checked against the type's fields.
pub fn from_tokens(
    rtype: Rtype,
    tokens: &[Token<'_>],
    origin: Option<&Name>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let start = out.len();
    let read = read::rdata(rtype, tokens, origin.map(Name::as_wire), out);
    if read.is_err() {
        out.truncate(start);
    }
    read
}

/// Checks that `rdata` is well-formed uncompressed RDATA of `rtype`. Unknown types are always well-formed.
pub fn check(rtype: Rtype, rdata: &[u8]) -> Result<(), RdataError> {
    wire::check(rtype, rdata)
}

/// The RDATA of `len` octets at `at` in a DNS message, with the names in it uncompressed where the type may have compressed ones
/// (RFC 3597 section 4). `None` when the octets are not there, or are no RDATA of a type with such names; others are not looked at, see
/// [`check`].
#[must_use]
pub fn read_message(rtype: Rtype, message: &[u8], at: usize, len: usize) -> Option<Vec<u8>> {
    wire::read_message(rtype, message, at, len)
}

/// Presentation form, one line; names absolute. Base64 in one piece or, with `columns`, cut by a blank every
/// `columns` characters (BIND prints 56; hex fields likewise). Unknown or malformed: the generic form.
#[must_use]
pub fn to_text(rtype: Rtype, rdata: &[u8], columns: Option<usize>) -> String {
    let mut out = String::with_capacity(rdata.len() * 2 + 16);
    print::rdata(rtype, rdata, columns, &mut out);
    out
}

/// Appends the data of a record, one line, as BIND, Knot, NSD and ldns all read it: in the generic form of RFC 3597 for types that one of
/// them does not know. [`PortableRtype`] prints the type to go with it.
pub fn print_portable(rtype: Rtype, rdata: &[u8], out: &mut String) {
    match PortableRtype(rtype).has_mnemonic() {
        true => print::rdata(rtype, rdata, None, out),
        false => print::generic(rdata, None, out),
    }
}

/// What a part of RDATA holds, in wire form and in presentation form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// Name, in lower case in the canonical form.
    Name,
    /// Name, case kept in the canonical form.
    NameCased,
    U8,
    U16,
    U32,
    U64,
    /// 32 bits: seconds, TTL units allowed.
    Period,
    /// 32 bits: time of a signature, 14 digits or seconds.
    Time,
    /// 16 bits: a type by its mnemonic.
    Type,
    /// 8 bits: DNSSEC algorithm, number or mnemonic.
    Algorithm,
    /// 8 bits: digest type of a DS, number or mnemonic.
    DigestType,
    /// 16 bits: type of certificate, number or mnemonic (RFC 4398 section 2.1).
    CertType,
    /// 8 bits: scheme of a DSYNC, number or mnemonic (RFC 9859 section 2.1).
    DsyncScheme,
    Ip4,
    Ip6,
    /// 6 octets as `xx-xx-...`.
    Eui48,
    /// 8 octets as `xx-xx-...`.
    Eui64,
    /// 8 octets as `xxxx:xxxx:xxxx:xxxx` (RFC 6742 section 2.1).
    Locator,
    /// Character string of up to 255 octets.
    String,
    /// The same, or nothing.
    OptString,
    /// One or more character strings up to the end.
    Strings,
    /// All octets up to the end as one text without length octet; at least so many octets.
    Text(usize),
    /// Character string of letters and digits, without quotes (RFC 8659 section 4.1).
    Tag,
    /// Up to the end, at least so many octets.
    Base64(usize),
    /// Key of a KEY record, which may be missing when the flags say so (RFC 2535 section 3.1.2).
    KeyBase64,
    /// Data of a DOA record up to the end; `-` for none.
    DoaData,
    /// Up to the end, at least one octet.
    Hex,
    /// Length octet and salt; `-` for none.
    Salt,
    /// Length octet and hash, base32hex.
    Hash,
    /// Types up to the end (RFC 4034 section 4.1.2).
    Bitmap,
    /// The same, none allowed.
    OptBitmap,
    /// Types up to the end in the bits of RFC 2535 section 5.2.
    NxtBitmap,
    /// Gateway of an IPSECKEY: by the type octet, nothing, IPv4, IPv6 or a name (RFC 4025 section 2.5).
    Gateway,
    /// An AMTRELAY behind its precedence (RFC 8777 section 4.2).
    AmtRelay,
    /// All of a WKS record (RFC 1035 section 3.4.2).
    Wks,
    /// All of an NSAP record (RFC 1706 section 5).
    Nsap,
    /// All of an ATMA record.
    Atma,
    /// All of an A6 record (RFC 2874 section 3.1).
    A6,
    /// All of a HIP record (RFC 8005 section 5).
    Hip,
    /// All of a LOC record (RFC 1876).
    Loc,
    /// Address prefixes up to the end (RFC 3123).
    Apl,
    /// All of a UNECE or ISO record (draft-woodcock-faltstrom-external-registry-rrtypes section 2).
    Registry,
    /// Service parameters up to the end (RFC 9460 section 2.1).
    SvcParams,
}

/// The fields of a type; `None` for a type whose data is opaque.
const fn fields(rtype: Rtype) -> Option<&'static [Field]> {
    use Field::*;
    Some(match rtype {
        Rtype::A => &[Ip4],
        Rtype::AAAA => &[Ip6],
        Rtype::NS
        | Rtype::CNAME
        | Rtype::PTR
        | Rtype::DNAME
        | Rtype::MB
        | Rtype::MD
        | Rtype::MF
        | Rtype::MG
        | Rtype::MR => &[Name],
        Rtype::SOA => &[Name, Name, U32, Period, Period, Period, Period],
        Rtype::MX | Rtype::AFSDB | Rtype::RT | Rtype::KX => &[U16, Name],
        Rtype::LP => &[U16, NameCased],
        Rtype::TXT | Rtype::SPF | Rtype::NINFO | Rtype::AVC | Rtype::RESINFO | Rtype::WALLET | Rtype::CLA => {
            &[Strings]
        }
        Rtype::SRV => &[U16, U16, U16, Name],
        Rtype::NAPTR => &[U16, U16, String, String, String, Name],
        Rtype::RP | Rtype::MINFO => &[Name, Name],
        Rtype::NSAP_PTR => &[NameCased],
        Rtype::TALINK => &[NameCased, NameCased],
        Rtype::PX => &[U16, Name, Name],
        Rtype::HINFO => &[String, String],
        Rtype::X25 => &[String],
        Rtype::ISDN => &[String, OptString],
        Rtype::GPOS => &[String, String, String],
        Rtype::LOC => &[Loc],
        Rtype::APL => &[Apl],
        Rtype::DS | Rtype::CDS | Rtype::TA | Rtype::DLV => &[U16, Algorithm, DigestType, Hex],
        Rtype::DNSKEY | Rtype::CDNSKEY => &[U16, U8, Algorithm, Base64(1)],
        Rtype::KEY => &[U16, U8, Algorithm, KeyBase64],
        Rtype::RKEY => &[U16, U8, Algorithm, Base64(1)],
        Rtype::RRSIG | Rtype::SIG => &[Type, Algorithm, U8, U32, Time, Time, U16, Name, Base64(1)],
        Rtype::NSEC => &[NameCased, Bitmap],
        Rtype::NXT => &[Name, NxtBitmap],
        Rtype::NSEC3 => &[U8, U8, U16, Salt, Hash, OptBitmap],
        Rtype::NSEC3PARAM => &[U8, U8, U16, Salt],
        Rtype::CSYNC => &[U32, U16, OptBitmap],
        Rtype::ZONEMD => &[U32, U8, U8, Hex],
        Rtype::SSHFP => &[U8, U8, Hex],
        Rtype::TLSA | Rtype::SMIMEA => &[U8, U8, U8, Hex],
        Rtype::CERT => &[CertType, U16, Algorithm, Base64(1)],
        Rtype::OPENPGPKEY | Rtype::DHCID | Rtype::HHIT | Rtype::BRID => &[Base64(1)],
        Rtype::IPSECKEY => &[U8, U8, U8, Gateway, Base64(1)],
        Rtype::AMTRELAY => &[U8, AmtRelay],
        Rtype::WKS => &[Wks],
        Rtype::NSAP => &[Nsap],
        Rtype::ATMA => &[Atma],
        Rtype::A6 => &[A6],
        Rtype::EID | Rtype::NIMLOC => &[Hex],
        Rtype::SINK => &[U8, U8, U8, Base64(0)],
        Rtype::DSYNC => &[Type, DsyncScheme, U16, NameCased],
        Rtype::DOA => &[U32, U32, U8, String, DoaData],
        Rtype::IPN => &[U64],
        Rtype::UNECE | Rtype::ISO => &[Registry],
        Rtype::HIP => &[Hip],
        Rtype::SVCB | Rtype::HTTPS => &[U16, NameCased, SvcParams],
        Rtype::NID | Rtype::L64 => &[U16, Locator],
        Rtype::L32 => &[U16, Ip4],
        Rtype::EUI48 => &[Eui48],
        Rtype::EUI64 => &[Eui64],
        Rtype::URI => &[U16, U16, Text(1)],
        Rtype::CAA => &[U8, Tag, Text(0)],
        _ => return None,
    })
}

/// Mnemonics of DNSSEC algorithms (IANA registry), and those that BIND reads beside them.
const ALGORITHMS: &[(&str, u16)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("NSEC3DSA", 6),
    ("DSA-NSEC3-SHA1", 6),
    ("NSEC3RSASHA1", 7),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECCGOST", 12),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ECDSA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// Mnemonics of DS digest types that BIND reads.
const DIGEST_TYPES: &[(&str, u16)] =
    &[("SHA-1", 1), ("SHA1", 1), ("SHA-256", 2), ("SHA256", 2), ("GOST", 3), ("SHA-384", 4), ("SHA384", 4)];

/// Mnemonics of the schemes of DSYNC records.
const DSYNC_SCHEMES: &[(&str, u16)] = &[("NOTIFY", 1)];

/// Mnemonics of certificate types (RFC 4398 section 2.1).
const CERT_TYPES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

#[cfg(test)]
mod tests;
