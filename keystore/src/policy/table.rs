//! TOML tables read key by key: every finding has its line, unknown keys are errors, and one error does not hide the next.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{MAX_FINDINGS, Place, PolicyErrors, PolicyFinding, PolicySeverity, has_errors, hint};
use super::lexer::shortened;
use super::named_conf::read_regular;
use crate::time::duration;

/// Largest TOML file that is read, in octets.
const MAX_FILE: u64 = 8 << 20;

/// A TOML file, and what is found in it.
pub(crate) struct Document {
    path: Arc<Path>,
    text: String,
    /// Offsets of the newlines.
    newlines: Vec<usize>,
    findings: RefCell<Vec<PolicyFinding>>,
    /// A file that it names could not be read, for a reason that may pass.
    unread: Cell<bool>,
}

/// Lines with a syntax error that are told.
const MAX_SYNTAX_LINES: usize = 5;

/// Why a file is no document.
pub(crate) enum DocumentError {
    /// It cannot be read.
    Io { path: PathBuf, source: std::io::Error },
    /// It is no TOML.
    Findings(Vec<PolicyFinding>),
}

impl From<DocumentError> for PolicyErrors {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Io { path, source } => Self::Io { path, source },
            DocumentError::Findings(findings) => Self::Findings(findings),
        }
    }
}

impl Document {
    pub fn load(path: &Path) -> Result<Self, DocumentError> {
        let octets = read_regular(path, MAX_FILE)
            .map_err(|source| DocumentError::Io { path: path.to_owned(), source })?;
        Self::from_octets(octets, path)
    }

    pub fn from_octets(octets: Vec<u8>, path: &Path) -> Result<Self, DocumentError> {
        let newlines = octets.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at).collect();
        let mut document = Self {
            path: path.into(),
            text: String::new(),
            newlines,
            findings: RefCell::default(),
            unread: Cell::new(false),
        };
        match String::from_utf8(octets) {
            Ok(text) => {
                document.text = text;
                Ok(document)
            }
            Err(e) => {
                let place = document.place(e.utf8_error().valid_up_to()..0);
                Err(DocumentError::Findings(vec![place.error("not UTF-8; save the file as UTF-8")]))
            }
        }
    }

    /// The whole file as a table; when it is no TOML, the first syntax error of each line, of the first lines that have any: one
    /// bracket that is not closed makes errors to the end of the file.
    pub fn parse(&self) -> Result<Spanned<DeTable<'_>>, DocumentError> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        if errors.is_empty() {
            return Ok(table);
        }
        let finding = |e: &toml::de::Error| {
            let place = self.place(e.span().unwrap_or(0..0));
            place.error(format!("no TOML: {}", e.message().replace('\n', ", ")))
        };
        let mut findings: Vec<_> = errors.iter().take(MAX_FINDINGS).map(finding).collect();
        // Stable: of a line, the one that the reader came to first.
        findings.sort_by_key(|f| f.line);
        findings.dedup_by_key(|f| f.line);
        let more = findings.len().saturating_sub(MAX_SYNTAX_LINES);
        findings.truncate(MAX_SYNTAX_LINES);
        if more > 0
            && let Some(last) = findings.last_mut()
        {
            last.what.push_str(&format!(
                " (and {more} more lines, which may follow from these; mend these first)"
            ));
        }
        Err(DocumentError::Findings(findings))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Notes that a file which it names could not be read. What the file is, or that there is none, does not pass by itself.
    pub fn note_unread(&self, error: &io::Error) {
        use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound};
        let kinds = [FileTooLarge, InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound];
        self.unread.set(self.unread.get() || !kinds.contains(&error.kind()));
    }

    /// True when a file that it names could not be read, for a reason that may pass.
    pub fn is_unread(&self) -> bool {
        self.unread.get()
    }

    pub fn place(&self, span: Range<usize>) -> Place {
        let line = self.newlines.partition_point(|at| *at < span.start) + 1;
        Place { path: self.path.clone(), line: u32::try_from(line).unwrap_or(u32::MAX) }
    }

    pub fn note(&self, finding: PolicyFinding) {
        let mut findings = self.findings.borrow_mut();
        let first_error = finding.severity == PolicySeverity::Error && !has_errors(&findings);
        if findings.len() < MAX_FINDINGS || first_error {
            findings.push(finding);
        }
    }

    pub fn note_all(&self, findings: impl IntoIterator<Item = PolicyFinding>) {
        findings.into_iter().for_each(|f| self.note(f));
    }

    /// What was found, in the order of the file, without doubles; what other files have comes last, file by file. An `Err` holds an error.
    pub fn into_findings(self) -> Result<Vec<PolicyFinding>, Vec<PolicyFinding>> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_cached_key(|f| ((f.path != *self.path).then(|| f.path.clone()), f.line));
        findings.dedup();
        if has_errors(&findings) { Err(findings) } else { Ok(findings) }
    }
}

fn labelled(label: &str, what: &str) -> String {
    if label.is_empty() { what.to_owned() } else { format!("{label}: {what}") }
}

/// One table. [`Table::finish`] must be called, to find unknown keys.
pub(crate) struct Table<'a, 'i> {
    pub doc: &'a Document,
    table: &'a DeTable<'i>,
    /// How a message names it: `policy.common`; empty for the file as a whole.
    label: String,
    pub at: Place,
    known: Vec<&'static str>,
}

