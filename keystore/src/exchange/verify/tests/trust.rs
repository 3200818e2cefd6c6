//! Which KSKs are trusted.

use super::*;

#[test]
fn pinned_by_ds_or_by_key_and_by_nothing_less() {
    let (builder, zone) = (builder(), Name::parse("example.").expect("a name"));
    let (skr, ksk) = (builder.build(), TestKey::ksk(1).dnskey);
    let ds = |digest_type| TrustAnchor::Ds(ksk.ds_rdata(&zone, digest_type).expect("known"));
    let spoilt = match ds(2) {
        TrustAnchor::Ds(mut rdata) => {
            rdata[20] ^= 1;
            TrustAnchor::Ds(rdata)
        }
        TrustAnchor::Dnskey(_) => unreachable!("made as DS"),
    };
    for (anchors, accepted) in [
        (vec![TrustAnchor::Dnskey(ksk.clone())], true),
        (vec![ds(2)], true),
        (vec![ds(4)], true),
        (vec![TrustAnchor::Dnskey(TestKey::ksk(7).dnskey), ds(2)], true),
        (vec![], false),
        (vec![spoilt], false),
        // The right tag and another key.
        (vec![TrustAnchor::Dnskey(twin(&ksk))], false),
        // A ZSK signs nothing that counts, even when it is pinned.
        (vec![TrustAnchor::Dnskey(TestKey::zsk(2).dnskey)], false),
    ] {
        let verdict = verify(skr.clone(), &VerifyContext::new(&zone, &anchors), start());
        assert_eq!(verdict.is_ok(), accepted, "{anchors:?}");
        if let Err(findings) = verdict {
            assert_eq!(rejecting(&findings), [CheckId::SkrUnknownKsk]);
        }
    }
}

#[test]
fn a_rollover_is_followed_only_by_what_a_trusted_ksk_announced() {
    let day = |n: u64| start().plus(n * DAY);
    let (old, new) = (TestKey::ksk(1), TestKey::ksk(5));
    let roll = |overlap: bool| {
        let new_signs = if overlap { day(18) } else { day(27) };
        builder()
            .ksk_during(old.clone(), (start(), day(36)), (start(), day(27)))
            .ksk_during(new.clone(), (day(9), Timestamp::MAX), (new_signs, Timestamp::MAX))
            .bundles(6)
    };
    let zone = Name::parse("example.").expect("a name");
    let anchors = [TrustAnchor::Dnskey(old.dnskey.clone())];
    let context = VerifyContext::new(&zone, &anchors);
    // For one bundle both sign, and the old one signs the CDS of the new one.
    verify(roll(true).build(), &context, start()).unwrap_or_else(|f| panic!("{f:#?}"));
    // The new one is in a set that the old one signed, but was never announced: that is not enough.
    let findings = verify(roll(false).build(), &context, start()).expect_err("no announcement");
    assert_eq!(rejecting(&findings), [CheckId::SkrUnknownKsk]);
    assert_eq!(findings[0].bundle, Some(day(27)));
    // The bundles after the rollover, alone: the new KSK has to be pinned.
    let mut rest = roll(true).build();
    rest.bundles.drain(..4);
    assert_eq!(
        rejecting(&verify(rest.clone(), &context, start()).expect_err("old pin")),
        [CheckId::SkrUnknownKsk]
    );
    let anchors = [TrustAnchor::Dnskey(new.dnskey)];
    verify(rest, &VerifyContext::new(&zone, &anchors), start()).unwrap_or_else(|f| panic!("{f:#?}"));
}

#[test]
fn deletion_where_it_is_allowed() {
    let (builder, zone) = (builder(), Name::parse("example.").expect("a name"));
    let anchors = builder.anchors();
    let mut context = VerifyContext::new(&zone, &anchors);
    context.allow_delete = true;
    let mut skr = builder.build();
    delete_ds(&builder, &mut skr.bundles[4]);
    verify(skr.clone(), &context, start()).unwrap_or_else(|f| panic!("{f:#?}"));
    // Both RRsets or neither.
    let real = builder.build().bundles[4].cdnskey.clone();
    skr.bundles[4].cdnskey = real;
    sign_again(&builder, &mut skr.bundles[4]);
    assert_eq!(rejecting(&verify(skr, &context, start()).expect_err("half a deletion")), [CheckId::SkrCds]);
}
