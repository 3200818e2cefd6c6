//! The edges of each decision, with facts made by hand.

use std::path::PathBuf;
use std::sync::Arc;

use crate::condition::{ConditionId, Severity};
use keystore::dns::Name;
use keystore::time::Timestamp;

use super::judge;
use crate::health::facts::{
    Alarm, BundleFacts, BundleKey, ComponentFacts, ComponentState, Disk, HealthFacts, ImportFacts,
    ImportResult, KeySetFacts, RequestFacts, ScheduleFacts, Thresholds, ZoneFacts,
};
use crate::health::model::{Health, Since};
use crate::health::report::{
    CertificateReport, Component, ComponentReport, Delivery, EndpointReport, ServedReport, SignerWork,
    TimerLook,
};
use crate::health::words::DAY;

const LIMITS: Thresholds =
    Thresholds { info: 30 * DAY, warning: 14 * DAY, critical: 3 * DAY, lead: 60 * DAY };
const ZSK: BundleKey = BundleKey { tag: 7, algorithm: 13, is_ksk: false };

fn at(days: u64) -> Timestamp {
    Timestamp::from_secs(1_900_000_000 / DAY * DAY + days * DAY)
}

/// Bundles from day to day.
fn zone(bundles: &[(u64, u64)]) -> ZoneFacts {
    let bundle =
        |(from, to): &(u64, u64)| BundleFacts { inception: at(*from), expiration: at(*to), keys: vec![ZSK] };
    let mut zone = ZoneFacts::new(Name::parse("example.").expect("a name"), LIMITS);
    if !bundles.is_empty() {
        Arc::make_mut(&mut zone.store).schedule =
            Some(ScheduleFacts { generation: 1, bundles: bundles.iter().map(bundle).collect() });
    }
    Arc::make_mut(&mut zone.keys).keys =
        vec![KeySetFacts { key: ZSK, timing: keystore::keys::Timing::default() }];
    zone
}

fn look(zone: ZoneFacts, now: Timestamp) -> Health {
    look_after(zone, &Since::default(), now)
}

fn look_after(zone: ZoneFacts, before: &Since, now: Timestamp) -> Health {
    let report = ComponentReport::new(Component::Signer, at(0), now);
    let state = ComponentState::Reported(Box::new(report));
    let components = vec![ComponentFacts { component: Component::Signer, expected: true, state }];
    judge(&HealthFacts { components, zones: vec![zone], ..HealthFacts::default() }, before, now)
}

fn found(health: &Health) -> Vec<(ConditionId, Severity)> {
    health.zones[0].conditions.iter().map(|condition| (condition.id, condition.severity)).collect()
}

#[test]
fn coverage_gets_urgent_at_its_thresholds_to_the_second() {
    use ConditionId::{CoverageEndsSoon, CoverageNever, CoverageNone};
    let end = at(100);
    for (left, want) in [
        (30 * DAY, None),
        (30 * DAY - 1, Some((CoverageEndsSoon, Severity::Attention))),
        (14 * DAY, Some((CoverageEndsSoon, Severity::Attention))),
        (14 * DAY - 1, Some((CoverageEndsSoon, Severity::Warning))),
        (3 * DAY, Some((CoverageEndsSoon, Severity::Warning))),
        (3 * DAY - 1, Some((CoverageEndsSoon, Severity::Critical))),
        (1, Some((CoverageEndsSoon, Severity::Critical))),
    ] {
        let health = look(zone(&[(0, 100)]), end.minus(left));
        assert_eq!(found(&health).first().copied(), want, "{left} seconds left");
        assert!(health.zones[0].covered);
    }
    let health = look(zone(&[(0, 100)]), end.plus(1));
    assert_eq!(found(&health), [(CoverageNone, Severity::Critical)]);
    assert_eq!(health.zones[0].conditions[0].since, Some(end), "since the end, not since somebody looked");
    assert_eq!(found(&look(zone(&[(10, 100)]), at(9))), [(CoverageNone, Severity::Critical)]);
    assert_eq!(found(&look(zone(&[]), at(0))), [(CoverageNever, Severity::Warning)]);
    assert_eq!(look(zone(&[]), at(0)).zones[0].coverage_end, None, "never is no time");
}

