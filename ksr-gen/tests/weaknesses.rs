//! The weaknesses of `dnssec-ksr`, each by its number: S1 to S9 of `sign`, K1 to K8 of `keygen` and `request`. Each test shows our
//! refusal or better behaviour, and that the flag to go on does. What BIND itself does stands beside it in
//! `integration/tests/peer_weaknesses.rs`; the numbers are those of the table in `docs/manual/bind.md`.

mod common;

use std::process::Command;

use common::{COMMON, Ran, Site, headers, signers, stamp, zone};
use keystore::keys::files;

const START: &str = "20270101000000";
const YEAR: &str = "20280101000000";

/// Keys of both roles, and a request `ksr` with proofs of possession; gives its text.
fn ceremony(site: &Site) -> String {
    run(site, "-o -K @ksk keygen").ok();
    run(site, "-K @zsk keygen").ok();
    let ksr = run(site, "-K @zsk request").ok();
    site.write("ksr", &ksr);
    ksr
}

fn run(site: &Site, rest: &str) -> Ran {
    site.command("common", START, YEAR, rest)
}

/// A request of one bundle with this record, its closing line included.
fn one_bundle(record: &str) -> String {
    format!(
        ";; KeySigningRequest 1.0 {START} (Fri Jan  1 00:00:00 2027)\n{record}\n;; KeySigningRequest 1.0 generated at now by a test\n"
    )
}

/// Refused with `id`, nothing printed; with `flag` (and those for what else such a request is) the same is a warning and an SKR comes out.
#[track_caller]
fn refused_unless(site: &Site, what: &str, id: &str, flag: &str) {
    let stderr = run(site, "--allow-no-pop -K @ksk -f @bad sign").fails(1);
    assert!(stderr.contains(&format!("ksr-gen: error: {id}: ")), "{what}: {stderr}");
    assert!(stderr.contains(flag), "{what}: {stderr}");
    let gone_on = run(site, &format!("--allow-no-pop --allow-unproven {flag} -K @ksk -f @bad sign"));
    assert!(gone_on.stderr.contains(&format!("ksr-gen: warning: {id}: ")), "{what}: {}", gone_on.stderr);
    assert!(gone_on.ok().contains("\tRRSIG\tDNSKEY "), "{what}");
}

/// Refused whatever is allowed.
#[track_caller]
fn always_refused(site: &Site, what: &str, ksr: &str, says: &str) {
    site.write("bad", ksr);
    let all = "--allow-no-pop --allow-foreign-flags --allow-foreign-algorithms --allow-unsigned --allow-zsk-as-ksk \
               --allow-beyond-end --allow-tag-collision --allow-unconfirmed-ksk-roll";
    let stderr = run(site, &format!("{all} -K @ksk -f @bad sign")).fails(1);
    assert!(stderr.contains(says), "{what}: {stderr}");
}

#[test]
fn s1_foreign_keys_are_refused() {
    let site = Site::new(COMMON);
    let good = ceremony(&site);
    let record = good.lines().nth(1).expect("a record").split(" ; ").next().expect("text").to_owned();
    for flags in ["257", "385", "384", "0"] {
        site.write("bad", &one_bundle(&record.replace("256 3", &format!("{flags} 3"))));
        refused_unless(&site, flags, "KSR-KEY-FLAGS", "--allow-foreign-flags");
    }
    let ed25519 = "example.test. 3600 IN DNSKEY 256 3 15 gydRZdxEdpV6dC2q9DG3AYsVZg+UAX3B3PQjIzesx7Y=";
    site.write("bad", &one_bundle(ed25519));
    refused_unless(&site, "algorithm", "KSR-KEY-ALGORITHM", "--allow-foreign-algorithms");
    always_refused(&site, "class", &one_bundle(&record.replace("IN", "CH")), "[KSR-CLASS]");
    always_refused(&site, "protocol", &one_bundle(&record.replace("256 3", "256 2")), "KSR-KEY-PROTOCOL");
    let other = record.replace("example.test.", "example.net.");
    always_refused(&site, "zone", &one_bundle(&other), "[KSR-WRONG-ZONE]");
}

