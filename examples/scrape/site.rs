//! A site to crawl: a small magazine, served on loopback. It counts what it sends, so that the crawler can be held to its
//! word.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the site stands for another machine"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const ARTICLES: usize = 240;
const TOPICS: usize = 12;
const WORDS: [&str; 16] = [
    "harbour", "lamp", "keeper", "storm", "tide", "gull", "chart", "rope", "signal", "fog", "rock", "boat",
    "bell", "night", "coast", "light",
];

/// The site, for as long as the program runs.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// How often each version of each page was sent.
    bodies: BTreeMap<(String, String), usize>,
    /// How often a path was asked for that fails at first.
    asked: BTreeMap<String, usize>,
    /// Articles that were edited.
    edited: BTreeSet<usize>,
    /// Requests that are being answered, and how many there were at once.
    now: usize,
    peak: usize,
    trespasses: usize,
}

/// What the site has sent.
pub(crate) struct Sent {
    pub(crate) versions: usize,
    pub(crate) bodies: usize,
    /// Pages of which a version was sent again.
    pub(crate) twice: Vec<String>,
    /// Requests at once, at most.
    pub(crate) peak: usize,
    /// Requests for what `robots.txt` forbids.
    pub(crate) trespasses: usize,
}

/// An answer.
enum Reply {
    Page(String),
    Csv,
    Moved(String),
    Status(&'static str),
    /// Half a page, then the connection breaks.
    Torn,
}

impl Site {
    /// Serves the site on a free port.
    pub(crate) fn serve() -> io::Result<Site> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let site = Site { url, state: Arc::default() };
        let serving = site.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let site = serving.clone();
                // A connection that breaks is the other side's affair.
                thread::spawn(move || _ = site.talk(&stream));
            }
        });
        Ok(site)
    }

    /// Edits some articles: their ETags change.
    pub(crate) fn edit(&self, articles: impl IntoIterator<Item = usize>) {
        self.state().edited.extend(articles);
    }

    pub(crate) fn sent(&self) -> Sent {
        let state = self.state();
        let twice = state.bodies.iter().filter(|(_, n)| **n > 1).map(|((path, _), _)| path.clone());
        Sent {
            versions: state.bodies.len(),
            bodies: state.bodies.values().sum(),
            twice: twice.collect(),
            peak: state.peak,
            trespasses: state.trespasses,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the requests of one connection.
    fn talk(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut lines = BufReader::new(stream).lines();
        while let Some(request) = lines.next().transpose()? {
            let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
            let mut known = None;
            for header in lines.by_ref() {
                match header?.split_once(": ") {
                    None => break,
                    Some((name, etag)) if name.eq_ignore_ascii_case("if-none-match") => {
                        known = Some(etag.to_owned());
                    }
                    Some(_) => {}
                }
            }
            self.begin();
            let (answer, torn) = self.answer(&path, known.as_deref());
            // Before the answer is out: after it, the crawler may already have sent its next request.
            self.state().now -= 1;
            stream.write_all(answer.as_bytes())?;
            if torn {
                return Ok(());
            }
        }
        Ok(())
    }

    fn begin(&self) {
        let mut state = self.state();
        state.now += 1;
        state.peak = state.peak.max(state.now);
    }

    /// The whole response, and whether the connection breaks after it.
    fn answer(&self, path: &str, known: Option<&str>) -> (String, bool) {
        let head = |status: &str, more: &str, length: usize| {
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}\r\n")
        };
        match self.reply(path) {
            Reply::Status(status) => (head(status, "", 0), false),
            Reply::Moved(to) => (head("301 Moved Permanently", &format!("location: {to}\r\n"), 0), false),
            Reply::Csv => (head("200 OK", "content-type: text/csv\r\n", 4) + "1,2\n", false),
            Reply::Torn => (head("200 OK", "content-type: text/html\r\n", 9_999) + "<p>The light went", true),
            Reply::Page(html) => {
                let digest = html
                    .bytes()
                    .fold(7_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
                let etag = format!("\"{digest:016x}\"");
                if known == Some(&etag) {
                    return (head("304 Not Modified", "", 0), false);
                }
                *self.state().bodies.entry((path.to_owned(), etag.clone())).or_default() += 1;
                let more = format!("content-type: text/html; charset=utf-8\r\netag: {etag}\r\n");
                (head("200 OK", &more, html.len()) + &html, false)
            }
        }
    }

    fn reply(&self, path: &str) -> Reply {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (first, number) =
            (parts.next().unwrap_or_default(), parts.next().and_then(|n| n.parse::<usize>().ok()));
        match (first, number.filter(|&n| n < ARTICLES)) {
            ("", _) => Reply::Page(front_page()),
            ("robots.txt", _) => Reply::Page("User-agent: *\nDisallow: /private/\n".into()),
            ("topic", Some(n)) if n < TOPICS => Reply::Page(topic(n)),
            // The printed form of an article is the same text at another address.
            ("article" | "print", Some(n)) => {
                if n % 25 == 3 {
                    thread::sleep(Duration::from_millis(40));
                }
                if n % 60 == 7 && self.asked_before(path) < 2 {
                    return Reply::Status("503 Service Unavailable");
                }
                Reply::Page(article(n, self.state().edited.contains(&n)))
            }
            // Several addresses, one page, and a slow one.
            ("hint", _) => Reply::Moved("/article/3".into()),
            ("private", _) => {
                self.state().trespasses += 1;
                Reply::Status("403 Forbidden")
            }
            ("old", Some(n)) => Reply::Moved(format!("/article/{n}")),
            ("latest", _) => Reply::Moved(format!("article/{}", ARTICLES - 1)),
            ("loop", _) => Reply::Moved("/loop".into()),
            ("away", _) => Reply::Moved("https://elsewhere.invalid/".into()),
            ("figures.csv", _) => Reply::Csv,
            ("broken", _) => Reply::Status("500 Internal Server Error"),
            ("torn", _) => Reply::Torn,
            _ => Reply::Status("404 Not Found"),
        }
    }

    fn asked_before(&self, path: &str) -> usize {
        let mut state = self.state();
        let asked = state.asked.entry(path.to_owned()).or_default();
        *asked += 1;
        *asked - 1
    }
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1>\n{body}</body></html>\n"
    )
}

