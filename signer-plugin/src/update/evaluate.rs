//! What comes of an update on a zone (RFC 2136 section 3): prerequisites, the check of the whole section, permission, and the changes in their
//! order. Nothing is changed unless all of it may be.

use std::collections::BTreeMap;

use keystore::config::content::{MADE_BY_SIGNER, UpdateRule};
use keystore::dns::{Class, Name, Rtype};

use super::UpdateRcode::{self, FormErr, NotZone, NxDomain, NxRrset, Refused, YxDomain, YxRrset};
use super::message::{ANY, NONE, UpdateMessage, UpdateRecord};
use crate::rules::RecordProblem;
use crate::zone::{ContentChange, Edit, EditedRrset, Zone};

/// What the served version has beside the content of the zone.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServedApex {
    /// The serial of the SOA record that is served.
    pub serial: u32,
    /// Types of the records that the signer has made for the apex.
    pub made_at_apex: Vec<Rtype>,
}

/// Why an update changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotDone {
    pub rcode: UpdateRcode,
    /// For the log; `None` for what the client has to expect.
    pub why: Option<String>,
}

impl From<UpdateRcode> for NotDone {
    fn from(rcode: UpdateRcode) -> Self {
        Self { rcode, why: None }
    }
}

/// The zone after an update, with what changes; `None` when nothing does. `max_ttl` is the largest TTL that a record may have.
pub(crate) fn evaluate(
    zone: &Zone,
    served: &ServedApex,
    message: &UpdateMessage,
    rules: &[UpdateRule],
    max_ttl: Option<u32>,
) -> Result<Option<(Zone, ContentChange)>, NotDone> {
    let mut change = Evaluation { zone, served, edit: Edit::new(zone) };
    change.prerequisites(&message.prerequisites)?;
    for record in &message.updates {
        prescan(zone, record)?;
    }
    for record in &message.updates {
        change.permitted(record, rules, max_ttl)?;
    }
    message.updates.iter().for_each(|record| change.apply(record));
    change.drop_orphaned_ds(&message.updates);
    let Some(change) = change.edit.finish() else { return Ok(None) };
    let next = zone
        .changed_checked(&change)
        .map_err(|problem: RecordProblem| NotDone { rcode: Refused, why: Some(problem.to_string()) })?;
    Ok(Some((next, change)))
}

struct Evaluation<'a> {
    zone: &'a Zone,
    served: &'a ServedApex,
    edit: Edit<'a>,
}

