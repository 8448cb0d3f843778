//! Tag rules, quotas, retention and limits, as clients and operators meet them.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slipway_tests::{
    Dockerd, Finished, Layout, Options, Registry, busybox, http::Server, plain_tar, run, skip, tool,
};
use tempfile::TempDir;

/// crane with logins of its own.
struct Crane {
    home: TempDir,
    registry: String,
}

impl Crane {
    /// `None` where it is not installed.
    fn of(registry: &Registry) -> Result<Option<Self>> {
        if tool("crane").is_none() {
            skip("crane is not installed");
            return Ok(None);
        }
        Ok(Some(Self { home: tempfile::tempdir()?, registry: registry.name() }))
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<Finished> {
        let mut command = std::process::Command::new(tool("crane").context("crane is gone")?);
        command.env("HOME", self.home.path()).env("DOCKER_CONFIG", self.home.path()).args(arguments);
        run(&mut command, input.as_bytes())
    }

    fn log_in(&self, name: &str, password: &str) -> Result<()> {
        let login = ["auth", "login", &self.registry, "--username", name, "--password-stdin"];
        self.run(&login, password)?.ok().map(drop)
    }

    fn push(&self, layout: &Layout, image: &str) -> Result<Finished> {
        self.run(&["push", &layout.path().display().to_string(), &format!("{}/{image}", self.registry)], "")
    }

    fn delete(&self, image: &str) -> Result<Finished> {
        self.run(&["delete", &format!("{}/{image}", self.registry)], "")
    }
}

fn json(registry: &Registry, arguments: &[&str]) -> Result<Value> {
    let output = registry.administer(&[arguments, &["--output", "json"]].concat(), "")?.ok()?;
    serde_json::from_str(&output).with_context(|| output)
}

fn tags(server: Server, repository: &str) -> Result<Value> {
    Ok(server.get(&format!("/v2/{repository}/tags/list"))?.expect(200)?.json()?["tags"].clone())
}

#[test]
fn tag_rules_refuse_pushes_and_deletes_and_say_why() -> Result<()> {
    let registry = Registry::start(Options::default())?;
    let Some(crane) = Crane::of(&registry)? else { return Ok(()) };
    registry.add_account("robot", "ci", "a robot's secret")?;
    registry.add_rule("ci", "pull,push,delete", "team/**")?;
    let (one, two) = (Layout::sample("one")?, Layout::sample("two")?);
    let immutable = registry.administer(&["tag-rule", "add", "team/**", "v*", "--immutable"], "")?.ok()?;
    registry.administer(&["tag-rule", "add", "team/**", "release-*", "--protect"], "")?.ok()?;

    crane.log_in("ci", "a robot's secret")?;
    crane.push(&one, "team/app:v1")?.ok()?;
    crane.push(&one, "team/app:v1")?.ok()?;
    let refused = crane.push(&two, "team/app:v1")?.failed()?;
    ensure!(refused.contains("DENIED: the tag v1 of team/app is immutable: tag rule 1"), "{refused}");
    let refused = crane.push(&two, "team/app:release-1")?.failed()?;
    ensure!(refused.contains("DENIED: the tag release-1 of team/app is protected"), "{refused}");
    for name in ["team/app:v1", &format!("team/app@{}", one.manifest)] {
        let refused = crane.delete(name)?.failed()?;
        ensure!(refused.contains("the tag v1 of team/app is immutable"), "{refused}");
    }
    crane.push(&two, "team/app:latest")?.ok()?;
    crane.push(&one, "team/app:latest")?.ok()?;

    let listed = json(&registry, &["tag-rule", "list"])?;
    ensure!(listed[0]["immutable"] == true && listed[1]["protected"] == serde_json::json!([]), "{listed}");
    let explained = json(&registry, &["explain", "ci", "push", "team/app:release-1"])?;
    ensure!(explained["allowed"] == false, "{explained}");
    let text = registry.administer(&["explain", "ci", "push", "team/app:release-1"], "")?.ok()?;
    ensure!(text.starts_with("refused\n") && text.contains("refuses  tag rule 2 keeps release-*"), "{text}");
    ensure!(json(&registry, &["explain", "admin", "push", "team/app:release-1"])?["allowed"] == true);
    crane.log_in("admin", &registry.password()?)?;
    crane.push(&two, "team/app:release-1")?.ok()?;
    crane.push(&two, "team/app:v1")?.failed()?;

    registry.administer(&["tag-rule", "remove", immutable.trim()], "")?.ok()?;
    registry.administer(&["tag-rule", "remove", immutable.trim()], "")?.failed()?;
    crane.push(&two, "team/app:v1")?.ok()?;
    Ok(())
}

#[test]
fn docker_shows_why_a_push_was_refused() -> Result<()> {
    let Some(dockerd) = Dockerd::start(&[])? else { return Ok(()) };
    let Some(busybox) = busybox() else { return Ok(()) };
    let registry = Registry::start(Options::with(&["--auth", "none"]))?;
    let (name, push) = (registry.name(), |image: &str| dockerd.docker(&["push", image]));
    let image = |text: &str, name: &str| -> Result<()> {
        let tar = plain_tar(&[("busybox", &busybox), ("text", text.as_bytes())]);
        run(&mut dockerd.command(&["import", "-", name]), &tar)?.ok().map(drop)
    };
    registry.administer(&["tag-rule", "add", "**", "v*", "--immutable"], "")?.ok()?;
    let immutable = format!("{name}/team/app:v1");
    image("one", &immutable)?;
    push(&immutable)?.ok()?;
    image("two", &immutable)?;
    let refused = push(&immutable)?.failed()?;
    ensure!(refused.contains("the tag v1 of team/app is immutable"), "{refused}");

    registry.administer(&["quota", "add", "small", "1KiB"], "")?.ok()?;
    let large = format!("{name}/small/app:1");
    image("three", &large)?;
    let refused = push(&large)?.failed()?;
    ensure!(refused.contains("the quota of 1024 bytes for small has no room"), "{refused}");
    Ok(())
}

#[test]
fn a_quota_refuses_before_an_upload_is_stored() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let id = registry.administer(&["quota", "add", "team", "100"], "")?.ok()?;
    server.push_blob("team/app", &[b'a'; 60])?;
    let denied = |answer: slipway_tests::http::Answer| -> Result<()> {
        let answer = answer.expect(403)?;
        let error = answer.json()?["errors"][0].clone();
        ensure!(error["code"] == "DENIED" && error["detail"]["reason"] == "QUOTA_EXCEEDED", "{error}");
        ensure!(error["detail"]["limit"] == 100 && error["detail"]["used"] == 60, "{error}");
        Ok(())
    };
    // The head alone is answered: of 50 MiB not a byte was sent.
    let session = server.start_upload("team/app")?;
    let mut stream = server.begin("PATCH", &session, &[], 50 << 20)?;
    denied(slipway_tests::http::Answer::read(&mut stream)?)?;
    let digest = registry_types::Digest::sha256(&[b'b'; 50]);
    let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    denied(server.request("POST", &path, &[], &[b'b'; 50])?)?;
    // The same blob in another repository under the path counts once.
    server.push_blob("team/other", &[b'c'; 40])?;
    let listed = json(&registry, &["quota", "list"])?;
    ensure!(listed[0]["used_bytes"] == 100 && listed[0]["limit_bytes"] == 100, "{listed}");
    server.request("POST", "/v2/team/app/blobs/uploads/", &[], b"")?.expect(403)?;
    server.push_blob("other", &[b'd'; 500])?;
    registry.administer(&["quota", "remove", id.trim()], "")?.ok()?;
    server.push_blob("team/app", &[b'd'; 500])?;
    Ok(())
}

