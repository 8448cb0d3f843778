//! Collection as a state machine: random pushes, mounts, pulls, deletes and passing time, with batches in between.
//! After each batch nothing that is reachable or leased is gone; once enough time has passed everything else is.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use registry_types::Digest;
use time::{Duration, OffsetDateTime};

use super::{Opened, collection::start, operations::*, runtime};
use crate::{Change, CollectPolicy, Metadata, MetadataError, NewManifest, later};

/// Sequences tried, and steps in the longest.
const SEQUENCES: u32 = 64;
const STEPS: usize = 40;

/// More batches than any state of the universe needs.
const MOST_BATCHES: usize = 1_000;

#[derive(Debug, Clone)]
enum Step {
    Write(Operation),
    /// A pull renews the lease of what it finds.
    PullBlob {
        repository: usize,
        blob: usize,
    },
    PullManifest {
        repository: usize,
        manifest: usize,
    },
    Wait {
        hours: i64,
    },
    /// So many hours after which untagged manifests go; `None`: they stay.
    Collect {
        untagged_after: Option<u64>,
        limit: usize,
        batches: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let repository = 0..REPOSITORIES;
    // An image, what refers to it and an index of it, most of the time in one repository: what is left to chance
    // alone seldom has parents.
    let family = prop_oneof![3 => Just(0_usize), 2 => Just(1), 2 => Just(2), 3 => Just(5)];
    let tags = proptest::collection::vec(0..TAGS, 0..2);
    let push = (prop_oneof![4 => Just(0_usize), 1 => 1..REPOSITORIES], family, tags).prop_map(
        |(repository, manifest, tags)| {
            Step::Write(Operation::PutManifest { repository, manifest, tags, allow_missing: true })
        },
    );
    prop_oneof![
        8 => operation().prop_map(Step::Write),
        8 => push,
        2 => (repository.clone(), 0..BLOBS).prop_map(|(repository, blob)| Step::PullBlob { repository, blob }),
        2 => (repository, 0..MANIFESTS)
            .prop_map(|(repository, manifest)| Step::PullManifest { repository, manifest }),
        5 => (1_i64..60).prop_map(|hours| Step::Wait { hours }),
        6 => (proptest::option::of(0_u64..60), 1_usize..4, 1_usize..20).prop_map(
            |(untagged_after, limit, batches)| Step::Collect { untagged_after, limit, batches },
        ),
    ]
}

fn policy(untagged_after: Option<u64>) -> CollectPolicy {
    CollectPolicy {
        untagged_after: untagged_after.map(std::time::Duration::from_hours),
        ..CollectPolicy::default()
    }
}

/// A manifest of a repository as the model knows it.
#[derive(Debug, Clone)]
struct Held {
    leased_until: OffsetDateTime,
    untagged_since: OffsetDateTime,
    orphaned: bool,
}

#[derive(Debug, Clone, Default)]
struct Repository {
    /// From blobs to the ends of their leases.
    links: BTreeMap<usize, OffsetDateTime>,
    manifests: BTreeMap<usize, Held>,
    tags: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Model {
    now: OffsetDateTime,
    repositories: Vec<Repository>,
}

fn digest_of(manifest: usize) -> Digest {
    manifest_number(&repository_of(0), manifest).digest
}

fn names(manifest: usize) -> NewManifest {
    manifest_number(&repository_of(0), manifest)
}

impl Repository {
    fn has(&self, digest: Digest) -> bool {
        self.manifests.keys().any(|manifest| digest_of(*manifest) == digest)
    }

    /// Manifests and links that must be there: roots, and what hangs on them.
    fn reachable(&self, policy: &CollectPolicy, now: OffsetDateTime) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let is_root = |(manifest, held): (&usize, &Held)| {
            let kept = !held.orphaned
                && policy.untagged_after.is_none_or(|after| later(held.untagged_since, after) > now);
            self.tags.values().any(|tagged| tagged == manifest) || held.leased_until > now || kept
        };
        let mut found: BTreeSet<usize> =
            self.manifests.iter().filter(|entry| is_root(*entry)).map(|(manifest, _)| *manifest).collect();
        loop {
            let holds = |manifest: &usize| {
                let subject = names(*manifest).view.subject.map(|subject| subject.digest);
                found.iter().any(|holder| {
                    subject == Some(digest_of(*holder))
                        || names(*holder)
                            .view
                            .manifests
                            .iter()
                            .any(|child| child.digest == digest_of(*manifest))
                })
            };
            let next: Vec<usize> = self
                .manifests
                .keys()
                .filter(|manifest| !found.contains(*manifest) && holds(manifest))
                .copied()
                .collect();
            if next.is_empty() {
                break;
            }
            found.extend(next);
        }
        let named = |blob: usize| {
            found.iter().any(|manifest| {
                names(*manifest).view.required_blobs().iter().any(|part| part.digest == blob_of(blob).digest)
            })
        };
        let links = self.links.iter().filter(|(blob, lease)| **lease > now || named(**blob));
        let links = links.map(|(blob, _)| *blob).collect();
        (found, links)
    }

