//! `sign` of requests in Knot's form and in the root zone's, and SKRs in each form.

mod common;

use common::{Site, stamp, zone};
use keystore::crypto::SigningKey;
use keystore::exchange::xml::respond::{Zsk, request};
use keystore::exchange::xml::{
    Label, Rules, XmlRequest, XmlResponse, check_request, parse_request, parse_response, print_request,
};
use keystore::exchange::{TrustAnchor, VerifyContext, bind, format, knot, verify};
use keystore::keys::{KeyFile, files};

const START: &str = "20270101000000";
const END: &str = "20270701000000";
const DAY: u64 = 86_400;

fn conf(algorithm: &str, more: &str) -> String {
    format!(
        "dnssec-policy p {{ offline-ksk yes; {more} keys {{ ksk lifetime unlimited algorithm {algorithm}; zsk lifetime P6M algorithm {algorithm}; }}; }};"
    )
}

fn ceremony(algorithm: &str, more: &str) -> Site {
    let mut site = Site::new(&conf(algorithm, more));
    site.now = stamp("20261231000000");
    site.command("p", "20261201000000", END, "-o -K @ksk keygen").ok();
    site.command("p", "20261201000000", END, "-K @zsk keygen").ok();
    site
}

fn keys(site: &Site, folder: &str) -> Vec<KeyFile> {
    files::find(&site.path(folder), &zone()).expect("keys").keys
}

/// The SKR, in any form, passes the loader's checks.
fn accept(site: &Site, skr: &str) -> usize {
    let anchors: Vec<TrustAnchor> =
        keys(site, "ksk").into_iter().map(|key| TrustAnchor::Dnskey(key.dnskey)).collect();
    let zone = zone();
    let parsed = format::parse_skr(skr.as_bytes(), &zone).expect("an SKR");
    let good = verify(parsed, &VerifyContext::new(&zone, &anchors), stamp(START));
    good.unwrap_or_else(|f| panic!("{f:#?}")).bundles().len()
}

fn sign(site: &Site, rest: &str) -> common::Ran {
    site.command("p", START, END, &format!("-K @ksk -f @ksr {rest} sign"))
}

#[test]
fn the_form_of_the_request_is_that_of_the_answer() {
    let site = ceremony("ecdsap256sha256", "");
    let ksr = site.command("p", START, END, "-K @zsk request").ok();
    site.write("ksr", &ksr);
    let by_default = sign(&site, "").ok();
    let model = bind::parse_ksr(ksr.as_bytes(), &zone()).expect("a KSR");
    site.write("ksr", &knot::print_ksr(&model, knot::Stamps::Unix, site.now, "Knot DNS 3.4.6"));
    let in_knots = sign(&site, "").ok();
    assert!(in_knots.starts_with(";; SignedKeyResponse 1.0 1798761600 (2027-01-01T00:00:00Z) =========\n"));
    assert_eq!(accept(&site, &by_default), accept(&site, &in_knots));
    let in_binds = sign(&site, "--format bind").ok();
    assert_eq!(format::detect(in_binds.as_bytes()), format::Format::Bind);
    assert_eq!(accept(&site, &in_binds), accept(&site, &in_knots));
    let refused = sign(&site, "--format xml").fails(1);
    assert!(refused.contains("cannot carry CDNSKEY"), "{refused}");
    assert!(sign(&site, "--format pdf").fails(2).contains("bind, knot and xml"));
    assert!(sign(&site, "--previous @ksr").fails(1).contains("--previous"));

    let site = ceremony("ecdsap256sha256", "cdnskey no; cds-digest-types { };");
    site.write("ksr", &site.command("p", START, END, "-K @zsk request").ok());
    let xml = sign(&site, "--format xml").ok();
    assert_eq!(accept(&site, &xml), accept(&site, &sign(&site, "").ok()));
    parse_response(xml.as_bytes()).expect("XML");
}

/// A request in XML by the ZSKs of the folder: bundles of 21 days, ten days apart.
fn ask(site: &Site, from: u64, count: u64, serial: u64) -> XmlRequest {
    let zsks = keys(site, "zsk");
    let zsk =
        zsks.iter().find(|k| k.timing.activate.is_some_and(|a| a <= stamp(START))).expect("an active ZSK");
    let (signer, label): (Box<dyn SigningKey>, _) =
        (zsk.load_private().expect("its private part"), Label::parse("302e312c").expect("a label"));
    let bundle = |i: u64| {
        let inception = stamp(START).plus((from + i * 10) * DAY);
        let zsk = Zsk { dnskey: &zsk.dnskey, key: &*signer, identifier: &label };
        (inception, inception.plus(21 * DAY), vec![zsk])
    };
    let bundles: Vec<_> = (0..count).map(bundle).collect();
    request(&zone(), serial, &bundles, 3600, (10 * DAY, 10 * DAY)).expect("working keys")
}

