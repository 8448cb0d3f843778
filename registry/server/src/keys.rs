//! Where the keys that tokens are signed with are kept: in the data folder of a single server, in the database that
//! replicas share.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use registry_auth::{KeyRing, KeyStore};
use registry_metadata::{AnyMetadata, SecretMetadata};
use registry_types::Digest;

use crate::{Config, DataFolder, ServerError, run::off_workers};

/// The name of the key ring among the secrets of the database.
const SECRET: &str = "token-signing-keys";

#[derive(Debug, Clone)]
pub(crate) enum KeyPlace {
    Folder(PathBuf),
    Database(AnyMetadata),
}

/// Tells one state of the keys from another without reading them whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyState {
    Folder(Option<SystemTime>),
    Database(Option<Digest>),
}

impl KeyPlace {
    pub(crate) fn of(config: &Config, folder: &DataFolder, metadata: &AnyMetadata) -> Self {
        match config.metadata.url {
            Some(_) => Self::Database(metadata.clone()),
            None => Self::Folder(folder.keys()),
        }
    }

    /// The keys; the first start makes them.
    pub(crate) async fn read(&self) -> Result<KeyRing, ServerError> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                let opened = move || KeyStore::open_blocking(&folder, SystemTime::now()).map_err(tokens);
                Ok(off_workers(opened).await?.ring().clone())
            }
            Self::Database(metadata) => {
                if metadata.secret(SECRET).await?.is_none() {
                    let ring = off_workers(|| KeyRing::generate_blocking().map_err(tokens)).await?;
                    // Another replica may have been first; then its keys are everybody's.
                    metadata.put_secret(SECRET, None, &ring.to_text().map_err(tokens)?).await?;
                }
                let text = metadata.secret(SECRET).await?.unwrap_or_default();
                KeyRing::from_text(&text).map_err(tokens)
            }
        }
    }

    /// Signs with a new key from now on; see [`KeyRing::rotated_blocking`].
    pub(crate) async fn rotate(&self, lifetime: Duration) -> Result<(), ServerError> {
        let now = SystemTime::now();
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                off_workers(move || {
                    let mut store = KeyStore::open_blocking(&folder, now).map_err(tokens)?;
                    store.rotate_blocking(lifetime, now).map_err(tokens)
                })
                .await
            }
            Self::Database(metadata) => {
                let before = self.read().await?;
                let text = before.to_text().map_err(tokens)?;
                let rotated =
                    off_workers(move || before.rotated_blocking(lifetime, now).map_err(tokens)).await?;
                let rotated = rotated.to_text().map_err(tokens)?;
                if metadata.put_secret(SECRET, Some(&text), &rotated).await? {
                    Ok(())
                } else {
                    Err(ServerError::Tokens("somebody else replaced the keys at the same moment".to_owned()))
                }
            }
        }
    }

    /// What changes when the keys do; `None` when it cannot be told now.
    pub(crate) async fn state(&self) -> Option<KeyState> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                let modified = move || {
                    Ok::<_, ServerError>(
                        std::fs::metadata(folder).and_then(|metadata| metadata.modified()).ok(),
                    )
                };
                off_workers(modified).await.ok().map(KeyState::Folder)
            }
            Self::Database(metadata) => {
                let text = metadata.secret(SECRET).await.ok()?;
                Some(KeyState::Database(text.map(|text| Digest::sha256(text.as_bytes()))))
            }
        }
    }
}

fn tokens(error: impl std::fmt::Display) -> ServerError {
    ServerError::Tokens(error.to_string())
}
