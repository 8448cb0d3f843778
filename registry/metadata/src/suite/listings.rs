//! Listings: complete, in byte order, page by page.

use registry_types::Tag;
use time::OffsetDateTime;

use super::samples::*;
use crate::{Change, Metadata, NewManifest};

pub async fn tags_are_paged_in_byte_order<M: Metadata>(store: M) {
    let here = repository("team/app");
    assert_eq!(store.tags(&here, &page(None, 10)).await.unwrap(), None);
    assert_eq!(store.tag_records(&here, &page(None, 10)).await.unwrap(), None);
    // In byte order: capitals before `_` before small letters, a prefix before what it begins.
    let sorted = ["1.0", "1.0-rc", "A", "Z", "_x", "a", "a.b", "ab"];
    let pushed_order = ["ab", "_x", "1.0-rc", "a", "Z", "a.b", "1.0", "A"];
    pushed_image(&store, &here, "app", &pushed_order).await;
    // Another repository's tags are not listed.
    pushed_image(&store, &repository("team/apq"), "app", &["other"]).await;

    let all = store.tags(&here, &page(None, 100)).await.unwrap().unwrap();
    assert_eq!((all.entries, all.more), (sorted.map(tag).to_vec(), false));
    for limit in 1..=sorted.len() + 1 {
        let mut listed: Vec<Tag> = Vec::new();
        loop {
            let after = listed.last().map(Tag::as_str);
            let next = store.tags(&here, &page(after, limit)).await.unwrap().unwrap();
            assert!(next.entries.len() <= limit);
            let records = store.tag_records(&here, &page(after, limit)).await.unwrap().unwrap();
            let names: Vec<Tag> = records.entries.into_iter().map(|record| record.tag).collect();
            assert_eq!((&names, records.more), (&next.entries, next.more));
            listed.extend(next.entries);
            if !next.more {
                break;
            }
        }
        assert_eq!(listed, sorted.map(tag), "pages of {limit}");
    }
    // A page may begin behind a name that does not exist, or is no name at all, and may be empty.
    let behind = store.tags(&here, &page(Some("Zz"), 1)).await.unwrap().unwrap();
    assert_eq!((behind.entries, behind.more), (vec![tag("_x")], true));
    let behind = store.tags(&here, &page(Some("~ no tag"), 1)).await.unwrap().unwrap();
    assert_eq!((behind.entries, behind.more), (vec![], false));
    let none = store.tags(&here, &page(None, 0)).await.unwrap().unwrap();
    assert_eq!((none.entries, none.more), (vec![], true));
    let all = store.tags(&here, &page(None, usize::MAX)).await.unwrap().unwrap();
    assert_eq!(all.entries.len(), sorted.len());
}

pub async fn repositories_are_paged_in_byte_order<M: Metadata>(store: M) {
    assert!(store.repositories(&page(None, 10)).await.unwrap().entries.is_empty());
    // `-` and `.` come before `/`, which comes before digits and letters.
    let sorted = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "ab", "b"];
    for name in ["b", "a/b/c", "ab", "a.b", "a", "a0", "a/b", "a-b"] {
        store.link_blob(&repository(name), &blob("content"), None, Change::now()).await.unwrap();
    }
    let first = store.repositories(&page(None, 3)).await.unwrap();
    assert_eq!(
        (first.entries, first.more),
        (sorted[..3].iter().map(|name| repository(name)).collect(), true)
    );
    let second = store.repositories(&page(Some("a.b"), 5)).await.unwrap();
    assert_eq!(
        (second.entries, second.more),
        (sorted[3..].iter().map(|name| repository(name)).collect(), false)
    );
}

pub async fn tag_records_tell_size_and_time<M: Metadata>(store: M) {
    let here = repository("team/app");
    let before = OffsetDateTime::now_utc();
    let (config, layer) = (blob("config"), blob("a layer that stands twice"));
    for blob in [&config, &layer] {
        store.link_blob(&here, blob, None, Change::now()).await.unwrap();
    }
    let image = manifest(&here, &image_json(&[config.clone(), layer.clone(), layer.clone()]), &["v1"]);
    store.put_manifest(image.clone(), Change::now()).await.unwrap();
    let records = store.tag_records(&here, &page(None, 10)).await.unwrap().unwrap().entries;
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&record.tag, record.digest), (&tag("v1"), image.digest));
    assert_eq!(record.media_type, image.view.media_type);
    assert_eq!(record.size, image.bytes.len() as u64 + config.size + layer.size);
    assert!(record.pushed_at >= before && record.pushed_at <= OffsetDateTime::now_utc());

    // The tag was pushed again, even though nothing moved; and a size that cannot be true breaks nothing.
    store.put_manifest(image.clone(), Change::now()).await.unwrap();
    let mut huge = image_json(&[config, layer]);
    huge["layers"][0]["size"] = u64::MAX.into();
    let huge = NewManifest { allow_missing_blobs: true, ..manifest(&here, &huge, &["v2"]) };
    store.put_manifest(huge, Change::now()).await.unwrap();
    let again = store.tag_records(&here, &page(None, 10)).await.unwrap().unwrap().entries;
    assert!(again[0].pushed_at >= record.pushed_at);
    assert_eq!(again[1].size, i64::MAX as u64, "a size past the largest is that");
}
