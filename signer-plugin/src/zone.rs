//! The unsigned zone: names in canonical order, RRsets as octets, cuts and empty non-terminals marked.

use std::path::Path;

use keystore::dns::Name;

use crate::zonefile::{Source, ZoneFileError};

/// An unsigned zone, checked (one SOA, CNAME alone, nothing outside, no foreign DNSSEC records).
#[derive(Debug)]
pub struct Zone {
    origin: Name,
    source: Source,
}

impl Zone {
    /// Reads and checks a zone file.
    pub fn load(_path: &Path, _origin: &Name) -> Result<Self, ZoneFileError> {
        todo!()
    }

    /// The apex.
    #[must_use]
    pub const fn origin(&self) -> &Name {
        &self.origin
    }

    /// The files it came from, to notice changes.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// The SOA serial in the file.
    #[must_use]
    pub fn serial(&self) -> u32 {
        todo!()
    }
}
