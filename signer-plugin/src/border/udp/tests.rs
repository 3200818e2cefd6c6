//! A socket's queries, batch by batch, with a signed zone behind it.

use std::net::UdpSocket;

use keystore::dns::Rtype;
use metrics::Metrics;

use super::*;
use crate::border::server::bind_udp;
use crate::border::{SignerHandler, others};
use crate::hosted::{Hosted, Responder};
use crate::protocol::SharedSettings;
use crate::reply;
use crate::runtime::SignerZone;
use crate::signing::{Denial, Nsec3, SignedZone, SigningPolicy};
use crate::testing::{NOW, POLICY, name, signed_by, zone};

const ZONE: &str = "@ SOA ns hostmaster 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\nwww AAAA 2001:db8::2\n\
    *.wild TXT \"x\"\nalias CNAME www\ncut NS ns.cut\nns.cut A 192.0.2.3\n";

fn version(denial: Denial) -> SignedZone {
    signed_by(zone("example", ZONE).expect("a zone"), &SigningPolicy { denial, ..POLICY }).expect("signs")
}

fn front(denial: Denial) -> (FrontEnd<crate::border::RefuseOthers>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().expect("families"));
    metrics.add_process();
    let served = SignerZone::new(name("example"), &metrics, Arc::new(|| NOW));
    served.publish(Arc::new(version(denial)));
    let zones = Hosted::new([Arc::new(served) as Arc<dyn Responder>], SharedSettings::default());
    (FrontEnd::new(SignerHandler::alone(zones), Some(Arc::clone(&metrics))), metrics)
}

