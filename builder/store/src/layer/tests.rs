//! A tree survives the way through a layer, and a layer over its lower gives the merged tree.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::XattrFlags;

use super::*;
use crate::error::StoreError;
use crate::tar::{EntryKind, ModificationTime, ReadLimits, TarReader, TarWriter};
use crate::testing::{
    Described, Mounted, any_edits, apply, describe, describe_directory, is_whiteout_device,
    layer_directories, without_directory_times, without_links, writable,
};
use crate::tree::{Tree, TreePath};

fn diff(upper: &Path, lowers: &[&Path]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    write_diff(upper, lowers, DiffOptions::default(), &mut writer).unwrap();
    writer.finish().unwrap()
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut reader = TarReader::new(Cursor::new(archive), ReadLimits::default());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    names
}

/// Unpacks layers over a lower directory and describes what an overlay mount of both would show.
pub(super) fn unpacked_over(lower: &Path, archive: &[u8]) -> BTreeMap<String, Described> {
    let upper = tempfile::tempdir().unwrap();
    let mut target = writable(upper.path(), &[lower]);
    unpack(archive, &mut target, &TreePath::root(), &UnpackOptions::default()).unwrap();
    target.finish().unwrap();
    describe(&Tree::open(&[upper.path(), lower]).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_tree_comes_back_from_its_archive(edits in any_edits(40)) {
        let source = tempfile::tempdir().unwrap();
        apply(source.path(), &edits);
        let mut writer = TarWriter::new(Vec::new());
        write_tree(source.path(), DiffOptions::default(), &mut writer).unwrap();
        let archive = writer.finish().unwrap();
        let target = tempfile::tempdir().unwrap();
        let mut tree = writable(target.path(), &[] as &[&Path]);
        unpack(archive.as_slice(), &mut tree, &TreePath::root(), &UnpackOptions::default()).unwrap();
        tree.finish().unwrap();
        prop_assert_eq!(describe_directory(target.path()), describe_directory(source.path()));
        // And the same tree gives the same bytes, wherever it lies.
        prop_assert_eq!(diff(target.path(), &[]), archive);
    }

    #[test]
    fn a_diff_over_its_lower_is_the_merged_tree(before in any_edits(40), after in any_edits(40)) {
        let root = tempfile::tempdir().unwrap();
        let [lower, upper, work] = layer_directories(root.path());
        apply(&lower, &before);
        let Some(mount) = Mounted::new(&[&lower], &upper, &work) else { return Ok(()) };
        apply(&mount.path(), &after);
        let merged = without_links(describe_directory(&mount.path()));
        drop(mount);
        // Our own view of the layers is what the kernel shows.
        prop_assert_eq!(&without_links(describe(&Tree::open(&[&upper, &lower]).unwrap())), &merged);
        let archive = diff(&upper, &[&lower]);
        let merged = without_directory_times(merged);
        let unpacked = without_directory_times(unpacked_over(&lower, &archive));
        prop_assert_eq!(&without_links(unpacked), &merged);
        // What was unpacked is an upper directory that the kernel shows in the same way.
        let again = tempfile::tempdir().unwrap();
        let [_, upper, work] = layer_directories(again.path());
        let mut target = writable(&upper, &[&lower]);
        unpack(archive.as_slice(), &mut target, &TreePath::root(), &UnpackOptions::default()).unwrap();
        target.finish().unwrap();
        let mount = Mounted::new(&[&lower], &upper, &work).unwrap();
        let shown = without_directory_times(describe_directory(&mount.path()));
        prop_assert_eq!(&without_links(shown), &merged);
    }
}

#[test]
fn only_changes_are_written_each_with_its_parents() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, work] = layer_directories(root.path());
    for name in ["etc/deep/er", "usr/bin", "var"] {
        fs::create_dir_all(lower.join(name)).unwrap();
    }
    for name in ["etc/deep/er/keep", "etc/deep/er/gone", "usr/bin/tool", "var/untouched"] {
        fs::write(lower.join(name), name).unwrap();
    }
    let Some(mount) = Mounted::new(&[&lower], &upper, &work) else { return };
    let at = |name: &str| mount.path().join(name);
    fs::remove_file(at("etc/deep/er/gone")).unwrap();
    // Copied up, but not changed.
    fs::OpenOptions::new().append(true).open(at("usr/bin/tool")).unwrap();
    fs::OpenOptions::new().append(true).open(at("var/untouched")).unwrap();
    fs::write(at("etc/new"), b"1").unwrap();
    fs::write(at("usr/made-and-removed"), b"1").unwrap();
    fs::remove_file(at("usr/made-and-removed")).unwrap();
    drop(mount);
    assert_eq!(
        names(&diff(&upper, &[&lower])),
        ["etc/", "etc/deep/", "etc/deep/er/", "etc/deep/er/.wh.gone", "etc/new"],
        "usr is not there: only its time changed"
    );
    assert!(!is_whiteout_device(&upper.join("etc/deep/er/keep")));
}

