//! Every metric family by its name, with type, labels and help: the one list that code, rules and dashboards follow.

use std::ops::Deref;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{HistogramOpts, Registry, TextEncoder};

use crate::series::{Count, CounterTable, GaugeTable, Number};
use crate::values::{Counter, CounterFamily, Detail, Gauge, GaugeFamily, Histogram, HistogramFamily};

/// The families of a process. Clones share them and are as large as a pointer: each zone has some.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Families>);

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0
    }
}

/// Prefix of every family.
pub const PREFIX: &str = "offlineksk_";

/// Builds the struct of families and registers each; the field name is the family name without prefix.
macro_rules! families {
    ($($field:ident: $ty:ident [$($label:literal),*] $(buckets($buckets:expr))? = $help:literal;)*) => {
        /// All families, registered in a registry of their own; reached through [`Metrics`].
        ///
        /// The zone label is the absolute lower-case name with final dot.
        #[derive(Debug)]
        pub struct Families {
            registry: Registry,
            detail: Detail,
            $(#[doc = $help] pub $field: $ty,)*
        }

        /// Names of all families, without prefix, in the order of the list.
        pub const NAMES: &[&str] = &[$(stringify!($field)),*];

        impl Metrics {
            /// Makes and registers every family.
            pub fn new() -> Result<Self, MetricsError> {
                let (registry, detail) = (Registry::new(), Detail::default());
                registry.register(Box::new(ProcessCollector::for_self()))?;
                $(
                    let ($field, collector): (_, Box<dyn Collector>) = families!(@make $ty, concat!("offlineksk_", stringify!($field)), $help, [$($label),*], &detail $(, $buckets)?);
                    registry.register(collector)?;
                )*
                Ok(Self(Arc::new(Families { registry, detail, $($field,)* })))
            }
        }
    };
    (@make Gauge, $name:expr, $help:expr, [], $detail:expr) => {{
        let table = GaugeTable::new($name, $help, &[])?;
        (Gauge(table.with_label_values::<&str>(&[])), Box::new(table))
    }};
    (@make Counter, $name:expr, $help:expr, [], $detail:expr) => {{
        let table = CounterTable::new($name, $help, &[])?;
        (Counter(table.with_label_values::<&str>(&[])), Box::new(table))
    }};
    (@make GaugeFamily, $name:expr, $help:expr, [$($label:literal),*], $detail:expr) => {{
        let table = GaugeTable::new($name, $help, &[$($label),*])?;
        let left_out = can_be_left_out($name, &[$($label),*], $detail);
        (GaugeFamily::new(table.clone(), left_out, Number::default()), Box::new(table))
    }};
    (@make CounterFamily, $name:expr, $help:expr, [$($label:literal),*], $detail:expr) => {{
        let table = CounterTable::new($name, $help, &[$($label),*])?;
        let left_out = can_be_left_out($name, &[$($label),*], $detail);
        (CounterFamily::new(table.clone(), left_out, Count::default()), Box::new(table))
    }};
    (@make Histogram, $name:expr, $help:expr, [], $detail:expr, $buckets:expr) => {{
        let histogram = prometheus::Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))?;
        (Histogram(histogram.clone()), Box::new(histogram))
    }};
    (@make HistogramFamily, $name:expr, $help:expr, [$($label:literal),*], $detail:expr, $buckets:expr) => {{
        let options = HistogramOpts::new($name, $help).buckets($buckets.to_vec());
        let histograms = prometheus::HistogramVec::new(options.clone(), &[$($label),*])?;
        let left_out = can_be_left_out($name, &[$($label),*], $detail);
        let nobody = prometheus::Histogram::with_opts(options)?;
        (HistogramFamily::new(histograms.clone(), left_out, nobody), Box::new(histograms))
    }};
}

/// Families of single zones, without prefix, that a process with many zones exports too: what runs out, and what is the matter.
pub const OF_MANY_ZONES: [&str; 6] = [
    "skr_coverage_end_timestamp_seconds",
    "zone_rrsig_earliest_expiration_timestamp_seconds",
    "zone_severity",
    "zone_condition",
    "probe_condition",
    "probe_rrsig_earliest_expiration_timestamp_seconds",
];

/// The switch of a family that has series for single zones and is none of [`OF_MANY_ZONES`].
fn can_be_left_out(name: &str, labels: &[&str], detail: &Detail) -> Option<Detail> {
    let kept = name.strip_prefix(PREFIX).is_some_and(|name| OF_MANY_ZONES.contains(&name));
    (labels.contains(&"zone") && !kept).then(|| detail.clone())
}

