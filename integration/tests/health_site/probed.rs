//! What the probe of a daemon finds at the servers of a zone and of its parent, and what its signer finds at the secondaries: each of these
//! is a daemon of its own.

use std::cell::{Cell, RefCell};

use keystore::dns::{Name, Rtype, rdata};
use keystore::exchange::testing::TestKey;
use metrics::health::ConditionId;

use super::place::{DAY, Extra, HOSTS, Place, ZONE, bring, good, hosts, see, wait};

const SERVERS: [ConditionId; 5] = [
    ConditionId::ZoneNotLoaded,
    ConditionId::ParentDsMissing,
    ConditionId::ProbeServerSilent,
    ConditionId::ProbeSerialBehind,
    ConditionId::SoaExpireTooLong,
];
const PARENT: [ConditionId; 2] = [ConditionId::ParentDsWrong, ConditionId::ProbeDiffers];
const SECONDARIES: [ConditionId; 1] = [ConditionId::SecondaryBehind];

/// What this test brings about.
pub fn brought() -> impl Iterator<Item = ConditionId> {
    [&SERVERS[..], &PARENT, &SECONDARIES].into_iter().flatten().copied()
}

/// A zone file of the parent with this serial, server of the zone, and DS record.
fn write_parent(parent: &Place, serial: u32, server: &str, ds: &str) {
    let (head, hosts) = (
        format!("$TTL 300\n@ SOA ns. h. {serial} 3600 600 86400 300\n@ NS ns.\nns. A 127.0.0.1"),
        hosts(HOSTS),
    );
    parent.write(".zone", &format!("{head}\nexample. NS {server}\n{server} A 127.0.0.1\n{ds}{hosts}"));
    wait("the parent", || parent.serves(serial));
}

/// Addresses on the loopback, as in a list of the configuration.
fn addresses(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect::<Vec<_>>().join(", ")
}

/// The metric of the last round, in seconds; rounds after a reload are at least one apart.
fn last_round(place: &Place) -> Option<String> {
    let text = place.page("/metrics");
    let line = text.lines().find(|line| line.starts_with("offlineksk_probe_last_round_timestamp_seconds{"));
    line.filter(|line| !line.ends_with("} 0")).map(str::to_owned)
}

#[test]
fn what_probe_and_signer_find_at_other_servers_is_seen_everywhere_and_goes_when_it_is_mended() {
    let (place, other, parent) = (Place::new(), Place::new(), Place::of("."));
    let [daemon, _other, _parent] = [&place, &other, &parent].map(Place::serve);
    let ds = TestKey::ksk(1).dnskey.ds_rdata(&Name::parse(ZONE).expect("a name"), 2).expect("SHA-256");
    let ds_with = |ds: &[u8]| format!("example. DS {}\n", rdata::to_text(Rtype::DS, ds, None));
    let (wrong, ds) = (ds_with(&[&ds[..35], &[!ds[35]]].concat()), ds_with(&ds));
    // What is found must be there in two rounds, silence in three; other settings make a round at once.
    let interval = Cell::new(900);
    // A secondary that has an older version, and one that takes queries and never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let silent_port = silent.local_addr().expect("an address").port();
    let _over_tcp = std::net::TcpListener::bind(("127.0.0.1", silent_port));
    let notify = |ports: &[u16]| format!("[transfer]\nnotify = [{}]\n", addresses(ports));
    let secondaries = RefCell::new(notify(&[other.dns, silent_port]));
    let probe = |servers: &[u16], rounds: u32| {
        let list = addresses(servers);
        for _ in 0..rounds {
            interval.set(interval.get() + 1);
            let before = last_round(&place);
            let more = format!(
                "{}[probe]\ninterval = {}\nservers = [{list}]\nparents = [\"127.0.0.1:{}\"]\n",
                secondaries.borrow(),
                interval.get(),
                parent.dns
            );
            place.configure(&Extra { more: &more, ..Extra::default() });
            daemon.signal("-HUP");
            wait("a round", || last_round(&place) != before);
        }
    };
    let serve_zone = |serial, expire| {
        place.write_zone_of(ZONE, HOSTS, serial, expire);
        wait("the zone", || place.serves(serial));
    };
    write_parent(&parent, 10, "ns.example.", &ds);
    serve_zone(10, DAY);
    see(&place, place.http, &SECONDARIES, false);
    probe(&[place.dns], 1);
    // A server that has no SKR and answers SERVFAIL.
    let unloaded = Place::new();
    let _unloaded = unloaded.start(&["serve"]);
    wait("the server without an SKR", || unloaded.path("state/skr-loader.sock").exists());
    bring(
        &place,
        &SERVERS,
        || {
            write_parent(&parent, 20, "ns.example.", "");
            serve_zone(20, 40 * DAY);
            probe(&[place.dns, other.dns, unloaded.dns, silent_port], 3);
        },
        || {
            write_parent(&parent, 30, "ns.example.", &ds);
            serve_zone(30, DAY);
            unloaded.drop_text("good.skr", &good(ZONE).text());
            wait("the server with its SKR", || unloaded.page("/readyz").starts_with("ready"));
            probe(&[place.dns, unloaded.dns], 1);
        },
    );
    bring(
        &place,
        &PARENT,
        || {
            write_parent(&parent, 40, "other.example.", &wrong);
            probe(&[place.dns], 2);
        },
        || {
            write_parent(&parent, 50, "ns.example.", &ds);
            probe(&[place.dns], 1);
        },
    );
    // A secondary is told of after a minute, which has passed by now, or soon will have.
    see(&place, place.http, &SECONDARIES, true);
    let lacks = |port: u16, what: &str| {
        let line = format!("127.0.0.1:{port} {what}, serial 30 is served here");
        wait(&line, || place.status(&[ZONE]).replace("\n", " ").contains(&line));
    };
    lacks(other.dns, "has serial 1");
    lacks(silent_port, "was not seen to have the zone");
    // One catches up, and the other is no secondary any more.
    secondaries.replace(notify(&[other.dns]));
    other.write_zone_of(ZONE, HOSTS, 60, DAY);
    wait("the secondary", || other.serves(60));
    probe(&[place.dns], 1);
    serve_zone(60, DAY);
    see(&place, place.http, &SECONDARIES, false);
}
