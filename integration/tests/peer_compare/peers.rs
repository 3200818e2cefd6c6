//! The other servers with the same signed zone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::certificate;
use crate::common;
use crate::queries::Query;
use crate::site::{self, Site, ZONE};

/// A server that ends when it is dropped.
pub struct Peer {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Where it speaks DNS over TLS.
    pub tls: Option<SocketAddr>,
    child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn with_tls(mut self, port: u16) -> Self {
        self.tls = Some(at(port));
        self
    }
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Starts a server in the foreground, and waits until it answers for the zone.
pub fn foreground(name: &'static str, command: Command, dir: &Path, port: u16) -> Peer {
    foreground_until(name, command, dir, port, |rcode| rcode == 0)
}

/// The same, until the RCODE of its answer is as expected.
pub fn foreground_until(
    name: &'static str,
    mut command: Command,
    dir: &Path,
    port: u16,
    is_ready: impl Fn(u8) -> bool,
) -> Peer {
    let log = fs::File::create(dir.join(format!("{name}.log"))).expect("create the log");
    let child = command
        .current_dir(dir)
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("start {name}: {e}"));
    let mut peer = Peer { name, address: at(port), tls: None, child };
    let soa = Query::soa();
    common::wait_for(name, Duration::from_secs(30), || {
        if let Some(status) = peer.child.try_wait().expect("its state") {
            let said = fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
            panic!("{name} ended: {status}\n{said}");
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
        socket.send_to(&soa.recursive(), at(port)).ok()?;
        let mut answer = [0; 4096];
        let len = socket.recv(&mut answer).ok()?;
        (len > 12 && is_ready(answer[3] & 15)).then_some(())
    });
    peer
}

/// named, NSD and knotd; a peer that is not here is left out with a loud word.
pub fn start_all(site: &Site) -> Vec<Peer> {
    [named(site), nsd(site), knot(site)].into_iter().flatten().collect()
}

pub fn named(site: &Site) -> Option<Peer> {
    named_with(site, "named", "minimal-responses no-auth;")
}

/// named with a secret of cookies.
pub fn named_with_cookies(site: &Site, secret: &str) -> Option<Peer> {
    let options = format!("cookie-algorithm siphash24; cookie-secret \"{secret}\";");
    named_with(site, "named-cookies", &options)
}

/// named without rndc.
fn named_with(site: &Site, name: &str, options: &str) -> Option<Peer> {
    let mut named = common::peer("named")?;
    let dir = site.dir.join(name);
    fs::create_dir_all(&dir).expect("a folder");
    let (port, tls) = (common::free_port(), common::free_port());
    let [certificate, key] = certificate::files(&site.dir, site::SERVER);
    // Names that no host has, and targets that are aliases, are in the zone on purpose.
    let text = format!(
        "tls local {{ cert-file \"{certificate}\"; key-file \"{key}\"; }};\n\
         options {{ directory \"{dir}\"; pid-file none; session-keyfile none; listen-on port {port} {{ 127.0.0.1; }};\n\
         listen-on port {tls} tls local {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         recursion no; notify no; dnssec-validation no; {options} }};\ncontrols {{ }};\n\
         zone \"{ZONE}\" {{ type primary; file \"{signed}\"; check-names ignore; check-integrity no; check-mx ignore; \
         check-mx-cname ignore; check-srv-cname ignore; }};\n",
        certificate = certificate.display(),
        key = key.display(),
        dir = dir.display(),
        signed = site.signed.display()
    );
    fs::write(dir.join("named.conf"), text).expect("write named.conf");
    named.args(["-g", "-c"]).arg(dir.join("named.conf"));
    Some(foreground("named", named, &dir, port).with_tls(tls))
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
    let (port, tls) = (common::free_port(), common::free_port());
    let [certificate, key] = certificate::files(&site.dir, site::SERVER);
    let text = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  ip-address: 127.0.0.1@{tls}\n  tls-port: {tls}\n  tls-service-pem: \"{certificate}\"\n  \
         tls-service-key: \"{key}\"\n  username: \"\"\n  zonesdir: \"\"\n  database: \"\"\n  pidfile: \"\"\n  \
         zonelistfile: \"{dir}/zone.list\"\n  xfrdfile: \"{dir}/xfrd.state\"\n  xfrdir: \"{dir}\"\n  server-count: 1\n  \
         minimal-responses: yes\n  rrl-ratelimit: 0\n  tcp-count: 20\n{more}remote-control:\n  control-enable: no\n\
         zone:\n  name: \"{ZONE}\"\n  zonefile: \"{signed}\"\n",
        certificate = certificate.display(),
        key = key.display(),
        dir = dir.display(),
        signed = site.signed.display()
    );
    fs::write(dir.join("nsd.conf"), text).expect("write nsd.conf");
    nsd.args(["-d", "-c"]).arg(dir.join("nsd.conf"));
    Some(foreground("nsd", nsd, &dir, port).with_tls(tls))
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
    let (port, tls) = (common::free_port(), common::free_port());
    let [certificate, key] = certificate::files(&site.dir, site::SERVER);
    let text = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  listen-tls: 127.0.0.1@{tls}\n  cert-file: \"{certificate}\"\n  key-file: \"{key}\"\n  rundir: \"{dir}\"\ndatabase:\n  storage: \"{dir}\"\nlog:\n  - target: stderr\n    any: warning\n{module}\
         zone:\n  - domain: {ZONE}\n    storage: \"{dir}\"\n    file: \"{signed}\"\n    semantic-checks: off\n    zonefile-load: whole\n    journal-content: none\n{of_zone}",
        certificate = certificate.display(),
        key = key.display(),
        dir = dir.display(),
        signed = site.signed.display()
    );
    fs::write(dir.join("knot.conf"), text).expect("write knot.conf");
    knotd.arg("-c").arg(dir.join("knot.conf"));
    Some(foreground("knot", knotd, &dir, port).with_tls(tls))
}
