//! The way of a signed zone from another signer to ours, as `docs/manual/ways-over.md` prints it: both at work, a BIND secondary that changes
//! over, goes back and changes over again, and two validating resolvers that are asked all the time.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{self, Named};
use crate::resolver::{Cache, QUESTIONS, Resolver, ask};
use crate::{foreign, page};

pub const ZONE: &str = "over.test";
const PAGE: &str = "ways-over.md";
const LIMIT: Duration = Duration::from_secs(60);
/// The key that all transfers are signed with.
pub const SECRET: &str = "b2ZmbGluZS1rc2stdGVzdHMtb25seS1rZXktMDAwMDA=";

/// A signer that signs the zone until now.
pub trait Former {
    /// The heading of the page with its keys, and the values of that section.
    fn keys(&self) -> (&'static str, Vec<(&'static str, String)>);
    fn port(&self) -> u16;
    /// Programs of its own, which stand before the others in the path, and what its commands need in the environment.
    fn environment(&self) -> Vec<(&'static str, String)>;
    /// Has it sign another text at the name `a`; false where it cannot be changed here.
    fn publish(&self, text: &str) -> bool;
}

/// A process that ends when it is dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        // A server of others that does not end holds up no test.
        let until = Instant::now() + LIMIT;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > until {
                eprintln!("process {} did not end on SIGTERM and is killed", self.0.id());
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The records of the zone, unsigned, with this text.
pub fn records(serial: u32, text: &str) -> String {
    format!(
        "$ORIGIN {ZONE}.\n$TTL 2\n@ SOA ns1 h {serial} 3600 600 86400 2\n@ NS ns1\nns1 A 127.0.0.1\na A 10.0.0.1\na TXT \"{text}\"\n"
    )
}

/// Where the page is followed.
struct Site<'a> {
    dir: PathBuf,
    old: &'a dyn Former,
    here: u16,
    secondary: u16,
}

impl Site<'_> {
    /// The commands of a section behind those that set the values.
    fn script(&self, section: &str, more: &[(&str, String)]) -> String {
        let blocks = page::blocks(PAGE);
        let of = |section: &str| {
            let own = blocks.iter().filter(|block| block.section == section);
            own.map(|block| block.text.clone()).collect::<Vec<_>>()
        };
        let before = of("Before: values and folders");
        let values = [
            ("ZONE", ZONE.to_owned()),
            ("OLD", "127.0.0.1".to_owned()),
            ("OLD_PORT", self.old.port().to_string()),
            ("HERE", "127.0.0.1".to_owned()),
            ("HERE_PORT", self.here.to_string()),
            ("SECONDARY", format!("127.0.0.1:{}", self.secondary)),
        ];
        let mut script =
            if section == "Before: values and folders" { String::new() } else { of(section).concat() };
        script = before.concat() + &script;
        for (name, value) in values.iter().chain(more) {
            script = page::set(&script, name, value);
        }
        if section != "Before: values and folders" {
            // The folders and the policy are there.
            let (begin, rest) = script.split_once("mkdir keys safe\n").expect("the folders");
            let (_, behind) = rest.split_once("\nCONF\n").expect("the policy");
            script = begin.to_owned() + behind;
        }
        script
    }

    /// Runs a section as a person does.
    fn run(&self, section: &str, more: &[(&str, String)]) {
        let script = self.script(section, more);
        let output = self.shell(&script).output().expect("a shell");
        assert!(output.status.success(), "{section}\n{script}\n{}", common::text(&output));
    }

    fn shell(&self, script: &str) -> Command {
        let ours = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).parent().expect("a folder").to_owned();
        let dig = common::peer("dig").expect("it was there");
        let peers = Path::new(dig.get_program()).parent().expect("a folder").to_owned();
        let system = std::env::var_os("PATH").unwrap_or_default();
        let path = [self.dir.join("bin"), ours, peers].into_iter().chain(std::env::split_paths(&system));
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(&self.dir).stdin(Stdio::null());
        shell.env("PATH", std::env::join_paths(path).expect("a path")).env("TZ", "UTC");
        shell.envs(self.old.environment());
        shell
    }

    /// Starts our daemon by the section that ends with its command.
    fn start(&self) -> Process {
        let log = fs::File::create(self.dir.join("serve.log")).expect("a file");
        let script = self.script("Ours beside it", &[]);
        let script = script.replace("offline-ksk serve", "exec offline-ksk serve");
        let mut shell = self.shell(&script);
        shell.stdout(log.try_clone().expect("a file")).stderr(log);
        Process(shell.spawn().expect("a shell"))
    }
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, text: &str) {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("written");
}

