//! Files that were made to deceive the verification or to make it slow.

use super::*;

#[test]
fn every_bit_of_a_signature_counts() {
    let builder = builder().bundles(2);
    let skr = builder.build();
    let good = print_skr(&skr, start(), "t");
    let (zone, anchors) = (Name::parse("example.").expect("a name"), builder.anchors());
    for i in 0..skr.bundles[1].signatures.len() {
        let rdata = skr.bundles[1].signatures[i].to_rdata();
        for bit in 0..rdata.len() * 8 {
            let mut flipped = rdata.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut bad = skr.clone();
            let Ok(signature) = crate::dns::Rrsig::from_rdata(&flipped) else { continue };
            bad.bundles[1].signatures[i] = signature;
            if bad == skr {
                // Letter case of the signer's name.
                assert!(print_skr(&bad, start(), "t").eq_ignore_ascii_case(&good));
                continue;
            }
            let verdict = verify(bad, &VerifyContext::new(&zone, &anchors), start());
            assert!(verdict.is_err(), "signature {i}, bit {bit}");
        }
    }
}

#[test]
fn keytrap_cve_2023_50387() {
    // Thirty keys of one tag, and as many signatures as may be: not one is tried.
    let builder = builder();
    let mut skr = builder.build();
    let ksk = TestKey::ksk(1).dnskey;
    for bundle in &mut skr.bundles {
        for i in (2..32).step_by(2) {
            let mut twin = ksk.clone();
            twin.public_key.swap(0, i);
            if twin != ksk {
                bundle.dnskey.rdatas.push(twin.to_rdata().into());
            }
        }
        let one = bundle.signatures[0].clone();
        bundle.signatures =
            (0..16).map(|i| crate::dns::Rrsig { signature: vec![i; 64], ..one.clone() }).collect();
        (bundle.cds, bundle.cdnskey) = (None, None);
    }
    let findings = judge(&builder, &skr);
    assert!(rejecting(&findings).contains(&CheckId::SkrCollision), "{findings:#?}");
    let told: Vec<_> = findings.iter().filter(|f| f.id == CheckId::SkrBadSignature).collect();
    assert!(
        !told.is_empty() && told.iter().all(|f| f.what.contains("not tried") || f.what.contains("more of"))
    );
}

#[test]
fn malformed_key_of_the_right_tag_cve_2025_8677() {
    // The key of the signature's tag is no key: no signature is tried with it, and the good key is not looked for further.
    let builder = builder();
    let mut skr = builder.build();
    let mut broken = TestKey::ksk(1).dnskey;
    broken.public_key.extend_from_slice(&[0, 0]);
    assert_eq!(broken.tag(), TestKey::ksk(1).dnskey.tag());
    skr.bundles[1].dnskey.rdatas[0] = broken.to_rdata().into();
    let findings = judge(&builder, &skr);
    let ids = rejecting(&findings);
    assert!(ids.contains(&CheckId::SkrKey) && ids.contains(&CheckId::SkrUnknownKsk), "{findings:#?}");
}

#[test]
fn malformed_dnskey_cve_2026_10822() {
    let builder = builder();
    for rdata in [
        &[][..],
        &[1],
        &[1, 1, 3],
        &[1, 1, 3, 15],
        &[1, 1, 3, 8, 0],
        &[1, 1, 3, 8, 255, 1],
        &[1, 1, 3, 8, 0, 255, 255],
    ] {
        let mut skr = builder.build();
        skr.bundles[1].dnskey.rdatas.push(rdata.into());
        sign_again(&builder, &mut skr.bundles[1]);
        assert!(rejecting(&judge(&builder, &skr)).contains(&CheckId::SkrKey), "{rdata:?}");
    }
}

#[test]
fn labels_below_the_signer_cve_2026_11721() {
    // Fewer labels make an RRSIG that of a wildcard above the zone; signed so, it would verify.
    let builder = builder().without_cds();
    let mut skr = builder.build();
    let wildcard = Rrset { owner: Name::parse("*.").expect("a name"), ..(*skr.bundles[1].dnskey).clone() };
    let mut signature = TestKey::ksk(1).sign(&wildcard, start(), start().plus(20 * DAY));
    signature.signer = skr.zone.clone();
    assert_eq!(signature.labels, 0);
    skr.bundles[1].signatures = vec![signature];
    let ids = rejecting(&judge(&builder, &skr)).to_vec();
    assert!(ids.contains(&CheckId::SkrBadSignature), "{ids:?}");
}

#[test]
fn no_trust_in_a_whole_set_after_one_match_rustsec_2025_0006() {
    // The pinned KSK signs a set that contains another KSK; what that one signs later is not trusted for it.
    let builder = builder().without_cds();
    let mut skr = builder.build();
    let other = TestKey::ksk(7);
    add_key(&builder, &mut skr.bundles[1], &other.dnskey);
    assert!(rejecting(&judge(&builder, &skr)).is_empty());
    add_key(&builder, &mut skr.bundles[2], &other.dnskey);
    builder.resign(&mut skr.bundles[2], &[&other]);
    assert_eq!(rejecting(&judge(&builder, &skr)), [CheckId::SkrUnknownKsk]);
}

#[test]
fn a_hostile_file_is_given_up_early() {
    let mut skr = builder().without_cds().bundles(400).build();
    for bundle in &mut skr.bundles {
        bundle.signatures[0].signature = vec![1; 64];
    }
    let findings = judge(&builder(), &skr);
    assert!(findings.iter().any(|f| f.what.contains("the rest was not tried")), "{findings:#?}");
    assert!(findings.len() < 100, "{}", findings.len());
}

#[test]
fn good_signatures_by_nobody_are_given_up_early_too() {
    let builder = builder().without_cds().bundles(400);
    let mut skr = builder.build();
    let zsk = TestKey::zsk(2);
    skr.bundles.iter_mut().for_each(|bundle| builder.resign(bundle, &[&zsk]));
    let findings = judge(&builder, &skr);
    assert!(findings.iter().any(|f| f.what.contains("the rest was not tried")), "{findings:#?}");
}
