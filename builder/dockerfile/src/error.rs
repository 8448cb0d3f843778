//! What can be wrong with a Dockerfile, where, and how to mend it.

use std::fmt;

use crate::expand::ExpandProblem;
use crate::instruction::mount::MountProblem;
use crate::source::{Source, Span};
use crate::suggest::nearest;

/// What may know how it can be mended.
pub trait Mend: fmt::Display {
    /// How to mend it, where there is more to say than the message does.
    fn mend(&self) -> Option<String>;
}

/// A problem and its place in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<P> {
    pub problem: P,
    pub span: Span,
}

/// What the parser and the expansion find.
pub type Error = Located<Problem>;

impl<P> Located<P> {
    pub fn new(problem: P, span: Span) -> Self {
        Self { problem, span }
    }

    /// As a problem of another kind in the same place.
    pub fn map<Q>(self, change: impl FnOnce(P) -> Q) -> Located<Q> {
        Located { problem: change(self.problem), span: self.span }
    }
}

impl<P: Mend> Located<P> {
    /// The message with file, line, source line, caret and mend.
    pub fn render(&self, source: &Source) -> String {
        source.render(self.span, &self.problem.to_string(), self.problem.mend().as_deref())
    }
}

impl<P: Mend> fmt::Display for Located<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(formatter)?;
        match self.problem.mend() {
            Some(mend) => write!(formatter, ": {mend}"),
            None => Ok(()),
        }
    }
}

impl<P: Mend + fmt::Debug> std::error::Error for Located<P> {}

/// Names of every instruction, in capitals.
pub(crate) const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the file is not UTF-8 text in line {line}")]
    NotUtf8 { line: usize },
    #[error("the file holds no instruction")]
    NoInstructions,
    #[error("the file has no FROM")]
    NoStage,
    #[error("{instruction} stands before the first FROM")]
    BeforeFrom { instruction: String },
    #[error("the parser directive {name} is given twice")]
    DirectiveTwice { name: String },
    #[error("{value:?} cannot be the escape character")]
    EscapeDirective { value: String },
    #[error("a line continues but no instruction follows")]
    EmptyInstruction,
    #[error("unknown instruction {name}")]
    UnknownInstruction { name: String },
    #[error("{instruction} has no flag --{flag}")]
    UnknownFlag { instruction: &'static str, flag: String, known: &'static [&'static str] },
    #[error("--{flag} is given twice")]
    FlagTwice { flag: &'static str },
    #[error("--{flag} needs a value")]
    FlagWithoutValue { flag: &'static str },
    #[error("{value:?} is no value for --{flag}")]
    FlagValue { flag: &'static str, value: String, expected: &'static str },
    #[error("{instruction} needs {expected}")]
    Arguments { instruction: &'static str, expected: &'static str },
    #[error("{instruction} has a name that is empty")]
    BlankName { instruction: &'static str },
    #[error("{word:?} has no =")]
    MissingEquals { word: String },
    #[error("the JSON form takes a list of strings only")]
    JsonNotStrings,
    #[error("SHELL takes the JSON form only")]
    ShellNotJson,
    #[error("{name:?} is no name for a stage")]
    StageName { name: String },
    #[error("{trigger} cannot be a trigger of ONBUILD")]
    Trigger { trigger: String },
    #[error("a trigger must be one instruction")]
    TriggerNotSingle,
    #[error("the here-document {name} is not closed")]
    HeredocUnterminated { name: String },
    #[error("a here-document cannot be the destination")]
    HeredocDestination,
    #[error("the here-document {name} is not a source of its own")]
    HeredocDetached { name: String },
    #[error("{found:?} is no kind of HEALTHCHECK")]
    HealthcheckKind { found: String },
    #[error("HEALTHCHECK NONE takes neither flags nor a command")]
    HealthcheckNone,
    #[error(transparent)]
    Mount(#[from] MountProblem),
    #[error(transparent)]
    Expand(#[from] ExpandProblem),
}

impl Mend for Problem {
    fn mend(&self) -> Option<String> {
        let did_you_mean = |name: &str, prefix: &str| format!("did you mean {prefix}{name}?");
        match self {
            Self::NotUtf8 { .. } => Some("save the file as UTF-8".to_owned()),
            Self::NoInstructions | Self::NoStage => {
                Some("start with FROM and the name of a base image".to_owned())
            }
            Self::BeforeFrom { .. } => Some("only ARG may stand before the first FROM".to_owned()),
            Self::DirectiveTwice { .. } => Some("keep one of the two".to_owned()),
            Self::EscapeDirective { .. } => Some("use \\ or `".to_owned()),
            Self::EmptyInstruction => Some("remove the escape character at the end of the line".to_owned()),
            Self::UnknownInstruction { name } => match nearest(name, INSTRUCTIONS) {
                Some(instruction) => Some(did_you_mean(instruction, "")),
                None => Some(format!("the instructions are {}", INSTRUCTIONS.join(", "))),
            },
            Self::UnknownFlag { flag, known, .. } => match (nearest(flag, known.iter().copied()), known) {
                (Some(name), _) => Some(did_you_mean(name, "--")),
                (None, []) => {
                    Some("it takes no flags; write -- before an argument that starts so".to_owned())
                }
                (None, known) => Some(format!("its flags are --{}", known.join(", --"))),
            },
            Self::FlagTwice { .. } => Some("keep one of the two".to_owned()),
            Self::FlagWithoutValue { flag } => Some(format!("write --{flag}=VALUE, without a space")),
            Self::FlagValue { expected, .. } => Some(format!("use {expected}")),
            Self::Arguments { .. } => None,
            Self::BlankName { .. } => Some("write name=value".to_owned()),
            Self::MissingEquals { .. } => {
                Some("write name=value, and quote a value that holds a space".to_owned())
            }
            Self::JsonNotStrings => Some("put every item in double quotes".to_owned()),
            Self::ShellNotJson => Some("write SHELL [\"program\", \"argument\"]".to_owned()),
            Self::StageName { .. } => {
                Some("start with a letter and go on with letters, digits, -, _ and .".to_owned())
            }
            Self::Trigger { .. } => {
                Some("any instruction but FROM, MAINTAINER and ONBUILD may follow".to_owned())
            }
            Self::TriggerNotSingle => None,
            Self::HeredocUnterminated { name } => Some(format!("end it with a line that is just {name}")),
            Self::HeredocDestination => Some("name the destination last".to_owned()),
            Self::HeredocDetached { name } => Some(format!("write <<{name} as one word, without a space")),
            Self::HealthcheckKind { .. } => {
                Some("write HEALTHCHECK CMD command or HEALTHCHECK NONE".to_owned())
            }
            Self::HealthcheckNone => Some("remove what stands beside NONE".to_owned()),
            Self::Mount(problem) => problem.mend(),
            Self::Expand(problem) => problem.mend(),
        }
    }
}
