//! A state machine: a random sequence of operations on the store and on plain maps must give the same answers,
//! and the same picture after each step.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use proptest::test_runner::{Config, TestRunner};
use registry_types::Digest;

use super::{
    Opened,
    operations::*,
    runtime,
    samples::{all_referrers, linked_blob, page},
};
use crate::{Change, Metadata, MetadataError, NewBlob, NewManifest};

/// Sequences tried, and operations in the longest.
const SEQUENCES: u32 = 48;
const OPERATIONS: usize = 30;

/// What the store must hold.
#[derive(Debug, Default)]
struct Model {
    repositories: BTreeMap<usize, Repository>,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: BTreeSet<usize>,
    /// Numbers of manifests in the order of their push.
    manifests: Vec<usize>,
    /// From tags to digests.
    tags: BTreeMap<usize, Digest>,
}

/// What an operation answered, in a form to compare.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    Removed(bool),
    Mounted(Option<NewBlob>),
    Missing(Vec<Digest>),
}

fn digest_of(manifest: usize) -> Digest {
    manifest_number(&repository_of(0), manifest).digest
}

/// Tries random sequences, each on a store of its own.
pub fn run<O, Opening>(open: impl Fn() -> Opening)
where
    O: Opened,
    Opening: Future<Output = O>,
{
    let runtime = runtime();
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let sequences = proptest::collection::vec(operation(), 1..OPERATIONS);
    TestRunner::new(config)
        .run(&sequences, |operations| {
            runtime.block_on(async {
                let Some((store, _kept)) = open().await.opened() else { return };
                let mut model = Model::default();
                for operation in &operations {
                    let expected = model.apply(operation);
                    assert_eq!(apply(&store, operation).await, expected, "{operation:?}");
                    compare(&store, &model).await;
                }
            });
            Ok(())
        })
        .expect("the store agrees with the model");
}

impl Model {
    fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::LinkBlob { repository, blob } => {
                self.repository(*repository).blobs.insert(*blob);
                Outcome::Done
            }
            Operation::MountBlob { from, to, blob } => {
                let linked = match from {
                    Some(from) => self.links(*from, *blob),
                    None => (0..REPOSITORIES).any(|from| self.links(from, *blob)),
                };
                if linked {
                    self.repository(*to).blobs.insert(*blob);
                }
                Outcome::Mounted(linked.then(|| blob_of(*blob)))
            }
            Operation::UnlinkBlob { repository, blob } => {
                let known = self.repositories.get_mut(repository);
                Outcome::Removed(known.is_some_and(|known| known.blobs.remove(blob)))
            }
            Operation::PutManifest { repository, manifest, tags, allow_missing } => {
                self.put(*repository, *manifest, tags, *allow_missing)
            }
            Operation::DeleteTag { repository, tag } => {
                let known = self.repositories.get_mut(repository);
                Outcome::Removed(known.is_some_and(|known| known.tags.remove(tag).is_some()))
            }
            Operation::DeleteManifest { repository, manifest } => {
                let digest = digest_of(*manifest);
                let Some(known) = self.repositories.get_mut(repository) else {
                    return Outcome::Removed(false);
                };
                let before = known.manifests.len();
                known.manifests.retain(|number| digest_of(*number) != digest);
                known.tags.retain(|_, tagged| *tagged != digest);
                Outcome::Removed(known.manifests.len() < before)
            }
        }
    }

    fn put(&mut self, repository: usize, manifest: usize, tags: &[usize], allow_missing: bool) -> Outcome {
        let new = manifest_number(&repository_of(repository), manifest);
        let held: BTreeSet<Digest> = (0..BLOBS)
            .filter(|blob| self.links(repository, *blob))
            .map(|blob| blob_of(blob).digest)
            .collect();
        let required = new.view.required_blobs().into_iter().map(|blob| blob.digest);
        let missing: Vec<Digest> = required.filter(|digest| !held.contains(digest)).collect();
        if !missing.is_empty() && !allow_missing {
            return Outcome::Missing(missing);
        }
        let known = self.repository(repository);
        if !known.manifests.contains(&manifest) {
            // The same bytes under another type: the last push counts.
            known.manifests.retain(|number| digest_of(*number) != new.digest);
            known.manifests.push(manifest);
        }
        known.tags.extend(tags.iter().map(|tag| (*tag, new.digest)));
        Outcome::Done
    }

    fn repository(&mut self, number: usize) -> &mut Repository {
        self.repositories.entry(number).or_default()
    }

    fn links(&self, repository: usize, blob: usize) -> bool {
        self.repositories.get(&repository).is_some_and(|known| known.blobs.contains(&blob))
    }
}