impl<'a, 'i> Table<'a, 'i> {
    pub fn new(doc: &'a Document, table: &'a DeTable<'i>, label: impl Into<String>, at: Place) -> Self {
        Self { doc, table, label: label.into(), at, known: Vec::new() }
    }

    /// The value of a key; the key is known from now on.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'a, 'i>> {
        self.known.push(key);
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        let at = self.doc.place(name.span());
        Some(Value { doc: self.doc, value, what: self.name(key), at })
    }

    /// As [`Table::get`]; its absence is an error.
    pub fn require(&mut self, key: &'static str, example: &str) -> Option<Value<'a, 'i>> {
        let value = self.get(key);
        if value.is_none() {
            self.error(format!("{key} is missing; write for example {key} = {example}"));
        }
        value
    }

    /// All keys with their values, for tables of names; every key is known then.
    pub fn entries(&self) -> Vec<(&'a str, Value<'a, 'i>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(name, value)| {
                let at = self.doc.place(name.span());
                let name = name.get_ref().as_ref();
                let what = self.name(&shortened(name));
                (name, Value { doc: self.doc, value, what, at })
            })
            .collect();
        entries.sort_by_key(|(_, v)| v.at.line);
        entries
    }

    pub fn error(&self, what: impl AsRef<str>) {
        self.doc.note(self.at.error(labelled(&self.label, what.as_ref())));
    }

    fn name(&self, key: &str) -> String {
        if self.label.is_empty() { key.to_owned() } else { format!("{}.{key}", self.label) }
    }

    /// Every key that was never asked for is an error.
    pub fn finish(self) {
        for (name, _) in self.table {
            let text = name.get_ref().as_ref();
            if !self.known.contains(&text) {
                let what = format!("unknown key '{}'{}", shortened(text), hint(text, &self.known));
                self.doc.note(self.doc.place(name.span()).error(labelled(&self.label, &what)));
            }
        }
    }
}

/// One value. Each reading method notes a finding and gives `None` when the value is something else.
pub(crate) struct Value<'a, 'i> {
    pub doc: &'a Document,
    value: &'a Spanned<DeValue<'i>>,
    what: String,
    pub at: Place,
}

impl<'a, 'i> Value<'a, 'i> {
    pub fn string(&self) -> Option<&'a str> {
        self.value.get_ref().as_str().or_else(|| self.wrong("a string"))
    }

    pub fn boolean(&self) -> Option<bool> {
        self.value.get_ref().as_bool().or_else(|| self.wrong("true or false"))
    }

    pub fn is_string(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub fn is_boolean(&self) -> bool {
        self.value.get_ref().is_bool()
    }

    pub fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let expected = || format!("an integer from {} to {}", range.start(), range.end());
        let Some(integer) = self.value.get_ref().as_integer() else { return self.wrong(&expected()) };
        let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        match value.and_then(|v| u32::try_from(v).ok()).filter(|v| range.contains(v)) {
            Some(value) => Some(value),
            None => {
                self.error(format!("must be {}, not {integer}", expected()));
                None
            }
        }
    }

    /// Seconds: an integer, or a string as [`duration::parse`] reads it.
    pub fn duration(&self) -> Option<u32> {
        if self.value.get_ref().is_integer() {
            return self.integer(0..=u32::MAX);
        }
        let Some(text) = self.value.get_ref().as_str() else {
            return self.wrong("a duration, such as \"P30D\", \"1h30m\" or seconds");
        };
        let seconds = duration::parse(text);
        if seconds.is_none() {
            let text = shortened(text);
            self.error(format!(
                "expected ISO 8601 duration or TTL value near \"{text}\", such as \"P30D\", \"PT12H\", \"30d\" or \"1h30m\""
            ));
        }
        seconds
    }

    /// A path; a relative one is meant from the folder of the file.
    pub fn path(&self) -> Option<PathBuf> {
        let text = self.string()?;
        if text.is_empty() || text.contains('\0') {
            self.error("must be the name of a file or folder");
            return None;
        }
        let folder = self.doc.path().parent().unwrap_or(Path::new(""));
        let path = folder.join(text);
        Some(std::path::absolute(&path).unwrap_or(path))
    }

    pub fn array(&self) -> Option<Vec<Value<'a, 'i>>> {
        let Some(array) = self.value.get_ref().as_array() else { return self.wrong("an array [ ... ]") };
        let element = |(n, value): (usize, &'a Spanned<DeValue<'i>>)| Value {
            doc: self.doc,
            value,
            what: format!("{}[{}]", self.what, n + 1),
            at: self.doc.place(value.span()),
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    pub fn table(&self) -> Option<Table<'a, 'i>> {
        let Some(table) = self.value.get_ref().as_table() else { return self.wrong("a table") };
        Some(Table::new(self.doc, table, self.what.clone(), self.at.clone()))
    }

    pub fn error(&self, what: impl AsRef<str>) {
        self.doc.note(self.at.error(format!("{}: {}", self.what, what.as_ref())));
    }

    /// A warning that is noted later, or elsewhere.
    pub fn warning(&self, what: &str) -> PolicyFinding {
        self.at.warning(format!("{}: {what}", self.what))
    }

    fn wrong<T>(&self, expected: &str) -> Option<T> {
        self.error(format!("expected {expected}, found {}", self.value.get_ref().type_str()));
        None
    }
}
