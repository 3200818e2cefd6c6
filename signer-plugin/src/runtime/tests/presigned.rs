//! Zones that another signer has signed: what is served of them is what came, and only what verifies is taken.

use keystore::config::{SelfCheck, Signing, Verify};

use super::*;
use crate::answer::{Context, answer};
use crate::content::{Change, ChangeOutcome, ChangeRequest};
use crate::rules::DnssecRecords;
use crate::signing::{Denial, Nsec3, SignedZone, SigningPolicy};
use crate::testing;
use crate::zone::Zone;

const KEPT: ZoneRules =
    ZoneRules { check: keystore::config::ZoneCheck::Lenient, max_ttl: None, dnssec: DnssecRecords::Kept };

/// Names and types of all kinds of answers.
const TEXT: &str = "@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\n@ MX 10 mail\nns A 192.0.2.1\nmail AAAA 2001:db8::1\n\
    www 300 A 192.0.2.2\nwww 300 TXT t\nWww2 A 192.0.2.3\nalias CNAME www\nout CNAME www.other.\na.b.ent TXT t\n*.wild A 192.0.2.4\n\
    *.wild TXT w\nx.wild TXT x\n*.e.deep A 192.0.2.5\nold DNAME new\nwww.new A 192.0.2.6\nplain NS ns.plain\nns.plain A 192.0.2.7\n\
    safe NS ns\nsafe DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF\ncut.only NS ns\n";
const NAMES: &str = "example www.example WWW.example www2.example ns.example nothing.example a.nothing.example alias.example out.example \
    ent.example b.ent.example a.b.ent.example x.b.ent.example wild.example *.wild.example y.wild.example a.y.wild.example x.wild.example \
    z.x.wild.example deep.example e.deep.example q.e.deep.example old.example www.old.example no.old.example plain.example ns.plain.example \
    x.plain.example safe.example x.safe.example only.example cut.only.example x.cut.only.example x.only.example zzz.example 0.example";

fn denials() -> [Denial; 4] {
    let nsec3 = |iterations, opt_out, salt: &[u8]| {
        Denial::Nsec3(Nsec3::new(iterations, opt_out).with_salt(salt.into()))
    };
    [Denial::Nsec, nsec3(0, false, b""), nsec3(7, false, b"\x01\x02\xff"), nsec3(1, true, b"salt")]
}

fn signed_text(text: &str, denial: &Denial) -> (SignedZone, String) {
    let zone = testing::zone("example", text).unwrap();
    let policy = SigningPolicy { denial: denial.clone(), zonemd: true, ..testing::POLICY };
    let signed = testing::signed_by(zone, &policy).unwrap();
    let written = written(&signed);
    (signed, written)
}

