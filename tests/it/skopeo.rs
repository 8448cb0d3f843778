//! skopeo, and with it the library of podman, buildah and CRI-O.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;
use slipway_tests::{Finished, Layout, NAME, Scheme, Site, run, skip};

struct Skopeo {
    site: Site,
}

impl Skopeo {
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.site.client("/usr/bin/skopeo")?.ok_or_else(|| anyhow::anyhow!("gone"))?;
        command.args(arguments);
        Ok(command)
    }

    fn run(&self, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.command(arguments)?, b"")
    }

    /// `--src-tls-verify=false` and its like, where plain HTTP needs it.
    fn verify(&self, option: &str) -> String {
        format!("--{option}tls-verify={}", self.site.scheme == Scheme::Tls)
    }
}

fn whole_life(scheme: Scheme) -> Result<()> {
    let Some(site) = Site::start(scheme)? else { return Ok(()) };
    if site.client("/usr/bin/skopeo")?.is_none() {
        skip("skopeo is not installed");
        return Ok(());
    }
    let skopeo = Skopeo { site };
    let password = skopeo.site.registry.password()?;
    let layout = Layout::sample("skopeo")?;
    let image = format!("docker://{}", skopeo.site.image("team/app:1"));
    let (plain, source, target) = (skopeo.verify(""), skopeo.verify("src-"), skopeo.verify("dest-"));

    let mut login = skopeo.command(&["login", &plain, "--username", "admin", "--password-stdin", NAME])?;
    run(&mut login, b"wrong")?.failed()?;
    run(&mut login, password.as_bytes())?.ok()?;

    skopeo.run(&["copy", "--preserve-digests", &target, &layout.transport(), &image])?.ok()?;
    let seen: Value = serde_json::from_str(&skopeo.run(&["inspect", &plain, &image])?.ok()?)?;
    ensure!(seen["Digest"] == layout.manifest.to_string(), "{seen}");
    ensure!(seen["Layers"][0] == layout.layer.to_string(), "{seen}");
    ensure!(seen["RepoTags"] == serde_json::json!(["1"]), "{seen}");

    let back = skopeo.site.home().join("back");
    let folder = format!("dir:{}", back.display());
    skopeo.run(&["copy", "--preserve-digests", &source, &image, &folder])?.ok()?;
    ensure!(std::fs::read(back.join("manifest.json"))? == layout.read(&layout.manifest)?);
    ensure!(std::fs::read(back.join(layout.layer.hex()))? == layout.read(&layout.layer)?);

    // From repository to repository, and in Docker's own format.
    let copy = format!("docker://{}", skopeo.site.image("other/app:2"));
    skopeo.run(&["copy", &source, &target, "--format", "v2s2", &image, &copy])?.ok()?;
    let raw: Value = serde_json::from_str(&skopeo.run(&["inspect", "--raw", &plain, &copy])?.ok()?)?;
    ensure!(raw["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json", "{raw}");

    skopeo.run(&["delete", &plain, &image])?.ok()?;
    let gone = skopeo.run(&["inspect", &plain, &image])?.failed()?;
    ensure!(gone.contains("manifest unknown"), "{gone}");
    skopeo.run(&["inspect", &plain, &copy])?.ok()?;

    skopeo.run(&["logout", NAME])?.ok()?;
    skopeo.run(&["copy", &target, &layout.transport(), &image])?.failed()?;
    Ok(())
}

#[test]
fn skopeo_works_over_http() -> Result<()> {
    whole_life(Scheme::Http)
}

#[test]
fn skopeo_works_over_tls() -> Result<()> {
    whole_life(Scheme::Tls)
}
