//! Random writes under random quotas: what is used is at any moment what a recount finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use registry_types::PathPrefix;
use time::Duration;

use super::{Opened, collection::start, operations::*, runtime, samples::parse};
use crate::{Change, CollectPolicy, Metadata, MetadataError, NewManifest, PolicyMetadata};

/// Sequences tried, and steps in the longest.
const SEQUENCES: u32 = 48;
const STEPS: usize = 40;

/// Prefixes over the repositories `a`, `a/b` and `b`.
const PREFIXES: [&str; 4] = ["*", "a", "a/b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Write(Operation),
    Set {
        prefix: usize,
        limit: u64,
    },
    Delete {
        prefix: usize,
    },
    /// Waits for so many hours, then collects.
    Collect {
        hours: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => operation().prop_map(Step::Write),
        // The blobs have 6 bytes each.
        3 => (0..PREFIXES.len(), 0_u64..24).prop_map(|(prefix, limit)| Step::Set { prefix, limit }),
        1 => (0..PREFIXES.len()).prop_map(|prefix| Step::Delete { prefix }),
        3 => (0_i64..40).prop_map(|hours| Step::Collect { hours }),
    ]
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
                let mut limits = BTreeMap::new();
                let mut now = start();
                for step in &steps {
                    now += Duration::seconds(1);
                    let before = used(&store, &limits).await;
                    let refused = take(&store, step, &mut now, &mut limits).await;
                    let after = used(&store, &limits).await;
                    if refused {
                        assert_eq!(before, after, "{step:?} was refused and changed something");
                    }
                    let recorded: BTreeMap<PathPrefix, (u64, u64)> = store
                        .quotas()
                        .await
                        .unwrap()
                        .into_iter()
                        .map(|quota| (quota.prefix, (quota.limit_bytes, quota.used_bytes)))
                        .collect();
                    assert_eq!(recorded, after, "{step:?}");
                    for (prefix, (limit, used)) in after {
                        let grown = before.get(&prefix).is_some_and(|(_, before)| used > *before);
                        assert!(!grown || used <= limit, "{step:?} went over the limit of {prefix}");
                    }
                }
            });
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// Limit and use of each quota, counted from what the repositories link.
async fn used<M: Metadata>(
    store: &M,
    limits: &BTreeMap<PathPrefix, u64>,
) -> BTreeMap<PathPrefix, (u64, u64)> {
    let mut counted = BTreeMap::new();
    for (prefix, limit) in limits {
        let mut blobs = BTreeSet::new();
        for repository in (0..REPOSITORIES).map(repository_of).filter(|name| prefix.covers(name)) {
            for blob in 0..BLOBS {
                if store.blob(&repository, &blob_of(blob).digest).await.unwrap().is_some() {
                    blobs.insert(blob);
                }
            }
        }
        let bytes = blobs.into_iter().map(|blob| blob_of(blob).size).sum();
        counted.insert(prefix.clone(), (*limit, bytes));
    }
    counted
}

/// True when a quota refused the step.
async fn take<M: Metadata>(
    store: &M,
    step: &Step,
    now: &mut time::OffsetDateTime,
    limits: &mut BTreeMap<PathPrefix, u64>,
) -> bool {
    match step {
        Step::Write(operation) => match write(store, operation, Change::at(*now)).await {
            Err(MetadataError::QuotaExceeded { .. }) => return true,
            Err(MetadataError::MissingBlobs { .. }) | Ok(()) => {}
            Err(other) => panic!("{operation:?}: {other}"),
        },
        Step::Set { prefix, limit } => {
            let prefix: PathPrefix = parse(PREFIXES[*prefix]);
            store.set_quota(&prefix, *limit).await.unwrap();
            limits.insert(prefix, *limit);
        }
        Step::Delete { prefix } => {
            let prefix: PathPrefix = parse(PREFIXES[*prefix]);
            let quotas = store.quotas().await.unwrap();
            if let Some(quota) = quotas.iter().find(|quota| quota.prefix == prefix) {
                assert!(store.delete_quota(quota.id).await.unwrap());
            }
            limits.remove(&prefix);
        }
        Step::Collect { hours } => {
            *now += Duration::hours(*hours);
            let policy =
                CollectPolicy { untagged_after: Some(std::time::Duration::ZERO), ..Default::default() };
            store.collect(&policy, *now, 5).await.unwrap();
        }
    }
    false
}

async fn write<M: Metadata>(store: &M, operation: &Operation, change: Change) -> Result<(), MetadataError> {
    match operation {
        Operation::LinkBlob { repository, blob } => {
            store.link_blob(&repository_of(*repository), &blob_of(*blob), None, change).await.map(drop)
        }
        Operation::MountBlob { from, to, blob } => {
            let from = from.map(repository_of);
            let digest = blob_of(*blob).digest;
            store.mount_blob(from.as_ref(), &repository_of(*to), &digest, change).await.map(drop)
        }
        Operation::UnlinkBlob { repository, blob } => {
            store.unlink_blob(&repository_of(*repository), &blob_of(*blob).digest, change).await.map(drop)
        }
        Operation::PutManifest { repository, manifest, tags, allow_missing } => {
            let new = NewManifest {
                tags: tags.iter().map(|tag| tag_of(*tag)).collect(),
                allow_missing_blobs: *allow_missing,
                ..manifest_number(&repository_of(*repository), *manifest)
            };
            store.put_manifest(new, change).await
        }
        Operation::DeleteTag { repository, tag } => {
            store.delete_tag(&repository_of(*repository), &tag_of(*tag), change).await.map(drop)
        }
        Operation::DeleteManifest { repository, manifest } => {
            let name = repository_of(*repository);
            let digest = manifest_number(&name, *manifest).digest;
            store.delete_manifest(&name, &digest, change).await.map(drop)
        }
    }
}
