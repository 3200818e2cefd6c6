//! A real `named.conf`: its whole lexical grammar; `dnssec-policy` and `key-store` are interpreted, the rest is skipped.
//!
//! Skipped means: read token by token, so that an open brace, quote or comment, a missing `;` at the end of a block or an empty
//! statement anywhere is an error with its line; what the words say is not looked at. A statement of an unknown name is a
//! warning (BIND: an error), so that the file of a newer BIND can be read.
//!
//! `include "PATTERN";` is followed at the top and inside of the two interpreted statements, wildcards too; in skipped
//! blocks it is not opened (no policy can be there, and the files may hold secrets). A relative path is looked up in the
//! `directory` of `options` when that came before (as `named` does), then in the working folder (as the BIND tools
//! do), then beside the file that includes it.

mod options;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::KeyStore;
use super::draft::{KEY_DIRECTORY, PolicyDraft};
use super::finding::{MAX_FINDINGS, Place, PolicyErrors, PolicyFinding, hint};
use super::lexer::{ConfLexError, ConfLexer, ConfToken, ConfTokenKind};
use super::set::Policies;
use options::{Words, policy_option};

/// Largest file that is read, in octets; a hundred thousand zones take some 20 MB.
pub(super) const MAX_FILE: u64 = 64 << 20;
/// Most files that one file may include, in all; and how deep.
const MAX_FILES: usize = 1024;
const MAX_INCLUDE_DEPTH: usize = 16;
/// Deepest nesting of braces, and most tokens of one statement that is interpreted.
const MAX_NESTING: usize = 100;
const MAX_TOKENS: usize = 20_000;
/// Most policies and key stores of a file.
pub(super) const MAX_BLOCKS: usize = 1000;

/// Reads the policies and key stores of the `named.conf` at `path` and the files that it includes.
///
/// Fails on the first syntax error, as BIND does, and then tells all findings up to there. What is wrong in the meaning
/// of a single policy is kept with it, see [`Policies::get`].
pub fn load(path: &Path) -> Result<Policies, PolicyErrors> {
    let octets =
        read_regular(path, MAX_FILE).map_err(|source| PolicyErrors::Io { path: path.to_owned(), source })?;
    parse(&octets, path)
}

/// Reads the octets of a `named.conf`; `path` is for the messages and for relative includes.
pub fn parse(octets: &[u8], path: &Path) -> Result<Policies, PolicyErrors> {
    let mut reader = Reader::default();
    let mut source = Source { lexer: ConfLexer::new(octets), path: path.into(), depth: 0 };
    // A stop has left its finding, and that is an error: `build` fails with it.
    let _ = reader.top(&mut source);
    let key_stores = reader.key_stores.into_iter().map(|(store, _)| store).collect();
    let mut policies = Policies::build(reader.drafts, key_stores, reader.findings)?;
    policies.note_files(std::iter::once(path.to_owned()).chain(reader.included));
    Ok(policies)
}

/// The statements of BIND 9.18 to 9.21 at the top of a file.
const TOP: [&str; 25] = [
    "acl",
    "controls",
    "dlz",
    "dnssec-policy",
    "dyndb",
    "http",
    "include",
    "key",
    "key-store",
    "logging",
    "managed-keys",
    "masters",
    "options",
    "parental-agents",
    "plugin",
    "primaries",
    "remote-servers",
    "server",
    "statistics-channels",
    "template",
    "tls",
    "trust-anchors",
    "trusted-keys",
    "view",
    "zone",
];

/// The finding is noted; nothing more of the file makes sense.
struct Stop;
type Step<T> = Result<T, Stop>;

/// What is read so far.
#[derive(Default)]
struct Reader {
    drafts: Vec<PolicyDraft>,
    key_stores: Vec<(KeyStore, Place)>,
    /// Those of the file as a whole.
    findings: Vec<PolicyFinding>,
    /// `directory` of `options`.
    directory: Option<PathBuf>,
    /// The included files, one entry each time.
    included: Vec<PathBuf>,
}

/// One file being read.
struct Source<'a> {
    lexer: ConfLexer<'a>,
    path: Arc<Path>,
    /// Of includes.
    depth: usize,
}

/// Where a statement of a block stands.
enum Block<'a> {
    Top,
    Policy(&'a mut PolicyDraft),
    KeyStore(&'a mut KeyStore),
}

impl Source<'_> {
    fn place(&self, line: u32) -> Place {
        Place { path: self.path.clone(), line }
    }
}

// --- statements -----------------------------------------------------------------------------------------------------