fn link(to: &str) -> String {
    format!("<a href=\"{to}\">{}</a>\n", to.trim_start_matches('/'))
}

fn front_page() -> String {
    let topics: String = (0..TOPICS).map(|n| link(&format!("topic/{n}"))).collect();
    let others = [
        "latest",
        "hint/1",
        "hint/2",
        "hint/3",
        "loop",
        "away",
        "broken",
        "torn",
        "figures.csv",
        "private/plans",
        "mailto:keeper@light.invalid",
    ];
    page("The Lighthouse", &(topics + &others.map(link).concat()))
}

fn topic(n: usize) -> String {
    let articles = (n..ARTICLES).step_by(TOPICS).map(|n| link(&format!("../article/{n}")));
    page(&format!("On the {}", WORDS[n]), &articles.collect::<String>())
}

fn article(n: usize, edited: bool) -> String {
    let word = |i: usize| WORDS[(n + 1).wrapping_mul(i * i + 3 * i + 1) / 7 % WORDS.len()];
    let text: Vec<_> = (1..120 + n).map(word).collect();
    let mut body = format!("<p>{}</p>\n", text.join(" "));
    if edited {
        body += "<p>This article has been corrected.</p>\n";
    }
    // The same neighbours under several addresses, as sites have it.
    body += &link("/");
    body += &link(&format!("/article/{}#comments", (n + 1) % ARTICLES));
    body += &link(&format!("/article/{}", n * 7 % ARTICLES));
    if n.is_multiple_of(5) {
        body += &link(&format!("/old/{}", (n + 60) % ARTICLES));
    }
    if n.is_multiple_of(10) {
        body += &link(&format!("/print/{n}"));
    }
    if n.is_multiple_of(20) {
        body += &link(&format!("/draft/{n}"));
    }
    page(&format!("{} and {}, part {n}", word(5), word(9)), &body)
}
