//! Where the parent of a zone wants to be told of new CDS records: its DSYNC records (RFC 9859 section 4.1), through a validating resolver.

use std::time::Instant;

use keystore::dns::{Name, Rtype};

use super::servers::existing;
use crate::ask::{AskError, Asker, ServerReply};

/// The label below which a parent has its DSYNC records.
const LABEL: &[u8] = b"_dsync";
/// Scheme NOTIFY (RFC 9859 section 2).
const NOTIFY: u8 = 1;
/// Most names that are asked for: one beside the zone, one at the apex of the parent with labels in front, and one without.
const MAX_LOOKUPS: usize = 3;

/// What the DSYNC records of the parent say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dsync {
    /// NOTIFY(CDS) is sent here.
    Receiver(Receiver),
    /// The parent has no record for NOTIFY and CDS.
    None,
    /// There are records, and the resolver has not validated them: they are not used.
    NotSecure,
}

/// Where NOTIFY(CDS) is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub target: Name,
    /// Its port.
    pub port: u16,
}

impl std::fmt::Display for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} port {}", self.target, self.port)
    }
}

/// Looks the DSYNC records of the parent of `zone` up. A negative answer need not be validated, because a parent with NSEC3 opt-out gives no
/// secure ones; all that may come of a forged one is that nobody is told, or a receiver that a signed record names.
pub fn discover(resolver: &Asker, zone: &Name, until: Instant) -> Result<Dsync, AskError> {
    let mut next = zone.parent().and_then(|suffix| below(zone, 1, &suffix));
    for _ in 0..MAX_LOOKUPS {
        let Some(name) = next else { return Ok(Dsync::None) };
        let reply = existing(resolver.ask_all(&name.name, Rtype::DSYNC, until)?, Rtype::DSYNC)?;
        // Of another owner where the name is an alias, which the resolver has followed.
        let found = reply.answer.iter().filter(|answer| answer.rrset.rtype == Rtype::DSYNC);
        let records: Vec<&[u8]> = found.flat_map(|answer| &answer.rrset.rdatas).map(|r| &r[..]).collect();
        if !records.is_empty() {
            return Ok(match receiver(&records) {
                Some(_) if !reply.authentic => Dsync::NotSecure,
                Some(receiver) => Dsync::Receiver(receiver),
                None => Dsync::None,
            });
        }
        next = after(&name, zone, &reply);
    }
    Ok(Dsync::None)
}

/// A name that is asked for, in its parts.
struct Lookup {
    name: Name,
    /// Labels in front of `_dsync`.
    labels: usize,
    /// What comes behind `_dsync`.
    suffix: Name,
}

/// The first `labels` of `zone`, `_dsync`, and `suffix`; `None` where that is no name.
fn below(zone: &Name, labels: usize, suffix: &Name) -> Option<Lookup> {
    let mut wire = Vec::new();
    for label in zone.labels().take(labels).chain([LABEL]) {
        wire.push(u8::try_from(label.len()).ok()?);
        wire.extend(label);
    }
    wire.extend(suffix.as_wire());
    Some(Lookup { name: Name::from_wire(&wire).ok()?, labels, suffix: suffix.clone() })
}

/// What is asked for behind a negative answer, whose SOA record names the parent (RFC 9859 section 4.1, step 3).
fn after(asked: &Lookup, zone: &Name, reply: &ServerReply) -> Option<Lookup> {
    let soa = reply.authority.iter().find(|set| set.rrset.rtype == Rtype::SOA).map(|set| &set.rrset.owner);
    let parent = soa.filter(|owner| zone.is_at_or_below(owner) && *owner != zone);
    match parent {
        Some(parent) if parent.label_count() < asked.suffix.label_count() => {
            below(zone, zone.label_count() - parent.label_count(), parent)
        }
        _ if asked.labels > 0 => below(zone, 0, &asked.suffix),
        _ => None,
    }
}

