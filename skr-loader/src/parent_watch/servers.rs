//! The servers of a zone that the world asks, and what they serve of its CDS and CDNSKEY records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use keystore::dns::{Name, Rrset, Rtype};

use super::wish::Wish;
use crate::ask::{AnswerFault, AskError, Asker, Rcode, each};

/// The port of servers that are found by name.
const PORT: u16 = 53;
/// Most names in an NS RRset that are looked up, and most addresses that are asked.
const MAX_SERVERS: usize = 64;
/// Servers that are asked at once.
const AT_ONCE: usize = 8;

/// What a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// The RRsets that were asked about.
    These,
    /// Others, or none.
    Others,
    /// Nobody knows: no answer, or none that could be used.
    Unknown,
}

/// The addresses of the servers of `zone`.
pub fn of_zone(resolver: &Asker, zone: &Name, until: Instant) -> Result<Vec<SocketAddr>, AskError> {
    let answer = resolver.ask(zone, Rtype::NS, until)?;
    let names: Vec<Name> = answer
        .rrset
        .rdatas
        .iter()
        .filter_map(|rdata| Name::from_wire(rdata).ok())
        .take(MAX_SERVERS)
        .collect();
    let found = each(&names, AT_ONCE, |name| addresses(resolver, name, until));
    // A server whose address cannot be had may be the one that lacks the records.
    let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    let found: Vec<IpAddr> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return Err(AskError::BadAnswer { rtype: Rtype::NS, fault: AnswerFault::Empty });
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, PORT)).take(MAX_SERVERS).collect())
}

/// The addresses of a name; an error where neither kind could be had.
pub fn addresses(resolver: &Asker, name: &Name, until: Instant) -> Result<Vec<IpAddr>, AskError> {
    let (mut found, mut failed) = (Vec::new(), None);
    for rtype in [Rtype::AAAA, Rtype::A] {
        match resolver.ask_all(name, rtype, until) {
            Ok(reply) if !matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => {
                let fault = AnswerFault::Rcode(reply.rcode);
                failed = Some(AskError::BadAnswer { rtype, fault });
            }
            // Of another owner where the name is an alias, which the resolver has followed.
            Ok(reply) => {
                let sets = reply.answer.iter().map(|answer| &answer.rrset).filter(|set| set.rtype == rtype);
                found.extend(sets.flat_map(|set| &set.rdatas).filter_map(|rdata| address(rdata)));
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

fn address(rdata: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(rdata).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(rdata).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(v6)
}

/// What each of these servers has of `wish`, all asked at once.
pub fn look(servers: &[SocketAddr], zone: &Name, wish: &Wish, until: Instant) -> Vec<Serves> {
    each(servers, AT_ONCE, |server| {
        let asker = Asker::new(*server, None);
        for (rtype, wanted) in [(Rtype::CDS, &wish.cds), (Rtype::CDNSKEY, &wish.cdnskey)] {
            match asker.ask(zone, rtype, until) {
                Ok(answer) if same(&answer.rrset, wanted) => {}
                Ok(_) => return Serves::Others,
                Err(_) => return Serves::Unknown,
            }
        }
        Serves::These
    })
}

fn same(rrset: &Rrset, wanted: &[Vec<u8>]) -> bool {
    rrset.canonical_rdatas() == wanted
}
