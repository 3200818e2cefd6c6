//! The scenarios of BIND's own system test of offline KSKs, each with the four combinations of `ksr-gen` and `dnssec-ksr` on the two
//! sides of a ceremony. Key files, KSR and SKR are held against the formulas, computed here anew, and each tool's answer against
//! the other's.
//!
//! Two things are evened out before SKRs are compared. Where a bundle of the KSR ends inside a step, `dnssec-ksr` prints two bundles
//! with one time, the first with the old ZSKs: only the last of them counts, as for named. Signatures of ECDSA are never alike: they
//! are masked, all else of the line is compared.

#[path = "common/ceremony.rs"]
mod ceremony;
mod common;

use ceremony::{Side, Site};
use keystore::clock;
use keystore::dns::Name;
use keystore::keys::{KeyFile, files};
use keystore::time::Timestamp;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

struct Scenario {
    name: &'static str,
    policy: &'static str,
    /// From now, in seconds.
    from: i64,
    to: i64,
    /// Number of KSKs and ZSKs.
    keys: (usize, usize),
    times: Times,
}

/// In seconds: `prepub` from Publish to Activate, `ksk_delete` and `zsk_delete` from Inactive to Delete, `step` from bundle to bundle,
/// `validity` of signatures from the inception of the bundle.
#[derive(Clone, Copy)]
struct Times {
    ttl: u32,
    prepub: u64,
    ksk_delete: u64,
    zsk_delete: u64,
    step: u64,
    validity: u64,
}

const STD: Times = Times {
    ttl: 3600,
    prepub: 7_500,
    ksk_delete: 93_600,
    zsk_delete: 867_900,
    step: 9 * 86_400,
    validity: 14 * 86_400,
};

const COMMON: &str = "keys { ksk lifetime unlimited algorithm 13; zsk lifetime P6M algorithm 13; };";
const COMMON_RSA: &str =
    "keys { ksk lifetime unlimited algorithm rsasha256; zsk lifetime P6M algorithm rsasha256; };";
const UNLIMITED: &str = "keys { ksk lifetime unlimited algorithm 13; zsk lifetime unlimited algorithm 13; };";

const SCENARIOS: [Scenario; 10] = [
    Scenario { name: "common", policy: COMMON, from: 0, to: 365 * DAY, keys: (1, 2), times: STD },
    Scenario { name: "common, RSA", policy: COMMON_RSA, from: 0, to: 365 * DAY, keys: (1, 2), times: STD },
    Scenario { name: "common, two years", policy: COMMON, from: 0, to: 730 * DAY, keys: (1, 4), times: STD },
    Scenario { name: "last-bundle", policy: COMMON, from: -365 * DAY, to: DAY, keys: (1, 2), times: STD },
    Scenario { name: "in-the-middle", policy: COMMON, from: -365 * DAY, to: 365 * DAY, keys: (1, 4), times: STD },
    Scenario { name: "past", policy: COMMON, from: -730 * DAY, to: -365 * DAY, keys: (1, 2), times: STD },
    Scenario { name: "future", policy: COMMON, from: 30 * DAY, to: 365 * DAY, keys: (1, 2), times: STD },
    Scenario { name: "unlimited", policy: UNLIMITED, from: 0, to: 730 * DAY, keys: (1, 1), times: STD },
    Scenario {
        name: "ksk-roll",
        policy: "keys { ksk lifetime P6M algorithm 13; zsk lifetime unlimited algorithm 13; };",
        from: 0,
        to: 365 * DAY,
        keys: (2, 1),
        times: STD,
    },
    Scenario {
        name: "fast",
        policy: "keys { ksk lifetime unlimited algorithm 13; zsk lifetime 8792 algorithm 13; };
            dnskey-ttl 439; max-zone-ttl 4396; zone-propagation-delay 439; signatures-validity 6;
            signatures-validity-dnskey 6; signatures-refresh 2; signatures-jitter 0; publish-safety 1; retire-safety 1;
            parent-ds-ttl 5; parent-propagation-delay 5;",
        from: 0,
        to: HOUR,
        keys: (1, 1),
        times: Times { ttl: 439, prepub: 879, ksk_delete: 11, zsk_delete: 4_840, step: 4, validity: 6 },
    },
];

const TWO_TONE: Scenario = Scenario {
    name: "two-tone",
    policy: "keys { ksk lifetime unlimited algorithm rsasha256; zsk lifetime P5M algorithm rsasha256;
                    ksk lifetime unlimited algorithm 13; zsk lifetime P3M algorithm 13; };",
    from: 0,
    to: 365 * DAY,
    keys: (2, 7),
    times: STD,
};

fn at(now: Timestamp, seconds: i64) -> Timestamp {
    if seconds < 0 { now.minus(seconds.unsigned_abs()) } else { now.plus(seconds.unsigned_abs()) }
}

