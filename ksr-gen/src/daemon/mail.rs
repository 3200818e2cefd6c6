//! The mail that lies beside a request: RFC 5322, the request attached, ready for `sendmail -t`.

use std::fmt::Write as _;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use keystore::config::{KsrConfig, ZoneConfig};
use keystore::exchange::TrustAnchor;
use keystore::exchange::bind;
use keystore::store::digest;
use keystore::time::Timestamp;

use super::OpenRequest;
use super::notice::Urgency;
use crate::pgp_words;

/// Characters of a zone name that a subject shows; a name can have a thousand, and a line no more than that.
const SUBJECT_NAME: usize = 200;
/// Base64 characters a line (RFC 2045 section 6.8).
const BASE64_LINE: usize = 76;

/// What a mail speaks of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub zone: &'a ZoneConfig,
    pub ksr: &'a KsrConfig,
    pub state_dir: &'a Path,
    pub request: &'a OpenRequest,
    /// The octets of the request.
    pub octets: &'a [u8],
    pub urgency: Urgency,
    pub coverage_end: Option<Timestamp>,
    /// When the answer should be there; `None` = whenever the zone shall have its first signatures.
    pub answer_by: Option<Timestamp>,
    pub now: Timestamp,
}

/// The whole mail, lines ended by LF as `sendmail` takes them.
pub(super) fn compose(subject: Subject<'_>) -> String {
    let Subject { zone, ksr, request, octets, urgency, answer_by, now, .. } = subject;
    let sha256 = digest(octets);
    let hex = HEXLOWER.encode(&sha256);
    let name = zone.name.to_string();
    let short: String = name.chars().take(SUBJECT_NAME).collect();
    let dots = if short.len() < name.len() { "..." } else { "" };
    let boundary = format!("=_offline-ksk_{}", &hex[..32]);
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(line);
        text.push('\n');
    };
    line(format_args!("From: {}", ksr.mail_from));
    if !ksr.mail_to.is_empty() {
        line(format_args!("To: {}", ksr.mail_to.join(",\n ")));
    }
    line(format_args!("Date: {}", date(now)));
    let what = match answer_by {
        Some(time) => format!("needs an SKR by {}", &time.iso()[..10]),
        None => "asks for its first SKR".to_owned(),
    };
    line(format_args!("Subject: {}: {short}{dots} {what}", urgency.word().to_ascii_uppercase()));
    line(format_args!("Auto-Submitted: auto-generated"));
    line(format_args!("X-Offline-KSK-Urgency: {}", urgency.word()));
    line(format_args!("X-Offline-KSK-SHA256: {hex}"));
    line(format_args!("MIME-Version: 1.0"));
    line(format_args!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\n"));
    line(format_args!(
        "--{boundary}\nContent-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: 7bit\n"
    ));
    line(format_args!("{}", body(subject, &sha256)));
    let file = file_name(&request.path);
    line(format_args!("--{boundary}\nContent-Type: application/octet-stream; name=\"{file}\""));
    line(format_args!("Content-Disposition: attachment; filename=\"{file}\""));
    line(format_args!("Content-Transfer-Encoding: base64\n"));
    for row in BASE64.encode(octets).as_bytes().chunks(BASE64_LINE) {
        line(format_args!("{}", String::from_utf8_lossy(row)));
    }
    line(format_args!("--{boundary}--"));
    text
}

