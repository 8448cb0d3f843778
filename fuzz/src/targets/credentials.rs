//! A value of `Authorization`: name and password by Basic, or a token.

use data_encoding::BASE64;
use http::HeaderValue;
use registry_http::fuzzing::{basic_credentials, bearer};

pub(crate) fn run(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    let token = bearer(&value);
    assert!(token.is_none_or(|token| token.trim() == token && token.is_ascii()));
    let Some((name, password)) = basic_credentials(&value) else { return };
    assert!(token.is_none(), "a password is no token");
    assert!(!name.contains(':'), "the first colon ends a name");
    let again = format!("Basic {}", BASE64.encode(format!("{name}:{password}").as_bytes()));
    let again = HeaderValue::from_str(&again).expect("base64 is a header value");
    assert_eq!(basic_credentials(&again), Some((name, password)));
}
