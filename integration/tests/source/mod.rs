//! The sources of the workspace, for the tests that judge them.

use std::path::{Path, PathBuf};

/// Folders of the crates of this workspace.
pub const CRATES: [&str; 6] =
    ["keystore", "ksr-gen", "skr-loader", "signer-plugin", "metrics", "integration"];

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The Rust files of a folder and of the folders in it, sorted.
pub fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|e| e == "rs") {
            files.push(entry);
        }
    }
    files.sort();
    files
}
