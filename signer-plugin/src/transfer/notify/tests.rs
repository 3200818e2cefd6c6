//! NOTIFY to secondaries that answer in every way, over real sockets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use keystore::tsig::TsigAlgorithm;
use metrics::Metrics;

use super::*;
use crate::testing::{signed, zone};
use crate::transfer::{SecondaryStanding, TransferKeys, TransferSettings};

/// How a secondary answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As it should; it has a version from the third SOA query for it on.
    Slow,
    /// It has each version at once.
    Quick,
    /// It takes no NOTIFY and does not transfer.
    Refuses,
    /// It answers nothing.
    Silent,
    /// It answers with another ID.
    AnotherId,
    /// It answers as it should, without a signature, where one is due.
    Unsigned,
    /// It has a serial that was never served here.
    Ahead,
    /// It answers from a cache.
    NotAuthoritative,
}

/// A secondary: what it was told, and how it answers.
struct Fake {
    address: SocketAddr,
    notified: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(manner: Manner, key: Option<Arc<Key>>, served: Arc<AtomicU32>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let (address, notified) = (socket.local_addr().expect("an address"), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&notified);
        tokio::spawn(async move {
            let (mut asked, mut octets) = (0, [0; 4096]);
            loop {
                let (len, from) = socket.recv_from(&mut octets).await.expect("a message");
                let query = octets[..len].to_vec();
                let is_notify = query[2] >> 3 & 0xf == 4;
                if is_notify {
                    count.fetch_add(1, Ordering::SeqCst);
                    assert_eq!((query[2] & 4, query[7]), (4, 1), "AA, and the SOA record as a hint");
                }
                asked += usize::from(!is_notify);
                let newest = served.load(Ordering::SeqCst);
                let serial = match manner {
                    Manner::Slow if asked < 3 => newest - 1,
                    Manner::Refuses => newest - 1,
                    Manner::Ahead => 2_026_010_100,
                    _ => newest,
                };
                let refuses = manner == Manner::Refuses && is_notify;
                if let Some(answer) = answer(&query, refuses, serial, key.clone(), manner) {
                    socket.send_to(&answer, from).await.expect("sent");
                }
            }
        });
        Self { address, notified }
    }
}

fn answer(
    query: &[u8],
    refuses: bool,
    serial: u32,
    key: Option<Arc<Key>>,
    manner: Manner,
) -> Option<Vec<u8>> {
    if manner == Manner::Silent {
        return None;
    }
    let mut message = Message::from_octets(query.to_vec()).expect("a message");
    let transaction = key.map(|key| {
        let now = Time48::from_u64(crate::testing::NOW.secs());
        domain::tsig::ServerTransaction::request(&key, &mut message, now).expect("right").expect("signed")
    });
    let rcode = if refuses { Rcode::REFUSED } else { Rcode::NOERROR };
    let mut builder = MessageBuilder::new_vec().start_answer(&message, rcode).expect("room");
    builder.header_mut().set_aa(manner != Manner::NotAuthoritative);
    if manner == Manner::AnotherId {
        builder.header_mut().set_id(message.header().id().wrapping_add(1));
    }
    if message.header().opcode() != Opcode::NOTIFY {
        let root = || WireName::<Vec<u8>>::root_vec();
        let soa = Soa::new(root(), root(), serial.into(), Ttl::ZERO, Ttl::ZERO, Ttl::ZERO, Ttl::ZERO);
        let owner = wire(&Name::parse("EXAMPLE").expect("a name")).expect("a name");
        builder.push((owner, 0, soa)).expect("room");
    }
    let mut additional = builder.additional();
    if let Some(transaction) = transaction.filter(|_| manner != Manner::Unsigned) {
        transaction.answer(&mut additional, Time48::from_u64(crate::testing::NOW.secs())).expect("room");
    }
    Some(additional.finish())
}

