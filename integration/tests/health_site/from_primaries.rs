//! What the signer finds at the primaries of a zone: the primary is a daemon of its own.

use keystore::exchange::testing::TestKey;
use metrics::health::ConditionId;

use super::place::{Extra, Place, bring, good, see, wait};

/// What this test brings about.
pub const BROUGHT: [ConditionId; 2] = [ConditionId::TransferFailing, ConditionId::ZoneExpired];
const FROM: &str = "new.";

/// Has a primary serve the zone; it expires two seconds after it was last confirmed, and is looked at each second.
fn write_zone(primary: &Place, serial: u32) {
    let text = format!("$TTL 300\n@ SOA ns h {serial} 1 1 0 300\n@ NS ns\nns A 127.0.0.1\n");
    primary.write(&format!("{FROM}zone"), &text);
}

#[test]
fn primaries_that_do_not_answer_are_seen_everywhere_until_one_does() {
    let (primary, place) = (Place::of(FROM), Place::new());
    let open = "[transfer]\nallow-transfer = [{ address = \"127.0.0.0/8\" }]\n";
    write_zone(&primary, 1);
    primary.configure(&Extra { more: open, ..Extra::default() });
    let serving = std::cell::RefCell::new(Some(primary.serve()));
    place.write_key(FROM, &TestKey::zsk(2), 2);
    let anchor = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
    let more = format!(
        "[transfer]\nmin-refresh = 1\nmin-retry = 1\n[[zone]]\nname = \"{FROM}\"\npolicy = \"p\"\nprimaries = [\"127.0.0.1:{}\"]\n\
         trust-anchors = [\"{FROM} 3600 IN DNSKEY 257 3 15 {anchor}\"]\n",
        primary.dns
    );
    place.configure(&Extra { more: &more, ..Extra::default() });
    let _daemon = place.start(&["serve"]);
    wait("the daemon", || place.path("state/skr-loader.sock").exists());
    place.drop_text("good.skr", &good(super::place::ZONE).text());
    place.drop_text("new.skr", &good(FROM).text());
    wait("both zones", || place.page("/readyz").starts_with("ready"));
    see(&place, place.http, &BROUGHT, false);
    bring(
        &place,
        &BROUGHT,
        || serving.take().expect("it runs").kill(),
        || drop(serving.replace(Some(primary.start(&["serve"])))),
    );
}