fn other(side: Side) -> Side {
    if side == Side::Ours { Side::Bind } else { Side::Ours }
}

/// The text without its closing line, which has time and program.
fn body(text: &str) -> &str {
    let end = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
    assert!(text[end..].contains(" generated at "), "{}", &text[end..]);
    &text[..end]
}

/// Header and lines of each bundle, evened out as the head of this file says.
fn bundles(skr: &str) -> Vec<Vec<String>> {
    let mut out: Vec<Vec<String>> = Vec::new();
    for line in body(skr).lines().filter(|line| !line.is_empty()) {
        if line.starts_with(";;") {
            if out.last().is_some_and(|bundle| bundle[0] == line) {
                out.pop();
            }
            out.push(vec![line.to_owned()]);
            continue;
        }
        let masked = line
            .find(" example.test. ")
            .filter(|_| line.split('\t').any(|f| f == "RRSIG") && line.contains(" 13 2 "));
        out.last_mut().expect("a header").push(line[..masked.unwrap_or(line.len())].to_owned());
    }
    out
}

/// The words of a record, without its columns.
fn words(line: &str) -> String {
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The record as it stands in the `.key` file, where base64 is cut as in a KSR.
fn record(key: &KeyFile, rtype: &str, ttl: u32) -> String {
    let path = key.dir.join(format!("{}.key", key.base_name()));
    let text = std::fs::read_to_string(path).expect("text");
    let (_, rdata) = text.lines().last().expect("a record").split_once(" DNSKEY ").expect("a DNSKEY");
    format!("example.test. {ttl} IN {rtype} {rdata}")
}

fn keys(site: &Site, folder: &str) -> Vec<KeyFile> {
    files::find(&site.path(folder), &Name::parse(site.zone).expect("a name")).expect("keys").keys
}

fn published(key: &KeyFile, at: Timestamp) -> bool {
    key.timing.publish.is_some_and(|p| p <= at) && key.timing.delete.is_none_or(|d| at < d)
}

/// The formulas of the key files: times of each key from those of the one before, of one algorithm.
fn check_key_files(scenario: &Scenario, keys: &[KeyFile], start: Timestamp, ksk: bool) {
    let Times { prepub, ksk_delete, zsk_delete, .. } = scenario.times;
    let mut by_time: Vec<&KeyFile> = keys.iter().collect();
    by_time.sort_by_key(|key| (key.dnskey.algorithm.0, key.timing.activate));
    let mut expected = None;
    let mut algorithm = None;
    for key in by_time {
        if algorithm.replace(key.dnskey.algorithm) != Some(key.dnskey.algorithm) {
            expected = Some(start);
        }
        let (t, state) = (&key.timing, key.state.as_ref().expect("a state file"));
        let active = t.activate.expect("Activate");
        assert_eq!(Some(active), expected, "{}: {}", scenario.name, key.base_name());
        assert_eq!(t.publish, Some(active.minus(prepub)), "{}", scenario.name);
        assert_eq!((state.ksk, state.zsk), (Some(ksk), Some(!ksk)), "{}", scenario.name);
        assert_eq!(key.dnskey.flags, if ksk { 257 } else { 256 });
        let lifetime = state.lifetime.expect("a lifetime");
        let inactive = (lifetime != 0).then(|| active.plus(lifetime.into()));
        assert_eq!(t.inactive, inactive, "{}", scenario.name);
        let delay = if ksk { ksk_delete } else { zsk_delete };
        assert_eq!(t.delete, inactive.map(|i| i.plus(delay)), "{}", scenario.name);
        assert_eq!(t.sync_delete, inactive.filter(|_| ksk), "{}", scenario.name);
        assert_eq!(t.sync_publish.is_some(), ksk, "{}", scenario.name);
        expected = inactive;
    }
}

/// The KSR by its algorithm: a bundle at the start and at each Publish and Delete, and which keys in which order.
fn expected_ksr(
    scenario: &Scenario,
    zsks: &[KeyFile],
    (start, end): (Timestamp, Timestamp),
) -> Vec<Vec<String>> {
    let mut times: Vec<Timestamp> = zsks
        .iter()
        .flat_map(|key| [key.timing.publish, key.timing.delete])
        .flatten()
        .filter(|t| start < *t && *t <= end)
        .chain([start])
        .collect();
    times.sort();
    times.dedup();
    // In the order of the policy's entries: two-tone has 8 before 13, which is that of the numbers.
    times
        .into_iter()
        .map(|t| {
            let header = format!(";; KeySigningRequest 1.0 {t} ({})", t.ctime());
            let keys = zsks.iter().filter(|key| published(key, t));
            std::iter::once(header).chain(keys.map(|key| record(key, "DNSKEY", scenario.times.ttl))).collect()
        })
        .collect()
}

/// The SKR by its algorithm, without the base64 of signatures and the digests of CDS.
fn expected_skr(
    scenario: &Scenario,
    ksks: &[KeyFile],
    ksr: &[Vec<String>],
    end: Timestamp,
) -> Vec<Vec<String>> {
    let Times { ttl, step, validity, .. } = scenario.times;
    let stamp = |bundle: &[String]| {
        let word = bundle[0].split(' ').nth(3).expect("a time");
        Timestamp::parse_stamp(word).expect("a stamp")
    };
    let mut events: Vec<Timestamp> = ksks
        .iter()
        .flat_map(|key| {
            let t = &key.timing;
            [t.publish, t.activate, t.inactive, t.delete, t.sync_publish, t.sync_delete]
        })
        .flatten()
        .collect();
    events.sort();
    let mut out: Vec<Vec<String>> = Vec::new();
    for (i, bundle) in ksr.iter().enumerate() {
        let next = ksr.get(i + 1).map_or(end, |next| stamp(next));
        let (mut inc, mut limit) = (stamp(bundle), next);
        while inc <= next {
            let mut lines = vec![format!(";; SignedKeyResponse 1.0 {inc} ({})", inc.ctime())];
            lines.extend(ksks.iter().filter(|k| published(k, inc)).map(|k| record(k, "DNSKEY", ttl)));
            lines.extend(bundle[1..].iter().cloned());
            let signatures = |covered: &str| -> Vec<String> {
                let signs = |k: &&KeyFile| {
                    k.timing.activate.is_some_and(|a| a <= inc) && k.timing.inactive.is_none_or(|i| inc <= i)
                };
                let line = |k: &KeyFile| {
                    let (algorithm, tag) = (k.dnskey.algorithm.0, k.dnskey.tag());
                    format!(
                        "example.test. {ttl} IN RRSIG {covered} {algorithm} 2 {ttl} {} {} {tag}",
                        inc.plus(validity),
                        inc.minus(3600)
                    )
                };
                ksks.iter().filter(signs).map(line).collect()
            };
            lines.extend(signatures("DNSKEY"));
            let synced: Vec<&KeyFile> = ksks
                .iter()
                .filter(|k| {
                    k.timing.sync_publish.is_none_or(|s| s <= inc)
                        && k.timing.sync_delete.is_none_or(|s| inc < s)
                })
                .collect();
            if !synced.is_empty() {
                lines.extend(synced.iter().map(|k| record(k, "CDNSKEY", ttl)));
                lines.extend(signatures("CDNSKEY"));
                let cds = |k: &&KeyFile| {
                    format!("example.test. {ttl} IN CDS {} {} 2", k.dnskey.tag(), k.dnskey.algorithm.0)
                };
                lines.extend(synced.iter().map(cds));
                lines.extend(signatures("CDS"));
            }
            // Of two with one time the last.
            if out.last().is_some_and(|before| before[0] == lines[0]) {
                out.pop();
            }
            out.push(lines);
            let event = events.iter().find(|e| inc < **e && **e < limit).copied().unwrap_or(limit);
            // At the very end BIND's limit may be the inception itself: then only the step counts.
            let refresh = inc.plus(step);
            inc = if event > inc { refresh.min(event) } else { refresh };
            limit = inc.plus(validity);
        }
    }
    out
}

/// The words of a line of an SKR, as far as [`expected_skr`] tells them.
fn known(line: &str) -> String {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words.get(3) {
        Some(&"RRSIG") => words[..11].join(" "),
        Some(&"CDS") => words[..7].join(" "),
        _ if line.starts_with(";;") => line.to_owned(),
        _ => words.join(" "),
    }
}

/// One ceremony with `zsk` and `ksk` on the two sides.
fn hold(scenario: &Scenario, zsk: Side, ksk: Side) {
    let name = format!("{} (ZSKs {zsk:?}, KSKs {ksk:?})", scenario.name);
    let site = Site::new(scenario.policy);
    let now = clock::now();
    let (start, end) = (at(now, scenario.from), at(now, scenario.to));
    let interval = format!("-i {start} -e {end}");
    for (side, folder, words, count) in
        [(ksk, "ksk", "-o -K @ksk keygen", scenario.keys.0), (zsk, "zsk", "-K @zsk keygen", scenario.keys.1)]
    {
        let names = site.run(side, &format!("{interval} {words}")).ok();
        assert_eq!(names.lines().count(), count, "{name}: {names}");
        // Again, and by the other tool: the same names, no file touched.
        let before = site.content(folder);
        for again in [side, other(side)] {
            assert_eq!(site.run(again, &format!("{interval} {words}")).ok(), names, "{name}");
        }
        assert_eq!(site.content(folder), before, "{name}");
        check_key_files(scenario, &keys(&site, folder), start, folder == "ksk");
    }
    let request = |side: Side| {
        let no_pop = if side == Side::Ours { "--no-pop" } else { "" };
        site.run(side, &format!("{interval} {no_pop} -K @zsk request")).ok()
    };
    let ksr = request(zsk);
    assert_eq!(body(&ksr), body(&request(other(zsk))), "{name}");
    let expected = expected_ksr(scenario, &keys(&site, "zsk"), (start, end));
    let lines: Vec<String> =
        body(&ksr).lines().map(|l| if l.starts_with(";;") { l.to_owned() } else { words(l) }).collect();
    assert_eq!(lines, expected.concat(), "{name}");

    site.write("ksr", &ksr);
    let sign = |side: Side, more: &str| {
        let allow = if side == Side::Ours { format!("--allow-no-pop {more}") } else { String::new() };
        site.run(side, &format!("{interval} {allow} -K @ksk -f @ksr sign")).ok()
    };
    let plain = "--allow-unconfirmed-ksk-roll";
    let skr = sign(ksk, plain);
    let others = sign(other(ksk), plain);
    assert_eq!(bundles(&skr), bundles(&others), "{name}");
    let expected = expected_skr(scenario, &keys(&site, "ksk"), &expected, end);
    let found: Vec<Vec<String>> =
        bundles(&skr).iter().map(|b| b.iter().map(|l| known(l)).collect()).collect();
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{name}");
    }
    if scenario.name == "ksk-roll" {
        // By default ours keeps the old KSK, which still signs, in the last bundle too.
        let held = bundles(&sign(Side::Ours, ""));
        let ksks = |b: &[String]| b.iter().filter(|l| l.contains("\tDNSKEY\t257 ")).count();
        let last = |all: &[Vec<String>]| ksks(all.last().expect("a bundle"));
        assert_eq!((last(&held), last(&bundles(&skr))), (2, 1), "{name}");
    }
}

