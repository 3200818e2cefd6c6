//! One file with the requests of all zones, and one with the responses.

mod common;

use common::{COMMON, Site};
use keystore::dns::Name;
use keystore::exchange::{bind, many};

const START: &str = "20270101000000";
const YEAR: &str = "20280101000000";
const ZONES: [&str; 3] = ["a.test.", "b.test.", "c.test."];

/// KSKs and ZSKs of three zones.
fn site() -> Site {
    let site = Site::new(COMMON);
    for zone in ZONES {
        site.run(&format!("{} -K @ksk -o keygen {zone}", times())).ok();
        site.run(&format!("{} -K @zsk keygen {zone}", times())).ok();
    }
    site
}

fn times() -> String {
    format!("-l @policy -k common -i {START} -e {YEAR}")
}

fn zones(text: &str) -> Vec<String> {
    let sections = many::split(text.as_bytes()).expect("few");
    sections.iter().map(|s| s.zone().expect("a zone").to_string()).collect()
}

#[test]
fn all_zones_there_and_back() {
    let site = site();
    let ksr = site.run(&format!("{} -K @zsk request --all", times())).ok();
    assert_eq!(zones(&ksr), ZONES);
    // Each signature by ECDSA is another one, so without them.
    let bare = |more: &str| site.run(&format!("{} -K @zsk --no-pop request {more}", times())).ok();
    let alone: String = ZONES.iter().map(|zone| bare(zone)).collect();
    assert_eq!(bare("--all"), alone, "the files of the zones, one behind the other");
    site.write("all.ksr", &ksr);
    let skr = site.run(&format!("{} -K @ksk -f @all.ksr sign --all", times())).ok();
    assert_eq!(zones(&skr), ZONES);
    for section in many::split(skr.as_bytes()).expect("few") {
        let zone = section.zone().expect("a zone");
        let parsed = bind::parse_skr(section.octets, &zone).expect("an SKR by itself");
        assert!(parsed.bundles.iter().all(|b| !b.signatures.is_empty() && b.dnskey.owner == zone));
    }
    // From standard input, with the SKR before.
    site.write("all.skr", &skr);
    let again = site.run_with(&format!("{} -K @ksk --previous @all.skr -f - sign --all", times()), &ksr);
    assert_eq!(zones(&again.ok()), ZONES);
}

