//! The files of the reports: written by the one component, read by everybody.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::durable;
use keystore::open::{self, Links, OpenError};

use super::{Component, ComponentReport, FOLDER, HEARTBEAT, VERSION, ZoneReports};

/// Largest file that is read, in octets.
const MAX_OCTETS: u64 = 64 << 20;

/// The file of a component.
#[must_use]
pub fn path(state_dir: &Path, component: Component) -> PathBuf {
    state_dir.join(FOLDER).join(format!("{}.json", component.as_str()))
}

fn zones_path(state_dir: &Path, component: Component) -> PathBuf {
    state_dir.join(FOLDER).join(format!("{}.zones.json", component.as_str()))
}

/// Writes the files of one component, when there is something new to write.
#[derive(Debug)]
pub struct Writer {
    state_dir: PathBuf,
    component: Component,
    report: Option<ComponentReport>,
    zones: Option<Arc<ZoneReports>>,
    news: u64,
}

impl Writer {
    /// Writes for `component` from the first [`Self::write`] on.
    #[must_use]
    pub fn new(state_dir: &Path, component: Component) -> Self {
        Self { state_dir: state_dir.to_owned(), component, report: None, zones: None, news: 0 }
    }

    /// True when this says something else than what was written last of what somebody may have to act on. Serials, times that were moved on
    /// and the work under way are nothing of the kind: with many zones some of them change all the time.
    #[must_use]
    pub fn is_news(&self, report: &ComponentReport, zones: &Arc<ZoneReports>) -> bool {
        !self.report.as_ref().is_some_and(|before| before.says_the_same(&self.counted(report)))
            || self.zones_are_news(zones)
    }

    /// The report with the news so far.
    fn counted(&self, report: &ComponentReport) -> ComponentReport {
        ComponentReport { news: self.news, ..report.clone() }
    }

    fn zones_are_news(&self, zones: &Arc<ZoneReports>) -> bool {
        let same_zones = |before: &Arc<ZoneReports>| {
            let mut pairs = before.iter().zip(&**zones);
            Arc::ptr_eq(before, zones)
                || before.len() == zones.len()
                    && pairs.all(|((a, before), (b, now))| a == b && before.is_alike(now))
        };
        !self.zones.as_ref().is_some_and(same_zones)
    }

    /// Writes what is new. An error is one of the file system; the next call tries again.
    pub fn write(&mut self, report: &ComponentReport, zones: &Arc<ZoneReports>) -> std::io::Result<()> {
        let folder = self.state_dir.join(FOLDER);
        if !folder.is_dir() {
            durable::create_dir_durable(&folder, 0o755)?;
        }
        let is_written = |before: &Arc<ZoneReports>| Arc::ptr_eq(before, zones) || before == zones;
        let news = self.zones_are_news(zones);
        if !self.zones.as_ref().is_some_and(is_written) {
            durable::write(
                &zones_path(&self.state_dir, self.component),
                &serde_json::to_vec(&**zones)?,
                0o644,
            )?;
            self.zones = Some(Arc::clone(zones));
            self.news += u64::from(news);
        }
        let report = &self.counted(report);
        let is_due = |before: &ComponentReport| {
            report.written.since(before.written) >= HEARTBEAT
                || report.written < before.written
                || !before.says_the_same(report)
        };
        if self.report.as_ref().is_none_or(is_due) {
            durable::write(&path(&self.state_dir, self.component), &serde_json::to_vec(report)?, 0o644)?;
            self.report = Some(report.clone());
        }
        Ok(())
    }
}

impl Drop for Writer {
    /// Says by the missing file that the component has ended.
    fn drop(&mut self) {
        if self.report.is_some() {
            // One that cannot be removed grows old, which says the same later.
            let _ = durable::remove(&path(&self.state_dir, self.component));
        }
    }
}

/// The files of a component as they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundReport {
    /// There is none: the component does not run, or never did.
    Nothing,
    /// It cannot be read, and why.
    Unreadable(String),
    /// What it says. Whether that is fresh is [`ComponentReport::is_fresh`].
    Read(Box<ComponentReport>, ZoneReports),
}

