//! Settings of the table `[pair]`: two hosts with the same keys and zones, of which one at a time makes versions.

use std::path::PathBuf;

/// Settings of the table `[pair]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairConfig {
    /// `host`: the name of this host in the lease; the other host has another one.
    pub host: String,
    /// `lease-directory`: its files say which host is the active one, and until when; on storage that both hosts share.
    pub lease_directory: PathBuf,
    /// `lease-duration`: seconds for which the active host may make versions after it has renewed the lease.
    pub lease_duration: u32,
    /// `renew`: seconds from one renewal to the next.
    pub renew: u32,
    /// `clock-margin`: seconds by which the clocks of the two hosts may differ; so long a lease is waited for behind its end.
    pub clock_margin: u32,
}
