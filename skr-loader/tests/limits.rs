//! The worst files that anybody can write are rejected by the check that is cheapest for them. What they cost is measured by
//! `cargo bench -p offline-ksk-skr-loader --bench limits`.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/worst.rs"]
mod worst;

#[test]
fn row_21_skr_limits_the_worst_files_are_rejected_by_the_right_check() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for file in worst::all(300) {
        let path = dir.path().join("file");
        std::fs::write(&path, &file.octets).unwrap();
        let started = std::time::Instant::now();
        let verdict = worst::judge(&path);
        println!("{}: {} octets, {verdict}, {:?}", file.name, file.octets.len(), started.elapsed());
        if !file.is_right(&verdict) {
            wrong.push(format!("{}: {verdict}, not {:?}", file.name, file.id));
        }
    }
    assert_eq!(wrong, [""; 0]);
}
