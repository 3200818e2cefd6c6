//! Who may read the endpoint: TLS and passwords of the web-config, and the names by which it may be asked for.
//!
//! The web-config and the files that it names are read again when they change, so that a renewed certificate needs no reload. One that
//! is wrong then changes nothing: what was in use stays in use, and [`Guard::standing`] says what is wrong.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use keystore::config::MetricsConfig;
use keystore::policy::{PolicyFinding, PolicySeverity};
use tokio::sync::{OnceCell, Semaphore};

use super::login::{Login, Logins};
use super::tls::{EndpointTls, ServedCertificate};
use super::web_config::{self, RateLimit, WebConfig, WebConfigFindings};
use super::{HttpError, HttpRequest, PLAIN, Page};
use crate::changed::{FileMark, mark};

/// Logins of one network that wait to be verified, at most. Requests with the same name and password are one.
const WAITING_PER_NETWORK: usize = 4;

/// Clones share what is in use.
#[derive(Clone)]
pub struct Guard(Arc<Mutex<State>>);

struct State {
    settings: MetricsConfig,
    /// The files that were read, as they were before.
    files: Vec<(PathBuf, FileMark)>,
    in_use: Arc<Protection>,
    error: Option<String>,
}

/// How the protection of an endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardStanding {
    /// Why the web-config as it lies there is not in use.
    pub error: Option<String>,
    /// The certificate that clients are shown.
    pub certificate: Option<ServedCertificate>,
}

/// A web-config that was read.
struct Loaded {
    files: Vec<(PathBuf, FileMark)>,
    /// `None` = the findings have an error.
    protection: Option<Protection>,
    findings: Vec<PolicyFinding>,
}

impl Guard {
    /// Reads the web-config of `settings`, where it names one. Warnings go to the log.
    ///
    /// # Errors
    /// Everything that is wrong with it, with file and line, and the warnings beside.
    pub fn load(settings: &MetricsConfig) -> Result<Self, HttpError> {
        let Loaded { files, protection, findings } = load(settings, None);
        let Some(protection) = protection else { return Err(HttpError::WebConfig(findings)) };
        findings.iter().for_each(|finding| tracing::warn!("{finding}"));
        let in_use = Arc::new(protection);
        Ok(Self(Arc::new(Mutex::new(State { settings: settings.clone(), files, in_use, error: None }))))
    }

    /// What is wrong with the web-config of `settings`, and what is hardly meant.
    #[must_use]
    pub fn check(settings: &MetricsConfig) -> Vec<PolicyFinding> {
        load(settings, None).findings
    }

