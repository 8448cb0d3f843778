//! The processes of one step.
//!
//! The builder starts its own program anew as the *supervisor*, which is single-threaded and so may fork. The
//! supervisor forks the *leader* into the step's namespaces; the leader builds the root file system and starts the
//! command. When the command ends the leader ends, and with it (first tier) the process namespace and everything in
//! it; in the second tier the supervisor kills what is left. Only then are traces removed and the end reported.
//!
//! The supervisor ends the step when the builder's end of the socket closes, so a killed builder leaves no process;
//! the leader dies with the supervisor. Every mount is in the leader's namespace and ends with its processes.

mod capabilities;
mod command;
mod devices;
mod kernel_files;
mod leader;
mod reaper;
mod rootfs;
pub(crate) mod stubs;
mod supervisor;

/// First argument that makes this program the supervisor of one step.
pub(crate) const INIT_ARGUMENT: &str = "builder-runtime-supervise-step";

/// Acts as the supervisor of a step and does not return, if that is what this process was started for.
///
/// Every program that runs steps calls this first thing in `main`, before it reads arguments or starts threads.
pub fn maybe_run_init() {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|argument| argument == INIT_ARGUMENT) {
        std::process::exit(supervisor::run());
    }
}
