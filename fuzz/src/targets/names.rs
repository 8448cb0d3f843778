//! Names of all kinds: what is taken is printed as it was written, and what is printed is taken again.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use registry_types::{
    AccountName, Digest, ImageReference, MediaType, PathPattern, Reference, RegistryHost, RepositoryName,
    Tag, UploadId,
};

pub(crate) fn run(input: &[u8]) {
    let text = super::text(input);
    for line in text.lines().take(8) {
        if let Some(reference) = again::<ImageReference>(line) {
            let _ = (reference.reference(), reference.name(), reference.registry.port());
        }
        if let Some(name) = again::<RepositoryName>(line) {
            assert_eq!(name.as_str(), line);
            assert!(name.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
        }
        for printed in [
            again::<Tag>(line).map(|tag| tag.to_string()),
            again::<RegistryHost>(line).map(|host| host.to_string()),
            again::<AccountName>(line).map(|name| name.to_string()),
            again::<PathPattern>(line).map(|pattern| pattern.to_string()),
        ] {
            assert!(printed.is_none_or(|printed| printed == line));
        }
        if let Some(digest) = again::<Digest>(line) {
            assert_eq!(digest.to_string(), line);
        }
        let _ = (again::<Reference>(line), again::<MediaType>(line), again::<UploadId>(line));
    }
}

fn again<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let again = value.to_string().parse::<T>().ok();
    assert_eq!(again.as_ref(), Some(&value), "{text:?} is printed as {value}");
    Some(value)
}
