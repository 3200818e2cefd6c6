//! Keys of one zone with one key tag, now or once a KSK is revoked (RFC 5011 section 7).

mod common;

use std::collections::HashMap;

use common::{COMMON, Site, stamp, zone};
use keystore::crypto::{Algorithm, PrivateKey};
use keystore::keys::timing::State;
use keystore::keys::{Dnskey, KeyFile, Timing};

const START: &str = "20270101000000";
const YEAR: &str = "20280101000000";
const P256: Algorithm = Algorithm::ECDSAP256SHA256;

fn generate(flags: u16, algorithm: Algorithm) -> (PrivateKey, Dnskey) {
    let private = PrivateKey::generate(algorithm, 0).expect("a key");
    let public_key = private.public_key(algorithm).expect("its public part");
    (private, Dnskey { flags, protocol: 3, algorithm, public_key })
}

type Made = (PrivateKey, Dnskey);

/// Two keys, of the given flags and algorithms, that `tag` gives one number: of some hundred, two agree.
fn twins(a: (u16, Algorithm), b: (u16, Algorithm), tags: [fn(&Dnskey) -> u16; 2]) -> [Made; 2] {
    let mut left: HashMap<u16, Made> = HashMap::new();
    let mut right: HashMap<u16, Made> = HashMap::new();
    loop {
        let one = generate(a.0, a.1);
        if let Some(other) = right.remove(&tags[0](&one.1)) {
            return [one, other];
        }
        left.insert(tags[0](&one.1), one);
        let other = generate(b.0, b.1);
        if let Some(one) = left.remove(&tags[1](&other.1)) {
            return [one, other];
        }
        right.insert(tags[1](&other.1), other);
    }
}

fn write(site: &Site, folder: &str, (private, dnskey): &Made, revoke: Option<&str>) {
    let start = stamp("20261201000000");
    let is_ksk = dnskey.is_ksk();
    let timing = Timing {
        publish: Some(start),
        activate: Some(start),
        sync_publish: is_ksk.then_some(start),
        revoke: revoke.map(stamp),
        ..Timing::default()
    };
    // P6M, as BIND reckons it.
    let lifetime = Some(if is_ksk { 0 } else { 186 * 86_400 });
    let state = State { lifetime, ksk: Some(is_ksk), zsk: Some(!is_ksk), ..State::default() };
    let (zone, dir, dnskey) = (zone(), site.path(folder), dnskey.clone());
    let file = KeyFile { zone, ttl: 3600, dnskey, timing, state: Some(state), dir };
    file.write(private).expect("a key file");
}

/// A site with one ZSK and these KSKs, and its request as `ksr` and `xml`.
fn site(zsk: &Made, ksks: &[(&Made, Option<&str>)]) -> Site {
    let site = Site::new(COMMON);
    write(&site, "zsk", zsk, None);
    ksks.iter().for_each(|(ksk, revoke)| write(&site, "ksk", ksk, *revoke));
    for (name, form) in [("ksr", "bind"), ("xml", "xml")] {
        let line = format!("--allow-inactive-zsk --format {form} -K @zsk request");
        site.write(name, &site.command("common", START, YEAR, &line).ok());
    }
    site
}

fn verdict(site: &Site, request: &str, more: &str) -> String {
    let report = site.run(&format!("-l @policy -k common -e {YEAR} -K @ksk {more} check @{request}")).stdout;
    let line = report.lines().find(|line| line.contains("  KSR-KEY-COLLISION ")).expect("a line");
    line.split(' ').next().expect("a word").to_owned()
}

#[test]
fn kind_113_keys_of_one_tag_are_refused_and_those_of_one_tag_once_revoked_are_a_warning() {
    let (zsk, ksk) = (generate(256, P256), generate(257, P256));
    let of_two_algorithms = twins((257, P256), (257, Algorithm::ED25519), [Dnskey::tag; 2]);
    let once_revoked = twins((257, P256), (257, P256), [Dnskey::revoked_tag, Dnskey::tag]);
    let both_revoked = twins((257, P256), (257, Algorithm::ED25519), [Dnskey::revoked_tag; 2]);
    let with_zsk = twins((257, P256), (256, P256), [Dnskey::revoked_tag, Dnskey::tag]);
    let same_as_zsk = twins((257, P256), (256, P256), [Dnskey::tag; 2]);
    let revoke = Some("20270601000000");
    // Inactive from before the request on, and revoked after it.
    let after = Some("20290601000000");
    type Case<'a> = (&'a str, &'a Made, Vec<(&'a Made, Option<&'a str>)>, &'a str);
    let cases: [Case<'_>; 9] = [
        ("nothing in common", &zsk, vec![(&ksk, None)], "ok"),
        ("KSKs", &zsk, vec![(&of_two_algorithms[0], None), (&of_two_algorithms[1], None)], "REFUSED"),
        ("a KSK once revoked", &zsk, vec![(&once_revoked[0], None), (&once_revoked[1], None)], "warning"),
        ("a KSK revoked", &zsk, vec![(&once_revoked[0], revoke), (&once_revoked[1], None)], "REFUSED"),
        ("a KSK revoked later", &zsk, vec![(&once_revoked[0], after), (&once_revoked[1], None)], "warning"),
        ("both once revoked", &zsk, vec![(&both_revoked[0], None), (&both_revoked[1], None)], "REFUSED"),
        ("a ZSK and a KSK once revoked", &with_zsk[1], vec![(&with_zsk[0], None)], "warning"),
        (
            "a ZSK and a KSK to be revoked",
            &with_zsk[1],
            vec![(&with_zsk[0], revoke), (&ksk, None)],
            "REFUSED",
        ),
        ("a ZSK and a KSK", &same_as_zsk[1], vec![(&same_as_zsk[0], None)], "REFUSED"),
    ];
    for (what, zsk, ksks, want) in cases {
        let site = site(zsk, &ksks);
        // By the times alone: whether the parent follows is another matter.
        let more = "--allow-unconfirmed-ksk-roll --allow-unproven";
        for request in ["ksr", "xml"] {
            // Two revoked tags agree where the plain ones do, but for the rare carry.
            let want = match what {
                "both once revoked" if ksks[0].0.1.tag() != ksks[1].0.1.tag() => "warning",
                _ => want,
            };
            assert_eq!(verdict(&site, request, more), want, "{what}, {request}");
            if want == "REFUSED" {
                let allowed = verdict(&site, request, &format!("{more} --allow-tag-collision"));
                assert_eq!(allowed, "warning", "{what}, {request}");
            }
        }
    }
}