impl Reader {
    fn top(&mut self, source: &mut Source<'_>) -> Step<()> {
        loop {
            let token = self.next(source)?;
            if self.findings.len() >= MAX_FINDINGS {
                let what = format!("more than {MAX_FINDINGS} errors and warnings, given up");
                return Err(self.stop(source, token.line, what));
            }
            match token.kind {
                ConfTokenKind::End => return Ok(()),
                ConfTokenKind::Word if token.is_word("include") => {
                    self.include(source, token, &mut Block::Top)?
                }
                ConfTokenKind::Word if token.is_word("dnssec-policy") => self.policy(source)?,
                ConfTokenKind::Word if token.is_word("key-store") => self.key_store(source)?,
                ConfTokenKind::Word => {
                    let lower = token.text.to_ascii_lowercase();
                    if !TOP.contains(&lower.as_str()) {
                        let what = format!(
                            "unknown option {}, skipped; named may refuse it{}",
                            token.shown(),
                            hint(&lower, &TOP)
                        );
                        self.findings.push(source.place(token.line).warning(what));
                    }
                    self.skip(source, token)?;
                }
                _ => {
                    return Err(self.stop(
                        source,
                        token.line,
                        format!("syntax error near {}", token.shown()),
                    ));
                }
            }
        }
    }

    fn policy(&mut self, source: &mut Source<'_>) -> Step<()> {
        let (name, line) = self.block_name(source)?;
        if self.drafts.len() >= MAX_BLOCKS {
            return Err(self.stop(source, line, format!("more than {MAX_BLOCKS} policies")));
        }
        let mut draft = PolicyDraft::new(&name, source.place(line));
        let outcome = self.block(source, &mut Block::Policy(&mut draft), ConfTokenKind::Close);
        self.drafts.push(draft);
        outcome.and_then(|()| self.semicolon(source))
    }

    fn key_store(&mut self, source: &mut Source<'_>) -> Step<()> {
        let (name, line) = self.block_name(source)?;
        if self.key_stores.len() >= MAX_BLOCKS {
            return Err(self.stop(source, line, format!("more than {MAX_BLOCKS} key stores")));
        }
        let at = source.place(line);
        let mut store = KeyStore {
            name: name.clone(),
            directory: None,
            pkcs11_uri: None,
            path: at.path.to_path_buf(),
            line: at.line,
        };
        self.block(source, &mut Block::KeyStore(&mut store), ConfTokenKind::Close)?;
        if name == KEY_DIRECTORY {
            self.findings.push(at.error(format!("key-store: name '{name}' not allowed")));
        } else if let Some((_, first)) = self.key_stores.iter().find(|(s, _)| s.name == name) {
            let what = format!(
                "key-store: duplicate key-store found '{name}'; it is already in line {}",
                first.line
            );
            self.findings.push(at.error(what));
        } else {
            self.key_stores.push((store, at));
        }
        self.semicolon(source)
    }

    /// `NAME {`
    fn block_name(&mut self, source: &mut Source<'_>) -> Step<(String, u32)> {
        let name = self.next(source)?;
        if !matches!(name.kind, ConfTokenKind::Word | ConfTokenKind::Quoted) {
            return Err(self.stop(source, name.line, format!("expected string near {}", name.shown())));
        }
        let open = self.next(source)?;
        if open.kind != ConfTokenKind::Open {
            return Err(self.stop(source, open.line, format!("'{{' expected near {}", open.shown())));
        }
        Ok((name.text, name.line))
    }

    /// The statements of an interpreted block, up to and with `end` (the brace, or the end of an included file).
    fn block(&mut self, source: &mut Source<'_>, block: &mut Block<'_>, end: ConfTokenKind) -> Step<()> {
        loop {
            let token = self.next(source)?;
            if token.kind == end {
                return Ok(());
            }
            if token.kind != ConfTokenKind::Word {
                return Err(self.stop(source, token.line, format!("'}}' expected near {}", token.shown())));
            }
            if token.is_word("include") {
                self.include(source, token, block)?;
                continue;
            }
            let line = token.line;
            let tokens = self.statement(source, token)?;
            let noted = self.findings.len() + if let Block::Policy(d) = block { d.findings.len() } else { 0 };
            if noted >= MAX_FINDINGS {
                return Err(self.stop(source, line, format!("more than {MAX_FINDINGS} errors, given up")));
            }
            match block {
                Block::Policy(draft) => policy_option(draft, &source.path, &tokens),
                Block::KeyStore(store) => self.key_store_option(store, &source.path, &tokens),
                Block::Top => {}
            }
        }
    }

