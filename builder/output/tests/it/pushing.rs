//! Pushes: what travels, what does not, and what is told.

use builder_output::{BlobOrigin, Destination, OutputError, OutputResult, Outputs};
use registry_client::Mount;
use registry_types::ImageReference;

use crate::kit::{Kit, image, layer};
use crate::registry::Registry;

fn outputs(kit: &Kit, names: &[&ImageReference]) -> Outputs {
    let destinations = names.iter().map(|name| Destination::Registry((*name).clone())).collect();
    Outputs::new(kit.fetcher.clone(), destinations)
}

fn origin(name: &ImageReference) -> Option<BlobOrigin> {
    Some(BlobOrigin::of(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tag_gets_one_manifest_and_every_blob_travels_once() {
    let (kit, registry) = (Kit::new(), Registry::start().await);
    let (first, second) = (kit.layer("first layer"), kit.layer("second layer"));
    let names = [registry.name("group/app:main"), registry.name("group/app:latest")];
    let outputs = outputs(&kit, &[&names[0], &names[1], &names[0]]);
    outputs.check().await.unwrap();
    outputs.layer_ready(&first);
    outputs.layer_ready(&first);
    let image = image(vec![first.clone(), second.clone(), first.clone()]);
    let results = outputs.finish(&image).await.unwrap();
    let tags: Vec<_> = results
        .iter()
        .map(|result| match result {
            OutputResult::Pushed(tag) => (tag.image.to_string(), tag.digest, tag.size),
            other => panic!("{other:?}"),
        })
        .collect();
    let size = image.size();
    assert_eq!(tags, names.map(|name| (name.to_string(), *image.digest(), size)));
    assert_eq!(registry.manifest("group/app:main").unwrap(), image.manifest);
    assert_eq!(registry.manifest("group/app:latest").unwrap(), image.manifest);
    assert_eq!(registry.count("PUT", "/blobs/uploads/"), 3, "two layers and the config");
    assert_eq!(registry.count("PUT", "/manifests/"), 2);
    assert_eq!(kit.how(&first), [Mount::Uploaded]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_there_before_the_image_is_finished() {
    let (kit, registry) = (Kit::new(), Registry::start().await);
    let early = kit.layer("early");
    let outputs = outputs(&kit, &[&registry.name("app:1")]);
    outputs.layer_ready(&early);
    for _ in 0..500 {
        if registry.holds("app", &early.descriptor.digest) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(registry.holds("app", &early.descriptor.digest));
    assert_eq!(registry.manifest("app:1"), None);
    outputs.finish(&image(vec![early])).await.unwrap();
    assert!(registry.manifest("app:1").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_layer_of_the_same_registry_is_mounted_and_never_fetched() {
    let (kit, registry) = (Kit::new(), Registry::start().await);
    registry.hold("library/base", "base layer");
    let base = layer("base layer", origin(&registry.name("library/base:1")));
    let outputs = outputs(&kit, &[&registry.name("app:1")]);
    outputs.finish(&image(vec![base.clone()])).await.unwrap();
    assert_eq!(kit.how(&base), [Mount::Mounted]);
    assert!(registry.holds("app", &base.descriptor.digest));
    assert_eq!(registry.count("GET", "/blobs/"), 0, "no byte of the base comes here");
    assert!(!kit.store.content.contains(&base.descriptor.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_the_repository_has_is_left_alone() {
    let (kit, registry) = (Kit::new(), Registry::start().await);
    registry.hold("app", "base layer");
    let base = layer("base layer", origin(&registry.name("app:0")));
    let outputs = outputs(&kit, &[&registry.name("app:1")]);
    outputs.finish(&image(vec![base.clone()])).await.unwrap();
    assert_eq!(kit.how(&base), [Mount::Existed]);
    assert_eq!(registry.count("GET", "/blobs/"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_layer_that_cannot_be_mounted_is_fetched_and_sent() {
    let (kit, registry) = (Kit::new(), Registry::start().await);
    registry.hold("library/base", "base layer");
    registry.refuse_mounts();
    let base = layer("base layer", origin(&registry.name("library/base:1")));
    let outputs = outputs(&kit, &[&registry.name("app:1")]);
    outputs.finish(&image(vec![base.clone()])).await.unwrap();
    assert_eq!(kit.how(&base), [Mount::Uploaded]);
    assert_eq!(registry.count("GET", "/blobs/"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_layer_of_another_registry_is_fetched_once_for_all_repositories() {
    let (kit, registry, elsewhere) = (Kit::new(), Registry::start().await, Registry::start().await);
    elsewhere.hold("library/base", "base layer");
    let base = layer("base layer", origin(&elsewhere.name("library/base:1")));
    let outputs = outputs(&kit, &[&registry.name("one:1"), &registry.name("two:1")]);
    outputs.finish(&image(vec![base.clone()])).await.unwrap();
    assert_eq!(elsewhere.count("GET", "/blobs/"), 1);
    assert!(registry.manifest("one:1").is_some() && registry.manifest("two:1").is_some());
    assert_eq!(registry.count("POST", "mount="), 0, "a mount from another registry makes no sense");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_nobody_has_is_named_and_nothing_is_tagged() {
    let (kit, registry) = (Kit::new(), Registry::start().await);
    let lost = layer("lost", None);
    let outputs = outputs(&kit, &[&registry.name("app:1")]);
    let error = outputs.finish(&image(vec![lost.clone()])).await.unwrap_err();
    assert!(
        matches!(error, OutputError::LayerLost { digest } if digest == lost.descriptor.digest),
        "{error}"
    );
    assert_eq!(registry.manifest("app:1"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refusing_repository_does_not_keep_the_others_from_their_tags() {
    let (kit, registry) = (Kit::new(), Registry::start().await);
    registry.refuse_tag("protected");
    let names = [registry.name("one:protected"), registry.name("two:1")];
    let outputs = outputs(&kit, &[&names[0], &names[1]]);
    let error = outputs.finish(&image(vec![kit.layer("x")])).await.unwrap_err();
    assert!(error.to_string().contains("/one"), "{error}");
    assert!(registry.manifest("two:1").is_some());
}
