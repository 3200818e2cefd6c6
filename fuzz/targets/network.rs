//! What comes over sockets and pipes: replies of nameservers, transfers, HTTP, the control socket, the process of a token.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use domain::base::Message;
use keystore::crypto::pkcs11::{Pkcs11Uri, fuzzing as token};
use keystore::dns::{Name, Rtype};
use keystore::tsig::{TsigAlgorithm, TsigKey};
use metrics::health::facts::{HealthFacts, Thresholds, ZoneFacts};
use metrics::health::judge::judge;
use metrics::health::model::Since;
use metrics::health::routes::Pages;
use metrics::health::watch::Newest;
use offline_ksk_integration::http_client;
use offline_ksk_integration::probe::transfer::Reading;
use signer_plugin::answer::Transport;
use signer_plugin::fuzzing::TransferSite;
use signer_plugin::reply::MessageParts;
use signer_plugin::signing::{Denial, Nsec3};
use skr_loader::control::{ControlAnswer, ControlRequest};
use skr_loader::fuzzing as ask;

use super::answers::{NOW, signed};
use super::files::rereads;

fn zone() -> Name {
    Name::parse("example.").expect("a name")
}

/// A reply to the DNS client of the loader; the question is that of the input, so that it is ours.
pub fn dns_reply(data: &[u8]) -> bool {
    let (name, rtype) = question(data).unwrap_or_else(|| (zone(), Rtype::SOA));
    let id = data.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
    for authoritative in [false, true] {
        if let Ok(answer) = ask::answer(data, &name, rtype, id, authoritative) {
            assert!(answer.rrset.owner == name && answer.rrset.rtype == rtype);
            assert!(answer.signatures.iter().all(|signature| signature.covered == rtype));
        }
    }
    ask::reply(data, &name, rtype, id).is_ok_and(|reply| !reply.answer.is_empty())
}

fn question(message: &[u8]) -> Option<(Name, Rtype)> {
    let body = message.get(12..)?;
    let len = keystore::dns::name::wire_len(body)?;
    let rtype = body.get(len..)?.first_chunk::<2>()?;
    Some((Name::from_wire(&body[..len]).ok()?, Rtype(u16::from_be_bytes(*rtype))))
}

/// The messages of a transfer, each with two octets of length in front as over TCP.
pub fn transfer(mut data: &[u8]) -> bool {
    let zone = zone();
    let mut reading = Reading::new(SocketAddr::from(([127, 0, 0, 1], 53)), &zone, NOW);
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let (message, behind) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes(*len))));
        data = behind;
        let Ok(message) = Message::from_octets(message.to_vec()) else { return false };
        if reading.take(&message).is_err() {
            return false;
        }
    }
    let Some(transfer) = reading.transfer() else { return false };
    assert!(transfer.signatures < transfer.records);
    true
}

/// The head of a request to the HTTP endpoint, its page, and the answer of an HTTP server.
pub fn http(data: &[u8]) -> bool {
    static PAGES: OnceLock<Pages> = OnceLock::new();
    let pages = PAGES.get_or_init(|| {
        let day = 86_400;
        let limits = Thresholds { info: 30 * day, warning: 14 * day, critical: 3 * day, lead: 60 * day };
        let zones = vec![ZoneFacts::new(zone(), limits), ZoneFacts::new(Name::root(), limits)];
        Pages::new(Newest::new(judge(
            &HealthFacts { zones, ..HealthFacts::default() },
            &Since::default(),
            NOW,
        )))
    });
    let _ = http_client::parse(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = http_client::HttpServer::parse(text);
    }
    let Some(request) = metrics::fuzzing::http_request(data) else { return false };
    let _ = (request.field("accept-encoding"), request.field("host"));
    let Some(page) = pages.answer(&request) else { return false };
    assert!(page.fields.iter().all(|(_, value)| !value.contains(['\r', '\n'])), "{page:?}");
    true
}

/// Requests and answers of the control socket.
pub fn control(data: &[u8]) -> bool {
    rereads::<ControlRequest>(data) | rereads::<ControlAnswer>(data)
}

/// The messages between a program and the process that has the module of a token; the first octet chooses the side.
pub fn token_messages(data: &[u8]) -> bool {
    let Some((choice, octets)) = data.split_first() else { return false };
    let again: fn(&[u8]) -> Vec<u8> = if choice % 2 == 0 { token::requests } else { token::replies };
    let once = again(octets);
    assert_eq!(again(&once), once, "what was read is written so that it reads as the same");
    !once.is_empty()
}

/// A PKCS#11 URI.
pub fn token_uri(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(uri) = Pkcs11Uri::parse(text) else { return false };
    let printed = uri.to_string();
    let again = Pkcs11Uri::parse(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(again.to_string(), printed);
    let _ = keystore::crypto::pkcs11::with_object(text, "x");
    true
}

/// A query for a transfer, or one that is signed with TSIG; the first octet chooses the transport. What is sent reads as a transfer again.
pub fn transfer_query(data: &[u8]) -> bool {
    static SITE: OnceLock<TransferSite> = OnceLock::new();
    let site = SITE.get_or_init(|| {
        let (old, new) = (signed(Denial::Nsec), Arc::new(signed(Denial::Nsec3(Nsec3::new(0, false)))));
        TransferSite::new(&old, new, vec![transfer_key()], NOW).expect("families")
    });
    let Some((choice, query)) = data.split_first() else { return false };
    let transport = if choice & 1 == 0 { Transport::Stream } else { Transport::Udp };
    let Some(messages) = site.ask(query, transport, 1232) else { return false };
    let mut reading = Reading::new(SocketAddr::from(([127, 0, 0, 1], 53)), site.origin(), NOW);
    let mut is_whole = false;
    for octets in &messages {
        assert_eq!((&octets[..2], octets[2] & 0x80), (&query[..2], 0x80), "ID and QR");
        MessageParts::read(octets).expect("our reader reads our message");
        let message = Message::from_octets(octets.clone()).expect("a header");
        let is_axfr = question(query).is_some_and(|(_, rtype)| rtype == Rtype::AXFR);
        if is_axfr && message.header().rcode() == domain::base::iana::Rcode::NOERROR {
            reading.take(&message).expect("our client reads our transfer");
            is_whole = reading.transfer().is_some();
        }
    }
    assert!(transport == Transport::Stream || messages.len() < 2);
    is_whole
}

/// The key that requests for transfers may be signed with.
pub(crate) fn transfer_key() -> TsigKey {
    let secret = b"0123456789abcdef".to_vec().into();
    TsigKey { name: Name::parse("xfr").expect("a name"), algorithm: TsigAlgorithm::HmacSha256, secret }
}

/// A web-config (YAML), and the value of a header field with a login.
pub fn web_config(data: &[u8]) -> bool {
    let (findings, is_usable) = metrics::fuzzing::web_config(data);
    assert!(is_usable || !findings.is_empty() || data.trim_ascii().is_empty(), "refused without a word");
    let is_login = std::str::from_utf8(data).is_ok_and(metrics::fuzzing::is_login);
    is_usable || is_login
}
