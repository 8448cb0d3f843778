//! What endpoints are told, by a real server over real HTTP.

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{scope, sleep},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use registry_types::Digest;
use serde_json::{Value, json};
use slipway_tests::{
    Dockerd, EventEndpoint, Finished, Layout, NAME, Options, Registry, Scheme, Site, http::Server, plain_tar,
    run, skip,
};
use tempfile::TempDir;

const SECRET: &str = "a secret for the endpoint";

/// A configuration with an endpoint that hears these actions.
fn configuration(endpoint: &EventEndpoint, actions: &[&str]) -> Result<(TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let file: PathBuf = folder.path().join("registry.toml");
    let text = format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[[events.endpoints]]\nname = \"hook\"\nurl = \"{}\"\nactions = {actions:?}\n\
         timeout_seconds = 1\nheaders = {{ Authorization = \"{SECRET}\" }}\n",
        endpoint.url()
    );
    fs::write(&file, text)?;
    Ok((folder, file.display().to_string()))
}

fn text<'e>(event: &'e Value, key: &str) -> &'e str {
    event["target"][key].as_str().unwrap_or_default()
}

fn tag_is(event: &Value, repository: &str, tag: &str) -> bool {
    text(event, "repository") == repository && text(event, "tag") == tag
}

/// Pushes tags to a repository, one after the other, until told to stop. What was acknowledged is noted.
fn push_until(
    stop: &AtomicBool,
    server: Server,
    repository: &str,
    acknowledged: &Mutex<Vec<(String, String)>>,
) {
    for number in 0.. {
        let tag = format!("t{number}");
        while !stop.load(Ordering::SeqCst) {
            let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [], "annotations": { "n": tag } });
            let path = format!("/v2/{repository}/manifests/{tag}");
            let headers = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
            let answer = server.request("PUT", &path, &headers, manifest.to_string().as_bytes());
            if answer.is_ok_and(|answer| answer.status == 201) {
                let mut all = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                all.push((repository.to_owned(), tag.clone()));
                break;
            }
            // The server is dead at the moment.
            sleep(Duration::from_millis(20));
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

#[test]
fn every_acknowledged_push_is_told_though_the_server_is_killed() -> Result<()> {
    let endpoint = EventEndpoint::start()?;
    let (_folder, file) = configuration(&endpoint, &["push"])?;
    let mut registry = Registry::start(Options::with(&["--auth", "none", "--config", &file]))?;
    let server = registry.http();
    let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let repositories = ["team/a", "team/b", "team/c"];
    scope(|threads| -> Result<()> {
        for repository in repositories {
            let (stop, acknowledged) = (&stop, &acknowledged);
            threads.spawn(move || push_until(stop, server, repository, acknowledged));
        }
        let killed = (|| {
            for round in 0..4 {
                // While it refuses, everything waits in the outbox.
                endpoint.refuse(round == 1);
                sleep(Duration::from_millis(700));
                registry.kill()?;
                registry.start_again()?;
            }
            endpoint.refuse(false);
            Ok(())
        })();
        sleep(Duration::from_millis(300));
        stop.store(true, Ordering::SeqCst);
        killed
    })?;
    let acknowledged = acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(acknowledged.len() > 30, "only {} pushes", acknowledged.len());
    let events = endpoint.wait_for(|events| {
        let told: HashSet<(&str, &str)> =
            events.iter().map(|event| (text(event, "repository"), text(event, "tag"))).collect();
        acknowledged.iter().all(|(repository, tag)| told.contains(&(repository, tag)))
    })?;
    for repository in repositories {
        let mut seen = HashSet::new();
        let first: Vec<u64> = events
            .iter()
            .filter(|event| text(event, "repository") == repository && seen.insert(event["id"].to_string()))
            .filter_map(|event| text(event, "tag").strip_prefix('t')?.parse().ok())
            .collect();
        // A push whose answer was lost is made again, and told again.
        ensure!(first.is_sorted(), "{repository} is told out of order: {first:?}");
    }
    for delivery in endpoint.deliveries() {
        let header = |name: &str| {
            delivery.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        ensure!(header("authorization") == Some(SECRET), "{:?}", delivery.headers);
        ensure!(header("content-type") == Some("application/vnd.docker.distribution.events.v1+json"));
    }
    ensure!(!registry.log().contains(SECRET));
    Ok(())
}

#[test]
fn events_wait_are_shown_and_are_replayed() -> Result<()> {
    let endpoint = EventEndpoint::start()?;
    let (_folder, file) = configuration(&endpoint, &["push", "delete"])?;
    let registry = Registry::start(Options::with(&["--auth", "none", "--config", &file]))?;
    let server = registry.http();
    endpoint.refuse(true);
    let blob = server.push_blob("team/app", b"content")?;
    let path = format!("/v2/team/app/blobs/{blob}");
    server.request("DELETE", &path, &[], b"")?.expect(202)?;
    let listed = || -> Result<Value> {
        let json = registry.administer(&["events", "list", "--output", "json"], "")?.ok()?;
        Ok(serde_json::from_str::<Value>(&json)?[0].clone())
    };
    let waiting = listed()?;
    ensure!(waiting["endpoint"] == "hook" && waiting["waiting"] == 2, "{waiting}");
    ensure!(waiting["oldest"].is_string(), "{waiting}");
    let table = registry.administer(&["events", "list"], "")?.ok()?;
    ensure!(table.starts_with("ENDPOINT") && table.contains("\nhook "), "{table}");
    endpoint.refuse(false);
    let events = endpoint.wait_for(|events| events.len() >= 2)?;
    let actions: Vec<_> = events.iter().map(|event| event["action"].as_str()).collect();
    ensure!(actions == [Some("push"), Some("delete")], "{events:#?}");

    // The answer to a delivery comes before the cursor moves.
    let mut delivered = listed()?;
    for _ in 0..100 {
        if delivered["waiting"] == 0 {
            break;
        }
        sleep(Duration::from_millis(50));
        delivered = listed()?;
    }
    let last = delivered["delivered_up_to"].as_i64().context("no number")?;
    ensure!(delivered["waiting"] == 0 && delivered["oldest"].is_null(), "{delivered}");
    registry.administer(&["events", "replay", "hook", "--from", &last.to_string()], "")?.ok()?;
    let events = endpoint.wait_for(|events| events.len() >= 3)?;
    ensure!(events[2] == events[1], "the last one comes again as it was: {events:#?}");
    registry.administer(&["events", "replay", "hook"], "")?.ok()?;
    let events = endpoint.wait_for(|events| events.len() >= 5)?;
    ensure!(events[3..5] == events[..2], "{events:#?}");
    let unknown = registry.administer(&["events", "replay", "nobody"], "")?.failed()?;
    ensure!(unknown.contains("there is no event endpoint nobody"), "{unknown}");
    registry.administer(&["events", "remove", "hook"], "")?.ok()?;
    ensure!(registry.administer(&["events", "list", "--output", "json"], "")?.ok()?.trim() == "[]");
    Ok(())
}

/// The address that the registry tells in its log.
fn admin(registry: &Registry) -> Result<Server> {
    let log = registry.log();
    let (_, rest) = log.split_once("metrics and health are on ").context("no admin address")?;
    Ok(Server(rest.split_whitespace().next().context("no address")?.parse()?))
}

#[test]
fn a_gitlab_hears_of_pushes_and_deletions_of_crane_and_docker() -> Result<()> {
    let endpoint = EventEndpoint::start()?;
    let (_folder, file) = configuration(&endpoint, &["push", "delete"])?;
    let Some(site) = Site::start_with(Scheme::Http, &["--config", &file])? else { return Ok(()) };
    if site.client("crane")?.is_none() {
        skip("crane is not installed");
        return Ok(());
    }
    let crane_with = |arguments: &[&str], input: &[u8]| -> Result<Finished> {
        let mut command = site.client("crane")?.context("crane is gone")?;
        run(command.arg("--insecure").args(arguments), input)
    };
    let crane = |arguments: &[&str]| crane_with(arguments, b"");
    let password = site.registry.password()?;
    let login = ["auth", "login", NAME, "--username", "admin", "--password-stdin"];
    crane_with(&login, password.as_bytes())?.ok()?;
    let layout = Layout::sample("events")?;
    let (image, copy) = (site.image("team/app:1"), site.image("other/app:2"));
    crane(&["push", &layout.path().display().to_string(), &image])?.ok()?;
    crane(&["copy", &image, &copy])?.ok()?;
    crane(&["delete", &image])?.ok()?;
    let events = endpoint.wait_for(|events| events.iter().any(|event| event["action"] == "delete"))?;
    let pushed =
        events.iter().find(|event| tag_is(event, "team/app", "1")).context("the push is not told")?;
    let target = &pushed["target"];
    ensure!(
        target["digest"] == layout.manifest.to_string() && target["size"].as_u64() > Some(100),
        "{pushed:#}"
    );
    ensure!(
        target["url"] == format!("http://{NAME}/v2/team/app/manifests/{}", layout.manifest),
        "{pushed:#}"
    );
    ensure!(pushed["actor"]["name"] == "admin" && pushed["request"]["host"] == NAME, "{pushed:#}");
    ensure!(
        pushed["request"]["useragent"].as_str().is_some_and(|agent| agent.contains("crane")),
        "{pushed:#}"
    );
    let of_blob = |digest: &Digest| {
        events.iter().any(|event| {
            text(event, "digest") == digest.to_string()
                && text(event, "mediaType") == "application/octet-stream"
        })
    };
    ensure!(of_blob(&layout.layer) && of_blob(&layout.config), "{events:#?}");
    ensure!(events.iter().any(|event| tag_is(event, "other/app", "2")), "{events:#?}");
    // GitLab refuses a whole batch for one event of another kind.
    let other = events.iter().find(|event| event["action"] != "push" && event["action"] != "delete");
    ensure!(other.is_none(), "{other:#?}");
    let deleted = events.iter().find(|event| event["action"] == "delete").context("no deletion")?;
    ensure!(tag_is(deleted, "team/app", "1") && deleted["target"]["digest"].is_null(), "{deleted:#}");

    let metrics = admin(&site.registry)?.get("/metrics")?.expect(200)?;
    let metrics = String::from_utf8(metrics.body)?;
    ensure!(metrics.contains("slipway_events_delivered_total{endpoint=\"hook\"}"), "{metrics}");
    ensure!(site.registry.http().get("/metrics")?.status == 404);

    let Some(dockerd) = Dockerd::start(&["--insecure-registry", NAME])? else { return Ok(()) };
    let image = site.image("team/docker:main");
    run(&mut dockerd.command(&["import", "-", &image]), &plain_tar(&[("file", b"content")]))?.ok()?;
    let mut login = dockerd.command(&["login", NAME, "--username", "admin", "--password-stdin"]);
    run(&mut login, password.as_bytes())?.ok()?;
    dockerd.docker(&["push", &image])?.ok()?;
    let events =
        endpoint.wait_for(|events| events.iter().any(|event| tag_is(event, "team/docker", "main")))?;
    let pushed = events.iter().find(|event| tag_is(event, "team/docker", "main")).context("no push")?;
    ensure!(
        pushed["request"]["useragent"].as_str().is_some_and(|agent| agent.contains("docker")),
        "{pushed:#}"
    );
    Ok(())
}
