//! Rollovers of KSKs through SKRs, proved over all caches.

mod common;

use common::{Site, signers, stamp, tag, zone};
use keystore::check::CheckId;
use keystore::exchange::prove::{
    Delays, DsPeriod, ParentModel, ProofInput, ProofReport, SigningModel, prove,
};
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
fn proof(bundles: &[Bundle], ds: &[(&str, Vec<TrustAnchor>)]) -> ProofReport {
    let policy = Policy::with_defaults("roll");
    let timeline = ds.iter().map(|(from, ds)| DsPeriod { from: stamp(from), ds: ds.clone(), ttl: 86_400 });
    let zone = zone();
    prove(&ProofInput {
        zone: &zone,
        bundles: &bundles.iter().collect::<Vec<_>>(),
        parent: ParentModel::Timeline(timeline.collect()),
        signing: SigningModel::Derived,
        delays: Delays::from(&policy),
        from: Timestamp::EPOCH,
    })
}

fn breaks(report: &ProofReport) -> Vec<String> {
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
    assert!(refused.iter().any(|f| f.id == CheckId::SkrCds && f.rejects()), "{refused:?}");
    context.allow_delete = true;
    verify(parsed(), &context, stamp(START)).expect("allowed");
}

const BOTH: &str = "dnssec-policy roll { offline-ksk yes; keys { ksk lifetime unlimited algorithm rsasha256; zsk lifetime unlimited algorithm rsasha256;
    ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; }; };";

fn only(algorithm: &str) -> String {
    format!(
        "dnssec-policy roll {{ offline-ksk yes; keys {{ ksk lifetime unlimited algorithm {algorithm}; zsk lifetime unlimited algorithm {algorithm}; }}; }};"
    )
}

/// Sets a time of a key, as `dnssec-settime` does.
fn set_time(site: &Site, folder: &str, tag: &str, what: &str, at: &str) {
    let suffix = format!("+{tag:0>5}");
    for name in site.names(folder) {
        let Some((base, kind)) = name.rsplit_once('.').filter(|(base, _)| base.ends_with(&suffix)) else {
            continue;
        };
        let path = site.path(folder).join(format!("{base}.{kind}"));
        let text = std::fs::read_to_string(&path).expect("a key file");
        let comment = if kind == "key" { "; " } else { "" };
        let (word, line) = match kind {
            "state" if what == "Inactive" => ("Retired", format!("Retired: {at}\n")),
            "state" if what == "Delete" => ("Removed", format!("Removed: {at}\n")),
            _ => (what, format!("{comment}{what}: {at}\n")),
        };
        let mut lines: Vec<String> =
            text.lines().filter(|l| !l.contains(&format!("{word}: "))).map(|l| format!("{l}\n")).collect();
        let place = if kind == "key" { lines.len() - 1 } else { lines.len() };
        lines.insert(place, line);
        std::fs::write(path, lines.concat()).expect("write");
    }
}

fn algorithms(bundle: &Bundle) -> (Vec<u8>, Vec<u8>) {
    let of = |ksk: bool| {
        let mut all: Vec<u8> = bundle.keys().filter(|k| k.is_ksk() == ksk).map(|k| k.algorithm.0).collect();
        all.sort_unstable();
        all
    };
    (of(true), of(false))
}

