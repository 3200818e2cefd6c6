use crate::check::CheckId;
use proptest::prelude::*;

use super::*;
use crate::dns::Rtype;
use crate::exchange::bind;
use crate::exchange::testing::{SkrBuilder, TestKey};
use crate::keys::{FLAG_SEP, FLAG_ZONE};
use crate::time::Timestamp;

fn zone() -> Name {
    Name::parse("example.").expect("a name")
}

fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").expect("a stamp")
}

/// Good but for the signatures, and short.
const SHORT: &str = "\
;; SignedKeyResponse 1.0 1798761600 (2027-01-01T00:00:00Z) =========
example.            \t3600 DNSKEY 257 3 15 (
\t\t\t\tAQID
\t\t\t\t) ; KSK, ED25519 (256b), id = 2066
example.            \t0 CDS 2066 15 2 (
\t\t\t\t0101010101010101010101010101010101010101
\t\t\t\t010101010101010101010101
\t\t\t\t)
example.            \t3600 RRSIG DNSKEY 15 1 3600 20270115000000 (
\t\t\t\t20261231223000 2066 example.
\t\t\t\tAQID
\t\t\t\t)
example.            \t0 RRSIG CDS 15 1 0 20270115000000 (
\t\t\t\t20261231223000 2066 example.
\t\t\t\tAQID
\t\t\t\t)
;; SignedKeyResponse 1.0 generated at 2027-01-01T00:00:00Z by Knot DNS 3.4.6
";

/// ID, line, what is replaced in [`SHORT`] (its first occurrence), by what.
const REJECTED: &[(CheckId, u32, &str, &str)] = &[
    (CheckId::SkrSyntax, 1, SHORT, ""),
    (CheckId::SkrSyntax, 1, "1798761600", "179876160"),
    (CheckId::SkrSyntax, 1, "1798761600", "17987616000"),
    (CheckId::SkrSyntax, 1, "1798761600", "20270101"),
    (CheckId::SkrSyntax, 1, "1798761600", "4294967296"),
    (CheckId::SkrSyntax, 1, "1798761600", "1798761601"),
    (CheckId::SkrSyntax, 1, "1798761600", "20270101000001"),
    (CheckId::SkrSyntax, 1, "1798761600", "20270230000000"),
    (CheckId::SkrSyntax, 1, "1798761600", "+5"),
    (CheckId::SkrSyntax, 1, "1798761600 (2027", "1798761600 (2028"),
    (CheckId::SkrSyntax, 1, " 1.0", " 2.0"),
    (CheckId::SkrSyntax, 1, "SignedKeyResponse", "signedKeyResponse"),
    (CheckId::SkrSyntax, 1, "SignedKeyResponse", "KeySigningRequest"),
    (CheckId::SkrSyntax, 1, ";; ", "; "),
    (CheckId::SkrSyntax, 2, "AQID", "AQIE"),
    (CheckId::SkrSyntax, 2, "id = 2066", "id = 2067"),
    (
        CheckId::SkrTruncated,
        16,
        ";; SignedKeyResponse 1.0 generated at 2027-01-01T00:00:00Z by Knot DNS 3.4.6\n",
        "",
    ),
    (CheckId::SkrSyntax, 18, "Knot DNS 3.4.6\n", "Knot DNS 3.4.6\nexample. 3600 DNSKEY 257 3 15 AQID\n"),
    (
        CheckId::SkrSyntax,
        1,
        ";; SignedKeyResponse",
        "example. 3600 DNSKEY 257 3 15 AQID\n;; SignedKeyResponse",
    ),
    (CheckId::SkrWrongZone, 2, "example.            \t3600 D", "example.net. 3600 D"),
    (CheckId::SkrType, 5, "\t0 CDS 2066 15 2 (", "\t0 TXT ("),
    (CheckId::SkrType, 9, "3600 RRSIG DNSKEY", "3600 RRSIG CDNSKEY"),
    (CheckId::SkrClass, 2, "3600 DNSKEY", "3600 CH DNSKEY"),
    (CheckId::SkrTtl, 13, "0 RRSIG CDS", "3600 RRSIG CDS"),
    (CheckId::SkrTtl, 2, "\t3600 DNSKEY", "\t2147483648 DNSKEY"),
    (CheckId::SkrSyntax, 2, "\t\t\t\t) ; KSK", "\t\t\t\t; KSK"),
];

#[test]
fn damage_is_refused_with_id_and_line() {
    parse_skr(SHORT.as_bytes(), &zone()).expect("the base is good");
    for (id, line, from, to) in REJECTED {
        assert!(SHORT.contains(from), "{from}");
        let text = SHORT.replacen(from, to, 1);
        let error = parse_skr(text.as_bytes(), &zone()).expect_err(&text);
        assert_eq!((error.id, error.line), (*id, *line), "{from:?} by {to:?}: {error}");
    }
}

/// Layout carries nothing: class, one line, owner's case, blank lines, comments, the ends of lines, the form of stamps.
#[test]
fn variants_read_the_same() {
    let want = parse_skr(SHORT.as_bytes(), &zone()).expect("the base is good");
    for (from, to) in [
        ("3600 DNSKEY", "3600 IN DNSKEY"),
        ("3600 DNSKEY", "IN 3600 DNSKEY"),
        ("(\n\t\t\t\tAQID\n\t\t\t\t) ;", "AQID ;"),
        ("example.            \t0 CDS", "\n\n; nothing of interest\n\t0 CDS"),
        (" (2027-01-01T00:00:00Z) =========", ""),
        (" =========", ""),
        (" (2027-01-01T00:00:00Z) =========", " (Fri Jan  1 00:00:00 2027)"),
        (" (2027-01-01T00:00:00Z) =========", " on New Year"),
        ("1798761600", "20270101000000"),
        ("\n", "\r\n"),
        (" ; KSK, ED25519 (256b), id = 2066", ""),
    ] {
        let text = SHORT.replace(from, to);
        assert_ne!(text, SHORT);
        let got = parse_skr(text.as_bytes(), &zone()).unwrap_or_else(|e| panic!("{from:?} by {to:?}: {e}"));
        assert_eq!(got, want, "{from:?} by {to:?}");
    }
}

