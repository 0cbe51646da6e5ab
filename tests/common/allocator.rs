//! The allocator of a program that counts its own allocations, for each thread apart. A program that has this module has
//! this allocator.

#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static SEEN: Cell<(u64, u64, usize)> = const { Cell::new((0, 0, 0)) };
}

fn note(bytes: usize) {
    // Not there any more while its thread ends.
    let _ = SEEN.try_with(|seen| {
        let (times, all, largest) = seen.get();
        seen.set((times + 1, all + bytes as u64, largest.max(bytes)));
    });
}

/// How often this thread has allocated so far, how many bytes in all, and how many at once at most since it last asked.
pub(crate) fn allocated() -> (u64, u64, usize) {
    let (times, all, largest) = SEEN.get();
    SEEN.set((times, all, 0));
    (times, all, largest)
}

// SAFETY: all work is the system allocator's, with the arguments as they came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
