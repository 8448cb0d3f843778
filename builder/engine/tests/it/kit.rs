//! A place to build in: a store with a base image, a context, and what a build told.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use builder_engine::{
    BlobFetcher, BuildRequest, BuiltImage, Cancel, Destination, DockerfileSource, EngineError, Event, Events,
    Finished, NativeEngine, Outputs, StepOutcome, build,
};
use builder_output::{ImageDefinition, ImageLayer};
use builder_store::Store;
use builder_store::compression::{Compression, LayerWriter};
use builder_store::layer::{DiffOptions, write_tree};
use builder_store::tar::TarWriter;
use registry_client::{Client, Credentials};
use serde_json::Value;

use crate::files::Files;

/// Name of the image every kit has.
pub(crate) const BASE: &str = "base";

/// Static, so that it runs without any library; Debian's package busybox-static.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

pub(crate) struct Kit {
    place: Arc<tempfile::TempDir>,
    pub(crate) store: Arc<Store>,
    runtime: tokio::runtime::Runtime,
}

/// A build that went well.
pub(crate) struct Built {
    pub(crate) image: BuiltImage,
    pub(crate) events: Vec<Event>,
    store: Arc<Store>,
    _place: Arc<tempfile::TempDir>,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let kit = Self::without_base();
        let image = busybox(&kit.store);
        kit.store.images.set(&BASE.parse().unwrap(), &image.manifest_descriptor).unwrap();
        kit
    }

    /// With an empty store.
    pub(crate) fn without_base() -> Self {
        let place = Arc::new(tempfile::tempdir().unwrap());
        for name in ["store", "context"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let store = Arc::new(Store::open(&place.path().join("store")).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { place, store, runtime }
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.place.path().join("context")
    }

    /// A file of the context.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn request(&self, dockerfile: &str) -> BuildRequest {
        BuildRequest {
            dockerfile: DockerfileSource::Text(dockerfile.to_owned()),
            ..BuildRequest::new(self.context())
        }
    }

    pub(crate) fn fetcher(&self, events: &Events) -> BlobFetcher {
        let client = Client::builder()
            .credentials(Credentials::none())
            .proxies([])
            .native_authorities(false)
            .retries(0, std::time::Duration::ZERO)
            .progress(Arc::new(events.clone()))
            .build()
            .unwrap();
        BlobFetcher::new(Arc::clone(&self.store), client, events.for_outputs())
    }

    pub(crate) fn run(
        &self,
        request: BuildRequest,
        destinations: Vec<Destination>,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Finished, EngineError> {
        let fetcher = self.fetcher(events);
        let outputs = Outputs::new(fetcher.clone(), destinations);
        let engine = NativeEngine::new(fetcher);
        self.block_on(build(&engine, request, outputs, events, cancel))
    }

    pub(crate) fn try_build(&self, request: BuildRequest) -> Result<Built, EngineError> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let events = {
            let told = Arc::clone(&told);
            Events::new(move |event| told.lock().unwrap().push(event))
        };
        let finished = self.run(request, Vec::new(), &events, &Cancel::new().unwrap())?;
        let events = std::mem::take(&mut *told.lock().unwrap());
        Ok(Built {
            image: finished.image,
            events,
            store: Arc::clone(&self.store),
            _place: Arc::clone(&self.place),
        })
    }

    pub(crate) fn build_request(&self, request: BuildRequest) -> Built {
        self.try_build(request).unwrap_or_else(|error| panic!("{error}\n{:?}", error.last_lines()))
    }

    pub(crate) fn build(&self, dockerfile: &str) -> Built {
        self.build_request(self.request(dockerfile))
    }

    pub(crate) fn fail(&self, dockerfile: &str) -> EngineError {
        self.try_build(self.request(dockerfile)).err().unwrap_or_else(|| panic!("{dockerfile} must fail"))
    }

    /// Builds and gives the image a local name.
    pub(crate) fn build_as(&self, name: &str, dockerfile: &str) {
        let destinations = vec![Destination::Store(name.parse().unwrap())];
        self.run(self.request(dockerfile), destinations, &Events::none(), &Cancel::new().unwrap()).unwrap();
    }
}

impl Built {
    /// All files of the image.
    pub(crate) fn files(&self) -> Files {
        Files::of_image(&self.store, &self.image)
    }

    /// The entries of one layer, counted from the lowest.
    pub(crate) fn layer(&self, index: usize) -> Files {
        Files::of_layer(&self.store, &self.image.layers[index])
    }

    pub(crate) fn config(&self) -> Value {
        serde_json::from_slice(&self.image.config).unwrap()
    }

    /// Outcomes of the steps in the order they ended.
    pub(crate) fn outcomes(&self) -> Vec<StepOutcome> {
        let ended = self.events.iter().filter_map(|event| match event {
            Event::StepEnded { outcome, .. } => Some(*outcome),
            _ => None,
        });
        ended.collect()
    }

    pub(crate) fn executed(&self) -> usize {
        self.outcomes().iter().filter(|outcome| **outcome == StepOutcome::Done).count()
    }

    /// Everything steps wrote.
    pub(crate) fn log(&self) -> String {
        let lines = self.events.iter().filter_map(|event| match event {
            Event::Log { line, .. } => Some(String::from_utf8_lossy(line).into_owned() + "\n"),
            _ => None,
        });
        lines.collect()
    }

    pub(crate) fn warnings(&self) -> Vec<&str> {
        let warnings = self.events.iter().filter_map(|event| match event {
            Event::Warning { text } => Some(text.as_str()),
            _ => None,
        });
        warnings.collect()
    }
}

/// Puts an image with a shell and two users into the store.
pub(crate) fn busybox(store: &Store) -> BuiltImage {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700)] {
        fs::create_dir(root.join(name)).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "cat", "chmod", "chown", "cp", "echo", "id", "ln", "ls", "mkdir", "pwd", "rm", "sleep", "stat",
        "touch", "true", "false", "env", "seq", "test",
    ] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1234:4321::/home/app:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nstaff:x:4321:\nwheel:x:77:app\n").unwrap();
    let layer = add_layer(store, root);
    let config = serde_json::json!({
        "architecture": registry_types::Platform::host().architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "busybox"}],
    });
    let definition = ImageDefinition {
        config: serde_json::to_vec(&config).unwrap(),
        platform: registry_types::Platform::host(),
        layers: vec![layer],
        annotations: std::collections::BTreeMap::new(),
    };
    let image = definition.write().unwrap();
    store.content.put(&image.config).unwrap();
    store.content.put(&image.manifest).unwrap();
    image
}

fn add_layer(store: &Store, root: &Path) -> ImageLayer {
    let ingest = store.content.ingest().unwrap();
    let layer = LayerWriter::new(ingest, Compression::default(), 2).unwrap();
    let mut writer = TarWriter::new(layer);
    write_tree(root, DiffOptions { source_date_epoch: Some(1_577_836_800) }, &mut writer).unwrap();
    let (ingest, digests) = writer.finish().unwrap().finish().unwrap();
    ingest.commit_hashed(&digests.digest).unwrap();
    ImageLayer { descriptor: digests.descriptor(), diff_id: digests.diff_id, origin: None }
}
