//! A tree survives the way through a layer; a layer over its lower gives the merged tree; nothing hostile gets out.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::XattrFlags;

use super::*;
use crate::error::StoreError;
use crate::tar::{Entry, EntryKind, ModificationTime, ReadLimits, TarReader, TarWriter};
use crate::testing::{
    Described, Mounted, any_edits, apply, describe, describe_directory, is_root, is_whiteout_device,
    layer_directories, without_links, writable,
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
fn unpacked_over(lower: &Path, archive: &[u8]) -> BTreeMap<String, Described> {
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
        prop_assert_eq!(&without_links(unpacked_over(&lower, &archive)), &merged);
        // What was unpacked is an upper directory that the kernel shows in the same way.
        let again = tempfile::tempdir().unwrap();
        let [_, upper, work] = layer_directories(again.path());
        let mut target = writable(&upper, &[&lower]);
        unpack(archive.as_slice(), &mut target, &TreePath::root(), &UnpackOptions::default()).unwrap();
        target.finish().unwrap();
        let mount = Mounted::new(&[&lower], &upper, &work).unwrap();
        prop_assert_eq!(&without_links(describe_directory(&mount.path())), &merged);
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
        ["etc/", "etc/deep/", "etc/deep/er/", "etc/deep/er/.wh.gone", "etc/new", "usr/"],
        "usr is there because its time changed"
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
fn an_opaque_directory_is_written_as_whiteouts() {
    let root = tempfile::tempdir().unwrap();
    let [lower, upper, _] = layer_directories(root.path());
    fs::create_dir_all(lower.join("d/inner/deep")).unwrap();
    fs::write(lower.join("d/old"), b"").unwrap();
    fs::write(lower.join("d/inner/deep/old"), b"").unwrap();
    fs::create_dir_all(upper.join("d/inner")).unwrap();
    fs::write(upper.join("d/new"), b"").unwrap();
    for mark in ["user.overlay.opaque", "trusted.overlay.opaque"] {
        if mark.starts_with("trusted") && !is_root() {
            continue;
        }
        rustix::fs::setxattr(upper.join("d"), mark, b"y", XattrFlags::empty()).unwrap();
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

// Hostile archives.

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        modified: ModificationTime::from_seconds(1),
        xattrs: Vec::new(),
    }
}

fn file(path: &str) -> Entry {
    entry(path, EntryKind::File { size: 4 })
}

fn directory(path: &str) -> Entry {
    entry(path, EntryKind::Directory)
}

fn link_to(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Symlink { target: target.as_bytes().to_vec() })
}

fn hard_link(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Hardlink { target: target.as_bytes().to_vec() })
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for entry in entries {
        writer.append(entry, &mut b"evil".as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

/// A directory to unpack into, beside things that must not change.
struct Sandbox {
    root: tempfile::TempDir,
    before: BTreeMap<String, Described>,
}

impl Sandbox {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("inside")).unwrap();
        fs::create_dir(root.path().join("outside")).unwrap();
        fs::write(root.path().join("outside/sentinel"), b"untouched").unwrap();
        let before = describe_directory(&root.path().join("outside"));
        Self { root, before }
    }

    fn unpack(&self, archive: &[u8], options: &UnpackOptions) -> crate::Result<UnpackReport> {
        let mut target = writable(&self.root.path().join("inside"), &[] as &[&Path]);
        let report = unpack(archive, &mut target, &TreePath::root(), options)?;
        target.finish()?;
        Ok(report)
    }

    fn assert_untouched(&self) {
        assert_eq!(describe_directory(&self.root.path().join("outside")), self.before);
        assert_eq!(fs::read_dir(self.root.path()).unwrap().count(), 2, "something was made beside the root");
    }
}

#[test]
fn every_escape_is_refused() {
    let sandbox = Sandbox::new();
    let outside = sandbox.root.path().join("outside");
    let outside = outside.to_str().unwrap();
    let cases: Vec<Vec<Entry>> = vec![
        vec![file(&format!("{outside}/sentinel"))],
        vec![file("../outside/sentinel")],
        vec![directory("a"), file("a/../../outside/sentinel")],
        vec![directory("..")],
        vec![link_to("x", outside), file("x/sentinel")],
        vec![link_to("x", "../outside"), file("x/sentinel")],
        vec![link_to("x", "../../../../../.."), file("x/tmp-evil")],
        vec![link_to("y", outside), link_to("x", "y"), directory("x/new")],
        vec![link_to("x", outside), file("x/.wh.sentinel")],
        vec![link_to("x", outside), file("x/.wh..wh..opq")],
        vec![hard_link("stolen", &format!("{outside}/sentinel"))],
        vec![hard_link("stolen", "../outside/sentinel")],
        vec![link_to("x", outside), hard_link("stolen", "x/sentinel")],
        vec![link_to("loop", "loop"), file("loop/a")],
        vec![file("plain"), file("plain/below")],
        vec![file(".")],
        vec![hard_link("a", ".")],
    ];
    for entries in cases {
        let result = sandbox.unpack(&archive(&entries), &UnpackOptions::default());
        let refused = matches!(
            result,
            Err(StoreError::Escape { .. } | StoreError::Archive { .. } | StoreError::Destination { .. })
        );
        assert!(refused, "{entries:?} gave {result:?}");
        sandbox.assert_untouched();
        fs::remove_dir_all(sandbox.root.path().join("inside")).unwrap();
        fs::create_dir(sandbox.root.path().join("inside")).unwrap();
    }
}

#[test]
fn a_file_written_over_a_link_does_not_go_through_it() {
    let sandbox = Sandbox::new();
    let target = sandbox.root.path().join("outside/sentinel");
    let entries = [link_to("x", target.to_str().unwrap()), file("x")];
    sandbox.unpack(&archive(&entries), &UnpackOptions::default()).unwrap();
    sandbox.assert_untouched();
    assert_eq!(fs::read(sandbox.root.path().join("inside/x")).unwrap(), b"evil");
}

#[test]
fn links_inside_the_archive_are_followed() {
    let sandbox = Sandbox::new();
    let entries = [directory("usr"), directory("usr/lib"), link_to("lib", "/usr/lib"), file("lib/a")];
    sandbox.unpack(&archive(&entries), &UnpackOptions::default()).unwrap();
    assert!(sandbox.root.path().join("inside/usr/lib/a").is_file());
}

#[test]
fn kinds_replace_each_other_both_ways() {
    let sandbox = Sandbox::new();
    let entries = [
        directory("a"),
        file("a/inner"),
        file("a"),
        file("b"),
        directory("b"),
        file("b/inner"),
        link_to("c", "b"),
        directory("c"),
        file("c/own"),
        directory("d"),
        link_to("d", "b"),
        directory("b"),
    ];
    sandbox.unpack(&archive(&entries), &UnpackOptions::default()).unwrap();
    let seen = describe_directory(&sandbox.root.path().join("inside"));
    let names: Vec<_> = seen.keys().map(String::as_str).collect();
    assert_eq!(names, ["/a", "/b", "/b/inner", "/c", "/c/own", "/d"]);
    assert_eq!(seen["/d"].content(), b"b");
}

#[test]
fn whiteouts_act_on_lower_layers_only_in_any_order() {
    let lower = tempfile::tempdir().unwrap();
    fs::create_dir_all(lower.path().join("dir")).unwrap();
    fs::create_dir_all(lower.path().join("opaque")).unwrap();
    for name in ["file", "dir/old", "opaque/old", "gone"] {
        fs::write(lower.path().join(name), b"old").unwrap();
    }
    let orders = [
        [file("file"), file(".wh.file"), directory("dir"), file("dir/new"), file(".wh.dir")],
        [file(".wh.file"), file("file"), file(".wh.dir"), directory("dir"), file("dir/new")],
    ];
    for order in orders {
        let mut entries = order.to_vec();
        entries.extend([
            file("opaque/new"),
            file("opaque/.wh..wh..opq"),
            file(".wh.gone"),
            file(".wh.never"),
        ]);
        let seen = unpacked_over(lower.path(), &archive(&entries));
        let names: Vec<_> = seen.keys().map(String::as_str).collect();
        assert_eq!(names, ["/dir", "/dir/new", "/file", "/opaque", "/opaque/new"]);
        assert_eq!(seen["/file"].content(), b"evil");
    }
}

#[test]
fn directories_on_the_way_keep_what_the_lower_layer_says() {
    let lower = tempfile::tempdir().unwrap();
    fs::create_dir_all(lower.path().join("home/user")).unwrap();
    fs::set_permissions(lower.path().join("home/user"), fs::Permissions::from_mode(0o1770)).unwrap();
    fs::create_dir_all(lower.path().join("usr/lib")).unwrap();
    symlink("usr/lib", lower.path().join("lib")).unwrap();
    fs::write(lower.path().join("usr/lib/base"), b"base").unwrap();
    let before = describe_directory(lower.path());
    let entries = [file("home/user/new"), file("lib/more"), hard_link("usr/lib/linked", "usr/lib/base")];
    let seen = unpacked_over(lower.path(), &archive(&entries));
    assert_eq!(seen["/home/user"], before["/home/user"]);
    assert_eq!(seen["/lib"].content(), b"usr/lib", "the link stays a link");
    assert_eq!(seen["/usr/lib/more"].content(), b"evil");
    assert_eq!(seen["/usr/lib/linked"].content(), b"base");
    assert_eq!(seen["/usr/lib/linked"].first_name(), "/usr/lib/base");
}

#[test]
fn limits_and_policies_hold() {
    let sandbox = Sandbox::new();
    let many = archive(&[file("a"), file("b"), file("c")]);
    let limits = |total_size, entries| UnpackOptions {
        limits: UnpackLimits { total_size, entries, ..UnpackLimits::default() },
        ..UnpackOptions::default()
    };
    assert!(matches!(sandbox.unpack(&many, &limits(11, 9)), Err(StoreError::Limit { limit: 11, .. })));
    assert!(matches!(sandbox.unpack(&many, &limits(12, 2)), Err(StoreError::Limit { limit: 2, .. })));
    assert_eq!(sandbox.unpack(&many, &limits(12, 3)).unwrap().size, 12);
    let absolute = archive(&[file("/abs/a")]);
    let from_root = UnpackOptions { absolute_names: AbsoluteNames::FromRoot, ..UnpackOptions::default() };
    assert!(matches!(sandbox.unpack(&absolute, &UnpackOptions::default()), Err(StoreError::Escape { .. })));
    sandbox.unpack(&absolute, &from_root).unwrap();
    assert!(sandbox.root.path().join("inside/abs/a").is_file());
    let literal = UnpackOptions { whiteouts: Whiteouts::Literal, ..UnpackOptions::default() };
    sandbox.unpack(&archive(&[file(".wh.x")]), &literal).unwrap();
    assert!(sandbox.root.path().join("inside/.wh.x").is_file());
    let zero = archive(&[entry("dev", EntryKind::CharacterDevice { major: 0, minor: 0 })]);
    let zero = sandbox.unpack(&zero, &UnpackOptions::default());
    assert!(matches!(zero, Err(StoreError::Unrepresentable { .. })));
}

#[test]
fn a_cut_archive_is_one_clear_error() {
    let bytes = archive(&[directory("d"), file("d/a")]);
    for length in [100, 600, 1024 + 2, 1024 + 300] {
        let sandbox = Sandbox::new();
        let error = sandbox.unpack(&bytes[..length], &UnpackOptions::default()).unwrap_err();
        assert!(matches!(error, StoreError::Archive { .. }), "{length}: {error:?}");
        assert!(error.to_string().contains("cut"), "{error}");
    }
}

#[test]
fn devices_owners_capabilities_and_set_id_bits_come_back() {
    if !is_root() {
        eprintln!("skipped: only root makes devices and sets capabilities");
        return;
    }
    let sandbox = Sandbox::new();
    let mut tool = file("tool");
    (tool.mode, tool.uid, tool.gid) = (0o6755, 70_000, 3_000_000);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    tool.xattrs = vec![
        (b"security.capability".to_vec(), capability),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"user.overlay.redirect".to_vec(), b"/x".to_vec()),
        (b"user.note".to_vec(), b"1".to_vec()),
    ];
    let device = entry("null", EntryKind::CharacterDevice { major: 1, minor: 3 });
    let bytes = archive(&[device, tool.clone()]);
    let report = sandbox.unpack(&bytes, &UnpackOptions::default()).unwrap();
    assert!(report.skipped_devices.is_empty());
    let seen = describe_directory(&sandbox.root.path().join("inside"));
    assert_eq!(seen["/null"].content(), b"(1, 3)");
    assert_eq!((seen["/tool"].mode(), seen["/tool"].owner()), (0o6755, (70_000, 3_000_000)));
    assert_eq!(seen["/tool"].xattrs(), [tool.xattrs[0].clone(), tool.xattrs[3].clone()]);
}