fn query(id: u8, qname: &str, rtype: Rtype) -> Vec<u8> {
    let mut query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend_from_slice(name(qname).as_wire());
    query.extend_from_slice(&rtype.0.to_be_bytes());
    query.extend_from_slice(&[0, 1, 0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    query
}

/// A socket of the server on an address, and its port.
fn socket(address: &str) -> (Arc<OwnedFd>, u16) {
    let socket = bind_udp(address.parse().expect("an address")).expect("a socket");
    let port =
        UdpSocket::from(socket.try_clone().expect("a descriptor")).local_addr().expect("an address").port();
    (Arc::new(socket), port)
}

fn client(address: &str) -> UdpSocket {
    let client = UdpSocket::bind(address).expect("a socket");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    client
}

#[test]
fn queries_are_answered_without_taking_memory() {
    let asked = [
        ("www.example", Rtype::A),
        ("wWw.eXample", Rtype::AAAA),
        ("www.example", Rtype::MX),
        ("nothing.example", Rtype::A),
        ("deep.nothing.example", Rtype::A),
        ("a.wild.example", Rtype::TXT),
        ("a.wild.example", Rtype::A),
        ("alias.example", Rtype::A),
        ("a.cut.example", Rtype::A),
        ("example", Rtype::DNSKEY),
        ("example", Rtype::NS),
        ("www.example", Rtype::ANY),
    ];
    let mut timed = 0;
    for denial in [Denial::Nsec, Denial::Nsec3(Nsec3::new(0, false))] {
        let (front, metrics) = front(denial.clone());
        let (server, port) = socket("127.0.0.1:0");
        let (queue, _receiver) = others::queue();
        let mut queries = UdpQueries::<V4>::new(server, false, queue);
        let client = client("127.0.0.1:0");
        // The first round is for what is made once: places in the allocator of the thread, messages of the log.
        for round in 0..2 {
            for (id, (qname, rtype)) in asked.iter().enumerate() {
                client.send_to(&query(id as u8, qname, *rtype), ("127.0.0.1", port)).expect("sent");
            }
            let mut batches = 0;
            let memory = allocation_counter::measure(|| {
                while queries.answer_batch(&front, MsgFlags::MSG_DONTWAIT) {
                    batches += 1;
                }
            });
            assert_eq!(batches, 1, "all of them at once");
            assert!(round == 0 || memory.count_total == 0, "{denial:?}: {memory:?}");
            for id in 0..asked.len() as u8 {
                let mut answer = [0; 4096];
                let len = client.recv(&mut answer).expect("an answer");
                let reply = reply::MessageParts::read(&answer[..len]).expect("it reads");
                assert_eq!((reply.id, reply.flags & 0x8200), (u16::from(id), 0x8000), "{denial:?}");
            }
        }
        // Counted at the end of each batch.
        let answers = |kind| metrics.answers_total.with_label_values(&["example.", kind, "yes"]).get();
        assert_eq!(["positive", "nodata", "nxdomain", "referral", "error"].map(answers), [14, 4, 4, 2, 0]);
        timed += metrics.answer_duration_seconds.get_sample_count();
    }
    assert_eq!(timed, 1, "the first of the four batches of this thread");
}

#[test]
fn a_thread_that_is_stopped_answers_what_it_has_received() {
    for (address, at) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.3")] {
        let (front, _) = front(Denial::Nsec);
        let (server, port) = socket(address);
        let client = client("127.0.0.1:0");
        let count = 5 * BATCH as u8;
        for id in 0..count {
            client.send_to(&query(id, "www.example", Rtype::A), (at, port)).expect("sent");
        }
        let (queue, _receiver) = others::queue();
        let fd = Arc::try_unwrap(server).expect("the only one");
        let thread =
            UdpThread::start(fd, address.parse().expect("an address"), front, queue).expect("a thread");
        thread.stop();
        thread.join();
        for id in 0..count {
            let mut answer = [0; 4096];
            let (len, from) = client.recv_from(&mut answer).expect("an answer");
            assert_eq!((answer[1], from.ip().to_string().as_str()), (id, at));
            assert!(len > 100);
        }
    }
}

#[test]
fn a_thread_that_waits_ends_at_once_when_it_is_stopped() {
    for (address, at) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("0.0.0.0:0", "127.0.0.1")] {
        let (front, _) = front(Denial::Nsec);
        let (server, port) = socket(address);
        let (queue, _receiver) = others::queue();
        let fd = Arc::try_unwrap(server).expect("the only one");
        let local = address.parse().expect("an address");
        let thread = UdpThread::start(fd, local, front, queue).expect("a thread");
        // It has answered, and waits for the next query.
        let client = client(if local.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
        client.send_to(&query(1, "www.example", Rtype::A), (at, port)).expect("sent");
        client.recv(&mut [0; 4096]).expect("an answer");
        thread.stop();
        thread.join();
    }
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    for (address, from, asked) in [
        ("0.0.0.0:0", "127.0.0.1:0", &["127.0.0.1", "127.0.0.2", "127.1.2.3"][..]),
        ("[::]:0", "[::1]:0", &["::1"]),
        ("127.0.0.2:0", "127.0.0.1:0", &["127.0.0.2"]),
    ] {
        for one_by_one in [false, true] {
            let (front, _) = front(Denial::Nsec);
            let (server, port) = socket(address);
            let (queue, _receiver) = others::queue();
            let client = client(from);
            // Long and short queries and answers in turn, several to each address, in one batch.
            let mut expected = Vec::new();
            for id in 0..12u8 {
                let at = asked[usize::from(id) % asked.len()];
                let (qname, rtype) = [
                    ("www.example", Rtype::A),
                    ("a.very.long.name.in.example", Rtype::A),
                    ("example", Rtype::DNSKEY),
                ][usize::from(id / 2) % 3];
                client.send_to(&query(id, qname, rtype), (at, port)).expect("sent");
                expected.push((id, at.to_owned()));
            }
            let local: SocketAddr = address.parse().expect("an address");
            let is_wildcard = local.ip().is_unspecified();
            if local.is_ipv4() {
                answer_all(UdpQueries::<V4>::new(server, is_wildcard, queue), &front, one_by_one);
            } else {
                answer_all(UdpQueries::<V6>::new(server, is_wildcard, queue), &front, one_by_one);
            }
            for expected in expected {
                let mut answer = [0; 4096];
                let (_, from) = client.recv_from(&mut answer).expect("an answer");
                assert_eq!((answer[1], from.ip().to_string()), expected, "{address}");
            }
        }
    }
}

fn answer_all<F: Family>(
    mut queries: UdpQueries<F>,
    front: &FrontEnd<crate::border::RefuseOthers>,
    one_by_one: bool,
) {
    if one_by_one {
        queries.datagrams.send_and_receive_one_by_one();
    }
    while queries.answer_batch(front, MsgFlags::MSG_DONTWAIT) {}
}

#[test]
fn a_query_that_is_cut_is_malformed_whatever_its_first_octets_are() {
    let (front, _) = front(Denial::Nsec);
    let (server, port) = socket("127.0.0.1:0");
    let (queue, mut receiver) = others::queue();
    let mut queries = UdpQueries::<V4>::new(server, false, queue);
    let client = client("127.0.0.1:0");
    let mut long = query(9, "www.example", Rtype::A);
    long.resize(crate::border::limits::MAX_QUERY + 1, 0);
    client.send_to(&long, ("127.0.0.1", port)).expect("sent");
    assert!(queries.answer_batch(&front, MsgFlags::MSG_DONTWAIT));
    let mut answer = [0; 512];
    let len = client.recv(&mut answer).expect("an answer");
    assert_eq!(answer[..len], [0, 9, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0], "FORMERR without a question");
    assert!(receiver.try_recv().is_err(), "no other handler could read it either");
}

#[test]
fn sockets_believe_no_path_mtu_and_merge_no_datagrams() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (socket, _) = socket(address);
        if address.starts_with('[') {
            let omit = rustix::net::sockopt::Ipv6PathMtuDiscovery::OMIT;
            assert_eq!(rustix::net::sockopt::ipv6_mtu_discover(&*socket), Ok(omit));
            assert_eq!(rustix::net::sockopt::ipv6_v6only(&*socket), Ok(true));
        } else {
            let omit = rustix::net::sockopt::Ipv4PathMtuDiscovery::OMIT;
            assert_eq!(rustix::net::sockopt::ip_mtu_discover(&*socket), Ok(omit));
        }
        let merges = nix::sys::socket::getsockopt(&*socket, nix::sys::socket::sockopt::UdpGroSegment);
        assert_eq!(merges, Ok(false));
    }
}

