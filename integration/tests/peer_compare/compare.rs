//! What differs between two answers, and why it may.

use std::collections::BTreeSet;
use std::fmt;

use keystore::dns::{Rtype, rdata};
use signer_plugin::reply::{MessageParts, Rr};

use crate::queries::Query;

/// A record, without letter case where it does not count.
type Record = (Vec<u8>, u16, u32, Vec<u8>);

/// An answer as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub octets: usize,
    pub flags: u16,
    pub rcode: u16,
    pub answer: BTreeSet<Record>,
    pub authority: BTreeSet<Record>,
    pub additional: BTreeSet<Record>,
    pub has_opt: bool,
}

const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const CD: u16 = 0x0010;
const NAPTR: Rtype = Rtype(35);

impl Answer {
    pub fn read(octets: &[u8]) -> Self {
        let reply = MessageParts::read(octets).unwrap_or_else(|e| panic!("{e}: {octets:02x?}"));
        let records = |records: &[Rr]| {
            let record = |rr: &Rr| {
                (rr.owner.canonical_wire(), rr.rtype.0, rr.ttl, rdata::canonical(rr.rtype, &rr.rdata))
            };
            records.iter().map(record).collect()
        };
        Self {
            octets: octets.len(),
            flags: reply.flags & !0x000f,
            rcode: reply.rcode(),
            answer: records(&reply.answers),
            authority: records(&reply.authorities),
            additional: records(&reply.additionals),
            has_opt: reply.opt.is_some(),
        }
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = |records: &BTreeSet<Record>| {
            let words = records.iter().map(|(owner, rtype, ttl, data)| {
                let owner =
                    keystore::dns::Name::from_wire(owner).map_or_else(|_| "?".to_owned(), |n| n.to_string());
                let owner = owner.trim_end_matches("hard.test.").trim_end_matches('.').to_owned();
                let covered = match Rtype(*rtype) {
                    Rtype::RRSIG => format!("({})", Rtype(u16::from_be_bytes([data[0], data[1]]))),
                    _ => String::new(),
                };
                format!("{} {}{covered} {ttl}", if owner.is_empty() { "@" } else { &owner }, Rtype(*rtype))
            });
            words.collect::<Vec<_>>().join(", ")
        };
        write!(
            f,
            "{} octets, flags {:04x}, RCODE {}{} | {} | {} | {}",
            self.octets,
            self.flags,
            self.rcode,
            if self.has_opt { "" } else { " no OPT" },
            section(&self.answer),
            section(&self.authority),
            section(&self.additional)
        )
    }
}

/// A class of differences. Each that is listed was looked at; in none of them ours is the one to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Unexplained,
    SoaTtlZero,
    RingOfAliases,
    EmptyWildcard,
    NsecAtCut,
    ExtraTlsa,
    FewerAdditional,
    OtherAdditional,
    FurtherAdditional,
    PartOfRrset,
    TruncatedForGlue,
    MissingProof,
    ExtraProof,
    AliasNotFollowed,
    OptedOutEmptyName,
    CopiesCd,
    NotImplemented,
}

