//! The options inside of `dnssec-policy`: each statement's words, and what they mean.

use std::path::Path;
use std::sync::Arc;

use super::super::KeyRole;
use super::super::draft::{KEY_DIRECTORY, KeyDraft, Nsec3Draft, OPTIONS, PolicyDraft};
use super::super::finding::{Place, PolicyFinding, hint};
use super::super::lexer::{ConfToken, ConfTokenKind};
use crate::time::duration;

/// The words of a statement without its `;`, taken one by one.
pub(super) struct Words<'a> {
    path: &'a Arc<Path>,
    rest: &'a [ConfToken],
    /// What is taken behind the last word.
    end: ConfToken,
}

type Checked<T> = Result<T, PolicyFinding>;

impl<'a> Words<'a> {
    pub(super) fn new(path: &'a Arc<Path>, rest: &'a [ConfToken]) -> Self {
        let line = rest.last().map_or(1, |t| t.line);
        Self { path, rest, end: ConfToken { kind: ConfTokenKind::Semicolon, text: String::new(), line } }
    }

    fn peek(&self) -> &ConfToken {
        self.rest.first().unwrap_or(&self.end)
    }

    pub(super) fn take(&mut self) -> ConfToken {
        let token = self.peek().clone();
        self.rest = self.rest.get(1..).unwrap_or_default();
        token
    }

    fn place(&self, token: &ConfToken) -> Place {
        Place { path: self.path.clone(), line: token.line }
    }

    pub(super) fn error(&self, token: &ConfToken, what: String) -> PolicyFinding {
        self.place(token).error(what)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Checked<()> {
        match self.rest.first() {
            None => Ok(()),
            Some(extra) => Err(self.error(extra, format!("missing ';' before {}", extra.shown()))),
        }
    }

    fn keyword(&mut self, word: &str) -> Checked<()> {
        let token = self.take();
        if token.is_word(word) {
            return Ok(());
        }
        Err(self.error(&token, format!("expected '{word}' near {}", token.shown())))
    }

    fn duration(&mut self) -> Checked<u32> {
        let token = self.take();
        let value = if token.kind == ConfTokenKind::Word { duration::parse(&token.text) } else { None };
        value.ok_or_else(|| self.duration_error(&token, "expected ISO 8601 duration or TTL value"))
    }

    /// 0 for `unlimited`.
    fn lifetime(&mut self) -> Checked<u32> {
        let token = self.take();
        match token.kind {
            ConfTokenKind::Word if token.text == "unlimited" => Ok(0),
            ConfTokenKind::Word if token.is_word("unlimited") => {
                let what = format!(
                    "expected ISO 8601 duration or TTL value near {}; write unlimited in lower case",
                    token.shown()
                );
                Err(self.error(&token, what))
            }
            ConfTokenKind::Word if duration::parse(&token.text).is_some() => {
                Ok(duration::parse(&token.text).unwrap_or_default())
            }
            _ => Err(self.duration_error(&token, "expected ISO 8601 duration, TTL value, or unlimited")),
        }
    }

    fn duration_error(&self, token: &ConfToken, expected: &str) -> PolicyFinding {
        let advice = match token.kind {
            ConfTokenKind::Quoted => "; write it without quotes",
            ConfTokenKind::Word => ", such as P30D, PT12H or 1h30m",
            _ => "",
        };
        self.error(token, format!("{expected} near {}{advice}", token.shown()))
    }

    fn boolean(&mut self) -> Checked<bool> {
        let token = self.take();
        let is = |words: [&str; 3]| words.iter().any(|w| token.is_word(w));
        if is(["yes", "true", "1"]) {
            Ok(true)
        } else if is(["no", "false", "0"]) {
            Ok(false)
        } else {
            Err(self.error(&token, format!("boolean expected near {}; write yes or no", token.shown())))
        }
    }

    fn number(&mut self) -> Checked<u32> {
        let token = self.take();
        let text = token.text.as_str();
        if token.kind != ConfTokenKind::Word || !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.error(&token, format!("expected number near {}", token.shown())));
        }
        if text.len() > 1 && text.starts_with('0') {
            let what = format!(
                "{} starts with 0, which makes it octal or hexadecimal for BIND; write it in decimal without leading zeros",
                token.shown()
            );
            return Err(self.error(&token, what));
        }
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.error(&token, format!("expected number near {}", token.shown())));
        }
        text.parse().map_err(|_| self.error(&token, format!("{} is out of range", token.shown())))
    }

    /// The statements between the braces that make up the rest, each without its `;`.
    fn braces(&mut self) -> Checked<Vec<Words<'a>>> {
        let open = self.take();
        if open.kind != ConfTokenKind::Open {
            return Err(self.error(&open, format!("'{{' expected near {}", open.shown())));
        }
        // The braces are paired and each statement has its `;` (see `Nesting`), and nothing follows the closing one.
        let inside = self.rest.split_last().map_or(&[][..], |(_, inside)| inside);
        if let Some(brace) =
            inside.iter().find(|t| matches!(t.kind, ConfTokenKind::Open | ConfTokenKind::Close))
        {
            return Err(self.error(brace, format!("{} unexpected", brace.shown())));
        }
        self.rest = &[];
        let path = self.path;
        let parts = inside.split(|t| t.kind == ConfTokenKind::Semicolon).filter(|s| !s.is_empty());
        Ok(parts.map(|s| Words::new(path, s)).collect())
    }
}

