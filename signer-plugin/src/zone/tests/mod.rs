mod changes;
mod kinds;

use super::*;
use crate::testing::{name, zone};
use proptest::prelude::*;

const APEX: &str = "@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\n";

fn load(more: &str) -> Zone {
    zone("example", &format!("{APEX}{more}")).expect(more)
}

fn owners(zone: &Zone) -> Vec<String> {
    zone.node_ids().map(|n| Name::from_wire(zone.owner(n)).expect("a name").to_string()).collect()
}

#[test]
fn names_stand_in_canonical_order_with_empty_non_terminals() {
    let zone = load(
        "a.b.C A 192.0.2.1\n*.c A 192.0.2.1\nB.c TXT t\n\\001.c A 192.0.2.1\nz.z.sub A 192.0.2.1\nsub NS ns.elsewhere.\n",
    );
    let want = [
        "example.",
        "c.example.",
        "\\001.c.example.",
        "*.c.example.",
        "B.c.example.",
        "a.b.C.example.",
        "ns.example.",
        "sub.example.",
        "z.sub.example.",
        "z.z.sub.example.",
    ];
    assert_eq!(owners(&zone), want);
    let node = |text: &str| zone.lookup(name(text).as_wire()).expect(text);
    assert!(zone.is_empty(node("c.example")) && zone.is_empty(node("z.sub.example")));
    assert!(zone.is_cut(node("sub.example")) && !zone.is_below_cut(node("sub.example")));
    assert!(zone.is_below_cut(node("z.z.sub.example")));
    assert_eq!(zone.node(node("c.example")).wildcard, Some(node("*.c.example")));
    assert_eq!((zone.serial(), zone.negative_ttl()), (7, 600));
}

#[test]
fn rrsets_are_merged_sorted_and_without_duplicates() {
    let zone = load(
        "m 300 MX 20 B\nm MX 10 a\nM 300 MX 20 b\nm 300 A 192.0.2.2\nm 300 A 192.0.2.1\nm 300 A 192.0.2.2\n",
    );
    let node = zone.lookup(name("m.example").as_wire()).expect("m");
    let mx = zone.rrset(zone.find(node, Rtype::MX).expect("MX"));
    let exchanges: Vec<&[u8]> = Records(mx.data).map(|r| &r[..4]).collect();
    // The first spelling stays; the TTL is the lowest.
    assert_eq!(exchanges, [&[0, 10, 1, b'a'][..], &[0, 20, 1, b'B']]);
    assert_eq!((mx.ttl, mx.fold), (300, true));
    let a = zone.rrset(zone.find(node, Rtype::A).expect("A"));
    assert_eq!(Records(a.data).map(|r| r[3]).collect::<Vec<_>>(), [1, 2]);
    assert!(zone.warnings().texts.iter().any(|w| w.starts_with("test.zone:") && w.contains("TTLs differ")));
}

#[test]
fn foreign_dnssec_records_are_left_out_with_a_warning() {
    let zone = load(
        "@ DNSKEY 257 3 13 AAAA\n@ CDNSKEY 0 3 0 AA==\n@ CDS 0 0 0 00\n@ NSEC ns A\n@ NSEC3PARAM 1 0 0 -\n\
         0p9mhaveqvm6t7vbl5lop2u3t2rp3tom NSEC3 1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr A\n\
         ns RRSIG A 13 2 3600 20300101000000 20250101000000 1 example. AAAA\n_dsboot.x CDS 0 0 0 00\n",
    );
    assert_eq!(zone.warnings().total, 7, "{:?}", zone.warnings());
    assert_eq!(
        zone.warnings().texts[0],
        "test.zone:4: DNSKEY left out: only a presigned zone is served with the DNSSEC records that it comes with"
    );
    assert_eq!(owners(&zone), ["example.", "ns.example.", "x.example.", "_dsboot.x.example."]);
    let node = zone.lookup(name("_dsboot.x.example").as_wire()).expect("signalling name");
    assert!(zone.find(node, Rtype::CDS).is_some(), "RFC 9615 signalling records are data");
}

#[test]
fn refuses_with_line() {
    let cases = [
        ("@ SOA ns admin 8 1h 5m 1w 10m", 4, "a second, different SOA"),
        ("x SOA ns admin 8 1h 5m 1w 10m", 4, "has one SOA, at its apex"),
        ("c CNAME a\nc A 192.0.2.1", 4, "stands alone"),
        ("c CNAME a\nc CNAME b", 5, "a second, different CNAME"),
        ("@ CNAME a", 4, "stands alone"),
        ("d DNAME a\nd DNAME b", 5, "a second, different DNAME"),
        ("d DNAME a\nd CNAME b", 5, "stands alone"),
        ("d DNAME a\nd NS b", 4, "beside NS"),
        ("@ DNAME elsewhere.", 2, "below a DNAME"),
        ("x DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", 4, "no delegation"),
        ("@ DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", 4, "no delegation"),
        (
            "*.x DNAME y\n*.x DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
            5,
            "no delegation",
        ),
        ("*.s NS x", 4, "wildcard"),
    ];
    for (text, line, want) in cases {
        let result = zone("example", &format!("{APEX}{text}\n"));
        let error = result.expect_err(text).to_string();
        assert!(error.starts_with(&format!("test.zone:{line}: ")) && error.contains(want), "{text}: {error}");
    }
}

