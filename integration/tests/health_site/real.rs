//! The conditions brought about for real on daemons that run as they do for an operator: by files, drops, commands, reloads and signals.
//! Each is seen in the terminal, the JSON, the exit code, `/readyz`, the page and the metrics, and is gone from all of them when it is mended.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::timing::State;
use keystore::keys::{KeyFile, Timing};
use keystore::store::{digest, format_current};
use keystore::time::Timestamp;
use metrics::health::ConditionId;
use metrics::health::watch::PAUSE;
use skr_loader::control::{Answer, Request, call};

use super::health_site::{get, now};

const DAY: u64 = 86_400;
/// Longest wait for what takes two looks of a second: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
const ZONE: &str = "example.";
/// Hosts of a zone file: enough that far fewer are held back.
const HOSTS: usize = 60;

/// A process that ends with the test.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.0.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "{name}");
    }

    /// As the kernel does when memory runs out.
    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address").port()
}

/// A folder with a configuration, keys and zone files.
struct Place {
    dir: tempfile::TempDir,
    http: u16,
    requests_http: u16,
    dns: u16,
}

/// What a configuration has beside the zone `example.`.
#[derive(Default)]
struct Extra<'a> {
    zones: &'a [&'a str],
    signer: &'a str,
    metrics: &'a str,
    ksr: &'a str,
    policy: &'a str,
    more: &'a str,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let place = Self { dir, http: free_port(), requests_http: free_port(), dns: free_port() };
        for folder in ["state/keys", "state/inbox"] {
            fs::create_dir_all(place.path(folder)).expect("a folder");
        }
        place.write_zone(ZONE, HOSTS);
        place.write_key(ZONE, &TestKey::zsk(2), 2);
        place.configure(&Extra::default());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).expect("write");
        fs::rename(self.path("new"), self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    fn write_zone(&self, zone: &str, hosts: usize) {
        let mut text = String::from("$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n");
        (0..hosts).for_each(|host| text.push_str(&format!("h{host} A 192.0.2.1\n")));
        self.write(&format!("{zone}zone"), &text);
    }

    fn configure(&self, extra: &Extra<'_>) {
        let anchor = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
        let zones = [ZONE].iter().chain(extra.zones).map(|zone| {
            format!(
                "[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\nfile = \"{zone}zone\"\n\
                 trust-anchors = [\"{zone} 3600 IN DNSKEY 257 3 15 {anchor}\"]\n"
            )
        });
        let Extra { signer, metrics, ksr, policy, more, .. } = extra;
        let ksr = if ksr.is_empty() { "enabled = false" } else { ksr };
        let (http, requests, dns) = (self.http, self.requests_http, self.dns);
        let text = format!(
            "version = 1\nstate-dir = \"state\"\n{}[policy.p]\noffline-ksk = true\n{policy}\nkeys = [{{ role = \"ksk\", lifetime = 0, \
             algorithm = 15 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n[signer]\nlisten = [\"127.0.0.1:{dns}\"]\n{signer}\n\
             [metrics]\nlisten = \"127.0.0.1:{http}\"\nrequests-listen = \"127.0.0.1:{requests}\"\n{metrics}\n[ksr]\n{ksr}\n{more}\n",
            zones.collect::<String>()
        );
        self.write("config.toml", &text);
    }

    fn key_file(&self, zone: &str, key: &TestKey) -> KeyFile {
        let long_ago = Some(Timestamp::from_secs(1_000_000_000));
        let timing = Timing { created: long_ago, publish: long_ago, activate: long_ago, ..Timing::default() };
        let is_ksk = key.dnskey.flags & 1 == 1;
        let state = State { lifetime: Some(0), zsk: Some(!is_ksk), ksk: Some(is_ksk), ..State::default() };
        let (zone, dnskey) = (Name::parse(zone).expect("a name"), key.dnskey.clone());
        KeyFile { zone, ttl: 3600, dnskey, timing, state: Some(state), dir: self.path("state/keys") }
    }

    fn write_key(&self, zone: &str, key: &TestKey, seed: u8) {
        self.key_file(zone, key).write(&PrivateKey::Raw(vec![seed; 32])).expect("a key");
    }

    fn private(&self) -> PathBuf {
        self.key_file(ZONE, &TestKey::zsk(2)).path("private")
    }

    fn drop_text(&self, name: &str, text: &str) {
        self.write(&format!("state/inbox/{name}"), text);
    }

    /// Puts text in place of the newest generation, as if the loader had.
    fn accept(&self, generation: u64, builder: &SkrBuilder) {
        let (folder, text) = (self.path("state/accepted").join(ZONE), builder.text());
        fs::write(folder.join(format!("{generation}.skr")), &text).expect("write");
        let current = format_current(generation, &digest(text.as_bytes()));
        self.write(&format!("state/accepted/{ZONE}/current"), &current);
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        command.args(arguments).arg("-c").arg(self.path("config.toml")).stdin(Stdio::null());
        command
    }

    fn start(&self, arguments: &[&str]) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut command = self.program(arguments);
        Daemon(command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"))
    }

    /// `serve` for a zone that is well.
    fn serve(&self) -> Daemon {
        let daemon = self.start(&["serve"]);
        wait("the daemon", || self.path("state/skr-loader.sock").exists());
        self.drop_text("good.skr", &good(ZONE).text());
        wait("the zone", || {
            self.status(&["--json"]).contains("\"covered\": true")
                && self.page("/readyz").starts_with("ready")
        });
        daemon
    }

    fn order(&self, request: &Request) -> Answer {
        call(&self.path("state/skr-loader.sock"), request).expect("the loader answers")
    }

    fn acknowledge(&self, zone: &str) {
        let order = |file: Option<&str>| {
            let (zone, file) = (zone.to_owned(), file.map(str::to_owned));
            self.order(&Request::Acknowledge { zone, file, reason: None })
        };
        let answer = order(Some("older.skr"));
        assert!(matches!(answer, Answer::Refused { .. }), "another drop was rejected since: {answer:?}");
        let answer = order(None);
        assert!(matches!(answer, Answer::Acknowledged { .. }), "{answer:?}");
        let answer = order(None);
        assert!(matches!(answer, Answer::Refused { .. }), "nothing is left: {answer:?}");
    }

    fn status_output(&self, arguments: &[&str]) -> Output {
        self.program(&[&["status"], arguments].concat()).output().expect("it runs")
    }

    fn status(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.status_output(arguments).stdout).expect("text")
    }

    fn page(&self, path: &str) -> String {
        page(self.http, path)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

fn page(port: u16, path: &str) -> String {
    let address = ([127, 0, 0, 1], port).into();
    if std::net::TcpStream::connect(address).is_err() { String::new() } else { get(address, path).1 }
}

fn good(zone: &str) -> SkrBuilder {
    SkrBuilder::new(zone, now().minus(DAY)).bundles(20)
}

#[track_caller]
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The places where a condition is not as it should be, of those where people and programs look. `http` is the endpoint that is asked.
fn differing(place: &Place, http: u16, ids: &[ConditionId], are_there: bool) -> Vec<String> {
    let json = place.status(&["--json"]);
    let check = place.status_output(&["--check"]);
    let line = String::from_utf8_lossy(&check.stdout).into_owned();
    let shown = [
        ("terminal", place.status(&[])),
        ("JSON", json),
        ("plugin", line),
        ("/readyz", page(http, "/readyz")),
        ("page", ["/", "/zone/example.", "/zone/new.", "/zone/third."].map(|path| page(http, path)).concat()),
        ("metrics", page(http, "/metrics")),
    ];
    let mut wrong = Vec::new();
    for id in ids {
        let is_urgent = id.severities().first().is_some_and(|s| *s >= metrics::health::Severity::Warning);
        for (name, text) in &shown {
            let there = match *name {
                "metrics" => text.contains(&format!("condition=\"{id}\"")),
                // Texts of conditions may name others.
                "JSON" => text.contains(&format!("\"id\": \"{id}\"")),
                "page" => text.contains(&format!("<code>{id}</code>")),
                _ => text.contains(id.as_str()),
            };
            if there != are_there {
                wrong.push(format!("{id}: {name}"));
            }
        }
        if are_there && is_urgent && check.status.code() == Some(0) {
            wrong.push(format!("{id}: exit code {:?}", check.status.code()));
        }
    }
    wrong
}

/// Waits until all of these conditions are seen everywhere, or nowhere any more.
#[track_caller]
fn see(place: &Place, http: u16, ids: &[ConditionId], are_there: bool) {
    let begun = Instant::now();
    let mut wrong = differing(place, http, ids, are_there);
    while !wrong.is_empty() {
        let should = if are_there { "be seen everywhere" } else { "be gone everywhere" };
        assert!(
            begun.elapsed() < LIMIT,
            "should {should}: {wrong:?}\n{}\n{}",
            page(http, "/readyz"),
            place.log()
        );
        std::thread::sleep(Duration::from_millis(50));
        wrong = differing(place, http, ids, are_there);
    }
    eprintln!("{ids:?} {are_there} after {:?}", begun.elapsed());
}

/// Brings conditions about, sees them everywhere, mends them, and sees them nowhere.
#[track_caller]
fn bring(place: &Place, ids: &[ConditionId], bring: impl FnOnce(), mend: impl FnOnce()) {
    see(place, place.http, ids, false);
    bring();
    see(place, place.http, ids, true);
    mend();
    see(place, place.http, ids, false);
}

/// Puts a link to itself, which cannot be opened, in the place of a file or folder, which is missing at no moment.
fn make_unreadable(path: &Path) {
    symlink(path, path.with_extension("away")).expect("a link");
    exchange(path);
}

fn restore(path: &Path) {
    exchange(path);
    fs::remove_file(path.with_extension("away")).expect("the link");
}

fn exchange(path: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, path, CWD, path.with_extension("away"), RenameFlags::EXCHANGE).expect("exchanged");
}

