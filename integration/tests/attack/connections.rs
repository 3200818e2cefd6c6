//! Connections that take places, memory and descriptors, over TCP and TLS.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::report::{Attack, Origin, Report, under};
use crate::server::{Server, asks, connect, framed, large_query, query};

/// Connections of a longer run.
const MANY: usize = 10_000;
/// The first octets of a handshake (RFC 8446 section 4.1.2), which promise more.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const PAUSE: Duration = Duration::from_millis(50);

/// The address of a client in one network.
fn neighbour(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 1, number % 250 + 1)
}

/// Asks as another network over TCP or TLS for the time of the attack: each query must be answered.
fn ask_as_another_network(server: &Server, attack: &Attack, answers: fn(&Server) -> bool) {
    while attack.goes_on() {
        assert!(answers(server), "another network is answered");
        std::thread::sleep(PAUSE);
    }
}

pub fn of_one_network(server: &mut Server, descriptors: u64) {
    let report = under(server, "all connections of one network", Origin::Outside, |server, attack| {
        let open: Vec<_> = (0..1500).filter_map(|n| connect(neighbour(n as u8), server.dns).ok()).collect();
        ask_as_another_network(server, attack, Server::answers_tcp);
        drop(open);
    });
    assert!(report.most_descriptors < usize::try_from(descriptors).unwrap() * 3 / 4, "{report:?}");
}

/// Connections whose handshake is done, and which ask nothing: each takes several times the memory of one over TCP.
pub fn of_one_network_over_tls(server: &mut Server, descriptors: u64) {
    let open = AtomicUsize::new(0);
    under(server, "all TLS connections of one network", Origin::Outside, |server, attack| {
        let encrypted: Vec<_> =
            (0..100).filter_map(|n| server.connect_tls(neighbour(n), true).ok()).collect();
        open.store(encrypted.len(), Ordering::Relaxed);
        ask_as_another_network(server, attack, Server::answers_tls);
    });
    // A quarter of the half of the connections, which are three quarters of the files.
    let share = usize::try_from(descriptors).unwrap() * 3 / 4 / 2 / 4;
    let open = open.into_inner();
    // A few of the attack before may still be open.
    assert!((share - 8..=share).contains(&open), "{open} of {share}");
}

/// Connections that send queries with large answers, and take none of them.
pub fn that_read_nothing(server: &mut Server) {
    let queries = framed(&large_query()).repeat(64);
    under(server, "slow readers over TCP and TLS", Origin::Outside, |server, attack| {
        let write = |stream: &mut dyn Write| while stream.write_all(&queries).is_ok() {};
        let to = |address| {
            move |number: u8| {
                let stream = connect(neighbour(number), address).ok()?;
                stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
                Some(stream)
            }
        };
        let mut plain: Vec<TcpStream> = (0..40).filter_map(to(server.dns)).collect();
        let mut encrypted: Vec<_> =
            (0..8).filter_map(to(server.tls)).filter_map(|open| server.encrypt(open, true).ok()).collect();
        assert_eq!((plain.len(), encrypted.len()), (40, 8));
        encrypted.iter_mut().for_each(|stream| write(stream));
        while attack.goes_on() {
            plain.iter_mut().for_each(|stream| write(stream));
            std::thread::sleep(PAUSE);
        }
    });
}

/// Connections that send one octet now and then.
pub fn that_write_slowly(server: &mut Server) {
    under(server, "slow writers over TCP", Origin::Outside, |server, attack| {
        let query = framed(&query(b"\x03www\x04demo\x07example\x00"));
        let mut open: Vec<Option<TcpStream>> = (0..100).map(|_| None).collect();
        let mut octets = query.iter().cycle();
        while attack.goes_on() {
            for (number, stream) in open.iter_mut().enumerate() {
                let octet = [*octets.next().unwrap()];
                if stream.as_mut().is_none_or(|stream| stream.write_all(&octet).is_err()) {
                    *stream = connect(neighbour(number as u8), server.dns).ok();
                }
            }
            std::thread::sleep(PAUSE);
        }
    });
}

/// What is no handshake, and handshakes that end within.
pub fn of_garbage_over_tls(server: &mut Server) {
    under(server, "garbage in place of TLS handshakes", Origin::Outside, |server, attack| {
        let hello = [HELLO, &[7; 40]].concat();
        let garbage =
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 400], &[0; 400], &framed(&large_query()), &hello];
        let mut number = 0_usize;
        while attack.goes_on() {
            number += 1;
            let octets = garbage[number % garbage.len()];
            if let Ok(mut stream) = connect(neighbour(number as u8), server.tls) {
                let _ = stream.write_all(&octets[..number % (octets.len() + 1)]);
                // Every other one waits for what the server says.
                if number.is_multiple_of(2) {
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let _ = stream.read(&mut [0; 256]);
                }
            }
            if number.is_multiple_of(50) {
                assert!(server.answers_tls(), "another network is answered over TLS");
            }
        }
    });
}

