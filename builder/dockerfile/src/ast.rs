//! The syntax tree: one type per instruction, each word with the span it was written at.
//!
//! Values are as written, quotes and variables included; [`crate::Expander`] turns them into what they mean.

use crate::directive::Directives;
use crate::heredoc::Opening;
use crate::source::{Span, Spanned};

/// A word or a line of arguments as written.
pub type Text = Spanned<String>;

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    pub directives: Directives,
    /// The `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// At least one.
    pub stages: Vec<Stage>,
    pub warnings: Vec<Warning>,
}

impl Dockerfile {
    /// The character that escapes and continues lines: `\` unless the `escape` directive says otherwise.
    pub fn escape(&self) -> char {
        self.directives.escape_character()
    }
}

/// `FROM` and the instructions up to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub from: From,
    pub instructions: Vec<Instruction>,
    /// The `FROM` instruction.
    pub span: Span,
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    pub platform: Option<Text>,
    pub image: Text,
    /// In lower case: stage names are compared without case.
    pub name: Option<Text>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// All of it, here-documents included.
    pub span: Span,
    /// The instruction with its continuation lines joined, without here-document bodies.
    pub text: String,
    pub kind: InstructionKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    Add(Add),
    Arg(Arg),
    Cmd(CommandLine),
    Copy(Copy),
    Entrypoint(CommandLine),
    Env(Vec<KeyValue>),
    /// Port specifications, each of which may expand to several.
    Expose(Vec<Text>),
    From(From),
    Healthcheck(Healthcheck),
    Label(Vec<KeyValue>),
    Maintainer(Text),
    OnBuild(OnBuild),
    Run(Run),
    /// The program and its first arguments; never empty.
    Shell(Vec<String>),
    StopSignal(Text),
    User(Text),
    Volume(Vec<Text>),
    Workdir(Text),
}

/// Arguments that are either a text for the shell or a list of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// Run as `SHELL` + this text.
    Shell(Text),
    /// The JSON form, run as it stands.
    Exec(Vec<String>),
}

/// A pair of `ENV` or `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Text,
    pub value: Text,
    /// Written in the old form, `ENV name value`.
    pub legacy: bool,
}

/// `ARG NAME[=DEFAULT]...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    pub definitions: Vec<ArgDefinition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDefinition {
    pub name: Text,
    pub default: Option<Text>,
}

/// A here-document: its opening word on the instruction's line and its body below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// The file descriptor written before `<<`; zero when there is none.
    pub descriptor: u32,
    /// Whether variables in the body are expanded; not when any part of the opening word is quoted.
    pub expand: bool,
    /// Written `<<-`: tabs at the start of each line are dropped.
    pub strip_tabs: bool,
    /// The body as written, line ends included, the closing line excluded.
    pub content: String,
    /// The body in the source.
    pub span: Span,
}

impl Heredoc {
    /// The body as a file of its own: without leading tabs when written `<<-`.
    pub fn file_content(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// A source of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    Path(Text),
    Heredoc(Heredoc),
}

/// `COPY [flags] SOURCE... DESTINATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub from: Option<Text>,
    pub chown: Option<Text>,
    pub chmod: Option<Text>,
    pub link: Option<Spanned<bool>>,
    pub parents: Option<Spanned<bool>>,
    pub exclude: Vec<Text>,
    /// At least one.
    pub sources: Vec<CopySource>,
    pub destination: Text,
}

/// `ADD [flags] SOURCE... DESTINATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    pub chown: Option<Text>,
    pub chmod: Option<Text>,
    pub link: Option<Spanned<bool>>,
    pub keep_git_dir: Option<Spanned<bool>>,
    pub checksum: Option<Text>,
    pub unpack: Option<Spanned<bool>>,
    pub exclude: Vec<Text>,
    /// At least one.
    pub sources: Vec<CopySource>,
    pub destination: Text,
}

/// `HEALTHCHECK NONE` or `HEALTHCHECK [flags] CMD ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    None,
    Probe(Probe),
}

/// A health check; durations in nanoseconds, zero where not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub command: CommandLine,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub start_interval: i64,
    pub retries: u32,
}

/// `ONBUILD TRIGGER`, checked here and parsed again by [`crate::parse_trigger`] when it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBuild {
    /// The text the image config keeps, here-document bodies included.
    pub trigger: String,
}

/// `RUN [flags] COMMAND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub flags: RunFlags,
    pub command: CommandLine,
    pub heredocs: Vec<Heredoc>,
}

impl Run {
    /// The here-document, when the command is nothing but its opening word: then its body is the script.
    pub fn sole_heredoc(&self) -> Option<&Heredoc> {
        match &self.command {
            CommandLine::Shell(text) => Opening::parse(&text.value).and(self.heredocs.first()),
            CommandLine::Exec(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFlags {
    pub mounts: Vec<RunMount>,
    pub network: Option<Spanned<Network>>,
    pub security: Option<Spanned<Security>>,
    pub devices: Vec<Spanned<Device>>,
}

/// `--mount=...`: its fields as written, since their values may hold variables; [`crate::Mount::resolve`] reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMount {
    pub fields: Vec<String>,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// How a cache mount is shared between steps that run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountSharing {
    Shared,
    Private,
    Locked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Default,
    None,
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Sandbox,
    Insecure,
}

/// `--device=NAME[,required]`, a CDI device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub required: bool,
}

/// Something that works but should be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub kind: WarningKind,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningKind {
    /// A blank line between a continued line and the next.
    EmptyContinuation,
}
