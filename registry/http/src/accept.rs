//! The `Accept` header of a manifest request (RFC 9110 section 12.5.1). A missing header accepts everything.

use http::{HeaderMap, header};
use registry_types::MediaType;

/// Media ranges, and whether each is wanted: a quality of zero refuses. Empty when the header is missing.
#[derive(Debug, Default)]
pub(crate) struct Accept<'h>(Vec<(&'h str, bool)>);

impl<'h> Accept<'h> {
    pub(crate) fn of(headers: &'h HeaderMap) -> Self {
        let ranges = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let essence = parts.next().filter(|essence| !essence.is_empty())?;
                let refused = parts.any(|parameter| {
                    parameter.strip_prefix("q=").is_some_and(|quality| quality.parse() == Ok(0.0_f32))
                });
                Some((essence, !refused))
            })
            .collect();
        Self(ranges)
    }

    /// The range that fits most closely decides.
    pub(crate) fn allows(&self, media_type: &MediaType) -> bool {
        let closeness = |range: &str| match range.strip_suffix("/*") {
            Some("*") => Some(1),
            Some(kind) => media_type
                .as_str()
                .split('/')
                .next()
                .is_some_and(|own| own.eq_ignore_ascii_case(kind))
                .then_some(2),
            None => range.eq_ignore_ascii_case(media_type.as_str()).then_some(3),
        };
        let fitting = self.0.iter().filter_map(|&(range, wanted)| Some((closeness(range)?, wanted)));
        self.0.is_empty() || fitting.max().is_some_and(|(_, wanted)| wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(accept: &[&str], media_type: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        Accept::of(&headers).allows(&MediaType::known(media_type))
    }

    #[test]
    fn ranges_lists_and_refusals_are_read() {
        let index = MediaType::OCI_INDEX;
        assert!(allows(&[], index));
        assert!(allows(&["*/*"], index) && allows(&["application/*;q=0.5"], index));
        assert!(allows(&["Application/*"], index) && allows(&[&index.to_uppercase()], index));
        assert!(allows(&["text/html", "application/json, application/vnd.oci.image.index.v1+json"], index));
        assert!(!allows(&[MediaType::DOCKER_MANIFEST], index));
        assert!(!allows(&["application/vnd.oci.image.index.v1+json;q=0, text/plain"], index));
        assert!(!allows(&["*/*;q=0"], index) && !allows(&["text/html;q=0.0"], index));
        assert!(!allows(&["*/*, application/vnd.oci.image.index.v1+json;q=0"], index));
        assert!(allows(&["*/*;q=0, application/vnd.oci.image.index.v1+json"], index));
    }
}
