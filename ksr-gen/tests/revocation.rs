//! KSKs with a Revoke time, and KSKs that are revoked already (RFC 5011).

mod common;

use common::{COMMON, Site, copy, headers, tag, zone};
use keystore::dns::{Rtype, rrsig};
use keystore::exchange::{Bundle, bind, format};
use keystore::keys::{Dnskey, FLAG_REVOKE};

const START: &str = "20270101000000";
const YEAR: &str = "20280101000000";

/// KSKs in the folder `ksk`, each with the start of its use and lines for its `.private` file; and a request. Their base names.
fn site_with(policy: &str, ksks: &[(&str, &str)]) -> (Site, Vec<String>) {
    let site = Site::new(policy);
    let mut names = Vec::new();
    for (i, (from, times)) in ksks.iter().enumerate() {
        let folder = format!("ksk{i}");
        std::fs::create_dir(site.path(&folder)).expect("a folder");
        let name = site.command("common", from, YEAR, &format!("-o -K @{folder} keygen")).ok();
        let name = name.trim().to_owned();
        let private = site.path(&folder).join(format!("{name}.private"));
        let text = std::fs::read_to_string(&private).expect("text");
        std::fs::write(&private, text + times).expect("write");
        copy(&site.path(&folder), &site.path("ksk"));
        names.push(name);
    }
    site.command("common", START, YEAR, "-K @zsk keygen").ok();
    let ksr = site.command("common", START, YEAR, "-K @zsk request").ok();
    site.write("ksr", &ksr);
    (site, names)
}

/// Sets the REVOKE flag of a key as `dnssec-revoke` does: in the record, and in the names of the files.
fn revoke_file(site: &Site, name: &str) -> String {
    let old = tag(name).parse::<u16>().expect("a tag");
    let path = |name: &str, suffix: &str| site.path("ksk").join(format!("{name}.{suffix}"));
    let key = std::fs::read_to_string(path(name, "key")).expect("text").replace(" 257 3 13 ", " 385 3 13 ");
    let revoked = format!("{}{:05}", &name[..name.len() - 5], new_tag(old, &key));
    std::fs::write(path(&revoked, "key"), key).expect("write");
    for suffix in ["private", "state"] {
        std::fs::rename(path(name, suffix), path(&revoked, suffix)).expect("rename");
    }
    std::fs::remove_file(path(name, "key")).expect("remove");
    revoked
}

fn new_tag(old: u16, key: &str) -> u16 {
    let line = key.lines().last().expect("a record");
    let base64: String = line.split(" 385 3 13 ").nth(1).expect("a key").split(' ').collect();
    let public_key = data_encoding::BASE64.decode(base64.as_bytes()).expect("base64");
    let plain = Dnskey { flags: 257, protocol: 3, algorithm: keystore::crypto::Algorithm(13), public_key };
    assert_eq!(plain.tag(), old);
    plain.revoked_tag()
}

fn skr(site: &Site, more: &str) -> Vec<Bundle> {
    let text = site.command("common", START, YEAR, &format!("-K @ksk -f @ksr {more} sign")).ok();
    bind::parse_skr(text.as_bytes(), &zone()).expect("an SKR").bundles
}

/// Each bundle with a revoked key: that and another KSK sign all three RRsets, since named serves no other bundle, and CDS names just the
/// other one.
fn check_revoked_bundle(bundle: &Bundle) {
    let keys: Vec<Dnskey> = bundle.keys().collect();
    let revoked = keys.iter().find(|key| key.flags == 385).expect("a revoked KSK");
    let trusted = keys.iter().find(|key| key.flags == 257).expect("another KSK");
    for key in [revoked, trusted] {
        let by = bundle.signatures.iter().filter(|s| s.key_tag == key.tag());
        let covered: Vec<Rtype> = by.clone().map(|s| s.covered).collect();
        assert_eq!(covered, [Rtype::DNSKEY, Rtype::CDNSKEY, Rtype::CDS], "{}", key.flags);
        let signature = by.clone().find(|s| s.covered == Rtype::DNSKEY).expect("a signature");
        rrsig::verify_raw(&bundle.dnskey, &key.public_key, signature).expect("it verifies");
    }
    let cdnskey = bundle.cdnskey.as_ref().expect("CDNSKEY");
    assert_eq!(cdnskey.rdatas.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), [trusted.to_rdata()]);
    let cds = bundle.cds.as_ref().expect("CDS");
    assert!(cds.rdatas.iter().all(|r| r[..2] == trusted.tag().to_be_bytes()), "no CDS of a revoked key");
}

