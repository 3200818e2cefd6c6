//! The weaknesses N1-N14 of named with `offline-ksk yes` (table in `docs/manual/bind.md`): each shows what named does alone, and what comes
//! of it with skr-loader beside it. The judge of what is served is the validator of the `domain` crate.

mod common;
#[path = "common/delivery.rs"]
mod delivery;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use delivery::{
    CALM, FAST, Seen, Site, ZONE, dig, imports, look, restart_with_everything_expired, serial, target,
    wait_for_log,
};
use keystore::clock;
use keystore::crypto::Algorithm;
use keystore::dns::Name;
use keystore::exchange::bind;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::time::Timestamp;

/// The KSKs that tests make by themselves are by Ed25519.
const EDDSA: &str = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 15; zsk lifetime P1Y algorithm 15; }; };\n";
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// named ends where the SKR is only in its memory; with the loader it has it back in seconds.
#[test]
fn n01_the_skr_is_lost_at_a_restart() {
    let Some(site) = Site::new(CALM, "+30d") else { return };
    let skr = site.ceremony("+30d", "skr");
    let (named, _) = site.alone(&skr);
    let named = named.stop().start();
    let log = || named.log().contains("no SKR file (retry in 600 seconds)").then_some(());
    common::wait_for("its complaint", Duration::from_secs(10), log);
    drop(named);
    let (mut named, loader) = site.beside("n01", &skr);
    loader.wait("n01", 1);
    for crash in [false, true] {
        // The time of its start, by which it is told apart, has whole seconds.
        let second = clock::now();
        common::wait_for("the next second", Duration::from_secs(10), || {
            (clock::now() > second).then_some(())
        });
        named = if crash { named.crash() } else { named.stop() }.start();
        let up = Instant::now();
        common::wait_for("the SKR", Duration::from_secs(5), || (imports(&named) > 0).then_some(()));
        println!("SKR back after {:.1?} (crash: {crash})", up.elapsed());
    }
}

/// The signatures last for six seconds, and all have expired while named was down. Whatever is imported, named alone puts the renewal
/// off by five minutes; the loader mends it in seconds.
#[test]
fn n01_a_renewal_that_failed_without_an_skr() {
    let Some(site) = Site::new(FAST, "+1h") else { return };
    let skr = site.ceremony("+1h", "skr");
    let (named, _) = site.alone(&skr);
    let named = restart_with_everything_expired(named);
    let log = || named.log().contains("zone_resigninc:add_sigs -> ").then_some(());
    common::wait_for("a renewal that fails", Duration::from_secs(10), log);
    for _ in 0..3 {
        let all_bad = || look(named.port, &site.ksk).bad == 4;
        named.rndc(&["skr", "-import", &skr.to_string_lossy(), ZONE]);
        common::holds_for("bogus after the import", Duration::from_secs(1), all_bad);
        named.rndc(&["loadkeys", ZONE]);
        common::holds_for("bogus after loadkeys", Duration::from_secs(1), all_bad);
    }
    drop(named);

    let (mut named, loader) = site.beside("n01b", &skr);
    loader.wait("n01b", 1);
    for _ in 0..2 {
        named = restart_with_everything_expired(named);
        let up = Instant::now();
        common::wait_for("the first good answers", Duration::from_secs(4), || {
            (look(named.port, &site.ksk).bad == 0).then_some(())
        });
        println!("all expired: good again {:.1?} after named is up", up.elapsed());
        let mut seen = Seen::default();
        seen.watch(named.port, &site.ksk, 8);
        assert_eq!(seen.bad, 0, "{seen:?}");
    }
    let refreshes =
        loader.metrics.skr_delivery_refreshes_total.with_label_values(&[&format!("{ZONE}."), "n01b"]).get();
    assert!(refreshes >= 3, "after each start: {refreshes}");
}