#[test]
fn hole_is_told_before_it_comes_and_in_it() {
    let bundles = [(0, 50), (60, 400)];
    for (now, want) in [
        (at(5), vec![(ConditionId::CoverageGap, Severity::Attention)]),
        (at(21), vec![(ConditionId::CoverageGap, Severity::Warning)]),
        (at(44), vec![(ConditionId::CoverageGap, Severity::Critical)]),
        (at(55), vec![(ConditionId::CoverageNone, Severity::Critical)]),
        (at(60), vec![]),
    ] {
        assert_eq!(found(&look(zone(&bundles), now)), want, "{now}");
    }
}

#[test]
fn rejected_drop_goes_with_a_later_one_and_is_less_urgent_with_much_coverage() {
    let import = |days, result| ImportFacts {
        time: at(days),
        result,
        file: Some("a.skr".to_owned()),
        generation: Some(1),
        checks: vec![],
        forced: vec![],
        by: None,
    };
    for (results, now, want) in [
        (vec![ImportResult::Rejected], 10, Some(Severity::Attention)),
        (vec![ImportResult::Rejected], 75, Some(Severity::Warning)),
        (vec![ImportResult::Rejected, ImportResult::Unchanged], 10, None),
        (vec![ImportResult::Rejected, ImportResult::Accepted], 10, None),
        (vec![ImportResult::Rejected, ImportResult::RolledBack], 10, None),
        (vec![ImportResult::Rejected, ImportResult::Acknowledged], 10, None),
        (
            vec![ImportResult::Rejected, ImportResult::Acknowledged, ImportResult::Rejected],
            10,
            Some(Severity::Attention),
        ),
        (vec![ImportResult::Accepted, ImportResult::Rejected], 10, Some(Severity::Attention)),
    ] {
        let mut zone = zone(&[(0, 100)]);
        zone.imports = results.iter().map(|result| import(5, *result)).collect();
        let severity = found(&look(zone, at(now)))
            .into_iter()
            .find(|(id, _)| *id == ConditionId::ImportRejected)
            .map(|(_, s)| s);
        assert_eq!(severity, want, "{results:?} on day {now}");
    }
}

#[test]
fn request_is_as_urgent_as_the_coverage_and_one_that_is_due_is_overdue_after_an_hour() {
    let request = RequestFacts {
        path: PathBuf::from("x.ksr"),
        start: at(0),
        end: at(200),
        written: at(40),
        sha256: [0; 32],
    };
    for (now, severity) in [
        (45, Severity::Attention),
        (80, Severity::Attention),
        (90, Severity::Warning),
        (98, Severity::Critical),
    ] {
        let mut zone = zone(&[(0, 100)]);
        zone.has_timer = true;
        zone.requests = [request.clone()].into();
        let found = found(&look(zone, at(now)));
        assert!(found.contains(&(ConditionId::RequestWaits, severity)), "day {now}: {found:?}");
    }
    let due = at(40);
    for (now, error, want) in [
        (due.plus(3600), None, None),
        (due.plus(3601), None, Some(Severity::Warning)),
        (due.minus(DAY), Some("no key"), Some(Severity::Warning)),
        (at(98), None, Some(Severity::Critical)),
    ] {
        let mut zone = zone(&[(0, 100)]);
        zone.has_timer = true;
        zone.report.timer = Some(TimerLook { error: error.map(str::to_owned), ..TimerLook::default() });
        let severity = found(&look(zone, now))
            .into_iter()
            .find(|(id, _)| *id == ConditionId::RequestOverdue)
            .map(|(_, s)| s);
        assert_eq!(severity, want, "{now} {error:?}");
    }
}

#[test]
fn zsk_without_private_part_is_urgent_by_when_it_has_to_sign() {
    let late = BundleKey { tag: 9, ..ZSK };
    for (first, want) in [
        (10, Some(Severity::Critical)),
        (12, Some(Severity::Critical)),
        (13, Some(Severity::Warning)),
        (39, Some(Severity::Warning)),
        (40, Some(Severity::Attention)),
        (0, None),
    ] {
        let mut zone = zone(&[(0, 200), (first.max(1), 201)]);
        let schedule = Arc::make_mut(&mut zone.store).schedule.as_mut().expect("a schedule");
        if first > 0 {
            schedule.bundles[1].keys.push(late);
        }
        Arc::make_mut(&mut zone.keys).without_private = vec![(PathBuf::from("K.key"), late)];
        let severity = found(&look(zone, at(10)))
            .into_iter()
            .find(|(id, _)| *id == ConditionId::KeyZskMissing)
            .map(|(_, s)| s);
        assert_eq!(severity, want, "first listed on day {first}");
    }
    // An empty key folder says nothing where others sign, and everything where this host does.
    let mut empty = zone(&[(0, 200)]);
    Arc::make_mut(&mut empty.keys).keys.clear();
    assert_eq!(found(&look(empty.clone(), at(1))), []);
    empty.is_served = true;
    empty.report.served =
        Some(ServedReport { loaded: true, validly_signed: true, generation: 1, ..ServedReport::default() });
    assert_eq!(found(&look(empty, at(1))), [(ConditionId::KeyZskMissing, Severity::Critical)]);
}

