//! Uploads that break off, and how they go on.

use std::{
    io::Write,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use registry_types::Digest;
use slipway_tests::{
    Options, Registry,
    http::{Answer, Server},
};

const MIB: usize = 1 << 20;
/// Progress is durable at least every 64 MiB.
const DURABLE: usize = 64 * MIB;
/// How soon a server must have noticed that a client is gone.
const NOTICE_TIME: Duration = Duration::from_secs(20);
/// How long a disk that others write to may take to make 64 MiB durable.
const DISK_TIME: Duration = Duration::from_secs(90);

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// The length that the server has of a session: both ways to say it agree.
fn length_of(answer: &Answer) -> Result<usize> {
    let length: usize = answer.header("upload-offset").context("no Upload-Offset")?.parse()?;
    let range = answer.header("range").context("no Range")?;
    ensure!(range == format!("0-{}", length.saturating_sub(1)), "{range} is not for {length} bytes");
    Ok(length)
}

/// Asks until the session is nobody's: one whose client is gone may still be written to.
fn status(server: Server, session: &str) -> Result<Answer> {
    let until = Instant::now() + NOTICE_TIME;
    loop {
        let answer = server.get(session)?;
        if answer.status == 204 || Instant::now() > until {
            return answer.expect(204);
        }
        sleep(Duration::from_millis(100));
    }
}

fn append(server: Server, session: &str, from: usize, bytes: &[u8]) -> Result<Answer> {
    let range = format!("{from}-{}", from + bytes.len() - 1);
    server.request("PATCH", session, &[("Content-Range", &range)], bytes)
}

fn complete(server: Server, session: &str, digest: &Digest) -> Result<Answer> {
    server.request("PUT", &format!("{session}?digest={digest}"), &[], b"")
}

#[test]
fn a_cut_upload_goes_on_where_it_ended() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let blob = pattern(5 * MIB + 17);
    let digest = Digest::sha256(&blob);
    let session = server.start_upload("team/app")?;
    ensure!(length_of(&status(server, &session)?)? == 0);

    // A whole chunk, then one of which the client sends a part and goes.
    ensure!(length_of(&append(server, &session, 0, &blob[..MIB])?.expect(202)?)? == MIB);
    let sent = 3 * MIB + 5;
    let range = format!("{MIB}-{}", blob.len() - 1);
    let mut stream = server.begin("PATCH", &session, &[("Content-Range", &range)], blob.len() - MIB)?;
    stream.write_all(&blob[MIB..sent])?;
    drop(stream);
    let length = settled_length(server, &session, sent)?;
    ensure!(length == sent, "{sent} bytes were sent and {length} were kept");

    // A wrong offset is told the right one; nothing is lost by asking.
    let wrong = append(server, &session, length - 1, &blob[length - 1..length])?.expect(416)?;
    ensure!(length_of(&wrong)? == length && wrong.error_code()? == "RANGE_INVALID", "{wrong:?}");
    ensure!(wrong.header("location") == Some(&session), "{wrong:?}");
    let wrong = append(server, &session, length + 1, &blob[length + 1..])?.expect(416)?;
    ensure!(length_of(&wrong)? == length);

    // The blob is not there before its end.
    ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.status == 404);
    append(server, &session, length, &blob[length..])?.expect(202)?;
    let created = complete(server, &session, &digest)?.expect(201)?;
    ensure!(created.header("docker-content-digest") == Some(digest.to_string().as_str()));
    ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.expect(200)?.body == blob);
    ensure!(server.get(&session)?.status == 404, "the session must be over");
    Ok(())
}