const FILES: [ConditionId; 8] = [
    ConditionId::ZoneFileRejected,
    ConditionId::ImportRejected,
    ConditionId::ImportDeferred,
    ConditionId::KeyKskOnline,
    ConditionId::RequestWaits,
    ConditionId::HealthUnreadable,
    ConditionId::ConfigRejected,
    ConditionId::KeyZskUnreadable,
];
const KEPT: [ConditionId; 4] = [
    ConditionId::KeyZskMissing,
    ConditionId::AuditBroken,
    ConditionId::SkrStoreDamaged,
    ConditionId::WatchStalled,
];
const UNREADABLE: [ConditionId; 3] =
    [ConditionId::SignerZoneFileUnreadable, ConditionId::SignerSkrUnreadable, ConditionId::KeyFilesDamaged];

#[test]
fn conditions_that_files_and_drops_bring_about_are_seen_and_go() {
    // Two looks, of this process and of another one, are the longest way of a fact to where it is seen.
    assert!(2 * PAUSE <= Duration::from_secs(1));
    let place = Place::new();
    let _daemon = place.serve();
    let config = fs::read_to_string(place.path("config.toml")).expect("it is there");
    let outbox = place.path("state/outbox").join(ZONE);
    let mode = |mode| fs::set_permissions(place.private(), fs::Permissions::from_mode(mode)).expect("chmod");
    bring(
        &place,
        &FILES,
        || {
            place.write("example.zone", "this is no zone file\n");
            let other = SkrBuilder::new(ZONE, now().minus(DAY)).ksk(TestKey::ksk(7));
            place.drop_text("other.skr", &other.text());
            place.write("unsafe.skr", "x\n");
            let open = fs::Permissions::from_mode(0o666);
            fs::set_permissions(place.path("unsafe.skr"), open).expect("chmod");
            fs::rename(place.path("unsafe.skr"), place.path("state/inbox/unsafe.skr")).expect("rename");
            place.write_key(ZONE, &TestKey::ksk(1), 1);
            fs::create_dir_all(&outbox).expect("a folder");
            fs::write(outbox.join(format!("{}.ksr", now())), ";; a request\n").expect("write");
            place.write("state/health/probe.json", "{");
            place.write("config.toml", &format!("{config}nonsense = 1\n"));
            mode(0o644);
        },
        || {
            place.write_zone(ZONE, HOSTS);
            place.acknowledge(ZONE);
            fs::remove_file(place.path("state/inbox/unsafe.skr")).expect("it was left");
            let ksk = place.key_file(ZONE, &TestKey::ksk(1));
            ["key", "private", "state"].iter().for_each(|s| fs::remove_file(ksk.path(s)).expect("a file"));
            fs::remove_dir_all(&outbox).expect("it was there");
            fs::remove_file(place.path("state/health/probe.json")).expect("it was there");
            place.write("config.toml", &config);
            mode(0o600);
        },
    );
    let log = fs::read_to_string(place.path("state/audit.jsonl")).expect("it is there");
    let last = log.lines().last().expect("a line");
    assert!(last.contains("\"event\":\"acknowledged\"") && last.contains("other.skr"), "{last}");

    let generation = place.path("state/accepted").join(ZONE).join("1.skr");
    let octets = fs::read(&generation).expect("it is there");
    bring(
        &place,
        &KEPT,
        || {
            fs::rename(place.private(), place.path("away")).expect("moved");
            fs::write(place.path("state/audit.jsonl"), log.replacen("accepted", "Accepted", 1))
                .expect("write");
            fs::write(&generation, "altered").expect("write");
            fs::rename(place.path("state/inbox"), place.path("inbox-away")).expect("moved");
        },
        || {
            fs::rename(place.path("away"), place.private()).expect("moved back");
            fs::write(place.path("state/audit.jsonl"), &log).expect("write");
            fs::write(&generation, &octets).expect("write");
            // The loader may have made another one meanwhile.
            let _ = fs::remove_dir(place.path("state/inbox"));
            fs::rename(place.path("inbox-away"), place.path("state/inbox")).expect("moved back");
        },
    );
    let (zone, accepted) = (place.path("example.zone"), place.path("state/accepted").join(ZONE));
    place.write_key(ZONE, &TestKey::zsk(8), 8);
    let standby = place.key_file(ZONE, &TestKey::zsk(8)).path("key");
    bring(
        &place,
        &UNREADABLE,
        || {
            make_unreadable(&zone);
            make_unreadable(&accepted);
            fs::write(&standby, "garbage").expect("write");
        },
        || {
            restore(&zone);
            restore(&accepted);
            let standby = place.key_file(ZONE, &TestKey::zsk(8));
            ["key", "private", "state"]
                .iter()
                .for_each(|s| fs::remove_file(standby.path(s)).expect("a file"));
        },
    );
    stores(&place, &octets);
}

