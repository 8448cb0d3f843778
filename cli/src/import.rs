//! `slipway import`

use std::{path::Path, sync::Arc};

use importer::{
    ClientSource, DockerAddress, ImageState, ImportError, ImportOptions, NodeState, Progress, ProgressEvent,
    Report,
};
use registry_client::Source;

use crate::{
    arguments::{Import, OutputFormat},
    client::client,
    failure::{Failure, runtime},
};

const MIB: f64 = 1_048_576.0;

pub(crate) fn run(arguments: &Import) -> Result<(), Failure> {
    let docker = DockerAddress::from_environment_blocking()?;
    let mut options = ImportOptions::new(&arguments.cluster, arguments.images.clone(), docker);
    options.dry_run = arguments.dry_run;
    options.pin = !arguments.no_pin;
    options.unpin_previous = arguments.unpin_previous;
    let outcome = runtime()?.block_on(async {
        let source = source(arguments).await?;
        let outcome = importer::import(&options, Arc::new(source), progress(arguments.output)).await;
        Ok::<_, Failure>(outcome)
    })?;
    match outcome {
        Ok(report) => {
            print(&report, arguments.output)?;
            Ok(())
        }
        Err(ImportError::NodesFailed { report }) => {
            print(&report, arguments.output)?;
            Err(Failure::Failed(ImportError::NodesFailed { report }.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Where the images come from: their registries, or one archive or layout that is to have their first name.
async fn source(arguments: &Import) -> Result<ClientSource, Failure> {
    let source = ClientSource::new(client(&arguments.client)?);
    let local = match (&arguments.layout, &arguments.archive) {
        (Some(folder), _) => Source::layout(folder, None).await?,
        (None, Some(file)) if file == Path::new("-") => Source::stream(tokio::io::stdin(), None).await?,
        (None, Some(file)) => Source::archive(file, None).await?,
        (None, None) => return Ok(source),
    };
    Ok(arguments.images.iter().fold(source, |source, image| source.with(image.clone(), local.clone())))
}

/// Plain lines on standard error: several nodes work at once, and their order is what a reader wants to see.
fn progress(output: OutputFormat) -> Arc<dyn Progress> {
    if output == OutputFormat::Json {
        return Arc::new(());
    }
    Arc::new(|event: ProgressEvent| match event {
        ProgressEvent::NodesFound { nodes } => eprintln!("nodes: {}", nodes.join(", ")),
        ProgressEvent::NodeRead { node, platform, containerd } => {
            eprintln!("{node}: {platform}, containerd {containerd}");
        }
        ProgressEvent::Planned { node, layers, bytes } => {
            eprintln!("{node}: lacks {layers} layers, {:.1} MiB", bytes as f64 / MIB);
        }
        ProgressEvent::Resending { node, reason } => eprintln!("{node}: sending again, since {reason}"),
        ProgressEvent::Verifying { node } => eprintln!("{node}: verifying"),
        ProgressEvent::Finished { node, error: Some(error) } => eprintln!("{node}: failed: {error}"),
        _ => {}
    })
}

fn print(report: &Report, output: OutputFormat) -> Result<(), Failure> {
    if output == OutputFormat::Json {
        let text =
            serde_json::to_string_pretty(report).map_err(|error| Failure::Failed(error.to_string()))?;
        println!("{text}");
        return Ok(());
    }
    for node in &report.nodes {
        let state = match node.state {
            NodeState::Planned => "would get",
            NodeState::UpToDate => "had everything",
            NodeState::Imported => "got",
            NodeState::Failed => "failed",
        };
        println!(
            "{:28} {state}: {} layers sent, {} there already, {:.1} MiB, {:.2} s",
            node.name,
            node.layers_sent,
            node.layers_skipped,
            node.bytes_sent as f64 / MIB,
            node.seconds
        );
        for image in &node.images {
            let what = match image.state {
                ImageState::Present => "present",
                ImageState::NamesMissing => "named",
                ImageState::ContentMissing => "new",
            };
            println!("  {what:8} {}  {}", image.digest, image.image);
        }
    }
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let message = error.to_string();
        match error {
            ImportError::UnknownCluster { .. } => Self::NotFound(message),
            ImportError::DockerAddress { .. } | ImportError::NoImages => Self::Usage(message),
            _ => Self::Failed(message),
        }
    }
}
