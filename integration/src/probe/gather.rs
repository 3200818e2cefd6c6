//! One round: finds the servers of a zone and of its parent, and asks them, within bounds that hold whatever the answers are.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::dns::{Name, Rrset, Rtype, name};
use keystore::time::Timestamp;
use keystore::tsig::TsigKey;

use crate::probe::chain::{self, ChainAnchors};
use crate::probe::facts::{
    ASKED, ParentFacts, ProbeFacts, ResolverFacts, ServerFacts, ServerId, ServerReach, same_records,
    same_signatures,
};
use crate::probe::transfer;
use skr_loader::ask::{AskError, Asker, Rcode, Transport, each};

/// How long a round may take, without transfers.
const WHOLE: Duration = Duration::from_secs(60);
/// How much of it the parent and the resolver may take.
const ABOVE: Duration = Duration::from_secs(20);
/// How long after servers differed they are asked again: a transfer under way is done then.
const PAUSE: Duration = Duration::from_secs(2);
/// Most names in an NS RRset that are looked up.
const MAX_NAMES: usize = 16;
/// Most addresses of a zone that are asked.
const MAX_ADDRESSES: usize = 32;
/// Most addresses of the parent that are asked.
const MAX_PARENTS: usize = 4;
/// How many servers are asked at once.
const AT_ONCE: usize = 8;
/// The port that servers found by name are asked on.
const PORT: u16 = 53;
/// First label of the name that does not exist; the rest is random. Whoever finds it in a log can search for it.
const PROBE_LABEL: &str = "offline-ksk-probe-";

/// What is asked, and where.
#[derive(Debug, Clone, Default)]
pub struct ProbeRequest {
    /// Addresses of the zone's servers; found through the resolver when there are none.
    pub servers: Vec<SocketAddr>,
    /// Addresses of the parent's servers; found through the resolver when there are none.
    pub parents: Vec<SocketAddr>,
    /// The resolver that finds servers.
    pub resolver: Option<SocketAddr>,
    /// The resolver that is asked whether it takes the zone.
    pub second_opinion: Option<SocketAddr>,
    /// The only family of addresses that is asked; both where none is given.
    pub family: Option<AddressFamily>,
    /// Trust anchors of the zone or of an ancestor.
    pub anchors: Option<ChainAnchors>,
    /// Transfer the whole zone from each server.
    pub transfer: bool,
    /// The key of the transfers.
    pub key: Option<TsigKey>,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// IP version 4 alone.
    V4,
    /// IP version 6 alone.
    V6,
}

