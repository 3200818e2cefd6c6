//! What the loader finds at the parent of a zone.

use metrics::health::ConditionId;
use skr_loader::control::{Answer, Request};

use super::place::{Extra, Place, bring};

/// What this test brings about.
pub const BROUGHT: [ConditionId; 1] = [ConditionId::ParentNotTold];

fn reload(place: &Place, more: &str) {
    place.configure(&Extra { more, ..Extra::default() });
    let answer = place.order(&Request::Reload {});
    assert!(matches!(answer, Answer::Reloaded { .. }), "{answer:?}");
}

#[test]
fn parent_that_cannot_be_found_is_seen_everywhere_until_nobody_is_to_be_told() {
    let place = Place::new();
    let _daemon = place.serve();
    // It takes queries and never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = silent.local_addr().expect("an address").port();
    let settings = |notify: bool| {
        format!(
            "[loader]\nparent-resolver = \"127.0.0.1:{port}\"\n[parent]\nnotify-cds = {notify}\nservers = [\"127.0.0.1:{}\"]\n",
            place.dns
        )
    };
    bring(&place, &BROUGHT, || reload(&place, &settings(true)), || reload(&place, &settings(false)));
}
