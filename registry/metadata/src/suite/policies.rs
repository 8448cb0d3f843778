//! Tag rules, immutable tags, retention policies, quotas and the times of pulls.

use registry_types::PathPrefix;
use time::Duration;

use super::{collection::start, samples::*};
use crate::{
    Change, CollectPolicy, Metadata, MetadataError, NewManifest, NewRetention, QuotaRecord, TagEffect,
    TagRule,
};

pub async fn tag_rules_are_kept_in_their_order<M: Metadata>(store: M) {
    assert!(store.tag_rules().await.unwrap().is_empty());
    let rule =
        |repositories, tags, effect| TagRule { repositories: parse(repositories), tags: parse(tags), effect };
    let allowed = ["account:ci", "logged-in"].map(parse).to_vec();
    let rules = [
        rule("team/**", "v*", TagEffect::Immutable),
        rule("**", "latest", TagEffect::Protected { allowed }),
        rule("**", "*", TagEffect::Protected { allowed: Vec::new() }),
    ];
    let mut records = Vec::new();
    for rule in &rules {
        records.push(store.add_tag_rule(rule).await.unwrap());
        assert_eq!(*store.tag_rules().await.unwrap(), records);
    }
    assert_eq!(records.iter().map(|record| record.rule.clone()).collect::<Vec<_>>(), rules);
    let removed = records.pop().expect("three were added");
    assert!(store.delete_tag_rule(removed.id).await.unwrap());
    assert!(!store.delete_tag_rule(removed.id).await.unwrap());
    assert_eq!(*store.tag_rules().await.unwrap(), records);
    assert!(store.add_tag_rule(&rules[0]).await.unwrap().id > removed.id, "an id came back");
}

pub async fn an_immutable_tag_stays_on_its_manifest<M: Metadata>(store: M) {
    let here = repository("team/app");
    let fixed = |image: &NewManifest, tags: [&str; 2]| NewManifest {
        tags: tags.map(tag).to_vec(),
        immutable_tags: vec![tag("v1")],
        ..image.clone()
    };
    let first = linked_image(&store, &here, "first", &[]).await;
    let second = linked_image(&store, &here, "second", &[]).await;
    store.put_manifest(fixed(&first, ["v1", "latest"]), Change::now()).await.unwrap();
    // The same content again is fine.
    store.put_manifest(fixed(&first, ["v1", "latest"]), Change::now()).await.unwrap();
    let refused = store.put_manifest(fixed(&second, ["latest", "v1"]), Change::now()).await.unwrap_err();
    assert!(
        matches!(&refused, MetadataError::TagImmutable { tag: named } if *named == tag("v1")),
        "{refused}"
    );
    for name in ["v1", "latest"] {
        let found = store.manifest(&here, &tag(name).into()).await.unwrap().unwrap();
        assert_eq!(found.digest, first.digest, "{name} moved by a push that was refused");
    }
    assert_eq!(store.manifest(&here, &second.digest.into()).await.unwrap(), None);
    store.delete_tag(&here, &tag("v1"), Change::now()).await.unwrap();
    store.put_manifest(fixed(&second, ["latest", "v1"]), Change::now()).await.unwrap();
}