    /// Takes new settings, and reads the files again where one has changed or was wrong before.
    pub fn refresh(&self, settings: &MetricsConfig) {
        // Connections ask for what is in use, and never wait for a file: the lock is not held while files are read.
        let (before, known, files, is_wrong) = {
            let state = self.state();
            (state.settings.clone(), Arc::clone(&state.in_use), state.files.clone(), state.error.is_some())
        };
        let is_same = before == *settings && files.iter().all(|(path, was)| mark(path) == *was);
        if is_same && !is_wrong {
            return;
        }
        let Loaded { files, protection, findings } = load(settings, Some(&known));
        let mut state = self.state();
        state.settings = settings.clone();
        state.files = files;
        let error = match protection {
            Some(protection) => {
                tracing::info!("the web-config of the endpoint was read again");
                state.in_use = Arc::new(protection);
                None
            }
            None => {
                let errors = findings.iter().filter(|finding| finding.severity == PolicySeverity::Error);
                Some(errors.map(PolicyFinding::to_string).collect::<Vec<_>>().join("; "))
            }
        };
        if let Some(error) = error.as_ref().filter(|error| state.error.as_ref() != Some(error)) {
            tracing::error!("{error}; the web-config before stays in use");
        }
        state.error = error;
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> GuardStanding {
        let state = self.state();
        let certificate = state.in_use.tls.as_ref().map(|tls| tls.certificate.clone());
        GuardStanding { error: state.error.clone(), certificate }
    }

    /// What is in use now.
    #[must_use]
    pub fn in_use(&self) -> Arc<Protection> {
        Arc::clone(&self.state().in_use)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `known` is what is in use: where the users stay the same, those that have logged in need not do so again.
fn load(settings: &MetricsConfig, known: Option<&Protection>) -> Loaded {
    let Some(path) = &settings.web_config else {
        let protection = Protection::new(WebConfig::default(), None, settings, known);
        return Loaded { files: Vec::new(), protection, findings: Vec::new() };
    };
    let mut notes = WebConfigFindings::of(path);
    let mut files = vec![(path.clone(), mark(path))];
    let config = match web_config::read_file(path) {
        Ok((octets, is_open)) => {
            let config = web_config::parse(&octets, path, &mut notes);
            let has_secrets = config.as_ref().is_some_and(WebConfig::has_secrets);
            if is_open && has_secrets {
                notes.warning(1, "holds hashes or a private key that everybody can read; set it to 0640");
            }
            config
        }
        Err(error) => {
            notes.error(1, error.to_string());
            None
        }
    };
    let Some(mut config) = config else {
        return Loaded { files, protection: None, findings: notes.findings };
    };
    let tls = config.tls.as_ref().and_then(|tls| {
        let authority = tls.clients.as_ref().map(|(authority, _)| authority);
        let named = [Some(&tls.certificate), Some(&tls.key), authority].into_iter().flatten();
        files.extend(named.filter_map(|pem| pem.file()).map(|path| (path.to_owned(), mark(path))));
        EndpointTls::load(tls, &mut notes)
    });
    for address in [Some(settings.listen), settings.requests_listen].into_iter().flatten() {
        if !settings.allow_remote && !config.asks_who() && !address.ip().to_canonical().is_loopback() {
            notes.error(
                1,
                format!(
                    "{address} can be reached by others, and anybody may read there: it has neither basic_auth_users nor \
                     RequireAndVerifyClientCert"
                ),
            );
        }
    }
    let protection = if notes.is_usable() {
        Protection::new(std::mem::take(&mut config), tls, settings, known)
    } else {
        None
    };
    if protection.is_none() && notes.is_usable() {
        notes.error(1, "passwords cannot be verified: this system gives no random octets");
    }
    Loaded { files, protection, findings: notes.findings }
}

// --- one state of it ------------------------------------------------------------------------------------------------

/// What a connection has to pass.
pub struct Protection {
    /// TLS, where it is spoken.
    pub tls: Option<EndpointTls>,
    logins: Arc<Logins>,
    queue: Queue,
    headers: Vec<(&'static str, String)>,
    limit: Option<Mutex<Bucket>>,
    /// Names by which it may be asked for.
    hosts: Vec<String>,
}

impl Protection {
    fn new(
        config: WebConfig,
        tls: Option<EndpointTls>,
        settings: &MetricsConfig,
        known: Option<&Self>,
    ) -> Option<Self> {
        let WebConfig { users, headers, rate_limit, .. } = config;
        let mut hosts = settings.hosts.clone();
        let own = rustix::system::uname();
        hosts.extend(own.nodename().to_str().ok().map(str::to_ascii_lowercase));
        Some(Self {
            tls,
            logins: match known.filter(|known| known.logins.are_of(&users)) {
                Some(known) => Arc::clone(&known.logins),
                None => Arc::new(Logins::new(users)?),
            },
            queue: Queue::default(),
            headers,
            limit: rate_limit.map(|limit| Mutex::new(Bucket::full(limit, Instant::now()))),
            hosts,
        })
    }

    /// Whether a request of a client in this network is answered; else what is answered in its place.
    ///
    /// # Errors
    /// The page that says why not.
    pub async fn admit(self: &Arc<Self>, request: &HttpRequest<'_>, from: IpAddr) -> Result<(), Page> {
        if let Some(limit) = &self.limit
            && !limit.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
        {
            return Err(Page::new("429 Too Many Requests", PLAIN, "more requests than rate_limit allows\n"));
        }
        let is_open = self.tls.is_none() && self.logins.is_empty();
        if let Some(host) = request.field("host").filter(|host| is_open && !is_own(host, &self.hosts)) {
            let host: String = host.chars().filter(|c| !c.is_control()).take(255).collect();
            let what = format!(
                "This endpoint is not known by the name {host}. Ask for it by its address or as localhost, or add the name to hosts \
                 in [metrics]: a page of somebody else could read it else (DNS rebinding).\n"
            );
            return Err(Page::new("421 Misdirected Request", PLAIN, what));
        }
        if self.logins.is_empty() || self.is_let_in(request, from).await? {
            return Ok(());
        }
        let what = "a name and a password of basic_auth_users are needed; a client sends the password, and not its hash\n";
        let mut page = Page::new("401 Unauthorized", PLAIN, what);
        page.fields.push(("WWW-Authenticate", "Basic realm=\"offline-ksk\", charset=\"UTF-8\"".to_owned()));
        Err(page)
    }

    /// Puts the header fields of the web-config into a page, in place of those of the same name.
    pub fn add_fields(&self, page: &mut Page) {
        page.fields.retain(|(name, _)| !self.headers.iter().any(|(own, _)| own == name));
        page.fields.extend(self.headers.iter().cloned());
    }

    async fn is_let_in(self: &Arc<Self>, request: &HttpRequest<'_>, from: IpAddr) -> Result<bool, Page> {
        let Some(login) = request.field("authorization").and_then(Login::parse) else { return Ok(false) };
        if self.logins.is_remembered(&login) {
            return Ok(true);
        }
        let Some(attempt) = self.queue.enter(from, self.logins.digest(&login)) else {
            let what = "too many logins of your network wait to be verified; ask again later\n";
            let mut page = Page::new("429 Too Many Requests", PLAIN, what);
            page.fields.push(("Retry-After", "1".to_owned()));
            return Err(page);
        };
        let verify = async || {
            let Ok(turn) = Arc::clone(&self.queue.turn).acquire_owned().await else { return false };
            let (this, held) = (Arc::clone(self), Arc::clone(&attempt));
            let verify = move || {
                // Both are given back when the verification has ended, also where its connection was closed meanwhile.
                let _held = (turn, held);
                // The same login may have been verified for another network while this one waited.
                this.logins.is_remembered(&login) || this.logins.verify(&login)
            };
            tokio::task::spawn_blocking(verify).await.unwrap_or(false)
        };
        Ok(*attempt.is_right.get_or_init(verify).await)
    }
}

/// Logins that wait to be verified. One is verified at a time, and they have their turns in the order in which they came, so a network
/// that could queue one on each of its connections would delay the first login of everybody else.
struct Queue {
    turn: Arc<Semaphore>,
    waiting: Waiting,
}

/// The logins of each network that wait or are being verified; networks without any are not kept.
type Waiting = Arc<Mutex<BTreeMap<IpAddr, Vec<(Digest, Weak<Attempt>)>>>>;

/// What [`Logins::digest`] gives for a login.
type Digest = Vec<u8>;

impl Default for Queue {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), waiting: Waiting::default() }
    }
}

impl Queue {
    /// The attempt of this network at a login, which may be under way for another request; `None` when there are
    /// [`WAITING_PER_NETWORK`] others.
    fn enter(&self, from: IpAddr, digest: Digest) -> Option<Arc<Attempt>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_network = waiting.entry(from).or_default();
        let same = of_network.iter().find(|(known, _)| *known == digest);
        if let Some(attempt) = same.and_then(|(_, attempt)| attempt.upgrade()) {
            return Some(attempt);
        }
        // One that is given up at this moment takes itself out as soon as it has the lock.
        let living = of_network.iter().filter(|(_, attempt)| attempt.strong_count() > 0).count();
        if living >= WAITING_PER_NETWORK {
            return None;
        }
        let is_right = OnceCell::new();
        let attempt = Arc::new(Attempt { waiting: Arc::clone(&self.waiting), from, is_right });
        of_network.push((digest, Arc::downgrade(&attempt)));
        Some(attempt)
    }
}

