//! What the fuzz targets read that is not public otherwise.

use crate::http::{Request, connections};

/// Reads the head of an HTTP request as the endpoint does.
#[must_use]
pub fn http_request(head: &[u8]) -> Option<Request<'_>> {
    connections::request(head)
}
