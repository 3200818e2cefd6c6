//! A primary with a database, as PowerDNS is: its answer for the SOA record comes from a cache, and a transfer has records that were written
//! after its SOA record was read.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keystore::clock;
use keystore::dns::{Name, Rtype};

use crate::incoming::{Ours, txt_at};
use crate::primary::{self, KEY, SECRET, ZONE};
use crate::{common, records_at, serial_at, validate_file, write_zone};

/// Far less than SOA REFRESH of the primary, and than SOA RETRY.
const LIMIT: Duration = Duration::from_secs(40);
/// The length of the question of the zone: its name, type and class.
const QUESTION: usize = 13 + 4;

/// What the primary gives.
#[derive(Debug, Clone, Default)]
struct Given {
    /// The serial in its answers for the SOA record.
    answered: u32,
    /// The serial of its transfers.
    sent: u32,
    /// The text of the name that changes in its transfers.
    text: u32,
    /// A name that only some of its transfers have.
    more: Option<&'static str>,
    /// What IXFR is answered with.
    ixfr: Ixfr,
}

#[derive(Debug, Clone, Copy, Default)]
enum Ixfr {
    /// The whole zone.
    #[default]
    Whole,
    /// The difference between the versions with these two texts, whose serials are the same numbers.
    Difference(u32, u32),
}

/// The primary, and the types that it was asked for.
#[derive(Clone)]
struct Database {
    address: SocketAddr,
    given: Arc<Mutex<Given>>,
    asked: Arc<Mutex<Vec<Rtype>>>,
}

impl Database {
    fn start(given: Given) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("an address");
        let database = Self { address, given: Arc::new(Mutex::new(given)), asked: Arc::default() };
        let serving = database.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.answer(stream));
            }
        });
        database
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut len = [0; 2];
        while stream.read_exact(&mut len).is_ok() {
            let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut query).expect("a query");
            let rtype = Rtype(u16::from_be_bytes([query[25], query[26]]));
            let records = self.given.lock().expect("not poisoned").records(rtype);
            self.asked.lock().expect("not poisoned").push(rtype);
            let head = [&query[..2], &[0x84, 0, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]].concat();
            let message = [head, query[12..12 + QUESTION].to_vec(), records.concat()].concat();
            let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
            if stream.write_all(&framed).is_err() {
                return;
            }
        }
    }

    fn give(&self, change: impl Fn(&mut Given)) {
        change(&mut self.given.lock().expect("not poisoned"));
    }

    /// How often it was asked for this type.
    fn asked(&self, rtype: Rtype) -> usize {
        self.asked.lock().expect("not poisoned").iter().filter(|asked| **asked == rtype).count()
    }

    /// Tells our signer of a new version by NOTIFY, with the SOA record of this serial where it is given.
    fn notify(&self, ours: SocketAddr, serial: Option<u32>) {
        let soa = serial.map(soa);
        let head = [0x47, 0x11, 0x24, 0, 0, 1, 0, soa.iter().len() as u8, 0, 0, 0, 0];
        let question = [Name::parse(ZONE).expect("a name").as_wire(), &[0, 6, 0, 1]].concat();
        let message = [&head[..], &question, &soa.unwrap_or_default()].concat();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.send_to(&message, ours).expect("it is sent");
    }
}

impl Given {
    fn records(&self, rtype: Rtype) -> Vec<Vec<u8>> {
        match (rtype, self.ixfr) {
            (Rtype::SOA, _) => vec![soa(self.answered)],
            (Rtype::IXFR, Ixfr::Difference(from, to)) => {
                vec![soa(to), soa(from), changed(from), soa(to), changed(to), soa(to)]
            }
            _ => {
                let ns = Name::parse(&format!("ns.{ZONE}")).expect("a name");
                let address = |owner| record(owner, Rtype::A, &[127, 0, 0, 1]);
                let mut all = vec![soa(self.sent), record("", Rtype::NS, ns.as_wire()), address("ns.")];
                all.extend([changed(self.text), soa(self.sent)]);
                all.splice(3..3, self.more.map(address));
                all
            }
        }
    }
}

fn changed(text: u32) -> Vec<u8> {
    let text = text.to_string();
    record("changed.", Rtype::TXT, &[&[text.len() as u8], text.as_bytes()].concat())
}

fn soa(serial: u32) -> Vec<u8> {
    let names = [Name::root().as_wire(), Name::root().as_wire()].concat();
    let numbers = [serial, 3600, 3600, 86_400, 300].map(u32::to_be_bytes);
    record("", Rtype::SOA, &[names, numbers.concat()].concat())
}

/// A record of `owner`, which ends with a dot where it is not the apex.
fn record(owner: &str, rtype: Rtype, rdata: &[u8]) -> Vec<u8> {
    let owner = Name::parse(&format!("{owner}{ZONE}")).expect("a name");
    let head =
        [rtype.0.to_be_bytes(), [0, 1], [0, 0], 300_u16.to_be_bytes(), (rdata.len() as u16).to_be_bytes()];
    [owner.as_wire(), &head.concat(), rdata].concat()
}

/// Our signer, and its primary, whose first version it serves.
struct Site {
    dir: tempfile::TempDir,
    database: Database,
    ours: Ours,
    /// A second primary that takes connections, and says nothing on them for longer than a test takes.
    _silent: TcpListener,
}

