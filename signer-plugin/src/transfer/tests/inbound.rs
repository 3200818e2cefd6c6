//! NOTIFY from primaries and from others.

use keystore::config::transfer::PrimaryConfig;

use std::task::{Context, Poll, Waker};

use super::*;
use crate::transfer::PrimaryNews;

/// A site whose zone comes from 192.0.2.1, without a key, and from 192.0.2.2 with the key `xfr`.
fn secondary() -> Site {
    let mut site = Site::serving(version(0, 7, None));
    let primary = |address: &str, key: Option<&str>| PrimaryConfig {
        address: format!("{address}:53").parse().unwrap(),
        key: key.map(|key| Name::parse(key).unwrap()),
        tls: None,
    };
    let mut settings = TransferSettings::new(TransferKeys::new(site.keys.clone()), Vec::new());
    settings.primaries = vec![primary("192.0.2.1", None), primary("192.0.2.2", Some("xfr"))];
    site.zone.transfers.set(settings);
    site.zone.version = None;
    site
}

/// What whoever follows the primaries is woken with.
fn news(site: &Site) -> Option<PrimaryNews> {
    let waiting = std::pin::pin!(site.zone.transfers.notified());
    match waiting.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(news) => Some(news),
        Poll::Pending => None,
    }
}

/// NOTIFY for the zone, with the SOA record of this serial in its answer section.
fn notify(qname: &str, rtype: Rtype, serial: Option<u32>, key: Option<&TsigKey>) -> Vec<u8> {
    use domain::base::iana::Opcode;
    let wire = |text: &str| WireName::from_octets(name(text).as_wire().to_vec()).expect("a name");
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_opcode(Opcode::NOTIFY);
    builder.header_mut().set_aa(true);
    let mut question = builder.question();
    question.push((wire(qname), WireRtype::from_int(rtype.0))).expect("room");
    let mut answer = question.answer();
    if let Some(serial) = serial {
        let none = domain::base::Ttl::ZERO;
        let soa = domain::rdata::Soa::new(wire("."), wire("."), serial.into(), none, none, none, none);
        answer.push((wire(qname), 0, soa)).expect("room");
    }
    let mut additional = answer.additional();
    if let Some(key) = key {
        let key = wire_key(key).expect("a key");
        ClientSequence::request(key, &mut additional, Time48::from_u64(NOW.secs())).expect("room");
    }
    additional.finish()
}

#[test]
fn notify_is_taken_from_primaries_by_address_or_key_and_wakes_whoever_follows_them() {
    let site = secondary();
    let xfr = site.key("xfr").clone();
    let other = site.key("of.another.zone").clone();
    let wrong = TsigKey { secret: b"another secret..".to_vec().into(), ..xfr.clone() };
    let soa = |serial, key| notify("Example", Rtype::SOA, serial, key);
    for (what, query, client, expected, wakes) in [
        ("by address", soa(None, None), "192.0.2.1:4242", (0, None), true),
        ("by mapped address", soa(Some(8), None), "[::ffff:192.0.2.1]:4242", (0, None), true),
        ("by key, from elsewhere", soa(Some(8), Some(&xfr)), "203.0.113.9:53", (0, Some((0, 32))), true),
        ("unsigned, of a primary with a key", soa(Some(8), None), "192.0.2.2:53", (0, None), true),
        ("from a stranger", soa(Some(8), None), "203.0.113.9:53", (5, None), false),
        ("a key of others", soa(Some(8), Some(&other)), "192.0.2.1:53", (5, Some((0, 32))), false),
        ("a wrong secret", soa(Some(8), Some(&wrong)), "192.0.2.1:53", (9, Some((16, 0))), false),
        ("below the apex", notify("a.example", Rtype::SOA, None, None), "192.0.2.1:53", (9, None), false),
        ("for a parent", notify("example", Rtype::CDS, None, None), "192.0.2.1:53", (4, None), false),
    ] {
        for transport in [Transport::Udp, Transport::Stream] {
            let (reaction, out) = site.react(&query, client, transport);
            assert!(matches!(reaction, Reaction::Answered(_)), "{what}");
            assert_eq!(outcome(std::slice::from_ref(&out)), expected, "{what}");
            let aa = if expected.0 == 0 { 0x04 } else { 0 };
            assert_eq!((out[2], &out[12..20]), (0x80 | 4 << 3 | aa, &query[12..20]), "{what}");
            assert_eq!(news(&site).is_some(), wakes, "{what}");
        }
    }
}

#[test]
fn a_hint_at_a_serial_that_is_here_already_is_no_work() {
    let site = secondary();
    for (here, hint, wakes) in [
        (None, Some(7), true),
        (Some(7), Some(7), false),
        (Some(7), Some(6), false),
        (Some(7), Some(8), true),
        (Some(u32::MAX), Some(0), true),
        (Some(0), Some(u32::MAX), false),
        // Nobody knows which is newer.
        (Some(0), Some(0x8000_0000), true),
        (Some(7), None, true),
    ] {
        if let Some(here) = here {
            site.zone.transfers.set_primary_serial(here);
        }
        site.react(&notify("example", Rtype::SOA, hint, None), "192.0.2.1:53", Transport::Udp);
        let from = "192.0.2.1".parse().unwrap();
        let expected = wakes.then_some(PrimaryNews { from, serial: hint });
        assert_eq!(news(&site), expected, "{here:?} {hint:?}");
    }
}

#[test]
fn notify_for_a_zone_with_a_file_is_left_to_the_engine() {
    let site = Site::serving(version(0, 7, None));
    let query = notify("example", Rtype::SOA, None, None);
    let (reaction, _) = site.react(&query, CLIENT, Transport::Udp);
    assert!(matches!(reaction, Reaction::Plain));
    assert!(super::super::request::concerns(&query, Rtype::SOA, query.len()));
}
