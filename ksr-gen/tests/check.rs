//! `ksr-gen check`, and the question before `sign`.

mod common;

use std::collections::BTreeSet;

use common::{COMMON, Site, stamp, tag};
use offline_ksk_ksr_gen::check::CHECKS;
use serde_json::Value;

const START: &str = "20270101000000";
const YEAR: &str = "20280101000000";

/// Keys and a request of a year; gives the tags of the ZSKs.
fn ceremony() -> (Site, Vec<String>) {
    let site = Site::new(COMMON);
    site.command("common", START, YEAR, "-o -K @ksk keygen").ok();
    let names = site.command("common", START, YEAR, "-K @zsk keygen").ok();
    site.write("ksr", &site.command("common", START, YEAR, "-K @zsk request").ok());
    (site, names.lines().map(tag).collect())
}

fn check(site: &Site, more: &str) -> common::Ran {
    site.run(&format!("-l @policy -k common {more} check @ksr"))
}

/// What the check `id` says in JSON.
fn verdict(report: &Value, id: &str) -> String {
    let checks = report["checks"].as_array().expect("checks");
    let row = checks.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("{id}"));
    row["verdict"].as_str().expect("a word").to_owned()
}

fn json(site: &Site, more: &str) -> (u8, Value) {
    let ran = check(site, &format!("--json {more}"));
    let report = serde_json::from_str(&ran.stdout);
    (ran.code, report.unwrap_or_else(|e| panic!("{e}: {} {}", ran.stdout, ran.stderr)))
}

