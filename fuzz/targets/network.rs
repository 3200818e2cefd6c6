//! What comes over sockets and pipes: replies of nameservers, transfers, HTTP, the control socket, the process of a token.

use std::net::SocketAddr;
use std::sync::OnceLock;

use domain::base::Message;
use keystore::crypto::pkcs11::{Pkcs11Uri, fuzzing as token};
use keystore::dns::{Name, Rtype};
use metrics::health::facts::{Facts, Thresholds, ZoneFacts};
use metrics::health::judge::judge;
use metrics::health::model::Since;
use metrics::health::routes::Pages;
use metrics::health::watch::Newest;
use offline_ksk_integration::http_client;
use offline_ksk_integration::probe::transfer::Reading;
use skr_loader::control::{Answer, Request};
use skr_loader::fuzzing as ask;

use super::answers::NOW;
use super::files::rereads;

fn zone() -> Name {
    Name::parse("example.").expect("a name")
}

/// A reply to the DNS client of the loader; the question is that of the input, so that it is ours.
pub fn dns_reply(data: &[u8]) {
    let (name, rtype) = question(data).unwrap_or_else(|| (zone(), Rtype::SOA));
    let id = data.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
    for authoritative in [false, true] {
        if let Ok(answer) = ask::answer(data, &name, rtype, id, authoritative) {
            assert!(answer.rrset.owner == name && answer.rrset.rtype == rtype);
            assert!(answer.signatures.iter().all(|signature| signature.covered == rtype));
        }
    }
    let _ = ask::reply(data, &name, rtype, id);
}

fn question(message: &[u8]) -> Option<(Name, Rtype)> {
    let body = message.get(12..)?;
    let len = keystore::dns::name::wire_len(body)?;
    let rtype = body.get(len..)?.first_chunk::<2>()?;
    Some((Name::from_wire(&body[..len]).ok()?, Rtype(u16::from_be_bytes(*rtype))))
}

/// The messages of a transfer, each with two octets of length in front as over TCP.
pub fn transfer(mut data: &[u8]) {
    let zone = zone();
    let mut reading = Reading::new(SocketAddr::from(([127, 0, 0, 1], 53)), &zone, NOW);
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let (message, behind) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes(*len))));
        data = behind;
        let Ok(message) = Message::from_octets(message.to_vec()) else { return };
        if reading.take(&message).is_err() {
            return;
        }
    }
    if let Some(transfer) = reading.transfer() {
        assert!(transfer.signatures < transfer.records);
    }
}

/// The head of a request to the HTTP endpoint, its page, and the answer of an HTTP server.
pub fn http(data: &[u8]) {
    static PAGES: OnceLock<Pages> = OnceLock::new();
    let pages = PAGES.get_or_init(|| {
        let day = 86_400;
        let limits = Thresholds { info: 30 * day, warning: 14 * day, critical: 3 * day, lead: 60 * day };
        let zones = vec![ZoneFacts::new(zone(), limits), ZoneFacts::new(Name::root(), limits)];
        Pages::new(Newest::new(judge(&Facts { zones, ..Facts::default() }, &Since::default(), NOW)))
    });
    if let Some(request) = metrics::fuzzing::http_request(data) {
        let _ = (request.field("accept-encoding"), request.field("host"));
        if let Some(page) = pages.answer(&request) {
            assert!(page.fields.iter().all(|(_, value)| !value.contains(['\r', '\n'])), "{page:?}");
        }
    }
    let _ = http_client::parse(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = http_client::HttpServer::parse(text);
    }
}

/// Requests and answers of the control socket.
pub fn control(data: &[u8]) {
    rereads::<Request>(data);
    rereads::<Answer>(data);
}

/// The messages between a program and the process that has the module of a token; the first octet chooses the side.
pub fn token_messages(data: &[u8]) {
    let Some((choice, octets)) = data.split_first() else { return };
    let again: fn(&[u8]) -> Vec<u8> = if choice % 2 == 0 { token::requests } else { token::replies };
    let once = again(octets);
    assert_eq!(again(&once), once, "what was read is written so that it reads as the same");
}

/// A PKCS#11 URI.
pub fn token_uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = Pkcs11Uri::parse(text) else { return };
    let printed = uri.to_string();
    let again = Pkcs11Uri::parse(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(again.to_string(), printed);
    let _ = keystore::crypto::pkcs11::with_object(text, "x");
}