/// The ZSK side has no KSK; it knows it from the configuration, or from a file with DNSKEY, DS or CDS records.
#[test]
fn kind_113_new_zsks_get_no_tag_of_a_ksk_that_is_elsewhere_revoked_or_not() {
    let site = Site::new(COMMON);
    let (_, ksk) = generate(257, P256);
    let range = |from: u16, to: u16| {
        let all = "zsk lifetime P6M algorithm ecdsap256sha256";
        let of_range = format!("zsk lifetime unlimited algorithm ecdsap256sha256 tag-range {from} {to}");
        COMMON.replace(all, &of_range)
    };
    let record = |rtype: &str, rdata: String| format!("example.test. 60 IN {rtype} {rdata}\n");
    let base64 = data_encoding::BASE64.encode(&ksk.public_key);
    let dnskey = record("DNSKEY", format!("257 3 13 {base64}"));
    let digest = data_encoding::HEXUPPER.encode(&ksk.ds_rdata(&zone(), 2).expect("a DS")[4..]);
    let ds = |rtype: &str| record(rtype, format!("{} 13 2 {digest}", ksk.tag()));
    // The one pair of tags in this range is that of the KSK and the revoked KSK: no other key fits into it.
    let (low, high) = (ksk.tag().min(ksk.revoked_tag()), ksk.tag().max(ksk.revoked_tag()));
    if high - low > 129 {
        // The tag wraps; one key in five hundred.
        return;
    }
    let keygen = |more: &str| site.command("common", START, YEAR, &format!("{more} -K @zsk keygen"));
    for (what, text, works) in [
        ("DNSKEY", dnskey.clone(), false),
        ("DS", ds("DS"), false),
        (
            "CDS and other records",
            format!("; remark\n{}{}", record("A", "192.0.2.1".to_owned()), ds("CDS")),
            false,
        ),
        (
            "another key",
            record(
                "DNSKEY",
                format!("257 3 13 {}", data_encoding::BASE64.encode(&generate(257, P256).1.public_key)),
            ),
            true,
        ),
    ] {
        site.write("elsewhere", &text);
        for file in site.names("zsk") {
            std::fs::remove_file(site.path("zsk").join(file)).expect("removed");
        }
        site.write("policy", &if works { range(0, 65_535) } else { range(low, high) });
        let ran = keygen("--other-keys @elsewhere");
        assert_eq!(ran.code == 0, works, "{what}: {}", ran.stderr);
        assert!(works || ran.stderr.contains("free of collisions"), "{what}: {}", ran.stderr);
    }
    for (text, says) in [
        ("", "no DNSKEY or DS record of example.test."),
        (
            &*format!("other.test. IN DS 1 13 2 {digest}\n"),
            "(1): a record of other.test., where example.test. was expected",
        ),
        ("example.test. IN DS x\n", "(1): "),
    ] {
        site.write("elsewhere", text);
        let said = keygen("--other-keys @elsewhere").fails(1);
        assert!(said.contains("--other-keys ") && said.contains(says), "{said}");
    }
    let toml = format!(
        "version = 1\nstate-dir = \"s\"\nnamed-conf = \"policy\"\n[[zone]]\nname = \"example.test\"\npolicy = \"common\"\nkey-directory = \"zsk\"\n\
         trust-anchors = [\"{}\"]\n",
        ds("DS").trim().replace(" 60 ", " ")
    );
    site.write("c.toml", &toml);
    site.write("policy", &range(low, high));
    let refused =
        site.run(&format!("-l @c.toml -k common -i {START} -e {YEAR} -K @zsk keygen example.test")).fails(1);
    assert!(refused.contains("free of collisions"), "{refused}");
}
