//! A folder with a configuration, keys and zone files, and daemons that run on it as they do for an operator. A condition is looked for in
//! the terminal, the JSON, the exit code, `/readyz`, the page and the metrics.

use std::fs;
use std::os::unix::fs::symlink;
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
use skr_loader::control::{ControlAnswer, ControlRequest, call};

use super::health_site::{get, now};

pub const DAY: u64 = 86_400;
/// Longest wait for what takes two looks of a second: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
pub const ZONE: &str = "example.";
/// Hosts of a zone file: enough that far fewer are held back.
pub const HOSTS: usize = 60;

/// A process that ends with the test.
pub struct Daemon(Child);

impl Daemon {
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().expect("it starts"))
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.0.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "{name}");
    }

    /// As the kernel does when memory runs out.
    pub fn kill(mut self) {
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

/// So many hosts of a zone file.
pub fn hosts(count: usize) -> String {
    (0..count).map(|host| format!("h{host} A 192.0.2.1\n")).collect()
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address").port()
}

/// A file system that is mounted on this folder, until this is dropped.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], &self.0);
    }
}

/// True when the program went well with these arguments and this path.
fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

/// A folder with a configuration, keys and zone files.
pub struct Place {
    /// The first zone of its configuration.
    zone: &'static str,
    pub http: u16,
    pub requests_http: u16,
    pub dns: u16,
    /// Before the folder that it is mounted on.
    _disk: Option<SmallDisk>,
    dir: tempfile::TempDir,
}

/// What a configuration has beside the first zone.
#[derive(Default)]
pub struct Extra<'a> {
    pub zones: &'a [&'a str],
    pub signer: &'a str,
    pub metrics: &'a str,
    pub ksr: &'a str,
    pub policy: &'a str,
    pub more: &'a str,
}

impl Place {
    pub fn new() -> Self {
        Self::of(ZONE)
    }

    /// A place with this zone.
    pub fn of(zone: &'static str) -> Self {
        Self::on(zone, None, tempfile::tempdir().expect("a folder"))
    }

    /// A place on a file system of its own in memory, with these options of mount(8); `None`, told aloud, where only root can mount one.
    pub fn on_small_disk(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = SmallDisk(dir.path().to_owned());
        let mounted = run("mount", &["-t", "tmpfs", "-o", options, "tmpfs"], dir.path());
        if !mounted {
            assert!(std::env::var("CI").is_ok_and(|v| v != "true"), "a small file system cannot be mounted");
            eprintln!("SKIPPED: only root can mount a small file system");
            return None;
        }
        Some(Self::on(ZONE, Some(disk), dir))
    }

