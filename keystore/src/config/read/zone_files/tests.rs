use std::fs;

use super::*;
use crate::config::ConfigErrors;
use crate::config::zone_files::memory::Program;
use crate::config::zone_files::{InUse, release};
use crate::removal_limit::REMOVAL_WINDOW;

const MAIN: &str = "version = 1\nstate-dir = \"state\"\nzones-directory = \"zones.d\"\n\
    [policy.p]\noffline-ksk = true\nkeys = [{ role = \"ksk\", lifetime = 0, algorithm = 13 }, { role = \"zsk\", lifetime = 0, algorithm = 13 }]\n";

const START: InUse<'static> = InUse::Remembered(Program::Loader);
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        fs::create_dir(site.path("zones.d")).unwrap();
        site.write("main.toml", MAIN);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn strict(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.path("main.toml"))
    }

    fn around(&self, in_use: Option<&Config>) -> Config {
        self.at(in_use, NOW)
    }

    fn at(&self, in_use: Option<&Config>, now: Timestamp) -> Config {
        let in_use = in_use.map_or(START, InUse::Config);
        Config::load_without_bad_zone_files(&self.path("main.toml"), in_use, now)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// What a start finds after a process has worked with `config`.
    fn restart(&self, config: &Config) -> Config {
        fs::create_dir_all(&config.state_dir).unwrap();
        config.remember_zone_files(Program::Loader).unwrap();
        self.around(None)
    }

    fn main_with(&self, more: &str) -> Result<Config, ConfigErrors> {
        self.write("main.toml", &format!("{MAIN}{more}"));
        Config::load_without_bad_zone_files(&self.path("main.toml"), START, NOW)
    }
}

fn zone(name: &str, more: &str) -> String {
    let ds = "3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000";
    format!(
        "[[zone]]\nname = \"{name}\"\npolicy = \"p\"\ntrust-anchors = [\"{name}. DS 1 13 2 {ds}\"]\n{more}"
    )
}

fn names(config: &Config) -> Vec<String> {
    config.zones.iter().map(|zone| zone.name.to_string()).collect()
}

