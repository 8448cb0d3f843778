//! A build's way through the store by its public interface alone: a base layer, a step that copies, a layer of it, and
//! the same image in another store.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use builder_store::checksum::{ChecksumOptions, StatCache, checksum};
use builder_store::compression::{Compression, ExpansionLimits, LayerDigests};
use builder_store::copy::{CopyRequest, CopySource, copy, expand_wildcards, select_all};
use builder_store::layer::{DiffOptions, UnpackOptions};
use builder_store::store::{
    LayerOptions, LayerToUnpack, Snapshot, SnapshotId, StepLayer, StepRecord, write_layer,
};
use builder_store::tar::ModificationTime;
use builder_store::tree::{FileKind, Node, Tree};
use builder_store::{Result, Store};
use registry_types::{Descriptor, Digest};

/// Later times become this one, as with `SOURCE_DATE_EPOCH`.
const EPOCH: i64 = 1_600_000_000;

fn context() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("src/inner")).unwrap();
    for number in 0..40_u8 {
        // Enough for several blocks, and of a kind that compresses.
        let content: Vec<u8> = (0..100_000_u32).map(|at| (at / 7 + u32::from(number)) as u8).collect();
        fs::write(root.path().join(format!("src/file-{number}")), content).unwrap();
    }
    fs::write(root.path().join("src/inner/a.conf"), b"a").unwrap();
    fs::write(root.path().join("src/inner/b.conf"), b"b").unwrap();
    for path in ["src", "src/inner", "src/inner/a.conf", "src/inner/b.conf"] {
        set_mode(&root.path().join(path), path.contains("conf"));
    }
    for number in 0..40 {
        set_mode(&root.path().join(format!("src/file-{number}")), true);
    }
    root
}

/// Modes must not depend on the umask of who runs the test.
fn set_mode(path: &Path, is_file: bool) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if is_file { 0o644 } else { 0o755 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn options(threads: usize) -> LayerOptions {
    LayerOptions {
        diff: DiffOptions { source_date_epoch: Some(EPOCH) },
        compression: Compression::default(),
        threads,
    }
}

/// COPY of a pattern as one step.
fn copy_step(
    store: &Store,
    parent: Option<&SnapshotId>,
    context: &Path,
    pattern: &[u8],
    destination: &[u8],
    threads: usize,
) -> Result<(Snapshot, LayerDigests)> {
    let tree = Tree::open(&[context])?;
    let paths = expand_wildcards(&tree, pattern, &select_all)?;
    let by_content = ChecksumOptions { select: &select_all, with_owner: false };
    let content = checksum(&tree, &paths, &by_content, &StatCache::default())?;
    let key = Digest::sha256(format!("{parent:?} {content} {}", destination.escape_ascii()).as_bytes());
    let upper = store.snapshots.prepare(parent)?;
    let mut target = upper.tree()?;
    let sources: Vec<_> = paths.iter().map(|path| CopySource::Path { tree: &tree, path }).collect();
    let request = CopyRequest {
        destination,
        owner: Some(owner()),
        mode: None,
        keep_capabilities: true,
        created: ModificationTime::from_seconds(EPOCH),
        select: &select_all,
        unpack: None,
    };
    copy(&mut target, &sources, &request)?;
    target.finish()?;
    let lowers = upper.lowers().to_vec();
    let snapshot = upper.commit(SnapshotId::from_key(key))?;
    let ingest = store.content.ingest()?;
    let (ingest, digests, summary) = write_layer(&snapshot.files, &lowers, &options(threads), ingest)?;
    assert!(!summary.is_empty());
    ingest.commit_hashed(&digests.digest)?;
    let layer = StepLayer { descriptor: digests.descriptor(), diff_id: digests.diff_id };
    store.steps.insert(&key, &StepRecord { snapshot: snapshot.id, layer: Some(layer) })?;
    assert!(store.step(&key)?.is_some());
    Ok((snapshot, digests))
}

fn build(store: &Store, context: &Path, threads: usize) -> (Snapshot, [LayerDigests; 2]) {
    let (base, below) = copy_step(store, None, context, b"src", b"/app", threads).unwrap();
    let (top, above) =
        copy_step(store, Some(&base.id), context, b"src/inner/*.conf", b"/app/etc/", threads).unwrap();
    (top, [below, above])
}

fn unpack(store: &Store, from: &Store, layers: &[(Descriptor, Digest)]) -> Result<SnapshotId> {
    let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| *diff_id).collect();
    let mut parent = None;
    for (count, (blob, diff_id)) in layers.iter().enumerate() {
        let mut ingest = store.content.ingest()?;
        from.content.copy_to(&blob.digest, &mut ingest)?;
        ingest.commit_verified(blob)?;
        let id = SnapshotId::of_layers(&diff_ids[..=count]).expect("there is a layer");
        let layer = LayerToUnpack { parent: parent.as_ref(), id, diff_id };
        let open = || store.content.open_blob(&blob.digest);
        store.snapshots.unpack(layer, open, &UnpackOptions::default(), ExpansionLimits::default())?;
        parent = Some(id);
    }
    Ok(parent.expect("there is a layer"))
}

