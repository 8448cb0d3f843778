//! Three replicas behind a balancer, on one PostgreSQL and one S3 server.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use registry_types::Digest;
use slipway_tests::{Layout, Registry, Replicas, program, run, skip};

/// Longer than S3's smallest part, so that chunks are parts and tails.
const CHUNK: usize = 6 << 20;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn an_upload_goes_on_through_any_replica() -> Result<()> {
    let Some(site) = Replicas::start(3, &["--auth", "none", "--allow-none-anywhere"])? else { return Ok(()) };
    let bytes = content(4 * CHUNK + 12_345);
    let digest = Digest::sha256(&bytes);
    let mut location = site.http().start_upload("team/app")?;
    let mut sent = 0;
    for (turn, chunk) in bytes.chunks(CHUNK).enumerate() {
        let server = site.replicas[turn % 3].http();
        let range = format!("{sent}-{}", sent + chunk.len() - 1);
        let headers = [("Content-Range", range.as_str()), ("Content-Type", "application/octet-stream")];
        let answer = server.request("PATCH", &location, &headers, chunk)?.expect(202)?;
        location = answer.header("location").context("no Location")?.to_owned();
        sent += chunk.len();
    }
    let separator = if location.contains('?') { '&' } else { '?' };
    let end = format!("{location}{separator}digest={digest}");
    site.replicas[2].http().request("PUT", &end, &[], b"")?.expect(201)?;
    for replica in &site.replicas {
        let path = format!("/v2/team/app/blobs/{digest}");
        ensure!(replica.http().get(&path)?.expect(200)?.body == bytes, "a replica serves other bytes");
        let part = replica.http().request("GET", &path, &[("Range", "bytes=6291450-6291460")], b"")?;
        ensure!(part.expect(206)?.body == bytes[6_291_450..=6_291_460], "a replica serves another range");
    }
    Ok(())
}

#[test]
fn a_moved_tag_is_seen_at_once_everywhere() -> Result<()> {
    let Some(site) = Replicas::start(3, &["--auth", "none", "--allow-none-anywhere"])? else { return Ok(()) };
    for turn in 0..12_usize {
        let text = format!("content {turn}");
        let layout = Layout::new(&[("file", text.as_bytes())])?;
        layout.push(site.replicas[turn % 3].http(), "team/app", "latest")?;
        for replica in &site.replicas {
            let answer = replica.http().get("/v2/team/app/manifests/latest")?.expect(200)?;
            ensure!(
                answer.body == layout.read(&layout.manifest)?,
                "turn {turn}: a replica serves the old tag"
            );
        }
    }
    let server = site.replicas[0].http();
    server.request("DELETE", "/v2/team/app/manifests/latest", &[], b"")?.expect(202)?;
    for replica in &site.replicas {
        replica.http().get("/v2/team/app/manifests/latest")?.expect(404)?;
    }
    Ok(())
}

#[test]
fn a_client_logs_in_and_pushes_through_the_balancer_while_a_replica_dies() -> Result<()> {
    let Some(mut site) = Replicas::start(3, &[])? else { return Ok(()) };
    let Some(skopeo) = program("/usr/bin/skopeo") else {
        skip("skopeo is not installed");
        return Ok(());
    };
    let home = tempfile::tempdir()?;
    let skopeo = |arguments: &[&str], input: &str| {
        let mut command = std::process::Command::new(skopeo);
        command.env("HOME", home.path()).env("REGISTRY_AUTH_FILE", home.path().join("auth.json"));
        run(command.args(arguments), input.as_bytes())
    };
    let name = site.name();
    let login = ["login", "--tls-verify=false", "-u", "admin", "--password-stdin", &name];
    skopeo(&login, &site.password()?)?.ok()?;
    let layout = Layout::sample("replicas")?;
    let source = format!("oci:{}", layout.path().display());
    for turn in 0..6 {
        if turn == 3 {
            site.replicas[1].kill()?;
        }
        let image = format!("docker://{name}/team/app:{turn}");
        let push =
            ["copy", "--preserve-digests", "--retry-times", "1", "--dest-tls-verify=false", &source, &image];
        skopeo(&push, "")?.ok()?;
        let found = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &image];
        ensure!(skopeo(&found, "")?.ok()?.trim() == layout.manifest.to_string());
    }
    Ok(())
}

#[test]
fn no_replica_is_ready_without_its_stores_and_nothing_acknowledged_is_lost() -> Result<()> {
    let Some(mut site) = Replicas::start(2, &["--auth", "none", "--allow-none-anywhere"])? else {
        return Ok(());
    };
    let layout = Layout::new(&[("file", b"content".as_slice())])?;
    layout.push(site.http(), "team/app", "1")?;
    site.replicas[0].http().get("/readyz")?.expect(200)?;
    site.s3.kill();
    becomes_ready(&site.replicas[0], 503)?;
    let path = format!("/v2/team/app/blobs/{}", layout.layer);
    let away = site.replicas[1].http().get(&path)?.expect(503)?;
    ensure!(away.header("retry-after").is_some(), "no Retry-After");
    site.s3.start_again()?;
    site.postgres.crash_blocking();
    site.postgres.up_blocking();
    for replica in &site.replicas {
        ensure!(replica.http().get(&path)?.expect(200)?.body == layout.read(&layout.layer)?);
        becomes_ready(replica, 200)?;
    }
    Ok(())
}

/// Readiness is asked often and looked at now and then.
fn becomes_ready(replica: &Registry, status: u16) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    while replica.http().get("/readyz")?.status != status {
        ensure!(Instant::now() < until, "readiness does not become {status}");
        sleep(Duration::from_millis(200));
    }
    Ok(())
}
