//! The data folder: one server at a time, files for their owner only where they hold secrets.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::ServerError;

/// The folder and the places in it.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Makes the folder if it is missing.
    pub fn prepare_blocking(root: &Path) -> Result<Self, ServerError> {
        let folder = Self { root: root.to_owned() };
        for path in [root.to_owned(), folder.keys(), folder.tls()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|source| ServerError::Data { action: "create", path, source })?;
        }
        Ok(folder)
    }

    /// The folder of a registry that was started before.
    pub fn existing_blocking(root: &Path) -> Result<Self, ServerError> {
        let folder = Self { root: root.to_owned() };
        if folder.metadata().exists() {
            return Ok(folder);
        }
        Err(ServerError::Config(format!(
            "{} holds no registry: name its data folder with --data, or start one there with `slipway registry serve`",
            root.display()
        )))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The metadata database.
    pub fn metadata(&self) -> PathBuf {
        self.root.join("metadata.sqlite")
    }

    /// Signing keys of the token server.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The private certificate authority.
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// The first administrator's password, until somebody removes the file.
    pub fn admin_password(&self) -> PathBuf {
        self.root.join("admin-password")
    }
}

/// Writes a file that only its owner may read, whole or not at all, and durably.
pub(crate) fn write_private_blocking(path: &Path, bytes: &[u8]) -> Result<(), ServerError> {
    write_blocking(path, bytes, 0o600)
}

/// Writes a file that everybody may read, whole or not at all, and durably.
pub(crate) fn write_public_blocking(path: &Path, bytes: &[u8]) -> Result<(), ServerError> {
    write_blocking(path, bytes, 0o644)
}

fn write_blocking(path: &Path, bytes: &[u8], mode: u32) -> Result<(), ServerError> {
    let temporary = path.with_extension("new");
    let written = (|| {
        // What an earlier start left half-way.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), registry_io::sync_directory)
    })();
    written.map_err(|source| ServerError::Data { action: "write", path: path.to_owned(), source })
}
