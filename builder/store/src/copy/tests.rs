//! Docker's rules of COPY and ADD.

mod archives;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::testing::{Described, describe, is_root, writable};

struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    /// A context, and an image of one lower layer.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["context/dir/sub", "context/empty", "lower/usr/lib", "lower/srv/sub", "upper"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        for name in ["context/a.txt", "context/b.txt", "context/dir/inner", "context/dir/sub/deep"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        symlink("usr/lib", root.path().join("lower/lib")).unwrap();
        symlink("/outside/x", root.path().join("lower/dangling")).unwrap();
        fs::write(root.path().join("lower/srv/old"), b"old").unwrap();
        fs::write(root.path().join("lower/srv/sub/old"), b"old").unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn context(&self) -> Tree {
        Tree::open(&[self.path("context")]).unwrap()
    }

    fn request(destination: &str) -> CopyRequest<'_> {
        CopyRequest {
            destination: destination.as_bytes(),
            owner: None,
            mode: None,
            keep_capabilities: true,
            created: ModificationTime::from_seconds(1_000),
            select: &select_all,
            unpack: None,
        }
    }

    fn try_copy(&self, sources: &[&str], request: &CopyRequest<'_>) -> Result<CopyReport> {
        let context = self.context();
        let sources: Vec<_> =
            sources.iter().map(|path| CopySource::Path { tree: &context, path: path.as_bytes() }).collect();
        let mut target = writable(&self.path("upper"), &[self.path("lower")]);
        let report = copy(&mut target, &sources, request)?;
        target.finish()?;
        Ok(report)
    }

    fn copy(&self, sources: &[&str], destination: &str) {
        self.try_copy(sources, &Self::request(destination)).unwrap();
    }

    fn merged(&self) -> std::collections::BTreeMap<String, Described> {
        describe(&Tree::open(&[self.path("upper"), self.path("lower")]).unwrap())
    }

    /// What was copied, by path in the image.
    fn content(&self, path: &str) -> Option<String> {
        Some(String::from_utf8(self.merged().get(path)?.content().to_vec()).unwrap())
    }
}

#[test]
fn a_file_goes_to_a_name_or_into_a_directory() {
    for (destination, expected) in [
        ("/new", "/new"),
        ("/new/", "/new/a.txt"),
        ("/a/b/c", "/a/b/c"),
        ("/srv", "/srv/a.txt"),
        ("/srv/old", "/srv/old"),
        ("/lib/x", "/usr/lib/x"),
        ("/lib", "/usr/lib/a.txt"),
        ("/", "/a.txt"),
        ("/srv/.", "/srv/a.txt"),
        ("/../../up", "/up"),
        ("/dangling", "/outside/x"),
    ] {
        let fixture = Fixture::new();
        fixture.copy(&["a.txt"], destination);
        assert_eq!(fixture.content(expected).as_deref(), Some("context/a.txt"), "COPY a.txt {destination}");
        let merged = fixture.merged();
        assert_eq!(merged["/lib"].content(), b"usr/lib");
        assert!(merged.contains_key("/srv/sub/old"), "nothing of the image is hidden");
    }
}

