//! Rows 1 to 21: what a file may contain.

use std::time::Instant;

use keystore::crypto::Algorithm;
use keystore::dns::{Name, Rtype};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::exchange::{Bundle, Ksr, KsrBundle, bind};
use keystore::keys::{Dnskey, FLAG_ZONE, Timing};
use keystore::time::Timestamp;
use offline_ksk_skr_loader::loader::ImportOutcome;

use crate::bench::*;

/// Another key of the same flags, algorithm and tag: the tag is a sum over pairs of octets (RFC 4034 appendix B).
fn twin(key: &Dnskey) -> Dnskey {
    let mut twin = key.clone();
    let other = (2..32).step_by(2).find(|i| twin.public_key[*i] != twin.public_key[0]).unwrap();
    twin.public_key.swap(0, other);
    assert_eq!(twin.tag(), key.tag());
    twin
}

/// A ZSK with the tag of a KSK.
fn zsk_like(ksk: &Dnskey) -> Dnskey {
    let mut zsk = Dnskey { flags: FLAG_ZONE, ..ksk.clone() };
    let low = (1..32).step_by(2).find(|i| zsk.public_key[*i] < 255).unwrap();
    zsk.public_key[low] += 1;
    assert_eq!(zsk.tag(), ksk.tag());
    zsk
}

fn zsk(change: impl Fn(&mut Dnskey)) -> Dnskey {
    let mut key = TestKey::zsk(9).dnskey;
    change(&mut key);
    key
}

fn rsa(exponent: &[u8], bits: usize) -> Dnskey {
    let mut public_key = vec![exponent.len() as u8];
    public_key.extend_from_slice(exponent);
    public_key.resize(public_key.len() + bits / 8, 0xff);
    Dnskey { flags: FLAG_ZONE, protocol: 3, algorithm: Algorithm::RSASHA256, public_key }
}

#[test]
fn row_01_skr_syntax_empty_comments_only_footer_only() {
    let mut bench = Bench::new();
    bench.reject("empty", "", "SKR-SYNTAX");
    bench.reject("blank", "\n\n\n", "SKR-SYNTAX");
    bench.reject("comments", "; nothing\n; to see\n", "SKR-SYNTAX");
    bench.reject("footer", ";; SignedKeyResponse 1.0 generated at now by x\n", "SKR-SYNTAX");
    bench.next_good_one_goes_in();
}

#[test]
fn row_02_skr_truncated_cut_at_every_line_and_within() {
    let good = skr(9).bundles(2).text();
    let mut bench = Bench::new();
    let lines: Vec<usize> = good.match_indices('\n').map(|(at, _)| at + 1).collect();
    // Behind the last line the file is whole. Every octet is cut at in the unit tests of the reader; here whole imports.
    for at in &lines[..lines.len() - 1] {
        bench.reject("cut at a line end", &good[..*at], "SKR-TRUNCATED");
    }
    for at in lines[..lines.len() - 2].iter().map(|at| at + 11).chain([0, 1, 2]) {
        let outcome = bench.import("cut.skr", &good[..at]);
        assert!(matches!(outcome, ImportOutcome::Rejected { .. }), "{at}: {outcome:?}");
    }
    assert_eq!(bench.current().unwrap().0, 1);
    bench.next_good_one_goes_in();
}

