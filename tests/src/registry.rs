//! A registry from the built binary, with data of its own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    Finished, binary,
    command::{terminate, wait_for_end},
    http::Server,
    run,
};

/// How long a registry may take to listen; key generation on a slow machine included.
const START_TIME: Duration = Duration::from_secs(60);
/// How long one may take to end after SIGTERM: its own limit for requests in hand is 30 seconds.
const STOP_TIME: Duration = Duration::from_secs(45);

/// What a registry is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Further arguments of `registry serve`.
    pub arguments: Vec<String>,
    pub address: IpAddr,
    /// A fixed port; else a free one.
    pub port: Option<u16>,
    /// A host that clients will use, with the scheme: it is put into certificates and tokens.
    pub external_url: Option<String>,
    /// A data folder that outlives the registry; else one of its own.
    pub data: Option<PathBuf>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            address: Ipv4Addr::LOCALHOST.into(),
            port: None,
            external_url: None,
            data: None,
            environment: Vec::new(),
        }
    }
}

impl Options {
    /// A registry on loopback with these further arguments.
    pub fn with(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(ToString::to_string).collect(), ..Self::default() }
    }
}

/// A running registry, killed when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// Its log, and its data unless the options name a folder.
    folder: TempDir,
    data: PathBuf,
    address: SocketAddr,
    options: Options,
}

impl Registry {
    pub fn start(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir()?;
        let data = options.data.clone().unwrap_or_else(|| folder.path().join("data"));
        let address = SocketAddr::new(options.address, options.port.unwrap_or(0));
        let child = spawn(folder.path(), &data, address, &options)?;
        let mut registry = Self { child, folder, data, address, options };
        registry.address = registry.wait_until_it_listens()?;
        Ok(registry)
    }

    /// A registry on loopback that lets everyone do everything: where authorization is not the subject.
    pub fn open_to_all() -> Result<Self> {
        Self::start(Options::with(&["--auth", "none"]))
    }

    /// Its address, as it says itself: with port 0 nobody else knows it.
    fn wait_until_it_listens(&mut self) -> Result<SocketAddr> {
        let until = Instant::now() + START_TIME;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the registry ended with {status}:\n{}", self.log());
            }
            if let Some(address) = announced_address(&self.log()) {
                return Ok(address);
            }
            ensure!(Instant::now() < until, "the registry does not listen:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// Host and port as clients on this machine write them.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    pub fn http(&self) -> Server {
        Server(self.address)
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The certificate of the private authority, with `--tls self-signed`.
    pub fn authority(&self) -> PathBuf {
        self.data.join("tls/ca.crt")
    }

    /// The password of `admin`.
    pub fn password(&self) -> Result<String> {
        let file = self.data.join("admin-password");
        Ok(fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?.trim().to_owned())
    }

    /// What the registry has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// `slipway registry ARGUMENTS --data ...`, beside the running server.
    pub fn administer(&self, arguments: &[&str], input: &str) -> Result<Finished> {
        let mut command = Command::new(binary());
        command.arg("registry").args(arguments).arg("--data").arg(&self.data);
        run(&mut command, input.as_bytes())
    }

    /// Adds a `user` or a `robot`.
    pub fn add_account(&self, kind: &str, name: &str, password: &str) -> Result<()> {
        self.administer(&[kind, "add", name, "--password-stdin"], password)?.ok().map(drop)
    }

    /// Adds a rule.
    pub fn add_rule(&self, to: &str, actions: &str, pattern: &str) -> Result<()> {
        self.administer(&["rule", "add", "--to", to, "--actions", actions, pattern], "")?.ok().map(drop)
    }

    /// Ends the process with SIGKILL, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to end.
    pub fn terminate(&self) -> Result<()> {
        terminate(&self.child)
    }

    /// Waits for the end that was asked for.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        wait_for_end(&mut self.child, STOP_TIME)
    }

    /// Starts it again on the same data and port, after it ended.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = spawn(self.folder.path(), &self.data, self.address, &self.options)?;
        self.wait_until_it_listens().map(drop)
    }
}

fn spawn(folder: &Path, data: &Path, address: SocketAddr, options: &Options) -> Result<Child> {
    let log = fs::File::create(folder.join("log"))?;
    let mut command = Command::new(binary());
    command.args(["registry", "serve", "--listen", &address.to_string()]).arg("--data").arg(data);
    if let Some(url) = &options.external_url {
        command.args(["--external-url", url]);
    }
    command.envs(options.environment.iter().cloned());
    command.args(&options.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}", binary().display()))
}

/// `... speaks HTTP on ADDRESS; its data ...`
fn announced_address(log: &str) -> Option<SocketAddr> {
    let (before, _) = log.split_once("; its data is in")?;
    before.rsplit(' ').next()?.parse().ok()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The harness shows it only when the test fails.
        println!("the log of the registry {}:\n{}", self.address, self.log());
    }
}
