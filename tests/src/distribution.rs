//! The distribution registry, on files and open to all.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{http::Server, skip, tool};

const START_TIME: Duration = Duration::from_secs(30);

/// A running one, killed when dropped.
#[derive(Debug)]
pub struct Distribution {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl Distribution {
    /// `None`, with the reason told, where it is not installed.
    pub fn start() -> Result<Option<Self>> {
        let Some(program) = tool("distribution") else {
            skip("the distribution registry is not installed");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("slipway-distribution-").tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.path().join("config.yml");
        let data = folder.path().join("data");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
                data.display()
            ),
        )?;
        let log = fs::File::create(folder.path().join("log"))?;
        let child = Command::new(&program)
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut distribution = Self { child, folder, address };
        let until = Instant::now() + START_TIME;
        while distribution.http().get("/v2/").is_err() {
            if let Some(status) = distribution.child.try_wait()? {
                bail!("distribution ended with {status}:\n{}", distribution.log());
            }
            ensure!(Instant::now() < until, "distribution does not answer:\n{}", distribution.log());
            sleep(Duration::from_millis(20));
        }
        Ok(Some(distribution))
    }

    pub fn http(&self) -> Server {
        Server(self.address)
    }

    /// What it has logged, each request in a line of its own.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
