//! `slipway image` against registries, layouts and archives, with skopeo, crane and regctl as second opinions.

mod docker;
mod interrupted;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use registry_types::Digest;
use serde_json::{Value, json};
use slipway_tests::{Finished, Layout, Options, Registry, binary, program, run, skip, tool};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    // No logins but those that a test gives.
    command
        .args(["image"])
        .args(arguments)
        .env("HOME", "/nonexistent")
        .env_remove("DOCKER_CONFIG")
        .env_remove("REGISTRY_AUTH_FILE")
        .env_remove("XDG_RUNTIME_DIR");
    command
}

fn image(arguments: &[&str]) -> Result<Finished> {
    run(&mut command(arguments), b"")
}

fn image_json(arguments: &[&str]) -> Result<Value> {
    let text = image(&[arguments, &["--output", "json"]].concat())?.ok()?;
    serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
}

/// A client of somebody else; `None`, with the reason told, where it is not installed.
fn other(name: &str, arguments: &[&str]) -> Result<Option<Finished>> {
    let found = if name.starts_with('/') { program(name).map(Path::to_owned) } else { tool(name) };
    match found {
        Some(path) => run(Command::new(path).args(arguments), b"").map(Some),
        None => {
            skip(&format!("{name} is not installed"));
            Ok(None)
        }
    }
}

/// The digest that crane sees under a name.
fn same_digest_for_crane(name: &str, digest: &Digest) -> Result<()> {
    if let Some(seen) = other("crane", &["--insecure", "digest", name])? {
        ensure!(seen.ok()?.trim() == digest.to_string(), "crane sees another digest under {name}");
    }
    Ok(())
}

/// Pushes an artifact that refers to `subject`, and gives its digest.
fn attach(
    registry: &Registry,
    repository: &str,
    subject: &Digest,
    size: usize,
    kind: &str,
) -> Result<Digest> {
    let server = registry.http();
    let config = server.push_blob(repository, b"{}")?;
    let content = kind.as_bytes();
    let layer = server.push_blob(repository, content)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "text/plain", "digest": layer, "size": content.len() }],
        "subject": { "mediaType": MANIFEST, "digest": subject, "size": size },
    })
    .to_string();
    let digest = Digest::sha256(manifest.as_bytes());
    server.put_manifest(repository, &digest.to_string(), manifest.as_bytes())?.expect(201)?;
    Ok(digest)
}

/// Upload sessions in the registry's log; a mount needs none.
fn uploads(registry: &Registry) -> usize {
    let log = registry.log();
    let opened = |line: &&str| line.contains("route=\"uploads\"") && line.contains("status=202");
    log.lines().filter(opened).count()
}

#[test]
fn within_a_registry_layers_are_mounted_and_between_two_copied_once() -> Result<()> {
    let (first, second) = (Registry::open_to_all()?, Registry::open_to_all()?);
    let layout = Layout::sample("copied")?;
    layout.push(first.http(), "team/app", "1")?;
    let from = format!("{}/team/app:1", first.name());

    let before = uploads(&first);
    let mounted = format!("{}/other/app:2", first.name());
    let report = image_json(&["copy", &from, &mounted])?;
    ensure!(report["images"][0]["blobs"] == json!({"copied": 0, "mounted": 2, "existed": 0}), "{report}");
    ensure!(uploads(&first) == before, "bytes travelled where a mount was enough");
    same_digest_for_crane(&mounted, &layout.manifest)?;

    let to = format!("{}/kept/app:1", second.name());
    let report = image_json(&["copy", &from, &to])?;
    ensure!(report["images"][0]["blobs"] == json!({"copied": 2, "mounted": 0, "existed": 0}), "{report}");
    ensure!(report["images"][0]["digest"] == layout.manifest.to_string(), "{report}");
    same_digest_for_crane(&to, &layout.manifest)?;
    if let Some(valid) = other("crane", &["--insecure", "validate", "--remote", &to])? {
        valid.ok()?;
    }
    ensure!(uploads(&second) == 2, "two blobs were copied");
    let report = image_json(&["copy", &from, &to])?;
    ensure!(report["images"][0]["blobs"] == json!({"copied": 0, "mounted": 0, "existed": 2}), "{report}");
    ensure!(uploads(&second) == 2, "what was there was sent again");
    // A copy tells what it does on standard error, line by line where that is no terminal.
    let told = image(&["copy", &from, &format!("{}/told/app:1", second.name())])?;
    ensure!(told.stderr.contains("mounted") || told.stderr.contains("copied in"), "{}", told.stderr);
    ensure!(told.stdout.contains(&layout.manifest.to_string()), "{}", told.stdout);
    Ok(())
}

