use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicU64},
    },
};

use proptest::prelude::*;
use registry_auth::Identity;
use registry_metadata::SqliteMetadata;
use registry_types::{Digest, MediaType};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::{EventSettings, RequestContext, events::Happening};

const ATTEMPT: Duration = Duration::from_secs(5);

/// What an endpoint does with one attempt.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Takes,
    Refuses,
    /// The batch arrives, its answer does not.
    TakesAndFails,
    TakesAndHangs,
    /// Whoever delivers dies before the batch has gone out.
    DiesBefore,
    /// Whoever delivers dies between the delivery and the cursor.
    DiesAfter,
}

#[derive(Debug, Clone)]
enum Step {
    /// Writes events to a repository; to the last one nobody listens.
    Write {
        repository: usize,
        events: usize,
    },
    /// One replica delivers what it can; each attempt ends as the next outcome says, and well when there is none.
    Round {
        replica: usize,
        outcomes: Vec<Outcome>,
    },
    Wait {
        seconds: i64,
    },
}

#[derive(Debug, Clone, Default)]
struct Endpoint(Arc<EndpointState>);

#[derive(Debug, Default)]
struct EndpointState {
    /// The tags of the events in the order of their arrival.
    received: Mutex<Vec<String>>,
    plan: Mutex<VecDeque<Outcome>>,
    dies: Notify,
}

impl Endpoint {
    fn take(&self, batch: &Bytes) {
        let batch: serde_json::Value = serde_json::from_slice(batch).unwrap();
        let tag = |event: &serde_json::Value| event["target"]["tag"].as_str().unwrap().to_owned();
        let tags = batch["events"].as_array().unwrap().iter().map(tag);
        self.0.received.lock().unwrap().extend(tags);
    }

    fn received(&self) -> Vec<String> {
        self.0.received.lock().unwrap().clone()
    }
}

impl EventSink for Endpoint {
    async fn deliver(&self, batch: Bytes) -> Result<(), DeliveryError> {
        let outcome = self.0.plan.lock().unwrap().pop_front().unwrap_or(Outcome::Takes);
        if !matches!(outcome, Outcome::Refuses | Outcome::DiesBefore) {
            self.take(&batch);
        }
        match outcome {
            Outcome::Takes => Ok(()),
            Outcome::Refuses | Outcome::TakesAndFails => Err(DeliveryError("it failed".to_owned())),
            Outcome::TakesAndHangs => std::future::pending().await,
            Outcome::DiesBefore | Outcome::DiesAfter => {
                self.0.dies.notify_one();
                std::future::pending().await
            }
        }
    }
}

/// An outbox with an endpoint that replicas deliver to.
struct World {
    _folder: TempDir,
    metadata: SqliteMetadata,
    events: Events,
    endpoint: Endpoint,
    replicas: Vec<Deliverer<SqliteMetadata, Endpoint>>,
    seconds: Arc<AtomicI64>,
    written: Vec<String>,
    number: AtomicU64,
}

fn settings(repositories: &[&str]) -> EventSettings {
    let filter = EventFilter {
        actions: BTreeSet::from([EventAction::Push]),
        repositories: repositories.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        ignored_media_types: Vec::new(),
    };
    let everything = EventFilter { repositories: Vec::new(), ..filter.clone() };
    EventSettings {
        endpoints: vec![("hook".parse().unwrap(), filter), ("other".parse().unwrap(), everything)],
        address: "here:5050".to_owned(),
        instance: "one".to_owned(),
        url: None,
    }
}

fn context() -> RequestContext {
    RequestContext {
        id: "request".to_owned(),
        address: "192.0.2.1:4711".to_owned(),
        host: "registry.example".to_owned(),
        secure: true,
        method: "PUT".to_owned(),
        user_agent: "docker".to_owned(),
        identity: Identity::anonymous(),
    }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
        let seconds = Arc::new(AtomicI64::new(1_700_000_000));
        let endpoint = Endpoint::default();
        let name = "hook".parse().unwrap();
        let replica = || {
            let seconds = Arc::clone(&seconds);
            let clock = move || OffsetDateTime::from_unix_timestamp(seconds.load(Ordering::Relaxed)).unwrap();
            let events = Events::new(settings(&["heard/*"]));
            Deliverer::new(metadata.clone(), &events, &name, (ATTEMPT, endpoint.clone()), Arc::new(clock))
                .unwrap()
        };
        let replicas = vec![replica(), replica()];
        metadata.add_endpoint("hook", OffsetDateTime::UNIX_EPOCH).await.unwrap();
        Self {
            _folder: folder,
            metadata,
            events: Events::new(settings(&["heard/*"])),
            endpoint,
            replicas,
            seconds,
            written: Vec::new(),
            number: AtomicU64::new(0),
        }
    }

    fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    async fn write(&mut self, repository: usize, count: usize) {
        let name = ["heard/a", "heard/b", "heard/c", "unheard/d"][repository].parse().unwrap();
        let (digest, media_type) = (Digest::sha256(b""), MediaType::known(MediaType::OCI_MANIFEST));
        let mut events = Vec::new();
        for _ in 0..count {
            let tag: registry_types::Tag =
                format!("e{}", self.number.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
            let content = (&digest, &media_type, 2);
            let happening = Happening::to_manifest(EventAction::Push, &name, content, Some(&tag));
            events.extend(self.events.of(&happening, &context(), OffsetDateTime::UNIX_EPOCH));
            if repository < 3 {
                self.written.push(tag.to_string());
            }
        }
        assert_eq!(events.len(), count, "somebody else hears it all");
        self.metadata.record_events(events, OffsetDateTime::UNIX_EPOCH).await.unwrap();
    }

    /// False when the replica died.
    async fn round(&mut self, replica: usize, outcomes: Vec<Outcome>) -> bool {
        *self.endpoint.0.plan.lock().unwrap() = outcomes.into();
        let endpoint = self.endpoint.clone();
        let finished = tokio::select! {
            biased;
            () = endpoint.0.dies.notified() => false,
            round = self.replicas[replica].round() => {
                round.unwrap();
                true
            }
        };
        self.endpoint.0.plan.lock().unwrap().clear();
        finished
    }

    /// Each event as it came for the first time.
    fn first_times(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        self.endpoint.received().into_iter().filter(|tag| seen.insert(tag.clone())).collect()
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Takes),
        2 => Just(Outcome::Refuses),
        2 => Just(Outcome::TakesAndFails),
        1 => Just(Outcome::TakesAndHangs),
        1 => Just(Outcome::DiesBefore),
        2 => Just(Outcome::DiesAfter),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_usize, prop_oneof![3 => 1..4_usize, 1 => 150..250_usize])
            .prop_map(|(repository, events)| Step::Write { repository, events }),
        4 => (0..2_usize, prop::collection::vec(outcome(), 0..4))
            .prop_map(|(replica, outcomes)| Step::Round { replica, outcomes }),
        2 => prop_oneof![Just(1_i64), Just(3), Just(11), Just(400)].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