fn written(signed: &SignedZone) -> String {
    let mut out = Vec::new();
    signed.write_to(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The lines in one order: NSEC3 records stand elsewhere in a zone that came with them.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn presigned(text: &str) -> Zone {
    testing::zone_by_rules("example", text, KEPT).unwrap()
}

#[test]
fn answers_and_transfers_of_a_presigned_zone_are_those_of_the_server_that_signed_it() {
    for denial in denials() {
        let (made, text) = signed_text(TEXT, &denial);
        let given = SignedZone::given(&Arc::new(presigned(&text)), 7, None, testing::NOW);
        assert!(sorted(&written(&given)) == sorted(&text), "{denial:?}");
        assert_eq!(given.record_count(), made.record_count(), "{denial:?}");
        assert_eq!(
            given.earliest_zsk_expiration(),
            made.earliest_zsk_expiration().min(made.earliest_ksk_expiration())
        );
        // The owner of an NSEC3 record and what is below it do not exist.
        let hashed: Vec<&str> = text.lines().filter(|line| line.contains("\tNSEC3\t")).take(2).collect();
        let hashed = hashed.iter().filter_map(|line| line.split('\t').next()).map(|owner| owner.to_owned());
        let below: Vec<String> = hashed.flat_map(|owner| [format!("x.{owner}"), owner]).collect();
        let names = NAMES.split_ascii_whitespace().chain(below.iter().map(String::as_str));
        for qname in names {
            for rtype in [1, 2, 5, 6, 15, 16, 28, 39, 43, 46, 47, 48, 50, 51, 59, 63, 255] {
                for dnssec_ok in [0x80, 0] {
                    let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
                    query.extend_from_slice(Name::parse(qname).unwrap().as_wire());
                    query.extend_from_slice(&[0, rtype, 0, 1, 0, 0, 41, 0x10, 0, 0, 0, dnssec_ok, 0, 0, 0]);
                    let context =
                        Context { arrival: Arrival::new(Transport::Stream, 1232), now: testing::NOW };
                    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                    answer(&made, &query, &context, &mut theirs);
                    answer(&given, &query, &context, &mut ours);
                    let records = |octets: &[u8]| {
                        let reply = MessageParts::read(octets).unwrap();
                        let all = |rrs: &[Rr]| {
                            let mut all: Vec<_> = rrs
                                .iter()
                                .map(|rr| {
                                    (rr.owner.to_string().to_lowercase(), rr.rtype, rr.ttl, rr.rdata.clone())
                                })
                                .collect();
                            all.sort();
                            all
                        };
                        // Which one of all RRsets answers ANY or RRSIG is free.
                        let answers =
                            if matches!(rtype, 46 | 255) { Vec::new() } else { all(&reply.answers) };
                        (reply.flags, answers, all(&reply.authorities), all(&reply.additionals))
                    };
                    assert_eq!(records(&ours), records(&theirs), "{denial:?} {qname} {rtype} {dnssec_ok}");
                }
            }
        }
    }
}

#[test]
fn next_version_of_a_presigned_zone_is_the_one_that_is_made_of_all_its_records() {
    for denial in denials() {
        let (_, first) = signed_text(TEXT, &denial);
        let base = Arc::new(presigned(&first));
        let mut before = SignedZone::given(&base, 7, None, testing::NOW);
        for (serial, edit) in [(8, "new1 A 192.0.2.9\n"), (9, "q.new2 TXT t\nwww.old2 NS ns\n"), (10, "")] {
            let text = format!("{TEXT}{edit}").replace("admin 7", &format!("admin {serial}"));
            let (_, text) = signed_text(&text, &denial);
            let whole = Arc::new(presigned(&text));
            let next = Arc::new(before.zone().succeeded_by(&whole).expect("few names differ"));
            let by_parts = SignedZone::given(&next, serial, Some(&before), testing::NOW);
            let by_all = SignedZone::given(&next, serial, None, testing::NOW);
            assert_eq!(sorted(&written(&by_parts)), sorted(&text), "{denial:?} {serial}");
            assert_eq!(by_parts.earliest_zsk_expiration(), by_all.earliest_zsk_expiration());
            let members = |version: &SignedZone| version.members_from(0).collect::<Vec<_>>();
            assert_eq!(members(&by_parts), members(&by_all), "{denial:?} {serial}");
            before = by_parts;
        }
    }
}

fn zone_of(site: &Site, verify: Verify, source: ContentSource, anchors: Vec<TrustAnchor>) -> ZoneRuntime {
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    let versions = VersionRules {
        signing: Signing::Presigned(verify),
        zonemd: false,
        zonemd_interval: 0,
        self_check: SelfCheck::Auto,
    };
    let setup = ZoneSetup { versions, source, anchors, rules: KEPT, ..site.setup() };
    ZoneRuntime::new(setup, site.metrics.clone(), Arc::new(served))
}

fn file(site: &Site) -> ContentSource {
    ContentSource::File(site.path("zone"))
}

fn conditions(zone: &ZoneRuntime) -> Vec<(ConditionId, String)> {
    zone.served().state().conditions.into_iter().map(|condition| (condition.id, condition.cause)).collect()
}

/// Serial 7 in place, another one with this serial and text in the file.
fn text_of(serial: u32, denial: &Denial) -> String {
    signed_text(&TEXT.replace("admin 7", &format!("admin {serial}")), denial).1
}

#[test]
fn a_version_that_does_not_verify_is_not_taken_and_what_is_served_stays() {
    let spoil = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let without = |text: &str, what: &str| -> String {
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.contains(what)).expect(what);
        lines.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, line)| format!("{line}\n")).collect()
    };
    for denial in denials() {
        let nsec = if denial == Denial::Nsec { "\tNSEC\t" } else { "\tNSEC3\t" };
        let good = text_of(8, &denial);
        let bad = [
            ("another address", spoil(&good, "192.0.2.2", "192.0.2.99"), "does not verify"),
            ("no signature", without(&good, "RRSIG\tTXT"), "no valid signature"),
            ("no denial record", without(&good, nsec), "8 does not verify"),
            (
                "no keys",
                good.lines().filter(|l| !l.contains("\tDNSKEY\t")).map(|l| format!("{l}\n")).collect(),
                "none at its apex",
            ),
            ("a name that nobody signed", format!("{good}more A 192.0.2.8\n"), "no valid signature"),
            ("the same serial", text_of(7, &denial).replace("192.0.2.1", "192.0.2.77"), "not later than 7"),
            ("an earlier serial", text_of(6, &denial), "not later than 7"),
            ("no signature at all", TEXT.replace("admin 7", "admin 8"), "8 does not verify"),
        ];
        let site = Site::new();
        site.write("zone", &text_of(7, &denial));
        let mut now = testing::NOW;
        let mut zone = zone_of(&site, Verify::Refuse, file(&site), Vec::new());
        site.step(&mut zone, now);
        assert_eq!((serial(&zone), conditions(&zone), site.signed()), (7, Vec::new(), true), "{denial:?}");
        let before = ask(&zone, "www.example.", Rtype::A).answers;
        for (what, text, cause) in bad {
            site.write("zone", &text);
            for _ in 0..3 {
                now = now.plus(2);
                site.step(&mut zone, now);
            }
            assert_eq!(ask(&zone, "www.example.", Rtype::A).answers, before, "{denial:?}: {what}");
            let [(ConditionId::SignerNotVerified, said)] = &conditions(&zone)[..] else {
                panic!("{denial:?}: {what}: {:?}", conditions(&zone));
            };
            assert!(said.contains(cause), "{denial:?}: {what}: {said}");
        }
        assert!(site.signed(), "what is served is in order");
        site.write("zone", &good);
        for _ in 0..3 {
            now = now.plus(2);
            site.step(&mut zone, now);
        }
        assert_eq!((serial(&zone), conditions(&zone)), (8, Vec::new()), "{denial:?}");
        // The version is there after a restart, also where the file is not.
        zone.close();
        drop(zone);
        fs::remove_file(site.path("zone")).unwrap();
        let mut zone = zone_of(&site, Verify::Refuse, file(&site), Vec::new());
        site.step(&mut zone, now.plus(60));
        assert_eq!(serial(&zone), 8);
        assert_eq!(sorted(&written(&zone.served().signed().unwrap())), sorted(&good), "{denial:?}");
    }
}

