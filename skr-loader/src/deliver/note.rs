//! `delivered/TARGET/ZONE`: the note of what a target was last proven to serve, so that a restart of the loader imports nothing again.

use std::io;
use std::path::PathBuf;

use keystore::dns::Name;
use keystore::durable;
use keystore::store::zone_dir;
use serde::{Deserialize, Serialize};

use crate::files::{self, NamedBy};

/// Largest note that is read, in octets.
const MAX_OCTETS: u64 = 4096;

/// What a target was last proven to serve of one zone.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryNote {
    /// The generation.
    pub generation: u64,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// The run of the server, as [`super::Deliver::instance`] names it.
    pub instance: String,
    /// Time of the proof, in seconds since 1970.
    pub proven: u64,
}

/// The notes of one target, in the folder `delivered/TARGET`.
#[derive(Debug)]
pub struct DeliveryNotes {
    folder: PathBuf,
}

impl DeliveryNotes {
    /// The notes in `folder`, which need not exist.
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The note of `zone`. One that is damaged or cannot be read counts as none: then the zone is delivered once more.
    pub fn read(&self, zone: &Name) -> Option<DeliveryNote> {
        let file = files::read(&self.path(zone), NamedBy::Dropper, MAX_OCTETS).ok()?;
        serde_json::from_slice(&file.octets).ok()
    }

    /// Writes the note of `zone` durably.
    pub fn write(&self, zone: &Name, note: &DeliveryNote) -> io::Result<()> {
        let octets = serde_json::to_vec(note)?;
        if let Some(around) = self.folder.parent() {
            durable::create_own_dir(around, 0o755)?;
        }
        durable::create_own_dir(&self.folder, 0o755)?;
        durable::sweep_temps(&self.folder)?;
        durable::write(&self.path(zone), &octets, 0o644)
    }

    /// Removes the note of `zone`; that there is none is no error.
    pub fn remove(&self, zone: &Name) -> io::Result<()> {
        match durable::remove(&self.path(zone)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn path(&self, zone: &Name) -> PathBuf {
        zone_dir(&self.folder, zone)
    }
}
