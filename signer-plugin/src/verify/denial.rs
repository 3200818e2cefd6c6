//! The chain of NSEC or NSEC3 records: whether it proves what is absent, and nothing that is there.

use std::collections::{BTreeMap, HashMap};

use keystore::dns::nsec3::{self, NameHash};
use keystore::dns::{Name, Rtype, name};
use rayon::prelude::*;

use super::contents::{ContentRrset, NameStatus, Node, ZoneContents, is_below, is_dnssec, parents};
use super::finding::{TypeList, ZoneFault, ZoneFinding};
use super::{InTime, Leniency};

/// The only hash algorithm of NSEC3 that there is, SHA-1 (RFC 5155 section 11).
const SHA_1: u8 = 1;
/// The flag Opt-Out of an NSEC3 record (RFC 5155 section 3.1.2.1).
const OPT_OUT: u8 = 1;

/// Checks the chain; `None` = there was not the time for it.
pub(super) fn check<'a>(
    zone: &'a ZoneContents,
    in_time: InTime<'a>,
    leniency: Leniency,
) -> Option<Vec<ZoneFinding>> {
    let has = |rtype| zone.nodes().iter().any(|node| zone.find(node, rtype).is_some());
    let param = zone.apex().and_then(|apex| zone.find(apex, Rtype::NSEC3PARAM));
    let mut checker = Checker { zone, in_time, ttl: zone.denial_ttl(), findings: Vec::new() };
    let apex = zone.origin().as_wire();
    if leniency == Leniency::WhatNobodyMinds
        && let Some(params) =
            param.as_ref().map(|set| checker.usable(set)).filter(|params| !params.is_empty())
    {
        checker.check_nsec3(&params)?;
        return Some(checker.findings);
    }
    let params: Vec<&[u8]> = param.iter().flat_map(ContentRrset::rdatas).collect();
    match (has(Rtype::NSEC), has(Rtype::NSEC3)) {
        (true, true) if leniency == Leniency::WhatNobodyMinds => checker.check_nsec()?,
        (false, false) => checker.find(apex, Rtype::NSEC, ZoneFault::NoDenial),
        (true, false) => {
            if param.is_some() {
                checker.find(apex, Rtype::NSEC3PARAM, ZoneFault::ParamWithoutChain);
            }
            checker.check_nsec()?;
        }
        (false, true) => checker.check_nsec3(&params)?,
        (true, true) => {
            checker.find(apex, Rtype::NSEC3, ZoneFault::TwoChains);
            checker.check_nsec()?;
            checker.check_nsec3(&params)?;
        }
    }
    Some(checker.findings)
}

struct Checker<'a> {
    zone: &'a ZoneContents,
    in_time: InTime<'a>,
    /// The TTL that the records of the chain should have; `None` without SOA.
    ttl: Option<u32>,
    findings: Vec<ZoneFinding>,
}

/// A name that exists, as the chain should have it.
struct Existing<'a> {
    owner: &'a [u8],
    /// Sorted; empty for an empty non-terminal.
    types: Vec<Rtype>,
    /// True for a delegation without DS, and for an empty non-terminal that only such delegations need.
    may_be_opted_out: bool,
}

impl<'a> Checker<'a> {
    fn find(&mut self, owner: &[u8], rtype: Rtype, fault: ZoneFault) {
        self.findings.push(ZoneFinding::new(owner, rtype, fault));
    }

    /// `None` when the time is up.
    fn has_time(&self) -> Option<()> {
        (self.in_time)().then_some(())
    }

    fn check_ttl(&mut self, owner: &[u8], set: &ContentRrset<'_>) {
        if let Some(wanted) = self.ttl.filter(|wanted| *wanted != set.ttl()) {
            self.find(owner, set.rtype, ZoneFault::DenialTtl { found: set.ttl(), wanted });
        }
    }

    /// Holds a bitmap against the types that it should have.
    fn check_types(&mut self, owner: &[u8], rtype: Rtype, name: &[u8], bitmap: &[u8], wanted: &[Rtype]) {
        let Some(found) = read_bitmap(bitmap) else {
            return self.find(owner, rtype, ZoneFault::MalformedDenial);
        };
        let name = to_name(name);
        let without =
            |a: &[Rtype], b: &[Rtype]| a.iter().filter(|t| !b.contains(t)).copied().collect::<Vec<_>>();
        let (lacks, has) = (without(wanted, &found), without(&found, wanted));
        if !lacks.is_empty() {
            self.find(owner, rtype, ZoneFault::BitmapLacks { name: name.clone(), lacks: TypeList(lacks) });
        }
        if !has.is_empty() {
            self.find(owner, rtype, ZoneFault::BitmapHas { name, has: TypeList(has) });
        }
    }