#[test]
fn trust_anchors_and_the_time_decide_too_and_warn_serves_what_does_not_verify() {
    let anchors = vec![TrustAnchor::Dnskey(testing::keys().0.dnskey.clone())];
    let foreign = SkrBuilder::new(ZONE, start()).anchors();
    let first = text_of(7, &Denial::Nsec);
    let late = testing::NOW.plus(15 * DAY);
    for (what, anchors, verify, now, is_served, has_condition) in [
        ("its own KSK", anchors.clone(), Verify::Refuse, testing::NOW, true, false),
        ("another KSK", foreign.clone(), Verify::Refuse, testing::NOW, false, true),
        ("another KSK", foreign, Verify::Warn, testing::NOW, true, true),
        ("expired", anchors.clone(), Verify::Refuse, late, false, true),
        ("not yet valid", anchors, Verify::Refuse, testing::NOW.minus(DAY), false, true),
    ] {
        let site = Site::new();
        site.write("zone", &first);
        let mut zone = zone_of(&site, verify, file(&site), anchors);
        site.step(&mut zone, now);
        assert_eq!(zone.served().signed().is_some(), is_served, "{what} {verify:?}");
        assert_eq!(conditions(&zone).len(), usize::from(has_condition), "{what} {verify:?}");
        let failed = site.metrics.zone_self_checks_total.with_label_values(&[ZONE, "failed"]).get();
        assert_eq!(failed, u64::from(has_condition), "{what} {verify:?}");
        if !is_served {
            assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode(), SERVFAIL);
            // It is looked at again after a while, by the time that it is then.
            let due = site.step(&mut zone, now.plus(1));
            assert!(due <= now.plus(3600), "{what}: {due}");
        }
    }
}

