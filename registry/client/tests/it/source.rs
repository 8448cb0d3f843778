//! Images out of folders and archives, and their way into a registry.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use registry_client::{Error, Mount, Source};
use registry_types::{Descriptor, Digest, MediaType, Platform};
use tokio::io::AsyncReadExt as _;

use crate::fake::{Fake, Trick, answer, builder, content, descriptor, text};

/// Files of a layout by name.
type Files = BTreeMap<String, Vec<u8>>;

fn blob(files: &mut Files, media_type: &str, content: &[u8]) -> Descriptor {
    let digest = Digest::sha256(content);
    files.insert(format!("blobs/sha256/{}", digest.hex()), content.to_vec());
    Descriptor::new(MediaType::known(leak(media_type)), digest, content.len() as u64)
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn image(files: &mut Files, layer: &[u8]) -> Descriptor {
    let config = blob(files, MediaType::OCI_CONFIG, format!("{{\"of\":{}}}", layer.len()).as_bytes());
    let layer = blob(files, MediaType::OCI_LAYER, layer);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": [layer],
    });
    blob(files, MediaType::OCI_MANIFEST, manifest.to_string().as_bytes())
}

fn index(files: &mut Files, entries: &[(Descriptor, Option<&str>)]) {
    let manifests: Vec<serde_json::Value> = entries
        .iter()
        .map(|(descriptor, name)| {
            let mut value = serde_json::to_value(descriptor).unwrap();
            if let Some(name) = name {
                value["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": name });
            }
            value
        })
        .collect();
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": manifests });
    files.insert("index.json".to_owned(), index.to_string().into_bytes());
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
}

fn write_folder(files: &Files) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn write_tar(files: &Files, links: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, format!("./{name}"), content.as_slice()).unwrap();
    }
    for (name, target) in links {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

async fn whole(source: &Source, descriptor: &Descriptor) -> std::io::Result<Vec<u8>> {
    let stream = source.open(descriptor).await.map_err(std::io::Error::other)?;
    assert_eq!(stream.size(), descriptor.size);
    let mut content = Vec::new();
    stream.into_reader().read_to_end(&mut content).await?;
    Ok(content)
}

fn amd64() -> Platform {
    Platform::new("linux", "amd64", None)
}

async fn from_file(content: &[u8], name: Option<&str>) -> Result<Source, Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    Source::archive(file.path(), name).await
}

#[tokio::test]
async fn a_folder_an_archive_and_a_stream_give_the_same_image() {
    let mut files = Files::new();
    let layer = content(1_500_000);
    let manifest = image(&mut files, &layer);
    index(&mut files, &[(manifest.clone(), Some("h.test/a:v1"))]);
    let folder = write_folder(&files);
    let tar = write_tar(&files, &[]);
    let zipped = gzip(&tar);
    let sources = [
        Source::layout(folder.path(), None).await.unwrap(),
        from_file(&tar, Some("h.test/a:v1")).await.unwrap(),
        from_file(&zipped, None).await.unwrap(),
        Source::stream(zipped.as_slice(), None).await.unwrap(),
    ];
    for source in sources {
        let image = source.resolve(&amd64()).await.unwrap();
        assert_eq!(image.manifest.digest, manifest.digest);
        assert_eq!(source.name(), Some("h.test/a:v1"));
        assert_eq!(whole(&source, &image.view.layers[0]).await.unwrap(), layer);
    }
}

