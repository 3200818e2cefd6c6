//! What a zone has that is odd but can be served.

use crate::rules::{Handling, RecordProblem, ZoneRules};
use crate::zonefile::{RecordPlace, SourceFiles, ZoneFileError};

/// What is odd in a zone: records that were left out, and records that are kept although something looks wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    /// The first of them, each with file and line.
    pub texts: Vec<String>,
    /// How many there were in all.
    pub total: usize,
    /// How many records were left out because of them.
    pub left_out: usize,
}

impl Warnings {
    /// So many are kept as text: a zone with a million foreign RRSIGs must not fill the memory with warnings.
    const KEPT: usize = 100;
}

/// Collects problems as they are found, and refuses the zone when the rules say so.
#[derive(Debug)]
pub(super) struct Judge {
    rules: ZoneRules,
    found: Vec<(RecordPlace, RecordProblem)>,
    total: usize,
    left_out: usize,
}

/// What becomes of a record that has a problem which does not refuse the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    LeftOut,
}

impl Judge {
    pub const fn new(rules: ZoneRules) -> Self {
        Self { rules, found: Vec::new(), total: 0, left_out: 0 }
    }

    pub const fn rules(&self) -> &ZoneRules {
        &self.rules
    }

    /// Notes a problem; an error when it refuses the zone.
    pub fn judge(&mut self, place: RecordPlace, problem: RecordProblem) -> Result<Fate, RecordProblem> {
        let fate = match problem.handling(self.rules.check) {
            Handling::Refuse => return Err(problem),
            Handling::LeaveOut => Fate::LeftOut,
            Handling::Warn => Fate::Kept,
        };
        self.total += 1;
        self.left_out += usize::from(fate == Fate::LeftOut);
        if self.found.len() < Warnings::KEPT {
            self.found.push((place, problem));
        }
        Ok(fate)
    }

    /// The same, once the names of the files are known.
    pub fn judge_in(
        &mut self,
        files: &SourceFiles,
        place: RecordPlace,
        problem: RecordProblem,
    ) -> Result<Fate, ZoneFileError> {
        self.judge(place, problem).map_err(|problem| ZoneFileError::refused(files, place, problem))
    }

    /// The warnings in the order of the files.
    pub fn into_warnings(mut self, files: &SourceFiles) -> Warnings {
        self.found.sort_by_key(|(place, _)| *place);
        let text = |(place, problem): (RecordPlace, RecordProblem)| {
            let left_out = problem.handling(self.rules.check) == Handling::LeaveOut;
            // Some messages say themselves that the record is left out.
            let says_so = matches!(problem, RecordProblem::ForeignDnssec(_) | RecordProblem::StaleZonemd);
            let ending = if left_out && !says_so { "; the record is left out" } else { "" };
            format!("{}: {problem}{ending}", files.describe(place))
        };
        let texts = self.found.into_iter().map(text).collect();
        Warnings { texts, total: self.total, left_out: self.left_out }
    }
}
