use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::signing::{self, Denial, Nsec3, SigningPolicy};
use crate::testing::{DAY, NOW, POLICY, bundle, keys, name, zone};

type Owned = (Vec<u8>, u16, u32, Vec<u8>);

/// What a version is made of: names with the numbers of their addresses, TTL, kind of denial.
#[derive(Debug, Clone)]
struct Draft {
    hosts: Vec<(&'static str, Vec<u8>)>,
    ttl: u32,
    denial: Denial,
}

/// Signs, with the signatures of `previous` where they still fit.
fn version(draft: &Draft, serial: u32, previous: Option<&SignedZone>) -> SignedZone {
    let mut text = format!(
        "@ 3600 SOA ns admin {serial} 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\nsub NS ns.sub\nns.sub A 192.0.2.9\n"
    );
    for (host, numbers) in &draft.hosts {
        for number in numbers {
            text.push_str(&format!("{host} {} A 198.51.100.{number}\n", draft.ttl));
        }
    }
    let (ksk, zsk) = keys();
    let bundle = bundle(&name("example"), ksk, &[zsk], NOW, 30 * DAY);
    let policy = SigningPolicy { denial: draft.denial.clone(), ..POLICY };
    let zone = Arc::new(zone("example", &text).expect("a zone"));
    signing::sign(&zone, &bundle, std::slice::from_ref(zsk), &policy, serial, previous, NOW).expect("signs")
}

fn owned(record: RecordRef<'_>) -> Owned {
    (record.owner.to_vec(), record.rtype.0, record.ttl, record.rdata.to_vec())
}

fn records_of(signed: &SignedZone) -> BTreeSet<Owned> {
    signed.records().map(|r| (r.owner.to_vec(), r.rtype.0, r.ttl, r.rdata.to_vec())).collect()
}

/// It is the same again from its octets, and octets that were cut or changed are no difference, or another one, and no panic.
fn comes_back(difference: &Difference) {
    let mut octets = Vec::new();
    difference.put(&mut octets);
    assert_eq!(Difference::take(&octets).as_ref(), Some(difference));
    for at in (0..octets.len()).step_by(7) {
        assert_eq!(Difference::take(&octets[..at]), None);
        let mut changed = octets.clone();
        changed[at] ^= 0x81;
        if let Some(found) = Difference::take(&changed) {
            assert_ne!(found, *difference);
            assert!(found.lists().iter().all(|list| list.iter().count() < octets.len()));
        }
    }
}

/// Takes away what is to be removed, all of which must be there, and adds what is to be added, none of which may be there.
fn applied(records: &BTreeSet<Owned>, [removed, added]: [&[&RecordList]; 2]) -> BTreeSet<Owned> {
    let mut records = records.clone();
    for record in removed.iter().flat_map(|list| list.iter()).map(owned) {
        assert!(records.remove(&record), "not there: {record:?}");
    }
    for record in added.iter().flat_map(|list| list.iter()).map(owned) {
        assert!(records.insert(record.clone()), "there already: {record:?}");
    }
    records
}

fn draft() -> impl Strategy<Value = Draft> {
    let names = vec!["a", "A", "b", "x.y", "*.w", "a.sub", "sub", "ns"];
    let host = (prop::sample::select(names), prop::collection::vec(0u8..4, 1..3));
    let denial = prop_oneof![
        3 => Just(Denial::Nsec),
        1 => Just(Denial::Nsec3(Nsec3::new(0, false))),
        1 => Just(Denial::Nsec3(Nsec3::new(0, true).with_salt(Box::new([7])))),
    ];
    (prop::collection::vec(host, 0..6), prop_oneof![3 => Just(300u32), 1 => Just(600)], denial)
        .prop_map(|(hosts, ttl, denial)| Draft { hosts, ttl, denial })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn differences_lead_from_version_to_version_forth_and_back_and_merge(drafts in prop::collection::vec(draft(), 3)) {
        let a = version(&drafts[0], 1, None);
        let b = version(&drafts[1], 2, Some(&a));
        let c = version(&drafts[2], 7, Some(&b));
        let between = |old, new| {
            let difference = Difference::between(old, new, usize::MAX).expect("no bound");
            let octets = difference.removed.octets.len() + difference.added.octets.len();
            assert!(Difference::between(old, new, octets).is_some());
            assert!(octets == 0 || Difference::between(old, new, octets - 1).is_none());
            assert!(Difference::between(old, old, 0).is_some_and(|same| same.is_empty()));
            let Difference { old_soa, new_soa, removed, added, .. } = &difference;
            let (there, back) = ([&[old_soa, removed][..], &[new_soa, added]], [&[new_soa, added][..], &[old_soa, removed]]);
            assert_eq!(applied(&records_of(old), there), records_of(new));
            assert_eq!(applied(&records_of(new), back), records_of(old));
            comes_back(&difference);
            difference
        };
        let (ab, bc, ac) = (between(&a, &b), between(&b, &c), between(&a, &c));
        prop_assert_eq!(ab.merged(&bc), ac);
        let ca = between(&c, &a);
        let nothing = ab.merged(&bc).merged(&ca);
        prop_assert!(nothing.removed == RecordList::default() && nothing.added == RecordList::default());
        prop_assert_eq!(&nothing.old_soa, &nothing.new_soa);
    }
}

#[test]
fn a_version_that_only_signs_anew_differs_in_what_was_signed() {
    let draft = Draft { hosts: vec![("a", vec![1, 2])], ttl: 300, denial: Denial::Nsec };
    let old = version(&draft, 1, None);
    let same = version(&draft, 2, Some(&old));
    let difference = Difference::between(&old, &same, usize::MAX).expect("no bound");
    let types = |list: &RecordList| list.iter().map(|r| (r.owner.to_vec(), r.rtype)).collect::<Vec<_>>();
    // The SOA is signed by each version, and the bundle of the test has its three signatures made anew.
    let signatures = vec![(b"\x07example\x00".to_vec(), Rtype::RRSIG); 4];
    assert_eq!((types(&difference.removed), types(&difference.added)), (signatures.clone(), signatures));
    assert_eq!((difference.from(), difference.to()), (1, 2));
}
