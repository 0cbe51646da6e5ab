//! Units and axes: how a figure reads, and where the ticks of an axis go.

/// What a figure counts. Times are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Time,
    Bytes,
    Count,
    Percent,
}

impl Unit {
    /// The figure with its unit, three digits long.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Unit::Time => scaled(value, &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")]),
            Unit::Bytes => scaled(
                value,
                &[(1_073_741_824.0, " GiB"), (1_048_576.0, " MiB"), (1024.0, " KiB"), (1.0, " B")],
            ),
            Unit::Count => scaled(value, &[(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")]),
            Unit::Percent => format!("{} %", digits(value)),
        }
    }

    /// What one step of a linear axis should be a round multiple of.
    fn grain(self, span: f64) -> f64 {
        match self {
            Unit::Bytes => {
                [1_073_741_824.0, 1_048_576.0, 1024.0].into_iter().find(|unit| span >= *unit).unwrap_or(1.0)
            }
            _ => 1.0,
        }
    }

    /// The factor between ticks of a logarithmic axis.
    fn base(self) -> f64 {
        if self == Unit::Bytes { 32.0 } else { 10.0 }
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    // What would be rounded up to 1000 of a unit is 1 of the next.
    let fits = |(size, _): &&(f64, &str)| value.abs() >= size * 0.9995;
    let (size, name) = units.iter().find(fits).or(units.last()).copied().unwrap_or((1.0, ""));
    format!("{}{name}", digits(value / size))
}

/// Three digits, without what says nothing.
fn digits(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// An axis: what it shows, in which unit, and how.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// What it shows, with its unit where the ticks don't say it.
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) log: bool,
}

impl Axis {
    pub(crate) fn log(title: &str, unit: Unit) -> Axis {
        Axis { title: format!("{title} (logarithmic)"), unit, log: true }
    }

    pub(crate) fn linear(title: &str, unit: Unit) -> Axis {
        Axis { title: title.to_owned(), unit, log: false }
    }

    /// The axis over these values: what can't be on it (none, or not above zero on a logarithmic one) is left out. With
    /// `room`, the lowest is not at the very end: its bar is to be seen.
    pub(crate) fn over(&self, values: impl IntoIterator<Item = f64>, room: bool) -> Scale {
        let fits = |value: &f64| value.is_finite() && (!self.log || *value > 0.0);
        let (low, high) = values
            .into_iter()
            .filter(fits)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        match (self.log, low <= high) {
            (true, true) if room => self.decades(low * 0.8, high),
            (true, true) => self.decades(low * 1.001, high),
            (true, false) => self.decades(1.0, 10.0),
            (false, true) => self.steps(high.max(low)),
            (false, false) => self.steps(1.0),
        }
    }

    fn decades(&self, low: f64, high: f64) -> Scale {
        let base = self.unit.base();
        let (mut from, mut to) = (low.log(base).floor(), (high * 0.999).log(base).ceil());
        if to <= from {
            (from, to) = (from, from + 1.0);
        }
        let mut ticks: Vec<f64> = (from as i32..=to as i32).map(|n| base.powi(n)).collect();
        if ticks.len() <= 2 && base == 10.0 {
            ticks = [1.0, 2.0, 5.0, 10.0].map(|n| n * ticks[0]).to_vec();
        }
        Scale { unit: self.unit, log: true, low: base.powf(from), high: base.powf(to), ticks }
    }

    fn steps(&self, high: f64) -> Scale {
        let high = match self.unit {
            Unit::Percent => 100.0,
            _ if high > 0.0 => high,
            _ => 1.0,
        };
        let grain = self.unit.grain(high);
        let rough = high / grain / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|n| n * power >= rough).unwrap_or(10.0);
        let step = step * power * grain;
        let count = (high / step - 1e-9).ceil().max(1.0);
        let ticks = (0..=count as usize).map(|n| n as f64 * step).collect();
        Scale { unit: self.unit, log: false, low: 0.0, high: count * step, ticks }
    }
}

/// An axis over certain values.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    unit: Unit,
    log: bool,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Scale {
    /// Where a value lies, from 0 at the low end to 1.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let at = match self.log {
            true if value <= 0.0 => 0.0,
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        if at.is_finite() { at.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Where its ticks lie, and what they say: as many as have room, if one needs `room` of the whole.
    pub(crate) fn ticks(&self, room: impl Fn(&str) -> f64) -> Vec<(f64, String)> {
        let all: Vec<_> = self.ticks.iter().map(|value| (self.at(*value), self.unit.text(*value))).collect();
        let mut step = 1;
        while step < all.len() {
            let shown: Vec<_> = all.iter().step_by(step).collect();
            let fits = |pair: &[&(f64, String)]| {
                pair[1].0 - pair[0].0 >= (room(&pair[0].1) + room(&pair[1].1)) / 2.0
            };
            if shown.windows(2).all(fits) {
                break;
            }
            step += 1;
        }
        all.into_iter().step_by(step).collect()
    }
}