    fn on(zone: &'static str, disk: Option<SmallDisk>, dir: tempfile::TempDir) -> Self {
        let (http, requests_http, dns) = (free_port(), free_port(), free_port());
        let place = Self { zone, http, requests_http, dns, _disk: disk, dir };
        for folder in ["state/keys", "state/inbox"] {
            fs::create_dir_all(place.path(folder)).expect("a folder");
        }
        place.write_zone(zone, HOSTS);
        place.write_key(zone, &TestKey::zsk(2), 2);
        place.configure(&Extra::default());
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).expect("write");
        fs::rename(self.path("new"), self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    pub fn write_zone(&self, zone: &str, hosts: usize) {
        self.write_zone_of(zone, hosts, 1, DAY);
    }

    /// A zone file with this serial and expire.
    pub fn write_zone_of(&self, zone: &str, hosts: usize, serial: u32, expire: u64) {
        let hosts = self::hosts(hosts);
        let soa = format!("@ SOA ns h {serial} 3600 600 {expire} 300");
        self.write(&format!("{zone}zone"), &format!("$TTL 300\n{soa}\n@ NS ns\nns A 127.0.0.1\n{hosts}"));
    }

    pub fn serves(&self, serial: u32) -> bool {
        self.status(&["--json"]).contains(&format!("\"serial\": {serial},"))
    }

    pub fn configure(&self, extra: &Extra<'_>) {
        let anchor = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
        let zones = std::iter::once(&self.zone).chain(extra.zones).map(|zone| {
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

    pub fn key_file(&self, zone: &str, key: &TestKey) -> KeyFile {
        let long_ago = Some(Timestamp::from_secs(1_000_000_000));
        let timing = Timing { created: long_ago, publish: long_ago, activate: long_ago, ..Timing::default() };
        let is_ksk = key.dnskey.flags & 1 == 1;
        let state = State { lifetime: Some(0), zsk: Some(!is_ksk), ksk: Some(is_ksk), ..State::default() };
        let (zone, dnskey) = (Name::parse(zone).expect("a name"), key.dnskey.clone());
        KeyFile { zone, ttl: 3600, dnskey, timing, state: Some(state), dir: self.path("state/keys") }
    }

    pub fn write_key(&self, zone: &str, key: &TestKey, seed: u8) {
        self.key_file(zone, key).write(&PrivateKey::Raw(vec![seed; 32])).expect("a key");
    }

    pub fn private(&self) -> PathBuf {
        self.key_file(self.zone, &TestKey::zsk(2)).path("private")
    }

    pub fn drop_text(&self, name: &str, text: &str) {
        self.write(&format!("state/inbox/{name}"), text);
    }

    /// Puts text in place of the newest generation, as if the loader had.
    pub fn accept(&self, generation: u64, builder: &SkrBuilder) {
        let (folder, text) = (self.path("state/accepted").join(self.zone), builder.text());
        fs::write(folder.join(format!("{generation}.skr")), &text).expect("write");
        let current = format_current(generation, &digest(text.as_bytes()));
        self.write(&format!("state/accepted/{}/current", self.zone), &current);
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        command.args(arguments).arg("-c").arg(self.path("config.toml")).stdin(Stdio::null());
        command
    }

    pub fn start(&self, arguments: &[&str]) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut command = self.program(arguments);
        Daemon::spawn(command.stdout(Stdio::null()).stderr(log))
    }

    /// `serve` for a zone that is well.
    pub fn serve(&self) -> Daemon {
        let daemon = self.start(&["serve"]);
        wait("the daemon", || self.path("state/skr-loader.sock").exists());
        self.drop_text("good.skr", &good(self.zone).text());
        wait("the zone", || {
            self.status(&["--json"]).contains("\"covered\": true")
                && self.page("/readyz").starts_with("ready")
        });
        daemon
    }

    pub fn order(&self, request: &ControlRequest) -> ControlAnswer {
        call(&self.path("state/skr-loader.sock"), request).expect("the loader answers")
    }

    pub fn acknowledge(&self, zone: &str) {
        let order = |file: Option<&str>| {
            let (zone, file) = (zone.to_owned(), file.map(str::to_owned));
            self.order(&ControlRequest::Acknowledge { zone, file, reason: None })
        };
        let answer = order(Some("older.skr"));
        assert!(
            matches!(answer, ControlAnswer::Refused { .. }),
            "another drop was rejected since: {answer:?}"
        );
        let answer = order(None);
        assert!(matches!(answer, ControlAnswer::Acknowledged { .. }), "{answer:?}");
        let answer = order(None);
        assert!(matches!(answer, ControlAnswer::Refused { .. }), "nothing is left: {answer:?}");
    }

    pub fn status_output(&self, arguments: &[&str]) -> Output {
        self.program(&[&["status"], arguments].concat()).output().expect("it runs")
    }

    pub fn status(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.status_output(arguments).stdout).expect("text")
    }

    pub fn page(&self, path: &str) -> String {
        page(self.http, path)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

pub fn page(port: u16, path: &str) -> String {
    let address = ([127, 0, 0, 1], port).into();
    if std::net::TcpStream::connect(address).is_err() { String::new() } else { get(address, path).1 }
}

pub fn good(zone: &str) -> SkrBuilder {
    SkrBuilder::new(zone, now().minus(DAY)).bundles(20)
}

#[track_caller]
pub fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
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
pub fn see(place: &Place, http: u16, ids: &[ConditionId], are_there: bool) {
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
pub fn bring(place: &Place, ids: &[ConditionId], bring: impl FnOnce(), mend: impl FnOnce()) {
    see(place, place.http, ids, false);
    bring();
    see(place, place.http, ids, true);
    mend();
    see(place, place.http, ids, false);
}

/// Puts a link to itself, which cannot be opened, in the place of a file or folder, which is missing at no moment.
pub fn make_unreadable(path: &Path) {
    symlink(path, path.with_extension("away")).expect("a link");
    exchange(path);
}

pub fn restore(path: &Path) {
    exchange(path);
    fs::remove_file(path.with_extension("away")).expect("the link");
}

fn exchange(path: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, path, CWD, path.with_extension("away"), RenameFlags::EXCHANGE).expect("exchanged");
}
