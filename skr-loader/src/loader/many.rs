//! A dropped file with the SKRs of several zones: each is judged, and accepted or rejected, on its own.
//!
//! ```text
//! all.skr ──split──▶ a.example ──▶ accepted/a.example/7.skr
//!                    b.example ──▶ rejected/all.skr.b.example + .reason
//!                    c.example ──▶ accepted/c.example/3.skr            all.skr leaves the inbox when each has its verdict
//! ```
//!
//! After a kill in the middle the file still lies there: what was accepted is `unchanged` then. Section by section, so that the memory
//! in use is that of the file and of one zone.

use keystore::check::CheckId;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use keystore::config::ZoneConfig;
use keystore::dns::Name;
use keystore::exchange::Finding;
use keystore::exchange::many::{self, Section};
use keystore::keys::files::{Folder, Found};
use keystore::store::digest;
use keystore::time::Timestamp;

use super::Loader;
use super::import::{Import, Outcome};
use crate::checks;
use crate::inbox::Dropped;

/// Octets of the file's name in the name of a rejected part; the zone comes behind it.
const NAME_OCTETS: usize = 48;

/// Key folders, each listed once for a file: a folder may hold the keys of all zones.
pub(crate) type Folders = HashMap<PathBuf, Option<Folder>>;

impl Loader {
    /// True when the file is to be split.
    pub(super) fn is_of_many(&self, file: &Dropped) -> bool {
        // Too many zones is for `import_many` to say.
        many::split_zones(&file.octets).map_or(true, |sections| sections.is_some())
    }

    /// Judges each section of the file.
    pub(super) fn import_many(&mut self, file: &Dropped, now: Timestamp, imports: &mut Vec<Import>) {
        let sections = match many::split_zones(&file.octets) {
            Ok(sections) => sections.unwrap_or_default(),
            Err(error) => {
                let findings = vec![Finding::reject(CheckId::SkrLimits, None, error.to_string())];
                imports.push(self.reject(file, None, findings, now, Instant::now()));
                return;
            }
        };
        let counts = many::count(&sections);
        let mut folders = Folders::new();
        let (mut good, mut bad) = (0usize, 0usize);
        self.inbox.take_part_kept();
        for (zone, section) in &sections {
            if self.is_stopping() {
                // A dropped file stays, and the next loader begins again; one that was handed over is only here.
                if file.order().is_some() {
                    let part = file.part(part_name(file, zone.as_ref(), section), section.octets);
                    let what = "skr-loader stops; import the file again".to_owned();
                    imports.push(Import {
                        file: crate::files::printable(&part.name),
                        digest: digest(&part.octets),
                        zone: zone.clone(),
                        forced: Vec::new(),
                        outcome: Outcome::Failed { what },
                    });
                    continue;
                }
                return;
            }
            let part = file.part(part_name(file, zone.as_ref(), section), section.octets);
            let sha256 = digest(&part.octets);
            if file.order().is_none() && self.rejected_parts.contains(&sha256) {
                continue;
            }
            let twice = zone.as_ref().and_then(|z| counts.get(&z.to_lowercase())).filter(|n| **n > 1);
            let import = self.import_part(&part, zone.as_ref(), twice.copied(), section, &mut folders, now);
            match import.outcome {
                Outcome::Rejected { .. } => bad += 1,
                Outcome::Accepted { .. } | Outcome::Unchanged { .. } => good += 1,
                Outcome::Failed { .. } => {}
            }
            imports.push(import);
        }
        let name = crate::files::printable(&file.name);
        // Now, as the file itself goes only when each part has its place.
        self.clear();
        if self.inbox.take_part_kept() {
            tracing::error!(
                file = name,
                "some of its zones could not be dealt with; the file is tried again"
            );
            self.inbox.put_back(file, now);
            return;
        }
        tracing::info!(
            file = name,
            zones = sections.len(),
            accepted = good,
            rejected = bad,
            "file of several zones done"
        );
        if file.order().is_none() {
            self.rejected_parts.clear();
        }
        self.take_out(file, None);
    }

