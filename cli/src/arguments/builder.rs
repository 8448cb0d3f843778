//! `slipway builder ...`

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use registry_types::{ImageReference, Platform};

use super::{ClientOptions, OutputFormat, units};

#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image and keep it under a name, write it to a file, or push it
    #[command(after_help = "\
Examples:
  slipway builder build . -t localhost:5050/app:dev
  slipway builder build . -o type=oci,dest=app.tar
  slipway builder build . -t localhost:5050/app:dev -o type=registry

Ctrl-C, or SIGTERM, ends the build in order: what is done is kept, nothing runs on. A second one ends it at once.")]
    Build(Build),
    /// Build an image and push it; in a CI job under the tags that the job implies
    #[command(after_help = "\
Examples:
  builder push --tags                           in a GitLab CI job: branch, latest on the default branch, short SHA
  slipway builder push . -t localhost:5050/app:dev -t localhost:5050/app:latest

With --tags the repository is CI_REGISTRY_IMAGE or --repository, and the tags come from CI_COMMIT_REF_SLUG,
CI_COMMIT_TAG and CI_COMMIT_SHORT_SHA, or from Git outside CI. Logins come from CI_REGISTRY_USER and
CI_REGISTRY_PASSWORD, DOCKER_AUTH_CONFIG, and the files and helpers of docker and podman.")]
    Push(Push),
    /// Say how steps would be isolated here, and why
    #[command(after_help = "Example:\n  slipway builder probe")]
    Probe {
        #[command(flatten)]
        storage: StorageOption,
    },
    /// Remove what earlier builds left, longest unused first, down to a size or an age
    #[command(after_help = "\
Examples:
  slipway builder prune --keep-storage 20GB
  slipway builder prune --older-than 7d --dry-run
  slipway builder prune --all

With both limits, what goes beyond either is removed. Images with a name stay whatever the limits are; --all takes
them, too. No build may use the store meanwhile.")]
    Prune(Prune),
    /// Say what the store holds, and how much of it prune could free
    #[command(
        visible_alias = "df",
        after_help = "\
Examples:
  slipway builder usage
  slipway builder usage --output json"
    )]
    Usage(UsageOptions),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limits").required(true).multiple(true))]
pub(crate) struct Prune {
    /// Keep this much, for example 20GB; KB, MB, GB count in thousands, KiB, MiB, GiB in 1024s
    #[arg(long, value_name = "SIZE", group = "limits", value_parser = units::size)]
    pub(crate) keep_storage: Option<u64>,
    /// Remove what was not used for so long, for example 36h, 7d or 2w
    #[arg(long, value_name = "DURATION", group = "limits", value_parser = units::age)]
    pub(crate) older_than: Option<Duration>,
    /// Remove everything, images with a name as well
    #[arg(long, group = "limits", conflicts_with_all = ["keep_storage", "older_than"])]
    pub(crate) all: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) storage: StorageOption,
}

#[derive(Debug, Args)]
pub(crate) struct UsageOptions {
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) storage: StorageOption,
}

/// Where the builder keeps layers, snapshots and named images.
#[derive(Debug, Args)]
pub(crate) struct StorageOption {
    /// The builder's store [default: /var/lib/slipway/builder, or below ~/.local/share]
    #[arg(long, value_name = "FOLDER", env = "SLIPWAY_BUILDER_STORAGE")]
    pub(crate) storage: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) options: BuildOptions,
    /// Name of the image; may be repeated
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<ImageReference>,
    /// Where the image goes: type=oci,dest=FILE, type=docker,dest=FILE, type=registry or type=image; may be
    /// repeated [default: the local store, under its names]
    #[arg(short = 'o', long = "output", value_name = "OUTPUT")]
    pub(crate) outputs: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    #[command(flatten)]
    pub(crate) options: BuildOptions,
    /// Name to push; may be repeated
    #[arg(short = 't', long = "tag", value_name = "NAME", required_unless_present = "ci_tags")]
    pub(crate) tags: Vec<ImageReference>,
    /// Push the tags that the CI job or the Git checkout implies
    #[arg(long = "tags", conflicts_with = "tags")]
    pub(crate) ci_tags: bool,
    /// With --tags: the repository to push to [default: CI_REGISTRY_IMAGE]
    #[arg(long, value_name = "HOST/REPOSITORY", requires = "ci_tags")]
    pub(crate) repository: Option<ImageReference>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildOptions {
    /// Folder that COPY and ADD take files from
    #[arg(default_value = ".", value_name = "CONTEXT")]
    pub(crate) context: PathBuf,
    /// The Dockerfile [default: Dockerfile in the context]; `-` reads standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Value of an ARG; without a value it is taken from the environment, which must have it; may be repeated
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// Take warnings about the Dockerfile and the command line, such as a --build-arg that no ARG declares, for errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Label of the image; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Platform of the image [default: this machine's]
    #[arg(long)]
    pub(crate) platform: Option<Platform>,
    /// Execute every step, whatever earlier builds did
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Ask registries for base images even if the local store has them
    #[arg(long)]
    pub(crate) pull: bool,
    /// Threads that compress layers; they never change a byte [default: one per core]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// File to write the image's digests to, as JSON with BuildKit's keys
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// File to write the image's digest to
    #[arg(long, value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = ProgressChoice::Auto)]
    pub(crate) progress: ProgressChoice,
    /// Form of the result on standard output
    #[arg(long = "format", value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) storage: StorageOption,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressChoice {
    /// A live view on a terminal, else plain lines
    Auto,
    /// Plain lines
    Plain,
    /// A live view
    Tty,
    /// Nothing but errors
    Quiet,
}
