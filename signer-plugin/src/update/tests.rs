//! Updates as `nsupdate` writes them, on a small zone: what becomes of each, held against the rules of RFC 2136 and what BIND does.

use keystore::config::content::{UpdateNames, UpdateRule};
use keystore::dns::lexer::Entries;
use keystore::dns::{Class, Rtype, record};

use super::*;
use crate::testing::{name, zone};
use crate::update::message::{ANY, NONE};
use crate::zone::Zone;

const ZONE: &str = "@ 300 SOA ns h 10 1 1 1 60\n@ 300 NS ns\nns 300 A 192.0.2.1\na 300 A 192.0.2.2\na 300 TXT one\n\
    alias 300 CNAME a\nsub 300 NS ns.sub\nsub 300 DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000\n\
    ns.sub 300 A 192.0.2.3\nBig 300 MX 10 Mail.other.\n";
/// The serial that is served.
const SERVED: u32 = 20;

/// A record in presentation form.
fn data(text: &str) -> UpdateRecord {
    let entry = Entries::new(text.as_bytes()).next().expect("an entry").expect(text);
    let read = record::parse(&entry, Some(&name("example")), None).expect(text);
    let (ttl, rdata) = (read.ttl.unwrap_or(300), read.rdata.to_vec());
    UpdateRecord { owner: read.owner.clone(), rtype: read.rtype, class: Class::IN, ttl, rdata }
}

/// A record that means a whole name or RRset.
fn whole(owner: &str, rtype: Option<&str>, class: Class) -> UpdateRecord {
    let owner = match owner {
        "@" => name("example"),
        owner => Name::parse_bytes(owner.as_bytes(), Some(&name("example"))).expect(owner),
    };
    let rtype = rtype.map_or(Rtype::ANY, |text| text.parse().expect(text));
    UpdateRecord { owner, rtype, class, ttl: 0, rdata: Vec::new() }
}

/// A message from lines in the words of nsupdate, parted by `;`.
pub(crate) fn message(text: &str) -> UpdateMessage {
    let mut message = UpdateMessage::default();
    for line in text.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = words[1..].join(" ");
        match (words[0], &words[1..]) {
            ("add", _) => message.updates.push(data(&rest)),
            ("delete", [owner]) => message.updates.push(whole(owner, None, ANY)),
            ("delete", [owner, rtype]) => message.updates.push(whole(owner, Some(rtype), ANY)),
            ("delete", _) => {
                message.updates.push(UpdateRecord { class: NONE, ttl: 0, ..data(&rest) });
            }
            ("yxdomain", [owner]) => message.prerequisites.push(whole(owner, None, ANY)),
            ("nxdomain", [owner]) => message.prerequisites.push(whole(owner, None, NONE)),
            ("yxrrset", [owner, rtype]) => message.prerequisites.push(whole(owner, Some(rtype), ANY)),
            ("nxrrset", [owner, rtype]) => message.prerequisites.push(whole(owner, Some(rtype), NONE)),
            ("yxrrset", _) => message.prerequisites.push(UpdateRecord { ttl: 0, ..data(&rest) }),
            _ => panic!("{line}"),
        }
    }
    message
}

/// The rule that allows everything.
pub(crate) fn everything() -> UpdateRule {
    UpdateRule { key: name("key"), address: None, names: UpdateNames::Zone, types: Some(vec![Rtype::ANY]) }
}

fn try_on(zone: &Zone, message: &UpdateMessage, rules: &[UpdateRule]) -> Result<Option<Zone>, UpdateRcode> {
    let served = ServedApex { serial: SERVED, made_at_apex: vec![Rtype::DNSKEY] };
    match evaluate(zone, &served, message, rules, Some(86_400)) {
        Ok(done) => Ok(done.map(|(zone, _)| zone)),
        Err(not_done) => Err(not_done.rcode),
    }
}

/// What a zone has, one record a line.
fn lines(zone: &Zone) -> Vec<String> {
    let mut lines = Vec::new();
    for node in zone.node_ids() {
        for id in zone.rrsets_of(node) {
            let set = zone.rrset(id);
            let owner = Name::from_wire(zone.owner(node)).expect("a name");
            for rdata in crate::zone::Records(set.data) {
                let text = keystore::dns::rdata::to_text(set.rtype, rdata, None);
                lines.push(format!("{owner} {} {} {text}", set.ttl, set.rtype));
            }
        }
    }
    lines
}

