use std::io::Read;

use registry_types::{Algorithm, Digest, Platform};

use super::*;
use crate::{
    node::Inventory,
    testing::{FakeImage, FakeSource},
};

async fn written(source: &FakeSource, plan: &Plan) -> Result<Vec<u8>, FeedError> {
    let mut sink = Vec::new();
    let sent = AtomicU64::new(0);
    let reported = AtomicU64::new(0);
    let writer = ArchiveWriter {
        sink: &mut sink,
        source,
        stall: Duration::from_secs(5),
        sent: &sent,
        progress: &|bytes| reported.store(bytes, Ordering::Relaxed),
    };
    writer.write(plan).await?;
    assert_eq!(sent.load(Ordering::Relaxed), sink.len() as u64);
    assert_eq!(reported.load(Ordering::Relaxed), sink.len() as u64);
    Ok(sink)
}

fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    tar::Archive::new(archive)
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        })
        .collect()
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

#[tokio::test]
async fn the_archive_is_a_layout_with_the_index_last() {
    // One layer longer than the buffer and no multiple of a block.
    let long = vec![7; 3 * BUFFER + 77];
    let fake = FakeImage::new("one", &[&long, b"small"]);
    let source = FakeSource::new([("host:1/a:t", &fake)]);
    let plan = Plan::new(&[fake.image("host:1/a:t")], &Inventory::default());
    let archive = written(&source, &plan).await.unwrap();
    let entries = entries(&archive);
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let blobs = [&fake.manifest, &fake.config, &fake.layers[0], &fake.layers[1]];
    let blobs = blobs.map(|blob| blob_name(&blob.digest));
    assert_eq!(names, ["oci-layout", &blobs[0], &blobs[1], &blobs[2], &blobs[3], "index.json"]);
    assert_eq!(entries[1].1, fake.manifest_bytes);
    assert_eq!(entries[3].1, long);

    let index: serde_json::Value = serde_json::from_slice(&entries[5].1).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    let digest = fake.manifest.digest.to_string();
    let named: Vec<&str> = manifests
        .iter()
        .map(|manifest| {
            assert_eq!(manifest["digest"], digest.as_str());
            assert_eq!(manifest["size"], fake.manifest.size);
            assert_eq!(
                serde_json::from_value::<Platform>(manifest["platform"].clone()).unwrap(),
                Platform::new("linux", "amd64", None)
            );
            manifest["annotations"]["io.containerd.image.name"].as_str().unwrap()
        })
        .collect();
    assert_eq!(named, ["host:1/a:t".to_owned(), format!("host:1/a@{digest}")]);
}

#[tokio::test]
async fn a_source_that_gives_too_little_or_too_much_is_an_error() {
    let good = FakeImage::new("one", &[b"layer"]);
    for wrong in ["lay", "layer and more"] {
        let mut fake = good.clone();
        fake.blobs.insert(good.layers[0].digest, wrong.as_bytes().to_vec().into());
        let source = FakeSource::new([("host:1/a:t", &fake)]);
        let plan = Plan::new(&[good.image("host:1/a:t")], &Inventory::default());
        match written(&source, &plan).await {
            Err(FeedError::Other(ImportError::Source { source, .. })) => {
                assert!(source.to_string().contains("than the 5 bytes"), "{source}");
            }
            other => panic!("{:?}", other.map(|archive| archive.len())),
        }
    }
}

#[tokio::test]
async fn a_node_that_takes_nothing_is_given_up() {
    let fake = FakeImage::new("one", &[&vec![1; 4 * BUFFER]]);
    let source = FakeSource::new([("host:1/a:t", &fake)]);
    let plan = Plan::new(&[fake.image("host:1/a:t")], &Inventory::default());
    let (mut sink, _kept) = tokio::io::duplex(1024);
    let writer = ArchiveWriter {
        sink: &mut sink,
        source: &source,
        stall: Duration::from_millis(50),
        sent: &AtomicU64::new(0),
        progress: &|_| {},
    };
    let result = writer.write(&plan).await;
    assert!(matches!(result, Err(FeedError::Other(ImportError::TimedOut { .. }))), "{result:?}");
}

#[test]
fn names_too_long_for_a_header_and_large_sizes_are_kept() {
    let digest = Digest::of(Algorithm::Sha512, b"x");
    let name = blob_name(&digest);
    let mut archive = header(&name, 1);
    archive.extend([b'x'; 1]);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    archive.extend([0; 2 * BLOCK]);
    assert_eq!(entries(&archive), [(name, b"x".to_vec())]);

    let large = header("blobs/sha256/00", 9 << 30);
    let parsed = Header::from_byte_slice(&large);
    assert_eq!(parsed.entry_size().unwrap(), 9 << 30);
}
