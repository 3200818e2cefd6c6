//! Files with the requests, or the responses, of several zones: text files of one zone each, one behind the other.
//!
//! ```text
//! ;; KeySigningRequest 1.0 20270101000000 (…)        ┐
//! a.example.  3600 IN DNSKEY …                       │ a section: by itself a file that BIND reads
//! ;; KeySigningRequest 1.0 generated at … by …       ┘
//! ;; KeySigningRequest 1.0 20270101000000 (…)        ┐
//! b.example.  3600 IN DNSKEY …                       │ the next one
//! ;; KeySigningRequest 1.0 generated at … by …       ┘
//! ```
//!
//! Only a closing line ends a section. For the readers of the text forms a line is a header when it starts with `;;`, also within
//! parentheses, so a cut by lines is a cut where they would see it. The owner of a record ends nothing: a section with records of two
//! zones has lost its closing line, and its reader refuses it whole rather than take what is left of the second one.

use std::collections::HashMap;

use super::bind::{MAX_LINE, MAX_OCTETS};
use super::format::{self, Format};
use crate::dns::Name;

/// Most sections in a file.
pub const MAX_ZONES: usize = 20_000;
/// Octets of a file for each zone beyond the first: half a year of weekly bundles with RSA keys of 2048 bits takes some 80 000.
const OCTETS_PER_ZONE: u64 = 128 << 10;
/// Octets of a file, whatever the number of zones: it is held in memory while it is split.
pub const MAX_FILE_OCTETS: u64 = 512 << 20;

/// Octets that a file for `zones` zones may have; each section is bound by [`MAX_OCTETS`] besides.
#[must_use]
pub fn max_octets(zones: usize) -> u64 {
    let more = u64::try_from(zones.saturating_sub(1)).unwrap_or(u64::MAX);
    more.saturating_mul(OCTETS_PER_ZONE).saturating_add(MAX_OCTETS as u64).min(MAX_FILE_OCTETS)
}

/// The part of a file that is of one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneSection<'a> {
    /// Its first line in the file, from 1.
    pub line: u32,
    /// Its octets, closing line included. All sections together are the file.
    pub octets: &'a [u8],
}

impl ZoneSection<'_> {
    /// The zone of its first record.
    #[must_use]
    pub fn zone(&self) -> Option<Name> {
        format::zone_of(self.octets)
    }
}

/// Why a file is not split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// More zones than [`MAX_ZONES`].
    #[error("more than {MAX_ZONES} zones in one file")]
    Zones,
    /// More lines than so many octets of SKR have.
    #[error("{0} lines, and these are too short on average for what such a file holds")]
    Lines(usize),
    /// A line that is longer than any reader takes.
    #[error("line {0}: more than {MAX_LINE} octets in a line")]
    Octets(usize),
}

/// Lines that any file may have, and octets that each line beyond these must have on average: a record of a key, a digest or a signature
/// takes more than twice that, on one line or on several. Each line costs time.
const LINES: usize = 65_536;
const OCTETS_PER_LINE: usize = 40;

/// Counts the lines, and sees whether one is far too long, which is quick.
fn check_lines(octets: &[u8]) -> Result<(), TooMany> {
    let ends = |chunk: &[u8]| usize::from(chunk.iter().map(|b| u8::from(*b == b'\n')).sum::<u8>());
    let is_text = !octets.trim_ascii_start().starts_with(b"<");
    let mut lines = 0;
    for stretch in octets.chunks(MAX_LINE) {
        let here: usize = stretch.chunks(255).map(ends).sum();
        // The readers of the text forms find all lines that are too long; this is for megabytes without an end.
        if here == 0 && stretch.len() == MAX_LINE && is_text {
            return Err(TooMany::Octets(lines + 1));
        }
        lines += here;
    }
    if lines > LINES + octets.len() / OCTETS_PER_LINE { Err(TooMany::Lines(lines)) } else { Ok(()) }
}

