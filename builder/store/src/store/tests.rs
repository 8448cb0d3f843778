//! The store under use by several hands, under interruption, and under pruning.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use registry_types::{Algorithm, Descriptor, ImageReference, MediaType};

use super::*;
use crate::compression::ExpansionLimits;
use crate::error::StoreError;
use crate::layer::UnpackOptions;
use crate::testing::{Mounted, describe, describe_directory};
use crate::tree::Tree;

pub(super) fn open() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    (root, store)
}

pub(super) fn name(text: &str) -> ImageReference {
    text.parse().unwrap()
}

pub(super) fn put(store: &Store, content: &[u8]) -> Descriptor {
    let digest = store.content.put(content).unwrap();
    Descriptor::new(MediaType::known(MediaType::OCI_LAYER_GZIP), digest, content.len() as u64)
}

/// A layer blob of the files under `root`, and its diffID.
pub(super) fn layer(store: &Store, root: &Path) -> (Descriptor, Digest) {
    let options = LayerOptions { threads: 2, ..LayerOptions::default() };
    let ingest = store.content.ingest().unwrap();
    let (ingest, digests, _) = write_layer(root, &[] as &[&Path], &options, ingest).unwrap();
    ingest.commit_hashed(&digests.digest).unwrap();
    (digests.descriptor(), digests.diff_id)
}

/// Owned by the caller, so that unpacking works for an ordinary user as well.
pub(super) fn files(names: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in names {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    root
}

pub(super) fn unpack_blob(
    store: &Store,
    parent: Option<&SnapshotId>,
    id: SnapshotId,
    (blob, diff_id): &(Descriptor, Digest),
) -> Result<Snapshot> {
    let layer = LayerToUnpack { parent, id, diff_id };
    let open = || store.content.open_blob(&blob.digest);
    let unpacked = store.snapshots.unpack(layer, open, &UnpackOptions::default(), ExpansionLimits::default());
    unpacked.map(|(snapshot, _)| snapshot)
}

fn names_below(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
fn a_blob_appears_whole_or_not_at_all() {
    let (_root, store) = open();
    let digest = Digest::sha256(b"content");
    let mut ingest = store.content.ingest().unwrap();
    ingest.write_all(b"cont").unwrap();
    assert!(!store.content.contains(&digest));
    drop(ingest);
    assert_eq!(names_below(&store.root().join("ingest")), 0);
    for (content, size) in [(&b"contenT"[..], 7), (b"content", 8), (b"conten", 7)] {
        let mut ingest = store.content.ingest().unwrap();
        ingest.write_all(content).unwrap();
        let expected = Descriptor::new(MediaType::known(MediaType::OCI_LAYER), digest, size);
        let error = ingest.commit_verified(&expected).unwrap_err();
        assert!(matches!(error, StoreError::DigestMismatch { .. } | StoreError::SizeMismatch { .. }));
        assert!(!store.content.contains(&digest));
    }
    let mut ingest = store.content.ingest().unwrap();
    ingest.write_all(b"content").unwrap();
    ingest.commit_verified(&put(&store, b"content")).unwrap();
    assert_eq!(store.content.size(&digest).unwrap(), Some(7));
    assert_eq!(store.content.read(&digest, 7).unwrap(), b"content");
    assert!(matches!(store.content.read(&digest, 6), Err(StoreError::Limit { .. })));
    let mut copy = Vec::new();
    assert_eq!(store.content.copy_to(&digest, &mut copy).unwrap(), 7);
    assert_eq!(store.content.list().unwrap(), [digest]);
    store.content.remove(&digest).unwrap();
    store.content.remove(&digest).unwrap();
    assert!(matches!(store.content.open_blob(&digest), Err(StoreError::BlobNotFound { .. })));
}

#[test]
fn damage_on_disk_is_found_when_a_blob_is_read() {
    let (_root, store) = open();
    let digest = store.content.put(b"content").unwrap();
    fs::write(store.content.path(&digest), b"CONTENT").unwrap();
    assert!(matches!(store.content.read(&digest, 99), Err(StoreError::DigestMismatch { .. })));
    let copied = store.content.copy_to(&digest, &mut Vec::new());
    assert!(matches!(copied, Err(StoreError::DigestMismatch { .. })));
}

#[test]
fn sha512_blobs_have_their_own_place() {
    let (_root, store) = open();
    let digest = Digest::of(Algorithm::Sha512, b"x");
    let mut ingest = store.content.ingest().unwrap();
    ingest.write_all(b"x").unwrap();
    ingest.commit_verified(&Descriptor::new(MediaType::known(MediaType::OCI_LAYER), digest, 1)).unwrap();
    assert!(store.root().join("blobs/sha512").join(digest.hex()).is_file());
}

#[test]
fn names_are_set_moved_and_taken_away() {
    let (_root, store) = open();
    let (one, other) = (put(&store, b"1"), put(&store, b"2"));
    store.images.set(&name("app"), &one).unwrap();
    store.images.set(&name("gitlab.example:5050/a/b:v1"), &one).unwrap();
    store.images.set(&name("docker.io/library/app:latest"), &other).unwrap();
    assert_eq!(store.images.get(&name("app")).unwrap(), Some(other), "they are one name");
    assert_eq!(store.images.get(&name("gitlab.example:5050/a/b:v1")).unwrap(), Some(one));
    let listed: Vec<_> = store.images.list().unwrap().into_keys().collect();
    assert_eq!(listed, ["docker.io/library/app:latest", "gitlab.example:5050/a/b:v1"]);
    assert!(store.images.remove(&name("app:latest")).unwrap());
    assert!(!store.images.remove(&name("app")).unwrap());
    assert_eq!(store.images.get(&name("app")).unwrap(), None);
}

#[test]
fn names_set_at_once_are_all_kept() {
    let (_root, store) = open();
    let manifest = put(&store, b"1");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, manifest) = (&store, &manifest);
            scope.spawn(move || {
                for number in 0..10 {
                    store.images.set(&name(&format!("app:{thread}-{number}")), manifest).unwrap();
                }
            });
        }
    });
    assert_eq!(store.images.list().unwrap().len(), 40);
}

