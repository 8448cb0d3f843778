//! The builder's part of the demo: builds, pushes, pulls back, and runs an image as a build step.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use builder_engine::{
    BlobFetcher, BuildRequest, Cancel, Destination, Event, Events, LogStream, NativeEngine, OutputResult,
    Outputs, build,
};
use builder_store::Store;
use registry_client::{Client, Credentials};
use registry_types::{Digest, ImageReference, ManifestView};

use super::failed;
use crate::failure::Failure;

/// Largest blob that is pulled back into memory, in bytes; the sample's are a few MiB.
const LARGEST_BLOB: u64 = 256 << 20;

/// Writes the sample: a stage that makes the program, and a final stage that holds only that.
pub(super) fn write_sample(context: &Path, base: &ImageReference, greeting: &str) -> Result<(), Failure> {
    fs::create_dir_all(context).map_err(failed)?;
    fs::write(context.join("greeting.txt"), format!("{greeting}\n")).map_err(failed)?;
    fs::write(context.join(".dockerignore"), "*.log\n").map_err(failed)?;
    let dockerfile = format!(
        "FROM {base} AS build\n\
         WORKDIR /src\n\
         COPY greeting.txt .\n\
         RUN mkdir /out && echo '#!/bin/sh' > /out/hello && echo \"echo '$(cat greeting.txt)'\" >> /out/hello \\\n    \
         && chmod 755 /out/hello\n\
         \n\
         FROM {base}\n\
         COPY --from=build /out/hello /usr/local/bin/hello\n\
         USER nobody\n\
         LABEL org.opencontainers.image.title=\"Slipway demo\"\n\
         ENTRYPOINT [\"/usr/local/bin/hello\"]\n"
    );
    fs::write(context.join("Dockerfile"), dockerfile).map_err(failed)
}

pub(super) struct Builder {
    store: Arc<Store>,
    credentials: Credentials,
}

impl Builder {
    pub(super) fn open(storage: &Path, credentials: Credentials) -> Result<Self, Failure> {
        fs::create_dir_all(storage).map_err(failed)?;
        Ok(Self { store: Arc::new(Store::open(storage).map_err(failed)?), credentials })
    }

    pub(super) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::builder().credentials(self.credentials.clone()).build()?)
    }

    /// Builds `context`, pushes it under `names`, and gives the digest that the registry confirmed for each.
    pub(super) async fn build_and_push(
        &self,
        context: &Path,
        names: &[ImageReference],
    ) -> Result<Digest, Failure> {
        let destinations = names.iter().cloned().map(Destination::Registry).collect();
        let (results, digest) =
            self.build(BuildRequest::new(context), destinations, Events::new(show)).await?;
        let confirmed = results
            .iter()
            .filter(|result| matches!(result, OutputResult::Pushed(tag) if tag.digest == digest));
        if confirmed.count() != names.len() {
            return Err(Failure::Failed("the registry did not confirm every tag".to_owned()));
        }
        Ok(digest)
    }

    async fn build(
        &self,
        request: BuildRequest,
        destinations: Vec<Destination>,
        events: Events,
    ) -> Result<(Vec<OutputResult>, Digest), Failure> {
        let fetcher = BlobFetcher::new(self.store.clone(), self.client()?, events.for_outputs());
        let outputs = Outputs::new(fetcher.clone(), destinations);
        let cancel = Cancel::new().map_err(failed)?;
        let finished = build(&NativeEngine::new(fetcher), request, outputs, &events, &cancel).await;
        let finished = finished
            .map_err(|error| Failure::Failed(format!("{error}\n{}", error.last_lines().join("\n"))))?;
        Ok((finished.results, *finished.image.digest()))
    }

    /// Pulls every tag: each must have the digest, and every blob its own.
    pub(super) async fn pull_back(&self, names: &[ImageReference], digest: &Digest) -> Result<(), Failure> {
        let client = self.client()?;
        for name in names {
            let repository = client.repository(name);
            let manifest = repository.manifest(&name.reference(), &[]).await?;
            let pulled = manifest.descriptor().digest;
            if pulled != *digest {
                return Err(Failure::Failed(format!("{name} has the digest {pulled} and not {digest}")));
            }
            let view: ManifestView = manifest.view()?;
            for blob in view.required_blobs() {
                // The client verifies length and digest of what it gives.
                repository.blob_bytes(&blob.digest, LARGEST_BLOB).await?;
            }
        }
        Ok(())
    }

    /// Runs the program of `image` as a step over it, pulled from the registry, and gives what it says.
    pub(super) async fn run_image(&self, image: &ImageReference, context: &Path) -> Result<String, Failure> {
        fs::create_dir_all(context).map_err(failed)?;
        fs::write(context.join("Dockerfile"), format!("FROM {image}\nRUN [\"/usr/local/bin/hello\"]\n"))
            .map_err(failed)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let events = Events::new(move |event| {
            if let Event::Log { stream: LogStream::Output, line, .. } = event {
                let line = String::from_utf8_lossy(&line).into_owned();
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut request = BuildRequest::new(context);
        request.no_cache = true;
        request.pull = true;
        self.build(request, Vec::new(), events).await?;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(said.join("\n"))
    }
}

/// Instructions and their output as they come.
fn show(event: Event) {
    match event {
        Event::Isolation { reason } => eprintln!("    isolation: {reason}"),
        Event::Warning { text } => eprintln!("    warning: {text}"),
        Event::StepStarted { text, .. } => eprintln!("    {}", text.lines().next().unwrap_or_default()),
        Event::Log { line, .. } => eprintln!("    | {}", String::from_utf8_lossy(&line)),
        _ => {}
    }
}
