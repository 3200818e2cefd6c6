//! Whatever another user puts under a name that the loader uses keeps it neither from its work, nor makes it write anywhere else. As root the
//! planted files belong to another user, in a state folder that all of its users may write to.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use common::{Bench, skr};
use keystore::config::Config;
use keystore::time::Timestamp;
use metrics::Metrics;
use offline_ksk_skr_loader::Loader;
use offline_ksk_skr_loader::control::{CallError, ControlAnswer, ControlRequest, call};
use offline_ksk_skr_loader::store::StoreOpenError;
use rustix::fs::{FlockOperation, flock};

/// A user that owns nothing else.
const OTHER: u32 = 64_006;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What is planted; what has to live as long as the plant is given back.
type Plant = fn(&Path) -> Option<File>;

/// Each kind. `victim` holds what must stay, and `nowhere` must not come to be.
const KINDS: [(&str, Plant); 8] = [
    ("a link to a file of the loader", |path| {
        symlink(victim(path), path).unwrap();
        None
    }),
    ("a link to nothing", |path| {
        symlink(victim(path).with_file_name("nowhere"), path).unwrap();
        None
    }),
    ("a link to a folder of the loader", |path| {
        symlink(victim(path).parent().unwrap(), path).unwrap();
        None
    }),
    ("a second name of a file of the loader", |path| {
        fs::hard_link(victim(path), path).unwrap();
        None
    }),
    ("a FIFO", |path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        None
    }),
    ("a folder", |path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("content"), "x").unwrap();
        None
    }),
    ("a socket", |path| {
        drop(UnixListener::bind(path).unwrap());
        None
    }),
    ("a file that is kept locked", |path| {
        let file = File::create(path).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        Some(file)
    }),
];

/// The file beside the state folder that every link leads to.
fn victim(path: &Path) -> PathBuf {
    let state = path.ancestors().find(|above| above.ends_with("state")).unwrap();
    state.with_file_name("victim").join("current")
}

struct Site {
    bench: Bench,
    now: Timestamp,
    /// What was planted lives that long.
    _planted: Option<File>,
}

impl Site {
    /// A state folder in which `kind` has the name `place`.
    fn new(place: &str, plant: Plant) -> Self {
        let bench = Bench::new();
        fs::create_dir(bench.path("victim")).unwrap();
        fs::write(bench.path("victim/current"), "precious").unwrap();
        // As the folders of the tmpfiles file: the loader's are there before anybody else can write in the state folder.
        for folder in ["accepted", "inbox"] {
            let _ = fs::create_dir(bench.path("state").join(folder));
        }
        let path = bench.path("state").join(place);
        let _ = fs::remove_dir(&path);
        let planted = plant(&path);
        if is_root() && fs::symlink_metadata(&path).unwrap().is_file() && planted.is_none() {
            // A second name of a file of ours: nobody else can give it away.
        } else if is_root() {
            lchown(&path, Some(OTHER), None).unwrap();
        }
        fs::set_permissions(bench.path("state"), Permissions::from_mode(0o1777)).unwrap();
        Self { bench, now: keystore::clock::now(), _planted: planted }
    }

    fn loader(&self) -> Result<Loader, offline_ksk_skr_loader::loader::LoaderStartError> {
        let config = Config::load(&self.bench.path("offline-ksk.toml")).unwrap();
        Loader::new(config, Metrics::new().unwrap())
    }

    fn is_untouched(&self, what: &str) {
        assert_eq!(fs::read(self.bench.path("victim/current")).unwrap(), b"precious", "{what}");
        assert_eq!(
            self.bench.files("victim"),
            ["current"],
            "{what}: nothing is written there, and nothing taken away"
        );
    }
}

/// Where another user may put a file before the loader's is there, and what the loader does all the same.
const PLACES: [(&str, bool); 7] = [
    ("audit.jsonl", true),
    ("skr-loader.lock", true),
    ("skr-loader.sock", true),
    (".ctl", true),
    ("rejected", true),
    ("delivered", true),
    // Nothing can be dropped there, and nothing is taken out of what was put there.
    ("inbox", false),
];

#[test]
fn kind_04_what_is_planted_under_any_name_in_the_state_folder_keeps_the_loader_from_nothing() {
    for (place, takes) in PLACES {
        for (kind, plant) in KINDS {
            let what = format!("{place}: {kind}");
            let site = Site::new(place, plant);
            let mut loader = site.loader().unwrap_or_else(|error| panic!("{what}: {error}"));
            if takes {
                site.bench.drop_file("good.skr", &skr(0, site.now));
                site.bench.drop_file("bad.skr", "garbage\n;; SignedKeyResponse 1.0 generated\n");
            }
            for seconds in [0, 61, 122] {
                while loader.step(site.now.plus(seconds)).more {}
            }
            assert_eq!(site.bench.current().is_some(), takes, "{what}");
            site.is_untouched(&what);
            drop(loader);
            site.loader().unwrap_or_else(|error| panic!("{what}, again: {error}"));
        }
    }
}

/// In the accepted store nobody else can write; where another user has made it first there is no safe place for what is accepted.
#[test]
fn kind_04_an_accepted_store_of_another_user_is_refused_with_its_owner() {
    if !is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    for (kind, plant) in KINDS.into_iter().filter(|(kind, _)| kind.contains("folder")) {
        let site = Site::new("accepted", plant);
        match site.loader() {
            Err(offline_ksk_skr_loader::loader::LoaderStartError::Store(
                error @ StoreOpenError::Foreign { .. },
            )) => {
                assert!(error.to_string().contains("belongs to uid 64006"), "{kind}: {error}");
            }
            other => panic!("{kind}: {other:?}"),
        }
        site.is_untouched(kind);
    }
}