#[test]
fn chain_ids_are_the_specifications() {
    let [a, b, c] = [&b"a"[..], b"b", b"c"].map(Digest::sha256);
    assert_eq!(SnapshotId::of_layers(&[]), None);
    assert_eq!(*SnapshotId::of_layers(&[a]).unwrap().digest(), a);
    let two = Digest::sha256(format!("{a} {b}").as_bytes());
    let three = Digest::sha256(format!("{two} {c}").as_bytes());
    assert_eq!(*SnapshotId::of_layers(&[a, b, c]).unwrap().digest(), three);
}

#[test]
fn layers_unpack_over_each_other_once() {
    let (_root, store) = open();
    let (below, above) = (files(&["etc/a", "etc/b"]), files(&["etc/b", "etc/c"]));
    let (first, second) = (layer(&store, below.path()), layer(&store, above.path()));
    let first_id = SnapshotId::of_layers(&[first.1]).unwrap();
    let second_id = SnapshotId::of_layers(&[first.1, second.1]).unwrap();
    unpack_blob(&store, None, first_id, &first).unwrap();
    unpack_blob(&store, Some(&first_id), second_id, &second).unwrap();
    let layers = store.snapshots.layers(&second_id).unwrap();
    assert_eq!(layers.len(), 2);
    let merged: Vec<_> = describe(&Tree::open(&layers).unwrap()).into_keys().collect();
    assert_eq!(merged, ["/etc", "/etc/a", "/etc/b", "/etc/c"]);
    // Without their blobs they are found, not made.
    store.content.remove(&first.0.digest).unwrap();
    unpack_blob(&store, None, first_id, &first).unwrap();
}

#[test]
fn a_layer_that_is_not_its_diff_id_or_is_cut_leaves_nothing() {
    let (_root, store) = open();
    let source = files(&["a", "b"]);
    let (blob, diff_id) = layer(&store, source.path());
    let id = SnapshotId::of_layers(&[diff_id]).unwrap();
    let wrong = (blob.clone(), Digest::sha256(b"other"));
    assert!(matches!(unpack_blob(&store, None, id, &wrong), Err(StoreError::DigestMismatch { .. })));
    let mut bytes = store.content.read(&blob.digest, 1 << 20).unwrap();
    bytes.truncate(bytes.len() - 20);
    let cut = (put(&store, &bytes), diff_id);
    let error = unpack_blob(&store, None, id, &cut).unwrap_err();
    assert!(matches!(error, StoreError::Archive { .. }), "{error}");
    assert_eq!(store.snapshots.get(&id).unwrap(), None);
    assert_eq!(names_below(&store.root().join("snapshots/pending")), 0);
    unpack_blob(&store, None, id, &(blob, diff_id)).unwrap();
    let unpacked = store.snapshots.get(&id).unwrap().unwrap();
    assert_eq!(describe_directory(&unpacked.files), describe_directory(source.path()));
}