#[test]
fn signature_is_late_below_three_quarters_of_refresh() {
    let now = at(1);
    for (left, want) in [
        (5 * DAY / 4 * 3, None),
        (5 * DAY / 4 * 3 - 1, Some(Severity::Warning)),
        (DAY, Some(Severity::Warning)),
        (DAY - 1, Some(Severity::Critical)),
        (0, Some(Severity::Critical)),
    ] {
        let mut zone = zone(&[(0, 200)]);
        zone.is_served = true;
        zone.report.served = Some(ServedReport {
            loaded: true,
            validly_signed: true,
            generation: 1,
            zsk_expires: Some(now.plus(left)),
            refresh_seconds: 5 * DAY,
            ..ServedReport::default()
        });
        assert_eq!(
            found(&look(zone, now)).first().map(|(_, severity)| *severity),
            want,
            "{left} seconds left"
        );
    }
}

#[test]
fn what_lasts_gets_more_urgent_and_keeps_its_beginning() {
    let unproven = || {
        let mut zone = zone(&[(0, 200)]);
        zone.report.deliveries = vec![Delivery {
            target: "ns1".to_owned(),
            up: true,
            current: false,
            generation: 0,
            last_proof: None,
            cause: Some("refused".to_owned()),
        }];
        zone
    };
    let first = look(unproven(), at(1));
    assert_eq!(found(&first), [(ConditionId::DeliveryUnproven, Severity::Attention)]);
    let since = Since::parse(&first.since().to_text());
    for (seconds, severity) in [(599, Severity::Attention), (600, Severity::Warning)] {
        let health = look_after(unproven(), &since, at(1).plus(seconds));
        assert_eq!(found(&health), [(ConditionId::DeliveryUnproven, severity)], "after {seconds} seconds");
        assert_eq!(health.zones[0].conditions[0].since, Some(at(1)));
    }
    let what = &first.zones[0].conditions[0].what;
    assert!(what.contains("ns1") && what.contains("refused"), "the cause is told: {what}");
}

#[test]
fn component_is_told_as_running_silent_or_stopped() {
    let now = at(1);
    let facts = |state, expected| {
        let components = vec![ComponentFacts { component: Component::SkrLoader, expected, state }];
        judge(&HealthFacts { components, ..HealthFacts::default() }, &Since::default(), now)
    };
    let ids = |health: &Health| health.conditions.iter().map(|c| c.id).collect::<Vec<_>>();
    let reported = |written| {
        ComponentState::Reported(Box::new(ComponentReport {
            written,
            ..ComponentReport::new(Component::SkrLoader, at(0), now)
        }))
    };
    assert_eq!(ids(&facts(reported(now), true)), []);
    assert_eq!(ids(&facts(reported(now.minus(3600)), true)), [ConditionId::LoaderNotRunning]);
    assert_eq!(ids(&facts(reported(now.plus(3600)), true)), [ConditionId::LoaderNotRunning]);
    assert_eq!(ids(&facts(ComponentState::Silent, true)), [ConditionId::LoaderNotRunning]);
    assert_eq!(ids(&facts(ComponentState::Silent, false)), []);
    let ended = || ComponentState::Ended(Box::new(ComponentReport::new(Component::SkrLoader, at(0), now)));
    assert_eq!(ids(&facts(ended(), true)), [ConditionId::LoaderNotRunning]);
    assert_eq!(ids(&facts(ended(), false)), []);
    let unreadable = facts(ComponentState::Unreadable("x: no".to_owned()), true);
    assert_eq!(ids(&unreadable), [ConditionId::HealthUnreadable]);
    assert!(facts(ComponentState::Silent, true).not_ready().count() == 1);
}