#[test]
fn retention_lists_each_decision_and_then_removes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = Options { data: Some(folder.path().join("data")), ..Options::with(&["--auth", "none"]) };
    let mut registry = Registry::start(options)?;
    let server = registry.http();
    let layout = Layout::sample("kept")?;
    for tag in ["a", "b", "c", "v1"] {
        layout.push(server, "team/app", tag)?;
    }
    registry.administer(&["tag-rule", "add", "**", "v*", "--immutable"], "")?.ok()?;
    let nobody = registry.administer(&["retention", "add", "team", "--schedule", "hourly"], "")?.failed()?;
    ensure!(nobody.contains("remove every tag"), "{nobody}");
    let add =
        ["retention", "add", "team", "--schedule", "daily 03:00", "--keep-newest", "1", "--keep-tags", "a"];
    registry.administer(&add, "")?.ok()?;
    let listed = json(&registry, &["retention", "list"])?;
    ensure!(listed[0]["rule"]["keep_newest"] == 1 && listed[0]["origin"] == "operator", "{listed}");

    let text = registry.administer(&["retention", "run", "--dry-run"], "")?.ok()?;
    for line in [
        "keep    team/app:a: it matches a of keep_tags",
        "remove  team/app:b: nothing keeps it",
        "keep    team/app:c: it is among the newest 1",
        "keep    team/app:v1: tag rule 1 makes v* in ** immutable",
        "1 tags would be removed and 3 stay in 1 repositories",
    ] {
        ensure!(text.lines().any(|shown| shown == line), "{line:?} is not in\n{text}");
    }
    let lines = registry.administer(&["retention", "run", "--dry-run", "--output", "json"], "")?.ok()?;
    let decisions: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(decisions[1]["tag"] == "b" && decisions[1]["verdict"] == "remove", "{lines}");
    ensure!(decisions[4]["removed"] == 1, "{lines}");
    let beside = registry.administer(&["retention", "run"], "")?.failed()?;
    ensure!(beside.contains("a server uses this data"), "{beside}");
    ensure!(tags(server, "team/app")?.as_array().is_some_and(|tags| tags.len() == 4));

    registry.terminate()?;
    registry.wait()?;
    registry.administer(&["retention", "run"], "")?.ok()?;
    registry.start_again()?;
    ensure!(tags(server, "team/app")? == serde_json::json!(["a", "c", "v1"]));
    Ok(())
}