    fn check_nsec(&mut self) -> Option<()> {
        let zone = self.zone;
        let mut members: Vec<(&Node, &[u8])> = Vec::new();
        for node in zone.nodes() {
            let owner = zone.owner(node);
            let misplaced = match node.standing {
                NameStatus::Authoritative | NameStatus::Cut { .. } => {
                    members.push((node, owner));
                    continue;
                }
                // Reported for being where it is.
                NameStatus::OutOfZone => continue,
                NameStatus::Glue => "it is below a delegation",
                NameStatus::Hidden => "it is below a DNAME",
                NameStatus::NoData => "it has no records of its own",
            };
            if zone.find(node, Rtype::NSEC).is_some() {
                self.find(owner, Rtype::NSEC, ZoneFault::NotToBeInChain(misplaced));
            }
        }
        for (position, (node, owner)) in members.iter().enumerate() {
            let Some(set) = zone.find(node, Rtype::NSEC) else {
                self.find(owner, Rtype::NSEC, ZoneFault::NotInChain);
                continue;
            };
            if set.rdatas().len() > 1 {
                self.find(owner, Rtype::NSEC, ZoneFault::SeveralInChain);
            }
            self.check_ttl(owner, &set);
            let wanted = members[(position + 1) % members.len()].1;
            let mut types = types_of(zone, node);
            types.extend([Rtype::RRSIG, Rtype::NSEC]);
            types.sort_unstable();
            for rdata in set.rdatas() {
                self.has_time()?;
                let Some(len) = name::wire_len(rdata) else {
                    self.find(owner, Rtype::NSEC, ZoneFault::MalformedDenial);
                    continue;
                };
                let (next, bitmap) = rdata.split_at(len);
                if !next.eq_ignore_ascii_case(wanted) {
                    let fault = ZoneFault::NextName { found: to_name(next), wanted: to_name(wanted) };
                    self.find(owner, Rtype::NSEC, fault);
                }
                self.check_types(owner, Rtype::NSEC, owner, bitmap, &types);
            }
        }
        Some(())
    }

