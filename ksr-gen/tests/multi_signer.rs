//! Requests of several providers, merged into one SKR (RFC 8901 model 1).

mod common;

use common::{COMMON, Site, stamp, zone};
use keystore::exchange::bind;

const START: &str = "20270101000000";
const LATER: &str = "20270201000000";
const YEAR: &str = "20280101000000";

/// Two providers; the second one begins a month later.
fn two(conf: &str) -> Site {
    let site = Site::new(conf);
    std::fs::create_dir(site.path("zsk_b")).expect("a folder");
    site.command("common", START, YEAR, "-o -K @ksk keygen").ok();
    for (folder, start, file) in [("zsk", START, "a.ksr"), ("zsk_b", LATER, "b.ksr")] {
        site.command("common", start, YEAR, &format!("-K @{folder} keygen")).ok();
        let ksr = site.command("common", start, YEAR, &format!("-K @{folder} request")).ok();
        site.write(file, &ksr);
    }
    site
}

#[test]
fn each_bundle_has_the_zsks_of_all() {
    let site = two(COMMON);
    let sign = |files: &str| site.command("common", START, YEAR, &format!("-K @ksk {files} sign"));
    let ran = sign("-f @a.ksr -f @b.ksr");
    assert!(
        ran.stderr.contains("a.ksr begins at 20270101000000; what lies before 20270201000000"),
        "{}",
        ran.stderr
    );
    let parse = |text: &str| bind::parse_skr(text.as_bytes(), &zone()).expect("an SKR").bundles;
    let (both, alone) = (parse(&ran.ok()), ["a", "b"].map(|f| parse(&sign(&format!("-f @{f}.ksr")).ok())));
    assert_eq!(both[0].inception, stamp(LATER));
    for bundle in &both {
        let mut want: Vec<_> = alone
            .iter()
            .flat_map(|skr| {
                let at = skr.partition_point(|b| b.inception <= bundle.inception);
                skr[at - 1].keys().collect::<Vec<_>>()
            })
            .collect();
        let mut got: Vec<_> = bundle.keys().collect();
        want.sort_unstable();
        want.dedup();
        got.sort_unstable();
        assert_eq!(got, want, "{}", bundle.inception);
    }
    assert_eq!(parse(&sign("-f @b.ksr -f @a.ksr").ok()).len(), both.len());
}

/// A person sees the hash of every file, and the possession as each request proves it.
#[test]
fn the_report_speaks_of_every_file() {
    let site = two(COMMON);
    let hash = |file: &str| {
        let hex = data_encoding::HEXUPPER
            .encode(&keystore::store::digest(&std::fs::read(site.path(file)).expect("a file")));
        let groups: Vec<&str> = (0..8).map(|i| &hex[i * 4..i * 4 + 4]).collect();
        groups.join(" ")
    };
    let ask = |more: &str| {
        let line =
            format!("-l @policy -k common -e {YEAR} -K @ksk -f @a.ksr -f @b.ksr {more} sign example.test");
        let ran = site.run_at_terminal(&line, "yes\n");
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    };
    let text = ask("");
    for file in ["a.ksr", "b.ksr"] {
        assert!(text.contains(&format!("SHA-256    {}\n", hash(file))), "{file}: {text}");
    }
    assert_eq!(text.matches("possession proved").count(), 4, "{text}");
    assert!(!text.contains("NOT proved") && text.contains("ok         KSR-POP-MISSING"), "{text}");
    site.write("b.ksr", &site.command("common", LATER, YEAR, "--no-pop -K @zsk_b request").ok());
    let text = ask("--allow-no-pop");
    assert_eq!(text.matches("possession proved").count(), 2, "{text}");
    assert_eq!(text.matches("possession NOT proved").count(), 2, "{text}");
    assert!(text.contains("warning    KSR-POP-MISSING"), "{text}");
}

#[test]
fn what_is_wrong_names_its_file() {
    let site = two(COMMON);
    let sign = |files: &str| site.command("common", START, YEAR, &format!("-K @ksk {files} sign")).fails(1);
    let good = std::fs::read_to_string(site.path("b.ksr")).expect("a file");
    let bare: String =
        good.lines().map(|line| line.split(" ; proof").next().unwrap_or(line).to_owned() + "\n").collect();
    site.write("bare.ksr", &bare);
    let said = sign("-f @a.ksr -f @bare.ksr");
    assert!(said.contains("bare.ksr: KSR-POP-MISSING") && !said.contains("a.ksr: "), "{said}");
    site.write("other.ksr", &good.replace("example.test.", "other.test."));
    assert!(sign("-f @a.ksr -f @other.ksr").contains("other.ksr(2)"), "KSR-WRONG-ZONE");
    site.write("cut.ksr", &good[..good.len() / 2]);
    assert!(sign("-f @a.ksr -f @cut.ksr").contains("cut.ksr("));
}

