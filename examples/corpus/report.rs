//! What the example shows. A result that is kept is data: how it reads can change from one run to the next.

use std::cmp::Reverse;
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use memopool::Pool;
use serde::{Deserialize, Serialize};

/// All that the report says.
#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct Overall {
    pub(crate) files: usize,
    pub(crate) copies: usize,
    pub(crate) crates: Vec<Share>,
    /// The most frequent ones, and how often they occur.
    pub(crate) words: Vec<(String, usize)>,
    pub(crate) pairs: usize,
    /// The pairs with the longest files, and how many percent they have in common.
    pub(crate) alike: Vec<(usize, String, String)>,
}

/// One crate's share.
#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) krate: String,
    pub(crate) files: usize,
    pub(crate) lines: usize,
    pub(crate) comment_percent: usize,
}

impl fmt::Display for Overall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: usize = self.crates.iter().map(|share| share.lines).sum();
        writeln!(f, "{} files of {} crates, {lines} lines\n", self.files, self.crates.len())?;
        writeln!(f, "{:<30}{:>8}{:>12}{:>12}", "the largest crates", "files", "lines", "comments")?;
        let mut largest: Vec<_> = self.crates.iter().collect();
        largest.sort_by_key(|share| Reverse(share.lines));
        for Share { krate, files, lines, comment_percent } in largest.iter().take(8) {
            writeln!(f, "  {krate:<28}{files:>8}{lines:>12}{comment_percent:>10} %")?;
        }
        let words: Vec<_> = self.words.iter().map(|(word, n)| format!("{word} ({n})")).collect();
        writeln!(f, "\nlong words in comments: {}\n", words.join(", "))?;
        let (copies, pairs) = (self.copies, self.pairs);
        writeln!(f, "{copies} files are copies of another, and {pairs} pairs between crates are alike")?;
        for (percent, a, b) in &self.alike {
            writeln!(f, "  {percent:>3} %  {a}, {b}")?;
        }
        Ok(())
    }
}

/// A progress bar; nothing where there is no terminal.
pub(crate) fn bar(files: usize, title: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} files").expect("a valid template");
    let bar = ProgressBar::new(files as u64).with_style(style).with_message(title);
    bar.with_finish(ProgressFinish::AndClear)
}

/// Runs `f`, and says how long it took.
#[expect(clippy::disallowed_methods, reason = "measuring is the point here")]
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (f(), start.elapsed())
}

/// Writes the page about what the pool's memory saved.
#[cfg(feature = "report")]
pub(crate) fn write(pool: &Pool, dir: &Path) -> Result<(), Box<dyn Error>> {
    pool.report().titled("What the corpus example remembered").write(dir)?;
    println!("\nMore of this, with charts: {}", dir.join("report.html").display());
    Ok(())
}

#[cfg(not(feature = "report"))]
pub(crate) fn write(_: &Pool, _: &Path) -> Result<(), Box<dyn Error>> {
    Err("--report: this was built without it; run it with `--features report`".into())
}