/// Twelve seconds with bundles every four: alone, and beside the loader.
fn twelve_seconds(name: &str) -> Option<(Seen, Seen)> {
    let site = Site::new(FAST, "+1h")?;
    let skr = site.ceremony("+1h", "skr");
    let (mut theirs, mut ours) = (Seen::default(), Seen::default());
    let (named, _) = site.alone(&skr);
    theirs.watch(named.port, &site.ksk, 12);
    drop(named);
    let (named, loader) = site.beside(name, &skr);
    loader.wait(name, 1);
    ours.watch(named.port, &site.ksk, 12);
    println!("named alone {theirs:?}, with skr-loader {ours:?}");
    Some((theirs, ours))
}

#[test]
fn n02_bundle_changes_are_missed() {
    let Some((theirs, ours)) = twelve_seconds("n02") else { return };
    assert!(theirs.bad > 0, "{theirs:?}");
    assert_eq!(ours.bad, 0, "{ours:?}");
}

#[test]
fn n03_a_storm_of_serials_at_each_boundary() {
    let Some((theirs, ours)) = twelve_seconds("n03") else { return };
    assert!(theirs.serials > 100, "{theirs:?}");
    assert!(ours.serials < 24, "{ours:?}");
}

/// A KSK that is published and does not sign yet.
#[test]
fn n04_a_prepublished_ksk_stops_the_rekey() {
    let Some(mut site) = Site::new(EDDSA, "+60d") else { return };
    let (now, always) = (clock::now(), (Timestamp::EPOCH, Timestamp::MAX));
    let step = 2 * HOUR;
    let begin = now.minus(3 * HOUR);
    let builder = SkrBuilder::new(&format!("{ZONE}."), begin).bundles(6).step(step);
    let second = (begin.plus(step), Timestamp::MAX);
    let builder = builder.ksk_during(TestKey::ksk(1), always, always).ksk_during(
        TestKey::ksk(5),
        second,
        (begin.plus(2 * step), Timestamp::MAX),
    );
    let skr = site.build(builder, "skr");
    let (named, said) = site.alone(&skr);
    assert!(!said.contains("failed"), "{said}");
    let log = || named.log().contains("zone_rekey failure: not found").then_some(());
    common::wait_for("a rekey that fails", Duration::from_secs(10), log);
    assert!(!dig(named.port, ZONE, "DNSKEY").contains("RRSIG"), "nothing is signed");
    drop(named);
    let (named, loader) = site.beside("n04", &skr);
    loader.wait("n04", 1);
    let seen = look(named.port, &site.ksk);
    assert_eq!(seen.bad, 0, "{seen:?}");
    wait_for_log(&[
        "n04",
        "is published and signs no DNSKEY",
        "the bundle before it is served on through it",
    ]);
}

/// A ZSK in the key folder that the bundle does not have.
#[test]
fn n05_a_stray_zsk_makes_the_zone_bogus() {
    let Some(site) = Site::new(CALM, "+60d") else { return };
    let (skr, next) = (site.ceremony("+30d", "skr"), site.ceremony("+50d", "next"));
    let keygen = || {
        let mut keygen = common::peer("dnssec-keygen").expect("was there");
        keygen.arg("-K").arg(site.path("named")).args(["-a", "13", "-P", "now", "-A", "+1y", ZONE]);
        site.path("named").join(common::stdout(&mut keygen).trim())
    };
    let remove = |base: &Path| {
        for suffix in ["key", "private", "state"] {
            let _ = std::fs::remove_file(format!("{}.{suffix}", base.display()));
        }
    };
    let (named, _) = site.alone(&skr);
    let stray = keygen();
    named.rndc(&["loadkeys", ZONE]);
    let bogus = || (look(named.port, &site.ksk).bad == 4).then_some(());
    common::wait_for("a bogus zone", Duration::from_secs(10), bogus);
    drop(named);
    remove(&stray);
    for name in ["zone.db.signed", "zone.db.signed.jnl", "zone.db.jbk"] {
        let _ = std::fs::remove_file(site.path("named").join(name));
    }

    let (named, loader) = site.beside("n05", &skr);
    loader.wait("n05", 1);
    let stray = keygen();
    loader.drop_file(&next);
    let line = wait_for_log(&["n05", "held back: named would add"]);
    assert!(line.contains(&stray.display().to_string()) && line.contains("move it away"), "{line}");
    loader.wait_for_alarm("n05");
    assert_eq!((look(named.port, &site.ksk).bad, imports(&named)), (0, 1), "what was served stays");
    remove(&stray);
    loader.wait("n05", 2);
    assert_eq!(look(named.port, &site.ksk).bad, 0);
}

