//! The outbox: in order, at least once, and no endpoint waits for another.

use time::Duration;

use super::{collection::start, samples::*};
use crate::{Change, EventCursor, EventRecord, Metadata, NewEvent};

fn event(payload: &str) -> NewEvent {
    NewEvent { repository: repository("team/app"), payload: payload.to_owned() }
}

fn told(payload: &str) -> Change {
    Change { events: vec![event(payload)], ..Change::at(start()) }
}

async fn recorded<M: Metadata>(store: &M, payloads: &[&str]) {
    let events = payloads.iter().map(|payload| event(payload)).collect();
    store.record_events(events, start()).await.unwrap();
}

fn payloads(events: &[EventRecord]) -> Vec<&str> {
    events.iter().map(|event| event.payload.as_str()).collect()
}

/// The endpoint, taken for a minute from `seconds` after the start on.
async fn claimed<M: Metadata>(store: &M, endpoint: &str, seconds: i64) -> Option<EventCursor> {
    let now = start() + Duration::seconds(seconds);
    store.claim_endpoint(endpoint, now, now + Duration::minutes(1)).await.unwrap()
}

pub async fn events_come_with_the_change_they_tell_of<M: Metadata>(store: M) {
    let here = repository("team/app");
    let image = linked_image(&store, &here, "app", &["v1"]).await;
    let refused = manifest(&here, &image_json(&[blob("missing")]), &[]);
    assert!(store.put_manifest(refused, told("never")).await.is_err());
    store.put_manifest(image.clone(), told("put")).await.unwrap();
    store.link_blob(&here, &blob("new"), None, told("link")).await.unwrap();
    store.mount_blob(Some(&here), &repository("team/b"), &blob("new").digest, told("mount")).await.unwrap();
    store
        .mount_blob(Some(&here), &repository("team/b"), &blob("none").digest, told("no mount"))
        .await
        .unwrap();
    store.unlink_blob(&here, &blob("new").digest, told("unlink")).await.unwrap();
    store.unlink_blob(&here, &blob("new").digest, told("nothing to unlink")).await.unwrap();
    store.delete_tag(&here, &tag("v1"), told("untag")).await.unwrap();
    store.delete_tag(&here, &tag("v1"), told("no tag")).await.unwrap();
    store.delete_manifest(&here, &image.digest, told("delete")).await.unwrap();
    store.delete_manifest(&here, &image.digest, told("nothing to delete")).await.unwrap();
    recorded(&store, &["pull", "pull again"]).await;
    let events = store.events_after(0, 100).await.unwrap();
    let expected = ["put", "link", "mount", "unlink", "untag", "delete", "pull", "pull again"];
    assert_eq!(payloads(&events), expected);
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert!(events.iter().all(|event| event.repository == here && event.created_at == start()));
    let behind = store.events_after(events[2].id, 2).await.unwrap();
    assert_eq!(payloads(&behind), ["unlink", "untag"]);
}

pub async fn an_event_is_delivered_until_it_is_acknowledged<M: Metadata>(store: M) {
    recorded(&store, &["before"]).await;
    store.add_endpoint("hook", start()).await.unwrap();
    recorded(&store, &["one", "two", "three"]).await;
    // Again: a restart must not skip what waits.
    store.add_endpoint("hook", start()).await.unwrap();
    assert_eq!(claimed(&store, "nobody", 0).await, None);
    let first = claimed(&store, "hook", 0).await.unwrap();
    let waiting = store.events_after(first.event_id, 10).await.unwrap();
    assert_eq!(payloads(&waiting), ["one", "two", "three"], "an endpoint hears what was there before it");
    assert_eq!(claimed(&store, "hook", 59).await, None, "two deliver to one endpoint");
    let until = start() + Duration::minutes(2);
    assert!(store.advance_endpoint(&first, waiting[0].id, until).await.unwrap());
    assert_eq!(claimed(&store, "hook", 119).await, None, "the claim was prolonged");
    // Its deliverer died after it had sent the second event and before it said so.
    let second = claimed(&store, "hook", 120).await.unwrap();
    assert_eq!(payloads(&store.events_after(second.event_id, 10).await.unwrap()), ["two", "three"]);
    assert!(!store.advance_endpoint(&first, waiting[2].id, until).await.unwrap(), "a dead claim moved it");
    assert!(!store.fail_endpoint(&first, until).await.unwrap());
    let given_back = start() + Duration::seconds(121);
    assert!(store.advance_endpoint(&second, waiting[2].id, given_back).await.unwrap());
    let third = claimed(&store, "hook", 121).await.unwrap();
    assert!(store.events_after(third.event_id, 10).await.unwrap().is_empty());
}

