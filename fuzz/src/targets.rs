//! One module for each target, and how they cut their input.

pub(crate) mod answer;
pub(crate) mod claims;
pub(crate) mod credentials;
pub(crate) mod headers;
pub(crate) mod manifest;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod range;
pub(crate) mod scope;
pub(crate) mod token;
pub(crate) mod token_request;

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::Value;

/// The first line, and what is behind it.
fn first_line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[]),
    }
}

/// Text of any bytes: a fuzzer that hits no UTF-8 has not wasted its turn.
fn text(input: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(input)
}

/// JSON as a plain reader has it, of a text that was taken. `None` where numbers beyond that reader's range, or too
/// many levels, stand in a part that nobody looks at: by the grammar it is JSON all the same.
fn plain_reading(json: &[u8]) -> Option<Value> {
    assert!(serde_json::from_slice::<IgnoredAny>(json).is_ok(), "what was taken is no JSON");
    serde_json::from_slice(json).ok()
}

/// Lines of `name: value`; those that HTTP would not let through are left out.
fn header_map(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(32) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}
