//! `slipway demo` as its first user meets it: without a network, as root and as an ordinary user, again and again,
//! and with nothing left that it did not name.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use slipway_tests::{Finished, OrdinaryUser, binary, is_root, run};
use tempfile::TempDir;

/// What the demo is to have done, in this order.
const STEPS: [&str; 8] = [
    "start a registry",
    "make a user and a rule for it",
    "log in",
    "build and push a base image",
    "build two stages, push three tags",
    "pull the tags back and compare",
    "run the image",
    "import into a k3d cluster",
];
/// Marks every process of one demo in its environment.
const MARK: &str = "SLIPWAY_DEMO_TEST";
/// How long the kernel may take to end what the demo has ended.
const END_TIME: Duration = Duration::from_secs(5);
/// Brings loopback up in a network that has nothing else, and becomes the rest of the line.
const LOOPBACK_ONLY: &str = "ip link set lo up && exec \"$@\"";

/// A folder with a home and a place for temporary files, and who runs the demo there.
struct Stage {
    folder: TempDir,
    user: Option<OrdinaryUser>,
}

impl Stage {
    fn new(user: Option<OrdinaryUser>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("slipway-demo-test-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let stage = Self { folder, user };
        for name in ["home", "temporary", "kept"] {
            fs::create_dir(stage.path(name))?;
            if let Some((user, group)) = stage.user.as_ref().map(OrdinaryUser::ids) {
                chown(stage.path(name), Some(user), Some(group))?;
            }
        }
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `slipway demo ARGUMENTS`. Root gives it a network with nothing but loopback; nobody else can.
    fn command(&self, arguments: &[&str]) -> Command {
        let program = self.user.as_ref().map_or_else(binary, OrdinaryUser::program);
        let mut command = if is_root() {
            let mut command = Command::new("unshare");
            command.args(["--net", "sh", "-c", LOOPBACK_ONLY, "sh"]);
            if let Some((user, group)) = self.user.as_ref().map(OrdinaryUser::ids) {
                command.arg("setpriv").arg(format!("--reuid={user}")).arg(format!("--regid={group}"));
                command.arg("--clear-groups");
            }
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .arg("demo")
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("temporary"))
            .env("DOCKER_HOST", format!("unix://{}", self.path("no-docker.sock").display()))
            .env(MARK, self.folder.path())
            .current_dir(self.path("home"));
        command
    }

    fn demo(&self, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.command(arguments), b"")
    }

    /// Nothing runs, nothing is mounted, and no file is in any of `empty`.
    fn is_left_clean(&self, empty: &[&str]) -> Result<()> {
        let until = Instant::now() + END_TIME;
        while let Some(process) = self.processes().first() {
            ensure!(Instant::now() < until, "process {process} is left");
            sleep(Duration::from_millis(20));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let here = self.folder.path().display().to_string();
        ensure!(!mounts.contains(&here), "a mount is left:\n{mounts}");
        for name in empty {
            let left: Vec<_> = fs::read_dir(self.path(name))?.flatten().map(|entry| entry.path()).collect();
            ensure!(left.is_empty(), "{left:?} is left");
        }
        Ok(())
    }

    /// Every process with the mark.
    fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.folder.path().display());
        let marked = |pid: &String| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(marked).collect()
    }
}

/// Each step with its time, in order, and what the image said.
fn shows_everything(said: &str) -> Result<()> {
    let mut rows = said.lines();
    for step in STEPS {
        let row =
            rows.find(|line| line.starts_with(step)).with_context(|| format!("no {step:?} in\n{said}"))?;
        let time = row.split_once(" s  ").and_then(|(before, _)| before.rsplit(' ').next());
        ensure!(time.is_some_and(|time| time.parse::<f64>().is_ok()), "no time in {row:?}");
    }
    for words in
        ["it said: hello from an image", "3 tags, one digest", "skipped: ", "nothing is left running"]
    {
        ensure!(said.contains(words), "no {words:?} in\n{said}");
    }
    Ok(())
}

