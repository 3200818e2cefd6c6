//! Since when the keys of a zone are published: what decides when caches can have them (RFC 7583 section 3.2.1).

use keystore::exchange::{Bundle, VerifiedSkr};
use keystore::time::Timestamp;

use crate::state::Publication;

/// The keys of `bundle`, which is served from `now` on, each with the time since when every version that was served had it.
///
/// `known` is what the version before had. Where nothing is known of it (a new zone, or its state is lost) the bundles of the SKR that
/// come right before this one count as served. A key that none of them has is taken for new: it waits, if another key can sign.
pub(super) fn publications(
    known: Option<&[Publication]>,
    skr: &VerifiedSkr,
    bundle: &Bundle,
    now: Timestamp,
) -> Vec<Publication> {
    let before: Vec<&Bundle> = skr.bundles().iter().filter(|b| b.inception <= bundle.inception).collect();
    bundle
        .keys()
        .map(|dnskey| {
            let since = match known {
                Some(known) => known.iter().find(|other| other.dnskey == dnskey).map_or(now, |k| k.since),
                None => {
                    let run = before.iter().rev().take_while(|b| b.keys().any(|key| key == dnskey));
                    run.skip(1).last().map_or(now, |first| first.inception)
                }
            };
            // A clock that was set back does not make a key younger than now.
            Publication { dnskey, since: since.min(now) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystore::exchange::testing::{SkrBuilder, TestKey};
    use keystore::exchange::{VerifyContext, verify};

    #[test]
    fn what_was_served_counts_and_where_that_is_lost_what_the_skr_had() {
        let start = Timestamp::parse_stamp("20270101000000").unwrap();
        let day = 86_400;
        let (old, new) = (TestKey::zsk(2).dnskey, TestKey::zsk(3).dnskey);
        let skr = SkrBuilder::new("example.", start).bundles(6).step(day).ksk(TestKey::ksk(1));
        let skr = skr.zsk_during(old.clone(), start, Timestamp::MAX);
        let skr = skr.zsk_during(new.clone(), start.plus(2 * day), Timestamp::MAX);
        let (zone, anchors) = (keystore::dns::Name::parse("example.").unwrap(), skr.anchors());
        let skr = verify(skr.build(), &VerifyContext::new(&zone, &anchors), start).unwrap();
        let now = start.plus(4 * day + 60);
        let first = skr.bundle_at(start.plus(2 * day)).unwrap();
        let all = publications(None, &skr, first, start.plus(2 * day + 60));
        let of_new = all.iter().find(|p| p.dnskey == new).unwrap();
        assert_eq!(of_new.since, start.plus(2 * day + 60), "no bundle before has the key");
        let bundle = skr.bundle_at(now).unwrap();
        let since = |known: Option<&[Publication]>, dnskey: &keystore::keys::Dnskey| {
            let all = publications(known, &skr, bundle, now);
            all.iter().find(|p| p.dnskey == *dnskey).unwrap().since
        };
        assert_eq!((since(None, &old), since(None, &new)), (start, start.plus(2 * day)));
        let published =
            |dnskey: &keystore::keys::Dnskey, since| Publication { dnskey: dnskey.clone(), since };
        // The version before had the old key only: the process was down while the bundles changed.
        let known = [published(&old, start.plus(7))];
        assert_eq!((since(Some(&known), &old), since(Some(&known), &new)), (start.plus(7), now));
        let known = [published(&old, start), published(&new, now.plus(50 * day))];
        assert_eq!(since(Some(&known), &new), now, "the clock was set back");
    }
}
