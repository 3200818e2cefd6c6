//! `parent/ZONE`: the note of what the parent was last told, and for which KSKs which commands were run, so that a restart of the loader
//! repeats nothing but what was under way.

use std::io;
use std::path::{Path, PathBuf};

use keystore::dns::Name;
use keystore::durable;
use keystore::store::zone_dir;
use keystore::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::hooks::KskNotes;

use crate::files::{self, NamedBy};

/// Largest note that is read, in octets.
const MAX_OCTETS: u64 = 64 << 10;
/// Folder of the notes in the state folder.
const FOLDER: &str = "parent";

/// What is known of one zone at its parent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ParentNote {
    /// [`super::wish::Wish::id`] of the CDS and CDNSKEY records that need no NOTIFY any more: the parent was told of them, or cannot be.
    #[serde(default)]
    pub told: Option<String>,
    /// When that was so, in seconds since 1970.
    #[serde(default)]
    pub told_at: u64,
    /// How far each KSK has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ksks: KskNotes,
}

impl ParentNote {
    /// Notes a wish that needs no NOTIFY any more.
    pub fn set_told(&mut self, wish: String, now: Timestamp) {
        (self.told, self.told_at) = (Some(wish), now.secs());
    }
}

/// The note of `zone` in a state folder. One that is damaged or cannot be read counts as none: then the parent is told once more.
pub fn read(state_dir: &Path, zone: &Name) -> ParentNote {
    let file = files::read(&path(state_dir, zone), NamedBy::Dropper, MAX_OCTETS).ok();
    file.and_then(|file| serde_json::from_slice(&file.octets).ok()).unwrap_or_default()
}

/// Writes the note of `zone` durably.
pub fn write(state_dir: &Path, zone: &Name, note: &ParentNote) -> io::Result<()> {
    durable::create_own_dir(&state_dir.join(FOLDER), 0o755)?;
    durable::write(&path(state_dir, zone), &serde_json::to_vec(note)?, 0o644)
}

/// Removes what a process that was killed has left beside the notes.
pub fn sweep(state_dir: &Path) -> io::Result<()> {
    match durable::sweep_temps(&state_dir.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path(state_dir: &Path, zone: &Name) -> PathBuf {
    zone_dir(&state_dir.join(FOLDER), zone)
}
