//! `slipway registry ...`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use registry_server::EndpointName;
use registry_types::{AccountName, ActionSet, Digest, PathPattern, Subject};

use super::{Explain, OutputFormat, QuotaCommand, RetentionCommand, TagRuleCommand};

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
    /// Show and repeat what endpoints are told
    #[command(subcommand)]
    Events(EventsCommand),
    /// Manage the keys that tokens are signed with
    #[command(subcommand)]
    Key(KeyCommand),
    /// Look at garbage collection, which a running registry does all the time
    #[command(subcommand)]
    Gc(GcCommand),
    /// Manage protected and immutable tags
    #[command(subcommand, name = "tag-rule")]
    TagRule(TagRuleCommand),
    /// Manage limits for the bytes under a path
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// Manage the policies by which tags are removed
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Show whether somebody may do something, and every rule that has a say
    #[command(after_help = "\
Examples:
  slipway registry explain ci push team/app:v1.2
  slipway registry explain anonymous pull public/base --output json")]
    Explain(Explain),
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
    /// Reverse proxy whose X-Forwarded headers are believed: an address or a network, as often as wanted
    #[arg(long, value_name = "NETWORK")]
    pub(crate) trusted_proxy: Vec<String>,
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

/// Which registry a command is about, for commands beside a running server.
#[derive(Debug, Args)]
pub(crate) struct DataOption {
    /// The registry's data folder [default: slipway-data]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// The registry's configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "SLIPWAY_REGISTRY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
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
pub(crate) enum EventsCommand {
    /// List the endpoints with what waits for each
    #[command(after_help = "Example:\n  slipway registry events list --output json")]
    List {
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    /// Deliver kept events to an endpoint again; the server begins within seconds
    #[command(after_help = "\
Events are kept for a day after their delivery, unless events.keep_seconds says otherwise.

Examples:
  slipway registry events replay gitlab
  slipway registry events replay gitlab --from 4711")]
    Replay {
        /// The endpoint's name
        endpoint: EndpointName,
        /// The first event to deliver again, by the number that the list shows [default: the oldest one kept]
        #[arg(long, value_name = "NUMBER")]
        from: Option<i64>,
        #[command(flatten)]
        data: DataOption,
    },
    /// Forget an endpoint that is not configured any more
    #[command(after_help = "Example:\n  slipway registry events remove gitlab")]
    Remove {
        /// The endpoint's name
        endpoint: EndpointName,
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

#[derive(Debug, Subcommand)]
pub(crate) enum GcCommand {
    /// Show what waits to be looked at, what waits to be removed, and what was removed so far
    #[command(after_help = "Example:\n  slipway registry gc status --output json")]
    Status {
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    /// Collect until nothing more is due; beside a running registry, wait until it has done so
    #[command(after_help = "\
Examples:
  slipway registry gc run --dry-run       what would go now, and why the rest of what was looked at stays
  slipway registry gc run")]
    Run {
        /// Change nothing, and list each decision with its reason
        #[arg(long)]
        dry_run: bool,
        /// Most decisions of a dry run
        #[arg(long, value_name = "NUMBER", default_value_t = 1_000, requires = "dry_run")]
        limit: usize,
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    /// Show what holds a blob or manifest
    #[command(
        after_help = "Example:\n  slipway registry gc explain sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )]
    Explain {
        digest: Digest,
        /// Most chains of references to show
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
}
