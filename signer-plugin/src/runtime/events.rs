//! The events of the kernel for zone files and key folders, so that a change is seen at once however many zones there are. They are only
//! hints: the looks from time to time find what they miss (an include, a link to elsewhere, a network file system).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keystore::dns::Name;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::setup::ZoneSetup;

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changed {
    /// Files of this zone may have changed.
    Zone(Name),
    /// Events were lost.
    Anything,
}

/// Watches the files of all zones.
pub(super) struct FileEvents {
    watcher: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
    places: Arc<Mutex<Places>>,
    /// True while every folder is watched: then looks may be rare.
    all_watched: Arc<AtomicBool>,
}

impl FileEvents {
    /// Watches nothing yet; `tell` is called in a thread of the watch, and must not wait.
    pub fn new(all_watched: Arc<AtomicBool>, tell: impl Fn(Changed) + Send + 'static) -> Self {
        let places = Arc::new(Mutex::new(Places::default()));
        let (known, flag) = (Arc::clone(&places), Arc::clone(&all_watched));
        let on_event = move |event: notify::Result<Event>| {
            let found = known.lock().unwrap_or_else(PoisonError::into_inner).changed(&event);
            if found.lost_folder {
                flag.store(false, Ordering::Relaxed);
            }
            found.changed.into_iter().for_each(&tell);
        };
        let watcher = notify::recommended_watcher(on_event).inspect_err(|error| {
            tracing::warn!(%error, "the kernel does not tell of changed files; they are looked at in turn");
        });
        Self { watcher: watcher.ok(), watched: HashSet::new(), places, all_watched }
    }

    /// Watches the folders of these zones, and no others.
    pub fn follow<'a>(&mut self, zones: impl Iterator<Item = &'a ZoneSetup>) {
        let places = Places::of(zones);
        let wanted: HashSet<PathBuf> = places.folders().map(Path::to_owned).collect();
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&wanted) {
            // One that is gone is not watched any more.
            let _ = watcher.unwatch(gone);
        }
        self.watched.retain(|folder| wanted.contains(folder));
        // After an event about a folder itself nobody knows whether its watch holds.
        if !self.all_watched.load(Ordering::Relaxed) {
            self.watched.drain().for_each(|folder| drop(watcher.unwatch(&folder)));
        }
        let mut failed = None;
        for folder in wanted {
            if self.watched.contains(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder)),
                Err(error) => failed = Some((folder, error)),
            }
        }
        if let Some((folder, error)) = &failed {
            tracing::info!(folder = %folder.display(), %error, "the folder is not watched; its files are looked at in turn");
        }
        self.all_watched.store(failed.is_none(), Ordering::Relaxed);
    }
}

/// Which file is whose.
#[derive(Debug, Default)]
struct Places {
    zone_files: HashMap<PathBuf, Vec<Name>>,
    /// The zones of each key folder, by the zone as it stands in names of key files.
    key_folders: HashMap<PathBuf, HashMap<String, Name>>,
}

/// What came of an event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    changed: Vec<Changed>,
    /// A folder itself was moved or removed.
    lost_folder: bool,
}

impl Places {
    fn of<'a>(zones: impl Iterator<Item = &'a ZoneSetup>) -> Self {
        let mut places = Self::default();
        for setup in zones {
            if let Some(file) = setup.source.file() {
                places.zone_files.entry(file.to_owned()).or_default().push(setup.name.clone());
            }
            let keys = places.key_folders.entry(setup.key_directory.clone()).or_default();
            keys.insert(setup.name.file_name().to_ascii_lowercase(), setup.name.clone());
        }
        places
    }

    fn folders(&self) -> impl Iterator<Item = &Path> {
        let of_files = self.zone_files.keys().filter_map(|file| file.parent());
        of_files.chain(self.key_folders.keys().map(PathBuf::as_path))
    }

    /// The zones that an event is about. Reading is no change; our own reading least of all.
    fn changed(&self, event: &notify::Result<Event>) -> Found {
        let Ok(event) = event else { return Found { changed: vec![Changed::Anything], lost_folder: false } };
        if event.need_rescan() {
            return Found { changed: vec![Changed::Anything], lost_folder: false };
        }
        let is_change = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        };
        let mut found = Found::default();
        for path in event.paths.iter().filter(|_| is_change) {
            if let EventKind::Remove(_) | EventKind::Modify(notify::event::ModifyKind::Name(_)) = event.kind
                && self.folders().any(|folder| folder == path)
            {
                found.lost_folder = true;
            }
            found.changed.extend(self.zone_files.get(path).into_iter().flatten().cloned().map(Changed::Zone));
            found.changed.extend(self.zone_of_key_file(path).cloned().map(Changed::Zone));
        }
        found
    }

    fn zone_of_key_file(&self, path: &Path) -> Option<&Name> {
        let zones = self.key_folders.get(path.parent()?)?;
        // K<zone>+<AAA>+<TTTTT>.<suffix>
        let (head, _) = path.file_name()?.to_str()?.split_once('+')?;
        zones.get(&head.strip_prefix(['K', 'k'])?.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, ModifyKind, RemoveKind, RenameMode};

    use super::*;

    fn places() -> Places {
        let name = |text: &str| Name::parse(text).unwrap();
        Places {
            zone_files: HashMap::from([
                ("/text/a".into(), vec![name("a.example."), name("A2.example.")]),
                ("/text/b".into(), vec![name("b.example.")]),
            ]),
            key_folders: HashMap::from([(
                "/keys".into(),
                HashMap::from([
                    ("a.example.".to_owned(), name("a.example.")),
                    ("b.example.".to_owned(), name("b.example.")),
                ]),
            )]),
        }
    }

    #[test]
    fn kind_111_an_event_names_the_zones_whose_files_it_is_about_and_no_others() {
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let (made, gone) = (EventKind::Create(CreateKind::File), EventKind::Remove(RemoveKind::File));
        let cases: [(EventKind, &str, &[&str], bool); 12] = [
            (close, "/text/b", &["b.example."], false),
            (written, "/text/b", &["b.example."], false),
            (to, "/text/a", &["a.example.", "A2.example."], false),
            (gone, "/text/b", &["b.example."], false),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), "/text/b", &[], false),
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), "/text/b", &[], false),
            (made, "/text/c", &[], false),
            (made, "/keys/Ka.example.+015+00001.private", &["a.example."], false),
            (to, "/keys/kB.EXAMPLE.+015+00001.state", &["b.example."], false),
            (made, "/keys/.Ka.example.+015+00001.key.abcdef.tmp", &[], false),
            (made, "/other/Ka.example.+015+00001.private", &[], false),
            (EventKind::Remove(RemoveKind::Folder), "/keys", &[], true),
        ];
        for (kind, path, zones, lost_folder) in cases {
            let changed = zones.iter().map(|zone| Changed::Zone(Name::parse(zone).unwrap())).collect();
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(places().changed(&Ok(event)), Found { changed, lost_folder }, "{kind:?} {path}");
        }
        for lost in
            [Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), Err(notify::Error::generic("x"))]
        {
            let all = Found { changed: vec![Changed::Anything], lost_folder: false };
            assert_eq!(places().changed(&lost), all);
        }
    }
}