#[test]
fn disk_is_full_by_octets_and_files_and_stays_so_until_there_is_a_fifth_more() {
    const MIB: u64 = 1 << 20;
    let disk =
        |free, size, free_files, files| Disk { folder: PathBuf::from("/s"), free, size, free_files, files };
    let severity = |disk: Disk, before: &Since| {
        let mut facts = HealthFacts::default();
        facts.host.disks = vec![disk];
        judge(&facts, before, at(1)).conditions.first().map(|condition| condition.severity)
    };
    let never = Since::default();
    for (disk, want) in [
        (disk(64 * MIB - 1, 1 << 40, 0, 0), Some(Severity::Critical)),
        (disk(64 * MIB, 1 << 40, 0, 0), Some(Severity::Warning)),
        (disk(256 * MIB, 2 << 30, 0, 0), None),
        (disk(1 << 30, 20 << 30, 0, 0), Some(Severity::Warning)),
        (disk(11 << 30, 1 << 40, 0, 0), None),
        (disk(1 << 40, 1 << 41, 99, 10_000), Some(Severity::Critical)),
        (disk(1 << 40, 1 << 41, 100, 10_000), None),
    ] {
        assert_eq!(severity(disk.clone(), &never), want, "{disk:?}");
    }
    let mut facts = HealthFacts::default();
    facts.host.disks = vec![disk(255 * MIB, 2 << 30, 0, 0)];
    let before = judge(&facts, &never, at(0)).since();
    assert_eq!(severity(disk(260 * MIB, 2 << 30, 0, 0), &before), Some(Severity::Warning));
    assert_eq!(severity(disk(310 * MIB, 2 << 30, 0, 0), &before), None);
}

#[test]
fn clock_of_1970_and_a_clock_behind_the_files_are_wrong() {
    for (now, latest, wrong) in [
        (Timestamp::EPOCH, None, true),
        (at(1), None, false),
        (at(1), Some(at(1).plus(120)), false),
        (at(1), Some(at(1).plus(121)), true),
    ] {
        let mut facts = HealthFacts { zones: vec![zone(&[(0, 100)])], ..HealthFacts::default() };
        facts.host.latest_known = latest;
        let health = judge(&facts, &Since::default(), now);
        assert_eq!(health.conditions.iter().any(|c| c.id == ConditionId::ClockWrong), wrong, "{now}");
        assert!(!wrong || health.severity == Severity::Critical);
    }
}

#[test]
fn zones_stand_with_the_worst_first() {
    let named = |name: &str, bundles: &[(u64, u64)]| ZoneFacts {
        name: Name::parse(name).expect("a name"),
        ..zone(bundles)
    };
    let zones = vec![
        named("a.", &[(0, 300)]),
        named("b.", &[(0, 20)]),
        named("c.", &[(0, 5)]),
        named("d.", &[(0, 200)]),
    ];
    let health = judge(&HealthFacts { zones, ..HealthFacts::default() }, &Since::default(), at(10));
    let order: Vec<&str> = health.zones.iter().map(|zone| zone.zone.as_str()).collect();
    assert_eq!(order, ["c.", "b.", "d.", "a."]);
    assert_eq!((health.totals.critical, health.totals.warning, health.totals.ok), (1, 1, 2));
}

#[test]
fn files_of_transfers_that_cannot_be_read_are_conditions_of_their_own() {
    let error = || Some("no such file".to_owned());
    for (queries, subject) in [
        (EndpointReport { error: error(), ..EndpointReport::default() }, "files of queries"),
        (EndpointReport { shown_error: error(), ..EndpointReport::default() }, "certificates for primaries"),
        (
            EndpointReport { authorities_error: error(), ..EndpointReport::default() },
            "authorities of transfers",
        ),
    ] {
        let now = at(0);
        let mut report = ComponentReport::new(Component::SkrLoader, now, now);
        report.queries = Some(queries);
        let state = ComponentState::Reported(Box::new(report));
        let components = vec![ComponentFacts { component: Component::SkrLoader, expected: true, state }];
        let health = judge(&HealthFacts { components, ..HealthFacts::default() }, &Since::default(), now);
        let found: Vec<_> =
            health.conditions.iter().map(|c| (c.id, c.severity, c.subject.as_deref())).collect();
        assert_eq!(found, [(ConditionId::ConfigRejected, Severity::Warning, Some(subject))]);
    }
}

