//! A wrong generation in `offline-ksk serve`, and the way back: over the control socket, to the zone that is served and to the requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::base::iana::Rtype;
use keystore::clock;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::files::find;
use offline_ksk_integration::serve::ServeProcess;
use offline_ksk_integration::validator::Validator;
use skr_loader::checks::FORCEABLE;
use skr_loader::control::{ControlAnswer, ControlRequest, call};

const ZONE: &str = "example.test.";
const DAY: u64 = 86_400;
const LIMIT: Duration = Duration::from_secs(30);
/// Seeds of the keys.
const KSK: u8 = 1;
const STRAY: u8 = 9;

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().expect("a folder") };
        fs::create_dir_all(site.path("state/keys")).expect("a folder");
        let zone = "@ 300 SOA ns admin 1 3600 600 86400 300\n@ 300 NS ns\nns 300 A 192.0.2.1\nwww 300 A 192.0.2.80\n";
        fs::write(site.path("zone"), format!("$ORIGIN {ZONE}\n{zone}")).expect("write");
        site.configure("");
        site
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "version = 1\nstate-dir = \"state\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\nfile = \"zone\"\n\
             trust-anchors = [\"{}\"]\n[signer]\nlisten = [\"127.0.0.1:0\"]\n[ksr]\nlead = \"P20D\"\nperiod = \"P60D\"\n\
             [policy.p]\noffline-ksk = true\nkeys = [\n  {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n  \
             {{ role = \"zsk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n]\n{more}",
            anchor()
        );
        fs::write(self.path("config.toml"), text).expect("write");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ask(&self, request: &ControlRequest) -> ControlAnswer {
        call(&self.path("state/skr-loader.sock"), request).expect("an answer")
    }

    fn import(&self, text: &str, force: &[&str]) -> ControlAnswer {
        self.ask(&ControlRequest::Import {
            name: "by hand".to_owned(),
            content: data_encoding::BASE64.encode(text.as_bytes()),
            signature: None,
            force: force.iter().map(|id| (*id).to_owned()).collect(),
            reason: (!force.is_empty()).then(|| "a test".to_owned()),
            dry_run: false,
        })
    }

    /// The open requests.
    fn requests(&self) -> usize {
        let entries = fs::read_dir(self.path("state/outbox").join("example.test.")).into_iter().flatten();
        entries.flatten().filter(|e| is_ksr(&e.path())).count()
    }
}

fn is_ksr(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "ksr")
}

fn anchor() -> String {
    let key = TestKey::ksk(KSK).dnskey;
    format!("{ZONE} 3600 IN DNSKEY 257 3 15 {}", data_encoding::BASE64.encode(&key.public_key))
}

fn until(what: &str, tell: impl Fn() -> String, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}: {}", tell());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_rollback_reaches_the_served_zone_and_the_requests() {
    let site = Site::new();
    let serving = ServeProcess::start(&site.path("config.toml")).expect("it serves");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = *serving.dns().first().expect("an address");
    // The number of DNSKEY records that are served, when they and the zone's data validate.
    let keys = || {
        runtime.block_on(async {
            let validator = Validator::new(address, &anchor()).expect("a validator");
            let www = validator.ask("www.example.test.", Rtype::A).await.map_err(|e| format!("{e:#}"))?;
            let keys = validator.ask(ZONE, Rtype::DNSKEY).await.map_err(|e| format!("{e:#}"))?;
            let secure = [&www, &keys].iter().all(|answer| format!("{:?}", answer.state) == "Secure");
            let count = keys.answer.iter().filter(|r| r.split(' ').nth(2) == Some("DNSKEY")).count();
            if secure { Ok(count) } else { Err(format!("{www:?} {keys:?}")) }
        })
    };
    let told = || format!("{:?}, {} requests", keys(), site.requests());
    until("the first request", told, || site.requests() == 1);
    let zsk = find(&site.path("state/keys"), &Name::parse(ZONE).expect("a name"))
        .expect("keys")
        .keys
        .remove(0)
        .dnskey;
    // Two weeks are less than `lead`: the next request stays due.
    let start = clock::now().minus(DAY);
    let good = SkrBuilder::new(ZONE, start).bundles(1).zsk(zsk.clone());
    let answer = site.import(&good.text(), &[]);
    assert!(matches!(&answer, ControlAnswer::Imported { imports } if imports[0].is_good()), "{answer:?}");
    until("generation 1 is served", told, || keys() == Ok(2));

    // The wrong one: far coverage, and a ZSK that nobody here has.
    let wrong = SkrBuilder::new(ZONE, start.plus(60)).zsk(zsk).zsk(TestKey::zsk(STRAY).dnskey).text();
    let answer = site.import(&wrong, &[]);
    assert!(
        matches!(&answer, ControlAnswer::Imported { imports } if imports[0].result.as_str() == "rejected"),
        "{answer:?}"
    );
    let answer = site.import(&wrong, &FORCEABLE.iter().map(|id| id.as_str()).collect::<Vec<_>>());
    assert!(
        matches!(&answer, ControlAnswer::Imported { imports } if imports[0].generation == Some(2)),
        "{answer:?}"
    );
    until("generation 2 is served", told, || keys() == Ok(3));
    until("no request is due", told, || site.requests() == 0);

    let answer = site.ask(&ControlRequest::Rollback {
        zone: ZONE.to_owned(),
        to: None,
        force: vec!["SKR-PROVE".to_owned()],
        reason: Some("a test".to_owned()),
        dry_run: false,
    });
    assert!(
        matches!(&answer, ControlAnswer::RolledBack(report) if (report.to, report.generation) == (1, 3)),
        "{answer:?}"
    );
    until("generation 3 is served", told, || keys() == Ok(2));
    until("a request again", told, || site.requests() == 1);
    let ControlAnswer::Status(status) = site.ask(&ControlRequest::Status { zones: Vec::new() }) else {
        panic!()
    };
    assert_eq!((status.zones[0].generation, status.zones[0].covered), (3, true));

    // The same socket takes a reload to every part, and says what is wrong.
    site.configure("nonsense = 1\n");
    let answer = site.ask(&ControlRequest::Reload {});
    assert!(
        matches!(&answer, ControlAnswer::NotReloaded { findings } if findings[0].contains("nonsense")),
        "{answer:?}"
    );
    site.configure("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let answer = site.ask(&ControlRequest::Reload {});
    assert!(
        matches!(&answer, ControlAnswer::NotReloaded { findings } if findings[0].contains("[metrics] listen")),
        "{answer:?}"
    );
    site.configure("");
    assert!(matches!(site.ask(&ControlRequest::Reload {}), ControlAnswer::Reloaded { zones: 1, .. }));
    serving.stop();
    assert!(!site.path("state/skr-loader.sock").exists());
}
