//! Durations, counted into fixed buckets.

use std::time::Duration;

use super::Count;

/// Upper bounds of the buckets, in seconds: from a cached manifest to a layer that takes minutes.
pub(super) const BOUNDS: [f64; 16] = [
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
    60.0,
    600.0,
    // The exposition writes it as +Inf.
    f64::MAX,
];

#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Count; BOUNDS.len()],
    microseconds: Count,
}

impl Histogram {
    pub(super) fn add(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len() - 1);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.add(1);
        }
        self.microseconds.add(duration.as_micros() as u64);
    }

    /// The sum in seconds, and each bucket with its own count.
    pub(super) fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let counts = BOUNDS.iter().zip(&self.buckets).map(|(bound, count)| (*bound, count.get())).collect();
        (self.microseconds.get() as f64 / 1e6, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for microseconds in [0, 500, 501, 1_000_000, 4_000_000_000] {
            histogram.add(Duration::from_micros(microseconds));
        }
        let (sum, counts) = histogram.read();
        let filled: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0005, 2), (0.001, 1), (1.0, 1), (f64::MAX, 1)]);
        assert!((sum - 4_001.001_001).abs() < 1e-9, "{sum}");
    }
}
