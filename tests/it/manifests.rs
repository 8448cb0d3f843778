//! Broken manifests, each with one clear error, and nothing visible after it.

use anyhow::{Result, ensure};
use registry_types::Digest;
use serde_json::{Value, json};
use slipway_tests::{Layout, Registry};

/// The specification's bound.
const LARGEST: usize = 4 << 20;

#[test]
fn a_manifest_over_the_bound_is_too_large() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let layout = Layout::new(&[("file", b"content")])?;
    layout.push(server, "team/app", "1")?;
    // Padded with an annotation to exactly the bound, and one byte beyond it.
    let mut manifest: Value = serde_json::from_slice(&layout.read(&layout.manifest)?)?;
    manifest["annotations"] = json!({ "padding": "" });
    let padding = LARGEST - manifest.to_string().len();
    manifest["annotations"] = json!({ "padding": "x".repeat(padding) });
    let largest = manifest.to_string();
    ensure!(largest.len() == LARGEST);
    server.put_manifest("team/app", "large", largest.as_bytes())?.expect(201)?;
    ensure!(server.get("/v2/team/app/manifests/large")?.expect(200)?.body == largest.as_bytes());
    manifest["annotations"] = json!({ "padding": "x".repeat(padding + 1) });
    let refused = server.put_manifest("team/app", "larger", manifest.to_string().as_bytes())?.expect(413)?;
    refused.error_code()?;
    ensure!(server.get("/v2/team/app/manifests/larger")?.status == 404);
    Ok(())
}

#[test]
fn a_manifest_whose_parts_are_missing_names_them() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let layout = Layout::new(&[("file", b"content")])?;
    let manifest = layout.read(&layout.manifest)?;
    server.push_blob("team/app", &layout.read(&layout.config)?)?;
    // The layer is in the registry, but in another repository.
    server.push_blob("other/app", &layout.read(&layout.layer)?)?;
    let refused = server.put_manifest("team/app", "1", &manifest)?.expect(404)?;
    ensure!(refused.error_code()? == "MANIFEST_BLOB_UNKNOWN", "{refused:?}");
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    ensure!(text.contains(&layout.layer.to_string()), "the missing layer is not named: {text}");
    ensure!(!text.contains(&layout.config.to_string()), "the config is there: {text}");
    ensure!(server.get("/v2/team/app/manifests/1")?.status == 404);
    server.push_blob("team/app", &layout.read(&layout.layer)?)?;
    server.put_manifest("team/app", "1", &manifest)?.expect(201)?;
    Ok(())
}

#[test]
fn a_manifest_is_what_its_digest_says() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let layout = Layout::new(&[("file", b"content")])?;
    layout.push(server, "team/app", "1")?;
    let other = Digest::sha256(b"something else");
    let refused = server.put_manifest("team/app", &other.to_string(), &layout.read(&layout.manifest)?)?;
    ensure!(refused.expect(400)?.error_code()? == "DIGEST_INVALID");
    ensure!(server.get(&format!("/v2/team/app/manifests/{other}"))?.status == 404);
    // Kept as sent, to the byte: spaces, order and unknown fields.
    let mut odd = layout.read(&layout.manifest)?;
    odd.truncate(odd.len() - 1);
    odd.extend_from_slice(b" ,\n  \"unknown\" : [1,2 ]}\n");
    server.put_manifest("team/app", "odd", &odd)?.expect(201)?;
    let got = server.get("/v2/team/app/manifests/odd")?.expect(200)?;
    ensure!(
        got.body == odd && got.header("docker-content-digest") == Some(&Digest::sha256(&odd).to_string())
    );
    Ok(())
}

#[test]
fn what_is_no_manifest_is_refused() -> Result<()> {
    let registry = Registry::open_to_all()?;
    let server = registry.http();
    let layout = Layout::new(&[("file", b"content")])?;
    layout.push(server, "team/app", "1")?;
    let good: Value = serde_json::from_slice(&layout.read(&layout.manifest)?)?;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.to_string().into_bytes()
    };
    let broken: [(&str, Vec<u8>); 7] = [
        ("empty", Vec::new()),
        ("no JSON", b"<manifest/>".to_vec()),
        ("no object", b"[1, 2]".to_vec()),
        ("cut", layout.read(&layout.manifest)?[..100].to_vec()),
        ("digest", with(&|manifest| manifest["layers"][0]["digest"] = json!("sha256:../../etc/passwd"))),
        ("size", with(&|manifest| manifest["layers"][0]["size"] = json!(-1))),
        ("layers", with(&|manifest| manifest["layers"] = json!("none"))),
    ];
    for (name, bytes) in broken {
        let refused = server.put_manifest("team/app", "broken", &bytes)?;
        ensure!(refused.status == 400, "{name}: {refused:?}");
        ensure!(refused.error_code()? == "MANIFEST_INVALID", "{name}: {refused:?}");
    }
    ensure!(server.get("/v2/team/app/manifests/broken")?.status == 404);
    ensure!(server.get("/v2/team/app/tags/list")?.json()?["tags"] == json!(["1"]));
    // And its content type must not contradict it.
    let path = "/v2/team/app/manifests/contradicted";
    let headers = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
    let refused = server.request("PUT", path, &headers, good.to_string().as_bytes())?;
    ensure!(refused.status == 400, "{refused:?}");
    Ok(())
}
