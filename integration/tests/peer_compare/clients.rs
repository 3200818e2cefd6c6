//! Programs of others ask our server: dig, kdig, drill and dnspython as clients, Unbound, named and Knot Resolver as resolvers that
//! validate.

use std::net::SocketAddr;
use std::process::Command;

use keystore::cookie_secrets::CookieSecrets;
use keystore::dns::{Rtype, rdata};
use keystore::exchange::testing::TestKey;

use crate::certificate;
use crate::common;
use crate::peers::Peer;
use crate::queries::{Client, Query, Transport};
use crate::resolvers::{self, Upstream, verdict};
use crate::site::{SERVER, SERVER_NAME, Site, ZONE};

const NXDOMAIN: u8 = 3;
const SERVFAIL: u8 = 2;

/// dnspython, told by its arguments what to ask.
const DNSPYTHON: &str = r#"
import ssl, sys
import dns.edns, dns.message, dns.query, dns.rcode
transport, port, authority, host, cookie, name, rtype = sys.argv[1:]
options = [dns.edns.GenericOption(10, b"12345678")] if cookie == "true" else []
query = dns.message.make_query(name, rtype, use_edns=0, want_dnssec=True, payload=1232, options=options)
to = {"q": query, "where": "127.0.0.1", "port": int(port), "timeout": 10}
if transport == "UDP":
    answer, _ = dns.query.udp_with_fallback(**to)
elif transport == "TCP":
    answer = dns.query.tcp(**to)
else:
    answer = dns.query.tls(**to, ssl_context=ssl.create_default_context(cafile=authority), server_hostname=host)
print("status: %s," % dns.rcode.to_text(answer.rcode()))
print(answer)
for option in answer.options:
    if option.otype == 10:
        print("COOKIE: " + getattr(option, "data", b"").hex())
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Dig,
    Kdig,
    Drill,
    Dnspython,
}
use Program::{Dig, Dnspython, Drill, Kdig};
use Transport::{Tcp, Tls, Udp};

/// Client, transport, and whether it sends a cookie.
const CLIENTS: [(Program, Transport, bool); 20] = [
    (Dig, Udp, false),
    (Dig, Udp, true),
    (Dig, Tcp, false),
    (Dig, Tcp, true),
    (Dig, Tls, false),
    (Dig, Tls, true),
    (Kdig, Udp, false),
    (Kdig, Udp, true),
    (Kdig, Tcp, false),
    (Kdig, Tcp, true),
    (Kdig, Tls, false),
    (Kdig, Tls, true),
    // drill knows neither cookies nor TLS.
    (Drill, Udp, false),
    (Drill, Tcp, false),
    (Dnspython, Udp, false),
    (Dnspython, Udp, true),
    (Dnspython, Tcp, false),
    (Dnspython, Tcp, true),
    (Dnspython, Tls, false),
    (Dnspython, Tls, true),
];

/// Name, type, RCODE, and what the answer must have.
const QUESTIONS: [(&str, &str, &str, &[&str]); 6] = [
    ("www.hard.test.", "A", "NOERROR", &["192.0.2.80", "192.0.2.82", "RRSIG"]),
    ("nothing.hard.test.", "A", "NXDOMAIN", &["SOA", "NSEC", "RRSIG"]),
    ("www.hard.test.", "MX", "NOERROR", &["SOA", "NSEC", "RRSIG"]),
    ("x.wild.hard.test.", "TXT", "NOERROR", &["\"wild\"", "NSEC", "RRSIG"]),
    ("safe.hard.test.", "DS", "NOERROR", &["12345", "RRSIG"]),
    // Larger than a datagram: the client comes back over TCP by itself.
    ("text.hard.test.", "TXT", "NOERROR", &["xxxxxxxx", "RRSIG"]),
];

impl Program {
    /// The command that asks; `None` after a loud word where the program is missing.
    fn ask(
        self,
        site: &Site,
        (transport, sends_cookie): (Transport, bool),
        (name, rtype): (&str, &str),
    ) -> Option<Command> {
        let server = if transport == Tls { site.tls } else { site.address };
        let port = server.port().to_string();
        let [authority, _] = certificate::files(&site.dir, SERVER);
        let authority = authority.display().to_string();
        let mut command = match self {
            Dig => common::peer("dig"),
            Kdig => common::of_system("kdig"),
            Drill => common::of_system("drill"),
            Dnspython => python_with_dnspython(),
        }?;
        match self {
            Dig | Kdig => {
                command.args(["@127.0.0.1", "-p", &port, "+dnssec", "+norec", "+timeout=10"]);
                command.arg(if sends_cookie { "+cookie" } else { "+nocookie" });
                match transport {
                    Udp => {}
                    Tcp => drop(command.arg("+tcp")),
                    Tls => drop(command.args([
                        "+tls".to_owned(),
                        format!("+tls-ca={authority}"),
                        format!("+tls-hostname={SERVER_NAME}"),
                    ])),
                }
                command.args([name, rtype]);
            }
            Drill => {
                // Back over TCP where an answer is cut.
                command.args(["-a", "-D", "-o", "rd", "-p", &port]);
                command.args(if transport == Tcp { &["-t"][..] } else { &[] });
                command.args(["@127.0.0.1", name, rtype]);
            }
            Dnspython => {
                let sends_cookie = sends_cookie.to_string();
                command.args(["-c", DNSPYTHON, transport.name(), &port, &authority, SERVER_NAME]);
                command.args([&*sends_cookie, name, rtype]);
            }
        }
        Some(command)
    }
}

