//! BIND's own behaviour beside ours, weakness by weakness: `dnssec-ksr` is run and does the unsafe thing in front of our eyes,
//! then `ksr-gen` is given the same. The flags to go on are tested in `ksr-gen/tests/weaknesses.rs`.

#[path = "common/ceremony.rs"]
mod ceremony;
mod common;

use ceremony::{Ran, Side, Site};

const YEAR: &str = "-i 20270101 -e 20280101";
const P6M: &str = "keys { ksk lifetime unlimited algorithm 13; zsk lifetime P6M algorithm 13; };";

fn ready() -> (Site, String) {
    let site = Site::new(P6M);
    site.run(Side::Bind, &format!("{YEAR} -o -K @ksk keygen")).ok();
    site.run(Side::Bind, &format!("{YEAR} -K @zsk keygen")).ok();
    let ksr = site.run(Side::Bind, &format!("{YEAR} -K @zsk request")).ok();
    site.write("ksr", &ksr);
    (site, ksr)
}

/// BIND's and our answer to one request.
fn both(site: &Site, ksr: &str) -> (Ran, Ran) {
    site.write("bad", ksr);
    let line = format!("{YEAR} -K @ksk -f @bad");
    (
        site.run(Side::Bind, &format!("{line} sign")),
        site.run(Side::Ours, &format!("{line} --allow-no-pop sign")),
    )
}

#[track_caller]
fn bind_signs_and_we_do_not(site: &Site, what: &str, ksr: &str, id: &str) {
    let (theirs, ours) = both(site, ksr);
    assert!(theirs.ok().contains("RRSIG\tDNSKEY"), "{what}");
    assert!(ours.fails().contains(id), "{what}: {}", ours.stderr);
}

#[test]
fn s1_bind_signs_any_key() {
    peer!("dnssec-ksr");
    let (site, ksr) = ready();
    for flags in ["257", "385", "0"] {
        let hostile = ksr.replacen("256 3 13", &format!("{flags} 3 13"), 1);
        bind_signs_and_we_do_not(&site, flags, &hostile, "KSR-KEY-FLAGS");
    }
    let record = ksr.lines().nth(1).expect("a record");
    let ed25519 = "example.test. 3600 IN DNSKEY 256 3 15 gydRZdxEdpV6dC2q9DG3AYsVZg+UAX3B3PQjIzesx7Y=";
    bind_signs_and_we_do_not(&site, "algorithm", &ksr.replacen(record, ed25519, 1), "KSR-KEY-ALGORITHM");
}

#[test]
fn s2_bind_asks_for_no_proof() {
    peer!("dnssec-ksr");
    let (site, ksr) = ready();
    site.write("bad", &ksr);
    let line = format!("{YEAR} -K @ksk -f @bad sign");
    site.run(Side::Bind, &line).ok();
    let ours = site.run(Side::Ours, &line);
    assert!(ours.fails().contains("KSR-POP-MISSING"), "{}", ours.stderr);
}

#[test]
fn s3_bind_writes_an_unsigned_skr() {
    peer!("dnssec-ksr");
    let (site, _) = ready();
    let line = format!("{YEAR} -K @empty -f @ksr");
    let theirs = site.run(Side::Bind, &format!("{line} sign")).ok();
    assert!(theirs.contains("SignedKeyResponse") && !theirs.contains("RRSIG"));
    let ours = site.run(Side::Ours, &format!("{line} --allow-no-pop sign"));
    assert!(ours.fails().contains("KSR-NO-KSK"), "{}", ours.stderr);
}

#[test]
fn s4_bind_lets_zsks_sign_as_ksks() {
    peer!("dnssec-ksr");
    let (site, _) = ready();
    site.copy("zsk", "ksk");
    let line = format!("{YEAR} -K @ksk -f @ksr");
    let theirs = site.run(Side::Bind, &format!("{line} sign")).ok();
    let ours = site.run(Side::Ours, &format!("{line} --allow-no-pop sign")).ok();
    let first = |skr: &str| {
        let bundle: Vec<String> =
            skr.lines().skip(1).take_while(|l| !l.starts_with(";;")).map(str::to_owned).collect();
        ["RRSIG\tDNSKEY ", "\tCDS\t"].map(|what| bundle.iter().filter(|l| l.contains(what)).count())
    };
    assert_eq!(first(&theirs), [2, 2], "KSK and active ZSK sign, and both ZSKs have a CDS at once");
    assert_eq!(first(&ours), [1, 0]);
}