async fn play(steps: Vec<Step>) {
    let mut world = World::new().await;
    for step in steps {
        match step {
            Step::Write { repository, events } => world.write(repository, events).await,
            Step::Round { replica, outcomes } => {
                world.round(replica, outcomes).await;
            }
            Step::Wait { seconds } => world.wait(seconds),
        }
        let (heard, written) = (world.first_times(), &world.written);
        assert_eq!(heard, written[..heard.len()], "an event was passed over or came too early");
    }
    // The endpoint is well again.
    world.wait(400);
    world.round(0, Vec::new()).await;
    world.wait(400);
    world.round(1, Vec::new()).await;
    assert_eq!(world.first_times(), world.written, "an event was lost");
}

proptest! {
    // Each case writes to a database of its own.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_every_event_comes_and_in_order(steps in prop::collection::vec(step(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(steps));
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_delivery_was_not_noted_comes_again() {
    let mut world = World::new().await;
    world.write(0, 2).await;
    assert!(!world.round(0, vec![Outcome::DiesAfter]).await);
    assert_eq!(world.endpoint.received(), ["e0", "e1"]);
    // The dead one's claim keeps others away until it runs out.
    assert!(world.round(1, Vec::new()).await);
    assert_eq!(world.endpoint.received().len(), 2);
    world.wait(11);
    assert!(world.round(1, Vec::new()).await);
    assert_eq!(world.endpoint.received(), ["e0", "e1", "e0", "e1"]);
    world.wait(11);
    world.round(0, Vec::new()).await;
    assert_eq!(world.endpoint.received().len(), 4, "what was noted does not come again");
}

#[tokio::test(start_paused = true)]
async fn a_failed_endpoint_rests_longer_each_time() {
    let mut world = World::new().await;
    world.write(0, 1).await;
    for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        assert_eq!(world.replicas[0].round_with(&world.endpoint, Outcome::Refuses).await, Round::Failed);
        world.wait(pause - 1);
        assert_eq!(world.replicas[0].round().await.unwrap(), Round::Busy, "before {pause} seconds are over");
        world.wait(1);
    }
    assert_eq!(world.replicas[0].round().await.unwrap(), Round::Done);
    assert_eq!(world.endpoint.received(), ["e0"]);
    let statistics = world.replicas[0].events.statistics();
    assert_eq!((statistics.endpoints[0].delivered, statistics.endpoints[0].failures), (1, 11));
}

#[tokio::test(start_paused = true)]
async fn what_is_replayed_is_found_though_nothing_is_written() {
    let mut world = World::new().await;
    world.write(0, 3).await;
    world.round(0, Vec::new()).await;
    let second = world.metadata.events_after(0, 10).await.unwrap()[1].id;
    let now = (world.replicas[0].clock)();
    assert!(world.metadata.replay_events("hook", second - 1, now).await.unwrap());
    tokio::time::advance(LOOK_AT_CURSOR).await;
    world.round(0, Vec::new()).await;
    assert_eq!(world.endpoint.received(), ["e0", "e1", "e2", "e1", "e2"]);
}

impl Deliverer<SqliteMetadata, Endpoint> {
    async fn round_with(&mut self, endpoint: &Endpoint, outcome: Outcome) -> Round {
        endpoint.0.plan.lock().unwrap().push_back(outcome);
        self.round().await.unwrap()
    }
}

#[test]
fn pauses_double_and_are_bounded() {
    let pauses = [0, 1, 2, 8, 9, 40, u32::MAX].map(|attempts| pause_after(attempts).as_secs());
    assert_eq!(pauses, [1, 2, 4, 256, 300, 300, 300]);
}
