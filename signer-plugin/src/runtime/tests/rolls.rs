//! ZSK rolls: which key signs what, at each time, over restarts and whatever comes first.

use super::*;

/// Two ZSKs: the old one until `inactive` and published until `gone`, the new one published and active from the given times on.
struct TwoZsks {
    inactive: Option<Timestamp>,
    gone: Timestamp,
    publish: Timestamp,
    activate: Timestamp,
}

impl TwoZsks {
    fn site(&self) -> Site {
        let site = Site::new();
        let timing = |publish, activate, inactive| Timing {
            publish: Some(publish),
            activate: Some(activate),
            inactive,
            ..Timing::default()
        };
        site.add_zsk(2, timing(start(), start(), self.inactive));
        site.add_zsk(3, timing(self.publish, self.activate, None));
        let skr = SkrBuilder::new(ZONE, start()).bundles(20).step(DAY).ksk(TestKey::ksk(1));
        let skr = skr.zsk_during(TestKey::zsk(2).dnskey, start(), self.gone);
        site.accept(1, &skr.zsk_during(TestKey::zsk(3).dnskey, self.publish, Timestamp::MAX));
        site
    }
}

fn tags() -> (u16, u16) {
    (TestKey::zsk(2).dnskey.tag(), TestKey::zsk(3).dnskey.tag())
}

const SETS: [(&str, Rtype); 4] =
    [(ZONE, Rtype::SOA), (ZONE, Rtype::NS), ("www.example.", Rtype::A), ("ns.example.", Rtype::A)];

/// The tag that signed each of [`SETS`], all verified with what is published.
fn signers(zone: &ZoneRuntime, now: Timestamp) -> Vec<u16> {
    SETS.iter().flat_map(|(qname, qtype)| validate(zone, qname, *qtype, now)).collect()
}

#[test]
fn row_41_zsks_switch_set_by_set_and_none_of_the_old_one_is_left_when_it_goes() {
    let (activate, gone) = (start().plus(4 * DAY), start().plus(8 * DAY));
    let roll = TwoZsks { inactive: Some(activate), gone, publish: start().plus(2 * DAY), activate };
    let site = roll.site();
    let mut zone = site.zone();
    let (old, new) = tags();
    for now in [start(), roll.publish, activate.minus(1)] {
        site.step(&mut zone, now);
        assert_eq!(signers(&zone, now), [old; 4], "{now}");
    }
    site.step(&mut zone, activate);
    assert_eq!(signers(&zone, activate)[0], new, "every version has a new SOA");
    assert!(signers(&zone, activate).contains(&old), "and the others wait for their turn");
    // Whatever a cache took for the largest TTL before the key goes is by the new one.
    let mut now = activate;
    while now < gone.minus(300 + 300) {
        let next = site.step(&mut zone, now);
        signers(&zone, now);
        now = next.min(gone.minus(300 + 300));
    }
    for now in [gone.minus(300 + 300), gone.minus(1), gone, gone.plus(1)] {
        site.step(&mut zone, now);
        assert_eq!(signers(&zone, now), [new; 4], "{now}");
        assert!(site.signed());
    }
    let state = |state| site.metrics.keys.with_label_values(&[ZONE, "zsk", state]).get();
    assert_eq!((state("active"), state("retired"), state("published")), (1, 1, 0));
    assert_eq!(site.gauge(&site.metrics.keystore_missing_private_keys), 0);
}

/// TTL of the DNSKEY RRset, `publish-safety` and `zone-propagation-delay`.
const IPUB: u64 = 3600 + 3600 + 300;

#[test]
fn a_zsk_that_is_active_when_it_is_published_waits_until_caches_have_it_over_a_restart_too() {
    let publish = start().plus(2 * DAY);
    let roll = TwoZsks { inactive: Some(publish), gone: Timestamp::MAX, publish, activate: publish };
    for restart_at in [None, Some(60), Some(IPUB - 1)] {
        let site = roll.site();
        let mut zone = site.zone();
        let (old, new) = tags();
        site.step(&mut zone, start());
        let due = site.step(&mut zone, publish);
        assert_eq!(signers(&zone, publish), [old; 4], "caches have the DNSKEY RRset without the new key");
        assert!(due <= publish.plus(IPUB));
        if let Some(after) = restart_at {
            zone = site.zone();
            site.step(&mut zone, publish.plus(after));
        }
        let now = publish.plus(IPUB - 1);
        site.step(&mut zone, now);
        assert_eq!(signers(&zone, now), [old; 4], "{restart_at:?}");
        let now = publish.plus(IPUB);
        site.step(&mut zone, now);
        assert_eq!(signers(&zone, now)[0], new, "{restart_at:?}");
    }
}

