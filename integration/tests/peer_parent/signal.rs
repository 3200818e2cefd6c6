//! `offline-ksk signal`: what it prints is put into a signed zone at named, and found through unbound.

use std::path::Path;
use std::process::Command;

use keystore::clock;

use crate::common;
use crate::told::{Resolver, ZONE, host, parent};

fn signal(dir: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
    command.args(["signal", ZONE, "-c"]).arg(dir.join("config.toml")).args(arguments);
    let output = command.output().expect("it runs");
    (common::text(&output), output.status.code())
}

#[test]
fn signaling_records_that_are_printed_are_found_through_unbound_when_they_are_in_the_zone_of_the_nameserver()
{
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("host");
    // One bundle is in force, whoever is asked.
    host(&dir, clock::now().plus(3600), common::free_port(), common::free_port());
    let (records, code) = signal(&dir, &["--nameserver", "ns.test"]);
    assert_eq!(code, Some(0), "{records}");
    let names = records.lines().filter(|line| line.starts_with("_dsboot.child.test._signal.ns.test. "));
    assert_eq!((names.count(), records.lines().count()), (2, 2), "{records}");
    let (said, code) = signal(&dir, &["--nameserver", "ns.child.test", "ns.test"]);
    assert!(
        code == Some(1) && said.contains("ns.child.test. is in the zone itself") && said.contains(&records),
        "{said}"
    );
    // The other nameserver has another key's records.
    let other = records.replace("_signal.ns.", "_signal.other.").replace(" 257 3 ", " 256 3 ");
    let Some((named, anchor)) = parent(&temp.path().join("parent"), &format!("{records}{other}")) else {
        return;
    };
    let Some(resolver) = Resolver::start(&temp.path().join("resolver"), &anchor, named.port) else { return };
    let asked = format!("127.0.0.1:{}", resolver.port);
    let check =
        |nameserver: &str| signal(&dir, &["--nameserver", nameserver, "--check", "--resolver", &asked]);
    let good = "there, validated, and those of the bundle in force";
    let (said, code) = check("ns.test");
    assert!(code == Some(0) && said.matches(good).count() == 2, "{said}");
    let (said, code) = check("other.test");
    assert!(code == Some(1) && said.contains(good) && said.contains("CDNSKEY: other records"), "{said}");
    let (said, code) = check("third.test");
    assert!(code == Some(1) && said.matches("not there").count() == 2, "{said}");
}
