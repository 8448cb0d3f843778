//! Docker's own daemon and client.

use anyhow::{Result, ensure};
use slipway_tests::{
    Dockerd, Login, NAME, Options, Registry, Scheme, Site, TrustedAuthority, busybox, plain_tar, run,
};

fn log_in(dockerd: &Dockerd, registry: &str, password: &str) -> Result<slipway_tests::Finished> {
    let mut command = dockerd.command(&["login", registry, "--username", "admin", "--password-stdin"]);
    run(&mut command, password.as_bytes())
}

/// Makes an image in the daemon that prints `text`. False where there is nothing to make it of.
fn import(dockerd: &Dockerd, image: &str, text: &str) -> Result<bool> {
    let Some(busybox) = busybox() else { return Ok(false) };
    let tar = plain_tar(&[("busybox", &busybox), ("greeting", text.as_bytes())]);
    run(&mut dockerd.command(&["import", "-", image]), &tar)?.ok()?;
    Ok(true)
}

fn greeting(dockerd: &Dockerd, image: &str) -> Result<String> {
    dockerd.docker(&["run", "--rm", "--network", "none", image, "/busybox", "cat", "/greeting"])?.ok()
}

/// Login, push, pull, run, logout, and what is refused before and after.
fn whole_life(dockerd: &Dockerd, registry: &str, password: &str) -> Result<()> {
    let image = format!("{registry}/team/app:1");
    if !import(dockerd, &image, "from the registry")? {
        return Ok(());
    }

    let refused = dockerd.docker(&["push", &image])?.failed()?;
    ensure!(refused.contains("authentication required") || refused.contains("denied"), "{refused}");
    let wrong = log_in(dockerd, registry, "wrong")?.failed()?;
    ensure!(wrong.contains("unauthorized") && !wrong.contains(password), "{wrong}");

    log_in(dockerd, registry, password)?.ok()?;
    let pushed = dockerd.docker(&["push", &image])?.ok()?;
    let digest = pushed.split_whitespace().find(|word| word.starts_with("sha256:"));
    let digest = digest.ok_or_else(|| anyhow::anyhow!("no digest in {pushed}"))?.to_owned();

    // Away with it and everything of it, so that the pull must bring it.
    dockerd.docker(&["rmi", "--force", &image])?.ok()?;
    dockerd.docker(&["system", "prune", "--all", "--force"])?.ok()?;
    ensure!(!dockerd.docker(&["image", "inspect", &image])?.success, "the image is still there");
    let pulled = dockerd.docker(&["pull", &image])?.ok()?;
    ensure!(pulled.contains(&digest), "pushed {digest}, pulled {pulled}");
    ensure!(greeting(dockerd, &image)? == "from the registry");

    // By digest, and a second time with everything there.
    dockerd.docker(&["pull", &format!("{registry}/team/app@{digest}")])?.ok()?;
    let again = dockerd.docker(&["push", &image])?.ok()?;
    ensure!(again.contains("Layer already exists") && again.contains(&digest), "{again}");
    // Into another repository the layer is mounted.
    let elsewhere = format!("{registry}/other/app:1");
    dockerd.docker(&["tag", &image, &elsewhere])?.ok()?;
    let mounted = dockerd.docker(&["push", &elsewhere])?.ok()?;
    ensure!(mounted.contains("Mounted from team/app"), "{mounted}");

    dockerd.docker(&["logout", registry])?.ok()?;
    let refused = dockerd.docker(&["push", &image])?.failed()?;
    ensure!(refused.contains("authentication required") || refused.contains("denied"), "{refused}");
    dockerd.docker(&["pull", &image])?.failed()?;
    Ok(())
}

#[test]
fn docker_works_over_http_by_name_and_on_loopback() -> Result<()> {
    let Some(site) = Site::start(Scheme::Http)? else { return Ok(()) };
    let Some(dockerd) = Dockerd::start(&["--insecure-registry", NAME])? else { return Ok(()) };
    whole_life(&dockerd, NAME, &site.registry.password()?)?;
    drop(site);
    // No word about 127.0.0.1 was given to the daemon, and no URL to the registry.
    let registry = Registry::start(Options::default())?;
    whole_life(&dockerd, &registry.name(), &registry.password()?)
}

#[test]
fn docker_works_over_tls_with_a_private_authority() -> Result<()> {
    let Some(site) = Site::start(Scheme::Tls)? else { return Ok(()) };
    let Some(dockerd) = Dockerd::start(&[])? else { return Ok(()) };
    let password = site.registry.password()?;
    let distrusted = log_in(&dockerd, NAME, &password)?.failed()?;
    ensure!(distrusted.contains("x509"), "{distrusted}");

    let _trusted = TrustedAuthority::install(&site.registry.authority(), NAME)?;
    whole_life(&dockerd, NAME, &password)
}

#[test]
fn docker_speaks_to_a_registry_with_rules() -> Result<()> {
    let Some(dockerd) = Dockerd::start(&[])? else { return Ok(()) };
    let registry = Registry::start(Options::default())?;
    let (name, password) = (registry.name(), "a robot's secret");
    registry.add_account("robot", "ci", password)?;
    registry.add_rule("ci", "pull,push", "team/**")?;
    registry.add_rule("everyone", "pull", "team/public")?;
    let ours = format!("{name}/team/public:1");
    let theirs = format!("{name}/other/app:1");
    if !import(&dockerd, &ours, "for everyone")? {
        return Ok(());
    }
    dockerd.docker(&["tag", &ours, &theirs])?.ok()?;
    let mut login = dockerd.command(&["login", &name, "--username", "ci", "--password-stdin"]);
    run(&mut login, password.as_bytes())?.ok()?;
    dockerd.docker(&["push", &ours])?.ok()?;
    let denied = dockerd.docker(&["push", &theirs])?.failed()?;
    ensure!(denied.contains("denied"), "docker should say that it was denied: {denied}");

    dockerd.docker(&["logout", &name])?.ok()?;
    dockerd.docker(&["rmi", "--force", &ours, &theirs])?.ok()?;
    dockerd.docker(&["pull", &ours])?.ok()?;
    ensure!(greeting(&dockerd, &ours)? == "for everyone");
    // The daemon asked with its own words; nothing else can read what is not public.
    let login = Login { name: "ci", password };
    ensure!(registry.http().ask_for_token(Some(login), &["repository:team/public:pull"])?.status == 200);
    Ok(())
}
