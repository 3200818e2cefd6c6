//! What keeps a zone from following its files at the moment, and since when.

use std::collections::BTreeMap;

use keystore::time::Timestamp;
use metrics::condition::ConditionId;
use metrics::health::report::SignerCondition;

/// The conditions of one zone, each with its begin and its cause.
#[derive(Debug, Default)]
pub(super) struct Conditions(BTreeMap<ConditionId, (Timestamp, String)>);

impl Conditions {
    /// Notes that something is the matter. True when it is new, or has another cause than before.
    pub fn raise(&mut self, id: ConditionId, cause: String, now: Timestamp) -> bool {
        let (_, known) = self.0.entry(id).or_insert_with(|| (now, String::new()));
        let new = *known != cause;
        *known = cause;
        new
    }

    /// Notes that it is not the matter any more. True when it was.
    pub fn clear(&mut self, id: ConditionId) -> bool {
        self.0.remove(&id).is_some()
    }

    /// The conditions now.
    pub fn ids(&self) -> impl Iterator<Item = ConditionId> {
        self.0.keys().copied()
    }

    /// The conditions now, for the health of the host.
    pub fn reported(&self) -> Vec<SignerCondition> {
        let one = |(id, (since, cause)): (&ConditionId, &(Timestamp, String))| SignerCondition {
            id: *id,
            since: *since,
            cause: cause.clone(),
        };
        self.0.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_keeps_its_begin_while_its_cause_changes() {
        let now = Timestamp::parse_stamp("20270101000000").unwrap();
        let mut conditions = Conditions::default();
        for (cause, seconds, is_news) in [("a: no", 0, true), ("a: no", 4, false), ("b: no", 5, true)] {
            let is = conditions.raise(ConditionId::SignerSkrUnreadable, cause.to_owned(), now.plus(seconds));
            assert_eq!(is, is_news, "{cause} after {seconds} seconds");
        }
        assert!(conditions.raise(ConditionId::SignerKeysUnreadable, "k".to_owned(), now.plus(6)));
        let reported = |id, since, cause: &str| SignerCondition { id, since, cause: cause.to_owned() };
        assert_eq!(
            conditions.reported(),
            [
                reported(ConditionId::SignerSkrUnreadable, now, "b: no"),
                reported(ConditionId::SignerKeysUnreadable, now.plus(6), "k"),
            ]
        );
        assert!(conditions.clear(ConditionId::SignerSkrUnreadable));
        assert!(!conditions.clear(ConditionId::SignerSkrUnreadable), "it is gone already");
        assert!(conditions.ids().eq([ConditionId::SignerKeysUnreadable]));
        assert!(conditions.raise(ConditionId::SignerSkrUnreadable, "b: no".to_owned(), now.plus(9)));
        assert_eq!(conditions.reported()[0].since, now.plus(9), "one that comes again begins anew");
    }
}
