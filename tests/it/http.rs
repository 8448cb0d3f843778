//! The wrong scheme, the wrong version, the wrong method, too much and too slow: what a client sees then.

use std::{
    io::{Read, Write},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use slipway_tests::{Options, Registry, http::Answer, program, run, skip};

/// A request's head may take 30 seconds; the test waits longer than that.
const SLOW: Duration = Duration::from_secs(50);
/// Below this the server did not wait for slow clients at all.
const TOO_SOON: Duration = Duration::from_secs(10);

#[test]
fn http_where_tls_is_required_is_told_so() -> Result<()> {
    let registry =
        Registry::start(Options::with(&["--auth", "none", "--tls", "self-signed", "--tls-required"]))?;
    let answer = registry.http().get("/v2/")?.expect(400)?;
    ensure!(
        answer.json()?["errors"][0]["message"].as_str().is_some_and(|text| text.contains("https://")),
        "{answer:?}"
    );
    // A push is told the same, though it sends a body that nobody reads.
    let body = vec![0; 1 << 20];
    let answer = registry.http().request("POST", "/v2/a/blobs/uploads/", &[], &body)?.expect(400)?;
    ensure!(String::from_utf8_lossy(&answer.body).contains("https://"));
    Ok(())
}

#[test]
fn tls_where_there_is_none_is_told_so() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let mut stream = registry.http().connect()?;
    // The record header of a ClientHello and some of it.
    stream.write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3])?;
    let answer = Answer::read(&mut stream)?.expect(400)?;
    ensure!(String::from_utf8_lossy(&answer.body).contains("plain HTTP"), "{answer:?}");
    Ok(())
}

#[test]
fn one_port_serves_http_and_tls_and_both_versions() -> Result<()> {
    let Some(curl) = program("/usr/bin/curl") else {
        skip("curl is not installed");
        return Ok(());
    };
    let registry = Registry::start(Options::with(&["--auth", "none", "--tls", "self-signed"]))?;
    let port = registry.http().0.port();
    let ask = |arguments: &[&str], scheme: &str| -> Result<String> {
        let mut command = Command::new(curl);
        command.args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--write-out",
            "%{http_version} %{response_code}",
        ]);
        command.args(["--output", "/dev/null"]).args(arguments).arg("--cacert").arg(registry.authority());
        run(command.arg(format!("{scheme}://127.0.0.1:{port}/v2/")), b"")?.ok()
    };
    ensure!(ask(&["--http2"], "https")? == "2 200", "HTTP/2 by ALPN");
    ensure!(ask(&["--http1.1"], "https")? == "1.1 200");
    ensure!(ask(&["--http1.1"], "http")? == "1.1 200");
    ensure!(ask(&["--http2-prior-knowledge"], "http")? == "2 200");
    // The certificate is checked by all of these: without the authority nothing is had.
    let mut distrusting = Command::new(curl);
    distrusting.args(["--silent", "--noproxy", "*"]).arg(format!("https://127.0.0.1:{port}/v2/"));
    ensure!(run(&mut distrusting, b"")?.code == Some(60));
    Ok(())
}

#[test]
fn a_blob_arrives_whole_over_every_protocol() -> Result<()> {
    let Some(curl) = program("/usr/bin/curl") else {
        skip("curl is not installed");
        return Ok(());
    };
    let registry = Registry::start(Options::with(&["--auth", "none", "--tls", "self-signed"]))?;
    let port = registry.http().0.port();
    // More than any window or buffer, and of an odd length.
    let blob: Vec<u8> = (0..20_000_003_u32).map(|at| (at ^ (at >> 8)).wrapping_mul(31) as u8).collect();
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("blob");
    std::fs::write(&source, &blob)?;
    let digest = registry_types::Digest::sha256(&blob);
    for (name, version, scheme) in [
        ("http1", "--http1.1", "http"),
        ("http2", "--http2-prior-knowledge", "http"),
        ("tls1", "--http1.1", "https"),
        ("tls2", "--http2", "https"),
    ] {
        let curl = |arguments: &[&str], path: &str| -> Result<String> {
            let mut command = Command::new(curl);
            command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", version]).args(arguments);
            command.arg("--cacert").arg(registry.authority());
            run(command.arg(format!("{scheme}://127.0.0.1:{port}/v2/{name}/blobs/{path}")), b"")?.ok()
        };
        let data = format!("@{}", source.display());
        curl(&["--request", "POST", "--data-binary", &data], &format!("uploads/?digest={digest}"))?;
        let back = folder.path().join(name);
        curl(&["--output", &back.display().to_string()], &digest.to_string())?;
        ensure!(std::fs::read(&back)? == blob, "{name}");
        curl(&["--output", &back.display().to_string(), "--range", "12345678-"], &digest.to_string())?;
        ensure!(std::fs::read(&back)? == blob[12_345_678..], "the tail over {name}");
    }
    Ok(())
}

