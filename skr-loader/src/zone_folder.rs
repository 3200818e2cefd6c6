//! Watches `zones-directory`, so that zones come and go without a signal: whoever runs it reads the configuration again when a file in the
//! folder was added, replaced or removed.
//!
//! The kernel tells of changes at once. Where it does not (NFS, shared folders of virtual machines), a change of the folder is seen within five
//! seconds, and one inside of a file within a minute.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use keystore::config::Config;
use keystore::config::zone_files::{FolderMark, release};
use metrics::changed::{self, FileMark};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher};

use crate::folder_events;

/// Pause between two looks at the folder itself.
const LOOK: Duration = Duration::from_secs(5);
/// Looks at the folder itself for each look at all of its files.
const FULL_LOOK: u32 = 12;
/// Files are looked at when the kernel has told nothing for so long, so that those written together are taken together.
const QUIET: Duration = Duration::from_millis(200);
/// So many pauses of that length are waited for at most.
const MAX_QUIET: u32 = 10;

/// The folder of the configuration in use, and its files as they were read. Clones are of one process.
#[derive(Debug, Clone, Default)]
pub struct ZoneFolder(Arc<Mutex<Option<Followed>>>, Arc<Mutex<Option<SyncSender<()>>>>);

#[derive(Debug, Clone)]
struct Followed {
    /// `None` where the main file names none, and zones stay that come from one.
    folder: Option<PathBuf>,
    state_dir: PathBuf,
    others: Vec<PathBuf>,
    awaited: Vec<PathBuf>,
    mark: FolderMark,
}

impl Followed {
    fn mark_now(&self) -> FolderMark {
        let mark = FolderMark::of(self.folder.as_deref(), Some(&self.state_dir), &self.others);
        mark.with_awaited(&self.awaited)
    }
}

