//! Answers over a rate limit, and cookies, which set them free.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use keystore::config::query::RateLimitConfig;
use keystore::cookie_secrets::CookieSecrets;
use metrics::Metrics;

use super::super::WithoutZone;
use super::*;
use crate::protocol::rate_limit::RateLimiter;
use crate::protocol::{QuerySettings, ServerIdentity};

/// One answer of a kind a second, and cookies.
fn settings(slip: u32) -> QuerySettings {
    let config = RateLimitConfig { responses_per_second: 1, slip, ..RateLimitConfig::default() };
    let limiter = RateLimiter::new(&config, [7; 16], &Metrics::new().unwrap()).map(Arc::new);
    let secrets = CookieSecrets::parse(b"e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    QuerySettings { limiter, ..QuerySettings::with_cookies(secrets, Arc::new(|| NOW)) }
}

/// The octets of the answer over UDP; empty when there is none.
fn over_udp(settings: &QuerySettings, client: [u8; 4], query: &[u8]) -> Vec<u8> {
    let arrival = Arrival { client: IpAddr::V4(Ipv4Addr::from(client)), settings, ..UDP.arrival };
    let mut out = Vec::new();
    match answer(example(), query, &Context { arrival, ..UDP }, &mut out) {
        AnswerOutcome::Reply(_) => assert!(!out.is_empty()),
        AnswerOutcome::Drop => assert!(out.is_empty()),
        AnswerOutcome::NotOurs => panic!("a query for the zone"),
    }
    out
}

/// A query with the option COOKIE.
fn with_cookie(ask: &Ask, cookie: &[u8]) -> Vec<u8> {
    let mut octets = ask.octets();
    let at = octets.len() - 2;
    octets[at..].copy_from_slice(&(4 + cookie.len() as u16).to_be_bytes());
    octets.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
    octets.extend_from_slice(cookie);
    octets
}

#[test]
fn names_that_differ_share_a_limit_where_one_record_or_nothing_answers_them() {
    type Make = fn(u32) -> Ask;
    let kinds: [(&str, Make); 8] = [
        ("below a wildcard", |n| Ask::new(&format!("n{n}.wild"), Rtype::A)),
        ("deep below a wildcard", |n| Ask::new(&format!("n{n}.n{n}.wild"), Rtype::TXT)),
        ("no such name", |n| Ask::new(&format!("n{n}"), Rtype::A)),
        ("below a DNAME", |n| Ask::new(&format!("n{n}.old"), Rtype::A)),
        ("below a delegation", |n| Ask::new(&format!("n{n}.safe"), Rtype::A)),
        ("another type", |n| Ask::new("www", Rtype(1000 + n as u16))),
        ("another class", |n| Ask { class: 2 + n as u16, ..Ask::new(&format!("n{n}"), Rtype::A) }),
        ("another letter case", |n| {
            Ask::new(if n % 2 == 0 { "www" } else { "wWw" }, if n % 3 == 0 { Rtype::A } else { Rtype::ANY })
        }),
    ];
    for (kind, make) in kinds {
        let settings = settings(0);
        let sent =
            (0..100).filter(|n| !over_udp(&settings, [192, 0, 2, *n as u8], &make(*n).octets()).is_empty());
        let sent = sent.count() as u64;
        let seconds = settings.limiter.as_ref().unwrap().now() / 1_000_000;
        assert!((1..=seconds + 1).contains(&sent), "{kind}: {sent} of 100 in {seconds} s");
    }
    // Names with records of their own have limits of their own, and so have networks.
    let settings = settings(0);
    for name in ["www", "mail", "ns1", "x.wild", "nothing", "www.old", "x.safe", "alias"] {
        for network in 1..20 {
            assert!(
                !over_udp(&settings, [192, 0, network, 1], &Ask::new(name, Rtype::A).octets()).is_empty()
            );
        }
    }
}

/// What is limited is limited as it would be were it composed, with an alias or without; that no more is composed for it shows where the signatures have
/// expired, which composing finds.
#[test]
fn an_answer_over_the_limit_is_not_composed_where_its_kind_is_known() {
    let late = NOW.plus(400 * 86_400);
    for (name, rtype, is_known) in [
        ("www", Rtype::A, true),
        ("www", Rtype(1000), true),
        ("nothing", Rtype::A, true),
        ("x.wild", Rtype::A, true),
        ("x.wild", Rtype(1000), true),
        ("x.safe", Rtype::A, true),
        ("alias", Rtype::A, false),
    ] {
        let settings = settings(1);
        let (query, mut out) = (Ask::new(name, rtype).octets(), Vec::new());
        let mut rcode_at = |now| {
            let arrival = Arrival { settings: &settings, ..UDP.arrival };
            answer(example(), &query, &Context { arrival, now }, &mut out);
            (out[3] & 0xf, out[2] & 2 != 0)
        };
        let (rcode, is_cut) = rcode_at(NOW);
        assert!(!is_cut, "{name} {rtype}: the first is within the limit");
        assert_eq!(rcode_at(NOW), (rcode, true), "{name} {rtype}: one more has TC and no records");
        // An alias is composed, and SERVFAIL has an account of its own.
        assert_eq!(rcode_at(late), if is_known { (rcode, true) } else { (2, false) }, "{name} {rtype}");
    }
}

#[test]
fn over_the_limit_a_small_answer_leads_to_tcp_or_to_a_cookie_and_both_are_answered() {
    let settings = settings(1);
    let ask = Ask::new("hosts", Rtype::MX);
    let client = [192, 0, 2, 1];
    let first = over_udp(&settings, client, &ask.octets());
    let small = over_udp(&settings, client, &ask.octets());
    let message = Message::read(&small);
    assert!(message.tc() && message.sections.iter().all(Vec::is_empty) && message.rcode == 0);
    assert_eq!(message.opt, Some((1232, DO, vec![])));
    assert!(small.len() <= ask.octets().len() && first.len() > 3 * small.len(), "no amplification");
    let plain = over_udp(&settings, client, &Ask::plain("hosts", Rtype::MX).octets());
    assert!(Message::read(&plain).tc() && Message::read(&plain).opt.is_none());
    // Whatever it asks for besides, what comes back is no larger.
    let identity = ServerIdentity {
        nsid: Some(vec![1; 64]),
        report_agent: Some(name("reports.example.net").as_wire().to_vec()),
        ..ServerIdentity::default()
    };
    let telling = QuerySettings { identity, ..super::limits::settings(1) };
    let mut greedy = Ask::new("@", Rtype::SOA).octets();
    let at = greedy.len() - 1;
    greedy[at] = 12;
    greedy.extend_from_slice(&[0, 3, 0, 0, 0, 9, 0, 0, 0, 19, 0, 0]);
    let first = over_udp(&telling, client, &greedy).len();
    let second = over_udp(&telling, client, &greedy).len();
    assert!(first > 100 && second <= greedy.len(), "{first}, then {second} for {}", greedy.len());
    let arrival = Arrival { settings: &settings, is_limited: false, ..UDP.arrival };
    for _ in 0..3 {
        let (_, message, _) = reply(example(), &ask.octets(), &Context { arrival, ..UDP });
        assert_eq!(message.rcode, 0, "one whose client is known is not limited");
    }
    // A client that knows cookies is given one, and comes back with it.
    let message = Message::read(&over_udp(&settings, client, &with_cookie(&ask, &[7; 8])));
    assert_eq!((message.rcode, message.tc(), message.aa()), (23, false, false));
    let (_, _, options) = message.opt.clone().expect("OPT");
    assert!(options.starts_with(&[0, 10, 0, 24, 7, 7]) && message.question.is_some());
    let cookie = &options[4..];
    for _ in 0..3 {
        let message = Message::read(&over_udp(&settings, client, &with_cookie(&ask, cookie)));
        assert_eq!((message.rcode, message.aa()), (0, true), "a good cookie");
    }
    // Of another client the same cookie is none.
    let stolen = with_cookie(&ask, cookie);
    over_udp(&settings, [192, 0, 3, 1], &stolen);
    assert_eq!(Message::read(&over_udp(&settings, [192, 0, 3, 1], &stolen)).rcode, 23);
    let arrival = Arrival { settings: &settings, ..STREAM.arrival };
    for _ in 0..3 {
        let (kind, message, _) = reply(example(), &ask.octets(), &Context { arrival, ..STREAM });
        assert_eq!((kind, message.tc()), (AnswerKind::Positive, false), "over TCP");
    }
}

#[test]
fn cookie_is_in_every_answer_to_a_query_with_one_and_counts_to_its_size() {
    let settings = QuerySettings { limiter: None, ..settings(0) };
    let arrival = Arrival { settings: &settings, ..UDP.arrival };
    let context = Context { arrival, ..UDP };
    let foreign = Ask { name: name("foreign.").as_wire().to_vec(), ..Ask::new("@", Rtype::A) };
    for (ask, rcode) in [
        (Ask::new("www", Rtype::A), 0),
        (Ask::new("nothing", Rtype::A), 3),
        (Ask { class: 3, ..Ask::new("www", Rtype::A) }, 5),
        (Ask::new("www", Rtype::AXFR), 5),
        (Ask::new("www", Rtype::OPT), 1),
        (Ask { edns: Some((1232, 1 << 16)), ..Ask::new("www", Rtype::A) }, 16),
        (foreign, 5),
    ] {
        for (len, is_good) in [
            (0, true),
            (7, false),
            (8, true),
            (12, false),
            (15, false),
            (16, true),
            (24, true),
            (40, true),
            (41, false),
        ] {
            let query = if len == 0 { ask.octets() } else { with_cookie(&ask, &[7; 41][..len]) };
            let mut out = Vec::new();
            if answer(example(), &query, &context, &mut out) == AnswerOutcome::NotOurs {
                assert!(matches!(
                    super::super::answer_without_zone(&query, &arrival, &mut out),
                    WithoutZone::Refused(_)
                ));
            }
            let message = Message::read(&out);
            let (_, _, options) = message.opt.expect("OPT");
            let has_cookie = options.starts_with(&[0, 10, 0, 24, 7, 7, 7, 7, 7, 7, 7, 7, 1, 0, 0, 0]);
            // Another version of EDNS may have other options.
            let is_read = rcode != 16;
            assert_eq!(has_cookie, is_good && len > 0 && is_read, "{} octets: {options:?}", len);
            assert_eq!(message.rcode, if is_good || !is_read { rcode } else { 1 }, "{len} octets");
            assert!(message.question.is_some());
        }
    }
    for size in 512..=1232 {
        let ask = Ask { edns: Some((size, DO)), ..Ask::new("x.large", Rtype::A) };
        let (_, _, len) = reply(example(), &with_cookie(&ask, &[7; 8]), &context);
        assert!(len <= usize::from(size), "{len} octets for {size}");
    }
    // A cookie alone (RFC 7873 section 5.4).
    let mut alone =
        vec![0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8];
    alone.extend_from_slice(&[7; 8]);
    let (_, message, _) = reply(example(), &alone, &context);
    assert_eq!((message.rcode, message.question, message.opt.map(|opt| opt.2.len())), (0, None, Some(28)));
    let mut out = Vec::new();
    assert_eq!(super::super::answer_without_zone(&alone, &arrival, &mut out), WithoutZone::Answered);
    alone[5] = 2;
    assert_eq!(reply(example(), &alone, &context).1.rcode, 1);
}