#[test]
fn each_update_changes_what_the_rfc_says_and_nothing_else() {
    const NOTHING: &[&str] = &[];
    let before = zone("example", ZONE).expect("a zone");
    for (update, gone, come) in [
        // Adding; again; with another TTL, which is that of the set then.
        ("add n 300 A 192.0.2.9", NOTHING, &["n.example. 300 A 192.0.2.9"][..]),
        ("add a 300 A 192.0.2.2", NOTHING, NOTHING),
        ("add a 60 A 192.0.2.2", &["a.example. 300 A 192.0.2.2"], &["a.example. 60 A 192.0.2.2"]),
        (
            "add a 60 A 192.0.2.3",
            &["a.example. 300 A 192.0.2.2"],
            &["a.example. 60 A 192.0.2.2", "a.example. 60 A 192.0.2.3"],
        ),
        ("add BIG 300 MX 10 MAIL.OTHER.", NOTHING, NOTHING),
        ("add x.y.n 300 TXT \"A b\"", NOTHING, &["x.y.n.example. 300 TXT \"A b\""]),
        ("add * 300 A 192.0.2.9", NOTHING, &["*.example. 300 A 192.0.2.9"]),
        ("add n 300 TYPE65400 \\# 2 0102", NOTHING, &["n.example. 300 TYPE65400 \\# 2 0102"]),
        // Deleting.
        ("delete a", &["a.example. 300 A 192.0.2.2", "a.example. 300 TXT \"one\""], NOTHING),
        ("delete a A", &["a.example. 300 A 192.0.2.2"], NOTHING),
        ("delete a A 192.0.2.2", &["a.example. 300 A 192.0.2.2"], NOTHING),
        ("delete a A 192.0.2.99", NOTHING, NOTHING),
        ("delete nowhere", NOTHING, NOTHING),
        ("delete nowhere A", NOTHING, NOTHING),
        ("delete big MX 10 mail.OTHER.", &["Big.example. 300 MX 10 Mail.other."], NOTHING),
        // The apex keeps its SOA and a name server.
        ("delete @ NS", NOTHING, NOTHING),
        ("delete @ SOA", NOTHING, NOTHING),
        ("delete @", NOTHING, NOTHING),
        ("delete @ NS ns", NOTHING, NOTHING),
        ("delete @ SOA ns h 10 1 1 1 60", NOTHING, NOTHING),
        (
            "add @ 300 NS ns2.other.; delete @ NS ns",
            &["example. 300 NS ns.example."],
            &["example. 300 NS ns2.other."],
        ),
        ("add @ 300 TXT x; delete @", NOTHING, NOTHING),
        // CNAME: whoever is there first stays; another CNAME takes its place.
        ("add a 300 CNAME x", NOTHING, NOTHING),
        ("add alias 300 A 192.0.2.9", NOTHING, NOTHING),
        ("add n 300 CNAME x; add n 300 A 192.0.2.9", NOTHING, &["n.example. 300 CNAME x.example."]),
        (
            "add alias 300 CNAME b",
            &["alias.example. 300 CNAME a.example."],
            &["alias.example. 300 CNAME b.example."],
        ),
        (
            "delete alias; add alias 300 A 192.0.2.9",
            &["alias.example. 300 CNAME a.example."],
            &["alias.example. 300 A 192.0.2.9"],
        ),
        // SOA: only one with a later serial than is served.
        ("add @ 300 SOA ns h 5 1 1 1 60", NOTHING, NOTHING),
        ("add @ 300 SOA ns h 20 1 1 1 60", NOTHING, NOTHING),
        (
            "add @ 300 SOA ns h 120 2 1 1 60",
            &["example. 300 SOA ns.example. h.example. 10 1 1 1 60"],
            &["example. 300 SOA ns.example. h.example. 120 2 1 1 60"],
        ),
        ("add a 300 SOA ns h 120 1 1 1 60", NOTHING, NOTHING),
        // A DS goes with its delegation.
        (
            "delete ns.sub; delete sub NS",
            &[
                "sub.example. 300 NS ns.sub.example.",
                "sub.example. 300 DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000",
                "ns.sub.example. 300 A 192.0.2.3",
            ],
            NOTHING,
        ),
        // In their order.
        ("add n 300 A 192.0.2.9; delete n", NOTHING, NOTHING),
        // Glue is no hidden data.
        (
            "add a.b.c 300 A 192.0.2.9; add b.c 300 NS ns",
            NOTHING,
            &["b.c.example. 300 NS ns.example.", "a.b.c.example. 300 A 192.0.2.9"],
        ),
        ("delete a A; add a 300 A 192.0.2.2", NOTHING, NOTHING),
    ] {
        let after =
            try_on(&before, &message(update), &[everything()]).unwrap_or_else(|e| panic!("{update}: {e:?}"));
        let mut want = lines(&before);
        want.retain(|line| !gone.contains(&line.as_str()));
        want.extend(come.iter().map(|line| (*line).to_owned()));
        want.sort();
        let mut found = lines(after.as_ref().unwrap_or(&before));
        found.sort();
        assert_eq!(found, want, "{update}");
        assert_eq!(after.is_some(), !(gone.is_empty() && come.is_empty()), "{update}: no change, no version");
    }
}