#[test]
fn n06_a_zsk_without_private_key_leaves_the_zone_unsigned() {
    let Some(site) = Site::new(CALM, "+30d") else { return };
    let skr = site.ceremony("+30d", "skr");
    for base in site.zsks() {
        std::fs::remove_file(format!("{}.private", base.display())).expect("it was there");
    }
    let (named, said) = site.alone(&skr);
    assert!(!said.contains("failed"), "{said}");
    assert!(!dig(named.port, ZONE, "SOA").contains("RRSIG"), "served without signatures");
    drop(named);
    let (named, _loader) = site.beside("n06", &skr);
    let reason = site.rejected();
    assert!(reason.contains("SKR-NO-PRIVATE-KEY"), "{reason}");
    assert_eq!(imports(&named), 0, "it never comes to named");
}

/// named takes each of these without a word and serves it; the loader names what is wrong, and named never gets it.
fn refused(name: &str, id: &str, harm: impl Fn(&str) -> String, seen: impl Fn(u16, &str)) {
    let Some(site) = Site::new(CALM, "+30d") else { return };
    let good = std::fs::read_to_string(site.ceremony("+30d", "good")).expect("text");
    let skr = site.write("bad", &harm(&good));
    let (named, said) = site.alone(&skr);
    assert!(!said.contains("failed"), "{name}: {said}");
    seen(named.port, &site.ksk);
    drop(named);
    let (named, _loader) = site.beside(name, &skr);
    let reason = site.rejected();
    assert!(reason.contains(id), "{name}: {reason}");
    assert_eq!(imports(&named), 0, "{name}");
}

/// The first signature over DNSKEY with another octet in the middle.
fn flip(skr: &str) -> String {
    let line = skr.lines().find(|l| l.contains("RRSIG") && l.contains("DNSKEY")).expect("a signature");
    let at = line.len() - 20;
    let other = if &line[at..=at] == "A" { "B" } else { "A" };
    skr.replacen(line, &format!("{}{other}{}", &line[..at], &line[at + 1..]), 1)
}

#[test]
fn n07_nothing_is_verified() {
    refused("n07a", "SKR-BAD-SIGNATURE", flip, |port, ksk| assert_eq!(look(port, ksk).bad, 4));
    let stripped =
        |skr: &str| skr.lines().filter(|l| !l.contains("RRSIG")).map(|l| format!("{l}\n")).collect();
    refused("n07b", "SKR-UNKNOWN-KSK", stripped, |port, ksk| assert!(look(port, ksk).bad > 0));
}

#[test]
fn n08_a_record_before_the_first_header_kills_the_server() {
    let Some(site) = Site::new(CALM, "+30d") else { return };
    let good = std::fs::read_to_string(site.ceremony("+30d", "good")).expect("text");
    let record = good.lines().nth(1).expect("a record");
    let skr = site.write("bad", &format!("{record}\n{good}"));
    let (named, _) = site.alone(&skr);
    assert!(!named.rndc(&["status"]).status.success(), "it is gone: {}", named.log());
    drop(named);
    let (named, _loader) = site.beside("n08", &skr);
    let reason = site.rejected();
    assert!(reason.contains("SKR-SYNTAX"), "{reason}");
    assert!(named.rndc(&["status"]).status.success() && imports(&named) == 0);
}

