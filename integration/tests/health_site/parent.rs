//! What the loader finds at the parent of a zone.

use metrics::health::ConditionId;
use skr_loader::control::{ControlAnswer, ControlRequest};

use super::place::{DAY, Extra, Place, bring, hosts};
use keystore::dns::{Name, Rtype, rdata};
use keystore::exchange::testing::TestKey;

/// What this test brings about.
pub const BROUGHT: [ConditionId; 2] = [ConditionId::ParentNotTold, ConditionId::ParentHookFailed];

fn reload(place: &Place, more: &str) {
    place.configure(&Extra { more, ..Extra::default() });
    let answer = place.order(&ControlRequest::Reload {});
    assert!(matches!(answer, ControlAnswer::Reloaded { .. }), "{answer:?}");
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
    bring(&place, &BROUGHT[..1], || reload(&place, &settings(true)), || reload(&place, &settings(false)));
}

#[test]
fn command_that_fails_is_seen_everywhere_until_it_goes_well() {
    // The parent stands in for the resolver, too: it says that there is a DS record, and then that there is none.
    let (place, parent) = (Place::new(), Place::of("."));
    let ds = TestKey::ksk(1).dnskey.ds_rdata(&Name::parse("example.").expect("a name"), 2).expect("SHA-256");
    let write = |serial: u32, ds: &str| {
        let head = format!(
            "$TTL 300\n@ SOA ns. h. {serial} 3600 600 {DAY} 300\n@ NS ns.\nns. A 127.0.0.1\nexample. NS ns.\n"
        );
        parent.write(".zone", &format!("{head}{ds}{}", hosts(super::place::HOSTS)));
    };
    write(1, &format!("example. DS {}\n", rdata::to_text(Rtype::DS, &ds, None)));
    let [_daemon, _parent] = [&place, &parent].map(Place::serve);
    let settings = |command: &str| {
        format!(
            "[loader]\nparent-resolver = \"127.0.0.1:{0}\"\n[parent]\nnotify-cds = false\non-ds-gone = [\"{command}\"]\n\
             parent-servers = [\"127.0.0.1:{0}\"]\n",
            parent.dns
        )
    };
    // What is noted of a zone whose DS record was seen by another process.
    let key = data_encoding::HEXLOWER.encode(&TestKey::ksk(1).dnskey.to_rdata());
    std::fs::create_dir_all(place.path("state/parent")).expect("a folder");
    let note = format!("{{\"told\":null,\"told-at\":0,\"ksks\":{{\"{key}\":{{\"seen\":1}}}}}}");
    place.write("state/parent/example.", &note);
    write(2, "");
    super::place::wait("the parent", || parent.serves(2));
    bring(
        &place,
        &BROUGHT[1..],
        || reload(&place, &settings("/bin/false")),
        || reload(&place, &settings("/bin/true")),
    );
}
