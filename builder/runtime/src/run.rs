//! Running a step from the builder's side: starts the supervisor, streams output, and returns when nothing of the step
//! is left.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::advice;
use crate::cancel::CancelToken;
use crate::error::RuntimeError;
use crate::init::INIT_ARGUMENT;
use crate::output::{LineSplitter, OutputLine, OutputStream};
use crate::spec::StepSpec;
use crate::tier::Tier;
use crate::user::resolve::UserError;
use crate::wire::{self, Action, Failure, Report, Request, SetupStage};

/// How the command of a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    /// By itself, with this code; 0 is success.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
}

impl StepStatus {
    /// Whether the command exited with code 0.
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl std::fmt::Display for StepStatus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "exit code {code}"),
            Self::Signalled(signal) => write!(formatter, "ended by signal {signal}"),
        }
    }
}

/// How a supervised step came to its end.
#[derive(Debug)]
pub(crate) enum End {
    SetUp,
    Status(StepStatus),
    Failed(Failure),
}

/// One read from a pipe; the default capacity of a Linux pipe.
const READ_SIZE: usize = 64 << 10;

/// When every process of the step has ended its pipes are closed and read to their end at once. Only a descriptor
/// passed to a process outside (by a socket) could keep one open; it is not waited for.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Runs a step and blocks until every process of it has ended; not to be called on an async worker.
///
/// `output` gets each line in order per stream, on this thread; while it blocks, the step blocks too once its pipe is
/// full. A command that fails is an `Ok` status.
///
/// # Errors
/// See [`RuntimeError`]: a spec that makes no sense, a machine that refuses isolation, an unknown user, a command that
/// is not there, cancellation, and the time limit.
pub fn run_blocking(
    spec: StepSpec,
    tier: Tier,
    cancel: Option<&CancelToken>,
    output: &mut dyn FnMut(OutputLine),
) -> Result<StepStatus, RuntimeError> {
    match supervise_blocking(spec, tier, Action::Run, cancel, output)? {
        End::Status(status) => Ok(status),
        End::Failed(failure) => Err(explain(failure)),
        End::SetUp => Err(RuntimeError::SupervisorLost {
            detail: "the process inside the namespaces was killed".to_owned(),
        }),
    }
}

/// A failure of the machine gets advice; one of the step's own files and users does not need any.
fn explain(failure: Failure) -> RuntimeError {
    match failure.stage {
        SetupStage::MountPoint | SetupStage::Files | SetupStage::Identity => {
            RuntimeError::Setup { stage: failure.stage, detail: failure.detail }
        }
        _ => advice::unavailable(&failure),
    }
}

/// Runs a step or only its set-up.
pub(crate) fn supervise_blocking(
    spec: StepSpec,
    tier: Tier,
    action: Action,
    cancel: Option<&CancelToken>,
    output: &mut dyn FnMut(OutputLine),
) -> Result<End, RuntimeError> {
    spec.validate()?;
    if cancel.is_some_and(CancelToken::is_cancelled) {
        return Err(RuntimeError::Cancelled);
    }
    let time_limit = spec.time_limit;
    let mut running = Running::start(&Request { spec, tier, action })?;
    let watched = running.watch(time_limit, cancel, output);
    let ended = running.supervisor.wait();
    running.drain(output);
    let stopped = watched?;
    let ended = ended.map_err(|error| RuntimeError::system("waiting for the supervisor", error))?;
    if let Some(stopped) = stopped {
        return Err(stopped);
    }
    running.outcome(&ended.to_string())
}

/// A step that is being supervised.
struct Running {
    supervisor: Child,
    socket: UnixStream,
    streams: [Stream; 2],
    reports: Vec<Report>,
}

/// One pipe from the step; `None` once it has ended.
struct Stream {
    pipe: Option<OwnedFd>,
    lines: LineSplitter,
}

impl Running {
    fn start(request: &Request) -> Result<Self, RuntimeError> {
        let failed = |error| RuntimeError::system("starting the step's supervisor", error);
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let mut supervisor = Command::new("/proc/self/exe")
            .arg0("slipway-step")
            .arg(INIT_ARGUMENT)
            // Nothing of the builder's environment may reach a step, not even through /proc.
            .env_clear()
            .current_dir("/")
            // Ctrl-C at a terminal goes to the builder alone, which decides.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stdout = supervisor.stdout.take().map(OwnedFd::from);
        let stderr = supervisor.stderr.take().map(OwnedFd::from);
        let streams = [
            Stream { pipe: stdout, lines: LineSplitter::new(OutputStream::Stdout) },
            Stream { pipe: stderr, lines: LineSplitter::new(OutputStream::Stderr) },
        ];
        let running = Self { supervisor, socket, streams, reports: Vec::new() };
        match wire::send(&running.socket, request) {
            // It may have died before reading all; its end is then explained by `outcome`.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(running.abandon(failed(error))),
            _ => Ok(running),
        }
    }

