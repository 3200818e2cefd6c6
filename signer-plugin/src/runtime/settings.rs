//! [`SettingsKeeper`]: the settings of queries, made of the configuration and of the files that it names, and made anew when these change.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use keystore::config::query::QueryConfig;
use keystore::cookie_secrets::CookieSecrets;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::changed::{Mark, mark};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::clock::Clock;
use crate::protocol::rate_limit::RateLimiter;
use crate::protocol::{QuerySettings, SharedSettings};

/// Time between two looks at the files.
const PAUSE: Duration = Duration::from_secs(1);
/// Seconds after which a secret that only this process knows is replaced. RFC 7873 section 7.1 allows 36 days.
const LIFE_OF_RANDOM_SECRET: u64 = 86_400;

/// Keeps the settings up to date.
pub(super) struct SettingsKeeper {
    shared: SharedSettings,
    clock: Clock,
    metrics: Metrics,
    state: Mutex<State>,
}

/// What the settings in force were made of.
#[derive(Default)]
struct State {
    config: QueryConfig,
    secrets: Option<CookieSecrets>,
    source: Source,
    limiter: Option<Arc<RateLimiter>>,
    /// Why the file of secrets is not in use.
    error: Option<String>,
}

/// Where the secrets of cookies in use are from.
#[derive(Default)]
enum Source {
    #[default]
    None,
    /// Made here, at this time.
    Random(Timestamp),
    /// Read from this file, when it looked so.
    File(PathBuf, Mark),
}

impl SettingsKeeper {
    pub fn new(metrics: &Metrics, clock: Clock) -> Self {
        metrics.cookie_secret_file_ok.set(1);
        Self { shared: SharedSettings::default(), clock, metrics: metrics.clone(), state: Mutex::default() }
    }

    pub fn shared(&self) -> SharedSettings {
        self.shared.clone()
    }

    /// Takes what the configuration says now.
    pub fn take(&self, config: &QueryConfig) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).config.clone_from(config);
        self.refresh();
    }

    /// Looks whether something has changed that the settings are made of. A file that cannot be used changes nothing; it is tried again.
    fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (state.secrets.clone(), state.limiter.clone());
        state.limit(&self.metrics);
        match (state.config.cookies, state.config.cookie_secret_file.clone()) {
            (false, _) => (state.secrets, state.source, state.error) = (None, Source::None, None),
            (true, Some(path)) => state.read_secrets(&path, (self.clock)()),
            (true, None) => {
                state.error = None;
                state.make_secret((self.clock)());
            }
        }
        self.metrics.cookie_secret_file_ok.set(i64::from(state.error.is_none()));
        let is_same_limiter = match (&state.limiter, &before.1) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (new, old) => new.is_none() && old.is_none(),
        };
        if state.secrets != before.0 || !is_same_limiter {
            let settings = match &state.secrets {
                Some(secrets) => QuerySettings::with_cookies(secrets.clone(), Arc::clone(&self.clock)),
                None => QuerySettings::DEFAULT,
            };
            self.shared.store(QuerySettings { limiter: state.limiter.clone(), ..settings });
        }
    }
}

impl State {
    /// Makes the limiter where what is configured differs from the one there is; what was counted is forgotten then.
    fn limit(&mut self, metrics: &Metrics) {
        let wanted = &self.config.rate_limit;
        if self.limiter.as_ref().is_some_and(|limiter| limiter.config() == wanted) {
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
        if matches!(&self.source, Source::File(known, mark) if known == path && *mark == seen) {
            self.error = None;
            return;
        }
        match CookieSecrets::load(path) {
            Ok(secrets) => {
                let count = secrets.secrets().len();
                tracing::info!(file = %path.display(), secrets = count, "the secrets of cookies were read");
                self.secrets = Some(secrets);
                self.source = Source::File(path.to_owned(), seen);
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
        keeper.take(&QueryConfig::default());
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
        keeper.take(&QueryConfig { cookies: false, ..QueryConfig::default() });
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
        keeper.take(&config(0));
        assert!(limiter().is_none());
        keeper.take(&config(50));
        let first = limiter().expect("it limits");
        keeper.take(&QueryConfig { cookies: false, ..config(50) });
        assert!(keeper.shared.load().cookies.is_none() && Arc::ptr_eq(&limiter().expect("the same"), &first));
        keeper.take(&config(60));
        assert_eq!(limiter().expect("another").config().responses_per_second, 60);
        keeper.take(&config(0));
        assert!(limiter().is_none() && keeper.shared.load().cookies.is_some());
    }

    #[test]
    fn file_of_secrets_is_taken_when_it_changes_and_a_wrong_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cookies");
        let (keeper, _, metrics) = keeper();
        let config = QueryConfig { cookie_secret_file: Some(file.clone()), ..QueryConfig::default() };
        // Not there yet: a secret of its own.
        keeper.take(&config);
        assert_eq!(metrics.cookie_secret_file_ok.get(), 0);
        let own = secrets(&keeper).unwrap();
        let parse = |text: &str| CookieSecrets::parse(text.as_bytes()).unwrap();
        let (both, swapped) = (format!("{FIRST}\n{SECOND}\n"), format!("{SECOND}\n{FIRST}\n"));
        for (text, mode, ok, want) in [
            ("nonsense", 0o600, 0, own),
            (FIRST, 0o600, 1, parse(FIRST)),
            ("", 0o600, 0, parse(FIRST)),
            (&*both, 0o644, 0, parse(FIRST)),
            (&*both, 0o640, 1, parse(&both)),
            (&*swapped, 0o600, 1, parse(&swapped)),
        ] {
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
        keeper.take(&QueryConfig::default());
        assert_eq!(secrets(&keeper).unwrap().secrets()[1], parse(SECOND).secrets()[0]);
        assert_eq!(metrics.cookie_secret_file_ok.get(), 1);
    }
}
