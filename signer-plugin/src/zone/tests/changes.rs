//! A zone that was made from another by a change is the zone that is read anew.

use super::super::change::ContentChange;
use super::*;

/// A line of a zone of few names, so that they are above and below each other.
fn line() -> impl Strategy<Value = (String, &'static str)> {
    let label = prop::sample::select(vec!["a", "b", "*", "A"]);
    let owner = prop::collection::vec(label, 1..5).prop_map(|labels| labels.join("."));
    let data = ["60 A 192.0.2.1", "A 192.0.2.2", "TXT t", "NS x.other.", "NS y.other.", "DNAME d.other."];
    (owner, prop::sample::select(data.to_vec()))
}

/// The zone of those lines that a zone can have.
fn read(lines: &[(String, &str)]) -> Zone {
    let mut text = String::new();
    for (owner, data) in lines {
        let more = format!("{text}{owner} {data}\n");
        if zone("example", &format!("{APEX}{more}")).is_ok_and(|zone| zone.warnings().left_out == 0) {
            text = more;
        }
    }
    load(&text)
}

/// All that a zone says of its names, without the numbers of nodes.
fn described(zone: &Zone) -> Vec<String> {
    let key = |node: NodeId| String::from_utf8_lossy(zone.key(node)).into_owned();
    let described = |node: NodeId| {
        let Node { parent, wildcard, cut, children, depth, exists, .. } = *zone.node(node);
        let owner = if zone.is_empty(node) { &[][..] } else { zone.owner(node) };
        let rrsets: Vec<_> = zone.rrsets_of(node).map(|id| zone.rrset(id)).collect();
        assert_eq!(zone.get(zone.key(node)), Some(node));
        assert_eq!(zone.last_up_to(zone.key(node)), node);
        assert!(zone.exists(node));
        let (wildcard, cut) = (wildcard.map(key), cut.map(key));
        format!(
            "{} {owner:?} {} {wildcard:?} {cut:?} {children} {depth} {exists} {rrsets:?}",
            key(node),
            key(parent)
        )
    };
    zone.node_ids().map(described).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_zone_after_changes_is_the_zone_that_is_read_anew_and_the_one_before_stays(
        versions in prop::collection::vec(prop::collection::vec(line(), 0..14), 2..6),
    ) {
        let zones: Vec<Zone> = versions.iter().map(|lines| read(lines)).collect();
        let mut at = read(&versions[0]);
        for new in &zones {
            let before = described(&at);
            let next = at.succeeded_by(new).expect("a small change");
            prop_assert_eq!(described(&next), described(new));
            prop_assert!(next.has_content_of(new) && new.has_content_of(&next));
            prop_assert_eq!(at.has_content_of(&next), at.has_content_of(new));
            prop_assert_eq!((next.digest(), next.largest_ttl()), (new.digest(), new.largest_ttl()));
            let totals = |zone: &Zone| (zone.name_count(), zone.rrset_count(), zone.record_count());
            prop_assert_eq!(totals(&next), totals(new));
            // Both ways to find the difference say the same, and back again.
            let change = ContentChange::between(&at, &next, 1000).expect("few names");
            prop_assert_eq!(&change, &ContentChange::between(&at, new, 1000).expect("few names"));
            let back = next.changed(&ContentChange::between(&next, &at, 1000).expect("few names"));
            prop_assert_eq!(described(&back), before.clone());
            prop_assert_eq!(described(&at), before);
            at = next;
        }
    }
}

#[test]
fn a_change_of_some_names_of_many_shares_the_blocks_of_all_others() {
    let hosts = |more: &str| -> String {
        (0..6400).map(|n| format!("h{n:04} A 192.0.2.1\n")).chain([more.to_owned()]).collect()
    };
    let first = load(&hosts(""));
    let next =
        first.succeeded_by(&load(&hosts("h0007 TXT t\nh3000x A 192.0.2.1\n"))).expect("a small change");
    // Of h0007, of the apex, which has one more child, and the last one, where the new name is.
    let changed = first.blocks_not_shared(&next);
    assert!(changed.len() <= 3, "{changed:?}");
    assert!(next.last_before(b"h3001\0").is_some_and(|node| next.owner(node).starts_with(b"\x06h3000x")));
    // Other content altogether is no change.
    assert!(first.succeeded_by(&load("a A 192.0.2.1\n")).is_none());
}

#[test]
fn names_that_come_and_go_leave_no_places_behind() {
    let mut zone = load("");
    for round in 0..2000 {
        let next = load(&format!("a{}.b{} A 192.0.2.1\n*.c{} TXT t\n", round % 7, round % 5, round % 3));
        zone = zone.succeeded_by(&next).expect("a small change");
        assert_eq!(zone.name_count(), next.name_count());
    }
    assert_eq!(zone.block_count(), 1);
}
