//! Tests of writer and reader against each other, against an independent reader, and against damage.

use std::io::{Cursor, Read};

use proptest::prelude::*;
use registry_types::Digest;

use super::*;
use crate::error::StoreError;

fn entry(path: &[u8], kind: EntryKind) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        modified: ModificationTime::from_seconds(1_700_000_000),
        xattrs: Vec::new(),
    }
}

fn file(path: &[u8], content: &[u8]) -> (Entry, Vec<u8>) {
    (entry(path, EntryKind::File { size: content.len() as u64 }), content.to_vec())
}

fn archive(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, content) in entries {
        writer.append(entry, &mut content.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

fn read_all(bytes: &[u8]) -> crate::Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = TarReader::new(Cursor::new(bytes), ReadLimits::default());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        // A sparse file may claim any size; nobody has to hold it in memory to see that it reads.
        reader
            .by_ref()
            .take(1 << 20)
            .read_to_end(&mut content)
            .map_err(|error| StoreError::Archive { entry: String::new(), reason: error.to_string() })?;
        entries.push((entry, content));
    }
    Ok(entries)
}

#[test]
fn an_archive_has_the_known_bytes() {
    let mut tool = file(b"usr/bin/tool", b"#!/bin/sh\n");
    tool.0.mode = 0o4755;
    tool.0.xattrs = vec![(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0])];
    let bytes = archive(&[
        (entry(b"usr", EntryKind::Directory), Vec::new()),
        (entry(b"usr/bin", EntryKind::Directory), Vec::new()),
        tool,
        (entry(b"usr/bin/link", EntryKind::Symlink { target: b"tool".to_vec() }), Vec::new()),
    ]);
    assert_eq!(
        Digest::sha256(&bytes).to_string(),
        "sha256:ade11aa10bddbfd7cd27729f47e6adef59c3233d61432c85f920153438a450ff",
        "the archive's bytes changed: every layer gets a new diffID, so say so in the change log"
    );
}

#[test]
fn what_ustar_has_no_room_for_goes_into_records() {
    let long = [b"d/".as_slice(), &[b'n'; 240]].concat();
    let mut far = file(&long, b"");
    far.0.uid = 3_000_000;
    far.0.modified = ModificationTime::from_seconds(-5);
    let link = entry(b"l", EntryKind::Symlink { target: vec![b't'; 300] });
    let mut odd = file(b"caf\xe9", b"x");
    odd.0.xattrs = vec![(b"user.note".to_vec(), b"a\n\0b".to_vec()), (b"user.empty".to_vec(), Vec::new())];
    odd.0.xattrs.sort();
    let long_odd = file(&[b"x/".as_slice(), &[0xff; 150]].concat(), b"");
    let split = file(&[[b'p'; 120].as_slice(), b"/", &[b'n'; 90]].concat(), b"12345");
    let device = entry(b"dev", EntryKind::CharacterDevice { major: 1, minor: 3_000_000 });
    let entries = vec![far, (link, Vec::new()), odd, long_odd, split, (device, Vec::new())];
    assert_eq!(read_all(&archive(&entries)).unwrap(), entries);
}

#[test]
fn a_size_beyond_eight_gibibytes_is_kept() {
    let huge = entry(b"huge", EntryKind::File { size: 9 << 30 });
    let mut writer = TarWriter::new(Vec::new());
    // The content is cut on purpose: only the headers matter here.
    assert!(matches!(writer.append(&huge, &mut [0_u8; 3].as_slice()), Err(StoreError::Archive { .. })));
    let bytes = writer.finish().unwrap();
    let mut reader = TarReader::new(Cursor::new(&bytes), ReadLimits::default());
    assert_eq!(reader.next_entry().unwrap(), Some(huge));
    assert!(matches!(reader.next_entry(), Err(StoreError::Archive { .. })));
}

#[test]
fn a_file_that_grows_while_it_is_read_is_an_error() {
    let (grown, _) = file(b"log", b"1234");
    let mut writer = TarWriter::new(Vec::new());
    assert!(matches!(writer.append(&grown, &mut b"12345".as_slice()), Err(StoreError::Archive { .. })));
}

#[test]
fn an_independent_reader_agrees() {
    let entries = vec![
        (entry(b"a", EntryKind::Directory), Vec::new()),
        file(&[b"a/".as_slice(), &[b'n'; 200]].concat(), b"content"),
        (entry(b"a/hard", EntryKind::Hardlink { target: b"a/x".to_vec() }), Vec::new()),
        (entry(b"a/fifo", EntryKind::Fifo), Vec::new()),
    ];
    let bytes = archive(&entries);
    let mut seen = Vec::new();
    for found in tar::Archive::new(Cursor::new(&bytes)).entries().unwrap() {
        let mut found = found.unwrap();
        let mut content = Vec::new();
        found.read_to_end(&mut content).unwrap();
        let path = found.path_bytes().into_owned();
        assert_eq!(found.header().mtime().unwrap(), 1_700_000_000);
        assert_eq!(found.header().username_bytes(), Some(&b""[..]));
        seen.push((path.strip_suffix(b"/").unwrap_or(&path).to_vec(), content));
    }
    let expected: Vec<_> =
        entries.iter().map(|(entry, content)| (entry.path.clone(), content.clone())).collect();
    assert_eq!(seen, expected);
}

#[test]
fn gnu_long_names_are_read() {
    let mut builder = tar::Builder::new(Vec::new());
    let name = format!("{}/{}", "d".repeat(150), "n".repeat(150));
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o600);
    builder.append_data(&mut header, &name, b"abc".as_slice()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", "t".repeat(180)).unwrap();
    let entries = read_all(&builder.into_inner().unwrap()).unwrap();
    assert_eq!((entries[0].0.path.as_slice(), entries[0].1.as_slice()), (name.as_bytes(), &b"abc"[..]));
    assert_eq!(entries[1].0.kind, EntryKind::Symlink { target: vec![b't'; 180] });
}