fn said(config: &Config) -> String {
    config.zone_file_errors().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn files_are_read_by_name_and_paths_are_meant_from_their_folder() {
    let site = Site::new();
    assert_eq!(names(&site.strict().unwrap()), [""; 0], "a folder without files is no error");
    site.write("zones.d/b.toml", &zone("b.example", "file = \"b.zone\"\n"));
    site.write("zones.d/a.toml", &(zone("a1.example", "") + &zone("a2.example", "")));
    for ignored in [".c.toml", "c.toml~", "c.txt", "toml"] {
        site.write(&format!("zones.d/{ignored}"), "nonsense");
    }
    let config = site.strict().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(names(&config), ["a1.example.", "a2.example.", "b.example."]);
    assert_eq!(config.zones[2].file, Some(site.path("zones.d/b.zone")));
    assert_eq!(config.zones[2].key_directory, site.path("state/keys"));
    assert_eq!(config.zones[2].source, ZoneSource::ZoneFile(site.path("zones.d/b.toml").into()));
    assert_eq!(site.around(None), config);
    // Beside zones of the main file, which other tables may name as well as those of the folder.
    let more = zone("m.example", "") + "[probe]\nzones = [\"m.example\", \"b.example\"]\n";
    assert_eq!(names(&site.main_with(&more).unwrap())[0], "m.example.");
}

#[test]
fn a_zone_file_with_an_error_keeps_its_zones_as_they_were_and_all_else_is_taken() {
    let two = zone("a1.example", "") + &zone("a2.example", "");
    let broken: &[(&str, &str)] = &[
        ("", "zone is missing"),
        ("[[zone]]\nname = \"a1.example\"\n", "a.toml:1: zone[1]: policy is missing"),
        ("[[zone]\n", "a.toml:1: no TOML"),
        ("zone = []\n", "no zone is configured"),
        ("\u{0}", "no TOML"),
    ];
    let mut broken: Vec<(String, &str)> =
        broken.iter().map(|(text, error)| ((*text).to_owned(), *error)).collect();
    broken.push((
        two.clone() + &zone("a1.example", ""),
        "the zone a1.example. is already configured in line 2",
    ));
    broken.push((two.clone() + "sate-dir = \"x\"\n", "unknown key 'sate-dir'"));
    broken.push((two.clone() + "[policy.q]\n", "unknown key 'policy'"));
    broken.push((two.clone() + "require-signature = true\n", "says require-signature"));
    broken.push((zone("b.example", ""), "the zone b.example. is already configured in "));
    broken.push((two.replace("3A29A99C", ""), "a.toml:4: zone[1].trust-anchors[1]"));
    for (text, error) in broken {
        let site = Site::new();
        let main = MAIN.replacen("state-dir", "zones-max-removal = 100\nstate-dir", 1);
        site.write("main.toml", &main);
        site.write("zones.d/a.toml", &two);
        site.write("zones.d/0.toml", &zone("b.example", ""));
        let before = site.around(None);
        site.write("zones.d/a.toml", &text);
        site.write("zones.d/c.toml", &zone("c.example", ""));
        let after = site.around(Some(&before));
        assert!(said(&after).contains(error), "{text:?}: {}", said(&after));
        assert_eq!(names(&after), ["b.example.", "c.example.", "a1.example.", "a2.example."], "{text:?}");
        assert_eq!(after.zones[2], before.zones[1], "{text:?}");
        assert_eq!(after.zone_file_errors().map(|errors| errors.may_pass), Some(false), "{text:?}");
        // At a first start there is nothing to keep; a command says what is wrong.
        assert_eq!(names(&site.around(None)), ["b.example.", "c.example."], "{text:?}");
        let refused = site.strict().unwrap_err().to_string();
        assert!(refused.contains(error), "{text:?}: {refused}");
        // The zones are kept from one reload to the next, until the file is good again or gone.
        assert_eq!(names(&site.around(Some(&after))), names(&after), "{text:?}");
        fs::remove_file(site.path("zones.d/a.toml")).unwrap();
        let gone = site.around(Some(&after));
        assert_eq!(
            (names(&gone), said(&gone)),
            (vec!["b.example.".into(), "c.example.".into()], String::new())
        );
    }
}

#[test]
fn a_file_or_folder_that_cannot_be_read_removes_no_zone() {
    let site = Site::new();
    site.write("zones.d/a.toml", &zone("a.example", ""));
    site.write("zones.d/b.toml", &zone("b.example", ""));
    let before = site.around(None);
    let file = site.path("zones.d/a.toml");
    let no_file: [&dyn Fn(); 3] = [
        &|| fs::create_dir(&file).unwrap(),
        &|| std::os::unix::fs::symlink(site.path("nowhere"), &file).unwrap(),
        &|| std::os::unix::fs::symlink(&file, &file).unwrap(),
    ];
    for make in no_file {
        fs::remove_file(&file).or_else(|_| fs::remove_dir(&file)).unwrap();
        make();
        let after = site.around(Some(&before));
        assert_eq!(names(&after), ["b.example.", "a.example."], "{}", said(&after));
        assert!(said(&after).contains("zones.d/a.toml:1: "), "{}", said(&after));
    }
    // What is named elsewhere may be in the file that does not read.
    assert!(site.main_with("[probe]\nzones = [\"a.example\"]\n").is_ok());
}

/// What a finding says, and what is done to the site.
type Way<'a> = (&'a str, &'a dyn Fn(&Site));

/// Each way in which a folder seems to have no files.
#[test]
fn a_folder_that_is_missing_mistyped_empty_or_not_named_removes_no_zone() {
    let ways: [Way<'_>; 5] = [
        ("main.toml:3: zones-directory: ", &|site| {
            fs::rename(site.path("zones.d"), site.path("moved")).unwrap();
        }),
        ("zone.d: No such file", &|site| site.write("main.toml", &MAIN.replace("zones.d", "zone.d"))),
        ("main.toml:3: 2 of the 2 zones", &|site| {
            fs::rename(site.path("zones.d"), site.path("moved")).unwrap();
            fs::create_dir(site.path("zones.d")).unwrap();
        }),
        ("main.toml:3: 2 of the 2 zones", &|site| {
            fs::create_dir(site.path("other")).unwrap();
            site.write("main.toml", &MAIN.replace("zones.d", "other"));
        }),
        ("main.toml:1: 2 of the 2 zones", &|site| {
            site.write("main.toml", &(MAIN.replace("zones-directory", "# ") + &zone("m.example", "")));
        }),
    ];
    for (says, change) in ways {
        let site = Site::new();
        site.write("zones.d/a.toml", &zone("a.example", "file = \"a.zone\"\n"));
        site.write("zones.d/b.toml", &zone("b.example", ""));
        let before = site.around(None);
        change(&site);
        let after = site.around(Some(&before));
        let of_files = |config: &Config| {
            let is_of_file = |zone: &&Shared<ZoneConfig>| zone.source != ZoneSource::MainFile;
            config.zones.iter().filter(is_of_file).cloned().collect::<Vec<_>>()
        };
        assert!(said(&after).contains(says), "{says}: {}", said(&after));
        assert_eq!(of_files(&after), before.zones, "{says}");
        // Neither does the next look, or a restart; and they are there with what they had when the folder is back.
        for again in [site.around(Some(&after)), site.restart(&after), site.restart(&site.restart(&after))] {
            assert_eq!((of_files(&again), said(&again)), (before.zones.clone(), said(&after)), "{says}");
        }
        site.write("main.toml", MAIN);
        if site.path("moved").exists() {
            let _ = fs::remove_dir(site.path("zones.d"));
            fs::rename(site.path("moved"), site.path("zones.d")).unwrap();
        }
        let back = site.around(Some(&after));
        assert_eq!((&back.zones, said(&back)), (&before.zones, String::new()), "{says}");
    }
}

#[test]
fn a_first_start_without_the_folder_is_refused() {
    let site = Site::new();
    fs::remove_dir(site.path("zones.d")).unwrap();
    for more in [String::new(), zone("m.example", "")] {
        let error = site.main_with(&more).unwrap_err().to_string();
        assert!(error.contains("main.toml:3: zones-directory: "), "{error}");
    }
}

fn many(zones: std::ops::Range<usize>) -> String {
    zones.map(|n| zone(&format!("z{n}.example"), "")).collect()
}

#[test]
fn no_more_zones_go_within_an_hour_than_the_share_unless_they_are_released() {
    let site = Site::new();
    for n in 0..40 {
        site.write(&format!("zones.d/{n}.toml"), &many(n..n + 1));
    }
    let remove = |zones: std::ops::Range<usize>| {
        zones.for_each(|n| fs::remove_file(site.path(&format!("zones.d/{n}.toml"))).unwrap());
    };
    let mut config = site.around(None);
    // Three of forty go at one blow, and one more; a fifth is too many for this hour, and stays from then on whatever may go by itself later. Two more go
    // an hour after the first three, since only the fourth counts then; a third does not.
    for (gone, after, left, held) in [
        (0..3, 0, 37, 0),
        (3..4, 60, 36, 0),
        (4..5, 120, 36, 1),
        (5..7, REMOVAL_WINDOW, 34, 1),
        (7..8, REMOVAL_WINDOW + 1, 34, 2),
        (8..20, REMOVAL_WINDOW + 2, 34, 14),
        (20..20, 3 * REMOVAL_WINDOW, 34, 14),
    ] {
        remove(gone);
        config = site.at(Some(&config), NOW.plus(after));
        // A command, and a restart, hold and count the same.
        fs::create_dir_all(site.path("state")).unwrap();
        config.remember_zone_files(Program::Loader).unwrap();
        let again = site.at(None, NOW.plus(after));
        let of = |config: &Config| {
            let mut names = names(config);
            names.sort();
            (names, config.zone_files.held.len(), config.zone_files.removals.clone())
        };
        assert_eq!(of(&again), of(&config), "after {after}");
        assert_eq!(config.zones.len(), left, "after {after}: {}", said(&config));
        assert_eq!(config.zone_files.held.len(), held, "after {after}");
    }
    let held = config.zone_files.held.clone();
    assert!(said(&config).contains("example., ...)"), "{}", said(&config));
    let (state, now) = (site.path("state"), NOW.plus(3 * REMOVAL_WINDOW + 1));
    for (released, left) in [(&held[..13], 21), (&held[..], 20)] {
        release::write(&state, released, now).unwrap();
        config = site.at(Some(&config), now);
        assert_eq!((config.zones.len(), said(&config).is_empty()), (left, left == 20), "{}", said(&config));
    }
    // Zones that come back are guarded again once the release is over.
    for n in 7..20 {
        site.write(&format!("zones.d/{n}.toml"), &many(n..n + 1));
    }
    config = site.at(Some(&config), now);
    remove(7..20);
    assert_eq!(site.at(Some(&config), now.plus(release::HOLDS)).zones.len(), 33);
}

#[test]
fn the_share_can_be_set_and_one_zone_may_go_while_the_folder_has_files() {
    for (setting, left, stays) in [("", 2, 2), ("", 1, 3), ("", 0, 3), ("zones-max-removal = 0\n", 2, 3)] {
        let site = Site::new();
        let with = |setting: &str| MAIN.replacen("state-dir", &format!("{setting}state-dir"), 1);
        site.write("main.toml", &with(setting));
        site.write("zones.d/a.toml", &many(0..3));
        let before = site.around(None);
        match left {
            0 => fs::remove_file(site.path("zones.d/a.toml")).unwrap(),
            left => site.write("zones.d/a.toml", &many(0..left)),
        }
        let after = site.around(Some(&before));
        assert_eq!(after.zones.len(), stays, "{setting:?} {left}: {}", said(&after));
        // Those that stay have an older text than the file has now.
        assert_eq!(names(&site.restart(&after)), names(&after), "{setting:?} {left}");
        site.write("main.toml", &with("zones-max-removal = 100\n"));
        assert_eq!(site.around(Some(&before)).zones.len(), left, "{setting:?} {left}");
        assert_eq!(site.around(Some(&after)).zones.len(), stays, "what is held is released by a person");
        for wrong in ["101", "-1", "\"10\""] {
            site.write("main.toml", &with(&format!("zones-max-removal = {wrong}\n")));
            let error = Config::load_without_bad_zone_files(&site.path("main.toml"), START, NOW).unwrap_err();
            assert!(error.to_string().contains("zones-max-removal"), "{error}");
        }
    }
}

#[test]
fn a_restart_goes_on_with_the_zones_of_files_that_do_not_read() {
    let breaks: [&dyn Fn(&Path); 4] = [
        &|file| fs::write(file, "nonsense").unwrap(),
        &|file| fs::write(file, zone("a.example", "max-shrink = -1\n")).unwrap(),
        &|file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        },
        &|file| {
            fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink("nowhere", file).unwrap();
        },
    ];
    for spoil in breaks {
        let site = Site::new();
        site.write("zones.d/a.toml", &zone("a.example", "max-shrink = 7\n"));
        let before = site.around(None);
        site.restart(&before);
        spoil(&site.path("zones.d/a.toml"));
        site.write("zones.d/b.toml", &zone("b.example", ""));
        let started = site.around(None);
        assert_eq!(names(&started), ["b.example.", "a.example."], "{}", said(&started));
        assert_eq!(started.zones[1], before.zones[0]);
        assert!(said(&started).contains("a.toml:"), "{}", said(&started));
        assert_eq!(names(&site.restart(&started)), names(&started));
    }
}

