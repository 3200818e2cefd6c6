//! The procedures of `docs/manual/rollovers.md` and `multi-signer.md`, run as they are printed beside named, Knot and our signer, while two
//! caching, validating unbounds, one of them without a cache, and delv are asked: none of them ever says SERVFAIL. A revocation is followed
//! by a third unbound that keeps its trust anchors by RFC 5011.
//!
//! `PROCEDURES_FACTOR=10` makes each delay ten times as long, `PROCEDURE=ksk` runs those whose label has this word, `KEEP=1` keeps the folder.
//!
//! The procedures of one server run beside each other, each with a zone, a folder and a loader of its own: they wait, and compute little.

#[path = "peer_procedures/balancer.rs"]
mod balancer;
mod common;
#[path = "peer_procedures/delays.rs"]
mod delays;
#[path = "peer_procedures/foreign.rs"]
mod foreign;
#[path = "peer_procedures/page.rs"]
mod page;
#[path = "peer_procedures/parent.rs"]
mod parent;
#[path = "peer_procedures/resolver.rs"]
mod resolver;
#[path = "peer_procedures/site.rs"]
mod site;
#[path = "peer_procedures/ways_over.rs"]
mod ways_over;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use delays::Delays;
use keystore::clock;
use parent::Parent;
use resolver::{Cache, Judges, Resolver, Watch};
use site::{KEYS, Key, Server, Site};

const RSA: &str = "ksk lifetime unlimited algorithm 8; zsk lifetime P1Y algorithm 8;";
/// ZSKs that live a little longer than the delays let them.
const SHORT_ZSK: &str = "ksk lifetime unlimited algorithm 13; zsk lifetime SHORT algorithm 13;";

/// What a procedure leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// None of the ZSKs of the start is in the DNSKEY RRset.
    OtherZsk,
    /// None of its KSKs is.
    OtherKsk,
    /// None of its keys is.
    OtherKeys,
    /// A KSK is there as revoked.
    RevokedKsk,
    /// The parent has no DS record.
    NoDs,
    /// The keys are those of the start again.
    SameKeys,
}

impl Outcome {
    /// Whether that is so, by the keys before and after.
    fn holds(self, before: &[Key], after: &[Key], has_ds: bool) -> bool {
        let is_new = |is_wanted: fn(&Key) -> bool| {
            let mut wanted = after.iter().filter(|key| is_wanted(key)).peekable();
            wanted.peek().is_some() && wanted.all(|key| before.iter().all(|old| old.tag != key.tag))
        };
        let is_same = |some: &[Key], others: &[Key]| some.iter().all(|key| others.contains(key));
        match self {
            Self::OtherZsk => is_new(|key| !key.is_ksk()),
            Self::OtherKsk => is_new(Key::is_ksk),
            Self::OtherKeys => is_new(|_| true),
            Self::RevokedKsk => after.iter().any(|key| key.flags == 385),
            Self::NoDs => !has_ds,
            Self::SameKeys => !after.is_empty() && is_same(before, after) && is_same(after, before),
        }
    }
}

/// A section of a page, and what it needs.
struct Procedure {
    page: &'static str,
    section: &'static str,
    /// Label of the zone.
    label: &'static str,
    /// Servers that the page has it for.
    servers: &'static [Server],
    keys: &'static str,
    /// Variables that are set otherwise than in all procedures.
    values: &'static [(&'static str, &'static str)],
    /// How many seconds from its start the requests go; by default as the page has it.
    seconds: Option<u64>,
    /// What must have come of it.
    outcome: Outcome,
    /// For how many seconds the resolvers are asked when the commands have ended.
    afterwards: u64,
}

const ALL: &[Server] = &[Server::Named, Server::Knot, Server::Serve];
/// Those whose ZSKs are in key files.
const KEY_FILES: &[Server] = &[Server::Named, Server::Serve];

/// A procedure of `rollovers.md`.
const fn roll(
    section: &'static str,
    label: &'static str,
    servers: &'static [Server],
    outcome: Outcome,
) -> Procedure {
    Procedure {
        page: "rollovers.md",
        section,
        label,
        servers,
        keys: KEYS,
        values: &[],
        seconds: None,
        outcome,
        afterwards: 4,
    }
}

const PROCEDURES: [Procedure; 9] = [
    Procedure {
        keys: SHORT_ZSK,
        seconds: Some(115),
        afterwards: 60,
        ..roll("ZSK", "zsk", ALL, Outcome::OtherZsk)
    },
    roll("KSK", "ksk", ALL, Outcome::OtherKsk),
    Procedure { keys: RSA, ..roll("Algorithm", "algorithm", KEY_FILES, Outcome::OtherKeys) },
    roll("Standby KSK", "standby-ksk", ALL, Outcome::OtherKsk),
    Procedure {
        values: &[("FROM", "now-40d")],
        ..roll("Revoking a KSK", "revoke", ALL, Outcome::RevokedKsk)
    },
    roll("Standby ZSK", "standby-zsk", KEY_FILES, Outcome::OtherZsk),
    roll("Emergency SKR", "emergency", ALL, Outcome::OtherZsk),
    roll("To insecure", "insecure", ALL, Outcome::NoDs),
    Procedure {
        page: "multi-signer.md",
        ..roll("A provider joins or leaves", "provider", ALL, Outcome::SameKeys)
    },
];

