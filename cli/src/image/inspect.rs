//! `slipway image inspect`.

use std::fmt::Display;

use serde_json::Value;

use super::{
    details::{Child, Details},
    print, size, write,
};
use crate::{arguments::ImageInspect, client::client, failure::Failure};

pub(super) async fn run(arguments: ImageInspect) -> Result<(), Failure> {
    let client = client(&arguments.client)?;
    let source = arguments.image.source(&client).await?;
    let manifest = match &arguments.platform {
        Some(platform) => source.resolve(platform).await?.manifest,
        None => source.top().await?,
    };
    if arguments.raw {
        return write(&manifest.bytes);
    }
    let details = Details::of(&source, manifest).await?;
    let name = arguments.image.to_string();
    print(
        arguments.output,
        || {
            let mut value = details.json();
            value["name"] = Value::from(name.as_str());
            value
        },
        || text(&name, &details),
    )
}

fn text(name: &str, details: &Details) -> String {
    let mut lines = Lines(String::new());
    lines.field("Name", name);
    lines.field("Digest", details.manifest.digest);
    lines.field("Type", &details.manifest.media_type);
    lines.maybe("Artifact", details.view.artifact_type.as_ref());
    lines.maybe("Subject", details.view.subject.as_ref().map(|subject| subject.digest));
    lines.field("Size", size(details.size()));
    lines.maybe("Created", details.created());
    lines.maybe("Platform", details.platform());
    if let Some(config) = &details.view.config {
        lines.field("Config", format!("{}  {}", config.digest, size(config.size)));
    }
    if let Some(configuration) = &details.configuration {
        lines.maybe("Author", details.text("author"));
        lines.configuration(configuration.get("config").unwrap_or(&Value::Null));
    }
    let annotations: Vec<String> =
        details.view.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
    lines.list("Annotations", &annotations);
    let layer = |layer: &registry_types::Descriptor| {
        format!("{}  {:>12}  {}", layer.digest, size(layer.size), layer.media_type)
    };
    lines.list("Layers", &details.view.layers.iter().map(layer).collect::<Vec<_>>());
    lines.list("Manifests", &details.children.iter().map(child_line).collect::<Vec<_>>());
    lines.0
}

fn child_line(child: &Child) -> String {
    let platform = child.descriptor.platform.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let what = match &child.details {
        None => "not there".to_owned(),
        Some(details) => {
            format!("{:>12}  {} layers", size(details.size()), details.view.layers.len())
        }
    };
    format!("{platform:18}  {}  {what}", child.descriptor.digest)
}

/// Fields in a column, lists below their heads. A value cannot leave its line or paint over the terminal.
struct Lines(String);

impl Lines {
    fn field(&mut self, name: &str, value: impl Display) {
        let value: String = value.to_string().chars().filter(|letter| !letter.is_control()).collect();
        self.0.push_str(&format!("{:13}{value}\n", format!("{name}:")));
    }

    fn maybe(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        self.0.push_str(&format!("{name}:\n"));
        for value in values {
            let value: String = value.chars().filter(|letter| !letter.is_control()).collect();
            self.0.push_str(&format!("  {value}\n"));
        }
    }

    /// What a container of the image is started with (image specification, "Image JSON Description").
    fn configuration(&mut self, config: &Value) {
        for (name, key) in [("Entrypoint", "Entrypoint"), ("Command", "Cmd")] {
            // As JSON: words with spaces stay apart.
            self.maybe(name, config.get(key).filter(|words| words.is_array()));
        }
        for (name, key) in [("Directory", "WorkingDir"), ("User", "User"), ("Stop signal", "StopSignal")] {
            self.maybe(name, config.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()));
        }
        let keys = |key: &str| -> Vec<String> {
            let map = config.get(key).and_then(Value::as_object);
            map.into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        let environment = config.get("Env").and_then(Value::as_array).into_iter().flatten();
        self.list(
            "Environment",
            &environment.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>(),
        );
        self.list("Ports", &keys("ExposedPorts"));
        self.list("Volumes", &keys("Volumes"));
        let labels = config.get("Labels").and_then(Value::as_object).into_iter().flatten();
        let label = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
        self.list("Labels", &labels.map(label).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_says_cannot_paint_over_the_terminal() {
        let mut lines = Lines(String::new());
        lines.field("Name", "a\u{1b}[2Jb\nc");
        lines.configuration(&serde_json::json!({ "Cmd": ["sh", "-c", "a b"], "Labels": { "k": "v\r\nx" } }));
        assert_eq!(lines.0, "Name:        a[2Jbc\nCommand:     [\"sh\",\"-c\",\"a b\"]\nLabels:\n  k=vx\n");
    }
}