#[test]
fn a_damaged_memory_is_warned_of_and_an_empty_folder_is_no_start_then() {
    let site = Site::new();
    site.write("zones.d/a.toml", &zone("a.example", ""));
    let before = site.around(None);
    fs::create_dir(site.path("state")).unwrap();
    site.write("state/zone-files-loader", "nonsense");
    let started = site.around(None);
    assert_eq!(started.zones, before.zones);
    let warnings: Vec<String> = started.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.join("\n").contains("state/zone-files-loader: damaged"), "{warnings:?}");
    fs::remove_file(site.path("zones.d/a.toml")).unwrap();
    let refused = site.main_with("").unwrap_err().to_string();
    assert!(refused.contains("main.toml:3: the folder or a catalog has no zone,"), "{refused}");
}

#[test]
fn the_only_zone_of_a_folder_stays_when_it_has_no_file_any_more() {
    let ways: [&dyn Fn(&Site); 3] = [
        &|site| fs::remove_file(site.path("zones.d/a.toml")).unwrap(),
        &|site| {
            fs::create_dir(site.path("other")).unwrap();
            site.write("other/b.toml", &zone("b.example", ""));
            site.write("main.toml", &MAIN.replace("zones.d", "other"));
        },
        &|site| site.write("main.toml", &(MAIN.replace("zones-directory", "# ") + &zone("m.example", ""))),
    ];
    for change in ways {
        let site = Site::new();
        site.write("zones.d/a.toml", &zone("a.example", ""));
        let before = site.around(None);
        change(&site);
        let after = site.around(Some(&before));
        assert!(names(&after).contains(&"a.example.".to_owned()), "{}", said(&after));
        assert_eq!(after.zone_files.held, [before.zones[0].name.clone()]);
        assert_eq!(names(&site.restart(&after)), names(&after));
        release::write(&site.path("state"), &after.zone_files.held, NOW).unwrap();
        let gone = site.around(Some(&after));
        assert!(gone.zone_files.held.is_empty() && said(&gone).is_empty(), "{}", said(&gone));
    }
}

