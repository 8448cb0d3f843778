//! `slipway builder` with a store of its own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use tempfile::TempDir;

use crate::{Finished, binary, run};

/// A builder's store, removed when dropped.
#[derive(Debug)]
pub struct Builder {
    folder: TempDir,
}

impl Builder {
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("slipway-builder-").tempdir()? })
    }

    /// The folder with the store in it, which its caller may put further files into.
    pub fn home(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// `slipway builder VERB ARGUMENTS CONTEXT`. The environment tells of no CI job, no Git checkout and no
    /// credentials but those that the caller adds.
    pub fn command(&self, verb: &str, context: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CI") || name.starts_with("GITLAB") || name.starts_with("SLIPWAY_BUILDER") {
                command.env_remove(&*name);
            }
        }
        command
            .env_remove("SOURCE_DATE_EPOCH")
            .env("HOME", self.folder.path())
            .env("DOCKER_CONFIG", self.folder.path().join("docker"))
            .env("REGISTRY_AUTH_FILE", self.folder.path().join("containers-auth.json"))
            .args(["builder", verb])
            .arg(context)
            .arg("--storage")
            .arg(self.folder.path().join("store"))
            .args(["--progress", "plain"])
            .args(arguments);
        command
    }

    /// Runs [`Builder::command`] to its end.
    pub fn run(&self, verb: &str, context: &Path, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.command(verb, context, arguments), b"")
    }
}
