//! Totals, backups and moving to another store.

use registry_types::{AccountKind, Algorithm, DigestHasher, UploadId};
use time::Duration;

use super::{collection::start, samples::*};
use crate::{
    AccountRecord, Change, CollectPolicy, Counts, Metadata, MetadataError, NewEvent, NewRetention, Row,
    RowValue, TABLES, TagEffect, TagRule, UploadRecord, summarize,
};

fn upload() -> UploadRecord {
    UploadRecord {
        id: UploadId::random(),
        repository: repository("team/app"),
        started_at: start(),
        touched_at: start(),
        progress: DigestHasher::new(Algorithm::Sha256).save().into(),
        writer: 0,
    }
}

pub async fn totals_follow_every_change<M: Metadata>(store: M) {
    let here = repository("team/app");
    assert_eq!(store.counts().await.unwrap(), Counts::default());
    let image = pushed_image(&store, &here, "app", &["v1", "v2"]).await;
    pushed_image(&store, &here, "app", &["v2", "v3"]).await;
    pushed_image(&store, &repository("team/b"), "app", &[]).await;
    let session = upload();
    store.create_upload(&session).await.unwrap();
    store
        .record_events(vec![NewEvent { repository: here.clone(), payload: "{}".into() }], start())
        .await
        .unwrap();
    let bytes = image.view.required_blobs().iter().map(|part| part.size).sum();
    let counts = store.counts().await.unwrap();
    let expected = Counts {
        repositories: 2,
        manifests: 2,
        tags: 3,
        blobs: 2,
        blob_bytes: bytes,
        uploads: 1,
        // Four links and the manifest without a tag.
        queued: 5,
        removals: 0,
        events: 1,
    };
    assert_eq!(counts, expected);
    for name in [&here, &repository("team/b")] {
        store.delete_manifest(name, &image.digest, Change::now()).await.unwrap();
    }
    store.delete_upload(&here, &session.id).await.unwrap();
    store.trim_events(start() + Duration::days(1), 10).await.unwrap();
    let late = time::OffsetDateTime::now_utc() + Duration::days(2);
    store.collect(&CollectPolicy::default(), late, 100).await.unwrap();
    let counts = store.counts().await.unwrap();
    assert_eq!(counts, Counts { repositories: 2, removals: 2, ..Counts::default() });
}

