//! The master-file lexer (RFC 1035 section 5.1): tokens, quotes, escapes, parentheses over lines, comments.
//!
//! Used for zone files, `.key` files, KSR, SKR and trust anchor files.
//!
//! An *entry* is what one record or directive takes: a line, or several that parentheses hold together.
//! [`Lexer::next_into`] is the fast form, which fills a list of the caller's; [`Entries`] is the comfortable one,
//! an iterator of [`Entry`]. Both also hand over entries that are nothing but a comment, as KSR and SKR files keep
//! their headers in such lines. Blank lines are skipped.

use super::token::Token;

/// Most octets that the tokens of one entry may have together. A record of 65535 octets of data, each written
/// as `\DDD` in strings of 255, takes about 263 000.
pub const MAX_ENTRY: usize = 512 * 1024;
/// Most tokens of one entry: enough for 65535 octets, each written as a token of its own.
pub const MAX_TOKENS: usize = 128 * 1024;

/// Reads entries from the octets of a master file.
///
/// Lines end in LF or CRLF; the last one may lack it. Octets above 127 are taken as they are; what becomes of control octets is said
/// by `Controls`.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    controls: Controls,
}

/// What becomes of control octets other than tab and line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controls {
    /// Refused everywhere: the text is made by programs, and they show that it is damaged.
    Refuse,
    /// As in the zone files that BIND reads: part of a comment, word or string, except for NUL outside of a comment. A run of CR before
    /// LF ends a line, and so does CR at the end of the file. A line of nothing but form feeds and blanks is blank.
    Take,
}

/// What precedes and follows the tokens of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHead<'a> {
    /// Line of its start, from 1.
    pub line: u32,
    /// True when the line starts with a blank or tab, that is, the owner is left out.
    pub leading_blank: bool,
    /// The comment that ends the entry, without its first `;` and the line end.
    pub comment: Option<&'a [u8]>,
}

/// An entry: the tokens of one record, directive or comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Line of its start, from 1.
    pub line: u32,
    /// True when the line starts with a blank or tab, that is, the owner is left out.
    pub leading_blank: bool,
    /// The comment that ends the entry, without its first `;` and the line end.
    pub comment: Option<&'a [u8]>,
    /// The tokens; none when the entry is only a comment.
    pub tokens: Vec<Token<'a>>,
}

/// What the lexer refuses, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct LexError {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong, in words for a message.
    pub what: LexErrorKind,
}

/// Why the lexer refuses a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LexErrorKind {
    /// A control octet other than tab and line end.
    #[error("control octet {0:#04x}: this is no text file, or it is damaged; write such octets as \\DDD")]
    Control(u8),
    /// CR without LF.
    #[error("a carriage return that ends no line; write it as \\013, or end lines with LF or CRLF")]
    BareCr,
    /// The file starts with U+FEFF.
    #[error("the file starts with a byte order mark; save it as plain text without one")]
    ByteOrderMark,
    /// A string without its second quote.
    #[error("the string has no closing quote on its line")]
    OpenQuote,
    /// A backslash before the line end.
    #[error("a backslash at the end of the line escapes nothing; write \\\\ for the backslash itself")]
    OpenEscape,
    /// The file ends inside parentheses.
    #[error("the file ends inside the parentheses that were opened here; close them with `)`")]
    OpenParenthesis,
    /// A closing parenthesis too many.
    #[error("`)` without a `(` before it")]
    UnopenedParenthesis,
    /// More than [`MAX_ENTRY`] octets or [`MAX_TOKENS`] tokens.
    #[error("the record is too long to fit into 65535 octets; is a closing `)` missing?")]
    TooLong,
}

/// What an octet means to the lexer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Blank,
    Newline,
    Return,
    Quote,
    Open,
    Close,
    Comment,
    Escape,
    Control,
}

static KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Plain; 256];
    let mut i = 0;
    while i < 32 {
        kinds[i] = Kind::Control;
        i += 1;
    }
    kinds[127] = Kind::Control;
    kinds[b' ' as usize] = Kind::Blank;
    kinds[b'\t' as usize] = Kind::Blank;
    kinds[b'\n' as usize] = Kind::Newline;
    kinds[b'\r' as usize] = Kind::Return;
    kinds[b'"' as usize] = Kind::Quote;
    kinds[b'(' as usize] = Kind::Open;
    kinds[b')' as usize] = Kind::Close;
    kinds[b';' as usize] = Kind::Comment;
    kinds[b'\\' as usize] = Kind::Escape;
    kinds
};

const fn kind(octet: u8) -> Kind {
    KINDS[octet as usize]
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1, controls: Controls::Refuse }
    }

    /// A lexer at the start of a zone file, which people and programs of all kinds have written: as BIND reads it.
    #[must_use]
    pub const fn of_zone_file(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1, controls: Controls::Take }
    }

    /// Reads the next entry into `tokens` (emptied first); `None` at the end. After an error nothing more comes.
    pub fn next_into(&mut self, tokens: &mut Vec<Token<'a>>) -> Result<Option<EntryHead<'a>>, LexError> {
        let entry = self.read(tokens);
        if entry.is_err() {
            self.at = self.text.len();
        }
        entry
    }

    fn read(&mut self, tokens: &mut Vec<Token<'a>>) -> Result<Option<EntryHead<'a>>, LexError> {
        tokens.clear();
        if self.at == 0 && self.text.starts_with(b"\xef\xbb\xbf") {
            return Err(self.refuse(LexErrorKind::ByteOrderMark));
        }
        loop {
            let Some(first) = self.text.get(self.at) else {
                return Ok(None);
            };
            let (line, leading_blank) = (self.line, kind(*first) == Kind::Blank);
            let comment = self.read_entry(tokens)?;
            if !tokens.is_empty() || comment.is_some() {
                return Ok(Some(EntryHead { line, leading_blank, comment }));
            }
        }
    }

    /// Reads to the end of the entry, past its line end; gives its last comment.
    fn read_entry(&mut self, tokens: &mut Vec<Token<'a>>) -> Result<Option<&'a [u8]>, LexError> {
        let text = self.text;
        let (mut depth, mut opened_at, mut octets) = (0usize, self.line, 0usize);
        let mut comment = None;
        let mut glued = false;
        while let Some(&octet) = text.get(self.at) {
            match kind(octet) {
                Kind::Blank => {
                    self.at += 1;
                    glued = false;
                }
                Kind::Newline | Kind::Return => {
                    self.end_line()?;
                    glued = false;
                    if depth == 0 {
                        return Ok(comment);
                    }
                }
                Kind::Open => {
                    if depth == 0 {
                        opened_at = self.line;
                    }
                    depth += 1;
                    self.at += 1;
                    glued = false;
                }
                Kind::Close => {
                    depth =
                        depth.checked_sub(1).ok_or_else(|| self.refuse(LexErrorKind::UnopenedParenthesis))?;
                    self.at += 1;
                    glued = false;
                }
                Kind::Comment => comment = Some(self.read_comment()?),
                Kind::Control if self.is_page_break(tokens) => self.at += 1,
                Kind::Control if !self.takes(octet) => {
                    return Err(self.refuse(LexErrorKind::Control(octet)));
                }
                Kind::Quote => {
                    let token = self.read_quoted()?;
                    octets += token.len() + 1;
                    self.push(tokens, octets, Token { text: token, quoted: true, glued })?;
                    glued = true;
                }
                Kind::Plain | Kind::Escape | Kind::Control => {
                    let token = self.read_plain()?;
                    octets += token.len() + 1;
                    self.push(tokens, octets, Token { text: token, quoted: false, glued })?;
                    glued = true;
                }
            }
        }
        if depth > 0 {
            return Err(LexError { line: opened_at, what: LexErrorKind::OpenParenthesis });
        }
        Ok(comment)
    }

    fn push(&self, tokens: &mut Vec<Token<'a>>, octets: usize, token: Token<'a>) -> Result<(), LexError> {
        if octets > MAX_ENTRY || tokens.len() >= MAX_TOKENS {
            return Err(self.refuse(LexErrorKind::TooLong));
        }
        tokens.push(token);
        Ok(())
    }

    /// Steps over LF or CRLF; a CR at the very end of the file is a line end too, and in a zone file each run of CR before LF.
    fn end_line(&mut self) -> Result<(), LexError> {
        match self.line_end_at(self.at) {
            Some(len) => {
                self.at += len;
                self.line = self.line.saturating_add(1);
                Ok(())
            }
            None => Err(self.refuse(LexErrorKind::BareCr)),
        }
    }

    /// Octets of the line end at `at`; `None` for a CR that ends no line.
    fn line_end_at(&self, at: usize) -> Option<usize> {
        let rest = self.text.get(at..)?;
        let returns = rest.iter().take_while(|b| **b == b'\r').count();
        let allowed = returns <= 1 || self.controls == Controls::Take;
        match rest.get(returns) {
            Some(b'\n') if allowed => Some(returns + 1),
            None if allowed && returns > 0 => Some(returns),
            _ => None,
        }
    }

    /// True when `octet`, a control octet, stands for itself.
    fn takes(&self, octet: u8) -> bool {
        self.controls == Controls::Take && octet != 0
    }

    /// True at the first octet of a line that has nothing but form feeds and blanks.
    fn is_page_break(&self, tokens: &[Token<'_>]) -> bool {
        let line = self.text[self.at..].split(|b| *b == b'\n').next().unwrap_or_default();
        let blank = |b: &u8| matches!(b, b'\x0c' | b' ' | b'\t' | b'\r');
        self.controls == Controls::Take && tokens.is_empty() && line.iter().all(blank)
    }

    /// Reads from `;` up to the line end, which stays.
    fn read_comment(&mut self) -> Result<&'a [u8], LexError> {
        let start = self.at + 1;
        let mut at = start;
        while let Some(&octet) = self.text.get(at) {
            match kind(octet) {
                Kind::Newline => break,
                Kind::Return if self.controls == Controls::Refuse || self.line_end_at(at).is_some() => break,
                Kind::Control if self.controls == Controls::Refuse => {
                    self.at = at;
                    return Err(self.refuse(LexErrorKind::Control(octet)));
                }
                _ => at += 1,
            }
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    fn read_quoted(&mut self) -> Result<&'a [u8], LexError> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            let Some(&octet) = self.text.get(at) else {
                return Err(self.refuse(LexErrorKind::OpenQuote));
            };
            match kind(octet) {
                Kind::Quote => break,
                Kind::Newline => return Err(self.refuse(LexErrorKind::OpenQuote)),
                Kind::Return if self.controls == Controls::Refuse || self.line_end_at(at).is_some() => {
                    return Err(self.refuse(LexErrorKind::OpenQuote));
                }
                Kind::Control if !self.takes(octet) => {
                    return Err(self.refuse(LexErrorKind::Control(octet)));
                }
                Kind::Escape => at = self.escaped(at)?,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Ok(&self.text[start..at])
    }

    fn read_plain(&mut self) -> Result<&'a [u8], LexError> {
        let (start, mut at) = (self.at, self.at);
        while let Some(&octet) = self.text.get(at) {
            match kind(octet) {
                Kind::Plain => at += 1,
                Kind::Control if self.takes(octet) => at += 1,
                Kind::Escape => at = self.escaped(at)?,
                _ => break,
            }
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    /// The place behind the backslash at `at` and the octet that it escapes.
    fn escaped(&self, at: usize) -> Result<usize, LexError> {
        match self.text.get(at + 1).map(|b| (*b, kind(*b))) {
            None | Some((_, Kind::Newline | Kind::Return)) => Err(self.refuse(LexErrorKind::OpenEscape)),
            Some((octet, Kind::Control)) if !self.takes(octet) => {
                Err(self.refuse(LexErrorKind::Control(octet)))
            }
            Some(_) => Ok(at + 2),
        }
    }

    const fn refuse(&self, what: LexErrorKind) -> LexError {
        LexError { line: self.line, what }
    }
}

/// Where the comment of one line starts: at its first `;` that is neither escaped nor in quotes.
#[must_use]
pub fn comment_start(line: &[u8]) -> Option<usize> {
    let (mut quoted, mut at) = (false, 0);
    while let Some(octet) = line.get(at) {
        match octet {
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            b';' if !quoted => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The entries of a text, one after the other; ends after the first error.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Entries<'a> {
    /// The entries of `text`.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self { lexer: Lexer::new(text) }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, LexError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut tokens = Vec::new();
        match self.lexer.next_into(&mut tokens) {
            Ok(None) => None,
            Ok(Some(EntryHead { line, leading_blank, comment })) => {
                Some(Ok(Entry { line, leading_blank, comment, tokens }))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lex(text: &str) -> Result<Vec<Entry<'_>>, LexError> {
        Entries::new(text.as_bytes()).collect()
    }

    fn words(entry: &Entry<'_>) -> Vec<String> {
        entry.tokens.iter().map(|t| String::from_utf8_lossy(t.text).into_owned()).collect()
    }

    #[test]
    fn entries_tokens_and_lines() {
        let text = "a 1 ; one\r\n\n \t\n  b (2\n ; inside\n 3)4 ; end\n;; only this\nc \"x ; (\" d\\;e\\ f";
        let entries = lex(text).expect("a good text");
        let got: Vec<_> = entries.iter().map(|e| (e.line, e.leading_blank, words(e), e.comment)).collect();
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            got,
            [
                (1, false, owned(&["a", "1"]), Some(&b" one"[..])),
                (4, true, owned(&["b", "2", "3", "4"]), Some(&b" end"[..])),
                (7, false, owned(&[]), Some(&b"; only this"[..])),
                (8, false, owned(&["c", "x ; (", "d\\;e\\ f"]), None),
            ]
        );
        assert!(entries[3].tokens[1].quoted && !entries[3].tokens[2].quoted);
    }

    #[test]
    fn quotes_beside_a_word_are_glued() {
        let entries = lex("k=\"v\" \"a\"\"b\" c\n").expect("a good text");
        let got: Vec<_> = entries[0].tokens.iter().map(|t| (t.text, t.quoted, t.glued)).collect();
        assert_eq!(
            got,
            [
                (&b"k="[..], false, false),
                (b"v", true, true),
                (b"a", true, false),
                (b"b", true, true),
                (b"c", false, false)
            ]
        );
    }

    #[test]
    fn refuses_with_the_line() {
        for (text, line, what) in [
            ("a\nb\0c\n", 2, LexErrorKind::Control(0)),
            ("a ; x\x1b[0m\n", 1, LexErrorKind::Control(0x1b)),
            ("a \"\x7f\"\n", 1, LexErrorKind::Control(0x7f)),
            ("a\rb\n", 1, LexErrorKind::BareCr),
            ("a ; b\rc\n", 1, LexErrorKind::BareCr),
            ("\u{feff}a\n", 1, LexErrorKind::ByteOrderMark),
            ("a\n\"b\nc\"", 2, LexErrorKind::OpenQuote),
            ("a \"b", 1, LexErrorKind::OpenQuote),
            ("a \"b\\", 1, LexErrorKind::OpenEscape),
            ("a\\\nb", 1, LexErrorKind::OpenEscape),
            ("a\\\0b", 1, LexErrorKind::Control(0)),
            ("a\nb (\n(c\n)\n", 2, LexErrorKind::OpenParenthesis),
            ("a\nb )\n", 2, LexErrorKind::UnopenedParenthesis),
        ] {
            let mut entries = Entries::new(text.as_bytes());
            let error = entries.find_map(Result::err);
            assert_eq!(error, Some(LexError { line, what }), "{text:?}");
            assert!(entries.next().is_none(), "goes on after an error: {text:?}");
        }
        let long = format!("a (\n{}", "x ".repeat(MAX_TOKENS));
        assert_eq!(lex(&long), Err(LexError { line: 2, what: LexErrorKind::TooLong }));
        let long = format!("a (\n{}", "0123456789\n".repeat(MAX_ENTRY / 10));
        assert_eq!(lex(&long).expect_err("too long").what, LexErrorKind::TooLong);
    }

    #[test]
    fn kind_18_control_octets_in_a_zone_file_are_read_as_bind_reads_them() {
        type Read<'a> = (&'a str, Option<&'a [&'a str]>);
        let cases: [Read<'_>; 20] = [
            ("x A 1 ; a\x01b\0\x7f\x0c\rd", Some(&["x", "A", "1"])),
            ("x A 1\r\r", Some(&["x", "A", "1"])),
            ("x A 1\r\r\ny", Some(&["x", "A", "1"])),
            ("x A 1\r\r\r\r\n", Some(&["x", "A", "1"])),
            ("x A 1 ; c\r\r\n", Some(&["x", "A", "1"])),
            ("x (\r\r\n1 )", Some(&["x", "1"])),
            ("\x0c\nx", Some(&["x"])),
            ("\x0c \x0c\t\r\nx", Some(&["x"])),
            ("x TXT a\x0cb", Some(&["x", "TXT", "a\x0cb"])),
            ("\x0cx A 1", Some(&["\x0cx", "A", "1"])),
            ("x TXT \"a\x01\rb\"", Some(&["x", "TXT", "a\x01\rb"])),
            ("x TXT a\x7fb\\\x01", Some(&["x", "TXT", "a\x7fb\\\x01"])),
            ("x \x0c", Some(&["x", "\x0c"])),
            ("x\0", None),
            ("\0", None),
            ("x \"\0\"", None),
            ("x \\\0", None),
            ("x\ry", None),
            ("x \"a\r\n\"", None),
            ("\u{feff}x", None),
        ];
        for (text, want) in cases {
            let mut tokens = Vec::new();
            let read = Lexer::of_zone_file(text.as_bytes()).next_into(&mut tokens);
            let got: Vec<&str> =
                tokens.iter().map(|token| std::str::from_utf8(token.text).expect("text")).collect();
            assert_eq!((read.is_ok(), want.map(|_| &*got)), (want.is_some(), want), "{text:?}");
        }
    }

    #[test]
    fn kind_23_comment_starts_at_no_escaped_or_quoted_semicolon() {
        for (line, want) in [
            ("a\\;b.test. IN DNSKEY ; x", Some(21)),
            ("a\\;b", None),
            ("a\\\\;b", Some(3)),
            ("a\\\\\\;b", None),
            ("\"a;b\" ; c", Some(6)),
            ("\"a\\\";b\"", None),
            ("a\\059b;", Some(6)),
            (";;", Some(0)),
            ("\\", None),
        ] {
            assert_eq!(comment_start(line.as_bytes()), want, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_end(text in proptest::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(&b"ab \t\n\r\"();\\"[..])], 0..300))
        {
            let mut octets = 0;
            for entry in Entries::new(&text) {
                match entry {
                    Ok(entry) => {
                        octets += entry.tokens.iter().map(|t| t.text.len()).sum::<usize>();
                        let _ = crate::dns::record::parse(&entry, None, None);
                    }
                    Err(error) => prop_assert!(error.line >= 1 && error.to_string().starts_with("line ")),
                }
            }
            prop_assert!(octets <= text.len());
        }
    }
}
