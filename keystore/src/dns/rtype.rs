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
    TXT = 16 "TXT", RP = 17 "RP", AFSDB = 18 "AFSDB", X25 = 19 "X25", ISDN = 20 "ISDN", RT = 21 "RT", SIG = 24 "SIG",
    KEY = 25 "KEY", PX = 26 "PX", GPOS = 27 "GPOS", AAAA = 28 "AAAA", LOC = 29 "LOC", NXT = 30 "NXT", SRV = 33 "SRV", NAPTR = 35 "NAPTR",
    KX = 36 "KX", CERT = 37 "CERT", DNAME = 39 "DNAME", OPT = 41 "OPT", APL = 42 "APL", DS = 43 "DS",
    SSHFP = 44 "SSHFP", IPSECKEY = 45 "IPSECKEY", RRSIG = 46 "RRSIG", NSEC = 47 "NSEC", DNSKEY = 48 "DNSKEY",
    DHCID = 49 "DHCID", NSEC3 = 50 "NSEC3", NSEC3PARAM = 51 "NSEC3PARAM", TLSA = 52 "TLSA", SMIMEA = 53 "SMIMEA",
    HIP = 55 "HIP", CDS = 59 "CDS", CDNSKEY = 60 "CDNSKEY", OPENPGPKEY = 61 "OPENPGPKEY", CSYNC = 62 "CSYNC",
    ZONEMD = 63 "ZONEMD", SVCB = 64 "SVCB", HTTPS = 65 "HTTPS", SPF = 99 "SPF", NID = 104 "NID", L32 = 105 "L32",
    L64 = 106 "L64", LP = 107 "LP", EUI48 = 108 "EUI48", EUI64 = 109 "EUI64", TKEY = 249 "TKEY", TSIG = 250 "TSIG",
    IXFR = 251 "IXFR", AXFR = 252 "AXFR", MAILB = 253 "MAILB", MAILA = 254 "MAILA", ANY = 255 "ANY", URI = 256 "URI",
    CAA = 257 "CAA",
}

impl Rtype {
    /// True for the types of queries and messages, which no zone holds: 0, OPT, and 128 to 255 (RFC 6895 section 3.1).
    #[must_use]
    pub const fn is_meta(self) -> bool {
        matches!(self.0, 0 | 41 | 128..=255)
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