impl Class {
    /// Why it is no fault of ours.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unexplained => "no reason known",
            Self::SoaTtlZero => {
                "gives the SOA of a negative answer to a SOA query the TTL 0, so that it is not kept (zero-no-soa-ttl)"
            }
            Self::RingOfAliases => {
                "answers a ring of CNAMEs with SERVFAIL; ours, NSD and Knot with what there is"
            }
            Self::EmptyWildcard => {
                "does not take a wildcard that is an empty non-terminal for existing (RFC 4592 section 2.2.2), and answers NXDOMAIN"
            }
            Self::NsecAtCut => {
                "answers QTYPE NSEC at a delegation itself; ours, NSD and Knot refer to the child"
            }
            Self::ExtraTlsa => {
                "adds TLSA records of the hosts of MX and SRV records (DANE); nothing asks for that"
            }
            Self::FewerAdditional => {
                "leaves out additional records that ours has room for: hosts in the zone beside a delegation, hosts of MX, SVCB and others"
            }
            Self::OtherAdditional => "chooses other additional records where UDP has no room for all",
            Self::FurtherAdditional => {
                "goes on from additional records: named to the hosts of the SRV records behind NAPTR, Knot to the proof that an SVCB target has no SVCB"
            }
            Self::PartOfRrset => {
                "puts a part of an RRset, or one without its RRSIG, into a truncated answer (RFC 2181 section 9: it is not to be used)"
            }
            Self::TruncatedForGlue => "leaves glue out without TC; RFC 9471 wants TC",
            Self::MissingProof => {
                "leaves out an NSEC or NSEC3 record that RFC 4035 section 3.1.3 or RFC 5155 section 7.2 asks for"
            }
            Self::ExtraProof => "puts in an NSEC or NSEC3 record that proves nothing more",
            Self::AliasNotFollowed => {
                "answers QTYPE NSEC (named and Knot, in a zone with NSEC3) or NSEC3 (NSD) at an alias with NODATA, which the record does not prove as its bitmap has CNAME"
            }
            Self::OptedOutEmptyName => {
                "has no proof for names at and below an empty non-terminal that is opted out: it looks for the closest encloser and not for the closest provable one (RFC 5155 section 7.2.1)"
            }
            Self::CopiesCd => "copies CD; RFC 4035 section 3.1.6 leaves it to resolvers",
            Self::NotImplemented => {
                "repeats RD, copies CD or leaves OPT out where the opcode is not implemented; ours does as named does"
            }
        }
    }
}

/// Our answer over TCP to the same question.
pub type Whole<'a> = &'a Answer;

