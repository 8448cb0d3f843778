//! Garbage collection as an operator sees it: beside a running registry and without one.

use std::{fs, path::Path, thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;
use slipway_tests::{Layout, Options, Registry};

/// As short as a push of this test allows.
const LEASE: Duration = Duration::from_secs(3);

fn files(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        count += if path.is_dir() { files(&path)? } else { 1 };
    }
    Ok(count)
}

fn json(registry: &Registry, arguments: &[&str]) -> Result<Value> {
    let arguments = [&["gc"], arguments, &["--output", "json"]].concat();
    Ok(serde_json::from_str(&registry.administer(&arguments, "")?.ok()?)?)
}

#[test]
fn what_nothing_names_goes_and_the_rest_says_why_it_stays() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("registry.toml");
    fs::write(&config, format!("[collection]\nlease_seconds = {}\n", LEASE.as_secs()))?;
    let config = config.display().to_string();
    let mut registry = Registry::start(Options::with(&["--auth", "none", "--config", &config]))?;
    let server = registry.http();
    let blobs = registry.data().join("docker");

    let lost = server.push_blob("team/app", b"nobody names this")?;
    let layout = Layout::new(&[("file", b"content")])?;
    layout.push(server, "team/app", "1")?;
    let why = registry.administer(&["gc", "explain", &layout.layer.to_string()], "")?.ok()?;
    ensure!(why.contains("in team/app") && why.contains(&layout.manifest.to_string()), "{why}");
    ensure!(why.contains("it has the tag 1"), "{why}");
    let unknown = registry.administer(&["gc", "explain", &format!("sha256:{}", "0".repeat(64))], "")?;
    ensure!(unknown.code == Some(4), "{unknown:?}");

    sleep(LEASE);
    let plan = json(&registry, &["run", "--dry-run"])?;
    let goes = |decision: &&Value| decision["remove"] == true && decision["kind"] == "link";
    let planned = plan["decisions"].as_array().into_iter().flatten().filter(goes).count();
    ensure!(planned == 1 || server.get(&format!("/v2/team/app/blobs/{lost}"))?.status == 404, "{plan}");
    let done = registry.administer(&["gc", "run"], "")?.ok()?;
    ensure!(server.get(&format!("/v2/team/app/blobs/{lost}"))?.status == 404, "{done}");
    ensure!(files(&blobs)? == 2, "config and layer stay");
    let status = json(&registry, &["status"])?;
    ensure!(status["collected"]["blobs"] == 1 && status["collected_bytes"] == 17, "{status}");

    let path = format!("/v2/team/app/manifests/{}", layout.manifest);
    server.request("DELETE", &path, &[], b"")?.expect(202)?;
    registry.terminate()?;
    registry.wait()?;
    sleep(LEASE);
    let done = json(&registry, &["run"])?;
    ensure!(done["removed"]["blobs"] == 2, "{done}");
    ensure!(files(&blobs)? == 0, "{done}");
    Ok(())
}
