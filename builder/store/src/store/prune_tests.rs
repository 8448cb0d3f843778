//! Pruning by size and by age, and what it must never take.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use registry_types::{Digest, MediaType};

use super::tests::{files, layer, name, open, put, unpack_blob};
use super::*;
use crate::error::StoreError;

/// A named image of one layer, a step over it, and blobs nobody needs.
fn filled(store: &Store) -> (Digest, Digest) {
    let source = files(&["base"]);
    let (layer, diff_id) = layer(store, source.path());
    let config = put(store, b"{}");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": config,
        "layers": [layer],
    });
    let mut manifest = put(store, manifest.to_string().as_bytes());
    manifest.media_type = MediaType::known(MediaType::OCI_MANIFEST);
    store.images.set(&name("kept"), &manifest).unwrap();
    let base = SnapshotId::of_layers(&[diff_id]).unwrap();
    unpack_blob(store, None, base, &(layer.clone(), diff_id)).unwrap();
    let key = Digest::sha256(b"step");
    let upper = store.snapshots.prepare(Some(&base)).unwrap();
    fs::write(upper.files().join("made"), vec![1; 50_000]).unwrap();
    upper.commit(SnapshotId::from_key(key)).unwrap();
    let descriptor = put(store, &vec![7; 30_000]);
    let record =
        StepRecord { snapshot: SnapshotId::from_key(key), layer: Some(StepLayer { descriptor, diff_id }) };
    store.steps.insert(&key, &record).unwrap();
    put(store, &vec![9; 20_000]);
    (key, layer.digest)
}

#[test]
fn pruning_keeps_what_names_need_and_takes_the_rest_by_size() {
    let (_root, mut store) = open();
    let (key, layer) = filled(&store);
    let nothing = store.prune(&PruneLimits::default()).unwrap();
    assert_eq!((nothing.freed, nothing.steps), (0, 0));
    assert!(store.step(&key).unwrap().is_some());
    let limits = PruneLimits { size: Some(nothing.left - 1), ..PruneLimits::default() };
    let some = store.prune(&limits).unwrap();
    assert!(some.left < nothing.left && some.left + some.freed == nothing.left, "{some:?}");
    let all = store.prune(&PruneLimits { size: Some(0), ..PruneLimits::default() }).unwrap();
    assert_eq!(store.snapshots.list().unwrap(), []);
    assert_eq!(store.step(&key).unwrap(), None);
    assert_eq!(store.content.list().unwrap().len(), 3, "manifest, config and layer of the named image");
    assert!(store.content.contains(&layer));
    assert!(all.left > 0);
    store.images.remove(&name("kept")).unwrap();
    let rest = store.prune(&PruneLimits { size: Some(0), ..PruneLimits::default() }).unwrap();
    assert_eq!((rest.left, rest.blobs), (0, 3));
}

#[test]
fn pruning_by_age_spares_what_was_used_lately() {
    let (_root, mut store) = open();
    let (key, _) = filled(&store);
    let old = SystemTime::now() - Duration::from_secs(7200);
    let age = |path: &Path| fs::File::open(path).unwrap().set_modified(old).unwrap();
    for digest in store.content.list().unwrap() {
        age(&store.content.path(&digest));
    }
    let limits = PruneLimits { unused_for: Some(Duration::from_secs(3600)), ..PruneLimits::default() };
    let report = store.prune(&limits).unwrap();
    assert_eq!((report.steps, report.snapshots, report.blobs), (0, 0, 1), "only what no record holds");
    assert!(store.step(&key).unwrap().is_some());
    age(&store.steps.path(&key));
    for id in store.snapshots.list().unwrap() {
        age(&store.snapshots.record_path(&id));
    }
    let report = store.prune(&limits).unwrap();
    assert_eq!((report.steps, report.snapshots, report.blobs), (1, 2, 1));
}

#[test]
fn a_store_in_use_is_not_pruned() {
    let (root, mut store) = open();
    let other = Store::open(root.path()).unwrap();
    assert!(matches!(store.prune(&PruneLimits::default()), Err(StoreError::Busy { .. })));
    drop(other);
    store.prune(&PruneLimits::default()).unwrap();
    // The lock is shared again.
    Store::open(root.path()).unwrap();
}

#[test]
fn what_would_be_pruned_is_what_is_pruned() {
    let (_root, mut store) = open();
    filled(&store);
    for limits in [
        PruneLimits { size: Some(60_000), ..PruneLimits::default() },
        PruneLimits { size: Some(0), ..PruneLimits::default() },
        PruneLimits { size: Some(0), names: true, ..PruneLimits::default() },
    ] {
        let before = store.usage().unwrap();
        let foreseen = store.would_prune(&limits).unwrap();
        assert_eq!(store.usage().unwrap(), before, "nothing is removed by looking");
        assert!(foreseen.freed > 0, "{limits:?}");
        assert_eq!(store.prune(&limits).unwrap(), foreseen);
        let after = store.usage().unwrap();
        assert_eq!((after.size(), before.size() - after.size()), (foreseen.left, foreseen.freed));
    }
    assert_eq!(store.usage().unwrap(), Usage::default());
    assert!(store.images.list().unwrap().is_empty());
}

#[test]
fn usage_tells_what_there_is_and_what_can_go() {
    let (_root, mut store) = open();
    assert_eq!(store.usage().unwrap(), Usage::default());
    filled(&store);
    let usage = store.usage().unwrap();
    assert_eq!(
        usage.images.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["docker.io/library/kept:latest"]
    );
    assert_eq!((usage.steps.count, usage.snapshots.count, usage.blobs.count), (1, 2, 5));
    assert!(usage.snapshots.size >= 50_000 && usage.blobs.size >= 50_000, "{usage:?}");
    assert_eq!(usage.snapshots.reclaimable, usage.snapshots.size);
    assert!(usage.blobs.oldest_use.is_some_and(|time| time <= SystemTime::now()));
    let pruned = store.prune(&PruneLimits { size: Some(0), ..PruneLimits::default() }).unwrap();
    assert_eq!((usage.reclaimable(), usage.size() - usage.reclaimable()), (pruned.freed, pruned.left));
}
