//! Lengths of time and numbers of bytes as people write them.

use std::{fmt, str::FromStr, time::Duration};

use crate::TextError;

/// A length of time in whole seconds, written as `90s`, `12h` or `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(u32);

const TIME_UNITS: [(&str, u32); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl Age {
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl FromStr for Age {
    type Err = TextError;

    /// Takes at most 136 years, more than any date here lies back.
    fn from_str(text: &str) -> Result<Self, TextError> {
        let read = || {
            let (number, seconds) =
                TIME_UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)))?;
            whole(number)?.checked_mul(seconds.into()).and_then(|seconds| u32::try_from(seconds).ok())
        };
        read().map(Self).ok_or_else(|| TextError::Age { text: text.to_owned() })
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, seconds) = TIME_UNITS
            .into_iter()
            .find(|(_, seconds)| self.0 != 0 && self.0.is_multiple_of(*seconds))
            .unwrap_or(("s", 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

/// A number of bytes, written as `1048576` or `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const BYTE_UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for ByteSize {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (number, unit) = BYTE_UNITS
            .iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), *bytes)))
            .unwrap_or((text, 1));
        whole(number)
            .and_then(|number| number.checked_mul(unit))
            // Stores count in signed numbers.
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or_else(|| TextError::ByteSize { text: text.to_owned() })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BYTE_UNITS.into_iter().find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes));
        match unit {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Digits and nothing else: `+5` is no number here.
pub(crate) fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_is_read() {
        let seconds = |text: &str| text.parse::<Age>().unwrap().duration().as_secs();
        assert_eq!((seconds("90s"), seconds("2m"), seconds("12h")), (90, 120, 43_200));
        assert_eq!((seconds("30d"), seconds("2w"), seconds("0s")), (2_592_000, 1_209_600, 0));
        let bytes = |text: &str| text.parse::<ByteSize>().unwrap().0;
        assert_eq!((bytes("0"), bytes("17"), bytes("3KiB")), (0, 17, 3072));
        assert_eq!((bytes("2 GiB"), bytes("1TiB")), (2 << 30, 1 << 40));
        for bad in ["", "d", "-1d", "+1d", "1", "1.5d", "1 y", "99999999999w", "1dd"] {
            assert!(bad.parse::<Age>().is_err(), "{bad:?} was taken");
        }
        for bad in ["", "GiB", "-1", "1GB", "1.5GiB", "9223372036854775808", "99999999TiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds: u32, bytes in 0..=i64::MAX as u64) {
            prop_assert_eq!(Age(seconds).to_string().parse(), Ok(Age(seconds)));
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
            let _ = (text.parse::<Age>(), text.parse::<ByteSize>());
        }
    }
}
