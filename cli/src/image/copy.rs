//! `slipway image copy`: one image, or each of a repository whose tag a pattern matches.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use registry_client::{ArchiveFormat, Client, Copier, CopyOptions, CopyReport, Source, TargetName};
use registry_types::Platform;
use serde_json::{Value, json};

use super::{Location, formed, list::names, location::tag_of, progress::Display, size, write};
use crate::{
    arguments::{ImageCopy, OutputFormat, ProgressChoice},
    client::{client_builder, credentials},
    failure::Failure,
};

/// Images of one repository copied at once. The client bounds transfers over all of them.
const IMAGES_AT_ONCE: usize = 4;

/// One image and what it is to be called.
struct Order {
    from: String,
    source: Source,
    names: Vec<TargetName>,
    to: String,
}

/// What became of it.
struct Outcome {
    order: Order,
    result: Result<CopyReport, Failure>,
}

pub(super) async fn run(arguments: ImageCopy) -> Result<(), Failure> {
    check(&arguments)?;
    let quiet = arguments.output == OutputFormat::Json && arguments.progress == ProgressChoice::Auto;
    let display = Display::new(if quiet { ProgressChoice::Quiet } else { arguments.progress });
    let client =
        client_builder(&arguments.client, credentials()?).progress(Arc::new(display.clone())).build()?;
    let orders = orders(&arguments, &client).await?;
    let options = CopyOptions { platform: platform(&arguments), referrers: arguments.referrers };
    let target = arguments.target.target(&client).await?;
    let listener = display.clone();
    let copier = Copier::new(target, options, move |event| listener.event(&event));
    let mut outcomes: Vec<Outcome> = stream::iter(orders)
        .map(|order| {
            let copier = &copier;
            async move {
                let result = copier.copy(&order.source, &order.names).await.map_err(Failure::from);
                Outcome { order, result }
            }
        })
        .buffered(IMAGES_AT_ONCE)
        .collect()
        .await;
    let failed = outcomes.iter().position(|outcome| outcome.result.is_err());
    // An archive lacks the image that failed; it is not put in its place.
    let finished = if failed.is_none() { copier.finish().await.map_err(Failure::from) } else { Ok(()) };
    display.close();
    finished?;
    report(&arguments, &outcomes)?;
    match failed {
        None => Ok(()),
        Some(first) if outcomes.len() == 1 => outcomes.swap_remove(first).result.map(drop),
        Some(first) => {
            let count = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
            let of = outcomes.len();
            let outcome = outcomes.swap_remove(first);
            outcome.result.map(drop).map_err(|failure| {
                failure.with(|text| {
                    format!("{count} of {of} images failed, the first was {}: {text}", outcome.order.from)
                })
            })
        }
    }
}

fn check(arguments: &ImageCopy) -> Result<(), Failure> {
    let usage = |text: String| Err(Failure::Usage(text));
    if arguments.all_platforms && is_for_docker(&arguments.target) {
        return usage(
            "an archive for docker holds one platform: give --platform, or write oci-archive:".to_owned(),
        );
    }
    if arguments.tags_matching.is_some() {
        for place in [&arguments.source, &arguments.target] {
            if place.names_an_image() {
                return usage(format!(
                    "{place} names one image, and --tags-matching is for all of a repository"
                ));
            }
        }
    }
    if let (Location::Layout { path: from, .. }, Location::Layout { path: to, .. }) =
        (&arguments.source, &arguments.target)
        && from == to
        && !arguments.target.names_an_image()
    {
        return usage(format!(
            "{} is the source and the target: give the target another name",
            from.display()
        ));
    }
    Ok(())
}

fn is_for_docker(place: &Location) -> bool {
    matches!(place, Location::Archive { format: ArchiveFormat::Docker, .. })
}

fn platform(arguments: &ImageCopy) -> Option<Platform> {
    let own = || is_for_docker(&arguments.target).then(Platform::host);
    arguments.platform.clone().or_else(own)
}