pub async fn a_stuck_endpoint_delays_only_itself<M: Metadata>(store: M) {
    for endpoint in ["fast", "stuck"] {
        store.add_endpoint(endpoint, start()).await.unwrap();
    }
    recorded(&store, &["one", "two"]).await;
    let stuck = claimed(&store, "stuck", 0).await.unwrap();
    assert!(store.fail_endpoint(&stuck, start() + Duration::seconds(10)).await.unwrap());
    assert_eq!(claimed(&store, "stuck", 9).await, None, "no patience with what failed");
    let again = claimed(&store, "stuck", 10).await.unwrap();
    assert_eq!((again.attempts, again.event_id), (1, stuck.event_id));
    assert!(store.fail_endpoint(&again, start() + Duration::hours(1)).await.unwrap());
    let fast = claimed(&store, "fast", 10).await.unwrap();
    let events = store.events_after(fast.event_id, 10).await.unwrap();
    assert!(store.advance_endpoint(&fast, events[1].id, start() + Duration::seconds(10)).await.unwrap());
    let backlog = store.event_backlog().await.unwrap();
    let told = backlog.iter().map(|entry| (entry.cursor.endpoint.as_str(), entry.waiting, entry.oldest));
    assert_eq!(told.collect::<Vec<_>>(), [("fast", 0, None), ("stuck", 2, Some(start()))]);
    assert_eq!(backlog[1].cursor.attempts, 2);
    // A success forgets the failures.
    let late = claimed(&store, "stuck", 3_600).await.unwrap();
    assert!(store.advance_endpoint(&late, events[0].id, start() + Duration::hours(1)).await.unwrap());
    assert_eq!(claimed(&store, "stuck", 3_600).await.unwrap().attempts, 0);
    assert!(store.remove_endpoint("stuck").await.unwrap() && !store.remove_endpoint("stuck").await.unwrap());
}

pub async fn events_are_trimmed_behind_the_slowest<M: Metadata>(store: M) {
    for endpoint in ["fast", "slow"] {
        store.add_endpoint(endpoint, start()).await.unwrap();
    }
    recorded(&store, &["one", "two", "three", "four"]).await;
    let events = store.events_after(0, 10).await.unwrap();
    let to = async |endpoint, event: &EventRecord, seconds| {
        let claim = claimed(&store, endpoint, seconds).await.unwrap();
        let now = start() + Duration::seconds(seconds);
        assert!(store.advance_endpoint(&claim, event.id, now).await.unwrap());
    };
    to("fast", &events[3], 0).await;
    to("slow", &events[2], 0).await;
    assert_eq!(store.trim_events(start(), 2).await.unwrap(), 2);
    assert_eq!(store.trim_events(start(), 10).await.unwrap(), 1);
    assert_eq!(payloads(&store.events_after(0, 10).await.unwrap()), ["four"], "the slow one still needs it");
    assert_eq!(store.trim_events(start() + Duration::seconds(1), 10).await.unwrap(), 1, "it is too old");
    // Ids go on, though nothing is left; a new endpoint begins here and not in the past.
    store.add_endpoint("new", start()).await.unwrap();
    recorded(&store, &["five"]).await;
    let last = store.events_after(0, 10).await.unwrap();
    assert!(last[0].id > events[3].id);
    let new = claimed(&store, "new", 0).await.unwrap();
    assert_eq!(payloads(&store.events_after(new.event_id, 10).await.unwrap()), ["five"]);
}

pub async fn events_are_replayed_from_where_one_says<M: Metadata>(store: M) {
    store.add_endpoint("hook", start()).await.unwrap();
    recorded(&store, &["one", "two", "three"]).await;
    let claim = claimed(&store, "hook", 0).await.unwrap();
    let events = store.events_after(claim.event_id, 10).await.unwrap();
    assert!(store.advance_endpoint(&claim, events[2].id, start() + Duration::minutes(1)).await.unwrap());
    let now = start() + Duration::seconds(1);
    assert!(store.replay_events("hook", events[0].id, now).await.unwrap());
    assert!(!store.replay_events("nobody", 0, now).await.unwrap());
    assert!(
        !store.advance_endpoint(&claim, events[2].id, now).await.unwrap(),
        "the old claim undid the replay"
    );
    let claim = claimed(&store, "hook", 1).await.unwrap();
    assert_eq!(payloads(&store.events_after(claim.event_id, 10).await.unwrap()), ["two", "three"]);
}
