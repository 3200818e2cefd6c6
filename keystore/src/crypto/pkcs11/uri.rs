//! PKCS#11 URIs (RFC 7512): where a token, a key in it, its module and its PIN are.

use std::fmt;
use std::path::PathBuf;

/// Longest URI that is read, in octets.
const MAX_URI: usize = 4096;

/// A `pkcs11:` URI. What is not set matches anything.
///
/// Read leniently where others write carelessly: `module-path`, `module-name` and `pin-source` may stand among the path attributes
/// (`;pin-source=…`), where BIND's manual has them, and `;` ends a query attribute. A PIN itself (`pin-value`) is never read.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Pkcs11Uri {
    /// `token`: label of the token.
    pub token: Option<String>,
    /// `manufacturer` of the token.
    pub manufacturer: Option<String>,
    /// `model` of the token.
    pub model: Option<String>,
    /// `serial` number of the token.
    pub serial: Option<String>,
    /// Number of the slot (`slot-id`).
    pub slot_id: Option<u64>,
    /// `object`: label (CKA_LABEL) of the key.
    pub object: Option<String>,
    /// `id`: CKA_ID of the key.
    pub id: Option<Vec<u8>>,
    /// `module-path`: the module, an absolute path.
    pub module_path: Option<PathBuf>,
    /// `module-name`: name of the module without `lib`, folder and suffix.
    pub module_name: Option<String>,
    /// `pin-source`: the file with the PIN, as path or `file:` URI.
    pub pin_source: Option<PathBuf>,
}

/// Why a text is no PKCS#11 URI. The text itself is never shown: there may be a PIN in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Not the scheme.
    #[error("a PKCS#11 URI begins with `pkcs11:`")]
    Scheme,
    /// Absurdly long.
    #[error("longer than {MAX_URI} octets, which no PKCS#11 URI is")]
    TooLong,
    /// `pin-value`.
    #[error(
        "`pin-value`: a PIN in a URI can be read by others; put it in a file of mode 0600 and name that with `pin-source=FILE`"
    )]
    PinValue,
    /// An attribute without `=`.
    #[error("`{0}`: `attribute=value` was expected")]
    NoValue(String),
    /// A bad `%XX`, an octet that must be encoded, or text that is not UTF-8.
    #[error("{0}: a value of printable ASCII with %XX for other octets, UTF-8 when decoded, was expected")]
    Encoding(&'static str),
    /// Twice the same.
    #[error("{0} a second time")]
    Twice(&'static str),
    /// Not an attribute that is matched here.
    #[error(
        "`{0}` is not supported; the attributes are token, manufacturer, model, serial, slot-id, object, id, type, module-path, module-name and pin-source"
    )]
    Unknown(String),
    /// Not a number.
    #[error("slot-id: a number was expected")]
    SlotId,
    /// Something else than a private key.
    #[error("type: `private` was expected; a key pair is named by its private key")]
    Type,
    /// A relative path.
    #[error("module-path: an absolute path was expected")]
    ModulePath,
    /// A folder in the name.
    #[error("module-name: a name without folder was expected; give a path with module-path")]
    ModuleName,
    /// A relative path, a program, or a URI of another scheme.
    #[error("pin-source: the absolute path of a file, or a `file:` URI, was expected")]
    PinSource,
}

impl Pkcs11Uri {
    /// Reads a URI.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_URI {
            return Err(UriError::TooLong);
        }
        let head = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("pkcs11:"));
        let rest = text.get(head.ok_or(UriError::Scheme)?.len()..).unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        let mut typed = None;
        let all = path.split(';').chain(query.split(['&', ';']));
        for attribute in all.filter(|attribute| !attribute.is_empty()) {
            let (name, value) =
                attribute.split_once('=').ok_or_else(|| UriError::NoValue(shown(attribute)))?;
            uri.read(name, value, &mut typed)?;
        }
        Ok(uri)
    }

    fn read(&mut self, name: &str, value: &str, typed: &mut Option<()>) -> Result<(), UriError> {
        let text = |name| String::from_utf8(decode(name, value)?).map_err(|_| UriError::Encoding(name));
        match name {
            "token" => set(&mut self.token, "token", text("token")?),
            "manufacturer" => set(&mut self.manufacturer, "manufacturer", text("manufacturer")?),
            "model" => set(&mut self.model, "model", text("model")?),
            "serial" => set(&mut self.serial, "serial", text("serial")?),
            "object" => set(&mut self.object, "object", text("object")?),
            "id" => set(&mut self.id, "id", decode("id", value)?),
            "slot-id" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let id = digits.then(|| value.parse().ok()).flatten().ok_or(UriError::SlotId)?;
                set(&mut self.slot_id, "slot-id", id)
            }
            "type" if value == "private" => set(typed, "type", ()),
            "type" => Err(UriError::Type),
            "module-path" => {
                let path = PathBuf::from(text("module-path")?);
                if !path.is_absolute() {
                    return Err(UriError::ModulePath);
                }
                set(&mut self.module_path, "module-path", path)
            }
            "module-name" => {
                let name = text("module-name")?;
                if name.is_empty() || name.contains('/') || name.starts_with('.') {
                    return Err(UriError::ModuleName);
                }
                set(&mut self.module_name, "module-name", name)
            }
            "pin-source" => {
                let source = text("pin-source")?;
                // RFC 8089: file:/path or file:///path; a host is of no use here.
                let path = match source.strip_prefix("file:") {
                    Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
                    None => &source,
                };
                // Daemons and people run in other folders, so a relative path would mean another file for each.
                if !path.starts_with('/') {
                    return Err(UriError::PinSource);
                }
                set(&mut self.pin_source, "pin-source", PathBuf::from(path))
            }
            "pin-value" => Err(UriError::PinValue),
            other => Err(UriError::Unknown(shown(other))),
        }
    }
}

