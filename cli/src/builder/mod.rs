//! `slipway builder ...`

mod ci;
mod outcome;
mod progress;
mod request;
mod signals;
mod storage;

use std::{path::PathBuf, sync::Arc};

use builder_engine::{
    BlobFetcher, BuildRequest, Cancel, Destination, Engine, EngineError, Finished, NativeEngine, Outputs,
    build, default_storage,
};
use builder_runtime::{BuilderNamespace, enter_builder_namespace};
use builder_store::Store;
use registry_client::Credentials;
use registry_types::ImageReference;

use crate::{
    arguments::{Build, BuildOptions, BuilderCommand, ClientOptions, Push, StorageOption},
    client::{client_builder, credentials},
    failure::{Failure, runtime},
};
use progress::Display;
use signals::SignalWatch;

pub(crate) fn run(command: BuilderCommand) -> Result<(), Failure> {
    // Before any thread exists: namespaces belong to threads.
    let namespace = enter_builder_namespace().map_err(failed)?;
    match command {
        BuilderCommand::Build(arguments) => run_build(namespace, arguments),
        BuilderCommand::Push(arguments) => run_push(namespace, arguments),
        BuilderCommand::Probe { storage } => probe(namespace, &storage),
        BuilderCommand::Prune(arguments) => storage::prune(namespace, &arguments),
        BuilderCommand::Usage(arguments) => storage::usage(namespace, &arguments),
    }
}

fn run_build(namespace: &BuilderNamespace, arguments: Build) -> Result<(), Failure> {
    let mut destinations = Vec::new();
    for output in &arguments.outputs {
        destinations.extend(
            Destination::parse(output, &arguments.tags).map_err(|error| Failure::Usage(error.to_string()))?,
        );
    }
    if arguments.outputs.is_empty() && !arguments.tags.is_empty() {
        let local = Destination::parse("type=image", &arguments.tags);
        destinations.extend(local.map_err(|error| Failure::Usage(error.to_string()))?);
    }
    let request = request::request(&arguments.options, None)?;
    execute(namespace, &arguments.options, request, destinations, &arguments.tags)
}

fn run_push(namespace: &BuilderNamespace, arguments: Push) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (names, job) = if arguments.ci_tags {
        let job = ci::Job::read(&variable, &ci::git_in(&arguments.options.context))?;
        (job.names(arguments.repository.as_ref())?, Some(job))
    } else {
        (arguments.tags.clone(), None)
    };
    let pushed =
        Destination::parse("type=registry", &names).map_err(|error| Failure::Usage(error.to_string()))?;
    let request = request::request(&arguments.options, job.as_ref())?;
    execute(namespace, &arguments.options, request, pushed, &names)
}

/// Builds, brings the image to its destinations and tells what came of it.
fn execute(
    namespace: &BuilderNamespace,
    options: &BuildOptions,
    request: BuildRequest,
    destinations: Vec<Destination>,
    names: &[ImageReference],
) -> Result<(), Failure> {
    let display = Display::new(options.progress);
    for note in &namespace.notes {
        display.note(note);
    }
    let store = Arc::new(open_store(namespace, &options.storage)?);
    let cancel = Cancel::new().map_err(failed)?;
    let signals = SignalWatch::start(&cancel).map_err(failed)?;
    let outcome = runtime()?.block_on(async {
        let events = display.events();
        let client =
            client_builder(&options.client, credentials()?).progress(Arc::new(events.clone())).build()?;
        let fetcher = BlobFetcher::new(store, client, events.for_outputs());
        let engine = NativeEngine::new(fetcher.clone());
        let outputs = Outputs::new(fetcher, destinations);
        Ok::<_, Failure>(build(&engine, request, outputs, &events, &cancel).await)
    })?;
    display.close();
    let finished: Finished = outcome.map_err(|error| match (&error, signals.received()) {
        (EngineError::Cancelled, Some(signal)) => Failure::Signalled(signal),
        _ => failure(&error),
    })?;
    outcome::write_files(options, &finished, names)?;
    outcome::print(options.format, &finished)
}

fn open_store(namespace: &BuilderNamespace, storage: &StorageOption) -> Result<Store, Failure> {
    let place: Option<PathBuf> = storage.storage.clone().or_else(|| default_storage(namespace.privilege));
    let place = place.ok_or_else(|| {
        Failure::Usage("there is no home folder to keep images in: name a folder with --storage".to_owned())
    })?;
    Store::open(&place).map_err(failed)
}

fn probe(namespace: &BuilderNamespace, storage: &StorageOption) -> Result<(), Failure> {
    let store = Arc::new(open_store(namespace, storage)?);
    let readiness = runtime()?.block_on(async {
        let client = client_builder(&ClientOptions::default(), Credentials::none()).build()?;
        let fetcher = BlobFetcher::new(store, client, builder_engine::Events::none().for_outputs());
        NativeEngine::new(fetcher).probe().await.map_err(|error| failure(&error))
    })?;
    println!("{}", readiness.description);
    // Those of the namespace are among them.
    for note in &readiness.notes {
        println!("note: {note}");
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// The failure with the end of what the failed command wrote, which scrolled by long before.
fn failure(error: &EngineError) -> Failure {
    let mut message = error.to_string();
    for line in error.last_lines() {
        message.push_str("\n  | ");
        message.push_str(line);
    }
    match error {
        EngineError::Dockerfile(_) | EngineError::Option { .. } | EngineError::Warnings(_) => {
            Failure::Usage(message)
        }
        other => match other.registry_error() {
            Some(told) => Failure::of_registry(told, message),
            None => Failure::Failed(message),
        },
    }
}
