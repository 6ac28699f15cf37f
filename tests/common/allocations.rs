//! An allocator that counts: how large a single allocation was, and how much was held at once, since a mark.
//!
//! What C libraries allocate (libjpeg, Zstandard) does not pass through it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes held now, the most held since the mark, and the largest allocation since then.
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn gained(bytes: usize) {
    // Wraps rather than panics: an allocator must not.
    let held = HELD.fetch_add(bytes, Relaxed).wrapping_add(bytes);
    PEAK.fetch_max(held, Relaxed);
    LARGEST.fetch_max(bytes, Relaxed);
}

fn lost(bytes: usize) {
    HELD.fetch_sub(bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; only numbers are added up beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        gained(layout.size());
        // SAFETY: the caller keeps the promises that `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        gained(layout.size());
        // SAFETY: the caller keeps the promises that `alloc_zeroed` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        lost(layout.size());
        // SAFETY: the caller keeps the promises that `dealloc` asks for.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be held for a moment.
        gained(size);
        // SAFETY: the caller keeps the promises that `realloc` asks for.
        let moved = unsafe { System.realloc(place, layout, size) };
        lost(if moved.is_null() { size } else { layout.size() });
        moved
    }
}

/// What was allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocated {
    /// The largest single allocation.
    pub largest: usize,
    /// The most held at once, beyond what was held before.
    pub peak: usize,
}

/// Counts over all threads while `work` runs: nothing else should run beside it.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Allocated) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    LARGEST.store(0, Relaxed);
    let result = work();
    let allocated = Allocated { largest: LARGEST.load(Relaxed), peak: PEAK.load(Relaxed).saturating_sub(before) };
    (result, allocated)
}
