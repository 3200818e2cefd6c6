//! `zones-directory` and `offline-ksk zone`, with the programs that watch the folder.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use domain::base::iana::Rtype;
use keystore::clock;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::files::find;
use metrics::condition::ConditionId;
use metrics::health::Health;
use offline_ksk_integration::serve::ServeProcess;
use offline_ksk_integration::validator::Validator;
use skr_loader::control::{ControlAnswer, ControlRequest, call};

use crate::common::wait_for;

const LIMIT: Duration = Duration::from_secs(60);
const DAY: u64 = 86_400;

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(more: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().expect("a folder") };
        fs::create_dir_all(site.path("zones.d")).expect("a folder");
        let text = format!(
            "version = 1\nstate-dir = \"state\"\nzones-directory = \"zones.d\"\n{more}[ksr]\nlead = \"P20D\"\nperiod = \"P60D\"\n[policy.p]\n\
             offline-ksk = true\nkeys = [\n  {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n  \
             {{ role = \"zsk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n]\n"
        );
        fs::write(site.path("config.toml"), text).expect("write");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `offline-ksk zone …`: exit code and all that it printed.
    fn zone(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        command.arg("zone").arg(words[0]).arg("-c").arg(self.path("config.toml")).args(&words[1..]);
        let Output { status, stdout, stderr } = command.output().expect("a run");
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    /// Puts a zone file into the folder at one blow.
    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).expect("write");
        fs::rename(self.path("new"), self.path("zones.d").join(name)).expect("rename");
    }

    fn ask(&self, request: &ControlRequest) -> ControlAnswer {
        call(&self.path("state/skr-loader.sock"), request).expect("an answer")
    }

    fn health(&self) -> Health {
        let ControlAnswer::Status(health) = self.ask(&ControlRequest::Status { zones: Vec::new() }) else {
            panic!()
        };
        *health
    }

    /// What CONFIG-REJECTED says of the host, when it holds.
    fn rejected(&self) -> Option<String> {
        let conditions = self.health().conditions.into_iter();
        let found = conditions.filter(|condition| condition.id == ConditionId::ConfigRejected);
        found.map(|condition| condition.what).reduce(|all, next| all + &next)
    }

    fn has_request(&self, zone: &str) -> bool {
        let entries = fs::read_dir(self.path("state/outbox").join(zone)).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.path().extension().is_some_and(|e| e == "ksr"))
    }
}

fn anchor(zone: &str) -> String {
    let key = TestKey::ksk(1).dnskey;
    format!("{zone} 3600 IN DNSKEY 257 3 15 {}", data_encoding::BASE64.encode(&key.public_key))
}

fn zone_file(zone: &str) -> String {
    format!("[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\ntrust-anchors = [\"{}\"]\n", anchor(zone))
}

