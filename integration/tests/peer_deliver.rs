//! skr-loader beside real named: delivery, restarts, the boundaries of bundles that named alone misses, several servers and views.
//!
//! What is served is judged by a validator of its own (`domain`'s, or `delv`), never by the proof that the loader makes.

mod common;
#[path = "common/delivery.rs"]
mod delivery;

use std::time::{Duration, Instant};

use common::Named;
use delivery::{
    CALM, FAST, RECORDS, Seen, Site, ZONE, dig, imports, look, seconds, seconds_of_validity, target,
    wait_for_log, zone_statement,
};
use keystore::clock;
use keystore::crypto::Algorithm;
use keystore::exchange::testing::{SkrBuilder, TestKey};

/// With signatures of 6 seconds, across a restart of named, a validator sees no bad answer, and serials go slowly.
#[test]
fn boundaries_of_six_second_signatures_are_never_missed() {
    let Some(site) = Site::new(FAST, "+1h") else { return };
    let named = site.named();
    let loader = site.load(&target("ns1", &named, ""));
    loader.drop_file(&site.ceremony("+1h", "skr"));
    loader.wait("ns1", 1);
    let (seconds, mut seen) = (seconds("OFFLINE_KSK_SOAK_SECONDS", 120), Seen::default());
    seen.watch(named.port, &site.ksk, seconds / 2);
    println!("SOAK before the restart of named: {seen:?}");

    // named has no SKR until the loader has seen the restart, a second or two later: nothing may expire meanwhile.
    common::wait_for("fresh signatures", Duration::from_secs(20), || {
        (seconds_of_validity(named.port) >= 4).then_some(())
    });
    let named = named.stop().start();
    let (up, log) = (Instant::now(), site.path("named/named.log"));
    let back = std::thread::spawn(move || {
        common::wait_for("the SKR in named", Duration::from_secs(5), || {
            std::fs::read_to_string(&log).ok()?.contains("imported skr file").then_some(())
        });
        up.elapsed()
    });
    let mut after = Seen::default();
    after.watch(named.port, &site.ksk, seconds - seconds / 2);
    println!("SOAK after the restart of named: {after:?}, SKR back {:.1?}", back.join().expect("within 5 s"));
    seen.add(after);
    println!("SOAK with skr-loader: {seconds} s, {seen:?}");
    assert!(u64::from(seen.queries) > 4 * seconds, "{seen:?}");
    assert_eq!(seen.bad, 0, "{seen:?}\n{}", loader.metrics.encode().expect("text"));
    assert!(u64::from(seen.serials) < 2 * seconds, "{seen:?}");
}

/// The same without the loader: what it is for.
#[test]
fn named_alone_serves_expired_signatures_and_storms() {
    let Some(site) = Site::new(FAST, "+1h") else { return };
    let named = site.named();
    let skr = site.ceremony("+1h", "skr");
    let said = common::text(&named.rndc(&["skr", "-import", &skr.to_string_lossy(), ZONE]));
    assert!(!said.contains("failed"), "{said}");
    common::wait_for("the zone with the SKR", Duration::from_secs(30), || {
        (look(named.port, &site.ksk).bad == 0).then_some(())
    });
    let (seconds, mut seen) = (seconds("OFFLINE_KSK_SOAK_ALONE_SECONDS", 12), Seen::default());
    seen.watch(named.port, &site.ksk, seconds);
    println!("SOAK named alone: {seconds} s, {seen:?}");
    assert!(seen.bad > 0 && seen.serials > 100, "{seen:?}");
}