/// What is no HTTP/2 behind a handshake of TLS, and what is no QUIC.
pub fn of_garbage_over_https_and_quic(server: &mut Server) {
    under(server, "garbage over HTTPS and QUIC", Origin::Outside, |server, attack| {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
        // Header fields of a request, which do not decode; a frame that is larger than any may be.
        let headers = [PREFACE, b"\x00\x00\x40\x01\x05\x00\x00\x00\x01", &[0xff; 64]].concat();
        let large = [PREFACE, b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", &[0; 64]].concat();
        let requests = [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 400], PREFACE, &headers, &large];
        // RFC 9000 section 17.2: an Initial packet, one of a version that nobody has, one of no connection, and noise.
        let initial = |version: u8| {
            [&[0xc3, 0, 0, 0, version, 8][..], &[5; 8], &[0, 0, 0x44, 0xb0], &[0; 1180]].concat()
        };
        let datagrams = [initial(1), initial(0x1a), vec![0x40; 60], vec![0xff; 1200], initial(0)];
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut number = 0_usize;
        while attack.goes_on() {
            number += 1;
            let mut datagram = datagrams[number % datagrams.len()].clone();
            let at = number * 31 % datagram.len();
            datagram[at] ^= 1 << (number % 8);
            let _ = socket.send_to(&datagram, server.quic);
            if number.is_multiple_of(20) {
                let open = connect(neighbour(number as u8), server.https);
                if let Ok(mut stream) = open.and_then(|open| server.encrypt(open, true)) {
                    let _ = stream.write_all(requests[number / 20 % requests.len()]);
                    let _ = stream.read(&mut [0; 256]);
                }
                assert!(server.answers_tls(), "another network is answered over TLS");
            }
        }
    });
}

/// Handshakes that begin and go no further.
pub fn with_handshakes_that_hang(server: &mut Server) {
    under(server, "TLS handshakes that hang", Origin::Outside, |server, attack| {
        let mut open: Vec<Option<TcpStream>> = (0..200).map(|_| None).collect();
        while attack.goes_on() {
            for (number, stream) in open.iter_mut().enumerate() {
                let is_closed = stream.as_ref().is_none_or(|stream: &TcpStream| {
                    stream.set_nonblocking(true).unwrap();
                    matches!(stream.peek(&mut [0]), Ok(0))
                        || stream.peek(&mut [0]).is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock)
                });
                if is_closed {
                    *stream = connect(neighbour(number as u8), server.tls).ok();
                    let begun = &HELLO[..number % (HELLO.len() + 1)];
                    stream.as_mut().map(|stream| stream.write_all(begun));
                }
            }
            assert!(server.answers_tls(), "another network is answered over TLS");
            std::thread::sleep(PAUSE);
        }
    });
}

/// As many connections as are ever open, of a hundred networks, each of which has asked.
pub fn ten_thousand(server: &mut Server) {
    let own = std::process::id().to_string();
    let raised = std::process::Command::new("prlimit").args(["--pid", &own, "--nofile=15000:"]).status();
    assert!(raised.unwrap().success(), "this test opens {MANY} files");
    let before = (server.descriptors(), server.memory());
    let report: Report = under(server, "10 000 connections", Origin::Outside, |server, attack| {
        attack.set_busy(true);
        let mut open = Vec::new();
        for number in 0..MANY {
            let from = Ipv4Addr::new(127, 10 + (number % 100) as u8, 1, (number / 100 % 250 + 1) as u8);
            if let Ok(mut stream) = connect(from, server.dns) {
                // A place is free as long as fewer than so many are open.
                if asks(&mut stream) {
                    open.push(stream);
                }
            }
        }
        attack.set_busy(false);
        println!("ATTACK 10 000 connections: {} were answered", open.len());
        assert!(open.len() * 100 >= MANY * 99, "{} were answered", open.len());
        while attack.goes_on() {
            std::thread::sleep(PAUSE);
        }
    });
    let opened = report.most_descriptors - before.0;
    let kib = report.most_memory.saturating_sub(before.1) as f64 / 1024.0 / opened as f64;
    println!("ATTACK 10 000 connections: {opened} open at once, {kib:.1} KiB each");
}
