//! The other servers with the same signed zone, and a validating Unbound in front of any of them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{self, Named};
use crate::queries::{Client, Query};
use crate::site::{Site, ZONE};

/// A server that ends when it is dropped.
pub struct Peer {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Option<Child>,
    _named: Option<Named>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Starts a server in the foreground, and waits until it answers for the zone.
fn foreground(name: &'static str, mut command: Command, dir: &Path, port: u16) -> Peer {
    let log = fs::File::create(dir.join(format!("{name}.log"))).expect("create the log");
    let child = command
        .current_dir(dir)
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("start {name}: {e}"));
    let mut peer = Peer { name, address: at(port), child: Some(child), _named: None };
    let soa = Query::soa();
    common::wait_for(name, Duration::from_secs(30), || {
        if let Some(status) = peer.child.as_mut().and_then(|c| c.try_wait().expect("its state")) {
            let said = fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
            panic!("{name} ended: {status}\n{said}");
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
        socket.send_to(&soa.recursive(), at(port)).ok()?;
        let mut answer = [0; 4096];
        let len = socket.recv(&mut answer).ok()?;
        (len > 12 && answer[3] & 15 == 0).then_some(())
    });
    peer
}

/// named, NSD and knotd; a peer that is not here is left out with a loud word.
pub fn start_all(site: &Site) -> Vec<Peer> {
    [named(site), nsd(site), knot(site)].into_iter().flatten().collect()
}

pub fn named(site: &Site) -> Option<Peer> {
    let dir = site.dir.join("named");
    fs::create_dir_all(&dir).expect("a folder");
    // Names that no host has, and targets that are aliases, are in the zone on purpose.
    let view = format!(
        "view hard {{ minimal-responses no-auth; zone \"{ZONE}\" {{ type primary; file \"{}\"; check-names ignore; \
         check-integrity no; check-mx ignore; check-mx-cname ignore; check-srv-cname ignore; }}; }};\n",
        site.signed.display()
    );
    let named = Named::start(&dir, &view)?;
    Some(Peer { name: "named", address: at(named.port), child: None, _named: Some(named) })
}

/// named with a secret of cookies, without rndc.
pub fn named_with_cookies(site: &Site, secret: &str) -> Option<Peer> {
    let mut named = common::peer("named")?;
    let dir = site.dir.join("named-cookies");
    fs::create_dir_all(&dir).expect("a folder");
    let port = common::free_port();
    let text = format!(
        "options {{ directory \"{dir}\"; pid-file none; session-keyfile none; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         recursion no; notify no; dnssec-validation no; cookie-algorithm siphash24; cookie-secret \"{secret}\"; }};\ncontrols {{ }};\n\
         zone \"{ZONE}\" {{ type primary; file \"{signed}\"; check-names ignore; check-integrity no; check-mx ignore; \
         check-mx-cname ignore; check-srv-cname ignore; }};\n",
        dir = dir.display(),
        signed = site.signed.display()
    );
    fs::write(dir.join("named.conf"), text).expect("write named.conf");
    named.args(["-g", "-c"]).arg(dir.join("named.conf"));
    Some(foreground("named", named, &dir, port))
}

pub fn nsd(site: &Site) -> Option<Peer> {
    nsd_with(site, "")
}

/// NSD with a secret of cookies.
pub fn nsd_with_cookies(site: &Site, secret: &str) -> Option<Peer> {
    nsd_with(site, &format!("  answer-cookie: yes\n  cookie-secret: \"{secret}\"\n"))
}

fn nsd_with(site: &Site, more: &str) -> Option<Peer> {
    let mut nsd = common::peer("nsd")?;
    let dir = site.dir.join("nsd");
    fs::create_dir_all(&dir).expect("a folder");
    let port = common::free_port();
    let text = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  zonesdir: \"\"\n  database: \"\"\n  pidfile: \"\"\n  \
         zonelistfile: \"{dir}/zone.list\"\n  xfrdfile: \"{dir}/xfrd.state\"\n  xfrdir: \"{dir}\"\n  server-count: 1\n  \
         minimal-responses: yes\n  rrl-ratelimit: 0\n  tcp-count: 20\n{more}remote-control:\n  control-enable: no\n\
         zone:\n  name: \"{ZONE}\"\n  zonefile: \"{signed}\"\n",
        dir = dir.display(),
        signed = site.signed.display()
    );
    fs::write(dir.join("nsd.conf"), text).expect("write nsd.conf");
    nsd.args(["-d", "-c"]).arg(dir.join("nsd.conf"));
    Some(foreground("nsd", nsd, &dir, port))
}

pub fn knot(site: &Site) -> Option<Peer> {
    knot_with(site, "", "")
}

/// Knot with a secret of cookies.
pub fn knot_with_cookies(site: &Site, secret: &str) -> Option<Peer> {
    let module = format!("mod-cookies:\n  - id: shared\n    secret: [ \"0x{secret}\" ]\n");
    knot_with(site, &module, "    module: mod-cookies/shared\n")
}

fn knot_with(site: &Site, module: &str, of_zone: &str) -> Option<Peer> {
    let mut knotd = common::peer("knotd")?;
    let dir = site.dir.join("knot");
    fs::create_dir_all(&dir).expect("a folder");
    let port = common::free_port();
    let text = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: \"{dir}\"\ndatabase:\n  storage: \"{dir}\"\nlog:\n  - target: stderr\n    any: warning\n{module}\
         zone:\n  - domain: {ZONE}\n    storage: \"{dir}\"\n    file: \"{signed}\"\n    semantic-checks: off\n    zonefile-load: whole\n    journal-content: none\n{of_zone}",
        dir = dir.display(),
        signed = site.signed.display()
    );
    fs::write(dir.join("knot.conf"), text).expect("write knot.conf");
    knotd.arg("-c").arg(dir.join("knot.conf"));
    Some(foreground("knot", knotd, &dir, port))
}

/// Unbound that trusts the zone's KSK and asks `server` for the zone.
pub fn unbound(site: &Site, server: SocketAddr, name: &'static str) -> Option<Peer> {
    let mut unbound = common::peer("unbound")?;
    let dir = site.dir.join(name);
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("anchor"), format!("{}\n", site.anchor)).expect("write the anchor");
    let port = common::free_port();
    let text = format!(
        "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  verbosity: 1\n  do-daemonize: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  \
         trust-anchor-file: \"{dir}/anchor\"\n  local-zone: \"test.\" nodefault\n  edns-buffer-size: 1232\n  val-log-level: 2\n  \
         aggressive-nsec: no\n  harden-below-nxdomain: no\n  qname-minimisation: no\n  ip-ratelimit: 0\n  ratelimit: 0\nremote-control:\n  control-enable: no\n\
         stub-zone:\n  name: \"{ZONE}\"\n  stub-addr: {ip}@{upstream}\n  stub-prime: no\n",
        dir = dir.display(),
        ip = server.ip(),
        upstream = server.port()
    );
    fs::write(dir.join("unbound.conf"), text).expect("write unbound.conf");
    unbound.args(["-d", "-c"]).arg(dir.join("unbound.conf"));
    Some(foreground(name, unbound, &dir, port))
}

/// RCODE and AD bit that a resolver gives to each query.
pub fn verdicts(resolver: &Peer, queries: &[Query]) -> Vec<(u8, bool)> {
    let mut client = Client::new(resolver.address);
    queries
        .iter()
        .map(|query| {
            let answer = client.ask_slowly(&query.recursive(), query);
            (answer[3] & 15, answer[3] & 0x20 != 0)
        })
        .collect()
}