#[test]
fn the_report_has_what_people_read_aloud() {
    let (site, tags) = ceremony();
    let text = check(&site, "-K @ksk").ok();
    for wanted in [
        "zone       example.test.\n",
        "interval   2027-01-01T00:00:00Z to 2028-01-01T00:00:00Z (365 days)\n",
        "bundles    3 in the request; 43 in the SKR\n",
        "policy     common\n",
        "SHA-256    ",
        "words      ",
        "KSK        ",
        "possession proved",
        "verdict    fit to be signed\n",
        "skipped    KSR-CHAIN-KEYS ",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    for tag in &tags {
        let row =
            format!("ZSK        {tag}  ECDSAP256SHA256 (256 bits)  possession proved\n           bundles ");
        assert!(text.contains(&row), "{text}");
    }
    for check in CHECKS {
        assert_eq!(text.matches(&format!(" {} ", check.id)).count(), 1, "{}: {text}", check.id);
    }
    // The hash is that of sha256sum, the words those of the hash.
    let (code, report) = json(&site, "-K @ksk");
    assert_eq!((code, &report["good"]), (0, &Value::Bool(true)));
    let octets = std::fs::read(site.path("ksr")).expect("a file");
    let hex = data_encoding::HEXLOWER.encode(&keystore::store::digest(&octets));
    assert_eq!(report["sha256"], hex);
    assert_eq!(report["words"].as_array().map(Vec::len), Some(32));
    assert_eq!(report["end"], "2028-01-01T00:00:00Z", "the proofs name it");
    assert_eq!(verdict(&report, "KSR-PROVE"), "ok");
    // Without KSKs what hangs on them is not looked at.
    let (code, report) = json(&site, "-K @zsk");
    assert_eq!((code, verdict(&report, "KSR-NO-KSK").as_str()), (0, "skipped"));
}

#[test]
fn each_check_refuses_what_it_should() {
    let (site, _) = ceremony();
    let good = std::fs::read_to_string(site.path("ksr")).expect("a file");
    let bare = site.command("common", START, YEAR, "--no-pop -K @zsk request").ok();
    let before = site.command("common", START, YEAR, "-K @ksk -f @ksr sign").ok();
    let header = ";; KeySigningRequest 1.0 20270101000000 (Fri Jan  1 00:00:00 2027)\n";
    let empty = format!("{}{header}", header.replace("2027", "2026").replace("Fri", "Thu"));
    let mut seen = BTreeSet::new();
    for (id, want, ksr, more) in [
        ("KSR-EMPTY", "refused", good.replacen(header, &empty, 1), ""),
        ("KSR-END", "refused", good.clone(), "-e 20261231"),
        ("KSR-BEYOND-END", "refused", good.clone(), "-e 20270301"),
        ("KSR-SPAN", "refused", good.clone(), "-e 20280102"),
        ("KSR-SPAN", "warning", good.clone(), "-e 20271231"),
        ("KSR-SPAN", "refused", bare.clone(), "-e 20340101 --allow-no-pop"),
        ("KSR-HORIZON", "refused", good.clone(), "-e 20380101"),
        ("KSR-POP-MISSING", "refused", bare.clone(), "-e 20280101"),
        ("KSR-POP-MISSING", "warning", bare.clone(), "-e 20280101 --allow-no-pop"),
        ("KSR-POP-INVALID", "refused", good.replace("\t3600\t", "\t60\t"), ""),
        ("KSR-POLICY-TTL", "warning", bare.replace("\t3600\t", "\t60\t"), "-e 20280101 --allow-no-pop"),
        ("KSR-KEY-FLAGS", "refused", bare.replace("\t256 3", "\t257 3"), "-e 20280101"),
        ("KSR-KEY-PROTOCOL", "refused", bare.replace("\t256 3", "\t256 2"), "-e 20280101"),
        ("KSR-CDS-DELETE", "warning", good.clone(), "--cds-delete 20270301"),
    ] {
        site.write("ksr", &ksr);
        let (code, report) = json(&site, &format!("{more} -K @ksk"));
        assert_eq!(verdict(&report, id), want, "{id} {more}: {report:#}");
        assert_eq!(code == 0, report["good"] == true, "{id}");
        if want == "refused" {
            assert_eq!(code, 1, "{id}");
            let text = check(&site, &format!("{more} -K @ksk")).stdout;
            assert!(text.contains("verdict    REFUSED by ") && text.contains(id), "{text}");
        }
        seen.insert(id);
    }
    assert!(seen.len() >= 11);
    // The chain to the SKR before.
    site.write("before", &before);
    site.write("ksr", &good);
    let (code, report) = json(&site, "--previous @before -K @ksk");
    for id in ["KSR-CHAIN-SKR", "KSR-CHAIN-OVERLAP", "KSR-CHAIN-KEYS"] {
        assert_eq!((code, verdict(&report, id).as_str()), (0, "ok"), "{id}: {report:#}");
    }
    let at = before.find("RRSIG\tDNSKEY").expect("a signature") + 90;
    let other = if before[at..].starts_with('A') { "B" } else { "A" };
    site.write("before", &format!("{}{other}{}", &before[..at], &before[at + 1..]));
    assert_eq!(verdict(&json(&site, "--previous @before -K @ksk").1, "KSR-CHAIN-SKR"), "refused");
    site.write("before", &before);
    // One that verifies by itself, signed by a KSK of somebody else.
    std::fs::create_dir(site.path("foreign")).expect("a folder");
    site.command("common", START, YEAR, "-o -K @foreign keygen").ok();
    site.write("foreign-skr", &site.command("common", START, YEAR, "-K @foreign -f @ksr sign").ok());
    for (folder, more, want) in [
        ("@ksk", "--previous @foreign-skr", "refused"),
        ("@ksk", "--previous @foreign-skr --allow-broken-chain", "warning"),
        ("@foreign", "--previous @foreign-skr", "ok"),
        ("@zsk", "--previous @foreign-skr", "skipped"),
    ] {
        let (code, report) = json(&site, &format!("{more} -K {folder}"));
        assert_eq!(verdict(&report, "KSR-CHAIN-SKR"), want, "{folder} {more}: {report:#}");
        assert_eq!(code == 0, want != "refused", "{folder} {more}");
    }
    let refused =
        site.command("common", START, YEAR, "--previous @foreign-skr -K @ksk -f @ksr sign").fails(1);
    assert!(refused.contains("KSR-CHAIN-SKR"), "{refused}");
    // Its DS at the parent tells the same where no KSK is.
    for (of, want) in [("ksk", "refused"), ("foreign", "ok")] {
        let ksks = keystore::keys::files::find(&site.path(of), &common::zone()).expect("keys").keys;
        let ds: Vec<String> = ksks
            .iter()
            .map(|k| {
                let ds = k.dnskey.ds_rdata(&common::zone(), 2).expect("a digest");
                let hex = data_encoding::HEXUPPER.encode(&ds[4..]);
                format!("example.test. 3600 IN DS {} {} 2 {hex}\n", k.dnskey.tag(), k.dnskey.algorithm.0)
            })
            .collect();
        site.write("ds", &ds.concat());
        let (_, report) = json(&site, "--previous @foreign-skr --parent-ds @ds -K @zsk");
        assert_eq!(verdict(&report, "KSR-CHAIN-SKR"), want, "{of}: {report:#}");
    }
    // A request of other keys, and one that begins after the end.
    std::fs::create_dir(site.path("strange")).expect("a folder");
    let late = ("20280301000000", "20290101000000");
    for (start, end, id) in [(START, YEAR, "KSR-CHAIN-KEYS"), (late.0, late.1, "KSR-CHAIN-OVERLAP")] {
        site.command("common", start, end, "-K @strange keygen").ok();
        site.write("ksr", &site.command("common", start, end, "-K @strange request").ok());
        let (code, report) = json(&site, "--previous @before -K @ksk");
        assert_eq!((code, verdict(&report, id).as_str()), (1, "refused"), "{report:#}");
    }
}

#[test]
fn the_root_zones_form_has_its_own_checks() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../keystore/tests/fixtures/icann");
    let mut site = Site::new(
        "dnssec-policy common { offline-ksk yes; keys { ksk lifetime unlimited algorithm rsasha256; zsk lifetime P3M algorithm rsasha256 2048; }; };",
    );
    site.now = stamp("20170301000000");
    for (from, to) in [("ksr-root-2017-q2-0.xml", "ksr"), ("skr-root-2017-q1-0.xml", "before")] {
        site.write(to, &std::fs::read_to_string(fixtures.join(from)).expect("a sample"));
    }
    let (code, report) = json(&site, "--previous @before -K @ksk");
    assert_eq!((code, &report["zone"], &report["format"]), (0, &".".into(), &"xml".into()), "{report:#}");
    for id in ["KSR-BUNDLE-POP", "KSR-CHAIN-KEYS", "KSR-CHAIN-OVERLAP", "KSR-POLICY-SIG-VALIDITY"] {
        assert_eq!(verdict(&report, id), "ok", "{report:#}");
    }
    // A day after it was over.
    site.now = stamp("20170801000000");
    let (code, report) = json(&site, "--previous @before -K @ksk");
    assert_eq!((code, verdict(&report, "KSR-POLICY-SIG-HORIZON").as_str()), (1, "refused"), "{report:#}");
}