#[test]
fn kind_113_one_zone_that_is_refused_is_named_and_the_others_are_signed() {
    let site = site();
    let ksr = site.run(&format!("{} -K @zsk request --all", times())).ok();
    site.write("all.ksr", &ksr);
    let sign = |more: &str| site.run(&format!("{} -K @ksk {more} sign --all", times()));
    for name in site.names("ksk").iter().filter(|name| name.starts_with("Kb.test.")) {
        std::fs::remove_file(site.path("ksk").join(name)).expect("removed");
    }
    let part = sign("-f @all.ksr");
    let said = &part.stderr;
    assert!(said.contains("b.test.: ") && said.contains("KSR-NO-KSK"), "{said}");
    assert!(said.contains("1 of 3 zones are refused and are not in the output: b.test."), "{said}");
    assert_eq!((part.code, zones(&part.stdout)), (3, vec!["a.test.".to_owned(), "c.test.".to_owned()]));
    // A person is told, and asked for the others.
    let line = format!("{} -K @ksk -f @all.ksr -O @part.skr sign --all", times());
    let asked = site.run_at_terminal(&line, "yes\n");
    assert!(
        asked.stderr.contains("the 2 other zones, and leave out these 1: b.test.? Type yes"),
        "{}",
        asked.stderr
    );
    assert_eq!(asked.code, 3, "{}", asked.stderr);
    assert_eq!(zones(&std::fs::read_to_string(site.path("part.skr")).expect("text")), ["a.test.", "c.test."]);
    // A request that does not read and a zone whose keys share a tag are refused alone, too.
    let broken = ksr.replacen("c.test.", "d.test.", 1);
    site.write("broken.ksr", &broken);
    let part = sign("-f @broken.ksr");
    assert_eq!((part.code, zones(&part.stdout)), (3, vec!["a.test.".to_owned()]), "{}", part.stderr);
    // Where nothing is left nothing is made, and an error is an error.
    for name in site.names("ksk") {
        std::fs::rename(site.path("ksk").join(&name), site.path(&name)).expect("moved");
    }
    let said = sign("-f @all.ksr").fails(1);
    assert!(said.contains("3 of 3 zones failed, and nothing was made"), "{said}");
    assert!(!site.run_at_terminal(&line, "yes\n").fails(1).contains("Type yes"));
    for name in ["Ka.test.", "Kc.test."] {
        for file in std::fs::read_dir(site.path("")).expect("a folder") {
            let file = file.expect("an entry").file_name().into_string().expect("text");
            if file.starts_with(name) {
                std::fs::rename(site.path(&file), site.path("ksk").join(&file)).expect("moved");
            }
        }
    }

    site.write("twice.ksr", &format!("{ksr}{ksr}"));
    let lines = ksr.lines().count();
    let said = sign("-f @twice.ksr").fails(1);
    assert!(
        said.contains(&format!("twice.ksr({}): a.test. was there before, at line 1", lines + 1)),
        "{said}"
    );

    let first = ksr.find(" generated").expect("a closing line");
    let without = ksr[..first].rfind('\n').expect("a line");
    let behind = first + ksr[first..].find('\n').expect("a line");
    site.write("lost.ksr", &format!("{}{}", &ksr[..without], &ksr[behind..]));
    let part = sign("-f @lost.ksr");
    let said = part.stderr;
    assert_eq!((part.code, zones(&part.stdout)), (3, vec!["c.test.".to_owned()]), "{said}");
    assert!(said.contains("a.test.: bad KSR file") && said.contains("KSR-WRONG-ZONE"), "{said}");
    site.write("empty.ksr", "");
    assert!(sign("-f @empty.ksr").fails(1).contains("no record"));
    let zone = Name::parse("b.test.").expect("a name");
    assert!(!said.contains(&format!("{zone}: bad")));
}

#[test]
fn kind_106_a_zone_whose_key_fails_is_told_to_be_tried_again_and_not_refused() {
    let site = site();
    let ksr = site.run(&format!("{} -K @zsk request --all", times())).ok();
    site.write("all.ksr", &ksr);
    let sign = || site.run(&format!("{} -K @ksk -f @all.ksr sign --all", times()));
    site.write("b.ksr", &site.run(&format!("{} -K @zsk request b.test", times())).ok());
    let private = |zone: &str| {
        let names = site.names("ksk");
        let name = names.iter().find(|n| n.starts_with(&format!("K{zone}")) && n.ends_with(".private"));
        site.path("ksk").join(name.expect("a KSK"))
    };
    let of_b = std::fs::read_to_string(private("b.test.")).expect("text");
    // The key is said to be in a token, whose module is not there at the moment.
    let uri = "pkcs11:token=t;object=o?module-path=/nonexistent/module.so\0";
    let label = format!("Label: {}", data_encoding::BASE64.encode(uri.as_bytes()));
    let line = of_b.lines().find(|line| line.starts_with("PrivateKey: ")).expect("a private key");
    let in_token = of_b.replacen(line, &label, 1);
    let damaged = of_b.replacen("PrivateKey: ", "PrivateKey: !", 1);
    let again = "1 of 3 zones failed for their keys and are not in the output; nothing is wrong with their requests, try again";
    for (what, text, zones_again) in [
        ("no token", &in_token, format!("{again}: b.test.")),
        ("a damaged file", &damaged, format!("{again} when what is told of them is mended: b.test.")),
    ] {
        std::fs::write(private("b.test."), text).expect("write");
        let part = sign();
        assert!(part.stderr.contains("b.test.: failed, try again: KSK Kb.test."), "{what}: {}", part.stderr);
        assert!(part.stderr.contains(&zones_again), "{what}: {}", part.stderr);
        assert!(!part.stderr.contains("refused"), "{what}: {}", part.stderr);
        assert_eq!((part.code, zones(&part.stdout)), (4, vec!["a.test.".to_owned(), "c.test.".to_owned()]));
        // One zone by itself says the same with its exit code.
        site.run(&format!("{} -K @ksk -f @b.ksr sign b.test", times())).fails(4);
    }
    // Refused and failed zones are told apart in one run.
    let of_c = private("c.test.");
    ["private", "key", "state"].iter().for_each(|suffix| {
        std::fs::remove_file(of_c.with_extension(suffix)).expect("removed");
    });
    let part = sign();
    assert!(
        part.stderr.contains("1 of 3 zones are refused and are not in the output: c.test."),
        "{}",
        part.stderr
    );
    assert!(part.stderr.contains(again), "{}", part.stderr);
    assert_eq!((part.code, zones(&part.stdout)), (4, vec!["a.test.".to_owned()]));
    // Nothing comes out where nothing is signed.
    std::fs::write(private("a.test."), &in_token).expect("write");
    let said = sign().fails(4);
    assert!(said.contains("nothing was made: 1 of 3 zones are refused"), "{said}");
    assert!(said.contains("2 of 3 zones failed for their keys"), "{said}");
}

