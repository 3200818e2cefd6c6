//! The folder of a zone's state, which is there and durable before anything is written into it.

use std::io;
use std::path::{Path, PathBuf};

use keystore::durable;

/// The folder `zones/ZONE`.
#[derive(Debug)]
pub(crate) struct StateFolder {
    path: PathBuf,
    /// Set once this process has synced the folder above: whoever made this one may have died before doing so.
    is_durable: bool,
}

impl StateFolder {
    /// The folder at `path`; nothing is looked at yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), is_durable: false }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder if it is missing, and its name durable: once, and again after somebody removed it.
    pub fn make(&mut self) -> io::Result<()> {
        if !self.is_durable || !self.path.is_dir() {
            durable::create_dir_durable(&self.path, 0o700)?;
            self.is_durable = true;
        }
        Ok(())
    }
}
