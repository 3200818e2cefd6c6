//! A zone in a folder as the manual describes it, with the server that serves it and the loader beside it.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::balancer::Balancer;
use crate::common::{self, Named};
use crate::delays::Delays;
use crate::page;

/// Who serves the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Named,
    Knot,
    Serve,
}

impl Server {
    /// The word for it in the blocks of the manual.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Knot => "knot",
            Self::Serve => "serve",
        }
    }
}

/// A key that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub flags: u16,
    pub tag: u16,
}

impl Key {
    pub const fn is_ksk(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// A process that ends when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A zone, its folder, and the ports on which it is served.
pub struct Site {
    pub zone: String,
    pub server: Server,
    /// Where resolvers ask: the server's own port, or that of a [`Balancer`] in front of several.
    pub port: u16,
    own_port: u16,
    /// Another provider of the zone, in the folder `b`, and the socket of the [`Balancer`], bound before another program takes its port.
    second: Option<(Box<Site>, UdpSocket)>,
    dir: PathBuf,
    delays: Delays,
    /// Programs of this site come first: those that must know a configuration file get it here.
    path: std::ffi::OsString,
}

/// The servers and the loaders of a site, at work.
pub struct Running {
    _servers: Vec<Servers>,
    _balancer: Option<Balancer>,
}

/// One server and its loader.
struct Servers {
    _loader: Process,
    _named: Option<Named>,
    _knotd: Option<Process>,
}

/// The key entries of most policies here.
pub const KEYS: &str = "ksk lifetime unlimited algorithm 13; zsk lifetime P1Y algorithm 13;";

impl Site {
    /// Makes the folder; `keys` are the key entries of the policy. `resolver` is the port where `dig` asks.
    pub fn new(
        dir: &Path,
        zone: &str,
        server: Server,
        (keys, delays): (&str, Delays),
        resolver: u16,
    ) -> Self {
        let keys = keys.replace("SHORT", &delays.short_lifetime().to_string());
        let ours = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).parent().expect("a folder").to_owned();
        let programs = common::peer("dig").expect("it was there");
        let peers = Path::new(programs.get_program()).parent().expect("a folder").to_owned();
        let system = std::env::var_os("PATH").unwrap_or_default();
        let path = [dir.join("bin"), ours, peers].into_iter().chain(std::env::split_paths(&system));
        let port = common::free_port();
        let site = Self {
            zone: zone.to_owned(),
            server,
            port,
            own_port: port,
            second: None,
            dir: dir.to_owned(),
            delays,
            path: std::env::join_paths(path).expect("a path"),
        };
        for folder in ["", "bin", "ksk", "keys", "skr", "state", "knot"] {
            fs::create_dir_all(dir.join(folder)).expect("a folder");
        }
        site.write(
            "policy.conf",
            &format!(
                "dnssec-policy standard {{ offline-ksk yes; keys {{ {keys} }};\n{} }};\n",
                delays.policy()
            ),
        );
        site.write(
            &format!("{zone}.zone"),
            &format!("$ORIGIN {zone}.\n$TTL {ttl}\n@ SOA ns1 h 1 3600 600 86400 {ttl}\n@ NS ns1\nns1 A 127.0.0.1\na A 10.0.0.1\n",
                ttl = delays.ttl()),
        );
        let wrap = |program: &str, options: &str| {
            let Some(peer) = common::peer(program) else { return };
            site.script(program, &format!("exec {} {options} \"$@\"", peer.get_program().to_string_lossy()));
        };
        let at = dir.display();
        wrap("dig", &format!("@127.0.0.1 -p {resolver}"));
        wrap("rndc", &format!("-c {at}/rndc.conf"));
        wrap("keymgr", &format!("-c {at}/knot.conf"));
        wrap("knotc", &format!("-c {at}/knot.conf"));
        site.configure(&keys);
        site
    }

    /// The same with another provider beside it, with another server, that has not joined yet.
    pub fn with_second_provider(mut self, resolver: u16) -> Self {
        let server = if self.server == Server::Named { Server::Serve } else { Server::Named };
        let second = Self::new(&self.path("b"), &self.zone, server, (KEYS, self.delays), resolver);
        let configuration = fs::read_to_string(second.path("offline-ksk.toml")).expect("text");
        second.write("offline-ksk.toml", &configuration.replace("[ksr]", "multi-signer = true\n[ksr]"));
        self.script("ns_add", &format!("touch {}", self.path("joined").display()));
        self.script("ns_remove", &format!("rm {}", self.path("joined").display()));
        let front = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        self.port = front.local_addr().expect("an address").port();
        self.second = Some((Box::new(second), front));
        self
    }

    /// Writes a program that comes before those of the system.
    fn script(&self, name: &str, command: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{command}\n")).expect("write");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("write");
    }

    fn configure(&self, keys: &str) {
        let short = self.delays.short_lifetime();
        let is_short = keys.contains(&format!("zsk lifetime {short} "));
        let zsk_lifetime = if is_short { short.to_string() } else { "365d".to_owned() };
        let of_knot = self.delays.of_knot();
        let of_knot: String =
            of_knot.iter().map(|(option, seconds)| format!("    {option}: {seconds}\n")).collect();
        let Self { zone, own_port: port, .. } = self;
        let dir = self.dir.display();
        let (of_zone, of_server) = match self.server {
            Server::Named => (
                String::new(),
                format!(
                    "[[deliver.named]]\nname = \"ns1\"\naddress = \"127.0.0.1:{port}\"\nfolder = \"{dir}/skr\"\n"
                ),
            ),
            Server::Knot => (
                String::new(),
                format!(
                    "[[deliver.knot]]\nname = \"ns1\"\naddress = \"127.0.0.1:{port}\"\nfolder = \"{dir}/skr\"\n"
                ),
            ),
            Server::Serve => {
                (format!("file = \"{zone}.zone\"\n"), format!("[signer]\nlisten = [\"127.0.0.1:{port}\"]\n"))
            }
        };
        self.write(
            "offline-ksk.toml",
            &format!(
                "version = 1\nstate-dir = \"state\"\nnamed-conf = \"policy.conf\"\n[[zone]]\nname = \"{zone}\"\npolicy = \"standard\"\n\
                 key-directory = \"keys\"\ntrust-anchor-file = \"anchors\"\n{of_zone}[ksr]\nenabled = false\n{of_server}"
            ),
        );
        self.write(
            "knot.conf",
            &format!(
                "server:\n    rundir: {dir}\n    listen: 127.0.0.1@{port}\ncontrol:\n    listen: {dir}/knot.sock\nlog:\n  - target: {dir}/knot.log\n    \
                 any: info\ndatabase:\n    storage: {dir}/knot\npolicy:\n  - id: offline\n    manual: on\n    offline-ksk: on\n    \
                 algorithm: ecdsap256sha256\n    zsk-lifetime: {zsk_lifetime}\n{of_knot}    keytag-modulo: 0/2\nzone:\n  - domain: {zone}\n    storage: {dir}\n    \
                 file: {zone}.zone\n    zonefile-sync: -1\n    zonefile-load: difference\n    journal-content: all\n    dnssec-signing: on\n    \
                 dnssec-policy: offline\n"
            ),
        );
    }

    /// Runs commands as a person in the folder of the site does; what they printed when one failed.
    pub fn run(&self, script: &str) -> Result<(), String> {
        let mut command = self.command("timeout");
        let output = command
            .args([&self.delays.limit().as_secs().to_string(), "sh", "-eux", "-c", script])
            .output()
            .expect("sh runs");
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{}: {}\n{}", self.zone, output.status, common::text(&output))),
        }
    }

