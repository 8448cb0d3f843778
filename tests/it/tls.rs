//! Certificates: our own authority's, somebody else's, and new ones under a running server.

use std::{
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use slipway_tests::{Options, Registry, program, run, skip};

const CURL: &str = "/usr/bin/curl";
/// How soon a running server must have seen a new certificate: it looks every two seconds.
const NEW_CERTIFICATE_TIME: Duration = Duration::from_secs(15);

/// How soon a server must have noticed that a client is gone.
const CUT_TIME: Duration = Duration::from_secs(20);

/// Whether a client that trusts only `authority` gets an answer.
fn trusts(authority: &Path, registry: &Registry) -> Result<bool> {
    let mut command = Command::new(CURL);
    command.args(["--silent", "--fail", "--noproxy", "*", "--cacert"]).arg(authority);
    Ok(run(command.arg(format!("https://{}/v2/", registry.name())), b"")?.success)
}

#[test]
fn a_certificate_is_exchanged_while_serving() -> Result<()> {
    if program(CURL).is_none() {
        skip("curl is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (chain, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    let (first, second) = (folder.path().join("first.crt"), folder.path().join("second.crt"));
    let write = |kept: &Path| -> Result<()> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        fs::write(kept, cert.pem())?;
        // The key first: the server looks at the certificate.
        fs::write(&key, signing_key.serialize_pem())?;
        fs::write(&chain, cert.pem())?;
        Ok(())
    };
    write(&first)?;
    let files = [chain.display().to_string(), key.display().to_string()];
    let registry =
        Registry::start(Options::with(&["--auth", "none", "--tls-cert", &files[0], "--tls-key", &files[1]]))?;
    ensure!(trusts(&first, &registry)?);

    // What cannot be read changes nothing.
    fs::write(&chain, "no certificate")?;
    sleep(Duration::from_secs(3));
    ensure!(trusts(&first, &registry)?, "a broken file ended the service");

    write(&second)?;
    ensure!(!trusts(&second, &registry)? || !trusts(&first, &registry)?, "both are served");
    let until = Instant::now() + NEW_CERTIFICATE_TIME;
    while !trusts(&second, &registry)? {
        ensure!(Instant::now() < until, "the new certificate is not served");
        sleep(Duration::from_millis(200));
    }
    ensure!(!trusts(&first, &registry)?, "the old certificate is still served");
    Ok(())
}

/// Uploads over TLS, from a client that is cut off in the middle, in both versions.
#[test]
fn a_cut_upload_goes_on_over_tls() -> Result<()> {
    if program(CURL).is_none() {
        skip("curl is not installed");
        return Ok(());
    }
    let registry = Registry::start(Options::with(&["--auth", "none", "--tls", "self-signed"]))?;
    let folder = tempfile::tempdir()?;
    let blob: Vec<u8> = (0..6_000_007_u32).map(|at| (at ^ (at >> 9)).wrapping_mul(37) as u8).collect();
    let digest = registry_types::Digest::sha256(&blob);
    for version in ["--http1.1", "--http2"] {
        let session = registry.http().start_upload("team/app")?;
        let patch = |options: &[&str], from: usize| -> Result<slipway_tests::Finished> {
            let rest = folder.path().join("rest");
            fs::write(&rest, &blob[from..])?;
            let mut command = Command::new(CURL);
            command.args(["--silent", "--show-error", "--noproxy", "*", version, "--request", "PATCH"]);
            command.args(options).arg("--cacert").arg(registry.authority());
            command.args(["--header", &format!("Content-Range: {from}-{}", blob.len() - 1)]);
            command.args([
                "--write-out",
                "%{response_code}",
                "--data-binary",
                &format!("@{}", rest.display()),
            ]);
            run(command.arg(format!("https://{}{session}", registry.name())), b"")
        };
        let cut = patch(&["--limit-rate", "2M", "--max-time", "1"], 0)?;
        ensure!(cut.code == Some(28), "the client was not cut off: {cut:?}");
        let until = Instant::now() + CUT_TIME;
        let kept: usize = loop {
            let answer = registry.http().get(&session)?;
            match answer.header("upload-offset") {
                Some(length) if answer.status == 204 && length != "0" => break length.parse()?,
                _ => ensure!(Instant::now() < until, "{version}: nothing was kept: {answer:?}"),
            }
            sleep(Duration::from_millis(100));
        };
        ensure!(kept < blob.len());
        ensure!(patch(&[], kept)?.ok()? == "202", "{version}");
        let end = format!("{session}?digest={digest}");
        registry.http().request("PUT", &end, &[], b"")?.expect(201)?;
    }
    Ok(())
}

#[test]
fn the_private_authority_stays_and_is_known_to_its_owner_only() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if program(CURL).is_none() {
        skip("curl is not installed");
        return Ok(());
    }
    let mut registry = Registry::start(Options::with(&["--tls", "self-signed"]))?;
    let authority = fs::read(registry.authority())?;
    for secret in ["tls/ca.key", "tls/server.key", "keys/signing.pem", "admin-password", "metadata.sqlite"] {
        let mode = fs::metadata(registry.data().join(secret))?.permissions().mode();
        ensure!(mode & 0o777 == 0o600, "{secret} has mode {mode:o}");
    }
    registry.terminate()?;
    ensure!(registry.wait()?.success());
    registry.start_again()?;
    ensure!(fs::read(registry.authority())? == authority, "clients would have to trust anew");
    // 401 is an answer too: it is the certificate that counts.
    let mut command = Command::new(CURL);
    command.args(["--silent", "--noproxy", "*", "--cacert"]).arg(registry.authority());
    let asked = run(command.arg(format!("https://{}/v2/", registry.name())), b"")?.ok()?;
    ensure!(asked.contains("UNAUTHORIZED"), "{asked}");
    Ok(())
}

#[test]
fn a_key_of_another_certificate_is_refused_at_the_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (chain, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    fs::write(&chain, generate_simple_self_signed(["127.0.0.1".to_owned()])?.cert.pem())?;
    fs::write(&key, generate_simple_self_signed(["127.0.0.1".to_owned()])?.signing_key.serialize_pem())?;
    let files = [chain.display().to_string(), key.display().to_string()];
    let started =
        Registry::start(Options::with(&["--auth", "none", "--tls-cert", &files[0], "--tls-key", &files[1]]));
    let Err(refused) = started else { anyhow::bail!("it serves with a key of another certificate") };
    let said = refused.to_string();
    ensure!(said.contains("TLS") && !said.contains("PRIVATE"), "{said}");
    Ok(())
}