impl AddressFamily {
    /// True for an address of this family.
    #[must_use]
    pub const fn has(self, address: SocketAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Asks. Whatever fails stands in the facts. The parent is asked first and the transfers come last, so that neither many servers nor
/// large zones take the time of anything else.
#[must_use]
pub fn gather(zone: &Name, request: &ProbeRequest, now: Timestamp) -> ProbeFacts {
    let begun = Instant::now();
    let until = begun + WHOLE;
    let above = begun + ABOVE;
    let (parent, delegation) = parent(zone, request, above);
    let anchors = request.anchors.as_ref().map(|anchors| match request.resolver {
        _ if anchors.owner == *zone => Ok(anchors.anchors.clone()),
        Some(resolver) => chain::walk(anchors, zone, Asker::of_resolver(resolver), now, above),
        None => Err(no_resolver(zone)),
    });
    let resolver = request.second_opinion.map(|resolver| second_opinion(zone, resolver, above));
    let (ids, left_out, no_address) = servers(zone, request, until);
    let mut servers = ask_servers(zone, &ids, until);
    if differ(&servers) {
        std::thread::sleep(PAUSE.min(until.saturating_duration_since(Instant::now())));
        for (seen, again) in servers.iter_mut().zip(ask_servers(zone, &ids, until)) {
            if again.reach() == ServerReach::Answers {
                *seen = again;
            }
        }
    }
    if request.transfer {
        transfer_all(zone, &mut servers, request.key.as_ref(), now);
    }
    ProbeFacts { zone: zone.clone(), servers, left_out, no_address, parent, delegation, anchors, resolver }
}

fn ask_servers(zone: &Name, ids: &[ServerId], until: Instant) -> Vec<ServerFacts> {
    each(ids, AT_ONCE, |server| ask_server(zone, server, until))
}

/// True when two servers that answer have different records or signatures: one may have been asked before a change and the other
/// behind it.
fn differ(servers: &[ServerFacts]) -> bool {
    let mut answering = servers.iter().filter(|server| server.reach() == ServerReach::Answers);
    let Some(first) = answering.next() else { return false };
    answering.any(|other| {
        ASKED.into_iter().any(|rtype| match (first.answer(rtype), other.answer(rtype)) {
            (Some(a), Some(b)) => !same_records(a, b) || !same_signatures(a, b),
            (a, b) => a.is_some() != b.is_some(),
        })
    })
}

/// Transfers the zone from each server that answers.
fn transfer_all(zone: &Name, servers: &mut [ServerFacts], key: Option<&TsigKey>, now: Timestamp) {
    let transfers = each(servers, AT_ONCE, |server| {
        // TSIG goes by the time of the clock, whatever time the zone is judged at.
        let take = || transfer::transfer(server.server.address, zone, key, clock::now(), now);
        server.tcp.as_ref().is_some_and(Result::is_ok).then(take)
    });
    for (server, transfer) in servers.iter_mut().zip(transfers) {
        server.transfer = transfer;
    }
}

fn no_resolver(zone: &Name) -> chain::ChainError {
    let source = io::Error::new(
        io::ErrorKind::NotFound,
        "no resolver is known that leads from the trust anchor to it",
    );
    let server = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    chain::ChainError::Ask { name: zone.clone(), source: AskError::NoAnswer { server, source } }
}

/// The servers to ask, how many are left out, and the names without address.
fn servers(
    zone: &Name,
    request: &ProbeRequest,
    until: Instant,
) -> (Vec<ServerId>, usize, Vec<(Name, AskError)>) {
    if !request.servers.is_empty() {
        let all: Vec<ServerId> =
            request.servers.iter().map(|address| ServerId { name: None, address: *address }).collect();
        let left_out = all.len().saturating_sub(MAX_ADDRESSES);
        return (all.into_iter().take(MAX_ADDRESSES).collect(), left_out, Vec::new());
    }
    let Some(resolver) = request.resolver else { return (Vec::new(), 0, Vec::new()) };
    let resolver = Asker::of_resolver(resolver).unchecked();
    match resolver.ask(zone, Rtype::NS, until) {
        Ok(answer) => {
            let names = names(&answer.rrset);
            let found = addresses(&resolver, &names, request.family, until);
            let all: Vec<ServerId> =
                found.iter().filter_map(|found| found.as_ref().ok()).flatten().cloned().collect();
            let failed = found.into_iter().filter_map(Result::err).collect();
            let left_out = names.len().saturating_sub(MAX_NAMES) + all.len().saturating_sub(MAX_ADDRESSES);
            (all.into_iter().take(MAX_ADDRESSES).collect(), left_out, failed)
        }
        Err(error) => (Vec::new(), 0, vec![(zone.clone(), error)]),
    }
}

fn names(ns: &Rrset) -> Vec<Name> {
    ns.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata).ok()).collect()
}

/// The addresses of each name, or why there are none.
fn addresses(
    resolver: &Asker,
    names: &[Name],
    family: Option<AddressFamily>,
    until: Instant,
) -> Vec<Result<Vec<ServerId>, (Name, AskError)>> {
    let names = &names[..names.len().min(MAX_NAMES)];
    let types: &[Rtype] = match family {
        Some(AddressFamily::V4) => &[Rtype::A],
        Some(AddressFamily::V6) => &[Rtype::AAAA],
        None => &[Rtype::A, Rtype::AAAA],
    };
    each(names, AT_ONCE, |name| {
        let (mut found, mut failed) = (Vec::new(), None);
        for rtype in types.iter().copied() {
            match resolver.ask(name, rtype, until) {
                Ok(answer) => found.extend(answer.rrset.rdatas.iter().filter_map(|rdata| address(rdata))),
                Err(error) => failed = Some(error),
            }
        }
        let id = |ip| ServerId { name: Some(name.clone()), address: SocketAddr::new(ip, PORT) };
        match failed {
            Some(error) if found.is_empty() => Err((name.clone(), error)),
            _ => Ok(found.into_iter().map(id).collect()),
        }
    })
}