#[test]
fn row_03_skr_syntax_or_bad_signature_single_octets_flipped_deleted_doubled() {
    // Two bundles: the time of a header is held against that of the other ones.
    let good = skr(9).bundles(2).text().into_bytes();
    let parsed = bind::parse_skr(&good, &zone()).unwrap();
    let context = [TestKey::ksk(KSK).dnskey].map(keystore::exchange::TrustAnchor::Dnskey);
    let holds = |octets: &[u8]| match bind::parse_skr(octets, &zone()) {
        Err(_) => true,
        Ok(read) if read == parsed => true,
        Ok(read) => {
            let context = keystore::exchange::VerifyContext::new(&parsed.zone, &context);
            keystore::exchange::verify(read, &context, start()).is_err()
        }
    };
    let mut damaged = 0;
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        let mut deleted = good.clone();
        deleted.remove(at);
        let mut doubled = good.clone();
        doubled.insert(at, good[at]);
        for (what, octets) in [("flipped", flipped), ("deleted", deleted), ("doubled", doubled)] {
            assert!(holds(&octets), "octet {at} {what}: neither refused nor the same");
            damaged += 1;
        }
    }
    assert!(damaged > 2000, "{damaged}");
    // And a whole import of each kind.
    let mut bench = Bench::new();
    let text = skr(9).text();
    let (head, tail) = text.split_at(text.rfind("RRSIG\t").unwrap() + 90);
    let (first, rest) = tail.split_at(1);
    let other = if first == "A" { "B" } else { "A" };
    bench.reject("a letter of a signature", format!("{head}{other}{rest}"), "SKR-BAD-SIGNATURE");
    bench.reject("a letter less", format!("{head}{rest}"), "SKR-SYNTAX");
    bench.next_good_one_goes_in();
}

#[test]
fn row_04_skr_syntax_headers() {
    let good = skr(9).text();
    let stamp = "20270110000000";
    let mut bench = Bench::new();
    for (what, from, to) in [
        (
            "a record before the first header",
            ";; SignedKeyResponse 1.0 2027",
            "example. 3600 IN DNSKEY 256 3 15 AQID\n;; SignedKeyResponse 1.0 2027",
        ),
        ("an unknown word", ";; SignedKeyResponse", ";; SignedKeyAnswer"),
        ("version 1.1", "Response 1.0", "Response 1.1"),
        ("no date", " 20270110000000 (Sun Jan 10 00:00:00 2027)", ""),
        ("31 February", stamp, "20270231000000"),
        ("beyond 2106", "20270110000000 (Sun Jan 10 00:00:00 2027)", "21060207062816"),
        ("seconds of a wrong length", "20270110000000 (Sun Jan 10 00:00:00 2027)", "179953920"),
        ("a relative time", "20270110000000 (Sun Jan 10 00:00:00 2027)", "now+40d"),
    ] {
        assert!(good.contains(from), "{what}");
        bench.reject(what, good.replacen(from, to, 1), "SKR-SYNTAX");
    }
    bench.next_good_one_goes_in();
}

#[test]
fn row_05_skr_syntax_what_a_text_may_have() {
    let good = skr(9).text();
    let first_key = good.find("example.").unwrap();
    let with = |piece: &str| format!("{}{piece}{}", &good[..first_key], &good[first_key..]);
    let mut bench = Bench::new();
    let secret = bench.path("secret");
    std::fs::write(&secret, "example. 3600 IN DNSKEY 257 3 15 AQID\n").unwrap();
    let include = format!("$INCLUDE {}\n", secret.display());
    for (what, text) in [
        ("a byte order mark", format!("\u{feff}{good}")),
        ("NUL", with("\0")),
        ("an open parenthesis", with("( \n")),
        ("a closing parenthesis", with(") \n")),
        ("a quoted string", with("\"example.\" 3600 IN DNSKEY 256 3 15 AQID\n")),
        ("$INCLUDE", with(&include)),
        ("$ORIGIN", with("$ORIGIN example.\n")),
        ("@", with("@ 3600 IN DNSKEY 256 3 15 AQID\n")),
        ("an escape sequence", with("\u{1b}[2J")),
    ] {
        bench.reject(what, text, "SKR-SYNTAX");
    }
    let mut octets = good.clone().into_bytes();
    octets.insert(first_key, 0xff);
    bench.reject("not UTF-8", octets, "SKR-SYNTAX");
    bench.reject("a line of 10 MB", with(&"A".repeat(10_000_000)), "SKR-LIMITS");
    // CR LF and parentheses are taken, and mean the same.
    let rdata = good.find("DNSKEY\t").unwrap() + 7;
    let end = rdata + good[rdata..].find('\n').unwrap();
    let parted = format!("{}( {}\n\t)\n{}", &good[..rdata], &good[rdata..end], &good[end + 1..]);
    for text in [good.replace('\n', "\r\n"), parted] {
        let mut bench = Bench::new();
        assert_eq!(accepted(&bench.import("good.skr", text)), 2);
    }
    bench.next_good_one_goes_in();
}

