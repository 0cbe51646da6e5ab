//! A polite crawler that never fetches the same version of a page twice.
//!
//! ```text
//! visit ─┬─▶ fetch: keyed by URL, good for ten minutes; one request at a time for each URL, four for the host
//!        │     └─▶ copy: the last version of a page, for good; asks "is it still this one?" (ETag)
//!        └─▶ extract: keyed by the page's text
//! ```
//!
//! Without arguments it crawls a site that it serves itself, four times: cold, again, in another process, and an hour
//! later. `cargo run --example scrape -- --url https://example.org/` crawls any site within its host; `--help` tells more.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

mod client;
mod input;
mod own;
mod report;
mod robots;
mod site;

use std::collections::BTreeSet;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, count};
use input::Asked;
use memopool::{Backoff, Func, Limit, Pool, Source, memo};
use own::Wall;
use report::{Crawl, Figures, Report, Seen, bar};
use robots::Rules;
use scraper::{Html, Selector};
use serde::{Deserialize, Serialize};
use ureq::http::StatusCode;
use url::Url;

/// What we call ourselves, to servers and in `robots.txt`.
const AGENT: &str = "memopool-scrape";

/// How long an answer is good. So long an address that failed is left alone, too.
const FRESH: Duration = Duration::from_secs(600);

/// How long an address that failed is left alone before the next attempt, at least; then twice as long.
const SHORTEST_REST: Duration = Duration::from_millis(10);

/// What a server answered.
#[derive(Serialize, Deserialize)]
enum Answer {
    Page(Arc<Version>),
    Moved(String),
    /// Not there, or not for us: nothing that another attempt would mend.
    Refused(u16),
    /// No page, but this type of content.
    Other(String),
}

/// One version of a page, and what its server calls it.
#[derive(Default, Serialize, Deserialize)]
struct Version {
    etag: Option<String>,
    modified: Option<String>,
    text: String,
}

/// What there is to know of a page.
#[derive(Serialize, Deserialize)]
struct Facts {
    title: String,
    words: usize,
    links: BTreeSet<String>,
}

/// What all requests have in common and servers go by.
#[derive(Serialize)]
struct Common {
    agent: &'static str,
    accept: &'static str,
}

type Fetch = Func<String, Answer>;

/// Everything about a request but its URL is bound here, once: what decides the answer is state (part of the key), what
/// does not is a resource.
fn fetch(client: &Arc<Client>, limit: &Limit) -> Fetch {
    Func::named("fetch")
        .state(Common { agent: AGENT, accept: "text/html, text/*;q=0.5" })
        .resource(Arc::clone(client))
        .cache_errors() // an address that fails is not asked again at once
        .fallible(get)
        .version(1) // of `get`: what is kept outlives this program
        .ttl(FRESH)
        .retries(2)
        .backoff(Backoff::exponential(client.delay.max(SHORTEST_REST)))
        .limit(limit)
}

/// Asks for a page, or whether it is still what we have.
fn get(common: &Common, client: &Arc<Client>, url: String) -> Result<Answer, String> {
    let pool = Pool::current().expect("runs in a pool");
    let kept = pool.get(&copy::call(&url, Version::default()));
    let mut request =
        client.agent.get(&url).header("user-agent", common.agent).header("accept", common.accept);
    if let Some(etag) = kept.as_ref().and_then(|kept| kept.etag.as_ref()) {
        request = request.header("if-none-match", etag);
    } else if let Some(modified) = kept.as_ref().and_then(|kept| kept.modified.as_ref()) {
        request = request.header("if-modified-since", modified);
    }
    count(&client.requests);
    let answer = request.call();
    client.pause();
    let mut answer = answer.map_err(|error| error.to_string())?;
    let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
    let kind = header("content-type").unwrap_or_default();
    match (answer.status(), header("location"), kept) {
        (StatusCode::NOT_MODIFIED, _, Some(kept)) => {
            count(&client.unchanged);
            Ok(Answer::Page(kept))
        }
        (status, Some(to), _) if status.is_redirection() => Ok(Answer::Moved(to)),
        (StatusCode::OK, ..) if !kind.starts_with("text/html") && !kind.starts_with("text/plain") => {
            Ok(Answer::Other(kind))
        }
        (StatusCode::OK, ..) => {
            let (etag, modified) = (header("etag"), header("last-modified"));
            let bytes = answer.body_mut().read_to_vec().map_err(|error| error.to_string())?;
            count(&client.bodies);
            let version = Version { etag, modified, text: String::from_utf8_lossy(&bytes).into() };
            let kept = pool.run(copy::call(&url, version).refresh());
            Ok(Answer::Page(kept.map_err(|error| error.to_string())?))
        }
        (status, ..) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(format!("answered {status}"))
        }
        (status, ..) => Ok(Answer::Refused(status.as_u16())),
    }
}

/// The last version of a page that we have seen. Its URL alone is the key, so that `get` finds it without knowing it, and
/// `refresh` puts another in its place.
#[memo(ignore(version))]
fn copy(_url: &str, version: Version) -> Version {
    version
}

/// What is in a page. Its text is the whole key: equal pages share one run, wherever they lie.
#[memo]
fn extract(text: &str) -> Facts {
    let page = Html::parse_document(text);
    let [title, body, links] =
        ["title", "body", "a[href]"].map(|css| Selector::parse(css).expect("valid CSS"));
    let words = page.select(&body).flat_map(|body| body.text()).flat_map(str::split_whitespace);
    Facts {
        words: words.count(),
        title: page.select(&title).flat_map(|title| title.text()).collect::<String>().trim().to_owned(),
        links: page.select(&links).filter_map(|link| link.attr("href")).map(str::to_owned).collect(),
    }
}