fn address(rdata: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(rdata).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(rdata).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(v6)
}

fn ask_server(zone: &Name, server: &ServerId, until: Instant) -> ServerFacts {
    let asker = Asker::new(server.address, None);
    let mut facts = ServerFacts {
        server: server.clone(),
        answers: Vec::new(),
        denial: None,
        unknown_name: unknown_name(zone),
        tcp: None,
        transfer: None,
    };
    for rtype in ASKED {
        let answer = asker.ask(zone, rtype, until);
        let silent = answer.as_ref().is_err_and(AskError::is_silence);
        facts.answers.push((rtype, answer));
        // It would be silent to the other questions too, and each costs seconds.
        if silent {
            return facts;
        }
    }
    facts.denial = facts.unknown_name.as_ref().map(|name| asker.ask_all(name, Rtype::A, until));
    facts.tcp = Some(asker.over(Transport::Tcp).ask(zone, Rtype::SOA, until));
    facts
}

/// A name below the zone that nobody has; none when the zone's name is too long for one.
fn unknown_name(zone: &Name) -> Option<Name> {
    let random = RandomState::new().build_hasher().finish();
    let label = format!("{PROBE_LABEL}{random:016x}");
    let mut wire = vec![u8::try_from(label.len()).ok()?];
    wire.extend(label.as_bytes());
    wire.extend(zone.as_wire());
    // Checked as octets: a name can be as long as it can be.
    name::wire_len(&wire)?;
    Name::from_wire(&wire).ok()
}

/// The DS RRset from the parent's servers, or through the resolver; and the delegation's NS RRset.
fn parent(zone: &Name, request: &ProbeRequest, until: Instant) -> (Vec<ParentFacts>, Option<Rrset>) {
    if zone.is_root() {
        return (Vec::new(), None);
    }
    let ask = |source: &ServerId| ParentFacts {
        source: source.clone(),
        ds: Asker::new(source.address, None).ask(zone, Rtype::DS, until),
    };
    if !request.parents.is_empty() {
        let given = |address: &SocketAddr| ServerId { name: None, address: *address };
        let sources: Vec<ServerId> = request.parents.iter().take(MAX_PARENTS).map(given).collect();
        return (each(&sources, AT_ONCE, ask), delegation(zone, &sources, until));
    }
    let Some(address) = request.resolver else { return (Vec::new(), None) };
    let resolver = Asker::of_resolver(address).unchecked();
    let of_resolver = |ds| (vec![ParentFacts { source: ServerId { name: None, address }, ds }], None);
    let sources = match parent_servers(zone, &resolver, request.family, until) {
        Ok(sources) => sources,
        Err(error) => return of_resolver(Err(error)),
    };
    let facts = each(&sources, AT_ONCE, ask);
    if facts.iter().any(|facts| facts.ds.is_ok()) {
        let facts = facts.into_iter().filter(|facts| facts.ds.is_ok()).collect();
        return (facts, delegation(zone, &sources, until));
    }
    // A host that may not ask others itself: what the resolver says must do.
    of_resolver(resolver.ask(zone, Rtype::DS, until))
}

/// Addresses of the servers of the closest ancestor that has an NS RRset; an error when the resolver is silent.
fn parent_servers(
    zone: &Name,
    resolver: &Asker,
    family: Option<AddressFamily>,
    until: Instant,
) -> Result<Vec<ServerId>, AskError> {
    let ancestors = std::iter::successors(zone.parent(), Name::parent);
    for ancestor in ancestors {
        match resolver.ask(&ancestor, Rtype::NS, until) {
            Ok(answer) if !answer.rrset.rdatas.is_empty() => {
                let found = addresses(resolver, &names(&answer.rrset), family, until);
                return Ok(found.into_iter().filter_map(Result::ok).flatten().take(MAX_PARENTS).collect());
            }
            Err(error) if error.is_silence() => return Err(error),
            _ => {}
        }
    }
    Ok(Vec::new())
}

