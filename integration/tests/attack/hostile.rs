//! Packets made at random, from queries that are nearly good to noise, over UDP and TCP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::report::{Origin, long_seconds, under};
use crate::server::{Server, connect, framed, large_query, query, updates};

/// Packets of the run of all tests, and of a longer one.
const PACKETS: usize = 20_000;
const MANY_PACKETS: usize = 1_000_000;
/// Of so many packets one is sent over TCP.
const ONE_BY_TCP: usize = 5;

/// A generator of numbers that is the same in each run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() % limit.max(1)
    }
}

/// A packet: noise, or a query or an update with octets changed, cut out, doubled or put behind it.
fn packet(numbers: &mut Numbers) -> Vec<u8> {
    if numbers.below(10) == 0 {
        let len = numbers.below(1400);
        return (0..len).map(|_| numbers.next() as u8).collect();
    }
    let [unsigned, signed] = updates();
    let mut packet = match numbers.below(6) {
        0 => unsigned,
        1 => signed,
        2 | 3 => large_query(),
        _ => query(b"\x03www\x04demo\x07example\x00"),
    };
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(packet.len());
        match numbers.below(6) {
            0 => packet.truncate(at),
            1 => packet.extend_from_within(at..),
            2 => packet.extend((0..numbers.below(64)).map(|_| 0xc0)),
            // A count of the header, or a length.
            3 => {
                if let Some(octet) = packet.get_mut(4 + at % 8) {
                    *octet = numbers.next() as u8;
                }
            }
            _ => {
                if let Some(octet) = packet.get_mut(at) {
                    *octet = numbers.next() as u8;
                }
            }
        }
    }
    packet.truncate(4000);
    packet
}

pub fn packets(server: &mut Server) {
    let count = if long_seconds().is_some() { MANY_PACKETS } else { PACKETS };
    let (answers, by_tcp) = (AtomicUsize::new(0), AtomicUsize::new(0));
    under(server, &format!("{count} packets made at random"), Origin::Outside, |server, attack| {
        attack.set_busy(true);
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let from = |number: usize| Ipv4Addr::new(127, 3, (number / 250 % 250) as u8, (number % 250) as u8);
        let mut answer = [0; 4096];
        let mut stream = None;
        for number in 0..count {
            let packet = packet(&mut numbers);
            if number % ONE_BY_TCP > 0 {
                let _ = socket.send_to(&packet, server.dns);
                while socket.recv(&mut answer).is_ok() {
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            }
            by_tcp.fetch_add(1, Ordering::Relaxed);
            // The server closes the connection at the first packet that deserves no answer.
            let mut open = match stream.take() {
                Some(open) => open,
                None => connect(from(number), server.dns).unwrap(),
            };
            if open.write_all(&framed(&packet)).is_ok() && numbers.below(4) > 0 {
                open.set_nonblocking(true).unwrap();
                while open.read(&mut answer).is_ok_and(|read| read > 0) {}
                open.set_nonblocking(false).unwrap();
                stream = Some(open);
            }
        }
        attack.set_busy(false);
    });
    println!(
        "ATTACK {count} packets made at random: {} of them over TCP, {} answers over UDP",
        by_tcp.into_inner(),
        answers.into_inner()
    );
}
