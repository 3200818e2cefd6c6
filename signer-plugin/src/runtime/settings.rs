//! [`SettingsKeeper`]: the settings of queries, made of the configuration and of the files that it names, and made anew when these change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use keystore::config::Config;
use keystore::config::query::QueryConfig;
use keystore::config::tls::ClientTls;
use keystore::cookie_secrets::CookieSecrets;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::changed::{FileMark, mark};
use metrics::health::report::EndpointReport;
use metrics::health::revision::Revision;
use metrics::http::CertificateFiles;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::authorities::AuthorityFiles;
use super::certificate::WatchedCertificate;
use crate::clock::Clock;
use crate::protocol::rate_limit::RateLimiter;
use crate::protocol::{QueryAccess, QuerySettings, ServerIdentity, SharedSettings};
use crate::transfer::asking;

/// Time between two looks at the files.
const PAUSE: Duration = Duration::from_secs(1);
/// Seconds after which a secret that only this process knows is replaced. RFC 7873 section 7.1 allows 36 days.
const LIFE_OF_RANDOM_SECRET: u64 = 86_400;
/// Seconds that cookies are good (RFC 9018 section 4.3), and so the secrets that they were made with.
const LIFE_OF_COOKIE: u64 = 3600;

/// Keeps the settings up to date.
pub(super) struct SettingsKeeper {
    shared: SharedSettings,
    clock: Clock,
    metrics: Metrics,
    state: Mutex<State>,
    /// Changes with [`Self::standing`].
    revision: Revision,
}

/// What the settings in force were made of.
#[derive(Default)]
struct State {
    config: QueryConfig,
    access: QueryAccess,
    identity: ServerIdentity,
    /// Who may transfer a zone depends on the certificate of the client.
    asks_certificates: bool,
    /// One of these is not yet in force.
    is_changed: bool,
    secrets: Option<CookieSecrets>,
    source: Source,
    /// What this process made cookies with before it had the file, and when that was.
    before_file: Option<(CookieSecrets, Timestamp)>,
    limiter: Option<Arc<RateLimiter>>,
    certificate: WatchedCertificate,
    /// Why the file of secrets is not in use.
    error: Option<String>,
    /// The certificates that are shown to primaries (`certificate` and `key-file` of their `tls`), watched for their end.
    shown: Vec<(CertificateFiles, WatchedCertificate)>,
    /// The authorities of those who transfer, and of primaries.
    authorities: AuthorityFiles,
}

/// The certificates for primaries that the configuration names; what was read of one stays.
fn shown(
    config: &Config,
    mut before: Vec<(CertificateFiles, WatchedCertificate)>,
) -> Vec<(CertificateFiles, WatchedCertificate)> {
    let primaries = config.zones.iter().flat_map(|zone| &zone.content.primaries);
    let named = primaries.filter_map(|primary| primary.tls.as_ref()?.own.as_ref());
    let files = named.map(|own| (own.certificate.clone(), own.key.clone())).collect::<BTreeSet<_>>();
    let stays = |(certificate, key): (PathBuf, PathBuf)| {
        let files = CertificateFiles { certificate, key };
        let known = before.iter().position(|(known, _)| *known == files);
        known.map_or_else(|| (files, WatchedCertificate::default()), |at| before.swap_remove(at))
    };
    files.into_iter().map(stays).collect()
}

/// Where the secrets of cookies in use are from.
#[derive(Default)]
enum Source {
    #[default]
    None,
    /// Made here, at this time.
    Random(Timestamp),
    /// These were read from this file, when it looked so.
    File(PathBuf, FileMark, CookieSecrets),
}

impl SettingsKeeper {
    pub fn new(metrics: &Metrics, clock: Clock) -> Self {
        metrics.cookie_secret_file_ok.set(1);
        Self {
            shared: SharedSettings::default(),
            clock,
            metrics: metrics.clone(),
            state: Mutex::default(),
            revision: Revision::default(),
        }
    }

    pub fn shared(&self) -> SharedSettings {
        self.shared.clone()
    }

