//! A page of figures: headings, text, tables and charts, as one self-contained HTML file or as Markdown.
//!
//! 1. [`scale`] — units, axes, and where their ticks go.
//! 2. [`bars`] — horizontal bars in groups.
//! 3. [`lines`] — curves over a common axis.
//! 4. [`html`] — the page for a browser; [`markdown`] — the same for a terminal or a pull request.
//!
//! It knows nothing of pools: the report of a pool and the crate's benches make their pages with it (a bench mounts this
//! directory by its path).
//!
//! # How a chart stays readable
//!
//! An SVG that is scaled to a phone has letters of four pixels. So each chart is drawn twice, for [`WIDE`] and for
//! [`NARROW`], with the same size of letters, and the style sheet shows the one that fits. The width of a text is
//! estimated ([`text_width`]), on the large side, since nobody is there to measure it.

pub(crate) mod bars;
mod html;
pub(crate) mod lines;
mod markdown;
pub(crate) mod scale;

pub(crate) use bars::{Bar, Bars, Group};
pub(crate) use lines::{Lines, Series};
pub(crate) use scale::{Axis, Unit};

/// The widths that charts are drawn for, in pixels.
pub(crate) const WIDE: f64 = 560.0;
pub(crate) const NARROW: f64 = 330.0;

/// The size of letters in charts, in pixels.
const FONT: f64 = 12.0;

/// How many colours there are for bars and curves.
pub(crate) const TONES: usize = 8;

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// One sentence below it.
    pub(crate) lead: String,
    /// What a reader should take away: a figure, and what it is.
    pub(crate) highlights: Vec<(String, String)>,
    pub(crate) sections: Vec<Section>,
    /// Where and when it was measured: name and value.
    pub(crate) facts: Vec<(String, String)>,
}

/// One heading, and what is below it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) text: String,
    /// Words that are used below, and what they mean.
    pub(crate) terms: Vec<(String, String)>,
    pub(crate) blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Bars(Bars),
    Lines(Lines),
    Table(Table),
}

/// Rows of text; the first column is the row's name, the others are set to the right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Section {
    pub(crate) fn new(title: &str, text: &str) -> Section {
        Section { title: title.to_owned(), text: text.to_owned(), ..Section::default() }
    }

    pub(crate) fn with(mut self, block: impl Into<Block>) -> Section {
        self.blocks.push(block.into());
        self
    }
}

impl From<Bars> for Block {
    fn from(bars: Bars) -> Block {
        Block::Bars(bars)
    }
}

impl From<Lines> for Block {
    fn from(lines: Lines) -> Block {
        Block::Lines(lines)
    }
}

impl From<Table> for Block {
    fn from(table: Table) -> Block {
        Block::Table(table)
    }
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Table {
        Table { head: head.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.to_vec());
    }
}

/// How wide a text is at most, in pixels. Two thirds of the letter's height is more than the average of any common font
/// without serifs.
fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * FONT * 0.64
}

/// The text, or as much of it as fits.
fn fitted(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let fits = (width / (FONT * 0.64)) as usize;
    text.chars().take(fits.saturating_sub(1)).chain(['…']).collect()
}

/// The text as HTML and SVG want it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write the others.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A text in a chart. `class`: of the style sheet; `anchor`: which of its ends lies at `x`.
fn label(out: &mut String, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
    let text = escaped(text);
    *out += &format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#);
}

/// A straight line in a chart.
fn rule(out: &mut String, from: (f64, f64), to: (f64, f64), class: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    *out += &format!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#);
}

/// An SVG of that size around its parts.
fn framed(width: f64, height: f64, name: &str, class: &str, parts: &str) -> String {
    let name = escaped(name);
    format!(
        r#"<svg class="{class}" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{name}" xmlns="http://www.w3.org/2000/svg">{parts}</svg>"#
    )
}
