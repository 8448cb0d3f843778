//! A private authority where Docker's daemon, skopeo and buildah look for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Read by all three; there is no option of dockerd for another place.
const FOLDER: &str = "/etc/docker/certs.d";

/// Clients trust certificates of an authority for one registry until this is dropped.
#[derive(Debug)]
pub struct TrustedAuthority {
    folder: PathBuf,
    made_parent: bool,
}

impl TrustedAuthority {
    /// `registry` is host and port as clients write them.
    pub fn install(certificate: &Path, registry: &str) -> Result<Self> {
        let made_parent = !Path::new(FOLDER).exists();
        let folder = Path::new(FOLDER).join(registry);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let installed = Self { folder, made_parent };
        fs::copy(certificate, installed.folder.join("ca.crt"))?;
        Ok(installed)
    }
}

impl Drop for TrustedAuthority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        if self.made_parent {
            let _ = fs::remove_dir(FOLDER);
        }
    }
}