/// A login that waits or is being verified; requests of one network with the same login share it.
struct Attempt {
    waiting: Waiting,
    from: IpAddr,
    is_right: OnceCell<bool>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_network) = waiting.get_mut(&self.from) {
            of_network.retain(|(_, attempt)| attempt.strong_count() > 0);
            if of_network.is_empty() {
                waiting.remove(&self.from);
            }
        }
    }
}

/// Whether the field `Host` names this endpoint: by an address, as `localhost`, or by one of `hosts`.
fn is_own(field: &str, hosts: &[String]) -> bool {
    let without_port = match field.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty() => host,
        _ => field,
    };
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || hosts.contains(&name)
}

/// Requests that may be let in now.
struct Bucket {
    limit: RateLimit,
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    const fn full(limit: RateLimit, now: Instant) -> Self {
        Self { limit, tokens: limit.burst, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        let new = u32::try_from(passed / self.limit.interval.as_nanos().max(1)).unwrap_or(u32::MAX);
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(self.limit.burst);
            self.filled =
                self.limit.interval.checked_mul(new).and_then(|d| self.filled.checked_add(d)).unwrap_or(now);
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn endpoint_is_known_by_addresses_localhost_and_its_names_only() {
        let hosts = ["ns1.example.net".to_owned()];
        for (field, own) in [
            ("127.0.0.1:9753", true),
            ("127.0.0.1", true),
            ("[::1]:9753", true),
            ("[2001:db8::1]", true),
            ("localhost:9753", true),
            ("LOCALHOST.", true),
            ("a.localhost:1", true),
            ("NS1.example.net:9753", true),
            ("ns1.example.net.", true),
            ("ns2.example.net", false),
            ("ns1.example.net.evil.example", false),
            ("evil.example:9753", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("", false),
            (":9753", false),
        ] {
            assert_eq!(is_own(field, &hosts), own, "{field}");
        }
    }

    #[test]
    fn bucket_lets_a_burst_in_and_then_one_each_interval() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::full(RateLimit { interval: Duration::from_secs(1), burst: 2 }, start);
        for (millis, is_in) in [
            (0, true),
            (1, true),
            (2, false),
            (999, false),
            (1000, true),
            (1001, false),
            (2500, true),
            (2600, false),
            (3000, true),
            (9000, true),
            (9001, true),
            (9002, false),
        ] {
            assert_eq!(bucket.take(at(millis)), is_in, "{millis}");
        }
    }

    #[test]
    fn address_that_others_reach_needs_somebody_to_be_asked_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("web.yml");
        let hash = bcrypt::hash("secret", 4).expect("a hash");
        for (listen, allow_remote, text, errors) in [
            ("127.0.0.1:1", false, "", 0),
            ("192.0.2.1:1", false, "", 1),
            ("192.0.2.1:1", true, "", 0),
            ("192.0.2.1:1", false, &*format!("basic_auth_users:\n  a: {hash}\n"), 0),
            ("[2001:db8::1]:1", false, "basic_auth_users: {}\n", 1),
            ("127.0.0.1:1", false, "basic_auth_users: 7\n", 1),
        ] {
            std::fs::write(&file, text).expect("write");
            let settings = MetricsConfig {
                allow_remote,
                web_config: Some(file.clone()),
                ..MetricsConfig::at(listen.parse().expect("an address"))
            };
            let found = Guard::check(&settings);
            let found = found.iter().filter(|finding| finding.severity == PolicySeverity::Error).count();
            assert_eq!(found, errors, "{listen} {text}");
            assert_eq!(Guard::load(&settings).is_err(), errors > 0, "{listen} {text}");
        }
    }

    fn protection() -> Arc<Protection> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("web.yml");
        let hash = bcrypt::hash("right", 4).expect("a hash");
        std::fs::write(&file, format!("basic_auth_users:\n  a: {hash}\n")).expect("write");
        let listen = ([127, 0, 0, 1], 0).into();
        let settings = MetricsConfig { web_config: Some(file), ..MetricsConfig::at(listen) };
        Guard::load(&settings).unwrap_or_else(|e| panic!("{e:?}")).in_use()
    }

