//! Accounts, rules and keys of a data folder, beside a running server: what is changed here holds for the next
//! request there.

mod policies;

use std::{path::Path, time::Duration};

use registry_auth::Secret;
use registry_blobs::AnyBlobs;
use registry_core::{CollectionRound, EndpointName, Registry};
use registry_io::DirectoryLock;
use registry_metadata::{
    AccountMetadata, AccountRecord, AnyMetadata, CollectionMetadata, CollectionStatus, DryRun, EventBacklog,
    EventMetadata, Explanation, RuleRecord,
};
use registry_types::{AccessRule, AccountKind, AccountName, Digest};
use time::OffsetDateTime;

pub use self::policies::ListedQuota;
pub(crate) use self::policies::{adopt, retention};
use crate::{
    Config, DataFolder, ServerError,
    keys::KeyPlace,
    run::{hash, off_workers},
    stores::{open_blobs, open_metadata},
};

/// Shortest password that is taken from a person. Robots' are made and longer.
const SHORTEST_PASSWORD: usize = 8;

/// An account to make.
#[derive(Debug)]
pub struct NewAccount {
    pub name: AccountName,
    pub kind: AccountKind,
    pub admin: bool,
    pub password: Secret,
    /// Replaces an account of this name.
    pub replace: bool,
}

#[derive(Debug)]
pub struct Administration {
    metadata: AnyMetadata,
    folder: DataFolder,
    config: Config,
    /// Held when no server runs.
    lock: Option<DirectoryLock>,
}

impl Administration {
    /// Opens the data folder of a registry that was started at least once, with the configuration's defaults.
    pub async fn open(data: &Path) -> Result<Self, ServerError> {
        Self::of(&Config { data: data.to_owned(), ..Config::default() }).await
    }

    /// Opens the registry of a configuration; it was started at least once.
    pub async fn of(config: &Config) -> Result<Self, ServerError> {
        let (data, local) = (config.data.clone(), config.metadata.url.is_none());
        let (folder, lock) = off_workers(move || {
            // What is kept in a database is there without a folder.
            let folder = if local {
                DataFolder::existing_blocking(&data)?
            } else {
                DataFolder::prepare_blocking(&data)?
            };
            // Without a running server this process is the only one and may bring the schema up to date.
            let lock = DirectoryLock::acquire(folder.root()).ok();
            Ok((folder, lock))
        })
        .await?;
        let metadata = open_metadata(config, &folder, lock.is_some()).await?;
        Ok(Self { metadata, folder, config: config.clone(), lock })
    }

    pub async fn add_account(&self, account: NewAccount) -> Result<(), ServerError> {
        if account.password.expose().len() < SHORTEST_PASSWORD {
            return Err(ServerError::Config(format!(
                "a password needs at least {SHORTEST_PASSWORD} characters"
            )));
        }
        let password_hash = hash(&account.password).await?;
        let record = AccountRecord {
            name: account.name,
            kind: account.kind,
            admin: account.admin,
            password_hash,
            created_at: OffsetDateTime::now_utc(),
        };
        Ok(self.metadata.put_account(&record, account.replace).await?)
    }