    /// The DS records of the first KSK, as record data.
    pub fn first_ds(&self) -> Vec<String> {
        let key =
            fs::read_dir(self.path("ksk")).expect("the folder").map(|entry| entry.expect("an entry").path());
        let key = key.into_iter().find(|path| path.extension().is_some_and(|end| end == "key"));
        let mut dsfromkey = common::peer("dnssec-dsfromkey").expect("it was there");
        let said = common::stdout(dsfromkey.arg("-2").arg(key.expect("a KSK")));
        said.lines().filter_map(|line| Some(line.split_once(" DS ")?.1.to_owned())).collect()
    }

    /// The DNSKEY RRset that the server has.
    pub fn served_keys(&self) -> Vec<Key> {
        let mut dig = common::peer("dig").expect("it was there");
        dig.args(["@127.0.0.1", "-p", &self.own_port.to_string(), "+multiline", "+noall", "+answer", "+tcp"]);
        let said = common::stdout(dig.args([&self.zone, "DNSKEY"]));
        let mut keys = Vec::new();
        // Flags are in the first line of a record, and the tag in a remark of the last one.
        let mut flags = None;
        for line in said.lines() {
            let after = |word: &str| line.split_once(word)?.1.split_whitespace().next()?.parse().ok();
            flags = after("DNSKEY ").or(flags);
            keys.extend(flags.zip(after("key id = ")).map(|(flags, tag)| Key { flags, tag }));
        }
        keys
    }