/// Header of GNU's old sparse form: 10 bytes of size, "abc" stored at offset 4.
#[test]
fn old_gnu_sparse_files_read_with_their_holes() {
    let mut bytes = archive(&[file(b"s", b"abc")]);
    bytes[156] = b'S';
    bytes[257..265].copy_from_slice(b"ustar  \0");
    bytes[386..398].copy_from_slice(b"00000000004\0");
    bytes[398..410].copy_from_slice(b"00000000003\0");
    bytes[483..495].copy_from_slice(b"00000000012\0");
    seal(&mut bytes);
    let entries = read_all(&bytes).unwrap();
    assert_eq!(entries[0].0.kind, EntryKind::File { size: 10 });
    assert_eq!(entries[0].1, b"\0\0\0\0abc\0\0\0");
}

#[test]
fn pax_sparse_files_read_with_their_holes() {
    let records = |pairs: &[(&str, &str)]| {
        let mut records = pax::Records::new();
        for (key, value) in pairs {
            records.insert(key.as_bytes().to_vec(), value.as_bytes().to_vec());
        }
        pax::encode(&records)
    };
    let build = |records: &[u8], content: &[u8]| {
        let mut bytes = archive(&[file(b"x", records), file(b"placeholder", content)]);
        bytes[156] = b'x';
        seal(&mut bytes);
        bytes
    };
    let first = records(&[("GNU.sparse.map", "4,3"), ("GNU.sparse.size", "10"), ("GNU.sparse.name", "real")]);
    let mut map = b"1\n4\n3\n".to_vec();
    map.resize(512, 0);
    let second = records(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "10"),
        ("GNU.sparse.name", "real"),
    ]);
    for bytes in [build(&first, b"abc"), build(&second, &[map, b"abc".to_vec()].concat())] {
        let entries = read_all(&bytes).unwrap();
        assert_eq!(entries[0].0.path, b"real");
        assert_eq!(entries[0].1, b"\0\0\0\0abc\0\0\0");
    }
}

/// Puts the checksum of the first header right.
fn seal(bytes: &mut [u8]) {
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

#[test]
fn headers_beyond_the_limits_are_refused() {
    let long = archive(&[file(&vec![b'n'; 5000], b"")]);
    assert!(matches!(read_all(&long), Err(StoreError::Limit { what: "bytes in a path", .. })));
    let mut big = file(b"f", b"");
    big.0.xattrs = vec![(b"user.a".to_vec(), vec![1; 200_000]), (b"user.b".to_vec(), vec![1; 200_000])];
    assert!(matches!(read_all(&archive(&[big])), Err(StoreError::Limit { .. })));
    let mut huge = file(b"f", b"");
    huge.0.xattrs = vec![(b"user.a".to_vec(), vec![1; 2_000_000])];
    assert!(matches!(read_all(&archive(&[huge])), Err(StoreError::Limit { .. })));
}

#[test]
fn every_cut_inside_an_entry_is_an_error() {
    let bytes = archive(&[file(b"one", &[7; 700]), file(&[b'n'; 200], b"two")]);
    let second = BLOCK + 2 * BLOCK;
    for length in 1..bytes.len() - 2 * BLOCK {
        assert_eq!(read_all(&bytes[..length]).is_ok(), length == second, "cut at {length}");
    }
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let name = proptest::collection::vec(1_u8..=255, 1..180);
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let kind = prop_oneof![
        Just(EntryKind::Directory),
        Just(EntryKind::Fifo),
        proptest::collection::vec(1_u8..=255, 1..180).prop_map(|target| EntryKind::Symlink { target }),
        proptest::collection::vec(1_u8..=255, 1..180).prop_map(|target| EntryKind::Hardlink { target }),
        (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
        (0_u64..1500).prop_map(|size| EntryKind::File { size }),
    ];
    let xattrs = proptest::collection::btree_map("user\\.[a-z]{1,9}", bytes(), 0..3);
    (name, kind, 0_u32..=MODE_BITS, any::<(u32, u32, i64)>(), xattrs).prop_map(
        |(mut path, kind, mode, (uid, gid, seconds), xattrs)| {
            // A directory's trailing slash belongs to the form, not to the name.
            while path.last() == Some(&b'/') {
                path.pop();
            }
            path.insert(0, b'p');
            let content = match kind {
                EntryKind::File { size } => vec![9; size as usize],
                _ => Vec::new(),
            };
            let xattrs = xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            let modified = ModificationTime::from_seconds(seconds);
            (Entry { path, kind, mode, uid, gid, modified, xattrs }, content)
        },
    )
}

proptest! {
    #[test]
    fn entries_come_back_as_written(entries in proptest::collection::vec(any_entry(), 0..6)) {
        let bytes = archive(&entries);
        prop_assert_eq!(&archive(&entries), &bytes);
        let expected: Vec<_> = entries.into_iter().map(|(mut entry, content)| {
            if entry.kind == EntryKind::Directory {
                entry.path.push(b'/');
            }
            (entry, content)
        }).collect();
        prop_assert_eq!(read_all(&bytes).unwrap(), expected);
    }

    #[test]
    fn damaged_archives_never_panic(
        entries in proptest::collection::vec(any_entry(), 1..4),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        resealed in any::<bool>(),
    ) {
        let mut bytes = archive(&entries);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if resealed {
            seal(&mut bytes);
        }
        let _ = read_all(&bytes);
    }
}
