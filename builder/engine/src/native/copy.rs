//! COPY and ADD: which files are meant, their checksum for the key, and the copy itself.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use builder_plan::{CopyFrom, CopyPath, CopyStep, Ownership, Principal, StageId};
use builder_runtime::resolve_owner;
use builder_store::StoreError;
use builder_store::checksum::{ChecksumOptions, checksum};
use builder_store::compression::{ArchiveFormat, Decompressor, ExpansionLimits};
use builder_store::copy::{
    CopyRequest, CopySource, ModeChange, Selection, copy, expand_wildcards, select_all,
};
use builder_store::layer::{DevicePolicy, UnpackOptions};
use builder_store::store::Upper;
use builder_store::tar::{ModificationTime, ReadLimits, TarReader};
use builder_store::tree::{FileKind, Tree, TreePath};
use registry_types::Digest;

use super::blocking::blocking;
use super::session::Session;
use super::stage::Position;
use crate::error::{Result, StepProblem};

/// Where the files of a COPY come from.
#[derive(Debug, Clone)]
pub(super) enum SourceFiles {
    Context,
    /// Layers of a stage or an image, uppermost first.
    Layers(Vec<PathBuf>),
}

/// The files that a COPY means.
#[derive(Debug)]
pub(super) struct Selected {
    source: SourceFiles,
    /// Wildcards expanded.
    paths: Vec<Vec<u8>>,
    pub(super) content: Digest,
}

impl Session {
    /// Brings the source's files here.
    pub(super) async fn copy_source(
        self: &Arc<Self>,
        from: &CopyFrom,
        stages: &HashMap<StageId, Position>,
    ) -> Result<SourceFiles, StepProblem> {
        let snapshot = match from {
            CopyFrom::Context => return Ok(SourceFiles::Context),
            CopyFrom::Scratch => None,
            CopyFrom::Stage(id) => match stages.get(id) {
                Some(position) => {
                    self.make_files(position).await?;
                    position.snapshot
                }
                None => None,
            },
            CopyFrom::Image(image) => {
                let image = self.image(image)?;
                self.unpack(image).await?;
                image.snapshot()
            }
        };
        let session = Arc::clone(self);
        let layers = blocking("reading the store", move || {
            Ok::<_, StepProblem>(session.layers_blocking(snapshot.as_ref())?)
        });
        Ok(SourceFiles::Layers(layers.await?))
    }

    /// Expands wildcards and sums up the content.
    pub(super) async fn select(
        self: &Arc<Self>,
        step: &CopyStep,
        source: SourceFiles,
    ) -> Result<Selected, StepProblem> {
        let (session, step) = (Arc::clone(self), step.clone());
        blocking("reading the files to copy", move || {
            if let (SourceFiles::Layers(layers), Some(path)) = (&source, step.paths.iter().find_map(literal))
                && layers.is_empty()
            {
                return Err(StoreError::SourceNotFound { path: path.to_owned() }.into());
            }
            // Files of the context all get one owner, and so does everything with --chown.
            let with_owner = matches!(source, SourceFiles::Layers(_)) && step.ownership.is_none();
            let (paths, content) = session.with_tree(&source, |tree, select| {
                let mut paths = Vec::new();
                for path in &step.paths {
                    match &path.literal {
                        Some(literal) => paths.push(literal.as_bytes().to_vec()),
                        // Nothing matches in an empty tree, which has no root to look from.
                        None if matches!(&source, SourceFiles::Layers(layers) if layers.is_empty()) => {}
                        None => paths.extend(expand_wildcards(tree, path.pattern.as_bytes(), select)?),
                    }
                }
                let options = ChecksumOptions { select, with_owner };
                let content = checksum(tree, &paths, &options, &session.file_digests)?;
                Ok::<_, StepProblem>((paths, content))
            })?;
            Ok(Selected { source, paths, content })
        })
        .await
    }

    fn with_tree<T>(
        &self,
        source: &SourceFiles,
        work: impl FnOnce(&Tree, &dyn Fn(&TreePath, bool) -> Selection) -> Result<T, StepProblem>,
    ) -> Result<T, StepProblem> {
        match source {
            SourceFiles::Context => {
                work(&self.context.tree, &|path, directory| self.context.select(path, directory))
            }
            SourceFiles::Layers(layers) => work(&Tree::open(layers)?, &select_all),
        }
    }