#[test]
fn kind_03_revoked_ksk_beside_a_trusted_one_signs_itself_and_is_in_no_cds() {
    // By a time, once with a Delete and once without; and by dnssec-revoke.
    for times in ["Revoke: 20270601000000\n", "Revoke: 20270601000000\nDelete: 20270801000000\n"] {
        let (site, names) = site_with(COMMON, &[("20260101000000", times), ("20260101000000", "")]);
        let seen = format!("--parent-has {} --parent-ds-seen 20270101", tag(&names[1]));
        let bundles = skr(&site, &seen);
        let is_revoked = |b: &&Bundle| b.keys().any(|key| key.flags & FLAG_REVOKE != 0);
        let first = bundles.iter().find(is_revoked).expect("a revocation");
        assert_eq!(first.inception.to_string(), "20270601000000", "a bundle begins at Revoke");
        let count = bundles.iter().filter(is_revoked).map(check_revoked_bundle).count();
        let to_the_end = bundles.iter().filter(|b| b.inception >= first.inception).count();
        assert_eq!(count == to_the_end, !times.contains("Delete"), "it leaves at Delete");
        let gone = bundles.iter().find(|b| b.inception.to_string() == "20270801000000");
        assert_eq!(gone.is_some_and(|b| !is_revoked(&b)), times.contains("Delete"));
        // The report names the time and the new tag.
        let report = site.run(&format!("-l @policy -k common -e {YEAR} -K @ksk {seen} check @ksr")).ok();
        assert!(report.contains("REVOKED from 2027-06-01T00:00:00Z on, with tag "), "{report}");
    }
    let (site, names) = site_with(COMMON, &[("20260101000000", ""), ("20260101000000", "")]);
    revoke_file(&site, &names[0]);
    let bundles = skr(&site, &format!("--parent-has {}", tag(&names[1])));
    bundles.iter().for_each(check_revoked_bundle);
}

#[test]
fn kind_03_ksk_that_is_revoked_alone_is_refused_by_check_and_sign() {
    // From a time on, from the start on, by dnssec-revoke; and the only one beside a KSK that does not sign any more.
    let late = "Inactive: 20270301000000\nDelete: 20270302000000\n";
    let cases: [&[(&str, &str)]; 3] = [
        &[("20260101000000", "Revoke: 20270601000000\n")],
        &[("20260101000000", "Revoke: 20260601000000\n")],
        &[("20260101000000", "Revoke: 20270201000000\n"), ("20260101000000", late)],
    ];
    for (n, case) in cases.into_iter().enumerate() {
        let (site, names) = site_with(COMMON, case);
        let has = names.last().map(|name| format!("--parent-has {}", tag(name))).expect("a KSK");
        let by_times = "--allow-unconfirmed-ksk-roll";
        for more in [has.as_str(), by_times] {
            // With a second KSK whose time is over the first one is held back; by the times alone it is not.
            if n == 2 && more != by_times {
                continue;
            }
            let refused =
                site.command("common", START, YEAR, &format!("-K @ksk -f @ksr {more} sign")).fails(1);
            assert!(refused.contains("error: KSR-NO-KSK: "), "{n} {more}: {refused}");
            assert!(refused.contains("is revoked since ") && refused.contains("RFC 5011"), "{n}: {refused}");
            let checked = site.run(&format!("-l @policy -k common -e {YEAR} -K @ksk {more} check @ksr"));
            assert_eq!(checked.code, 1);
            assert!(checked.stdout.contains("REFUSED    KSR-NO-KSK"), "{}", checked.stdout);
        }
    }
    let (site, names) = site_with(COMMON, &[("20260101000000", "")]);
    revoke_file(&site, &names[0]);
    let refused = site.command("common", START, YEAR, "-K @ksk -f @ksr sign").fails(1);
    assert!(refused.contains("KSR-NO-KSK") && refused.contains("is revoked, and no other KSK"), "{refused}");
}

#[test]
fn kind_03_revocation_waits_for_the_parent_as_the_end_of_signing_does() {
    let times = "Revoke: 20270601000000\nDelete: 20270715000000\n";
    let (site, names) = site_with(COMMON, &[("20260101000000", times), ("20260101000000", "")]);
    let is_revoked = |b: &Bundle| b.keys().any(|key| key.flags & FLAG_REVOKE != 0);
    // Nobody has said that the parent has the DS of the other one.
    let held = site.command("common", START, YEAR, "-K @ksk -f @ksr sign");
    assert!(held.stderr.contains("KSR-KSK-HELD"), "{}", held.stderr);
    let held = bind::parse_skr(held.ok().as_bytes(), &zone()).expect("an SKR").bundles;
    assert!(held.iter().all(|b| !is_revoked(b) && b.keys().filter(Dnskey::is_ksk).count() == 2));
    // It was seen only after the Revoke time: later by the delays of the parent, and as long in the zone as was planned.
    let seen = format!("--parent-has {} --parent-ds-seen 20270701", tag(&names[1]));
    let late = skr(&site, &seen);
    let from = late.iter().find(|b| is_revoked(b)).expect("a revocation").inception;
    let to = late.iter().find(|b| b.inception > from && !is_revoked(b)).expect("its end").inception;
    assert!(from > common::stamp("20270702000000"), "{from}");
    assert_eq!(to.since(from), 44 * 86_400, "July 15 less June 1");
}

