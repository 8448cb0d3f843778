//! Entering the namespace the whole builder works in, once, before any thread exists.
//!
//! Guarantee: afterwards the process is root over every id it can own, and no mount it makes is seen outside or
//! outlives it. What that takes depends on who starts the builder:
//!
//! - root that may mount: a mount namespace of its own, nothing else;
//! - root without `CAP_SYS_ADMIN` (a container's default): a user namespace over all ids, written directly;
//! - an ordinary user: a user namespace over the own id and the subordinate ids, by `newuidmap` and `newgidmap`;
//! - without either, a user namespace with one id, with a note on what will not work.
//!
//! The process itself moves; it is not started anew, so its process id, exit code and signals stay what a shell
//! expects. The id maps must be written by a process outside of the new user namespace: a child forked before.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::sync::OnceLock;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, WaitOptions, getegid, geteuid, getpid, waitpid};
use rustix::thread::{CapabilitySet, Gid, Uid, UnshareFlags};

use super::id_map::{IdMap, IdRange};
use super::subordinate;
use crate::advice;
use crate::error::RuntimeError;
use crate::sys;
use crate::user::passwd;
use crate::wire::{Failure, SetupStage};

/// What the builder runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Privilege {
    /// Root that may mount; only the mounts are private.
    Root,
    /// Root of a container that may not mount; a user namespace maps all its ids.
    ContainerRoot,
    /// An ordinary user with subordinate ids.
    User,
    /// An ordinary user without usable subordinate ids: every file belongs to one user.
    SingleId,
}

/// The namespace the process is in after [`enter_builder_namespace`].
#[derive(Debug, Clone)]
pub struct BuilderNamespace {
    /// Who started the builder, as far as it matters.
    pub privilege: Privilege,
    /// The ids that exist.
    pub id_map: IdMap,
    /// What will not work, and how to mend it; empty when everything works.
    pub notes: Vec<String>,
}

static ENTERED: OnceLock<BuilderNamespace> = OnceLock::new();

/// The namespace entered by this process, if any.
pub(crate) fn entered() -> Option<&'static BuilderNamespace> {
    ENTERED.get()
}

/// Moves the process into the builder's user and mount namespace. Call it first thing in `main` of every command that
/// builds; a second call returns the same answer.
///
/// # Errors
/// [`RuntimeError::Threads`] if threads exist already; [`RuntimeError::Unavailable`] with the setting to change when
/// the machine refuses.
pub fn enter_builder_namespace() -> Result<&'static BuilderNamespace, RuntimeError> {
    if let Some(namespace) = ENTERED.get() {
        return Ok(namespace);
    }
    let count = sys::thread_count().map_err(|error| RuntimeError::system("counting threads", error))?;
    if count != 1 {
        return Err(RuntimeError::Threads { count });
    }
    let namespace = enter()?;
    Ok(ENTERED.get_or_init(|| namespace))
}

fn enter() -> Result<BuilderNamespace, RuntimeError> {
    let root = geteuid().is_root();
    if root && holds(CapabilitySet::SYS_ADMIN) && sys::unshare(UnshareFlags::NEWNS).is_ok() {
        keep_mounts_private()?;
        return Ok(BuilderNamespace {
            privilege: Privilege::Root,
            id_map: IdMap::current()?,
            notes: Vec::new(),
        });
    }
    let plan = MapPlan::choose(root)?;
    let notes = plan.enter_user_namespace()?;
    let privilege = if root {
        Privilege::ContainerRoot
    } else if notes.is_empty() {
        Privilege::User
    } else {
        Privilege::SingleId
    };
    become_root_inside()?;
    keep_mounts_private()?;
    Ok(BuilderNamespace { privilege, id_map: IdMap::current()?, notes })
}

fn holds(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Mounts made outside still arrive (so that nothing unmounted there is held busy here), ours do not leave.
fn keep_mounts_private() -> Result<(), RuntimeError> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM).map_err(|error| {
        advice::unavailable(&Failure::from_errno(SetupStage::Propagation, "mount --make-rslave /", error))
    })
}

fn become_root_inside() -> Result<(), RuntimeError> {
    let failed = |error| RuntimeError::system("becoming root in the builder's user namespace", error);
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).map_err(failed)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).map_err(failed)?;
    // Denied for a map of one id; the groups then stay the user's own, which is all they can be.
    let _ = rustix::thread::set_thread_groups(&[Gid::ROOT]);
    Ok(())
}

/// How the id map will be written.
#[derive(Debug)]
enum MapPlan {
    /// By the helper, with the capabilities it holds.
    Direct(IdMap),
    /// By `newuidmap` and `newgidmap`, started by the helper.
    Tools(IdMap),
    /// Only the own id.
    Single { map: IdMap, why: String },
}