impl Site {
    fn start(given: Given) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let text = given.text;
        let database = Database::start(given);
        let silent = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let tables = format!(
            "[transfer]\nkey-files = [\"xfr.key\"]\nmin-retry = 1\nallow-transfer = [{{ address = \"127.0.0.0/8\", key = \"{KEY}\" }}]\n\
             [[zone]]\nname = \"{ZONE}\"\npolicy = \"common\"\ntrust-anchor-file = \"{ZONE}.anchors\"\nprimaries = [\"{}\", \"{}\"]\n",
            database.address,
            silent.local_addr().expect("an address")
        );
        let ours = Ours::start(&primary::prepare(dir.path(), &tables), common::free_port());
        let site = Self { dir, database, ours, _silent: silent };
        site.serves(text, "at the start");
        site
    }

    fn serves(&self, text: u32, when: &str) {
        common::wait_for(&format!("text {text} {when}"), LIMIT, || {
            (txt_at(self.ours.address())? == format!("\"{text}\"")).then_some(())
        });
    }

    /// Waits until the primary was asked so often for its SOA record.
    fn was_asked(&self, times: usize) {
        common::wait_for(&format!("question {times} for the SOA record"), LIMIT, || {
            (self.database.asked(Rtype::SOA) >= times).then_some(())
        });
    }

    /// What is served, as validators that know nothing of us find it good; without the records that were made here.
    fn validated(&self, name: &str) -> Vec<String> {
        let key = format!("hmac-sha256:{KEY}:{SECRET}");
        let records = records_at(self.ours.address(), Some(&key));
        let file = self.dir.path().join(name);
        write_zone(&records, &file);
        validate_file(&file, clock::now());
        let is_data = |line: &String| matches!(line.split(' ').nth(3), Some("A" | "TXT"));
        records.into_iter().filter(is_data).collect()
    }
}

fn has_peers() -> bool {
    ["dig", "kzonecheck", "ldns-verify-zone"].iter().all(|program| common::peer(program).is_some())
}

#[test]
fn version_that_was_announced_comes_when_the_answer_for_the_soa_record_shows_it() {
    if !has_peers() {
        return;
    }
    let lags = |serial: Option<u32>| {
        let site = Site::start(Given { answered: 1, sent: 1, text: 1, ..Given::default() });
        let before = serial_at(site.ours.address()).expect("a serial");
        site.database.give(|given| (given.sent, given.text) = (2, 2));
        site.database.notify(site.ours.address(), serial);
        // It is asked again and again, and says the old serial for some seconds.
        site.was_asked(2);
        assert_eq!(txt_at(site.ours.address()).as_deref(), Some("\"1\""), "the serial of NOTIFY is a hint");
        site.database.give(|given| given.answered = 2);
        site.serves(2, "behind NOTIFY");
        assert!(serial_at(site.ours.address()).expect("a serial") > before);
        assert!((3..=8).contains(&site.database.asked(Rtype::SOA)), "no more often than it may");
        site.validated("behind");
        site.ours.stop();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| lags(Some(2)));
        scope.spawn(|| lags(None));
    });
}

#[test]
fn records_that_came_under_an_older_serial_are_replaced_when_the_primary_says_another_one() {
    if !has_peers() {
        return;
    }
    std::thread::scope(|scope| {
        for ixfr in [Ixfr::Whole, Ixfr::Difference(1, 2)] {
            scope.spawn(move || is_replaced(ixfr));
        }
        scope.spawn(transfers_lag);
    });
}

/// The first transfer has the SOA record of version 1, some records of version 2, and one that was there between the two.
fn is_replaced(ixfr: Ixfr) {
    let site =
        Site::start(Given { answered: 1, sent: 1, text: 2, more: Some("between."), ..Given::default() });
    let mixed = site.validated("mixed");
    assert!(mixed.iter().any(|line| line.starts_with("between.")), "{mixed:?}");
    site.database.give(|given| *given = Given { answered: 2, sent: 2, text: 2, more: None, ixfr });
    site.database.notify(site.ours.address(), Some(2));
    let without = common::wait_for("version 2", LIMIT, || {
        let is_there = !records_at(site.ours.address(), Some(&format!("hmac-sha256:{KEY}:{SECRET}")))
            .iter()
            .any(|line| line.starts_with("between."));
        is_there.then(|| site.validated("replaced"))
    });
    assert_eq!(without.len() + 1, mixed.len(), "{without:?}");
    // A difference that does not apply to what came is followed by the whole zone.
    let whole = usize::from(matches!(ixfr, Ixfr::Difference(..)));
    assert!(site.database.asked(Rtype::IXFR) >= 1 && site.database.asked(Rtype::AXFR) > whole);
    site.ours.stop();
}

/// The answer for the SOA record is of version 2, and the transfer behind it has the SOA record of version 1 and the records of version 2.
fn transfers_lag() {
    let site = Site::start(Given { answered: 1, sent: 1, text: 1, ..Given::default() });
    site.database.give(|given| (given.answered, given.text) = (2, 2));
    site.database.notify(site.ours.address(), Some(2));
    site.serves(2, "under the older serial");
    site.validated("older");
    // Without another NOTIFY.
    site.database.give(|given| (given.sent, given.text) = (2, 3));
    site.serves(3, "under its serial");
    site.validated("newer");
    site.ours.stop();
}
