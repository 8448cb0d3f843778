//! `slipway image ...`: the everyday registry client. Results go to standard output, progress to standard error.

mod copy;
mod details;
mod glob;
mod inspect;
mod list;
mod location;
mod progress;
mod referrers;
mod remove;
mod tag;

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write as _},
};

use crate::{
    arguments::{ImageCommand, OutputFormat},
    failure::{Failure, runtime},
};

pub(crate) use glob::Glob;
pub(crate) use location::{Catalog, Location};

pub(crate) fn run(command: ImageCommand) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match command {
            ImageCommand::Ls(arguments) => list::repositories(arguments).await,
            ImageCommand::Tags(arguments) => list::tags(arguments).await,
            ImageCommand::Inspect(arguments) => inspect::run(arguments).await,
            ImageCommand::Copy(arguments) => copy::run(arguments).await,
            ImageCommand::Tag(arguments) => tag::run(arguments).await,
            ImageCommand::Rm(arguments) => remove::run(arguments).await,
            ImageCommand::Referrers(arguments) => referrers::run(arguments).await,
        }
    })
}

/// Writes a result, in the form that was asked for, to standard output.
fn print(
    output: OutputFormat,
    json: impl FnOnce() -> serde_json::Value,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    write(formed(output, json, text)?.as_bytes())
}

fn formed(
    output: OutputFormat,
    json: impl FnOnce() -> serde_json::Value,
    text: impl FnOnce() -> String,
) -> Result<String, Failure> {
    match output {
        OutputFormat::Text => Ok(text()),
        OutputFormat::Json => serde_json::to_string_pretty(&json())
            .map(|text| text + "\n")
            .map_err(|error| Failure::Failed(error.to_string())),
    }
}

/// Writes bytes to standard output. A reader that has seen enough, such as `head`, is no failure.
fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Each item on a line of its own.
fn lines(items: impl Iterator<Item = impl Display>) -> String {
    let mut text = String::new();
    items.for_each(|item| text.push_str(&format!("{item}\n")));
    text
}

/// A length as people read it.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
