use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};

use super::Progress;
use crate::sync::{Arc, Mutex};
use crate::{Func, Pool, as_completed};

/// A terminal that keeps what is written to it. Clones are one and the same.
#[derive(Debug, Clone, Default)]
struct Terminal(Arc<Mutex<Vec<String>>>);

impl Terminal {
    fn bar(&self, name: &str) -> Progress {
        let target = ProgressDrawTarget::term_like(Box::new(self.clone()));
        Progress::ours(name, ProgressBar::with_draw_target(None, target))
    }

    /// What it shows at the end, but for the time.
    fn last(&self) -> String {
        let lines = self.0.lock();
        let last = lines.iter().rfind(|line| !line.trim().is_empty()).cloned().unwrap_or_default();
        let time = last.rfind(" in ").or_else(|| last.rfind(" ("));
        last[..time.unwrap_or(last.len())].to_owned()
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        120
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.lock().push(text.to_owned());
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Ten numbers, of which 0, 1 and 2 are known and 7 is refused.
fn calls() -> (Pool, impl Iterator<Item = crate::Call<u64, u64>> + Clone) {
    let below_seven = Func::fallible("progress::below_seven", |n: u64| match n {
        7 => Err("too much"),
        n => Ok(n),
    });
    let pool = Pool::builder().threads(2).build().expect("valid settings");
    let calls = (0..10).map(move |n| below_seven.call(n));
    for call in calls.clone().take(3) {
        pool.run(call).expect("less than seven");
    }
    (pool, calls)
}

const FULL: &str = "[##############################] 10/10 3 from cache, 1 failed";

/// The bar of a map says something else than what came out of it.
#[test]
fn a_map_shows_how_many_of_how_many_and_where_they_came_from() {
    for unordered in [false, true] {
        let ((pool, calls), terminal) = (calls(), Terminal::default());
        let map = pool.map(calls).progress(terminal.bar("counting"));
        let map = if unordered { map.unordered() } else { map };
        assert_eq!(map.filter(Result::is_err).count(), 1);
        assert_eq!(terminal.last(), format!("counting {FULL}"), "unordered: {unordered}");
    }
}

/// The bar of `as_completed` stays where it was.
#[test]
fn tasks_as_completed_are_shown_as_well() {
    let ((pool, calls), terminal) = (calls(), Terminal::default());
    let tasks = pool.submit_all(calls);
    assert_eq!(as_completed(tasks).progress(terminal.bar("counting")).count(), 10);
    assert_eq!(terminal.last(), format!("counting {FULL}"));
}

/// Who does not know how many there are gets a bar that is full from the start, or none.
#[test]
fn an_input_of_unknown_length_is_counted_until_its_end_is_seen() {
    let ((pool, calls), terminal) = (calls(), Terminal::default());
    let mut map = pool.map(calls.filter(|_| true)).window(1).progress(terminal.bar("counting"));
    assert!(terminal.last().starts_with("counting"), "it is there before the first");
    assert!(!terminal.last().contains('['), "nobody knows how many there are");
    assert_eq!(map.by_ref().count(), 10);
    assert_eq!(terminal.last(), format!("counting {FULL}"));
}

/// A bar goes on ticking after the loop was left, and overwrites what is printed next.
#[test]
fn a_bar_ends_with_its_iteration() {
    let (pool, calls) = calls();
    let bar = ProgressBar::hidden();
    let mut map = pool.map(calls.clone()).progress(bar.clone());
    assert!(map.next().is_some_and(|first| first.is_ok()));
    assert_eq!((bar.position(), bar.length(), bar.is_finished()), (1, Some(10), false));
    drop(map);
    assert!(bar.is_finished(), "left early");
    let bar = ProgressBar::hidden();
    assert!(pool.map(calls.clone()).progress(bar.clone()).try_collect().is_err());
    assert!(bar.is_finished(), "failed early");
    let bar = ProgressBar::hidden();
    let mut all = as_completed(pool.submit_all(calls)).progress(bar.clone());
    assert_eq!(all.by_ref().count(), 10);
    assert_eq!((bar.position(), bar.is_finished()), (10, true), "at its end, though it is still there");
}

/// Async code has no bar.
#[cfg(feature = "stream")]
#[test]
fn streams_move_the_bar() {
    use futures_util::StreamExt;

    for unordered in [false, true] {
        let ((pool, calls), terminal) = (calls(), Terminal::default());
        let map = pool.map(calls).progress(terminal.bar("counting"));
        let map = if unordered { map.unordered() } else { map };
        assert_eq!(pollster::block_on(map.into_stream().count()), 10);
        assert_eq!(terminal.last(), format!("counting {FULL}"), "unordered: {unordered}");
    }
    let ((pool, calls), terminal) = (calls(), Terminal::default());
    let tasks = as_completed(pool.submit_all(calls)).progress(terminal.bar("counting"));
    assert_eq!(pollster::block_on(tasks.into_stream().count()), 10);
    assert_eq!(terminal.last(), format!("counting {FULL}"));
}