#[test]
fn an_index_and_all_that_refers_to_it_are_copied() -> Result<()> {
    let (first, second) = (Registry::open_to_all()?, Registry::open_to_all()?);
    let (amd64, arm64) = (Layout::new(&[("a", b"amd64")])?, Layout::new(&[("a", b"arm64")])?);
    let mut entries = Vec::new();
    for (layout, architecture) in [(&amd64, "amd64"), (&arm64, "arm64")] {
        layout.push(first.http(), "team/app", architecture)?;
        let size = layout.read(&layout.manifest)?.len();
        entries.push(json!({
            "mediaType": MANIFEST, "digest": layout.manifest, "size": size,
            "platform": { "os": "linux", "architecture": architecture },
        }));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries }).to_string();
    let digest = Digest::sha256(index.as_bytes());
    let path = "/v2/team/app/manifests/v1";
    first.http().request("PUT", path, &[("Content-Type", kind)], index.as_bytes())?.expect(201)?;
    let sbom = attach(&first, "team/app", &digest, index.len(), "application/vnd.example.sbom")?;
    let signature = attach(&first, "team/app", &sbom, 1, "application/vnd.example.signature")?;
    let child = attach(&first, "team/app", &amd64.manifest, 1, "application/vnd.example.child")?;
    let from = format!("{}/team/app:v1", first.name());

    let to = format!("{}/team/app:v1", second.name());
    let report = image_json(&["copy", &from, &to, "--referrers"])?;
    ensure!(report["images"][0]["referrers"] == 3, "{report}");
    same_digest_for_crane(&to, &digest)?;
    for (subject, referrer) in [(digest, sbom), (sbom, signature), (amd64.manifest, child)] {
        let listed = second.http().get(&format!("/v2/team/app/referrers/{subject}"))?.expect(200)?.json()?;
        ensure!(listed["manifests"][0]["digest"] == referrer.to_string(), "{listed}");
    }
    if let Some(listed) =
        other("regctl", &["--host", &format!("reg={},tls=disabled", second.name()), "artifact", "list", &to])?
    {
        let listed = listed.ok()?;
        ensure!(listed.contains("application/vnd.example.sbom"), "{listed}");
    }
    let tree = image(&["referrers", &to])?.ok()?;
    ensure!(tree.contains("└── application/vnd.example.sbom"), "{tree}");
    ensure!(tree.contains("    └── application/vnd.example.signature"), "{tree}");
    let kind = ["--artifact-type", "application/vnd.example.child"];
    let of_platform = ["referrers", &to, "--platform", "linux/amd64"];
    let listed = image_json(&[&of_platform[..], &kind].concat())?;
    ensure!(listed["referrers"][0]["digest"] == child.to_string(), "{listed}");
    ensure!(image_json(&[&["referrers", &to][..], &kind].concat())?["referrers"] == json!([]));

    // One platform alone.
    let alone = format!("{}/alone/app:v1", second.name());
    image(&["copy", &from, &alone, "--platform", "linux/arm64"])?.ok()?;
    same_digest_for_crane(&alone, &arm64.manifest)?;
    let missing = image(&["copy", &from, &alone, "--platform", "linux/s390x"])?;
    ensure!(missing.code == Some(4) && missing.stderr.contains("linux/amd64, linux/arm64"), "{missing:?}");

    // What it says about the index.
    let shown = image(&["inspect", &to])?.ok()?;
    ensure!(shown.contains("linux/arm64") && shown.contains(&arm64.manifest.to_string()), "{shown}");
    let shown = image_json(&["inspect", &to])?;
    ensure!(shown["platforms"] == json!(["linux/amd64", "linux/arm64"]), "{shown}");
    ensure!(shown["manifests"][1]["image"]["layers"][0]["digest"] == arm64.layer.to_string(), "{shown}");
    ensure!(image(&["inspect", &to, "--raw"])?.ok()? == index);
    let raw = image(&["inspect", &to, "--raw", "--platform", "linux/arm64"])?.ok()?;
    ensure!(raw.as_bytes() == arm64.read(&arm64.manifest)?);
    Ok(())
}

