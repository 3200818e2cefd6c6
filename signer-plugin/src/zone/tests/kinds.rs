//! Kinds of zone files that strangers had trouble with; see the table of kinds in `docs/manual/faults.md`.

use super::*;
use crate::rules::ZoneCheck;
use crate::testing::{signed, zone_by_rules};

const DS: &str = "DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF";

/// Lines added to a good zone, a piece of the one warning, and the owners that are left besides the apex and `ns`.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// The default leaves the last line out with its place in the warning, and strict rules refuse the zone at that line.
fn left_out_or_refused(rows: &[Row]) {
    for (lines, warning, left) in rows {
        let lines = lines.replace("DS!", DS);
        let text = format!("{APEX}{lines}\n");
        let place = format!("test.zone:{}: ", text.trim_end().lines().count());
        let zone = zone("example", &text).unwrap_or_else(|e| panic!("{lines}: {e}"));
        let texts = &zone.warnings().texts;
        let told = texts.iter().filter(|t| t.starts_with(&place) && t.contains(warning));
        assert!(told.clone().count() == 1 && texts.len() == 1, "{lines}: {texts:?}");
        assert!(told.clone().all(|t| t.ends_with("the record is left out")), "{texts:?}");
        assert_eq!(zone.warnings().left_out, 1, "{lines}");
        let others: Vec<String> =
            owners(&zone).into_iter().filter(|o| o != "example." && o != "ns.example.").collect();
        assert_eq!(others, *left, "{lines}");
        signed(zone).self_check(crate::testing::NOW, usize::MAX).expect("the rest is a sound zone");

        let strict = ZoneRules { check: ZoneCheck::Strict, ..ZoneRules::default() };
        let error = zone_by_rules("example", &text, strict).expect_err(&lines).to_string();
        assert!(error.starts_with(&place) && error.contains(warning), "{lines}: {error}");
    }
}

#[test]
fn kind_14_what_is_below_a_dname_is_left_out_of_the_zone() {
    left_out_or_refused(&[
        ("a DNAME b\nx.a NS ns", "x.a.example. is below the DNAME a.example.", &["a.example."]),
        ("a DNAME b\nx.y.a A 192.0.2.1", "is below the DNAME a.example.", &["a.example."]),
        ("a DNAME b\n*.a TXT t", "is below the DNAME a.example.", &["a.example."]),
        ("a DNAME b\nx.a DNAME c", "x.a.example. is below the DNAME a.example.", &["a.example."]),
        ("a DNAME b\nx.a CNAME c", "x.a.example. is below the DNAME a.example.", &["a.example."]),
        // The topmost of delegation and DNAME counts.
        ("s NS ns\na.s DNAME b", "at or below the delegation s.example.", &["s.example."]),
    ]);
    // No trace in chain and answers: the name is redirected, and no NSEC speaks of it.
    let zone = signed(load("a DNAME b\nx.a NS ns\ny.x.a A 192.0.2.1\nb.c A 192.0.2.2\n"));
    let nsec_owners: Vec<String> = zone
        .records()
        .filter(|r| r.rtype == Rtype::NSEC)
        .map(|r| Name::from_wire(&r.owner).expect("a name").to_string())
        .collect();
    assert_eq!(nsec_owners, ["example.", "a.example.", "b.c.example.", "ns.example."]);
}

#[test]
fn kind_18_records_that_no_resolver_could_see_are_left_out() {
    left_out_or_refused(&[
        ("www.elsewhere. A 192.0.2.1", "www.elsewhere. is outside the zone example.", &[]),
        ("@ NS ns.other.\nns.other. A 192.0.2.1", "ns.other. is outside the zone example.", &[]),
        ("example.com. TXT t", "example.com. is outside the zone example.", &[]),
        ("xexample. A 192.0.2.1", "xexample. is outside the zone example.", &[]),
        ("s NS ns\nb.s DS!", "DS of b.s.example. at or below the delegation s.example.", &["s.example."]),
        ("s NS ns\ns TXT t", "TXT of s.example. at or below the delegation s.example.", &["s.example."]),
        ("s NS ns\nb.s NS ns", "NS of b.s.example. at or below", &["s.example."]),
        ("s NS ns\nx.y.s MX 1 ns", "MX of x.y.s.example. at or below", &["s.example."]),
        ("s NS ns\nb.s CNAME ns", "CNAME of b.s.example. at or below", &["s.example."]),
    ]);
    // Glue stays, and so do addresses of the delegation's own name.
    let zone = load("s NS s\ns NS ns.s\ns A 192.0.2.1\nns.s AAAA 2001:db8::1\n");
    assert_eq!((zone.warnings().total, zone.rrset_count()), (0, 3 + 3));
}