/// Cuts a file behind each closing line; in time linear to its length. What is no text, or has one closing line, is one section.
///
/// Blank lines and comments between two sections go to the second one, behind the last one to that.
pub fn split(octets: &[u8]) -> Result<Vec<ZoneSection<'_>>, TooMany> {
    check_lines(octets)?;
    let mut sections = Vec::new();
    let (mut start, mut first, mut number, mut at) = (0, 1, 1u32, 0);
    // Anything but blanks and comments since the last cut.
    let mut content = false;
    let text = format::detect(octets) != Format::Xml;
    while text && at < octets.len() {
        let end = octets[at..].iter().position(|b| *b == b'\n').map_or(octets.len(), |n| at + n + 1);
        let line = &octets[at..end];
        number = number.saturating_add(1);
        at = end;
        content |= line.starts_with(b";;") || !matches!(line.trim_ascii_start().first(), None | Some(b';'));
        if is_closing(line) {
            if sections.len() == MAX_ZONES {
                return Err(TooMany::Zones);
            }
            sections.push(ZoneSection { line: first, octets: &octets[start..end] });
            (start, first, content) = (end, number, false);
        }
    }
    match sections.last_mut() {
        Some(last) if !content => {
            let from = start - last.octets.len();
            last.octets = &octets[from..];
        }
        _ => sections.push(ZoneSection { line: first, octets: &octets[start..] }),
    }
    Ok(sections)
}

/// A section, and the zone that it names.
pub type OfZone<'a> = (Option<Name>, ZoneSection<'a>);

/// The sections when the file is of several zones; `None` when it is one section, or all name one zone: then it is for the reader
/// of a single file to say what is wrong with it.
pub fn split_zones(octets: &[u8]) -> Result<Option<Vec<OfZone<'_>>>, TooMany> {
    let sections: Vec<_> = split(octets)?.into_iter().map(|section| (section.zone(), section)).collect();
    let several = sections.iter().any(|(zone, _)| *zone != sections[0].0);
    Ok(several.then_some(sections))
}

