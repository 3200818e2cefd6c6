//! skr-loader beside real named: delivery, restarts, the boundaries of bundles that named alone misses, several servers and views.
//!
//! What is served is judged by a validator of its own (`domain`'s, or `delv`), never by the proof that the loader makes.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::Named;
use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::dnssec::validator::context::ValidationState;
use futures_util::FutureExt as _;
use integration::validator::{Answer, Validator};
use keystore::clock;
use keystore::config::Config;
use metrics::Metrics;
use skr_loader::Loader;
use skr_loader::loader::Control;

const ZONE: &str = "fast.test";
/// BIND's own test scenario `fast`: signatures of 6 seconds, a bundle every 4.
const FAST: &str = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 13; zsk lifetime 8792 algorithm 13; };
    dnskey-ttl 439; max-zone-ttl 4396; zone-propagation-delay 439; signatures-validity 6; signatures-validity-dnskey 6;
    signatures-refresh 2; signatures-jitter 0; publish-safety 1; retire-safety 1; parent-ds-ttl 5; parent-propagation-delay 5; };\n";
/// A zone whose bundles last for days.
const CALM: &str = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 13; zsk lifetime P1Y algorithm 13; }; };\n";
const RECORDS: &str = "$TTL 300\n@ SOA ns1 h 1 3600 600 86400 300\n@ NS ns1\nns1 A 127.0.0.1\na A 10.0.0.1\n";

fn zone_statement(file: &str) -> String {
    format!("zone {ZONE} {{ type primary; file \"{file}\"; dnssec-policy p; }};\n")
}

/// The offline side: a KSK, a policy, and the folder `named` with the ZSKs, which is named's too.
struct Site {
    dir: tempfile::TempDir,
    policy: &'static str,
    ksk: String,
}

