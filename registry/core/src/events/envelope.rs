//! One event as JSON, in distribution's envelope: the fields that it has in `notifications.Event`, in its order.

use registry_auth::AuthType;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{EventAction, EventSettings, Happening, RequestContext, context::shortened};

/// The type that events give a blob, as its descriptor in an answer has it.
pub(super) const BLOB_TYPE: &str = "application/octet-stream";

#[derive(Debug, Serialize)]
pub(super) struct Envelope<'a> {
    id: String,
    timestamp: String,
    action: EventAction,
    target: Target<'a>,
    request: Request<'a>,
    actor: Actor<'a>,
    source: Source<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The same as `size`, for those who read events of before it had that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    repository: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_repository: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Request<'a> {
    id: &'a str,
    addr: &'a str,
    host: &'a str,
    method: &'a str,
    useragent: &'a str,
}

#[derive(Debug, Serialize)]
struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_type: Option<&'a str>,
    /// GitLab's token of the user, which GitLab wants back.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    addr: &'a str,
    #[serde(rename = "instanceID")]
    instance: &'a str,
}

impl<'a> Envelope<'a> {
    /// Each has an id of its own, which stays the same however often the event is delivered.
    pub(super) fn of(
        happening: &Happening<'a>,
        context: &'a RequestContext,
        settings: &'a EventSettings,
        now: OffsetDateTime,
    ) -> Self {
        let identity = &context.identity;
        let user_type = (identity.auth_type != AuthType::None).then(|| identity.auth_type.as_str());
        Self {
            id: Uuid::new_v4().to_string(),
            timestamp: now.format(&Rfc3339).unwrap_or_default(),
            action: happening.action,
            target: target(happening, context, settings),
            request: Request {
                id: &context.id,
                addr: &context.address,
                host: shortened(&context.host),
                method: &context.method,
                useragent: shortened(&context.user_agent),
            },
            actor: Actor {
                name: identity.subject.as_deref(),
                user_type,
                user: identity.user_token.as_ref().map(|token| token.as_str()),
            },
            source: Source { addr: &settings.address, instance: &settings.instance },
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers can be written as JSON")
    }
}

fn target<'a>(happening: &Happening<'a>, context: &RequestContext, settings: &EventSettings) -> Target<'a> {
    let repository = happening.repository.as_str();
    let content = happening.content;
    let size = content.and_then(|content| content.known).map(|(size, _)| size);
    let url = content.filter(|_| happening.action != EventAction::Delete).map(|content| {
        let registry = settings.url.clone().unwrap_or_else(|| context.url());
        let kind = if matches!(content.known, Some((_, Some(_)))) { "manifests" } else { "blobs" };
        format!("{registry}/v2/{repository}/{kind}/{}", content.digest)
    });
    Target {
        media_type: happening.media_type(),
        size,
        digest: content.map(|content| content.digest.to_string()),
        length: size,
        repository,
        from_repository: happening.from.map(|from| from.as_str()),
        url,
        tag: happening.tag.map(|tag| tag.as_str()),
    }
}