#[tokio::test]
async fn damage_in_a_layout_is_found() {
    let mut files = Files::new();
    let layer = content(100_000);
    let manifest = image(&mut files, &layer);
    index(&mut files, &[(manifest.clone(), None)]);
    let layer = descriptor(&layer);
    let name = format!("blobs/sha256/{}", layer.digest.hex());
    files.get_mut(&name).unwrap()[99_999] ^= 1;
    let source = from_file(&write_tar(&files, &[]), None).await.unwrap();
    let error = whole(&source, &layer).await.unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    files.get_mut(&name).unwrap().pop();
    let source = from_file(&write_tar(&files, &[]), None).await.unwrap();
    assert!(matches!(source.open(&layer).await, Err(Error::SizeMismatch { actual: 99_999, .. })));
    files.remove(&name);
    let source = from_file(&write_tar(&files, &[]), None).await.unwrap();
    assert!(source.open(&layer).await.unwrap_err().is_not_found());
    let manifest_name = format!("blobs/sha256/{}", manifest.digest.hex());
    files.get_mut(&manifest_name).unwrap()[0] = b' ';
    let error = from_file(&write_tar(&files, &[]), None).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn one_of_several_images_is_chosen_by_name() {
    let mut files = Files::new();
    let (one, two) = (image(&mut files, b"one"), image(&mut files, b"three"));
    index(&mut files, &[(one.clone(), Some("h.test/one:v1")), (two.clone(), Some("latest"))]);
    let folder = write_folder(&files);
    for (name, digest) in [("h.test/one:v1", one.digest), ("latest", two.digest)] {
        let source = Source::layout(folder.path(), Some(name)).await.unwrap();
        assert_eq!(source.top().await.unwrap().digest, digest);
    }
    let error = Source::layout(folder.path(), None).await.unwrap_err().to_string();
    assert!(error.contains("h.test/one:v1, latest"), "{error}");
    let error = Source::layout(folder.path(), Some("h.test/one:v2")).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("h.test/one:v1"), "{error}");
}

#[tokio::test]
async fn an_index_of_platforms_is_one_image() {
    let mut files = Files::new();
    let platform = |mut descriptor: Descriptor, name: &str| {
        descriptor.platform = Some(name.parse().unwrap());
        descriptor
    };
    let arm = platform(image(&mut files, b"arm"), "linux/arm64");
    let amd = platform(image(&mut files, b"amd64"), "linux/amd64");
    index(&mut files, &[(arm, None), (amd.clone(), None)]);
    let folder = write_folder(&files);
    let source = Source::layout(folder.path(), None).await.unwrap();
    let image = source.resolve(&amd64()).await.unwrap();
    assert_eq!(image.manifest.digest, amd.digest);
    assert_eq!(image.index.unwrap().bytes, files["index.json"]);
    let error = source.resolve(&Platform::new("linux", "s390x", None)).await.unwrap_err();
    assert!(error.to_string().contains("linux/amd64, linux/arm64"), "{error}");
}

fn saved(layers: &[(&str, &[u8])], diff_ids: &[Digest]) -> Files {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let names: Vec<&str> = layers.iter().map(|(name, _)| *name).collect();
    let table = serde_json::json!([{ "Config": "c.json", "RepoTags": ["app:v1"], "Layers": names }]);
    let mut files = Files::new();
    files.insert("c.json".to_owned(), config.to_string().into_bytes());
    files.insert("manifest.json".to_owned(), table.to_string().into_bytes());
    for (name, content) in layers.iter().filter(|(_, content)| !content.is_empty()) {
        files.insert((*name).to_owned(), content.to_vec());
    }
    files
}

#[tokio::test]
async fn an_archive_of_docker_save_becomes_an_image() {
    let (plain, zipped) = (content(200_000), gzip(b"a layer"));
    let diff_ids = [Digest::sha256(&plain), Digest::sha256(b"a layer"), Digest::sha256(&plain)];
    // The third layer is the first again, which docker writes as a link.
    let files = saved(&[("1/layer.tar", &plain), ("2/layer.tar", &zipped), ("3/layer.tar", b"")], &diff_ids);
    let tar = write_tar(&files, &[("3/layer.tar", "../1/layer.tar")]);
    let source = from_file(&tar, Some("docker.io/library/app:v1")).await.unwrap();
    let image = source.resolve(&amd64()).await.unwrap();
    let types: Vec<&str> = image.view.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [MediaType::OCI_LAYER, MediaType::OCI_LAYER_GZIP, MediaType::OCI_LAYER]);
    assert_eq!(whole(&source, &image.view.layers[0]).await.unwrap(), plain);
    assert_eq!(whole(&source, &image.view.layers[1]).await.unwrap(), zipped);
    assert_eq!(whole(&source, &image.view.layers[2]).await.unwrap(), plain);
    assert_eq!(whole(&source, image.view.config.as_ref().unwrap()).await.unwrap(), files["c.json"]);
    let again = from_file(&tar, None).await.unwrap();
    assert_eq!(again.top().await.unwrap(), image.manifest, "the manifest that is made is always the same");
    // A layer that is not what the configuration says.
    let lie = saved(&[("1/layer.tar", b"other")], &diff_ids[..1]);
    let source = from_file(&write_tar(&lie, &[]), None).await.unwrap();
    let layer = source.resolve(&amd64()).await.unwrap().view.layers[0].clone();
    assert!(whole(&source, &layer).await.unwrap_err().to_string().contains("damaged"));
}