    fn import_part(
        &mut self,
        part: &Dropped,
        zone: Option<&Name>,
        twice: Option<usize>,
        section: &Section<'_>,
        folders: &mut Folders,
        now: Timestamp,
    ) -> Import {
        let started = Instant::now();
        if let Some(n) = twice {
            let ours = zone.and_then(|zone| self.zones.get_key_value(zone)).map(|(name, _)| name.clone());
            let findings = vec![checks::several_parts(n)];
            return self.reject(part, ours, findings, now, started);
        }
        match self.parse(part) {
            Ok((zone, skr)) => {
                let keys = keys_in(folders, &self.zones[&zone].config);
                self.judge(&zone, skr, part, &keys, now)
            }
            Err((zone, mut finding)) => {
                finding.what = format!("{} (in the part that begins at line {})", finding.what, section.line);
                self.reject(part, zone, vec![finding], now, started)
            }
        }
    }
}

/// The keys of the zone; a folder that cannot be read has none, and says why.
pub(crate) fn keys_in(folders: &mut Folders, config: &ZoneConfig) -> Found {
    let dir = &config.key_directory;
    let folder = folders.entry(dir.clone()).or_insert_with(|| Folder::scan(dir).ok());
    folder.as_ref().map_or_else(|| super::import::keys_of(config), |folder| folder.find_sealed(&config.name))
}

