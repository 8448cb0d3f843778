//! Accounts and access rules.

use registry_types::{AccessRule, AccountKind, ActionSet};
use time::OffsetDateTime;

use super::samples::parse;
use crate::{AccountRecord, Metadata, MetadataError};

fn account(name: &str, kind: AccountKind) -> AccountRecord {
    AccountRecord {
        name: parse(name),
        kind,
        admin: kind == AccountKind::User,
        password_hash: format!("$argon2id$v=19$m=1,t=1,p=1$c2FsdA${name}"),
        created_at: OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000),
    }
}

fn rule(subject: &str, pattern: &str, actions: ActionSet) -> AccessRule {
    AccessRule { subject: parse(subject), pattern: parse(pattern), actions }
}

pub async fn accounts_are_stored_replaced_and_removed<M: Metadata>(store: M) {
    let (alice, robot) = (account("alice", AccountKind::User), account("ci.robot", AccountKind::Robot));
    assert_eq!(store.account(&alice.name).await.unwrap(), None);
    store.put_account(&robot, false).await.unwrap();
    store.put_account(&alice, true).await.unwrap();
    assert_eq!(store.account(&alice.name).await.unwrap(), Some(alice.clone()));
    assert_eq!(store.account(&parse("Alice")).await.unwrap(), None, "case counts");
    assert_eq!(store.accounts().await.unwrap(), [alice.clone(), robot.clone()]);

    let changed = AccountRecord { password_hash: "$2y$other".to_owned(), admin: false, ..alice.clone() };
    let refused = store.put_account(&changed, false).await.unwrap_err();
    assert!(matches!(&refused, MetadataError::AlreadyExists { what } if what.contains("alice")), "{refused}");
    assert_eq!(store.account(&alice.name).await.unwrap(), Some(alice.clone()));
    store.put_account(&changed, true).await.unwrap();
    assert_eq!(store.account(&alice.name).await.unwrap(), Some(changed));

    assert!(store.delete_account(&alice.name).await.unwrap());
    assert!(!store.delete_account(&alice.name).await.unwrap());
    assert_eq!(store.accounts().await.unwrap(), [robot]);
}

pub async fn rules_keep_their_order_and_go_with_their_account<M: Metadata>(store: M) {
    assert!(store.rules().await.unwrap().is_empty());
    store.put_account(&account("ci", AccountKind::Robot), false).await.unwrap();
    let rules = [
        rule("everyone", "public/**", parse("pull")),
        rule("account:ci", "team/*", parse("pull,push,delete")),
        rule("logged-in", "**", ActionSet::NONE),
        // An account may be called like a group.
        rule("account:everyone", "x", parse("delete")),
    ];
    let mut records = Vec::new();
    for rule in &rules {
        records.push(store.add_rule(rule).await.unwrap());
        assert_eq!(*store.rules().await.unwrap(), records, "a rule is seen once it is acknowledged");
    }
    assert_eq!(records.iter().map(|record| record.rule.clone()).collect::<Vec<_>>(), rules);

    assert!(store.delete_account(&parse("ci")).await.unwrap());
    let removed = records.remove(1);
    assert_eq!(*store.rules().await.unwrap(), records);
    assert!(!store.delete_rule(removed.id).await.unwrap());
    let last = records.pop().expect("three are left");
    assert!(store.delete_rule(last.id).await.unwrap());
    assert_eq!(*store.rules().await.unwrap(), records);
    let next = store.add_rule(&rules[3]).await.unwrap();
    assert!(next.id > last.id, "the id of a removed rule came back");
}

pub async fn a_secret_is_replaced_by_who_knows_it(store: impl Metadata) {
    assert_eq!(store.secret("keys").await.unwrap(), None);
    assert!(!store.put_secret("keys", Some("guess"), "mine").await.unwrap());
    let racing = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.put_secret("keys", None, &format!("first {number}")).await.unwrap() })
    });
    let mut winners = 0;
    for stored in racing.collect::<Vec<_>>() {
        winners += usize::from(stored.await.unwrap());
    }
    assert_eq!(winners, 1, "replicas that start at once must agree");
    let first = store.secret("keys").await.unwrap().expect("one was stored");
    assert!(!store.put_secret("keys", None, "late").await.unwrap());
    assert!(store.put_secret("keys", Some(&first), "second").await.unwrap());
    assert_eq!(store.secret("keys").await.unwrap().as_deref(), Some("second"));
    assert_eq!(store.secret("other").await.unwrap(), None);
}
