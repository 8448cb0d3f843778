//! What an import must do when something goes wrong: content that vanishes, nodes that hang, die or do not run,
//! images for other machines.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use importer::{ImportError, ImportOptions, NodeState, Report, import};

use crate::{
    layout::Layout,
    nodes::{AGENT, CLUSTER, Cluster, SERVER},
    scenarios::{node, printing, succeed, text_layer},
};

pub(crate) async fn run_all(cluster: &Cluster<'_>) {
    a_lost_layer_is_sent_again(cluster).await;
    a_lost_layer_with_a_snapshot_is_sent_again(cluster).await;
    a_final_failure_leaves_no_broken_name(cluster).await;
    an_image_for_another_machine_is_refused(cluster).await;
    a_paused_node_is_given_up(cluster).await;
    a_node_that_dies_half_way_fails_alone(cluster).await;
    a_stopped_node_is_refused(cluster).await;
}

async fn fail(options: &ImportOptions, layout: Layout) -> Report {
    match import(options, Arc::new(layout), Arc::new(())).await {
        Err(ImportError::NodesFailed { report }) => *report,
        other => panic!("{other:?}"),
    }
}

/// What removes `digest` from a node's content store, once.
fn forget(
    cluster: &Cluster<'_>,
    node: &str,
    digest: String,
) -> impl Fn() -> Result<(), importer::SourceError> + use<> {
    let host = cluster.engine.host();
    let node = node.to_owned();
    let done = AtomicBool::new(false);
    move || {
        if done.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let status = Command::new("docker")
            .args([
                "-H",
                &host,
                "exec",
                &node,
                "ctr",
                "-a",
                "/run/k3s/containerd/containerd.sock",
                "-n",
                "k8s.io",
            ])
            .args(["content", "rm", &digest])
            .output()?
            .status;
        assert!(status.success(), "{digest} was not there to be removed");
        Ok(())
    }
}

async fn a_lost_layer_is_sent_again(cluster: &Cluster<'_>) {
    // The second image has the shared layer on top, where no snapshot can stand in for it.
    let (first, second) = ("gitlab.iceymoss:5050/root/lost:v1", "gitlab.iceymoss:5050/root/lost:v2");
    let layers = [text_layer("lost"), vec![("other", 0o644, b"other".to_vec())]];
    let mut layout = Layout::new();
    let image = layout.add(first, "amd64", &["/x"], &layers);
    succeed(&cluster.options(&[first]), layout).await;

    let mut layout = Layout::new();
    let reversed = [layers[1].clone(), layers[0].clone()];
    let next = layout.add(second, "amd64", &["/x"], &reversed);
    assert_eq!(next.layers[1].digest, image.layers[0].digest);
    layout.before_sending(forget(cluster, SERVER, image.layers[0].digest.to_string()));
    let report = succeed(&cluster.options(&[second]), layout).await;
    let server = node(&report, SERVER);
    assert!(server.resent && server.state == NodeState::Imported, "{server:?}");
    assert_eq!((server.layers_sent, server.layers_skipped), (1, 1));
    let agent = node(&report, AGENT);
    assert!(!agent.resent && agent.layers_sent == 0, "{agent:?}");
    assert!(
        cluster
            .ctr(SERVER, &["images", "check"])
            .lines()
            .any(|line| { line.starts_with(second) && line.contains("complete (3/3)") })
    );
}

async fn a_lost_layer_with_a_snapshot_is_sent_again(cluster: &Cluster<'_>) {
    let (first, second) = ("gitlab.iceymoss:5050/root/whole:v1", "gitlab.iceymoss:5050/root/whole:v2");
    let mut layout = Layout::new();
    let base = vec![("base", 0o644, b"a base of its own".to_vec())];
    let image = layout.add(first, "amd64", &["/x"], &[base.clone(), text_layer("v1")]);
    succeed(&cluster.options(&[first]), layout).await;
    let mut layout = Layout::new();
    layout.add(second, "amd64", &["/x"], &[base, text_layer("v2")]);
    layout.before_sending(forget(cluster, AGENT, image.layers[0].digest.to_string()));
    let report = succeed(&cluster.options(&[second]), layout).await;
    assert!(node(&report, AGENT).resent && !node(&report, SERVER).resent, "{report:?}");
    assert!(cluster.ctr(AGENT, &["content", "ls", "-q"]).contains(&image.layers[0].digest.to_string()));
}

async fn a_final_failure_leaves_no_broken_name(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/broken:v1";
    let layers = [text_layer("broken"), vec![("other", 0o644, b"more".to_vec())]];
    let mut layout = Layout::new();
    let old = layout.add(name, "amd64", &["/x"], &layers);
    succeed(&cluster.options(&[name]), layout).await;

    // The node loses a layer, and the source cannot give it again.
    let mut layout = Layout::new();
    let new = layout.add(name, "amd64", &["/y"], &[layers[1].clone(), layers[0].clone()]);
    layout.before_sending(forget(cluster, SERVER, old.layers[0].digest.to_string()));
    layout.before_opening(old.layers[0].digest, || Err("the registry is gone".into()));
    let report = fail(&cluster.options(&[name]), layout).await;
    let server = node(&report, SERVER);
    assert_eq!(server.state, NodeState::Failed);
    assert!(server.error.as_ref().unwrap().contains("the registry is gone"), "{server:?}");
    assert_eq!(node(&report, AGENT).state, NodeState::Imported);
    assert_eq!(cluster.record(AGENT, name).unwrap().0, new.manifest.digest);
    assert_eq!(cluster.record(SERVER, name).unwrap().0, old.manifest.digest, "the name went back");
    let by_digest = format!("gitlab.iceymoss:5050/root/broken@{}", new.manifest.digest);
    assert!(cluster.record(SERVER, &by_digest).is_none(), "a name without content stayed");
}

