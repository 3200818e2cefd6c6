//! The emergency procedure of `docs/manual/rollovers.md` as it is printed, beside a real named: a caching, validating unbound that is asked
//! every second never says SERVFAIL.

mod common;
#[path = "common/delivery.rs"]
mod delivery;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use delivery::{Site, ZONE, dig};
use keystore::clock;
use keystore::time::Timestamp;
use ksr_gen::cli::{self, Env};

/// As short as a real named lets the times be: six seconds before a new ZSK may sign, and signatures that are renewed after twenty.
const QUICK: &str = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 13; zsk lifetime P1Y algorithm 13; };
    dnskey-ttl 4; max-zone-ttl 4; zone-propagation-delay 1; publish-safety 1; retire-safety 1; parent-ds-ttl 5; parent-propagation-delay 5;
    signatures-validity 40; signatures-validity-dnskey P14D; signatures-refresh 20; signatures-jitter 0; };\n";
/// dnskey-ttl + publish-safety + zone-propagation-delay.
const PREPUBLICATION: Duration = Duration::from_secs(6);
/// max-zone-ttl + zone-propagation-delay.
const IN_CACHES: Duration = Duration::from_secs(5);
const RECORDS: &str = "$TTL 4\n@ SOA ns1 h 1 3600 600 86400 4\n@ NS ns1\nns1 A 127.0.0.1\na A 10.0.0.1\n";

/// unbound with the KSK as its anchor, which asks named for the zone.
struct Resolver {
    process: Child,
    port: u16,
}

impl Resolver {
    fn start(site: &Site, named: u16) -> Option<Self> {
        let mut unbound = common::peer("unbound")?;
        let dir = site.path("unbound");
        fs::create_dir(&dir).expect("a folder");
        fs::write(dir.join("anchor"), format!("{}\n", site.ksk)).expect("write");
        let port = common::free_port();
        let text = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  \
             trust-anchor-file: \"{dir}/anchor\"\n  local-zone: \"test.\" nodefault\n  qname-minimisation: no\n  val-log-level: 2\n\
             remote-control:\n  control-enable: no\nstub-zone:\n  name: \"{ZONE}\"\n  stub-addr: 127.0.0.1@{named}\n  stub-prime: no\n",
            dir = dir.display(),
        );
        fs::write(dir.join("unbound.conf"), text).expect("write");
        let log = fs::File::create(dir.join("log")).expect("a log");
        unbound.args(["-d", "-c"]).arg(dir.join("unbound.conf")).stdout(Stdio::null()).stderr(log);
        let process = unbound.spawn().expect("unbound starts");
        let resolver = Self { process, port };
        common::wait_for("unbound to validate", Duration::from_secs(20), || {
            verdict(port, "a.", "A").is_ok().then_some(())
        });
        Some(resolver)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One question to the resolver: it must be answered, and validated.
fn verdict(port: u16, label: &str, rtype: &str) -> Result<(), String> {
    let mut dig = common::peer("dig").expect("dig is there");
    let port = port.to_string();
    dig.args([
        "+adflag",
        "+tries=1",
        "+timeout=5",
        "@127.0.0.1",
        "-p",
        &port,
        &format!("{label}{ZONE}"),
        rtype,
    ]);
    let output = dig.output().expect("dig runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let is_answered = said.contains("status: NOERROR") || said.contains("status: NXDOMAIN");
    let flags = said.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
    match is_answered && flags.split([' ', ';']).any(|flag| flag == "ad") {
        true => Ok(()),
        false => Err(format!("{label}{ZONE} {rtype}: {said}")),
    }
}

/// Asks every second until it is told to stop; the number of rounds, and what was not validated.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Watch {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut rounds, mut faults) = (0, Vec::new());
            while !seen.load(Ordering::Relaxed) {
                for (label, rtype) in [("a.", "A"), ("nobody.", "A"), ("", "DNSKEY"), ("", "SOA")] {
                    faults.extend(
                        verdict(port, label, rtype).err().map(|fault| format!("{} {fault}", clock::now())),
                    );
                }
                rounds += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
            (rounds, faults)
        });
        Self { stop, thread }
    }

    /// Ends the questions; none may have failed.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let (rounds, faults) = self.thread.join().expect("no panic");
        assert!(faults.is_empty(), "{} faults in {rounds} rounds:\n{}", faults.len(), faults.join("\n"));
        rounds
    }
}

