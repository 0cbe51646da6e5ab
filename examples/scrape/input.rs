//! What the command line asks for.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process};

use url::Url;

const HELP: &str = "Crawls a site within its host, and keeps what it got: run again, it asks only what may have changed.
Without --url it serves a site itself, and crawls that four times.

  --url URL    the page to start at
  --pages N    visit at most N addresses (default: 100)
  --slots N    send at most N requests at a time (default: 2)
  --delay MS   wait so many milliseconds after each request before the next takes its place (default: 500)
  --cache DIR  keep answers in DIR, not in `target/scrape-cache` (or, without `target`, in the temporary directory)
  --json       write the report as JSON
  --help       show this

It respects `Allow` and `Disallow` in robots.txt, by prefix, but not `Crawl-delay`: say --delay.";

pub(crate) struct Asked {
    pub(crate) url: Option<Url>,
    pub(crate) pages: usize,
    pub(crate) slots: usize,
    pub(crate) delay: Duration,
    pub(crate) cache: PathBuf,
    pub(crate) json: bool,
}

/// Reads the command line.
pub(crate) fn asked() -> Result<Asked, Box<dyn Error>> {
    let delay = Duration::from_millis(500);
    let mut asked = Asked { url: None, pages: 100, slots: 2, delay, cache: default_cache(), json: false };
    let mut args = env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let mut value = |example: &str| match args.next() {
            Some(value) => Ok(value),
            None => Err(format!("{0}: a value is missing, as in `{0} {example}`", arg.display())),
        };
        match arg.to_str() {
            Some("--url") => asked.url = Some(url(&value("https://example.org/")?.to_string_lossy())?),
            Some("--pages") => asked.pages = number("--pages", &value("100")?.to_string_lossy(), 1)?,
            Some("--slots") => asked.slots = number("--slots", &value("2")?.to_string_lossy(), 1)?,
            Some("--delay") => {
                let millis = number("--delay", &value("500")?.to_string_lossy(), 0)?;
                asked.delay = Duration::from_millis(millis as u64);
            }
            Some("--cache") => asked.cache = value(".memo")?.into(),
            Some("--json") => asked.json = true,
            Some("--help" | "-h") => {
                println!("{HELP}");
                process::exit(0);
            }
            _ => return Err(format!("{}: no such option; `--help` lists them", arg.display()).into()),
        }
    }
    Ok(asked)
}

fn url(text: &str) -> Result<Url, String> {
    let example = "say it as in `--url https://example.org/`";
    let mut url = Url::parse(text).map_err(|error| format!("--url {text}: {error}; {example}"))?;
    url.set_fragment(None);
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(format!("--url {text}: `{scheme}` can't be crawled; {example}")),
    }
}

fn number(option: &str, text: &str, least: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&n| n >= least);
    number.ok_or_else(|| format!("{option} {text}: not a number from {least} on"))
}

/// The same at each run from here.
fn default_cache() -> PathBuf {
    match Path::new("target") {
        target if target.is_dir() => target.join("scrape-cache"),
        _ => env::temp_dir().join("memopool-scrape-cache"),
    }
}