const STORES: [ConditionId; 4] = [
    ConditionId::CoverageNone,
    ConditionId::CoverageGap,
    ConditionId::GenerationBehind,
    ConditionId::CoverageEndsSoon,
];

/// What stands in the accepted store, as the loader would have put it there.
fn stores(place: &Place, good: &[u8]) {
    let heal = || {
        let current = format_current(1, &digest(good));
        place.write(&format!("state/accepted/{ZONE}/current"), &current);
    };
    let begin = now().minus(DAY);
    let past = SkrBuilder::new(ZONE, now().minus(100 * DAY)).bundles(2);
    bring(place, &STORES[..1], || place.accept(2, &past), heal);
    // The signer does not take what no KSK that it trusts has signed.
    let foreign = SkrBuilder::new(ZONE, begin).bundles(20).validity(5 * DAY).ksk(TestKey::ksk(7));
    bring(place, &STORES[1..3], || place.accept(3, &foreign), heal);
    bring(place, &STORES[3..], || place.accept(4, &SkrBuilder::new(ZONE, begin).bundles(1)), heal);
}

const RELOADED: [ConditionId; 8] = [
    ConditionId::ZoneNotLoaded,
    ConditionId::CoverageNever,
    ConditionId::SignerSerialUnreadable,
    ConditionId::DeliveryUnproven,
    ConditionId::AlarmUntested,
    ConditionId::SignerContentHeld,
    ConditionId::NoticeFailed,
    ConditionId::RequestOverdue,
];
const REVIEWED: [ConditionId; 1] = [ConditionId::SignerReviewRefused];
const NOT_REVIEWED: [ConditionId; 1] = [ConditionId::SignerReviewFailing];
const FORCED: [ConditionId; 3] =
    [ConditionId::SkrForced, ConditionId::ZoneUnsigned, ConditionId::KeyZskMissing];
