//! A store with an image in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use builder_output::{
    BlobFetcher, BlobOrigin, BuiltImage, ImageDefinition, ImageLayer, OutputEvent, OutputEvents,
};
use builder_store::Store;
use registry_client::{Client, Credentials};
use registry_types::{Descriptor, Digest, MediaType, Platform};

pub(crate) struct Kit {
    pub(crate) place: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) fetcher: BlobFetcher,
    pub(crate) events: Arc<Mutex<Vec<OutputEvent>>>,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&place.path().join("store")).unwrap());
        let client = Client::builder()
            .credentials(Credentials::none())
            .proxies([])
            .native_authorities(false)
            .retries(0, std::time::Duration::ZERO)
            .build()
            .unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let handler = OutputEvents::new(move |event| told.lock().unwrap().push(event));
        let fetcher = BlobFetcher::new(Arc::clone(&store), client, handler);
        Self { place, store, fetcher, events }
    }

    /// A layer in the store.
    pub(crate) fn layer(&self, content: &str) -> ImageLayer {
        self.store.content.put(content.as_bytes()).unwrap();
        layer(content, None)
    }

    pub(crate) fn how(&self, layer: &ImageLayer) -> Vec<registry_client::Mount> {
        let events = self.events.lock().unwrap();
        let pushed = events.iter().filter_map(|event| match event {
            OutputEvent::Pushed { digest, how, .. } if *digest == layer.descriptor.digest => Some(*how),
            _ => None,
        });
        pushed.collect()
    }
}

/// A layer that is not in the store.
pub(crate) fn layer(content: &str, origin: Option<BlobOrigin>) -> ImageLayer {
    let digest = Digest::sha256(content.as_bytes());
    let media_type = MediaType::known(MediaType::OCI_LAYER_GZIP);
    ImageLayer {
        descriptor: Descriptor::new(media_type, digest, content.len() as u64),
        diff_id: Digest::sha256(format!("plain {content}").as_bytes()),
        origin,
    }
}

pub(crate) fn image(layers: Vec<ImageLayer>) -> BuiltImage {
    let definition = ImageDefinition {
        config: br#"{"architecture":"amd64","os":"linux"}"#.to_vec(),
        platform: Platform::new("linux", "amd64", None),
        layers,
        annotations: BTreeMap::new(),
    };
    definition.write().unwrap()
}
