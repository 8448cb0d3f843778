//! Whole imports against a pretended Docker Engine.

use std::sync::Mutex;

use super::*;
use crate::{
    ImageState,
    testing::{FakeEngine, FakeImage, FakeNode, FakeSource, Import},
};

const NAME: &str = "host:1/app:v1";

fn options(engine: &FakeEngine) -> ImportOptions {
    ImportOptions::new("c", vec![NAME.parse().unwrap()], engine.address())
}

fn source(image: &FakeImage) -> Arc<dyn ImageSource> {
    Arc::new(FakeSource::new([(NAME, image)]))
}

fn app() -> FakeImage {
    FakeImage::new("app", &[b"base", b"top"])
}

async fn run(engine: &FakeEngine, image: &FakeImage) -> Result<Report, ImportError> {
    import(&options(engine), source(image), Arc::new(())).await
}

fn failed(result: Result<Report, ImportError>) -> Report {
    match result {
        Err(ImportError::NodesFailed { report }) => *report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_import_sends_nothing_and_a_changed_layer_only_itself() {
    let engine = FakeEngine::start([FakeNode::new("a"), FakeNode::new("b")]);
    let report = run(&engine, &app()).await.unwrap();
    for node in &report.nodes {
        assert_eq!((node.state, node.layers_sent, node.layers_skipped), (NodeState::Imported, 2, 0));
    }
    let by_digest = format!("host:1/app@{}", app().manifest.digest);
    for name in ["a", "b"] {
        let node = engine.node(name);
        assert_eq!(node.records[NAME], app().manifest.digest);
        assert!(node.pinned.contains(NAME) && node.pinned.contains(&by_digest));
    }
    let report = run(&engine, &app()).await.unwrap();
    for node in &report.nodes {
        assert_eq!((node.state, node.bytes_sent), (NodeState::UpToDate, 0));
    }
    let changed = FakeImage::new("app", &[b"base", b"changed"]);
    let report = run(&engine, &changed).await.unwrap();
    for node in &report.nodes {
        assert_eq!((node.layers_sent, node.layers_skipped), (1, 1));
        assert_eq!(engine.node(&node.name).records[NAME], changed.manifest.digest);
    }
}

#[tokio::test]
async fn flags_follow_what_the_node_knows() {
    let mut old = FakeNode::new("old");
    old.local = false;
    let engine = FakeEngine::start([FakeNode::new("new"), old]);
    run(&engine, &app()).await.unwrap();
    let import = |name: &str| -> String {
        let commands = engine.node(name).commands;
        commands.iter().find(|command| command[0] == "ctr").unwrap().join(" ")
    };
    let base = "ctr -a /run/k3s/containerd/containerd.sock -n k8s.io images import";
    assert_eq!(import("old"), format!("{base} -"));
    assert_eq!(import("new"), format!("{base} --local -"));
}

#[tokio::test]
async fn content_lost_after_the_question_is_sent_once_more() {
    let engine = FakeEngine::start([FakeNode::new("a"), FakeNode::new("b")]);
    run(&engine, &app()).await.unwrap();
    let next = FakeImage::new("next", &[b"base", b"other"]);
    engine.change("a", |node| node.losing.push(next.layers[0].digest));
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let progress = Arc::new(move |event: ProgressEvent| heard.lock().unwrap().push(event));
    let report = import(&options(&engine), source(&next), progress).await.unwrap();
    let (a, b) = (&report.nodes[0], &report.nodes[1]);
    assert_eq!((a.resent, a.layers_sent, a.layers_skipped), (true, 2, 0), "{a:?}");
    assert_eq!((b.resent, b.layers_sent, b.layers_skipped), (false, 1, 1), "{b:?}");
    assert!(engine.node("a").content.contains_key(&next.layers[0].digest));
    let events = events.lock().unwrap();
    let resent: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            ProgressEvent::Resending { node, .. } => Some(node.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(resent, ["a"]);
}

#[tokio::test]
async fn a_failing_node_fails_alone_and_says_why() {
    for behaviour in [
        Import::Fail("ctr: failed to dial \"/run/x\": connection refused"),
        Import::FailAtOnce("time=\"x\" level=warning\nctr: failed to dial \"/run/x\": connection refused"),
    ] {
        let engine = FakeEngine::start([FakeNode::new("bad").importing([behaviour]), FakeNode::new("good")]);
        let large = FakeImage::new("large", &[&vec![1; 4 << 20]]);
        let report = failed(run(&engine, &large).await);
        let (bad, good) = (&report.nodes[0], &report.nodes[1]);
        assert_eq!((bad.state, good.state), (NodeState::Failed, NodeState::Imported));
        let error = bad.error.as_ref().unwrap();
        assert!(
            error.contains("containerd in the node does not answer") && error.contains("refused"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_node_that_stops_reading_is_given_up() {
    let engine = FakeEngine::start([FakeNode::new("a").importing([Import::Stall])]);
    let large = FakeImage::new("large", &[&vec![1; 4 << 20]]);
    let mut options = options(&engine);
    options.limits.stall = Duration::from_millis(200);
    let report = failed(import(&options, source(&large), Arc::new(())).await);
    assert!(
        report.nodes[0].error.as_ref().unwrap().contains("sending to the node took longer"),
        "{report:?}"
    );
}

#[tokio::test]
async fn an_image_that_cri_does_not_see_is_no_success() {
    let mut node = FakeNode::new("a");
    node.managing = false;
    let engine = FakeEngine::start([node]);
    let mut options = options(&engine);
    options.limits.appear = Duration::from_millis(200);
    let report = failed(import(&options, source(&app()), Arc::new(())).await);
    assert!(report.nodes[0].error.as_ref().unwrap().contains("CRI has not taken notice"), "{report:?}");
}

#[tokio::test]
async fn a_final_failure_takes_new_names_back() {
    let engine = FakeEngine::start([FakeNode::new("a")]);
    run(&engine, &app()).await.unwrap();
    let before = engine.node("a").records;
    let next = FakeImage::new("next", &[b"base", b"other"]);
    engine.change("a", |node| {
        node.losing.push(next.layers[0].digest);
        node.imports = [Import::Take, Import::Fail("ctr: content digest sha256:x: not found")].into();
    });
    let report = failed(run(&engine, &next).await);
    assert!(report.nodes[0].resent && report.nodes[0].state == NodeState::Failed);
    assert_eq!(engine.node("a").records, before);
}

#[tokio::test]
async fn a_dry_run_only_asks() {
    let engine = FakeEngine::start([FakeNode::new("a")]);
    let options = ImportOptions { dry_run: true, ..options(&engine) };
    let report = import(&options, source(&app()), Arc::new(())).await.unwrap();
    assert_eq!(report.nodes[0].state, NodeState::Planned);
    assert_eq!(
        (report.nodes[0].layers_sent, report.nodes[0].images[0].state),
        (2, ImageState::ContentMissing)
    );
    let commands = engine.node("a").commands;
    assert_eq!(commands.iter().map(|command| command[0].as_str()).collect::<Vec<_>>(), ["probe"]);
}

#[tokio::test]
async fn earlier_images_keep_their_pin_unless_told() {
    let engine = FakeEngine::start([FakeNode::new("a")]);
    run(&engine, &app()).await.unwrap();
    let earlier = format!("host:1/app@{}", app().manifest.digest);
    let next = FakeImage::new("next", &[b"base"]);
    run(&engine, &next).await.unwrap();
    assert!(engine.node("a").pinned.contains(&earlier));
    engine.change("a", |node| {
        node.records.insert("host:1/apple:v1".to_owned(), app().manifest.digest);
        node.pinned.insert("host:1/apple:v1".to_owned());
    });
    let options = ImportOptions { unpin_previous: true, ..options(&engine) };
    import(&options, source(&next), Arc::new(())).await.unwrap();
    let pinned = engine.node("a").pinned;
    assert!(!pinned.contains(&earlier) && pinned.contains("host:1/apple:v1") && pinned.contains(NAME));
}

#[tokio::test]
async fn the_engine_s_own_words_are_kept() {
    let engine = FakeEngine::start([FakeNode::new("a")]);
    let node = Node {
        docker: Docker::new(engine.address()),
        id: "gone".to_owned(),
        name: "gone".to_owned(),
        role: "agent".to_owned(),
        limits: options(&engine).limits,
    };
    match node.probe().await.unwrap_err() {
        ImportError::DockerRefused { status: 409, message, .. } => assert_eq!(message, "gone is gone"),
        other => panic!("{other}"),
    }
    let nowhere = crate::DockerAddress::parse("unix:///nowhere/docker.sock", None).unwrap();
    let mut options = options(&engine);
    options.docker = nowhere;
    let error = import(&options, source(&app()), Arc::new(())).await.unwrap_err();
    assert!(matches!(error, ImportError::DockerUnreachable { .. }), "{error}");
}

#[tokio::test]
async fn nothing_is_sent_when_the_source_has_no_such_image() {
    let engine = FakeEngine::start([FakeNode::new("a")]);
    let mut options = options(&engine);
    options.images.push("host:1/absent:v1".parse().unwrap());
    let error = import(&options, source(&app()), Arc::new(())).await.unwrap_err();
    assert!(error.to_string().contains("host:1/absent:v1"), "{error}");
    assert!(engine.node("a").records.is_empty());
    options.images.clear();
    let error = import(&options, source(&app()), Arc::new(())).await.unwrap_err();
    assert!(matches!(error, ImportError::NoImages));
}

#[tokio::test]
async fn an_engine_behind_tls_is_reached_with_certificates_on_both_sides() {
    let engine = FakeEngine::start_tls([FakeNode::new("a")]).await;
    let report = run(&engine, &app()).await.unwrap();
    assert_eq!((report.nodes[0].state, report.nodes[0].layers_sent), (NodeState::Imported, 2));

    // Another authority's certificate is not the Engine's.
    let other = FakeEngine::start_tls([FakeNode::new("a")]).await;
    std::fs::copy(other.folder().join("ca.pem"), engine.folder().join("ca.pem")).unwrap();
    let error = run(&engine, &app()).await.unwrap_err();
    assert!(matches!(error, ImportError::DockerUnreachable { .. }), "{error}");
    std::fs::remove_file(engine.folder().join("key.pem")).unwrap();
    let error = run(&engine, &app()).await.unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
}
