//! Clients that should get nothing, or that take nothing: over real sockets, without programs of others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::rdata::tsig::Time48;
use domain::tsig::ClientSequence;
use keystore::clock;
use keystore::tsig::TsigKey;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common;
use crate::primary::{Primary, ZONE};

/// Only those with the key may have the zone; nobody is told of it.
const TRANSFER: &str = "[transfer]\nkey-files = [\"xfr.key\"]\nallow-transfer = [{ address = \"127.0.0.0/8\", key = \"xfr\" }]\n";
/// Time for which a client may take nothing.
const IDLE: Duration = Duration::from_secs(1);
/// Clients that take nothing, at once.
const CLIENTS: usize = 1000;
/// Most memory that they may cost, in KiB.
const MOST: u64 = 32 << 10;

/// An AXFR query, with the length of TCP in front.
fn query(key: Option<&TsigKey>) -> Vec<u8> {
    let name = keystore::dns::Name::parse(ZONE).expect("a name");
    let mut question = MessageBuilder::new_vec().question();
    let wire = WireName::from_octets(name.as_wire().to_vec()).expect("a name");
    question.push((wire, WireRtype::AXFR)).expect("room");
    let mut additional = question.additional();
    if let Some(key) = key {
        let key = signer_plugin::transfer::wire_key(key).expect("a key");
        let time = Time48::from_u64(clock::now().secs());
        ClientSequence::request(key, &mut additional, time).expect("room");
    }
    let message = additional.finish();
    [&(message.len() as u16).to_be_bytes(), &*message].concat()
}

fn ask(primary: &Primary, query: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(primary.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    stream.write_all(query).expect("sent");
    stream
}

/// RCODE and number of records of the next message; `None` when the connection was closed.
fn next(stream: &mut TcpStream) -> Option<(u8, u16)> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).ok()?;
    let message = Message::from_octets(message).expect("a message");
    Some((message.header().rcode().to_int(), message.header_counts().ancount()))
}

/// Kibibytes of memory that this process has in use.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn clients_without_the_key_get_nothing_and_clients_that_take_nothing_hold_nothing_up() {
    const REFUSED: u8 = 5;
    const NOTAUTH: u8 = 9;
    // Both ends of each connection are in this process.
    let (limit, wanted) = (getrlimit(Resource::Nofile), (2 * CLIENTS + 500) as u64);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
        raised.expect("a hard limit of so many open files");
    }
    let dir = tempfile::tempdir().expect("a folder");
    // Some megabytes of messages: more than the buffers of a connection take.
    let primary = Primary::with(dir.path(), TRANSFER, 30_000, IDLE);
    let key = TsigKey::load(&dir.path().join("xfr.key")).expect("the key of the manual");
    let wrong = TsigKey { secret: b"not the secret at all, not the secret".to_vec().into(), ..key.clone() };
    let (good, bad, without) = (query(Some(&key)), query(Some(&wrong)), query(None));
    for _ in 0..20 {
        for (query, rcode) in [(&bad, NOTAUTH), (&without, REFUSED)] {
            let mut stream = ask(&primary, query);
            assert_eq!(next(&mut stream), Some((rcode, 0)));
            // The connection stays for the next query.
            stream.write_all(query).expect("sent");
            assert_eq!(next(&mut stream), Some((rcode, 0)));
        }
    }
    let before = resident();
    // Sixteen of one network are served at once.
    let idle: Vec<TcpStream> = (0..CLIENTS).map(|_| ask(&primary, &good)).collect();
    common::wait_for("the first sixteen to be served", Duration::from_secs(30), || {
        let has_any = |stream: &TcpStream| {
            stream.set_nonblocking(true).expect("a socket");
            let any = stream.peek(&mut [0]).is_ok();
            stream.set_nonblocking(false).expect("a socket");
            any
        };
        (idle.iter().filter(|stream| has_any(stream)).count() >= 16).then_some(())
    });
    let grown = resident().saturating_sub(before);
    println!("{grown} KiB for {CLIENTS} clients that take nothing");
    assert!(grown < MOST, "{grown} KiB");
    // One that reads gets the whole zone, once those that do not have lost their connections.
    let records =
        common::wait_for("a transfer beside clients that take nothing", Duration::from_secs(30), || {
            let mut stream = ask(&primary, &good);
            let (mut records, begun) = (0, Instant::now());
            while let Some((0, count)) = next(&mut stream) {
                records += u64::from(count);
                if count == 0 || begun.elapsed() > Duration::from_secs(20) {
                    return None;
                }
                if records > 120_000 {
                    return Some(records);
                }
            }
            None
        });
    assert!(records > 120_000, "addresses, signatures and NSEC records of 30 000 names: {records}");
    // What was not taken was given up, and the others were told to come later.
    let mut ends = [0, 0];
    for mut stream in idle {
        let mut any = 0;
        let mut last = None;
        while let Some(answer) = next(&mut stream) {
            (any, last) = (any + 1, Some(answer));
        }
        match last {
            Some((2, 0)) if any == 1 => ends[0] += 1,
            _ => ends[1] += 1,
        }
    }
    assert!(ends[0] > CLIENTS / 2, "served in part, or not at all: {ends:?}");
}
