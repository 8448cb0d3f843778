//! Collection, case by case: what stays, what goes and when. The state machine in `collection_model` tries the rest.

use registry_types::{BlobLocation, Digest};
use time::{Duration, OffsetDateTime};

use super::samples::*;
use crate::{
    BlobRemoval, Candidate, Change, CollectPolicy, Decision, KeepReason, KindCounts, Metadata, NewBlob,
    NewManifest, RemovalReason, Verdict,
};

/// A moment to count from.
pub(super) fn start() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000)
}

/// A policy that lets untagged manifests go after so many hours.
fn after_hours(hours: u64) -> CollectPolicy {
    CollectPolicy { untagged_after: Some(std::time::Duration::from_hours(hours)), ..CollectPolicy::default() }
}

/// Links an image's blobs and pushes it at `now`.
async fn push_at<M: Metadata>(store: &M, name: &str, tags: &[&str], now: OffsetDateTime) -> NewManifest {
    let here = repository("team/app");
    let blobs = ["config", "layer"].map(|part| blob(&format!("{part} of {name}")));
    for blob in &blobs {
        store.link_blob(&here, blob, None, Change::at(now)).await.unwrap();
    }
    let image = manifest(&here, &image_json(&blobs), tags);
    store.put_manifest(image.clone(), Change::at(now)).await.unwrap();
    image
}

async fn removed<M: Metadata>(store: &M, policy: &CollectPolicy, now: OffsetDateTime) -> KindCounts {
    let collected = store.collect(policy, now, 1_000).await.unwrap();
    let again = store.collect(policy, now, 1_000).await.unwrap();
    assert_eq!(again.removed, KindCounts::default(), "one batch left something to the next");
    collected.removed
}

fn counts(links: u64, manifests: u64, blobs: u64) -> KindCounts {
    KindCounts { links, manifests, blobs }
}

pub async fn a_blob_goes_when_nothing_names_it_and_its_lease_is_over<M: Metadata>(store: M) {
    let here = repository("team/app");
    let (kept, lost) = (push_at(&store, "kept", &["v1"], start()).await, blob("never named"));
    store.link_blob(&here, &lost, None, Change::at(start())).await.unwrap();
    let policy = CollectPolicy::default();
    let lease = Duration::hours(24);
    let almost = start() + lease - Duration::seconds(1);
    assert_eq!(removed(&store, &policy, almost).await, counts(0, 0, 0));
    // Whoever asked for it may count on it for as long again.
    assert!(store.renew_blob(&here, &lost.digest, almost + lease).await.unwrap());
    // A shorter lease takes nothing back.
    assert!(store.renew_blob(&here, &lost.digest, almost).await.unwrap());
    assert_eq!(removed(&store, &policy, start() + lease * 2 - Duration::seconds(2)).await, counts(0, 0, 0));
    assert_eq!(store.blob(&here, &lost.digest).await.unwrap().unwrap().leased_until, almost + lease);
    assert_eq!(removed(&store, &policy, almost + lease).await, counts(1, 0, 1));
    assert_eq!(store.blob(&here, &lost.digest).await.unwrap(), None);
    assert_eq!(store.blob_anywhere(&lost.digest).await.unwrap(), None);
    assert!(!store.renew_blob(&here, &lost.digest, almost + lease * 9).await.unwrap());
    for layer in kept.view.required_blobs() {
        assert!(store.blob(&here, &layer.digest).await.unwrap().is_some(), "a named blob went");
    }
    let status = store.collection_status(almost + lease).await.unwrap();
    assert_eq!((status.removals, status.removal_bytes), (1, lost.size));
    assert_eq!((status.collected, status.collected_bytes), (counts(1, 0, 1), lost.size));
    assert_eq!((status.queued, status.due), (counts(0, 0, 0), counts(0, 0, 0)));
}