#[test]
fn s2_each_zsk_must_prove_its_possession() {
    let site = Site::new(COMMON);
    let good = ceremony(&site);
    run(&site, "-K @ksk -f @ksr sign").ok();
    site.write("bare", &run(&site, "--no-pop -K @zsk request").ok());
    let stderr = run(&site, "-K @ksk -f @bare sign").fails(1);
    assert!(stderr.contains("KSR-POP-MISSING") && stderr.contains("--allow-no-pop"), "{stderr}");
    let gone_on = run(&site, "--allow-no-pop -K @ksk -f @bare sign");
    assert!(gone_on.stderr.contains("warning: KSR-POP-MISSING"), "{}", gone_on.stderr);
    gone_on.ok();
    // A key that the requester does not hold, put in beside one that it does: also the proofs of the others break.
    let foreign = Site::new(COMMON);
    let theirs = ceremony(&foreign);
    let smuggled = theirs.lines().nth(1).expect("a record").split(" ; ").next().expect("text");
    let first = good.lines().nth(1).expect("a record");
    always_refused(
        &site,
        "smuggled",
        &good.replacen(first, &format!("{first}\n{smuggled}"), 1),
        "KSR-POP-INVALID",
    );
    // A bundle that was moved in time.
    always_refused(
        &site,
        "moved",
        &good.replace(
            "20270705215500 (Mon Jul  5 21:55:00 2027)",
            "20270705215501 (Mon Jul  5 21:55:01 2027)",
        ),
        "KSR-POP-INVALID",
    );
}

#[test]
fn s3_nothing_unsigned_comes_out() {
    let site = Site::new(COMMON);
    ceremony(&site);
    std::fs::create_dir(site.path("empty")).expect("a folder");
    std::fs::create_dir(site.path("late")).expect("a folder");
    site.command("common", "20270301000000", YEAR, "-o -K @late keygen").ok();
    for (folder, says) in
        [("empty", "the key folder has no KSK"), ("late", "begins to sign at 20270301000000")]
    {
        let stderr = run(&site, &format!("-K @{folder} -f @ksr sign")).fails(1);
        assert!(stderr.contains("KSR-NO-KSK") && stderr.contains(says), "{stderr}");
        let skr = run(&site, &format!("--allow-unsigned -K @{folder} -f @ksr sign"));
        assert!(skr.stderr.contains("warning: KSR-NO-KSK"), "{}", skr.stderr);
        assert_eq!(signers(&skr.ok(), START, "DNSKEY"), Vec::<String>::new(), "{folder}");
    }
}

#[test]
fn s4_zsks_do_not_act_as_ksks() {
    let site = Site::new(COMMON);
    ceremony(&site);
    common::copy(&site.path("zsk"), &site.path("ksk"));
    let ran = run(&site, "-K @ksk -f @ksr sign");
    assert_eq!(ran.stderr.matches("is no KSK and takes no part").count(), 2, "{}", ran.stderr);
    let skr = ran.ok();
    assert_eq!(signers(&skr, START, "DNSKEY").len(), 1);
    let last = skr.rfind(";; SignedKeyResponse 1.0 2").expect("a bundle");
    assert_eq!(skr[last..].matches("\tCDS\t").count(), 1, "only the KSK has a CDS");
    let as_bind = run(&site, "--allow-zsk-as-ksk --allow-unproven -K @ksk -f @ksr sign").ok();
    assert_eq!(signers(&as_bind, START, "DNSKEY").len(), 2);
}

#[test]
fn s5_a_record_before_the_first_header_is_an_error_with_its_line() {
    let site = Site::new(COMMON);
    let good = ceremony(&site);
    let record = good.lines().nth(1).expect("a record");
    always_refused(&site, "record first", &format!("{record}\n{good}"), "bad(1): ");
    // The very text of BIND's own test.
    always_refused(&site, "root", &format!(". 3600 IN DNSKEY 257 3 8 AwEAAa==\n{good}"), "bad(1): ");
}

