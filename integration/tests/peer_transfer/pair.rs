//! Two hosts with the same keys, as processes of their own, one of them active, and BIND as their secondary: the active one is cut off from
//! the lease and the network, is stopped for longer than its lease and goes on, is killed, and ends in order; each time the other takes over,
//! and the first comes back. No serial goes back, no two publish, and all that the secondary has verifies.
//!
//! `scripts/pair` runs this for many rounds.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{self, Named};
use crate::network::{Impairment, Network};
use crate::primary::{KEY, SECRET, ZONE, accept, configure, write_private};
use crate::secondaries::{block, block_of, changed};
use crate::{records_at, serial_at};

/// The lease, and how long it is waited for behind its end.
const LEASE: Duration = Duration::from_secs(5);
const MARGIN: Duration = Duration::from_secs(1);
/// The page of the manual with the command that copies the state.
const PAGE: &str = include_str!("../../../docs/manual/pair.md");
/// Longest time of each step. BIND asks its primaries one after the other, and waits for each that does not answer.
const LIMIT: Duration = Duration::from_secs(90);
const ZONE_FILE: &str = "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\nWww CNAME ns\n";

/// One host: its folder, its address, and its process while it runs.
struct Host {
    name: &'static str,
    dir: PathBuf,
    address: SocketAddr,
    process: Option<Child>,
    /// How often the service manager was told that it is alive.
    alive: Arc<AtomicU64>,
}