#[test]
fn a_zone_that_a_file_with_errors_may_have_stays() {
    let broken = zone("a.example", "").replace("offline", "") + "max-shrink = -1\n";
    for text in [broken.as_str(), "[[zone]\nname = \"a.example\"\n", "\u{0}"] {
        let site = Site::new();
        site.write("zones.d/a.toml", &zone("a.example", ""));
        site.write("zones.d/c.toml", &zone("c.example", ""));
        let before = site.around(None);
        fs::remove_file(site.path("zones.d/a.toml")).unwrap();
        site.write("zones.d/b.toml", text);
        let after = site.around(Some(&before));
        assert_eq!(names(&after), ["c.example.", "a.example."], "{text:?}: {}", said(&after));
        assert!(after.zone_files.removals.is_empty(), "{text:?}");
        // Unless a person has removed it.
        fs::create_dir(site.path("state")).unwrap();
        release::write(&site.path("state"), &[Name::parse("a.example").unwrap()], NOW).unwrap();
        assert_eq!(names(&site.around(Some(&after))), ["c.example."], "{text:?}");
    }
}

#[test]
fn a_zone_that_is_gone_and_named_elsewhere_is_told_and_all_else_is_taken() {
    for table in [
        "[probe]\nzones = [\"a.example\", \"b.example\"]\n",
        "[[deliver.named]]\nname = \"n\"\nfolder = \"skr\"\naddress = \"127.0.0.1:53\"\nzones = [\"a.example\", \"b.example\"]\n",
    ] {
        let site = Site::new();
        for name in ["a", "b"] {
            site.write(&format!("zones.d/{name}.toml"), &zone(&format!("{name}.example"), ""));
        }
        let before = site.main_with(table).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(said(&before), "");
        fs::remove_file(site.path("zones.d/a.toml")).unwrap();
        site.write("zones.d/c.toml", &zone("c.example", ""));
        for after in [site.around(Some(&before)), site.around(None)] {
            assert_eq!(names(&after), ["b.example.", "c.example."], "{}", said(&after));
            assert!(said(&after).contains("zones[1]: a.example. is no [[zone]]"), "{}", said(&after));
        }
        assert!(site.strict().unwrap().warnings.iter().any(|w| w.what.contains("a.example. is no [[zone]]")));
        // Without a folder a name is mistyped.
        site.write("main.toml", &(MAIN.replace("zones-directory", "# ") + &zone("b.example", "") + table));
        assert!(site.strict().unwrap_err().to_string().contains("a.example. is no [[zone]] of this file"));
    }
}