/// RFC 6781 section 4.1.4, from RSASHA256 to ECDSAP256SHA256 in four ceremonies, the parent late by half a year.
#[test]
fn an_algorithm_is_rolled_and_every_second_is_proved() {
    let mut site = Site::new(&only("rsasha256"));
    let run = |site: &Site, from: &str, to: &str, rest: &str| site.command("roll", from, to, rest);
    let request = |site: &Site, from: &str, to: &str| {
        run(site, from, to, "-K @zsk keygen").ok();
        site.write("ksr", &run(site, from, to, "-K @zsk request").ok());
    };
    let sign = |site: &Site, from: &str, to: &str, more: &str| {
        run(site, from, to, &format!("{more} --yes -K @ksk -f @ksr sign"))
    };
    let mut all: Vec<Bundle> = Vec::new();
    let join = |all: &mut Vec<Bundle>, skr: &str| {
        let new = bundles(skr);
        all.retain(|b| b.inception < new[0].inception);
        all.extend(new);
    };
    // Algorithm 8 alone.
    let old = tag(&run(&site, START, "20270201000000", "-o -K @ksk keygen").ok());
    request(&site, START, "20270201000000");
    let skr = sign(&site, START, "20270201000000", "").ok();
    site.write("skr", &skr);
    join(&mut all, &skr);

    // From February on both.
    site.write("policy", BOTH);
    site.now = stamp("20270125000000");
    let (from, to) = ("20270201000000", "20270301000000");
    run(&site, from, to, "-o -K @ksk keygen").ok();
    let told = run(&site, from, to, "-K @zsk keygen").stderr;
    assert!(told.contains("brings algorithm ECDSAP256SHA256 into the zone"), "{told}");
    assert!(told.contains("until then deliveries to named are held back"), "{told}");
    request(&site, from, to);
    let keys = files::find(&site.path("ksk"), &zone()).expect("keys").keys;
    let new = keys.iter().find(|k| k.dnskey.algorithm.0 == 13).expect("the new KSK");
    assert_eq!(new.timing.publish, Some(stamp(from)), "not before its signatures");
    let new = new.dnskey.tag().to_string();
    let ran = sign(&site, from, to, "--previous @skr");
    let skr = ran.ok();
    site.write("skr", &skr);
    join(&mut all, &skr);
    let first = bundles(&skr).swap_remove(0);
    assert_eq!(algorithms(&first), (vec![8, 13], vec![8, 13]));
    assert_eq!(signers(&skr, from, "DNSKEY").len(), 2, "signed by both algorithms");
    assert_eq!(first.cds.as_ref().map(|cds| cds.rdatas.len()), Some(1), "CDS of the old one alone at first");
    assert_eq!(
        bundles(&skr).last().and_then(|b| b.cds.as_ref()).map(|cds| cds.rdatas.len()),
        Some(2),
        "then both"
    );

    // In March CDS asks for the new one alone; the parent does nothing, and whoever drops the old ZSKs is told.
    site.now = stamp("20270225000000");
    let (from, to) = ("20270301000000", "20270901000000");
    set_time(&site, "ksk", &old, "Inactive", from);
    set_time(&site, "ksk", &old, "Delete", from);
    site.write("policy", &only("ecdsap256sha256"));
    site.write("ksr", &run(&site, from, to, "-K @zsk request").ok());
    let refused = sign(&site, from, to, "--previous @skr").fails(1);
    assert!(refused.contains("KSR-ALGORITHM-SET") && refused.contains("KSK of algorithm"), "{refused}");
    site.write("policy", BOTH);
    request(&site, from, to);
    let skr = sign(&site, from, to, "--previous @skr").ok();
    site.write("skr", &skr);
    join(&mut all, &skr);
    for bundle in bundles(&skr) {
        assert_eq!(algorithms(&bundle), (vec![8, 13], vec![8, 13]), "{}", bundle.inception);
        assert_eq!(bundle.cds.as_ref().map(|cds| cds.rdatas.len()), Some(1), "{}", bundle.inception);
    }

    // The parent was seen in August. The algorithm leaves by KSK and ZSK in the same second.
    site.now = stamp("20270825000000");
    site.write("ds", &ds_file(&site, &[&new]).replace(" 15 2 ", " 13 2 "));
    let (from, to) = ("20270901000000", "20271201000000");
    site.write("policy", &only("ecdsap256sha256"));
    request(&site, from, to);
    let skr = sign(&site, from, to, "--parent-ds @ds --previous @skr").ok();
    join(&mut all, &skr);
    for bundle in bundles(&skr) {
        assert_eq!(algorithms(&bundle), (vec![13], vec![13]), "{}", bundle.inception);
    }
    let (old, new) = (anchor(&site, &old), anchor(&site, &new));
    let late = [("20260101000000", vec![old.clone()]), ("20270820000000", vec![new.clone()])];
    assert_eq!(breaks(&proof(&all, &late)), [""; 0]);
    let never = [("20260101000000", vec![old])];
    assert!(!breaks(&proof(&all, &never)).is_empty(), "the proof sees a parent that never changed");
}

