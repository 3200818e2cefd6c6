//! What a transfer makes of the zone that is here: another zone, or a change of it.

use std::collections::HashMap;

use keystore::dns::{Name, Rtype, rdata};

use super::fault::TransferFault;
use super::stream::TransferEvent;
use super::wire::ReceivedRecord;
use crate::rules::{DnssecRecords, Handling, RecordProblem, ZoneRules};
use crate::zone::{ContentChange, Edit, Zone, ZoneBuilder};
use crate::zonefile::{Record, RecordPlace, SourceFiles, ZoneFileError};

/// Most records that the differences of a transfer may add to one RRset; more records than a message can have.
const MOST_ADDED: usize = 65_536 / 11;

/// Gathers what a transfer has.
#[derive(Debug)]
pub(super) struct Gathering {
    zone: Name,
    rules: ZoneRules,
    what: What,
    /// Records so far, for the place of each.
    records: u32,
    left_out: u64,
    above_max_ttl: u64,
}

#[derive(Debug)]
enum What {
    Nothing,
    Whole(Box<ZoneBuilder>),
    Edits(Vec<RecordEdit>),
}

/// A record that goes or comes.
#[derive(Debug)]
struct RecordEdit {
    is_added: bool,
    record: ReceivedRecord,
}

/// What has come.
#[derive(Debug)]
pub(super) enum Gathered {
    /// The whole zone.
    Whole(Box<Zone>),
    /// What changes in the zone that is here; `None` when nothing does.
    Change(Option<ContentChange>),
}

impl Gathering {
    pub const fn new(zone: Name, rules: ZoneRules) -> Self {
        Self { zone, rules, what: What::Nothing, records: 0, left_out: 0, above_max_ttl: 0 }
    }

    /// DNSSEC records of the primary that were left out.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Records of differences that are taken although their TTL is above `max-zone-ttl`. Those of a whole zone are among its warnings.
    pub const fn above_max_ttl(&self) -> u64 {
        self.above_max_ttl
    }

    /// Takes a record.
    pub fn put(&mut self, event: TransferEvent<'_>) -> Result<(), TransferFault> {
        let (record, is_added) = match event {
            TransferEvent::Record(record) => (record, None),
            TransferEvent::Added(record) => (record, Some(true)),
            TransferEvent::Removed(record) => (record, Some(false)),
        };
        self.records = self.records.saturating_add(1);
        if is_left_out(&self.rules, record.rtype, record.owner.eq_ignore_ascii_case(self.zone.as_wire())) {
            self.left_out += 1;
            return Ok(());
        }
        let Some(is_added) = is_added else { return self.put_whole(record) };
        let unfit = |problem| fault_of(record, problem);
        rdata::check(record.rtype, &record.rdata).map_err(|error| unfit(error.into()))?;
        if let Some(max) = self.rules.max_ttl.filter(|max| is_added && record.ttl > *max) {
            let problem = RecordProblem::TtlAboveMax { ttl: record.ttl, max };
            match problem.handling(self.rules.check) {
                Handling::Refuse => return Err(unfit(problem)),
                Handling::LeaveOut | Handling::Warn => self.above_max_ttl += 1,
            }
        }
        if !matches!(self.what, What::Edits(_)) {
            self.what = What::Edits(Vec::new());
        }
        if let What::Edits(edits) = &mut self.what {
            edits.push(RecordEdit { is_added, record: record.clone() });
        }
        Ok(())
    }

    fn put_whole(&mut self, record: &ReceivedRecord) -> Result<(), TransferFault> {
        if !matches!(self.what, What::Whole(_)) {
            self.what = What::Whole(Box::new(ZoneBuilder::with_rules(&self.zone, self.rules)));
        }
        let What::Whole(builder) = &mut self.what else { return Ok(()) };
        let pushed = builder.push(&Record {
            owner: &record.owner,
            rtype: record.rtype,
            ttl: record.ttl,
            rdata: &record.rdata,
            place: RecordPlace { file: 0, line: self.records },
        });
        pushed.map_err(|problem| fault_of(record, problem))
    }

    /// What the records make of `here`. It takes long for a large zone.
    pub fn finish(self, here: Option<&Zone>) -> Result<Gathered, TransferFault> {
        match (self.what, here) {
            (What::Whole(builder), _) => {
                let finished = builder.finish(SourceFiles::default()).map_err(fault_of_zone);
                finished.map(|zone| Gathered::Whole(Box::new(zone)))
            }
            (What::Edits(edits), Some(here)) => apply(&edits, here).map(Gathered::Change),
            _ => Ok(Gathered::Change(None)),
        }
    }
}

