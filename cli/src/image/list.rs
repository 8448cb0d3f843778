//! `slipway image ls` and `slipway image tags`.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_client::{Client, Source};
use serde_json::{Value, json};

use super::{Location, details::Details, lines, print, size};
use crate::{
    arguments::{ImageList, ImageTags},
    client::client,
    failure::Failure,
};

/// Images looked at at once.
const IMAGES_AT_ONCE: usize = 8;

pub(super) async fn repositories(arguments: ImageList) -> Result<(), Failure> {
    let client = client(&arguments.client)?;
    let host = &arguments.catalog.host;
    let mut names = client.all_repositories(host).await?;
    names.retain(|name| arguments.catalog.holds(name));
    print(
        arguments.output,
        || names.iter().map(|name| name.as_str()).collect(),
        || lines(names.iter().map(|name| format!("{host}/{name}"))),
    )
}

pub(super) async fn tags(arguments: ImageTags) -> Result<(), Failure> {
    if arguments.repository.names_an_image() {
        let text = format!("{} names one image; name its repository, folder or file", arguments.repository);
        return Err(Failure::Usage(text));
    }
    let client = client(&arguments.client)?;
    let names = names(&arguments.repository, &client).await?;
    if !arguments.detail {
        return print(
            arguments.output,
            || names.iter().map(|(name, _)| name.as_str()).collect(),
            || lines(names.iter().map(|(name, _)| name)),
        );
    }
    let rows: Vec<Row> = stream::iter(names)
        .map(|(name, source)| async move {
            match source.top().await {
                Ok(top) => Ok(Some(Row { name, details: Details::of(&source, top).await? })),
                // A tag that went while the list was read.
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(Failure::from(error)),
            }
        })
        .buffered(IMAGES_AT_ONCE)
        .try_filter_map(|row| async { Ok(row) })
        .try_collect()
        .await?;
    print(arguments.output, || rows.iter().map(Row::json).collect(), || table(&rows))
}

/// Every name at a place, with its image.
pub(super) async fn names(place: &Location, client: &Client) -> Result<Vec<(String, Source)>, Failure> {
    if let Location::Registry(image) = place {
        let tags = client.repository(image).all_tags().await?;
        let source = |tag| Source::registry(client, &image.with_tag(tag));
        return Ok(tags.into_iter().map(|tag| (tag.to_string(), source(tag))).collect());
    }
    let mut found = Vec::new();
    if let Some(images) = place.local().await? {
        for name in images.names() {
            found.push((name.to_owned(), images.image(Some(name)).await?));
        }
    }
    Ok(found)
}

struct Row {
    name: String,
    details: Details,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "tag": self.name,
            "digest": self.details.manifest.digest,
            "mediaType": self.details.manifest.media_type,
            "size": self.details.size(),
            "created": self.details.created(),
            "platforms": self.details.platforms(),
        })
    }
}

fn table(rows: &[Row]) -> String {
    let longest = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(3);
    let mut text =
        format!("{:longest$}  {:71}  {:>12}  {:20}  PLATFORMS\n", "TAG", "DIGEST", "SIZE", "CREATED");
    for row in rows {
        let created = row.details.created().unwrap_or_default();
        // To the second: configurations have nanoseconds.
        let created = created.get(..19).unwrap_or(&created);
        text.push_str(&format!(
            "{:longest$}  {:71}  {:>12}  {created:20}  {}\n",
            row.name,
            row.details.manifest.digest.to_string(),
            size(row.details.size()),
            row.details.platforms().join(", "),
        ));
    }
    text
}