    /// The first of these NSEC3PARAM records that names a whole chain: its flags are 0, and the apex has its record; nothing where none does.
    fn usable(&self, set: &ContentRrset<'a>) -> Vec<&'a [u8]> {
        let apex = self.zone.origin().as_wire();
        let is_usable = |rdata: &&[u8]| {
            let Some(parameters) = Parameters::of_param(rdata) else { return false };
            let hash = NameHash::of(apex, parameters.salt, parameters.iterations);
            let owner = [&hash.label()[..], apex].concat();
            rdata[1] == 0
                && parameters.algorithm == SHA_1
                && self.zone.node_of(&owner).and_then(|node| self.zone.find(node, Rtype::NSEC3)).is_some_and(
                    |set| set.rdatas().any(|rdata| Parameters::of_param(rdata) == Some(parameters)),
                )
        };
        set.rdatas().find(is_usable).into_iter().collect()
    }

    fn check_nsec3(&mut self, params: &[&'a [u8]]) -> Option<()> {
        let zone = self.zone;
        let apex = zone.origin().as_wire();
        if params.len() != 1 {
            self.find(apex, Rtype::NSEC3PARAM, ZoneFault::NotOne(params.len()));
        }
        if let Some(flags) = params.first().and_then(|rdata| rdata.get(1)).filter(|flags| **flags != 0) {
            self.find(apex, Rtype::NSEC3PARAM, ZoneFault::ParamFlags(*flags));
        }
        let algorithm = params.first().and_then(|rdata| rdata.first().copied());
        if let Some(algorithm) = algorithm.filter(|algorithm| *algorithm != SHA_1) {
            self.find(apex, Rtype::NSEC3PARAM, ZoneFault::HashAlgorithm(algorithm));
        }
        let records = self.read_nsec3(params);
        // Without NSEC3PARAM the most records decide what the chain is.
        let mut counts: BTreeMap<Parameters<'_>, usize> = BTreeMap::new();
        for record in &records {
            *counts.entry(record.parameters).or_default() += 1;
        }
        let by_count = counts.into_iter().max_by_key(|(_, count)| *count).map(|(parameters, _)| parameters);
        let Some(parameters) = params.first().and_then(|rdata| Parameters::of_param(rdata)).or(by_count)
        else {
            return Some(());
        };
        if parameters.iterations > nsec3::MAX_ITERATIONS {
            self.find(apex, Rtype::NSEC3PARAM, ZoneFault::Iterations(parameters.iterations));
        }
        let mut chain: BTreeMap<NameHash, Record<'_>> = BTreeMap::new();
        for record in records {
            if record.parameters != parameters {
                self.find(record.owner, Rtype::NSEC3, ZoneFault::OtherParameters);
            } else if chain.insert(record.hash, record).is_some() {
                self.find(record.owner, Rtype::NSEC3, ZoneFault::SeveralInChain);
            }
        }
        self.check_order(&chain);
        self.check_members(&chain, parameters)
    }

    /// The NSEC3 records, read.
    fn read_nsec3(&mut self, params: &[&[u8]]) -> Vec<Record<'a>> {
        let zone = self.zone;
        let mut records = Vec::new();
        for node in zone.nodes().iter().filter(|node| node.standing != NameStatus::OutOfZone) {
            let Some(set) = zone.find(node, Rtype::NSEC3) else { continue };
            let owner = zone.owner(node);
            self.check_ttl(owner, &set);
            for rdata in set.rdatas() {
                match Record::read(owner, zone.origin().as_wire(), rdata) {
                    Ok(record) => {
                        let algorithm = record.parameters.algorithm;
                        if algorithm != SHA_1 {
                            self.find(owner, Rtype::NSEC3, ZoneFault::HashAlgorithm(algorithm));
                        }
                        if record.flags & !OPT_OUT != 0 {
                            self.find(owner, Rtype::NSEC3, ZoneFault::Nsec3Flags(record.flags));
                        }
                        records.push(record);
                    }
                    Err(fault) => self.find(owner, Rtype::NSEC3, fault),
                }
            }
        }
        if records.is_empty() && !params.is_empty() {
            self.find(zone.origin().as_wire(), Rtype::NSEC3PARAM, ZoneFault::ParamWithoutChain);
        }
        records
    }

    /// Each record leads to the next hash, the last one to the first.
    fn check_order(&mut self, chain: &BTreeMap<NameHash, Record<'a>>) {
        let hashes: Vec<NameHash> = chain.keys().copied().collect();
        for (position, record) in chain.values().enumerate() {
            let wanted = hashes[(position + 1) % hashes.len()];
            if record.next != wanted {
                let fault = ZoneFault::NextHash { found: record.next, wanted };
                self.find(record.owner, Rtype::NSEC3, fault);
            }
        }
    }

    /// Each name has its record, or may do without one; and each record stands for a name.
    fn check_members(
        &mut self,
        chain: &BTreeMap<NameHash, Record<'a>>,
        parameters: Parameters<'_>,
    ) -> Option<()> {
        let existing = existing(self.zone);
        let (Parameters { salt, iterations, .. }, in_time) = (parameters, self.in_time);
        let hash = |name: &Existing<'_>| in_time().then(|| NameHash::of(name.owner, salt, iterations));
        let hashes = existing.par_iter().map(hash).collect::<Option<Vec<NameHash>>>()?;
        let mut name_of: HashMap<NameHash, &Existing<'_>> = HashMap::with_capacity(existing.len());
        for (hash, name) in hashes.iter().zip(&existing) {
            if let Some(other) = name_of.insert(*hash, name) {
                let fault =
                    ZoneFault::HashCollision { first: to_name(other.owner), second: to_name(name.owner) };
                self.find(name.owner, Rtype::NSEC3, fault);
            }
            if chain.contains_key(hash) {
                continue;
            }
            // The record in front; the last one covers what is in front of the first.
            let cover = chain.range(..hash).next_back().or_else(|| chain.iter().next_back());
            let Some((_, cover)) = cover else { continue };
            if !name.may_be_opted_out {
                self.find(name.owner, Rtype::NSEC3, ZoneFault::NoNsec3 { name: to_name(name.owner) });
            } else if cover.flags & OPT_OUT == 0 {
                let fault = ZoneFault::CoveredWithoutOptOut { name: to_name(name.owner) };
                self.find(cover.owner, Rtype::NSEC3, fault);
            }
        }
        for (hash, record) in chain {
            self.has_time()?;
            match name_of.get(hash) {
                Some(name) => {
                    self.check_types(record.owner, Rtype::NSEC3, name.owner, record.bitmap, &name.types)
                }
                None => self.find(record.owner, Rtype::NSEC3, ZoneFault::HashOfNothing),
            }
        }
        Some(())
    }
}

/// Hash algorithm, iterations and salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Parameters<'a> {
    algorithm: u8,
    iterations: u16,
    salt: &'a [u8],
}

impl<'a> Parameters<'a> {
    fn of_param(rdata: &'a [u8]) -> Option<Self> {
        let head = rdata.first_chunk::<5>()?;
        let salt = rdata.get(5..5 + usize::from(head[4]))?;
        Some(Self { algorithm: head[0], iterations: u16::from_be_bytes([head[2], head[3]]), salt })
    }
}