#[test]
fn layouts_and_archives_go_both_ways_with_skopeo() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let layout = Layout::sample("archived")?;
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name).display().to_string();
    let from = format!("{}/team/app:1", registry.name());
    // In: the layout that the tests make.
    image(&["copy", &layout.transport(), &from])?.ok()?;
    same_digest_for_crane(&from, &layout.manifest)?;

    let ours = [
        format!("oci:{}", place("layout")),
        format!("oci-archive:{}", place("oci.tar")),
        format!("docker-archive:{}", place("docker.tar")),
    ];
    for target in &ours {
        let report = image_json(&["copy", &from, target])?;
        ensure!(report["images"][0]["digest"] == layout.manifest.to_string(), "{report}");
        let back = format!("{}/back/app:1", registry.name());
        let report = image_json(&["copy", target, &back])?;
        ensure!(report["images"][0]["digest"] == layout.manifest.to_string(), "{report}");
        image(&["rm", &back])?.ok()?;
        let Some(seen) = other("/usr/bin/skopeo", &["inspect", "--raw", target])? else { continue };
        if target.starts_with("docker") {
            // skopeo makes a manifest of its own for such an archive; the configuration is the same.
            ensure!(seen.ok()?.contains(&layout.config.to_string()));
        } else {
            ensure!(seen.ok()?.as_bytes() == layout.read(&layout.manifest)?);
        }
    }
    // A pipe of two of ours, the archive between them on standard output and input.
    let piped = format!("{}/piped/app:1", registry.name());
    let mut writer = command(&["copy", &from, "oci-archive:-"]);
    let mut writer = writer.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = writer.stdout.take().context("a pipe")?;
    let reader = command(&["copy", "oci-archive:-", &piped]).stdin(output).stderr(Stdio::null()).status()?;
    ensure!(writer.wait()?.success() && reader.success());
    same_digest_for_crane(&piped, &layout.manifest)?;

    // And what skopeo writes is read.
    let source = format!("docker://{from}");
    for (kind, file) in [("oci-archive", "skopeo-oci.tar"), ("docker-archive", "skopeo-docker.tar")] {
        let theirs = format!("{kind}:{}:h.test/app:1", place(file));
        let copy = ["copy", "--src-tls-verify=false", &source, &theirs];
        let Some(written) = other("/usr/bin/skopeo", &copy)? else { return Ok(()) };
        written.ok()?;
        let to = format!("{}/theirs/app:{kind}", registry.name());
        image(&["copy", &format!("{kind}:{}", place(file)), &to])?.ok()?;
        let shown = image_json(&["inspect", &to])?;
        ensure!(shown["config"]["descriptor"]["digest"] == layout.config.to_string(), "{shown}");
        // crane takes no layers that are not compressed; skopeo checks each digest on its way.
        let back = format!("dir:{}", place(&format!("back-{kind}")));
        let copy = ["copy", "--src-tls-verify=false", &format!("docker://{to}"), &back];
        other("/usr/bin/skopeo", &copy)?.context("skopeo is gone")?.ok()?;
    }
    Ok(())
}

