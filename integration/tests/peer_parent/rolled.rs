//! A KSK roll at a real parent: the commands `ds-ready` and `ds-seen` change its DS records by DNS UPDATE, `ds-gone` tells when the old one
//! has left, and every answer that unbound has of the child meanwhile is authentic.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::dns::{Name, Rtype, rdata};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::store::{digest, format_current};
use keystore::time::Timestamp;
use offline_ksk_integration::serve::ServeProcess;
use skr_loader::ask::Asker;

use crate::common::{self, Named};
use crate::told::{Resolver, ZONE, host};

/// Old and new KSK.
const OLD: u8 = 1;
const NEW: u8 = 5;
/// Seconds in which both KSKs sign.
const BOTH: u64 = 10;
/// The key of updates at the parent, in named's syntax.
const KEY: &str =
    "key \"update\" { algorithm hmac-sha256; secret \"b2ZmbGluZS1rc2stdGVzdHMtb25seS1rZXktMDAwMDA=\"; };\n";
const LIMIT: Duration = Duration::from_secs(60);

/// A named that signs the zone `test` by itself, and takes updates; its DS record of the child is that of the old KSK.
fn parent(dir: &Path) -> Option<Named> {
    fs::create_dir(dir).expect("a folder");
    let ds = TestKey::ksk(OLD).dnskey.ds_rdata(&Name::parse(ZONE).expect("a name"), 2).expect("SHA-256");
    let zone = format!(
        "$TTL 1\n@ SOA ns h 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\nchild NS ns.child\nns.child A 127.0.0.1\nchild DS {}\n",
        rdata::to_text(Rtype::DS, &ds, None)
    );
    fs::write(dir.join("zone"), zone).expect("write");
    let statements = "dnssec-policy p { keys { csk lifetime unlimited algorithm 13; }; };\n\
        zone \"test\" { type primary; file \"zone\"; dnssec-policy p; inline-signing no; allow-update { key update; }; };";
    let named = Named::start(dir, &format!("{KEY}{statements}"))?;
    common::wait_for("the parent to sign", LIMIT, || {
        dig(named.port, &["+dnssec", ZONE, "DS"]).contains("RRSIG").then_some(())
    });
    Some(named)
}

fn dig(port: u16, words: &[&str]) -> String {
    let mut dig = common::peer("dig").expect("it was there");
    dig.args(["@127.0.0.1", "-p", &port.to_string(), "+norec", "+noall", "+answer"]).args(words);
    common::text(&dig.output().expect("a run"))
}

/// The command of the manual for all events, with a line behind it that tells of each.
fn command(path: &Path, parent: u16, key: &Path) {
    let page = include_str!("../../../docs/manual/parent.md");
    let text = page
        .split("```text\n#!/bin/sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the command");
    let [nsupdate, dig] = ["nsupdate", "dig"].map(|program| {
        common::peer(program).expect("it was there").get_program().to_string_lossy().into_owned()
    });
    let changes = [
        ("parent=192.0.2.2 zone=example.com", "parent=127.0.0.1 zone=test".to_owned()),
        ("'server %s\\n", format!("'server %s {parent}\\n")),
        ("nsupdate -k /etc/offline-ksk/parent.key", format!("{nsupdate} -k {}", key.display())),
        (" 3600 IN DS", " 1 IN DS".to_owned()),
        ("dig \"@$parent\"", format!("{dig} -p {parent} \"@$parent\"")),
    ];
    let text = changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the page has no {from}: {text}");
        text.replace(from, to)
    });
    let told = "echo \"$OFFLINE_KSK_EVENT $OFFLINE_KSK_KEY_TAG $OFFLINE_KSK_WANTED\" >>\"$(dirname \"$0\")/events\"\n";
    fs::write(path, format!("#!/bin/sh\n{text}{told}")).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// The child: the old KSK signs until `BOTH` after `roll`, the new one from `roll` on; TTLs are one second.