/// An NSEC3 record.
#[derive(Debug, Clone, Copy)]
struct Record<'a> {
    owner: &'a [u8],
    hash: NameHash,
    parameters: Parameters<'a>,
    flags: u8,
    next: NameHash,
    bitmap: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(owner: &'a [u8], apex: &[u8], rdata: &'a [u8]) -> Result<Self, ZoneFault> {
        let label =
            owner.get(1..33).filter(|_| owner[0] == 32 && owner[33..] == *apex).ok_or(ZoneFault::NoHash)?;
        let hash = data_hash(label).ok_or(ZoneFault::NoHash)?;
        let parts = || {
            let parameters = Parameters::of_param(rdata)?;
            let rest = &rdata[5 + parameters.salt.len()..];
            let next = rest.get(1..21).filter(|_| rest[0] == 20)?;
            Some((parameters, NameHash(next.try_into().ok()?), &rest[21..]))
        };
        let (parameters, next, bitmap) = parts().ok_or(ZoneFault::MalformedDenial)?;
        Ok(Self { owner, hash, parameters, flags: rdata[1], next, bitmap })
    }
}

/// The hash that a label in base32hex and lower case is (RFC 4648 section 7).
fn data_hash(label: &[u8]) -> Option<NameHash> {
    let mut out = [0; 20];
    for (eight, five) in label.chunks_exact(8).zip(out.chunks_exact_mut(5)) {
        let mut bits = 0u64;
        for octet in eight {
            let value = match octet {
                b'0'..=b'9' => octet - b'0',
                b'a'..=b'v' => octet - b'a' + 10,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        five.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(NameHash(out))
}

/// The types of a name that a bitmap has, without those of the chain and RRSIG.
fn types_of(zone: &ZoneContents, node: &Node) -> Vec<Rtype> {
    let is_cut = matches!(node.standing, NameStatus::Cut { .. });
    let types = zone.rrsets(node).map(|set| set.rtype).filter(|rtype| !is_dnssec(*rtype));
    // Other types of a delegation are the child's.
    types.filter(|rtype| !is_cut || matches!(*rtype, Rtype::NS | Rtype::DS)).collect()
}

/// The names that exist, empty non-terminals included.
fn existing(zone: &ZoneContents) -> Vec<Existing<'_>> {
    let mut names: Vec<Existing<'_>> = Vec::new();
    // For each empty non-terminal whether all that is below may be opted out.
    let mut empty: BTreeMap<&[u8], bool> = BTreeMap::new();
    let apex = zone.origin().as_wire();
    for node in zone.nodes() {
        let insecure = match node.standing {
            NameStatus::Authoritative | NameStatus::Cut { secure: true } => false,
            NameStatus::Cut { secure: false } => true,
            _ => continue,
        };
        let owner = zone.owner(node);
        let mut types = types_of(zone, node);
        if !insecure {
            types.push(Rtype::RRSIG);
            types.sort_unstable();
        }
        names.push(Existing { owner, types, may_be_opted_out: insecure });
        for parent in parents(owner).take_while(|parent| is_below(parent, apex)) {
            let all = empty.entry(parent).or_insert(true);
            *all &= insecure;
        }
    }
    for name in &names {
        empty.remove(name.owner);
    }
    let empty =
        empty.into_iter().map(|(owner, all)| Existing { owner, types: Vec::new(), may_be_opted_out: all });
    names.extend(empty);
    names
}

/// The types of a bitmap, sorted; `None` when it is malformed (RFC 4034 section 4.1.2).
fn read_bitmap(mut bitmap: &[u8]) -> Option<Vec<Rtype>> {
    let mut types = Vec::new();
    let mut last_window = None;
    while let [window, len, rest @ ..] = bitmap {
        let (bits, rest) = rest.split_at_checked(usize::from(*len))?;
        if !(1..=32).contains(len)
            || bits.last() == Some(&0)
            || last_window.is_some_and(|last| last >= *window)
        {
            return None;
        }
        last_window = Some(*window);
        for (index, octet) in bits.iter().enumerate() {
            let set = (0..8).filter(|bit| octet & (0x80 >> bit) != 0);
            types.extend(set.map(|bit| Rtype(u16::from(*window) << 8 | (index * 8 + bit) as u16)));
        }
        bitmap = rest;
    }
    bitmap.is_empty().then_some(types)
}

fn to_name(wire: &[u8]) -> Name {
    Name::from_wire(wire).unwrap_or_else(|_| Name::root())
}
