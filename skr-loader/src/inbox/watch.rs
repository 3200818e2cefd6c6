//! The events of the kernel for the inbox. They are only hints: the periodic scan finds what they miss.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use keystore::config::WatchMode;
use keystore::open::{self, OpenError};
use keystore::retry::{Backoff, Retry};
use keystore::time::Timestamp;
use notify::RecommendedWatcher;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};

use crate::folder_events;

/// Pauses between two tries to set the watch, in seconds.
const BACKOFF: Backoff = Backoff::new(1, 60);

/// What happened in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxEvent {
    /// A writer closed the file, or it was renamed into the folder: it may be whole.
    Closed(OsString),
    /// The file came to be or was written to: somebody may be at it.
    Touched(OsString),
    /// The kernel lost events: look at everything.
    Overflow,
    /// Something happened to the folder itself: look at everything.
    Rescan,
}

/// Whether an event was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventTaken {
    /// It will be handled, or nobody is there any more.
    Yes,
    /// There are too many of them; a scan must make up for it.
    Full,
}

/// What is called with each event, in a thread of the watch. It must not wait.
#[derive(Clone)]
pub struct OnEvent(Arc<dyn Fn(InboxEvent) -> EventTaken + Send + Sync>);

impl OnEvent {
    /// Calls `f` with each event.
    #[must_use]
    pub fn new(f: impl Fn(InboxEvent) -> EventTaken + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }
}

impl fmt::Debug for OnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEvent")
    }
}

/// How the watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchState {
    /// As before, and up.
    Up,
    /// It was just set: what happened before has to be scanned for.
    New,
    /// Not set; only the periodic scan sees the folder.
    Down,
}

/// Why there is no watch.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The folder is not there, or not ours to look into.
    #[error("{path}: nothing is taken from the inbox: {source}; put it back, or see to its owner and mode", path = path.display())]
    Folder {
        /// The inbox.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
    /// Something else has the name.
    #[error("{path}: nothing is taken from the inbox: it is no folder", path = path.display())]
    NoFolder {
        /// The inbox.
        path: PathBuf,
    },
    /// Another user may have put the folder, or a link to another one, in the place of the inbox: what lies there would be taken away.
    #[error("{path}: nothing is taken from the inbox: {source}", path = path.display())]
    Foreign {
        /// The inbox.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// Anyone could drop and replace files.
    #[error("{path}: everyone can write to the inbox (mode {mode:04o}), so nothing is taken from it; chmod o-w it", path = path.display())]
    WorldWritable {
        /// The inbox.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The kernel refused; the periodic scan goes on.
    #[error("{path}: not watched by the kernel ({source}); scanned periodically instead", path = path.display())]
    Kernel {
        /// The inbox.
        path: PathBuf,
        /// Error of the system call that failed.
        source: notify::Error,
    },
}

/// Device, inode and, since inode numbers are used again, birth.
type Folder = (u64, u64, Option<SystemTime>);

/// The watch of one folder; set again when the folder is replaced. In the poll mode the kernel is not asked, and the watch is up
/// as long as the folder is there.
#[derive(Debug)]
pub struct Watch {
    dir: PathBuf,
    mode: WatchMode,
    on_event: OnEvent,
    lost: Arc<AtomicBool>,
    watcher: Option<RecommendedWatcher>,
    folder: Option<Folder>,
    retry: Retry,
    /// Why there is no watch, as it was told.
    trouble: Option<String>,
}

impl Watch {
    /// Will watch `dir`, and call `on_event` with what happens there. Sets nothing yet.
    #[must_use]
    pub fn new(dir: &Path, on_event: OnEvent) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        Self {
            dir: dir.to_owned(),
            mode: WatchMode::Events,
            on_event,
            lost,
            watcher: None,
            folder: None,
            retry: Retry::new(BACKOFF),
            trouble: None,
        }
    }

    /// Sees whether the folder is still the one that is watched, and sets the watch when it is not. The error is given
    /// beside the state, once until it is another, or gone.
    pub fn poll(&mut self, now: Timestamp) -> (WatchState, Option<WatchError>) {
        let (state, error) = self.set_where_due(now);
        if state != WatchState::Down {
            self.trouble = None;
        }
        let news = error.filter(|error| {
            let text = error.to_string();
            self.trouble.replace(text.clone()) != Some(text)
        });
        (state, news)
    }

    /// Why there is no watch.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn set_where_due(&mut self, now: Timestamp) -> (WatchState, Option<WatchError>) {
        let folder = match look(&self.dir) {
            Ok(folder) => folder,
            Err(error) => {
                self.reset();
                self.retry.settled();
                return (WatchState::Down, Some(error));
            }
        };
        if self.folder == Some(folder) && self.is_up() {
            return (WatchState::Up, None);
        }
        if self.mode == WatchMode::Poll {
            self.folder = Some(folder);
            self.retry.settled();
            return (WatchState::New, None);
        }
        let replaced = self.folder.replace(folder) != Some(folder);
        if !replaced && self.retry.is_waiting(now) {
            return (WatchState::Down, None);
        }
        match self.set() {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.retry.settled();
                (WatchState::New, None)
            }
            Err(source) => {
                self.watcher = None;
                self.retry.failed(now);
                (WatchState::Down, Some(WatchError::Kernel { path: self.dir.clone(), source }))
            }
        }
    }

    /// Sets how the folder is watched.
    pub fn set_mode(&mut self, mode: WatchMode) {
        if mode != self.mode {
            self.mode = mode;
            self.reset();
        }
    }

    /// True when the kernel is not asked.
    #[must_use]
    pub fn polls(&self) -> bool {
        self.mode == WatchMode::Poll
    }

    /// Sets the watch anew at the next [`Watch::poll`].
    pub fn reset(&mut self) {
        self.watcher = None;
        self.folder = None;
    }

    /// True once for each time that events were lost because nobody fetched them.
    pub fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// True when the watch is set, or none is wanted and the folder is there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.watcher.is_some() || (self.polls() && self.folder.is_some())
    }

    /// True when the folder can be read, watched or not.
    #[must_use]
    pub const fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    fn set(&self) -> Result<RecommendedWatcher, notify::Error> {
        let (on_event, lost, dir) = (self.on_event.clone(), Arc::clone(&self.lost), self.dir.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            for event in translate(&event, &dir) {
                if on_event.0(event) == EventTaken::Full {
                    lost.store(true, Ordering::Relaxed);
                }
            }
        })?;
        folder_events::watch(&mut watcher, &self.dir)?;
        if let Some(system) = shared_file_system(&self.dir) {
            tracing::warn!(
                inbox = %self.dir.display(),
                "the inbox lies on {system}, where the kernel does not tell what other hosts drop: it is found by the periodic scan only; set `[loader] watch = \"poll\"`"
            );
        }
        Ok(watcher)
    }
}

