//! Copies between registries, layouts and archives: nothing twice, nothing named too early, going on after cuts.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use registry_client::{
    ArchiveFormat, Client, Copier, CopyEvent, CopyOptions, CopyReport, Error, LocalImages, Source, Target,
    TargetName,
};
use registry_types::{Descriptor, Digest, MediaType, Platform};

use crate::fake::{Fake, Trick, builder, content, descriptor};

/// Two images for two platforms under one index, and a signature of the index; the layer is shared.
struct Sample {
    layer: Bytes,
    index: Digest,
    amd64: Digest,
    signature: Digest,
}

fn hold_image(fake: &Fake, architecture: &str, layer: &Descriptor) -> Descriptor {
    let config = Bytes::from(format!("{{\"architecture\":\"{architecture}\",\"os\":\"linux\"}}"));
    let config = Descriptor { media_type: MediaType::known(MediaType::OCI_CONFIG), ..fake.hold(&config) };
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": [layer],
    })
    .to_string();
    let digest = fake.hold_manifest(architecture, MediaType::OCI_MANIFEST, &manifest);
    Descriptor {
        platform: Some(Platform::new("linux", architecture, None)),
        ..Descriptor::new(MediaType::known(MediaType::OCI_MANIFEST), digest, manifest.len() as u64)
    }
}

fn hold_sample(fake: &Fake, layer: Bytes) -> Sample {
    let described = fake.hold(&layer);
    let images = [hold_image(fake, "amd64", &described), hold_image(fake, "arm64", &described)];
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": images,
    })
    .to_string();
    let digest = fake.hold_manifest("v1", MediaType::OCI_INDEX, &index);
    let config = Descriptor {
        media_type: MediaType::known(MediaType::OCI_EMPTY),
        ..fake.hold(&Bytes::from_static(b"{}"))
    };
    let subject = Descriptor::new(MediaType::known(MediaType::OCI_INDEX), digest, index.len() as u64);
    let signature = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "a/signature",
        "config": config, "layers": [fake.hold(&Bytes::from_static(b"signed"))], "subject": subject,
    })
    .to_string();
    let name = format!("sha256-{}", digest.hex());
    let signed = fake.hold_manifest("signature", MediaType::OCI_MANIFEST, &signature);
    let mut entry =
        Descriptor::new(MediaType::known(MediaType::OCI_MANIFEST), signed, signature.len() as u64);
    entry.artifact_type = Some("a/signature".parse().unwrap());
    let referrers = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [entry],
    });
    fake.hold_manifest(&name, MediaType::OCI_INDEX, &referrers.to_string());
    Sample { layer, index: digest, amd64: images[0].digest, signature: signed }
}

fn source(client: &Client, fake: &Fake, reference: &str) -> Source {
    Source::registry(client, &format!("{}/root/app:{reference}", fake.address).parse().unwrap())
}

fn all() -> CopyOptions {
    CopyOptions { platform: None, referrers: true }
}

async fn copy_into(
    target: Target,
    options: CopyOptions,
    source: &Source,
    name: &str,
) -> Result<CopyReport, Error> {
    let copier = Copier::new(target, options, |_| {});
    let report = copier.copy(source, &[TargetName::reference(name)]).await?;
    copier.finish().await?;
    Ok(report)
}

