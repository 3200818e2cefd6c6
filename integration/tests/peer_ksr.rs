//! Keys, requests and their signing, each direction with BIND's `dnssec-ksr`: the same octet by octet where the algorithm allows
//! it. (A real `named` takes our SKRs in `peer_named.rs`.)

#[path = "common/ceremony.rs"]
mod ceremony;
mod common;

use std::ffi::OsString;

use ceremony::Site;
use keystore::clock;
use keystore::dns::Name;
use keystore::exchange::{TrustAnchor, VerifyContext, bind, verify};
use keystore::keys::files;
use keystore::time::Timestamp;

const ALGORITHMS: [&str; 3] = ["rsasha256", "ecdsap256sha256", "ed25519"];

fn policy(algorithm: &str, ksk: &str, zsk: &str) -> String {
    format!(
        "dnssec-policy p {{ offline-ksk yes; keys {{ ksk lifetime {ksk} algorithm {algorithm}; zsk lifetime {zsk} algorithm {algorithm}; }}; }};\n"
    )
}

/// Name, content and time of change of each file in a folder.
fn snapshot(site: &Site, folder: &str) -> Vec<(OsString, Vec<u8>, std::time::SystemTime)> {
    let entries = std::fs::read_dir(site.path(folder)).expect("a folder").map(|e| e.expect("an entry"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let changed = entry.metadata().expect("metadata").modified().expect("a time");
            (entry.file_name(), std::fs::read(entry.path()).expect("read"), changed)
        })
        .collect();
    files.sort();
    files
}

/// The text without its closing line, which has time and program.
fn body(text: &str) -> &str {
    let end = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
    assert!(text[end..].contains(" generated at "), "{}", &text[end..]);
    &text[..end]
}

/// The bundles of an SKR, each as its lines. Of two with one header, as BIND prints them where a bundle of the KSR ends at the
/// very time of a new bundle, only the last one (it is the one that `named` uses). `masked`: without the signatures themselves,
/// for an algorithm that never signs alike twice.
fn bundles(skr: &str, masked: bool) -> Vec<Vec<String>> {
    let mut out: Vec<Vec<String>> = Vec::new();
    for line in body(skr).lines().filter(|line| !line.is_empty()) {
        if line.starts_with(";;") {
            if out.last().is_some_and(|bundle| bundle[0] == line) {
                out.pop();
            }
            out.push(vec![line.to_owned()]);
            continue;
        }
        let text = match line.find(" example.test. ") {
            Some(signature) if masked && line.contains("\tRRSIG\t") => &line[..signature],
            _ => line,
        };
        out.last_mut().expect("a header").push(text.to_owned());
    }
    out
}

/// Holds an SKR against the KSKs of the folder, as our loader does.
fn verify_skr(site: &Site, skr: &str) {
    let zone = Name::parse("example.test").expect("a name");
    let keys = files::find(&site.path("ksk"), &zone).expect("keys").keys;
    let anchors: Vec<TrustAnchor> = keys.into_iter().map(|key| TrustAnchor::Dnskey(key.dnskey)).collect();
    let parsed = bind::parse_skr(skr.as_bytes(), &zone).expect("an SKR");
    verify(parsed, &VerifyContext::new(&zone, &anchors).for_reload(), clock::now()).expect("a good SKR");
}

const YEAR: &str = "-i 20270101 -e 20280101";

