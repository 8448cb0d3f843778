//! The builder as its user has it: from a Dockerfile to a container that docker runs, in a CI job, for an ordinary
//! user, and when something goes wrong.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slipway_tests::{
    BaseImage, Builder, Dockerd, Image, Options, OrdinaryUser, Registry, compare, program, run, skip, tool,
};
use tempfile::TempDir;

/// Several stages, users, and a layer of some megabytes that does not compress to nothing.
const DOCKERFILE: &str = "\
ARG BASE
FROM ${BASE} AS build
RUN seq 1 400000 > /numbers && echo built > /result && chown app:app /result
FROM ${BASE}
COPY --from=build /numbers /result /srv/
COPY --chown=app greeting /srv/
WORKDIR /srv
RUN cat greeting result > both && chmod 4750 both && id > who
USER app
RUN id > /tmp/who
CMD [\"sh\", \"-c\", \"cat greeting result; id -un\"]
";

/// A folder with `Dockerfile` and `greeting`.
fn context(dockerfile: &str) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("slipway-context-").tempdir()?;
    fs::write(folder.path().join("Dockerfile"), dockerfile)?;
    fs::write(folder.path().join("greeting"), "hello\n")?;
    Ok(folder)
}

/// A registry that lets everyone push, with a base image in it, and the `BASE=...` for a build.
fn registry_with_base() -> Result<Option<(Registry, String)>> {
    let Some(base) = BaseImage::new()? else { return Ok(None) };
    let registry = Registry::open_to_all()?;
    base.push(registry.http(), "base", "1")?;
    let argument = format!("BASE={}/base:1", registry.name());
    Ok(Some((registry, argument)))
}

#[test]
fn docker_runs_what_was_built_and_pushed() -> Result<()> {
    let Some((registry, base)) = registry_with_base()? else { return Ok(()) };
    let Some(dockerd) = Dockerd::start(&[])? else { return Ok(()) };
    if program("/usr/bin/skopeo").is_none() {
        skip("skopeo is not installed");
        return Ok(());
    }
    let (builder, context) = (Builder::new()?, context(DOCKERFILE)?);
    let image = format!("{}/team/app:1", registry.name());
    let archive = builder.home().join("app.tar");
    let docker_output = format!("type=docker,dest={}", archive.display());
    let layout = builder.home().join("app.oci.tar");
    let oci_output = format!("type=oci,dest={}", layout.display());
    let digest_file = builder.home().join("digest");
    let (to_file, outputs) =
        (digest_file.display().to_string(), ["type=registry", &docker_output, &oci_output]);
    let mut arguments = vec!["--build-arg", &base, "--tag", &image, "--digest-file", &to_file];
    arguments.extend(outputs.iter().flat_map(|output| ["--output", *output]));
    let built = builder.run("build", context.path(), &arguments)?;
    ensure!(built.stderr.contains(" mounted"), "the base's layers were not mounted: {}", built.stderr);
    built.ok()?;

    // The registry and the OCI archive hold one image.
    let digest = fs::read_to_string(digest_file)?;
    let (archived, pushed) = (format!("oci-archive:{}", layout.display()), format!("docker://{image}"));
    for place in [archived, pushed] {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &place]);
        let found = run(&mut skopeo, b"").context("skopeo is not installed")?.ok()?;
        ensure!(found.trim() == digest.trim(), "{place} has {found}");
    }
    let started = |image: &str| dockerd.docker(&["run", "--rm", "--network", "none", image])?.ok();
    ensure!(started(&image)? == "hello\nbuilt\napp\n", "docker ran something else");
    // The archive brings the same image without a registry.
    dockerd.docker(&["rmi", "--force", &image])?.ok()?;
    dockerd.docker(&["load", "--input", &archive.display().to_string()])?.ok()?;
    drop(registry);
    ensure!(started(&image)? == "hello\nbuilt\napp\n", "docker ran something else");
    Ok(())
}

