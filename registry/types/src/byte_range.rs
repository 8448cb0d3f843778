//! Byte ranges: `Range` on a pull (RFC 9110 section 14) and `Content-Range` on a chunked push, whose form the
//! distribution specification sets to `<first>-<last>` ("Pushing a blob in chunks").

/// Why a range is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeError {
    /// Not a single byte range: RFC 9110 lets a server ignore the header and send the whole.
    Ignored,
    /// No byte of it exists: answer 416 with the whole length.
    Unsatisfiable,
}

/// A satisfiable range of some content: `start <= last < length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset of the last byte.
    pub last: u64,
}

impl ByteRange {
    /// Number of bytes; never zero.
    #[expect(clippy::len_without_is_empty, reason = "a range holds at least one byte")]
    pub fn len(self) -> u64 {
        self.last - self.start + 1
    }

    /// The whole of `length` bytes; `None` for empty content.
    pub fn whole(length: u64) -> Option<Self> {
        length.checked_sub(1).map(|last| Self { start: 0, last })
    }

    /// Reads a `Range` header against content of `length` bytes. Several ranges in one header are not served.
    pub fn parse(header: &str, length: u64) -> Result<Self, RangeError> {
        let (unit, spec) = header.split_once('=').ok_or(RangeError::Ignored)?;
        if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
            return Err(RangeError::Ignored);
        }
        let (first, last) = spec.trim().split_once('-').ok_or(RangeError::Ignored)?;
        let number = |text: &str| {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(RangeError::Ignored);
            }
            // A number past u64 is past every blob's end.
            Ok(text.parse::<u64>().unwrap_or(u64::MAX))
        };
        if first.is_empty() {
            let suffix = number(last)?;
            if suffix == 0 || length == 0 {
                return Err(RangeError::Unsatisfiable);
            }
            return Ok(Self { start: length.saturating_sub(suffix), last: length - 1 });
        }
        let start = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        // RFC 9110 calls last < start invalid and lets a server ignore it; the official suite wants 416.
        if last < start || start >= length {
            return Err(RangeError::Unsatisfiable);
        }
        Ok(Self { start, last: last.min(length - 1) })
    }
}

/// The `Content-Range` of a chunk: offsets of its first and last byte within the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    pub start: u64,
    pub last: u64,
}

impl ContentRange {
    /// Reads `<first>-<last>`, and the form `bytes <first>-<last>/<length or *>` that some clients send.
    pub fn parse(header: &str) -> Option<Self> {
        let text = header.trim();
        let text = text.strip_prefix("bytes ").or_else(|| text.strip_prefix("bytes=")).unwrap_or(text);
        let text = text.split('/').next()?.trim();
        let (start, last) = text.split_once('-')?;
        let number = |text: &str| {
            (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse::<u64>().ok())
                .flatten()
        };
        let range = Self { start: number(start)?, last: number(last)? };
        // `0-0` is also what an empty chunk says, so `last == start` is fine and `last < start` is not.
        (range.start <= range.last && range.last < u64::MAX).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_ranges_are_read() {
        let range = |start, last| Ok(ByteRange { start, last });
        assert_eq!(ByteRange::parse("bytes=0-4", 10), range(0, 4));
        assert_eq!(ByteRange::parse("bytes=5-", 10), range(5, 9));
        assert_eq!(ByteRange::parse("bytes=-3", 10), range(7, 9));
        assert_eq!(ByteRange::parse("bytes=-30", 10), range(0, 9));
        assert_eq!(ByteRange::parse("bytes=8-99999999999999999999", 10), range(8, 9));
        assert_eq!(ByteRange::parse("bytes=10-", 10), Err(RangeError::Unsatisfiable));
        assert_eq!(ByteRange::parse("bytes=0-0", 0), Err(RangeError::Unsatisfiable));
        assert_eq!(ByteRange::parse("bytes=4-2", 10), Err(RangeError::Unsatisfiable));
        assert_eq!(ByteRange::parse("bytes=-0", 10), Err(RangeError::Unsatisfiable));
        for ignored in ["", "bytes", "bytes=", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2"] {
            assert_eq!(ByteRange::parse(ignored, 10), Err(RangeError::Ignored), "{ignored}");
        }
    }

    #[test]
    fn both_forms_of_a_chunk_range_are_read() {
        let range = Some(ContentRange { start: 3, last: 9 });
        assert_eq!(ContentRange::parse("3-9"), range);
        assert_eq!(ContentRange::parse("bytes 3-9/*"), range);
        for bad in ["", "3", "-", "9-3", "a-b", "-3", "3-", "0-18446744073709551615"] {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_served_range_lies_within_the_content(header in "bytes=[0-9]{0,22}-[0-9]{0,22}", length in any::<u64>()) {
            if let Ok(range) = ByteRange::parse(&header, length) {
                prop_assert!(range.start <= range.last && range.last < length);
            }
        }

        #[test]
        fn parsing_never_panics(text in ".*", length in any::<u64>()) {
            let _ = ByteRange::parse(&text, length);
            let _ = ContentRange::parse(&text);
        }
    }
}
