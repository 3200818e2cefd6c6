use crate::check::CheckId;
use std::fmt::Write;

use proptest::prelude::*;
use rayon::prelude::*;

use super::*;
use crate::dns::{Name, Rtype};
use crate::exchange::testing::{SkrBuilder, TestKey};
use crate::exchange::{Bundle, Ksr, KsrBundle, UnverifiedSkr, VerifyContext, verify};
use crate::time::Timestamp;

fn zone() -> Name {
    Name::parse("example.").expect("a name")
}

fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").expect("a stamp")
}

/// Two bundles. Both KSKs sign, so that some signatures are not needed: their loss must be noticed all the same.
fn builder() -> SkrBuilder {
    SkrBuilder::new("example.", start()).bundles(2).ksk(TestKey::ksk(1)).ksk(TestKey::ksk(3))
}

/// Good but for the signatures, and short.
const SHORT: &str = "\
;; SignedKeyResponse 1.0 20270101000000 (Fri Jan  1 00:00:00 2027)
example.\t\t3600\tIN\tDNSKEY\t257 3 15 AQID
example.\t\t3600\tIN\tRRSIG\tDNSKEY 15 1 3600 20270115000000 20261231230000 1 example. AQID
;; SignedKeyResponse 1.0 20270110000000 (Sun Jan 10 00:00:00 2027)
example.\t\t3600\tIN\tDNSKEY\t257 3 15 AQID
;; SignedKeyResponse 1.0 generated at Fri Jan  1 00:00:00 2027 by a test
";

