//! A real S3 server (versitygw on a folder) of a test's own, on a free port, killed when dropped.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The name of its one bucket.
pub const BUCKET: &str = "slipway";

/// Its access key, and that key's secret.
pub const ACCESS_KEY: &str = "slipway-test";
pub const SECRET_KEY: &str = "no-secret-at-all";

/// Its region.
pub const REGION: &str = "us-east-1";

/// Time for it to take connections.
const START_TIME: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct S3Server {
    program: std::path::PathBuf,
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Option<Child>,
}

impl S3Server {
    /// Starts the server that lies at `program`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(program: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join("data").join(BUCKET))?;
        fs::create_dir(folder.path().join("attributes"))?;
        // Free at this moment; another process that takes it makes the start fail, which is told.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut server = Self { program: program.to_owned(), folder, address, process: None };
        server.start_again()?;
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it without a warning. Its data stay.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it after [`Self::kill`], on the same port and data.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self) -> io::Result<()> {
        let log = fs::File::create(self.folder.path().join("log"))?;
        let mut command = Command::new(&self.program);
        command.args([
            "--access",
            ACCESS_KEY,
            "--secret",
            SECRET_KEY,
            "--region",
            REGION,
            "--quiet",
            "--keep-alive",
        ]);
        command.args(["--port", &self.address.to_string(), "posix", "--sidecar"]);
        command.args([self.folder.path().join("attributes"), self.folder.path().join("data")]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn()?);
        let deadline = Instant::now() + START_TIME;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("the S3 server does not take connections: {log}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Files below its bucket: objects, and parts of uploads under way.
    pub fn files(&self) -> usize {
        fn count(folder: &Path) -> usize {
            fs::read_dir(folder).map_or(0, |entries| {
                entries
                    .flatten()
                    .map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 })
                    .sum()
            })
        }
        count(&self.folder.path().join("data").join(BUCKET))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.kill();
    }
}