async fn apply<M: Metadata>(store: &M, operation: &Operation) -> Outcome {
    match operation {
        Operation::LinkBlob { repository, blob } => {
            store.link_blob(&repository_of(*repository), &blob_of(*blob), None, Change::now()).await.unwrap();
            Outcome::Done
        }
        Operation::MountBlob { from, to, blob } => {
            let from = from.map(repository_of);
            let mounted = store
                .mount_blob(from.as_ref(), &repository_of(*to), &blob_of(*blob).digest, Change::now())
                .await;
            Outcome::Mounted(mounted.unwrap().map(NewBlob::from))
        }
        Operation::UnlinkBlob { repository, blob } => {
            let removed =
                store.unlink_blob(&repository_of(*repository), &blob_of(*blob).digest, Change::now()).await;
            Outcome::Removed(removed.unwrap())
        }
        Operation::PutManifest { repository, manifest, tags, allow_missing } => {
            let new = NewManifest {
                tags: tags.iter().map(|tag| tag_of(*tag)).collect(),
                allow_missing_blobs: *allow_missing,
                ..manifest_number(&repository_of(*repository), *manifest)
            };
            match store.put_manifest(new, Change::now()).await {
                Err(MetadataError::MissingBlobs { missing }) => Outcome::Missing(missing),
                other => {
                    other.unwrap();
                    Outcome::Done
                }
            }
        }
        Operation::DeleteTag { repository, tag } => {
            let removed = store.delete_tag(&repository_of(*repository), &tag_of(*tag), Change::now()).await;
            Outcome::Removed(removed.unwrap())
        }
        Operation::DeleteManifest { repository, manifest } => {
            let removed = store
                .delete_manifest(&repository_of(*repository), &digest_of(*manifest), Change::now())
                .await;
            Outcome::Removed(removed.unwrap())
        }
    }
}

/// Asks the store everything that can be asked and compares with the model.
async fn compare<M: Metadata>(store: &M, model: &Model) {
    let listed = store.repositories(&page(None, 100)).await.unwrap().entries;
    let expected: Vec<_> = model.repositories.keys().map(|number| repository_of(*number)).collect();
    assert_eq!(listed, expected);
    for blob in 0..BLOBS {
        let anywhere = (0..REPOSITORIES).any(|repository| model.links(repository, blob));
        let record = blob_of(blob);
        let found = store.blob_anywhere(&record.digest).await.unwrap();
        assert_eq!(found.map(NewBlob::from), anywhere.then_some(record));
    }
    for number in 0..REPOSITORIES {
        compare_repository(store, number, model.repositories.get(&number)).await;
    }
}

async fn compare_repository<M: Metadata>(store: &M, number: usize, known: Option<&Repository>) {
    let name = repository_of(number);
    let nothing = Repository::default();
    let tags = store.tags(&name, &page(None, 100)).await.unwrap();
    assert_eq!(tags.is_some(), known.is_some());
    let known = known.unwrap_or(&nothing);
    let expected: Vec<_> = known.tags.keys().map(|tag| tag_of(*tag)).collect();
    assert_eq!(tags.map(|page| page.entries).unwrap_or_default(), expected);
    for blob in 0..BLOBS {
        let record = blob_of(blob);
        let found = linked_blob(store, &name, &record.digest).await;
        assert_eq!(found, known.blobs.contains(&blob).then_some(record));
    }
    for tag in 0..TAGS {
        let found = store.manifest(&name, &tag_of(tag).into()).await.unwrap();
        assert_eq!(found.map(|record| record.digest), known.tags.get(&tag).copied());
    }
    for manifest in 0..MANIFESTS {
        let digest = digest_of(manifest);
        let found = store.manifest(&name, &digest.into()).await.unwrap();
        let pushed = known.manifests.iter().find(|number| digest_of(**number) == digest);
        let expected = pushed.map(|number| manifest_number(&name, *number));
        let expected = expected.map(|manifest| (manifest.bytes, manifest.view.media_type));
        assert_eq!(found.map(|record| (record.bytes.clone(), record.media_type.clone())), expected);
    }
    let referrers = store.referrers(&name, &digest_of(0), None, &all_referrers()).await.unwrap();
    let referrers: Vec<Digest> = referrers.entries.into_iter().map(|referrer| referrer.digest).collect();
    let expected = known.manifests.iter().filter(|manifest| [1, 2].contains(*manifest));
    assert_eq!(referrers, expected.map(|manifest| digest_of(*manifest)).collect::<Vec<_>>());
}
