//! What a crawl has seen, and how it reads.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use memopool::{Key, Stats};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{Client, Facts};

/// What an address led to.
pub(crate) enum Seen {
    /// A page, and the key of what is in it: equal pages have equal ones.
    Page {
        at: Url,
        facts: Arc<Facts>,
        key: Key,
    },
    Refused(u16),
    Failed(String),
    Other,
    Forbidden,
    Elsewhere,
}

/// All that a crawl has seen.
#[derive(Default)]
pub(crate) struct Crawl {
    pages: BTreeMap<Url, (Arc<Facts>, Key)>,
    moved: BTreeMap<Url, Url>,
    refused: BTreeMap<Url, u16>,
    failed: BTreeMap<Url, String>,
    others: usize,
    forbidden: usize,
    elsewhere: usize,
    /// Known, and left alone, since there were enough.
    pub(crate) unvisited: BTreeSet<Url>,
}

impl Crawl {
    /// Takes down what an address led to, and gives the links found there.
    pub(crate) fn add(&mut self, url: Url, seen: &Seen) -> BTreeSet<Url> {
        match seen {
            Seen::Page { at, facts, key } => {
                if *at != url {
                    self.moved.insert(url, at.clone());
                }
                self.pages.insert(at.clone(), (Arc::clone(facts), *key));
                return links(at, facts);
            }
            Seen::Refused(status) => _ = self.refused.insert(url, *status),
            Seen::Failed(reason) => _ = self.failed.insert(url, reason.clone()),
            Seen::Other => self.others += 1,
            Seen::Forbidden => self.forbidden += 1,
            Seen::Elsewhere => self.elsewhere += 1,
        }
        BTreeSet::new()
    }

    /// The report: nothing in it depends on the order in which answers came, or on where they came from.
    pub(crate) fn text(&self, start: &Url) -> String {
        let different = self.pages.values().map(|(_, key)| key).collect::<BTreeSet<_>>().len();
        let copies = match self.pages.len() - different {
            0 => "pages".to_owned(),
            n => format!("pages, {n} of them copies of another"),
        };
        let mut text = format!("{start}\n");
        for (n, what) in [
            (self.pages.len(), &*copies),
            (self.moved.len(), "addresses that lead on to one of them"),
            (self.refused.len(), "that lead nowhere"),
            (self.failed.len(), "that fail"),
            (self.others, "that are not text"),
            (self.elsewhere, "that lead to another site"),
            (self.forbidden, "that robots.txt forbids"),
            (self.unvisited.len(), "that were not visited (see --pages)"),
        ] {
            if n > 0 {
                _ = writeln!(text, "{n:>6} {what}");
            }
        }
        let mut linked: BTreeMap<&Url, usize> = BTreeMap::new();
        for (at, (facts, _)) in &self.pages {
            for link in links(at, facts) {
                let to = self.moved.get(&link).unwrap_or(&link);
                if let Some((page, _)) = self.pages.get_key_value(to) {
                    *linked.entry(page).or_default() += 1;
                }
            }
        }
        let mut linked: Vec<_> = linked.into_iter().collect();
        linked.sort_by_key(|&(_, n)| Reverse(n));
        if !linked.is_empty() {
            _ = writeln!(text, "\n{:>6}{:>8}  the most linked to", "links", "words");
        }
        for (url, n) in linked.into_iter().take(8) {
            let Facts { words, title, .. } = &*self.pages[url].0;
            let title: String = title.chars().take(50).collect();
            _ = writeln!(text, "{n:>6}{words:>8}  {}  {title}", url.path());
        }
        for (title, lines) in [
            (
                "lead nowhere",
                self.refused.iter().map(|(url, status)| format!("{url}: {status}")).collect::<Vec<_>>(),
            ),
            ("fail", self.failed.iter().map(|(url, reason)| format!("{url}: {reason}")).collect()),
        ] {
            if !lines.is_empty() {
                _ = writeln!(text, "\n{title}");
                lines.iter().take(4).for_each(|line| _ = writeln!(text, "  {line}"));
            }
            if lines.len() > 4 {
                _ = writeln!(text, "  and {} more", lines.len() - 4);
            }
        }
        text
    }
}

/// Where a page leads to: each address once, without the place in it.
fn links(at: &Url, facts: &Facts) -> BTreeSet<Url> {
    let links = facts.links.iter().filter_map(|link| at.join(link).ok());
    links
        .map(|mut link| {
            link.set_fragment(None);
            link
        })
        .collect()
}

/// A crawl as it is told to others.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) figures: Figures,
}

/// What a crawl took.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figures {
    requests: u64,
    bodies: u64,
    unchanged: u64,
    retried: u64,
    joined: u64,
    memory_hits: u64,
    disk_hits: u64,
    wall: Duration,
}

/// The beginning of a crawl.
pub(crate) struct Begun {
    counts: [u64; 3],
    at: Instant,
}

impl Figures {
    /// Where the counts stand.
    #[expect(clippy::disallowed_methods, reason = "measuring is the point here")]
    pub(crate) fn begin(client: &Client) -> Begun {
        Begun { counts: counts(client), at: Instant::now() }
    }

    /// What came since.
    pub(crate) fn since(begun: &Begun, client: &Client, stats: &Stats) -> Figures {
        let now = counts(client);
        let [requests, bodies, unchanged] = [0, 1, 2].map(|i| now[i] - begun.counts[i]);
        let Stats { retried, joined, memory_hits, disk_hits, .. } = *stats;
        let wall = begun.at.elapsed();
        Figures { requests, bodies, unchanged, retried, joined, memory_hits, disk_hits, wall }
    }
}

fn counts(client: &Client) -> [u64; 3] {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    [&client.requests, &client.bodies, &client.unchanged].map(read)
}

/// Crawls side by side.
pub(crate) fn table(crawls: &[(&str, &Figures)]) -> String {
    let mut text = String::new();
    let mut row = |name: &str, cells: &dyn Fn(&str, &Figures) -> String| {
        _ = write!(text, "{name:<28}");
        crawls.iter().for_each(|(title, figures)| _ = write!(text, "{:>17}", cells(title, figures)));
        text.push('\n');
    };
    if crawls.len() > 1 {
        row("", &|title, _| title.to_owned());
    }
    row("requests sent", &|_, figures| figures.requests.to_string());
    row("  repeated after a failure", &|_, figures| figures.retried.to_string());
    row("  answered \"not modified\"", &|_, figures| figures.unchanged.to_string());
    row("  answered with a body", &|_, figures| figures.bodies.to_string());
    row("runs joined", &|_, figures| figures.joined.to_string());
    row("results found in memory", &|_, figures| figures.memory_hits.to_string());
    row("results found on disk", &|_, figures| figures.disk_hits.to_string());
    row("wall time", &|_, figures| format!("{:.3} s", figures.wall.as_secs_f64()));
    text
}

/// A progress bar; nothing where there is no terminal.
pub(crate) fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} addresses").expect("a valid template");
    ProgressBar::new(1).with_style(style)
}
