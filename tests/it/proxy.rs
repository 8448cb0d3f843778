//! A mirror in front of another registry: each thing is fetched once, nothing wrong or half is served or kept, and the
//! upstream may go away.

use std::{
    fs,
    io::Read,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use slipway_tests::{
    Distribution, Layout, Mirror, Options, Registry,
    http::{Answer, Server},
};

const CLIENTS: usize = 16;
/// Longer than a registry that was away is left alone.
const AWAY: Duration = Duration::from_millis(3500);

fn manifest_path(reference: impl std::fmt::Display) -> String {
    format!("/v2/cache/team/app/manifests/{reference}")
}

fn blob_path(digest: impl std::fmt::Display) -> String {
    format!("/v2/cache/team/app/blobs/{digest}")
}

/// Pulls the whole image as a client does.
fn pull(mirror: Server, layout: &Layout) -> Result<()> {
    let accept = [("Accept", "application/vnd.oci.image.manifest.v1+json")];
    let manifest = mirror.request("GET", &manifest_path("1"), &accept, b"")?.expect(200)?;
    ensure!(manifest.body == layout.read(&layout.manifest)?, "another manifest came");
    for digest in [layout.config, layout.layer] {
        ensure!(mirror.request("HEAD", &blob_path(digest), &[], b"")?.status == 200);
        let blob = mirror.get(&blob_path(digest))?.expect(200)?;
        ensure!(blob.body == layout.read(&digest)?, "another blob came");
    }
    Ok(())
}

/// Pushes to a registry that takes no blob in one request.
fn push_in_steps(server: Server, layout: &Layout) -> Result<()> {
    for digest in [layout.layer, layout.config] {
        let location = server.start_upload("team/app")?;
        let path = location.find("/v2/").and_then(|at| location.get(at..)).context("no path")?;
        let sign = if path.contains('?') { '&' } else { '?' };
        let kind = [("Content-Type", "application/octet-stream")];
        let path = format!("{path}{sign}digest={digest}");
        server.request("PUT", &path, &kind, &layout.read(&digest)?)?.expect(201)?;
    }
    server.put_manifest("team/app", "1", &layout.read(&layout.manifest)?)?.expect(201).map(drop)
}

/// How often a blob was asked for, by the log of a registry. Ours names the method, distribution's access log has the
/// request line.
fn fetches(log: &str, digest: &registry_types::Digest) -> usize {
    let of_blob = |line: &&str| {
        let asked = line.contains("method=GET route=\"blob\"") || line.contains("] \"GET /v2/");
        asked && line.contains(&digest.to_string())
    };
    log.lines().filter(of_blob).count()
}

/// Many clients at once, then none but the mirror itself. `upstream` gives the other's log; `kill` ends it.
fn whole_life(
    address: Server,
    upstream_log: impl Fn() -> String,
    kill: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let layout = Layout::sample("mirrored")?;
    push_in_steps(address, &layout)?;
    let before = upstream_log().len();
    let mirror = Mirror::start("cache", address.0, "revalidate_seconds = 0")?;
    let server = mirror.http();
    scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| pull(server, &layout))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client panicked"))
    })?;
    for digest in [layout.config, layout.layer] {
        let fetches = || fetches(upstream_log().get(before..).unwrap_or_default(), &digest);
        // A request is logged when its answer has ended.
        let until = Instant::now() + Duration::from_secs(10);
        while fetches() == 0 && Instant::now() < until {
            sleep(Duration::from_millis(20));
        }
        ensure!(fetches() == 1, "{digest} was fetched {} times:\n{}", fetches(), upstream_log());
    }

    let refused =
        layout.push(server, "cache/team/app", "2").err().context("a push into a mirror was taken")?;
    ensure!(format!("{refused:#}").contains("nothing can be pushed into it"), "{refused:#}");
    layout.push(server, "own/app", "1")?;
    let missing = server.get(&manifest_path("none"))?.expect(404)?;
    ensure!(missing.error_code()? == "MANIFEST_UNKNOWN");
    let fresh = server.get(&manifest_path("1"))?.expect(200)?;
    ensure!(fresh.header("warning").is_none() && fresh.header("age").is_none(), "{fresh:?}");

    kill()?;
    let stale = server.get(&manifest_path("1"))?.expect(200)?;
    ensure!(stale.body == layout.read(&layout.manifest)?);
    ensure!(stale.header("warning").is_some_and(|warning| warning.starts_with("110 ")), "{stale:?}");
    ensure!(stale.header("age").is_some(), "{stale:?}");
    pull(server, &layout)?;
    ensure!(mirror.log().contains("served stale"), "the log does not tell");
    let elsewhere = server.get("/v2/cache/team/other/manifests/1")?.expect(503)?;
    ensure!(elsewhere.header("retry-after").is_some(), "{elsewhere:?}");
    Ok(())
}