/// ID, line, what is replaced in [`SHORT`] (its first occurrence), by what.
pub(crate) const REJECTED: &[(CheckId, u32, &str, &str)] = &[
    (CheckId::SkrSyntax, 1, SHORT, ""),
    (CheckId::SkrSyntax, 2, SHORT, "; nothing\n\n"),
    (
        CheckId::SkrSyntax,
        1,
        ";; SignedKeyResponse 1.0 20270101000000",
        "example. 3600 IN DNSKEY 257 3 15 AQID\n;; SignedKeyResponse 1.0 20270101000000",
    ),
    (CheckId::SkrSyntax, 1, "SignedKeyResponse", "SignedKeyResponses"),
    (CheckId::SkrSyntax, 1, "SignedKeyResponse", "signedkeyresponse"),
    (CheckId::SkrSyntax, 1, "SignedKeyResponse", "KeySigningRequest"),
    (CheckId::SkrSyntax, 1, ";; ", ";;"),
    (CheckId::SkrSyntax, 1, ";; ", "; "),
    (CheckId::SkrSyntax, 1, ";; ", " ;; "),
    (CheckId::SkrSyntax, 1, " 1.0", " 1.1"),
    (CheckId::SkrSyntax, 1, " 1.0", ""),
    (CheckId::SkrSyntax, 1, " 1.0 20270101000000 (Fri Jan  1 00:00:00 2027)", " 1.0"),
    (CheckId::SkrSyntax, 1, "20270101000000", "2027010100000"),
    (CheckId::SkrSyntax, 1, "20270101000000", "20260231000000"),
    (CheckId::SkrSyntax, 1, "20270101000000", "20270101000060"),
    (CheckId::SkrSyntax, 1, "20270101000000", "20270101"),
    (CheckId::SkrSyntax, 1, "20270101000000", "1798761600"),
    (CheckId::SkrSyntax, 1, "20270101000000", "now"),
    (CheckId::SkrSyntax, 1, "20270101000000", "now+40d"),
    (CheckId::SkrSyntax, 1, "20270101000000 (Fri Jan  1 00:00:00 2027)", "21060207062816"),
    (CheckId::SkrSyntax, 1, "20270101000000", "20270101000001"),
    (CheckId::SkrSyntax, 1, "20270101000000", "20270101001000"),
    (CheckId::SkrSyntax, 1, "20270101000000", "20270102000000"),
    (CheckId::SkrSyntax, 2, "example.\t\t3600\tIN\tDNSKEY", ";example.\t\t3600\tIN\tDNSKEY"),
    (CheckId::SkrSyntax, 3, "AQID\n;; S", "AQID;; S"),
    (CheckId::SkrSyntax, 2, "DNSKEY\t257 3 15 AQID", "DNSKEY\t257 3 15 ( AQID"),
    (CheckId::SkrSyntax, 2, "AQID", "AQID )"),
    (CheckId::SkrSyntax, 2, "AQID", "\"AQID\""),
    (CheckId::SkrSyntax, 2, "AQID", "A*ID"),
    (CheckId::SkrSyntax, 2, "257 3 15", "70000 3 15"),
    (CheckId::SkrSyntax, 2, "257 3 15 AQID", "257 3"),
    (CheckId::SkrSyntax, 2, "example.\t", "@\t"),
    (CheckId::SkrSyntax, 2, "example.\t", "exam..ple.\t"),
    (CheckId::SkrSyntax, 2, "example.\t", "$ORIGIN example.\nexample.\t"),
    (CheckId::SkrSyntax, 2, "example.\t", "$INCLUDE /etc/passwd\nexample.\t"),
    (CheckId::SkrSyntax, 2, "example.\t", "$TTL 3600\nexample.\t"),
    (CheckId::SkrSyntax, 2, "AQID", "AQ\0ID"),
    (CheckId::SkrSyntax, 2, "AQID\n", "AQID\r\r\n"),
    (
        CheckId::SkrSyntax,
        4,
        "example.\t\t3600\tIN\tDNSKEY\t257 3 15 AQID\n;; SignedKeyResponse 1.0 g",
        ";; SignedKeyResponse 1.0 g",
    ),
    (CheckId::SkrSyntax, 7, "by a test\n", "by a test\nexample. 3600 IN DNSKEY 257 3 15 AQID\n"),
    (CheckId::SkrSyntax, 7, "by a test\n", "by a test\n;; SignedKeyResponse 1.0 20280101000000\n"),
    (CheckId::SkrSyntax, 7, "by a test\n", "by a test\n;; SignedKeyResponse 1.0 generated\n"),
    (
        CheckId::SkrTruncated,
        5,
        ";; SignedKeyResponse 1.0 generated at Fri Jan  1 00:00:00 2027 by a test\n",
        "",
    ),
    (CheckId::SkrType, 2, "DNSKEY", "TXT"),
    (CheckId::SkrType, 2, "DNSKEY", "NOTYPE"),
    (CheckId::SkrType, 2, "DNSKEY", "ANY"),
    (CheckId::SkrType, 3, "RRSIG\tDNSKEY", "RRSIG\tA"),
    (CheckId::SkrType, 3, "RRSIG\tDNSKEY", "RRSIG\tCDS"),
    (CheckId::SkrClass, 2, "IN", "CH"),
    (CheckId::SkrClass, 2, "IN", "CLASS2"),
    (CheckId::SkrTtl, 2, "3600", "4294967296"),
    (CheckId::SkrTtl, 2, "3600\t", ""),
    (CheckId::SkrTtl, 3, "3600\tIN\tRRSIG", "3601\tIN\tRRSIG"),
    (
        CheckId::SkrTtl,
        3,
        "example.\t\t3600\tIN\tRRSIG",
        "example. 7200 IN DNSKEY 256 3 15 AQIE\nexample.\t\t3600\tIN\tRRSIG",
    ),
    (CheckId::SkrWrongZone, 2, "example.\t", "example.test.\t"),
    (CheckId::SkrWrongZone, 2, "example.\t", "a.example.\t"),
    (CheckId::SkrWrongZone, 2, "example.\t", ".\t"),
];

#[test]
fn refuses_with_id_and_line() {
    parse_skr(SHORT.as_bytes(), &zone()).expect("the base is good");
    for (id, line, from, to) in REJECTED {
        let text = SHORT.replacen(from, to, 1);
        let error = parse_skr(text.as_bytes(), &zone()).expect_err(&text);
        assert_eq!((error.id, error.line), (*id, *line), "{from:?} by {to:?}: {error}");
    }
    for (id, octets) in [
        (CheckId::SkrSyntax, &b"\xef\xbb\xbf;; SignedKeyResponse 1.0 20270101000000\n"[..]),
        (CheckId::SkrSyntax, b";; SignedKeyResponse 1.0 20270101000000 (\xff)\n"),
        (
            CheckId::SkrSyntax,
            b";; SignedKeyResponse 1.0 20270101000000\nex\xe9mple. 60 IN DNSKEY 257 3 15 AQID\n",
        ),
    ] {
        assert_eq!(parse_skr(octets, &zone()).expect_err("octets").id, id);
    }
}