/// What dig says, by the key of transfers: OpenDNSSEC answers nobody without it.
pub fn dig(port: u16, words: &[&str]) -> String {
    let mut dig = common::peer("dig").expect("it was there");
    let key = format!("hmac-sha256:xfr:{SECRET}");
    dig.args(["@127.0.0.1", "-p", &port.to_string(), "-y", &key, "+time=2", "+tries=1"]).args(words);
    common::text(&dig.output().expect("a run"))
}

fn serial_at(port: u16) -> Option<u32> {
    dig(port, &["+short", "SOA", ZONE]).split(' ').nth(2)?.parse().ok()
}

fn text_at(port: u16) -> String {
    dig(port, &["+short", "TXT", &format!("a.{ZONE}")]).trim().trim_matches('"').to_owned()
}

/// Answers of two resolvers all the time, and what was wrong with them.
struct Watch {
    stop: Arc<AtomicBool>,
    faults: Arc<Mutex<Vec<String>>>,
    threads: Vec<std::thread::JoinHandle<usize>>,
}

impl Watch {
    fn start(resolvers: &[(Cache, Resolver)]) -> Self {
        let (stop, faults) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let thread = |(cache, resolver): &(Cache, Resolver)| {
            let (port, cache, stop, faults) = (resolver.port, *cache, stop.clone(), faults.clone());
            std::thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    for (label, rtype, rcode) in QUESTIONS {
                        let answer = ask(port, &format!("{label}{ZONE}."), rtype);
                        count += 1;
                        if !answer.as_ref().is_ok_and(|a| a.rcode == rcode && a.is_authentic) {
                            let what = format!("{cache:?} {label}{ZONE} {rtype}: {answer:?}");
                            faults.lock().expect("no panic").push(what);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                count
            })
        };
        let threads = resolvers.iter().map(thread).collect();
        Self { stop, faults, threads }
    }

    fn is_good(&self) -> bool {
        self.faults.lock().expect("no panic").is_empty()
    }

    /// Ends it; how many answers there were. None may have been wrong.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        let faults = self.faults.lock().expect("no panic");
        assert!(faults.is_empty(), "{count} answers: {faults:#?}");
        count
    }
}

/// The secondary of the world: a named that takes the zone from one of two servers.
struct Secondary {
    named: Named,
    conf: PathBuf,
    port: u16,
}

impl Secondary {
    fn start(dir: &Path, port: u16, from: u16) -> Self {
        fs::create_dir(dir).expect("a folder");
        let zone = format!(
            "{}zone {ZONE} {{ type secondary; file \"zone\"; primaries {{ 127.0.0.1 port {from} key xfr; }}; allow-notify {{ key xfr; }}; }};\n",
            key_statement()
        );
        let named = Named::start_at(dir, &zone, port).expect("named was there");
        common::wait_for("the secondary", LIMIT, || serial_at(port));
        Self { named, conf: dir.join("named.conf"), port }
    }

    /// Has it take the zone from there, by the last command that the page has for it.
    fn change_over(&self, from: u16, to: u16, command: &str, is_there: impl Fn(u32) -> bool) {
        let conf = fs::read_to_string(&self.conf).expect("text");
        let [before, after] = [from, to].map(|port| format!("127.0.0.1 port {port} key"));
        assert!(conf.contains(&before), "{conf}");
        fs::write(&self.conf, conf.replace(&before, &after)).expect("written");
        for words in [&["reconfig"][..], &[command, ZONE]] {
            assert!(self.named.rndc(words).status.success(), "{words:?}");
        }
        common::wait_for("the secondary to change over", LIMIT, || {
            serial_at(self.port).filter(|s| is_there(*s))
        });
    }

    fn wait_for_text(&self, text: &str) {
        common::wait_for(&format!("{text} at the secondary"), LIMIT, || {
            (text_at(self.port) == text).then_some(())
        });
    }
}

/// Two resolvers that ask the secondary, and validate by the KSK of the zone.
fn resolvers(dir: &Path, old: u16, secondary: u16) -> Vec<(Cache, Resolver)> {
    let anchor = dir.join("anchor");
    let keys = dig(old, &["+noall", "+answer", "DNSKEY", ZONE]);
    let ksk = keys.lines().find(|line| line.contains("DNSKEY\t257 ")).expect("a KSK");
    fs::write(&anchor, format!("{ksk}\n")).expect("written");
    let start = |cache| {
        let at = dir.join(format!("{cache:?}"));
        let resolver = Resolver::start(&at, cache, common::free_port(), &anchor, &[(ZONE, secondary)]);
        common::wait_for("the resolver", LIMIT, || {
            ask(resolver.port, &format!("a.{ZONE}."), QUESTIONS[0].1).ok().filter(|a| a.is_authentic)
        });
        (cache, resolver)
    };
    [Cache::Warm, Cache::Cold].map(start).into()
}

/// Longer than any record of the zone stays in a cache, but for its keys.
const CACHES: Duration = Duration::from_secs(3);

