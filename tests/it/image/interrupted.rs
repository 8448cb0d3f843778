//! Copies that are cut, and copies that are killed and started again: what was there is not fetched twice.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use registry_types::Digest;
use serde_json::json;
use slipway_tests::Registry;

use super::{MANIFEST, command, image, image_json};

const MIB: u64 = 1 << 20;

/// What a proxy does to the connections of a client.
#[derive(Clone, Copy)]
enum Mood {
    /// Closes each connection after so many bytes towards the client.
    Cuts(u64),
    /// Passes so many bytes towards the client, all connections together, and then none.
    Stalls(u64),
}

/// A TCP proxy before a registry. It lives as long as the test's process.
struct Proxy {
    address: SocketAddr,
    /// Bytes towards the client.
    passed: Arc<AtomicU64>,
}

impl Proxy {
    fn start(upstream: SocketAddr, mood: Mood) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let passed = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&passed);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                // An end that is gone ends the connection, and nothing more.
                std::thread::spawn(move || carry(&client, upstream, mood, &counted));
            }
        });
        Ok(Self { address, passed })
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

fn carry(client: &TcpStream, upstream: SocketAddr, mood: Mood, passed: &AtomicU64) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let mut to_client = client;
    let mut own = 0;
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = server.read(&mut piece)?;
        let all = passed.load(Ordering::SeqCst);
        match mood {
            _ if length == 0 => break,
            Mood::Cuts(limit) if own >= limit => break,
            Mood::Stalls(limit) if all >= limit => loop {
                std::thread::park();
            },
            _ => {}
        }
        to_client.write_all(piece.get(..length).unwrap_or_default())?;
        own += length as u64;
        passed.fetch_add(length as u64, Ordering::SeqCst);
    }
    client.shutdown(std::net::Shutdown::Both)?;
    server.shutdown(std::net::Shutdown::Both)
}

/// An image with a layer of `length` bytes in a repository `team/app`.
fn long_image(registry: &Registry, length: u64) -> Result<(Digest, Vec<u8>)> {
    let server = registry.http();
    let layer: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let blob = server.push_blob("team/app", &layer)?;
    let config = server.push_blob("team/app", b"{}")?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": blob, "size": length }],
    })
    .to_string();
    server.put_manifest("team/app", "1", manifest.as_bytes())?.expect(201)?;
    Ok((blob, layer))
}

#[test]
fn a_copy_through_a_network_that_cuts_goes_on_and_reads_little_twice() -> Result<()> {
    let (first, second) = (Registry::open_to_all()?, Registry::open_to_all()?);
    let length = 40 * MIB;
    let (blob, layer) = long_image(&first, length)?;
    let proxy = Proxy::start(first.http().0, Mood::Cuts(6 * MIB))?;
    let to = format!("{}/team/app:1", second.name());
    image(&["copy", &format!("{}/team/app:1", proxy.address), &to])?.ok()?;
    ensure!(second.http().get(&format!("/v2/team/app/blobs/{blob}"))?.expect(200)?.body == layer);
    // What was on its way when a connection was cut is read again, and no more.
    ensure!(proxy.passed() < length + length / 4, "{} bytes were read for {length}", proxy.passed());

    // The same into a layout.
    let folder = tempfile::tempdir()?;
    let target = format!("oci:{}", folder.path().join("layout").display());
    let proxy = Proxy::start(first.http().0, Mood::Cuts(6 * MIB))?;
    image(&["copy", &format!("{}/team/app:1", proxy.address), &target])?.ok()?;
    ensure!(fs::read(folder.path().join("layout/blobs/sha256").join(blob.hex()))? == layer);
    ensure!(proxy.passed() < length + length / 4, "{} bytes were read for {length}", proxy.passed());
    Ok(())
}

/// Starts a copy through a proxy that stalls half-way, and kills it there.
fn killed_half_way(registry: &Registry, target: &str, half: u64) -> Result<()> {
    let proxy = Proxy::start(registry.http().0, Mood::Stalls(half))?;
    let from = format!("{}/team/app:1", proxy.address);
    let mut child = command(&["copy", &from, target]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let until = Instant::now() + Duration::from_secs(60);
    while proxy.passed() < half && Instant::now() < until {
        sleep(Duration::from_millis(20));
    }
    // What has passed is written out by then.
    sleep(Duration::from_millis(500));
    child.kill()?;
    child.wait()?;
    ensure!(proxy.passed() >= half, "the copy did not come half-way");
    Ok(())
}

#[test]
fn a_copy_into_a_layout_that_was_killed_goes_on_where_it_was() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let length = 40 * MIB;
    let (blob, layer) = long_image(&registry, length)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("layout");
    let target = format!("oci:{}", path.display());
    killed_half_way(&registry, &target, length / 2)?;
    ensure!(!path.join("index.json").exists(), "a half image has a name");
    let proxy = Proxy::start(registry.http().0, Mood::Cuts(u64::MAX))?;
    image(&["copy", &format!("{}/team/app:1", proxy.address), &target])?.ok()?;
    ensure!(fs::read(path.join("blobs/sha256").join(blob.hex()))? == layer);
    ensure!(proxy.passed() < length * 3 / 4, "{} bytes were read for the second half", proxy.passed());
    Ok(())
}

#[test]
fn a_copy_into_a_registry_that_was_killed_skips_what_is_there() -> Result<()> {
    let (first, second) = (Registry::open_to_all()?, Registry::open_to_all()?);
    let length = 40 * MIB;
    let (blob, layer) = long_image(&first, length)?;
    let to = format!("{}/team/app:1", second.name());
    killed_half_way(&first, &to, length / 2)?;
    ensure!(second.http().get("/v2/team/app/manifests/1")?.status == 404, "a half image has a name");
    let report = image_json(&["copy", &format!("{}/team/app:1", first.name()), &to])?;
    // The configuration is there; of the layer only whole uploads count.
    ensure!(report["images"][0]["blobs"] == json!({"copied": 1, "mounted": 0, "existed": 1}), "{report}");
    ensure!(second.http().get(&format!("/v2/team/app/blobs/{blob}"))?.expect(200)?.body == layer);
    Ok(())
}
