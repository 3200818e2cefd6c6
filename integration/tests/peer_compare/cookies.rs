//! Cookies of servers that share a secret: each takes those of the others.

use std::process::Command;

use keystore::cookie_secrets::CookieSecrets;
use signer_plugin::reply::MessageParts;

use crate::common;
use crate::peers::{self, Peer};
use crate::queries::{Client, Query, Transport};
use crate::site::Site;

const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
const CLIENT: [u8; 8] = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57];
const COOKIE: u16 = 10;
const BADCOOKIE: u16 = 23;

/// A query for the SOA record with this cookie.
fn query(cookie: &[u8]) -> Vec<u8> {
    let mut query = Query { edns: Some((1232, false)), ..Query::soa() }.octets();
    let at = query.len() - 2;
    query[at..].copy_from_slice(&(4 + cookie.len() as u16).to_be_bytes());
    query.extend_from_slice(&COOKIE.to_be_bytes());
    query.extend_from_slice(&(cookie.len() as u16).to_be_bytes());
    query.extend_from_slice(cookie);
    query
}

/// RCODE and cookie of the answer.
fn ask(client: &mut Client, cookie: &[u8], transport: Transport) -> (u16, Vec<u8>) {
    let answer = client.ask(transport, &query(cookie));
    let reply = MessageParts::read(&answer).expect("a message");
    let options = reply.opt.as_ref().map(|opt| opt.options.clone()).unwrap_or_default();
    let cookie = options.into_iter().find(|(code, _)| *code == COOKIE);
    (reply.rcode(), cookie.expect("a cookie").1)
}

fn start_all(site: &Site) -> Vec<Peer> {
    [
        peers::named_with_cookies(site, SECRET),
        peers::nsd_with_cookies(site, SECRET),
        peers::knot_with_cookies(site, SECRET),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn servers_with_one_secret_take_each_others_cookies() {
    let dir = tempfile::tempdir().expect("a folder");
    let site = Site::start(dir.path(), None);
    let secrets = CookieSecrets::parse(SECRET.as_bytes()).expect("a secret");
    site.use_cookies(secrets);
    let mut ours = Client::new(site.address).with_tls(Some(site.tls));
    for peer in start_all(&site) {
        let mut theirs = Client::new(peer.address).with_tls(peer.tls);
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            // Knot answers BADCOOKIE to a client without a cookie of the server.
            let (_, made_there) = ask(&mut theirs, &CLIENT, transport);
            assert_eq!((made_there.len(), &made_there[..8]), (24, &CLIENT[..]), "{}", peer.name);
            let kept = ask(&mut ours, &made_there, transport);
            assert_eq!(kept, (0, made_there.clone()), "ours keeps the cookie of {}", peer.name);
            let (_, made_here) = ask(&mut ours, &CLIENT, transport);
            let (rcode, _) = ask(&mut theirs, &made_here, transport);
            assert_eq!(rcode, 0, "{} takes our cookie", peer.name);
            // One octet of the hash is another: nobody takes it, and each makes a good one.
            let mut bad = made_here.clone();
            bad[20] ^= 1;
            let (rcode, new) = ask(&mut ours, &bad, transport);
            assert!(rcode == 0 && new != bad, "ours answers with a new cookie");
            let (rcode, new) = ask(&mut theirs, &bad, transport);
            assert!((rcode == 0 || rcode == BADCOOKIE) && new != bad, "{}: {rcode}", peer.name);
            assert_eq!(ask(&mut ours, &new, transport), (0, new), "the new one of {}", peer.name);
        }
    }
    dig_finds_the_cookie_good(&site);
}

/// dig says whether the server gave its own client cookie back, and takes the server's over to the next query.
fn dig_finds_the_cookie_good(site: &Site) {
    let Some(mut dig) = common::peer("dig") else { return };
    dig.args(["@127.0.0.1", "-p", &site.address.port().to_string(), "+cookie", "hard.test.", "SOA"]);
    let said = common::stdout(&mut dig);
    assert!(said.contains("status: NOERROR") && said.contains("(good)"), "{said}");
    let cookie = said.split("; COOKIE: ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a cookie");
    assert_eq!(cookie.len(), 48, "{said}");
    let again = |more: &[&str]| {
        let mut dig: Command = common::peer("dig").expect("dig was there");
        dig.args(["@127.0.0.1", "-p", &site.address.port().to_string(), &format!("+cookie={cookie}")]);
        common::stdout(dig.args(more).args(["hard.test.", "SOA"]))
    };
    for more in [&[][..], &["+tcp"], &["+ednsopt=100"]] {
        let said = again(more);
        assert!(said.contains(&format!("{cookie} (good)")), "{said}");
    }
    // A query that asks for a cookie alone.
    let said = again(&["+header-only"]);
    assert!(said.contains("status: NOERROR") && said.contains("(good)"), "{said}");
}
