//! A bar on the terminal for whoever waits for many tasks (feature `progress`).
//!
//! It moves when an item is taken out, so it shows what the caller has, not what the pool is at. [`Watched`] is what
//! [`Map`](super::map::Map) and [`AsCompleted`](super::wait::AsCompleted) have of it: nothing, without the feature.

#[cfg(not(feature = "progress"))]
use super::Task;

/// Somebody may watch an iteration.
#[derive(Default)]
pub(super) struct Watched {
    #[cfg(feature = "progress")]
    progress: Option<Progress>,
}

#[cfg(not(feature = "progress"))]
impl Watched {
    #[inline]
    pub(super) fn saw<R: Send + Sync + 'static>(
        &self,
        _: &Task<R>,
        _: impl FnOnce() -> bool,
        _: impl FnOnce() -> (usize, Option<usize>),
    ) {
    }

    #[inline]
    pub(super) fn over(&self) {}
}

#[cfg(feature = "progress")]
pub use bar::Progress;

#[cfg(feature = "progress")]
mod bar {
    use std::fmt::{self, Write};
    use std::time::Duration;

    use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

    use super::Watched;
    use crate::sync::Arc;
    use crate::sync::atomic::{AtomicU64, Ordering};
    use crate::task::{Source, Task};

    /// How a bar looks whose end is known, and one whose end is not.
    const BAR: &str = "{prefix} [{bar:30}] {pos}/{len}{beside}";
    const SPINNER: &str = "{prefix} {spinner} {pos}{beside}";

    /// How often a bar is drawn that does not move, so that its clock goes on.
    const TICK: Duration = Duration::from_millis(200);

    /// What [`Map::progress`](crate::Map::progress) and [`AsCompleted::progress`](crate::AsCompleted::progress) show: a bar
    /// with a name, or one of your own (feature `progress`).
    ///
    /// Made from a name it looks like the following, on the terminal that the standard error stream is, and is not drawn at
    /// all where that is a file or a pipe. Where nobody knows how many there will be, it has no bar and no end.
    ///
    /// ```text
    /// lexing [############------------------] 412/1024 380 from cache, 2 failed (eta 3s)
    /// ```
    ///
    /// Made from an [`indicatif::ProgressBar`] it has the style, and the place among others, that you gave it; `{counts}` in
    /// its template is what is said of cache and failures.
    ///
    /// # Examples
    ///
    /// ```
    /// use indicatif::{ProgressBar, ProgressStyle};
    /// use memopool::{Func, Pool};
    ///
    /// let square = Func::new("square", |n: u64| n * n);
    /// let style = ProgressStyle::with_template("{pos} squares, {counts}").unwrap();
    /// let bar = ProgressBar::no_length().with_style(style);
    /// for result in Pool::new().map((0..100).map(|n| square.call(n))).progress(bar.clone()) {
    ///     result?;
    /// }
    /// assert_eq!((bar.position(), bar.is_finished()), (100, true));
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub struct Progress {
        bar: ProgressBar,
        counts: Arc<Counts>,
        /// The style is ours: with a bar once it is known where that ends.
        is_ours: bool,
    }

    /// What is said beside the bar.
    #[derive(Default)]
    struct Counts {
        cached: AtomicU64,
        joined: AtomicU64,
        failed: AtomicU64,
    }

    impl Progress {
        pub(super) fn ours(name: impl Into<String>, bar: ProgressBar) -> Progress {
            bar.set_prefix(name.into());
            let progress = Progress { bar, counts: Arc::default(), is_ours: true };
            progress.set_style(SPINNER);
            progress
        }

        fn set_style(&self, template: &str) {
            let style = ProgressStyle::with_template(template).expect("the templates are valid");
            let counts = Arc::clone(&self.counts);
            let style = style.with_key("beside", move |state: &ProgressState, out: &mut dyn Write| {
                let time = match state.is_finished() {
                    true => format!("in {:#}", HumanDuration(state.elapsed())),
                    false if state.len().is_some() => format!("(eta {:#})", HumanDuration(state.eta())),
                    false => format!("({:#})", HumanDuration(state.elapsed())),
                };
                let counts = counts.to_string();
                let space = if counts.is_empty() { "" } else { " " };
                // A bar that can't be written is not worth more than that.
                let _ = write!(out, "{space}{counts} {time}");
            });
            self.bar.set_style(style.progress_chars("#>-"));
        }

        /// `left`: how many are to come at least, and at most.
        fn begin(&self, left: (usize, Option<usize>)) {
            self.ends_after(left);
            self.bar.tick();
            if !self.bar.is_hidden() {
                self.bar.enable_steady_tick(TICK);
            }
        }

        fn ends_after(&self, (least, most): (usize, Option<usize>)) {
            let end = self.bar.position().saturating_add(least as u64);
            if most == Some(least) && self.bar.length() != Some(end) {
                if self.is_ours && self.bar.length().is_none() {
                    self.set_style(BAR);
                }
                self.bar.set_length(end);
            }
        }
    }

    impl Watched {
        pub(in crate::task) fn by(progress: Progress, left: (usize, Option<usize>)) -> Watched {
            progress.begin(left);
            Watched { progress: Some(progress) }
        }

        /// A task was taken out. `left`: how many are to come at least, and at most.
        pub(in crate::task) fn saw<R: Send + Sync + 'static>(
            &self,
            task: &Task<R>,
            failed: impl FnOnce() -> bool,
            left: impl FnOnce() -> (usize, Option<usize>),
        ) {
            let Some(progress) = &self.progress else { return };
            let counts = &progress.counts;
            let count = match task.source() {
                _ if failed() => Some(&counts.failed),
                Some(Source::Memory | Source::Disk) => Some(&counts.cached),
                Some(Source::Joined) => Some(&counts.joined),
                _ => None,
            };
            if let Some(count) = count {
                count.fetch_add(1, Ordering::Relaxed);
            }
            progress.bar.inc(1);
            progress.ends_after(left());
        }

        /// No more is to come: the bar stays as it is.
        pub(in crate::task) fn over(&self) {
            if let Some(Progress { bar, .. }) = &self.progress
                && !bar.is_finished()
            {
                bar.abandon();
            }
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.over();
        }
    }

    impl From<&str> for Progress {
        fn from(name: &str) -> Progress {
            Progress::from(name.to_owned())
        }
    }

    impl From<String> for Progress {
        fn from(name: String) -> Progress {
            Progress::ours(name, ProgressBar::no_length())
        }
    }

    impl From<ProgressBar> for Progress {
        fn from(bar: ProgressBar) -> Progress {
            let counts = Arc::<Counts>::default();
            let shown = Arc::clone(&counts);
            bar.set_style(bar.style().with_key("counts", move |_: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{shown}");
            }));
            Progress { bar, counts, is_ours: false }
        }
    }

    impl fmt::Display for Counts {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let counts = [(&self.cached, "from cache"), (&self.joined, "joined"), (&self.failed, "failed")];
            let mut comma = "";
            for (count, what) in counts {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    write!(f, "{comma}{count} {what}")?;
                    comma = ", ";
                }
            }
            Ok(())
        }
    }

    impl fmt::Debug for Progress {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Progress").field("position", &self.bar.position()).finish_non_exhaustive()
        }
    }
}

#[cfg(all(test, feature = "progress"))]
mod tests;
