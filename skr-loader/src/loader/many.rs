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

use std::ffi::OsString;

use keystore::store::digest;
use keystore::time::Timestamp;

use super::Loader;
use super::import::{Import, ImportOutcome};
use crate::files::printable;
use crate::inbox::Dropped;
use crate::judge::{self, Content, Part, Sources};

/// Octets of the file's name in the name of a rejected part; the zone comes behind it.
const NAME_OCTETS: usize = 48;

impl Loader {
    /// Judges each part of the file.
    pub(super) fn import_many(
        &mut self,
        file: &Dropped,
        sources: &mut Sources,
        now: Timestamp,
        imports: &mut Vec<Import>,
    ) {
        // The caller has split it before.
        let Ok(Content::Many(parts)) = judge::split(&file.octets) else { return };
        let (mut good, mut bad) = (0usize, 0usize);
        self.forget_rejected_parts(file);
        self.inbox.take_part_kept();
        for part in &parts {
            let dropped = file.part(part_name(file, part), part.octets);
            if self.is_stopping() {
                // A dropped file stays, and the next loader begins again; one that was handed over is only here.
                if file.order().is_none() {
                    return;
                }
                let what = "skr-loader stops; import the file again".to_owned();
                imports.push(Import::failed(&dropped, part.zone.clone(), what));
                continue;
            }
            if self.is_rejected_part(&dropped) {
                bad += 1;
                continue;
            }
            let import = match part.read(|zone| self.ours(zone)) {
                Ok(candidate) => self.judge(candidate, &dropped, sources, now),
                Err(unread) => self.reject_unread(&dropped, unread.zone, unread.finding, now),
            };
            match import.outcome {
                ImportOutcome::Rejected { .. } => bad += 1,
                ImportOutcome::Accepted { .. } | ImportOutcome::Unchanged { .. } => good += 1,
                ImportOutcome::Failed { .. } => {}
            }
            imports.push(import);
        }
        let name = printable(&file.name);
        // Now, as the file itself goes only when each part has its place.
        self.clear();
        if self.inbox.take_part_kept() {
            let what = "some of its zones could not be dealt with; the file is tried again";
            tracing::error!(file = name, "{what}");
            self.inbox.try_again(file, what, now);
            return;
        }
        tracing::info!(
            file = name,
            zones = parts.len(),
            accepted = good,
            rejected = bad,
            "file of several zones done"
        );
        if let Some(whole) = file.in_this_state() {
            self.rejected_parts.remove(&whole);
        }
        self.take_out(file, None);
    }

    /// True when this part of this very file was rejected before, while the rest of the file waited.
    fn is_rejected_part(&self, part: &Dropped) -> bool {
        let parts = part.part_of().and_then(|whole| self.rejected_parts.get(whole));
        parts.is_some_and(|parts| parts.contains(&digest(&part.octets)))
    }

    /// Forgets the rejected parts of files that are gone, and of `file` as it was before it changed.
    fn forget_rejected_parts(&mut self, file: &Dropped) {
        let Some(now) = file.in_this_state() else { return };
        let dir = self.inbox.dir();
        self.rejected_parts.retain(|whole, _| {
            *whole == now || (whole.name != now.name && dir.join(&whole.name).symlink_metadata().is_ok())
        });
    }
}

/// `<file>.<zone>`, or the line where there is no zone.
fn part_name(file: &Dropped, part: &Part<'_>) -> OsString {
    let name: String = printable(&file.name).chars().take(NAME_OCTETS).collect();
    match &part.zone {
        Some(zone) => format!("{name}.{}", zone.to_lowercase().to_string().trim_end_matches('.')).into(),
        None => format!("{name}.line-{}", part.line).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use keystore::config::{Config, ZoneConfig};
    use keystore::crypto::PrivateKey;
    use keystore::dns::Name;
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
        let outcome = |outcome: &ImportOutcome| match outcome {
            ImportOutcome::Accepted { generation, .. } => format!("accepted {generation}"),
            ImportOutcome::Unchanged { generation } => format!("unchanged {generation}"),
            ImportOutcome::Rejected { findings } => findings[0].id.to_string(),
            ImportOutcome::Failed { what } => what.clone(),
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

    /// A part that was rejected is passed over only when the rest of the very file is tried again.
    #[test]
    fn a_part_that_was_rejected_in_one_file_is_judged_in_another() {
        type Mend = fn(&mut Bench, &str);
        let cases: [(&str, Mend); 3] = [
            ("in another file", |bench, text| drop_now(bench, "other.skr", text)),
            ("in a file of that name", |bench, text| drop_now(bench, "all.skr", text)),
            ("after a reload", |bench, _| {
                bench.loader.reload(bench.loader.config().clone(), bench.now).unwrap()
            }),
        ];
        for (what, mend) in cases {
            let mut bench = Bench::new(&["a.example.", "b.example.", "c.example."]);
            let key = format!("Kb.example.+015+{:05}.private", TestKey::zsk(ZSK).dnskey.tag());
            let key = bench.state.path("keys").join(key);
            let away = bench.state.path("away");
            fs::rename(&key, &away).unwrap();
            // The part of c.example cannot be dealt with.
            let store = bench.state.path("accepted/c.example.");
            fs::write(&store, "in the way").unwrap();
            let all = format!("{}{}{}", skr("a.example."), skr("b.example."), skr("c.example."));
            let first = told(&bench.import("all.skr", &all));
            let rejected =
                |told: &[(String, String)]| told.iter().filter(|(_, t)| t.starts_with("SKR-")).count();
            assert_eq!(rejected(&first), 1, "{what}: once, however often the rest is tried: {first:?}");
            fs::rename(&away, &key).unwrap();
            mend(&mut bench, &format!("{}{}", skr("a.example."), skr("b.example.")));
            let mut imports = Vec::new();
            for _ in 0..3 {
                bench.now = bench.now.plus(61);
                imports.extend(bench.loader.step(bench.now).imports);
            }
            let wanted = ("b.example.".to_owned(), "accepted 1".to_owned());
            assert!(told(&imports).contains(&wanted), "{what}: {:?}", told(&imports));
            fs::remove_file(&store).unwrap();
            for _ in 0..3 {
                bench.now = bench.now.plus(61);
                bench.loader.step(bench.now);
            }
            assert!(bench.inbox_is_empty(), "{what}");
            assert!(bench.loader.rejected_parts.is_empty(), "{what}: nothing is kept of files that are gone");
        }
    }

    fn drop_now(bench: &mut Bench, name: &str, text: &str) {
        fs::write(bench.state.path("aside"), text).unwrap();
        fs::rename(bench.state.path("aside"), bench.state.path("inbox").join(name)).unwrap();
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
        let ImportOutcome::Rejected { findings } = &imports[1].outcome else { panic!("{imports:?}") };
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