impl MapPlan {
    fn choose(root: bool) -> Result<Self, RuntimeError> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        if root && holds(CapabilitySet::SETUID) && holds(CapabilitySet::SETGID) {
            return Ok(Self::Direct(IdMap::current()?.nested_identity()));
        }
        let single = |why: String| Self::Single { map: IdMap::single(uid, gid), why };
        let name = passwd::name_of_host_user(uid);
        let users = subordinate::ranges_with_own_id(Path::new("/etc/subuid"), name.as_deref(), uid, uid);
        let groups = subordinate::ranges_with_own_id(Path::new("/etc/subgid"), name.as_deref(), uid, gid);
        let shown = name.unwrap_or_else(|| uid.to_string());
        if users.is_empty() || groups.is_empty() {
            return Ok(single(format!(
                "/etc/subuid and /etc/subgid have no range for {shown} (mend: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {shown})"
            )));
        }
        if rustix::thread::no_new_privs().unwrap_or(false) {
            return Ok(single(
                "no_new_privs is set, so newuidmap cannot work (mend: allow privilege escalation for this container, allowPrivilegeEscalation: true)".to_owned(),
            ));
        }
        Ok(Self::Tools(IdMap { users, groups }))
    }

    /// Unshares and has the map written. Returns notes on what will not work.
    fn enter_user_namespace(self) -> Result<Vec<String>, RuntimeError> {
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| RuntimeError::system("making a socket pair", error))?;
        let builder = getpid();
        let forked = sys::fork_into(UnshareFlags::empty())
            .map_err(|error| RuntimeError::system("starting the id map helper", error))?;
        let Some(helper) = forked else {
            drop(ours);
            exit(self.write_from_outside(builder, theirs));
        };
        drop(theirs);
        let unshared = sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS);
        let answer = unshared.as_ref().map_or(Ok(String::new()), |()| ask(ours));
        let _ = waitpid(Some(helper), WaitOptions::empty());
        unshared.map_err(|error| {
            let what = "unshare of a user and a mount namespace";
            advice::unavailable(&Failure::from_errno(SetupStage::Namespaces, what, error))
        })?;
        let answer = answer.map_err(|error| RuntimeError::system("asking the id map helper", error))?;
        match (self, answer.as_str()) {
            (Self::Single { map, why }, _) => single_id(&map, &why),
            (_, "") => Ok(Vec::new()),
            (Self::Direct(_), failure) => {
                let failure = Failure::text(SetupStage::IdMap, failure);
                Err(advice::unavailable(&failure))
            }
            (Self::Tools(map), failure) => {
                let first = |ranges: &[IdRange]| ranges.first().map_or(0, |range| range.outside);
                single_id(&IdMap::single(first(&map.users), first(&map.groups)), failure)
            }
        }
    }

    /// The helper: waits until the builder has unshared, writes, answers with an empty text or the failure.
    fn write_from_outside(&self, builder: Pid, mut builder_socket: UnixStream) -> i32 {
        let mut go = [0];
        if builder_socket.read_exact(&mut go).is_err() {
            return 1;
        }
        let answer = match self {
            Self::Direct(map) => {
                map.write(builder).err().map(|error| format!("writing /proc/PID/uid_map: {error}"))
            }
            Self::Tools(map) => run_tool("newuidmap", builder, &map.users)
                .and_then(|()| run_tool("newgidmap", builder, &map.groups))
                .err(),
            Self::Single { .. } => None,
        };
        let _ = builder_socket.write_all(answer.unwrap_or_default().as_bytes());
        0
    }
}

/// Tells the helper to go on and reads its answer to the end.
fn ask(mut helper: UnixStream) -> io::Result<String> {
    /// A helper's answer is one line with a tool's message.
    const MAX_ANSWER: u64 = 4096;
    helper.write_all(&[1])?;
    let mut answer = Vec::new();
    helper.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn run_tool(tool: &str, builder: Pid, ranges: &[IdRange]) -> Result<(), String> {
    let mut command = Command::new(tool);
    command.arg(builder.as_raw_nonzero().to_string()).stdin(Stdio::null());
    for range in ranges {
        command.args([range.inside, range.outside, range.length].map(|number| number.to_string()));
    }
    let output = command.output().map_err(|error| {
        format!("{tool} could not be started: {error} (mend: install the package uidmap, or shadow-utils)")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{tool} failed: {} (mend: {tool} must be set-user-id root or hold its capability)",
        message.trim()
    ))
}

/// Writes a map of one id from inside, which the kernel allows once setgroups is denied.
fn single_id(map: &IdMap, why: &str) -> Result<Vec<String>, RuntimeError> {
    fs::write("/proc/self/setgroups", "deny").and_then(|()| map.write(getpid())).map_err(|error| {
        advice::unavailable(&Failure::from_errno(SetupStage::IdMap, "mapping the own user id", error))
    })?;
    Ok(vec![format!(
        "only one user id is usable: files of other owners in images cannot be unpacked and steps cannot change user, because {why}"
    )])
}
