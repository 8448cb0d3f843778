use registry_auth::{AuthType, Identity};
use registry_metadata::{EventMetadata, SqliteMetadata};
use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::events::history::{hold, trim};

fn events(actions: &[EventAction], url: Option<&str>) -> Events {
    let filter = EventFilter { actions: actions.iter().copied().collect(), ..EventFilter::default() };
    Events::new(EventSettings {
        endpoints: vec![("hook".parse().unwrap(), filter)],
        address: "here:5050".to_owned(),
        instance: "instance".to_owned(),
        url: url.map(str::to_owned),
    })
}

fn context(identity: Identity) -> RequestContext {
    RequestContext {
        id: "request".to_owned(),
        address: "192.0.2.1:4711".to_owned(),
        host: "registry.example:5050".to_owned(),
        secure: true,
        method: "PUT".to_owned(),
        user_agent: "docker/27".to_owned(),
        identity,
    }
}

fn told(events: &Events, happening: &Happening<'_>, identity: Identity) -> Value {
    let event = events.of(happening, &context(identity), datetime!(2026-11-24 15:00:00.5 UTC)).unwrap();
    let mut event: Value = serde_json::from_str(&event.payload).unwrap();
    // Each has its own.
    let id = event["id"].take();
    assert_eq!(id.as_str().unwrap().len(), 36, "{id}");
    event.as_object_mut().unwrap().remove("id");
    event
}

#[test]
fn a_pushed_tag_is_told_in_distributions_envelope() {
    let repository = "team/app".parse().unwrap();
    let (digest, media_type) = (Digest::sha256(b"{}"), MediaType::known(MediaType::OCI_MANIFEST));
    let tags = ["v1".parse().unwrap(), "v2".parse().unwrap()];
    let events = events(&[EventAction::Push], None);
    let happenings: Vec<_> =
        Happening::pushed_manifest(&repository, (&digest, &media_type, 2), &tags).collect();
    let token = serde_json::from_value(json!("a.gitlab.token")).unwrap();
    let identity = Identity {
        subject: Some("anna".to_owned()),
        auth_type: AuthType::PersonalAccessToken,
        user_token: Some(token),
    };
    let expected = json!({
        "timestamp": "2026-11-24T15:00:00.5Z",
        "action": "push",
        "target": {
            "mediaType": MediaType::OCI_MANIFEST,
            "size": 2,
            "digest": digest.to_string(),
            "length": 2,
            "repository": "team/app",
            "url": format!("https://registry.example:5050/v2/team/app/manifests/{digest}"),
            "tag": "v1",
        },
        "request": {
            "id": "request",
            "addr": "192.0.2.1:4711",
            "host": "registry.example:5050",
            "method": "PUT",
            "useragent": "docker/27",
        },
        "actor": { "name": "anna", "user_type": "personal_access_token", "user": "a.gitlab.token" },
        "source": { "addr": "here:5050", "instanceID": "instance" },
    });
    assert_eq!(told(&events, &happenings[0], identity.clone()), expected);
    assert_eq!(told(&events, &happenings[1], identity)["target"]["tag"], "v2");
    let untagged: Vec<_> = Happening::pushed_manifest(&repository, (&digest, &media_type, 2), &[]).collect();
    assert_eq!(untagged.len(), 1);
    let event = told(&events, &untagged[0], Identity::anonymous());
    assert_eq!((&event["target"]["tag"], &event["actor"]), (&Value::Null, &json!({})));
}

#[test]
fn blobs_mounts_and_deletions_tell_what_is_known() {
    let (here, there) = ("team/app".parse().unwrap(), "base/os".parse().unwrap());
    let (digest, tag) = (Digest::sha256(b"{}"), "v1".parse().unwrap());
    let all = [EventAction::Push, EventAction::Pull, EventAction::Mount, EventAction::Delete];
    let events = events(&all, Some("https://public.example"));
    let target = |happening| told(&events, &happening, Identity::anonymous())["target"].clone();
    let url = format!("https://public.example/v2/team/app/blobs/{digest}");
    assert_eq!(
        target(Happening::to_blob(EventAction::Push, &here, &digest, 2)),
        json!({ "mediaType": "application/octet-stream", "size": 2, "length": 2, "digest": digest, "repository": "team/app", "url": url })
    );
    assert_eq!(
        target(Happening::mounted(&here, Some(&there), &digest)),
        json!({ "mediaType": "application/octet-stream", "digest": digest, "repository": "team/app", "fromRepository": "base/os", "url": url })
    );
    assert_eq!(
        target(Happening::deleted(&here, Some(&digest), None)),
        json!({ "digest": digest, "repository": "team/app" })
    );
    assert_eq!(
        target(Happening::deleted(&here, None, Some(&tag))),
        json!({ "tag": "v1", "repository": "team/app" })
    );
}

#[test]
fn what_nobody_wants_is_not_made() {
    let repository = "team/app".parse().unwrap();
    let digest = Digest::sha256(b"{}");
    let pull = Happening::to_blob(EventAction::Pull, &repository, &digest, 2);
    let told =
        |events: &Events| events.of(&pull, &context(Identity::anonymous()), OffsetDateTime::UNIX_EPOCH);
    assert_eq!(told(&Events::default()), None);
    assert_eq!(told(&events(&[EventAction::Push], None)), None);
    assert!(told(&events(&[EventAction::Pull], None)).is_some());
}

#[tokio::test]
async fn delivered_events_are_kept_for_a_while_and_no_event_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
    let start = datetime!(2026-11-24 12:00 UTC);
    let hours = |hours| start + time::Duration::hours(hours);
    let keeping = EventKeeping {
        delivered: std::time::Duration::from_secs(24 * 3600),
        longest: std::time::Duration::from_secs(72 * 3600),
    };
    hold(&store, start).await.unwrap();
    store.add_endpoint("fast", start).await.unwrap();
    store.add_endpoint("stuck", start).await.unwrap();
    let event = |payload: &str| NewEvent { repository: "a".parse().unwrap(), payload: payload.to_owned() };
    store.record_events(vec![event("old"), event("old too")], start).await.unwrap();
    store.record_events(vec![event("new")], hours(20)).await.unwrap();
    let last = store.events_after(0, 10).await.unwrap()[2].id;
    let deliver = async |endpoint, at| {
        let claim = store.claim_endpoint(endpoint, at, at).await.unwrap().unwrap();
        assert!(store.advance_endpoint(&claim, last, at).await.unwrap());
    };
    deliver("fast", hours(20)).await;
    assert_eq!(trim(&store, keeping, hours(23)).await.unwrap(), 0, "too young");
    assert_eq!(trim(&store, keeping, hours(25)).await.unwrap(), 0, "the stuck one still needs them");
    deliver("stuck", hours(26)).await;
    assert_eq!(trim(&store, keeping, hours(26)).await.unwrap(), 2);
    assert_eq!(store.events_after(0, 10).await.unwrap()[0].payload, "new");
    let names: Vec<String> =
        event_backlog(&store).await.unwrap().into_iter().map(|entry| entry.cursor.endpoint).collect();
    assert_eq!(names, ["fast", "stuck"], "the cursor that keeps events is nobody's");
    // An endpoint that is away for good.
    store.record_events(vec![event("never")], hours(26)).await.unwrap();
    assert_eq!(trim(&store, keeping, hours(26 + 71)).await.unwrap(), 1);
    assert_eq!(trim(&store, keeping, hours(26 + 73)).await.unwrap(), 1);
    assert!(store.events_after(0, 10).await.unwrap().is_empty());
}
