//! The tokens of a `named.conf`: bare words, quoted strings, `{ } ; ! /`; blanks and the three kinds of comment between them.

/// A token with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfToken {
    /// What it is.
    pub kind: ConfTokenKind,
    /// Text of a word or a string; octets that are no UTF-8 are replaced.
    pub text: String,
    /// The line that it begins in, the first is 1.
    pub line: u32,
}

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfTokenKind {
    /// A bare word.
    Word,
    /// A string in double quotes; may span lines.
    Quoted,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    Semicolon,
    /// `!`
    Not,
    /// `/`, which ends a word and is never part of one; so paths must be quoted.
    Slash,
    /// The end of the file.
    End,
}

/// What cannot be a token, with its line.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfLexError {
    /// The line.
    pub line: u32,
    /// What is wrong in it.
    pub what: String,
}

/// Takes the tokens out of the octets of a file, one after another.
#[derive(Debug)]
pub struct ConfLexer<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
    /// The last token is a word that ends at `at`.
    behind_word: bool,
}

impl ConfToken {
    /// The token as a message shows it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.kind {
            ConfTokenKind::Word => format!("'{}'", shortened(&self.text)),
            ConfTokenKind::Quoted => format!("'\"{}\"'", shortened(&self.text)),
            ConfTokenKind::Open => "'{'".to_owned(),
            ConfTokenKind::Close => "'}'".to_owned(),
            ConfTokenKind::Semicolon => "';'".to_owned(),
            ConfTokenKind::Not => "'!'".to_owned(),
            ConfTokenKind::Slash => "'/'".to_owned(),
            ConfTokenKind::End => "end of file".to_owned(),
        }
    }

    /// True for this bare word, in any letter case.
    #[must_use]
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == ConfTokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }
}

impl<'a> ConfLexer<'a> {
    /// A lexer of all octets of a file.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, line: 1, behind_word: false }
    }

    /// The next token; [`ConfTokenKind::End`] again and again at the end.
    pub fn next_token(&mut self) -> Result<ConfToken, ConfLexError> {
        // BIND takes no `/*` for a comment that stands directly behind a word.
        if !std::mem::take(&mut self.behind_word) || (self.peek(0), self.peek(1)) != (Some(b'/'), Some(b'*'))
        {
            self.skip_blanks()?;
        }
        let line = self.line;
        let token = |kind, text| Ok(ConfToken { kind, text, line });
        let Some(first) = self.peek(0) else { return token(ConfTokenKind::End, String::new()) };
        let kind = match first {
            b'{' => ConfTokenKind::Open,
            b'}' => ConfTokenKind::Close,
            b';' => ConfTokenKind::Semicolon,
            b'!' => ConfTokenKind::Not,
            b'/' => ConfTokenKind::Slash,
            b'"' => return token(ConfTokenKind::Quoted, self.quoted()?),
            _ => {
                let text = self.word()?;
                self.behind_word = true;
                return token(ConfTokenKind::Word, text);
            }
        };
        self.at += 1;
        token(kind, String::new())
    }

    /// Skips the free text of a plugin's parameters, up to the brace that closes the one just read. Nothing but braces counts in it.
    pub fn skip_free_text(&mut self) -> Result<(), ConfLexError> {
        let mut depth = 1u32;
        while let Some(byte) = self.bump() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => return Ok(()),
                b'}' => depth -= 1,
                _ => {}
            }
        }
        Err(self.error("'}' expected near end of file"))
    }

    fn skip_blanks(&mut self) -> Result<(), ConfLexError> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\r' | b'\n'), _) => {
                    self.bump();
                }
                (Some(b'#'), _) | (Some(b'/'), Some(b'/')) => {
                    while self.bump().is_some_and(|b| b != b'\n') {}
                }
                (Some(b'/'), Some(b'*')) => {
                    let start = self.line;
                    self.at += 2;
                    while (self.peek(0), self.peek(1)) != (Some(b'*'), Some(b'/')) {
                        if self.bump().is_none() {
                            let what =
                                format!("the comment that starts with '/*' in line {start} has no '*/'");
                            return Err(self.error(&what));
                        }
                    }
                    self.at += 2;
                }
                _ => return Ok(()),
            }
        }
    }

    /// A string, from its opening quote; `\"` is a quote, any other backslash stands for itself, as in BIND.
    fn quoted(&mut self) -> Result<String, ConfLexError> {
        let start = self.line;
        let mut text = Vec::new();
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.bump() {
                None => {
                    let what = format!("the string that starts in line {start} has no closing '\"'");
                    return Err(self.error(&what));
                }
                Some(0) => return Err(self.error("a NUL octet; this is no text file")),
                Some(b'"') if escaped => {
                    text.pop();
                    text.push(b'"');
                    escaped = false;
                }
                Some(b'"') => return Ok(String::from_utf8_lossy(&text).into_owned()),
                Some(byte) => {
                    escaped = byte == b'\\' && !escaped;
                    text.push(byte);
                }
            }
        }
    }

    fn word(&mut self) -> Result<String, ConfLexError> {
        let start = self.at;
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'}' | b';' | b'!' | b'"' | b'#' | b'/' => break,
                0..=0x1f | 0x7f => {
                    let what = format!("a control character (0x{byte:02x}) outside of strings and comments");
                    return Err(self.error(&what));
                }
                0xef if start == 0 && self.bytes.starts_with(b"\xef\xbb\xbf") => {
                    return Err(self.error("a byte order mark; save the file as UTF-8 without one"));
                }
                _ => self.at += 1,
            }
        }
        Ok(String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned())
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek(0)?;
        self.at += 1;
        self.line += u32::from(byte == b'\n');
        Some(byte)
    }

    fn error(&self, what: &str) -> ConfLexError {
        ConfLexError { line: self.line, what: what.to_owned() }
    }
}