/// A failed import ends with 0; the loader goes by the words, and by what is served.
#[test]
fn n09_a_failed_import_ends_with_0() {
    let Some(site) = Site::new(CALM, "+30d") else { return };
    let skr = site.ceremony("+30d", "skr");
    let empty = site.write("empty", "nonsense\n");
    let named = site.named();
    let output = named.rndc(&["skr", "-import", &empty.to_string_lossy(), ZONE]);
    assert!(output.status.success() && common::text(&output).contains("import failed"), "{output:?}");
    // A wrapper that hands another file to named, as one does that copies to another host and fails to.
    let rndc = common::peer("rndc").expect("was there").get_program().to_string_lossy().into_owned();
    let script = format!(
        "case \"$1\" in skr) exec {rndc} -c {dir}/rndc.conf skr -import {empty} \"$4\";; esac; exec {rndc} -c {dir}/rndc.conf \"$@\"\n",
        dir = named.dir.display(),
        empty = empty.display()
    );
    let wrapper = site.write("wrapper", &script);
    let text = target("n09", &named, "");
    let rest = text.split_once("\naddress").expect("an address").1;
    let loader = site.load(&format!(
        "[[deliver.named]]\nname = \"n09\"\nrndc = [\"/bin/sh\", \"{}\"]\naddress{rest}",
        wrapper.display()
    ));
    loader.drop_file(&skr);
    wait_for_log(&["n09", "was not delivered", "import failed"]);
    loader.wait_for_alarm("n09");
}

/// The end of the SKR: the operator knows it from the day of the import, the alarm is on when it has come, and with the next SKR all
/// is well in seconds. named alone storms, then stays bogus for minutes after that import.
#[test]
fn n10_the_end_of_the_skr() {
    let Some(site) = Site::new(FAST, "+1h") else { return };
    let ends = |path: &Path| {
        let text = std::fs::read(path).expect("the SKR");
        let skr = bind::parse_skr(&text, &Name::parse(ZONE).expect("a name")).expect("an SKR");
        skr.bundles.last().expect("bundles").expiration()
    };
    let short = site.ceremony("+6", "short");
    let (named, _) = site.alone(&short);
    let before = serial(named.port);
    let is_over = |end: Timestamp| (clock::now() > end).then_some(());
    common::wait_for("the end", Duration::from_secs(60), || is_over(ends(&short)));
    let storm = serial(named.port).wrapping_sub(before);
    println!("named alone: {storm} serials up to the end");
    named.rndc(&["loadkeys", ZONE]);
    let said = || named.log().contains("zone_resigninc:add_sigs -> no available SKR bundle").then_some(());
    common::wait_for("its complaint", Duration::from_secs(10), said);
    common::wait_for("all of the zone to be bogus", Duration::from_secs(15), || {
        (look(named.port, &site.ksk).bad == 4).then_some(())
    });
    let next = site.ceremony("+1h", "next");
    named.rndc(&["skr", "-import", &next.to_string_lossy(), ZONE]);
    let is_bad = || look(named.port, &site.ksk).bad > 0;
    common::holds_for("bogus: the import alone does not mend it", Duration::from_secs(4), is_bad);
    named.rndc(&["loadkeys", ZONE]);
    common::holds_for("bogus after loadkeys", Duration::from_secs(2), is_bad);
    drop(named);

    let short = site.ceremony("+6", "short2");
    let (named, loader) = site.beside("n10", &short);
    loader.wait("n10", 1);
    let zone = format!("{ZONE}.");
    let told = loader.metrics.skr_coverage_end_timestamp_seconds.with_label_values(&[&zone]).get();
    assert_eq!(u64::try_from(told).expect("a time"), ends(&short).secs(), "told from the import on");
    loader.wait_for_alarm("n10");
    common::wait_for("the end", Duration::from_secs(60), || is_over(ends(&short).plus(2)));
    loader.drop_file(&site.ceremony("+1h", "next2"));
    let dropped = Instant::now();
    common::wait_for("all is well", Duration::from_secs(10), || {
        (look(named.port, &site.ksk).bad == 0).then_some(())
    });
    println!("good again {:.1?} after the next SKR", dropped.elapsed());
    loader.wait("n10", 2);
}