impl Host {
    fn prepare(name: &'static str, dir: PathBuf, lease: &Path, port: u16, secondary: SocketAddr) -> Self {
        std::fs::create_dir_all(&dir).expect("a folder");
        write_private(&dir.join("xfr.key"), &block("The key"));
        std::fs::write(dir.join("zone"), ZONE_FILE).expect("write");
        std::os::unix::fs::symlink(lease, dir.join("shared")).expect("a link");
        let tables = format!(
            "update = [{{ key = \"{KEY}\", names = \"zone\", types = [\"ANY\"] }}]\n[transfer]\nkey-files = [\"xfr.key\"]\n\
             allow-transfer = [{{ key = \"{KEY}\" }}]\nnotify = [{{ address = \"{secondary}\", key = \"{KEY}\" }}]\n\
             [pair]\nhost = \"{name}\"\nlease-directory = \"shared\"\nlease-duration = {}\nrenew = 1\nclock-margin = {}\n",
            LEASE.as_secs(),
            MARGIN.as_secs()
        );
        let config = configure(&dir, &tables);
        let path = dir.join("offline-ksk.toml");
        let text = std::fs::read_to_string(&path).expect("text");
        let listen = format!("listen = [\"127.0.0.1:{port}\"]");
        std::fs::write(&path, changed(&text, &[("listen = [\"127.0.0.1:0\"]", &listen)])).expect("write");
        if name == "a" {
            accept(&config, keystore::clock::now());
        }
        let alive = Arc::new(AtomicU64::new(0));
        let (socket, told) = (UnixDatagram::bind(dir.join("notify")).expect("a socket"), Arc::clone(&alive));
        // For as long as the test runs: who does not read keeps the host waiting.
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(len) = socket.recv(&mut octets) {
                told.fetch_add(u64::from(octets[..len].starts_with(b"WATCHDOG=1")), Ordering::Relaxed);
            }
        });
        Self { name, dir, address: ([127, 0, 0, 1], port).into(), process: None, alive }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        command.args(words).arg("-c").arg(self.dir.join("offline-ksk.toml"));
        command
    }

    fn start(&mut self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let mut command = self.command(&["serve"]);
        command.env("NOTIFY_SOCKET", self.dir.join("notify"));
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        self.process = Some(child);
    }

    fn signal(&self, signal: Signal) {
        let child = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it runs");
    }

    fn kill(&mut self) {
        let mut child = self.process.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// Whether it was made the active host, and what was said.
    fn take_over(&self, options: &[&str]) -> (bool, String) {
        let output = self.command(&[&["takeover", "--yes"], options].concat()).output().expect("run");
        (output.status.success(), common::text(&output))
    }

    /// Takes over as soon as nothing is against it; gives the time that it took from now on.
    fn take_over_when_possible(&self) -> Duration {
        let begin = Instant::now();
        common::wait_for("a takeover", LIMIT, || self.take_over(&[]).0.then_some(()));
        begin.elapsed()
    }

    /// Ends it in order.
    fn end(&mut self) {
        self.signal(Signal::TERM);
        let mut child = self.process.take().expect("it runs");
        assert!(child.wait().expect("ended").success());
    }

    /// Copies the state of the other host as the manual says; what was said of a failure.
    fn copy_from(&self, other: &Self) -> Result<(), String> {
        let line = block_of(PAGE, "What is copied");
        let words = line.split_once(" -- ").expect("a command").1.replace(['\\', '\n', '\''], " ");
        let from = format!("{}/", other.state().display());
        let words = words.replace("other:/var/lib/offline-ksk/", &from);
        let mut words: Vec<&str> = words.split_whitespace().collect();
        if common::of_system("rsync").is_none() {
            words = vec!["sh", "-c", "rm -rf \"$2\"/* && cp -a \"$1\"* \"$2\"", "sh", &from, "{}"];
        }
        let output = self.command(&["pair", "copy"]).arg("--").args(words).output().expect("run");
        if output.status.success() { Ok(()) } else { Err(common::text(&output)) }
    }

    /// The same in the middle of writes of the other host: again and again until a copy is made after this moment.
    fn follow(&self, other: &Self) {
        common::wait_for("a whole copy", LIMIT, || self.copy_from(other).ok());
    }

    /// Has the storage of the lease gone, or there again.
    fn set_storage(&self, is_there: bool) {
        let (link, away) = (self.dir.join("shared"), self.dir.join("away"));
        if is_there { std::fs::rename(away, link) } else { std::fs::rename(link, away) }.expect("renamed");
    }

    /// Waits until it has seen that it is not the active one any more.
    fn becomes_standby(&self) {
        common::wait_for(&format!("host {} to be a standby", self.name), LIMIT, || {
            // Its parts end within a second after it has seen the lease; then it refuses queries.
            (self.status().contains("NOT-ACTIVE") && serial_at(self.address).is_none()).then_some(())
        });
        assert!(!self.update("x"), "a standby takes no updates");
        let before = self.alive.load(Ordering::Relaxed);
        common::wait_for("a standby to feed the watchdog", LIMIT, || {
            (self.alive.load(Ordering::Relaxed) > before).then_some(())
        });
    }

    /// Something is due on a host that is not active: a version that it must not publish.
    fn change_file(&self, name: &str) {
        let text = format!("{ZONE_FILE}{name} 60 A 192.0.2.66\n");
        std::fs::write(self.dir.join("zone"), text).expect("write");
    }

    fn status(&self) -> String {
        common::text(&self.command(&["status"]).output().expect("run"))
    }

    /// Adds an address by DNS UPDATE; true when it was taken.
    fn update(&self, name: &str) -> bool {
        let mut client = common::peer("nsupdate").expect("it was there");
        client.arg("-t").arg("3").arg("-k").arg(self.dir.join("xfr.key"));
        let port = self.address.port();
        let text =
            format!("server 127.0.0.1 {port}\nzone {ZONE}\nupdate add {name}.{ZONE} 60 A 192.0.2.9\nsend\n");
        crate::updates::say(&mut client, &text).0
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(child) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A thread that does something again and again until it is dropped.
struct Repeated(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Repeated {
    fn start(pause: Duration, mut work: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                work();
                std::thread::sleep(pause);
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            thread.join().expect("it ended well");
        }
    }
}

/// Waits until the secondary has what this host serves, which is later than `after`.
fn followed(secondary: SocketAddr, host: &Host, after: u32) -> u32 {
    common::wait_for(&format!("the secondary to follow host {}", host.name), LIMIT, || {
        let (theirs, ours) = (serial_at(secondary)?, serial_at(host.address)?);
        (theirs == ours && theirs.wrapping_sub(after).cast_signed() > 0).then_some(theirs)
    })
}

/// All that the secondary has verifies, by the programs of two others.
fn verify(secondary: SocketAddr, dir: &Path) {
    let records = records_at(secondary, None);
    let file = dir.join("transferred");
    std::fs::write(&file, records.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("write");
    common::run(common::peer("dnssec-verify").expect("there").args(["-o", ZONE]).arg(&file));
    common::run(common::peer("ldns-verify-zone").expect("there").arg(&file));
}

fn has(secondary: SocketAddr, name: &str) -> bool {
    records_at(secondary, None).iter().any(|line| line.starts_with(&format!("{name}.{ZONE}. 60 IN A ")))
}

/// How the active host is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// It runs, without the storage of the lease and the network to the secondary.
    CutOff,
    /// It is stopped for longer than its lease, and goes on.
    Stopped,
    Killed,
    /// It ends in order, and its state is copied once more.
    Ended,
}

/// What a round has.
struct Place<'a> {
    dir: &'a Path,
    secondary: SocketAddr,
    network: &'a Network,
}

/// The active host is lost, the other takes over, and the first one comes back. Gives the times from the loss to the takeover and to the first
/// version of the new active host at the secondary.
fn lose(place: &Place<'_>, loss: Loss, active: &mut Host, standby: &mut Host, turn: usize) -> [Duration; 2] {
    let &Place { dir, secondary, network } = place;
    for change in 0..3 {
        assert!(active.update(&format!("t{turn}-{change}")), "an update of the active host");
    }
    let last = serial_at(active.address).expect("it serves");
    common::wait_for("the last version at the secondary", LIMIT, || {
        serial_at(secondary).filter(|serial| *serial == last)
    });
    standby.follow(active);
    let begin = Instant::now();
    match loss {
        Loss::CutOff => {
            network.set(Impairment::Cut);
            active.set_storage(false);
        }
        Loss::Stopped => active.signal(Signal::STOP),
        Loss::Killed => active.kill(),
        Loss::Ended => {
            active.end();
            let (done, said) = standby.take_over(&[]);
            assert!(!done && said.contains("pair copy once more"), "the last state was not copied: {said}");
            standby.copy_from(active).expect("copied");
        }
    }
    if !matches!(loss, Loss::Ended) {
        let (done, said) = standby.take_over(&[]);
        assert!(!done && said.contains("has the lease"), "the lease has not ended: {said}");
    }
    standby.take_over_when_possible();
    let taken = begin.elapsed();
    // From here on the old host must not publish anything, whatever it serves until it has seen the lease.
    let silent = Repeated::start(Duration::from_millis(20), {
        let address = active.address;
        move || {
            let seen = serial_at(address);
            assert!(seen.is_none_or(|seen| seen == last), "the old host publishes: {last}, {seen:?}");
        }
    });
    if matches!(loss, Loss::CutOff) {
        assert!(!active.update("y"), "an update of a host without a lease");
        active.change_file("y");
    }
    let serial = followed(secondary, standby, last);
    let served = begin.elapsed();
    assert!(
        serial.wrapping_sub(last) >= 1000,
        "serials go on far beyond those of the first host: {last}, {serial}"
    );
    assert!(has(secondary, &format!("t{turn}-2")), "what was taken and copied is there");
    match loss {
        Loss::CutOff => {
            common::wait_for("LEASE-LOST", LIMIT, || active.status().contains("LEASE-LOST").then_some(()));
            active.set_storage(true);
            network.set(Impairment::None);
        }
        Loss::Stopped => {
            active.change_file("y");
            active.signal(Signal::CONT);
            assert!(!active.update("y"), "an update of the host that has lost its lease");
        }
        Loss::Killed | Loss::Ended => active.start(),
    }
    active.becomes_standby();
    assert!(standby.update(&format!("after{turn}")), "an update of the new active host");
    followed(secondary, standby, serial);
    drop(silent);
    assert!(!has(secondary, "y"));
    std::fs::write(active.dir.join("zone"), ZONE_FILE).expect("write");
    assert!(standby.copy_from(active).is_ok(), "the active host copies nothing, and says so");
    verify(secondary, dir);
    [taken, served]
}

#[test]
fn a_second_signer_takes_over_from_one_that_is_lost_in_any_way_and_no_serial_goes_back() {
    let programs = ["dig", "rndc", "named", "nsupdate", "dnssec-verify", "ldns-verify-zone"];
    if programs.iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let rounds = std::env::var("OFFLINE_KSK_PAIR_ROUNDS").ok().and_then(|n| n.parse().ok());
    let dir = tempfile::tempdir().expect("a folder");
    let lease = dir.path().join("leases");
    std::fs::create_dir(&lease).expect("a folder");
    let ports = [common::free_port(), common::free_port(), common::free_port()];
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (secondary, network) = (at(ports[2]), Network::new());
    // What goes between host a and the secondary can be cut. A server whose port is closed says so at once; one behind a cut is waited for.
    let (out, back) = (network.link(secondary), network.link(at(ports[0])));
    let mut a = Host::prepare("a", dir.path().join("a"), &lease, ports[0], out);
    let mut b = Host::prepare("b", dir.path().join("b"), &lease, ports[1], secondary);
    let primaries =
        format!("127.0.0.1 port {} key \"xfr\"; 127.0.0.1 port {} key \"xfr\";", ports[1], back.port());
    let changes = [
        ("192.0.2.1 key \"xfr\";", primaries.as_str()),
        ("type secondary;", "type secondary; allow-transfer { any; };"),
    ];
    let statements = changed(&block("BIND: `named.conf`"), &changes);
    assert!(statements.contains(SECRET));
    let _named = Named::start_at(dir.path(), &statements, ports[2]).expect("named");
    let (done, said) = a.take_over(&[]);
    assert!(done, "{said}");
    a.start();
    b.start();
    common::wait_for("the first transfer", LIMIT, || serial_at(secondary));
    // Every serial that the secondary is seen to have.
    let seen = Arc::new(Mutex::new(Vec::<u32>::new()));
    let noted = Arc::clone(&seen);
    let sampler = Repeated::start(Duration::from_millis(20), move || {
        if let Some(serial) = serial_at(secondary) {
            noted.lock().expect("held by nobody").push(serial);
        }
    });
    let place = Place { dir: dir.path(), secondary, network: &network };
    // Host a is the active one at the beginning of each round. It is the one that is stopped: BIND asks host b first, and would wait for it.
    let whole = [Loss::CutOff, Loss::Killed, Loss::Stopped, Loss::Ended];
    let losses: Vec<Loss> = match rounds {
        Some(rounds) => whole.repeat(rounds),
        None => whole[..3].to_vec(),
    };
    for (turn, loss) in losses.into_iter().enumerate() {
        let (active, standby) = if turn % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let [taken, served] = lose(&place, loss, active, standby, turn);
        println!("turn {turn}: {loss:?}: taken over after {taken:.1?}, at the secondary after {served:.1?}");
    }
    drop(sampler);
    let seen = seen.lock().expect("held by nobody");
    let back: Vec<_> =
        seen.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]).cast_signed() < 0).collect();
    assert!(back.is_empty(), "serials went back at the secondary: {back:?}");
    println!("{} serials seen at the secondary, none went back", seen.len());
}
