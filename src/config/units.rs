//! Durations such as `30s` and sizes such as `16MiB`.

use std::time::Duration;

/// Units of a duration, in milliseconds.
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Units of a size, in bytes; none is bytes.
const SIZES: [(&str, u64); 5] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// A whole number with a unit: `500ms`, `30s`, `5m`, `1h`. Zero needs one, too.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &TIMES).map(Duration::from_millis)
}

/// A whole number of bytes, or of `KiB`, `MiB`, `GiB`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// The largest unit that divides it, as [`parse_duration`] reads it.
pub(super) fn format_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    format(
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        &TIMES,
    )
}

/// The largest unit that divides it, as [`parse_size`] reads it.
pub(super) fn format_size(bytes: u64) -> String {
    format(bytes, &SIZES)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units
        .iter()
        .find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn format(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |&&(name, factor): &&(&str, u64)| name != "B" && amount.is_multiple_of(factor);
    let (name, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{name}", amount / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("2 s", Some(2000)),
            ("30", None),
            ("", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("1d", None),
            ("1H", None),
            ("1h30m", None),
            ("99999999999999999h", None),
        ] {
            assert_eq!(
                parse_duration(text),
                millis.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("1B", Some(1)),
            ("64KiB", Some(65_536)),
            ("16MiB", Some(16_777_216)),
            ("2 GiB", Some(2_147_483_648)),
            ("16MB", None),
            ("16M", None),
            ("16mib", None),
            ("MiB", None),
            ("1.5MiB", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for text in ["0s", "1ms", "1500ms", "90s", "1h", "24h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["1", "1KiB", "1000", "1536KiB", "1GiB"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
    }
}