#[test]
fn kind_03_revocation_within_the_hold_down_of_the_successor_is_refused() {
    for (successor, refuses) in [
        ("20270510000000", true),
        ("20270530000000", true),
        ("20270401000000", false),
        ("20260101000000", false),
    ] {
        let times = "Revoke: 20270601000000\nDelete: 20270801000000\n";
        let (site, names) = site_with(COMMON, &[("20260101000000", times), (successor, "")]);
        let (old, new) = (tag(&names[0]), tag(&names[1]));
        let seen = format!("--parent-has {old} --parent-has {new} --parent-ds-seen 20270501");
        let ran = site.command("common", START, YEAR, &format!("-K @ksk -f @ksr {seen} sign"));
        let said = ran.stderr.clone();
        assert_eq!(ran.code != 0, refuses, "{successor}: {said}");
        assert_eq!(said.contains("PROVE-HOLD-DOWN"), refuses, "{successor}: {said}");
        if refuses {
            assert!(
                said.contains("KSR-PROVE") && said.contains("30 days") && said.contains("--allow-unproven")
            );
        }
    }
    // It leaves too early after the revocation: advice.
    let times = "Revoke: 20270601000000\nDelete: 20270611000000\n";
    let (site, names) = site_with(COMMON, &[("20260101000000", times), ("20260101000000", "")]);
    let seen = format!("--parent-has {}", tag(&names[1]));
    let ran = site.command("common", START, YEAR, &format!("-K @ksk -f @ksr {seen} sign"));
    assert!(
        ran.stderr.contains("warning: KSR-PROVE") && ran.stderr.contains("PROVE-HOLD-DOWN"),
        "{}",
        ran.stderr
    );
    ran.ok();
}

#[test]
fn kind_03_request_in_xml_is_answered_with_revoked_keys_too() {
    let times = "Revoke: 20270601000000\n";
    let (site, names) = site_with(COMMON, &[("20260101000000", times), ("20260101000000", "")]);
    let xml = site.command("common", START, YEAR, "-K @zsk --format xml request").ok();
    site.write("xml", &xml);
    let line = "-K @ksk -f @xml --format bind --allow-unproven sign";
    let text = site.command("common", START, YEAR, line).ok();
    let bundles = format::parse_skr(text.as_bytes(), &zone()).expect("an SKR").bundles;
    let revoked = bundles.iter().filter(|b| b.keys().any(|key| key.flags == 385));
    assert!(revoked.clone().count() > 10, "{:?}", headers(&text).len());
    for bundle in revoked {
        assert!(bundle.inception >= common::stamp("20270601000000"));
        let keys: Vec<Dnskey> = bundle.keys().filter(Dnskey::is_ksk).collect();
        assert_eq!(keys.iter().filter(|key| tag(&names[1]) == key.tag().to_string()).count(), 1);
        assert!(keys.iter().all(|key| bundle.signatures.iter().any(|s| s.key_tag == key.tag())));
    }
    let (site, _) = site_with(COMMON, &[("20260101000000", times)]);
    site.write("xml", &site.command("common", START, YEAR, "-K @zsk --format xml request").ok());
    let refused = site.command("common", START, YEAR, "-K @ksk -f @xml sign").fails(1);
    assert!(refused.contains("KSR-NO-KSK") && refused.contains("not revoked"), "{refused}");
}

/// A KSK that is revoked may be in the hands of others: its signature does not tell whose the SKR before is.
#[test]
fn kind_03_revoked_ksk_does_not_vouch_for_the_skr_before() {
    let parent = |name: &str| format!("--parent-has {}", tag(name));
    for form in ["bind", "xml"] {
        let (site, names) = site_with(COMMON, &[("20260101000000", ""), ("20260101000000", "")]);
        let (revoked, trusted) = (revoke_file(&site, &names[0]), &names[1]);
        let request = site.command("common", START, YEAR, &format!("-K @zsk --format {form} request")).ok();
        site.write("asked", &request);
        let sign =
            |more: &str| site.command("common", START, YEAR, &format!("-K @ksk -f @asked {more} sign"));
        site.write("before", &sign(&parent(trusted)).ok());
        let own = sign(&format!("{} --previous @before", parent(trusted)));
        assert!(!own.stderr.contains("KSR-CHAIN-SKR"), "{form}: {}", own.stderr);
        // The folder of somebody else, with a KSK of their own; and one without any other KSK, where the parent's DS tell.
        for suffix in ["key", "private", "state"] {
            std::fs::rename(site.path("ksk").join(format!("{trusted}.{suffix}")), site.path(suffix))
                .expect("moved");
        }
        let said = sign("--previous @before --allow-unconfirmed-ksk-roll").fails(1);
        assert!(said.contains("KSR-NO-KSK"), "{form}: {said}");
        let other = site.command("common", "20260101000000", YEAR, "-o -K @ksk keygen").ok();
        let said = sign(&format!("{} --previous @before", parent(&other))).fails(1);
        assert!(
            said.contains("KSR-CHAIN-SKR: ") && said.contains("none of the KSKs known here"),
            "{form}: {said}"
        );
        assert!(site.path("ksk").join(format!("{revoked}.key")).exists(), "it lies there");
    }
}