/// Ours makes keys and request, BIND signs; and our own answer is the same.
#[test]
fn our_request_signed_by_bind() {
    drop(peer!("dnssec-ksr"));
    for algorithm in ALGORITHMS {
        let site = Site::with_policies(&policy(algorithm, "P6M", "P3M"));
        site.ours(&format!("{YEAR} -o -K @ksk keygen"));
        let names = site.ours(&format!("{YEAR} -K @zsk keygen"));
        assert_eq!(names.lines().count(), 4);
        let before = snapshot(&site, "zsk");
        assert_eq!(site.bind(&format!("{YEAR} -K @zsk keygen")), names, "BIND selects our keys");
        assert_eq!(snapshot(&site, "zsk"), before);

        let ksr = site.ours(&format!("{YEAR} -K @zsk request"));
        let bare = site.ours(&format!("{YEAR} --no-pop -K @zsk request"));
        assert_eq!(body(&bare), body(&site.bind(&format!("{YEAR} -K @zsk request"))));
        // BIND reads over the proofs of possession.
        assert_eq!(ksr.matches(" ; proof-of-possession ").count(), ksr.matches("\tDNSKEY\t").count());
        std::fs::write(site.path("ksr"), &ksr).expect("write");
        std::fs::write(site.path("bare"), &bare).expect("write");
        let theirs = site.bind(&format!("{YEAR} -K @ksk -f @ksr sign"));
        let of_bare = site.bind(&format!("{YEAR} -K @ksk -f @bare sign"));
        assert_eq!(
            bundles(&theirs, algorithm.starts_with("ecdsa")),
            bundles(&of_bare, algorithm.starts_with("ecdsa"))
        );
        // And over the largest TTL of the zone in the last line.
        let noted = site.ours(&format!("{YEAR} --largest-ttl 1w -K @zsk request"));
        assert!(noted.trim_end().ends_with("(largest TTL 604800)"), "{noted}");
        std::fs::write(site.path("noted"), &noted).expect("write");
        let of_noted = site.bind(&format!("{YEAR} -K @ksk -f @noted sign"));
        assert_eq!(
            bundles(&of_noted, algorithm.starts_with("ecdsa")),
            bundles(&theirs, algorithm.starts_with("ecdsa"))
        );
        verify_skr(&site, &one_of_each(&theirs));
        let ours = site.ours(&format!("{YEAR} --allow-unconfirmed-ksk-roll -K @ksk -f @ksr sign"));
        verify_skr(&site, &ours);
        let masked = algorithm.starts_with("ecdsa");
        assert_eq!(bundles(&ours, masked), bundles(&theirs, masked), "{algorithm}");
    }
}

/// The SKR without the first of two bundles with one header.
fn one_of_each(skr: &str) -> String {
    let footer = &skr[body(skr).len()..];
    let lines: Vec<String> = bundles(skr, false).into_iter().flatten().collect();
    format!("{}\n{footer}", lines.join("\n"))
}

/// BIND makes keys and request, ours signs; and BIND's own answer is the same.
#[test]
fn bind_request_signed_by_ours() {
    drop(peer!("dnssec-ksr"));
    for algorithm in ALGORITHMS {
        let site = Site::with_policies(&policy(algorithm, "P6M", "P6M"));
        site.bind(&format!("{YEAR} -o -K @ksk keygen"));
        let names = site.bind(&format!("{YEAR} -K @zsk keygen"));
        let before = snapshot(&site, "zsk");
        assert_eq!(site.ours(&format!("{YEAR} -K @zsk keygen")), names, "we select BIND's keys");
        assert_eq!(snapshot(&site, "zsk"), before, "and touch no file");

        let ksr = site.bind(&format!("{YEAR} -K @zsk request"));
        assert_eq!(body(&ksr), body(&site.ours(&format!("{YEAR} --no-pop -K @zsk request"))));
        std::fs::write(site.path("ksr"), &ksr).expect("write");
        let ours =
            site.ours(&format!("{YEAR} --allow-unconfirmed-ksk-roll --allow-no-pop -K @ksk -f @ksr sign"));
        verify_skr(&site, &ours);
        let theirs = site.bind(&format!("{YEAR} -K @ksk -f @ksr sign"));
        let masked = algorithm.starts_with("ecdsa");
        assert_eq!(bundles(&ours, masked), bundles(&theirs, masked), "{algorithm}");
    }
}

