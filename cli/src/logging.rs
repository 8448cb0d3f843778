//! Logs go to standard error; results go to standard output.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::arguments::{Arguments, LogFormat};

/// Starts logging. The filter is `SLIPWAY_LOG`, in the form of tracing's directives.
pub(crate) fn start(arguments: &Arguments) {
    let filter = EnvFilter::try_from_env("SLIPWAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    match arguments.log_format {
        LogFormat::Text => registry.with(fmt::layer().with_target(false).with_writer(std::io::stderr)).init(),
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
        }
    }
}