type Files = BTreeMap<String, (FileKind, u32, (u32, u32), i64, Vec<u8>)>;

fn files(store: &Store, id: &SnapshotId) -> Files {
    let tree = Tree::open(&store.snapshots.layers(id).unwrap()).unwrap();
    let mut files = Files::new();
    walk(&tree, &tree.root().unwrap(), &mut files);
    files
}

fn walk(tree: &Tree, directory: &Node, files: &mut Files) {
    for node in tree.children(directory).unwrap() {
        let metadata = node.metadata;
        let mut content = Vec::new();
        if metadata.is_directory() {
            walk(tree, &node, files);
        } else {
            tree.open_file(&node).unwrap().read_to_end(&mut content).unwrap();
        }
        let seconds = metadata.modified.seconds.min(EPOCH);
        let owner = (metadata.uid, metadata.gid);
        files.insert(node.path.to_string(), (metadata.kind, metadata.mode, owner, seconds, content));
    }
}

#[test]
fn a_build_is_the_same_at_any_number_of_threads_and_survives_the_way_to_another_store() {
    let context = context();
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let stores = roots.each_ref().map(|root| Store::open(root.path()).unwrap());
    let (top, layers) = build(&stores[0], context.path(), 1);
    for (store, threads) in stores[1..].iter().zip([2, 4]) {
        let (_, same) = build(store, context.path(), threads);
        assert_eq!(same.map(|layer| layer.digest), layers.map(|layer| layer.digest));
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = Store::open(elsewhere.path()).unwrap();
    let layers = layers.map(|layer| (layer.descriptor(), layer.diff_id));
    let unpacked = unpack(&elsewhere, &stores[0], &layers).unwrap();
    let built = files(&stores[0], &top.id);
    assert_eq!(files(&elsewhere, &unpacked), built);
    let conf: Vec<_> = built.keys().filter(|path| path.starts_with("/app/etc/")).collect();
    assert_eq!(conf, ["/app/etc/a.conf", "/app/etc/b.conf"]);
}

#[test]
fn the_digest_of_a_layer_is_the_known_one() {
    if owner() != (0, 0) {
        eprintln!("skipped: the layer's owner is whoever runs the test, and the digest is known for root's");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let (_, [layer, _]) = build(&store, context().path(), 2);
    assert_eq!(
        (layer.diff_id.to_string().as_str(), layer.digest.to_string().as_str()),
        (
            "sha256:3309186f0efb56e08940943408bd9c287612674b9894e1a5dc226794e0decc67",
            "sha256:3aa97b3f655d363e14416e0d6db318598dcca74da3dad2151bacffe04a2b6073",
        ),
        "the same tree gives another layer than before: every cached layer is lost, so say so in the change log"
    );
}
