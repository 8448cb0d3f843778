//! `slipway builder` with a store and a context of its own.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to end on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Static, so that it runs without any library; Debian's package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

pub(crate) struct Kit {
    place: tempfile::TempDir,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("context")).unwrap();
        Self { place }
    }

    /// With busybox in the context; `None`, said aloud, where steps cannot be run.
    pub(crate) fn for_steps() -> Option<Self> {
        let kit = Self::new();
        let able = fs::copy(BUSYBOX, kit.context().join("busybox")).is_ok()
            && kit.builder("probe", &[]).output().unwrap().status.success();
        if !able {
            eprintln!("skipped: no steps can be run here, or {BUSYBOX} is not there");
            assert!(!std::env::var("CI").is_ok_and(|value| value == "true" || value == "1"));
        }
        able.then_some(kit)
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.place.path().join("context")
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.context().join(name), content).unwrap();
    }

    /// `slipway builder VERB ARGUMENTS`, in a surrounding that tells of no CI job and no credentials.
    pub(crate) fn builder(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.place.path())
            .env("SLIPWAY_BUILDER_STORAGE", self.place.path().join("store"))
            .args(["builder", verb])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `slipway builder build` of `dockerfile`.
    pub(crate) fn build(&self, dockerfile: &str, arguments: &[&str]) -> Command {
        self.file("Dockerfile", dockerfile);
        let mut command = self.builder("build", arguments);
        command.arg(self.context()).args(["--progress", "plain"]);
        command
    }
}

/// Exit code, standard output, standard error.
pub(crate) fn run(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The exit code and standard error of a child, which must end in time.
pub(crate) fn ended(mut child: Child) -> (Option<i32>, String) {
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code(), said)
}

/// Waits until `holds`.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}