/// Follows the whole page from a signer that is at work; `here` is our port.
fn follow(old: Box<dyn Former>, here: u16, dir: &Path) {
    let port = common::free_port();
    let site = Site { dir: dir.join("site"), old: &*old, here, secondary: port };
    fs::create_dir_all(&site.dir).expect("a folder");
    write_private(&site.dir.join("xfr.key"), &key_statement());
    let secondary = Secondary::start(&dir.join("secondary"), port, old.port());
    let resolvers = resolvers(dir, old.port(), port);
    let watch = Watch::start(&resolvers);

    site.run("Before: values and folders", &[]);
    let (section, values) = old.keys();
    site.run(section, &values);
    site.run("The first ceremony", &[]);
    let mut ours = site.start();
    let log = || fs::read_to_string(site.dir.join("serve.log")).unwrap_or_default();
    common::wait_for("our first version", LIMIT, || {
        assert!(matches!(ours.0.try_wait(), Ok(None)), "{}", log());
        serial_at(here)
    });
    site.run("Look before anybody asks it", &[]);

    let is_ours = |serial: u32| serial > 500;
    secondary.change_over(old.port(), here, "refresh", is_ours);
    if old.publish("changed") {
        secondary.wait_for_text("changed");
    }
    common::holds_for("answers by us", CACHES, || watch.is_good());
    secondary.change_over(here, old.port(), "retransfer", |serial| !is_ours(serial));
    common::holds_for("answers by the signer until now", CACHES, || watch.is_good());
    secondary.change_over(old.port(), here, "refresh", is_ours);
    let before = serial_at(here).expect("a serial");
    site.run("The signer until now ends", &[]);
    let file = site.dir.join(format!("{ZONE}.zone"));
    drop(old);
    let dumped = fs::read_to_string(&file).expect("the dump");
    assert!(!dumped.contains("RRSIG") && !dumped.contains("DNSKEY"), "{dumped}");
    let text = text_at(here);
    fs::write(file.with_extension("new"), dumped.replace(&text, "from the file")).expect("written");
    fs::rename(file.with_extension("new"), &file).expect("renamed");
    secondary.wait_for_text("from the file");
    assert!(serial_at(port).expect("a serial") > before);
    common::holds_for("answers without the other signer", CACHES, || watch.is_good());
    let count = watch.end();
    assert!(count > 100, "{count} answers");
    drop(ours);
}

/// The key of transfers in named's syntax.
pub fn key_statement() -> String {
    format!("key \"xfr\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n")
}

/// True where all of these programs are here.
fn are_here(peers: &[&str]) -> bool {
    let of_all = ["dig", "named", "rndc", "unbound", "dnssec-dsfromkey"];
    let programs = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).parent().expect("a folder");
    // Cargo builds the programs of other packages with the workspace alone.
    let is_built = ["skr-loader", "ksr-gen"].iter().all(|program| programs.join(program).exists());
    (is_built || common::missing::<()>("skr-loader (cargo build --workspace --bins)").is_some())
        && of_all.iter().chain(peers).all(|program| common::peer(program).is_some())
}

/// A section with commands that is new on the page must be run here.
#[test]
fn each_block_of_the_page_is_run() {
    let run = [
        "Before: values and folders",
        "Keys of named",
        "Keys of Knot",
        "Keys of OpenDNSSEC",
        "Keys of Cascade",
        "The first ceremony",
        "Ours beside it",
        "Look before anybody asks it",
        "The signer until now ends",
    ];
    let printed: Vec<String> = page::blocks(PAGE).into_iter().map(|block| block.section).collect();
    assert_eq!(printed, run);
}

/// They are followed side by side: they wait, and compute little.
#[test]
fn zone_comes_over_from_named_knot_opendnssec_and_keys_of_cascade_without_a_bogus_answer() {
    if !are_here(&["knotd", "knotc", "keymgr", "nsd", "dnssec-keygen", "dnssec-signzone"]) {
        return;
    }
    type Start = Box<dyn FnOnce(&Path, u16) -> Box<dyn Former> + Send>;
    let mut ways: Vec<Start> = vec![
        Box::new(|dir, here| Box::new(foreign::SigningNamed::start(dir, here))),
        Box::new(|dir, here| Box::new(foreign::SigningKnot::start(dir, here))),
        Box::new(|dir, _| Box::new(foreign::KeysOfCascade::start(dir))),
    ];
    if let Some(programs) = foreign::OpenDnssec::programs() {
        ways.push(Box::new(|dir, _| Box::new(programs.start(dir))));
    }
    std::thread::scope(|scope| {
        for start in ways {
            scope.spawn(move || {
                let (dir, here) = (tempfile::tempdir().expect("a folder"), common::free_port());
                follow(start(dir.path(), here), here, dir.path());
            });
        }
    });
}
