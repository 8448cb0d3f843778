//! `slipway registry tag-rule|quota|retention|explain ...`

use clap::{ArgGroup, Args, Subcommand};
use registry_server::{Age, ByteSize, Schedule};
use registry_types::{AccountName, Action, PathPattern, PathPrefix, Subject, TagPattern};

use super::{OutputFormat, registry::DataOption};

#[derive(Debug, Subcommand)]
pub(crate) enum TagRuleCommand {
    /// Protect some tags, or make them immutable
    #[command(
        group(ArgGroup::new("effect").required(true).args(["immutable", "protect", "allow"])),
        after_help = "\
`*` stands for any text in a tag and within one part of a path, `**` for any number of parts of a path.
All rules that match a tag must let a push or delete through. Administrators pass every protection; nobody moves or
deletes an immutable tag.

Examples:
  slipway registry tag-rule add 'team/**' 'v*' --immutable
  slipway registry tag-rule add 'team/**' 'release-*' --allow ci --allow anna
  slipway registry tag-rule add '**' latest --protect      for administrators only"
    )]
    Add {
        /// Path pattern of the repositories
        repositories: PathPattern,
        /// Pattern of the tags
        tags: TagPattern,
        /// Keep the tags on the manifest they were first pushed with
        #[arg(long)]
        immutable: bool,
        /// Let only administrators, and those of --allow, push and delete the tags
        #[arg(long)]
        protect: bool,
        /// Let an account, `logged-in` or `everyone` push and delete the protected tags; may be repeated
        #[arg(long, value_name = "WHO", conflicts_with = "immutable")]
        allow: Vec<Subject>,
        #[command(flatten)]
        data: DataOption,
    },
    /// List tag rules, those of the configuration first
    #[command(after_help = "Example:\n  slipway registry tag-rule list --output json")]
    List {
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    /// Remove a tag rule by the number that the list shows
    #[command(after_help = "Example:\n  slipway registry tag-rule remove 3")]
    Remove {
        id: i64,
        #[command(flatten)]
        data: DataOption,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuotaCommand {
    /// Limit the bytes under a path, or change the limit
    #[command(after_help = "\
Each distinct blob counts once, however many repositories under the path have it.

Examples:
  slipway registry quota add team 50GiB
  slipway registry quota add '*' 1TiB")]
    Add {
        /// A path, for it and everything below; `*` for all repositories
        prefix: PathPrefix,
        /// Such as 50GiB
        bytes: ByteSize,
        #[command(flatten)]
        data: DataOption,
    },
    /// List quotas with what is used
    #[command(after_help = "Example:\n  slipway registry quota list --output json")]
    List {
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    /// Remove a quota by the number that the list shows
    #[command(after_help = "Example:\n  slipway registry quota remove 2")]
    Remove {
        id: i64,
        #[command(flatten)]
        data: DataOption,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RetentionCommand {
    /// Add a policy by which tags are removed
    #[command(after_help = "\
A tag goes if it may be removed and nothing keeps it. The policies with the longest path that covers a repository
govern it. Tags that a tag rule holds always stay. Manifests that lost their last tag go by the configuration's
collection.untagged_seconds.

Examples:
  slipway registry retention add team --schedule 'daily 03:00' --keep-newest 10 --keep-tags 'v*'
  slipway registry retention add '*' --schedule 'every 6h' --remove-tags 'mr-*' --remove-older-than 14d
  slipway registry retention add team/app --schedule hourly --keep-newest-of 'main-*=5' --keep-pulled-within 30d")]
    Add(RetentionAdd),
    /// List policies
    #[command(after_help = "Example:\n  slipway registry retention list --output json")]
    List {
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    /// Remove a policy by the number that the list shows
    #[command(after_help = "Example:\n  slipway registry retention remove 1")]
    Remove {
        id: i64,
        #[command(flatten)]
        data: DataOption,
    },
    /// Run the policies now, or list what they would do
    #[command(after_help = "\
Beside a running server only with --dry-run: it runs the policies by their schedules. With --output json each line
is a decision, and the last one has the totals.

Examples:
  slipway registry retention run --dry-run
  slipway registry retention run --dry-run --prefix team --output json")]
    Run {
        /// Change nothing, and list every decision with its reason
        #[arg(long)]
        dry_run: bool,
        /// Only the policies of exactly this path
        #[arg(long, value_name = "PATH")]
        prefix: Option<PathPrefix>,
        #[command(flatten)]
        data: DataOption,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RetentionAdd {
    /// A path, for it and everything below; `*` for all repositories
    pub(crate) prefix: PathPrefix,
    /// `hourly`, `daily HH:MM` or `every N` with m, h or d, in UTC
    #[arg(long, value_name = "WHEN")]
    pub(crate) schedule: Schedule,
    /// Keep the newest so many tags of each repository
    #[arg(long, value_name = "NUMBER")]
    pub(crate) keep_newest: Option<usize>,
    /// Keep the newest so many tags of a pattern; may be repeated
    #[arg(long, value_name = "PATTERN=NUMBER", value_parser = newest_of)]
    pub(crate) keep_newest_of: Vec<(TagPattern, usize)>,
    /// Keep tags of a pattern for ever; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) keep_tags: Vec<TagPattern>,
    /// Keep tags pushed so lately
    #[arg(long, value_name = "AGE")]
    pub(crate) keep_pushed_within: Option<Age>,
    /// Keep tags whose manifest was pulled so lately
    #[arg(long, value_name = "AGE")]
    pub(crate) keep_pulled_within: Option<Age>,
    /// Remove only tags of a pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) remove_tags: Vec<TagPattern>,
    /// Remove only what was pushed longer ago
    #[arg(long, value_name = "AGE")]
    pub(crate) remove_older_than: Option<Age>,
    #[command(flatten)]
    pub(crate) data: DataOption,
}

fn newest_of(text: &str) -> Result<(TagPattern, usize), String> {
    let (pattern, count) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not PATTERN=NUMBER, such as 'main-*=5'"))?;
    let pattern = pattern.parse().map_err(|error: registry_types::ParseError| error.to_string())?;
    let count = count.parse().map_err(|_| format!("{count:?} is no number"))?;
    Ok((pattern, count))
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// An account, or `anonymous` for somebody who is not logged in
    #[arg(value_name = "USER")]
    pub(crate) user: AccountName,
    /// pull, push or delete
    #[arg(value_name = "ACTION")]
    pub(crate) action: Action,
    /// A repository, with a tag or without
    #[arg(value_name = "REPOSITORY[:TAG]", value_parser = repository_and_tag)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) data: DataOption,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
}

/// A repository and perhaps a tag in it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) repository: registry_types::RepositoryName,
    pub(crate) tag: Option<registry_types::Tag>,
}

fn repository_and_tag(text: &str) -> Result<Target, registry_types::ParseError> {
    let (repository, tag) = match text.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag.parse()?)),
        None => (text, None),
    };
    Ok(Target { repository: repository.parse()?, tag })
}