#[tokio::test]
async fn an_index_its_images_and_its_signature_arrive_in_order_and_nothing_travels_twice() {
    let (from, to) = (Fake::start().await, Fake::start().await);
    let sample = hold_sample(&from, content(2_500_000));
    let client = builder().chunk_length(400_000).build().unwrap();
    let target = Target::Registry(to.repository(&client));
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let copier = Copier::new(target.clone(), all(), move |event| seen.lock().unwrap().push(event));
    let report = copier.copy(&source(&client, &from, "v1"), &[TargetName::reference("v2")]).await.unwrap();
    assert_eq!(report.digest, sample.index);
    assert_eq!((report.manifests, report.referrers), (4, 1));
    assert_eq!((report.blobs_copied, report.blobs_existed), (5, 0));
    assert_eq!(to.blob(&descriptor(&sample.layer).digest).unwrap(), sample.layer);
    let there = to.state.manifests.lock().unwrap().clone();
    let here = from.state.manifests.lock().unwrap().clone();
    assert_eq!(there["v2"], here["v1"], "the bytes changed");
    assert_eq!(there[&sample.signature.to_string()], here["signature"]);
    let order: Vec<String> = to.seen("PUT", "/manifests/").iter().map(|seen| seen.target.clone()).collect();
    let place = |name: &str| order.iter().position(|target| target.ends_with(name)).unwrap();
    assert!(place(&sample.amd64.to_string()) < place(&sample.index.to_string()), "{order:?}");
    assert!(place(&sample.index.to_string()) < place(&sample.signature.to_string()), "{order:?}");
    assert_eq!(place("v2"), order.len() - 1, "{order:?}");
    // The shared layer was fetched once, and the referrers tag was kept for a registry without the API.
    assert_eq!(from.seen("GET", &descriptor(&sample.layer).digest.to_string()).len(), 1);
    assert!(there.contains_key(&format!("sha256-{}", sample.index.hex())));
    let done = |events: &[CopyEvent]| {
        events.iter().filter(|event| matches!(event, CopyEvent::BlobDone { .. })).count()
    };
    assert_eq!(done(&events.lock().unwrap()), 5);

    let uploads = to.seen("POST", "/uploads").len();
    let again = copy_into(target, all(), &source(&client, &from, "v1"), "v2").await.unwrap();
    assert_eq!((again.blobs_copied, again.blobs_existed, again.bytes_copied), (0, 5, 0));
    assert_eq!(to.seen("POST", "/uploads").len(), uploads, "something was uploaded again");
}

#[tokio::test]
async fn one_platform_is_copied_alone() {
    let (from, to) = (Fake::start().await, Fake::start().await);
    let sample = hold_sample(&from, content(5000));
    let client = builder().build().unwrap();
    let options = CopyOptions { platform: Some(Platform::new("linux", "amd64", None)), referrers: false };
    let target = Target::Registry(to.repository(&client));
    let report = copy_into(target, options, &source(&client, &from, "v1"), "v1").await.unwrap();
    assert_eq!((report.digest, report.manifests, report.blobs_copied), (sample.amd64, 1, 2));
    assert!(!to.state.manifests.lock().unwrap().contains_key(&sample.index.to_string()));
}

#[tokio::test]
async fn a_copy_goes_on_after_cuts_on_both_sides() {
    let from = Fake::tricky(|seen| {
        let layer = seen.is("GET", "/blobs/") && seen.nth < 3;
        layer.then_some(Trick::CutAnswer(700_000))
    })
    .await;
    let to = Fake::tricky(|seen| match seen.nth {
        1 if seen.is("PATCH", "/uploads/") => Some(Trick::CutRequest(100_000)),
        3 if seen.is("PATCH", "/uploads/") => Some(Trick::LoseAnswer),
        _ => None,
    })
    .await;
    let sample = hold_sample(&from, content(4_000_000));
    let client = builder().chunk_length(600_000).build().unwrap();
    let target = Target::Registry(to.repository(&client));
    copy_into(target, CopyOptions::default(), &source(&client, &from, "amd64"), "v1").await.unwrap();
    assert_eq!(to.blob(&descriptor(&sample.layer).digest).unwrap(), sample.layer);
    let reads = from.seen("GET", &descriptor(&sample.layer).digest.to_string());
    assert!(reads.len() > 2 && reads[1..].iter().all(|read| read.header("range").is_some()));
}

