//! The three commands, over the scenarios of BIND's own system test of offline KSKs and over what goes wrong.

mod common;

use common::{COMMON, Site, headers, signers, stamp, tag, zone};
use keystore::exchange::{TrustAnchor, VerifyContext, bind, verify};
use keystore::keys::files;
use keystore::time::Timestamp;

const START: &str = "20270101000000";
const YEAR: &str = "20280101000000";

/// Reads an SKR and holds it against the KSKs of the folder `ksk`, as the online side does.
fn accept(site: &Site, skr: &str) -> keystore::exchange::VerifiedSkr {
    let parsed = bind::parse_skr(skr.as_bytes(), &zone()).expect("an SKR");
    let anchors: Vec<TrustAnchor> = files::find(&site.path("ksk"), &zone())
        .expect("keys")
        .keys
        .into_iter()
        .filter(|key| key.dnskey.is_ksk())
        .map(|key| TrustAnchor::Dnskey(key.dnskey))
        .collect();
    let zone = zone();
    verify(parsed, &VerifyContext::new(&zone, &anchors).for_reload(), site.now).expect("a good SKR")
}

/// keygen for both roles, and the request.
fn ceremony(site: &Site, policy: &str, start: &str, end: &str) -> String {
    site.command(policy, start, end, "-o -K @ksk keygen").ok();
    site.command(policy, start, end, "-K @zsk keygen").ok();
    let ksr = site.command(policy, start, end, "-K @zsk request").ok();
    site.write("ksr", &ksr);
    ksr
}

#[test]
fn common() {
    let site = Site::new(COMMON);
    let ksr = ceremony(&site, "common", START, YEAR);
    assert_eq!(headers(&ksr), ["20270101000000", "20270705215500", "20270716010500"]);
    assert_eq!(site.names("ksk").len(), 3);
    let before = site.content("zsk");
    assert_eq!(before.len(), 6, "two ZSKs");
    assert!(before[0].1.contains("example.test. 3600 IN DNSKEY 256 3 13 "), "{}", before[0].1);

    let first = site.command("common", START, YEAR, "-K @zsk keygen").ok();
    assert_eq!(site.content("zsk"), before, "a repeated run touches no file");
    let two_years = site.command("common", START, "20290101000000", "-v 1 -K @zsk keygen");
    assert_eq!(two_years.stderr.matches("Selecting key pair for bundle").count(), 2);
    assert_eq!(two_years.stderr.matches("Generating key pair for bundle").count(), 2);
    let two_years = two_years.ok();
    assert_eq!(two_years.lines().count(), 4);
    assert!(two_years.starts_with(&first), "the first two keys are the same");

    let three = site.command("common", START, "20300101000000", "-K @zsk request").fails(1);
    assert!(
        three.starts_with("ksr-gen: fatal: no example.test/ECDSAP256SHA256 zsk key pair found for bundle "),
        "{three}"
    );
    let skr = site.command("common", START, YEAR, "-K @ksk -f @ksr sign").ok();
    let accepted = accept(&site, &skr);
    assert_eq!(accepted.bundles()[0].inception, stamp(START));
    assert!(accepted.coverage_end() > stamp(YEAR));
    assert_eq!(headers(&skr)[..3], ["20270101000000", "20270101220000", "20270110220000"], "22 h to the CDS");
}

