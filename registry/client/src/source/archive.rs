//! Archives: the table of contents of a tar file is read once, then its parts are read in place. A name in an archive
//! is only ever looked up in that table, so it cannot lead out of it.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read as _, Seek as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::read::MultiGzDecoder;
use tar::EntryType;
use tokio::io::AsyncRead;

use super::store::{Extent, Store, Tar};
use crate::Error;

/// Most entries of an archive; an image has a few hundred at most. Bounds the table.
const MOST_ENTRIES: usize = 100_000;

/// How many links are followed to a file: `docker save` needs one.
const MOST_LINKS: usize = 8;

/// Buffer for decompression, in bytes.
const READ_LENGTH: usize = 256 << 10;

pub(super) async fn open(path: &Path) -> Result<Store, Error> {
    let path = path.to_owned();
    let file = tokio::fs::File::open(&path)
        .await
        .map_err(|error| Error::io(format!("reading {}", path.display()), error))?
        .into_std()
        .await;
    blocking(move || index_blocking(file, path)).await
}

pub(super) async fn spool(mut reader: impl AsyncRead + Unpin) -> Result<Store, Error> {
    let named = |error| Error::io("keeping the archive in a temporary file", error);
    let file = tokio::task::spawn_blocking(tempfile::tempfile)
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(named)?;
    let mut file = tokio::fs::File::from_std(file);
    tokio::io::copy(&mut reader, &mut file).await.map_err(named)?;
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(named)?;
    let file = file.into_std().await;
    blocking(move || index_blocking(file, PathBuf::from("standard input"))).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::io("reading an archive", io::Error::other(error)))?
}

fn index_blocking(mut file: File, path: PathBuf) -> Result<Store, Error> {
    let broken = |error: io::Error| Error::Archive { path: path.clone(), reason: error.to_string() };
    let mut magic = [0; 6];
    file.rewind().map_err(broken)?;
    let length = file.by_ref().take(magic.len() as u64).read(&mut magic).map_err(broken)?;
    file.rewind().map_err(broken)?;
    let start = magic.get(..length).unwrap_or_default();
    if start.starts_with(&[0x1f, 0x8b]) {
        // Parts of a compressed file cannot be read in place.
        let mut plain = tempfile::tempfile().map_err(broken)?;
        let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(READ_LENGTH, file));
        io::copy(&mut decoder, &mut plain).map_err(broken)?;
        file = plain;
        file.rewind().map_err(broken)?;
    } else if let Some(format) = other_compression(start) {
        let reason = format!("it is compressed with {format}; decompress it first, only gzip is read");
        return Err(Error::Archive { path, reason });
    }
    let entries = entries_blocking(&mut file, &path)?;
    Ok(Store::Tar(Arc::new(Tar {
        path,
        file: Arc::new(file),
        entries,
        blobs: HashMap::new(),
        made: HashMap::new(),
    })))
}

fn other_compression(start: &[u8]) -> Option<&'static str> {
    [
        (&[0x28_u8, 0xb5, 0x2f, 0xfd][..], "zstd"),
        (&[0xfd, b'7', b'z', b'X', b'Z'][..], "xz"),
        (&b"BZh"[..], "bzip2"),
    ]
    .into_iter()
    .find(|(magic, _)| start.starts_with(magic))
    .map(|(_, name)| name)
}

fn entries_blocking(file: &mut File, path: &Path) -> Result<HashMap<String, Extent>, Error> {
    let unreadable = |reason: String| Error::Archive { path: path.to_owned(), reason };
    let broken = |error: io::Error| unreadable(error.to_string());
    let length = file.metadata().map_err(broken)?.len();
    let mut entries = HashMap::new();
    let mut links = HashMap::new();
    let mut archive = tar::Archive::new(&mut *file);
    for entry in archive.entries_with_seek().map_err(broken)? {
        let first = entries.is_empty() && links.is_empty();
        let entry = entry.map_err(|error| {
            if first { unreadable(format!("it is not a tar file ({error})")) } else { broken(error) }
        })?;
        if entries.len() + links.len() >= MOST_ENTRIES {
            return Err(unreadable(format!("it has more than {MOST_ENTRIES} entries")));
        }
        let name = normalized("", &String::from_utf8_lossy(&entry.path_bytes()));
        let link = |folder: &str| {
            entry.link_name_bytes().map(|target| normalized(folder, &String::from_utf8_lossy(&target)))
        };
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let extent = Extent { start: entry.raw_file_position(), length: entry.size() };
                if extent.start.checked_add(extent.length).is_none_or(|end| end > length) {
                    return Err(unreadable(format!("it ends in the middle of {name}")));
                }
                entries.insert(name, extent);
            }
            EntryType::Symlink => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                if let Some(target) = link(folder) {
                    links.insert(name, target);
                }
            }
            EntryType::Link => {
                if let Some(target) = link("") {
                    links.insert(name, target);
                }
            }
            _ => {}
        }
    }
    for (name, first) in &links {
        let mut target = first;
        for _ in 0..MOST_LINKS {
            if let Some(extent) = entries.get(target).copied() {
                entries.entry(name.clone()).or_insert(extent);
                break;
            }
            match links.get(target) {
                Some(next) => target = next,
                None => break,
            }
        }
    }
    Ok(entries)
}

/// `name` seen from `folder`, without `.` and `..`; what would climb above the root stays there.
fn normalized(folder: &str, name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let folder = if name.starts_with('/') { "" } else { folder };
    for part in folder.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_within_the_archive() {
        assert_eq!(normalized("", "./blobs/sha256/a"), "blobs/sha256/a");
        assert_eq!(normalized("b", "../a/layer.tar"), "a/layer.tar");
        assert_eq!(normalized("b", "/../../etc/passwd"), "etc/passwd");
    }

    proptest! {
        #[test]
        fn a_damaged_archive_is_an_error_or_a_table_within_it(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2048),
            wild in any::<bool>(),
        ) {
            if !wild {
                // A valid archive with a few bytes changed.
                let mut builder = tar::Builder::new(Vec::new());
                for name in ["index.json", "oci-layout"] {
                    let mut header = tar::Header::new_gnu();
                    header.set_size(700);
                    builder.append_data(&mut header, name, &[b'x'; 700][..]).unwrap();
                }
                let mut valid = builder.into_inner().unwrap();
                for pair in bytes.chunks_exact(3).take(3) {
                    let at = usize::from(pair[0]) * 256 + usize::from(pair[1]);
                    let at = at % valid.len();
                    valid[at] = pair[2];
                }
                bytes = valid;
            }
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &bytes).unwrap();
            if let Ok(Store::Tar(tar)) = index_blocking(file, PathBuf::from("test")) {
                let length = tar.file.metadata().unwrap().len();
                prop_assert!(tar.entries.values().all(|extent| extent.start + extent.length <= length));
            }
        }
    }
}
