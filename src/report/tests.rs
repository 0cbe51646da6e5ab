use std::time::{Duration, UNIX_EPOCH};

use super::machine;
use super::page::{Axis, Unit};

/// When it fails: "1000 ns", "1.00e3 ms", or a figure without its unit.
#[test]
fn figures_have_three_digits_and_a_unit() {
    let time = [
        (0.0, "0 ns"),
        (0.4, "0.4 ns"),
        (999.4, "999 ns"),
        (999.6, "1 µs"),
        (12_345.0, "12.3 µs"),
        (2e9, "2 s"),
    ];
    for (value, text) in time {
        assert_eq!(Unit::Time.text(value), text);
    }
    assert_eq!(Unit::Bytes.text(1536.0), "1.5 KiB");
    assert_eq!(Unit::Bytes.text(1_048_576.0), "1 MiB");
    assert_eq!(Unit::Count.text(1_250_000.0), "1.25 M");
    assert_eq!(Unit::Percent.text(99.96), "100 %");
    assert_eq!(Unit::Time.text(f64::NAN), "–");
}

/// When it fails: a bar or a point lies outside of its chart, or an axis has no ticks.
#[test]
fn axes_hold_what_is_on_them() {
    for unit in [Unit::Time, Unit::Bytes, Unit::Count] {
        for axis in [Axis::log("a", unit), Axis::linear("a", unit)] {
            let few = [vec![], vec![0.0], vec![f64::NAN, -1.0], vec![1.0], vec![1000.0, 1000.0]];
            let many = [vec![3.0, 4.0], vec![0.5, 5e12], vec![1024.0, 1_048_576.0], vec![17.0; 9]];
            for values in few.into_iter().chain(many) {
                let scale = axis.over(values.iter().copied(), true);
                let ticks = scale.ticks(|_| 0.01);
                assert!(ticks.len() >= 2, "{axis:?} {values:?} {ticks:?}");
                assert!(ticks.iter().all(|(at, _)| (0.0..=1.0).contains(at)));
                assert!(ticks.windows(2).all(|pair| pair[0].1 != pair[1].1), "{values:?} {ticks:?}");
                let high = values.iter().copied().fold(f64::NAN, f64::max);
                if high > 0.0 {
                    assert!(scale.at(high) > 0.0 && scale.at(high / 2.0) < scale.at(high));
                }
            }
        }
    }
}

/// When it fails: a report says that it was made on another day.
#[test]
fn dates_are_those_of_the_calendar() {
    let date = |seconds| machine::date(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(date(0), "1970-01-01T00:00:00Z");
    assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(date(1_798_761_599), "2026-12-31T23:59:59Z");
    assert_eq!(date(4_107_542_400), "2100-03-01T00:00:00Z");
}