impl ZoneFolder {
    /// Says which configuration is in use.
    pub fn follow(&self, config: &Config) {
        let files = &config.zone_files;
        let is_used = files.folder.is_some() || files.errors.is_some() || !files.others.is_empty();
        let followed = is_used.then(|| Followed {
            folder: files.folder.clone(),
            state_dir: config.state_dir.clone(),
            others: files.others.clone(),
            awaited: files.awaited.clone(),
            mark: files.mark,
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = followed;
    }

    /// Has the watch look at once.
    pub fn wake(&self) {
        if let Some(wake) = &*self.1.lock().unwrap_or_else(PoisonError::into_inner) {
            // A message that waits already says the same.
            let _ = wake.try_send(());
        }
    }

    fn get(&self) -> Option<Followed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Calls the reload of a process when its folder has changed. Dropping it waits for a reload under way.
#[derive(Debug)]
pub struct ZoneFolderWatch {
    stop: Arc<AtomicBool>,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl ZoneFolderWatch {
    /// Starts to watch; `reload` reads the main file `main` as well, and has `folder` follow the configuration that it takes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        main: &Path,
        folder: ZoneFolder,
        reload: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        // One message says all: look.
        let (wake, woken) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        *folder.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake.clone());
        let mut look = Looks {
            main: main.to_owned(),
            folder,
            watched: None,
            others: Vec::new(),
            tried: None,
            wake: wake.clone(),
        };
        let stopped = Arc::clone(&stop);
        let run = move || look.run(&woken, &stopped, &reload);
        let thread = std::thread::Builder::new().name("zone-folder".to_owned()).spawn(run)?;
        Ok(Self { stop, wake, thread: Some(thread) })
    }
}

impl Drop for ZoneFolderWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A message that waits already wakes it as well.
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The looks of one process at its folder.
struct Looks {
    main: PathBuf,
    folder: ZoneFolder,
    /// The folder that the kernel tells of, as it stood at the last look.
    watched: Option<WatchedFolder>,
    /// The file of releases and the other files, as they stood at the last look.
    others: Vec<FileMark>,
    /// The zone files and the main file for which a reload was tried last: one that was refused is not tried again before they change.
    tried: Option<(FolderMark, FileMark)>,
    wake: SyncSender<()>,
}

struct WatchedFolder {
    path: PathBuf,
    mark: FileMark,
    /// `None` where the kernel tells nothing.
    _watcher: Option<RecommendedWatcher>,
}

impl Looks {
    fn run(&mut self, woken: &Receiver<()>, stop: &AtomicBool, reload: &impl Fn()) {
        let mut looks = 0;
        loop {
            let told = match woken.recv_timeout(if looks == 0 { Duration::ZERO } else { LOOK }) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for _ in 0..MAX_QUIET {
                if !told || stop.load(Ordering::Relaxed) || woken.recv_timeout(QUIET).is_err() {
                    break;
                }
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
            looks += 1;
            let Some(followed) = self.folder.get() else {
                self.watched = None;
                continue;
            };
            let folder_changed = followed.folder.as_deref().is_some_and(|path| self.watch(path));
            let mut others = vec![changed::mark(&release::path(&followed.state_dir))];
            others.extend(followed.others.iter().chain(&followed.awaited).map(|file| changed::mark(file)));
            let others_changed = others != self.others;
            self.others = others;
            if !(told || folder_changed || others_changed || looks % FULL_LOOK == 0) {
                continue;
            }
            let mark = followed.mark_now();
            let wanted = Some((mark, changed::mark(&self.main)));
            if mark != followed.mark && self.tried != wanted {
                self.tried = wanted;
                tracing::info!("the zone files have changed; the configuration is read again");
                reload();
            }
        }
    }

    /// Has the kernel tell of this folder; true when it is another one, or was changed, since the last look.
    fn watch(&mut self, path: &Path) -> bool {
        let mark = changed::mark(path);
        if let Some(watched) = &self.watched
            && watched.path == path
            && watched.mark == mark
        {
            return false;
        }
        let watcher = tell_of(path, self.wake.clone());
        if let Err(error) = &watcher {
            tracing::debug!(folder = %path.display(), %error, "the kernel does not tell of zone files; they are looked at from time to time");
        }
        self.watched = Some(WatchedFolder { path: path.to_owned(), mark, _watcher: watcher.ok() });
        true
    }
}

/// Has the kernel tell of changes in a folder.
fn tell_of(path: &Path, wake: SyncSender<()>) -> notify::Result<RecommendedWatcher> {
    let on_event = move |event: notify::Result<Event>| {
        if event.as_ref().map_or(true, |event| is_change(event.kind)) {
            // A message that waits already says the same.
            let _ = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(on_event)?;
    folder_events::watch(&mut watcher, path)?;
    Ok(watcher)
}

/// Reading is no change: a look at the folder must not be the reason of the next one.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn followed(dir: &Path) -> Followed {
        let mut followed = Followed {
            folder: Some(dir.join("zones.d")),
            state_dir: dir.to_owned(),
            others: Vec::new(),
            awaited: Vec::new(),
            mark: FolderMark::default(),
        };
        followed.mark = followed.mark_now();
        followed
    }

    #[test]
    fn each_change_of_the_folder_is_told_and_one_that_was_refused_is_tried_again_when_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("zones.d")).unwrap();
        let at = |name: &str| dir.path().join(name);
        let folder = ZoneFolder(Arc::new(Mutex::new(Some(followed(dir.path())))), Arc::default());
        let (told, reloads) = channel();
        let main = at("main.toml");
        std::fs::write(&main, "1").unwrap();
        let watch = ZoneFolderWatch::start(&main, folder.clone(), move || told.send(()).unwrap()).unwrap();
        std::fs::write(at("zones.d/a.toml"), "1").unwrap();
        reloads.recv_timeout(WAIT).expect("the new file is seen");
        // Refused: the folder in use stays as it was, and a file that is no zone file changes nothing.
        std::fs::write(at("zones.d/.b.toml"), "1").unwrap();
        std::fs::write(at("zones.d/b.txt"), "1").unwrap();
        assert!(reloads.recv_timeout(4 * QUIET).is_err(), "nothing has changed");
        // It may have been refused for the main file.
        std::fs::write(&main, "22").unwrap();
        std::fs::write(at("zones.d/.b.toml"), "2").unwrap();
        reloads.recv_timeout(WAIT).expect("the main file has changed since then");
        *folder.0.lock().unwrap() = Some(followed(dir.path()));
        std::fs::rename(at("zones.d/b.txt"), at("zones.d/b.toml")).unwrap();
        reloads.recv_timeout(WAIT).expect("the renamed file is seen");
        std::fs::remove_file(at("zones.d/a.toml")).unwrap();
        reloads.recv_timeout(WAIT).expect("the removed file is seen");
        *folder.0.lock().unwrap() = Some(followed(dir.path()));
        std::fs::write(release::path(dir.path()), "1").unwrap();
        reloads.recv_timeout(WAIT).expect("a release is seen");
        drop(watch);
    }

    #[test]
    fn a_look_at_the_folder_is_no_reason_for_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let (wake, woken) = sync_channel(1);
        let _watcher = tell_of(dir.path(), wake).unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "1").unwrap();
        woken.recv_timeout(WAIT).expect("a change is told");
        while woken.recv_timeout(2 * QUIET).is_ok() {}
        let _ = FolderMark::of(Some(dir.path()), None, &[]);
        std::fs::read(&file).unwrap();
        assert!(woken.recv_timeout(2 * QUIET).is_err(), "reading was told as a change");
        std::fs::remove_file(&file).unwrap();
        woken.recv_timeout(WAIT).expect("the watch still works");
    }
}
