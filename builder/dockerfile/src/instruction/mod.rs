//! One parser per instruction, and what they share.

mod arg;
mod copy;
mod csv;
mod flags;
mod from;
mod healthcheck;
mod key_value;
pub(crate) mod mount;
pub(crate) mod on_build;
mod run;
mod words;

use std::ops::Range;

use crate::ast::{CommandLine, Heredoc, Instruction, InstructionKind, Text};
use crate::error::{Error, INSTRUCTIONS, Problem};
use crate::heredoc::read_bodies;
use crate::lines::{LineReader, LogicalLine};
use crate::source::Span;
use crate::split::{Word, plain_words, split};

/// An instruction in its parts, before they are given a meaning.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    line: &'a LogicalLine,
    escape: char,
    name: &'static str,
    flags: Vec<Word>,
    arguments: Range<usize>,
    heredocs: Vec<Heredoc>,
}

/// Parses a logical line; here-document bodies are read from `reader`.
pub(crate) fn parse(mut line: LogicalLine, reader: &mut LineReader<'_>) -> Result<Instruction, Error> {
    let escape = reader.directives.escape_character();
    let mut heredocs = Vec::new();
    if takes_heredocs(&line, escape)? {
        heredocs = read_bodies(reader, &mut line)?;
    }
    let whole = 0..line.text.len();
    let kind = kind(&line, whole, escape, heredocs)?;
    let text = line.text.trim().to_owned();
    Ok(Instruction { span: line.span, text, kind })
}

/// Whether here-documents may follow the line: `RUN`, `COPY` and `ADD`, also as triggers, not in the JSON form.
fn takes_heredocs(line: &LogicalLine, escape: char) -> Result<bool, Error> {
    let mut within = 0..line.text.len();
    let mut depth = 0;
    loop {
        let parts = Parts::new(line, within, escape, Vec::new())?;
        match parts.name {
            "ADD" | "COPY" | "RUN" => return Ok(parts.json()?.is_none()),
            "ONBUILD" if depth == 0 && !parts.arguments.is_empty() => {
                depth += 1;
                within = parts.arguments;
            }
            _ => return Ok(false),
        }
    }
}

/// Parses `line[within]` as an instruction.
fn kind(
    line: &LogicalLine,
    within: Range<usize>,
    escape: char,
    heredocs: Vec<Heredoc>,
) -> Result<InstructionKind, Error> {
    let parts = Parts::new(line, within, escape, heredocs)?;
    Ok(match parts.name {
        "ADD" => InstructionKind::Add(copy::parse_add(parts)?),
        "ARG" => InstructionKind::Arg(arg::parse(&parts)?),
        "CMD" => InstructionKind::Cmd(parts.command_without_flags()?),
        "COPY" => InstructionKind::Copy(copy::parse_copy(parts)?),
        "ENTRYPOINT" => InstructionKind::Entrypoint(parts.command_without_flags()?),
        "ENV" => InstructionKind::Env(key_value::parse(&parts)?),
        "EXPOSE" => InstructionKind::Expose(words::parse_expose(&parts)?),
        "FROM" => InstructionKind::From(from::parse(&parts)?),
        "HEALTHCHECK" => InstructionKind::Healthcheck(healthcheck::parse(&parts)?),
        "LABEL" => InstructionKind::Label(key_value::parse(&parts)?),
        "MAINTAINER" => InstructionKind::Maintainer(words::parse_single(&parts)?),
        "ONBUILD" => InstructionKind::OnBuild(on_build::parse(parts)?),
        "RUN" => InstructionKind::Run(run::parse(parts)?),
        "SHELL" => InstructionKind::Shell(words::parse_shell(&parts)?),
        "STOPSIGNAL" => InstructionKind::StopSignal(words::parse_single(&parts)?),
        "USER" => InstructionKind::User(words::parse_single(&parts)?),
        "VOLUME" => InstructionKind::Volume(words::parse_volume(&parts)?),
        _ => InstructionKind::Workdir(words::parse_single(&parts)?),
    })
}

impl<'a> Parts<'a> {
    fn new(
        line: &'a LogicalLine,
        within: Range<usize>,
        escape: char,
        heredocs: Vec<Heredoc>,
    ) -> Result<Self, Error> {
        let split = split(&line.text, within, escape);
        let keyword = line.spanned(split.keyword.start, split.keyword.end);
        let known = INSTRUCTIONS.iter().find(|name| name.eq_ignore_ascii_case(&keyword.value));
        let Some(name) = known else {
            return Err(Error::new(Problem::UnknownInstruction { name: keyword.value }, keyword.span));
        };
        Ok(Self { line, escape, name, flags: split.flags, arguments: split.arguments, heredocs })
    }

    /// The place of the whole instruction.
    fn span(&self) -> Span {
        self.line.span
    }

    fn error(&self, problem: Problem) -> Error {
        Error::new(problem, self.span())
    }

    fn wrong_arguments(&self, expected: &'static str) -> Error {
        self.error(Problem::Arguments { instruction: self.name, expected })
    }

    /// The arguments as one text.
    fn text(&self) -> Text {
        self.line.spanned(self.arguments.start, self.arguments.end)
    }

    fn word(&self, word: &Word) -> Text {
        Text::new(word.text.clone(), self.line.source_span(word.range.start, word.range.end))
    }

    /// The arguments as words without regard to quotes.
    fn words(&self) -> Vec<Text> {
        plain_words(&self.line.text, self.arguments.clone()).iter().map(|word| self.word(word)).collect()
    }

    /// The arguments as a JSON list of strings; `None` when they are no JSON list. A list with anything but strings
    /// is an error, since it cannot have been meant for the shell.
    fn json(&self) -> Result<Option<Vec<String>>, Error> {
        self.json_in(&self.arguments)
    }

    fn json_in(&self, range: &Range<usize>) -> Result<Option<Vec<String>>, Error> {
        let text = self.line.text.get(range.clone()).unwrap_or_default();
        if !text.starts_with('[') {
            return Ok(None);
        }
        let Ok(items) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
            return Ok(None);
        };
        let strings = items.into_iter().map(|item| match item {
            serde_json::Value::String(text) => Some(text),
            _ => None,
        });
        match strings.collect::<Option<Vec<String>>>() {
            Some(strings) => Ok(Some(strings)),
            None => Err(Error::new(Problem::JsonNotStrings, self.line.source_span(range.start, range.end))),
        }
    }

    /// The arguments as a command in one of its two forms.
    fn command(&self) -> Result<CommandLine, Error> {
        self.command_in(&self.arguments)
    }

    fn command_in(&self, range: &Range<usize>) -> Result<CommandLine, Error> {
        Ok(match self.json_in(range)? {
            Some(words) => CommandLine::Exec(words),
            None => CommandLine::Shell(self.line.spanned(range.start, range.end)),
        })
    }

    fn command_without_flags(&self) -> Result<CommandLine, Error> {
        self.no_flags()?;
        self.command()
    }

    /// The arguments as a JSON list, or as words.
    fn list(&self) -> Result<Vec<Text>, Error> {
        let span = self.text().span;
        Ok(match self.json()? {
            Some(items) => items.into_iter().map(|item| Text::new(item, span)).collect(),
            None => self.words(),
        })
    }
}