#[test]
fn in_front_of_distribution() -> Result<()> {
    let Some(distribution) = Distribution::start()? else { return Ok(()) };
    let (server, upstream) = (distribution.http(), std::cell::RefCell::new(Some(distribution)));
    let log = || upstream.borrow().as_ref().map(Distribution::log).unwrap_or_default();
    whole_life(server, log, || {
        drop(upstream.take());
        Ok(())
    })
}

#[test]
fn in_front_of_slipway() -> Result<()> {
    let upstream = std::cell::RefCell::new(Registry::open_to_all()?);
    let server = upstream.borrow().http();
    whole_life(server, || upstream.borrow().log(), || upstream.borrow_mut().kill())
}

#[test]
fn an_upstream_killed_in_the_middle_of_a_blob() -> Result<()> {
    const SIZE: usize = 400 << 20;
    let mut upstream = Registry::open_to_all()?;
    let blob = vec![7_u8; SIZE];
    let digest = upstream.http().push_blob("team/app", &blob)?;
    let mirror = Mirror::start("cache", upstream.http().0, "")?;
    let mut client = mirror.http().begin("GET", &blob_path(digest), &[], 0)?;
    let mut some = vec![0; 64 << 10];
    client.read_exact(&mut some)?;
    upstream.kill()?;
    // It ends early, so the client knows; what it got is right.
    let mut got = some.len();
    while let Ok(length @ 1..) = client.read(&mut some) {
        got += length;
    }
    ensure!(got < SIZE, "all {got} bytes came: nothing was proved");
    let stored = mirror.data().join("docker/registry/v2/blobs");
    let found = walk(&stored)?;
    ensure!(found == 0, "{found} files stand among the blobs");
    mirror.http().get(&blob_path(digest))?.expect(503)?;

    upstream.start_again()?;
    sleep(AWAY);
    let whole = mirror.http().get(&blob_path(digest))?.expect(200)?;
    ensure!(whole.body == blob, "another blob came");
    let until = Instant::now() + Duration::from_secs(10);
    while !upstream.log().contains("status=206") {
        ensure!(Instant::now() < until, "the download began anew:\n{}", upstream.log());
        sleep(Duration::from_millis(20));
    }
    ensure!(walk(&stored)? == 1);
    Ok(())
}

