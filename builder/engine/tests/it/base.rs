//! Base images: from a registry, as late as possible; from the local store.

use builder_engine::{BuildRequest, Destination, Event};
use builder_output::OutputResult;

use crate::kit::{Kit, busybox};
use crate::registry::Registry;
use crate::tests;

tests!(
    metadata_alone_moves_no_layer_of_the_base,
    a_step_fetches_the_base_once,
    a_cached_build_asks_for_one_manifest,
    pushing_an_image_of_metadata_mounts_the_base,
    a_local_name_wins_unless_the_registry_is_to_be_asked,
    a_digest_needs_no_registry_once_it_is_here,
    a_missing_image_names_line_and_stage,
    a_registry_s_refusal_is_told_as_such,
);

/// A registry that holds the base image as `library/base:1`; the kit's own store does not.
fn registry(kit: &Kit) -> Registry {
    let other = Kit::new();
    let image = busybox(&other.store);
    let layer = other.store.content.read(&image.layers[0].descriptor.digest, 1 << 26).unwrap();
    let registry = kit.block_on(Registry::start());
    registry.put("library/base", "1", &image, &[layer]);
    registry
}

fn metadata_alone_moves_no_layer_of_the_base() {
    let kit = Kit::without_base();
    let registry = registry(&kit);
    let built = kit.build(&format!("FROM {}\nENV A=1\nCMD [\"sh\"]\n", registry.name("library/base:1")));
    assert_eq!(built.image.layers.len(), 1);
    assert_eq!(registry.layers_sent(), 0);
    let origin = built.image.layers[0].origin.as_ref().unwrap();
    assert_eq!(origin.repository.as_str(), "library/base");
}

fn a_step_fetches_the_base_once() {
    let kit = Kit::without_base();
    let registry = registry(&kit);
    let name = registry.name("library/base:1");
    let built = kit.build(&format!(
        "FROM {name} AS one\nRUN echo 1 > /one\nFROM {name} AS two\nRUN echo 2 > /two\n\
         FROM {name}\nCOPY --from=one /one /\nCOPY --from=two /two /\n"
    ));
    assert_eq!(registry.layers_sent(), 1);
    let resolved = built.events.iter().filter(|event| matches!(event, Event::BaseImage { .. })).count();
    assert_eq!(resolved, 1);
    assert!(built.events.iter().any(|event| matches!(event, Event::Transfer { .. })));
}

fn a_cached_build_asks_for_one_manifest() {
    let kit = Kit::without_base();
    let registry = registry(&kit);
    let dockerfile = format!("FROM {}\nRUN echo 1 > /one\n", registry.name("library/base:1"));
    kit.build(&dockerfile);
    let before = registry.requests();
    assert_eq!(kit.build(&dockerfile).executed(), 0);
    let asked: Vec<String> = registry.requests().split_off(before.len());
    assert_eq!(asked.iter().filter(|line| line.contains("/manifests/1")).count(), 1, "{asked:?}");
    assert!(!asked.iter().any(|line| line.contains("/blobs/")), "{asked:?}");
}

fn pushing_an_image_of_metadata_mounts_the_base() {
    let kit = Kit::without_base();
    let registry = registry(&kit);
    let request = kit.request(&format!("FROM {}\nENV A=1\n", registry.name("library/base:1")));
    let destination = Destination::Registry(registry.name("group/app:1"));
    let cancel = builder_engine::Cancel::new().unwrap();
    let finished = kit.run(request, vec![destination], &builder_engine::Events::none(), &cancel).unwrap();
    assert!(
        matches!(&finished.results[..], [OutputResult::Pushed(tag)] if tag.digest == *finished.image.digest())
    );
    assert_eq!(registry.layers_sent(), 0, "the layer was mounted");
    assert!(registry.requests().iter().any(|line| line.contains("mount=")));
    // What was pushed is whole: a fresh machine can build on it.
    let other = Kit::without_base();
    let built = other.build(&format!("FROM {}\nRUN echo $A\n", registry.name("group/app:1")));
    assert_eq!(built.log(), "1\n");
}

fn a_local_name_wins_unless_the_registry_is_to_be_asked() {
    let kit = Kit::new();
    let registry = registry(&kit);
    let name = registry.name("library/base:1");
    kit.build_as(&name.to_string(), "FROM base\nRUN echo local > /local\n");
    let dockerfile = format!("FROM {name}\nRUN test -e /local && echo local || echo pulled\n");
    let built = kit.build(&dockerfile);
    assert_eq!(built.log(), "local\n");
    assert!(built.events.iter().any(|event| matches!(event, Event::BaseImage { local: true, .. })));
    assert!(registry.requests().is_empty());
    let built = kit.build_request(BuildRequest { pull: true, ..kit.request(&dockerfile) });
    assert_eq!(built.log(), "pulled\n");
}

fn a_digest_needs_no_registry_once_it_is_here() {
    let kit = Kit::without_base();
    let registry = registry(&kit);
    let name = registry.name("library/base:1");
    let built = kit.build(&format!("FROM {name}\nRUN true\n"));
    let digest = built.events.iter().find_map(|event| match event {
        Event::BaseImage { digest, .. } => Some(*digest),
        _ => None,
    });
    let before = registry.requests().len();
    let pinned = name.with_digest(digest.unwrap());
    kit.build(&format!("FROM {pinned}\nRUN echo another\n"));
    assert_eq!(registry.requests().len(), before);
}

fn a_missing_image_names_line_and_stage() {
    let kit = Kit::new();
    let registry = registry(&kit);
    let error =
        kit.fail(&format!("FROM base AS builder\nRUN true\nFROM {}\n", registry.name("library/none:1")));
    assert_eq!(error.line(), Some(3));
    assert!(error.to_string().contains("library/none"), "{error}");
    assert!(matches!(error.registry_error(), Some(registry_client::Error::NotFound { .. })), "{error:?}");
}

fn a_registry_s_refusal_is_told_as_such() {
    let kit = Kit::without_base();
    let registry = registry(&kit);
    let name = registry.name("library/base:1");
    registry.refuse("/manifests/");
    let error = kit.fail(&format!("FROM {name}\nRUN true\n"));
    assert!(matches!(error.registry_error(), Some(registry_client::Error::Denied { .. })), "{error:?}");
    assert_eq!(error.line(), Some(1));
    // The manifest may be read and the layers may not: a step is the first to want them.
    registry.refuse("/blobs/");
    let error = kit.fail(&format!("FROM {name}\nRUN true\n"));
    assert!(matches!(error.registry_error(), Some(registry_client::Error::Denied { .. })), "{error:?}");
    let nowhere = "127.0.0.1:1/library/base:1";
    let error = kit.fail(&format!("FROM {nowhere}\nRUN true\n"));
    assert!(matches!(error.registry_error(), Some(registry_client::Error::Network { .. })), "{error:?}");
    let error = Kit::new().fail("FROM base\nRUN exit 3\n");
    assert!(error.registry_error().is_none());
}
