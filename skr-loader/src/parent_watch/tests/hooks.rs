//! The commands for DS records, with steps of the clock, answers from a table and real commands.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use keystore::config::ParentConfig;
use keystore::dns::Name;
use keystore::exchange::Bundle;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::super::ds::DsView;
use super::super::event::DsEvent;
use super::super::hooks::{DsNetwork, DsWatch, HookPlace, HookStep, KskNotes};
use super::super::servers::{Servers, Serves};
use super::super::wish::Wish;
use crate::ask::AskError;
use crate::testing::{ZONE, start, zone};

/// What the servers and the parent have.
struct Answers {
    serves: RefCell<Serves>,
    ds: RefCell<Option<Vec<u8>>>,
}

impl DsNetwork for Answers {
    fn ds_view(&self, zone: &Name) -> DsView {
        let ds = |seed: &u8| TestKey::ksk(*seed).dnskey.ds_rdata(zone, 2).unwrap();
        let records = self.ds.borrow().as_ref().map(|seeds| (seeds.iter().map(ds).collect(), true));
        DsView { at_resolver: records, at_servers: Vec::new() }
    }

    fn public_servers(&self, _: &Name) -> Result<Servers, AskError> {
        Ok(Servers { addresses: vec![SocketAddr::from(([192, 0, 2, 1], 53))], unfound: None })
    }

    fn look_at_keys(&self, servers: &[SocketAddr], _: &Name, _: &Wish, _: &[Dnskey]) -> Vec<Serves> {
        servers.iter().map(|_| *self.serves.borrow()).collect()
    }
}

struct Bench {
    answers: Answers,
    dir: tempfile::TempDir,
    config: ParentConfig,
    notes: RefCell<KskNotes>,
}