#[tokio::test]
async fn what_is_no_image_is_told_in_one_sentence() {
    let mut files = Files::new();
    files.insert("hello".to_owned(), b"world".to_vec());
    for (content, part) in [
        (write_tar(&files, &[]), "manifest.json"),
        (b"\x28\xb5\x2f\xfd rest".to_vec(), "zstd"),
        (vec![7; 3000], "not a tar file"),
        (gzip(b"x")[..12].to_vec(), "not an image"),
    ] {
        let error = from_file(&content, None).await.unwrap_err();
        assert!(matches!(error, Error::Archive { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let folder = write_folder(&files);
    assert!(matches!(Source::layout(folder.path(), None).await, Err(Error::Archive { .. })));
    assert!(Source::archive(Path::new("/nonexistent"), None).await.is_err());
    // A table that names what is not there, and a path out of the archive.
    let mut outside = saved(&[("../../../etc/hostname", b"")], &[Digest::sha256(b"x")]);
    let error = from_file(&write_tar(&outside, &[]), None).await.unwrap_err();
    assert!(error.to_string().contains("no file ../../../etc/hostname"), "{error}");
    outside.remove("c.json");
    assert!(from_file(&write_tar(&outside, &[]), None).await.is_err());
}

#[tokio::test]
async fn an_image_is_copied_into_a_registry_and_on_to_another() {
    let mut files = Files::new();
    let layer = content(900_000);
    let manifest = image(&mut files, &layer);
    index(&mut files, &[(manifest.clone(), None)]);
    let source = from_file(&write_tar(&files, &[]), None).await.unwrap();
    let (first, second) = (Fake::start().await, Fake::start().await);
    let tags = ["v1".parse().unwrap(), "latest".parse().unwrap()];
    let top = source.top().await.unwrap();
    let digest = source.copy_to(&top, &first.client(), &tags).await.unwrap();
    assert_eq!(digest, manifest.digest);
    assert_eq!(first.blob(&descriptor(&layer).digest).unwrap(), layer);
    let client = builder().chunk_length(200_000).build().unwrap();
    let image = format!("{}/root/app:v1", first.address).parse().unwrap();
    let registry = Source::registry(&client, &image);
    let top = registry.top().await.unwrap();
    registry.copy_to(&top, &second.repository(&client), &tags[..1]).await.unwrap();
    assert_eq!(second.blob(&descriptor(&layer).digest).unwrap(), layer);
    let there = second.client().manifest(&"v1".parse().unwrap(), &[]).await.unwrap();
    assert_eq!(there.bytes, top.bytes);
    // A damaged source leaves no manifest behind.
    let third = Fake::start().await;
    let mut damaged = layer.to_vec();
    damaged[0] ^= 1;
    let name = descriptor(&layer).digest.to_string();
    first.state.blobs.lock().unwrap().insert(name, Bytes::from(damaged));
    let error = registry.copy_to(&top, &third.client(), &tags).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(third.state.manifests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn within_one_registry_blobs_are_mounted() {
    let fake =
        Fake::tricky(|seen| seen.is("HEAD", "/blobs/").then(|| Trick::Answer(text(answer(404), "")))).await;
    let layer = fake.hold(&content(1000));
    let client = builder().build().unwrap();
    let image = format!("{}/root/base:v1", fake.address).parse().unwrap();
    let source = Source::registry(&client, &image);
    let mounted = source.copy_blob(&layer, &fake.repository(&client)).await.unwrap();
    assert_eq!(mounted, Mount::Mounted);
    assert!(fake.seen("GET", "/blobs/").is_empty(), "bytes travelled");
}
