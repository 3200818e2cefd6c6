//! The attacks on the open ports and on the descriptors of `offline-ksk serve`, one after the other, while somebody asks on. `scripts/attack`
//! runs them for longer and with more packets and connections, and prints the figures.

#![allow(clippy::unwrap_used, reason = "a failure here is the test's")]

#[path = "../common/certificate.rs"]
mod certificate;
mod clients;
mod connections;
mod flood;
mod hostile;
mod primary;
mod reload;
mod report;
mod server;

use std::fs;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use report::{Origin, long_seconds, under};
use server::{Server, query, wait_for};

/// Open files that the server may have: few, so that they can run out.
const DESCRIPTORS: u64 = 512;
/// Open files that a server with many connections may have: as many as follow from 10 000 connections and the files of the process.
const MANY_DESCRIPTORS: u64 = 15_000;

#[test]
fn server_answers_and_recovers_under_each_attack() {
    let server = &mut Server::start(DESCRIPTORS);
    connections::of_one_network(server, DESCRIPTORS);
    connections::of_one_network_over_tls(server, DESCRIPTORS);
    connections::that_read_nothing(server);
    connections::that_write_slowly(server);
    connections::of_garbage_over_tls(server);
    connections::with_handshakes_that_hang(server);
    connections::of_garbage_over_https_and_quic(server);
    hostile::packets(server);
    packets_for_others(server);
    requests_that_drip(server);
    flood::flood_a_victim(server);
    certificate_that_expires(server);
    no_descriptors(server);
    if long_seconds().is_some() {
        connections::ten_thousand(&mut Server::start(MANY_DESCRIPTORS));
    }
}

/// Packets that would each be worth a log line.
fn packets_for_others(server: &mut Server) {
    under(server, "packets that are no query for us", Origin::Outside, |server, attack| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let good = query(b"\x07foreign\x04test\x00");
        let with = |at: usize, octet: u8| {
            let mut packet = good.clone();
            packet[at] = octet;
            packet
        };
        let edns_1 = [&with(11, 1)[..], b"\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"].concat();
        let packets = [good.clone(), with(2, 0x29), with(2, 0x79), edns_1, vec![0xff; 40], vec![0; 5]];
        while attack.goes_on() {
            for packet in &packets {
                let _ = socket.send_to(packet, server.dns);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

fn requests_that_drip(server: &mut Server) {
    under(server, "HTTP requests that drip", Origin::Outside, |server, attack| {
        let connect = || TcpStream::connect(server.http).unwrap();
        let mut clients: Vec<TcpStream> = (0..70).map(|_| connect()).collect();
        while attack.goes_on() {
            for client in &mut clients {
                if client.write_all(b"X").is_err() {
                    *client = connect();
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

/// Clients that verify the certificate are told by its dates, all others are answered on, and a new one is taken over.
fn certificate_that_expires(server: &mut Server) {
    /// Seconds that it is still good for.
    const LEFT: i64 = 2;
    under(server, "a certificate that expires", Origin::ThisHost, |server, attack| {
        attack.set_busy(true);
        certificate::write_by_seconds(server.dir(), server::CERTIFICATE, (-86_400, LEFT), None);
        let answers = |verified| {
            let connection = server.connect_tls([127, 200, 0, 1].into(), verified);
            connection.is_ok_and(|mut stream| server::asks(&mut stream))
        };
        wait_for("the end of the certificate", || {
            assert!(answers(false), "who does not verify is answered");
            !answers(true) && server.status().contains("CERTIFICATE-ENDS-SOON")
        });
        certificate::write(server.dir(), server::CERTIFICATE, (-1, 365), None);
        wait_for("the new certificate", || {
            answers(true) && !server.status().contains("CERTIFICATE-ENDS-SOON")
        });
        attack.set_busy(false);
    });
}

/// The limit of open files falls under what is open, while the zone file changes.
fn no_descriptors(server: &mut Server) {
    let serial = server.serial().expect("a serial");
    let pid = server.pid().to_string();
    let limit = |number: String| {
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={number}")]).status();
        assert!(set.unwrap().success());
    };
    under(server, "no descriptor left while the zone file changes", Origin::ThisHost, |server, attack| {
        limit(format!("8:{DESCRIPTORS}"));
        let zone = server.zone_file();
        let text = fs::read_to_string(&zone).unwrap();
        fs::write(&zone, text + "attacked A 192.0.2.99\n").unwrap();
        while attack.goes_on() {
            std::thread::sleep(Duration::from_millis(20));
        }
        limit(format!("{DESCRIPTORS}:{DESCRIPTORS}"));
    });
    let took = wait_for("the edited zone", || server.serial().is_some_and(|now| now != serial));
    println!("ATTACK the edited zone is served {} ms after the descriptors are back", took.as_millis());
}
