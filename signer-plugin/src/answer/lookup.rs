//! Which RRsets answer a query (RFC 1034 section 4.3.2 with RFC 4592 and RFC 6672); what proves it is chosen in
//! [`super::denial`].

use std::borrow::Cow;

use keystore::dns::Rtype;
use keystore::dns::name::MAX_NAME;

use super::AnswerKind;
use super::compose::{Composer, Owner, Section, Stop};
use super::denial::{self, Absent, Proof};
use super::limit::AnswerLimit;
use super::query::Query;
use super::rcode::Rcode;
use crate::index::Index;
use crate::protocol::rate_limit::RateVerdict;
use crate::signing::denial::OwnerBuf;
use crate::signing::{RrsetView, SignedZone};
use crate::zone::{KeyBuf, Labels, Node, NodeId, Records, Zone};

/// No records of its own.
const NOTHING: Proof = [None; 3];
/// Aliases followed within the zone, as many as BIND does; resolvers take the rest up from there.
const MAX_ALIASES: usize = 16;
/// Optional address owners that an answer looks at.
const MAX_OPTIONAL: usize = 32;

/// What was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct LookupResult {
    pub kind: AnswerKind,
    /// Where the answer is from: the node of the name asked for, the wildcard or DNAME that stands for it, or the cut above it.
    pub node: NodeId,
}

/// Answers into `composer`. What `limit` holds back is not composed where that is known before.
pub(super) fn run(
    zone: &SignedZone,
    query: &Query<'_>,
    composer: &mut Composer<'_>,
    limit: &mut AnswerLimit<'_>,
) -> LookupResult {
    let lookup = Lookup {
        signed: zone,
        zone: zone.zone(),
        composer,
        limit,
        rtype: query.question.rtype,
        // A zone that is not signed has nothing that a client could verify.
        dnssec_ok: query.dnssec_ok() && !zone.is_unsigned(),
        proves: zone.has_chain(),
        dnames: Seen::NOTHING,
        denials: Seen::NOTHING,
        expansions: Seen::NOTHING,
        kind: AnswerKind::Positive,
        source: None,
    };
    lookup.run(query)
}

struct Lookup<'z, 'c, 'o, 'l> {
    signed: &'z SignedZone,
    zone: &'z Zone,
    composer: &'c mut Composer<'o>,
    limit: &'c mut AnswerLimit<'l>,
    rtype: Rtype,
    dnssec_ok: bool,
    /// There are records that prove what is not there.
    proves: bool,
    /// Nodes whose DNAME is in the answer.
    dnames: SeenInChain<Node>,
    /// Names whose denial records are in the answer.
    denials: SeenInChain<Node>,
    /// Names whose denial records the expansions of wildcards need.
    expansions: SeenInChain<Node>,
    kind: AnswerKind,
    /// The first node that gave something.
    source: Option<NodeId>,
}

/// Entries of a table that were used, at most `N`, each once.
struct Seen<T, const N: usize> {
    entries: [Index<T>; N],
    len: usize,
}

impl<T, const N: usize> Seen<T, N> {
    const NOTHING: Self = Self { entries: [Index::at(0); N], len: 0 };

    /// True when `entry` was not there. One that finds no room counts as new.
    fn add(&mut self, entry: Index<T>) -> bool {
        let new = !self.as_slice().contains(&entry);
        if new && let Some(room) = self.entries.get_mut(self.len) {
            *room = entry;
            self.len += 1;
        }
        new
    }

    fn as_slice(&self) -> &[Index<T>] {
        &self.entries[..self.len]
    }
}

/// A chain of aliases uses fewer entries than this.
type SeenInChain<T> = Seen<T, { 2 * (MAX_ALIASES + 2) }>;

/// A name on the way through a chain of aliases.
struct Target<'a> {
    wire: Cow<'a, [u8]>,
    /// The name asked for, not one an alias led to.
    asked: bool,
}

impl Target<'_> {
    fn owner(&self) -> Owner<'_> {
        if self.asked { Owner::Question } else { Owner::Name(&self.wire) }
    }
}