async fn orders(arguments: &ImageCopy, client: &Client) -> Result<Vec<Order>, Failure> {
    let (from, to) = (&arguments.source, &arguments.target);
    let Some(pattern) = &arguments.tags_matching else {
        let source = from.source(client).await?;
        if let Location::Registry(image) = to
            && let Some(wanted) = image.digest
        {
            let found = match platform(arguments) {
                Some(platform) => source.resolve(&platform).await?.manifest.digest,
                None => source.top().await?.digest,
            };
            if found != wanted {
                return Err(Failure::Usage(format!(
                    "{to} is to have another digest than {from}, which has {found}"
                )));
            }
        }
        let names = to.target_names(from, source.name())?;
        return Ok(vec![Order { from: from.to_string(), source, to: shown(to, &names), names }]);
    };
    let mut orders = Vec::new();
    for (name, source) in names(from, client).await? {
        let tag = tag_of(&name);
        // Referrers travel with their subject, also those that a registry without the API keeps in a tag.
        let is_list = arguments.referrers && is_referrers_tag(&tag);
        if pattern.matches(&tag) && !is_list {
            let names = vec![to.target_name_of_many(from, &name)?];
            let from = match from {
                Location::Registry(image) => format!("{}:{name}", image.name()),
                other => format!("{other}:{name}"),
            };
            orders.push(Order { from, source, to: shown(to, &names), names });
        }
    }
    if orders.is_empty() {
        return Err(Failure::NotFound(format!("{from} has no tag that {} matches", pattern.as_str())));
    }
    Ok(orders)
}

/// A target with the name that an image gets there.
fn shown(place: &Location, names: &[TargetName]) -> String {
    match (place, names) {
        (Location::Registry(image), [name, ..]) => format!("{}:{}", image.name(), name.as_str()),
        (other, [name, ..]) if !other.names_an_image() => format!("{other}:{}", name.as_str()),
        (other, _) => other.to_string(),
    }
}

/// `ALGORITHM-HEX` and nothing more (distribution specification, "Referrers Tag Schema").
fn is_referrers_tag(tag: &str) -> bool {
    tag.split_once('-').is_some_and(|(algorithm, hex)| {
        matches!(algorithm, "sha256" | "sha512")
            && hex.len() >= 64
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn report(arguments: &ImageCopy, outcomes: &[Outcome]) -> Result<(), Failure> {
    let done = || outcomes.iter().filter_map(|outcome| Some((&outcome.order, outcome.result.as_ref().ok()?)));
    let failed = || {
        outcomes.iter().filter_map(|outcome| {
            let error = outcome.result.as_ref().err()?.to_string();
            Some(json!({ "source": outcome.order.from, "error": error }))
        })
    };
    let text = formed(
        arguments.output,
        || {
            let images: Vec<Value> = done().map(|(order, report)| line_json(order, report)).collect();
            json!({ "images": images, "failed": failed().collect::<Vec<_>>() })
        },
        || done().map(|(order, report)| line(order, report)).collect(),
    )?;
    if arguments.target.is_standard() {
        // Standard output holds the archive.
        eprint!("{text}");
        return Ok(());
    }
    write(text.as_bytes())
}

fn line(order: &Order, report: &CopyReport) -> String {
    let referrers = match report.referrers {
        0 => String::new(),
        count => format!(", {count} referrers"),
    };
    format!(
        "{} -> {}  {}\n  {} blobs copied ({}), {} mounted, {} there already; {} manifests{referrers}\n",
        order.from,
        order.to,
        report.digest,
        report.blobs_copied,
        size(report.bytes_copied),
        report.blobs_mounted,
        report.blobs_existed,
        report.manifests,
    )
}

fn line_json(order: &Order, report: &CopyReport) -> Value {
    json!({
        "source": order.from,
        "target": order.to,
        "digest": report.digest,
        "mediaType": report.media_type,
        "manifests": report.manifests,
        "referrers": report.referrers,
        "blobs": {
            "copied": report.blobs_copied,
            "mounted": report.blobs_mounted,
            "existed": report.blobs_existed,
        },
        "bytesCopied": report.bytes_copied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_referrers_is_told_from_a_signature_s_tag() {
        let hex = registry_types::Digest::sha256(b"").hex();
        assert!(is_referrers_tag(&format!("sha256-{hex}")));
        for tag in [format!("sha256-{hex}.sig"), "sha256-abc".to_owned(), "v1".to_owned()] {
            assert!(!is_referrers_tag(&tag), "{tag}");
        }
    }
}
