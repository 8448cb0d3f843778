//! The chain that the product is for: built without a daemon, pushed as a CI job does, pulled and run by Docker.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use serde_json::Value;
use slipway_tests::{Builder, Dockerd, Finished, NAME, Scheme, Site, TrustedAuthority, busybox, run};

const DOCKERFILE: &str = r#"
FROM scratch AS work
COPY busybox /bin/busybox
SHELL ["/bin/busybox", "sh", "-c"]
ARG WHO=nobody
RUN /bin/busybox mkdir /out && echo "built for $WHO" >/out/greeting

FROM scratch
COPY busybox /bin/busybox
COPY --from=work --chown=1000:1000 /out/greeting /greeting
USER 1000:1000
ENTRYPOINT ["/bin/busybox"]
CMD ["cat", "/greeting"]
"#;
const PASSWORD: &str = "the job's password";

/// A project with its CI job.
struct Job {
    site: Site,
    builder: Builder,
    context: PathBuf,
}

impl Job {
    fn new(scheme: Scheme, busybox: &[u8]) -> Result<Option<Self>> {
        let Some(site) = Site::start(scheme)? else { return Ok(None) };
        site.registry.add_account("robot", "ci", PASSWORD)?;
        site.registry.add_rule("ci", "pull,push", "root/**")?;
        let builder = Builder::new()?;
        let context = builder.home().join("context");
        fs::create_dir(&context)?;
        fs::write(context.join("busybox"), busybox)?;
        fs::set_permissions(context.join("busybox"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        fs::write(context.join("Dockerfile"), DOCKERFILE)?;
        Ok(Some(Self { site, builder, context }))
    }

    /// `builder push`, in the environment that a GitLab runner makes.
    fn push(&self, password: &str, arguments: &[&str]) -> Result<Finished> {
        let mut command: Command = self.builder.command("push", &self.context, arguments);
        match self.site.scheme {
            Scheme::Http => command.args(["--insecure-registry", NAME]),
            Scheme::Tls => command.arg("--ca-file").arg(self.site.registry.authority()),
        };
        command.envs([
            ("CI", "true"),
            ("GITLAB_CI", "true"),
            ("CI_REGISTRY", NAME),
            ("CI_REGISTRY_IMAGE", "gitlab.iceymoss:5050/root/app"),
            ("CI_REGISTRY_USER", "ci"),
            ("CI_REGISTRY_PASSWORD", password),
            ("CI_COMMIT_BRANCH", "main"),
            ("CI_COMMIT_REF_SLUG", "main"),
            ("CI_DEFAULT_BRANCH", "main"),
            ("CI_COMMIT_SHA", "0123456789abcdef0123456789abcdef01234567"),
            ("CI_COMMIT_SHORT_SHA", "01234567"),
        ]);
        run(&mut command, b"")
    }
}

fn from_dockerfile_to_container(scheme: Scheme) -> Result<()> {
    let Some(busybox) = busybox() else { return Ok(()) };
    let Some(job) = Job::new(scheme, &busybox)? else { return Ok(()) };
    let daemon: &[&str] = match scheme {
        Scheme::Http => &["--insecure-registry", NAME],
        Scheme::Tls => &[],
    };
    let Some(dockerd) = Dockerd::start(daemon)? else { return Ok(()) };
    let _trusted = match scheme {
        Scheme::Http => None,
        Scheme::Tls => Some(TrustedAuthority::install(&job.site.registry.authority(), NAME)?),
    };

    let metadata = job.builder.home().join("metadata.json").display().to_string();
    let digest_file = job.builder.home().join("digest").display().to_string();
    let options =
        ["--tags", "--build-arg", "WHO=docker", "--metadata-file", &metadata, "--digest-file", &digest_file];
    let pushed = job.push(PASSWORD, &options)?.ok()?;
    let digest = fs::read_to_string(&digest_file)?.trim().to_owned();
    let written: Value = serde_json::from_str(&fs::read_to_string(&metadata)?)?;
    ensure!(written["containerimage.digest"] == digest, "{written}");
    for tag in ["main", "latest", "01234567"] {
        ensure!(pushed.contains(&format!("root/app:{tag}")) && pushed.contains(&digest), "{pushed}");
    }

    let mut login = dockerd.command(&["login", NAME, "--username", "ci", "--password-stdin"]);
    run(&mut login, PASSWORD.as_bytes())?.ok()?;
    for tag in ["main", "latest", "01234567"] {
        let image = job.site.image(&format!("root/app:{tag}"));
        let pulled = dockerd.docker(&["pull", &image])?.ok()?;
        ensure!(pulled.contains(&digest), "{tag} is not {digest}: {pulled}");
    }
    let image = job.site.image("root/app:main");
    let contained = |arguments: &[&str]| {
        dockerd.docker(&[&["run", "--rm", "--network", "none", image.as_str()], arguments].concat())?.ok()
    };
    ensure!(contained(&[])? == "built for docker\n");
    ensure!(contained(&["id", "-u"])? == "1000\n");
    ensure!(contained(&["stat", "-c", "%u:%g %a", "/greeting"])? == "1000:1000 644\n");

    // The same again is the same, without a byte sent.
    let before = uploads(&job.site);
    job.push(PASSWORD, &options)?.ok()?;
    ensure!(fs::read_to_string(&digest_file)?.trim() == digest, "the same build has another digest");
    ensure!(uploads(&job.site) == before, "blobs that the registry has were sent again");

    // Upon an image of the registry, in another repository: its layers are mounted.
    fs::write(job.context.join("Dockerfile"), format!("FROM {image}\nENV MORE=more\nCMD [\"env\"]\n"))?;
    let child = job.site.image("root/child:1");
    job.push(PASSWORD, &["--tag", &child])?.ok()?;
    dockerd.docker(&["pull", &child])?.ok()?;
    let said = dockerd.docker(&["run", "--rm", "--network", "none", &child])?.ok()?;
    ensure!(said.contains("MORE=more"), "{said}");
    Ok(())
}

/// Requests that brought bytes of a blob.
fn uploads(site: &Site) -> usize {
    let log = site.registry.log();
    log.lines()
        .filter(|line| line.contains("method=PATCH") || line.contains("method=PUT route=\"upload\""))
        .count()
}

#[test]
fn a_dockerfile_becomes_a_running_container_over_http() -> Result<()> {
    from_dockerfile_to_container(Scheme::Http)
}

#[test]
fn a_dockerfile_becomes_a_running_container_over_tls() -> Result<()> {
    from_dockerfile_to_container(Scheme::Tls)
}

#[test]
fn what_the_registry_refuses_ends_with_3() -> Result<()> {
    let Some(busybox) = busybox() else { return Ok(()) };
    let Some(job) = Job::new(Scheme::Http, &busybox)? else { return Ok(()) };
    let elsewhere = job.push(PASSWORD, &["--tag", &job.site.image("other/app:1")])?;
    ensure!(elsewhere.stderr.contains("other/app"), "{elsewhere:?}");
    let wrong = job.push("not the password", &["--tags"])?;
    ensure!(wrong.stderr.contains(NAME) && !wrong.stderr.contains("not the password"), "{wrong:?}");
    ensure!((elsewhere.code, wrong.code) == (Some(3), Some(3)), "{elsewhere:?}\n{wrong:?}");
    Ok(())
}

#[test]
fn a_registry_without_tls_is_used_only_when_that_is_allowed() -> Result<()> {
    let Some(site) = Site::start(Scheme::Http)? else { return Ok(()) };
    let builder = Builder::new()?;
    let context = builder.home().join("context");
    fs::create_dir(&context)?;
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY file /file\n")?;
    fs::write(context.join("file"), "content")?;
    let image = site.image("root/app:1");
    let refused = builder.run("push", &context, &["--tag", &image])?;
    ensure!(matches!(refused.code, Some(1 | 2)), "{refused:?}");
    ensure!(refused.stderr.contains("--insecure-registry"), "the mend is not named: {refused:?}");
    ensure!(!site.registry.log().contains("method=POST"), "credentials or bytes went over plain HTTP");
    Ok(())
}
