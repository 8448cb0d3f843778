//! Starting and stopping a server.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use registry_auth::{GitLab, GitLabConfig, Issuer, Logins, Secret, Verifier};
use registry_blobs::AnyBlobs;
use registry_core::{Recovered, Registry, Retention};
use registry_http::{Authenticator, ListenerTls, Monitoring, TokenServer};
use registry_io::DirectoryLock;
use registry_metadata::{AccountMetadata, AccountRecord, AnyMetadata, MetadataError};
use registry_types::AccountKind;
use rustls::ServerConfig;
use time::OffsetDateTime;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    AuthMode, Config, DataFolder, SelfSigned, ServerError, administration,
    authority::certificate_names,
    data::write_private_blocking,
    events::{self, Endpoint},
    keys::KeyPlace,
    stores::{open_blobs, open_metadata},
    systemd::{self, State},
    upstream,
};

/// How often files that may change under a running server (signing keys, certificates) are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// A server that listens and has not begun to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    registry: Registry<AnyMetadata, AnyBlobs>,
    retention: Retention<AnyMetadata>,
    authenticator: Authenticator,
    tokens: Option<(TokenServer, KeyPlace)>,
    tls: Option<(watch::Sender<Arc<ServerConfig>>, CertificateFiles)>,
    self_signed: Option<SelfSigned>,
    new_admin: Option<PathBuf>,
    admin: Option<TcpListener>,
    endpoints: Vec<Endpoint>,
    config: Config,
    _lock: DirectoryLock,
}

#[derive(Debug, Clone)]
struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl Server {
    /// Opens the data folder, makes what a first start needs, and binds the address.
    pub async fn prepare(config: Config) -> Result<Self, ServerError> {
        let data = config.data.clone();
        let (folder, lock) = off_workers(move || lock_folder_blocking(&data)).await?;
        let metadata = open_metadata(&config, &folder, true).await?;
        let blobs = open_blobs(&config, &folder).await?;
        let (authenticator, tokens, new_admin) = match config.auth.mode {
            AuthMode::None => (Authenticator::open(), None, None),
            AuthMode::Token => {
                let keys = KeyPlace::of(&config, &folder, &metadata);
                let server = token_server(&config, &keys).await?;
                let admin = first_admin(&metadata, &folder).await?;
                (Authenticator::token_server(server.clone()), Some((server, keys)), admin)
            }
            AuthMode::Gitlab => (gitlab(&config).await?, None, None),
        };
        let self_signed = if config.tls.self_signed {
            let host = config.external_url.as_ref().and_then(|url| url.host_str());
            let names = certificate_names(host, config.listen.ip());
            let tls = folder.tls();
            Some(off_workers(move || SelfSigned::prepare_blocking(&tls, names)).await?)
        } else {
            None
        };
        let files = certificate_files(&config, self_signed.as_ref());
        let tls = match files {
            Some(files) => Some((watch::Sender::new(load_certificate(&files).await?), files)),
            None => None,
        };
        let (listener, address) = listen(config.listen, "--listen").await?;
        let admin = match config.admin.listen {
            Some(address) => Some(listen(address, "admin.listen").await?.0),
            None => None,
        };
        administration::adopt(&metadata, &config).await?;
        let retention = administration::retention(&metadata, &config);
        let mirrors = upstream::mirrors(&config.upstreams).await?;
        let endpoints = events::endpoints(&config).await?;
        let events = events::events(&config, address.port());
        let registry =
            Registry::new(metadata, blobs, config.limits()).with_events(events).with_mirrors(mirrors);
        Ok(Self {
            listener,
            address,
            registry,
            retention,
            authenticator,
            tokens,
            tls,
            self_signed,
            new_admin,
            admin,
            endpoints,
            config,
            _lock: lock,
        })
    }

    /// The address that clients can connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The private authority, if this server made itself one.
    pub fn self_signed(&self) -> Option<&SelfSigned> {
        self.self_signed.as_ref()
    }

    /// The file with the first administrator's password, if this start made one.
    pub fn new_admin(&self) -> Option<&PathBuf> {
        self.new_admin.as_ref()
    }

    /// Serves until `stop` is cancelled and everything in hand has ended.
    pub async fn serve(self, stop: CancellationToken) {
        // Before the first client: none may be told of an upload that the last run left half-ended.
        match self.registry.recover_uploads().await {
            Ok(recovered) if recovered == Recovered::default() => {}
            Ok(Recovered { removed, cut, lost }) => {
                tracing::info!(removed, cut, lost, "gave back the room of uploads that an earlier run left");
            }
            Err(error) => tracing::error!(%error, "cannot bring the uploads of an earlier run in order"),
        }
        let (sweeper, collector) = (self.registry.clone(), self.registry.clone());
        let (pulls, retention) = (self.registry.clone(), self.retention);
        let watched = (self.tokens, self.tls);
        let listener_tls = watched.1.as_ref().map(|(sender, _)| ListenerTls {
            config: sender.subscribe(),
            required: self.config.tls.required,
        });
        let housekeeping = TaskTracker::new();
        keep("removing unfinished uploads", &housekeeping, &stop, async move { sweeper.keep_swept().await });
        keep("collecting garbage", &housekeeping, &stop, async move { collector.keep_collected().await });
        keep("watching keys and certificates", &housekeeping, &stop, keep_reloading(watched));
        if !self.config.limits.read_only {
            keep("dating pulls", &housekeeping, &stop, async move { pulls.keep_pulls_recorded().await });
            keep("retention", &housekeeping, &stop, async move { retention.keep_running().await });
        }
        let keeping = self.config.events.keeping();
        events::tell(&self.registry, self.endpoints, keeping, (&housekeeping, &stop)).await;
        housekeeping.close();
        if let Some(warning) = self.config.guessed_realm() {
            tracing::warn!("{warning}");
        }
        let settings = self.config.http_settings();
        let monitoring = Monitoring { admin: self.admin, metrics_on_main: self.config.admin.metrics_on_main };
        systemd::tell(State::Ready);
        let stopping = stop.clone();
        housekeeping.spawn(async move {
            stopping.cancelled().await;
            systemd::tell(State::Stopping);
        });
        registry_http::serve(
            self.listener,
            self.registry,
            self.authenticator,
            listener_tls,
            monitoring,
            settings,
            stop,
        )
        .await;
        housekeeping.wait().await;
    }
}