/// `<file>.<zone>`, or the line where there is no zone.
fn part_name(file: &Dropped, zone: Option<&Name>, section: &Section<'_>) -> OsString {
    let name = crate::files::printable(&file.name);
    let name: String = name.chars().take(NAME_OCTETS).collect();
    match zone {
        Some(zone) => format!("{name}.{}", zone.to_lowercase().to_string().trim_end_matches('.')).into(),
        None => format!("{name}.line-{}", section.line).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use keystore::config::Config;
    use keystore::crypto::PrivateKey;
    use keystore::exchange::testing::{SkrBuilder, TestKey};
    use keystore::keys::{KeyFile, Timing};
    use metrics::Metrics;

    use super::*;
    use crate::testing::{StateDir, ZSK, start};

    struct Bench {
        state: StateDir,
        loader: Loader,
        now: Timestamp,
    }

    impl Bench {
        /// A loader for these zones, with the ZSK of each in one folder.
        fn new(zones: &[&str]) -> Self {
            let state = StateDir::new();
            let config = state.config();
            let zone = |name: &&str| ZoneConfig {
                name: Name::parse(name).unwrap(),
                key_directory: state.path("keys"),
                ..config.zones[0].clone()
            };
            let zones: Vec<ZoneConfig> = zones.iter().map(zone).collect();
            for zone in &zones {
                let (dnskey, dir) = (TestKey::zsk(ZSK).dnskey, zone.key_directory.clone());
                let (timing, state) = (Timing::default(), None);
                let key = KeyFile { zone: zone.name.clone(), ttl: 3600, dnskey, timing, state, dir };
                key.write(&PrivateKey::Raw(vec![ZSK; 32])).unwrap();
            }
            let loader = Loader::new(Config { zones, ..config }, Metrics::new().unwrap()).unwrap();
            Self { state, loader, now: start() }
        }

        fn import(&mut self, name: &str, text: &str) -> Vec<Import> {
            fs::write(self.state.path("aside"), text).unwrap();
            fs::rename(self.state.path("aside"), self.state.path("inbox").join(name)).unwrap();
            let mut imports = Vec::new();
            for _ in 0..3 {
                // By far later than the file was written, whatever the clock says.
                self.now = self.now.plus(61);
                imports.extend(self.loader.step(self.now).imports);
            }
            imports
        }

        fn rejected(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(self.state.path("rejected"))
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort_unstable();
            names
        }

        fn inbox_is_empty(&self) -> bool {
            fs::read_dir(self.state.path("inbox")).unwrap().next().is_none()
        }
    }

    fn skr(zone: &str) -> String {
        SkrBuilder::new(zone, start()).text()
    }

    /// The zone of each import and what became of it: its generation, or the first ID.
    fn told(imports: &[Import]) -> Vec<(String, String)> {
        let outcome = |outcome: &Outcome| match outcome {
            Outcome::Accepted { generation, .. } => format!("accepted {generation}"),
            Outcome::Unchanged { generation } => format!("unchanged {generation}"),
            Outcome::Rejected { findings } => findings[0].id.to_string(),
            Outcome::Failed { what } => what.clone(),
        };
        let zone = |zone: &Option<Name>| zone.as_ref().map_or_else(|| "?".to_owned(), Name::to_string);
        imports.iter().map(|i| (zone(&i.zone), outcome(&i.outcome))).collect()
    }

    fn pairs(want: &[(&str, &str)]) -> Vec<(String, String)> {
        want.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_bad_zone_hinders_no_good_one() {
        let mut bench = Bench::new(&["a.example.", "b.example.", "c.example."]);
        let mut other = skr("b.example.");
        // Another key than the one that signed.
        let at = other.find("DNSKEY\t").unwrap();
        other.replace_range(at..at + 10, "DNSKEY\t256");
        let all = format!("{}{other}{}{}", skr("a.example."), skr("c.example."), skr("x.example."));
        let imports = bench.import("all.skr", &all);
        let want = told(&imports);
        assert_eq!(want[0], ("a.example.".to_owned(), "accepted 1".to_owned()));
        assert_eq!((want[1].0.as_str(), want[1].1.starts_with("SKR-")), ("b.example.", true), "{want:?}");
        assert_eq!(want[2..], pairs(&[("c.example.", "accepted 1"), ("?", "SKR-WRONG-ZONE")]));
        assert_eq!(
            bench.rejected(),
            [
                "all.skr.b.example",
                "all.skr.b.example.reason",
                "all.skr.x.example",
                "all.skr.x.example.reason"
            ]
        );
        let kept = fs::read_to_string(bench.state.path("rejected").join("all.skr.b.example")).unwrap();
        assert_eq!(kept, other, "the part alone");
        assert!(bench.inbox_is_empty());
        for zone in ["a.example.", "c.example."] {
            assert!(bench.loader.in_force(&Name::parse(zone).unwrap()).is_some());
        }
        // Once more: nothing new.
        let again = bench.import("again.skr", &format!("{}{}", skr("a.example."), skr("c.example.")));
        assert_eq!(told(&again), pairs(&[("a.example.", "unchanged 1"), ("c.example.", "unchanged 1")]));
    }

    #[test]
    fn parts_that_are_no_whole_skr() {
        let mut bench = Bench::new(&["a.example.", "b.example.", "c.example."]);
        let (a, b, c) = (skr("a.example."), skr("b.example."), skr("c.example."));
        let (twice, cut) = (format!("{a}{b}{a}"), &c[..c.len() / 2]);
        let imports = bench.import("twice.skr", &twice);
        let want = [("a.example.", "SKR-SYNTAX"), ("b.example.", "accepted 1"), ("a.example.", "SKR-SYNTAX")];
        assert_eq!(told(&imports)[..2], pairs(&want)[..2]);
        // The first of them is good by itself, and still not taken.
        assert!(bench.loader.in_force(&Name::parse("a.example.").unwrap()).is_none());
        let imports = bench.import("cut.skr", &format!("{a}{cut}"));
        let [(_, first), (zone, second)] = &told(&imports)[..] else { panic!("{imports:?}") };
        assert_eq!((first.as_str(), zone.as_str()), ("accepted 1", "c.example."));
        assert!(["SKR-TRUNCATED", "SKR-SYNTAX"].contains(&second.as_str()), "{second}");
        let Outcome::Rejected { findings } = &imports[1].outcome else { panic!("{imports:?}") };
        let line = a.lines().count() + 1;
        assert!(findings[0].what.contains(&format!("begins at line {line}")), "{}", findings[0].what);
    }

    #[test]
    fn two_zones_of_one_key_file_folder_are_not_mixed() {
        let mut bench = Bench::new(&["a.example.", "b.example."]);
        fs::remove_file(
            bench
                .state
                .path("keys")
                .join(format!("Kb.example.+015+{:05}.private", TestKey::zsk(ZSK).dnskey.tag())),
        )
        .unwrap();
        let imports = bench.import("all.skr", &format!("{}{}", skr("a.example."), skr("b.example.")));
        assert_eq!(
            told(&imports),
            pairs(&[("a.example.", "accepted 1"), ("b.example.", "SKR-NO-PRIVATE-KEY")])
        );
    }
}