/// The token and the key as they are named to people: no module, no PIN source.
impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let slot = self.slot_id.map(|id| id.to_string());
        let texts = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("slot-id", &slot),
            ("object", &self.object),
        ];
        let texts = texts.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.as_bytes())));
        let id = self.id.iter().map(|id| ("id", id.as_slice()));
        for (i, (name, value)) in texts.chain(id).enumerate() {
            let separator = if i == 0 { "" } else { ";" };
            write!(f, "{separator}{name}={}", encode(value))?;
        }
        Ok(())
    }
}

/// The URI of a token, `uri`, with what names a key in it: its label (CKA_LABEL) where that is text, and its id (CKA_ID) where one is
/// given.
#[must_use]
pub fn with_key(uri: &str, label: &[u8], id: Option<&[u8]>) -> String {
    let is_text = std::str::from_utf8(label).is_ok_and(|label| !label.contains('\0'));
    let named = match is_text && !label.is_empty() {
        true => with_object(uri, &encode(label)),
        false => uri.to_owned(),
    };
    id.map_or_else(|| named.clone(), |id| with_attribute(&named, "id", &encode(id)))
}

/// `uri` with the attribute `object=value` behind its path attributes; `value` is encoded already.
#[must_use]
pub fn with_object(uri: &str, value: &str) -> String {
    with_attribute(uri, "object", value)
}

fn with_attribute(uri: &str, name: &str, value: &str) -> String {
    let (path, query) = uri.split_at(uri.find('?').unwrap_or(uri.len()));
    let path = path.strip_suffix(';').unwrap_or(path);
    let separator = if path.ends_with(':') { "" } else { ";" };
    format!("{path}{separator}{name}={value}{query}")
}