#[test]
fn row_06_skr_type_class_ttl() {
    let good = skr(9).text();
    let mut bench = Bench::new();
    let once = |from: &str, to: &str| good.replacen(from, to, 1);
    bench.reject("TXT", once("\tIN\tDNSKEY\t", "\tIN\tTXT\t"), "SKR-TYPE");
    let soa = "example. 3600 IN SOA a. b. 1 2 3 4 5\n;; SignedKeyResponse 1.0 gen";
    bench.reject("SOA", once(";; SignedKeyResponse 1.0 gen", soa), "SKR-TYPE");
    bench.reject("a signature over A", once("RRSIG\tDNSKEY", "RRSIG\tA"), "SKR-TYPE");
    bench.reject("class CH", once("\tIN\tDNSKEY", "\tCH\tDNSKEY"), "SKR-CLASS");
    bench.reject("two TTLs in an RRset", once("3600\tIN\tDNSKEY", "7200\tIN\tDNSKEY"), "SKR-TTL");
    bench.next_good_one_goes_in();
}

#[test]
fn row_07_skr_wrong_zone() {
    let mut bench = Bench::new();
    for other in ["other.", "a.example.", ".", "example.test."] {
        bench.reject(other, SkrBuilder::new(other, start().plus(9 * DAY)).text(), "SKR-WRONG-ZONE");
    }
    let good = skr(9).text();
    let mixed = good.replacen("example.\t", "other.\t", 1);
    bench.reject("one record of another zone", mixed, "SKR-WRONG-ZONE");
    // Letter case is folded (RFC 4343).
    let mut folded = Bench::new();
    assert_eq!(accepted(&folded.import("case.skr", good.replace("example.\t", "eXaMpLe.\t"))), 2);
    bench.next_good_one_goes_in();
}

#[test]
fn row_08_skr_unknown_ksk() {
    let mut bench = Bench::new();
    bench.reject("another KSK", skr(9).ksk(TestKey::ksk(9)).text(), "SKR-UNKNOWN-KSK");
    // A key with the tag of the pinned one.
    let twin = twin(&TestKey::ksk(KSK).dnskey);
    let swapped = changed(|next| {
        let bundle = &mut next.bundles[2];
        bundle.dnskey.rdatas[0] = twin.to_rdata().into();
    });
    bench.reject("the tag of the pinned KSK, another key", swapped, "SKR-UNKNOWN-KSK");
    let absent = signed_anew(|bundle| {
        bundle.dnskey.rdatas.remove(0);
    });
    bench.reject("the KSK is not in the set that it signs", absent, "SKR-UNKNOWN-KSK");
    bench.next_good_one_goes_in();
}

#[test]
fn row_09_skr_bad_signature() {
    let mut bench = Bench::new();
    for (what, change) in [
        ("over other data", (|b| b.dnskey.rdatas[1][20] ^= 1) as fn(&mut Bundle)),
        ("a bit turned", |b| b.signatures[0].signature[7] ^= 1),
        ("another signer", |b| b.signatures[0].signer = Name::parse("test.").unwrap()),
        ("other labels", |b| b.signatures[0].labels = 0),
        ("another original TTL", |b| b.signatures[0].original_ttl = 60),
        ("CDS not signed", |b| b.signatures.retain(|s| s.covered != Rtype::CDS)),
        ("CDNSKEY not signed", |b| b.signatures.retain(|s| s.covered != Rtype::CDNSKEY)),
    ] {
        let text = changed(|next| change(&mut next.bundles[2]));
        bench.reject(what, text, "SKR-BAD-SIGNATURE");
    }
    let by_zsk = changed(|next| skr(9).resign(&mut next.bundles[2], &[&TestKey::zsk(ZSK)]));
    bench.reject("DNSKEY signed by the ZSK only", by_zsk, "SKR-UNKNOWN-KSK");
    bench.next_good_one_goes_in();
}