#[test]
fn builds_that_want_one_layer_at_once_share_it() {
    let (root, store) = open();
    let source = files(&["a", "b/c"]);
    let first = layer(&store, source.path());
    let id = SnapshotId::of_layers(&[first.1]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = Store::open(root.path()).unwrap();
                unpack_blob(&store, None, id, &first).unwrap();
            });
        }
    });
    assert_eq!(store.snapshots.list().unwrap(), [id]);
}

#[test]
fn a_step_that_is_committed_twice_is_there_once() {
    let (_root, store) = open();
    let id = SnapshotId::from_key(Digest::sha256(b"key"));
    let uppers = [store.snapshots.prepare(None).unwrap(), store.snapshots.prepare(None).unwrap()];
    for (number, upper) in uppers.into_iter().enumerate() {
        fs::write(upper.files().join("who"), number.to_string()).unwrap();
        let snapshot = upper.commit(id).unwrap();
        assert_eq!(fs::read(snapshot.files.join("who")).unwrap(), b"0", "the first one stays");
    }
    assert_eq!(names_below(&store.root().join("snapshots/pending")), 0);
}

#[test]
fn the_root_of_a_step_looks_like_its_parents() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_root, store) = open();
    let upper = store.snapshots.prepare(None).unwrap();
    fs::set_permissions(upper.files(), fs::Permissions::from_mode(0o1711)).unwrap();
    let id = SnapshotId::from_key(Digest::sha256(b"parent"));
    upper.commit(id).unwrap();
    let child = store.snapshots.prepare(Some(&id)).unwrap();
    let mode = fs::metadata(child.files()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o1711);
    assert_eq!(child.lowers().len(), 1);
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let (root, store) = open();
    let upper = store.snapshots.prepare(None).unwrap();
    fs::create_dir_all(upper.files().join("deep/er")).unwrap();
    let ingest = store.content.ingest().unwrap();
    // A killed process runs no destructor.
    std::mem::forget(upper);
    std::mem::forget(ingest);
    let other = Store::open(root.path()).unwrap();
    assert_eq!(names_below(&root.path().join("snapshots/pending")), 1, "another process may be at work");
    drop((store, other));
    Store::open(root.path()).unwrap();
    assert_eq!(names_below(&root.path().join("snapshots/pending")), 0);
    assert_eq!(names_below(&root.path().join("ingest")), 0);
}

#[test]
fn snapshots_of_an_earlier_boot_stay_only_if_synced() {
    let (root, store) = open();
    let [synced, lost] = [b"synced", b"lost!!"].map(|key| SnapshotId::from_key(Digest::sha256(key)));
    store.snapshots.prepare(None).unwrap().commit(synced).unwrap();
    store.sync().unwrap();
    store.snapshots.prepare(None).unwrap().commit(lost).unwrap();
    drop(store);
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.snapshots.list().unwrap().len(), 2, "this boot's are whole");
    for id in [synced, lost] {
        let record = store.snapshots.record_path(&id);
        let text = fs::read_to_string(&record).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        fs::write(&record, text.replace(boot.trim(), "another boot")).unwrap();
    }
    drop(store);
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.snapshots.list().unwrap(), [synced]);
}

