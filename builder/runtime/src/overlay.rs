//! Overlay mounts of any number of layers.
//!
//! Layers are handed to the kernel as `/proc/self/fd/N`, so neither the length of a path nor a `:` or `,` in it
//! matters. The new mount interface takes one layer at a time (Linux 6.5 and later); before that, one option text of
//! at most a page holds about 230 layers.
//!
//! The options make the upper directory plain to read: whiteouts are 0:0 character devices, opaque directories carry
//! `user.overlay.opaque` whoever mounts, and no renamed directory or metadata-only copy refers to a lower layer.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsopen,
};

use crate::mounts::{Detached, open_directory};

/// The kernel copies one page of mount options.
const MAX_OPTION_TEXT: usize = 4095;

/// The kernel's log of one mount attempt is a few short lines.
const MAX_KERNEL_LOG: usize = 4096;

/// `redirect_dir=nofollow` rather than `off`: the only value `userxattr` allows, and neither makes nor follows one.
const OPTIONS: [(&str, &str); 3] = [("index", "off"), ("redirect_dir", "nofollow"), ("metacopy", "off")];

/// Why an overlay could not be mounted.
#[derive(Debug)]
pub(crate) struct OverlayError {
    /// What was tried, with the kernel's own words if it left any.
    pub(crate) what: String,
    /// The answer.
    pub(crate) source: io::Error,
}

impl OverlayError {
    fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { what: what.into(), source: source.into() }
    }
}

/// Layers of one overlay, opened.
#[derive(Debug)]
pub(crate) struct Layers {
    lower: Vec<OwnedFd>,
    writable: Option<Writable>,
}

#[derive(Debug)]
struct Writable {
    upper: OwnedFd,
    work: OwnedFd,
}

