//! A disk without space: a clear error, nothing lost, and all well again when there is space.

use anyhow::{Result, ensure};
use registry_types::Digest;
use slipway_tests::{Layout, Options, Registry, SmallDisk, is_root, skip};

const DISK_MIB: u32 = 32;
/// Does not fit beside the ballast, and does without it.
const BLOB: usize = 20 << 20;
const BALLAST: usize = 20 << 20;

#[test]
fn a_full_disk_refuses_pushes_and_loses_nothing() -> Result<()> {
    if !is_root() {
        skip("mounting a small disk needs root");
        return Ok(());
    }
    let disk = SmallDisk::mount(DISK_MIB)?;
    let mut options = Options::with(&["--auth", "none"]);
    options.data = Some(disk.path().join("data"));
    let mut registry = Registry::start(options)?;
    let server = registry.http();
    let early = Layout::new(&[("file", b"acknowledged early")])?;
    early.push(server, "team/app", "early")?;
    let intact = || -> Result<()> {
        ensure!(
            server.get("/v2/team/app/manifests/early")?.expect(200)?.body == early.read(&early.manifest)?
        );
        for digest in [&early.config, &early.layer] {
            let blob = server.get(&format!("/v2/team/app/blobs/{digest}"))?.expect(200)?;
            ensure!(blob.body == early.read(digest)?);
        }
        Ok(())
    };

    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; BALLAST])?;
    let blob = vec![3; BLOB];
    let digest = Digest::sha256(&blob);
    let whole = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    for _ in 0..3 {
        let refused = server.request("POST", &whole, &[], &blob)?.expect(507)?;
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        ensure!(text.contains("space") || text.contains("full"), "the error does not say why: {text}");
        intact()?;
    }
    ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.status == 404);
    // What a refused push took is given back: small ones still fit.
    let small = Layout::new(&[("file", b"small enough")])?;
    small.push(server, "team/app", "small")?;

    // No byte is left, not even for the database.
    let rest = disk.path().join("rest");
    let _ = std::fs::write(&rest, vec![0; DISK_MIB as usize * (1 << 20)]);
    let refused = server.request("POST", "/v2/team/app/blobs/uploads/", &[], b"")?;
    ensure!(matches!(refused.status, 202 | 507), "{refused:?}");
    let manifest = Layout::new(&[("file", b"small enough")])?;
    let refused = server.put_manifest("team/app", "late", &manifest.read(&manifest.manifest)?)?;
    ensure!(matches!(refused.status, 201 | 507), "{refused:?}");
    let acknowledged = refused.status == 201;
    intact()?;
    // It even starts there: somebody may have to pull before there is space.
    registry.kill()?;
    registry.start_again()?;
    intact()?;

    std::fs::remove_file(&rest)?;
    std::fs::remove_file(&ballast)?;
    ensure!(server.push_blob("team/app", &blob)? == digest, "the registry does not recover");
    ensure!(server.get(&format!("/v2/team/app/blobs/{digest}"))?.expect(200)?.body == blob);
    small.push(server, "team/app", "after")?;
    ensure!((server.get("/v2/team/app/manifests/late")?.status == 200) == acknowledged);
    intact()
}