#[tokio::test]
async fn an_upload_whose_session_is_lost_starts_over() {
    let (from, to) = (
        Fake::start().await,
        Fake::tricky(|seen| {
            let lost = seen.is("PATCH", "/uploads/0?") && seen.nth == 1;
            lost.then(|| Trick::Answer(crate::fake::text(crate::fake::answer(404), "")))
        })
        .await,
    );
    let sample = hold_sample(&from, content(2_000_000));
    let client = builder().chunk_length(600_000).build().unwrap();
    // The only long blob, so that the first session is its.
    let blob = descriptor(&sample.layer);
    source(&client, &from, "amd64").copy_blob(&blob, &to.repository(&client)).await.unwrap();
    assert_eq!(to.blob(&blob.digest).unwrap(), sample.layer);
}

#[tokio::test]
async fn a_layout_keeps_everything_and_gives_it_back() {
    let (from, to) = (Fake::start().await, Fake::start().await);
    let sample = hold_sample(&from, content(300_000));
    let client = builder().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    let target = Target::layout(&path).await.unwrap();
    let image = source(&client, &from, "v1");
    let report = copy_into(target.clone(), all(), &image, "v1").await.unwrap();
    assert_eq!((report.digest, report.blobs_copied, report.referrers), (sample.index, 5, 1));
    copy_into(target.clone(), CopyOptions::default(), &source(&client, &from, "arm64"), "arm").await.unwrap();
    assert_eq!(LocalImages::layout(&path).await.unwrap().names(), ["v1", "arm"]);
    // Damage in the layout is mended by the next copy.
    let layer = path.join(format!("blobs/sha256/{}", descriptor(&sample.layer).digest.hex()));
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let again = copy_into(target, all(), &image, "v1").await.unwrap();
    assert_eq!((again.blobs_copied, again.blobs_existed), (1, 4));
    assert_eq!(std::fs::read(&layer).unwrap(), sample.layer);
    // And back into a registry, with the signature.
    let local = Source::layout(&path, Some("v1")).await.unwrap();
    assert_eq!(local.referrers(&sample.index, None).await.unwrap()[0].digest, sample.signature);
    let target = Target::Registry(to.repository(&client));
    let report = copy_into(target, all(), &local, "v1").await.unwrap();
    assert_eq!((report.digest, report.referrers), (sample.index, 1));
    assert!(to.state.manifests.lock().unwrap().contains_key(&sample.signature.to_string()));
}

#[tokio::test]
async fn a_layout_without_a_name_and_with_a_signature_is_one_image() {
    let from = Fake::start().await;
    let sample = hold_sample(&from, content(5000));
    let client = builder().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copier = Copier::new(Target::layout(folder.path()).await.unwrap(), all(), |_| {});
    copier.copy(&source(&client, &from, "v1"), &[]).await.unwrap();
    let top = Source::layout(folder.path(), None).await.unwrap().top().await.unwrap();
    assert_eq!(top.digest, sample.index);
}

#[tokio::test]
async fn a_copy_into_a_layout_that_was_killed_goes_on_where_it_was() {
    // Without retries, a cut is the end of the process.
    let from = Fake::tricky(|seen| {
        let first = seen.is("GET", "/blobs/") && seen.header("range").is_none() && seen.nth == 0;
        first.then_some(Trick::CutAnswer(600_000))
    })
    .await;
    let sample = hold_sample(&from, content(1_000_000));
    let folder = tempfile::tempdir().unwrap();
    let layer = descriptor(&sample.layer);
    let copy = || async {
        let client = builder().retries(0, std::time::Duration::ZERO).build().unwrap();
        let target = Target::layout(folder.path()).await.unwrap();
        copy_into(target, CopyOptions::default(), &source(&client, &from, "amd64"), "v1").await
    };
    let error = copy().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!folder.path().join("index.json").exists(), "an image is named that is not whole");
    copy().await.unwrap();
    let reads = from.seen("GET", &layer.digest.to_string());
    assert_eq!(reads.len(), 2);
    assert_eq!(reads[1].header("range"), Some("bytes=600000-"));
    let blobs = folder.path().join("blobs/sha256");
    assert_eq!(std::fs::read(blobs.join(layer.digest.hex())).unwrap(), sample.layer);
    assert!(!blobs.join(format!(".{}.partial", layer.digest.hex())).exists());
    // A partial file that is not the start of the blob costs a second read, not the copy.
    std::fs::remove_file(blobs.join(layer.digest.hex())).unwrap();
    std::fs::write(blobs.join(format!(".{}.partial", layer.digest.hex())), vec![7; 400_000]).unwrap();
    copy().await.unwrap();
    assert_eq!(std::fs::read(blobs.join(layer.digest.hex())).unwrap(), sample.layer);
}