/// The length once it no longer grows: what was under way when the client went is taken in first.
fn settled_length(server: Server, session: &str, enough: usize) -> Result<usize> {
    let until = Instant::now() + NOTICE_TIME;
    loop {
        let length = length_of(&status(server, session)?)?;
        if length >= enough || Instant::now() > until {
            return Ok(length);
        }
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_killed_server_goes_on_with_an_upload() -> Result<()> {
    let mut registry = Registry::open_to_all()?;
    let server = registry.http();
    let blob = pattern(DURABLE + 40 * MIB + 3);
    let digest = Digest::sha256(&blob);
    let session = server.start_upload("team/app")?;
    let mut stream = server.begin("PATCH", &session, &[], blob.len())?;
    // All but the last byte, so that the request is in the middle whenever the end comes.
    stream.write_all(&blob[..blob.len() - 1])?;
    wait_for_bytes(&registry, DURABLE + 30 * MIB)?;
    // What is on the disk for good is told at once; a busy disk takes its time for it.
    let until = Instant::now() + DISK_TIME;
    while length_of(&server.get(&session)?.expect(204)?)? < DURABLE {
        ensure!(Instant::now() < until, "no progress is durable after {DISK_TIME:?}");
        sleep(Duration::from_millis(20));
    }
    registry.kill()?;
    drop(stream);

    registry.start_again()?;
    let length = length_of(&status(server, &session)?)?;
    ensure!((DURABLE..blob.len()).contains(&length), "only {length} bytes of {} were kept", blob.len());
    ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.status == 404);
    append(server, &session, length, &blob[length..])?.expect(202)?;
    complete(server, &session, &digest)?.expect(201)?;
    ensure!(
        server.get(&format!("/v2/team/app/blobs/{digest}"))?.expect(200)?.body == blob,
        "the blob is damaged"
    );
    ensure!(upload_bytes(&registry) == 0, "a temporary file stays");
    Ok(())
}

/// Bytes in the files of unfinished uploads.
fn upload_bytes(registry: &Registry) -> u64 {
    let files = std::fs::read_dir(registry.data().join("uploads")).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Waits until the server writes to a session. The last bytes that it has may wait for more to be written with.
fn wait_for_bytes(registry: &Registry, bytes: usize) -> Result<()> {
    let until = Instant::now() + NOTICE_TIME;
    while upload_bytes(registry) < bytes as u64 {
        ensure!(Instant::now() < until, "the server has only {} bytes", upload_bytes(registry));
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn a_session_is_one_clients_at_a_time() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let blob = pattern(2 * MIB);
    let session = server.start_upload("team/app")?;
    let mut first = server.begin("PATCH", &session, &[], blob.len())?;
    first.write_all(&blob[..MIB])?;
    wait_for_bytes(&registry, MIB / 2)?;
    // Others in the middle of the first must neither mix their bytes in nor end it while it sends. They wait for
    // some seconds, in case it is the same client that came back and the old request is still ending.
    let (append_bytes, end) = (&blob[MIB..], Digest::sha256(&blob[..MIB]));
    let mut sent = MIB;
    let (second, third) = std::thread::scope(|scope| -> Result<_> {
        let second = scope.spawn(|| append(server, &session, MIB, append_bytes));
        let third = scope.spawn(|| complete(server, &session, &end));
        while !(second.is_finished() && third.is_finished()) {
            first.write_all(&blob[sent..=sent])?;
            sent += 1;
            sleep(Duration::from_millis(200));
        }
        Ok((second.join(), third.join()))
    })?;
    for refused in [second, third] {
        let refused = refused.map_err(|_| anyhow::anyhow!("a panic"))??;
        ensure!(refused.status == 409 && refused.error_code()? == "BLOB_UPLOAD_INVALID", "{refused:?}");
    }
    first.write_all(&blob[sent..])?;
    ensure!(length_of(&Answer::read(&mut first)?.expect(202)?)? == blob.len());
    let digest = Digest::sha256(&blob);
    complete(server, &session, &digest)?.expect(201)?;
    ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.expect(200)?.body == blob);
    Ok(())
}

#[test]
fn a_client_that_is_back_goes_on_though_its_old_connection_hangs() -> Result<()> {
    /// Far below the time that a silent body is waited for.
    const SOON: Duration = Duration::from_secs(8);
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let blob = pattern(2 * MIB);
    let session = server.start_upload("team/app")?;
    let mut hanging = server.begin("PATCH", &session, &[], blob.len())?;
    hanging.write_all(&blob[..MIB])?;
    wait_for_bytes(&registry, MIB / 2)?;
    let begin = Instant::now();
    ensure!(length_of(&server.get(&session)?.expect(204)?)? == 0, "what is not durable was told");
    // The first attempt learns what the old request has brought.
    let wrong = append(server, &session, 0, &blob[..MIB])?.expect(416)?;
    ensure!(length_of(&wrong)? == MIB, "{wrong:?}");
    append(server, &session, MIB, &blob[MIB..])?.expect(202)?;
    complete(server, &session, &Digest::sha256(&blob))?.expect(201)?;
    ensure!(begin.elapsed() < SOON, "it took {:?}", begin.elapsed());
    ensure!(Answer::read(&mut hanging)?.status == 400);
    Ok(())
}

#[test]
fn a_chunk_that_is_not_as_its_range_says_is_not_kept() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let session = server.start_upload("team/app")?;
    for range in ["0-9", "0-30"] {
        let refused =
            server.request("PATCH", &session, &[("Content-Range", range)], &[7; 20])?.expect(400)?;
        ensure!(refused.error_code()? == "SIZE_INVALID", "{refused:?}");
    }
    let refused = server.request("PATCH", &session, &[("Content-Range", "\u{fc}0-19")], &[7; 20])?;
    ensure!(refused.expect(416)?.error_code()? == "RANGE_INVALID");
    ensure!(length_of(&server.get(&session)?.expect(204)?)? == 0);
    Ok(())
}

#[test]
fn a_silent_client_is_given_up_and_its_bytes_are_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("registry.toml");
    std::fs::write(&file, "[limits]\nbody_idle_seconds = 1\n")?;
    let file = file.display().to_string();
    let registry = Registry::start(Options::with(&["--auth", "none", "--config", &file]))?;
    let server = registry.http();
    let blob = pattern(3 * MIB);
    let session = server.start_upload("team/app")?;
    let mut stream = server.begin("PATCH", &session, &[], blob.len())?;
    stream.write_all(&blob[..MIB])?;
    let told = Answer::read(&mut stream)?;
    ensure!(matches!(told.status, 400 | 408), "{told:?}");
    ensure!(String::from_utf8_lossy(&told.body).contains("1 second"), "{told:?}");
    ensure!(length_of(&status(server, &session)?)? == MIB);
    append(server, &session, MIB, &blob[MIB..])?.expect(202)?;
    complete(server, &session, &Digest::sha256(&blob))?.expect(201)?;
    Ok(())
}