/// Twice without a trace, then once kept and named.
fn repeats_and_leaves_nothing(stage: &Stage) -> Result<()> {
    for _ in 0..2 {
        let said = stage.demo(&[])?.ok()?;
        shows_everything(&said)?;
        ensure!(said.contains("nothing is left on disk"), "{said}");
        stage.is_left_clean(&["home", "temporary", "kept"])?;
    }
    let kept = stage.path("kept/demo");
    let name = kept.display().to_string();
    let finished = stage.demo(&["--keep", &name])?;
    let told = format!("{}{}", finished.stdout, finished.stderr);
    let said = finished.ok()?;
    shows_everything(&said)?;
    ensure!(said.contains(&format!("{name} holds ")) && !said.contains("nothing is left on disk"), "{said}");
    stage.is_left_clean(&["home", "temporary"])?;
    has_user_and_login(&kept, &told)?;
    let again = stage.demo(&["--keep", &name])?;
    ensure!(again.code == Some(2) && again.stderr.contains(&name), "{again:?}");
    Ok(())
}

/// The registry knows `demo` as a user, and the login is kept as docker keeps it; its password is told nobody.
fn has_user_and_login(kept: &Path, told: &str) -> Result<()> {
    let accounts = |kind: &str| -> Result<Value> {
        let mut command = Command::new(binary());
        command.args(["registry", kind, "list", "--output", "json", "--data"]).arg(kept.join("registry"));
        Ok(serde_json::from_str(&run(&mut command, b"")?.ok()?)?)
    };
    let has_demo = |list: &Value| list.as_array().into_iter().flatten().any(|user| user["name"] == "demo");
    ensure!(has_demo(&accounts("user")?) && !has_demo(&accounts("robot")?), "demo is no user");
    let file = kept.join("docker/config.json");
    let mode = fs::metadata(&file)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{} has the mode {mode:o}", file.display());
    let config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let login = config["auths"].as_object().and_then(|logins| logins.values().next()).context("no login")?;
    let login = STANDARD.decode(login["auth"].as_str().context("no auth")?)?;
    let (user, password) = std::str::from_utf8(&login)?.split_once(':').context("no name and password")?;
    ensure!(user == "demo" && !password.is_empty() && !told.contains(password), "the login is {user}'s");
    Ok(())
}

#[test]
fn the_demo_repeats_offline_and_leaves_nothing() -> Result<()> {
    repeats_and_leaves_nothing(&Stage::new(None)?)
}

#[test]
fn an_ordinary_user_sees_the_same_demo() -> Result<()> {
    let Some(user) = OrdinaryUser::new()? else { return Ok(()) };
    repeats_and_leaves_nothing(&Stage::new(Some(user))?)
}

#[test]
fn a_demo_that_is_ended_half_way_leaves_nothing() -> Result<()> {
    let stage = Stage::new(None)?;
    let mut demo =
        stage.command(&[]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(demo.stderr.take().context("no standard error")?).lines();
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|line: &String| line.contains("COPY greeting.txt")) {
        seen.push(lines.next().with_context(|| format!("it ended early:\n{}", seen.join("\n")))??);
    }
    run(Command::new("kill").arg(demo.id().to_string()), b"")?.ok()?;
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    ensure!(!demo.wait()?.success(), "it was not ended: {}", rest.join("\n"));
    ensure!(rest.iter().any(|line| line.contains("terminated")), "{}", rest.join("\n"));
    stage.is_left_clean(&["home", "temporary", "kept"])
}

#[test]
fn a_taken_port_is_told_and_another_is_used() -> Result<()> {
    let stage = Stage::new(None)?;
    // In the network that the demo sees: the one of this test.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let mut command = Command::new(binary());
    command.args(["demo", "--port", &port]).env("TMPDIR", stage.path("temporary"));
    command.env("HOME", stage.path("home")).env("DOCKER_HOST", "unix:///no-docker.sock");
    let said = run(&mut command, b"")?.ok()?;
    ensure!(said.contains(&format!("since port {port} is taken")), "{said}");
    Ok(())
}
