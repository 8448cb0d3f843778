//! What an import must do when nothing goes wrong, each against the same two nodes. Every scenario uses image
//! names of its own.

use std::sync::Arc;

use importer::{ClientSource, ImageState, ImportOptions, NodeReport, NodeState, Report, import};

use registry_client::{Client, Source};

use crate::{
    cri::Runtime,
    layout::{LayerFile, Layout, MadeImage},
    nodes::{AGENT, Cluster, SERVER},
};

const PAUSE: &str = "registry.k8s.io/pause:3.6";

pub(crate) async fn run_all(cluster: &Cluster<'_>) {
    first_then_nothing_then_a_name(cluster).await;
    only_the_changed_layer_is_sent_and_pods_start(cluster).await;
    an_index_digest_can_be_used(cluster).await;
    an_image_comes_from_a_layout_on_disk(cluster).await;
    a_dry_run_sends_nothing(cluster).await;
    earlier_images_are_unpinned(cluster).await;
}

pub(crate) fn busybox() -> Vec<LayerFile<'static>> {
    vec![("bin/busybox", 0o755, std::fs::read("/bin/busybox").unwrap())]
}

pub(crate) fn text_layer(text: &str) -> Vec<LayerFile<'static>> {
    vec![("message", 0o644, text.as_bytes().to_vec())]
}

/// An image that prints `text`.
pub(crate) fn printing(layout: &mut Layout, name: &str, text: &str) -> MadeImage {
    layout.add(name, "amd64", &["/bin/busybox", "cat", "/message"], &[busybox(), text_layer(text)])
}

pub(crate) async fn succeed(options: &ImportOptions, layout: Layout) -> Report {
    let report = import(options, Arc::new(layout), Arc::new(())).await.unwrap();
    let names: Vec<&str> = report.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, [AGENT, SERVER], "the load balancer is no node");
    report
}

pub(crate) fn node<'a>(report: &'a Report, name: &str) -> &'a NodeReport {
    report.nodes.iter().find(|node| node.name == name).unwrap()
}

fn states(report: &Report) -> Vec<NodeState> {
    report.nodes.iter().map(|node| node.state).collect()
}

async fn first_then_nothing_then_a_name(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/first:v1";
    let layout = || {
        let mut layout = Layout::new();
        let image = printing(&mut layout, name, "first");
        layout.insert("gitlab.iceymoss:5050/root/first:v2", image.resolved.clone());
        (layout, image)
    };
    let (source, image) = layout();
    let report = succeed(&cluster.options(&[name]), source).await;
    let size: u64 = image.layers.iter().map(|layer| layer.size).sum();
    for node in &report.nodes {
        assert_eq!(node.state, NodeState::Imported, "{node:?}");
        assert_eq!((node.layers_sent, node.layers_skipped, node.resent), (2, 0, false));
        assert!(node.bytes_sent > size, "{node:?}");
        assert_eq!(node.platform.as_deref(), Some("linux/amd64"));
        assert_eq!(node.images[0].digest, image.manifest.digest);
        for name in &node.images[0].names {
            let (digest, line) = cluster.record(&node.name, name).unwrap();
            assert_eq!(digest, image.manifest.digest);
            for label in [
                "io.cri-containerd.image=managed",
                "io.cri-containerd.pinned=pinned",
                "io.cattle.k3s.pinned=pinned",
            ] {
                assert!(line.contains(label), "{line}");
            }
        }
    }

    let (source, _) = layout();
    let opened = source.opened();
    let report = succeed(&cluster.options(&[name]), source).await;
    assert_eq!(states(&report), [NodeState::UpToDate; 2]);
    for node in &report.nodes {
        assert_eq!((node.bytes_sent, node.layers_sent, node.layers_skipped), (0, 0, 2));
    }
    assert_eq!(*opened.lock().unwrap(), [image.config.digest], "the config is read, no layer");

    let (source, _) = layout();
    let report = succeed(&cluster.options(&["gitlab.iceymoss:5050/root/first:v2"]), source).await;
    for node in &report.nodes {
        assert_eq!(node.images[0].state, ImageState::NamesMissing);
        assert!(node.layers_sent == 0 && (1..8192).contains(&node.bytes_sent), "{node:?}");
        assert!(cluster.record(&node.name, "gitlab.iceymoss:5050/root/first:v2").is_some());
    }
}

