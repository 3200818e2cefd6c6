//! A thousand SKRs dropped into `offline-ksk serve` while queries run: the time from the rename into the inbox to the first answer with
//! its signatures. Goal: 2 s (p99).
//!
//! `cargo bench -p offline-ksk-integration --bench drops` prints it; `scripts/bench` runs it.

#[path = "../tests/common/drops.rs"]
mod drops;

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let report = drops::run(4, 250, 3);
    println!("{report} (goal 2000 ms p99)");
    assert_eq!((report.lost, report.bogus.len()), (0, 0), "{:?}", report.bogus.first());
}
