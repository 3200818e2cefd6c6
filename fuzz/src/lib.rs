//! Runs a target on an input within a bound of memory.

#[path = "../targets/mod.rs"]
pub mod targets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The allocator of the system, which ends the program when a target holds more than it may.
struct Bounded;

fn count(more: usize) {
    let live = LIVE.fetch_add(more, Ordering::Relaxed) + more;
    let limit = LIMIT.load(Ordering::Relaxed);
    if live > limit && live < usize::MAX / 2 && !std::thread::panicking() {
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        panic!("the target holds {live} octets, {limit} are its limit");
    }
}

// SAFETY: all is handed to the allocator of the system; what is counted beside it decides nothing about the memory.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        count(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// Runs the target of this name.
///
/// # Panics
/// When there is none of this name, something does not hold that must, or the target holds too much memory.
pub fn run(name: &str, data: &[u8]) {
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("there is no target {name}"));
    LIMIT.store(LIVE.load(Ordering::Relaxed) + targets::memory_limit(data.len()), Ordering::Relaxed);
    let _ = target(data);
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}