    /// A manifest went, by whoever: its referrers are orphans until they are pushed again.
    fn forget(&mut self, digest: Digest) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|manifest, _| digest_of(*manifest) != digest);
        self.tags.retain(|_, manifest| digest_of(*manifest) != digest);
        let removed = self.manifests.len() < before;
        if removed {
            for (manifest, held) in &mut self.manifests {
                held.orphaned |=
                    names(*manifest).view.subject.is_some_and(|subject| subject.digest == digest);
            }
        }
        removed
    }

    fn untag(&mut self, tag: usize, now: OffsetDateTime) {
        let Some(manifest) = self.tags.remove(&tag) else { return };
        if !self.tags.values().any(|tagged| *tagged == manifest)
            && let Some(held) = self.manifests.get_mut(&manifest)
        {
            held.untagged_since = now;
        }
    }

    fn push(&mut self, manifest: usize, tags: &[usize], now: OffsetDateTime) {
        let lease = Change::at(now).leased_until();
        // The same bytes under another type take over its tags and nothing else.
        let digest = digest_of(manifest);
        let retyped = self.manifests.keys().find(|other| **other != manifest && digest_of(**other) == digest);
        if let Some(retyped) = retyped.copied() {
            self.manifests.remove(&retyped);
            for tagged in self.tags.values_mut().filter(|tagged| **tagged == retyped) {
                *tagged = manifest;
            }
        }
        for tag in tags {
            if self.tags.get(tag) != Some(&manifest) {
                self.untag(*tag, now);
            }
            self.tags.insert(*tag, manifest);
        }
        let held = Held { leased_until: lease, untagged_since: now, orphaned: false };
        let kept = self.manifests.entry(manifest).or_insert_with(|| held.clone());
        *kept = Held { leased_until: kept.leased_until.max(lease), ..held };
    }
}