#[test]
fn s6_disordered_requests_are_refused() {
    let site = Site::new(COMMON);
    let good = ceremony(&site);
    let record = good.lines().nth(1).expect("a record").split(" ; ").next().expect("text");
    let header = |t: &str| format!(";; KeySigningRequest 1.0 {t}\n");
    let footer = good.lines().last().expect("a footer");
    let (first, later) = (header(START), header("20270201000000"));
    for (what, body, says) in [
        ("backwards", format!("{later}{record}\n{first}{record}\n"), "KSR-ORDER"),
        ("one time twice", format!("{first}{record}\n{first}{record}\n"), "KSR-ORDER"),
        ("no key", format!("{first}{later}{record}\n"), "KSR-EMPTY"),
        ("relative time", format!("{}{record}\n", header("now+40d")), "bad(1): "),
        ("no bundle", String::new(), "KSR-EMPTY"),
    ] {
        always_refused(&site, what, &format!("{body}{footer}\n"), says);
    }
    site.write("bad", &format!("{first}{record}\n{}{record}\n{footer}\n", header("20280201000000")));
    refused_unless(&site, "behind the end", "KSR-BEYOND-END", "--allow-beyond-end");
    // A key that is listed twice comes out once.
    site.write("bad", &format!("{first}{record}\n{record}\n{footer}\n"));
    let skr = run(&site, "--allow-no-pop -K @ksk -f @bad sign").ok();
    assert_eq!(skr.lines().skip(1).take_while(|l| l.contains("\tDNSKEY\t")).count(), 2, "KSK and ZSK");
}

#[test]
fn s7_no_bundle_is_made_twice() {
    let site = Site::new(COMMON);
    ceremony(&site);
    let skr = run(&site, "-K @ksk -f @ksr sign").ok();
    let headers = headers(&skr);
    assert!(headers.len() > 40 && headers.windows(2).all(|pair| pair[0] < pair[1]), "{headers:?}");
}

#[test]
fn s8_a_start_before_the_request_is_told_and_comments_are_read() {
    let site = Site::new(COMMON);
    let good = ceremony(&site);
    let early = site.command("common", "20261201000000", YEAR, "-K @ksk -f @ksr sign");
    assert!(
        early.stderr.contains("the KSR begins at 20270101000000, after the start 20261201000000"),
        "{}",
        early.stderr
    );
    let plain = headers(&early.ok());
    let told =
        format!("\n; sent by the zone's operator\n{}\n\n", good.replace("\n;;", "\n\n; a comment\n;;"));
    site.write("commented", &told);
    let ran = run(&site, "-K @ksk -f @commented sign");
    assert!(!ran.stderr.contains("after the start"), "{}", ran.stderr);
    assert_eq!(headers(&ran.ok()), plain);
}

#[test]
fn s9_a_ksk_stays_until_the_parent_has_its_successor() {
    let site = Site::new(
        "dnssec-policy common { offline-ksk yes; keys { ksk lifetime P6M algorithm 13; zsk lifetime unlimited algorithm 13; }; };",
    );
    ceremony(&site);
    let last = |skr: &str| {
        let header = headers(skr).last().expect("a bundle").clone();
        signers(skr, &header, "DNSKEY")
    };
    let held = run(&site, "-K @ksk -f @ksr sign");
    assert!(held.stderr.contains("KSR-KSK-HELD"), "{}", held.stderr);
    assert_eq!(last(&held.ok()).len(), 2, "old and new");
    let blind = run(&site, "--allow-unconfirmed-ksk-roll -K @ksk -f @ksr sign");
    assert_eq!(last(&blind.ok()).len(), 1, "as dnssec-ksr: the new one alone");
}

#[test]
fn k1_keygen_leaves_no_hole() {
    let site = Site::new(COMMON);
    site.command("common", START, "20270601000000", "-K @zsk keygen").ok();
    let summer = |rest: &str| site.command("common", "20270401000000", "20270801000000", rest);
    assert_eq!(summer("--allow-holes -K @zsk keygen").ok().lines().count(), 1, "as dnssec-ksr");
    let filled = summer("-K @zsk keygen");
    assert!(filled.stderr.contains("where no other key would be active"), "{}", filled.stderr);
    assert_eq!(filled.ok().lines().count(), 2);
    summer("-K @zsk request").ok();
}