#[test]
fn requests_in_xml() {
    for algorithm in ["rsasha256", "ecdsap256sha256", "ecdsap384sha384"] {
        let site = ceremony(algorithm, "");
        let first = ask(&site, 0, 4, 1);
        site.write("ksr", &print_request(&first));
        let ran = sign(&site, "");
        assert!(ran.stderr.contains("without --previous"), "{}", ran.stderr);
        let skr = ran.ok();
        assert_eq!(accept(&site, &skr), 4);
        let response: XmlResponse = parse_response(skr.as_bytes()).expect("XML");
        assert_eq!((response.id.clone(), response.serial), (first.id.clone(), 1));
        let in_binds = sign(&site, "--format bind").ok();
        assert_eq!(accept(&site, &in_binds), 4);
        assert_eq!(accept(&site, &sign(&site, "--format knot").ok()), 4);

        // The next ceremony follows on the first; the first again, or with a gap, does not.
        site.write("before", &skr);
        let refused = sign(&site, "--previous @before").fails(1);
        assert!(refused.contains("KSR-ID") && refused.contains("KSR-CHAIN-OVERLAP"), "{refused}");
        site.write("ksr", &print_request(&ask(&site, 40, 4, 2)));
        assert_eq!(accept(&site, &sign(&site, "--previous @before").ok()), 4);
        site.write("ksr", &print_request(&ask(&site, 52, 4, 3)));
        let refused = sign(&site, "--previous @before").fails(1);
        assert!(refused.contains("KSR-CHAIN-OVERLAP"), "{refused}");
    }
}

#[test]
fn what_is_wrong_in_xml_is_not_signed() {
    let site = ceremony("ecdsap256sha256", "");
    let good = ask(&site, 0, 4, 1);
    let refused = |request: &XmlRequest| {
        site.write("ksr", &print_request(request));
        sign(&site, "").fails(1)
    };
    let mut unproved = good.clone();
    unproved.bundles[2].signatures[0].rrsig.signature[5] ^= 1;
    assert!(refused(&unproved).contains("KSR-BUNDLE-POP"));
    let mut gap = good.clone();
    gap.bundles.remove(1);
    gap.bundles.remove(1);
    assert!(refused(&gap).contains("KSR-POLICY-SIG-OVERLAP"));
    let mut other = good.clone();
    other.domain = keystore::dns::Name::parse("example.net").expect("a name");
    for bundle in &mut other.bundles {
        bundle.signatures.iter_mut().for_each(|s| s.rrsig.signer = other.domain.clone());
    }
    assert!(refused(&other).contains("KSR-DOMAIN"));
    site.write("ksr", &print_request(&good)[..3000]);
    assert!(sign(&site, "").fails(1).contains("KSR-TRUNCATED"));
    // No KSK that is active for the whole of a bundle.
    for key in keys(&site, "ksk") {
        let mut key = key;
        key.timing.inactive = Some(good.bundles[3].expiration.minus(1));
        key.update().expect("written");
    }
    assert!(refused(&good).contains("none"));
}

/// `request --format xml`: the proofs of the ZSKs and the claims hold by our own checks, and `sign` answers it in each form.
#[test]
fn request_in_xml() {
    for algorithm in ["rsasha256", "ecdsap256sha256"] {
        let site = ceremony(algorithm, "");
        let request = site.command("p", START, END, "--format xml -K @zsk request").ok();
        let parsed = parse_request(request.as_bytes()).expect("XML");
        assert_eq!(check_request(&parsed, &Rules::zone(zone()), site.now), []);
        assert!(parsed.bundles.iter().all(|b| !b.keys.is_empty() && b.keys.len() == b.signatures.len()));
        // Nine days from one renewal to the next, for half a year.
        assert!(parsed.bundles.len() > 20, "{}", parsed.bundles.len());
        let again = site.command("p", START, END, "--format xml -K @zsk request").ok();
        assert_eq!(
            parse_request(again.as_bytes()).expect("XML").id,
            parsed.id,
            "the id is that of the content"
        );
        site.write("ksr", &request);
        assert_eq!(accept(&site, &sign(&site, "").ok()), parsed.bundles.len());
        assert_eq!(accept(&site, &sign(&site, "--format bind").ok()), parsed.bundles.len());
        let refused = site.command("p", START, END, "--format xml --no-pop -K @zsk request").fails(2);
        assert!(refused.contains("always has its proofs"), "{refused}");
    }
    let site = ceremony("ed25519", "");
    let refused = site.command("p", START, END, "--format xml -K @zsk request").fails(1);
    assert!(refused.contains("RSA and ECDSA"), "{refused}");
}