/// Tries random sequences, each on a store of its own.
pub fn run<O, Opening>(open: impl Fn() -> Opening)
where
    O: Opened,
    Opening: Future<Output = O>,
{
    let runtime = runtime();
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&proptest::collection::vec(step(), 1..STEPS), |steps| {
            runtime.block_on(async {
                let Some((store, _kept)) = open().await.opened() else { return };
                let repositories = vec![Repository::default(); REPOSITORIES];
                let mut model = Model { now: start(), repositories };
                for step in &steps {
                    // No two changes at the same moment, so that each is before or after the other.
                    model.now += Duration::seconds(1);
                    model.take(&store, step).await;
                }
                model.finish(&store).await;
            });
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

impl Model {
    async fn take<M: Metadata>(&mut self, store: &M, step: &Step) {
        let until = Change::at(self.now).leased_until();
        match step {
            Step::Write(operation) => self.write(store, operation).await,
            Step::PullBlob { repository, blob } => {
                let digest = blob_of(*blob).digest;
                let found = store.renew_blob(&repository_of(*repository), &digest, until).await.unwrap();
                let lease = self.repositories[*repository].links.get_mut(blob);
                assert_eq!(found, lease.is_some(), "{step:?}");
                if let Some(lease) = lease {
                    *lease = until.max(*lease);
                }
            }
            Step::PullManifest { repository, manifest } => {
                let digest = digest_of(*manifest);
                let found = store.renew_manifest(&repository_of(*repository), &digest, until).await.unwrap();
                let known = &mut self.repositories[*repository];
                assert_eq!(found, known.has(digest), "{step:?}");
                for (manifest, held) in &mut known.manifests {
                    if digest_of(*manifest) == digest {
                        held.leased_until = held.leased_until.max(until);
                    }
                }
            }
            Step::Wait { hours } => self.now += Duration::hours(*hours),
            Step::Collect { untagged_after, limit, batches } => {
                for _ in 0..*batches {
                    if self.collect(store, &policy(*untagged_after), *limit).await == 0 {
                        break;
                    }
                }
            }
        }
    }

    async fn write<M: Metadata>(&mut self, store: &M, operation: &Operation) {
        let (now, lease) = (self.now, Change::at(self.now).leased_until());
        match operation {
            Operation::LinkBlob { repository, blob } => {
                let name = repository_of(*repository);
                store.link_blob(&name, &blob_of(*blob), None, Change::at(now)).await.unwrap();
                self.repositories[*repository].links.insert(*blob, lease);
            }
            Operation::MountBlob { from, to, blob } => {
                let found = match from {
                    Some(from) => self.repositories[*from].links.contains_key(blob),
                    None => self.repositories.iter().any(|known| known.links.contains_key(blob)),
                };
                let (from, name) = (from.map(repository_of), repository_of(*to));
                let digest = blob_of(*blob).digest;
                let mounted = store.mount_blob(from.as_ref(), &name, &digest, Change::at(now)).await.unwrap();
                assert_eq!(mounted.is_some(), found, "{operation:?}");
                if found {
                    self.repositories[*to].links.insert(*blob, lease);
                }
            }
            Operation::UnlinkBlob { repository, blob } => {
                let (name, digest) = (repository_of(*repository), blob_of(*blob).digest);
                let removed = store.unlink_blob(&name, &digest, Change::at(now)).await.unwrap();
                assert_eq!(removed, self.repositories[*repository].links.remove(blob).is_some());
            }
            Operation::PutManifest { repository, manifest, tags, allow_missing } => {
                let new = NewManifest {
                    tags: tags.iter().map(|tag| tag_of(*tag)).collect(),
                    allow_missing_blobs: *allow_missing,
                    ..manifest_number(&repository_of(*repository), *manifest)
                };
                match store.put_manifest(new, Change::at(now)).await {
                    Err(MetadataError::MissingBlobs { .. }) => {}
                    taken => {
                        taken.unwrap();
                        self.repositories[*repository].push(*manifest, tags, now);
                    }
                }
            }
            Operation::DeleteTag { repository, tag } => {
                let known = &mut self.repositories[*repository];
                let name = repository_of(*repository);
                let removed = store.delete_tag(&name, &tag_of(*tag), Change::at(now)).await.unwrap();
                assert_eq!(removed, known.tags.contains_key(tag), "{operation:?}");
                known.untag(*tag, now);
            }
            Operation::DeleteManifest { repository, manifest } => {
                let (name, digest) = (repository_of(*repository), digest_of(*manifest));
                let removed = store.delete_manifest(&name, &digest, Change::at(now)).await.unwrap();
                assert_eq!(removed, self.repositories[*repository].forget(digest), "{operation:?}");
            }
        }
    }

    /// One batch. What it took must have been takeable; the model then forgets it too.
    async fn collect<M: Metadata>(&mut self, store: &M, policy: &CollectPolicy, limit: usize) -> u64 {
        self.now += Duration::seconds(1);
        let collected = store.collect(policy, self.now, limit).await.unwrap();
        assert!(collected.examined <= limit as u64);
        for number in 0..REPOSITORIES {
            let name = repository_of(number);
            let (manifests, links) = self.repositories[number].reachable(policy, self.now);
            let known = &mut self.repositories[number];
            for tag in 0..TAGS {
                let found = store.manifest(&name, &tag_of(tag).into()).await.unwrap();
                let expected = known.tags.get(&tag).map(|manifest| digest_of(*manifest));
                assert_eq!(found.map(|record| record.digest), expected, "a tag went or moved by collection");
            }
            for manifest in known.manifests.keys().copied().collect::<Vec<_>>() {
                let digest = digest_of(manifest);
                let there = store.manifest(&name, &digest.into()).await.unwrap().is_some();
                assert!(there || !manifests.contains(&manifest), "{name}: manifest {manifest} was collected");
                if !there {
                    known.forget(digest);
                }
            }
            for blob in known.links.keys().copied().collect::<Vec<_>>() {
                let there = store.blob(&name, &blob_of(blob).digest).await.unwrap().is_some();
                assert!(there || !links.contains(&blob), "{name}: blob {blob} was collected");
                if !there {
                    known.links.remove(&blob);
                }
            }
        }
        self.check_bytes(store).await;
        collected.examined
    }

    /// Bytes are offered for removal only if no row names them.
    async fn check_bytes<M: Metadata>(&self, store: &M) {
        for removal in store.removals(self.now, std::time::Duration::ZERO, 100).await.unwrap() {
            let linked = (0..BLOBS).any(|blob| {
                blob_of(blob).digest == removal.digest
                    && self.repositories.iter().any(|known| known.links.contains_key(&blob))
            });
            let wanted = store.removal_wanted(&removal).await.unwrap();
            assert!(!(linked && wanted), "bytes in use are to be removed");
            store.finish_removal(&removal).await.unwrap();
        }
    }

    /// After all leases everything that is not reachable goes, and its bytes; under both policies.
    async fn finish<M: Metadata>(&mut self, store: &M) {
        for untagged_after in [None, Some(0)] {
            self.now += Duration::days(365);
            let policy = policy(untagged_after);
            let mut batches = 0;
            while self.collect(store, &policy, 1).await > 0 {
                batches += 1;
                assert!(batches < MOST_BATCHES, "collection does not come to an end");
            }
            for known in &self.repositories {
                let (manifests, links) = known.reachable(&policy, self.now);
                assert_eq!(known.manifests.keys().copied().collect::<BTreeSet<_>>(), manifests);
                assert_eq!(known.links.keys().copied().collect::<BTreeSet<_>>(), links);
            }
            let linked = (0..BLOBS)
                .filter(|blob| self.repositories.iter().any(|known| known.links.contains_key(blob)));
            let status = store.collection_status(self.now).await.unwrap();
            assert_eq!((status.due, status.oldest_due), Default::default());
            for blob in 0..BLOBS {
                let found = store.blob_anywhere(&blob_of(blob).digest).await.unwrap();
                assert_eq!(found.is_some(), linked.clone().any(|linked| linked == blob));
            }
        }
    }
}
