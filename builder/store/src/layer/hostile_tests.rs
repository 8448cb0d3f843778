//! Archives made to get out, and the rules of unpacking: replacement, whiteouts, limits.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::tests::unpacked_over;
use super::*;
use crate::error::StoreError;
use crate::tar::{Entry, EntryKind, ModificationTime, TarWriter};
use crate::testing::{Described, describe_directory, is_root, writable};
use crate::tree::TreePath;

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
    let deep = archive(&[file(&"d/".repeat(600))]);
    assert!(matches!(sandbox.unpack(&deep, &limits(12, 3)), Err(StoreError::Limit { limit: 256, .. })));
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
    let lenient = UnpackOptions { devices: DevicePolicy::SkipForbidden, ..UnpackOptions::default() };
    let report = sandbox.unpack(&bytes, &lenient).unwrap();
    let seen = describe_directory(&sandbox.root.path().join("inside"));
    if report.skipped_devices.is_empty() {
        assert_eq!(seen["/null"].content(), b"(1, 3)");
    } else {
        // A user namespace: the device is reported, and without the policy it is an error.
        assert_eq!(report.skipped_devices, [TreePath::parse(b"null").unwrap()]);
        let strict = sandbox.unpack(&bytes, &UnpackOptions::default());
        assert!(matches!(strict, Err(StoreError::Io { .. })), "{strict:?}");
    }
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
