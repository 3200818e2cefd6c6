//! The texts of `$GENERATE`, as BIND has them: ranges `START-STOP[/STEP]`, and templates in which `$` or
//! `${OFFSET[,WIDTH[,BASE]]}` stands for the number, `$$` and `\$` for the dollar sign.

use keystore::dns::Token;

/// Widest number, in characters.
const MAX_WIDTH: u32 = 127;
/// Longest text that a template makes, in octets; a longer one cannot be a name or one record.
const MAX_TEXT: usize = 64 * 1024;

/// What is wrong with a range or a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum GenerateError {
    #[error(
        "`{0}` is no range; write START-STOP or START-STOP/STEP, with 0 <= START <= STOP < 2147483648 and STEP > 0"
    )]
    Range(String),
    #[error(
        "`{0}` is no number format; write ${{OFFSET,WIDTH,BASE}} with a width up to {MAX_WIDTH} and one of the bases d o x X n N"
    )]
    Format(String),
    #[error("the offset makes the number negative or larger than 2147483647")]
    OutOfRange,
    #[error("the text is longer than {MAX_TEXT} octets")]
    TooLong,
}

/// The numbers of a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    start: u32,
    stop: u32,
    step: u32,
}

impl Range {
    /// Reads `START-STOP[/STEP]`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (start, rest) = text.split_once('-')?;
        let (stop, step) = rest.split_once('/').unwrap_or((rest, "1"));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u32>().ok().filter(|v| digits && *v <= i32::MAX.cast_unsigned())
        };
        let range = Self { start: number(start)?, stop: number(stop)?, step: number(step)? };
        (range.start <= range.stop && range.step > 0).then_some(range)
    }

    /// How many numbers there are.
    pub(super) const fn count(self) -> u64 {
        ((self.stop - self.start) / self.step) as u64 + 1
    }

    pub(super) fn values(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(self.step as usize)
    }
}

/// A text with places for the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Number { offset: i64, width: u32, base: u8 },
}

impl Template {
    pub(super) fn parse(text: &[u8]) -> Result<Self, GenerateError> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        loop {
            rest = match rest {
                [] => break,
                [b'$', b'$', behind @ ..] => {
                    plain.push(b'$');
                    behind
                }
                [b'$', behind @ ..] => {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    let (part, behind) = number(behind)?;
                    parts.push(part);
                    behind
                }
                // The escape stays: the reader of the text resolves it.
                [b'\\', escaped, behind @ ..] => {
                    plain.extend_from_slice(&[b'\\', *escaped]);
                    behind
                }
                [octet, behind @ ..] => {
                    plain.push(*octet);
                    behind
                }
            };
        }
        parts.push(Part::Text(plain));
        Ok(Self { parts })
    }

    /// The text for `value`.
    pub(super) fn fill(&self, value: u32) -> Result<Vec<u8>, GenerateError> {
        let mut out = Vec::with_capacity(64);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Number { offset, width, base } => {
                    let value =
                        i32::try_from(i64::from(value) + offset).ok().and_then(|v| u32::try_from(v).ok());
                    put_number(value.ok_or(GenerateError::OutOfRange)?, *width, *base, &mut out);
                }
            }
            if out.len() > MAX_TEXT {
                return Err(GenerateError::TooLong);
            }
        }
        Ok(out)
    }
}

/// Reads what may follow a `$`: `{OFFSET[,WIDTH[,BASE]]}`.
fn number(text: &[u8]) -> Result<(Part, &[u8]), GenerateError> {
    let Some(inner) = text.strip_prefix(b"{") else {
        return Ok((Part::Number { offset: 0, width: 0, base: b'd' }, text));
    };
    let end = inner.iter().position(|b| *b == b'}').unwrap_or(inner.len());
    let bad = || GenerateError::Format(Token::plain(&text[..text.len().min(end + 2)]).to_string());
    let format = std::str::from_utf8(&inner[..end]).map_err(|_| bad())?;
    let mut fields = format.split(',');
    let offset: i32 = fields.next().and_then(|f| f.parse().ok()).ok_or_else(bad)?;
    let width = match fields.next() {
        Some(field) => field.parse().ok().filter(|w| *w <= MAX_WIDTH).ok_or_else(bad)?,
        None => 0,
    };
    let base = match fields.next().map(str::as_bytes) {
        Some([base @ (b'd' | b'o' | b'x' | b'X' | b'n' | b'N')]) => *base,
        Some(_) => return Err(bad()),
        None => b'd',
    };
    match (fields.next(), inner.get(end + 1..)) {
        (None, Some(behind)) => Ok((Part::Number { offset: offset.into(), width, base }, behind)),
        _ => Err(bad()),
    }
}

fn put_number(value: u32, width: u32, base: u8, out: &mut Vec<u8>) {
    let wide = width as usize;
    let text = match base {
        b'o' => format!("{value:0wide$o}"),
        b'x' => format!("{value:0wide$x}"),
        b'X' => format!("{value:0wide$X}"),
        b'n' => return put_nibbles(value, width, b"0123456789abcdef", out),
        b'N' => return put_nibbles(value, width, b"0123456789ABCDEF", out),
        _ => format!("{value:0wide$}"),
    };
    out.extend_from_slice(text.as_bytes());
}

