//! Why a Dockerfile cannot be planned, where, and how to mend it.

use builder_dockerfile::{Located, Mend, nearest};

/// A problem and its place in the Dockerfile.
pub type Error = Located<Problem>;

/// A problem that the parser or the expansion found.
pub(crate) fn of_dockerfile(error: builder_dockerfile::Error) -> Error {
    error.map(Problem::Dockerfile)
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(transparent)]
    Dockerfile(builder_dockerfile::Problem),
    #[error("there is no stage named {name}")]
    UnknownTarget { name: String, names: Vec<String> },
    #[error("the base image {written} is empty once its variables are expanded")]
    BlankBase { written: String },
    #[error("{text:?} is no image reference: {reason}")]
    ImageReference { text: String, reason: String },
    #[error("{text:?} is no platform")]
    Platform { text: String },
    #[error("--from cannot hold a variable")]
    FromVariable,
    #[error("there is no stage {index}, the file has {count}")]
    StageIndex { index: usize, count: usize },
    #[error("a stage cannot copy from itself")]
    OwnStage,
    #[error("the stage {name} in line {line} comes after the stage that copies from it")]
    LaterStage { name: String, line: usize },
    #[error("the stages need each other: {}", names.join(" -> "))]
    Cycle { names: Vec<String> },
    /// A part of the grammar that is not executed. Nothing is ever left out silently.
    #[error("{what} in line {line} is not supported by the native engine")]
    NotSupported { what: String, line: usize, instead: &'static str },
    #[error("COPY takes files of the build context or of a stage, not {source_text:?}")]
    CopyRemote { source_text: String },
    #[error("--chmod={text} is no mode")]
    Chmod { text: String },
    #[error("{text:?} is no port: {reason}")]
    Port { text: String, reason: &'static str },
    #[error("{text:?} is no signal")]
    Signal { text: String },
    #[error("VOLUME names an empty path once its variables are expanded")]
    EmptyVolume,
    #[error("in the base image's trigger ONBUILD {trigger:?}: {message}")]
    Trigger { trigger: String, message: String },
}

impl Mend for Problem {
    fn mend(&self) -> Option<String> {
        match self {
            Self::Dockerfile(problem) => problem.mend(),
            Self::UnknownTarget { name, names } => match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => Some(format!("did you mean {near}?")),
                None if names.is_empty() => Some("give the stage a name with FROM image AS name".to_owned()),
                None => Some(format!("the stages are {}", names.join(", "))),
            },
            Self::BlankBase { .. } => Some(
                "declare the variable with ARG and a default before the first FROM, or give --build-arg"
                    .to_owned(),
            ),
            Self::Platform { .. } => Some("write os/architecture, for example linux/arm64".to_owned()),
            Self::FromVariable => Some(
                "name a stage with FROM image AS name, where variables can be used, and copy from that"
                    .to_owned(),
            ),
            Self::StageIndex { .. } => Some("stages are counted from 0; better give them names".to_owned()),
            Self::LaterStage { .. } => Some("move that stage up".to_owned()),
            Self::NotSupported { instead, .. } => Some((*instead).to_owned()),
            Self::CopyRemote { .. } => Some("use ADD for what is fetched".to_owned()),
            Self::Chmod { .. } => {
                Some("use an octal mode such as 755, or one such as u=rwX,go=rX".to_owned())
            }
            Self::Port { .. } => Some("write 80, 80/udp or 8000-8010".to_owned()),
            Self::Signal { .. } => Some("use a name such as SIGTERM or a number".to_owned()),
            Self::ImageReference { .. }
            | Self::OwnStage
            | Self::Cycle { .. }
            | Self::EmptyVolume
            | Self::Trigger { .. } => None,
        }
    }
}
