//! The file of `[metrics] web-config`: TLS, passwords, header fields and a rate limit, in the form that the exporters of Prometheus read
//! (exporter-toolkit, `docs/web-configuration.md`), so that one file serves all of them. What would protect less than it says is an error.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use keystore::open::{self, Links};
use keystore::policy::{PolicyFinding, PolicySeverity};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

/// Largest file that is read, in octets: as large as a chain of certificates beside keys may be.
const MAX_OCTETS: u64 = 1 << 20;
/// Cost of bcrypt from which a verification takes more than a second.
const SLOW_COST: u32 = 14;
/// Cost of bcrypt beyond which a verification takes longer than a client waits.
const MAX_COST: u32 = 16;

/// The file, checked. Files that it names are not read yet.
#[derive(Default)]
pub struct WebConfig {
    /// `tls_server_config`; `None` = no TLS.
    pub tls: Option<TlsSettings>,
    /// `basic_auth_users`: user and bcrypt hash.
    pub users: BTreeMap<String, String>,
    /// Header fields of every answer (`http_server_config.headers`).
    pub headers: Vec<(&'static str, String)>,
    /// How many requests are let in (`rate_limit`).
    pub rate_limit: Option<RateLimit>,
}

/// PEM text, and where it is from.
pub enum Pem {
    /// A file; a relative name is meant from the folder of the web-config.
    File(PathBuf),
    /// The text itself.
    Inline(String),
}

/// Settings of `tls_server_config`.
pub struct TlsSettings {
    /// `cert_file` or `cert`: the certificate and those that lead to its authority.
    pub certificate: Pem,
    /// `key_file` or `key`.
    pub key: Pem,
    /// `client_ca_file` or `client_ca`, and whether a client must have a certificate of it.
    pub clients: Option<(Pem, ClientCertificate)>,
    /// `client_allowed_sans`: a client's certificate has one of these alternative names; empty = any.
    pub allowed_names: Vec<String>,
    /// `min_version` TLS13: TLS 1.2 is refused.
    pub only_tls13: bool,
    /// `max_version` TLS12: TLS 1.3 is not offered.
    pub only_tls12: bool,
    /// `cipher_suites` of TLS 1.2; empty = all.
    pub cipher_suites: Vec<String>,
    /// `curve_preferences`; empty = all.
    pub curves: Vec<String>,
    /// `prefer_server_cipher_suites`: the order of the server counts.
    pub prefer_server_order: bool,
    /// The line of the section.
    pub line: u32,
}

/// `client_auth_type`, where certificates of clients are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// `RequireAndVerifyClientCert`.
    Required,
    /// `VerifyClientCertIfGiven`.
    Optional,
}

/// `rate_limit`: one request each `interval`, and `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Time after which one more request is let in.
    pub interval: Duration,
    /// Requests that are let in at once.
    pub burst: u32,
}

impl WebConfig {
    /// True when the file itself has hashes of passwords, or a private key.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        !self.users.is_empty() || self.tls.as_ref().is_some_and(|tls| matches!(tls.key, Pem::Inline(_)))
    }

    /// True when not everybody who reaches the endpoint can read it.
    #[must_use]
    pub fn asks_who(&self) -> bool {
        let certificates = self.tls.as_ref().and_then(|tls| tls.clients.as_ref());
        !self.users.is_empty() || matches!(certificates, Some((_, ClientCertificate::Required)))
    }
}

/// Findings while a file is read.
pub struct WebConfigFindings {
    path: PathBuf,
    /// What was found, in the order in which it was found.
    pub findings: Vec<PolicyFinding>,
}

impl WebConfigFindings {
    /// None yet of the file at `path`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), findings: Vec::new() }
    }

    /// Notes what cannot work.
    pub fn error(&mut self, line: u32, what: impl Into<String>) {
        self.add(PolicySeverity::Error, line, what.into());
    }

    /// Notes what works, and hardly as it was meant.
    pub fn warning(&mut self, line: u32, what: impl Into<String>) {
        self.add(PolicySeverity::Warning, line, what.into());
    }

    /// True when nothing keeps the file from being used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == PolicySeverity::Warning)
    }

    fn add(&mut self, severity: PolicySeverity, line: u32, what: String) {
        self.findings.push(PolicyFinding { severity, path: self.path.clone(), line, what });
    }
}

