//! Files of many zones against BIND: requests that `dnssec-ksr` made, one behind the other, are signed in one run and split by the
//! loader; and parts of our file are requests and responses that `dnssec-ksr` takes and makes.

mod common;

use std::path::Path;
use std::process::Command;

use keystore::clock;
use keystore::config::Config;
use keystore::dns::Name;
use keystore::exchange::{format, many};
use metrics::Metrics;
use skr_loader::loader::{ImportOutcome, Loader};

const ZONES: [&str; 3] = ["a.test.", "b.test.", "c.test."];
const POLICY: &str = "dnssec-policy many {\n  offline-ksk yes;\n  keys { ksk lifetime unlimited algorithm ecdsap256sha256; \
                      zsk lifetime P6M algorithm ecdsap256sha256; };\n};\n";

fn options(command: &mut Command, dir: &Path, side: &str) {
    let words = ["-k", "many", "-l", "policy.conf", "-K", side, "-i", "now-2d", "-e", "now+1y"];
    command.current_dir(dir).args(words);
}

fn ours(dir: &Path, side: &str, more: &[&str]) -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).with_file_name("ksr-gen");
    assert!(path.exists(), "ksr-gen is not built; test the whole workspace (cargo nextest run --workspace)");
    let mut command = Command::new(path);
    options(&mut command, dir, side);
    common::stdout(command.args(more))
}

fn theirs(dir: &Path, side: &str, more: &[&str]) -> String {
    let mut command = common::peer("dnssec-ksr").expect("dnssec-ksr was there");
    options(&mut command, dir, side);
    common::stdout(command.args(more))
}

/// The KSK of a zone as trust anchor.
fn anchor(dir: &Path, zone: &str) -> String {
    let names = std::fs::read_dir(dir.join("ksk")).expect("a folder").map(|e| e.expect("an entry").path());
    let is_key = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.starts_with(&format!("K{zone}+")) && name.ends_with(".key")
    };
    let text = std::fs::read_to_string(names.into_iter().find(is_key).expect("a KSK")).expect("text");
    text.lines().find(|line| !line.starts_with(';')).expect("a record").replace('\t', " ")
}

/// Drops the file into a new loader for the three zones; gives zone and whether it was accepted.
fn load(dir: &Path, state: &str, skr: &str) -> Vec<(String, bool)> {
    let mut text = format!("version = 1\nstate-dir = \"{state}\"\nnamed-conf = \"policy.conf\"\n");
    for zone in ZONES {
        text.push_str(&format!(
            "[[zone]]\nname = \"{zone}\"\npolicy = \"many\"\nkey-directory = \"zsk\"\ntrust-anchors = ['{}']\n",
            anchor(dir, zone)
        ));
    }
    let path = dir.join("offline-ksk.toml");
    std::fs::write(&path, text).expect("write");
    let inbox = dir.join(state).join("inbox");
    let config = Config::load(&path).expect("a configuration");
    let mut loader = Loader::new(config, Metrics::new().expect("metrics")).expect("a loader");
    std::fs::create_dir_all(&inbox).expect("the inbox");
    std::fs::write(dir.join("aside"), skr).expect("write");
    std::fs::rename(dir.join("aside"), inbox.join("all.skr")).expect("rename");
    // As long after the file was written as if nobody had told of it.
    let now = clock::now().plus(31);
    let imports = loader.step(now).imports;
    let told = imports.iter().map(|import| {
        let accepted = matches!(import.outcome, ImportOutcome::Accepted { .. });
        if !accepted {
            eprintln!("{import:?}");
        }
        (import.zone.as_ref().map(Name::to_string).unwrap_or_default(), accepted)
    });
    told.collect()
}

#[test]
fn many_zones_there_and_back_with_bind_on_either_side() {
    peer!("dnssec-ksr");
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path();
    for side in ["ksk", "zsk"] {
        std::fs::create_dir(dir.join(side)).expect("a folder");
    }
    std::fs::write(dir.join("policy.conf"), POLICY).expect("write");
    for zone in ZONES {
        theirs(dir, "ksk", &["-o", "keygen", zone]);
        theirs(dir, "zsk", &["keygen", zone]);
    }
    let accepted = ZONES.map(|zone| (zone.to_owned(), true)).to_vec();

    // BIND's requests, our responses.
    let requests: String = ZONES.iter().map(|zone| theirs(dir, "zsk", &["request", zone])).collect();
    std::fs::write(dir.join("bind.ksr"), requests).expect("write");
    let skr = ours(dir, "ksk", &["--allow-no-pop", "-f", "bind.ksr", "sign", "--all"]);
    assert_eq!(load(dir, "state-1", &skr), accepted);

    // Our requests, BIND's responses, part by part.
    let requests = ours(dir, "zsk", &["request", "--all"]);
    let mut responses = String::new();
    for (section, zone) in many::split(requests.as_bytes()).expect("few").iter().zip(ZONES) {
        assert_eq!(section.zone(), Some(Name::parse(zone).expect("a name")));
        std::fs::write(dir.join("part.ksr"), section.octets).expect("write");
        responses.push_str(&theirs(dir, "ksk", &["-f", "part.ksr", "sign", zone]));
    }
    assert_eq!(load(dir, "state-2", &responses), accepted);

    // One zone of BIND's altered: the others are taken.
    let sections = many::split(responses.as_bytes()).expect("few");
    let altered = sections[1].octets;
    let zone = Name::parse(ZONES[1]).expect("a name");
    let mut bad = format::parse_skr(altered, &zone).expect("an SKR");
    bad.bundles[0].signatures[0].signature[3] ^= 1;
    let bad = keystore::exchange::bind::print_skr(&bad, clock::now(), "a test");
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
    let all = format!("{}{bad}{}", text(sections[0].octets), text(sections[2].octets));
    let mut want = accepted;
    want[1].1 = false;
    assert_eq!(load(dir, "state-3", &all), want);
}
