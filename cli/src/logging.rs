//! Logs go to standard error; results go to standard output.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::{
    arguments::{Arguments, Command, LogFormat, RegistryCommand},
    failure::Failure,
    traces::Traces,
};

/// Starts logging. The filter is `SLIPWAY_LOG`, in the form of tracing's directives. Without it a server tells each
/// request, and other commands only what went wrong: what they do they show themselves.
pub(crate) fn start(arguments: &Arguments) -> Result<Traces, Failure> {
    let filter = match std::env::var("SLIPWAY_LOG") {
        Ok(text) => EnvFilter::try_new(&text).map_err(|error| {
            Failure::Usage(format!("SLIPWAY_LOG is {text:?}, which is no log filter: {error}"))
        })?,
        Err(_) => EnvFilter::new(match &arguments.command {
            Command::Registry(RegistryCommand::Serve(_)) => "info",
            _ => "warn",
        }),
    };
    let traces = Traces::start()?;
    let registry = tracing_subscriber::registry().with(filter).with(traces.layer());
    let lines = fmt::layer().with_target(false).with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(traces)
}
