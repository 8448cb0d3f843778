//! oras: artifacts, and their referrers.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slipway_tests::{Finished, Layout, NAME, Scheme, Site, run, skip};

fn whole_life(scheme: Scheme) -> Result<()> {
    let Some(site) = Site::start(scheme)? else { return Ok(()) };
    if site.client("oras")?.is_none() {
        skip("oras is not installed");
        return Ok(());
    }
    let oras_with = |arguments: &[&str], input: &[u8]| -> Result<Finished> {
        let mut command = site.client("oras")?.context("oras is gone")?;
        command.args(arguments);
        if scheme == Scheme::Http && arguments.first() != Some(&"logout") {
            command.arg(if arguments.first() == Some(&"cp") { "--to-plain-http" } else { "--plain-http" });
        }
        run(&mut command, input)
    };
    let oras = |arguments: &[&str]| oras_with(arguments, b"");
    let json = |arguments: &[&str]| -> Result<Value> { Ok(serde_json::from_str(&oras(arguments)?.ok()?)?) };

    let login = ["login", NAME, "--username", "admin", "--password-stdin"];
    oras_with(&login, b"wrong")?.failed()?;
    oras_with(&login, site.registry.password()?.as_bytes())?.ok()?;

    // A file of any type, under an artifact type of its own.
    let (artifact, home) = (site.image("team/notes:1"), site.home());
    fs::write(home.join("notes.txt"), "an artifact")?;
    oras(&["push", &artifact, "--artifact-type", "application/vnd.example.notes", "notes.txt:text/plain"])?
        .ok()?;
    let back = home.join("back");
    oras(&["pull", &artifact, "--output", &back.display().to_string()])?.ok()?;
    ensure!(fs::read_to_string(back.join("notes.txt"))? == "an artifact");
    ensure!(oras(&["repo", "tags", &site.image("team/notes")])?.ok()? == "1\n");
    ensure!(oras(&["repo", "ls", NAME])?.ok()?.contains("team/notes"));

    // An image and what refers to it.
    let layout = Layout::sample("oras")?;
    let image = site.image("team/app:1");
    let source = format!("{}:latest", layout.path().display());
    oras(&["cp", "--from-oci-layout", &source, &image])?.ok()?;
    fs::write(home.join("sbom.json"), "{}")?;
    fs::write(home.join("signature"), "signed")?;
    for (kind, file) in
        [("application/vnd.example.sbom", "sbom.json"), ("application/vnd.example.signature", "signature")]
    {
        oras(&["attach", &image, "--artifact-type", kind, file])?.ok()?;
    }
    let all = json(&["discover", &image, "--format", "json", "--depth", "1"])?;
    ensure!(all["referrers"].as_array().map(Vec::len) == Some(2), "{all}");
    let one =
        json(&["discover", &image, "--format", "json", "--artifact-type", "application/vnd.example.sbom"])?;
    ensure!(one["referrers"].as_array().map(Vec::len) == Some(1), "{one}");
    ensure!(one["referrers"][0]["artifactType"] == "application/vnd.example.sbom", "{one}");
    // The API answered, not the fallback by tags.
    ensure!(oras(&["repo", "tags", &site.image("team/app")])?.ok()? == "1\n");

    let sbom = one["referrers"][0]["digest"].as_str().context("no digest")?.to_owned();
    oras(&["manifest", "delete", "--force", &site.image(&format!("team/app@{sbom}"))])?.ok()?;
    let left = json(&["discover", &image, "--format", "json", "--depth", "1"])?;
    ensure!(left["referrers"].as_array().map(Vec::len) == Some(1), "{left}");

    oras(&["logout", NAME])?.ok()?;
    oras(&["pull", &artifact])?.failed()?;
    Ok(())
}

#[test]
fn oras_works_over_http() -> Result<()> {
    whole_life(Scheme::Http)
}

#[test]
fn oras_works_over_tls() -> Result<()> {
    whole_life(Scheme::Tls)
}