/// Seconds from reading a dropped file to its commit.
const IMPORT_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.0, 10.0];
/// Seconds of a signing run.
const SIGN_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];
/// Seconds of one answer.
const ANSWER_BUCKETS: [f64; 8] = [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.01, 0.1];

families! {
    // process
    build_info: GaugeFamily ["component", "version", "revision"] = "Constant 1; labels name what runs.";
    config_last_reload_successful: Gauge [] = "1 when the last load of the configuration succeeded, 0 when the old one is still in use.";
    config_last_reload_success_timestamp_seconds: Gauge [] = "Unix time of the last successful load of the configuration; 0 never.";
    clock_time_seconds: Gauge [] = "The wall clock of this process at the scrape.";
    clock_jumps_total: CounterFamily ["direction"] = "Times the wall clock moved against the monotonic clock by more than 2 seconds.";
    // health
    zone_condition: GaugeFamily ["zone", "condition", "severity"] = "Constant 1 for each condition of a zone that holds; the manual lists them.";
    zone_severity: GaugeFamily ["zone"] = "The worst severity of a zone's conditions: 0 ok, 1 attention, 2 warning, 3 critical.";
    host_condition: GaugeFamily ["condition", "severity"] = "Constant 1 for each condition of this host that holds; the manual lists them.";
    // policy
    policy_skr_coverage_threshold_seconds: GaugeFamily ["zone", "severity"] = "Remaining coverage at which info, warning and critical are due.";
    policy_signature_refresh_seconds: GaugeFamily ["zone"] = "Remaining validity at which a signature is replaced; of a presigned zone, at which it should have been.";
    // SKR
    skr_coverage_start_timestamp_seconds: GaugeFamily ["zone"] = "Start of the unbroken run of bundles that holds now; 0 never.";
    skr_coverage_end_timestamp_seconds: GaugeFamily ["zone"] = "End of the unbroken run of bundles that holds now: the earliest KSK signature expiration of its last bundle; 0 never.";
    skr_schedule_end_timestamp_seconds: GaugeFamily ["zone"] = "The same for the very last bundle, holes ignored; 0 never.";
    skr_gap_seconds: GaugeFamily ["zone"] = "Longest hole in the remaining schedule; 0 none.";
    skr_bundles: GaugeFamily ["zone", "state"] = "Bundles of the accepted SKR that are past, active or future.";
    skr_active_bundle_inception_timestamp_seconds: GaugeFamily ["zone"] = "Inception of the bundle in force; 0 none.";
    skr_active_bundle_expiration_timestamp_seconds: GaugeFamily ["zone"] = "Earliest signature expiration of the bundle in force; 0 none.";
    skr_next_bundle_timestamp_seconds: GaugeFamily ["zone"] = "When the next bundle comes into force; 0 none.";
    skr_generation: GaugeFamily ["zone"] = "Number of the accepted generation; 0 never.";
    signer_skr_generation: GaugeFamily ["zone"] = "Number of the generation that the signer uses; 0 none.";
    skr_imports_total: CounterFamily ["zone", "result"] = "Dropped SKRs by result: accepted, rejected, unchanged.";
    skr_rejections_total: CounterFamily ["reason"] = "Rejected files by the check that failed.";
    skr_last_import_success: GaugeFamily ["zone"] = "1 when the newest drop was accepted, unchanged or acknowledged, 0 when it was rejected.";
    skr_last_import_timestamp_seconds: GaugeFamily ["zone", "result"] = "Unix time of the last import by result; 0 never.";
    skr_import_duration_seconds: Histogram [] buckets(IMPORT_BUCKETS) = "Time from reading a dropped file to its commit.";
    watch_up: Gauge [] = "1 when the inbox is watched in the way that is configured (events of the kernel, or polling), 0 when it cannot be, or only the periodic scan sees it.";
    watch_last_scan_timestamp_seconds: Gauge [] = "Unix time of the last full scan of the inbox; 0 never.";
    watch_overflows_total: Counter [] = "Overflows of the kernel's event queue, each followed by a full scan.";
    watch_files_total: CounterFamily ["outcome"] = "Files seen in the inbox: imported, ignored, unsafe, unstable.";
    watch_waiting_files: Gauge [] = "Files in the inbox that are yet to be judged, or to become whole.";
    rejected_files: Gauge [] = "Rejected files that are kept, each with its reason.";
    rejected_removed_total: Counter [] = "Rejected files that were removed because there were too many, the oldest first.";
    // delivery
    skr_deliveries_total: CounterFamily ["zone", "target", "result"] = "Deliveries and bundle switches at a server: ok when proven over DNS, failed.";
    skr_delivery_refreshes_total: CounterFamily ["zone", "target"] = "Times that a server was made to look at which signatures are due, or to take them anew.";
    skr_delivered_generation: GaugeFamily ["zone", "target"] = "Number of the generation that was last proven to be served; 0 never.";
    skr_delivery_current: GaugeFamily ["zone", "target"] = "1 when the server was proven to serve the bundle in force, 0 when not, or not yet.";
    skr_delivery_last_proof_timestamp_seconds: GaugeFamily ["zone", "target"] = "Unix time of the last proof; 0 never.";
    delivery_server_up: GaugeFamily ["target"] = "1 when the server answers its control commands, else 0.";
    // KSR
    ksr_last_generated_timestamp_seconds: GaugeFamily ["zone"] = "Unix time of the last request written; 0 never.";
    ksr_generations_total: CounterFamily ["zone", "result"] = "Requests by result: written, failed.";
    ksr_due_timestamp_seconds: GaugeFamily ["zone"] = "When the next request must exist; 0 unknown.";
    ksr_period_end_timestamp_seconds: GaugeFamily ["zone"] = "End of the period that the newest request asks for; 0 none.";
    ksr_pending_since_timestamp_seconds: GaugeFamily ["zone"] = "When the oldest unanswered request was written; 0 none.";
    ksr_requests_closed_total: CounterFamily ["zone", "reason"] = "Requests that need no answer any more: answered, superseded, expired, keys_changed, clock.";
    ksr_urgency: GaugeFamily ["zone"] = "How much the open request presses: 0 none is open, 1 notice, 2 reminder, 3 warning, 4 critical.";
    ksr_notices_total: CounterFamily ["zone", "result"] = "Notices of open requests by result: ok, failed.";
    ksr_last_notice_success: GaugeFamily ["zone"] = "1 when nobody has to be told of an open request, 0 when the last try failed.";
    // keys
    key_info: GaugeFamily ["zone", "role", "key_tag", "algorithm"] = "Constant 1 for each key found.";
    key_timing_timestamp_seconds: GaugeFamily ["zone", "role", "key_tag", "event"] = "BIND timing of a key: publish, activate, inactive, delete; 0 unset.";
    keys: GaugeFamily ["zone", "role", "state"] = "Keys found: future, published, active, retired, removed.";
    keystore_mismatched_keys: GaugeFamily ["zone"] = "Key file sets that are damaged or contradict each other.";
    keystore_missing_private_keys: GaugeFamily ["zone"] = "Scheduled ZSKs whose private key is not here.";
    keystore_ksk_private_files: GaugeFamily ["zone"] = "Private KSK files found on this online host; must be 0.";
    keystore_last_check_timestamp_seconds: GaugeFamily ["zone"] = "Unix time of the last look at the key files; 0 never.";
    // signing and serving
    zone_rrsig_earliest_expiration_timestamp_seconds: GaugeFamily ["zone", "role"] = "Soonest expiring RRSIG that is served, made by a ksk or a zsk; of a presigned zone under zsk; 0 none.";
    zone_signed: GaugeFamily ["zone"] = "1 when a full set of valid signatures is served, else 0.";
    zone_serial: GaugeFamily ["zone"] = "SOA serial that is served.";
    zone_loads_total: CounterFamily ["zone", "result"] = "Times the zone file was read: ok, failed.";
    zone_last_load_success: GaugeFamily ["zone"] = "1 when the zone file as it lies there was read, 0 when an older version is served or none.";
    zone_largest_ttl_seconds: GaugeFamily ["zone"] = "Largest TTL in the zone file; above max-zone-ttl, caches hold signatures for longer than the policy says.";
    zone_records: GaugeFamily ["zone"] = "Records that are served.";
    zone_last_signed_timestamp_seconds: GaugeFamily ["zone"] = "Unix time of the last finished signing run; 0 never.";
    zone_sign_runs_total: CounterFamily ["zone", "mode", "result"] = "Signing runs: full or incremental, ok or failed.";
    zone_sign_duration_seconds: HistogramFamily ["mode"] buckets(SIGN_BUCKETS) = "Duration of a signing run.";
    zone_content_held: GaugeFamily ["zone"] = "1 while new content of the zone file waits for a person: it shrank or grew too much, or the review refused it.";
    zone_restores_total: CounterFamily ["zone", "result"] = "Times the version that was served last was read from disk at a start: ok, failed.";
    zone_self_checks_total: CounterFamily ["zone", "result"] = "Checks of fresh signatures, or of a version of a presigned zone, before they are served: ok, failed.";
    resign_next_timestamp_seconds: GaugeFamily ["zone"] = "When signatures are next renewed; 0 unknown.";
    signatures_total: CounterFamily ["algorithm", "result"] = "Signatures made: ok, failed.";
    answers_total: CounterFamily ["zone", "kind", "dnssec"] = "Answers: positive, nodata, nxdomain, referral, error; dnssec yes when the query asked for it.";
    queries_refused_total: CounterFamily ["reason"] = "Queries for none of our zones, which are refused or left to another handler: other_zone, opcode, edns_version, malformed.";
    udp_datagrams_dropped_total: CounterFamily ["reason"] = "UDP queries without an answer: the source address is one that nobody can have (source), the system does not say to which address of ours it came (destination), too many queries for other handlers wait (queue), the system did not take the answer (send).";
    answers_limited_total: CounterFamily ["action"] = "Answers over UDP beyond the rate limit of a network: slipped (sent without records), dropped.";
    cookie_secret_file_ok: Gauge [] = "1 when DNS cookies are made with the secrets that are configured, 0 when the cookie-secret-file cannot be used and the secrets before it are.";
    connections_refused_total: CounterFamily ["limit"] = "Connections of TCP, TLS, HTTPS and QUIC closed at once because a limit was met (connections, network, client, tls, handshakes), and attempts to accept one that failed because the host had no descriptor or memory left (system).";
    transfers_total: CounterFamily ["zone", "kind", "result"] = "Transfers to secondaries: axfr (the whole zone) or ixfr (what changed), ok or failed.";
    updates_total: CounterFamily ["zone", "result"] = "DNS UPDATE messages that were answered: ok (also where they change nothing), prerequisite (one is not met), refused (no key, a key or record that update does not allow, or records that the zone cannot have), failed (not taken now).";
    transfers_refused_total: CounterFamily ["zone", "reason"] = "Requests of transfers that were refused: access (address or key), tsig (a signature that is not right), limit (too many at once).";
    notifies_total: CounterFamily ["zone", "result"] = "NOTIFY messages to secondaries: ok when acknowledged, failed.";
    secondary_serial: GaugeFamily ["zone", "secondary"] = "SOA serial that a secondary of notify was last seen to have; 0 never.";
    incoming_transfers_total: CounterFamily ["zone", "kind", "result"] = "Transfers from primaries: axfr (the whole zone) or ixfr (what changed), ok or failed.";
    primary_serial: GaugeFamily ["zone"] = "SOA serial that the primaries of a zone had at the last look that succeeded; 0 never.";
    zone_expires_timestamp_seconds: GaugeFamily ["zone"] = "Until when a zone from primaries may be served, as far as they have confirmed it; 0 nothing is here.";
    catalog_ok: GaugeFamily ["catalog"] = "1 when a catalog zone is in order, 0 when it is broken, cannot be had or cannot be kept, and changes nothing.";
    catalog_zones: GaugeFamily ["catalog"] = "Zones of a catalog: those that stand in one that this host makes, those in use of one that it takes zones from.";
    catalog_zones_held: GaugeFamily ["catalog"] = "Zones that left a catalog and stay until they are back or a person releases them.";
    catalog_zones_refused: GaugeFamily ["catalog"] = "Zones of a catalog that are not taken, or stay as they were because what is said of them now cannot be used.";
    pair_active: Gauge [] = "1 while this host of a pair is the active one and may publish versions, 0 while it is the standby or has lost its lease.";
    pair_generation: Gauge [] = "Number of the takeover that the lease of a pair names; 0 unknown.";
    pair_lease_expires_timestamp_seconds: Gauge [] = "When the lease of the active host of a pair ends; 0 unknown.";
    answer_duration_seconds: Histogram [] buckets(ANSWER_BUCKETS) = "Time to find an answer with its proofs.";
    // parent
    parent_notifies_total: CounterFamily ["zone", "result"] = "NOTIFY(CDS) messages to the receiver that the parent's DSYNC records name: taken, refused (it does not want them), failed (no answer that counts).";
    parent_notify_pending: GaugeFamily ["zone"] = "1 while the parent is yet to be told of the CDS records in force, 0 when there is nothing to tell.";
    parent_hooks_total: CounterFamily ["zone", "event", "result"] = "Events of DS records at the parent (ds-ready, ds-seen, ds-gone) that are done: ok, or their command failed.";
    // outside probe
    probe_condition: GaugeFamily ["zone", "condition", "severity"] = "Constant 1 for each condition of a zone that the outside probe finds; the manual lists them.";
    probe_last_round_timestamp_seconds: GaugeFamily ["zone"] = "Unix time of the last round of the outside probe; 0 never.";
    probe_rrsig_earliest_expiration_timestamp_seconds: GaugeFamily ["zone"] = "Soonest expiring RRSIG that the outside probe was given by any server; 0 none.";
    probe_servers: GaugeFamily ["zone", "state"] = "Addresses of the zone's servers that the outside probe asked: ok, silent.";
}

