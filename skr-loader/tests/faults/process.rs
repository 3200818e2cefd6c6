//! Rows 36 and 37 as the loader sees them. The others of rows 35 to 43 are tests of the daemon and of the signer.

use keystore::time::Timestamp;

use crate::bench::*;

#[test]
fn row_36_a_loader_that_dies_leaves_committed_state_only() {
    let bench = Bench::new();
    // Killed before `current` was swapped: the next generation's file is there, and nobody may read it.
    let dir = bench.path("accepted").join(ZONE);
    std::fs::write(dir.join("2.skr"), skr(9).text()).unwrap();
    assert_eq!(bench.current().unwrap().0, 1);
    let mut bench = bench.restart();
    bench.settle();
    assert_eq!(bench.current().unwrap().0, 1);
    bench.next_good_one_goes_in();
}

#[test]
fn row_37_nothing_is_judged_by_an_implausible_clock() {
    let mut bench = Bench::new();
    for wrong in [Timestamp::from_secs(0), Timestamp::from_secs(7), start().minus(365 * DAY)] {
        let right = std::mem::replace(&mut bench.now, wrong);
        bench.drop_file("a.skr", skr(9).text());
        assert_eq!(bench.settle(), [], "{wrong}");
        assert_eq!(bench.current().unwrap().0, 1, "{wrong}");
        bench.now = right;
    }
    // An hour back is a correction, and a good file goes in.
    bench.now = bench.now.minus(3600);
    bench.drop_file("a.skr", skr(9).text());
    assert_eq!(bench.settle().iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(), [2]);
}
