//! Messages between the builder, the step's supervisor and the leader inside the namespaces.
//!
//! Each message is a 4-byte little-endian length and that many bytes of JSON. Both ends are the same program, so
//! there is no version; the length is bounded so that a broken peer cannot make the reader allocate without end.

use std::fmt;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::init::stubs::Trace;
use crate::spec::StepSpec;
use crate::tier::Tier;

/// Heredoc scripts travel in the request as JSON numbers (up to four bytes a byte); 64 MiB hold 16 MiB of scripts,
/// far more than a Dockerfile can have.
const MAX_MESSAGE: usize = 64 << 20;

/// From the builder to the supervisor, once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) spec: StepSpec,
    pub(crate) tier: Tier,
    pub(crate) action: Action,
}

/// What to do once the root file system stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Run the command.
    Run,
    /// Nothing: the set-up itself was the question.
    SetUpOnly,
}

/// From the supervisor to the builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The set-up is complete; the command is about to run.
    Ready,
    /// The command ended by itself.
    Exited { code: i32 },
    /// The command was ended by a signal.
    Signalled { signal: i32 },
    /// The set-up failed.
    Failed(Failure),
    /// The command's user is not in the image.
    UnknownUser { group: bool, name: String },
    /// The user's text makes no sense.
    InvalidUser { text: String },
    /// `execve` refused.
    NotStarted { program: String, reason: String, exit_code: i32 },
    /// Every process of the step has ended and its traces are removed; the last message.
    Finished,
}

/// From the leader to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum LeaderMessage {
    /// What the set-up left in the upper directory, to be removed after the step.
    Traces(Vec<Trace>),
    /// To be passed on to the builder.
    Report(Report),
}

/// Why and where the set-up failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: SetupStage,
    /// The error number, if a system call failed.
    pub(crate) errno: Option<i32>,
    pub(crate) detail: String,
}

/// The parts of the set-up that can fail, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SetupStage {
    /// Creating the namespaces.
    Namespaces,
    /// Writing the user and group id maps.
    IdMap,
    /// Making the mounts of the new namespace private.
    Propagation,
    /// Mounting the overlay of the layers.
    Overlay,
    /// Creating a directory or file to mount on inside the root file system.
    MountPoint,
    /// Mounting `/proc`.
    Proc,
    /// Mounting `/dev` and what is in it.
    Dev,
    /// Mounting `/sys`.
    Sys,
    /// Masking paths or making them read-only.
    Mask,
    /// Laying hosts, resolv.conf or the step's files over the root file system.
    Files,
    /// Changing to the new root.
    Pivot,
    /// Taking on the step's user, capabilities and system call filter.
    Identity,
}

impl fmt::Display for SetupStage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Namespaces => "creating namespaces",
            Self::IdMap => "mapping user and group ids",
            Self::Propagation => "making mounts private",
            Self::Overlay => "mounting the overlay of layers",
            Self::MountPoint => "creating a mount point",
            Self::Proc => "mounting /proc",
            Self::Dev => "mounting /dev",
            Self::Sys => "mounting /sys",
            Self::Mask => "masking kernel files",
            Self::Files => "mounting files of the step",
            Self::Pivot => "changing to the new root",
            Self::Identity => "taking on the user of the step",
        })
    }
}

impl Failure {
    pub(crate) fn from_errno(
        stage: SetupStage,
        what: impl fmt::Display,
        errno: impl Into<io::Error>,
    ) -> Self {
        let errno = errno.into();
        Self { stage, errno: errno.raw_os_error(), detail: format!("{what}: {errno}") }
    }

    pub(crate) fn text(stage: SetupStage, detail: impl Into<String>) -> Self {
        Self { stage, errno: None, detail: detail.into() }
    }
}

pub(crate) fn send<M: Serialize>(mut to: impl Write, message: &M) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    if body.len() > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the step's files and arguments are too large",
        ));
    }
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)
}

/// The next message, or `None` when the other end is closed between two messages.
pub(crate) fn receive<M: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    if !read_exact_or_end(&mut from, &mut length)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    serde_json::from_slice(&body).map(Some).map_err(io::Error::other)
}

/// False when there was nothing at all to read.
fn read_exact_or_end(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let first = loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Ok(false);
    }
    from.read_exact(buffer.get_mut(first..).unwrap_or_default())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_the_end_is_clean() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Report::Exited { code: 3 }).unwrap();
        send(&mut pipe, &Report::Finished).unwrap();
        let mut reader = pipe.as_slice();
        assert_eq!(receive::<Report>(&mut reader).unwrap(), Some(Report::Exited { code: 3 }));
        assert_eq!(receive::<Report>(&mut reader).unwrap(), Some(Report::Finished));
        assert_eq!(receive::<Report>(&mut reader).unwrap(), None);
    }

    #[test]
    fn a_cut_or_oversized_message_is_an_error() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Report::Ready).unwrap();
        assert!(receive::<Report>(&pipe[..pipe.len() - 1]).is_err());
        assert!(receive::<Report>(&pipe[..2]).is_err());
        assert!(receive::<Report>(&u32::MAX.to_le_bytes()[..]).is_err());
    }
}
