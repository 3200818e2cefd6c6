//! Rollovers of KSKs through SKRs, proved over all caches.

mod common;

use common::{Site, signers, stamp, tag, zone};
use keystore::exchange::prove::{Delays, Parent, ParentDs, Plan, Report, Signing, prove};
use keystore::exchange::{Bundle, TrustAnchor, VerifyContext, bind, verify};
use keystore::keys::files;
use keystore::policy::Policy;
use keystore::time::Timestamp;

const START: &str = "20270101000000";
const YEAR: &str = "20280101000000";
const ROLL: &str = "dnssec-policy roll { offline-ksk yes; keys { ksk lifetime P6M algorithm ed25519; zsk lifetime unlimited algorithm ed25519; }; };";

/// Keys and request of a year with one KSK roll on 6 July; gives the tags of the KSKs.
fn rolling() -> (Site, Vec<String>) {
    let site = Site::new(ROLL);
    let names = site.command("roll", START, YEAR, "-o -K @ksk keygen").ok();
    site.command("roll", START, YEAR, "-K @zsk keygen").ok();
    site.write("ksr", &site.command("roll", START, YEAR, "-K @zsk request").ok());
    (site, names.lines().map(tag).collect())
}

fn sign(site: &Site, more: &str) -> common::Ran {
    site.command("roll", START, YEAR, &format!("{more} -K @ksk -f @ksr sign"))
}

fn bundles(skr: &str) -> Vec<Bundle> {
    bind::parse_skr(skr.as_bytes(), &zone()).expect("an SKR").bundles
}

fn anchor(site: &Site, tag: &str) -> TrustAnchor {
    let keys = files::find(&site.path("ksk"), &zone()).expect("keys").keys;
    let key = keys.into_iter().find(|key| key.dnskey.tag().to_string() == tag).expect("the KSK");
    TrustAnchor::Ds(key.dnskey.ds_rdata(&zone(), 2).expect("SHA-256"))
}

/// The DS records of KSKs, as `dig` prints them.
fn ds_file(site: &Site, tags: &[&String]) -> String {
    let line = |tag: &&String| {
        let TrustAnchor::Ds(rdata) = anchor(site, tag) else { unreachable!() };
        let digest = data_encoding::HEXUPPER.encode(&rdata[4..]);
        format!("example.test.\t86400\tIN\tDS\t{tag} 15 2 {} {}\n", &digest[..56], &digest[56..])
    };
    tags.iter().map(line).collect()
}

/// Proves the bundles with a parent that has these DS RRsets at these times.
fn proof(bundles: &[Bundle], ds: &[(&str, Vec<TrustAnchor>)]) -> Report {
    let policy = Policy::with_defaults("roll");
    let timeline = ds.iter().map(|(from, ds)| ParentDs { from: stamp(from), ds: ds.clone(), ttl: 86_400 });
    let zone = zone();
    prove(&Plan {
        zone: &zone,
        bundles: &bundles.iter().collect::<Vec<_>>(),
        parent: Parent::Timeline(timeline.collect()),
        signing: Signing::Derived,
        delays: Delays::from(&policy),
        from: Timestamp::EPOCH,
    })
}

fn breaks(report: &Report) -> Vec<String> {
    report.findings.iter().filter(|f| f.rejects()).map(ToString::to_string).collect()
}