/// Something in every table.
async fn filled<M: Metadata>(store: &M) {
    let here = repository("team/app");
    let image = pushed_image(store, &here, "app", &["v1"]).await;
    let index = manifest(&here, &index_json(&[&image]), &["index"]);
    store.put_manifest(index, Change::now()).await.unwrap();
    for name in ["subject", "to be deleted"] {
        let subject = pushed_image(store, &here, name, &[]).await;
        let mut json = image_json(&[blob("config of app")]);
        let layer = blob(name);
        json["subject"] = serde_json::json!({
            "mediaType": registry_types::MediaType::OCI_MANIFEST,
            "digest": subject.digest.to_string(),
            "size": layer.size,
        });
        json["annotations"] = serde_json::json!({ "of": name });
        store.put_manifest(manifest(&here, &json, &[]), Change::now()).await.unwrap();
        if name == "to be deleted" {
            store.delete_manifest(&here, &subject.digest, Change::now()).await.unwrap();
        }
    }
    let gone = blob("gone");
    store.link_blob(&here, &gone, None, Change::at(start())).await.unwrap();
    store.collect(&CollectPolicy::default(), start() + Duration::days(2), 100).await.unwrap();
    let subject = pushed_image(store, &here, "also to be deleted", &[]).await;
    let mut json = image_json(&[blob("config of app")]);
    json["subject"] = serde_json::json!({
        "mediaType": registry_types::MediaType::OCI_MANIFEST,
        "digest": subject.digest.to_string(),
        "size": 1,
    });
    store.put_manifest(manifest(&here, &json, &[]), Change::now()).await.unwrap();
    store.delete_manifest(&here, &subject.digest, Change::now()).await.unwrap();
    store.create_upload(&upload()).await.unwrap();
    let account = AccountRecord {
        name: parse("alice"),
        kind: AccountKind::User,
        admin: true,
        password_hash: "$2y$hash".to_owned(),
        created_at: start(),
    };
    store.put_account(&account, false).await.unwrap();
    let rule = registry_types::AccessRule {
        subject: parse("account:alice"),
        pattern: parse("team/**"),
        actions: parse("pull,push"),
    };
    store.add_rule(&rule).await.unwrap();
    let allowed = vec![parse("account:alice")];
    let rule =
        TagRule { repositories: parse("**"), tags: parse("v*"), effect: TagEffect::Protected { allowed } };
    store.add_tag_rule(&rule).await.unwrap();
    let retention = NewRetention { prefix: parse("team"), rule: "{}".into(), schedule: "daily".into() };
    store.add_retention(&retention).await.unwrap();
    store.set_quota(&parse("team"), 1_000_000).await.unwrap();
    store.add_endpoint("hook", start()).await.unwrap();
    let event = || NewEvent { repository: here.clone(), payload: r#"{"a":1}"#.into() };
    store.record_events(vec![event(), event()], start()).await.unwrap();
    let claim = store.claim_endpoint("hook", start(), start()).await.unwrap().unwrap();
    let events = store.events_after(0, 10).await.unwrap();
    store.advance_endpoint(&claim, events[0].id, start()).await.unwrap();
    store.record_pulls(&[(here, image.digest, start())]).await.unwrap();
}

async fn copied<A: Metadata, B: Metadata>(from: &A, to: &B, page: usize) -> Result<(), MetadataError> {
    for table in TABLES {
        let mut after: Option<Row> = None;
        loop {
            let rows = from.export_rows(table, after.as_deref(), page).await?;
            assert!(rows.entries.len() <= page);
            after = rows.entries.last().map(|last| last[..table.key].to_vec());
            to.import_rows(table, rows.entries).await?;
            if !rows.more {
                break;
            }
        }
    }
    to.finish_import().await
}

/// Moves a filled store to another one, which must then be the same and work on.
pub async fn rows_move<A: Metadata, B: Metadata>(from: A, to: B) {
    filled(&from).await;
    let before = summarize(&from).await.unwrap();
    assert!(before.iter().all(|total| total.rows > 0), "a table was not filled: {before:?}");
    copied(&from, &to, 3).await.unwrap();
    assert_eq!(summarize(&to).await.unwrap(), before);
    assert_eq!(to.counts().await.unwrap(), from.counts().await.unwrap());
    assert_eq!(to.quotas().await.unwrap(), from.quotas().await.unwrap());
    let here = repository("team/app");
    let tags = async |page| {
        (from.tag_records(&here, page).await.unwrap(), to.tag_records(&here, page).await.unwrap())
    };
    let (old, new) = tags(&page(None, 100)).await;
    assert_eq!(old, new);
    // What the engine derives is there: an index keeps its child, names keep blobs, and numbers go on.
    let late = time::OffsetDateTime::now_utc() + Duration::days(400);
    let policy =
        CollectPolicy { untagged_after: Some(std::time::Duration::ZERO), ..CollectPolicy::default() };
    let collected = [
        from.collect(&policy, late, 1_000).await.unwrap().removed,
        to.collect(&policy, late, 1_000).await.unwrap().removed,
    ];
    assert_eq!(collected[0], collected[1]);
    assert!(collected[1].manifests > 0);
    assert!(to.manifest(&here, &tag("v1").into()).await.unwrap().is_some());
    assert!(to.blob(&here, &blob("layer of app").digest).await.unwrap().is_some());
    let last = to.events_after(0, 10).await.unwrap().last().map(|event| event.id);
    to.trim_events(late, 10).await.unwrap();
    let event = NewEvent { repository: here.clone(), payload: "{}".into() };
    to.record_events(vec![event], late).await.unwrap();
    assert!(to.events_after(0, 10).await.unwrap()[0].id > last.unwrap());
    pushed_image(&to, &repository("team/new"), "new", &["v1"]).await;

    // A second copy meets the rows of the first and is refused.
    let again = copied(&from, &to, 100).await;
    assert!(matches!(again, Err(MetadataError::AlreadyExists { .. })), "{again:?}");
}

pub async fn a_summary_tells_any_difference<M: Metadata>(store: M) {
    let digest = async || {
        let totals = summarize(&store).await.unwrap();
        totals.into_iter().find(|total| total.table == "accounts").unwrap()
    };
    let empty = digest().await;
    let row = |name: &str, admin| {
        vec![
            RowValue::Text(name.into()),
            RowValue::Text("user".into()),
            RowValue::Integer(admin),
            RowValue::Text("hash".into()),
            RowValue::Integer(0),
        ]
    };
    let accounts = TABLES.iter().find(|table| table.name == "accounts").unwrap();
    store.import_rows(accounts, vec![row("a", 0), row("b", 1)]).await.unwrap();
    let two = digest().await;
    assert!(two.rows == 2 && two.digest != empty.digest);
    let mut account = store.account(&parse("b")).await.unwrap().unwrap();
    assert!(account.admin);
    account.admin = false;
    store.put_account(&account, true).await.unwrap();
    assert_ne!(digest().await.digest, two.digest);
    // Whole or not at all.
    assert!(store.import_rows(accounts, vec![row("c", 0), row("a", 0)]).await.is_err());
    assert_eq!(store.accounts().await.unwrap().len(), 2);
    assert!(store.import_rows(accounts, vec![vec![RowValue::Null]]).await.is_err());
}
