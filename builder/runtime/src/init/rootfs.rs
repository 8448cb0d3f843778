//! Builds the step's root file system in the leader's mount namespace and makes it `/`.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::stubs::{MountPoints, PointKind, Trace};
use super::{devices, kernel_files};
use crate::mounts::{Detached, open_directory, open_in_root};
use crate::overlay::Layers;
use crate::spec::{RootFs, StepFile, StepSpec};
use crate::tier::Tier;
use crate::wire::{Failure, SetupStage};

/// Turns an error of one stage into its failure.
pub(super) fn at(stage: SetupStage, what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    let what = what.into();
    move |error| Failure::from_errno(stage, what, error)
}

/// Everything from private mounts to the new root. What was left in the upper directory is in `traces` even on failure.
pub(super) fn set_up(spec: &StepSpec, tier: Tier, traces: &mut Vec<Trace>) -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(|error| at(SetupStage::Propagation, "mount --make-rprivate /")(error.into()))?;
    let upper = open_directory(&spec.root.upper)
        .map_err(at(SetupStage::Overlay, format!("opening {}", spec.root.upper.display())))?;
    let root = mount_layers(&spec.root)?;
    let mut points = MountPoints { root: &root, upper: &upper, traces };

    let proc = points.directory("/proc")?;
    let dev = points.directory("/dev")?;
    let sys = points.directory("/sys")?;
    let staged = StagedFiles::write(spec)?;
    let places = staged.make_mount_points(&mut points)?;

    kernel_files::mount_proc(&proc, tier)?;
    let dev_files = spec.files.iter().filter(|file| file.path.starts_with("/dev"));
    devices::mount_dev(&dev, dev_files)?;
    kernel_files::mount_sys(&sys)?;
    kernel_files::protect(&root)?;
    staged.mount(&root, &places)?;

    rustix::system::sethostname(spec.hostname.as_bytes())
        .map_err(|error| at(SetupStage::Identity, "setting the host name")(error.into()))?;
    pivot_into(&root)
}

/// Mounts the layers over the upper directory: in this namespace nobody needs it under its own name any more, and so no
/// further directory is needed on the disk.
fn mount_layers(root: &RootFs) -> Result<OwnedFd, Failure> {
    if root.lower.is_empty() {
        // An overlay wants a lower layer; with none there is nothing to merge or to hide.
        let mount = || {
            let target = open_directory(&root.upper)?;
            Detached::bind_open(&target, false)?
                .restrict(false, MountAttrFlags::MOUNT_ATTR_NODEV)?
                .attach(&target)
        };
        return mount().map_err(at(SetupStage::Overlay, "binding the upper directory"));
    }
    Layers::open(&root.lower, Some((&root.upper, &root.work)))
        .and_then(|layers| layers.mount(&root.upper))
        .map_err(|error| Failure::from_errno(SetupStage::Overlay, error.what, error.source))
}

impl MountPoints<'_> {
    /// A directory to mount on, opened.
    fn directory(&mut self, path: &str) -> Result<OwnedFd, Failure> {
        let place = self.place(Path::new(path), PointKind::Directory)?;
        open_in_root(self.root, &place).map_err(at(SetupStage::MountPoint, format!("opening {path}")))
    }

    fn place(&mut self, path: &Path, kind: PointKind) -> Result<PathBuf, Failure> {
        let what = format!("{} of the root file system", path.display());
        self.ensure(path, kind).map_err(at(SetupStage::MountPoint, what))
    }
}

/// Files laid over the root file system, kept on a file system in memory.
struct StagedFiles {
    memory: OwnedFd,
    /// Name in memory and path inside the root file system.
    files: Vec<(String, PathBuf)>,
}

impl StagedFiles {
    fn write(spec: &StepSpec) -> Result<Self, Failure> {
        let stage = || -> io::Result<Self> {
            let memory = Detached::new(
                "tmpfs",
                &[("mode", "0755")],
                MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
            )?;
            // Bind mounts need their source attached somewhere; the work directory's name is free in this namespace.
            let memory = memory.attach(open_directory(&spec.root.work)?)?;
            let mut staged = Self { memory, files: Vec::new() };
            staged.add("/etc/hosts".into(), hosts(spec).as_bytes(), 0o644)?;
            let name_servers = fs::read("/etc/resolv.conf").unwrap_or_default();
            staged.add("/etc/resolv.conf".into(), &name_servers, 0o644)?;
            for file in spec.files.iter().filter(|file| !file.path.starts_with("/dev")) {
                staged.add(file.path.clone(), &file.content, file.mode)?;
            }
            Ok(staged)
        };
        stage().map_err(at(SetupStage::Files, "writing files of the step to memory"))
    }

    fn add(&mut self, path: PathBuf, content: &[u8], mode: u32) -> io::Result<()> {
        let name = self.files.len().to_string();
        write_file(&self.memory, &name, content, mode)?;
        self.files.push((name, path));
        Ok(())
    }

    fn make_mount_points(&self, points: &mut MountPoints<'_>) -> Result<Vec<PathBuf>, Failure> {
        self.files.iter().map(|(_, path)| points.place(path, PointKind::File)).collect()
    }

    fn mount(&self, root: &OwnedFd, places: &[PathBuf]) -> Result<(), Failure> {
        for ((name, path), place) in self.files.iter().zip(places) {
            let mount = || {
                Detached::bind_open(open_in_root(&self.memory, Path::new(name))?, false)?
                    .restrict(false, MountAttrFlags::MOUNT_ATTR_RDONLY)?
                    .attach(open_in_root(root, place)?)
            };
            mount().map_err(at(SetupStage::Files, format!("mounting {}", path.display())))?;
        }
        Ok(())
    }
}

/// Creates a file with exactly these permission bits.
pub(super) fn write_file(directory: impl AsFd, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(directory.as_fd(), name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = fs::File::from(file);
    file.write_all(content)?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}

fn hosts(spec: &StepSpec) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", spec.hostname);
    for (name, address) in &spec.extra_hosts {
        let address: &IpAddr = address;
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// The old root is stacked under the new one and taken away at once, so nothing outside is reachable.
fn pivot_into(root: &OwnedFd) -> Result<(), Failure> {
    let pivot = || -> rustix::io::Result<()> {
        rustix::process::fchdir(root)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    };
    pivot().map_err(|error| at(SetupStage::Pivot, "pivot_root")(error.into()))
}

/// Creates the directories on the way to a file below an attached `/dev`.
pub(super) fn write_dev_file(dev: &OwnedFd, file: &StepFile) -> io::Result<()> {
    let relative = file.path.strip_prefix("/dev").unwrap_or(&file.path);
    let mut directory = dev.as_fd().try_clone_to_owned()?;
    for name in relative.parent().into_iter().flat_map(Path::components) {
        match rustix::fs::mkdirat(&directory, name.as_os_str(), Mode::from_raw_mode(0o755)) {
            Err(error) if error != rustix::io::Errno::EXIST => return Err(error.into()),
            _ => {}
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        directory = rustix::fs::openat(&directory, name.as_os_str(), flags, Mode::empty())?;
    }
    let name = relative.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    write_file(directory, name, &file.content, file.mode)
}
