//! A policy that says another denial of existence comes into force with one version.

use keystore::policy::Nsec3Param;

use super::*;

const fn nsec3(iterations: u16, opt_out: bool, salt_length: u8) -> Option<Nsec3Param> {
    Some(Nsec3Param { iterations, opt_out, salt_length })
}

/// The types of denial records in an NXDOMAIN answer, and their parameters: hash, flags, iterations, salt.
fn denied_by(zone: &ZoneRuntime) -> (Vec<Rtype>, Vec<Vec<u8>>) {
    let reply = ask(zone, "no.such.name.example.", Rtype::A);
    assert_eq!(reply.rcode(), 3);
    let of = |rtype| reply.authorities.iter().filter(move |rr| rr.rtype == rtype);
    let types = [Rtype::NSEC, Rtype::NSEC3].into_iter().filter(|rtype| of(*rtype).count() > 0).collect();
    let params = of(Rtype::NSEC3).map(|rr| rr.rdata[..5 + usize::from(rr.rdata[4])].to_vec());
    let mut params: Vec<Vec<u8>> = params.collect();
    params.dedup();
    (types, params)
}

#[test]
fn each_change_of_denial_comes_with_one_version_and_a_salt_outlives_restarts() {
    let site = Site::with_skr(3);
    let served = Arc::clone(site.zone().served());
    let (mut last, mut salts) = (0, Vec::new());
    for (step, param) in [
        None,
        nsec3(0, false, 0),
        nsec3(0, true, 0),
        nsec3(0, true, 8),
        nsec3(0, true, 8),
        nsec3(2, false, 8),
        nsec3(0, false, 4),
        None,
        nsec3(0, false, 4),
    ]
    .into_iter()
    .enumerate()
    {
        let now = start().plus(step as u64 * HOUR);
        let setup = ZoneSetup { nsec3: param, ..site.setup() };
        let mut zone = ZoneRuntime::new(setup, site.metrics.clone(), Arc::clone(&served));
        site.step(&mut zone, now);
        zone.close();
        let (types, params) = denied_by(&zone);
        let apex = ask(&zone, ZONE, Rtype::NSEC3PARAM);
        match param {
            None => assert_eq!((types, apex.answers.len()), (vec![Rtype::NSEC], 0)),
            Some(param) => {
                assert_eq!((types, params.len()), (vec![Rtype::NSEC3], 1), "one chain");
                let (head, salt) = params[0].split_at(5);
                assert_eq!(head, [1, u8::from(param.opt_out), 0, param.iterations as u8, param.salt_length]);
                assert_eq!(apex.answers[0].rdata, [&[1, 0], &params[0][2..]].concat());
                validate(&zone, ZONE, Rtype::NSEC3PARAM, now);
                salts.push(salt.to_vec());
            }
        }
        // The fifth has the settings of the fourth: there is nothing to do.
        assert_eq!(serial(&zone) > last, step != 4, "step {step}: {} after {last}", serial(&zone));
        last = serial(&zone);
    }
    let lengths: Vec<usize> = salts.iter().map(Vec::len).collect();
    assert_eq!(lengths, [0, 0, 8, 8, 8, 4, 4]);
    assert!(salts[2] == salts[3] && salts[3] == salts[4], "kept while its length stays");
    assert_eq!(salts[5], salts[6], "kept while the zone has NSEC");
}

#[test]
fn a_salt_that_cannot_be_written_keeps_what_is_served() {
    let site = Site::with_skr(3);
    let mut zone = site.zone();
    site.step(&mut zone, start());
    let before = serial(&zone);
    std::fs::create_dir_all(site.path("zones/example./nsec3-salt")).unwrap();
    let setup = ZoneSetup { nsec3: nsec3(0, false, 8), ..site.setup() };
    let mut changed = ZoneRuntime::new(setup, site.metrics.clone(), Arc::clone(zone.served()));
    site.step(&mut changed, start().plus(60));
    assert_eq!((denied_by(&changed).0, serial(&changed)), (vec![Rtype::NSEC], before));
    std::fs::remove_dir(site.path("zones/example./nsec3-salt")).unwrap();
    site.step(&mut changed, start().plus(120));
    assert_eq!(denied_by(&changed).0, [Rtype::NSEC3]);
}

#[test]
fn a_digest_of_the_zone_comes_and_goes_with_one_version_and_outlives_a_restart() {
    let site = Site::with_skr(3);
    let served = Arc::clone(site.zone().served());
    let mut last = 0;
    for (step, (zonemd, serial_grows)) in
        [(false, true), (true, true), (true, false), (false, true)].into_iter().enumerate()
    {
        let now = start().plus(step as u64 * HOUR);
        let setup =
            ZoneSetup { versions: VersionRules { zonemd, ..VersionRules::default() }, ..site.setup() };
        let mut zone = ZoneRuntime::new(setup, site.metrics.clone(), Arc::clone(&served));
        site.step(&mut zone, now);
        zone.close();
        let answers = ask(&zone, ZONE, Rtype::ZONEMD).answers;
        assert_eq!(!answers.is_empty(), zonemd, "step {step}");
        assert_eq!(serial(&zone) > last, serial_grows, "step {step}");
        last = serial(&zone);
        if zonemd {
            validate(&zone, ZONE, Rtype::ZONEMD, now);
            assert_eq!(answers[0].rdata[..6], [&last.to_be_bytes()[..], &[1, 1]].concat());
        }
    }
}

