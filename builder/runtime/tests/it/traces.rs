//! A step leaves in the upper directory what its command changed and nothing else.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::kit::{Sandbox, Who, everywhere};

fn make_old(path: &Path) {
    let day_ago = SystemTime::now() - Duration::from_hours(24);
    fs::File::open(path).unwrap().set_modified(day_ago).unwrap();
}

fn modified(path: &Path) -> (i64, i64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}

#[test]
fn a_step_that_changes_nothing_leaves_nothing() {
    // The image has neither /dev, /proc, /sys nor /etc.
    for sandbox in everywhere() {
        make_old(&sandbox.path("upper"));
        let before = modified(&sandbox.path("upper"));
        sandbox.output_of("true");
        assert!(sandbox.changes().is_empty(), "{:?}: {:?}", sandbox.who, sandbox.changes());
        assert_eq!(modified(&sandbox.path("upper")), before, "{:?}", sandbox.who);
    }
}

#[test]
fn a_directory_that_only_held_a_stub_is_not_in_the_layer() {
    // Here /etc is there but hosts and resolv.conf are not, so /etc is copied up for the stubs.
    for sandbox in everywhere() {
        let sandbox = sandbox.with_accounts();
        sandbox.output_of("test -f /etc/hosts && test -f /etc/resolv.conf");
        assert!(sandbox.changes().is_empty(), "{:?}: {:?}", sandbox.who, sandbox.changes());
    }
}

#[test]
fn the_step_sees_the_images_own_times() {
    for sandbox in everywhere() {
        let sandbox = sandbox.with_accounts();
        make_old(&sandbox.path("lower/etc"));
        let expected = modified(&sandbox.path("lower/etc")).0;
        assert_eq!(sandbox.output_of("stat -c %Y /etc"), format!("{expected}\n"), "{:?}", sandbox.who);
    }
}

#[test]
fn what_the_step_does_beside_a_stub_stays_with_its_time() {
    for sandbox in everywhere() {
        let sandbox = sandbox.with_accounts();
        make_old(&sandbox.path("lower/etc"));
        let out = sandbox.output_of("touch /etc/mine; chmod 700 /etc; stat -c %Y /etc");
        assert_eq!(sandbox.changes(), ["etc", "etc/mine"], "{:?}", sandbox.who);
        let etc = sandbox.path("upper/etc");
        assert_eq!(fs::metadata(&etc).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(format!("{}\n", modified(&etc).0), out, "{:?}", sandbox.who);
    }
}

#[test]
fn a_changed_mode_of_a_directory_with_a_stub_is_kept() {
    for sandbox in everywhere() {
        let sandbox = sandbox.with_accounts();
        make_old(&sandbox.path("lower/etc"));
        sandbox.output_of("chmod 711 /etc");
        assert_eq!(sandbox.changes(), ["etc"], "{:?}", sandbox.who);
        let etc = sandbox.path("upper/etc");
        assert_eq!(fs::metadata(&etc).unwrap().mode() & 0o7777, 0o711);
        assert_eq!(modified(&etc), modified(&sandbox.path("lower/etc")));
    }
}

#[test]
fn a_link_for_name_servers_is_left_as_it_is() {
    for sandbox in everywhere() {
        let sandbox = sandbox.with_accounts();
        symlink("../run/resolve/stub.conf", sandbox.path("lower/etc/resolv.conf")).unwrap();
        sandbox.give_away();
        let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!(sandbox.output_of("cat /etc/resolv.conf"), servers, "{:?}", sandbox.who);
        assert!(sandbox.changes().is_empty(), "{:?}: {:?}", sandbox.who, sandbox.changes());
    }
}

#[test]
fn files_of_the_image_under_a_mount_are_not_copied() {
    let sandbox = Sandbox::open(Who::AsIs).unwrap().with_accounts();
    fs::write(sandbox.path("lower/etc/hosts"), "the image's own\n").unwrap();
    fs::create_dir(sandbox.path("lower/dev")).unwrap();
    fs::write(sandbox.path("lower/dev/file"), "").unwrap();
    sandbox.output_of("test ! -e /dev/file && grep -q buildkitsandbox /etc/hosts");
    assert!(sandbox.changes().is_empty(), "{:?}", sandbox.changes());
    assert_eq!(fs::read_to_string(sandbox.path("lower/etc/hosts")).unwrap(), "the image's own\n");
}