async fn an_image_for_another_machine_is_refused(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/arm:v1";
    let mut layout = Layout::new();
    layout.add(name, "arm64", &["/x"], &[text_layer("arm")]);
    let error = import(&cluster.options(&[name]), Arc::new(layout), Arc::new(())).await.unwrap_err();
    assert!(matches!(error, ImportError::WrongPlatform { .. }), "{error}");
    assert!(cluster.record(SERVER, name).is_none());

    let options = ImportOptions { cluster: "other".to_owned(), ..cluster.options(&[name]) };
    let error = import(&options, Arc::new(Layout::new()), Arc::new(())).await.unwrap_err().to_string();
    assert!(error.contains("\"other\"") && error.contains(CLUSTER), "{error}");
}

/// Content that gzip cannot shrink: more than the pipes between us and a node hold.
fn noise(megabytes: usize, mut state: u64) -> Vec<u8> {
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(megabytes << 17)
    .flatten()
    .collect()
}

async fn a_paused_node_is_given_up(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/paused:v1";
    let mut layout = Layout::new();
    // The first layer makes sure that the node was reading when it stopped.
    let layers = [vec![("noise", 0o644, noise(16, 7))], vec![("more", 0o644, noise(16, 13))]];
    let image = layout.add(name, "amd64", &["/x"], &layers);
    let host = cluster.engine.host();
    layout.before_opening(image.layers[1].digest, move || {
        Command::new("docker").args(["-H", &host, "pause", AGENT]).output()?;
        Ok(())
    });
    let mut options = cluster.options(&[name]);
    options.limits.stall = Duration::from_secs(3);
    options.limits.command = Duration::from_secs(3);
    let started = Instant::now();
    let report = fail(&options, layout).await;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let agent = node(&report, AGENT);
    assert!(agent.error.as_ref().unwrap().contains("longer than 3 s"), "{agent:?}");
    assert_eq!(node(&report, SERVER).state, NodeState::Imported, "{report:?}");

    let error = import(&options, Arc::new(Layout::new()), Arc::new(())).await.unwrap_err().to_string();
    assert!(error.contains(&format!("{AGENT} (paused)")), "{error}");
    cluster.engine.docker(&["unpause", AGENT]);
    cluster.wait(AGENT).await;
}

async fn a_node_that_dies_half_way_fails_alone(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/dying:v1";
    let make = || {
        let mut layout = Layout::new();
        let layers = [vec![("noise", 0o644, noise(16, 9))], vec![("more", 0o644, noise(16, 11))]];
        let image = layout.add(name, "amd64", &["/x"], &layers);
        (layout, image)
    };
    let (mut layout, image) = make();
    let host = cluster.engine.host();
    // Both nodes have had the first layer when the second reader comes; the first waits for it.
    let readers = AtomicUsize::new(0);
    layout.before_opening(image.layers[1].digest, move || {
        if readers.fetch_add(1, Ordering::SeqCst) == 0 {
            let deadline = Instant::now() + Duration::from_secs(20);
            while readers.load(Ordering::SeqCst) == 1 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Command::new("docker").args(["-H", &host, "exec", AGENT, "killall", "-9", "containerd"]).output()?;
        Ok(())
    });
    let report = fail(&cluster.options(&[name]), layout).await;
    let agent = node(&report, AGENT);
    assert_eq!(agent.state, NodeState::Failed);
    assert!(agent.bytes_sent > image.layers[0].size, "it failed before the first layer was sent: {agent:?}");
    assert_eq!(node(&report, SERVER).state, NodeState::Imported, "{report:?}");
    assert!(cluster.record(SERVER, name).is_some());

    cluster.engine.docker(&["start", AGENT]);
    cluster.wait(AGENT).await;
    assert!(cluster.record(AGENT, name).is_none());
    let (layout, _) = make();
    let report = succeed(&cluster.options(&[name]), layout).await;
    assert_eq!(node(&report, AGENT).state, NodeState::Imported);
    assert_eq!(node(&report, SERVER).state, NodeState::UpToDate);
}

async fn a_stopped_node_is_refused(cluster: &Cluster<'_>) {
    let name = "gitlab.iceymoss:5050/root/stopped:v1";
    cluster.engine.docker(&["stop", "-t", "1", AGENT]);
    let mut layout = Layout::new();
    printing(&mut layout, name, "stopped");
    let error = import(&cluster.options(&[name]), Arc::new(layout), Arc::new(())).await.unwrap_err();
    match &error {
        ImportError::StoppedNodes { nodes, .. } => assert_eq!(nodes, &[format!("{AGENT} (exited)")]),
        other => panic!("{other}"),
    }
    assert!(cluster.record(SERVER, name).is_none(), "nothing may be sent to a part of the cluster");
}