/// Reads a file that the operator has named, and that nobody else may write; gives its octets, and whether everybody can read it.
pub fn read_file(path: &Path) -> std::io::Result<(Vec<u8>, bool)> {
    let (file, metadata) = open::for_reading(path, Links::Follow)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o002 != 0 {
        return Err(std::io::Error::other(format!(
            "it has mode {mode:04o}: everybody can write it; set it to 0640"
        )));
    }
    let mut octets = Vec::new();
    file.take(MAX_OCTETS + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MAX_OCTETS {
        return Err(std::io::Error::other(format!("it has more than {MAX_OCTETS} octets")));
    }
    Ok((octets, mode & 0o004 != 0))
}

/// Reads the text of the file at `path`; `None` where it is no YAML of this form, which `notes` then says.
pub fn parse(octets: &[u8], path: &Path, notes: &mut WebConfigFindings) -> Option<WebConfig> {
    let file: Option<File> = match serde_saphyr::from_slice(octets) {
        Ok(file) => file,
        // A file of comments has no document.
        Err(error) if error.location().is_none() && is_blank(octets) => None,
        Err(error) => {
            let line = error.location().map_or(1, |location| line(&location));
            notes.error(line, described(&error));
            return None;
        }
    };
    let file = file.unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    let config = WebConfig {
        tls: file.tls_server_config.and_then(|section| tls(section, folder, notes)),
        users: users(file.basic_auth_users.unwrap_or_default(), notes),
        headers: file.http_server_config.map(|section| headers(section, notes)).unwrap_or_default(),
        rate_limit: file.rate_limit.and_then(|section| rate_limit(&section, notes)),
    };
    if config.tls.is_none() && config.users.is_empty() && notes.is_usable() {
        notes.warning(1, "protects nothing: it has neither tls_server_config nor basic_auth_users");
    } else if config.tls.is_none() && !config.users.is_empty() {
        notes.warning(1, "has passwords and no tls_server_config: they cross the network as they are");
    }
    Some(config)
}

fn is_blank(octets: &[u8]) -> bool {
    octets
        .split(|octet| *octet == b'\n')
        .map(<[u8]>::trim_ascii)
        .all(|line| line.is_empty() || line.starts_with(b"#") || line == b"---")
}

fn line(location: &Location) -> u32 {
    u32::try_from(location.line()).unwrap_or(u32::MAX).max(1)
}

/// What is wrong, without the place and without the text of the file, which may hold secrets.
fn described(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    // Behind the comma the crate names options of its own.
    let text = text.split_once(", set DuplicateKeyPolicy").map_or(text, |(before, _)| before);
    let text = text.split_once(" at line ").map_or(text, |(before, _)| before);
    let place = |word: &str| word.strip_prefix("line ")?.chars().next()?.is_ascii_digit().then_some(());
    match text.split_once(": ") {
        Some((first, rest)) if place(first.trim_start_matches("error: ")).is_some() => rest.to_owned(),
        _ => text.to_owned(),
    }
}

// --- the form of the file -------------------------------------------------------------------------------------------

type Text = Spanned<String>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<Spanned<TlsSection>>,
    http_server_config: Option<HttpSection>,
    basic_auth_users: Option<BTreeMap<String, Text>>,
    rate_limit: Option<RateSection>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsSection {
    cert_file: Option<Text>,
    key_file: Option<Text>,
    cert: Option<Text>,
    key: Option<Text>,
    client_ca_file: Option<Text>,
    client_ca: Option<Text>,
    client_auth_type: Option<Text>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<Text>,
    max_version: Option<Text>,
    cipher_suites: Option<Vec<Text>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<Text>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSection {
    /// Taken and without effect: HTTP/1.1 is spoken.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateSection {
    interval: Text,
    #[serde(default)]
    burst: u32,
}

// --- sections -------------------------------------------------------------------------------------------------------

fn tls(section: Spanned<TlsSection>, folder: &Path, notes: &mut WebConfigFindings) -> Option<TlsSettings> {
    let (at, section) = (line(&section.referenced), section.value);
    let is_empty =
        [&section.cert_file, &section.key_file, &section.cert, &section.key, &section.client_auth_type]
            .iter()
            .all(|text| text.is_none());
    if is_empty {
        return None;
    }
    let clients = clients(&section, at, folder, notes);
    let mut pem = |file: Option<Text>, inline: Option<Text>, name: &str, other: &str| match (file, inline) {
        (Some(_), Some(text)) => {
            notes.error(
                line(&text.referenced),
                format!("has both {name}_file and {name}; only one of them counts"),
            );
            None
        }
        (Some(file), None) => Some(Pem::File(folder.join(file.value))),
        (None, Some(text)) => Some(Pem::Inline(text.value)),
        (None, None) => {
            notes.error(at, format!("tls_server_config has {other}_file or {other}, and no {name}_file"));
            None
        }
    };
    let certificate = pem(section.cert_file, section.cert, "cert", "key");
    let key = pem(section.key_file, section.key, "key", "cert");
    let mut version = |text: Option<Text>, lowest: bool| match text.as_ref().map(|text| text.value.as_str()) {
        None | Some("") => None,
        Some("TLS13") => Some(13),
        Some("TLS12") => Some(12),
        // Asks for less than what is spoken here.
        Some("TLS11" | "TLS10") if lowest => Some(12),
        Some(other) => {
            let at = text.as_ref().map_or(at, |text| line(&text.referenced));
            notes.error(at, format!("{other} is not spoken; write TLS12 or TLS13"));
            None
        }
    };
    let (least, most) = (version(section.min_version, true), version(section.max_version, false));
    if (least, most) == (Some(13), Some(12)) {
        notes.error(at, "min_version is above max_version");
    }
    let words =
        |list: Option<Vec<Text>>| list.unwrap_or_default().into_iter().map(|text| text.value).collect();
    Some(TlsSettings {
        certificate: certificate?,
        key: key?,
        clients,
        allowed_names: section.client_allowed_sans.unwrap_or_default(),
        only_tls13: least == Some(13),
        only_tls12: most == Some(12),
        cipher_suites: words(section.cipher_suites),
        curves: words(section.curve_preferences),
        prefer_server_order: section.prefer_server_cipher_suites.unwrap_or(true),
        line: at,
    })
}

/// Whose certificates clients need.
fn clients(
    section: &TlsSection,
    at: u32,
    folder: &Path,
    notes: &mut WebConfigFindings,
) -> Option<(Pem, ClientCertificate)> {
    let authority = match (&section.client_ca_file, &section.client_ca) {
        (Some(file), _) => Some(Pem::File(folder.join(&file.value))),
        (None, Some(text)) => Some(Pem::Inline(text.value.clone())),
        (None, None) => None,
    };
    let kind = section.client_auth_type.as_ref();
    let at = kind.map_or(at, |kind| line(&kind.referenced));
    let wanted = match kind.map(|kind| kind.value.as_str()) {
        None | Some("" | "NoClientCert" | "RequestClientCert") => None,
        Some("RequireAndVerifyClientCert") => Some(ClientCertificate::Required),
        Some("VerifyClientCertIfGiven") => Some(ClientCertificate::Optional),
        Some("RequireAnyClientCert" | "RequireClientCert") => {
            notes.error(at, "RequireAnyClientCert takes every certificate and protects nothing; write RequireAndVerifyClientCert");
            return None;
        }
        Some(other) => {
            notes.error(
                at,
                format!("client_auth_type {other:?} is unknown; write NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"),
            );
            return None;
        }
    };
    match (wanted, authority) {
        (Some(wanted), Some(authority)) => Some((authority, wanted)),
        (Some(_), None) => {
            notes.error(at, "certificates of clients are to be verified, and there is no client_ca_file to verify them with");
            None
        }
        (None, Some(_)) => {
            notes.error(at, "has a client_ca_file, and does not ask clients for certificates; set client_auth_type to RequireAndVerifyClientCert");
            None
        }
        (None, None) => {
            if section.client_allowed_sans.as_ref().is_some_and(|names| !names.is_empty()) {
                notes.error(at, "has client_allowed_sans, and does not ask clients for certificates");
            }
            None
        }
    }
}

fn users(section: BTreeMap<String, Text>, notes: &mut WebConfigFindings) -> BTreeMap<String, String> {
    let mut users = BTreeMap::new();
    for (user, hash) in section {
        let at = line(&hash.referenced);
        if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
            notes.error(at, format!("{user:?} cannot be sent as the name of a user (RFC 7617 section 2)"));
        }
        match bcrypt::HashParts::from_str(&hash.value) {
            Ok(parts) if parts.get_cost() > MAX_COST || parts.get_cost() < 4 => {
                let cost = parts.get_cost();
                notes.error(
                    at,
                    format!("the hash of {user} has the cost {cost}; use 10 to 12 (htpasswd -nBC 10 {user})"),
                );
            }
            Ok(parts) => {
                if parts.get_cost() > SLOW_COST {
                    notes.warning(
                        at,
                        format!(
                            "the hash of {user} has the cost {}: each first login takes seconds",
                            parts.get_cost()
                        ),
                    );
                }
                users.insert(user, hash.value);
            }
            Err(_) => notes.error(
                at,
                format!("the password of {user} is no bcrypt hash; make one with: htpasswd -nBC 10 {user}"),
            ),
        }
    }
    users
}

/// The header fields that the file may set.
const HEADERS: [&str; 5] = [
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
    "Content-Security-Policy",
];

fn headers(section: HttpSection, notes: &mut WebConfigFindings) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    for (name, value) in section.headers.unwrap_or_default() {
        let (at, value) = (line(&value.referenced), value.value);
        let known = HEADERS.into_iter().find(|known| known.eq_ignore_ascii_case(&name));
        let lower = value.to_ascii_lowercase();
        let is_allowed = match known {
            Some("X-Content-Type-Options") => lower.is_empty() || lower == "nosniff",
            Some("X-Frame-Options") => matches!(lower.as_str(), "" | "deny" | "sameorigin"),
            Some(_) => !value.chars().any(char::is_control),
            None => {
                notes.error(
                    at,
                    format!("the header field {name} cannot be set; known are {}", HEADERS.join(", ")),
                );
                continue;
            }
        };
        match known {
            Some(known) if is_allowed && !value.is_empty() => fields.push((known, value)),
            Some(_) if is_allowed => {}
            _ => notes.error(at, format!("{name} cannot have the value {value:?}")),
        }
    }
    fields
}