#[test]
fn a_policy_that_cannot_work_is_an_error_of_the_zone_files_that_use_it() {
    for keys in ["", "{ role = \"zsk\", lifetime = 0, algorithm = 13 }"] {
        let site = Site::new();
        let bad = format!("[policy.bad]\noffline-ksk = true\nkeys = [{keys}]\n");
        site.write("zones.d/a.toml", &zone("a.example", ""));
        let before = site.main_with(&bad).unwrap_or_else(|e| panic!("{e}"));
        site.write("zones.d/x.toml", &zone("x.example", "").replace("\"p\"", "\"bad\""));
        site.write("zones.d/y.toml", &zone("y.example", ""));
        for after in [site.around(Some(&before)), site.around(None)] {
            assert_eq!(names(&after), ["a.example.", "y.example."]);
            assert!(said(&after).contains("x.toml:3: zone[1].policy: "), "{}", said(&after));
        }
        assert!(site.strict().unwrap_err().to_string().contains("x.toml:3: "));
    }
}

#[test]
fn a_start_keeps_in_mind_a_zone_that_it_must_leave_out_and_takes_it_as_soon_as_it_can() {
    let site = Site::new();
    let text = zone("a.example", "");
    let at = text.find("trust-anchors").unwrap();
    let anchor = text[at..].split('"').nth(1).unwrap().to_owned();
    site.write("a.ds", &format!("{anchor}\n"));
    let with_file = format!("{}trust-anchor-file = \"../a.ds\"\n", &text[..at]);
    site.write("zones.d/a.toml", &with_file);
    site.write("zones.d/b.toml", &zone("b.example", ""));
    let before = site.around(None);
    site.restart(&before);
    for text in [with_file.as_str(), &(with_file.clone() + "typo = 1\n")] {
        site.write("zones.d/a.toml", text);
        fs::rename(site.path("a.ds"), site.path("away")).unwrap();
        let started = site.restart(&site.around(None));
        assert_eq!(names(&started), ["b.example."]);
        assert_eq!(started.zone_files.left_out[0].zone, before.zones[0].name);
        assert!(said(&started).contains("a.toml:1: the zone a.example. was in use"), "{}", said(&started));
        assert!(started.zone_file_errors().unwrap().may_pass, "it is tried again");
        let later = site.around(Some(&started));
        assert_eq!(later.zone_files, started.zone_files);
        fs::rename(site.path("away"), site.path("a.ds")).unwrap();
        let back = site.around(Some(&later));
        assert!(
            back.zones.contains(&before.zones[0]) && back.zone_files.left_out.is_empty(),
            "{}",
            said(&back)
        );
    }
}