#[test]
fn a_step_that_changes_nothing_gives_no_entry() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    fs::create_dir(lower.join("a")).unwrap();
    let mut writer = TarWriter::new(Vec::new());
    let summary = write_diff(&upper, &[&lower], DiffOptions::default(), &mut writer).unwrap();
    assert!(summary.is_empty());
}

#[test]
fn a_directory_is_changed_by_its_looks_and_not_by_its_time() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    for layer in [&lower, &upper] {
        for name in ["time", "mode", "attribute"] {
            fs::create_dir(layer.join(name)).unwrap();
        }
    }
    let seconds = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::open(upper.join("time")).unwrap().set_modified(seconds(5)).unwrap();
    fs::set_permissions(upper.join("mode"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    rustix::fs::setxattr(upper.join("attribute"), "user.note", b"1", XattrFlags::empty()).unwrap();
    assert_eq!(names(&diff(&upper, &[&lower])), ["attribute/", "mode/"]);
    fs::write(upper.join("time/file"), b"").unwrap();
    fs::write(lower.join("time/file"), b"").unwrap();
    fs::File::open(upper.join("time/file")).unwrap().set_modified(seconds(5)).unwrap();
    assert_eq!(
        names(&diff(&upper, &[&lower])),
        ["attribute/", "mode/", "time/", "time/file"],
        "a file's time counts"
    );
}

#[test]
fn an_opaque_directory_is_written_as_whiteouts() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    fs::create_dir_all(lower.join("d/inner/deep")).unwrap();
    fs::write(lower.join("d/old"), b"").unwrap();
    fs::write(lower.join("d/inner/deep/old"), b"").unwrap();
    fs::create_dir_all(upper.join("d/inner")).unwrap();
    fs::write(upper.join("d/new"), b"").unwrap();
    for mark in ["user.overlay.opaque", "trusted.overlay.opaque"] {
        if let Err(error) = rustix::fs::setxattr(upper.join("d"), mark, b"y", XattrFlags::empty()) {
            assert!(mark.starts_with("trusted"), "{error}");
            eprintln!("skipped: trusted attributes are for root outside any namespace");
            continue;
        }
        let archive = diff(&upper, &[&lower]);
        assert_eq!(names(&archive), ["d/", "d/inner/", "d/inner/.wh.deep", "d/new", "d/.wh.old"]);
        let seen: Vec<_> = unpacked_over(&lower, &archive).into_keys().collect();
        assert_eq!(seen, ["/d", "/d/inner", "/d/new"]);
        rustix::fs::removexattr(upper.join("d"), mark).unwrap();
    }
}

#[test]
fn whiteouts_by_attribute_are_understood() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    for name in ["hidden", "empty"] {
        fs::write(lower.join(name), b"x").unwrap();
        fs::write(upper.join(name), b"").unwrap();
    }
    fs::write(upper.join("hides-nothing"), b"").unwrap();
    for name in ["hidden", "hides-nothing"] {
        rustix::fs::setxattr(upper.join(name), "user.overlay.whiteout", b"", XattrFlags::empty()).unwrap();
    }
    assert_eq!(names(&diff(&upper, &[&lower])), ["empty", ".wh.hidden"]);
    let seen: Vec<_> = describe(&Tree::open(&[&upper, &lower]).unwrap()).into_keys().collect();
    assert_eq!(seen, ["/empty"]);
}