/// The other policies of BIND's own system test, with deterministic signatures where the policy leaves the choice.
#[test]
fn scenarios_have_the_same_answers() {
    drop(peer!("dnssec-ksr"));
    let unlimited = "keys { ksk lifetime unlimited algorithm 15; zsk lifetime unlimited algorithm 15; };";
    for (name, text, interval) in [
        ("unlimited", unlimited.to_owned(), "-i 20270101 -e 20310101"),
        ("no-cdnskey", format!("{unlimited} cdnskey no; cds-digest-types {{ sha-1; sha-256; sha-384; }};"), YEAR),
        ("no-cds", format!("{unlimited} cds-digest-types {{ }};"), YEAR),
        ("neither", format!("{unlimited} cds-digest-types {{ }}; cdnskey no;"), YEAR),
        (
            "two-tone",
            "keys { ksk lifetime unlimited algorithm rsasha256; zsk lifetime P5M algorithm rsasha256;
                    ksk lifetime unlimited algorithm 15; zsk lifetime P3M algorithm 15; };"
                .to_owned(),
            YEAR,
        ),
        (
            "ksk-roll",
            "keys { ksk lifetime P6M algorithm 15; zsk lifetime unlimited algorithm 15; };".to_owned(),
            YEAR,
        ),
        (
            "fast",
            "keys { ksk lifetime unlimited algorithm 15; zsk lifetime 8792 algorithm 15; };
             dnskey-ttl 439; max-zone-ttl 4396; zone-propagation-delay 439; signatures-validity 6;
             signatures-validity-dnskey 6; signatures-refresh 2; signatures-jitter 0; publish-safety 1; retire-safety 1;
             parent-ds-ttl 5; parent-propagation-delay 5;"
                .to_owned(),
            "-i 20270101 -e 20270101010000",
        ),
        (
            "odd times",
            "keys { ksk lifetime P35D algorithm 15; zsk lifetime P40D algorithm 15; }; dnskey-ttl 0; max-zone-ttl 0;
             signatures-validity-dnskey P21D; signatures-refresh P2D; publish-safety P3D; retire-safety PT1H;"
                .to_owned(),
            "-i 20270101 -e 20270901",
        ),
        (
            "short", // each bundle of the KSR is shorter than a step
            "keys { ksk lifetime unlimited algorithm 15; zsk lifetime P20D algorithm 15; };
             signatures-validity P13D; signatures-validity-dnskey P90D; signatures-refresh P8D; max-zone-ttl 3600;"
                .to_owned(),
            "-i 20270101 -e 20270601",
        ),
    ] {
        let site = Site::with_policies(&format!("dnssec-policy p {{ offline-ksk yes; {text} }};\n"));
        let ksks = site.bind(&format!("{interval} -o -K @ksk keygen"));
        let zsks = site.bind(&format!("{interval} -K @zsk keygen"));
        assert_eq!(site.ours(&format!("{interval} -o -K @ksk keygen")), ksks, "{name}");
        assert_eq!(site.ours(&format!("{interval} -K @zsk keygen")), zsks, "{name}");
        let ksr = site.bind(&format!("{interval} -K @zsk request"));
        assert_eq!(body(&site.ours(&format!("{interval} --no-pop -K @zsk request"))), body(&ksr), "{name}");
        std::fs::write(site.path("ksr"), &ksr).expect("write");
        let proved = site.ours(&format!("{interval} -K @zsk request"));
        std::fs::write(site.path("proved"), &proved).expect("write");
        let theirs = bundles(&site.bind(&format!("{interval} -K @ksk -f @ksr sign")), false);
        // Where a KSK is rolled, BIND's is by the times alone; ours would wait for the parent.
        let times = if text.contains("ksk lifetime P") { "--allow-unconfirmed-ksk-roll" } else { "" };
        let ours = site.ours(&format!("{interval} {times} --allow-no-pop -K @ksk -f @ksr sign"));
        assert_eq!(bundles(&ours, false), theirs, "{name}: BIND's request, ours signs");
        verify_skr(&site, &ours);
        let ours = site.ours(&format!("{interval} {times} -K @ksk -f @proved sign"));
        assert_eq!(bundles(&ours, false), theirs, "{name}: ours alone");
        let mixed = site.bind(&format!("{interval} -K @ksk -f @proved sign"));
        assert_eq!(bundles(&mixed, false), theirs, "{name}: our request, BIND signs");
    }
}

