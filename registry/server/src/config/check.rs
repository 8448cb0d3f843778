//! What the types of a configuration do not say about it: values that contradict each other, or are a slip.

use url::Url;

use super::{AuthMode, Config, upstreams};
use crate::ServerError;

/// A day, in seconds: for so long `slipway registry key rotate` keeps tokens of the old key good.
const LONGEST_TOKEN: u64 = 24 * 3600;

/// Ten years, in seconds: what is longer is a slip, and dates that far back do not exist.
pub(super) const LONGEST_TIME: u64 = 10 * 365 * 24 * 3600;

/// Docker's token specification: clients assume 60 seconds where no life is named.
const SHORTEST_TOKEN: u64 = 60;

impl Config {
    /// # Errors
    /// [`ServerError::Config`] that names the key at fault.
    pub(super) fn check(&self) -> Result<(), ServerError> {
        let wrong = |message: &str| Err(ServerError::Config(message.to_owned()));
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return wrong("tls.certificate and tls.key go together: give both or neither");
        }
        if self.tls.self_signed && self.tls.certificate.is_some() {
            return wrong("tls.self_signed makes a certificate and tls.certificate names one: choose");
        }
        if self.tls.required && !self.has_tls() {
            return wrong(
                "tls.required needs a certificate: set tls.certificate and tls.key, or tls.self_signed",
            );
        }
        if self.auth.mode == AuthMode::None
            && !self.listen.ip().is_loopback()
            && !self.auth.allow_none_anywhere
        {
            return Err(ServerError::Config(format!(
                "auth.mode none on {} would let everyone push: listen on 127.0.0.1:{}, or set auth.allow_none_anywhere",
                self.listen,
                self.listen.port()
            )));
        }
        if self.auth.mode == AuthMode::Gitlab {
            if self.auth.gitlab.realm.is_none() {
                return wrong("auth.mode gitlab needs auth.gitlab.realm, GitLab's .../jwt/auth");
            }
            if self.auth.gitlab.certificates.is_none() {
                return wrong(
                    "auth.mode gitlab needs auth.gitlab.certificates, GitLab's registry certificate",
                );
            }
        }
        if self.auth.token_seconds < SHORTEST_TOKEN {
            return wrong(
                "auth.token_seconds must be at least 60: clients take shorter lives for 60 seconds",
            );
        }
        if self.auth.token_seconds > LONGEST_TOKEN {
            return wrong("auth.token_seconds must be at most 86400: a replaced key is trusted for a day");
        }
        let realm = self.auth.gitlab.realm.as_ref();
        if realm.is_some_and(|realm| !realm.username().is_empty() || realm.password().is_some()) {
            return wrong("auth.gitlab.realm is shown to every client: take the login out of it");
        }
        if self.limits.manifest_bytes < registry_core::MANIFEST_BYTES {
            return wrong(
                "limits.manifest_bytes must be at least 4194304, which the specification promises to clients",
            );
        }
        if self.limits.body_idle_seconds == 0 || self.limits.upload_idle_seconds == 0 {
            return wrong("limits.body_idle_seconds and limits.upload_idle_seconds must be above zero");
        }
        let times = [
            self.limits.body_idle_seconds,
            self.limits.upload_idle_seconds,
            self.limits.drain_seconds,
            self.collection.lease_seconds,
            self.collection.untagged_seconds.unwrap_or_default(),
        ];
        if times.iter().any(|seconds| *seconds > LONGEST_TIME) {
            return wrong(
                "the times under limits and collection must be at most 315360000 seconds, ten years",
            );
        }
        if self.collection.lease_seconds == 0 {
            return wrong(
                "collection.lease_seconds must be above zero, and longer than a push takes from its first layer to its manifest",
            );
        }
        if self.metadata.connections == 0 {
            return wrong("metadata.connections must be above zero");
        }
        if self.blobs.url.is_none()
            && (self.blobs.endpoint.is_some() || self.blobs.region.is_some() || self.blobs.redirect)
        {
            return wrong(
                "blobs.endpoint, blobs.region and blobs.redirect are about an object store: set blobs.url",
            );
        }
        let object_store = self.blobs.url.iter().chain(&self.blobs.endpoint);
        if object_store.into_iter().any(|url| !url.username().is_empty() || url.password().is_some()) {
            return wrong("blobs.url and blobs.endpoint take no login: give it by the environment");
        }
        self.check_policies()?;
        if self.external_url.as_ref().is_some_and(|url| !is_origin(url)) {
            return wrong(
                "external_url must look like https://host:port, without a path and without a login",
            );
        }
        self.check_operation()?;
        upstreams::check(&self.upstreams)
    }
}

/// Whether a URL names scheme, host and port and nothing else: it is shown to every client.
pub(super) fn is_origin(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}
