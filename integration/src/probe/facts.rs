//! What the probe has seen of a zone: answers and errors, not yet judged.

use std::fmt;
use std::net::SocketAddr;

use keystore::dns::{Name, Rrset, Rtype};
use keystore::exchange::TrustAnchor;
use keystore::time::Timestamp;

use crate::probe::chain::ChainError;
use crate::probe::soa::Soa;
use crate::probe::transfer::{Transfer, TransferError};
use crate::probe::validate::DnskeySet;
use skr_loader::ask::{AskError, RrsetAnswer, ServerReply};

/// The types that each server is asked for.
pub const ASKED: [Rtype; 5] = [Rtype::SOA, Rtype::DNSKEY, Rtype::NS, Rtype::CDS, Rtype::CDNSKEY];

/// A server, by its address, and by its name where it was found by that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerId {
    /// The name in the NS RRset; none for a server that was given by its address.
    pub name: Option<Name>,
    /// The address that was asked.
    pub address: SocketAddr,
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} {}", Address(self.address)),
            None => write!(f, "{}", Address(self.address)),
        }
    }
}

/// An address, with its port where that is not 53.
struct Address(SocketAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            53 => write!(f, "{}", self.0.ip()),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// Everything that one round has seen of a zone.
#[derive(Debug)]
pub struct ProbeFacts {
    /// The zone.
    pub zone: Name,
    /// Each address of each server of the zone.
    pub servers: Vec<ServerFacts>,
    /// Servers and addresses that were left out because there were more than the probe asks.
    pub left_out: usize,
    /// A name in an NS RRset that no address was found for, and why.
    pub no_address: Vec<(Name, AskError)>,
    /// The DS RRset, once for each source that was asked.
    pub parent: Vec<ParentFacts>,
    /// NS RRset of the delegation at the parent, where it was seen.
    pub delegation: Option<Rrset>,
    /// The trust anchors of the zone: those given, or the DS RRset that was validated from an ancestor's; none when none were given.
    pub anchors: Option<Result<Vec<TrustAnchor>, ChainError>>,
    /// What the resolver says of the SOA, and what it says without validation.
    pub resolver: Option<ResolverFacts>,
}

/// What one address was seen to serve.
#[derive(Debug)]
pub struct ServerFacts {
    /// Which server.
    pub server: ServerId,
    /// The answers, in the order of [`ASKED`]. The first that gets no answer at all is the last.
    pub answers: Vec<(Rtype, Result<RrsetAnswer, AskError>)>,
    /// The answer to a name that does not exist; none when the server was silent before.
    pub denial: Option<Result<ServerReply, AskError>>,
    /// That name.
    pub unknown_name: Option<Name>,
    /// The SOA over TCP; none when the server was silent before.
    pub tcp: Option<Result<RrsetAnswer, AskError>>,
    /// The whole zone, where it was asked for.
    pub transfer: Option<Result<Transfer, TransferError>>,
}

/// The DS RRset as one source gives it.
#[derive(Debug)]
pub struct ParentFacts {
    /// A server of the parent, or the resolver.
    pub source: ServerId,
    /// What it answers.
    pub ds: Result<RrsetAnswer, AskError>,
}

/// What a resolver says of the zone's SOA.
#[derive(Debug)]
pub struct ResolverFacts {
    /// The resolver.
    pub address: SocketAddr,
    /// Its answer.
    pub validated: Result<ServerReply, AskError>,
    /// Its answer when it is told not to validate; asked only after a SERVFAIL.
    pub unchecked: Option<Result<ServerReply, AskError>>,
}

/// Whether a server was asked, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerReach {
    /// It answers.
    Answers,
    /// It does not answer.
    Silent,
    /// It answers, and not for the zone.
    NotServed,
    /// This host has no way to it.
    NoWay,
    /// It was not asked, or not to the end: the time of the round was up.
    TimeUp,
}

impl ServerReach {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Silent => "silent",
            Self::NotServed => "not-served",
            Self::NoWay => "not-asked-no-way",
            Self::TimeUp => "not-asked-time-up",
        }
    }
}

impl ServerFacts {
    /// What is wrong with the first answer that could not be used.
    #[must_use]
    pub fn first_error(&self) -> Option<&AskError> {
        let asked = self.answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
        let denial = self.denial.as_ref().and_then(|reply| reply.as_ref().err());
        asked.chain(denial).chain(self.tcp.as_ref().and_then(|answer| answer.as_ref().err())).next()
    }

    /// Whether it was asked, and what came of it.
    #[must_use]
    pub fn reach(&self) -> ServerReach {
        match self.first_error() {
            None => ServerReach::Answers,
            Some(AskError::NoAnswer { .. }) => ServerReach::Silent,
            Some(AskError::NoWay { .. }) => ServerReach::NoWay,
            Some(AskError::TimeUp { .. }) => ServerReach::TimeUp,
            Some(_) => ServerReach::NotServed,
        }
    }

    /// The answer to a type, where there is one that could be used.
    #[must_use]
    pub fn answer(&self, rtype: Rtype) -> Option<&RrsetAnswer> {
        self.answers.iter().find(|(asked, _)| *asked == rtype).and_then(|(_, answer)| answer.as_ref().ok())
    }

    /// The SOA that is served.
    #[must_use]
    pub fn soa(&self) -> Option<Soa> {
        self.answer(Rtype::SOA)?.rrset.rdatas.first().and_then(|rdata| Soa::from_rdata(rdata))
    }

    /// The keys that are served.
    #[must_use]
    pub fn keys(&self) -> DnskeySet {
        self.answer(Rtype::DNSKEY).map(|answer| DnskeySet::of(&answer.rrset)).unwrap_or_default()
    }
}

/// True when both have the same records.
#[must_use]
pub fn same_records(a: &RrsetAnswer, b: &RrsetAnswer) -> bool {
    a.rrset.canonical_rdatas() == b.rrset.canonical_rdatas()
}

/// True when both have the same signatures.
#[must_use]
pub fn same_signatures(a: &RrsetAnswer, b: &RrsetAnswer) -> bool {
    a.signatures.len() == b.signatures.len() && a.signatures.iter().all(|one| b.signatures.contains(one))
}

impl ProbeFacts {
    /// The latest serial that any server has, by RFC 1982.
    #[must_use]
    pub fn newest_serial(&self) -> Option<u32> {
        let serials = self.servers.iter().filter_map(ServerFacts::soa);
        serials
            .reduce(|newest, soa| if soa.is_after(newest.serial) { soa } else { newest })
            .map(|soa| soa.serial)
    }

    /// The earliest expiration of the signatures seen, over all servers and types.
    #[must_use]
    pub fn earliest_expiration(&self, near: Timestamp) -> Option<Timestamp> {
        let answers =
            self.servers.iter().flat_map(|server| &server.answers).filter_map(|(_, a)| a.as_ref().ok());
        let asked = answers.flat_map(|answer| &answer.signatures).map(|signature| signature.expires(near));
        let transfers = self.servers.iter().filter_map(|server| server.transfer.as_ref()?.as_ref().ok());
        let whole =
            transfers.flat_map(|transfer| transfer.earliest.values()).map(|earliest| earliest.expires);
        asked.chain(whole).min()
    }
}
