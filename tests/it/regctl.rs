//! regctl, whose uploads come in chunks.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slipway_tests::{Finished, Layout, NAME, Scheme, Site, run, skip};

/// Below regctl's own threshold, so that the test need not move many bytes to be chunked.
const CHUNK: &str = "65536";
/// Several chunks and a part of one.
const BLOB: usize = 300_000;

fn whole_life(scheme: Scheme) -> Result<()> {
    let Some(site) = Site::start(scheme)? else { return Ok(()) };
    if site.client("regctl")?.is_none() {
        skip("regctl is not installed");
        return Ok(());
    }
    let regctl_with = |arguments: &[&str], input: &[u8]| -> Result<Finished> {
        run(site.client("regctl")?.context("regctl is gone")?.args(arguments), input)
    };
    let regctl = |arguments: &[&str]| regctl_with(arguments, b"");
    let tls = match scheme {
        Scheme::Http => ["--tls", "disabled"].map(str::to_owned),
        Scheme::Tls => ["--cacert".to_owned(), fs::read_to_string(site.registry.authority())?],
    };
    let set = ["registry", "set", NAME, "--skip-check", "--blob-chunk", CHUNK, "--blob-max", CHUNK];
    regctl(&[&set[..], &tls.each_ref().map(String::as_str)].concat())?.ok()?;
    let login = ["registry", "login", NAME, "--user", "admin", "--pass-stdin"];
    regctl_with(&login, b"wrong")?.failed()?;
    regctl_with(&login, site.registry.password()?.as_bytes())?.ok()?;

    let layout = Layout::sample("regctl")?;
    let (image, copy) = (site.image("team/app:1"), site.image("other/app:2"));
    let source = format!("ocidir://{}:latest", layout.path().display());
    regctl(&["image", "copy", &source, &image])?.ok()?;
    ensure!(regctl(&["image", "digest", &image])?.ok()?.trim() == layout.manifest.to_string());
    regctl(&["image", "copy", &image, &copy])?.ok()?;
    ensure!(regctl(&["image", "digest", &copy])?.ok()?.trim() == layout.manifest.to_string());
    let back = format!("ocidir://{}/back:1", site.home().display());
    regctl(&["image", "copy", &copy, &back])?.ok()?;
    let layer = site.home().join("back/blobs/sha256").join(layout.layer.hex());
    ensure!(fs::read(layer)? == layout.read(&layout.layer)?);
    ensure!(regctl(&["tag", "ls", &site.image("team/app")])?.ok()? == "1\n");
    ensure!(regctl(&["repo", "ls", NAME])?.ok()? == "other/app\nteam/app\n");

    let blob: Vec<u8> = (0..BLOB).map(|at| (at * at) as u8).collect();
    let repository = site.image("team/blobs");
    let digest = regctl_with(&["blob", "put", &repository], &blob)?.ok()?;
    ensure!(site.registry.log().matches("PATCH").count() > 1, "the blob did not come in chunks");
    let got = regctl(&["blob", "get", &repository, digest.trim()])?;
    // It is not text: its length and its digest, which regctl checks, are what can be compared.
    ensure!(got.success && regctl(&["blob", "head", &repository, digest.trim()])?.success);
    ensure!(digest.trim() == registry_types::Digest::sha256(&blob).to_string());

    let artifact = site.image("team/notes:1");
    let put = ["artifact", "put", "--artifact-type", "application/vnd.example.notes", &artifact];
    regctl_with(&put, b"an artifact")?.ok()?;
    ensure!(regctl(&["artifact", "get", &artifact])?.ok()? == "an artifact");
    let attach = ["artifact", "put", "--artifact-type", "application/vnd.example.sbom", "--subject", &image];
    regctl_with(&attach, b"a list of parts")?.ok()?;
    let listed = regctl(&["artifact", "list", &image, "--format", "{{json .}}"])?.ok()?;
    let listed: Value = serde_json::from_str(&listed)?;
    ensure!(listed.to_string().contains("application/vnd.example.sbom"), "{listed}");

    regctl(&["tag", "delete", &image])?.ok()?;
    ensure!(!regctl(&["image", "digest", &image])?.success);
    regctl(&["image", "digest", &copy])?.ok()?;
    Ok(())
}

#[test]
fn regctl_works_over_http() -> Result<()> {
    whole_life(Scheme::Http)
}

#[test]
fn regctl_works_over_tls() -> Result<()> {
    whole_life(Scheme::Tls)
}