/// N1: two crashes, each with the ports kept; delv judges.
#[test]
fn a_restarted_named_has_its_skr_back_within_5_seconds() {
    let Some(site) = Site::new(CALM, "+30d") else { return };
    let mut named = site.named();
    let loader = site.load(&target("ns1", &named, ""));
    loader.drop_file(&site.ceremony("+30d", "skr"));
    loader.wait("ns1", 1);
    let anchor = site.path("anchor");
    let fields: Vec<&str> = site.ksk.split_whitespace().collect();
    let at = fields.iter().position(|f| *f == "DNSKEY").expect("a DNSKEY");
    let [flags, protocol, algorithm] = [1, 2, 3].map(|i| fields[at + i]);
    let key = fields[at + 4..].concat();
    let text = format!("trust-anchors {{ {ZONE}. static-key {flags} {protocol} {algorithm} \"{key}\"; }};");
    std::fs::write(&anchor, text).expect("anchor");
    for _ in 0..2 {
        named = named.crash().start();
        let started = Instant::now();
        common::wait_for("the import", Duration::from_secs(5), || (imports(&named) > 0).then_some(()));
        println!("SKR back after {:.1?}", started.elapsed());
        for (name, expected) in
            [("a", "; fully validated"), ("nobody", "; negative response, fully validated")]
        {
            common::wait_for(name, Duration::from_secs(20), || {
                let mut delv = common::peer("delv").expect("was there");
                delv.arg("@127.0.0.1").args(["-p", &named.port.to_string(), "-a"]).arg(&anchor);
                delv.arg(format!("+root={ZONE}")).args([&format!("{name}.{ZONE}"), "A"]);
                let said = common::text(&delv.output().expect("run delv"));
                said.contains(expected).then_some(())
            });
        }
    }
}

/// Two servers, one with two views: each has a state of its own, and one that is down holds up nobody and is served later.
#[test]
fn servers_and_views_are_told_apart_and_one_that_is_down_catches_up() {
    let Some(site) = Site::new(CALM, "+60d") else { return };
    let second = site.path("second");
    common::run(std::process::Command::new("cp").arg("-r").arg(site.path("named")).arg(&second));
    for view in ["inside", "outside"] {
        std::fs::write(site.path(&format!("named/{view}.db")), RECORDS).expect("zone");
    }
    let view = |name: &str, clients: &str| {
        let zone = zone_statement(&format!("{name}.db"));
        format!("view {name} {{ match-clients {{ {clients}; }};\n{zone}}};\n")
    };
    let statements = format!("{CALM}{}{}", view("inside", "127.0.0.2"), view("outside", "any"));
    let named = Named::start(&site.path("named"), &statements).expect("was there");
    let other = Named::start(&second, &format!("{CALM}{}", zone_statement("zone.db"))).expect("was there");
    let targets = [
        target("inside", &named, "view = \"inside\"\nsource = \"127.0.0.2\""),
        target("outside", &named, "view = \"outside\""),
        target("second", &other, ""),
    ];
    let loader = site.load(&targets.concat());
    loader.drop_file(&site.ceremony("+30d", "skr"));
    for name in ["inside", "outside", "second"] {
        loader.wait(name, 1);
    }
    assert_eq!((imports(&named), imports(&other)), (2, 1));

    let other = other.crash();
    let up = |name: &str| loader.metrics.delivery_server_up.with_label_values(&[name]).get();
    common::wait_for("the alarm", Duration::from_secs(20), || (up("second") == 0).then_some(()));
    loader.drop_file(&site.ceremony("+50d", "skr2"));
    for name in ["inside", "outside"] {
        loader.wait(name, 2);
    }
    assert!(!loader.serves("second", 1) && !loader.serves("second", 2), "it is down");
    assert_eq!((up("inside"), up("outside"), up("second"), imports(&named)), (1, 1, 0, 4));

    let other = other.start();
    loader.wait("second", 2);
    assert_eq!(imports(&other), 1, "only what is in force");
    assert_eq!(imports(&named), 4);
    for name in ["inside", "outside", "second"] {
        // The note is written after the metrics.
        let note = site.path(&format!("state/delivered/{name}/{ZONE}."));
        common::wait_for(&format!("the note of {name}"), Duration::from_secs(20), || {
            std::fs::read_to_string(&note).ok()?.contains("\"generation\":2").then_some(())
        });
    }
}