fn child(dir: &Path, roll: Timestamp, resolver: u16, dns: u16, parent: u16) {
    const ALL: (Timestamp, Timestamp) = (Timestamp::EPOCH, Timestamp::MAX);
    host(dir, roll, resolver, dns);
    let skr = SkrBuilder::new(ZONE, roll.minus(BOTH))
        .step(BOTH)
        .bundles(3)
        .ttl(1)
        .ksk_during(TestKey::ksk(OLD), ALL, (Timestamp::EPOCH, roll.plus(BOTH)))
        .ksk_during(TestKey::ksk(NEW), ALL, (roll, Timestamp::MAX));
    let accepted = dir.join("state/accepted").join(ZONE);
    fs::write(accepted.join("1.skr"), skr.text()).expect("write");
    fs::write(accepted.join("current"), format_current(1, &digest(skr.text().as_bytes()))).expect("write");
    fs::write(dir.join("zone"), "$TTL 1\n@ SOA ns h 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n")
        .expect("write");
    let hook = dir.join("hook");
    let key = dir.join("parent.key");
    fs::write(&key, KEY).expect("write");
    command(&hook, parent, &key);
    let hook = hook.display();
    let config = fs::read_to_string(dir.join("config.toml")).expect("text");
    let more = format!(
        "notify-cds = false\nparent-servers = [\"127.0.0.1:{parent}\"]\non-ds-ready = [\"{hook}\"]\non-ds-seen = [\"{hook}\"]\non-ds-gone = [\"{hook}\"]\n"
    );
    fs::write(dir.join("config.toml"), config + &more).expect("write");
}

/// Asks the resolver again and again until it is told to stop; how many answers there were, and those that were not authentic.
fn watch(resolver: u16, stop: &AtomicBool) -> (usize, Vec<String>) {
    let (mut count, mut faults) = (0, Vec::new());
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], resolver));
    while !stop.load(Ordering::Relaxed) {
        for (name, rtype) in [(format!("ns.{ZONE}"), Rtype::A), (ZONE.to_owned(), Rtype::DNSKEY)] {
            let until = Instant::now() + Duration::from_secs(10);
            let answer = Asker::of_resolver(at).ask(&Name::parse(&name).expect("a name"), rtype, until);
            count += 1;
            if !answer.as_ref().is_ok_and(|answer| answer.authentic && !answer.rrset.rdatas.is_empty()) {
                faults.push(format!("{name} {rtype}: {answer:?}"));
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (count, faults)
}

#[test]
fn ksk_rolls_at_a_real_parent_whose_ds_records_the_commands_change_and_every_answer_validates() {
    if ["dig", "nsupdate", "named", "rndc", "unbound"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let Some(named) = parent(&temp.path().join("parent")) else { return };
    let anchor = temp.path().join("anchor");
    fs::write(&anchor, dig(named.port, &["test", "DNSKEY"])).expect("write");
    let dns = common::free_port();
    let stubs = [("test", named.port), (ZONE, dns)];
    let Some(resolver) = Resolver::with(&temp.path().join("resolver"), &anchor, &stubs) else { return };
    let (dir, roll) = (temp.path().join("host"), clock::now().plus(5));
    child(&dir, roll, resolver.port, dns, named.port);
    let serving = ServeProcess::start(&dir.join("config.toml")).expect("it serves");
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], resolver.port));
    common::wait_for("the first authentic answer", LIMIT, || {
        let until = Instant::now() + Duration::from_secs(5);
        Asker::of_resolver(at)
            .ask(&Name::parse(ZONE).ok()?, Rtype::DNSKEY, until)
            .ok()
            .filter(|a| a.authentic)
    });
    let stop = Arc::new(AtomicBool::new(false));
    let watching = std::thread::spawn({
        let (stop, port) = (stop.clone(), resolver.port);
        move || watch(port, &stop)
    });
    let [old, new] = [OLD, NEW].map(|seed| TestKey::ksk(seed).dnskey.tag());
    // It is asked for by the second bundle still; by the third one no more.
    let expected = [format!("ds-ready {new} yes"), format!("ds-seen {new} yes"), format!("ds-gone {old}")];
    common::wait_for("the three events", LIMIT, || {
        let events = fs::read_to_string(dir.join("events")).unwrap_or_default();
        let events: Vec<&str> = events.lines().collect();
        let is_so =
            events.len() == 3 && expected.iter().zip(&events).all(|(begin, event)| event.starts_with(begin));
        assert!(events.len() <= 3, "{events:?}");
        is_so.then_some(())
    });
    assert!(clock::now() > roll, "the events came before the roll");
    let left = dig(named.port, &[ZONE, "DS"]);
    assert!(left.lines().all(|line| line.contains(&format!("\t{new} "))) && !left.is_empty(), "{left}");
    // Also when the old KSK signs no more.
    std::thread::sleep(clock::until(roll.plus(BOTH + 2)));
    stop.store(true, Ordering::Relaxed);
    let (count, faults) = watching.join().expect("no panic");
    assert!(faults.is_empty() && count > 20, "{count}: {faults:#?}");
    serving.stop();
}
