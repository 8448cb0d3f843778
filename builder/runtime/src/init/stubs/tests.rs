use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use super::*;

/// A root of one layer: what `upper` holds is what is seen.
struct Plain {
    directory: tempfile::TempDir,
    root: OwnedFd,
    traces: Vec<Trace>,
}

impl Plain {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = open_directory(directory.path()).unwrap();
        Self { directory, root, traces: Vec::new() }
    }

    fn ensure(&mut self, path: &str, kind: PointKind) -> io::Result<PathBuf> {
        let mut points = MountPoints { root: &self.root, upper: &self.root, traces: &mut self.traces };
        points.ensure(Path::new(path), kind)
    }

    fn remove(&self) {
        remove(self.directory.path(), &self.traces).unwrap();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn modified(&self, path: &str) -> (i64, i64) {
        let metadata = fs::metadata(self.at(path)).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    }

    fn make_old(&self, path: &str) {
        let hour_ago = SystemTime::now() - Duration::from_hours(1);
        fs::File::open(self.at(path)).unwrap().set_modified(hour_ago).unwrap();
    }
}

#[test]
fn everything_made_is_gone_and_times_are_as_before() {
    let mut plain = Plain::new();
    fs::create_dir(plain.at("etc")).unwrap();
    plain.make_old("etc");
    plain.make_old("");
    let before = (plain.modified("etc"), plain.modified(""));
    plain.ensure("/proc", PointKind::Directory).unwrap();
    plain.ensure("/etc/hosts", PointKind::File).unwrap();
    plain.ensure("/a/b/c", PointKind::File).unwrap();
    assert!(plain.at("a/b/c").is_file());
    assert_eq!((plain.modified("etc"), plain.modified("")), before, "the step must see the old times");
    plain.remove();
    assert_eq!(plain.names(), ["etc"]);
    assert!(!plain.at("etc/hosts").exists());
    assert_eq!((plain.modified("etc"), plain.modified("")), before);
}

#[test]
fn what_the_step_changed_stays() {
    let mut plain = Plain::new();
    plain.ensure("/made", PointKind::Directory).unwrap();
    plain.ensure("/file", PointKind::File).unwrap();
    plain.ensure("/moded", PointKind::Directory).unwrap();
    plain.ensure("/replaced", PointKind::File).unwrap();
    fs::write(plain.at("made/new"), "").unwrap();
    fs::write(plain.at("file"), "content").unwrap();
    fs::set_permissions(plain.at("moded"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(plain.at("replaced")).unwrap();
    symlink("elsewhere", plain.at("replaced")).unwrap();
    plain.remove();
    assert_eq!(plain.names(), ["file", "made", "moded", "replaced"]);
}

#[test]
fn links_are_followed_inside_and_wrong_kinds_are_refused() {
    let mut plain = Plain::new();
    fs::create_dir(plain.at("etc")).unwrap();
    symlink("/run/stub/resolv.conf", plain.at("etc/resolv.conf")).unwrap();
    let place = plain.ensure("/etc/resolv.conf", PointKind::File).unwrap();
    assert_eq!(place, Path::new("run/stub/resolv.conf"));
    assert!(plain.at("run/stub/resolv.conf").is_file());
    assert!(plain.ensure("/etc", PointKind::File).is_err());
    assert!(plain.ensure("/run/stub/resolv.conf", PointKind::Directory).is_err());
    plain.remove();
    assert_eq!(plain.names(), ["etc"]);
}

#[test]
fn an_existing_mount_point_is_left_alone() {
    let mut plain = Plain::new();
    fs::create_dir(plain.at("proc")).unwrap();
    fs::write(plain.at("hosts"), "").unwrap();
    plain.ensure("/proc", PointKind::Directory).unwrap();
    plain.ensure("/hosts", PointKind::File).unwrap();
    assert!(plain.traces.is_empty());
    plain.remove();
    assert_eq!(plain.names(), ["hosts", "proc"]);
}
