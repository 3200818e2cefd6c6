//! Refusals that say what is the matter and what to do.

mod common;

use common::{COMMON, Site};

const START: &str = "20270101000000";
const YEAR: &str = "20280101000000";

/// ZSKs and a request, KSKs from `ksk_start` on.
fn site(ksk_start: &str) -> Site {
    let site = Site::new(COMMON);
    site.command("common", ksk_start, YEAR, "-o -K @ksk keygen").ok();
    site.command("common", START, YEAR, "-K @zsk keygen").ok();
    site.write("ksr", &site.command("common", START, YEAR, "-K @zsk request").ok());
    site
}

#[test]
fn kind_26_ksk_that_does_not_sign_the_whole_request_is_named_with_the_ways_out() {
    for (begins, late) in [
        ("20270101000002", "2 seconds"),
        ("20270101000100", "60 seconds"),
        ("20270101003000", "30 minutes"),
        ("20270104000000", "3 days"),
    ] {
        let site = site(begins);
        let refused = site.command("common", START, YEAR, "-K @ksk -f @ksr sign").fails(1);
        for part in [
            "KSR-NO-KSK: bundle 20270101000000",
            &format!("begins to sign at {begins}, {late} after the bundle"),
            "dnssec-settime -s -P 20270101000000 -A 20270101000000",
            "ask for a request that begins when it does (request -i)",
        ] {
            assert!(refused.contains(part), "{begins}: {part}\n{refused}");
        }
        // Both ways out work as they are printed: the request anew, and the times of the KSK.
        site.write("later", &site.command("common", begins, YEAR, "-K @zsk request").ok());
        site.command("common", begins, YEAR, "-K @ksk -f @later sign").ok();
        let name = site.names("ksk").into_iter().find(|name| name.ends_with(".private")).expect("a key");
        let path = site.path("ksk").join(&name);
        for path in [path.clone(), path.with_extension("state")] {
            let text = std::fs::read_to_string(&path).expect("text");
            let moved = text.lines().map(|line| match line.split_once(": ") {
                Some((word @ ("Publish" | "Activate" | "Published" | "Active"), _)) => {
                    format!("{word}: {START}\n")
                }
                _ => format!("{line}\n"),
            });
            std::fs::write(&path, moved.collect::<String>()).expect("write");
        }
        site.command("common", START, YEAR, "-K @ksk -f @ksr sign").ok();
    }
    // One that has ended.
    let site = Site::new(COMMON);
    let ending = COMMON.replace("ksk lifetime unlimited", "ksk lifetime P3M");
    site.write("policy", &ending);
    site.command("common", START, "20270201000000", "-o -K @ksk keygen").ok();
    site.command("common", START, YEAR, "-K @zsk keygen").ok();
    site.write("ksr", &site.command("common", START, YEAR, "-K @zsk request").ok());
    let refused = site.command("common", START, YEAR, "-K @ksk -f @ksr sign").fails(1);
    assert!(refused.contains("has signed until 20270404000000 and does so no more"), "{refused}");
    assert!(refused.contains("make a KSK for it (keygen -o)"), "{refused}");
}

#[test]
fn kind_26_keygen_takes_the_ksk_that_lacks_the_first_minutes_and_says_so() {
    for (begins, same) in [
        ("20270101000002", true),
        ("20270101001000", true),
        ("20270101010000", true),
        ("20270201000000", false),
    ] {
        let site = site(begins);
        let before = site.names("ksk");
        let ran = site.command("common", START, YEAR, "-o -K @ksk keygen");
        assert_eq!(site.names("ksk") == before, same, "{begins}: no second KSK for some minutes");
        let told = format!("signs from {begins} on");
        assert_eq!(
            ran.stderr.contains(&told) && ran.stderr.contains("-i 2027"),
            same,
            "{begins}: {}",
            ran.stderr
        );
        ran.ok();
        // As dnssec-ksr, which makes another one.
        if same {
            site.command("common", START, YEAR, "--allow-holes -o -K @ksk keygen").ok();
            assert_ne!(site.names("ksk"), before);
        }
    }
    // A ZSK is needed from the first second on.
    let site = Site::new(COMMON);
    site.command("common", "20270101000002", YEAR, "-K @zsk keygen").ok();
    let before = site.names("zsk").len();
    site.command("common", START, YEAR, "-K @zsk keygen").ok();
    assert!(site.names("zsk").len() > before);
}