#[test]
fn a_blob_that_is_damaged_upstream() -> Result<()> {
    let upstream = Registry::open_to_all()?;
    let layout = Layout::sample("damaged")?;
    layout.push(upstream.http(), "team/app", "1")?;
    for digest in [layout.layer, layout.config] {
        let (hex, blobs) = (digest.hex(), upstream.data().join("docker/registry/v2/blobs/sha256"));
        let file = blobs.join(&hex[..2]).join(&hex).join("data");
        let mut content = fs::read(&file)?;
        if let Some(byte) = content.get_mut(7) {
            *byte ^= 1;
        }
        fs::write(&file, content)?;
    }
    let mirror = Mirror::start("cache", upstream.http().0, "")?;
    // The layer is on its way before anybody knows; its client must not take it for whole.
    let cut = mirror.http().get(&blob_path(layout.layer))?;
    let announced: usize = cut.header("content-length").context("no length")?.parse()?;
    ensure!(cut.status == 200 && cut.body.len() < announced, "{} of {announced} bytes", cut.body.len());
    mirror.http().get(&blob_path(layout.config))?.expect(502)?;
    ensure!(walk(&mirror.data().join("docker/registry/v2/blobs"))? == 0, "a damaged blob was kept");
    ensure!(mirror.log().contains("has the digest"), "the log does not tell");
    Ok(())
}

/// Files below `folder`.
fn walk(folder: &std::path::Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { walk(&entry.path())? } else { 1 };
    }
    Ok(files)
}

#[test]
fn logins_on_both_sides() -> Result<()> {
    let upstream = Registry::start(Options::default())?;
    upstream.add_account("robot", "mirror", "the mirror's secret")?;
    upstream.add_rule("mirror", "pull", "team/**")?;
    upstream.add_rule("mirror", "pull,push", "team/app")?;
    let layout = Layout::sample("behind a login")?;
    let login = |server: &Registry, name: &str, password: &str, scope: &str| -> Result<String> {
        let login = slipway_tests::Login { name, password };
        let answer = server.http().ask_for_token(Some(login), &[scope])?.expect(200)?;
        let token = answer.json()?["token"].as_str().map(str::to_owned).context("no token")?;
        Ok(format!("Bearer {token}"))
    };
    let token = login(&upstream, "mirror", "the mirror's secret", "repository:team/app:pull,push")?;
    push(upstream.http(), &token, &layout)?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("password");
    fs::write(&file, "the mirror's secret\n")?;
    let settings = format!("username = \"mirror\"\npassword_file = {:?}", file.display().to_string());
    let mirror = Mirror::start_with("cache", upstream.http().0, &settings, &[])?;
    mirror.add_account("user", "dev", "the developer's secret")?;
    mirror.add_rule("dev", "pull", "cache/**")?;
    // The upstream's login is no login here.
    mirror.http().get(&manifest_path("1"))?.expect(401)?;
    let token = login(&mirror, "dev", "the developer's secret", "repository:cache/team/app:pull")?;
    let get = |server: Server, path: &str| server.request("GET", path, &[("Authorization", &token)], b"");
    let manifest = get(mirror.http(), &manifest_path("1"))?.expect(200)?;
    ensure!(manifest.body == layout.read(&layout.manifest)?);
    ensure!(get(mirror.http(), &blob_path(layout.layer))?.expect(200)?.body == layout.read(&layout.layer)?);
    ensure!(!mirror.log().contains("secret"), "a password is in the log");
    // A right here is none there.
    let other = login(&mirror, "dev", "the developer's secret", "repository:cache/other/app:pull")?;
    let path = "/v2/cache/other/app/manifests/1";
    let refused = mirror.http().request("GET", path, &[("Authorization", &other)], b"")?;
    ensure!(matches!(refused.status, 403 | 404), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.body).contains("which cache/other/app mirrors"), "{refused:?}");
    Ok(())
}

fn push(server: Server, token: &str, layout: &Layout) -> Result<()> {
    let authorized = |method: &str, path: &str, body: &[u8], kind: &str| -> Result<Answer> {
        server.request(method, path, &[("Authorization", token), ("Content-Type", kind)], body)
    };
    for digest in [layout.layer, layout.config] {
        let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
        authorized("POST", &path, &layout.read(&digest)?, "application/octet-stream")?.expect(201)?;
    }
    let manifest = layout.read(&layout.manifest)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    authorized("PUT", "/v2/team/app/manifests/1", &manifest, kind)?.expect(201).map(drop)
}
