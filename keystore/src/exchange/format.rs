//! Which form a file has, told from its content and never from its name; and one door to all of them.

use crate::check::CheckId;
use std::fmt;
use std::str::FromStr;

use super::bind::BindSyntaxError;
use super::{Ksr, UnverifiedSkr, bind, knot, xml};
use crate::dns::Name;

/// A form of KSR and SKR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// BIND's text.
    Bind,
    /// Knot DNS's text.
    Knot,
    /// The root zone's XML.
    Xml,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bind => "bind",
            Self::Knot => "knot",
            Self::Xml => "xml",
        })
    }
}

/// The text names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the formats are bind, knot and xml")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        [Self::Bind, Self::Knot, Self::Xml].into_iter().find(|f| f.to_string() == text).ok_or(UnknownFormat)
    }
}

/// The form of a file. What has none of the marks of the others is taken for BIND's, whose reader says what is wrong.
///
/// XML begins with `<`. Knot's headers have seconds since 1970, or the row of `=` behind the time. `dnssec-ksr` takes such seconds
/// in a KSR too; the reader for Knot's form reads that as well.
#[must_use]
pub fn detect(octets: &[u8]) -> Format {
    let start = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets).trim_ascii_start();
    if start.starts_with(b"<") {
        return Format::Xml;
    }
    match header(octets) {
        Some((_, time, rest)) if is_knot(time, rest) => Format::Knot,
        _ => Format::Bind,
    }
}

fn is_knot(time: &[u8], rest: &[u8]) -> bool {
    let seconds = time.len() == 10 && time.iter().all(u8::is_ascii_digit);
    let closing = time == b"generated" && rest.windows(12).any(|w| w == b" by Knot DNS");
    seconds || closing || rest.trim_ascii_end().ends_with(b"=========")
}

/// Word, time and the rest of the first header line of a text form.
fn header(octets: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let line = octets.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b";;"))?;
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        word
    };
    let (kind, _version, time) = (word(), word(), word());
    Some((kind, time, rest))
}

/// True when the file is a request, false when it is a response or reads as neither.
#[must_use]
pub fn is_request(octets: &[u8]) -> bool {
    match detect(octets) {
        Format::Xml => xml::parse_request(octets).is_ok() || names_request(octets),
        _ => header(octets).is_some_and(|(word, ..)| word == b"KeySigningRequest"),
    }
}

/// `<Request` comes before any `<Response`.
fn names_request(octets: &[u8]) -> bool {
    let find = |mark: &[u8]| octets.windows(mark.len()).position(|w| w == mark).unwrap_or(usize::MAX);
    find(b"<Request") < find(b"<Response")
}

/// The zone that a file is for: in text the owner of its first record, in XML what it says. `None` when it has none.
#[must_use]
pub fn zone_of(octets: &[u8]) -> Option<Name> {
    if detect(octets) == Format::Xml {
        let response = xml::parse_response(octets).map(|r| r.domain);
        return response.or_else(|_| xml::parse_request(octets).map(|r| r.domain)).ok();
    }
    let line = octets
        .split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii_end)
        .find(|line| !line.trim_ascii_start().is_empty() && !line.trim_ascii_start().starts_with(b";"))?;
    let owner = line.split(|b| matches!(b, b' ' | b'\t')).next().filter(|owner| !owner.is_empty())?;
    Name::parse_bytes(owner, None).ok()
}

/// Reads an SKR for `zone` in any form.
pub fn parse_skr(octets: &[u8], zone: &Name) -> Result<UnverifiedSkr, BindSyntaxError> {
    match detect(octets) {
        Format::Bind => bind::parse_skr(octets, zone),
        Format::Knot => knot::parse_skr(octets, zone),
        Format::Xml => {
            let response = xml::parse_response(octets)?;
            check_domain(CheckId::SkrWrongZone, &response.domain, zone)?;
            Ok(response.to_skr())
        }
    }
}

