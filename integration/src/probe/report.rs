//! What is told of a zone, for people and for scripts.

use std::net::SocketAddr;

use keystore::dns::{Name, Rtype};
use keystore::time::Timestamp;
use metrics::condition::Severity;
use serde::Serialize;

use super::contents::{Contents, NotVerified};
use super::facts::{ProbeFacts, ServerFacts, ServerId, ServerReach};
use super::finding::{ProbeFinding, in_words};
use super::judge::{self, Expectations};

/// Version of the JSON.
const SCHEMA: u32 = 1;

/// One zone, judged. Small whatever the answers were, for there may be thousands.
pub(super) struct JudgedZone {
    pub(super) zone: Name,
    pub(super) findings: Vec<ProbeFinding>,
    pub(super) severity: Severity,
    servers: Vec<ServerReport>,
    left_out: usize,
    /// The earliest end of a signature that was seen.
    pub(super) earliest: Option<Timestamp>,
    /// Inception of the bundle that the key sets were held against.
    bundle: Option<Timestamp>,
}

struct ServerReport {
    id: ServerId,
    reach: ServerReach,
    /// Why it was not asked.
    not_asked: Option<String>,
    serial: Option<u32>,
    /// EDNS EXPIRE.
    expire: Option<u32>,
    /// Records and signatures of the transferred zone.
    transferred: Option<(u64, u64)>,
    /// Why the transferred zone was not verified.
    not_verified: Option<NotVerified>,
}

impl JudgedZone {
    /// Judges what was seen, and keeps what is told of it.
    pub(super) fn of(facts: &ProbeFacts, expected: &Expectations, now: Timestamp) -> Self {
        let findings = judge::judge(facts, expected, now);
        Self {
            zone: facts.zone.clone(),
            severity: judge::severity(&findings),
            findings,
            servers: facts.servers.iter().map(ServerReport::of).collect(),
            left_out: facts.left_out,
            earliest: facts.earliest_expiration(now),
            bundle: expected.bundle.as_ref().map(|bundle| bundle.inception),
        }
    }
}

impl ServerReport {
    fn of(server: &ServerFacts) -> Self {
        let reach = server.reach();
        let not_asked = matches!(reach, ServerReach::NoWay | ServerReach::TimeUp);
        let transfer = server.transfer.as_ref().and_then(|transfer| transfer.as_ref().ok());
        Self {
            id: server.server.clone(),
            reach,
            not_asked: server.first_error().filter(|_| not_asked).map(ToString::to_string),
            serial: server.soa().map(|soa| soa.serial),
            expire: server.answer(Rtype::SOA).and_then(|answer| answer.expire),
            transferred: transfer.map(|transfer| (transfer.records, transfer.signatures)),
            not_verified: transfer.and_then(|transfer| match &transfer.contents {
                Contents::NotVerified(why) => Some(*why),
                _ => None,
            }),
        }
    }

    fn line(&self) -> String {
        if let Some(why) = &self.not_asked {
            return why.clone();
        }
        let Some(serial) = self.serial else { return "no SOA".to_owned() };
        let mut line = format!("serial {serial}");
        if let Some(seconds) = self.expire {
            line.push_str(&format!(", expires in {}", in_words(seconds.into())));
        }
        if let Some((records, signatures)) = self.transferred {
            line.push_str(&format!(", {records} records with {signatures} signatures transferred"));
        }
        if let Some(why) = self.not_verified {
            line.push_str(&format!(", {why}"));
        }
        line
    }
}

// --- for people -----------------------------------------------------------------------------------------------------

/// Prints one zone.
pub(super) fn print(zone: &JudgedZone, now: Timestamp) {
    outln!("{}: {}", zone.zone.to_lowercase(), zone.severity);
    for server in &zone.servers {
        outln!("  {:<32} {}", server.id.to_string(), server.line());
    }
    if zone.left_out > 0 {
        outln!("  {} more servers or addresses were not asked", zone.left_out);
    }
    if let Some(end) = zone.earliest {
        let left = if end < now { "past".to_owned() } else { in_words(end.since(now)) };
        outln!("  {:<32} {} ({left})", "earliest end of a signature", end.iso());
    }
    if let Some(bundle) = zone.bundle {
        outln!("  {:<32} {}", "held against the bundle of", bundle.iso());
    }
    for finding in &zone.findings {
        outln!("  {}", finding.line(&zone.zone, now));
    }
}

// --- for scripts ----------------------------------------------------------------------------------------------------

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonReport {
    version: u32,
    now: String,
    zones: Vec<JsonZone>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonZone {
    zone: String,
    severity: Severity,
    earliest_expiration: Option<String>,
    /// Negative once it is past.
    expires_in_seconds: Option<i64>,
    bundle: Option<String>,
    servers: Vec<JsonServer>,
    servers_left_out: usize,
    findings: Vec<JsonFinding>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonServer {
    address: SocketAddr,
    name: Option<String>,
    state: &'static str,
    serial: Option<u32>,
    records: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFinding {
    id: &'static str,
    severity: Severity,
    server: Option<SocketAddr>,
    text: String,
}

/// Prints all zones as JSON.
pub(super) fn print_json(zones: &[JudgedZone], now: Timestamp) {
    let zone = |zone: &JudgedZone| {
        let left = |end: Timestamp| {
            let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
            if end < now { -signed(now.since(end)) } else { signed(end.since(now)) }
        };
        let server = |server: &ServerReport| JsonServer {
            address: server.id.address,
            name: server.id.name.as_ref().map(ToString::to_string),
            state: server.reach.as_str(),
            serial: server.serial,
            records: server.transferred.map(|(records, _)| records),
        };
        let finding = |finding: &ProbeFinding| JsonFinding {
            id: finding.id.as_str(),
            severity: finding.severity,
            server: finding.server.as_ref().map(|server| server.address),
            text: finding.text(now),
        };
        JsonZone {
            zone: zone.zone.to_lowercase().to_string(),
            severity: zone.severity,
            earliest_expiration: zone.earliest.map(|end| end.iso()),
            expires_in_seconds: zone.earliest.map(left),
            bundle: zone.bundle.map(|bundle| bundle.iso()),
            servers: zone.servers.iter().map(server).collect(),
            servers_left_out: zone.left_out,
            findings: zone.findings.iter().map(finding).collect(),
        }
    };
    let report = JsonReport { version: SCHEMA, now: now.iso(), zones: zones.iter().map(zone).collect() };
    match serde_json::to_string_pretty(&report) {
        Ok(text) => outln!("{text}"),
        Err(error) => eprintln!("offline-ksk: the report does not print: {error}; please report this"),
    }
}
