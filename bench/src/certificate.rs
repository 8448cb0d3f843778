//! One certificate for every server, so that a handshake and a record cost each of them the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// PEM files that servers are given.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Self-signed, ECDSA on P-256, for this machine.
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let signed = rcgen::CertificateParams::new(names)?.self_signed(&pair)?;
        let files = Self { certificate: folder.join("bench.crt"), key: folder.join("bench.key") };
        fs::write(&files.certificate, signed.pem())?;
        fs::write(&files.key, pair.serialize_pem())?;
        Ok(files)
    }
}
