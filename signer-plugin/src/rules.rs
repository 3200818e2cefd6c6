//! The rules of zone data beyond the syntax of a record: what is wrong with a record, and what is done about it.
//!
//! One table, [`RecordProblem::handling`], decides for every kind of problem whether the zone is refused, the record is left out with
//! a warning, or the record is kept with a warning. By default a record that no resolver could see is left out, as BIND and Knot do;
//! with `zone-check = "strict"` it refuses the zone.

pub use keystore::config::ZoneCheck;
use keystore::dns::rdata::RdataError;
use keystore::dns::{Name, Rtype};

/// How a zone file is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZoneRules {
    /// What becomes of records that no resolver could see.
    pub check: ZoneCheck,
    /// `max-zone-ttl` of the policy, in seconds: TTLs above it are warned of, or refused.
    pub max_ttl: Option<u32>,
    /// What becomes of the DNSSEC records that the zone comes with.
    pub dnssec: DnssecRecords,
}

/// What becomes of DNSSEC records that a zone comes with: RRSIG, NSEC, NSEC3, NSEC3PARAM and DNSKEY, and CDS, CDNSKEY and ZONEMD at the apex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnssecRecords {
    /// They are left out with a warning: the zone is signed here, or nobody signs it.
    #[default]
    LeftOut,
    /// They are part of the zone, which is presigned.
    Kept,
}

impl DnssecRecords {
    /// True for a record that is left out.
    #[must_use]
    pub const fn leaves_out(self, rtype: Rtype, is_apex: bool) -> bool {
        match self {
            Self::Kept => false,
            Self::LeftOut => match rtype {
                Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM | Rtype::DNSKEY => true,
                Rtype::CDS | Rtype::CDNSKEY | Rtype::ZONEMD => is_apex,
                _ => false,
            },
        }
    }
}

/// What is done about a [`RecordProblem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// The zone is not loaded.
    Refuse,
    /// The record does not become part of the zone; a warning says so.
    LeaveOut,
    /// The record is part of the zone; a warning says what is odd.
    Warn,
}

/// What is wrong with a record, or with its place in the zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what each is, and the fields are the parts of the messages")]
pub enum RecordProblem {
    #[error("the owner is no domain name")]
    BadOwner,
    #[error("{0} is no type of zone data (RFC 6895); remove the record")]
    MetaType(Rtype),
    #[error(transparent)]
    Rdata(#[from] RdataError),
    #[error("the zone is larger than 4 GiB; split it")]
    ZoneTooLarge,
    #[error("the zone {0} has no {1} at its apex; add one")]
    ApexLacks(Name, Rtype),
    #[error("SOA of {owner} inside the zone {zone}; a zone has one SOA, at its apex")]
    SecondSoa { owner: Name, zone: Name },
    #[error("a second, different {0} at this name; there can be one only, remove the others")]
    SecondOf(Rtype),
    #[error("{owner} has a CNAME beside {other}; a CNAME stands alone (RFC 2181 section 10.1), remove one")]
    CnameAndOther { owner: Name, other: Rtype },
    #[error("{owner} has a DNAME beside NS (RFC 6672 section 2.3); remove one")]
    DnameAndNs { owner: Name },
    #[error(
        "the name server {target} of the zone is below a DNAME, which hides its addresses (RFC 6672 section 2.4)"
    )]
    NameServerBelowDname { target: Name },
    #[error(
        "{owner} is a delegation at a wildcard, which has no defined meaning (RFC 4592 section 4.2); remove it"
    )]
    WildcardDelegation { owner: Name },
    #[error(
        "DS of {owner}, which is no delegation of this zone (RFC 4035 section 2.4); add its NS or remove the DS"
    )]
    DsNotAtCut { owner: Name },
    #[error(
        "the {rtype} RRset of this name has {records} records and {octets} octets; no DNS message holds more than {limit}"
    )]
    RrsetTooLarge { rtype: Rtype, records: usize, octets: usize, limit: usize },

    #[error("{owner} is outside the zone {zone}; remove the record, or check $ORIGIN and final dots")]
    OutOfZone { owner: Name, zone: Name },
    #[error("{owner} is below the DNAME {dname}, which hides it (RFC 6672 section 2.4)")]
    BelowDname { owner: Name, dname: Name },
    #[error(
        "{rtype} of {owner} at or below the delegation {cut}: only the zone delegated to can have it (RFC 1034 section 4.2.1)"
    )]
    BelowCut { owner: Name, rtype: Rtype, cut: Name },
    #[error("{0} left out: only a presigned zone is served with the DNSSEC records that it comes with")]
    ForeignDnssec(Rtype),
    #[error("ZONEMD left out; its digest is that of the zone before it was signed here (RFC 8976)")]
    StaleZonemd,

    #[error("TTL {0} is above 2147483647 and taken as 0 (RFC 2181 section 8)")]
    TtlTooLarge(u32),
    #[error(
        "TTL {ttl} is above the policy's max-zone-ttl of {max}; caches may hold old signatures for longer than key rolls wait"
    )]
    TtlAboveMax { ttl: u32, max: u32 },
    #[error(
        "TTLs differ in the {rtype} RRset of {owner}; the lowest, {ttl}, is taken (RFC 2181 section 5.2)"
    )]
    TtlsDiffer { owner: Name, rtype: Rtype, ttl: u32 },
    #[error("DNAME at a wildcard; it is no redirection (RFC 6672 section 3.3)")]
    WildcardDname,
    #[error("the name server {target} is in the zone and has no address there")]
    NameServerWithoutAddress { target: Name },
    #[error(
        "the name server {target} is below the delegation {cut} and has no address there; resolvers cannot reach it without glue"
    )]
    NoGlue { target: Name, cut: Name },
    #[error("the {rtype} leads to {target}, which is not in the zone; is the final dot missing?")]
    MissingDot { rtype: Rtype, target: Name },
    #[error(
        "the {rtype} RRset of {owner} has {octets} octets; with several signatures it may not fit a DNS message"
    )]
    RrsetLarge { owner: Name, rtype: Rtype, octets: usize },
}

impl RecordProblem {
    /// What is done about it.
    #[must_use]
    pub const fn handling(&self, check: ZoneCheck) -> Handling {
        match self {
            Self::BadOwner
            | Self::MetaType(_)
            | Self::Rdata(_)
            | Self::ZoneTooLarge
            | Self::ApexLacks(..)
            | Self::SecondSoa { .. }
            | Self::SecondOf(_)
            | Self::CnameAndOther { .. }
            | Self::DnameAndNs { .. }
            | Self::NameServerBelowDname { .. }
            | Self::WildcardDelegation { .. }
            | Self::DsNotAtCut { .. }
            | Self::RrsetTooLarge { .. } => Handling::Refuse,
            Self::OutOfZone { .. } | Self::BelowDname { .. } | Self::BelowCut { .. } => match check {
                ZoneCheck::Lenient => Handling::LeaveOut,
                ZoneCheck::Strict => Handling::Refuse,
            },
            Self::ForeignDnssec(_) | Self::StaleZonemd => Handling::LeaveOut,
            Self::TtlAboveMax { .. } => match check {
                ZoneCheck::Lenient => Handling::Warn,
                ZoneCheck::Strict => Handling::Refuse,
            },
            Self::TtlTooLarge(_)
            | Self::TtlsDiffer { .. }
            | Self::WildcardDname
            | Self::NameServerWithoutAddress { .. }
            | Self::NoGlue { .. }
            | Self::MissingDot { .. }
            | Self::RrsetLarge { .. } => Handling::Warn,
        }
    }
}
