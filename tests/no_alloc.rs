//! A warm hit allocates nothing but what its arguments themselves do.
//!
//! Counted by an allocator of this binary's own, for each thread apart: what other threads allocate is not seen.

#[path = "common/allocator.rs"]
mod allocator;

use memopool::{Func, Pool, memo};

/// How often, and how much, this thread allocates in `f`.
fn allocated(f: impl FnOnce()) -> (u64, u64) {
    let before = allocator::allocated();
    f();
    let after = allocator::allocated();
    (after.0 - before.0, after.1 - before.1)
}

/// The same for a hundred warm hits: the first few may set up what a thread keeps for itself.
fn allocated_warm(mut hit: impl FnMut()) -> (u64, u64) {
    (0..10).for_each(|_| hit());
    allocated(|| (0..100).for_each(|_| hit()))
}

#[memo(name = "no_alloc::sum")]
fn sum(a: u64, b: u32) -> u64 {
    a + u64::from(b)
}

#[memo(name = "no_alloc::words")]
fn words(text: &str) -> usize {
    text.split(' ').count()
}

#[memo(name = "no_alloc::bytes")]
fn bytes(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

/// The counter counts nothing, and all other tests here pass for that.
#[test]
fn allocations_are_counted() {
    assert_eq!(allocated(|| drop(std::hint::black_box(Box::new([0_u8; 100])))), (1, 100));
    assert_eq!(allocated(|| ()), (0, 0));
}

/// A hit costs an allocation, and with it the lock of the allocator that all threads share.
#[test]
fn a_warm_hit_on_a_func_allocates_nothing() {
    let pool = Pool::new();
    let square = Func::new("no_alloc::square", |n: u64| n * n);
    assert_eq!(*pool.run(square.call(12)).unwrap(), 144);
    let hit = || {
        let task = pool.submit(square.call(12));
        assert_eq!(*task.wait().unwrap(), 144);
        assert!(task.is_done());
    };
    assert_eq!(allocated_warm(hit), (0, 0));
    assert_eq!(allocated_warm(|| assert!(pool.get(&square.call(12)).is_some())), (0, 0), "`get`");
    assert_eq!(allocated_warm(|| assert!(pool.run(square.call(12)).is_ok())), (0, 0), "`run`");
    assert!(pool.stats().memory_hits > 0 && pool.stats().computed == 1);
}

/// Settings of a function, or a state, make each of its hits allocate.
#[test]
fn a_warm_hit_on_a_func_with_state_and_settings_allocates_nothing() {
    let pool = Pool::new();
    let scaled = Func::named("no_alloc::scaled").state(vec![2_u64; 100]).func(|state, n: u64| n * state[0]);
    let scaled = scaled.retries(2).weigh(|_| 100).version(1);
    assert_eq!(*pool.run(scaled.call(12)).unwrap(), 24);
    assert_eq!(allocated_warm(|| assert_eq!(*pool.submit(scaled.call(12)).wait().unwrap(), 24)), (0, 0));
}

/// The macro's form of a call costs more than the plain one.
#[test]
fn a_warm_hit_on_a_memo_allocates_nothing() {
    let pool = Pool::new();
    assert_eq!(*pool.run(sum::call(1, 2)).unwrap(), 3);
    assert_eq!(allocated_warm(|| assert_eq!(*pool.submit(sum::call(1, 2)).wait().unwrap(), 3)), (0, 0));
}

/// An argument that owns memory is copied once more than the caller did.
#[test]
fn a_warm_hit_allocates_only_what_its_arguments_do() {
    let pool = Pool::new();
    let length = Func::new("no_alloc::length", |text: String| text.len());
    let text = "x".repeat(1000);
    assert_eq!(*pool.run(length.call(text.clone())).unwrap(), 1000);
    let hit = || assert_eq!(*pool.submit(length.call(text.clone())).wait().unwrap(), 1000);
    assert_eq!(allocated_warm(hit), (100, 100_000));
}

/// A hit on a large text or slice copies it before it looks.
#[test]
fn a_warm_hit_on_a_megabyte_that_is_borrowed_allocates_nothing() {
    let pool = Pool::new();
    let text = "to be or not to be ".repeat((1 << 20) / 19);
    let data: Vec<u8> = (0..1 << 20).map(|n: u32| n as u8).collect();
    pool.run(words::call(&text)).unwrap();
    pool.run(bytes::call(&data)).unwrap();
    let hit = || {
        assert!(pool.submit(words::call(&text)).is_done());
        assert!(pool.submit(bytes::call(&data)).is_done());
    };
    hit();
    assert_eq!(allocated(|| (0..3).for_each(|_| hit())), (0, 0));
    assert_eq!((pool.stats().computed, pool.stats().memory_hits), (2, 8));
}