    /// Takes what the configuration says now.
    pub fn take(&self, config: &Config) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let (access, identity) = (QueryAccess::of(config), ServerIdentity::of(config));
            let mut allowed = config.zones.iter().flat_map(|zone| &zone.allow_transfer);
            let asks = allowed.any(|rule| rule.tls.as_ref().is_some_and(ClientTls::needs_certificate));
            let stood = (&state.access, &state.identity, state.asks_certificates);
            state.is_changed |= stood != (&access, &identity, asks);
            (state.access, state.identity, state.asks_certificates) = (access, identity, asks);
            state.shown = shown(config, std::mem::take(&mut state.shown));
            state.authorities.take(config);
            state.config = config.signer.as_ref().map(|signer| signer.query.clone()).unwrap_or_default();
        }
        self.refresh();
    }

    /// How the files stand that the settings are made of.
    pub fn standing(&self) -> EndpointReport {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).standing()
    }

    /// Changes with [`Self::standing`].
    pub fn revision(&self) -> Revision {
        self.revision.clone()
    }

    /// Looks whether something has changed that the settings are made of. A file that cannot be used changes nothing; it is tried again.
    fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (state.secrets.clone(), state.limiter.clone());
        let stood = state.standing();
        state.limit(&self.metrics);
        state.read_certificate();
        for (files, certificate) in &mut state.shown {
            certificate.refresh(files, "primaries: tls: certificate");
        }
        state.authorities.refresh();
        match (state.config.cookies, state.config.cookie_secret_file.clone()) {
            (false, _) => {
                (state.secrets, state.source, state.error) = (None, Source::None, None);
                state.before_file = None;
            }
            (true, Some(path)) => state.read_secrets(&path, (self.clock)()),
            (true, None) => {
                state.error = None;
                state.make_secret((self.clock)());
            }
        }
        self.metrics.cookie_secret_file_ok.set(i64::from(state.error.is_none()));
        if state.standing() != stood {
            self.revision.change();
        }
        let is_same_limiter = match (&state.limiter, &before.1) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (new, old) => new.is_none() && old.is_none(),
        };
        if state.secrets != before.0 || !is_same_limiter || state.is_changed {
            state.is_changed = false;
            let settings = match &state.secrets {
                Some(secrets) => QuerySettings::with_cookies(secrets.clone(), Arc::clone(&self.clock)),
                None => QuerySettings::DEFAULT,
            };
            self.shared.store(QuerySettings {
                limiter: state.limiter.clone(),
                tls: state.certificate.loaded().map(|certificate| Arc::clone(&certificate.config)),
                tls_asking: state.certificate.loaded().and_then(|certificate| asking(&certificate.config)),
                asks_certificates: state.asks_certificates,
                access: state.access.clone(),
                identity: state.identity.clone(),
                ..settings
            });
        }
    }
}

impl State {
    /// How the files stand.
    fn standing(&self) -> EndpointReport {
        let joined = |errors: Vec<&str>| (!errors.is_empty()).then(|| errors.join("; "));
        let errors = [self.error.as_deref(), self.certificate.error()].into_iter().flatten();
        let of_shown = self.shown.iter().filter_map(|(_, certificate)| certificate.error());
        EndpointReport {
            error: joined(errors.collect()),
            shown_error: joined(of_shown.collect()),
            authorities_error: self.authorities.error(),
            certificate: self.certificate.report(),
            shown: self.shown.iter().filter_map(|(_, certificate)| certificate.report()).collect(),
        }
    }

    /// Makes the limiter where what is configured differs from the one there is; what was counted is forgotten then.
    fn limit(&mut self, metrics: &Metrics) {
        let wanted = &self.config.rate_limit;
        if self.limiter.as_ref().is_some_and(|limiter| limiter.config() == wanted) {
            return;
        }
        if wanted.responses_per_second == 0 && wanted.all_per_second == 0 {
            self.limiter = None;
            return;
        }
        let mut secret = [0; 16];
        // Without random octets somebody may find out whose answers share an account, which is no reason not to limit.
        let _ = SystemRandom::new().fill(&mut secret);
        self.limiter = RateLimiter::new(wanted, secret, metrics).map(Arc::new);
    }

    /// Reads the file of secrets, where it is another one than before. Without any secret a random one is made: a server of several that
    /// does not know the others' cookies answers all the same.
    fn read_secrets(&mut self, path: &Path, now: Timestamp) {
        let seen = mark(path);
        if matches!(&self.source, Source::File(known, mark, _) if known == path && *mark == seen) {
            self.error = None;
            self.check_with_former(now);
            return;
        }
        match CookieSecrets::load(path) {
            Ok(secrets) => {
                let count = secrets.secrets().len();
                tracing::info!(file = %path.display(), secrets = count, "the secrets of cookies were read");
                if let (Source::Random(_), Some(own)) = (&self.source, &self.secrets) {
                    self.before_file = Some((own.clone(), now));
                }
                self.source = Source::File(path.to_owned(), seen, secrets);
                self.error = None;
            }
            Err(error) => {
                let error = error.to_string();
                if self.error.as_ref() != Some(&error) {
                    tracing::error!("[signer] cookie-secret-file: {error}; the secrets before stay in use");
                }
                self.error = Some(error);
                match self.source {
                    // What was read stays until the file reads again.
                    Source::File(..) => {}
                    Source::Random(_) | Source::None => self.make_secret(now),
                }
            }
        }
        self.check_with_former(now);
    }