const LATE: [ConditionId; 1] = [ConditionId::SignatureLate];

#[test]
fn conditions_that_configuration_and_orders_bring_about_are_seen_and_go() {
    let place = Place::new();
    let daemon = place.serve();
    let reload = |extra: &Extra<'_>| {
        place.configure(extra);
        daemon.signal("-HUP");
    };
    let serial = place.path("state/zones/new./serial");
    bring(
        &place,
        &RELOADED,
        || {
            fs::create_dir_all(place.path("state/zones/new.")).expect("a folder");
            symlink(&serial, &serial).expect("a link to itself");
            fs::create_dir_all(place.path("state/outbox")).expect("a folder");
            fs::write(place.path("state/outbox/new."), "no folder").expect("write");
            reload(&Extra {
                zones: &["new."],
                metrics: "alert-test-interval = \"30d\"",
                ksr: "lead = \"400d\"\nperiod = \"600d\"\non-request = [\"/bin/false\"]",
                more: "[[deliver.hook]]\nname = \"h\"\ncommand = [\"/bin/false\"]\n",
                ..Extra::default()
            });
            place.write_zone(ZONE, 5);
        },
        || {
            place.write_zone("new.", 1);
            place.write_zone(ZONE, HOSTS);
            place.write_key("new.", &TestKey::zsk(2), 2);
            place.drop_text("new.skr", &good("new.").text());
            fs::remove_file(&serial).expect("the link");
            fs::remove_file(place.path("state/outbox/new.")).expect("it was there");
            metrics::health::alarm::note(&place.path("state"), now()).expect("written");
            reload(&Extra { zones: &["new."], ..Extra::default() });
        },
    );
    let reviewed = |command: &str, hosts: usize| {
        reload(&Extra { signer: &format!("review = [\"{command}\"]"), ..Extra::default() });
        place.write_zone(ZONE, hosts);
    };
    let heal = || {
        place.write_zone(ZONE, HOSTS);
        reload(&Extra::default());
    };
    bring(&place, &REVIEWED, || reviewed("/bin/false", HOSTS + 1), heal);
    bring(&place, &NOT_REVIEWED, || reviewed("/nonexistent", HOSTS + 2), heal);

    // A zone whose ZSK is elsewhere, because a person said so.
    place.write_zone("third.", 1);
    reload(&Extra { zones: &["third."], ..Extra::default() });
    see(&place, place.http, &[ConditionId::CoverageNever], true);
    let text = good("third.").zsk(TestKey::zsk(9).dnskey).text();
    bring(
        &place,
        &FORCED,
        || {
            let answer = place.order(&Request::Import {
                name: "third.skr".to_owned(),
                content: data_encoding::BASE64.encode(text.as_bytes()),
                signature: None,
                force: vec!["SKR-NO-PRIVATE-KEY".to_owned()],
                reason: Some("a test".to_owned()),
                dry_run: false,
            });
            assert!(matches!(answer, Answer::Imported { .. }), "{answer:?}");
        },
        || {
            place.write_key("third.", &TestKey::zsk(9), 9);
            place.acknowledge("third.");
        },
    );
    reload(&Extra::default());
    // A policy that wants signatures renewed earlier than those that are served, and no key to do it with.
    bring(
        &place,
        &LATE,
        || {
            fs::rename(place.private(), place.path("away")).expect("moved");
            let policy = "signatures-validity = \"40d\"\nsignatures-validity-dnskey = \"40d\"\nsignatures-refresh = \"30d\"";
            reload(&Extra { policy, ..Extra::default() });
        },
        || {
            fs::rename(place.path("away"), place.private()).expect("moved back");
            reload(&Extra::default());
        },
    );
}

