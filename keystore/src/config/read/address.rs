//! Addresses with ports.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::policy::table::Value;

/// The addresses of a list, each once, and none of `others`.
pub(super) fn addresses(value: &Value<'_, '_>, others: &[SocketAddr]) -> Option<Vec<SocketAddr>> {
    let values = value.array()?;
    if values.is_empty() {
        value.error("names no address; leave it out where this host does not serve");
    }
    let addresses: Option<Vec<_>> = values.iter().map(address).collect();
    let mut seen: HashSet<_> = others.iter().collect();
    for (address, value) in addresses.iter().flatten().zip(&values) {
        if address.port() != 0 && !seen.insert(address) {
            value.error(format!("{address} is given twice"));
        }
    }
    addresses
}

/// An IP address and a port.
pub(super) fn address(value: &Value<'_, '_>) -> Option<SocketAddr> {
    let text = value.string()?;
    let address = text.parse().ok();
    if address.is_none() {
        value.error("must be an IP address and a port, such as \"127.0.0.1:5300\" or \"[::1]:5300\"");
    }
    address
}