#[test]
fn a_ci_job_pushes_three_tags_of_one_digest() -> Result<()> {
    let Some(crane) = tool("crane") else {
        skip("crane is not installed: cargo xtask fixtures");
        return Ok(());
    };
    let registry = Registry::start(Options::default())?;
    let (name, password) = (registry.name(), "glcbt-64_a-job-token");
    registry.add_account("robot", "gitlab-ci-token", password)?;
    registry.add_rule("gitlab-ci-token", "pull,push", "root/hichat")?;
    let (builder, context) = (Builder::new()?, context("FROM scratch\nCOPY greeting /\n")?);
    let metadata_file = builder.home().join("metadata.json");
    let digest_file = builder.home().join("digest");
    let push = |context: &Path, password: &str| -> Result<slipway_tests::Finished> {
        let (metadata, digest) = (metadata_file.display().to_string(), digest_file.display().to_string());
        let arguments = ["--tags", "--metadata-file", &metadata, "--digest-file", &digest];
        let mut command = builder.command("push", context, &arguments);
        command.env("GITLAB_CI", "true").env("CI", "true");
        for (variable, value) in [
            ("CI_REGISTRY", name.as_str()),
            ("CI_REGISTRY_IMAGE", &format!("{name}/root/hichat")),
            ("CI_REGISTRY_USER", "gitlab-ci-token"),
            ("CI_REGISTRY_PASSWORD", password),
            ("CI_COMMIT_REF_NAME", "Master"),
            ("CI_COMMIT_REF_SLUG", "master"),
            ("CI_COMMIT_BRANCH", "Master"),
            ("CI_DEFAULT_BRANCH", "Master"),
            ("CI_COMMIT_SHA", "7c0b86212345678901234567890123456789abcd"),
            ("CI_COMMIT_SHORT_SHA", "7c0b8621"),
            ("CI_COMMIT_TIMESTAMP", "2026-11-24T10:00:00+01:00"),
            ("CI_PROJECT_URL", "http://gitlab.iceymoss/root/hichat"),
        ] {
            command.env(variable, value);
        }
        run(&mut command, b"")
    };
    let pushed = push(context.path(), password)?;
    let told = format!("{}{}", pushed.stdout, pushed.stderr);
    pushed.ok()?;
    ensure!(!told.contains(password), "the password is in the log");

    let mut command = Command::new(&crane);
    command.env("DOCKER_CONFIG", builder.home().join("crane"));
    command.args(["auth", "login", &name, "--username", "gitlab-ci-token", "--password-stdin"]);
    run(&mut command, password.as_bytes())?.ok()?;
    let asked = |arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(&crane);
        let said =
            run(command.env("DOCKER_CONFIG", builder.home().join("crane")).args(arguments), b"")?.ok()?;
        Ok(said.trim().to_owned())
    };
    let digest = fs::read_to_string(&digest_file)?;
    let digest = digest.trim();
    for tag in ["master", "latest", "7c0b8621"] {
        let found = asked(&["digest", &format!("{name}/root/hichat:{tag}")])?;
        ensure!(found == digest, "{tag} is {found}, not {digest}");
        ensure!(told.contains(&format!("{name}/root/hichat:{tag}")), "{tag} is not in {told}");
    }
    ensure!(asked(&["ls", &format!("{name}/root/hichat")])?.lines().count() == 3, "another tag was pushed");
    let metadata: Value = serde_json::from_slice(&fs::read(&metadata_file)?)?;
    ensure!(metadata["containerimage.digest"] == digest, "{metadata}");
    let config: Value = serde_json::from_str(&asked(&["config", &format!("{name}/root/hichat:latest")])?)?;
    let label = &config["config"]["Labels"]["org.opencontainers.image.revision"];
    ensure!(label == "7c0b86212345678901234567890123456789abcd", "{config}");

    // The job run again gives the same image, and a wrong password gives none.
    push(context.path(), password)?.ok()?;
    ensure!(fs::read_to_string(&digest_file)?.trim() == digest, "the job run again gave another image");
    fs::write(context.path().join("greeting"), "changed\n")?;
    let refused = push(context.path(), "wrong")?.failed()?;
    ensure!(refused.contains(&name) && !refused.contains("panicked"), "{refused}");
    ensure!(
        asked(&["digest", &format!("{name}/root/hichat:latest")])? == digest,
        "a refused push moved a tag"
    );
    Ok(())
}

/// Builds into a fresh store, or a given one, and gives the digest.
fn digest_of(
    builder: &Builder,
    context: &Path,
    base: &str,
    threads: &str,
    epoch: Option<&str>,
) -> Result<String> {
    let digest_file = builder.home().join("digest");
    let file = digest_file.display().to_string();
    let arguments = ["--build-arg", base, "--threads", threads, "--digest-file", &file];
    let mut command = builder.command("build", context, &arguments);
    if let Some(epoch) = epoch {
        command.env("SOURCE_DATE_EPOCH", epoch);
    }
    run(&mut command, b"")?.ok()?;
    Ok(fs::read_to_string(digest_file)?)
}

#[test]
fn the_same_build_gives_the_same_digest() -> Result<()> {
    let Some((_registry, base)) = registry_with_base()? else { return Ok(()) };
    let epoch = Some("1700000000");
    let (first, first_context) = (Builder::new()?, context(DOCKERFILE)?);
    let digest = digest_of(&first, first_context.path(), &base, "1", epoch)?;
    // Another store, another checkout at another time, another number of threads.
    let (second, second_context) = (Builder::new()?, context(DOCKERFILE)?);
    ensure!(
        digest == digest_of(&second, second_context.path(), &base, "2", epoch)?,
        "two digests with an epoch"
    );
    let other = context(&DOCKERFILE.replace("echo built", "echo rebuilt"))?;
    ensure!(digest != digest_of(&second, other.path(), &base, "2", epoch)?, "another file, the same digest");

    // Without an epoch an image has the times at which its steps were executed: once.
    let third = Builder::new()?;
    let digest = digest_of(&third, first_context.path(), &base, "1", None)?;
    ensure!(digest == digest_of(&third, first_context.path(), &base, "2", None)?, "two digests of one store");
    Ok(())
}

