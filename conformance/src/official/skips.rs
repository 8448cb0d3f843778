//! Why a test of the official suite may be skipped. What is not in this table is not explained, and counts as a
//! failure: a suite that skips more and more would otherwise stay green.

/// One known reason.
struct KnownSkip {
    /// Part of the test's name.
    test: &'static str,
    /// Part of what the suite says about it.
    said: &'static str,
    explanation: &'static str,
}

const KNOWN: &[KnownSkip] = &[
    KnownSkip {
        test: "blob-mount-anonymous",
        said: "registry returned status 202",
        explanation: "by design: without `from` a digest alone gives no content of repositories the caller may \
                      not list; the specification lets a registry open an upload instead",
    },
    KnownSkip {
        test: "blob-mount",
        said: "registry returned status 202",
        explanation: "the registry does not mount; the specification lets it open an upload instead",
    },
    KnownSkip {
        test: "blob-post-only",
        said: "registry does not support content in the POST",
        explanation: "the registry takes no blob in one POST; the specification lets it open an upload instead",
    },
    KnownSkip {
        test: "manifest-by-digest",
        said: "header missing OCI-Tag",
        explanation: "the registry takes no tags as parameters, which the specification lets it leave out",
    },
    KnownSkip {
        test: "delete",
        said: "registry does not support the requested API",
        explanation: "the registry does not delete, which the specification lets it refuse",
    },
    KnownSkip {
        test: "cancel",
        said: "registry does not support the requested API",
        explanation: "the registry does not cancel uploads, which the specification lets it refuse",
    },
];

/// The reason, if the skip has a known one.
pub(super) fn explain(test: &str, said: &str) -> Option<&'static str> {
    let known = KNOWN.iter().find(|known| test.contains(known.test) && said.contains(known.said));
    known.map(|known| known.explanation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_skips_are_explained() {
        let said = "registry returned status 202, fell back to blob POST+PUT";
        assert!(
            explain("sha256 blobs/mount anonymous/blob-mount-anonymous", said).unwrap().contains("by design")
        );
        assert!(explain("sha256 blobs/mount/blob-mount", said).unwrap().contains("does not mount"));
        assert!(explain("sha256 blobs/get/blob-get", said).is_none());
        assert!(explain("sha256 blobs/mount/blob-mount", "connection refused").is_none());
    }
}
