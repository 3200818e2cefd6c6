//! A zone with an offline KSK, its named, a loader beside it, and a validator of its own that judges what is served.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::common::{self, Named};
use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::dnssec::validator::context::ValidationState;
use futures_util::FutureExt as _;
use keystore::clock;
use keystore::config::Config;
use keystore::dns::Name;
use keystore::exchange::testing::SkrBuilder;
use keystore::keys::files::find_online;
use keystore::time::Timestamp;
use metrics::Metrics;
use offline_ksk_integration::validator::{ValidatedAnswer, Validator};
use skr_loader::Loader;
use skr_loader::loader::Control;

pub const ZONE: &str = "fast.test";
/// BIND's own test scenario `fast`: signatures of 6 seconds, a bundle every 4.
pub const FAST: &str = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 13; zsk lifetime 8792 algorithm 13; };
    dnskey-ttl 439; max-zone-ttl 4396; zone-propagation-delay 439; signatures-validity 6; signatures-validity-dnskey 6;
    signatures-refresh 2; signatures-jitter 0; publish-safety 1; retire-safety 1; parent-ds-ttl 5; parent-propagation-delay 5; };\n";
/// Longest time, in seconds, from now to the end of a signature that named serves with [`FAST`]: the validity, and the two seconds by
/// which the loader has named switch to a bundle before it begins.
const FAST_VALIDITY: u64 = 6 + 2;
/// A zone whose bundles last for days.
pub const CALM: &str = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 13; zsk lifetime P1Y algorithm 13; }; };\n";
pub const RECORDS: &str =
    "$TTL 300\n@ SOA ns1 h 1 3600 600 86400 300\n@ NS ns1\nns1 A 127.0.0.1\na A 10.0.0.1\n";

pub fn zone_statement(file: &str) -> String {
    format!("zone {ZONE} {{ type primary; file \"{file}\"; dnssec-policy p; }};\n")
}

/// The offline side: a KSK, a policy, and the folder `named` with the ZSKs, which is named's too.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub policy: &'static str,
    pub ksk: String,
    /// The other KSKs of an SKR that was built, which the loader's configuration announces.
    pub announced: Vec<String>,
}

impl Site {
    /// `end` = until when there are ZSKs, like `+1h`.
    pub fn new(policy: &'static str, end: &str) -> Option<Self> {
        common::peer("dnssec-ksr")?;
        common::peer("named")?;
        let mut site = Self {
            dir: tempfile::tempdir().expect("a folder"),
            policy,
            ksk: String::new(),
            announced: Vec::new(),
        };
        for folder in ["ksk", "named"] {
            std::fs::create_dir(site.path(folder)).expect("a folder");
        }
        std::fs::write(site.path("policy"), policy).expect("policy");
        std::fs::write(site.path("named/zone.db"), RECORDS).expect("zone");
        let ksk = site.ksr("ksk", end, &["-o", "keygen"]);
        let ksk = ksk.lines().next().expect("a KSK").to_owned();
        site.ksr("named", end, &["keygen"]);
        let ksk = std::fs::read_to_string(site.path("ksk").join(format!("{ksk}.key"))).expect("the KSK");
        ksk.lines().find(|l| !l.starts_with(';')).expect("a record").clone_into(&mut site.ksk);
        Some(site)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn ksr(&self, folder: &str, end: &str, more: &[&str]) -> String {
        let mut command = common::peer("dnssec-ksr").expect("was there");
        command.args(["-k", "p", "-l"]).arg(self.path("policy")).arg("-K").arg(self.path(folder));
        common::stdout(command.args(["-i", "now", "-e", end]).args(more).arg(ZONE))
    }

    /// A ceremony by BIND's tool, from now on: the SKR in `file`.
    pub fn ceremony(&self, end: &str, file: &str) -> PathBuf {
        let (request, skr) = (self.path("ksr"), self.path(file));
        std::fs::write(&request, self.ksr("named", end, &["request"])).expect("ksr");
        std::fs::write(&skr, self.ksr("ksk", end, &["-f", &request.display().to_string(), "sign"]))
            .expect("skr");
        skr
    }

    /// An SKR of `builder` with the ZSKs of named, in `file`; its first KSK is the one that is trusted from here on.
    pub fn build(&mut self, builder: SkrBuilder, file: &str) -> PathBuf {
        let zone = Name::parse(ZONE).expect("a name");
        let found = find_online(&self.path("named"), &zone).expect("the key folder");
        let text = found.keys.into_iter().fold(builder, |builder, key| builder.zsk(key.dnskey)).text();
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let mut ksks: Vec<String> = Vec::new();
        for ksk in lines.filter(|line| line.contains(" DNSKEY 257 3 ")) {
            if !ksks.contains(&ksk) {
                ksks.push(ksk);
            }
        }
        self.ksk = ksks.remove(0);
        self.announced = ksks;
        self.write(file, &text)
    }

    pub fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        std::fs::write(&path, text).expect("write");
        path
    }

