//! crane, and with it go-containerregistry, on which ko, kaniko and cosign stand.

use anyhow::{Context, Result, ensure};
use slipway_tests::{Finished, Layout, NAME, Scheme, Site, run, skip};

fn whole_life(scheme: Scheme) -> Result<()> {
    let Some(site) = Site::start(scheme)? else { return Ok(()) };
    if site.client("crane")?.is_none() {
        skip("crane is not installed");
        return Ok(());
    }
    let crane_with = |arguments: &[&str], input: &[u8]| -> Result<Finished> {
        let mut command = site.client("crane")?.context("crane is gone")?;
        if scheme == Scheme::Http {
            command.arg("--insecure");
        }
        run(command.args(arguments), input)
    };
    let crane = |arguments: &[&str]| crane_with(arguments, b"");
    let layout = Layout::sample("crane")?;
    let folder = layout.path().display().to_string();
    let (image, copy) = (site.image("team/app:1"), site.image("other/app:2"));

    // crane logs in without asking the registry.
    let login = ["auth", "login", NAME, "--username", "admin", "--password-stdin"];
    crane_with(&login, b"wrong")?.ok()?;
    let refused = crane(&["push", &folder, &image])?.failed()?;
    ensure!(refused.contains("UNAUTHORIZED"), "{refused}");
    crane_with(&login, site.registry.password()?.as_bytes())?.ok()?;

    crane(&["push", &folder, &image])?.ok()?;
    ensure!(crane(&["digest", &image])?.ok()?.trim() == layout.manifest.to_string());
    ensure!(crane(&["manifest", &image])?.ok()?.as_bytes() == layout.read(&layout.manifest)?);
    ensure!(crane(&["config", &image])?.ok()?.as_bytes() == layout.read(&layout.config)?);
    crane(&["validate", "--remote", &image])?.ok()?;

    let tarball = site.home().join("image.tar").display().to_string();
    crane(&["pull", &image, &tarball])?.ok()?;
    crane(&["validate", "--tarball", &tarball])?.ok()?;
    crane(&["pull", "--format", "oci", &image, &site.home().join("oci").display().to_string()])?.ok()?;
    ensure!(
        std::fs::read(site.home().join("oci/blobs/sha256").join(layout.layer.hex()))?
            == layout.read(&layout.layer)?
    );

    crane(&["copy", &image, &copy])?.ok()?;
    ensure!(crane(&["digest", &copy])?.ok()?.trim() == layout.manifest.to_string());
    let log = site.registry.log();
    ensure!(!log.contains("status=500"), "{log}");

    let (index, child) = (site.image("team/index:1"), site.image("team/index@"));
    crane(&["index", "append", "--manifest", &image, "--tag", &index])?.ok()?;
    crane(&["validate", "--remote", &index])?.ok()?;
    let platform = crane(&["digest", "--platform", "linux/amd64", &index])?.ok()?;
    ensure!(platform.trim() == layout.manifest.to_string(), "{platform}");
    crane(&["validate", "--remote", &format!("{child}{}", layout.manifest)])?.ok()?;

    crane(&["tag", &image, "latest"])?.ok()?;
    ensure!(crane(&["ls", &site.image("team/app")])?.ok()? == "1\nlatest\n");
    ensure!(crane(&["catalog", NAME])?.ok()? == "other/app\nteam/app\nteam/index\n");

    // By tag only the tag goes; by digest the manifest does.
    crane(&["delete", &image])?.ok()?;
    ensure!(crane(&["ls", &site.image("team/app")])?.ok()? == "latest\n");
    crane(&["delete", &site.image(&format!("team/app@{}", layout.manifest))])?.ok()?;
    let gone = crane(&["digest", &site.image("team/app:latest")])?.failed()?;
    ensure!(gone.contains("404") || gone.contains("MANIFEST_UNKNOWN"), "{gone}");
    crane(&["validate", "--remote", &copy])?.ok()?;

    crane(&["auth", "logout", NAME])?.ok()?;
    crane(&["push", &folder, &image])?.failed()?;
    Ok(())
}

#[test]
fn crane_works_over_http() -> Result<()> {
    whole_life(Scheme::Http)
}

#[test]
fn crane_works_over_tls() -> Result<()> {
    whole_life(Scheme::Tls)
}

#[test]
fn crane_mounts_a_layer_instead_of_uploading_it() -> Result<()> {
    let Some(site) = Site::start(Scheme::Http)? else { return Ok(()) };
    let Some(mut login) = site.client("crane")? else {
        skip("crane is not installed");
        return Ok(());
    };
    login.args(["auth", "login", NAME, "--username", "admin", "--password-stdin"]);
    run(&mut login, site.registry.password()?.as_bytes())?.ok()?;
    let layout = Layout::sample("mounted")?;
    let (image, copy) = (site.image("team/app:1"), site.image("other/app:1"));
    let crane = |arguments: &[&str]| -> Result<Finished> {
        let mut command = site.client("crane")?.context("crane is gone")?;
        run(command.args(["--insecure", "--verbose"]).args(arguments), b"")
    };
    crane(&["push", &layout.path().display().to_string(), &image])?.ok()?;
    let copied = crane(&["copy", &image, &copy])?;
    ensure!(copied.success, "{}", copied.stderr);
    ensure!(
        copied.stderr.contains(&format!("mount={}", layout.layer).replace(':', "%3A")),
        "no mount was asked for"
    );
    ensure!(!copied.stderr.contains("--> PATCH"), "a layer was uploaded:\n{}", copied.stderr);
    Ok(())
}