    /// Takes over the bcrypt lines of an htpasswd file. Gives the names; nothing is stored if a line is wrong.
    pub async fn import_htpasswd(
        &self,
        text: &str,
        kind: AccountKind,
        replace: bool,
    ) -> Result<Vec<AccountName>, ServerError> {
        let entries = registry_auth::parse_htpasswd(text).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            ServerError::Config(format!("the htpasswd file cannot be taken:\n  {}", lines.join("\n  ")))
        })?;
        if !replace {
            for (name, _) in &entries {
                if self.metadata.account(name).await?.is_some() {
                    return Err(ServerError::Config(format!(
                        "there is an account {name} already: take it out of the file, or use --replace"
                    )));
                }
            }
        }
        let mut names = Vec::new();
        for (name, hash) in entries {
            let record = AccountRecord {
                name: name.clone(),
                kind,
                admin: false,
                password_hash: hash.as_str().to_owned(),
                created_at: OffsetDateTime::now_utc(),
            };
            self.metadata.put_account(&record, replace).await?;
            names.push(name);
        }
        Ok(names)
    }

    pub async fn accounts(&self) -> Result<Vec<AccountRecord>, ServerError> {
        Ok(self.metadata.accounts().await?)
    }

    /// False when there is no account of this kind and name.
    ///
    /// # Errors
    /// [`ServerError::Config`] for the last administrator: nobody could log in to make another.
    pub async fn remove_account(&self, kind: AccountKind, name: &AccountName) -> Result<bool, ServerError> {
        let accounts = self.metadata.accounts().await?;
        let Some(account) = accounts.iter().find(|account| account.name == *name && account.kind == kind)
        else {
            return Ok(false);
        };
        if account.admin && accounts.iter().filter(|other| other.admin).count() == 1 {
            return Err(ServerError::Config(format!(
                "{name} is the last administrator: add another one first"
            )));
        }
        Ok(self.metadata.delete_account(name).await?)
    }

    pub async fn add_rule(&self, rule: &AccessRule) -> Result<RuleRecord, ServerError> {
        if let registry_types::Subject::Account(name) = &rule.subject
            && self.metadata.account(name).await?.is_none()
        {
            return Err(ServerError::UnknownAccount { name: name.clone() });
        }
        Ok(self.metadata.add_rule(rule).await?)
    }

    pub async fn rules(&self) -> Result<Vec<RuleRecord>, ServerError> {
        Ok(self.metadata.rules().await?.to_vec())
    }

    /// False when there was none.
    pub async fn remove_rule(&self, id: i64) -> Result<bool, ServerError> {
        Ok(self.metadata.delete_rule(id).await?)
    }

    /// How far each event endpoint is, by name.
    pub async fn event_backlog(&self) -> Result<Vec<EventBacklog>, ServerError> {
        Ok(registry_core::event_backlog(&self.metadata).await?)
    }

    /// Lets the endpoint hear the events from `first` on again, or all that are kept. False: there is no such endpoint.
    pub async fn replay_events(
        &self,
        endpoint: &EndpointName,
        first: Option<i64>,
    ) -> Result<bool, ServerError> {
        let passed = first.map_or(0, |first| first.saturating_sub(1));
        Ok(self.metadata.replay_events(endpoint.as_str(), passed, OffsetDateTime::now_utc()).await?)
    }

    /// Forgets how far the endpoint is. False: there is no such endpoint.
    pub async fn remove_endpoint(&self, endpoint: &EndpointName) -> Result<bool, ServerError> {
        Ok(self.metadata.remove_endpoint(endpoint.as_str()).await?)
    }

    /// Signs with a new key from now on. Tokens of the old one stay good for `lifetime`; with zero none does.
    pub async fn rotate_key(&self, lifetime: Duration) -> Result<(), ServerError> {
        KeyPlace::of(&self.config, &self.folder, &self.metadata).rotate(lifetime).await
    }

    /// Where collection stands.
    pub async fn collection_status(&self) -> Result<CollectionStatus, ServerError> {
        Ok(self.metadata.collection_status(OffsetDateTime::now_utc()).await?)
    }

    /// What collection would do now, in at most `limit` decisions.
    pub async fn collection_dry_run(&self, limit: usize) -> Result<DryRun, ServerError> {
        let now = OffsetDateTime::now_utc();
        Ok(self.metadata.collect_dry_run(&self.config.limits().collection, now, limit).await?)
    }

    /// What holds a blob or manifest, in at most `limit` chains.
    pub async fn explain_digest(&self, digest: &Digest, limit: usize) -> Result<Explanation, ServerError> {
        let now = OffsetDateTime::now_utc();
        Ok(self.metadata.explain(digest, &self.config.limits().collection, now, limit).await?)
    }

    /// What collects here. `None`: a server runs, which does so by itself.
    pub async fn collector(&self) -> Result<Option<Collector>, ServerError> {
        // Bytes of a shared store may be removed by anybody, those of a data folder only by who has its lock.
        let shared = self.config.metadata.url.is_some() && self.config.blobs.url.is_some();
        if self.lock.is_none() && !shared {
            return Ok(None);
        }
        let blobs = open_blobs(&self.config, &self.folder).await?;
        let registry = Registry::new(self.metadata.clone(), blobs, self.config.limits());
        Ok(Some(Collector { registry }))
    }
}

/// Collects on the stores of an [`Administration`], which outlives it.
#[derive(Debug)]
pub struct Collector {
    registry: Registry<AnyMetadata, AnyBlobs>,
}

impl Collector {
    /// Collects a batch of what is due.
    pub async fn collect(&self) -> Result<CollectionRound, ServerError> {
        let round = self.registry.collect(OffsetDateTime::now_utc()).await;
        round.map_err(|error| ServerError::Collection(error.to_string()))
    }
}