/// Hexadecimal digits, lowest first, with dots between; the width counts the dots.
fn put_nibbles(mut value: u32, mut width: u32, digits: &[u8; 16], out: &mut Vec<u8>) {
    loop {
        out.push(digits[(value & 15) as usize]);
        value >>= 4;
        width = width.saturating_sub(1);
        if width > 0 || value != 0 {
            out.push(b'.');
            width = width.saturating_sub(1);
        }
        if width == 0 && value == 0 {
            return;
        }
    }
}

/// The data template: a single text in quotes is taken out of them (as BIND does, so that `"10 mail$"` are two fields),
/// several tokens stay as they are.
pub(super) fn data_text(tokens: &[Token<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    if let [token] = tokens
        && token.quoted
    {
        let mut rest = token.text;
        while let Some((octet, behind)) = rest.split_first() {
            rest = behind;
            match (octet, behind.first()) {
                (b'\\', Some(b'"')) => {}
                (b'\\', Some(escaped)) => {
                    out.extend_from_slice(&[b'\\', *escaped]);
                    rest = &behind[1..];
                }
                _ => out.push(*octet),
            }
        }
        return out;
    }
    for token in tokens {
        if !out.is_empty() && !token.glued {
            out.push(b' ');
        }
        if token.quoted {
            out.push(b'"');
        }
        out.extend_from_slice(token.text);
        if token.quoted {
            out.push(b'"');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let values = |text: &str| Range::parse(text.as_bytes()).map(|r| r.values().collect::<Vec<_>>());
        assert_eq!(values("0-3"), Some(vec![0, 1, 2, 3]));
        assert_eq!(values("1-8/3"), Some(vec![1, 4, 7]));
        assert_eq!(values("5-5"), Some(vec![5]));
        for text in ["0-2147483647", "7-100/9", "2147483646-2147483647/2147483647"] {
            let range = Range::parse(text.as_bytes()).expect(text);
            assert_eq!(range.count(), u64::from((range.stop - range.start) / range.step) + 1);
        }
        for bad in
            ["", "1", "1-", "-1", "2-1", "1-2/0", "1-2/", "1-2147483648", "+1-2", "1-2/1/1", "a-b", "1 - 2"]
        {
            assert_eq!(Range::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn templates() {
        for (template, value, want) in [
            ("host$", 7, "host7"),
            ("$-$", 7, "7-7"),
            ("a$$b", 7, "a$b"),
            ("a\\$b", 7, "a\\$b"),
            ("a\\\\$", 7, "a\\\\7"),
            ("${0}", 7, "7"),
            ("${-3}x", 7, "4x"),
            ("${10,5}", 7, "00017"),
            ("${0,3,d}", 7, "007"),
            ("${0,4,o}", 9, "0011"),
            ("${0,0,x}", 255, "ff"),
            ("${0,4,X}", 255, "00FF"),
            ("${0,1,n}", 0x1a, "a.1"),
            ("${0,7,n}", 0x1a, "a.1.0.0"),
            ("${0,7,N}", 0x1a, "A.1.0.0"),
            ("${0,6,n}", 0x1a, "a.1.0."),
            ("\\", 1, "\\"),
        ] {
            let filled = Template::parse(template.as_bytes()).and_then(|t| t.fill(value)).expect(template);
            assert_eq!(String::from_utf8(filled).expect("text"), want, "{template}");
        }
        for (template, what) in [
            ("${", "{"),
            ("${0", "{0"),
            ("${0,", "{0,"),
            ("${}", "{}"),
            ("${0,0,q}", "{0,0,q}"),
            ("${0,128}", "{0,128}"),
            ("${0,1,d,x}", "{0,1,d,x}"),
            ("${2147483648}", "{2147483648}"),
        ] {
            assert_eq!(Template::parse(template.as_bytes()), Err(GenerateError::Format(what.into())));
        }
        let below = Template::parse(b"${-8}").expect("a template");
        assert_eq!(below.fill(7), Err(GenerateError::OutOfRange));
        let above = Template::parse(b"${1}").expect("a template");
        assert_eq!(above.fill(i32::MAX.cast_unsigned()), Err(GenerateError::OutOfRange));
        let long = Template::parse("${0,127}".repeat(1000).as_bytes()).expect("a template");
        assert_eq!(long.fill(1), Err(GenerateError::TooLong));
    }

    #[test]
    fn data_in_quotes_is_taken_out_of_them() {
        let text = |tokens: &[Token<'_>]| String::from_utf8(data_text(tokens)).expect("text");
        let quoted = |text| Token { quoted: true, ..Token::plain(text) };
        assert_eq!(text(&[quoted(b"10 mail$")]), "10 mail$");
        assert_eq!(text(&[quoted(b"\\\"a b\\\" \\\\")]), "\"a b\" \\\\");
        assert_eq!(text(&[Token::plain(b"10"), Token::plain(b"mail$")]), "10 mail$");
        assert_eq!(text(&[Token::plain(b"x"), quoted(b"a b")]), "x \"a b\"");
    }
}