#[test]
fn a_named_local_image_is_a_base_without_any_registry() -> Result<()> {
    let Some((registry, base)) = registry_with_base()? else { return Ok(()) };
    let builder = Builder::new()?;
    let parent = context("ARG BASE\nFROM ${BASE}\nRUN echo parent > /parent\nENV OF=parent\n")?;
    let arguments = ["--build-arg", &base, "--tag", "registry.invalid/team/parent:1"];
    builder.run("build", parent.path(), &arguments)?.ok()?;
    let child = context(
        "FROM registry.invalid/team/parent:1\nRUN [ \"$OF\" = parent ] && cat /parent\n\
         COPY --from=registry.invalid/team/parent:1 /parent /copied\n",
    )?;
    let image = format!("{}/team/child:1", registry.name());
    builder.run("push", child.path(), &["--tag", &image])?.ok()?;
    let image = Image::pull(registry.http(), "team/child", "1")?;
    ensure!(image.tree()?.get(b"copied").is_some() && image.layers.len() == 5, "{}", image.manifest);
    let missing = context("FROM registry.invalid/team/other:1\n")?;
    let said = builder.run("build", missing.path(), &[])?.failed()?;
    ensure!(said.contains("Dockerfile:1") && said.contains("registry.invalid/team/other:1"), "{said}");
    Ok(())
}

#[test]
fn an_ordinary_user_builds_the_same_files_as_root() -> Result<()> {
    let Some((registry, base)) = registry_with_base()? else { return Ok(()) };
    let Some(user) = OrdinaryUser::new()? else { return Ok(()) };
    let context = context(DOCKERFILE)?;
    let image = |who: &str| format!("{}/team/{who}:1", registry.name());
    let arguments = ["--build-arg", &base, "--tag", &image("root")];
    Builder::new()?.run("push", context.path(), &arguments)?.ok()?;

    let own_context = user.home().join("context");
    run(Command::new("cp").arg("--recursive").arg(context.path()).arg(&own_context), b"")?.ok()?;
    run(Command::new("chmod").arg("755").arg(&own_context), b"")?.ok()?;
    let mut command = user.command();
    command.args(["builder", "push", "--progress", "plain", "--build-arg", &base, "--tag", &image("user")]);
    run(command.arg(&own_context), b"")?.ok()?;
    let pull = |who: &str| Image::pull(registry.http(), &format!("team/{who}"), "1");
    let differences = compare(&pull("user")?, &pull("root")?)?;
    ensure!(differences.is_empty(), "{differences:#?}");
    Ok(())
}

/// What a malformed or refused Dockerfile is answered with: its line, and words of the message.
const MALFORMED: &[(&str, &str, &[&str])] = &[
    ("FROM scratch\nCOPY --chwon=1 a b\n", ":2:", &["--chwon", "^^^^", "--chown"]),
    ("FROM scratch\nRUNN true\n", ":2:", &["RUNN", "^^^^", "RUN"]),
    ("RUN true\n", ":1:", &["FROM", "^^^"]),
    ("FROM scratch\n\n# x\nENV\n", ":4:", &["ENV", "^^^"]),
    ("FROM scratch\nCOPY <<END /x\nno end\n", ":2:", &["END", "^^^"]),
    ("FROM scratch\nHEALTHCHECK --interval=1x CMD true\n", ":2:", &["1x", "^^"]),
    ("FROM scratch\nEXPOSE 99999\n", ":2:", &["99999", "^^^^^"]),
    ("FROM scratch\nCMD [\"unclosed]\n SHELL x\nSHELL x\n", ":", &["SHELL", "^"]),
    ("FROM scratch AS a\nCOPY --from=a x y\n", ":2:", &["a", "^"]),
    ("FROM scratch\nENV a=${b:?must be set}\n", ":2:", &["must be set", "^"]),
    ("FROM scratch\nRUN --mount=type=cache,target=/x true\n", ":2:", &["--mount", "^^^"]),
    ("FROM scratch\nRUN --network=none true\n", ":2:", &["--network", "^^^"]),
    ("FROM scratch\nRUN --security=insecure true\n", ":2:", &["--security", "^^^"]),
    ("FROM scratch\nCOPY --link greeting /\n", ":2:", &["--link", "^^^"]),
    ("FROM scratch\nCOPY --parents greeting /\n", ":2:", &["--parents", "^^^"]),
    ("FROM scratch\nCOPY --exclude=x greeting /\n", ":2:", &["--exclude", "^^^"]),
    ("FROM scratch\nADD https://example.com/x /\n", ":2:", &["URL", "^^^"]),
    ("FROM scratch\nADD https://example.com/x.git /\n", ":2:", &["Git", "^^^"]),
];

