//! A root file system around busybox, and ways to start the step runner as somebody.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use builder_runtime::{RootFs, StepSpec};

/// Debian's package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

const RUNNER: &str = env!("CARGO_BIN_EXE_builder-runtime-step");

/// An id no account of the machine needs to have.
const USER: u32 = 65534;

/// Docker's default capabilities, as setpriv names them: no `sys_admin`.
const CONTAINER_CAPABILITIES: &str = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write";

/// Who starts the builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever runs the tests.
    AsIs,
    /// An ordinary user with subordinate ids.
    User,
    /// An ordinary user without.
    SingleId,
    /// Root without `CAP_SYS_ADMIN`.
    ContainerRoot,
    /// Whoever runs the tests, with something mounted over part of `/proc` as container engines do.
    MaskedProc,
}

/// A place for one step.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) who: Who,
    directory: tempfile::TempDir,
    runner: Arc<Runner>,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Who {
    const ALL: [Self; 5] = [Self::AsIs, Self::User, Self::SingleId, Self::ContainerRoot, Self::MaskedProc];

    /// Those who can own every id.
    const WITH_IDS: [Self; 4] = [Self::AsIs, Self::User, Self::ContainerRoot, Self::MaskedProc];
}

/// A sandbox for each of the ways that can be played on this machine.
pub(crate) fn everywhere() -> Vec<Sandbox> {
    Who::ALL.into_iter().filter_map(Sandbox::open).collect()
}

/// The same without the user who has one id only.
pub(crate) fn wherever_ids_are_mapped() -> Vec<Sandbox> {
    Who::WITH_IDS.into_iter().filter_map(Sandbox::open).collect()
}

/// In CI nothing may be skipped.
fn skip(who: Who, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{who:?} cannot be played here: {why}");
    eprintln!("skipped for {who:?}: {why}");
}