#[test]
fn takes_other_ways_to_write_the_same() {
    let want = parse_skr(SHORT.as_bytes(), &zone()).expect("the base is good");
    for (from, to) in [
        ("\n", "\r\n"),
        ("\n", "\n\n"),
        ("\n", "\n; a remark\n"),
        ("\n", "\n \t\n"),
        ("\t\t", " "),
        ("AQID", "AQ ID"),
        ("AQID", "( AQ\n  ID ; half\n )"),
        ("AQID", "AQID ; a remark"),
        ("example.\t", "EXAMPLE.\t"),
        ("example.\t", "example\t"),
        ("\tIN\t", "\tin\t"),
        ("\tIN\t", "\t"),
        ("3600\tIN\t", "IN\t3600\t"),
        ("3600\tIN", "1h\tIN"),
        ("\tDNSKEY\t", "\tdnskey\t"),
        ("\tDNSKEY\t", "\tTYPE48\t"),
        ("(Fri Jan  1 00:00:00 2027)", ""),
        ("(Fri Jan  1 00:00:00 2027)", "in words"),
        ("(Fri Jan  1 00:00:00 2027)", "(Fri Jan  1 05:30:00 2027)"),
        ("(Fri Jan  1 00:00:00 2027)", "(Thu Dec 31 16:00:00 2026)"),
        ("generated at Fri Jan  1 00:00:00 2027 by a test\n", "generated"),
        ("by a test\n", "by a test\n\n; a remark\n"),
        // A record twice counts once.
        ("257 3 15 AQID\n", "257 3 15 AQID\nexample. 3600 IN DNSKEY 257 3 15 AQID\n"),
        // Without owner that of the record before counts, without TTL too.
        ("example.\t\t3600\tIN\tRRSIG", "\t\t3600\tIN\tRRSIG"),
        ("example.\t\t3600\tIN\tRRSIG", "\tRRSIG"),
    ] {
        let text = SHORT.replace(from, to);
        let got = parse_skr(text.as_bytes(), &zone()).unwrap_or_else(|e| panic!("{from:?} by {to:?}: {e}"));
        assert_eq!(got, want, "{from:?} by {to:?}");
    }
}

/// Ten thousand zones have each bundle of the SKR in force at hand, and most bundles have the keys of the one before.
#[test]
fn kind_111_bundles_with_the_key_sets_of_the_one_before_hold_them_once() {
    let start = Timestamp::parse_stamp("20270101000000").unwrap();
    let day = 86_400;
    let builder = SkrBuilder::new("Example.", start).bundles(6).step(day).zsk(TestKey::zsk(2).dnskey);
    let rolls = builder.clone().zsk_during(TestKey::zsk(3).dnskey, start.plus(2 * day), start.plus(4 * day));
    // For each bundle but the first: its DNSKEY RRset is held with the one before. CDS and CDNSKEY are the same in all.
    for (builder, held) in [(builder, [true; 5]), (rolls, [true, false, true, false, true])] {
        let built = builder.build();
        let skr = parse_skr(print_skr(&built, start, "a test").as_bytes(), &built.zone).unwrap();
        assert_eq!(skr, built);
        let pairs: Vec<_> = skr.bundles.iter().zip(&skr.bundles[1..]).collect();
        let is_same: Vec<bool> = pairs.iter().map(|(a, b)| a.dnskey.is_same(&b.dnskey)).collect();
        assert_eq!(is_same, held);
        for (a, b) in pairs {
            let both = [(&a.cds, &b.cds), (&a.cdnskey, &b.cdnskey)];
            assert!(both.iter().all(|(a, b)| a.as_ref().unwrap().is_same(b.as_ref().unwrap())));
        }
    }
}

#[test]
fn reads_the_delete_form() {
    let more = "257 3 15 AQID\nexample. 3600 IN CDNSKEY 0 3 0 AA==\nexample. 3600 IN CDS 0 0 0 00\n";
    let text = SHORT.replacen("257 3 15 AQID\n", more, 1);
    let skr = parse_skr(text.as_bytes(), &zone()).unwrap_or_else(|e| panic!("{e}"));
    let rdata = |rrset: &Option<crate::shared::Shared<crate::dns::Rrset>>| {
        rrset.as_ref().expect("there").rdatas[0].to_vec()
    };
    assert_eq!(rdata(&skr.bundles[0].cdnskey), [0, 0, 3, 0, 0]);
    assert_eq!(rdata(&skr.bundles[0].cds), [0, 0, 0, 0, 0]);
}