impl Site {
    /// `end` = until when there are ZSKs, like `+1h`.
    fn new(policy: &'static str, end: &str) -> Option<Self> {
        common::peer("dnssec-ksr")?;
        common::peer("named")?;
        let mut site = Self { dir: tempfile::tempdir().expect("a folder"), policy, ksk: String::new() };
        for folder in ["ksk", "named"] {
            std::fs::create_dir(site.path(folder)).expect("a folder");
        }
        std::fs::write(site.path("policy"), policy).expect("policy");
        std::fs::write(site.path("named/zone.db"), RECORDS).expect("zone");
        let ksk = site.ksr("ksk", end, &["-o", "keygen"]).trim().to_owned();
        site.ksr("named", end, &["keygen"]);
        let ksk = std::fs::read_to_string(site.path("ksk").join(format!("{ksk}.key"))).expect("the KSK");
        ksk.lines().find(|l| !l.starts_with(';')).expect("a record").clone_into(&mut site.ksk);
        Some(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ksr(&self, folder: &str, end: &str, more: &[&str]) -> String {
        let mut command = common::peer("dnssec-ksr").expect("was there");
        command.args(["-k", "p", "-l"]).arg(self.path("policy")).arg("-K").arg(self.path(folder));
        common::stdout(command.args(["-i", "now", "-e", end]).args(more).arg(ZONE))
    }

    /// A ceremony by BIND's tool, from now on: the SKR in `file`.
    fn ceremony(&self, end: &str, file: &str) -> PathBuf {
        let (request, skr) = (self.path("ksr"), self.path(file));
        std::fs::write(&request, self.ksr("named", end, &["request"])).expect("ksr");
        std::fs::write(&skr, self.ksr("ksk", end, &["-f", &request.display().to_string(), "sign"]))
            .expect("skr");
        skr
    }

    fn named(&self) -> Named {
        let statements = format!("{}{}", self.policy, zone_statement("zone.db"));
        Named::start(&self.path("named"), &statements).expect("was there")
    }

    /// A loader with these targets, running.
    fn load(&self, targets: &str) -> Running {
        let text = format!(
            "version = 1\nstate-dir = \"{state}\"\nnamed-conf = \"{policy}\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\n\
             key-directory = \"{keys}\"\ntrust-anchors = [\"{ksk}\"]\n[ksr]\nenabled = false\n{targets}",
            state = self.path("state").display(),
            policy = self.path("policy").display(),
            keys = self.path("named").display(),
            ksk = self.ksk,
        );
        let config =
            Config::parse(text.as_bytes(), &self.path("config.toml")).unwrap_or_else(|e| panic!("{e}"));
        // Shown by the test runner when the test fails.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO).try_init();
        let metrics = Metrics::new().expect("families");
        let inbox = config.state_dir.join("inbox");
        let mut loader = Loader::new(config, metrics.clone()).unwrap_or_else(|e| panic!("{e}"));
        let control = loader.control();
        let thread = std::thread::spawn(move || loader.run(clock::now, |_| ()));
        Running { control, thread: Some(thread), metrics, inbox }
    }
}

/// A `[[deliver.named]]` for `named`; `more` = further lines.
fn target(name: &str, named: &Named, more: &str) -> String {
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
struct Running {
    control: Control,
    thread: Option<std::thread::JoinHandle<()>>,
    metrics: Metrics,
    inbox: PathBuf,
}

impl Running {
    fn drop_file(&self, skr: &Path) {
        let temp = self.inbox.join(".drop.tmp");
        std::fs::copy(skr, &temp).expect("copy");
        std::fs::rename(temp, self.inbox.join("skr")).expect("rename");
    }

    /// True when `target` is proven to serve `generation`.
    fn serves(&self, target: &str, generation: i64) -> bool {
        let labels = [&format!("{ZONE}."), target];
        self.metrics.skr_delivery_current.with_label_values(&labels).get() == 1
            && self.metrics.skr_delivered_generation.with_label_values(&labels).get() == generation
    }

    #[track_caller]
    fn wait(&self, target: &str, generation: i64) {
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
async fn ask(server: SocketAddr, ksk: &str, name: &str, rtype: Rtype) -> Result<Answer, String> {
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
struct Seen {
    queries: u32,
    bad: u32,
    serials: u32,
    /// Each kind of failure, and how often.
    why: BTreeMap<String, u32>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.queries += other.queries;
        self.bad += other.bad;
        self.serials += other.serials;
        for (why, times) in other.why {
            *self.why.entry(why).or_default() += times;
        }
    }

    /// A positive answer, a name that is not, the DNSKEY and the SOA; each must be secure.
    async fn round(&mut self, port: u16, ksk: &str) {
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
    fn watch(&mut self, port: u16, ksk: &str, seconds: u64) {
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

fn serial(port: u16) -> u32 {
    let mut dig = common::peer("dig").expect("dig is there");
    let said = common::stdout(dig.args(["+short", "@127.0.0.1", "-p", &port.to_string(), ZONE, "SOA"]));
    said.split_whitespace().nth(2).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn imports(named: &Named) -> usize {
    named.log().matches("imported skr file").count()
}

fn seconds(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// With signatures of 6 seconds, across a restart of named, a validator sees no bad answer, and serials go slowly.
#[test]
fn boundaries_of_six_second_signatures_are_never_missed() {
    let Some(site) = Site::new(FAST, "+1h") else { return };
    let named = site.named();
    let loader = site.load(&target("ns1", &named, ""));
    loader.drop_file(&site.ceremony("+1h", "skr"));
    loader.wait("ns1", 1);
    let (seconds, mut seen) = (seconds("OFFLINE_KSK_SOAK_SECONDS", 120), Seen::default());
    seen.watch(named.port, &site.ksk, seconds / 2);
    println!("SOAK before the restart of named: {seen:?}");

    let named = named.stop().start();
    let (up, log) = (Instant::now(), site.path("named/named.log"));
    let back = std::thread::spawn(move || {
        common::wait_for("the SKR in named", Duration::from_secs(5), || {
            std::fs::read_to_string(&log).ok()?.contains("imported skr file").then_some(())
        });
        up.elapsed()
    });
    let mut after = Seen::default();
    after.watch(named.port, &site.ksk, seconds - seconds / 2);
    println!("SOAK after the restart of named: {after:?}, SKR back {:.1?}", back.join().expect("within 5 s"));
    seen.add(after);
    println!("SOAK with skr-loader: {seconds} s, {seen:?}");
    assert!(u64::from(seen.queries) > 4 * seconds, "{seen:?}");
    assert_eq!(seen.bad, 0, "{seen:?}\n{}", loader.metrics.encode().expect("text"));
    assert!(u64::from(seen.serials) < 2 * seconds, "{seen:?}");
}

/// The same without the loader: what it is for.
#[test]
fn named_alone_serves_expired_signatures_and_storms() {
    let Some(site) = Site::new(FAST, "+1h") else { return };
    let named = site.named();
    let skr = site.ceremony("+1h", "skr");
    let said = common::text(&named.rndc(&["skr", "-import", &skr.to_string_lossy(), ZONE]));
    assert!(!said.contains("failed"), "{said}");
    std::thread::sleep(Duration::from_secs(2));
    let (seconds, mut seen) = (seconds("OFFLINE_KSK_SOAK_ALONE_SECONDS", 12), Seen::default());
    seen.watch(named.port, &site.ksk, seconds);
    println!("SOAK named alone: {seconds} s, {seen:?}");
    assert!(seen.bad > 0 && seen.serials > 100, "{seen:?}");
}

/// N1: two crashes, each with the ports kept; delv judges.
#[test]
fn a_restarted_named_has_its_skr_back_within_5_seconds() {
    let Some(site) = Site::new(CALM, "+30d") else { return };
    let mut named = site.named();
    let loader = site.load(&target("ns1", &named, ""));
    loader.drop_file(&site.ceremony("+30d", "skr"));
    loader.wait("ns1", 1);
    let anchor = site.path("anchor");
    let fields: Vec<&str> = site.ksk.split_whitespace().collect();
    let at = fields.iter().position(|f| *f == "DNSKEY").expect("a DNSKEY");
    let [flags, protocol, algorithm] = [1, 2, 3].map(|i| fields[at + i]);
    let key = fields[at + 4..].concat();
    let text = format!("trust-anchors {{ {ZONE}. static-key {flags} {protocol} {algorithm} \"{key}\"; }};");
    std::fs::write(&anchor, text).expect("anchor");
    for _ in 0..2 {
        named = named.crash().start();
        let started = Instant::now();
        common::wait_for("the import", Duration::from_secs(5), || (imports(&named) > 0).then_some(()));
        println!("SKR back after {:.1?}", started.elapsed());
        for (name, expected) in
            [("a", "; fully validated"), ("nobody", "; negative response, fully validated")]
        {
            common::wait_for(name, Duration::from_secs(20), || {
                let mut delv = common::peer("delv").expect("was there");
                delv.arg("@127.0.0.1").args(["-p", &named.port.to_string(), "-a"]).arg(&anchor);
                delv.arg(format!("+root={ZONE}")).args([&format!("{name}.{ZONE}"), "A"]);
                let said = common::text(&delv.output().expect("run delv"));
                said.contains(expected).then_some(())
            });
        }
    }
}

/// Two servers, one with two views: each has a state of its own, and one that is down holds up nobody and is served later.
#[test]
fn servers_and_views_are_told_apart_and_one_that_is_down_catches_up() {
    let Some(site) = Site::new(CALM, "+60d") else { return };
    let second = site.path("second");
    common::run(std::process::Command::new("cp").arg("-r").arg(site.path("named")).arg(&second));
    for view in ["inside", "outside"] {
        std::fs::write(site.path(&format!("named/{view}.db")), RECORDS).expect("zone");
    }
    let view = |name: &str, clients: &str| {
        let zone = zone_statement(&format!("{name}.db"));
        format!("view {name} {{ match-clients {{ {clients}; }};\n{zone}}};\n")
    };
    let statements = format!("{CALM}{}{}", view("inside", "127.0.0.2"), view("outside", "any"));
    let named = Named::start(&site.path("named"), &statements).expect("was there");
    let other = Named::start(&second, &format!("{CALM}{}", zone_statement("zone.db"))).expect("was there");
    let targets = [
        target("inside", &named, "view = \"inside\"\nsource = \"127.0.0.2\""),
        target("outside", &named, "view = \"outside\""),
        target("second", &other, ""),
    ];
    let loader = site.load(&targets.concat());
    loader.drop_file(&site.ceremony("+30d", "skr"));
    for name in ["inside", "outside", "second"] {
        loader.wait(name, 1);
    }
    assert_eq!((imports(&named), imports(&other)), (2, 1));

    let other = other.crash();
    let up = |name: &str| loader.metrics.delivery_server_up.with_label_values(&[name]).get();
    common::wait_for("the alarm", Duration::from_secs(20), || (up("second") == 0).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    loader.drop_file(&site.ceremony("+50d", "skr2"));
    for name in ["inside", "outside"] {
        loader.wait(name, 2);
    }
    assert!(!loader.serves("second", 1) && !loader.serves("second", 2), "it is down");
    assert_eq!((up("inside"), up("outside"), up("second"), imports(&named)), (1, 1, 0, 4));

    let other = other.start();
    loader.wait("second", 2);
    assert_eq!(imports(&other), 1, "only what is in force");
    assert_eq!(imports(&named), 4);
    for name in ["inside", "outside", "second"] {
        let note = site.path(&format!("state/delivered/{name}"));
        let note = std::fs::read_dir(note).expect("a folder").next().expect("a note").expect("a note").path();
        let note = std::fs::read_to_string(note).expect("text");
        assert!(note.contains("\"generation\":2"), "{note}");
    }
}