/// Runs `ksr-gen` with the words of the manual; `@name` is a path of the site. Its standard output.
#[track_caller]
fn ksr_gen(site: &Site, line: &str) -> String {
    let word = |word: &str| match word.strip_prefix('@') {
        Some(name) => site.path(name).into_os_string(),
        None => OsString::from(word),
    };
    let args = ["ksr-gen", "-k", "p", "-l", "@policy"].into_iter().chain(line.split_ascii_whitespace());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut env = Env {
        now: clock::now(),
        stdin: &mut std::io::empty(),
        stdout: &mut stdout,
        stderr: &mut stderr,
        terminal: false,
        interactive: false,
    };
    let code = cli::run(args.map(word), &mut env);
    assert_eq!(code, 0, "{line}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

fn settime(key: &Path, times: &[&str]) {
    let mut settime = common::peer("dnssec-settime").expect("it was there");
    common::run(settime.arg("-s").args(times).arg(key));
}

/// The files of a key: its base name with each suffix.
fn files(base: &Path) -> [PathBuf; 3] {
    ["key", "private", "state"].map(|suffix| PathBuf::from(format!("{}.{suffix}", base.display())))
}

fn tag(base: &str) -> u16 {
    base.trim().rsplit('+').next().and_then(|tag| tag.parse().ok()).expect("a tag")
}

/// The tags of the keys that have signed what named answers.
fn signers(port: u16) -> Vec<u16> {
    let said = ["a.", ""]
        .map(|label| dig(port, &format!("{label}{ZONE}"), if label.is_empty() { "SOA" } else { "A" }));
    let lines = said.iter().flat_map(|said| said.lines()).filter(|line| line.contains("RRSIG"));
    lines.filter_map(|line| line.split_whitespace().nth(10)?.parse().ok()).collect()
}

#[test]
fn kind_101_emergency_procedure_as_printed_leaves_no_servfail_beside_named() {
    if ["unbound", "dnssec-settime"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let Some(site) = Site::new(QUICK, "+30d") else { return };
    fs::write(site.path("named/zone.db"), RECORDS).expect("zone");
    fs::create_dir(site.path("sealed")).expect("a folder");
    let zsks = site.zsks();
    let [old] = zsks.as_slice() else { panic!("{zsks:?}") };
    let old_tag = tag(old.to_str().expect("text"));
    let (start, end) = (clock::now(), clock::now().plus(20 * 86_400));
    let times = |start: Timestamp| format!("-i {start} -e {end}");
    // 1, 2 and 3.
    let spare = ksr_gen(&site, &format!("{} --standby -K @sealed keygen {ZONE}", times(start)));
    let spare_tag = tag(&spare);
    ksr_gen(&site, &format!("{} -K @named -O @normal.ksr request {ZONE}", times(start)));
    ksr_gen(&site, &format!("{} -K @named --spare @sealed -O @emergency.ksr request {ZONE}", times(start)));
    for name in ["normal", "emergency"] {
        ksr_gen(&site, &format!("{} -K @ksk -f @{name}.ksr -O @{name}.skr sign {ZONE}", times(start)));
    }
    let (named, loader) = site.beside("n", &site.path("normal.skr"));
    loader.wait("n", 1);
    let Some(resolver) = Resolver::start(&site, named.port) else { return };
    let watch = Watch::start(resolver.port);
    std::thread::sleep(Duration::from_secs(3));
    // 4: the files, and the emergency SKR at once.
    let spare_in = |folder: &str| site.path(folder).join(spare.trim());
    for (from, to) in files(&spare_in("sealed")).iter().zip(files(&spare_in("named"))) {
        fs::copy(from, to).expect("copied");
    }
    loader.drop_file(&site.path("emergency.skr"));
    loader.wait("n", 2);
    assert!(signers(named.port).contains(&old_tag), "the spare ZSK does not sign yet");
    // 5.
    std::thread::sleep(PREPUBLICATION);
    settime(&spare_in("named"), &["-A", "now"]);
    settime(old, &["-I", "now"]);
    named.rndc(&["loadkeys", ZONE]);
    common::wait_for("every signature by the spare ZSK", Duration::from_secs(60), || {
        let by = signers(named.port);
        (by.contains(&spare_tag) && !by.contains(&old_tag)).then_some(())
    });
    // 6: a request without the old ZSK, from a copy of the folder; then its files leave, and the SKR comes.
    std::thread::sleep(Duration::from_secs(20) + IN_CACHES);
    fs::create_dir(site.path("next")).expect("a folder");
    for (from, to) in files(&spare_in("named")).iter().zip(files(&spare_in("next"))) {
        fs::copy(from, to).expect("copied");
    }
    let now = clock::now();
    ksr_gen(&site, &format!("{} -K @next -O @next.ksr request {ZONE}", times(now)));
    let sign = format!("{} --previous @emergency.skr --gone-zsk {old_tag}", times(now));
    ksr_gen(&site, &format!("{sign} -K @ksk -f @next.ksr -O @next.skr sign {ZONE}"));
    for file in files(old) {
        fs::remove_file(file).expect("removed");
    }
    loader.drop_file(&site.path("next.skr"));
    loader.wait("n", 3);
    std::thread::sleep(PREPUBLICATION);
    assert!(!dig(named.port, ZONE, "DNSKEY").contains(&format!(" {old_tag} ")));
    let rounds = watch.end();
    assert!(rounds > 30, "{rounds} rounds");
    println!("{rounds} rounds without a fault");
}
