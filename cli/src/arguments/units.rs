//! Sizes and ages as people write them.

use std::time::Duration;

/// `GB` is a thousand million bytes; `GiB` is 2^30, and `G` as well, as in the tools of GNU.
const SIZES: [(&str, u64); 14] = [
    ("", 1),
    ("B", 1),
    ("K", 1 << 10),
    ("KIB", 1 << 10),
    ("KB", 1_000),
    ("M", 1 << 20),
    ("MIB", 1 << 20),
    ("MB", 1_000_000),
    ("G", 1 << 30),
    ("GIB", 1 << 30),
    ("GB", 1_000_000_000),
    ("T", 1 << 40),
    ("TIB", 1 << 40),
    ("TB", 1_000_000_000_000),
];

const AGES: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: write for example 500MB, 10GiB or 0");
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let unit = unit.trim_start().to_uppercase();
    let scale = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    number.checked_mul(scale).ok_or_else(wrong)
}

/// A time that has passed.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no age: write for example 36h, 7d or 1w2d");
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = number_and_unit(rest).ok_or_else(wrong)?;
        let end = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let scale = AGES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
        let part = number.checked_mul(scale).ok_or_else(wrong)?;
        seconds = seconds.checked_add(part).ok_or_else(wrong)?;
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_that_they_are_written_with() {
        for (text, bytes) in [
            ("0", 0),
            ("7b", 7),
            ("500MB", 500_000_000),
            ("10 GiB", 10 << 30),
            ("2g", 2 << 30),
            ("1kB", 1_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1", "1.5GB", "1XB", "1GBx", "99999999TB"] {
            assert!(size(text).is_err_and(|error| error.contains("10GiB")), "{text}");
        }
    }

    #[test]
    fn ages_may_have_several_parts() {
        for (text, seconds) in [("0s", 0), ("90m", 5_400), ("7d", 604_800), ("1w2d", 777_600)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "7", "d", "7days", "-7d", "7d1", "99999999999999999999d", "999999999999999999w"] {
            assert!(age(text).is_err_and(|error| error.contains("7d")), "{text}");
        }
    }
}
