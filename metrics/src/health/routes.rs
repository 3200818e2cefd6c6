//! The pages of the endpoint beside `/metrics` and `/healthz`, all made from the newest health. They show and change nothing.
//!
//! ```text
//! /                       the fleet, or the zone where there is only one
//! /zone/NAME              one zone; NAME in presentation form, percent-encoded
//! /zone/NAME/request.ksr  the open request, octet for octet
//! /calendar.ics           what is due, as a calendar to subscribe to
//! /api/v1/health          the JSON of `status --json`; `?zone=NAME` for one zone with what its timeline shows
//! /readyz                 200 or 503, and a line for each condition; `?of=serving` for what is answered alone
//! ```

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use crate::condition::{ConditionId, Severity};
use crate::http::{HttpRequest, Page};
use keystore::dns::Name;
use keystore::open::{self, Links};

use crate::health::calendar::calendar;
use crate::health::model::{Condition, Health, ZoneHealth};
use crate::health::page::{self, FleetQuery, RowOrder};
use crate::health::watch::Newest;
use crate::health::words::printable;

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
/// Lines of `/readyz`, at most.
const LINES: usize = 1000;

/// Largest request file that is handed out, in octets.
const MAX_REQUEST: u64 = 64 << 20;
const HTML: &str = "text/html; charset=utf-8";
/// Nothing from elsewhere, no inline style or script, no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'";

/// Answers requests for pages.
#[derive(Debug, Clone)]
pub struct Pages {
    newest: Newest,
}

impl Pages {
    /// Pages that show what `newest` has.
    #[must_use]
    pub const fn new(newest: Newest) -> Self {
        Self { newest }
    }

    /// The page of a request; `None` = there is none at this path.
    #[must_use]
    pub fn answer(&self, request: &HttpRequest<'_>) -> Option<Page> {
        let health = self.newest.get();
        answer(&health, request).map(|mut page| {
            for (name, value) in [
                ("Content-Security-Policy", POLICY),
                ("Referrer-Policy", "no-referrer"),
                ("Cross-Origin-Opener-Policy", "same-origin"),
                ("Cross-Origin-Resource-Policy", "same-origin"),
                ("X-Frame-Options", "DENY"),
            ] {
                page.fields.push((name, value.to_owned()));
            }
            page
        })
    }
}

/// The page of a request, made from `health`.
fn answer(health: &Health, request: &HttpRequest<'_>) -> Option<Page> {
    match request.path {
        "/" => Some(html(match health.zones.as_slice() {
            [zone] if request.query.is_empty() => page::zone(health, zone, true),
            _ => page::fleet(health, &query(request.query)),
        })),
        "/readyz" => Some(ready(health, parameter(request.query, "of").as_deref() == Some("serving"))),
        "/api/v1/health" => json(health, request.query),
        "/calendar.ics" => calendar_of(health, request.query),
        "/favicon.ico" => Some(Page::new("200 OK", "image/svg+xml", page::icon(health.severity))),
        "/style.css" => Some(Page::new("200 OK", "text/css; charset=utf-8", page::STYLE)),
        "/live.js" => Some(Page::new("200 OK", "text/javascript; charset=utf-8", page::SCRIPT)),
        path => {
            let name = path.strip_prefix("/zone/")?;
            let (name, wants_request) = match name.strip_suffix("/request.ksr") {
                Some(name) => (name, true),
                None => (name, false),
            };
            let label = zone_label(&decode(name));
            let Some(zone) = health.zone(&label) else {
                return Some(Page::new("404 Not Found", HTML, page::not_found(&decode(name))));
            };
            if wants_request { Some(request_file(zone)) } else { Some(html(page::zone(health, zone, false))) }
        }
    }
}

fn html(body: String) -> Page {
    Page::new("200 OK", HTML, body)
}

/// A zone as it is named everywhere: lower case, with its final dot, which may be left out in an address.
fn zone_label(name: &str) -> String {
    let name = if name.is_empty() { "." } else { name };
    Name::parse(name).map_or_else(|_| name.to_owned(), |name| name.to_lowercase().to_string())
}