/// Both DS at the parent, and the active KSK as it was (RFC 6781 section 4.2.4).
#[test]
fn a_standby_ksk_signs_and_has_its_ds_beside_that_of_the_active_one() {
    let site = Site::new(&only("ed25519"));
    let run = |rest: &str| site.command("roll", START, YEAR, rest);
    let active = tag(&run("-o -K @ksk keygen").ok());
    let standby = tag(&site.command("roll", "20270301000000", YEAR, "-o --standby -K @ksk keygen").ok());
    let again = site.command("roll", "20270401000000", YEAR, "-o --standby -K @ksk keygen").ok();
    assert_eq!(tag(&again), standby, "one is enough");
    assert_eq!(tag(&run("-o -K @ksk keygen").ok()), active, "it takes the place of no active key");
    run("-K @zsk keygen").ok();
    site.write("ksr", &run("-K @zsk request").ok());
    let skr = run("--yes -K @ksk -f @ksr sign").ok();
    let (old, new) = (anchor(&site, &active), anchor(&site, &standby));
    let from = stamp("20270301000000");
    for bundle in bundles(&skr) {
        let there = bundle.keys().filter(|k| k.is_ksk()).count();
        assert_eq!(there, if bundle.inception < from { 1 } else { 2 });
        assert_eq!(signers(&skr, &bundle.inception.to_string(), "DNSKEY").len(), there, "each one signs");
        // dnskey-ttl + publish-safety + zone-propagation-delay behind its DNSKEY.
        let asks = bundle.cds.as_ref().map_or(0, |cds| cds.rdatas.len());
        let (first, second) = (stamp(START).plus(86_400), from.plus(7500));
        // The very first one waits until caches know the zone as signed.
        let expected = usize::from(bundle.inception >= first) + usize::from(bundle.inception >= second);
        assert!(asks == expected || bundle.inception < first, "{}: {asks}", bundle.inception);
    }
    let all = bundles(&skr);
    for ds in [vec![old.clone(), new.clone()], vec![old.clone()], vec![new.clone()]] {
        let timeline = [("20260101000000", vec![old.clone()]), ("20270401000000", ds)];
        assert_eq!(breaks(&proof(&all, &timeline)), [""; 0]);
    }
}

