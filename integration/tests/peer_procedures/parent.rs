//! The zone above: signed, served by a named of its own, with DS records that follow the CDS records of the zones below.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::common::{self, Named};

/// The zone `test`, and the DS records in it.
pub struct Parent {
    dir: PathBuf,
    named: Named,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    serial: u32,
    /// TTL of the DS records, and of all others.
    ttl: u64,
    /// Record data of the DS records of each zone, sorted.
    ds: BTreeMap<String, Vec<String>>,
}

impl Parent {
    /// Makes the key and the zone. `None` when a program is missing.
    pub fn start(dir: &Path, zones: &[&str], ds_ttl: u64) -> Option<Self> {
        let mut keygen = common::peer("dnssec-keygen")?;
        common::peer("dnssec-signzone")?;
        fs::create_dir(dir).expect("a folder");
        common::run(keygen.args(["-q", "-a", "13", "-f", "KSK", "-K"]).arg(dir).arg("test."));
        let mut content = Content { ttl: ds_ttl, ..Content::default() };
        content.ds.extend(zones.iter().map(|zone| ((*zone).to_owned(), Vec::new())));
        content.sign(dir);
        let named = Named::start(dir, "zone \"test\" { type primary; file \"signed\"; };")?;
        Some(Self { dir: dir.to_owned(), named, content: Mutex::new(content) })
    }

    pub const fn port(&self) -> u16 {
        self.named.port
    }

    /// The DNSKEY record that vouches for the parent.
    pub fn anchor(&self) -> String {
        let keys = fs::read_dir(&self.dir).expect("the folder").map(|entry| entry.expect("an entry").path());
        let key = keys.into_iter().find(|path| path.extension().is_some_and(|end| end == "key"));
        let text = fs::read_to_string(key.expect("a key")).expect("text");
        text.lines().find(|line| !line.starts_with(';')).expect("a record").to_owned()
    }

    /// Whether the zone has DS records.
    pub fn has_ds(&self, zone: &str) -> bool {
        !self.content.lock().expect("no panic there").ds[zone].is_empty()
    }

    /// Takes these DS records for the zone, where they are others than before.
    pub fn set_ds(&self, zone: &str, mut ds: Vec<String>) {
        ds.sort();
        let mut content = self.content.lock().expect("no panic there");
        let before = content.ds.insert(zone.to_owned(), ds.clone());
        if before.as_ref() != Some(&ds) {
            content.sign(&self.dir);
            let output = self.named.rndc(&["reload", "test"]);
            assert!(output.status.success(), "{}", common::text(&output));
            // It loads in the background; what a resolver learns before that would stay in its cache.
            let serial = content.serial.to_string();
            common::wait_for("the parent to load its zone", Duration::from_secs(20), || {
                let mut dig = common::peer("dig")?;
                let port = self.named.port.to_string();
                let said = common::stdout(dig.args(["@127.0.0.1", "-p", &port, "+short", "test", "SOA"]));
                said.split_whitespace().any(|word| word == serial).then_some(())
            });
        }
    }

    /// Reads the CDS records of a zone through a validating resolver, as RFC 7344 has it, and does what they say.
    pub fn follow_cds(&self, zone: &str, resolver: u16) {
        let mut dig = common::peer("dig").expect("it was there");
        dig.args(["@127.0.0.1", "-p", &resolver.to_string(), "+adflag", "+noall", "+comments", "+answer"]);
        let said = common::text(&dig.args([zone, "CDS"]).output().expect("dig runs"));
        let flags = said.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
        let records = said.lines().filter_map(|line| Some(line.split_once("\tCDS\t")?.1.to_owned()));
        let cds: Vec<String> = records.collect();
        if cds.is_empty() || !flags.split([' ', ';']).any(|flag| flag == "ad") {
            return;
        }
        let is_removal = cds.iter().all(|record| record.starts_with("0 0 0 "));
        self.set_ds(zone, if is_removal { Vec::new() } else { cds });
    }
}

impl Content {
    fn sign(&mut self, dir: &Path) {
        self.serial += 1;
        let mut text = format!(
            "$TTL {ttl}\n@ SOA ns h {} 3600 600 86400 {ttl}\n@ NS ns\nns A 127.0.0.1\n",
            self.serial,
            ttl = self.ttl
        );
        for (zone, ds) in &self.ds {
            text.push_str(&format!("{zone}. NS ns\n"));
            ds.iter().for_each(|record| text.push_str(&format!("{zone}. DS {record}\n")));
        }
        fs::write(dir.join("unsigned"), text).expect("write");
        let mut signzone = common::peer("dnssec-signzone").expect("it was there");
        signzone.current_dir(dir).args([
            "-q",
            "-z",
            "-S",
            "-K",
            ".",
            "-o",
            "test",
            "-f",
            "signed.new",
            "unsigned",
        ]);
        common::run(&mut signzone);
        fs::rename(dir.join("signed.new"), dir.join("signed")).expect("rename");
    }
}
