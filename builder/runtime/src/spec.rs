//! The description of one build step: what to run, as whom, and in which root file system.
//!
//! A [`StepSpec`] that passes [`StepSpec::validate`] has absolute paths, a command, and no byte that a C string
//! cannot hold, so the code behind it need not look again.

use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::RuntimeError;

/// The host name a step sees, the same as BuildKit's so that output depending on it agrees.
pub const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// What the overlay file system of the kernel takes at most (`OVL_MAX_STACK`, fs/overlayfs/params.h).
pub const MAX_LOWER_LAYERS: usize = 500;

/// The kernel's limit on a host name (`__NEW_UTS_LEN`).
const MAX_HOSTNAME: usize = 64;

/// One build step.
#[derive(Clone, Serialize, Deserialize)]
pub struct StepSpec {
    /// The root file system the command sees and changes.
    pub root: RootFs,
    /// Program and arguments. The program is searched in `PATH` of `env` inside the root file system.
    pub argv: Vec<String>,
    /// Environment in order; of equal names the last one counts. `PATH` and `HOME` are added if missing.
    pub env: Vec<(String, String)>,
    /// Working directory inside the root file system; it must exist.
    pub cwd: PathBuf,
    /// `name`, `uid`, `name:group` or `uid:gid` as in USER; empty means root.
    pub user: String,
    /// Host name inside the step.
    pub hostname: String,
    /// Additional lines of `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Which network the step uses.
    pub network: Network,
    /// Files laid over the root file system for this step only, for instance scripts of heredocs.
    pub files: Vec<StepFile>,
    /// The step is ended when it runs longer than this; `None` means no limit.
    pub time_limit: Option<Duration>,
}

/// Overlay layers that make up a root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootFs {
    /// Read-only layers, **uppermost first**. May be empty for `FROM scratch`.
    pub lower: Vec<PathBuf>,
    /// Directory that receives the step's changes, on a file system that can be an overlay's upper
    /// (ext4, xfs, btrfs, tmpfs; not overlay itself).
    pub upper: PathBuf,
    /// Empty directory on the same file system as `upper`; empty again when the step has ended.
    pub work: PathBuf,
}

/// Network of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Network {
    /// The network of the builder itself.
    #[default]
    Host,
}

/// A file that exists only while the step runs and leaves no trace in the layer.
#[derive(Clone, Serialize, Deserialize)]
pub struct StepFile {
    /// Absolute path inside the root file system. Paths below `/dev` cost nothing; others are mounted over a stub.
    pub path: PathBuf,
    /// Content.
    pub content: Vec<u8>,
    /// Permission bits, for instance `0o755`.
    pub mode: u32,
}

impl StepSpec {
    /// A step that runs `argv` as root in `/` of `root` with no environment, on the host's network.
    pub fn new(root: RootFs, argv: Vec<String>) -> Self {
        Self {
            root,
            argv,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: String::new(),
            hostname: DEFAULT_HOSTNAME.to_owned(),
            extra_hosts: Vec::new(),
            network: Network::Host,
            files: Vec::new(),
            time_limit: None,
        }
    }

    /// Checks everything that can be checked without touching the file system.
    ///
    /// # Errors
    /// [`RuntimeError::InvalidSpec`] naming the first wrong part.
    pub fn validate(&self) -> Result<(), RuntimeError> {
        let program = self.argv.first().ok_or_else(|| RuntimeError::invalid_spec("the command is empty"))?;
        if program.is_empty() {
            return Err(RuntimeError::invalid_spec("the program's name is empty"));
        }
        for argument in &self.argv {
            refuse_nul("an argument", argument)?;
        }
        for (name, value) in &self.env {
            refuse_nul("an environment variable's name", name)?;
            if name.is_empty() || name.contains('=') {
                return Err(RuntimeError::invalid_spec(format!(
                    "{name:?} is not a name of an environment variable"
                )));
            }
            if value.contains('\0') {
                return Err(RuntimeError::invalid_spec(format!("the value of {name} holds a NUL byte")));
            }
        }
        require_plain_absolute("the working directory", &self.cwd)?;
        if self.hostname.is_empty() || self.hostname.len() > MAX_HOSTNAME || self.hostname.contains('\0') {
            return Err(RuntimeError::invalid_spec(format!(
                "the host name must have 1 to {MAX_HOSTNAME} bytes"
            )));
        }
        for (name, _) in &self.extra_hosts {
            if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#') {
                return Err(RuntimeError::invalid_spec(format!("{name:?} is not a host name")));
            }
        }
        for file in &self.files {
            require_plain_absolute("a file of the step", &file.path)?;
            if file.mode & !0o7777 != 0 {
                return Err(RuntimeError::invalid_spec(format!(
                    "the mode {:o} of {} is not permission bits",
                    file.mode,
                    file.path.display()
                )));
            }
        }
        self.root.validate()
    }
}