pub async fn one_replica_begins_a_retention_run<M: Metadata>(store: M) {
    let policy =
        NewRetention { prefix: parse("team"), rule: r#"{"keep":10}"#.to_owned(), schedule: "daily".into() };
    let record = store.add_retention(&policy).await.unwrap();
    assert_eq!((&record.policy, record.started_at), (&policy, None));
    let other = NewRetention { prefix: PathPrefix::ALL, ..policy };
    let other = store.add_retention(&other).await.unwrap();
    assert_eq!(store.retentions().await.unwrap(), [record.clone(), other.clone()]);
    let begin = async |last, now| store.start_retention(record.id, last, now).await.unwrap();
    assert!(begin(None, start()).await);
    assert!(!begin(None, start() + Duration::seconds(1)).await, "two replicas run it");
    assert!(begin(Some(start()), start() + Duration::days(1)).await);
    let listed = store.retentions().await.unwrap();
    assert_eq!((listed[0].started_at, listed[1].started_at), (Some(start() + Duration::days(1)), None));
    assert!(store.delete_retention(record.id).await.unwrap());
    assert!(!store.delete_retention(record.id).await.unwrap() && !begin(None, start()).await);
    assert_eq!(store.retentions().await.unwrap(), [other]);
}

pub async fn pulls_are_dated<M: Metadata>(store: M) {
    let (here, there) = (repository("team/app"), repository("team/other"));
    let image = pushed_image(&store, &here, "app", &["v1", "v2"]).await;
    pushed_image(&store, &there, "app", &["v1"]).await;
    let pulled = async |name| {
        let page = store.tag_records(name, &page(None, 10)).await.unwrap().unwrap();
        page.entries.into_iter().map(|record| record.pulled_at).collect::<Vec<_>>()
    };
    assert_eq!(pulled(&here).await, [None, None]);
    let gone = (here.clone(), blob("gone").digest, start());
    let nowhere = (repository("team/none"), image.digest, start());
    let late = start() + Duration::hours(1);
    store.record_pulls(&[gone, nowhere, (here.clone(), image.digest, late)]).await.unwrap();
    assert_eq!(pulled(&here).await, [Some(late), Some(late)]);
    store.record_pulls(&[(here.clone(), image.digest, start())]).await.unwrap();
    assert_eq!(pulled(&here).await, [Some(late), Some(late)], "an older pull came later");
    assert_eq!(pulled(&there).await, [None], "another repository's pull");
}

pub async fn a_quota_counts_each_blob_once_and_refuses_the_next<M: Metadata>(store: M) {
    let (app, other, outside) = (repository("team/app"), repository("team/other"), repository("teams/app"));
    let (small, large) = (blob("0123456789"), blob("0123456789 and ten more"));
    store.link_blob(&outside, &large, None, Change::now()).await.unwrap();
    store.link_blob(&app, &small, None, Change::now()).await.unwrap();
    let prefix: PathPrefix = parse("team");
    let quota = store.set_quota(&prefix, 30).await.unwrap();
    assert_eq!(quota, QuotaRecord { id: quota.id, prefix: prefix.clone(), limit_bytes: 30, used_bytes: 10 });
    let all = store.set_quota(&PathPrefix::ALL, 1_000).await.unwrap();
    assert_eq!(all.used_bytes, 33);
    let used = async || {
        let quotas = store.quotas().await.unwrap();
        quotas.iter().map(|quota| (quota.prefix.to_string(), quota.used_bytes)).collect::<Vec<_>>()
    };
    let expect = |all, team| vec![("*".to_owned(), all), ("team".to_owned(), team)];
    assert_eq!(used().await, expect(33, 10));
    assert_eq!(store.quota_room(&app).await.unwrap(), Some(20));
    assert_eq!(store.quota_room(&repository("team/new/one")).await.unwrap(), Some(20));
    assert_eq!(store.quota_room(&outside).await.unwrap(), Some(967));
    // The same blob in another repository of the prefix costs nothing more.
    store.mount_blob(Some(&app), &other, &small.digest, Change::now()).await.unwrap();
    store.link_blob(&app, &small, None, Change::now()).await.unwrap();
    assert_eq!(used().await, expect(33, 10));
    for refused in [
        store.link_blob(&app, &large, None, Change::now()).await.map(drop),
        store.mount_blob(Some(&outside), &other, &large.digest, Change::now()).await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        let expected = matches!(&refused, MetadataError::QuotaExceeded { prefix: p, limit: 30, used: 10 } if *p == prefix);
        assert!(expected, "{refused}");
    }
    assert_eq!(used().await, expect(33, 10));
    assert_eq!(store.blob(&app, &large.digest).await.unwrap(), None);
    let new = repository("team/new");
    assert!(store.mount_blob(Some(&outside), &new, &large.digest, Change::now()).await.is_err());
    assert!(store.tags(&new, &page(None, 1)).await.unwrap().is_none(), "a refusal made a repository");

    store.unlink_blob(&app, &small.digest, Change::now()).await.unwrap();
    assert_eq!(used().await, expect(33, 10), "one repository still has it");
    store.unlink_blob(&other, &small.digest, Change::now()).await.unwrap();
    assert_eq!(used().await, expect(23, 0));
    assert_eq!(store.set_quota(&prefix, 5).await.unwrap().id, quota.id);
    assert!(store.link_blob(&app, &small, None, Change::now()).await.is_err());
    assert!(store.delete_quota(quota.id).await.unwrap() && !store.delete_quota(quota.id).await.unwrap());
    store.link_blob(&app, &large, None, Change::now()).await.unwrap();
    // Collection gives room back.
    let late = time::OffsetDateTime::now_utc() + Duration::days(3);
    store.collect(&CollectPolicy::default(), late, 100).await.unwrap();
    let quotas = store.quotas().await.unwrap();
    assert_eq!(quotas.iter().map(|quota| quota.used_bytes).collect::<Vec<_>>(), [0]);
}
