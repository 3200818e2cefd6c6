//! Domain names as the configuration writes them.

use crate::dns::Name;
use crate::policy::table::Value;

/// Reads a domain name; notes the error when it is none. A name with letters that DNS does not carry as they are is refused with
/// the A-label to write in its place (RFC 5890 section 2.3.2.1).
pub(super) fn read(value: &Value<'_, '_>) -> Option<Name> {
    let text = value.string()?;
    if !text.is_ascii() {
        value.error(match idna::domain_to_ascii(text) {
            Ok(ascii) => format!("is not ASCII; write \"{ascii}\" (the A-label that DNS carries)"),
            Err(_) => {
                "is not ASCII, and there is no A-label for it; write octets of a label as \\DDD".to_owned()
            }
        });
        return None;
    }
    match Name::parse(text) {
        Ok(name) => Some(name),
        Err(error) => {
            value.error(format!("is no domain name: {error}"));
            None
        }
    }
}