#[test]
fn row_10_skr_cds() {
    let mut bench = Bench::new();
    let other = TestKey::ksk(9).dnskey;
    let ds = other.ds_rdata(&zone(), 2).unwrap();
    let stranger = signed_anew(|b| b.cds.as_mut().unwrap().rdatas = vec![ds.clone().into()]);
    bench.reject("a CDS of a key that is not there", stranger, "SKR-CDS");
    let stranger = signed_anew(|b| b.cdnskey.as_mut().unwrap().rdatas = vec![other.to_rdata().into()]);
    bench.reject("a CDNSKEY of a key that is not there", stranger, "SKR-CDS");
    let deletion = signed_anew(|b| {
        b.cds.as_mut().unwrap().rdatas = vec![Box::from([0, 0, 0, 0, 0])];
        b.cdnskey.as_mut().unwrap().rdatas = vec![Box::from([0, 0, 3, 0, 0])];
    });
    bench.reject("the request to delete the DS (RFC 8078)", deletion, "SKR-CDS");
    bench.next_good_one_goes_in();
}

#[test]
fn row_11_skr_expired() {
    let mut bench = Bench::new();
    let past = SkrBuilder::new(ZONE, start().minus(80 * DAY)).text();
    bench.reject("all bundles", past, "SKR-EXPIRED");
    let ended = changed(|next| {
        let bundle = &mut next.bundles[2];
        let (from, to) = (bundle.inception.minus(40 * DAY), bundle.inception.minus(1));
        bundle.signatures = bundle.rrsets().map(|rrset| TestKey::ksk(KSK).sign(rrset, from, to)).collect();
    });
    bench.reject("signatures that end before their bundle", ended, "SKR-EXPIRED");
    bench.next_good_one_goes_in();
}

#[test]
fn row_12_skr_gap_towards_what_is_in_force() {
    // What is in force covers 50 days and its very last second.
    let mut bench = Bench::new();
    bench.reject(
        "a second behind the end",
        SkrBuilder::new(ZONE, start().plus(50 * DAY + 2)).text(),
        "SKR-GAP",
    );
    bench.reject("a year later", skr(365).text(), "SKR-GAP");
    let mut joined = Bench::new();
    assert_eq!(accepted(&joined.import("in time.skr", skr(45).text())), 2);
    bench.next_good_one_goes_in();
}

#[test]
fn row_13_skr_gap_order_duplicate_overlap() {
    let mut bench = Bench::new();
    bench.reject("a hole", changed(|next| drop(next.bundles.remove(2))), "SKR-GAP");
    bench.reject("out of order", changed(|next| next.bundles.swap(1, 2)), "SKR-ORDER");
    let twice = changed(|next| next.bundles.insert(2, next.bundles[2].clone()));
    bench.reject("one inception twice", twice, "SKR-DUPLICATE");
    bench.reject("overlap of most of a year", skr(9).validity(300 * DAY).text(), "SKR-OVERLAP");
    bench.next_good_one_goes_in();
}

#[test]
fn row_14_skr_horizon_validity_and_the_wrap_of_serial_times() {
    let mut bench = Bench::new();
    bench.reject("years of validity", skr(9).validity(800 * DAY).text(), "SKR-VALIDITY");
    let swapped = changed(|next| {
        let bundle = &mut next.bundles[2];
        for s in &mut bundle.signatures {
            std::mem::swap(&mut s.inception, &mut s.expiration);
        }
    });
    bench.reject("inception after expiration", swapped, "SKR-VALIDITY");
    let far = skr(9).step(13 * DAY).bundles(330).text();
    bench.reject("eleven years ahead", far, "SKR-HORIZON");
    bench.next_good_one_goes_in();
    // 2038 (31 bits) and the last years before 2106 (32 bits) are times like any other.
    for stamp in ["20380110000000", "21051201000000"] {
        let mut bench = Bench::empty();
        bench.now = keystore::time::Timestamp::parse_stamp(stamp).unwrap();
        assert_eq!(accepted(&bench.import("a.skr", SkrBuilder::new(ZONE, bench.now).text())), 1, "{stamp}");
    }
}

