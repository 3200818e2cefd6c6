//! Resolvers that validate, in front of a server of the zone: Unbound, named and Knot Resolver.

use std::fs;
use std::net::SocketAddr;

use keystore::cookie_secrets::CookieSecrets;
use keystore::dns::{Rtype, rdata};
use keystore::exchange::testing::TestKey;

use crate::certificate;
use crate::common;
use crate::peers::{Peer, foreground, foreground_until};
use crate::queries::{Client, Query, Transport};
use crate::site::{SERVER, SERVER_NAME, Site, ZONE};

/// What stands behind a resolver, and what it believes.
pub struct Upstream<'a> {
    pub transport: Transport,
    pub server: SocketAddr,
    /// DNSKEY record of the KSK that it trusts.
    pub anchor: &'a str,
    /// The zone validates with that key.
    pub is_secure: bool,
}

impl Upstream<'_> {
    fn wait(
        &self,
        name: &'static str,
        command: std::process::Command,
        dir: &std::path::Path,
        port: u16,
    ) -> Peer {
        if self.is_secure {
            foreground(name, command, dir, port)
        } else {
            foreground_until(name, command, dir, port, |_| true)
        }
    }
}

/// Unbound that trusts the zone's KSK and asks `server` for the zone, over UDP.
pub fn unbound(site: &Site, server: SocketAddr, name: &'static str) -> Option<Peer> {
    let upstream = Upstream { transport: Transport::Udp, server, anchor: &site.anchor, is_secure: true };
    unbound_over(site, &upstream, name)
}

/// Unbound.
pub fn unbound_over(site: &Site, upstream: &Upstream<'_>, name: &'static str) -> Option<Peer> {
    let mut unbound = common::peer("unbound")?;
    let dir = site.dir.join(name);
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("anchor"), format!("{}\n", upstream.anchor)).expect("write the anchor");
    let port = common::free_port();
    let [authority, _] = certificate::files(&site.dir, SERVER);
    let is_encrypted = upstream.transport == Transport::Tls;
    let text = format!(
        "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  verbosity: 1\n  do-daemonize: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  \
         trust-anchor-file: \"{dir}/anchor\"\n  local-zone: \"test.\" nodefault\n  edns-buffer-size: 1232\n  val-log-level: 2\n  \
         tcp-upstream: {tcp}\n  tls-cert-bundle: \"{authority}\"\n  \
         aggressive-nsec: no\n  harden-below-nxdomain: no\n  qname-minimisation: no\n  ip-ratelimit: 0\n  ratelimit: 0\nremote-control:\n  control-enable: no\n\
         stub-zone:\n  name: \"{ZONE}\"\n  stub-addr: {ip}@{upstream}{host}\n  stub-prime: no\n  stub-tls-upstream: {tls}\n",
        dir = dir.display(),
        tcp = if upstream.transport == Transport::Tcp { "yes" } else { "no" },
        authority = authority.display(),
        ip = upstream.server.ip(),
        upstream = upstream.server.port(),
        host = if is_encrypted { format!("#{SERVER_NAME}") } else { String::new() },
        tls = if is_encrypted { "yes" } else { "no" },
    );
    fs::write(dir.join("unbound.conf"), text).expect("write unbound.conf");
    unbound.args(["-d", "-c"]).arg(dir.join("unbound.conf"));
    Some(upstream.wait(name, unbound, &dir, port))
}

/// named, which sends cookies to the server.
pub fn named_over(site: &Site, upstream: &Upstream<'_>, name: &'static str) -> Option<Peer> {
    let mut named = common::peer("named")?;
    let dir = site.dir.join(name);
    fs::create_dir_all(&dir).expect("a folder");
    let port = common::free_port();
    let [authority, _] = certificate::files(&site.dir, SERVER);
    let (_, key) = upstream.anchor.split_once(" DNSKEY ").expect("a DNSKEY record");
    let mut words = key.splitn(4, ' ');
    let [flags, protocol, algorithm, key] = std::array::from_fn(|_| words.next().expect("four fields"));
    let text = format!(
        "tls up {{ ca-file \"{authority}\"; remote-hostname \"{SERVER_NAME}\"; }};\n\
         options {{ directory \"{dir}\"; pid-file none; session-keyfile none; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         recursion yes; notify no; dnssec-validation yes; empty-zones-enable no; qname-minimization off; }};\ncontrols {{ }};\n\
         server {ip} {{ send-cookie yes; tcp-only {tcp}; }};\n\
         trust-anchors {{ \"{ZONE}\" static-key {flags} {protocol} {algorithm} \"{key}\"; }};\n\
         zone \"{ZONE}\" {{ type forward; forward only; forwarders {{ {ip} port {upstream}{tls}; }}; }};\n",
        authority = authority.display(),
        dir = dir.display(),
        ip = upstream.server.ip(),
        upstream = upstream.server.port(),
        tcp = if upstream.transport == Transport::Tcp { "yes" } else { "no" },
        tls = if upstream.transport == Transport::Tls { " tls up" } else { "" },
    );
    fs::write(dir.join("named.conf"), text).expect("write named.conf");
    named.args(["-g", "-c"]).arg(dir.join("named.conf"));
    Some(upstream.wait(name, named, &dir, port))
}