/// The Python of the system, which has its package of dnspython; `None` after a loud word when it is not there.
fn python_with_dnspython() -> Option<Command> {
    let python = || Command::new("/usr/bin/python3");
    let imported = python().args(["-c", "import dns.query"]).output();
    let is_there = imported.is_ok_and(|output| output.status.success());
    if is_there { Some(python()) } else { common::missing("dnspython") }
}

/// The server cookie that a program has printed behind its own, in hexadecimal digits.
fn cookie(said: &str) -> Option<&str> {
    let printed = said.split("COOKIE: ").nth(1)?.split_whitespace().next()?;
    (printed.len() == 48 && printed.bytes().all(|octet| octet.is_ascii_hexdigit())).then(|| &printed[16..])
}

#[test]
fn clients_of_others_get_signed_answers_over_each_transport_with_and_without_cookies() {
    let dir = tempfile::tempdir().expect("a folder");
    let site = Site::start(dir.path(), None);
    site.use_cookies(CookieSecrets::random(None).expect("random octets"));
    let mut rows = 0;
    for (program, transport, sends_cookie) in CLIENTS {
        for (name, rtype, status, pieces) in QUESTIONS {
            let Some(mut command) = program.ask(&site, (transport, sends_cookie), (name, rtype)) else {
                break;
            };
            let said = common::text(&command.output().unwrap_or_else(|e| panic!("{program:?}: {e}")));
            let row = format!("{program:?} {transport} cookie {sends_cookie} {name} {rtype}");
            let has_status =
                ["status: ", "rcode: "].iter().any(|word| said.contains(&format!("{word}{status}")));
            assert!(has_status, "{row}: no {status}\n{said}");
            for piece in pieces {
                assert!(said.contains(piece), "{row}: no {piece}\n{said}");
            }
            assert_eq!(cookie(&said).is_some(), sends_cookie, "{row}\n{said}");
            assert!(program != Dig || !sends_cookie || said.contains("(good)"), "{row}\n{said}");
            let warnings = said.lines().filter(|line| line.contains("WARNING"));
            assert_eq!(warnings.filter(|line| !line.contains("truncated")).count(), 0, "{row}\n{said}");
            rows += 1;
        }
    }
    println!("CLIENTS {rows} of {} rows", CLIENTS.len() * QUESTIONS.len());
}

type Start = fn(&Site, &Upstream<'_>, &'static str) -> Option<Peer>;

/// Resolver, transport to our server, the names of its folders, how it is started.
const RESOLVERS: [(Transport, [&str; 2], Start); 9] = [
    (Udp, ["unbound-udp", "unbound-udp-twin"], resolvers::unbound_over),
    (Tcp, ["unbound-tcp", "unbound-tcp-twin"], resolvers::unbound_over),
    (Tls, ["unbound-tls", "unbound-tls-twin"], resolvers::unbound_over),
    // named sends cookies, and takes ours.
    (Udp, ["named-udp", "named-udp-twin"], resolvers::named_over),
    (Tcp, ["named-tcp", "named-tcp-twin"], resolvers::named_over),
    (Tls, ["named-tls", "named-tls-twin"], resolvers::named_over),
    (Udp, ["kresd-udp", "kresd-udp-twin"], resolvers::kresd_over),
    (Tcp, ["kresd-tcp", "kresd-tcp-twin"], resolvers::kresd_over),
    (Tls, ["kresd-tls", "kresd-tls-twin"], resolvers::kresd_over),
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
                let server: SocketAddr = if transport == Tls { site.tls } else { site.address };
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
                    let said = verdict(client.ask(Tcp, &query.recursive()));
                    assert_eq!(said, (rcode, true), "{query} by {} over {transport}", good.name);
                }
                let upstream = Upstream { anchor: other, is_secure: false, ..upstream };
                let Some(twin) = start(site, &upstream, twin) else { return };
                let mut client = Client::new(twin.address);
                let query = Query { edns: Some((1232, true)), ..Query::new("www", Rtype::A, None) };
                let said = verdict(client.ask(Tcp, &query.recursive()));
                assert_eq!(said, (SERVFAIL, false), "{query} by {}", twin.name);
                // It is the validation that fails, and nothing else.
                let unchecked = Query { more_flags: true, ..query };
                let (rcode, is_secure) = verdict(client.ask(Tcp, &unchecked.octets()));
                assert_eq!((rcode, is_secure), (0, false), "{unchecked} by {}", twin.name);
            });
        }
    });
}