    fn key_store_option(&mut self, store: &mut KeyStore, path: &Arc<Path>, tokens: &[ConfToken]) {
        let mut words = Words::new(path, tokens);
        let option = words.take();
        let known = ["directory", "pkcs11-uri"];
        let outcome = match known.into_iter().find(|k| option.is_word(k)) {
            None => Err(words
                .error(&option, format!("unknown option {}{}", option.shown(), hint(&option.text, &known)))),
            Some(name) => {
                let value = words.take();
                let bare_is_fine = name == "directory" && value.kind == ConfTokenKind::Word;
                if !bare_is_fine && value.kind != ConfTokenKind::Quoted {
                    Err(words.error(&value, format!("expected quoted string near {}", value.shown())))
                } else if (name == "directory" && store.directory.is_some())
                    || (name == "pkcs11-uri" && store.pkcs11_uri.is_some())
                {
                    Err(words.error(&option, format!("'{name}' redefined")))
                } else {
                    match name {
                        "directory" => store.directory = Some(value.text.into()),
                        _ => store.pkcs11_uri = Some(value.text),
                    }
                    words.end()
                }
            }
        };
        self.findings.extend(outcome.err());
    }

    fn include(&mut self, source: &mut Source<'_>, first: ConfToken, block: &mut Block<'_>) -> Step<()> {
        let line = first.line;
        let tokens = self.statement(source, first)?;
        let pattern = match tokens.as_slice() {
            [_, pattern] if pattern.kind == ConfTokenKind::Quoted => &pattern.text,
            [_, other, ..] if other.kind != ConfTokenKind::Quoted => {
                return Err(self.stop(
                    source,
                    line,
                    format!("expected quoted string near {}", other.shown()),
                ));
            }
            [_, _, other, ..] => {
                return Err(self.stop(source, line, format!("missing ';' before {}", other.shown())));
            }
            _ => return Err(self.stop(source, line, "expected quoted string near ';'".to_owned())),
        };
        let bases = [self.directory.as_deref(), Some(Path::new("")), source.path.parent()];
        let found =
            match bases.iter().flatten().map(|base| expand(&base.join(pattern))).find(|f| !f.is_empty()) {
                Some(found) => found,
                None => {
                    let what = format!("parsing failed: file not found: include \"{pattern}\"");
                    return Err(self.stop(source, line, what));
                }
            };
        if source.depth >= MAX_INCLUDE_DEPTH {
            let what =
                format!("include goes deeper than {MAX_INCLUDE_DEPTH} files; does a file include itself?");
            return Err(self.stop(source, line, what));
        }
        for path in found {
            self.included.push(path.clone());
            if self.included.len() > MAX_FILES {
                let what = format!("more than {MAX_FILES} files are included; does a file include itself?");
                return Err(self.stop(source, line, what));
            }
            let octets = match read_regular(&path, MAX_FILE) {
                Ok(octets) => octets,
                Err(e) => {
                    let what = format!("parsing failed: {}: {e}", path.display());
                    return Err(self.stop(source, line, what));
                }
            };
            let mut inner =
                Source { lexer: ConfLexer::new(&octets), path: path.into(), depth: source.depth + 1 };
            if matches!(block, Block::Top) {
                self.top(&mut inner)?;
            } else {
                self.block(&mut inner, block, ConfTokenKind::End)?;
            }
        }
        Ok(())
    }

    /// Reads a statement that is not interpreted, up to its `;`.
    fn skip(&mut self, source: &mut Source<'_>, first: ConfToken) -> Step<()> {
        let in_options = first.is_word("options");
        let mut nesting = Nesting::default();
        // The first tokens of the inner statement that is being read, and whether its braces hold free text.
        let mut inner: Vec<ConfToken> = Vec::new();
        let mut token = first;
        loop {
            let free_text = inner.first().is_some_and(|t| t.is_word("plugin") || t.is_word("dyndb"));
            if let Err(fault) = nesting.feed(&token) {
                return Err(self.stop(source, token.line, fault.to_string()));
            }
            match token.kind {
                ConfTokenKind::Semicolon if nesting.depth() == 0 => return Ok(()),
                ConfTokenKind::Semicolon => {
                    if let (true, 1, [word, value]) = (in_options, nesting.depth(), inner.as_slice())
                        && word.is_word("directory")
                        && value.kind == ConfTokenKind::Quoted
                    {
                        self.directory = Some(value.text.clone().into());
                    }
                    inner.clear();
                }
                ConfTokenKind::Open if free_text => {
                    if let Err(e) = source.lexer.skip_free_text() {
                        return Err(self.lex_stop(source, e));
                    }
                    nesting.close();
                }
                ConfTokenKind::Open | ConfTokenKind::Close => inner.clear(),
                _ if inner.len() < 3 => inner.push(token),
                _ => {}
            }
            token = self.next(source)?;
        }
    }