#[test]
fn limits_cost_no_time() {
    let bundle = "example. 3600 IN DNSKEY 257 3 15 AQID\n";
    let mut many = String::new();
    for i in 0..100_000u64 {
        let _ = write!(many, ";; SignedKeyResponse 1.0 {}\n{bundle}", start().plus(i));
    }
    let head = ";; SignedKeyResponse 1.0 20270101000000\n";
    let keys: String = (0..10_000).map(|i| format!("example. 3600 IN DNSKEY 256 3 15 {:08}\n", i)).collect();
    let signatures: String = (0..17)
        .map(|i| {
            format!(
                "example. 3600 IN RRSIG DNSKEY 15 1 3600 20270115000000 20261231230000 1 example. {:04}\n",
                i
            )
        })
        .collect();
    let long = "A".repeat(8000);
    let folded =
        format!("example. 3600 IN DNSKEY 256 3 15 ({})\n", format!("\n {}", "A".repeat(4000)).repeat(20));
    for text in [
        many,
        "\n".repeat(MAX_OCTETS + 1),
        format!("{head}{keys}"),
        format!("{head}{bundle}{signatures};; SignedKeyResponse 1.0 generated\n"),
        format!("{head}example. 3600 IN DNSKEY 256 3 15 {long}\n"),
        format!("{head}; {}\n", "x".repeat(10_000_000)),
        format!("{head}{folded}"),
    ] {
        assert_eq!(parse_skr(text.as_bytes(), &zone()).expect_err("too much").id, CheckId::SkrLimits);
    }
}

#[test]
fn cut_anywhere_it_is_noticed() {
    let text = builder().text();
    let whole = parse_skr(text.as_bytes(), &zone()).expect("good");
    let closed = text.find("generated").expect("a closing line") + "generated".len();
    for end in 0..text.len() {
        let cut = parse_skr(&text.as_bytes()[..end], &zone());
        if end < closed {
            let error = cut.expect_err("cut");
            let at_line_end = end > 0 && text.as_bytes()[end - 1] == b'\n';
            assert!(
                !at_line_end || error.id == CheckId::SkrTruncated || error.id == CheckId::SkrSyntax,
                "{end}: {error}"
            );
            if at_line_end && !text[..end].lines().last().is_some_and(|l| l.starts_with(";;")) {
                assert_eq!(error.id, CheckId::SkrTruncated, "{end}: {error}");
            }
        } else {
            // What is missing is a remark, up to a word of it that the reader may not know.
            assert!(cut.is_ok_and(|skr| skr == whole) || text.as_bytes()[end - 1] != b' ', "{end}");
        }
    }
}

/// Damaged text is refused, or reads as before.
fn holds(text: &[u8], whole: &UnverifiedSkr, builder: &SkrBuilder) -> bool {
    let anchors = builder.anchors();
    let Ok(skr) = parse_skr(text, &zone()) else { return true };
    skr == *whole || verify(skr, &VerifyContext::new(&zone(), &anchors), start()).is_err()
}

#[test]
fn every_octet_deleted_or_doubled_is_noticed_or_harmless() {
    let builder = builder();
    let (text, whole) = (builder.text().into_bytes(), builder.build());
    (0..text.len()).into_par_iter().for_each(|at| {
        let (before, octet, after) = (&text[..at], text[at], &text[at + 1..]);
        for put in [&[][..], &[octet, octet]] {
            let damaged = [before, put, after].concat();
            assert!(holds(&damaged, &whole, &builder), "octet {at} by {put:?}");
        }
    });
}

#[test]
fn no_line_vanishes_in_a_comment() {
    let builder = builder();
    let (text, whole) = (builder.text().into_bytes(), builder.build());
    for at in (0..text.len()).filter(|at| *at == 0 || text[at - 1] == b'\n') {
        for put in [b';', b'\n', b' ', b'(', b'#'] {
            let mut damaged = text.clone();
            damaged[at] = put;
            assert!(holds(&damaged, &whole, &builder), "octet {at} by {put:?}");
        }
    }
}

#[test]
fn digits_of_header_times_count() {
    let builder = SkrBuilder::new("example.", start()).bundles(3);
    let (text, whole) = (builder.text(), builder.build());
    let places: Vec<_> = text.match_indices("Response 1.0 2").map(|(at, _)| at + 13).collect();
    assert_eq!(places.len(), 3);
    for place in places {
        for (i, digit) in (0..14).flat_map(|i| (b'0'..=b'9').map(move |d| (i, d))) {
            let mut damaged = text.clone().into_bytes();
            damaged[place + i] = digit;
            assert!(
                holds(&damaged, &whole, &builder),
                "digit {i} of the header at {place}: {}",
                char::from(digit)
            );
        }
    }
}