async fn listen(address: SocketAddr, option: &'static str) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Listen { address: address.to_string(), option, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Does `work` beside the server until `stop`. Work that ends by a fault is told at once; the server goes on.
pub(crate) fn keep(
    what: &'static str,
    tracker: &TaskTracker,
    stop: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let (stop, task) = (stop.clone(), tokio::spawn(work));
    tracker.spawn(async move {
        let abort = task.abort_handle();
        tokio::select! {
            ended = task => tracing::error!(what, fault = ?ended.err(), "housekeeping ended; restart the registry"),
            () = stop.cancelled() => abort.abort(),
        }
    });
}

/// Does `work` where it holds up no request and no signal.
pub(crate) async fn off_workers<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ServerError::Config(error.to_string())))
}

fn lock_folder_blocking(data: &Path) -> Result<(DataFolder, DirectoryLock), ServerError> {
    let folder = DataFolder::prepare_blocking(data)?;
    let lock = DirectoryLock::acquire(folder.root())
        .map_err(|error| ServerError::Locked { path: folder.root().to_owned(), reason: error.to_string() })?;
    Ok((folder, lock))
}

async fn token_server(config: &Config, keys: &KeyPlace) -> Result<TokenServer, ServerError> {
    let ring = keys.read().await?;
    let auth = &config.auth;
    let issuer = Issuer::new(auth.issuer(), auth.service.clone(), Duration::from_secs(auth.token_seconds));
    let verifier = Verifier::new(auth.issuer(), auth.service.clone(), ring.trusted());
    let realm = config.external_url.as_ref().map(|url| format!("{}jwt/auth", url.as_str()));
    TokenServer::new(issuer, ring.signing(), verifier, realm.as_deref()).map_err(tokens_error)
}

async fn gitlab(config: &Config) -> Result<Authenticator, ServerError> {
    let (Some(realm), Some(bundle)) = (&config.auth.gitlab.realm, &config.auth.gitlab.certificates) else {
        return Err(ServerError::Config("auth.mode gitlab needs its realm and certificates".to_owned()));
    };
    let path = bundle.clone();
    let text = off_workers(move || {
        fs::read(&path).map_err(|source| ServerError::Data { action: "read", path, source })
    })
    .await?;
    let auth = &config.auth;
    let gitlab = GitLab::new(&GitLabConfig {
        realm: realm.to_string(),
        issuer: auth.issuer().to_owned(),
        service: auth.service.clone(),
        bundle: text,
    });
    Ok(Authenticator::gitlab(gitlab.map_err(tokens_error)?))
}