#[test]
fn unlimited_keys_and_cds_choices() {
    let keys = "keys { ksk lifetime unlimited algorithm 13; zsk lifetime unlimited algorithm 13; }; ";
    let policy =
        |name: &str, more: &str| format!("dnssec-policy {name} {{ offline-ksk yes; {keys} {more} }};\n");
    let site = Site::new(
        &[
            policy("unlimited", ""),
            policy("no-cdnskey", "cdnskey no; cds-digest-types { sha-1; sha-256; sha-384; };"),
            policy("no-cds", "cds-digest-types { };"),
            policy("neither", "cdnskey no; cds-digest-types { };"),
        ]
        .concat(),
    );
    let ksr = ceremony(&site, "unlimited", START, "20310101000000");
    assert_eq!(headers(&ksr).len(), 1, "four years are one bundle");
    assert!(site.content("zsk").iter().any(|(_, text)| text.contains("Lifetime: 0\n")));
    assert!(
        !site.content("zsk").iter().any(|(_, text)| text.contains("Retired") || text.contains("Inactive"))
    );
    for (name, cdnskey, cds) in
        [("unlimited", 1, 1), ("no-cdnskey", 0, 3), ("no-cds", 1, 0), ("neither", 0, 0)]
    {
        let skr = site.command(name, START, "20310101000000", "-K @ksk -f @ksr sign").ok();
        accept(&site, &skr);
        let last = skr.rfind(";; SignedKeyResponse 1.0 2").expect("a bundle");
        let count = |text: &str| skr[last..].matches(text).count();
        assert_eq!((count("\tCDNSKEY\t"), count("\tCDS\t")), (cdnskey, cds), "{name}");
        assert_eq!((count("RRSIG\tCDNSKEY"), count("RRSIG\tCDS")), (cdnskey, cds.min(1)), "{name}");
    }
}

#[test]
fn two_tone() {
    let site = Site::new(
        "dnssec-policy two-tone { offline-ksk yes; keys {
           ksk lifetime unlimited algorithm rsasha256; zsk lifetime P5M algorithm rsasha256;
           ksk lifetime unlimited algorithm ecdsa256; zsk lifetime P3M algorithm ecdsa256; }; };",
    );
    let ksr = ceremony(&site, "two-tone", START, YEAR);
    let private = |folder: &str, algorithm: &str| {
        let names = site.names(folder);
        names.iter().filter(|n| n.contains(algorithm) && n.ends_with(".private")).count()
    };
    assert_eq!((private("ksk", "+008+"), private("ksk", "+013+")), (1, 1));
    assert_eq!((private("zsk", "+008+"), private("zsk", "+013+")), (3, 4));
    // Order of the policy, not of the numbers.
    let algorithms: Vec<&str> =
        ksr.lines().skip(1).take(2).map(|l| l.split_ascii_whitespace().nth(6).expect("a field")).collect();
    assert_eq!(algorithms, ["8", "13"]);
    let skr = site.command("two-tone", START, YEAR, "-K @ksk -f @ksr sign").ok();
    assert!(accept(&site, &skr).bundles().iter().all(|b| b.signatures.len() >= 2));
}

#[test]
fn ksk_rollover() {
    let site = Site::new(
        "dnssec-policy roll { offline-ksk yes; keys { ksk lifetime P6M algorithm ed25519; zsk lifetime unlimited algorithm ed25519; }; };",
    );
    let names = site.command("roll", START, YEAR, "-o -K @ksk keygen").ok();
    let tags: Vec<String> = names.lines().map(tag).collect();
    assert_eq!(tags.len(), 2);
    ceremony(&site, "roll", START, YEAR);
    let skr = site.command("roll", START, YEAR, "--allow-unconfirmed-ksk-roll -K @ksk -f @ksr sign").ok();
    accept(&site, &skr);
    let mut both = tags.clone();
    both.sort_by_key(|t| t.parse::<u16>().expect("a tag"));
    for (at, by, cds_by) in [
        ("20270705215500", vec![tags[0].clone()], &tags[0]),
        ("20270706000000", both, &tags[1]),
        ("20270707020000", vec![tags[1].clone()], &tags[1]),
    ] {
        assert_eq!(signers(&skr, at, "DNSKEY"), by, "{at}");
        let bundle = &skr[skr.find(&format!(" 1.0 {at} ")).expect("the bundle")..];
        let cds = bundle.lines().find(|l| l.contains("\tCDS\t")).expect("a CDS");
        assert_eq!(cds.split_ascii_whitespace().nth(4), Some(cds_by.as_str()), "{at}");
    }
}