enum Step<'z> {
    Done,
    /// An alias was put in; this is where it leads.
    Follow(Cow<'z, [u8]>),
}

impl<'z> Lookup<'z, '_, '_, '_> {
    fn run(mut self, query: &Query<'_>) -> LookupResult {
        let kind = match self.chain(query) {
            Ok(kind) => kind,
            Err(Stop::Full) => {
                self.composer.truncate();
                self.kind
            }
            Err(Stop::Expired) => {
                self.composer.expired();
                AnswerKind::Error
            }
            Err(Stop::Limited) => self.kind,
            Err(Stop::Collision) => {
                self.composer.fail();
                AnswerKind::Error
            }
        };
        LookupResult { kind, node: self.source.unwrap_or(NodeId::APEX) }
    }

    /// The name asked for, then those that aliases lead to.
    fn chain(&mut self, query: &Query<'_>) -> Result<AnswerKind, Stop> {
        let question = &query.question;
        let key = KeyBuf::of(question.name, &question.labels, query.below);
        let asked = Target { wire: Cow::Borrowed(question.name), asked: true };
        if let Step::Follow(wire) = self.step(&asked, &key)? {
            self.follow(asked.wire, wire)?;
        }
        Ok(self.kind)
    }

    /// The names that aliases lead to: `wire` is that of the name asked for. A function of its own, since few queries need its room.
    fn follow(&mut self, asked: Cow<'_, [u8]>, mut wire: Cow<'z, [u8]>) -> Result<(), Stop> {
        let mut behind: [Cow<'_, [u8]>; MAX_ALIASES + 1] = [const { Cow::Borrowed(&[]) }; MAX_ALIASES + 1];
        behind[0] = asked;
        for count in 1.. {
            let Some(labels) = Labels::of(&wire) else { break };
            // Out of the zone: the resolver goes on elsewhere.
            let Some(below) = labels.below(&wire, self.zone.origin().as_wire()) else { break };
            // A ring: what these names have is in the answer.
            if count > MAX_ALIASES || behind[..count].iter().any(|name| name.eq_ignore_ascii_case(&wire)) {
                break;
            }
            let key = KeyBuf::of(&wire, &labels, below);
            let target = Target { wire, asked: false };
            match self.step(&target, &key)? {
                Step::Done => return Ok(()),
                Step::Follow(next) => wire = next,
            }
            behind[count] = target.wire;
        }
        self.deny(NOTHING)
    }

    /// Holds the answer against the rate limit before it is composed. Where aliases come first, what it will be is not known: they are composed, and
    /// the whole is counted.
    fn admit(&mut self) -> Result<(), Stop> {
        if self.composer.answers() > 0 {
            return Ok(());
        }
        match self.limit.judge(self.kind, self.source.unwrap_or(NodeId::APEX)) {
            RateVerdict::Send => Ok(()),
            RateVerdict::Slip | RateVerdict::Drop => Err(Stop::Limited),
        }
    }

    /// One name of the chain.
    fn step(&mut self, target: &Target<'_>, key: &KeyBuf) -> Result<Step<'z>, Stop> {
        let node = self.zone.get(key.as_slice()).filter(|node| !self.signed.is_hidden(*node));
        let encloser = node.unwrap_or_else(|| self.encloser(key));
        let cut = self.zone.node(encloser).cut;
        if let Some(cut) = cut
            && !(node == Some(cut) && self.rtype == Rtype::DS)
        {
            return self.referral(cut).map(|()| Step::Done);
        }
        match node {
            Some(node) => self.at(node, target, None),
            None => {
                if let Some(dname) = self.signed.find(encloser, Rtype::DNAME) {
                    return self.dname(encloser, &dname, target);
                }
                let absent = Absent { wire: &target.wire, key: key.as_slice(), encloser };
                match self.zone.node(encloser).wildcard {
                    None => self.name_error(&absent).map(|()| Step::Done),
                    Some(wildcard) => self.at(wildcard, target, Some(&absent)),
                }
            }
        }
    }

    /// The longest name above one that does not exist that does.
    fn encloser(&self, key: &KeyBuf) -> NodeId {
        let node = self.zone.closest_encloser(key.as_slice());
        if self.signed.is_hidden(node) { self.zone.node(node).parent } else { node }
    }

    /// The answer from a node, for the name `target`. With `expanded` the node is a wildcard that stands for it.
    fn at(
        &mut self,
        node: NodeId,
        target: &Target<'_>,
        expanded: Option<&Absent<'_>>,
    ) -> Result<Step<'z>, Stop> {
        self.source.get_or_insert(node);
        let owner = target.owner();
        let found = match self.rtype {
            Rtype::ANY => self.signed.rrsets(node).next(),
            Rtype::RRSIG => self.signed.rrsets(node).find(|view| !view.signatures.is_empty()),
            // From a wildcard as well: its type bitmap has NSEC, so that no proof of its absence would hold. With NSEC3 it is a type like others.
            Rtype::NSEC if self.signed.has_nsec() => self.signed.nsec_at(node),
            rtype => match self.signed.find(node, rtype) {
                None => match self.signed.find(node, Rtype::CNAME) {
                    Some(cname) => {
                        self.composer.put(Section::Answer, owner, &cname, None, self.dnssec_ok)?;
                        self.expand(expanded)?;
                        let wire = Records(cname.data).next().unwrap_or_default();
                        return Ok(Step::Follow(Cow::Borrowed(wire)));
                    }
                    None => None,
                },
                found => found,
            },
        };
        let Some(view) = found else { return self.no_data(node, expanded).map(|()| Step::Done) };
        self.admit()?;
        if self.rtype == Rtype::RRSIG {
            self.composer.put_signatures(owner, &view)?;
        } else if view.rtype != Rtype::DNAME || expanded.is_some() || self.dnames.add(node) {
            // A DNAME may have led to its own owner.
            self.composer.put(Section::Answer, owner, &view, None, self.dnssec_ok)?;
        }
        self.expand(expanded)?;
        self.deny(NOTHING)?;
        // Signatures name no host.
        if self.rtype != Rtype::RRSIG {
            self.additional(node, &view);
        }
        Ok(Step::Done)
    }

    /// RFC 4035 section 3.1.3.3: beside what a wildcard gave, the proof that no closer name exists. It is put in once the answer section
    /// is complete.
    fn expand(&mut self, expanded: Option<&Absent<'_>>) -> Result<(), Stop> {
        if let Some(absent) = expanded.filter(|_| self.dnssec_ok && self.proves) {
            self.expansions.add(denial::expansion(self.signed, absent)?);
        }
        Ok(())
    }

    /// RFC 6672 section 3.1.
    fn dname(&mut self, owner: NodeId, dname: &RrsetView<'z>, target: &Target<'_>) -> Result<Step<'z>, Stop> {
        self.source.get_or_insert(owner);
        if self.dnames.add(owner) {
            self.composer.put(
                Section::Answer,
                Owner::Name(self.zone.owner(owner)),
                dname,
                None,
                self.dnssec_ok,
            )?;
        }
        let new_tail = Records(dname.data).next().unwrap_or_default();
        let head = target.wire.len().saturating_sub(self.zone.owner(owner).len());
        if head + new_tail.len() > MAX_NAME {
            self.composer.set_rcode(Rcode::YXDOMAIN);
            self.kind = AnswerKind::Error;
            self.deny(NOTHING)?;
            return Ok(Step::Done);
        }
        let wire = [&target.wire[..head], new_tail].concat();
        self.composer.put_cname(target.owner(), &wire, dname.ttl)?;
        if matches!(self.rtype, Rtype::CNAME | Rtype::ANY) {
            self.deny(NOTHING)?;
            return Ok(Step::Done);
        }
        Ok(Step::Follow(Cow::Owned(wire)))
    }

    fn no_data(&mut self, node: NodeId, expanded: Option<&Absent<'_>>) -> Result<(), Stop> {
        self.kind = AnswerKind::NoData;
        self.admit()?;
        self.put_soa()?;
        self.expand(expanded)?;
        let signed = self.signed;
        self.prove(|| match expanded {
            None => denial::no_data(signed, node),
            Some(absent) => denial::wildcard_no_data(signed, node, absent),
        })
    }

    fn name_error(&mut self, absent: &Absent<'_>) -> Result<(), Stop> {
        self.kind = AnswerKind::NxDomain;
        self.composer.set_rcode(Rcode::NXDOMAIN);
        self.admit()?;
        self.put_soa()?;
        let signed = self.signed;
        self.prove(|| denial::name_error(signed, absent))
    }

    /// The SOA of a negative answer (RFC 2308 section 3).
    fn put_soa(&mut self) -> Result<(), Stop> {
        let (soa, ttl) = (self.signed.soa(), self.signed.negative_ttl());
        self.composer.put(
            Section::Authority,
            Owner::Name(self.zone.owner(NodeId::APEX)),
            &soa,
            Some(ttl),
            self.dnssec_ok,
        )
    }

    /// Puts the records of a proof in, when they are wanted, and those of the expansions.
    fn prove(&mut self, proof: impl FnOnce() -> Result<Proof, Stop>) -> Result<(), Stop> {
        if self.dnssec_ok && self.proves { self.deny(proof()?) } else { Ok(()) }
    }

    /// Puts these denial records in and those that the expansions of wildcards need, each once.
    fn deny(&mut self, proof: Proof) -> Result<(), Stop> {
        if !self.dnssec_ok {
            return Ok(());
        }
        let mut room = OwnerBuf::new();
        for link in proof.iter().flatten().chain(self.expansions.as_slice()) {
            if self.denials.add(*link) {
                let owner = Owner::Name(self.signed.denial_owner(*link, &mut room));
                self.composer.put(Section::Authority, owner, &self.signed.denial(*link), None, true)?;
            }
        }
        Ok(())
    }

    /// RFC 4035 section 3.1.4: NS, then DS or the proof that there is none, then glue.
    fn referral(&mut self, cut: NodeId) -> Result<(), Stop> {
        self.source.get_or_insert(cut);
        // Behind an alias, the alias is what we are asked for and have authority over.
        if self.composer.answers() == 0 {
            self.kind = AnswerKind::Referral;
            self.composer.clear_authoritative();
        }
        self.admit()?;
        let owner = Owner::Name(self.zone.owner(cut));
        let Some(ns) = self.signed.find(cut, Rtype::NS) else { return Ok(()) };
        self.composer.put(Section::Authority, owner, &ns, None, false)?;
        match self.signed.find(cut, Rtype::DS) {
            Some(ds) if self.dnssec_ok => {
                self.composer.put(Section::Authority, owner, &ds, None, true)?;
                self.deny(NOTHING)?;
            }
            _ => {
                let signed = self.signed;
                self.prove(|| denial::no_data(signed, cut))?;
            }
        }
        self.glue(cut, &ns);
        Ok(())
    }

    /// RFC 9471: addresses of name servers below the cut must be in the answer, or TC says that they are not; addresses of others in the
    /// zone may be.
    fn glue(&mut self, cut: NodeId, ns: &RrsetView<'_>) {
        let mut optional: Seen<Node, MAX_OPTIONAL> = Seen::NOTHING;
        let mut truncated = false;
        for target in Records(ns.data) {
            let Some(node) = self.zone.lookup(target) else { continue };
            if self.zone.node(node).cut != Some(cut) {
                optional.add(node);
            } else if self.put_addresses(node) == Err(Stop::Full) {
                // What follows may be smaller, and each address helps a resolver that cannot ask over TCP.
                self.composer.set_truncated();
                truncated = true;
            }
        }
        if truncated {
            return;
        }
        for node in optional.as_slice() {
            // What follows may be smaller and fit.
            let _ = self.put_addresses(*node);
        }
    }

    /// What resolvers need next of the hosts that a positive answer names, as far as it fits: addresses; behind NAPTR the SRV records too
    /// (RFC 3403 section 4.2); behind an SVCB alias the SVCB records of its target (RFC 9460 section 5).
    fn additional(&mut self, owner: NodeId, view: &RrsetView<'_>) {
        let mut done: Seen<Node, MAX_OPTIONAL> = Seen::NOTHING;
        for rdata in Records(view.data).take(MAX_OPTIONAL) {
            let Some(Referred { name, records }) = referred(view.rtype, rdata) else { continue };
            let node = match name {
                ReferredName::Owner => Some(owner),
                ReferredName::Name(wire) => self.zone.lookup(wire),
            };
            let Some(node) = node.filter(|node| done.add(*node)) else { continue };
            if let ReferredRecords::Rrset(rtype) = records {
                let _ = self.put_additional(node, rtype);
            }
            // What follows may be smaller and fit.
            let _ = self.put_addresses(node);
        }
    }

    fn put_addresses(&mut self, node: NodeId) -> Result<(), Stop> {
        self.put_additional(node, Rtype::A).and(self.put_additional(node, Rtype::AAAA))
    }

    fn put_additional(&mut self, node: NodeId, rtype: Rtype) -> Result<(), Stop> {
        match self.signed.find(node, rtype) {
            Some(view) => {
                let owner = Owner::Name(self.zone.owner(node));
                self.composer.put(Section::Additional, owner, &view, None, self.dnssec_ok)
            }
            None => Ok(()),
        }
    }
}

