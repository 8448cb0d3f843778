//! What holds while many write and read at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use registry_types::{Digest, Reference};
use tokio::task::JoinSet;

use super::samples::*;
use crate::{Change, Metadata, MetadataError, NewManifest};

/// Writers at once.
const WRITERS: usize = 16;

/// How long readers and a writer race each other.
const RACE: Duration = Duration::from_millis(700);

async fn all(tasks: JoinSet<()>) {
    tasks.join_all().await;
}

pub async fn one_of_many_tag_writers_wins_whole<M: Metadata>(store: M) {
    let here = repository("team/app");
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let (store, here) = (store.clone(), here.clone());
        tasks.spawn(async move {
            let image = pushed_image(&store, &here, &number.to_string(), &["latest", "also"]).await;
            let found = store.manifest(&here, &image.digest.into()).await.unwrap().unwrap();
            assert_eq!(found.bytes, image.bytes);
        });
    }
    all(tasks).await;
    let latest = store.manifest(&here, &tag("latest").into()).await.unwrap().unwrap();
    let also = store.manifest(&here, &tag("also").into()).await.unwrap().unwrap();
    assert_eq!(latest, also, "two tags of one push were torn apart");
    assert_eq!(Digest::sha256(&latest.bytes), latest.digest);
    let listed = store.tag_records(&here, &page(None, 10)).await.unwrap().unwrap().entries;
    assert!(listed.iter().all(|record| record.digest == latest.digest) && listed.len() == 2);
}

pub async fn acknowledged_writes_are_seen_by_later_reads<M: Metadata>(store: M) {
    let here = repository("team/app");
    let mut images = Vec::new();
    for number in 0..8 {
        images.push(pushed_image(&store, &here, &number.to_string(), &["latest"]).await);
    }
    let images = Arc::new(images);
    // How many moves of the tag were acknowledged; move n makes it image n modulo 8. It stands on the last one.
    let acknowledged = Arc::new(AtomicUsize::new(images.len() - 1));
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (store, here, images) = (store.clone(), here.clone(), images.clone());
        let (acknowledged, over) = (acknowledged.clone(), over.clone());
        tasks.spawn(async move {
            let reference = Reference::from(tag("latest"));
            let mut seen = 0;
            while !over.load(Ordering::Acquire) {
                let floor = acknowledged.load(Ordering::Acquire).max(seen);
                let record = store.manifest(&here, &reference).await.unwrap().unwrap();
                let ceiling = acknowledged.load(Ordering::Acquire) + 1;
                let position = images.iter().position(|image| image.digest == record.digest);
                let position = position.expect("the tag points at one of the images");
                // The youngest move that this can be. With less than eight under way it is the only one.
                if ceiling - floor < images.len() {
                    let found = (floor..=ceiling).find(|number| number % images.len() == position);
                    seen = found.unwrap_or_else(|| {
                        panic!("move {floor} was acknowledged or seen before, and image {position} was read")
                    });
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let deadline = Instant::now() + RACE;
    while Instant::now() < deadline {
        let next = acknowledged.load(Ordering::Acquire) + 1;
        let image = NewManifest { tags: vec![tag("latest")], ..images[next % images.len()].clone() };
        store.put_manifest(image, Change::now()).await.unwrap();
        acknowledged.store(next, Ordering::Release);
    }
    over.store(true, Ordering::Release);
    all(tasks).await;
}

pub async fn a_failing_write_leaves_the_others_alone<M: Metadata>(store: M) {
    let here = repository("team/app");
    linked_image(&store, &here, "app", &[]).await;
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS * 8 {
        let (store, here) = (store.clone(), here.clone());
        tasks.spawn(async move {
            let missing = blob(&format!("missing {number}"));
            let fails = number % 3 == 0;
            let layer = if fails { missing.clone() } else { blob("layer of app") };
            let mut json = image_json(&[blob("config of app"), layer]);
            json["annotations"] = serde_json::json!({ "number": number.to_string() });
            let image = manifest(&here, &json, &[&format!("tag-{number}")]);
            let digest = image.digest;
            match store.put_manifest(image, Change::now()).await {
                Ok(()) => assert!(!fails, "{number} was taken without its layer"),
                Err(MetadataError::MissingBlobs { missing: listed }) => {
                    assert!(fails && listed == [missing.digest], "{number} was refused: {listed:?}");
                }
                Err(other) => panic!("{number}: {other}"),
            }
            assert_eq!(store.manifest(&here, &digest.into()).await.unwrap().is_some(), !fails);
        });
    }
    all(tasks).await;
    let tags = store.tags(&here, &page(None, 1_000)).await.unwrap().unwrap().entries;
    assert_eq!(tags.len(), (0..WRITERS * 8).filter(|number| number % 3 != 0).count());
}

pub async fn deletes_and_pushes_at_once_leave_no_mixture<M: Metadata>(store: M) {
    let here = repository("team/app");
    let image = pushed_image(&store, &here, "app", &["latest"]).await;
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let (store, here, image) = (store.clone(), here.clone(), image.clone());
        tasks.spawn(async move {
            for _ in 0..8 {
                if number % 2 == 0 {
                    store.delete_manifest(&here, &image.digest, Change::now()).await.unwrap();
                } else {
                    store.put_manifest(image.clone(), Change::now()).await.unwrap();
                }
                // One may be there without the other only between two reads; a torn row is an error.
                store.manifest(&here, &tag("latest").into()).await.unwrap();
                store.tag_records(&here, &page(None, 10)).await.unwrap();
            }
        });
    }
    all(tasks).await;
    let by_tag = store.manifest(&here, &tag("latest").into()).await.unwrap();
    let by_digest = store.manifest(&here, &image.digest.into()).await.unwrap();
    assert_eq!(by_tag, by_digest);
    let listed = store.tags(&here, &page(None, 10)).await.unwrap().unwrap().entries;
    assert_eq!(listed.len(), usize::from(by_tag.is_some()));
}
