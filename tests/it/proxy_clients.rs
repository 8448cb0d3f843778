//! Docker's daemon and containerd with a mirror between them and the registry that they name.

use anyhow::{Result, ensure};
use slipway_tests::{Containerd, Dockerd, Layout, Mirror, Registry};

/// The registry that stands for Docker Hub has requests for `digest` in its log.
fn fetches(upstream: &Registry, digest: &registry_types::Digest) -> usize {
    let log = upstream.log();
    let of_blob =
        |line: &&str| line.contains("method=GET route=\"blob\"") && line.contains(&digest.to_string());
    log.lines().filter(of_blob).count()
}

#[test]
fn docker_pulls_through_a_registry_mirror() -> Result<()> {
    let Some(layout) = Layout::runnable("through the mirror")? else { return Ok(()) };
    let upstream = Registry::open_to_all()?;
    layout.push(upstream.http(), "library/hello", "1")?;
    layout.push(upstream.http(), "team/app", "1")?;
    let mirror = Mirror::start("*", upstream.http().0, "namespaces = [\"docker.io\"]")?;
    let url = format!("http://{}", mirror.name());
    let Some(dockerd) = Dockerd::start(&["--registry-mirror", &url])? else { return Ok(()) };
    // Names of Docker Hub, which nobody reaches from here: the mirror alone can bring them.
    for image in ["hello:1", "team/app:1"] {
        dockerd.docker(&["pull", image])?.ok()?;
        let run = ["run", "--rm", "--network", "none", image, "/busybox", "cat", "/greeting"];
        ensure!(dockerd.docker(&run)?.ok()? == "through the mirror");
    }
    ensure!(fetches(&upstream, &layout.layer) == 1, "{}", upstream.log());
    Ok(())
}

#[test]
fn containerd_pulls_through_a_host_of_its_hosts_toml() -> Result<()> {
    let Some(containerd) = Containerd::start()? else { return Ok(()) };
    let upstream = Registry::open_to_all()?;
    let layout = Layout::sample("through the mirror")?;
    layout.push(upstream.http(), "library/hello", "1")?;
    let mirror = Mirror::start("docker.io/", upstream.http().0, "namespaces = [\"docker.io\"]")?;
    let host = format!("http://{}", mirror.name());
    // The server behind the mirror does not exist.
    let hosts = format!(
        "server = \"https://registry.invalid\"\n[host.{host:?}]\ncapabilities = [\"pull\", \"resolve\"]\n"
    );
    let hosts = containerd.configure_host("docker.io", &hosts)?.display().to_string();
    for _ in 0..2 {
        let image = "docker.io/library/hello:1";
        containerd.ctr(&["images", "pull", "--snapshotter", "native", "--hosts-dir", &hosts, image])?.ok()?;
        let listed = containerd.ctr(&["images", "ls", &format!("name=={image}")])?.ok()?;
        ensure!(listed.contains(&layout.manifest.to_string()), "{listed}");
        containerd.ctr(&["images", "rm", "--sync", image])?.ok()?;
    }
    ensure!(fetches(&upstream, &layout.layer) == 1, "{}", upstream.log());
    // It asked with its parameter; the path alone is not mirrored.
    mirror.http().get("/v2/library/hello/manifests/1")?.expect(404)?;
    mirror.http().get("/v2/library/hello/manifests/1?ns=docker.io")?.expect(200)?;
    mirror.http().get("/v2/docker.io/library/hello/manifests/1")?.expect(200)?;
    Ok(())
}