#[test]
fn n11_a_ttl_over_that_which_was_signed() {
    let longer = |skr: &str| skr.replace(" 3600 IN ", " 7200 IN ").replace("\t3600\tIN\t", "\t7200\tIN\t");
    refused("n11", "SKR-BAD-SIGNATURE", longer, |port, _| {
        let said = dig(port, ZONE, "DNSKEY");
        assert!(said.lines().all(|l| l.split_whitespace().nth(1) == Some("7200")), "{said}");
    });
}

/// Two KSKs of two algorithms with one tag: named serves the signature of one of them. The operator is told, before and after.
#[test]
fn n12_two_ksks_with_one_tag() {
    const BOTH: &str = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 15; zsk lifetime P1Y algorithm 15;
        ksk lifetime unlimited algorithm 13; zsk lifetime P1Y algorithm 13; }; };\n";
    let Some(mut site) = Site::new(BOTH, "+60d") else { return };
    // A thousand keys of each are almost sure to have a tag in common.
    let keys = |algorithm| (0..1000).map(move |_| TestKey::generate(257, algorithm, 0));
    let first: Vec<TestKey> = keys(Algorithm::ED25519).collect();
    let (one, other) = keys(Algorithm::ECDSAP256SHA256)
        .find_map(|key| Some((first.iter().find(|f| f.dnskey.tag() == key.dnskey.tag())?.clone(), key)))
        .expect("a pair");
    let builder = SkrBuilder::new(&format!("{ZONE}."), clock::now().minus(60)).bundles(2);
    let skr = site.build(builder.ksk(one).ksk(other), "skr");
    let signatures = |port| dig(port, ZONE, "DNSKEY").lines().filter(|l| l.contains("RRSIG")).count();
    let (named, said) = site.alone(&skr);
    assert!(!said.contains("failed"), "{said}");
    assert!(signatures(named.port) < 2, "{}", dig(named.port, ZONE, "DNSKEY"));
    drop(named);
    let (_named, loader) = site.beside("n12", &skr);
    wait_for_log(&["n12", "two KSKs have the tag"]);
    loader.wait_for_alarm("n12");
}

/// named neither asks the parent nor purges old key files. Old files do no harm to us; the parent is asked by `ksr-gen` (KSR-KSK-HELD).
#[test]
fn n13_no_purge_and_no_checkds() {
    let Some(mut site) = Site::new(EDDSA, "+30d") else { return };
    let skr = site.build(SkrBuilder::new(&format!("{ZONE}."), clock::now().minus(60)).bundles(2), "skr");
    let mut keygen = common::peer("dnssec-keygen").expect("was there");
    keygen
        .arg("-K")
        .arg(site.path("named"))
        .args(["-a", "15", "-P", "-2y", "-A", "-2y", "-I", "-1y", "-D", "-1y", ZONE]);
    let old = common::stdout(&mut keygen);
    let old = site.path("named").join(format!("{}.private", old.trim()));
    let (named, _) = site.alone(&skr);
    named.rndc(&["loadkeys", ZONE]);
    let stays = "the key, a year after its Delete, with purge-keys P90D";
    common::holds_for(stays, Duration::from_secs(1), || old.exists());
    let tag = site.ksk_tag().to_string();
    let said = common::text(&named.rndc(&["dnssec", "-checkds", "-key", &tag, "published", ZONE]));
    assert!(said.contains("no matching key found"), "{said}");
    drop(named);
    let (named, loader) = site.beside("n13", &skr);
    loader.wait("n13", 1);
    assert_eq!(look(named.port, &site.ksk).bad, 0);
    let served = dig(named.port, ZONE, "CDS") + &dig(named.port, ZONE, "CDNSKEY");
    assert_eq!(
        served.lines().filter(|l| l.contains("RRSIG")).count(),
        2,
        "for the parent that looks: {served}"
    );
}