#[test]
fn references_into_lower_layers_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    fs::create_dir(upper.join("moved")).unwrap();
    let mark = "user.overlay.redirect";
    rustix::fs::setxattr(upper.join("moved"), mark, b"/from", XattrFlags::empty()).unwrap();
    let mut writer = TarWriter::new(Vec::new());
    let error = write_diff(&upper, &[&lower], DiffOptions::default(), &mut writer).unwrap_err();
    assert!(matches!(error, StoreError::Unrepresentable { .. }), "{error}");
    rustix::fs::removexattr(upper.join("moved"), mark).unwrap();
    fs::write(upper.join("moved/.wh.real"), b"").unwrap();
    let error = write_diff(&upper, &[&lower], DiffOptions::default(), &mut writer).unwrap_err();
    assert!(error.to_string().contains(".wh."), "{error}");
}

#[test]
fn links_are_relative_and_the_first_name_is_the_file() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("b")).unwrap();
    fs::write(root.path().join("b/z"), b"content").unwrap();
    fs::hard_link(root.path().join("b/z"), root.path().join("b/a")).unwrap();
    fs::hard_link(root.path().join("b/z"), root.path().join("c")).unwrap();
    std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    let mut writer = TarWriter::new(Vec::new());
    let summary = write_tree(root.path(), DiffOptions::default(), &mut writer).unwrap();
    assert_eq!((summary.entries, summary.skipped_sockets), (4, 1));
    let archive = writer.finish().unwrap();
    let mut reader = TarReader::new(Cursor::new(&archive), ReadLimits::default());
    let mut kinds = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        kinds.push((String::from_utf8(entry.path).unwrap(), entry.kind));
    }
    let link = || EntryKind::Hardlink { target: b"b/a".to_vec() };
    assert_eq!(kinds[1], ("b/a".to_owned(), EntryKind::File { size: 7 }));
    assert_eq!(kinds[2..], [("b/z".to_owned(), link()), ("c".to_owned(), link())]);
}

#[test]
fn times_beyond_the_epoch_are_clamped_and_others_kept() {
    let root = tempfile::tempdir().unwrap();
    for (name, seconds) in [("old", 1_000), ("new", 2_000_000_000)] {
        let file = fs::File::create(root.path().join(name)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, 123_456_789);
        file.set_modified(time).unwrap();
    }
    let options = DiffOptions { source_date_epoch: Some(1_500_000_000) };
    let mut writer = TarWriter::new(Vec::new());
    write_tree(root.path(), options, &mut writer).unwrap();
    let archive = writer.finish().unwrap();
    let mut reader = TarReader::new(Cursor::new(&archive), ReadLimits::default());
    let new = reader.next_entry().unwrap().unwrap();
    let old = reader.next_entry().unwrap().unwrap();
    assert_eq!(new.modified, ModificationTime::from_seconds(1_500_000_000));
    assert_eq!(old.modified, ModificationTime::from_seconds(1_000));
}

#[test]
fn a_tree_made_to_overrun_the_stack_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("d/".repeat(600))).unwrap();
    let mut writer = TarWriter::new(Vec::new());
    let error = write_tree(root.path(), DiffOptions::default(), &mut writer).unwrap_err();
    assert!(matches!(error, StoreError::Limit { limit: 256, .. }), "{error}");
    let tree = Tree::open(&[root.path()]).unwrap();
    let options = crate::checksum::ChecksumOptions { select: &crate::copy::select_all, with_owner: false };
    let cache = crate::checksum::StatCache::default();
    let error = crate::checksum::checksum(&tree, &[b"d".to_vec()], &options, &cache).unwrap_err();
    assert!(matches!(error, StoreError::Limit { limit: 256, .. }), "{error}");
}
