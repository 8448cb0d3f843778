//! `slipway image rm`: a tag alone, or a manifest with all its tags. It looks before and after, so that what it says is
//! what happened.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_client::{Client, Repository};
use registry_types::{Digest, ImageReference, Reference, Tag};
use serde_json::{Value, json};

use super::print;
use crate::{arguments::ImageRemove, client::client, failure::Failure};

/// Tags that are looked at at once.
const TAGS_AT_ONCE: usize = 8;

/// Most tags that are looked at to name those that go with a manifest: one request each.
const MOST_TAGS: usize = 2000;

/// What is removed, or would be.
struct Removed {
    name: String,
    digest: Digest,
    what: What,
}

enum What {
    Tag {
        /// Whether the manifest is still there, which it should be.
        manifest_stays: bool,
    },
    Manifest {
        /// The tags that went with it; `None` when the repository has too many to look at.
        tags: Option<Vec<Tag>>,
    },
}

pub(super) async fn run(arguments: ImageRemove) -> Result<(), Failure> {
    for image in &arguments.images {
        if image.tag.is_some() == image.digest.is_some() {
            return Err(Failure::Usage(format!(
                "name a tag or a digest: {}:TAG removes the tag alone, {}@DIGEST the manifest with all its tags",
                image.name(),
                image.name()
            )));
        }
    }
    let client = client(&arguments.client)?;
    let mut removed = Vec::new();
    let mut outcome = Ok(());
    for image in &arguments.images {
        match remove(&client, image, arguments.dry_run).await {
            Ok(one) => removed.push(one),
            Err(failure) => {
                outcome = Err(failure);
                break;
            }
        }
    }
    // Also before a failure is told: what is gone is gone.
    print(
        arguments.output,
        || {
            let list: Vec<Value> = removed.iter().map(Removed::json).collect();
            json!({ "dryRun": arguments.dry_run, "removed": list })
        },
        || removed.iter().map(|removed| removed.line(arguments.dry_run)).collect(),
    )?;
    outcome
}

async fn remove(client: &Client, image: &ImageReference, dry_run: bool) -> Result<Removed, Failure> {
    let repository = client.repository(image);
    let reference = image.reference();
    let gone = || Failure::NotFound(format!("{image} was not found"));
    let digest = repository.manifest_head(&reference, &[]).await?.ok_or_else(gone)?.digest;
    let mut what = match &reference {
        Reference::Tag(_) => What::Tag { manifest_stays: true },
        Reference::Digest(_) => What::Manifest { tags: tags_of(&repository, &digest).await? },
    };
    if !dry_run {
        if !repository.delete_manifest(&reference).await? {
            return Err(gone());
        }
        let left = repository.manifest_head(&reference, &[]).await?;
        if left.is_some_and(|left| left.digest == digest) {
            return Err(Failure::Failed(format!(
                "{image} is still there though the registry said it removed it"
            )));
        }
        if let What::Tag { manifest_stays } = &mut what {
            *manifest_stays = repository.manifest_head(&Reference::Digest(digest), &[]).await?.is_some();
        }
    }
    Ok(Removed { name: image.to_string(), digest, what })
}

async fn tags_of(repository: &Repository, digest: &Digest) -> Result<Option<Vec<Tag>>, Failure> {
    let tags = repository.all_tags().await?;
    if tags.len() > MOST_TAGS {
        return Ok(None);
    }
    let found: Vec<Option<Tag>> = stream::iter(tags)
        .map(|tag| async move {
            let there = repository.manifest_head(&Reference::Tag(tag.clone()), &[]).await?;
            Ok::<_, Failure>(there.filter(|there| there.digest == *digest).map(|_| tag))
        })
        .buffered(TAGS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(Some(found.into_iter().flatten().collect()))
}

impl Removed {
    fn line(&self, dry_run: bool) -> String {
        let Self { name, digest, what } = self;
        match what {
            What::Tag { .. } if dry_run => {
                format!("would remove the tag {name}; the manifest {digest} would stay\n")
            }
            What::Tag { manifest_stays: true } => {
                format!("removed the tag {name}; the manifest {digest} stays\n")
            }
            What::Tag { manifest_stays: false } => {
                format!("removed the tag {name}; the registry has removed the manifest {digest} with it\n")
            }
            What::Manifest { tags } => {
                let verb = if dry_run { "would remove" } else { "removed" };
                let with = match tags.as_deref() {
                    None => "; its tags go with it, which are too many to look for".to_owned(),
                    Some([]) => "; it had no tags".to_owned(),
                    Some(tags) => {
                        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
                        format!(" and its tags {}", tags.join(", "))
                    }
                };
                format!("{verb} the manifest {name}{with}\n")
            }
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({ "name": self.name, "digest": self.digest });
        match &self.what {
            What::Tag { manifest_stays } => {
                value["kind"] = "tag".into();
                value["manifestStays"] = (*manifest_stays).into();
            }
            What::Manifest { tags } => {
                value["kind"] = "manifest".into();
                value["tags"] = json!(tags);
            }
        }
        value
    }
}