/// Reads a KSR for `zone` in any form. What XML says more ([`xml::convert::LOST_OF_REQUEST`]) is left out, unchecked.
pub fn parse_ksr(octets: &[u8], zone: &Name) -> Result<Ksr, BindSyntaxError> {
    match detect(octets) {
        Format::Bind => bind::parse_ksr(octets, zone),
        Format::Knot => knot::parse_ksr(octets, zone),
        Format::Xml => {
            let request = xml::parse_request(octets)?;
            check_domain(CheckId::KsrWrongZone, &request.domain, zone)?;
            Ok(request.to_ksr())
        }
    }
}

fn check_domain(id: CheckId, domain: &Name, zone: &Name) -> Result<(), BindSyntaxError> {
    if domain == zone {
        return Ok(());
    }
    Err(BindSyntaxError { id, line: 1, what: format!("it is for {domain}, where {zone} was expected") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::testing::SkrBuilder;
    use crate::time::Timestamp;

    const XML: &[u8] = include_bytes!("../../tests/fixtures/icann/skr-root-2017-q2-0.xml");
    const XML_KSR: &[u8] = include_bytes!("../../tests/fixtures/icann/ksr-root-2017-q2-0.xml");
    const KNOT: &[u8] = include_bytes!("../../tests/fixtures/knot/01-zsk-rollover.skr");
    const KNOT_KSR: &[u8] = include_bytes!("../../tests/fixtures/knot/01-zsk-rollover.ksr");
    const BIND: &[u8] = include_bytes!("../../tests/fixtures/knot/10-bind-9.20-response.skr");
    const BIND_KSR: &[u8] = include_bytes!("../../tests/fixtures/knot/10-bind-9.20-request.ksr");

    #[test]
    fn content_tells() {
        for (octets, format, request, zone) in [
            (XML, Format::Xml, false, "."),
            (XML_KSR, Format::Xml, true, "."),
            (KNOT, Format::Knot, false, "example.com"),
            (KNOT_KSR, Format::Knot, true, "example.com"),
            (BIND, Format::Bind, false, "example.com"),
            (BIND_KSR, Format::Bind, true, "example.com"),
        ] {
            let zone = Name::parse(zone).expect("a name");
            let other = Name::parse("example.net").expect("a name");
            assert_eq!((detect(octets), is_request(octets)), (format, request));
            assert_eq!(zone_of(octets).as_ref(), Some(&zone));
            let (ours, theirs) = match request {
                true => (parse_ksr(octets, &zone).map(drop), parse_ksr(octets, &other).map(drop)),
                false => (parse_skr(octets, &zone).map(drop), parse_skr(octets, &other).map(drop)),
            };
            assert_eq!(ours, Ok(()));
            assert!(theirs.expect_err("another zone").id.as_str().ends_with("-WRONG-ZONE"));
            let text = format!("\n \r\n{}", String::from_utf8_lossy(octets));
            assert_eq!(detect(text.as_bytes()), format);
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let skr = SkrBuilder::new("example.", Timestamp::from_secs(1_800_000_000)).build();
        let later = knot::print_skr(&skr, knot::Stamps::Digits14, Timestamp::EPOCH, "Knot DNS 3.6.0");
        assert_eq!(detect(later.as_bytes()), Format::Knot);
        for nothing in ["", "\n", "x", ";;", ";; SignedKeyResponse", ";; a b c d"] {
            assert_eq!((detect(nothing.as_bytes()), is_request(nothing.as_bytes())), (Format::Bind, false));
            assert!(parse_skr(nothing.as_bytes(), &Name::root()).is_err());
        }
        assert_eq!(detect(b"\xef\xbb\xbf<KSR"), Format::Xml);
        assert_eq!(zone_of(b"<KSR domain=\".\">"), None);
        assert!("pdf".parse::<Format>().is_err());
    }
}