/// An operator's `rndc sign` takes the KSK's signatures out of the zone; no import brings them back, but the loader does.
#[test]
fn signatures_that_rndc_sign_took_away_come_back() {
    let Some(site) = Site::new(CALM, "+60d") else { return };
    let named = site.named();
    let loader = site.load(&target("signed", &named, ""));
    let (skr, next) = (site.ceremony("+30d", "skr"), site.ceremony("+50d", "next"));
    loader.drop_file(&skr);
    loader.wait("signed", 1);
    named.rndc(&["sign", ZONE]);
    common::wait_for("a bogus zone", Duration::from_secs(10), || {
        (look(named.port, &site.ksk).bad > 0).then_some(())
    });
    for arguments in
        [&["skr", "-import", &skr.to_string_lossy(), ZONE][..], &["loadkeys", ZONE], &["reconfig"]]
    {
        named.rndc(arguments);
        common::holds_for(&format!("bogus after {arguments:?}"), Duration::from_secs(1), || {
            look(named.port, &site.ksk).bad > 0
        });
    }
    // Not to wait for the proof of each minute.
    loader.drop_file(&next);
    wait_for_log(&["signed", "it was made to take the signatures anew"]);
    loader.wait("signed", 2);
    let seen = look(named.port, &site.ksk);
    assert_eq!(seen.bad, 0, "{seen:?}");
    assert!(dig(named.port, ZONE, "DNSKEY").lines().all(|l| l.split_whitespace().nth(1) == Some("3600")));
}

/// The hook gets what the manual says, at a generation and at each bundle; what it says of a failure is tried again.
#[test]
fn a_hook_gets_the_documented_environment() {
    let Some(site) = Site::new(FAST, "+1h") else { return };
    let log = site.path("hook.log");
    // It fails the first time. What the manual documents is written, and whether the file is there.
    let script = format!(
        "[ -e {log} ] || {{ echo first >{log}; echo cannot reach the server >&2; exit 7; }}\n\
         [ -r \"$OFFLINE_KSK_SKR\" ] && head -c 25 \"$OFFLINE_KSK_SKR\" | tr -d ';' >>{log}\n\
         echo \"| $OFFLINE_KSK_EVENT $OFFLINE_KSK_TARGET $OFFLINE_KSK_ZONE $OFFLINE_KSK_GENERATION $OFFLINE_KSK_FORMAT\" \
         \"$OFFLINE_KSK_INCEPTION $OFFLINE_KSK_EXPIRATION $(cat | wc -c)\" >>{log}\n",
        log = log.display()
    );
    let script = site.write("hook", &script);
    let loader = site.load(&format!(
        "[[deliver.hook]]\nname = \"hooked\"\ncommand = [\"/bin/sh\", \"{}\"]\n",
        script.display()
    ));
    let skr = site.ceremony("+1h", "skr");
    loader.drop_file(&skr);
    let line = wait_for_log(&["hooked", "was not delivered"]);
    assert!(line.contains("cannot reach the server") && line.contains("exit status: 7"), "{line}");
    loader.wait("hooked", 1);
    let lines = common::wait_for("three calls", Duration::from_secs(20), || {
        let text = std::fs::read_to_string(&log).ok()?;
        let lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        // A call writes its line in two pieces.
        let whole = text.ends_with('\n') && lines.iter().all(|line| line.contains(" | "));
        (lines.len() >= 3 && whole).then_some(lines)
    });
    let zone = keystore::dns::Name::parse(ZONE).expect("a name");
    let text = std::fs::read(&skr).expect("the SKR");
    let bundles = keystore::exchange::bind::parse_skr(&text, &zone).expect("an SKR").bundles;
    let mut last = None;
    for (i, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let event = if i == 0 { "generation" } else { "switch" };
        assert_eq!(words[..2], ["SignedKeyResponse", "1.0"], "the file can be read: {line}");
        let zone = format!("{ZONE}.");
        assert_eq!(words[3..8], [event, "hooked", zone.as_str(), "1", "bind"], "{line}");
        let at = bundles.iter().position(|b| b.inception.to_string() == words[8]).expect("a bundle of it");
        assert_eq!(words[9..], [bundles[at].expiration().to_string().as_str(), "0"], "no input: {line}");
        assert!(last.is_none_or(|last| at == last + 1), "each bundle once: {lines:?}");
        last = Some(at);
    }
}

