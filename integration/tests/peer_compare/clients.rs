//! Clients of others ask our server: dig, kdig, drill and dnspython, over each transport that they have.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use keystore::cookie_secrets::CookieSecrets;

use crate::certificate;
use crate::common;
use crate::site::{SERVER, SERVER_NAME, Site};

/// dnspython, told by its arguments what to ask: all questions in one process, each answer behind a line of its own.
const DNSPYTHON: &str = r#"
import ssl, sys
import dns.edns, dns.message, dns.query, dns.rcode
way, port, authority, host, cookie, *questions = sys.argv[1:]
options = [dns.edns.GenericOption(10, b"12345678")] if cookie == "true" else []
for name, rtype in zip(questions[::2], questions[1::2]):
    query = dns.message.make_query(name, rtype, use_edns=0, want_dnssec=True, payload=1232, options=options)
    to = {"q": query, "where": "127.0.0.1", "port": int(port), "timeout": 10}
    if way == "Udp":
        answer, _ = dns.query.udp_with_fallback(**to)
    elif way == "Tcp":
        answer = dns.query.tcp(**to)
    elif way == "Tls":
        answer = dns.query.tls(**to, ssl_context=ssl.create_default_context(cafile=authority), server_hostname=host)
    elif way == "Quic":
        answer = dns.query.quic(**to, verify=authority, server_hostname=host)
    else:
        to["where"] = "https://%s:%s/dns-query" % (host, port)
        answer = dns.query.https(**to, verify=authority, bootstrap_address="127.0.0.1", post=way == "HttpsPost")
    print("NEXT")
    print("status: %s," % dns.rcode.to_text(answer.rcode()))
    print(answer)
    for option in answer.options:
        if option.otype == 10:
            print("COOKIE: " + (option.client + option.server if hasattr(option, "client") else option.data).hex())
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Dig,
    Kdig,
    Drill,
    Dnspython,
}
use Program::{Dig, Dnspython, Drill, Kdig};

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    Tcp,
    Tls,
    HttpsPost,
    HttpsGet,
    Quic,
}
use Way::{HttpsGet, HttpsPost, Quic, Tcp, Tls, Udp};

const PROGRAMS: [Program; 4] = [Dig, Kdig, Drill, Dnspython];
const WAYS: [Way; 6] = [Udp, Tcp, Tls, HttpsPost, HttpsGet, Quic];

/// What a client cannot do, and why: each pair that is not here is asked, without a cookie and with one.
const CANNOT: [(Program, &[Way], &str); 2] = [
    (Dig, &[Quic], "BIND has no DNS over QUIC"),
    (Drill, &[Tls, HttpsPost, HttpsGet, Quic], "drill of ldns 1.8 asks over UDP and TCP alone"),
];
/// The clients that send no cookie: drill has no option for it.
const WITHOUT_COOKIES: [Program; 1] = [Drill];

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

impl Way {
    fn server(self, site: &Site) -> SocketAddr {
        match self {
            Udp | Tcp => site.address,
            Tls => site.tls,
            HttpsPost | HttpsGet => site.https,
            Quic => site.quic,
        }
    }

    /// The options of dig and kdig for it.
    fn options(self, program: Program, authority: &str) -> Vec<String> {
        // dig has the name from another option, kdig the path from the URL.
        let url = if program == Dig { "/dns-query".to_owned() } else { format!("{SERVER_NAME}/dns-query") };
        let transport = match self {
            Udp => return Vec::new(),
            Tcp => return vec!["+tcp".to_owned()],
            Tls => vec!["+tls".to_owned()],
            HttpsPost => vec![format!("+https={url}")],
            HttpsGet if program == Dig => vec![format!("+https-get={url}")],
            HttpsGet => vec![format!("+https={url}"), "+https-get".to_owned()],
            Quic => vec!["+quic".to_owned()],
        };
        let verified = [format!("+tls-ca={authority}"), format!("+tls-hostname={SERVER_NAME}")];
        transport.into_iter().chain(verified).collect()
    }
}

impl Program {
    fn can(self, way: Way) -> bool {
        let never = CANNOT.iter().any(|(program, ways, _)| *program == self && ways.contains(&way));
        !never && (self != Kdig || way != Quic || kdig_has_quic())
    }