proptest! {
    #[test]
    fn one_octet_changed_is_noticed_or_harmless(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let builder = builder();
        let (mut text, whole) = (builder.text().into_bytes(), builder.build());
        let at = at.index(text.len());
        text[at] = to;
        prop_assert!(holds(&text, &whole, &builder), "octet {} by {}", at, to);
    }

    #[test]
    fn any_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        let _ = parse_skr(&octets, &zone());
        let _ = parse_ksr(&octets, &zone());
        let mut text = SHORT.as_bytes().to_vec();
        let at = at.index(text.len());
        text.splice(at..at, octets);
        let _ = parse_skr(&text, &zone());
    }

    #[test]
    fn printed_and_read_it_is_the_same(
        bundles in 1u64..5,
        step in 1u64..2_000_000,
        validity in 1u64..4_000_000,
        ttl in 0u32..=0x7fff_ffff,
        cds in any::<bool>(),
        zsks in prop::collection::vec(any::<u8>(), 0..4),
        at in 86_400u64..4_200_000_000,
    ) {
        let at = Timestamp::from_secs(at);
        let mut builder = SkrBuilder::new("Example.", at).bundles(bundles).step(step).validity(validity).ttl(ttl);
        let mut seeds = zsks;
        seeds.sort_unstable();
        seeds.dedup();
        for seed in seeds {
            builder = builder.zsk(TestKey::zsk(seed).dnskey);
        }
        if !cds {
            builder = builder.without_cds();
        }
        let skr = builder.build();
        let text = print_skr(&skr, at, "a test");
        let read = parse_skr(text.as_bytes(), &zone()).expect("what was printed");
        prop_assert_eq!(&read, &skr);
        prop_assert_eq!(print_skr(&read, at, "a test"), text);
    }
}

// ------------------------------------------------------------------------------------------------- KSR

const REQUEST: &str = "\
;; KeySigningRequest 1.0 20270101000000 (Fri Jan  1 00:00:00 2027)
example.\t\t3600\tIN\tDNSKEY\t256 3 15 AQID
;; KeySigningRequest 1.0 20270110000000 (Sun Jan 10 00:00:00 2027)
example.\t\t3600\tIN\tDNSKEY\t256 3 15 AQID
example.\t\t3600\tIN\tDNSKEY\t256 3 15 AQIE
;; KeySigningRequest 1.0 generated at Fri Jan  1 00:00:00 2027 by a test
";

