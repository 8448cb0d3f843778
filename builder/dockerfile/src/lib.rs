//! Dockerfile lexer, parser, syntax tree, expansion and ignore files, for the grammar of Dockerfile frontend 1.26.
//!
//! Text goes in, a syntax tree with spans comes out; nothing here reads a file or runs a command. Every flag of the
//! grammar is parsed; which of them can be executed is decided by the planner.

mod ast;
mod directive;
mod duration;
mod error;
mod expand;
mod glob;
mod heredoc;
mod ignore;
mod instruction;
mod lines;
mod parser;
mod scope;
mod source;
mod split;
mod suggest;
mod wildcard;

pub use ast::{
    Add, Arg, ArgDefinition, CommandLine, Copy, CopySource, Device, Dockerfile, From, Healthcheck, Heredoc,
    Instruction, InstructionKind, KeyValue, MountKind, MountSharing, Network, OnBuild, Probe, Run, RunFlags,
    RunMount, Security, Stage, Text, Warning, WarningKind,
};
pub use directive::Directives;
pub use duration::{format_duration, parse_duration};
pub use error::{Error, Located, Mend, Problem};
pub use expand::{ExpandProblem, Expander, Expansion, Variables};
pub use ignore::{IgnoreFile, IgnoreProblem, clean_path, ignore_file_names};
pub use instruction::mount::{Mount, MountProblem};
pub use parser::{parse, parse_trigger};
pub use scope::{Environment, GLOBAL_ARGUMENTS, GlobalScope, PROXY_ARGUMENTS, StageScope, proxy_environment};
pub use source::{Position, Source, Span, Spanned};
pub use suggest::nearest;
pub use wildcard::{Wildcard, WildcardProblem, has_wildcards};