#[test]
fn what_counts_is_what_was_served_and_not_what_the_skr_says() {
    let publish = start().plus(2 * DAY);
    let roll = TwoZsks { inactive: Some(publish), gone: Timestamp::MAX, publish, activate: publish };
    let site = roll.site();
    let mut zone = site.zone();
    let (old, new) = tags();
    site.step(&mut zone, publish.minus(60));
    drop(zone);
    // Down for a day while the secondaries serve on: no cache has seen the new key.
    let back = publish.plus(DAY);
    let mut zone = site.zone();
    site.step(&mut zone, back);
    assert_eq!(signers(&zone, back), [old; 4]);
    let now = back.plus(IPUB);
    site.step(&mut zone, now);
    assert_eq!(signers(&zone, now)[0], new);
    // With its state lost, all that is known is the SKR.
    fs::remove_dir_all(site.path("zones/example.")).unwrap();
    let mut zone = site.zone();
    site.step(&mut zone, publish.plus(60));
    assert_eq!(signers(&zone, publish.plus(60)), [new; 4], "no other key is active, and none signed before");
}

#[test]
fn a_new_zone_is_signed_at_once_by_the_key_that_it_has() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    assert_eq!(signers(&zone, start()), [tags().0; 4]);
}

#[test]
fn an_exposed_zsk_is_replaced_at_once_by_one_that_caches_have_and_not_before() {
    // How long the standby key is published; whether that is long enough.
    for (published, at_once) in [(DAY, true), (600, false)] {
        let publish = start().plus(2 * DAY);
        let roll =
            TwoZsks { inactive: None, gone: Timestamp::MAX, publish, activate: start().plus(900 * DAY) };
        let site = roll.site();
        let mut zone = site.zone();
        let (old, new) = tags();
        let now = publish.plus(published);
        for now in [start(), publish, now] {
            site.step(&mut zone, now);
            assert_eq!(signers(&zone, now), [old; 4]);
        }
        // dnssec-settime -s -I now -D now OLD; dnssec-settime -s -A now NEW
        let of = |inactive, delete, activate, publish| Timing {
            publish: Some(publish),
            activate: Some(activate),
            inactive,
            delete,
            ..Timing::default()
        };
        site.add_zsk(2, of(Some(now), Some(now), start(), start()));
        site.add_zsk(3, of(None, None, now, publish));
        site.step(&mut zone, now.plus(1));
        let wanted = if at_once { [new; 4] } else { [old; 4] };
        assert_eq!(signers(&zone, now.plus(1)), wanted, "{published}");
        let ready = publish.plus(IPUB).max(now.plus(2));
        site.step(&mut zone, ready);
        assert_eq!(signers(&zone, ready), [new; 4], "{published}");
    }
}

#[test]
fn when_a_bundle_without_the_key_that_signed_comes_into_force_again_all_is_signed_by_one_that_it_has() {
    let publish = start().plus(2 * DAY);
    let roll = TwoZsks { inactive: None, gone: Timestamp::MAX, publish, activate: publish };
    let site = roll.site();
    let mut zone = site.zone();
    let (old, new) = tags();
    for now in [start(), publish, publish.plus(IPUB), publish.plus(12 * DAY)] {
        site.step(&mut zone, now);
    }
    assert!(signers(&zone, publish.plus(12 * DAY)).contains(&new));
    // The SKR is replaced by one that never has the new key.
    let skr = SkrBuilder::new(ZONE, start()).bundles(20).step(DAY).ksk(TestKey::ksk(1));
    site.accept(2, &skr.zsk(TestKey::zsk(2).dnskey));
    let now = publish.plus(12 * DAY + 1);
    site.step(&mut zone, now);
    assert_eq!(signers(&zone, now), [old; 4]);
    assert!(site.signed());
}

#[test]
fn bundles_switch_and_signatures_are_renewed_while_new_content_waits_for_the_disk() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let folder = site.path("zones/example.");
    fs::rename(&folder, site.path("away")).unwrap();
    fs::write(&folder, "").unwrap();
    site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.77"));
    let address = |zone: &ZoneRuntime| ask(zone, "www.example.", Rtype::A).answers[0].rdata[3];
    let switch = start().plus(9 * DAY);
    // Ten days in which nothing can be written; the last steps come each second.
    let mut now = start().plus(1);
    while now < start().plus(10 * DAY) {
        site.step(&mut zone, now);
        validate(&zone, "www.example.", Rtype::A, now);
        assert_eq!(address(&zone), 2, "new content waits");
        let (_, signatures) = rrset(&ask(&zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY);
        let bundle = if now < switch { start() } else { switch };
        assert_eq!(signatures[0].inception, bundle.minus(HOUR).to_rrsig(), "{now}");
        let near = now < switch.plus(5) && now.plus(HOUR) > switch;
        now = now.plus(if near { 1 } else { HOUR / 2 });
    }
    assert!(zone.served().signed().unwrap().earliest_zsk_expiration() > now.plus(4 * DAY));
    fs::remove_file(&folder).unwrap();
    fs::rename(site.path("away"), &folder).unwrap();
    for second in 0..12 {
        site.step(&mut zone, now.plus(second));
    }
    assert_eq!((address(&zone), zone.conditions().count()), (77, 0));
}