#[test]
fn zones_policies_and_folders_from_the_configuration_of_the_daemons() {
    let site = site();
    let mut config = String::from("version = 1\nstate-dir = \"state\"\nnamed-conf = \"policy\"\n");
    for zone in &ZONES[..2] {
        config.push_str(&format!(
            "[[zone]]\nname = \"{zone}\"\npolicy = \"common\"\nkey-directory = \"zsk\"\ntrust-anchors = [\"{}\"]\n",
            anchor(&site, zone)
        ));
    }
    site.write("offline-ksk.toml", &config);
    let ksr = site.run(&format!("-l @offline-ksk.toml -i {START} -e {YEAR} request --all")).ok();
    assert_eq!(zones(&ksr), ZONES[..2]);
    let alone = site.run(&format!("{} -K @zsk request --all", times())).ok();
    assert_eq!(zones(&alone), ZONES);
    site.write("all.ksr", &alone);
    let ran = site.run(&format!("-l @offline-ksk.toml -i {START} -e {YEAR} -K @ksk -f @all.ksr sign --all"));
    let said = ran.stderr;
    assert_eq!((ran.code, zones(&ran.stdout)), (3, ZONES[..2].iter().map(ToString::to_string).collect()));
    assert!(said.contains("c.test.: it is no [[zone]] of the configuration"), "{said}");
}

/// The KSK of a zone as trust anchor.
fn anchor(site: &Site, zone: &str) -> String {
    let names = site.names("ksk");
    let key =
        names.iter().find(|n| n.starts_with(&format!("K{zone}+")) && n.ends_with(".key")).expect("a KSK");
    let text = std::fs::read_to_string(site.path("ksk").join(key)).expect("text");
    let line = text.lines().find(|line| line.contains("DNSKEY")).expect("a record");
    line.replace('\t', " ")
}

#[test]
fn command_lines_that_mean_nothing() {
    let site = site();
    for (line, says) in [
        ("-K @zsk request --all a.test", "with --all give no zone name"),
        ("-K @zsk keygen --all", "--all goes with request and sign"),
        ("-K @ksk sign --all", "requires one KSR file"),
        ("-K @ksk -f @x -f @y sign --all", "requires one KSR file"),
        ("-K @ksk -f @x --parent-has 1 sign --all", "--parent-ds"),
    ] {
        let said = site.run(&format!("{} {line}", times())).fails(2);
        assert!(said.contains(says), "{line}: {said}");
    }
    assert!(site.run(&format!("-l @policy -e {YEAR} request --all")).fails(2).contains("-k POLICY"));
    std::fs::create_dir(site.path("none")).expect("a folder");
    assert!(site.run(&format!("{} -K @none request --all", times())).fails(1).contains("no zone"));
}

