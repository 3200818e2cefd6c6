//! A record in presentation form: owner, TTL, class, type, data (RFC 1035 section 5.1).

use super::lexer::Entry;
use super::name::NameError;
use super::rdata::{self, RdataError};
use super::token::Token;
use super::ttl::{self, MAX_TTL};
use super::{Class, Name, Rtype};

/// A record as it stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordText {
    /// Owner name of the record.
    pub owner: Name,
    /// TTL in seconds, where it is written.
    pub ttl: Option<u32>,
    /// Class, where it is written.
    pub class: Option<Class>,
    /// Type of the record.
    pub rtype: Rtype,
    /// RDATA, uncompressed wire form.
    pub rdata: Vec<u8>,
}

/// The fields between owner and RDATA: `[TTL] [class] type`, the first two in either order (RFC 1035 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// TTL in seconds, where it is written.
    pub ttl: Option<u32>,
    /// Class, where it is written.
    pub class: Option<Class>,
    /// Type of the record.
    pub rtype: Rtype,
    /// How many tokens these fields took.
    pub len: usize,
}

/// Why tokens are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The owner is left out, and there is none before it.
    #[error("the first record has no owner name; write it at the start of the line")]
    NoOwner,
    /// The owner is no name.
    #[error("`{text}` is no owner name: {source}")]
    BadOwner {
        /// The text.
        text: String,
        /// What is wrong with it, or the error of the call that failed.
        source: NameError,
    },
    /// `@` where there is no origin.
    #[error("`@` stands for an origin, and there is none here; write the name itself")]
    NoOrigin,
    /// The tokens end before the type.
    #[error("the record ends where its type was expected: OWNER [TTL] [CLASS] TYPE DATA")]
    NoType,
    /// A number that is no TTL.
    #[error(
        "`{0}` is no TTL; write seconds, or units as in 1h30m, up to 2147483647 seconds (RFC 2181 section 8)"
    )]
    BadTtl(String),
    /// A word that is no type.
    #[error("`{0}` is no known type; types without mnemonic are written TYPEnnn (RFC 3597)")]
    UnknownType(String),
    /// A type that no zone holds.
    #[error("type {0} is for queries and messages, not for records of a zone")]
    MetaType(Rtype),
    /// The data.
    #[error("{rtype} record: {source}")]
    Rdata {
        /// Type of the record.
        rtype: Rtype,
        /// What is wrong with it, or the error of the call that failed.
        source: RdataError,
    },
}

/// Reads `[owner] [TTL] [class] type RDATA`. The owner is left out (`previous` counts) when the line starts with a
/// blank; relative names are completed by `origin`, by the root when there is none.
pub fn parse(
    entry: &Entry<'_>,
    origin: Option<&Name>,
    previous: Option<&Name>,
) -> Result<RecordText, RecordError> {
    let tokens = &*entry.tokens;
    let (owner, rest) = match tokens.split_first() {
        _ if entry.leading_blank => (previous.cloned().ok_or(RecordError::NoOwner)?, tokens),
        None => return Err(RecordError::NoType),
        Some((first, rest)) if first.is_at() => (origin.cloned().ok_or(RecordError::NoOrigin)?, rest),
        Some((first, rest)) => {
            let owner = Name::parse_bytes(first.text, origin);
            let owner = owner.map_err(|source| RecordError::BadOwner { text: first.to_string(), source })?;
            (owner, rest)
        }
    };
    let head = record_head(rest)?.with_true_ttl()?;
    let mut data = Vec::new();
    rdata::from_tokens(head.rtype, &rest[head.len..], origin, &mut data)
        .map_err(|source| RecordError::Rdata { rtype: head.rtype, source })?;
    Ok(RecordText { owner, ttl: head.ttl, class: head.class, rtype: head.rtype, rdata: data })
}

