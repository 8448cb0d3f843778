//! The system call filter of a step, in the spirit of Docker's default profile.
//!
//! Programs are stacked. The first lets known calls through and answers `ENOSYS` to every other, which is what C
//! libraries expect of a call the kernel does not have: they fall back (`clone3` to `clone`, for one). The second answers
//! `EPERM` to calls that exist but are refused, so that a program says "not permitted" and not "not implemented". Where
//! both speak the kernel takes the one installed last. A third speaks for 32-bit programs, whose calls are numbered
//! otherwise.

mod calls;
mod narrow;

use std::collections::BTreeMap;

use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::tier::Tier;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Flags of `clone` and `unshare` that make namespaces.
const NAMESPACE_FLAGS: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    /* CLONE_NEWTIME */ 0x80,
];

/// `personality` values that only choose how `uname` answers or which memory layout is emulated.
const HARMLESS_PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `kill(-1, ...)`, of which the kernel looks at 32 bits.
const EVERY_PROCESS: u64 = 0xffff_ffff;

/// The programs in the order they are to be installed.
///
/// Where the step shares its process namespace with the machine, a signal to "every process" would be just that and is
/// refused.
pub(crate) fn filters(tier: Tier) -> Result<[BpfProgram; 3], BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let errno = |errno: Errno| SeccompAction::Errno(errno.raw_os_error().unsigned_abs());
    let known = SeccompFilter::new(known_calls(), errno(Errno::NOSYS), SeccompAction::Allow, architecture)?;
    let refused =
        SeccompFilter::new(refused_calls(tier)?, SeccompAction::Allow, errno(Errno::PERM), architecture)?;
    let programs = [known.try_into()?, refused.try_into()?];
    let [known, refused] = programs.map(narrow::let_sister_pass);
    Ok([known, refused, narrow::filter(tier)])
}

/// No rule for a call means "always" to seccompiler.
fn always(call: i64) -> (i64, Vec<SeccompRule>) {
    (call, Vec::new())
}

fn known_calls() -> Rules {
    calls::allowed().chain(calls::refused()).map(always).collect()
}

fn refused_calls(tier: Tier) -> Result<Rules, BackendError> {
    let mut rules: Rules = calls::refused().map(always).collect();
    let mut namespaces = Vec::new();
    for flag in NAMESPACE_FLAGS {
        let flag = u64::from(flag.unsigned_abs());
        // The low byte of `clone`'s flags is the exit signal, where CLONE_NEWTIME has no meaning.
        if flag > 0xff {
            let set = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
            namespaces.push(SeccompRule::new(vec![set])?);
        }
    }
    rules.insert(libc::SYS_clone, namespaces);
    let other_personality: Result<Vec<_>, _> = HARMLESS_PERSONALITIES
        .iter()
        .map(|value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *value))
        .collect();
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(other_personality?)?]);
    let family = u64::from(libc::AF_VSOCK.unsigned_abs());
    // A virtual socket reaches the hypervisor, whatever the network namespace.
    let vsock = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![vsock])?]);
    if tier == Tier::OuterProc {
        let everybody = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, EVERY_PROCESS)?;
        rules.insert(libc::SYS_kill, vec![SeccompRule::new(vec![everybody])?]);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests;