/// The request that Knot's keymgr made, with one ZSK roll.
fn knot_site(policy: &str) -> Site {
    let mut site = Site::new(policy);
    site.now = common::stamp("20261124040000");
    let fixtures =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../keystore/tests/fixtures/knot/01-zsk-rollover.ksr");
    std::fs::copy(fixtures, site.path("ksr")).expect("copy");
    site.run("-l @policy -k common -i 20261124 -e 20270124 -o -K @ksk keygen example.com").ok();
    site
}

/// The policy of the KSK side, with delays of the zone's signer.
fn knot_policy(delays: &str) -> String {
    COMMON.replace("offline-ksk yes;", &format!("offline-ksk yes; dnskey-ttl 1h; {delays}"))
}

#[test]
fn kind_25_roll_of_a_signer_that_signs_anew_at_once_proves_by_its_own_delays() {
    const KNOTS: &str = "max-zone-ttl 1h; zone-propagation-delay 1h; publish-safety 0; retire-safety 0;";
    let end = "-e 20270123034601 --allow-no-pop";
    for form in ["knot", "bind"] {
        let site = knot_site(&knot_policy(KNOTS));
        let run = |more: &str| {
            site.run(&format!(
                "-l @policy -k common -K @ksk {end} --format {form} -f @ksr {more} sign example.com"
            ))
        };
        run("").ok();
        run("--resign-time 0").ok();
        // BIND's slow way: nine days.
        for slow in ["--resign-time P9D", "--resign-time 9d", "--resign-time 777600"] {
            let refused = run(slow).fails(1);
            assert!(refused.contains("PROVE-NO-ZSK"), "{slow}: {refused}");
            assert!(
                refused.contains("9 days until the zone is re-signed") && refused.contains("--resign-time")
            );
        }
        let wrong = run("--resign-time soon").fails(2);
        assert!(wrong.contains("--resign-time soon: give a duration, such as"), "{wrong}");
    }
    // The delays of BIND's defaults are not Knot's: the message says which of them count.
    let site = knot_site(COMMON);
    let refused = site.run(&format!("-l @policy -k common -K @ksk {end} -f @ksr sign example.com")).fails(1);
    for part in [
        "PROVE-NO-ZSK",
        "of zone-propagation-delay",
        "24 hours of max-zone-ttl",
        "max-zone-ttl and zone-propagation-delay",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Not for a request that BIND or ksr-gen wrote.
    let site = knot_site(&knot_policy(KNOTS));
    let text = std::fs::read_to_string(site.path("ksr")).expect("text");
    site.write("ksr", &text.replace("by Knot DNS 3.4.6", "by 9.20.30"));
    let line = format!("-l @policy -k common -K @ksk {end} -f @ksr");
    assert!(site.run(&format!("{line} sign example.com")).fails(1).contains("PROVE-NO-ZSK"));
    site.run(&format!("{line} --resign-time 0 sign example.com")).ok();
}

#[test]
fn kind_20_u_labels_on_the_command_line_are_refused_with_the_a_label_to_write() {
    let site = Site::new(COMMON);
    for (zone, a_label) in [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example."),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    ] {
        for command in ["-o -K @ksk keygen", "-K @zsk keygen", "-K @zsk request"] {
            let refused = site.run(&format!("-l @policy -k common -e 20280101 {command} {zone}")).fails(2);
            assert!(
                refused.contains(&format!("invalid zone name: {zone} is not ASCII; write \"{a_label}\"")),
                "{zone}: {refused}"
            );
        }
    }
    assert!(site.names("ksk").is_empty() && site.names("zsk").is_empty());
    site.run("-l @policy -k common -e 20280101 -K @zsk keygen xn--bcher-kva.example").ok();
}

/// A zone with a TTL above `max-zone-ttl`: wherever it is told, ZSKs are planned and SKRs are proved with it.
#[test]
fn kind_18_largest_ttl_goes_with_the_request_and_is_reckoned_with_where_it_is_signed() {
    const ROLLS: &str = "dnssec-policy common { offline-ksk yes;
        keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime P60D algorithm ecdsap256sha256; }; };";
    let planned_with = |ttl: &str| {
        let site = Site::new(ROLLS);
        site.command("common", START, YEAR, "-o -K @ksk keygen").ok();
        site.command("common", START, YEAR, &format!("-K @zsk {ttl} keygen")).ok();
        site
    };
    let (short, long) = (planned_with(""), planned_with("--largest-ttl 30d"));
    let request = |site: &Site, more: &str| {
        let text = site.command("common", START, YEAR, &format!("-K @zsk {more} request")).ok();
        site.write("ksr", &text);
        text
    };
    let sign = |site: &Site, more: &str| {
        site.command("common", START, YEAR, &format!("-K @ksk -f @ksr {more} sign"))
    };
    for form in ["bind", "knot"] {
        let note = format!("--format {form} --largest-ttl P30D");
        let text = request(&short, &note);
        assert!(text.trim_end().ends_with("(largest TTL 2592000)"), "{text}");
        let refused = sign(&short, "").fails(1);
        for part in
            ["PROVE-NO-ZSK", "30 days of the largest TTL that the request names", "a TTL of 2592000 s"]
        {
            assert!(refused.contains(part), "{form}: {part}: {refused}");
        }
        request(&long, &note);
        let signed = sign(&long, "");
        assert_eq!(signed.code, 0, "{}", signed.stderr);
        assert!(
            signed.stderr.contains("a TTL of 2592000 s, above the 86400 s of max-zone-ttl"),
            "{}",
            signed.stderr
        );
        let report = long.run("-l @policy -k common -K @ksk check @ksr").ok();
        assert!(report.contains("TTL        the zone has one of 2592000 s"), "{report}");
        // Told at the ceremony alone.
        request(&short, &format!("--format {form}"));
        sign(&short, "").ok();
        assert!(sign(&short, "--largest-ttl 30d").fails(1).contains("30 days of max-zone-ttl"));
    }
    // No larger one: nothing is said of it.
    for small in ["--largest-ttl 1d", "--largest-ttl 0", ""] {
        assert!(!request(&short, small).contains("largest TTL"), "{small}");
    }
    // The signer has noted it in the state folder of an offline-ksk.toml.
    let state = keystore::store::zone_dir(&short.path("zones"), &common::zone());
    keystore::store::write_largest_ttl(&state, Some(2_592_000)).expect("noted");
    std::fs::copy(short.path("policy"), short.path("named.conf")).expect("copied");
    short.write("offline-ksk.toml", "state-dir = \".\"\nnamed-conf = \"named.conf\"\n");
    let line = format!("-l @offline-ksk.toml -k common -i {START} -e {YEAR} -K @zsk request example.test");
    assert!(short.run(&line).ok().trim_end().ends_with("(largest TTL 2592000)"));
    assert!(sign(&short, "--largest-ttl soon").fails(2).contains("--largest-ttl soon: give a duration"));
    let all = short.run(&format!("-l @policy -k common -e {YEAR} -K @zsk --largest-ttl 30d --all request"));
    assert!(all.fails(2).contains("--largest-ttl is that of one zone"));
}

/// Without `-s` the times go into `.private` alone, and those of `.state` still count.
#[test]
fn every_dnssec_settime_that_the_manual_prints_writes_the_state_file_too() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let pages =
        docs.join("manual").read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut seen = 0;
    for page in pages.chain([docs.join("manual.md"), docs.join("../README.md")]) {
        let text = std::fs::read_to_string(&page).expect("text");
        for line in text.lines() {
            for command in line.split("dnssec-settime -").skip(1) {
                let command = command.split('`').next().expect("a command");
                // `-f` is what BIND says of old files.
                if command.starts_with('f') {
                    continue;
                }
                let has_state = command.starts_with("s ") || command == "s" || command.contains(" -s ");
                assert!(has_state, "{}: dnssec-settime -{command}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "{seen} commands");
}
