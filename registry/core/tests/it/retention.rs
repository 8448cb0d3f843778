//! Retention on the real metadata store.

use registry_core::{
    Limits, PolicyOrigin, Retention, RetentionDecision, RetentionPolicy, RetentionRule, RetentionRun,
    RunMode, Timetable,
};
use registry_metadata::{EventMetadata, ListingMetadata, PageRequest, PolicyMetadata, SqliteMetadata};
use time::{Duration, macros::datetime};

use super::{
    grant,
    policies::{opened, push_image, rule},
};

fn policy(prefix: &str, schedule: &str, json: &str) -> RetentionPolicy {
    RetentionPolicy {
        prefix: prefix.parse().unwrap(),
        schedule: schedule.parse().unwrap(),
        rule: serde_json::from_str::<RetentionRule>(json).unwrap(),
        origin: PolicyOrigin::Operator,
    }
}

async fn add(metadata: &SqliteMetadata, policy: &RetentionPolicy) -> i64 {
    metadata.add_retention(&policy.to_stored().unwrap()).await.unwrap().id
}

async fn tags(metadata: &SqliteMetadata, repository: &str) -> Vec<String> {
    let page = PageRequest { after: None, limit: 100 };
    let tags = metadata.tags(&repository.parse().unwrap(), &page).await.unwrap().unwrap();
    tags.entries.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_run_removes_what_its_policy_governs_and_a_dry_run_nothing() {
    let (registry, metadata, _folder) = opened(Limits::default()).await;
    for repository in ["team", "team-other/app", "team/app", "team/tmp", "zeta"] {
        for tag in ["a", "b", "c", "v1"] {
            push_image(&registry, &grant(repository), tag.as_bytes(), tag).await.unwrap();
        }
    }
    metadata.add_tag_rule(&rule(r#"{"repositories":"**","tags":"v*","immutable":true}"#)).await.unwrap();
    add(&metadata, &policy("team", "hourly", r#"{"keep_newest":1}"#)).await;
    add(&metadata, &policy("team", "hourly", r#"{"keep_tags":["a"],"remove_older_than":"90d"}"#)).await;
    add(&metadata, &policy("team/tmp", "hourly", r#"{"keep_newest":0}"#)).await;
    let retention = Retention::new(metadata.clone(), [].into()).with_events(super::events::deletions());

    let mut decisions: Vec<RetentionDecision> = Vec::new();
    let run = retention.run(None, RunMode::DryRun, |decision| decisions.push(decision)).await.unwrap();
    assert_eq!(run, RetentionRun { repositories: 3, kept: 7, removed: 5 });
    let gone: Vec<String> = decisions
        .iter()
        .filter(|decision| decision.verdict.removes())
        .map(|decision| format!("{}:{}", decision.repository, decision.tag))
        .collect();
    assert_eq!(gone, ["team:b", "team/app:b", "team/tmp:a", "team/tmp:b", "team/tmp:c"]);
    let reason = |name: &str| {
        let found =
            decisions.iter().find(|decision| format!("{}:{}", decision.repository, decision.tag) == name);
        found.unwrap().verdict.reason().to_string()
    };
    assert_eq!(reason("team/app:a"), "it matches a of keep_tags");
    assert_eq!(reason("team/app:c"), "it is among the newest 1");
    assert_eq!(reason("team/app:v1"), "tag rule 1 makes v* in ** immutable");
    assert_eq!(reason("team/app:b"), "nothing keeps it");
    assert_eq!(tags(&metadata, "team/app").await, ["a", "b", "c", "v1"], "a dry run removed tags");

    let only = "team/tmp".parse().unwrap();
    let run = retention.run(Some(&only), RunMode::Remove, drop).await.unwrap();
    assert_eq!(run, RetentionRun { repositories: 1, kept: 1, removed: 3 });
    assert_eq!(tags(&metadata, "team/tmp").await, ["v1"]);
    assert_eq!(tags(&metadata, "team/app").await.len(), 4);
    let run = retention.run(None, RunMode::Remove, drop).await.unwrap();
    assert_eq!(run.removed, 2);
    assert_eq!(tags(&metadata, "team").await, ["a", "c", "v1"]);
    for other in ["team-other/app", "zeta"] {
        assert_eq!(tags(&metadata, other).await.len(), 4, "{other} is under no policy");
    }
    assert_eq!(retention.run(None, RunMode::Remove, drop).await.unwrap().removed, 0);
    // What went is told, and nothing else.
    let events = metadata.events_after(0, 10).await.unwrap();
    let told: Vec<&str> = events.iter().map(|event| event.repository.as_str()).collect();
    assert_eq!(told, ["team/tmp", "team/tmp", "team/tmp", "team", "team/app"]);
}

#[tokio::test]
async fn a_policy_runs_at_its_slot_on_one_replica() {
    let (registry, metadata, _folder) = opened(Limits::default()).await;
    let fill = async || {
        push_image(&registry, &grant("a"), b"one", "one").await.unwrap();
        push_image(&registry, &grant("a"), b"two", "two").await.unwrap();
    };
    fill().await;
    let id = add(&metadata, &policy("*", "daily 03:00", r#"{"keep_newest":1}"#)).await;
    let (first, second) =
        (Retention::new(metadata.clone(), [].into()), Retention::new(metadata.clone(), [].into()));
    let (mut here, mut there) = (Timetable::default(), Timetable::default());
    let seen = datetime!(2026-05-01 12:00 UTC);
    first.run_due(&mut here, seen).await.unwrap();
    second.run_due(&mut there, seen).await.unwrap();
    assert_eq!(tags(&metadata, "a").await.len(), 2, "a policy ran before its first slot");
    let slot = datetime!(2026-05-02 03:00 UTC);
    first.run_due(&mut here, slot).await.unwrap();
    assert_eq!(tags(&metadata, "a").await, ["two"]);
    assert_eq!(metadata.retentions().await.unwrap()[0].started_at, Some(slot));
    fill().await;
    second.run_due(&mut there, slot + Duration::minutes(1)).await.unwrap();
    assert_eq!(tags(&metadata, "a").await.len(), 2, "a slot was run twice");
    second.run_due(&mut there, slot + Duration::days(1)).await.unwrap();
    assert_eq!(tags(&metadata, "a").await, ["two"]);
    assert!(metadata.delete_retention(id).await.unwrap());
}

#[tokio::test]
async fn the_configuration_replaces_its_own_policies_and_no_others() {
    let (_, metadata, _folder) = opened(Limits::default()).await;
    let retention = Retention::new(metadata.clone(), [].into());
    let operators = add(&metadata, &policy("team", "hourly", r#"{"keep_newest":1}"#)).await;
    let configured = |count: usize| RetentionPolicy {
        origin: PolicyOrigin::Configuration,
        ..policy("team", "hourly", &format!(r#"{{"keep_newest":{count}}}"#))
    };
    let ids = async || -> Vec<i64> {
        retention.policies().await.unwrap().as_slice().iter().map(|stored| stored.id).collect()
    };
    retention.adopt(&[configured(1), configured(2)]).await.unwrap();
    let adopted = ids().await;
    assert_eq!(adopted.len(), 3);
    retention.adopt(&[configured(2), configured(1)]).await.unwrap();
    assert_eq!(ids().await, adopted, "what is the same keeps its id and its last run");
    retention.adopt(&[configured(2)]).await.unwrap();
    assert_eq!(ids().await, [adopted[0], adopted[2]]);
    retention.adopt(&[]).await.unwrap();
    assert_eq!(ids().await, [operators]);
}
