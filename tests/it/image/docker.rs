//! Archives that Docker loads, and archives that it saves.

use anyhow::{Result, ensure};
use slipway_tests::{Dockerd, Layout, Registry};

use super::image;

fn greeting(dockerd: &Dockerd, name: &str) -> Result<String> {
    dockerd.docker(&["run", "--rm", "--network", "none", name, "/busybox", "cat", "/greeting"])?.ok()
}

#[test]
fn docker_loads_our_archive_and_what_it_saves_is_pushed() -> Result<()> {
    let Some(layout) = Layout::runnable("through an archive")? else { return Ok(()) };
    let Some(dockerd) = Dockerd::start(&[])? else { return Ok(()) };
    let registry = Registry::open_to_all()?;
    layout.push(registry.http(), "team/app", "1")?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let name = format!("{}/team/app:1", registry.name());

    image(&["copy", &name, &format!("docker-archive:{}", file("ours.tar"))])?.ok()?;
    let loaded = dockerd.docker(&["load", "--input", &file("ours.tar")])?.ok()?;
    ensure!(loaded.contains(&name), "{loaded}");
    ensure!(greeting(&dockerd, &name)? == "through an archive");

    dockerd.docker(&["save", "--output", &file("theirs.tar"), &name])?.ok()?;
    let back = format!("{}/back/app:1", registry.name());
    image(&["copy", &format!("docker-archive:{}", file("theirs.tar")), &back])?.ok()?;
    dockerd.docker(&["rmi", "--force", &name])?.ok()?;
    dockerd.docker(&["pull", &back])?.ok()?;
    ensure!(greeting(&dockerd, &back)? == "through an archive");
    Ok(())
}