#[test]
fn a_blob_of_another_digest_is_refused_and_not_kept() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let (blob, other) = (pattern(MIB), Digest::sha256(b"something else"));
    let whole = format!("/v2/team/app/blobs/uploads/?digest={other}");
    let refused = server.request("POST", &whole, &[], &blob)?.expect(400)?;
    ensure!(refused.error_code()? == "DIGEST_INVALID", "{refused:?}");
    let session = server.start_upload("team/app")?;
    append(server, &session, 0, &blob)?.expect(202)?;
    ensure!(complete(server, &session, &other)?.expect(400)?.error_code()? == "DIGEST_INVALID");
    for digest in [&other, &Digest::sha256(&blob)] {
        ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.status == 404, "{digest} is visible");
    }
    let named = server.request("PUT", &format!("{session}?digest=sha256:short"), &[], b"")?;
    ensure!(named.status == 400 || named.status == 404, "{named:?}");
    Ok(())
}

#[test]
fn a_cancelled_upload_leaves_nothing() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let session = server.start_upload("team/app")?;
    append(server, &session, 0, &pattern(MIB))?.expect(202)?;
    server.request("DELETE", &session, &[], b"")?.expect(204)?;
    let gone = server.get(&session)?.expect(404)?;
    ensure!(gone.error_code()? == "BLOB_UPLOAD_UNKNOWN");
    ensure!(upload_bytes(&registry) == 0);
    Ok(())
}

#[test]
fn the_same_blob_pushed_by_many_is_stored_once() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let blob = pattern(4 * MIB);
    let pushed: Vec<Result<Digest>> = std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..8)
            .map(|at| {
                let blob = &blob;
                scope.spawn(move || server.push_blob(&format!("team/app{at}"), blob))
            })
            .collect();
        pushes
            .into_iter()
            .map(|push| push.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a panic"))))
            .collect()
    });
    for (at, digest) in pushed.into_iter().enumerate() {
        ensure!(server.get(&format!("/v2/team/app{at}/blobs/{}", digest?))?.expect(200)?.body == blob);
    }
    let mut du = std::process::Command::new("du");
    let used = slipway_tests::run(du.args(["--summarize", "--bytes"]).arg(registry.data()), b"")?.ok()?;
    let used: usize = used.split_whitespace().next().context("du says nothing")?.parse()?;
    ensure!(used < 2 * blob.len(), "{used} bytes for one blob of {}", blob.len());
    Ok(())
}
