//! What is wrong with records because of where they stand in the zone: hidden by a DNAME or a delegation, or leading to hosts that the
//! zone should have and has not.

use keystore::dns::{Name, Rtype};

use super::layout::{LaidOutNode, Names};
use super::placed::{PlacedRecord, to_name};
use super::warnings::Judge;
use super::{NodeId, Zone};
use crate::rules::{DnssecRecords, RecordProblem};
use crate::zonefile::ZoneFileError;

/// What keeps resolvers from seeing a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HiddenBy {
    Nothing,
    /// It is this delegation, or below it.
    Cut(NodeId),
    /// It is below this DNAME.
    Dname(NodeId),
}

/// For each node what hides it; the topmost delegation or DNAME counts.
pub(super) fn hidden_by(nodes: &[LaidOutNode], records: &[PlacedRecord]) -> Vec<HiddenBy> {
    let mut hidden: Vec<HiddenBy> = Vec::with_capacity(nodes.len());
    let mut is_dname = vec![false; nodes.len()];
    let mut rest = records;
    for (id, node) in NodeId::range(0..nodes.len()).zip(nodes) {
        let count = rest.iter().take_while(|record| record.node == id).count();
        let (here, behind) = rest.split_at(count);
        rest = behind;
        let has = |rtype| here.iter().any(|record| record.rtype == rtype);
        is_dname[id.position()] = has(Rtype::DNAME);
        let above = match id {
            _ if id == NodeId::APEX => HiddenBy::Nothing,
            _ if hidden[node.parent.position()] != HiddenBy::Nothing => hidden[node.parent.position()],
            _ if is_dname[node.parent.position()] => HiddenBy::Dname(node.parent),
            _ => HiddenBy::Nothing,
        };
        hidden.push(match above {
            HiddenBy::Nothing if id != NodeId::APEX && has(Rtype::NS) => HiddenBy::Cut(id),
            above => above,
        });
    }
    hidden
}

/// The problem of a record that no resolver could see.
pub(super) fn hidden(
    record: &PlacedRecord,
    hidden_by: &[HiddenBy],
    nodes: &[LaidOutNode],
    (names, dnssec): (&Names, DnssecRecords),
) -> Option<RecordProblem> {
    let name = |id: NodeId| {
        let node = &nodes[id.position()];
        to_name(&names.octets[node.owner as usize..])
    };
    let owner = || name(record.node);
    match hidden_by[record.node.position()] {
        HiddenBy::Nothing => None,
        _ if stays_hidden(
            dnssec,
            record.rtype,
            matches!(hidden_by[record.node.position()], HiddenBy::Cut(_)),
        ) =>
        {
            None
        }
        HiddenBy::Dname(dname) => Some(RecordProblem::BelowDname { owner: owner(), dname: name(dname) }),
        HiddenBy::Cut(cut) => {
            let at_cut = cut == record.node;
            let stays = match record.rtype {
                Rtype::A | Rtype::AAAA => true,
                // A DNAME or CNAME beside NS is refused later, with the reason.
                Rtype::NS | Rtype::DS | Rtype::DNAME | Rtype::CNAME | Rtype::SOA => at_cut,
                _ => false,
            };
            let below = || RecordProblem::BelowCut { owner: owner(), rtype: record.rtype, cut: name(cut) };
            (!stays).then(below)
        }
    }
}

/// True for a record of a presigned zone that stays although no query is answered with it: what is below or at a delegation, as secondaries are to have the zone
/// as it is, and NSEC3 records with their signatures, which may be below a DNAME of the apex.
pub(super) fn stays_hidden(dnssec: DnssecRecords, rtype: Rtype, is_by_cut: bool) -> bool {
    dnssec == DnssecRecords::Kept && (is_by_cut || matches!(rtype, Rtype::NSEC3 | Rtype::RRSIG))
}

/// Judges the names that NS, MX and SRV records lead to.
pub(super) fn check_targets(
    zone: &Zone,
    records: &[PlacedRecord],
    names: &Names,
    judge: &mut Judge,
) -> Result<(), ZoneFileError> {
    for record in records {
        let before_target = match record.rtype {
            Rtype::NS => 0,
            Rtype::MX => 2,
            Rtype::SRV => 6,
            _ => continue,
        };
        let Some(target) = record.rdata(names).get(before_target..) else { continue };
        if let Some(problem) = check_target(zone, record, target) {
            judge.judge_in(&zone.files, record.place, problem)?;
        }
    }
    Ok(())
}

fn check_target(zone: &Zone, record: &PlacedRecord, target: &[u8]) -> Option<RecordProblem> {
    let key = zone.key_of(target)?;
    let found = zone.get(key.as_slice());
    let encloser = found.unwrap_or_else(|| zone.closest_encloser(key.as_slice()));
    let node = found.or(zone.node(encloser).wildcard);
    let cut = zone.node(encloser).cut;
    // A wildcard below a delegation makes nothing.
    let node = node.filter(|node| cut.is_none() || found == Some(*node));
    let has = |rtype| node.is_some_and(|node| zone.find(node, rtype).is_some());
    if has(Rtype::A) || has(Rtype::AAAA) || cut.is_none() && has(Rtype::CNAME) && record.rtype != Rtype::NS {
        return None;
    }
    let hidden_by_dname = zone.find(encloser, Rtype::DNAME).is_some() && found.is_none();
    match (record.rtype, cut) {
        (Rtype::NS, None) if hidden_by_dname && record.node == NodeId::APEX => {
            Some(RecordProblem::NameServerBelowDname { target: to_name(target) })
        }
        (_, None) if hidden_by_dname => None,
        _ if cut.is_none() && node.is_none() && looks_absolute(target, &zone.origin) => {
            Some(RecordProblem::MissingDot { rtype: record.rtype, target: to_name(target) })
        }
        (Rtype::NS, Some(cut)) => {
            Some(RecordProblem::NoGlue { target: to_name(target), cut: to_name(zone.owner(cut)) })
        }
        (Rtype::NS, None) => Some(RecordProblem::NameServerWithoutAddress { target: to_name(target) }),
        _ => None,
    }
}

/// True for a name below `origin` that without `origin` would look like an absolute name: `mail.example.com` with the zone's last label,
/// or that of another common top-level domain, or an IPv4 address.
fn looks_absolute(target: &[u8], origin: &Name) -> bool {
    const COMMON: [&[u8]; 8] = [b"com", b"net", b"org", b"edu", b"gov", b"arpa", b"info", b"biz"];
    let Some(relative) = target.len().checked_sub(origin.as_wire().len()).and_then(|len| target.get(..len))
    else {
        return false;
    };
    let mut labels: Vec<&[u8]> = Vec::new();
    let mut rest = relative;
    while let Some((len, tail)) = rest.split_first() {
        let (label, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        labels.push(label);
        rest = tail;
    }
    let Some(last) = labels.last().filter(|_| labels.len() > 1) else { return false };
    let top = origin.labels().last();
    let is_address = labels.len() == 4 && labels.iter().all(|l| l.iter().all(u8::is_ascii_digit));
    is_address
        || top.is_some_and(|top| top.eq_ignore_ascii_case(last))
        || COMMON.iter().any(|common| common.eq_ignore_ascii_case(last))
}