#[test]
fn fast_policy_makes_a_bundle_every_four_seconds() {
    let site = Site::new(
        "dnssec-policy fast { offline-ksk yes; keys { ksk lifetime unlimited algorithm 13; zsk lifetime 8792 algorithm 13; };
           dnskey-ttl 439; max-zone-ttl 4396; zone-propagation-delay 439; signatures-validity 6; signatures-validity-dnskey 6;
           signatures-refresh 2; signatures-jitter 0; publish-safety 1; retire-safety 1; parent-ds-ttl 5; parent-propagation-delay 5; };",
    );
    ceremony(&site, "fast", START, "20270101010000");
    let skr = site.command("fast", START, "20270101010000", "-K @ksk -f @ksr sign").ok();
    // One more than every four seconds, at the event of the first CDS (SyncPublish).
    let headers = headers(&skr);
    assert!((900..=902).contains(&headers.len()), "{}", headers.len());
    assert_eq!(headers.last().map(String::as_str), Some("20270101010000"));
    assert!(headers.windows(2).all(|pair| pair[0] < pair[1]));
}

/// S7: `dnssec-ksr` prints two bundles for one time when a bundle of the KSR ends where a bundle of the SKR begins.
#[test]
fn no_bundle_is_made_twice() {
    let site = Site::new(COMMON);
    ceremony(&site, "common", START, "20290101000000");
    site.command("common", START, "20290101000000", "-K @zsk keygen").ok();
    let skr = site.command("common", START, "20290101000000", "-K @ksk -f @ksr sign").ok();
    let headers = headers(&skr);
    assert!(headers.windows(2).all(|pair| pair[0] < pair[1]), "{headers:?}");
    assert_eq!(
        skr.matches("\n\n").count(),
        common::headers(&std::fs::read_to_string(site.path("ksr")).unwrap()).len() - 1
    );
}

#[test]
fn wrong_command_lines() {
    let site = Site::new(COMMON);
    for (line, message) in [
        ("", "must provide a command and zone name"),
        ("-k common keygen", "must provide a command and zone name"),
        ("keygen a b", "must provide a command and zone name"),
        ("foobar example.test", "unknown command 'foobar'"),
        ("keygen a..b", "invalid zone name: a..b is no domain name: a label is empty"),
        ("keygen example.test", "keygen requires a configuration file"),
        ("-l @policy request example.test", "request requires a dnssec-policy"),
        ("-l @policy -k common keygen example.test", "keygen requires an end date"),
        ("-l @policy -k common -e never sign example.test", "sign requires an end date"),
        ("-l @policy -k common -e +1y sign example.test", "'sign' requires a KSR file"),
        (
            "-l @policy -k common -e +1m keygen example.test",
            "'+1m' ambiguous: use 'mi' for minutes or 'mo' for months",
        ),
        ("-l @policy -k common -e soon keygen example.test", "time value soon is invalid"),
        ("-v many keygen example.test", "-v must be followed by a number"),
        ("-E pkcs11 keygen example.test", "-E: OpenSSL engines are not supported"),
        ("-F keygen example.test", "-F: FIPS mode is not available"),
        ("-Z keygen example.test", "unexpected argument '-Z' found"),
    ] {
        let stderr = site.run(line).fails(2);
        assert!(stderr.starts_with(&format!("ksr-gen: fatal: {message}")), "{line}: {stderr}");
        assert!(stderr.contains("usage: ksr-gen [options] keygen|request|sign <zone>"), "{line}: {stderr}");
    }
    assert!(site.run("-h").ok().contains("keygen|request|sign"));
    assert!(site.run("-V").ok().starts_with("ksr-gen "));
}