impl Sandbox {
    pub(crate) fn open(who: Who) -> Option<Self> {
        assert!(Path::new(BUSYBOX).exists(), "the tests need {BUSYBOX}: install the package busybox-static");
        if who != Who::AsIs && !rustix::process::geteuid().is_root() {
            skip(who, "only root can play somebody else");
            return None;
        }
        if who == Who::User && !Path::new("/usr/bin/newuidmap").exists() {
            skip(who, "newuidmap is missing: install the package uidmap");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let sandbox = Self { who, directory, runner: Runner::shared() };
        for name in ["lower", "lower/bin", "lower/tmp", "upper", "work"] {
            fs::create_dir(sandbox.path(name)).unwrap();
        }
        fs::set_permissions(sandbox.path("lower/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy(BUSYBOX, sandbox.path("lower/bin/busybox")).unwrap();
        let applets = Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
        for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", sandbox.path("lower/bin").join(applet)).unwrap();
        }
        sandbox.give_away();
        Some(sandbox)
    }

    /// With the files of an ordinary distribution.
    pub(crate) fn with_accounts(self) -> Self {
        fs::create_dir(self.path("lower/etc")).unwrap();
        fs::create_dir(self.path("lower/root")).unwrap();
        let passwd = "root::0:0:root:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n";
        fs::write(self.path("lower/etc/passwd"), passwd).unwrap();
        fs::write(self.path("lower/etc/group"), "root:x:0:\nana:x:1000:\nwheel:x:10:ana\n").unwrap();
        self.give_away();
        self
    }

    /// Everything belongs to whoever starts the builder, which is root inside.
    pub(crate) fn give_away(&self) {
        if matches!(self.who, Who::User | Who::SingleId) {
            give(self.directory.path());
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A step running `script` in busybox's shell.
    pub(crate) fn step(&self, script: &str) -> StepSpec {
        let root =
            RootFs { lower: vec![self.path("lower")], upper: self.path("upper"), work: self.path("work") };
        StepSpec::new(root, ["/bin/sh", "-c", script].map(str::to_owned).into())
    }

    pub(crate) fn run(&self, spec: &StepSpec) -> Outcome {
        self.call(&["run"], &serde_json::to_string(spec).unwrap())
    }

    /// Runs a script and expects it to succeed and to write nothing to standard error.
    pub(crate) fn output_of(&self, script: &str) -> String {
        let outcome = self.run(&self.step(script));
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{:?}: {script}: {outcome:?}", self.who);
        outcome.out
    }

    pub(crate) fn call(&self, arguments: &[&str], input: &str) -> Outcome {
        outcome(self.start(arguments, input).wait_with_output().unwrap())
    }

    /// Starts the runner; its process id is the child's own.
    pub(crate) fn start(&self, arguments: &[&str], input: &str) -> Child {
        let input_file = self.path("input");
        fs::write(&input_file, input).unwrap();
        let mut command = self.command();
        command
            .arg(&self.runner.path)
            .args(arguments)
            .stdin(fs::File::open(&input_file).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// A command that becomes `its arguments` as the right somebody.
    fn command(&self) -> Command {
        let user = format!("setpriv --reuid {USER} --regid {USER} --clear-groups");
        let script = match self.who {
            Who::AsIs => "exec \"$@\"".to_owned(),
            // Seen by this process only; the machine's own files stay as they are.
            Who::User => format!("{}; exec {user} \"$@\"", self.subordinate_ids()),
            Who::SingleId => format!("exec {user} \"$@\""),
            Who::ContainerRoot => {
                format!("exec setpriv --bounding-set {CONTAINER_CAPABILITIES} --inh-caps -all -- \"$@\"")
            }
            Who::MaskedProc => "mount -t tmpfs none /proc/fs && exec \"$@\"".to_owned(),
        };
        let mut command = if matches!(self.who, Who::User | Who::MaskedProc) {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        // A mask that would spoil modes if any were made under it.
        let script = format!("umask 077; {script}");
        command.args(["-ec", &script, "sh"]).env("SLIPWAY_TEST_SECRET", "hunter2");
        command
    }

    /// As [`Sandbox::run`], in a process namespace around everything, so that a step that tries to reach processes
    /// outside can at worst reach those of this one run. Only root can make it.
    pub(crate) fn run_caged(&self, spec: &StepSpec) -> Outcome {
        let input = self.path("input");
        fs::write(&input, serde_json::to_string(spec).unwrap()).unwrap();
        let inner = self.command();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .arg(&self.runner.path)
            .arg("run")
            .stdin(fs::File::open(&input).unwrap());
        outcome(command.output().unwrap())
    }

    fn subordinate_ids(&self) -> String {
        let file = self.path("subids");
        fs::write(&file, format!("{USER}:100000:65536\n")).unwrap();
        let file = file.display();
        format!("for f in subuid subgid; do touch /etc/$f; mount --bind {file} /etc/$f; done")
    }

    /// Names below the upper directory, sorted.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.path("upper"), Path::new(""), &mut names);
        names.sort();
        names
    }
}

fn outcome(output: Output) -> Outcome {
    Outcome {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn collect(root: &Path, below: &Path, names: &mut Vec<String>) {
    // A directory may go while this is called again and again to see it go.
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        names.push(path.to_str().unwrap().to_owned());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(root, &path, names);
        }
    }
}

fn give(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::lchown(entry.path(), Some(USER), Some(USER)).unwrap();
        if entry.file_type().unwrap().is_dir() {
            give(&entry.path());
        }
    }
    chown(path, Some(USER), Some(USER)).unwrap();
}

/// A copy of the runner that any user can reach, wherever the tests were built; gone with the last sandbox.
#[derive(Debug)]
struct Runner {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Runner {
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Runner>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runner) = shared.upgrade() {
            return runner;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("runner");
        fs::copy(RUNNER, &path).unwrap();
        let runner = Arc::new(Self { path, _directory: directory });
        *shared = Arc::downgrade(&runner);
        runner
    }
}

/// Processes whose command line holds `text`.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) {
            found.push(line);
        }
    }
    found
}