impl Procedure {
    /// Runs it; what was wrong.
    fn run(&self, site: &Site, parent: &Arc<Parent>, judges: &Judges) -> Vec<String> {
        let delays = judges.delays;
        let mut values = delays.values(&site.zone);
        values.extend(self.values.iter().map(|(name, value)| (*name, (*value).to_owned())));
        values.extend(
            self.seconds.map(|seconds| ("END", clock::now().plus(delays.seconds(seconds)).to_string())),
        );
        let _running = site.start(&values);
        parent.set_ds(&site.zone, site.first_ds());
        common::wait_for(&format!("{} to be good", site.zone), Duration::from_secs(30), || {
            judges.look(&site.zone).is_good().then_some(())
        });
        let (of, zone) = (parent.clone(), site.zone.clone());
        let watch = Watch::start(judges.clone(), site.zone.clone(), move || of.has_ds(&zone));
        let follower = Follower::start(parent.clone(), site.zone.clone(), judges.cold);
        let by_rfc_5011 = (self.outcome == Outcome::RevokedKsk).then(|| {
            let dir = site.path("unbound");
            (Resolver::with_own_anchors(&dir, &site.zone, site.port, &site.path("anchors")), dir)
        });
        let before = site.served_keys();
        let ran = site.run(&page::script(self.page, self.section, site.server, &values));
        std::thread::sleep(Duration::from_secs(delays.seconds(self.afterwards)));
        if let Some((resolver, dir)) = by_rfc_5011.filter(|_| ran.is_ok()) {
            resolver.wait_for_revocation(&dir);
        }
        drop(follower);
        let after = site.served_keys();
        let seen = watch.end();
        println!("{}: {} rounds, {} of {} unanswered", site.zone, seen.rounds, seen.unanswered, seen.asked);
        let mut faults = seen.faults(&site.zone);
        faults.extend(ran.err());
        if !self.outcome.holds(&before, &after, parent.has_ds(&site.zone)) {
            faults.push(format!("{}: {:?} did not come: {before:?} {after:?}", site.zone, self.outcome));
        }
        faults
    }
}

/// Has the parent read the CDS records of a zone each second, until it is dropped.
struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Follower {
    fn start(parent: Arc<Parent>, zone: String, resolver: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                parent.follow_cds(&zone, resolver);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}

/// Runs the procedures of a server beside each other.
fn run_all(server: Server) {
    if ["unbound", "delv", "dnssec-settime", "knotd"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let (temp, delays) = (tempfile::tempdir().expect("a folder"), Delays::from_environment());
    let only = std::env::var("PROCEDURE").unwrap_or_default();
    let wanted: Vec<&Procedure> = PROCEDURES
        .iter()
        .filter(|procedure| procedure.servers.contains(&server) && procedure.label.contains(&only))
        .collect();
    let zones: Vec<String> =
        wanted.iter().map(|procedure| format!("{}-{}.test", procedure.label, server.name())).collect();
    let names: Vec<&str> = zones.iter().map(String::as_str).collect();
    let parent = Arc::new(
        Parent::start(&temp.path().join("parent"), &names, delays.ds_ttl()).expect("named is there"),
    );
    let sites: Vec<Site> = wanted
        .iter()
        .zip(&zones)
        .map(|(procedure, zone)| {
            let keys = (procedure.keys, delays);
            let site = Site::new(&temp.path().join(zone), zone, server, keys, parent.port());
            if procedure.page == "multi-signer.md" { site.with_second_provider(parent.port()) } else { site }
        })
        .collect();
    let anchor = temp.path().join("anchor");
    std::fs::write(&anchor, format!("{}\n", parent.anchor())).expect("write");
    let mut stubs: Vec<(&str, u16)> = sites.iter().map(|site| (site.zone.as_str(), site.port)).collect();
    stubs.push(("test", parent.port()));
    let [warm, cold] = [Cache::Warm, Cache::Cold].map(|cache| {
        Resolver::start(&temp.path().join(format!("{cache:?}")), cache, common::free_port(), &anchor, &stubs)
    });
    let judges =
        Judges { delays, warm: warm.port, cold: cold.port, delv_anchor: resolver::delv_anchor(&anchor) };
    let faults: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = wanted
            .iter()
            .zip(&sites)
            .map(|(procedure, site)| (site, scope.spawn(|| procedure.run(site, &parent, &judges))))
            .collect();
        runs.into_iter()
            .flat_map(|(site, run)| {
                let mut faults = run.join().unwrap_or_else(|_| vec![format!("{}: it panicked", site.zone)]);
                if !faults.is_empty() {
                    faults.push(site.logs());
                }
                faults
            })
            .collect()
    });
    if std::env::var_os("KEEP").is_some() {
        println!("kept: {}", temp.keep().display());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A section that is new on a page must be a procedure here.
#[test]
fn kind_101_each_block_of_the_pages_of_procedures_is_run() {
    for page in ["rollovers.md", "multi-signer.md"] {
        for server in ALL {
            let printed = page::sections(page, *server);
            let of_page = PROCEDURES.iter().filter(|procedure| procedure.page == page);
            let run = of_page.filter(|procedure| procedure.servers.contains(server));
            let run: BTreeSet<String> = run.map(|procedure| procedure.section.to_owned()).collect();
            assert_eq!(printed, run, "{page} for {server:?}");
        }
    }
}

#[test]
fn kind_101_procedures_as_printed_leave_no_servfail_beside_named() {
    run_all(Server::Named);
}

#[test]
fn kind_101_procedures_as_printed_leave_no_servfail_beside_knot() {
    run_all(Server::Knot);
}

#[test]
fn kind_101_procedures_as_printed_leave_no_servfail_with_our_signer() {
    run_all(Server::Serve);
}
