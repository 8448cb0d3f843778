//! `Range` and `Content-Range`: what is served lies within the content. The first line is a length.

use http::HeaderMap;
use registry_http::fuzzing::content_range;
use registry_types::{ByteRange, ContentRange};

pub(crate) fn run(input: &[u8]) {
    let (length, value) = super::first_line(input);
    let length: u64 = super::text(length).trim().parse().unwrap_or(1 << 20);
    let value_text = super::text(value);
    if let Ok(range) = ByteRange::parse(&value_text, length) {
        assert!(range.start <= range.last && range.last < length, "{value_text:?} of {length}: {range:?}");
        assert!((1..=length).contains(&range.len()));
    }
    if let Some(range) = ContentRange::parse(&value_text) {
        assert!(range.start <= range.last && range.last < u64::MAX, "{value_text:?}: {range:?}");
        assert_eq!(ContentRange::parse(&format!("{}-{}", range.start, range.last)), Some(range));
    }
    let Ok(value) = http::HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_RANGE, value);
    headers.insert(http::header::CONTENT_LENGTH, length.into());
    if let Some(Some(range)) = content_range(&headers) {
        assert!(length == 0 || range.last - range.start + 1 == length);
    }
}
