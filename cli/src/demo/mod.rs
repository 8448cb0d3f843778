//! `slipway demo`: the whole chain on one machine, with nothing else installed and no network. Each part is the
//! product's own code; what is shown as done was verified.

mod base;
mod build;
mod cluster;
mod login;
mod registry;
mod table;

use std::path::{Path, PathBuf};

use builder_runtime::enter_builder_namespace;
use registry_types::{ImageReference, Tag};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    arguments::Demo,
    failure::{Failure, runtime},
};
use build::Builder;
use registry::DemoRegistry;
use table::Table;

/// Tags of the sample: branch, latest, short commit id, as a CI job on the default branch would push them.
const TAGS: [&str; 3] = ["main", "latest", "7c0b8621"];
/// What the sample says when it is run; the build stage writes it into the final image.
const GREETING: &str = "hello from an image that Slipway built, pushed and pulled";

pub(crate) fn run(arguments: &Demo) -> Result<(), Failure> {
    // Before any thread exists: namespaces belong to threads.
    let namespace = enter_builder_namespace().map_err(failed)?;
    for note in &namespace.notes {
        eprintln!("note: {note}");
    }
    let place = Place::new(arguments.keep.as_deref())?;
    let table = runtime()?.block_on(async {
        // Dropping the work ends its steps and its registry; the folder goes with this function.
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt()).map_err(failed)?,
            signal(SignalKind::terminate()).map_err(failed)?,
        );
        tokio::select! {
            table = show(arguments.port, place.path()) => table,
            _ = interrupt.recv() => Err(Failure::Failed("interrupted".to_owned())),
            _ = terminate.recv() => Err(Failure::Failed("terminated".to_owned())),
        }
    })?;
    table.print();
    println!("\nnothing is left running; {}", place.end()?);
    Ok(())
}

async fn show(port: u16, place: &Path) -> Result<Table, Failure> {
    let mut table = Table::default();
    let registry = table.step("start a registry", DemoRegistry::start(port, &place.join("registry"))).await?;
    table.note(registry.describe());
    // From here on the registry is stopped in any case.
    let shown = chain(&mut table, &registry, place).await;
    registry.stop().await;
    shown.map(|()| table)
}

async fn chain(table: &mut Table, registry: &DemoRegistry, place: &Path) -> Result<(), Failure> {
    let login = table.step("make a user and a rule for it", registry.add_user()).await?;
    table.note(format!("{} may pull and push demo/**", login.user));
    let docker = place.join("docker");
    let credentials = table.step("log in", login.log_in(&docker)).await?;
    table.note(format!("kept as docker login does, in {}", docker.join("config.json").display()));
    let builder = Builder::open(&place.join("builder"), credentials)?;

    let name = |path: &str, tag: &str| -> Result<ImageReference, Failure> {
        let tag: Tag = tag.parse().map_err(failed)?;
        let image: ImageReference = format!("{}/{path}", registry.host()).parse().map_err(failed)?;
        Ok(image.with_tag(tag))
    };
    let base = name("demo/base", "latest")?;
    let context = place.join("base");
    let shell = base::write_context(&context)?;
    let pushed = table
        .step("build and push a base image", builder.build_and_push(&context, std::slice::from_ref(&base)));
    pushed.await?;
    table.note(format!("from this machine's {}", shell.display()));

    let context = place.join("sample");
    build::write_sample(&context, &base, GREETING)?;
    let names = TAGS.iter().map(|tag| name("demo/hello", tag)).collect::<Result<Vec<_>, _>>()?;
    let digest =
        table.step("build two stages, push three tags", builder.build_and_push(&context, &names)).await?;
    table.note(format!("{digest}"));
    table.step("pull the tags back and compare", builder.pull_back(&names, &digest)).await?;
    table.note(format!("{} tags, one digest, every blob verified", names.len()));
    let latest = name("demo/hello", "latest")?;
    let said = table.step("run the image", builder.run_image(&latest, &place.join("run"))).await?;
    if said != GREETING {
        return Err(Failure::Failed(format!("the image said {said:?} instead of {GREETING:?}")));
    }
    table.note(format!("it said: {said}"));
    match table.step("import into a k3d cluster", cluster::import(&builder, &latest)).await? {
        cluster::Outcome::Imported { cluster, nodes } => table.note(format!("{nodes} nodes of {cluster}")),
        cluster::Outcome::Skipped(reason) => table.note(format!("skipped: {reason}")),
    }
    Ok(())
}

/// The folder that everything is in.
enum Place {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Place {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        match keep {
            None => Ok(Self::Temporary(
                tempfile::Builder::new().prefix("slipway-demo-").tempdir().map_err(failed)?,
            )),
            Some(path) => {
                std::fs::create_dir(path)
                    .map_err(|error| Failure::Usage(format!("cannot create {}: {error}", path.display())))?;
                Ok(Self::Kept(path.canonicalize().map_err(failed)?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    /// Removes what is not to be kept, and says what is left.
    fn end(self) -> Result<String, Failure> {
        match self {
            Self::Temporary(folder) => {
                let path = folder.path().to_owned();
                folder.close().map_err(|error| {
                    Failure::Failed(format!("cannot remove {}: {error}; remove it by hand", path.display()))
                })?;
                Ok("nothing is left on disk".to_owned())
            }
            Self::Kept(path) => Ok(format!(
                "{} holds the registry's data, the user's login and the builder's store",
                path.display()
            )),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}