/// S9: `dnssec-ksr` retires the old KSK whatever the parent did, and the zone is bogus.
#[test]
fn s9_the_old_ksk_stays_until_the_parent_has_the_new_ds() {
    let (site, tags) = rolling();
    let (old, new) = (anchor(&site, &tags[0]), anchor(&site, &tags[1]));
    let never = [("20260101000000", vec![old.clone()])];
    let by_times = bundles(&sign(&site, "--allow-unconfirmed-ksk-roll").ok());
    assert!(!breaks(&proof(&by_times, &never)).is_empty(), "the parent does nothing");

    let ran = sign(&site, "");
    assert!(ran.stderr.contains("KSR-KSK-HELD") && ran.stderr.contains("--parent-ds"), "{}", ran.stderr);
    let skr = ran.ok();
    let held = bundles(&skr);
    assert_eq!(breaks(&proof(&held, &never)), [""; 0], "the parent does nothing, and the zone is valid");
    let swapped = [("20260101000000", vec![old.clone()]), ("20271115000000", vec![new.clone()])];
    assert_eq!(breaks(&proof(&held, &swapped)), [""; 0], "the parent is four months late");
    let mut both = tags.clone();
    both.sort_by_key(|t| t.parse::<u16>().expect("a tag"));
    assert_eq!(signers(&skr, "20270705215500", "DNSKEY"), both, "it signs from its publication on");
    let last = held.last().expect("a bundle");
    assert_eq!(last.keys().filter(|k| k.is_ksk()).count(), 2);
    // CDS asks for the new one, and both sign it.
    let cds = last.cds.as_ref().expect("CDS");
    assert_eq!(cds.rdatas.len(), 1);
    assert!(new.matches(&zone(), &last.keys().find(|k| k.tag().to_string() == tags[1]).expect("new")));
    assert_eq!(signers(&skr, &last.inception.to_string(), "CDS"), both);
    let anchors = [old];
    verify(
        bind::parse_skr(skr.as_bytes(), &zone()).expect("an SKR"),
        &VerifyContext::new(&zone(), &anchors),
        stamp(START),
    )
    .expect("what the loader takes");
}

/// The ceremony after: the parent was seen to have the new DS, and the old KSK leaves when no cache has the old one.
#[test]
fn a_seen_ds_lets_the_old_ksk_leave() {
    let (mut site, tags) = rolling();
    let first = sign(&site, "").ok();
    site.write("first.skr", &first);
    let (old, new) = (anchor(&site, &tags[0]), anchor(&site, &tags[1]));
    // On 1 August the request of the next half-year.
    site.now = stamp("20270801120000");
    let (from, to) = ("20270801000000", "20280201000000");
    site.command("roll", from, to, "-o -K @ksk keygen").ok();
    site.command("roll", from, to, "-K @zsk keygen").ok();
    site.write("ksr", &site.command("roll", from, to, "-K @zsk request").ok());
    let sign = |more: &str| {
        site.command("roll", from, to, &format!("--previous @first.skr {more} -K @ksk -f @ksr sign"))
    };
    let has_old = |skr: &str| -> Vec<bool> {
        bundles(skr).iter().map(|b| b.keys().any(|k| k.tag().to_string() == tags[0])).collect()
    };
    // Nothing seen: it stays, although its Delete is over.
    let skr = sign("").ok();
    assert!(has_old(&skr).iter().all(|has| *has), "the SKR before had it");
    // Seen at noon: it leaves after parent-propagation-delay, parent-ds-ttl and retire-safety.
    site.write("ds", &ds_file(&site, &[&tags[1]]));
    for more in ["--parent-ds @ds".to_owned(), format!("--parent-has {}", tags[1])] {
        let skr = sign(&more).ok();
        let gone = stamp("20270801120000").plus(3600 + 86_400 + 3600);
        for bundle in bundles(&skr) {
            let has = bundle.keys().any(|k| k.tag().to_string() == tags[0]);
            assert_eq!(has, bundle.inception < gone, "{more}: {}", bundle.inception);
        }
        assert!(bundles(&skr).iter().any(|b| b.inception == gone), "{more}: at the very second");
        let mut all = bundles(&first);
        all.retain(|b| b.inception < stamp(from));
        all.extend(bundles(&skr));
        let timeline = [("20260101000000", vec![old.clone()]), ("20270801110000", vec![new.clone()])];
        assert_eq!(breaks(&proof(&all, &timeline)), [""; 0], "{more}");
    }
    // The parent has both: the new one suffices.
    site.write("ds", &ds_file(&site, &[&tags[0], &tags[1]]));
    assert!(has_old(&sign("--parent-ds @ds").ok()).iter().any(|has| !has));
    // The parent still has the old one only.
    site.write("ds", &ds_file(&site, &[&tags[0]]));
    let ran = sign("--parent-ds @ds");
    assert!(ran.stderr.contains("KSR-KSK-HELD"), "{}", ran.stderr);
    assert!(has_old(&ran.ok()).iter().all(|has| *has));
}

