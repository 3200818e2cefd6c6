//! One round: finds the servers of a zone and of its parent, and asks them, within bounds that hold whatever the answers are.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use keystore::dns::{Name, Rrset, Rtype, name};
use keystore::time::Timestamp;

use crate::probe::chain::{self, Anchors};
use crate::probe::facts::{ASKED, Facts, ParentFacts, ResolverFacts, ServerFacts, ServerId};
use crate::probe::transfer;
use crate::probe::tsig::TsigKey;
use skr_loader::ask::{AskError, Asker, Rcode, Transport};

/// How long a round may take, without transfers.
const WHOLE: Duration = Duration::from_secs(60);
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
pub struct Request {
    /// Addresses of the zone's servers; found through the resolver when there are none.
    pub servers: Vec<SocketAddr>,
    /// Addresses of the parent's servers; found through the resolver when there are none.
    pub parents: Vec<SocketAddr>,
    /// The resolver that finds servers and gives a second opinion.
    pub resolver: Option<SocketAddr>,
    /// Trust anchors of the zone or of an ancestor.
    pub anchors: Option<Anchors>,
    /// Transfer the whole zone from each server.
    pub transfer: bool,
    /// The key of the transfers.
    pub key: Option<TsigKey>,
}

/// Asks. Whatever fails stands in the facts.
#[must_use]
pub fn gather(zone: &Name, request: &Request, now: Timestamp) -> Facts {
    let until = Instant::now() + WHOLE;
    let (servers, left_out, no_address) = servers(zone, request, until);
    let servers = each(&servers, |server| ask_server(zone, server, request, now, until));
    let (parent, delegation) = parent(zone, request, until);
    let anchors = request.anchors.as_ref().map(|anchors| match request.resolver {
        _ if anchors.owner == *zone => Ok(anchors.anchors.clone()),
        Some(resolver) => chain::walk(anchors, zone, Asker::of_resolver(resolver), now, until),
        None => Err(no_resolver(zone)),
    });
    let resolver = request.resolver.map(|resolver| second_opinion(zone, resolver, until));
    Facts { zone: zone.clone(), servers, left_out, no_address, parent, delegation, anchors, resolver }
}

fn no_resolver(zone: &Name) -> chain::ChainError {
    let source = io::Error::new(
        io::ErrorKind::NotFound,
        "no resolver is known that leads from the trust anchor to it",
    );
    let server = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    chain::ChainError::Ask { name: zone.clone(), source: AskError::NoAnswer { server, source } }
}

/// Runs `ask` for each item, some at once, and gives the results in order.
fn each<T: Sync, R: Send>(items: &[T], ask: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let ask = &ask;
    items
        .chunks(AT_ONCE)
        .flat_map(|chunk| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = chunk.iter().map(|item| scope.spawn(move || ask(item))).collect();
                // A panic there is a bug of ours and goes on here.
                let join = |thread: std::thread::ScopedJoinHandle<'_, R>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                threads.into_iter().map(join).collect::<Vec<R>>()
            })
        })
        .collect()
}

/// The servers to ask, how many are left out, and the names without address.
fn servers(zone: &Name, request: &Request, until: Instant) -> (Vec<ServerId>, usize, Vec<(Name, AskError)>) {
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
            let found = addresses(&resolver, &names, until);
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
    until: Instant,
) -> Vec<Result<Vec<ServerId>, (Name, AskError)>> {
    let names = &names[..names.len().min(MAX_NAMES)];
    each(names, |name| {
        let (mut found, mut failed) = (Vec::new(), None);
        for rtype in [Rtype::A, Rtype::AAAA] {
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

fn ask_server(
    zone: &Name,
    server: &ServerId,
    request: &Request,
    now: Timestamp,
    until: Instant,
) -> ServerFacts {
    let asker = Asker::new(server.address, None);
    let mut answers = Vec::new();
    for rtype in ASKED {
        let answer = asker.ask(zone, rtype, until);
        let silent = matches!(answer, Err(AskError::NoAnswer { .. }));
        answers.push((rtype, answer));
        // It would be silent to the other questions too, and each costs seconds.
        if silent {
            return ServerFacts { server: server.clone(), answers, denial: None, tcp: None, transfer: None };
        }
    }
    let denial = unknown_name(zone).map(|name| asker.ask_all(&name, Rtype::A, until));
    let tcp = Some(asker.clone().over(Transport::Tcp).ask(zone, Rtype::SOA, until));
    let wanted = || transfer::transfer(server.address, zone, request.key.as_ref(), now);
    let transfer = request.transfer.then(wanted);
    ServerFacts { server: server.clone(), answers, denial, tcp, transfer }
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
fn parent(zone: &Name, request: &Request, until: Instant) -> (Vec<ParentFacts>, Option<Rrset>) {
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
        return (each(&sources, ask), delegation(zone, &sources, until));
    }
    let Some(address) = request.resolver else { return (Vec::new(), None) };
    let resolver = Asker::of_resolver(address).unchecked();
    let sources: Vec<ServerId> = parent_servers(zone, &resolver, until);
    let facts = each(&sources, ask);
    if facts.iter().any(|facts| facts.ds.is_ok()) {
        return (
            facts.into_iter().filter(|facts| facts.ds.is_ok()).collect(),
            delegation(zone, &sources, until),
        );
    }
    // A host that may not ask others itself: what the resolver says must do.
    let source = ServerId { name: None, address };
    (vec![ParentFacts { source, ds: resolver.ask(zone, Rtype::DS, until) }], None)
}

/// Addresses of the servers of the closest ancestor that has an NS RRset.
fn parent_servers(zone: &Name, resolver: &Asker, until: Instant) -> Vec<ServerId> {
    let ancestors = std::iter::successors(zone.parent(), Name::parent);
    for ancestor in ancestors {
        let Ok(answer) = resolver.ask(&ancestor, Rtype::NS, until) else { continue };
        if !answer.rrset.rdatas.is_empty() {
            let found = addresses(resolver, &names(&answer.rrset)[..], until);
            return found.into_iter().filter_map(Result::ok).flatten().take(MAX_PARENTS).collect();
        }
    }
    Vec::new()
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
        let request = Request { servers: (0..40).map(address).collect(), ..Request::default() };
        let zone = Name::parse("example.").expect("a name");
        let (asked, left_out, _) = servers(&zone, &request, Instant::now());
        assert_eq!((asked.len(), left_out), (MAX_ADDRESSES, 8));
    }
}