/// A host that a record leads to, and which of its records come along.
struct Referred<'a> {
    name: ReferredName<'a>,
    records: ReferredRecords,
}

enum ReferredName<'a> {
    /// The owner of the record itself.
    Owner,
    Name(&'a [u8]),
}

enum ReferredRecords {
    Addresses,
    /// An RRset of this type, and the addresses.
    Rrset(Rtype),
}

/// What a record leads to; `None` for types that lead nowhere.
fn referred(rtype: Rtype, rdata: &[u8]) -> Option<Referred<'_>> {
    const AFSDB: Rtype = Rtype(18);
    const RT: Rtype = Rtype(21);
    const KX: Rtype = Rtype(36);
    let name = |before: usize| rdata.get(before..).map(ReferredName::Name);
    let mut records = ReferredRecords::Addresses;
    let name = match rtype {
        Rtype::NS => name(0)?,
        Rtype::MX | KX | AFSDB | RT => name(2)?,
        Rtype::SRV => name(6)?,
        Rtype::NAPTR => {
            let (flags, replacement) = naptr_flags_and_replacement(rdata)?;
            match flags.to_ascii_uppercase().as_slice() {
                b"S" => records = ReferredRecords::Rrset(Rtype::SRV),
                b"A" => {}
                _ => return None,
            }
            ReferredName::Name(replacement)
        }
        Rtype::SVCB | Rtype::HTTPS => {
            let is_alias = rdata.starts_with(&[0, 0]);
            if is_alias {
                records = ReferredRecords::Rrset(rtype);
            }
            match rdata.get(2..)? {
                // The root stands for the owner; in an alias it means that the service does not exist.
                [0, ..] if is_alias => return None,
                [0, ..] => ReferredName::Owner,
                target => ReferredName::Name(target),
            }
        }
        _ => return None,
    };
    Some(Referred { name, records })
}

/// RFC 3403 section 4.1: order, preference, then flags, services and regular expression as strings, then the replacement.
fn naptr_flags_and_replacement(rdata: &[u8]) -> Option<(&[u8], &[u8])> {
    let string = |octets: &[u8]| octets.split_first().map(|(len, _)| 1 + usize::from(*len));
    let flags = rdata.get(4..)?;
    let services = flags.get(string(flags)?..)?;
    let expression = services.get(string(services)?..)?;
    let replacement = expression.get(string(expression)?..)?;
    Some((flags.get(1..string(flags)?)?, replacement))
}