async fn standing_of(
    transfers: &ZoneTransfers,
    what: &str,
    is_so: impl Fn(&BTreeMap<SocketAddr, SecondaryStanding>) -> bool,
) -> BTreeMap<SocketAddr, SecondaryStanding> {
    let begun = Instant::now();
    loop {
        let standing = transfers.secondaries();
        if is_so(&standing) {
            return standing;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain until {what}: {standing:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_secondary_is_told_until_it_is_seen_to_have_the_version_whatever_the_others_do() {
    let text = |serial| format!("@ SOA ns admin {serial} 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\n");
    let version = |serial: u32| signed(zone("example", &text(serial)).expect("a zone"));
    let served = Arc::new(AtomicU32::new(6));
    let key = TsigKey {
        name: Name::parse("xfr").expect("a name"),
        algorithm: TsigAlgorithm::HmacSha384,
        secret: b"0123456789abcdef".to_vec().into(),
    };
    let manners = [
        Manner::Slow,
        Manner::Quick,
        Manner::Refuses,
        Manner::Silent,
        Manner::AnotherId,
        Manner::Unsigned,
        Manner::Ahead,
        Manner::NotAuthoritative,
    ];
    let mut fakes = Vec::new();
    for (number, manner) in manners.into_iter().enumerate() {
        // Some with a key, some without.
        let is_signed = number % 2 == 0 || manner == Manner::Unsigned;
        let wire = wire_key(&key).filter(|_| is_signed);
        let fake = Fake::start(manner, wire, Arc::clone(&served)).await;
        fakes.push((manner, is_signed.then(|| key.name.clone()), fake));
    }
    let metrics = Metrics::new().expect("families");
    let transfers = Arc::new(ZoneTransfers::new(&metrics, "example.".to_owned()));
    let notify = |fakes: &[(Manner, Option<Name>, Fake)]| {
        fakes.iter().map(|(_, key, fake)| NotifyTarget { address: fake.address, key: key.clone() }).collect()
    };
    let settings = |notify| {
        let mut settings = TransferSettings::new(TransferKeys::new(vec![key.clone()]), Vec::new());
        settings.notify = notify;
        settings
    };
    transfers.set(settings(notify(&fakes)));
    let notifier = Notifier::new(Handle::current(), Arc::new(|| crate::testing::NOW));
    let zones = || vec![(Name::parse("example").expect("a name"), Arc::clone(&transfers))];
    transfers.announce(&crate::transfer::version::TransferVersion::Signed(std::sync::Arc::new(version(6))));
    notifier.follow(zones());
    // What runs already is asked first: those that have the version are not told of it.
    let has = |standing: &BTreeMap<SocketAddr, SecondaryStanding>, fake: &Fake, serial| {
        standing.get(&fake.address).is_some_and(|s| s.serial == Some(serial) && s.behind_since.is_none())
    };
    standing_of(&transfers, "the quick one has 6", |s| has(s, &fakes[1].2, 6)).await;
    assert_eq!(fakes[1].2.notified.load(Ordering::SeqCst), 0);
    served.store(7, Ordering::SeqCst);
    transfers.announce(&crate::transfer::version::TransferVersion::Signed(std::sync::Arc::new(version(7))));
    let standing = standing_of(&transfers, "two have 7, and all others have a reason", |standing| {
        let reason = |fake: &Fake, why: &str| {
            standing[&fake.address].error.as_ref().is_some_and(|error| error.contains(why))
        };
        [0, 1].iter().all(|at| has(standing, &fakes[*at].2, 7))
            && reason(&fakes[2].2, "REFUSED")
            && reason(&fakes[3].2, "does not answer")
            && reason(&fakes[4].2, "does not answer")
            && reason(&fakes[5].2, "not signed")
            && reason(&fakes[6].2, "serial 2026010100 was never served here")
            && reason(&fakes[7].2, "not authoritative")
    })
    .await;
    for (manner, _, fake) in &fakes {
        let lacks = standing[&fake.address].behind_since.is_some();
        assert_eq!(lacks, !matches!(manner, Manner::Slow | Manner::Quick), "{manner:?}");
        assert!(fake.notified.load(Ordering::SeqCst) > 0, "{manner:?}");
    }
    let serial = |fake: &Fake| {
        metrics.secondary_serial.with_label_values(&["example.", &fake.address.to_string()]).get()
    };
    assert_eq!((serial(&fakes[0].2), serial(&fakes[2].2)), (7, 6));
    assert!(metrics.notifies_total.with_label_values(&["example.", "failed"]).get() >= 3);
    // Signed anew under the serial that it has: nobody can be told.
    let again = std::sync::Arc::new(version(7));
    transfers.record(Some(&version(7)), &again);
    transfers.announce(&crate::transfer::version::TransferVersion::Signed(again));
    standing_of(&transfers, "all are behind", |standing| {
        standing.values().all(|s| s.behind_since.is_some() && s.error.as_deref() == Some(REPEATED))
    })
    .await;
    // Another configuration: one that is gone is told no more and is no condition.
    fakes.truncate(2);
    transfers.set(settings(notify(&fakes)));
    notifier.follow(zones());
    assert_eq!(transfers.secondaries().len(), 2);
    // One whose key is gone cannot be told: it counts as behind, with the reason.
    let nowhere: SocketAddr = "192.0.2.53:53".parse().expect("an address");
    let missing = NotifyTarget { address: nowhere, key: Name::parse("missing").ok() };
    transfers.set(settings(vec![missing]));
    notifier.follow(zones());
    let standing = &transfers.secondaries()[&nowhere];
    assert!(standing.behind_since.is_some());
    assert!(standing.error.as_ref().is_some_and(|error| error.contains("missing. is in no file")));
    // A zone that left takes its series along.
    notifier.follow(Vec::new());
    assert!(transfers.secondaries().is_empty());
    assert!(!metrics.encode().expect("text").contains("secondary_serial{"));
}