#[test]
fn certificate_is_urgent_by_its_life_and_by_the_days_that_are_left() {
    let severity = |life: u64, left: i64| {
        let now = at(0);
        let not_after = if left < 0 { now.minus(left.unsigned_abs()) } else { now.plus(left.unsigned_abs()) };
        let certificate =
            CertificateReport { file: "/c".to_owned(), not_before: not_after.minus(life), not_after };
        let mut report = ComponentReport::new(Component::SkrLoader, now, now);
        report.endpoint =
            Some(EndpointReport { certificate: Some(certificate), ..EndpointReport::default() });
        let state = ComponentState::Reported(Box::new(report));
        let components = vec![ComponentFacts { component: Component::SkrLoader, expected: true, state }];
        let health = judge(&HealthFacts { components, ..HealthFacts::default() }, &Since::default(), now);
        health.conditions.first().map(|c| (c.id == ConditionId::CertificateEndsSoon).then_some(c.severity))
    };
    let day = i64::try_from(DAY).expect("small");
    for (life, left, want) in [
        (365 * DAY, 21 * day, None),
        (365 * DAY, 21 * day - 1, Some(Severity::Warning)),
        (365 * DAY, 3 * day, Some(Severity::Warning)),
        (365 * DAY, 3 * day - 1, Some(Severity::Critical)),
        (365 * DAY, 0, Some(Severity::Critical)),
        (365 * DAY, -day, Some(Severity::Critical)),
        // Of a short life a quarter and a tenth count.
        (6 * DAY, 36 * 3600, None),
        (6 * DAY, 36 * 3600 - 1, Some(Severity::Warning)),
        (6 * DAY, 14 * 3600, Some(Severity::Critical)),
        // It begins tomorrow.
        (10 * DAY, 11 * day, Some(Severity::Critical)),
    ] {
        assert_eq!(severity(life, left), want.map(Some), "{life} {left}");
    }
}

#[test]
fn alarm_is_untested_after_its_time_and_a_warning_after_twice_that() {
    let severity = |tested: Option<u64>| {
        let mut facts = HealthFacts::default();
        let tested = tested.map(|ago| at(0).minus(ago));
        facts.host.alarm = Some(Alarm { interval: 30 * DAY, tested });
        judge(&facts, &Since::default(), at(0)).conditions.first().map(|c| (c.id, c.severity))
    };
    let untested = |severity| Some((ConditionId::AlarmUntested, severity));
    for (tested, want) in [
        (None, untested(Severity::Attention)),
        (Some(0), None),
        (Some(30 * DAY), None),
        (Some(30 * DAY + 1), untested(Severity::Attention)),
        (Some(60 * DAY), untested(Severity::Attention)),
        (Some(60 * DAY + 1), untested(Severity::Warning)),
    ] {
        assert_eq!(severity(tested), want, "{tested:?}");
    }
}

#[test]
fn kind_116_a_zone_that_is_read_or_signed_is_named_so() {
    let served = |loaded, work| ServedReport { loaded, generation: 1, work, ..ServedReport::default() };
    let unsigned = |work| ServedReport { why_not: Some("no SKR is in use".to_owned()), ..served(true, work) };
    for (said, id, text) in [
        (served(false, None), ConditionId::ZoneNotLoaded, "It was not read yet."),
        (
            served(false, Some(SignerWork::ReadingZoneFile)),
            ConditionId::ZoneNotLoaded,
            "The zone file is being read.",
        ),
        (unsigned(None), ConditionId::ZoneUnsigned, "no SKR is in use."),
        (
            unsigned(Some(SignerWork::ReadingZoneFile)),
            ConditionId::ZoneUnsigned,
            "The zone file is being read.",
        ),
        (
            unsigned(Some(SignerWork::Signing(0))),
            ConditionId::ZoneUnsigned,
            "The zone is being signed, 0 % done.",
        ),
        (
            unsigned(Some(SignerWork::Signing(40))),
            ConditionId::ZoneUnsigned,
            "The zone is being signed, 40 % done.",
        ),
    ] {
        let mut zone = zone(&[(0, 200)]);
        zone.is_served = true;
        zone.report.served = Some(said);
        let health = look(zone, at(1));
        let condition = health.zones[0].conditions.iter().find(|condition| condition.id == id).expect(text);
        assert_eq!((condition.severity, condition.what.as_str()), (Severity::Critical, text));
    }
}