#[test]
fn zones_are_added_served_broken_and_removed_without_a_restart() {
    let site = Site::new("[signer]\nlisten = [\"127.0.0.1:0\"]\n");
    let (code, said) = site.zone(&["add", "x.test", "--trust-anchor", "nonsense"]);
    assert!(code == Some(1) && said.contains("x.test.toml:"), "{said}");
    assert!(!site.path("zones.d/x.test.toml").exists(), "nothing was written");
    let serving = ServeProcess::start(&site.path("config.toml")).expect("it serves without a zone");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = *serving.dns().first().expect("an address");
    let answer = |zone: &str| {
        runtime.block_on(async {
            let validator = Validator::new(address, &anchor(zone)).expect("a validator");
            let www = validator.ask(&format!("www.{zone}"), Rtype::A).await;
            www.map_or_else(|error| format!("{error:#}"), |answer| format!("{:?}", answer.state))
        })
    };

    fs::write(
        site.path("a.zone"),
        "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n",
    )
    .expect("write");
    let file = site.path("a.zone");
    let add =
        ["add", "a.test", "--file", file.to_str().expect("a path"), "--trust-anchor", &anchor("a.test.")];
    let (code, said) = site.zone(&add);
    assert_eq!(code, Some(0), "{said}");
    for words in
        ["added, with policy p", "the running loader has taken it: 1 zone(s)", "outbox/a.test.", "inbox"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let (code, said) = site.zone(&add);
    assert!(code == Some(1) && said.contains("a.test. is there already"), "{said}");
    wait_for("the first request", LIMIT, || site.has_request("a.test.").then_some(()));
    let name = Name::parse("a.test").expect("a name");
    let zsk = find(&site.path("state/keys"), &name).expect("keys").keys.remove(0).dnskey;
    let skr = SkrBuilder::new("a.test.", clock::now().minus(DAY)).bundles(1).zsk(zsk).text();
    fs::write(site.path("skr"), skr).expect("write");
    fs::rename(site.path("skr"), site.path("state/inbox/a.skr")).expect("rename");
    wait_for("a.test to validate", LIMIT, || (answer("a.test.") == "Secure").then_some(()));

    // By hand: the folder is watched.
    site.put("b.toml", &zone_file("b.test."));
    wait_for("b.test", LIMIT, || (site.health().zones.len() == 2).then_some(()));
    site.put("a.test.toml", "[[zone]]\nname = \"a.test\"\n");
    let what = wait_for("CONFIG-REJECTED", LIMIT, || site.rejected());
    assert!(what.contains("a.test.toml:1: zone[1]: policy is missing"), "{what}");
    // A reload that is asked for says the same, and takes all else.
    site.put("c.toml", &zone_file("c.test."));
    let reloaded = site.ask(&ControlRequest::Reload {});
    assert!(
        matches!(&reloaded, ControlAnswer::PartlyReloaded { zones: 3, findings, .. } if findings[0].contains("a.test.toml:1: ")),
        "{reloaded:?}"
    );
    assert_eq!((answer("a.test.").as_str(), site.health().zones.len()), ("Secure", 3));
    let (code, said) = site.zone(&["list"]);
    assert!(code == Some(1) && said.contains("a.test.toml:1: ") && said.contains("b.test."), "{said}");
    site.put("a.test.toml", &(zone_file("a.test.") + &format!("file = \"{}\"\n", file.display())));
    wait_for("the end of CONFIG-REJECTED", LIMIT, || site.rejected().is_none().then_some(()));

    let (code, said) = site.zone(&["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!(
        (code, &listed[0]["zone"], &listed[0]["accepted"]),
        (Some(0), &"a.test.".into(), &true.into())
    );
    let (code, said) = site.zone(&["remove", "a.test"]);
    assert!(code == Some(1) && said.contains("say --yes"), "{said}");
    for (words, left) in [(vec!["remove", "--yes", "a.test"], 2), (vec!["remove", "b.test"], 1)] {
        let (code, said) = site.zone(&words);
        let taken = format!("the running loader has taken it: {left} zone(s)");
        assert!(code == Some(0) && said.contains(&taken), "{said}");
    }
    wait_for("a.test to be gone", LIMIT, || (answer("a.test.") != "Secure").then_some(()));
    assert!(site.path("state/accepted/a.test./current").exists(), "what was accepted stays");
    assert_eq!(find(&site.path("state/keys"), &name).expect("keys").keys.len(), 1, "and the keys");
    serving.stop();
}

#[test]
fn zones_stay_when_their_folder_is_emptied_and_go_when_a_person_releases_them() {
    let site = Site::new("");
    for zone in ["a.test.", "b.test.", "c.test."] {
        site.put(&format!("{zone}toml"), &zone_file(zone));
    }
    let serving = ServeProcess::start(&site.path("config.toml")).expect("it serves");
    fs::rename(site.path("zones.d"), site.path("moved")).expect("rename");
    fs::create_dir(site.path("zones.d")).expect("a folder");
    let what = wait_for("CONFIG-REJECTED", LIMIT, || site.rejected());
    assert!(what.contains("config.toml:3: 3 of the 3 zones of zone files are in no file any more"), "{what}");
    assert_eq!(site.health().zones.len(), 3);
    let (code, said) = site.zone(&["add", "d.test", "--trust-anchor", &anchor("d.test.")]);
    assert!(code == Some(1) && said.contains("is not as it was; nothing is added to it"), "{said}");
    // A restart changes nothing.
    serving.stop();
    let serving = ServeProcess::start(&site.path("config.toml")).expect("it serves");
    assert_eq!((site.health().zones.len(), site.rejected().is_some()), (3, true));
    let (code, said) = site.zone(&["release", "a.test", "b.test"]);
    assert!(code == Some(0) && said.contains("has taken it; not all of the zone files"), "{said}");
    assert_eq!(site.health().zones.len(), 1, "the third one is held until it is released, too");
    let (code, said) = site.zone(&["release", "--all"]);
    assert!(code == Some(0) && said.contains("the running loader has taken it: 0 zone(s) now"), "{said}");
    wait_for("the end of CONFIG-REJECTED", LIMIT, || site.rejected().is_none().then_some(()));
    assert_eq!(site.zone(&["release", "--all"]), (Some(0), "no zone is held\n".to_owned()));
    serving.stop();
}

#[test]
fn the_request_timer_takes_zone_files_by_itself() {
    struct Running(Child);
    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let site = Site::new("");
    site.put("bad.toml", "zone = 1\n");
    site.put("a.toml", &zone_file("a.test."));
    let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
    command
        .arg("requests")
        .arg("-c")
        .arg(site.path("config.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _running = Running(command.spawn().expect("a process"));
    wait_for("the request of a zone beside a bad file", LIMIT, || site.has_request("a.test.").then_some(()));
    site.put("bad.toml", &(zone_file("b.test.") + &zone_file("c.test.")));
    for zone in ["b.test.", "c.test."] {
        wait_for("the requests of new zones", LIMIT, || site.has_request(zone).then_some(()));
    }
}

#[test]
fn what_cannot_be_added_or_removed_is_said_and_nothing_is_written() {
    let site = Site::new("");
    let anchor = anchor("a.test.");
    let text = fs::read_to_string(site.path("config.toml")).expect("readable");
    for (config, words, expected) in [
        (
            text.replace("zones-directory", "# ") + &zone_file("m.test."),
            vec!["add", "a.test", "--trust-anchor", &anchor],
            "names no folder for files of zones",
        ),
        (
            text.clone() + "[policy.q]\n",
            vec!["add", "a.test", "--trust-anchor", &anchor],
            "--policy p or --policy q",
        ),
        (
            text.clone(),
            vec!["add", "a.test", "--policy", "q", "--trust-anchor", &anchor],
            "a.test.toml:3: zone[1].policy",
        ),
        (
            text.clone(),
            vec!["add", "b.test", "--trust-anchor", &anchor],
            "b.test.toml:5: zone[1].trust-anchors[1]",
        ),
        (
            text.clone(),
            vec!["add", "a.test", "--trust-anchor-file", "/nonexistent"],
            "/nonexistent: No such file",
        ),
        (
            text.clone() + &zone_file("a.test."),
            vec!["add", "a.test", "--trust-anchor", &anchor],
            "a.test. is there already",
        ),
        (text.clone() + &zone_file("a.test."), vec!["remove", "a.test"], "remove its [[zone]] there"),
        (text.clone(), vec!["remove", "a.test"], "a.test. is no zone of "),
        (text.clone(), vec!["remove", "m1.test"], "has other zones, too (m2.test.)"),
    ] {
        fs::write(site.path("config.toml"), config).expect("write");
        let many = zone_file("m1.test.") + &zone_file("m2.test.");
        if words[1] == "m1.test" {
            site.put("many.toml", &many);
        }
        let (code, said) = site.zone(&words);
        assert!(code == Some(1) && said.contains(expected), "{words:?}: {said}");
        assert!(!site.path("zones.d/a.test.toml").exists(), "{words:?}");
    }
    // A folder that is missing may be one that is not mounted.
    let add = ["add", "a.test", "--trust-anchor", &anchor];
    fs::remove_dir_all(site.path("zones.d")).expect("remove");
    fs::write(site.path("config.toml"), &text).expect("write");
    let (code, said) = site.zone(&add);
    assert!(code == Some(1) && said.contains("config.toml:3: zones-directory: "), "{said}");
    assert!(!site.path("zones.d").exists());
    // Without a daemon the folder alone counts.
    fs::create_dir(site.path("zones.d")).expect("a folder");
    let (code, said) = site.zone(&add);
    assert!(code == Some(0) && said.contains("no loader runs here"), "{said}");
    for table in
        ["[probe]\n", "[[deliver.named]]\nname = \"n\"\nfolder = \"skr\"\naddress = \"127.0.0.1:53\"\n"]
    {
        let named = format!("{text}{table}zones = [\"a.test\"]\n");
        fs::write(site.path("config.toml"), named).expect("write");
        let (code, said) = site.zone(&["remove", "a.test"]);
        assert!(code == Some(1) && said.contains("a.test. is named in zones of ["), "{said}");
        assert!(site.path("zones.d/a.test.toml").exists());
    }
    fs::write(site.path("config.toml"), &text).expect("write");
    let (code, said) = site.zone(&["remove", "a.test"]);
    assert!(code == Some(0) && !site.path("zones.d/a.test.toml").exists(), "{said}");
}