/// Knot Resolver.
pub fn kresd_over(site: &Site, upstream: &Upstream<'_>, name: &'static str) -> Option<Peer> {
    let mut kresd = common::of_system("kresd")?;
    let dir = site.dir.join(name);
    fs::create_dir_all(&dir).expect("a folder");
    let port = common::free_port();
    let [authority, _] = certificate::files(&site.dir, SERVER);
    let server = format!("'{}@{}'", upstream.server.ip(), upstream.server.port());
    let suffix = format!("{{ todname('{ZONE}') }}");
    let authority = authority.display();
    let rules = match upstream.transport {
        Transport::Udp => format!("policy.add(policy.suffix(policy.FORWARD({server}), {suffix}))"),
        Transport::Tcp => format!(
            "policy.add(policy.suffix(policy.FLAGS('TCP'), {suffix}))\npolicy.add(policy.suffix(policy.FORWARD({server}), {suffix}))"
        ),
        Transport::Tls => format!(
            "policy.add(policy.suffix(policy.TLS_FORWARD({{{{ {server}, hostname='{SERVER_NAME}', ca_file='{authority}' }}}}), {suffix}))"
        ),
    };
    let text = format!(
        "net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})\ncache.size = 10 * MB\ntrust_anchors.remove('.')\n\
         trust_anchors.add('{anchor}')\nmodules.load('policy')\n{rules}\n",
        anchor = upstream.anchor
    );
    fs::write(dir.join("kresd.conf"), text).expect("write kresd.conf");
    kresd.arg("-n").arg("-c").arg(dir.join("kresd.conf")).arg(&dir);
    Some(upstream.wait(name, kresd, &dir, port))
}

/// RCODE and AD bit that a resolver gives to each query.
pub fn verdicts(resolver: &Peer, queries: &[Query]) -> Vec<(u8, bool)> {
    let mut client = Client::new(resolver.address);
    let verdict = |query: &Query| verdict(client.ask_slowly(&query.recursive(), query));
    queries.iter().map(verdict).collect()
}

/// RCODE and AD bit of an answer.
pub fn verdict(answer: Vec<u8>) -> (u8, bool) {
    (answer[3] & 15, answer[3] & 0x20 != 0)
}

const NXDOMAIN: u8 = 3;
const SERVFAIL: u8 = 2;

type Start = fn(&Site, &Upstream<'_>, &'static str) -> Option<Peer>;

/// Resolver, transport to our server, the names of its folders, how it is started.
const RESOLVERS: [(Transport, [&str; 2], Start); 9] = [
    (Transport::Udp, ["unbound-udp", "unbound-udp-twin"], unbound_over),
    (Transport::Tcp, ["unbound-tcp", "unbound-tcp-twin"], unbound_over),
    (Transport::Tls, ["unbound-tls", "unbound-tls-twin"], unbound_over),
    // named sends cookies, and takes ours; the others send none to servers. None of the three asks servers over HTTPS or QUIC.
    (Transport::Udp, ["named-udp", "named-udp-twin"], named_over),
    (Transport::Tcp, ["named-tcp", "named-tcp-twin"], named_over),
    (Transport::Tls, ["named-tls", "named-tls-twin"], named_over),
    (Transport::Udp, ["kresd-udp", "kresd-udp-twin"], kresd_over),
    (Transport::Tcp, ["kresd-tcp", "kresd-tcp-twin"], kresd_over),
    (Transport::Tls, ["kresd-tls", "kresd-tls-twin"], kresd_over),
];

#[test]
fn resolvers_validate_over_each_transport_and_find_a_bogus_twin_bogus() {
    let dir = tempfile::tempdir().expect("a folder");
    let site = Site::start(dir.path(), None);
    site.use_cookies(CookieSecrets::random(None).expect("random octets"));
    // Somebody else's KSK: the same zone does not validate with it.
    let other = rdata::to_text(Rtype::DNSKEY, &TestKey::ksk(77).dnskey.to_rdata(), None);
    let other = format!("{ZONE} IN DNSKEY {other}");
    assert_ne!(other, site.anchor);
    std::thread::scope(|scope| {
        for (transport, names, start) in RESOLVERS {
            let (site, other) = (&site, &other);
            scope.spawn(move || {
                let server: SocketAddr = if transport == Transport::Tls { site.tls } else { site.address };
                let [good, twin] = names;
                let upstream = Upstream { transport, server, anchor: &site.anchor, is_secure: true };
                let Some(good) = start(site, &upstream, good) else { return };
                let mut client = Client::new(good.address);
                for (name, rtype, rcode) in [
                    ("www", Rtype::A, 0),
                    ("nothing", Rtype::A, NXDOMAIN),
                    ("www", Rtype::MX, 0),
                    ("x.wild", Rtype::TXT, 0),
                    ("alias3", Rtype::AAAA, 0),
                    ("safe", Rtype::DS, 0),
                    ("text", Rtype::TXT, 0),
                ] {
                    let query = Query::new(name, rtype, None);
                    // Some answers do not fit into a datagram.
                    let said = verdict(client.ask(Transport::Tcp, &query.recursive()));
                    assert_eq!(said, (rcode, true), "{query} by {} over {transport}", good.name);
                }
                let upstream = Upstream { anchor: other, is_secure: false, ..upstream };
                let Some(twin) = start(site, &upstream, twin) else { return };
                let mut client = Client::new(twin.address);
                let query = Query { edns: Some((1232, true)), ..Query::new("www", Rtype::A, None) };
                let said = verdict(client.ask(Transport::Tcp, &query.recursive()));
                assert_eq!(said, (SERVFAIL, false), "{query} by {}", twin.name);
                // It is the validation that fails, and nothing else.
                let unchecked = Query { more_flags: true, ..query };
                let (rcode, is_secure) = verdict(client.ask(Transport::Tcp, &unchecked.octets()));
                assert_eq!((rcode, is_secure), (0, false), "{unchecked} by {}", twin.name);
            });
        }
    });
}