impl RootFs {
    fn validate(&self) -> Result<(), RuntimeError> {
        if self.lower.len() > MAX_LOWER_LAYERS {
            return Err(RuntimeError::invalid_spec(format!(
                "{} layers are too many for an overlay, the kernel takes {MAX_LOWER_LAYERS}; join some layers",
                self.lower.len()
            )));
        }
        for path in self.lower.iter().chain([&self.upper, &self.work]) {
            require_plain_absolute("a layer's directory", path)?;
        }
        Ok(())
    }
}

fn refuse_nul(what: &str, text: &str) -> Result<(), RuntimeError> {
    if text.contains('\0') {
        return Err(RuntimeError::invalid_spec(format!("{what} holds a NUL byte: {text:?}")));
    }
    Ok(())
}

fn require_plain_absolute(what: &str, path: &Path) -> Result<(), RuntimeError> {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let text = path.to_str().is_some_and(|text| !text.contains('\0'));
    if !path.is_absolute() || !plain || !text {
        return Err(RuntimeError::invalid_spec(format!(
            "{what} must be an absolute UTF-8 path without `..`: {}",
            path.display()
        )));
    }
    Ok(())
}

// === impl Debug: environment values and file contents may be secrets, so only names are shown ===

impl fmt::Debug for StepSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("StepSpec")
            .field("root", &self.root)
            .field("argv", &self.argv)
            .field("env_names", &names)
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StepFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StepFile")
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .field("mode", &format_args!("{:o}", self.mode))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> StepSpec {
        let root = RootFs { lower: vec!["/l".into()], upper: "/u".into(), work: "/w".into() };
        StepSpec::new(root, vec!["/bin/true".to_owned()])
    }

    fn refused(change: impl FnOnce(&mut StepSpec)) -> String {
        let mut spec = spec();
        change(&mut spec);
        spec.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_plain_step_is_accepted() {
        spec().validate().unwrap();
    }

    #[test]
    fn each_wrong_part_is_named() {
        assert!(refused(|s| s.argv.clear()).contains("command is empty"));
        assert!(refused(|s| s.argv[0].clear()).contains("name is empty"));
        assert!(refused(|s| s.argv.push("a\0b".into())).contains("NUL"));
        assert!(refused(|s| s.env.push(("A=B".into(), String::new()))).contains("A=B"));
        assert!(refused(|s| s.cwd = "src".into()).contains("working directory"));
        assert!(refused(|s| s.cwd = "/a/../b".into()).contains("working directory"));
        assert!(refused(|s| s.hostname = "h".repeat(65)).contains("host name"));
        assert!(refused(|s| s.extra_hosts.push(("a b".into(), [1, 2, 3, 4].into()))).contains("a b"));
        assert!(refused(|s| s.root.upper = "u".into()).contains("layer"));
        assert!(refused(|s| s.root.lower = vec!["/l".into(); 501]).contains("501 layers"));
    }

    #[test]
    fn debug_text_shows_no_value_of_the_environment() {
        let mut spec = spec();
        spec.env.push(("TOKEN".into(), "hunter2".into()));
        spec.files.push(StepFile { path: "/f".into(), content: b"hunter2".to_vec(), mode: 0o400 });
        let text = format!("{spec:?}");
        assert!(text.contains("TOKEN") && !text.contains("hunter2"), "{text}");
        assert!(!text.contains("104, 117"), "file content must not be printed: {text}");
    }
}