    /// The time of what is made now.
    pub(super) fn now(&self) -> ModificationTime {
        let now = self.request.reproducibility.now();
        ModificationTime { seconds: now.unix_timestamp(), nanoseconds: now.nanosecond() }
    }
}

pub(super) fn copy_blocking(
    session: &Arc<Session>,
    upper: &Upper,
    step: &CopyStep,
    selected: &Selected,
) -> Result<(), StepProblem> {
    let stated_owner = match &step.ownership {
        None => None,
        Some(ownership) => {
            let owner = resolve_owner(upper.lowers(), &owner_text(ownership))?;
            Some((owner.uid, owner.gid))
        }
    };
    let from_context = matches!(selected.source, SourceFiles::Context);
    // Who owns the files of a checkout is no part of the image; files of a stage keep their owner.
    let owner = stated_owner.or(from_context.then_some((0, 0)));
    let mode: Option<ModeChange> = step.chmod.as_ref().map(|chmod| chmod.written().parse()).transpose()?;
    let mut destination = step.destination.clone().into_bytes();
    if step.into_directory && destination.last() != Some(&b'/') {
        destination.push(b'/');
    }
    let options = UnpackOptions { devices: DevicePolicy::SkipForbidden, ..UnpackOptions::default() };
    let mut target = upper.tree()?;
    session.with_tree(&selected.source, |tree, select| {
        let request = CopyRequest {
            destination: &destination,
            owner,
            mode: mode.as_ref(),
            keep_capabilities: !from_context,
            created: session.now(),
            select,
            unpack: None,
        };
        // Entries of an archive keep the archive's owners unless --chown names one.
        let for_archive = CopyRequest {
            owner: stated_owner,
            unpack: Some((&options, ExpansionLimits::default())),
            ..request
        };
        let mut plain: Vec<CopySource<'_>> = Vec::new();
        for path in &selected.paths {
            let source = CopySource::Path { tree, path };
            if step.unpack && is_archive(tree, path)? {
                copy(&mut target, &std::mem::take(&mut plain), &request)?;
                copy(&mut target, &[source], &for_archive)?;
            } else {
                plain.push(source);
            }
        }
        for file in &step.files {
            plain.push(CopySource::Literal { name: file.name.as_bytes(), content: file.content.as_bytes() });
        }
        copy(&mut target, &plain, &request)?;
        Ok(())
    })?;
    Ok(target.finish()?)
}

fn literal(path: &CopyPath) -> Option<&str> {
    path.literal.as_deref()
}

fn owner_text(ownership: &Ownership) -> String {
    let text = |principal: &Principal| match principal {
        Principal::Id(id) => id.to_string(),
        Principal::Name(name) => name.clone(),
    };
    match &ownership.group {
        None => text(&ownership.user),
        Some(group) => format!("{}:{}", text(&ownership.user), text(group)),
    }
}

/// Whether ADD unpacks a file: its first entry can be read, compressed or not.
fn is_archive(tree: &Tree, path: &[u8]) -> Result<bool, StepProblem> {
    /// A plain archive begins with a whole header, whose checksum the reader looks at.
    const PLAIN_PROBE: u64 = 512;
    let Some(node) = tree.resolve(path, true)?.node.filter(|node| node.metadata.kind == FileKind::File)
    else {
        return Ok(false);
    };
    let mut file = tree.open_file(&node)?;
    let mut start = Vec::new();
    let read = file.by_ref().take(PLAIN_PROBE).read_to_end(&mut start);
    let is_plain = ArchiveFormat::detect(&start) == ArchiveFormat::Plain;
    if read.is_err() || (is_plain && (start.len() as u64) < PLAIN_PROBE) {
        return Ok(false);
    }
    let archive = Decompressor::new(std::io::Cursor::new(start).chain(file), ExpansionLimits::default());
    Ok(archive.is_ok_and(|archive| {
        matches!(TarReader::new(archive, ReadLimits::default()).next_entry(), Ok(Some(_)))
    }))
}