/// named reckons the end of the last bundle by its own policy, whatever the signatures say. And it takes a rollover that nobody signed.
#[test]
fn n14_the_last_bundle_ends_by_the_local_policy_and_rollovers_are_taken() {
    const DAYS: &str = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 15; zsk lifetime P1Y algorithm 15; };
        signatures-validity-dnskey P1D; signatures-refresh PT12H; };\n";
    let Some(mut site) = Site::new(DAYS, "+30d") else { return };
    let begin = clock::now().minus(2 * DAY);
    let skr = site.build(SkrBuilder::new(&format!("{ZONE}."), begin).bundles(1), "skr");
    let (named, _) = site.alone(&skr);
    let said = || named.log().contains("zone_rekey failure: no available SKR bundle").then_some(());
    common::wait_for("an end that is none", Duration::from_secs(10), said);
    assert!(
        !dig(named.port, ZONE, "DNSKEY").contains("RRSIG"),
        "though the signatures hold for twelve days more"
    );
    drop(named);
    let (named, loader) = site.beside("n14", &skr);
    wait_for_log(&["n14", "was not delivered", "DNSKEY"]);
    loader.wait_for_alarm("n14");
    drop((named, loader));

    let Some(site) = Site::new(CALM, "+30d") else { return };
    let (named, loader) = site.beside("n14b", &site.ceremony("+30d", "skr"));
    loader.wait("n14b", 1);
    let zsk = site.zsks().remove(0);
    let key = || std::fs::read_to_string(format!("{}.key", zsk.display())).expect("the key");
    let (before, tag) =
        (key(), zsk.to_string_lossy().rsplit_once('+').expect("a tag").1.trim_start_matches('0').to_owned());
    let said = common::text(&named.rndc(&["dnssec", "-rollover", "-key", &tag, ZONE]));
    common::wait_for("a key that ends otherwise", Duration::from_secs(10), || {
        (key() != before).then_some(())
    });
    println!("named says {said} and changes {before} to {}", key());
    // What is in force was signed with these keys, and is served on.
    assert_eq!(look(named.port, &site.ksk).bad, 0);
    loader.wait("n14b", 1);
}

/// The table in the manual has N1-N14 once each, and the names of these tests.
#[test]
fn the_table_of_the_manual_is_true() {
    let read = |path: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let source = read("integration/tests/peer_named_weaknesses.rs");
    let tests: BTreeSet<&str> = source
        .lines()
        .filter_map(|l| l.strip_prefix("fn n")?.split_once('('))
        .map(|(name, _)| name)
        .collect();
    let manual = read("docs/manual/bind.md");
    let rows: Vec<Vec<&str>> = manual
        .lines()
        .filter(|l| l.starts_with("| N") && l[3..].starts_with(|c: char| c.is_ascii_digit()))
        .map(|l| l.split('|').map(str::trim).collect())
        .collect();
    let numbers: Vec<String> = rows.iter().map(|row| row[1].to_owned()).collect();
    assert_eq!(numbers, (1..=14).map(|n| format!("N{n}")).collect::<Vec<_>>());
    let mut told = BTreeSet::new();
    for row in &rows {
        let number: u32 = row[1][1..].parse().expect("a number");
        let names: Vec<&str> = row[4].split('`').filter_map(|word| word.strip_prefix('n')).collect();
        assert!(
            !names.is_empty() && names.iter().all(|name| name.starts_with(&format!("{number:02}_"))),
            "{row:?}"
        );
        told.extend(names);
    }
    assert_eq!(told, tests);
}