const PROCESSES: [ConditionId; 2] = [ConditionId::SignerNotRunning, ConditionId::LoaderNotRunning];

#[test]
fn daemon_that_was_killed_is_seen_by_another_and_gone_when_it_is_back() {
    let place = Place::new();
    let serve = place.serve();
    // The same state folder, and a configuration in which the request timer is a process of its own.
    let with_timer = fs::read_to_string(place.path("config.toml")).expect("it is there");
    let with_timer = with_timer.replace("[ksr]\nenabled = false", "[ksr]\nlead = \"20d\"");
    let requests = || {
        place.write("requests.toml", &with_timer);
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        command.arg("requests").arg("-c").arg(place.path("requests.toml"));
        Daemon(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts"),
        )
    };
    let timer = requests();
    wait("the timer", || page(place.requests_http, "/readyz").starts_with("ready"));
    see(&place, place.requests_http, &PROCESSES, false);
    serve.kill();
    see(&place, place.requests_http, &PROCESSES, true);
    let serve = place.serve();
    see(&place, place.requests_http, &PROCESSES, false);
    drop(timer);
    drop(serve);
}

#[test]
fn what_the_probe_of_the_daemon_finds_is_seen_everywhere_with_its_server() {
    let (place, other) = (Place::new(), Place::new());
    let daemon = place.serve();
    // A server of the zone that has no SKR, and answers SERVFAIL.
    let _other = other.start(&["serve"]);
    wait("the other daemon", || other.path("state/skr-loader.sock").exists());
    let (ours, theirs) = (place.dns, other.dns);
    let ids = [ConditionId::ZoneNotLoaded];
    bring(
        &place,
        &ids,
        || {
            // Without parents the resolver of the system would be asked for them.
            let more = format!(
                "[probe]\nservers = [\"127.0.0.1:{ours}\", \"127.0.0.1:{theirs}\"]\nparents = [\"127.0.0.1:{ours}\"]\n"
            );
            place.configure(&Extra { more: &more, ..Extra::default() });
            daemon.signal("-HUP");
            wait("the finding", || place.status(&[]).contains(&format!("127.0.0.1:{theirs}")));
        },
        || {
            place.configure(&Extra::default());
            daemon.signal("-HUP");
        },
    );
}