/// Applies the differences one after the other. What is removed must be there, and what is added must not be: otherwise they were made for
/// other content than what is here.
fn apply(edits: &[RecordEdit], here: &Zone) -> Result<Option<ContentChange>, TransferFault> {
    let mut edit = Edit::new(here);
    let mut added: HashMap<(&[u8], Rtype), usize> = HashMap::new();
    for RecordEdit { is_added, record } in edits {
        let ReceivedRecord { owner, rtype, ttl, rdata, .. } = record;
        if *is_added {
            let count = added.entry((owner, *rtype)).or_default();
            *count += 1;
            // No message has so many; and each costs a look at those before it.
            if *count > MOST_ADDED {
                return Err(TransferFault::TooManyRecords { limit: MOST_ADDED as u64 });
            }
        }
        let fits = match is_added {
            true => edit.add(owner, *rtype, *ttl, rdata),
            false => edit.remove(owner, *rtype, rdata),
        };
        if !fits {
            let (owner, rtype) = (name_of(record), *rtype);
            return Err(match is_added {
                true => TransferFault::ThereAlready { owner, rtype },
                false => TransferFault::NotThere { owner, rtype },
            });
        }
    }
    let Some(change) = edit.finish() else { return Ok(None) };
    here.changed_checked(&change).map_err(TransferFault::Zone)?;
    Ok(Some(change))
}

/// The records at the apex by which BIND remembers how far it has signed (`sig-signing-type`, by default).
const SIGNING_STATE: Rtype = Rtype(65534);

/// True for records of a primary that are left out: as those of a zone file, and the notes of a signing BIND in a zone that is not presigned.
const fn is_left_out(rules: &ZoneRules, rtype: Rtype, is_apex: bool) -> bool {
    let is_note = rtype.0 == SIGNING_STATE.0 && is_apex && matches!(rules.dnssec, DnssecRecords::LeftOut);
    is_note || rules.dnssec.leaves_out(rtype, is_apex)
}

fn name_of(record: &ReceivedRecord) -> Name {
    Name::from_wire(&record.owner).unwrap_or_else(|_| Name::root())
}

fn fault_of(record: &ReceivedRecord, problem: RecordProblem) -> TransferFault {
    TransferFault::Record { owner: name_of(record), rtype: record.rtype, problem }
}

/// The fault of records that do not come together.
fn fault_of_zone(error: ZoneFileError) -> TransferFault {
    match error {
        ZoneFileError::Record { what, .. } => TransferFault::Zone(what),
        other => TransferFault::NotTaken(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use keystore::config::ZoneCheck;

    use super::*;

    #[test]
    fn dnssec_records_of_the_primary_are_left_out_and_all_else_is_taken() {
        let apex = b"\x07example\0".to_vec();
        let below = b"\x01a\x07example\0".to_vec();
        for (rtype, owner, is_left_out) in [
            (Rtype::RRSIG, &apex, true),
            (Rtype::NSEC3PARAM, &apex, true),
            (Rtype::DNSKEY, &apex, true),
            (Rtype::CDS, &apex, true),
            (SIGNING_STATE, &apex, true),
            (SIGNING_STATE, &below, false),
            (Rtype(65533), &apex, false),
            (Rtype::TXT, &apex, false),
            (Rtype::RRSIG, &below, true),
            (Rtype::NSEC, &below, true),
            (Rtype::CDS, &below, false),
        ] {
            let is_apex = *owner == apex;
            let rules = |dnssec| ZoneRules { dnssec, ..ZoneRules::default() };
            let left_out = |dnssec| super::is_left_out(&rules(dnssec), rtype, is_apex);
            assert_eq!(left_out(DnssecRecords::LeftOut), is_left_out, "{rtype} {is_apex}");
            assert!(!left_out(DnssecRecords::Kept), "{rtype} {is_apex}");
        }
    }

    #[test]
    fn ttls_above_the_largest_of_the_policy_are_counted_in_differences_and_refused_when_strict() {
        let record = |ttl| ReceivedRecord {
            owner: b"\x01a\x07example\0".to_vec(),
            rtype: Rtype::A,
            class: 1,
            ttl,
            rdata: vec![192, 0, 2, 1],
        };
        for (check, max_ttl, ttl, is_added, taken) in [
            (ZoneCheck::Lenient, Some(3600), 3600, true, Some(0)),
            (ZoneCheck::Lenient, Some(3600), 3601, true, Some(1)),
            (ZoneCheck::Lenient, Some(3600), u32::MAX, true, Some(1)),
            (ZoneCheck::Lenient, Some(3600), 3601, false, Some(0)),
            (ZoneCheck::Lenient, None, 3601, true, Some(0)),
            (ZoneCheck::Strict, Some(3600), 3600, true, Some(0)),
            (ZoneCheck::Strict, Some(3600), 3601, true, None),
            // What goes may have any.
            (ZoneCheck::Strict, Some(3600), 3601, false, Some(0)),
        ] {
            let mut gathering = Gathering::new(
                Name::parse("example").unwrap(),
                ZoneRules { check, max_ttl, ..ZoneRules::default() },
            );
            let record = record(ttl);
            let event =
                if is_added { TransferEvent::Added(&record) } else { TransferEvent::Removed(&record) };
            let put = gathering.put(event).map(|()| gathering.above_max_ttl());
            assert_eq!(put.as_ref().ok().copied(), taken, "{check:?} {max_ttl:?} {ttl} {is_added}: {put:?}");
        }
    }
}
