//! Asks the kernel to tell of changes in a folder.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// Has `watcher` tell of the files in `folder`.
///
/// # Errors
/// What the library says. It panics where a descriptor of its own fails: that is an error as well, after which the caller looks by itself.
pub fn watch(watcher: &mut RecommendedWatcher, folder: &Path) -> notify::Result<()> {
    let watched = catch_unwind(AssertUnwindSafe(|| watcher.watch(folder, RecursiveMode::NonRecursive)));
    watched.unwrap_or_else(|_| {
        Err(notify::Error::generic("the library that asks the kernel for events panicked"))
    })
}
