use std::fs;
use std::path::PathBuf;

use super::*;
use crate::catalog::Catalog;
use crate::catalog::taken::TakenVersion;
use crate::config::catalog::taken_path;
use crate::config::zone_files::InUse;
use crate::config::zone_files::memory::Program;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const MAIN: &str = "version = 1\nstate-dir = \"state\"\nzones-directory = \"zones.d\"\n\
    [policy.p]\noffline-ksk = true\nkeys = [{ role = \"ksk\", lifetime = 0, algorithm = 13 }, { role = \"zsk\", lifetime = 0, algorithm = 13 }]\n";
/// The zone that moves; each folder and catalog has another one that stays.
const ZONE: &str = "x.test.";

/// Where a zone is configured, and its `signing`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Main(&'static str),
    File(&'static str),
    /// The first letter of the catalog; the group of the zone is the word of its template.
    Catalog(char, &'static str),
}

use At::{Catalog as InCatalog, File, Main};

/// What lies in the folder of accepted SKRs.
#[derive(Debug, Clone, Copy)]
enum Skr {
    Accepted,
    None,
    /// It cannot be read.
    Unknown,
}

/// How the configuration is read after the zone has moved.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Look {
    Reload,
    /// The zone moved while no process ran.
    Restart,
    /// The same, and the catalog that had the zone is not configured any more.
    RestartWithoutCatalog,
}

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for folder in ["zones.d", "state/catalogs-taken", "state/accepted"] {
            fs::create_dir_all(site.path(folder)).unwrap();
        }
        for signing in ["online", "presigned", "unsigned"] {
            site.write(&format!("{signing}.toml"), &zone("{zone}", signing));
        }
        site.write("zones.d/stays.toml", &zone("stays.test.", "online"));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Configures the zone at one place alone.
    fn put(&self, at: At, catalogs: &[char]) {
        let mut main = MAIN.to_owned();
        for catalog in catalogs {
            main += &format!(
                "[[catalog]]\nzone = \"{catalog}.test\"\nfile = \"{catalog}.zone\"\n\
                 group-templates = {{ online = \"online.toml\", presigned = \"presigned.toml\", unsigned = \"unsigned.toml\" }}\n"
            );
        }
        if let Main(signing) = at {
            main += &zone(ZONE, signing);
        }
        self.write("main.toml", &main);
        match at {
            File(signing) => self.write("zones.d/x.toml", &zone(ZONE, signing)),
            Main(_) | InCatalog(..) if self.path("zones.d/x.toml").exists() => {
                fs::remove_file(self.path("zones.d/x.toml")).unwrap();
            }
            Main(_) | InCatalog(..) => {}
        }
        for letter in ['a', 'b'] {
            let mut kept = Catalog::default();
            kept.put(&name(&format!("stays-{letter}.test")), Some("online"), None);
            if let InCatalog(catalog, signing) = at
                && catalog == letter
            {
                kept.put(&name(ZONE), Some(signing), None);
            }
            let path = taken_path(&self.path("state"), &name(&format!("{letter}.test")));
            TakenVersion { catalog: kept, serial: 1 }.write(&path).unwrap();
        }
    }

    fn skr(&self, skr: Skr) {
        match skr {
            Skr::Accepted => {
                fs::create_dir(self.path("state/accepted/x.test.")).unwrap();
                self.write("state/accepted/x.test./current", "1");
            }
            Skr::None => {}
            Skr::Unknown => {
                fs::remove_dir(self.path("state/accepted")).unwrap();
                self.write("state/accepted", "no folder");
            }
        }
    }

    fn read(&self, in_use: InUse<'_>) -> Config {
        Config::load_without_bad_zone_files(&self.path("main.toml"), in_use, NOW)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    fn restart(&self, config: &Config) -> Config {
        config.remember_zone_files(Program::Loader).unwrap();
        self.read(InUse::Remembered(Program::Loader))
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn zone(name: &str, signing: &str) -> String {
    let digest = "3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000";
    let signer = format!("policy = \"p\"\ntrust-anchors = [\"{name} DS 1 13 2 {digest}\"]\n");
    let signer = if signing == "online" { signer } else { String::new() };
    format!("[[zone]]\nname = \"{name}\"\nsigning = \"{signing}\"\nfile = \"zone\"\n{signer}")
}

/// What is said of zones, each with the condition, the place, and what it begins with.
fn told(site: &Site, config: &Config) -> Vec<String> {
    let line = |condition: &str, finding: &PolicyFinding| {
        let file = finding.path.strip_prefix(site.0.path()).unwrap().display();
        let what = finding.what.split([':', ';']).next().unwrap();
        format!("{condition} at {file}:{}: {what}", finding.line)
    };
    let Some(errors) = config.zone_file_errors() else { return Vec::new() };
    let mut all: Vec<String> = errors.findings.iter().map(|finding| line("rejected", finding)).collect();
    for trouble in &errors.of_catalogs {
        let condition = format!("{:?} {} {}", trouble.kind, trouble.catalog, trouble.zones);
        all.extend(trouble.findings.iter().map(|finding| line(&condition, finding)));
    }
    all.sort();
    all
}

/// One move of a zone, and what is right then.
#[derive(Debug, Clone, Copy)]
struct Case {
    from: At,
    to: At,
    skr: Skr,
    is_kept: bool,
    look: Look,
}

impl Case {
    /// What is to be said. `in_use` is the number of zones of the catalog `a.test.` that were in use before the look.
    fn tells(self, is_kept: bool, in_use: usize) -> Vec<String> {
        let mut all = Vec::new();
        if self.look == Look::RestartWithoutCatalog {
            all.push(format!("Held a.test. 1 at main.toml:1: 1 of the {in_use} zones of the catalog a.test. are not in it any more (stays-a.test.)"));
        }
        match self.to {
            File(_) if is_kept => all.push(
                "rejected at main.toml:3: 1 zone(s) that are signed here are to be unsigned (x.test.)".to_owned(),
            ),
            InCatalog(to, _) if is_kept => all.push(format!(
                "Held {to}.test. 1 at main.toml:1: 1 zone(s) of the catalog {to}.test. would not be signed here any more (x.test.)"
            )),
            Main(_) | File(_) | InCatalog(..) => {}
        }
        all.sort();
        all
    }

    fn check(self, site: &Site, config: &Config, is_kept: bool, in_use: usize) {
        let at = if is_kept { self.from } else { self.to };
        let file = |name: String| Some(site.path(&name));
        let expected = match at {
            Main(signing) => (signing, None),
            File(signing) => (signing, file("zones.d/x.toml".to_owned())),
            InCatalog(catalog, signing) => (signing, file(format!("{signing}.toml#{catalog}.test.#x.test."))),
        };
        let found: Vec<_> = config.zones.iter().filter(|zone| zone.name == name(ZONE)).collect();
        let place = |zone: &ZoneConfig| zone.source.file().map(|file| file.to_path_buf());
        let found: Vec<_> = found.iter().map(|z| (z.versions.signing.as_str(), place(z))).collect();
        assert_eq!(found, [expected], "{self:?}");
        assert_eq!(told(site, config), self.tells(is_kept, in_use), "{self:?}");
        let mut held: Vec<String> = config.zone_files.held.iter().map(ToString::to_string).collect();
        held.sort();
        let other = (self.look == Look::RestartWithoutCatalog).then_some("stays-a.test.");
        let expected: Vec<&str> = other.into_iter().chain(is_kept.then_some("x.test.")).collect();
        assert_eq!(held, expected, "{self:?}");
    }

    fn run(self) {
        let site = Site::new();
        site.put(self.from, &['b', 'a']);
        let before = site.read(InUse::Remembered(Program::Loader));
        assert_eq!(told(&site, &before), [""; 0], "{self:?}");
        site.skr(self.skr);
        let catalogs: &[char] = if self.look == Look::RestartWithoutCatalog { &['b'] } else { &['b', 'a'] };
        site.put(self.to, catalogs);
        let after = match self.look {
            Look::Reload => site.read(InUse::Config(&before)),
            Look::Restart | Look::RestartWithoutCatalog => site.restart(&before),
        };
        // What is remembered of a zone is not read where the main file has it.
        self.check(&site, &after, self.is_kept, if matches!(self.to, Main(_)) { 1 } else { 2 });
        // The next look and the next restart find the same, and a release ends it.
        let in_use = if self.is_kept { 2 } else { 1 };
        self.check(&site, &site.read(InUse::Config(&after)), self.is_kept, in_use);
        let again = site.restart(&after);
        self.check(&site, &again, self.is_kept, in_use);
        if self.is_kept {
            release::write(&site.path("state"), &[name(ZONE)], NOW).unwrap();
            self.check(&site, &site.read(InUse::Config(&again)), false, in_use);
        }
    }
}

/// Of each place, whether a signed zone of a file, and one of a catalog, that goes there stays as it was: with an accepted SKR, with none, and where that is
/// not known.
const MOVES: [(At, [&str; 2]); 11] = [
    (File("online"), ["no no no", "no no no"]),
    (File("presigned"), ["no no no", "no no no"]),
    (File("unsigned"), ["kept no kept", "kept kept kept"]),
    (InCatalog('a', "online"), ["no no no", "no no no"]),
    (InCatalog('a', "presigned"), ["kept kept kept", "kept kept kept"]),
    (InCatalog('a', "unsigned"), ["kept kept kept", "kept kept kept"]),
    (InCatalog('b', "online"), ["no no no", "no no no"]),
    (InCatalog('b', "presigned"), ["kept kept kept", "kept kept kept"]),
    (InCatalog('b', "unsigned"), ["kept kept kept", "kept kept kept"]),
    (Main("online"), ["no no no", "no no no"]),
    (Main("unsigned"), ["no no no", "no no no"]),
];

fn run_all(look: Look) {
    for (to, kept) in MOVES {
        for (from, kept) in [File("online"), InCatalog('a', "online")].into_iter().zip(kept) {
            let is_possible = matches!((from, to), (InCatalog(..), Main(_) | File(_) | InCatalog('b', _)));
            if look == Look::RestartWithoutCatalog && !is_possible {
                continue;
            }
            for (skr, kept) in [Skr::Accepted, Skr::None, Skr::Unknown].into_iter().zip(kept.split(' ')) {
                Case { from, to, skr, is_kept: kept == "kept", look }.run();
            }
        }
    }
}

#[test]
fn a_reload_keeps_a_zone_signed_that_goes_between_files_and_catalogs_until_a_person_releases_it() {
    run_all(Look::Reload);
}

#[test]
fn a_restart_keeps_a_zone_signed_that_goes_between_files_and_catalogs_until_a_person_releases_it() {
    run_all(Look::Restart);
}

#[test]
fn a_restart_without_the_catalog_of_before_keeps_a_zone_signed_until_a_person_releases_it() {
    run_all(Look::RestartWithoutCatalog);
}

/// A start that cannot use what was remembered of a zone leaves it out, and serves it unsigned no more than any other.
#[test]
fn a_start_that_cannot_use_what_it_remembers_of_a_signed_zone_does_not_have_it_unsigned() {
    // Whether the zone was signed here before the start; where it is then; and whether it is left out.
    let cases = [
        ("online", File("unsigned"), Skr::Accepted, true),
        ("online", File("unsigned"), Skr::Unknown, true),
        ("online", File("unsigned"), Skr::None, false),
        ("online", File("presigned"), Skr::Accepted, false),
        ("online", File("online"), Skr::Accepted, false),
        ("online", InCatalog('a', "unsigned"), Skr::None, true),
        ("online", InCatalog('a', "online"), Skr::Accepted, false),
        ("unsigned", File("unsigned"), Skr::Accepted, false),
        ("unsigned", InCatalog('a', "unsigned"), Skr::Accepted, false),
    ];
    for (signing, to, skr, is_left_out) in cases {
        let case = (signing, to, skr);
        let site = Site::new();
        site.put(File(signing), &['a']);
        let before = site.read(InUse::Remembered(Program::Loader));
        before.remember_zone_files(Program::Loader).unwrap();
        // A key that this version does not know, as after a downgrade.
        let memory = fs::read(site.path("state/zone-files-loader")).unwrap();
        let memory = String::from_utf8(memory).unwrap();
        let at = memory.find("name = \"x.test.\"").unwrap();
        let file = memory[at..].replacen("file = ", "fiel = ", 1);
        site.write("state/zone-files-loader", &(memory[..at].to_owned() + &file));
        site.put(to, &['a']);
        site.skr(skr);
        let started = site.read(InUse::Remembered(Program::Loader));
        let looks = [site.read(InUse::Config(&started)), site.restart(&started), started];
        for config in &looks {
            let is_there = config.zones.iter().any(|zone| zone.name == name(ZONE));
            let left_out: Vec<_> = config.zone_files.left_out.iter().map(|left| &left.zone).collect();
            assert_eq!((is_there, left_out.len()), (!is_left_out, usize::from(is_left_out)), "{case:?}");
            let told = told(&site, config);
            let told =
                told.iter().any(|told| told.starts_with("rejected at zones.d/x.toml:1: the zone x.test. "));
            assert_eq!(told, is_left_out, "{case:?}");
        }
        release::write(&site.path("state"), &[name(ZONE)], NOW).unwrap();
        let released = site.read(InUse::Config(&looks[0]));
        let found = released.zones.iter().find(|zone| zone.name == name(ZONE)).unwrap();
        let (Main(word) | File(word) | InCatalog(_, word)) = to;
        assert_eq!((found.versions.signing.as_str(), told(&site, &released)), (word, Vec::new()), "{case:?}");
    }
}