pub fn request(bench: &Bench, days: u64, zsk: &Dnskey) {
    request_written(bench, days, zsk, start());
}

/// A request for two bundles from `days` on, which says when it was written.
pub fn request_written(bench: &Bench, days: u64, zsk: &Dnskey, written: Timestamp) {
    let inceptions = (0..2).map(|n| start().plus((days + n * 18) * DAY));
    let bundles = inceptions.map(|inception| KsrBundle {
        inception,
        ttl: 3600,
        keys: vec![zsk.clone()],
        proofs: Vec::new(),
    });
    let ksr = Ksr { zone: zone(), bundles: bundles.collect() };
    let dir = bench.path("outbox").join(ZONE);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{days}.ksr")), bind::print_ksr(&ksr, written, "a test")).unwrap();
}

#[test]
fn row_15_skr_replay_unchanged_and_not_asked() {
    let mut bench = Bench::new();
    assert_eq!(accepted(&bench.import("next.skr", skr(9).text())), 2);
    bench.reject("an older generation again", skr(0).text(), "SKR-REPLAY");
    bench.reject("another one that ends earlier", skr(3).text(), "SKR-REPLAY");
    let again = bench.import("again.skr", skr(9).text());
    assert_eq!(again, ImportOutcome::Unchanged { generation: 2 }, "no new generation");
    // The request that is open asks for later times.
    request(&bench, 200, &TestKey::zsk(ZSK).dnskey);
    bench.reject("an answer to an older request", skr(18).text(), "SKR-NOT-ASKED");
    assert_eq!(bench.current().unwrap().0, 2);
}

#[test]
fn row_16_skr_keyset() {
    let mut bench = Bench::new();
    let asked = TestKey::zsk(5);
    write_key(
        &bench.path("keys"),
        &asked,
        5,
        Timing { publish: Some(start().plus(900 * DAY)), ..Timing::default() },
    );
    request(&bench, 9, &asked.dnskey);
    bench.reject("the ZSK that was asked for is missing, another one is there", skr(9).text(), "SKR-KEYSET");
    let both = skr(9).zsk(asked.dnskey.clone()).zsk(TestKey::zsk(ZSK).dnskey).text();
    bench.reject("one more than was asked for", both, "SKR-KEYSET");
}

#[test]
fn row_17_skr_no_private_key() {
    let mut bench = Bench::new();
    bench.reject("no file", skr(9).zsk(TestKey::zsk(9).dnskey).text(), "SKR-NO-PRIVATE-KEY");
    let private = |bench: &Bench| {
        let name = bench.files("keys").into_iter().find(|name| name.ends_with(".private")).unwrap();
        bench.path("keys").join(name)
    };
    let path = private(&bench);
    let good = std::fs::read_to_string(&path).unwrap();
    let line = good.lines().find(|l| l.starts_with("PrivateKey:")).unwrap();
    let other = format!("PrivateKey: {}", data_encoding::BASE64.encode(&[77; 32]));
    std::fs::write(&path, good.replace(line, &other)).unwrap();
    bench.reject("the private key of another one", skr(9).text(), "SKR-NO-PRIVATE-KEY");
    std::fs::remove_file(&path).unwrap();
    bench.reject("gone", skr(9).text(), "SKR-NO-PRIVATE-KEY");
    std::fs::write(&path, good).unwrap();
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    bench.next_good_one_goes_in();
}