#[test]
fn prerequisites_hold_or_nothing_is_done() {
    use UpdateRcode::{NoError, NxDomain, NxRrset, YxDomain, YxRrset};
    let before = zone("example", ZONE).expect("a zone");
    for (prerequisites, want) in [
        ("yxdomain a", NoError),
        ("yxdomain nowhere", NxDomain),
        ("yxdomain @", NoError),
        ("nxdomain nowhere", NoError),
        ("nxdomain A", YxDomain),
        ("yxrrset a A", NoError),
        ("yxrrset a AAAA", NxRrset),
        ("yxrrset nowhere A", NxRrset),
        ("yxrrset @ DNSKEY", NoError),
        ("nxrrset @ DNSKEY", YxRrset),
        ("nxrrset a AAAA", NoError),
        ("nxrrset a A", YxRrset),
        ("yxrrset a A 192.0.2.2", NoError),
        ("yxrrset a A 192.0.2.3", NxRrset),
        // The whole set counts, its TTL and letter case do not.
        ("yxrrset a A 192.0.2.2; yxrrset a A 192.0.2.3", NxRrset),
        ("yxrrset a A 192.0.2.2; yxrrset a TXT one", NoError),
        ("yxrrset big MX 10 MAIL.other.", NoError),
        // The SOA record as it is served.
        ("yxrrset @ SOA ns h 20 1 1 1 60", NoError),
        ("yxrrset @ SOA ns h 10 1 1 1 60", NxRrset),
        ("nxdomain nowhere; yxrrset a AAAA", NxRrset),
    ] {
        let done =
            try_on(&before, &message(&format!("{prerequisites}; add n 300 A 192.0.2.9")), &[everything()]);
        match want {
            NoError => assert!(matches!(done, Ok(Some(_))), "{prerequisites}: {done:?}"),
            want => assert_eq!(done.err(), Some(want), "{prerequisites}"),
        }
    }
}

#[test]
fn what_the_zone_cannot_have_or_nobody_may_change_is_refused_and_nothing_of_the_message_is_done() {
    use UpdateRcode::{FormErr, NotZone, Refused};
    let before = zone("example", ZONE).expect("a zone");
    for (update, want) in [
        ("add n.other. 300 A 192.0.2.9", NotZone),
        ("yxdomain n.other.", NotZone),
        ("add a 300 RRSIG A 13 2 3600 20300101000000 20250101000000 1 example. AAAA", Refused),
        ("add a 300 NSEC b A", Refused),
        ("delete a NSEC", Refused),
        ("delete @ NSEC3PARAM", Refused),
        ("add @ 300 DNSKEY 256 3 13 AAAA", Refused),
        ("delete @ DNSKEY", Refused),
        ("delete @ CDS", Refused),
        ("add @ 300 CDNSKEY 0 3 0 AA==", Refused),
        ("delete @ ZONEMD", Refused),
        // What no resolver could see, or the file could not have.
        ("add x.sub 300 TXT t", Refused),
        ("add a.b.c 300 TXT t; add b.c 300 NS ns", Refused),
        ("add a 300 NS ns", Refused),
        ("add d 300 DNAME x; add e.d 300 A 192.0.2.9", Refused),
        ("add n 300 DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000", Refused),
        ("add *.w 300 NS ns", Refused),
        ("add n 86401 A 192.0.2.9", Refused),
    ] {
        let all = message(&format!("add first 300 A 192.0.2.9; {update}"));
        assert_eq!(try_on(&before, &all, &[everything()]).err(), Some(want), "{update}");
    }
    let malformed = |record: UpdateRecord, is_prerequisite: bool| {
        let mut message = UpdateMessage::default();
        if is_prerequisite {
            message.prerequisites.push(record);
        } else {
            message.updates.push(record);
        }
        assert_eq!(try_on(&before, &message, &[everything()]).err(), Some(FormErr), "{message:?}");
    };
    for is_prerequisite in [true, false] {
        malformed(UpdateRecord { ttl: 1, ..whole("a", None, ANY) }, is_prerequisite);
        malformed(UpdateRecord { rdata: vec![1], ..whole("a", Some("A"), ANY) }, is_prerequisite);
        malformed(whole("a", Some("A"), Class(3)), is_prerequisite);
        malformed(whole("a", Some("AXFR"), Class::IN), is_prerequisite);
        malformed(whole("a", Some("MAILB"), ANY), is_prerequisite);
    }
    malformed(UpdateRecord { ttl: 1, ..whole("a", Some("A"), NONE) }, false);
    malformed(whole("a", None, NONE), false);
}

