//! Work on many items, some at once: a slow item holds up none but those that wait for its thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, ScopedJoinHandle, scope};

/// Runs `work` for each item, `at_once` of them at a time, and gives the results in the order of the items. Where the system has no thread left
/// fewer are at work, at the least this one.
pub fn each<T: Sync, R: Send>(items: &[T], at_once: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(item)));
        }
    };
    let mut done: Vec<(usize, R)> = scope(|scope| {
        let others = 1..at_once.min(items.len());
        let threads: Vec<_> =
            others.filter_map(|_| Builder::new().spawn_scoped(scope, worker).ok()).collect();
        let own = worker();
        // A panic there is a bug of ours and goes on here.
        let join = |thread: ScopedJoinHandle<'_, Vec<(usize, R)>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).chain(own).collect()
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for at_once in [1, 3, 100] {
            assert_eq!(each(&[1, 2, 3, 4, 5], at_once, |i| i * 10), [10, 20, 30, 40, 50], "{at_once}");
        }
        assert_eq!(each(&[] as &[i32], 8, |i| *i), [] as [i32; 0]);
    }

    #[test]
    fn a_slow_item_holds_up_no_other() {
        let (tell, told) = channel();
        let told = std::sync::Mutex::new(told);
        // The first item waits until the last one is done.
        let work = |item: &usize| match item {
            0 => told.lock().expect("not poisoned").recv_timeout(Duration::from_secs(60)).is_ok(),
            9 => tell.send(()).is_ok(),
            _ => true,
        };
        let items: Vec<usize> = (0..10).collect();
        assert!(each(&items, 2, work).iter().all(|done| *done));
    }

    #[test]
    fn as_many_as_are_wanted_run_at_once() {
        let barrier = Barrier::new(4);
        // Ends only when four of them wait at the same time.
        assert_eq!(each(&[(); 8], 4, |()| barrier.wait().is_leader()).iter().filter(|l| **l).count(), 2);
    }
}