    /// Tag of the KSK.
    pub fn ksk_tag(&self) -> u16 {
        let zone = Name::parse(ZONE).expect("a name");
        let keys = keystore::keys::files::find(&self.path("ksk"), &zone).expect("the key folder").keys;
        keys.first().expect("a KSK").dnskey.tag()
    }

    /// The base names of named's ZSKs, in the order of their times.
    pub fn zsks(&self) -> Vec<PathBuf> {
        let zone = Name::parse(ZONE).expect("a name");
        let mut keys = find_online(&self.path("named"), &zone).expect("the key folder").keys;
        keys.sort_by_key(|key| key.timing.activate);
        keys.iter().map(|key| key.dir.join(key.base_name())).collect()
    }

    pub fn named(&self) -> Named {
        let statements = format!("{}{}", self.policy, zone_statement("zone.db"));
        Named::start(&self.path("named"), &statements).expect("was there")
    }

    /// named alone: it is given `skr` by hand, and says something; then it has a moment.
    pub fn alone(&self, skr: &Path) -> (Named, String) {
        let named = self.named();
        let said = common::text(&named.rndc(&["skr", "-import", &skr.to_string_lossy(), ZONE]));
        std::thread::sleep(Duration::from_secs(2));
        (named, said)
    }

    /// named beside a loader with the target `name`, which was given `skr`.
    pub fn beside(&self, name: &str, skr: &Path) -> (Named, Running) {
        let named = self.named();
        let loader = self.load(&target(name, &named, ""));
        loader.drop_file(skr);
        (named, loader)
    }

    /// The reasons of what the loader has rejected; waits for the first.
    #[track_caller]
    pub fn rejected(&self) -> String {
        let dir = self.path("state/rejected");
        common::wait_for("a rejection", Duration::from_secs(20), || {
            let names = std::fs::read_dir(&dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
            let reasons = names.filter(|path| path.extension().is_some_and(|e| e == "reason"));
            let text: String = reasons.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
            (!text.is_empty()).then_some(text)
        })
    }

    /// A loader with these targets, running.
    pub fn load(&self, targets: &str) -> Running {
        let text = format!(
            "version = 1\nstate-dir = \"{state}\"\nnamed-conf = \"{policy}\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\n\
             key-directory = \"{keys}\"\ntrust-anchors = [\"{ksk}\"]\nannounced-ksks = {announced:?}\n[ksr]\nenabled = false\n{targets}",
            state = self.path("state").display(),
            policy = self.path("policy").display(),
            keys = self.path("named").display(),
            ksk = self.ksk,
            announced = self.announced,
        );
        load(&text)
    }
}

/// A loader with this configuration, running.
pub fn load(config: &str) -> Running {
    let config = Config::parse(config.as_bytes(), Path::new("config.toml")).unwrap_or_else(|e| panic!("{e}"));
    let log =
        tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).with_max_level(tracing::Level::INFO);
    // The first test of the process has set it.
    let _ = log.try_init();
    let metrics = Metrics::new().expect("families");
    let inbox = config.state_dir.join("inbox");
    let mut loader = Loader::new(config, metrics.clone()).unwrap_or_else(|e| panic!("{e}"));
    let control = loader.control();
    let thread = std::thread::spawn(move || loader.run(clock::now, |_| ()));
    Running { control, thread: Some(thread), metrics, inbox }
}