impl Evaluation<'_> {
    /// RFC 2136 section 3.2.
    fn prerequisites(&self, records: &[UpdateRecord]) -> Result<(), UpdateRcode> {
        // RRsets that must be as given: each name and type once.
        let mut sets: BTreeMap<(Vec<u8>, Rtype), Vec<&[u8]>> = BTreeMap::new();
        for record in records {
            let UpdateRecord { owner, rtype, class, ttl, rdata } = record;
            if *ttl != 0 {
                return Err(FormErr);
            }
            if !owner.is_at_or_below(self.zone.origin()) {
                return Err(NotZone);
            }
            match (*class, *rtype) {
                (ANY | NONE, _) if !rdata.is_empty() => return Err(FormErr),
                (ANY, Rtype::ANY) if !self.is_in_use(owner) => return Err(NxDomain),
                (NONE, Rtype::ANY) if self.is_in_use(owner) => return Err(YxDomain),
                (ANY | NONE, Rtype::ANY) => {}
                (_, rtype) if rtype.is_meta() => return Err(FormErr),
                (ANY, rtype) if !self.has(owner, rtype) => return Err(NxRrset),
                (NONE, rtype) if self.has(owner, rtype) => return Err(YxRrset),
                (ANY | NONE, _) => {}
                (Class::IN, rtype) => sets.entry((owner.canonical_wire(), rtype)).or_default().push(rdata),
                _ => return Err(FormErr),
            }
        }
        let is_met = |((owner, rtype), records): (&(Vec<u8>, Rtype), &Vec<&[u8]>)| {
            let Some(set) = self.as_served(owner, *rtype) else { return false };
            let mut given = EditedRrset::new(0);
            for record in records {
                given.insert(*rtype, record);
            }
            set.records().len() == given.records().len()
                && given.records().all(|record| set.contains(*rtype, record))
        };
        if sets.iter().all(is_met) { Ok(()) } else { Err(NxRrset) }
    }

    /// True when the name has records.
    fn is_in_use(&self, owner: &Name) -> bool {
        !self.edit.types(owner.as_wire()).is_empty()
    }

    fn has(&self, owner: &Name, rtype: Rtype) -> bool {
        let is_made = owner == self.zone.origin() && self.served.made_at_apex.contains(&rtype);
        is_made || self.edit.has(owner.as_wire(), rtype)
    }

    /// The RRset, with the serial that is served in the SOA record.
    fn as_served(&self, owner: &[u8], rtype: Rtype) -> Option<EditedRrset> {
        let set = self.edit.rrset(owner, rtype)?;
        if rtype != Rtype::SOA {
            return Some(set);
        }
        let mut served = EditedRrset::new(set.ttl);
        for record in set.records() {
            let mut record = record.to_vec();
            if let Some(at) = record.len().checked_sub(20) {
                record[at..at + 4].copy_from_slice(&self.serial().to_be_bytes());
            }
            served.insert(rtype, &record);
        }
        Some(served)
    }

    /// The later of the serial that is served and that of the content, which an update before this one may have set.
    fn serial(&self) -> u32 {
        let soa = self.edit.rrset(self.zone.origin().as_wire(), Rtype::SOA);
        let own = soa.and_then(|set| serial_of(set.records().next()?)).unwrap_or_else(|| self.zone.serial());
        if is_later(own, self.served.serial) { own } else { self.served.serial }
    }

    /// Whether the holder of the key may do what the record says.
    fn permitted(
        &self,
        record: &UpdateRecord,
        rules: &[UpdateRule],
        max_ttl: Option<u32>,
    ) -> Result<(), NotDone> {
        let UpdateRecord { owner, rtype, class, ttl, .. } = record;
        let refused = |why: String| NotDone { rcode: Refused, why: Some(why) };
        if MADE_BY_SIGNER.contains(rtype) {
            return Err(refused(format!("{rtype} records are not changed by updates")));
        }
        let is_apex = owner == self.zone.origin();
        if *rtype == Rtype::ZONEMD && is_apex {
            return Err(refused("the digest of the zone is made here".to_owned()));
        }
        let types = match *rtype {
            Rtype::ANY => self.edit.types(owner.as_wire()),
            rtype => vec![rtype],
        };
        // What a deletion leaves alone needs no permission.
        let stays = |rtype: Rtype| *class == ANY && is_apex && matches!(rtype, Rtype::SOA | Rtype::NS);
        for rtype in types.into_iter().filter(|rtype| !stays(*rtype)) {
            if !rules.iter().any(|rule| rule.allows(owner, rtype)) {
                return Err(refused(format!("no entry of `update` lets the key change {rtype} of {owner}")));
            }
        }
        match max_ttl {
            Some(max) if *class == Class::IN && *ttl > max => {
                Err(refused(format!("the TTL {ttl} of {owner} is above the policy's max-zone-ttl of {max}")))
            }
            _ => Ok(()),
        }
    }

    /// RFC 2136 section 3.4.2.
    fn apply(&mut self, record: &UpdateRecord) {
        let UpdateRecord { owner, rtype, class, rdata, .. } = record;
        let is_apex = owner == self.zone.origin();
        let wire = owner.as_wire();
        match (*class, *rtype) {
            (Class::IN, _) => self.add(record, is_apex),
            (ANY, Rtype::ANY) => {
                for rtype in self.edit.types(wire) {
                    if !is_apex || !matches!(rtype, Rtype::SOA | Rtype::NS) {
                        self.edit.remove_rrset(wire, rtype);
                    }
                }
            }
            (ANY, rtype) => {
                if !is_apex || !matches!(rtype, Rtype::SOA | Rtype::NS) {
                    self.edit.remove_rrset(wire, rtype);
                }
            }
            (_, Rtype::SOA) => {}
            (_, rtype) => {
                let is_last = || self.edit.record_count(wire, rtype) == 1;
                if !(is_apex && rtype == Rtype::NS && is_last()) {
                    self.edit.remove(wire, rtype, rdata);
                }
            }
        }
    }

    fn add(&mut self, record: &UpdateRecord, is_apex: bool) {
        let UpdateRecord { owner, rtype, ttl, rdata, .. } = record;
        let (wire, rtype) = (owner.as_wire(), *rtype);
        let types = self.edit.types(wire);
        match rtype {
            Rtype::SOA => {
                let serial = serial_of(rdata);
                if !is_apex || serial.is_none_or(|serial| !is_later(serial, self.serial())) {
                    return;
                }
            }
            // A CNAME stands alone; KEY may stand beside it.
            Rtype::CNAME if types.iter().any(|other| !matches!(*other, Rtype::CNAME | Rtype::KEY)) => return,
            Rtype::CNAME | Rtype::KEY => {}
            _ if types.contains(&Rtype::CNAME) => return,
            _ => {}
        }
        let is_replaced = |old: &[u8]| match rtype {
            Rtype::SOA | Rtype::CNAME | Rtype::DNAME => true,
            // One WKS record for an address and protocol (RFC 2136 section 3.4.2.2).
            Rtype::WKS => old.get(..5) == rdata.get(..5),
            _ => false,
        };
        if matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME | Rtype::WKS) {
            let set = self.edit.rrset(wire, rtype);
            let set = set.as_ref().into_iter().flat_map(EditedRrset::records);
            for old in set.filter(|old| is_replaced(old) && *old != &rdata[..]) {
                self.edit.remove(wire, rtype, old);
            }
        }
        self.edit.add(wire, rtype, *ttl, rdata);
    }

    /// A DS record without its delegation has no meaning, so it goes with it, as in BIND.
    fn drop_orphaned_ds(&mut self, updates: &[UpdateRecord]) {
        for record in updates.iter().filter(|record| matches!(record.rtype, Rtype::NS | Rtype::ANY)) {
            let wire = record.owner.as_wire();
            if !self.edit.has(wire, Rtype::NS) {
                self.edit.remove_rrset(wire, Rtype::DS);
            }
        }
    }
}

/// RFC 2136 section 3.4.1: what is wrong with a record by itself.
fn prescan(zone: &Zone, record: &UpdateRecord) -> Result<(), UpdateRcode> {
    let UpdateRecord { owner, rtype, class, ttl, rdata } = record;
    if !owner.is_at_or_below(zone.origin()) {
        return Err(NotZone);
    }
    let is_good = match *class {
        Class::IN => !rtype.is_meta(),
        ANY => *ttl == 0 && rdata.is_empty() && (*rtype == Rtype::ANY || !rtype.is_meta()),
        NONE => *ttl == 0 && !rtype.is_meta(),
        _ => false,
    };
    if is_good { Ok(()) } else { Err(FormErr) }
}

fn serial_of(soa: &[u8]) -> Option<u32> {
    let at = soa.len().checked_sub(20)?;
    Some(u32::from_be_bytes(*soa[at..].first_chunk()?))
}

/// RFC 1982 section 3.2.
const fn is_later(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 1 << 31
}
