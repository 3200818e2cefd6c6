//! A thousand SKRs are dropped while queries run: each is accepted, once, in its turn, and served; no query is lost, and every answer
//! is validated by another implementation with the KSK and the ZSK alone.
//!
//! Latency is measured by `cargo bench -p offline-ksk-integration --bench drops`; here only what hangs is told.

#[path = "common/drops.rs"]
mod drops;

#[test]
fn a_thousand_drops_while_queries_run() {
    let report = drops::run(4, 250, 3);
    println!("{report}");
    assert_eq!(report.latencies.len(), 1000);
    assert_eq!((report.lost, &report.bogus[..]), (0, &[][..]));
    assert!(report.answers > 1000, "{}", report.answers);
}
