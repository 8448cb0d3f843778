//! The system call filter of a step, in the spirit of Docker's default profile.
//!
//! Two programs are stacked. The first lets known calls through and answers `ENOSYS` to every other, which is what C
//! libraries expect of a call the kernel does not have: they fall back (`clone3` to `clone`, for one). The second answers
//! `EPERM` to calls that exist but are refused, so that a program says "not permitted" and not "not implemented". Where
//! both speak the kernel takes the one installed last.

mod calls;

use std::collections::BTreeMap;

use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

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

/// The programs in the order they are to be installed.
pub(crate) fn filters() -> Result<[BpfProgram; 2], BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let errno = |errno: Errno| SeccompAction::Errno(errno.raw_os_error().unsigned_abs());
    let known = SeccompFilter::new(known_calls(), errno(Errno::NOSYS), SeccompAction::Allow, architecture)?;
    let refused =
        SeccompFilter::new(refused_calls()?, SeccompAction::Allow, errno(Errno::PERM), architecture)?;
    Ok([known.try_into()?, refused.try_into()?])
}

/// No rule for a call means "always" to seccompiler.
fn always(call: i64) -> (i64, Vec<SeccompRule>) {
    (call, Vec::new())
}

fn known_calls() -> Rules {
    calls::allowed().chain(calls::refused()).map(always).collect()
}

fn refused_calls() -> Result<Rules, BackendError> {
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
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_programs_fit_the_kernel_on_both_architectures() {
        /// `BPF_MAXINSNS`.
        const MAX_INSTRUCTIONS: usize = 4096;
        for program in filters().unwrap() {
            assert!(program.len() < MAX_INSTRUCTIONS, "{} instructions", program.len());
        }
    }

    #[test]
    fn no_call_is_both_allowed_and_refused() {
        let allowed: BTreeSet<i64> = calls::allowed().collect();
        for call in calls::refused() {
            assert!(!allowed.contains(&call), "call {call} is on both lists");
        }
    }

    #[test]
    fn clone3_is_unknown_so_that_libraries_fall_back_to_clone() {
        assert!(!known_calls().contains_key(&libc::SYS_clone3));
        assert!(known_calls().contains_key(&libc::SYS_clone));
    }
}
