use std::sync::{Mutex, PoisonError};

use keystore::exchange::bind;
use keystore::exchange::testing::SkrBuilder;

use super::*;
use crate::ask::{AnswerFault, AskError, Rcode};
use crate::deliver::state::Reachability;

const DAY: u64 = 86_400;

/// A server whose every answer the test sets.
#[derive(Default)]
struct Fake {
    instance: Option<String>,
    imports_fail: bool,
    wrong: bool,
    /// The signatures that are served have expired, until it is woken.
    expired: bool,
    refresh_helps: bool,
    /// The zone is not loaded, until a re-import is forced.
    servfail: bool,
    reload_helps: bool,
    /// What is served is unsigned, until a re-import is forced.
    unsigned: bool,
    did: Vec<(&'static str, u64)>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Fake>>);

impl Server {
    fn with<T>(&self, act: impl FnOnce(&mut Fake) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn did(&self) -> Vec<(&'static str, u64)> {
        self.with(|fake| std::mem::take(&mut fake.did))
    }
}

fn says() -> CommandError {
    CommandError::Says { program: "rndc".into(), said: "import failed: success".into() }
}

impl Deliver for Server {
    fn instance(&mut self) -> Result<String, CommandError> {
        self.with(|fake| fake.instance.clone().ok_or_else(says))
    }
    fn plan(&self, bundles: &[Bundle], now: Timestamp) -> DeliveryPlan {
        DeliveryPlan::for_named(bundles, now)
    }
    fn import(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        self.with(|fake| {
            fake.did.push(("import", task.now.secs() - t(0).secs()));
            if fake.imports_fail { Err(says()) } else { Ok(()) }
        })
    }
    fn switch(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError> {
        self.with(|fake| fake.did.push(("switch", task.now.secs() - t(0).secs())));
        Ok(())
    }
    fn force_reimport(&mut self, task: &DeliveryTask<'_>) -> Result<bool, CommandError> {
        self.with(|fake| {
            fake.did.push(("re-import", task.now.secs() - t(0).secs()));
            fake.unsigned = false;
            fake.servfail &= !fake.reload_helps;
        });
        Ok(true)
    }
    fn refresh(&mut self) -> Result<bool, CommandError> {
        self.with(|fake| {
            fake.did.push(("refresh", 0));
            fake.expired &= !fake.refresh_helps;
        });
        Ok(true)
    }
}

fn t(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs)
}

fn zone() -> Name {
    Name::parse("example.").unwrap()
}

struct Bench {
    dir: tempfile::TempDir,
    server: Server,
    metrics: Metrics,
    worker: Worker,
}

impl Bench {
    fn new() -> Self {
        let (dir, server, metrics) =
            (tempfile::tempdir().unwrap(), Server::default(), Metrics::new().unwrap());
        server.with(|fake| fake.instance = Some("boot 1".into()));
        let worker = worker(&dir, &server, &metrics);
        Self { dir, server, metrics, worker }
    }

    /// Steps through each second from `from` to `to`, both included.
    fn run(&mut self, from: u64, to: u64) {
        for secs in from..=to {
            for _ in 0..3 {
                self.worker.step(t(secs));
            }
        }
    }

    fn count(&self, result: &str) -> u64 {
        self.metrics.skr_deliveries_total.with_label_values(&["example.", "ns1", result]).get()
    }

    fn is_current(&self) -> bool {
        self.metrics.skr_delivery_current.with_label_values(&["example.", "ns1"]).get() == 1
    }
}

fn worker(dir: &tempfile::TempDir, server: &Server, metrics: &Metrics) -> Worker {
    let judged = server.clone();
    let prover: Prover = Box::new(move |_, bundle, _, _| {
        let (wrong, expired, unsigned, servfail) =
            judged.with(|fake| (fake.wrong, fake.expired, fake.unsigned, fake.servfail));
        if servfail {
            let fault = AnswerFault::Rcode(Rcode::SERVFAIL);
            return Err(AskError::BadAnswer { rtype: bundle.dnskey.rtype, fault }.into());
        }
        if wrong {
            let (rtype, bundle) = (bundle.dnskey.rtype, bundle.inception);
            return Err(ProofError::Differs { rtype, bundle, missing: 0, extra: 1 });
        }
        if expired || unsigned {
            return Err(ProofError::NotValid { rtype: bundle.dnskey.rtype, what: "a test", expired });
        }
        Ok(ServedProof::Exactly)
    });
    let (notes, accepted) =
        (DeliveryNotes::new(dir.path().join("delivered/ns1")), dir.path().join("accepted"));
    let states = DeliveryStates::new(metrics.clone());
    let server = Box::new(server.clone());
    let mut worker = Worker::new("ns1", server, Some(prover), notes, accepted, states, metrics.clone());
    worker.take(zone(), in_force(1), PathBuf::new(), t(0));
    worker
}

fn in_force(generation: u64) -> Arc<InForce> {
    let text = SkrBuilder::new("example.", t(0)).bundles(3).text();
    let bundles = bind::parse_skr(text.as_bytes(), &zone()).unwrap().bundles;
    Arc::new(InForce { generation, digest: [u8::try_from(generation).unwrap(); 32], bundles: bundles.into() })
}

#[test]
fn imported_once_proven_and_watched() {
    let mut bench = Bench::new();
    assert!(!bench.is_current());
    bench.run(0, 200);
    assert_eq!(bench.server.did(), [("import", 0)]);
    assert_eq!((bench.count("ok"), bench.count("failed"), bench.is_current()), (1, 0, true));
    bench.worker.take(zone(), in_force(2), PathBuf::new(), t(201));
    bench.run(201, 210);
    assert_eq!(bench.server.did(), [("import", 201)]);
}

#[test]
fn a_restart_of_the_server_imports_again_and_one_of_ours_does_not() {
    let mut bench = Bench::new();
    bench.run(0, 5);
    bench.server.did();
    bench.worker = worker(&bench.dir, &bench.server, &bench.metrics);
    bench.run(6, 20);
    assert_eq!(bench.server.did(), []);
    bench.server.with(|fake| fake.instance = None);
    bench.run(21, 30);
    assert!(!bench.is_current(), "it is down");
    let (reach, _) = bench.worker.states.zone("ns1", &zone());
    assert_eq!(reach, Reachability::Unreachable { cause: "rndc says: import failed: success".into() });
    assert_eq!(bench.metrics.delivery_server_up.with_label_values(&["ns1"]).get(), 0);
    bench.server.with(|fake| fake.instance = Some("boot 1".into()));
    bench.run(31, 35);
    assert_eq!(bench.server.did(), [], "it was only out of reach");
    assert!(bench.is_current());
    bench.server.with(|fake| fake.instance = Some("boot 2".into()));
    bench.run(36, 40);
    let did = bench.server.did();
    assert!(matches!(did[..], [("import", 36..=38)]), "{did:?}");
}

#[test]
fn the_server_is_told_of_each_slot_and_proven_a_second_later() {
    let mut bench = Bench::new();
    bench.run(0, 5);
    bench.server.did();
    // Minutes before the inception, as the plan has it.
    let at = 9 * DAY - 300;
    bench.run(at - 3, at);
    assert_eq!(bench.server.did(), [("switch", at)]);
    assert_eq!(bench.count("ok"), 1);
    bench.run(at + 1, at + 1);
    assert_eq!((bench.count("ok"), bench.count("failed")), (2, 0));
}

#[test]
fn a_failed_command_is_tried_again_later_and_later() {
    let mut bench = Bench::new();
    bench.server.with(|fake| fake.imports_fail = true);
    bench.run(0, 70);
    assert_eq!(bench.server.did().iter().map(|d| d.1).collect::<Vec<_>>(), [0, 1, 3, 7, 15, 31, 63]);
    assert_eq!((bench.count("ok"), bench.count("failed"), bench.is_current()), (0, 7, false));
    bench.server.with(|fake| fake.imports_fail = false);
    bench.run(71, 130);
    assert_eq!(bench.server.did(), [("import", 127)]);
    assert!(bench.is_current());
}

#[test]
fn an_exit_status_of_0_proves_nothing() {
    let mut bench = Bench::new();
    bench.server.with(|fake| fake.wrong = true);
    bench.run(0, SETTLE_TIME + 1);
    assert_eq!(bench.server.did(), [("import", 0), ("import", SETTLE_TIME + 1)]);
    assert_eq!((bench.count("ok"), bench.count("failed"), bench.is_current()), (0, 1, false));
    // What was served goes wrong later: noticed by the watch.
    bench.server.with(|fake| fake.wrong = false);
    bench.run(SETTLE_TIME + 2, SETTLE_TIME + 5);
    assert!(bench.is_current());
    bench.server.did();
    bench.server.with(|fake| fake.wrong = true);
    bench.run(SETTLE_TIME + 6, SETTLE_TIME + 5 + PROOF_INTERVAL);
    assert!(!bench.is_current());
    assert_eq!(bench.server.did().len(), 1);
}

/// As after a start of named without an SKR, at the time when signatures were due.
#[test]
fn a_server_that_does_not_renew_signatures_is_refreshed_once_for_each_import() {
    let mut bench = Bench::new();
    bench.server.with(|fake| (fake.expired, fake.refresh_helps) = (true, true));
    bench.run(0, 5);
    assert_eq!(bench.server.did(), [("import", 0), ("refresh", 0)]);
    assert_eq!((bench.count("ok"), bench.count("failed"), bench.is_current()), (1, 0, true));
    bench.server.with(|fake| (fake.expired, fake.refresh_helps) = (true, false));
    bench.run(6, 100);
    let did = bench.server.did();
    let kinds: Vec<_> = did.iter().map(|d| d.0).collect();
    assert_eq!(kinds, ["refresh", "re-import", "import", "refresh", "re-import", "import"], "{did:?}");
    assert!(!bench.is_current());
    assert_eq!(bench.metrics.skr_delivery_refreshes_total.with_label_values(&["example.", "ns1"]).get(), 5);
}

/// As after `rndc sign`, which takes the KSK's signatures away.
#[test]
fn a_server_that_stays_unsigned_after_an_import_is_forced_to_reimport() {
    let mut bench = Bench::new();
    bench.run(0, 5);
    bench.server.did();
    bench.server.with(|fake| fake.unsigned = true);
    bench.run(6, 100);
    let did = bench.server.did();
    assert!(
        matches!(did[..], [("import", 61), ("re-import", at), ("import", after)] if at < 80 && after == at + 2),
        "{did:?}"
    );
    assert!(bench.is_current());
}

/// As Knot does when it was started before it had an SKR.
#[test]
fn kind_104_a_server_that_answers_servfail_after_the_first_import_is_made_to_load_the_zone_at_once() {
    let mut bench = Bench::new();
    bench.server.with(|fake| (fake.servfail, fake.reload_helps) = (true, true));
    bench.run(0, 5);
    assert_eq!(bench.server.did(), [("import", 0), ("re-import", 1), ("import", 3)]);
    assert_eq!((bench.count("ok"), bench.count("failed"), bench.is_current()), (1, 0, true));

    let mut bench = Bench::new();
    bench.server.with(|fake| fake.servfail = true);
    bench.run(0, 60);
    let kinds: Vec<_> = bench.server.did();
    assert!(kinds.len() < 12, "it is not tried faster than other failures: {kinds:?}");
    assert!(!bench.is_current());
}

/// As named does that had published a ZSK of the new bundle before it got that.
#[test]
fn kind_101_signatures_that_fit_no_more_after_an_import_are_taken_anew_at_once() {
    let mut bench = Bench::new();
    bench.server.with(|fake| fake.unsigned = true);
    bench.run(0, 5);
    assert_eq!(bench.server.did(), [("import", 0), ("re-import", 1), ("import", 3)]);
    assert!(bench.is_current());
}

/// Signatures that last for seconds leave no time for a proof to fail first.
#[test]
fn a_server_with_short_signatures_is_refreshed_after_each_start() {
    let mut bench = Bench::new();
    let bundles = SkrBuilder::new("example.", t(0)).bundles(100).step(4).validity(6).build().bundles;
    bench.worker.forget(&zone());
    let in_force = Arc::new(InForce { generation: 1, digest: [1; 32], bundles: bundles.into() });
    bench.worker.take(zone(), Arc::clone(&in_force), PathBuf::new(), t(0));
    bench.run(0, 1);
    assert_eq!(bench.server.did(), [("import", 0), ("refresh", 0)]);
    bench.server.with(|fake| fake.instance = Some("boot 2".into()));
    bench.run(10, 10);
    assert_eq!(bench.server.did(), [("import", 10), ("refresh", 0)]);
    let other = InForce { generation: 2, digest: [2; 32], bundles: in_force.bundles.clone() };
    bench.worker.take(zone(), Arc::new(other), PathBuf::new(), t(20));
    bench.run(20, 20);
    assert_eq!(bench.server.did(), [("import", 20)], "it had an SKR");
}

#[test]
fn after_the_end_of_the_skr_no_server_is_refreshed() {
    let mut bench = Bench::new();
    bench.run(0, 5);
    bench.server.did();
    bench.server.with(|fake| fake.expired = true);
    let end = 18 * DAY + 14 * DAY;
    bench.run(end, end + 2 * SETTLE_TIME);
    assert!(bench.server.did().iter().all(|d| d.0 != "refresh"));
    assert!(!bench.is_current(), "the alarm is raised");
}

/// A host that booted with a clock ten years ahead, which was then set: slots and proofs go on by the right time.
#[test]
fn after_the_clock_was_set_back_zones_are_proven_and_switched_again() {
    let ten_years = 3650 * DAY;
    for ahead in [2, 120, ten_years] {
        let mut bench = Bench::new();
        bench.run(0, 5);
        bench.worker.step(t(ahead + 5));
        bench.worker.step(t(ahead + 6));
        bench.server.did();
        bench.server.with(|fake| fake.wrong = true);
        bench.run(6, 6 + SETTLE_TIME);
        assert!(!bench.is_current(), "{ahead} s ahead: what is served now is noticed");
        bench.server.with(|fake| fake.wrong = false);
        bench.run(30, 60);
        assert!(bench.is_current(), "{ahead} s ahead");
        bench.server.did();
        let slot = 9 * DAY - 300;
        bench.run(slot - 1, slot);
        assert_eq!(bench.server.did(), [("switch", slot)], "{ahead} s ahead");
    }
}

#[test]
fn a_damaged_note_is_no_note() {
    let mut bench = Bench::new();
    bench.run(0, 5);
    bench.server.did();
    let note = zone_dir(&bench.dir.path().join("delivered/ns1"), &zone());
    assert!(std::fs::read_to_string(&note).unwrap().contains("\"instance\":\"boot 1\""));
    std::fs::write(&note, "{").unwrap();
    bench.worker = worker(&bench.dir, &bench.server, &bench.metrics);
    bench.run(6, 8);
    assert_eq!(bench.server.did(), [("import", 6)]);
    bench.worker.end();
    let text = bench.metrics.encode().unwrap();
    assert!(!text.contains("ns1"), "{text}");
}
