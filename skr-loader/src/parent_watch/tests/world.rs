//! A resolver, a server of the zone, and a receiver.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use keystore::dns::{Name, Rrset, Rtype};
use keystore::exchange::Bundle;

/// A NOTIFY that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    Udp(Name, Rtype),
    Tcp(Name, Rtype),
}

#[derive(Default)]
struct Said {
    sets: Vec<Rrset>,
    ds: Vec<Vec<u8>>,
    receipts: Vec<Receipt>,
}

pub struct World {
    pub resolver: SocketAddr,
    pub server: SocketAddr,
    said: Arc<Mutex<Said>>,
}

impl World {
    /// The receiver answers with `rcode` over UDP and with NOERROR over TCP; `None` = it is silent over UDP. The resolver has validated
    /// the DSYNC record where `is_secure`.
    pub fn start(rcode: Option<u8>, is_secure: bool) -> Self {
        let said = Arc::new(Mutex::new(Said::default()));
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        // The same port for both; another process may have it for UDP, and then the test is begun anew.
        let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) else { return Self::start(rcode, is_secure) };
        let noted = Arc::clone(&said);
        answer(udp, move |query| {
            let (name, rtype) = question(query);
            noted.lock().unwrap().receipts.push(Receipt::Udp(name, rtype));
            Some(head(query, 0xa0, rcode?, 0))
        });
        let noted = Arc::clone(&said);
        thread::spawn(move || {
            for mut stream in receiver.incoming().flatten() {
                let mut len = [0; 2];
                stream.read_exact(&mut len).unwrap();
                let mut query = vec![0; u16::from_be_bytes(len).into()];
                stream.read_exact(&mut query).unwrap();
                let (name, rtype) = question(&query);
                noted.lock().unwrap().receipts.push(Receipt::Tcp(name, rtype));
                let answer = head(&query, 0xa0, 0, 0);
                let len = u16::try_from(answer.len()).unwrap();
                stream.write_all(&[&len.to_be_bytes()[..], &answer].concat()).unwrap();
            }
        });
        let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let world = Self {
            resolver: resolver.local_addr().unwrap(),
            server: server.local_addr().unwrap(),
            said: Arc::clone(&said),
        };
        let known = Arc::clone(&said);
        answer(resolver, move |query| Some(resolve(query, &known, port, is_secure)));
        answer(server, move |query| {
            let (name, rtype) = question(query);
            let said = said.lock().unwrap();
            let set = said.sets.iter().find(|set| set.owner == name && set.rtype == rtype);
            let records = set.map_or(&[][..], |set| &set.rdatas);
            Some(with(head(query, 0x84, 0, records.len()), rtype, records))
        });
        world
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap()
    }

    /// The server has the RRsets of this bundle from now on.
    pub fn serve(&self, bundle: &Bundle) {
        self.said().sets = bundle.rrsets().cloned().collect();
    }

    /// The parent has the DS records that these CDS records ask for.
    pub fn set_ds(&self, cds: Option<&Rrset>) {
        self.said().ds = cds.map(Rrset::canonical_rdatas).unwrap_or_default();
    }

    pub fn receipts(&self) -> Vec<Receipt> {
        self.said().receipts.clone()
    }
}

fn answer(socket: UdpSocket, mut what: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = what(&buffer[..len]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
}

fn question_end(query: &[u8]) -> usize {
    let mut at = 12;
    while query[at] != 0 {
        at += usize::from(query[at]) + 1;
    }
    at + 5
}

fn question(query: &[u8]) -> (Name, Rtype) {
    let end = question_end(query);
    let name = Name::from_wire(&query[12..end - 4]).unwrap();
    (name, Rtype(u16::from_be_bytes([query[end - 4], query[end - 3]])))
}

/// Header and question of an answer.
fn head(query: &[u8], flags: u8, rcode: u8, answers: usize) -> Vec<u8> {
    let mut out = query[..2].to_vec();
    out.extend([flags, rcode]);
    out.extend([1, u16::try_from(answers).unwrap(), 0, 0].map(u16::to_be_bytes).concat());
    out.extend(&query[12..question_end(query)]);
    out
}

/// Adds records of the name that was asked for.
fn with(mut out: Vec<u8>, rtype: Rtype, records: &[impl AsRef<[u8]>]) -> Vec<u8> {
    for rdata in records {
        let rdata = rdata.as_ref();
        out.extend([0xc0, 12]);
        out.extend(rtype.0.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
        out.extend(rdata);
    }
    out
}

fn resolve(query: &[u8], known: &Mutex<Said>, port: u16, is_secure: bool) -> Vec<u8> {
    let (name, rtype) = question(query);
    // AD stands among the bits of the response code.
    let ad = 0x80 | if is_secure { 0x20 } else { 0 };
    let records = match (name.to_string().as_str(), rtype) {
        ("_dsync.", Rtype::DSYNC) => {
            let target = Name::parse("scanner.").unwrap();
            vec![[&[0, 59, 1][..], &port.to_be_bytes(), target.as_wire()].concat()]
        }
        ("scanner.", Rtype::A) => vec![vec![127, 0, 0, 1]],
        (_, Rtype::DS) => known.lock().unwrap().ds.clone(),
        _ => {
            // Nothing, with the SOA record of the root, whose names are the root, too.
            let mut out = head(query, 0x81, ad | 3, 0);
            out[9] = 1;
            out.extend([0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
            out.extend([0; 20]);
            return out;
        }
    };
    with(head(query, 0x81, ad, records.len()), rtype, &records)
}
