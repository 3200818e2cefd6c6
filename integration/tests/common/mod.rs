//! What the peer tests share: finding the programs that judge us, running them, and a real `named` on loopback.
//!
//! `scripts/peers` makes the programs available. Where they are missing a test says so loudly and passes, except with
//! `CI=true`, where it fails.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command for a peer program, or `None` after a loud word when it is not there.
pub fn peer(program: &str) -> Option<Command> {
    let found = peers_dir().map(|dir| dir.join("bin").join(program)).filter(|path| path.exists());
    match found {
        Some(path) => {
            let mut command = Command::new(path);
            command.env("TZ", "UTC").env("LC_ALL", "C").stdin(Stdio::null());
            Some(command)
        }
        None if std::env::var("CI").is_ok_and(|v| v == "true") => {
            panic!(
                "{program} is missing; run scripts/peers and set OFFLINE_KSK_PEERS to the folder it prints"
            )
        }
        None => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not here; scripts/peers brings it");
            None
        }
    }
}

/// The command for a program of this system, looked for in `PATH` and `/usr/sbin`; `None` after a loud word when it is not there.
pub fn of_system(program: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|dir| dir.join(program)).find(|path| path.exists());
    found.map_or_else(|| missing(program), |path| Some(Command::new(path)))
}

/// Says loudly that a program or package of this system is not there, and gives nothing; fails with `CI=true`.
pub fn missing<T>(what: &str) -> Option<T> {
    let must_be_there = std::env::var("CI").is_ok_and(|v| v == "true");
    assert!(!must_be_there, "{what} is missing; scripts/test installs it");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} is not here; scripts/test installs it");
    None
}

fn peers_dir() -> Option<PathBuf> {
    let dir = match std::env::var_os("OFFLINE_KSK_PEERS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("target/peers"),
    };
    dir.join("complete").exists().then_some(dir)
}

/// `let Some(command) = peer!("delv") …` without the ceremony: returns from the test when the program is missing.
#[macro_export]
macro_rules! peer {
    ($program:expr) => {
        match common::peer($program) {
            Some(command) => command,
            None => return,
        }
    };
}

/// Runs a command to its end; panics with all it printed when it fails.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?} failed: {}\n{}", output.status, text(&output));
    output
}

/// Standard output of a command that succeeds.
#[track_caller]
pub fn stdout(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).expect("text")
}

/// Both streams of an output, for messages.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A port that was free a moment ago, for UDP and TCP. Only for programs that cannot tell which port the kernel gave them.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = tcp.local_addr().expect("an address").port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port free for UDP and TCP");
}

/// Tries `probe` until it gives something, for at most `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks `probe` again and again for `time`: it must give the same answer, true, all the while.
pub fn holds_for(what: &str, time: Duration, mut probe: impl FnMut() -> bool) {
    let start = Instant::now();
    loop {
        assert!(probe(), "{what}: no more after {:?}", start.elapsed());
        if start.elapsed() >= time {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A real `named` on loopback, stopped when dropped.
pub struct Named {
    /// Its working folder.
    pub dir: PathBuf,
    /// DNS port on 127.0.0.1.
    pub port: u16,
    control: u16,
    statements: String,
    /// When it was up.
    up: Instant,
    child: Child,
}

impl Named {
    /// Starts named in `dir` with `statements` (zones, policies) behind its options, and waits until rndc reaches it.
    /// `None` when named is not here.
    pub fn start(dir: &Path, statements: &str) -> Option<Self> {
        peer("rndc")?;
        peer("named").map(|command| Self::start_on(command, dir, statements, free_port(), free_port()))
    }

    /// The same with the DNS port that is given.
    pub fn start_at(dir: &Path, statements: &str, port: u16) -> Option<Self> {
        peer("rndc")?;
        peer("named").map(|command| Self::start_on(command, dir, statements, port, free_port()))
    }

    /// Kills it without a word, as a crash does, and gives what it takes to start it again on the same ports.
    pub fn crash(mut self) -> Down {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.down()
    }

    /// The same with `rndc stop`.
    pub fn stop(mut self) -> Down {
        self.end();
        self.down()
    }

    fn down(&mut self) -> Down {
        // `rndc status` tells the boot time in whole seconds: the next one is in another second, as it is in a server room.
        std::thread::sleep(Duration::from_millis(1100).saturating_sub(self.up.elapsed()));
        let (dir, statements) = (self.dir.clone(), std::mem::take(&mut self.statements));
        Down { dir, statements, port: self.port, control: self.control }
    }

    fn end(&mut self) {
        let _ = self.rndc(&["stop"]);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn start_on(mut command: Command, dir: &Path, statements: &str, port: u16, control: u16) -> Self {
        let key =
            "key k { algorithm hmac-sha256; secret \"b2ZmbGluZS1rc2stdGVzdHMtb25seS1rZXktMDAwMDA=\"; };";
        let conf = format!(
            "{key}\ncontrols {{ inet 127.0.0.1 port {control} allow {{ 127.0.0.1; }} keys {{ k; }}; }};\n\
             options {{ directory \"{dir}\"; pid-file \"{dir}/named.pid\"; session-keyfile none; listen-on port {port} {{ 127.0.0.1; }};\n\
             listen-on-v6 {{ none; }}; recursion no; notify no; dnssec-validation no; managed-keys-directory \"{dir}\"; }};\n{statements}\n",
            dir = dir.display()
        );
        std::fs::write(dir.join("named.conf"), conf).expect("write named.conf");
        std::fs::write(
            dir.join("rndc.conf"),
            format!(
                "{key}\noptions {{ default-key k; default-server 127.0.0.1; default-port {control}; }};\n"
            ),
        )
        .expect("write rndc.conf");
        let log = std::fs::File::create(dir.join("named.log")).expect("create named.log");
        let child = command
            .current_dir(dir)
            .args(["-f", "-d", "1", "-c"])
            .arg(dir.join("named.conf"))
            .arg("-L")
            .arg(dir.join("named.log"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start named");
        let up = Instant::now();
        let mut named =
            Self { dir: dir.to_owned(), port, control, statements: statements.to_owned(), up, child };
        wait_for("named", Duration::from_secs(30), || {
            if let Some(status) = named.child.try_wait().expect("named's state") {
                panic!("named ended: {status}\n{}", named.log());
            }
            named.rndc(&["status"]).status.success().then_some(())
        });
        named.up = Instant::now();
        named
    }

    /// Runs `rndc` against it.
    pub fn rndc(&self, arguments: &[&str]) -> Output {
        let mut command = peer("rndc").expect("rndc was there at the start");
        command.arg("-c").arg(self.dir.join("rndc.conf")).args(arguments).output().expect("run rndc")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("named.log")).unwrap_or_default()
    }
}

/// A `named` that is down.
pub struct Down {
    dir: PathBuf,
    statements: String,
    /// DNS port that it had, and will have.
    pub port: u16,
    control: u16,
}

impl Down {
    /// Starts it again; its log begins anew.
    pub fn start(self) -> Named {
        let command = peer("named").expect("named was there");
        Named::start_on(command, &self.dir, &self.statements, self.port, self.control)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.end();
        }
    }
}
