//! Zones that nobody signs: served without an SKR and without keys, changed, kept over restarts, and signed once they are to be.

use keystore::config::{SelfCheck, Signing};

use super::*;
use crate::content::ChangeOutcome;
use crate::signing::VisitPosition;

const UNSIGNED: VersionRules = VersionRules {
    signing: Signing::Unsigned,
    zonemd: false,
    zonemd_interval: 0,
    self_check: SelfCheck::Auto,
};

fn zone_of(site: &Site, versions: VersionRules, anchors: Vec<TrustAnchor>) -> ZoneRuntime {
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    let source = ContentSource::FileWithUpdates(site.path("zone"));
    let setup = ZoneSetup { versions, source, anchors, ..site.setup() };
    ZoneRuntime::new(setup, site.metrics.clone(), Arc::new(served))
}

fn started(site: &Site) -> ZoneRuntime {
    let mut zone = zone_of(site, UNSIGNED, Vec::new());
    site.step(&mut zone, start());
    zone
}

/// Types of the records that a transfer of the whole zone has.
fn types(zone: &ZoneRuntime) -> Vec<Rtype> {
    let mut types = Vec::new();
    let signed = zone.served().signed().unwrap();
    let left = signed.visit(VisitPosition::default(), &mut |record| {
        types.push(record.rtype);
        true
    });
    assert_eq!(left, None);
    types
}

#[test]
fn an_unsigned_zone_is_served_without_skr_or_keys_and_its_answers_have_no_dnssec_records() {
    let site = Site::new();
    let dnssec = "@ DNSKEY 257 3 13 AAAA\n@ NSEC www A\n\
        www RRSIG A 15 2 300 20300101000000 20200101000000 1 example. AAAA\n";
    let more = "*.wild TXT w\nalias CNAME www\nsub NS ns.sub\nns.sub A 192.0.2.3\n";
    site.write("zone", &format!("{FILE}{more}{dnssec}"));
    fs::remove_dir_all(site.path("keys")).unwrap();
    let mut zone = started(&site);
    assert!(!zone.is_in_token(start()));
    assert_eq!(site.step(&mut zone, start().plus(DAY)), Timestamp::MAX, "nothing comes due by time alone");
    let state = zone.served().state();
    assert_eq!((state.validly_signed, state.zsk_expires, state.conditions.len()), (true, None, 0));
    assert_eq!(zone.served().signed().unwrap().zone().warnings().left_out, 3);
    let dnssec = [Rtype::RRSIG, Rtype::NSEC, Rtype::DNSKEY];
    assert!(!types(&zone).iter().any(|rtype| dnssec.contains(rtype)), "{:?}", types(&zone));
    for (name, rtype, rcode, answers, authorities, aa) in [
        ("www.example.", Rtype::A, 0, 1, 0, true),
        ("www.example.", Rtype::MX, 0, 0, 1, true),
        ("nothing.example.", Rtype::A, 3, 0, 1, true),
        ("x.wild.example.", Rtype::TXT, 0, 1, 0, true),
        ("x.wild.example.", Rtype::A, 0, 0, 1, true),
        ("alias.example.", Rtype::A, 0, 2, 0, true),
        ("x.sub.example.", Rtype::A, 0, 0, 1, false),
        ("sub.example.", Rtype::DS, 0, 0, 1, true),
        ("example.", Rtype::DNSKEY, 0, 0, 1, true),
        ("example.", Rtype::NSEC, 0, 0, 1, true),
        ("example.", Rtype::NSEC3PARAM, 0, 0, 1, true),
        ("www.example.", Rtype::RRSIG, 0, 0, 1, true),
    ] {
        let reply = ask(&zone, name, rtype);
        let found = (reply.rcode(), reply.answers.len(), reply.authorities.len(), reply.flags & 0x0400 != 0);
        assert_eq!(found, (rcode, answers, authorities, aa), "{name} {rtype}");
    }
    // What alerts look at is not there: neither a signature that ends nor a zone that should be signed.
    let text = site.metrics.encode().unwrap();
    for family in ["zone_signed", "zone_rrsig_earliest", "signer_skr_generation", "keystore_missing"] {
        let series = format!("offlineksk_{family}");
        assert!(!text.lines().any(|line| line.starts_with(&series)), "{family}");
    }
    assert!(text.contains("offlineksk_zone_serial{zone=\"example.\"} 2027010100"));
}