/// Writes an octet as itself (unreserved characters of RFC 3986) or as %XX.
fn encode(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for b in value {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// Undoes %XX; all else must be printable ASCII.
fn decode(name: &'static str, value: &str) -> Result<Vec<u8>, UriError> {
    let bad = UriError::Encoding(name);
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(value.len());
    let mut octets = value.bytes();
    while let Some(b) = octets.next() {
        match b {
            b'%' => match (octets.next().and_then(hex), octets.next().and_then(hex)) {
                (Some(high), Some(low)) => out.push(high << 4 | low),
                _ => return Err(bad),
            },
            0x21..=0x7e => out.push(b),
            _ => return Err(bad),
        }
    }
    // A label is compared, and a path opened, by libraries that stop at NUL.
    if name != "id" && out.contains(&0) {
        return Err(bad);
    }
    Ok(out)
}

fn set<T>(field: &mut Option<T>, name: &'static str, value: T) -> Result<(), UriError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Twice(name)),
    }
}

/// The start of an attribute name, for messages.
fn shown(name: &str) -> String {
    name.chars().take(24).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_in_path_and_query() {
        let all = "pkcs11:token=my%20ksk;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=3127a2;slot-id=7;\
                   object=x%2Fy.test.-p.-ksk-1;id=%00%fF;type=private?module-path=/usr/lib/a.so&pin-source=file:///run/pin";
        let uri = Pkcs11Uri::parse(all).expect("a URI");
        let expected = Pkcs11Uri {
            token: Some("my ksk".into()),
            manufacturer: Some("SoftHSM project".into()),
            model: Some("SoftHSM v2".into()),
            serial: Some("3127a2".into()),
            slot_id: Some(7),
            object: Some("x/y.test.-p.-ksk-1".into()),
            id: Some(vec![0, 255]),
            module_path: Some("/usr/lib/a.so".into()),
            module_name: None,
            pin_source: Some("/run/pin".into()),
        };
        assert_eq!(uri, expected);
        assert_eq!(
            uri.to_string(),
            "pkcs11:token=my%20ksk;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=3127a2;slot-id=7;\
             object=x%2Fy.test.-p.-ksk-1;id=%00%FF"
        );
        // As BIND's manual writes it, and as BIND makes a label of a URI with a query.
        for text in [
            "pkcs11:token=t;pin-source=/p;object=o",
            "PKCS11:token=t?pin-source=/p;object=o",
            "pkcs11:token=t;object=o;?pin-source=file:/p",
        ] {
            let uri = Pkcs11Uri::parse(text).expect(text);
            assert_eq!(uri.pin_source, Some("/p".into()), "{text}");
            assert_eq!(uri.object, Some("o".into()), "{text}");
        }
        assert_eq!(Pkcs11Uri::parse("pkcs11:"), Ok(Pkcs11Uri::default()));
    }

    #[test]
    fn what_is_refused() {
        for (text, expected) in [
            ("", UriError::Scheme),
            ("pkcs12:token=a", UriError::Scheme),
            ("pkcs1€:", UriError::Scheme),
            ("pkcs11:token=a;pin-value=1234", UriError::PinValue),
            ("pkcs11:token=a?pin-value=1234", UriError::PinValue),
            ("pkcs11:token", UriError::NoValue("token".into())),
            ("pkcs11:token=a%2", UriError::Encoding("token")),
            ("pkcs11:token=a%+1", UriError::Encoding("token")),
            ("pkcs11:token=a b", UriError::Encoding("token")),
            ("pkcs11:token=ä", UriError::Encoding("token")),
            ("pkcs11:token=%ff", UriError::Encoding("token")),
            ("pkcs11:object=a%00b", UriError::Encoding("object")),
            ("pkcs11:token=a;token=a", UriError::Twice("token")),
            ("pkcs11:type=private;type=private", UriError::Twice("type")),
            ("pkcs11:type=public", UriError::Type),
            ("pkcs11:slot-id=-1", UriError::SlotId),
            ("pkcs11:slot-id=99999999999999999999999", UriError::SlotId),
            ("pkcs11:slot-id=", UriError::SlotId),
            ("pkcs11:x-vendor=1", UriError::Unknown("x-vendor".into())),
            ("pkcs11:?module-path=a.so", UriError::ModulePath),
            ("pkcs11:?module-name=../a", UriError::ModuleName),
            ("pkcs11:?pin-source=|/bin/pin", UriError::PinSource),
            ("pkcs11:?pin-source=%7C/bin/pin", UriError::PinSource),
            ("pkcs11:?pin-source=file:pin", UriError::PinSource),
            ("pkcs11:?pin-source=file://host/pin", UriError::PinSource),
            ("pkcs11:?pin-source=", UriError::PinSource),
            ("pkcs11:?pin-source=pin", UriError::PinSource),
            ("pkcs11:;pin-source=./pin", UriError::PinSource),
            ("pkcs11:?pin-source=..%2Fpin", UriError::PinSource),
        ] {
            let error = Pkcs11Uri::parse(text).expect_err(text);
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("1234"), "{error}");
        }
        assert_eq!(Pkcs11Uri::parse(&"pkcs11:".repeat(1000)), Err(UriError::TooLong));
    }

    #[test]
    fn an_object_is_added_to_the_path() {
        for (uri, expected) in [
            ("pkcs11:", "pkcs11:object=o"),
            ("pkcs11:token=a", "pkcs11:token=a;object=o"),
            ("pkcs11:token=a;", "pkcs11:token=a;object=o"),
            ("pkcs11:token=a?pin-source=/p", "pkcs11:token=a;object=o?pin-source=/p"),
        ] {
            assert_eq!(with_object(uri, "o"), expected);
        }
        for (label, id, expected) in [
            (&b"a b"[..], None, "pkcs11:token=t;object=a%20b?pin-source=/p"),
            (b"a", Some(&[1, 255][..]), "pkcs11:token=t;object=a;id=%01%FF?pin-source=/p"),
            (b"\xff", Some(&[2]), "pkcs11:token=t;id=%02?pin-source=/p"),
            (b"", Some(&[2]), "pkcs11:token=t;id=%02?pin-source=/p"),
        ] {
            assert_eq!(with_key("pkcs11:token=t?pin-source=/p", label, id), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_or_is_refused(text in "(pkcs11:)?\\PC{0,60}") {
            let _ = Pkcs11Uri::parse(&text);
        }

        #[test]
        fn what_is_shown_reads_back(token in "[^\\x00]{0,20}", id in proptest::collection::vec(any::<u8>(), 0..20)) {
            let uri = Pkcs11Uri { token: Some(token), id: Some(id), ..Pkcs11Uri::default() };
            prop_assert_eq!(Pkcs11Uri::parse(&uri.to_string()), Ok(uri));
        }
    }
}
