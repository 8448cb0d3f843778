//! Becoming the step's command: session, directory, user, capabilities, system call filter, environment, program.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{Gid, Uid};
use seccompiler::BpfProgram;

use super::capabilities;
use crate::seccomp;
use crate::spec::StepSpec;
use crate::sys;
use crate::tier::Tier;
use crate::user::passwd::{self, Databases};
use crate::user::resolve::{self, Identity, UserError};
use crate::wire::{Failure, Report, SetupStage};

/// Docker's `PATH` for images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A shell's exit codes for a program that is not there, and one that is but does not run.
const NOT_FOUND: i32 = 127;
const NOT_RUNNABLE: i32 = 126;

/// Everything the command's process needs, made while errors can still be told apart.
#[derive(Debug)]
pub(super) struct Prepared {
    identity: Identity,
    groups_can_be_set: bool,
    directory: CString,
    program: String,
    /// The candidate files in the order they are tried.
    candidates: Vec<CString>,
    search_path: Option<String>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    filters: Vec<BpfProgram>,
}

/// Prepares the command; called inside the new root.
pub(super) fn prepare(spec: &StepSpec, tier: Tier) -> Result<Prepared, Report> {
    let databases = read_databases().map_err(|(path, error)| {
        Report::Failed(Failure::from_errno(
            SetupStage::Identity,
            format!("reading {path} of the image"),
            error,
        ))
    })?;
    let identity = resolve::identity(&spec.user, &databases).map_err(|error| match error {
        UserError::Unknown { group, name } => Report::UnknownUser { group, name },
        UserError::Invalid { text } => Report::InvalidUser { text },
    })?;
    let environment = environment(spec, &identity.home);
    let program = spec.argv.first().cloned().unwrap_or_default();
    let search_path = (!program.contains('/')).then(|| value_of(&environment, "PATH").to_owned());
    let candidates = match &search_path {
        None => vec![program.clone()],
        Some(path) => path
            .split(':')
            .map(|directory| if directory.is_empty() { "." } else { directory })
            .map(|directory| format!("{directory}/{program}"))
            .collect(),
    };
    let text = |text: String| {
        CString::new(text)
            .map_err(|_| Report::Failed(Failure::text(SetupStage::Identity, "an argument holds a NUL byte")))
    };
    let texts = |all: Vec<String>| all.into_iter().map(text).collect::<Result<Vec<_>, _>>();
    let filters = seccomp::filters(tier).map_err(|error| {
        Report::Failed(Failure::text(SetupStage::Identity, format!("system call filter: {error}")))
    })?;
    Ok(Prepared {
        identity,
        groups_can_be_set: std::fs::read_to_string("/proc/self/setgroups")
            .is_ok_and(|text| text.trim() == "allow"),
        directory: CString::new(spec.cwd.as_os_str().as_bytes()).unwrap_or_default(),
        program,
        candidates: texts(candidates)?,
        search_path,
        arguments: texts(spec.argv.clone())?,
        environment: texts(environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect())?,
        filters: filters.into(),
    })
}

