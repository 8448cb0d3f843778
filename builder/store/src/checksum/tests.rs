//! The digest changes with what is copied and with nothing else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::XattrFlags;

use super::*;
use crate::copy::select_all;
use crate::tree::TreePath;

fn digest(root: &Path, paths: &[&str]) -> Digest {
    selected(root, paths, &select_all)
}

fn selected(root: &Path, paths: &[&str], select: Select<'_>) -> Digest {
    let tree = Tree::open(&[root]).unwrap();
    let paths: Vec<_> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    let options = ChecksumOptions { select, with_owner: false };
    checksum(&tree, &paths, &options, &StatCache::default()).unwrap()
}

fn sample() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("src/inner")).unwrap();
    fs::create_dir(root.path().join("src/empty")).unwrap();
    fs::write(root.path().join("src/a"), b"one").unwrap();
    fs::write(root.path().join("src/inner/b"), b"two").unwrap();
    symlink("a", root.path().join("src/link")).unwrap();
    root
}

#[test]
fn times_and_places_do_not_count() {
    let (one, other) = (sample(), sample());
    let file = fs::File::options().write(true).open(other.path().join("src/a")).unwrap();
    file.set_modified(UNIX_EPOCH).unwrap();
    assert_eq!(digest(one.path(), &["src"]), digest(other.path(), &["src"]));
}

