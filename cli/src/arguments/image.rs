//! `slipway image ...`

use clap::{Args, Subcommand};
use registry_types::{ImageReference, MediaType, Platform, Tag};

use super::{ClientOptions, OutputFormat, ProgressChoice};
use crate::image::{Catalog, Glob, Location};

/// Shown under the commands that take more than images in registries.
const LOCATIONS: &str = "\
An IMAGE is a name in a registry, oci:FOLDER[:NAME], oci-archive:FILE[:NAME] or docker-archive:FILE[:NAME]; FILE may
be - for standard input or output.";

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the repositories of a registry
    #[command(after_help = "\
Examples:
  slipway image ls localhost:5050
  slipway image ls localhost:5050/team --output json

With a path, the repository of that name and those below it.")]
    Ls(ImageList),
    /// List the tags of a repository, or the names in a layout or archive
    #[command(after_help = format!("\
Examples:
  slipway image tags localhost:5050/team/app
  slipway image tags localhost:5050/team/app --detail

{LOCATIONS}"))]
    Tags(ImageTags),
    /// Show an image: its manifest or index, configuration, layers, platforms and annotations
    #[command(after_help = format!("\
Examples:
  slipway image inspect localhost:5050/team/app:v1
  slipway image inspect localhost:5050/team/app:v1 --platform linux/arm64 --output json
  slipway image inspect oci:./layout:v1 --raw | sha256sum

{LOCATIONS}"))]
    Inspect(ImageInspect),
    /// Copy images between registries, layouts and archives, digests unchanged
    #[command(after_help = format!("\
Examples:
  slipway image copy alpine:3 localhost:5050/mirror/alpine:3 --referrers
  slipway image copy localhost:5050/team/app localhost:5050/kept/app --tags-matching 'v*'
  slipway image copy localhost:5050/team/app:v1 oci:./layout
  slipway image copy localhost:5050/team/app:v1 docker-archive:- | docker load

{LOCATIONS}

Blobs that are there stay, within one registry they are mounted, others go straight from one end to the other. A
copy that was cut goes on by itself, one that was ended goes on when it is started again. An archive for docker
holds one platform: --platform, else this machine's."))]
    Copy(ImageCopy),
    /// Give an image further tags
    #[command(after_help = "Example:\n  slipway image tag localhost:5050/team/app:7c0b862 v1 latest")]
    Tag(ImageTag),
    /// Remove a tag, or by digest a manifest with all its tags
    #[command(after_help = "\
Examples:
  slipway image rm localhost:5050/team/app:old
  slipway image rm localhost:5050/team/app@sha256:4f53... --dry-run

A tag goes alone; the manifest and its other tags stay. It says what was removed, by digest.")]
    Rm(ImageRemove),
    /// Show what refers to an image: signatures, attestations, bills of material, as a tree
    #[command(after_help = format!("\
Examples:
  slipway image referrers localhost:5050/team/app:v1
  slipway image referrers localhost:5050/team/app:v1 --artifact-type application/spdx+json --output json

{LOCATIONS}"))]
    Referrers(ImageReferrers),
}

#[derive(Debug, Args)]
pub(crate) struct ImageList {
    /// Host and port, with a path to list less
    #[arg(value_name = "REGISTRY[/PATH]")]
    pub(crate) catalog: Catalog,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ImageTags {
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: Location,
    /// Also digest, size, time and platforms of each
    #[arg(long)]
    pub(crate) detail: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ImageInspect {
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Location,
    /// The image for this platform instead of the index
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Print the bytes of the manifest or index, nothing more and nothing less
    #[arg(long, conflicts_with = "output")]
    pub(crate) raw: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ImageCopy {
    #[arg(value_name = "SOURCE")]
    pub(crate) source: Location,
    #[arg(value_name = "TARGET")]
    pub(crate) target: Location,
    /// The index with the images of all platforms, as it is (the default)
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all_platforms: bool,
    /// The image for this platform only
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Also what refers to the image and to those below it
    #[arg(long)]
    pub(crate) referrers: bool,
    /// Copy each tag of the source repository that the pattern matches (`*` any text, `?` any letter)
    #[arg(long, value_name = "PATTERN")]
    pub(crate) tags_matching: Option<Glob>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = ProgressChoice::Auto)]
    pub(crate) progress: ProgressChoice,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ImageTag {
    #[arg(value_name = "IMAGE")]
    pub(crate) image: ImageReference,
    /// New tags in the same repository
    #[arg(required = true, value_name = "TAG")]
    pub(crate) tags: Vec<Tag>,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ImageRemove {
    /// With a tag or a digest, not both
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageReference>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ImageReferrers {
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Location,
    /// What refers to the image for this platform instead of to the index
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Only those of this type, with what refers to them
    #[arg(long, value_name = "TYPE")]
    pub(crate) artifact_type: Option<MediaType>,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}