pub async fn bytes_are_removed_once_and_only_if_nobody_came_back<M: Metadata>(store: M) {
    let (here, hold) = (repository("team/app"), std::time::Duration::from_mins(10));
    let placed = |text, key| NewBlob { location: BlobLocation::Key(parse(key)), ..blob(text) };
    let (first, second) = (placed("first", "blobs/aa/1"), blob("second"));
    for blob in [&first, &second] {
        let linked = store.link_blob(&here, blob, None, Change::at(start())).await.unwrap();
        assert_eq!(NewBlob::from(linked), *blob);
    }
    // The same content at another place: the first place stands, which the answer tells.
    let copy = placed("first", "blobs/bb/2");
    let linked = store.link_blob(&here, &copy, None, Change::at(start())).await.unwrap();
    assert_eq!(linked.location, first.location);
    // The copy is nobody's.
    for removal in store.removals(start(), hold, 10).await.unwrap() {
        assert_eq!(removal.location, copy.location);
        store.finish_removal(&removal).await.unwrap();
    }
    let now = start() + Duration::hours(24);
    assert_eq!(removed(&store, &CollectPolicy::default(), now).await, counts(2, 0, 2));
    let removals = store.removals(now, hold, 10).await.unwrap();
    let told = |removal: &BlobRemoval| (removal.digest, removal.location.clone(), removal.size);
    let expected = |blob: &NewBlob| (blob.digest, blob.location.clone(), blob.size);
    let mut all: Vec<_> = removals.iter().map(told).collect();
    all.sort();
    let mut both = vec![expected(&first), expected(&second)];
    both.sort();
    assert_eq!(all, both);
    assert!(store.removals(now, hold, 10).await.unwrap().is_empty(), "two got the same work");
    let later = now + hold;
    assert_eq!(store.removals(later, hold, 1).await.unwrap().len(), 1, "work of a crashed replica is lost");
    for removal in &removals {
        assert!(store.removal_wanted(removal).await.unwrap());
    }
    // Pushed again: one to the place that waits for its removal, the other elsewhere.
    store.link_blob(&here, &second, None, Change::at(now)).await.unwrap();
    store.link_blob(&here, &copy, None, Change::at(now)).await.unwrap();
    for removal in &removals {
        assert_eq!(store.removal_wanted(removal).await.unwrap(), removal.digest == first.digest);
        store.finish_removal(removal).await.unwrap();
    }
    assert!(store.removals(later + hold, hold, 10).await.unwrap().is_empty());
    assert_eq!(store.blob(&here, &first.digest).await.unwrap().unwrap().location, copy.location);
}

pub async fn untagged_manifests_stay_or_go_by_policy<M: Metadata>(store: M) {
    let here = repository("team/app");
    let (pushed, moved) = (start(), start() + Duration::days(10));
    let old = push_at(&store, "old", &["latest"], pushed).await;
    let by_digest = push_at(&store, "by digest", &[], pushed).await;
    let new = push_at(&store, "new", &["latest"], moved).await;
    let late = moved + Duration::days(100);
    assert_eq!(removed(&store, &CollectPolicy::default(), late).await, counts(0, 0, 0));
    assert_eq!(store.collection_status(late).await.unwrap().untagged_kept, 2);
    // From another policy on they count, from when they lost their tag or were pushed.
    let policy = after_hours(24 * 7);
    assert_eq!(removed(&store, &policy, moved + Duration::days(6)).await, counts(2, 1, 2));
    assert!(store.manifest(&here, &by_digest.digest.into()).await.unwrap().is_none());
    assert!(store.manifest(&here, &old.digest.into()).await.unwrap().is_some());
    let collected = store.collect(&policy, moved + Duration::days(7), 100).await.unwrap();
    assert_eq!(collected.manifests, [(here.clone(), old.digest)]);
    assert_eq!(collected.removed, counts(2, 1, 2));
    assert!(store.manifest(&here, &tag("latest").into()).await.unwrap().is_some());
    assert!(store.delete_tag(&here, &tag("latest"), Change::at(late)).await.unwrap());
    assert!(store.renew_manifest(&here, &new.digest, late + Duration::days(30)).await.unwrap());
    assert_eq!(removed(&store, &policy, late + Duration::days(29)).await, counts(0, 0, 0));
    assert_eq!(removed(&store, &policy, late + Duration::days(30)).await, counts(2, 1, 2));
    assert!(!store.renew_manifest(&here, &new.digest, late).await.unwrap());
}

pub async fn an_index_keeps_its_children_and_a_subject_its_referrers<M: Metadata>(store: M) {
    let here = repository("team/app");
    let child = push_at(&store, "child", &[], start()).await;
    let index = manifest(&here, &index_json(&[&child]), &["index"]);
    store.put_manifest(index.clone(), Change::at(start())).await.unwrap();
    let signature = blob("signature");
    store.link_blob(&here, &signature, None, Change::at(start())).await.unwrap();
    let mut json = image_json(&[signature]);
    json["subject"] = descriptor(
        registry_types::MediaType::OCI_INDEX,
        &NewBlob { digest: index.digest, size: index.bytes.len() as u64, location: BlobLocation::ByDigest },
    );
    let referrer = manifest(&here, &json, &[]);
    store.put_manifest(referrer.clone(), Change::at(start())).await.unwrap();
    let eager = after_hours(0);
    let mut now = start() + Duration::days(2);
    assert_eq!(removed(&store, &eager, now).await, counts(0, 0, 0));

    // The keeping policy lets the referrer go with its subject, and nothing else.
    now += Duration::days(1);
    assert!(store.delete_manifest(&here, &index.digest, Change::at(now)).await.unwrap());
    let keeping = CollectPolicy { referrers_with_subject: false, ..CollectPolicy::default() };
    assert_eq!(removed(&store, &keeping, now).await, counts(0, 0, 0));
    now += Duration::days(1);
    assert!(store.manifest(&here, &referrer.digest.into()).await.unwrap().is_some());
    store.put_manifest(index.clone(), Change::at(now)).await.unwrap();
    now += Duration::days(2);
    assert!(store.delete_manifest(&here, &index.digest, Change::at(now)).await.unwrap());
    assert_eq!(removed(&store, &CollectPolicy::default(), now).await, counts(1, 1, 1));
    assert!(store.manifest(&here, &referrer.digest.into()).await.unwrap().is_none());
    assert!(store.manifest(&here, &child.digest.into()).await.unwrap().is_some());
    assert_eq!(removed(&store, &eager, now).await, counts(2, 1, 2));
}