#[test]
fn a_repository_is_copied_by_its_tags() -> Result<()> {
    let (first, second) = (Registry::open_to_all()?, Registry::open_to_all()?);
    let images =
        ["v1", "v2", "latest"].map(|tag| Layout::new(&[("tag", tag.as_bytes())]).map(|image| (tag, image)));
    let mut digests = Vec::new();
    for made in images {
        let (tag, layout) = made?;
        layout.push(first.http(), "team/app", tag)?;
        digests.push((tag, layout.manifest));
    }
    let from = format!("{}/team/app", first.name());
    let to = format!("{}/kept/app", second.name());
    let report = image_json(&["copy", &from, &to, "--tags-matching", "v*"])?;
    ensure!(report["images"].as_array().map(Vec::len) == Some(2), "{report}");
    ensure!(image(&["tags", &to])?.ok()? == "v1\nv2\n");
    for (tag, digest) in &digests[..2] {
        same_digest_for_crane(&format!("{to}:{tag}"), digest)?;
    }
    let folder = tempfile::tempdir()?;
    let layout = format!("oci:{}", folder.path().join("all").display());
    image(&["copy", &from, &layout, "--tags-matching", "*"])?.ok()?;
    ensure!(image(&["tags", &layout])?.ok()?.lines().count() == 3);
    let back = format!("{}/back/app", second.name());
    image(&["copy", &layout, &back, "--tags-matching", "*t"])?.ok()?;
    ensure!(image(&["tags", &back])?.ok()? == "latest\n");
    same_digest_for_crane(&format!("{back}:latest"), &digests[2].1)?;

    // One that cannot be copied whole keeps none of the others back, and is told.
    let entry = json!({ "mediaType": MANIFEST, "digest": Digest::sha256(b"gone"), "size": 4 });
    let kind = "application/vnd.oci.image.index.v1+json";
    let sparse = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [entry] }).to_string();
    let path = "/v2/team/app/manifests/a-sparse";
    first.http().request("PUT", path, &[("Content-Type", kind)], sparse.as_bytes())?.expect(201)?;
    let partly = format!("{}/partly/app", second.name());
    let copied = image(&["copy", &from, &partly, "--tags-matching", "*", "--output", "json"])?;
    ensure!(copied.code == Some(4) && copied.stderr.contains("1 of 4 images failed"), "{copied:?}");
    let report: Value = serde_json::from_str(&copied.stdout)?;
    ensure!(report["failed"][0]["source"] == format!("{from}:a-sparse"), "{report}");
    ensure!(image(&["tags", &partly])?.ok()? == "latest\nv1\nv2\n");

    let none = image(&["copy", &from, &to, "--tags-matching", "x*"])?;
    ensure!(none.code == Some(4) && none.stderr.contains("x*"), "{none:?}");
    let wrong = image(&["copy", &format!("{from}:v1"), &to, "--tags-matching", "*"])?;
    ensure!(wrong.code == Some(2), "{wrong:?}");
    Ok(())
}