#[test]
fn k2_a_request_wants_an_active_zsk() {
    let site = Site::new(COMMON);
    site.command("common", START, "20270601000000", "-K @zsk keygen").ok();
    let late = |rest: &str| site.command("common", START, "20270710000000", rest);
    let stderr = late("-K @zsk request").fails(1);
    assert!(stderr.contains("no active ECDSAP256SHA256 zsk from Tue Jul  6 00:00:00 2027 on"), "{stderr}");
    assert!(stderr.contains("--allow-inactive-zsk"), "{stderr}");
    assert_eq!(headers(&late("--allow-inactive-zsk -K @zsk request").ok()), [START]);
}

#[test]
fn k3_an_end_before_the_start_is_an_error() {
    let site = Site::new(COMMON);
    ceremony(&site);
    for rest in ["-K @zsk keygen", "-o -K @ksk keygen", "-K @zsk request"] {
        let stderr = site.command("common", YEAR, START, rest).fails(1);
        assert!(stderr.contains("the end (20270101000000) lies before the start"), "{rest}: {stderr}");
    }
    let stderr = site.command("common", "20260101000000", "20260601000000", "-K @ksk -f @ksr sign").fails(1);
    assert!(stderr.contains("KSR-END"), "{stderr}");
}

#[test]
fn k4_absurd_spans_are_refused() {
    let site = Site::new(COMMON);
    for start in ["0", "-", "19700101"] {
        let stderr = site.command("common", start, "20270101", "-K @zsk keygen").fails(1);
        assert!(
            stderr.contains("the interval 19700101000000 to ") && stderr.contains("--allow-long-interval"),
            "{stderr}"
        );
    }
    assert!(site.names("zsk").is_empty());
    let stderr = site.command("common", "0", "19910101", "--allow-long-interval -K @zsk keygen").fails(1);
    assert!(stderr.contains("before 1970; give a later start"), "no time wraps: {stderr}");
    let made = site.command("common", "19700201", "19910101", "--allow-long-interval -K @zsk keygen").ok();
    assert!(made.lines().count() > 30, "{made}");
    let keys = files::find(&site.path("zsk"), &zone()).expect("keys").keys;
    assert!(keys.iter().all(|key| key.timing.publish <= key.timing.activate), "no time wraps");
}

#[test]
fn k5_ambiguous_offsets_are_refused_with_what_to_write() {
    let site = Site::new(COMMON);
    for (end, says) in [
        ("+1h30mi", "BIND ignores what follows the first unit; write +5400"),
        ("+010d", "a leading zero makes it an octal number for BIND; write +10d"),
        ("+0x10d", "hexadecimal numbers are not read here"),
        ("+1m", "'+1m' ambiguous: use 'mi' for minutes or 'mo' for months"),
        ("now+", "the offset has no number"),
    ] {
        let stderr = site.command("common", "now", end, "-K @zsk keygen").fails(2);
        assert!(stderr.contains(says), "{end}: {stderr}");
    }
    // The two months: read as BIND reads them, and told.
    let ran = site.command("common", "now", "now+6mo", "-K @zsk keygen");
    assert!(
        ran.stderr
            .contains("a month in 'now+6mo' is 30 days, as for dnssec-ksr; one in the policy (P1M) is 31"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.ok().lines().count(), 1, "180 days, and the key lives 186");
    assert!(!site.command("common", "now", "+2w", "-K @zsk keygen").stderr.contains("month"));
}

#[test]
fn k6_two_runs_at_once_make_one_set_of_keys() {
    let site = Site::new(COMMON);
    let outputs: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| run(&site, "-K @zsk keygen").ok())).collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:?}");
    assert_eq!(site.names("zsk").len(), 6, "two sets of three files");
}