/// At most 40 characters, without control characters.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String =
        text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &[u8]) -> Result<Vec<(ConfTokenKind, String, u32)>, ConfLexError> {
        let mut lexer = ConfLexer::new(text);
        let mut out = Vec::new();
        loop {
            let token = lexer.next_token()?;
            if token.kind == ConfTokenKind::End {
                return Ok(out);
            }
            out.push((token.kind, token.text, token.line));
        }
    }

    #[test]
    fn splits_as_bind_does() {
        let word = |text: &str, line| (ConfTokenKind::Word, text.to_owned(), line);
        let quoted = |text: &str, line| (ConfTokenKind::Quoted, text.to_owned(), line);
        let mark = |kind, line| (kind, String::new(), line);
        type Tokens = Vec<(ConfTokenKind, String, u32)>;
        let table: &[(&[u8], Tokens)] = &[
            (b"", vec![]),
            (b"# a\n// b\n/* c\n d */ x", vec![word("x", 4)]),
            (b"x#c\ny//c\nz /*c*/w", vec![word("x", 1), word("y", 2), word("z", 3), word("w", 3)]),
            (b"\"x\"/*c*/{/*c*/", vec![quoted("x", 1), mark(ConfTokenKind::Open, 1)]),
            (b"x/*", vec![word("x", 1), mark(ConfTokenKind::Slash, 1), word("*", 1)]),
            (
                b"10/8 / ",
                vec![
                    word("10", 1),
                    mark(ConfTokenKind::Slash, 1),
                    word("8", 1),
                    mark(ConfTokenKind::Slash, 1),
                ],
            ),
            (b"/* /* */ x", vec![word("x", 1)]),
            (b"/**/x /***/", vec![word("x", 1)]),
            (
                b"a{!b};\r\n",
                vec![
                    word("a", 1),
                    mark(ConfTokenKind::Open, 1),
                    mark(ConfTokenKind::Not, 1),
                    word("b", 1),
                    mark(ConfTokenKind::Close, 1),
                    mark(ConfTokenKind::Semicolon, 1),
                ],
            ),
            (b"a\"b # // /* {\"c", vec![word("a", 1), quoted("b # // /* {", 1), word("c", 1)]),
            (b"\"a\nb\" c", vec![quoted("a\nb", 1), word("c", 2)]),
            (br#""a\"b" "a\\" "\x""#, vec![quoted("a\"b", 1), quoted("a\\\\", 1), quoted("\\x", 1)]),
            (b"a\\b", vec![word("a\\b", 1)]),
            (b"\xfc", vec![word("\u{fffd}", 1)]),
        ];
        for (text, expected) in table {
            assert_eq!(tokens(text).as_ref(), Ok(expected), "{}", String::from_utf8_lossy(text));
        }
        for (text, line) in [
            (&b"x\n/* a\n\n"[..], 4),
            (b"x\n/*/", 2),
            (b"\"a\n", 2),
            (b"\"a\\\"", 1),
            (b"x\ny\0", 2),
            (b"\"\0\"", 1),
            (b"\x0c", 1),
            (b"\xef\xbb\xbfx", 1),
        ] {
            assert_eq!(tokens(text).unwrap_err().line, line, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn free_text_ends_with_its_brace() {
        let mut lexer = ConfLexer::new(b"{ a \" # { // } \n } x");
        assert_eq!(lexer.next_token().unwrap().kind, ConfTokenKind::Open);
        lexer.skip_free_text().unwrap();
        assert_eq!(lexer.next_token().unwrap().text, "x");
        assert_eq!(ConfLexer::new(b"{").skip_free_text().unwrap_err().line, 1);
    }
}
