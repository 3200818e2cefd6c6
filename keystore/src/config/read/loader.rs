//! `[loader]`: the inbox, the control socket, who vouches for an SKR, and the thresholds of the coverage.

use super::address::address;
use crate::config::{KsrConfig, LoaderConfig, ParentCheck, WatchMode};
use crate::crypto::cms::CmsCertificate;
use crate::policy::named_conf::read_regular;
use crate::policy::table::{Table, Value};
use crate::policy::toml::TopLevelKey;

/// Most octets of the path of a Unix socket (`sun_path`, with its closing NUL, less what a temporary name takes more).
pub(super) const MAX_SOCKET_PATH: usize = 100;
/// Largest file of certificates that is read, in octets.
const MAX_CERTIFICATE_FILE: u64 = 1 << 20;

/// `[loader]`, and its `require-signature`.
pub(super) fn read(top: &mut Table<'_, '_>, ksr: &KsrConfig) -> (LoaderConfig, bool) {
    let (mut loader, mut require_signature) = (LoaderConfig::default(), false);
    let value = top.get(TopLevelKey::Loader.key());
    let mut table = value.as_ref().and_then(Value::table);
    if let Some(table) = &mut table {
        inbox(table, &mut loader);
        control(table, &mut loader);
        require_signature = vouching(table, &mut loader);
        let mut threshold =
            |key, field: &mut u32| *field = table.get(key).and_then(|v| v.duration()).unwrap_or(*field);
        threshold("coverage-info", &mut loader.coverage_info);
        threshold("coverage-warning", &mut loader.coverage_warning);
        threshold("coverage-critical", &mut loader.coverage_critical);
    }
    // With defaults too: the period of [ksr] may be too short for them.
    check_thresholds(top, table.as_ref(), &loader, ksr);
    if let Some(table) = table {
        table.finish();
    }
    (loader, require_signature)
}

/// How dropped files are noticed, and what is kept of rejected ones.
fn inbox(table: &mut Table<'_, '_>, loader: &mut LoaderConfig) {
    if let Some(value) = table.get("rescan-interval") {
        loader.rescan_interval = value.duration().unwrap_or(loader.rescan_interval);
        if !(1..=86_400).contains(&loader.rescan_interval) {
            value.error("must be from 1 second to 1 day");
        }
    }
    if let Some(value) = table.get("poll-interval") {
        loader.poll_interval = value.duration().unwrap_or(loader.poll_interval);
        if !(1..=3600).contains(&loader.poll_interval) {
            value.error("must be from 1 second to 1 hour");
        }
    }
    if let Some(value) = table.get("watch") {
        match value.string() {
            Some("events") => loader.watch = WatchMode::Events,
            Some("poll") => loader.watch = WatchMode::Poll,
            Some(_) => {
                value.error("must be \"events\" (the kernel tells) or \"poll\" (for NFS and the like)");
            }
            None => {}
        }
    }
    let mut limit = |key, range, field: &mut u32| {
        *field = table.get(key).and_then(|v| v.integer(range)).unwrap_or(*field);
    };
    limit("accepted-max-generations", 1..=1_000_000, &mut loader.accepted_max_generations);
    limit("accepted-max-days", 1..=100_000, &mut loader.accepted_max_days);
    limit("accepted-min-days", 0..=100_000, &mut loader.accepted_min_days);
    limit("rejected-max-files", 1..=1_000_000, &mut loader.rejected_max_files);
    limit("audit-max-octets", 1 << 20..=u32::MAX, &mut loader.audit_max_octets);
    limit("rejected-max-octets", 1 << 20..=u32::MAX, &mut loader.rejected_max_octets);
}

/// Where commands reach the running loader.
fn control(table: &mut Table<'_, '_>, loader: &mut LoaderConfig) {
    if let Some(value) = table.get("control-socket") {
        loader.control_socket = value.path();
        if loader.control_socket.as_ref().is_some_and(|path| path.as_os_str().len() > MAX_SOCKET_PATH) {
            value.error(format!(
                "must have at most {MAX_SOCKET_PATH} octets: the kernel takes no longer name"
            ));
        }
    }
    if let Some(value) = table.get("control-group") {
        loader.control_group = value.string().filter(|name| !name.is_empty()).map(str::to_owned);
        if value.is_string() && loader.control_group.is_none() {
            value.error("must be the name of a group");
        }
    }
}

/// Who must vouch for an SKR beside the pinned KSK: the operator's signature and the parent. Gives `require-signature`.
fn vouching(table: &mut Table<'_, '_>, loader: &mut LoaderConfig) -> bool {
    if let Some(value) = table.get("operator-certificates") {
        let files = value.array().unwrap_or_default();
        if files.is_empty() {
            value.error("names no file; leave it out where nobody signs what is dropped");
        }
        loader.operator_certificates = files.iter().flat_map(certificates).collect();
    }
    if let Some(value) = table.get("parent-resolver") {
        loader.parent_resolver = address(&value).filter(|address| {
            let good = address.port() != 0 && !address.ip().is_unspecified();
            if !good {
                value.error("must be an address that can be asked, like 127.0.0.1:53 or [::1]:53");
            }
            good
        });
    }
    if let Some(value) = table.get("parent-check") {
        loader.parent_check = match value.string() {
            Some("reject") => ParentCheck::Reject,
            Some("warn") | None => ParentCheck::Warn,
            Some(_) => {
                value.error("must be \"warn\" or \"reject\"");
                ParentCheck::Warn
            }
        };
        if loader.parent_resolver.is_none() {
            value.error("says what the answer of parent-resolver = \"IP:PORT\" means, and there is none");
        }
    }
    table.get("require-signature").and_then(|v| v.boolean()).unwrap_or(false)
}

/// Holds the thresholds of the coverage against each other and against the times of the requests.
fn check_thresholds(
    top: &Table<'_, '_>,
    table: Option<&Table<'_, '_>>,
    loader: &LoaderConfig,
    ksr: &KsrConfig,
) {
    let error = |what: String| match table {
        Some(table) => table.error(what),
        None => top.error(format!("loader: {what}")),
    };
    let (info, warning, critical) = (loader.coverage_info, loader.coverage_warning, loader.coverage_critical);
    if !(critical < warning && warning < info) {
        error(format!(
            "coverage-critical ({critical} s) must be less than coverage-warning ({warning} s), and that less than coverage-info ({info} s)"
        ));
    }
    if ksr.enabled && info >= ksr.period {
        error(format!(
            "coverage-info ({info} s) must be less than the period that a request asks for ({} s), else it alerts for ever",
            ksr.period
        ));
    }
    if ksr.enabled && ksr.lead < warning {
        let what = format!(
            "the next request is written {} s before the end of the coverage, after coverage-warning ({warning} s) alerts; raise ksr.lead",
            ksr.lead
        );
        top.doc.note(table.map_or(&top.at, |t| &t.at).warning(what));
    }
}

/// The certificates in one file of `operator-certificates`.
fn certificates(value: &Value<'_, '_>) -> Vec<CmsCertificate> {
    let Some(path) = value.path() else { return Vec::new() };
    let read = read_regular(&path, MAX_CERTIFICATE_FILE).map_err(|error| {
        value.doc.note_unread(&error);
        error.to_string()
    });
    read.and_then(|pem| CmsCertificate::read_pem(&pem).map_err(|error| error.to_string())).unwrap_or_else(
        |what| {
            value.error(format!("{}: {what}", path.display()));
            Vec::new()
        },
    )
}