/// Killed at each of its renames in turn, `keygen` leaves nothing that counts as half a key: the next run completes the folder.
#[test]
fn k6_a_killed_run_leaves_no_half_set() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing");
        return;
    }
    let mut kills = 0;
    for nth in 1..=7 {
        let site = Site::new(COMMON);
        let keygen = |program: &mut Command| {
            program.arg("-l").arg(site.path("policy")).arg("-K").arg(site.path("zsk"));
            program.args(["-k", "common", "-i", START, "-e", YEAR, "keygen", "example.test"]);
            program.output().expect("run")
        };
        let inject = format!("inject=rename,renameat,renameat2:signal=SIGKILL:when={nth}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2", "-e", &inject]);
        let first = keygen(strace.arg(env!("CARGO_BIN_EXE_ksr-gen")));
        kills += usize::from(!first.status.success());
        // What counts as a key now is whole.
        let private =
            |names: &[String]| names.iter().filter(|n| n.ends_with(".private")).cloned().collect::<Vec<_>>();
        for name in private(&site.names("zsk")) {
            let base = name.trim_end_matches(".private");
            let keys = files::find(&site.path("zsk"), &zone()).expect("keys").keys;
            let key = keys.iter().find(|key| key.base_name() == base).expect("a whole key");
            assert!(key.state.is_some(), "{nth}: {base}");
            key.load_private().expect("its private part");
        }
        let second = keygen(&mut Command::new(env!("CARGO_BIN_EXE_ksr-gen")));
        assert!(second.status.success(), "{nth}: {}", String::from_utf8_lossy(&second.stderr));
        assert_eq!(private(&site.names("zsk")).len(), 2, "{nth}: {:?}", site.names("zsk"));
        run(&site, "-K @zsk request").ok();
    }
    assert!((6..=7).contains(&kills), "{kills} kills");
}

#[test]
fn k7_a_lost_state_file_is_told() {
    let site = Site::new(COMMON);
    let names = run(&site, "-K @zsk keygen").ok();
    let lost = names.lines().next().expect("a key").to_owned();
    std::fs::remove_file(site.path(&format!("zsk/{lost}.state"))).expect("it was there");
    for command in ["keygen", "request"] {
        let ran = run(&site, &format!("-K @zsk {command}"));
        assert!(ran.stderr.contains(&format!("{lost}.state: missing")), "{command}: {}", ran.stderr);
    }
}

#[test]
fn k8_roles_in_capitals_make_no_keys_without_role() {
    for role in ["KSK", "ZSK"] {
        let site = Site::new(
            &COMMON.replace(&format!("{} lifetime", role.to_lowercase()), &format!("{role} lifetime")),
        );
        let ran = run(&site, "-K @zsk keygen");
        assert_eq!(ran.code, 1, "{role}");
        assert!(ran.stderr.contains(role), "{}", ran.stderr);
        assert!(site.names("zsk").is_empty());
    }
}

/// Each number has its tests here, and stands in the table of the manual.
#[test]
fn every_number_is_here_and_in_the_manual() {
    let here = include_str!("weaknesses.rs");
    let manual = include_str!("../../docs/manual/bind.md");
    for number in (1..=9).map(|n| format!("S{n}")).chain((1..=8).map(|n| format!("K{n}"))) {
        assert!(here.contains(&format!("\nfn {}_", number.to_lowercase())), "{number} has no test");
        assert!(
            manual.lines().any(|l| l.starts_with(&format!("| {number} |"))),
            "{number} is not in bind.md"
        );
    }
}

/// Each `--allow-…` of the command line is in the table of the manual, and each flag there exists.
#[test]
fn every_flag_is_in_the_table_and_the_other_way_round() {
    let flags = |text: &str| {
        let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
        let mut flags: Vec<String> = words.filter(|w| w.starts_with("--allow-")).map(str::to_owned).collect();
        flags.sort();
        flags.dedup();
        flags
    };
    let manual = include_str!("../../docs/manual/bind.md");
    let table: String =
        manual.lines().filter(|l| l.starts_with("| ")).fold(String::new(), |t, l| t + l + "\n");
    let help = Site::new(COMMON).run("-h").ok();
    assert!(!flags(&help).is_empty());
    assert_eq!(flags(&table), flags(&help));
    assert_eq!(stamp(START).to_string(), START);
}
