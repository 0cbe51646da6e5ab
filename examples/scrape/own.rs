//! Crawls the example's own site four times, and holds the crawler to its word.

use std::error::Error;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use memopool::{Clock, SystemClock};
use url::Url;

use crate::Crawler;
use crate::input::Asked;
use crate::report::{Report, table};
use crate::site::Site;

/// The time, which can be put forward.
#[derive(Default)]
pub(crate) struct Wall(AtomicU64);

impl Clock for Wall {
    fn now(&self) -> SystemTime {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Crawls the example's own site four times, and holds the crawler to its word.
pub(crate) fn show(asked: Asked) -> Result<(), Box<dyn Error>> {
    let (site, dir, wall) = (Site::serve()?, tempfile::tempdir()?, Arc::new(Wall::default()));
    let asked =
        Asked { cache: dir.path().to_owned(), slots: 4, pages: 1_000, delay: Duration::ZERO, ..asked };
    let crawler = || Crawler::new(&asked, Url::parse(&site.url)?, &wall).map_err(Box::<dyn Error>::from);
    let first = crawler()?;
    let cold = first.crawl()?;
    println!("{}", cold.text);
    let again = first.crawl()?;
    first.pool.flush()?;
    let elsewhere = in_another_process(&asked, &site)?;
    drop(first);
    let edited = [31, 62, 93];
    site.edit(edited);
    wall.0.fetch_add(3_600, Ordering::Relaxed);
    let later = crawler()?.crawl()?;
    let columns =
        [("cold", &cold), ("again", &again), ("another process", &elsewhere), ("an hour later", &later)];
    println!("{}", table(&columns.map(|(title, report)| (title, &report.figures))));

    let sent = site.sent();
    println!(
        "An hour later the site had edited {} articles, and the crawler forgotten all but its directory.",
        edited.len()
    );
    println!(
        "The site sent {} bodies of {} versions of its pages, and had {} requests at a time at most.",
        sent.bodies, sent.versions, sent.peak
    );
    if !sent.twice.is_empty() {
        let some = &sent.twice[..sent.twice.len().min(3)];
        return Err(format!("{} pages were fetched twice: {}, …", sent.twice.len(), some.join(", ")).into());
    }
    println!("No body was fetched twice.");
    if sent.peak > asked.slots {
        return Err(format!("{} requests at a time, and {} were allowed", sent.peak, asked.slots).into());
    }
    if sent.trespasses > 0 {
        return Err(format!("{} requests that robots.txt forbids", sent.trespasses).into());
    }
    if again.text != cold.text || elsewhere.text != cold.text {
        return Err("the crawls of one site differ".into());
    }
    Ok(())
}

/// The same crawl by another process, while this one still has its pool.
fn in_another_process(asked: &Asked, site: &Site) -> Result<Report, Box<dyn Error>> {
    let pages = asked.pages.to_string();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--url", &site.url, "--pages", &pages, "--delay", "0", "--json", "--cache"])
        .arg(&asked.cache);
    let output = command.output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err(format!("the other process: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}