#[test]
fn s5_bind_aborts_at_a_record_before_the_first_header() {
    peer!("dnssec-ksr");
    let (site, ksr) = ready();
    let record = ksr.lines().nth(1).expect("a record");
    let (theirs, ours) = both(&site, &format!("{record}\n{ksr}"));
    assert!(theirs.code.is_none_or(|code| code == 1), "a signal, or since 9.21 an error: {theirs:?}");
    assert!(ours.fails().contains("bad(1): "), "{}", ours.stderr);
}

#[test]
fn s6_bind_takes_disordered_requests() {
    peer!("dnssec-ksr");
    let (site, ksr) = ready();
    let record = ksr.lines().nth(1).expect("a record");
    let header = |t: &str| format!(";; KeySigningRequest 1.0 {t} (x)\n");
    let footer = ksr.lines().last().expect("a footer");
    for (what, body, id) in [
        (
            "backwards",
            format!("{}{record}\n{}{record}\n", header("20270201000000"), header("20270101000000")),
            "KSR-ORDER",
        ),
        ("empty", format!("{}{}{record}\n", header("20270101000000"), header("20270201000000")), "KSR-EMPTY"),
        ("relative", format!("{}{record}\n", header("now+90d")), "bad(1): "),
        (
            "beyond",
            format!("{}{record}\n{}{record}\n", header("20270101000000"), header("20280601000000")),
            "KSR-BEYOND-END",
        ),
    ] {
        bind_signs_and_we_do_not(&site, what, &format!("{body}{footer}\n"), id);
    }
}

#[test]
fn s7_bind_makes_two_bundles_with_one_time() {
    peer!("dnssec-ksr");
    let (site, _) = ready();
    let line = format!("{YEAR} -K @ksk -f @ksr");
    let doubles = |skr: &str| {
        let headers: Vec<&str> =
            skr.lines().filter(|l| l.starts_with(";; SignedKeyResponse 1.0 2")).collect();
        headers.windows(2).filter(|pair| pair[0] == pair[1]).count()
    };
    // Ten days and three hours between the two keys, a step of nine days: short of a whole number of steps. A policy whose step is
    // longer than that bundle shows the double.
    site.write(
        "policy",
        &format!("dnssec-policy p {{ offline-ksk yes; {P6M} signatures-validity-dnskey P30D; }};"),
    );
    let theirs = site.run(Side::Bind, &format!("{line} sign")).ok();
    let ours = site.run(Side::Ours, &format!("{line} --allow-no-pop sign")).ok();
    assert!(doubles(&theirs) > 0 && doubles(&ours) == 0, "{} {}", doubles(&theirs), doubles(&ours));
}

#[test]
fn s8_bind_ignores_the_start_and_refuses_blank_lines() {
    peer!("dnssec-ksr");
    let (site, ksr) = ready();
    let early = "-i 20260101 -e 20280101 -K @ksk -f @ksr";
    let theirs = site.run(Side::Bind, &format!("{early} sign"));
    assert_eq!((theirs.code, theirs.stderr.as_str()), (Some(0), ""));
    let ours = site.run(Side::Ours, &format!("{early} --allow-no-pop sign"));
    assert!(ours.stderr.contains("after the start 20260101000000"), "{}", ours.stderr);
    for read_over in ["\n", "; a comment\n"] {
        let (theirs, ours) = both(&site, &ksr.replacen("\n;; ", &format!("\n{read_over};; "), 1));
        assert_eq!(theirs.code, Some(1), "{read_over}: {}", theirs.stderr);
        ours.ok();
    }
}

