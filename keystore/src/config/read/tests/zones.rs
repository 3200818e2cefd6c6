//! The tables `[[zone]]`: content, versions, and who signs.

use super::*;

#[test]
fn what_new_content_of_a_zone_has_to_pass() {
    let with = |keys: &str| parse_text(&EXAMPLE.replace("[signer]\n", &format!("[signer]\n{keys}\n")));
    let text =
        "max-shrink = 10\nmax-growth = 300\nreview = [\"/bin/check\", \"-v\"]\nreview-timeout = \"5m\"";
    let signer = with(text).unwrap().signer.unwrap();
    assert_eq!((signer.max_shrink, signer.max_growth, signer.review_timeout), (10, 300, 300));
    assert_eq!(signer.review, ["/bin/check", "-v"]);
    for bad in ["max-shrink = 101", "max-growth = -1", "review = []", "review = \"x\"", "review-timeout = 0"]
    {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn versions_of_a_zone_are_made_and_judged_as_its_table_says() {
    let with = |keys: &str| parse_text(&EXAMPLE.replace("# zonemd = false\n", &format!("{keys}\n")));
    let text =
        "zonemd = true\nzonemd-interval = \"1m\"\nself-check = \"all\"\nmax-shrink = 0\nmax-growth = 20";
    let versions = VersionConfig {
        signing: Signing::Online,
        zonemd: true,
        zonemd_interval: 60,
        self_check: SelfCheck::All,
        max_shrink: Some(0),
        max_growth: Some(20),
    };
    assert_eq!(with(text).unwrap().zones[0].versions, versions);
    assert_eq!(with("").unwrap().zones[0].versions, VersionConfig::default());
    for (setting, want) in [("auto", SelfCheck::Auto), ("sample", SelfCheck::Sample)] {
        let config = with(&format!("self-check = \"{setting}\"")).unwrap();
        assert_eq!(config.zones[0].versions.self_check, want);
    }
    for bad in [
        "self-check = \"off\"",
        "self-check = false",
        "zonemd-interval = \"2h\"",
        "max-shrink = 101",
        "max-growth = \"x\"",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

/// Names that DNS does not carry as they are: in `[[zone]]` and where a target names its zones.
#[test]
fn kind_20_u_labels_are_refused_with_the_a_label_to_write() {
    const CASES: [(&str, &str); 6] = [
        ("bücher.example", "is not ASCII; write \"xn--bcher-kva.example\""),
        ("BÜCHER.example.", "is not ASCII; write \"xn--bcher-kva.example.\""),
        ("例え.テスト", "is not ASCII; write \"xn--r8jz45g.xn--zckzah\""),
        ("straße.example", "is not ASCII; write \"xn--strae-oqa.example\""),
        ("ex\u{ad}ample.example", "is not ASCII; write \"example.example\""),
        ("\u{fffd}.example", "is not ASCII, and there is no A-label for it"),
    ];
    for (name, want) in CASES {
        let text = EXAMPLE.replacen("name = \"example.com\"", &format!("name = \"{name}\""), 1);
        let found = errors(&text);
        assert!(found.iter().any(|e| e.contains(&format!("zone[1].name: {want}"))), "{name}: {found:?}");
        let text = format!(
            "{}\n[[deliver.hook]]\nname = \"h\"\ncommand = [\"/bin/push\"]\nzones = [\"{name}\"]\n",
            EXAMPLE.split("\n[deliver").next().unwrap()
        );
        let found = errors(&text);
        assert!(
            found.iter().any(|e| e.contains(&format!("deliver.hook[1].zones[1]: {want}"))),
            "{name}: {found:?}"
        );
    }
    let text = EXAMPLE.replacen("name = \"example.com\"", "name = \"xn--bcher-kva.example\"", 1);
    assert!(errors(&text).iter().all(|e| !e.contains("zone[1].name")), "the A-label itself is taken");
}

#[test]
fn kind_18_zone_check_is_lenient_by_default_and_strict_on_demand() {
    let text = |line: &str| {
        format!(
            "version = 1\nstate-dir = \"/s\"\n[[zone]]\nname = \"example\"\npolicy = \"p\"\n{line}\ntrust-anchors = [\"example. DS 1 13 2 {}\"]\n\
             [policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n",
            "AB".repeat(32)
        )
    };
    let read = |line: &str| Config::parse(text(line).as_bytes(), Path::new("/c.toml"));
    for (line, expected) in [
        ("", ZoneCheck::Lenient),
        ("zone-check = \"lenient\"", ZoneCheck::Lenient),
        ("zone-check = \"strict\"", ZoneCheck::Strict),
    ] {
        assert_eq!(read(line).unwrap().zones[0].zone_check, expected, "{line}");
    }
    for line in ["zone-check = true", "zone-check = \"Strict\"", "zone-check = \"\""] {
        let error = read(line).unwrap_err().to_string();
        assert!(error.contains("c.toml:6: zone[1].zone-check: "), "{line}: {error}");
    }
}

#[test]
fn an_unsigned_zone_has_no_policy_and_no_keys_and_every_key_about_them_is_an_error() {
    const HEAD: &str = "version = 1\nstate-dir = \".\"\n[[zone]]\nname = \"plain.example\"\n";
    let config = parse_text(&format!("{HEAD}signing = \"unsigned\"\nfile = \"zone\"\n")).unwrap();
    let zone = &config.zones[0];
    assert_eq!((zone.versions.signing, zone.has_content()), (Signing::Unsigned, true));
    assert!(zone.anchors.is_empty() && zone.policy.keys.is_empty() && zone.policy.max_zone_ttl == 0);
    assert_eq!(config.signed_zones().count(), 0);
    let lines = [
        ("signing = \"no\"", "zone[1].signing: write \"online\""),
        ("signing = 1", "zone[1].signing: expected a string"),
        ("signing = \"online\"", "policy is missing"),
        (
            "signing = \"unsigned\"\npolicy = \"p\"",
            "zone[1].policy: has no meaning with signing = \"unsigned\"",
        ),
        ("signing = \"unsigned\"\ntrust-anchors = []", "zone[1].trust-anchors: has no meaning"),
        ("signing = \"unsigned\"\nkey-directory = \"keys\"", "zone[1].key-directory: has no meaning"),
        ("signing = \"unsigned\"\nzonemd = true", "zone[1].zonemd: has no meaning"),
        ("signing = \"unsigned\"\nmulti-signer = true", "zone[1].multi-signer: has no meaning"),
    ];
    for (lines, what) in lines {
        let found = errors(&format!("{HEAD}{lines}\n"));
        assert!(found.iter().any(|error| error.contains(what)), "{lines}: {found:?}");
    }
}

#[test]
fn a_presigned_zone_may_have_trust_anchors_and_says_what_becomes_of_versions_that_do_not_verify() {
    const HEAD: &str =
        "version = 1\nstate-dir = \".\"\n[[zone]]\nname = \"given.example\"\nfile = \"zone\"\n";
    const ANCHORS: &str = "trust-anchors = [\"given.example. DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF\"]";
    for (lines, verify, anchors) in [
        ("signing = \"presigned\"", Verify::Refuse, 0),
        ("signing = \"presigned\"\nverify = \"refuse\"", Verify::Refuse, 0),
        (&format!("verify = \"warn\"\nsigning = \"presigned\"\n{ANCHORS}"), Verify::Warn, 1),
    ] {
        let config = parse_text(&format!("{HEAD}{lines}\n")).unwrap();
        let zone = &config.zones[0];
        assert_eq!(
            (zone.versions.signing, zone.anchors.len()),
            (Signing::Presigned(verify), anchors),
            "{lines}"
        );
        assert!(!zone.is_signed_here() && zone.versions.signing.is_signed());
    }
    for (lines, what) in [
        ("signing = \"presigned\"\nverify = \"no\"", "zone[1].verify: write \"refuse\""),
        ("signing = \"presigned\"\npolicy = \"p\"", "zone[1].policy: has no meaning"),
        ("signing = \"presigned\"\nzonemd = false", "zone[1].zonemd: has no meaning"),
        ("signing = \"presigned\"\ntrust-anchors = []", "zone[1].trust-anchors: expected 1 to 64"),
        (
            "signing = \"presigned\"\nupdate = [{ key = \"k\", names = \"zone\" }]",
            "zone[1].update: cannot be used",
        ),
        (
            "signing = \"unsigned\"\nverify = \"warn\"",
            "zone[1].verify: has no meaning with signing = \"unsigned\"",
        ),
        ("verify = \"warn\"", "zone[1].verify: has no meaning with signing = \"online\""),
    ] {
        let found = errors(&format!("{HEAD}{lines}\n"));
        assert!(found.iter().any(|error| error.contains(what)), "{lines}: {found:?}");
    }
}
