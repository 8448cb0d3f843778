//! When a policy runs: at the slots of a grid in UTC, so that replicas and restarts agree on them.

use std::{fmt, str::FromStr};

use time::{Duration, OffsetDateTime};

use crate::{TextError, quantities::whole};

/// `hourly`, `daily 03:00` or `every 6h`, in UTC. `every N` counts from midnight of 1970-01-01.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    /// Seconds from slot to slot.
    period: i64,
    /// Seconds from the epoch to a slot.
    offset: i64,
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Longest period, in days: a slip of the pen is longer.
const LONGEST_DAYS: i64 = 366;

impl Schedule {
    /// The last slot at or before `now`.
    pub fn latest(&self, now: OffsetDateTime) -> OffsetDateTime {
        let into = (now.unix_timestamp() - self.offset).rem_euclid(self.period);
        now.replace_nanosecond(0).unwrap_or(now) - Duration::seconds(into)
    }

    /// The first slot after `now`.
    pub fn next(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.latest(now) + Duration::seconds(self.period)
    }

    /// Whether a slot has come since `last`.
    pub fn due(&self, last: OffsetDateTime, now: OffsetDateTime) -> bool {
        last < self.latest(now)
    }
}

impl FromStr for Schedule {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (period, offset) = grid(text).ok_or_else(|| TextError::Schedule { text: text.to_owned() })?;
        Ok(Self { text: text.to_owned(), period, offset })
    }
}

fn grid(text: &str) -> Option<(i64, i64)> {
    let number = |digits: &str| whole(digits).and_then(|number| i64::try_from(number).ok());
    if text == "hourly" {
        return Some((HOUR, 0));
    }
    if let Some(time) = text.strip_prefix("daily ") {
        let (hour, minute) =
            time.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2)?;
        let (hour, minute) = (number(hour)?, number(minute)?);
        return (hour < 24 && minute < 60).then_some((DAY, hour * HOUR + minute * MINUTE));
    }
    let every = text.strip_prefix("every ")?;
    let (unit, seconds) =
        [('m', MINUTE), ('h', HOUR), ('d', DAY)].into_iter().find(|(unit, _)| every.ends_with(*unit))?;
    let period = number(every.strip_suffix(unit)?)?.checked_mul(seconds)?;
    (MINUTE..=LONGEST_DAYS * DAY).contains(&period).then_some((period, 0))
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    #[test]
    fn slots_stand_where_the_text_says() {
        let now = datetime!(2026-03-05 02:59:30 UTC);
        assert_eq!(schedule("daily 03:00").latest(now), datetime!(2026-03-04 03:00 UTC));
        assert_eq!(schedule("daily 03:00").next(now), datetime!(2026-03-05 03:00 UTC));
        assert_eq!(schedule("daily 02:59").latest(now), datetime!(2026-03-05 02:59 UTC));
        assert_eq!(schedule("hourly").latest(now), datetime!(2026-03-05 02:00 UTC));
        assert_eq!(schedule("every 6h").next(now), datetime!(2026-03-05 06:00 UTC));
        assert_eq!(schedule("every 15m").latest(now), datetime!(2026-03-05 02:45 UTC));
    }

    #[test]
    fn a_slot_is_due_once() {
        let daily = schedule("daily 03:00");
        let (before, after) = (datetime!(2026-03-05 02:59 UTC), datetime!(2026-03-05 03:01 UTC));
        assert!(!daily.due(datetime!(2026-03-04 03:00:01 UTC), before));
        assert!(daily.due(before, after));
        assert!(!daily.due(after, after + Duration::hours(23)));
        assert!(daily.due(after, after + Duration::hours(24)));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in [
            "",
            "daily",
            "daily 3:00",
            "daily 24:00",
            "daily 03:60",
            "every 0h",
            "every h",
            "every -1h",
            "every 400d",
            "Hourly",
            "daily 03:00 ",
            "every 6 h",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn a_slot_lies_within_one_period_and_on_the_grid(
            text in "(hourly|daily [01][0-9]:[0-5][0-9]|every [1-9][0-9]?[mhd])",
            seconds in -4_000_000_000_i64..4_000_000_000,
        ) {
            let schedule = schedule(&text);
            let now = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let (latest, next) = (schedule.latest(now), schedule.next(now));
            prop_assert!(latest <= now && now < next);
            prop_assert_eq!(schedule.latest(latest), latest);
            prop_assert_eq!(schedule.latest(next), next);
            prop_assert_eq!(schedule.to_string(), text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(daily |every )?\\PC{0,12}") {
            let _ = text.parse::<Schedule>();
        }
    }
}