async fn archived(path: &Path, format: ArchiveFormat, name: &str) -> (Sample, Result<CopyReport, Error>) {
    let from = Fake::start().await;
    let sample = hold_sample(&from, content(700_000));
    let client = builder().build().unwrap();
    let target = Target::archive(path, format).await.unwrap();
    let outcome = copy_into(target, all(), &source(&client, &from, name), "h.test/app:v1").await;
    (sample, outcome)
}

#[tokio::test]
async fn an_archive_holds_the_index_and_its_referrers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    let (sample, outcome) = archived(&path, ArchiveFormat::Oci, "v1").await;
    assert_eq!(outcome.unwrap().digest, sample.index);
    let image = Source::archive(&path, Some("h.test/app:v1")).await.unwrap();
    assert_eq!(image.top().await.unwrap().digest, sample.index);
    assert_eq!(image.referrers(&sample.index, None).await.unwrap().len(), 1);
    let to = Fake::start().await;
    let target = Target::Registry(to.repository(&builder().build().unwrap()));
    assert_eq!(copy_into(target, all(), &image, "v1").await.unwrap().blobs_copied, 5);
    assert_eq!(to.blob(&descriptor(&sample.layer).digest).unwrap(), sample.layer);
}

#[tokio::test]
async fn an_archive_for_docker_names_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    let (sample, outcome) = archived(&path, ArchiveFormat::Docker, "amd64").await;
    outcome.unwrap();
    let mut archive = tar::Archive::new(std::fs::File::open(&path).unwrap());
    let mut names = Vec::new();
    let mut table = serde_json::Value::Null;
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        if name == "manifest.json" {
            table = serde_json::from_reader(entry).unwrap();
        }
        names.push(name);
    }
    assert_eq!(table[0]["RepoTags"], serde_json::json!(["h.test/app:v1"]));
    let layer = format!("blobs/sha256/{}", descriptor(&sample.layer).digest.hex());
    assert_eq!(table[0]["Layers"], serde_json::json!([layer]));
    assert!(names.contains(&layer) && names.iter().any(|name| table[0]["Config"] == **name));
    // An index has no place in it, and nothing is left behind.
    let other = folder.path().join("other.tar");
    let (_, outcome) = archived(&other, ArchiveFormat::Docker, "v1").await;
    assert!(outcome.unwrap_err().to_string().contains("choose a platform"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_damaged_source_leaves_no_archive_and_no_name() {
    let from = Fake::start().await;
    let sample = hold_sample(&from, content(700_000));
    let mut damaged = sample.layer.to_vec();
    damaged[699_999] ^= 1;
    let digest = descriptor(&sample.layer).digest;
    from.state.blobs.lock().unwrap().insert(digest.to_string(), damaged.into());
    let client = builder().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (archive, layout) = (folder.path().join("image.tar"), folder.path().join("layout"));
    for target in
        [Target::archive(&archive, ArchiveFormat::Oci).await.unwrap(), Target::layout(&layout).await.unwrap()]
    {
        let error = copy_into(target, all(), &source(&client, &from, "v1"), "v1").await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    }
    assert!(!archive.exists() && !layout.join("index.json").exists());
    assert!(!layout.join(format!("blobs/sha256/{}", digest.hex())).exists());
    let error = Target::archive(&folder.path().join("none/x.tar"), ArchiveFormat::Oci).await.unwrap_err();
    assert!(error.to_string().contains("none/x.tar"), "{error}");
}
