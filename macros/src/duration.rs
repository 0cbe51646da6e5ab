//! Durations as people write them: `"500ms"`, `"30s"`, `"1h30m"`.

/// The units, longest first, in nanoseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// The nanoseconds that `text` stands for, or what is wrong with it.
///
/// A duration is one or more whole numbers, each with its unit, longest unit first and none twice.
pub(crate) fn nanos(text: &str) -> Result<u64, String> {
    const FORM: &str = "write whole numbers with units, longest first: `500ms`, `30s`, `5m`, `1h30m`, `2d`";
    let invalid = |why: &str| format!("`{text}` is not a duration: {why}; {FORM}");

    let mut rest = text;
    let mut total = 0u64;
    // Units before this one are used up.
    let mut next = 0;
    while !rest.is_empty() {
        let (digits, tail) = split(rest, |c| c.is_ascii_digit());
        let (unit, tail) = split(tail, |c| !c.is_ascii_digit());
        if digits.is_empty() {
            return Err(invalid("a number is missing"));
        }
        if unit.is_empty() {
            return Err(invalid(&format!("`{digits}` has no unit")));
        }
        let index = UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| invalid(&format!("there is no unit `{unit}`")))?;
        if index < next {
            return Err(invalid(&format!("`{unit}` is out of order")));
        }
        next = index + 1;
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(UNITS[index].1))
            .and_then(|part| part.checked_add(total))
            .ok_or_else(|| invalid("it is longer than 584 years"))?;
        rest = tail;
    }
    match total {
        0 if text.is_empty() => Err(invalid("it is empty")),
        0 => Err(format!("`{text}` is zero; write a longer duration, or leave it out")),
        _ => Ok(total),
    }
}

/// The longest prefix of characters that are `wanted`, and what follows it.
fn split(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_people_write() {
        let second = 1_000_000_000;
        assert_eq!(nanos("500ms"), Ok(second / 2));
        assert_eq!(nanos("30s"), Ok(30 * second));
        assert_eq!(nanos("5m"), Ok(300 * second));
        assert_eq!(nanos("1h"), Ok(3600 * second));
        assert_eq!(nanos("2d"), Ok(172_800 * second));
        assert_eq!(nanos("1h30m"), Ok(5400 * second));
        assert_eq!(nanos("1d2h3m4s5ms"), Ok(93_784 * second + 5_000_000));
        assert_eq!(nanos("90m"), nanos("1h30m"));
        assert_eq!(nanos("0h1s"), Ok(second));
    }

    #[test]
    fn anything_else_says_why() {
        for (text, why) in [
            ("", "it is empty"),
            ("10", "`10` has no unit"),
            ("1h30", "`30` has no unit"),
            ("h", "a number is missing"),
            ("-1s", "a number is missing"),
            (" 1s", "a number is missing"),
            ("1.5h", "there is no unit `.`"),
            ("1h 30m", "there is no unit `h `"),
            ("1 hour", "there is no unit ` hour`"),
            ("1H", "there is no unit `H`"),
            ("30m1h", "`h` is out of order"),
            ("1s1s", "`s` is out of order"),
            ("1µs", "there is no unit `µs`"),
            ("300000d", "it is longer than 584 years"),
            ("99999999999999999999s", "it is longer than 584 years"),
        ] {
            let error = nanos(text).expect_err(text);
            assert!(error.contains(why), "{text:?} gave {error}");
            assert!(error.contains("500ms"), "no remedy in {error}");
        }
        for zero in ["0s", "0h0m"] {
            assert_eq!(
                nanos(zero),
                Err(format!("`{zero}` is zero; write a longer duration, or leave it out"))
            );
        }
    }
}