#[test]
fn kind_18_a_ttl_above_the_limit_counts_as_zero_with_a_warning() {
    let origin = name("example");
    for (ttl, taken) in
        [(0x8000_0000, 0), (u32::MAX, 0), (0x8000_0001, 0), (0x7fff_ffff, 0x7fff_ffff), (0, 0)]
    {
        let mut builder = ZoneBuilder::new(&origin);
        let (soa, ns) = ([&[0, 0][..], &[0; 20]].concat(), [0]);
        for (rtype, rdata) in [(Rtype::SOA, &soa[..]), (Rtype::NS, &ns), (Rtype::A, &[192, 0, 2, 1])] {
            let place = zonefile::RecordPlace { file: 0, line: 7 };
            let ttl = if rtype == Rtype::A { ttl } else { 60 };
            builder
                .push(&zonefile::Record { owner: origin.as_wire(), rtype, ttl, rdata, place })
                .expect("taken");
        }
        let zone = builder.finish(SourceFiles::default()).expect("a zone");
        let a = zone.rrset(zone.find(NodeId::APEX, Rtype::A).expect("A"));
        let warned =
            zone.warnings().texts.iter().any(|t| t.contains(&format!("TTL {ttl} is above 2147483647")));
        assert_eq!((a.ttl, warned), (taken, ttl > 0x7fff_ffff), "{ttl}");
    }
}

#[test]
fn kind_18_a_ttl_above_max_zone_ttl_is_warned_of_and_refused_when_strict() {
    for (line, ttl) in
        [("x 3601 A 192.0.2.1", 3601), ("x 1w TXT t", 604_800), ("s 2147483647 NS ns", 0x7fff_ffff)]
    {
        let text = format!("{APEX}{line}\nlow 3600 A 192.0.2.1\n");
        let lenient = ZoneRules { max_ttl: Some(3600), ..ZoneRules::default() };
        let zone = zone_by_rules("example", &text, lenient).expect("a zone");
        let want = format!("test.zone:4: TTL {ttl} is above the policy's max-zone-ttl of 3600; ");
        assert!(zone.warnings().texts.len() == 1 && zone.warnings().texts[0].starts_with(&want));
        assert_eq!(zone.warnings().left_out, 0);
        let error = zone_by_rules("example", &text, ZoneRules { check: ZoneCheck::Strict, ..lenient });
        assert!(error.expect_err("strict").to_string().starts_with(&want));
    }
}

#[test]
fn kind_18_a_key_may_stand_beside_a_cname_and_nothing_else() {
    let zone = load("k CNAME ns\nk KEY 256 3 13 AAAA\n");
    assert_eq!(zone.warnings().total, 0);
    for other in ["A 192.0.2.1", "TXT t", "MX 1 ns", "SSHFP 1 1 0123456789ABCDEF0123456789ABCDEF01234567"] {
        let text = format!("{APEX}k CNAME ns\nk KEY 256 3 13 AAAA\nk {other}\n");
        assert!(zone_of(&text).expect_err(other).to_string().contains("stands alone"), "{other}");
    }
}

fn zone_of(text: &str) -> Result<Zone, ZoneFileError> {
    zone("example", text)
}

