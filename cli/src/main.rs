//! `slipway`: parse, dispatch, exit code. Called by the name `builder` or `import` (a link), it behaves as
//! `slipway builder` or `slipway import`.

mod arguments;
mod builder;
mod client;
mod conformance;
mod demo;
mod failure;
mod image;
mod import;
mod logging;
mod registry;
mod standard_input;
mod traces;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::Parser;

use arguments::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    // A build step starts this program again as its own init; nothing may come before.
    builder_runtime::maybe_run_init();
    let arguments = Arguments::parse_from(with_subcommand(std::env::args_os().collect()));
    let ended = logging::start(&arguments).and_then(|traces| {
        let ended = run(arguments);
        traces.finish();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("slipway: {failure}");
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Registry(command) => registry::run(command),
        Command::Builder(command) => builder::run(command),
        Command::Conformance(arguments) => conformance::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Image(command) => image::run(command),
        Command::Import(arguments) => import::run(&arguments),
    }
}

/// Puts the subcommand in front that the program's own name stands for.
fn with_subcommand(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name =
        arguments.first().and_then(|first| Path::new(first).file_stem()).map(|name| name.to_os_string());
    if let Some(name) = name
        && (name == "builder" || name == "import")
    {
        arguments.insert(1, name);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_s_name_may_be_the_subcommand() {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            with_subcommand(words(&["/usr/bin/builder", "push", "--tags"])),
            words(&["/usr/bin/builder", "builder", "push", "--tags"])
        );
        assert_eq!(with_subcommand(words(&["slipway", "demo"])), words(&["slipway", "demo"]));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
