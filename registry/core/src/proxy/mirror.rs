//! Which repositories mirror which upstream, and what is known of each upstream at the moment.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use registry_blobs::BlobStore;
use registry_metadata::Metadata;
use registry_types::{Digest, PathPrefix, Reference, RepositoryName};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Upstream, UpstreamError, UpstreamFailure, download::Download, memory::Memory, partials::Partials,
};
use crate::{CoreError, Registry, slots::Slots};

/// Downloads at once, over all mirrors. Each keeps at most a few MiB in memory; more wait for their turn.
const MOST_DOWNLOADS: usize = 64;

/// How long an upstream that could not be reached is left alone: clients get their answer at once meanwhile, and it is
/// noticed soon that it is back.
const AWAY_PAUSE: Duration = Duration::from_secs(3);
/// The same for one that is busy and names no time.
const BUSY_PAUSE: Duration = Duration::from_secs(30);
/// The longest time for which an upstream's `Retry-After` is believed: Docker Hub counts pulls in six hours, and
/// what it named once is asked again sooner.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Tags whose last validation is remembered, and negative answers; a few hundred bytes each. What is forgotten is
/// asked for again.
const MOST_REMEMBERED: usize = 20_000;

/// What an operator sets for a mirror.
#[derive(Debug, Clone)]
pub struct MirrorSettings {
    /// Repositories below it mirror those of the upstream, whose names are what follows the prefix. `*`: all
    /// repositories, by their own names.
    pub prefix: PathPrefix,
    /// The upstream's name, for messages.
    pub name: String,
    /// Hosts by which containerd means this upstream (`?ns=HOST`).
    pub namespaces: Vec<String>,
    /// The upstream is Docker Hub, where a name without a slash stands below `library/`.
    pub docker_hub: bool,
    /// A tag that was validated within this time is given unasked.
    pub revalidate: Duration,
    /// What the upstream does not have is not asked for again within this time.
    pub negative: Duration,
}

/// What a client asked a mirror for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    Manifest(RepositoryName, Reference),
    Blob(RepositoryName, Digest),
}

/// One upstream and the repositories that mirror it.
#[derive(Debug)]
pub struct Mirror {
    pub(super) settings: MirrorSettings,
    pub(super) upstream: Arc<dyn Upstream>,
    /// Whoever asks upstream for a manifest; others wait for what it learns.
    pub(super) turns: Slots<(RepositoryName, Reference), tokio::sync::Mutex<()>>,
    /// When each tag was last known to be the upstream's.
    pub(super) validated: Memory<(RepositoryName, Reference), Instant>,
    /// What the upstream does not give, until when, and what to say.
    pub(super) refused: Memory<Wanted, (Instant, CoreError)>,
    /// Until when the upstream is left alone, and why.
    pause: Mutex<Option<(Instant, UpstreamError)>>,
}

impl Mirror {
    pub fn new(settings: MirrorSettings, upstream: Arc<dyn Upstream>) -> Self {
        Self {
            settings,
            upstream,
            turns: Slots::default(),
            validated: Memory::new(MOST_REMEMBERED),
            refused: Memory::new(MOST_REMEMBERED),
            pause: Mutex::default(),
        }
    }

    /// The upstream's name for `repository`, if it mirrors this one.
    fn remote(&self, repository: &RepositoryName) -> Option<RepositoryName> {
        if !self.settings.prefix.covers(repository) {
            return None;
        }
        let rest = match self.settings.prefix.path() {
            None => repository.as_str(),
            Some(path) => repository.as_str().strip_prefix(path.as_str())?.strip_prefix('/')?,
        };
        if self.settings.docker_hub && !rest.contains('/') {
            return format!("library/{rest}").parse().ok();
        }
        rest.parse().ok()
    }

    /// Our name for what the upstream calls `remote`.
    fn local(&self, remote: &RepositoryName) -> Option<RepositoryName> {
        match self.settings.prefix.path() {
            None => Some(remote.clone()),
            Some(path) => format!("{path}/{remote}").parse().ok(),
        }
    }

    /// Whether the upstream is to be asked now.
    ///
    /// # Errors
    /// Why not, with the rest of the time.
    pub(super) fn open(&self) -> Result<(), UpstreamError> {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((until, error)) = &*pause else { return Ok(()) };
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            *pause = None;
            return Ok(());
        }
        Err(match error {
            UpstreamError::Busy { .. } => UpstreamError::Busy { retry_after: Some(rest) },
            error => error.clone(),
        })
    }

    /// Learns from what became of a request.
    pub(super) fn learn<T>(&self, answer: &Result<T, UpstreamError>) {
        let pause = match answer {
            Err(UpstreamError::Busy { retry_after }) => retry_after.unwrap_or(BUSY_PAUSE).min(LONGEST_PAUSE),
            Err(UpstreamError::Away { .. }) => AWAY_PAUSE,
            _ => return,
        };
        let error = answer.as_ref().err().cloned();
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) =
            error.map(|error| (Instant::now() + pause, error));
    }
}