#[test]
fn lists_tags_and_removals_say_what_is_there() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let layout = Layout::sample("listed")?;
    layout.push(registry.http(), "team/app", "1")?;
    layout.push(registry.http(), "teamwork/app", "1")?;
    let repository = format!("{}/team/app", registry.name());
    let name = |tag: &str| format!("{repository}:{tag}");
    ensure!(image(&["ls", &registry.name()])?.ok()?.lines().count() == 2);
    ensure!(image(&["ls", &format!("{}/team", registry.name())])?.ok()? == format!("{repository}\n"));
    ensure!(image_json(&["ls", &registry.name()])? == json!(["team/app", "teamwork/app"]));

    let tagged = image(&["tag", &name("1"), "latest", "v1"])?.ok()?;
    ensure!(tagged.contains(&name("v1")) && tagged.contains(&layout.manifest.to_string()), "{tagged}");
    same_digest_for_crane(&name("v1"), &layout.manifest)?;
    ensure!(image(&["tags", &repository])?.ok()? == "1\nlatest\nv1\n");
    let detail = image_json(&["tags", &repository, "--detail"])?;
    ensure!(detail[1]["tag"] == "latest" && detail[1]["digest"] == layout.manifest.to_string(), "{detail}");
    ensure!(detail[1]["platforms"] == json!(["linux/amd64"]), "{detail}");
    let size = layout.read(&layout.layer)?.len() + layout.read(&layout.config)?.len();
    ensure!(detail[1]["size"] == size, "{detail}");
    let table = image(&["tags", &repository, "--detail"])?.ok()?;
    ensure!(table.contains("linux/amd64") && table.lines().count() == 4, "{table}");

    // A dry run removes nothing; a tag goes alone; a digest takes its tags along.
    let dry = image(&["rm", &name("1"), "--dry-run"])?.ok()?;
    ensure!(dry.contains("would remove") && dry.contains(&layout.manifest.to_string()), "{dry}");
    let gone = image(&["rm", &name("1")])?.ok()?;
    ensure!(gone.contains("removed the tag") && gone.contains("stays"), "{gone}");
    ensure!(image(&["tags", &repository])?.ok()? == "latest\nv1\n");
    let again = image(&["rm", &name("1")])?;
    ensure!(again.code == Some(4) && again.stderr.contains(&name("1")), "{again:?}");
    let manifest = format!("{repository}@{}", layout.manifest);
    let dry = image_json(&["rm", &manifest, "--dry-run"])?;
    ensure!(dry["dryRun"] == true && dry["removed"][0]["tags"] == json!(["latest", "v1"]), "{dry}");
    let gone = image(&["rm", &manifest])?.ok()?;
    ensure!(gone.contains("and its tags latest, v1"), "{gone}");
    ensure!(image(&["inspect", &name("v1")])?.code == Some(4));
    let unclear = image(&["rm", &repository])?;
    ensure!(unclear.code == Some(2) && unclear.stderr.contains("name a tag or a digest"), "{unclear:?}");
    Ok(())
}

#[test]
fn logins_and_wrong_words_end_with_the_documented_codes() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let layout = Layout::new(&[("a", b"secret")])?;
    let to = format!("{}/team/app:1", registry.name());
    let refused = image(&["copy", &layout.transport(), &to])?;
    ensure!(refused.code == Some(3) && refused.stderr.contains("docker login"), "{refused:?}");
    let login = STANDARD.encode(format!("admin:{}", registry.password()?));
    let logins = json!({ "auths": { registry.name(): { "auth": login } } }).to_string();
    let logged_in = |arguments: &[&str]| run(command(arguments).env("DOCKER_AUTH_CONFIG", &logins), b"");
    logged_in(&["copy", &layout.transport(), &to])?.ok()?;
    let mounted = format!("{}/other/app:1", registry.name());
    let copied = logged_in(&["copy", &to, &mounted, "--output", "json"])?.ok()?;
    ensure!(serde_json::from_str::<Value>(&copied)?["images"][0]["blobs"]["mounted"] == 2, "{copied}");
    ensure!(logged_in(&["ls", &registry.name()])?.ok()?.lines().count() == 2);
    ensure!(image(&["rm", &to])?.code == Some(3));

    ensure!(logged_in(&["inspect", &format!("{to}23")])?.code == Some(4));
    for wrong in [
        &["inspect", "https://h.test/a"][..],
        &["copy", "dir:x", &to],
        &["copy", &to, "oci:"],
        &["copy", &to, "docker-archive:x.tar", "--all-platforms"],
        &["copy", &to, &format!("{mounted}@{}", Digest::sha256(b"other"))],
        &["tag", &to, "not a tag"],
        &["ls", "http://h.test"],
    ] {
        let finished = logged_in(wrong)?;
        ensure!(finished.code == Some(2), "{wrong:?}: {finished:?}");
        ensure!(!finished.stderr.contains("panicked"), "{finished:?}");
    }
    for subcommand in ["ls", "tags", "inspect", "copy", "tag", "rm", "referrers"] {
        let help = image(&[subcommand, "--help"])?.ok()?;
        ensure!(help.contains("Example"), "image {subcommand} has no example");
    }
    Ok(())
}
