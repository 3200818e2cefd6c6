//! Reads a master file (RFC 1035 section 5, RFC 2308 section 4, RFC 3597, `$GENERATE` as BIND has it) into records.

use std::path::{Path, PathBuf};

use keystore::dns::{Name, Rtype};

/// One record as it stands in the file; borrowed, valid during the call that hands it over.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Owner, uncompressed wire form, case kept.
    pub owner: &'a [u8],
    /// Type.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    /// RDATA, uncompressed wire form.
    pub rdata: &'a [u8],
    /// Index of its file, see [`Source::files`].
    pub file: u32,
    /// Its line, from 1.
    pub line: u32,
}

/// The files that were read, the first one and those it included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Paths, in the order of opening.
    pub files: Vec<PathBuf>,
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
        /// The system's word.
        source: std::io::Error,
    },
    /// A line does not read.
    #[error("{path}:{line}: {what}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u32,
        /// What was expected, and what to do.
        what: String,
    },
}

/// Reads `path` and hands each record to `sink`; a sink that refuses gives the reason, which becomes a `Syntax` error with the place.
pub fn read(
    _path: &Path,
    _origin: &Name,
    _sink: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Source, ZoneFileError> {
    todo!()
}