#[test]
fn what_is_no_ds_of_ours_is_refused() {
    let (site, tags) = rolling();
    let good = ds_file(&site, &[&tags[1]]);
    let other_digest = good.replacen(&good[good.len() - 9..good.len() - 1], "00000000", 1);
    for (what, text, says) in [
        ("nothing", String::new(), "there is no DS record"),
        ("another zone", good.replace("example.test.", "other.test."), "where example.test. was expected"),
        ("no record", "DS at the parent".to_owned(), "line 1"),
        ("another type", "example.test. 60 IN A 192.0.2.1\n".to_owned(), "where DS was expected"),
        ("another key", format!("example.test. DS 1 15 2 {}\n", "00".repeat(32)), "KSR-PARENT-DS"),
        ("another digest", other_digest, "KSR-PARENT-DS"),
    ] {
        site.write("ds", &text);
        let stderr = sign(&site, "--parent-ds @ds").fails(1);
        assert!(stderr.contains(says), "{what}: {stderr}");
    }
    assert!(sign(&site, "--parent-has 1").fails(1).contains("0 KSKs with that tag"));
    // What the parent has must be a key that is in the bundles.
    site.write("ds", &good);
    assert!(sign(&site, "--parent-ds @ds").fails(1).contains("KSR-PROVE"));
    let good = ds_file(&site, &[&tags[0]]);
    let with_rrsig = format!(
        "{good}example.test. 86400 IN RRSIG DS 8 2 86400 20270101000000 20261201000000 1 test. AAAA\n"
    );
    site.write("ds", &with_rrsig);
    sign(&site, "--parent-ds @ds").ok();
}

/// RFC 8078 section 4: the zone goes insecure by the word of its CDS.
#[test]
fn cds_delete_asks_for_the_removal_of_the_ds() {
    let site = Site::new(common::COMMON);
    let run = |rest: &str| site.command("common", START, YEAR, rest);
    run("-o -K @ksk keygen").ok();
    run("-K @zsk keygen").ok();
    site.write("ksr", &run("-K @zsk request").ok());
    let ran = run("--cds-delete 20270301000000 -K @ksk -f @ksr sign");
    assert!(
        ran.stderr.contains("warning: KSR-CDS-DELETE") && ran.stderr.contains("insecure"),
        "{}",
        ran.stderr
    );
    let skr = ran.ok();
    assert!(skr.contains("\tCDS\t0 0 0 00\n") && skr.contains("\tCDNSKEY\t0 3 0 AA==\n"), "{skr}");
    let all = bundles(&skr);
    assert!(all.iter().any(|bundle| bundle.inception == stamp("20270301000000")));
    for bundle in &all {
        let asks = bundle.cds.as_ref().is_some_and(|cds| *cds.rdatas == [Box::from([0, 0, 0, 0, 0])]);
        assert_eq!(asks, bundle.inception >= stamp("20270301000000"), "{}", bundle.inception);
    }
    // The loader takes it only where it was allowed.
    let anchors: Vec<TrustAnchor> =
        all[0].keys().filter(|key| key.is_ksk()).map(TrustAnchor::Dnskey).collect();
    let (zone, parsed) = (zone(), || bind::parse_skr(skr.as_bytes(), &common::zone()).expect("an SKR"));
    let mut context = VerifyContext::new(&zone, &anchors);
    let refused = verify(parsed(), &context, stamp(START)).expect_err("not allowed");
    assert!(refused.iter().any(|f| f.id == "SKR-CDS" && f.rejects()), "{refused:?}");
    context.allow_delete = true;
    verify(parsed(), &context, stamp(START)).expect("allowed");
}
