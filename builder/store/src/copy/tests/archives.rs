//! What ADD unpacks.

use std::io::Write as _;

use super::*;

#[test]
fn implied_directories_of_an_archive_stay_roots_and_links_bring_their_looks() {
    let fixture = Fixture::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_mode(0o640);
    header.set_mtime(10);
    builder.append_data(&mut header, "in/side", b"data".as_slice()).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    header.set_mode(0o751);
    header.set_mtime(20);
    builder.append_link(&mut header, "twin", "in/side").unwrap();
    fs::write(fixture.path("context/archive"), builder.into_inner().unwrap()).unwrap();
    let options = UnpackOptions::default();
    let mode: ModeChange = "700".parse().unwrap();
    let request = CopyRequest {
        unpack: Some((&options, ExpansionLimits::default())),
        owner: is_root().then_some((5, 6)),
        mode: Some(&mode),
        ..Fixture::request("/from/")
    };
    fixture.try_copy(&["archive"], &request).unwrap();
    let merged = fixture.merged();
    assert_eq!(merged["/from"].mode(), 0o755, "--chmod means nothing to an archive");
    assert_eq!(merged["/from/twin"].first_name(), "/from/in/side");
    assert_eq!((merged["/from/twin"].mode(), merged["/from/twin"].modified()), (0o751, 20));
    if is_root() {
        assert_eq!(merged["/from"].owner(), (5, 6));
        assert_eq!(merged["/from/in"].owner(), (0, 0), "nobody named it");
        assert_eq!(merged["/from/in/side"].owner(), (5, 6));
    }
}

fn tar_of(names: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_ustar();
        header.set_size(4);
        header.set_mode(0o640);
        builder.append_data(&mut header, name, b"data".as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn add_unpacks_archives_known_by_their_content() {
    let fixture = Fixture::new();
    let plain = tar_of(&["in/side", "top", ".wh.kept"]);
    let write = |name: &str, content: &[u8]| fs::write(fixture.path("context").join(name), content).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    write("plain", &plain);
    write("gz.not-named-so", &gzip);
    write("bz2", &bzip2.finish().unwrap());
    write("xz", &xz.finish().unwrap());
    write("zst", &zstd::bulk::compress(&plain, 1).unwrap());
    let mut only_gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    only_gzip.write_all(&[b'x'; 2000]).unwrap();
    write("no-archive.tar.gz", &only_gzip.finish().unwrap());
    write("zeros.tar", &[0; 2048]);
    let options = UnpackOptions::default();
    for name in ["plain", "gz.not-named-so", "bz2", "xz", "zst"] {
        let destination = format!("/from/{name}");
        let request = CopyRequest {
            unpack: Some((&options, ExpansionLimits::default())),
            owner: if is_root() { Some((5, 6)) } else { None },
            ..Fixture::request(&destination)
        };
        fixture.try_copy(&[name], &request).unwrap();
        let merged = fixture.merged();
        assert_eq!(merged[&format!("{destination}/in/side")].content(), b"data", "{name}");
        assert!(merged.contains_key(&format!("{destination}/.wh.kept")), "{name}");
        if is_root() {
            assert_eq!(merged[&format!("{destination}/top")].owner(), (5, 6));
        }
    }
    for name in ["no-archive.tar.gz", "zeros.tar", "a.txt"] {
        let request = CopyRequest {
            unpack: Some((&options, ExpansionLimits::default())),
            ..Fixture::request("/kept/")
        };
        fixture.try_copy(&[name], &request).unwrap();
        assert!(fixture.merged().contains_key(&format!("/kept/{name}")), "{name} is copied as it is");
    }
    // COPY never unpacks.
    fixture.copy(&["plain"], "/copied");
    assert_eq!(fixture.merged()["/copied"].content(), plain);
}

#[test]
fn hostile_archives_stay_inside_what_add_writes_to() {
    let fixture = Fixture::new();
    symlink(fixture.path("context"), fixture.path("lower/out")).unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    builder.append_data(&mut header, "out/a.txt", b"evil".as_slice()).unwrap();
    fs::write(fixture.path("context/evil.tar"), builder.into_inner().unwrap()).unwrap();
    let options = UnpackOptions::default();
    let request =
        CopyRequest { unpack: Some((&options, ExpansionLimits::default())), ..Fixture::request("/") };
    let result = fixture.try_copy(&["evil.tar"], &request);
    assert!(matches!(result, Err(StoreError::Escape { .. })), "{result:?}");
    assert_eq!(fs::read(fixture.path("context/a.txt")).unwrap(), b"context/a.txt");
}
