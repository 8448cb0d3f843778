//! The step's `/dev`: the few devices every program expects, bound from the host because a user namespace cannot make
//! device files, terminals and shared memory of its own, and nothing else of the machine.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, mkdirat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::rootfs::{at, write_dev_file, write_file};
use crate::mounts::{Detached, open_in_root};
use crate::namespace::IdMap;
use crate::spec::StepFile;
use crate::wire::{Failure, SetupStage};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Group `tty` of every Linux distribution; terminals belong to it so that `write` and `mesg` work.
const TTY_GROUP: u32 = 5;

/// Docker's sizes: `/dev` itself holds no data, `/dev/shm` what programs share in memory.
const DEV_SIZE: &str = "65536k";
const SHARED_MEMORY_SIZE: &str = "65536k";

/// Mounts `/dev` on `target` with `files` in it.
pub(super) fn mount_dev<'a>(
    target: &OwnedFd,
    files: impl Iterator<Item = &'a StepFile>,
) -> Result<(), Failure> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let dev = Detached::new("tmpfs", &[("mode", "0755"), ("size", DEV_SIZE)], attributes)
        .and_then(|mount| mount.attach(target))
        .map_err(at(SetupStage::Dev, "mounting a tmpfs"))?;
    for device in DEVICES {
        bind_device(&dev, device).map_err(at(SetupStage::Dev, format!("binding /dev/{device}")))?;
    }
    for (to, name) in LINKS {
        symlinkat(to, &dev, name)
            .map_err(|error| at(SetupStage::Dev, format!("linking /dev/{name}"))(error.into()))?;
    }
    mount_terminals(&dev).map_err(at(SetupStage::Dev, "mounting /dev/pts"))?;
    mount_shared_memory(&dev).map_err(at(SetupStage::Dev, "mounting /dev/shm"))?;
    // Message queues are an option of the kernel few programs need.
    let _ = mount_at(&dev, "mqueue", 0o755, "mqueue", &[], attributes | MountAttrFlags::MOUNT_ATTR_NOEXEC);
    for file in files {
        write_dev_file(&dev, file)
            .map_err(at(SetupStage::Files, format!("writing {}", file.path.display())))?;
    }
    Ok(())
}

fn bind_device(dev: &OwnedFd, name: &str) -> io::Result<()> {
    let source = match Detached::bind(&Path::new("/dev").join(name), false) {
        // A container may lack /dev/tty; without /dev/null nothing works.
        Err(error) if error.kind() == io::ErrorKind::NotFound && name != "null" => return Ok(()),
        other => other?,
    };
    write_file(dev, name, b"", 0o666)?;
    source.attach(open_in_root(dev, Path::new(name))?)?;
    Ok(())
}

fn mount_terminals(dev: &OwnedFd) -> io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let group = TTY_GROUP.to_string();
    let mut options = vec![("ptmxmode", "0666"), ("mode", "0620")];
    if IdMap::current().is_ok_and(|map| map.maps_group(TTY_GROUP)) {
        options.push(("gid", &group));
    }
    mount_at(dev, "pts", 0o755, "devpts", &options, attributes)
}

fn mount_shared_memory(dev: &OwnedFd) -> io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_at(dev, "shm", 0o1777, "tmpfs", &[("mode", "1777"), ("size", SHARED_MEMORY_SIZE)], attributes)
}

fn mount_at(
    dev: &OwnedFd,
    name: &str,
    mode: u32,
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<()> {
    let mount = Detached::new(kind, options, attributes)?;
    match mkdirat(dev, name, Mode::from_raw_mode(mode)) {
        Err(error) if error != Errno::EXIST => return Err(error.into()),
        _ => {}
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    mount.attach(rustix::fs::openat(dev.as_fd(), name, flags, Mode::empty())?)?;
    Ok(())
}
