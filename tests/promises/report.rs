//! `Pool::report`: what it says, and that its page can be read.

use std::time::Duration;

use memopool::{Func, Pool};
use serde_json::Value;

use crate::{Counter, Gate, build, in_time, page, until};

fn json(pool: &Pool) -> Value {
    serde_json::from_str(&pool.report().json()).expect("a report is JSON")
}

fn misses(pool: &Pool, name: &str) -> Vec<String> {
    let report = pool.report();
    let function = report.functions.iter().find(|function| function.name == name).expect("it was called");
    function.misses.iter().map(ToString::to_string).collect()
}

/// A report names the wrong function as the one that is worth its cache.
#[test]
fn functions_come_in_the_order_of_what_they_saved() {
    in_time(|| {
        let pool = Pool::new();
        let slow = Func::new("slow", |n: u64| (0..n * 200_000).fold(1, |a: u64, b| a.rotate_left(7) ^ b));
        let quick = Func::new("quick", |n: u64| n);
        for n in [1, 2, 1, 2, 1] {
            pool.run(quick.call(n)).unwrap();
            pool.run(slow.call(n)).unwrap();
        }
        let report = pool.report();
        let names: Vec<&str> = report.functions.iter().map(|function| &*function.name).collect();
        assert_eq!(names, ["slow", "quick"]);
        assert_eq!(report.totals.submitted, 10);
        assert_eq!(report.slowest[0].function, "slow");
        assert_eq!(report.slowest[0].key, slow.call(2).key().to_string()[..8]);
        let slow = &report.functions[0];
        assert_eq!((slow.stats.memory_hits, slow.runs.count(), slow.results.count), (3, 2, 2));
        assert!(slow.runs.quantile(1.0).unwrap() * 2 >= report.slowest[0].took, "up to a bucket's width");
        let last = report.timeline.last().unwrap();
        assert_eq!((last.submitted, last.memory_hits, last.computed), (10, 6, 4));
    });
}

/// "Why was it computed again?" is answered with another reason, or not at all.
#[test]
fn misses_are_told_apart() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).memory(64));
        let one = Func::new("one", |n: u64| n).weigh(|_| 64);
        for n in [1, 2, 1] {
            pool.run(one.call(n)).unwrap();
        }
        assert_eq!(misses(&pool, "one"), ["2 × new", "1 × evicted"]);
        pool.run(one.call(1).refresh()).unwrap();
        pool.forget(&one.call(1)).unwrap();
        pool.run(one.call(1)).unwrap();
        assert_eq!(misses(&pool, "one"), ["2 × new", "1 × evicted", "1 × forgotten", "1 × refreshed"]);
        let fails = Func::fallible("fails", |n: u64| Err::<u64, _>(format!("no {n}")));
        pool.run(fails.call(1)).unwrap_err();
        pool.run(fails.call(1)).unwrap_err();
        assert_eq!(misses(&pool, "fails"), ["1 × new", "1 × last run failed"]);
        let value = json(&pool);
        assert_eq!(value["totals"]["submitted"], 7);
        assert_eq!(value["totals"]["computed"], 5);
    });
}

/// What was given up and asked for again is said to have been too old.
#[test]
fn a_run_in_the_place_of_one_that_was_given_up_says_so() {
    in_time(|| {
        let (pool, starts, gate) = (build(Pool::builder().threads(2)), Counter::default(), Gate::default());
        let held = (starts.clone(), gate.clone());
        let func = Func::named("held").resource(held).func(|(starts, gate): &(Counter, Gate), n: u64| {
            starts.up();
            gate.pass();
            n
        });
        let first = pool.submit(func.call(1));
        until(|| starts.get() == 1);
        assert!(first.cancel());
        let second = pool.submit(func.call(1));
        until(|| starts.get() == 2);
        gate.open();
        second.wait().unwrap();
        until(|| misses(&pool, "held").len() == 2);
        assert_eq!(misses(&pool, "held"), ["1 × new", "1 × last run given up"]);
    });
}