/// The receiver that DSYNC records name for CDS. There may be one for a type and scheme; of several the first in canonical order counts.
fn receiver(records: &[&[u8]]) -> Option<Receiver> {
    let mut records = records.to_vec();
    records.sort_unstable();
    records.into_iter().find_map(|rdata| {
        let (head, target) = rdata.split_at_checked(5)?;
        let [type_0, type_1, scheme, port_0, port_1] = *head else { return None };
        let (rtype, port) = (u16::from_be_bytes([type_0, type_1]), u16::from_be_bytes([port_0, port_1]));
        let target = Name::from_wire(target).ok()?;
        let is_for_cds = rtype == Rtype::CDS.0 && scheme == NOTIFY;
        (is_for_cds && port != 0 && !target.is_root()).then_some(Receiver { target, port })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Rcode, RrsetAnswer};
    use keystore::dns::Rrset;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn negative(soa: Option<&str>) -> ServerReply {
        let rrset = |owner| Rrset { owner: name(owner), rtype: Rtype::SOA, ttl: 60, rdatas: Vec::new() };
        let answer = |owner| RrsetAnswer {
            rrset: rrset(owner),
            signatures: Vec::new(),
            authentic: false,
            expire: None,
        };
        ServerReply {
            rcode: Rcode::NXDOMAIN,
            authoritative: false,
            authentic: false,
            extended_error: None,
            answer: Vec::new(),
            authority: soa.map(answer).into_iter().collect(),
        }
    }

    /// The names that are asked for when every answer is negative with this SOA record.
    fn lookups(zone: &str, soa: Option<&str>) -> Vec<String> {
        let zone = name(zone);
        let mut names = Vec::new();
        let mut next = zone.parent().and_then(|suffix| below(&zone, 1, &suffix));
        while let Some(lookup) = next.filter(|_| names.len() < MAX_LOOKUPS) {
            names.push(lookup.name.to_string());
            next = after(&lookup, &zone, &negative(soa));
        }
        names
    }

    #[test]
    fn names_follow_the_parent_that_the_soa_record_shows() {
        for (zone, soa, names) in [
            ("a.example.", Some("example."), vec!["a._dsync.example.", "_dsync.example."]),
            (
                "a.b.example.",
                Some("example."),
                vec!["a._dsync.b.example.", "a.b._dsync.example.", "_dsync.example."],
            ),
            ("a.b.c.", Some("."), vec!["a._dsync.b.c.", "a.b.c._dsync.", "_dsync."]),
            ("test.", Some("."), vec!["test._dsync.", "_dsync."]),
            // No parent is shown, or none that can be.
            ("a.b.example.", None, vec!["a._dsync.b.example.", "_dsync.b.example."]),
            ("a.example.", Some("other."), vec!["a._dsync.example.", "_dsync.example."]),
            ("a.example.", Some("a.example."), vec!["a._dsync.example.", "_dsync.example."]),
            ("a.example.", Some("_dsync.example."), vec!["a._dsync.example.", "_dsync.example."]),
            (".", None, vec![]),
        ] {
            assert_eq!(lookups(zone, soa), names, "{zone} {soa:?}");
        }
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert_eq!(lookups(&long, None), [""; 0], "there is no room for the label");
    }

    #[test]
    fn only_a_record_for_cds_and_notify_with_port_and_target_names_a_receiver() {
        let record = |rtype: u16, scheme: u8, port: u16, target: &str| {
            [&rtype.to_be_bytes()[..], &[scheme], &port.to_be_bytes(), name(target).as_wire()].concat()
        };
        let good = record(59, 1, 5359, "scanner.example.");
        let found = Some(Receiver { target: name("scanner.example."), port: 5359 });
        for bad in [
            record(62, 1, 5359, "scanner.example."),
            record(59, 0, 5359, "scanner.example."),
            record(59, 2, 5359, "scanner.example."),
            record(59, 1, 0, "scanner.example."),
            record(59, 1, 5359, "."),
            good[..4].to_vec(),
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
        ] {
            assert_eq!(receiver(&[&bad]), None, "{bad:?}");
            assert_eq!(receiver(&[&bad, &good]), found, "{bad:?}");
        }
        let other = record(59, 1, 5360, "scanner.example.");
        assert_eq!(receiver(&[&other, &good]), receiver(&[&good, &other]), "the order does not count");
    }
}
