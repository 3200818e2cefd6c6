//! The servers of a zone that the world asks, and what they serve of its CDS, CDNSKEY and DNSKEY records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use keystore::dns::{Name, Rrset, Rtype};
use keystore::keys::Dnskey;

use super::wish::Wish;
use crate::ask::{AnswerFault, AskError, Asker, Rcode, ServerReply, each};

/// The port of servers that are found by name.
const PORT: u16 = 53;
/// Most names in an NS RRset that are looked up, and most addresses that are asked.
const MAX_SERVERS: usize = 64;
/// Servers that are asked at once.
const AT_ONCE: usize = 8;

/// The servers of a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Servers {
    /// Their addresses.
    pub addresses: Vec<SocketAddr>,
    /// One of those whose address cannot be had.
    pub unfound: Option<Name>,
}

/// What a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// The RRsets that were asked about.
    These,
    /// Others, or none.
    Others,
    /// Nobody knows: no answer, or none that could be used.
    Unknown,
    /// This host has no way to it: no IPv6, or no route.
    NoWay,
}

/// The servers of `zone`; an error where not one address is found.
pub fn of_zone(resolver: &Asker, zone: &Name, until: Instant) -> Result<Servers, AskError> {
    let answer = resolver.ask(zone, Rtype::NS, until)?;
    let names: Vec<Name> = answer
        .rrset
        .rdatas
        .iter()
        .filter_map(|rdata| Name::from_wire(rdata).ok())
        .take(MAX_SERVERS)
        .collect();
    let found = each(&names, AT_ONCE, |name| addresses(resolver, name, until));
    let (mut servers, mut failed) = (Servers::default(), None);
    for (name, found) in names.iter().zip(found) {
        match found {
            Ok(found) => servers.addresses.extend(found.into_iter().map(|ip| SocketAddr::new(ip, PORT))),
            Err(error) => {
                servers.unfound = Some(name.clone());
                failed = Some(error);
            }
        }
    }
    servers.addresses.truncate(MAX_SERVERS);
    if servers.addresses.is_empty() {
        let none = AskError::BadAnswer { rtype: Rtype::NS, fault: AnswerFault::Empty };
        return Err(failed.unwrap_or(none));
    }
    Ok(servers)
}

/// The addresses of a name, of both families by turns; an error where neither kind could be had.
pub fn addresses(resolver: &Asker, name: &Name, until: Instant) -> Result<Vec<IpAddr>, AskError> {
    let of_type = |rtype: Rtype| -> Result<Vec<IpAddr>, AskError> {
        let reply = existing(resolver.ask_all(name, rtype, until)?, rtype)?;
        // Of another owner where the name is an alias, which the resolver has followed.
        let sets = reply.answer.iter().map(|answer| &answer.rrset).filter(|set| set.rtype == rtype);
        Ok(sets.flat_map(|set| &set.rdatas).filter_map(|rdata| address(rdata)).collect())
    };
    match (of_type(Rtype::AAAA), of_type(Rtype::A)) {
        (Err(error), Err(_)) => Err(error),
        (Err(error), Ok(none)) | (Ok(none), Err(error)) if none.is_empty() => Err(error),
        (six, four) => {
            let (mut six, mut four) =
                (six.unwrap_or_default().into_iter(), four.unwrap_or_default().into_iter());
            let mut by_turns = Vec::new();
            loop {
                let turn = [six.next(), four.next()];
                if turn == [None, None] {
                    return Ok(by_turns);
                }
                by_turns.extend(turn.into_iter().flatten());
            }
        }
    }
}

/// A reply that says what there is, or that there is nothing.
pub fn existing(reply: ServerReply, rtype: Rtype) -> Result<ServerReply, AskError> {
    match reply.rcode {
        Rcode::NOERROR | Rcode::NXDOMAIN => Ok(reply),
        rcode => Err(AskError::BadAnswer { rtype, fault: AnswerFault::Rcode(rcode) }),
    }
}

fn address(rdata: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(rdata).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(rdata).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(v6)
}

/// What each of these servers has of `wish`, with DNSKEY records that must be there, too; all are asked at once.
pub fn look(
    servers: &[SocketAddr],
    zone: &Name,
    wish: &Wish,
    keys: &[Dnskey],
    until: Instant,
) -> Vec<Serves> {
    let keys: Vec<Vec<u8>> = keys.iter().map(Dnskey::to_rdata).collect();
    let has_keys = |rrset: &Rrset| keys.iter().all(|key| rrset.rdatas.iter().any(|rdata| **rdata == **key));
    each(servers, AT_ONCE, |server| {
        let asker = Asker::new(*server, None);
        let serves = |rtype, is_wanted: &dyn Fn(&Rrset) -> bool| match asker.ask(zone, rtype, until) {
            Ok(answer) if is_wanted(&answer.rrset) => Serves::These,
            Ok(_) => Serves::Others,
            Err(AskError::NoWay { .. }) => Serves::NoWay,
            Err(_) => Serves::Unknown,
        };
        let mut seen = if keys.is_empty() { Serves::These } else { serves(Rtype::DNSKEY, &has_keys) };
        for (rtype, wanted) in [(Rtype::CDS, &wish.cds), (Rtype::CDNSKEY, &wish.cdnskey)] {
            if seen == Serves::These {
                seen = serves(rtype, &|rrset| rrset.canonical_rdatas() == *wanted);
            }
        }
        seen
    })
}
