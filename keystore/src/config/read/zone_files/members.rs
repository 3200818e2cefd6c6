//! The zones of catalogs that this host takes zones from: each is a template with its name put in, read as a zone file is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::super::Anchors;
use super::super::zone::ZoneReader;
use super::{OriginState, ZoneDocument, zones_of};
use crate::catalog::taken::TakenVersion;
use crate::catalog::{Catalog, Member};
use crate::config::catalog::{TakenCatalog, taken_path};
use crate::config::zone_files::{CatalogTrouble, CatalogTroubleKind, Origin, ZoneSource};
use crate::dns::Name;
use crate::policy::named_conf::read_regular;
use crate::policy::table::{Document, DocumentError};
use crate::policy::{PolicyFinding, Severity};

/// Largest template that is read, in octets.
const MAX_TEMPLATE: u64 = 1 << 20;
/// What stands for the name of the zone in a template, and for its name as that of a file.
const ZONE: &str = "{zone}";
const FILE: &str = "{file}";

/// What catalogs have.
#[derive(Default)]
pub(super) struct Members {
    /// A document for each zone, under a path that no other zone has.
    pub documents: Vec<ZoneDocument>,
    /// Zones whose template has errors, under the same paths: they stay as they are.
    pub without_template: Vec<(PathBuf, Name)>,
    /// Each catalog.
    pub states: Vec<(Name, OriginState)>,
    pub troubles: Vec<CatalogTrouble>,
    /// The errors of all templates, which stand among the troubles, too.
    pub template_errors: Vec<PolicyFinding>,
    /// The files of catalogs, and templates.
    pub files: Vec<PathBuf>,
}

/// The zones of these catalogs, as they were kept last. All templates are read, also those that no zone uses.
pub(super) fn read(catalogs: &[TakenCatalog], reader: &mut ZoneReader<'_>) -> Members {
    let mut found = Members::default();
    let Some(state_dir) = reader.state_dir else { return found };
    let mut all: BTreeMap<Name, Catalog> = BTreeMap::new();
    for catalog in catalogs {
        let file = taken_path(state_dir, &catalog.zone);
        let state = match TakenVersion::read(&file) {
            Ok(Some(TakenVersion { catalog: kept, .. })) => {
                let state =
                    if kept.members().is_empty() { OriginState::Empty } else { OriginState::HasZones };
                all.insert(catalog.zone.to_lowercase(), kept);
                state
            }
            // It has not come yet, or has come and was lost: what is in use of it stays.
            Ok(None) => OriginState::Unread,
            Err(error) => {
                let what = format!("what was kept of the catalog {}: {error}; its zones stay", catalog.zone);
                found.trouble(catalog, CatalogTroubleKind::Unread, 0, vec![error_at(&file, what)]);
                OriginState::Unread
            }
        };
        found.states.push((catalog.zone.clone(), state));
        found.files.push(file);
    }
    for catalog in catalogs {
        found.files.extend(catalog.templates().map(Path::to_owned));
        let mut templates: BTreeMap<&Path, Option<String>> = BTreeMap::new();
        for template in catalog.templates() {
            if !templates.contains_key(template) {
                let text = read_template(template, reader);
                templates.insert(template, text.map_err(|errors| found.bad_template(catalog, errors)).ok());
            }
        }
        let Some(kept) = all.get(&catalog.zone.to_lowercase()) else { continue };
        // A zone that changes its catalog is the other one's from when that has it (RFC 9432 section 4.3.1).
        let has_left = |zone: &Name, member: &Member| {
            let other = member.coo.as_ref().and_then(|coo| all.get(&coo.to_lowercase()));
            other.is_some_and(|other| other.members().contains_key(zone))
        };
        let here = kept.members().iter().filter(|(zone, member)| !has_left(zone, member));
        found.add(catalog, &templates, here);
    }
    found
}

impl Members {
    fn add<'a>(
        &mut self,
        catalog: &TakenCatalog,
        templates: &BTreeMap<&Path, Option<String>>,
        members: impl Iterator<Item = (&'a Name, &'a Member)>,
    ) {
        let (mut strangers, mut homeless) = (Vec::new(), Vec::new());
        for (zone, member) in members {
            if !catalog.may_have(zone) {
                strangers.push(zone);
                continue;
            }
            let Some(template) = catalog.template_of(member) else {
                homeless.push(zone);
                continue;
            };
            let file = file_of(template, &catalog.zone, zone);
            match templates.get(template) {
                Some(Some(text)) => {
                    let doc = Document::from_octets(filled(text, zone).into_bytes(), &file);
                    let origin = Origin::Catalog(catalog.zone.clone());
                    self.documents.push(ZoneDocument { doc, file, origin });
                }
                Some(None) | None => self.without_template.push((file, zone.clone())),
            }
        }
        self.left_out(catalog, &strangers, "are not below any of members-below, and are left out");
        self.left_out(catalog, &homeless, "have no group that has a template, and are left out");
    }

    fn left_out(&mut self, catalog: &TakenCatalog, zones: &[&Name], what: &str) {
        if let Some(first) = zones.first() {
            let what = format!("{} zone(s) of the catalog {} {what}: {first}", zones.len(), catalog.zone);
            let finding = error_at(&catalog.file, what);
            self.trouble(catalog, CatalogTroubleKind::Refused, zones.len(), vec![finding]);
        }
    }

    fn bad_template(&mut self, catalog: &TakenCatalog, errors: Vec<PolicyFinding>) {
        self.template_errors.extend(errors.iter().cloned());
        self.trouble(catalog, CatalogTroubleKind::Refused, 0, errors);
    }

    fn trouble(
        &mut self,
        catalog: &TakenCatalog,
        kind: CatalogTroubleKind,
        zones: usize,
        findings: Vec<PolicyFinding>,
    ) {
        let known = self.troubles.iter_mut().find(|t| t.catalog == catalog.zone && t.kind == kind);
        match known {
            Some(known) => {
                known.zones += zones;
                known.findings.extend(findings);
            }
            None => {
                self.troubles.push(CatalogTrouble { catalog: catalog.zone.clone(), kind, zones, findings });
            }
        }
    }
}

