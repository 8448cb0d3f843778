//! `/proc` and `/sys` of a step: there, but without what lets a program change or spy on the machine.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::rootfs::at;
use crate::mounts::{Detached, open_in_root};
use crate::tier::Tier;
use crate::wire::{Failure, SetupStage};

/// Docker's list (moby/oci/defaults.go), and the kernel's own file systems that a bound `/sys` brings along.
const MASKED: [&str; 21] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/kmsg",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/fs/bpf",
    "/sys/fs/fuse",
    "/sys/fs/pstore",
    "/sys/fs/selinux",
    "/sys/kernel/config",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const HARMLESS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

const HARMLESS_READ_ONLY: MountAttrFlags = HARMLESS.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

/// Mounts `/proc`: the step's own processes in the first tier, the builder's view in the second.
pub(super) fn mount_proc(target: &OwnedFd, tier: Tier) -> Result<(), Failure> {
    let (mount, what) = match tier {
        Tier::FreshProc => (Detached::new("proc", &[], HARMLESS), "mounting a fresh proc"),
        Tier::OuterProc => (Detached::bind(Path::new("/proc"), true), "binding the outer /proc"),
    };
    mount.and_then(|mount| mount.attach(target)).map_err(at(SetupStage::Proc, what))?;
    Ok(())
}

/// Mounts `/sys`, read-only with everything below it.
///
/// A fresh one would need a network namespace of the step's own. A machine without `/sys` gives a step without.
pub(super) fn mount_sys(target: &OwnedFd) -> Result<(), Failure> {
    let mount = || {
        let mount = match Detached::bind(Path::new("/sys"), true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        mount.restrict(true, HARMLESS_READ_ONLY)?.attach(target).map(drop)
    };
    mount().map_err(at(SetupStage::Sys, "binding /sys read-only"))
}

/// Hides and protects kernel files below the mounted `/proc` and `/sys` of `root`.
pub(super) fn protect(root: &OwnedFd) -> Result<(), Failure> {
    for path in READ_ONLY {
        let protect = |target: OwnedFd| {
            Detached::bind_open(&target, true)?
                .restrict(true, MountAttrFlags::MOUNT_ATTR_RDONLY)?
                .attach(&target)
                .map(drop)
        };
        on_existing(root, path, protect).map_err(at(SetupStage::Mask, format!("making {path} read-only")))?;
    }
    for path in MASKED {
        let mask = |target: OwnedFd| {
            let cover = if FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Directory {
                Detached::new("tmpfs", &[("mode", "0755"), ("nr_inodes", "1")], HARMLESS_READ_ONLY)?
            } else {
                Detached::bind_open(open_in_root(root, Path::new("/dev/null"))?, false)?
            };
            cover.attach(target).map(drop)
        };
        on_existing(root, path, mask).map_err(at(SetupStage::Mask, format!("masking {path}")))?;
    }
    Ok(())
}

fn on_existing(root: &OwnedFd, path: &str, action: impl FnOnce(OwnedFd) -> io::Result<()>) -> io::Result<()> {
    match open_in_root(root, Path::new(path)) {
        Ok(target) => action(target),
        // Not built into this kernel, or hidden by the outer container already.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::ACCESS)) => Ok(()),
        Err(error) => Err(error),
    }
}