#[test]
fn methods_that_a_path_has_not_are_named() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let digest = registry_types::Digest::sha256(b"");
    for (method, path, allow) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("DELETE", "/v2/_catalog", "GET, HEAD"),
        ("PUT", "/v2/team/app/tags/list", "GET, HEAD"),
        ("PATCH", "/v2/team/app/manifests/1", "GET, HEAD, PUT, DELETE"),
        ("PUT", &format!("/v2/team/app/blobs/{digest}"), "GET, HEAD, DELETE"),
        ("GET", "/v2/team/app/blobs/uploads/", "POST"),
        ("BREW", "/v2/", "GET, HEAD"),
    ] {
        let answer = registry.http().request(method, path, &[], b"")?.expect(405)?;
        ensure!(answer.header("allow") == Some(allow), "{method} {path}: {answer:?}");
        ensure!(answer.error_code()? == "UNSUPPORTED");
    }
    let options = registry.http().request("OPTIONS", "/v2/no/such/manifests/1", &[], b"")?.expect(200)?;
    ensure!(options.header("allow").is_some_and(|methods| methods.contains("DELETE")), "{options:?}");
    Ok(())
}

#[test]
fn heads_that_are_too_large_are_refused() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let long = "x".repeat(200 << 10);
    ensure!(server.request("GET", "/v2/", &[("X-Long", &long)], b"")?.status == 431);
    let many: Vec<(String, String)> = (0..200).map(|at| (format!("X-{at}"), "x".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    ensure!(server.request("GET", "/v2/", &many, b"")?.status == 431);
    let path = format!("/v2/{}/tags/list", "a/".repeat(100 << 10));
    ensure!(matches!(server.get(&path)?.status, 414 | 431));
    // A token of many scopes is long and must pass.
    let token = format!("Bearer {}", "x".repeat(16 << 10));
    ensure!(server.request("GET", "/v2/", &[("Authorization", &token)], b"")?.status == 200);
    Ok(())
}

#[test]
fn nonsense_is_a_bad_request_and_hurts_nobody() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    for nonsense in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /v2/ HTTP/9.9\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut stream = server.connect()?;
        stream.write_all(nonsense)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    for path in [
        "/v2/../../etc/passwd",
        "/v2/UPPER/tags/list",
        "/v2/a/manifests/..",
        "/v2/a/blobs/sha256:short",
        "/v2/%2e%2e/tags/list",
        "/",
    ] {
        let answer = server.get(path)?;
        ensure!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        answer.error_code()?;
    }
    ensure!(server.get("/v2/")?.status == 200);
    Ok(())
}

#[test]
fn slow_clients_are_sent_away() -> Result<()> {
    let registry = Registry::start(Options::with(&["--auth", "none", "--tls", "self-signed"]))?;
    let begin = Instant::now();
    // Nothing at all, half a request, half a handshake.
    let mut clients = Vec::new();
    for opening in [&b""[..], b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Slow: ", &[0x16, 3, 1, 0, 200, 1, 0]] {
        let mut stream = registry.http().connect()?;
        stream.write_all(opening)?;
        stream.set_read_timeout(Some(SLOW))?;
        clients.push(stream);
    }
    for mut stream in clients {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        ensure!(begin.elapsed() > TOO_SOON, "a client was sent away after {:?}", begin.elapsed());
        let text = String::from_utf8_lossy(&rest);
        ensure!(rest.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
    ensure!(registry.http().get("/v2/")?.status == 200);
    Ok(())
}
