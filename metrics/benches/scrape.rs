//! How large a scrape is, and how long it takes over HTTP, with all details of every zone and as a process with many zones exports it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use keystore::config::MetricsConfig;
use offline_ksk_metrics::Metrics;
use offline_ksk_metrics::http::{Endpoint, Guard, serve};
use offline_ksk_metrics::zones::ReportingPart;

const PARTS: [ReportingPart; 5] = [
    ReportingPart::Loader,
    ReportingPart::Requests,
    ReportingPart::Signer,
    ReportingPart::Signing,
    ReportingPart::Probe,
];

/// Octets of an answer, and how long it took.
fn get(address: SocketAddr, more: &str) -> (usize, Duration) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(address).expect("connect");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).expect("write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read");
    (answer.len(), started.elapsed())
}

fn main() {
    println!(
        "{:>8} {:>8} {:>12} {:>9} {:>12} {:>9}",
        "zones", "details", "octets", "ms", "gzip octets", "ms"
    );
    for zones in [1, 500, 1_000, 10_000] {
        for details in [true, false] {
            let metrics = Metrics::new().expect("families register");
            metrics.add_process();
            if !details {
                metrics.leave_out_zones([("info", 3), ("warning", 2), ("critical", 1)]);
            }
            for number in 0..zones {
                let zone = format!("zone{number:05}.example.");
                PARTS.iter().for_each(|part| metrics.add_zone(&zone, *part));
                metrics.zone_severity.with_label_values(&[&zone]).set(0);
            }
            let endpoint = Endpoint::new(metrics, || 1_800_000_000, |_| None);
            let listen = "127.0.0.1:0".parse().expect("an address");
            let guard = Guard::load(&MetricsConfig::at(listen)).expect("no web-config");
            let serving = serve(listen, endpoint, guard).expect("bind");
            // The best of three: what else runs on this host is not ours.
            let best = |more: &str| {
                (0..3).map(|_| get(serving.address(), more)).min_by_key(|(_, time)| *time).expect("three")
            };
            let (plain, gzip) = (best(""), best("Accept-Encoding: gzip\r\n"));
            println!(
                "{zones:>8} {:>8} {:>12} {:>9.1} {:>12} {:>9.1}",
                if details { "yes" } else { "no" },
                plain.0,
                plain.1.as_secs_f64() * 1e3,
                gzip.0,
                gzip.1.as_secs_f64() * 1e3
            );
        }
    }
}
