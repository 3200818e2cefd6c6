//! Reads a master file (RFC 1035 section 5, RFC 2308 section 4, RFC 3597, `$GENERATE` as BIND has it) into records.

mod generate;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use keystore::dns::lexer::{EntryHead, LexErrorKind, Lexer};
use keystore::dns::record::{self, RecordError};
use keystore::dns::ttl;
use keystore::dns::{Class, Name, Rtype, Token, name, rdata};

use crate::rules::RecordProblem;

/// Most files that stand open at once through `$INCLUDE`, the first one included.
pub const MAX_DEPTH: usize = 16;
/// Most `$INCLUDE` directives of a zone.
pub const MAX_INCLUDES: usize = 10_000;
/// Most records of a zone that come from `$GENERATE`.
pub const MAX_GENERATED: u64 = 1 << 20;

/// One record as it stands in the file; borrowed, valid during the call that hands it over.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Owner, uncompressed wire form, case kept.
    pub owner: &'a [u8],
    /// Type of the record.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    /// RDATA, uncompressed wire form.
    pub rdata: &'a [u8],
    /// Where it stands.
    pub place: RecordPlace,
}

/// Where a record stands in the files of a zone; ordered by file, then by line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPlace {
    /// Index of its file in [`SourceFiles::paths`].
    pub file: u32,
    /// Its line, from 1.
    pub line: u32,
}

/// The files that a zone was read from, the first one and those it included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFiles {
    /// Paths, in the order of opening.
    pub paths: Vec<PathBuf>,
}

impl SourceFiles {
    /// `FILE:LINE` of a place; `record LINE` for records that come from no file.
    #[must_use]
    pub fn describe(&self, place: RecordPlace) -> String {
        match self.paths.get(place.file as usize) {
            Some(path) => format!("{}:{}", path.display(), place.line),
            None => format!("record {}", place.line),
        }
    }
}

/// What is wrong with a zone file, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneFileError {
    /// The file could not be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the call that opened or read it.
        source: std::io::Error,
    },
    /// A line is no record and no directive.
    #[error("{path}:{line}: {what}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u32,
        /// What was expected, and what to do.
        what: ZoneFileSyntaxError,
    },
    /// A record cannot be part of the zone.
    #[error("{path}:{line}: {what}", path = path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u32,
        /// What is wrong with it, and what to do.
        what: RecordProblem,
    },
}

impl ZoneFileError {
    /// True when a file could not be opened or read: another try may go well although no file changes. Otherwise the files must be
    /// mended first.
    #[must_use]
    pub fn is_unreadable_file(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Syntax { what, .. } => matches!(*what.0, Fault::Include { .. }),
            Self::Record { .. } => false,
        }
    }

    /// The error for a record that refuses the zone.
    pub(crate) fn refused(files: &SourceFiles, place: RecordPlace, what: RecordProblem) -> Self {
        let path = files.paths.get(place.file as usize).cloned().unwrap_or_default();
        Self::Record { path, line: place.line, what }
    }
}

