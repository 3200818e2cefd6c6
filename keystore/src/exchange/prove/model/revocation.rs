//! What RFC 5011 asks of an operator who revokes a KSK, so that the resolvers that follow it keep a trust anchor.

use super::super::fault::Fault;
use super::super::spans::Span;
use super::{Id, Model};
use crate::keys::{FLAG_REVOKE, FLAG_SEP};
use crate::time::Timestamp;

/// RFC 5011 sections 2.4.1 and 2.4.2: a resolver trusts a new key after 30 days, and forgets a revoked one after 30 days.
const HOLD_DOWN: u64 = 30 * 86_400;

impl Model<'_> {
    /// Each KSK that is revoked leaves a successor that all have come to trust, and stays until all have seen the revocation.
    pub(super) fn check_revocations(&mut self) {
        let is_revoked = |id: &Id| {
            let flags = self.keys[*id].key.flags;
            flags & FLAG_REVOKE != 0 && flags & FLAG_SEP != 0
        };
        let mut faults = Vec::new();
        for id in (0..self.keys.len()).filter(is_revoked) {
            let Some(first) = self.sets.iter().position(|set| set.has(id)) else { continue };
            faults.extend(self.successor_fault(id, first));
            faults.extend(self.removal_fault(id, first));
        }
        faults.into_iter().for_each(|(fault, when)| self.report(fault, when));
    }

    /// The hold-down of the other KSKs at the set `first`, where `id` is revoked. A key that has been there since the first set may have
    /// been there before, which nothing here tells.
    fn successor_fault(&self, id: Id, first: usize) -> Option<(Fault, Span)> {
        let set = &self.sets[first];
        let revoked_at = set.in_force.0;
        let needed = HOLD_DOWN.max(u64::from(set.bundle.dnskey.ttl));
        let trusted =
            |other: &Id| self.keys[*other].key.is_ksk() && self.keys[*other].key.flags & FLAG_REVOKE == 0;
        let since = |other: Id| {
            let without = self.sets[..first].iter().rposition(|set| !set.has(other));
            let from = without.map_or(0, |without| without + 1);
            (from, self.sets[from].in_force.0)
        };
        // Where nothing else signs, the chain of trust is broken for everybody, and that is told.
        let others = set.keys.iter().copied().filter(|other| trusted(other) && set.signs(*other));
        let (successor, (from, published)) =
            others.map(|other| (other, since(other))).min_by_key(|(_, (_, published))| *published)?;
        if first == 0 || revoked_at.saturating_sub(published) >= needed {
            return None;
        }
        let fault = Fault::HoldDown {
            key: self.keys[id].name,
            successor: self.keys[successor].name,
            published: Timestamp::from_secs(published),
            earliest: Timestamp::from_secs(published.saturating_add(needed)),
            maybe_before: from == 0,
        };
        Some((fault, set.in_force))
    }

    /// The revoked key `id`, which first stands in the set `first`, leaves before every resolver that follows RFC 5011 has seen it.
    fn removal_fault(&self, id: Id, first: usize) -> Option<(Fault, Span)> {
        let revoked_at = self.sets[first].in_force.0;
        let gone = self.sets[first..].iter().find(|set| !set.has(id))?;
        let needed = revoked_at.saturating_add(HOLD_DOWN);
        if gone.in_force.0 >= needed {
            return None;
        }
        let fault = Fault::RevokedRemoved { key: self.keys[id].name, needed: Timestamp::from_secs(needed) };
        Some((fault, gone.in_force))
    }
}