#[test]
fn kind_18_large_rrsets_are_served_as_long_as_a_message_can_hold_them() {
    let txt = |records: usize, octets: usize| -> String {
        let strings =
            |n: usize| (0..n / 256).map(|_| format!(" \"{}\"", "x".repeat(255))).collect::<String>();
        (0..records).map(|i| format!("big TXT n{i:03}{}\n", strings(octets))).collect()
    };
    // 12 octets in front of each RDATA; 65535 - 12 - 4 - 11 - 13 octets are there for them.
    for (records, octets, verdict) in [
        (3, 19_000, "silent"),
        (5, 12_288, "warned"),
        (1, 62_464, "warned"),
        (1, 65_280, "warned"),
        (6, 11_008, "refused"),
        (2, 40_000, "refused"),
    ] {
        let zone = zone_of(&format!("{APEX}{}", txt(records, octets)));
        let got = match &zone {
            Ok(zone) if zone.warnings().total == 0 => "silent",
            Ok(zone) if zone.warnings().texts[0].contains("may not fit a DNS message") => "warned",
            Err(error) if error.to_string().contains("no DNS message holds more than 65495") => "refused",
            other => panic!("{other:?}"),
        };
        assert_eq!(got, verdict, "{records} of {octets}");
    }
}

#[test]
fn kind_18_targets_that_look_wrong_are_warned_of() {
    for (lines, want) in [
        ("s NS ns.s", Some("ns.s.example. is below the delegation s.example. and has no address there")),
        ("s NS ns.t\nt NS ns", Some("ns.t.example. is below the delegation t.example.")),
        ("s NS host", Some("the name server host.example. is in the zone and has no address there")),
        ("@ NS txt\ntxt TXT t", Some("the name server txt.example. is in the zone")),
        ("s NS alias\nalias CNAME ns", Some("the name server alias.example. is in the zone")),
        (
            "m MX 10 mail.example",
            Some("MX leads to mail.example.example., which is not in the zone; is the final dot missing?"),
        ),
        ("m MX 10 mx.provider.com", Some("MX leads to mx.provider.com.example.")),
        ("_sip._tcp SRV 1 1 1 sip.provider.net", Some("SRV leads to sip.provider.net.example.")),
        ("s NS ns1.provider.org", Some("NS leads to ns1.provider.org.example.")),
        ("s NS 192.0.2.1", Some("NS leads to 192.0.2.1.example.")),
        ("m MX 10 mail", None),
        ("m MX 10 a.b", None),
        ("m MX 0 .", None),
        ("m MX 10 mx.provider.com.", None),
        ("m MX 10 mail.example\nmail.example A 192.0.2.1", None),
        ("m MX 10 x.com\n*.com A 192.0.2.1", None),
        ("s NS ns.s\nns.s AAAA 2001:db8::1", None),
        ("@ NS x.wild\n*.wild A 192.0.2.1", None),
    ] {
        let zone = load(&format!("{lines}\n"));
        let texts = &zone.warnings().texts;
        match want {
            Some(want) => assert!(texts.len() == 1 && texts[0].contains(want), "{lines}: {texts:?}"),
            None => assert!(texts.is_empty(), "{lines}: {texts:?}"),
        }
    }
}

#[test]
fn kind_18_a_zonemd_of_the_input_is_never_copied() {
    for line in ["@ ZONEMD 7 1 1", "@ ZONEMD 7 1 2", "@ TYPE63"] {
        let digest = if line.ends_with('2') { 128 } else { 96 };
        let data = match line {
            "@ TYPE63" => format!(" \\# 54 000000070101{}", "AB".repeat(48)),
            _ => format!(" {}", "A".repeat(digest)),
        };
        let zone = load(&format!("{line}{data}\n"));
        assert!(zone.find(NodeId::APEX, Rtype::ZONEMD).is_none(), "{line}");
        assert!(zone.warnings().texts[0].starts_with("test.zone:4: ZONEMD left out; "), "{line}");
    }
    // Below the apex it is no digest of this zone, and data like any other.
    let zone = load(&format!("x ZONEMD 7 1 1 {}\n", "A".repeat(96)));
    assert_eq!(zone.warnings().total, 0);
}
