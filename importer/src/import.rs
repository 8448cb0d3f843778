//! The import of images into a cluster, from finding its nodes to the report.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use registry_types::Platform;
use tokio::task::JoinSet;

use crate::{
    ImageSource, ImportError, ImportOptions, NodeReport, NodeState, Progress, ProgressEvent, Report,
    docker::Docker,
    image::{Image, pull_policy_warning},
    node::{Node, NodeFacts, find_nodes},
    transfer::Transfer,
};

/// Imports the images of `options` from `source` into every node of the cluster, all nodes at once.
///
/// Nothing is sent before every node that answers has been asked and an image for its platform was found.
/// Dropping the future ends the streams; the nodes then drop what they got of them.
///
/// # Errors
/// [`ImportError::NodesFailed`], with the whole report, when any node failed; other variants when the import
/// did not begin: the cluster is unknown or has stopped nodes, or an image cannot be had.
pub async fn import(
    options: &ImportOptions,
    source: Arc<dyn ImageSource>,
    progress: Arc<dyn Progress>,
) -> Result<Report, ImportError> {
    let mut seen = HashSet::new();
    let references: Vec<_> = options.images.iter().filter(|image| seen.insert(*image)).collect();
    if references.is_empty() {
        return Err(ImportError::NoImages);
    }
    let docker = Docker::new(options.docker.clone());
    let nodes = find_nodes(&docker, &options.cluster, options.limits).await?;
    progress
        .report(ProgressEvent::NodesFound { nodes: nodes.iter().map(|node| node.name.clone()).collect() });

    let asked = join_all(nodes.into_iter().map(|node| ask(node, &*progress))).await;

    let mut platforms: BTreeMap<Platform, Vec<Arc<Image>>> = BTreeMap::new();
    for asked in &asked {
        let Ok(facts) = &asked.facts else { continue };
        if !platforms.contains_key(&facts.platform) {
            let read = references
                .iter()
                .map(|reference| Image::read(&*source, reference, &facts.platform, &asked.node.name));
            let images: Result<Vec<_>, ImportError> = join_all(read).await.into_iter().collect();
            platforms.insert(facts.platform.clone(), images?);
        }
    }

    let mut tasks = JoinSet::new();
    for (position, asked) in asked.into_iter().enumerate() {
        let images = match &asked.facts {
            Ok(facts) => platforms.get(&facts.platform).cloned().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let transfer = Transfer {
            node: asked.node,
            images,
            source: source.clone(),
            progress: progress.clone(),
            dry_run: options.dry_run,
            pin: options.pin,
            unpin_previous: options.unpin_previous,
        };
        let (facts, took) = (asked.facts, asked.took);
        tasks.spawn(async move { (position, finish(transfer, facts, took).await) });
    }
    let mut reports = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (position, report) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        reports.insert(position, report);
    }
    let report = Report {
        cluster: options.cluster.clone(),
        dry_run: options.dry_run,
        warnings: references.into_iter().filter_map(pull_policy_warning).collect(),
        nodes: reports.into_values().collect(),
    };
    if report.succeeded() { Ok(report) } else { Err(ImportError::NodesFailed { report: Box::new(report) }) }
}

/// A node with its answer, and how long that took.
struct Asked {
    node: Node,
    facts: Result<NodeFacts, ImportError>,
    took: Duration,
}

async fn ask(node: Node, progress: &dyn Progress) -> Asked {
    let started = Instant::now();
    let facts = node.probe().await;
    if let Ok(facts) = &facts {
        progress.report(ProgressEvent::NodeRead {
            node: node.name.clone(),
            platform: facts.platform.clone(),
            containerd: facts.containerd.clone(),
        });
    }
    Asked { node, facts, took: started.elapsed() }
}

async fn finish(transfer: Transfer, facts: Result<NodeFacts, ImportError>, took: Duration) -> NodeReport {
    let started = Instant::now();
    let mut report = NodeReport {
        name: transfer.node.name.clone(),
        role: transfer.node.role.clone(),
        state: NodeState::Failed,
        error: None,
        platform: None,
        containerd: None,
        images: Vec::new(),
        layers_sent: 0,
        layers_skipped: 0,
        bytes_sent: 0,
        resent: false,
        seconds: 0.0,
    };
    let result = match facts {
        Ok(facts) => {
            report.platform = Some(facts.platform.to_string());
            report.containerd = Some(facts.containerd.clone());
            transfer.run(facts, &mut report).await
        }
        Err(error) => Err(error),
    };
    report.error = result.err().map(|error| error.to_string());
    report.seconds = (took + started.elapsed()).as_secs_f64();
    transfer
        .progress
        .report(ProgressEvent::Finished { node: report.name.clone(), error: report.error.clone() });
    report
}

#[cfg(test)]
mod tests;
