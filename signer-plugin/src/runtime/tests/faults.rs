//! `kill -9` and failing system calls at every write of content that no zone file has: updates, and what comes from primaries. What was
//! accepted is served after the next start, under a serial that is not behind. The state of versions has the same in `tests/inject.rs`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use keystore::config::transfer::{AllowTransfer, Network};

use super::*;
use crate::content::{Change, ChangeOutcome, ChangeRequest};
use crate::transfer::{TransferKeys, TransferSettings};
use crate::update::UpdateRequest;
use crate::update::tests::{everything, message};
use crate::zone::{ContentChange, Zone};

/// The system calls at which something can be lost.
const CALLS: [&str; 4] =
    ["write,pwrite64,writev", "fsync,fdatasync", "rename,renameat,renameat2,link,linkat", "unlink,unlinkat"];
/// How many changes there are; each gives `www` the next address.
const CHANGES: u8 = 3;
/// The address of `www` before all of them.
const FIRST: u8 = 10;

/// Where the content comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Updates,
    Primaries,
}

/// What is served: serial, and the last octet of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    serial: u32,
    address: u8,
}

/// A zone with its state below `root`.
struct Bench {
    origin: Origin,
    zone: ZoneRuntime,
    site: Site,
}

impl Bench {
    fn new(root: &Path, origin: Origin) -> Self {
        // Its folder stays empty: nothing but the zone writes anything.
        let time = Arc::new(AtomicU64::new(start().secs()));
        let site = Site { dir: tempfile::tempdir().unwrap(), metrics: Metrics::new().unwrap(), time };
        let source = match origin {
            Origin::Updates => ContentSource::FileWithUpdates(root.join("zone")),
            Origin::Primaries => ContentSource::Primaries,
        };
        let setup = ZoneSetup {
            source,
            key_directory: root.join("keys"),
            accepted: root.join("accepted"),
            state: root.join("zones/example."),
            ..site.setup()
        };
        let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
        let everybody = AllowTransfer { address: Network::parse("127.0.0.0/8"), key: None, tls: None };
        served.transfers().set(TransferSettings::new(TransferKeys::default(), vec![everybody]));
        let zone = ZoneRuntime::new(setup, site.metrics.clone(), Arc::new(served));
        Self { origin, zone, site }
    }

    fn step(&mut self, now: Timestamp) {
        self.site.step(&mut self.zone, now);
    }

    fn seen(&self) -> Option<Seen> {
        let serial = self.zone.served().signed()?.serial();
        let address = ask(&self.zone, "www.example.", Rtype::A).answers.first()?.rdata[3];
        Some(Seen { serial, address })
    }

    /// The change that gives `www` this address; the first one from primaries is the whole zone.
    fn change(&self, address: u8) -> Change {
        if self.origin == Origin::Updates {
            let message = message(&format!("delete www A; add www 300 A 192.0.2.{address}"));
            let key = Name::parse("key").unwrap();
            return Change::Update(Box::new(UpdateRequest { message, key, rules: vec![everything()] }));
        }
        let text = FILE.replace("$TTL 300\n", "").replace("192.0.2.2", &format!("192.0.2.{address}"));
        let next = crate::testing::zone("example", &text).unwrap();
        let from: Option<Arc<Zone>> = self.zone.served().content();
        match from {
            None => Change::Whole(Box::new(next)),
            Some(from) => {
                let change = ContentChange::between(&from, &next, 100).expect("few names");
                Change::Difference { from, change }
            }
        }
    }

    /// Has the zone take a change; gives what is served then, if it was accepted.
    fn take(&mut self, address: u8, now: Timestamp) -> Option<Seen> {
        let (told, outcome) = channel();
        let change = self.change(address);
        let reply = Box::new(move |outcome| told.send(outcome).unwrap());
        self.zone.served().changes().submit(ChangeRequest { change, reply });
        self.step(now);
        matches!(outcome.try_recv(), Ok(ChangeOutcome::Served { .. })).then(|| self.seen().unwrap())
    }
}

/// The process under strace: each change is tried until it is accepted, and told then.
#[test]
#[ignore = "the process that the other tests of this file run under strace"]
fn content_under_strace() {
    let root = PathBuf::from(std::env::var("SIGNER_ROOT").expect("set by the test that runs this"));
    let origin = if root.join("updates").exists() { Origin::Updates } else { Origin::Primaries };
    let tell = UnixDatagram::unbound().unwrap();
    tell.connect(root.join("told.sock")).unwrap();
    let mut bench = Bench::new(&root, origin);
    let mut now = start();
    bench.step(now);
    for number in 1..=CHANGES {
        // After an error there is time for the next try.
        for _ in 0..4 {
            now = now.plus(15);
            if let Some(Seen { serial, address }) = bench.take(FIRST + number, now) {
                tell.send(format!("{serial} {address}").as_bytes()).unwrap();
                break;
            }
        }
    }
}

