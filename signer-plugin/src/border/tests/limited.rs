//! The rate limit of answers that the engine has not composed, and what is asked of the server itself.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use keystore::config::query::RateLimitConfig;
use keystore::cookie_secrets::CookieSecrets;

use super::*;
use crate::protocol::rate_limit::RateLimiter;
use crate::protocol::{QuerySettings, ServerIdentity};
use crate::runtime::SignerZone;
use crate::testing::{NOW, POLICY, name, signed_by, zone};

const AXFR: u16 = 252;
const IXFR: u16 = 251;
const NOTIFY: u8 = 4;
const CLIENT: [u8; 8] = [7; 8];

/// One answer of a kind a second; those beyond are sent without records.
fn settings() -> QuerySettings {
    let config = RateLimitConfig { responses_per_second: 1, slip: 1, ..RateLimitConfig::default() };
    let limiter = RateLimiter::new(&config, [7; 16], &Metrics::new().unwrap()).map(Arc::new);
    let secrets = CookieSecrets::parse(b"e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    QuerySettings { limiter, ..QuerySettings::with_cookies(secrets, Arc::new(|| NOW)) }
}

/// A signed zone `example`, and behind it a catalog with `inner.test`, which has an address for nearly each of its names.
fn limited(settings: QuerySettings) -> (Server, SocketAddr) {
    let metrics = Metrics::new().unwrap();
    let served = SignerZone::new(name("example"), &metrics, Arc::new(|| NOW));
    let text = "@ SOA ns h 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\n";
    served.publish(Arc::new(signed_by(zone("example", text).unwrap(), &POLICY).unwrap()));
    let inner = Scripted::zone("inner.test", |qname, _, _| match qname {
        name if name.starts_with("nothing") => Some((0x0403, vec![])),
        _ => Some((0x0400, vec![rr(0, "@", 1, &[9, 9, 9, 9])])),
    });
    let apex = name("inner.test");
    let mut catalog = Catalog::new();
    let handler = SignerZoneHandler::new(Hosted::new([inner], SharedSettings::default()), &apex);
    catalog.upsert(convert::name(&apex).into(), vec![Arc::new(handler)]);
    let listen = Listen { udp_sockets: 1, ..Listen::on(vec!["127.0.0.1:0".parse().unwrap()]) };
    let zones = Hosted::new([Arc::new(served) as Arc<dyn Responder>], SharedSettings::default());
    let handler = SignerHandler::new(zones.with_settings(SharedSettings::new(settings)), catalog);
    let server = Server::start(&listen, &handler).unwrap();
    let address = server.addresses()[0];
    (server, address)
}

/// The query with this cookie.
fn with_cookie(mut query: Vec<u8>, cookie: &[u8]) -> Vec<u8> {
    let at = query.len() - 2;
    query[at..].copy_from_slice(&(4 + cookie.len() as u16).to_be_bytes());
    query.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
    query.extend_from_slice(cookie);
    query
}

#[tokio::test]
async fn answers_of_transfers_and_of_the_inner_handler_are_limited_as_all_are() {
    type Make = fn(u32) -> Vec<u8>;
    let kinds: [(&str, Make); 8] = [
        ("AXFR of our zone", |_| question("example", AXFR, Some((1232, true)))),
        ("IXFR of our zone", |_| question("example", IXFR, None)),
        ("NOTIFY for our zone", |_| {
            let mut query = question("example", 6, None);
            query[2] = NOTIFY << 3;
            query
        }),
        ("a name of the inner handler", |_| question("a.inner.test", 1, Some((1232, true)))),
        ("names below a wildcard there", |n| question(&format!("n{n}.inner.test"), 1, None)),
        ("names that are not there", |n| question(&format!("nothing{n}.inner.test"), 1, None)),
        ("names of nobody", |n| question(&format!("n{n}.other.test"), 1, Some((1232, true)))),
        ("transfers of nobody's zone", |n| question(&format!("n{n}.other.test"), AXFR, None)),
    ];
    for (kind, make) in kinds {
        let (server, address) = limited(settings());
        let begun = Instant::now();
        let mut whole = 0;
        for number in 0..40 {
            let query = make(number);
            let answer = ask_udp(address, &query).await.unwrap_or_else(|| panic!("{kind}: no answer"));
            let is_cut = answer[2] & 2 != 0;
            whole += u64::from(!is_cut);
            assert!(
                !is_cut || answer.len() <= query.len() && answer[6..10] == [0; 4],
                "{kind}: {answer:02x?}"
            );
        }
        let seconds = begun.elapsed().as_secs();
        assert!((1..=seconds + 2).contains(&whole), "{kind}: {whole} of 40 in {seconds} s");
        // A connection tells that the client has its address.
        for number in 0..3 {
            assert_eq!(ask_tcp(address, &make(number)).await[2] & 2, 0, "{kind} over TCP");
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn clients_with_a_good_cookie_are_not_limited_by_the_inner_handler_either() {
    let settings = settings();
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let good = settings.cookies.as_ref().unwrap().judge(CLIENT, None, localhost).answer;
    let (server, address) = limited(settings);
    let query = question("a.inner.test", 1, Some((1232, true)));
    for (cookie, is_free) in [(&good[..], true), (&CLIENT[..], false), (&[7; 24][..], false)] {
        let mut cut = 0;
        for _ in 0..10 {
            cut +=
                u32::from(ask_udp(address, &with_cookie(query.clone(), cookie)).await.unwrap()[2] & 2 != 0);
        }
        assert_eq!(cut == 0, is_free, "{cookie:?}: {cut} of 10 cut");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_asked_of_the_server_itself_is_not_left_to_the_inner_handler() {
    const TXT: u16 = 16;
    let identity = ServerIdentity { name: Some(b"ns1".to_vec()), ..ServerIdentity::default() };
    let (server, address) = limited(QuerySettings { identity, ..QuerySettings::DEFAULT });
    for (qname, rtype, class, rcode, answers) in [
        ("id.server", TXT, 3, 0, 1),
        ("Hostname.BIND", TXT, 3, 0, 1),
        ("id.server", 1, 3, 5, 0),
        // Not configured, and of class IN: the inner handler's, which has none of them.
        ("version.bind", TXT, 3, 5, 0),
        ("id.server", TXT, 1, 5, 0),
    ] {
        let mut query = question(qname, rtype, None);
        let at = query.len() - 1;
        query[at] = class;
        for answer in [ask_udp(address, &query).await.unwrap(), ask_tcp(address, &query).await] {
            let got = (answer[3] & 15, answer[7]);
            assert_eq!(got, (rcode, answers), "{qname} {rtype} class {class}");
            assert!(answers == 0 || answer.ends_with(b"\x03ns1"), "{answer:02x?}");
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn in_the_server_of_hickory_the_settings_hold_for_names_of_nobody_and_for_the_server_itself_too() {
    const TXT: u16 = 16;
    let identity = ServerIdentity { name: Some(b"ns1".to_vec()), ..ServerIdentity::default() };
    let settings = SharedSettings::new(QuerySettings { identity, ..settings() });
    let zones = Hosted::new([Scripted::zone("example", all_kinds)], settings);
    let (mut server, address) = start_in_hickory(zones).await;
    let mut query = question("id.server", TXT, None);
    let at = query.len() - 1;
    query[at] = 3;
    for answer in [ask_udp(address, &query).await.unwrap(), ask_tcp(address, &query).await] {
        assert_eq!((answer[3] & 15, answer[7]), (0, 1), "{answer:02x?}");
        assert!(answer.ends_with(b"\x03ns1"), "{answer:02x?}");
    }
    let begun = Instant::now();
    let mut whole = 0;
    for number in 0..20 {
        let query = question(&format!("n{number}.other.test"), 1, Some((1232, true)));
        whole += u64::from(ask_udp(address, &query).await.unwrap()[2] & 2 == 0);
    }
    let seconds = begun.elapsed().as_secs();
    assert!((1..=seconds + 2).contains(&whole), "{whole} of 20 in {seconds} s");
    server.shutdown_gracefully().await.unwrap();
}
