//! The supervisor: forks the leader into the namespaces, passes reports on, ends the step when told to or when the
//! builder is gone, and reports the end only when no process and no trace of the step is left.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use rustix::thread::UnshareFlags;

use super::{leader, reaper, stubs};
use crate::namespace::IdMap;
use crate::sys;
use crate::tier::Tier;
use crate::wire::{self, Failure, LeaderMessage, Report, Request, SetupStage};

/// Orphans of a step without a process namespace end up here and are reaped this often while it runs.
const REAP_INTERVAL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Exit code when the builder is gone; nobody reads it.
const BUILDER_GONE: i32 = 1;

pub(super) fn run() -> i32 {
    let builder = match take_socket_from_stdin() {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!("this command is started by the builder only: {error}");
            return BUILDER_GONE;
        }
    };
    // Modes of what the set-up makes must not depend on the builder's file mask; the command gets its own.
    rustix::process::umask(Mode::empty());
    // Otherwise the step's process list would show the name of the link it was started by.
    let _ = rustix::thread::set_name(c"slipway-step");
    let Ok(Some(request)) = wire::receive::<Request>(&builder) else { return BUILDER_GONE };
    let result = match start(request.tier) {
        Ok(Side::Leader { supervisor }) => {
            // Only the supervisor may hold the socket to the builder: its end is how each sees that the other is gone.
            drop(builder);
            return leader::run(&request, supervisor);
        }
        Ok(Side::Supervisor(step)) => step.supervise(&request, &builder),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = result {
        let _ = wire::send(&builder, &Report::Failed(failure));
    }
    wire::send(&builder, &Report::Finished).map_or(BUILDER_GONE, |()| 0)
}

/// Standard input is the socket to the builder; it is put aside so that the step gets `/dev/null` there.
fn take_socket_from_stdin() -> io::Result<UnixStream> {
    sys::close_on_exec_from(3)?;
    let stdin = rustix::stdio::stdin();
    let socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(stdin, 3)?);
    socket.peer_addr()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null)?;
    Ok(socket)
}

/// Which process this is after the fork.
enum Side {
    Leader { supervisor: UnixStream },
    Supervisor(Step),
}

fn start(tier: Tier) -> Result<Side, Failure> {
    if tier == Tier::OuterProc {
        rustix::process::set_child_subreaper(Some(getpid()))
            .map_err(|error| Failure::from_errno(SetupStage::Namespaces, "becoming subreaper", error))?;
    }
    let (ours, theirs) = UnixStream::pair()
        .map_err(|error| Failure::from_errno(SetupStage::Namespaces, "making a socket pair", error))?;
    let leader = sys::fork_into(namespaces(tier)).map_err(|error| {
        Failure::from_errno(SetupStage::Namespaces, "creating the step's namespaces", error)
    })?;
    Ok(match leader {
        None => Side::Leader { supervisor: theirs },
        Some(leader) => Side::Supervisor(Step { tier, leader, socket: ours }),
    })
}

fn namespaces(tier: Tier) -> UnshareFlags {
    let common = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    match tier {
        Tier::FreshProc => common | UnshareFlags::NEWPID,
        Tier::OuterProc => common,
    }
}

/// The processes of the running step.
struct Step {
    tier: Tier,
    leader: Pid,
    socket: UnixStream,
}

impl Step {
    fn supervise(&self, request: &Request, builder: &UnixStream) -> Result<(), Failure> {
        let watched = self.map_ids().map(|()| self.watch(builder));
        if watched.is_err() {
            self.kill();
        }
        self.end();
        clean_up(request, &watched?)
    }

    /// The nested user namespace sees the same ids; it only keeps the step away from the builder's own processes.
    fn map_ids(&self) -> Result<(), Failure> {
        let failed =
            |error: io::Error| Failure::from_errno(SetupStage::IdMap, "mapping the step's ids", error);
        let map = IdMap::current().map_err(|error| Failure::text(SetupStage::IdMap, error.to_string()))?;
        map.nested_identity().write(self.leader).map_err(failed)?;
        (&self.socket).write_all(&[1]).map_err(failed)
    }

    /// Passes reports on until the leader's end of the socket is closed. Returns what must be cleaned up.
    fn watch(&self, builder: &UnixStream) -> Vec<stubs::Trace> {
        let mut traces = Vec::new();
        let mut ending = false;
        loop {
            let mut files = vec![PollFd::new(&self.socket, PollFlags::IN)];
            if !ending {
                files.push(PollFd::new(builder, PollFlags::IN));
            }
            let interval = (self.tier == Tier::OuterProc).then_some(&REAP_INTERVAL);
            let ready = poll(&mut files, interval);
            let is_ready = |index: usize| {
                ready.is_ok() && files.get(index).is_some_and(|file| !file.revents().is_empty())
            };
            let (leader_ready, builder_ready) = (is_ready(0), is_ready(1));
            if leader_ready {
                match wire::receive::<LeaderMessage>(&self.socket) {
                    Ok(Some(LeaderMessage::Traces(found))) => traces = found,
                    // A builder that is gone is noticed by its socket.
                    Ok(Some(LeaderMessage::Report(report))) => drop(wire::send(builder, &report)),
                    Ok(None) | Err(_) => return traces,
                }
            }
            if builder_ready {
                // Whatever it says (it only ever says "end") or that it is gone: the step is to end.
                ending = true;
                self.kill();
            }
            if self.tier == Tier::OuterProc {
                reaper::reap_ended();
            }
        }
    }

    fn kill(&self) {
        match self.tier {
            Tier::FreshProc => drop(kill_process(self.leader, Signal::KILL)),
            Tier::OuterProc => reaper::kill_descendants(),
        }
    }

    /// Returns when no process of the step is left.
    fn end(&self) {
        match self.tier {
            // The leader is the first process of its namespace: the kernel lets it end last.
            Tier::FreshProc => drop(waitpid(Some(self.leader), WaitOptions::empty())),
            Tier::OuterProc => reaper::end_descendants(),
        }
    }
}

fn clean_up(request: &Request, traces: &[stubs::Trace]) -> Result<(), Failure> {
    let root = &request.spec.root;
    stubs::remove(&root.upper, traces).map_err(|error| {
        Failure::from_errno(SetupStage::MountPoint, "removing the step's mount points", error)
    })?;
    empty_work_directory(&root.work)
        .map_err(|error| Failure::from_errno(SetupStage::Overlay, "emptying the work directory", error))
}

/// The kernel leaves `work/work` behind, and with `volatile` a mark that forbids the next mount.
fn empty_work_directory(work: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(work.join("work")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