#[test]
fn errors_outside_of_the_command_line() {
    let site = Site::new(&format!(
        "{COMMON} dnssec-policy csk {{ keys {{ csk lifetime P6M algorithm 13; }}; }}; dnssec-policy none-at-all {{ }};"
    ));
    site.write("broken", "dnssec-policy x { keys ");
    site.write("header", ";; KeySigningRequest 2.0 20270101000000\n");
    site.write("early", ". 3600 IN DNSKEY 257 3 8 AwEAAa==\n");
    for (rest, message) in [
        ("-l @missing -k common -e +1y keygen", "ksr-gen: error: open: "),
        ("-l @broken -k common -e +1y keygen", "ksr-gen: error: "),
        ("-l @policy -k default -e +1y keygen", "ksr-gen: fatal: failed to load dnssec-policy 'default'"),
        (
            "-l @policy -k none-at-all -e +1y keygen",
            "ksr-gen: fatal: dnssec-policy 'none-at-all' has no keys configured",
        ),
        ("-l @policy -k csk -e +1y -K @zsk keygen", "ksr-gen: fatal: no keys created for policy 'csk'"),
        ("-l @policy -k csk -e +1y -K @zsk request", "ksr-gen: fatal: no keys created for policy 'csk'"),
        ("-l @policy -k common -e +1y -K @nowhere keygen", "ksr-gen: fatal: cannot open directory "),
        ("-l @policy -k common -e +1y -K @policy request", "ksr-gen: fatal: cannot open directory "),
        ("-l @policy -k common -e +1y -K @ksk -f @missing sign", "ksr-gen: fatal: unable to open KSR file "),
        ("-l @policy -k common -e +1y -K @ksk -f @zsk sign", "ksr-gen: fatal: unable to open KSR file "),
        ("-l @policy -k common -e +1y -K @ksk -f @header sign", "ksr-gen: fatal: bad KSR file "),
        ("-l @policy -k common -e +1y -K @ksk -f @early sign", "ksr-gen: fatal: bad KSR file "),
        // K3, K4
        (
            "-l @policy -k common -i 20280101 -e 20270101 -K @zsk keygen",
            "ksr-gen: fatal: the end (20270101000000) lies before the start",
        ),
        (
            "-l @policy -k common -i 20280101 -e 20270101 -K @zsk request",
            "ksr-gen: fatal: the end (20270101000000) lies before the start",
        ),
        (
            "-l @policy -k common -i 0 -e +1y -K @zsk keygen",
            "ksr-gen: fatal: the interval 19700101000000 to ",
        ),
    ] {
        let stderr = site.run(&format!("{rest} example.test")).fails(1);
        assert!(stderr.starts_with(message), "{rest}: {stderr}");
    }
    assert_eq!(site.names("zsk"), Vec::<String>::new(), "nothing was written");
}

/// K1: `dnssec-ksr` makes no successor for a key that ends inside the interval when it starts inside the key's life.
#[test]
fn keygen_leaves_no_hole() {
    let site = Site::new(COMMON);
    site.command("common", START, "20270601000000", "-K @zsk keygen").ok();
    let left =
        site.command("common", "20270401000000", "20270801000000", "-K @zsk --allow-holes keygen").ok();
    assert_eq!(left.lines().count(), 1, "as dnssec-ksr");
    let filled = site.command("common", "20270401000000", "20270801000000", "-K @zsk keygen");
    assert!(
        filled.stderr.contains("made for Tue Jul  6 00:00:00 2027, where no other key would be active"),
        "{}",
        filled.stderr
    );
    assert_eq!(filled.ok().lines().count(), 2);
    site.command("common", "20270401000000", "20270801000000", "-K @zsk request").ok();
}

/// K2: a request with a key that is published and signs nothing.
#[test]
fn request_wants_an_active_zsk() {
    let site = Site::new(COMMON);
    site.command("common", START, "20270601000000", "-K @zsk keygen").ok();
    let stderr = site.command("common", START, "20270710000000", "-K @zsk request").fails(1);
    assert!(stderr.contains("no active ECDSAP256SHA256 zsk from Tue Jul  6 00:00:00 2027 on"), "{stderr}");
    // Seconds that pass between two commands of one ceremony.
    let near = site.command("common", START, "20270706000010", "-K @zsk request");
    assert!(near.stderr.contains("warning: no ZSK is active from 20270706000000"), "{}", near.stderr);
    near.ok();
    let allowed =
        site.command("common", START, "20270710000000", "-K @zsk --allow-inactive-zsk request").ok();
    assert_eq!(headers(&allowed), [START]);
}

/// K6: two runs at once make one set of keys.
#[test]
fn two_runs_at_once() {
    let site = Site::new(COMMON);
    let outputs: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| site.command("common", START, YEAR, "-K @zsk keygen").ok()))
            .collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:?}");
    assert_eq!(site.names("zsk").len(), 6);
}

