//! RDATA by type: which fields it has, its canonical form, its presentation form.
//!
//! One table describes each type as a run of fields; reading, printing, checking and the canonical form
//! all follow the table.

use super::{Name, Rtype};

/// The canonical form of one uncompressed RDATA: embedded names in lower case for the types of RFC 4034
/// section 6.2 as amended by RFC 6840 section 5.1 (not NSEC). RDATA that does not fit its type comes back as it is.
#[must_use]
pub fn canonical(_rtype: Rtype, _rdata: &[u8]) -> Vec<u8> {
    todo!()
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

/// One token of a record: its octets with escapes still in place, and whether it stood in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// The octets, without the quotes, escapes (`\DDD`, `\X`) not yet resolved.
    pub text: &'a [u8],
    /// True when it stood in double quotes.
    pub quoted: bool,
}

/// Reads RDATA from the tokens behind the type; relative names are completed by `origin`.
/// The generic form `\# LENGTH HEX` is read for every type, and checked against the type's fields.
pub fn from_tokens(
    _rtype: Rtype,
    _tokens: &[Token<'_>],
    _origin: Option<&Name>,
    _out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    todo!()
}

/// Checks that `rdata` is well-formed uncompressed RDATA of `rtype`. Unknown types are always well-formed.
pub fn check(_rtype: Rtype, _rdata: &[u8]) -> Result<(), RdataError> {
    todo!()
}

/// Presentation form, one line; names absolute. Base64 in one piece or, with `columns`, cut by a blank every
/// `columns` characters (BIND prints 56; hex fields likewise). Unknown or malformed: the generic form.
#[must_use]
pub fn to_text(_rtype: Rtype, _rdata: &[u8], _columns: Option<usize>) -> String {
    todo!()
}
