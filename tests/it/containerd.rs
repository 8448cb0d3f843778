//! containerd's own resolver, as a Kubernetes node has it.

use anyhow::{Result, ensure};
use slipway_tests::{Containerd, Layout, NAME, Scheme, Site, run, skip};

fn whole_life(scheme: Scheme) -> Result<()> {
    let Some(containerd) = Containerd::start()? else { return Ok(()) };
    let Some(site) = Site::start(scheme)? else { return Ok(()) };
    let Some(mut login) = site.client("crane")? else {
        skip("crane, which brings the image, is not installed");
        return Ok(());
    };
    let password = site.registry.password()?;
    login.args(["auth", "login", NAME, "--username", "admin", "--password-stdin"]);
    run(&mut login, password.as_bytes())?.ok()?;
    let layout = Layout::sample("containerd")?;
    let image = site.image("team/app:1");
    if let Some(mut push) = site.client("crane")? {
        push.args(["--insecure", "push"]).arg(layout.path()).arg(&image);
        run(&mut push, b"")?.ok()?;
    }

    let authority = match scheme {
        Scheme::Http => String::new(),
        Scheme::Tls => format!("ca = \"{}\"\n", site.registry.authority().display()),
    };
    let server = format!("{}://{NAME}", scheme.as_str());
    let hosts = format!(
        "server = {server:?}\n[host.{server:?}]\ncapabilities = [\"pull\", \"resolve\", \"push\"]\n{authority}"
    );
    let hosts = containerd.configure_host(NAME, &hosts)?.display().to_string();
    let user = format!("admin:{password}");
    let pull = |user: &str, image: &str| {
        let options = ["images", "pull", "--snapshotter", "native", "--hosts-dir", &hosts, "--user", user];
        containerd.ctr(&[&options[..], &[image]].concat())
    };

    let refused = pull("admin:wrong", &image)?.failed()?;
    ensure!(refused.contains("401") || refused.contains("authorization failed"), "{refused}");
    pull(&user, &image)?.ok()?;
    let listed = containerd.ctr(&["images", "ls", &format!("name=={image}")])?.ok()?;
    ensure!(listed.contains(&layout.manifest.to_string()), "{listed}");
    containerd.ctr(&["content", "get", &layout.layer.to_string()])?.ok()?;

    // A node resolves by digest too, and ctr pushes with the same resolver.
    pull(&user, &site.image(&format!("team/app@{}", layout.manifest)))?.ok()?;
    let copy = site.image("other/app:2");
    let push = ["images", "push", "--hosts-dir", &hosts, "--user", &user, &copy, &image];
    containerd.ctr(&push)?.ok()?;
    containerd.ctr(&["images", "rm", "--sync", &image])?.ok()?;
    pull(&user, &copy)?.ok()?;
    Ok(())
}

#[test]
fn containerd_works_over_http() -> Result<()> {
    whole_life(Scheme::Http)
}

#[test]
fn containerd_works_over_tls() -> Result<()> {
    whole_life(Scheme::Tls)
}