#[test]
fn nobody_can_have_some_source_addresses() {
    for (address, is_real) in [
        ("192.0.2.1:53", true),
        ("192.0.2.1:0", false),
        ("0.0.0.0:53", false),
        ("255.255.255.255:53", false),
        ("[2001:db8::1]:1024", true),
        ("[2001:db8::1]:0", false),
        ("[::]:1024", false),
        ("[::ffff:0.0.0.0]:1024", false),
        ("[::ffff:192.0.2.1]:1024", true),
    ] {
        assert_eq!(can_be_answered(address.parse().expect(address)), is_real, "{address}");
    }
}

/// Starts a thread on a socket, asks it, and wants an answer to all but the first query, which a failing call may cost.
#[test]
#[ignore = "the process that the next test runs under strace"]
fn server_under_strace() {
    for (address, at) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2")] {
        let (front, _) = front(Denial::Nsec);
        let (server, port) = socket(address);
        let (queue, _receiver) = others::queue();
        let fd = Arc::try_unwrap(server).expect("the only one");
        let thread =
            UdpThread::start(fd, address.parse().expect("an address"), front, queue).expect("a thread");
        let client = client("127.0.0.1:0");
        client.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        for id in 0..20 {
            client.send_to(&query(id, "www.example", Rtype::A), (at, port)).expect("sent");
            let mut answer = [0; 4096];
            match client.recv_from(&mut answer) {
                Ok((_, from)) => assert_eq!((answer[1], from.ip().to_string().as_str()), (id, at)),
                Err(error) => assert_eq!(id, 0, "{error}"),
            }
        }
        thread.stop();
        thread.join();
    }
}