    /// Puts the secrets of the file in force, and beside them, as long as its cookies are good, the one that was in use before there was a
    /// file.
    fn check_with_former(&mut self, now: Timestamp) {
        let is_over = |since: Timestamp| !(since..=since.plus(LIFE_OF_COOKIE)).contains(&now);
        self.before_file.take_if(|(_, since)| is_over(*since));
        if let Source::File(_, _, secrets) = &self.source {
            let former = self.before_file.as_ref();
            self.secrets =
                Some(former.map_or_else(|| secrets.clone(), |(former, _)| secrets.keeping(former)));
        }
    }

    /// Reads the certificate of DNS over TLS, where it or its key is another one than before.
    fn read_certificate(&mut self) {
        let Some(tls) = &self.config.tls else {
            self.is_changed |= self.certificate.loaded().is_some();
            self.certificate = WatchedCertificate::default();
            return;
        };
        let files = CertificateFiles { certificate: tls.certificate.clone(), key: tls.key.clone() };
        self.is_changed |= self.certificate.refresh(&files, "[signer] tls-certificate");
    }

    /// Makes a secret where there is none of this process, or an old one.
    fn make_secret(&mut self, now: Timestamp) {
        if let Source::Random(made) = self.source
            && (made..made.plus(LIFE_OF_RANDOM_SECRET)).contains(&now)
        {
            return;
        }
        match CookieSecrets::random(self.secrets.as_ref()) {
            Some(secrets) => {
                self.secrets = Some(secrets);
                self.source = Source::Random(now);
                self.before_file = None;
            }
            None => {
                tracing::error!("this system gives no random octets; cookies are made with the secret before")
            }
        }
    }
}

