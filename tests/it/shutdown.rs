//! SIGTERM ends the server without losing what is under way.

use std::{
    io::Write,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use registry_types::Digest;
use slipway_tests::{Options, Registry, http::Answer};

const STOPPING_TIME: Duration = Duration::from_secs(10);

#[test]
fn sigterm_lets_a_running_push_end() -> Result<()> {
    let mut registry = Registry::open_to_all()?;
    let server = registry.http();
    let blob = vec![7; 3 << 20];
    let digest = Digest::sha256(&blob);
    let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    let mut stream = server.begin("POST", &path, &[], blob.len())?;
    stream.write_all(&blob[..1 << 20])?;
    registry.terminate()?;
    let until = Instant::now() + STOPPING_TIME;
    while !registry.log().contains("stopping") {
        ensure!(Instant::now() < until, "the server does not notice SIGTERM");
        sleep(Duration::from_millis(20));
    }
    // New clients find nobody; this one goes on.
    while server.connect().is_ok() {
        ensure!(Instant::now() < until, "new clients are still let in");
        sleep(Duration::from_millis(20));
    }
    stream.write_all(&blob[1 << 20..])?;
    Answer::read(&mut stream)?.expect(201)?;
    ensure!(registry.wait()?.success(), "{}", registry.log());
    registry.start_again()?;
    ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.expect(200)?.body == blob);
    Ok(())
}

#[test]
fn a_push_that_does_not_end_in_time_goes_on_later() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("registry.toml");
    std::fs::write(&file, "[limits]\ndrain_seconds = 1\n")?;
    let file = file.display().to_string();
    let mut registry = Registry::start(Options::with(&["--auth", "none", "--config", &file]))?;
    let server = registry.http();
    let blob = vec![9; 3 << 20];
    let digest = Digest::sha256(&blob);
    let session = server.start_upload("team/app")?;
    let mut stream = server.begin("PATCH", &session, &[], blob.len())?;
    let sent = 2 << 20;
    stream.write_all(&blob[..sent])?;
    // The server has the bytes: a drain keeps what has arrived.
    sleep(Duration::from_secs(1));
    registry.terminate()?;
    ensure!(registry.wait()?.success(), "{}", registry.log());
    drop(stream);

    registry.start_again()?;
    let kept = server.get(&session)?.expect(204)?;
    ensure!(kept.header("upload-offset") == Some(&sent.to_string()), "{kept:?}");
    let range = format!("{sent}-{}", blob.len() - 1);
    server.request("PATCH", &session, &[("Content-Range", &range)], &blob[sent..])?.expect(202)?;
    server.request("PUT", &format!("{session}?digest={digest}"), &[], b"")?.expect(201)?;
    ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.expect(200)?.body == blob);
    Ok(())
}

#[test]
fn idle_connections_do_not_delay_the_end() -> Result<()> {
    let mut registry = Registry::open_to_all()?;
    let silent = registry.http().connect()?;
    let mut kept = registry.http().connect()?;
    kept.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")?;
    let mut first = [0; 12];
    std::io::Read::read_exact(&mut kept, &mut first)?;
    ensure!(first == *b"HTTP/1.1 200");
    let begin = Instant::now();
    registry.terminate()?;
    ensure!(registry.wait()?.success());
    ensure!(begin.elapsed() < STOPPING_TIME, "it took {:?}", begin.elapsed());
    drop((silent, kept));
    Ok(())
}