fn query(text: &str) -> FleetQuery {
    let word = |name: &str| parameter(text, name).filter(|value| !value.is_empty());
    let order = word("order");
    FleetQuery {
        name: word("q").unwrap_or_default(),
        condition: word("condition").and_then(|id| ConditionId::parse(&id)),
        severity: word("severity")
            .and_then(|word| Severity::WORST_FIRST.into_iter().find(|severity| severity.as_str() == word)),
        order: RowOrder::ALL
            .into_iter()
            .find(|(_, word, _)| Some(*word) == order.as_deref())
            .map_or_else(RowOrder::default, |(order, ..)| order),
        page: word("page").and_then(|page| page.parse().ok()).unwrap_or(1),
    }
}

/// The open request, octet for octet as it lies in the outbox.
fn request_file(zone: &ZoneHealth) -> Page {
    let Some(request) = &zone.request else {
        return Page::new("404 Not Found", PLAIN, "no request is open\n");
    };
    let path = Path::new(&request.file);
    let mut octets = Vec::new();
    let read = open::for_reading(path, Links::Refuse)
        .map_err(std::io::Error::other)
        .and_then(|(file, _)| file.take(MAX_REQUEST).read_to_end(&mut octets));
    if let Err(error) = read {
        tracing::debug!(%error, file = %path.display(), "the request cannot be read");
        return Page::new("503 Service Unavailable", PLAIN, "the request cannot be read just now\n");
    }
    let name: String =
        zone.zone.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let mut page = Page::new("200 OK", "application/octet-stream", octets);
    let file = format!("attachment; filename=\"{}-{}.ksr\"", name.trim_matches('_'), request.start);
    page.fields.push(("Content-Disposition", file));
    page
}

/// The events of one zone, or of those that need somebody first.
fn calendar_of(health: &Health, query: &str) -> Option<Page> {
    let text = match parameter(query, "zone") {
        Some(name) => calendar(std::iter::once(health.zone(&zone_label(&name))?), health.now),
        None => calendar(health.zones.iter(), health.now),
    };
    Some(Page::new("200 OK", "text/calendar; charset=utf-8", text))
}

/// Ready as long as what is served and done here can be counted on, or with `of_serving` what is served; the other conditions are named
/// beside that.
fn ready(health: &Health, of_serving: bool) -> Page {
    let counts = |condition: &Condition| {
        if of_serving { condition.is_not_serving() } else { condition.is_not_ready() }
    };
    let (first, rest): (Vec<_>, Vec<_>) = health.all_conditions().partition(|(_, c)| counts(c));
    let not_ready = !first.is_empty();
    let mut text = String::from(if not_ready { "not ready\n" } else { "ready\n" });
    for (zone, condition) in first.into_iter().chain(rest).take(LINES) {
        let Condition { id, severity, what, .. } = condition;
        let zone = zone.map_or_else(String::new, |zone| format!("{zone}: "));
        let _ = writeln!(text, "{severity} {id} {}", printable(&format!("{zone}{what}")));
    }
    let status = if not_ready { "503 Service Unavailable" } else { "200 OK" };
    Page::new(status, PLAIN, text)
}

fn json(health: &Health, query: &str) -> Option<Page> {
    let shown = match parameter(query, "zone") {
        Some(name) => {
            let zone = zone_label(&name);
            health.zone(&zone)?;
            health.only(&[zone])
        }
        None => health.without_details(),
    };
    let page = match serde_json::to_vec(&shown) {
        Ok(body) => Page::new("200 OK", JSON, body),
        Err(error) => {
            tracing::error!(%error, "the health cannot be written as JSON");
            Page::new("500 Internal Server Error", PLAIN, "see the log\n")
        }
    };
    Some(page)
}

/// The value of a parameter of the query, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(decode(&value.replace('+', " ")))
}

/// Undoes percent-encoding; what is no encoding stays as it is, and octets that are no text are replaced.
fn decode(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let code =
            tail.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code.filter(|_| *first == b'%') {
            Some(octet) => {
                octets.push(octet);
                rest = &tail[2..];
            }
            None => octets.push(*first),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded() {
        for (query, value) in [
            ("zone=example.", Some("example.")),
            ("a=b&zone=a%5C046b.", Some("a\\046b.")),
            ("zones=x", None),
            ("zone=%zz%2", Some("%zz%2")),
            ("zone=a+b", Some("a b")),
            ("zone=%ff", Some("\u{fffd}")),
            ("", None),
        ] {
            assert_eq!(parameter(query, "zone").as_deref(), value, "{query}");
        }
    }
}