/// Reads the files of a component.
#[must_use]
pub fn read(state_dir: &Path, component: Component) -> FoundReport {
    let report = match read_report(state_dir, component) {
        Ok(Some(report)) => report,
        Ok(None) => return FoundReport::Nothing,
        Err(error) => return FoundReport::Unreadable(error.to_string()),
    };
    match read_json(&zones_path(state_dir, component)) {
        Ok(zones) => FoundReport::Read(Box::new(report), zones.unwrap_or_default()),
        Err(error) => FoundReport::Unreadable(error.to_string()),
    }
}

/// Reads the report of a component without what it says of single zones; `None` when there is none.
pub(in crate::health) fn read_report(
    state_dir: &Path,
    component: Component,
) -> Result<Option<ComponentReport>, ReadError> {
    let path = path(state_dir, component);
    let Some(report) = read_json::<serde_json::Value>(&path)? else { return Ok(None) };
    // First of all: nothing else of another form is known.
    match &report["version"] {
        version if *version == VERSION => {}
        serde_json::Value::Null => return Err(ReadError::NoVersion { path }),
        version => return Err(ReadError::OtherVersion { path, version: version.to_string() }),
    }
    let report: ComponentReport =
        serde_json::from_value(report).map_err(|source| ReadError::Json { path: path.clone(), source })?;
    if report.component != component {
        return Err(ReadError::OtherComponent { path, component: report.component.as_str() });
    }
    Ok(Some(report))
}

/// Error of reading a file that a component has written.
#[derive(Debug, thiserror::Error)]
pub(in crate::health) enum ReadError {
    #[error("{path}: {source}", path = path.display())]
    Open { path: PathBuf, source: OpenError },
    #[error("{path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}", path = path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{path}: says no version", path = path.display())]
    NoVersion { path: PathBuf },
    #[error("{path}: is of version {version} of this form, and this program reads version {VERSION}: it was written by another version of the program", path = path.display())]
    OtherVersion { path: PathBuf, version: String },
    #[error("{path}: is of another component, {component}", path = path.display())]
    OtherComponent { path: PathBuf, component: &'static str },
}

/// Reads one of the files; `None` when it is not there.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ReadError> {
    let named = || path.to_owned();
    let file = match open::for_reading(path, Links::Refuse) {
        Ok((file, _)) => file,
        Err(OpenError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReadError::Open { path: named(), source }),
    };
    let mut octets = Vec::new();
    let read = file.take(MAX_OCTETS).read_to_end(&mut octets);
    read.map_err(|source| ReadError::Read { path: named(), source })?;
    serde_json::from_slice(&octets).map(Some).map_err(|source| ReadError::Json { path: named(), source })
}

#[cfg(test)]
mod tests {
    use keystore::time::Timestamp;

