//! Why a transfer from a primary is not taken.

use std::io;

use domain::base::iana::Rcode;
use domain::tsig::ValidationError;
use keystore::dns::{Name, Rtype};

use crate::rules::RecordProblem;

/// Why a transfer is not taken. What is served stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferFault {
    /// The connection cannot be had, or ended in the middle.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// There is no connection over TLS, or not to the server that is meant.
    #[error("the connection over TLS failed: {0}")]
    Tls(#[source] io::Error),
    /// The primary speaks TLS, and does not say that it speaks DNS.
    #[error("the primary does not choose the protocol dot in ALPN, which transfers over TLS need (RFC 9103)")]
    NotDot,
    /// The files that are needed for TLS cannot be used.
    #[error("no connection over TLS can be made: {0}")]
    TlsFiles(String),
    /// The connection ended before the transfer did.
    #[error("the transfer was cut off after {records} records")]
    CutOff {
        /// Records that came before.
        records: u64,
    },
    /// The next message did not come in time.
    #[error("no message came for {seconds} seconds")]
    Stalled {
        /// How long was waited.
        seconds: u64,
    },
    /// The messages come one after the other, and bring too little.
    #[error("the primary sends too slowly: {octets} octets in {seconds} seconds")]
    TooSlow {
        /// Octets that came.
        octets: u64,
        /// How long they took.
        seconds: u64,
    },
    /// The transfer did not end in time.
    #[error("the transfer did not end within {seconds} seconds")]
    Endless {
        /// How long it went on.
        seconds: u64,
    },
    /// The look ended with a panic.
    #[error("a fault of this program ended the look (a panic, which the log has): please report it")]
    Panicked,
    /// The query cannot be written: the key does not fit.
    #[error("the query cannot be written")]
    NoQuery,
    /// The octets are no DNS message.
    #[error("a message is malformed at octet {at}")]
    Malformed {
        /// Where reading stopped.
        at: usize,
    },
    /// The message has another ID than the query, is a query itself, has another opcode, or is truncated.
    #[error("a message is no answer to the query: {0}")]
    NotOurs(&'static str),
    /// The primary reports an error: often that it does not allow the transfer.
    #[error("the primary answers {0}")]
    Rcode(Rcode),
    /// The primary does not take the signature of the query.
    #[error("the primary answers {rcode}, and says of the signature: {error}")]
    SignatureRefused {
        /// Its RCODE.
        rcode: Rcode,
        /// The error of its TSIG record.
        error: &'static str,
    },
    /// The primary does not answer from the zone itself.
    #[error("the primary is not authoritative for the zone")]
    NotAuthoritative,
    /// The message is not signed with the key of the query.
    #[error("a message is not signed as it should be: {0}")]
    Tsig(#[from] ValidationError),
    /// The transfer does not begin with the SOA record of the zone.
    #[error("the answer does not begin with the SOA record of the zone")]
    NoSoa,
    /// A record of another class than IN.
    #[error("a record of {owner} is not of class IN")]
    OtherClass {
        /// Owner of the record.
        owner: Name,
    },
    /// A record outside of the zone.
    #[error("the record {owner} {rtype} is outside of the zone")]
    OutOfZone {
        /// Owner of the record.
        owner: Name,
        /// Its type.
        rtype: Rtype,
    },
    /// A SOA record at another name than the apex.
    #[error("a SOA record of {owner} stands inside of the zone")]
    ForeignSoa {
        /// Owner of the record.
        owner: Name,
    },
    /// The transfer ends with another SOA record than it began with.
    #[error(
        "the transfer begins with the SOA record of serial {first} and ends with another one, of serial {last}"
    )]
    OtherEnd {
        /// Serial at the begin.
        first: u32,
        /// Serial at the end.
        last: u32,
    },
    /// The differences do not join each other, what is here, and the end.
    #[error("a difference begins at serial {found}, and {expected} is the one that comes before it")]
    BrokenChain {
        /// Serial that it must begin at.
        expected: u32,
        /// Serial that it begins at.
        found: u32,
    },
    /// A difference leads to a serial that is not newer, or is newer than the one that all lead to.
    #[error("a difference leads from serial {from} to {to}, on the way to {target}")]
    WrongStep {
        /// Serial at its begin.
        from: u32,
        /// Serial at its end.
        to: u32,
        /// Serial that the transfer promises.
        target: u32,
    },
    /// Records stand behind the end.
    #[error("records stand behind the end of the transfer")]
    BehindEnd,
    /// The primary has an older version than what is here.
    #[error(
        "the primary has serial {theirs}, which is older than {ours}, what came last; it must go beyond that"
    )]
    SerialBack {
        /// Serial of what is here.
        ours: u32,
        /// Serial of the primary.
        theirs: u32,
    },
    /// More octets than are taken.
    #[error("the transfer has more than {limit} octets")]
    TooLarge {
        /// Most octets that are taken.
        limit: u64,
    },
    /// All transfers that are under way have too many octets together.
    #[error("all transfers under way have more than {limit} octets together; this one is tried again later")]
    TooMuchAtOnce {
        /// Most octets that they may have together.
        limit: u64,
    },
    /// More records than are taken.
    #[error("the transfer has more than {limit} records")]
    TooManyRecords {
        /// Most records that are taken.
        limit: u64,
    },
    /// Too many messages without a record.
    #[error("{0} messages in a row have no record")]
    TooManyEmpty(u32),
    /// A difference removes a record that is not here.
    #[error("the difference does not apply: it removes the record {owner} {rtype}, which is not there")]
    NotThere {
        /// Owner of the record.
        owner: Name,
        /// Its type.
        rtype: Rtype,
    },
    /// A difference adds a record that is here.
    #[error("the difference does not apply: it adds the record {owner} {rtype}, which is there already")]
    ThereAlready {
        /// Owner of the record.
        owner: Name,
        /// Its type.
        rtype: Rtype,
    },
    /// A record that a zone must not have.
    #[error("the record {owner} {rtype} cannot be part of the zone: {problem}")]
    Record {
        /// Owner of the record.
        owner: Name,
        /// Its type.
        rtype: Rtype,
        /// What is wrong with it.
        problem: RecordProblem,
    },
    /// The records together are no zone.
    #[error("the records make no zone: {0}")]
    Zone(RecordProblem),
    /// The signer did not take the content.
    #[error("the content was not taken: {0}")]
    NotTaken(String),
}

impl TransferFault {
    /// True when the whole zone may come where a difference did not: not when nobody could be reached, when the messages were not signed as
    /// they should be, came too slowly, or were too large. A difference may have more records than the whole zone.
    #[must_use]
    pub const fn whole_zone_may_help(&self) -> bool {
        !matches!(
            self,
            Self::Io(_)
                | Self::Tls(_)
                | Self::NotDot
                | Self::TlsFiles(_)
                | Self::SignatureRefused { .. }
                | Self::Panicked
                | Self::NoQuery
                | Self::Tsig(_)
                | Self::SerialBack { .. }
                | Self::Endless { .. }
                | Self::TooSlow { .. }
                | Self::TooLarge { .. }
                | Self::TooMuchAtOnce { .. }
                | Self::TooManyEmpty(_)
                | Self::NotTaken(_)
        )
    }
}