/// The request timer's and the signer's folders: nothing there that the loader reads leads it elsewhere or keeps it waiting.
#[test]
fn kind_04_what_lies_in_the_folders_of_other_programs_is_read_as_a_plain_file_or_not_at_all() {
    for place in [
        "outbox/example./20260101000000.ksr",
        "outbox/example./answered/x.ksr",
        "keys/Kexample.+015+00001.key",
    ] {
        for (kind, plant) in KINDS.into_iter().filter(|(kind, _)| *kind != "a folder") {
            let what = format!("{place}: {kind}");
            let bench = Bench::new();
            fs::create_dir_all(bench.path("state/outbox/example./answered")).unwrap();
            fs::create_dir(bench.path("victim")).unwrap();
            fs::write(bench.path("victim/current"), "precious").unwrap();
            let _planted = plant(&bench.path("state").join(place));
            let config = Config::load(&bench.path("offline-ksk.toml")).unwrap();
            let mut loader = Loader::new(config, Metrics::new().unwrap()).unwrap();
            let now = keystore::clock::now();
            bench.drop_file("good.skr", &skr(0, now));
            let imports = loader.step(now).imports;
            assert!(bench.current().is_some(), "{what}: {imports:?}");
        }
    }
}

#[test]
fn kind_04_commands_are_given_to_nobody_but_the_loader() {
    if !is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: only root can start processes of several users");
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.path(""), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bench.path("state"), Permissions::from_mode(0o1777)).unwrap();
    let socket = bench.path("state/skr-loader.sock");
    // Somebody else listens there, and would take a file and its reason.
    let script = format!(
        "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind({:?})\ns.listen()\nprint('up',flush=True)\n\
         c,_=s.accept()\nprint(len(c.recv(9)),flush=True)\nc.close()\n",
        socket.to_str().unwrap()
    );
    use std::io::BufRead;
    use std::os::unix::process::CommandExt;
    let mut child = std::process::Command::new("python3")
        .args(["-c", &script])
        .uid(OTHER)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    let answer = call(&socket, &ControlRequest::Status { zones: Vec::new() });
    assert!(matches!(answer, Err(CallError::Stranger { uid: OTHER, .. })), "{answer:?}");
    assert_eq!(lines.next().unwrap().unwrap(), "0", "not one octet was sent");
    child.wait().unwrap();
    fs::remove_file(&socket).unwrap();
    // The loader itself is answered to, in the same folder.
    let mut daemon = bench.start();
    let asked = || {
        matches!(call(&socket, &ControlRequest::Status { zones: Vec::new() }), Ok(ControlAnswer::Status(_)))
    };
    assert!(common::wait_for(std::time::Duration::from_secs(20), asked), "{}", bench.log());
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait(std::time::Duration::from_secs(20));
}

/// A unit with a RuntimeDirectory has the socket there without a word in the configuration: whatever another user has put under its name in
/// the state folder, commands reach the loader.
#[test]
fn kind_04_the_socket_is_in_the_folder_that_the_service_manager_makes() {
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);
    let answers = |socket: &Path| {
        matches!(call(socket, &ControlRequest::Status { zones: Vec::new() }), Ok(ControlAnswer::Status(_)))
    };
    let kinds = ["a link to a file of the loader", "a FIFO", "a socket"];
    for (kind, plant) in KINDS.into_iter().filter(|(kind, _)| kinds.contains(kind)) {
        let site = Site::new("skr-loader.sock", plant);
        let (bench, config) = (&site.bench, site.bench.path("offline-ksk.toml"));
        fs::create_dir(bench.path("run")).unwrap();
        let (socket, named) = (bench.path("run/skr-loader.sock"), bench.path("named.sock"));
        let folder = format!("RUNTIME_DIRECTORY={}:/run/another", bench.path("run").display());
        let mut daemon = bench.start_under(&["env", &folder]);
        assert!(common::wait_for(LIMIT, || answers(&socket)), "{kind}: {}", bench.log());
        assert_eq!(Config::locate_control_socket(&config), Some(socket.clone()), "{kind}");
        site.is_untouched(kind);
        // A configuration that is read again does not move it.
        daemon.signal(rustix::process::Signal::HUP);
        assert!(
            common::wait_for(LIMIT, || bench.log().contains("configuration reloaded")),
            "{}",
            bench.log()
        );
        assert!(!bench.log().contains("change at the next start"), "{}", bench.log());
        daemon.signal(rustix::process::Signal::TERM);
        daemon.wait(LIMIT);
        assert!(!socket.exists(), "{kind}");
        // What the configuration names counts more.
        bench.configure(&format!("[loader]\ncontrol-socket = {:?}\n", named.display().to_string()));
        let mut daemon = bench.start_under(&["env", &folder]);
        assert!(common::wait_for(LIMIT, || answers(&named)), "{kind}: {}", bench.log());
        assert_eq!(Config::locate_control_socket(&config), Some(named), "{kind}");
        daemon.signal(rustix::process::Signal::TERM);
        daemon.wait(LIMIT);
    }
}