fn any_hostile_name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ab]".prop_map(|name| name),
        2 => Just("..".to_owned()),
        1 => Just(String::new()),
        1 => Just(".".to_owned()),
        1 => Just("outside".to_owned()),
        1 => Just(".wh.a".to_owned()),
        1 => Just(".wh..wh..opq".to_owned()),
        1 => Just(".wh...".to_owned()),
    ];
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

fn any_hostile_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        2 => any_hostile_name().prop_map(|name| file(&name)),
        2 => any_hostile_name().prop_map(|name| directory(&name)),
        3 => (any_hostile_name(), any_hostile_name()).prop_map(|(name, target)| link_to(&name, &target)),
        2 => (any_hostile_name(), any_hostile_name()).prop_map(|(name, target)| hard_link(&name, &target)),
        1 => any_hostile_name().prop_map(|name| entry(&name, EntryKind::Fifo)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_archive_touches_anything_outside(
        entries in proptest::collection::vec(any_hostile_entry(), 1..12),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        from_root in any::<bool>(),
        literal in any::<bool>(),
    ) {
        let sandbox = Sandbox::new();
        let mut bytes = archive(&entries);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let options = UnpackOptions {
            absolute_names: if from_root { AbsoluteNames::FromRoot } else { AbsoluteNames::Refuse },
            whiteouts: if literal { Whiteouts::Literal } else { Whiteouts::Overlay },
            ..UnpackOptions::default()
        };
        let _ = sandbox.unpack(&bytes, &options);
        sandbox.assert_untouched();
    }
}
