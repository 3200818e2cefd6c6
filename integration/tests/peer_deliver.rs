//! skr-loader beside a real named: delivery, restart, and the boundaries of bundles that named alone misses.

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::Named;
use keystore::clock;
use keystore::config::Config;
use keystore::dns::Name;
use keystore::exchange::bind;
use metrics::Metrics;
use skr_loader::Loader;
use skr_loader::deliver::plan::Plan;
use skr_loader::deliver::probe::Probe;

const ZONE: &str = "fast.test";
/// BIND's own test scenario `fast`: signatures of 6 seconds, a bundle every 4.
const POLICY: &str = "dnssec-policy fast { offline-ksk yes; keys { ksk lifetime unlimited algorithm 13; zsk lifetime 8792 algorithm 13; };
    dnskey-ttl 439; max-zone-ttl 4396; zone-propagation-delay 439; signatures-validity 6; signatures-validity-dnskey 6;
    signatures-refresh 2; signatures-jitter 0; publish-safety 1; retire-safety 1; parent-ds-ttl 5; parent-propagation-delay 5; };
    zone fast.test { type primary; file \"fast.db\"; dnssec-policy fast; };";

/// named with the zone, its ZSK, and an SKR of an hour.
struct Site {
    dir: tempfile::TempDir,
    skr: PathBuf,
    ksk: String,
}

impl Site {
    fn new() -> Option<Self> {
        common::peer("dnssec-ksr")?;
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for folder in ["ksk", "named"] {
            std::fs::create_dir(at(folder)).expect("a folder");
        }
        std::fs::write(at("policy"), POLICY).expect("policy");
        let zone = "$TTL 300\n@ SOA ns1 h 1 3600 600 86400 300\n@ NS ns1\nns1 A 127.0.0.1\na A 10.0.0.1\n";
        std::fs::write(at("named/fast.db"), zone).expect("zone");
        let ksr = |folder: &str, more: &[&str]| {
            let mut command = common::peer("dnssec-ksr").expect("was there");
            command.args(["-k", "fast", "-l"]).arg(at("policy")).arg("-K").arg(at(folder));
            common::stdout(command.args(["-i", "now", "-e", "+1h"]).args(more).arg(ZONE))
        };
        let ksk = ksr("ksk", &["-o", "keygen"]).trim().to_owned();
        ksr("named", &["keygen"]);
        std::fs::write(at("ksr"), ksr("named", &["request"])).expect("ksr");
        let request = at("ksr").display().to_string();
        std::fs::write(at("skr"), ksr("ksk", &["-f", &request, "sign"])).expect("skr");
        let ksk = std::fs::read_to_string(at("ksk").join(format!("{ksk}.key"))).expect("the KSK");
        let ksk = ksk.lines().find(|l| !l.starts_with(';')).expect("a record").to_owned();
        let skr = at("skr");
        Some(Self { dir, skr, ksk })
    }

    fn named_dir(&self) -> PathBuf {
        self.dir.path().join("named")
    }

    fn named(&self) -> Option<Named> {
        Named::start(&self.named_dir(), POLICY)
    }

    fn config(&self, named: &Named) -> Config {
        let (named_dir, state) = (self.named_dir(), self.dir.path().join("state"));
        let rndc = PathBuf::from(common::peer("rndc").expect("was there").get_program());
        let text = format!(
            "version = 1\nstate-dir = \"{state}\"\nnamed-conf = \"{policy}\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"fast\"\n\
             key-directory = \"{dir}\"\ntrust-anchors = [\"{ksk}\"]\n[ksr]\nenabled = false\n\
             [[deliver.named]]\nname = \"ns1\"\nrndc = [\"{rndc}\", \"-c\", \"{dir}/rndc.conf\"]\naddress = \"127.0.0.1:{port}\"\nfolder = \"{dir}/skr\"\n",
            state = state.display(),
            policy = self.dir.path().join("policy").display(),
            dir = named_dir.display(),
            ksk = self.ksk,
            rndc = rndc.display(),
            port = named.port,
        );
        let path = self.dir.path().join("config.toml");
        Config::parse(text.as_bytes(), &path).unwrap_or_else(|e| panic!("{e}"))
    }

    /// What a query every 200 ms sees.
    fn watch(&self, port: u16, seconds: u64) -> Seen {
        let zone = Name::parse(ZONE).expect("a name");
        let text = std::fs::read(&self.skr).expect("the SKR");
        let bundles = bind::parse_skr(&text, &zone).expect("an SKR").bundles;
        let probe = Probe::new(([127, 0, 0, 1], port).into(), None);
        let started = Instant::now();
        let (mut seen, first) = (Seen::default(), serial(port));
        while started.elapsed() < Duration::from_secs(seconds) {
            let now = clock::now();
            // Any bundle will do whose signatures are valid: the judge is a validator, not the schedule.
            let near = Plan::as_signed(&bundles, now.minus(8));
            let good =
                near.slots.iter().take(4).any(|slot| probe.prove(&zone, &slot.bundle, clock::now()).is_ok());
            seen.queries += 1;
            seen.bogus += u32::from(!good);
            std::thread::sleep(Duration::from_millis(200));
        }
        seen.serials = serial(port).wrapping_sub(first);
        seen
    }
}

#[derive(Debug, Default)]
struct Seen {
    queries: u32,
    bogus: u32,
    serials: u32,
}

fn serial(port: u16) -> u32 {
    let mut dig = common::peer("dig").expect("dig is there");
    let said = common::stdout(dig.args(["+short", "@127.0.0.1", "-p", &port.to_string(), ZONE, "SOA"]));
    said.split_whitespace().nth(2).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The loader in a thread, with the SKR dropped.
fn load(site: &Site, config: Config) -> (skr_loader::loader::Control, std::thread::JoinHandle<()>, Metrics) {
    let metrics = Metrics::new().expect("families");
    let inbox = config.state_dir.join("inbox");
    let mut loader = Loader::new(config, metrics.clone()).unwrap_or_else(|e| panic!("{e}"));
    let control = loader.control();
    let thread = std::thread::spawn(move || loader.run(clock::now, |_| ()));
    drop_file(&site.skr, &inbox);
    (control, thread, metrics)
}

fn drop_file(skr: &Path, inbox: &Path) {
    let temp = inbox.join(".drop.tmp");
    std::fs::copy(skr, &temp).expect("copy");
    std::fs::rename(temp, inbox.join("skr")).expect("rename");
}

fn is_current(metrics: &Metrics) -> Option<()> {
    (metrics.skr_delivery_current.with_label_values(&["fast.test.", "ns1"]).get() == 1).then_some(())
}

fn imports(named: &Named) -> usize {
    named.log().matches("imported skr file").count()
}

#[test]
fn boundaries_of_six_second_signatures_are_never_missed() {
    let Some(site) = Site::new() else { return };
    let Some(named) = site.named() else { return };
    let seconds = std::env::var("OFFLINE_KSK_SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(120);
    let (control, thread, metrics) = load(&site, site.config(&named));
    common::wait_for("the first proof", Duration::from_secs(20), || is_current(&metrics));
    let seen = site.watch(named.port, seconds);
    println!("with skr-loader: {seen:?} in {seconds} s");
    assert!(seen.queries > 20, "{seen:?}");
    assert_eq!(seen.bogus, 0, "{seen:?}\n{}", metrics.encode().expect("text"));
    // One rekey a bundle, and what named renews by itself.
    assert!(u64::from(seen.serials) < 10 * seconds, "{seen:?}");
    control.stop();
    thread.join().expect("the loader ends");
}

#[test]
fn a_restarted_named_has_its_skr_back_within_5_seconds() {
    let Some(site) = Site::new() else { return };
    let Some(named) = site.named() else { return };
    let (control, thread, metrics) = load(&site, site.config(&named));
    common::wait_for("the first proof", Duration::from_secs(20), || is_current(&metrics));
    drop(named);
    let named = site.named().expect("it was there");
    assert_eq!(imports(&named), 0, "it has forgotten");
    let started = Instant::now();
    // rndc.conf has been written anew, so the loader reaches it by its boot time; only its DNS port is another one.
    common::wait_for("the import", Duration::from_secs(5), || (imports(&named) > 0).then_some(()));
    println!("SKR back after {:?}", started.elapsed());
    assert!(control.reload(site.config(&named)), "the loader runs");
    common::wait_for("the proof", Duration::from_secs(10), || is_current(&metrics));
    control.stop();
    thread.join().expect("the loader ends");
}

#[test]
fn named_alone_serves_expired_signatures_and_storms() {
    let Some(site) = Site::new() else { return };
    let Some(named) = site.named() else { return };
    common::run(common::peer("rndc").expect("was there").arg("-c").arg(named.dir.join("rndc.conf")).args([
        "skr",
        "-import",
        &site.skr.to_string_lossy(),
        ZONE,
    ]));
    std::thread::sleep(Duration::from_secs(2));
    let seen = site.watch(named.port, 12);
    println!("named alone: {seen:?} in 12 s");
    assert!(seen.bogus > 0 && seen.serials > 100, "{seen:?}");
}
