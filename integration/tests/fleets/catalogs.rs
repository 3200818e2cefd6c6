//! Zones from catalogs: BIND, Knot and NSD make one each, with the configuration that the manual prints, and our `serve` has their zones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use keystore::exchange::testing::TestKey;
use metrics::condition::ConditionId;
use metrics::health::Health;
use offline_ksk_integration::serve::ServeProcess;
use skr_loader::control::{ControlAnswer, ControlRequest, call};

use crate::common::{self, Named, free_port, wait_for};

const PAGE: &str = include_str!("../../../docs/manual/fleets.md");
const SECRET: &str = "b2ZmbGluZS1rc2stdGVzdHMtb25seS1rZXktMDAwMDA=";
const LIMIT: Duration = Duration::from_secs(60);

/// The block behind a heading of the page, with a secret in the place for it, and each of `changes` made.
fn block(heading: &str, number: usize, changes: &[(&str, &str)]) -> String {
    let behind = PAGE.split(&format!("\n## {heading}\n")).nth(1).expect(heading);
    let block = behind.split("\n```").nth(2 * number + 1).expect("a block");
    let block = block.split_once('\n').expect("the kind of the block, then the block").1;
    changes.iter().fold(block.replace("SECRET-OF-XFR", SECRET), |text, (from, to)| {
        assert!(text.contains(from), "the page has no {from}: {text}");
        text.replace(from, to)
    })
}

/// A program that ends when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

fn start(program: &str, dir: &Path, text: &str) -> Running {
    fs::create_dir_all(dir).expect("a folder");
    fs::write(dir.join("conf"), text).expect("write");
    let mut command = common::peer(program).expect("it was there");
    if program == "nsd" {
        command.arg("-d");
    }
    let output = fs::File::create(dir.join("output")).expect("a file");
    let child = command.arg("-c").arg(dir.join("conf")).stdout(Stdio::null()).stderr(output).spawn();
    Running(child.unwrap_or_else(|e| panic!("{program}: {e}")))
}

fn knot(dir: &Path, port: u16, told: u16) -> Running {
    let text = block(
        "Knot as producer: `knot.conf`",
        0,
        &[
            ("192.0.2.53", &format!("127.0.0.1@{told}")),
            ("customers.example", "knot.example"),
            ("example.net", "from-knot.test"),
            ("template:\n", &format!("template:\n  - id: default\n    storage: {0}\n", dir.display())),
            (
                "  - id: customer\n",
                &format!("  - id: customer\n    storage: {0}\n    file: {0}/zone\n", dir.display()),
            ),
        ],
    );
    fs::create_dir_all(dir).expect("a folder");
    fs::write(dir.join("zone"), "@ 300 SOA ns h 1 3600 600 86400 300\n@ 300 NS ns\nns 300 A 127.0.0.1\n")
        .expect("write");
    let folder = dir.display();
    let head = format!(
        "server:\n    rundir: {folder}\n    listen: 127.0.0.1@{port}\ncontrol:\n    listen: {folder}/knot.sock\nlog:\n  - target: {folder}/log\n    any: info\n\
         database:\n    storage: {folder}\n"
    );
    start("knotd", dir, &(head + &text))
}

/// NSD with a zone in its catalog, as `nsd-control addzone` has put it there.
fn nsd(dir: &Path, port: u16, told: u16) -> Running {
    let text = block(
        "NSD as producer: `nsd.conf`",
        0,
        &[
            ("192.0.2.53 xfr\n  notify: 192.0.2.53", &format!("127.0.0.1 xfr\n  notify: 127.0.0.1@{told}")),
            ("customers.example", "nsd.example"),
        ],
    );
    fs::create_dir_all(dir).expect("a folder");
    let zone = "@ 300 SOA ns h 1 3600 600 86400 300\n@ 300 NS ns\nns 300 A 127.0.0.1\n";
    fs::write(dir.join("from-nsd.test.zone"), zone).expect("write");
    fs::write(dir.join("zonelist"), "# NSD zone list\n# name pattern\ncat from-nsd.test customer a3246246\n")
        .expect("write");
    let folder = dir.display();
    let head = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  zonesdir: \"{folder}\"\n  pidfile: \"\"\n  logfile: \"{folder}/log\"\n\
         \x20 xfrdfile: \"{folder}/xfrd\"\n  xfrdir: \"{folder}\"\n  zonelistfile: \"{folder}/zonelist\"\n  server-count: 1\n\
         remote-control:\n  control-enable: yes\n  control-interface: \"{folder}/control\"\n"
    );
    start("nsd", dir, &(head + &text))
}

