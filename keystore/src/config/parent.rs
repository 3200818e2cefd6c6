//! `[parent]`: what the parents of the zones are told, and the commands that are run when their DS records change.

use std::net::SocketAddr;

/// Settings of the table `[parent]`. They count where `[loader] parent-resolver` names a resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentConfig {
    /// `notify-cds`: the parent is told when the CDS or CDNSKEY RRset of a zone changes, where its DSYNC records say how (RFC 9859).
    pub notify_cds: bool,
    /// `servers`: the servers that must serve the new RRsets before the parent is told; found through the resolver when there are none.
    pub servers: Vec<SocketAddr>,
    /// `parent-servers`: the servers of the parents that are asked for DS records; found through the resolver when there are none.
    pub parent_servers: Vec<SocketAddr>,
    /// `on-ds-ready`: program and arguments that are called when the parent may take the DS record of a KSK. Empty = none.
    pub on_ds_ready: Vec<String>,
    /// `on-ds-seen`: the same when the DS record stands at the parent.
    pub on_ds_seen: Vec<String>,
    /// `on-ds-gone`: the same when it stands there no more.
    pub on_ds_gone: Vec<String>,
    /// `hook-timeout`: seconds that one call may take.
    pub hook_timeout: u32,
}

impl ParentConfig {
    /// True when a command is to be run for any event.
    #[must_use]
    pub fn has_hooks(&self) -> bool {
        [&self.on_ds_ready, &self.on_ds_seen, &self.on_ds_gone].into_iter().any(|words| !words.is_empty())
    }
}

impl Default for ParentConfig {
    fn default() -> Self {
        // A zone asks its own parent alone, and only one that has published where it wants to be told.
        Self {
            notify_cds: true,
            servers: Vec::new(),
            parent_servers: Vec::new(),
            on_ds_ready: Vec::new(),
            on_ds_seen: Vec::new(),
            on_ds_gone: Vec::new(),
            hook_timeout: 30,
        }
    }
}
