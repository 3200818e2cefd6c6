//! Validating resolvers that are asked each second, and what they said.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::dns::{Name, Rtype};

use crate::common;
use crate::delays::Delays;

/// Whether answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// As long as their TTL says.
    Warm,
    /// Not at all.
    Cold,
}

/// An unbound that validates with the key of the parent.
pub struct Resolver {
    process: Child,
    pub port: u16,
}

impl Resolver {
    /// `stubs`: each zone, and the port where it is served.
    pub fn start(dir: &Path, cache: Cache, port: u16, anchor: &Path, stubs: &[(&str, u16)]) -> Self {
        let kept =
            if cache == Cache::Cold { "cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n  " } else { "" };
        Self::with(dir, port, &format!("trust-anchor-file: \"{}\"\n  {kept}", anchor.display()), stubs)
    }

    /// One that has the keys in `anchors` as those of the zone itself, and follows RFC 5011 with a hold-down of a few seconds.
    pub fn with_own_anchors(dir: &Path, zone: &str, at: u16, anchors: &Path) -> Self {
        let own = dir.join("anchors");
        fs::create_dir(dir).expect("a folder");
        fs::copy(anchors, &own).expect("copied");
        let more = format!(
            "auto-trust-anchor-file: \"{}\"\n  permit-small-holddown: yes\n  add-holddown: 4\n  del-holddown: 3600\n  ",
            own.display()
        );
        Self::with(dir, common::free_port(), &more, &[(zone, at)])
    }

    /// Waits until it has come to trust a key besides those of its start, and has seen one of them revoked.
    pub fn wait_for_revocation(&self, dir: &Path) {
        common::wait_for("a resolver by RFC 5011 to see the revocation", Duration::from_secs(60), || {
            let text = fs::read_to_string(dir.join("anchors")).ok()?;
            (text.contains("[  VALID  ]") && text.contains("[ REVOKED ]")).then_some(())
        });
    }

    fn with(dir: &Path, port: u16, more: &str, stubs: &[(&str, u16)]) -> Self {
        fs::create_dir_all(dir).expect("a folder");
        let mut text = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  \
             local-zone: \"test.\" nodefault\n  qname-minimisation: no\n  val-log-level: 2\n  discard-timeout: 0\n  wait-limit: 0\n  {more}\n\
             remote-control:\n  control-enable: no\n",
            dir = dir.display(),
        );
        for (zone, at) in stubs {
            text.push_str(&format!(
                "stub-zone:\n  name: \"{zone}\"\n  stub-addr: 127.0.0.1@{at}\n  stub-prime: no\n"
            ));
        }
        fs::write(dir.join("unbound.conf"), text).expect("write");
        let log = fs::File::create(dir.join("log")).expect("a log");
        let mut unbound = common::peer("unbound").expect("it was there");
        unbound.args(["-d", "-c"]).arg(dir.join("unbound.conf")).stdout(Stdio::null()).stderr(log);
        Self { process: unbound.spawn().expect("unbound starts"), port }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// RCODE and AD bit of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub rcode: u8,
    pub is_authentic: bool,
}

/// Asks a resolver, again when nothing comes, as every stub resolver does; an error is the lack of any answer.
pub fn ask(port: u16, name: &str, rtype: Rtype) -> Result<Answer, String> {
    let again = |_| ask_once(port, name, rtype);
    ask_once(port, name, rtype).or_else(again).or_else(again)
}

fn ask_once(port: u16, name: &str, rtype: Rtype) -> Result<Answer, String> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    socket.connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(|error| error.to_string())?;
    // RD and AD are set; one question, and an OPT record of 1232 octets with the DO bit.
    let mut query = vec![0x4f, 0x4b, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend(Name::parse(name).map_err(|error| error.to_string())?.as_wire());
    query.extend(rtype.0.to_be_bytes());
    query.extend([0, 1]);
    query.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    socket.send(&query).map_err(|error| error.to_string())?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).map_err(|error| error.to_string())?;
    match answer.get(..length) {
        Some([_, _, _, flags, ..]) => Ok(Answer { rcode: flags & 0x0f, is_authentic: flags & 0x20 != 0 }),
        _ => Err("a short answer".to_owned()),
    }
}

/// What is asked of a zone each second: the label, the type, the RCODE that is right.
pub const QUESTIONS: [(&str, Rtype, u8); 4] =
    [("a.", Rtype::A, 0), ("nobody.", Rtype::A, 3), ("", Rtype::DNSKEY, 0), ("", Rtype::SOA, 0)];

/// The two resolvers, the anchor with which delv validates what they say, and the delays of what they are asked about.
#[derive(Debug, Clone)]
pub struct Judges {
    pub warm: u16,
    pub cold: u16,
    pub delv_anchor: PathBuf,
    pub delays: Delays,
}