#[test]
fn every_change_of_what_is_copied_counts() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 12] = [
        ("content", |root| fs::write(root.join("src/a"), b"onE").unwrap()),
        ("content of an inner file", |root| fs::write(root.join("src/inner/b"), b"twO").unwrap()),
        ("name", |root| fs::rename(root.join("src/a"), root.join("src/c")).unwrap()),
        ("new file", |root| fs::write(root.join("src/inner/new"), b"").unwrap()),
        ("new directory", |root| fs::create_dir(root.join("src/inner/new")).unwrap()),
        ("removed directory", |root| fs::remove_dir(root.join("src/empty")).unwrap()),
        ("moved file", |root| fs::rename(root.join("src/a"), root.join("src/inner/a")).unwrap()),
        ("link target", |root| {
            fs::remove_file(root.join("src/link")).unwrap();
            symlink("b", root.join("src/link")).unwrap();
        }),
        ("mode", |root| {
            fs::set_permissions(root.join("src/inner"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("mode of a file", |root| {
            fs::set_permissions(root.join("src/a"), fs::Permissions::from_mode(0o751)).unwrap();
        }),
        ("kind of a file", |root| {
            fs::remove_file(root.join("src/a")).unwrap();
            symlink("one", root.join("src/a")).unwrap();
        }),
        ("attribute", |root| {
            rustix::fs::setxattr(root.join("src/a"), "user.note", b"1", XattrFlags::empty()).unwrap();
        }),
    ];
    let before = digest(sample().path(), &["src"]);
    let mut seen = vec![before];
    for (what, change) in changes {
        let root = sample();
        change(root.path());
        let after = digest(root.path(), &["src"]);
        assert!(!seen.contains(&after), "a change of the {what} does not show");
        seen.push(after);
    }
}

#[test]
fn a_second_name_is_no_copy() {
    let two_files = sample();
    let one_file = sample();
    fs::write(two_files.path().join("src/c"), b"one").unwrap();
    fs::hard_link(one_file.path().join("src/a"), one_file.path().join("src/c")).unwrap();
    assert_ne!(digest(two_files.path(), &["src"]), digest(one_file.path(), &["src"]));
    // One name alone is a file like any other, and COPY a c copies two files.
    assert_eq!(digest(two_files.path(), &["src/a"]), digest(one_file.path(), &["src/a"]));
    assert_eq!(digest(two_files.path(), &["src/a", "src/c"]), digest(one_file.path(), &["src/a", "src/c"]));
    // Which file the third name is of shows as well.
    let more = |target: &str| {
        let root = sample();
        for (from, to) in [("a", "x"), ("inner/b", "inner/y"), (target, "z")] {
            fs::hard_link(root.path().join("src").join(from), root.path().join("src").join(to)).unwrap();
        }
        fs::write(root.path().join("src/a"), b"same").unwrap();
        fs::write(root.path().join("src/inner/b"), b"same").unwrap();
        digest(root.path(), &["src"])
    };
    assert_ne!(more("a"), more("inner/b"));
}

#[test]
fn owners_count_where_they_are_kept() {
    let root = sample();
    let tree = Tree::open(&[root.path()]).unwrap();
    let paths = [b"src".to_vec()];
    let with = |with_owner| {
        let options = ChecksumOptions { select: &select_all, with_owner };
        checksum(&tree, &paths, &options, &StatCache::default()).unwrap()
    };
    let before = (with(false), with(true));
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(root.path().join("src/a"), Some(5), Some(6)).unwrap();
        assert_eq!(with(false), before.0);
        assert_ne!(with(true), before.1);
    }
}

#[test]
fn what_is_not_selected_does_not_count() {
    let root = sample();
    let without_b = |path: &TreePath, is_directory: bool| match (path.name(), is_directory) {
        (Some(b"b"), false) => Selection::Exclude,
        (Some(b"inner" | b"empty"), true) => Selection::ExcludeButLookInside,
        _ => Selection::Include,
    };
    let before = selected(root.path(), &["src"], &without_b);
    fs::remove_dir_all(root.path().join("src/inner")).unwrap();
    assert_eq!(selected(root.path(), &["src"], &without_b), before);
    fs::create_dir(root.path().join("src/inner")).unwrap();
    fs::write(root.path().join("src/inner/c"), b"").unwrap();
    assert_ne!(selected(root.path(), &["src"], &without_b), before);
}

#[test]
fn links_of_the_source_are_followed_and_names_count() {
    let root = sample();
    let file = digest(root.path(), &["src/a"]);
    let link = digest(root.path(), &["src/link"]);
    assert_ne!(file, link, "it is copied under another name");
    fs::write(root.path().join("src/a"), b"changed").unwrap();
    assert_ne!(digest(root.path(), &["src/link"]), link, "its content is the target's");
    let missing = checksum(
        &Tree::open(&[root.path()]).unwrap(),
        &[b"nothing".to_vec()],
        &ChecksumOptions { select: &select_all, with_owner: true },
        &StatCache::default(),
    );
    assert!(matches!(missing, Err(StoreError::SourceNotFound { .. })));
}

#[test]
fn the_cache_is_trusted_only_for_the_same_file() {
    let root = sample();
    let cache_file = root.path().join("cache");
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    let tree = Tree::open(&[root.path()]).unwrap();
    let node = |name: &[u8]| tree.lookup(&TreePath::parse(name).unwrap()).unwrap().unwrap();
    let mut metadata = node(b"src/a").metadata;
    let cache = StatCache::default();
    cache.insert(&metadata, Digest::sha256(b"one"));
    assert_eq!(cache.get(&metadata), None, "a file changed just now is not remembered");
    let seconds = long_ago.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    metadata.modified.seconds = seconds;
    metadata.changed.0 = seconds;
    cache.insert(&metadata, Digest::sha256(b"one"));
    cache.save(&cache_file).unwrap();
    let loaded = StatCache::load(&cache_file).unwrap();
    assert_eq!(loaded.get(&metadata), Some(Digest::sha256(b"one")));
    metadata.changed.1 ^= 1;
    assert_eq!(loaded.get(&metadata), None);
    let mut bytes = fs::read(&cache_file).unwrap();
    bytes[20] ^= 1;
    fs::write(&cache_file, bytes).unwrap();
    metadata.changed.1 ^= 1;
    assert_eq!(StatCache::load(&cache_file).unwrap().get(&metadata), None, "damage empties it");
}

#[test]
fn threads_that_share_a_cache_hash_at_the_same_time() {
    let root = sample();
    let cache = StatCache::default();
    // Each thread gets past this only while the other one is hashing, too.
    let both_hash = std::sync::Barrier::new(2);
    let select = |path: &TreePath, _: bool| {
        if path.name() == Some(b"a") {
            both_hash.wait();
        }
        Selection::Include
    };
    let hash = || {
        let tree = Tree::open(&[root.path()]).unwrap();
        let options = ChecksumOptions { select: &select, with_owner: false };
        checksum(&tree, &[b"src".to_vec()], &options, &cache).unwrap()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(hash);
        assert_eq!(hash(), other.join().unwrap());
    });
}