/// After an edit everything is computed again, and the report does not say that the edit is why.
#[test]
fn other_versions_on_disk_are_named() {
    in_time(|| {
        let dir = tempfile::tempdir().unwrap();
        let area = |version: u32| Func::new("area", |n: u64| n * n).version(version);
        let pool = Pool::open(dir.path().join("memo")).unwrap();
        pool.run(area(1).call(3)).unwrap();
        drop(pool);
        let pool = Pool::open(dir.path().join("memo")).unwrap();
        pool.run(area(2).call(3)).unwrap();
        let report = pool.report();
        assert_eq!(report.functions[0].other_versions, ["version 1"]);
        drop(pool);
        let pool = Pool::open(dir.path().join("memo")).unwrap();
        pool.run(area(2).call(3)).unwrap();
        let function = &pool.report().functions[0];
        assert_eq!((function.disk_reads.count(), function.runs.count(), function.results.count), (1, 0, 1));
        assert!(function.misses.is_empty());
    });
}

/// A name that a user chose breaks the page, or runs as a script in it.
#[test]
fn any_name_makes_a_page_that_can_be_read() {
    in_time(|| {
        let long =
            "a::very::long::path::to::a::function::that::nobody::would::ever::want::to::type::<in full>";
        let names =
            ["<script>alert(1)</script>", "a & \"b\" | c", "größe_µ_名前_🦀", "line\nbreak\u{7}", "", long];
        let pool = Pool::new();
        for name in names {
            let func = Func::new(name, |n: u64| vec![n; n as usize]);
            for n in [0, 1, 5000, 1] {
                pool.run(func.call(n)).unwrap();
            }
        }
        let report = pool.report().titled("<b>mine</b>");
        assert_eq!(page::check(&report.html()), Ok(14), "seven charts, each wide and narrow");
        assert!(!report.html().contains("<b>mine"));
        let rows = report.markdown();
        assert!(rows.contains("| a & \"b\" \\| c |"), "{rows}");
    });
}

/// A report of a pool that did nothing, or one thing, is full of NaN, or panics.
#[test]
fn an_idle_pool_has_a_page() {
    in_time(|| {
        let pool = Pool::new();
        assert_eq!(page::check(&pool.report().html()), Ok(14));
        assert_eq!(pool.report().totals.submitted, 0);
        assert_eq!(pool.report().functions.len(), 0);
        pool.spawn(|| ()).wait().unwrap();
        assert!(pool.report().slowest.is_empty(), "closures are nobody's miss");
        let none = Func::new("none", |(): ()| ()).cost_above(Duration::from_secs(3600));
        pool.run(none.call(())).unwrap();
        pool.run(none.call(())).unwrap();
        assert_eq!(misses(&pool, "none"), ["1 × new", "1 × not worth keeping (cost_above)"]);
        assert_eq!(page::check(&pool.report().html()), Ok(14));
    });
}

/// A long-lived pool's report grows without end, or forgets its beginning.
#[test]
fn what_is_written_down_is_bounded() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1));
        let func = Func::new("f", |n: u64| n);
        for n in 0..20_000 {
            pool.run(func.call(n)).unwrap();
        }
        let report = pool.report();
        assert_eq!(report.slowest.len(), 20);
        assert!(report.slowest.is_sorted_by_key(|run| std::cmp::Reverse(run.took)));
        assert!(report.timeline.len() <= 241 && report.timeline.is_sorted_by_key(|at| at.at));
        assert_eq!(report.functions[0].runs.count(), 20_000);
        assert_eq!(page::check(&report.html()), Ok(14));
    });
}

/// `report.write` says "No such file or directory", and not which.
#[test]
fn an_unwritable_directory_is_named() {
    in_time(|| {
        let dir = tempfile::tempdir().unwrap();
        let report = Pool::new().report();
        report.write(dir.path().join("new/one")).unwrap();
        for name in ["report.json", "report.md", "report.html"] {
            assert!(dir.path().join("new/one").join(name).is_file());
        }
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = report.write(&file).unwrap_err().to_string();
        assert!(error.starts_with(&file.display().to_string()), "{error}");
    });
}
