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

/// The limits that a TCP connection may meet, as values of the label `limit`.
pub const CONNECTION_LIMITS: [&str; 4] = ["connections", "network", "client", "system"];

impl Metrics {
    /// Counts a query that no zone of ours answers.
    pub fn count_refused_query(&self, what: RefusedQuery) {
        self.queries_refused_total.with_label_values(&[what.label()]).inc();
    }
}
