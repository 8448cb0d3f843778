//! Durations as Go writes and reads them, since the image config holds nanoseconds and its history holds the text.

/// Nanoseconds of each unit, in the spelling of Go's `time.ParseDuration`.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads `1h30m`, `1.5s`, `300ms`, `-2s` or `0` as nanoseconds; `None` when it is no duration or does not fit.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?.checked_add(fraction_of(fraction, scale))?;
        rest = next;
    }
    let total = i64::try_from(total).ok()?;
    Some(if negative { -total } else { total })
}

/// `0.<digits>` of a unit, rounded down.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let mut divisor: u128 = 1;
    let mut value: u128 = 0;
    // Beyond eighteen digits a fraction of an hour is below a nanosecond.
    for digit in digits.bytes().take(18) {
        divisor *= 10;
        value = value * 10 + u128::from(digit - b'0');
    }
    (value * u128::from(scale) / divisor) as u64
}

/// Writes nanoseconds as Go's `Duration.String` does: `1h30m0s`, `1.5s`, `300ms`, `0s`.
pub fn format_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let value = nanoseconds.unsigned_abs();
    match value {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{value}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(value, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(value, 6)),
        _ => {
            let seconds = decimal(value % 60_000_000_000, 9);
            let minutes = value / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value` divided by a power of ten, without trailing zeros.
fn decimal(value: u64, places: usize) -> String {
    let scale = 10_u64.pow(places as u32);
    let fraction = format!("{:0places$}", value % scale);
    let fraction = fraction.trim_end_matches('0');
    let whole = value / scale;
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        assert_eq!(parse_duration("30s"), Some(30_000_000_000));
        assert_eq!(parse_duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_duration("1.5s"), Some(1_500_000_000));
        assert_eq!(parse_duration(".5ms"), Some(500_000));
        assert_eq!(parse_duration("-2us"), Some(-2_000));
        assert_eq!(parse_duration("0"), Some(0));
        for bad in ["", "-", "5", "s", ".s", "1x", "1h5", "99999999999h", "1..5s", "+"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn writes_what_go_writes() {
        for (value, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (1_500_000_000, "1.5s"),
            (300_000_000_000, "5m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (-30_000_000_000, "-30s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format_duration(value), text);
        }
    }
}