#[test]
fn a_read_only_registry_of_the_configuration_serves_and_takes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = || Some(folder.path().join("data"));
    let layout = Layout::sample("frozen")?;
    let before = Registry::start(Options { data: data(), ..Options::with(&["--auth", "none"]) })?;
    layout.push(before.http(), "team/app", "v1")?;
    before.terminate()?;
    let mut before = before;
    before.wait()?;

    let file = folder.path().join("registry.toml");
    fs::write(
        &file,
        "[limits]\nread_only = true\nlayer_bytes = '1MiB'\n\
         [[tag_rules]]\nrepositories = '**'\ntags = 'v*'\nimmutable = true\n\
         [[quotas]]\nprefix = 'team'\nbytes = '1GiB'\n\
         [[retention]]\nprefix = '*'\nschedule = 'hourly'\n[retention.rule]\nkeep_newest = 9\n",
    )?;
    let config = file.display().to_string();
    let registry =
        Registry::start(Options { data: data(), ..Options::with(&["--auth", "none", "--config", &config]) })?;
    let server = registry.http();
    server.get("/v2/team/app/manifests/v1")?.expect(200)?;
    for (method, path) in [
        ("POST", "/v2/team/app/blobs/uploads/"),
        ("PUT", "/v2/team/app/manifests/v2"),
        ("DELETE", "/v2/team/app/manifests/v1"),
    ] {
        let answer = server.request(method, path, &[], b"")?.expect(405)?;
        ensure!(answer.error_code()? == "UNSUPPORTED", "{answer:?}");
        ensure!(answer.json()?["errors"][0]["message"].to_string().contains("read-only"), "{answer:?}");
    }
    if let Some(crane) = Crane::of(&registry)? {
        let refused = crane.push(&Layout::sample("new")?, "team/app:v2")?.failed()?;
        ensure!(refused.contains("read-only"), "{refused}");
    }

    // What the configuration sets is shown as such and cannot be removed beside it.
    let with = |arguments: &[&str]| registry.administer(&[arguments, &["--config", &config]].concat(), "");
    for (list, removal) in [(["quota", "list"], "quota"), (["retention", "list"], "retention")] {
        let listed = with(&list)?.ok()?;
        ensure!(listed.contains("configuration"), "{listed}");
        let refused = with(&[removal, "remove", "1"])?.failed()?;
        ensure!(refused.contains("configuration"), "{refused}");
    }
    ensure!(with(&["tag-rule", "list"])?.ok()?.contains("configuration"));
    let refused = with(&["explain", "anonymous", "push", "team/app:v1"])?.ok()?;
    ensure!(refused.starts_with("refused") && refused.contains("limits.read_only"), "{refused}");
    Ok(())
}

#[test]
fn a_layer_above_the_limit_is_refused_with_and_without_a_length() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("registry.toml");
    fs::write(&file, "[limits]\nlayer_bytes = '1KiB'\n")?;
    let registry =
        Registry::start(Options::with(&["--auth", "none", "--config", &file.display().to_string()]))?;
    let server = registry.http();
    server.push_blob("a", &[1; 1024])?;
    let session = server.start_upload("a")?;
    let mut stream = server.begin("PATCH", &session, &[], 50 << 20)?;
    let answer = slipway_tests::http::Answer::read(&mut stream)?.expect(413)?;
    ensure!(answer.error_code()? == "SIZE_INVALID", "{answer:?}");
    let mut chunked = format!("{:x}\r\n", 2000).into_bytes();
    chunked.extend([2; 2000]);
    chunked.extend(b"\r\n0\r\n\r\n");
    let mut stream = server.connect()?;
    let head = format!(
        "PATCH {session} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    std::io::Write::write_all(&mut stream, &[head.as_bytes(), &chunked].concat())?;
    slipway_tests::http::Answer::read(&mut stream)?.expect(413)?;
    let mut two = server.request("PATCH", &session, &[], &[3; 1000])?.expect(202)?;
    ensure!(two.header("range") == Some("0-999"), "{two:?}");
    two = server.request("PATCH", &session, &[], &[3; 25])?.expect(413)?;
    ensure!(two.error_code()? == "SIZE_INVALID", "{two:?}");
    Ok(())
}
