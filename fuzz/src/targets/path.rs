//! The target of a request line: a path means one thing or nothing, and never climbs.

use http::Uri;
use registry_http::fuzzing::path;

pub(crate) fn run(input: &[u8]) {
    check(&super::text(input));
    // As the HTTP server reads it.
    if let Ok(uri) = Uri::try_from(input) {
        check(uri.path());
    }
}

fn check(text: &str) {
    let Some(canonical) = path(text) else { return };
    assert_eq!(path(&canonical).as_deref(), Some(canonical.as_str()), "{text:?} means two things");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:".contains(&byte);
    assert!(canonical.bytes().all(is_plain), "{text:?} gave {canonical:?}");
    let parts: Vec<&str> = canonical.split('/').collect();
    let empty = parts.iter().filter(|part| part.is_empty()).count();
    // Before the first slash, and behind the last one of an uploads path or of the base.
    assert!(empty <= 1 + usize::from(canonical.ends_with('/')), "{text:?} gave {canonical:?}");
    // A tag begins with no dot, and neither does a part of a name.
    assert!(!parts.iter().any(|part| part.starts_with('.')), "{text:?} gave {canonical:?}");
}