fn all_four(scenario: &Scenario) {
    for zsk in [Side::Ours, Side::Bind] {
        for ksk in [Side::Ours, Side::Bind] {
            hold(scenario, zsk, ksk);
        }
    }
}

#[test]
fn common_past_future_and_unlimited() {
    peer!("dnssec-ksr");
    SCENARIOS.iter().filter(|s| !["ksk-roll", "fast"].contains(&s.name)).for_each(all_four);
}

#[test]
fn ksk_roll() {
    peer!("dnssec-ksr");
    SCENARIOS.iter().filter(|s| s.name == "ksk-roll").for_each(all_four);
}

#[test]
fn fast() {
    peer!("dnssec-ksr");
    SCENARIOS.iter().filter(|s| s.name == "fast").for_each(all_four);
}

#[test]
fn two_tone() {
    peer!("dnssec-ksr");
    all_four(&TWO_TONE);
}

/// The wrong command lines of BIND's test: both fail, and ours says at least the same.
#[test]
fn errors() {
    peer!("dnssec-ksr");
    let site = Site::new(COMMON);
    site.write("csk", "dnssec-policy p { keys { csk lifetime P6M algorithm 13; }; };\n");
    site.write("root", ". 3600 IN DNSKEY 257 3 8 AwEAAa==\n");
    for (line, fact) in [
        ("-l @policy -k p foobar example.test", "unknown command 'foobar'"),
        ("-l @policy -k p keygen example.test", "keygen requires an end date"),
        ("-l @policy -k p request example.test", "request requires an end date"),
        ("-l @policy -k p -e never sign example.test", "sign requires an end date"),
        ("-l @csk -k p -e now+1y keygen example.test", "no keys created for policy 'p'"),
        ("-l @policy -k p -e now+1y sign example.test", "'sign' requires a KSR file"),
        ("-k p -e now+1y keygen example.test", "keygen requires a configuration file"),
        ("-l @policy -e now+1y keygen example.test", "keygen requires a dnssec-policy"),
        ("-l @policy -k p -e +1m keygen example.test", "ambiguous: use 'mi' for minutes or 'mo' for months"),
    ] {
        for side in [Side::Ours, Side::Bind] {
            let ran = site.raw(side, line);
            assert!(ran.fails().contains(fact), "{side:?} {line}: {}", ran.stderr);
        }
    }
    let line = "-e now+1y -K @ksk -f @root sign";
    assert_ne!(site.run(Side::Bind, line).code, Some(0));
    assert!(site.run(Side::Ours, line).fails().contains("root(1): "));
    // A request for more than there are keys for.
    site.run(Side::Bind, "-i 20270101 -e 20280101 -K @zsk keygen").ok();
    for side in [Side::Ours, Side::Bind] {
        let ran = site.run(side, "-i 20270101 -e 20300101 -K @zsk request");
        assert!(
            ran.fails().contains("no example.test/ECDSAP256SHA256 zsk key pair found for bundle"),
            "{}",
            ran.stderr
        );
    }
}