    /// Reads a statement that is interpreted, up to its `;`, which is left out.
    fn statement(&mut self, source: &mut Source<'_>, first: ConfToken) -> Step<Vec<ConfToken>> {
        let mut nesting = Nesting::default();
        let mut tokens = Vec::new();
        let mut token = first;
        loop {
            if let Err(fault) = nesting.feed(&token) {
                return Err(self.stop(source, token.line, fault.to_string()));
            }
            if token.kind == ConfTokenKind::Semicolon && nesting.depth() == 0 {
                return Ok(tokens);
            }
            if tokens.len() >= MAX_TOKENS {
                let what = format!("a statement of more than {MAX_TOKENS} words");
                return Err(self.stop(source, token.line, what));
            }
            tokens.push(token);
            token = self.next(source)?;
        }
    }

    fn semicolon(&mut self, source: &mut Source<'_>) -> Step<()> {
        let token = self.next(source)?;
        match token.kind {
            ConfTokenKind::Semicolon => Ok(()),
            _ => Err(self.stop(source, token.line, format!("missing ';' before {}", token.shown()))),
        }
    }

    fn next(&mut self, source: &mut Source<'_>) -> Step<ConfToken> {
        source.lexer.next_token().map_err(|e| self.lex_stop(source, e))
    }

    fn lex_stop(&mut self, source: &Source<'_>, error: ConfLexError) -> Stop {
        self.stop(source, error.line, error.what)
    }

    fn stop(&mut self, source: &Source<'_>, line: u32, what: String) -> Stop {
        self.findings.push(source.place(line).error(what));
        Stop
    }
}

/// Follows braces and semicolons.
struct Nesting {
    /// For each open block, the outermost first: has a statement been started in it?
    started: Vec<bool>,
    /// The outermost statement had its block: only `;` may follow.
    had_block: bool,
}

impl Default for Nesting {
    fn default() -> Self {
        Self { started: vec![false], had_block: false }
    }
}

/// Why the tokens are no statement.
#[derive(Debug, thiserror::Error)]
enum NestingFault {
    /// Before this token, as it is shown.
    #[error("missing ';' before {0}")]
    Missing(String),
    #[error("'}}' expected near end of file")]
    Open,
    #[error("syntax error near ';'")]
    Empty,
    #[error("braces nested deeper than {MAX_NESTING}")]
    TooDeep,
}

impl Nesting {
    fn depth(&self) -> usize {
        self.started.len() - 1
    }

    fn close(&mut self) {
        if self.depth() > 0 {
            self.started.pop();
        }
        self.had_block |= self.depth() == 0;
    }

    fn feed(&mut self, token: &ConfToken) -> Result<(), NestingFault> {
        let depth = self.depth();
        let missing = || Err(NestingFault::Missing(token.shown()));
        match token.kind {
            ConfTokenKind::End if depth > 0 => return Err(NestingFault::Open),
            ConfTokenKind::End => return missing(),
            ConfTokenKind::Close if depth == 0 || self.started[depth] => return missing(),
            ConfTokenKind::Close => self.close(),
            ConfTokenKind::Semicolon if !self.started[depth] => return Err(NestingFault::Empty),
            ConfTokenKind::Semicolon => self.started[depth] = false,
            _ if depth == 0 && self.had_block => return missing(),
            _ if depth == 0 && self.started[0] && token.is_word("dnssec-policy") => return missing(),
            ConfTokenKind::Open if depth == MAX_NESTING => {
                return Err(NestingFault::TooDeep);
            }
            ConfTokenKind::Open => {
                self.started[depth] = true;
                self.started.push(false);
            }
            ConfTokenKind::Word | ConfTokenKind::Quoted | ConfTokenKind::Not | ConfTokenKind::Slash => {
                self.started[depth] = true
            }
        }
        Ok(())
    }
}

// --- files ----------------------------------------------------------------------------------------------------------

/// The files that a path with wildcards means, sorted; a path without them, if it exists.
fn expand(path: &Path) -> Vec<PathBuf> {
    let Some(pattern) = path.to_str().filter(|p| p.contains(['*', '?', '['])) else {
        return if path.exists() { vec![path.to_owned()] } else { Vec::new() };
    };
    // As glob(3) of BIND: a leading dot must be written.
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    match glob::glob_with(pattern, options) {
        // One more than allowed is enough to be refused.
        Ok(found) => found.filter_map(Result::ok).take(MAX_FILES + 1).collect(),
        Err(_) => Vec::new(),
    }
}

/// Reads a regular file of at most `limit` octets.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Looked at first, so that a FIFO is not opened.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut octets = Vec::new();
    if metadata.len() <= limit {
        File::open(path)?.take(limit + 1).read_to_end(&mut octets)?;
    }
    if metadata.len().max(octets.len() as u64) > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} octets")));
    }
    Ok(octets)
}