/// What may be visited.
struct Scope {
    host: Url,
    rules: Rules,
}

impl Scope {
    fn is_inside(&self, url: &Url) -> bool {
        url.origin() == self.host.origin()
    }
}

/// Follows an address to a page. Each hop is fetched by its own URL, so a page that several addresses lead to is asked for
/// once. Not memoized itself: it is cheap once its parts are.
fn visit(fetch: &Fetch, scope: &Scope, url: &Url) -> Seen {
    let pool = Pool::current().expect("runs in a pool");
    let mut at = url.clone();
    for _hop in 0..5 {
        if !scope.is_inside(&at) {
            return Seen::Elsewhere;
        }
        if !scope.rules.allow(at.path()) {
            return Seen::Forbidden;
        }
        let answer = match pool.run(fetch.call(at.to_string())) {
            Ok(answer) => answer,
            Err(error) => return Seen::Failed(error.to_string()),
        };
        match &*answer {
            Answer::Page(version) => {
                let task = pool.submit(extract::call(&version.text));
                return match (task.wait(), task.key()) {
                    (Ok(facts), Some(key)) => Seen::Page { at, facts, key },
                    (Err(error), _) => Seen::Failed(error.to_string()),
                    (Ok(_), None) => unreachable!("calls have keys"),
                };
            }
            Answer::Moved(to) => match at.join(to) {
                Ok(to) => at = to,
                Err(error) => return Seen::Failed(format!("leads to {to}: {error}")),
            },
            Answer::Refused(status) => return Seen::Refused(*status),
            Answer::Other(_) => return Seen::Other,
        }
    }
    Seen::Failed("leads from one address to the next without end".into())
}

struct Crawler {
    pool: Pool,
    client: Arc<Client>,
    fetch: Fetch,
    start: Url,
    most: usize,
}

impl Crawler {
    fn new(asked: &Asked, start: Url, wall: &Arc<Wall>) -> Result<Crawler, memopool::Error> {
        // Its threads wait for the network: more of them than the machine has cores.
        let pool = Pool::builder().name("scrape").threads(2..=16).disk(&asked.cache).clock(Arc::clone(wall));
        let client = Arc::new(Client::new(&start, asked.delay));
        let limit = Limit::new(start.host_str().unwrap_or_default(), asked.slots);
        Ok(Crawler { pool: pool.build()?, fetch: fetch(&client, &limit), client, start, most: asked.pages })
    }

    /// Visits all that can be reached from the start, level by level.
    fn crawl(&self) -> Result<Report, Box<dyn Error>> {
        let (stats, begun) = (self.pool.stats(), Figures::begin(&self.client));
        let scope = Arc::new(Scope { host: self.start.clone(), rules: self.rules()? });
        let mut crawl = Crawl::default();
        let mut known = BTreeSet::from([self.start.clone()]);
        let mut level = known.clone();
        let bar = bar();
        while !level.is_empty() {
            bar.set_length(known.len() as u64);
            let task = |url: Url| {
                let (fetch, scope, at) = (self.fetch.clone(), Arc::clone(&scope), url.clone());
                (url, self.pool.spawn(move || visit(&fetch, &scope, &at)))
            };
            for (url, task) in std::mem::take(&mut level).into_iter().map(task).collect::<Vec<_>>() {
                for link in crawl.add(url, &*task.wait()?) {
                    if !scope.is_inside(&link) || known.contains(&link) {
                    } else if known.len() < self.most {
                        known.insert(link.clone());
                        level.insert(link);
                    } else {
                        crawl.unvisited.insert(link);
                    }
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        let stats = self.pool.stats().since(&stats);
        Ok(Report { text: crawl.text(&self.start), figures: Figures::since(&begun, &self.client, &stats) })
    }

    /// What the site asks of crawlers. If it can't be asked, there is nothing to crawl.
    fn rules(&self) -> Result<Rules, Box<dyn Error>> {
        let robots = self.start.join("/robots.txt")?;
        let call = || self.fetch.call(robots.to_string());
        let mut task = self.pool.submit(call());
        // Somebody who starts us anew may have mended it.
        if task.wait().is_err() && matches!(task.source(), Some(Source::Memory | Source::Disk)) {
            task = self.pool.submit(call().refresh());
        }
        match task.wait() {
            Err(error) => Err(format!("{robots}: {error}").into()),
            Ok(answer) => Ok(match &*answer {
                Answer::Page(version) => Rules::parse(&version.text, AGENT),
                _ => Rules::default(),
            }),
        }
    }
}

/// Crawls the site that was asked for.
fn given(asked: &Asked, url: Url) -> Result<(), Box<dyn Error>> {
    let report = Crawler::new(asked, url, &Arc::default())?.crawl()?;
    if asked.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}\n{}", report.text, report::table(&[("", &report.figures)]));
        println!("What was fetched is kept in {}: run it again.", asked.cache.display());
    }
    Ok(())
}

fn main() -> ExitCode {
    let run = || {
        let asked = input::asked()?;
        match asked.url.clone() {
            Some(url) => given(&asked, url),
            None => own::show(asked),
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scrape: {error}");
            ExitCode::FAILURE
        }
    }
}