impl RecordHead {
    /// Refuses a TTL above [`MAX_TTL`], which a zone file may have and which counts as 0 there (RFC 2181 section 8).
    pub fn with_true_ttl(self) -> Result<Self, RecordError> {
        match self.ttl {
            Some(ttl) if ttl > MAX_TTL => Err(RecordError::BadTtl(ttl.to_string())),
            _ => Ok(self),
        }
    }
}

/// Reads what stands between owner and RDATA at the start of `tokens`. The TTL may be above [`MAX_TTL`].
pub fn record_head(tokens: &[Token<'_>]) -> Result<RecordHead, RecordError> {
    let (mut ttl, mut class) = (None, None);
    for (at, token) in tokens.iter().enumerate() {
        if ttl.is_none() && !token.quoted && token.text.first().is_some_and(u8::is_ascii_digit) {
            let seconds = ttl::parse(token.text);
            ttl = Some(seconds.ok_or_else(|| RecordError::BadTtl(token.to_string()))?);
            continue;
        }
        if class.is_none()
            && !token.quoted
            && let Some(found) = Class::from_mnemonic(token.text)
        {
            class = Some(found);
            continue;
        }
        let rtype = Rtype::from_mnemonic(token.text).filter(|_| !token.quoted);
        let rtype = rtype.ok_or_else(|| RecordError::UnknownType(token.to_string()))?;
        if rtype.is_meta() {
            return Err(RecordError::MetaType(rtype));
        }
        return Ok(RecordHead { ttl, class, rtype, len: at + 1 });
    }
    Err(RecordError::NoType)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::lexer::Entries;

    #[test]
    fn records_in_either_order() {
        let origin = Name::parse("example.").expect("a name");
        let read = |text: &str| {
            let entry = Entries::new(text.as_bytes()).next().expect("an entry").expect("a good entry");
            parse(&entry, Some(&origin), Some(&origin))
        };
        for text in
            ["w 60 IN A 192.0.2.1", "w.example. in 1m a 192.0.2.1", "w CLASS1 60 TYPE1 \\# 4 c0000201"]
        {
            let record = read(text).expect(text);
            assert_eq!(record.owner.to_string(), "w.example.");
            let fields = (record.ttl, record.class, record.rtype, &*record.rdata);
            assert_eq!(fields, (Some(60), Some(Class::IN), Rtype::A, &[192, 0, 2, 1][..]));
        }
        assert_eq!(read("\"@\" NS \\@").expect("a record").rdata, b"\x01@\x07example\0");
        assert_eq!(read("@ NS @").expect("a record").rdata, b"\x07example\0");
        assert_eq!(read(" NS a").expect("a record").owner, origin);
        for (text, want) in [
            ("w 60 IN", RecordError::NoType),
            ("w 2147483648 A 192.0.2.1", RecordError::BadTtl("2147483648".into())),
            ("w 60 60 A 192.0.2.1", RecordError::UnknownType("60".into())),
            ("w \"A\" 192.0.2.1", RecordError::UnknownType("A".into())),
            ("w \"IN\" A 192.0.2.1", RecordError::UnknownType("IN".into())),
            ("w BOGUS x", RecordError::UnknownType("BOGUS".into())),
            ("w AXFR x", RecordError::MetaType(Rtype::AXFR)),
            ("w TYPE0 \\# 0", RecordError::MetaType(Rtype(0))),
            (
                "w..x A 192.0.2.1",
                RecordError::BadOwner { text: "w..x".into(), source: NameError::EmptyLabel },
            ),
        ] {
            assert_eq!(read(text), Err(want), "{text}");
        }
        let bare = Entries::new(b"@ NS a").next().expect("an entry").expect("a good entry");
        assert_eq!(parse(&bare, None, None), Err(RecordError::NoOrigin));
        let bare = Entries::new(b" NS a").next().expect("an entry").expect("a good entry");
        assert_eq!(parse(&bare, None, None), Err(RecordError::NoOwner));
    }
}