/// The kind of file system, when it is one that others change without this kernel's knowledge (`f_type` of statfs(2)).
fn shared_file_system(dir: &Path) -> Option<&'static str> {
    // The type's width and sign differ between platforms; the magic numbers have 32 bits.
    Some(match rustix::fs::statfs(dir).ok()?.f_type as u32 {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 => "Lustre",
        0x5346_414f => "AFS",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x786f_4256 => "a shared folder of VirtualBox",
        _ => return None,
    })
}

fn look(dir: &Path) -> Result<Folder, WatchError> {
    let path = || dir.to_owned();
    let metadata = dir.metadata().map_err(|source| WatchError::Folder { path: path(), source })?;
    if !metadata.is_dir() {
        return Err(WatchError::NoFolder { path: path() });
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(WatchError::WorldWritable { path: path(), mode: metadata.mode() & 0o7777 });
    }
    open::own_folder(dir).map_err(|error| match error {
        OpenError::Io(source) => WatchError::Folder { path: path(), source },
        source => WatchError::Foreign { path: path(), source },
    })?;
    Ok((metadata.dev(), metadata.ino(), metadata.created().ok()))
}

fn translate(event: &notify::Result<notify::Event>, dir: &Path) -> Vec<InboxEvent> {
    let Ok(event) = event else { return vec![InboxEvent::Rescan] };
    if event.need_rescan() {
        return vec![InboxEvent::Overflow];
    }
    let make: fn(OsString) -> InboxEvent = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => InboxEvent::Closed,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            InboxEvent::Touched
        }
        // What only polling platforms say.
        EventKind::Any | EventKind::Modify(ModifyKind::Any | ModifyKind::Name(RenameMode::Any)) => {
            InboxEvent::Touched
        }
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            return event.paths.iter().filter(|path| *path == dir).map(|_| InboxEvent::Rescan).collect();
        }
        // Reading is no change; our own reading least of all.
        _ => return Vec::new(),
    };
    event
        .paths
        .iter()
        .map(|path| match path.parent() {
            Some(parent) if parent == dir => {
                path.file_name().map_or(InboxEvent::Rescan, |name| make(name.to_owned()))
            }
            _ => InboxEvent::Rescan,
        })
        .collect()
}
