//! Curves over a common axis, with a legend below.

use super::{Axis, FONT, escaped, fitted, framed, label, rule, text_width};

const HEIGHT: f64 = 210.0;
const ROW: f64 = 18.0;
const MARGIN: f64 = 4.0;
/// Above the plot, for the title of the upright axis.
const TOP: f64 = 26.0;
/// Below it: ticks, title.
const FOOT: f64 = 42.0;
/// The sample of a curve in the legend, with what is around it.
const SAMPLE: f64 = 26.0;
/// With more points than that, a curve shows no dots.
const DOTS: usize = 24;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// One curve, its points in order of x.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) tone: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Lines {
    /// The chart, so many pixels wide.
    pub(super) fn svg(&self, width: f64, class: &str) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (x, y) =
            (self.x.over(points().map(|at| at.0), false), self.y.over(points().map(|at| at.1), false));
        let rows = y.ticks(|_| (FONT + 6.0) / HEIGHT);
        let left = rows.iter().map(|(_, text)| text_width(text)).fold(0.0, f64::max) + 8.0 + MARGIN;
        let right = width - MARGIN - text_width("000 ms") / 2.0;
        let (span, bottom) = (right - left, TOP + HEIGHT);

        let mut out = String::new();
        label(&mut out, MARGIN, FONT + 2.0, "start", "axis", &fitted(&self.y.title, width - 2.0 * MARGIN));
        for (at, text) in rows {
            let y = bottom - at * HEIGHT;
            rule(&mut out, (left, y), (right, y), "grid");
            label(&mut out, left - 6.0, y + FONT / 3.0, "end", "tick", &text);
        }
        for (at, text) in x.ticks(|text| (text_width(text) + 6.0) / span) {
            let x = left + at * span;
            rule(&mut out, (x, TOP), (x, bottom), "grid");
            label(&mut out, x, bottom + FONT + 4.0, "middle", "tick", &text);
        }
        rule(&mut out, (left, bottom), (right, bottom), "base");
        let title = fitted(&self.x.title, width - 2.0 * MARGIN);
        let half = text_width(&title) / 2.0;
        let middle = (left + span / 2.0).min(width - MARGIN - half).max(MARGIN + half);
        label(&mut out, middle, bottom + FOOT - 8.0, "middle", "axis", &title);
        for (n, series) in self.series.iter().enumerate() {
            let place = |at: &(f64, f64)| (left + x.at(at.0) * span, bottom - y.at(at.1) * HEIGHT);
            let shown: Vec<_> =
                series.points.iter().filter(|at| at.0.is_finite() && at.1.is_finite()).collect();
            let hint = |at: &(f64, f64)| {
                escaped(&format!("{}: {} at {}", series.name, self.y.unit.text(at.1), self.x.unit.text(at.0)))
            };
            series.draw(&mut out, n, &shown.iter().map(|at| (place(at), hint(at))).collect::<Vec<_>>());
        }
        if points().next().is_none() {
            label(&mut out, left + 10.0, TOP + HEIGHT / 2.0 - 10.0, "start", "none", "nothing yet");
        }
        let bottom = self.legend(&mut out, width, bottom + FOOT);
        framed(width, bottom + MARGIN, &self.title, class, &out)
    }

    /// Names the curves from `top` on; returns where that ends.
    fn legend(&self, out: &mut String, width: f64, top: f64) -> f64 {
        let (mut x, mut y) = (MARGIN, top);
        for (n, series) in self.series.iter().enumerate() {
            let name = fitted(&series.name, width - SAMPLE - 2.0 * MARGIN);
            let long = SAMPLE + text_width(&name);
            if x > MARGIN && x + long > width - MARGIN {
                (x, y) = (MARGIN, y + ROW);
            }
            let (tone, dash) = (series.tone % super::TONES, n % 4);
            rule(out, (x, y + 8.0), (x + 20.0, y + 8.0), &format!("s{tone} d{dash}"));
            label(out, x + SAMPLE, y + FONT, "start", "name", &name);
            x += long + 12.0;
        }
        y + ROW
    }
}

impl Series {
    /// `n`: which one it is, so that curves differ by more than their colour.
    fn draw(&self, out: &mut String, n: usize, points: &[((f64, f64), String)]) {
        let (tone, dash) = (self.tone % super::TONES, n % 4);
        let path: Vec<String> = points.iter().map(|((x, y), _)| format!("{x:.1},{y:.1}")).collect();
        if points.len() > 1 {
            *out += &format!(r#"<polyline points="{}" class="s{tone} d{dash}"/>"#, path.join(" "));
        }
        if points.len() <= DOTS {
            for ((x, y), hint) in points {
                *out += &format!(
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" class="t{tone}"><title>{hint}</title></circle>"#
                );
            }
        }
    }
}
