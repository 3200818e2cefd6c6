//! The audit log: how files fared, and whether the log holds together.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystore::time::Timestamp;

use crate::changed::{FileMark, mark};
use crate::health::facts::{AuditLog, ImportFacts};

/// Imports of a zone that are kept.
const KEPT: usize = 20;
/// The whole log is checked again after so many times the time that it took.
const COST: u32 = 10;

/// Reads the audit log; what its lines mean is the loader's.
#[derive(Debug, Clone, Copy)]
pub struct AuditReader {
    /// Checks the whole log and says where it does not hold together, or why it cannot be read. A log that is not there is whole.
    pub fault: fn(&Path) -> Option<String>,
    /// Reads the end of the log.
    pub outcomes: fn(&Path) -> Outcomes,
}

/// What the end of the log says.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    /// How files and orders fared, by the zone as in metrics, oldest first.
    pub imports: Vec<(String, ImportFacts)>,
    /// The latest time in the log.
    pub latest: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct AuditGatherer {
    reader: AuditReader,
    mark: FileMark,
    imports: HashMap<String, Arc<[ImportFacts]>>,
    latest: Option<Timestamp>,
    log: AuditLog,
    /// What was checked last, when, and how long that took.
    checked: Option<Checked>,
}

#[derive(Debug)]
struct Checked {
    mark: FileMark,
    at: Instant,
    took: Duration,
}

impl AuditGatherer {
    pub fn new(reader: AuditReader) -> Self {
        Self {
            reader,
            mark: None,
            imports: HashMap::new(),
            latest: None,
            log: AuditLog::Unknown,
            checked: None,
        }
    }

    pub fn look(&mut self, path: &Path) {
        let mark = mark(path);
        if mark != self.mark {
            self.mark = mark;
            let Outcomes { imports, latest } = (self.reader.outcomes)(path);
            self.latest = latest;
            let mut kept: HashMap<String, VecDeque<ImportFacts>> = HashMap::new();
            for (zone, import) in imports {
                let kept = kept.entry(zone).or_default();
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                kept.push_back(import);
            }
            self.imports =
                kept.into_iter().map(|(zone, imports)| (zone, imports.into_iter().collect())).collect();
        }
        let due = self
            .checked
            .as_ref()
            .is_none_or(|last| last.mark != mark && last.at.elapsed() > last.took.saturating_mul(COST));
        if due {
            let started = Instant::now();
            self.log = (self.reader.fault)(path).map_or(AuditLog::Whole, AuditLog::Broken);
            self.checked = Some(Checked { mark, at: Instant::now(), took: started.elapsed() });
        }
    }

    pub fn of(&self, zone: &str) -> Arc<[ImportFacts]> {
        self.imports.get(zone).cloned().unwrap_or_default()
    }

    pub const fn log(&self) -> &AuditLog {
        &self.log
    }

    pub const fn latest(&self) -> Option<Timestamp> {
        self.latest
    }
}
