//! The file systems that are written to.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::statvfs;

use super::Host;
use crate::health::facts::Disk;

/// The file systems of the state folder and of the key folders, each once.
pub(super) fn look(host: &Host) -> Vec<Disk> {
    let keys = host.zones.iter().filter_map(|zone| zone.key_directory.as_deref());
    let mut seen = Vec::new();
    let mut folders: Vec<&Path> = std::iter::once(host.state_dir.as_path()).chain(keys).collect();
    folders.dedup();
    let mut disks = Vec::new();
    for folder in folders {
        let Ok(metadata) = folder.metadata() else { continue };
        if seen.contains(&metadata.dev()) {
            continue;
        }
        seen.push(metadata.dev());
        // A file system that does not tell is not judged.
        if let Ok(stat) = statvfs(folder) {
            disks.push(Disk {
                folder: folder.to_owned(),
                free: stat.f_bavail.saturating_mul(stat.f_frsize),
                size: stat.f_blocks.saturating_mul(stat.f_frsize),
                free_files: stat.f_favail,
                files: stat.f_files,
            });
        }
    }
    disks
}