/// `request --format knot`: one more bundle at the very end, and `sign` reads it with its proofs.
#[test]
fn request_in_knots_form() {
    let site = ceremony("ecdsap256sha256", "");
    let binds = format::parse_ksr(site.command("p", START, END, "-K @zsk request").ok().as_bytes(), &zone())
        .expect("a KSR");
    let knots = site.command("p", START, END, "--format knot -K @zsk request").ok();
    assert_eq!(format::detect(knots.as_bytes()), format::Format::Knot);
    let parsed = format::parse_ksr(knots.as_bytes(), &zone()).expect("a KSR");
    assert_eq!(parsed.bundles.len(), binds.bundles.len() + 1);
    assert_eq!(parsed.bundles.last().map(|b| b.inception), Some(stamp(END)));
    assert_eq!(keystore::exchange::possession::check(&parsed), []);
    site.write("ksr", &knots);
    let in_knots = sign(&site, "").ok();
    site.write("ksr", &site.command("p", START, END, "-K @zsk request").ok());
    // One more, for the bundle at the very end.
    assert_eq!(accept(&site, &in_knots), accept(&site, &sign(&site, "").ok()) + 1);
}

/// What the parent has counts for requests in XML too: foreign DS are refused, and a roll proves good only when the parent has followed.
#[test]
fn what_the_parent_has_counts_for_a_request_in_xml() {
    let site = ceremony("ecdsap256sha256", "");
    let old = keys(&site, "ksk").remove(0);
    let new = site.command("p", "20261201000000", END, "-o --standby -K @ksk keygen");
    let new = match new.code {
        0 => new.ok(),
        code => panic!("{code}: {}", new.stderr),
    };
    let new_tag = common::tag(&new);
    for mut key in keys(&site, "ksk") {
        if key.dnskey.tag().to_string() == new_tag {
            key.timing.activate = Some(stamp("20261201000000"));
        } else {
            key.timing.inactive = Some(stamp("20270401000000"));
            key.timing.delete = Some(stamp("20270601000000"));
        }
        key.update().expect("written");
    }
    site.write("ksr", &site.command("p", START, END, "--format xml -K @zsk request").ok());
    let foreign = format!("example.test. IN DS {} 13 2 {}\n", old.dnskey.tag(), "AB".repeat(32));
    site.write("foreign", &foreign);
    let old_tag = old.dnskey.tag().to_string();
    let has = |tag: &str| format!("--parent-has {tag}");
    for (option, parent, prove) in [
        (has(&new_tag), "ok", "ok"),
        (format!("{} {}", has(&new_tag), has(&old_tag)), "ok", "ok"),
        (has(&old_tag), "ok", "REFUSED"),
        ("--parent-ds @foreign".to_owned(), "REFUSED", "skipped"),
    ] {
        let report = site.run(&format!("-l @policy -k p -K @ksk {option} check @ksr")).stdout;
        let verdict = |id: &str| {
            let line = report.lines().find(|line| line.contains(&format!("  {id} "))).expect("a line");
            line.split(' ').next().expect("a word").to_owned()
        };
        assert_eq!(verdict("KSR-PARENT-DS"), parent, "{option}: {report}");
        assert_eq!(verdict("KSR-PROVE"), prove, "{option}: {report}");
        let signed = sign(&site, &option);
        let refused = parent == "REFUSED" || prove == "REFUSED";
        assert_eq!(signed.code != 0, refused, "{option}: {}", signed.stderr);
    }
    let report = site.run("-l @policy -k p -K @ksk check @ksr").stdout;
    assert!(report.contains("skipped    KSR-PARENT-DS "), "{report}");
}
