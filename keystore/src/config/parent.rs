//! `[parent]`: what the parents of the zones are told.

use std::net::SocketAddr;

/// Settings of the table `[parent]`. They count where `[loader] parent-resolver` names a resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentConfig {
    /// `notify-cds`: the parent is told when the CDS or CDNSKEY RRset of a zone changes, where its DSYNC records say how (RFC 9859).
    pub notify_cds: bool,
    /// `servers`: the servers that must serve the new RRsets before the parent is told; found through the resolver when there are none.
    pub servers: Vec<SocketAddr>,
}

impl Default for ParentConfig {
    fn default() -> Self {
        // A zone asks its own parent alone, and only one that has published where it wants to be told.
        Self { notify_cds: true, servers: Vec::new() }
    }
}