/// The NS RRset of the referral that a server of the parent gives.
fn delegation(zone: &Name, parents: &[ServerId], until: Instant) -> Option<Rrset> {
    parents.iter().find_map(|parent| {
        let reply = Asker::new(parent.address, None).ask_all(zone, Rtype::NS, until).ok()?;
        let referral = reply.rcode == Rcode::NOERROR && reply.answer.is_empty();
        let sets = reply.authority.into_iter().filter(|_| referral).map(|set| set.rrset);
        sets.into_iter().find(|rrset| rrset.owner == *zone && rrset.rtype == Rtype::NS)
    })
}

fn second_opinion(zone: &Name, resolver: SocketAddr, until: Instant) -> ResolverFacts {
    let asker = Asker::of_resolver(resolver);
    let validated = asker.ask_all(zone, Rtype::SOA, until);
    let refused = matches!(&validated, Ok(reply) if reply.rcode == Rcode::SERVFAIL);
    let unchecked = refused.then(|| asker.unchecked().ask_all(zone, Rtype::SOA, until));
    ResolverFacts { address: resolver, validated, unchecked }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_name_that_nobody_has_is_below_the_zone_and_another_each_time() {
        for zone in [".", "example.", "a.b.example."] {
            let zone = Name::parse(zone).expect(zone);
            let (one, other) = (unknown_name(&zone).expect("a name"), unknown_name(&zone).expect("a name"));
            assert!(one != other && one.is_at_or_below(&zone), "{one} {other}");
            assert!(one.to_string().starts_with(PROBE_LABEL), "{one}");
        }
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert_eq!(unknown_name(&Name::parse(&long).expect("a name of 255 octets")), None);
    }

    #[test]
    fn more_servers_than_are_asked_are_counted() {
        let address = |i: u8| SocketAddr::from(([192, 0, 2, i], 53));
        let request = ProbeRequest { servers: (0..40).map(address).collect(), ..ProbeRequest::default() };
        let zone = Name::parse("example.").expect("a name");
        let (asked, left_out, _) = servers(&zone, &request, Instant::now());
        assert_eq!((asked.len(), left_out), (MAX_ADDRESSES, 8));
    }

    #[test]
    fn a_server_is_silent_only_when_it_had_its_time() {
        // Bound, so that nobody answers, and nobody refuses either.
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let server = ServerId { name: None, address: silent.local_addr().expect("an address") };
        let zone = Name::parse("example.").expect("a name");
        for (time, reach) in [(0, ServerReach::TimeUp), (60, ServerReach::Silent)] {
            let until = Instant::now() + Duration::from_secs(time);
            let servers = ask_servers(&zone, &vec![server.clone(); 3], until);
            assert!(servers.iter().all(|server| server.reach() == reach), "{time} seconds: {servers:?}");
            assert!(!differ(&servers));
        }
    }

    #[test]
    fn a_silent_resolver_is_asked_once_for_the_parent() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let resolver = silent.local_addr().expect("an address");
        let request = ProbeRequest { resolver: Some(resolver), ..ProbeRequest::default() };
        let zone = Name::parse("a.b.c.d.example.").expect("a name");
        let until = Instant::now() + Duration::from_secs(60);
        let (parent, delegation) = parent(&zone, &request, until);
        assert!(
            matches!(&parent[..], [ParentFacts { ds: Err(AskError::NoAnswer { .. }), .. }]),
            "{parent:?}"
        );
        assert_eq!(delegation, None);
        silent.set_nonblocking(true).expect("a socket");
        let queries = std::iter::from_fn(|| silent.recv(&mut [0; 512]).ok()).count();
        assert_eq!(queries, 3, "the tries of one question");
    }

    #[test]
    fn a_family_has_its_addresses_alone() {
        let v4 = SocketAddr::from(([192, 0, 2, 1], 53));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 53));
        assert!(
            AddressFamily::V4.has(v4)
                && !AddressFamily::V4.has(v6)
                && AddressFamily::V6.has(v6)
                && !AddressFamily::V6.has(v4)
        );
    }
}
