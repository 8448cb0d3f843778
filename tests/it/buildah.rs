//! buildah: builds, pushes and pulls without a daemon.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use slipway_tests::{Finished, Layout, NAME, Scheme, Site, run, skip};

const PROGRAM: &str = "/usr/bin/buildah";

/// Storage of its own, in a form that needs nothing of the kernel.
fn buildah(site: &Site, arguments: &[&str]) -> Result<Command> {
    let mut command = site.client(PROGRAM)?.context("buildah is gone")?;
    let storage = |name: &str| site.home().join(name);
    command.env("STORAGE_DRIVER", "vfs").env("BUILDAH_ISOLATION", "chroot");
    command.arg("--root").arg(storage("root")).arg("--runroot").arg(storage("runroot")).args(arguments);
    Ok(command)
}

fn whole_life(scheme: Scheme) -> Result<()> {
    let Some(site) = Site::start(scheme)? else { return Ok(()) };
    if site.client(PROGRAM)?.is_none() {
        skip("buildah is not installed");
        return Ok(());
    }
    let run_with = |arguments: &[&str], input: &[u8]| run(&mut buildah(&site, arguments)?, input);
    let run_it = |arguments: &[&str]| -> Result<Finished> { run_with(arguments, b"") };
    let verify = format!("--tls-verify={}", scheme == Scheme::Tls);
    let (base, image) = (site.image("team/base:1"), site.image("team/app:1"));

    let login = ["login", &verify, "--username", "admin", "--password-stdin", NAME];
    run_with(&login, b"wrong")?.failed()?;
    run_with(&login, site.registry.password()?.as_bytes())?.ok()?;

    // The base comes from the registry, and so does the result in the end.
    let Some(layout) = Layout::runnable("buildah")? else { return Ok(()) };
    let pulled = run_it(&["pull", "--quiet", &layout.transport()])?.ok()?;
    run_it(&["push", &verify, pulled.trim(), &format!("docker://{base}")])?.ok()?;
    run_it(&["rmi", "--all"])?.ok()?;

    let container = run_it(&["from", &verify, &base])?.ok()?;
    let container = container.trim();
    run_it(&["run", container, "/busybox", "sh", "-c", "/busybox echo built >/built"])?.ok()?;
    run_it(&["commit", "--format", "oci", container, &image])?.ok()?;
    let digest_file = site.home().join("digest");
    run_it(&["push", &verify, "--digestfile", &digest_file.display().to_string(), &image])?.ok()?;
    let digest = std::fs::read_to_string(digest_file)?;

    run_it(&["rm", container])?.ok()?;
    run_it(&["rmi", "--all", "--force"])?.ok()?;
    run_it(&["pull", &verify, &site.image(&format!("team/app@{digest}"))])?.ok()?;
    let again = run_it(&["from", &verify, &image])?.ok()?;
    let said = run_it(&["run", again.trim(), "/busybox", "cat", "/greeting", "/built"])?.ok()?;
    ensure!(said == "buildahbuilt\n", "{said}");
    run_it(&["rm", again.trim()])?.ok()?;
    Ok(())
}

#[test]
fn buildah_works_over_http() -> Result<()> {
    whole_life(Scheme::Http)
}

#[test]
fn buildah_works_over_tls() -> Result<()> {
    whole_life(Scheme::Tls)
}
