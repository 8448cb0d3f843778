//! `registry user add` in another process while the server runs.

use registry_metadata::{AccountMetadata, AccountRecord, ListingMetadata, SqliteMetadata, suite::samples};
use registry_types::{AccessRule, AccountKind};
use time::OffsetDateTime;

use crate::child;

/// Accounts that the other process adds, while this one writes without pause.
const ACCOUNTS: usize = 40;

#[tokio::test]
#[ignore = "started by another test in a process of its own"]
async fn child_adds_accounts_and_rules() {
    let store = SqliteMetadata::open_beside_server_blocking(&child::database()).unwrap();
    for number in 0..ACCOUNTS {
        let account = AccountRecord {
            name: samples::parse(&format!("user{number}")),
            kind: AccountKind::User,
            admin: false,
            password_hash: "hash".to_owned(),
            created_at: OffsetDateTime::now_utc(),
        };
        store.put_account(&account, false).await.unwrap();
        let rule = AccessRule {
            subject: samples::parse(&format!("account:user{number}")),
            pattern: samples::parse("**"),
            actions: samples::parse("pull"),
        };
        store.add_rule(&rule).await.unwrap();
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_s_accounts_are_seen_and_disturb_no_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.db");
    let store = SqliteMetadata::open(&path).unwrap();
    assert!(store.rules().await.unwrap().is_empty());
    assert!(store.accounts().await.unwrap().is_empty());
    let child = child::start("beside::child_adds_accounts_and_rules", &path, &[]);
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let here = samples::repository("team/app");
    let mut pushed = 0;
    while !waiting.is_finished() {
        samples::pushed_image(&store, &here, &pushed.to_string(), &["latest", &format!("t{pushed}")]).await;
        pushed += 1;
    }
    let output = waiting.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(store.accounts().await.unwrap().len(), ACCOUNTS);
    assert_eq!(store.rules().await.unwrap().len(), ACCOUNTS);
    assert!(store.account(&samples::parse("user7")).await.unwrap().is_some());
    let tags = store.tags(&here, &samples::page(None, pushed + 2)).await.unwrap().unwrap().entries;
    assert_eq!(tags.len(), pushed + 1);
}