/// Whether both have the same records, and the classes of their differences.
pub fn classes(
    peer: &str,
    query: &Query,
    whole: Whole<'_>,
    ours: &Answer,
    theirs: &Answer,
) -> (bool, BTreeSet<Class>) {
    let records = |a: &Answer| (a.answer.clone(), a.authority.clone(), a.additional.clone());
    let same = records(ours) == records(theirs);
    let mut found = BTreeSet::new();
    if query.opcode != 0 {
        let differs = (ours.flags, ours.has_opt) != (theirs.flags, theirs.has_opt);
        if !same || ours.rcode != theirs.rcode || differs && peer == "named" {
            found.insert(Class::Unexplained);
        } else if differs {
            found.insert(Class::NotImplemented);
        }
        return (same, found);
    }
    let mut theirs = theirs.clone();
    if peer == "named" && query.rtype == Rtype::NSEC && is_referral(ours) && theirs.has(AA) {
        return (same, BTreeSet::from([Class::NsecAtCut]));
    }
    let asks_for_denial =
        matches!((peer, query.rtype), ("named" | "knot", Rtype::NSEC) | ("nsd", Rtype::NSEC3));
    if asks_for_denial
        && theirs.answer.is_empty()
        && ours.answer.iter().any(|record| is_of(record, Rtype::CNAME))
    {
        return (same, BTreeSet::from([Class::AliasNotFollowed]));
    }
    // Knot gives nothing, not even AA, where the wildcard beside such a name cannot be denied.
    let is_empty = theirs.answer.is_empty() && theirs.authority.is_empty() && !theirs.has(AA);
    if peer == "knot" && has_label(query, "wopt") && is_empty && (ours.rcode, theirs.rcode) == (3, 3) {
        return (same, BTreeSet::from([Class::OptedOutEmptyName]));
    }
    if peer == "named" && has_label(query, "empty") && (ours.rcode, theirs.rcode) == (0, 3) {
        return (same, BTreeSet::from([Class::EmptyWildcard]));
    }
    if peer == "named" && query.rtype == Rtype::SOA {
        let before = theirs.authority.clone();
        let ttl = ours.authority.iter().next().map_or(0, |record| record.2);
        theirs.authority =
            before.iter().cloned().map(|r| if r.2 == 0 { (r.0, r.1, ttl, r.3) } else { r }).collect();
        note(&mut found, Class::SoaTtlZero, theirs.authority != before);
    }
    if peer == "named" && theirs.rcode == 2 && ours.rcode == 0 && is_ring(ours) {
        found.insert(Class::RingOfAliases);
        theirs.rcode = 0;
    }
    if ours.has(TC) && !theirs.has(TC) && peer != "knot" && is_referral(ours) {
        found.insert(Class::TruncatedForGlue);
        theirs.flags |= TC;
    }
    if peer == "named" && ours.flags | CD == theirs.flags {
        note(&mut found, Class::CopiesCd, ours.flags != theirs.flags);
        theirs.flags &= !CD;
    }
    if theirs.authority != ours.authority
        && theirs.authority.is_subset(&ours.authority)
        && peer != "named"
        && ours.authority.difference(&theirs.authority).all(is_proof)
    {
        found.insert(Class::MissingProof);
        theirs.authority.clone_from(&ours.authority);
    }
    // BIND also leaves those out that stand beside a wildcard.
    let is_opted_out = peer == "nsd" && (has_label(query, "opt") || has_label(query, "wopt"));
    if is_opted_out
        && theirs.authority.symmetric_difference(&ours.authority).all(is_proof)
        && ours.rcode == theirs.rcode
    {
        note(&mut found, Class::OptedOutEmptyName, theirs.authority != ours.authority);
        theirs.authority.clone_from(&ours.authority);
    }
    if ours.has(TC)
        && theirs.has(TC)
        && theirs.authority.iter().all(|r| whole.authority.contains(r) || is_proof(r))
    {
        note(&mut found, Class::PartOfRrset, theirs.authority != ours.authority);
        theirs.authority.clone_from(&ours.authority);
    }
    if theirs.authority != ours.authority
        && ours.authority.is_subset(&theirs.authority)
        && theirs.authority.difference(&ours.authority).all(is_proof)
    {
        found.insert(Class::ExtraProof);
        theirs.authority.clone_from(&ours.authority);
    }
    let tlsa: BTreeSet<Record> = theirs.additional.iter().filter(|r| is_of(r, Rtype(52))).cloned().collect();
    if peer == "named" && !tlsa.is_empty() {
        found.insert(Class::ExtraTlsa);
        theirs.additional = &theirs.additional - &tlsa;
    }
    if theirs.additional != ours.additional {
        let class = if theirs.additional.is_subset(&ours.additional) {
            Class::FewerAdditional
        } else if ours.additional != whole.additional && theirs.additional.is_subset(&whole.additional) {
            Class::OtherAdditional
        } else if ours.additional.is_subset(&theirs.additional)
            && matches!((peer, query.rtype), ("named", NAPTR) | ("knot", Rtype::SVCB | Rtype::HTTPS))
        {
            Class::FurtherAdditional
        } else {
            Class::Unexplained
        };
        found.insert(class);
        theirs.additional.clone_from(&ours.additional);
    }
    if peer != "nsd" && ours.has(TC) && theirs.has(TC) && theirs.answer.is_subset(&whole.answer) {
        note(&mut found, Class::PartOfRrset, theirs.answer != ours.answer);
        theirs.answer.clone_from(&ours.answer);
    }
    theirs.octets = ours.octets;
    note(&mut found, Class::Unexplained, theirs != *ours);
    (same, found)
}

fn note(found: &mut BTreeSet<Class>, class: Class, condition: bool) {
    if condition {
        found.insert(class);
    }
}

fn is_of(record: &Record, rtype: Rtype) -> bool {
    record.1 == rtype.0 || record.1 == Rtype::RRSIG.0 && record.3.starts_with(&rtype.0.to_be_bytes())
}

fn is_proof(record: &Record) -> bool {
    is_of(record, Rtype::NSEC) || is_of(record, Rtype::NSEC3)
}

/// No answer, and an NS RRset that is not the zone's own.
fn is_referral(answer: &Answer) -> bool {
    answer.answer.is_empty() && answer.authority.iter().any(|record| record.1 == Rtype::NS.0)
}

fn has_label(query: &Query, label: &str) -> bool {
    query.name.labels().any(|l| l == label.as_bytes())
}

/// Only CNAME records, which lead to each other.
fn is_ring(answer: &Answer) -> bool {
    let cnames: Vec<&Record> = answer.answer.iter().filter(|r| r.1 == Rtype::CNAME.0).collect();
    !cnames.is_empty() && cnames.iter().all(|r| cnames.iter().any(|other| other.0 == r.3))
}
