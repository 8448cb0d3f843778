//! `slipway image tag`: the same manifest bytes under further tags, and a look whether they are there.

use registry_types::Reference;
use serde_json::json;

use super::{lines, print};
use crate::{arguments::ImageTag, client::client, failure::Failure};

pub(super) async fn run(arguments: ImageTag) -> Result<(), Failure> {
    let repository = client(&arguments.client)?.repository(&arguments.image);
    let manifest = repository.manifest(&arguments.image.reference(), &[]).await?;
    repository.put_manifest_tags(manifest.bytes.clone(), &manifest.media_type, &arguments.tags).await?;
    for tag in &arguments.tags {
        let there = repository.manifest(&Reference::Tag(tag.clone()), &[]).await?;
        if there.bytes != manifest.bytes {
            return Err(Failure::Failed(format!(
                "{repository}:{tag} is {} and should be {}: somebody else has moved it",
                there.digest, manifest.digest
            )));
        }
    }
    let names = || arguments.tags.iter().map(|tag| format!("{repository}:{tag}"));
    print(
        arguments.output,
        || json!({ "digest": manifest.digest, "tagged": names().collect::<Vec<_>>() }),
        || lines(names().map(|name| format!("tagged {name}  {}", manifest.digest))),
    )
}
