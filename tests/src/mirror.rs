//! A registry that mirrors another one.

use std::{fs, net::SocketAddr, ops::Deref};

use anyhow::Result;
use tempfile::TempDir;

use crate::{Options, Registry};

/// The mirror, with its configuration.
#[derive(Debug)]
pub struct Mirror {
    registry: Registry,
    _folder: TempDir,
}

impl Mirror {
    /// A mirror of `upstream` below `prefix`, open to all. `settings` are lines of its `[[upstreams]]` entry.
    pub fn start(prefix: &str, upstream: SocketAddr, settings: &str) -> Result<Self> {
        Self::start_with(prefix, upstream, settings, &["--auth", "none"])
    }

    /// The same with other arguments of `registry serve`.
    pub fn start_with(
        prefix: &str,
        upstream: SocketAddr,
        settings: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("slipway-mirror-").tempdir()?;
        let config = folder.path().join("config.toml");
        let text = format!("[[upstreams]]\nprefix = {prefix:?}\nurl = \"http://{upstream}\"\n{settings}\n");
        fs::write(&config, text)?;
        let mut options = Options::with(arguments);
        options.arguments.extend(["--config".to_owned(), config.display().to_string()]);
        Ok(Self { registry: Registry::start(options)?, _folder: folder })
    }
}

impl Deref for Mirror {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}