/// What was seen of a zone.
#[derive(Debug, Default)]
pub struct Seen {
    pub rounds: usize,
    pub asked: usize,
    /// Questions to which nothing came, three times: that says more of the machine than of the zone.
    pub unanswered: usize,
    /// Answers that are wrong: SERVFAIL, or another RCODE than the right one.
    pub wrong: Vec<String>,
    /// Answers that are right, and not authentic.
    pub insecure: Vec<String>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.asked += other.asked;
        self.unanswered += other.unanswered;
        self.wrong.extend(other.wrong);
        self.insecure.extend(other.insecure);
    }

    /// Every question was answered, rightly and authentically.
    pub const fn is_good(&self) -> bool {
        self.unanswered == 0 && self.wrong.is_empty() && self.insecure.is_empty()
    }

    /// What speaks against a procedure: any answer that was wrong, or too few to tell.
    pub fn faults(self, zone: &str) -> Vec<String> {
        let Self { rounds, asked, unanswered, .. } = self;
        let mut faults = self.wrong;
        faults.extend(self.insecure);
        if rounds < 8 || unanswered * 4 > asked {
            faults.push(format!(
                "{zone}: {rounds} rounds, {unanswered} of {asked} questions without an answer"
            ));
        }
        faults
    }
}

impl Judges {
    /// Asks both resolvers everything.
    pub fn look(&self, zone: &str) -> Seen {
        let mut seen = Seen { rounds: 1, ..Seen::default() };
        for (cache, port) in [(Cache::Warm, self.warm), (Cache::Cold, self.cold)] {
            for (label, rtype, rcode) in QUESTIONS {
                let name = format!("{label}{zone}.");
                let what =
                    |answer: Answer| format!("{} {cache:?} {name} {rtype}: {answer:?}", clock::now().iso());
                seen.asked += 1;
                match ask(port, &name, rtype) {
                    Ok(answer) if answer.rcode != rcode => seen.wrong.push(what(answer)),
                    Ok(answer) if !answer.is_authentic => seen.insecure.push(what(answer)),
                    Ok(_) => {}
                    Err(_) => seen.unanswered += 1,
                }
            }
        }
        seen
    }

    /// What delv, which validates by itself, says of one of the questions.
    fn delv(&self, zone: &str, question: usize) -> Seen {
        let (label, rtype, _) = QUESTIONS[question % QUESTIONS.len()];
        let mut delv = common::peer("delv").expect("it was there");
        delv.args(["@127.0.0.1", "-p", &self.warm.to_string(), "+root=test", "-a"]).arg(&self.delv_anchor);
        delv.args([&format!("{label}{zone}"), &rtype.to_string()]);
        let said = common::text(&delv.output().expect("delv runs"));
        let what = format!("{} delv {label}{zone} {rtype}: {said}", clock::now().iso());
        let mut seen = Seen { asked: 1, ..Seen::default() };
        match said {
            said if said.contains("fully validated") => {}
            said if said.contains("unsigned answer") => seen.insecure.push(what),
            said if said.contains("timed out") || said.contains("hung fetch") => seen.unanswered += 1,
            _ => seen.wrong.push(what),
        }
        seen
    }
}

/// The key in `anchor` in the form of `delv -a`, in a file beside it.
pub fn delv_anchor(anchor: &Path) -> PathBuf {
    let text = fs::read_to_string(anchor).expect("text");
    let fields: Vec<&str> = text.split_whitespace().collect();
    let at = fields.iter().position(|field| *field == "DNSKEY").expect("a DNSKEY");
    let [flags, protocol, algorithm] = [1, 2, 3].map(|field| fields[at + field]);
    let key = fields[at + 4..].concat();
    let path = anchor.with_extension("delv");
    let text =
        format!("trust-anchors {{ \"test\" static-key {flags} {protocol} {algorithm} \"{key}\"; }};\n");
    fs::write(&path, text).expect("write");
    path
}

/// Questions each second, in a thread of their own.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    /// `is_secure` says whether the zone has a DS record at the parent: only then must answers be authentic.
    pub fn start(judges: Judges, zone: String, is_secure: impl Fn() -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut round = |found: &dyn Fn() -> Seen| {
                let was_secure = is_secure();
                let mut found = found();
                // The DS record may have gone in between.
                if !(was_secure && is_secure()) {
                    found.insecure.clear();
                }
                seen.add(found);
            };
            let mut rounds = 0;
            while !is_stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                round(&|| judges.look(&zone));
                if rounds % 5 == 4 {
                    round(&|| judges.delv(&zone, rounds / 5));
                }
                rounds += 1;
                std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
            }
            (0..QUESTIONS.len()).for_each(|question| round(&|| judges.delv(&zone, question)));
            seen
        });
        Self { stop, thread }
    }

    /// Ends the questions. What was seen.
    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}
