//! The command line. Every command has help with an example.

mod builder;
mod image;
mod policies;
mod registry;
mod units;

pub(crate) use builder::*;
pub(crate) use image::*;
pub(crate) use policies::*;
pub(crate) use registry::*;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use registry_types::{ImageReference, RegistryHost, RepositoryName};

use crate::failure::EXIT_CODES;

/// An image registry, builder and cluster importer in one binary.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Form of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "SLIPWAY_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a registry and manage who may use it
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Build images from Dockerfiles, without a daemon
    #[command(subcommand)]
    Builder(BuilderCommand),
    /// List, inspect, copy, tag and remove images in any registry, layout or archive
    #[command(subcommand)]
    Image(ImageCommand),
    /// Show all of it on this machine: a registry, a login, a build, three tags pushed and pulled back, the image run
    #[command(after_help = "Example:\n  slipway demo")]
    Demo(Demo),
    /// Say whether a registry keeps to the OCI distribution specification
    #[command(after_help = "\
Examples:
  slipway conformance
  slipway conformance --registry http://localhost:5050 --username admin --password-stdin < slipway-data/admin-password
  slipway conformance --registry https://registry.example --own-only --output json

It runs the official suite with every option on, then Slipway's own checks. They push to, and delete from,
repositories below the prefix. Exit code 1 when anything fails or is skipped for no known reason.")]
    Conformance(Conformance),
    /// Bring images into every node of a k3d cluster, missing layers only
    #[command(after_help = "\
Examples:
  slipway import --cluster mycluster gitlab.iceymoss:5050/root/hichat:7c0b862
  slipway import --cluster mycluster --layout ./image localhost:5050/app:dev
  docker save app:dev | slipway import --cluster mycluster --archive - localhost:5050/app:dev

Every node is asked what it has, gets what it lacks, and is asked again whether its pods can use the image.
DOCKER_HOST and Docker's contexts say where the nodes are. Exit code 1 when any node failed.")]
    Import(Import),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Port of the registry; another one if it is taken
    #[arg(long, default_value_t = 5050)]
    pub(crate) port: u16,
    /// Keep what the demo made in this folder, which must not exist [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
}

/// How registries are reached.
#[derive(Debug, Args, Default)]
pub(crate) struct ClientOptions {
    /// A registry that may be reached by plain HTTP, or whose certificate need not be trusted; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", env = "SLIPWAY_INSECURE_REGISTRIES", value_delimiter = ',')]
    pub(crate) insecure_registry: Vec<RegistryHost>,
    /// PEM file with an authority to trust beside the system's; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Images, by the names that pods use
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageReference>,
    /// The cluster, as `k3d cluster list` names it
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: String,
    /// Take the image from an OCI layout folder instead of its registry
    #[arg(long, value_name = "FOLDER", conflicts_with = "archive")]
    pub(crate) layout: Option<PathBuf>,
    /// Take the image from an OCI or Docker archive, or from standard input (`-`), instead of its registry
    #[arg(long, value_name = "FILE")]
    pub(crate) archive: Option<PathBuf>,
    /// Ask the nodes, show what would be sent, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let the kubelet's garbage collection remove the images
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Let go of earlier images of the same repositories that an import pinned
    #[arg(long, conflicts_with = "no_pin")]
    pub(crate) unpin_previous: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(crate) enum OutputFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// The registry; without http:// or https:// this machine is asked by HTTP and others by HTTPS
    #[arg(long, value_name = "URL", default_value = "http://localhost:5050")]
    pub(crate) registry: String,
    /// Who asks; may push and delete below the prefix
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    pub(crate) username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
    /// Version of the specification that the official suite holds the registry to
    #[arg(long, value_enum, default_value_t)]
    pub(crate) version: VersionChoice,
    /// Leave the official suite out
    #[arg(long)]
    pub(crate) own_only: bool,
    /// The official suite's program, if it is neither installed by `cargo xtask fixtures` nor on PATH
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) suite: Option<PathBuf>,
    /// Take any certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Folder for report.html, junit.xml, report.json and the suite's own files
    #[arg(long, value_name = "FOLDER", default_value = "conformance-results")]
    pub(crate) results: PathBuf,
    /// Prefix of the repositories that are pushed to
    #[arg(long, value_name = "REPOSITORY", default_value = "conformance")]
    pub(crate) prefix: RepositoryName,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(crate) enum VersionChoice {
    /// The released 1.1
    #[value(name = "1.1")]
    V1_1,
    /// The development head
    Dev,
    /// One after the other
    #[default]
    All,
}