    use super::*;
    use crate::health::report::{ServedReport, SignerWork, TimerLook, ZoneReport};

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn report_reads_back_and_its_file_goes_with_the_writer() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut zones = ZoneReports::new();
        zones.insert(
            "example.".to_owned(),
            ZoneReport {
                served: Some(ServedReport {
                    loaded: true,
                    zsk_expires: Some(at(9)),
                    ..ServedReport::default()
                }),
                ..ZoneReport::default()
            },
        );
        let zones = Arc::new(zones);
        let mut writer = Writer::new(dir.path(), Component::Signer);
        assert_eq!(read(dir.path(), Component::Signer), FoundReport::Nothing);
        let report = ComponentReport::new(Component::Signer, at(0), at(1));
        writer.write(&report, &zones).expect("written");
        let FoundReport::Read(read_back, zones_back) = read(dir.path(), Component::Signer) else {
            panic!("not read")
        };
        assert!(read_back.says_the_same(&ComponentReport { news: 1, ..report.clone() }), "{read_back:?}");
        assert_eq!((read_back.written, &zones_back), (report.written, &*zones));
        // The same again is written after the heartbeat only.
        for (written, wanted) in [(at(2), at(1)), (at(1).plus(HEARTBEAT), at(1).plus(HEARTBEAT))] {
            writer.write(&ComponentReport { written, ..report.clone() }, &zones).expect("written");
            let FoundReport::Read(read_back, _) = read(dir.path(), Component::Signer) else {
                panic!("not read")
            };
            assert_eq!(read_back.written, wanted);
        }
        drop(writer);
        assert_eq!(read(dir.path(), Component::Signer), FoundReport::Nothing);
    }

    #[test]
    fn kind_111_what_changes_all_the_time_is_no_news_and_what_somebody_may_act_on_is() {
        let served = ServedReport {
            loaded: true,
            validly_signed: true,
            generation: 1,
            serial: 7,
            ..ServedReport::default()
        };
        let timer = Some(TimerLook::default());
        let zone = ZoneReport { served: Some(served.clone()), timer, ..ZoneReport::default() };
        let cases: [(&str, ZoneReport, bool); 8] = [
            ("nothing", zone.clone(), false),
            ("serial", with(&zone, |served| served.serial = 8), false),
            ("signatures", with(&zone, |served| served.zsk_expires = Some(at(9))), false),
            ("work", with(&zone, |served| served.work = Some(SignerWork::Signing(40))), false),
            ("unsigned", with(&zone, |served| served.validly_signed = false), true),
            ("a generation", with(&zone, |served| served.generation = 2), true),
            ("no signer", ZoneReport { served: None, ..zone.clone() }, true),
            (
                "timer",
                ZoneReport {
                    timer: Some(TimerLook { error: Some("x".to_owned()), ..TimerLook::default() }),
                    ..zone.clone()
                },
                true,
            ),
        ];
        for (what, now, is_news) in cases {
            let dir = tempfile::tempdir().expect("a folder");
            let mut writer = Writer::new(dir.path(), Component::Signer);
            let report = ComponentReport::new(Component::Signer, at(0), at(1));
            let zones =
                |zone: &ZoneReport| Arc::new(ZoneReports::from([("example.".to_owned(), zone.clone())]));
            assert!(writer.is_news(&report, &zones(&zone)), "{what}: the first");
            writer.write(&report, &zones(&zone)).expect("written");
            assert_eq!(
                writer.is_news(&ComponentReport { written: at(2), ..report }, &zones(&now)),
                is_news,
                "{what}"
            );
        }
    }

    fn with(zone: &ZoneReport, change: impl FnOnce(&mut ServedReport)) -> ZoneReport {
        let mut zone = zone.clone();
        zone.served.as_mut().map(change);
        zone
    }

    #[test]
    fn damaged_foreign_and_linked_files_are_unreadable_and_never_nothing() {
        type Harm = fn(&Path);
        let harms: [(&str, &str, Harm); 7] = [
            ("newer", "is of version 99", |p| {
                std::fs::write(p, "{\"version\":99,\"parts\":[]}").expect("written");
            }),
            ("no version", "says no version", |p| std::fs::write(p, "[]").expect("written")),
            ("cut", "EOF", |p| std::fs::write(p, "{\"version\":1").expect("written")),
            ("another version", "is of version 2", |p| {
                let text = std::fs::read_to_string(p).expect("read");
                std::fs::write(p, text.replace("\"version\":1", "\"version\":2")).expect("written");
            }),
            ("another component", "of another component, probe", |p| {
                let text = std::fs::read_to_string(p).expect("read");
                std::fs::write(p, text.replace("\"signer\"", "\"probe\"")).expect("written");
            }),
            ("link", "symbolic link", |p| {
                std::fs::rename(p, p.with_extension("x")).expect("moved");
                std::os::unix::fs::symlink(p.with_extension("x"), p).expect("linked");
            }),
            ("zones cut", "EOF", |p| std::fs::write(p.with_extension("zones.json"), "{").expect("written")),
        ];
        for (what, says, harm) in harms {
            let dir = tempfile::tempdir().expect("a folder");
            let mut writer = Writer::new(dir.path(), Component::Signer);
            writer
                .write(&ComponentReport::new(Component::Signer, at(0), at(1)), &Arc::default())
                .expect("written");
            harm(&path(dir.path(), Component::Signer));
            let found = read(dir.path(), Component::Signer);
            let FoundReport::Unreadable(said) = found else { panic!("{what}: {found:?}") };
            assert!(said.contains(says), "{what}: {said}");
        }
    }
}