/// Runs the process under strace; gives what it told, in order.
fn run(root: &Path, strace: &[&str]) -> Vec<Seen> {
    let path = root.join("told.sock");
    let told = UnixDatagram::bind(&path).unwrap();
    told.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut command = Command::new("strace");
    command.args(strace).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "runtime::tests::faults::content_under_strace", "--ignored", "--nocapture"]);
    command.arg("--test-threads=1").env("SIGNER_ROOT", root).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 64]);
    loop {
        let ended = child.try_wait().unwrap().is_some();
        while let Ok(len) = told.recv(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..len]).unwrap();
            let (serial, address) = text.split_once(' ').unwrap();
            all.push(Seen { serial: serial.parse().unwrap(), address: address.parse().unwrap() });
        }
        if ended {
            return all;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One point; true when the fault was met.
fn point(origin: Origin, calls: &str, fault: &str, n: usize) -> bool {
    let site = Site::with_skr(3);
    site.write("zone", &FILE.replace("192.0.2.2", &format!("192.0.2.{FIRST}")));
    if origin == Origin::Updates {
        fs::write(site.path("updates"), "").unwrap();
    }
    let root = site.path("");
    let trace = site.path("strace.log");
    let (which, inject) = (format!("trace={calls}"), format!("inject={calls}:{fault}:when={n}"));
    let told = run(&root, &["-f", "-q", "-o", trace.to_str().unwrap(), "-e", &which, "-e", &inject]);
    let log = fs::read_to_string(&trace).unwrap();
    let is_met = log.contains("(INJECTED)") || log.contains("+++ killed by SIGKILL +++");
    assert!(
        is_met || told.len() == usize::from(CHANGES),
        "{origin:?}: without a fault all is taken: {told:?}"
    );
    judge(&root, origin, &told, &format!("{origin:?}, {calls} {fault} {n}"));
    is_met
}

/// Judges what a process left that has told `told`.
fn judge(root: &Path, origin: Origin, told: &[Seen], at: &str) {
    for pair in told.windows(2) {
        assert!(pair[1].serial > pair[0].serial && pair[1].address > pair[0].address, "{at}: {pair:?}");
    }
    let mut bench = Bench::new(root, origin);
    let mut now = start().plus(1000);
    bench.step(now);
    let found = bench.seen();
    if let Some(last) = told.last() {
        let found = found.unwrap_or_else(|| panic!("{at}: {last:?} is lost"));
        assert!(found.address >= last.address, "{at}: {last:?} was accepted, and {found:?} is served");
        assert!(found.serial >= last.serial, "{at}: {last:?}, then {found:?}");
        assert!(found.serial != last.serial || found == *last, "{at}: {last:?} became {found:?}");
    }
    let next = FIRST + CHANGES + 1;
    let taken = (0..3).find_map(|_| {
        now = now.plus(15);
        bench.take(next, now)
    });
    let taken = taken.unwrap_or_else(|| panic!("{at}: nothing more is taken"));
    assert_eq!((taken.address, bench.zone.conditions().count()), (next, 0), "{at}");
    assert!(told.iter().chain(&found).all(|seen| taken.serial > seen.serial), "{at}: {taken:?}");
    let transfers = bench.zone.served().transfers();
    for seen in told {
        let is_known = transfers.knows_what_changed(seen.serial, taken.serial);
        assert!(is_known, "{at}: a secondary with {seen:?} of {told:?} is not told what leads to {taken:?}");
    }
    bench.zone.served().signed().unwrap().self_check(now, usize::MAX).unwrap();
}

fn every_point(fault: &str, calls: &[&str], least: usize) {
    let missing = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err();
    assert!(!missing || std::env::var_os("CI").is_none(), "strace is missing");
    if missing {
        eprintln!("SKIPPED: strace is missing (apt-get install strace)");
        return;
    }
    for origin in [Origin::Updates, Origin::Primaries] {
        let mut points = 0;
        for calls in calls {
            let mut n = 1;
            while point(origin, calls, fault, n) {
                n += 1;
            }
            points += n - 1;
        }
        println!("content ({origin:?}), {fault}: {points} points, 0 lost, 0 serials back");
        assert!(points >= least, "{points}");
    }
}

#[test]
fn row_32_content_of_updates_and_primaries_killed_at_every_point() {
    every_point("signal=KILL", &CALLS, 15);
}

#[test]
fn row_34_content_of_updates_and_primaries_with_enospc_at_every_write() {
    every_point("error=ENOSPC", &CALLS[..1], 5);
}

#[test]
fn row_34_content_of_updates_and_primaries_with_eio_at_every_sync() {
    every_point("error=EIO", &CALLS[1..2], 5);
}