fn error_at(file: &Path, what: String) -> PolicyFinding {
    PolicyFinding { severity: Severity::Error, path: file.to_owned(), line: 1, what }
}

/// The path under which a zone is read: in the folder of its template, so that relative paths count from there.
fn file_of(template: &Path, catalog: &Name, zone: &Name) -> PathBuf {
    let mut name = template.file_name().unwrap_or_default().to_owned();
    name.push(format!("#{}#{}", catalog.file_name(), zone.file_name()));
    template.with_file_name(name)
}

/// The template with the name of the zone put in. Names come from strangers: what TOML reads as more than itself is escaped, and `{file}` has
/// nothing that leads to another folder.
fn filled(template: &str, zone: &Name) -> String {
    let name = zone.to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let file = zone.file_name();
    let file = file.strip_suffix('.').filter(|file| !file.is_empty()).unwrap_or("@");
    // One after the other would look for {file} in what was put in for {zone}.
    let parts = template.split(ZONE).map(|part| part.replace(FILE, file));
    parts.collect::<Vec<_>>().join(&name)
}

/// The text of a template, when a zone of it would read: one `[[zone]]` with the name of the zone. Its trust anchors may be missing, since there is no such
/// zone.
fn read_template(path: &Path, reader: &mut ZoneReader<'_>) -> Result<String, Vec<PolicyFinding>> {
    let text = read_text(path).map_err(|error| vec![error_at(path, error.to_string())])?;
    // It is the name of no zone (RFC 6761 section 6.4).
    let sample =
        Name::parse("zone-of-a-catalog.invalid").map_err(|error| vec![error_at(path, error.to_string())])?;
    let doc = match Document::from_octets(filled(&text, &sample).into_bytes(), path) {
        Ok(doc) => doc,
        Err(DocumentError::Findings(findings)) => return Err(findings),
        Err(DocumentError::Io { source, .. }) => return Err(vec![error_at(path, source.to_string())]),
    };
    let need = std::mem::replace(&mut reader.need, Anchors::ToBeLearnt);
    reader.begin_file();
    let zones = zones_of(&doc, &ZoneSource::ZoneFile(path.into()), reader);
    reader.undo_file();
    reader.need = need;
    let is_one = zones.as_ref().is_none_or(|zones| zones.len() == 1 && zones[0].name == sample);
    if !is_one {
        doc.note(doc.place(0..0).error("a template has one [[zone]], with name = \"{zone}\""));
    }
    match doc.into_findings() {
        Ok(_) if zones.is_some() => Ok(text),
        Ok(findings) | Err(findings) => Err(findings),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_regular(path, MAX_TEMPLATE)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::config::Config;
    use crate::config::zone_files::memory::Program;
    use crate::config::zone_files::{FolderMark, InUse, ZoneFileErrors, release};
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
        assert!(said(&config).contains("members-below, and are left out: bank.test."), "{}", said(&config));
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
            assert_eq!(site.read(None).zones, before.zones);
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
            said(&clash).contains("#new.test.#a.test.:2: ")
                && said(&clash).contains("already configured in "),
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

    #[test]
    fn a_catalog_as_zone_of_a_catalog_is_left_out() {
        let other = ONE.replace("cat.test", "other.test");
        let site = Site::new(&format!("{ONE}{other}"));
        site.keep("cat.test.", &[("a.test", "", ""), ("cat.test", "", ""), ("other.test", "", "")]);
        let config = site.read(None);
        assert_eq!(names(&config), ["a.test."]);
        for name in ["cat.test.", "other.test."] {
            assert!(
                said(&config).contains(&format!("{name} is the name of a [[catalog]]")),
                "{}",
                said(&config)
            );
        }
    }

    #[test]
    fn errors_of_templates_are_told_with_file_and_line_also_where_no_zone_uses_them_and_what_catalogs_have_is_a_warning()
     {
        for (file, text, says) in [
            (
                "gold.toml",
                "[[zone]]\nname = \"{zone}\"\n".to_owned(),
                "gold.toml:1: zone[1]: policy is missing",
            ),
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
}