impl Prepared {
    /// Turns this process into the command; returns only with the reason why not.
    pub(super) fn become_command(self) -> Report {
        if let Err(report) = self.take_on_identity() {
            return report;
        }
        sys::reset_signals();
        let mut reason = io::Error::from(Errno::NOENT);
        for candidate in &self.candidates {
            let error = sys::execve(candidate, &self.arguments, &self.environment);
            match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR) => {}
                // Another directory may hold one that may be run.
                Some(Errno::ACCESS) if self.search_path.is_some() => reason = error,
                _ => return self.not_started(&error),
            }
        }
        self.not_started(&reason)
    }

    fn take_on_identity(&self) -> Result<(), Report> {
        let failed =
            |what: &str, error: Errno| Report::Failed(Failure::from_errno(SetupStage::Identity, what, error));
        let (uid, gid) = (Uid::from_raw(self.identity.uid), Gid::from_raw(self.identity.gid));
        rustix::process::setsid().map_err(|error| failed("starting a session", error))?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        rustix::process::chdir(self.directory.as_c_str()).map_err(|error| {
            failed(&format!("changing to the working directory {}", self.directory.to_string_lossy()), error)
        })?;
        // So that the user can open /dev/stdout and /dev/stderr. Refused for a user without a mapping, told below.
        let _ = rustix::fs::fchown(rustix::stdio::stdout(), Some(uid), Some(gid));
        let _ = rustix::fs::fchown(rustix::stdio::stderr(), Some(uid), Some(gid));
        if self.groups_can_be_set {
            let groups: Vec<Gid> = self.identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
            rustix::thread::set_thread_groups(&groups)
                .map_err(|error| failed(&unmapped(&self.identity), error))?;
        }
        rustix::thread::set_thread_res_gid(gid, gid, gid)
            .map_err(|error| failed(&unmapped(&self.identity), error))?;
        capabilities::limit_bounding_set().map_err(|error| failed("limiting capabilities", error))?;
        // Without a process namespace this is what keeps a step's signals to itself; in either tier it closes the way to
        // abstract sockets of the machine, which the host's network would leave open.
        sys::confine_signals_and_abstract_sockets().map_err(|error| {
            Report::Failed(Failure::from_errno(
                SetupStage::Identity,
                "confining signals with Landlock",
                error,
            ))
        })?;
        // While the process may still do so without no_new_privs. What follows is on the filter's list.
        for filter in &self.filters {
            sys::install_filter(filter).map_err(|error| {
                Report::Failed(Failure::from_errno(
                    SetupStage::Identity,
                    "installing the system call filter",
                    error,
                ))
            })?;
        }
        rustix::thread::set_thread_res_uid(uid, uid, uid)
            .map_err(|error| failed(&unmapped(&self.identity), error))?;
        capabilities::grant(uid.is_root()).map_err(|error| failed("setting capabilities", error))
    }

    fn not_started(&self, error: &io::Error) -> Report {
        let (reason, exit_code) = match (Errno::from_io_error(error), &self.search_path) {
            (Some(Errno::NOENT), Some(path)) => (format!("not found in PATH {path}"), NOT_FOUND),
            (Some(Errno::NOENT), None) => {
                ("no such file, or the interpreter it names is missing".to_owned(), NOT_FOUND)
            }
            (Some(Errno::NOEXEC), _) => (
                "not a program of this machine's architecture, or a script without an interpreter line"
                    .to_owned(),
                NOT_RUNNABLE,
            ),
            _ => (error.to_string(), NOT_RUNNABLE),
        };
        Report::NotStarted { program: self.program.clone(), reason, exit_code }
    }
}

fn unmapped(identity: &Identity) -> String {
    format!(
        "becoming user {}, group {} (ids must be mapped: extend /etc/subuid and /etc/subgid)",
        identity.uid, identity.gid
    )
}

fn environment(spec: &StepSpec, home: &str) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = Vec::new();
    for (name, value) in &spec.env {
        match environment.iter_mut().find(|(known, _)| known == name) {
            Some(known) => value.clone_into(&mut known.1),
            None => environment.push((name.clone(), value.clone())),
        }
    }
    for (name, value) in [("PATH", DEFAULT_PATH), ("HOME", home)] {
        if !environment.iter().any(|(known, _)| known == name) {
            environment.push((name.to_owned(), value.to_owned()));
        }
    }
    environment
}

fn value_of<'a>(environment: &'a [(String, String)], name: &str) -> &'a str {
    environment.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

fn read_databases() -> Result<Databases, (&'static str, io::Error)> {
    let read = |path: &'static str| {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open(Path::new(path), flags, Mode::empty()) {
            Err(Errno::NOENT) => Ok(String::new()),
            Err(error) => Err((path, error.into())),
            Ok(file) => passwd::read_database(file).map_err(|error| (path, error)),
        }
    };
    Ok(Databases {
        passwd: passwd::parse_passwd(&read("/etc/passwd")?),
        group: passwd::parse_group(&read("/etc/group")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RootFs;

    #[test]
    fn path_and_home_are_added_only_where_missing_and_the_last_value_counts() {
        let root = RootFs { lower: Vec::new(), upper: "/u".into(), work: "/w".into() };
        let mut spec = StepSpec::new(root, vec!["x".into()]);
        spec.env = vec![("A".into(), "1".into()), ("PATH".into(), "/p".into()), ("A".into(), "2".into())];
        let pairs = environment(&spec, "/home/ana");
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "2"), ("PATH", "/p"), ("HOME", "/home/ana")]);
        spec.env = vec![("HOME".into(), String::new())];
        let pairs = environment(&spec, "/home/ana");
        assert_eq!(value_of(&pairs, "HOME"), "");
        assert_eq!(value_of(&pairs, "PATH"), DEFAULT_PATH);
    }
}
