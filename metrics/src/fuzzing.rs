//! What the fuzz targets read that is not public otherwise.

use std::path::Path;

use crate::http::{HttpRequest, connections, login, web_config};

/// Reads the head of an HTTP request as the endpoint does.
#[must_use]
pub fn http_request(head: &[u8]) -> Option<HttpRequest<'_>> {
    connections::request(head)
}

/// Reads a web-config; what is wrong with it, and true when it can be used.
#[must_use]
pub fn web_config(octets: &[u8]) -> (Vec<String>, bool) {
    let mut notes = web_config::WebConfigFindings::of(Path::new("/nonexistent/web.yml"));
    let read = web_config::parse(octets, Path::new("/nonexistent/web.yml"), &mut notes);
    (notes.findings.iter().map(ToString::to_string).collect(), read.is_some() && notes.is_usable())
}

/// True when the value of the header field `Authorization` has a name and a password.
#[must_use]
pub fn is_login(field: &str) -> bool {
    login::Login::parse(field).is_some()
}