/// Conditions that other tests bring about, each with the test: they need a clock, another server, a full disk or an error of the system.
const ELSEWHERE: [(ConditionId, &str, &str); 18] = [
    (
        ConditionId::CertificateEndsSoon,
        "integration/tests/peer_monitoring/web_config.rs",
        "fn certificate_that_ends_",
    ),
    (ConditionId::DiskNearlyFull, "integration/tests/health.rs", "mount"),
    (
        ConditionId::ClockWrong,
        "metrics/src/health/judge/tests.rs",
        "fn clock_of_1970_and_a_clock_behind_the_files_are_wrong",
    ),
    (ConditionId::TimerNotRunning, "integration/tests/health.rs", "ConditionId::TimerNotRunning"),
    (ConditionId::AuditNotWritten, "skr-loader/tests/opens.rs", "AUDIT-NOT-WRITTEN"),
    (ConditionId::SkrWarned, "integration/tests/health.rs", "ConditionId::SkrWarned"),
    (ConditionId::SignerKeysUnreadable, "signer-plugin/src/runtime/tests/kinds.rs", "SignerKeysUnreadable"),
    (
        ConditionId::SignerSerialNotWritten,
        "signer-plugin/src/runtime/tests/kinds.rs",
        "SignerSerialNotWritten",
    ),
    (
        ConditionId::SignerStateUnreadable,
        "signer-plugin/src/runtime/tests/restart.rs",
        "SignerStateUnreadable",
    ),
    (
        ConditionId::SignerStateNotWritten,
        "signer-plugin/src/runtime/tests/restart.rs",
        "SignerStateNotWritten",
    ),
    (
        ConditionId::SignerDenialImpossible,
        "integration/tests/health.rs",
        "ConditionId::SignerDenialImpossible",
    ),
    (
        ConditionId::SecondaryBehind,
        "signer-plugin/src/transfer/notify/tests.rs",
        "standing.behind_since.is_some()",
    ),
    (ConditionId::ParentDsMissing, "integration/tests/peer_probe.rs", "PARENT-DS-MISSING"),
    (ConditionId::ParentDsWrong, "integration/tests/peer_probe.rs", "PARENT-DS-WRONG"),
    (ConditionId::SoaExpireTooLong, "integration/tests/peer_probe.rs", "SOA-EXPIRE-TOO-LONG"),
    (ConditionId::ProbeSerialBehind, "integration/tests/peer_probe.rs", "PROBE-SERIAL-BEHIND"),
    (ConditionId::ProbeServerSilent, "integration/tests/health.rs", "ConditionId::ProbeServerSilent"),
    (ConditionId::ProbeDiffers, "integration/tests/peer_probe.rs", "PROBE-DIFFERS"),
];

#[test]
fn every_condition_is_brought_about_for_real_here_or_by_a_test_that_is_named() {
    let here = [
        &FILES[..],
        &KEPT,
        &UNREADABLE,
        &STORES,
        &RELOADED,
        &REVIEWED,
        &NOT_REVIEWED,
        &FORCED,
        &LATE,
        &PROCESSES,
    ];
    let here: BTreeSet<ConditionId> = here.iter().flat_map(|ids| ids.iter().copied()).collect();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (id, file, test) in ELSEWHERE {
        let text = fs::read_to_string(workspace.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(text.contains(test), "{id}: {file} has no {test}");
    }
    let named: BTreeSet<ConditionId> = ELSEWHERE.iter().map(|(id, ..)| *id).collect();
    let missing: Vec<_> =
        ConditionId::ALL.iter().filter(|id| !here.contains(id) && !named.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