/// Makes the account `admin` when there are no accounts at all. Its password goes to a file that only the owner
/// can read, and nowhere else.
async fn first_admin(
    metadata: &impl AccountMetadata,
    folder: &DataFolder,
) -> Result<Option<PathBuf>, ServerError> {
    if !metadata.accounts().await?.is_empty() {
        return Ok(None);
    }
    let password = Secret::generate().map_err(tokens_error)?;
    let file = folder.admin_password();
    // The file first: an administrator whose password nobody knows could not be replaced by the next start.
    let (path, secret) = (file.clone(), password.clone());
    off_workers(move || write_private_blocking(&path, format!("{}\n", secret.expose()).as_bytes())).await?;
    let admin = AccountRecord {
        name: "admin".parse().map_err(tokens_error)?,
        kind: AccountKind::User,
        admin: true,
        password_hash: hash(&password).await?,
        created_at: OffsetDateTime::now_utc(),
    };
    match metadata.put_account(&admin, false).await {
        Ok(()) => Ok(Some(file)),
        // Another replica was first, and its password is the one that counts.
        Err(MetadataError::AlreadyExists { .. }) => {
            let path = file.clone();
            off_workers(move || {
                fs::remove_file(&path).map_err(|source| ServerError::Data { action: "remove", path, source })
            })
            .await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The hash to store for a password.
pub(crate) async fn hash(password: &Secret) -> Result<String, ServerError> {
    let logins = Logins::new().map_err(tokens_error)?;
    Ok(logins.hash(password).await.map_err(tokens_error)?.as_str().to_owned())
}

fn tokens_error(error: impl std::fmt::Display) -> ServerError {
    ServerError::Tokens(error.to_string())
}

fn certificate_files(config: &Config, self_signed: Option<&SelfSigned>) -> Option<CertificateFiles> {
    if let Some(own) = self_signed {
        return Some(CertificateFiles { certificate: own.certificate.clone(), key: own.key.clone() });
    }
    let (certificate, key) = (config.tls.certificate.clone()?, config.tls.key.clone()?);
    Some(CertificateFiles { certificate, key })
}

async fn load_certificate(files: &CertificateFiles) -> Result<Arc<ServerConfig>, ServerError> {
    let files = files.clone();
    off_workers(move || {
        registry_http::server_config(&files.certificate, &files.key)
            .map_err(|error| ServerError::Tls(error.to_string()))
    })
    .await
}

impl CertificateFiles {
    async fn modified(&self) -> [Option<SystemTime>; 2] {
        [modified(&self.certificate).await, modified(&self.key).await]
    }
}

async fn modified(path: &Path) -> Option<SystemTime> {
    tokio::fs::metadata(path).await.ok()?.modified().ok()
}

type Watched =
    (Option<(TokenServer, KeyPlace)>, Option<(watch::Sender<Arc<ServerConfig>>, CertificateFiles)>);

/// Takes over changed signing keys and certificates without a restart. What cannot be read is logged, the old goes on
/// serving, and it is read again until it fits: certificate and key are seldom replaced in one moment.
async fn keep_reloading((tokens, tls): Watched) {
    let now = async || {
        let keys = match &tokens {
            Some((_, keys)) => keys.state().await,
            None => None,
        };
        let certificate = match &tls {
            Some((_, files)) => files.modified().await,
            None => [None; 2],
        };
        (keys, certificate)
    };
    let (mut keys_seen, mut certificate_seen) = now().await;
    let mut interval = tokio::time::interval(RELOAD_INTERVAL);
    loop {
        interval.tick().await;
        let (keys, certificate) = now().await;
        if let (Some((server, place)), true) = (&tokens, keys.is_some() && keys != keys_seen) {
            match place.read().await {
                Ok(ring) => {
                    server.replace_keys(ring.signing(), ring.trusted());
                    tracing::info!("took over the new signing key");
                    keys_seen = keys;
                }
                Err(error) => tracing::error!(%error, "cannot read the new signing key"),
            }
        }
        if let (Some((sender, files)), true) = (&tls, certificate != certificate_seen) {
            match load_certificate(files).await {
                Ok(config) => {
                    sender.send_replace(config);
                    tracing::info!("took over the new certificate");
                    certificate_seen = certificate;
                }
                Err(error) => tracing::error!(%error, "cannot use the new certificate yet"),
            }
        }
    }
}