#[test]
fn refuses_a_zone_without_soa_or_ns() {
    for (text, want) in [
        ("", "test.zone:1: the zone example. has no SOA"),
        ("ns A 192.0.2.1\n", "test.zone:1: the zone example. has no SOA"),
        ("@ NS ns\n", "test.zone:1: the zone example. has no SOA"),
        ("@ SOA ns admin 7 1h 5m 1w 10m\n", "test.zone:1: the zone example. has no NS"),
    ] {
        let error = zone("example", text).expect_err(text).to_string();
        assert!(error.starts_with(want), "{text}: {error}");
    }
}

#[test]
fn an_rrset_that_no_message_holds_is_refused() {
    let many: String = (0..10_000).map(|i| format!("big A 192.0.{}.{}\n", i / 250, i % 250)).collect();
    let error = zone("example", &format!("{APEX}{many}")).expect_err("too large").to_string();
    assert!(error.starts_with("test.zone:4: the A RRset of this name has 10000 records"), "{error}");
}

#[test]
fn meta_types_bad_data_and_bad_owners_are_refused() {
    let origin = name("example");
    let push = |rtype: u16, ttl: u32, rdata: &[u8], owner: &[u8]| {
        let place = zonefile::RecordPlace::default();
        let record = zonefile::Record { owner, rtype: Rtype(rtype), ttl, rdata, place };
        ZoneBuilder::new(&origin).push(&record)
    };
    for rtype in [0, 41, 128, 249, 250, 252, 255] {
        assert!(push(rtype, 1, &[], origin.as_wire()).is_err(), "{rtype}");
    }
    assert!(push(1, 0x7fff_ffff, &[192, 0, 2, 1], origin.as_wire()).is_ok());
    assert!(push(1, 1, &[192, 0, 2], origin.as_wire()).is_err());
    assert!(push(1, 1, &[192, 0, 2, 1], b"\x01a").is_err());
    assert!(push(1, 1, &[192, 0, 2, 1], b"\xc0\x0c").is_err());
}

#[test]
fn name_servers_without_address_are_told_of() {
    let zone = load("sub NS ns.sub\nother NS host.wild\nother NS x.elsewhere.\n*.wild A 192.0.2.9\n");
    assert_eq!(
        zone.warnings().texts,
        [
            "test.zone:4: the name server ns.sub.example. is below the delegation sub.example. and has no address there; resolvers cannot reach it without glue"
        ]
    );
}

#[test]
fn the_root_and_the_longest_names_load() {
    let root = zone(".", ". SOA ns.x. a. 1 1 1 1 1\n. NS ns.x.\ncom. NS a.gtld.\na.gtld. A 192.0.2.1\n")
        .expect("a root zone");
    assert_eq!(owners(&root), [".", "com.", "gtld.", "a.gtld."]);
    let (label, rest) = ("\\000".repeat(63), "\\000".repeat(255 - 9 - 3 * 64 - 1));
    let wide = format!("{rest}.{label}.{label}.{label}");
    let deep = format!("{}y", "x.".repeat(122));
    for (long, names) in [(wide, 2 + 4), (deep, 2 + 123)] {
        let zone = load(&format!("{long} A 192.0.2.1\n"));
        assert_eq!(zone.name_count(), names);
        let owner = name(&format!("{long}.example"));
        assert_eq!(owner.as_wire().len(), 255);
        assert!(zone.lookup(owner.as_wire()).is_some_and(|node| zone.find(node, Rtype::A).is_some()));
    }
}

proptest! {
    /// Places found by the index are those that a plain sorted list gives.
    #[test]
    fn search_agrees_with_a_sorted_list(
        labels in prop::collection::vec(prop::collection::vec("[*ab]{1,2}", 1..4), 1..20),
        asked in prop::collection::vec(prop::collection::vec("[*abc]{1,9}", 0..4), 1..20),
    ) {
        let text: String = labels.iter().map(|l| format!("{} A 192.0.2.1\n", l.join("."))).collect();
        let zone = load(&text);
        let mut all: Vec<Name> = owners(&zone).iter().map(|o| name(o)).collect();
        let sorted = { let mut s = all.clone(); s.sort(); s };
        prop_assert_eq!(&all, &sorted);
        all.dedup();
        prop_assert_eq!(all.len(), sorted.len());
        for labels in asked {
            let query = name(&labels.iter().map(|l| format!("{l}.")).chain(["example.".to_owned()]).collect::<String>());
            let key = zone.key_of(query.as_wire()).expect("inside");
            let key = key.as_slice();
            match all.binary_search(&query) {
                Ok(at) => {
                    prop_assert_eq!(zone.get(key), Some(NodeId::at(at)));
                    prop_assert_eq!(zone.last_up_to(key), NodeId::at(at));
                }
                Err(at) => {
                    prop_assert_eq!(zone.get(key), None);
                    prop_assert_eq!(zone.last_up_to(key), NodeId::at(at - 1));
                    let encloser = zone.closest_encloser(key);
                    let mut want = query.parent().expect("not the root");
                    while !all.contains(&want) {
                        want = want.parent().expect("not the root");
                    }
                    prop_assert_eq!(&all[encloser.position()], &want);
                    if !all.contains(&name(&format!("*.{want}"))) {
                        let star = all.binary_search(&name(&format!("*.{want}"))).expect_err("absent");
                        prop_assert_eq!(zone.before_wildcard(encloser), NodeId::at(star - 1));
                    }
                }
            }
        }
    }
}
