//! Horizontal bars in groups, all on one axis.

use super::{Axis, FONT, NARROW, framed, label, rule, text_width};
use super::{escaped, fitted};

const ROW: f64 = 18.0;
const BAR: f64 = 11.0;
/// Above a group's name, and between the groups.
const GAP: f64 = 10.0;
/// For an axis: ticks, title.
const FOOT: f64 = 42.0;
const MARGIN: f64 = 4.0;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) axis: Axis,
    pub(crate) groups: Vec<Group>,
}

/// Bars with a common name; an empty one stands for itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
}

/// One bar. Without a value, its text says why.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: Option<f64>,
    /// At its end.
    pub(crate) text: String,
    pub(crate) tone: usize,
}

impl Bars {
    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    /// The chart, so many pixels wide. On a narrow one the names stand above their bars.
    pub(super) fn svg(&self, width: f64, class: &str) -> String {
        let above = width <= NARROW;
        let longest = |texts: &mut dyn Iterator<Item = &str>| texts.map(text_width).fold(0.0, f64::max);
        let names = match above {
            true => 0.0,
            false => longest(&mut self.bars().map(|bar| &*bar.name)).min(width * 0.4) + 8.0,
        };
        let measured = self.bars().filter(|bar| bar.value.is_some());
        let texts = longest(&mut measured.map(|bar| &*bar.text)).min(width * 0.4) + 8.0;
        let scale = self.axis.over(self.bars().filter_map(|bar| bar.value), true);
        // The last tick's text may stick out by half.
        let ends = text_width("000 ms") / 2.0;
        let left = names.max(ends) + MARGIN;
        let span = width - left - texts.max(ends) - MARGIN;
        let row = if above { ROW + FONT + 2.0 } else { ROW };
        let named = self.groups.iter().filter(|group| !group.name.is_empty()).count() as f64;
        let count = self.bars().count() as f64;
        let bottom = MARGIN + named * (ROW + GAP) + count.max(1.0) * row + 4.0;

        let mut out = String::new();
        let ticks = scale.ticks(|text| (text_width(text) + 6.0) / span);
        for (at, text) in &ticks {
            label(&mut out, left + at * span, bottom + FONT + 2.0, "middle", "tick", text);
        }
        let title = fitted(&self.axis.title, width - 2.0 * MARGIN);
        let half = text_width(&title) / 2.0;
        let middle = (left + span / 2.0).min(width - MARGIN - half).max(MARGIN + half);
        label(&mut out, middle, bottom + FOOT - 12.0, "middle", "axis", &title);
        if count == 0.0 {
            label(&mut out, left + 6.0, MARGIN + FONT, "start", "none", "nothing yet");
        }
        let mut y = MARGIN;
        for group in &self.groups {
            if !group.name.is_empty() {
                y += GAP;
                label(&mut out, MARGIN, y + FONT, "start", "head", &fitted(&group.name, width * 0.93));
                y += ROW;
            }
            for bar in &group.bars {
                if above {
                    let name = fitted(&bar.name, width - 2.0 * MARGIN);
                    label(&mut out, MARGIN, y + FONT, "start", "name", &name);
                    y += FONT + 2.0;
                } else {
                    let name = fitted(&bar.name, names - 8.0);
                    label(&mut out, left - 8.0, y + FONT, "end", "name", &name);
                }
                // Piece by piece, so that no line runs through a name.
                for (at, _) in &ticks {
                    rule(&mut out, (left + at * span, y), (left + at * span, y + ROW), "grid");
                }
                bar.draw(&mut out, (left, span, width), y, bar.value.map(|value| scale.at(value)));
                rule(&mut out, (left, y), (left, y + ROW), "base");
                y += ROW;
            }
        }
        rule(&mut out, (left, bottom), (left + span, bottom), "base");
        framed(width, bottom + FOOT, &self.title, class, &out)
    }
}

impl Bar {
    fn draw(&self, out: &mut String, (left, span, width): (f64, f64, f64), y: f64, at: Option<f64>) {
        let Some(at) = at else {
            let text = fitted(&self.text, width - left - 8.0 - MARGIN);
            return label(out, left + 6.0, y + FONT, "start", "none", &text);
        };
        let (long, tone, top) = ((at * span).max(1.5), self.tone % super::TONES, y + (ROW - BAR) / 2.0);
        let hint = escaped(&format!("{}: {}", self.name, self.text));
        *out += &format!(
            r#"<rect x="{left:.1}" y="{top:.1}" width="{long:.1}" height="{BAR}" rx="2" class="t{tone}"><title>{hint}</title></rect>"#
        );
        let text = fitted(&self.text, width - left - long - 6.0 - MARGIN);
        label(out, left + long + 6.0, y + FONT, "start", "value", &text);
    }
}