impl Layers {
    /// Opens read-only layers, uppermost first, and optionally an upper and a work directory.
    pub(crate) fn open(lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> Result<Self, OverlayError> {
        let open = |path: &Path| {
            open_directory(path)
                .map_err(|error| OverlayError::new(format!("opening layer {}", path.display()), error))
        };
        let lower = lower.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
        let writable = match writable {
            Some((upper, work)) => Some(Writable { upper: open(upper)?, work: open(work)? }),
            None => None,
        };
        Ok(Self { lower, writable })
    }

    /// Mounts the layers on the directory `target` and returns the root of the mount.
    ///
    /// Device files in the layers cannot be opened (`nodev`); set-user-id programs work.
    pub(crate) fn mount(&self, target: &Path) -> Result<OwnedFd, OverlayError> {
        match self.mount_detached() {
            Ok(mount) => {
                let directory = open_directory(target)
                    .map_err(|error| OverlayError::new(format!("opening {}", target.display()), error))?;
                mount.attach(directory).map_err(|error| {
                    OverlayError::new(format!("attaching the overlay to {}", target.display()), error)
                })
            }
            Err(Refusal::NoLayerOption) => self.mount_by_option_text(target),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    fn mount_detached(&self) -> Result<Detached, Refusal> {
        let with_volatile = self.configure(true);
        let context = match with_volatile {
            // The flag came with Linux 5.10 but some file systems still refuse it.
            Err(Refusal::Error(_)) if self.writable.is_some() => self.configure(false)?,
            other => other?,
        };
        Detached::from_context(&context, self.attributes())
            .map_err(|error| Refusal::Error(OverlayError::new("mounting the overlay", error)))
    }

    fn configure(&self, volatile: bool) -> Result<OwnedFd, Refusal> {
        let refused =
            |error: Errno| Refusal::Error(OverlayError::new("opening the overlay file system", error));
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused)?;
        let set = |key: &str, value: &str| {
            fsconfig_set_string(context.as_fd(), key, value).map_err(|error| {
                let what = format!("setting {key} of the overlay{}", kernel_log(context.as_fd()));
                Refusal::Error(OverlayError::new(what, error))
            })
        };
        set("source", "overlay")?;
        for layer in &self.lower {
            // Before Linux 6.5 the option is unknown: EINVAL on the first layer, before anything else can be wrong.
            fsconfig_set_string(context.as_fd(), "lowerdir+", descriptor_path(layer)).map_err(|error| {
                match error {
                    Errno::INVAL => Refusal::NoLayerOption,
                    error => Refusal::Error(OverlayError::new("adding a layer to the overlay", error)),
                }
            })?;
        }
        if let Some(writable) = &self.writable {
            set("upperdir", &descriptor_path(&writable.upper))?;
            set("workdir", &descriptor_path(&writable.work))?;
        }
        for (key, value) in OPTIONS {
            set(key, value)?;
        }
        let set_flag = |key: &str| {
            fsconfig_set_flag(context.as_fd(), key).map_err(|error| {
                let what = format!("setting {key} of the overlay{}", kernel_log(context.as_fd()));
                Refusal::Error(OverlayError::new(what, error))
            })
        };
        set_flag("userxattr")?;
        if volatile && self.writable.is_some() {
            set_flag("volatile")?;
        }
        fsconfig_create(context.as_fd()).map_err(|error| {
            let what =
                format!("mounting {} layers as an overlay{}", self.lower.len(), kernel_log(context.as_fd()));
            Refusal::Error(OverlayError::new(what, error))
        })?;
        Ok(context)
    }

    fn mount_by_option_text(&self, target: &Path) -> Result<OwnedFd, OverlayError> {
        let text = self.option_text();
        if text.len() > MAX_OPTION_TEXT {
            let what = format!("{} layers need Linux 6.5 or later; join some layers", self.lower.len());
            return Err(OverlayError::new(what, Errno::TOOBIG));
        }
        let mut flags = MountFlags::NODEV;
        flags.set(MountFlags::RDONLY, self.writable.is_none());
        let mount = |text: &str| {
            let text = std::ffi::CString::new(text).map_err(|_| Errno::INVAL)?;
            rustix::mount::mount("overlay", target, "overlay", flags, text.as_c_str())
        };
        let volatile = if self.writable.is_some() { ",volatile" } else { "" };
        mount(&format!("{text}{volatile}")).or_else(|_| mount(&text)).map_err(|error| {
            OverlayError::new(
                format!("mounting {} layers as an overlay by option text", self.lower.len()),
                error,
            )
        })?;
        open_directory(target)
            .map_err(|error| OverlayError::new(format!("opening {}", target.display()), error))
    }

    fn option_text(&self) -> String {
        let lower: Vec<String> = self.lower.iter().map(descriptor_path).collect();
        let mut text = format!("userxattr,lowerdir={}", lower.join(":"));
        if let Some(writable) = &self.writable {
            let (upper, work) = (descriptor_path(&writable.upper), descriptor_path(&writable.work));
            let _ = write!(text, ",upperdir={upper},workdir={work}");
        }
        for (key, value) in OPTIONS {
            let _ = write!(text, ",{key}={value}");
        }
        text
    }

    fn attributes(&self) -> MountAttrFlags {
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
        attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.writable.is_none());
        attributes
    }
}

enum Refusal {
    /// The kernel does not know `lowerdir+`.
    NoLayerOption,
    Error(OverlayError),
}

fn descriptor_path(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// What the kernel said about the last attempt, as `: text` or nothing.
fn kernel_log(context: BorrowedFd<'_>) -> String {
    let Ok(copy) = context.try_clone_to_owned() else { return String::new() };
    let mut file = std::fs::File::from(copy);
    let mut log = String::new();
    let mut line = [0; 256];
    // One read gives one line; the log ends with ENODATA.
    while let Ok(length) = file.read(&mut line) {
        if length == 0 || log.len() + length > MAX_KERNEL_LOG {
            break;
        }
        let text = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
        let _ = write!(log, ": {}", text.trim());
    }
    log
}