#[test]
fn trees_deeper_than_open_files_allow_are_removed() {
    let (_root, store) = open();
    let upper = store.snapshots.prepare(None).unwrap();
    let mut directory = upper.files();
    for _ in 0..1500 {
        directory.push("d");
    }
    // Longer than a path may be, so it is made step by step.
    let mut handle = fs::File::open(upper.files()).unwrap();
    for _ in directory.iter().skip(upper.files().iter().count()) {
        rustix::fs::mkdirat(&handle, "d", rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        let inner = rustix::fs::openat(&handle, "d", flags, rustix::fs::Mode::empty()).unwrap();
        handle = fs::File::from(inner);
    }
    drop(upper);
    assert_eq!(names_below(&store.root().join("snapshots/pending")), 0);
}

#[test]
fn a_step_record_holds_only_with_all_its_parts() {
    let (_root, store) = open();
    let key = Digest::sha256(b"key");
    let id = SnapshotId::from_key(key);
    let blob = put(&store, b"layer");
    let record = StepRecord {
        snapshot: id,
        layer: Some(StepLayer { descriptor: blob.clone(), diff_id: Digest::sha256(b"diff") }),
    };
    assert_eq!(store.step(&key).unwrap(), None);
    store.steps.insert(&key, &record).unwrap();
    assert_eq!(store.step(&key).unwrap(), None, "its snapshot is missing");
    store.snapshots.prepare(None).unwrap().commit(id).unwrap();
    store.steps.insert(&key, &record).unwrap();
    assert_eq!(store.step(&key).unwrap(), Some(record.clone()));
    let empty = StepRecord { layer: None, ..record.clone() };
    store.steps.insert(&key, &empty).unwrap();
    assert_eq!(store.step(&key).unwrap(), Some(empty));
    store.steps.insert(&key, &record).unwrap();
    store.content.remove(&blob.digest).unwrap();
    assert_eq!(store.step(&key).unwrap(), None, "its layer is missing");
    assert_eq!(store.steps.list().unwrap(), []);
}

#[test]
fn a_layer_goes_to_two_places_in_one_pass() {
    let (_root, store) = open();
    let source = files(&["a"]);
    let tee = Tee { first: store.content.ingest().unwrap(), second: Vec::new() };
    let (tee, digests, summary) =
        write_layer(source.path(), &[] as &[&Path], &LayerOptions::default(), tee).unwrap();
    assert_eq!(summary.entries, 1);
    tee.first.commit_hashed(&digests.digest).unwrap();
    let mut stored = Vec::new();
    store.content.open_blob(&digests.digest).unwrap().read_to_end(&mut stored).unwrap();
    assert_eq!(stored, tee.second);
    assert_eq!(Digest::sha256(&stored), digests.digest);
}

#[test]
fn a_full_disk_is_one_clear_error_and_loses_nothing() {
    let Some(disk) = Mounted::small_disk(1 << 20) else { return };
    let store = Store::open(&disk.path().join("store")).unwrap();
    let kept = put(&store, b"kept");
    store.images.set(&name("kept"), &kept).unwrap();
    let digest = Digest::sha256(&vec![5; 2 << 20]);
    let error = store.content.put(&vec![5; 2 << 20]).unwrap_err();
    assert!(error.to_string().contains("free space on the disk"), "{error}");
    assert!(!store.content.contains(&digest));
    let source = files(&["small"]);
    let mut noise = vec![0; 3 << 20];
    rustix::rand::getrandom(&mut noise[..], rustix::rand::GetRandomFlags::empty()).unwrap();
    fs::write(source.path().join("large"), noise).unwrap();
    let ingest = store.content.ingest().unwrap();
    let error = write_layer(source.path(), &[] as &[&Path], &LayerOptions::default(), ingest).unwrap_err();
    assert!(error.to_string().contains("free space on the disk"), "{error}");
    let upper = store.snapshots.prepare(None).unwrap();
    let mut tree = upper.tree().unwrap();
    let mut archive = crate::tar::TarWriter::new(Vec::new());
    crate::layer::write_tree(source.path(), crate::layer::DiffOptions::default(), &mut archive).unwrap();
    let archive = archive.finish().unwrap();
    let root = crate::tree::TreePath::root();
    let error =
        crate::layer::unpack(archive.as_slice(), &mut tree, &root, &UnpackOptions::default()).unwrap_err();
    assert!(error.to_string().contains("free space on the disk"), "{error}");
    drop(upper);
    assert_eq!(store.content.list().unwrap(), [kept.digest]);
    assert_eq!(store.content.read(&kept.digest, 99).unwrap(), b"kept");
    assert_eq!(store.images.get(&name("kept")).unwrap(), Some(kept));
    assert_eq!(names_below(&store.root().join("ingest")), 0);
    assert_eq!(names_below(&store.root().join("snapshots/pending")), 0);
}
