//! Producers of catalogs that send too much, or say all the time that there is something new.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keystore::config::Config;
use keystore::dns::Rtype;
use keystore::pair::Fence;
use keystore::time::Timestamp;
use metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{message, of, record};
use crate::incoming::{CatalogFollower, ReceivedRecord};
use crate::runtime::{FollowedCatalog, Signer};
use crate::testing::{NOW, name};

/// How long each part of the test may take on a machine that other tests have busy.
const LIMIT: Duration = Duration::from_secs(120);

/// A producer of the catalog `example`, whose serial goes up with each question for it.
#[derive(Default)]
struct Producer {
    serial: AtomicU32,
    /// Looks at it.
    looks: AtomicUsize,
    /// The zones of its catalog never end.
    is_endless: AtomicBool,
}

impl Producer {
    async fn start() -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let producer = Arc::new(Self::default());
        let own = Arc::clone(&producer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = Arc::clone(&own);
                own.looks.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move { own.serve(stream).await });
            }
        });
        (address, producer)
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut len = [0; 2];
        while stream.read_exact(&mut len).await.is_ok() {
            let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
            if stream.read_exact(&mut query).await.is_err() {
                return;
            }
            let rtype = Rtype(u16::from_be_bytes([query[21], query[22]]));
            let framed = |records: &[ReceivedRecord]| {
                let mut message = message(Some(rtype), records);
                message[..2].copy_from_slice(&query[..2]);
                [&(message.len() as u16).to_be_bytes()[..], &message].concat()
            };
            let soa = record(&format!("SOA {}", self.serial.fetch_add(1, Ordering::SeqCst) + 1));
            let member = of(name("x.zones.example"), Rtype::PTR, name("x.test").as_wire().to_vec());
            let mut records = vec![
                soa.clone(),
                of(name("example"), Rtype::NS, name("invalid").as_wire().to_vec()),
                of(name("version.example"), Rtype::TXT, b"\x012".to_vec()),
                member.clone(),
            ];
            if rtype == Rtype::SOA {
                records.truncate(1);
            } else if self.is_endless.load(Ordering::SeqCst) {
                let many = framed(&vec![member; 1500]);
                let mut sent = stream.write_all(&framed(&records)).await;
                while sent.is_ok() {
                    sent = stream.write_all(&many).await;
                }
                return;
            } else {
                records.push(soa);
            }
            if stream.write_all(&framed(&records)).await.is_err() {
                return;
            }
        }
    }
}

struct Bench {
    producer: Arc<Producer>,
    follower: CatalogFollower,
    catalog: FollowedCatalog,
    /// How often the configuration was to be read again.
    changes: Arc<AtomicUsize>,
    time: Arc<AtomicU64>,
    _signer: Signer,
}

impl Bench {
    async fn start(dir: &Path) -> Self {
        let (address, producer) = Producer::start().await;
        let template = "[[zone]]\nname = \"{zone}\"\nsigning = \"unsigned\"\nprimaries = [\"127.0.0.1:1\"]\n";
        std::fs::write(dir.join("member.toml"), template).expect("written");
        let text = format!(
            "version = 1\nstate-dir = \".\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n[transfer]\nmin-refresh = 1\nmin-retry = 1\n\
             [[catalog]]\nzone = \"example\"\nprimaries = [\"{address}\"]\ntemplate = \"member.toml\"\n"
        );
        let config = Config::parse(text.as_bytes(), &dir.join("offline-ksk.toml"));
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let time = Arc::new(AtomicU64::new(NOW.secs()));
        let clock = {
            let time = Arc::clone(&time);
            Arc::new(move || Timestamp::from_secs(time.load(Ordering::SeqCst)))
        };
        let metrics = Metrics::new().expect("families");
        let signer = Signer::start(&config, &metrics, Arc::clone(&clock) as _).expect("a signer");
        let changes = Arc::new(AtomicUsize::new(0));
        let changed = {
            let changes = Arc::clone(&changes);
            Arc::new(move || {
                changes.fetch_add(1, Ordering::SeqCst);
            })
        };
        let runtime = tokio::runtime::Handle::current();
        let follower = CatalogFollower::new(runtime, clock, Fence::default(), changed);
        let follower = follower.with_max_records(10_000);
        let catalog = signer.taken_catalogs().pop().expect("the catalog");
        follower.follow(signer.taken_catalogs());
        Self { producer, follower, catalog, changes, time, _signer: signer }
    }

    fn notify(&self) {
        self.catalog.zone.transfers().put_notify([127, 0, 0, 1].into());
    }

    /// Waits, with a NOTIFY at each look whether it is `done`.
    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < LIMIT, "{what}: {:?}", self.follower.faults().all());
            self.notify();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_cost_one_look_a_second_and_what_they_send_is_bounded() {
    let dir = tempfile::tempdir().expect("a folder");
    let bench = Bench::start(dir.path()).await;
    let looks = || bench.producer.looks.load(Ordering::SeqCst);
    let changes = || bench.changes.load(Ordering::SeqCst);
    bench.until("the first version", || changes() == 1).await;
    // Every answer has a later serial, and NOTIFY comes without end: the time that passes says how often it is looked.
    let before = looks();
    for second in 1..=5 {
        bench.time.fetch_add(1, Ordering::SeqCst);
        bench.until("a look a second", || looks() >= before + second).await;
        // One look too many would come within this time, and is counted.
        for _ in 0..50 {
            bench.notify();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(looks(), before + second);
    }
    assert_eq!(changes(), 1, "the same zones under another serial are no change");

    let kept = std::fs::read(&bench.catalog.path).expect("it is kept");
    bench.producer.is_endless.store(true, Ordering::SeqCst);
    let said = || bench.follower.faults().all().first().map(|(_, fault)| fault.to_string());
    let step = || bench.time.fetch_add(1, Ordering::SeqCst);
    bench
        .until("the catalog that does not end", || {
            step();
            said().is_some_and(|what| what.contains("more than 10000 records"))
        })
        .await;
    assert_eq!((std::fs::read(&bench.catalog.path).expect("it is kept"), changes()), (kept, 1));
    bench.producer.is_endless.store(false, Ordering::SeqCst);
    bench
        .until("a good version", || {
            step();
            said().is_none()
        })
        .await;
}