impl Metrics {
    /// Leaves out the series of single zones from now on, but for those of [`OF_MANY_ZONES`]: for a process with many zones. What is
    /// left of the policy is one threshold for each severity, with an empty zone.
    pub fn leave_out_zones(&self, thresholds: [(&str, u32); 3]) {
        for (severity, seconds) in thresholds {
            let threshold = &self.policy_skr_coverage_threshold_seconds.inner;
            threshold.with_label_values(&["", severity]).set(seconds.into());
        }
        self.detail.leave_out();
    }

    /// Adds families of the host program, which `/metrics` shows from now on beside ours. Their names must not begin with [`PREFIX`].
    ///
    /// ```
    /// use offline_ksk_metrics::{Metrics, prometheus::IntCounter};
    /// let metrics = Metrics::new()?;
    /// let logins = IntCounter::new("myserver_logins_total", "Logins since the start.")?;
    /// metrics.join(Box::new(logins.clone()))?;
    /// logins.inc();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A name that is ours, or one that was added already.
    pub fn join(&self, families: Box<dyn Collector>) -> Result<(), JoinError> {
        if let Some(ours) = families.desc().iter().find(|family| family.fq_name.starts_with(PREFIX)) {
            return Err(JoinError::Ours(ours.fq_name.clone()));
        }
        self.registry.register(families).map_err(JoinError::Registry)
    }