/// named publishes a ZSK of its folder by itself, and the zone is bogus. When the SKR with that ZSK comes, the RRset is the same as before,
/// and named keeps the signatures, which do not fit: the loader makes it take them anew at once.
#[test]
fn kind_101_zsk_that_named_had_published_is_good_as_soon_as_its_skr_is_delivered() {
    let Some(mut site) = Site::new(CALM, "+30d") else { return };
    let ksk = TestKey::generate(257, Algorithm::ECDSAP256SHA256, 256);
    let builder = || SkrBuilder::new(&format!("{ZONE}."), clock::now().minus(60)).ksk(ksk.clone());
    let first = site.build(builder(), "first");
    let (named, loader) = site.beside("early", &first);
    loader.wait("early", 1);
    let mut keygen = common::peer("dnssec-keygen").expect("was there");
    keygen.arg("-K").arg(site.path("named")).args(["-a", "13", "-P", "now", "-A", "+1y", ZONE]);
    common::run(&mut keygen);
    named.rndc(&["loadkeys", ZONE]);
    common::wait_for("a bogus zone", Duration::from_secs(10), || {
        (look(named.port, &site.ksk).bad == 4).then_some(())
    });
    let second = site.build(builder(), "second");
    loader.drop_file(&second);
    wait_for_log(&["early", "the server is made to take the signatures anew"]);
    loader.wait("early", 2);
    assert_eq!(look(named.port, &site.ksk).bad, 0);
}

/// While named's key folder has a ZSK without a Publish or Activate time, published or not, named switches to no bundle. The loader
/// names the key and the command that mends it, and that command does.
#[test]
fn a_zsk_whose_times_named_cannot_stand_holds_the_delivery_back_until_it_has_them() {
    const TIMES: [(&str, &[&str]); 4] = [
        ("no-activate", &["-P", "now", "-A", "none"]),
        ("no-times", &["-P", "none", "-A", "none"]),
        ("future", &["-P", "+1y", "-A", "none"]),
        ("no-publish", &["-P", "none", "-A", "+1y"]),
    ];
    let Some(site) = Site::new(CALM, "+60d") else { return };
    let (named, _) = site.alone(&site.ceremony("+30d", "skr"));
    let keygen = |times: &[&str]| {
        let mut keygen = common::peer("dnssec-keygen").expect("was there");
        let base =
            common::stdout(keygen.arg("-K").arg(site.path("named")).args(["-a", "13"]).args(times).arg(ZONE));
        site.path("named").join(base.trim())
    };
    let remove = |base: &std::path::Path| {
        for suffix in ["key", "private", "state"] {
            // named and dnssec-settime write the state file; dnssec-keygen without a policy does not.
            let _ = std::fs::remove_file(format!("{}.{suffix}", base.display()));
        }
    };
    for (name, times) in TIMES {
        let key = keygen(times);
        let complaints = || named.log().matches("dns_keymgr_offline failed: not found").count();
        let before = complaints();
        named.rndc(&["loadkeys", ZONE]);
        common::wait_for(&format!("{name}: a rekey that fails"), Duration::from_secs(10), || {
            (complaints() > before).then_some(())
        });
        remove(&key);
    }
    let loader = site.load(&target("times", &named, ""));
    loader.drop_file(&site.ceremony("+30d", "skr"));
    loader.wait("times", 1);
    // The first of them is published, so that named would add it to the bundle in any case.
    for (generation, (name, times)) in (2..).zip(&TIMES[1..]) {
        let key = keygen(times);
        loader.drop_file(&site.ceremony(&format!("+{}d", 20 + 10 * generation), name));
        let line = wait_for_log(&["times", "held back", &key.display().to_string()]);
        let command = line.split_once("dnssec-settime ").expect("the command").1;
        let mut settime = common::peer("dnssec-settime").expect("was there");
        common::run(settime.args(command.split_whitespace().take_while(|word| !word.contains('='))));
        loader.wait("times", generation);
        assert_eq!(look(named.port, &site.ksk).bad, 0, "{name}");
        // A key whose Publish has come would now be added to the bundle.
        remove(&key);
    }
}