#[test]
fn check_and_sign_show_every_zone_before_anything_is_signed() {
    let site = site();
    let ksr = site.run(&format!("{} -K @zsk request --all", times())).ok();
    site.write("all.ksr", &ksr);
    let hex = data_encoding::HEXLOWER.encode(&keystore::store::digest(ksr.as_bytes()));
    let check = |more: &str| site.run(&format!("-l @policy -k common {more} -K @ksk --all check @all.ksr"));
    let text = check("").ok();
    for zone in ZONES {
        assert!(text.contains(&format!("\nzone       {zone}\n")), "{zone}: {text}");
    }
    assert_eq!(text.matches("verdict    fit to be signed").count(), 3, "{text}");
    assert!(text.ends_with("verdict    3 zones, all fit to be signed\n"), "{text}");
    let report: serde_json::Value = serde_json::from_str(&check("--json").ok()).expect("JSON");
    assert_eq!((&report["sha256"], &report["good"]), (&hex.into(), &true.into()), "{report:#}");
    assert_eq!(report["zones"].as_array().map(Vec::len), Some(3));

    let line = format!("{} -K @ksk -f @all.ksr --all sign", times());
    let ran = site.run_at_terminal(&line, "yes\n");
    assert!(
        ran.stderr.contains("words      ") && ran.stderr.contains("these 3 zones? Type yes: "),
        "{}",
        ran.stderr
    );
    assert_eq!(zones(&ran.ok()), ZONES);
    assert!(site.run_at_terminal(&line, "no\n").fails(1).contains("the answer was not yes"));

    // One altered zone: shown, named, not asked for, and not signed.
    let at = ksr.find("b.test.\t").expect("a record");
    let bad = format!("{}{}", &ksr[..at], ksr[at..].replacen("256 3 13", "257 3 13", 1));
    site.write("all.ksr", &bad);
    let ran = check("");
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.ends_with("verdict    REFUSED: 1 of 3 zones: b.test.\n"), "{}", ran.stdout);
    let ran = site.run_at_terminal(&line, "yes\n");
    assert!(ran.stderr.contains("and leave out these 1: b.test.? Type yes: "), "{}", ran.stderr);
    assert_eq!((ran.code, zones(&ran.stdout)), (3, vec!["a.test.".to_owned(), "c.test.".to_owned()]));
    assert!(site.run_at_terminal(&line, "no\n").fails(1).contains("the answer was not yes"));
    // A part that does not read is one refused zone, with its line in the file.
    let other_type = format!("{}{}", &ksr[..at], ksr[at..].replacen("\tIN\tDNSKEY", "\tIN\tTXT", 1));
    site.write("all.ksr", &other_type);
    let said = check("").stdout;
    assert!(said.contains("REFUSED    bad KSR file ") && said.contains("[KSR-TYPE]"), "{said}");
    let report: serde_json::Value = serde_json::from_str(&check("--json").stdout).expect("JSON");
    assert_eq!(report["zones"][1]["good"], false, "{report:#}");
}

/// One file of DS records for all zones; a zone that it says nothing of is as without it.
#[test]
fn the_ds_of_all_zones_in_one_file() {
    let site = site();
    site.write("all.ksr", &site.run(&format!("{} -K @zsk request --all", times())).ok());
    let ds: String = ZONES[..2].iter().map(|zone| ds(&site, zone)).collect();
    site.write("ds", &ds);
    let line = format!("{} -K @ksk -f @all.ksr --parent-ds @ds --all sign", times());
    assert_eq!(zones(&site.run(&line).ok()), ZONES);
    // That of another key is refused for its zone alone.
    site.write("ds", &ds.replacen("b.test. 86400 IN DS", "c.test. 86400 IN DS", 1));
    let ran = site.run(&line);
    assert_eq!((ran.code, zones(&ran.stdout)), (3, ZONES[..2].iter().map(ToString::to_string).collect()));
    let said = ran.stderr;
    let says = "1 of 3 zones are refused and are not in the output: c.test.";
    assert!(said.contains("KSR-PARENT-DS") && said.contains(says), "{said}");
    site.write("ds", "garbage\n");
    assert!(site.run(&line).fails(1).contains("--parent-ds"));
}

/// The DS record of a zone's KSK.
fn ds(site: &Site, zone: &str) -> String {
    let name = Name::parse(zone).expect("a name");
    let keys = keystore::keys::files::find(&site.path("ksk"), &name).expect("keys").keys;
    let rdata = keys[0].dnskey.ds_rdata(&name, 2).expect("SHA-256");
    let digest = data_encoding::HEXUPPER.encode(&rdata[4..]);
    format!("{zone} 86400 IN DS {} {} 2 {digest}\n", keys[0].dnskey.tag(), keys[0].dnskey.algorithm.0)
}
