//! Losses made by hand, to prove that the comparison finds them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use registry_types::Digest;
use rusqlite::{Connection, params};

use super::{
    model::{Key, Model},
    sessions::Session,
};

/// A loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tamper {
    DeleteBlob,
    TruncateBlob,
    FlipBlobByte,
    DropBlobLink,
    DropTag,
    DropManifest,
    MoveTagBack,
    TruncateUpload,
    DropUpload,
    LeaveFileInTree,
}

impl Tamper {
    pub(super) const ALL: [Self; 10] = [
        Self::DeleteBlob,
        Self::TruncateBlob,
        Self::FlipBlobByte,
        Self::DropBlobLink,
        Self::DropTag,
        Self::DropManifest,
        Self::MoveTagBack,
        Self::TruncateUpload,
        Self::DropUpload,
        Self::LeaveFileInTree,
    ];

    /// Does it to the data of a registry that does not run.
    pub(super) fn apply(self, data: &Path, model: &Model, sessions: &[Session]) -> Result<()> {
        let database = || Connection::open(data.join("metadata.sqlite"));
        let blob = present(model, |key| match key {
            Key::Blob(repository, digest) => Some((repository.clone(), *digest)),
            _ => None,
        });
        let tag = present(model, |key| match key {
            Key::Tag(repository, tag) => Some((repository.clone(), tag.clone())),
            _ => None,
        });
        let changed = match self {
            Self::DeleteBlob => {
                fs::remove_file(blob_file(data, &blob.context("no blob to lose")?.1))?;
                1
            }
            Self::TruncateBlob => {
                let file = File::options().write(true).open(blob_file(data, &blob.context("no blob to lose")?.1))?;
                file.set_len(file.metadata()?.len() / 2)?;
                1
            }
            Self::FlipBlobByte => {
                let path = blob_file(data, &blob.context("no blob to lose")?.1);
                let mut bytes = fs::read(&path)?;
                let last = bytes.last_mut().context("the blob is empty")?;
                *last ^= 1;
                fs::write(&path, bytes)?;
                1
            }
            Self::DropBlobLink => {
                let (repository, digest) = blob.context("no blob to lose")?;
                database()?.execute(
                    "DELETE FROM repository_blobs WHERE repository_id = (SELECT id FROM repositories WHERE name = ?1)
                     AND blob_id = (SELECT id FROM blobs WHERE substr(digest, 2) = ?2)",
                    params![repository, digest.as_bytes()],
                )?
            }
            Self::DropTag => {
                let (repository, tag) = tag.context("no tag to lose")?;
                database()?.execute(
                    "DELETE FROM tags WHERE name = ?2
                     AND repository_id = (SELECT id FROM repositories WHERE name = ?1)",
                    params![repository, tag],
                )?
            }
            Self::DropManifest => {
                let (repository, _) = tag.context("no manifest to lose")?;
                let database = database()?;
                database.pragma_update(None, "foreign_keys", false)?;
                let row = "SELECT manifest_id FROM tags WHERE repository_id = (SELECT id FROM repositories WHERE name = ?1)
                     ORDER BY name LIMIT 1";
                let manifest: i64 = database.query_row(row, [&repository], |row| row.get(0))?;
                database.execute("DELETE FROM tags WHERE manifest_id = ?1", [manifest])?;
                database.execute("DELETE FROM repository_manifests WHERE manifest_id = ?1", [manifest])?
            }
            Self::MoveTagBack => database()?.execute(
                // Two tags of one repository that point at different manifests: one is moved to the other's.
                "UPDATE tags SET manifest_id = (SELECT other.manifest_id FROM tags other
                     WHERE other.repository_id = tags.repository_id AND other.manifest_id <> tags.manifest_id LIMIT 1)
                 WHERE (repository_id, name) = (SELECT one.repository_id, one.name FROM tags one JOIN tags other
                     ON one.repository_id = other.repository_id AND one.manifest_id <> other.manifest_id LIMIT 1)",
                [],
            )?,
            Self::TruncateUpload => {
                let session = sessions.iter().find(|session| session.acknowledged > 1);
                let session = session.context("no upload to damage")?;
                let id = session.path.rsplit('/').next().unwrap_or_default();
                let file = File::options().write(true).open(data.join("uploads").join(id))?;
                file.set_len(session.acknowledged as u64 - 1)?;
                1
            }
            Self::DropUpload => {
                let session = sessions.first().context("no upload to lose")?;
                let id = session.path.rsplit('/').next().unwrap_or_default();
                database()?.execute("DELETE FROM uploads WHERE id = ?1", [id])?
            }
            Self::LeaveFileInTree => {
                let mut path = blob_file(data, &blob.context("no blob to lie beside")?.1);
                path.set_extension("part");
                fs::write(path, b"half")?;
                1
            }
        };
        ensure!(changed >= 1, "{self:?} changed nothing: the test of the test is broken");
        Ok(())
    }
}

/// The first of the things that are there.
fn present<T>(model: &Model, pick: impl Fn(&Key) -> Option<T>) -> Option<T> {
    model.settled.iter().filter(|(_, value)| value.is_some()).find_map(|(key, _)| pick(key))
}

fn blob_file(data: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    let shard: String = hex.chars().take(2).collect();
    data.join(format!("docker/registry/v2/blobs/{}/{shard}/{hex}/data", digest.algorithm()))
}