#[test]
fn a_kernel_or_a_filter_that_refuses_the_calls_for_many_datagrams_costs_no_answer() {
    use std::process::{Command, Stdio};
    let missing = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err();
    assert!(!missing || std::env::var_os("CI").is_none(), "strace is missing");
    if missing {
        eprintln!("SKIPPED: strace is missing (apt-get install strace)");
        return;
    }
    for (calls, fault) in [
        ("recvmmsg", "error=ENOSYS"),
        ("recvmmsg", "error=EPERM"),
        ("sendmmsg", "error=ENOSYS"),
        ("sendmmsg", "error=EPERM"),
        ("recvmmsg,sendmmsg", "error=ENOSYS"),
        ("recvmmsg,sendmmsg", "error=EINTR:when=1..2"),
        // Of one datagram: a client at port 0, a host that cannot be reached.
        ("sendmmsg", "error=EINVAL:when=1"),
        ("sendmmsg", "error=ENETUNREACH:when=1"),
    ] {
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={calls}:{fault}"),
        ]);
        strace.arg(std::env::current_exe().expect("this program"));
        strace.args(["--exact", "border::udp::tests::server_under_strace", "--ignored", "--nocapture"]);
        let output = strace.output().expect("strace runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{calls} {fault}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A zone whose answers panic, one way or the other.
struct Broken {
    origin: keystore::dns::Name,
    in_hold: bool,
}

impl Responder for Broken {
    fn origin(&self) -> &keystore::dns::Name {
        &self.origin
    }

    fn respond(
        &self,
        _: &[u8],
        _: &crate::answer::Arrival<'_>,
        _: &mut Vec<u8>,
    ) -> crate::answer::AnswerOutcome {
        panic!("as the test wants it")
    }

    fn hold(&self, work: &mut dyn FnMut(&mut dyn crate::hosted::Version)) {
        assert!(!self.in_hold, "as the test wants it");
        work(&mut crate::hosted::Latest(self));
    }
}

#[test]
fn a_panic_in_one_zone_keeps_no_other_from_being_answered_on_the_same_socket() {
    for in_hold in [false, true] {
        let metrics = Metrics::new().expect("families");
        let served = SignerZone::new(name("example"), &metrics, Arc::new(|| NOW));
        served.publish(Arc::new(version(Denial::Nsec)));
        let broken = Broken { origin: name("broken"), in_hold };
        let zones = Hosted::new(
            [Arc::new(served) as Arc<dyn Responder>, Arc::new(broken)],
            SharedSettings::default(),
        );
        let (server, port) = socket("127.0.0.1:0");
        let (queue, _receiver) = others::queue();
        let fd = Arc::try_unwrap(server).expect("the only one");
        let front = FrontEnd::new(SignerHandler::alone(zones), None);
        let thread =
            UdpThread::start(fd, "127.0.0.1:0".parse().expect("an address"), front, queue).expect("a thread");
        let client = client("127.0.0.1:0");
        for id in 0..3 {
            // One after the other, so that no batch has both.
            client.send_to(&query(100 + id, "a.broken", Rtype::A), ("127.0.0.1", port)).expect("sent");
            let mut answer = [0; 4096];
            client.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            assert!(client.recv(&mut answer).is_err(), "no answer");
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            client.send_to(&query(id, "www.example", Rtype::A), ("127.0.0.1", port)).expect("sent");
            let len = client.recv(&mut answer).expect("an answer");
            assert_eq!(
                (answer[1], reply::MessageParts::read(&answer[..len]).expect("it reads").answers.len()),
                (id, 2)
            );
        }
        thread.stop();
        thread.join();
    }
}