/// The catalog of BIND with these zones; one with `/TEXT` behind it has another label than without.
fn write_catalog(dir: &Path, serial: u32, version: &str, zones: &[&str]) {
    let mut text = block("BIND as producer: `named.conf`", 1, &[]);
    text = text.lines().take_while(|line| !line.contains(".zones")).map(|line| format!("{line}\n")).collect();
    text = text.replace(" 1 3600", &format!(" {serial} 3600")).replace("\"2\"", version);
    for entry in zones {
        let (zone, label) = (entry.split('/').next().expect("a name"), entry.replace(['.', '/'], "-"));
        text.push_str(&format!("l-{label}.zones 0 PTR {zone}.\ngroup.l-{label}.zones 0 TXT gold\n"));
    }
    fs::write(dir.join("customers.example.zone"), text).expect("write");
}

struct Site(PathBuf);

impl Site {
    fn health(&self) -> Health {
        let request = ControlRequest::Status { zones: Vec::new() };
        match call(&self.0.join("state/skr-loader.sock"), &request).expect("an answer") {
            ControlAnswer::Status(health) => *health,
            other => panic!("{other:?}"),
        }
    }

    fn zones(&self) -> Vec<String> {
        let mut zones: Vec<String> = self.health().zones.into_iter().map(|zone| zone.zone).collect();
        zones.sort();
        zones
    }

    /// What a condition of the host says, when it holds.
    fn said(&self, id: ConditionId) -> Option<String> {
        let conditions = self.health().conditions.into_iter();
        conditions
            .filter(|condition| condition.id == id)
            .map(|condition| condition.what)
            .reduce(|all, next| all + &next)
    }

    /// True when what came of a zone from its primaries is on disk with this word in it.
    fn has_content(&self, zone: &str, word: &str) -> bool {
        let of = |file| fs::read(self.0.join(format!("state/zones/{zone}/{file}"))).unwrap_or_default();
        ["content", "content-changes"]
            .into_iter()
            .any(|file| of(file).windows(word.len()).any(|w| w == word.as_bytes()))
    }
}

fn write_zone(dir: &Path, name: &str) {
    let text = format!(
        "@ 300 SOA ns h 1 3600 600 86400 300\n@ 300 NS ns\nns 300 A 127.0.0.1\n{name} 300 A 127.0.0.2\n"
    );
    fs::write(dir.join("a.test.zone"), text).expect("write");
}

/// BIND with its catalog and a zone.
fn bind(dir: &Path, port: u16, told: u16) -> Named {
    fs::create_dir_all(dir).expect("a folder");
    write_catalog(dir, 1, "\"2\"", &["a.test", "b.test"]);
    write_zone(dir, "before");
    let text = block(
        "BIND as producer: `named.conf`",
        0,
        &[
            ("192.0.2.53", &format!("127.0.0.1 port {told}")),
            ("notify explicit;", "notify explicit; notify-delay 0;"),
        ],
    );
    let zone = "zone \"a.test\" { type primary; file \"a.test.zone\"; allow-transfer { key \"xfr\"; }; notify no; };\n";
    Named::start_at(dir, &(text + zone), port).expect("named")
}