/// What the loaders of this process have logged.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8_lossy(text);
        // Shown by the test runner when the test fails.
        eprint!("{line}");
        LOG.lock().expect("no panic there").push_str(&line);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits for a line of the log that has all of `words`.
#[track_caller]
pub fn wait_for_log(words: &[&str]) -> String {
    common::wait_for(&format!("{words:?} in the log"), Duration::from_secs(30), || {
        let log = LOG.lock().expect("no panic there");
        log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
    })
}

/// A `[[deliver.named]]` for `named`; `more` = further lines.
pub fn target(name: &str, named: &Named, more: &str) -> String {
    let rndc = PathBuf::from(common::peer("rndc").expect("was there").get_program());
    format!(
        "[[deliver.named]]\nname = \"{name}\"\nrndc = [\"{rndc}\", \"-c\", \"{dir}/rndc.conf\"]\naddress = \"127.0.0.1:{port}\"\n\
         folder = \"{dir}/skr\"\n{more}\n",
        rndc = rndc.display(),
        dir = named.dir.display(),
        port = named.port,
    )
}

/// The loader at work, ended when dropped.
pub struct Running {
    pub control: Control,
    pub thread: Option<std::thread::JoinHandle<()>>,
    pub metrics: Metrics,
    pub inbox: PathBuf,
}

impl Running {
    pub fn drop_file(&self, skr: &Path) {
        let temp = self.inbox.join(".drop.tmp");
        std::fs::copy(skr, &temp).expect("copy");
        std::fs::rename(temp, self.inbox.join("skr")).expect("rename");
    }

    /// True when `target` is proven to serve `generation`.
    pub fn serves(&self, target: &str, generation: i64) -> bool {
        let labels = [&format!("{ZONE}."), target];
        self.metrics.skr_delivery_current.with_label_values(&labels).get() == 1
            && self.metrics.skr_delivered_generation.with_label_values(&labels).get() == generation
    }

    /// `deliveries_total` with this result.
    pub fn count(&self, target: &str, result: &str) -> u64 {
        self.metrics.skr_deliveries_total.with_label_values(&[&format!("{ZONE}."), target, result]).get()
    }

    /// Waits until the alarm is on: `target` is not proven to serve what is in force.
    #[track_caller]
    pub fn wait_for_alarm(&self, target: &str) {
        let current =
            || self.metrics.skr_delivery_current.with_label_values(&[&format!("{ZONE}."), target]).get();
        common::wait_for("a failed delivery", Duration::from_secs(30), || {
            (self.count(target, "failed") > 0 && current() == 0).then_some(())
        });
    }

    #[track_caller]
    pub fn wait(&self, target: &str, generation: i64) {
        let what = format!("{target} to serve {generation}\n{}", self.metrics.encode().expect("text"));
        common::wait_for(&what, Duration::from_secs(30), || self.serves(target, generation).then_some(()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the loader panicked");
        }
    }
}

/// Asks a new validator each time: an older one would hold keys that it has validated before.
pub async fn ask(server: SocketAddr, ksk: &str, name: &str, rtype: Rtype) -> Result<ValidatedAnswer, String> {
    let asked = async || Validator::new(server, ksk).expect("the KSK is an anchor").ask(name, rtype).await;
    // In the very second in which a signature expires the validator may panic: it reckons the seconds that are left below zero.
    // A second later it is expired or not.
    match AssertUnwindSafe(asked()).catch_unwind().await {
        Ok(answer) => answer,
        Err(_) => asked().await,
    }
    .map_err(|error| format!("{error:#}"))
}

/// What a validating resolver with an empty cache sees, asking every 200 ms.
#[derive(Debug, Default)]
pub struct Seen {
    pub queries: u32,
    pub bad: u32,
    pub serials: u32,
    /// Each kind of failure, and how often.
    pub why: BTreeMap<String, u32>,
}

impl Seen {
    pub fn add(&mut self, other: Self) {
        self.queries += other.queries;
        self.bad += other.bad;
        self.serials += other.serials;
        for (why, times) in other.why {
            *self.why.entry(why).or_default() += times;
        }
    }

