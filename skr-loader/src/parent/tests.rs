//! A resolver on the loopback that says what it is told to.

use keystore::check::CheckId;
use std::net::UdpSocket;
use std::thread;

use keystore::exchange::testing::TestKey;

use super::*;
use crate::testing::{KSK, zone};

fn ds(seed: u8) -> Vec<u8> {
    TestKey::ksk(seed).dnskey.ds_rdata(&zone(), 2).unwrap()
}

/// Answers so many queries over UDP with these flags and DS records; gives what it was asked.
fn resolver(
    flags: u16,
    records: Vec<Vec<u8>>,
    queries: usize,
) -> (SocketAddr, thread::JoinHandle<Vec<Vec<u8>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let serve = move || {
        let mut seen = Vec::new();
        for _ in 0..queries {
            let mut buffer = [0; 512];
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            let question = 12 + zone().as_wire().len() + 4;
            let mut out = buffer[..2].to_vec();
            out.extend(flags.to_be_bytes());
            out.extend([1, u16::try_from(records.len()).unwrap(), 0, 0].map(u16::to_be_bytes).concat());
            out.extend(&buffer[12..question]);
            for rdata in &records {
                out.extend(zone().as_wire());
                out.extend([0, 43, 0, 1, 0, 0, 14, 16]);
                out.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
                out.extend(rdata);
            }
            socket.send_to(&out, from).unwrap();
            seen.push(buffer[..len].to_vec());
        }
        seen
    };
    (address, thread::spawn(serve))
}

#[test]
fn what_the_resolver_says() {
    const RESPONSE: u16 = 0x8180;
    const AD: u16 = 0x0020;
    for (flags, records, want) in [
        (RESPONSE | AD, vec![ds(KSK)], ParentAnswer::Records { ds: vec![ds(KSK)], authentic: true }),
        (
            RESPONSE,
            vec![ds(KSK), ds(9)],
            ParentAnswer::Records { ds: vec![ds(KSK), ds(9)], authentic: false },
        ),
        (RESPONSE | AD, vec![], ParentAnswer::Records { ds: vec![], authentic: true }),
    ] {
        let (address, server) = resolver(flags, records, 1);
        let parent = ParentAsker::default().ask(address, &zone());
        assert_eq!(parent, want);
        assert_eq!(
            parent.vouches_for(&zone(), &TestKey::ksk(KSK).dnskey),
            !matches!(&want, ParentAnswer::Records { ds, .. } if ds.is_empty())
        );
        assert!(!parent.vouches_for(&zone(), &TestKey::ksk(7).dnskey));
        let query = server.join().unwrap().remove(0);
        assert_eq!(query[2] & 0x01, 1, "recursion is desired");
        assert_eq!(query[3] & 0x20, 0x20, "whether it validated is asked for");
        assert_eq!(query[12 + zone().as_wire().len()..][..4], [0, 43, 0, 1], "DS IN");
    }
    // SERVFAIL and NXDOMAIN are no answers; another zone's question may be.
    for rcode in [2, 3] {
        let (address, server) = resolver(RESPONSE | rcode, vec![], 2);
        let mut asker = ParentAsker::default();
        for _ in 0..2 {
            assert!(matches!(asker.ask(address, &zone()), ParentAnswer::NoAnswer(_)), "{rcode}");
        }
        server.join().unwrap();
    }
}

#[test]
fn a_silent_resolver_holds_up_nobody_for_long() {
    // Bound, and never read.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (started, mut asker) = (Instant::now(), ParentAsker::default());
    for _ in 0..1000 {
        let parent = asker.ask(socket.local_addr().unwrap(), &zone());
        assert!(parent.describe().contains("does not answer over DNS"), "{}", parent.describe());
    }
    assert!(started.elapsed() < ALL + Duration::from_secs(1), "{:?}", started.elapsed());
    // Slow answers use up the time of all.
    let mut asker = ParentAsker { spent: ALL, silent: None };
    let parent = asker.ask(socket.local_addr().unwrap(), &zone());
    assert!(parent.describe().contains("used up by other zones"));
}

#[test]
fn a_way_back_is_held_against_the_parent_too() {
    use std::sync::Arc;

    use keystore::config::ParentCheck;
    use metrics::Metrics;

    use crate::inbox::Dropped;
    use crate::loader::Loader;
    use crate::order::{Execution, OperatorOrder, ReasonRule};
    use crate::testing::{DAY, StateDir, skr, start};
    use crate::user::User;

    let order = |force: &[&str]| {
        let force: Vec<String> = force.iter().map(|id| (*id).to_owned()).collect();
        OperatorOrder::new(User::current(), &force, Some("a test"), Execution::Real, ReasonRule::Always)
            .unwrap()
    };
    let state = StateDir::new();
    let mut loader = Loader::new(state.config(), Metrics::new().unwrap()).unwrap();
    let now = start().plus(12 * DAY);
    for days in [0, 9] {
        let file = Dropped::by_hand("a".into(), skr(days).text().into_bytes(), Arc::new(order(&[])));
        loader.import_by_hand(&file, now);
    }
    let (address, asked) = resolver(0x81a0, vec![ds(77)], 2);
    let mut config = state.config();
    config.loader.parent_resolver = Some(address);
    config.loader.parent_check = ParentCheck::Reject;
    loader.reload(config, start()).unwrap();
    let error = loader.roll_back(&zone(), None, &order(&[]), now).unwrap_err();
    assert_eq!(crate::checks::rejecting(error.findings()), [CheckId::SkrParentDs], "{error}");
    let rollback = loader.roll_back(&zone(), None, &order(&["SKR-PARENT-DS"]), now).unwrap();
    assert_eq!((rollback.generation, &*rollback.forced), (3, &[CheckId::SkrParentDs][..]));
    assert_eq!(asked.join().unwrap().len(), 2);
}
