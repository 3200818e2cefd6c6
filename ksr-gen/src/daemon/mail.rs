//! The mail that lies beside a request: RFC 5322, the request attached, ready for `sendmail -t`.

use std::fmt::Write as _;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use keystore::config::{KsrConfig, ZoneConfig};
use keystore::exchange::bind;
use keystore::outbox::OpenRequest;
use keystore::store::digest;
use keystore::time::Timestamp;

use super::urgency::Urgency;
use keystore::pgp_words;

/// Characters of a zone name that a subject shows; a name can have a thousand, and a line no more than that.
const SUBJECT_NAME: usize = 200;
/// The SKR of the ceremony before, as the commands of a mail name it: only the KSK side knows where it keeps that file.
const PREVIOUS: &str = "PREVIOUS.skr";
/// Base64 characters a line (RFC 2045 section 6.8).
const BASE64_LINE: usize = 76;

/// What a mail is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct MailSubject<'a> {
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
pub(super) fn compose(subject: MailSubject<'_>) -> String {
    let sha256 = digest(subject.octets);
    let hex = HEXLOWER.encode(&sha256);
    let boundary = format!("=_offline-ksk_{}", &hex[..32]);
    let file = file_name(&subject.request.path);
    let mut text = String::new();
    put_header(&mut text, subject, &hex);
    let _ = writeln!(text, "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n");
    let _ = writeln!(text, "--{boundary}\nContent-Type: text/plain; charset=us-ascii");
    let _ = writeln!(text, "Content-Transfer-Encoding: 7bit\n");
    put_situation(&mut text, subject);
    put_facts(&mut text, subject, &sha256);
    put_instructions(&mut text, subject);
    let _ = writeln!(text, "\n--{boundary}\nContent-Type: application/octet-stream; name=\"{file}\"");
    let _ = writeln!(text, "Content-Disposition: attachment; filename=\"{file}\"");
    let _ = writeln!(text, "Content-Transfer-Encoding: base64\n");
    for row in BASE64.encode(subject.octets).as_bytes().chunks(BASE64_LINE) {
        let _ = writeln!(text, "{}", String::from_utf8_lossy(row));
    }
    let _ = writeln!(text, "--{boundary}--");
    text
}

/// Sender, receivers, date and subject (RFC 5322), and what mail filters look at.
fn put_header(out: &mut String, subject: MailSubject<'_>, sha256: &str) {
    let MailSubject { zone, ksr, urgency, answer_by, now, .. } = subject;
    let name = zone.name.to_string();
    let short: String = name.chars().take(SUBJECT_NAME).collect();
    let dots = if short.len() < name.len() { "..." } else { "" };
    let what = match answer_by {
        Some(time) => format!("needs an SKR by {}", &time.iso()[..10]),
        None => "asks for its first SKR".to_owned(),
    };
    let _ = writeln!(out, "From: {}", ksr.mail_from);
    if !ksr.mail_to.is_empty() {
        let _ = writeln!(out, "To: {}", ksr.mail_to.join(",\n "));
    }
    let _ = writeln!(out, "Date: {}", date(now));
    let _ = writeln!(out, "Subject: {}: {short}{dots} {what}", urgency.word().to_ascii_uppercase());
    let _ = writeln!(out, "Auto-Submitted: auto-generated");
    let _ = writeln!(out, "X-Offline-KSK-Urgency: {}", urgency.word());
    let _ = writeln!(out, "X-Offline-KSK-SHA256: {sha256}");
}

/// Why the zone asks, and how long it can wait.
fn put_situation(out: &mut String, subject: MailSubject<'_>) {
    let MailSubject { zone, urgency, coverage_end, now, .. } = subject;
    let name = &zone.name;
    let Some(end) = coverage_end else {
        let _ =
            writeln!(out, "The zone {name} has no signatures of its KSK yet, and asks for the first ones.\n");
        return;
    };
    if end <= now {
        let _ = writeln!(out, "THE SIGNATURES OF THE KSK OF {name} HAVE ENDED at {}.", end.iso());
        let _ = writeln!(out, "Whoever validates does not reach the zone. Answer this request at once.\n");
        return;
    }
    let hint = match urgency {
        Urgency::Notice => "There is time for a planned ceremony.",
        Urgency::Reminder => "Fix the date of the ceremony, if that was not done yet.",
        Urgency::Warning => "Hold the ceremony now: there is just time left to repeat it.",
        Urgency::Critical => "Hold the ceremony today.",
    };
    let _ = writeln!(
        out,
        "The zone {name} asks for new signatures of its KSK. Those it has end in {},\nat {}; then whoever validates does not reach the zone any more.\n{hint}\n",
        days(end.since(now)),
        end.iso()
    );
}

/// What the request is: its digest to compare, its time, its keys.
fn put_facts(out: &mut String, subject: MailSubject<'_>, sha256: &[u8; 32]) {
    let MailSubject { zone, request, octets, answer_by, .. } = subject;
    let mut row = |what: &str, value: &str| {
        let _ = writeln!(out, "  {what:<12} {value}");
    };
    row("zone", &zone.name.to_string());
    row("request", &format!("{} (attached, {} octets)", file_name(&request.path), octets.len()));
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
        row(if n == 0 { "pinned KSKs" } else { "" }, &anchor.tag().to_string());
    }
}

/// The steps of the ceremony with their commands, and what the answer must be.
fn put_instructions(out: &mut String, subject: MailSubject<'_>) {
    let MailSubject { zone, request, coverage_end, now, .. } = subject;
    let name = zone.name.to_string();
    let file = file_name(&request.path);
    let skr = format!("{}.skr", file.trim_end_matches(".ksr"));
    // An SKR was accepted before, and so the request has one to follow; without it check and sign cannot tell whether it does.
    let (previous, note) = match coverage_end {
        None => (String::new(), String::new()),
        Some(end) => {
            let follows =
                format!("\n     {PREVIOUS} is the SKR of the ceremony before, which this request follows.");
            // Nothing covers the time between, and check and sign would refuse the request for that alone.
            let late = if end < request.start { " --allow-broken-chain" } else { "" };
            (format!(" --previous {PREVIOUS}{late}"), follows)
        }
    };
    let options = format!(
        "-k {} -l POLICY-FILE -K KSK-FOLDER -e {}{previous}",
        shell_word(&zone.policy.name),
        request.end
    );
    let inbox = subject.state_dir.join("inbox").display().to_string().escape_default().to_string();
    let begins = match coverage_end.filter(|end| *end > now) {
        Some(end) => format!("that begins at {} (at {} at the latest)", request.start.iso(), end.iso()),
        None => format!("that begins at {}", request.start.iso()),
    };
    let _ = write!(
        out,
        "
What to do:

  1. Compare the SHA-256 of the file that arrived with the one above, as told over
     another way than this mail.
  2. Look at it, on the machine with the KSK:
       ksr-gen {options} check {file}{note}
  3. Sign it:
       ksr-gen {options} -f {file} -O {skr} sign {zone_word}
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
        zone_word = shell_word(&name),
        until = request.end.iso(),
    );
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