fn rate_limit(section: &RateSection, notes: &mut WebConfigFindings) -> Option<RateLimit> {
    let at = line(&section.interval.referenced);
    let Some(interval) = duration(&section.interval.value) else {
        notes.error(
            at,
            format!("interval {:?} is no time such as 100ms, 1s or 1m30s", section.interval.value),
        );
        return None;
    };
    if interval.is_zero() {
        return None;
    }
    if section.burst == 0 {
        notes.error(at, "rate_limit has no burst: no request would ever be let in");
        return None;
    }
    Some(RateLimit { interval, burst: section.burst })
}

/// A time as Go writes it: numbers with units, `1m30s`. Units below a millisecond count as nothing.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, tail) = unit.split_at(end);
        let per_unit = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            "us" | "µs" | "ns" => 0,
            _ => return None,
        };
        millis = millis.checked_add(number.checked_mul(per_unit)?)?;
        rest = tail;
    }
    (!text.trim().is_empty()).then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bcrypt` of "secret" with cost 4.
    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

    fn findings(text: &str) -> Vec<String> {
        let path = Path::new("/etc/web.yml");
        let mut notes = WebConfigFindings::of(path);
        let config = parse(text.as_bytes(), path, &mut notes);
        assert!(config.is_some() || !notes.is_usable(), "{text}");
        notes.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn file_of_the_exporters_is_read_with_all_that_it_may_have() {
        let text = format!(
            "# comment\ntls_server_config:\n  cert_file: tls/server.crt\n  key_file: /abs/server.key\n  client_auth_type: RequireAndVerifyClientCert\n  \
             client_ca_file: ca.crt\n  client_allowed_sans: [prometheus.example]\n  min_version: TLS13\n  max_version: TLS13\n  cipher_suites:\n    \
             - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  prefer_server_cipher_suites: false\n  curve_preferences: [X25519]\nhttp_server_config:\n  \
             http2: true\n  headers:\n    Strict-Transport-Security: max-age=63072000\n    X-Frame-Options: deny\nbasic_auth_users:\n  alice: {HASH}\n  \
             \"bob b\": '{HASH}'\nrate_limit:\n  interval: 1m30s\n  burst: 20\n"
        );
        let path = Path::new("/etc/web.yml");
        let mut notes = WebConfigFindings::of(path);
        let config = parse(text.as_bytes(), path, &mut notes).expect("it reads");
        assert_eq!(notes.findings, []);
        let tls = config.tls.as_ref().expect("TLS");
        assert!(matches!(&tls.certificate, Pem::File(file) if file == Path::new("/etc/tls/server.crt")));
        assert!(matches!(&tls.key, Pem::File(file) if file == Path::new("/abs/server.key")));
        assert!(matches!(&tls.clients, Some((Pem::File(_), ClientCertificate::Required))));
        assert!(tls.only_tls13 && !tls.only_tls12 && !tls.prefer_server_order && tls.line == 3);
        assert_eq!(config.users.keys().collect::<Vec<_>>(), ["alice", "bob b"]);
        assert_eq!(config.headers.len(), 2);
        assert_eq!(config.rate_limit, Some(RateLimit { interval: Duration::from_secs(90), burst: 20 }));
        assert!(config.asks_who());
    }

    #[test]
    fn wrong_file_is_an_error_with_its_line_and_without_its_secrets() {
        let tls = |more: &str| format!("tls_server_config:\n  cert_file: a\n  key_file: b\n{more}");
        let users = |hash: &str| format!("basic_auth_users:\n  alice: {HASH}\n  bob: {hash}\n");
        for (text, line, what) in [
            ("nonsense: 1\n".to_owned(), 1, "nonsense"),
            ("tls_server_config:\n  cert_file: a\n  cert_fil: b\n".to_owned(), 3, "cert_fil"),
            ("tls_server_config:\n  cert_file: a\n".to_owned(), 2, "no key_file"),
            ("tls_server_config:\n  key_file: a\n".to_owned(), 2, "no cert_file"),
            (tls("  cert: x\n"), 4, "both cert_file and cert"),
            (tls("  min_version: TLS9\n"), 4, "TLS9 is not spoken"),
            (tls("  max_version: TLS11\n"), 4, "TLS11 is not spoken"),
            (tls("  client_auth_type: RequireAndVerifyClientCert\n"), 4, "no client_ca_file"),
            (tls("  client_auth_type: RequireAnyClientCert\n"), 4, "protects nothing"),
            (tls("  client_auth_type: Nonsense\n"), 4, "unknown"),
            (tls("  client_ca_file: c\n"), 2, "does not ask clients"),
            (users("secret"), 3, "bob is no bcrypt hash"),
            (users("$2b$31$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"), 3, "the cost 31"),
            (format!("basic_auth_users:\n  a: {HASH}\n  a: {HASH}\n"), 3, "uplicate"),
            (format!("basic_auth_users:\n  'a:b': {HASH}\n"), 2, "\"a:b\""),
            ("http_server_config:\n  headers:\n    X-Foo: bar\n".to_owned(), 3, "X-Foo"),
            ("http_server_config:\n  headers:\n    X-Frame-Options: maybe\n".to_owned(), 3, "maybe"),
            ("rate_limit:\n  interval: soon\n  burst: 1\n".to_owned(), 2, "soon"),
            ("rate_limit:\n  interval: 1s\n".to_owned(), 2, "burst"),
            ("tls_server_config: [\n".to_owned(), 1, ""),
            ("basic_auth_users: {a: b: c}\n".to_owned(), 1, ""),
        ] {
            let found = findings(&text);
            let place = format!("/etc/web.yml:{line}: ");
            assert!(found.iter().any(|f| f.starts_with(&place) && f.contains(what)), "{text}: {found:?}");
            assert!(!found.iter().any(|f| f.contains(HASH) || f.contains("secret")), "{found:?}");
        }
    }

    #[test]
    fn file_that_protects_nothing_or_half_is_warned_of() {
        for (text, what) in [
            ("", "protects nothing"),
            ("# nothing\n", "protects nothing"),
            ("tls_server_config: {}\n", "protects nothing"),
            ("basic_auth_users:\n", "protects nothing"),
            (&format!("basic_auth_users:\n  a: {HASH}\n"), "cross the network"),
        ] {
            let found = findings(text);
            assert!(
                matches!(found.as_slice(), [one] if one.starts_with("/etc/web.yml:1: warning: ") && one.contains(what)),
                "{text}: {found:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_reads_or_is_an_error(text in "[a-z_:{}\\[\\]&*!|>'\" \n#-]{0,200}") {
            let _ = findings(&text);
        }
    }
}
