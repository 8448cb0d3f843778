//! Resolution of links, and changes of the upper layer.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::testing::{describe, layer_directories, writable};

fn resolve(tree: &Tree, text: &str) -> (String, bool, bool) {
    let resolved = tree.resolve(text.as_bytes(), true).unwrap();
    (resolved.path.to_string(), resolved.node.is_some(), resolved.above_root)
}

#[test]
fn links_lead_to_places_inside() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    fs::create_dir_all(lower.join("usr/lib/deep")).unwrap();
    fs::write(lower.join("usr/lib/file"), b"").unwrap();
    symlink("usr/lib", lower.join("lib")).unwrap();
    symlink("/lib/deep", upper.join("to-deep")).unwrap();
    symlink("../../..", upper.join("up")).unwrap();
    symlink("deep/missing/../other", lower.join("usr/lib/dangling")).unwrap();
    let tree = Tree::open(&[&upper, &lower]).unwrap();
    for (text, path, exists, above) in [
        ("/lib/file", "/usr/lib/file", true, false),
        ("to-deep", "/usr/lib/deep", true, false),
        ("to-deep/../file", "/usr/lib/file", true, false),
        ("lib/file/../deep", "/usr/lib/deep", true, false),
        ("up/usr", "/usr", true, true),
        ("../../usr", "/usr", true, true),
        ("lib/dangling", "/usr/lib/deep/other", false, false),
        ("lib/new/below", "/usr/lib/new/below", false, false),
        ("lib/file/below", "/usr/lib/file/below", false, false),
        ("/", "/", true, false),
    ] {
        assert_eq!(resolve(&tree, text), (path.to_owned(), exists, above), "{text}");
    }
    let kept = tree.resolve(b"lib", false).unwrap();
    assert_eq!(kept.node.unwrap().metadata.kind, FileKind::Symlink);
    symlink("b", lower.join("a")).unwrap();
    symlink("a", lower.join("b")).unwrap();
    assert!(tree.resolve(b"a", true).is_err(), "a circle ends");
}

#[test]
fn upper_layers_hide_lower_ones() {
    let root = tempfile::tempdir().unwrap();
    let layers: Vec<_> = ["top", "middle", "bottom"].map(|name| root.path().join(name)).to_vec();
    fs::create_dir_all(layers[2].join("dir/sub")).unwrap();
    fs::write(layers[2].join("dir/sub/bottom"), b"").unwrap();
    fs::write(layers[2].join("file"), b"bottom").unwrap();
    fs::create_dir_all(&layers[1]).unwrap();
    fs::write(layers[1].join("dir"), b"a file over a directory").unwrap();
    fs::create_dir_all(layers[0].join("dir")).unwrap();
    fs::write(layers[0].join("dir/top"), b"").unwrap();
    let tree = Tree::open(&layers).unwrap();
    let seen: Vec<_> = describe(&tree).into_keys().collect();
    assert_eq!(seen, ["/dir", "/dir/top", "/file"], "a directory does not merge through a file");
}

#[test]
fn a_directory_in_place_of_a_whiteout_is_opaque() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    fs::create_dir_all(lower.join("d")).unwrap();
    fs::write(lower.join("d/old"), b"").unwrap();
    let new = NewDirectory { mode: 0o700, uid: 0, gid: 0, modified: crate::tar::ModificationTime::default() };
    let mut tree = writable(&upper, &[&lower]);
    let parent = tree.directory(&TreePath::root(), &new).unwrap();
    tree.put_whiteout(&parent, b"d").unwrap();
    assert!(tree.tree().lookup(&TreePath::parse(b"d").unwrap()).unwrap().is_none());
    tree.directory(&TreePath::parse(b"d/inner").unwrap(), &new).unwrap();
    tree.finish().unwrap();
    let seen: Vec<_> = describe(&Tree::open(&[&upper, &lower]).unwrap()).into_keys().collect();
    assert_eq!(seen, ["/d", "/d/inner"]);
}

#[test]
fn passing_through_a_directory_leaves_its_time() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    fs::create_dir_all(lower.join("a/b")).unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    for name in ["a/b", "a"] {
        fs::File::open(lower.join(name)).unwrap().set_modified(long_ago).unwrap();
    }
    let before = describe(&Tree::open::<&Path>(&[&lower]).unwrap());
    let new = NewDirectory { mode: 0o700, uid: 0, gid: 0, modified: crate::tar::ModificationTime::default() };
    let mut tree = writable(&upper, &[&lower]);
    tree.directory(&TreePath::parse(b"a/b/c").unwrap(), &new).unwrap();
    tree.finish().unwrap();
    let after = describe(&Tree::open(&[&upper, &lower]).unwrap());
    assert_eq!((&after["/a"], &after["/a/b"]), (&before["/a"], &before["/a/b"]));
    assert_eq!(after["/a/b/c"].mode(), 0o700);
}
