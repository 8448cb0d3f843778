//! The importer against real nodes: containers with containerd and runc in them, on a Docker Engine that the
//! test starts and stops itself. Each containerd goes through the same scenarios.
//!
//! Needs root and Debian's docker.io, containerd, runc and busybox-static; without them the tests say so and
//! are skipped, except where `CI=true`, which turns a skip into a failure. `SLIPWAY_CONTAINERD2` names a
//! folder with `containerd`, `ctr` and `containerd-shim-runc-v2` of containerd 2.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

mod cri;
mod engine;
mod faults;
mod layout;
mod nodes;
mod scenarios;

use std::path::{Path, PathBuf};

use engine::Engine;
use nodes::{Cluster, NodeBinaries};

/// Says why a test does not run; in CI that is a failure.
fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "skipped in CI: {reason}");
    eprintln!("skipped: {reason}");
}

async fn with_nodes(binaries: Result<NodeBinaries, String>) {
    let binaries = match binaries {
        Ok(binaries) => binaries,
        Err(reason) => return skip(&reason),
    };
    let engine = match Engine::start().await {
        Ok(engine) => engine,
        Err(reason) => return skip(&reason),
    };
    let cluster = Cluster::start(&engine, &binaries).await;
    scenarios::run_all(&cluster).await;
    faults::run_all(&cluster).await;
}

// More threads than nodes: a test may hold up one node by blocking its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_into_nodes_with_the_system_s_containerd() {
    with_nodes(NodeBinaries::of_system()).await;
}

// More threads than nodes: a test may hold up one node by blocking its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_into_nodes_with_containerd_2() {
    let folder = match std::env::var_os("SLIPWAY_CONTAINERD2") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let home = std::env::var("HOME").unwrap_or_default();
            Path::new(&home).join(".cache/slipway/tools/containerd2")
        }
    };
    with_nodes(NodeBinaries::in_folder(&folder)).await;
}
