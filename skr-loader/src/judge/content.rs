//! What a file holds: the SKR of one zone, or one part for each of several.

use std::ops::Range;

use keystore::check::CheckId;
use keystore::dns::Name;
use keystore::exchange::{SkrFinding, many};

use super::{Candidate, Rejection, Stage};
use crate::checks;

/// What a file holds.
#[derive(Debug)]
pub enum FileContent {
    /// At most one SKR.
    One,
    /// The SKRs of several zones.
    Many(Vec<ZonePart>),
}

/// The part of one zone in a file of several.
#[derive(Debug, Clone)]
pub struct ZonePart {
    /// The zone that its first record names.
    pub zone: Option<Name>,
    /// Line of the file where it begins, from 1.
    pub line: u32,
    /// Where its octets stand in the file.
    range: Range<usize>,
    /// Parts of this zone in the file.
    count: usize,
}

/// Why something does not read as an SKR of a zone of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableSkr {
    /// The zone, when it is known and ours.
    pub zone: Option<Name>,
    /// What is wrong.
    pub finding: SkrFinding,
}

impl From<UnreadableSkr> for Rejection {
    fn from(unread: UnreadableSkr) -> Self {
        Self { stage: Stage::Read, findings: vec![unread.finding] }
    }
}

/// Finds the parts of a file. The error is that it has more of them than are read.
pub fn split(octets: &[u8]) -> Result<FileContent, UnreadableSkr> {
    let sections = many::split_zones(octets).map_err(|error| UnreadableSkr {
        zone: None,
        finding: SkrFinding::reject(CheckId::SkrLimits, None, error.to_string()),
    })?;
    let Some(sections) = sections else { return Ok(FileContent::One) };
    let counts = many::count(&sections);
    let count = |zone: &Option<Name>| {
        zone.as_ref().and_then(|zone| counts.get(&zone.to_lowercase()).copied()).unwrap_or(1)
    };
    let mut end = 0;
    let parts = sections.iter().map(|(zone, section)| {
        // Each section begins where the one before ends.
        let start = end;
        end += section.octets.len();
        ZonePart { zone: zone.clone(), line: section.line, range: start..end, count: count(zone) }
    });
    Ok(FileContent::Many(parts.collect()))
}

impl ZonePart {
    /// Its octets in those of the `file` that was split.
    #[must_use]
    pub fn octets<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        file.get(self.range.clone()).unwrap_or_default()
    }

    /// Reads the SKR from the octets of the `file`. `ours` gives the zone as the configuration writes it.
    pub fn read(
        &self,
        file: &[u8],
        ours: impl Fn(&Name) -> Option<Name>,
    ) -> Result<Candidate, UnreadableSkr> {
        if self.count > 1 {
            let zone = self.zone.as_ref().and_then(&ours);
            return Err(UnreadableSkr { zone, finding: checks::several_parts(self.count) });
        }
        Candidate::read(self.octets(file), ours).map_err(|mut unread| {
            let what = &mut unread.finding.what;
            *what = format!("{what} (in the part that begins at line {})", self.line);
            unread
        })
    }
}
