//! When to try again: after a pause that doubles, with some chance in it so that many clients do not come back
//! at once, or when the registry says (`Retry-After`, RFC 9110 section 10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// Longest pause between two tries. A registry that asks for more is busy for longer than a build should wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// How often a request is sent again after its first failure.
    pub(crate) retries: u32,
    /// The first pause.
    pub(crate) pause: Duration,
}

impl RetryPolicy {
    /// The pause before try number `attempt` (from 1), or `None` when there are no more tries.
    pub(crate) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt > self.retries {
            return None;
        }
        if let Some(asked) = asked {
            return (asked <= LONGEST_PAUSE).then_some(asked);
        }
        let doubled = self.pause.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_PAUSE);
        Some(doubled.mul_f64(rand::random_range(0.5..1.0)))
    }
}

/// The pause that an answer asks for.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    parse_retry_after(headers.get(header::RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 10:00:00 GMT").unwrap();
        let read = |text| parse_retry_after(text, now);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Tue, 24 Nov 2026 10:00:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(read("Tue, 24 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn pauses_grow_and_end() {
        let policy = RetryPolicy { retries: 3, pause: Duration::from_millis(100) };
        for (attempt, most) in [(1, 100), (2, 200), (3, 400)] {
            let pause = policy.pause(attempt, None).unwrap();
            assert!(pause >= Duration::from_millis(most / 2) && pause <= Duration::from_millis(most));
        }
        assert_eq!(policy.pause(4, None), None);
        assert_eq!(policy.pause(1, Some(Duration::from_secs(2))), Some(Duration::from_secs(2)));
        assert_eq!(policy.pause(1, Some(Duration::from_secs(3600))), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*") {
            let _ = parse_retry_after(&text, SystemTime::UNIX_EPOCH);
        }
    }
}
