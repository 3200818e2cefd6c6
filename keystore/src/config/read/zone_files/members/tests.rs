use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::config::zone_files::memory::Program;
use crate::config::zone_files::{FolderMark, InUse, ZoneFileErrors, release};
use crate::config::{Config, ZoneConfig};
use crate::shared::Shared;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const TEMPLATE: &str = "[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\nfile = \"zones/{file}.zone\"\n\
    trust-anchors = [\". DS 1 13 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\n";

struct Site(tempfile::TempDir);

impl Site {
    /// `catalogs` are tables, with the templates `t.toml` and `gold.toml` beside the configuration.
    fn new(catalogs: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(site.path("state/catalogs-taken")).unwrap();
        // An anchor is of a zone: that of the root stands for any here.
        site.write("t.toml", &TEMPLATE.replace("\". DS", "\"{zone} DS"));
        site.write("gold.toml", &TEMPLATE.replace("\". DS", "\"{zone} DS").replace("zones/", "gold/"));
        site.main(catalogs);
        site
    }

    fn main(&self, more: &str) {
        let text = format!(
            "version = 1\nstate-dir = \"state\"\n{more}[policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, \
             {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n"
        );
        self.write("main.toml", &text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Keeps a catalog with these zones, each with a group and the catalog that it moves to, or empty words.
    fn keep(&self, catalog: &str, zones: &[(&str, &str, &str)]) {
        let mut kept = Catalog::default();
        let name = |text: &str| Name::parse(text).unwrap();
        for (zone, group, coo) in zones {
            let group = Some(*group).filter(|group| !group.is_empty());
            kept.put(&name(zone), group, Some(*coo).filter(|coo| !coo.is_empty()).map(name).as_ref());
        }
        let path = taken_path(&self.path("state"), &name(catalog));
        TakenVersion { catalog: kept, serial: 1 }.write(&path).unwrap();
    }

    fn read(&self, in_use: Option<&Config>) -> Config {
        let in_use = in_use.map_or(InUse::Remembered(Program::Loader), InUse::Config);
        Config::load_without_bad_zone_files(&self.path("main.toml"), in_use, NOW)
            .unwrap_or_else(|e| panic!("{e}"))
    }
}

fn names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = config.zones.iter().map(|zone| zone.name.to_string()).collect();
    names.sort();
    names
}

/// Each zone with its file.
fn sources(config: &Config) -> Vec<String> {
    let of = |zone: &Shared<ZoneConfig>| {
        let file = zone.file.as_ref().and_then(|file| file.parent()?.file_name()).unwrap_or_default();
        format!("{} {}", zone.name, file.to_string_lossy())
    };
    let mut all: Vec<String> = config.zones.iter().map(of).collect();
    all.sort();
    all
}

fn said(config: &Config) -> String {
    config.zone_file_errors().map(ToString::to_string).unwrap_or_default()
}

const ONE: &str = "[[catalog]]\nzone = \"cat.test\"\nfile = \"cat.zone\"\ntemplate = \"t.toml\"\ngroup-templates = { gold = \"gold.toml\" }\n";

#[test]
fn each_member_is_the_template_of_its_group_with_its_name() {
    let site = Site::new(ONE);
    assert_eq!((names(&site.read(None)), said(&site.read(None))), (Vec::new(), String::new()));
    site.keep("cat.test.", &[("a.test", "", ""), ("b.test", "gold", ""), ("c.test", "unknown", "")]);
    let config = site.read(None);
    assert_eq!(
        (names(&config).join(" "), said(&config)),
        ("a.test. b.test. c.test.".to_owned(), String::new())
    );
    let file = |name: &str| {
        config.zones.iter().find(|zone| zone.name.to_string() == name).unwrap().file.clone().unwrap()
    };
    assert_eq!(file("a.test."), site.path("zones/a.test.zone"));
    assert_eq!(file("b.test."), site.path("gold/b.test.zone"));
    // With another group, another template.
    site.keep("cat.test.", &[("a.test", "gold", ""), ("b.test", "gold", ""), ("c.test", "unknown", "")]);
    let changed = site.read(Some(&config));
    assert_eq!((changed.zones.len(), said(&changed)), (3, String::new()));
    assert!(changed.zones.iter().any(|zone| zone.file == Some(site.path("gold/a.test.zone"))));
}

#[test]
fn names_of_strangers_stay_within_the_folder_and_within_the_text() {
    let site = Site::new(ONE);
    for zone in ["\\.\\./\\.\\./x.test", "a\\\"b.test", "a\\010b.test", "{file}.test", "."] {
        site.keep("cat.test.", &[(zone, "", "")]);
        let config = site.read(None);
        assert_eq!(config.zones.len(), 1, "{zone}: {}", said(&config));
        assert_eq!(config.zones[0].name, Name::parse(zone).unwrap());
        let file = config.zones[0].file.clone().unwrap();
        assert_eq!(file.parent(), Some(&*site.path("zones")), "{zone}");
    }
    site.main(&ONE.replace("template = ", "members-below = [\"customers.test\"]\ntemplate = "));
    site.keep("cat.test.", &[("x.customers.test", "", ""), ("bank.test", "", "")]);
    let config = site.read(None);
    assert_eq!(names(&config), ["x.customers.test."]);
    assert!(said(&config).contains("and are not taken: bank.test."), "{}", said(&config));
}

#[test]
fn catalogs_and_templates_that_do_not_read_and_emptied_catalogs_take_no_zone_away() {
    let spoil: [&dyn Fn(&Site); 5] = [
        &|site| site.write("state/catalogs-taken/cat.test.", "nonsense"),
        &|site| fs::remove_file(site.path("state/catalogs-taken/cat.test.")).unwrap(),
        &|site| fs::remove_file(site.path("t.toml")).unwrap(),
        &|site| site.write("t.toml", "[[zone]]\nname = \"{zone}\"\n"),
        &|site| site.keep("cat.test.", &[]),
    ];
    for spoil in spoil {
        let site = Site::new(ONE);
        site.keep("cat.test.", &[("a.test", "", ""), ("b.test", "", "")]);
        let before = site.read(None);
        assert_eq!(before.zones.len(), 2, "{}", said(&before));
        spoil(&site);
        let after = site.read(Some(&before));
        assert_eq!(after.zones, before.zones, "{}", said(&after));
        before.remember_zone_files(Program::Loader).unwrap();
        assert_eq!((sources(&site.read(None)), sources(&after)), (sources(&before), sources(&before)));
    }
}

#[test]
fn a_zone_of_two_catalogs_stays_where_it_is_until_it_is_to_move() {
    let two = ONE.to_owned() + &ONE.replace("cat.test", "new.test");
    let site = Site::new(&two);
    site.keep("cat.test.", &[("a.test", "", ""), ("b.test", "", "")]);
    site.keep("new.test.", &[]);
    let before = site.read(None);
    site.keep("new.test.", &[("a.test", "", "")]);
    let clash = site.read(Some(&before));
    assert_eq!(clash.zones, before.zones);
    assert!(
        said(&clash).contains("#new.test.#a.test.:2: ") && said(&clash).contains("already configured in "),
        "{}",
        said(&clash)
    );
    site.keep("cat.test.", &[("a.test", "", "new.test"), ("b.test", "", "")]);
    let moved = site.read(Some(&clash));
    assert_eq!((names(&moved), said(&moved)), (names(&before), String::new()));
    let source = |config: &Config| {
        let zone = config.zones.iter().find(|zone| zone.name.to_string() == "a.test.").unwrap();
        format!("{:?}", zone.source)
    };
    assert!(source(&before).contains("#cat.test.#") && source(&moved).contains("#new.test.#"));
    // One that is not in the new catalog stays in the old one, and what the main file has is nobody else's.
    site.keep("new.test.", &[]);
    assert!(source(&site.read(Some(&before))).contains("#cat.test.#"));
    site.main(&(two + &TEMPLATE.replace("{zone}", "b.test").replace("\". DS", "\"b.test. DS")));
    let config = site.read(None);
    assert_eq!(names(&config), ["a.test.", "b.test."]);
    assert!(said(&config).contains("b.test. is already configured in "), "{}", said(&config));
}

#[test]
fn zones_leave_a_catalog_within_its_own_share_or_by_a_release_over_restarts_too() {
    let site = Site::new(ONE);
    let zones: Vec<String> = (0..40).map(|n| format!("z{n}.test")).collect();
    let keep = |from: usize| {
        let members: Vec<_> = zones[from..].iter().map(|zone| (zone.as_str(), "", "")).collect();
        site.keep("cat.test.", &members);
    };
    let restarted = |config: &Config| {
        config.remember_zone_files(Program::Loader).unwrap();
        site.read(None)
    };
    keep(0);
    let mut config = site.read(None);
    for (left, stay, held) in [(4, 36, 0), (5, 36, 1), (20, 36, 16)] {
        keep(left);
        config = site.read(Some(&config));
        assert_eq!((config.zones.len(), config.zone_files.held.len()), (stay, held), "{}", said(&config));
        let again = restarted(&config);
        let held = |config: &Config| config.zone_files.held.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!((names(&again), held(&again)), (names(&config), held(&config)));
    }
    assert!(
        said(&config).contains("16 of the 36 zones of the catalog cat.test. are not in it"),
        "{}",
        said(&config)
    );
    release::write(&site.path("state"), &config.zone_files.held, NOW).unwrap();
    config = site.read(Some(&config));
    assert_eq!((config.zones.len(), said(&config)), (20, String::new()));
    // Where the main file has the catalog no more, its zones stay until a person releases them.
    site.main("zones-directory = \"zones.d\"\n");
    fs::create_dir(site.path("zones.d")).unwrap();
    config = site.read(Some(&config));
    assert_eq!((config.zones.len(), config.zone_files.held.len()), (20, 20));
    assert_eq!(names(&restarted(&config)), names(&config));
}

#[test]
fn zones_of_the_folder_and_of_catalogs_are_held_each_by_their_own_number() {
    let site = Site::new(&format!("zones-directory = \"zones.d\"\n{ONE}"));
    fs::create_dir(site.path("zones.d")).unwrap();
    let zone = |name: &str| TEMPLATE.replace("\". DS", "\"{zone} DS").replace("{zone}", name);
    let of_folder: Vec<String> = (0..100).map(|n| zone(&format!("f{n}.test."))).collect();
    site.write("zones.d/all.toml", &of_folder.concat());
    let members = ["a.test", "b.test", "c.test"].map(|name| (name, "", ""));
    site.keep("cat.test.", &members);
    let before = site.read(None);
    assert_eq!(before.zones.len(), 103, "{}", said(&before));
    // Two of three are too many, though they are few of all; ten of a hundred are not.
    site.keep("cat.test.", &members[..1]);
    site.write("zones.d/all.toml", &of_folder[10..].concat());
    let after = site.read(Some(&before));
    assert_eq!((after.zones.len(), after.zone_files.held.len()), (93, 2), "{}", said(&after));
    // A zone that the folder takes over is not gone, and the catalog that has it still is told of.
    site.write("zones.d/b.toml", &zone("b.test."));
    let moved = site.read(Some(&after));
    assert_eq!((moved.zones.len(), moved.zone_files.held.len()), (93, 1), "{}", said(&moved));
    site.write("zones.d/a.toml", &zone("a.test."));
    let clash = site.read(Some(&moved));
    assert_eq!(clash.zones.len(), 93);
    assert!(
        said(&clash).contains("a.toml:2: zone[1].name: the zone a.test. is already configured in"),
        "{}",
        said(&clash)
    );
}

/// A customer's catalog in front of [`ONE`], which lists a zone of that.
fn beside_another() -> (Site, Config) {
    let other = "[[catalog]]\nzone = \"b.cat\"\nfile = \"b.zone\"\ntemplate = \"b.toml\"\n";
    let site = Site::new(&format!("{other}{ONE}"));
    site.write("b.toml", &TEMPLATE.replace("\". DS", "\"{zone} DS").replace("zones/", "b/"));
    site.keep("b.cat.", &[("x.test", "", "")]);
    site.keep("cat.test.", &[("a.test", "", ""), ("c.test", "", "")]);
    let before = site.read(None);
    assert_eq!(sources(&before), ["a.test. zones", "c.test. zones", "x.test. b"], "{}", said(&before));
    site.keep("b.cat.", &[("x.test", "", ""), ("a.test", "", "")]);
    (site, before)
}

#[test]
fn a_zone_is_not_taken_over_by_another_catalog_while_its_own_changes_breaks_or_is_emptied() {
    type Change = fn(&Site);
    let cases: [(Change, &[&str]); 4] = [
        (
            |site| site.keep("cat.test.", &[("a.test", "gold", ""), ("c.test", "", "")]),
            &["a.test. gold", "c.test. zones"],
        ),
        (|site| site.write("t.toml", "[[zone]\n"), &["a.test. zones", "c.test. zones"]),
        (|site| site.keep("cat.test.", &[]), &["a.test. zones", "c.test. zones"]),
        // One that leaves within the share is free.
        (|site| site.keep("cat.test.", &[("c.test", "", "")]), &["a.test. b", "c.test. zones"]),
    ];
    for (number, (change, wanted)) in cases.into_iter().enumerate() {
        let (site, before) = beside_another();
        change(&site);
        let after = site.read(Some(&before));
        let wanted: Vec<String> =
            wanted.iter().map(|zone| (*zone).to_owned()).chain(["x.test. b".to_owned()]).collect();
        assert_eq!(sources(&after), wanted, "{number}: {}", said(&after));
        assert_eq!(sources(&site.read(Some(&after))), wanted, "{number}");
        if !after.zone_files.held.is_empty() {
            release::write(&site.path("state"), &after.zone_files.held, NOW).unwrap();
            assert_eq!(sources(&site.read(Some(&after))), ["a.test. b", "x.test. b"], "{number}");
        }
    }
}

#[test]
fn a_zone_that_is_to_move_stays_where_the_other_catalog_cannot_take_it_or_sends_it_back() {
    let (site, before) = beside_another();
    site.keep("cat.test.", &[("a.test", "", "b.cat"), ("c.test", "", "")]);
    site.keep("b.cat.", &[("x.test", "", ""), ("a.test", "", "cat.test")]);
    assert_eq!(sources(&site.read(Some(&before))), sources(&before));
    site.keep("b.cat.", &[("x.test", "", ""), ("a.test", "", "")]);
    site.write("b.toml", "[[zone]\n");
    assert_eq!(sources(&site.read(Some(&before))), sources(&before));
    let below = "[[catalog]]\nzone = \"b.cat\"\nfile = \"b.zone\"\ntemplate = \"t.toml\"\nmembers-below = [\"x.test\"]\n";
    site.main(&format!("{below}{ONE}"));
    let after = site.read(Some(&before));
    assert_eq!(names(&after), names(&before), "{}", said(&after));
    assert!(after.zone_files.held.is_empty(), "{}", said(&after));
}

#[test]
fn a_zone_that_its_catalog_still_has_is_never_a_removal() {
    let no_default = ONE.replace("template = \"t.toml\"\n", "");
    for (main, group) in [
        (no_default, "golt"),
        (ONE.replace("template = ", "members-below = [\"z.test\"]\ntemplate = "), "gold"),
    ] {
        let site = Site::new(ONE);
        site.keep("cat.test.", &[("a.test", "gold", ""), ("b.test", "gold", "")]);
        let before = site.read(None);
        site.main(&main);
        site.keep("cat.test.", &[("a.test", group, ""), ("b.test", group, "")]);
        let after = site.read(Some(&before));
        assert_eq!((sources(&after), &after.zone_files.held), (sources(&before), &Vec::new()));
        assert!(said(&after).contains("2 zone(s) of the catalog cat.test."), "{}", said(&after));
    }
}

#[test]
fn zones_that_came_within_the_hour_make_no_share_larger_and_what_is_held_stays_held_while_the_catalog_is_unread()
 {
    let site = Site::new(ONE);
    let zones: Vec<String> = (0..100).map(|n| format!("z{n}.test")).collect();
    let keep = |range: std::ops::Range<usize>| {
        let members: Vec<_> = zones[range].iter().map(|zone| (zone.as_str(), "", "")).collect();
        site.keep("cat.test.", &members);
    };
    keep(0..10);
    let ten = site.read(None);
    keep(0..100);
    let hundred = site.read(Some(&ten));
    assert_eq!(hundred.zones.len(), 100);
    keep(10..100);
    let held = site.read(Some(&hundred));
    assert_eq!((held.zones.len(), held.zone_files.held.len()), (100, 10), "{}", said(&held));
    site.write("state/catalogs-taken/cat.test.", "damaged");
    let unread = site.read(Some(&held));
    assert_eq!((unread.zones.len(), unread.zone_files.held.len()), (100, 10));
    keep(9..100);
    let again = site.read(Some(&unread));
    assert_eq!((again.zones.len(), again.zone_files.held.len()), (100, 9));
}

#[test]
fn no_group_has_a_signed_zone_served_unsigned_without_a_person() {
    let site = Site::new(ONE);
    site.write(
        "gold.toml",
        "[[zone]]\nname = \"{zone}\"\nsigning = \"unsigned\"\nfile = \"gold/{file}.zone\"\n",
    );
    site.keep("cat.test.", &[("a.test", "", ""), ("b.test", "gold", "")]);
    let before = site.read(None);
    assert_eq!(sources(&before), ["a.test. zones", "b.test. gold"], "{}", said(&before));
    site.keep("cat.test.", &[("a.test", "gold", ""), ("b.test", "gold", "")]);
    let held = site.read(Some(&before));
    assert_eq!((sources(&held), held.zone_files.held.len()), (sources(&before), 1), "{}", said(&held));
    held.remember_zone_files(Program::Loader).unwrap();
    let again = site.read(None);
    assert_eq!((sources(&again), again.zone_files.held.len()), (sources(&before), 1), "{}", said(&again));
    release::write(&site.path("state"), &again.zone_files.held, NOW).unwrap();
    let released = site.read(Some(&again));
    assert_eq!(sources(&released), ["a.test. gold", "b.test. gold"], "{}", said(&released));
}

#[test]
fn zones_of_catalogs_that_other_tables_name_stop_neither_a_first_start_nor_a_reload_when_they_go() {
    let probe = "[probe]\nzones = [\"a.test\"]\n";
    let site = Site::new(&format!("{ONE}{probe}"));
    let first = site.read(None);
    assert!(
        said(&first).contains("a.test. is no [[zone]] of this file, of zones-directory or of a catalog"),
        "{}",
        said(&first)
    );
    site.keep("cat.test.", &[("a.test", "", ""), ("b.test", "", "")]);
    let with = site.read(Some(&first));
    assert_eq!((with.zones.len(), said(&with)), (2, String::new()));
    site.keep("cat.test.", &[("b.test", "", "")]);
    let without = site.read(Some(&with));
    assert_eq!(names(&without), ["b.test."], "{}", said(&without));
    without.remember_zone_files(Program::Loader).unwrap();
    assert_eq!(names(&site.read(None)), ["b.test."]);
}

#[test]
fn a_catalog_as_zone_of_a_catalog_is_left_out() {
    let other = ONE.replace("cat.test", "other.test");
    let site = Site::new(&format!("{ONE}{other}"));
    site.keep("cat.test.", &[("a.test", "", ""), ("cat.test", "", ""), ("other.test", "", "")]);
    let config = site.read(None);
    assert_eq!(names(&config), ["a.test."]);
    for name in ["cat.test.", "other.test."] {
        assert!(said(&config).contains(&format!("{name} is the name of a [[catalog]]")), "{}", said(&config));
    }
}

#[test]
fn errors_of_templates_are_told_with_file_and_line_also_where_no_zone_uses_them_and_what_catalogs_have_is_a_warning()
 {
    for (file, text, says) in [
        ("gold.toml", "[[zone]]\nname = \"{zone}\"\n".to_owned(), "gold.toml:1: zone[1]: policy is missing"),
        ("gold.toml", "[[zone]\n".to_owned(), "gold.toml:1: no TOML"),
        ("gold.toml", String::new(), "zone is missing"),
        ("gold.toml", TEMPLATE.replace("\"p\"", "\"q\""), "gold.toml:3: "),
        (
            "t.toml",
            TEMPLATE.replace("{zone}", "a.test").replace("\". DS", "\"a.test. DS"),
            "a template has one [[zone]]",
        ),
        (
            "t.toml",
            TEMPLATE.replace("\". DS", "\"{zone} DS") + "fiel = \"x\"\n",
            "t.toml:6: zone[1]: unknown key 'fiel'",
        ),
    ] {
        let site = Site::new(ONE);
        site.keep("cat.test.", &[("b.test", "", "")]);
        let before = site.read(None);
        site.write(file, &text);
        let error = Config::load(&site.path("main.toml")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains('#'), "{says}: {error}");
        let after = site.read(Some(&before));
        assert!(said(&after).contains(says), "{says}: {}", said(&after));
        assert_eq!(after.zones, before.zones, "{says}");
        assert_eq!(after.zone_file_errors().and_then(ZoneFileErrors::of_files), None);
        std::fs::remove_file(site.path(file)).unwrap();
        let error = Config::load(&site.path("main.toml")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("{file}:1: ")), "{error}");
    }
    let site = Site::new(&ONE.replace("template = ", "members-below = [\"below.test\"]\ntemplate = "));
    site.keep("cat.test.", &[("bank.test", "", "")]);
    let config = Config::load(&site.path("main.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert!(config.warnings.iter().any(|w| w.what.contains("bank.test.")), "{:?}", config.warnings);
}

#[test]
fn a_trust_anchor_file_that_comes_is_a_change_for_a_zone_that_waits_for_it() {
    let site = Site::new(ONE);
    let anchor = "a.test. DS 1 13 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\n";
    let (head, _) = TEMPLATE.split_once("trust-anchors").unwrap();
    site.write("t.toml", &format!("{head}trust-anchor-file = \"{{file}}.ds\"\n"));
    site.keep("cat.test.", &[("a.test", "", "")]);
    let mark = |config: &Config| {
        let files = &config.zone_files;
        let mark = FolderMark::of(files.folder.as_deref(), Some(&site.path("state")), &files.others);
        mark.with_awaited(&files.awaited)
    };
    let waits = site.read(None);
    assert_eq!((names(&waits), &waits.zone_files.awaited), (Vec::new(), &vec![site.path("a.test.ds")]));
    assert_eq!(waits.zone_file_errors().map(|errors| errors.of_catalogs[0].zones), Some(1));
    assert_eq!(mark(&waits), waits.zone_files.mark);
    site.write("a.test.ds", anchor);
    assert_ne!(mark(&waits), waits.zone_files.mark);
    let taken = site.read(Some(&waits));
    assert_eq!((names(&taken), said(&taken)), (vec!["a.test.".to_owned()], String::new()));
    assert_eq!(mark(&taken), taken.zone_files.mark);
}

#[test]
fn what_cannot_work_is_said_with_its_line() {
    for (table, says) in [
        (
            ONE.replace("template = \"t.toml\"\ngroup-templates = { gold = \"gold.toml\" }\n", ""),
            "says nothing of its zones",
        ),
        (ONE.replace("file =", "primaries = [\"192.0.2.1\"]\nfile ="), "has file and primaries"),
        (ONE.replace("cat.test", &format!("{0}.{0}.{0}.{0}", "x".repeat(60))), "is too long"),
        (ONE.to_owned() + ONE, "is another catalog already"),
        (
            ONE.to_owned() + &TEMPLATE.replace("{zone}", "cat.test").replace("\". DS", "\"cat.test. DS"),
            "is the name of a [[catalog]]",
        ),
        ("[[catalog]]\nzone = \"cat.test\"\n".to_owned(), "nobody may transfer the catalog"),
        (ONE.replace("template =", "tenplate ="), "unknown key 'tenplate'"),
    ] {
        let site = Site::new(&table);
        let error = Config::load(&site.path("main.toml")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("main.toml:"), "{says}: {error}");
    }
}