/// Writes our configuration, with these catalogs; zones with a group come from `gold`, others from `plain`.
fn write_ours(dir: &Path, ours: u16, catalogs: &[(&str, u16)], (gold, plain): (u16, u16)) {
    let at = |name: &str| dir.join(name);
    let mut tables = format!(
        "[transfer]\nkey-files = [\"xfr.key\"]\nmin-retry = \"1s\"\nmin-refresh = \"1s\"\n[signer]\nlisten = [\"127.0.0.1:{ours}\"]\n"
    );
    for (catalog, port) in catalogs {
        let of_manual = block("Zones from a catalog: `offline-ksk.toml`", 0, &[]);
        let of_manual = of_manual
            .split_once("[[catalog]]")
            .expect("the table")
            .1
            .replace("192.0.2.1", &format!("127.0.0.1:{port}"));
        tables.push_str(&format!("[[catalog]]{}\n", of_manual.replace("customers.example", catalog)));
    }
    let template =
        block("Zones from a catalog: `offline-ksk.toml`", 1, &[("192.0.2.1", &format!("127.0.0.1:{plain}"))]);
    fs::write(at("member.toml"), &template).expect("write");
    fs::write(at("gold.toml"), template.replace(&plain.to_string(), &gold.to_string())).expect("write");
    fs::create_dir(at("anchors")).expect("a folder");
    let key = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
    for zone in ["a.test", "b.test", "c.test", "from-knot.test", "from-nsd.test"] {
        fs::write(at("anchors").join(format!("{zone}.ds")), format!("{zone}. DNSKEY 257 3 15 {key}\n"))
            .expect("write");
    }
    let key = format!("key \"xfr\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    keystore::durable::write(&at("xfr.key"), key.as_bytes(), 0o600).expect("write");
    let text = format!(
        "version = 1\nstate-dir = \"state\"\n[ksr]\nenabled = false\n{tables}[policy.common]\noffline-ksk = true\n\
         keys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n"
    );
    fs::write(at("config.toml"), text).expect("write");
}

#[test]
fn zones_come_and_go_with_the_catalogs_of_three_products_and_stay_when_one_is_broken() {
    if ["rndc", "named", "knotd", "nsd"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let (ours, of_bind, of_knot, of_nsd) = (free_port(), free_port(), free_port(), free_port());
    let named = bind(&at("bind"), of_bind, ours);
    let _knot = knot(&at("knot"), of_knot, ours);
    let _nsd = nsd(&at("nsd"), of_nsd, ours);
    let catalogs = [("customers.example", of_bind), ("knot.example", of_knot), ("nsd.example", of_nsd)];
    write_ours(dir.path(), ours, &catalogs, (of_bind, of_knot));
    let serving = ServeProcess::start(&at("config.toml")).expect("it serves without a zone");
    let site = Site(dir.path().to_owned());
    let all = ["a.test.", "b.test.", "from-knot.test.", "from-nsd.test."];
    wait_for("the zones of all catalogs", LIMIT, || (site.zones() == all).then_some(()));
    // NOTIFY tells of what comes and goes.
    write_catalog(&at("bind"), 2, "\"2\"", &["a.test", "b.test", "c.test"]);
    named.rndc(&["reload"]);
    wait_for("one more zone", LIMIT, || (site.zones().len() == 5).then_some(()));
    write_catalog(&at("bind"), 3, "\"1\"", &["a.test"]);
    named.rndc(&["reload"]);
    let what = wait_for("the broken catalog to be told of", LIMIT, || site.said(ConditionId::CatalogFailing));
    assert!(what.contains("customers.example") && what.contains("version TXT"), "{what}");
    assert_eq!(site.zones().len(), 5, "a broken catalog changes nothing");
    write_catalog(&at("bind"), 4, "\"2\"", &["a.test", "b.test"]);
    named.rndc(&["reload"]);
    let is_well = || site.zones() == all && site.said(ConditionId::CatalogFailing).is_none();
    wait_for("a zone to be gone", LIMIT, || is_well().then_some(()));
    // A new label brings the content anew, though its serial is the same.
    wait_for("the content", LIMIT, || site.has_content("a.test.", "before").then_some(()));
    write_zone(&at("bind"), "behind");
    named.rndc(&["reload"]);
    write_catalog(&at("bind"), 5, "\"2\"", &["a.test/new", "b.test", "c.test", "gone.test"]);
    named.rndc(&["reload"]);
    wait_for("the content behind the new label", LIMIT, || {
        site.has_content("a.test.", "behind").then_some(())
    });
    // One without a trust anchor is refused alone, and taken when the anchor comes.
    let what =
        wait_for("the refused zone to be told of", LIMIT, || site.said(ConditionId::CatalogZonesRefused));
    assert!(what.contains("gone.test.ds") && site.zones().len() == 5, "{what}");
    let anchor = fs::read_to_string(at("anchors/a.test.ds")).expect("it was written");
    fs::write(at("anchors/gone.test.ds"), anchor.replace("a.test.", "gone.test.")).expect("write");
    let is_taken = || site.zones().len() == 6 && site.said(ConditionId::CatalogZonesRefused).is_none();
    wait_for("the zone to be taken", LIMIT, || is_taken().then_some(()));
    // An emptied catalog takes nothing away, over a restart without any primary either.
    let all = site.zones();
    write_catalog(&at("bind"), 6, "\"2\"", &[]);
    named.rndc(&["reload"]);
    let what = wait_for("the emptied catalog to be told of", LIMIT, || site.said(ConditionId::CatalogHeld));
    assert!(what.contains("4 of the 4 zones of the catalog customers.example. are not in it"), "{what}");
    assert_eq!(site.said(ConditionId::ConfigRejected), None);
    serving.stop();
    drop(named);
    let serving = ServeProcess::start(&at("config.toml")).expect("it serves");
    assert_eq!(site.zones(), all);
    serving.stop();
}