/// Reads `path` and hands each record to `sink`; a problem that the sink returns ends the reading, and becomes a
/// [`ZoneFileError::Record`] with the place.
///
/// Directives: `$ORIGIN`, `$TTL`, `$INCLUDE` (a relative path counts from the folder of the file that includes; origin and
/// owner are as before afterwards, the TTL of a `$TTL` inside stays, as in BIND), `$GENERATE`. A record without TTL gets
/// that of the last `$TTL`; without `$TTL` that of the last record that has one; a SOA without either gets its minimum,
/// and so do the records that follow. Only class IN is read. Names may lie outside of the zone: that is the sink's matter.
pub fn read(
    path: &Path,
    origin: &Name,
    sink: &mut dyn FnMut(Record<'_>) -> Result<(), RecordProblem>,
) -> Result<SourceFiles, ZoneFileError> {
    let mut files = SourceFiles::default();
    read_noting(path, origin, &mut files, sink)?;
    Ok(files)
}

/// Reads as [`read`] does, and notes in `files` each file before its content is looked at, so that the caller of a zone that does not
/// read knows whose change may mend it.
pub fn read_noting(
    path: &Path,
    origin: &Name,
    files: &mut SourceFiles,
    sink: &mut dyn FnMut(Record<'_>) -> Result<(), RecordProblem>,
) -> Result<(), ZoneFileError> {
    files.paths = vec![path.to_owned()];
    let io = |source| ZoneFileError::Io { path: path.to_owned(), source };
    let (place, text) = load(path).map_err(io)?;
    read_text(&text, place, origin, files, sink)
}

/// Reads `text`, which is that of the only file of `files`; `resolved` is its path without symbolic links.
pub(crate) fn read_text(
    text: &[u8],
    resolved: PathBuf,
    origin: &Name,
    files: &mut SourceFiles,
    sink: &mut dyn FnMut(Record<'_>) -> Result<(), RecordProblem>,
) -> Result<(), ZoneFileError> {
    let mut reader = Reader {
        sink,
        paths: &mut files.paths,
        resolved: vec![resolved],
        open: vec![0],
        includes: 0,
        generated: 0,
        default_ttl: None,
        last_ttl: None,
        owner: Vec::with_capacity(name::MAX_NAME),
        rdata: Vec::new(),
    };
    reader.file(0, text, origin.clone())
}

/// The resolved path and the octets of a regular file.
fn load(path: &Path) -> std::io::Result<(PathBuf, Vec<u8>)> {
    let place = std::fs::canonicalize(path)?;
    if !std::fs::metadata(&place)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let text = std::fs::read(&place)?;
    Ok((place, text))
}

/// Why a line is no record and no directive, and what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ZoneFileSyntaxError(Box<Fault>);

/// Why the reading of an entry ended.
enum Stop {
    /// The entry does not read.
    Syntax(Fault),
    /// The sink refused the record.
    Refused(RecordProblem),
    /// An error of an included file, which has its own place.
    Inside(ZoneFileError),
}

impl<F: Into<Fault>> From<F> for Stop {
    fn from(fault: F) -> Self {
        Self::Syntax(fault.into())
    }
}

/// What is wrong with an entry, and what to do.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("class {0} record; a zone file of class IN has no others")]
    Class(Class),
    #[error("the record has no TTL, and there is none before it; write `$TTL 3600` at the start of the file")]
    NoTtl,
    #[error(transparent)]
    Lexical(#[from] LexErrorKind),
    #[error(
        "`{0}` is no directive; there are $ORIGIN, $TTL, $INCLUDE and $GENERATE; a name that starts with $ is written \\$..."
    )]
    Directive(String),
    #[error("{0}")]
    Usage(&'static str),
    #[error("$INCLUDE of {path}: {source}; a relative path counts from the folder of this file", path = path.display())]
    Include { path: PathBuf, source: std::io::Error },
    #[error("$INCLUDE of {path}: that file is being read already, so this would never end", path = .0.display())]
    Loop(PathBuf),
    #[error("$INCLUDE inside of {MAX_DEPTH} files that include each other; put the records into fewer files")]
    Depth,
    #[error("more than {MAX_INCLUDES} $INCLUDE directives in the zone; put the records into fewer files")]
    Includes,
    #[error(transparent)]
    Generate(#[from] generate::GenerateError),
    #[error("$GENERATE at {value}: {source}")]
    Generated { value: u32, source: Box<Fault> },
    #[error("$GENERATE at {value}: {source}")]
    GeneratedRecord { value: u32, source: RecordProblem },
    #[error("the $GENERATE directives of the zone make more than {MAX_GENERATED} records; narrow the range")]
    TooManyGenerated,
}

struct Reader<'s> {
    sink: &'s mut dyn FnMut(Record<'_>) -> Result<(), RecordProblem>,
    paths: &'s mut Vec<PathBuf>,
    /// `paths` without symbolic links, to find files that include each other.
    resolved: Vec<PathBuf>,
    /// The files being read, as indices of `paths`; the last one is read now.
    open: Vec<usize>,
    includes: usize,
    generated: u64,
    /// From `$TTL`, or the minimum of a SOA without TTL.
    default_ttl: Option<u32>,
    /// Of the last record that has one.
    last_ttl: Option<u32>,
    /// The last owner in wire form; empty before the first.
    owner: Vec<u8>,
    rdata: Vec<u8>,
}

impl Reader<'_> {
    /// Reads `text`, which is that of file number `file`.
    fn file(&mut self, file: usize, text: &[u8], mut origin: Name) -> Result<(), ZoneFileError> {
        let mut lexer = Lexer::of_zone_file(text);
        let mut tokens = Vec::with_capacity(16);
        loop {
            let (line, read) = match lexer.next_into(&mut tokens) {
                Ok(None) => return Ok(()),
                Ok(Some(head)) => (head.line, self.entry(head, &tokens, &mut origin)),
                Err(error) => (error.line, Err(Stop::Syntax(error.what.into()))),
            };
            let path = || self.paths[file].clone();
            match read {
                Ok(()) => {}
                Err(Stop::Inside(error)) => return Err(error),
                Err(Stop::Refused(what)) => return Err(ZoneFileError::Record { path: path(), line, what }),
                Err(Stop::Syntax(fault)) => {
                    let what = ZoneFileSyntaxError(Box::new(fault));
                    return Err(ZoneFileError::Syntax { path: path(), line, what });
                }
            }
        }
    }

    fn entry(&mut self, head: EntryHead<'_>, tokens: &[Token<'_>], origin: &mut Name) -> Result<(), Stop> {
        let Some((first, rest)) = tokens.split_first() else {
            return Ok(());
        };
        if head.leading_blank {
            if self.owner.is_empty() {
                return Err(RecordError::NoOwner.into());
            }
            return self.record(tokens, origin, head.line);
        }
        if first.text.starts_with(b"$") && !first.quoted {
            return self.directive(*first, rest, origin, head.line);
        }
        self.owner.clear();
        put_name(*first, origin, &mut self.owner)?;
        self.record(rest, origin, head.line)
    }

    /// Reads `[TTL] [class] type RDATA`.
    fn record(&mut self, tokens: &[Token<'_>], origin: &Name, line: u32) -> Result<(), Stop> {
        let head = record::record_head(tokens)?;
        let rtype = head.rtype;
        self.rdata.clear();
        rdata::from_tokens(rtype, &tokens[head.len..], Some(origin), &mut self.rdata)
            .map_err(|source| RecordError::Rdata { rtype, source })?;
        check_class(head.class)?;
        let ttl = self.ttl(head.ttl, rtype)?;
        self.hand_over(rtype, ttl, line)
    }

    fn hand_over(&mut self, rtype: Rtype, ttl: u32, line: u32) -> Result<(), Stop> {
        let file = self.open.last().map_or(0, |file| *file as u32);
        let place = RecordPlace { file, line };
        let record = Record { owner: &self.owner, rtype, ttl, rdata: &self.rdata, place };
        (self.sink)(record).map_err(Stop::Refused)
    }

    /// The TTL of a record whose RDATA is in `self.rdata`.
    fn ttl(&mut self, written: Option<u32>, rtype: Rtype) -> Result<u32, Fault> {
        if let Some(ttl) = written {
            self.last_ttl = Some(ttl);
            return Ok(ttl);
        }
        if let Some(ttl) = self.default_ttl.or(self.last_ttl) {
            return Ok(ttl);
        }
        match self.rdata.last_chunk::<4>() {
            Some(minimum) if rtype == Rtype::SOA => {
                let minimum = u32::from_be_bytes(*minimum);
                self.default_ttl = Some(minimum);
                Ok(minimum)
            }
            _ => Err(Fault::NoTtl),
        }
    }

    fn directive(
        &mut self,
        word: Token<'_>,
        arguments: &[Token<'_>],
        origin: &mut Name,
        line: u32,
    ) -> Result<(), Stop> {
        if word.is("$ORIGIN") {
            let [name] = arguments else {
                return Err(Fault::Usage("expected one name: $ORIGIN NAME").into());
            };
            *origin = new_origin(*name, origin)?;
            Ok(())
        } else if word.is("$TTL") {
            let [ttl] = arguments else {
                return Err(Fault::Usage("expected one TTL: $TTL 3600, or $TTL 1h").into());
            };
            let seconds = ttl::parse(ttl.text);
            self.default_ttl = Some(seconds.ok_or_else(|| RecordError::BadTtl(ttl.to_string()))?);
            Ok(())
        } else if word.is("$INCLUDE") {
            match arguments {
                [path] => self.include(*path, origin.clone()),
                [path, name] => self.include(*path, new_origin(*name, origin)?),
                _ => Err(Fault::Usage("expected a file, and maybe an origin: $INCLUDE FILE [NAME]").into()),
            }
        } else if word.is("$GENERATE") {
            self.generate(arguments, origin, line)
        } else {
            Err(Fault::Directive(word.to_string()).into())
        }
    }

    fn include(&mut self, path: Token<'_>, origin: Name) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::Depth.into());
        }
        self.includes += 1;
        if self.includes > MAX_INCLUDES {
            return Err(Fault::Includes.into());
        }
        let mut written = Vec::new();
        path.unescape_into(&mut written).ok_or(Fault::Usage("the file name ends in half an escape"))?;
        let this = self.open.last().map_or(0, |file| *file);
        let folder = self.paths[this].parent().unwrap_or(Path::new(""));
        let path = folder.join(OsStr::from_bytes(&written));
        let (place, text) = load(&path).map_err(|source| Fault::Include { path: path.clone(), source })?;
        let number = match self.resolved.iter().position(|known| *known == place) {
            Some(number) if self.open.contains(&number) => return Err(Fault::Loop(path).into()),
            Some(number) => number,
            None => {
                self.paths.push(path);
                self.resolved.push(place);
                self.paths.len() - 1
            }
        };
        let owner = self.owner.clone();
        self.open.push(number);
        self.file(number, &text, origin).map_err(Stop::Inside)?;
        self.open.pop();
        self.owner = owner;
        Ok(())
    }

    /// `$GENERATE RANGE OWNER [TTL] [class] type RDATA`.
    fn generate(&mut self, arguments: &[Token<'_>], origin: &Name, line: u32) -> Result<(), Stop> {
        const USAGE: Fault =
            Fault::Usage("expected $GENERATE START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE DATA");
        let [range, owner, rest @ ..] = arguments else { return Err(USAGE.into()) };
        let range = generate::Range::parse(range.text)
            .ok_or_else(|| generate::GenerateError::Range(range.to_string()))?;
        let head = record::record_head(rest)?;
        check_class(head.class)?;
        if rest.len() == head.len {
            return Err(USAGE.into());
        }
        let owner = generate::Template::parse(owner.text)?;
        let data = generate::Template::parse(&generate::data_text(&rest[head.len..]))?;
        self.generated += range.count();
        if self.generated > MAX_GENERATED {
            return Err(Fault::TooManyGenerated.into());
        }
        // A SOA's minimum is no TTL for what a range makes.
        self.rdata.clear();
        let ttl = self.ttl(head.ttl, head.rtype)?;
        let before = self.owner.clone();
        let templates = Templates { owner, data, rtype: head.rtype, ttl, line };
        for value in range.values() {
            self.generate_one(value, &templates, origin).map_err(|stop| match stop {
                Stop::Syntax(fault) => Stop::Syntax(Fault::Generated { value, source: Box::new(fault) }),
                Stop::Refused(source) => Stop::Syntax(Fault::GeneratedRecord { value, source }),
                Stop::Inside(error) => Stop::Inside(error),
            })?;
        }
        self.owner = before;
        Ok(())
    }

    fn generate_one(&mut self, value: u32, templates: &Templates, origin: &Name) -> Result<(), Stop> {
        let rtype = templates.rtype;
        let text = templates.owner.fill(value)?;
        self.owner.clear();
        put_name(Token::plain(&text), origin, &mut self.owner)?;
        let text = templates.data.fill(value)?;
        let mut tokens = Vec::new();
        Lexer::of_zone_file(&text).next_into(&mut tokens).map_err(|error| Fault::from(error.what))?;
        self.rdata.clear();
        rdata::from_tokens(rtype, &tokens, Some(origin), &mut self.rdata)
            .map_err(|source| RecordError::Rdata { rtype, source })?;
        self.hand_over(rtype, templates.ttl, templates.line)
    }
}

/// What a `$GENERATE` directive makes for each number of its range.
struct Templates {
    owner: generate::Template,
    data: generate::Template,
    rtype: Rtype,
    ttl: u32,
    line: u32,
}

fn check_class(class: Option<Class>) -> Result<(), Stop> {
    match class {
        None | Some(Class::IN) => Ok(()),
        Some(other) => Err(Fault::Class(other).into()),
    }
}

/// Appends the owner that `token` names.
fn put_name(token: Token<'_>, origin: &Name, out: &mut Vec<u8>) -> Result<(), Stop> {
    if token.is_at() {
        out.extend_from_slice(origin.as_wire());
        return Ok(());
    }
    name::parse_into(token.text, Some(origin.as_wire()), out)
        .map_err(|source| RecordError::BadOwner { text: token.to_string(), source }.into())
}

fn new_origin(token: Token<'_>, origin: &Name) -> Result<Name, Fault> {
    if token.is_at() {
        return Ok(origin.clone());
    }
    Name::parse_bytes(token.text, Some(origin))
        .map_err(|source| RecordError::BadOwner { text: token.to_string(), source }.into())
}

#[cfg(test)]
mod tests;
