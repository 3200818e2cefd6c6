//! [`Refusal`]: why a query gets no records, and how the answer says so (RFC 8906, RFC 8914).

use keystore::dns::{Class, Name, Rtype};
use metrics::queries::RefusedQuery;

use super::Arrival;
use super::query::Query;
use super::rcode::Rcode;

/// Why a query gets no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The opcode is not QUERY.
    Opcode,
    /// It does not read, or has not exactly one question (RFC 9619).
    Malformed,
    /// The EDNS version is above 0.
    EdnsVersion,
    /// It is signed by a key that is not known here.
    Key,
    /// The configuration does not let this client ask (`allow-query`).
    Access,
    /// The class is not IN.
    OtherClass,
    /// A transfer of a zone of ours, which nobody is allowed here.
    Transfer,
    /// No data can be of the type asked for (RFC 6895 section 3.1); 128 is NXNAME (RFC 9824 section 3.1).
    NoDataType,
    /// A type that asks for something else than records of that type, and that is not implemented.
    QueryType,
    /// The zone has nothing to serve yet.
    NotReady,
    /// No zone of this process has the name.
    OtherZone,
    /// A transfer of such a zone.
    TransferOfOtherZone,
}

impl Refusal {
    /// Why no zone can answer the query; `None` when names are to be looked up.
    pub fn of_any_zone(
        query: &Query<'_>,
        origin: Option<&Name>,
        well_formed: bool,
        arrival: &Arrival<'_>,
    ) -> Option<Self> {
        let edns = query.rest.edns;
        match query.question.rtype {
            _ if query.head.opcode() != 0 => Some(Self::Opcode),
            _ if !well_formed => Some(Self::Malformed),
            _ if edns.is_some_and(|edns| edns.version > 0) => Some(Self::EdnsVersion),
            _ if edns.is_some_and(|edns| edns.has_bad_option(arrival.settings)) => Some(Self::Malformed),
            _ if query.rest.tsig.is_some() => Some(Self::Key),
            _ if origin.is_some_and(|origin| !arrival.settings.access.allows(origin, arrival.client)) => {
                Some(Self::Access)
            }
            _ if query.question.class != Class::IN => Some(Self::OtherClass),
            // Refused for another reason where the zone is not ours.
            Rtype::AXFR | Rtype::IXFR => None,
            Rtype(0) | Rtype::OPT | Rtype(128) | Rtype::TSIG => Some(Self::NoDataType),
            Rtype(129..=254) => Some(Self::QueryType),
            _ => None,
        }
    }

    pub const fn rcode(self) -> Rcode {
        match self {
            Self::Opcode | Self::QueryType => Rcode::NOTIMP,
            Self::Malformed | Self::NoDataType => Rcode::FORMERR,
            Self::EdnsVersion => Rcode::BADVERS,
            // RFC 5936 section 2.2.1: the zone is not here; REFUSED is for those that may not have it.
            Self::Key | Self::TransferOfOtherZone => Rcode::NOTAUTH,
            Self::Access | Self::OtherClass | Self::Transfer | Self::OtherZone => Rcode::REFUSED,
            Self::NotReady => Rcode::SERVFAIL,
        }
    }

    /// The Extended DNS Error (RFC 8914 section 4) that goes with it.
    pub const fn extended_error(self) -> Option<u16> {
        const NOT_READY: u16 = 14;
        const PROHIBITED: u16 = 18;
        const NOT_AUTHORITATIVE: u16 = 20;
        const NOT_SUPPORTED: u16 = 21;
        match self {
            Self::NotReady => Some(NOT_READY),
            Self::Access | Self::Transfer => Some(PROHIBITED),
            Self::OtherZone | Self::TransferOfOtherZone => Some(NOT_AUTHORITATIVE),
            Self::OtherClass | Self::QueryType => Some(NOT_SUPPORTED),
            Self::Opcode | Self::Malformed | Self::EdnsVersion | Self::Key | Self::NoDataType => None,
        }
    }

    /// How a query for none of our zones is counted.
    pub const fn counted_as(self) -> RefusedQuery {
        match self {
            Self::Opcode => RefusedQuery::Opcode,
            Self::Malformed => RefusedQuery::Malformed,
            Self::EdnsVersion => RefusedQuery::EdnsVersion,
            _ => RefusedQuery::OtherZone,
        }
    }
}
