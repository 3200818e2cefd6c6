//! What `allow-transfer` and `primaries` say of transfers over TLS (RFC 9103): who the other side must be, and who we are to it.

use std::fmt;
use std::path::PathBuf;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};

/// The name of DNS over TLS in ALPN (RFC 7301), which transfers must have chosen (RFC 9103 section 7.1).
pub const ALPN_DOT: &[u8] = b"dot";

/// SHA-256 of a public key as certificates have it (SubjectPublicKeyInfo in DER), which is known by it whoever has signed its certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPin([u8; 32]);

impl KeyPin {
    /// That of a public key.
    #[must_use]
    pub fn of_key_info(key_info: &[u8]) -> Self {
        let mut pin = Self([0; 32]);
        pin.0.copy_from_slice(digest(&SHA256, key_info).as_ref());
        pin
    }

    /// Reads the form of `pin-sha256`: 32 octets in Base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(BASE64.decode(text.as_bytes()).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry of `allow-transfer` wants of a client beside TLS: `tls = true` wants nothing, a table wants all that it says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// `pin-sha256`: the certificate of the client has one of these keys; empty = any.
    pub pins: Vec<KeyPin>,
    /// `client-ca-file`: its certificate is of one of the authorities in this file; `None` = of any.
    pub authority: Option<PathBuf>,
    /// `name`: its certificate has this DNS name; `None` = any. There is none without an authority.
    pub name: Option<String>,
}

impl ClientTls {
    /// True when a client must show a certificate.
    #[must_use]
    pub const fn needs_certificate(&self) -> bool {
        !self.pins.is_empty() || self.authority.is_some()
    }
}

/// `tls` in an entry of `primaries`: the primary is asked over TLS, and must be the one that this says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PrimaryTls {
    /// `name`: the DNS name that the certificate of the primary must have, which is sent to it too; `None` = its IP address must stand in the
    /// certificate, where that is checked against an authority.
    pub name: Option<String>,
    /// `ca-file`: its certificate must be of one of the authorities in this file; `None` = of any, and `pins` has some.
    pub authority: Option<PathBuf>,
    /// `pin-sha256`: its certificate must have one of these keys; empty = any, and `authority` is there.
    pub pins: Vec<KeyPin>,
    /// `certificate` and `key-file`: what we show to the primary; `None` = nothing.
    pub own: Option<OwnCertificate>,
}

/// A certificate that this server shows to others, and its private key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnCertificate {
    /// `certificate`: the certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// `key-file`: its private key.
    pub key: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_32_octets_in_base64_and_prints_as_it_reads() {
        let text = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let pin = KeyPin::parse(text).expect("a pin");
        assert_eq!((pin.to_string(), pin), (text.to_owned(), KeyPin::of_key_info(b"")));
        for wrong in [
            "",
            "47DEQpj8HBSa",
            &text[..43],
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            assert_eq!(KeyPin::parse(wrong), None, "{wrong}");
        }
    }
}
