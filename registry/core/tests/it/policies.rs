//! Tag rules, quotas and limits on the real stores.

use std::sync::Arc;

use futures_util::StreamExt;
use registry_auth::{Access, Delete, Grant, Identity, Permission, Pull, Push};
use registry_blobs::LocalBlobs;
use registry_core::{Authority, BodyError, CoreError, Limits, Question, Registry, Ruling, TagRuleForm};
use registry_metadata::{
    AccountMetadata, AccountRecord, ListingMetadata, PageRequest, PolicyMetadata, SqliteMetadata, TagRule,
};
use registry_types::{AccessRule, AccountKind, Action, Algorithm, Digest, Reference};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::{TestRegistry, body, grant, image, manifest_push, push};

pub(crate) async fn opened(limits: Limits) -> (TestRegistry, SqliteMetadata, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
    let blobs = LocalBlobs::in_directory(folder.path().to_owned()).await.unwrap();
    (Registry::new(metadata.clone(), blobs, limits), metadata, folder)
}

pub(crate) fn rule(json: &str) -> TagRule {
    serde_json::from_str::<TagRuleForm>(json).unwrap().try_into().unwrap()
}

fn named<P: Permission>(name: &str, repository: &str) -> Grant<P> {
    Access::unrestricted(Identity::named(name)).grant(&repository.parse().unwrap()).unwrap()
}

/// Pushes an image of its own for each `content` under a tag.
pub(crate) async fn push_image(
    registry: &TestRegistry,
    by: &Grant<Push>,
    content: &[u8],
    tag: &str,
) -> Result<Digest, CoreError> {
    let config = push(registry, by.repository().as_str(), content).await;
    let reference = tag.parse::<Reference>().unwrap();
    registry.push_manifest(by, manifest_push(reference, image(&config))).await.map(|pushed| pushed.digest)
}

async fn add_account(metadata: &SqliteMetadata, name: &str, admin: bool) {
    let account = AccountRecord {
        name: name.parse().unwrap(),
        kind: AccountKind::User,
        admin,
        password_hash: "unused".to_owned(),
        created_at: OffsetDateTime::now_utc(),
    };
    metadata.put_account(&account, false).await.unwrap();
}

