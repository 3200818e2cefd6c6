//! Domain names as the configuration writes them.

use crate::dns::Name;
use crate::policy::table::Value;

/// Reads a domain name; notes the error when it is none.
pub(super) fn read(value: &Value<'_, '_>) -> Option<Name> {
    let name = value.string()?.parse::<Name>();
    name.map_err(|error| value.error(error.to_string())).ok()
}