/// Takes the option that `tokens` (a statement without its `;`) gives; what is wrong with it is left in the draft.
pub(super) fn policy_option(draft: &mut PolicyDraft, path: &Arc<Path>, tokens: &[ConfToken]) {
    let mut words = Words::new(path, tokens);
    let option = words.take();
    let at = words.place(&option);
    let Some(name) = OPTIONS.into_iter().find(|known| option.is_word(known)) else {
        let what = if option.is_word("parent-registration-delay") {
            format!("option {} no longer exists; remove it", option.shown())
        } else {
            format!("unknown option {}{}", option.shown(), hint(&option.text, &OPTIONS))
        };
        draft.findings.push(at.error(what));
        return;
    };
    if !draft.give(name, &at) {
        return;
    }
    let outcome = match name {
        "keys" => keys(draft, &mut words),
        "cds-digest-types" => digests(draft, &mut words),
        "nsec3param" => nsec3param(draft, &mut words, at),
        _ => scalar(draft, name, &mut words),
    };
    draft.findings.extend(outcome.err());
}

fn scalar(draft: &mut PolicyDraft, name: &str, words: &mut Words<'_>) -> Checked<()> {
    if let Some(field) = draft.duration_mut(name) {
        *field = words.duration()?;
    } else if let Some(field) = draft.bool_mut(name) {
        *field = words.boolean()?;
    }
    words.end()
}

fn keys(draft: &mut PolicyDraft, words: &mut Words<'_>) -> Checked<()> {
    let mut keys = Vec::new();
    for mut entry in words.braces()? {
        match key(&mut entry) {
            Ok(key) => keys.push(key),
            Err(finding) => {
                draft.findings.push(finding);
                draft.keys_broken = true;
            }
        }
    }
    draft.keys = Some(keys);
    Ok(())
}

/// `( csk | ksk | zsk ) [ key-directory | key-store NAME ] lifetime L algorithm A [ tag-range MIN MAX ] [ BITS ]`
fn key(words: &mut Words<'_>) -> Checked<KeyDraft> {
    let role = words.take();
    let at = words.place(&role);
    if role.kind != ConfTokenKind::Word {
        return Err(words.error(&role, format!("expected unquoted string near {}", role.shown())));
    }
    let role = match role.text.as_str() {
        "ksk" => KeyRole::Ksk,
        "zsk" => KeyRole::Zsk,
        "csk" => KeyRole::Csk,
        other => {
            let lower = other.to_ascii_lowercase();
            let what = if ["ksk", "zsk", "csk"].contains(&lower.as_str()) {
                format!("{} makes a key without a role in BIND; write {lower} in lower case", role.shown())
            } else {
                format!("{} unexpected; a key entry starts with ksk, zsk or csk", role.shown())
            };
            return Err(words.error(&role, what));
        }
    };
    let mut key_store = None;
    if words.peek().is_word("key-store") {
        words.take();
        let name = words.take();
        if !matches!(name.kind, ConfTokenKind::Word | ConfTokenKind::Quoted) {
            return Err(words.error(&name, format!("expected string near {}", name.shown())));
        }
        key_store = (name.text != KEY_DIRECTORY).then_some(name.text);
    } else if words.peek().is_word(KEY_DIRECTORY) {
        words.take();
    }
    words.keyword("lifetime")?;
    let lifetime = words.lifetime()?;
    words.keyword("algorithm")?;
    let algorithm = words.take();
    if algorithm.kind != ConfTokenKind::Word {
        return Err(words.error(&algorithm, format!("expected unquoted string near {}", algorithm.shown())));
    }
    let mut tag_range = None;
    if words.peek().is_word("tag-range") {
        words.take();
        tag_range = Some((words.number()?, words.number()?));
    }
    let bits = if words.peek().text.starts_with(|c: char| c.is_ascii_digit()) {
        Some(words.number()?)
    } else {
        None
    };
    words.end()?;
    Ok(KeyDraft { role, key_store, lifetime, algorithm: algorithm.text, tag_range, bits, at })
}

fn digests(draft: &mut PolicyDraft, words: &mut Words<'_>) -> Checked<()> {
    let mut digests = Vec::new();
    for mut entry in words.braces()? {
        let digest = entry.take();
        if !matches!(digest.kind, ConfTokenKind::Word | ConfTokenKind::Quoted) {
            return Err(entry.error(&digest, format!("expected string near {}", digest.shown())));
        }
        entry.end()?;
        let at = entry.place(&digest);
        digests.push((digest.text, at));
    }
    draft.digests = Some(digests);
    Ok(())
}

/// `nsec3param [ iterations N ] [ optout B ] [ salt-length N ]`
fn nsec3param(draft: &mut PolicyDraft, words: &mut Words<'_>, at: Place) -> Checked<()> {
    let mut nsec3 = Nsec3Draft { iterations: 0, opt_out: false, salt_length: 0, at };
    if words.peek().is_word("iterations") {
        words.take();
        nsec3.iterations = words.number()?;
    }
    if words.peek().is_word("optout") {
        words.take();
        nsec3.opt_out = words.boolean()?;
    }
    if words.peek().is_word("salt-length") {
        words.take();
        nsec3.salt_length = words.number()?;
    }
    words.end()?;
    draft.nsec3 = Some(nsec3);
    Ok(())
}
