//! From a refused system call to the setting that mends it.
//!
//! The kernel answers "operation not permitted" for a dozen reasons. What is asked here are the known causes, in the
//! order of how surely they can be told: kernel settings are read, the rest is named.

use std::fs;

use rustix::io::Errno;

use crate::error::RuntimeError;
use crate::wire::{Failure, SetupStage};

/// An [`RuntimeError::Unavailable`] with advice that fits the failure and this machine.
pub(crate) fn unavailable(failure: &Failure) -> RuntimeError {
    RuntimeError::Unavailable {
        stage: failure.stage,
        detail: failure.detail.clone(),
        advice: advise(failure, &Machine::read()),
    }
}

/// What can be read about this machine's limits on namespaces.
#[derive(Debug, Default)]
struct Machine {
    max_user_namespaces: Option<u64>,
    apparmor_restricts_user_namespaces: bool,
    unprivileged_user_namespaces_off: bool,
    seccomp_filter: bool,
    apparmor_profile: Option<String>,
}

impl Machine {
    fn read() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let profile = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
        let profile = profile.trim_matches(['\0', '\n', ' ']);
        Self {
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            apparmor_restricts_user_namespaces: number(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            ) == Some(1),
            unprivileged_user_namespaces_off: number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
            seccomp_filter: status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2')),
            apparmor_profile: (profile.ends_with(')') && !profile.starts_with("unconfined"))
                .then(|| profile.to_owned()),
        }
    }
}

fn advise(failure: &Failure, machine: &Machine) -> String {
    let errno = failure.errno.map(Errno::from_raw_os_error);
    match failure.stage {
        SetupStage::Namespaces => advise_on_namespaces(errno, machine),
        SetupStage::IdMap if machine.apparmor_restricts_user_namespaces => {
            "set kernel.apparmor_restrict_unprivileged_userns=0 or give slipway an AppArmor profile with userns".to_owned()
        }
        SetupStage::IdMap => {
            "the builder must hold CAP_SETUID and CAP_SETGID, or have ranges in /etc/subuid and /etc/subgid".to_owned()
        }
        SetupStage::Overlay if errno == Some(Errno::INVAL) || errno == Some(Errno::NODEV) => {
            "overlay in a user namespace needs Linux 5.11, and the builder's data directory must be on ext4, xfs, btrfs or tmpfs, not on another overlay: use a volume".to_owned()
        }
        _ => advise_on_mounts(machine),
    }
}

fn advise_on_namespaces(errno: Option<Errno>, machine: &Machine) -> String {
    if machine.max_user_namespaces == Some(0) {
        return "user.max_user_namespaces is 0: set it to 15000 or more with sysctl".to_owned();
    }
    if errno == Some(Errno::NOSPC) || errno == Some(Errno::USERS) {
        return "too many namespaces exist or they are nested too deep: raise user.max_user_namespaces, user.max_pid_namespaces and user.max_mnt_namespaces".to_owned();
    }
    if machine.unprivileged_user_namespaces_off {
        return "set kernel.unprivileged_userns_clone=1 with sysctl".to_owned();
    }
    if machine.apparmor_restricts_user_namespaces {
        return "set kernel.apparmor_restrict_unprivileged_userns=0 or give slipway an AppArmor profile with userns"
            .to_owned();
    }
    advise_on_mounts(machine)
}

fn advise_on_mounts(machine: &Machine) -> String {
    let mut mend = Vec::new();
    if machine.seccomp_filter {
        mend.push(
            "this container's seccomp profile forbids it: use --security-opt seccomp=unconfined (Docker executor: security_opt = [\"seccomp:unconfined\"]; Kubernetes: seccompProfile type Unconfined)"
                .to_owned(),
        );
    }
    if let Some(profile) = &machine.apparmor_profile {
        mend.push(format!(
            "the AppArmor profile {profile} may forbid it: use --security-opt apparmor=unconfined (Kubernetes: appArmorProfile type Unconfined)"
        ));
    }
    if mend.is_empty() {
        mend.push(
            "the kernel or a security module refuses it; in a container run it with seccomp=unconfined and apparmor=unconfined, on a machine allow unprivileged user namespaces"
                .to_owned(),
        );
    }
    mend.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(stage: SetupStage, errno: Errno) -> Failure {
        Failure::from_errno(stage, "unshare", errno)
    }

    #[test]
    fn each_known_cause_names_its_own_setting() {
        let cases = [
            (Machine { max_user_namespaces: Some(0), ..Machine::default() }, "user.max_user_namespaces"),
            (
                Machine { unprivileged_user_namespaces_off: true, ..Machine::default() },
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                Machine { apparmor_restricts_user_namespaces: true, ..Machine::default() },
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (Machine { seccomp_filter: true, ..Machine::default() }, "seccomp=unconfined"),
            (
                Machine { apparmor_profile: Some("docker-default (enforce)".into()), ..Machine::default() },
                "docker-default (enforce) may forbid it: use --security-opt apparmor=unconfined",
            ),
        ];
        for (machine, expected) in cases {
            let text = advise(&failure(SetupStage::Namespaces, Errno::PERM), &machine);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn an_overlay_on_overlay_is_told_apart_from_a_refused_mount() {
        let text = advise(&failure(SetupStage::Overlay, Errno::INVAL), &Machine::default());
        assert!(text.contains("volume"), "{text}");
        let refused = Machine { seccomp_filter: true, ..Machine::default() };
        let text = advise(&failure(SetupStage::Overlay, Errno::PERM), &refused);
        assert!(text.contains("seccomp=unconfined"), "{text}");
    }
}