#[test]
fn a_directory_gives_its_content() {
    let fixture = Fixture::new();
    fs::set_permissions(fixture.path("context/dir"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(fixture.path("context/dir/sub"), fs::Permissions::from_mode(0o711)).unwrap();
    fixture.copy(&["dir"], "/new/place");
    fixture.copy(&["dir"], "/srv");
    let merged = fixture.merged();
    for path in ["/new/place/inner", "/new/place/sub/deep", "/srv/inner", "/srv/sub/deep", "/srv/sub/old"] {
        assert!(merged.contains_key(path), "{path}");
    }
    assert_eq!(merged["/new/place"].mode(), 0o755, "a directory made for the content");
    assert_eq!(merged["/new"].modified(), 1_000);
    assert_eq!(merged["/new/place/sub"].mode(), 0o711, "inner ones take the source's mode");
    assert_eq!(merged["/srv/sub"].mode(), 0o711, "also where they exist");
    assert_ne!(merged["/srv"].mode(), 0o700, "the destination keeps its own");
}

#[test]
fn wrong_destinations_are_refused() {
    let fixture = Fixture::new();
    let refused = |sources: &[&str], destination: &str| {
        let result = fixture.try_copy(sources, &Fixture::request(destination));
        assert!(matches!(result, Err(StoreError::Destination { .. })), "{sources:?} to {destination}");
    };
    refused(&["a.txt", "b.txt"], "/one-name");
    refused(&["dir"], "/srv/old");
    refused(&["a.txt"], "/srv/old/below");
    fs::create_dir_all(fixture.path("context/clash/old")).unwrap();
    refused(&["clash"], "/srv");
    fs::create_dir_all(fixture.path("context/files")).unwrap();
    fs::write(fixture.path("context/files/sub"), b"").unwrap();
    refused(&["files"], "/srv");
    let missing = fixture.try_copy(&["nothing"], &Fixture::request("/x"));
    assert!(matches!(missing, Err(StoreError::SourceNotFound { .. })));
}

#[test]
fn the_sources_own_link_is_followed_but_never_out() {
    let fixture = Fixture::new();
    symlink("../../../etc/passwd", fixture.path("context/escape")).unwrap();
    symlink("/etc", fixture.path("context/absolute")).unwrap();
    symlink("dir/inner", fixture.path("context/to-file")).unwrap();
    symlink("/dir", fixture.path("context/to-dir")).unwrap();
    symlink("../a.txt", fixture.path("context/dir/link")).unwrap();
    for path in ["escape", "absolute", "absolute/passwd", "../../../../etc/passwd"] {
        let result = fixture.try_copy(&[path], &Fixture::request("/stolen/"));
        assert!(matches!(result, Err(StoreError::SourceNotFound { .. })), "{path}: {result:?}");
    }
    fixture.copy(&["to-file"], "/x/");
    assert_eq!(fixture.content("/x/to-file").as_deref(), Some("context/dir/inner"));
    fixture.copy(&["to-dir"], "/y");
    assert_eq!(fixture.content("/y/sub/deep").as_deref(), Some("context/dir/sub/deep"));
    assert_eq!(fixture.content("/y/link").as_deref(), Some("../a.txt"), "inner links stay links");
}

#[test]
fn times_attributes_and_links_are_kept() {
    let fixture = Fixture::new();
    fs::hard_link(fixture.path("context/dir/inner"), fixture.path("context/dir/sub/twin")).unwrap();
    let file = fs::File::options().write(true).open(fixture.path("context/dir/inner")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(77)).unwrap();
    rustix::fs::fsetxattr(&file, "user.note", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    fixture.copy(&["dir"], "/new");
    let merged = fixture.merged();
    assert_eq!(merged["/new/inner"].modified(), 77);
    assert_eq!(merged["/new/inner"].xattrs(), [(b"user.note".to_vec(), b"1".to_vec())]);
    assert_eq!(merged["/new/sub/twin"].first_name(), "/new/inner");
}

#[test]
fn capabilities_are_kept_only_where_asked_for() {
    if !is_root() {
        eprintln!("skipped: only root gives capabilities");
        return;
    }
    let fixture = Fixture::new();
    let file = fs::File::open(fixture.path("context/dir/inner")).unwrap();
    // cap_chown+ep (linux/capability.h, `vfs_cap_data` of version 2).
    let mut capability = [0; 20];
    (capability[0], capability[3], capability[4]) = (1, 2, 1);
    let name = "security.capability";
    rustix::fs::fsetxattr(&file, name, &capability, rustix::fs::XattrFlags::empty()).unwrap();
    fixture.copy(&["dir"], "/kept");
    let dropped = CopyRequest { keep_capabilities: false, ..Fixture::request("/dropped") };
    fixture.try_copy(&["dir"], &dropped).unwrap();
    let merged = fixture.merged();
    assert_eq!(merged["/kept/inner"].xattrs(), [(name.as_bytes().to_vec(), capability.to_vec())]);
    assert_eq!(merged["/dropped/inner"].xattrs(), []);
}

#[test]
fn owner_and_mode_apply_to_everything_that_is_made() {
    if !is_root() {
        eprintln!("skipped: only root gives files away");
        return;
    }
    let fixture = Fixture::new();
    symlink("inner", fixture.path("context/dir/link")).unwrap();
    let mode: ModeChange = "u=rwX,go=".parse().unwrap();
    let request =
        CopyRequest { owner: Some((70, 80)), mode: Some(&mode), ..Fixture::request("/made/on/the/way") };
    fixture.try_copy(&["dir"], &request).unwrap();
    let merged = fixture.merged();
    for (path, file) in merged.iter().filter(|(path, _)| path.starts_with("/made")) {
        assert_eq!(file.owner(), (70, 80), "{path}");
    }
    assert_eq!(merged["/made/on"].mode(), 0o755, "directories on the way are 0755");
    assert_eq!(merged["/made/on/the/way/inner"].mode(), 0o600);
    assert_eq!(merged["/made/on/the/way/sub"].mode(), 0o700);
    assert_eq!(merged["/made/on/the/way/link"].mode(), 0o777, "links have no mode");
    assert_eq!(fs::metadata(fixture.path("upper")).unwrap().uid(), 0);
}

#[test]
fn an_octal_mode_counts_for_directories_on_the_way() {
    for (mode, expected) in [("750", 0o750), ("2711", 0o711), ("u=rwx,go=", 0o755)] {
        let fixture = Fixture::new();
        let change: ModeChange = mode.parse().unwrap();
        for destination in ["/made/in/a.txt", "/made/slash/", "/srv/"] {
            let request = CopyRequest { mode: Some(&change), ..Fixture::request(destination) };
            fixture.try_copy(&["a.txt"], &request).unwrap();
        }
        let request = CopyRequest { mode: Some(&change), ..Fixture::request("/made/content") };
        fixture.try_copy(&["dir"], &request).unwrap();
        let merged = fixture.merged();
        for path in ["/made", "/made/in", "/made/slash", "/made/content"] {
            assert_eq!(merged[path].mode(), expected, "{mode} {path}");
        }
        assert_eq!(merged["/srv"].mode(), 0o755, "what was there keeps its mode");
    }
}

#[test]
fn nothing_is_made_for_no_source() {
    let fixture = Fixture::new();
    fixture.copy(&[], "/new/");
    assert!(!fixture.merged().contains_key("/new"));
}

#[test]
fn literal_files_are_written_as_given() {
    let fixture = Fixture::new();
    let mut target = writable(&fixture.path("upper"), &[fixture.path("lower")]);
    let sources = [
        CopySource::Literal { name: b"one", content: b"echo 1\n" },
        CopySource::Literal { name: b"two", content: b"" },
    ];
    copy(&mut target, &sources, &Fixture::request("/etc/conf/")).unwrap();
    target.finish().unwrap();
    let merged = fixture.merged();
    assert_eq!(merged["/etc/conf/one"].content(), b"echo 1\n");
    assert_eq!((merged["/etc/conf/two"].mode(), merged["/etc/conf/two"].modified()), (0o644, 1_000));
}

#[test]
fn the_ignore_file_has_the_last_word() {
    let fixture = Fixture::new();
    // As "dir" and "!dir/sub/deep" and "a.txt" would say.
    let select = |path: &TreePath, is_directory: bool| match path.as_bytes() {
        b"dir" | b"dir/sub" if is_directory => Selection::ExcludeButLookInside,
        b"dir/sub/deep" => Selection::Include,
        b"a.txt" | b"dir/inner" => Selection::Exclude,
        _ => Selection::Include,
    };
    let request = CopyRequest { select: &select, ..Fixture::request("/all/") };
    fixture.try_copy(&["."], &request).unwrap();
    let merged = fixture.merged();
    let copied: Vec<_> = merged.keys().filter(|path| path.starts_with("/all/")).collect();
    assert_eq!(copied, ["/all/b.txt", "/all/dir", "/all/dir/sub", "/all/dir/sub/deep", "/all/empty"]);
    let hidden = fixture.try_copy(&["a.txt"], &request);
    assert!(matches!(hidden, Err(StoreError::SourceNotFound { .. })));
    let found = expand_wildcards(&fixture.context(), b"*.txt", &select).unwrap();
    assert_eq!(found, [b"b.txt"]);
}

#[test]
fn wildcards_expand_in_order() {
    let fixture = Fixture::new();
    let expand = |pattern: &str| {
        let found = expand_wildcards(&fixture.context(), pattern.as_bytes(), &select_all).unwrap();
        found.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(expand("*.txt"), ["a.txt", "b.txt"]);
    assert_eq!(expand("./d*/sub/[a-f]*"), ["dir/sub/deep"]);
    assert_eq!(expand("/*/inner"), ["dir/inner"]);
    assert!(expand("*.none").is_empty());
    assert_eq!(expand("plain"), ["plain"]);
}

#[test]
fn the_same_copy_gives_the_same_layer() {
    let layer = |fixture: &Fixture| {
        fixture.copy(&["dir"], "/srv");
        fixture.copy(&["a.txt"], "/usr/lib/");
        let mut writer = crate::tar::TarWriter::new(Vec::new());
        let lowers: [&Path; 1] = [&fixture.path("lower")];
        let options = crate::layer::DiffOptions::default();
        crate::layer::write_diff(&fixture.path("upper"), &lowers, options, &mut writer).unwrap();
        writer.finish().unwrap()
    };
    let (one, other) = (Fixture::new(), Fixture::new());
    for fixture in [&one, &other] {
        for name in
            ["context/dir", "context/dir/sub", "context/dir/inner", "context/dir/sub/deep", "context/a.txt"]
                .into_iter()
                .chain(["lower/srv", "lower/srv/sub", "lower/usr", "lower/usr/lib"])
        {
            let file = fs::File::open(fixture.path(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(5)).unwrap();
        }
    }
    assert_eq!(layer(&one), layer(&other));
}