#[tokio::test]
async fn an_immutable_tag_takes_the_same_content_and_no_other() {
    let (registry, metadata, _folder) = opened(Limits::default()).await;
    let stored = metadata
        .add_tag_rule(&rule(r#"{"repositories":"team/**","tags":"v*","immutable":true}"#))
        .await
        .unwrap();
    let by = grant::<Push>("team/app");
    let first = push_image(&registry, &by, b"one", "v1").await.unwrap();
    assert_eq!(push_image(&registry, &by, b"one", "v1").await.unwrap(), first);
    let refused = push_image(&registry, &by, b"two", "v1").await.unwrap_err();
    assert!(matches!(refused, CoreError::TagImmutable { action: Action::Push, .. }));
    assert_eq!(
        refused.to_string(),
        format!(
            "the tag v1 of team/app is immutable: tag rule {} makes v* in team/** immutable; push under another tag",
            stored.id
        )
    );
    let now = registry.manifest(&grant::<Pull>("team/app"), &"v1".parse().unwrap()).await.unwrap();
    assert_eq!(now.digest, first);

    let delete = grant::<Delete>("team/app");
    for reference in ["v1".parse::<Reference>().unwrap(), Reference::Digest(first)] {
        let refused = registry.delete_manifest(&delete, &reference).await.unwrap_err();
        assert!(matches!(refused, CoreError::TagImmutable { action: Action::Delete, .. }), "{refused}");
    }
    // Where the rule does not reach, tags move and go.
    for tag in ["latest", "nightly"] {
        push_image(&registry, &by, b"one", tag).await.unwrap();
        push_image(&registry, &by, b"two", tag).await.unwrap();
    }
    registry.delete_manifest(&delete, &"latest".parse().unwrap()).await.unwrap();
    let other = grant::<Push>("other/app");
    push_image(&registry, &other, b"one", "v1").await.unwrap();
    push_image(&registry, &other, b"two", "v1").await.unwrap();
    metadata.delete_tag_rule(stored.id).await.unwrap();
    registry.delete_manifest(&delete, &Reference::Digest(first)).await.unwrap();
}

#[tokio::test]
async fn a_protected_tag_is_for_those_that_the_rule_names() {
    let configured: Arc<[TagRule]> =
        [rule(r#"{"repositories":"team/**","tags":"release-*","protected":["account:ci"]}"#)].into();
    let limits = Limits { tag_rules: configured, ..Limits::default() };
    let (registry, metadata, folder) = opened(limits.clone()).await;
    add_account(&metadata, "root", true).await;
    add_account(&metadata, "eve", false).await;
    let digest = push_image(&registry, &named("ci", "team/app"), b"one", "release-1").await.unwrap();
    push_image(&registry, &named("root", "team/app"), b"two", "release-2").await.unwrap();
    push_image(&registry, &named("eve", "team/app"), b"one", "branch").await.unwrap();
    for name in ["eve", "nobody"] {
        let refused = push_image(&registry, &named(name, "team/app"), b"two", "release-1").await.unwrap_err();
        assert!(matches!(refused, CoreError::TagProtected { action: Action::Push, .. }));
        assert!(
            refused.to_string().contains("the configuration keeps release-* in team/** for account:ci"),
            "{refused}"
        );
        for reference in ["release-1".parse::<Reference>().unwrap(), Reference::Digest(digest)] {
            let refused = registry.delete_manifest(&named(name, "team/app"), &reference).await.unwrap_err();
            assert!(matches!(refused, CoreError::TagProtected { action: Action::Delete, .. }), "{refused}");
        }
    }
    registry.delete_manifest(&named("eve", "team/app"), &"branch".parse().unwrap()).await.unwrap();
    registry.delete_manifest(&named("ci", "team/app"), &Reference::Digest(digest)).await.unwrap();

    // A GitLab's root is not the administrator of that name here.
    let blobs = LocalBlobs::in_directory(folder.path().to_owned()).await.unwrap();
    let registry = Registry::new(metadata, blobs, Limits { authority: Authority::Gitlab, ..limits });
    let refused = push_image(&registry, &named("root", "team/app"), b"three", "release-3").await.unwrap_err();
    assert!(matches!(refused, CoreError::TagProtected { .. }), "{refused}");
}

#[tokio::test]
async fn a_quota_refuses_before_and_after_with_its_numbers() {
    let (registry, metadata, _folder) = opened(Limits::default()).await;
    let by = grant::<Push>("team/app");
    assert_eq!(registry.admit(&by, None, Some(1 << 40)).await.map(drop).ok(), Some(()));
    metadata.set_quota(&"team".parse().unwrap(), 10).await.unwrap();
    let full = |error: CoreError, used: u64| {
        let expected = format!("the quota of 10 bytes for team has no room for this: {used} bytes are used");
        assert!(error.to_string().starts_with(&expected), "{error}");
    };
    full(registry.admit(&by, None, Some(11)).await.unwrap_err(), 0);
    registry.admit(&by, None, Some(10)).await.unwrap();
    push(&registry, "team/app", b"123456").await;
    full(registry.admit(&by, None, Some(5)).await.unwrap_err(), 6);
    let digest = Digest::sha256(b"abcde");
    full(registry.push_blob(&by, body(&[b"abcde"]), digest).await.unwrap_err(), 6);
    assert!(registry.blob_size(&grant("team/app"), &digest).await.is_err());

    // A session counts what it has; one without a length is cut where the room ends.
    let upload = registry.start_upload(&by, Algorithm::Sha256).await.unwrap();
    registry.append(&by, upload.id, None, body(&[b"ab"])).await.unwrap();
    full(registry.admit(&by, Some(upload.id), Some(3)).await.unwrap_err(), 6);
    let admission = registry.admit(&by, Some(upload.id), None).await.unwrap();
    full(registry.append(&by, upload.id, None, admission.bound(body(&[b"c", b"de"]))).await.unwrap_err(), 6);
    let digest = Digest::sha256(b"abcd");
    let admission = registry.admit(&by, Some(upload.id), Some(2)).await.unwrap();
    registry.complete(&by, upload.id, None, admission.bound(body(&[b"cd"])), digest).await.unwrap();

    full(registry.admit(&by, None, None).await.unwrap_err(), 10);
    push(&registry, "other", b"elsewhere").await;
    let refused = registry.mount(&by, Some(&grant("other")), None, &Digest::sha256(b"elsewhere")).await;
    full(refused.unwrap_err(), 10);
    // What is there already costs nothing.
    let mounted = registry.mount(&grant("team/b"), Some(&grant("team/app")), None, &digest).await.unwrap();
    assert_eq!(mounted, registry_core::Mounted::Linked);
}

#[tokio::test]
async fn a_layer_above_the_limit_is_refused_or_cut() {
    let limits = Limits { layer_bytes: Some(4), ..Limits::default() };
    let (registry, _, folder) = opened(limits).await;
    let by = grant::<Push>("a");
    let refused = registry.admit(&by, None, Some(5)).await.unwrap_err();
    assert!(matches!(refused, CoreError::BlobTooLong { limit: 4 }));
    let mut bounded = registry.admit(&by, None, None).await.unwrap().bound(body(&[b"abc", b"de"]));
    bounded.next().await.unwrap().unwrap();
    assert!(matches!(bounded.next().await, Some(Err(BodyError::Refused(_)))));
    let bounded = registry.admit(&by, None, None).await.unwrap().bound(body(&[b"abc", b"de"]));
    let refused = registry.push_blob(&by, bounded, Digest::sha256(b"abcde")).await.unwrap_err();
    assert!(matches!(refused, CoreError::BlobTooLong { limit: 4 }), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0, "its data stays");
    let upload = registry.start_upload(&by, Algorithm::Sha256).await.unwrap();
    let admission = registry.admit(&by, Some(upload.id), Some(4)).await.unwrap();
    registry.append(&by, upload.id, None, admission.bound(body(&[b"abcd"]))).await.unwrap();
    let last = registry.admit(&by, Some(upload.id), Some(0)).await.unwrap();
    assert!(registry.admit(&by, Some(upload.id), Some(1)).await.is_err());
    registry.complete(&by, upload.id, None, last.bound(body(&[])), Digest::sha256(b"abcd")).await.unwrap();
}

#[tokio::test]
async fn pulls_are_recorded_and_a_read_only_registry_records_none() {
    let (registry, metadata, folder) = opened(Limits::default()).await;
    let digest = push_image(&registry, &grant("a"), b"one", "v1").await.unwrap();
    let pulled = async || {
        let page = PageRequest { after: None, limit: 9 };
        metadata.tag_records(&"a".parse().unwrap(), &page).await.unwrap().unwrap().entries[0].pulled_at
    };
    let blobs = LocalBlobs::in_directory(folder.path().to_owned()).await.unwrap();
    let frozen = Registry::new(metadata.clone(), blobs, Limits { read_only: true, ..Limits::default() });
    frozen.note_pull(&grant("a"), &digest);
    frozen.record_pulls().await;
    assert_eq!(pulled().await, None);
    let before = OffsetDateTime::now_utc() - time::Duration::SECOND;
    registry.note_pull(&grant("a"), &digest);
    registry.drain().await;
    assert!(pulled().await.is_some_and(|at| at > before));
}

#[tokio::test]
async fn an_explanation_names_every_rule_that_has_a_say() {
    let (registry, metadata, _folder) = opened(Limits::default()).await;
    add_account(&metadata, "ci", false).await;
    add_account(&metadata, "root", true).await;
    let access = AccessRule {
        subject: "ci".parse().unwrap(),
        pattern: "team/**".parse().unwrap(),
        actions: "pull,push".parse().unwrap(),
    };
    metadata.add_rule(&access).await.unwrap();
    metadata.add_tag_rule(&rule(r#"{"repositories":"**","tags":"v*","immutable":true}"#)).await.unwrap();
    metadata
        .add_tag_rule(&rule(r#"{"repositories":"team/**","tags":"release","protected":[]}"#))
        .await
        .unwrap();
    metadata.set_quota(&"team".parse().unwrap(), 100).await.unwrap();
    let limits = Limits::default();
    let ask = async |account: &str, action, repository: &str, tag: &str, limits: &Limits| {
        let question = Question {
            account: (!account.is_empty()).then(|| account.parse().unwrap()),
            action,
            repository: repository.parse().unwrap(),
            tag: (!tag.is_empty()).then(|| tag.parse().unwrap()),
        };
        question.answer(&metadata, limits).await.unwrap()
    };
    let told = |rulings: &[Ruling], part: &str| {
        assert!(serde_json::to_string(rulings).unwrap().contains(part), "{part:?} is not in {rulings:?}");
    };
    let allowed = ask("ci", Action::Push, "team/app", "main", &limits).await;
    assert!(allowed.allowed);
    told(&allowed.rulings, "access rule 1 gives pull,push on team/** to account:ci");
    told(&allowed.rulings, "quota 1 of 100 for team: 0 bytes are used");

    let refused = ask("ci", Action::Push, "team/app", "release", &limits).await;
    assert!(!refused.allowed);
    assert!(
        refused
            .rulings
            .contains(&Ruling::Refuses("tag rule 2 keeps release in team/** for administrators".into()))
    );
    assert!(ask("root", Action::Push, "team/app", "release", &limits).await.allowed);
    assert!(!ask("root", Action::Delete, "team/app", "v1", &limits).await.allowed);

    assert!(ask("ci", Action::Push, "team/app", "v1", &limits).await.allowed);
    push_image(&registry, &grant("team/app"), b"x", "v1").await.unwrap();
    told(&ask("ci", Action::Push, "team/app", "v1", &limits).await.rulings, "v1 stays on sha256:");

    let delete = ask("ci", Action::Delete, "team/app", "main", &limits).await;
    assert!(!delete.allowed);
    told(&delete.rulings, "no access rule gives delete on team/app");
    told(&ask("", Action::Pull, "team/app", "", &limits).await.rulings, "no access rule gives pull");
    told(&ask("eve", Action::Pull, "team/app", "", &limits).await.rulings, "there is no account eve");
    let frozen = Limits { read_only: true, layer_bytes: Some(1 << 30), ..Limits::default() };
    assert!(!ask("root", Action::Push, "team/app", "main", &frozen).await.allowed);
    told(&ask("root", Action::Push, "team/app", "", &frozen).await.rulings, "no layer above 1GiB");
    assert!(ask("ci", Action::Pull, "team/app", "", &frozen).await.allowed);
    let open = Limits { authority: Authority::Nobody, ..Limits::default() };
    assert!(ask("", Action::Delete, "team/app", "main", &open).await.allowed);
}