#[test]
fn reads_a_request() {
    let ksr = parse_ksr(REQUEST.as_bytes(), &zone()).expect("good");
    assert_eq!(ksr.bundles.iter().map(|b| b.keys.len()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((ksr.bundles[0].ttl, ksr.bundles[0].inception), (3600, start()));
    assert_eq!(print_ksr(&ksr, start(), "a test"), REQUEST);
    for (from, to) in [
        ("20270101000000", "20270101"),
        ("20270101000000", "1798761600"),
        ("AQID", "AQID ; a remark"),
        ("example.\t", "EXAMPLE\t"),
        ("\t3600\tIN", ""),
        ("\tIN", ""),
        ("\n", "\n\n"),
    ] {
        let got = parse_ksr(REQUEST.replace(from, to).as_bytes(), &zone());
        assert_eq!(got.as_ref(), Ok(&ksr), "{from:?} by {to:?}");
    }
    // Whoever signs judges flags, algorithms and empty bundles.
    let odd = REQUEST.replace("256 3 15 AQIE", "385 7 200 AQIE").replacen(
        "example.\t\t3600\tIN\tDNSKEY\t256 3 15 AQID\n",
        "",
        1,
    );
    let odd = parse_ksr(odd.as_bytes(), &zone()).expect("reads");
    assert_eq!((odd.bundles[0].keys.len(), odd.bundles[1].keys[1].flags), (0, 385));
}

#[test]
fn refuses_a_request_with_id_and_line() {
    for (id, line, from, to) in [
        (CheckId::KsrSyntax, 1, REQUEST, ""),
        (CheckId::KsrSyntax, 1, "KeySigningRequest", "SignedKeyResponse"),
        (CheckId::KsrSyntax, 1, ";; KeySigningRequest 1.0 20270101000000 (Fri Jan  1 00:00:00 2027)\n", ""),
        (CheckId::KsrSyntax, 1, "20270101000000", "now"),
        (CheckId::KsrSyntax, 1, "20270101000000", "now+40d"),
        (CheckId::KsrSyntax, 1, "20270101000000", "+40d"),
        (CheckId::KsrSyntax, 1, "20270101000000", "-40d"),
        (CheckId::KsrSyntax, 1, "20270101000000", "9999999999"),
        (CheckId::KsrSyntax, 1, "20270101000000", "20270231"),
        (CheckId::KsrType, 2, "DNSKEY", "CDNSKEY"),
        (CheckId::KsrType, 2, "DNSKEY\t256 3 15 AQID", "TXT\tx"),
        (CheckId::KsrClass, 2, "IN", "CH"),
        (CheckId::KsrTtl, 5, "3600\tIN\tDNSKEY\t256 3 15 AQIE", "60\tIN\tDNSKEY\t256 3 15 AQIE"),
        (CheckId::KsrWrongZone, 2, "example.\t", "example.test.\t"),
        (
            CheckId::KsrTruncated,
            5,
            ";; KeySigningRequest 1.0 generated at Fri Jan  1 00:00:00 2027 by a test\n",
            "",
        ),
    ] {
        let text = REQUEST.replacen(from, to, 1);
        let error = parse_ksr(text.as_bytes(), &zone()).expect_err(&text);
        assert_eq!((error.id, error.line), (id, line), "{from:?} by {to:?}: {error}");
    }
}

// -------------------------------------------------------------------------------------------- printing

#[test]
fn columns_of_long_names() {
    // Octet by octet as dnssec-ksr does: tabs up to the column, one blank where a field overran it.
    for (labels, want) in
        [(8, "\t\t3600\tIN\tDNSKEY\t"), (20, "\t3600\tIN\tDNSKEY\t"), (40, " 3600 IN DNSKEY\t")]
    {
        let name = Name::parse(&"a".repeat(labels - 1)).expect("a name");
        let bundle = SkrBuilder::new(&name.to_string(), start()).bundle(start());
        let mut out = String::new();
        put_skr_bundle(&mut out, &bundle);
        let line = out.lines().nth(1).expect("a record");
        assert!(line.starts_with(&format!("{name}{want}257 3 15 ")), "{line:?}");
    }
}

#[test]
fn nothing_of_a_model_is_lost_in_print() {
    let mut bundle = SkrBuilder::new("example.", start()).bundle(start());
    bundle.signatures[0].covered = Rtype::TXT;
    let mut out = String::new();
    put_skr_bundle(&mut out, &bundle);
    assert_eq!(out.matches("\tRRSIG\t").count(), bundle.signatures.len());
    assert!(out.contains("RRSIG\tTXT 15 "));
}

/// `dnssec-ksr` prints these characters with a backslash, and a comment may follow the record.
#[test]
fn kind_23_zone_names_with_escapes_are_read_back_as_ours_and_as_bind_prints_them() {
    for written in
        ["a\\;b.test.", "\\;.test.", "a\\\\\\;b.test.", "a\\(b.test.", "a\\\"b\\;.test.", "a\\;b\\;c.test."]
    {
        let zone = Name::parse(written).expect(written);
        let skr = SkrBuilder::new(written, start()).bundles(2).ksk(TestKey::ksk(1)).build();
        let ours = print_skr(&skr, start(), "a test");
        let theirs = ours.replace(&zone.to_string(), written);
        let commented = theirs.replace("\t257 3 15 ", "\t257 3 15 ( ; a comment with \\; and \" and (\n ) ");
        for text in [ours, theirs, commented] {
            assert_eq!(parse_skr(text.as_bytes(), &zone).as_ref(), Ok(&skr), "{written}\n{text}");
        }
        let keys = |bundle: &Bundle| bundle.keys().filter(|key| !key.is_ksk()).collect();
        let bundles = skr.bundles.iter().map(|bundle| KsrBundle {
            inception: bundle.inception,
            ttl: 3600,
            keys: keys(bundle),
            proofs: Vec::new(),
        });
        let ksr = Ksr { zone: zone.clone(), bundles: bundles.collect() };
        let ours = print_ksr(&ksr, start(), "a test");
        let theirs = ours.replace(&zone.to_string(), written);
        for text in [&ours, &theirs] {
            assert_eq!(parse_ksr(text.as_bytes(), &zone).as_ref(), Ok(&ksr), "{written}\n{text}");
        }
    }
}