#[test]
fn a_key_changes_what_its_rules_name() {
    let before = zone("example", ZONE).expect("a zone");
    let rule = |names, types: Option<&[Rtype]>| UpdateRule {
        names,
        types: types.map(<[Rtype]>::to_vec),
        ..everything()
    };
    let acme = rule(UpdateNames::Exact(name("_acme-challenge.a.example")), Some(&[Rtype::TXT]));
    let hosts = rule(UpdateNames::Subtree(name("a.example")), Some(&[Rtype::A]));
    for (update, allowed) in [
        ("add _acme-challenge.a 60 TXT token", true),
        ("delete _acme-challenge.a TXT", true),
        ("delete _acme-challenge.a", true),
        ("add _acme-challenge.a 60 A 192.0.2.9", true),
        ("add _acme-challenge.a 60 AAAA ::1", false),
        ("add x.a 60 TXT token", false),
        ("add x.a 60 A 192.0.2.9", true),
        ("delete a A", true),
        ("delete a TXT one", false),
        // It would take the TXT record away as well.
        ("delete a", false),
        ("delete x.a", true),
        ("add b 60 A 192.0.2.9", false),
        ("add a 60 A 192.0.2.9; add b 60 A 192.0.2.9", false),
        // What a deletion of the apex leaves alone needs no permission.
        ("delete @ NS", true),
    ] {
        let rules = [acme.clone(), hosts.clone()];
        let done = try_on(&before, &message(update), &rules);
        assert_eq!(done.is_ok(), allowed, "{update}: {done:?}");
        if !allowed {
            assert_eq!(done.err(), Some(UpdateRcode::Refused), "{update}");
        }
    }
}

#[test]
fn octets_of_any_kind_are_read_or_malformed() {
    // Names and RDATA that point into the question, as nsupdate sends them.
    let mut octets = vec![0; 12];
    octets.extend_from_slice(b"\x07example\x00\x00\x06\x00\x01");
    let at = octets.len();
    octets
        .extend_from_slice(b"\x01n\xc0\x0c\x00\x0f\x00\x01\x00\x00\x01\x2c\x00\x09\x00\x0a\x04mail\xc0\x0c");
    let read = UpdateMessage::read(&octets, at, (0, 1)).expect("an update");
    assert_eq!(read.updates, [data("n 300 MX 10 mail.example.")]);
    for len in 0..octets.len() {
        assert_eq!(UpdateMessage::read(&octets[..len], at, (0, 1)), Err(UpdateRcode::FormErr), "{len}");
    }
    for (from, octet) in (at..octets.len()).flat_map(|at| [0, 1, 0x3f, 0x40, 0xc0, 0xff].map(|o| (at, o))) {
        let mut other = octets.clone();
        other[from] = octet;
        let _ = UpdateMessage::read(&other, at, (0, 1)).map(|message| {
            let before = zone("example", ZONE).expect("a zone");
            try_on(&before, &message, &[everything()])
        });
    }
    assert_eq!(UpdateMessage::read(&octets, at, (60_000, 60_000)), Err(UpdateRcode::Refused));
}