/// A mirrored repository: where its content comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(super) mirror: Arc<Mirror>,
    /// The repository here, and its name upstream.
    pub(super) local: RepositoryName,
    pub(super) remote: RepositoryName,
}

impl Origin {
    pub(super) fn failure(&self, error: UpstreamError) -> CoreError {
        let (upstream, repository) = (self.mirror.settings.name.clone(), self.local.clone());
        CoreError::Upstream(UpstreamFailure { upstream, repository, error })
    }

    /// Asks, unless the upstream is to be left alone.
    pub(super) async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        self.mirror.open()?;
        let answer = question.await;
        self.mirror.learn(&answer);
        answer
    }

    /// What the upstream refused a moment ago.
    pub(super) fn refused(&self, wanted: &Wanted) -> Option<CoreError> {
        let (until, error) = self.mirror.refused.get(wanted)?;
        (until > Instant::now()).then_some(error)
    }

    /// Remembers a refusal that will be the same for a while; gives the error.
    pub(super) fn remember(&self, wanted: Wanted, error: CoreError) -> CoreError {
        let lasting = match &error {
            CoreError::ManifestUnknown { .. } | CoreError::BlobUnknown { .. } => true,
            CoreError::Upstream(failure) => !failure.error.may_pass(),
            _ => false,
        };
        if lasting {
            self.mirror.refused.put(wanted, (Instant::now() + self.mirror.settings.negative, error.clone()));
        }
        error
    }
}

/// All mirrors, and the downloads that go on for them. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Mirrors(Arc<Shared>);

struct Shared {
    /// Longest prefix first.
    mirrors: Vec<Arc<Mirror>>,
    downloads: Mutex<HashMap<(RepositoryName, Digest), Arc<Download>>>,
    places: Semaphore,
    partials: Partials,
    stop: CancellationToken,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            downloads: Mutex::default(),
            places: Semaphore::new(MOST_DOWNLOADS),
            partials: Partials::default(),
            stop: CancellationToken::new(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirrors").field("mirrors", &self.mirrors).finish_non_exhaustive()
    }
}

impl Mirrors {
    pub fn new(mirrors: Vec<Mirror>) -> Self {
        let mut mirrors: Vec<_> = mirrors.into_iter().map(Arc::new).collect();
        let length = |mirror: &Arc<Mirror>| mirror.settings.prefix.path().map(|path| path.as_str().len());
        mirrors.sort_by_key(|mirror| Reverse(length(mirror)));
        Self(Arc::new(Shared { mirrors, ..Shared::default() }))
    }

    /// Where the content of `repository` comes from, if it mirrors an upstream.
    pub(crate) fn origin(&self, repository: &RepositoryName) -> Option<Origin> {
        let mirror = self.0.mirrors.iter().find(|mirror| mirror.settings.prefix.covers(repository))?;
        let remote = mirror.remote(repository)?;
        Some(Origin { mirror: Arc::clone(mirror), local: repository.clone(), remote })
    }

    /// The repository here that mirrors `remote` of the registry `host`, as containerd names them to a mirror.
    pub fn by_namespace(&self, host: &str, remote: &RepositoryName) -> Option<RepositoryName> {
        let named = |mirror: &&Arc<Mirror>| {
            mirror.settings.namespaces.iter().any(|namespace| namespace.eq_ignore_ascii_case(host))
        };
        self.0.mirrors.iter().find(named)?.local(remote)
    }

    /// Ends downloads at their next byte; what they have is kept.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }

    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.0.stop
    }

    pub(super) fn places(&self) -> &Semaphore {
        &self.0.places
    }

    pub(super) fn partials(&self) -> &Partials {
        &self.0.partials
    }

    /// The download of a blob that goes on, or a new one; the flag tells.
    pub(super) fn download(&self, repository: &RepositoryName, digest: &Digest) -> (Arc<Download>, bool) {
        let mut downloads = self.0.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (repository.clone(), *digest);
        if let Some(download) = downloads.get(&key) {
            return (Arc::clone(download), false);
        }
        let download = Arc::new(Download::default());
        downloads.insert(key, Arc::clone(&download));
        (download, true)
    }

    /// Takes an ended download off the list.
    pub(super) fn forget(&self, repository: &RepositoryName, digest: &Digest) {
        let mut downloads = self.0.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        downloads.remove(&(repository.clone(), *digest));
    }
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Where to fetch what `repository` lacks. A registry that is read-only can store nothing and gives what it has.
    pub(super) fn origin(&self, repository: &RepositoryName) -> Option<Origin> {
        if self.limits.read_only { None } else { self.mirrors.origin(repository) }
    }

    /// # Errors
    /// [`CoreError::Mirrored`] when the repository's content is its upstream's: nobody else's may come into it, nor
    /// may a client reach the sessions of its downloads.
    pub(crate) fn refuse_mirrored(&self, repository: &RepositoryName) -> Result<(), CoreError> {
        match self.mirrors.origin(repository) {
            None => Ok(()),
            Some(origin) => {
                let upstream = origin.mirror.settings.name.clone();
                Err(CoreError::Mirrored { repository: repository.clone(), upstream })
            }
        }
    }
}

#[cfg(test)]
mod tests;