#[test]
fn a_presigned_zone_is_watched_for_the_end_of_its_signatures() {
    let site = Site::new();
    site.write("zone", &text_of(7, &Denial::Nsec3(Nsec3::new(0, false))));
    let mut zone = zone_of(&site, Verify::Refuse, file(&site), Vec::new());
    site.step(&mut zone, testing::NOW);
    let state = zone.served().state();
    let end = state.zsk_expires.expect("it ends");
    assert_eq!(end, zone.served().signed().unwrap().earliest_zsk_expiration());
    // A twelfth of the two weeks and an hour of the signatures is left when it is told, and a third more is reckoned with.
    let twelfth = (14 * DAY + HOUR) / 12;
    assert!((twelfth..twelfth * 4 / 3 + 4).contains(&u64::from(state.refresh)), "{}", state.refresh);
    let series =
        site.metrics.zone_rrsig_earliest_expiration_timestamp_seconds.with_label_values(&[ZONE, "zsk"]);
    assert_eq!(series.get(), end.secs().cast_signed());
    assert_eq!(site.gauge(&site.metrics.policy_signature_refresh_seconds), i64::from(state.refresh));
    // What has expired is not served.
    site.step(&mut zone, end);
    assert!(site.signed());
    site.step(&mut zone, end.plus(1));
    assert!(!site.signed() && !zone.served().state().validly_signed);
    site.step(&mut zone, end.plus(7 * DAY));
    assert_eq!(ask(&zone, "www.example.", Rtype::A).rcode(), SERVFAIL);
    let family = "offlineksk_signer_skr_generation{";
    assert!(!site.metrics.encode().unwrap().contains(family), "it has no SKR");
}

#[test]
fn content_from_a_primary_that_does_not_verify_waits_and_the_next_that_does_is_served() {
    let site = Site::new();
    let mut zone = zone_of(&site, Verify::Refuse, ContentSource::Primaries, Vec::new());
    site.step(&mut zone, testing::NOW);
    let mut time = testing::NOW;
    let mut hand_over = |zone: &mut ZoneRuntime, text: &str| {
        let (told, outcome) = std::sync::mpsc::channel();
        zone.served().changes().submit(ChangeRequest {
            change: Change::Whole(Box::new(presigned(text))),
            reply: Box::new(move |outcome| told.send(outcome).unwrap()),
        });
        time = time.plus(5);
        site.time.store(time.secs(), Ordering::SeqCst);
        zone.take_changes_between_steps(time);
        outcome.try_recv().unwrap()
    };
    let version = |serial| text_of(serial, &Denial::Nsec3(Nsec3::new(1, true).with_salt([7].into())));
    assert_eq!(hand_over(&mut zone, &version(7)), ChangeOutcome::Served { serial: 7 });
    let bad = version(8).replacen("192.0.2.2", "192.0.2.99", 1);
    assert_eq!(hand_over(&mut zone, &bad), ChangeOutcome::Kept);
    assert_eq!((serial(&zone), conditions(&zone).len()), (7, 1));
    let good = version(9);
    assert_eq!(hand_over(&mut zone, &good), ChangeOutcome::Served { serial: 9 });
    assert_eq!((serial(&zone), conditions(&zone).len()), (9, 0));
    assert_eq!(
        hand_over(&mut zone, &bad.replace("admin.example. 8", "admin.example. 10")),
        ChangeOutcome::Kept
    );
    // A restart finds the content that waits, and the version that is served.
    zone.close();
    drop(zone);
    let mut zone = zone_of(&site, Verify::Refuse, ContentSource::Primaries, Vec::new());
    site.step(&mut zone, testing::NOW.plus(60));
    assert_eq!((serial(&zone), conditions(&zone).len()), (9, 1));
    assert!(sorted(&written(&zone.served().signed().unwrap())) == sorted(&good), "other records");
}

