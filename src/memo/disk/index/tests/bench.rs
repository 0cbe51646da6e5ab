//! Times, printed on demand: `cargo test --release --lib index::tests::bench -- --ignored`.

use std::io::Write;

use super::*;
use crate::sync::now;

#[test]
#[ignore = "prints times"]
fn times() {
    // Never fails: prints what a look-up, a miss, an insertion and the walks cost.
    let entries: u64 = 750_000;
    let index = Index::create(&file(), 1 << 16).unwrap();
    index.set_tail(at(1000, 0));
    let keys: Vec<[u8; 32]> = (0..2 * entries).map(key).collect();
    let mut out = io::stderr();
    let mut time = |what: &str, run: &mut dyn FnMut()| {
        let start = now();
        run();
        let ns = start.elapsed().as_nanos() as f64 / entries as f64;
        writeln!(out, "{what}: {ns:.1} ns").unwrap();
    };
    time("insert", &mut || {
        for n in 0..entries {
            index.insert(&keys[n as usize], place(3, n * 256), TAG, at(3, 0));
        }
    });
    // Far apart, so that no line is in the cache.
    let jump = |n: u64| (n * 7_368_787 % entries) as usize;
    for _ in 0..3 {
        let mut hits = 0;
        time("hit", &mut || {
            hits +=
                (0..entries).filter(|n| matches!(index.find(&keys[jump(*n)]), Found::Live { .. })).count();
        });
        let mut found = 0;
        time("miss", &mut || {
            found += (0..entries)
                .filter(|n| index.find(&keys[jump(*n) + entries as usize]) != Found::Nothing)
                .count();
        });
        assert!(hits as u64 > entries * 99 / 100 && found == 0, "{hits}");
    }
    time("grow, per entry", &mut || {
        let new = Index::create(&file(), 1 << 17).unwrap();
        index.grow_into(&new);
    });
    time("forget_func, per entry", &mut || _ = index.bury_function(1, at(900, 0)));
    time("clear, per entry", &mut || index.clear(at(901, 0)));
}
