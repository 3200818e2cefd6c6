//! What a name of the zone is to a denial chain: whether it is a member, and with which types.
//!
//! | name | NSEC | NSEC3 | NSEC3 with opt-out | types |
//! |---|---|---|---|---|
//! | apex | yes | yes | yes | all, those of the bundle and NSEC3PARAM and ZONEMD included |
//! | authoritative | yes | yes | yes | all |
//! | delegation with DS | yes | yes | yes | NS, DS |
//! | delegation without DS | yes | yes | no | NS; no RRSIG with NSEC3, as nothing is signed there |
//! | empty non-terminal | no | above a member | above a member, or beside a wildcard | none, not even RRSIG |
//! | below a delegation | no | no | no | |
//!
//! RRSIG is added where something is signed, NSEC with NSEC, NSEC3 nowhere (RFC 4034 section 4.1.2, RFC 5155 section 7.1).
//!
//! **Empty non-terminals under opt-out.** RFC 5155 section 7.1 lets those out that have delegations without DS below them only. Beside
//! a wildcard they are members nevertheless: without their record a validator would hold their parent for the closest encloser of a
//! name below them, and would want the wildcard denied, which is there.

use keystore::dns::Rtype;

use crate::zone::{NODES, NodeId, Zone};

/// Which names a chain has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChainKind {
    Nsec,
    Nsec3 { opt_out: bool },
}

/// What a name is, as far as denial goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The apex, or a name with records that is no delegation.
    Authoritative,
    SecureCut,
    InsecureCut,
    EmptyNonTerminal,
    BelowCut,
}

impl Standing {
    fn of(zone: &Zone, node: NodeId) -> Self {
        if zone.is_below_cut(node) {
            Self::BelowCut
        } else if zone.is_cut(node) {
            if zone.find(node, Rtype::DS).is_some() { Self::SecureCut } else { Self::InsecureCut }
        } else if zone.is_empty(node) && node != NodeId::APEX {
            Self::EmptyNonTerminal
        } else {
            Self::Authoritative
        }
    }
}

/// Whether `node` has a record in the chain; `member_below` says whether a name below it has.
pub(in crate::signing) fn member(zone: &Zone, node: NodeId, kind: ChainKind, member_below: bool) -> bool {
    match (Standing::of(zone, node), kind) {
        (Standing::Authoritative | Standing::SecureCut, _) => true,
        (Standing::BelowCut, _) | (Standing::EmptyNonTerminal, ChainKind::Nsec) => false,
        (Standing::InsecureCut, ChainKind::Nsec | ChainKind::Nsec3 { opt_out: false }) => true,
        (Standing::InsecureCut, ChainKind::Nsec3 { opt_out: true }) => false,
        (Standing::EmptyNonTerminal, ChainKind::Nsec3 { .. }) => {
            let wildcard = zone.node(zone.node(node).parent).wildcard;
            member_below || wildcard.is_some_and(|wildcard| wildcard != node)
        }
    }
}

/// What a name is in a chain, when all of the zone was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Membership {
    pub is_member: bool,
    /// Names below it that are members; with NSEC, where nothing depends on them, 0.
    pub below: u32,
}

/// For each node, by its position, what it is in the chain.
pub(crate) fn members(zone: &Zone, kind: ChainKind) -> Vec<Membership> {
    let mut members = vec![Membership::default(); zone.block_count() * NODES];
    let order: Vec<NodeId> = zone.node_ids().collect();
    // In canonical order what is below a name follows it.
    for node in order.into_iter().rev() {
        let Membership { below, .. } = members[node.position()];
        let is_member = member(zone, node, kind, below > 0);
        members[node.position()].is_member = is_member;
        if node != NodeId::APEX && kind != ChainKind::Nsec {
            members[zone.node(node).parent.position()].below += below + u32::from(is_member);
        }
    }
    members
}

/// The types of the bitmap of `node`, sorted. `apex_types` are those that the apex has beside the zone's own.
pub(super) fn types(
    zone: &Zone,
    node: NodeId,
    kind: ChainKind,
    apex_types: &[Rtype],
    types: &mut Vec<Rtype>,
) {
    let standing = Standing::of(zone, node);
    types.clear();
    let own = zone.rrsets_of(node).map(|rrset| zone.rrset(rrset).rtype);
    match standing {
        Standing::Authoritative => types.extend(own),
        // Addresses at a delegation are glue.
        Standing::SecureCut | Standing::InsecureCut => {
            types.extend(own.filter(|rtype| matches!(*rtype, Rtype::NS | Rtype::DS)));
        }
        Standing::EmptyNonTerminal | Standing::BelowCut => {}
    }
    if node == NodeId::APEX {
        types.extend(apex_types);
    }
    if kind == ChainKind::Nsec {
        types.extend([Rtype::RRSIG, Rtype::NSEC]);
    } else if matches!(standing, Standing::Authoritative | Standing::SecureCut) {
        types.push(Rtype::RRSIG);
    }
    types.sort_unstable();
}

/// Appends the type bitmap (RFC 4034 section 4.1.2) of sorted `types`.
pub(crate) fn put_bitmap(types: &[Rtype], out: &mut Vec<u8>) {
    for window in types.chunk_by(|a, b| a.0 >> 8 == b.0 >> 8) {
        let mut bits = [0u8; 32];
        let mut len = 0;
        for rtype in window {
            let low = usize::from(rtype.0 & 0xff);
            bits[low / 8] |= 0x80 >> (low % 8);
            len = low / 8 + 1;
        }
        out.extend_from_slice(&[(window[0].0 >> 8) as u8, len as u8]);
        out.extend_from_slice(&bits[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_of_rfc_4034_section_4_3() {
        let mut out = Vec::new();
        put_bitmap(&[Rtype::A, Rtype::MX, Rtype::RRSIG, Rtype::NSEC, Rtype(1234)], &mut out);
        let mut want = vec![0, 6, 0x40, 0x01, 0, 0, 0, 0x03, 4, 27];
        want.extend([0; 26]);
        want.push(0x20);
        assert_eq!(out, want);
    }

    #[test]
    fn bitmap_without_types_has_no_octets() {
        let mut out = Vec::new();
        put_bitmap(&[], &mut out);
        assert!(out.is_empty());
    }
}