#[test]
fn changes_of_a_large_presigned_zone_go_to_the_journals_and_are_there_after_a_restart() {
    let hosts: String = (0..1200).map(|n| format!("h{n} TXT \"{}\"\n", "x".repeat(80))).collect();
    let site = Site::new();
    let source = || ContentSource::Primaries;
    let mut zone = zone_of(&site, Verify::Refuse, source(), Vec::new());
    site.step(&mut zone, testing::NOW);
    let first = testing::zone("example", &format!("{TEXT}{hosts}")).unwrap();
    let denial = Denial::Nsec3(Nsec3::new(0, false));
    let policy = SigningPolicy { denial, ..testing::POLICY };
    let mut made = testing::signed_by(first, &policy).unwrap();
    let mut time = testing::NOW;
    let mut last = String::new();
    for (serial, edit) in [(7, ""), (8, "n8 A 192.0.2.9\n"), (9, "n9 A 192.0.2.9\nq.n8 TXT t\n")] {
        let text = format!("{TEXT}{hosts}{edit}").replace("admin 7", &format!("admin {serial}"));
        // As a signer that keeps the signatures of what did not change.
        let zone_now = Arc::new(testing::zone("example", &text).unwrap());
        let (ksk, zsk) = testing::keys();
        let bundle = testing::bundle(zone_now.origin(), ksk, &[zsk], testing::NOW, 30 * DAY);
        let zsk = std::slice::from_ref(zsk);
        made = crate::signing::sign(&zone_now, &bundle, zsk, &policy, serial, Some(&made), testing::NOW)
            .unwrap();
        last = written(&made);
        let (told, outcome) = std::sync::mpsc::channel();
        let whole = presigned(&last);
        let change = match zone.served().content() {
            None => Change::Whole(Box::new(whole)),
            Some(from) => {
                let most = from.name_count() + whole.name_count();
                let change = crate::zone::ContentChange::between(&from, &whole, most).unwrap();
                assert!(change.names.len() < 20, "{}", change.names.len());
                Change::Difference { from, change }
            }
        };
        let reply = Box::new(move |outcome| told.send(outcome).unwrap());
        zone.served().changes().submit(ChangeRequest { change, reply });
        time = time.plus(5);
        site.time.store(time.secs(), Ordering::SeqCst);
        zone.take_changes_between_steps(time);
        assert_eq!(outcome.try_recv().unwrap(), ChangeOutcome::Served { serial });
    }
    for name in ["changes", "content-changes"] {
        let len = fs::metadata(site.path("zones/example.").join(name)).unwrap().len();
        assert!(len < 20_000, "{name}: {len}");
    }
    zone.close();
    drop(zone);
    let mut zone = zone_of(&site, Verify::Refuse, source(), Vec::new());
    assert!(zone.restore(time), "the version is found on disk");
    assert!(sorted(&written(&zone.served().signed().unwrap())) == sorted(&last), "other records");
    site.step(&mut zone, time.plus(1));
    assert_eq!((serial(&zone), conditions(&zone)), (9, Vec::new()));
}

