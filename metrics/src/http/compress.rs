//! Compresses large answers for clients that say that they read gzip (RFC 9110 section 12.5.3), as Prometheus does.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{HttpRequest, Page};

/// Smaller bodies fit into a packet or two as they are.
const SMALL: usize = 1400;
/// Media types that are compressed; a calendar is not, since some readers do not expect it.
const TYPES: [&str; 3] = ["text/plain", "text/html", "application/json"];

/// The page, compressed where that is worth it and the client takes it.
pub(super) fn for_client(mut page: Page, request: &HttpRequest<'_>) -> Page {
    let of_type = TYPES.iter().any(|media_type| page.media_type.starts_with(media_type));
    if page.body.len() < SMALL || !of_type {
        return page;
    }
    page.fields.push(("Vary", "Accept-Encoding".to_owned()));
    if request.field("accept-encoding").is_some_and(takes_gzip)
        && let Ok(body) = gzip(&page.body)
    {
        page.fields.push(("Content-Encoding", "gzip".to_owned()));
        page.body = body;
    }
    page
}

/// Whether a list of codings has gzip with another weight than 0.
fn takes_gzip(codings: &str) -> bool {
    codings.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            part.strip_prefix("q=")
                .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight == 0.0))
        });
        (name.eq_ignore_ascii_case("gzip") || name == "*") && !refused
    })
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    // The fastest level: a scrape repeats itself so much that the others gain little.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn gzip_is_taken_when_it_is_named_and_not_refused() {
        for (codings, taken) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip;q=0.0, br", false),
            ("br, deflate", false),
            ("xgzip", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(codings), taken, "{codings:?}");
        }
    }

    #[test]
    fn a_compressed_body_reads_back() {
        let body = "offlineksk_zone_signed{zone=\"example.\"} 1\n".repeat(1000);
        let packed = gzip(body.as_bytes()).expect("memory takes everything");
        assert!(packed.len() * 20 < body.len(), "{}", packed.len());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
        assert_eq!(text, body);
    }

    #[test]
    fn small_answers_and_calendars_stay_as_they_are() {
        let large = vec![b'x'; SMALL];
        for (media_type, body) in [("text/plain", &large[1..]), ("text/calendar; charset=utf-8", &large[..])]
        {
            let page = Page::new("200 OK", media_type, body);
            let request = HttpRequest::get("/", "");
            assert_eq!(for_client(page.clone(), &request), page, "{media_type}");
        }
        let page = for_client(Page::new("200 OK", "text/plain", large.clone()), &HttpRequest::get("/", ""));
        assert_eq!(
            (page.body, page.fields.len()),
            (large, 1),
            "no client that asks for it; Vary all the same"
        );
    }
}
