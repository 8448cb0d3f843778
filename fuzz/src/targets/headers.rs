//! Headers of a request, one a line: what is asked for, what is there already, what is refused unseen.

use http::header;
use registry_http::fuzzing::{content_range, is_acceptable, wants};
use registry_types::{Digest, MediaType};

pub(crate) fn run(input: &[u8]) {
    let headers = super::header_map(input);
    let digest = Digest::sha256(b"");
    let (wanted, not_modified) = wants(&headers, &MediaType::known(MediaType::OCI_INDEX), &digest);
    assert!(wanted || headers.contains_key(header::ACCEPT), "a missing header accepts everything");
    assert!(!not_modified || headers.contains_key(header::IF_NONE_MATCH));
    if is_acceptable(&headers)
        && let Some(host) = headers.get(header::HOST)
    {
        // It may end up within quotes in a challenge.
        let harmful = |byte: &u8| matches!(byte, b'"' | b'\\' | b'<' | b'>') || byte.is_ascii_whitespace();
        assert!(!host.as_bytes().iter().any(harmful), "{host:?}");
    }
    assert!(content_range(&headers) != Some(None) || !headers.contains_key(header::CONTENT_RANGE));
}