#[test]
fn each_program_remembers_for_itself_and_begins_with_what_the_other_has() {
    let site = Site::new();
    for name in ["a", "b"] {
        site.write(&format!("zones.d/{name}.toml"), &zone(&format!("{name}.example"), ""));
    }
    let both = site.around(None);
    site.restart(&both);
    fs::remove_file(site.path("zones.d/a.toml")).unwrap();
    fs::remove_file(site.path("zones.d/b.toml")).unwrap();
    let start = |program| {
        let in_use = InUse::Remembered(program);
        Config::load_without_bad_zone_files(&site.path("main.toml"), in_use, NOW).unwrap()
    };
    let timer = start(Program::Requests);
    assert_eq!(names(&timer), names(&both));
    timer.remember_zone_files(Program::Requests).unwrap();
    fs::remove_file(site.path("state/zone-files-loader")).unwrap();
    assert_eq!(start(Program::Loader).zone_files.held, timer.zone_files.held);
}

#[test]
fn a_release_that_cannot_be_read_holds_what_is_gone_and_says_nothing_otherwise() {
    let site = Site::new();
    for name in ["a", "b"] {
        site.write(&format!("zones.d/{name}.toml"), &zone(&format!("{name}.example"), ""));
    }
    let before = site.around(None);
    fs::create_dir_all(site.path("state/zones-released")).unwrap();
    assert_eq!(said(&site.around(Some(&before))), "");
    fs::remove_file(site.path("zones.d/a.toml")).unwrap();
    let after = site.around(Some(&before));
    assert_eq!(after.zone_files.held.len(), 1);
    assert!(said(&after).contains("what was released cannot be read"), "{}", said(&after));
}