    /// A positive answer, a name that is not, the DNSKEY and the SOA; each must be secure.
    pub async fn round(&mut self, port: u16, ksk: &str) {
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        for (label, rtype, rcode) in [
            ("a.", Rtype::A, Rcode::NOERROR),
            ("nobody.", Rtype::A, Rcode::NXDOMAIN),
            ("", Rtype::DNSKEY, Rcode::NOERROR),
            ("", Rtype::SOA, Rcode::NOERROR),
        ] {
            self.queries += 1;
            let fault = match ask(server, ksk, &format!("{label}{ZONE}."), rtype).await {
                Ok(answer) if answer.state != ValidationState::Secure => format!("{:?}", answer.state),
                Ok(answer) if answer.rcode != rcode => format!("{}", answer.rcode),
                Ok(answer) if rcode == Rcode::NOERROR && answer.answer.is_empty() => "empty".to_owned(),
                Ok(_) => continue,
                Err(error) => error,
            };
            self.bad += 1;
            *self.why.entry(format!("{rtype} {rcode}: {fault}")).or_default() += 1;
        }
    }

    /// Asks for so many seconds, and counts the serials that went by.
    pub fn watch(&mut self, port: u16, ksk: &str, seconds: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (started, first) = (Instant::now(), serial(port));
        while started.elapsed() < Duration::from_secs(seconds) {
            let round = Instant::now();
            runtime.block_on(self.round(port, ksk));
            std::thread::sleep(Duration::from_millis(200).saturating_sub(round.elapsed()));
        }
        self.serials += serial(port).wrapping_sub(first);
    }
}

/// What a validator sees now.
pub fn look(port: u16, ksk: &str) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut seen = Seen::default();
    runtime.block_on(seen.round(port, ksk));
    seen
}

/// The records of an answer, RRSIGs too, a line each.
pub fn dig(port: u16, name: &str, rtype: &str) -> String {
    let mut dig = common::peer("dig").expect("dig is there");
    common::stdout(dig.args([
        "+dnssec",
        "+noall",
        "+answer",
        "@127.0.0.1",
        "-p",
        &port.to_string(),
        name,
        rtype,
    ]))
}

/// Crashes a named with the policy [`FAST`], and starts it again when every signature that it had has expired. A signature is still
/// valid in the very second of its expiration.
pub fn restart_with_everything_expired(named: Named) -> Named {
    let down = named.crash();
    let expired = clock::now().plus(FAST_VALIDITY + 1);
    std::thread::sleep(clock::until(expired));
    down.start()
}

/// Seconds until the first of the signatures over the SOA, the DNSKEY and a positive and a negative answer expires.
pub fn seconds_of_validity(port: u16) -> u64 {
    let mut dig = common::peer("dig").expect("dig is there");
    dig.args(["+dnssec", "+noall", "+answer", "+authority", "@127.0.0.1", "-p", &port.to_string()]);
    for (label, rtype) in [("", "SOA"), ("", "DNSKEY"), ("a.", "A"), ("nobody.", "A")] {
        dig.args([&format!("{label}{ZONE}"), rtype]);
    }
    let said = common::stdout(&mut dig);
    let expirations = said.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "RRSIG");
        Timestamp::parse_stamp(words.nth(5)?)
    });
    expirations.min().unwrap_or_else(|| panic!("no signatures in {said}")).since(clock::now())
}

pub fn serial(port: u16) -> u32 {
    let mut dig = common::peer("dig").expect("dig is there");
    let said = common::stdout(dig.args(["+short", "@127.0.0.1", "-p", &port.to_string(), ZONE, "SOA"]));
    said.split_whitespace().nth(2).and_then(|n| n.parse().ok()).unwrap_or(0)
}

pub fn imports(named: &Named) -> usize {
    named.log().matches("imported skr file").count()
}

pub fn seconds(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}
