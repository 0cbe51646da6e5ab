//! Reads a report's HTML as a strict parser would, and says what a reader would stumble over.
//!
//! The page is written as well-formed XML. Texts in charts are measured by an estimate of their own, a little narrower than
//! what the page reckons with: a browser measures them for certain (`tests/browser/run`).

/// The size of letters in charts, and their width on average, in pixels.
const FONT: f64 = 12.0;
const LETTER: f64 = 6.6;

/// An element that is open.
struct Open {
    tag: String,
    /// Where its text begins.
    text: usize,
    attributes: Vec<(String, String)>,
}

/// A text's place in its chart.
struct Placed {
    text: String,
    left: f64,
    right: f64,
    base: f64,
}

/// How many charts the page has.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub(crate) fn check(html: &str) -> Result<usize, String> {
    let mut open: Vec<Open> = Vec::new();
    let (mut charts, mut size, mut texts) = (0, (0.0, 0.0), Vec::new());
    let body = html.strip_prefix("<!DOCTYPE html>").ok_or("it does not say that it is HTML")?;
    for word in ["NaN", "inf\"", "inf,", "http://", "https://", "<script"] {
        let found = body.replace("http://www.w3.org/2000/svg", "");
        if let Some(at) = found.find(word) {
            return Err(format!("`{word}` is in it: …{}…", excerpt(&found, at)));
        }
    }
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').ok_or("a tag is not closed")? + at;
        let tag = &rest[at + 1..end];
        let here = body.len() - rest.len() + at;
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop().ok_or_else(|| format!("</{name}> closes nothing"))?;
            if last.tag != name {
                return Err(format!("</{name}> closes <{}>: …{}…", last.tag, excerpt(body, here)));
            }
            let text = unescaped(&body[last.text..here])?;
            match name {
                "text" => texts.push(placed(&last, text)?),
                "svg" => {
                    charts += 1;
                    fits(size, &std::mem::take(&mut texts))?;
                }
                _ => {}
            }
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let element = parsed(tag, body.len() - rest.len())?;
        if element.tag == "svg" {
            let view = attribute(&element, "viewBox")?;
            let numbers: Vec<f64> = view.split(' ').filter_map(|number| number.parse().ok()).collect();
            let [_, _, width, height] = numbers[..] else { return Err(format!("viewBox is {view}")) };
            size = (width, height);
        }
        if !closed {
            open.push(element);
        }
    }
    match open.pop() {
        Some(last) => Err(format!("<{}> is never closed", last.tag)),
        None => Ok(charts),
    }
}

fn parsed(tag: &str, text: usize) -> Result<Open, String> {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    let mut attributes = Vec::new();
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').ok_or_else(|| format!("<{tag}>: a quote is missing"))?;
        attributes.push((key.trim().to_owned(), unescaped(value)?));
        rest = after;
    }
    match rest.trim() {
        "" => Ok(Open { tag: name.to_owned(), text, attributes }),
        more => Err(format!("<{tag}>: what is `{more}`?")),
    }
}

fn attribute<'a>(element: &'a Open, name: &str) -> Result<&'a str, String> {
    let found = element.attributes.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| &**value).ok_or_else(|| format!("<{}> has no {name}", element.tag))
}

fn unescaped(text: &str) -> Result<String, String> {
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
    let bare = plain.iter().fold(text.to_owned(), |text, (written, _)| text.replace(written, ""));
    match bare.contains('&') {
        true => Err(format!("a bare & in `{text}`")),
        false => {
            Ok(plain.iter().fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant)))
        }
    }
}

fn placed(element: &Open, text: String) -> Result<Placed, String> {
    let number = |name| {
        let value = attribute(element, name)?;
        value.parse::<f64>().map_err(|_| format!("{name} of `{text}` is {value}"))
    };
    let (x, base, width) = (number("x")?, number("y")?, text.chars().count() as f64 * LETTER);
    let left = match attribute(element, "text-anchor")? {
        "start" => x,
        "middle" => x - width / 2.0,
        _ => x - width,
    };
    Ok(Placed { left, right: left + width, base, text })
}

/// Every text lies within the chart, and none on another.
fn fits((width, height): (f64, f64), texts: &[Placed]) -> Result<(), String> {
    for (n, text) in texts.iter().enumerate() {
        let inside =
            text.left >= 0.0 && text.right <= width && text.base >= FONT - 2.0 && text.base <= height;
        if !inside {
            return Err(format!("`{}` sticks out of its chart of {width} by {height}", text.text));
        }
        let on = |other: &&Placed| {
            other.left < text.right && text.left < other.right && (other.base - text.base).abs() < FONT - 1.0
        };
        if let Some(other) = texts[..n].iter().find(on) {
            return Err(format!("`{}` lies on `{}`", text.text, other.text));
        }
    }
    Ok(())
}

fn excerpt(text: &str, at: usize) -> String {
    let before: Vec<char> = text[..at].chars().rev().take(40).collect();
    before.into_iter().rev().chain(text[at..].chars().take(40)).collect()
}
