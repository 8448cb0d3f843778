//! An image as one tar archive: an OCI image layout, for Docker with `manifest.json` in it, so that loaders of either
//! kind read the same file. The bytes depend on the image and its names alone.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};

use builder_store::Store;
use builder_store::tar::{Entry, EntryKind, ModificationTime, TarWriter};
use registry_types::{Descriptor, DigestHasher};

use crate::destination::{FileFormat, FileTarget};
use crate::error::{OutputError, Result};
use crate::image::BuiltImage;
use crate::layout::{self, Index, blob_path, docker_manifest, replace};

/// Bytes gathered before they are written: headers and small files go out in few system calls.
const WRITE_BUFFER: usize = 1 << 20;

/// Writes the archive to where `target` says. All layers are in the store.
pub(crate) fn write_archive_blocking(store: &Store, image: &BuiltImage, target: &FileTarget) -> Result<()> {
    if target.is_standard_output() {
        return write(store, image, target, io::stdout().lock());
    }
    replace(&target.path, |file| write(store, image, target, file))
}

fn write(store: &Store, image: &BuiltImage, target: &FileTarget, sink: impl Write) -> Result<()> {
    let mut archive = Archive { writer: TarWriter::new(BufWriter::with_capacity(WRITE_BUFFER, sink)) };
    archive.small(layout::LAYOUT_FILE, layout::LAYOUT)?;
    let mut index = Index::default();
    index.add(image, &target.names);
    archive.small(layout::INDEX_FILE, &index.to_json()?)?;
    if target.format == FileFormat::Docker {
        archive.small(layout::DOCKER_FILE, &docker_manifest(image, &target.names)?)?;
    }
    archive.small(&blob_path(&image.manifest_descriptor.digest), &image.manifest)?;
    archive.small(&blob_path(&image.config_descriptor.digest), &image.config)?;
    let mut written = HashSet::new();
    for layer in &image.layers {
        if written.insert(layer.descriptor.digest) {
            archive.layer(store, &layer.descriptor)?;
        }
    }
    let mut sink = archive.writer.finish()?;
    sink.flush().map_err(|error| OutputError::file("writing", &target.path, error))
}

struct Archive<W> {
    writer: TarWriter<W>,
}

impl<W: Write> Archive<W> {
    fn small(&mut self, name: &str, mut content: &[u8]) -> Result<()> {
        let size = content.len() as u64;
        Ok(self.writer.append(&entry(name, size), &mut content)?)
    }

    fn layer(&mut self, store: &Store, descriptor: &Descriptor) -> Result<()> {
        let mut content = Hashed {
            source: store.content.open_blob(&descriptor.digest)?,
            hasher: DigestHasher::new(descriptor.digest.algorithm()),
        };
        self.writer.append(&entry(&blob_path(&descriptor.digest), descriptor.size), &mut content)?;
        let actual = content.hasher.finish();
        if actual == descriptor.digest {
            return Ok(());
        }
        let (expected, actual) = (Box::new(descriptor.digest), Box::new(actual));
        Err(builder_store::StoreError::DigestMismatch { expected, actual }.into())
    }
}

fn entry(name: &str, size: u64) -> Entry {
    Entry {
        path: name.as_bytes().to_vec(),
        kind: EntryKind::File { size },
        mode: 0o644,
        uid: 0,
        gid: 0,
        modified: ModificationTime::default(),
        xattrs: Vec::new(),
    }
}

/// Hashes what is read.
struct Hashed<R> {
    source: R,
    hasher: DigestHasher,
}

impl<R: io::Read> io::Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}
