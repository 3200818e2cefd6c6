//! A version that shares what did not change with the one before is the version that is signed from nothing.

use std::sync::Arc;

use super::*;
use crate::signing::{SigningKeys, sign as sign_zone};
use crate::testing::{DAY, bundle, keys};
use crate::zone::Zone;

/// The records in text, without what differs in each signature.
fn described_records(signed: &SignedZone) -> BTreeSet<String> {
    let fixed = |rdata: &[u8]| {
        rdata[..18].iter().enumerate().filter(|(n, _)| !(8..16).contains(n)).map(|(_, o)| *o).collect()
    };
    let described = |record: crate::signing::SignedRecord<'_>| {
        let owner = record.owner.to_ascii_lowercase();
        let rdata: Vec<u8> =
            if record.rtype == Rtype::RRSIG { fixed(record.rdata) } else { record.rdata.to_vec() };
        format!("{owner:?} {} {} {rdata:?}", record.rtype, record.ttl)
    };
    signed.records().map(described).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_version_made_from_the_one_before_is_the_one_signed_from_nothing(
        versions in prop::collection::vec(prop::collection::vec(line(), 0..14), 2..6),
        mode in 0u8..3,
    ) {
        let policy = policy(match mode {
            0 => Denial::Nsec,
            mode => Denial::Nsec3(nsec3(mode == 2)),
        });
        let (ksk, zsk) = keys();
        let bundle = bundle(&name("example"), ksk, &[zsk], NOW, 30 * DAY);
        let sign = |zone: &Arc<Zone>, serial, previous: Option<&SignedZone>| {
            let keys = SigningKeys::from(std::slice::from_ref(zsk));
            sign_zone(zone, &bundle, keys, &policy, serial, previous, NOW).expect("signs")
        };
        let mut at = sign(&Arc::new(build(&versions[0]).0), 1, None);
        for (serial, lines) in (2..).zip(&versions) {
            let (read, _) = build(lines);
            let zone = Arc::new(at.zone().succeeded_by(&read).expect("a small change"));
            let mut next = sign(&zone, serial, Some(&at));
            let scratch = sign(&Arc::new(read), serial, None);
            prop_assert_eq!(described_records(&next), described_records(&scratch));
            prop_assert_eq!(next.denial_checksum(), scratch.denial_checksum());
            prop_assert_eq!(next.record_count(), next.records().count());
            prop_assert_eq!(next.slot_count(), scratch.slot_count());
            prop_assert_eq!(next.signatures_made() + next.signatures_reused(), scratch.signatures_made());
            prop_assert!(next.renewed.is_some(), "it goes on from the version before");
            next.self_check(NOW, usize::MAX).expect("what was made is sound");
            next.renewed = None;
            next.self_check(NOW, usize::MAX).expect("the whole is sound");
            at = next;
        }
    }
}

#[test]
fn a_change_of_one_name_of_many_makes_the_signatures_that_it_needs_and_a_few_blocks() {
    let hosts = |more: &str| -> String {
        (0..6400).map(|n| format!("h{n:04} A 192.0.2.1\n")).chain([more.to_owned()]).collect()
    };
    let (ksk, zsk) = keys();
    let bundle = bundle(&name("example"), ksk, &[zsk], NOW, 30 * DAY);
    for denial in [Denial::Nsec, Denial::Nsec3(nsec3(false)), Denial::Nsec3(nsec3(true))] {
        let sign = |zone: &Arc<Zone>, serial, previous: Option<&SignedZone>| {
            let keys = std::slice::from_ref(zsk);
            sign_zone(zone, &bundle, keys, &policy(denial.clone()), serial, previous, NOW).expect("signs")
        };
        let read = |more: &str| zone("example", &format!("{HEAD}{}", hosts(more))).expect("a zone");
        let first = sign(&Arc::new(read("")), 1, None);
        // The change, and how many signatures it needs beside that of the SOA.
        for (more, made) in [
            ("", 0),
            // Its RRset, and the record with one more type.
            ("h0007 TXT t\n", 2),
            // Its RRset, its record, and that in front of it.
            ("h0007x A 192.0.2.1\n", 3),
            // A delegation: its record and that in front of it, with opt-out nothing.
            ("h0007x NS x.other.\n", if denial == Denial::Nsec3(nsec3(true)) { 0 } else { 2 }),
        ] {
            let zone = Arc::new(first.zone().succeeded_by(&read(more)).expect("a small change"));
            let next = sign(&zone, 2, Some(&first));
            assert_eq!(next.signatures_made(), made + 1, "{more}{denial:?}");
            let blocks = next.renewed.as_ref().expect("a part").blocks.len();
            assert!(blocks <= 4, "{blocks} blocks for {more}");
        }
    }
}