#[test]
fn an_answer_that_nobody_takes_over_udp_is_refused() {
    let conf = "dnssec-policy common { offline-ksk yes; keys { ksk lifetime unlimited algorithm rsasha256 4096; \
                zsk lifetime P6M algorithm rsasha256 4096; }; };";
    let site = two(conf);
    let sign = |more: &str| {
        let line = format!("{more} -K @ksk -f @a.ksr -f @b.ksr sign");
        site.command("common", START, YEAR, &line)
    };
    // Two ZSKs of 4096 bits, while they are rolled three and four, a KSK and its signature: over 1232, under 4096.
    let ran = sign("");
    assert!(
        ran.stderr.contains("KSR-SIZE") && ran.stderr.contains("over 1232 it needs TCP"),
        "{}",
        ran.stderr
    );
    ran.ok();
    // Two more, who roll when the first one does: seven ZSKs and a KSK, over 4096.
    for folder in ["zsk_c", "zsk_d"] {
        std::fs::create_dir(site.path(folder)).expect("a folder");
        site.command("common", START, YEAR, &format!("-K @{folder} keygen")).ok();
        let ksr = site.command("common", START, YEAR, &format!("-K @{folder} request")).ok();
        site.write(&format!("{folder}.ksr"), &ksr);
    }
    let said = sign("-f @zsk_c.ksr -f @zsk_d.ksr").fails(1);
    assert!(said.contains("KSR-SIZE") && said.contains("more than 4096"), "{said}");
    assert!(said.contains("--allow-large-answer"), "{said}");
    let ran = sign("-f @zsk_c.ksr -f @zsk_d.ksr --allow-large-answer");
    assert!(ran.stderr.contains("warning: KSR-SIZE"), "{}", ran.stderr);
    ran.ok();
}

/// A provider joins, and one leaves: the ZSKs of the seam are named, each by its tag, and no other change goes through with them.
#[test]
fn kind_103_zsks_that_come_and_go_with_a_provider_are_named_by_their_tags() {
    let site = two(COMMON);
    let sign = |rest: &str| site.command("common", LATER, YEAR, &format!("-K @ksk {rest} sign"));
    let tag_at = |file: &str, at: &str| {
        let text = std::fs::read_to_string(site.path(file)).expect("text");
        let ksr = bind::parse_ksr(text.as_bytes(), &zone()).expect("a KSR");
        let place = ksr.bundles.partition_point(|b| b.inception <= stamp(at)) - 1;
        ksr.bundles[place].keys.iter().map(|key| key.tag().to_string()).collect::<Vec<_>>()
    };
    let alone = sign("-f @a.ksr").ok();
    let both = sign("-f @a.ksr -f @b.ksr").ok();
    site.write("alone", &alone);
    site.write("both", &both);
    site.write("later.ksr", &site.command("common", LATER, YEAR, "-K @zsk request").ok());
    let joins = tag_at("b.ksr", LATER);
    let [joins] = joins.as_slice() else { panic!("{joins:?}") };
    let merged = "-f @a.ksr -f @b.ksr";
    for (line, option, refused) in [
        (format!("{merged} --previous @alone"), String::new(), Some(format!("--new-zsk {joins}"))),
        (format!("{merged} --previous @alone"), format!("--new-zsk {joins}"), None),
        (format!("{merged} --previous @alone"), format!("--gone-zsk {joins}"), Some("--new-zsk".to_owned())),
        (
            format!("{merged} --previous @alone"),
            format!("--new-zsk {joins} --new-zsk 1"),
            Some("no ZSK has the tag 1,".to_owned()),
        ),
        ("-f @later.ksr --previous @both".to_owned(), String::new(), Some(format!("--gone-zsk {joins}"))),
        ("-f @later.ksr --previous @both".to_owned(), format!("--gone-zsk {joins}"), None),
        (
            "-f @later.ksr --previous @both".to_owned(),
            format!("--new-zsk {joins}"),
            Some("--gone-zsk".to_owned()),
        ),
        (
            "-f @a.ksr --previous @alone".to_owned(),
            format!("--gone-zsk {joins}"),
            Some("has no ZSK with the tag".to_owned()),
        ),
    ] {
        let ran = sign(&format!("{line} {option}"));
        match refused {
            Some(says) => {
                let said = ran.fails(1);
                assert!(said.contains("KSR-CHAIN-KEYS") && said.contains(&says), "{line} {option}: {said}");
            }
            None => {
                assert!(
                    ran.stderr.contains("KSR-CHAIN-KEYS") && ran.stderr.contains("as was said"),
                    "{}",
                    ran.stderr
                );
                ran.ok();
            }
        }
    }
    assert!(sign(&format!("-f @a.ksr --new-zsk {joins}")).fails(2).contains("--previous"));
    // In XML the ZSKs change behind the seam: there is nothing to name.
    site.write("a.xml", &site.command("common", LATER, YEAR, "--format xml -K @zsk request").ok());
    site.write("alone.xml", &sign("-f @a.xml").ok());
    for option in [format!("--new-zsk {joins}"), format!("--gone-zsk {joins}")] {
        let said = sign(&format!("-f @a.xml --previous @alone.xml {option}")).fails(2);
        assert!(said.contains("go with requests in text"), "{option}: {said}");
    }
    let all = format!(
        "-l @policy -k common -e {YEAR} -K @ksk -f @a.ksr --previous @both --gone-zsk {joins} sign --all"
    );
    assert!(site.run(&all).fails(2).contains("keys of one zone"));
}