#[test]
fn s9_bind_lets_the_old_ksk_go_whatever_the_parent_did() {
    peer!("dnssec-ksr");
    let site = Site::new("keys { ksk lifetime P6M algorithm 13; zsk lifetime unlimited algorithm 13; };");
    site.run(Side::Bind, &format!("{YEAR} -o -K @ksk keygen")).ok();
    site.run(Side::Bind, &format!("{YEAR} -K @zsk keygen")).ok();
    site.write("ksr", &site.run(Side::Bind, &format!("{YEAR} -K @zsk request")).ok());
    let line = format!("{YEAR} -K @ksk -f @ksr");
    let ksks = |skr: &str| {
        let last = skr.rfind(";; SignedKeyResponse 1.0 2").expect("a bundle");
        skr[last..].matches("\tDNSKEY\t257 ").count()
    };
    assert_eq!(ksks(&site.run(Side::Bind, &format!("{line} sign")).ok()), 1);
    assert_eq!(ksks(&site.run(Side::Ours, &format!("{line} --allow-no-pop sign")).ok()), 2);
}

#[test]
fn k1_k2_bind_leaves_a_hole_and_requests_for_it() {
    peer!("dnssec-ksr");
    let site = Site::new(P6M);
    site.run(Side::Bind, "-i 20270101 -e 20270601 -K @zsk keygen").ok();
    let summer = "-i 20270401 -e 20270801 -K @zsk keygen";
    assert_eq!(site.run(Side::Bind, summer).ok().lines().count(), 1, "no successor");
    let late = "-i 20270101 -e 20270710 -K @zsk request";
    site.run(Side::Bind, late).ok();
    assert!(site.run(Side::Ours, late).fails().contains("no active ECDSAP256SHA256 zsk"));
    assert_eq!(site.run(Side::Ours, summer).ok().lines().count(), 2);
    site.run(Side::Ours, late).ok();
}

#[test]
fn k3_k4_bind_takes_any_interval() {
    peer!("dnssec-ksr");
    let site = Site::new(P6M);
    let (backwards, ages) = ("-i 20280101 -e 20270101", "-i 0 -e 20270101");
    assert_eq!(site.run(Side::Bind, &format!("{backwards} -K @zsk keygen")).ok(), "");
    assert!(
        site.run(Side::Ours, &format!("{backwards} -K @zsk keygen")).fails().contains("before the start")
    );
    assert!(
        site.run(Side::Ours, &format!("{ages} -K @zsk keygen")).fails().contains("--allow-long-interval")
    );
    assert!(site.run(Side::Bind, &format!("{ages} -K @zsk keygen")).ok().lines().count() > 100);
}

#[test]
fn k5_bind_misreads_offsets() {
    peer!("dnssec-ksr");
    let site = Site::new(P6M);
    for end in ["+1h30mi", "+010d"] {
        site.run(Side::Bind, &format!("-i now -e {end} -K @zsk keygen")).ok();
        let ours = site.run(Side::Ours, &format!("-i now -e {end} -K @zsk keygen"));
        assert!(ours.fails().contains("; write +"), "{}", ours.stderr);
    }
}

#[test]
fn k7_bind_says_nothing_of_a_lost_state_file() {
    peer!("dnssec-ksr");
    let (site, _) = ready();
    for name in site.names("zsk").iter().filter(|name| name.ends_with(".state")) {
        std::fs::remove_file(site.path("zsk").join(name)).expect("it was there");
    }
    let line = format!("{YEAR} -K @zsk keygen");
    let ours = site.run(Side::Ours, &line);
    assert_eq!(ours.stderr.matches(".state: missing").count(), 2, "{}", ours.stderr);
    let theirs = site.run(Side::Bind, &line);
    assert_eq!((theirs.code, theirs.stderr.as_str()), (Some(0), ""));
}

#[test]
fn k8_bind_makes_a_zsk_of_a_ksk_in_capitals() {
    peer!("dnssec-ksr");
    let site = Site::new(
        "keys { ksk lifetime unlimited algorithm 13; zsk lifetime unlimited algorithm 13; KSK lifetime unlimited algorithm 15; };",
    );
    let line = format!("{YEAR} -K @zsk keygen");
    assert!(site.run(Side::Ours, &line).fails().contains("KSK"));
    assert_eq!(site.run(Side::Bind, &line).ok().lines().count(), 2, "the ZSK, and one more");
    let odd =
        site.names("zsk").into_iter().find(|n| n.contains("+015+") && n.ends_with(".state")).expect("a key");
    let state = std::fs::read_to_string(site.path("zsk").join(odd)).expect("text");
    assert!(state.contains("KSK: no\nZSK: yes\n"), "what the policy calls a KSK is a ZSK: {state}");
}