#[test]
fn one_signature_in_time_is_enough_and_iterations_that_no_resolver_takes_are_refused() {
    let site = Site::new();
    let text = written(&testing::signed(testing::zone("example", TEXT).unwrap()));
    // Signed by the same keys for two days alone.
    let times = SigningTimes { validity: 2 * DAY as u32, refresh: DAY as u32, jitter: 0 };
    let policy = SigningPolicy { times, ..testing::POLICY };
    let short = written(&testing::signed_by(testing::zone("example", TEXT).unwrap(), &policy).unwrap());
    let is_of_www = |line: &&str| line.starts_with("www.example.") && line.contains("\tRRSIG\tA ");
    let leftover = short.lines().find(is_of_www).unwrap();
    site.write("zone", &format!("{text}{leftover}\n"));
    let mut zone = zone_of(&site, Verify::Refuse, file(&site), Vec::new());
    site.step(&mut zone, testing::NOW);
    assert_eq!(conditions(&zone), Vec::new());
    for (now, count) in [(testing::NOW, 3), (testing::NOW.plus(3 * DAY), 2)] {
        site.step(&mut zone, now);
        let reply = ask(&zone, "www.example.", Rtype::A);
        assert_eq!((reply.rcode(), reply.answers.len()), (0, count), "{now}");
    }
    for (iterations, is_taken) in [(150, true), (151, false), (2500, false)] {
        let site = Site::new();
        site.write("zone", &text_of(7, &Denial::Nsec3(Nsec3::new(iterations, false))));
        let mut zone = zone_of(&site, Verify::Refuse, file(&site), Vec::new());
        site.step(&mut zone, testing::NOW);
        assert_eq!(zone.served().signed().is_some(), is_taken, "{iterations}");
        let named = conditions(&zone).iter().any(|(_, cause)| cause.contains("iterations"));
        assert_eq!(named, !is_taken, "{iterations}: {:?}", conditions(&zone));
    }
}

#[test]
fn content_that_came_when_the_zone_was_of_another_kind_is_none_of_a_presigned_zone() {
    let site = Site::new();
    let text = text_of(7, &Denial::Nsec);
    let unsigned = VersionRules { signing: Signing::Unsigned, ..VersionRules::default() };
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    let setup = ZoneSetup { versions: unsigned, source: ContentSource::Primaries, ..site.setup() };
    let mut zone = ZoneRuntime::new(setup, site.metrics.clone(), Arc::new(served));
    site.step(&mut zone, testing::NOW);
    let submit = |zone: &mut ZoneRuntime, content: Zone| {
        let (told, outcome) = std::sync::mpsc::channel();
        let reply = Box::new(move |outcome| told.send(outcome).unwrap());
        zone.served().changes().submit(ChangeRequest { change: Change::Whole(Box::new(content)), reply });
        site.time.store(testing::NOW.secs(), Ordering::SeqCst);
        zone.take_changes_between_steps(testing::NOW);
        outcome.try_recv().unwrap()
    };
    let stripped = testing::zone("example", TEXT).unwrap();
    assert_eq!(submit(&mut zone, stripped), ChangeOutcome::Served { serial: 7 });
    // What was asked for before a change of the kind is not taken after it.
    assert_eq!(submit(&mut zone, presigned(&text)), ChangeOutcome::Stale);
    zone.close();
    drop(zone);
    let mut zone = zone_of(&site, Verify::Refuse, ContentSource::Primaries, Vec::new());
    site.step(&mut zone, testing::NOW.plus(1));
    // It stays served as it was, and its primary is asked for all of it.
    assert_eq!((serial(&zone), zone.served().content().is_none()), (7, true));
    let next = presigned(&text_of(8, &Denial::Nsec));
    assert_eq!(submit(&mut zone, next), ChangeOutcome::Served { serial: 8 });
    assert_eq!(conditions(&zone), Vec::new());
}