    /// What it says to each of the questions; `None` after a loud word where the program is missing.
    fn ask(self, site: &Site, way: Way, sends_cookie: bool) -> Option<Vec<String>> {
        let port = way.server(site).port().to_string();
        let [authority, _] = certificate::files(&site.dir, SERVER);
        let authority = authority.display().to_string();
        let said = |mut command: Command| {
            common::text(&command.output().unwrap_or_else(|e| panic!("{self:?}: {e}")))
        };
        if self == Dnspython {
            let mut command = python_with_dnspython()?;
            command.args(["-c", DNSPYTHON, &format!("{way:?}"), &port, &authority, SERVER_NAME]);
            command.arg(sends_cookie.to_string());
            command.args(QUESTIONS.iter().flat_map(|(name, rtype, ..)| [name, rtype]));
            let said = said(command);
            let answers: Vec<String> = said.split("NEXT\n").skip(1).map(str::to_owned).collect();
            assert_eq!(answers.len(), QUESTIONS.len(), "{self:?} {way:?}\n{said}");
            return Some(answers);
        }
        let ask = |(name, rtype, ..): &(&str, &str, &str, &[&str])| {
            let mut command = match self {
                Dig => common::peer("dig"),
                Kdig => common::of_system("kdig"),
                _ => common::of_system("drill"),
            }?;
            if self == Drill {
                // Back over TCP where an answer is cut.
                command.args(["-a", "-D", "-o", "rd", "-p", &port]);
                command.args(if way == Tcp { &["-t"][..] } else { &[] });
                command.args(["@127.0.0.1", name, rtype]);
            } else {
                command.args(["@127.0.0.1", "-p", &port, "+dnssec", "+norec", "+timeout=10"]);
                command.arg(if sends_cookie { "+cookie" } else { "+nocookie" });
                command.args(way.options(self, &authority)).args([name, rtype]);
            }
            Some(said(command))
        };
        QUESTIONS.iter().map(ask).collect()
    }
}

/// Whether kdig was built with QUIC: that of Debian 12 was not, takes the option, and asks over TCP.
fn kdig_has_quic() -> bool {
    let Some(mut kdig) = common::of_system("kdig") else { return false };
    let unused = common::free_port().to_string();
    kdig.args(["@127.0.0.1", "-p", &unused, "+quic", "+timeout=1", "+retry=0", ".", "SOA"]);
    kdig.output().is_ok_and(|output| common::text(&output).contains("(QUIC)"))
}

/// The Python that scripts/test has made for dnspython with what it needs for DNS over HTTPS and QUIC; without it that of the system.
/// `None` after a loud word when these are not there.
fn python_with_dnspython() -> Option<Command> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python3");
        let made = if made.exists() { made } else { "/usr/bin/python3".into() };
        let path = std::env::var_os("OFFLINE_KSK_PYTHON").map_or(made, PathBuf::from);
        let mut look = Command::new(&path);
        look.args(["-c", "import dns.query, dns.quic; assert dns.query.have_doh and dns.quic.have_quic"]);
        let is_there = look.output().is_ok_and(|output| output.status.success());
        if is_there { Some(path) } else { common::missing("dnspython with DNS over HTTPS and QUIC") }
    });
    found.as_ref().map(Command::new)
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
    let can = |program: Program| {
        WAYS.into_iter().filter(move |way| program.can(*way)).map(move |way| (program, way))
    };
    let pairs = PROGRAMS.into_iter().flat_map(can);
    let rows: Vec<(Program, Way, bool)> = pairs
        .flat_map(|(program, way)| [(program, way, false), (program, way, true)])
        .filter(|(program, _, sends_cookie)| !(*sends_cookie && WITHOUT_COOKIES.contains(program)))
        .collect();
    let asked: usize = std::thread::scope(|scope| {
        let asking: Vec<_> = PROGRAMS
            .into_iter()
            .map(|program| {
                let rows = rows.iter().filter(move |(of, ..)| *of == program);
                let site = &site;
                scope.spawn(move || rows.filter(|row| is_answered(site, **row)).count())
            })
            .collect();
        asking.into_iter().map(|thread| thread.join().expect("no row fails")).sum()
    });
    println!("CLIENTS {asked} of {} rows of {} questions", rows.len(), QUESTIONS.len());
    if !Kdig.can(Quic) {
        println!("CLIENTS Kdig cannot [Quic]: this one was built without it");
    }
    for (program, ways, reason) in CANNOT {
        println!("CLIENTS {program:?} cannot {ways:?}: {reason}");
    }
}

/// Has a client ask, and holds what it says to what the answers must have; false where the client is missing.
fn is_answered(site: &Site, (program, way, sends_cookie): (Program, Way, bool)) -> bool {
    let Some(answers) = program.ask(site, way, sends_cookie) else { return false };
    for ((name, rtype, status, pieces), said) in QUESTIONS.into_iter().zip(answers) {
        let row = format!("{program:?} {way:?} cookie {sends_cookie} {name} {rtype}");
        let has_status = ["status: ", "rcode: "].iter().any(|word| said.contains(&format!("{word}{status}")));
        assert!(has_status, "{row}: no {status}\n{said}");
        for piece in pieces {
            assert!(said.contains(piece), "{row}: no {piece}\n{said}");
        }
        assert_eq!(cookie(&said).is_some(), sends_cookie, "{row}\n{said}");
        assert!(program != Dig || !sends_cookie || said.contains("(good)"), "{row}\n{said}");
        let warnings = said.lines().filter(|line| line.contains("WARNING"));
        assert_eq!(warnings.filter(|line| !line.contains("truncated")).count(), 0, "{row}\n{said}");
    }
    true
}
