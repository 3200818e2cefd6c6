//! The counters of queries and connections that no zone answers.

use crate::Metrics;

/// Why no zone of ours answers a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedQuery {
    /// The name is in none of our zones.
    OtherZone,
    /// The opcode is not QUERY.
    Opcode,
    /// The EDNS version is above 0.
    EdnsVersion,
    /// The octets are no DNS query.
    Malformed,
}

impl RefusedQuery {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OtherZone, Self::Opcode, Self::EdnsVersion, Self::Malformed];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OtherZone => "other_zone",
            Self::Opcode => "opcode",
            Self::EdnsVersion => "edns_version",
            Self::Malformed => "malformed",
        }
    }
}

/// Why a UDP query gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DroppedDatagram {
    /// Nobody can have the address that it came from: port 0, broadcast, 0.0.0.0.
    Source,
    /// The system does not say to which of our addresses it came, so that the answer has none to leave from.
    Destination,
    /// It is for another handler, and too many such queries wait.
    Queue,
    /// The system did not take the answer: no room, a firewall, no route.
    Send,
}

impl DroppedDatagram {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Source, Self::Destination, Self::Queue, Self::Send];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Queue => "queue",
            Self::Send => "send",
        }
    }
}

/// What becomes of an answer beyond the rate limit, as values of the label `action`.
pub const LIMIT_ACTIONS: [&str; 2] = ["slipped", "dropped"];

/// The limits that a TCP connection may meet, as values of the label `limit`.
pub const CONNECTION_LIMITS: [&str; 6] = ["connections", "network", "client", "tls", "handshakes", "system"];

impl Metrics {
    /// Counts a query that no zone of ours answers.
    pub fn count_refused_query(&self, what: RefusedQuery) {
        self.queries_refused_total.with_label_values(&[what.label()]).inc();
    }

    /// Counts UDP queries that get no answer.
    pub fn count_dropped_datagrams(&self, why: DroppedDatagram, count: u64) {
        self.udp_datagrams_dropped_total.with_label_values(&[why.label()]).inc_by(count);
    }
}