#[test]
fn new_content_and_renewals_of_a_zone_with_a_digest_wait_for_the_interval_and_bundles_do_not() {
    let site = Site::with_skr(3);
    let versions = VersionRules { zonemd: true, zonemd_interval: 60, ..VersionRules::default() };
    let served = Arc::clone(site.zone().served());
    let setup = ZoneSetup { versions, ..site.setup() };
    let mut zone = ZoneRuntime::new(setup, site.metrics.clone(), served);
    let address = |zone: &ZoneRuntime| ask(zone, "www.example.", Rtype::A).answers[0].rdata[3];
    site.step(&mut zone, start());
    let first = serial(&zone);
    // Two changes within the interval are one version.
    for (second, host) in [(2, 7), (30, 8)] {
        site.write("zone", &FILE.replace("192.0.2.2", &format!("192.0.2.{host}")));
        for second in second..second + 5 {
            let due = site.step(&mut zone, start().plus(second));
            assert!(due <= start().plus(60), "the end of the interval is known");
        }
        assert_eq!((serial(&zone), address(&zone)), (first, 2));
    }
    site.step(&mut zone, start().plus(59));
    assert_eq!(address(&zone), 2);
    site.step(&mut zone, start().plus(60));
    assert_eq!((serial(&zone), address(&zone)), (first + 1, 8));
    validate(&zone, ZONE, Rtype::ZONEMD, start().plus(60));
    // A bundle switch does not wait; new content does, and for one interval at most.
    let switch = start().plus(9 * DAY);
    // What has come due until then is renewed.
    site.step(&mut zone, switch.minus(300));
    site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.9"));
    for second in (15..=30).rev() {
        site.step(&mut zone, switch.minus(second));
    }
    assert_eq!(address(&zone), 9);
    let before = serial(&zone);
    site.write("zone", &FILE.replace("192.0.2.2", "192.0.2.10"));
    for second in (1..=10).rev() {
        site.step(&mut zone, switch.minus(second));
        assert_eq!((serial(&zone), address(&zone)), (before, 9));
    }
    site.step(&mut zone, switch);
    assert_eq!((serial(&zone), address(&zone)), (before + 1, 9));
    let (_, signatures) = rrset(&ask(&zone, ZONE, Rtype::DNSKEY).answers, Rtype::DNSKEY);
    assert_eq!(signatures[0].inception, switch.minus(HOUR).to_rrsig());
    site.step(&mut zone, switch.plus(35));
    assert_eq!((serial(&zone), address(&zone)), (before + 2, 10));
}

#[test]
fn renewals_of_a_zone_with_a_digest_never_wait_until_signatures_expire() {
    let site = Site::with_skr(3);
    let times = SigningTimes { validity: 2 * HOUR as u32, refresh: 20 * 60, jitter: 0 };
    for interval in [0, 600, 3600] {
        let versions = VersionRules { zonemd: true, zonemd_interval: interval, ..VersionRules::default() };
        let setup = ZoneSetup { times, versions, ..site.setup() };
        let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
        let mut zone = ZoneRuntime::new(setup, site.metrics.clone(), Arc::new(served));
        // A version that is made shortly before renewals are due begins an interval that ends when the signatures have expired.
        let mut now = start();
        site.step(&mut zone, now);
        let due = zone.served().signed().unwrap().next_refresh();
        now = due.minus(60);
        site.write("zone", &FILE.replace("192.0.2.1", &format!("192.0.2.{}", 3 + interval / 600)));
        for _ in 0..(3 * HOUR / 30) {
            now = now.plus(30);
            site.step(&mut zone, now);
            let signed = zone.served().signed().unwrap();
            let left = signed.earliest_zsk_expiration().secs().saturating_sub(now.secs());
            assert!(left >= u64::from(times.refresh) / 2 - 30, "interval {interval}: {left} s are left");
        }
        zone.close();
        fs::remove_dir_all(site.path("zones")).unwrap();
        site.write("zone", FILE);
    }
}

#[test]
fn self_check_verifies_what_its_setting_says() {
    use keystore::config::SelfCheck;
    for (setting, made, all) in [
        (SelfCheck::Auto, 0, true),
        (SelfCheck::Auto, 1_000_000, true),
        (SelfCheck::Auto, 1_000_001, false),
        (SelfCheck::All, 1_000_001, true),
        (SelfCheck::Sample, 1, false),
    ] {
        assert_eq!(setting.is_of_all(made), all, "{setting:?} {made}");
    }
}
