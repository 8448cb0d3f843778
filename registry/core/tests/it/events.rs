//! Events of what the use cases do.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use registry_core::{
    DeliveryError, EventAction, EventFilter, EventSettings, EventSink, Events, Mounted, RequestContext,
};
use registry_types::{Reference, Tag};
use serde_json::Value;
use tokio::time::timeout;

use super::*;

const LONG: Duration = Duration::from_secs(30);

/// Takes everything, or nothing.
#[derive(Debug, Clone, Default)]
struct Sink {
    fails: bool,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl EventSink for Sink {
    async fn deliver(&self, batch: Bytes) -> Result<(), DeliveryError> {
        if self.fails {
            return Err(DeliveryError("always".to_owned()));
        }
        let mut batch: Value = serde_json::from_slice(&batch).unwrap();
        let Value::Array(events) = batch["events"].take() else { panic!("no events in {batch}") };
        self.taken.lock().unwrap().extend(events);
        Ok(())
    }
}

fn filter(actions: &[EventAction]) -> EventFilter {
    EventFilter { actions: actions.iter().copied().collect(), ..EventFilter::default() }
}

fn settings(endpoints: &[(&str, EventFilter)]) -> EventSettings {
    EventSettings {
        endpoints: endpoints.iter().map(|(name, filter)| (name.parse().unwrap(), filter.clone())).collect(),
        address: "here:5050".to_owned(),
        instance: "instance".to_owned(),
        url: None,
    }
}

/// For an endpoint that wants to hear of deletions.
pub(crate) fn deletions() -> Events {
    Events::new(settings(&[("hook", filter(&[EventAction::Delete]))]))
}

async fn telling(endpoints: &[(&str, EventFilter)]) -> (TestRegistry, TempDir) {
    let (registry, folder) = registry().await;
    (registry.with_events(Events::new(settings(endpoints))), folder)
}

fn requested(registry: &TestRegistry) -> TestRegistry {
    registry.for_request(RequestContext {
        id: "request".to_owned(),
        address: "192.0.2.1:4711".to_owned(),
        host: "registry.example".to_owned(),
        secure: false,
        method: "PUT".to_owned(),
        user_agent: "docker".to_owned(),
        identity: Identity::named("anna"),
    })
}

/// Gives the endpoint its place in the outbox, before which it hears nothing.
async fn begin(registry: &TestRegistry, endpoint: &str, sink: &Sink) {
    let name = endpoint.parse().unwrap();
    let quiet = registry.keep_delivering(&name, LONG, sink.clone());
    timeout(Duration::from_millis(300), quiet).await.unwrap_err();
}

/// Delivers until `sink` has `count` events, and gives them as texts.
async fn taken(registry: &TestRegistry, endpoint: &str, sink: &Sink, count: usize) -> Vec<String> {
    let name = endpoint.parse().unwrap();
    let enough = async {
        while sink.taken.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = registry.keep_delivering(&name, LONG, sink.clone()) => panic!("delivery ended"),
        enough = timeout(LONG, enough) => enough.expect("the events come"),
    }
    let text = |event: &Value| {
        let target = &event["target"];
        let named =
            ["repository", "fromRepository", "tag"].map(|key| target[key].as_str().unwrap_or("-").to_owned());
        let kind = match target["mediaType"].as_str() {
            Some("application/octet-stream") => "blob",
            Some(_) => "manifest",
            None => "?",
        };
        assert_eq!(event["actor"]["name"], "anna");
        format!("{} {kind} {}", event["action"].as_str().unwrap(), named.join(" "))
    };
    sink.taken.lock().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn every_change_is_told_and_no_refusal() {
    let actions = [EventAction::Push, EventAction::Mount, EventAction::Delete];
    let (registry, _folder) = telling(&[("hook", filter(&actions))]).await;
    let sink = Sink::default();
    // Its cursor stands before what follows.
    begin(&registry, "hook", &sink).await;

    let told = requested(&registry);
    let config = push(&told, "a/b", b"{}").await;
    let upload = told.start_upload(&grant("a/b"), Algorithm::Sha256).await.unwrap();
    told.append(&grant("a/b"), upload.id, None, body(&[b"layer"])).await.unwrap();
    told.complete(&grant("a/b"), upload.id, None, body(&[]), Digest::sha256(b"layer")).await.unwrap();
    let refused = told.push_blob(&grant("a/b"), body(&[b"x"]), Digest::sha256(b"y")).await;
    assert!(matches!(refused, Err(CoreError::DigestMismatch { .. })));
    let mounted = told.mount(&grant("c/d"), Some(&grant("a/b")), None, &config).await.unwrap();
    assert_eq!(mounted, Mounted::Linked);
    told.mount(&grant("c/d"), Some(&grant("a/b")), None, &Digest::sha256(b"none")).await.unwrap();
    let tag = |name: &str| Reference::Tag(name.parse().unwrap());
    let pushed = told.push_manifest(&grant("a/b"), manifest_push(tag("v1"), image(&config))).await.unwrap();
    let mut by_digest = manifest_push(Reference::Digest(pushed.digest), image(&config));
    told.push_manifest(&grant("a/b"), by_digest.clone()).await.unwrap();
    by_digest.tags = ["v2", "v3"].map(|name| name.parse::<Tag>().unwrap()).to_vec();
    told.push_manifest(&grant("a/b"), by_digest).await.unwrap();
    let missing = manifest_push(tag("v9"), image(&Digest::sha256(b"missing")));
    told.push_manifest(&grant("a/b"), missing).await.unwrap_err();
    told.delete_manifest(&grant("a/b"), &tag("v1")).await.unwrap();
    told.delete_manifest(&grant("a/b"), &tag("v1")).await.unwrap_err();
    told.delete_manifest(&grant("a/b"), &Reference::Digest(pushed.digest)).await.unwrap();
    told.delete_blob(&grant("a/b"), &config).await.unwrap();
    // Nobody wants pulls.
    told.open_blob(&grant("c/d"), &config).await.unwrap();

    let expected = [
        "push blob a/b - -",
        "push blob a/b - -",
        "mount blob c/d a/b -",
        "push manifest a/b - v1",
        "push manifest a/b - -",
        "push manifest a/b - v2",
        "push manifest a/b - v3",
        "delete ? a/b - v1",
        "delete ? a/b - -",
        "delete ? a/b - -",
    ];
    assert_eq!(taken(&registry, "hook", &sink, expected.len()).await, expected);
}

#[tokio::test]
async fn pulls_are_told_to_those_who_want_them() {
    let (registry, _folder) =
        telling(&[("pulls", filter(&[EventAction::Pull])), ("pushes", filter(&[EventAction::Push]))]).await;
    let (pulls, pushes) = (Sink::default(), Sink::default());
    for (name, sink) in [("pulls", &pulls), ("pushes", &pushes)] {
        begin(&registry, name, sink).await;
    }
    let recording = registry.clone();
    let recording = tokio::spawn(async move { recording.keep_recording_pulls().await });
    let told = requested(&registry);
    let config = push(&told, "a/b", b"{}").await;
    let reference = Reference::Tag("v1".parse().unwrap());
    told.push_manifest(&grant("a/b"), manifest_push(reference.clone(), image(&config))).await.unwrap();
    told.blob_size(&grant("a/b"), &config).await.unwrap();
    told.open_blob(&grant("a/b"), &config).await.unwrap();
    let record = told.manifest(&grant("a/b"), &reference).await.unwrap();
    told.tell_manifest_pull(&grant("a/b"), &reference, &record);
    let expected = ["pull blob a/b - -", "pull manifest a/b - v1"];
    assert_eq!(taken(&registry, "pulls", &pulls, 2).await, expected);
    let expected = ["push blob a/b - -", "push manifest a/b - v1"];
    assert_eq!(taken(&registry, "pushes", &pushes, 2).await, expected);
    recording.abort();
}

#[tokio::test]
async fn a_stuck_endpoint_delays_only_itself() {
    let all = filter(&[EventAction::Push]);
    let (registry, _folder) = telling(&[("stuck", all.clone()), ("well", all)]).await;
    let (stuck, well) = (Sink { fails: true, ..Sink::default() }, Sink::default());
    let (failing, name) = (registry.clone(), "stuck".parse().unwrap());
    let failing = tokio::spawn(async move { failing.keep_delivering(&name, LONG, stuck).await });
    begin(&registry, "well", &well).await;
    let told = requested(&registry);
    for number in 0..5 {
        push(&told, "a/b", format!("blob {number}").as_bytes()).await;
    }
    assert_eq!(taken(&registry, "well", &well, 5).await.len(), 5);
    let statistics = registry.statistics().await.events.endpoints;
    assert!(statistics[0].failures > 0 && statistics[0].delivered == 0, "{statistics:?}");
    assert_eq!((statistics[1].failures, statistics[1].delivered), (0, 5));
    failing.abort();
}

#[tokio::test]
async fn an_event_is_delivered_at_once() {
    let (registry, _folder) = telling(&[("hook", filter(&[EventAction::Push]))]).await;
    let sink = Sink::default();
    let (delivering, taking) = (registry.clone(), sink.clone());
    let task = tokio::spawn(async move {
        delivering.keep_delivering(&"hook".parse().unwrap(), LONG, taking).await;
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut quickest = LONG;
    for number in 0..5 {
        let begun = tokio::time::Instant::now();
        push(&requested(&registry), "a/b", format!("blob {number}").as_bytes()).await;
        while sink.taken.lock().unwrap().len() <= number {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        quickest = quickest.min(begun.elapsed());
    }
    assert!(quickest < Duration::from_millis(500), "nobody woke the deliverer: {quickest:?}");
    task.abort();
}
