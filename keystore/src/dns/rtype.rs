//! RR types and classes, with their mnemonics and the generic `TYPE123` form of RFC 3597.

use std::fmt;
use std::str::FromStr;

/// An RR type by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

/// A class by its number; only `IN` is served, the others are recognised to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u16);

/// The text names no RR type or class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no known type or class")]
pub struct UnknownMnemonic(pub String);

macro_rules! mnemonics {
    ($ty:ident, $generic:literal, $($konst:ident = $value:literal $text:literal,)*) => {
        impl $ty {
            $(#[doc = concat!("`", $text, "`")] pub const $konst: Self = Self($value);)*

            fn mnemonic(self) -> Option<&'static str> {
                match self.0 { $($value => Some($text),)* _ => None }
            }

            /// Reads a mnemonic or the generic form, in any letter case.
            #[must_use]
            pub fn from_mnemonic(text: &[u8]) -> Option<Self> {
                let mut buffer = [0; 16];
                let upper = buffer.get_mut(..text.len())?;
                upper.copy_from_slice(text);
                upper.make_ascii_uppercase();
                match std::str::from_utf8(upper).ok()? {
                    $($text => Some(Self($value)),)*
                    other => {
                        let digits = other.strip_prefix($generic)?;
                        let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                        decimal.then(|| digits.parse().ok().map(Self)).flatten()
                    }
                }
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.mnemonic() {
                    Some(text) => f.pad(text),
                    None => write!(f, concat!($generic, "{}"), self.0),
                }
            }
        }

        impl FromStr for $ty {
            type Err = UnknownMnemonic;
            /// Reads a mnemonic or the generic form, in any letter case.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::from_mnemonic(text.as_bytes()).ok_or_else(|| UnknownMnemonic(text.to_owned()))
            }
        }
    };
}

mnemonics! { Rtype, "TYPE",
    A = 1 "A", NS = 2 "NS", MD = 3 "MD", MF = 4 "MF", CNAME = 5 "CNAME", SOA = 6 "SOA", MB = 7 "MB", MG = 8 "MG",
    MR = 9 "MR", NULL = 10 "NULL", WKS = 11 "WKS", PTR = 12 "PTR", HINFO = 13 "HINFO", MINFO = 14 "MINFO", MX = 15 "MX",
    TXT = 16 "TXT", RP = 17 "RP", AFSDB = 18 "AFSDB", X25 = 19 "X25", ISDN = 20 "ISDN", RT = 21 "RT", NSAP = 22 "NSAP",
    NSAP_PTR = 23 "NSAP-PTR", SIG = 24 "SIG",
    KEY = 25 "KEY", PX = 26 "PX", GPOS = 27 "GPOS", AAAA = 28 "AAAA", LOC = 29 "LOC", NXT = 30 "NXT", EID = 31 "EID",
    NIMLOC = 32 "NIMLOC", SRV = 33 "SRV", ATMA = 34 "ATMA", NAPTR = 35 "NAPTR",
    KX = 36 "KX", CERT = 37 "CERT", A6 = 38 "A6", DNAME = 39 "DNAME", SINK = 40 "SINK", OPT = 41 "OPT", APL = 42 "APL", DS = 43 "DS",
    SSHFP = 44 "SSHFP", IPSECKEY = 45 "IPSECKEY", RRSIG = 46 "RRSIG", NSEC = 47 "NSEC", DNSKEY = 48 "DNSKEY",
    DHCID = 49 "DHCID", NSEC3 = 50 "NSEC3", NSEC3PARAM = 51 "NSEC3PARAM", TLSA = 52 "TLSA", SMIMEA = 53 "SMIMEA",
    HIP = 55 "HIP", NINFO = 56 "NINFO", RKEY = 57 "RKEY", TALINK = 58 "TALINK", CDS = 59 "CDS", CDNSKEY = 60 "CDNSKEY", OPENPGPKEY = 61 "OPENPGPKEY", CSYNC = 62 "CSYNC",
    ZONEMD = 63 "ZONEMD", SVCB = 64 "SVCB", HTTPS = 65 "HTTPS", DSYNC = 66 "DSYNC", HHIT = 67 "HHIT", BRID = 68 "BRID",
    UNECE = 69 "UNECE", ISO = 70 "ISO", SPF = 99 "SPF", UINFO = 100 "UINFO", UID = 101 "UID", GID = 102 "GID", UNSPEC = 103 "UNSPEC", NID = 104 "NID", L32 = 105 "L32",
    L64 = 106 "L64", LP = 107 "LP", EUI48 = 108 "EUI48", EUI64 = 109 "EUI64", NXNAME = 128 "NXNAME", TKEY = 249 "TKEY", TSIG = 250 "TSIG",
    IXFR = 251 "IXFR", AXFR = 252 "AXFR", MAILB = 253 "MAILB", MAILA = 254 "MAILA", ANY = 255 "ANY", URI = 256 "URI",
    CAA = 257 "CAA", AVC = 258 "AVC", DOA = 259 "DOA", AMTRELAY = 260 "AMTRELAY", RESINFO = 261 "RESINFO",
    WALLET = 262 "WALLET", CLA = 263 "CLA", IPN = 264 "IPN", TA = 32768 "TA", DLV = 32769 "DLV",
}