pub async fn a_batch_is_bounded_and_the_next_goes_on<M: Metadata>(store: M) {
    let here = repository("team/app");
    for number in 0..7 {
        store.link_blob(&here, &blob(&number.to_string()), None, Change::at(start())).await.unwrap();
    }
    let (policy, now) = (CollectPolicy::default(), start() + Duration::days(2));
    let mut total = 0;
    for batch in 0.. {
        let collected = store.collect(&policy, now, 3).await.unwrap();
        assert!(collected.examined <= 3);
        total += collected.removed.links + collected.removed.blobs;
        if collected.examined < 3 {
            break;
        }
        assert!(batch < 10, "no end");
    }
    assert_eq!(total, 14);
}

pub async fn a_dry_run_says_why_and_changes_nothing<M: Metadata>(store: M) {
    let here = repository("team/app");
    let image = push_at(&store, "app", &["v1"], start()).await;
    let lost = blob("lost");
    store.link_blob(&here, &lost, None, Change::at(start())).await.unwrap();
    let now = start() + Duration::days(1);
    let run = store.collect_dry_run(&CollectPolicy::default(), now, 100).await.unwrap();
    let link = |digest: Digest| Candidate::Link { repository: here.clone(), digest };
    let keeps = |digest| Decision {
        candidate: link(digest),
        verdict: Verdict::Keep(KeepReason::Named { by: image.digest }),
    };
    let goes = [
        Decision { candidate: link(lost.digest), verdict: Verdict::Remove(RemovalReason::Unreferenced) },
        Decision {
            candidate: Candidate::Blob { digest: lost.digest, size: lost.size },
            verdict: Verdict::Remove(RemovalReason::Unlinked),
        },
    ];
    for expected in image.view.required_blobs().iter().map(|part| keeps(part.digest)).chain(goes) {
        assert!(run.decisions.contains(&expected), "{expected:?} is not in {run:?}");
    }
    assert_eq!((run.decisions.len(), run.bytes, run.more), (4, lost.size, false));
    let short = store.collect_dry_run(&CollectPolicy::default(), now, 2).await.unwrap();
    assert!(short.decisions.len() == 2 && short.more);
    assert!(store.blob(&here, &lost.digest).await.unwrap().is_some());
    assert_eq!(store.collection_status(now).await.unwrap().due, counts(3, 0, 0));
    assert_eq!(removed(&store, &CollectPolicy::default(), now).await, counts(1, 0, 1));
}

pub async fn an_explanation_names_the_chain_that_holds<M: Metadata>(store: M) {
    let (here, there) = (repository("team/app"), repository("team/there"));
    let child = push_at(&store, "child", &[], start()).await;
    let index = manifest(&here, &index_json(&[&child]), &["v1"]);
    store.put_manifest(index.clone(), Change::at(start())).await.unwrap();
    let layer = child.view.layers[0].digest;
    let mounted = start() + Duration::days(3);
    store.mount_blob(Some(&here), &there, &layer, Change::at(mounted)).await.unwrap();
    let policy = CollectPolicy::default();
    let explain = async |digest, now, limit| store.explain(&digest, &policy, now, limit).await.unwrap();
    let found = explain(layer, mounted, 10).await;
    assert_eq!(found.blob, Some((blob("layer of child").size, BlobLocation::ByDigest)));
    let chain = |name| found.chains.iter().find(|chain| &chain.repository == name).unwrap();
    let up = [KeepReason::Child { of: index.digest }, KeepReason::Tagged { tag: tag("v1") }];
    assert_eq!(chain(&here).steps, [&[KeepReason::Named { by: child.digest }], &up[..]].concat());
    assert_eq!(chain(&there).steps, [KeepReason::Leased { until: mounted + Duration::days(1) }]);
    assert!(found.chains.len() == 2 && !found.more && !found.chains.iter().any(|chain| chain.ends));
    let late = explain(layer, mounted + Duration::days(1), 10).await;
    assert!(
        late.chains.iter().any(|chain| chain.repository == there && chain.ends && chain.steps.is_empty())
    );
    assert!(explain(layer, mounted, 1).await.more);
    let found = explain(child.digest, mounted, 10).await;
    assert_eq!((found.blob, found.chains.len(), &found.chains[0].steps[..]), (None, 1, &up[..]));
    assert!(explain(Digest::sha256(b"nothing"), mounted, 10).await.chains.is_empty());
}
