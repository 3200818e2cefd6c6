//! A well-behaved primary of a zone that the server takes by transfer: it sends the whole zone, and NOTIFY when it has a new version.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::server::framed;

/// The zone, and its name in wire form.
pub const NAME: &str = "from.example";
pub const WIRE: &[u8] = b"\x04from\x07example\x00";
/// A name of the zone that has an address.
pub const WWW: &[u8] = b"\x03www\x04from\x07example\x00";

/// The primary, which answers until the test ends.
pub struct Primary {
    pub address: SocketAddr,
    serial: Arc<AtomicU32>,
}

impl Primary {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let primary = Self { address: listener.local_addr().unwrap(), serial: Arc::new(AtomicU32::new(1)) };
        let serial = Arc::clone(&primary.serial);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serial = Arc::clone(&serial);
                std::thread::spawn(move || answer_all(stream, &serial));
            }
        });
        primary
    }

    pub fn serial(&self) -> u32 {
        self.serial.load(Ordering::SeqCst)
    }

    /// Has a new version.
    pub fn publish(&self) {
        self.serial.fetch_add(1, Ordering::SeqCst);
    }

    /// Tells the server of what there is (RFC 1996).
    pub fn notify(&self, server: SocketAddr) {
        let mut message = vec![0, 7, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(WIRE);
        message.extend_from_slice(&[0, 6, 0, 1]);
        // One that is lost is followed by another.
        let _ = UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&message, server);
    }
}

/// Answers until the other side ends the connection.
fn answer_all(mut stream: TcpStream, serial: &AtomicU32) {
    let mut len = [0; 2];
    while stream.read_exact(&mut len).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let question = &query[12..12 + WIRE.len() + 4];
        let is_soa = question[WIRE.len()..WIRE.len() + 2] == [0, 6];
        let soa = soa(serial.load(Ordering::SeqCst));
        let ns = record(&[0xc0, 12], 2, b"\x02ns\x05other\x04test\x00");
        let www = record(b"\x03www\xc0\x0c", 1, &[192, 0, 2, 1]);
        let records = if is_soa { vec![soa] } else { vec![soa.clone(), ns, www, soa] };
        let head = [query[0], query[1], 0x84, 0, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        let message = [&head[..], question, &records.concat()].concat();
        if stream.write_all(&framed(&message)).is_err() {
            return;
        }
    }
}

/// The SOA record: refresh an hour, so that it is NOTIFY that has the server come; retry a second.
fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 3600, 1, 86_400, 60].map(u32::to_be_bytes).concat();
    record(&[0xc0, 12], 6, &[&[0, 0], &numbers[..]].concat())
}

fn record(owner: &[u8], rtype: u8, data: &[u8]) -> Vec<u8> {
    [owner, &[0, rtype, 0, 1, 0, 0, 0, 60, 0, data.len() as u8], data].concat()
}