    /// The first ceremony, and the server and the loader with it.
    pub fn start(&self, values: &[(&str, String)]) -> Running {
        let preamble = page::preamble(self.server, values);
        let from = values.iter().find(|(name, _)| *name == "FROM").map_or("now", |(_, value)| value);
        let zsks = match self.server {
            Server::Named | Server::Serve => format!("on_signer -i {from} keygen\n"),
            Server::Knot => String::new(),
        };
        let first = format!(
            "on_ksk_side -o -i {from} keygen\n{zsks}cat ksk/*.key >anchors\nrequest last -i {from}\nsign last\n"
        );
        self.run(&format!("{preamble}{first}")).unwrap_or_else(|error| panic!("{error}"));
        let mut servers = vec![self.start_servers()];
        let balancer = self.second.as_ref().map(|(second, front)| {
            fs::copy(self.path("anchors"), second.path("anchors")).expect("copied");
            servers.push(second.start_servers());
            let front = front.try_clone().expect("a second handle");
            Balancer::start(front, self.own_port, second.own_port, self.path("joined"))
        });
        self.run(&format!("{preamble}load last\n")).unwrap_or_else(|error| panic!("{error}"));
        Running { _servers: servers, _balancer: balancer }
    }

    fn start_servers(&self) -> Servers {
        let named = (self.server == Server::Named).then(|| {
            let zone = &self.zone;
            let statements = format!(
                "include \"policy.conf\";\nzone \"{zone}\" {{ type primary; file \"{zone}.zone\"; key-directory \"keys\"; dnssec-policy standard; }};"
            );
            Named::start_at(&self.dir, &statements, self.own_port).expect("named is there")
        });
        let knotd = (self.server == Server::Knot).then(|| self.spawn("knotd", &["-c", "knot.conf"]));
        let loader = match self.server {
            Server::Serve => self.spawn("offline-ksk", &["serve", "-c", "offline-ksk.toml"]),
            Server::Named | Server::Knot => self.spawn("skr-loader", &["run", "-c", "offline-ksk.toml"]),
        };
        common::wait_for("the loader's socket", Duration::from_secs(30), || {
            self.path("state/skr-loader.sock").exists().then_some(())
        });
        Servers { _loader: loader, _named: named, _knotd: knotd }
    }

    /// A program with the programs of this site first in the path.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env("PATH", &self.path).env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    fn spawn(&self, program: &str, arguments: &[&str]) -> Process {
        let log = fs::File::create(self.path(&format!("{program}.log"))).expect("a log");
        let mut command = self.command(program);
        command.args(arguments).stdout(log.try_clone().expect("a log")).stderr(log);
        Process(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    /// The last lines of each log, for a message.
    pub fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(40)..].join("\n"))
        };
        ["skr-loader.log", "offline-ksk.log", "named.log", "knot.log"].map(tail).concat()
    }
}