/// How often each zone occurs. A zone that does so twice has no section that counts: which one was meant?
#[must_use]
pub fn count(sections: &[(Option<Name>, ZoneSection<'_>)]) -> HashMap<Name, usize> {
    let mut out = HashMap::new();
    for zone in sections.iter().filter_map(|(zone, _)| zone.as_ref()) {
        *out.entry(zone.to_lowercase()).or_insert(0) += 1;
    }
    out
}

/// `;; WORD 1.0 generated …`, as the readers of the text forms take it.
fn is_closing(line: &[u8]) -> bool {
    let Some(text) = line.strip_prefix(b";;") else { return false };
    let mut words = text.split(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).filter(|word| !word.is_empty());
    let kind = words.next();
    matches!(kind, Some(b"SignedKeyResponse" | b"KeySigningRequest"))
        && words.next() == Some(b"1.0")
        && words.next() == Some(b"generated")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::bind;
    use crate::exchange::testing::SkrBuilder;
    use crate::time::Timestamp;

    const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn skr(zone: &str) -> String {
        bind::print_skr(&SkrBuilder::new(zone, AT).build(), AT, "test")
    }

    fn zones(text: &str) -> Vec<Option<String>> {
        let sections = split(text.as_bytes()).expect("few");
        sections.iter().map(|s| s.zone().map(|zone| zone.to_string())).collect()
    }

    #[test]
    fn each_section_is_a_file_of_its_own() {
        let names = ["a.example.", "b.example.", "c.example."];
        let files = names.map(skr);
        let all = files.concat();
        let sections = split(all.as_bytes()).expect("few");
        assert_eq!(sections.len(), 3);
        for ((section, name), file) in sections.iter().zip(names).zip(&files) {
            assert_eq!(section.octets, file.as_bytes());
            let zone = Name::parse(name).expect("a name");
            assert_eq!(section.zone(), Some(zone.clone()));
            assert!(bind::parse_skr(section.octets, &zone).is_ok());
            let line = usize::try_from(section.line).expect("small");
            assert_eq!(all.lines().nth(line - 1), file.lines().next());
        }
    }

    #[test]
    fn what_ends_a_section_and_what_does_not() {
        let (a, b) = (skr("a."), skr("b."));
        let closing = ";; SignedKeyResponse 1.0 generated at now by x";
        let whole = |text: &str| {
            let sections = split(text.as_bytes()).expect("few");
            assert_eq!(sections.iter().map(|s| s.octets.len()).sum::<usize>(), text.len(), "{text}");
            sections.len()
        };
        assert_eq!(whole(""), 1);
        assert_eq!(whole(&a), 1);
        assert_eq!(whole(&format!("{a}\n; the end\n \n")), 1, "blanks and comments behind it");
        assert_eq!(whole(&format!("{a}\n; b\n\n{b}")), 2, "and between");
        assert_eq!(whole(&format!("{a}a. 1 IN DNSKEY")), 2, "but records are content");
        assert_eq!(whole(&a.replace('\n', "\r\n")), 1);
        assert_eq!(
            whole(&format!("; {closing}\n {closing}\nx \"{closing}\n{a}")),
            1,
            "not in the first column"
        );
        assert_eq!(whole("<KSR>\n;; SignedKeyResponse 1.0 generated\n</KSR>\n"), 1, "XML is one zone");
        let open = a.trim_end().rsplit_once('\n').expect("lines").0;
        assert_eq!(
            zones(&format!("{open}\n{b}")),
            [Some("a.".to_owned())],
            "a lost closing line takes the next"
        );
        assert_eq!(zones(&format!("{b}{open}\n")), [Some("b.".to_owned()), Some("a.".to_owned())]);
        assert!(split_zones(format!("{a}{a}").as_bytes()).expect("few").is_none());
        let twice = format!("{a}{b}{}", a.replace("a.\t", "A.\t"));
        let sections = split_zones(twice.as_bytes()).expect("few").expect("two zones");
        assert_eq!(count(&sections)[&Name::parse("a.").expect("a name")], 2);
        let many = format!("{closing}\n").repeat(MAX_ZONES + 1);
        assert_eq!(split(many.as_bytes()), Err(TooMany::Zones));
        let short = "x\n".repeat(LINES + 4000);
        assert_eq!(split(short.as_bytes()), Err(TooMany::Lines(LINES + 4000)));
        let long = format!("\n\n{}", "x".repeat(2 * MAX_LINE));
        assert_eq!(split(long.as_bytes()), Err(TooMany::Octets(3)));
        let enough = format!("{}\n", "x".repeat(39)).repeat(100_000);
        assert_eq!(split(enough.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn sizes() {
        assert_eq!(max_octets(0), MAX_OCTETS as u64);
        assert_eq!(max_octets(1), MAX_OCTETS as u64);
        assert_eq!(max_octets(101), MAX_OCTETS as u64 + 100 * OCTETS_PER_ZONE);
        assert_eq!(max_octets(usize::MAX), MAX_FILE_OCTETS);
    }

    proptest! {
        /// A cut loses nothing, and each section is cut no further: whatever the lines are.
        #[test]
        fn sections_are_the_file(lines in proptest::collection::vec(prop_oneof![
            Just(";; SignedKeyResponse 1.0 generated x"), Just(";;KeySigningRequest\t1.0 generated"), Just(";; x"), Just("; x"),
            Just(""), Just("a. IN ("), Just(") \"q"), Just("\r"), Just("<x")], 0..12), last in any::<bool>()) {
            let text = lines.join("\n") + if last { "\n" } else { "" };
            let sections = split(text.as_bytes()).expect("few");
            let parts: Vec<&[u8]> = sections.iter().map(|s| s.octets).collect();
            prop_assert_eq!(parts.concat(), text.as_bytes());
            for section in sections {
                let again = split(section.octets).expect("few");
                prop_assert_eq!(again.len(), 1);
            }
        }
    }
}
