//! Archives, layouts, names in the local store, and the files for scripts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use builder_output::{
    BuiltImage, Destination, OutputResult, Outputs, metadata_json, write_digest_file, write_metadata_file,
};
use registry_types::ImageReference;
use serde_json::Value;

use crate::kit::{Kit, image};

fn name(text: &str) -> ImageReference {
    text.parse().unwrap()
}

async fn write(kit: &Kit, image: &BuiltImage, output: &str, names: &[ImageReference]) {
    let destinations = Destination::parse(output, names).unwrap();
    let results = Outputs::new(kit.fetcher.clone(), destinations).finish(image).await.unwrap();
    assert!(matches!(&results[..], [OutputResult::Written { digest, .. }] if digest == image.digest()));
}

/// Names and contents of an archive, each name once.
fn unpack(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut members = BTreeMap::new();
    for entry in tar::Archive::new(fs::File::open(path).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert!(members.insert(name.clone(), content).is_none(), "{name} is there twice");
    }
    members
}

fn json(content: &[u8]) -> Value {
    serde_json::from_slice(content).unwrap()
}

fn blob(image_digest: &registry_types::Digest) -> String {
    format!("blobs/sha256/{}", image_digest.hex())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_archive_serves_both_kinds_of_loaders() {
    let kit = Kit::new();
    let (first, second) = (kit.layer("first"), kit.layer("second"));
    let image = image(vec![first.clone(), second.clone(), first.clone()]);
    let path = kit.place.path().join("out/image.tar");
    let names = [name("localhost:5050/app:1"), name("app")];
    write(&kit, &image, &format!("type=docker,dest={}", path.display()), &names).await;
    let members = unpack(&path);
    assert_eq!(json(&members["oci-layout"])["imageLayoutVersion"], "1.0.0");
    let docker = &json(&members["manifest.json"])[0];
    assert_eq!(
        docker["RepoTags"],
        serde_json::json!(["localhost:5050/app:1", "docker.io/library/app:latest"])
    );
    assert_eq!(members[docker["Config"].as_str().unwrap()], image.config);
    let layers: Vec<&[u8]> = docker["Layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| members[layer.as_str().unwrap()].as_slice())
        .collect();
    assert_eq!(layers, [&b"first"[..], b"second", b"first"]);
    let index = json(&members["index.json"]);
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1");
    assert_eq!(
        index["manifests"][1]["annotations"]["io.containerd.image.name"],
        "docker.io/library/app:latest"
    );
    assert_eq!(members[&blob(image.digest())], image.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_the_same_each_time_and_an_oci_one_holds_nothing_of_docker() {
    let kit = Kit::new();
    let image = image(vec![kit.layer("layer")]);
    let paths = ["one.tar", "two.tar"].map(|name| kit.place.path().join(name));
    for path in &paths {
        write(&kit, &image, &format!("type=oci,dest={}", path.display()), &[]).await;
    }
    assert_eq!(fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap());
    let members = unpack(&paths[0]);
    assert!(!members.contains_key("manifest.json"));
    let descriptor = &json(&members["index.json"])["manifests"][0];
    assert_eq!(descriptor["digest"], image.digest().to_string());
    assert_eq!(descriptor["platform"]["architecture"], "amd64");
    assert!(descriptor.get("annotations").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_directory_keeps_its_other_images() {
    let kit = Kit::new();
    let (old, new) = (image(vec![kit.layer("old")]), image(vec![kit.layer("new")]));
    let output = format!("type=oci,dest={}/layout/", kit.place.path().display());
    write(&kit, &old, &output, &[name("h.test/app:1"), name("h.test/app:2")]).await;
    write(&kit, &new, &output, &[name("h.test/app:2")]).await;
    write(&kit, &new, &output, &[]).await;
    write(&kit, &new, &output, &[]).await;
    let root = kit.place.path().join("layout");
    let index = json(&fs::read(root.join("index.json")).unwrap());
    let listed: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| {
            let tag = manifest["annotations"]["org.opencontainers.image.ref.name"].as_str();
            (tag, manifest["digest"].as_str().unwrap().to_owned())
        })
        .collect();
    let (old_digest, new_digest) = (old.digest().to_string(), new.digest().to_string());
    assert_eq!(listed, [(Some("1"), old_digest), (Some("2"), new_digest.clone()), (None, new_digest)]);
    for image in [&old, &new] {
        assert_eq!(fs::read(root.join(blob(image.digest()))).unwrap(), image.manifest);
        assert_eq!(fs::read(root.join(blob(&image.config_descriptor.digest))).unwrap(), image.config);
        assert!(root.join(blob(&image.layers[0].descriptor.digest)).is_file());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_no_layout_is_left_as_it_is() {
    let kit = Kit::new();
    let root = kit.place.path().join("site");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("index.json"), "not an index").unwrap();
    let destinations = Destination::parse(&format!("type=oci,dest={}/", root.display()), &[]).unwrap();
    let outputs = Outputs::new(kit.fetcher.clone(), destinations);
    let error = outputs.finish(&image(vec![kit.layer("x")])).await.unwrap_err();
    assert!(error.to_string().contains("not an OCI index"), "{error}");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_layer_does_not_become_an_archive() {
    let kit = Kit::new();
    let layer = kit.layer("layer");
    fs::write(kit.store.content.path(&layer.descriptor.digest), "reyal").unwrap();
    let path = kit.place.path().join("image.tar");
    let destinations = Destination::parse(&format!("type=oci,dest={}", path.display()), &[]).unwrap();
    let error =
        Outputs::new(kit.fetcher.clone(), destinations).finish(&image(vec![layer])).await.unwrap_err();
    assert!(error.to_string().contains("fetch it again"), "{error}");
    assert!(!path.exists());
    assert_eq!(fs::read_dir(kit.place.path()).unwrap().count(), 1, "only the store is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_local_store_brings_the_whole_image() {
    let kit = Kit::new();
    let image = image(vec![kit.layer("layer")]);
    let named = name("app:1");
    let outputs = Outputs::new(kit.fetcher.clone(), vec![Destination::Store(named.clone())]);
    let results = outputs.finish(&image).await.unwrap();
    assert_eq!(results, [OutputResult::Named { image: named.clone(), digest: *image.digest() }]);
    let descriptor = kit.store.images.get(&named).unwrap().unwrap();
    assert_eq!(kit.store.content.read(&descriptor.digest, 1 << 20).unwrap(), image.manifest);
    assert_eq!(kit.store.content.read(&image.config_descriptor.digest, 1 << 20).unwrap(), image.config);
}

#[test]
fn scripts_find_buildkit_s_keys() {
    let kit = Kit::new();
    let image = image(vec![kit.layer("layer")]);
    let names = [name("h.test/a:1"), name("h.test/a:2")];
    let metadata = metadata_json(&image, &names);
    assert_eq!(metadata["containerimage.digest"], image.digest().to_string());
    assert_eq!(metadata["containerimage.config.digest"], image.config_descriptor.digest.to_string());
    assert_eq!(metadata["containerimage.descriptor"]["size"], image.manifest.len());
    assert_eq!(metadata["image.name"], "h.test/a:1,h.test/a:2");
    let (metadata_file, digest_file) =
        (kit.place.path().join("metadata.json"), kit.place.path().join("digest"));
    write_metadata_file(&metadata_file, &image, &names).unwrap();
    write_digest_file(&digest_file, &image).unwrap();
    assert_eq!(json(&fs::read(&metadata_file).unwrap()), metadata);
    assert_eq!(fs::read_to_string(&digest_file).unwrap(), image.digest().to_string());
}
