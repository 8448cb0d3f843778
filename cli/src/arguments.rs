//! The command line. Every command has help with an example.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use registry_types::{
    AccountName, ActionSet, ImageReference, PathPattern, Platform, RegistryHost, RepositoryName, Subject,
};

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

#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image and keep it under a name, write it to a file, or push it
    #[command(after_help = "\
Examples:
  slipway builder build . -t localhost:5050/app:dev
  slipway builder build . -o type=oci,dest=app.tar
  slipway builder build . -t localhost:5050/app:dev -o type=registry")]
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
    /// Value of an ARG; without a value it is taken from the environment; may be repeated
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
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

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Serve a registry with its own token server
    #[command(after_help = "\
Example:
  slipway registry serve --data ./slipway-data --listen 0.0.0.0:5050
  docker login localhost:5050 -u admin --password-stdin < ./slipway-data/admin-password

Every key of the configuration can also be set by a variable: auth.mode is SLIPWAY_REGISTRY_AUTH_MODE.
The log's level is SLIPWAY_LOG, for example SLIPWAY_LOG=debug.")]
    Serve(Serve),
    /// Manage users
    #[command(subcommand)]
    User(AccountCommand),
    /// Manage robots: accounts of programs
    #[command(subcommand)]
    Robot(AccountCommand),
    /// Manage access rules
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Manage the keys that tokens are signed with
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Folder that holds everything the registry keeps [default: slipway-data]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Address and port to listen on [default: 0.0.0.0:5050]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// URL under which clients reach the registry
    #[arg(long, value_name = "URL")]
    pub(crate) external_url: Option<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "SLIPWAY_REGISTRY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// PEM file with the server's certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Make a private authority and a certificate in the data folder
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "tls_cert")]
    pub(crate) tls: Option<TlsChoice>,
    /// Answer plain HTTP with an explanation only
    #[arg(long)]
    pub(crate) tls_required: bool,
    /// Who issues the tokens [default: token]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) auth: Option<AuthChoice>,
    /// Allow `--auth none` on addresses that others can reach
    #[arg(long)]
    pub(crate) allow_none_anywhere: bool,
    /// With `--auth gitlab`: GitLab's token endpoint
    #[arg(long, value_name = "URL")]
    pub(crate) gitlab_realm: Option<String>,
    /// With `--auth gitlab`: PEM file with the certificate of GitLab's signing key
    #[arg(long, value_name = "FILE")]
    pub(crate) gitlab_certificates: Option<PathBuf>,
    /// The issuer that tokens name
    #[arg(long, value_name = "NAME")]
    pub(crate) issuer: Option<String>,
    /// The service that tokens are for
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Take image manifests whose blobs are missing
    #[arg(long)]
    pub(crate) sparse_manifests: bool,
    /// Print the effective configuration and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TlsChoice {
    SelfSigned,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AuthChoice {
    None,
    Token,
    Gitlab,
}

/// Where the registry's data is, for commands beside a running server.
#[derive(Debug, Args)]
pub(crate) struct DataOption {
    /// The registry's data folder
    #[arg(long, value_name = "FOLDER", default_value = "slipway-data", env = "SLIPWAY_REGISTRY_DATA")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(crate) enum OutputFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Add an account; its password is read from standard input, or made and printed
    #[command(after_help = "\
Example:
  echo \"$PASSWORD\" | slipway registry user add anna --password-stdin
  slipway registry robot add ci --generate")]
    Add {
        name: AccountName,
        #[command(flatten)]
        data: DataOption,
        /// Read the password from standard input
        #[arg(long, conflicts_with = "generate", required_unless_present = "generate")]
        password_stdin: bool,
        /// Make a password and print it
        #[arg(long)]
        generate: bool,
        /// May do everything
        #[arg(long)]
        admin: bool,
        /// Replace an account of this name
        #[arg(long)]
        replace: bool,
    },
    /// List accounts
    #[command(after_help = "Example:\n  slipway registry user list --output json")]
    List {
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    /// Remove an account and the rules for it
    #[command(after_help = "Example:\n  slipway registry robot remove ci")]
    Remove {
        name: AccountName,
        #[command(flatten)]
        data: DataOption,
    },
    /// Take accounts over from an htpasswd file (bcrypt lines)
    #[command(after_help = "Example:\n  slipway registry user import /etc/registry/htpasswd")]
    Import {
        file: PathBuf,
        #[command(flatten)]
        data: DataOption,
        /// Replace accounts of the same names
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuleCommand {
    /// Let somebody do something to some repositories
    #[command(after_help = "\
`*` stands for any text within one part of a path, `**` for any number of parts.

Examples:
  slipway registry rule add --to ci --actions pull,push 'root/**'
  slipway registry rule add --to everyone --actions pull 'public/**'")]
    Add {
        /// Path pattern of the repositories
        pattern: PathPattern,
        /// An account's name, `logged-in` or `everyone`
        #[arg(long, value_name = "WHO")]
        to: Subject,
        /// Some of pull, push, delete, joined by commas
        #[arg(long, value_name = "ACTIONS")]
        actions: ActionSet,
        #[command(flatten)]
        data: DataOption,
    },
    /// List rules
    #[command(after_help = "Example:\n  slipway registry rule list --output json")]
    List {
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    /// Remove a rule by the number that the list shows
    #[command(after_help = "Example:\n  slipway registry rule remove 3")]
    Remove {
        id: i64,
        #[command(flatten)]
        data: DataOption,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a new signing key; tokens of the old one stay good until they expire
    #[command(after_help = "Example:\n  slipway registry key rotate --data ./slipway-data")]
    Rotate {
        #[command(flatten)]
        data: DataOption,
        /// The old key is known to others: refuse its tokens at once
        #[arg(long)]
        leaked: bool,
    },
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