/// A request in XML is shown, asked for and proved as one in text.
#[test]
fn requests_in_xml_are_judged_as_those_in_text() {
    let site = ceremony().0;
    let xml = site.command("common", START, YEAR, "--format xml -K @zsk request").ok();
    site.write("ksr", &xml);
    let request = keystore::exchange::xml::parse_request(xml.as_bytes()).expect("XML");
    let end = request.bundles.last().expect("a bundle").expiration.iso();
    let (code, report) = json(&site, "-K @ksk");
    assert_eq!((code, &report["good"], report["end"].as_str()), (0, &true.into(), Some(end.as_str())));
    assert_eq!(report["skr_bundles"], request.bundles.len());
    for (id, want) in [
        ("KSR-NO-KSK", "ok"),
        ("KSR-PROVE", "ok"),
        ("KSR-KEY-COLLISION", "ok"),
        ("KSR-CHAIN-KEYS", "skipped"),
        ("KSR-CHAIN-SKR", "skipped"),
    ] {
        assert_eq!(verdict(&report, id), want, "{id}: {report:#}");
    }
    let (code, report) = json(&site, "-K @zsk");
    assert_eq!((code, verdict(&report, "KSR-NO-KSK").as_str()), (0, "skipped"), "{report:#}");

    let line = format!("-l @policy -k common -e {YEAR} -K @ksk -f @ksr sign example.test");
    for (answer, code) in [("yes\n", 0), ("no\n", 1), ("", 1)] {
        let ran = site.run_at_terminal(&line, answer);
        assert_eq!((ran.code, ran.stdout.is_empty()), (code, code != 0), "{answer:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("words      ") && ran.stderr.contains("Type yes: "), "{}", ran.stderr);
    }
    assert!(!site.run_at_terminal(&format!("--yes {line}"), "").stderr.contains("Type yes"));
    let ran = site.run(&line);
    assert!(!ran.stderr.contains("Type yes"), "{}", ran.stderr);
    let before = ran.ok();

    // The SKR before, of this operator and of another.
    std::fs::create_dir(site.path("foreign")).expect("a folder");
    site.command("common", START, YEAR, "-o -K @foreign keygen").ok();
    site.write("before", &before);
    let (_, report) = json(&site, "--previous @before -K @ksk");
    assert_eq!(verdict(&report, "KSR-CHAIN-SKR"), "ok", "{report:#}");
    let (_, report) = json(&site, "--previous @before -K @foreign");
    assert_eq!(verdict(&report, "KSR-CHAIN-SKR"), "refused", "{report:#}");

    // A KSK that ends before the request does: check says what sign says.
    let folder = site.path("ksk");
    for mut key in keystore::keys::files::find(&folder, &common::zone()).expect("keys").keys {
        key.timing.inactive = Some(stamp("20270601000000"));
        key.update().expect("written");
    }
    let (code, report) = json(&site, "-K @ksk");
    assert_eq!((code, verdict(&report, "KSR-NO-KSK").as_str()), (1, "refused"), "{report:#}");
    let ran = site.run_at_terminal(&line, "yes\n");
    assert!(ran.stderr.contains("verdict    REFUSED by KSR-NO-KSK"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("Type yes"), "{}", ran.stderr);
    ran.fails(1);
}

/// What the form's own checks cannot see: a ZSK that replaces another from one second to the next, and one with the tag of the KSK.
#[test]
fn an_xml_request_that_breaks_resolvers_is_refused() {
    use keystore::exchange::xml::respond::{Zsk, request};
    use keystore::exchange::xml::{Label, parse_request, print_request};

    let site = ceremony().0;
    let zone = common::zone();
    let zsks = keystore::keys::files::find(&site.path("zsk"), &zone).expect("keys").keys;
    let signers: Vec<_> = zsks.iter().map(|key| key.load_private().expect("its private part")).collect();
    let labels = ["302e31", "302e32"].map(|label| Label::parse(label).expect("a label"));
    let day = 86_400;
    let bundles = |order: [&[usize]; 4]| {
        let bundle = |(i, keys): (u64, &&[usize])| {
            let from = stamp(START).plus(i * 10 * day);
            let zsk =
                |k: &usize| Zsk { dnskey: &zsks[*k].dnskey, key: &*signers[*k], identifier: &labels[*k] };
            (from, from.plus(21 * day), keys.iter().map(zsk).collect())
        };
        let bundles: Vec<_> = (0..).zip(&order).map(bundle).collect();
        print_request(&request(&zone, 1, &bundles, 3600, (0, 0)).expect("working keys"))
    };
    for (order, more, want) in [
        ([&[0][..], &[0], &[1], &[1]], "", "refused"),
        ([&[0][..], &[0], &[1], &[1]], "--allow-unproven", "warning"),
        ([&[0][..], &[0, 1], &[0, 1], &[1]], "", "ok"),
    ] {
        site.write("ksr", &bundles(order));
        let (code, report) = json(&site, &format!("{more} -K @ksk"));
        assert_eq!(verdict(&report, "KSR-PROVE"), want, "{order:?} {more}: {report:#}");
        assert_eq!(code == 0, want != "refused", "{order:?} {more}: {report:#}");
        let signed =
            site.run(&format!("-l @policy -k common -e {YEAR} -K @ksk -f @ksr {more} sign example.test"));
        assert_eq!(signed.code, code, "{}", signed.stderr);
        assert!(!signed.stderr.contains("warning: KSR-PROVE: warning"), "{}", signed.stderr);
        assert_eq!(signed.stderr.contains("KSR-PROVE"), want != "ok", "{}", signed.stderr);
    }
    let mut twin = parse_request(bundles([&[0], &[0], &[0], &[0]]).as_bytes()).expect("XML");
    let ksk = keystore::keys::files::find(&site.path("ksk"), &zone).expect("keys").keys.remove(0).dnskey;
    let key = &mut twin.bundles[0].keys[0];
    key.dnskey.public_key = ksk.public_key.clone();
    // One less in the flags, one more in the key: the sum stays, and so does the tag.
    let odd = (1..64).step_by(2).find(|i| ksk.public_key[*i] < 255).expect("an octet");
    key.dnskey.public_key[odd] += 1;
    key.tag = key.dnskey.tag();
    assert_eq!(key.tag, ksk.tag());
    site.write("ksr", &print_request(&twin));
    assert_eq!(verdict(&json(&site, "-K @ksk").1, "KSR-KEY-COLLISION"), "refused");
    assert_eq!(verdict(&json(&site, "--allow-tag-collision -K @ksk").1, "KSR-KEY-COLLISION"), "warning");
}

#[test]
fn what_is_no_request_is_told() {
    let (site, _) = ceremony();
    for (text, says) in [
        ("", "no record names a zone"),
        ("\u{1b}[2Jgarbage\n", "KSR"),
        (";; KeySigningRequest 1.0 generated\n", "no record names a zone"),
    ] {
        site.write("ksr", text);
        let said = check(&site, "-K @ksk").fails(1);
        assert!(said.contains(says) && !said.contains('\u{1b}'), "{text:?}: {said}");
    }
    let bare = site.command("common", START, YEAR, "--no-pop -K @zsk request").ok();
    site.write("ksr", &bare);
    assert!(check(&site, "-K @ksk").fails(2).contains("give it with -e"));
    assert!(site.run("check @ksr").fails(2).contains("requires a configuration file"));
}

#[test]
fn sign_shows_the_report_and_asks_a_person() {
    let (site, _) = ceremony();
    let line = format!("-l @policy -k common -i {START} -e {YEAR} -K @ksk -f @ksr sign example.test");
    for (answer, code) in [("yes\n", 0), ("no\n", 1), ("", 1), ("yes, of course\n", 1)] {
        let ran = site.run_at_terminal(&line, answer);
        assert_eq!(ran.code, code, "{answer:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("words      ") && ran.stderr.contains("Type yes: "), "{}", ran.stderr);
        assert_eq!(ran.stdout.is_empty(), code != 0);
    }
    let ran = site.run_at_terminal(&format!("--yes {line}"), "");
    assert!(!ran.stderr.contains("Type yes"), "{}", ran.stderr);
    ran.ok();
    // A script is not asked.
    let ran = site.run(&line);
    assert!(!ran.stderr.contains("Type yes"), "{}", ran.stderr);
    ran.ok();
    // What is refused is shown, and not asked for.
    let bare = site.command("common", START, YEAR, "--no-pop -K @zsk request").ok();
    site.write("ksr", &bare);
    let ran = site.run_at_terminal(&line, "yes\n");
    assert!(ran.stderr.contains("verdict    REFUSED by KSR-POP-MISSING"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("Type yes"), "{}", ran.stderr);
    ran.fails(1);
}

/// The manual has every check, and the code reports no other.
#[test]
fn the_manual_names_every_check() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = std::fs::read_to_string(root.join("../docs/manual/ksr-gen.md")).expect("the manual");
    for check in CHECKS {
        assert!(manual.contains(check.id.as_str()), "{} is not in the manual", check.id);
    }
    for file in ["check.rs", "chain.rs", "sign.rs"] {
        let code = std::fs::read_to_string(root.join("src").join(file)).expect("the code");
        for id in code.split('"').filter(|word| word.starts_with("KSR-") && !word.ends_with('-')) {
            let known = CHECKS.iter().any(|check| check.id.as_str() == id);
            assert!(known || !id.bytes().all(|b| b.is_ascii_uppercase() || b == b'-'), "{file}: {id}");
        }
    }
}

/// What was allowed can keep the proof from being made; then the report does not say that it holds.
#[test]
fn a_proof_that_was_not_made_is_not_called_ok() {
    let (site, _) = ceremony();
    let bare = site.command("common", START, YEAR, "--no-pop -K @zsk request").ok();
    site.write("ksr", &bare.replace("\t256 3", "\t257 3"));
    let (code, report) = json(&site, "-e 20280101 --allow-no-pop --allow-foreign-flags -K @ksk");
    assert_eq!((code, verdict(&report, "KSR-PROVE").as_str()), (0, "skipped"), "{report:#}");
}

/// Each octet of a request with proofs, changed: it does not read, it is refused, or it asks for the very same.
#[test]
fn no_octet_of_a_request_can_be_changed() {
    let (site, _) = ceremony();
    let good = std::fs::read(site.path("ksr")).expect("a file");
    let zone = common::zone();
    let read = |octets: &[u8]| keystore::exchange::bind::parse_ksr(octets, &zone);
    let asked = read(&good).expect("a good request");
    let mut refused = 0;
    for at in 0..good.len() {
        for flip in [1 << (at % 8), 0x20] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            let Ok(ksr) = read(&bad) else {
                refused += 1;
                continue;
            };
            let same = |a: &keystore::exchange::Ksr| {
                a.bundles.iter().map(|b| (b.inception, b.ttl, b.keys.clone())).collect::<Vec<_>>()
            };
            if same(&ksr) == same(&asked) {
                continue;
            }
            // A header that swallows its first record leaves a bundle without keys: KSR-EMPTY.
            let empty = ksr.bundles.iter().any(|bundle| bundle.keys.is_empty());
            let flaws = keystore::exchange::possession::check(&ksr);
            assert!(empty || !flaws.is_empty(), "octet {at} ({}) by {flip:#x}", good[at] as char);
            refused += 1;
        }
    }
    assert!(refused > good.len(), "{refused} of {}", 2 * good.len());
}

/// Whatever is given as --previous and --parent-ds, the run ends with a message.
#[test]
fn files_of_garbage_beside_the_request() {
    let (site, _) = ceremony();
    let before = site.command("common", START, YEAR, "-K @ksk -f @ksr sign").ok();
    let binary: String = (0..2000u32).map(|n| char::from_u32(n * 37 % 256).unwrap_or('x')).collect();
    for (i, garbage) in [
        String::new(),
        "\0\u{1b}[2J".to_owned(),
        binary,
        before[..before.len() / 2].to_owned(),
        "example.test. IN DS 1 2 3\n".to_owned(),
        "example.test. IN DS 1 13 2 (\n".to_owned(),
        "$INCLUDE /etc/passwd\n".to_owned(),
        "<KSR id=\"x\">".to_owned(),
        "example.test. 1 IN DS 1 13 2 00\n".repeat(20_000),
    ]
    .iter()
    .enumerate()
    {
        site.write("garbage", garbage);
        for option in ["--previous", "--parent-ds"] {
            let ran = check(&site, &format!("{option} @garbage -K @ksk"));
            assert_eq!(ran.code, 1, "{i} {option}: {} {}", ran.stdout, ran.stderr);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!said.is_empty() && !said.contains('\u{1b}'), "{i} {option}: {said}");
        }
    }
}

/// `check` says nothing of KSKs where there are none, for the request may be looked at anywhere; whoever signs needs one, and is told so
/// before the question.
#[test]
fn a_request_that_no_ksk_can_sign_is_not_shown_as_fit_where_it_is_signed() {
    let (site, _) = ceremony();
    let line = format!("-l @policy -k common -i {START} -e {YEAR} -K @zsk");
    site.write("xml", &site.run(&format!("{line} --format xml request example.test")).ok());
    site.write("all", &site.run(&format!("{line} request --all")).ok());
    for (words, file) in [("sign example.test", "ksr"), ("sign example.test", "xml"), ("sign --all", "all")] {
        let checked = match file {
            "all" => site.run(&format!("{line} check --all @all")),
            file => site.run(&format!("{line} check @{file}")),
        };
        assert_eq!(checked.code, 0, "{file}: {}", checked.stderr);
        assert!(checked.stdout.contains("skipped    KSR-NO-KSK"), "{file}: {}", checked.stdout);
        assert!(checked.stdout.contains("fit to be signed"), "{file}: {}", checked.stdout);
        let ran = site.run_at_terminal(&format!("{line} -f @{file} {words}"), "yes\n");
        assert!(ran.stderr.contains("REFUSED    KSR-NO-KSK"), "{file}: {}", ran.stderr);
        assert!(!ran.stderr.contains("fit to be signed"), "{file}: {}", ran.stderr);
        assert!(!ran.stderr.contains("Type yes"), "{file}: {}", ran.stderr);
        ran.fails(1);
    }
}

/// Every report that people read, with long names, findings, other algorithms and without KSKs.
#[test]
fn kind_110_report_has_no_line_of_more_than_80_columns() {
    let policy = |name: &str, algorithm: &str| {
        format!(
            "dnssec-policy {name} {{ offline-ksk yes; keys {{ ksk lifetime unlimited algorithm {algorithm}; zsk lifetime P2M algorithm {algorithm}; }}; }};\n"
        )
    };
    let site = Site::new(&[COMMON, &policy("p384", "ecdsap384sha384"), &policy("ed", "ed25519")].concat());
    let label = "x".repeat(50);
    let long_zone = format!("{label}.{label}.{label}.test");
    let long_file = format!("{}-\u{fc}.ksr", "long-name".repeat(15));
    let mut reports = Vec::new();
    for (name, zone) in [("common", "example.test"), ("p384", "www.example.test"), ("ed", &long_zone)] {
        let line = |folder: &str, rest: &str| {
            format!("-l @policy -k {name} -i {START} -e {YEAR} -K @{folder} {rest} {zone}")
        };
        site.run(&line("ksk", "-o keygen")).ok();
        site.run(&line("zsk", "keygen")).ok();
        site.write(&long_file, &site.run(&line("zsk", "request")).ok());
        site.write("bare", &site.run(&line("zsk", "--no-pop request")).ok());
        for more in [
            format!("-K @ksk check @{long_file}"),
            format!("-K @zsk check @{long_file}"),
            format!("-K @ksk --cds-delete 20270301 check @{long_file}"),
            format!("-K @ksk -e {YEAR} check @bare"),
            "-K @zsk -e 20400101 check @bare".to_owned(),
        ] {
            reports.push(site.run(&format!("-l @policy -k {name} {more}")).stdout);
        }
    }
    let site = Site::new(COMMON);
    for zone in ["a.test", &long_zone] {
        for (folder, rest) in [("ksk", "-o keygen"), ("zsk", "keygen")] {
            let times = format!("-i {START} -e {YEAR}");
            site.run(&format!("-l @policy -k common {times} -K @{folder} {rest} {zone}")).ok();
        }
    }
    let line = format!("-l @policy -k common -i {START} -e {YEAR} -K @zsk --all request");
    site.write("all", &site.run(&line).ok());
    for (folder, more) in [("ksk", ""), ("zsk", "-e 20270301")] {
        reports.push(site.run(&format!("-l @policy -k common -K @{folder} {more} --all check @all")).stdout);
    }
    for report in &reports {
        assert!(report.contains("\nverdict    "), "{report}");
        for line in report.lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
    }
}

/// The members of every object in a JSON value.
fn members(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            out.insert(name.clone());
            members(value, out);
        }),
        Value::Array(values) => values.iter().for_each(|value| members(value, out)),
        _ => {}
    }
}

#[test]
fn kind_110_json_report_says_its_version_and_the_manual_has_each_member() {
    let (site, _) = ceremony();
    let (_, good) = json(&site, "-K @ksk");
    let (_, refused) = json(&site, "-K @ksk -e 20270301");
    let ksr = std::fs::read_to_string(site.path("ksr")).expect("a file");
    site.write(
        "all",
        &format!("{ksr}{}", ksr.replace("example.test.", "b.test.").replace("\tIN\tDNSKEY", "\tIN\tTXT")),
    );
    let all = site.run("-l @policy -k common -K @ksk --all --json check @all").stdout;
    let all: Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(
        (&good["version"], &all["version"], &all["zones"][0]["version"]),
        (&1.into(), &1.into(), &1.into())
    );
    let mut found = BTreeSet::new();
    [&good, &refused, &all].into_iter().for_each(|report| members(report, &mut found));
    let manual = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/manual/ksr-gen.md");
    let manual = std::fs::read_to_string(manual).expect("the manual");
    let (_, section) = manual.split_once("\n### The report as JSON\n").expect("the section");
    let section = section.split("\n#").next().unwrap_or_default();
    let first_cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let told: BTreeSet<String> =
        first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert_eq!(found, told);
}