#[test]
fn updates_of_an_unsigned_zone_raise_its_serial_and_are_there_after_a_restart() {
    // Small zones are written whole each time, large ones have a journal.
    for hosts in [0, 3000] {
        let site = Site::new();
        let many: String = (0..hosts).map(|n| format!("h{n} TXT \"{}\"\n", "x".repeat(90))).collect();
        site.write("zone", &format!("{FILE}{many}"));
        let mut zone = started(&site);
        let first = serial(&zone);
        let texts = ["add n 300 A 192.0.2.9", "add m.n 300 TXT x", "delete n"];
        for (number, text) in (1..).zip(texts) {
            let outcome = updates::update(&site, &mut zone, text, start().plus(number.into()));
            assert_eq!(outcome, updates::served(&zone), "{text}");
            assert_eq!(serial(&zone), first + number, "{text}");
        }
        let foreign = "add www 300 DNSKEY 257 3 13 AAAA";
        let refused = updates::update(&site, &mut zone, foreign, start().plus(9));
        assert!(matches!(refused, ChangeOutcome::Refused(_)), "{refused:?}");
        assert_eq!(serial(&zone), first + 3);
        assert_eq!(site.path("zones/example./changes").exists(), hosts > 0);
        let before = types(&zone);
        zone.close();
        drop(zone);
        let mut zone = zone_of(&site, UNSIGNED, Vec::new());
        assert!(zone.restore(start().plus(60)), "the version is found on disk");
        assert_eq!((serial(&zone), types(&zone)), (first + 3, before));
        site.step(&mut zone, start().plus(61));
        assert_eq!(serial(&zone), first + 3, "nothing was changed");
        assert_eq!(ask(&zone, "m.n.example.", Rtype::TXT).answers.len(), 1);
        assert_eq!(ask(&zone, "n.example.", Rtype::A).rcode(), 0, "an empty non-terminal");
    }
}

#[test]
fn an_unsigned_zone_stays_served_until_an_skr_is_there_to_sign_it_and_a_signed_one_loses_its_signatures_at_once()
 {
    let site = Site::new();
    let mut zone = started(&site);
    let first = serial(&zone);
    zone.close();
    drop(zone);
    let mut zone = zone_of(&site, VersionRules::default(), site.setup().anchors);
    site.step(&mut zone, start());
    assert_eq!((ask(&zone, "www.example.", Rtype::A).answers.len(), serial(&zone)), (1, first));
    assert!(!zone.served().state().validly_signed && !site.signed());
    // Until there is an SKR it follows its content, and updates.
    let outcome = updates::update(&site, &mut zone, "add before 300 A 192.0.2.9", start().plus(1));
    assert_eq!((outcome, serial(&zone)), (updates::served(&zone), first + 1));
    site.write("zone", &format!("{FILE}filed A 192.0.2.9\n"));
    for second in 3..6 {
        site.step(&mut zone, start().plus(second));
    }
    let answers = ["before.example.", "filed.example."].map(|name| ask(&zone, name, Rtype::A).answers.len());
    assert_eq!((answers, serial(&zone)), ([1, 1], first + 2));
    site.add_zsk(2, Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() });
    site.accept(1, &SkrBuilder::new(ZONE, start()));
    site.step(&mut zone, start().plus(11));
    validate(&zone, "www.example.", Rtype::A, start().plus(11));
    assert!(site.signed() && serial(&zone) > first);
    let last = serial(&zone);
    zone.close();
    drop(zone);
    // The content is had from the version on disk, whatever becomes of the file.
    fs::remove_file(site.path("zone")).unwrap();
    let mut zone = zone_of(&site, UNSIGNED, Vec::new());
    site.step(&mut zone, start().plus(20));
    assert_eq!(ask(&zone, "www.example.", Rtype::A).answers.len(), 1, "no RRSIG");
    assert!(serial(&zone) > last);
    zone.close();
    drop(zone);
    // An SKR is accepted: a version without signatures is not taken from disk.
    let mut zone = zone_of(&site, VersionRules::default(), site.setup().anchors);
    assert!(!zone.restore(start().plus(30)));
    // Series of signing go with the signing.
    zone.leave_kind(Signing::Unsigned);
    let text = site.metrics.encode().unwrap();
    assert!(!text.lines().any(|line| line.starts_with("offlineksk_zone_rrsig_earliest")), "{text}");
}