    fn abandon(mut self, error: RuntimeError) -> RuntimeError {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        error
    }

    /// Until the supervisor's end of the socket closes. Returns why the step was stopped from outside, if it was.
    fn watch(
        &mut self,
        time_limit: Option<Duration>,
        cancel: Option<&CancelToken>,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<Option<RuntimeError>, RuntimeError> {
        let started = Instant::now();
        let mut stopped = None;
        loop {
            let cancel = cancel.filter(|_| stopped.is_none());
            let limit = time_limit.filter(|_| stopped.is_none());
            let rest = limit.map(|limit| limit.saturating_sub(started.elapsed()));
            let ready = self.wait_for_news(cancel, rest)?;
            for (stream, ready) in self.streams.iter_mut().zip(ready.streams) {
                if ready {
                    stream.read(output);
                }
            }
            if ready.cancelled {
                stopped = Some(RuntimeError::Cancelled);
                self.tell_to_end();
            } else if let Some(limit) = limit.filter(|limit| started.elapsed() >= *limit) {
                stopped = Some(RuntimeError::TimedOut { limit });
                self.tell_to_end();
            }
            if ready.socket {
                match wire::receive::<Report>(&self.socket) {
                    Ok(Some(report)) => self.reports.push(report),
                    Ok(None) | Err(_) => return Ok(stopped),
                }
            }
        }
    }

    fn wait_for_news(
        &self,
        cancel: Option<&CancelToken>,
        rest: Option<Duration>,
    ) -> Result<Ready, RuntimeError> {
        let mut files = vec![PollFd::new(&self.socket, PollFlags::IN)];
        let cancel_at = cancel.map(|cancel| {
            files.push(PollFd::from_borrowed_fd(cancel.as_event(), PollFlags::IN));
            files.len() - 1
        });
        let stream_at = self.streams.each_ref().map(|stream| {
            stream.pipe.as_ref().map(|pipe| {
                files.push(PollFd::new(pipe, PollFlags::IN));
                files.len() - 1
            })
        });
        let rest = rest.map(|rest| Timespec {
            tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: rest.subsec_nanos().into(),
        });
        match poll(&mut files, rest.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(RuntimeError::system("waiting for the step", error)),
        }
        let is_ready = |index: Option<usize>| {
            index.and_then(|at| files.get(at)).is_some_and(|file| !file.revents().is_empty())
        };
        Ok(Ready {
            socket: is_ready(Some(0)),
            cancelled: is_ready(cancel_at),
            streams: stream_at.map(is_ready),
        })
    }

    fn tell_to_end(&self) {
        // A supervisor that is gone has ended the step already.
        let _ = (&self.socket).write_all(&[0]);
    }

    /// Reads what is left in the pipes after the last process has ended.
    fn drain(&mut self, output: &mut dyn FnMut(OutputLine)) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        for stream in &mut self.streams {
            while let Some(pipe) = &stream.pipe {
                let rest = deadline.saturating_duration_since(Instant::now());
                let rest = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() };
                let mut files = [PollFd::new(pipe, PollFlags::IN)];
                match poll(&mut files, Some(&rest)) {
                    Ok(0) => break,
                    Ok(_) => stream.read(output),
                    Err(Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            stream.lines.finish(output);
        }
    }

    fn outcome(self, ended: &str) -> Result<End, RuntimeError> {
        let mut end = None;
        let mut finished = false;
        for report in self.reports {
            match report {
                Report::Ready => end = Some(End::SetUp),
                Report::Exited { code } => end = Some(End::Status(StepStatus::Exited(code))),
                Report::Signalled { signal } => end = Some(End::Status(StepStatus::Signalled(signal))),
                Report::Failed(failure) => return Ok(End::Failed(failure)),
                Report::UnknownUser { group, name } => return Err(UserError::Unknown { group, name }.into()),
                Report::InvalidUser { text } => return Err(UserError::Invalid { text }.into()),
                Report::NotStarted { program, reason, exit_code } => {
                    return Err(RuntimeError::NotStarted { program, reason, exit_code });
                }
                Report::Finished => finished = true,
            }
        }
        match end {
            Some(end) if finished => Ok(end),
            _ => Err(RuntimeError::SupervisorLost { detail: ended.to_owned() }),
        }
    }
}

#[derive(Debug)]
struct Ready {
    socket: bool,
    cancelled: bool,
    streams: [bool; 2],
}

impl Stream {
    /// Reads once; the pipe is known to be readable.
    fn read(&mut self, output: &mut dyn FnMut(OutputLine)) {
        let Some(pipe) = &self.pipe else { return };
        let mut buffer = vec![0; READ_SIZE];
        match rustix::io::read(pipe.as_fd(), &mut buffer[..]) {
            Ok(length) if length > 0 => self.lines.push(buffer.get(..length).unwrap_or_default(), output),
            Err(Errno::INTR) => {}
            _ => self.pipe = None,
        }
    }
}