#[test]
fn an_unknown_key_is_an_error_of_the_zone_file_that_names_it() {
    let site = Site::new();
    site.write("zones.d/a.toml", &zone("a.example", ""));
    let before = site.around(None);
    let notify = "notify = [{ address = \"192.0.2.1\", key = \"typo\" }]\n";
    site.write("zones.d/a.toml", &zone("a.example", notify));
    site.write("zones.d/b.toml", &zone("b.example", notify));
    let mut after = site.around(Some(&before));
    assert_eq!(said(&after), "");
    after.settle_transfer_keys(Some(&before)).unwrap();
    assert_eq!((names(&after).len(), &after.zones[0]), (2, &before.zones[0]));
    for file in ["a.toml:1: zone a.example.: notify", "b.toml:1: zone b.example.: notify"] {
        assert!(said(&after).contains(file), "{file}: {}", said(&after));
    }
    let mut main = site.main_with(&zone("m.example", notify)).unwrap();
    assert!(main.settle_transfer_keys(None).is_err(), "in the main file it refuses the reload");
}

#[test]
fn a_zone_of_two_files_stays_where_it_is_whichever_name_comes_first() {
    for newcomer in ["a.toml", "c.toml"] {
        let (site, new) = (Site::new(), format!("zones.d/{newcomer}"));
        site.write("zones.d/b.toml", &(zone("x.example", "max-shrink = 1\n") + &zone("y.example", "")));
        let before = site.around(None);
        site.write(&new, &(zone("X.example", "") + &zone("n.example", "")));
        let after = site.around(Some(&before));
        let error = format!("{newcomer}:2: zone[1].name: the zone X.example. is already configured in ");
        assert!(said(&after).contains(&error), "{}", said(&after));
        assert_eq!(after.zones, before.zones);
        assert_eq!(site.restart(&after).zones, before.zones);
        // Also while the file that has it does not read, and when the newcomer is to be added by a program.
        site.write("zones.d/b.toml", "nonsense");
        assert_eq!(site.around(Some(&after)).zones, before.zones);
        fs::remove_file(site.path(&new)).unwrap();
        let text = zone("x.example", "");
        let refused =
            Config::load_with_zone_file(&site.path("main.toml"), &site.path(&new), text.as_bytes(), NOW);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("is already configured in ") && refused.contains("b.toml"), "{refused}");
        // It moves when the first file has it no more.
        site.write("zones.d/b.toml", &zone("y.example", ""));
        site.write(&new, &zone("X.example", ""));
        let moved = site.around(Some(&after));
        assert_eq!((moved.zones.len(), said(&moved)), (2, String::new()));
        let there = moved.zones.iter().find(|zone| zone.name.to_string() == "X.example.").unwrap();
        assert_eq!(there.source, ZoneSource::ZoneFile(site.path(&new).into()));
    }
}

#[test]
fn a_file_with_errors_keeps_no_zone_from_another_file() {
    let site = Site::new();
    site.write("zones.d/a.toml", &(zone("x.example", "") + &zone("y.example", "max-shrink = -1\n")));
    site.write("zones.d/b.toml", &zone("x.example", ""));
    let started = site.around(None);
    assert_eq!(names(&started), ["x.example."], "{}", said(&started));
    assert_eq!(started.zones[0].source, ZoneSource::ZoneFile(site.path("zones.d/b.toml").into()));
    assert_eq!(said(&started).matches("already configured").count(), 0, "{}", said(&started));
}