impl Rtype {
    /// True for the types of queries and messages, which no zone holds: 0, OPT, and 128 to 255 (RFC 6895 section 3.1).
    #[must_use]
    pub const fn is_meta(self) -> bool {
        matches!(self.0, 0 | 41 | 128..=255)
    }
}

/// The types that BIND 9.20, Knot 3.4, NSD 4.11 and ldns 1.8 all read by mnemonic, with the same form of data.
const READ_BY_ALL: &[Rtype] = &[
    Rtype::A,
    Rtype::NS,
    Rtype::CNAME,
    Rtype::SOA,
    Rtype::PTR,
    Rtype::HINFO,
    Rtype::MINFO,
    Rtype::MX,
    Rtype::TXT,
    Rtype::RP,
    Rtype::AFSDB,
    Rtype::RT,
    Rtype::AAAA,
    Rtype::LOC,
    Rtype::SRV,
    Rtype::NAPTR,
    Rtype::KX,
    Rtype::CERT,
    Rtype::DNAME,
    Rtype::APL,
    Rtype::DS,
    Rtype::SSHFP,
    Rtype::IPSECKEY,
    Rtype::RRSIG,
    Rtype::NSEC,
    Rtype::DNSKEY,
    Rtype::DHCID,
    Rtype::NSEC3,
    Rtype::NSEC3PARAM,
    Rtype::TLSA,
    Rtype::SMIMEA,
    Rtype::CDS,
    Rtype::CDNSKEY,
    Rtype::OPENPGPKEY,
    Rtype::CSYNC,
    Rtype::ZONEMD,
    Rtype::SVCB,
    Rtype::HTTPS,
    Rtype::SPF,
    Rtype::NID,
    Rtype::L32,
    Rtype::L64,
    Rtype::LP,
    Rtype::EUI48,
    Rtype::EUI64,
    Rtype::URI,
    Rtype::CAA,
];

/// An RR type for a file that others read: its mnemonic where all of them know it, else `TYPE123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortableRtype(pub Rtype);

impl PortableRtype {
    /// True when the type is written with its mnemonic, and its data in the form of its type.
    #[must_use]
    pub fn has_mnemonic(self) -> bool {
        READ_BY_ALL.contains(&self.0)
    }
}

impl fmt::Display for PortableRtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has_mnemonic() { write!(f, "{}", self.0) } else { write!(f, "TYPE{}", self.0.0) }
    }
}

mnemonics! { Class, "CLASS", IN = 1 "IN", CH = 3 "CH", HS = 4 "HS", NONE = 254 "NONE", ANY = 255 "ANY", }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonic_and_generic_form() {
        assert_eq!("dnskey".parse(), Ok(Rtype::DNSKEY));
        assert_eq!("TYPE48".parse(), Ok(Rtype::DNSKEY));
        assert_eq!(Rtype(65280).to_string(), "TYPE65280");
        assert_eq!("class1".parse(), Ok(Class::IN));
        for bad in ["TYPE", "TYPE65536", "TYPE+1", "", "DNSKEYS"] {
            assert!(bad.parse::<Rtype>().is_err(), "{bad}");
        }
    }
}