/// Keys that each tool makes for the same time have the same times.
#[test]
fn new_keys_have_the_times_of_bind() {
    drop(peer!("dnssec-ksr"));
    let zone = Name::parse("example.test").expect("a name");
    for (ksk, zsk) in [("P6M", "P3M"), ("unlimited", "unlimited")] {
        let sites = [
            Site::with_policies(&policy("ed25519", ksk, zsk)),
            Site::with_policies(&policy("ed25519", ksk, zsk)),
        ];
        for line in [format!("{YEAR} -o -K @ksk keygen"), format!("{YEAR} -K @zsk keygen")] {
            sites[0].ours(&line);
            sites[1].bind(&line);
        }
        for folder in ["ksk", "zsk"] {
            let [ours, theirs] = [&sites[0], &sites[1]].map(|site| {
                let keys = files::find(&site.path(folder), &zone).expect("keys").keys;
                let without_created = |key: keystore::keys::KeyFile| {
                    let timing = keystore::keys::Timing { created: None, ..key.timing };
                    (timing.activate, format!("{timing:?} {:?} {} {}", key.state, key.ttl, key.dnskey.flags))
                };
                let mut keys: Vec<_> = keys.into_iter().map(without_created).collect();
                keys.sort();
                keys
            });
            assert_eq!(ours, theirs, "{folder}");
        }
    }
}

/// Where BIND signs what it should not, or leaves a hole, it does so in front of our eyes, and ours does not.
#[test]
fn where_we_differ_from_bind() {
    drop(peer!("dnssec-ksr"));
    let site = Site::with_policies(&policy("ed25519", "unlimited", "P6M"));
    site.ours(&format!("{YEAR} -K @zsk keygen"));
    std::fs::write(site.path("ksr"), site.ours(&format!("{YEAR} -K @zsk request"))).expect("write");
    // S3: no KSK, and BIND is content.
    let unsigned = site.bind(&format!("{YEAR} -K @ksk -f @ksr sign"));
    assert!(!unsigned.contains("RRSIG"));
    // S7: two bundles with one header.
    site.ours(&format!("{YEAR} -o -K @ksk keygen"));
    let step = "-i 20270101 -e 20270705215500";
    std::fs::write(site.path("short"), site.ours(&format!("{YEAR} -K @zsk request"))).expect("write");
    let theirs = site.bind(&format!("{YEAR} -K @ksk -f @short sign"));
    let ours = site.ours(&format!("{YEAR} -K @ksk -f @short sign"));
    let headers = |text: &str| {
        body(text).lines().filter(|l| l.starts_with(";;")).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut once = headers(&theirs);
    once.dedup();
    assert_eq!(headers(&ours), once);
    assert_eq!(site.ours(&format!("{step} -K @zsk keygen")).lines().count(), 1);
    // K1: no successor.
    let summer = "-i 20270401 -e 20270801";
    let alone = Site::with_policies(&policy("ed25519", "unlimited", "P6M"));
    alone.bind("-i 20270101 -e 20270601 -K @zsk keygen");
    assert_eq!(alone.bind(&format!("{summer} -K @zsk keygen")).lines().count(), 1);
    assert_eq!(alone.ours(&format!("{summer} -K @zsk keygen")).lines().count(), 2);
}

/// A time given to both tools means the same second.
#[test]
fn relative_times_mean_the_same() {
    drop(peer!("dnssec-ksr"));
    let site = Site::with_policies(&policy("ed25519", "unlimited", "P6M"));
    for start in
        ["now+1w", "+2d", "20270101", "20270101123456", "20270101+36h", "1798761600", "now-90mi", "+1mo"]
    {
        let folder = start.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        std::fs::create_dir(site.path(&folder)).expect("a folder");
        site.bind(&format!("-i {start} -e +3y -K @{folder} keygen"));
        let zone = Name::parse("example.test").expect("a name");
        let keys = files::find(&site.path(&folder), &zone).expect("keys").keys;
        let first: Timestamp = keys.iter().filter_map(|key| key.timing.activate).min().expect("a key");
        let now = clock::now();
        let ours = keystore::time::syntax::parse(start, now).expect("a time").expect("a time");
        assert!(ours.since(first).max(first.since(ours)) < 30, "{start}: {first} {ours}");
    }
}