/// Two SKRs of one interval: with the normal ZSKs, and with a spare one beside them. From one to the other at any second.
#[test]
fn an_emergency_skr_takes_over_at_any_second() {
    let site = Site::new(common::COMMON);
    let run = |rest: &str| site.command("common", START, YEAR, rest);
    std::fs::create_dir(site.path("sealed")).expect("a folder");
    run("-o -K @ksk keygen").ok();
    run("-K @zsk keygen").ok();
    let refused = run("-K @zsk --spare @sealed request").fails(1);
    assert!(refused.contains("--spare") && refused.contains("keygen --standby"), "{refused}");
    let spare = tag(&run("--standby -K @sealed keygen").ok());
    // named works with no ZSK that has no Activate: the time is far off.
    let made = files::find(&site.path("sealed"), &zone()).expect("keys");
    assert!(made.warnings().is_empty() && made.skipped.is_empty(), "{made:?}");
    assert_eq!(made.keys[0].timing.activate, Some(stamp("21000101000000")));
    assert_eq!(tag(&run("--standby -K @sealed keygen").ok()), spare, "one is enough");
    site.write("ksr", &run("-K @zsk request").ok());
    let normal = bundles(&run("--yes -K @ksk -f @ksr sign").ok());
    site.write("ksr", &run("-K @zsk --spare @sealed request").ok());
    let emergency = bundles(&run("--yes -K @ksk -f @ksr sign").ok());
    // Beside an SKR before, the spare ZSK is named as what is new there.
    let before = run("-K @zsk request").ok();
    site.write("before.ksr", &before);
    site.write("before", &run("--yes -K @ksk -f @before.ksr sign").ok());
    let refused = run("--yes --previous @before -K @ksk -f @ksr sign").fails(1);
    assert!(
        refused.contains("KSR-CHAIN-KEYS") && refused.contains(&format!("--new-zsk {spare}")),
        "{refused}"
    );
    run(&format!("--yes --previous @before --new-zsk {spare} -K @ksk -f @ksr sign")).ok();
    let times = |all: &[Bundle]| all.iter().map(|b| b.inception).collect::<Vec<_>>();
    assert_eq!(times(&normal), times(&emergency));
    for (plain, with) in normal.iter().zip(&emergency) {
        let mut expected: Vec<u16> =
            plain.keys().map(|k| k.tag()).chain([spare.parse().expect("a tag")]).collect();
        let mut found: Vec<u16> = with.keys().map(|k| k.tag()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
    let policy = Policy::with_defaults("common");
    let zsks = files::find(&site.path("zsk"), &zone()).expect("keys").keys;
    let spare = files::find(&site.path("sealed"), &zone()).expect("keys").keys.swap_remove(0).dnskey;
    let ksk = normal[0].keys().find(|k| k.is_ksk()).expect("a KSK");
    let zone = zone();
    // Signing by the spare ZSK begins `wait` seconds after the switch, when caches know it.
    let switched = |at: Timestamp, wait: u64| {
        // From the switch on the bundle in force is the one of the emergency SKR.
        let current = emergency.partition_point(|b| b.inception <= at) - 1;
        let mut cut = emergency[current].clone();
        cut.inception = at;
        let before = normal.iter().filter(|b| b.inception < at).cloned();
        let all: Vec<Bundle> = before.chain([cut]).chain(emergency[current + 1..].iter().cloned()).collect();
        let begins = at.plus(wait);
        let SigningModel::Known(periods) = SigningModel::from_files(&zsks) else { panic!("no ZSKs") };
        let cut = |mut p: keystore::exchange::prove::SigningPeriod| {
            p.inactive = Some(p.inactive.map_or(begins, |inactive| inactive.min(begins)));
            (p.activate < begins).then_some(p)
        };
        let mut periods: Vec<_> = periods.into_iter().filter_map(cut).collect();
        let spare = spare.clone();
        periods.push(keystore::exchange::prove::SigningPeriod {
            key: spare,
            activate: begins,
            inactive: None,
        });
        let report = prove(&ProofInput {
            zone: &zone,
            bundles: &all.iter().collect::<Vec<_>>(),
            parent: ParentModel::FollowsCds(vec![TrustAnchor::Dnskey(ksk.clone())]),
            signing: SigningModel::Known(periods),
            delays: Delays::from(&policy),
            from: Timestamp::EPOCH,
        });
        breaks(&report)
    };
    let safe = policy.prepublication();
    let mut moments = times(&normal);
    moments.pop();
    for boundary in moments.clone() {
        moments.extend([boundary.plus(1), boundary.plus(86_399), boundary.plus(400_000)]);
    }
    moments.retain(|at| *at > stamp(START) && *at < stamp("20271220000000"));
    for at in moments {
        assert_eq!(switched(at, safe), [""; 0], "switch at {at}");
    }
    assert_ne!(switched(stamp("20270601000000"), 0), [""; 0], "at once is too early for caches");
}

/// Two years, four ceremonies, a KSK roll in the second half-year and a parent that takes eight months over it.
#[test]
fn two_years_with_a_parent_that_is_late_by_months() {
    let mut site = Site::new(ROLL);
    let halves = [START, "20270701000000", "20280101000000", "20280701000000", "20290101000000"];
    let mut all: Vec<Bundle> = Vec::new();
    let mut tags: Vec<String> = Vec::new();
    for (i, half) in halves.windows(2).enumerate() {
        let (from, to) = (half[0], half[1]);
        site.now = stamp(from).minus(86_400 * 3);
        // One roll only: what lives longer is made once.
        if i < 2 {
            let policy = ROLL.replace(
                "ksk lifetime P6M",
                if i == 0 { "ksk lifetime P6M" } else { "ksk lifetime unlimited" },
            );
            site.write("policy", &policy.replace("zsk lifetime unlimited", "zsk lifetime P3M"));
            let made = site.command("roll", from, to, "-o -K @ksk keygen").ok();
            for tag in made.lines().map(tag).filter(|t| !tags.contains(t)).collect::<Vec<_>>() {
                tags.push(tag);
            }
        }
        site.command("roll", from, to, "-K @zsk keygen").ok();
        site.write("ksr", &site.command("roll", from, to, "-K @zsk request").ok());
        let mut more = String::new();
        if i > 0 {
            more.push_str("--previous @skr");
        }
        if i == 3 {
            site.write("ds", &ds_file(&site, &[&tags[1]]));
            more.push_str(" --parent-ds @ds");
        }
        let skr = site.command("roll", from, to, &format!("{more} --yes -K @ksk -f @ksr sign")).ok();
        site.write("skr", &skr);
        let new = bundles(&skr);
        all.retain(|b| b.inception < new[0].inception);
        all.extend(new);
    }
    let ksks = |bundle: &Bundle| {
        bundle.keys().filter(|k| k.is_ksk()).map(|k| k.tag().to_string()).collect::<Vec<_>>()
    };
    let at = |text: &str| &all[all.partition_point(|b| b.inception <= stamp(text)) - 1];
    assert_eq!(ksks(at("20280630000000")).len(), 2, "both, a year behind the plan");
    assert_eq!(ksks(all.last().expect("a bundle")), [tags[1].clone()], "and the old one is gone");
    let (old, new) = (anchor(&site, &tags[0]), anchor(&site, &tags[1]));
    for when in ["20270801000000", "20280301000000", "20280620000000"] {
        let late = [("20260101000000", vec![old.clone()]), (when, vec![new.clone()])];
        assert_eq!(breaks(&proof(&all, &late)), [""; 0], "the parent changed at {when}");
    }
    let never = [("20260101000000", vec![old])];
    assert!(!breaks(&proof(&all, &never)).is_empty(), "what was confirmed and is not so would be seen");
}
