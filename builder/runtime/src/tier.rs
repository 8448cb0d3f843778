//! How far a step can be isolated here, found out by doing it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::error::RuntimeError;
use crate::namespace;
use crate::run::{self, End};
use crate::spec::{RootFs, StepSpec};
use crate::sys;
use crate::wire::{Action, Failure, SetupStage};

/// Numbers the probes of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A way to isolate a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    /// Tier 1: user, mount, process, IPC, host name and control group namespaces; `/proc` shows the step only.
    FreshProc,
    /// Tier 2: the same without a process namespace, for containers whose masked `/proc` forbids a fresh one. The step
    /// sees the builder's `/proc`.
    OuterProc,
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::FreshProc => "tier 1 (user, process and mount namespaces, own /proc)",
            Self::OuterProc => "tier 2 (user and mount namespaces, the builder's /proc)",
        })
    }
}

/// The tier that works here, and why no better one.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What [`run_blocking`](crate::run_blocking) is to be called with.
    pub tier: Tier,
    /// One line for people.
    pub reason: String,
    /// What will not work, from entering the builder namespace.
    pub notes: Vec<String>,
}

/// Sets up and tears down an empty step below `storage` in the best way that works.
///
/// `storage` is the directory that will hold layers: whether it can carry an overlay is part of the question. Blocks for
/// some 10 ms; not to be called on an async worker.
///
/// # Errors
/// [`RuntimeError::Unavailable`] with the setting to change when no tier works.
pub fn probe_blocking(storage: &Path) -> Result<Probe, RuntimeError> {
    let notes = namespace::entered().map(|namespace| namespace.notes.clone()).unwrap_or_default();
    let scratch = Scratch::create(storage)?;
    let Err(first) = try_tier(&scratch, Tier::FreshProc)? else {
        return Ok(Probe { tier: Tier::FreshProc, reason: Tier::FreshProc.to_string(), notes });
    };
    if !refuses_fresh_proc(&first) {
        return Err(advice::unavailable(&first));
    }
    let mut notes = notes;
    if !sys::can_confine_signals() {
        notes.push(
            "a step can send signals to other processes of the builder's user, because it shares their process namespace and Landlock of Linux 6.12 is not enabled".to_owned(),
        );
    }
    match try_tier(&scratch, Tier::OuterProc)? {
        Ok(()) => Ok(Probe {
            tier: Tier::OuterProc,
            reason: format!(
                "{}, because {}; parts of /proc are masked here (Kubernetes: procMount Unmasked, Docker: --security-opt systempaths=unconfined would give tier 1)",
                Tier::OuterProc,
                first.detail
            ),
            notes,
        }),
        Err(second) => Err(advice::unavailable(&second)),
    }
}

/// Only these two are better in the second tier: a masked `/proc`, or no process namespace to be had.
fn refuses_fresh_proc(failure: &Failure) -> bool {
    let permission =
        [Errno::PERM, Errno::ACCESS].map(|errno| Some(errno.raw_os_error())).contains(&failure.errno);
    let no_namespace = failure.stage == SetupStage::Namespaces
        && [Errno::NOSPC, Errno::INVAL].map(|errno| Some(errno.raw_os_error())).contains(&failure.errno);
    (failure.stage == SetupStage::Proc && permission) || no_namespace
}

fn try_tier(scratch: &Scratch, tier: Tier) -> Result<Result<(), Failure>, RuntimeError> {
    let root = RootFs {
        lower: vec![scratch.path("lower")],
        upper: scratch.path("upper"),
        work: scratch.path("work"),
    };
    let spec = StepSpec::new(root, vec!["nothing".to_owned()]);
    match run::supervise_blocking(spec, tier, Action::SetUpOnly, None, &mut |_| {})? {
        End::SetUp => Ok(Ok(())),
        End::Failed(failure) => Ok(Err(failure)),
        End::Status(_) => Err(RuntimeError::SupervisorLost { detail: "a probe ran a command".to_owned() }),
    }
}

/// Directories for one probe, removed on drop.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn create(storage: &Path) -> Result<Self, RuntimeError> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let scratch = Self(storage.join(format!(".probe-{}-{number}", std::process::id())));
        for name in ["lower", "upper", "work"] {
            let path = scratch.path(name);
            fs::create_dir_all(&path).map_err(|error| RuntimeError::file("creating", path, error))?;
        }
        Ok(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover is an empty directory the store's pruning removes.
        let _ = fs::remove_dir_all(&self.0);
    }
}
