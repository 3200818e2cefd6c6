//! The rules of [`crate::rules`] for a zone that was changed: what would refuse a zone file, or be left out of it, refuses the change.

use keystore::dns::Rtype;

use super::audit::stays_hidden;
use super::change::ContentChange;
use super::pack::{MESSAGE_ROOM, stands_beside_cname};
use super::placed::to_name;
use super::{NodeId, Records, Zone};
use crate::rules::RecordProblem;

impl Zone {
    /// The zone after a change, whose names must be at or below the apex. The names that change are checked, and those below them where a
    /// delegation or a DNAME came.
    pub(crate) fn changed_checked(&self, change: &ContentChange) -> Result<Self, RecordProblem> {
        let next = self.changed(change);
        for name in &change.names {
            let Some(node) = next.lookup(&name.owner) else { continue };
            check_node(&next, node)?;
            let hides =
                |zone: &Self, node: NodeId| zone.find(node, Rtype::DNAME).is_some() || zone.is_cut(node);
            if hides(&next, node) && self.lookup(&name.owner).is_none_or(|before| !hides(self, before)) {
                next.subtree(node).skip(1).try_for_each(|below| check_node(&next, below))?;
            }
        }
        Ok(next)
    }
}

/// Checks what a name has by itself, and what hides it.
fn check_node(zone: &Zone, node: NodeId) -> Result<(), RecordProblem> {
    let owner = || to_name(zone.owner(node));
    let origin = || zone.origin().clone();
    let has = |rtype| zone.find(node, rtype).is_some();
    let types = || zone.rrsets_of(node).map(|id| zone.rrset(id).rtype);
    let (is_apex, is_cut) = (node == NodeId::APEX, zone.is_cut(node));
    let is_wildcard = !is_apex && zone.owner(node).starts_with(b"\x01*");
    if is_apex {
        if let Some(missing) = [Rtype::SOA, Rtype::NS].into_iter().find(|rtype| !has(*rtype)) {
            return Err(RecordProblem::ApexLacks(origin(), missing));
        }
    } else if has(Rtype::SOA) {
        return Err(RecordProblem::SecondSoa { owner: owner(), zone: origin() });
    }
    if has(Rtype::CNAME)
        && let Some(other) = types().find(|rtype| !stands_beside_cname(*rtype))
    {
        return Err(RecordProblem::CnameAndOther { owner: owner(), other });
    }
    if has(Rtype::DNAME) && is_cut {
        return Err(RecordProblem::DnameAndNs { owner: owner() });
    }
    if has(Rtype::NS) && is_cut && is_wildcard {
        return Err(RecordProblem::WildcardDelegation { owner: owner() });
    }
    if has(Rtype::DS) && !is_cut {
        return Err(RecordProblem::DsNotAtCut { owner: owner() });
    }
    for id in zone.rrsets_of(node) {
        let set = zone.rrset(id);
        let records = Records(set.data).count();
        if records > 1 && matches!(set.rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME) {
            return Err(RecordProblem::SecondOf(set.rtype));
        }
        let octets = set.data.len() + 10 * records;
        let limit = MESSAGE_ROOM - zone.owner(node).len();
        if octets > limit {
            return Err(RecordProblem::RrsetTooLarge { rtype: set.rtype, records, octets, limit });
        }
    }
    check_hidden(zone, node)
}

/// Whether a delegation or a DNAME hides what the name has.
fn check_hidden(zone: &Zone, node: NodeId) -> Result<(), RecordProblem> {
    if zone.is_empty(node) {
        return Ok(());
    }
    let owner = || to_name(zone.owner(node));
    let stays_all = |is_by_cut| {
        zone.rrsets_of(node).all(|id| stays_hidden(zone.dnssec(), zone.rrset(id).rtype, is_by_cut))
    };
    let mut above = node;
    while above != NodeId::APEX {
        above = zone.node(above).parent;
        if zone.find(above, Rtype::DNAME).is_some() && !stays_all(false) {
            return Err(RecordProblem::BelowDname { owner: owner(), dname: to_name(zone.owner(above)) });
        }
    }
    let Some(cut) = zone.node(node).cut.filter(|_| !stays_all(true)) else { return Ok(()) };
    let stays = |rtype| match rtype {
        Rtype::A | Rtype::AAAA => true,
        Rtype::NS | Rtype::DS => cut == node,
        _ => false,
    };
    match zone.rrsets_of(node).map(|id| zone.rrset(id).rtype).find(|rtype| !stays(*rtype)) {
        None => Ok(()),
        Some(rtype) => Err(RecordProblem::BelowCut { owner: owner(), rtype, cut: to_name(zone.owner(cut)) }),
    }
}