    /// The text exposition of every family that has a series. For the endpoint, and for tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn encode(&self) -> Result<String, MetricsError> {
        self.exposition()
    }

    pub(crate) fn exposition(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

/// A family that cannot be made, registered or printed: a bug of ours.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}; please report this")]
pub struct MetricsError(#[from] prometheus::Error);

/// Families of the host program that cannot be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name begins with [`PREFIX`].
    #[error("{0}: names that begin with {PREFIX} are those of offline-ksk")]
    Ours(String),
    /// The name is taken, with these labels.
    #[error("the metric family cannot be added: {0}")]
    Registry(#[source] prometheus::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_a_host_stand_beside_ours_and_cannot_take_our_names() {
        let metrics = Metrics::new().expect("families register");
        let counter = |name: &str| prometheus::IntCounter::new(name, "Of a host.").expect("a counter");
        let logins = counter("myserver_logins_total");
        metrics.join(Box::new(logins.clone())).expect("a new name");
        logins.inc_by(3);
        let text = metrics.encode().expect("text");
        assert!(text.contains("\nmyserver_logins_total 3\n") && text.contains("offlineksk_"), "{text}");
        for taken in
            ["myserver_logins_total", "offlineksk_zone_serial", "offlineksk_mine", "process_open_fds"]
        {
            assert!(metrics.clone().join(Box::new(counter(taken))).is_err(), "{taken}");
        }
    }

    #[test]
    fn manual_has_a_row_for_every_family_and_for_no_other() {
        let page = include_str!("../../docs/manual/metrics.md");
        let families = page.split("\n## Families\n").nth(1).and_then(|rest| rest.split("\n## ").next());
        let rows = families.expect("a part with families").lines();
        let rows: Vec<&str> = rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        for name in NAMES {
            assert!(rows.contains(name), "docs/manual/metrics.md lacks {name}");
        }
        assert_eq!(rows.len(), NAMES.len(), "a family that is no more, or twice");
    }
}