/// The same with the RRsets and signatures in Knot's order.
fn sorted(mut skr: UnverifiedSkr) -> UnverifiedSkr {
    for bundle in &mut skr.bundles {
        for rrset in [Some(&mut bundle.dnskey), bundle.cdnskey.as_mut(), bundle.cds.as_mut()] {
            rrset.into_iter().for_each(|r| r.rdatas.sort_unstable());
        }
        bundle.signatures.sort_by_key(crate::dns::Rrsig::to_rdata);
    }
    skr
}

#[test]
fn print_and_parse_of_every_algorithm() {
    for algorithm in [8, 10, 13, 14, 15, 16].map(crate::crypto::Algorithm) {
        let ksk = TestKey::generate(FLAG_ZONE | FLAG_SEP, algorithm, 2048);
        let zsk = TestKey::generate(FLAG_ZONE, algorithm, 1024);
        let skr = SkrBuilder::new("example.", start()).bundles(3).ksk(ksk).zsk(zsk.dnskey).build();
        for stamps in [Stamps::Unix, Stamps::Digits14] {
            let text = print_skr(&skr, stamps, start(), "a test");
            let read = parse_skr(text.as_bytes(), &zone()).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(read, sorted(skr.clone()), "{algorithm}");
            assert!(text.lines().all(|l| l.len() < 120), "{text}");
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    let whole = parse_skr(SHORT.as_bytes(), &zone()).expect("good");
    for end in 0..SHORT.len() {
        match parse_skr(&SHORT.as_bytes()[..end], &zone()) {
            // Within the closing line nothing is lost but who made it.
            Ok(skr) => assert!(skr == whole && SHORT[..end].contains("1.0 generated"), "{end}"),
            Err(e) => assert!(e.id.as_str().starts_with("SKR-"), "{e}"),
        }
    }
}

#[test]
fn requests_read_and_print() {
    let skr = SkrBuilder::new("example.", start()).build();
    let bundles = skr.bundles.iter().map(|b| crate::exchange::KsrBundle {
        inception: b.inception,
        ttl: 7200,
        keys: vec![TestKey::zsk(3).dnskey, TestKey::zsk(2).dnskey],
        proofs: Vec::new(),
    });
    let mut ksr = Ksr { zone: zone(), bundles: bundles.collect() };
    let text = print_ksr(&ksr, Stamps::Unix, start(), "a test");
    ksr.bundles.iter_mut().for_each(|b| b.keys.sort_unstable());
    assert_eq!(parse_ksr(text.as_bytes(), &zone()).as_ref(), Ok(&ksr));
    // BIND's KSR reader takes them too, as dnssec-ksr does.
    assert_eq!(bind::parse_ksr(text.as_bytes(), &zone()).as_ref(), Ok(&ksr));
    // One character of a key, and nothing but its tag tells.
    let damaged = text.replacen("\t\t\t\t", "\t\t\t\tA", 1);
    assert_eq!(parse_ksr(damaged.as_bytes(), &zone()).expect_err("damaged").id, CheckId::KsrSyntax);
    let foreign = text.replacen("7200 DNSKEY 256 3 15 (", "7200 TXT (", 1);
    assert_eq!(parse_ksr(foreign.as_bytes(), &zone()).expect_err("damaged").id, CheckId::KsrType);
}

#[test]
fn other_type_of_an_rrset_is_not_lost() {
    let mut skr = SkrBuilder::new("example.", start()).bundles(1).build();
    skr.bundles[0].dnskey.rdatas.push(Box::new([1, 1]));
    let text = print_skr(&skr, Stamps::Unix, start(), "a test");
    assert!(text.contains("DNSKEY \\# 2 0101"), "{text}");
    assert_eq!(skr.bundles[0].dnskey.rtype, Rtype::DNSKEY);
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0..SHORT.len(), by in any::<u8>(), cut in 0..SHORT.len(), insert in any::<bool>()) {
        let mut octets = SHORT.as_bytes().to_vec();
        if insert { octets.insert(at, by) } else { octets[at] = by }
        octets.truncate(octets.len() - cut / 4);
        let _ = parse_skr(&octets, &zone());
        let _ = parse_ksr(&octets, &zone());
    }
}

#[test]
fn kind_117_times_before_2001_are_written_so_that_they_read_again() {
    for start in [3_600, 897_746_033, 999_999_999, 1_000_000_000, 4_290_000_000] {
        let skr = SkrBuilder::new("example.", Timestamp::from_secs(start)).bundles(1).build();
        for stamps in [Stamps::Unix, Stamps::Digits14] {
            let text = print_skr(&skr, stamps, Timestamp::from_secs(start), "test");
            let read =
                parse_skr(text.as_bytes(), &skr.zone).unwrap_or_else(|error| panic!("{start}: {error:?}"));
            assert_eq!(print_skr(&read, stamps, Timestamp::from_secs(start), "test"), text);
            assert_eq!(read.bundles[0].inception, skr.bundles[0].inception);
            assert_eq!(
                crate::exchange::format::detect(text.as_bytes()),
                crate::exchange::format::Format::Knot
            );
        }
    }
}
