//! How long the parts of a multipart upload are. S3 takes 10,000 parts of 5 MiB to 5 GiB and objects of 5 TiB
//! ("Amazon S3 multipart upload limits", Amazon S3 user guide); GCS and Azure take no less.
//!
//! A part is held in memory until it is stored, so parts begin small and double every thousand: a blob of 8 GiB
//! never has a part of more than 8 MiB, one of 120 GiB none of more than 64 MiB.

/// Least length of every part but the last, in bytes.
pub(super) const SMALLEST: usize = 5 << 20;

/// Most parts of one upload.
pub(super) const MOST_PARTS: usize = 10_000;

/// The length of the first parts: little enough to be held for many uploads, enough that a request for each is
/// no cost.
const FIRST: usize = 8 << 20;

/// Parts after which the length doubles.
const STEP: usize = 1_000;

/// Longest part, in bytes, unless memory says less: the eighth step, at which 10,000 parts are more than 5 TiB.
const LONGEST: usize = FIRST << (MOST_PARTS / STEP - 1);

/// Most parts that a writer begins beyond those it knows to be recorded. A record follows every 64 MiB, which is 13
/// parts at most, and one may be under way while the next is due.
const UNRECORDED: usize = 32;

/// The lengths of one store's parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartPlan {
    /// Least length of every part but the last.
    pub(super) smallest: usize,
    first: usize,
    longest: usize,
    /// Most parts that a writer begins beyond those it knows to be recorded.
    pub(super) unrecorded: usize,
}

impl PartPlan {
    /// The plan of a store that may hold `part` bytes of one part in memory.
    pub(super) fn within(part: usize) -> Self {
        Self { smallest: SMALLEST, first: FIRST, longest: part.clamp(FIRST, LONGEST), unrecorded: UNRECORDED }
    }

    /// A plan of short parts, for tests of stores that take them.
    #[cfg(any(test, feature = "suite"))]
    pub(super) fn short(smallest: usize, first: usize, unrecorded: usize) -> Self {
        Self { smallest, first, longest: first, unrecorded }
    }

    /// The length of part `index`, counted from 0.
    pub(super) fn length(self, index: usize) -> usize {
        (self.first << (index / STEP).min(MOST_PARTS / STEP)).min(self.longest)
    }

    /// The length of the longest blob, in bytes.
    pub(super) fn longest_blob(self) -> u64 {
        (0..MOST_PARTS).map(|index| self.length(index) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_are_enough_for_the_largest_object() {
        let plan = PartPlan::within(usize::MAX);
        assert!(plan.longest_blob() >= 5 << 40, "{}", plan.longest_blob());
        assert!(plan.length(MOST_PARTS - 1) <= 5 << 30, "S3 takes no longer part");
        let mut before = 0;
        for index in 0..MOST_PARTS {
            let length = plan.length(index);
            assert!(length >= SMALLEST && length >= before);
            before = length;
        }
        let first: u64 = (0..STEP).map(|index| plan.length(index) as u64).sum();
        assert_eq!(first, 8_000 << 20);
    }

    #[test]
    fn memory_bounds_the_parts() {
        let plan = PartPlan::within(64 << 20);
        assert!((0..MOST_PARTS).all(|index| plan.length(index) <= 64 << 20));
        assert!(plan.longest_blob() > 400 << 30);
        assert_eq!(PartPlan::within(0).length(MOST_PARTS - 1), FIRST, "no part is shorter than a part");
    }
}
