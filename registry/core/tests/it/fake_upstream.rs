//! An upstream that counts what it is asked for, and cuts, lies, dawdles or is away as a test wants it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use registry_core::{
    Mirror, MirrorSettings, Mirrors, Upstream, UpstreamAnswer, UpstreamBlob, UpstreamError, UpstreamManifest,
};
use registry_types::{Digest, MediaType, Reference, RepositoryName};
use tokio::sync::Semaphore;

/// What was asked for, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Head(String),
    Manifest(String),
    Size,
    /// With its offset.
    Blob(u64),
}

#[derive(Debug)]
pub(crate) struct State {
    manifests: HashMap<String, UpstreamManifest>,
    blobs: HashMap<Digest, Bytes>,
    pub(crate) asked: Vec<Asked>,
    /// Everything is answered with this.
    pub(crate) error: Option<UpstreamError>,
    /// How many bytes each of the next streams gives before it is cut; afterwards they are whole.
    pub(crate) cuts: Vec<usize>,
    /// Length of the pieces of a stream.
    pub(crate) piece: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    /// Pieces that may be sent.
    pub(crate) gate: Arc<Semaphore>,
}

pub(crate) fn away() -> UpstreamError {
    UpstreamError::Away { reason: "nobody is there".to_owned() }
}

impl Fake {
    pub(crate) fn new() -> Self {
        let state = State {
            manifests: HashMap::new(),
            blobs: HashMap::new(),
            asked: Vec::new(),
            error: None,
            cuts: Vec::new(),
            piece: 64 << 10,
        };
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { state: Arc::new(Mutex::new(state)), gate }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Holds back everything but `pieces` pieces.
    pub(crate) fn hold_back(&self, pieces: usize) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
        self.gate.add_permits(pieces);
    }

    pub(crate) fn release(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    pub(crate) fn add_blob(&self, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::sha256(&content);
        self.state().blobs.insert(digest, content);
        digest
    }

    /// Gives `content` for a blob that is another.
    pub(crate) fn lie(&self, digest: Digest, content: impl Into<Bytes>) {
        self.state().blobs.insert(digest, content.into());
    }

    pub(crate) fn add_manifest(&self, tag: &str, bytes: &Bytes) -> Digest {
        let digest = Digest::sha256(bytes);
        let media_type = MediaType::known(MediaType::OCI_MANIFEST);
        let manifest = UpstreamManifest { digest, media_type, bytes: bytes.clone() };
        let mut state = self.state();
        state.manifests.insert(digest.to_string(), manifest.clone());
        state.manifests.insert(tag.to_owned(), manifest);
        digest
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Offsets of the blob requests.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        let blob = |asked: Asked| match asked {
            Asked::Blob(offset) => Some(offset),
            _ => None,
        };
        self.asked().into_iter().filter_map(blob).collect()
    }

    fn ask<T>(
        &self,
        asked: Asked,
        answer: impl FnOnce(&mut State) -> Option<T>,
    ) -> Result<Option<T>, UpstreamError> {
        let mut state = self.state();
        state.asked.push(asked);
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        Ok(answer(&mut state))
    }

    fn stream(&self, content: &Bytes, offset: u64, state: &mut State) -> UpstreamBlob {
        let end = if state.cuts.is_empty() {
            content.len()
        } else {
            content.len().min(offset as usize + state.cuts.remove(0))
        };
        let given = content.slice(offset as usize..end);
        let pieces: Vec<Bytes> = given.chunks(state.piece).map(Bytes::copy_from_slice).collect();
        let gate = Arc::clone(&self.gate);
        let pieces = stream::iter(pieces).then(move |piece| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(piece)
            }
        });
        let cut = (end < content.len()).then(|| Err(away()));
        UpstreamBlob { size: content.len() as u64, bytes: Box::pin(pieces.chain(stream::iter(cut))) }
    }
}

impl Upstream for Fake {
    fn manifest_digest<'a>(
        &'a self,
        _: &'a RepositoryName,
        reference: &'a Reference,
    ) -> UpstreamAnswer<'a, Option<Digest>> {
        let reference = reference.to_string();
        let answer = self.ask(Asked::Head(reference.clone()), |state| {
            state.manifests.get(&reference).map(|manifest| manifest.digest)
        });
        async { answer }.boxed()
    }

    fn manifest<'a>(
        &'a self,
        _: &'a RepositoryName,
        reference: &'a Reference,
    ) -> UpstreamAnswer<'a, Option<UpstreamManifest>> {
        let reference = reference.to_string();
        async move {
            // Others have time to come meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.ask(Asked::Manifest(reference.clone()), |state| state.manifests.get(&reference).cloned())
        }
        .boxed()
    }

    fn blob_size<'a>(&'a self, _: &'a RepositoryName, digest: &'a Digest) -> UpstreamAnswer<'a, Option<u64>> {
        let answer =
            self.ask(Asked::Size, |state| state.blobs.get(digest).map(|content| content.len() as u64));
        async { answer }.boxed()
    }

    fn blob<'a>(
        &'a self,
        _: &'a RepositoryName,
        digest: &'a Digest,
        offset: u64,
    ) -> UpstreamAnswer<'a, Option<UpstreamBlob>> {
        let answer = self.ask(Asked::Blob(offset), |state| {
            let content = state.blobs.get(digest).cloned()?;
            Some(self.stream(&content, offset, state))
        });
        async { answer }.boxed()
    }
}

/// Mirrors of `upstream` below `mirror/`.
pub(crate) fn mirrors(upstream: &Fake, revalidate: Duration) -> Mirrors {
    let settings = MirrorSettings {
        prefix: "mirror".parse().unwrap(),
        name: "upstream.test".to_owned(),
        namespaces: vec!["upstream.test".to_owned()],
        docker_hub: false,
        revalidate,
        negative: Duration::from_secs(60),
    };
    Mirrors::new(vec![Mirror::new(settings, Arc::new(upstream.clone()))])
}