    /// Asks with a password from a network; the code of the refusal, `None` = let in.
    async fn ask(protection: Arc<Protection>, from: &str, password: &str) -> Option<&'static str> {
        let field = format!("Basic {}", data_encoding::BASE64.encode(format!("a:{password}").as_bytes()));
        let request =
            HttpRequest { fields: vec![("authorization", field.as_bytes())], ..HttpRequest::get("/", "") };
        let from = from.parse().expect("an address");
        protection.admit(&request, from).await.err().map(|page| &page.status[..3])
    }

    #[test]
    fn kind_08_logins_of_one_network_wait_in_its_own_places_and_delay_others_by_as_many() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let protection = protection();
            let turn = Arc::clone(&protection.queue.turn).acquire_owned().await.expect("it is free");
            let begin = |from: &'static str, password: &'static str| {
                let ask = ask(Arc::clone(&protection), from, password);
                tokio::spawn(async move { (ask.await, password) })
            };
            let (noisy, quiet) = ("192.0.2.1", "2001:db8::");
            let mut asked: Vec<_> = ["w1", "w2", "w2", "w3", "w3", "w4"].map(|w| begin(noisy, w)).into();
            tokio::task::yield_now().await;
            assert!(asked.iter().all(|task| !task.is_finished()), "four logins wait, two of them twice");
            for _ in 0..3 {
                assert_eq!(
                    ask(Arc::clone(&protection), noisy, "w5").await,
                    Some("429"),
                    "a fifth is refused"
                );
            }
            let other = begin(quiet, "right");
            tokio::task::yield_now().await;
            assert!(!other.is_finished(), "another network has its own places");
            // Connections that are closed give their places back, but for logins that others wait for.
            asked.remove(5).abort();
            asked.remove(4).abort();
            tokio::task::yield_now().await;
            assert!(protection.queue.enter(noisy.parse().expect("an address"), vec![6]).is_some());
            drop(turn);
            assert_eq!(other.await.expect("it ends"), (None, "right"));
            for task in asked {
                assert_eq!(task.await.expect("it ends").0, Some("401"));
            }
            assert_eq!(ask(Arc::clone(&protection), noisy, "right").await, None, "verified for all networks");
            assert!(protection.queue.waiting.lock().expect("no panic").is_empty(), "networks are not kept");
        });
    }

    #[test]
    fn changed_file_is_taken_and_a_wrong_one_changes_nothing_until_it_is_mended() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("web.yml");
        let hash = bcrypt::hash("secret", 4).expect("a hash");
        let settings =
            MetricsConfig { web_config: Some(file.clone()), ..MetricsConfig::at(([127, 0, 0, 1], 0).into()) };
        std::fs::write(&file, format!("basic_auth_users:\n  a: {hash}\n")).expect("write");
        let guard = Guard::load(&settings).unwrap_or_else(|e| panic!("{e:?}"));
        let has_users = || !guard.in_use().logins.is_empty();
        let before = guard.in_use();
        guard.refresh(&settings);
        assert!(Arc::ptr_eq(&before, &guard.in_use()), "nothing has changed");
        for (text, users, error) in [
            (Some("basic_auth_users:\n  a: plain\n"), true, Some("web.yml:2: ")),
            (None, true, Some("web.yml:1: ")),
            (Some("nonsense"), true, Some("web.yml:1: ")),
            (Some("basic_auth_users:\n"), false, None),
        ] {
            match text {
                Some(text) => std::fs::write(&file, text).expect("write"),
                None => std::fs::remove_file(&file).expect("it was there"),
            }
            guard.refresh(&settings);
            assert_eq!(has_users(), users, "{text:?}");
            let said = guard.standing().error;
            assert_eq!(said.is_some(), error.is_some(), "{text:?}: {said:?}");
            assert!(said.is_none_or(|said| said.contains(error.unwrap_or_default())), "{text:?}");
        }
    }
}