#[test]
fn row_18_skr_algorithm_and_skr_key_before_any_heavy_arithmetic() {
    let mut bench = Bench::new();
    for number in [1, 3, 5, 7, 253] {
        let key = zsk(|k| k.algorithm = Algorithm(number));
        bench.reject(&format!("algorithm {number}"), with_key(&key), "SKR-ALGORITHM");
    }
    let off_curve = zsk(|k| {
        k.algorithm = Algorithm::ECDSAP256SHA256;
        k.public_key = vec![0xff; 64];
    });
    for (what, key) in [
        ("RSA of 512 bits", rsa(&[1, 0, 1], 512)),
        ("exponent 3", rsa(&[3], 2048)),
        ("an exponent of 2040 bits", rsa(&[0x81; 255], 2048)),
        ("RSA of 8192 bits", rsa(&[1, 0, 1], 8192)),
        ("off the curve", off_curve),
        ("31 octets of Ed25519", zsk(|k| k.public_key.truncate(31))),
    ] {
        bench.reject(what, with_key(&key), "SKR-KEY");
    }
    bench.next_good_one_goes_in();
}

#[test]
fn row_19_skr_collision_and_keytrap() {
    let mut bench = Bench::new();
    let ours = TestKey::zsk(ZSK).dnskey;
    bench.reject("ZSK and ZSK", with_key(&twin(&ours)), "SKR-COLLISION");
    bench.reject("KSK and ZSK", with_key(&zsk_like(&TestKey::ksk(KSK).dnskey)), "SKR-COLLISION");
    // A hundred keys of one tag, and a hundred bad signatures with it (CVE-2023-50387).
    let keytrap = changed(|next| {
        let (ksk, bundle) = (TestKey::ksk(KSK).dnskey, &mut next.bundles[2]);
        let mut key = ksk.clone();
        for n in 0..100u8 {
            // What one pair of octets gains the other loses.
            key.public_key[0] = ksk.public_key[0].wrapping_add(n);
            key.public_key[2] = ksk.public_key[2].wrapping_sub(n);
            bundle.dnskey.rdatas.push(key.to_rdata().into());
        }
        for n in 0..100 {
            let mut signature = bundle.signatures[0].clone();
            signature.signature[n % 64] ^= 0x55;
            bundle.signatures.push(signature);
        }
    });
    bench.reject("KeyTrap", keytrap, "SKR-LIMITS");
    bench.next_good_one_goes_in();
}

#[test]
fn row_20_skr_key_flags_and_protocol() {
    let mut bench = Bench::new();
    let revoked = signed_anew(|b| b.dnskey.rdatas.push(zsk(|k| k.flags = 385).to_rdata().into()));
    bench.reject("REVOKE", revoked, "SKR-KEY");
    bench.reject("flags 0", with_key(&zsk(|k| k.flags = 0)), "SKR-KEY");
    bench.reject("protocol 2", with_key(&zsk(|k| k.protocol = 2)), "SKR-KEY");
    bench.next_good_one_goes_in();
}

#[test]
fn row_21_skr_limits_of_number_and_size() {
    let mut bench = Bench::new();
    let head = ";; SignedKeyResponse 1.0 20270110000000\n";
    let footer = ";; SignedKeyResponse 1.0 generated\n";
    let bundles = head.repeat(100_000) + footer;
    let keys = format!("{head}{}{footer}", "example. 3600 IN DNSKEY 256 3 15 AQID\n".repeat(10_000));
    let distinct: String = (0..10_000u32)
        .map(|n| {
            format!("example. 3600 IN DNSKEY 256 3 15 {}\n", data_encoding::BASE64.encode(&n.to_be_bytes()))
        })
        .collect();
    let distinct = format!("{head}{distinct}{footer}");
    let rdata = format!("{head}example. 3600 IN DNSKEY 256 3 15 {}\n{footer}", "AAAA".repeat(16_384));
    for (what, text) in [
        ("100 000 bundles", bundles),
        ("10 000 times a key", keys),
        ("10 000 keys", distinct),
        ("64 KiB of RDATA", rdata),
    ] {
        let begun = Instant::now();
        bench.reject(what, text, "SKR-LIMITS");
        println!("{what}: {:?}", begun.elapsed());
    }
    bench.next_good_one_goes_in();
}
