//! `slipway image referrers`: what refers to an image, and what refers to that, as a tree.

use std::collections::BTreeMap;

use registry_client::Source;
use registry_types::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

use super::{print, size};
use crate::{arguments::ImageReferrers, client::client, failure::Failure};

/// How deep referrers of referrers are followed. Digests cannot run in circles; a registry's answers could.
const DEEPEST: usize = 8;

struct Node {
    descriptor: Descriptor,
    referrers: Vec<Node>,
}

pub(super) async fn run(arguments: ImageReferrers) -> Result<(), Failure> {
    let client = client(&arguments.client)?;
    let source = arguments.image.source(&client).await?;
    let subject = match &arguments.platform {
        Some(platform) => source.resolve(platform).await?.manifest.digest,
        None => source.top().await?.digest,
    };
    let nodes = nodes(&source, &subject, arguments.artifact_type.as_ref(), DEEPEST).await?;
    let name = arguments.image.to_string();
    print(
        arguments.output,
        || json!({ "name": name, "digest": subject, "referrers": nodes.iter().map(Node::json).collect::<Vec<_>>() }),
        || {
            let mut text = format!("{name}  {subject}\n");
            draw(&mut text, "", &nodes);
            text
        },
    )
}

async fn nodes(
    source: &Source,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
    depth: usize,
) -> Result<Vec<Node>, Failure> {
    let mut found = Vec::new();
    for descriptor in source.referrers(subject, artifact_type).await? {
        let referrers = match depth.checked_sub(1) {
            Some(depth) => Box::pin(nodes(source, &descriptor.digest, None, depth)).await?,
            None => Vec::new(),
        };
        found.push(Node { descriptor, referrers });
    }
    Ok(found)
}

impl Node {
    fn artifact_type(&self) -> &str {
        self.descriptor.artifact_type.as_ref().map_or("no artifact type", MediaType::as_str)
    }

    fn json(&self) -> Value {
        let none = BTreeMap::new();
        json!({
            "digest": self.descriptor.digest,
            "mediaType": self.descriptor.media_type,
            "artifactType": self.descriptor.artifact_type,
            "manifestSize": self.descriptor.size,
            "annotations": self.descriptor.annotations.as_ref().unwrap_or(&none),
            "referrers": self.referrers.iter().map(Self::json).collect::<Vec<_>>(),
        })
    }
}

fn draw(text: &mut String, margin: &str, nodes: &[Node]) {
    for (at, node) in nodes.iter().enumerate() {
        let last = at + 1 == nodes.len();
        let (branch, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let descriptor = &node.descriptor;
        text.push_str(&format!(
            "{margin}{branch}{}  {}  {}\n",
            node.artifact_type(),
            descriptor.digest,
            size(descriptor.size)
        ));
        draw(text, &format!("{margin}{below}"), &node.referrers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: &str, referrers: Vec<Node>) -> Node {
        let mut descriptor =
            Descriptor::new(MediaType::known(MediaType::OCI_MANIFEST), Digest::sha256(b""), 3);
        descriptor.artifact_type = Some(kind.parse().unwrap());
        Node { descriptor, referrers }
    }

    #[test]
    fn a_tree_has_branches() {
        let mut text = String::new();
        draw(&mut text, "", &[node("a/sbom", vec![node("a/signature", vec![])]), node("a/b", vec![])]);
        let starts: Vec<&str> = text.lines().map(|line| line.split("  sha256").next().unwrap()).collect();
        assert_eq!(starts, ["├── a/sbom", "│   └── a/signature", "└── a/b"]);
    }
}