#[test]
fn a_file_is_judged_before_it_is_in_the_folder() {
    let site = Site::new();
    site.write("zones.d/bad.toml", "nonsense");
    let (main, new) = (site.path("main.toml"), site.path("zones.d/new.toml"));
    let judge = |text: &str| Config::load_with_zone_file(&main, &new, text.as_bytes(), NOW);
    let config = judge(&zone("new.example", "")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(names(&config), ["new.example."]);
    assert!(!new.exists());
    let refused = judge(&zone("new.example", "").replace("\"p\"", "\"q\"")).unwrap_err().to_string();
    assert!(refused.contains("new.toml:3: ") && refused.contains("'q'"), "{refused}");
}

#[test]
fn a_zone_file_with_the_name_of_a_catalog_is_an_error_of_that_file_alone() {
    let catalog = "[[catalog]]\nzone = \"catalog.example\"\nallow-transfer = [{ address = \"192.0.2.53\", key = \"xfr\" }]\n";
    for named in ["catalog.example", "Catalog.EXAMPLE."] {
        let site = Site::new();
        fs::create_dir_all(site.path("state")).unwrap();
        site.write("zones.d/a.toml", &zone("a.example", ""));
        site.write("zones.d/x.toml", &(zone(named, "") + &zone("x.example", "")));
        let start = site.main_with(catalog).unwrap_or_else(|error| panic!("{named}: {error}"));
        let check = |config: &Config, zones: &[&str]| {
            assert_eq!(names(config), zones, "{named}");
            assert_eq!(config.catalogs.made.len(), 1);
            let said = said(config);
            assert!(said.contains("x.toml:2: ") && said.contains("is the name of a [[catalog]]"), "{said}");
            assert!(!said.contains("a.toml"), "{said}");
        };
        check(&start, &["a.example."]);
        // A reload takes all else, and so does a restart.
        site.write("zones.d/b.toml", &zone("b.example", ""));
        let reloaded = site.around(Some(&start));
        check(&reloaded, &["a.example.", "b.example."]);
        check(&site.restart(&reloaded), &["a.example.", "b.example."]);
        let strict = site.strict().unwrap_err().to_string();
        assert!(strict.contains("x.toml:2: ") && !strict.contains("main.toml"), "{strict}");
        // Below the catalog and beside it there may be zones.
        site.write("zones.d/x.toml", &(zone("x.catalog.example", "") + &zone("example", "")));
        assert_eq!(said(&site.around(Some(&reloaded))), "");
    }
}

#[test]
fn zones_with_an_accepted_skr_stay_signed_until_a_person_releases_what_would_have_them_unsigned() {
    let site = Site::new();
    for name in ["a", "b", "c"] {
        site.write(&format!("zones.d/{name}.toml"), &zone(&format!("{name}.example"), "file = \"zone\"\n"));
    }
    let skr = |name: &str| {
        let folder = site.path("state/accepted").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("current"), "1").unwrap();
    };
    skr("a.example.");
    let signing = |config: &Config| {
        let word = |zone: &Shared<ZoneConfig>| format!("{} {}", zone.name, zone.versions.signing.as_str());
        let mut words: Vec<String> = config.zones.iter().map(word).collect();
        words.sort();
        words
    };
    let first = site.around(None);
    assert_eq!(said(&first), "");
    for name in ["a", "b"] {
        let text = format!("[[zone]]\nname = \"{name}.example\"\nsigning = \"unsigned\"\nfile = \"zone\"\n");
        site.write(&format!("zones.d/{name}.toml"), &text);
    }
    let expected = ["a.example. online", "b.example. unsigned", "c.example. online"];
    let held = site.around(Some(&first));
    assert_eq!(signing(&held), expected);
    assert!(
        said(&held).contains("1 zone(s) that are signed here are to be unsigned (a.example.)"),
        "{}",
        said(&held)
    );
    assert_eq!(held.zone_files.held, [Name::parse("a.example").unwrap()]);
    // It holds over a look and a restart.
    assert_eq!(signing(&site.around(Some(&held))), expected);
    // Where nobody can know whether there is an SKR, all zones stay signed.
    fs::rename(site.path("state/accepted"), site.path("state/away")).unwrap();
    fs::write(site.path("state/accepted"), "no folder").unwrap();
    let unknown = site.around(Some(&first));
    assert_eq!(signing(&unknown), ["a.example. online", "b.example. online", "c.example. online"]);
    fs::remove_file(site.path("state/accepted")).unwrap();
    fs::rename(site.path("state/away"), site.path("state/accepted")).unwrap();
    let again = site.restart(&held);
    assert_eq!(signing(&again), expected, "{}", said(&again));
    release::write(&site.path("state"), &held.zone_files.held, NOW).unwrap();
    let released = site.around(Some(&again));
    assert_eq!(signing(&released), ["a.example. unsigned", "b.example. unsigned", "c.example. online"]);
    assert_eq!((said(&released), released.zone_files.held.len()), (String::new(), 0));
}
