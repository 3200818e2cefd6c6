//! `offline-ksk requests`: once for cron, and as a daemon beside `skr-loader`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(ksr: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().expect("a folder") };
        site.configure(ksr);
        site
    }

    fn configure(&self, ksr: &str) {
        let zone = |name: &str| {
            format!(
                "[[zone]]\nname = \"{name}\"\npolicy = \"p\"\ntrust-anchors = [\"{name}. DS 18064 13 2 \
                 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\n"
            )
        };
        let text = format!(
            "version = 1\nstate-dir = \"state\"\n{}{}[policy.p]\noffline-ksk = true\nkeys = [\n  {{ role = \"ksk\", lifetime = \
             \"unlimited\", algorithm = \"ed25519\" }},\n  {{ role = \"zsk\", lifetime = \"P6M\", algorithm = \"ed25519\" }},\n]\n[ksr]\n{ksr}\n",
            zone("a.test"),
            zone("b.test")
        );
        fs::write(self.path("config.toml"), text).expect("write");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        command.arg("requests").arg("-c").arg(self.path("config.toml")).args(options);
        command
    }

    fn once(&self, options: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } =
            self.command(&["--once"]).args(options).output().expect("a run");
        let text = |octets| String::from_utf8(octets).expect("text");
        (status.code(), text(stdout), text(stderr))
    }

    /// The files of a kind in the outbox of a zone.
    fn outbox(&self, zone: &str, extension: &str) -> usize {
        let Ok(entries) = fs::read_dir(self.path(&format!("state/outbox/{zone}"))) else { return 0 };
        entries
            .filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == extension)))
            .count()
    }
}

#[test]
fn one_look_writes_what_is_due_and_says_so() {
    let site = Site::new("mail-to = [\"ksk@example.net\"]");
    let (code, stdout, stderr) = site.once(&[]);
    assert_eq!(code, Some(0), "{stderr}");
    let mut lines = stdout.lines();
    assert!(
        lines.next().is_some_and(|l| l.starts_with("a.test.: written: ") && l.ends_with(" (notice)")),
        "{stdout}"
    );
    assert!(lines.next().is_some_and(|l| l.starts_with("  made Ka.test.+015+")), "{stdout}");
    for zone in ["a.test.", "b.test."] {
        assert_eq!(
            [site.outbox(zone, "ksr"), site.outbox(zone, "eml"), site.outbox(zone, "told")],
            [1, 1, 1]
        );
    }
    let (code, stdout, _) = site.once(&["--json"]);
    assert_eq!(code, Some(0));
    let seen: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(seen[1]["zone"], "b.test.");
    assert_eq!((&seen[1]["outcome"], &seen[1]["urgency"]), (&"open".into(), &"notice".into()));
    assert!(seen[1]["request"].as_str().is_some_and(|path| path.ends_with(".ksr")), "{stdout}");

    // A hook that fails is an exit status.
    site.configure("on-request = [\"/bin/false\"]");
    fs::remove_dir_all(site.path("state/outbox")).expect("remove");
    let (code, stdout, _) = site.once(&[]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("  ERROR: on-request: /bin/false ended with exit status: 1"), "{stdout}");
    assert_eq!(site.outbox("a.test.", "ksr"), 1, "the request lies there all the same");

    site.configure("enabled = false");
    let (code, _, stderr) = site.once(&[]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("enabled = false"), "{stderr}");
}

#[test]
fn the_daemon_runs_alone_reloads_and_stops() {
    let site = Site::new("");
    let mut child = site
        .command(&["--metrics", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a number")).expect("a process");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let (mut address, mut told, mut all) = (None, 0, String::new());
    let mut next = |all: &mut String| {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).expect("a line"), 0, "it has ended: {all}");
        all.push_str(&line);
        line
    };
    while told < 2 || address.is_none() {
        let line = next(&mut all);
        address = address.or_else(|| Some(line.split("address=").nth(1)?.trim().to_owned()));
        told += usize::from(line.contains("a request waits for its answer"));
    }
    let scrape = || {
        let mut stream = TcpStream::connect(address.as_deref().expect("an address")).expect("a connection");
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("write");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    };
    let text = scrape();
    for series in [
        "ksr_urgency{zone=\"a.test.\"} 1",
        "ksr_notices_total{result=\"ok\",zone=\"b.test.\"} 1",
        "ksr_generations_total{result=\"written\",zone=\"a.test.\"} 1",
        "keystore_ksk_private_files{zone=\"a.test.\"} 0",
        "keystore_mismatched_keys{zone=\"a.test.\"} 0",
    ] {
        assert!(text.contains(&format!("offlineksk_{series}\n")), "{series}\n{text}");
    }
    // A second one keeps away.
    let (code, _, stderr) = site.once(&[]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("another request timer runs in this folder"), "{stderr}");

    // A configuration that does not read changes nothing; one that does is looked at at once.
    site.configure("lead = \"nonsense\"");
    kill_process(pid, Signal::HUP).expect("a signal");
    while !next(&mut all).contains("the old configuration stays in use") {}
    // The metric follows on the line of the log.
    let wait_for_series = |series: &str| {
        let until = Instant::now() + Duration::from_secs(20);
        while !scrape().contains(series) {
            assert!(Instant::now() < until, "{series} does not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for_series("offlineksk_config_last_reload_successful 0\n");
    site.configure("");
    fs::remove_dir_all(site.path("state/outbox")).expect("remove");
    kill_process(pid, Signal::HUP).expect("a signal");
    while site.outbox("b.test.", "told") == 0 {
        next(&mut all);
    }
    wait_for_series("offlineksk_config_last_reload_successful 1\n");
    kill_process(pid, Signal::TERM).expect("a signal");
    assert!(child.wait().expect("an end").success());
    let (code, _, stderr) = site.once(&[]);
    assert_eq!(code, Some(0), "the lock is free: {stderr}");
}

#[test]
fn metrics_stay_on_the_loopback() {
    let site = Site::new("");
    let output = site.command(&["--metrics", "0.0.0.0:0"]).output().expect("a run");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("can be reached by others"));
}