/// What to do until when, and what the answer must be.
fn body(subject: Subject<'_>, sha256: &[u8; 32]) -> String {
    let Subject { zone, request, octets, urgency, coverage_end, answer_by, now, .. } = subject;
    let name = zone.name.to_string();
    let (policy, zone_word) = (shell_word(&zone.policy.name), shell_word(&name));
    let file = file_name(&request.path);
    let skr = format!("{}.skr", file.trim_end_matches(".ksr"));
    let mut out = String::new();
    let _ = match coverage_end {
        None => {
            writeln!(out, "The zone {name} has no signatures of its KSK yet, and asks for the first ones.\n")
        }
        Some(end) if end <= now => writeln!(
            out,
            "THE SIGNATURES OF THE KSK OF {name} HAVE ENDED at {}.\nWhoever validates does not reach the zone. Answer this request at once.\n",
            end.iso()
        ),
        Some(end) => {
            let hint = match urgency {
                Urgency::Notice => "There is time for a planned ceremony.",
                Urgency::Reminder => "Fix the date of the ceremony, if that was not done yet.",
                Urgency::Warning => "Hold the ceremony now: there is just time left to repeat it.",
                Urgency::Critical => "Hold the ceremony today.",
            };
            writeln!(
                out,
                "The zone {name} asks for new signatures of its KSK. Those it has end in {},\nat {}; then whoever validates does not reach the zone any more.\n{hint}\n",
                days(end.since(now)),
                end.iso()
            )
        }
    };
    let mut row = |what: &str, value: &str| {
        let _ = writeln!(out, "  {what:<12} {value}");
    };
    row("zone", &name);
    row("request", &format!("{file} (attached, {} octets)", octets.len()));
    row("SHA-256", &HEXLOWER.encode(sha256));
    let words: Vec<&str> = pgp_words::words(sha256).collect();
    for (n, some) in words.chunks(8).enumerate() {
        row(if n == 0 { "in words" } else { "" }, &some.join(" "));
    }
    row("asks for", &format!("{} until {}", request.start.iso(), request.end.iso()));
    row("written", &request.written.iso());
    if let Some(time) = answer_by {
        row("answer by", &time.iso());
    }
    if let Ok(ksr) = bind::parse_ksr(octets, &zone.name) {
        row("bundles", &ksr.bundles.len().to_string());
        let mut keys: Vec<_> = Vec::new();
        for key in ksr.bundles.iter().flat_map(|bundle| &bundle.keys) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        for (n, key) in keys.into_iter().enumerate() {
            row(if n == 0 { "ZSKs" } else { "" }, &format!("{} {}", key.tag(), key.algorithm));
        }
    }
    for (n, anchor) in zone.anchors.iter().enumerate() {
        let tag = match anchor {
            TrustAnchor::Dnskey(key) => key.tag(),
            TrustAnchor::Ds(ds) => ds.first_chunk().map_or(0, |tag| u16::from_be_bytes(*tag)),
        };
        row(if n == 0 { "pinned KSKs" } else { "" }, &tag.to_string());
    }
    let _ = write!(
        out,
        "
What to do:

  1. Compare the SHA-256 of the file that arrived with the one above, as told over
     another way than this mail.
  2. Look at it, on the machine with the KSK:
       ksr-gen -k {policy} -l POLICY-FILE -K KSK-FOLDER -e {end} check {file}
  3. Sign it:
       ksr-gen -k {policy} -l POLICY-FILE -K KSK-FOLDER -e {end} -f {file} -O {skr} sign {zone_word}
  4. Bring {skr} to the host that asks; write it beside the inbox, and
     rename it into the inbox:
       {inbox}

What the ceremony must produce: an SKR (Signed Key Response) of {name}

  - signed by a pinned KSK in every bundle, without a second that no bundle covers;
  - {begins};
  - that lasts until {until} at least;
  - with the ZSKs that this request names, bundle by bundle, none less and none more.

The loader refuses anything else, and says why in a file beside it in rejected/.
",
        end = request.end,
        inbox = subject.state_dir.join("inbox").display().to_string().escape_default(),
        begins = match coverage_end.filter(|end| *end > now) {
            Some(end) => format!("that begins at {} (at {} at the latest)", request.start.iso(), end.iso()),
            None => format!("that begins at {}", request.start.iso()),
        },
        until = request.end.iso(),
    );
    out
}

/// A word as a shell takes it for itself, in ASCII: people paste these lines.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // Within quotes all but the quote stands for itself.
    let ascii: String =
        word.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    format!("'{}'", ascii.replace('\'', "'\\''"))
}

/// The name of the request; that of another hand may be anything that reads as a time.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().escape_default().to_string()
}

fn days(seconds: u64) -> String {
    match seconds / 86_400 {
        0 => format!("{} hours", seconds / 3600),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// RFC 5322 section 3.3, from `Tue Nov 24 06:55:51 2026`.
fn date(time: Timestamp) -> String {
    let text = time.ctime();
    match text.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        [weekday, month, day, clock, year] => format!("{weekday}, {day} {month} {year} {clock} +0000"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_safe_to_paste() {
        for (word, quoted) in [
            ("example.org.", "example.org."),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(rm).", "'$(rm).'"),
            ("it's", r"'it'\''s'"),
            ("b\n\u{fc}", "'b??'"),
        ] {
            assert_eq!(shell_word(word), quoted);
        }
    }

    #[test]
    fn dates_are_those_of_mail() {
        let time = Timestamp::parse_stamp("20261124065551").expect("a time");
        assert_eq!(date(time), "Tue, 24 Nov 2026 06:55:51 +0000");
    }
}