/// The thread that looks at the files. Dropping it ends it.
pub(super) struct SettingsWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SettingsWatch {
    pub fn start(keeper: Arc<SettingsKeeper>) -> std::io::Result<Self> {
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = Arc::clone(&stop);
        let run = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(PAUSE);
                keeper.refresh();
            }
        };
        let thread = std::thread::Builder::new().name("query-settings".to_owned()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for SettingsWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::AtomicU64;

    use keystore::config::query::RateLimitConfig;
    use keystore::config::transfer::Network;
    use keystore::dns::Name;

    use super::*;

    const FIRST: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const SECOND: &str = "445536bcd2513298075a5d379663c962";

    /// A keeper whose clock is set by hand.
    fn keeper() -> (SettingsKeeper, Arc<AtomicU64>, Metrics) {
        let now = Arc::new(AtomicU64::new(1_800_000_000));
        let clock = Arc::clone(&now);
        let clock: Clock = Arc::new(move || Timestamp::from_secs(clock.load(Ordering::Relaxed)));
        let metrics = Metrics::new().unwrap();
        (SettingsKeeper::new(&metrics, clock), now, metrics)
    }

    /// A configuration that says this of queries.
    fn with(query: QueryConfig) -> Config {
        let text = "version = 1\nstate-dir = \"/nonexistent\"\n[[zone]]\nname = \"a.test\"\npolicy = \"p\"\ntrust-anchors = [\"a.test. DS 18064 13 2 \
            3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\n[policy.p]\noffline-ksk = true\nkeys = [\
            { role = \"ksk\", lifetime = \"unlimited\", algorithm = 13 }, { role = \"zsk\", lifetime = \"unlimited\", algorithm = 13 }]\n\
            [signer]\nlisten = [\"127.0.0.1:0\"]\n";
        let mut config = Config::parse(text.as_bytes(), Path::new("/x/c.toml")).unwrap();
        config.signer.as_mut().unwrap().query = query;
        config
    }

    fn secrets(keeper: &SettingsKeeper) -> Option<CookieSecrets> {
        keeper.state.lock().unwrap().secrets.clone()
    }

    fn write(path: &Path, text: &str, mode: u32) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&new, path).unwrap();
    }

    #[test]
    fn secret_of_this_process_is_replaced_each_day_and_cookies_can_be_switched_off() {
        let (keeper, now, _) = keeper();
        assert!(keeper.shared.load().cookies.is_none(), "before the configuration is known");
        keeper.take(&with(QueryConfig::default()));
        let first = secrets(&keeper).unwrap();
        for (later, count) in [(0, 1), (86_399, 1), (86_400, 2), (3 * 86_400, 2)] {
            now.store(1_800_000_000 + later, Ordering::Relaxed);
            keeper.refresh();
            assert_eq!(secrets(&keeper).unwrap().secrets().len(), count, "after {later} s");
        }
        assert_ne!(secrets(&keeper).unwrap().secrets()[1], first.secrets()[0]);
        let second = secrets(&keeper);
        // A clock that was set back does not keep a secret for long.
        now.store(1_700_000_000, Ordering::Relaxed);
        keeper.refresh();
        assert_ne!(secrets(&keeper), second);
        keeper.take(&with(QueryConfig { cookies: false, ..QueryConfig::default() }));
        assert!(secrets(&keeper).is_none() && keeper.shared.load().cookies.is_none());
    }

    #[test]
    fn limiter_is_made_anew_only_when_its_settings_change() {
        let (keeper, _, _) = keeper();
        let config = |responses_per_second| QueryConfig {
            rate_limit: RateLimitConfig { responses_per_second, ..RateLimitConfig::default() },
            ..QueryConfig::default()
        };
        let limiter = || keeper.shared.load().limiter.clone();
        keeper.take(&with(config(0)));
        assert!(limiter().is_none());
        keeper.take(&with(config(50)));
        let first = limiter().expect("it limits");
        keeper.take(&with(QueryConfig { cookies: false, ..config(50) }));
        assert!(keeper.shared.load().cookies.is_none() && Arc::ptr_eq(&limiter().expect("the same"), &first));
        keeper.take(&with(config(60)));
        assert_eq!(limiter().expect("another").config().responses_per_second, 60);
        keeper.take(&with(config(0)));
        assert!(limiter().is_none() && keeper.shared.load().cookies.is_some());
    }

    #[test]
    fn access_and_identity_follow_the_configuration() {
        let (keeper, _, _) = keeper();
        let network = |text: &str| Some(vec![Network::parse(text).unwrap()]);
        let query = QueryConfig { allow_query: network("192.0.2.0/24"), ..QueryConfig::default() };
        let mut config = with(QueryConfig { nsid: Some(b"a".to_vec()), ..query });
        config.zones[0].allow_query = network("2001:db8::/32");
        keeper.take(&config);
        let [own, other] = ["A.test.", "b.test."].map(|text| Name::parse(text).unwrap());
        for (zone, client, allowed) in [
            (&own, "2001:db8::1", true),
            (&own, "192.0.2.1", false),
            (&other, "2001:db8::1", false),
            (&other, "192.0.2.1", true),
            (&other, "::ffff:192.0.2.1", true),
        ] {
            let settings = keeper.shared.load();
            assert_eq!(settings.access.allows(zone, client.parse().unwrap()), allowed, "{zone} {client}");
            assert_eq!(settings.identity.nsid.as_deref(), Some(&b"a"[..]));
        }
        keeper.take(&with(QueryConfig::default()));
        let settings = keeper.shared.load();
        assert!(
            settings.access.allows(&own, "192.0.3.1".parse().unwrap()) && settings.identity.nsid.is_none()
        );
        assert!(settings.cookies.is_some());
    }

    #[test]
    fn file_of_secrets_is_taken_when_it_changes_and_a_wrong_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cookies");
        let (keeper, now, metrics) = keeper();
        let config = QueryConfig { cookie_secret_file: Some(file.clone()), ..QueryConfig::default() };
        // Not there yet: a secret of its own.
        keeper.take(&with(config));
        assert_eq!(metrics.cookie_secret_file_ok.get(), 0);
        let own = secrets(&keeper).unwrap();
        let parse = |text: &str| CookieSecrets::parse(text.as_bytes()).unwrap();
        let (both, swapped) = (format!("{FIRST}\n{SECOND}\n"), format!("{SECOND}\n{FIRST}\n"));
        // The one of its own stays good as long as the cookies that were made with it.
        let with_own = |text: &str| parse(text).keeping(&own);
        for (seconds, text, mode, ok, want) in [
            (0, "nonsense", 0o600, 0, own.clone()),
            (10, FIRST, 0o600, 1, with_own(FIRST)),
            (20, "", 0o600, 0, with_own(FIRST)),
            (30, &*both, 0o644, 0, with_own(FIRST)),
            (3610, &*both, 0o640, 1, with_own(&both)),
            (3611, &*both, 0o640, 1, parse(&both)),
            (3612, &*swapped, 0o600, 1, parse(&swapped)),
        ] {
            now.store(1_800_000_000 + seconds, Ordering::Relaxed);
            write(&file, text, mode);
            keeper.refresh();
            assert_eq!(metrics.cookie_secret_file_ok.get(), ok, "{text:?} {mode:o}");
            assert!(secrets(&keeper).unwrap() == want, "{text:?} {mode:o}");
            let in_force = Arc::clone(&keeper.shared.load());
            keeper.refresh();
            assert!(Arc::ptr_eq(&in_force, &keeper.shared.load()), "nothing has changed");
        }
        fs::remove_file(&file).unwrap();
        keeper.refresh();
        assert!(secrets(&keeper).unwrap() == parse(&swapped) && metrics.cookie_secret_file_ok.get() == 0);
        // Without the file again.
        keeper.take(&with(QueryConfig::default()));
        assert_eq!(secrets(&keeper).unwrap().secrets()[1], parse(SECOND).secrets()[0]);
        assert_eq!(metrics.cookie_secret_file_ok.get(), 1);
    }
}
