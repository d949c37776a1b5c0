//! How much memory a call takes at once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Metered;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // A thread that ends may free after its counters are gone.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// The allocator's own trait is unsafe; every call goes straight to the system's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Metered = Metered;

/// What `work` gives, and the most bytes that it held at once on this thread.
pub fn metered<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let start = LIVE.get();
    PEAK.set(start);
    let result = work();
    (result, (PEAK.get() - start) as usize)
}

/// Runs `work` on `bytes`.
///
/// # Panics
/// If it holds more than `factor` times their length and a mebibyte at once.
pub fn bounded<T>(what: &str, factor: usize, bytes: &[u8], work: impl FnOnce(&[u8]) -> T) -> T {
    let (result, peak) = metered(|| work(bytes));
    let (n, limit) = (bytes.len(), factor * bytes.len() + (1 << 20));
    assert!(peak <= limit, "{what} of {n} bytes took {peak} bytes of memory at once");
    result
}
