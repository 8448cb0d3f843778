//! A registry under a name, as a company has it: `gitlab.iceymoss:5050`, with an account that may do everything.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{HostsEntry, Options, Registry, is_root, program, skip, tool};

const HOST: &str = "gitlab.iceymoss";
const PORT: u16 = 5050;
/// How long somebody else, such as a demonstration beside the tests, may keep the port.
const PORT_TIME: Duration = Duration::from_secs(60);
/// Host and port as clients write them.
pub const NAME: &str = "gitlab.iceymoss:5050";

/// How clients reach the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    /// With a certificate of a private authority, and nothing else answered.
    Tls,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "https",
        }
    }
}

/// The registry, its name, and a home for one client. Dropped in this order.
#[derive(Debug)]
pub struct Site {
    pub registry: Registry,
    pub scheme: Scheme,
    home: TempDir,
    _name: HostsEntry,
}

impl Site {
    /// A registry that issues its tokens itself. `None`, with the reason told, where a name cannot be given.
    pub fn start(scheme: Scheme) -> Result<Option<Self>> {
        Self::start_with(scheme, &[])
    }

    pub fn start_with(scheme: Scheme, arguments: &[&str]) -> Result<Option<Self>> {
        if !is_root() {
            skip("a name in the hosts file needs root");
            return Ok(None);
        }
        let name = HostsEntry::add(HOST)?;
        let mut options = Options::with(arguments);
        if scheme == Scheme::Tls {
            options.arguments.extend(["--tls", "self-signed", "--tls-required"].map(str::to_owned));
        }
        options.address = name.address().into();
        options.port = Some(PORT);
        options.external_url = Some(format!("{}://{NAME}", scheme.as_str()));
        let until = Instant::now() + PORT_TIME;
        while let Err(error) = TcpListener::bind((options.address, PORT)) {
            ensure!(Instant::now() < until, "port {PORT} is in use: {error}");
            sleep(Duration::from_millis(200));
        }
        let registry = Registry::start(options)?;
        Ok(Some(Self { registry, scheme, home: tempfile::tempdir()?, _name: name }))
    }

    /// `gitlab.iceymoss:5050/PATH`
    pub fn image(&self, path: &str) -> String {
        format!("{NAME}/{path}")
    }

    /// A folder for the client's own files.
    pub fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// A client of ours by name, or of the system by path. Its home is the site's, and so are its credentials;
    /// Go's library finds the authority by a variable.
    pub fn client(&self, name: &str) -> Result<Option<Command>> {
        let found = if name.starts_with('/') { program(name).map(PathBuf::from) } else { tool(name) };
        let Some(path) = found else { return Ok(None) };
        ensure!(path.is_file(), "{} is no program", path.display());
        let mut command = Command::new(path);
        command
            .env("HOME", self.home.path())
            .env("DOCKER_CONFIG", self.home.path().join(".docker"))
            .env("REGISTRY_AUTH_FILE", self.home.path().join("containers-auth.json"))
            .env_remove("XDG_RUNTIME_DIR")
            .current_dir(self.home.path());
        if self.scheme == Scheme::Tls {
            command.env("SSL_CERT_FILE", self.registry.authority());
        }
        Ok(Some(command))
    }
}