async fn only_the_changed_layer_is_sent_and_pods_start(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/app:latest";
    let mut layout = Layout::new();
    let old = printing(&mut layout, name, "old content");
    layout.add(PAUSE, "amd64", &["/bin/busybox", "sleep", "2147483647"], &[busybox()]);
    let report = succeed(&cluster.options(&[name, PAUSE]), layout).await;
    assert_eq!(report.warnings.len(), 1, "latest is pulled always: {:?}", report.warnings);

    let mut layout = Layout::new();
    let new = printing(&mut layout, name, "new content");
    let opened = layout.opened();
    let report = succeed(&cluster.options(&[name]), layout).await;
    for node in &report.nodes {
        assert_eq!(
            (node.state, node.layers_sent, node.layers_skipped),
            (NodeState::Imported, 1, 1),
            "{node:?}"
        );
        assert!(node.bytes_sent < new.layers[0].size / 10, "{node:?}");
    }
    assert!(!opened.lock().unwrap().contains(&new.layers[0].digest), "the shared layer was read");

    for node in [SERVER, AGENT] {
        let mut runtime = Runtime::connect(&cluster.socket(node)).await;
        let by_digest = format!("gitlab.iceymoss:5050/root/app@{}", new.manifest.digest);
        let image = runtime.image(name).await.expect("the node's CRI knows the tag");
        assert_eq!(image.id, new.config.digest.to_string());
        assert!(image.tags.iter().any(|tag| tag == name), "{image:?}");
        assert!(image.digests.contains(&by_digest), "{image:?}");
        // containerd 1.6 knows no pinned images.
        let reported = self::node(&report, node).containerd.as_deref().unwrap();
        assert_eq!(image.pinned, !reported.starts_with("1.6."), "{image:?}");
        for (pod, reference) in [
            ("by-tag", name),
            ("by-digest", &by_digest),
            ("by-both", &format!("{name}@{}", new.manifest.digest)),
        ] {
            assert_eq!(runtime.run_to_end(pod, reference).await, Ok(0), "{node} {reference}");
            let log = cluster.engine.docker(&["exec", node, "cat", &format!("/tmp/{pod}.log")]);
            assert!(log.contains("new content"), "{node} {reference}: {log}");
        }
        let earlier = format!("gitlab.iceymoss:5050/root/app@{}", old.manifest.digest);
        assert_eq!(runtime.run_to_end("earlier", &earlier).await, Ok(0), "the earlier digest still runs");
    }
}

async fn an_index_digest_can_be_used(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/many:v1";
    let mut layout = Layout::new();
    let image = printing(&mut layout, name, "one of many");
    let in_index = layout.in_index(&image);
    let index = in_index.index.clone().unwrap().0.digest;
    layout.insert(name, in_index);
    succeed(&cluster.options(&[name]), layout).await;
    let by_index = format!("gitlab.iceymoss:5050/root/many@{index}");
    assert_eq!(cluster.record(SERVER, &by_index).unwrap().0, index);
    let mut runtime = Runtime::connect(&cluster.socket(AGENT)).await;
    assert_eq!(runtime.run_to_end("by-index", &by_index).await, Ok(0));
}

async fn an_image_comes_from_a_layout_on_disk(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/disk:v1";
    let mut layout = Layout::new();
    let image = printing(&mut layout, "disk", "from disk");
    layout.finish(&image);
    let client = Client::builder().build().unwrap();
    let local = Source::layout(layout.folder(), None).await.unwrap();
    let source = ClientSource::new(client).with(name.parse().unwrap(), local);
    let report = import(&cluster.options(&[name]), Arc::new(source), Arc::new(())).await.unwrap();
    assert_eq!(states(&report), [NodeState::Imported; 2]);
    let mut runtime = Runtime::connect(&cluster.socket(SERVER)).await;
    assert_eq!(runtime.run_to_end("from-disk", name).await, Ok(0));
    let log = cluster.engine.docker(&["exec", SERVER, "cat", "/tmp/from-disk.log"]);
    assert!(log.contains("from disk"), "{log}");
}

async fn a_dry_run_sends_nothing(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/dry:v1";
    let mut layout = Layout::new();
    let image = printing(&mut layout, name, "dry");
    let options = ImportOptions { dry_run: true, ..cluster.options(&[name]) };
    let report = succeed(&options, layout).await;
    for node in &report.nodes {
        assert_eq!((node.state, node.layers_sent, node.layers_skipped), (NodeState::Planned, 1, 1));
        let missing = image.manifest.size + image.config.size + image.layers[1].size;
        assert_eq!(node.bytes_sent, missing, "{node:?}");
        assert!(cluster.record(&node.name, name).is_none());
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["nodes"][0]["state"], "planned");
    assert_eq!(json["nodes"][0]["images"][0]["state"], "content-missing");
}

async fn earlier_images_are_unpinned(cluster: &Cluster<'_>) {
    let names = ["gitlab.iceymoss:5050/root/pinned:v1", "gitlab.iceymoss:5050/root/pinned:v2"];
    let mut layout = Layout::new();
    let first = printing(&mut layout, names[0], "v1");
    succeed(&cluster.options(&names[..1]), layout).await;
    let mut layout = Layout::new();
    printing(&mut layout, names[1], "v2");
    let options = ImportOptions { unpin_previous: true, ..cluster.options(&names[1..]) };
    succeed(&options, layout).await;
    for node in [SERVER, AGENT] {
        let pinned = |name: &str| cluster.record(node, name).unwrap().1.contains("=pinned");
        assert!(!pinned(names[0]) && pinned(names[1]));
        assert!(!pinned(&format!("gitlab.iceymoss:5050/root/pinned@{}", first.manifest.digest)));
        assert!(pinned("gitlab.iceymoss:5050/root/first:v1"), "another repository's pin stays");
    }
}