/// K7: a key without `.state` is not used, and one is told.
#[test]
fn a_lost_state_file_is_told() {
    let site = Site::new(COMMON);
    let names = site.command("common", START, YEAR, "-K @zsk keygen").ok();
    let lost = names.lines().next().expect("a key").to_owned();
    std::fs::remove_file(site.path(&format!("zsk/{lost}.state"))).unwrap();
    let ran = site.command("common", START, YEAR, "-K @zsk keygen");
    assert!(ran.stderr.contains(&format!("{lost}.state: missing")), "{}", ran.stderr);
    assert!(!ran.ok().contains(&lost));
}

/// S1, S6: what a hostile or damaged KSR may hold.
#[test]
fn hostile_requests_are_refused() {
    let site = Site::new(COMMON);
    ceremony(&site, "common", START, YEAR);
    let good = site.command("common", START, YEAR, "--no-pop -K @zsk request").ok();
    let record = good.lines().nth(1).expect("a record").to_owned();
    let header = |t: &str| format!(";; KeySigningRequest 1.0 {t} ({})\n", stamp(t).ctime());
    let footer = good.lines().last().expect("a footer");
    let ed25519 = "example.test. 3600 IN DNSKEY 256 3 15 gydRZdxEdpV6dC2q9DG3AYsVZg+UAX3B3PQjIzesx7Y=";
    for (name, body, ids, flag) in [
        (
            "flags 257",
            format!("{}{}\n", header(START), record.replace("256 3", "257 3")),
            "KSR-KEY-FLAGS",
            "--allow-foreign-flags",
        ),
        (
            "flags 385",
            format!("{}{}\n", header(START), record.replace("256 3", "385 3")),
            "KSR-KEY-FLAGS",
            "--allow-foreign-flags",
        ),
        (
            "flags 0",
            format!("{}{}\n", header(START), record.replace("256 3", "0 3")),
            "KSR-KEY-FLAGS",
            "--allow-foreign-flags",
        ),
        (
            "algorithm",
            format!("{}{ed25519}\n", header(START)),
            "KSR-KEY-ALGORITHM",
            "--allow-foreign-algorithms",
        ),
        ("order", format!("{}{record}\n{}{record}\n", header(YEAR), header(START)), "KSR-ORDER", ""),
        ("same time", format!("{0}{record}\n{0}{record}\n", header(START)), "KSR-ORDER", ""),
        ("no key", format!("{}{}{record}\n", header(START), header("20270201000000")), "KSR-EMPTY", ""),
        (
            "too late",
            format!("{}{record}\n{}{record}\n", header(START), header("20280102000000")),
            "KSR-BEYOND-END",
            "--allow-beyond-end",
        ),
        ("after the end", format!("{}{record}\n", header("20280102000000")), "KSR-END", ""),
    ] {
        site.write("bad", &format!("{body}{footer}\n"));
        let rest = "--allow-no-pop -K @ksk -f @bad sign";
        let stderr = site.command("common", START, YEAR, rest).fails(1);
        assert!(stderr.contains(&format!("ksr-gen: error: {ids}: ")), "{name}: {stderr}");
        assert!(stderr.contains("the KSR is refused and nothing is signed"), "{name}: {stderr}");
        if flag.is_empty() {
            assert!(!stderr.contains("--allow"), "{name}: {stderr}");
        } else {
            assert!(stderr.contains(flag), "{name}: {stderr}");
            let allowed = site.command("common", START, YEAR, &format!("{flag} --allow-unproven {rest}"));
            assert!(
                allowed.stderr.contains(&format!("ksr-gen: warning: {ids}: ")),
                "{name}: {}",
                allowed.stderr
            );
            assert_ne!(headers(&allowed.ok()), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn row_22_ksr_that_cannot_be_is_not_written() {
    let site = Site::new(COMMON);
    ceremony(&site, "common", START, YEAR);
    let before = (site.content("zsk"), std::fs::read_to_string(site.path("ksr")).expect("a file"));
    let ask =
        |policy: &str, start: &str, end: &str| site.command(policy, start, end, "-O @ksr -K @zsk request");
    for (what, start, end, says) in [
        ("start after end", YEAR, START, "end"),
        ("no ZSK for a part of it", START, "20300101000000", "zsk"),
        ("before all ZSKs", "20200101000000", "20200201000000", "zsk"),
        ("endless", "0", YEAR, "--allow-long-interval"),
    ] {
        let stderr = ask("common", start, end).fails(1);
        assert!(stderr.contains(says), "{what}: {stderr}");
    }
    // The policy changes half-way: another algorithm has no keys yet; and a lifetime that cannot be.
    for (what, zsk) in [
        ("another algorithm", "zsk lifetime P6M algorithm ed25519;"),
        ("a lifetime shorter than a rollover", "zsk lifetime 60 algorithm ecdsap256sha256;"),
        ("no ZSK", ""),
    ] {
        site.write(
            "policy",
            &format!("dnssec-policy common {{ offline-ksk yes; keys {{ ksk lifetime unlimited algorithm ecdsap256sha256; {zsk} }}; }};"),
        );
        assert_ne!(ask("common", START, YEAR).fails(1), "", "{what}");
    }
    site.write("policy", COMMON);
    // An interval of no length is one bundle.
    ask("common", START, START).ok();
    assert_eq!(headers(&std::fs::read_to_string(site.path("ksr")).expect("a file")).len(), 1);
    site.write("ksr", &before.1);
    assert_eq!((site.content("zsk"), std::fs::read_to_string(site.path("ksr")).expect("a file")), before);
}

/// S2: BIND asks for no proof that the requester holds the ZSKs.
#[test]
fn s2_possession_must_be_proved() {
    let site = Site::new(COMMON);
    let good = ceremony(&site, "common", START, YEAR);
    assert_eq!(good.matches(" ; proof-of-possession ").count(), good.matches("\tDNSKEY\t").count());
    let sign = |allow: &str| site.command("common", START, YEAR, &format!("{allow} -K @ksk -f @ksr sign"));
    let with = sign("").ok();
    let bare = site.command("common", START, YEAR, "--no-pop -K @zsk request").ok();
    assert!(!bare.contains("proof"), "{bare}");
    site.write("ksr", &bare);
    let stderr = sign("").fails(1);
    assert!(stderr.contains("KSR-POP-MISSING") && stderr.contains("--allow-no-pop"), "{stderr}");
    let without = sign("--allow-no-pop").ok();
    let unsigned = |skr: &str| -> Vec<String> {
        skr.lines().filter(|l| !l.contains("RRSIG")).map(str::to_owned).collect()
    };
    assert_eq!(unsigned(&with), unsigned(&without));
    // What is there must be right; no flag goes on.
    let at = good.find("proof-of-possession").expect("a proof") + 60;
    let other = if good[at..].starts_with('A') { "B" } else { "A" };
    site.write("ksr", &format!("{}{other}{}", &good[..at], &good[at + 1..]));
    let stderr = sign("--allow-no-pop").fails(1);
    assert!(stderr.contains("KSR-POP-INVALID") && !stderr.contains("to go on"), "{stderr}");
    for (from, to, what) in [
        ("proof-of-possession 2027", "proof-of-possession 27", "a time of 14 digits"),
        (
            "proof-of-possession 20270101000000 ",
            "proof-of-possession ",
            "inception, expiration and signature",
        ),
        (
            "== ; proof-of-possession 20270101000000 20270705215500 ",
            "== ; proof-of-possession 20270101000000 20270705215500 *",
            "no base64",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        site.write("ksr", &good.replacen(from, to, 1));
        let stderr = sign("").fails(1);
        assert!(stderr.contains("KSR-SYNTAX") && stderr.contains(what), "{stderr}");
    }
    // A request cannot be made without the private keys, unless it is told so.
    for name in site.names("zsk").into_iter().filter(|name| name.ends_with(".private")) {
        let path = site.path("zsk").join(name);
        let text = std::fs::read_to_string(&path).expect("a file");
        let lines = text.lines().filter(|l| !l.starts_with("PrivateKey:")).map(|l| format!("{l}\n"));
        std::fs::write(&path, lines.collect::<String>()).expect("write");
    }
    let stderr = site.command("common", START, YEAR, "-K @zsk request").fails(1);
    assert!(stderr.contains("cannot prove that it is held here") && stderr.contains("--no-pop"), "{stderr}");
}

/// S3: BIND writes an unsigned SKR and says nothing.
#[test]
fn nothing_unsigned_comes_out() {
    let site = Site::new(COMMON);
    ceremony(&site, "common", START, YEAR);
    let stderr = site.command("common", START, YEAR, "-K @zsk -f @ksr sign").fails(1);
    assert!(
        stderr.contains("KSR-NO-KSK: bundle 20270101000000") && stderr.contains("--allow-unsigned"),
        "{stderr}"
    );

    // A KSK that is active only later than the first bundle.
    std::fs::create_dir(site.path("late")).unwrap();
    site.command("common", "20270301000000", YEAR, "-o -K @late keygen").ok();
    let stderr = site.command("common", START, YEAR, "-K @late -f @ksr sign").fails(1);
    assert!(stderr.contains("begins to sign at 20270301000000, 59 days after the bundle"), "{stderr}");
    let skr = site.command("common", START, YEAR, "-K @late --allow-unsigned -f @ksr sign").ok();
    assert_eq!(signers(&skr, START, "DNSKEY"), Vec::<String>::new());
    assert_eq!(signers(&skr, "20270301000000", "DNSKEY").len(), 1);
}

/// S4: BIND signs with every key of the folder, and makes CDS for it.
#[test]
fn zsks_do_not_act_as_ksks() {
    let site = Site::new(COMMON);
    ceremony(&site, "common", START, YEAR);
    let clean = site.command("common", START, YEAR, "-K @ksk -f @ksr sign").ok();
    common::copy(&site.path("zsk"), &site.path("ksk"));
    let ran = site.command("common", START, YEAR, "-K @ksk -f @ksr sign");
    assert_eq!(ran.stderr.matches("is no KSK and takes no part").count(), 2, "{}", ran.stderr);
    let mixed = ran.ok();
    assert_eq!(headers(&mixed), headers(&clean));
    assert_eq!(signers(&mixed, START, "DNSKEY").len(), 1);
    accept(&site, &mixed);
    let as_bind = site
        .command(
            "common",
            START,
            YEAR,
            "-K @ksk --allow-zsk-as-ksk --allow-tag-collision --allow-unproven -f @ksr sign",
        )
        .ok();
    assert_eq!(signers(&as_bind, START, "DNSKEY").len(), 2);
}

#[test]
fn a_damaged_ksk_signs_nothing() {
    let site = Site::new(COMMON);
    ceremony(&site, "common", START, YEAR);
    std::fs::create_dir(site.path("other")).unwrap();
    site.command("common", START, YEAR, "-o -K @other keygen").ok();
    let private = |folder: &str| {
        let name = site.names(folder).into_iter().find(|n| n.ends_with(".private")).expect("a key");
        site.path(folder).join(name)
    };
    // The private part of another key under the name of this one.
    std::fs::copy(private("other"), private("ksk")).unwrap();
    let stderr = site.command("common", START, YEAR, "-K @ksk -f @ksr sign").fails(4);
    assert!(stderr.contains("ksr-gen: fatal: KSK Kexample.test."), "{stderr}");

    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(private("other"), PermissionsExt::from_mode(0o644)).unwrap();
    let stderr = site.command("common", START, YEAR, "-K @other -f @ksr sign").fails(4);
    assert!(stderr.contains("chmod 600"), "{stderr}");
}

#[test]
fn output_is_whole_or_not_there() {
    let site = Site::new(COMMON);
    ceremony(&site, "common", START, YEAR);
    let printed = site.command("common", START, YEAR, "--no-pop -K @zsk request").ok();
    assert_eq!(site.command("common", START, YEAR, "-O @out --no-pop -K @zsk request").ok(), "");
    assert_eq!(std::fs::read_to_string(site.path("out")).unwrap(), printed);
    site.command("common", START, "20300101000000", "-O @out --no-pop -K @zsk request").fails(1);
    assert_eq!(std::fs::read_to_string(site.path("out")).unwrap(), printed, "the old file stays");
    let stderr = site.command("common", START, YEAR, "-O @no/such/folder --no-pop -K @zsk request").fails(1);
    assert!(stderr.contains("cannot write "), "{stderr}");
}

#[test]
fn fifos_and_links_are_not_replaced_and_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let site = Site::new(COMMON);
    ceremony(&site, "common", START, YEAR);
    mknodat(CWD, site.path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let stderr = site.command("common", START, YEAR, "-O @fifo --no-pop -K @zsk request").fails(1);
    assert!(stderr.contains("no regular file; name a file"), "{stderr}");
    assert!(!std::fs::symlink_metadata(site.path("fifo")).unwrap().is_file());
    let stderr = site.command("common", START, YEAR, "--no-pop -K @fifo request").fails(1);
    assert!(stderr.contains("not a directory"), "{stderr}");
    site.write("out", "old");
    std::os::unix::fs::symlink("out", site.path("link")).unwrap();
    let printed = site.command("common", START, YEAR, "--no-pop -K @zsk request").ok();
    site.command("common", START, YEAR, "-O @link --no-pop -K @zsk request").ok();
    assert_eq!(std::fs::read_to_string(site.path("out")).unwrap(), printed);
    assert!(site.path("link").is_symlink());
}

#[test]
fn ksr_from_standard_input_and_policy_as_toml() {
    let site = Site::new(COMMON);
    let ksr = ceremony(&site, "common", START, YEAR);
    let line = format!("-l @policy -k common -e {YEAR} -K @ksk -f - sign example.test");
    let from_stdin = site.run_with(&line, &ksr);
    assert_eq!(headers(&from_stdin.ok()).len(), headers(&site.run_with(&line, &ksr).ok()).len());
    site.write(
        "policy.toml",
        "[policy.common]\noffline-ksk = true\nkeys = [\n { role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ecdsap256sha256\" },\n \
         { role = \"zsk\", lifetime = \"P6M\", algorithm = \"ecdsap256sha256\" },\n]\n",
    );
    let from_toml = site.run(&format!(
        "-l @policy.toml -k common -i {START} -e {YEAR} --no-pop -K @zsk request example.test"
    ));
    assert_eq!(from_toml.ok(), site.command("common", START, YEAR, "--no-pop -K @zsk request").ok());
}

#[test]
fn an_interval_starts_now_by_default() {
    let site = Site::new(COMMON);
    let [policy, folder] = ["policy", "zsk"].map(|name| site.path(name));
    let joined = format!("-l{} -kcommon -e+1y -K{} -v0x1", policy.display(), folder.display());
    site.run(&format!("{joined} keygen example.test")).ok();
    let keys = files::find(&site.path("zsk"), &zone()).unwrap().keys;
    let first: Option<Timestamp> = keys.iter().filter_map(|key| key.timing.activate).min();
    assert_eq!(first, Some(site.now));
    assert!(keys.iter().all(|key| key.timing.created == Some(site.now)));
}

/// Whatever the files are that are named: none of these is there.
#[test]
fn kind_110_a_missing_option_is_a_wrong_command_line() {
    let site = Site::new(COMMON);
    for (line, says) in [
        ("", "command and zone name"),
        ("keygen", "command and zone name"),
        ("check", "command and zone name"),
        ("keygen example.test", "-l FILE"),
        ("request example.test", "-l FILE"),
        ("sign example.test", "-l FILE"),
        ("check @none.ksr", "-l FILE"),
        ("-k common check @none.ksr", "-l FILE"),
        ("-l @policy check @none.ksr", "-k POLICY"),
        ("-l @none -e now+1y keygen example.test", "-k POLICY"),
        ("-l @none -k common keygen example.test", "-e TIME"),
        ("-l @none -k common request example.test", "-e TIME"),
        ("-l @none -k common -f @none.ksr sign example.test", "-e TIME"),
        ("-l @none -k common -e now+1y sign example.test", "-f FILE"),
        ("--all request", "-l FILE"),
        ("-l @none -k common --all request", "-e TIME"),
        ("-l @none -e now+1y --all request", "-k POLICY"),
        ("-l @none -k common -e now+1y --all sign", "-f FILE"),
        ("--all check @none.ksr", "-l FILE"),
        ("-l @policy --all check @none.ksr", "-k POLICY"),
    ] {
        let said = site.run(line).fails(2);
        assert!(said.contains(says), "{line}: {said}");
    }
    // A file that is not there is another error.
    site.run("-l @policy -k common -e now+1y check @none.ksr").fails(1);
    site.run("-l @none -k common -e now+1y keygen example.test").fails(1);
}