#[test]
fn malformed_and_refused_dockerfiles_are_told_by_line_and_place() -> Result<()> {
    let builder = Builder::new()?;
    for (dockerfile, line, words) in MALFORMED {
        let context = context(dockerfile)?;
        let finished = builder.run("build", context.path(), &[])?;
        let (code, said) = (finished.code, finished.failed()?);
        ensure!(code == Some(2), "exit code {code:?} for {dockerfile:?}:\n{said}");
        for word in [&["Dockerfile", line], *words].concat() {
            ensure!(said.contains(word), "{word:?} is missing for {dockerfile:?}:\n{said}");
        }
    }
    Ok(())
}

#[test]
fn a_failing_step_tells_its_line_its_code_and_its_last_words() -> Result<()> {
    let Some((_registry, base)) = registry_with_base()? else { return Ok(()) };
    let builder = Builder::new()?;
    let cases: [(&str, &str, &[&str]); 4] = [
        ("RUN echo last words >&2; exit 37", "Dockerfile:3", &["37", "last words"]),
        ("RUN [\"/missing/program\"]", "Dockerfile:3", &["/missing/program"]),
        ("RUN kill -9 $$", "Dockerfile:3", &["9"]),
        ("COPY absent /", "Dockerfile:3", &["absent", "does not exist"]),
    ];
    for (instruction, line, words) in cases {
        let context = context(&format!("ARG BASE\nFROM ${{BASE}}\n{instruction}\nRUN echo not reached\n"))?;
        let finished = builder.run("build", context.path(), &["--build-arg", &base])?;
        let (code, said) = (finished.code, finished.failed()?);
        let message = said.rsplit("slipway: ").next().unwrap_or_default();
        ensure!(code == Some(1), "exit code {code:?} for {instruction}:\n{said}");
        for word in [&[line], words].concat() {
            ensure!(message.contains(word), "{word:?} is missing for {instruction}:\n{said}");
        }
        ensure!(!said.contains("not reached\n["), "a later step ran:\n{said}");
    }
    Ok(())
}

/// Processes whose command line holds `words`.
fn processes(words: &str) -> Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        found += usize::from(String::from_utf8_lossy(&line).replace('\0', " ").contains(words));
    }
    Ok(found)
}

#[test]
fn an_interrupted_build_leaves_no_process_no_mount_and_a_good_store() -> Result<()> {
    let Some((_registry, base)) = registry_with_base()? else { return Ok(()) };
    let builder = Builder::new()?;
    // A terminal sends SIGINT to all processes of the job at once, a supervisor SIGTERM to the first one.
    for (signal, to, seconds) in [("INT", "-", 73_101), ("TERM", "", 73_102)] {
        let sleep = format!("sleep {seconds}");
        let dockerfile =
            format!("ARG BASE\nFROM ${{BASE}}\nRUN echo {signal} > /done\nRUN echo now sleeping; {sleep}\n");
        let context = context(&dockerfile)?;
        let mut child = builder
            .command("build", context.path(), &["--build-arg", &base])
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("there is a pipe")?).lines();
        let sleeping = lines.by_ref().map_while(Result::ok).any(|line| line.ends_with("| now sleeping"));
        ensure!(sleeping, "the build ended before its step slept");
        let begun = Instant::now();
        let processes_to_end = format!("{to}{}", child.id());
        run(Command::new("/bin/kill").args(["-s", signal, "--", &processes_to_end]), b"")?.ok()?;
        let said: Vec<String> = lines.map_while(Result::ok).collect();
        let status = child.wait()?;
        ensure!(!status.success() && begun.elapsed() < Duration::from_secs(20), "{status}, {said:?}");
        ensure!(said.iter().any(|line| line.contains("cancelled")), "{said:?}");
        ensure!(processes(&sleep)? == 0, "the step runs on");
        let store = builder.home().display().to_string();
        ensure!(!fs::read_to_string("/proc/self/mounts")?.contains(&store), "a mount is left");
        // What was done before is kept, and the store builds on.
        let shorter = dockerfile.replace(&sleep, "sleep 0");
        fs::write(context.path().join("Dockerfile"), shorter)?;
        let finished = builder.run("build", context.path(), &["--build-arg", &base])?;
        let told = finished.stderr.clone();
        finished.ok()?;
        ensure!(told.contains("cached"), "{told}");
    }
    Ok(())
}
