//! The leader: first process inside the step's namespaces. It builds the root file system, starts the command as its
//! child, reaps what is orphaned, and ends when the command ends.
//!
//! A first process of its own, rather than the command itself in that place, gives the command ordinary signal
//! behaviour and keeps zombies from piling up. While the command runs it holds no capability and, not being dumpable,
//! cannot be traced nor its files in `/proc` opened by the step.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, set_dumpable_behavior,
    set_parent_process_death_signal, wait,
};
use rustix::thread::UnshareFlags;

use super::{capabilities, command, rootfs};
use crate::sys;
use crate::wire::{self, Action, Failure, LeaderMessage, Report, Request, SetupStage};

/// What a shell gives for a program that could not be started; the report says why.
const NOT_STARTED: i32 = 127;

pub(super) fn run(request: &Request, supervisor: UnixStream) -> i32 {
    match lead(request, &supervisor) {
        Ok(()) => 0,
        Err(report) => {
            let _ = tell(&supervisor, report);
            1
        }
    }
}

fn tell(supervisor: &UnixStream, report: Report) -> io::Result<()> {
    wire::send(supervisor, &LeaderMessage::Report(report))
}

fn lead(request: &Request, supervisor: &UnixStream) -> Result<(), Report> {
    let failed = |what: &'static str| {
        move |error: io::Error| Report::Failed(Failure::from_errno(SetupStage::Identity, what, error))
    };
    let mut go = [0];
    if (&*supervisor).read_exact(&mut go).is_err() {
        // The supervisor could not write the id maps and says so itself.
        return Ok(());
    }
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| failed("asking to die with the supervisor")(error.into()))?;
    let mut traces = Vec::new();
    let result = rootfs::set_up(&request.spec, request.tier, &mut traces);
    wire::send(supervisor, &LeaderMessage::Traces(traces)).map_err(failed("reporting traces"))?;
    result.map_err(Report::Failed)?;
    if request.action == Action::SetUpOnly {
        return tell(supervisor, Report::Ready).map_err(failed("reporting"));
    }
    let prepared = command::prepare(&request.spec, request.tier)?;
    tell(supervisor, Report::Ready).map_err(failed("reporting"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| failed("protecting the leader from the step")(error.into()))?;
    let Some(command) =
        sys::fork_into(UnshareFlags::empty()).map_err(failed("starting the command's process"))?
    else {
        let report = prepared.become_command();
        let _ = tell(supervisor, report);
        std::process::exit(NOT_STARTED);
    };
    capabilities::drop_all().map_err(|error| failed("dropping capabilities")(error.into()))?;
    close_output();
    let status = wait_for(command).map_err(|error| failed("waiting for the command")(error.into()))?;
    let report = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited { code },
        (None, signal) => Report::Signalled { signal: signal.unwrap_or_default() },
    };
    tell(supervisor, report).map_err(failed("reporting"))
}

/// Reaps everything until the command itself ends.
fn wait_for(command: Pid) -> rustix::io::Result<WaitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => return Ok(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The leader writes nothing from here on; the output ends with the step's own processes.
fn close_output() {
    if let Ok(null) = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()) {
        let _ = rustix::stdio::dup2_stdout(null.as_fd());
        let _ = rustix::stdio::dup2_stderr(null.as_fd());
    }
}
