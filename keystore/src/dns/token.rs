//! One token of a master file.

use std::fmt;

use super::name;

/// One token of a record: its octets with escapes still in place, and whether it stood in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// The octets, without the quotes, escapes (`\DDD`, `\X`) not yet resolved.
    pub text: &'a [u8],
    /// True when it stood in double quotes.
    pub quoted: bool,
    /// True when it follows the token before it without a blank, as the value in `key="value"` does.
    pub glued: bool,
}

impl<'a> Token<'a> {
    /// A token without quotes that stands for itself.
    #[must_use]
    pub const fn plain(text: &'a [u8]) -> Self {
        Self { text, quoted: false, glued: false }
    }

    /// True for `@`, which stands for the origin, in quotes too (as in BIND); `\@` is a name.
    #[must_use]
    pub const fn is_at(&self) -> bool {
        matches!(self.text, b"@")
    }

    /// Appends the octets with their escapes resolved; `None` when a backslash has neither a character nor three digits
    /// up to 255 behind it, `out` then holds what stood before that.
    #[must_use]
    pub fn unescape_into(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut rest = self.text;
        loop {
            let plain = rest.iter().position(|b| *b == b'\\').unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            let Some(behind) = rest.get(plain + 1..) else {
                return Some(());
            };
            let (octet, taken) = name::unescape(behind)?;
            out.push(octet);
            rest = &behind[taken..];
        }
    }

    /// True for `word` in any letter case, without quotes.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(word.as_bytes())
    }
}

impl fmt::Display for Token<'_> {
    /// The text for messages: one line, ASCII, cut when it is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        for b in &self.text[..self.text.len().min(SHOWN)] {
            match b {
                0x20..=0x7e => write!(f, "{}", char::from(*b))?,
                _ => write!(f, "\\{b:03}")?,
            }
        }
        if self.text.len() > SHOWN { f.write_str("...") } else { Ok(()) }
    }
}