impl Bench {
    /// Commands that add a line to `said`, and fail while there is a file `fail`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let script = format!(
            "echo $OFFLINE_KSK_EVENT $OFFLINE_KSK_KEY_TAG $OFFLINE_KSK_WANTED $OFFLINE_KSK_DIGEST_TYPES: $OFFLINE_KSK_DS >>{path}/said; \
             test ! -e {path}/fail"
        );
        let command = || ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        let config = ParentConfig {
            on_ds_ready: command(),
            on_ds_seen: command(),
            on_ds_gone: command(),
            ..ParentConfig::default()
        };
        let answers = Answers { serves: RefCell::new(Serves::Others), ds: RefCell::new(Some(Vec::new())) };
        Self { answers, dir, config, notes: RefCell::default() }
    }

    /// A step of a process that has begun just now.
    fn step(&self, bundle: &Bundle, seconds: u64) -> HookStep {
        let now = Instant::now();
        self.step_of(&mut DsWatch::new(now), bundle, seconds, now)
    }

    fn step_of(&self, watch: &mut DsWatch, bundle: &Bundle, seconds: u64, instant: Instant) -> HookStep {
        let stop = AtomicBool::new(false);
        let place =
            HookPlace { zone: &zone(), config: &self.config, stop: &stop, now: start().plus(seconds) };
        watch.step(&self.answers, bundle, &mut self.notes.borrow_mut(), place, instant)
    }

    fn said(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("said")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// A bundle with these KSKs, the last of which CDS and CDNSKEY name.
fn bundle(seeds: &[u8]) -> Bundle {
    const ALL: (Timestamp, Timestamp) = (Timestamp::EPOCH, Timestamp::MAX);
    let (last, others) = seeds.split_last().unwrap();
    let builder = SkrBuilder::new(ZONE, start()).ttl(3600).ksk(TestKey::ksk(*last));
    let none = (Timestamp::EPOCH, Timestamp::EPOCH);
    let add = |builder: SkrBuilder, seed: &u8| builder.ksk_during(TestKey::ksk(*seed), ALL, none);
    others.iter().fold(builder, add).bundles(1).build().bundles.remove(0)
}

/// The line that a command says for the KSK of `seed`.
fn line(event: &str, seed: u8, wanted: &str) -> String {
    let key = TestKey::ksk(seed).dnskey;
    let digest = data_encoding::HEXUPPER.encode(&key.ds_rdata(&zone(), 2).unwrap()[4..]);
    format!("{event} {tag} {wanted} 2: {ZONE} IN DS {tag} 15 2 {digest}", tag = key.tag())
}

#[test]
fn each_command_is_run_once_in_its_time_also_over_restarts() {
    let bench = Bench::new();
    // The KSK of before is at the parent already: no command is run for it.
    bench.answers.ds.replace(Some(vec![1]));
    bench.step(&bundle(&[1]), 0);
    assert_eq!(bench.said(), [""; 0]);
    // The next KSK is asked for; not every server has it.
    let roll = bundle(&[1, 5]);
    bench.step(&roll, 100);
    bench.answers.serves.replace(Serves::These);
    bench.step(&roll, 1000);
    bench.step(&roll, 4599);
    assert_eq!(bench.said(), [""; 0], "not before its TTL has passed");
    bench.step(&roll, 4600);
    bench.step(&roll, 4700);
    assert_eq!(bench.said(), [line("ds-ready", 5, "yes")]);
    // The parent has both, then one, and then the resolver is silent.
    bench.answers.ds.replace(Some(vec![1, 5]));
    bench.step(&roll, 5000);
    bench.step(&roll, 5100);
    bench.answers.ds.replace(None);
    bench.step(&roll, 5200);
    assert_eq!(bench.said()[1..], [line("ds-seen", 5, "yes")]);
    bench.answers.ds.replace(Some(vec![5]));
    bench.step(&roll, 6000);
    bench.step(&roll, 6100);
    assert_eq!(bench.said()[2..], [line("ds-gone", 1, "no")]);
    // The record that is asked for vanishes: that is told, too, and its return.
    bench.answers.ds.replace(Some(Vec::new()));
    bench.step(&bundle(&[5]), 7000);
    bench.answers.ds.replace(Some(vec![5]));
    bench.step(&bundle(&[5]), 8000);
    bench.step(&bundle(&[5]), 9000);
    assert_eq!(bench.said()[3..], [line("ds-gone", 5, "yes"), line("ds-seen", 5, "yes")]);
    let notes = bench.notes.borrow();
    assert_eq!(notes.as_ref().unwrap().len(), 1, "what is over is forgotten");
}

#[test]
fn a_command_that_fails_is_run_again_and_holds_the_next_event_back() {
    let bench = Bench::new();
    let fail = bench.dir.path().join("fail");
    bench.answers.serves.replace(Serves::These);
    let wanted = bundle(&[5]);
    bench.step(&wanted, 0);
    std::fs::write(&fail, "").unwrap();
    let begun = Instant::now();
    let mut watch = DsWatch::new(begun);
    let mut at = begun;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let failed = bench.step_of(&mut watch, &wanted, 3600, at).failed.expect("it fails");
        assert!(failed.event == DsEvent::Ready && failed.tag == TestKey::ksk(5).dnskey.tag());
        pauses.push((watch.due() - at).as_secs());
        at = watch.due();
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    std::fs::remove_file(&fail).unwrap();
    let step = bench.step_of(&mut watch, &wanted, 3600, at);
    assert!(step.failed.is_none() && step.done.is_some() && step.is_changed, "{step:?}");
    assert_eq!(bench.said().len(), 10);
    assert!(bench.step_of(&mut watch, &wanted, 3600, at).done.is_none());
}

#[test]
fn nothing_is_known_before_the_parent_was_seen_and_events_without_command_are_done_silently() {
    let mut bench = Bench::new();
    bench.answers.ds.replace(None);
    bench.step(&bundle(&[1]), 0);
    assert_eq!(*bench.notes.borrow(), None);
    bench.answers.ds.replace(Some(Vec::new()));
    bench.step(&bundle(&[1]), 0);
    bench.config.on_ds_seen = Vec::new();
    bench.answers.ds.replace(Some(vec![1]));
    let step = bench.step(&bundle(&[1]), 100);
    assert_eq!(step.done, Some((DsEvent::Seen, TestKey::ksk(1).dnskey.tag())));
    assert_eq!(bench.said(), [""; 0]);
}
